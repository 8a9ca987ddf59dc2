/* ema.c - exponential moving averages of parameters. */
#include "optim/ema.h"

#include <string.h>

#include "core/memory.h"
#include "optim/params.h"

#define LK_REAL_SOURCE "optim/ema_real.h"
#include "core/real.h"

enum { PIECE = 1 << 14, WORTH_THREADS = 1 << 16 }; /* elements */

static bool check_decay(const char *caller, double decay, Error *err)
{
    return (decay >= 0.0 && decay <= 1.0) || /* NaN fails too */
           lk_error_set(err, LK_EVALUE, "%s: the decay is %g; it must be from 0 to 1", caller,
                        decay);
}

Ema *lk_ema_new(TensorList params, double decay, Error *err)
{
    const char *caller = "lk_ema_new";
    Ema *ema = NULL;
    bool ok = params.count > 0 || lk_error_set(err, LK_EVALUE, "%s: the list is empty", caller);
    ok = ok && check_decay(caller, decay, err) && lk__check_params(caller, &params, err);
    if (ok) ema = lk_mem_calloc(1, sizeof *ema);
    if (!ema) {
        if (ok) lk_error_set(err, LK_EMEMORY, "%s: no memory", caller);
        lk_tensor_list_free(&params);
        return NULL;
    }
    ema->decay = decay;
    ema->params = params;
    ema->averages.items = lk_mem_calloc((size_t)params.count, sizeof *ema->averages.items);
    ok = ema->averages.items ||
         lk_error_set(err, LK_EMEMORY, "%s: no memory for %d averages", caller, params.count);
    for (int i = 0; ok && i < params.count; i++) {
        ema->averages.items[i] = lk_clone(params.items[i], err);
        ok = ema->averages.items[i];
        ema->averages.count += ok;
    }
    if (ok) return ema;
    lk_ema_free(ema);
    return NULL;
}

void lk_ema_free(Ema *ema)
{
    if (!ema) return;
    lk_tensor_list_free(&ema->params);
    lk_tensor_list_free(&ema->averages);
    lk_mem_free(ema);
}

static bool check_dtypes(const char *caller, const Ema *ema, Error *err)
{
    for (int i = 0; i < ema->params.count; i++) {
        const Tensor *p = ema->params.items[i], *average = ema->averages.items[i];
        if (p->dtype != average->dtype)
            return lk_error_set(err, LK_ESTATE,
                                "%s: parameter %d was %s and is %s now; make a new Ema", caller, i,
                                lk_dtype_name(average->dtype), lk_dtype_name(p->dtype));
    }
    return true;
}

static void *piece_of(const Tensor *x, int64_t first)
{
    return (char *)x->data + (size_t)first * lk_dtype_size(x->dtype);
}

bool lk_ema_update(Ema *ema, Error *err)
{
    const char *caller = "lk_ema_update";
    if (!ema) return lk_error_set(err, LK_EVALUE, "%s: the Ema is NULL", caller);
    if (ema->swapped)
        return lk_error_set(err, LK_ESTATE,
                            "%s: the parameters hold the averages; call lk_ema_swap before",
                            caller);
    if (!check_decay(caller, ema->decay, err) || !check_dtypes(caller, ema, err)) return false;
    const double decay = ema->updates == 0 ? 0.0 : ema->decay;
    for (int i = 0; i < ema->params.count; i++) {
        const Tensor *p = ema->params.items[i];
        Tensor *average = ema->averages.items[i];
        int64_t n = lk_numel(p);
#pragma omp parallel for schedule(static) if (n > WORTH_THREADS)
        for (int64_t first = 0; first < n; first += PIECE) {
            int64_t count = n - first < PIECE ? n - first : PIECE;
            void *to = piece_of(average, first);
            const void *from = piece_of(p, first);
            /* a copy, because 0 times an infinite average would be NaN */
            if (decay == 0.0) memcpy(to, from, (size_t)count * lk_dtype_size(p->dtype));
            else LK_REAL(p->dtype, average, count, to, from, decay);
        }
        lk_touch(average);
    }
    ema->updates++;
    return true;
}

bool lk_ema_swap(Ema *ema, Error *err)
{
    const char *caller = "lk_ema_swap";
    if (!ema) return lk_error_set(err, LK_EVALUE, "%s: the Ema is NULL", caller);
    if (!check_dtypes(caller, ema, err)) return false;
    for (int i = 0; i < ema->params.count; i++) {
        Tensor *p = ema->params.items[i], *average = ema->averages.items[i];
        int64_t n = lk_numel(p);
#pragma omp parallel for schedule(static) if (n > WORTH_THREADS)
        for (int64_t first = 0; first < n; first += PIECE)
            LK_REAL(p->dtype, exchange, n - first < PIECE ? n - first : PIECE, piece_of(p, first),
                    piece_of(average, first));
        lk_touch(p);
        lk_touch(average);
    }
    ema->swapped = !ema->swapped;
    return true;
}
