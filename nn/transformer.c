/* transformer.c - torch.nn.MultiheadAttention and TransformerEncoderLayer. The arithmetic of
 * attention: core/ops_attention.c. */
#include "nn/transformer.h"

#include "core/op.h"
#include "core/ops.h"
#include "nn/constructor.h"
#include "nn/dropout.h"
#include "nn/init.h"
#include "nn/layer_norm.h"
#include "nn/linear.h"

/* A call: the module and its masks. */
typedef struct Call {
    Module *self;
    Tensor *mask, *attn_mask;
} Call;

/* Calls m, which must be of the type. */
static Tensor *call(Tape *t, const char *function, const ModuleType *type, RecomputeFn *fn, Call c,
                    Tensor *x)
{
    if (!lk_check_operands(t, function, 1, &x)) return NULL;
    if (!lk_check_optional(t, function, "mask", c.mask) ||
        !lk_check_optional(t, function, "attn_mask", c.attn_mask))
        return NULL;
    if (c.self && c.self->type == type) return lk_forward_with(t, c.self, fn, &c, x);
    return lk_fail(t, LK_EVALUE, "%s: the module is not %s but %s", function, type->name,
                   c.self ? c.self->type->name : "NULL");
}

/* ---- MultiheadAttention --------------------------------------------------------------------- */

static Tensor *attend(Tape *t, const void *state, Tensor *x)
{
    const Call *c = state;
    MultiheadAttention *a = (MultiheadAttention *)c->self;
    char text[LK_SHAPE_TEXT];
    const int64_t n = a->embed_dim;
    if (x->ndim != 3 || x->shape[2] != n)
        return lk_fail(t, LK_ESHAPE, "MultiheadAttention: x %s must be %s, %lld)",
                       lk_shape_text(x, text), a->batch_first ? "(B, S" : "(S, B", (long long)n);
    TapeMark mark = lk_tape_mark(t);
    LowRank w = lk_param_low_rank(t, c->self, &a->in_proj_weight);
    Tensor *bias = lk_param(t, c->self, &a->in_proj_bias), *part[3];
    if (!a->batch_first) x = lk_transpose(t, x, 0, 1);
    Tensor *all = w.A ? lk_linear_lora(t, x, w.weight, bias, w.A, w.B, w.scale, LK_LORA_MERGED)
                      : lk_linear(t, x, w.weight, bias);
    for (int i = 0; i < 3; i++) part[i] = lk_slice(t, all, 2, i * n, (i + 1) * n, 1);
    Tensor *y = lk_attention_with(t, part[0], part[1], part[2], c->mask, a->num_heads,
                                  (AttentionOptions){ .dropout = a->base.training ? a->dropout : 0,
                                                      .causal = a->causal,
                                                      .attn_mask = c->attn_mask });
    y = lk_forward(t, a->out_proj, y);
    if (!a->batch_first) y = lk_transpose(t, y, 0, 1);
    return lk_tape_release(t, mark, y);
}

static Tensor *attention_forward(Tape *t, Module *self, Tensor *x)
{
    return attend(t, &(Call){ .self = self }, x);
}

Tensor *lk_multihead_attention_forward(Tape *t, Module *m, Tensor *x, Tensor *mask,
                                       Tensor *attn_mask)
{
    return call(t, "lk_multihead_attention_forward", &lk_multihead_attention_type, attend,
                (Call){ m, mask, attn_mask }, x);
}

const ModuleType lk_multihead_attention_type = {
    LK_CLASS(MultiheadAttention),
    .forward = attention_forward,
    .lora = LK_LORA_WEIGHTS,
    .fields = LK_FIELDS(
        LK_PARAM(MultiheadAttention, in_proj_weight), LK_PARAM(MultiheadAttention, in_proj_bias),
        LK_CHILD(MultiheadAttention, out_proj), LK_INT(MultiheadAttention, embed_dim),
        LK_INT(MultiheadAttention, num_heads), LK_DOUBLE(MultiheadAttention, dropout),
        LK_BOOL_FIELD(MultiheadAttention, batch_first), LK_BOOL_FIELD(MultiheadAttention, causal)),
};
LK_DOWNCAST(MultiheadAttention, lk_multihead_attention_type, lk_as_multihead_attention)

static Module *attention_new(const char *function, int64_t n, int64_t heads, double dropout,
                             bool bias, bool batch_first, Rng *rng, Error *err)
{
    if (heads < 1 || n % heads != 0 || !(dropout >= 0 && dropout <= 1)) {
        lk_error_set(err, LK_EVALUE,
                     "%s: %lld columns, %lld heads and dropout %g; the heads must divide the "
                     "columns, dropout is from 0 to 1",
                     function, (long long)n, (long long)heads, dropout);
        return NULL;
    }
    const ParamShape shapes[] = { { LK_SHAPE(3 * n, n) }, { LK_SHAPE(3 * n) } };
    MultiheadAttention *a =
        lk_module_with_params_new(&lk_multihead_attention_type, bias ? 2 : 1, shapes, err);
    if (!a) return NULL;
    a->embed_dim = n;
    a->num_heads = heads;
    a->dropout = dropout;
    a->batch_first = batch_first;
    a->out_proj = lk_linear_new(n, n, bias, rng, err);
    /* PyTorch draws the bias of out_proj before it makes it 0. */
    bool ok = a->out_proj && lk_init_xavier_uniform_(a->in_proj_weight, 1, rng, err);
    if (ok && bias) ok = lk_init_zeros_(lk_as_linear(a->out_proj)->bias, err);
    return lk_module_complete(&a->base, ok);
}

Module *lk_multihead_attention_new(int64_t embed_dim, int64_t num_heads, double dropout, bool bias,
                                   bool batch_first, Rng *rng, Error *err)
{
    static const char *const function = "lk_multihead_attention_new";
    const NamedSize sizes[] = { { "embed_dim", embed_dim }, { "num_heads", num_heads } };
    if (!lk__can_draw(function, 2, sizes, rng, err)) return NULL;
    return attention_new(function, embed_dim, num_heads, dropout, bias, batch_first, rng, err);
}

/* ---- TransformerEncoderLayer ---------------------------------------------------------------- */

static Tensor *attention_part(Tape *t, const TransformerEncoderLayer *l, const Call *c, Tensor *x)
{
    Tensor *y = lk_multihead_attention_forward(t, l->self_attn, x, c->mask, c->attn_mask);
    return lk_forward(t, l->dropout1, y);
}

static Tensor *feed_forward(Tape *t, const TransformerEncoderLayer *l, Tensor *x)
{
    Tensor *y = lk_forward(t, l->linear1, x);
    y = l->gelu ? lk_gelu(t, y) : lk_relu(t, y);
    y = lk_forward(t, l->linear2, lk_forward(t, l->dropout, y));
    return lk_forward(t, l->dropout2, y);
}

static Tensor *encode(Tape *t, const void *state, Tensor *x)
{
    const Call *c = state;
    const TransformerEncoderLayer *l = (const TransformerEncoderLayer *)c->self;
    TapeMark mark = lk_tape_mark(t);
    if (l->norm_first) {
        x = lk_add(t, x, attention_part(t, l, c, lk_forward(t, l->norm1, x)));
        x = lk_add(t, x, feed_forward(t, l, lk_forward(t, l->norm2, x)));
    } else {
        x = lk_forward(t, l->norm1, lk_add(t, x, attention_part(t, l, c, x)));
        x = lk_forward(t, l->norm2, lk_add(t, x, feed_forward(t, l, x)));
    }
    return lk_tape_release(t, mark, x);
}

static Tensor *encoder_forward(Tape *t, Module *self, Tensor *x)
{
    return encode(t, &(Call){ .self = self }, x);
}

Tensor *lk_transformer_encoder_layer_forward(Tape *t, Module *m, Tensor *x, Tensor *mask,
                                             Tensor *attn_mask)
{
    return call(t, "lk_transformer_encoder_layer_forward", &lk_transformer_encoder_layer_type,
                encode, (Call){ m, mask, attn_mask }, x);
}

const ModuleType lk_transformer_encoder_layer_type = {
    LK_CLASS(TransformerEncoderLayer),
    .forward = encoder_forward,
    .fields = LK_FIELDS(
        LK_CHILD(TransformerEncoderLayer, self_attn), LK_CHILD(TransformerEncoderLayer, linear1),
        LK_CHILD(TransformerEncoderLayer, dropout), LK_CHILD(TransformerEncoderLayer, linear2),
        LK_CHILD(TransformerEncoderLayer, norm1), LK_CHILD(TransformerEncoderLayer, norm2),
        LK_CHILD(TransformerEncoderLayer, dropout1), LK_CHILD(TransformerEncoderLayer, dropout2),
        LK_BOOL_FIELD(TransformerEncoderLayer, norm_first),
        LK_BOOL_FIELD(TransformerEncoderLayer, gelu)),
};
LK_DOWNCAST(TransformerEncoderLayer, lk_transformer_encoder_layer_type,
            lk_as_transformer_encoder_layer)

/* Makes the parts in PyTorch's order; false when one cannot be made. */
static bool make_parts(TransformerEncoderLayer *l, const char *function, int64_t n, int64_t heads,
                       int64_t wide, const EncoderOptions *o, Rng *rng, Error *err)
{
    const double eps = o->layer_norm_eps > 0 ? o->layer_norm_eps : 1e-5;
    l->self_attn = attention_new(function, n, heads, o->dropout, true, o->batch_first, rng, err);
    if (!l->self_attn) return false;
    lk_as_multihead_attention(l->self_attn)->causal = o->causal;
    l->linear1 = lk_linear_new(n, wide, true, rng, err);
    l->linear2 = l->linear1 ? lk_linear_new(wide, n, true, rng, err) : NULL;
    Module **const norms[] = { &l->norm1, &l->norm2 };
    for (int i = 0; i < 2; i++) *norms[i] = lk_layer_norm_new(LK_SHAPE(n), eps, err);
    Module **const dropouts[] = { &l->dropout, &l->dropout1, &l->dropout2 };
    for (int i = 0; i < 3; i++) *dropouts[i] = lk_dropout_new(o->dropout, err);
    return l->linear2 && l->norm1 && l->norm2 && l->dropout && l->dropout1 && l->dropout2;
}

Module *lk_transformer_encoder_layer_new(int64_t d_model, int64_t nhead, int64_t dim_feedforward,
                                         EncoderOptions options, Rng *rng, Error *err)
{
    static const char *const function = "lk_transformer_encoder_layer_new";
    const NamedSize sizes[] = { { "d_model", d_model },
                                { "nhead", nhead },
                                { "dim_feedforward", dim_feedforward } };
    if (!lk__can_draw(function, 3, sizes, rng, err)) return NULL;
    TransformerEncoderLayer *l = lk_module_new(&lk_transformer_encoder_layer_type, err);
    if (!l) return NULL;
    l->norm_first = options.norm_first;
    l->gelu = options.gelu;
    bool ok = make_parts(l, function, d_model, nhead, dim_feedforward, &options, rng, err);
    return lk_module_complete(&l->base, ok);
}
