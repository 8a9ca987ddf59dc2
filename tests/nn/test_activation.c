/* test_activation.c - the functions that are modules (nn/activation.h) and Flatten: what forward
 * gives, the printed form, copies, bad calls. The strings are those of PyTorch. */
#include <math.h>

#include "core/ops.h"
#include "nn/activation.h"
#include "nn/flatten.h"
#include "nn/sequential.h"
#include "tests/shared/nets.h"

#define CALLS(name, expression) \
    static Tensor *name(Tape *t, Tensor *x) { return expression; }
CALLS(relu, lk_relu(t, x))
CALLS(gelu, lk_gelu(t, x))
CALLS(gelu_tanh, lk_gelu_tanh(t, x))
CALLS(hyperbolic, lk_tanh(t, x))
CALLS(sigmoid, lk_sigmoid(t, x))
CALLS(silu, lk_silu(t, x))
CALLS(softplus, lk_softplus(t, x))
CALLS(relu6, lk_clamp(t, x, 0, 6))
CALLS(identity, lk_scale(t, x, 1))
CALLS(leaky_relu, lk_leaky_relu(t, x, 0.01))
CALLS(elu, lk_elu(t, x, 1.5))
CALLS(hardtanh, lk_clamp(t, x, -1, 2.5))
CALLS(softmax, lk_softmax(t, x, 1))
CALLS(log_softmax, lk_log_softmax(t, x, -1))
CALLS(flatten, lk_reshape(t, x, LK_SHAPE(2, 6)))

/* Made anew: the test gives each back. */
static Module *make(int i, Error *err)
{
    switch (i) {
    case 0: return lk_relu_new(err);
    case 1: return lk_gelu_new(err);
    case 2: return lk_gelu_tanh_new(err);
    case 3: return lk_tanh_new(err);
    case 4: return lk_sigmoid_new(err);
    case 5: return lk_silu_new(err);
    case 6: return lk_softplus_new(err);
    case 7: return lk_relu6_new(err);
    case 8: return lk_identity_new(err);
    case 9: return lk_leaky_relu_new(0.01, err);
    case 10: return lk_elu_new(1.5, err);
    case 11: return lk_hardtanh_new(-1, 2.5, err);
    case 12: return lk_softmax_new(1, err);
    case 13: return lk_log_softmax_new(-1, err);
    default: return lk_flatten_new(1, -1, err);
    }
}

static const struct {
    const char *printed;
    Tensor *(*call)(Tape *t, Tensor *x);
} modules[] = {
    { "ReLU()", relu },
    { "GELU(approximate='none')", gelu },
    { "GELU(approximate='tanh')", gelu_tanh },
    { "Tanh()", hyperbolic },
    { "Sigmoid()", sigmoid },
    { "SiLU()", silu },
    { "Softplus(beta=1, threshold=20)", softplus },
    { "ReLU6()", relu6 },
    { "Identity()", identity },
    { "LeakyReLU(negative_slope=0.01)", leaky_relu },
    { "ELU(alpha=1.5)", elu },
    { "Hardtanh(min_val=-1.0, max_val=2.5)", hardtanh },
    { "Softmax(dim=1)", softmax },
    { "LogSoftmax(dim=-1)", log_softmax },
    { "Flatten(start_dim=1, end_dim=-1)", flatten },
};
enum { COUNT = sizeof modules / sizeof *modules };

Test(activation, forward_print_and_copy)
{
    Tape *t = lk_tape_new(NULL);
    Rng rng;
    Error err = { 0 };
    lk_manual_seed(&rng, 1);
    Tensor *x = lk_tensor_new(LK_F32, LK_SHAPE(2, 3, 2), NULL);
    lk_normal_(x, 0, 4, &rng);
    for (int i = 0; i < COUNT; i++) {
        Module *m = make(i, &err), *copy = lk_deepcopy(m, &err);
        check_no_error(&err);
        check_text(tree_of(m), modules[i].printed);
        check_text(tree_of(copy), modules[i].printed);
        check_equal(lk_forward(t, m, x), modules[i].call(t, x));
        check_equal(lk_forward(t, copy, x), modules[i].call(t, x));
        check(lk_count_parameters(m) == 0);
        lk_free(m), lk_free(copy);
    }
    lk_free(x);
    lk_tape_free(t);
}

Test(activation, constants_may_change)
{
    Tape *t = lk_tape_new(NULL);
    Tensor *x = make_tensor(LK_F64, LK_SHAPE(1, 2), -2, 4);
    Module *leaky = lk_leaky_relu_new(0.5, NULL), *elu_ = lk_elu_new(1, NULL),
           *hard = lk_hardtanh_new(-1, 1, NULL), *soft = lk_softmax_new(0, NULL);
    check(!lk_as_elu(leaky) && lk_as_leaky_relu(leaky)->negative_slope == 0.5);
    check_values(lk_forward(t, leaky, x), 0, -1, 4);
    lk_as_leaky_relu(leaky)->negative_slope = 0.25;
    check_values(lk_forward(t, leaky, x), 0, -0.5, 4);
    lk_as_elu(elu_)->alpha = 2;
    check_values(lk_forward(t, elu_, x), 1e-15, 2 * expm1(-2), 4);
    lk_as_hardtanh(hard)->max_val = 3;
    check_values(lk_forward(t, hard, x), 0, -1, 3);
    check_values(lk_forward(t, soft, x), 0, 1, 1);
    lk_as_softmax(soft)->dim = -1;
    check_values(lk_sum(t, lk_forward(t, soft, x), LK_ALL, false), 1e-15, 1);
    lk_free(leaky), lk_free(elu_), lk_free(hard), lk_free(soft), lk_free(x);
    lk_tape_free(t);
}

Test(activation, flatten_shapes)
{
    static const struct {
        int64_t start, end;
        int ndim;
        int64_t shape[4];
    } cases[] = {
        { 1, -1, 2, { 2, 60 } },    { 0, -1, 1, { 120 } },       { 0, 1, 3, { 6, 4, 5 } },
        { -2, 3, 3, { 2, 3, 20 } }, { 1, 1, 4, { 2, 3, 4, 5 } }, { -3, -2, 3, { 2, 12, 5 } },
    };
    Tape *t = lk_tape_new(NULL);
    Tensor *x = lk_ones(t, LK_F32, LK_SHAPE(2, 3, 4, 5));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Module *m = lk_flatten_new(cases[i].start, cases[i].end, NULL);
        check_shape(lk_forward(t, m, x), cases[i].ndim, cases[i].shape);
        check_shape(lk_forward(t, m, lk_permute(t, x, LK_DIMS(0, 1, 2, 3))), cases[i].ndim,
                    cases[i].shape);
        lk_free(m);
    }
    Module *all = lk_flatten_new(0, -1, NULL);
    check_shape(lk_forward(t, all, lk_scalar(t, LK_F32, 1)), LK_SHAPE(1));
    check_shape(lk_forward(t, all, lk_ones(t, LK_F32, LK_SHAPE(3, 0))), LK_SHAPE(0));
    lk_free(all);
    lk_tape_free(t);
}

static void check_refused(Module *m, ErrorCode code, const char *message)
{
    Tape *t = quiet_tape();
    check(!lk_forward(t, m, lk_ones(t, LK_F32, LK_SHAPE(2, 3))));
    check_error(lk_tape_error(t), code, message);
    lk_free(m);
    lk_tape_free(t);
}

Test(activation, bad_calls)
{
    Error err = { 0 };
    check(!lk_hardtanh_new(1, 1, &err));
    check_error(&err, LK_EVALUE, "lk_hardtanh_new: min_val 1 must be below max_val 1");
    err = (Error){ 0 };
    check(!lk_hardtanh_new(NAN, 1, &err));
    check_refused(lk_softmax_new(2, NULL), LK_ESHAPE, "lk_softmax: dimension 2 is outside -2 … 1");
    check_refused(lk_log_softmax_new(INT64_MIN, NULL), LK_ESHAPE, "is outside -2 … 1");
    check_refused(lk_flatten_new(2, -1, NULL), LK_ESHAPE,
                  "Flatten: start_dim: dimension 2 is outside -2 … 1");
    check_refused(lk_flatten_new(0, 5, NULL), LK_ESHAPE,
                  "Flatten: end_dim: dimension 5 is outside -2 … 1");
    check_refused(lk_flatten_new(1, 0, NULL), LK_ESHAPE,
                  "Flatten: start_dim 1 comes behind end_dim 0 in (2, 3)");
}
