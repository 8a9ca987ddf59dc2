/* gradcheck.h - is a backward right? Compares it with central differences, in float64.
 *
 * For a fixed random cotangent v, the analytic gradient of Σ v·y is compared, element by element and with its sign, with
 *     Σ v·(y(x + h) - y(x - h)) / ((x + h) - (x - h))        h = eps · max(1, |x|)
 * The differences are taken per output before they are summed and divided by the step really made, so that a correct
 * backward passes atol 1e-7, rtol 1e-5. Every call finds the tape's random stream at its beginning, so that dropout,
 * too, is a function. Semantics of torch.autograd.gradcheck: |a - n| <= atol + rtol·|n|. */
#ifndef LK_GRADCHECK_H
#define LK_GRADCHECK_H

#include "core/tape.h"

/* The function under test: from inputs to one floating result, on the given tape. */
typedef Tensor *GradcheckFn(Tape *t, Tensor *const *in, void *user);

typedef struct GradcheckOptions {
    double eps, atol, rtol; /* 0: PyTorch's 1e-6, 1e-5, 1e-3 */
    uint64_t seed;          /* of the cotangent v */
} GradcheckOptions;

typedef struct GradcheckReport {
    bool ok;
    int64_t checked;         /* elements compared */
    double worst;            /* largest |a - n| / (atol + rtol·|n|); ok means <= 1 */
    char name[96];           /* the input (names[i], or "input 2") of the worst element, its index, both values */
    int64_t index[LK_MAX_DIMS];
    int ndim;
    double analytic, numeric;
    char hint[160];          /* what such an error usually is: "sign: …", "factor: …", "transpose: …"; "" when ok */
    char message[512];       /* all of it as one sentence */
} GradcheckReport;

/* Checks the gradient of every in[i] that requires one (contiguous float64 leaves; others are constants). The inputs are
 * restored bit by bit, their gradients left as they were. Fills *report (required); returns report->ok. Anything that
 * fails (f returns NULL, a dtype that is not float64, two backward runs that differ) is a report that is not ok. */
LK_API bool lk_gradcheck(GradcheckFn *f, void *user, int count, Tensor *const *in, const char *const *names,
                         const GradcheckOptions *options, GradcheckReport *report);

#endif
