/* exports.c - the functions that worker.js calls, and the memory through which numbers pass. No
 * logic: that is in engine.c, engine_lora.c and singular.c.
 *
 * Every function returns a count, a number or a label, and -1 for a failure: pg_error tells
 * which. */
#include <string.h>

#include "examples/playground/engine.h"
#include "examples/playground/singular.h"

#ifdef __wasm__
#define EXPORT(name) __attribute__((export_name(#name))) name
#else
#define EXPORT(name) name
#endif

enum {
    VALUES = NET_HIDDEN_1 * NET_PIXELS, /* the largest matrix fits */
    DIAL_MAX = 64,
};

static Engine *engine;
static Error err;
static Score score;
static float values[VALUES]; /* in and out */
static Comparison comparison;
static bool flags[NET_CLASSES]; /* layers or digits, in */

/* ---- memory --------------------------------------------------------------------------------- */

float *EXPORT(pg_values)(void) { return values; }
bool *EXPORT(pg_flags)(void) { return flags; }
const char *EXPORT(pg_error)(void) { return err.message; }
int *EXPORT(pg_wrong)(void) { return score.wrong; }
int *EXPORT(pg_counts)(void) { return score.counts; }
int *EXPORT(pg_fixed)(void) { return comparison.fixed; }
int *EXPORT(pg_broken)(void) { return comparison.broken; }
int EXPORT(pg_fixed_count)(void) { return comparison.fixed_count; }
int EXPORT(pg_broken_count)(void) { return comparison.broken_count; }

/* Forgets the failure of the last call. */
static Error *fresh(void)
{
    err = (Error){ 0 };
    return &err;
}
static int or_failure(bool ok, int64_t value) { return ok ? (int)value : -1; }

/* Every step leaves its loss in pg_values. */
static int at_most_values(int steps) { return steps < VALUES ? steps : VALUES; }

/* ---- the base network ----------------------------------------------------------------------- */

int EXPORT(pg_init)(int seed)
{
    engine_free(engine);
    engine = engine_new((uint64_t)seed, fresh());
    return or_failure(engine, engine ? lk_count_parameters(engine->net) : 0);
}
int EXPORT(pg_reset)(int seed)
{
    return or_failure(engine_reset(engine, (uint64_t)seed, fresh()), 0);
}
int EXPORT(pg_train_base)(int steps, double lr)
{
    return or_failure(engine_train_base(engine, at_most_values(steps), lr, values, fresh()),
                      engine->base.step);
}
/* Returns the right answers; the others are in pg_wrong. */
int EXPORT(pg_evaluate)(void)
{
    return or_failure(engine_evaluate(engine, &score, fresh()), score.correct);
}
/* Reads pixels from pg_values and leaves ten probabilities there. */
int EXPORT(pg_predict)(void)
{
    return or_failure(engine_predict(engine, values, values, fresh()), NET_CLASSES);
}
int EXPORT(pg_predict_base)(void)
{
    return or_failure(engine_predict_base(engine, values, values, fresh()), NET_CLASSES);
}
int EXPORT(pg_test_image)(int index) { return engine_test_image(engine, index, values); }
uint64_t EXPORT(pg_hash)(void) { return engine_hash(engine); }
int EXPORT(pg_rows)(int layer) { return (int)engine_linear(engine, layer)->out_features; }
int EXPORT(pg_columns)(int layer) { return (int)engine_linear(engine, layer)->in_features; }

/* ---- LoRA ----------------------------------------------------------------------------------- */

/* Returns LoRA's parameters. The layers: pg_flags. */
int EXPORT(pg_attach)(int rank, double alpha, int seed)
{
    bool ok = engine_attach(engine, flags, rank, alpha, (uint64_t)seed, fresh());
    return or_failure(ok, engine_lora_parameters(engine));
}
int EXPORT(pg_base_parameters)(void)
{
    return (int)(lk_count_parameters(engine->net) - engine_lora_parameters(engine));
}
int EXPORT(pg_detach)(void) { return or_failure(engine_detach(engine, fresh()), 0); }
/* The digits: pg_flags. */
int EXPORT(pg_train_lora)(int steps, double lr)
{
    return or_failure(engine_train_lora(engine, at_most_values(steps), lr, flags, values, fresh()),
                      engine->lora.step);
}
int EXPORT(pg_compare)(void)
{
    return or_failure(engine_compare(engine, &score, &comparison, fresh()), 0);
}
/* The largest change of a logit since before the call; pg_from_base: since before LoRA. */
static Change change;
double EXPORT(pg_enable)(int on)
{
    return engine_enable(engine, on, &change, fresh()) ? change.from_before : -1.0;
}
double EXPORT(pg_merge)(int on)
{
    return engine_merge(engine, on, &change, fresh()) ? change.from_before : -1.0;
}
double EXPORT(pg_from_base)(void) { return change.from_base; }

int EXPORT(pg_scale)(double factor)
{
    return or_failure(engine_scale(engine, factor, fresh()), 0);
}

/* Leaves factor, chosen, others and all of each point in pg_values. Returns 1 when the dial at 0
 * gives the bits of the base. The digits: pg_flags. */
int EXPORT(pg_dial)(int points, double from, double to)
{
    DialPoint dial[DIAL_MAX];
    bool zero_is_base = false;
    if (points < 1 || points > DIAL_MAX) points = DIAL_MAX;
    bool ok = engine_dial(engine, points, from, to, flags, dial, &zero_is_base, fresh());
    for (int i = 0; ok && i < points; i++) {
        values[4 * i] = (float)dial[i].factor;
        values[4 * i + 1] = (float)dial[i].chosen;
        values[4 * i + 2] = (float)dial[i].others;
        values[4 * i + 3] = (float)dial[i].all;
    }
    return or_failure(ok, zero_is_base);
}

/* ---- matrices ------------------------------------------------------------------------------- */

static int copy(const Tensor *x)
{
    memcpy(values, x->data, (size_t)lk_numel(x) * sizeof *values);
    return (int)lk_numel(x);
}
/* The rank of a layer's LoRA; 0: it has none. */
int EXPORT(pg_rank)(int layer)
{
    const LoRAParametrization *lora = engine_lora(engine, layer);
    return lora ? (int)lora->rank : 0;
}
int EXPORT(pg_weight)(int layer)
{
    return copy(lk_original(&engine_linear(engine, layer)->base, "weight"));
}
int EXPORT(pg_A)(int layer) { return copy(engine_lora(engine, layer)->lora_A); }
int EXPORT(pg_B)(int layer) { return copy(engine_lora(engine, layer)->lora_B); }
int EXPORT(pg_delta)(int layer)
{
    return or_failure(engine_delta(engine, layer, values, fresh()), 0);
}
/* Leaves rank values, the left and the right vectors in pg_values. */
int EXPORT(pg_singular)(int layer)
{
    const LoRAParametrization *lora = engine_lora(engine, layer);
    const int rank = (int)lora->rank, rows = pg_rows(layer), columns = pg_columns(layer);
    bool ok = singular_of_product(rows, columns, rank, lora->lora_B->data, lora->lora_A->data,
                                  lora->alpha / rank, values, values + rank,
                                  values + rank + (size_t)rank * (size_t)rows, fresh());
    return or_failure(ok, rank);
}
