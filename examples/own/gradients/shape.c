/* shape.c - gradient cases of views, copies, and operations that move elements (core/ops_view.c,
 * core/ops_copy.c, core/ops_join.c, core/ops_index.c, core/ops_embedding.c). */
#include "examples/own/gradients/rows.h"

CALL(reversed, lk_T(t, x[0]))
CALL(transpose, lk_transpose(t, x[0], 0, -1))
CALL(permute, lk_permute(t, x[0], LK_DIMS(1, 2, 0)))
CALL(view, lk_view(t, lk_contiguous(t, x[0]), LK_SHAPE(-1)))
CALL(reshape, lk_reshape(t, x[0], LK_SHAPE(1, -1)))
CALL(slice, lk_slice(t, x[0], -1, 0, INT64_MAX, 2))
CALL(select_one, lk_select(t, x[0], 0, -1))
CALL(expand, lk_expand(t, lk_unsqueeze(t, x[0], 1), LK_SHAPE(2, -1, 3, -1)))
CALL(unsqueeze, lk_unsqueeze(t, x[0], 1))
CALL(squeeze, lk_squeeze(t, lk_unsqueeze(t, x[0], 0), 0))
CALL(contiguous, lk_contiguous(t, lk_T(t, x[0])))
CALL(converted, lk_to(t, lk_to(t, x[0], x[0]->dtype == LK_F64 ? LK_F32 : LK_F64), x[0]->dtype))
CALL(select_rows,
     lk_select_rows(t, x[0], lk_tensor(t, LK_I64, LK_SHAPE(4), (int64_t[]){ 2, 0, 2, -1 })))
CALL(mask_rows,
     lk_mask_rows(t, x[0], lk_tensor(t, LK_BOOL, LK_SHAPE(3), (bool[]){ true, false, true })))
CALL(embedding,
     lk_embedding(t, x[0], lk_tensor(t, LK_I64, LK_SHAPE(2, 2), (int64_t[]){ 2, 0, 2, 1 }), -1))
CALL(gather,
     lk_gather(t, x[0], 1, lk_tensor(t, LK_I64, LK_SHAPE(2, 3), (int64_t[]){ 1, 0, 1, 1, 1, 0 })))
CALL(scatter_add,
     lk_scatter_add(t, x[0], 1,
                    lk_tensor(t, LK_I64, LK_SHAPE(2, 3), (int64_t[]){ 1, 0, 1, 1, 1, 0 }), x[1]))
CALL(index_add,
     lk_index_add(t, x[0], 0, lk_tensor(t, LK_I64, LK_SHAPE(4), (int64_t[]){ 2, 0, 2, 2 }), x[1]))
CALL(index_add_last,
     lk_index_add(t, x[0], -1, lk_tensor(t, LK_I64, LK_SHAPE(2), (int64_t[]){ 1, 1 }), x[1]))
CALL(cat, lk_cat(t, LK_TENSORS(x[0], x[1], x[0]), -1))
CALL(stack, lk_stack(t, LK_TENSORS(x[0], x[1], x[0]), -1))

/* The first part and the last, in the other order. */
static Tensor *split(Tape *t, Tensor *const *x, void *user)
{
    (void)user;
    Tensor *part[8];
    int count = lk_split(t, x[0], 2, -1, 8, part);
    return count < 1 ? NULL : lk_cat(t, LK_TENSORS(part[count - 1], part[0]), -1);
}

static Tensor *chunk(Tape *t, Tensor *const *x, void *user)
{
    (void)user;
    Tensor *part[2];
    return lk_chunk(t, x[0], 2, 0, part) < 1 ? NULL : part[0];
}

static Tensor *unbind(Tape *t, Tensor *const *x, void *user)
{
    (void)user;
    Tensor *part[8];
    int count = lk_unbind(t, x[0], -1, 8, part);
    return count < 1 ? NULL : lk_mul(t, part[0], part[count - 1]);
}
CALL(masked_fill, lk_masked_fill(t, x[0],
                                 lk_tensor(t, LK_BOOL, LK_SHAPE(2, 1, 3),
                                           (bool[]){ true, false, false, true, false, true }),
                                 -7))

static const GradientRow rows[] = {
    { "T", reversed, ONE, ANY },
    { "transpose", transpose, NO_ROWS, ANY },
    { "transpose", transpose, ONE_ROWS, ANY },
    { "permute", permute, CUBES, ANY },
    { "view", view, ONE, ANY },
    { "reshape", reshape, ONE, ANY },
    { "slice", slice, NO_ROWS, ANY },
    { "slice", slice, ONE_ROWS, ANY },
    { "select", select_one, ONE_ROWS, ANY },
    { "expand", expand, ROWS_2D, ANY },
    { "unsqueeze", unsqueeze, NO_ROWS, ANY },
    { "unsqueeze", unsqueeze, ONE_ROWS, ANY },
    { "squeeze", squeeze, ONE, ANY },
    { "contiguous", contiguous, ONE, ANY },
    { "to", converted, ONE, EXACT },
    { "select_rows", select_rows, (Cases){ "3", "4,3", "4,3t", "4,3s", "3,2,2", "3,2,2t", "5,1" },
      ANY },
    { "mask_rows", mask_rows, (Cases){ "3", "3,4", "3,4t", "3,4s", "3,2,2", "3,2,2t", "3,1" },
      ANY },
    { "embedding", embedding, (Cases){ "3,1", "3,4", "3,4t", "3,4s", "5,2", "5,70" }, ANY },
    { "gather", gather, (Cases){ "2,2", "2,3", "3,2", "2,2t", "2,2s", "3,4t", "4,4s" }, ANY },
    { "scatter_add", scatter_add,
      (Cases){ "2,2 2,3", "2,3 2,3t", "3,2 3,3", "2,2t 2,3s", "2,4s 2,4", "4,2t 3,5t" }, ANY },
    { "index_add", index_add,
      (Cases){ "3 4", "3,2 4,2", "3,2t 4,2s", "4,3s 4,3t", "3,2,2t 4,2,2", "3,0 4,0", "3,1 4,1" },
      ANY },
    { "index_add", index_add_last, (Cases){ "2 2", "3,2 3,2t", "2,3t 2,2s", "0,2 0,2" }, ANY },
    { "cat", cat,
      (Cases){ "3 2", "2,3 2,1", "2,3t 2,3s", "2,0 2,2", "1,1 1,4", "2,2,3 2,2,1",
               "2,3,2t 2,3,2s" },
      ANY },
    { "stack", stack, SAME, ANY },
    { "split", split, ONE_ROWS, ANY },
    { "split", split, NO_ROWS, ANY },
    { "chunk", chunk, ONE_ROWS, ANY },
    { "chunk", chunk, NO_ROWS, ANY },
    { "unbind", unbind, ONE_ROWS, ANY },
    { "unbind", unbind, NO_ROWS, ANY },
    { "masked_fill", masked_fill,
      (Cases){ "3", "2,3", "1,3", "2,1,3", "2,4,3t", "2,4,1", "1,1,3s", "." }, ANY },
};

const GradientFamily gradient_shape = { GRADIENT_ROWS(rows) };
