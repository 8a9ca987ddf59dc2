/* test_check.c - the assertions of tests/check.h fail when they should, and say what differs; the
 * allocator counts. */
#include "tests/check.h"

#include <math.h>
#include <string.h>

/* The assertion behind a macro does not hold, and its message contains the text. */
#define check_fails(assertion, text) \
    check(!(assertion) && strstr(check_message(), text), "%s", check_message())

Test(check, close)
{
    Tensor *x = make_tensor(LK_F32, LK_SHAPE(2, 3), 1, 2, 3, 4, 5, 6);
    check_values(x, 0, 1, 2, 3, 4, 5, 6);
    check_values(x, 0.1, 1.1, 2, 3, 4, 5, 6.6);

    const double wrong[] = { 1, 2, 3, -4, 5, 7 };
    check_fails(check_close_("x->grad", x, wrong, 6, 1e-3),
                "x->grad (2, 3) at (1, 0): expected -4, got 4 (");
    check_fails(check_close_("x", x, wrong, 6, 1e-3), "2 of 6 elements differ");
    check_fails(check_close_("x", x, wrong, 5, 1e-3), "x (2, 3) has 6 elements, expected 5");
    check_fails(check_close_("x", NULL, wrong, 6, 1e-3), "x is NULL");
    lk_free(x);
}

Test(check, close_of_special_values)
{
    Tensor *x = make_tensor(LK_F64, LK_SHAPE(3), NAN, INFINITY, 1);
    check_values(x, 1e-6, NAN, INFINITY, 1);
    check_fails(check_close_("x", x, (double[]){ 0, INFINITY, 1 }, 3, 1e9),
                "at (0,): expected 0, got nan");
    check_fails(check_close_("x", x, (double[]){ NAN, -INFINITY, 1 }, 3, 1e9),
                "expected -inf, got inf");
    check_fails(check_close_("x", x, (double[]){ NAN, 1, 1 }, 3, 1e9), "expected 1, got inf");
    check_fails(check_close_("x", x, (double[]){ NAN, INFINITY, NAN }, 3, 1e9),
                "expected nan, got 1");
    lk_free(x);
}

Test(check, strided)
{
    Tensor *x = make_tensor(LK_I64, LK_SHAPE(2, 3), 1, 2, 3, 4, 5, 6), view = *x;
    view.shape[0] = 3, view.shape[1] = 2;
    view.stride[0] = 1, view.stride[1] = 3;
    check_values(&view, 0, 1, 4, 2, 5, 3, 6);
    check_bits(&view, ((int64_t[]){ 1, 4, 2, 5, 3, 6 }), 6);
    check_fails(check_equal_("view", "x", &view, x), "view (3, 2) and x (2, 3) differ in shape");
    lk_free(x);
}

Test(check, equal)
{
    Tensor *x = make_tensor(LK_F32, LK_SHAPE(2), 0, NAN),
           *y = make_tensor(LK_F32, LK_SHAPE(2), -0.0, NAN);
    Tensor *z = make_tensor(LK_F64, LK_SHAPE(2), 0, NAN);
    check_equal(x, x);
    check_close_to(x, y, 0);
    check_fails(check_equal_("x", "y", x, y),
                "x (2,) at (0,): expected -0 [80000000], got 0 [00000000]; 1 of 2");
    check_fails(check_equal_("x", "z", x, z), "x is float32, z is float64");
    check_fails(check_bits_("x", x, (float[]){ 1, NAN }, 2),
                "expected 1 [3f800000], got 0 [00000000]");
    lk_free(x);
    lk_free(y);
    lk_free(z);
}

Test(check, shape)
{
    Tensor *x = make_param(LK_F64, LK_SHAPE(2, 0)), *y = make_tensor(LK_BOOL, LK_SCALAR, 7);
    check_shape(x, LK_SHAPE(2, 0));
    check_shape(y, LK_SCALAR);
    check_values(y, 0, 1);
    check(x->requires_grad);
    check_fails(check_shape_("x", x, LK_SHAPE(0, 2)), "x has shape (2, 0), expected (0, 2)");
    lk_free(x);
    lk_free(y);
}

Test(check, error)
{
    Error err = { 0 };
    check_no_error(&err);
    check_fails(check_error_("&err", &err, LK_ESHAPE, "LK_ESHAPE", ""),
                "&err has code 0, expected LK_ESHAPE (1)");
    lk_error_set(&err, LK_EVALUE, "lk_name: %d is wrong", 3);
    check_error(&err, LK_EVALUE, "3 is wrong");
    check_fails(check_error_("&err", &err, LK_OK, "LK_OK", ""), "lk_name: 3 is wrong");
    check_fails(check_error_("&err", &err, LK_EVALUE, "LK_EVALUE", "4 is"),
                "does not contain \"4 is\"");
}

static int allocate(int count) /* returns how many succeeded */
{
    int succeeded = 0;
    for (int i = 0; i < count; i++) {
        void *block = lk_mem_alloc(100);
        succeeded += block != NULL;
        lk_mem_free(block);
    }
    return succeeded;
}

Test(check, allocator)
{
    check_alloc_begin();
    void *block = lk_mem_calloc(3, 7);
    check(allocate(2) == 2);
    check(check_alloc_count() == 3);
    check(check_alloc_live() == 1);
    lk_mem_free(block);
    check(check_alloc_live() == 0);

    check_fail_after(2);
    check(allocate(5) == 2);
    check(check_alloc_failed() == 3);
    check_fail_once(2);
    check(allocate(5) == 4);
    check(check_alloc_failed() == 1);
    check_fail_after(-1);
    check(allocate(5) == 5);
    check(check_alloc_failed() == 0);
}

Test(check, files)
{
    const char *path = check_write("two-bytes", "ab", 2), *fixture = check_fixture("name");
    char bytes[3];
    FILE *file = fopen(path, "rb");
    check(file && fread(bytes, 1, 3, file) == 2 && memcmp(bytes, "ab", 2) == 0);
    fclose(file);
    check(remove(path) == 0);
    check(strstr(fixture, "/tests/fixtures/name"));
    file = fopen(check_source("tests/check.h"), "rb");
    check(file != NULL);
    fclose(file);
}
