/* check.c - the assertions, the counting allocator and the paths of check.h. Linked into every
 * test program. */
#define _GNU_SOURCE /* mkdtemp, nftw */
#include "tests/check.h"

#include <errno.h>
#include <ftw.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <criterion/hooks.h>

#include "core/bfloat16.h"
#include "core/kernels.h"

/* Says at the beginning of each program which instruction set it tests. */
ReportHook(PRE_ALL)(struct criterion_test_set *tests)
{
    (void)tests;
    const char *kernels = lk_kernels(NULL);
    printf("kernels: %s\n", kernels ? kernels : "refused");
}

/* ---- assertions ----------------------------------------------------------------------------- */

static char message[2048];

const char *check_message(void) { return message; }

static bool failed(const char *format, ...) LK_PRINTF(1, 2);
static bool failed(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    return false;
}

/* Walks a tensor in logical order, whatever its strides; at[] is the index of element number i. */
static void index_of(const Tensor *x, int64_t i, int64_t at[LK_MAX_DIMS])
{
    for (int d = x->ndim - 1; d >= 0; d--) {
        at[d] = i % x->shape[d];
        i /= x->shape[d];
    }
}

static const char *index_text(const Tensor *x, const int64_t *at, char text[LK_SHAPE_TEXT])
{
    Tensor index = { .ndim = x->ndim };
    memcpy(index.shape, at, sizeof index.shape);
    return lk_shape_text(&index, text);
}

static const char *element_at(const Tensor *x, const int64_t *at)
{
    int64_t offset = 0;
    for (int d = 0; d < x->ndim; d++) offset += at[d] * x->stride[d];
    return (const char *)x->data + offset * (int64_t)lk_dtype_size(x->dtype);
}

static bool has_elements(const char *text, const Tensor *x, int64_t n)
{
    char shape[LK_SHAPE_TEXT];
    if (!x) return failed("%s is NULL", text);
    if (lk_numel(x) == n) return true;
    return failed("%s %s has %lld elements, expected %lld", text, lk_shape_text(x, shape),
                  (long long)lk_numel(x), (long long)n);
}

static bool same_shape(const char *text, const char *other, const Tensor *x, const Tensor *y)
{
    char shape[LK_SHAPE_TEXT], shape_y[LK_SHAPE_TEXT];
    if (!x) return failed("%s is NULL", text);
    if (!y) return failed("%s is NULL", other);
    if (lk_same_shape(x, y)) return true;
    return failed("%s %s and %s %s differ in shape", text, lk_shape_text(x, shape), other,
                  lk_shape_text(y, shape_y));
}

static bool close_enough(double got, double expected, double tol)
{
    if (isnan(expected) || isnan(got)) return isnan(expected) && isnan(got);
    if (isinf(expected) || isinf(got)) return expected == got;
    return fabs(got - expected) <= tol + tol * fabs(expected);
}

/* expected: an array, or NULL for the elements of y. */
static bool all_close(const char *text, const Tensor *x, const double *expected, const Tensor *y,
                      double tol)
{
    int64_t n = lk_numel(x), first = -1, count = 0;
    double first_got = 0, first_expected = 0;
    for (int64_t i = 0; i < n; i++) {
        int64_t at[LK_MAX_DIMS] = { 0 };
        index_of(x, i, at);
        double got = lk_at(x, at), want = expected ? expected[i] : lk_at(y, at);
        if (close_enough(got, want, tol)) continue;
        if (count++ == 0) first = i, first_got = got, first_expected = want;
    }
    if (count == 0) return true;

    char shape[LK_SHAPE_TEXT], where[LK_SHAPE_TEXT];
    int64_t at[LK_MAX_DIMS] = { 0 };
    index_of(x, first, at);
    return failed("%s %s at %s: expected %.17g, got %.17g (difference %.3g, tolerance %g + "
                  "%g·|expected|); %lld of "
                  "%lld elements differ",
                  text, lk_shape_text(x, shape), index_text(x, at, where), first_expected,
                  first_got, first_got - first_expected, tol, tol, (long long)count, (long long)n);
}

bool check_close_(const char *text, const Tensor *x, const double *expected, int64_t n, double tol)
{
    return has_elements(text, x, n) && all_close(text, x, expected, NULL, tol);
}

bool check_close_to_(const char *text, const char *other, const Tensor *x, const Tensor *y,
                     double tol)
{
    return same_shape(text, other, x, y) && all_close(text, x, NULL, y, tol);
}

/* A value with its bytes, so that 0 and -0, or two numbers that print alike, can be told apart. */
static const char *value_text(DType dtype, const void *element, char text[80])
{
    unsigned char bytes[8];
    double value = 0;
    switch (dtype) {
    case LK_F32: value = *(const float *)element; break;
    case LK_F64: value = *(const double *)element; break;
    case LK_BF16: value = (double)lk__bf16_to_f32(*(const uint16_t *)element); break;
    case LK_I64: snprintf(text, 80, "%lld", (long long)*(const int64_t *)element); return text;
    case LK_QI8: value = *(const signed char *)element; break;
    case LK_U8:
    case LK_BOOL: snprintf(text, 80, "%d", *(const unsigned char *)element); return text;
    }
    size_t size = lk_dtype_size(dtype);
    memcpy(bytes, element, size);
    int length = snprintf(text, 80, "%.17g [", value);
    for (size_t i = size; i-- > 0;)
        length += snprintf(text + length, 80 - (size_t)length, "%02x", bytes[i]);
    snprintf(text + length, 80 - (size_t)length, "]");
    return text;
}

/* values: an array, or NULL for the elements of y. */
static bool all_equal(const char *text, const Tensor *x, const char *values, const Tensor *y)
{
    size_t size = lk_dtype_size(x->dtype);
    int64_t n = lk_numel(x), count = 0;
    char shape[LK_SHAPE_TEXT], where[LK_SHAPE_TEXT], want_text[80], got_text[80];
    for (int64_t i = 0; i < n; i++) {
        int64_t at[LK_MAX_DIMS] = { 0 };
        index_of(x, i, at);
        const char *got = element_at(x, at),
                   *want = values ? values + i * (int64_t)size : element_at(y, at);
        if (memcmp(got, want, size) == 0) continue;
        if (count++ > 0) continue;
        index_text(x, at, where);
        value_text(x->dtype, want, want_text);
        value_text(x->dtype, got, got_text);
    }
    if (count == 0) return true;
    return failed("%s %s at %s: expected %s, got %s; %lld of %lld elements differ in their bits",
                  text, lk_shape_text(x, shape), where, want_text, got_text, (long long)count,
                  (long long)n);
}

bool check_equal_(const char *text, const char *other, const Tensor *x, const Tensor *y)
{
    if (!same_shape(text, other, x, y)) return false;
    if (x->dtype != y->dtype)
        return failed("%s is %s, %s is %s", text, lk_dtype_name(x->dtype), other,
                      lk_dtype_name(y->dtype));
    return all_equal(text, x, NULL, y);
}

bool check_bits_(const char *text, const Tensor *x, const void *values, int64_t n)
{
    return has_elements(text, x, n) && all_equal(text, x, values, NULL);
}

bool check_shape_(const char *text, const Tensor *x, int ndim, const int64_t *shape)
{
    if (!x) return failed("%s is NULL", text);
    Tensor expected = { .ndim = ndim };
    for (int d = 0; d < ndim; d++) expected.shape[d] = shape[d];
    if (lk_same_shape(x, &expected)) return true;
    char got[LK_SHAPE_TEXT], want[LK_SHAPE_TEXT];
    return failed("%s has shape %s, expected %s", text, lk_shape_text(x, got),
                  lk_shape_text(&expected, want));
}

bool check_error_(const char *text, const Error *err, ErrorCode code, const char *name,
                  const char *part)
{
    if (!err) return failed("%s is NULL", text);
    if (err->code != code)
        return failed("%s has code %d, expected %s (%d); its message: \"%s\"", text,
                      (int)err->code, name, (int)code, err->code == LK_OK ? "" : err->message);
    if (code == LK_OK || strstr(err->message, part)) return true;
    return failed("%s: the message \"%s\" does not contain \"%s\"", text, err->message, part);
}

/* ---- tensors -------------------------------------------------------------------------------- */

Tensor *check_make_tensor(DType dtype, bool requires_grad, int64_t n, const double *values,
                          int ndim, const int64_t *shape)
{
    Error err = { 0 };
    Tensor *x = lk_tensor_new(dtype, ndim, shape, &err);
    cr_assert(x != NULL, "make_tensor: %s", err.message);
    cr_assert(lk_numel(x) == n, "make_tensor: %lld numbers for %lld elements", (long long)n,
              (long long)lk_numel(x));
    for (int64_t i = 0; i < n; i++) {
        switch (dtype) {
        case LK_F32: ((float *)x->data)[i] = (float)values[i]; break;
        case LK_F64: ((double *)x->data)[i] = values[i]; break;
        case LK_I64: ((int64_t *)x->data)[i] = (int64_t)values[i]; break;
        case LK_U8: ((uint8_t *)x->data)[i] = (uint8_t)values[i]; break;
        case LK_BOOL: ((bool *)x->data)[i] = values[i] != 0; break;
        case LK_BF16: ((uint16_t *)x->data)[i] = lk__bf16_of_f32((float)values[i]); break;
        case LK_QI8: cr_assert(false, "make_tensor: convert one of float32");
        }
    }
    if (requires_grad)
        cr_assert(lk_set_requires_grad(x, true), "make_param: %s has no gradient",
                  lk_dtype_name(dtype));
    return x;
}

/* ---- tapes ---------------------------------------------------------------------------------- */

Tape *quiet_tape(void)
{
    Tape *t = lk_tape_new(NULL);
    check(t);
    lk_tape_on_error(t, NULL, NULL);
    return t;
}

/* ---- memory --------------------------------------------------------------------------------- */

/* aligned_alloc and free as in core/memory.c, with counters that threads may raise at once. */

static atomic_llong asked, allocated, freed, failures; /* asked: since the last check_fail_… */
/* requests number fail_from … fail_to - 1 fail */
static long long fail_from, fail_to;

static void *counting_alloc(size_t bytes)
{
    long long request = atomic_fetch_add(&asked, 1);
    if (request >= fail_from && request < fail_to) {
        atomic_fetch_add(&failures, 1);
        return NULL;
    }
    void *block = aligned_alloc(64, bytes);
    if (block) atomic_fetch_add(&allocated, 1);
    return block;
}

static void counting_free(void *block)
{
    atomic_fetch_add(&freed, 1);
    free(block);
}

void check_alloc_begin(void)
{
    atomic_store(&allocated, 0);
    atomic_store(&freed, 0);
    check_fail_after(-1);
    lk_set_allocator(counting_alloc, counting_free);
}

int64_t check_alloc_count(void) { return atomic_load(&allocated); }

int64_t check_alloc_live(void) { return atomic_load(&allocated) - atomic_load(&freed); }

int64_t check_alloc_failed(void) { return atomic_load(&failures); }

static void fail(long long from, long long to)
{
    atomic_store(&asked, 0);
    atomic_store(&failures, 0);
    fail_from = from;
    fail_to = to;
}

void check_fail_after(int64_t n) { fail(n, n < 0 ? n : INT64_MAX); }

void check_fail_once(int64_t n) { fail(n, n < 0 ? n : n + 1); }

/* ---- files ---------------------------------------------------------------------------------- */

/* LORIKEET_SOURCE_DIR and LORIKEET_SCRATCH_DIR come from tests/CMakeLists.txt. */
static const char *path(const char *format, const char *folder, const char *name)
{
    static char paths[8][1024];
    static int next;
    char *p = paths[next++ % 8];
    int length = snprintf(p, sizeof paths[0], format, folder, name);
    cr_assert(length < (int)sizeof paths[0], "the path of %s is too long", name);
    return p;
}

const char *check_fixture(const char *name)
{
    return path("%s/tests/fixtures/%s", LORIKEET_SOURCE_DIR, name);
}

const char *check_source(const char *name) { return path("%s/%s", LORIKEET_SOURCE_DIR, name); }

/* Every test is a process of its own, and several run at once: each has its own folder, gone when
 * it ends. */
static char scratch[] = LORIKEET_SCRATCH_DIR "/XXXXXX";

static int remove_entry(const char *name, const struct stat *status, int kind, struct FTW *where)
{
    (void)status, (void)kind, (void)where;
    return remove(name);
}

static void remove_scratch(void) { nftw(scratch, remove_entry, 8, FTW_DEPTH | FTW_PHYS); }

const char *check_scratch(const char *name)
{
    static bool made;
    if (!made) {
        made = mkdtemp(scratch) != NULL;
        cr_assert(made, "%s: %s", scratch, strerror(errno));
        atexit(remove_scratch);
    }
    return path("%s/%s", scratch, name);
}

const char *check_write(const char *name, const void *bytes, size_t size)
{
    const char *p = check_scratch(name);
    FILE *file = fopen(p, "wb");
    cr_assert(file != NULL, "%s: %s", p, strerror(errno));
    cr_assert(fwrite(bytes, 1, size, file) == size && fclose(file) == 0, "%s: cannot be written",
              p);
    return p;
}
