/* lora_layers.c - LoRA around a Conv1d, a Conv2d or an Embedding. Around a Linear: lora.c. */
#include "nn/lora_layers.h"

#include "core/ops.h"
#include "nn/constructor.h"
#include "nn/parametrize.h"

/* The sizes of the LoRALayer for a layer: ΔW is (A B)ᵀ for a convolution, A B for a table. */
typedef struct LoRASizes {
    int64_t in, out;
} LoRASizes;

static LoRASizes sizes_for(const Module *layer)
{
    const Tensor *weight = lk_original(layer, "weight");
    const int64_t first = lk_size(weight, 0), rest = lk_numel(weight) / first;
    if (layer->type == &lk_embedding_type) return (LoRASizes){ first, rest };
    return (LoRASizes){ rest, first };
}

/* Returns the LoRALayer of a wrapper. NULL, with the reason on t, when the children are of other
 * classes or do not fit each other. They are read anew at every call, since they can be replaced
 * at any time. */
static LoRALayer *fitting_lora(Tape *t, const Module *wrapper, const ModuleType *type,
                               const Module *layer, Module *lora)
{
    const char *name = wrapper->type->name;
    LoRALayer *l = lk_as_lora_layer(lora);
    if (!l || !layer || layer->type != type) {
        lk_fail(t, LK_EVALUE, "%s: holds %s and %s, not %s and LoRALayer", name,
                layer ? layer->type->name : "NULL", lora ? lora->type->name : "NULL", type->name);
        return NULL;
    }
    const LoRASizes wanted = sizes_for(layer);
    const int64_t in = lk_size(lk_original(lora, "A"), 0),
                  out = lk_size(lk_original(lora, "B"), 1);
    if (in == wanted.in && out == wanted.out) return l;
    lk_fail(t, LK_ESHAPE,
            "%s: the %s needs a LoRALayer from %lld to %lld; it is one from %lld to %lld", name,
            type->name, (long long)wanted.in, (long long)wanted.out, (long long)in,
            (long long)out);
    return NULL;
}

/* ---- convolutions --------------------------------------------------------------------------- */

typedef Tensor *ConvFn(Tape *t, Tensor *x, Tensor *weight, Tensor *bias, ConvOptions options);

/* The weight of the convolution with A: (groups · rank, in / groups, kh, kw), in which every group
 * has the same A. */
static Tensor *weight_of_A(Tape *t, Tensor *A, const Convolution *c)
{
    const ModuleSizes *kernel = &c->kernel_size;
    int64_t shape[LK_MAX_DIMS] = { A ? lk_size(A, 1) : 0, c->in_channels / c->groups };
    int64_t repeats[LK_MAX_DIMS] = { c->groups, 1 };
    for (int d = 0; d < kernel->ndim; d++) {
        shape[2 + d] = kernel->size[d];
        repeats[2 + d] = 1;
    }
    Tensor *weight = lk_view(t, lk_T(t, A), 2 + kernel->ndim, shape);
    return c->groups == 1 ? weight : lk_repeat(t, weight, 2 + kernel->ndim, repeats);
}

/* The weight of the convolution with B: alpha · Bᵀ as (out, rank, 1, 1). */
static Tensor *weight_of_B(Tape *t, Tensor *B, double alpha, int dims)
{
    const int64_t shape[] = { B ? lk_size(B, 1) : 0, B ? lk_size(B, 0) : 0, 1, 1 };
    return lk_view(t, lk_T(t, lk_scale(t, B, alpha)), 2 + dims, shape);
}

/* conv(x) + alpha · conv1x1(conv(x; A); B) */
static Tensor *conv_with_lora(Tape *t, Module *self, Tensor *x, const ModuleType *type,
                              ConvFn *convolve)
{
    const ConvWithLoRA *m = (ConvWithLoRA *)self;
    LoRALayer *l = fitting_lora(t, self, type, m->conv, m->lora);
    if (!l) return NULL;
    const Convolution *c = (Convolution *)m->conv;
    Tensor *A = lk_param(t, m->lora, &l->A), *B = lk_param(t, m->lora, &l->B);
    TapeMark mark = lk_tape_mark(t);
    Tensor *y = lk_forward(t, m->conv, x);
    Tensor *low_rank = convolve(t, x, weight_of_A(t, A, c), NULL, lk_conv_options(m->conv));
    Tensor *update = convolve(t, low_rank, weight_of_B(t, B, l->alpha, c->kernel_size.ndim), NULL,
                              (ConvOptions){ .groups = c->groups });
    return lk_tape_release(t, mark, lk_add(t, y, update));
}

static Tensor *conv1d_with_lora_forward(Tape *t, Module *self, Tensor *x)
{
    return conv_with_lora(t, self, x, &lk_conv1d_type, lk_conv1d);
}

static Tensor *conv2d_with_lora_forward(Tape *t, Module *self, Tensor *x)
{
    return conv_with_lora(t, self, x, &lk_conv2d_type, lk_conv2d);
}

static const Field conv_with_lora_fields[] = {
    LK_CHILD(ConvWithLoRA, conv),
    LK_CHILD(ConvWithLoRA, lora),
    LK_END,
};

const ModuleType lk_conv1d_with_lora_type = {
    LK_CLASS(Conv1dWithLoRA),
    .forward = conv1d_with_lora_forward,
    .fields = conv_with_lora_fields,
};
LK_DOWNCAST(Conv1dWithLoRA, lk_conv1d_with_lora_type, lk_as_conv1d_with_lora)

const ModuleType lk_conv2d_with_lora_type = {
    LK_CLASS(Conv2dWithLoRA),
    .forward = conv2d_with_lora_forward,
    .fields = conv_with_lora_fields,
};
LK_DOWNCAST(Conv2dWithLoRA, lk_conv2d_with_lora_type, lk_as_conv2d_with_lora)

/* ---- Embedding ------------------------------------------------------------------------------ */

/* embedding(x) + alpha · A[x] B: the rows of A B are rows of A times B, and A B itself is as large
 * as the table. */
static Tensor *embedding_with_lora_forward(Tape *t, Module *self, Tensor *ids)
{
    const EmbeddingWithLoRA *m = (EmbeddingWithLoRA *)self;
    LoRALayer *l = fitting_lora(t, self, &lk_embedding_type, m->embedding, m->lora);
    if (!l) return NULL;
    const int64_t padding_idx = ((Embedding *)m->embedding)->padding_idx;
    Tensor *A = lk_param(t, m->lora, &l->A), *B = lk_param(t, m->lora, &l->B);
    TapeMark mark = lk_tape_mark(t);
    Tensor *rows = lk_forward(t, m->embedding, ids);
    Tensor *low_rank = lk_embedding(t, A, ids, padding_idx);
    Tensor *update = lk_matmul(t, low_rank, lk_scale(t, B, l->alpha));
    return lk_tape_release(t, mark, lk_add(t, rows, update));
}

const ModuleType lk_embedding_with_lora_type = {
    LK_CLASS(EmbeddingWithLoRA),
    .forward = embedding_with_lora_forward,
    .fields = LK_FIELDS(LK_CHILD(EmbeddingWithLoRA, embedding), LK_CHILD(EmbeddingWithLoRA, lora)),
};
LK_DOWNCAST(EmbeddingWithLoRA, lk_embedding_with_lora_type, lk_as_embedding_with_lora)

/* ---- constructors --------------------------------------------------------------------------- */

/* Returns an empty wrapper; NULL with the layer freed when it is not of the type. */
static void *wrapper_new(const ModuleType *wrapper, const ModuleType *type, Module *layer,
                         Error *err)
{
    bool fits = layer && layer->type == type;
    if (!fits)
        lk_error_set(err, LK_EVALUE, "%s: wraps %s, not %s", wrapper->name, type->name,
                     layer ? layer->type->name : "NULL");
    void *m = fits ? lk_module_new(wrapper, err) : NULL;
    if (!m) lk_module_free(layer);
    return m;
}

/* Returns the new LoRALayer for a layer, of its dtype. */
static Module *lora_for(const Module *layer, int64_t rank, double alpha, Rng *rng, Error *err)
{
    const LoRASizes sizes = sizes_for(layer);
    Module *lora = lk_lora_layer_new(sizes.in, sizes.out, rank, alpha, rng, err);
    const DType dtype = lk__adapter_dtype(lk_original(layer, "weight"));
    return lora ? lk_module_complete(lora, lk_module_to(lora, dtype, err)) : NULL;
}

static Module *conv_with_lora_new(const ModuleType *wrapper, const ModuleType *type, Module *conv,
                                  int64_t rank, double alpha, Rng *rng, Error *err)
{
    ConvWithLoRA *m = wrapper_new(wrapper, type, conv, err);
    if (!m) return NULL;
    m->conv = conv;
    m->lora = lora_for(conv, rank, alpha, rng, err);
    return lk_module_complete(&m->base, m->lora);
}

Module *lk_conv1d_with_lora_new(Module *conv, int64_t rank, double alpha, Rng *rng, Error *err)
{
    return conv_with_lora_new(&lk_conv1d_with_lora_type, &lk_conv1d_type, conv, rank, alpha, rng,
                              err);
}

Module *lk_conv2d_with_lora_new(Module *conv, int64_t rank, double alpha, Rng *rng, Error *err)
{
    return conv_with_lora_new(&lk_conv2d_with_lora_type, &lk_conv2d_type, conv, rank, alpha, rng,
                              err);
}

Module *lk_embedding_with_lora_new(Module *embedding, int64_t rank, double alpha, Rng *rng,
                                   Error *err)
{
    EmbeddingWithLoRA *m =
        wrapper_new(&lk_embedding_with_lora_type, &lk_embedding_type, embedding, err);
    if (!m) return NULL;
    m->embedding = embedding;
    m->lora = lora_for(embedding, rank, alpha, rng, err);
    return lk_module_complete(&m->base, m->lora);
}
