/* nb3.c - the weak digits, and the dial between the net and its LoRA. The page: nb3.md. */
#include <stdlib.h>

#include "core/ops.h"
#include "data/loader.h"
#include "examples/course/course.h"
#include "examples/course/given/lora_parametrization.h"
#include "nn/module.h"
#include "optim/optimizer.h"

/* ---- which digits are weak ------------------------------------------------------------------ */

/* Counts the images of each label, and the wrong answers among them, in one pass. */
bool count_errors(Tape *t, Module *net, DataLoader *loader, DigitCounts *c, Error *err)
{
    lk_eval(net);
    bool before = lk_tape_set_grad(t, false);
    lk_loader_begin(loader);
    //> starter
    //    /* TODO 1: begin with zeros in *c */
    //    for (Batch b; lk_loader_next(loader, &b);) {
    //        Tensor *answers = lk_argmax(t, lk_forward(t, net, b.x), 1, false);
    //        for (int64_t i = 0; answers && i < lk_numel(answers); i++) {
    //            /* TODO 2: the answer is lk_at(answers, LK_INDEX(i)), the label is in b.y */
    //        }
    //        lk_tape_reset(t);
    //    }
    //> solution
    *c = (DigitCounts){ 0 };
    for (Batch b; lk_loader_next(loader, &b);) {
        Tensor *answers = lk_argmax(t, lk_forward(t, net, b.x), 1, false);
        for (int64_t i = 0; answers && i < lk_numel(answers); i++) {
            int answer = (int)lk_at(answers, LK_INDEX(i)), label = (int)lk_at(b.y, LK_INDEX(i));
            c->total[label]++;
            if (answer != label) c->wrong[label]++;
        }
        lk_tape_reset(t);
    }
    //> wrong at_the_answer: looks like errors counted at the answer
    //    *c = (DigitCounts){ 0 };
    //    for (Batch b; lk_loader_next(loader, &b);) {
    //        Tensor *answers = lk_argmax(t, lk_forward(t, net, b.x), 1, false);
    //        for (int64_t i = 0; answers && i < lk_numel(answers); i++) {
    //            int answer = (int)lk_at(answers, LK_INDEX(i));
    //            int label = (int)lk_at(b.y, LK_INDEX(i));
    //            c->total[label]++;
    //            if (answer != label) c->wrong[answer]++;
    //        }
    //        lk_tape_reset(t);
    //    }
    //> wrong right_counted: looks like right answers counted
    //    *c = (DigitCounts){ 0 };
    //    for (Batch b; lk_loader_next(loader, &b);) {
    //        Tensor *answers = lk_argmax(t, lk_forward(t, net, b.x), 1, false);
    //        for (int64_t i = 0; answers && i < lk_numel(answers); i++) {
    //            int label = (int)lk_at(b.y, LK_INDEX(i));
    //            c->total[label]++;
    //            c->wrong[label] += (int)lk_at(answers, LK_INDEX(i)) == label;
    //        }
    //        lk_tape_reset(t);
    //    }
    //> wrong not_zeroed: looks like counts not set to 0
    //    for (Batch b; lk_loader_next(loader, &b);) {
    //        Tensor *answers = lk_argmax(t, lk_forward(t, net, b.x), 1, false);
    //        for (int64_t i = 0; answers && i < lk_numel(answers); i++) {
    //            int label = (int)lk_at(b.y, LK_INDEX(i));
    //            c->total[label]++;
    //            c->wrong[label] += (int)lk_at(answers, LK_INDEX(i)) != label;
    //        }
    //        lk_tape_reset(t);
    //    }
    //> wrong last_batch: looks like the last batch alone
    //    for (Batch b; lk_loader_next(loader, &b);) {
    //        *c = (DigitCounts){ 0 };
    //        Tensor *answers = lk_argmax(t, lk_forward(t, net, b.x), 1, false);
    //        for (int64_t i = 0; answers && i < lk_numel(answers); i++) {
    //            int label = (int)lk_at(b.y, LK_INDEX(i));
    //            c->total[label]++;
    //            c->wrong[label] += (int)lk_at(answers, LK_INDEX(i)) != label;
    //        }
    //        lk_tape_reset(t);
    //    }
    //> end
    lk_tape_set_grad(t, before);
    return lk_tape_ok(t, err);
}

/* Chooses the digits with most errors, the worst first; of two with equally many the smaller. */
void weakest_digits(const DigitCounts *c, int count, int64_t *weak)
{
    //> starter
    //    bool chosen[10] = { false };
    //    for (int i = 0; i < count; i++) {
    //        int worst = -1;
    //        for (int digit = 0; digit < 10; digit++) {
    //            if (chosen[digit]) continue;
    //            if (worst < 0) worst = digit; /* TODO 3: or if it has more errors */
    //        }
    //        weak[i] = worst;
    //        if (worst >= 0) chosen[worst] = true;
    //    }
    //> solution
    bool chosen[10] = { false };
    for (int i = 0; i < count; i++) {
        int worst = -1;
        for (int digit = 0; digit < 10; digit++) {
            if (chosen[digit]) continue;
            if (worst < 0 || c->wrong[digit] > c->wrong[worst]) worst = digit;
        }
        weak[i] = worst;
        chosen[worst] = true;
    }
    //> wrong fewest: looks like the fewest errors chosen
    //    bool chosen[10] = { false };
    //    for (int i = 0; i < count; i++) {
    //        int worst = -1;
    //        for (int digit = 0; digit < 10; digit++) {
    //            if (chosen[digit]) continue;
    //            if (worst < 0 || c->wrong[digit] < c->wrong[worst]) worst = digit;
    //        }
    //        weak[i] = worst;
    //        chosen[worst] = true;
    //    }
    //> wrong later_digit: looks like of two equal digits the later
    //    bool chosen[10] = { false };
    //    for (int i = 0; i < count; i++) {
    //        int worst = -1;
    //        for (int digit = 0; digit < 10; digit++) {
    //            if (chosen[digit]) continue;
    //            if (worst < 0 || c->wrong[digit] >= c->wrong[worst]) worst = digit;
    //        }
    //        weak[i] = worst;
    //        chosen[worst] = true;
    //    }
    //> wrong rates: looks like rates compared
    //    bool chosen[10] = { false };
    //    double rate[10];
    //    for (int digit = 0; digit < 10; digit++)
    //        rate[digit] = (double)c->wrong[digit] / (double)c->total[digit];
    //    for (int i = 0; i < count; i++) {
    //        int worst = -1;
    //        for (int digit = 0; digit < 10; digit++) {
    //            if (chosen[digit]) continue;
    //            if (worst < 0 || rate[digit] > rate[worst]) worst = digit;
    //        }
    //        weak[i] = worst;
    //        chosen[worst] = true;
    //    }
    //> wrong one_too_many: looks like one digit too many
    //    bool chosen[10] = { false };
    //    for (int i = 0; i <= count; i++) {
    //        int worst = -1;
    //        for (int digit = 0; digit < 10; digit++) {
    //            if (chosen[digit]) continue;
    //            if (worst < 0 || c->wrong[digit] > c->wrong[worst]) worst = digit;
    //        }
    //        weak[i] = worst;
    //        chosen[worst] = true;
    //    }
    //> wrong crash: looks like crash
    //    int64_t *order = NULL;
    //    for (int i = 0; i < count; i++) weak[i] = order[c->wrong[i]];
    //> end
}

/* ---- the training of LoRA alone ------------------------------------------------------------- */

/* One step of the optimizer. */
static bool step(Tape *t, Module *net, Optimizer *opt, const Batch *b, Error *err)
{
    Tensor *loss = lk_cross_entropy(t, lk_forward(t, net, b->x), b->y);
    lk_optimizer_zero_grad(opt);
    bool ok = lk_backward(t, loss) && lk_step(opt, err);
    lk_tape_reset(t);
    return ok;
}

/* Trains the trainable parameters with so many batches of 10 of the weak digits: Adam, 1e-3. */
bool tune_lora(Tape *t, Module *net, const Dataset *all, int count, const int64_t *weak,
               int batches, Rng *rng, Error *err)
{
    lk_train(net, true);
    //> starter
    //    Dataset *chosen = NULL; /* TODO 4: lk_filter_classes_new, of the weak digits */
    //> solution
    Dataset *chosen = lk_filter_classes_new(all, count, weak, err);
    //> wrong all_digits: looks like trained on all digits
    //    const int64_t digits[] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 };
    //    Dataset *chosen = lk_filter_classes_new(all, 10, digits, err);
    //> wrong one_digit: looks like a weak digit left out
    //    Dataset *chosen = lk_filter_classes_new(all, count - 1, weak, err);
    //> end
    DataLoader *loader = chosen ? lk_loader_new(chosen, 10, true, rng, err) : NULL;
    Optimizer *opt = lk_adam_new(lk_trainable_parameters(net, err), 1e-3, err);
    bool ok = loader && opt;
    //> starter
    //    if (ok) lk_loader_begin(loader);
    //    for (Batch b; ok && lk_loader_next(loader, &b);) /* TODO 5: `batches` steps in all */
    //        ok = step(t, net, opt, &b, err);
    //> solution
    for (int done = 0; ok && done < batches;) {
        lk_loader_begin(loader);
        for (Batch b; ok && done < batches && lk_loader_next(loader, &b); done++)
            ok = step(t, net, opt, &b, err);
    }
    //> wrong one_pass: looks like one pass over the data
    //    if (ok) lk_loader_begin(loader);
    //    for (Batch b; ok && lk_loader_next(loader, &b);) ok = step(t, net, opt, &b, err);
    //> wrong a_batch_more: looks like wrong number of batches
    //    for (int done = 0; ok && done <= batches;) {
    //        lk_loader_begin(loader);
    //        for (Batch b; ok && done <= batches && lk_loader_next(loader, &b); done++)
    //            ok = step(t, net, opt, &b, err);
    //    }
    //> wrong unfrozen: looks like frozen weight moved
    //    for (ParamIter it = lk_params(net); lk_params_next(&it);)
    //        lk_set_requires_grad(it.tensor, true);
    //    lk_optimizer_free(opt);
    //    opt = lk_adam_new(lk_parameters(net, err), 1e-3, err);
    //    for (int done = 0; ok && done < batches;) {
    //        lk_loader_begin(loader);
    //        for (Batch b; ok && done < batches && lk_loader_next(loader, &b); done++)
    //            ok = step(t, net, opt, &b, err);
    //    }
    //> end
    lk_optimizer_free(opt);
    lk_loader_free(loader);
    lk_dataset_free(chosen);
    return lk_tape_ok(t, err) && ok;
}

/* ---- the dial ------------------------------------------------------------------------------- */

/* The LoRA of a module's weight; NULL: none */
static LoRAParametrization *lora_of(Module *m)
{
    ParametrizationList *list = lk_parametrizations(m, "weight");
    return list ? (LoRAParametrization *)list->chain.items[0] : NULL;
}

/* Sets the scale of every LoRA to dial · alpha / rank. */
void turn_dial(Module *net, double dial)
{
    for (ModuleIter it = lk_modules(net); lk_modules_next(&it);) {
        LoRAParametrization *l = lora_of(it.module);
        if (!l) continue;
        //> starter
        //        l->scale = l->alpha; /* TODO 6: dial · alpha / rank; lora_A is (rank, …) */
        //> solution
        l->scale = dial * l->alpha / (double)lk_size(l->lora_A, 0);
        //> wrong multiplied: looks like the dial multiplied at each turn
        //        l->scale *= dial;
        //> wrong no_scale: looks like alpha / rank forgotten
        //        l->scale = dial;
        //> wrong not_divided: looks like alpha not divided by the rank
        //        l->scale = dial * l->alpha;
        //> wrong squared: looks like the dial on A and on B
        //        l->scale = l->alpha / (double)lk_size(l->lora_A, 0) * dial * dial;
        //> wrong first_layer: looks like a layer not turned
        //        l->scale = dial * l->alpha / (double)lk_size(l->lora_A, 0);
        //        return;
        //> wrong switched: looks like a switch instead of a dial
        //        l->enabled = dial > 0.0;
        //> end
    }
}

/* Reads the accuracy on the weak digits and on the rest, at dials from 0 to 1. */
bool read_dial(Tape *t, Module *net, DataLoader *test, int count, const int64_t *weak, int points,
               DialPoint *curve, Error *err)
{
    for (int i = 0; i < points; i++) {
        DigitCounts c;
        double dial = i / (points - 1.0);
        turn_dial(net, dial);
        if (!count_errors(t, net, test, &c, err)) return false;
        /* [0]: all digits, [1]: the weak ones */
        int64_t wrong[2] = { 0, 0 }, total[2] = { 0, 0 };
        for (int digit = 0; digit < 10; digit++) wrong[0] += c.wrong[digit];
        for (int digit = 0; digit < 10; digit++) total[0] += c.total[digit];
        for (int k = 0; k < count; k++) wrong[1] += c.wrong[weak[k]];
        for (int k = 0; k < count; k++) total[1] += c.total[weak[k]];
        //> starter
        //        (void)total; /* TODO 7: .weak and .rest, accuracies from 0 to 1 */
        //        curve[i] = (DialPoint){ .dial = dial };
        //> solution
        double rest = (double)(wrong[0] - wrong[1]) / (double)(total[0] - total[1]);
        double part = (double)wrong[1] / (double)total[1];
        curve[i] = (DialPoint){ .dial = dial, .weak = 1.0 - part, .rest = 1.0 - rest };
        //> wrong integers: looks like integer division
        //        double rest = (double)((wrong[0] - wrong[1]) / (total[0] - total[1]));
        //        double part = (double)(wrong[1] / total[1]);
        //        curve[i] = (DialPoint){ .dial = dial, .weak = 1.0 - part, .rest = 1.0 - rest };
        //> wrong all_for_rest: looks like all digits for the rest
        //        double rest = (double)wrong[0] / (double)total[0];
        //        double part = (double)wrong[1] / (double)total[1];
        //        curve[i] = (DialPoint){ .dial = dial, .weak = 1.0 - part, .rest = 1.0 - rest };
        //> wrong exchanged: looks like weak and rest exchanged
        //        double rest = (double)(wrong[0] - wrong[1]) / (double)(total[0] - total[1]);
        //        double part = (double)wrong[1] / (double)total[1];
        //        curve[i] = (DialPoint){ .dial = dial, .weak = 1.0 - rest, .rest = 1.0 - part };
        //> wrong error_rates: looks like error rates for accuracies
        //        double rest = (double)(wrong[0] - wrong[1]) / (double)(total[0] - total[1]);
        //        double part = (double)wrong[1] / (double)total[1];
        //        curve[i] = (DialPoint){ .dial = dial, .weak = part, .rest = rest };
        //> end
    }
    return true;
}

//> hint
// An error belongs to the digit in the image: its label, whatever the net answered. The digits
// with most errors are the weak ones. LoRA learns them alone, and its scale is a dial: 0 is the
// net as it was, 1 is LoRA as it was trained, and the values between trade one for the other.
//> hint
// Wᵈ = W + d · (alpha / rank) · B A. Compute the scale anew from d, alpha and rank each time: a
// scale that is multiplied keeps the turns of before. Accuracy is 1 - wrong / total, with both
// sums over the weak digits, or over all digits less the weak ones.
//> hint
// l->scale = dial * l->alpha / (double)lk_size(l->lora_A, 0);
//> end
