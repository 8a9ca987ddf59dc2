/* conv.c - torch.nn.Conv1d, Conv2d and ConvTranspose2d. The arithmetic: core/ops_conv.c. */
#include "nn/conv.h"

#include <math.h>

#include "nn/constructor.h"

/* ---- forward -------------------------------------------------------------------------------- */

ConvOptions lk_conv_options(Module *m)
{
    if (!lk_as_conv1d(m) && !lk_as_conv2d(m) && !lk_as_conv_transpose2d(m))
        return (ConvOptions){ 0 };
    const Convolution *c = (const Convolution *)m;
    ConvOptions o = { .groups = c->groups };
    for (int d = 0; d < c->kernel_size.ndim; d++) {
        o.stride[d] = c->stride.size[d];
        o.padding[d] = c->padding.size[d];
        o.dilation[d] = c->dilation.size[d];
        o.output_padding[d] = c->output_padding.size[d];
    }
    return o;
}

typedef Tensor *ConvFn(Tape *t, Tensor *x, Tensor *weight, Tensor *bias, ConvOptions options);

static Tensor *forward(ConvFn *convolve, Tape *t, Module *self, Tensor *x)
{
    Convolution *c = (Convolution *)self;
    Tensor *weight = lk_param(t, self, &c->weight), *bias = lk_param(t, self, &c->bias);
    return convolve(t, x, weight, bias, lk_conv_options(self));
}

static Tensor *conv1d_forward(Tape *t, Module *self, Tensor *x)
{
    return forward(lk_conv1d, t, self, x);
}

static Tensor *conv2d_forward(Tape *t, Module *self, Tensor *x)
{
    return forward(lk_conv2d, t, self, x);
}

static Tensor *conv_transpose2d_forward(Tape *t, Module *self, Tensor *x)
{
    return forward(lk_conv_transpose2d, t, self, x);
}

/* ---- types ---------------------------------------------------------------------------------- */

/* PyTorch leaves out what has its default. */
#define REPR(zero, one) \
    "{in_channels}, {out_channels}, kernel_size={kernel_size}, stride={stride}" \
    "[, padding={padding:" zero "}][, dilation={dilation:" one "}]" \
    "[, output_padding={output_padding:" zero "}][, groups={groups:1}][, bias={bias:True}]"

#define FIELDS(T) \
    LK_FIELDS(LK_PARAM(T, weight), LK_PARAM(T, bias), LK_INT(T, in_channels), \
              LK_INT(T, out_channels), LK_INT(T, groups), LK_SIZES(T, kernel_size), \
              LK_SIZES(T, stride), LK_SIZES(T, padding), LK_SIZES(T, dilation), \
              LK_SIZES(T, output_padding))

/* clang-format off */
const ModuleType lk_conv1d_type = {
    LK_CLASS(Conv1d),
    .forward = conv1d_forward,
    .fields = FIELDS(Conv1d),
    .repr = REPR("(0,)", "(1,)"),
    .lora = LK_LORA_WEIGHT,
};
LK_DOWNCAST(Conv1d, lk_conv1d_type, lk_as_conv1d)

const ModuleType lk_conv2d_type = {
    LK_CLASS(Conv2d),
    .forward = conv2d_forward,
    .fields = FIELDS(Conv2d),
    .repr = REPR("(0, 0)", "(1, 1)"),
    .lora = LK_LORA_WEIGHT,
};
LK_DOWNCAST(Conv2d, lk_conv2d_type, lk_as_conv2d)
/* clang-format on */

const ModuleType lk_conv_transpose2d_type = {
    LK_CLASS(ConvTranspose2d),
    .forward = conv_transpose2d_forward,
    .fields = FIELDS(ConvTranspose2d),
    .repr = REPR("(0, 0)", "(1, 1)"),
};
LK_DOWNCAST(ConvTranspose2d, lk_conv_transpose2d_type, lk_as_conv_transpose2d)

/* ---- constructors --------------------------------------------------------------------------- */

static ModuleSizes sizes(int dims, const int64_t *option, int64_t none)
{
    ModuleSizes s = { .ndim = dims };
    for (int d = 0; d < dims; d++) {
        s.size[d] = option[d];
        if (s.size[d] == 0) s.size[d] = d > 0 && none ? s.size[0] : none;
    }
    return s;
}

/* Whether the options are possible; if not, sets err. */
static bool options_fit(const char *function, int64_t in, int64_t out, const ConvOptions *o,
                        Error *err)
{
    bool ok = o->groups >= 0;
    for (int d = 0; d < 2; d++)
        ok = ok && o->stride[d] >= 0 && o->padding[d] >= 0 && o->dilation[d] >= 0 &&
             o->output_padding[d] >= 0;
    if (!ok) return lk_error_set(err, LK_EVALUE, "%s: an option is negative", function);
    const int64_t groups = o->groups ? o->groups : 1;
    const bool takes = in % groups == 0;
    return (takes && out % groups == 0) ||
           lk_error_set(err, LK_EVALUE, "%s: groups %lld must divide %s %lld", function,
                        (long long)groups, takes ? "out_channels" : "in_channels",
                        (long long)(takes ? out : in));
}

static Module *convolution_new(const char *function, const ModuleType *type, int64_t in,
                               int64_t out, int dims, const int64_t *kernel, ConvOptions options,
                               bool bias, Rng *rng, Error *err)
{
    const NamedSize named[] = { { "in_channels", in },
                                { "out_channels", out },
                                { dims == 1 ? "kernel" : "kh", kernel[0] },
                                { "kw", kernel[1] } };
    if (!lk__can_draw(function, dims + 2, named, rng, err) ||
        !options_fit(function, in, out, &options, err))
        return NULL;
    if (options.groups == 0) options.groups = 1;
    const bool transposed = type == &lk_conv_transpose2d_type;
    const int64_t first = transposed ? in : out, second = (transposed ? out : in) / options.groups;
    const ParamShape shapes[] = { { dims + 2, (int64_t[]){ first, second, kernel[0], kernel[1] } },
                                  { LK_SHAPE(out) } };
    Convolution *c = lk_module_with_params_new(type, bias ? 2 : 1, shapes, err);
    if (!c) return NULL;
    c->in_channels = in;
    c->out_channels = out;
    c->groups = options.groups;
    c->kernel_size = sizes(dims, kernel, 1);
    c->stride = sizes(dims, options.stride, 1);
    c->padding = sizes(dims, options.padding, 0);
    c->dilation = sizes(dims, options.dilation, 1);
    c->output_padding = sizes(dims, options.output_padding, 0);
    /* kaiming_uniform_(a=√5), rounded as PyTorch rounds it; everything is allocated by now, so a
     * failure has drawn nothing */
    const double inputs = (double)(lk_numel(c->weight) / first), a = sqrt(5.0),
                 bound = sqrt(3.0) * (sqrt(2.0 / (1 + a * a)) / sqrt(inputs));
    lk_uniform_(c->weight, -bound, bound, rng);
    if (bias) lk_uniform_(c->bias, -1 / sqrt(inputs), 1 / sqrt(inputs), rng);
    return &c->base;
}

Module *lk_conv1d_new(int64_t in_channels, int64_t out_channels, int64_t kernel,
                      ConvOptions options, bool bias, Rng *rng, Error *err)
{
    return convolution_new("lk_conv1d_new", &lk_conv1d_type, in_channels, out_channels, 1,
                           (int64_t[]){ kernel, 1 }, options, bias, rng, err);
}

Module *lk_conv2d_new(int64_t in_channels, int64_t out_channels, int64_t kh, int64_t kw,
                      ConvOptions options, bool bias, Rng *rng, Error *err)
{
    return convolution_new("lk_conv2d_new", &lk_conv2d_type, in_channels, out_channels, 2,
                           (int64_t[]){ kh, kw }, options, bias, rng, err);
}

Module *lk_conv2d_square_new(int64_t in_channels, int64_t out_channels, int64_t kernel,
                             int64_t stride, int64_t padding, bool bias, Rng *rng, Error *err)
{
    const ConvOptions options = { .stride = { stride }, .padding = { padding, padding } };
    return convolution_new("lk_conv2d_square_new", &lk_conv2d_type, in_channels, out_channels, 2,
                           (int64_t[]){ kernel, kernel }, options, bias, rng, err);
}

Module *lk_conv_transpose2d_new(int64_t in_channels, int64_t out_channels, int64_t kh, int64_t kw,
                                ConvOptions options, bool bias, Rng *rng, Error *err)
{
    return convolution_new("lk_conv_transpose2d_new", &lk_conv_transpose2d_type, in_channels,
                           out_channels, 2, (int64_t[]){ kh, kw }, options, bias, rng, err);
}
