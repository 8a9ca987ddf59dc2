/* batch_norm.c - torch.nn.BatchNorm1d and BatchNorm2d. The arithmetic: core/ops_batch_norm.c. */
#include "nn/batch_norm.h"

#include "core/ops.h"
#include "core/strict.h"

static Tensor *batch_norm(Tape *t, Module *self, Tensor *x)
{
    BatchNorm *b = (BatchNorm *)self;
    char text[LK_SHAPE_TEXT];
    /* Without a weight no operation compares the sizes. */
    if (x->shape[1] != b->num_features)
        return lk_fail(t, LK_ESHAPE, "%s: x %s has %lld channel%s, but num_features is %lld",
                       self->type->name, lk_shape_text(x, text), (long long)x->shape[1],
                       x->shape[1] == 1 ? "" : "s", (long long)b->num_features);
    const bool learns = self->training && b->running_mean;
    if (learns && !lk_tape_grad(t) && !b->told && lk_strict()) {
        b->told = true;
        lk_strict_report(LK_ESTATE,
                         "%s: a forward without gradients in training mode moves the running "
                         "statistics; lk_eval(net) comes before evaluation",
                         self->type->name);
    }
    Tensor *y = lk_batch_norm(t, x, b->running_mean, b->running_var, lk_param(t, self, &b->weight),
                              lk_param(t, self, &b->bias), self->training || !b->running_mean,
                              b->momentum, b->eps);
    if (y && learns && b->num_batches_tracked) {
        ++*(int64_t *)b->num_batches_tracked->data;
        lk_touch(b->num_batches_tracked);
    }
    return y;
}

static Tensor *batch_norm1d_forward(Tape *t, Module *self, Tensor *x)
{
    char text[LK_SHAPE_TEXT];
    if (x->ndim == 2 || x->ndim == 3) return batch_norm(t, self, x);
    return lk_fail(t, LK_ESHAPE, "BatchNorm1d: expected 2D or 3D input, but x is %s",
                   lk_shape_text(x, text));
}

static Tensor *batch_norm2d_forward(Tape *t, Module *self, Tensor *x)
{
    char text[LK_SHAPE_TEXT];
    if (x->ndim == 4) return batch_norm(t, self, x);
    return lk_fail(t, LK_ESHAPE, "BatchNorm2d: expected 4D input, but x is %s",
                   lk_shape_text(x, text));
}

static const Field fields[] = { LK_PARAM(BatchNorm, weight),
                                LK_PARAM(BatchNorm, bias),
                                LK_BUFFER(BatchNorm, running_mean),
                                LK_BUFFER(BatchNorm, running_var),
                                LK_BUFFER(BatchNorm, num_batches_tracked),
                                LK_INT(BatchNorm, num_features),
                                LK_DOUBLE(BatchNorm, eps),
                                LK_DOUBLE(BatchNorm, momentum),
                                LK_END };
#define REPR \
    "{num_features}, eps={eps}, momentum={momentum}, affine={weight}, " \
    "track_running_stats={running_mean}"

const ModuleType lk_batch_norm1d_type = { LK_CLASS(BatchNorm1d), .forward = batch_norm1d_forward,
                                          .fields = fields, .repr = REPR };
const ModuleType lk_batch_norm2d_type = { LK_CLASS(BatchNorm2d), .forward = batch_norm2d_forward,
                                          .fields = fields, .repr = REPR };
LK_DOWNCAST(BatchNorm1d, lk_batch_norm1d_type, lk_as_batch_norm1d)
LK_DOWNCAST(BatchNorm2d, lk_batch_norm2d_type, lk_as_batch_norm2d)

static Module *batch_norm_new(const char *function, const ModuleType *type, int64_t num_features,
                              double eps, double momentum, Error *err)
{
    if (num_features < 1) {
        lk_error_set(err, LK_ESHAPE, "%s: num_features %lld: it must be positive", function,
                     (long long)num_features);
        return NULL;
    }
    if (!(momentum >= 0 && momentum <= 1)) {
        lk_error_set(err, LK_EVALUE, "%s: momentum %g: it must be between 0 and 1", function,
                     momentum);
        return NULL;
    }
    const ParamShape shape = { LK_SHAPE(num_features) };
    BatchNorm *b = lk_module_with_params_new(type, LK_PARAM_SHAPES(shape, shape), err);
    if (!b) return NULL;
    b->num_features = num_features;
    b->eps = eps;
    b->momentum = momentum;
    b->running_mean = lk_tensor_new(LK_F32, LK_SHAPE(num_features), err);
    b->running_var = lk_tensor_new(LK_F32, LK_SHAPE(num_features), err);
    b->num_batches_tracked = lk_tensor_new(LK_I64, LK_SCALAR, err);
    return lk_module_complete(&b->base, b->running_mean && b->running_var &&
                                            b->num_batches_tracked && lk_fill_(b->weight, 1) &&
                                            lk_fill_(b->running_var, 1));
}

Module *lk_batch_norm1d_new(int64_t num_features, double eps, double momentum, Error *err)
{
    return batch_norm_new("lk_batch_norm1d_new", &lk_batch_norm1d_type, num_features, eps,
                          momentum, err);
}

Module *lk_batch_norm2d_new(int64_t num_features, double eps, double momentum, Error *err)
{
    return batch_norm_new("lk_batch_norm2d_new", &lk_batch_norm2d_type, num_features, eps,
                          momentum, err);
}
