/* test_tensor.c - tensors that somebody owns: their layout and its limits, their owners, no memory
 * for them. Their values: test_values.c. */
#include "core/tensor.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/ops.h"
#include "tests/check.h"

static const DType all_dtypes[] = { LK_F32, LK_F64, LK_I64, LK_U8, LK_BOOL, LK_BF16 };
enum { DTYPES = sizeof all_dtypes / sizeof *all_dtypes };

/* ---- layout --------------------------------------------------------------------------------- */

Test(tensor, dtypes)
{
    const struct {
        const char *name;
        size_t size;
        bool floating;
    } expected[] = {
        [LK_F32] = { "float32", 4, true }, [LK_F64] = { "float64", 8, true },
        [LK_I64] = { "int64", 8, false },  [LK_U8] = { "uint8", 1, false },
        [LK_BOOL] = { "bool", 1, false },  [LK_BF16] = { "bfloat16", 2, false },
        [LK_QI8] = { "qint8", 1, false },
    };
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        const DType d = (DType)i;
        check(strcmp(lk_dtype_name(d), expected[d].name) == 0, "%s", lk_dtype_name(d));
        check(lk_dtype_size(d) == expected[d].size, "%s has %zu bytes", expected[d].name,
              lk_dtype_size(d));
        check(lk_is_floating(d) == expected[d].floating, "%s", expected[d].name);
    }
}

Test(tensor, new_is_contiguous_zeros_for_every_dtype)
{
    /* Dirty memory first, which the tensor is then likely to get. */
    void *dirty = lk_mem_alloc(1024);
    memset(dirty, 0xff, 1024);
    lk_mem_free(dirty);
    for (int i = 0; i < DTYPES; i++) {
        Error err = { 0 };
        Tensor *x = lk_tensor_new(all_dtypes[i], LK_SHAPE(2, 3, 4), &err);
        check_no_error(&err);
        check_shape(x, LK_SHAPE(2, 3, 4));
        check(x->stride[0] == 12 && x->stride[1] == 4 && x->stride[2] == 1);
        check(lk_numel(x) == 24 && x->storage->bytes == 24 * lk_dtype_size(x->dtype));
        check((uintptr_t)x->data % 64 == 0, "elements begin at %p", x->data);
        check(x->refs == 1 && !x->requires_grad && !x->is_parameter && !x->grad && !x->node);
        check(x->storage->version == 0);
        check(lk_count(x) == 0);
        lk_free(x);
    }
}

Test(tensor, sizes_of_dimensions)
{
    Tensor *x = lk_tensor_new(LK_U8, LK_SHAPE(2, 3, 4), NULL),
           *scalar = lk_tensor_new(LK_U8, LK_SCALAR, NULL);
    check(lk_size(x, 0) == 2 && lk_size(x, 2) == 4 && lk_size(x, -1) == 4 && lk_size(x, -3) == 2);
    check(lk_size(x, 3) == -1 && lk_size(x, -4) == -1 && lk_size(scalar, 0) == -1 &&
          lk_size(scalar, -1) == -1);
    check(lk_numel(scalar) == 1 && lk_is_contiguous(scalar) && scalar->storage->bytes == 1);
    lk_free(x);
    lk_free(scalar);
}

Test(tensor, sizes_of_zero)
{
    Error err = { 0 };
    Tensor *x = lk_tensor_new(LK_F32, LK_SHAPE(2, 0, 3), &err);
    Tensor *y = lk_tensor_from_new(LK_F32, LK_SHAPE(0), NULL, &err);
    check_no_error(&err);
    check(lk_numel(x) == 0 && lk_is_contiguous(x) && x->storage->bytes == 0 && x->data);
    check(x->stride[0] == 3 && x->stride[1] == 3 && x->stride[2] == 1,
          "PyTorch takes a size of 0 as 1");
    check(lk_numel(y) == 0 && isnan(lk_item(y)) && lk_count(x) == 0);
    check(lk_fill_(x, 1) && lk_copy_(x, x, &err) && lk_convert_(x, LK_F64, &err) &&
          x->dtype == LK_F64);
    Tensor *copy = lk_clone(x, &err);
    check_equal(copy, x);
    check(lk_equal(copy, x) && lk_allclose(copy, x, 0, 0));
    lk_free(x);
    lk_free(y);
    lk_free(copy);
}

Test(tensor, contiguous_or_not)
{
    Tape *t = lk_tape_new(NULL);
    Tensor *x = lk_zeros(t, LK_F32, LK_SHAPE(4, 6));
    check(!lk_is_contiguous(lk_T(t, x)));
    check(!lk_is_contiguous(lk_slice(t, x, 1, 0, 3, 1)));
    check(!lk_is_contiguous(lk_slice(t, x, 0, 0, 4, 2)));
    check(!lk_is_contiguous(lk_expand(t, lk_zeros(t, LK_F32, LK_SHAPE(1, 6)), LK_SHAPE(2, 6))));
    check(lk_is_contiguous(lk_slice(t, x, 0, 1, 3, 1)));
    check(lk_is_contiguous(lk_slice(t, x, 0, 0, 1, 2)),
          "a dimension of size 1 has no next element");
    check(lk_is_contiguous(lk_T(t, lk_zeros(t, LK_F32, LK_SHAPE(1, 6)))));
    check(lk_is_contiguous(lk_T(t, lk_zeros(t, LK_F32, LK_SHAPE(3, 0)))), "nothing is contiguous");
    lk_tape_free(t);
}

Test(tensor, same_shape)
{
    Tensor a = { .ndim = 2, .shape = { 2, 3 } }, b = { .ndim = 2, .shape = { 2, 3, 7 } };
    Tensor c = { .ndim = 1, .shape = { 2 } };
    check(lk_same_shape(&a, &b), "what lies behind the last dimension does not count");
    check(!lk_same_shape(&a, &c));
    b.shape[1] = 1;
    check(!lk_same_shape(&a, &b));
}

Test(tensor, shape_text)
{
    char text[LK_SHAPE_TEXT];
    Tensor x = { .ndim = 0 };
    check(strcmp(lk_shape_text(&x, text), "()") == 0, "%s", text);
    x = (Tensor){ .ndim = 1, .shape = { 5 } };
    check(strcmp(lk_shape_text(&x, text), "(5,)") == 0, "%s", text);
    x = (Tensor){ .ndim = 3, .shape = { 2, 0, 10 } };
    check(strcmp(lk_shape_text(&x, text), "(2, 0, 10)") == 0, "%s", text);
    x.ndim = LK_MAX_DIMS; /* the longest text there is fits */
    for (int d = 0; d < LK_MAX_DIMS; d++) x.shape[d] = INT64_MIN;
    check(strlen(lk_shape_text(&x, text)) == 8 * 20 + 7 * 2 + 2, "%s", text);
}

/* ---- limits --------------------------------------------------------------------------------- */

Test(tensor, at_most_eight_dimensions)
{
    static const int64_t ones[9] = { 1, 1, 1, 1, 1, 1, 1, 1, 1 };
    Error err = { 0 };
    Tensor *x = lk_tensor_new(LK_F32, 8, ones, &err);
    check(x && x->ndim == 8);
    lk_free(x);
    check(!lk_tensor_new(LK_F32, 9, ones, &err));
    check_error(&err, LK_ESHAPE, "9 dimensions; 0 to 8 are possible");
    err = (Error){ 0 };
    check(!lk_tensor_new(LK_F32, -1, ones, &err));
    check_error(&err, LK_ESHAPE, "-1 dimensions");
}

Test(tensor, negative_sizes)
{
    Error err = { 0 };
    check(!lk_tensor_new(LK_F32, LK_SHAPE(2, -3, 4), &err));
    check_error(&err, LK_ESHAPE, "size -3 of dimension 1 is negative");
    err = (Error){ 0 };
    check(!lk_tensor_new(LK_F32, LK_SHAPE(INT64_MIN), &err));
    check_error(&err, LK_ESHAPE, "negative");
}

/* Products that overflow, wrap to 0 or to something small, or are only larger than any machine:
 * never a small block. */
Test(tensor, absurd_sizes_are_refused_before_anything_is_allocated)
{
    enum { ROWS = 9, COLUMNS = 8 };
    static const struct {
        int ndim;
        int64_t shape[COLUMNS];
    } absurd[ROWS] = {
        { 1, { INT64_MAX } },
        { 1, { INT64_MAX / 2 + 1 } },
        { 2, { (int64_t)1 << 32, (int64_t)1 << 32 } },       /* 2^64: wraps to 0 */
        { 2, { ((int64_t)1 << 32) + 1, (int64_t)1 << 32 } }, /* wraps to 2^32 */
        { 4, { (int64_t)1 << 16, (int64_t)1 << 16, (int64_t)1 << 16, (int64_t)1 << 16 } },
        { 8, { 1 << 20, 1 << 20, 1 << 20, 1 << 20, 1, 1, 1, 3 } },
        /* no element, but strides that overflow */
        { 3, { 0, INT64_MAX, INT64_MAX } },
        { 3, { INT64_MAX, 2, 0 } },
        { 2, { 3, INT64_MAX } },
    };
    check_alloc_begin();
    Tape *t = lk_tape_new(NULL);
    lk_tape_on_error(t, NULL, NULL);
    int64_t before = check_alloc_count();
    for (int i = 0; i < DTYPES; i++)
        for (int row = 0; row < ROWS; row++) {
            Error err = { 0 };
            check(!lk_tensor_new(all_dtypes[i], absurd[row].ndim, absurd[row].shape, &err),
                  "shape %d", row);
            check_error(&err, LK_EMEMORY, "larger than any memory");
            check(!lk_zeros(t, all_dtypes[i], absurd[row].ndim, absurd[row].shape),
                  "shape %d on a tape", row);
            check_error(lk_tape_error(t), LK_EMEMORY, "larger than any memory");
            lk_tape_clear_error(t);
        }
    check(check_alloc_count() == before);
    lk_tape_free(t);
    check(check_alloc_live() == 0);
}

/* A machine with 2^40 bytes. The heap of a sanitizer would refuse too, with a report. */
static void *limited_alloc(size_t bytes)
{
    return (uint64_t)bytes > (uint64_t)1 << 40 ? NULL : aligned_alloc(64, bytes);
}

Test(tensor, more_than_the_machine_has)
{
    Error err = { 0 };
    lk_set_allocator(limited_alloc, free);
    check(!lk_tensor_new(LK_F64, LK_SHAPE((int64_t)1 << 28, (int64_t)1 << 28), &err));
    check_error(&err, LK_EMEMORY,
                "no memory for (268435456, 268435456) of float64 (576460752303423488 bytes)");
    Tape *t = lk_tape_new(NULL);
    lk_tape_on_error(t, NULL, NULL);
    check(!lk_zeros(t, LK_F64, LK_SHAPE((int64_t)1 << 28, (int64_t)1 << 28)));
    check_error(lk_tape_error(t), LK_EMEMORY, "no memory for 576460752303");
    lk_tape_clear_error(t);
    check(lk_zeros(t, LK_F64, LK_SHAPE(3)), "the tape goes on");
    lk_tape_free(t);
}

/* ---- owners --------------------------------------------------------------------------------- */

Test(tensor, the_last_owner_frees)
{
    check_alloc_begin();
    Tensor *x = make_param(LK_F32, LK_SHAPE(2), 1, 2);
    check(lk_retain(x) == x && lk_retain(x) == x && x->refs == 3);
    lk_free(x);
    lk_free(x);
    check(check_alloc_live() == 1);
    check_values(x, 0, 1, 2);
    lk_free(x);
    check(check_alloc_live() == 0);
    lk_tensor_free(NULL);
    check(!lk_tensor_retain(NULL));
}

Test(tensor, the_last_owner_frees_the_gradient_too)
{
    check_alloc_begin();
    Tape *t = lk_tape_new(NULL);
    Tensor *x = make_param(LK_F32, LK_SHAPE(2), 1, 2), *y = make_param(LK_F32, LK_SHAPE(2), 1, 2);
    check(lk_backward(t, lk_sum(t, lk_mul(t, x, y), LK_ALL, false)));
    check(lk_grad(x) && lk_grad(y));
    lk_zero_grad_(y); /* the memory is kept, and still has to go */
    lk_tape_free(t);
    lk_free(x);
    lk_free(y);
    check(check_alloc_live() == 0);
}

static void count_call(void *holder) { ++*(int *)holder; }

Test(tensor, from_blob)
{
    check_alloc_begin();
    float values[6] = { 1, 2, 3, 4, 5, 6 };
    int released = 0;
    Tensor *x = lk_from_blob_new(LK_F32, LK_SHAPE(2, 3), values, count_call, &released, NULL);
    check_shape(x, LK_SHAPE(2, 3));
    check(x->data == values && x->storage->bytes == sizeof values && lk_is_contiguous(x));
    check(lk_fill_(x, 7) && values[5] == 7);
    lk_retain(x);
    lk_free(x);
    check(released == 0);
    lk_free(x);
    check(released == 1);

    /* Converted, it is on memory of its own. */
    x = lk_from_blob_new(LK_F32, LK_SHAPE(2), values, count_call, &released, NULL);
    check(lk_convert_(x, LK_F64, NULL) && released == 2);
    check(lk_convert_(x, LK_F32, NULL));
    values[0] = 0;
    check_values(x, 0, 7, 7);
    lk_free(x);
    check(released == 2);

    /* Without an Error the failure is silent, and it gives the memory back too. */
    lk_free(lk_from_blob_new(LK_F32, LK_SHAPE(2), values, NULL, NULL, NULL));
    Error err = { 0 };
    check_fail_after(0);
    check(!lk_from_blob_new(LK_F32, LK_SHAPE(2), values, count_call, &released, &err) &&
          released == 3);
    check_error(&err, LK_EMEMORY, "no memory");
    check_fail_after(-1);
    check(!lk_from_blob_new(LK_F32, LK_SHAPE(-1), values, NULL, NULL, NULL));
    check(check_alloc_live() == 0);
}

Test(tensor, the_tape_owns_what_operations_make)
{
    Tape *t = lk_tape_new(NULL);
    Tensor *y = lk_ones(t, LK_F32, LK_SHAPE(2));
    check(y->refs == 0 && lk_retain(y) == y && y->refs == 0, "a tape's tensor cannot be retained");
    lk_free(y);
    check_values(y, 0, 1, 1);
    lk_tape_free(t);
}

Test(tensor, lists)
{
    check_alloc_begin();
    Tensor *x = make_tensor(LK_F32, LK_SHAPE(1), 1);
    TensorList list = { lk_mem_alloc(2 * sizeof *list.items), 2 };
    list.items[0] = lk_retain(x);
    list.items[1] = make_tensor(LK_F32, LK_SHAPE(1), 2);
    lk_tensor_list_free(&list);
    check(!list.items && list.count == 0 && x->refs == 1 && check_alloc_live() == 1);
    lk_tensor_list_free(&list);
    lk_tensor_list_free(NULL);
    lk_free(x);
    check(check_alloc_live() == 0);
}

Test(tensor, parameters_are_floating_leaves)
{
    Error err = { 0 };
    Tensor *w = lk_param_new(LK_F64, LK_SHAPE(2, 2), &err);
    check(w && w->requires_grad && w->is_parameter && lk_count(w) == 0 && !lk_grad_fn(w));
    lk_free(w);
    check(!lk_param_new(LK_I64, LK_SHAPE(2), &err));
    check_error(&err, LK_EDTYPE, "a parameter is float32 or float64, not int64");
}

Test(tensor, an_error_that_is_set_is_kept)
{
    Error err = { 0 };
    check(!lk_tensor_new(LK_F32, LK_SHAPE(-1), &err));
    check(!lk_param_new(LK_U8, LK_SHAPE(1), &err));
    check_error(&err, LK_ESHAPE, "size -1");
    check(!lk_tensor_new(LK_F32, LK_SHAPE(-1), NULL), "err is optional");
}

/* Every constructor, with every allocation failing in turn. */
Test(tensor, constructors_without_memory)
{
    for (int which = 0; which < 5; which++) {
        check_alloc_begin();
        Tensor *x = make_tensor(LK_F32, LK_SHAPE(3), 1, 2, 3);
        for (int64_t n = 0, failed = 1; failed; n++) {
            Error err = { 0 };
            Tensor *made = NULL;
            bool done = false;
            check_fail_after(n);
            switch (which) {
            case 0: made = lk_tensor_new(LK_F64, LK_SHAPE(2, 2), &err); break;
            case 1: made = lk_tensor_from_new(LK_F32, LK_SHAPE(3), x->data, &err); break;
            case 2: made = lk_param_new(LK_F32, LK_SHAPE(0), &err); break;
            case 3: made = lk_clone(x, &err); break;
            case 4: done = lk_convert_(x, LK_F64, &err); break;
            }
            failed = check_alloc_failed();
            check((made || done) == !failed, "constructor %d, allocation %lld", which,
                  (long long)n);
            if (failed) check_error(&err, LK_EMEMORY, "no memory for");
            else check_no_error(&err);
            check_values(x, 0, 1, 2, 3); /* also what was to be converted */
            lk_free(made);
        }
        check_fail_after(-1);
        lk_free(x);
        check(check_alloc_live() == 0, "constructor %d leaks", which);
    }
}
