/* ex6.c - freezing, an optimizer for what is left, and the training loop. The page: ex6.md. */
#include "core/ops.h"
#include "data/loader.h"
#include "examples/course/course.h"
#include "nn/linear.h"
#include "optim/optimizer.h"

/* Freezes weight and bias of every Linear in m; returns the number of Linears. */
int freeze_linear_layers(Module *m)
{
    int linears = 0;
    //> starter
    //    /* TODO 1: lk_modules visits m and everything inside. A Linear is a module for which
    //     * lk_as_linear gives a Linear *. Freeze a tensor x by lk_set_requires_grad(x, false). */
    //    (void)m;
    //> solution
    for (ModuleIter it = lk_modules(m); lk_modules_next(&it);) {
        Linear *l = lk_as_linear(it.module);
        if (!l) continue;
        lk_set_requires_grad(l->weight, false);
        if (l->bias) lk_set_requires_grad(l->bias, false);
        linears++;
    }
    //> wrong biases_forgotten: looks like biases not frozen
    //    for (ModuleIter it = lk_modules(m); lk_modules_next(&it);) {
    //        Linear *l = lk_as_linear(it.module);
    //        if (!l) continue;
    //        lk_set_requires_grad(l->weight, false);
    //        linears++;
    //    }
    //> wrong everything: looks like more than the Linears frozen
    //    for (ModuleIter it = lk_modules(m); lk_modules_next(&it);)
    //        if (lk_as_linear(it.module)) linears++;
    //    lk_require_grad(m, "*", false);
    //> wrong biasless_skipped: looks like a Linear without bias skipped
    //    for (ModuleIter it = lk_modules(m); lk_modules_next(&it);) {
    //        Linear *l = lk_as_linear(it.module);
    //        if (!l || !l->bias) continue;
    //        lk_set_requires_grad(l->weight, false);
    //        lk_set_requires_grad(l->bias, false);
    //        linears++;
    //    }
    //> wrong lora_too: looks like A and B frozen too
    //    lk_require_grad(m, "*A", false);
    //    lk_require_grad(m, "*B", false);
    //    for (ModuleIter it = lk_modules(m); lk_modules_next(&it);) {
    //        Linear *l = lk_as_linear(it.module);
    //        if (!l) continue;
    //        lk_set_requires_grad(l->weight, false);
    //        if (l->bias) lk_set_requires_grad(l->bias, false);
    //        linears++;
    //    }
    //> wrong not_counted: looks like Linears not counted
    //    for (ModuleIter it = lk_modules(m); lk_modules_next(&it);) {
    //        Linear *l = lk_as_linear(it.module);
    //        if (!l) continue;
    //        lk_set_requires_grad(l->weight, false);
    //        if (l->bias) lk_set_requires_grad(l->bias, false);
    //    }
    //> wrong only_children: looks like children of children forgotten
    //    for (ChildIter it = lk_children(m); lk_children_next(&it);) {
    //        Linear *l = lk_as_linear(it.module);
    //        if (!l) continue;
    //        lk_set_requires_grad(l->weight, false);
    //        if (l->bias) lk_set_requires_grad(l->bias, false);
    //        linears++;
    //    }
    //> wrong by_name: looks like frozen by name
    //    linears = lk_require_grad(m, "*.linear.weight", false);
    //    lk_require_grad(m, "*.linear.bias", false);
    //> wrong every_weight: looks like other classes frozen too
    //    linears = lk_require_grad(m, "*weight", false);
    //    lk_require_grad(m, "*bias", false);
    //> wrong bias_without_a_look: looks like crash
    //    for (ModuleIter it = lk_modules(m); lk_modules_next(&it);) {
    //        Linear *l = lk_as_linear(it.module);
    //        if (!l) continue;
    //        l->weight->requires_grad = false;
    //        l->bias->requires_grad = false;
    //        linears++;
    //    }
    //> wrong of_the_library: looks like the library's own function
    //    linears = lk_freeze_linears(m);
    //> wrong counted_twice: looks like tensors counted for Linears
    //    for (ModuleIter it = lk_modules(m); lk_modules_next(&it);) {
    //        Linear *l = lk_as_linear(it.module);
    //        if (!l) continue;
    //        linears += lk_set_requires_grad(l->weight, false);
    //        if (l->bias) linears += lk_set_requires_grad(l->bias, false);
    //    }
    //> end
    return linears;
}

/* Puts LoRA into the mlp, freezes its Linears, and makes an Adam for the rest. */
Optimizer *lora_optimizer_new(Module *mlp, int64_t rank, double alpha, double lr, Rng *rng,
                              Error *err)
{
    //> starter
    //    /* TODO 2: mlp_add_lora, freeze_linear_layers, lk_adam_new: in this order. The list is
    //     * lk_trainable_parameters(mlp, err). */
    //    return NULL;
    //> solution
    if (!mlp_add_lora(mlp, rank, alpha, rng, err)) return NULL;
    freeze_linear_layers(mlp);
    return lk_adam_new(lk_trainable_parameters(mlp, err), lr, err);
    //> wrong no_lora: looks like mlp_add_lora forgotten
    //    freeze_linear_layers(mlp);
    //    return lk_adam_new(lk_trainable_parameters(mlp, err), lr, err);
    //> wrong everything_trained: looks like mlp_add_lora forgotten
    //    (void)rank;
    //    (void)alpha;
    //    (void)rng;
    //    return lk_adam_new(lk_trainable_parameters(mlp, err), lr, err);
    //> wrong rank_and_alpha: looks like rank and alpha exchanged
    //    if (!mlp_add_lora(mlp, alpha, rank, rng, err)) return NULL;
    //    freeze_linear_layers(mlp);
    //    return lk_adam_new(lk_trainable_parameters(mlp, err), lr, err);
    //> wrong alpha_of_the_notebook: looks like alpha fixed
    //    if (!mlp_add_lora(mlp, rank, 1.0, rng, err)) return NULL;
    //    freeze_linear_layers(mlp);
    //    return lk_adam_new(lk_trainable_parameters(mlp, err), lr, err);
    //> wrong add_ignored: looks like failure of mlp_add_lora ignored
    //    mlp_add_lora(mlp, rank, alpha, rng, err);
    //    freeze_linear_layers(mlp);
    //    return lk_adam_new(lk_trainable_parameters(mlp, err), lr, err);
    //> wrong lora_frozen: looks like A and B frozen
    //    if (!mlp_add_lora(mlp, rank, alpha, rng, err)) return NULL;
    //    lk_require_grad(mlp, "*lora*", false);
    //    return lk_adam_new(lk_trainable_parameters(mlp, err), lr, err);
    //> wrong adamw: looks like AdamW instead of Adam
    //    if (!mlp_add_lora(mlp, rank, alpha, rng, err)) return NULL;
    //    freeze_linear_layers(mlp);
    //    return lk_adamw_new(lk_trainable_parameters(mlp, err), lr, err);
    //> wrong alpha_for_lr: looks like alpha for lr
    //    if (!mlp_add_lora(mlp, rank, alpha, rng, err)) return NULL;
    //    freeze_linear_layers(mlp);
    //    return lk_adam_new(lk_trainable_parameters(mlp, err), alpha, err);
    //> wrong made_before_lora: looks like optimizer made too early
    //    Optimizer *opt = lk_adam_new(lk_parameters(mlp, err), lr, err);
    //    if (mlp_add_lora(mlp, rank, alpha, rng, err) && freeze_linear_layers(mlp)) return opt;
    //    lk_optimizer_free(opt);
    //    return NULL;
    //> wrong made_before_freezing: looks like frozen parameters in the optimizer
    //    if (!mlp_add_lora(mlp, rank, alpha, rng, err)) return NULL;
    //    Optimizer *opt = lk_adam_new(lk_trainable_parameters(mlp, err), lr, err);
    //    freeze_linear_layers(mlp);
    //    return opt;
    //> wrong not_frozen: looks like freezing forgotten
    //    if (!mlp_add_lora(mlp, rank, alpha, rng, err)) return NULL;
    //    return lk_adam_new(lk_parameters(mlp, err), lr, err);
    //> wrong sgd: looks like SGD instead of Adam
    //    if (!mlp_add_lora(mlp, rank, alpha, rng, err)) return NULL;
    //    freeze_linear_layers(mlp);
    //    return lk_sgd_new(lk_trainable_parameters(mlp, err), lr, err);
    //> wrong lr_of_the_notebook: looks like learning rate fixed
    //    if (!mlp_add_lora(mlp, rank, alpha, rng, err)) return NULL;
    //    freeze_linear_layers(mlp);
    //    return lk_adam_new(lk_trainable_parameters(mlp, err), 0.01, err);
    //> wrong downhill: looks like learning rate negative
    //    if (!mlp_add_lora(mlp, rank, alpha, rng, err)) return NULL;
    //    freeze_linear_layers(mlp);
    //    return lk_adam_new(lk_trainable_parameters(mlp, err), -lr, err);
    //> end
}

/* Trains for `epochs` passes over the loader. losses[epoch] is the mean of the losses of its
 * batches, each of them before its step. False, with the reason in err, when a step fails. */
bool train_epochs(Tape *t, Module *model, Optimizer *opt, DataLoader *loader, int64_t epochs,
                  double *losses, Error *err)
{
    //> starter
    //    for (int64_t epoch = 0; epoch < epochs; epoch++) {
    //        double sum = 0.0;
    //> solution
    for (int64_t epoch = 0; epoch < epochs; epoch++) {
        double sum = 0.0;
        //> wrong zero_once: looks like gradients not cleared between the batches
        //    lk_optimizer_zero_grad(opt);
        //    for (int64_t epoch = 0; epoch < epochs; epoch++) {
        //        double sum = 0.0;
        //> wrong sum_kept: looks like sum not cleared
        //    double sum = 0.0;
        //    for (int64_t epoch = 0; epoch < epochs; epoch++) {
        //> end
        //> starter
        //        lk_loader_begin(loader);
        //        for (Batch b; lk_loader_next(loader, &b);) {
        //> solution
        lk_loader_begin(loader);
        for (Batch b; lk_loader_next(loader, &b);) {
            //> wrong begun_once: looks like loader begun once
            //    if (!epoch) lk_loader_begin(loader);
            //    for (Batch b; lk_loader_next(loader, &b);) {
            //> wrong never_begun: looks like loader never begun
            //    for (Batch b; lk_loader_next(loader, &b);) {
            //> wrong never_next: looks like time-out
            //    lk_loader_begin(loader);
            //    Batch b;
            //    bool more = lk_loader_next(loader, &b);
            //    while (more) {
            //> wrong first_batch: looks like batch ignored
            //    for (int64_t i = 0; i < lk_loader_len(loader); i++) {
            //        Batch b;
            //        lk_loader_begin(loader);
            //        if (!lk_loader_next(loader, &b)) break;
            //> wrong zero_rarely: looks like zero_grad once in an epoch
            //    lk_loader_begin(loader);
            //    lk_optimizer_zero_grad(opt);
            //    for (Batch b; lk_loader_next(loader, &b);) {
            //> wrong thawed: looks like gradient into frozen weights
            //    lk_require_grad(model, "*", true);
            //    lk_loader_begin(loader);
            //    for (Batch b; lk_loader_next(loader, &b);) {
            //> end
            //> starter
            //            /* TODO 3: clear the gradients; logits of b.x; cross-entropy with b.y;
            //             * backward; step. When backward or step gives false:
            //             * lk_tape_ok(t, err); return false; */
            //            (void)model;
            //            (void)opt;
            //> solution
            lk_optimizer_zero_grad(opt);
            Tensor *logits = lk_forward(t, model, b.x);
            Tensor *loss = lk_cross_entropy(t, logits, b.y);
            //> wrong zero_after_backward: looks like zero_grad after backward
            //    Tensor *logits = lk_forward(t, model, b.x);
            //    Tensor *loss = lk_cross_entropy(t, logits, b.y);
            //> wrong zero_rarely: looks like zero_grad once in an epoch
            //    Tensor *logits = lk_forward(t, model, b.x);
            //    Tensor *loss = lk_cross_entropy(t, logits, b.y);
            //> wrong zero_once: looks like gradients not cleared between the batches
            //    Tensor *logits = lk_forward(t, model, b.x);
            //    Tensor *loss = lk_cross_entropy(t, logits, b.y);
            //> wrong zero_never: looks like gradients not cleared between the batches
            //    Tensor *logits = lk_forward(t, model, b.x);
            //    Tensor *loss = lk_cross_entropy(t, logits, b.y);
            //> wrong detached: looks like loss cut from the graph
            //    lk_optimizer_zero_grad(opt);
            //    Tensor *logits = lk_detach(t, lk_forward(t, model, b.x));
            //    Tensor *loss = lk_cross_entropy(t, logits, b.y);
            //> wrong softmax: looks like softmax before cross-entropy
            //    lk_optimizer_zero_grad(opt);
            //    Tensor *logits = lk_softmax(t, lk_forward(t, model, b.x), 1);
            //    Tensor *loss = lk_cross_entropy(t, logits, b.y);
            //> wrong summed: looks like loss summed over the batch
            //    lk_optimizer_zero_grad(opt);
            //    Tensor *logits = lk_forward(t, model, b.x);
            //    CrossEntropyOptions options = { .reduction = LK_SUM };
            //    Tensor *loss = lk_cross_entropy_with(t, logits, b.y, -100, options);
            //> wrong uphill: looks like sign of the loss
            //    lk_optimizer_zero_grad(opt);
            //    Tensor *logits = lk_forward(t, model, b.x);
            //    Tensor *loss = lk_scale(t, lk_cross_entropy(t, logits, b.y), -1.0);
            //> wrong exchanged: looks like logits and labels exchanged
            //    lk_optimizer_zero_grad(opt);
            //    Tensor *logits = lk_forward(t, model, b.x);
            //    Tensor *loss = lk_cross_entropy(t, b.y, logits);
            //> wrong no_grad: looks like no-grad mode left on
            //    lk_tape_set_grad(t, false);
            //    lk_optimizer_zero_grad(opt);
            //    Tensor *logits = lk_forward(t, model, b.x);
            //    Tensor *loss = lk_cross_entropy(t, logits, b.y);
            //> wrong all_trained: looks like frozen weight moved
            //    lk_require_grad(model, "*", true);
            //    lk_module_zero_grad(model);
            //    Tensor *logits = lk_forward(t, model, b.x);
            //    Tensor *loss = lk_cross_entropy(t, logits, b.y);
            //> wrong old_gradients: looks like step before backward
            //    if (!lk_step(opt, err)) return false;
            //    lk_optimizer_zero_grad(opt);
            //    Tensor *logits = lk_forward(t, model, b.x);
            //    Tensor *loss = lk_cross_entropy(t, logits, b.y);
            //> end
            //> starter
            //> solution
            if (!lk_backward(t, loss) || !lk_step(opt, err)) {
                lk_tape_ok(t, err);
                return false;
            }
            //> wrong zero_after_backward: looks like zero_grad after backward
            //    if (!lk_backward(t, loss)) {
            //        lk_tape_ok(t, err);
            //        return false;
            //    }
            //    lk_optimizer_zero_grad(opt);
            //    if (!lk_step(opt, err)) return false;
            //> wrong no_step: looks like step never called
            //    if (!lk_backward(t, loss)) {
            //        lk_tape_ok(t, err);
            //        return false;
            //    }
            //> wrong no_backward: looks like backward never called
            //    if (!lk_step(opt, err)) return false;
            //> wrong step_first: looks like step before backward
            //    if (!lk_step(opt, err)) return false;
            //    if (!lk_backward(t, loss)) {
            //        lk_tape_ok(t, err);
            //        return false;
            //    }
            //> wrong step_between: looks like step before backward
            //    if (!lk_step(opt, err)) return false;
            //    lk_optimizer_zero_grad(opt);
            //    if (!lk_backward(t, loss)) {
            //        lk_tape_ok(t, err);
            //        return false;
            //    }
            //> wrong old_gradients: looks like step before backward
            //    if (!lk_backward(t, loss)) {
            //        lk_tape_ok(t, err);
            //        return false;
            //    }
            //> wrong two_steps: looks like two steps in a batch
            //    if (!lk_backward(t, loss)) {
            //        lk_tape_ok(t, err);
            //        return false;
            //    }
            //    if (!lk_step(opt, err) || !lk_step(opt, err)) return false;
            //> wrong all_trained: looks like frozen weight moved
            //    if (!lk_backward(t, loss)) {
            //        lk_tape_ok(t, err);
            //        return false;
            //    }
            //    Optimizer *all = lk_adam_new(lk_parameters(model, err), opt->lr, err);
            //    bool ok = lk_step(all, err);
            //    lk_optimizer_free(all);
            //    if (!ok) return false;
            //> wrong failure_ignored: looks like failure not reported
            //    if (lk_backward(t, loss) && !lk_step(opt, err)) return false;
            //> wrong step_ignored: looks like failed step not reported
            //    if (!lk_backward(t, loss)) {
            //        lk_tape_ok(t, err);
            //        return false;
            //    }
            //    bool stepped = lk_step(opt, err);
            //    (void)stepped;
            //> wrong only_out_of_the_loop: looks like failed step not reported
            //    if (!lk_backward(t, loss) || !lk_step(opt, err)) break;
            //> wrong no_reason: looks like reason left on the tape
            //    if (!lk_backward(t, loss) || !lk_step(opt, err)) return false;
            //> end
            //> starter
            //            lk_tape_reset(t); /* last: the tensors of this batch are gone now */
            //> solution
            sum += lk_item(loss);
            lk_tape_reset(t);
            //> wrong never_reset: looks like tape never reset
            //    sum += lk_item(loss);
            //> wrong reset_rarely: looks like tape reset too rarely
            //    sum += lk_item(loss);
            //> wrong never_added: looks like losses never added up
            //    lk_tape_reset(t);
            //> wrong after_the_step: looks like loss after the step
            //    sum += lk_item(lk_cross_entropy(t, lk_forward(t, model, b.x), b.y));
            //    lk_tape_reset(t);
            //> wrong per_sample: looks like mean over the samples
            //    sum += lk_item(loss) * (double)lk_size(b.x, 0);
            //    lk_tape_reset(t);
            //> wrong read_after_reset: looks like loss read after the reset
            //    lk_tape_reset(t);
            //    sum += lk_item(loss);
            //> wrong last_batch: looks like loss of the last batch
            //    sum = lk_item(loss) * (double)lk_loader_len(loader);
            //    lk_tape_reset(t);
            //> end
        }
        //> starter
        //        losses[epoch] = sum; /* TODO 4: add up lk_item(loss) above, and divide here by
        //                              * (double)lk_loader_len(loader) */
        //> solution
        losses[epoch] = sum / (double)lk_loader_len(loader);
        //> wrong reset_rarely: looks like tape reset too rarely
        //    losses[epoch] = sum / (double)lk_loader_len(loader);
        //    lk_tape_reset(t);
        //> wrong per_sample: looks like mean over the samples
        //    losses[epoch] = sum / (double)loader->dataset->count;
        //> wrong by_batch_size: looks like losses divided by the batch size
        //    losses[epoch] = sum / (double)loader->batch_size;
        //> wrong always_the_first: looks like losses[0] for losses[epoch]
        //    losses[0] = sum / (double)lk_loader_len(loader);
        //> wrong one_epoch: looks like one epoch only
        //    losses[epoch] = sum / (double)lk_loader_len(loader);
        //    return lk_tape_ok(t, err);
        //> wrong not_divided: looks like losses not divided
        //    losses[epoch] = sum;
        //> wrong by_samples: looks like losses divided by the samples
        //    losses[epoch] = sum / (double)loader->dataset->count;
        //> end
    }
    //> starter
    //    return lk_tape_ok(t, err);
    //> solution
    return lk_tape_ok(t, err);
    //> wrong failure_ignored: looks like failure not reported
    //    return true;
    //> end
}

//> hint
// A frozen parameter has requires_grad = false: backward computes no gradient for it, and the
// optimizer leaves it alone. The optimizer keeps the list that it is given. So what is to be
// trained must be there, and what is frozen be frozen, before the list is made.
//> hint
// For each batch: gradients to none, forward, cross-entropy, backward, step, read the loss, reset
// the tape. Backward adds to the gradients, so they are cleared before it, and the step reads
// them, so it comes after it. The tape owns the loss, so it is read before the reset.
//> hint
// Tensor *loss = lk_cross_entropy(t, lk_forward(t, model, b.x), b.y);
// if (!lk_backward(t, loss) || !lk_step(opt, err)) {
//     lk_tape_ok(t, err);
//     return false;
// }
//> end
