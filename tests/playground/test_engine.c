/* test_engine.c - the playground's model: what its panels and its tour say about LoRA holds. The
 * same bits in a browser: test_playground_bits.sh. */
#include "tests/check.h"

#include <math.h>
#include <string.h>

#include "examples/playground/engine.h"
#include "examples/playground/singular.h"

static const bool nine[NET_CLASSES] = { [9] = true };
static const bool all_layers[NET_LAYERS] = { true, true, true };

static Engine *e;
static Error err;
static float losses[64];
static Score score;

/* A base after 20 steps. */
static void begin(void)
{
    err = (Error){ 0 };
    e = engine_new(0, &err);
    check(e, "%s", err.message);
    check(engine_train_base(e, 20, 1e-3, losses, &err));
}
static void end(void) { engine_free(e); }
TestSuite(engine, .init = begin, .fini = end);

static void attach(int rank, double alpha)
{
    check(engine_attach(e, all_layers, rank, alpha, 1, &err), "%s", err.message);
}
static void train_lora(int steps)
{
    check(engine_train_lora(e, steps, 1e-2, nine, losses, &err), "%s", err.message);
}
/* The last call failed with this message. */
static void check_failed(bool ok, ErrorCode code, const char *text)
{
    check(!ok);
    check_error(&err, code, text);
    err = (Error){ 0 };
}

Test(engine, the_same_seed_gives_the_same_network)
{
    const uint64_t trained = engine_hash(e);
    check(engine_reset(e, 0, &err));
    /* In two calls: the same steps. */
    check(engine_train_base(e, 13, 1e-3, losses, &err) &&
          engine_train_base(e, 7, 1e-3, losses + 13, &err));
    check(e->base.step == 20 && engine_hash(e) == trained);
    check(losses[19] < losses[0]);
    check(engine_reset(e, 1, &err) && engine_train_base(e, 20, 1e-3, losses, &err));
    check(engine_hash(e) != trained);
}

Test(engine, lora_changes_nothing_before_it_is_trained)
{
    Change change;
    check(engine_evaluate(e, &score, &err));
    const int right = score.correct;
    attach(4, 8);
    check(engine_lora_parameters(e) == 4 * (784 + 128 + 128 + 64 + 64 + 10));
    check(engine_evaluate(e, &score, &err) && score.correct == right);
    check(engine_enable(e, true, &change, &err));
    check(change.from_before == 0 && change.from_base == 0);
}

Test(engine, lora_leaves_the_base_as_it_was)
{
    const uint64_t base = engine_hash(e);
    attach(1, 1);
    train_lora(20);
    check(engine_hash(e) != base);
    Change change;
    check(engine_enable(e, false, &change, &err));
    check(change.from_before > 0 && change.from_base == 0);
    check(engine_detach(e, &err) && engine_hash(e) == base);

    /* So the base goes on as if there had been no LoRA. */
    check(engine_train_base(e, 5, 1e-3, losses, &err));
    const uint64_t gone_on = engine_hash(e);
    check(engine_reset(e, 0, &err) && engine_train_base(e, 25, 1e-3, losses, &err));
    check(engine_hash(e) == gone_on);
}

Test(engine, the_dial_begins_at_the_base)
{
    DialPoint dial[3];
    bool zero_is_base = false;
    attach(2, 4);
    train_lora(30);
    check(engine_scale(e, 0.5, &err));
    check(engine_evaluate(e, &score, &err));
    const Score before = score;
    check(engine_dial(e, 3, 0.0, 1.0, nine, dial, &zero_is_base, &err), "%s", err.message);
    check(zero_is_base);
    check(dial[1].factor == 0.5 && dial[1].all == before.correct / 1000.0);
    check(dial[2].chosen > dial[0].chosen && dial[2].others < dial[0].others);
    check(engine_evaluate(e, &score, &err), "the dial is where it was");
    check(memcmp(score.answers, before.answers, sizeof before.answers) == 0);
}

Test(engine, merged_weights_give_the_same_answers)
{
    Change change;
    attach(2, 2);
    train_lora(10);
    check(engine_merge(e, true, &change, &err));
    check(change.from_before < 1e-4 && change.from_base > 0.1);
    check_failed(engine_scale(e, 0.5, &err), LK_ESTATE, "unmerge");
    check_failed(engine_train_lora(e, 1, 1e-3, nine, losses, &err), LK_ESTATE, "unmerge");

    float pixels[NET_PIXELS], without[NET_CLASSES], with[NET_CLASSES];
    check(engine_test_image(e, 0, pixels) >= 0 && engine_test_image(e, 1000, pixels) == -1);
    check(engine_predict_base(e, pixels, without, &err) && engine_predict(e, pixels, with, &err));
    check(memcmp(without, with, sizeof with) != 0);
    check(engine_merge(e, false, &change, &err) && change.from_before < 1e-4);
}

Test(engine, fixed_and_broken_images_explain_the_difference)
{
    static Comparison comparison;
    check(engine_evaluate(e, &score, &err));
    const int before = score.correct;
    check_failed(engine_compare(e, &score, &comparison, &err), LK_ESTATE, "attach it first");
    attach(1, 1);
    train_lora(30);
    check(engine_evaluate(e, &score, &err));
    check(engine_compare(e, &score, &comparison, &err));
    check(comparison.fixed_count > 0);
    check(score.correct - before == comparison.fixed_count - comparison.broken_count);
}

Test(engine, refuses_what_makes_no_sense)
{
    const bool none[NET_CLASSES] = { false };
    check_failed(engine_attach(e, none, 1, 1, 1, &err), LK_EVALUE, "at least one layer");
    check_failed(engine_attach(e, all_layers, 0, 1, 1, &err), LK_EVALUE, "rank 0");
    check_failed(engine_attach(e, all_layers, 17, 1, 1, &err), LK_EVALUE, "rank 17");
    check_failed(engine_train_lora(e, 1, 1e-3, nine, losses, &err), LK_ESTATE, "attach it first");
    attach(1, 1);
    check_failed(engine_train_lora(e, 1, 1e-3, none, losses, &err), LK_EVALUE,
                 "at least one digit");
    check(engine_enable(e, false, &(Change){ 0 }, &err));
    check_failed(engine_train_lora(e, 1, 1e-3, nine, losses, &err), LK_ESTATE, "turn it on");
    check(engine_train_base(e, 1, 1e-3, losses, &err), "%s", err.message);
}

/* ---- singular values ------------------------------------------------------------------------ */

enum { OUT = 10, IN = 64, RANK = 5 };
static float B[OUT * RANK], A[RANK * IN], values[RANK], left[RANK * OUT], right[RANK * IN];

static double product(const float *a, const float *b, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++) sum += (double)a[i] * (double)b[i];
    return sum;
}

/* values, left and right are those of 0.5 · B A, the first `full` of them positive. */
static void check_singular(int full)
{
    check(singular_of_product(OUT, IN, RANK, B, A, 0.5, values, left, right, &err));
    for (int i = 0; i < OUT; i++)
        for (int j = 0; j < IN; j++) {
            double expected = 0, got = 0;
            for (int k = 0; k < RANK; k++) {
                expected += 0.5 * (double)B[i * RANK + k] * (double)A[k * IN + j];
                got += (double)values[k] * (double)left[k * OUT + i] * (double)right[k * IN + j];
            }
            check(fabs(expected - got) < 1e-5, "(%d, %d): %g, not %g", i, j, got, expected);
        }
    for (int k = 0; k < RANK; k++) {
        check(k < full ? values[k] > 0 : values[k] < 1e-6f, "value %d is %g", k,
              (double)values[k]);
        check(k == 0 || values[k] <= values[k - 1]);
        for (int l = 0; l < full && k < full; l++) {
            check(fabs(product(left + k * OUT, left + l * OUT, OUT) - (k == l)) < 1e-5);
            check(fabs(product(right + k * IN, right + l * IN, IN) - (k == l)) < 1e-5);
        }
    }
}

Test(singular, values_and_vectors_give_the_product)
{
    Rng rng;
    lk_manual_seed(&rng, 0);
    lk_random_normals_f32(&rng, A, RANK * IN, 0, 1);
    check_singular(0); /* B = 0, as before any training */
    lk_random_normals_f32(&rng, B, OUT * RANK, 0, 1);
    check_singular(RANK);
    for (int i = 0; i < OUT; i++) B[i * RANK + 3] = 2 * B[i * RANK + 1];
    check_singular(RANK - 1);
    memcpy(A + IN, A, IN * sizeof *A);
    memcpy(A + 3 * IN, A, IN * sizeof *A);
    check_singular(RANK - 2);
}
