/* ops.h - every operation, one declaration and one formula each.
 *
 * All of them take the tape first and return a tensor that belongs to it, or NULL with the reason
 * kept on the tape; an argument that is NULL gives NULL. Elementwise operations broadcast as
 * PyTorch does. All operands of an operation have the same dtype (lk_to converts). It is float32
 * or float64, unless a comment here says otherwise. bfloat16 and qint8 are for frozen weights:
 * lk_matmul (b), lk_linear, lk_linear_lora and lk_embedding take them as the weight beside
 * float32; results and dx are float32. Operations that only move elements take bfloat16. `dy` is
 * the gradient of the result y, `dx +=` says what backward adds. How to add one: core/op.h.
 *
 * C leaves open in which order the arguments of a call are computed. So a call never contains two
 * functions that draw random numbers (lk_rand, lk_randn, …, lk_dropout); each stands in a
 * statement of its own. In lk_sub(t, lk_randn(t, &rng, …), lk_randn(t, &rng, …)) gcc and clang
 * give the two their numbers in opposite order. */
#ifndef LK_OPS_H
#define LK_OPS_H

#include "core/tape.h"

/* clang-format off */
/* ---- making tensors: leaves on the tape, no gradient (ops_create.c) ------------------------- */
/* torch.zeros, ones, full of a shape, written LK_SHAPE(2, 3). Errors: LK_ESHAPE (more than 8
 * dimensions, a negative size), LK_EMEMORY. */
LK_API Tensor *lk_zeros(Tape *t, DType dtype, int ndim, const int64_t *shape);
LK_API Tensor *lk_ones(Tape *t, DType dtype, int ndim, const int64_t *shape);
LK_API Tensor *lk_full(Tape *t, DType dtype, int ndim, const int64_t *shape, double value);
/* torch.tensor: copies the values, an array of the C type of dtype. lk_scalar has a single
 * value. */
LK_API Tensor *lk_tensor(Tape *t, DType dtype, int ndim, const int64_t *shape, const void *values);
LK_API Tensor *lk_scalar(Tape *t, DType dtype, double value);
LK_API Tensor *lk_arange(Tape *t, int64_t start, int64_t end); /* int64: start, …, end - 1 */
/* rand: uniform in [0, 1). randn: N(0, 1). randint: int64, low … high - 1. randperm: int64,
 * 0 … n - 1 in random order. */
LK_API Tensor *lk_rand(Tape *t, Rng *rng, DType dtype, int ndim, const int64_t *shape);
LK_API Tensor *lk_randn(Tape *t, Rng *rng, DType dtype, int ndim, const int64_t *shape);
LK_API Tensor *lk_randint(Tape *t, Rng *rng, int64_t low, int64_t high, int ndim,
                          const int64_t *shape);
LK_API Tensor *lk_randperm(Tape *t, Rng *rng, int64_t n);
/* torch.multinomial: int64 (count) places of probs (n), or (rows, count) of (rows, n); rows need
 * not sum to 1. The draws are PyTorch's. (ops_sample.c) */
LK_API Tensor *lk_multinomial(Tape *t, Rng *rng, Tensor *probs, int64_t count, bool replacement);

/* ---- elementwise, two operands, broadcast (ops_binary.c) ------------------------------------ */

/* add, sub, mul, maximum, minimum take int64 too, without a gradient; overflow wraps around. */
LK_API Tensor *lk_add(Tape *t, Tensor *a, Tensor *b); /* a + b   da += dy,            db += dy */
LK_API Tensor *lk_sub(Tape *t, Tensor *a, Tensor *b); /* a - b   da += dy,            db -= dy */
LK_API Tensor *lk_mul(Tape *t, Tensor *a, Tensor *b); /* a b     da += dy b,          db += dy a */
LK_API Tensor *lk_div(Tape *t, Tensor *a, Tensor *b); /* a / b   da += dy / b,   db -= dy a / b² */
/* a^b: da += dy b a^(b-1), db += dy y ln a */
LK_API Tensor *lk_pow(Tape *t, Tensor *a, Tensor *b);
/* torch.maximum, minimum: the one that is y gets dy, equal ones get half each. NaN wins. */
LK_API Tensor *lk_maximum(Tape *t, Tensor *a, Tensor *b);
LK_API Tensor *lk_minimum(Tape *t, Tensor *a, Tensor *b);
/* torch.where: a where the bool cond is true, else b; all three broadcast. a and b have one dtype,
 * any. da += dy where cond, db += dy elsewhere. (ops_where.c) */
LK_API Tensor *lk_where(Tape *t, Tensor *cond, Tensor *a, Tensor *b);

/* ---- elementwise, one operand (ops_unary.c) ------------------------------------------------- */
LK_API Tensor *lk_neg(Tape *t, Tensor *x);                  /* -x        dx -= dy */
LK_API Tensor *lk_scale(Tape *t, Tensor *x, double c);      /* c x       dx += c dy */
LK_API Tensor *lk_add_scalar(Tape *t, Tensor *x, double c); /* x + c     dx += dy */
LK_API Tensor *lk_pow_scalar(Tape *t, Tensor *x, double p); /* x^p       dx += dy p x^(p-1) */
LK_API Tensor *lk_exp(Tape *t, Tensor *x);                  /* e^x       dx += dy y */
LK_API Tensor *lk_log(Tape *t, Tensor *x);                  /* ln x      dx += dy / x */
LK_API Tensor *lk_sqrt(Tape *t, Tensor *x);                 /* √x        dx += dy / (2 y) */
LK_API Tensor *lk_sigmoid(Tape *t, Tensor *x);    /* 1 / (1 + e^-x)      dx += dy y (1 - y) */
LK_API Tensor *lk_tanh(Tape *t, Tensor *x);       /* tanh x              dx += dy (1 - y²) */
LK_API Tensor *lk_gelu(Tape *t, Tensor *x);       /* x Φ(x)      dx += dy (Φ(x) + x φ(x)) */
LK_API Tensor *lk_relu(Tape *t, Tensor *x);       /* max(x, 0)           dx += dy where y > 0 */
LK_API Tensor *lk_abs(Tape *t, Tensor *x);        /* |x|                 dx += dy sign x, 0 at 0 */
LK_API Tensor *lk_sin(Tape *t, Tensor *x);        /* sin x               dx += dy cos x */
LK_API Tensor *lk_cos(Tape *t, Tensor *x);        /* cos x               dx -= dy sin x */
LK_API Tensor *lk_square(Tape *t, Tensor *x);     /* x²                  dx += 2 x dy */
LK_API Tensor *lk_rsqrt(Tape *t, Tensor *x);      /* 1 / √x              dx -= dy y³ / 2 */
LK_API Tensor *lk_reciprocal(Tape *t, Tensor *x); /* 1 / x               dx -= dy y² */
LK_API Tensor *lk_sign(Tape *t, Tensor *x);       /* -1, 0 or 1; 0 for a NaN      dx += 0 */
LK_API Tensor *lk_floor(Tape *t, Tensor *x);      /* ⌊x⌋                          dx += 0 */
LK_API Tensor *lk_round(Tape *t, Tensor *x);      /* to an integer, 0.5 to the even one; dx += 0 */
/* x s with s = sigmoid x; dx += dy s (1 + x (1 - s)) */
LK_API Tensor *lk_silu(Tape *t, Tensor *x);
/* F.gelu(approximate="tanh"): x s, s = (1 + tanh u) / 2, u = √(2/π) (x + 0.044715 x³);
 * dx += dy (s + 2 x s (1 - s) u') */
LK_API Tensor *lk_gelu_tanh(Tape *t, Tensor *x);
/* F.softplus, beta 1: ln(1 + e^x), x itself above 20; dx += dy sigmoid(x) */
LK_API Tensor *lk_softplus(Tape *t, Tensor *x);
LK_API Tensor *lk_leaky_relu(Tape *t, Tensor *x, double slope); /* x > 0 ? x : slope x */
/* x > 0 ? x : alpha (e^x - 1); dx += dy, or dy alpha e^x */
LK_API Tensor *lk_elu(Tape *t, Tensor *x, double alpha);
/* x from min to max; ±INFINITY is no bound. dx += dy where min <= x <= max: at the bounds too. A
 * NaN stays a NaN, with gradient 0. F.hardtanh has no gradient at the bounds. */
LK_API Tensor *lk_clamp(Tape *t, Tensor *x, double min, double max);
LK_API Tensor *lk_hardtanh(Tape *t, Tensor *x, double min, double max);

/* ---- matrix products (ops_matmul.c) --------------------------------------------------------- */

/* torch.matmul: (…, m, k) @ (…, k, n) → (…, m, n), where the leading dimensions broadcast. A 1-D a
 * is used as a row, a 1-D b as a column; the result then has no such dimension: (k) @ (k, n) →
 * (n), (m, k) @ (k) → (m), (k) @ (k) → a scalar. Transposed operands are read in place. da += dy
 * bᵀ, db += aᵀ dy, summed where an operand was broadcast. */
LK_API Tensor *lk_matmul(Tape *t, Tensor *a, Tensor *b);

/* F.linear: y = x Wᵀ + b for x (…, in), W (out, in), b (out) or NULL → (…, out).
 * dx += dy W, dW += dyᵀ x, db += Σ dy. W may be a leaf or computed (exercise 4). */
LK_API Tensor *lk_linear(Tape *t, Tensor *x, Tensor *weight, Tensor *bias);

/* LoRA's products (Hu et al. 2021, equation 3), without ever forming B A or its gradient, which
 * are as large as W: y = x Wᵀ + b + u Bᵀ with u = scale x Aᵀ, for A (r, in), B (out, r), b (out)
 * or NULL → (…, out). dx += dy W + v A, dW += dyᵀ x, dA += vᵀ x, dB += dyᵀ u, db += Σ dy with v =
 * scale dy B. `form` says how PyTorch writes the product. It only changes the name of the result
 * (lk_grad_fn). */
typedef enum LoRAForm {
    LK_LORA_MERGED, /* F.linear(x, W + scale B A, b): exercise 4 */
    LK_LORA_ADDED,  /* F.linear(x, W, b) + scale (x Aᵀ) Bᵀ: exercise 2 */
} LoRAForm;
LK_API Tensor *lk_linear_lora(Tape *t, Tensor *x, Tensor *weight, Tensor *bias, Tensor *A,
                              Tensor *B, double scale, LoRAForm form);

/* torch.einsum for two operands, or for one with b NULL: lk_einsum(t, "bij,bjk->bik", a, b) sums
 * the products over the letters that are not behind "->"; without "->" those stay that stand once.
 * No "…" and no letter twice in an operand. It is one matrix product, or lk_mul where nothing
 * shared is summed. torch.outer: y_ij = a_i b_j. (ops_einsum.c) */
LK_API Tensor *lk_einsum(Tape *t, const char *equation, Tensor *a, Tensor *b);
LK_API Tensor *lk_outer(Tape *t, Tensor *a, Tensor *b);

/* ---- convolutions (ops_conv.c) -------------------------------------------------------------- */

/* (ConvOptions){ 0 } has PyTorch's defaults: stride, dilation and groups 1, padding 0. The second
 * stride or dilation, when it is 0, is the first; a padding of { 1 } is { 1, 0 }, since 0 is a
 * padding: write { 1, 1 } for padding=1. lk_conv1d reads index 0 only. */
typedef struct ConvOptions {
    int64_t stride[2], padding[2], dilation[2], groups; /* down, across */
    int64_t output_padding[2]; /* lk_conv_transpose2d: rows and columns that y has more */
} ConvOptions;
/* F.conv2d: x (N, C, H, W), weight (O, C / groups, kh, kw), bias (O) or NULL → (N, O, H', W') with
 * H' = (H + 2 padding - dilation (kh - 1) - 1) / stride + 1, rounded down. N may be missing.
 * y[o][i][j] = b[o] + Σ W[o][c][k][l] x[c][i stride - padding + k dilation][…]; dx, dW and db are
 * the sums of the same products over the other indices. lk_conv1d: (N, C, L) → (N, O, L'). */
LK_API Tensor *lk_conv2d(Tape *t, Tensor *x, Tensor *weight, Tensor *bias, ConvOptions options);
LK_API Tensor *lk_conv1d(Tape *t, Tensor *x, Tensor *weight, Tensor *bias, ConvOptions options);
/* F.conv_transpose2d: conv2d's dx as an operation: x (N, C, H, W), weight (C, O / groups, kh, kw)
 * → (N, O, H', W'), H' = (H - 1) stride - 2 padding + dilation (kh - 1) + output_padding + 1. */
LK_API Tensor *lk_conv_transpose2d(Tape *t, Tensor *x, Tensor *weight, Tensor *bias,
                                   ConvOptions options);

/* ---- pooling (ops_pool.c) ------------------------------------------------------------------- */

/* x is (N, C, H, W), or (N, C, L) for 1-D operations; N may be missing. kernel[1], stride[1] and
 * dilation[1], when they are 0, are those of index 0. A stride of 0 is the kernel. */
typedef struct PoolOptions {
    int64_t kernel[2], stride[2], padding[2]; /* down, across; 1-D operations read index 0 only */
    int64_t dilation[2];  /* between the elements of a window, max_pool only; 0: 1 */
    bool ceil_mode;       /* sizes are rounded up: the last window may reach beyond the padding */
    bool exclude_padding; /* count_include_pad=False: avg_pool divides by the elements of x */
} PoolOptions;
/* F.max_pool2d: the maximum of each window; dx += dy at the first maximum. NaN wins. */
LK_API Tensor *lk_max_pool2d(Tape *t, Tensor *x, PoolOptions options);
LK_API Tensor *lk_max_pool1d(Tape *t, Tensor *x, PoolOptions options);
/* F.avg_pool2d: the mean of each window, padding included; dx += dy / its size in each window. */
LK_API Tensor *lk_avg_pool2d(Tape *t, Tensor *x, PoolOptions options);
LK_API Tensor *lk_avg_pool1d(Tape *t, Tensor *x, PoolOptions options);
/* F.adaptive_avg_pool2d: means of height × width parts of each plane; dx += dy / size of part. */
LK_API Tensor *lk_adaptive_avg_pool2d(Tape *t, Tensor *x, int64_t height, int64_t width);
/* F.interpolate(x, scale_factor=scale): each element becomes a square; dx += Σ dy of it. */
LK_API Tensor *lk_upsample_nearest2d(Tape *t, Tensor *x, int64_t scale);

/* ---- views: no copy, any dtype (ops_view.c) ------------------------------------------------- */

/* Backward adds dy through the same view of dx. */
LK_API Tensor *lk_T(Tape *t, Tensor *x);                         /* x.T: dimensions reversed */
LK_API Tensor *lk_transpose(Tape *t, Tensor *x, int d0, int d1); /* two dimensions exchanged */
LK_API Tensor *lk_permute(Tape *t, Tensor *x, int ndim, const int64_t *dims);
/* One size may be -1; reshape copies where no view is possible. */
LK_API Tensor *lk_view(Tape *t, Tensor *x, int ndim, const int64_t *shape);
LK_API Tensor *lk_reshape(Tape *t, Tensor *x, int ndim, const int64_t *shape);
/* x[start:end:step] along dim; x[index] along dim, which disappears. */
LK_API Tensor *lk_slice(Tape *t, Tensor *x, int dim, int64_t start, int64_t end, int64_t step);
LK_API Tensor *lk_select(Tape *t, Tensor *x, int dim, int64_t index);
LK_API Tensor *lk_expand(Tape *t, Tensor *x, int ndim, const int64_t *shape); /* -1 keeps a size */
LK_API Tensor *lk_unsqueeze(Tape *t, Tensor *x, int dim); /* size 1, before dim */
LK_API Tensor *lk_squeeze(Tape *t, Tensor *x, int dim);   /* drops dim if its size is 1 */
LK_API Tensor *lk_detach(Tape *t, Tensor *x);             /* the same values, cut from the graph */
/* x.split(size, dim), x.chunk(chunks, dim), x.unbind(dim): write views to parts[0 … room - 1]
 * (chunk: room for `chunks`), NULL behind the last, and return their number; -1 after an error. */
LK_API int lk_split(Tape *t, Tensor *x, int64_t size, int dim, int room, Tensor **parts);
LK_API int lk_chunk(Tape *t, Tensor *x, int chunks, int dim, Tensor **parts);
LK_API int lk_unbind(Tape *t, Tensor *x, int dim, int room, Tensor **parts);

/* ---- copies and rows (ops_copy.c) ----------------------------------------------------------- */
LK_API Tensor *lk_contiguous(Tape *t, Tensor *x);      /* x itself, or a copy if it has strides */
LK_API Tensor *lk_to(Tape *t, Tensor *x, DType dtype); /* dx += dy between float32 and 64 */
/* x[index]: rows of x (n, …) by int64 index (k) → (k, …). dx[index[i]] += dy[i]; repeated rows add
 * up. Negative indices count from the end; out of range is LK_EVALUE. */
LK_API Tensor *lk_select_rows(Tape *t, Tensor *x, Tensor *index);
/* x[mask]: the rows where the bool mask (n) is true. */
LK_API Tensor *lk_mask_rows(Tape *t, Tensor *x, Tensor *mask);

/* F.embedding: rows of weight (V, D) by int64 ids of any shape → (…, D). dweight[id] += dy, except
 * for the row padding_idx (-1: none). An id outside 0 … V-1 is LK_EVALUE. (ops_embedding.c) */
LK_API Tensor *lk_embedding(Tape *t, Tensor *weight, Tensor *ids, int64_t padding_idx);

/* ---- normalization (ops_norm.c) ------------------------------------------------------------- */

/* F.layer_norm over the last `dims` dimensions of x. weight and bias have the sizes of these
 * dimensions; each of the two may be NULL. y = x' weight + bias with x' = (x - mean) /
 * √(variance + eps), the biased variance. For g = dy weight: dx += (g - mean(g) - x' mean(g x')) /
 * √(variance + eps), dweight += Σ dy x', dbias += Σ dy. */
LK_API Tensor *lk_layer_norm(Tape *t, Tensor *x, int dims, Tensor *weight, Tensor *bias,
                             double eps);

/* layer_norm(residual + dropout(x, p)) over the last dimension: the end of a transformer's block.
 * The result has the bits of lk_layer_norm(t, lk_add(t, residual, lk_dropout(t, x, p)), 1, weight,
 * bias, eps), if both begin at the same place of the tape's stream. Only two numbers a row are
 * kept for backward. weight and bias are (D) or NULL. */
LK_API Tensor *lk_residual_norm(Tape *t, Tensor *x, Tensor *residual, double p, Tensor *weight,
                                Tensor *bias, double eps);
/* F.batch_norm: x (N, C) or (N, C, d…); the other tensors are (C), and weight, bias or both
 * running_… may be NULL. y = x' weight + bias, x' = (x - mean) / √(variance + eps). In training
 * mean and biased variance are those of the channel's elements, and running = (1 - momentum)
 * running + momentum value, in place, with the unbiased variance; else they are the running ones.
 * dweight += Σ dy x', dbias += Σ dy; in training dx += weight (dy - mean(dy) - x' mean(dy x')) /
 * √(variance + eps), else the first term alone. LK_ESHAPE: training with one value a channel.
 * (ops_batch_norm.c) */
LK_API Tensor *lk_batch_norm(Tape *t, Tensor *x, Tensor *running_mean, Tensor *running_var,
                             Tensor *weight, Tensor *bias, bool training, double momentum,
                             double eps);
/* F.group_norm: x (N, C, …), each sample's channels in `groups` groups that are normalized as by
 * lk_layer_norm; weight and bias are (C) or NULL. (ops_group_norm.c) */
LK_API Tensor *lk_group_norm(Tape *t, Tensor *x, int64_t groups, Tensor *weight, Tensor *bias,
                             double eps);
/* F.rms_norm over the last dimension: y = x r weight, r = 1 / √(mean(x²) + eps); weight (D) or
 * NULL. g = dy weight: dx += r (g - x r² mean(g x)), dweight += Σ dy x r. (ops_rms_norm.c) */
LK_API Tensor *lk_rms_norm(Tape *t, Tensor *x, Tensor *weight, double eps);

/* ---- put together: any one dtype (ops_join.c) ----------------------------------------------- */

/* torch.cat: lk_cat(t, LK_TENSORS(a, b, c), 1). Sizes agree except along dim. torch.stack: equal
 * shapes, along a new dimension before dim. Each dx += its part of dy. */
#define LK_TENSORS(...) LK_LIST(Tensor *, __VA_ARGS__)
LK_API Tensor *lk_cat(Tape *t, int count, Tensor *const *x, int dim);
LK_API Tensor *lk_stack(Tape *t, int count, Tensor *const *x, int dim);

/* ---- elements at other places: any dtype (ops_rearrange.c, ops_repeat.c) -------------------- */

/* Backward adds dy to the places that the elements came from. F.pad(x, (1, 2), value=v) is
 * lk_pad(t, x, LK_PADS(1, 2), v): a pair for each dimension, the last dimension first; a negative
 * pad cuts. */
#define LK_PADS(...) LK_LIST(int64_t, __VA_ARGS__)
LK_API Tensor *lk_pad(Tape *t, Tensor *x, int count, const int64_t *pads, double value);
LK_API Tensor *lk_flip(Tape *t, Tensor *x, int ndims, const int64_t *dims); /* LK_DIMS or LK_ALL */
/* x.roll(shifts, dims): lk_roll(t, x, LK_SHIFTS(1, -2), LK_DIMS(0, 1)). Element i goes to
 * (i + shift) mod size. One shift and LK_ALL roll the elements as one row. */
#define LK_SHIFTS(...) LK_LIST(int64_t, __VA_ARGS__)
LK_API Tensor *lk_roll(Tape *t, Tensor *x, int nshifts, const int64_t *shifts, int ndims,
                       const int64_t *dims);
/* In the last two dimensions, y_ij = x_ij for j <= i + diagonal (tril) or j >= i + diagonal
 * (triu), and 0 elsewhere. */
LK_API Tensor *lk_tril(Tape *t, Tensor *x, int64_t diagonal);
LK_API Tensor *lk_triu(Tape *t, Tensor *x, int64_t diagonal);
/* repeat_interleave: each place of dim `repeats` times in a row. repeat: the whole x, repeats[d]
 * times along d; further dimensions come in front, as in expand. dx += Σ dy. */
LK_API Tensor *lk_repeat_interleave(Tape *t, Tensor *x, int64_t repeats, int dim);
LK_API Tensor *lk_repeat(Tape *t, Tensor *x, int ndim, const int64_t *repeats);

/* ---- elements by an index or a mask (ops_index.c) ------------------------------------------- */

/* torch.gather: y has the shape of the int64 index, y[i][j][k] = x[i][index[i][j][k]][k] for dim
 * 1. The index has as many dimensions as x and is no larger except along dim; an index outside 0 …
 * size-1 is LK_EVALUE. dx[index] += dy. */
LK_API Tensor *lk_gather(Tape *t, Tensor *x, int dim, Tensor *index);
/* x.scatter_add(dim, index, src): y = x, then for dim 1 y[i][index[i][j][k]][k] += src[i][j][k] in
 * the order of the index. It is no larger than src. dx += dy, dsrc += dy[index]. */
LK_API Tensor *lk_scatter_add(Tape *t, Tensor *x, int dim, Tensor *index, Tensor *src);
/* x.index_add(dim, index, src): the same by slices and a 1-D index, y[:, index[j]] += src[:, j]
 * for dim 1. */
LK_API Tensor *lk_index_add(Tape *t, Tensor *x, int dim, Tensor *index, Tensor *src);
/* F.one_hot: int64 ids (…) → int64 (…, classes). An id outside 0 … classes-1 is LK_EVALUE. */
LK_API Tensor *lk_one_hot(Tape *t, Tensor *ids, int64_t classes);
/* x.masked_fill(mask, value): value where the bool mask is true, else x. The mask broadcasts.
 * dx += dy where it is false. */
LK_API Tensor *lk_masked_fill(Tape *t, Tensor *x, Tensor *mask, double value);

/* ---- reductions (ops_reduce.c) -------------------------------------------------------------- */

/* Over the listed dimensions (LK_DIMS(0, -1)) or all (LK_ALL); keepdim leaves them with size 1.
 * Sums are taken in double. A mean, maximum or minimum over nothing is LK_ESHAPE. A scalar takes
 * the dimensions 0 and -1.      sum: Σ x, dx += dy      mean: Σ x / n, dx += dy / n */
LK_API Tensor *lk_sum(Tape *t, Tensor *x, int ndims, const int64_t *dims, bool keepdim);
LK_API Tensor *lk_mean(Tape *t, Tensor *x, int ndims, const int64_t *dims, bool keepdim);
/* x.amax(dims), x.max(): the gradient is shared evenly among equal maxima. NaN wins. */
LK_API Tensor *lk_max(Tape *t, Tensor *x, int ndims, const int64_t *dims, bool keepdim);
LK_API Tensor *lk_min(Tape *t, Tensor *x, int ndims, const int64_t *dims, bool keepdim);
/* x.max(dim): the values and, when indices is not NULL, the int64 index of the first maximum (NaN
 * wins). Only the first maximum gets the gradient. */
LK_API Tensor *lk_max_dim(Tape *t, Tensor *x, int dim, bool keepdim, Tensor **indices);
LK_API Tensor *lk_min_dim(Tape *t, Tensor *x, int dim, bool keepdim, Tensor **indices);
/* int64: the index of the first maximum or minimum; no gradient. */
LK_API Tensor *lk_argmax(Tape *t, Tensor *x, int dim, bool keepdim);
LK_API Tensor *lk_argmin(Tape *t, Tensor *x, int dim, bool keepdim);
/* x.any(dims), x.all(dims): bool from any dtype; false and true over nothing. (ops_any.c) */
LK_API Tensor *lk_any(Tape *t, Tensor *x, int ndims, const int64_t *dims, bool keepdim);
LK_API Tensor *lk_all(Tape *t, Tensor *x, int ndims, const int64_t *dims, bool keepdim);

/* ---- statistics: dims, keepdim and precision as above (ops_stats.c) ------------------------- */

/* x.var(dims, correction), x.std: v = Σ (x - mean)² / (n - correction); correction 1 is PyTorch's
 * default, 0 the biased one. var: dx += 2 dy (x - mean) / (n - correction). std: √v, dx += dy (x -
 * mean) / (y (n - correction)), 0 where y is 0. Nothing to reduce is LK_ESHAPE. */
LK_API Tensor *lk_var(Tape *t, Tensor *x, double correction, int ndims, const int64_t *dims,
                      bool keepdim);
LK_API Tensor *lk_std(Tape *t, Tensor *x, double correction, int ndims, const int64_t *dims,
                      bool keepdim);
/* x.norm(p, dims): (Σ |x|^p)^(1/p), dx += dy sign x |x|^(p-1) / y^(p-1), 0 where y is 0. p is 0
 * (the number of x ≠ 0; dx += 0), any positive number, or INFINITY (max |x|; equal ones share). */
LK_API Tensor *lk_norm(Tape *t, Tensor *x, double p, int ndims, const int64_t *dims, bool keepdim);
/* x.logsumexp(dims): ln Σ e^x, dx += dy e^(x - y); -INFINITY over nothing. */
LK_API Tensor *lk_logsumexp(Tape *t, Tensor *x, int ndims, const int64_t *dims, bool keepdim);
/* x.prod(dims): Π x, dx += dy times the product of the others; 1 over nothing. */
LK_API Tensor *lk_prod(Tape *t, Tensor *x, int ndims, const int64_t *dims, bool keepdim);
/* F.cosine_similarity(a, b, dim, eps): y = Σ ab / (|a| |b|) along dim; a and b broadcast, norms
 * below eps (PyTorch: 1e-8) are eps. da += dy (b / |b| - y a / |a|) / |a|. (ops_cosine.c) */
LK_API Tensor *lk_cosine_similarity(Tape *t, Tensor *a, Tensor *b, int dim, double eps);

/* ---- running sums and order along a dimension (ops_cumsum.c, ops_sort.c) -------------------- */

/* y_i = x_0 + … + x_i, in double; int64 too. dx_i += dy_i + dy_(i+1) + … */
LK_API Tensor *lk_cumsum(Tape *t, Tensor *x, int dim);
/* x.sort(dim, descending), x.topk(k, dim, largest): the values in order and, when indices is not
 * NULL, their int64 places. Any dtype. NaN is the largest; equal elements keep their order, those
 * of topk too. dx[indices] += dy. argsort: the places alone. */
LK_API Tensor *lk_sort(Tape *t, Tensor *x, int dim, bool descending, Tensor **indices);
LK_API Tensor *lk_argsort(Tape *t, Tensor *x, int dim, bool descending);
LK_API Tensor *lk_topk(Tape *t, Tensor *x, int64_t k, int dim, bool largest, Tensor **indices);

/* ---- softmax (ops_softmax.c) and losses ----------------------------------------------------- */
LK_API Tensor *lk_softmax(Tape *t, Tensor *x, int dim); /* e^x / Σ e^x    dx += y (dy - Σ y dy) */
LK_API Tensor *lk_log_softmax(Tape *t, Tensor *x, int dim); /* x - ln Σ e^x  dx += dy - e^y Σ dy */

/* Of a loss: reduction="mean", "sum", "none" (each loss by itself), "batchmean" (lk_kl_div only:
 * the sum divided by the size of the first dimension). A mean over nothing is LK_ESHAPE. */
typedef enum Reduction { LK_MEAN, LK_SUM, LK_NONE, LK_BATCH_MEAN } Reduction;

/* F.cross_entropy: logits (N, C) and int64 labels (N), or (N, C, d…) and (N, d…), or (C) and a
 * scalar. The loss of a row is -log_softmax(logits)[label], and lk_cross_entropy gives the mean of
 * the rows whose label is not -100, as in PyTorch.
 * dlogits += (softmax - onehot) dy / n. Errors: a label outside 0 … C-1 ("Target 10 is out of
 * bounds"). (ops_cross_entropy.c) */
LK_API Tensor *lk_cross_entropy(Tape *t, Tensor *logits, Tensor *labels);
/* Zeros are PyTorch's defaults. */
typedef struct CrossEntropyOptions {
    Tensor *weight;         /* (C) or NULL; a mean divides by the weights of the labels */
    double label_smoothing; /* 0 … 1: the part of each label that is spread over all classes */
    Reduction reduction;    /* LK_NONE: the losses in the shape of the labels */
} CrossEntropyOptions;
/* Rows whose label is ignore_index are left out, of n too; PyTorch's default is -100. It is no
 * option, because 0 is a label. Labels of the logits' shape and dtype are probabilities q: the
 * loss is -Σ q log_softmax(logits); dlogits += (softmax Σ q - q) dy / n, dq -= log_softmax dy /
 * n. */
LK_API Tensor *lk_cross_entropy_with(Tape *t, Tensor *logits, Tensor *labels,
                                     int64_t ignore_index, CrossEntropyOptions options);
/* F.nll_loss: the same for log_p = log_softmax(logits) and int64 labels: -weight[label]
 * log_p[label]; weight (C) or NULL. dlog_p[label] -= weight[label] dy / n. */
LK_API Tensor *lk_nll_loss(Tape *t, Tensor *log_p, Tensor *labels, Tensor *weight,
                           int64_t ignore_index, Reduction reduction);

/* Losses of x and y of one shape, element by element, in a reduction (ops_loss.c). With d = x - y,
 * dx += the slope times dy / n, and y gets the negative of that. lk_mse_loss: the mean. */
LK_API Tensor *lk_mse_loss(Tape *t, Tensor *x, Tensor *y); /* d², slope 2d */
LK_API Tensor *lk_mse_loss_with(Tape *t, Tensor *x, Tensor *y, Reduction reduction);
LK_API Tensor *lk_l1_loss(Tape *t, Tensor *x, Tensor *y, Reduction reduction); /* |d|, sign d */
/* |d| < beta ? d² / (2 beta) : |d| - beta / 2, slope d / beta or sign d */
LK_API Tensor *lk_smooth_l1_loss(Tape *t, Tensor *x, Tensor *y, double beta, Reduction reduction);
/* |d| <= delta ? d² / 2 : delta (|d| - delta / 2), slope d or delta sign d */
LK_API Tensor *lk_huber_loss(Tape *t, Tensor *x, Tensor *y, double delta, Reduction reduction);
/* F.kl_div: target (ln target - input), or with log_target e^target (target - input). For p =
 * target or e^target: dinput -= p dy / n, dtarget += (ln p + 1 - input) dy / n or p times that. */
LK_API Tensor *lk_kl_div(Tape *t, Tensor *input, Tensor *target, bool log_target,
                         Reduction reduction);
/* F.binary_cross_entropy_with_logits: -w target ln s - (1 - target) ln(1 - s) with s = sigmoid(x)
 * and w = pos_weight, broadcast to x; NULL is 1. dx += ((w target + 1 - target) s - w target) dy /
 * n, dtarget += (ln(1 - s) - w ln s) dy / n. For PyTorch's `weight`, lk_mul it with the result of
 * LK_NONE. */
LK_API Tensor *lk_bce_with_logits(Tape *t, Tensor *x, Tensor *target, Tensor *pos_weight,
                                  Reduction reduction);

/* ---- dropout (ops_dropout.c) ---------------------------------------------------------------- */

/* F.dropout(x, p): y = x noise, where noise is 0 with probability p, else 1 / (1 - p); dx += dy
 * noise. The noise comes from the tape's stream (lk_tape_seed) and is not stored: backward makes
 * it again. p = 0 gives x itself, p = 1 zeros. */
LK_API Tensor *lk_dropout(Tape *t, Tensor *x, double p);

/* ---- attention (ops_attention.c) ------------------------------------------------------------ */

/* F.scaled_dot_product_attention of `heads` heads side by side: q (B, S, E), k and v (B, S2, E) →
 * (B, S, E), with E = heads d. The mask is bool (B, S2) and true for a key that may be attended
 * to; NULL allows all keys. For each head, with its d columns, y = dropout(softmax(q kᵀ / √d)) v.
 * A masked score is the lowest finite number, as in Hugging Face: a row whose keys are all masked
 * attends to all of them equally. The operation is fused: no (B, heads, S, S2) tensor exists. It
 * keeps only two numbers a row, and backward computes the probabilities and the noise again.
 * dq += ds k / √d, dk += dsᵀ q / √d, dv += Pᵀ dy. */
LK_API Tensor *lk_attention(Tape *t, Tensor *q, Tensor *k, Tensor *v, Tensor *mask,
                            int64_t heads, double dropout);

typedef struct AttentionOptions {
    double dropout; /* chance to drop an attention probability; 0 outside of training */
    bool causal;    /* is_causal: query i attends to the keys 0 … position + i only */
    int64_t position; /* of the first query among the keys, where earlier keys are cached */
    int64_t kv_heads; /* heads of k and v, (B, S2, kv_heads d); 0: heads. Each serves heads /
                         kv_heads heads of q, one after the other */
    /* Broadcast to the scores (B, heads, S, S2), such as (S, S2): bool, true for a key that may be
     * attended to, or floats that are added to the scores. Their gradient is ds. NULL: none */
    Tensor *attn_mask;
} AttentionOptions;
/* The same with options; what is 0 changes nothing. */
LK_API Tensor *lk_attention_with(Tape *t, Tensor *q, Tensor *k, Tensor *v, Tensor *mask,
                                 int64_t heads, AttentionOptions options);

/* Rotary position embedding (Su et al. 2021) in the half-split form of Llama and GPT-NeoX, on q or
 * k (B, S, E) with E = heads d, d even: in row s of a head, y_j = x_j cos φ - x_(j+d/2) sin φ and
 * y_(j+d/2) = x_(j+d/2) cos φ + x_j sin φ, with φ = (position + s) base^(-2j/d) for j < d/2. dx
 * gets dy turned back by φ. (ops_rotary.c) */
LK_API Tensor *lk_rotary(Tape *t, Tensor *x, int64_t heads, double base, int64_t position);

/* ---- recurrent networks (ops_recurrent.c) --------------------------------------------------- */

/* The direction, and lengths as for pack_padded_sequence. At steps behind its length a sequence
 * keeps its state, its output is 0, and x is not read: dx is 0. So h_n and c_n are those of its
 * last step, and a reverse layer begins there. Error: LK_EVALUE for a length outside 1 … S. */
typedef struct SequenceOptions {
    bool reverse;    /* from the last step to the first */
    Tensor *lengths; /* int64 (B): the steps of each sequence, in any order; NULL: all have S */
} SequenceOptions;
/* nn.LSTM's layer over a whole sequence x (S, B, I) → h of every step (S, B, H). weight_ih is
 * (4 H, I), weight_hh (4 H, H), each bias (4 H) or NULL, with the gates i, f, g, o in this order;
 * h0 and c0 are (B, H), NULL: zeros. i, f, o = σ(W x + U h + b), g = tanh(…), c = f c + i g, h = o
 * tanh c. h_n and c_n, unless NULL, get h and c (B, H) after the last step computed; gradients
 * flow through them too. Without a step: LK_ESHAPE. For da, the gradients in front of the gates:
 * dx += da W, dW += daᵀ x, dU += Σ da[s]ᵀ h[s-1], db += Σ da, dh0 += da[0] U, dc0 += dc[0] f. */
LK_API Tensor *lk_lstm(Tape *t, Tensor *x, Tensor *h0, Tensor *c0, Tensor *weight_ih,
                       Tensor *weight_hh, Tensor *bias_ih, Tensor *bias_hh,
                       SequenceOptions options, Tensor **h_n, Tensor **c_n);
/* nn.LSTMCell: one step of x (B, I) → h (B, H); c_next, unless NULL, gets the new c. */
LK_API Tensor *lk_lstm_cell(Tape *t, Tensor *x, Tensor *h, Tensor *c, Tensor *weight_ih,
                            Tensor *weight_hh, Tensor *bias_ih, Tensor *bias_hh, Tensor **c_next);
/* nn.GRU's layer, as lk_lstm, with 3 H rows for the gates r, z, n: r, z = σ(W x + U h + b), n =
 * tanh(W x + b_ih + r (U h + b_hh)), h = (1 - z) n + z h. Gradients as above, where dU and b_hh's
 * have r da_n in place of da_n. */
LK_API Tensor *lk_gru(Tape *t, Tensor *x, Tensor *h0, Tensor *weight_ih, Tensor *weight_hh,
                      Tensor *bias_ih, Tensor *bias_hh, SequenceOptions options, Tensor **h_n);
/* nn.GRUCell: one step of x (B, I) → h (B, H). */
LK_API Tensor *lk_gru_cell(Tape *t, Tensor *x, Tensor *h, Tensor *weight_ih, Tensor *weight_hh,
                           Tensor *bias_ih, Tensor *bias_hh);

/* ---- comparisons, logic: bool, broadcast, any dtype, no gradient (ops_compare.c) ------------ */
LK_API Tensor *lk_eq(Tape *t, Tensor *a, Tensor *b); /* a == b: torch.eq */
LK_API Tensor *lk_ne(Tape *t, Tensor *a, Tensor *b); /* a != b */
LK_API Tensor *lk_lt(Tape *t, Tensor *a, Tensor *b); /* a < b */
LK_API Tensor *lk_le(Tape *t, Tensor *a, Tensor *b); /* a <= b */
LK_API Tensor *lk_gt(Tape *t, Tensor *a, Tensor *b); /* a > b */
LK_API Tensor *lk_ge(Tape *t, Tensor *a, Tensor *b); /* a >= b */
/* An element is true when it is not 0; a and b may have two dtypes. */
LK_API Tensor *lk_logical_and(Tape *t, Tensor *a, Tensor *b);
LK_API Tensor *lk_logical_or(Tape *t, Tensor *a, Tensor *b);
LK_API Tensor *lk_logical_not(Tape *t, Tensor *x);
/* |a - b| <= atol + rtol |b| */
LK_API Tensor *lk_isclose(Tape *t, Tensor *a, Tensor *b, double rtol, double atol);
/* clang-format on */

#endif
