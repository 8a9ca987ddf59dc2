/* parametrize.h - torch.nn.utils.parametrize: a parameter that is computed from another one each
 * time it is read.
 *
 * Any parameter of any module can carry a chain of parametrizations: modules that map a tensor to
 * a tensor of the same shape and dtype. The parameter itself moves to
 * `parametrizations.<name>.original`; reading it with lk_param runs the chain, and gradients flow
 * to the chain's parameters, and to the original if it wants them.
 *
 *     lk_register_parametrization(linear, "weight", lk_symmetric_new(&err), &err);
 *     Tensor *w = lk_param_named(t, linear, "weight");         -- linear.weight, symmetric now
 *     Tensor *original = lk_original(linear, "weight"); -- linear.parametrizations.weight.original
 *
 * A module takes part by reading its parameters with lk_param (nn/module.h); all of Lorikeet's
 * do.
 *
 * Many threads may call one model at the same time, LoRA and parametrizations included, if each
 * has its own tape in no-grad mode and none changes the model meanwhile: neither its values, its
 * structure nor its mode (lk_eval it before). All of them get the same bits. */
#ifndef LK_PARAMETRIZE_H
#define LK_PARAMETRIZE_H

#include "nn/module.h"

/* The chain of one parameter: a module, so that names, freezing, counting, copying and printing
 * reach into it. */
typedef struct ParametrizationList {
    Module base;
    const Field *field; /* the parameter of the module that is computed */
    Tensor *original;   /* the parameter itself, with its gradient and requires_grad */
    ModuleArray chain;  /* applied in this order, named "0", "1", … */
    Tensor *merged;     /* lk_merge: the value that is read, computed once; NULL: not merged */
    bool caches;        /* lk_set_cached */
    /* The library's own. no_grad_value: a copy of the value that was last read in no-grad mode.
     * recorded_value: the value that was last read in grad mode; it lies on a tape, and is only
     * used if `caches` is on. The two states are hashes of everything that the values were
     * computed from. */
    Tensor *no_grad_value, *recorded_value;
    uint64_t no_grad_state, recorded_state;
} ParametrizationList;
LK_API_DATA const ModuleType lk_parametrization_list_type;

/* A choice for the first parametrization of a parameter, if it has a right_inverse. */
typedef enum RegisterMode {
    LK_KEEP_VALUE,    /* PyTorch: original = right_inverse(value); the same value is read */
    LK_KEEP_ORIGINAL, /* the original keeps its bits, as LoRA needs it */
} RegisterMode;

/* register_parametrization(m, name, p): appends p, which is consumed, to the chain. Further ones
 * never touch the original. Errors, nothing changed: LK_EVALUE (m has no such parameter),
 * LK_ESHAPE or LK_EDTYPE (p returns another shape or dtype), LK_EMEMORY, and whatever p's forward
 * reports. */
LK_API LK_MUST_CHECK bool lk_register_parametrization(Module *m, const char *name, Module *p,
                                                      Error *err);
LK_API LK_MUST_CHECK bool lk_register_parametrization_as(Module *m, const char *name, Module *p,
                                                         RegisterMode mode, Error *err);

/* is_parametrized(m, name); name NULL: any of m's parameters. */
LK_API bool lk_is_parametrized(const Module *m, const char *name);
/* The chain behind m.name, borrowed; NULL when it has none. */
LK_API ParametrizationList *lk_parametrizations(const Module *m, const char *name);
/* m.parametrizations.<name>.original; the parameter itself when it is not parametrized; NULL: no
 * such parameter. */
LK_API Tensor *lk_original(const Module *m, const char *name);

/* m.<name>: the value that forward reads. NULL, the reason on the tape, for a wrong name. */
LK_API Tensor *lk_param_named(Tape *t, Module *m, const char *name);

/* m.<name> = value, under no_grad: the right_inverse functions run in reverse order and original
 * gets the result. Without parametrizations the value is copied. Errors, nothing changed:
 * LK_ESTATE (a parametrization has no right_inverse), LK_ESHAPE, LK_EDTYPE. */
LK_API LK_MUST_CHECK bool lk_assign(Module *m, const char *name, Tensor *value, Error *err);

/* remove_parametrizations(m, name, leave_parametrized): the original goes back into its slot, with
 * the value that was read last (leave) or with its own bits. It stays the same tensor and keeps
 * requires_grad; bfloat16 and qint8 round the value. LK_EVALUE: m.name is not parametrized, or the
 * value is infinite or NaN and the original qint8. */
LK_API LK_MUST_CHECK bool lk_remove_parametrizations(Module *m, const char *name,
                                                     bool leave_parametrized, Error *err);
/* Removes parametrization i from the chain. When the chain is empty, the original goes back into
 * its slot. LK_EVALUE: there is none at i; LK_ESTATE: the parameter is merged. */
LK_API LK_MUST_CHECK bool lk_remove_parametrization_at(Module *m, const char *name, int i,
                                                       Error *err);

/* Computes each parametrized parameter of m and its children once. Until lk_unmerge, forward reads
 * that tensor, at no cost. The originals and the state dict keep their bits. Neither the originals
 * nor the chains are trained meanwhile. Beside an original in bfloat16 or qint8 the value is
 * float32. A second lk_merge computes the values again. False, and nothing is merged: m is NULL
 * (LK_EVALUE), or a chain fails. */
LK_API LK_MUST_CHECK bool lk_merge(Module *m, Error *err);
LK_API void lk_unmerge(Module *m);

/* with parametrize.cached(): while it is on for m, a parametrized parameter of m or its children
 * is computed once and read again as the same tensor. Unlike in PyTorch this value is never out of
 * date. It is computed again after a change of a value or setting that it depends on, of the grad
 * mode, or of the tape's contents. In no-grad mode values are always kept like this: they belong
 * to the module and are valid until the parameter is read again. A parametrization must compute
 * from its struct and its tensors alone; one that draws random numbers is not for no-grad mode. */
LK_API void lk_set_cached(Module *m, bool on);

#endif
