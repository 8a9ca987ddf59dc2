/* trace.c - trains as tests/playground/bits.js does in a browser, and prints the bits of all that
 * comes out. test_playground_bits.sh runs it with the portable kernels and compares. */
#include <stdio.h>
#include <string.h>

#include "examples/playground/engine.h"
#include "examples/playground/singular.h"

enum { BASE_STEPS = 300, LORA_STEPS = 100, RANK = 3, POINTS = 16 };

static void print_bits(const char *name, int count, const float *numbers)
{
    for (int i = 0; i < count; i++) {
        uint32_t word;
        memcpy(&word, &numbers[i], sizeof word);
        printf("%s %d %08x\n", name, i, word);
    }
}

static void print_hash(const char *name, Engine *e)
{
    printf("%s hash %016llx\n", name, (unsigned long long)engine_hash(e));
}

static bool trace_base(Engine *e, Error *err)
{
    float losses[BASE_STEPS];
    Score score;
    if (!engine_train_base(e, BASE_STEPS, 1e-3, losses, err) || !engine_evaluate(e, &score, err))
        return false;
    print_bits("base", BASE_STEPS, losses);
    print_hash("base", e);
    printf("base right %d\n", score.correct);
    return true;
}

static bool trace_lora(Engine *e, const bool digits[NET_CLASSES], Error *err)
{
    const bool layers[NET_LAYERS] = { true, true, true };
    float losses[LORA_STEPS];
    Score score;
    Comparison comparison;
    if (!engine_attach(e, layers, RANK, RANK, 1, err) ||
        !engine_train_lora(e, LORA_STEPS, 1e-3, digits, losses, err) ||
        !engine_evaluate(e, &score, err) || !engine_compare(e, &score, &comparison, err))
        return false;
    print_bits("lora", LORA_STEPS, losses);
    print_hash("lora", e);
    printf("lora right %d\nlora fixed %d\nlora broken %d\n", score.correct, comparison.fixed_count,
           comparison.broken_count);
    return true;
}

static bool trace_dial(Engine *e, const bool digits[NET_CLASSES], Error *err)
{
    DialPoint dial[POINTS];
    float chosen[POINTS];
    bool zero_is_base;
    if (!engine_dial(e, POINTS, 0.0, 1.5, digits, dial, &zero_is_base, err)) return false;
    for (int i = 0; i < POINTS; i++) chosen[i] = (float)dial[i].chosen;
    print_bits("dial", POINTS, chosen);
    printf("dial zero %s\n", zero_is_base ? "true" : "false");
    return true;
}

static bool trace_answers(Engine *e, Error *err)
{
    float pixels[NET_PIXELS], without[NET_CLASSES], with[NET_CLASSES];
    engine_test_image(e, 3, pixels);
    if (!engine_predict_base(e, pixels, without, err) || !engine_predict(e, pixels, with, err))
        return false;
    print_bits("probability without", NET_CLASSES, without);
    print_bits("probability with", NET_CLASSES, with);
    return true;
}

static bool trace_matrices(Engine *e, Error *err)
{
    float values[RANK], left[RANK * NET_HIDDEN_1], right[RANK * NET_PIXELS];
    float delta[NET_CLASSES * NET_HIDDEN_2];
    const LoRAParametrization *first = engine_lora(e, 0);
    if (!singular_of_product(NET_HIDDEN_1, NET_PIXELS, RANK, first->lora_B->data,
                             first->lora_A->data, first->alpha / RANK, values, left, right, err) ||
        !engine_delta(e, 2, delta, err))
        return false;
    print_bits("singular", RANK, values);
    print_bits("vector", NET_PIXELS, right);
    print_bits("delta", NET_CLASSES * NET_HIDDEN_2, delta);
    return true;
}

int main(void)
{
    const bool digits[NET_CLASSES] = { [9] = true };
    Error err = { 0 };
    Engine *e = engine_new(0, &err);
    bool ok = e && trace_base(e, &err) && trace_lora(e, digits, &err) &&
              trace_dial(e, digits, &err) && trace_answers(e, &err) && trace_matrices(e, &err);
    if (!ok) fprintf(stderr, "playground_trace: %s\n", err.message);
    engine_free(e);
    return !ok;
}
