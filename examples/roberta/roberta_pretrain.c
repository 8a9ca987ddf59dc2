/* roberta_pretrain - a small RoBERTa learns to fill in hidden words of SST-2's sentences: a base
 * model for roberta_sst2.
 *
 * Masked language modelling as in Liu et al. 2019: 15 % of the tokens of a sentence are chosen
 * anew each time. Of these 80 % become <mask>, 10 % another token, and 10 % stay; the model has to
 * find the original tokens. Labels are not used. The decoder is the word embedding (tied weights).
 * It is applied at the chosen places only, and chooses among the tokens that train.tsv has (a
 * quarter of the vocabulary: the others are never an answer). The output folder is a complete
 * model for --model: config.json, vocab.json, merges.txt, model.safetensors. */
#include <math.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/ops.h"
#include "core/decimal.h"
#include "data/roberta_files.h"
#include "data/safetensors.h"
#include "data/folder.h"
#include "data/masking.h"
#include "examples/shared/results.h"
#include "examples/shared/stop.h"
#include "nn/models/roberta.h"
#include "examples/roberta/inputs.h"
#include "optim/clip.h"
#include "optim/optimizer.h"
#include "optim/schedule.h"

typedef struct Options {
    const char *model, *data, *output, *json;
    int64_t layers, hidden, heads, intermediate, batch, steps, rows, seed, threads;
    double minutes, lr, warmup, weight_decay, dropout, init;
} Options;

static const CliOption options[] = {
    CLI_TEXT("model", Options, model, "DIR", "folder with vocab.json and merges.txt"),
    INPUT_SST2(Options, data),
    CLI_TEXT("output", Options, output, "DIR", "folder to write the model to; needed"),
    CLI_INT("layers", Options, layers, "N", 1, 48, "number of layers"),
    CLI_INT("hidden", Options, hidden, "N", 2, 4096, "width of a layer"),
    CLI_INT("heads", Options, heads, "N", 1, 256,
            "attention heads of a layer; they share its width"),
    CLI_INT("intermediate", Options, intermediate, "N", 0, 16384,
            "width of the feed-forward part; 0: four times the width"),
    CLI_INT("batch-size", Options, batch, "N", 1, 65536, "sentences of a step"),
    CLI_INT("steps", Options, steps, "N", 0, 1e9,
            "training steps; 0: as many as --minutes allows"),
    CLI_DOUBLE("minutes", Options, minutes, "X", 0, 1e5,
               "stop after so many minutes; 0: when --steps are made, without --steps after 12"),
    CLI_INT("rows", Options, rows, "N", 0, 1e9,
            "so many sentences of train.tsv, from its beginning; 0: all"),
    CLI_DOUBLE("lr", Options, lr, "X", 0, 1, "highest learning rate of AdamW"),
    CLI_DOUBLE("warmup", Options, warmup, "X", 0, 1,
               "part of the training in which the learning rate rises"),
    CLI_DOUBLE("weight-decay", Options, weight_decay, "X", 0, 1,
               "weight decay of AdamW; biases and LayerNorms have none"),
    CLI_DOUBLE("init", Options, init, "X", 1e-4, 1, "standard deviation of new weights"),
    CLI_DOUBLE("dropout", Options, dropout, "X", 0, 0.9, "dropout, everywhere"),
    CLI_SEED(Options),
    CLI_THREADS(Options),
    CLI_JSON(Options),
    CLI_END,
};
static const CliProgram program = {
    .name = "roberta_pretrain",
    .about = "Pre-trains a small RoBERTa on the sentences of SST-2 by masked language "
             "modelling." INPUT_PLACES,
    .options = options,
};

typedef struct Run {
    const Options *o;
    char folder[LK_PATH_MAX]; /* of the tokenizer */
    Tokenizer *tok;
    TextDataset *train_set, *dev_set;
    TextLoader *train, *dev;
    Masking masking;
    Rng rng; /* weights and orders */
    Tape *t;
    Module *model;
    Optimizer *opt;
    TensorList params;
    bool described; /* the folder has all but the weights */
    int64_t steps;
    double seconds, train_loss, dev_loss, dev_accuracy;
} Run;

/* ---- the folder ----------------------------------------------------------------------------- */

/* Writes the weights last, and removes an older model's weights first, so that weights are never
 * there with another model's config.json. */
static bool write_folder(Run *r, Error *err)
{
    char path[LK_PATH_MAX];
    const char *to = r->o->output;
    if (!lk_path_join(path, to, "model.safetensors", err)) return false;
    if (!r->described) {
        unlink(path); /* a file that cannot be removed cannot be replaced either: saving fails */
        r->described =
            lk_folder_copy(r->folder, to, "vocab.json", err) &&
            lk_folder_copy(r->folder, to, "merges.txt", err) &&
            lk_roberta_config_write(lk_roberta_config(r->model), "RobertaForMaskedLM", to, err);
    }
    return r->described && lk_save_module(r->model, path, err);
}

/* ---- evaluation and training ---------------------------------------------------------------- */

enum { HIDING_SEED = 1 }; /* of dev.tsv, in every evaluation */

/* Whether an evaluation has something to guess. */
static bool can_evaluate(Run *r, Error *err)
{
    Rng before = r->masking.rng;
    MaskedBatch m;
    bool hidden = false;
    lk_manual_seed(&r->masking.rng, HIDING_SEED);
    lk_text_loader_begin(r->dev);
    for (TextBatch b; !hidden && lk_text_loader_next(r->dev, &b); lk_tape_reset(r->t))
        hidden = lk_masking_next(&r->masking, r->t, b.ids, &m);
    r->masking.rng = before;
    if (!lk_tape_ok(r->t, err)) return false;
    return hidden ||
           lk_error_set(err, LK_EVALUE,
                        "dev.tsv: none of its tokens was hidden, so there is nothing to "
                        "evaluate; it needs more sentences, of words that train.tsv has");
}

/* Measures loss and accuracy on the hidden tokens of dev.tsv, the same ones each time. */
static bool evaluate(Run *r, Error *err)
{
    Rng before = r->masking.rng;
    double loss = 0, count = 0, right = 0;
    lk_manual_seed(&r->masking.rng, HIDING_SEED);
    lk_eval(r->model);
    lk_tape_set_grad(r->t, false);
    lk_text_loader_begin(r->dev);
    for (TextBatch b; lk_text_loader_next(r->dev, &b); lk_tape_reset(r->t)) {
        MaskedBatch m;
        if (!lk_masking_next(&r->masking, r->t, b.ids, &m)) continue;
        Tensor *logits =
            lk_roberta_token_logits(r->t, r->model, m.ids, b.mask, m.rows, r->masking.tokens);
        const CrossEntropyOptions summed = { .reduction = LK_SUM };
        Tensor *sum = lk_cross_entropy_with(r->t, logits, m.targets, -100, summed);
        Tensor *hits = lk_eq(r->t, lk_argmax(r->t, logits, 1, false), m.targets);
        if (!sum || !hits) break;
        loss += lk_item(sum);
        right += (double)lk_count(hits);
        count += (double)lk_numel(m.targets);
    }
    lk_tape_set_grad(r->t, true);
    lk_train(r->model, true);
    r->masking.rng = before;
    if (!lk_tape_ok(r->t, err)) return false;
    r->dev_loss = loss / count;
    r->dev_accuracy = right / count;
    return true;
}

/* The finished part of the training, by steps or by time: the larger of both. */
static double progress(const Run *r, double start)
{
    double by_steps = r->o->steps ? (double)r->steps / (double)r->o->steps : 0;
    double by_time = r->o->minutes > 0 ? (lk_seconds() - start) / (60 * r->o->minutes) : 0;
    return fmax(by_steps, by_time);
}

static bool train_step(Run *r, const TextBatch *b, double done, double *loss, Error *err)
{
    enum { FINE = 1000000 }; /* the schedule counts steps: a millionth of the training each */
    const Schedule linear = { LK_SCHEDULE_LINEAR, (int64_t)(r->o->warmup * FINE), FINE };
    MaskedBatch m;
    /* nothing was chosen: too few tokens */
    if (!lk_masking_next(&r->masking, r->t, b->ids, &m)) return lk_tape_ok(r->t, err);
    Tensor *logits =
        lk_roberta_token_logits(r->t, r->model, m.ids, b->mask, m.rows, r->masking.tokens);
    Tensor *l = lk_cross_entropy(r->t, logits, m.targets);
    lk_optimizer_zero_grad(r->opt);
    if (!lk_backward(r->t, l)) return lk_tape_ok(r->t, err);
    lk_clip_grad_norm_(&r->params, 1.0);
    for (ParamGroup *g = r->opt; g; g = g->next)
        g->lr = r->o->lr * lk_schedule(&linear, (int64_t)(done * FINE));
    *loss = lk_item(l);
    return lk_step(r->opt, err);
}

static bool train(Run *r, Error *err)
{
    enum { LOG = 50 };
    double start = lk_seconds(), done = 0, sum = 0, tokens = 0, shown = start;
    stop_on_signals(program.name); /* ends as if the minutes were over */
    for (int64_t epoch = 1; done < 1; epoch++) {
        lk_text_loader_begin(r->train);
        for (TextBatch b; done < 1 && lk_text_loader_next(r->train, &b); lk_tape_reset(r->t)) {
            double loss = 0;
            if (!train_step(r, &b, done, &loss, err)) return false;
            sum += loss;
            tokens += (double)lk_count(b.mask);
            r->steps++;
            done = stop_signal() ? 1 : progress(r, start);
            if (r->steps % LOG != 0) continue;
            double now = lk_seconds();
            lk_printf("epoch %lld, step %lld: loss %.4f, lr %.2e, %.0f tokens/s\n",
                      (long long)epoch, (long long)r->steps, sum / LOG, r->opt->lr,
                      tokens / (now - shown));
            r->train_loss = sum / LOG;
            sum = tokens = 0;
            shown = now;
        }
        if (done >= 1 && r->steps % LOG != 0) r->train_loss = sum / (double)(r->steps % LOG);
        if (!evaluate(r, err)) return false;
        lk_printf("epoch %lld%s: loss on dev.tsv %.4f, accuracy %.2f%%\n", (long long)epoch,
                  done < 1 ? "" : " (ended)", r->dev_loss, 100 * r->dev_accuracy);
        /* so that a program that is stopped leaves the model of its last epoch */
        if (!write_folder(r, err)) return false;
    }
    stop_no_more();
    r->seconds = lk_seconds() - start;
    return true;
}

/* ---- results -------------------------------------------------------------------------------- */

static bool write_json(const Run *r, Error *err)
{
    Results f;
    results_open(&f, r->o->json);
    results_int(&f, "seed", r->o->seed);
    results_int(&f, "parameters", lk_count_parameters(r->model));
    results_int(&f, "steps", r->steps);
    results_number(&f, "seconds", r->seconds);
    results_number(&f, "train_loss", r->train_loss);
    results_number(&f, "dev_loss", r->dev_loss);
    results_number(&f, "dev_accuracy", r->dev_accuracy);
    return results_close(&f, err);
}

/* ---- the run -------------------------------------------------------------------------------- */

static bool is_decayed(const ParamIter *it, void *user)
{
    (void)user;
    return it->tensor->ndim == 2;
}

static bool is_not_decayed(const ParamIter *it, void *user) { return !is_decayed(it, user); }

static bool make_optimizer(Run *r, Error *err)
{
    r->opt = lk_adamw_new(lk_parameters_where(r->model, is_decayed, NULL, err), r->o->lr, err);
    if (!r->opt) return false;
    r->opt->beta2 = 0.98;
    r->opt->weight_decay = r->o->weight_decay;
    ParamGroup *rest =
        lk_add_param_group(r->opt, lk_parameters_where(r->model, is_not_decayed, NULL, err), err);
    r->params = lk_parameters(r->model, err);
    if (!rest || !r->params.count) return false;
    rest->weight_decay = 0;
    return true;
}

static bool make_model(Run *r, Error *err)
{
    const Options *o = r->o;
    RobertaConfig c = lk_roberta_base;
    c.vocab_size = r->tok->size;
    c.pad_token_id = r->tok->pad;
    c.bos_token_id = r->tok->bos;
    c.eos_token_id = r->tok->eos;
    c.num_hidden_layers = o->layers;
    c.hidden_size = o->hidden;
    c.num_attention_heads = o->heads;
    c.intermediate_size = o->intermediate ? o->intermediate : 4 * o->hidden;
    c.initializer_range = o->init;
    c.hidden_dropout_prob = c.attention_probs_dropout_prob = o->dropout;
    r->model = lk_roberta_masked_lm_new(&c, err);
    char count[32];
    if (!r->model || !lk_roberta_fill(r->model, &r->rng, err)) return false;
    printf("Model: %lld layers of %lld, %s parameters\n", (long long)o->layers,
           (long long)o->hidden, cli_thousands(lk_count_parameters(r->model), count));
    return true;
}

static bool prepare(Run *r, Error *err)
{
    const Options *o = r->o;
    char train[32], dev[32], tokens[32];
    if (!(r->tok = lk_tokenizer_new(r->folder, err))) return false;
    int64_t longest = lk_roberta_max_length(&lk_roberta_base);
    r->train_set = input_sentences_new(o->data, "train.tsv", r->tok, longest, o->rows, err);
    r->dev_set =
        r->train_set ? input_sentences_new(o->data, "dev.tsv", r->tok, longest, 0, err) : NULL;
    if (!r->dev_set) return false;
    if (!lk_masking_init(&r->masking, r->tok, r->train_set, (uint64_t)o->seed + 1, err))
        return false;
    printf("Sentences: %s for training, %s for testing; %s different tokens\n",
           cli_thousands(r->train_set->count, train), cli_thousands(r->dev_set->count, dev),
           cli_thousands(r->masking.tokens->shape[0], tokens));
    TextOptions of_train = { .batch_size = o->batch, .order = LK_GROUPED, .pad = r->tok->pad };
    TextOptions of_dev = { .batch_size = o->batch, .order = LK_IN_ORDER, .pad = r->tok->pad };
    r->train = lk_text_loader_new(r->train_set, &of_train, &r->rng, err);
    r->dev = r->train ? lk_text_loader_new(r->dev_set, &of_dev, &r->rng, err) : NULL;
    r->t = r->dev ? lk_tape_quiet_new(err) : NULL; /* main prints the message, once */
    if (!r->t) return false;
    lk_tape_seed(r->t, (uint64_t)o->seed);
    return make_model(r, err) && make_optimizer(r, err);
}

static bool run(Run *r, Error *err)
{
    if (!input_model_folder(r->o->model, r->folder, err) || !lk_folder_make(r->o->output, err))
        return false;
    if (lk_folder_same(r->folder, r->o->output))
        return lk_error_set(
            err, LK_EVALUE,
            "--output %.300s is the folder of --model, whose files would be replaced: "
            "another one is needed",
            r->o->output);
    FolderLock *lock = lk_folder_lock_new(r->o->output, err);
    if (!lock) return false;
    lk_manual_seed(&r->rng, (uint64_t)r->o->seed);
    bool ok = prepare(r, err) && can_evaluate(r, err) && train(r, err) &&
              (!r->o->json || write_json(r, err));
    if (ok) printf("Written: %s, for --model of roberta_sst2\n", r->o->output);
    lk_tensor_list_free(&r->params);
    lk_optimizer_free(r->opt);
    lk_free(r->model);
    lk_masking_free(&r->masking);
    lk_tape_free(r->t);
    lk_text_loader_free(r->dev);
    lk_text_loader_free(r->train);
    lk_text_dataset_free(r->dev_set);
    lk_text_dataset_free(r->train_set);
    lk_tokenizer_free(r->tok);
    lk_folder_lock_free(lock);
    return ok;
}

int main(int argc, char **argv)
{
    enum { MINUTES = 12 };
    Options o = { .layers = 4,
                  .hidden = 256,
                  .heads = 4,
                  .batch = 64,
                  .lr = 5e-4,
                  .warmup = 0.05,
                  .weight_decay = 0.01,
                  .dropout = 0,
                  .init = 0.02 };
    Run r = { .o = &o };
    Error err = { 0 };
    cli_parse(&program, argc, argv, &o);
    setvbuf(stdout, NULL, _IOLBF, 0); /* every line appears when it is written, in a file too */
    cli_set_threads(o.threads);
    if (!o.steps && o.minutes <= 0) o.minutes = MINUTES;
    if (!o.output)
        lk_error_set(&err, LK_EVALUE,
                     "--output DIR is missing: where is the model to be written?");
    else if (!o.json || results_writable(o.json, &err))
        return stop_status(cli_exit(&program, run(&r, &err), &err));
    return cli_exit(&program, false, &err);
}
