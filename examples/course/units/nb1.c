/* nb1.c - an MLP trained on images of digits, and a copy of it fine-tuned with LoRA. The page:
 * nb1.md. */
#include <math.h>

#include "core/ops.h"
#include "data/loader.h"
#include "examples/course/course.h"
#include "nn/module.h"
#include "optim/optimizer.h"

/* ---- testing -------------------------------------------------------------------------------- */

/* images (n, …, 28, 28) → (n, 784) */
Tensor *flatten_images(Tape *t, Tensor *images)
{
    //> starter
    //    return lk_fail(t, LK_ESTATE, "flatten_images: TODO 1: lk_view, rows of 28 * 28");
    //> solution
    return lk_view(t, images, LK_SHAPE(-1, 28 * 28));
    //> wrong one_row: looks like batch ignored
    //    return lk_view(t, images, LK_SHAPE(1, -1));
    //> wrong exchanged: looks like sizes exchanged
    //    return lk_view(t, images, LK_SHAPE(28 * 28, -1));
    //> end
}

/* The share of right answers in one pass over the loader, in percent. */
double compute_accuracy(Tape *t, Module *model, DataLoader *loader, Error *err)
{
    //> starter
    //    int64_t correct = 0, count = 0;
    //    /* TODO 2: evaluation mode (lk_eval); no gradients until the end (lk_tape_set_grad) */
    //> solution
    int64_t correct = 0, count = 0;
    lk_eval(model);
    bool before = lk_tape_set_grad(t, false);
    //> wrong training_mode: looks like training mode while testing
    //    int64_t correct = 0, count = 0;
    //    bool before = lk_tape_set_grad(t, false);
    //> wrong recorded: looks like gradients recorded while testing
    //    int64_t correct = 0, count = 0;
    //    lk_eval(model);
    //    bool before = lk_tape_grad(t);
    //> wrong mean_of_batches: looks like mean over the batches
    //    double correct = 0.0;
    //    int64_t count = 0;
    //    lk_eval(model);
    //    bool before = lk_tape_set_grad(t, false);
    //> end
    lk_loader_begin(loader);
    for (Batch b; lk_loader_next(loader, &b);) {
        //> starter
        //        Tensor *logits = lk_forward(t, model, flatten_images(t, b.x));
        //        (void)logits; /* TODO 3: lk_argmax over the classes, lk_eq with b.y, lk_count */
        //> solution
        Tensor *logits = lk_forward(t, model, flatten_images(t, b.x));
        Tensor *right = lk_eq(t, lk_argmax(t, logits, 1, false), b.y);
        if (!right) break;
        correct += lk_count(right);
        count += lk_numel(right);
        //> wrong not_flat: looks like images not flattened
        //        Tensor *logits = lk_forward(t, model, b.x);
        //        Tensor *right = lk_eq(t, lk_argmax(t, logits, 1, false), b.y);
        //        if (!right) break;
        //        correct += lk_count(right);
        //        count += lk_numel(right);
        //> wrong argmax_0: looks like argmax over the batch
        //        Tensor *logits = lk_forward(t, model, flatten_images(t, b.x));
        //        Tensor *right = lk_eq(t, lk_argmax(t, logits, 0, false), b.y);
        //        if (!right) break;
        //        correct += lk_count(right);
        //        count += lk_numel(right);
        //> wrong labels_ignored: looks like labels ignored
        //        Tensor *logits = lk_forward(t, model, flatten_images(t, b.x));
        //        Tensor *predicted = lk_argmax(t, logits, 1, false);
        //        correct += lk_count(lk_eq(t, predicted, lk_argmax(t, logits, 1, false)));
        //        count += lk_numel(predicted);
        //> wrong last_batch: looks like the last batch alone
        //        Tensor *logits = lk_forward(t, model, flatten_images(t, b.x));
        //        Tensor *right = lk_eq(t, lk_argmax(t, logits, 1, false), b.y);
        //        correct = lk_count(right);
        //        count = lk_numel(right);
        //> wrong mean_of_batches: looks like mean over the batches
        //        Tensor *logits = lk_forward(t, model, flatten_images(t, b.x));
        //        Tensor *right = lk_eq(t, lk_argmax(t, logits, 1, false), b.y);
        //        correct += (double)lk_count(right) / (double)lk_numel(right);
        //        count++;
        //> wrong by_batches: looks like divided by the number of batches
        //        Tensor *logits = lk_forward(t, model, flatten_images(t, b.x));
        //        Tensor *right = lk_eq(t, lk_argmax(t, logits, 1, false), b.y);
        //        correct += lk_count(right);
        //        count++;
        //> end
        lk_tape_reset(t);
    }
    //> starter
    //    return lk_tape_ok(t, err) ? 100.0 * (double)correct / (double)count : NAN;
    //> solution
    lk_tape_set_grad(t, before);
    return lk_tape_ok(t, err) ? 100.0 * (double)correct / (double)count : NAN;
    //> wrong left_off: looks like gradients left off
    //    return before && lk_tape_ok(t, err) ? 100.0 * (double)correct / (double)count : NAN;
    //> wrong fraction: looks like a fraction, not percent
    //    lk_tape_set_grad(t, before);
    //    return lk_tape_ok(t, err) ? (double)correct / (double)count : NAN;
    //> wrong integers: looks like integer division
    //    lk_tape_set_grad(t, before);
    //    return lk_tape_ok(t, err) ? (double)(correct / count * 100) : NAN;
    //> end
}

/* ---- training ------------------------------------------------------------------------------- */

/* One step with a batch: the loss, its gradients, the step of the optimizer. */
static bool train_batch(Tape *t, Module *model, Optimizer *opt, const Batch *b, Error *err)
{
    //> starter
    //    Tensor *logits = lk_forward(t, model, flatten_images(t, b->x));
    //    (void)logits; /* TODO 4: lk_cross_entropy, zero_grad, lk_backward, lk_step */
    //    lk_tape_reset(t);
    //    return lk_tape_ok(t, err);
    //> solution
    Tensor *logits = lk_forward(t, model, flatten_images(t, b->x));
    Tensor *loss = lk_cross_entropy(t, logits, b->y);
    lk_optimizer_zero_grad(opt);
    bool ok = lk_backward(t, loss) && lk_step(opt, err);
    lk_tape_reset(t);
    return lk_tape_ok(t, err) && ok;
    //> wrong zero_grad_forgotten: looks like zero_grad forgotten
    //    Tensor *logits = lk_forward(t, model, flatten_images(t, b->x));
    //    Tensor *loss = lk_cross_entropy(t, logits, b->y);
    //    bool ok = lk_backward(t, loss) && lk_step(opt, err);
    //    lk_tape_reset(t);
    //    return lk_tape_ok(t, err) && ok;
    //> wrong softmax: looks like softmax before cross-entropy
    //    Tensor *logits = lk_forward(t, model, flatten_images(t, b->x));
    //    Tensor *loss = lk_cross_entropy(t, lk_softmax(t, logits, 1), b->y);
    //    lk_optimizer_zero_grad(opt);
    //    bool ok = lk_backward(t, loss) && lk_step(opt, err);
    //    lk_tape_reset(t);
    //    return lk_tape_ok(t, err) && ok;
    //> wrong reset_early: looks like call failed
    //    Tensor *logits = lk_forward(t, model, flatten_images(t, b->x));
    //    Tensor *loss = lk_cross_entropy(t, logits, b->y);
    //    lk_tape_reset(t);
    //    lk_optimizer_zero_grad(opt);
    //    bool ok = lk_backward(t, loss) && lk_step(opt, err);
    //    return lk_tape_ok(t, err) && ok;
    //> wrong zero_grad_late: looks like zero_grad after backward
    //    Tensor *logits = lk_forward(t, model, flatten_images(t, b->x));
    //    Tensor *loss = lk_cross_entropy(t, logits, b->y);
    //    bool ok = lk_backward(t, loss);
    //    lk_optimizer_zero_grad(opt);
    //    ok = ok && lk_step(opt, err);
    //    lk_tape_reset(t);
    //    return lk_tape_ok(t, err) && ok;
    //> end
}

/* Trains the trainable parameters with Adam. */
bool train_on_images(Tape *t, Module *model, DataLoader *loader, int64_t epochs, double lr,
                     double *accuracy, Error *err)
{
    Optimizer *opt = lk_adam_new(lk_trainable_parameters(model, err), lr, err);
    bool ok = opt;
    for (int64_t epoch = 0; ok && epoch < epochs; epoch++) {
        //> starter
        //        lk_loader_begin(loader);
        //        Batch b; /* TODO 5: training mode; every batch, not one; then the accuracy */
        //        ok = lk_loader_next(loader, &b) && train_batch(t, model, opt, &b, err);
        //        accuracy[epoch] = 0.0;
        //> solution
        lk_train(model, true);
        lk_loader_begin(loader);
        for (Batch b; ok && lk_loader_next(loader, &b);) ok = train_batch(t, model, opt, &b, err);
        accuracy[epoch] = ok ? compute_accuracy(t, model, loader, err) : NAN;
        //> wrong eval_left_on: looks like evaluation mode left on
        //        if (epoch == 0) lk_train(model, true);
        //        lk_loader_begin(loader);
        //        for (Batch b; ok && lk_loader_next(loader, &b);)
        //            ok = train_batch(t, model, opt, &b, err);
        //        accuracy[epoch] = ok ? compute_accuracy(t, model, loader, err) : NAN;
        //> wrong last_batch_dropped: looks like the last batch dropped
        //        lk_train(model, true);
        //        lk_loader_begin(loader);
        //        Batch b;
        //        for (int64_t i = 1; ok && i < lk_loader_len(loader); i++)
        //            ok = lk_loader_next(loader, &b) && train_batch(t, model, opt, &b, err);
        //        accuracy[epoch] = ok ? compute_accuracy(t, model, loader, err) : NAN;
        //> wrong measured_before: looks like accuracy before the epoch
        //        accuracy[epoch] = compute_accuracy(t, model, loader, err);
        //        lk_train(model, true);
        //        lk_loader_begin(loader);
        //        for (Batch b; ok && lk_loader_next(loader, &b);)
        //            ok = train_batch(t, model, opt, &b, err);
        //> end
    }
    lk_optimizer_free(opt);
    return lk_tape_ok(t, err) && ok;
}

/* ---- LoRA ----------------------------------------------------------------------------------- */

/* A copy of the mlp with LoRA (mlp_add_lora), whose Linears are frozen (freeze_linear_layers). */
Module *lora_copy_new(const Module *mlp, int64_t rank, double alpha, Rng *rng, Error *err)
{
    //> starter
    //    lk_error_set(err, LK_ESTATE, "lora_copy_new: TODO 6: lk_deepcopy, LoRA, freezing");
    //    return NULL;
    //> solution
    Module *copy = lk_deepcopy(mlp, err);
    bool ok = copy && mlp_add_lora(copy, rank, alpha, rng, err);
    if (ok) freeze_linear_layers(copy);
    return lk_module_complete(copy, ok);
    //> wrong shared: looks like the original itself
    //    Module *copy = lk_retain((Module *)mlp);
    //    bool ok = copy && mlp_add_lora(copy, rank, alpha, rng, err);
    //    if (ok) freeze_linear_layers(copy);
    //    return lk_module_complete(copy, ok);
    //> wrong on_the_original: looks like LoRA on the original
    //    Module *copy = lk_deepcopy(mlp, err);
    //    bool ok = copy && mlp_add_lora((Module *)mlp, rank, alpha, rng, err);
    //    if (ok) freeze_linear_layers(copy);
    //    return lk_module_complete(copy, ok);
    //> wrong not_frozen: looks like nothing frozen
    //    Module *copy = lk_deepcopy(mlp, err);
    //    bool ok = copy && mlp_add_lora(copy, rank, alpha, rng, err);
    //    return lk_module_complete(copy, ok);
    //> wrong leak: looks like leak
    //    Module *copy = lk_deepcopy(mlp, err), *second = lk_deepcopy(copy, err);
    //    bool ok = copy && second && mlp_add_lora(copy, rank, alpha, rng, err);
    //    if (ok) freeze_linear_layers(copy);
    //    return lk_module_complete(copy, ok);
    //> wrong crash: looks like crash
    //    Module *copy = NULL;
    //    copy->training = lk_deepcopy(mlp, err) != NULL;
    //    return copy;
    //> end
}

/* Trains r->mlp, tests it, makes the copy with LoRA, tests that, fine-tunes and tests it, and
 * tests r->mlp again. */
bool mnist_pipeline(Tape *t, MnistRun *r, Rng *rng, Error *err)
{
    double accuracy[100];
    if (r->epochs > 100) return lk_error_set(err, LK_EVALUE, "at most 100 epochs");
    //> starter
    //    bool ok = train_on_images(t, r->mlp, r->train, r->epochs, r->lr, accuracy, err);
    //    r->base = compute_accuracy(t, r->mlp, r->test, err);
    //    /* TODO 7: r->wrapped, r->tuned, r->after; free the copy */
    //> solution
    bool ok = train_on_images(t, r->mlp, r->train, r->epochs, r->lr, accuracy, err);
    r->base = compute_accuracy(t, r->mlp, r->test, err);
    Module *copy = lora_copy_new(r->mlp, r->rank, r->alpha, rng, err);
    r->wrapped = compute_accuracy(t, copy, r->test, err);
    ok = ok && train_on_images(t, copy, r->train, r->epochs, r->lr, accuracy, err);
    r->tuned = compute_accuracy(t, copy, r->test, err);
    r->after = compute_accuracy(t, r->mlp, r->test, err);
    lk_free(copy);
    //> wrong copied_early: looks like copied before the training
    //    Module *copy = lora_copy_new(r->mlp, r->rank, r->alpha, rng, err);
    //    bool ok = train_on_images(t, r->mlp, r->train, r->epochs, r->lr, accuracy, err);
    //    r->base = compute_accuracy(t, r->mlp, r->test, err);
    //    r->wrapped = compute_accuracy(t, copy, r->test, err);
    //    ok = ok && train_on_images(t, copy, r->train, r->epochs, r->lr, accuracy, err);
    //    r->tuned = compute_accuracy(t, copy, r->test, err);
    //    r->after = compute_accuracy(t, r->mlp, r->test, err);
    //    lk_free(copy);
    //> wrong on_the_training_set: looks like tested on the training set
    //    bool ok = train_on_images(t, r->mlp, r->train, r->epochs, r->lr, accuracy, err);
    //    r->base = compute_accuracy(t, r->mlp, r->train, err);
    //    Module *copy = lora_copy_new(r->mlp, r->rank, r->alpha, rng, err);
    //    r->wrapped = compute_accuracy(t, copy, r->train, err);
    //    ok = ok && train_on_images(t, copy, r->train, r->epochs, r->lr, accuracy, err);
    //    r->tuned = compute_accuracy(t, copy, r->train, err);
    //    r->after = compute_accuracy(t, r->mlp, r->train, err);
    //    lk_free(copy);
    //> wrong original_tuned: looks like the original fine-tuned
    //    bool ok = train_on_images(t, r->mlp, r->train, r->epochs, r->lr, accuracy, err);
    //    r->base = compute_accuracy(t, r->mlp, r->test, err);
    //    Module *copy = lora_copy_new(r->mlp, r->rank, r->alpha, rng, err);
    //    r->wrapped = compute_accuracy(t, copy, r->test, err);
    //    ok = ok && train_on_images(t, r->mlp, r->train, r->epochs, r->lr, accuracy, err);
    //    r->tuned = compute_accuracy(t, copy, r->test, err);
    //    r->after = compute_accuracy(t, r->mlp, r->test, err);
    //    lk_free(copy);
    //> end
    return lk_tape_ok(t, err) && ok;
}

//> hint
// A loader gives batches of images, the net wants rows. Testing is a pass without gradients and in
// evaluation mode: count right answers and images, and divide once, at the end. Training is a pass
// in training mode. LoRA goes on a copy, so that the original is there to compare with.
//> hint
// accuracy = 100 · (right answers) / (images), over all batches, the last and smaller one too. The
// answer to an image is the class with the largest logit: lk_argmax(t, logits, 1, false). A step
// is loss, zero_grad, backward, step, and a reset of the tape.
//> hint
// correct += lk_count(lk_eq(t, lk_argmax(t, logits, 1, false), b.y));
//> end
