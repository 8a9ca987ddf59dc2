/* recurrent.h - torch.nn.LSTM, GRU, LSTMCell and GRUCell. The arithmetic: core/recurrent.c. */
#ifndef LK_RECURRENT_H
#define LK_RECURRENT_H

#include "nn/module.h"

enum { LK_RNN_LAYERS = 8 }; /* the most layers of a module */

/* An LSTM or a GRU. param[layer][1 for the reverse direction] has weight_ih, weight_hh, bias_ih
 * and bias_hh, which are called "weight_ih_l0", "bias_hh_l1_reverse", … as in PyTorch. Those of
 * layers and directions that are not there are NULL. */
typedef struct RNN {
    Module base;
    Tensor *param[LK_RNN_LAYERS][2][4];
    int64_t input_size, hidden_size, num_layers;
    bool bias, batch_first;
    double dropout; /* of each layer's output but the last one's, in training mode */
    bool bidirectional;
} RNN;
LK_MODULE_TYPE(RNN, lk_lstm_type, lk_as_lstm);
LK_MODULE_TYPE(RNN, lk_gru_type, lk_as_gru);

/* A field that is 0 has PyTorch's default: (RNNOptions){ .num_layers = 2, .batch_first = true } */
typedef struct RNNOptions {
    int64_t num_layers; /* 0: 1 */
    bool no_bias;       /* bias=False */
    bool batch_first;   /* x and the output are (B, S, …), states are not */
    double dropout;
    bool bidirectional;
} RNNOptions;

/* nn.LSTM(input_size, hidden_size, …), nn.GRU(…): all parameters are drawn from U(-1/√hidden_size,
 * 1/√hidden_size), with PyTorch's bits for the same generator. Errors: LK_EVALUE for a size that
 * is not positive, more than LK_RNN_LAYERS layers, a dropout outside 0 … 1. */
LK_API Module *lk_lstm_new(int64_t input_size, int64_t hidden_size, RNNOptions options, Rng *rng,
                           Error *err);
LK_API Module *lk_gru_new(int64_t input_size, int64_t hidden_size, RNNOptions options, Rng *rng,
                          Error *err);

/* output, (h_n, c_n) = lstm(x, (h0, c0)): x (S, B, input_size) → (S, B, hidden_size), twice as
 * wide for two directions. States are (layers · directions, B, hidden_size), as PyTorch orders
 * them. h0 and c0 may be NULL: zeros. h_n and c_n may be NULL: not asked for. lk_forward(t, m, x)
 * is the output alone. lengths, int64 (B), are for pack_padded_sequence(x, lengths,
 * enforce_sorted=False): x is read up to each length, and the output behind it is 0. NULL: all
 * are S. Error: LK_EVALUE for a length outside 1 … S. */
LK_API Tensor *lk_lstm_forward(Tape *t, Module *m, Tensor *x, Tensor *lengths, Tensor *h0,
                               Tensor *c0, Tensor **h_n, Tensor **c_n);
LK_API Tensor *lk_gru_forward(Tape *t, Module *m, Tensor *x, Tensor *lengths, Tensor *h0,
                              Tensor **h_n);

/* ---- a single step -------------------------------------------------------------------------- */

typedef struct RNNCell {
    Module base;
    Tensor *weight_ih, *weight_hh, *bias_ih, *bias_hh; /* both biases may be NULL */
    int64_t input_size, hidden_size;
} RNNCell;
LK_MODULE_TYPE(RNNCell, lk_lstm_cell_type, lk_as_lstm_cell);
LK_MODULE_TYPE(RNNCell, lk_gru_cell_type, lk_as_gru_cell);

/* nn.LSTMCell(input_size, hidden_size, bias), nn.GRUCell(…), drawn as above. */
LK_API Module *lk_lstm_cell_new(int64_t input_size, int64_t hidden_size, bool bias, Rng *rng,
                                Error *err);
LK_API Module *lk_gru_cell_new(int64_t input_size, int64_t hidden_size, bool bias, Rng *rng,
                               Error *err);
/* h, c_next = cell(x, (h, c)) for x (B, input_size); h and c may be NULL: zeros. lk_forward(t, m,
 * x) is the new h without a state. */
LK_API Tensor *lk_lstm_cell_forward(Tape *t, Module *m, Tensor *x, Tensor *h, Tensor *c,
                                    Tensor **c_next);
LK_API Tensor *lk_gru_cell_forward(Tape *t, Module *m, Tensor *x, Tensor *h);

#endif
