/* recurrent.c - gradient cases of LSTM and GRU (core/recurrent.c). */
#include "examples/own/gradients/rows.h"

/* x, weight_ih, weight_hh, then the states, then both biases */
static Cases LSTMS = { "3,2,3 8,3 8,2 2,2 2,2 8 8",      "3,2,3t 8,3t 8,2t 2,2t 2,2t 8s 8s",
                       "2,2,3s 8,3s 8,2s 2,2s 2,2s 8 8", "1,1,1 4,1 4,1 1,1 1,1 4 4",
                       "4,1,2 12,2 12,3 1,3 1,3 12 12",  "2,18,1 4,1 4,1 18,1 18,1 4 4",
                       "2,0,3 8,3 8,2 0,2 0,2 8 8",      "2,2,0 8,0 8,2 2,2 2,2 8 8" };
static Cases LSTM_PLAIN = { "3,2,3 8,3 8,2", "4,2,2t 4,2s 4,1" };
static Cases LSTM_PADDED = { "3,3,3 8,3 8,2 3,2 3,2 8 8", "4,2,2t 8,2 8,2 2,2t 2,2s 8 8",
                             "3,0,2 8,2 8,2 0,2 0,2 8 8", "1,1,1 4,1 4,1 1,1 1,1 4 4",
                             "3,18,1 4,1 4,1 18,1 18,1 4 4" };
static Cases LSTM_CELLS = { "2,3 8,3 8,2 2,2 2,2 8 8",      "1,1 4,1 4,1 1,1 1,1 4 4",
                            "2,3t 8,3t 8,2t 2,2t 2,2 8 8s", "3,2s 12,2 12,3s 3,3s 3,3s 12 12",
                            "0,3 8,3 8,2 0,2 0,2 8 8",      "18,1 4,1 4,1 18,1 18,1 4 4" };
static Cases GRUS = { "3,2,3 6,3 6,2 2,2 6 6",     "3,2,3t 6,3t 6,2t 2,2t 6s 6s",
                      "2,2,3s 6,3s 6,2s 2,2s 6 6", "1,1,1 3,1 3,1 1,1 3 3",
                      "4,1,2 9,2 9,3 1,3 9 9",     "2,18,1 3,1 3,1 18,1 3 3",
                      "2,0,3 6,3 6,2 0,2 6 6",     "2,2,0 6,0 6,2 2,2 6 6" };
static Cases GRU_PLAIN = { "3,2,3 6,3 6,2", "4,2,2t 3,2s 3,1" };
static Cases GRU_PADDED = { "3,3,3 6,3 6,2 3,2 6 6", "4,2,2t 6,2 6,2 2,2t 6 6",
                            "3,0,2 6,2 6,2 0,2 6 6", "1,1,1 3,1 3,1 1,1 3 3",
                            "3,18,1 3,1 3,1 18,1 3 3" };
static Cases GRU_CELLS = { "2,3 6,3 6,2 2,2 6 6",      "1,1 3,1 3,1 1,1 3 3",
                           "2,3t 6,3t 6,2t 2,2t 6 6s", "3,2s 9,2 9,3s 3,3s 9 9",
                           "0,3 6,3 6,2 0,2 6 6",      "18,1 3,1 3,1 18,1 3 3" };

#define FORWARD ((SequenceOptions){ 0 })
#define REVERSE ((SequenceOptions){ .reverse = true })

/* The result with h_n and c_n behind it, so that a gradient goes through all three. */
static Tensor *joined(Tape *t, Tensor *y, Tensor *h_n, Tensor *c_n)
{
    if (!y) return NULL;
    h_n = lk_unsqueeze(t, lk_scale(t, h_n, 2), 0);
    if (!c_n) return lk_cat(t, LK_TENSORS(y, h_n), 0);
    return lk_cat(t, LK_TENSORS(y, h_n, lk_unsqueeze(t, c_n, 0)), 0);
}

/* Sequences of 1, S, 2, 2, 3, 3, … steps; behind S the count begins again. */
static SequenceOptions of_lengths(Tape *t, const Tensor *x, bool reverse)
{
    const int64_t steps = lk_size(x, 0);
    Tensor *lengths = lk_arange(t, 0, lk_size(x, 1));
    for (int64_t b = 0; lengths && steps > 0 && b < lk_size(x, 1); b++)
        ((int64_t *)lengths->data)[b] = b == 1 ? steps : 1 + b / 2 % steps;
    return (SequenceOptions){ reverse, lengths };
}

static Tensor *lstm_of(Tape *t, Tensor *const *x, bool states, bool biases, SequenceOptions o)
{
    Tensor *h_n, *c_n, *const *b = states ? x + 5 : x + 3;
    Tensor *y = lk_lstm(t, x[0], states ? x[3] : NULL, states ? x[4] : NULL, x[1], x[2],
                        biases ? b[0] : NULL, biases ? b[1] : NULL, o, &h_n, &c_n);
    return joined(t, y, h_n, c_n);
}
CALL(lstm, lstm_of(t, x, true, true, FORWARD))
CALL(lstm_reverse, lstm_of(t, x, true, true, REVERSE))
CALL(lstm_plain, lstm_of(t, x, false, false, FORWARD))
CALL(lstm_plain_reverse, lstm_of(t, x, false, false, REVERSE))
CALL(lstm_lengths, lstm_of(t, x, true, true, of_lengths(t, x[0], false)))
CALL(lstm_lengths_reverse, lstm_of(t, x, true, true, of_lengths(t, x[0], true)))
CALL(lstm_output, lk_lstm(t, x[0], x[3], x[4], x[1], x[2], x[5], x[6], FORWARD, NULL, NULL))

static Tensor *lstm_cell(Tape *t, Tensor *const *x, void *user)
{
    (void)user;
    Tensor *c, *h = lk_lstm_cell(t, x[0], x[3], x[4], x[1], x[2], x[5], x[6], &c);
    return h ? lk_cat(t, LK_TENSORS(h, c), 0) : NULL;
}

static Tensor *gru_of(Tape *t, Tensor *const *x, bool states, bool biases, SequenceOptions o)
{
    Tensor *h_n, *const *b = states ? x + 4 : x + 3;
    Tensor *y = lk_gru(t, x[0], states ? x[3] : NULL, x[1], x[2], biases ? b[0] : NULL,
                       biases ? b[1] : NULL, o, &h_n);
    return joined(t, y, h_n, NULL);
}
CALL(gru, gru_of(t, x, true, true, FORWARD))
CALL(gru_reverse, gru_of(t, x, true, true, REVERSE))
CALL(gru_plain, gru_of(t, x, false, false, FORWARD))
CALL(gru_plain_reverse, gru_of(t, x, false, false, REVERSE))
CALL(gru_lengths, gru_of(t, x, true, true, of_lengths(t, x[0], false)))
CALL(gru_lengths_reverse, gru_of(t, x, true, true, of_lengths(t, x[0], true)))
CALL(gru_cell, lk_gru_cell(t, x[0], x[3], x[1], x[2], x[4], x[5]))

static const GradientRow rows[] = {
    { "lstm", lstm, LSTMS, ANY },
    { "lstm", lstm_reverse, LSTMS, ANY },
    { "lstm", lstm_lengths, LSTM_PADDED, ANY },
    { "lstm", lstm_lengths_reverse, LSTM_PADDED, ANY },
    { "lstm", lstm_plain, LSTM_PLAIN, ANY },
    { "lstm", lstm_plain_reverse, LSTM_PLAIN, ANY },
    { "lstm", lstm_output, (Cases){ "3,2,3 8,3 8,2 2,2 2,2 8 8" }, ANY },
    { "lstm_cell", lstm_cell, LSTM_CELLS, ANY },
    { "gru", gru, GRUS, ANY },
    { "gru", gru_reverse, GRUS, ANY },
    { "gru", gru_lengths, GRU_PADDED, ANY },
    { "gru", gru_lengths_reverse, GRU_PADDED, ANY },
    { "gru", gru_plain, GRU_PLAIN, ANY },
    { "gru", gru_plain_reverse, GRU_PLAIN, ANY },
    { "gru_cell", gru_cell, GRU_CELLS, ANY },
};

const GradientFamily gradient_recurrent = { GRADIENT_ROWS(rows) };
