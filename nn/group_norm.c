/* group_norm.c - torch.nn.GroupNorm. The arithmetic: core/ops_group_norm.c. */
#include "nn/group_norm.h"

#include "core/ops.h"

static Tensor *group_norm_forward(Tape *t, Module *self, Tensor *x)
{
    GroupNorm *g = (GroupNorm *)self;
    char text[LK_SHAPE_TEXT];
    /* Without a weight no operation compares the sizes. */
    if (x->ndim < 2 || x->shape[1] != g->num_channels)
        return lk_fail(t, LK_ESHAPE, "GroupNorm: x %s does not have num_channels %lld channels",
                       lk_shape_text(x, text), (long long)g->num_channels);
    return lk_group_norm(t, x, g->num_groups, lk_param(t, self, &g->weight),
                         lk_param(t, self, &g->bias), g->eps);
}

const ModuleType lk_group_norm_type = {
    LK_CLASS(GroupNorm),
    .forward = group_norm_forward,
    .fields = LK_FIELDS(LK_PARAM(GroupNorm, weight), LK_PARAM(GroupNorm, bias),
                        LK_INT(GroupNorm, num_groups), LK_INT(GroupNorm, num_channels),
                        LK_DOUBLE(GroupNorm, eps)),
    .repr = "{num_groups}, {num_channels}, eps={eps}, affine={weight}",
};
LK_DOWNCAST(GroupNorm, lk_group_norm_type, lk_as_group_norm)

Module *lk_group_norm_new(int64_t num_groups, int64_t num_channels, double eps, Error *err)
{
    if (num_groups < 1 || num_channels < 1 || num_channels % num_groups != 0) {
        lk_error_set(err, LK_ESHAPE,
                     "lk_group_norm_new: %lld groups of %lld channels: both must be positive, and "
                     "the groups must divide the channels",
                     (long long)num_groups, (long long)num_channels);
        return NULL;
    }
    const ParamShape shape = { LK_SHAPE(num_channels) };
    GroupNorm *g =
        lk_module_with_params_new(&lk_group_norm_type, LK_PARAM_SHAPES(shape, shape), err);
    if (!g) return NULL;
    g->num_groups = num_groups;
    g->num_channels = num_channels;
    g->eps = eps;
    lk_fill_(g->weight, 1);
    return &g->base;
}
