/* test_tape.c - the tape itself: its first error, its memory, several tapes, deep graphs. The
 * results of backward: test_autograd.c; lk_tape_mark and lk_tape_release: test_mark.c. */
#include <string.h>

#include "core/op.h"
#include "core/ops.h"
#include "tests/check.h"

#include <criterion/redirect.h> /* after criterion.h, or cr_assert is another macro */

static Tensor *total(Tape *t, Tensor *x) { return lk_sum(t, x, LK_ALL, false); }

/* ---- errors --------------------------------------------------------------------------------- */

typedef struct Heard {
    int times;
    Error last;
} Heard;

static void hear(const Error *err, void *user)
{
    Heard *h = user;
    h->times++;
    h->last = *err;
}

Test(tape, the_first_error_is_kept_and_told_once)
{
    Tape *t = lk_tape_new(NULL);
    Heard heard = { 0 };
    lk_tape_on_error(t, hear, &heard);
    Tensor *x = make_param(LK_F32, LK_SHAPE(2, 3), 1, 2, 3, 4, 5, 6),
           *w = make_param(LK_F32, LK_SHAPE(2), 1, 2);
    check(lk_tape_error(t)->code == LK_OK && heard.times == 0);

    Tensor *bad = lk_matmul(t, x, x);
    /* a result of NULL is NULL */
    Tensor *loss = total(t, lk_mul(t, lk_relu(t, bad), x));
    check(!bad && !loss);
    check(!lk_add(t, x, lk_zeros(t, LK_F32, LK_SHAPE(5))) && !lk_fail(t, LK_EIO, "later"));
    check_error(lk_tape_error(t), LK_ESHAPE,
                "lk_matmul: (2, 3) @ (2, 3): inner sizes 3 and 2 differ");
    check(heard.times == 1 && heard.last.code == LK_ESHAPE);
    check(strcmp(heard.last.message, lk_tape_error(t)->message) == 0, "%s", heard.last.message);

    Tensor *good = total(t, lk_mul(t, w, w));
    check(good && lk_item(good) == 5, "operations still compute");
    check(!lk_backward(t, good) && !lk_grad(w), "but backward says that something was wrong");
    check(!lk_backward(t, NULL) && !lk_backward_with(t, w, w, false) && !lk_grad(w),
          "not even of a leaf");
    lk_tape_reset(t);
    check_error(lk_tape_error(t), LK_ESHAPE, "lk_matmul"); /* a reset keeps the error */

    lk_tape_clear_error(t);
    check(lk_tape_error(t)->code == LK_OK && lk_tape_error(t)->message[0] == '\0');
    check(lk_backward(t, total(t, lk_mul(t, w, w))) && heard.times == 1);
    check(!lk_fail(t, LK_EVALUE, "%d is wrong", 3) && heard.times == 2);
    check_error(&heard.last, LK_EVALUE, "3 is wrong");
    lk_free(x), lk_free(w);
    lk_tape_free(t);
}

Test(tape, the_default_handler_prints_the_first_message, .init = cr_redirect_stderr)
{
    Tape *t = lk_tape_new(NULL);
    lk_fail(t, LK_EVALUE, "lk_name: the first");
    lk_fail(t, LK_EVALUE, "lk_name: the second");
    fflush(stderr);
    cr_assert_stderr_eq_str("lk_name: the first\n");
    lk_tape_free(t);
}

Test(tape, a_silenced_tape_prints_nothing, .init = cr_redirect_stderr)
{
    Tape *t = quiet_tape();
    lk_fail(t, LK_EVALUE, "lk_name: the first");
    check_error(lk_tape_error(t), LK_EVALUE, "the first");
    fprintf(stderr, "end");
    fflush(stderr);
    cr_assert_stderr_eq_str("end");
    lk_tape_free(t);
}

Test(tape, long_messages_are_cut)
{
    Tape *t = quiet_tape();
    char text[2000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    lk_fail(t, LK_EVALUE, "%s", text);
    check(strlen(lk_tape_error(t)->message) == sizeof lk_tape_error(t)->message - 1);
    lk_tape_free(t);
}

Test(tape, new_and_free)
{
    Error err = { 0 };
    check_alloc_begin();
    check_fail_after(0);
    check(!lk_tape_new(&err));
    check_error(&err, LK_EMEMORY, "lk_tape_new: no memory");
    check_fail_after(-1);
    Tape *t = lk_tape_new(&err);
    check(lk_tape_grad(t) && lk_tape_error(t)->code == LK_OK);
    lk_tape_reset(t);
    lk_tape_free(t);
    lk_tape_free(NULL);
    check(check_alloc_live() == 0);
}

/* ---- memory --------------------------------------------------------------------------------- */

Test(tape, reset_gives_the_same_memory_for_the_same_step)
{
    check_alloc_begin();
    Tape *t = quiet_tape();
    Tensor *w = lk_param_new(LK_F32, LK_SHAPE(64, 64), NULL);
    const void *elements[12];
    lk_fill_(w, 0.01);
    int64_t before = 0;
    for (int step = 0; step < 12; step++) {
        Tensor *y = w;
        for (int i = 0; i < 20; i++) y = lk_matmul(t, lk_tanh(t, y), w);
        Tensor *loss = total(t, y);
        check(lk_backward(t, loss) && lk_tape_grad(t));
        elements[step] = loss->data;
        if (step == 5) before = check_alloc_count();
        if (step > 2) check(elements[step] == elements[2], "step %d", step);
        if (step > 5) check(check_alloc_count() == before, "step %d: headers serve again", step);
        lk_tape_reset(t);
        lk_zero_grad_(w);
    }
    lk_tape_set_grad(t, false);
    lk_tape_reset(t);
    check(!lk_tape_grad(t), "a reset keeps the mode");
    lk_tape_free(t);
    lk_free(w);
    check(check_alloc_live() == 0);
}

Test(tape, blocks_and_scratch)
{
    check_alloc_begin();
    Tape *t = quiet_tape();
    char *a = lk_tape_alloc(t, 10), *b = lk_tape_alloc(t, 10), *room = lk_tape_scratch(t, 1000);
    check(a && b && a != b && (uintptr_t)a % 64 == 0 && (uintptr_t)b % 64 == 0 &&
          (uintptr_t)room % 64 == 0);
    check(lk_tape_scratch(t, 10) == room && lk_tape_scratch(t, 0) == room,
          "the same room every time");
    lk_tape_reset(t);
    check(lk_tape_scratch(t, 1000) == room, "a reset keeps it");
    check(lk_tape_alloc(t, 10) == a);
    check(lk_tape_scratch(t, 100000) && lk_tape_error(t)->code == LK_OK);

    check(!lk_tape_alloc(t, SIZE_MAX));
    check_error(lk_tape_error(t), LK_EMEMORY,
                "no memory for 18446744073709551615 bytes more than the 65536 it holds");
    lk_tape_clear_error(t);
    check(!lk_tape_scratch(t, SIZE_MAX));
    check_error(lk_tape_error(t), LK_EMEMORY, "bytes of scratch");
    lk_tape_clear_error(t);
    check(lk_tape_scratch(t, 10) && lk_tape_alloc(t, 10), "smaller wishes are still met");
    lk_tape_free(t);
    check(check_alloc_live() == 0);
}

/* Bytes in use; the arena is in one chunk once the tape was reset with all of it in use before. */
static size_t used(Tape *t) { return lk_tape_mark(t).memory.used; }

static Tensor *chain(Tape *t, Tensor *x, int length)
{
    for (int i = 0; i < length; i++) x = i % 2 ? lk_tanh(t, x) : lk_scale(t, x, 0.99);
    return total(t, x);
}

/* A long chain's gradients live one after the other: backward needs room for a few of them, not
 * for all. */
Test(tape, backward_uses_the_memory_of_gradients_again)
{
    enum { N = 1000, LENGTH = 400, GRADIENT = N * sizeof(double) };
    Tape *t = quiet_tape();
    Tensor *x = lk_param_new(LK_F64, LK_SHAPE(N), NULL);
    lk_fill_(x, 0.5);
    for (int round = 0; round < 3; round++) {
        Tensor *loss = chain(t, x, LENGTH);
        size_t forward = used(t);
        const Chunk *chunk = lk_tape_mark(t).memory.chunk;
        check(lk_backward(t, loss));
        if (round > 0) {
            check(forward > LENGTH * GRADIENT && chunk == lk_tape_mark(t).memory.chunk, "round %d",
                  round);
            check(used(t) - forward < 4 * GRADIENT,
                  "backward of %d steps took %zu bytes, a gradient has %d", LENGTH,
                  used(t) - forward, GRADIENT);
        }
        lk_tape_reset(t);
    }
    lk_free(x);
    lk_tape_free(t);
}

Test(tape, backward_of_many_sizes_uses_memory_again)
{
    /* Eight sizes in turn, 40 times over: eight blocks are alive at most, with their
     * neighbours. */
    enum { ROUNDS = 40, SIZES = 8, WIDTH = 500 };
    Tape *t = quiet_tape();
    Tensor *x = lk_param_new(LK_F32, LK_SHAPE(SIZES * WIDTH), NULL);
    lk_fill_(x, 1);
    for (int round = 0; round < 3; round++) {
        Tensor *y = x;
        for (int i = 0; i < ROUNDS; i++)
            for (int64_t n = SIZES; n > 0; n--) {
                /* shorter and shorter, then long again */
                Tensor *part = lk_slice(t, y, 0, 0, n * WIDTH, 1);
                Tensor *long_again = n > 1 ? NULL : lk_expand(t, part, LK_SHAPE(SIZES, WIDTH));
                y = n > 1 ? lk_scale(t, part, 1) : lk_reshape(t, long_again, LK_SHAPE(-1));
            }
        Tensor *loss = total(t, y);
        size_t forward = used(t);
        check(lk_backward(t, loss));
        size_t backward = used(t) - forward;
        check(round == 0 || backward < 4 * SIZES * SIZES * WIDTH * sizeof(float),
              "backward took %zu bytes", backward);
        lk_tape_reset(t);
    }
    lk_free(x);
    lk_tape_free(t);
}

Test(tape, deep_chain)
{
    enum { DEPTH = 100000 };
    Tape *t = quiet_tape();
    Tensor *x = make_param(LK_F64, LK_SCALAR, 0.25), *y = x;
    for (int i = 0; i < DEPTH; i++) {
        double factor = i % 4 == 1 ? 2 : 0.5;
        y = i % 2 ? lk_scale(t, y, factor) : lk_add_scalar(t, y, 1);
    }
    check(lk_backward(t, y), "%s", lk_tape_error(t)->message);
    check_values(lk_grad(x), 0, 1);
    lk_tape_reset(t);
    lk_zero_grad_(x);
    check(lk_backward(t, lk_mul(t, x, x)));
    check_values(lk_grad(x), 0, 0.5);
    lk_free(x);
    lk_tape_free(t);
}

/* ---- several tapes -------------------------------------------------------------------------- */

Test(tape, parameters_may_be_used_on_several_tapes)
{
    Tape *a = quiet_tape(), *b = quiet_tape();
    Tensor *w = make_param(LK_F32, LK_SHAPE(2), 1, 2);
    Tensor *first = total(a, lk_mul(a, w, w)), *second = total(b, lk_scale(b, w, 10));
    check(lk_backward(b, second) && lk_backward(a, first));
    check_values(lk_grad(w), 0, 12, 14);
    lk_tape_free(b);
    check_values(lk_grad(w), 0, 12, 14);
    lk_free(w);
    lk_tape_free(a);
}

Test(tape, results_of_another_tape)
{
    Tape *a = quiet_tape(), *b = quiet_tape();
    Tensor *w = make_param(LK_F32, LK_SHAPE(2), 1, 2), *h = lk_scale(a, w, 3);
    check(!lk_mul(b, h, w));
    check_error(lk_tape_error(b), LK_ESTATE, "MulBackward0: input 0 was computed on another tape");
    lk_tape_clear_error(b);
    Tensor *y = total(b, lk_mul(b, lk_detach(b, h), w)); /* as a constant it is welcome */
    check(lk_backward(b, y));
    check_values(lk_grad(w), 0, 3, 6);
    lk_tape_set_grad(b, false);
    check_values(lk_mul(b, h, h), 0, 9, 36);
    lk_free(w);
    lk_tape_free(a);
    lk_tape_free(b);
}

/* Its gradient would lie on the tape of the operation, and be gone with that while the leaf is
 * still there. */
Test(tape, leaves_of_another_tape)
{
    Tape *a = quiet_tape(), *b = quiet_tape();
    Tensor *leaf = lk_full(a, LK_F32, LK_SHAPE(1), 3), *w = make_param(LK_F32, LK_SHAPE(1), 1);
    lk_set_requires_grad(leaf, true);
    check(!lk_backward(b, lk_mul(b, w, leaf)));
    check_error(lk_tape_error(b), LK_ESTATE,
                "input 1 of MulBackward0 is a leaf of another tape; lk_clone it");
    check(!lk_grad(leaf) && !lk_grad(w));
    lk_tape_clear_error(b);
    check(!lk_backward(b, leaf));
    check_error(lk_tape_error(b), LK_ESTATE, "belongs to another tape");
    lk_tape_clear_error(b);
    check(lk_backward(a, lk_mul(a, w, leaf)));
    check_values(lk_grad(leaf), 0, 1);
    check_values(lk_grad(w), 0, 3);
    lk_free(w);
    lk_tape_free(a);
    lk_tape_free(b);
}

/* ---- threads -------------------------------------------------------------------------------- */

Test(tape, number_of_threads)
{
    int all = lk_get_num_threads();
    check(all >= 1);
    lk_set_num_threads(1);
    check(lk_get_num_threads() == 1);
#ifdef _OPENMP
    lk_set_num_threads(3);
    check(lk_get_num_threads() == 3);
#endif
    lk_set_num_threads(0);
    check(lk_get_num_threads() >= 1);
}

#ifndef __SANITIZE_ADDRESS__ /* which reports already that the tensor is looked at */
Test(tape, backward_of_a_tensor_from_before_the_reset_is_refused)
{
    Tape *t = lk_tape_new(NULL);
    lk_tape_on_error(t, NULL, NULL);
    Tensor *x = make_param(LK_F32, LK_SHAPE(2), 1, 2);
    Tensor *stale = lk_sum(t, x, LK_ALL, false);
    lk_tape_reset(t);
    check(!lk_backward(t, stale));
    check_error(lk_tape_error(t), LK_ESTATE, "before the last lk_tape_reset");
    check(!lk_grad(x));
    lk_tensor_free(x);
    lk_tape_free(t);
}
#else
#include <sanitizer/asan_interface.h>

/* Memory that was given back counts as freed; memory that is handed out again does not. */
Test(tape, memory_that_was_given_back_is_poisoned)
{
    Tape *t = quiet_tape();
    Tensor *x = lk_ones(t, LK_F64, LK_SHAPE(10));
    const void *data = x->data;
    TapeMark mark = lk_tape_mark(t);
    Tensor *y = lk_scale(t, x, 2), *z = lk_scale(t, x, 3);
    const void *moves_to = y->data;
    check(lk_tape_release(t, mark, z) == z && z->data == moves_to);
    check(!__asan_region_is_poisoned(z->data, 80) && !__asan_region_is_poisoned(x->data, 80));
    check(__asan_address_is_poisoned((char *)z->data + 128));
    lk_tape_reset(t);
    check(__asan_address_is_poisoned(data) && lk_is_stale(x),
          "the header stays, to say what happened");
    Tensor *next = lk_ones(t, LK_F64, LK_SHAPE(10));
    check(next->data == data && !__asan_region_is_poisoned(next->data, 80));
    lk_tape_free(t);
}
#endif

/* Marks of a refused backward do not lead the next one astray. */
Test(tape, a_refused_backward_does_not_stand_in_the_way)
{
    Tape *t = lk_tape_new(NULL);
    lk_tape_on_error(t, NULL, NULL);
    Tensor *w = make_param(LK_F64, LK_SHAPE(1), 2), *c = lk_full(t, LK_F64, LK_SHAPE(1), 3);
    Tensor *h = lk_scale(t, w, 5), *changed = lk_mul(t, h, c), *refused = lk_neg(t, changed),
           *y = lk_scale(t, h, 7);
    lk_fill_(c, 4);
    check(!lk_backward(t, refused));
    check_error(lk_tape_error(t), LK_ESTATE, "changed in place");
    lk_tape_clear_error(t);
    check(lk_backward(t, y), "%s", lk_tape_error(t)->message);
    check_values(lk_grad(w), 0, 35);
    lk_free(w);
    lk_tape_free(t);
}
