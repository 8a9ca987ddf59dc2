/* pool.c - pooling as modules. The operations: core/ops_pool.c. */
#include "nn/pool.h"

/* PyTorch prints one number where it was given one, and a pair otherwise: a field for each. The
 * field that is not in use is -1 or (). */
typedef struct Pooling {
    Module base;
    PoolOptions options;
    int64_t kernel, stride, padding, dilation;
    ModuleSizes kernels, strides, paddings, dilations;
    bool ceil_mode;
} Pooling;

typedef struct AdaptiveAvgPool2d {
    Module base;
    ModuleSizes output_size;
} AdaptiveAvgPool2d;

typedef struct Upsample {
    Module base;
    double scale_factor; /* an integer, which PyTorch prints as 2.0 */
} Upsample;

static Tensor *max_pool1d_forward(Tape *t, Module *self, Tensor *x)
{
    return lk_max_pool1d(t, x, ((Pooling *)self)->options);
}

static Tensor *max_pool2d_forward(Tape *t, Module *self, Tensor *x)
{
    return lk_max_pool2d(t, x, ((Pooling *)self)->options);
}

static Tensor *avg_pool1d_forward(Tape *t, Module *self, Tensor *x)
{
    return lk_avg_pool1d(t, x, ((Pooling *)self)->options);
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

static Tensor *upsample_forward(Tape *t, Module *self, Tensor *x)
{
    return lk_upsample_nearest2d(t, x, (int64_t)((Upsample *)self)->scale_factor);
}

static const Field fields[] = {
    LK_INT(Pooling, kernel),           LK_INT(Pooling, stride),
    LK_INT(Pooling, padding),          LK_INT(Pooling, dilation),
    LK_SIZES(Pooling, kernels),        LK_SIZES(Pooling, strides),
    LK_SIZES(Pooling, paddings),       LK_SIZES(Pooling, dilations),
    LK_BOOL_FIELD(Pooling, ceil_mode), LK_END,
};

#define REPR \
    "kernel_size=[{kernel}][{kernels:()}], stride=[{stride}][{strides:()}], " \
    "padding=[{padding}][{paddings:()}]"
#define MAX_REPR REPR ", dilation=[{dilation}][{dilations:()}], ceil_mode={ceil_mode}"
#define TYPE(class, fn) .name = class, .size = sizeof(Pooling), .forward = fn, .fields = fields

const ModuleType lk_max_pool1d_type = { TYPE("MaxPool1d", max_pool1d_forward), .repr = MAX_REPR };
const ModuleType lk_max_pool2d_type = { TYPE("MaxPool2d", max_pool2d_forward), .repr = MAX_REPR };
const ModuleType lk_avg_pool1d_type = { TYPE("AvgPool1d", avg_pool1d_forward), .repr = REPR };
const ModuleType lk_avg_pool2d_type = { TYPE("AvgPool2d", avg_pool2d_forward), .repr = REPR };
const ModuleType lk_adaptive_avg_pool2d_type = {
    LK_CLASS(AdaptiveAvgPool2d),
    .forward = adaptive_avg_pool2d_forward,
    .fields = LK_FIELDS(LK_SIZES(AdaptiveAvgPool2d, output_size)),
    .repr = "output_size={output_size}",
};
const ModuleType lk_upsample_type = {
    LK_CLASS(Upsample),
    .forward = upsample_forward,
    .fields = LK_FIELDS(LK_DOUBLE(Upsample, scale_factor)),
    .repr = "scale_factor={scale_factor}, mode=nearest",
};

/* Fills the two fields of an option. PyTorch's AvgPool1d has (2,) where MaxPool1d has 2. */
static void show(const Pooling *p, int dims, const int64_t option[2], int64_t *number,
                 ModuleSizes *sizes)
{
    const bool tuple = p->base.type == &lk_avg_pool1d_type;
    const bool single = !tuple && (dims == 1 || option[0] == option[1]);
    *number = single ? option[0] : -1;
    *sizes = (ModuleSizes){ .ndim = single ? 0 : dims, .size = { option[0], option[1] } };
}

static Module *pooling_new(const char *function, const ModuleType *type, int dims, PoolOptions o,
                           Error *err)
{
    bool ok = true;
    for (int d = 0; d < dims; d++) {
        if (o.kernel[d] == 0) o.kernel[d] = o.kernel[0];
        if (o.stride[d] == 0) o.stride[d] = o.stride[0];
        if (o.stride[d] == 0) o.stride[d] = o.kernel[d];
        if (o.dilation[d] == 0) o.dilation[d] = o.dilation[0] ? o.dilation[0] : 1;
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
    const bool is_mean = type == &lk_avg_pool1d_type || type == &lk_avg_pool2d_type;
    for (int d = 0; d < dims; d++)
        if (o.dilation[d] < 1 || (is_mean && o.dilation[d] > 1)) {
            lk_error_set(err, LK_EVALUE, "%s: the dilation %lld must be positive%s", function,
                         (long long)o.dilation[d], is_mean ? ", and 1 for a mean" : "");
            return NULL;
        }
    Pooling *p = lk_module_new(type, err);
    if (!p) return NULL;
    p->options = o;
    p->ceil_mode = o.ceil_mode;
    show(p, dims, o.kernel, &p->kernel, &p->kernels);
    show(p, dims, o.stride, &p->stride, &p->strides);
    show(p, dims, o.padding, &p->padding, &p->paddings);
    show(p, dims, o.dilation, &p->dilation, &p->dilations);
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

Module *lk_avg_pool1d_new(PoolOptions options, Error *err)
{
    return pooling_new("lk_avg_pool1d_new", &lk_avg_pool1d_type, 1, options, err);
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

Module *lk_upsample_new(int64_t scale, Error *err)
{
    if (scale < 1) {
        lk_error_set(err, LK_EVALUE, "lk_upsample_new: the scale %lld must be positive",
                     (long long)scale);
        return NULL;
    }
    Upsample *u = lk_module_new(&lk_upsample_type, err);
    if (!u) return NULL;
    u->scale_factor = (double)scale;
    return &u->base;
}
