/* gradcheck.h - checks a backward: compares it with central differences, in float64.
 *
 * For a cotangent v, the analytic gradient of Σ v·y is compared, element by element and with its
 * sign, with
 *
 *     Σ v·(y(x + h) - y(x - h)) / ((x + h) - (x - h))        h = eps · max(1, |x|)
 *
 * As in torch.autograd.gradcheck, a and n agree when |a - n| <= atol + rtol·|n|. The differences
 * are taken per output, then summed, then divided by the step really made, so that a correct
 * backward passes atol 1e-7, rtol 1e-5. Two cotangents are tried, with opposite signs in the first
 * element of each result. They come from a stream of their own, so that no tensor of the user can
 * equal them. Every call starts the tape's random stream from its beginning, so that dropout, too,
 * drops the same elements in every call.
 *
 * Numbers that agree are not enough. Each kind of mistake has a check and a name (report.mistake),
 * in this order:
 *
 *     arguments     NULL, stale, float32, no input that requires a gradient, …
 *     function      f failed, or backward did: report.message has the reason
 *     input written forward writes to an input, or a backward writes to an input or its result
 *     changes       another result or gradient in a second call with the same inputs
 *     unwritten     memory is read before it was written (lk_empty, lk_tape_scratch)
 *     overwritten   backward writes `=` where it must add `+=`
 *     first use     an input given twice to an operation gets only the gradient of its first place
 *     strided       a view gives another result or gradient than a contiguous copy
 *     not connected the gradient is 0 everywhere, but the difference is not (lk_record?)
 *     values        analytic and numeric gradient differ
 *     frozen        the gradient of an input changes when the other inputs are frozen
 *     needs         backward reads an input or the result that `needs` does not list
 *
 * These checks try every recorded operation, and every input, on its own. A check is left out when
 * it would only see the consequences of a mistake that an earlier check found.
 *
 * Cost, for N elements that are checked: 2 N + 8 calls of f, up to 3 more for each input, and a
 * dozen backwards. */
#ifndef LK_GRADCHECK_H
#define LK_GRADCHECK_H

#include "core/tape.h"

/* The function under test: from inputs to one float64 result, on the given tape. */
typedef Tensor *GradcheckFn(Tape *t, Tensor *const *in, void *user);

/* The same for several results: fills out[0 … results-1]. It failed when it returns false or
 * leaves a NULL in out. */
typedef bool GradcheckManyFn(Tape *t, Tensor *const *in, Tensor **out, void *user);

/* A number that a wrong gradient may contain as a factor once too often, or may lack:
 * { "alpha", 2.5 }. */
typedef struct GradcheckConstant {
    const char *name;
    double value;
} GradcheckConstant;

typedef struct GradcheckOptions {
    double eps, atol, rtol; /* 0: PyTorch's 1e-6, 1e-5, 1e-3 */
    uint64_t seed;          /* of the cotangents */
    int constant_count;
    const GradcheckConstant *constants; /* a hint about a factor may name them */
} GradcheckOptions;

/* One element of an input, with both gradients. */
typedef struct GradcheckElement {
    int64_t index[LK_MAX_DIMS];
    double analytic, numeric;
} GradcheckElement;

enum { LK_GRADCHECK_TABLE = 5 }; /* elements in the table of a report */
typedef struct GradcheckReport {
    bool ok;
    const char *mistake;        /* the first name above that was found; NULL when ok */
    int64_t checked;            /* elements compared */
    double worst;               /* largest |a - n| / (atol + rtol·|n|); ok means <= 1 */
    char name[96];              /* the input (names[i], or "input 2") of the worst element, … */
    int64_t index[LK_MAX_DIMS]; /* … its index, and both values */
    int ndim;
    double analytic, numeric;
    GradcheckElement table[LK_GRADCHECK_TABLE]; /* wrong elements of that input, worst first */
    int table_count;
    char hint[256];     /* the mistake: "sign: …", "overwritten: …"; "" when none is certain */
    char notice[256];   /* no mistake, but good to know: inputs never read; rows left out */
    char message[1536]; /* all of it in sentences; without a hint, the table */
} GradcheckReport;

/* Checks the gradient of every in[i] that requires one (contiguous float64 leaves; others are
 * constants). The inputs are restored bit by bit, and their gradients are left as they were. The
 * versions of the inputs are raised, since values did change in between. Fills *report and returns
 * report->ok; false for a NULL report. After any failure, report->ok is false. */
LK_API bool lk_gradcheck(GradcheckFn *f, void *user, int count, Tensor *const *in,
                         const char *const *names, const GradcheckOptions *options,
                         GradcheckReport *report);

/* The same for a function of several results: v·y is summed over all of them, each with
 * cotangents of its own. */
LK_API bool lk_gradcheck_many(GradcheckManyFn *f, int results, void *user, int count,
                              Tensor *const *in, const char *const *names,
                              const GradcheckOptions *options, GradcheckReport *report);

#endif
