/* test_step.c - a training step allocates nothing after warm-up, and no allocation that fails does
 * any harm: not in any operation, not in backward, not in lk_gradcheck. */
#include <string.h>

#include "core/gradcheck.h"
#include "core/op.h"
#include "core/ops.h"
#include "data/loader.h"
#include "optim/optimizer.h"
#include "tests/shared/nets.h"

/* ---- no allocation after warm-up ------------------------------------------------------------ */

enum { WARM_UP = 3 };

/* Does something, and after the warm-up steps checks that it allocated nothing. */
#define PHASE(step, ...) \
    do { \
        int64_t before_ = check_alloc_count(); \
        __VA_ARGS__; \
        check((step) < WARM_UP || check_alloc_count() == before_, \
              "step %d: %lld allocations in %s", (int)(step), \
              (long long)(check_alloc_count() - before_), #__VA_ARGS__); \
    } while (0)

Test(step, with_operations_alone)
{
    check_alloc_begin();
    Tape *t = quiet_tape();
    Rng rng;
    lk_manual_seed(&rng, 0);
    Tensor *w[] = { lk_param_new(LK_F32, LK_SHAPE(100, 20), NULL),
                    lk_param_new(LK_F32, LK_SHAPE(100), NULL),
                    lk_param_new(LK_F32, LK_SHAPE(5, 100), NULL),
                    lk_param_new(LK_F32, LK_SHAPE(5), NULL) };
    for (int i = 0; i < 4; i++) lk_uniform_(w[i], -0.1, 0.1, &rng);
    Tensor *x = lk_tensor_new(LK_F32, LK_SHAPE(64, 20), NULL),
           *labels = lk_tensor_new(LK_I64, LK_SHAPE(64), NULL);
    double first = 0, last = 0;
    for (int step = 0; step < 10; step++) {
        lk_normal_(x, 0, 1, &rng);
        for (int i = 0; i < 64; i++) ((int64_t *)labels->data)[i] = ((float *)x->data)[i * 20] > 0;
        lk_touch(labels);
        Tensor *y = NULL, *loss = NULL;
        bool ok = false;
        PHASE(step, y = lk_linear(t, lk_relu(t, lk_linear(t, x, w[0], w[1])), w[2], w[3]));
        PHASE(step, loss = lk_cross_entropy(t, y, labels));
        PHASE(step, ok = lk_backward(t, loss));
        check(ok, "%s", lk_tape_error(t)->message);
        last = lk_item(loss);
        if (step == 0) first = last;
        lk_tape_set_grad(t, false); /* with torch.no_grad(): accuracy and w -= lr * w.grad */
        PHASE(step, lk_count(lk_eq(t, lk_argmax(t, y, 1, false), labels)));
        for (int i = 0; i < 4; i++)
            PHASE(step,
                  check(lk_copy_(w[i], lk_sub(t, w[i], lk_scale(t, lk_grad(w[i]), 0.5)), NULL)));
        lk_tape_set_grad(t, true);
        for (int i = 0; i < 4; i++) PHASE(step, lk_zero_grad_(w[i]));
        PHASE(step, lk_tape_reset(t));
    }
    check(last < 0.7 * first, "it trains: from %g to %g", first, last);
    for (int i = 0; i < 4; i++) lk_free(w[i]);
    lk_free(x), lk_free(labels);
    lk_tape_free(t);
    check(check_alloc_live() == 0);
}

/* 100 random images of 12 bytes in 3 classes, told apart by their first byte. */
static Dataset *images(void)
{
    Rng rng;
    lk_manual_seed(&rng, 1);
    Tensor *x = lk_tensor_new(LK_U8, LK_SHAPE(100, 12), NULL),
           *y = lk_tensor_new(LK_I64, LK_SHAPE(100), NULL);
    for (int i = 0; i < 1200; i++) ((uint8_t *)x->data)[i] = (uint8_t)lk_random_int(&rng, 0, 256);
    for (int i = 0; i < 100; i++) ((int64_t *)y->data)[i] = ((uint8_t *)x->data)[i * 12] / 86;
    return lk_dataset_new(x, y, LK_MNIST_NORMALIZE, NULL);
}

/* Batches of 16, the last of an epoch with 4: for every optimizer, and in all three states of
 * exercise 6. */
static void train(Module *net, Optimizer *opt, const Dataset *dataset, Rng *rng, int epochs)
{
    Tape *t = quiet_tape();
    Error err = { 0 };
    DataLoader *loader = lk_loader_new(dataset, 16, true, rng, &err);
    check_no_error(&err);
    for (int epoch = 0, step = 0; epoch < epochs; epoch++) {
        PHASE(step, lk_loader_begin(loader));
        for (Batch b;; step++) {
            bool more = false, ok = false;
            Tensor *loss = NULL;
            PHASE(step, more = lk_loader_next(loader, &b));
            if (!more) break;
            PHASE(step, loss = lk_cross_entropy(t, lk_forward(t, net, b.x), b.y));
            PHASE(step, lk_optimizer_zero_grad(opt));
            PHASE(step, ok = lk_backward(t, loss));
            check(ok, "%s", lk_tape_error(t)->message);
            PHASE(step, ok = lk_step(opt, &err));
            check(ok, "%s", err.message);
            PHASE(step, lk_tape_reset(t));
        }
        lk_tape_set_grad(t, false); /* evaluation, with the layers' memory given back on the way */
        int64_t correct = 0;
        PHASE(epoch * 100, lk_loader_begin(loader));
        for (Batch b; lk_loader_next(loader, &b);) {
            PHASE(epoch * 100,
                  correct +=
                  lk_count(lk_eq(t, lk_argmax(t, lk_forward(t, net, b.x), 1, false), b.y)));
            PHASE(epoch * 100, lk_tape_reset(t));
        }
        check(correct >= 0 && correct <= 100);
        lk_tape_set_grad(t, true);
    }
    lk_loader_free(loader);
    lk_tape_free(t);
}

Test(step, with_modules_loader_and_every_optimizer)
{
    check_alloc_begin();
    Dataset *dataset = images();
    for (int which = 0; which < 4; which++) /* plain; with LoRA; with LoRA and frozen Linears */
        for (int state = 0; state < 3; state++) {
            Rng rng;
            Error err = { 0 };
            lk_manual_seed(&rng, 2);
            Module *net = net_new(12, 32, 16, 3, &rng, &err);
            if (state > 0) check(net_add_lora(net, 2, 4, &rng, &err));
            if (state > 1) check(lk_freeze_linears(net) == 3);
            check_no_error(&err);
            TensorList params = lk_parameters(net, &err);
            Optimizer *opt;
            if (which == 0) opt = lk_adam_new(params, 1e-3, &err);
            else if (which == 1) opt = lk_adamw_new(params, 1e-3, &err);
            else opt = lk_sgd_new(params, 1e-2, &err);
            check_no_error(&err);
            if (which == 3) opt->momentum = 0.9;
            train(net, opt, dataset, &rng, 3);
            lk_optimizer_free(opt);
            lk_free(net);
        }
    lk_dataset_free(dataset);
    check(check_alloc_live() == 0);
}

/* ---- every allocation fails ----------------------------------------------------------------- */

/* x (4, 3), w (3, 3), b (3), float64: a loss that goes through every differentiable operation. */
static Tensor *every_operation(Tape *t, Tensor *const *in)
{
    Tensor *x = in[0], *w = in[1], *b = in[2], *loss = lk_scalar(t, LK_F64, 0), *index = NULL;
    Tensor *positive = lk_add_scalar(t, lk_mul(t, x, x), 1), *turned = lk_T(t, x);
    Tensor *labels = lk_tensor(t, LK_I64, LK_SHAPE(4), (int64_t[]){ 1, 0, 2, 1 });
    Tensor *mask = lk_gt(t, lk_arange(t, 0, 4), lk_full(t, LK_I64, LK_SCALAR, 1));
    Tensor *half[2];
    lk_chunk(t, x, 2, 0, half);
    lk_tape_seed(t, 1);
    Tensor *terms[] = {
        lk_sub(t, lk_neg(t, x), b),
        lk_div(t, b, positive),
        lk_pow(t, positive, lk_unsqueeze(t, b, 0)),
        lk_pow_scalar(t, lk_scale(t, positive, 0.5), 1.5),
        lk_log(t, lk_sqrt(t, positive)),
        lk_exp(t, lk_sigmoid(t, lk_tanh(t, x))),
        lk_abs(t, lk_relu(t, turned)),
        lk_gelu(t, turned),
        lk_matmul(t, x, w),
        lk_matmul(t, lk_reshape(t, x, LK_SHAPE(2, 2, 3)), lk_transpose(t, w, 0, 1)),
        lk_linear(t, x, w, b),
        lk_linear(t, b, lk_mul(t, w, w), NULL),
        lk_permute(t, lk_expand(t, x, LK_SHAPE(2, 4, 3)), LK_DIMS(2, 0, 1)),
        lk_reshape(t, turned, LK_SHAPE(6, 2)), /* copies */
        lk_view(t, lk_contiguous(t, turned), LK_SHAPE(-1)),
        lk_slice(t, x, 0, 0, 4, 2),
        lk_select(t, lk_squeeze(t, lk_unsqueeze(t, x, 0), 0), 1, 2),
        lk_to(t, lk_to(t, x, LK_F32), LK_F64),
        lk_select_rows(t, x, labels),
        lk_mask_rows(t, x, mask),
        lk_matmul(t, lk_reshape(t, x, LK_SHAPE(2, 2, 3)), lk_unsqueeze(t, w, 0)),
        lk_gather(t, x, 1, lk_unsqueeze(t, labels, 1)),
        lk_cat(t, LK_TENSORS(x, w, x), 0),
        lk_masked_fill(t, x, lk_unsqueeze(t, mask, 1), -1),
        lk_stack(t, LK_TENSORS(half[0], half[1]), 1),
        lk_pad(t, lk_flip(t, x, LK_ALL), LK_PADS(1, 0, -1, 1), 2),
        lk_roll(t, lk_tril(t, x, 1), LK_SHIFTS(1), LK_ALL),
        lk_repeat(t, lk_repeat_interleave(t, turned, 2, 0), LK_SHAPE(2, 1)),
        lk_scatter_add(t, x, 1, lk_unsqueeze(t, labels, 1), x),
        lk_index_add(t, w, 0, labels, x),
        lk_cumsum(t, lk_sort(t, turned, 1, true, NULL), 0),
        lk_topk(t, x, 2, 0, true, &index),
        lk_einsum(t, "ij,kj->ki", x, w),
        lk_outer(t, b, b),
        lk_attention(t, lk_unsqueeze(t, x, 0), lk_unsqueeze(t, w, 0), lk_unsqueeze(t, w, 0), NULL,
                     1, 0),
        lk_mean(t, x, LK_DIMS(0), true),
        lk_max(t, x, LK_DIMS(1), false),
        lk_min(t, lk_T(t, x), LK_ALL, false),
        lk_max_dim(t, lk_T(t, x), 0, false, &index),
        lk_min_dim(t, x, 0, true, NULL),
        lk_softmax(t, lk_T(t, x), 0),
        lk_log_softmax(t, x, 1),
        lk_cross_entropy(t, lk_linear(t, x, w, NULL), labels),
        lk_layer_norm(t, turned, 2, lk_T(t, positive), NULL, 1e-5),
        lk_residual_norm(t, x, lk_T(t, lk_contiguous(t, turned)), 0.25, b, b, 1e-5),
        lk_embedding(t, turned, labels, 0),
        lk_mse_loss(t, x, lk_T(t, lk_contiguous(t, lk_T(t, positive)))),
    };
    for (size_t i = 0; i < sizeof terms / sizeof *terms; i++)
        loss = lk_add(t, loss,
                      lk_scale(t, lk_sum(t, terms[i], LK_ALL, false), 0.1 * (double)(i + 1)));
    lk_count(lk_eq(t, lk_argmax(t, x, 1, false), labels));
    lk_retain_grad(positive);
    return loss;
}

typedef struct Net3 {
    Tensor *x[3], *expected[3]; /* leaves, and their gradients when nothing fails */
} Net3;

static bool run(Tape *t, Tensor *const *x)
{
    for (int i = 0; i < 3; i++) lk_zero_grad_(x[i]);
    return lk_backward(t, every_operation(t, x));
}

static Net3 net3_new(void)
{
    Net3 n;
    Rng rng;
    Tape *t = quiet_tape();
    lk_manual_seed(&rng, 3);
    n.x[0] = lk_param_new(LK_F64, LK_SHAPE(4, 3), NULL);
    n.x[1] = lk_param_new(LK_F64, LK_SHAPE(3, 3), NULL);
    n.x[2] = lk_param_new(LK_F64, LK_SHAPE(3), NULL);
    for (int i = 0; i < 3; i++) lk_normal_(n.x[i], 0, 1, &rng);
    check(run(t, n.x), "%s", lk_tape_error(t)->message);
    for (int i = 0; i < 3; i++) n.expected[i] = lk_clone(lk_grad(n.x[i]), NULL);
    lk_tape_free(t);
    return n;
}

static void net3_free(Net3 *n)
{
    for (int i = 0; i < 3; i++) lk_free(n->x[i]), lk_free(n->expected[i]);
}

/* A failed step says so; then the same tape does the same work as if nothing had been. */
static void check_recovers(Tape *t, const Net3 *n, bool ok)
{
    if (!ok) check_error(lk_tape_error(t), LK_EMEMORY, "no memory");
    check_fail_after(-1);
    lk_tape_clear_error(t);
    lk_tape_reset(t);
    check(run(t, n->x), "%s", lk_tape_error(t)->message);
    for (int i = 0; i < 3; i++) check_equal(lk_grad(n->x[i]), n->expected[i]);
}

/* The heap fails from the n-th request on, or at the n-th alone. */
Test(no_memory, heap)
{
    check_alloc_begin();
    Net3 n = net3_new();
    for (int once = 0; once < 2; once++) {
        int failures = 0;
        for (int64_t at = 0, failed = 1; failed; at++) {
            for (int i = 0; i < 3; i++) { /* new leaves: their gradients are allocated too */
                Tensor *x = lk_clone(n.x[i], NULL);
                lk_set_requires_grad(x, true);
                lk_free(n.x[i]);
                n.x[i] = x;
            }
            Tape *t = quiet_tape();
            if (once) check_fail_once(at);
            else check_fail_after(at);
            bool ok = run(t, n.x);
            failed = check_alloc_failed();
            failures += !ok;
            check(once ? ok || failed : ok == !failed, "allocation %lld: %s", (long long)at,
                  lk_tape_error(t)->message);
            check_recovers(t, &n, ok);
            lk_tape_free(t);
        }
        check(failures >= 5, "only %d failures", failures);
    }
    net3_free(&n);
    check(check_alloc_live() == 0);
}

/* Every single block of the arena fails once: the graph gets 64 bytes more each time, until it has
 * enough. */
Test(no_memory, arena)
{
    enum { CHUNK = 1 << 20 };
    check_alloc_begin();
    Net3 n = net3_new();
    bool ok = false;
    size_t room = 0;
    for (; !ok && room < CHUNK; room += 64) {
        Tape *t = quiet_tape();
        /* headers for the graph; no_memory::heap fails at each of theirs */
        for (int step = 0; step < 5; step++) {
            for (int i = 0; i < 60; i++) check(lk_scalar(t, LK_F32, 0));
            lk_tape_reset(t);
        }
        TapeMark empty = lk_tape_mark(t);
        check(lk_tape_alloc(t, CHUNK) && lk_tape_scratch(t, CHUNK));
        lk_tape_release(t, empty, NULL);
        check(lk_tape_alloc(t, CHUNK - room));
        check_fail_after(0);
        ok = run(t, n.x);
        check(ok == (lk_tape_error(t)->code == LK_OK), "with %zu bytes", room);
        if (!ok) check_error(lk_tape_error(t), LK_EMEMORY, "no memory for");
        if (room % 1024 == 0 || ok) check_recovers(t, &n, ok);
        check_fail_after(-1);
        lk_tape_free(t);
    }
    check(ok && room > 20000, "%zu bytes were enough", room);
    net3_free(&n);
    check(check_alloc_live() == 0);
}

/* ---- lk_gradcheck --------------------------------------------------------------------------- */

/* Strided, and too large for the first chunk of a tape. */
static Tensor *stretched(Tape *t, Tensor *const *x, void *user)
{
    (void)user;
    return lk_T(t, lk_mul(t, lk_expand(t, x[0], LK_SHAPE(3000, 2)), x[1]));
}

/* Without a graph, and packed only when values are compared. */
static Tensor *stretched_constant(Tape *t, Tensor *const *x, void *user)
{
    (void)x, (void)user;
    return lk_expand(t, lk_full(t, LK_F64, LK_SHAPE(2), 3), LK_SHAPE(30000, 2));
}

static void gradcheck_without_memory(GradcheckFn *f)
{
    check_alloc_begin();
    Tape *t = quiet_tape();
    const double values[] = { 0.5, -2 };
    Tensor *x[] = { make_param(LK_F64, LK_SHAPE(2), 0.5, -2),
                    make_param(LK_F64, LK_SHAPE(2), 0.5, -2) };
    check(lk_backward(t, lk_sum(t, x[0], LK_ALL, false)));
    lk_tape_free(t);
    int64_t live = check_alloc_live();
    for (int once = 0; once < 2; once++) {
        int failures = 0;
        for (int64_t at = 0, failed = 1; failed; at++) {
            GradcheckReport r;
            if (once) check_fail_once(at);
            else check_fail_after(at);
            bool ok = lk_gradcheck(f, NULL, 2, x, NULL, NULL, &r);
            failed = check_alloc_failed();
            check_fail_after(-1);
            check(once ? ok || failed : ok == !failed, "allocation %lld: %s", (long long)at,
                  r.message);
            if (!ok)
                check(strstr(r.message, "no memory"), "allocation %lld: %s", (long long)at,
                      r.message);
            failures += !ok;
            check(check_alloc_live() == live, "allocation %lld: %lld blocks leak", (long long)at,
                  (long long)(check_alloc_live() - live));
            for (int i = 0; i < 2; i++) check_bits(x[i], values, 2);
            check_values(lk_grad(x[0]), 0, 1, 1);
            check(!lk_grad(x[1]));
        }
        check(failures >= 4, "only %d failures", failures);
    }
    lk_free(x[0]), lk_free(x[1]);
    check(check_alloc_live() == 0);
}

Test(no_memory, gradcheck)
{
    gradcheck_without_memory(stretched);
    gradcheck_without_memory(stretched_constant);
}
