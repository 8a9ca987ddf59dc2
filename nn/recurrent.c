/* recurrent.c - torch.nn.LSTM and GRU: layers and directions around lk_lstm and lk_gru, and their
 * cells. */
#include "nn/recurrent.h"

#include <math.h>

#include "core/op.h"
#include "core/ops.h"
#include "nn/constructor.h"

enum { W_IH, W_HH, B_IH, B_HH, PARAMS };

/* ---- layers --------------------------------------------------------------------------------- */

/* A call: the states that go in, and those that are asked for. */
typedef struct States {
    Module *self;
    Tensor *lengths, *h0, *c0;
    Tensor **h_n, **c_n;
} States;

static bool is_lstm(const Module *m) { return m->type == &lk_lstm_type; }

static int64_t directions_of(const RNN *r) { return r->bidirectional ? 2 : 1; }

static const char *function_of(const Module *m)
{
    return is_lstm(m) ? "lk_lstm_forward" : "lk_gru_forward";
}

/* Whether x has the sizes of an input, and a step. */
static bool is_input(Tape *t, const RNN *r, const Tensor *x)
{
    char text[LK_SHAPE_TEXT];
    const char *function = function_of(&r->base);
    if (x->ndim != 3 || x->shape[2] != r->input_size)
        return lk_fail(t, LK_ESHAPE, "%s: x %s must be %s, %lld)", function,
                       lk_shape_text(x, text), r->batch_first ? "(B, S" : "(S, B",
                       (long long)r->input_size);
    if (x->shape[r->batch_first] == 0)
        return lk_fail(t, LK_ESHAPE, "%s: x %s has no step; it needs at least one", function,
                       lk_shape_text(x, text));
    return true;
}

/* Whether a state, if there is one, has a row for each layer and direction. */
static bool is_state(Tape *t, const RNN *r, const char *name, const Tensor *x, int64_t batch)
{
    char text[LK_SHAPE_TEXT];
    const int64_t rows = r->num_layers * directions_of(r);
    if (!x || (x->ndim == 3 && x->shape[0] == rows && x->shape[1] == batch &&
               x->shape[2] == r->hidden_size))
        return true;
    return lk_fail(t, LK_ESHAPE,
                   "%s: %s %s must be (%lld, %lld, %lld) = (layers · directions, B, hidden_size)",
                   function_of(&r->base), name, lk_shape_text(x, text), (long long)rows,
                   (long long)batch, (long long)r->hidden_size);
}

/* Runs one direction of a layer. The last states go to *h and *c. */
static Tensor *run_direction(Tape *t, const States *s, int64_t layer, int64_t direction, Tensor *x,
                             Tensor **h, Tensor **c)
{
    RNN *r = (RNN *)s->self;
    const int64_t row = layer * directions_of(r) + direction;
    Tensor *p[PARAMS], *h0 = s->h0 ? lk_select(t, s->h0, 0, row) : NULL,
                       *c0 = s->c0 ? lk_select(t, s->c0, 0, row) : NULL;
    const SequenceOptions o = { .reverse = direction == 1, .lengths = s->lengths };
    for (int i = 0; i < PARAMS; i++) p[i] = lk_param(t, s->self, &r->param[layer][direction][i]);
    if (is_lstm(s->self))
        return lk_lstm(t, x, h0, c0, p[W_IH], p[W_HH], p[B_IH], p[B_HH], o, h, c);
    return lk_gru(t, x, h0, p[W_IH], p[W_HH], p[B_IH], p[B_HH], o, h);
}

/* torch.stack of the last states, if they are asked for. */
static bool stack(Tape *t, int64_t count, Tensor **x, Tensor **to)
{
    if (!to) return true;
    for (int64_t i = 0; i < count; i++) x[i] = lk_unsqueeze(t, x[i], 0);
    *to = lk_cat(t, (int)count, x, 0);
    return *to != NULL;
}

static Tensor *run(Tape *t, const void *state, Tensor *x)
{
    const States *s = state;
    const RNN *r = (RNN *)s->self;
    const int64_t directions = directions_of(r);
    Tensor *h[2 * LK_RNN_LAYERS], *c[2 * LK_RNN_LAYERS], *y[2];
    if (!is_input(t, r, x)) return NULL;
    const int64_t batch = x->shape[!r->batch_first];
    if (!is_state(t, r, "h0", s->h0, batch) || !is_state(t, r, "c0", s->c0, batch)) return NULL;
    TapeMark mark = lk_tape_mark(t);
    if (r->batch_first) x = lk_transpose(t, x, 0, 1);
    for (int64_t layer = 0; layer < r->num_layers; layer++) {
        for (int64_t d = 0; d < directions; d++) {
            const int64_t row = layer * directions + d;
            y[d] =
                run_direction(t, s, layer, d, x, s->h_n ? &h[row] : NULL, s->c_n ? &c[row] : NULL);
            if (!y[d]) return NULL;
        }
        x = directions == 2 ? lk_cat(t, 2, y, 2) : y[0];
        if (s->self->training && layer + 1 < r->num_layers) x = lk_dropout(t, x, r->dropout);
    }
    if (r->batch_first) x = lk_transpose(t, x, 0, 1);
    const int64_t rows = r->num_layers * directions;
    if (!stack(t, rows, h, s->h_n) || !stack(t, rows, c, s->c_n)) return NULL;
    return s->h_n || s->c_n ? x : lk_tape_release(t, mark, x);
}

static Tensor *rnn_forward(Tape *t, Module *self, Tensor *x)
{
    return run(t, &(States){ .self = self }, x);
}

/* Calls s.self, which must be of the type. Without a result, the states asked for are NULL. */
static Tensor *call(Tape *t, const char *function, const ModuleType *type, RecomputeFn *fn,
                    States s, Tensor *x)
{
    if (s.h_n) *s.h_n = NULL;
    if (s.c_n) *s.c_n = NULL;
    if (!lk_check_operands(t, function, 1, &x)) return NULL;
    if (!lk_check_optional(t, function, "lengths", s.lengths)) return NULL;
    if (!lk_check_optional(t, function, "h", s.h0) || !lk_check_optional(t, function, "c", s.c0))
        return NULL;
    if (s.self && s.self->type == type) return lk_forward_with(t, s.self, fn, &s, x);
    return lk_fail(t, LK_EVALUE, "%s: the module is not %s but %s", function, type->name,
                   s.self ? s.self->type->name : "NULL");
}

Tensor *lk_lstm_forward(Tape *t, Module *m, Tensor *x, Tensor *lengths, Tensor *h0, Tensor *c0,
                        Tensor **h_n, Tensor **c_n)
{
    return call(t, "lk_lstm_forward", &lk_lstm_type, run, (States){ m, lengths, h0, c0, h_n, c_n },
                x);
}

Tensor *lk_gru_forward(Tape *t, Module *m, Tensor *x, Tensor *lengths, Tensor *h0, Tensor **h_n)
{
    return call(t, "lk_gru_forward", &lk_gru_type, run,
                (States){ m, lengths, h0, NULL, h_n, NULL }, x);
}

/* clang-format off */
#define NAMED(layer, d, i, text) { LK_FIELD_PARAM, text, offsetof(RNN, param[layer][d][i]) }
#define DIRECTION(layer, d, tail) \
    NAMED(layer, d, W_IH, "weight_ih_l" #layer tail), \
    NAMED(layer, d, W_HH, "weight_hh_l" #layer tail), \
    NAMED(layer, d, B_IH, "bias_ih_l" #layer tail), NAMED(layer, d, B_HH, "bias_hh_l" #layer tail)
#define LAYER(layer) DIRECTION(layer, 0, ""), DIRECTION(layer, 1, "_reverse")
static const Field rnn_fields[] = {
    LAYER(0), LAYER(1), LAYER(2), LAYER(3), LAYER(4), LAYER(5), LAYER(6), LAYER(7),
    LK_INT(RNN, input_size), LK_INT(RNN, hidden_size), LK_INT(RNN, num_layers),
    LK_BOOL_FIELD(RNN, bias), LK_BOOL_FIELD(RNN, batch_first), LK_DOUBLE(RNN, dropout),
    LK_BOOL_FIELD(RNN, bidirectional), LK_END
};
_Static_assert(LK_RNN_LAYERS == 8, "a LAYER for each");

#define RNN_TYPE(class) { \
    .name = class, .size = sizeof(RNN), .forward = rnn_forward, .fields = rnn_fields, \
    .lora = LK_LORA_WEIGHTS, \
    .repr = "{input_size}, {hidden_size}[, num_layers={num_layers:1}][, bias={bias:True}]" \
            "[, batch_first={batch_first:False}][, dropout={dropout:0.0}]" \
            "[, bidirectional={bidirectional:False}]" }
/* clang-format on */
const ModuleType lk_lstm_type = RNN_TYPE("LSTM");
const ModuleType lk_gru_type = RNN_TYPE("GRU");
LK_DOWNCAST(RNN, lk_lstm_type, lk_as_lstm)
LK_DOWNCAST(RNN, lk_gru_type, lk_as_gru)

/* Makes the four parameters of a layer and direction, or of a cell. */
static bool make_params(Tensor *p[PARAMS], int64_t gates, int64_t inputs, int64_t n, bool bias,
                        Error *err)
{
    p[W_IH] = lk_param_new(LK_F32, LK_SHAPE(gates * n, inputs), err);
    p[W_HH] = p[W_IH] ? lk_param_new(LK_F32, LK_SHAPE(gates * n, n), err) : NULL;
    for (int i = B_IH; i <= B_HH && bias && p[i - 1]; i++)
        p[i] = lk_param_new(LK_F32, LK_SHAPE(gates * n), err);
    return p[bias ? B_HH : W_HH] != NULL;
}

/* Draws all parameters in their order. They are there by now, so the generator moves only if the
 * module can be made. */
static void draw(Module *m, int64_t n, Rng *rng)
{
    const double bound = 1.0 / sqrt((double)n);
    for (ParamIter it = lk_params(m); lk_params_next(&it);)
        lk_uniform_(it.tensor, -bound, bound, rng);
}

static Module *rnn_new(const ModuleType *type, const char *function, int64_t inputs, int64_t n,
                       RNNOptions o, Rng *rng, Error *err)
{
    const int64_t layers = o.num_layers ? o.num_layers : 1, gates = type == &lk_lstm_type ? 4 : 3;
    const NamedSize sizes[] = { { "input_size", inputs },
                                { "hidden_size", n },
                                { "num_layers", layers } };
    if (!lk__can_draw(function, 3, sizes, rng, err)) return NULL;
    if (layers > LK_RNN_LAYERS || !(o.dropout >= 0 && o.dropout <= 1)) {
        lk_error_set(err, LK_EVALUE,
                     "%s: num_layers %lld and dropout %g; at most %d layers, dropout from 0 to 1",
                     function, (long long)layers, o.dropout, LK_RNN_LAYERS);
        return NULL;
    }
    RNN *r = lk_module_new(type, err);
    if (!r) return NULL;
    r->input_size = inputs;
    r->hidden_size = n;
    r->num_layers = layers;
    r->bias = !o.no_bias;
    r->batch_first = o.batch_first;
    r->dropout = o.dropout;
    r->bidirectional = o.bidirectional;
    const int64_t directions = directions_of(r);
    bool ok = true;
    for (int64_t i = 0; ok && i < layers * directions; i++)
        ok = make_params(r->param[i / directions][i % directions], gates,
                         i < directions ? inputs : n * directions, n, r->bias, err);
    if (ok) draw(&r->base, n, rng);
    return lk_module_complete(&r->base, ok);
}

Module *lk_lstm_new(int64_t input_size, int64_t hidden_size, RNNOptions options, Rng *rng,
                    Error *err)
{
    return rnn_new(&lk_lstm_type, "lk_lstm_new", input_size, hidden_size, options, rng, err);
}

Module *lk_gru_new(int64_t input_size, int64_t hidden_size, RNNOptions options, Rng *rng,
                   Error *err)
{
    return rnn_new(&lk_gru_type, "lk_gru_new", input_size, hidden_size, options, rng, err);
}

/* ---- cells ---------------------------------------------------------------------------------- */

static Tensor *run_cell(Tape *t, const void *state, Tensor *x)
{
    const States *s = state;
    RNNCell *r = (RNNCell *)s->self;
    Tensor *w_ih = lk_param(t, s->self, &r->weight_ih),
           *w_hh = lk_param(t, s->self, &r->weight_hh), *b_ih = lk_param(t, s->self, &r->bias_ih),
           *b_hh = lk_param(t, s->self, &r->bias_hh);
    if (s->self->type == &lk_lstm_cell_type)
        return lk_lstm_cell(t, x, s->h0, s->c0, w_ih, w_hh, b_ih, b_hh, s->c_n);
    return lk_gru_cell(t, x, s->h0, w_ih, w_hh, b_ih, b_hh);
}

static Tensor *cell_forward(Tape *t, Module *self, Tensor *x)
{
    return run_cell(t, &(States){ .self = self }, x);
}

Tensor *lk_lstm_cell_forward(Tape *t, Module *m, Tensor *x, Tensor *h, Tensor *c, Tensor **c_next)
{
    return call(t, "lk_lstm_cell_forward", &lk_lstm_cell_type, run_cell,
                (States){ m, NULL, h, c, NULL, c_next }, x);
}

Tensor *lk_gru_cell_forward(Tape *t, Module *m, Tensor *x, Tensor *h)
{
    return call(t, "lk_gru_cell_forward", &lk_gru_cell_type, run_cell,
                (States){ m, NULL, h, NULL, NULL, NULL }, x);
}

static const Field cell_fields[] = { LK_PARAM(RNNCell, weight_ih),
                                     LK_PARAM(RNNCell, weight_hh),
                                     LK_PARAM(RNNCell, bias_ih),
                                     LK_PARAM(RNNCell, bias_hh),
                                     LK_INT(RNNCell, input_size),
                                     LK_INT(RNNCell, hidden_size),
                                     LK_END };
#define CELL_TYPE(class) \
    { \
        .name = class, .size = sizeof(RNNCell), .forward = cell_forward, .fields = cell_fields, \
        .lora = LK_LORA_WEIGHTS, .repr = "{input_size}, {hidden_size}[, bias={bias_ih:True}]" \
    }
const ModuleType lk_lstm_cell_type = CELL_TYPE("LSTMCell");
const ModuleType lk_gru_cell_type = CELL_TYPE("GRUCell");
LK_DOWNCAST(RNNCell, lk_lstm_cell_type, lk_as_lstm_cell)
LK_DOWNCAST(RNNCell, lk_gru_cell_type, lk_as_gru_cell)

static Module *cell_new(const ModuleType *type, const char *function, int64_t inputs, int64_t n,
                        bool bias, Rng *rng, Error *err)
{
    const NamedSize sizes[] = { { "input_size", inputs }, { "hidden_size", n } };
    const int64_t wide = (type == &lk_lstm_cell_type ? 4 : 3) * n;
    const ParamShape shapes[] = {
        { LK_SHAPE(wide, inputs) }, { LK_SHAPE(wide, n) }, { LK_SHAPE(wide) }, { LK_SHAPE(wide) }
    };
    if (!lk__can_draw(function, 2, sizes, rng, err)) return NULL;
    RNNCell *r = lk_module_with_params_new(type, bias ? 4 : 2, shapes, err);
    if (!r) return NULL;
    r->input_size = inputs;
    r->hidden_size = n;
    draw(&r->base, n, rng);
    return &r->base;
}

Module *lk_lstm_cell_new(int64_t input_size, int64_t hidden_size, bool bias, Rng *rng, Error *err)
{
    return cell_new(&lk_lstm_cell_type, "lk_lstm_cell_new", input_size, hidden_size, bias, rng,
                    err);
}

Module *lk_gru_cell_new(int64_t input_size, int64_t hidden_size, bool bias, Rng *rng, Error *err)
{
    return cell_new(&lk_gru_cell_type, "lk_gru_cell_new", input_size, hidden_size, bias, rng, err);
}
