/* check.h - what the tests share beside Criterion: assertions that say what differs where, tensors
 * from a list of numbers, an allocator that counts and fails on purpose, paths of fixtures.
 *
 *     Test(matmul, plain)
 *     {
 *         Tape *t = lk_tape_new(NULL);
 *         Tensor *a = make_tensor(LK_F64, LK_SHAPE(1, 2), 3, 4);
 *         Tensor *b = make_tensor(LK_F64, LK_SHAPE(2, 1), 1, 2);
 *         check_values(lk_matmul(t, a, b), 1e-15, 11);
 *         check(!lk_matmul(t, a, a));
 *         check_error(lk_tape_error(t), LK_ESHAPE, "inner sizes 2 and 1 differ");
 *         lk_free(a); lk_free(b); lk_tape_free(t);
 *     }
 *
 * A failed assertion ends its test. Every file tests/<folder>/test_<topic>.c becomes a program of
 * its own. */
#ifndef CHECK_H
#define CHECK_H

#include <criterion/criterion.h>

#include "nn/module.h" /* lk_free, and core/tape.h */

/* Loops over thousands of cases take every CHECK_EVERY-th under an emulator and with sanitizers
 * (tests/CMakeLists.txt), and all of them elsewhere. */
#ifndef CHECK_EVERY
#define CHECK_EVERY 1
#endif

/* Addresses have 64 bits. With fewer, shapes that no memory holds are refused when they are
 * made. */
enum { WIDE_ADDRESSES = sizeof(size_t) >= 8 };

/* ---- assertions ----------------------------------------------------------------------------- */

/* cr_assert for people: check(n == 3), check(n == 3, "n is %d", n). */
#define check(...) cr_assert(__VA_ARGS__)

/* x has n elements, and element i (in logical order, whatever the strides) is within tol +
 * tol·|expected[i]| of expected[i]; NaN matches NaN, an infinity itself. The message names the
 * expression, the first index that differs, both values, the tolerance, and how many differ:
 * "x->grad (2, 3) at (1, 0): expected 4, got -4 (…)". */
#define check_close(x, expected, n, tol) CHECK_(check_close_(#x, x, expected, n, tol))
/* The same with the numbers written in place: check_values(y, 1e-6, 1, 2, 3). */
#define check_values(x, tol, ...) \
    check_close(x, CHECK_LIST_(__VA_ARGS__), CHECK_COUNT_(__VA_ARGS__), tol)
/* The same against another tensor of the same shape. */
#define check_close_to(x, y, tol) CHECK_(check_close_to_(#x, #y, x, y, tol))

/* Bit for bit: x and y have one shape, one dtype and the same bytes (-0 is not 0, a NaN equals
 * itself). */
#define check_equal(x, y) CHECK_(check_equal_(#x, #y, x, y))
/* Bit for bit: the n elements of x are those of the array values, whose C type is the one of x's
 * dtype. */
#define check_bits(x, values, n) CHECK_(check_bits_(#x, x, values, n))

/* check_shape(x, LK_SHAPE(2, 3)), check_shape(x, LK_SCALAR) */
#define check_shape(x, ...) CHECK_(check_shape_(#x, x, __VA_ARGS__))

/* err (const Error *) has this code, and its message contains the text. */
#define check_error(err, code, text) CHECK_(check_error_(#err, err, code, #code, text))
#define check_no_error(err) CHECK_(check_error_(#err, err, LK_OK, "LK_OK", ""))

/* ---- tensors -------------------------------------------------------------------------------- */

/* An owned tensor from numbers in place, converted to any dtype: make_tensor(LK_F32, LK_SHAPE(2,
 * 2), 1, 2, 3, 4). make_param: the same with requires_grad. As many numbers as elements, or the
 * test fails. Free it with lk_free. */
#define make_tensor(dtype, shape, ...) \
    check_make_tensor(dtype, false, CHECK_COUNT_(__VA_ARGS__), CHECK_LIST_(__VA_ARGS__), shape)
#define make_param(dtype, shape, ...) \
    check_make_tensor(dtype, true, CHECK_COUNT_(__VA_ARGS__), CHECK_LIST_(__VA_ARGS__), shape)

/* ---- tapes ---------------------------------------------------------------------------------- */

/* A tape for errors on purpose: it keeps the first one, as every tape does, and prints nothing. */
Tape *quiet_tape(void);

/* ---- memory --------------------------------------------------------------------------------- */

/* Puts a counting allocator behind lk_mem_alloc and sets the counts to 0. Call it before anything
 * is allocated.
 *
 * Nothing allocates after warm-up:            What fails is reported and frees all it made:
 *     check_alloc_begin();                        check_alloc_begin();
 *     step(); step();                             for (int64_t n = 0, failed = 1; failed; n++) {
 *     int64_t before = check_alloc_count();           check_fail_after(n);
 *     step();                                         Thing *x = thing_new(&err);
 *     check(check_alloc_count() == before);           failed = check_alloc_failed();
 *                                                     check(!x == (failed > 0));
 *                                                     thing_free(x);
 *                                                     check(check_alloc_live() == 0);
 *                                                 } */
void check_alloc_begin(void);
int64_t check_alloc_count(void);  /* allocations that succeeded since check_alloc_begin */
int64_t check_alloc_live(void);   /* blocks not yet freed */
int64_t check_alloc_failed(void); /* allocations failed on purpose since the last check_fail_… */
/* n allocations succeed, every later one fails; n < 0: none fails */
void check_fail_after(int64_t n);
void check_fail_once(int64_t n); /* n allocations succeed, one fails, the rest succeed */

/* ---- files ---------------------------------------------------------------------------------- */

/* Paths in a static buffer, valid for the next 7 calls. */
const char *check_fixture(const char *name); /* tests/fixtures/NAME */
/* NAME in the root of the source tree: "README.md" */
const char *check_source(const char *name);
/* NAME in a folder of this test alone, removed when it ends */
const char *check_scratch(const char *name);
/* Writes a scratch file and returns its path. */
const char *check_write(const char *name, const void *bytes, size_t size);

/* ---- behind the macros ---------------------------------------------------------------------- */

/* Each fills check_message() and returns false when the assertion does not hold. */
#define CHECK_(condition) cr_assert(condition, "%s", check_message())
#define CHECK_LIST_(...) \
    (const double[]) { __VA_ARGS__ }
#define CHECK_COUNT_(...) ((int64_t)(sizeof(CHECK_LIST_(__VA_ARGS__)) / sizeof(double)))
const char *check_message(void);
bool check_close_(const char *text, const Tensor *x, const double *expected, int64_t n,
                  double tol);
bool check_close_to_(const char *text, const char *other, const Tensor *x, const Tensor *y,
                     double tol);
bool check_equal_(const char *text, const char *other, const Tensor *x, const Tensor *y);
bool check_bits_(const char *text, const Tensor *x, const void *values, int64_t n);
bool check_shape_(const char *text, const Tensor *x, int ndim, const int64_t *shape);
bool check_error_(const char *text, const Error *err, ErrorCode code, const char *name,
                  const char *part);
Tensor *check_make_tensor(DType dtype, bool requires_grad, int64_t n, const double *values,
                          int ndim, const int64_t *shape);

#endif
