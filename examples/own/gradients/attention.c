/* attention.c - gradient cases of attention (core/ops_attention.c). */
#include "examples/own/gradients/rows.h"

static Cases ATTENTIONS = { "1,1,2 1,1,2 1,1,2",   "2,3,4 2,3,4 2,3,4",   "2,3,4 2,5,4 2,5,4",
                            "1,4,2t 1,4,2 1,4,2t", "2,3,4s 2,2,4 2,2,4s", "3,1,6 3,4,6t 3,4,6",
                            "1,9,2 1,7,2 1,7,2" };

/* The first sentence has one key less than the others. The heads have two columns. */
static Tensor *attend(Tape *t, Tensor *const *x, AttentionOptions options)
{
    Tensor *on = lk_ones(t, LK_BOOL, LK_SHAPE(lk_size(x[1], 0), lk_size(x[1], 1)));
    if (on && lk_numel(on) > 0) ((bool *)on->data)[lk_size(x[1], 1) - 1] = false;
    lk_tape_seed(t, 5);
    return lk_attention_with(t, x[0], x[1], x[2], on, x[0]->shape[2] / 2, options);
}
CALL(attention, lk_attention(t, x[0], x[1], x[2], NULL, 1, 0))
CALL(attention_with, attend(t, x, (AttentionOptions){ .dropout = 0.3, .causal = true }))

/* q, k, v and attn_mask; q has two heads for each of k and v, with two columns */
static Cases OPTIONS = { "2,3,4 2,3,2 2,3,2 3,3",       "1,2,4t 1,5,2t 1,5,2t 2,5s",
                         "2,3,4s 2,4,2s 2,4,2 2,2,3,4", "2,2,8 2,3,4 2,3,4 2,1,1,3",
                         "1,1,4 1,1,2 1,1,2 1",         "3,2,4 3,2,2 3,2,2 2,1",
                         "2,0,4 2,3,2 2,3,2 3",         "1,9,4 1,7,2 1,7,2 7" };
static Cases ROTARIES = { "2,3,4",  "2,3,4t", "2,3,4s", "1,1,4", "1,1,8",
                          "3,1,4t", "1,7,8s", "2,0,4",  "0,2,4" };

static Tensor *attend_grouped(Tape *t, Tensor *const *x, AttentionOptions options)
{
    options.kv_heads = x[1]->shape[2] / 2;
    options.attn_mask = x[3];
    lk_tape_seed(t, 5);
    return lk_attention_with(t, x[0], x[1], x[2], NULL, x[0]->shape[2] / 2, options);
}
CALL(attention_bias, attend_grouped(t, x, (AttentionOptions){ .dropout = 0.3 }))
CALL(attention_position, attend_grouped(t, x, (AttentionOptions){ .causal = true, .position = 1 }))
CALL(rotary, lk_rotary(t, x[0], x[0]->shape[2] / 4, 100, 3))

static const GradientRow rows[] = {
    { "attention", attention, ATTENTIONS, ANY },
    { "attention_with", attention_with, ATTENTIONS, ANY },
    { "attention_with", attention_bias, OPTIONS, ANY },
    { "attention_with", attention_position, OPTIONS, ANY },
    { "rotary", rotary, ROTARIES, ANY },
};

const GradientFamily gradient_attention = { GRADIENT_ROWS(rows) };
