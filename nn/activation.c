/* activation.c - functions as modules. The functions themselves: core/ops_unary.c,
 * core/ops_softmax.c. */
#include "nn/activation.h"

#include "core/ops.h"

/* ---- without constants ---------------------------------------------------------------------- */

#define FORWARD(name, y) \
    static Tensor *name##_forward(Tape *t, Module *self, Tensor *x) \
    { \
        (void)t, (void)self; \
        return y; \
    }
#define TYPE(prefix, class, ...) \
    const ModuleType lk_##prefix##_type = { \
        .name = class, .size = sizeof(Module), .forward = prefix##_forward, __VA_ARGS__ \
    }; \
    Module *lk_##prefix##_new(Error *err) { return lk_module_new(&lk_##prefix##_type, err); }

FORWARD(relu, lk_relu(t, x))
FORWARD(gelu, lk_gelu(t, x))
FORWARD(gelu_tanh, lk_gelu_tanh(t, x))
FORWARD(tanh, lk_tanh(t, x))
FORWARD(sigmoid, lk_sigmoid(t, x))
FORWARD(silu, lk_silu(t, x))
FORWARD(softplus, lk_softplus(t, x))
FORWARD(relu6, lk_hardtanh(t, x, 0, 6))
FORWARD(identity, x)

TYPE(relu, "ReLU", .repr = NULL)
TYPE(gelu, "GELU", .repr = "approximate='none'")
TYPE(gelu_tanh, "GELU", .repr = "approximate='tanh'")
TYPE(tanh, "Tanh", .repr = NULL)
TYPE(sigmoid, "Sigmoid", .repr = NULL)
TYPE(silu, "SiLU", .repr = NULL)
TYPE(softplus, "Softplus", .repr = "beta=1, threshold=20")
TYPE(relu6, "ReLU6", .repr = NULL)
TYPE(identity, "Identity", .repr = NULL)

/* ---- with constants ------------------------------------------------------------------------- */

FORWARD(leaky_relu, lk_leaky_relu(t, x, ((LeakyReLU *)self)->negative_slope))
FORWARD(elu, lk_elu(t, x, ((ELU *)self)->alpha))
FORWARD(hardtanh, lk_hardtanh(t, x, ((Hardtanh *)self)->min_val, ((Hardtanh *)self)->max_val))

const ModuleType lk_leaky_relu_type = { LK_CLASS(LeakyReLU), .forward = leaky_relu_forward,
                                        .fields = LK_FIELDS(LK_DOUBLE(LeakyReLU, negative_slope)),
                                        .repr = "negative_slope={negative_slope}" };
LK_DOWNCAST(LeakyReLU, lk_leaky_relu_type, lk_as_leaky_relu)

Module *lk_leaky_relu_new(double negative_slope, Error *err)
{
    LeakyReLU *m = lk_module_new(&lk_leaky_relu_type, err);
    if (!m) return NULL;
    m->negative_slope = negative_slope;
    return &m->base;
}

const ModuleType lk_elu_type = { LK_CLASS(ELU), .forward = elu_forward,
                                 .fields = LK_FIELDS(LK_DOUBLE(ELU, alpha)),
                                 .repr = "alpha={alpha}" };
LK_DOWNCAST(ELU, lk_elu_type, lk_as_elu)

Module *lk_elu_new(double alpha, Error *err)
{
    ELU *m = lk_module_new(&lk_elu_type, err);
    if (!m) return NULL;
    m->alpha = alpha;
    return &m->base;
}

const ModuleType lk_hardtanh_type = { LK_CLASS(Hardtanh), .forward = hardtanh_forward,
                                      .fields = LK_FIELDS(LK_DOUBLE(Hardtanh, min_val),
                                                          LK_DOUBLE(Hardtanh, max_val)),
                                      .repr = "min_val={min_val}, max_val={max_val}" };
LK_DOWNCAST(Hardtanh, lk_hardtanh_type, lk_as_hardtanh)

Module *lk_hardtanh_new(double min_val, double max_val, Error *err)
{
    const bool ok = min_val < max_val;
    if (!ok)
        lk_error_set(err, LK_EVALUE, "lk_hardtanh_new: min_val %g must be below max_val %g",
                     min_val, max_val);
    Hardtanh *m = ok ? lk_module_new(&lk_hardtanh_type, err) : NULL;
    if (!m) return NULL;
    m->min_val = min_val;
    m->max_val = max_val;
    return &m->base;
}

/* ---- along a dimension ---------------------------------------------------------------------- */

/* Brings a dimension that no tensor has into the range of an int, where it still has none. */
static int in_int(int64_t dim)
{
    const int far = LK_MAX_DIMS + 1;
    if (dim > far) return far;
    return dim < -far ? -far : (int)dim;
}

FORWARD(softmax, lk_softmax(t, x, in_int(((Softmax *)self)->dim)))
FORWARD(log_softmax, lk_log_softmax(t, x, in_int(((LogSoftmax *)self)->dim)))

const ModuleType lk_softmax_type = { LK_CLASS(Softmax), .forward = softmax_forward,
                                     .fields = LK_FIELDS(LK_INT(Softmax, dim)),
                                     .repr = "dim={dim}" };
LK_DOWNCAST(Softmax, lk_softmax_type, lk_as_softmax)

Module *lk_softmax_new(int64_t dim, Error *err)
{
    Softmax *m = lk_module_new(&lk_softmax_type, err);
    if (!m) return NULL;
    m->dim = dim;
    return &m->base;
}

const ModuleType lk_log_softmax_type = { LK_CLASS(LogSoftmax), .forward = log_softmax_forward,
                                         .fields = LK_FIELDS(LK_INT(LogSoftmax, dim)),
                                         .repr = "dim={dim}" };
LK_DOWNCAST(LogSoftmax, lk_log_softmax_type, lk_as_log_softmax)

Module *lk_log_softmax_new(int64_t dim, Error *err)
{
    LogSoftmax *m = lk_module_new(&lk_log_softmax_type, err);
    if (!m) return NULL;
    m->dim = dim;
    return &m->base;
}
