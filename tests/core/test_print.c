/* test_print.c - the text of tensors, byte for byte that of PyTorch (fixtures/print.h), into files
 * and buffers. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/bfloat16.h"
#include "core/op.h"
#include "tests/core/german.h"

#include "tests/fixtures/print.h"

enum { COUNT_OF_CASES = sizeof printed / sizeof *printed, LONGEST = 16384 };

/* ---- the tensors of the fixtures ------------------------------------------------------------ */

/* The memory of a case as a one-dimensional tensor. */
static Tensor *memory_of(const Printed *p)
{
    Tensor *x = lk_tensor_new(p->dtype, LK_SHAPE(p->count), NULL);
    for (int64_t k = 0; k < p->count; k++) {
        const Formula *f = &p->formula;
        double value = p->values ? p->values[k] : 0;
        if (!p->values && !p->words)
            value = (double)((k * f->factor + f->start) % f->modulus - f->shift) * f->scale;
        switch (p->dtype) {
        case LK_F32: ((float *)x->data)[k] = (float)value; break;
        case LK_F64: ((double *)x->data)[k] = value; break;
        case LK_I64: ((int64_t *)x->data)[k] = p->words ? p->words[k] : (int64_t)value; break;
        case LK_U8: ((uint8_t *)x->data)[k] = (uint8_t)value; break;
        case LK_BOOL: ((bool *)x->data)[k] = value != 0; break;
        case LK_BF16: ((uint16_t *)x->data)[k] = lk__bf16_of_f32((float)value); break;
        case LK_QI8: break;
        }
    }
    return x;
}

typedef struct View {
    Tensor *memory, x;
    Op op;
    Node node;
} View;

/* Fills v with the tensor of a case. The caller frees v->memory. */
static void view_of(const Printed *p, View *v)
{
    *v = (View){ .memory = memory_of(p), .op = { .name = p->grad_fn } };
    v->x = *v->memory;
    v->x.ndim = p->ndim;
    memcpy(v->x.shape, p->shape, sizeof p->shape);
    memcpy(v->x.stride, p->stride, sizeof p->stride);
    v->x.data = (char *)v->x.data + (size_t)p->offset * lk_dtype_size(p->dtype);
    v->x.is_parameter = p->role == PARAMETER || p->role == FROZEN;
    v->x.requires_grad = p->role == LEAF || p->role == PARAMETER || p->grad_fn;
    v->node.op = &v->op;
    if (p->grad_fn) v->x.node = &v->node;
}

/* The text that lk_print or lk_print_size writes into a file. Free it. */
static char *written(void (*print)(FILE *, const Tensor *), const Tensor *x)
{
    char *text = NULL;
    size_t size = 0;
    FILE *file = open_memstream(&text, &size);
    print(file, x);
    fclose(file);
    return text;
}

static void check_text(const char *got, const char *expected, int number)
{
    check(strcmp(got, expected) == 0, "case %d: expected\n%s\ngot\n%s", number, expected, got);
}

/* ---- tests ---------------------------------------------------------------------------------- */

static void check_all_cases(void)
{
    for (int i = 0; i < COUNT_OF_CASES; i++) {
        static char text[LONGEST];
        View v;
        view_of(&printed[i], &v);
        size_t length = lk_tensor_str(&v.x, text, sizeof text);
        check_text(text, printed[i].text, i);
        check(length == strlen(text), "case %d: the text has %zu bytes, %zu are returned", i,
              strlen(text), length);
        char *file = written(lk_print, &v.x);
        check_text(file, printed[i].text, i);
        free(file);
        lk_tensor_free(v.memory);
    }
}

Test(print, as_pytorch)
{
    check(COUNT_OF_CASES > 150, "%d cases", COUNT_OF_CASES);
    check_all_cases();
}

/* A program that took over its user's locale, decimal comma and all, prints the same. */
Test(print, as_pytorch_in_any_locale)
{
    speak_german();
    check_all_cases();
}

/* As snprintf: the length is that of the whole text, what fits is there and ends in '\0', nothing
 * lies behind it. */
Test(print, buffer_of_any_size)
{
    static const char whole[] = "tensor([[1, 2],\n        [3, 4]])";
    Tensor *x = make_tensor(LK_I64, LK_SHAPE(2, 2), 1, 2, 3, 4);
    for (size_t size = 0; size < sizeof whole + 2; size++) {
        char text[sizeof whole + 4];
        memset(text, '#', sizeof text);
        check(lk_tensor_str(x, text, size) == sizeof whole - 1, "size %zu: wrong length", size);
        size_t fits = size > sizeof whole ? sizeof whole : size;
        if (size > 0)
            check(memcmp(text, whole, fits - 1) == 0 && text[fits - 1] == '\0', "size %zu: %s",
                  size, text);
        check(text[fits] == '#', "size %zu: a byte behind the end was written", size);
    }
    check(lk_tensor_str(x, NULL, 0) == sizeof whole - 1);
    check(lk_tensor_str(x, NULL, 100) == sizeof whole - 1);
    lk_tensor_free(x);
}

Test(print, nothing_is_none)
{
    char text[8] = "before";
    check(lk_tensor_str(NULL, text, sizeof text) == 4);
    check_text(text, "None", 0);
    char *file = written(lk_print, NULL), *size = written(lk_print_size, NULL);
    check_text(file, "None", 1);
    check_text(size, "None", 2);
    free(file);
    free(size);
    lk_print(NULL, NULL);
    lk_print_size(NULL, NULL);
}

Test(print, sizes)
{
    static const struct {
        int ndim;
        int64_t shape[LK_MAX_DIMS];
        const char *text;
    } sizes[] = {
        { 0, { 0 }, "torch.Size([])" },
        { 1, { 0 }, "torch.Size([0])" },
        { 1, { 5 }, "torch.Size([5])" },
        { 2, { 1, 3 }, "torch.Size([1, 3])" },
        { 8, { 1, 2, 3, 4, 5, 6, 7, 0 }, "torch.Size([1, 2, 3, 4, 5, 6, 7, 0])" },
    };
    for (int i = 0; i < (int)(sizeof sizes / sizeof *sizes); i++) {
        Tensor *x = lk_tensor_new(LK_F32, sizes[i].ndim, sizes[i].shape, NULL);
        char *text = written(lk_print_size, x);
        check_text(text, sizes[i].text, i);
        free(text);
        lk_tensor_free(x);
    }
}

static void twice_backward(Tape *t, Node *n)
{
    Tensor *dx = lk_grad_in(t, n, 0); /* y = 2x, so dx += 2 dy */
    if (dx) ((float *)dx->data)[0] += 2 * ((const float *)n->grad->data)[0];
}
static const Op TWICE = { "TwiceBackward", twice_backward, { 0 } };

/* Tensors as programs get them: a leaf, what an operation made of it, and its gradient before and
 * after backward. */
Test(print, life_of_a_gradient)
{
    Tape *t = lk_tape_new(NULL);
    Tensor *x = lk_param_new(LK_F32, LK_SCALAR, NULL);
    lk_fill_(x, 1.25);
    Tensor *y = lk_empty(t, LK_F32, LK_SCALAR);
    ((float *)y->data)[0] = 2.5f;
    y = lk_record(t, &TWICE, y, LK_INPUTS(x), NULL, 0);

    char text[100];
    lk_tensor_str(x, text, sizeof text);
    check_text(text, "Parameter containing:\ntensor(1.2500, requires_grad=True)", 0);
    lk_tensor_str(y, text, sizeof text);
    check_text(text, "tensor(2.5000, grad_fn=<TwiceBackward>)", 1);
    lk_tensor_str(lk_grad(x), text, sizeof text);
    check_text(text, "None", 2);
    check(lk_backward(t, y));
    lk_tensor_str(lk_grad(x), text, sizeof text);
    check_text(text, "tensor(2.)", 3);
    lk_tape_free(t);
    lk_tensor_free(x);
}

/* Printing needs no memory, so it works when there is none. */
Test(print, without_memory)
{
    static char text[LONGEST];
    check_alloc_begin();
    Tensor *x = lk_tensor_new(LK_F64, LK_SHAPE(40, 50), NULL);
    check_fail_after(0);
    check(lk_tensor_str(x, text, sizeof text) > 100);
    check(check_alloc_failed() == 0 && check_alloc_count() == 1);
    lk_tensor_free(x);
}
