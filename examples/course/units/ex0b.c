/* ex0b.c - how long things live: reset, clone, retain, free, errors. The page: ex0b.md. */
#include <math.h>

#include "core/ops.h"
#include "nn/activation.h"
#include "nn/sequential.h"
#include "optim/optimizer.h"

/* ---- reset ---------------------------------------------------------------------------------- */

/* Trains for some steps and returns the loss of the last one; NaN after a failure. The tape never
 * holds more than one step. */
double last_loss(Tape *t, Module *net, Optimizer *opt, Tensor *x, Tensor *y, int steps)
{
    double last = NAN;
    for (int i = 0; i < steps; i++) {
        lk_optimizer_zero_grad(opt);
        Tensor *loss = lk_mse_loss(t, lk_forward(t, net, x), y);
        //> starter
        //        if (!lk_backward(t, loss) || !lk_step(opt, NULL)) return NAN;
        //        /* TODO 1: keep the number, lk_item(loss), in `last`. Then give back the tensors
        //         * of this step. */
        //> solution
        if (!lk_backward(t, loss) || !lk_step(opt, NULL)) return NAN;
        last = lk_item(loss);
        lk_tape_reset(t);
        //> wrong read_after: looks like read after the reset
        //        if (!lk_backward(t, loss) || !lk_step(opt, NULL)) return NAN;
        //        lk_tape_reset(t);
        //        last = lk_item(loss);
        //> wrong reset_early: looks like reset before backward
        //        last = lk_item(loss);
        //        lk_tape_reset(t);
        //        if (!lk_backward(t, loss) || !lk_step(opt, NULL)) return NAN;
        //> wrong no_reset: looks like tape never reset
        //        if (!lk_backward(t, loss) || !lk_step(opt, NULL)) return NAN;
        //        last = lk_item(loss);
        //> wrong reset_once: looks like tape reset only once
        //        if (!lk_backward(t, loss) || !lk_step(opt, NULL)) return NAN;
        //        last = lk_item(loss);
        //        if (i == steps - 1) lk_tape_reset(t);
        //> wrong every_tenth: looks like tape not reset in every step
        //        if (!lk_backward(t, loss) || !lk_step(opt, NULL)) return NAN;
        //        last = lk_item(loss);
        //        if (i % 10 == 9) lk_tape_reset(t);
        //> wrong first_loss: looks like loss of the first step
        //        if (!lk_backward(t, loss) || !lk_step(opt, NULL)) return NAN;
        //        if (i == 0) last = lk_item(loss);
        //        lk_tape_reset(t);
        //> end
    }
    return last;
}

/* ---- clone and free ------------------------------------------------------------------------- */

/* Returns the output with the largest sum among those of `count` inputs, as a tensor of the
 * caller's own: NULL, with the reason in err, after a failure. Resets t after each input. */
Tensor *best_output_new(Tape *t, Module *net, int count, Tensor *const *x, Error *err)
{
    Tensor *best = NULL;
    double largest = -INFINITY;
    for (int i = 0; i < count; i++) {
        Tensor *y = lk_forward(t, net, x[i]);
        double sum = lk_item(lk_sum(t, y, LK_ALL, false));
        if (sum > largest) {
            largest = sum;
            //> starter
            //            /* TODO 2: keep y in `best` beyond the reset, and give back the one
            //             * that was kept before. */
            //> solution
            lk_free(best);
            best = lk_clone(y, err);
            //> wrong on_the_tape: looks like tensor of the tape returned
            //            best = y;
            //> wrong retained: looks like tensor of the tape returned
            //            lk_free(best);
            //            best = lk_retain(y);
            //> wrong old_not_freed: looks like old clone not freed
            //            best = lk_clone(y, err);
            //> wrong new_freed: looks like freed, then returned
            //            best = lk_clone(y, err);
            //            lk_free(best);
            //> wrong clone_late: looks like cloned after the reset
            //            best = y;
            //> wrong two_owners: looks like an owner too many
            //            lk_free(best);
            //            best = lk_retain(lk_clone(y, err));
            //> end
        }
        lk_tape_reset(t);
    }
    if (lk_tape_ok(t, err)) {
        //> starter
        //        return best;
        //> solution
        return best;
        //> wrong clone_late: looks like cloned after the reset
        //        return lk_clone(best, err);
        //> end
    }
    lk_free(best);
    return NULL;
}

/* ---- retain --------------------------------------------------------------------------------- */

/* Makes two nets around one Linear: *plain is Sequential(linear), *bent is Sequential(linear,
 * ReLU). Consumes linear. False, with the reason in err and both NULL, after a failure. */
bool two_nets_new(Module *linear, Module **plain, Module **bent, Error *err)
{
    //> starter
    //    *plain = *bent = NULL; /* TODO 3: lk_sequential_new(LK_MODULES(…), err) makes each */
    //> solution
    *plain = lk_sequential_new(LK_MODULES(lk_retain(linear)), err);
    *bent = lk_sequential_new(LK_MODULES(linear, lk_relu_new(err)), err);
    //> wrong not_retained: looks like an owner too few
    //    *plain = lk_sequential_new(LK_MODULES(linear), err);
    //    *bent = lk_sequential_new(LK_MODULES(linear, lk_relu_new(err)), err);
    //> wrong retained_twice: looks like an owner too many
    //    *plain = lk_sequential_new(LK_MODULES(lk_retain(linear)), err);
    //    *bent = lk_sequential_new(LK_MODULES(lk_retain(linear), lk_relu_new(err)), err);
    //> wrong copied: looks like a copy instead of the same Linear
    //    *plain = lk_sequential_new(LK_MODULES(lk_deepcopy(linear, err)), err);
    //    *bent = lk_sequential_new(LK_MODULES(linear, lk_relu_new(err)), err);
    //> wrong freed_too: looks like an owner too few
    //    *plain = lk_sequential_new(LK_MODULES(lk_retain(linear)), err);
    //    *bent = lk_sequential_new(LK_MODULES(linear, lk_relu_new(err)), err);
    //    lk_free(linear);
    //> wrong nets_exchanged: looks like plain and bent exchanged
    //    *bent = lk_sequential_new(LK_MODULES(lk_retain(linear)), err);
    //    *plain = lk_sequential_new(LK_MODULES(linear, lk_relu_new(err)), err);
    //> wrong relu_first: looks like the ReLU before the Linear
    //    *plain = lk_sequential_new(LK_MODULES(lk_retain(linear)), err);
    //    *bent = lk_sequential_new(LK_MODULES(lk_relu_new(err), linear), err);
    //> wrong nested: looks like wrong structure
    //    *plain = lk_sequential_new(LK_MODULES(linear), err);
    //    *bent = lk_sequential_new(LK_MODULES(lk_retain(*plain), lk_relu_new(err)), err);
    //> wrong retained_late: looks like retained too late
    //    *plain = lk_sequential_new(LK_MODULES(linear), err);
    //    lk_retain(linear);
    //    *bent = lk_sequential_new(LK_MODULES(linear, lk_relu_new(err)), err);
    //> wrong first_tested: looks like leak when a net cannot be made
    //    *bent = NULL;
    //    *plain = lk_sequential_new(LK_MODULES(lk_retain(linear)), err);
    //    if (!*plain) return false;
    //    *bent = lk_sequential_new(LK_MODULES(linear, lk_relu_new(err)), err);
    //> end
    if (*plain && *bent) return true;
    //> wrong freed_on_failure: looks like freed by hand after a failure
    //    lk_free(linear);
    //> end
    lk_free(*plain);
    lk_free(*bent);
    *plain = *bent = NULL;
    return false;
}

/* ---- errors --------------------------------------------------------------------------------- */

/* Returns the root of each element of x, which is float64, as a tensor of the caller's own. An
 * element below 0 is LK_EVALUE: NULL, with the reason in err. Nothing is left behind then. x stays
 * as it is. err may be NULL. */
Tensor *roots_new(const Tensor *x, Error *err)
{
    Tensor *y = lk_clone(x, err);
    if (!y) return NULL;
    double *v = y->data;
    for (int64_t i = 0; i < lk_numel(y); i++) {
        //> starter
        //        if (v[i] < 0) {
        //> solution
        if (v[i] < 0) {
            //> wrong zero_refused: looks like 0 refused
            //        if (v[i] <= 0) {
            //> wrong only_with_err: looks like refused only with an err
            //        if (v[i] < 0 && err) {
            //> end
            //> starter
            //            /* TODO 4: report the function and the value with lk_error_set, and
            //             * leave no y behind. */
            //> solution
            lk_error_set(err, LK_EVALUE, "roots_new: element %lld is %g; it must not be below 0",
                         (long long)i, v[i]);
            lk_free(y);
            return NULL;
            //> wrong left_behind: looks like leak on the way out
            //            lk_error_set(err, LK_EVALUE, "roots_new: an element is %g", v[i]);
            //            return NULL;
            //> wrong no_reason: looks like no reason given
            //            lk_free(y);
            //            return NULL;
            //> wrong goes_on: looks like loop goes on after lk_free
            //            lk_error_set(err, LK_EVALUE, "roots_new: an element is %g", v[i]);
            //            lk_free(y);
            //> wrong half_done: looks like result beside an error
            //            lk_error_set(err, LK_EVALUE, "roots_new: an element is %g", v[i]);
            //            break;
            //> wrong freed_first: looks like freed before the message
            //            lk_free(y);
            //            lk_error_set(err, LK_EVALUE, "roots_new: an element is %g", v[i]);
            //            return NULL;
            //> wrong err_is_null: looks like err may be NULL
            //            err->code = LK_EVALUE;
            //            snprintf(err->message, sizeof err->message, "roots_new: %d", (int)v[i]);
            //            lk_free(y);
            //            return NULL;
            //> wrong freed_twice: looks like freed twice
            //            lk_error_set(err, LK_EVALUE, "roots_new: an element is %g", v[i]);
            //            lk_free(y);
            //            lk_free(y);
            //            return NULL;
            //> end
        }
        v[i] = sqrt(v[i]);
    }
    return y;
}

//> hint
// Ask of every object which owner gives it back. The result of an operation belongs to the tape,
// until the reset. The result of a function with a name in _new is yours, until you give it back
// or hand it to a constructor. A number, such as a loss as a double, has no owner: it is copied.
//> hint
// 1: read, then reset. 2: free the old one, then clone the new one; lk_free takes NULL. 3: two
// owners need two references, and linear comes with one: lk_retain adds the second. 4: write the
// message while y is still there, then free y, then return NULL.
//> hint
// last = lk_item(loss); lk_tape_reset(t);
// lk_free(best); best = lk_clone(y, err);
// *plain = lk_sequential_new(LK_MODULES(lk_retain(linear)), err);
// *bent = lk_sequential_new(LK_MODULES(linear, lk_relu_new(err)), err);
// lk_error_set(err, LK_EVALUE, "roots_new: %g is below 0", v[i]); lk_free(y); return NULL;
//> end
