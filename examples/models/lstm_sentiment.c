/* lstm_sentiment - is a sentence about a film friendly? Words, an Embedding, a bidirectional LSTM,
 * the mean over the sentence, a Linear.
 *
 * Learns SST-2; without it, sentences of a few words that the program makes itself. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/decimal.h"
#include "core/ops.h"
#include "data/text.h"
#include "data/tsv.h"
#include "examples/shared/cli.h"
#include "nn/dropout.h"
#include "nn/embedding.h"
#include "nn/linear.h"
#include "nn/recurrent.h"
#include "optim/optimizer.h"

enum { MAX_WORDS = 20000, MAX_SENTENCE = 64, PAD = 0, UNKNOWN = 1 };

typedef struct Options {
    const char *data;
    int64_t seed, threads, epochs, rows, hidden;
    double lr, dropout;
} Options;

static const CliOption options[] = {
    CLI_DATA(Options),
    CLI_SEED(Options),
    CLI_THREADS(Options),
    CLI_EPOCHS(Options),
    CLI_INT("rows", Options, rows, "N", 0, 1e9, "sentences of the training set; 0: all"),
    CLI_INT("hidden", Options, hidden, "N", 1, 1024,
            "numbers of a word, and units of the LSTM in each direction"),
    CLI_DOUBLE("lr", Options, lr, "X", 0, 1, "Adam's learning rate"),
    CLI_DOUBLE("dropout", Options, dropout, "X", 0, 0.9, "of embeddings and of the mean"),
    CLI_END,
};

/* ---- the model ------------------------------------------------------------------------------ */

typedef struct Sentiment {
    Module base;
    Module *words, *lstm, *dropout, *head;
} Sentiment;

/* ids (B, S) → logits (B, 2). The mask (B, S) says how long each sentence is: the LSTM does not
 * read the padding, and its outputs there are 0. */
static Tensor *sentiment(Tape *t, Module *net, Tensor *ids, Tensor *mask)
{
    Sentiment *m = (Sentiment *)net;
    Tensor *x = lk_forward(t, m->dropout, lk_forward(t, m->words, ids));
    Tensor *count = lk_sum(t, lk_to(t, mask, LK_F32), LK_DIMS(1), false); /* (B) */
    Tensor *y = lk_lstm_forward(t, m->lstm, x, lk_to(t, count, LK_I64), NULL, NULL, NULL, NULL);
    Tensor *mean = lk_div(t, lk_sum(t, y, LK_DIMS(1), false), lk_unsqueeze(t, count, 1));
    return lk_forward(t, m->head, lk_forward(t, m->dropout, mean));
}

static const ModuleType sentiment_type = {
    LK_CLASS(Sentiment),
    .fields = LK_FIELDS(LK_CHILD(Sentiment, words), LK_CHILD(Sentiment, lstm),
                        LK_CHILD(Sentiment, dropout), LK_CHILD(Sentiment, head)),
};

static Module *sentiment_new(const Options *o, int64_t words, Rng *rng, Error *err)
{
    Sentiment *m = lk_module_new(&sentiment_type, err);
    if (!m) return NULL;
    const RNNOptions both = { .batch_first = true, .bidirectional = true };
    m->words = lk_embedding_new(words, o->hidden, PAD, rng, err);
    m->lstm = lk_lstm_new(o->hidden, o->hidden, both, rng, err);
    m->dropout = lk_dropout_new(o->dropout, err);
    m->head = lk_linear_new(2 * o->hidden, 2, true, rng, err);
    return lk_module_complete(&m->base, m->words && m->lstm && m->dropout && m->head);
}

/* ---- words ---------------------------------------------------------------------------------- */

/* Words by number, found through a hash table. */
typedef struct Words {
    char *text[MAX_WORDS];
    int slot[4 * MAX_WORDS]; /* number of a word; 0: free */
    int count;
    bool closed; /* no more words: the others are UNKNOWN */
} Words;

/* Returns the number of a word. A new one is added, if the list is not closed or full. */
static int number_of(Words *w, const char *word, size_t length)
{
    unsigned hash = 2166136261u;
    for (size_t i = 0; i < length; i++) hash = (hash ^ (unsigned char)word[i]) * 16777619u;
    unsigned at = hash % (4 * MAX_WORDS);
    for (; w->slot[at]; at = (at + 1) % (4 * MAX_WORDS)) {
        const char *known = w->text[w->slot[at]];
        if (strlen(known) == length && memcmp(known, word, length) == 0) return w->slot[at];
    }
    char *copy = w->closed || w->count == MAX_WORDS ? NULL : strndup(word, length);
    if (!copy) return UNKNOWN;
    w->text[w->count] = copy;
    w->slot[at] = w->count;
    return w->count++;
}

static bool add_sentence(TextDataset *d, Words *w, const char *text, int64_t length, int64_t label,
                         Error *err)
{
    int64_t ids[MAX_SENTENCE], n = 0;
    for (int64_t at = 0, end; at < length && n < MAX_SENTENCE; at = end + 1) {
        for (end = at; end < length && !isspace((unsigned char)text[end]);) end++;
        if (end > at) ids[n++] = number_of(w, text + at, (size_t)(end - at));
    }
    if (n == 0) ids[n++] = UNKNOWN;
    return lk_text_add(d, ids, n, label, err);
}

/* Sentences such as "a dull film with boring actors", which the two adjectives decide. */
static bool add_made_up(TextDataset *d, Words *w, int64_t count, Rng *rng, Error *err)
{
    static const char *const words[2][4] = { { "dull", "boring", "awful", "tired" },
                                             { "warm", "clever", "lovely", "brilliant" } };
    static const char *const nouns[] = { "film", "story", "ending", "cast" };
    for (int64_t i = 0; i < count; i++) {
        char text[100];
        int64_t label = lk_random_int(rng, 0, 2);
        int64_t first = lk_random_int(rng, 0, 4), second = lk_random_int(rng, 0, 4);
        int n = snprintf(text, sizeof text, "a %s %s with %s actors", words[label][first],
                         nouns[lk_random_int(rng, 0, 4)], words[label][second]);
        if (!add_sentence(d, w, text, n, label, err)) return false;
    }
    return true;
}

static bool is_sst2(const char *folder)
{
    char path[LK_PATH_MAX];
    return lk_path_join(path, folder, "dev.tsv", NULL) && access(path, R_OK) == 0;
}

/* The first `rows` sentences of a file, all for 0. */
static bool read_sentences(TextDataset *d, Words *w, const char *folder, const char *file,
                           int64_t rows, Error *err)
{
    char path[LK_PATH_MAX];
    Tsv *tsv = lk_path_join(path, folder, file, err) ? lk_tsv_new(path, 2, err) : NULL;
    bool ok = tsv;
    for (int64_t i = 0; ok && i < tsv->count && (rows == 0 || i < rows); i++) {
        const TsvRow *row = &tsv->rows[i];
        ok = add_sentence(d, w, row->sentence, row->length, row->label, err);
    }
    lk_tsv_free(tsv);
    return ok;
}

/* Only training sentences make new words. */
static bool read_data(const Options *o, TextDataset *train, TextDataset *dev, Words *w, Rng *rng,
                      Error *err)
{
    char folder[LK_PATH_MAX];
    w->count = UNKNOWN + 1;
    bool found = cli_find(o->data, "sst2", is_sst2, folder, err);
    if (err->code != LK_OK) return false;
    if (found) printf("Data: SST-2 from %s\n", folder);
    else printf("Data: made-up sentences; no SST-2 was found\n");
    bool ok = found ? read_sentences(train, w, folder, "train.tsv", o->rows, err)
                    : add_made_up(train, w, o->rows ? o->rows : 2000, rng, err);
    w->closed = true;
    return ok && (found ? read_sentences(dev, w, folder, "dev.tsv", 0, err)
                        : add_made_up(dev, w, 200, rng, err));
}

/* ---- training ------------------------------------------------------------------------------- */

/* One pass: trains with opt, or only tests if that is NULL. Returns the part of the sentences that
 * the net got right, or -1; *loss is the mean of the batches. */
static double pass(Tape *t, Module *net, TextLoader *loader, Optimizer *opt, double *loss,
                   Error *err)
{
    int64_t right = 0;
    *loss = 0;
    lk_train(net, opt);
    lk_tape_set_grad(t, opt);
    lk_text_loader_begin(loader);
    for (TextBatch b; lk_text_loader_next(loader, &b);) {
        Tensor *logits = sentiment(t, net, b.ids, b.mask);
        Tensor *l = lk_cross_entropy(t, logits, b.labels);
        if (opt) lk_optimizer_zero_grad(opt);
        if (!l || (opt && (!lk_backward(t, l) || !lk_step(opt, err)))) return -1;
        *loss += lk_item(l) / (double)lk_text_loader_len(loader);
        right += lk_count(lk_eq(t, lk_argmax(t, logits, 1, false), b.labels));
        lk_tape_reset(t);
    }
    return (double)right / (double)loader->dataset->count;
}

static bool learn(Tape *t, const Options *o, const TextDataset *sentences, const TextDataset *held,
                  int64_t words, Rng *rng, Error *err)
{
    /* Grouped: less padding is less work. */
    TextLoader *training = lk_text_loader_new(
        sentences, &(TextOptions){ .batch_size = 32, .order = LK_GROUPED }, rng, err);
    TextLoader *testing = lk_text_loader_new(
        held, &(TextOptions){ .batch_size = 64, .order = LK_GROUPED }, rng, err);
    Module *net = sentiment_new(o, words, rng, err);
    Optimizer *opt = lk_adam_new(lk_parameters(net, err), o->lr, err);
    bool ok = training && testing && opt;
    for (int64_t epoch = 1; ok && epoch <= o->epochs; epoch++) {
        double start = lk_seconds(), loss, test_loss;
        double right = pass(t, net, training, opt, &loss, err);
        double test_right = right < 0 ? -1 : pass(t, net, testing, NULL, &test_loss, err);
        ok = test_right >= 0;
        if (ok)
            lk_printf("epoch %lld  loss %.4f  test loss %.4f  test accuracy %.2f %%  %.1f s\n",
                      (long long)epoch, loss, test_loss, 100 * test_right, lk_seconds() - start);
    }
    lk_optimizer_free(opt);
    lk_free(net);
    lk_text_loader_free(training);
    lk_text_loader_free(testing);
    return ok;
}

static bool run(Tape *t, Rng *rng, const void *chosen, Error *err)
{
    Words *words = calloc(1, sizeof *words);
    TextDataset *train = lk_text_dataset_new(err), *dev = lk_text_dataset_new(err);
    if (!words) lk_error_set(err, LK_EMEMORY, "no memory for the words");
    bool ok = words && train && dev && read_data(chosen, train, dev, words, rng, err);
    if (ok)
        printf("Sentences: %lld for training, %lld for testing, %d words\n",
               (long long)train->count, (long long)dev->count, words->count);
    ok = ok && learn(t, chosen, train, dev, words->count, rng, err);
    for (int i = 0; words && i < words->count; i++) free(words->text[i]);
    free(words);
    lk_text_dataset_free(train);
    lk_text_dataset_free(dev);
    return ok;
}

int main(int argc, char **argv)
{
    const CliProgram program = { .name = "lstm_sentiment",
                                 .about = "Learns with an LSTM whether a sentence is friendly.",
                                 .options = options };
    Options o = { .epochs = 3, .hidden = 64, .lr = 2e-3, .dropout = 0.3 };
    return cli_main(&program, argc, argv, &o, run);
}
