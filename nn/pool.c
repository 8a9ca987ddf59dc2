/* pool.c - pooling as modules. The operations: core/ops_pool.c. */
#include "nn/pool.h"

/* PyTorch prints one number where it was given one, and a pair otherwise: a field for each. The
 * field that is not in use is -1 or (). */
typedef struct Pooling {
    Module base;
    PoolOptions options;
    int64_t kernel, stride, padding;
    ModuleSizes kernels, strides, paddings;
} Pooling;

typedef struct AdaptiveAvgPool2d {
    Module base;
    ModuleSizes output_size;
} AdaptiveAvgPool2d;

static Tensor *max_pool1d_forward(Tape *t, Module *self, Tensor *x)
{
    return lk_max_pool1d(t, x, ((Pooling *)self)->options);
}

static Tensor *max_pool2d_forward(Tape *t, Module *self, Tensor *x)
{
    return lk_max_pool2d(t, x, ((Pooling *)self)->options);
}

static Tensor *avg_pool2d_forward(Tape *t, Module *self, Tensor *x)
{
    return lk_avg_pool2d(t, x, ((Pooling *)self)->options);
}

static Tensor *adaptive_avg_pool2d_forward(Tape *t, Module *self, Tensor *x)
{
    const int64_t *size = ((AdaptiveAvgPool2d *)self)->output_size.size;
    return lk_adaptive_avg_pool2d(t, x, size[0], size[1]);
}

static const Field fields[] = {
    LK_INT(Pooling, kernel),
    LK_INT(Pooling, stride),
    LK_INT(Pooling, padding),
    LK_SIZES(Pooling, kernels),
    LK_SIZES(Pooling, strides),
    LK_SIZES(Pooling, paddings),
    LK_END,
};

#define REPR \
    "kernel_size=[{kernel}][{kernels:()}], stride=[{stride}][{strides:()}], " \
    "padding=[{padding}][{paddings:()}]"
#define TYPE(class, fn) .name = class, .size = sizeof(Pooling), .forward = fn, .fields = fields

const ModuleType lk_max_pool1d_type = { TYPE("MaxPool1d", max_pool1d_forward),
                                        .repr = REPR ", dilation=1, ceil_mode=False" };
const ModuleType lk_max_pool2d_type = { TYPE("MaxPool2d", max_pool2d_forward),
                                        .repr = REPR ", dilation=1, ceil_mode=False" };
const ModuleType lk_avg_pool2d_type = { TYPE("AvgPool2d", avg_pool2d_forward), .repr = REPR };
const ModuleType lk_adaptive_avg_pool2d_type = {
    LK_CLASS(AdaptiveAvgPool2d),
    .forward = adaptive_avg_pool2d_forward,
    .fields = LK_FIELDS(LK_SIZES(AdaptiveAvgPool2d, output_size)),
    .repr = "output_size={output_size}",
};

/* Fills the two fields of an option. */
static void show(int dims, const int64_t option[2], int64_t *number, ModuleSizes *pair)
{
    const bool single = dims == 1 || option[0] == option[1];
    *number = single ? option[0] : -1;
    *pair = (ModuleSizes){ .ndim = single ? 0 : 2, .size = { option[0], option[1] } };
}

static Module *pooling_new(const char *function, const ModuleType *type, int dims, PoolOptions o,
                           Error *err)
{
    bool ok = true;
    for (int d = 0; d < dims; d++) {
        if (o.kernel[d] == 0) o.kernel[d] = o.kernel[0];
        if (o.stride[d] == 0) o.stride[d] = o.stride[0];
        if (o.stride[d] == 0) o.stride[d] = o.kernel[d];
        ok = ok && o.kernel[d] > 0 && o.stride[d] > 0 && o.padding[d] >= 0 &&
             o.padding[d] <= o.kernel[d] / 2;
    }
    if (!ok) {
        lk_error_set(err, LK_EVALUE,
                     "%s: kernel (%lld, %lld), stride (%lld, %lld), padding (%lld, %lld): kernel "
                     "and stride must be positive, padding not negative and at most half of the "
                     "kernel",
                     function, (long long)o.kernel[0], (long long)o.kernel[1],
                     (long long)o.stride[0], (long long)o.stride[1], (long long)o.padding[0],
                     (long long)o.padding[1]);
        return NULL;
    }
    Pooling *p = lk_module_new(type, err);
    if (!p) return NULL;
    p->options = o;
    show(dims, o.kernel, &p->kernel, &p->kernels);
    show(dims, o.stride, &p->stride, &p->strides);
    show(dims, o.padding, &p->padding, &p->paddings);
    return &p->base;
}

Module *lk_max_pool1d_new(PoolOptions options, Error *err)
{
    return pooling_new("lk_max_pool1d_new", &lk_max_pool1d_type, 1, options, err);
}

Module *lk_max_pool2d_new(PoolOptions options, Error *err)
{
    return pooling_new("lk_max_pool2d_new", &lk_max_pool2d_type, 2, options, err);
}

Module *lk_avg_pool2d_new(PoolOptions options, Error *err)
{
    return pooling_new("lk_avg_pool2d_new", &lk_avg_pool2d_type, 2, options, err);
}

Module *lk_adaptive_avg_pool2d_new(int64_t height, int64_t width, Error *err)
{
    if (height < 1 || width < 1) {
        lk_error_set(err, LK_EVALUE,
                     "lk_adaptive_avg_pool2d_new: output_size (%lld, %lld) must be positive",
                     (long long)height, (long long)width);
        return NULL;
    }
    AdaptiveAvgPool2d *p = lk_module_new(&lk_adaptive_avg_pool2d_type, err);
    if (!p) return NULL;
    p->output_size = (ModuleSizes){ .ndim = 2, .size = { height, width } };
    return &p->base;
}
