/* parts.h - declarations that the files of the gradient check share. Each file uses only those
 * above it:
 *
 *     compare.c                   are numbers the same?
 *     report.c                    messages, names of inputs and elements
 *     run.c                       calls of f: plain, with backward, with one element moved
 *     nodes.c, calls.c, views.c   one function for each kind of mistake
 *     suspect.c                   a wrong gradient, and the questions that hints ask
 *     places.c, hints.c           which mistake a wrong gradient shows
 *     values.c                    the comparison with differences
 *     ../gradcheck.c              arguments, and the checks in their order */
#ifndef LK_GRADCHECK_PARTS_H
#define LK_GRADCHECK_PARTS_H

#include <math.h>

#include "core/gradcheck.h"
#include "core/tape_parts.h"

enum { COTANGENTS = 2 };

/* The values of one recorded call. The results of f, and the gradients of all checked inputs, lie
 * one after the other. */
typedef struct Run {
    double *y;                    /* outputs elements */
    double *gradient[COTANGENTS]; /* total elements each, of Σ v[c]·y */
} Run;

typedef struct Check {
    GradcheckManyFn *f;
    void *user;
    int results, count;
    Tensor *const *in;
    const char *const *names;
    GradcheckOptions o;
    GradcheckReport *report;
    Tape *t;
    Tensor **y;             /* results of the last call, on the tape */
    Tensor *shapes;         /* their shapes in the first call */
    bool *read;             /* input i is a result or was read by an operation that leads to one */
    void **saved;           /* the bytes of every input's storage */
    int64_t total, outputs; /* elements of all checked inputs; of all results */
    double *v[COTANGENTS];  /* outputs elements each */
    Run first, again;       /* the reference; room for another one */
    double *numeric[COTANGENTS];
    double *plus, *minus; /* y(x + h), y(x - h) */
    bool stopped;         /* f or memory failed: nothing can be checked any more */
} Check;

/* ---- compare.c ------------------------------------------------------------------------------ */

/* Whether a and b are equal or both NaN. */
bool lk__check_same(double a, double b);
/* Returns the largest finite |x[k]|, or 0. */
double lk__check_largest(const double *x, int64_t n);
/* Whether the gradients g are 0 for n elements from `at` on, for both cotangents. */
bool lk__check_is_zero(const double *const g[COTANGENTS], int64_t at, int64_t n);
/* Returns the first k with |a - b| > atol + rtol · the largest |b|, or -1. With a tolerance,
 * another order of additions is no difference, but the value of another element is one. */
int64_t lk__check_unequal(const double *a, const double *b, int64_t n, double atol, double rtol);

/* The first place where two runs are unequal, and both numbers there. */
typedef struct Difference {
    enum { NOTHING, RESULT, GRADIENT } of;
    int64_t at; /* among all results, or all gradients */
    double a, b;
} Difference;
Difference lk__check_compare(const Check *c, const Run *a, const Run *b, double atol, double rtol);

/* ---- report.c ------------------------------------------------------------------------------- */

/* Adds "NAME: what was found" to the report; the first name becomes report->mistake. */
void lk__check_found(Check *c, const char *mistake, const char *format, ...) LK_PRINTF(3, 4);
/* Adds "lk_gradcheck: what happened" to the report and ends the check. Returns false. */
bool lk__check_stop(Check *c, const char *mistake, const char *format, ...) LK_PRINTF(3, 4);
bool lk__check_no_memory(Check *c);

/* Writes "layers.0.weight" or "input 2" to text and returns it. */
const char *lk__check_name(const Check *c, int i, char text[96]);
/* Writes the index of element k, such as "(1, 0)", to text and returns it. */
const char *lk__check_index(const Tensor *x, int64_t k, char text[LK_SHAPE_TEXT]);

/* Whether in[i] is checked: it requires a gradient. */
static inline bool lk__check_is_on(const Check *c, int i) { return c->in[i]->requires_grad; }
int64_t lk__check_offset(const Check *c, int i); /* of in[i]'s first element among the `total` */

/* Removes the sign of a NaN, for messages. */
static inline double lk__check_shown(double x) { return isnan(x) ? NAN : x; }

/* ---- run.c ---------------------------------------------------------------------------------- */

/* Fills v with n numbers of ±[0.5, 1.5) from the stream (seed, which). They depend on nothing
 * else. Cotangent w of result r is stream COTANGENTS · r + w. */
void lk__gradcheck_cotangent(uint64_t seed, uint64_t which, int64_t n, double *v);

/* Empties the tape, starts its random stream from the beginning, and fills its memory with
 * `poison`; 0 leaves the memory as it is. */
enum { POISON = 0xff, OTHER_POISON = 0x42 }; /* NaN; about 1.6e11 */
void lk__check_begin(Check *c, bool grad, unsigned char poison);
/* Calls f(in) and puts the results into c->y. Returns false and stops the check when f failed or
 * gave a result that is stale, not float64, or of another shape than in the first call. With
 * `error`, the check goes on after a failure of f or another shape, except when memory is short.
 * error->code is then the reason; it is LK_OK when f returned NULL without one. */
bool lk__check_call(Check *c, Tensor *const *in, Error *error);
/* Copies the results of the last call to y, one after the other. */
bool lk__check_read(Check *c, double *y);
/* Runs lk__check_call, then a backward for each cotangent, and fills *run. Only in[i] get
 * gradients. */
bool lk__check_record(Check *c, Tensor *const *in, Run *run, Error *error);
/* Writes the gradients of Σ v·y for the graph of the last call to `to`. */
bool lk__check_backward(Check *c, Tensor *const *in, const double *v, double *to);
/* Computes y(x + h) and y(x - h) for element k of in[i], in c->plus and c->minus. Returns the step
 * from x - h to x + h, or 0 when the check has stopped. */
double lk__check_difference(Check *c, int i, int64_t k);
/* Set and clear the mark `reached` of the nodes that lead to a result of the last call. */
void lk__check_mark(Check *c);
void lk__check_unmark(Check *c);
/* Restores every input that is not as it was. Returns the number of the first one, or -1. */
int lk__check_restore(Check *c);

/* ---- the checks, in the order of core/gradcheck.h ------------------------------------------- */

void lk__check_writing(Check *c);
void lk__check_changes(Check *c);
void lk__check_unwritten(Check *c);
void lk__check_adding(Check *c);
void lk__check_views(Check *c);
void lk__check_values(Check *c);
void lk__check_needs(Check *c);

/* ---- suspect.c ------------------------------------------------------------------------------ */

/* A wrong gradient, from which hints are read. */
typedef struct Suspect {
    Check *c;
    int input;
    const Tensor *x;
    int64_t n, outputs;
    const double *a[COTANGENTS], *numeric[COTANGENTS]; /* n elements each */
    const double *doubled;                             /* the analytic gradient for -2 v[0] */
    const double *jacobian; /* dy[j]/dx[k] at k · outputs + j; NULL: too large */
    double tolerance;       /* of comparisons for a hint */
    char *text;             /* of HINT bytes */
} Suspect;
enum { HINT = 240 };

bool lk__hint_equals(const Suspect *w, double a, double expected); /* within the tolerance */
/* Whether the gradients that are not 0 belong to different values of x, so that a factor can be
 * told from a formula. */
bool lk__hint_is_varied(const Suspect *w);
/* Writes the hint; returns true. */
bool lk__hint_say(Suspect *w, const char *format, ...) LK_PRINTF(2, 3);

/* ---- places.c: hints about elements and rows ------------------------------------------------ */

bool lk__hint_mask(Suspect *w);        /* right but for elements that must get 0, or the reverse */
bool lk__hint_one_sided(Suspect *w);   /* right where x > 0 only */
bool lk__hint_incomplete(Suspect *w);  /* some elements get nothing */
bool lk__hint_other_value(Suspect *w); /* a = n · p / q with values p, q of inputs or the result */
bool lk__hint_row_factor(Suspect *w);  /* a = n · a number of the row */
bool lk__hint_lost_term(Suspect *w);   /* a = n + x, y or 1 · a number of the row */

/* ---- hints.c -------------------------------------------------------------------------------- */

/* Fills w->text with the mistake that explains every element for both cotangents. Returns false
 * when none is certain. */
bool lk__check_hint(Suspect *w);

#endif
