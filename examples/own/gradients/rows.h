/* rows.h - one row of cases for an operation, and the shapes that several families share.
 *
 * Each file of this folder has the rows of one family of core/ops.h. A row names the operation,
 * calls it, and lists the shapes to call it with. Rows of one operation stand together. */
#ifndef GRADIENT_ROWS_H
#define GRADIENT_ROWS_H

#include "core/gradcheck.h"
#include "core/ops.h"

/* Inputs of a case, separated by spaces: "2,3" is a leaf of that shape and "." a scalar. A
 * letter behind it hides the leaf behind a view, so that the operation sees other strides:
 * "2,3t" transposed, "2,3s" every second column. */
enum { MAX_CASES = 10, MAX_INPUTS = 7 };
typedef const char *const Cases[MAX_CASES];

static Cases __attribute__((unused))
ONE = { ".", "5", "2,3", "2,3t", "4,3s", "2,1,3", "2,3,2t", "40,3", "0,3", "1" };
/* not empty */
static Cases __attribute__((unused))
SOME = { ".", "5", "2,3", "2,3t", "4,3s", "2,1,3", "2,3,2t", "40,3", "1" };
static Cases __attribute__((unused)) NO_ROWS = { "0,4", "0,4t" };
/* at least one dimension */
static Cases __attribute__((unused))
ONE_ROWS = { "4", "3,5", "3,5t", "3,5s", "2,3,4", "2,3,4t", "3,1", "1,6" };
static Cases __attribute__((unused))
ROWS_2D = { "3,4", "3,4t", "3,4s", "1,4", "4,1", "5,2", "2,7t" };
static Cases __attribute__((unused))
CUBES = { "2,3,4", "2,3,4t", "2,3,4s", "1,3,4", "2,1,4", "2,3,1", "3,2,2" };
static Cases __attribute__((unused))
TWO = { ". .",   "3 3",       "2,3 2,3", "2,3 3",     "2,1 1,3",
        "3 2,3", "2,3t 2,3s", ". 2,3",   "2,3,2 3,1", "0,3 3" };
static Cases __attribute__((unused))
SAME = { ". .", "3 3", "2,3 2,3", "2,3t 2,3", "2,3 2,3s", "2,3,2 2,3,2", "1,5 1,5t" };

/* The kind of values at which an operation is checked, so that it is smooth there. APART: no two
 * equal, none near 0. EXACT: multiples of 1/4 up to 1, moved by 1/8, which even float32 holds
 * exactly. */
typedef enum Domain { ANY, POSITIVE, APART, EXACT } Domain;

typedef struct GradientRow {
    const char *op;
    GradcheckFn *call;
    const char *const *cases;
    Domain domain;
} GradientRow;

typedef struct GradientFamily {
    int count;
    const GradientRow *rows;
} GradientFamily;
#define GRADIENT_ROWS(rows) sizeof(rows) / sizeof *(rows), rows

/* A function for a row: CALL(add, lk_add(t, x[0], x[1])). */
#define CALL(name, expression) \
    static Tensor *name(Tape *t, Tensor *const *x, void *user) \
    { \
        (void)user; \
        return expression; \
    }

/* The files of this folder, in the order of core/ops.h. */
/* clang-format off */
#define GRADIENT_FAMILIES(X) \
    X(pointwise) \
    X(elementwise) \
    X(matmul) \
    X(conv) \
    X(shape) \
    X(sort) \
    X(norm) \
    X(batch_norm) \
    X(reduce) \
    X(softmax) \
    X(loss) \
    X(attention) \
    X(recurrent) \
    X(rearrange) \
    X(stats)
#define GRADIENT_DECLARE(name) extern const GradientFamily gradient_##name;
GRADIENT_FAMILIES(GRADIENT_DECLARE)
/* clang-format on */

#endif
