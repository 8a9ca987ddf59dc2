/* adapted.h - a Linear with LoRA beside it, by plain loops: for units that wrap a Linear.
 *
 *     y = x Wᵀ + b + alpha (x A B)        W (out, in), b (out), A (in, rank), B (rank, out) */
#ifndef COURSE_ADAPTED_H
#define COURSE_ADAPTED_H

#include "examples/course/checks/check.h"

typedef struct Adapted {
    Matrix W, b, A, B; /* b without values: the Linear has no bias */
    double alpha;
} Adapted;

/* Fills m's parameters with N(0, 1) and returns their values. path is where the wrapper is in m:
 * "" for linear.weight, "linear." for linear.linear.weight. */
Adapted adapted_fill(Exam *e, Module *m, const char *path, double alpha);

Matrix adapted_xWT(Exam *e, const Adapted *a, Matrix x);    /* x Wᵀ */
Matrix adapted_linear(Exam *e, const Adapted *a, Matrix x); /* x Wᵀ + b */
Matrix adapted_xAB(Exam *e, const Adapted *a, Matrix x);    /* x A B, without alpha */
Matrix adapted_output(Exam *e, const Adapted *a, Matrix x); /* y */

/* Compares the gradients of m's four parameters and of x with those that the cotangent v gives.
 * Run backward before. */
bool adapted_gradients(Exam *e, Module *m, const char *path, const Adapted *a, Tensor *x,
                       Matrix v);

/* ---- the owners of a Linear ----------------------------------------------------------------- */

/* A Linear with two owners, both of them the exam: a call that frees it once too often crashes
 * nothing. */
Module *adapted_linear_new(Exam *e, int64_t in, int64_t out, bool bias);
/* Gives m, which another module owns, these two owners. */
void adapted_keep(Exam *e, Module *m);
/* The number of m's owners beyond the exam's two. If it is less than expected, the missing ones
 * are put back. */
int adapted_owners(Module *m, int expected);

#endif
