/* engine_lora.c - LoRA on the base network: attached, trained, turned up and down, merged. */
#include "examples/playground/engine.h"

#include <math.h>
#include <string.h>

enum { BATCH = 32 };

static const char *const layer_names[NET_LAYERS] = { "linear1", "linear2", "linear3" };

Linear *engine_linear(Engine *e, int layer)
{
    if (layer < 0 || layer >= NET_LAYERS) return NULL;
    return lk_as_linear(lk_module_at(e->net, layer_names[layer], NULL));
}

LoRAParametrization *engine_lora(Engine *e, int layer)
{
    if (layer < 0 || layer >= NET_LAYERS) return NULL;
    for (AdapterIter it = lk_adapters(e->net); lk_adapters_next(&it);)
        if (strcmp(it.name, layer_names[layer]) == 0) return it.lora;
    return NULL;
}

int64_t engine_lora_parameters(Engine *e)
{
    return e->attached ? lk_count_trainable_parameters(e->net) : 0;
}

/* ---- attaching and training ----------------------------------------------------------------- */

static bool has_lora(const Engine *e, Error *err)
{
    return e->attached || lk_error_set(err, LK_ESTATE, "there is no LoRA yet: attach it first");
}

bool engine_detach(Engine *e, Error *err)
{
    if (!e->attached) return true;
    lk_unmerge(e->net);
    if (lk_remove_lora(e->net, NULL, err) < 0) return false;
    lk_require_grad(e->net, "*", true);
    training_free(&e->lora);
    e->attached = e->merged = false;
    return true;
}

bool engine_attach(Engine *e, const bool layers[NET_LAYERS], int rank, double alpha, uint64_t seed,
                   Error *err)
{
    char targets[NET_LAYERS * sizeof "linear1,"] = "";
    for (int i = 0; i < NET_LAYERS; i++)
        if (layers[i]) strcat(strcat(targets, targets[0] ? "," : ""), layer_names[i]);
    if (!targets[0]) return lk_error_set(err, LK_EVALUE, "choose at least one layer for LoRA");
    if (rank < 1 || rank > ENGINE_RANK_MAX)
        return lk_error_set(err, LK_EVALUE, "rank %d: it must be 1 to %d", rank, ENGINE_RANK_MAX);
    if (!engine_detach(e, err) || !engine_logits(e, e->base_logits, err)) return false;

    LoRAConfig config = { .rank = rank, .alpha = alpha, .targets = targets };
    lk_manual_seed(&e->lora.rng, seed);
    if (lk_add_lora(e->net, &config, &e->lora.rng, err) < 0) return false;
    e->attached = e->enabled = true;
    e->factor = 1.0;
    memset(e->digits, 0, sizeof e->digits);
    if (lk_train_only_lora(e->net, NULL, err) >= 0 &&
        training_start(&e->lora, e->net, e->train, NULL, BATCH, err))
        return true;
    engine_detach(e, err);
    return false;
}

/* From now on LoRA learns these digits. */
static bool choose_digits(Engine *e, const bool digits[NET_CLASSES], Error *err)
{
    if (e->lora.chosen && memcmp(digits, e->digits, sizeof e->digits) == 0) return true;
    int64_t classes[NET_CLASSES];
    int count = 0;
    for (int digit = 0; digit < NET_CLASSES; digit++)
        if (digits[digit]) classes[count++] = digit;
    if (count == 0)
        return lk_error_set(err, LK_EVALUE, "choose at least one digit for LoRA to learn");
    Dataset *chosen = lk_filter_classes_new(e->train, count, classes, err);
    if (!chosen || !training_choose(&e->lora, e->train, chosen, BATCH, err)) return false;
    memcpy(e->digits, digits, sizeof e->digits);
    return true;
}

bool engine_train_lora(Engine *e, int steps, double lr, const bool digits[NET_CLASSES],
                       float *losses, Error *err)
{
    if (!has_lora(e, err)) return false;
    if (e->merged) return lk_error_set(err, LK_ESTATE, "LoRA is merged: unmerge it to train it");
    if (!e->enabled) return lk_error_set(err, LK_ESTATE, "LoRA is off: turn it on to train it");
    return choose_digits(e, digits, err) && engine_train(e, &e->lora, steps, lr, losses, err);
}

/* ---- on and off, merged --------------------------------------------------------------------- */

/* A merged LoRA is merged again, so that the change is read. */
static bool turn(Engine *e, bool on, Error *err)
{
    if (e->merged) lk_unmerge(e->net);
    if (lk_enable_lora(e->net, NULL, on, err) < 0) return false;
    e->enabled = on;
    return !e->merged || lk_merge(e->net, err);
}

static bool merge(Engine *e, bool on, Error *err)
{
    if (!on) lk_unmerge(e->net);
    if (on && !lk_merge(e->net, err)) return false;
    e->merged = on;
    return true;
}

/* Returns the largest difference of two logits. */
static double difference(const float a[ENGINE_TEST][NET_CLASSES],
                         const float b[ENGINE_TEST][NET_CLASSES])
{
    double largest = 0.0;
    for (int i = 0; i < ENGINE_TEST; i++)
        for (int digit = 0; digit < NET_CLASSES; digit++)
            largest = fmax(largest, fabs((double)a[i][digit] - (double)b[i][digit]));
    return largest;
}

/* Calls `set` and measures the logits before and after it. */
static bool change(Engine *e, bool (*set)(Engine *, bool, Error *), bool on, Change *change,
                   Error *err)
{
    static float before[ENGINE_TEST][NET_CLASSES], after[ENGINE_TEST][NET_CLASSES];
    if (!has_lora(e, err) || !engine_logits(e, before, err) || !set(e, on, err) ||
        !engine_logits(e, after, err))
        return false;
    change->from_before = difference(before, after);
    change->from_base = difference(e->base_logits, after);
    return true;
}

bool engine_enable(Engine *e, bool on, Change *c, Error *err)
{
    return change(e, turn, on, c, err);
}
bool engine_merge(Engine *e, bool on, Change *c, Error *err)
{
    return change(e, merge, on, c, err);
}

bool engine_predict_base(Engine *e, const float *pixels, float *probabilities, Error *err)
{
    if (!e->attached || !e->enabled) return engine_predict(e, pixels, probabilities, err);
    return turn(e, false, err) && engine_predict(e, pixels, probabilities, err) &&
           turn(e, true, err);
}

bool engine_compare(const Engine *e, const Score *score, Comparison *c, Error *err)
{
    if (!has_lora(e, err)) return false;
    const Score base = engine_score(e, e->base_logits);
    c->fixed_count = c->broken_count = 0;
    for (int i = 0; i < ENGINE_TEST; i++) {
        const int label = (int)lk_dataset_label(e->test, i);
        const bool was = base.answers[i] == label, is = score->answers[i] == label;
        if (is && !was) c->fixed[c->fixed_count++] = i;
        if (was && !is) c->broken[c->broken_count++] = i;
    }
    return true;
}

/* ---- the dial ------------------------------------------------------------------------------- */

bool engine_scale(Engine *e, double factor, Error *err)
{
    if (!has_lora(e, err) || lk_scale_lora(e->net, NULL, factor, err) < 0) return false;
    e->factor = factor;
    return true;
}

/* Shares the right answers out between the digits of the dial and the others. */
static DialPoint dial_point(const Score *score, double factor, const bool digits[NET_CLASSES])
{
    int right[2] = { 0 }, count[2] = { 0 };
    for (int digit = 0; digit < NET_CLASSES; digit++) {
        right[digits[digit]] += score->counts[digit] - score->wrong[digit];
        count[digits[digit]] += score->counts[digit];
    }
    return (DialPoint){ .factor = factor,
                        .chosen = (double)right[1] / count[1],
                        .others = (double)right[0] / count[0],
                        .all = (double)score->correct / ENGINE_TEST };
}

static bool turn_dial(Engine *e, int points, double from, double to,
                      const bool digits[NET_CLASSES], DialPoint *dial, bool *zero_is_base,
                      Error *err)
{
    static float logits[ENGINE_TEST][NET_CLASSES];
    Score score;
    for (int i = 0; i < points; i++) {
        const double factor = points > 1 ? from + (to - from) * i / (points - 1) : from;
        if (lk_scale_lora(e->net, NULL, factor, err) < 0 || !engine_evaluate(e, &score, err))
            return false;
        dial[i] = dial_point(&score, factor, digits);
    }
    if (lk_scale_lora(e->net, NULL, 0.0, err) < 0 || !engine_logits(e, logits, err)) return false;
    *zero_is_base = memcmp(logits, e->base_logits, sizeof logits) == 0;
    return true;
}

bool engine_dial(Engine *e, int points, double from, double to, const bool digits[NET_CLASSES],
                 DialPoint *dial, bool *zero_is_base, Error *err)
{
    const bool enabled = e->enabled;
    if (!has_lora(e, err) || !engine_scale(e, e->factor, err)) return false;
    return turn(e, true, err) && turn_dial(e, points, from, to, digits, dial, zero_is_base, err) &&
           engine_scale(e, e->factor, err) && turn(e, enabled, err);
}

/* ---- what LoRA adds ------------------------------------------------------------------------- */

bool engine_delta(Engine *e, int layer, float *delta, Error *err)
{
    const LoRAParametrization *lora = engine_lora(e, layer);
    if (!lora) return lk_error_set(err, LK_ESTATE, "layer %d has no LoRA", layer + 1);
    const float *A = lora->lora_A->data, *B = lora->lora_B->data;
    const int64_t out = lora->lora_B->shape[0], in = lora->lora_A->shape[1], rank = lora->rank;
    const double scale = lora->alpha / (double)rank;
    for (int64_t i = 0; i < out; i++)
        for (int64_t j = 0; j < in; j++) {
            double sum = 0.0;
            for (int64_t k = 0; k < rank; k++)
                sum += (double)B[i * rank + k] * (double)A[k * in + j];
            delta[i * in + j] = (float)(sum * scale);
        }
    return true;
}
