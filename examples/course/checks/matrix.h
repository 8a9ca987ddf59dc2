/* matrix.h - matrices of doubles by plain loops: the checks compute with them what a learner's
 * code should give, and what it gives with a known mistake.
 *
 * They share nothing with the library's operations, so that a fault there would show. All of them
 * belong to the exam and are freed after the check. A function that is given a matrix without
 * values (no memory, shapes that do not fit) returns one without values. */
#ifndef COURSE_MATRIX_H
#define COURSE_MATRIX_H

#include "core/tensor.h"

typedef struct Exam Exam;

typedef struct Matrix {
    int64_t rows, columns;
    double *v; /* row by row; NULL: no values */
} Matrix;

Matrix matrix_zeros(Exam *e, int64_t rows, int64_t columns);
/* N(0, 1), from the exam's own generator. */
Matrix matrix_random(Exam *e, int64_t rows, int64_t columns);
/* The values of a tensor: its last dimension makes the columns, all others the rows; a vector is
 * one row. */
Matrix matrix_of(Exam *e, const Tensor *x);

Matrix matrix_product(Exam *e, Matrix a, Matrix b);                      /* a b */
Matrix matrix_T(Exam *e, Matrix a);                                      /* aᵀ */
Matrix matrix_reshape(Exam *e, Matrix a, int64_t rows, int64_t columns); /* the same values */
Matrix matrix_scale(Exam *e, Matrix a, double factor);                   /* factor a */
Matrix matrix_sum(Exam *e, Matrix a, Matrix b);   /* a + b; b may be one row for all */
Matrix matrix_times(Exam *e, Matrix a, Matrix b); /* element by element */
Matrix matrix_map(Exam *e, Matrix a, double (*f)(double));
Matrix matrix_column_sums(Exam *e, Matrix a); /* one row */
Matrix matrix_rows(Exam *e, Matrix a, int64_t first, int64_t count);

/* Whether all elements agree: |a - b| <= tolerance · max(1, |b|). False for matrices without
 * values or of different shapes. */
bool matrix_near(Matrix a, Matrix b, double tolerance);

#endif
