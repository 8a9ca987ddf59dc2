/* conv.h - torch.nn.Conv1d, Conv2d and ConvTranspose2d. */
#ifndef LK_NN_CONV_H
#define LK_NN_CONV_H

#include "core/ops.h"
#include "nn/module.h"

typedef struct Convolution {
    Module base;
    Tensor *weight; /* (out, in / groups, kh, kw); ConvTranspose2d: (in, out / groups, kh, kw) */
    Tensor *bias;   /* (out), or NULL */
    int64_t in_channels, out_channels, groups;
    ModuleSizes kernel_size, stride, padding, dilation, output_padding;
} Convolution;
typedef Convolution Conv1d, Conv2d, ConvTranspose2d;
LK_MODULE_TYPE(Conv1d, lk_conv1d_type, lk_as_conv1d);
LK_MODULE_TYPE(Conv2d, lk_conv2d_type, lk_as_conv2d);
LK_MODULE_TYPE(ConvTranspose2d, lk_conv_transpose2d_type, lk_as_conv_transpose2d);

/* nn.Conv2d(in_channels, out_channels, kernel, stride, padding, bias=bias), the same down and
 * across. nn.Conv2d(1, 6, 5, padding=2) is lk_conv2d_square_new(1, 6, 5, 1, 2, true, &rng, &err),
 * in float32. The weight and then the bias are drawn from U(-b, b) with b = 1 / √(weight[0]'s
 * elements), with PyTorch's bits for the same generator. Errors: LK_EVALUE for sizes or options
 * that are not possible. */
LK_API Module *lk_conv2d_square_new(int64_t in_channels, int64_t out_channels, int64_t kernel,
                                    int64_t stride, int64_t padding, bool bias, Rng *rng,
                                    Error *err);
/* The same with a kernel of kh × kw and all options (core/ops.h): .padding = { 1, 1 } is padding=1
 * of PyTorch, .padding = { 1 } is padding=(1, 0). */
LK_API Module *lk_conv2d_new(int64_t in_channels, int64_t out_channels, int64_t kh, int64_t kw,
                             ConvOptions options, bool bias, Rng *rng, Error *err);
LK_API Module *lk_conv1d_new(int64_t in_channels, int64_t out_channels, int64_t kernel,
                             ConvOptions options, bool bias, Rng *rng, Error *err);
LK_API Module *lk_conv_transpose2d_new(int64_t in_channels, int64_t out_channels, int64_t kh,
                                       int64_t kw, ConvOptions options, bool bias, Rng *rng,
                                       Error *err);

/* The options of such a convolution, as lk_conv2d and its kin take them; all 0 for another
 * module. */
LK_API ConvOptions lk_conv_options(Module *m);

#endif
