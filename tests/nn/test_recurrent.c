/* test_recurrent.c - the modules LSTM, GRU, LSTMCell and GRUCell: what they print, start with and
 * compute is PyTorch's (fixtures/recurrent.h); batch_first, dropout, LoRA on a matrix, bad
 * arguments. */
#include <math.h>

#include "core/ops.h"
#include "nn/adapter.h"
#include "nn/parametrize.h"
#include "nn/recurrent.h"

#include "tests/fixtures/recurrent.h"
#include "tests/shared/nets.h"

Test(recurrent_modules, print_and_names_are_pytorchs)
{
    Rng rng;
    lk_manual_seed(&rng, 0);
    const RNNOptions full = { 2, true, true, 0.5, true }, both = { .bidirectional = true };
    Module *part[5];
    part[0] = lk_lstm_new(10, 20, (RNNOptions){ 0 }, &rng, NULL);
    part[1] = lk_lstm_new(3, 4, full, &rng, NULL);
    part[2] = lk_gru_new(5, 6, both, &rng, NULL);
    part[3] = lk_lstm_cell_new(3, 4, true, &rng, NULL);
    part[4] = lk_gru_cell_new(3, 4, false, &rng, NULL);
    Module *net = lk_sequential_new(5, part, NULL), *copy = lk_deepcopy(net, NULL);
    check_text(tree_of(net), recurrent_tree);
    check_text(param_names(net, false), recurrent_params);
    check_text(tree_of(copy), recurrent_tree);
    lk_free(net), lk_free(copy);
}

/* The four modules of the fixture, drawn in this order. */
static void draw(Module *m[4])
{
    Rng rng;
    lk_manual_seed(&rng, 5);
    m[0] = lk_lstm_new(3, 2, (RNNOptions){ .num_layers = 2, .bidirectional = true }, &rng, NULL);
    m[1] = lk_gru_new(3, 2, (RNNOptions){ .num_layers = 2 }, &rng, NULL);
    m[2] = lk_lstm_cell_new(3, 2, true, &rng, NULL);
    m[3] = lk_gru_cell_new(3, 2, true, &rng, NULL);
}

Test(recurrent_modules, start_as_pytorchs)
{
    Module *m[4];
    int64_t at = 0;
    draw(m);
    for (int i = 0; i < 4; i++) {
        for (ParamIter it = lk_params(m[i]); lk_params_next(&it);) {
            const float *v = it.tensor->data;
            check(it.tensor->requires_grad);
            for (int64_t j = 0; j < lk_numel(it.tensor); j++, at++)
                check(v[j] == (float)drawn[at], "%s at %d: %g", it.name, (int)j, (double)v[j]);
        }
        lk_free(m[i]);
    }
    check(at == (int64_t)(sizeof drawn / sizeof *drawn));
}

/* torch.linspace */
static Tensor *line(double first, double last, int ndim, const int64_t *shape)
{
    Tensor *x = lk_param_new(LK_F64, ndim, shape, NULL);
    const int64_t n = lk_numel(x);
    for (int64_t i = 0; i < n; i++)
        ((double *)x->data)[i] = first + (last - first) * (double)i / (double)(n - 1);
    return x;
}

/* Compares n elements, and moves *expected behind them. */
static void compare(const Tensor *x, const double **expected)
{
    check_close(x, *expected, lk_numel(x), 1e-12);
    *expected += lk_numel(x);
}

/* The results are those of `y`, and Σ of each result² times 1, 2, 3 gives the gradients. */
static void check_results(Tape *t, Module *m, int results, Tensor *const *y, int inputs,
                          Tensor *const *x, const double *expected, const double *grads)
{
    Tensor *sum = NULL;
    for (int i = 0; i < results; i++) {
        check(y[i], "%s", lk_tape_error(t)->message);
        compare(lk_contiguous(t, y[i]), &expected);
        Tensor *part = lk_scale(t, lk_sum(t, lk_mul(t, y[i], y[i]), LK_ALL, false), i + 1);
        sum = sum ? lk_add(t, sum, part) : part;
    }
    check(lk_backward(t, sum), "%s", lk_tape_error(t)->message);
    for (int i = 0; i < inputs; i++) {
        compare(lk_grad(x[i]), &grads);
        lk_zero_grad_(x[i]);
    }
    for (ParamIter it = lk_params(m); lk_params_next(&it);) {
        compare(lk_grad(it.tensor), &grads);
        lk_zero_grad_(it.tensor);
    }
}

Test(recurrent_modules, compute_what_pytorchs_compute)
{
    Tape *t = lk_tape_new(NULL);
    Module *m[4];
    draw(m);
    for (int i = 0; i < 4; i++) check(lk_module_to(m[i], LK_F64, NULL));
    Tensor *x[] = { line(-1, 1, LK_SHAPE(3, 2, 3)), line(-0.5, 0.9, LK_SHAPE(4, 2, 2)),
                    line(0.8, -0.7, LK_SHAPE(4, 2, 2)) };
    Tensor *y[3];
    y[0] = lk_lstm_forward(t, m[0], x[0], NULL, x[1], x[2], &y[1], &y[2]);
    check_results(t, m[0], 3, y, 3, x, lstm_y, lstm_grads);
    y[0] = lk_gru_forward(t, m[1], x[0], NULL, lk_slice(t, x[1], 0, 0, 2, 1), &y[1]);
    check_results(t, m[1], 2, y, 2, x, gru_y, gru_grads);
    Tensor *lengths = lk_tensor(t, LK_I64, LK_SHAPE(2), (const int64_t[]){ 2, 3 });
    y[0] = lk_lstm_forward(t, m[0], x[0], lengths, x[1], x[2], &y[1], &y[2]);
    check_results(t, m[0], 3, y, 3, x, lstm_packed_y, lstm_packed_grads);
    lk_as_gru(m[1])->batch_first = true;
    y[0] = lk_gru_forward(t, m[1], lk_transpose(t, x[0], 0, 1), lengths,
                          lk_slice(t, x[1], 0, 0, 2, 1), &y[1]);
    check_results(t, m[1], 2, y, 2, x, gru_packed_y, gru_packed_grads);
    Tensor *step = lk_select(t, x[0], 0, 0), *h = lk_select(t, x[1], 0, 0),
           *c = lk_select(t, x[2], 0, 0);
    y[0] = lk_lstm_cell_forward(t, m[2], step, h, c, &y[1]);
    check_results(t, m[2], 2, y, 3, x, lstm_cell_y, lstm_cell_grads);
    y[0] = lk_gru_cell_forward(t, m[3], step, h);
    check_results(t, m[3], 1, y, 2, x, gru_cell_y, gru_cell_grads);
    for (int i = 0; i < 3; i++) lk_free(x[i]);
    for (int i = 0; i < 4; i++) lk_free(m[i]);
    lk_tape_free(t);
}

/* batch_first exchanges the first two dimensions of x and of the output. No gradient and no states
 * give the same bits. */
Test(recurrent_modules, batch_first_and_no_states)
{
    Tape *t = lk_tape_new(NULL);
    Rng rng;
    lk_manual_seed(&rng, 1);
    Module *m = lk_lstm_new(3, 4, (RNNOptions){ .num_layers = 2 }, &rng, NULL);
    Tensor *x = lk_randn(t, &rng, LK_F32, LK_SHAPE(5, 2, 3)), *h, *c;
    Tensor *y = lk_clone(lk_lstm_forward(t, m, x, NULL, NULL, NULL, &h, &c), NULL);
    check_shape(h, LK_SHAPE(2, 2, 4));
    check_shape(c, LK_SHAPE(2, 2, 4));
    check_equal(lk_forward(t, m, x), y);
    lk_as_lstm(m)->batch_first = true;
    Tensor *z = lk_forward(t, m, lk_transpose(t, x, 0, 1));
    check_shape(z, LK_SHAPE(2, 5, 4));
    check_equal(lk_contiguous(t, lk_transpose(t, z, 0, 1)), y);
    lk_tape_set_grad(t, false);
    z = lk_forward(t, m, lk_transpose(t, x, 0, 1));
    check_equal(lk_contiguous(t, lk_transpose(t, z, 0, 1)), y);
    lk_free(m), lk_free(y);
    lk_tape_free(t);
}

/* Dropout stands between the layers, in training mode only. */
Test(recurrent_modules, dropout_between_layers)
{
    Tape *t = lk_tape_new(NULL);
    Rng rng;
    lk_manual_seed(&rng, 1);
    Module *m = lk_gru_new(3, 4, (RNNOptions){ .num_layers = 2, .dropout = 0.5 }, &rng, NULL);
    RNN *r = lk_as_gru(m);
    check(r && !lk_as_lstm(m));
    Tensor *x = lk_randn(t, &rng, LK_F32, LK_SHAPE(5, 2, 3)), *y = x;
    lk_tape_seed(t, 4);
    for (int i = 0; i < 2; i++) {
        Tensor **p = r->param[i][0];
        y = lk_gru(t, y, NULL, p[0], p[1], p[2], p[3], (SequenceOptions){ 0 }, NULL);
        if (i == 0) y = lk_dropout(t, y, 0.5);
    }
    lk_tape_seed(t, 4);
    check_equal(lk_forward(t, m, x), y);
    lk_eval(m);
    Tensor *z = lk_forward(t, m, x);
    r->dropout = 0;
    check_equal(lk_forward(t, m, x), z);
    lk_free(m);
    lk_tape_free(t);
}

/* LoRA adds to any of the matrices, and only A and B are trained. */
Test(recurrent_modules, lora_on_a_matrix)
{
    Tape *t = lk_tape_new(NULL);
    Rng rng;
    lk_manual_seed(&rng, 1);
    Module *m = lk_lstm_new(3, 4, (RNNOptions){ 0 }, &rng, NULL);
    Tensor *x = lk_randn(t, &rng, LK_F32, LK_SHAPE(5, 2, 3)),
           *before = lk_clone(lk_forward(t, m, x), NULL);
    lk_require_grad(m, "*", false);
    Module *lora = lk_lora_parametrization_new(16, 4, 2, 3, &rng, NULL);
    check(lk_register_parametrization(m, "weight_hh_l0", lora, NULL));
    check_equal(lk_forward(t, m, x), before);
    Tensor *y = lk_forward(t, m, x);
    check(lk_backward(t, lk_sum(t, y, LK_ALL, false)), "%s", lk_tape_error(t)->message);
    int trained = 0;
    for (ParamIter it = lk_params(m); lk_params_next(&it);) trained += lk_grad(it.tensor) != NULL;
    check(trained == 2, "%d", trained);
    lk_free(m), lk_free(before);
    lk_tape_free(t);
}

static void fails_with(const Tape *t, const char *text)
{
    check(strstr(lk_tape_error(t)->message, text), "%s", lk_tape_error(t)->message);
}

Test(recurrent_modules, bad_arguments_get_one_message)
{
    Tape *t = quiet_tape();
    Rng rng;
    Error err = { 0 };
    lk_manual_seed(&rng, 1);
    check(!lk_lstm_new(0, 4, (RNNOptions){ 0 }, &rng, &err));
    check_text(err.message,
               "lk_lstm_new: input_size 0, hidden_size 4, num_layers 1; all must be positive");
    err = (Error){ 0 };
    check(!lk_gru_new(3, 4, (RNNOptions){ .num_layers = 9 }, &rng, &err));
    check_text(err.message,
               "lk_gru_new: num_layers 9 and dropout 0; at most 8 layers, dropout from "
               "0 to 1");
    err = (Error){ 0 };
    check(!lk_gru_new(3, 4, (RNNOptions){ .dropout = NAN }, &rng, &err) && err.code == LK_EVALUE);
    err = (Error){ 0 };
    check(!lk_lstm_cell_new(3, -1, true, &rng, &err));
    check_text(err.message,
               "lk_lstm_cell_new: input_size 3, hidden_size -1; all must be positive");
    Module *m = lk_lstm_new(3, 4, (RNNOptions){ .num_layers = 2 }, &rng, NULL);
    Tensor *x = lk_ones(t, LK_F32, LK_SHAPE(5, 2, 3)), *h = lk_ones(t, LK_F32, LK_SHAPE(1, 2, 4)),
           *last = x;
    check(!lk_forward(t, m, h));
    fails_with(t, "lk_lstm_forward: x (1, 2, 4) must be (S, B, 3)");
    lk_tape_clear_error(t);
    check(!lk_lstm_forward(t, m, x, NULL, h, NULL, &last, NULL) && !last);
    fails_with(t, "lk_lstm_forward: h0 (1, 2, 4) must be (2, 2, 4) = (layers · directions, B, "
                  "hidden_size)");
    lk_tape_clear_error(t);
    check(
        !lk_lstm_forward(t, m, x, NULL, NULL, lk_ones(t, LK_F32, LK_SHAPE(2, 2, 5)), &last, NULL));
    fails_with(t, "lk_lstm_forward: c0 (2, 2, 5) must be (2, 2, 4) = ");
    lk_tape_clear_error(t);
    check(!lk_gru_forward(t, m, x, NULL, NULL, NULL));
    fails_with(t, "lk_gru_forward: the module is not GRU but LSTM");
    lk_tape_clear_error(t);
    check(!lk_lstm_forward(t, m, x, lk_arange(t, 0, 2), NULL, NULL, &last, NULL) && !last);
    fails_with(t, "lk_lstm: lengths[0] is 0; it must be from 1 to the 5 steps of x");
    lk_tape_clear_error(t);
    check(!lk_forward(t, m, lk_ones(t, LK_F32, LK_SHAPE(0, 2, 3))));
    fails_with(t, "lk_lstm_forward: x (0, 2, 3) has no step");
    lk_free(m);
    lk_tape_clear_error(t);
    m = lk_gru_new(3, 4, (RNNOptions){ .batch_first = true }, &rng, NULL);
    check(!lk_forward(t, m, lk_ones(t, LK_F32, LK_SHAPE(2, 0, 3))));
    fails_with(t, "lk_gru_forward: x (2, 0, 3) has no step; it needs at least one");
    lk_free(m);
    lk_tape_free(t);
}
