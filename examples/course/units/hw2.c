/* hw2.c - fine-tuning, and an adapter in a file. The page: hw2.md. */
#include <math.h>

#include "core/clock.h"
#include "core/ops.h"
#include "data/safetensors.h"
#include "examples/course/course.h"
#include "nn/models/roberta.h"
#include "optim/optimizer.h"

/* The mean cross-entropy of a batch: token ids b->x, b->mask, b->labels. */
Tensor *batch_loss(Tape *t, Module *model, const TrainerBatch *b)
{
    //> starter
    //    return lk_fail(t, LK_ESTATE, "batch_loss: TODO 1: lk_roberta_logits, lk_cross_entropy");
    //> solution
    Tensor *logits = lk_roberta_logits(t, model, b->x, b->mask);
    return lk_cross_entropy(t, logits, b->labels);
    //> wrong mask_ignored: looks like the mask ignored
    //    return lk_cross_entropy(t, lk_forward(t, model, b->x), b->labels);
    //> wrong softmax: looks like softmax before cross-entropy
    //    Tensor *logits = lk_roberta_logits(t, model, b->x, b->mask);
    //    return lk_cross_entropy(t, lk_softmax(t, logits, 1), b->labels);
    //> wrong sum: looks like the sum instead of the mean
    //    Tensor *logits = lk_roberta_logits(t, model, b->x, b->mask);
    //    CrossEntropyOptions options = { .reduction = LK_SUM };
    //    return lk_cross_entropy_with(t, logits, b->labels, -100, options);
    //> end
}

/* The part of the sentences with a label (0 or more) that is classified right, 0 … 1. */
double batch_accuracy(Tape *t, Module *model, const TrainerBatch *b)
{
    //> starter
    //    lk_eval(model);
    //    bool before = lk_tape_set_grad(t, false); /* torch.no_grad() */
    //    Tensor *best = lk_argmax(t, lk_roberta_logits(t, model, b->x, b->mask), 1, false);
    //    lk_tape_set_grad(t, before);
    //    if (!best) return NAN;
    //    const int64_t *guess = best->data, *label = b->labels->data;
    //    (void)guess;
    //    (void)label;
    //    /* TODO 2: of the lk_numel(best) sentences, skip those whose label is below 0. */
    //    return NAN;
    //> solution
    lk_eval(model);
    bool before = lk_tape_set_grad(t, false); /* torch.no_grad() */
    Tensor *best = lk_argmax(t, lk_roberta_logits(t, model, b->x, b->mask), 1, false);
    lk_tape_set_grad(t, before);
    if (!best) return NAN;
    const int64_t *guess = best->data, *label = b->labels->data;
    int64_t right = 0, counted = 0;
    for (int64_t i = 0; i < lk_numel(best); i++) {
        if (label[i] < 0) continue;
        counted++;
        right += guess[i] == label[i];
    }
    return (double)right / (double)counted;
    //> wrong percent: looks like percent
    //    lk_eval(model);
    //    Tensor *best = lk_argmax(t, lk_roberta_logits(t, model, b->x, b->mask), 1, false);
    //    if (!best) return NAN;
    //    const int64_t *guess = best->data, *label = b->labels->data;
    //    int64_t right = 0, counted = 0;
    //    for (int64_t i = 0; i < lk_numel(best); i++) {
    //        counted += label[i] >= 0;
    //        right += guess[i] == label[i];
    //    }
    //    return 100.0 * (double)right / (double)counted;
    //> wrong integer_division: looks like integer division
    //    lk_eval(model);
    //    Tensor *best = lk_argmax(t, lk_roberta_logits(t, model, b->x, b->mask), 1, false);
    //    if (!best) return NAN;
    //    const int64_t *guess = best->data, *label = b->labels->data;
    //    int64_t right = 0, counted = 0;
    //    for (int64_t i = 0; i < lk_numel(best); i++) {
    //        counted += label[i] >= 0;
    //        right += guess[i] == label[i];
    //    }
    //    return (double)(right / counted);
    //> wrong padding_counted: looks like sentences without a label counted
    //    lk_eval(model);
    //    Tensor *best = lk_argmax(t, lk_roberta_logits(t, model, b->x, b->mask), 1, false);
    //    if (!best) return NAN;
    //    return (double)lk_count(lk_eq(t, best, b->labels)) / (double)lk_numel(best);
    //> wrong dropout_on: looks like dropout left on
    //    Tensor *best = lk_argmax(t, lk_roberta_logits(t, model, b->x, b->mask), 1, false);
    //    if (!best) return NAN;
    //    const int64_t *guess = best->data, *label = b->labels->data;
    //    int64_t right = 0, counted = 0;
    //    for (int64_t i = 0; i < lk_numel(best); i++) {
    //        counted += label[i] >= 0;
    //        right += guess[i] == label[i];
    //    }
    //    return (double)right / (double)counted;
    //> end
}

/* how->steps steps of AdamW, each with all of how->train; then eval mode. */
bool fine_tune(Tape *t, Module *model, const Tuning *how, Error *err)
{
    //> starter
    //    Optimizer *opt = lk_adamw_new(lk_trainable_parameters(model, err), how->lr, err);
    //    if (!opt) return false;
    //    bool ok = lk_error_set(err, LK_ESTATE, "fine_tune: TODO 3"); /* begin with true */
    //    /* TODO 3: lk_train, so that dropout is on. In each step: zero_grad; lk_backward of
    //     * batch_loss; lk_step; lk_tape_reset. Stop when one is false. lk_eval at the end. */
    //    lk_optimizer_free(opt);
    //    return ok && lk_tape_ok(t, err);
    //> solution
    Optimizer *opt = lk_adamw_new(lk_trainable_parameters(model, err), how->lr, err);
    if (!opt) return false;
    bool ok = true;
    lk_train(model, true);
    for (int64_t i = 0; ok && i < how->steps; i++) {
        lk_optimizer_zero_grad(opt);
        ok = lk_backward(t, batch_loss(t, model, how->train)) && lk_step(opt, err);
        lk_tape_reset(t);
    }
    lk_eval(model);
    lk_optimizer_free(opt);
    return ok && lk_tape_ok(t, err);
    //> wrong base_moved: looks like frozen weight moved
    //    lk_require_grad(model, "*", true);
    //    Optimizer *opt = lk_adamw_new(lk_parameters(model, err), how->lr, err);
    //    if (!opt) return false;
    //    bool ok = true;
    //    lk_train(model, true);
    //    for (int64_t i = 0; ok && i < how->steps; i++) {
    //        lk_optimizer_zero_grad(opt);
    //        ok = lk_backward(t, batch_loss(t, model, how->train)) && lk_step(opt, err);
    //        lk_tape_reset(t);
    //    }
    //    lk_eval(model);
    //    lk_optimizer_free(opt);
    //    return ok && lk_tape_ok(t, err);
    //> wrong no_zero_grad: looks like zero_grad forgotten
    //    Optimizer *opt = lk_adamw_new(lk_trainable_parameters(model, err), how->lr, err);
    //    if (!opt) return false;
    //    bool ok = true;
    //    lk_train(model, true);
    //    for (int64_t i = 0; ok && i < how->steps; i++) {
    //        ok = lk_backward(t, batch_loss(t, model, how->train)) && lk_step(opt, err);
    //        lk_tape_reset(t);
    //    }
    //    lk_eval(model);
    //    lk_optimizer_free(opt);
    //    return ok && lk_tape_ok(t, err);
    //> wrong zero_late: looks like nothing moves
    //    Optimizer *opt = lk_adamw_new(lk_trainable_parameters(model, err), how->lr, err);
    //    if (!opt) return false;
    //    bool ok = true;
    //    lk_train(model, true);
    //    for (int64_t i = 0; ok && i < how->steps; i++) {
    //        ok = lk_backward(t, batch_loss(t, model, how->train));
    //        lk_optimizer_zero_grad(opt);
    //        ok = ok && lk_step(opt, err);
    //        lk_tape_reset(t);
    //    }
    //    lk_eval(model);
    //    lk_optimizer_free(opt);
    //    return ok && lk_tape_ok(t, err);
    //> wrong one_step: looks like only one step
    //    Optimizer *opt = lk_adamw_new(lk_trainable_parameters(model, err), how->lr, err);
    //    if (!opt) return false;
    //    lk_train(model, true);
    //    bool ok = lk_backward(t, batch_loss(t, model, how->train)) && lk_step(opt, err);
    //    lk_tape_reset(t);
    //    lk_eval(model);
    //    lk_optimizer_free(opt);
    //    return ok && lk_tape_ok(t, err);
    //> wrong adam: looks like Adam instead of AdamW
    //    Optimizer *opt = lk_adam_new(lk_trainable_parameters(model, err), how->lr, err);
    //    if (!opt) return false;
    //    bool ok = true;
    //    lk_train(model, true);
    //    for (int64_t i = 0; ok && i < how->steps; i++) {
    //        lk_optimizer_zero_grad(opt);
    //        ok = lk_backward(t, batch_loss(t, model, how->train)) && lk_step(opt, err);
    //        lk_tape_reset(t);
    //    }
    //    lk_eval(model);
    //    lk_optimizer_free(opt);
    //    return ok && lk_tape_ok(t, err);
    //> wrong no_dropout: looks like trained in eval mode
    //    Optimizer *opt = lk_adamw_new(lk_trainable_parameters(model, err), how->lr, err);
    //    if (!opt) return false;
    //    bool ok = true;
    //    for (int64_t i = 0; ok && i < how->steps; i++) {
    //        lk_optimizer_zero_grad(opt);
    //        ok = lk_backward(t, batch_loss(t, model, how->train)) && lk_step(opt, err);
    //        lk_tape_reset(t);
    //    }
    //    lk_optimizer_free(opt);
    //    return ok && lk_tape_ok(t, err);
    //> wrong left_in_train: looks like dropout left on
    //    Optimizer *opt = lk_adamw_new(lk_trainable_parameters(model, err), how->lr, err);
    //    if (!opt) return false;
    //    bool ok = true;
    //    lk_train(model, true);
    //    for (int64_t i = 0; ok && i < how->steps; i++) {
    //        lk_optimizer_zero_grad(opt);
    //        ok = lk_backward(t, batch_loss(t, model, how->train)) && lk_step(opt, err);
    //        lk_tape_reset(t);
    //    }
    //    lk_optimizer_free(opt);
    //    return ok && lk_tape_ok(t, err);
    //> end
}

/* The trainable parameters by name. */
StateDict *adapter_state_new(Module *model, Error *err)
{
    StateDict *state = lk_state_dict_empty_new(err);
    bool ok = state != NULL;
    //> starter
    //    /* TODO 4: walk over lk_params(model). Add each tensor with requires_grad by
    //     * lk_state_dict_add(state, it.name, lk_retain(it.tensor), err), while ok. */
    //> solution
    for (ParamIter it = lk_params(model); ok && lk_params_next(&it);)
        if (it.tensor->requires_grad)
            ok = lk_state_dict_add(state, it.name, lk_retain(it.tensor), err);
    //> wrong everything: looks like the frozen base saved too
    //    for (ParamIter it = lk_params(model); ok && lk_params_next(&it);)
    //        ok = lk_state_dict_add(state, it.name, lk_retain(it.tensor), err);
    //> wrong lora_only: looks like the classifier forgotten
    //    for (ParamIter it = lk_params(model); ok && lk_params_next(&it);)
    //        if (lk_name_matches("*.lora.*", it.name))
    //            ok = lk_state_dict_add(state, it.name, lk_retain(it.tensor), err);
    //> end
    if (ok) return state;
    lk_state_dict_free(state);
    return NULL;
}

/* Writes the trainable parameters to a safetensors file. */
bool save_adapter(Module *model, const char *path, Error *err)
{
    //> starter
    //    /* TODO 5: lk_save_safetensors writes a state; NULL for the metadata. Free the state. */
    //    return lk_error_set(err, LK_ESTATE, "save_adapter: TODO 5");
    //> solution
    StateDict *state = adapter_state_new(model, err);
    bool ok = state && lk_save_safetensors(state, NULL, path, err);
    lk_state_dict_free(state);
    return ok;
    //> wrong whole_net: looks like the frozen base saved too
    //    return lk_save_module(model, path, err);
    //> wrong leak: looks like leak
    //    StateDict *state = adapter_state_new(model, err);
    //    return state && lk_save_safetensors(state, NULL, path, err);
    //> end
}

/* Fails, with nothing changed, unless the file holds exactly what is trainable in the model. */
bool load_adapter(Module *model, const char *path, Error *err)
{
    //> starter
    //    StateDict *state = lk_load_safetensors(path, err);
    //    bool ok = state != NULL;
    //    /* TODO 6: every name of the file, state->entries[i].name, must be a parameter of the
    //     * model (lk_param_at gives NULL and sets err if not). Every trainable parameter must
    //     * be in the state (lk_state_dict_get). Then lk_load_state_dict, strict = false. */
    //    lk_state_dict_free(state);
    //    return ok;
    //> solution
    StateDict *state = lk_load_safetensors(path, err);
    bool ok = state != NULL;
    for (int i = 0; ok && i < state->count; i++)
        ok = lk_param_at(model, state->entries[i].name, err) != NULL;
    for (ParamIter it = lk_params(model); ok && lk_params_next(&it);)
        if (it.tensor->requires_grad && !lk_state_dict_get(state, it.name))
            ok = lk_error_set(err, LK_EVALUE, "load_adapter: %.200s is not there", it.name);
    ok = ok && lk_load_state_dict(model, state, false, err);
    lk_state_dict_free(state);
    return ok;
    //> wrong strict: looks like strict loading
    //    return lk_load_module(model, path, true, err);
    //> wrong lax: looks like a net without LoRA accepted
    //    return lk_load_module(model, path, false, err);
    //> wrong incomplete: looks like an incomplete file accepted
    //    StateDict *state = lk_load_safetensors(path, err);
    //    bool ok = state != NULL;
    //    for (int i = 0; ok && i < state->count; i++)
    //        ok = lk_param_at(model, state->entries[i].name, err) != NULL;
    //    ok = ok && lk_load_state_dict(model, state, false, err);
    //    lk_state_dict_free(state);
    //    return ok;
    //> end
}

/* Trains, and measures on how->test. */
bool tune_and_measure(Tape *t, Module *model, const Tuning *how, TuningRow *row, Error *err)
{
    //> starter
    //    /* TODO 7: *row gets the members in the table of hw2.md: count_trainable of hw1;
    //     * lk_safetensors_size of the state; lk_seconds before and after fine_tune, by the
    //     * steps; lk_item of batch_loss, and batch_accuracy, of how->test after training. */
    //    return lk_error_set(err, LK_ESTATE, "tune_and_measure: TODO 7");
    //> solution
    int64_t total;
    row->percent = count_trainable(model, &row->trainable, &total);
    StateDict *state = adapter_state_new(model, err);
    row->bytes = state ? lk_safetensors_size(state, NULL, err) : -1;
    lk_state_dict_free(state);
    double start = lk_seconds();
    if (row->bytes < 0 || !fine_tune(t, model, how, err)) return false;
    row->seconds = (lk_seconds() - start) / (double)how->steps;
    row->accuracy = batch_accuracy(t, model, how->test);
    row->loss = lk_item(batch_loss(t, model, how->test));
    lk_tape_reset(t);
    return lk_tape_ok(t, err);
    //> wrong loss_before: looks like measured before training
    //    int64_t total;
    //    row->percent = count_trainable(model, &row->trainable, &total);
    //    StateDict *state = adapter_state_new(model, err);
    //    row->bytes = state ? lk_safetensors_size(state, NULL, err) : -1;
    //    lk_state_dict_free(state);
    //    row->accuracy = batch_accuracy(t, model, how->test);
    //    row->loss = lk_item(batch_loss(t, model, how->test));
    //    lk_tape_reset(t);
    //    return row->bytes >= 0 && fine_tune(t, model, how, err);
    //> wrong train_loss: looks like measured on the training sentences
    //    int64_t total;
    //    row->percent = count_trainable(model, &row->trainable, &total);
    //    StateDict *state = adapter_state_new(model, err);
    //    row->bytes = state ? lk_safetensors_size(state, NULL, err) : -1;
    //    lk_state_dict_free(state);
    //    if (row->bytes < 0 || !fine_tune(t, model, how, err)) return false;
    //    row->accuracy = batch_accuracy(t, model, how->train);
    //    row->loss = lk_item(batch_loss(t, model, how->train));
    //    lk_tape_reset(t);
    //    return lk_tape_ok(t, err);
    //> wrong whole_bytes: looks like the bytes of the whole net
    //    int64_t total;
    //    row->percent = count_trainable(model, &row->trainable, &total);
    //    StateDict *state = lk_state_dict_shared_new(model, err);
    //    row->bytes = state ? lk_safetensors_size(state, NULL, err) : -1;
    //    lk_state_dict_free(state);
    //    if (row->bytes < 0 || !fine_tune(t, model, how, err)) return false;
    //    row->accuracy = batch_accuracy(t, model, how->test);
    //    row->loss = lk_item(batch_loss(t, model, how->test));
    //    lk_tape_reset(t);
    //    return lk_tape_ok(t, err);
    //> end
}

//> hint
// Training touches what requires a gradient, and only that belongs into the file. The base is the
// same before and after, so any program that has the base can load the small file on top of it.
// Check it before you load: a lax load skips what does not fit, and says nothing.
//> hint
// a step: grad = 0; loss = mean cross-entropy(logits(ids, mask), labels); backward; AdamW's step;
// reset the tape. accuracy = right / those with a label, in eval mode.
// file = { name: p for trainable p }; the names of file and of the trainable p must be the same.
//> hint
// ok = lk_backward(t, batch_loss(t, model, how->train)) && lk_step(opt, err);
//> end
