/* conv.h - convolution as a matrix product whose right factor, the patches, is never stored.
 *
 *     y[n][m][oy][ox] = bias[m] + Σ_{c, ky, kx} w[m][c][ky][kx] x[n][c][source(oy, ky)][…(ox, kx)]
 *
 * is W (m × c ky kx) times a matrix with one row for each (c, ky, kx) and one column for each
 * output position. The kernels of gemm_kernels.h compute it from pieces of that matrix, which are
 * copied into their order of reading. For these a thread has WINDOW_BYTES and PACKED_BYTES of
 * conv_plan.h, 256 KB together, whatever the sizes; it has more only when a row of zeros and image
 * or a kernel of 2000 elements needs it. The gradients with respect to x and w, and the transposed
 * convolution, are made of the same two functions. The bits do not depend on the number of
 * threads. */
#ifndef LK_CONV_H
#define LK_CONV_H

#include "core/tensor.h"

/* One of the two dimensions. Tap j < taps of output position o < out reads source position
 * o stride + offset + j offset_step, which is 0 outside of 0 … in-1. */
typedef struct ConvAxis {
    int64_t in, out, stride;
    int64_t taps, offset, offset_step;
    int64_t kernel, kernel_step; /* tap j is element kernel + j kernel_step of the weight */
    int64_t out_first, out_step; /* position o is element out_first + o out_step of y */
} ConvAxis;

/* All tensors are contiguous. Those of a group lie behind those of the one before. */
typedef struct Conv {
    DType dtype;
    int64_t n, groups, channels, rows; /* images; channels of x and of y in a group */
    ConvAxis y, x;                     /* the two dimensions, down and across */
    const void *source;                /* x (n, groups channels, y.in, x.in) */
    void *out;                         /* y (n, groups rows, out_height, out_width) */
    int64_t out_height, out_width;
    void *weight; /* element (m, c, ky, kx) of a group is m w_row + c w_channel + ky w_down + kx */
    int64_t w_group, w_row, w_channel, w_down;
    const void *bias; /* (groups rows), or NULL */
    bool add;         /* add to y, or to the weight in lk__conv_weight */
} Conv;

/* Computes y. */
size_t lk__conv_workspace(const Conv *c, int threads);
void lk__conv(const Conv *c, int threads, void *workspace);

/* Computes w, the gradient: w[m][c][ky][kx] = Σ y[n][m][oy][ox] x[n][c][source(oy, ky)][…]. The
 * axes have out_first 0 and all steps of out and kernel 1, as in a forward pass. */
size_t lk__conv_weight_workspace(const Conv *c, int threads);
void lk__conv_weight(const Conv *c, int threads, void *workspace);

#endif
