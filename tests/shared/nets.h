/* nets.h - the modules of tests/fixtures/make_modules.py in C, and texts to compare with; for the
 * tests of nn. */
#ifndef NETS_H
#define NETS_H

#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "nn/activation.h"
#include "nn/lora.h"
#include "nn/sequential.h"
#include "tests/check.h"

/* ---- a perceptron of three layers ----------------------------------------------------------- */

typedef struct Net {
    Module base;
    Module *layers;
} Net;

static Tensor *net_forward(Tape *t, Module *self, Tensor *x)
{
    return lk_forward(t, ((Net *)self)->layers, x);
}
static const ModuleType net_type = { LK_CLASS(Net), .forward = net_forward,
                                     .fields = LK_FIELDS(LK_CHILD(Net, layers)) };

static inline Module *net_new(int64_t in, int64_t hidden, int64_t hidden2, int64_t out, Rng *rng,
                              Error *err)
{
    Net *net = lk_module_new(&net_type, err);
    if (!net) return NULL;
    Module *first = lk_linear_new(in, hidden, true, rng, err);
    Module *second = lk_linear_new(hidden, hidden2, true, rng, err);
    Module *third = lk_linear_new(hidden2, out, true, rng, err);
    net->layers = lk_sequential_new(
        LK_MODULES(first, lk_relu_new(err), second, lk_relu_new(err), third), err);
    return lk_module_complete(&net->base, net->layers);
}

/* layers[0], [2] and [4] in the merged form. */
static inline bool net_add_lora(Module *net, int64_t rank, double alpha, Rng *rng, Error *err)
{
    Module *layers = ((Net *)net)->layers;
    for (int i = 0; i < 5; i += 2) {
        Module *linear = lk_module_retain(lk_sequential_at(layers, i, err));
        Module *wrapper = lk_linear_with_lora_merged_new(linear, rank, alpha, rng, err);
        if (!lk_sequential_set(layers, i, wrapper, err)) return false;
    }
    return true;
}

/* ---- ties ----------------------------------------------------------------------------------- */

/* A Linear in two wrappers, a weight in two Linears, a parameter declared after a child. */

typedef struct Tied {
    Module base;
    Module *encoder;
    Tensor *gain;
    Module *first, *second;
    Module *decoder;
    Module *act;
    int plain; /* not in the table: copied as it is */
} Tied;

static const ModuleType tied_type = {
    LK_CLASS(Tied),
    .fields = LK_FIELDS(LK_CHILD(Tied, encoder), LK_PARAM(Tied, gain), LK_CHILD(Tied, first),
                        LK_CHILD(Tied, second), LK_CHILD(Tied, decoder), LK_CHILD(Tied, act)),
};

static inline Module *tied_new(Rng *rng, Error *err)
{
    Tied *m = lk_module_new(&tied_type, err);
    if (!m) return NULL;
    Module *shared = lk_linear_new(3, 3, false, rng, err);
    m->encoder = lk_linear_new(4, 3, true, rng, err);
    m->gain = lk_param_new(LK_F32, LK_SHAPE(3), err);
    m->first = lk_linear_with_lora_new(lk_module_retain(shared), 2, 1.0, rng, err);
    m->second = lk_linear_with_lora_merged_new(lk_module_retain(shared), 2, 1.0, rng, err);
    m->decoder = lk_linear_new(3, 3, true, rng, err);
    m->act = lk_tanh_new(err);
    m->plain = 7;
    bool ok = shared && m->encoder && m->gain && m->first && m->second && m->decoder && m->act;
    if (ok) {
        Linear *decoder = lk_as_linear(m->decoder);
        lk_tensor_free(decoder->weight);
        decoder->weight = lk_tensor_retain(lk_as_linear(shared)->weight);
        lk_fill_(m->gain, 1.0);
    }
    lk_module_free(shared);
    return lk_module_complete(&m->base, ok);
}

/* ---- gradients and texts -------------------------------------------------------------------- */

/* 64-bit FNV-1a of the elements' bytes. */
static inline uint64_t checksum(const Tensor *x)
{
    uint64_t h = 0xcbf29ce484222325u;
    const unsigned char *bytes = x->data;
    for (size_t i = 0; i < (size_t)lk_numel(x) * lk_dtype_size(x->dtype); i++)
        h = (h ^ bytes[i]) * 0x100000001b3u;
    return h;
}

/* A list that shares the tensors. */
static inline TensorList list_of(int count, Tensor *const *tensors)
{
    TensorList list = { lk_mem_alloc((size_t)(count + 1) * sizeof *list.items), 0 };
    while (list.count < count) {
        list.items[list.count] = lk_tensor_retain(tensors[list.count]);
        list.count++;
    }
    return list;
}

static inline Tensor *param_of(DType dtype, int64_t n, const double *values)
{
    Tensor *x = lk_tensor_from_new(LK_F64, LK_SHAPE(n), values, NULL);
    check(lk_convert_(x, dtype, NULL));
    lk_set_requires_grad(x, true);
    return x;
}

/* x.grad = values, as backward would have left it: x owns it. */
static inline void set_grad(Tensor *x, const Tensor *values)
{
    if (!x->grad_room) x->grad_room = lk_clone(values, NULL);
    else check(lk_copy_(x->grad_room, values, NULL));
    x->grad = x->grad_room;
}

#define check_text(actual, expected) \
    cr_assert(strcmp(actual, expected) == 0, "%s is\n%s\nnot\n%s", #actual, actual, expected)

/* print(m), in a static buffer. */
static inline const char *tree_of(const Module *m)
{
    static char text[4096];
    FILE *f = fmemopen(text, sizeof text, "w");
    lk_print_module(f, m);
    fclose(f);
    return text;
}

/* One name a line, in a static buffer. */
static inline const char *param_names(Module *m, bool with_duplicates)
{
    static char text[4096];
    text[0] = '\0';
    ParamIter it = lk_params(m);
    it.with_duplicates = with_duplicates;
    for (int n = 0; lk_params_next(&it); n++) strcat(strcat(text, n ? "\n" : ""), it.name);
    check(!it.failed);
    return text;
}

static inline const char *module_names(Module *m)
{
    static char text[4096];
    text[0] = '\0';
    ModuleIter it = lk_modules(m);
    for (int n = 0; lk_modules_next(&it); n++) strcat(strcat(text, n ? "\n" : ""), it.name);
    check(!it.failed);
    return text;
}

#endif
