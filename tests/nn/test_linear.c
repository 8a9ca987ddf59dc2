/* test_linear.c - Linear, activations, Sequential: initial weights bit for bit, values, gradients,
 * indexing. */
#include <math.h>

#include "core/ops.h"
#include "nn/gradcheck.h"
#include "tests/fixtures/modules.h"
#include "tests/shared/nets.h"

/* ---- initial weights ------------------------------------------------------------------------ */

static void check_weights(uint64_t seed, int sizes, const int64_t *size, const uint64_t *expected)
{
    Rng rng;
    lk_manual_seed(&rng, seed);
    for (int i = 0; i + 1 < sizes; i++) {
        Module *m = lk_linear_new(size[i], size[i + 1], true, &rng, NULL);
        const Linear *l = lk_as_linear(m);
        check(checksum(l->weight) == expected[2 * i], "weight of layer %d, seed %d", i, (int)seed);
        check(checksum(l->bias) == expected[2 * i + 1], "bias of layer %d, seed %d", i, (int)seed);
        lk_free(m);
    }
}

Test(linear, initial_weights_are_pytorchs_bit_for_bit)
{
    check_weights(0, LK_SHAPE(784, 128, 64, 10), net_784_128_64_10_seed_0);
    check_weights(1, LK_SHAPE(784, 128, 64, 10), net_784_128_64_10_seed_1);
    check_weights(0, LK_SHAPE(784, 1000, 2000, 10), net_784_1000_2000_10_seed_0);

    /* Where one rounding (fma) and two give different bits. */
    Rng rng;
    lk_manual_seed(&rng, 0);
    Module *m = lk_linear_new(784, 128, true, &rng, NULL);
    const float *w = lk_as_linear(m)->weight->data;
    check(w[1] == 0x1.39e56ap-6f, "%a", (double)w[1]);
    check(w[6] == -0x1.72fe4ap-11f, "%a", (double)w[6]);
    lk_free(m);
}

Test(linear, without_bias_draws_the_weight_only)
{
    Rng rng, other;
    lk_manual_seed(&rng, 0);
    lk_manual_seed(&other, 0);
    Module *m = lk_linear_new(4, 3, false, &rng, NULL);
    check(!lk_as_linear(m)->bias);
    for (int i = 0; i < 12; i++) lk_random_u32(&other);
    check(lk_random_u32(&rng) == lk_random_u32(&other));
    lk_free(m);
}

Test(linear, bad_sizes_are_errors_and_draw_nothing)
{
    const int64_t sizes[][2] = {
        { 0, 3 }, { 3, 0 }, { -1, 3 }, { INT64_MAX, INT64_MAX }, { INT64_MAX / 4, 1 }
    };
    Rng rng, before;
    lk_manual_seed(&rng, 0);
    before = rng;
    check_alloc_begin();
    for (int i = 0; i < 5; i++) {
        Error err = { 0 };
        check(!lk_linear_new(sizes[i][0], sizes[i][1], true, &rng, &err));
        check_error(&err, i < 3 ? LK_EVALUE : LK_EMEMORY,
                    i < 3 ? "all must be positive" : "tensor: ");
    }
    /* Memory for the weight, none for the bias. */
    for (int n = 0; n < 3; n++) {
        Error err = { 0 };
        check_fail_after(n);
        check(!lk_linear_new(4, 3, true, &rng, &err));
        check_error(&err, LK_EMEMORY, "no memory");
    }
    check(memcmp(&rng, &before, sizeof rng) == 0);
    check(check_alloc_live() == 0);
}

/* ---- values and gradients ------------------------------------------------------------------- */

Test(linear, forward_of_known_numbers)
{
    Rng rng;
    lk_manual_seed(&rng, 0);
    Module *m = lk_linear_new(3, 2, true, &rng, NULL);
    Linear *l = lk_as_linear(m);
    Tensor *w = make_tensor(LK_F32, LK_SHAPE(2, 3), 1, 2, 3, -1, 0, 1),
           *b = make_tensor(LK_F32, LK_SHAPE(2), 10, 20);
    Tensor *x = make_tensor(LK_F32, LK_SHAPE(2, 3), 1, 1, 1, 2, 0, -2);
    check(lk_copy_(l->weight, w, NULL));
    check(lk_copy_(l->bias, b, NULL));
    Tape *t = lk_tape_new(NULL);
    lk_tape_on_error(t, NULL, NULL);
    Tensor *y = lk_forward(t, m, x);
    check_shape(y, LK_SHAPE(2, 2));
    check_values(y, 0, 16, 20, 6, 16);
    check_text(lk_grad_fn(y), "AddmmBackward0");

    Tensor *wrong = lk_zeros(t, LK_F32, LK_SHAPE(2, 4));
    check(!lk_forward(t, m, wrong));
    check_error(lk_tape_error(t), LK_ESHAPE, "lk_linear");
    lk_free(x);
    lk_free(w);
    lk_free(b);
    lk_free(m);
    lk_tape_free(t);
}

Test(linear, gradients_of_a_whole_net)
{
    Rng rng;
    lk_manual_seed(&rng, 0);
    Module *net = net_new(5, 4, 6, 3, &rng, NULL);
    check(lk_module_to(net, LK_F64, NULL));
    Module *m = lk_sequential_new(
        LK_MODULES(net, lk_tanh_new(NULL), lk_linear_new(3, 2, false, &rng, NULL)), NULL);
    check(lk_module_to(m, LK_F64, NULL));
    Tensor *x = lk_param_new(LK_F64, LK_SHAPE(7, 5), NULL);
    lk_normal_(x, 0.0, 1.0, &rng);

    const GradcheckOptions strict = { .atol = 1e-7, .rtol = 1e-5 };
    GradcheckReport report;
    check(lk_gradcheck_module(m, x, &strict, &report), "%s", report.message);
    check(report.checked == 35 + lk_count_parameters(m), "checked %d", (int)report.checked);

    /* A frozen input is not checked, a float32 one cannot be; both reports say so. */
    check(lk_require_grad(m, "0.layers.0.*", false) == 2);
    lk_set_requires_grad(x, false);
    check(lk_gradcheck_module(m, x, &strict, &report), "%s", report.message);
    check(report.checked == lk_count_trainable_parameters(m));
    check(lk_convert_(lk_param_at(m, "2.weight", NULL), LK_F32, NULL));
    check(!lk_gradcheck_module(m, x, &strict, &report));
    check(strstr(report.message, "float64"), "%s", report.message);
    lk_free(x);
    lk_free(m);
}

/* y = 3 x W with a backward that forgets the 3: the parameter must be named. */
static Tensor *wrong_forward(Tape *t, Module *self, Tensor *x)
{
    Linear *l = (Linear *)self;
    Tensor *hidden = lk_linear(t, x, lk_detach(t, l->weight), l->bias);
    return lk_add(t, lk_scale(t, hidden, 2.0), lk_linear(t, x, l->weight, NULL));
}
static const ModuleType wrong_type = {
    .name = "Wrong",
    .size = sizeof(Linear),
    .forward = wrong_forward,
    .fields = LK_FIELDS(LK_PARAM(Linear, weight), LK_PARAM(Linear, bias)),
};

Test(linear, gradcheck_names_the_parameter_whose_gradient_is_wrong)
{
    Rng rng;
    lk_manual_seed(&rng, 0);
    Linear *l = lk_module_new(&wrong_type, NULL);
    l->weight = lk_param_new(LK_F64, LK_SHAPE(3, 2), NULL);
    l->bias = lk_param_new(LK_F64, LK_SHAPE(3), NULL);
    lk_normal_(l->weight, 0.0, 1.0, &rng);
    Tensor *x = lk_tensor_new(LK_F64, LK_SHAPE(4, 2), NULL);
    lk_normal_(x, 0.0, 1.0, &rng);
    Module *m = lk_sequential_new(LK_MODULES(lk_tanh_new(NULL), &l->base), NULL);
    GradcheckReport report;
    check(!lk_gradcheck_module(m, x, NULL, &report));
    check_text(report.name, "1.weight");
    check(fabs(report.numeric - 3.0 * report.analytic) < 1e-6 * fabs(report.numeric));
    lk_free(x);
    lk_free(m);
}

Test(linear, gradcheck_without_memory_is_a_report)
{
    Rng rng;
    lk_manual_seed(&rng, 0);
    check_alloc_begin();
    Module *m = lk_linear_new(2, 2, true, &rng, NULL);
    check(lk_module_to(m, LK_F64, NULL));
    Tensor *x = lk_tensor_new(LK_F64, LK_SHAPE(1, 2), NULL);
    int64_t live = check_alloc_live(), n = 0;
    for (bool failed = true; failed; n++) {
        GradcheckReport report;
        check_fail_after(n);
        bool ok = lk_gradcheck_module(m, x, NULL, &report);
        failed = check_alloc_failed() > 0;
        check_fail_after(-1);
        check(ok == !failed, "allocation %d: %s", (int)n, report.message);
        check(!failed || report.message[0]);
        lk_module_zero_grad(m);
        /* backward's room for two gradients stays with the parameters */
        check(check_alloc_live() <= live + 2);
    }
    lk_free(x);
    lk_free(m);
    check(check_alloc_live() == 0);
}

/* ---- Sequential ----------------------------------------------------------------------------- */

Test(sequential, is_indexed_from_both_ends_and_replaced)
{
    Rng rng;
    lk_manual_seed(&rng, 0);
    check_alloc_begin();
    Error err = { 0 };
    Module *s = lk_sequential_new(
        LK_MODULES(lk_relu_new(NULL), lk_tanh_new(NULL), lk_relu_new(NULL)), &err);
    check(lk_sequential_len(s) == 3);
    check(lk_sequential_at(s, 1, &err)->type == &lk_tanh_type);
    check(lk_sequential_at(s, -2, &err) == lk_sequential_at(s, 1, &err));
    check(lk_sequential_set(s, -1, lk_linear_new(2, 2, true, &rng, &err), &err));
    check(lk_as_linear(lk_sequential_at(s, 2, &err)));
    check_no_error(&err);

    check(!lk_sequential_at(s, 3, &err));
    check_error(&err, LK_EVALUE, "lk_sequential_at: index 3 is out of range for 3 modules");
    err = (Error){ 0 };
    check(!lk_sequential_set(s, -4, lk_relu_new(NULL), &err));
    check_error(&err, LK_EVALUE, "lk_sequential_set: index -4 is out of range for 3 modules");
    err = (Error){ 0 };
    check(!lk_sequential_set(s, 0, NULL, &err));
    check_error(&err, LK_EVALUE, "the module is NULL");
    check(lk_sequential_at(s, 0, NULL)->type == &lk_relu_type);
    err = (Error){ 0 };
    check(!lk_sequential_at(lk_sequential_at(s, 0, NULL), 0, &err));
    check_error(&err, LK_EVALUE, "not a Sequential but ReLU");
    check(!lk_as_sequential(lk_sequential_at(s, 0, NULL)) && !lk_as_sequential(NULL) &&
          lk_as_sequential(s));
    check(lk_sequential_len(NULL) == 0);
    lk_free(s);
    check(check_alloc_live() == 0);
}

Test(sequential, a_missing_module_is_an_error_not_a_shorter_net)
{
    Rng rng;
    lk_manual_seed(&rng, 0);
    check_alloc_begin();
    Error err = { 0 };
    Module *s = lk_sequential_new(
        LK_MODULES(lk_relu_new(&err), lk_linear_new(3, -3, true, &rng, &err), lk_tanh_new(&err)),
        &err);
    check(!s);
    check_error(&err, LK_EVALUE, "lk_linear_new: in_features 3, out_features -3");
    err = (Error){ 0 };
    check(!lk_sequential_new(LK_MODULES(lk_relu_new(&err), NULL), &err));
    check_error(&err, LK_EVALUE, "module 1 of 2 is NULL");
    check(check_alloc_live() == 0);
}

Test(sequential, of_nothing_is_the_identity)
{
    Tape *t = lk_tape_new(NULL);
    Module *s = lk_sequential_new(0, NULL, NULL);
    Tensor *x = lk_ones(t, LK_F32, LK_SHAPE(2, 2));
    check(lk_forward(t, s, x) == x);
    lk_tape_set_grad(t, false);
    check(lk_forward(t, s, x) == x);
    check_values(x, 0, 1, 1, 1, 1);
    lk_free(s);
    lk_tape_free(t);
}

/* Bytes from the heap, to see how much a forward needs. */
static size_t live_bytes, peak_bytes;

static void *counting_alloc(size_t bytes)
{
    size_t *block = aligned_alloc(64, bytes + 64);
    if (!block) return NULL;
    *block = bytes;
    live_bytes += bytes;
    if (live_bytes > peak_bytes) peak_bytes = live_bytes;
    return (char *)block + 64;
}

static void counting_free(void *block)
{
    size_t *start = (size_t *)((char *)block - 64);
    live_bytes -= *start;
    free(start);
}

Test(sequential, inference_needs_the_memory_of_one_layer)
{
    enum { LAYERS = 40, ROWS = 64, WIDTH = 64 };
    lk_set_allocator(counting_alloc, counting_free);
    Rng rng;
    lk_manual_seed(&rng, 0);
    Module *layers[LAYERS];
    /* Sequential in Sequential: each level gives back its own */
    for (int i = 0; i < LAYERS; i++) {
        Module *linear = lk_linear_new(WIDTH, WIDTH, true, &rng, NULL);
        layers[i] = lk_sequential_new(LK_MODULES(linear, lk_tanh_new(NULL)), NULL);
    }
    Module *s = lk_sequential_new(LAYERS, layers, NULL);
    Tensor *x = lk_tensor_new(LK_F32, LK_SHAPE(ROWS, WIDTH), NULL);
    lk_normal_(x, 0.0, 1.0, &rng);

    Tape *recording = lk_tape_new(NULL), *inference = lk_tape_new(NULL);
    lk_tape_set_grad(inference, false);
    /* both tapes have room for one layer, and for the workspace of a product */
    lk_forward(inference, layers[0], x);
    lk_forward(recording, layers[0], x);
    lk_tape_reset(inference);
    lk_tape_reset(recording);
    size_t before = peak_bytes = live_bytes;
    Tensor *y = lk_forward(inference, s, x);
    size_t without_grad = peak_bytes - before;
    before = peak_bytes = live_bytes;
    Tensor *expected = lk_forward(recording, s, x);
    size_t with_grad = peak_bytes - before;
    check_equal(y, expected);
    check(!lk_grad_fn(y) && lk_grad_fn(expected));

    /* 80 results are kept for backward; without it two or three are alive at once. */
    size_t result = ROWS * WIDTH * sizeof(float);
    check(with_grad >= LAYERS * result);
    check(without_grad <= 4 * result, "%zu bytes more than for one layer; one result has %zu",
          without_grad, result);
    lk_tape_free(recording);
    lk_tape_free(inference);
    lk_free(x);
    lk_free(s);
    check(live_bytes == 0);
}

Test(sequential, stops_at_the_first_failure)
{
    Rng rng;
    lk_manual_seed(&rng, 0);
    Tape *t = lk_tape_new(NULL);
    lk_tape_on_error(t, NULL, NULL);
    Module *a = lk_linear_new(2, 3, true, &rng, NULL), *b = lk_linear_new(4, 2, true, &rng, NULL);
    Module *s = lk_sequential_new(LK_MODULES(a, b, lk_relu_new(NULL)), NULL);
    Tensor *x = lk_ones(t, LK_F32, LK_SHAPE(1, 2));
    for (int grad = 0; grad < 2; grad++) {
        lk_tape_set_grad(t, grad);
        check(!lk_forward(t, s, x));
        check_error(lk_tape_error(t), LK_ESHAPE, "lk_linear");
        lk_tape_clear_error(t);
    }
    lk_free(s);
    lk_tape_free(t);
}
