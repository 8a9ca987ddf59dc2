/* dropout.c - torch.nn.Dropout. The choice of elements: core/kernels/dropout.h. */
#include "nn/dropout.h"

#include "core/ops.h"

static Tensor *dropout_forward(Tape *t, Module *self, Tensor *x)
{
    return self->training ? lk_dropout(t, x, ((Dropout *)self)->p) : x;
}

const ModuleType lk_dropout_type = {
    LK_CLASS(Dropout),
    .forward = dropout_forward,
    .fields = LK_FIELDS(LK_DOUBLE(Dropout, p)),
    .repr = "p={p}, inplace=False",
};
LK_DOWNCAST(Dropout, lk_dropout_type, lk_as_dropout)

Module *lk_dropout_new(double p, Error *err)
{
    bool ok = p >= 0 && p <= 1; /* not NaN either */
    if (!ok)
        lk_error_set(err, LK_EVALUE,
                     "lk_dropout_new: dropout probability has to be between 0 and 1, but got %g",
                     p);
    Dropout *d = ok ? lk_module_new(&lk_dropout_type, err) : NULL;
    if (!d) return NULL;
    d->p = p;
    return &d->base;
}
