/* core_alone.c - a user of the engine: the headers one by one, no data library. d(w²)/dw at 3 is
 * 6. */
#include <stdio.h>

#include "core/ops.h"
#include "nn/linear.h"

int main(void)
{
    Error err = { 0 };
    Tape *t = lk_tape_new(&err);
    Tensor *w = lk_param_new(LK_F64, LK_SCALAR, &err);
    bool ok =
        t && w && lk_fill_(w, 3) && lk_backward(t, lk_mul(t, w, w)) && lk_item(lk_grad(w)) == 6;
    if (!ok)
        fprintf(stderr, "core_alone: %s\n",
                t && lk_tape_error(t)->code ? lk_tape_error(t)->message : err.message);
    lk_free(w);
    lk_tape_free(t);
    return ok ? 0 : 1;
}
