/* ops_recurrent.c - nn.LSTM's and nn.GRU's layers and cells: their checks and results. The
 * arithmetic: core/recurrent.c. */
#include "core/internal.h"
#include "core/ops.h"
#include "core/recurrent.h"

enum { X, W_IH, W_HH, H0, C0, B_IH, B_HH, INPUTS = LK__RECURRENT_INPUTS };

/* ---- checks --------------------------------------------------------------------------------- */

/* How an operation calls its inputs in messages, and whether x is a single step (B, I). */
typedef struct Call {
    const char *function;
    bool gru, single;
} Call;

/* Whether x, if there is one, has these sizes; `rule` says how they come about. */
static bool fits(Tape *t, const Call *call, const char *name, const Tensor *x, int ndim,
                 int64_t rows_wanted, int64_t columns_wanted, const char *rule)
{
    char is[LK_SHAPE_TEXT], should[LK_SHAPE_TEXT];
    const int64_t shape[] = { rows_wanted, columns_wanted };
    if (!x ||
        (x->ndim == ndim && x->shape[0] == shape[0] && (ndim == 1 || x->shape[1] == shape[1])))
        return true;
    return lk_fail(t, LK_ESHAPE, "%s: %s %s must be %s = %s", call->function, name,
                   lk_shape_text(x, is), rule, lk__sizes_text(ndim, shape, should));
}

static bool check_shapes(Tape *t, const Call *call, Tensor *const in[INPUTS])
{
    char sx[LK_SHAPE_TEXT];
    const Tensor *x = in[X], *w = in[W_HH];
    const int64_t gates = call->gru ? 3 : 4;
    const char *wide = call->gru ? "(3 H, I)" : "(4 H, I)", *bias = call->gru ? "(3 H)" : "(4 H)";
    if (x->ndim != (call->single ? 2 : 3))
        return lk_fail(t, LK_ESHAPE, "%s: x %s must be %s", call->function, lk_shape_text(x, sx),
                       call->single ? "(B, I)" : "(S, B, I)");
    if (!call->single && x->shape[0] == 0)
        return lk_fail(t, LK_ESHAPE, "%s: x %s has no step; it needs at least one", call->function,
                       lk_shape_text(x, sx));
    if (w->ndim != 2 || w->shape[0] != gates * w->shape[1])
        return lk_fail(t, LK_ESHAPE, "%s: weight_hh %s must be (%d H, H)", call->function,
                       lk_shape_text(w, sx), (int)gates);
    const int64_t batch = x->shape[x->ndim - 2], n = w->shape[1];
    return fits(t, call, "weight_ih", in[W_IH], 2, gates * n, x->shape[x->ndim - 1], wide) &&
           fits(t, call, "bias_ih", in[B_IH], 1, gates * n, 0, bias) &&
           fits(t, call, "bias_hh", in[B_HH], 1, gates * n, 0, bias) &&
           fits(t, call, call->single ? "h" : "h0", in[H0], 2, batch, n, "(B, H)") &&
           fits(t, call, call->single ? "c" : "c0", in[C0], 2, batch, n, "(B, H)");
}

static bool check_inputs(Tape *t, const Call *call, Tensor *const in[INPUTS])
{
    static const char *const names[] = { "x",  "weight_ih", "weight_hh", "h0",
                                         "c0", "bias_ih",   "bias_hh" };
    Tensor *given[INPUTS];
    int count = 0;
    for (int i = 0; i < INPUTS; i++)
        if (in[i] || i < H0) given[count++] = in[i];
    if (!lk_check_floating(t, call->function, count, given)) return false;
    for (int i = H0; i < INPUTS; i++)
        if (!lk_check_optional(t, call->function, names[i], in[i])) return false;
    return check_shapes(t, call, in);
}

/* Whether lengths, if there are any, are one for each row of x, from 1 to its steps. */
static bool check_lengths(Tape *t, const Call *call, const Tensor *x, const Tensor *lengths)
{
    if (!lk_check_optional(t, call->function, "lengths", lengths)) return false;
    if (!lengths) return true;
    if (lengths->dtype != LK_I64)
        return lk_fail(t, LK_EDTYPE, "%s: lengths must be int64, not %s; lk_to converts",
                       call->function, lk_dtype_name(lengths->dtype));
    if (!fits(t, call, "lengths", lengths, 1, x->shape[1], 0, "(B)")) return false;
    for (int64_t b = 0; b < x->shape[1]; b++) {
        const int64_t length = ((const int64_t *)lengths->data)[b * lengths->stride[0]];
        if (length < 1 || length > x->shape[0])
            return lk_fail(t, LK_EVALUE,
                           "%s: lengths[%lld] is %lld; it must be from 1 to the %lld steps of x",
                           call->function, (long long)b, (long long)length,
                           (long long)x->shape[0]);
    }
    return true;
}

/* ---- calls ---------------------------------------------------------------------------------- */

/* Returns the recorded result: h of all steps (S, B, H), and behind it c_n of an LSTM. */
static Tensor *run(Tape *t, const Call *call, Tensor *const in[INPUTS], bool reverse,
                   const int64_t *lengths)
{
    const Tensor *x = in[X];
    const Recurrent a = { .dtype = x->dtype,
                          .gru = call->gru,
                          .reverse = reverse,
                          .steps = call->single ? 1 : x->shape[0],
                          .batch = x->shape[x->ndim - 2],
                          .inputs = x->shape[x->ndim - 1],
                          .hidden = in[W_HH]->shape[1],
                          .lengths = lengths };
    const int64_t shape[] = { a.steps + !a.gru, a.batch, a.hidden };
    const bool flat = call->single && a.gru;
    Tensor *y = lk_empty(t, a.dtype, flat ? 2 : 3, flat ? shape + 1 : shape);
    return y ? lk__recurrent(t, a, in, y) : NULL;
}

/* Copies lengths: the caller may write other ones before backward. */
static int64_t *copy_of(Tape *t, const Tensor *lengths)
{
    const int64_t n = lengths->shape[0], *from = lengths->data;
    int64_t *to = lk_tape_alloc(t, (size_t)(n + 1) * sizeof *to);
    for (int64_t i = 0; to && i < n; i++) to[i] = from[i * lengths->stride[0]];
    return to;
}

/* Returns true for the steps (S, B, 1) behind the lengths of the sequences. */
static Tensor *padding_of(Tape *t, const int64_t *lengths, int64_t steps, int64_t batch)
{
    Tensor *mask = lk_empty(t, LK_BOOL, LK_SHAPE(steps, batch, 1));
    for (int64_t i = 0; mask && i < steps * batch; i++)
        ((bool *)mask->data)[i] = i / batch >= lengths[i % batch];
    return mask;
}

/* Hands out a part of the result, if there is one and it is asked for. */
static void give(Tape *t, Tensor *y, int64_t row, Tensor **to)
{
    if (to) *to = y ? lk_select(t, y, 0, row) : NULL;
}

/* A whole sequence: its output (S, B, H), and the states that are asked for. The last states are
 * those of the last step computed, since a state stays behind the length. */
static Tensor *sequence(Tape *t, const Call *call, Tensor *in[INPUTS], SequenceOptions o,
                        Tensor **h_n, Tensor **c_n)
{
    Tensor *y = NULL, *padding = NULL;
    int64_t *lengths = NULL;
    bool ok = check_inputs(t, call, in) && check_lengths(t, call, in[X], o.lengths);
    const int64_t steps = ok ? in[X]->shape[0] : 0;
    if (ok && o.lengths) {
        lengths = copy_of(t, o.lengths);
        if (lengths) padding = padding_of(t, lengths, steps, in[X]->shape[1]);
        in[X] = lk_masked_fill(t, in[X], padding, 0);
        ok = in[X] != NULL;
    }
    if (ok) y = run(t, call, in, o.reverse, lengths);
    give(t, y, o.reverse ? 0 : steps - 1, h_n);
    give(t, y, steps, c_n);
    if (y && !call->gru) y = lk_slice(t, y, 0, 0, steps, 1);
    return y && padding ? lk_masked_fill(t, y, padding, 0) : y;
}

Tensor *lk_lstm(Tape *t, Tensor *x, Tensor *h0, Tensor *c0, Tensor *weight_ih, Tensor *weight_hh,
                Tensor *bias_ih, Tensor *bias_hh, SequenceOptions options, Tensor **h_n,
                Tensor **c_n)
{
    static const Call call = { .function = "lk_lstm" };
    Tensor *in[INPUTS] = { x, weight_ih, weight_hh, h0, c0, bias_ih, bias_hh };
    return sequence(t, &call, in, options, h_n, c_n);
}

Tensor *lk_lstm_cell(Tape *t, Tensor *x, Tensor *h, Tensor *c, Tensor *weight_ih,
                     Tensor *weight_hh, Tensor *bias_ih, Tensor *bias_hh, Tensor **c_next)
{
    static const Call call = { .function = "lk_lstm_cell", .single = true };
    Tensor *in[INPUTS] = { x, weight_ih, weight_hh, h, c, bias_ih, bias_hh };
    Tensor *y = check_inputs(t, &call, in) ? run(t, &call, in, false, NULL) : NULL;
    give(t, y, 1, c_next);
    return y ? lk_select(t, y, 0, 0) : NULL;
}

Tensor *lk_gru(Tape *t, Tensor *x, Tensor *h0, Tensor *weight_ih, Tensor *weight_hh,
               Tensor *bias_ih, Tensor *bias_hh, SequenceOptions options, Tensor **h_n)
{
    static const Call call = { .function = "lk_gru", .gru = true };
    Tensor *in[INPUTS] = { x, weight_ih, weight_hh, h0, NULL, bias_ih, bias_hh };
    return sequence(t, &call, in, options, h_n, NULL);
}

Tensor *lk_gru_cell(Tape *t, Tensor *x, Tensor *h, Tensor *weight_ih, Tensor *weight_hh,
                    Tensor *bias_ih, Tensor *bias_hh)
{
    static const Call call = { .function = "lk_gru_cell", .gru = true, .single = true };
    Tensor *in[INPUTS] = { x, weight_ih, weight_hh, h, NULL, bias_ih, bias_hh };
    return check_inputs(t, &call, in) ? run(t, &call, in, false, NULL) : NULL;
}
