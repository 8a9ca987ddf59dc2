/* attention.c - gradient cases of attention (core/ops_attention.c). */
#include "examples/own/gradients/rows.h"

static Cases ATTENTIONS = { "1,1,2 1,1,2 1,1,2",   "2,3,4 2,3,4 2,3,4",   "2,3,4 2,5,4 2,5,4",
                            "1,4,2t 1,4,2 1,4,2t", "2,3,4s 2,2,4 2,2,4s", "3,1,6 3,4,6t 3,4,6",
                            "1,9,2 1,7,2 1,7,2" };

/* The first sentence has one key less than the others. The heads have two columns. */
static Tensor *attend(Tape *t, Tensor *const *x, AttentionOptions options)
{
    bool on[32];
    int64_t batch = x[1]->shape[0], keys = x[1]->shape[1];
    for (int64_t i = 0; i < batch * keys; i++) on[i] = i != keys - 1;
    lk_tape_seed(t, 5);
    return lk_attention_with(t, x[0], x[1], x[2], lk_tensor(t, LK_BOOL, LK_SHAPE(batch, keys), on),
                             x[0]->shape[2] / 2, options);
}
CALL(attention, lk_attention(t, x[0], x[1], x[2], NULL, 1, 0))
CALL(attention_with, attend(t, x, (AttentionOptions){ .dropout = 0.3, .causal = true }))

static const GradientRow rows[] = {
    { "attention", attention, ATTENTIONS, ANY },
    { "attention_with", attention_with, ATTENTIONS, ANY },
};

const GradientFamily gradient_attention = { GRADIENT_ROWS(rows) };
