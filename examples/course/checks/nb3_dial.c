/* nb3_dial.c - the checks of nb3's dial and of its two curves. */
#include "core/decimal.h"
#include "examples/course/checks/nb3.h"

#include <math.h>
#include <string.h>

#include "data/digits.h"

static void turn(Exam *e, Module *net, double dial)
{
    if (net && LEARNERS(e, turn_dial)) LEARNERS(e, turn_dial)(net, dial);
}

static void fill_lora(Exam *e, Module *net, double deviation)
{
    for (int i = 0; net && i < LAYERS && !e->failed; i++) {
        LoRAParametrization *l = nb3_lora_at(net, i);
        lk_normal_(l->lora_A, 0.0, deviation, &e->own_rng);
        lk_normal_(l->lora_B, 0.0, deviation, &e->own_rng);
    }
}

/* Compares the weights that forward reads with W + factor B A. `last` is the dial before this
 * one. */
static void compare_dial(Exam *e, Module *net, double dial, double last)
{
    const double scale = nb3_alpha / RANK;
    for (int i = 0; net && i < LAYERS && !e->failed; i++) {
        Module *linear = exam_child(e, net, nb3_layers[i]);
        LoRAParametrization *l = nb3_lora_at(net, i);
        Matrix W = matrix_of(e, lk_original(linear, "weight"));
        Matrix BA = matrix_product(e, matrix_of(e, l->lora_B), matrix_of(e, l->lora_A));
        const Matrix nothing = { 0, 0, NULL };
#define WITH(factor) matrix_sum(e, W, matrix_scale(e, BA, factor))
        const Mistake mistakes[] = {
            { "alpha / rank forgotten", "The scale at dial 1 is alpha / rank.", WITH(dial) },
            { "alpha not divided by the rank", "The rank is lk_size(l->lora_A, 0).",
              WITH(dial * nb3_alpha) },
            { "divided by the columns of A", "lora_A is (rank, features_out): lk_size(A, 0).",
              WITH(dial * nb3_alpha / (double)lk_size(l->lora_A, 1)) },
            { "the dial on A and on B", "B A is scaled once.", WITH(dial * dial * scale) },
            { "the dial multiplied at each turn",
              "Compute the scale anew: dial · alpha / rank. A product keeps the turns of before.",
              WITH(dial * last * scale) },
            { "a switch instead of a dial", "enabled is on or off; the dial sets l->scale.",
              dial > 0.0 ? WITH(scale) : W },
            /* later it could be a product with a dial at 0 */
            { i > 0 ? "a layer not turned" : "the dial not turned",
              "Set the scale of every LoRA of the net.", dial > 0.0 ? nothing : WITH(scale) },
        };
#undef WITH
        Matrix right = matrix_sum(e, W, matrix_scale(e, BA, dial * scale));
        exam_equal(e, exam_text(e, "dial at %g: the weight of %s", dial, nb3_layers[i]),
                   lk_param_named(e->t, linear, "weight"), right, MISTAKES(mistakes));
    }
}

void nb3_dial_scales(Exam *e)
{
    Module *net = exam_to_double(e, nb3_net_with_lora(e, digits_net(e, 9, 7, 6, 5)));
    fill_lora(e, net, 1.0);
    const double dials[] = { 0.0, 0.5, 0.25, 0.75, 1.0 };
    for (int i = 0; i < 5; i++) {
        turn(e, net, dials[i]);
        compare_dial(e, net, dials[i], i ? dials[i - 1] : 1.0);
    }
}

void nb3_dial_0_is_the_base(Exam *e)
{
    Module *net = digits_net(e, 9, 7, 6, 5);
    Tensor *x = exam_own_tensor(e, lk_tensor_new(LK_F32, LK_SHAPE(4, 9), &e->err));
    if (x) lk_normal_(x, 0.0, 1.0, &e->own_rng);
    Matrix before = matrix_of(e, exam_forward(e, "the net without LoRA", net, x));
    nb3_net_with_lora(e, net);
    fill_lora(e, net, 1.0);
    turn(e, net, 0.5);
    turn(e, net, 0.0);
    Matrix at_0 = matrix_of(e, exam_forward(e, "the net at dial 0", net, x));
    for (int64_t i = 0; !e->failed && i < 4 * 5; i++)
        exam_expect(e, at_0.v[i] == before.v[i], VERDICT_VALUE,
                    "at dial 0 output %lld is %.9g, but %.9g without LoRA: not the same bits",
                    (long long)i, at_0.v[i], before.v[i]);
    turn(e, net, 1.0);
    Matrix at_1 = matrix_of(e, exam_forward(e, "the net at dial 1", net, x));
    exam_expect(e, !matrix_near(at_1, before, 1e-4), VERDICT_VALUE,
                "dial 1 after dial 0 gives the net without LoRA; compute the scale from alpha");
}

/* ---- the curves ----------------------------------------------------------------------------- */

enum { POINTS = 5 };

static double share(const int64_t wrong[DIGITS], const int64_t total[DIGITS],
                    const bool in[DIGITS])
{
    int64_t w = 0, n = 0;
    for (int d = 0; d < DIGITS; d++) {
        w += in[d] ? wrong[d] : 0;
        n += in[d] ? total[d] : 0;
    }
    return n ? (double)w / (double)n : 0.0;
}

void nb3_curves_are_read(Exam *e)
{
    Dataset *data = lk_rendered_digits_new(60, e->seed, LK_MNIST_NORMALIZE, &e->err);
    Module *net = digits_net(e, PIXELS, 12, 16, DIGITS);
    digits_train(e, net, data, 20);
    nb3_net_with_lora(e, net);
    fill_lora(e, net, 0.2);
    const int64_t weak[] = { 8, 3, 9 };
    bool all[DIGITS], few[DIGITS] = { false }, rest[DIGITS];
    for (int k = 0; k < 3; k++) few[weak[k]] = true;
    for (int d = 0; d < DIGITS; d++) all[d] = true;
    for (int d = 0; d < DIGITS; d++) rest[d] = !few[d];
    int64_t total[DIGITS] = { 0 };
    for (int64_t i = 0; data && i < data->count; i++) total[lk_dataset_label(data, i)]++;
    Matrix right = matrix_zeros(e, POINTS, 3), errors = matrix_zeros(e, POINTS, 3);
    Matrix of_all = matrix_zeros(e, POINTS, 3), whole = matrix_zeros(e, POINTS, 3);
    Matrix swapped = matrix_zeros(e, POINTS, 3), backwards = matrix_zeros(e, POINTS, 3);
    Matrix steps = matrix_zeros(e, POINTS, 3);
    for (int i = 0; i < POINTS && !e->failed; i++) {
        int64_t wrong[DIGITS];
        double dial = i / (POINTS - 1.0);
        for (int k = 0; k < LAYERS; k++) nb3_lora_at(net, k)->scale = dial * nb3_alpha / RANK;
        digits_wrong(e, net, data, wrong);
        double w = share(wrong, total, few), r = share(wrong, total, rest);
        const double rows[5][3] = { { dial, 1.0 - w, 1.0 - r },
                                    { dial, w, r },
                                    { dial, 1.0 - w, 1.0 - share(wrong, total, all) },
                                    { dial, 1.0 - floor(w), 1.0 - floor(r) },
                                    { dial, 1.0 - r, 1.0 - w } };
        Matrix to[5] = { right, errors, of_all, whole, swapped };
        for (int k = 0; k < 5; k++) memcpy(to[k].v + 3 * i, rows[k], sizeof rows[k]);
        /* the same point at the other end, and a dial of whole numbers: 0, 0, …, 1 */
        memcpy(backwards.v + 3 * (POINTS - 1 - i), rows[0], sizeof rows[0]);
        memcpy(steps.v + 3 * i, i < POINTS - 1 ? right.v : rows[0], sizeof rows[0]);
    }
    DataLoader *loader = data ? lk_loader_new(data, 16, false, &e->own_rng, &e->err) : NULL;
    DialPoint curve[POINTS] = { { 0.0, 0.0, 0.0 } };
    bool ok = loader && CALL(e, read_dial, e->t, net, loader, 3, weak, POINTS, curve, &e->err);
    exam_true(e, "read_dial", ok);
    Tensor *got =
        exam_own_tensor(e, lk_tensor_from_new(LK_F64, LK_SHAPE(POINTS, 3), curve, &e->err));
    const Mistake mistakes[] = {
        { "error rates for accuracies", "The accuracy is 1 - wrong / total.", errors },
        { "all digits for the rest", "The rest are the digits that are not weak.", of_all },
        { "integer division", "Divide doubles: (double)wrong / (double)total.", whole },
        { "weak and rest exchanged", "weak is the accuracy on the digits in `weak`.", swapped },
        { "the dial turned backwards", "curve[0] is at dial 0.", backwards },
        { "integer division of the dial", "i / (points - 1) is 0 up to the last: divide doubles.",
          steps },
    };
    exam_equal(e, "read_dial, rows of dial, weak, rest,", got, right, MISTAKES(mistakes));
    lk_loader_free(loader);
    lk_dataset_free(data);
}

void nb3_show(Exam *e)
{
    enum { STEPS = 11 };
    DialPoint curve[STEPS];
    DigitCounts c;
    int64_t weak[4] = { 0 };
    Dataset *train = lk_rendered_digits_new(400, e->seed, LK_MNIST_NORMALIZE, &e->err);
    Dataset *test = lk_rendered_digits_new(400, e->seed + 1, LK_MNIST_NORMALIZE, &e->err);
    DataLoader *loader = test ? lk_loader_new(test, 50, false, &e->own_rng, &e->err) : NULL;
    Module *net = digits_net(e, PIXELS, 24, 24, DIGITS);
    digits_train(e, net, train, 120);
    if (loader && CALL(e, count_errors, e->t, net, loader, &c, &e->err) && !e->failed) {
        LEARNERS(e, weakest_digits)(&c, 4, weak);
        printf("A small net, rendered digits, seed %llu. Errors on the digits 0 to 9:",
               (unsigned long long)e->seed);
        for (int d = 0; d < DIGITS; d++) printf(" %lld", (long long)c.wrong[d]);
        printf("\nLoRA learns %lld, %lld, %lld and %lld. The dial:\ndial  weak   rest\n",
               (long long)weak[0], (long long)weak[1], (long long)weak[2], (long long)weak[3]);
        nb3_with_lora(e, net, 1, 1.0);
        bool ok = CALL(e, tune_lora, e->t, net, train, 4, weak, 100, e->rng, &e->err) &&
                  CALL(e, read_dial, e->t, net, loader, 4, weak, STEPS, curve, &e->err);
        for (int i = 0; ok && i < STEPS; i++)
            lk_printf("%4.1f  %.3f  %.3f\n", curve[i].dial, curve[i].weak, curve[i].rest);
    }
    lk_loader_free(loader);
    lk_dataset_free(test);
    lk_dataset_free(train);
}
