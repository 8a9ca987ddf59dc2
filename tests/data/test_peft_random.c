/* test_peft_random.c - 500 random nets with random adapters, saved and loaded in all three forms.
 * With LORIKEET_PEFT_NETS set the folders stay in it, each with a file `expected`, for
 * tests/parity/peft_rule.py. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/ops.h"
#include "data/path.h"
#include "data/peft_parts.h"
#include "nn/activation.h"
#include "nn/fields.h"
#include "nn/linear.h"
#include "nn/sequential.h"
#include "tests/check.h"

enum { NETS = 500, PARTS = 5, WIDTH = 4, LINEARS_MAX = 64 };

/* A loss of power is no matter here, and 500 nets would wait for the disk. */
int fsync(int file)
{
    (void)file;
    return 0;
}

/* ---- random nets ---------------------------------------------------------------------------- */

/* A pair of modules whose names are no words. */
typedef struct Pair {
    Module base;
    Module *first, *second;
} Pair;

static Tensor *pair_forward(Tape *t, Module *self, Tensor *x)
{
    const Pair *p = (const Pair *)self;
    return lk_forward(t, p->second, lk_forward(t, p->first, x));
}

static const Field pair_fields[] = { { LK_FIELD_CHILD, "q_proj", offsetof(Pair, first) },
                                     { LK_FIELD_CHILD, "a+(b", offsetof(Pair, second) },
                                     LK_END };
static const ModuleType pair_type = { LK_CLASS(Pair), .forward = pair_forward,
                                      .fields = pair_fields };

static int draw(Rng *rng, int n)
{
    float x;
    Tensor *one = lk_tensor_new(LK_F32, LK_SHAPE(1), NULL);
    lk_uniform_(one, 0, 1, rng);
    x = *(float *)one->data;
    lk_free(one);
    return (int)(x * (float)n) % n;
}

static Module *random_tree(Rng *rng, int depth)
{
    int kind = draw(rng, 10);
    if (depth == 0 || kind < 4) return lk_linear_new(WIDTH, WIDTH, kind % 2, rng, NULL);
    if (kind == 4) return lk_relu_new(NULL);
    if (kind < 7) {
        Pair *p = lk_module_new(&pair_type, NULL);
        p->first = random_tree(rng, depth - 1);
        p->second = random_tree(rng, depth - 1);
        return &p->base;
    }
    Module *items[3];
    int count = 1 + draw(rng, 3);
    for (int i = 0; i < count; i++) items[i] = random_tree(rng, depth - 1);
    return lk_sequential_new(count, items, NULL);
}

static int linears_of(Module *net, Module **slots[LINEARS_MAX])
{
    int count = 0;
    for (ModuleIter it = lk_modules(net); lk_modules_next(&it);)
        if (lk_as_linear(it.module) && count < LINEARS_MAX) slots[count++] = it.slot;
    return count;
}

/* The net of a seed, without adapters. One in five has a Linear in two places. */
static Module *random_net(int seed, bool *tied)
{
    Rng rng;
    Module *items[5], **slots[LINEARS_MAX];
    lk_manual_seed(&rng, (uint64_t)seed);
    int count = 2 + draw(&rng, 4);
    for (int i = 0; i < count; i++)
        items[i] = i == 0 ? lk_linear_new(WIDTH, WIDTH, true, &rng, NULL) : random_tree(&rng, 3);
    Module *net = lk_sequential_new(count, items, NULL);
    int linears = linears_of(net, slots), first = draw(&rng, linears),
        second = draw(&rng, linears);
    *tied = draw(&rng, 5) == 0 && first != second;
    if (*tied) check(lk_module_set(slots[second], lk_retain(*slots[first]), NULL));
    return net;
}

/* ---- random adapters ------------------------------------------------------------------------ */

static double random_alpha(Rng *rng)
{
    static const double alphas[] = { .1,     1,    16,   -2,  0,       1e-30,
                                     1e-310, 1e12, -1e9, 2.6, 1.0 / 3, 1.9999999999999998 };
    return alphas[draw(rng, sizeof alphas / sizeof *alphas)];
}

static void adapt(Module **slot, PeftForm form, Rng *rng)
{
    int64_t rank = 1 + draw(rng, 5);
    double alpha = random_alpha(rng);
    Tensor *B;
    if (form == LK_PEFT_PARAMETRIZATION) {
        Module *p = lk_lora_parametrization_new(WIDTH, WIDTH, rank, alpha, rng, NULL);
        B = lk_as_lora_parametrization(p)->lora_B;
        check(lk_register_parametrization_as(*slot, "weight", p, LK_KEEP_ORIGINAL, NULL));
    } else {
        Module *m = form == LK_PEFT_WRAPPER
                        ? lk_linear_with_lora_new(lk_retain(*slot), rank, alpha, rng, NULL)
                        : lk_linear_with_lora_merged_new(lk_retain(*slot), rank, alpha, rng, NULL);
        B = lk_as_lora_layer(((LinearWithLoRA *)m)->lora)->B;
        check(lk_module_set(slot, m, NULL));
    }
    lk_normal_(B, 0, 1, rng);
}

static bool begins_with(const char *name, const char *path)
{
    size_t n = strlen(path);
    return strncmp(name, path, n) == 0 && (!name[n] || name[n] == '.');
}

/* Whether a module can be one of modules_to_save: no other one's name ends like its own, and its
 * Linears are its own. */
static bool can_be_saved(Module *net, const char *path)
{
    if (!*path) return false;
    for (ModuleIter it = lk_modules(net); lk_modules_next(&it);) {
        size_t all = strlen(it.name), n = strlen(path);
        if (all >= n && strcmp(it.name + all - n, path) == 0 && strcmp(it.name, path) != 0)
            return false;
    }
    return true;
}

/* The modules that are adapted, and those that are saved whole: random, but at least one Linear
 * outside of that is adapted. */
typedef struct Choice {
    bool mixed; /* forms differ */
    PeftForm form;
    int whole; /* 0 or 1 */
    char path[LK_NAME_MAX];
} Choice;

static Choice adapt_some(Module *net, int seed, bool tied)
{
    Rng rng;
    Choice c = { .form = (PeftForm)(seed % 3), .mixed = seed % 7 == 0 };
    lk_manual_seed(&rng, 10000 + (uint64_t)seed);
    int modules = 0, wanted = draw(&rng, 20), adapted = 0;
    for (ModuleIter it = lk_modules(net); !tied && lk_modules_next(&it); modules++)
        if (modules == wanted && can_be_saved(net, it.name)) c.whole = 1, strcpy(c.path, it.name);
    Module **slots[LINEARS_MAX], **outside[LINEARS_MAX];
    int count = linears_of(net, slots), left = 0;
    for (int i = 0; i < count; i++) {
        bool whole = false;
        for (ModuleIter it = lk_modules(net); c.whole && lk_modules_next(&it);)
            whole = whole || (it.slot == slots[i] && begins_with(it.name, c.path));
        if (!whole) outside[left++] = slots[i];
    }
    if (left == 0) c.whole = 0, left = count, memcpy(outside, slots, sizeof slots);
    for (int i = 0; i < left; i++)
        if (draw(&rng, 2) || (i == left - 1 && adapted == 0)) {
            adapt(outside[i], c.mixed ? (PeftForm)draw(&rng, 3) : c.form, &rng);
            adapted++;
        }
    if (c.whole) /* what was trained of it */
        for (ParamIter it = lk_params(lk_module_at(net, c.path, NULL)); lk_params_next(&it);)
            lk_normal_(it.tensor, 0, 1, &rng);
    return c;
}

/* ---- the same adapters, the same function --------------------------------------------------- */

typedef struct Adapter {
    Tensor A, B; /* (r, in), (out, r) */
    double scale;
} Adapter;

static bool adapter_of(const PeftIter *it, Adapter *a)
{
    LoRALayer *layer = it->wrapper ? lk_as_lora_layer(it->wrapper->lora) : NULL;
    if (layer) *a = (Adapter){ lk__peft_T(layer->A), lk__peft_T(layer->B), layer->alpha };
    else if (it->lora) *a = (Adapter){ *it->lora->lora_A, *it->lora->lora_B, it->lora->scale };
    return layer || it->lora;
}

static void check_same_adapters(Module *net, Module *other, int seed)
{
    PeftIter a = lk__peft_modules(net, NULL), b = lk__peft_modules(other, NULL);
    while (lk__peft_next(&a)) {
        Adapter x, y;
        check(lk__peft_next(&b) && strcmp(a.name, b.name) == 0);
        bool has = adapter_of(&a, &x);
        check(has == adapter_of(&b, &y), "net %d: %s", seed, a.name);
        if (!has) continue;
        check(memcmp(&x.scale, &y.scale, sizeof x.scale) == 0, "net %d: %s: %.17g is %.17g", seed,
              a.name, x.scale, y.scale);
        check_close_to(&x.A, &y.A, 0);
        check_close_to(&x.B, &y.B, 0);
    }
}

static Tensor *result_of(Module *net, DType dtype)
{
    Tape *t = lk_tape_new(NULL);
    Tensor *x = lk_to(t, lk_arange(t, 0, 3 * WIDTH), dtype);
    Tensor *y = lk_forward(t, net, lk_view(t, x, LK_SHAPE(3, WIDTH)));
    check(y, "%s", lk_tape_error(t)->message);
    y = lk_clone(y, NULL);
    lk_tape_free(t);
    return y;
}

/* In float64, relative to the largest number of all; false: both have numbers that float64 has
 * not. */
static bool same_function(Module *net, Module *other, int seed)
{
    check(lk_module_to(net, LK_F64, NULL) && lk_module_to(other, LK_F64, NULL));
    Tensor *x = result_of(net, LK_F64), *y = result_of(other, LK_F64);
    const double *a = x->data, *b = y->data;
    double largest = 0;
    bool finite = true;
    for (int64_t i = 0; i < lk_numel(x); i++) {
        finite = finite && isfinite(a[i]);
        largest = fmax(largest, fabs(a[i]));
    }
    for (int64_t i = 0; finite && i < lk_numel(x); i++)
        check(fabs(a[i] - b[i]) <= 1e-6 * largest, "net %d: %g is %g of %g", seed, a[i], b[i],
              largest);
    lk_free(x);
    lk_free(y);
    return finite;
}

/* Writes the answers of tests/parity/peft_rule.py: "adapter NAME RANK SCALE", "linear NAME",
 * "saved NAME", "other NAME". */
static void write_expected(Module *net, const Choice *c, const char *folder)
{
    char path[LK_PATH_MAX + 16];
    snprintf(path, sizeof path, "%s/expected", folder);
    FILE *f = fopen(path, "w");
    check(f);
    for (PeftIter it = lk__peft_modules(net, NULL); lk__peft_next(&it);) {
        Adapter a;
        if (c->whole && begins_with(it.name, c->path)) fprintf(f, "saved %s\n", it.name);
        else if (adapter_of(&it, &a))
            fprintf(f, "adapter %s %d %a\n", it.name, (int)lk_size(&a.A, 0), a.scale);
        else fprintf(f, "%s %s\n", it.linear ? "linear" : "other", it.name);
    }
    check(fclose(f) == 0);
}

typedef struct Counts {
    int saved, refused, loaded, refused_forms, bits, finite;
} Counts;

static void check_net(int seed, Counts *counts)
{
    bool tied;
    char folder[LK_PATH_MAX];
    const char *kept = getenv("LORIKEET_PEFT_NETS");
    if (kept) snprintf(folder, sizeof folder, "%s/%d", kept, seed);
    else strcpy(folder, check_scratch("net"));
    Module *net = random_net(seed, &tied);
    Choice c = adapt_some(net, seed, tied);
    const char *paths[] = { c.path };
    Error err = { 0 };
    if (!lk_save_peft(net, folder, &(PeftOptions){ .save_count = c.whole, .save = paths }, &err)) {
        check(tied && strstr(err.message, " too, and PEFT adapts the first place"), "net %d: %s",
              seed, err.message);
        counts->refused++;
        lk_free(net);
        return;
    }
    counts->saved++;
    write_expected(net, &c, folder);
    for (int form = 0; form < 3; form++) {
        Module *other = random_net(seed, &tied), *copy = lk_deepcopy(net, NULL);
        err = (Error){ 0 };
        if (!lk_load_peft(other, folder, (PeftForm)form, NULL, NULL, &err)) {
            bool reason = strstr(err.message, "1 mismatched (only a wrapper can adapt");
            check(tied && form == LK_PEFT_PARAMETRIZATION && reason, "net %d: %s", seed,
                  err.message);
            counts->refused_forms++;
        } else {
            counts->loaded++;
            check_same_adapters(net, other, seed);
            if (!c.mixed && form == (int)c.form) {
                Tensor *x = result_of(net, LK_F32), *y = result_of(other, LK_F32);
                check_equal(x, y);
                lk_free(x);
                lk_free(y);
                counts->bits++;
            }
            counts->finite += same_function(copy, other, seed);
        }
        lk_free(other);
        lk_free(copy);
    }
    lk_free(net);
}

static void check_part(int part)
{
    Counts n = { 0 };
    for (int seed = part * (NETS / PARTS); seed < (part + 1) * (NETS / PARTS); seed++)
        check_net(seed, &n);
    printf("%d saved, %d refused; %d loaded, %d refused; %d of one form, %d finite\n", n.saved,
           n.refused, n.loaded, n.refused_forms, n.bits, n.finite);
    check(n.saved > 80 && n.refused > 0 && n.refused_forms > 0 && n.bits > 60 &&
              n.finite > n.loaded * 9 / 10,
          "%d saved, %d refused; %d loaded, %d refused; %d of one form, %d finite", n.saved,
          n.refused, n.loaded, n.refused_forms, n.bits, n.finite);
}

Test(peft_random, part_0, .timeout = 300) { check_part(0); }
Test(peft_random, part_1, .timeout = 300) { check_part(1); }
Test(peft_random, part_2, .timeout = 300) { check_part(2); }
Test(peft_random, part_3, .timeout = 300) { check_part(3); }
Test(peft_random, part_4, .timeout = 300) { check_part(4); }
