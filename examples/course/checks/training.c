/* training.c - see training.h. */
#include "examples/course/checks/training.h"

#include <math.h>

#include "nn/linear.h"

enum { LINEARS = 3 };
static const int64_t size[LINEARS + 1] = { 5, 7, 6, 4 };

/* ---- the net and its data ------------------------------------------------------------------- */

Module *bench_mlp(Exam *e)
{
    return exam_own(e, mlp_new(size[0], size[1], size[2], size[3], e->rng, &e->err));
}

Module *bench_mlp_with_lora(Exam *e)
{
    Module *m = bench_mlp(e);
    bool ok = mlp_add_lora(m, BENCH_RANK, BENCH_ALPHA, e->rng, &e->err);
    exam_expect(e, ok, VERDICT_FAILED, "the checks cannot make an MLP: %s", e->err.message);
    return ok ? m : NULL;
}

void bench_free(Bench *b)
{
    lk_loader_free(b->loader);
    lk_dataset_free(b->data);
    lk_optimizer_free(b->opt);
}

Bench bench_new(Exam *e, int64_t highest)
{
    Bench b = { .model = exam_to_double(e, bench_mlp_with_lora(e)) };
    for (int i = 0; i < LINEARS; i++)
        exam_fill(e, b.model, exam_text(e, "layers.%d.lora.B", 2 * i));
    lk_freeze_linears(b.model);
    b.start = exam_own(e, lk_deepcopy(b.model, &e->err));
    b.opt = lk_adam_new(lk_trainable_parameters(b.model, &e->err), BENCH_RATE, &e->err);
    int64_t labels[BENCH_SAMPLES];
    for (int i = 0; i < BENCH_SAMPLES; i++) labels[i] = (3 * i + i / 4) % (highest + 1);
    Matrix x = matrix_random(e, BENCH_SAMPLES, size[0]);
    if (!e->failed)
        b.data = lk_dataset_new(
            lk_tensor_from_new(LK_F64, LK_SHAPE(BENCH_SAMPLES, size[0]), x.v, &e->err),
            lk_tensor_from_new(LK_I64, LK_SHAPE(BENCH_SAMPLES), labels, &e->err), LK_TO_TENSOR,
            &e->err);
    b.loader = lk_loader_as_new(b.data, BENCH_BATCH, false, LK_F64, e->rng, &e->err);
    for (int i = 0; i < BENCH_EPOCHS; i++) b.losses[i] = BENCH_UNWRITTEN;
    exam_expect(e, b.loader && b.opt && b.start, VERDICT_FAILED, "the checks cannot train: %s",
                e->err.message);
    return b;
}

/* ---- a training with mistakes --------------------------------------------------------------- */

/* One batch of the training with mistakes. Returns its loss; NaN when it fails. */
static double train_batch(Tape *t, Module *m, Optimizer *opt, const Batch *b, int mistakes,
                          bool last)
{
    Error err = { 0 };
    bool ok = true, late = mistakes & OLD_GRADIENTS;
    if (late) ok = lk_step(opt, &err);
    if (!(mistakes & (KEEP_GRADIENTS | RARELY_ZERO | ONE_STEP))) lk_optimizer_zero_grad(opt);
    Tensor *logits = lk_forward(t, m, b->x);
    if (mistakes & SOFTMAX) logits = lk_softmax(t, logits, 1);
    CrossEntropyOptions options = { .reduction = mistakes & SUMMED ? LK_SUM : LK_MEAN };
    Tensor *loss = lk_cross_entropy_with(t, logits, b->y, -100, options);
    if (mistakes & UPHILL) loss = lk_scale(t, loss, -1.0);
    ok = ok && lk_backward(t, loss);
    if (ok && !late && (last || !(mistakes & ONE_STEP))) ok = lk_step(opt, &err);
    if (ok && mistakes & TWO_STEPS) ok = lk_step(opt, &err);
    if (last && (mistakes & (RARELY_ZERO | ONE_STEP))) lk_optimizer_zero_grad(opt);
    if (mistakes & LATE_LOSS) loss = lk_cross_entropy(t, lk_forward(t, m, b->x), b->y);
    double value = ok ? lk_item(loss) : NAN;
    lk_tape_reset(t);
    return value;
}

Matrix bench_losses(Exam *e, const Bench *b, int mistakes, Module **trained)
{
    Matrix losses = matrix_zeros(e, 1, BENCH_EPOCHS);
    if (e->failed || !b->loader) return losses;
    Module *m = lk_deepcopy(b->start, NULL);
    Optimizer *opt = lk_adam_new(lk_trainable_parameters(m, NULL), BENCH_RATE, NULL);
    Tape *t = lk_tape_quiet_new(NULL);
    for (int epoch = 0; losses.v && epoch < BENCH_EPOCHS; epoch++) {
        double sum = 0.0, loss = 0.0;
        int batches = mistakes & ONE_BATCH ? 1 : BENCH_BATCHES;
        lk_loader_begin(b->loader);
        for (int i = 0; i < batches; i++) {
            Batch batch;
            if (mistakes & FIRST_BATCH) lk_loader_begin(b->loader);
            if (!lk_loader_next(b->loader, &batch)) break;
            loss = train_batch(t, m, opt, &batch, mistakes, i + 1 == batches);
            double samples = (double)lk_size(batch.x, 0);
            sum += mistakes & PER_SAMPLE ? loss * samples * BENCH_BATCHES / BENCH_SAMPLES : loss;
        }
        losses.v[epoch] = mistakes & LAST_LOSS ? loss : sum / batches;
    }
    lk_tape_free(t);
    lk_optimizer_free(opt);
    if (trained) *trained = exam_own(e, m);
    else lk_free(m);
    return losses;
}
