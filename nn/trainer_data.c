/* trainer_data.c - accuracy as a metric of a Trainer. */
#include "nn/trainer_data.h"

#include "core/ops.h"

static void accuracy_begin(TrainerMetrics *self)
{
    TrainerAccuracy *a = (TrainerAccuracy *)self;
    a->correct = a->count = 0;
}

static bool accuracy_add(TrainerMetrics *self, Tape *t, Tensor *logits, const TrainerBatch *b)
{
    TrainerAccuracy *a = (TrainerAccuracy *)self;
    const Tensor *answers = lk_argmax(t, logits, -1, false);
    if (!answers) return false;
    if (!lk_same_shape(answers, b->labels) || b->labels->dtype != LK_I64 ||
        !lk_is_contiguous(b->labels))
        return lk_fail(
                   t, LK_ESHAPE,
                   "lk_trainer_accuracy: the labels are not one int64 for each row of logits") !=
               NULL;
    const int64_t *answer = answers->data, *label = b->labels->data;
    for (int64_t i = 0; i < lk_numel(answers); i++) {
        if (label[i] < 0) continue;
        a->correct += answer[i] == label[i];
        a->count++;
    }
    return true;
}

static void accuracy_end(TrainerMetrics *self, TrainerLog *log)
{
    const TrainerAccuracy *a = (TrainerAccuracy *)self;
    lk_trainer_log_add(log, "accuracy", (double)a->correct / (double)a->count);
}

TrainerAccuracy lk_trainer_accuracy(void)
{
    return (TrainerAccuracy){ .base = { accuracy_begin, accuracy_add, accuracy_end } };
}
