/* ops_embedding.c - rows of a table by id. */
#include <string.h>

#include "core/internal.h"
#include "core/kernels/gemm_narrow.h"
#include "core/matrix.h"
#include "core/ops.h"

#define LK_REAL_SOURCE "core/ops_embedding_real.h"
#include "core/real.h"

/* y_i = W_id(i), so dW_id(i) += dy_i, in the order of i. The padding row gets nothing. Threads
 * share the columns, in stripes of fixed width, so that each adds in that order. */
static void embedding_backward(Tape *t, Node *n)
{
    enum { STRIPE = 64, BLOCK = 1 << 20 };
    const int64_t padding = *(const int64_t *)n->state;
    bool fresh;
    Tensor *dw = lk_grad_in_fresh(t, n, 0, &fresh), *ids = lk_packed(t, n->in[1]);
    if (!dw || !ids) return;
    char *bytes = dw->data;
    const int64_t size = (int64_t)dw->storage->bytes, count = lk_numel(ids), d = dw->shape[1],
                  *id = ids->data;
    if (fresh) { /* a table of words is large: all threads clear it */
#pragma omp parallel for schedule(static) if (size > BLOCK)
        for (int64_t first = 0; first < size; first += BLOCK)
            memset(bytes + first, 0, (size_t)(size - first < BLOCK ? size - first : BLOCK));
    }
#pragma omp parallel for schedule(static) if (count * d > 1 << 15)
    for (int64_t first = 0; first < d; first += STRIPE)
        LK_REAL(dw->dtype, add_rows, count, id, padding, d, first,
                d - first < STRIPE ? d - first : STRIPE, n->grad->data, dw->data);
}

static const Op EMBEDDING = { "EmbeddingBackward0", embedding_backward, { LK_IN1 } };

int64_t lk__embedding_padding(const Node *n)
{
    return n->op == &EMBEDDING ? *(const int64_t *)n->state : -1;
}

Tensor *lk_embedding(Tape *t, Tensor *weight, Tensor *ids, int64_t padding_idx)
{
    char sw[LK_SHAPE_TEXT], si[LK_SHAPE_TEXT];
    if (!lk_check_operands(t, "lk_embedding", LK_INPUTS(weight, ids))) return NULL;
    const bool narrow = lk_only_stores(weight->dtype);
    if (!narrow && !lk_check_floating(t, "lk_embedding", 1, &weight)) return NULL;
    if (ids->dtype != LK_I64)
        return lk_fail(t, LK_EDTYPE, "lk_embedding: ids must be int64, not %s; lk_to converts",
                       lk_dtype_name(ids->dtype));
    if (weight->ndim != 2 || ids->ndim >= LK_MAX_DIMS)
        return lk_fail(t, LK_ESHAPE,
                       "lk_embedding: weight %s must have 2 dimensions and ids %s at most %d",
                       lk_shape_text(weight, sw), lk_shape_text(ids, si), LK_MAX_DIMS - 1);
    const int64_t rows = weight->shape[0], d = weight->shape[1], count = lk_numel(ids);
    if (padding_idx < -1 || padding_idx >= rows)
        return lk_fail(t, LK_EVALUE,
                       "lk_embedding: padding_idx %lld is no row of weight %s; -1 is none",
                       (long long)padding_idx, lk_shape_text(weight, sw));
    int64_t shape[LK_MAX_DIMS];
    memcpy(shape, ids->shape, sizeof shape);
    shape[ids->ndim] = d;
    if (weight->dtype == LK_QI8 && !lk__has_whole_rows(weight))
        return lk__fail_no_whole_rows(t, "lk_embedding");
    Tensor *table = lk_packed(t, weight), *packed = lk_packed(t, ids);
    Tensor *y = lk_empty(t, narrow ? LK_F32 : weight->dtype, ids->ndim + 1, shape);
    if (!table || !packed || !y) return NULL;
    const int64_t *id = packed->data;
    for (int64_t i = 0; i < count; i++)
        if (id[i] < 0 || id[i] >= rows)
            return lk_fail(
                t, LK_EVALUE,
                "lk_embedding: index out of range: id %lld at position %lld of ids %s, but "
                "weight %s has rows 0 … %lld",
                (long long)id[i], (long long)i, lk_shape_text(ids, si), lk_shape_text(weight, sw),
                (long long)rows - 1);
    const size_t bytes = (size_t)d * lk_dtype_size(weight->dtype);
    const Mat matrix = lk__matrix(table);
    for (int64_t i = 0; i < count && narrow; i++)
        lk__widen(matrix, id[i], 1, 0, d, (float *)y->data + i * d, d);
    for (int64_t i = 0; i < count && !narrow && bytes > 0; i++)
        memcpy((char *)y->data + (size_t)i * bytes,
               (const char *)table->data + (size_t)id[i] * bytes, bytes);
    return lk_record(t, &EMBEDDING, y, LK_INPUTS(weight, ids), &padding_idx, sizeof padding_idx);
}
