/* char_gpt - a small GPT over characters: trains on a text, writes one of its own, and learns a
 * second text with LoRA alone.
 *
 * Without --text the program writes sentences of a small grammar itself. Without --second the
 * second text has the same words in another order. */
#include <stdlib.h>
#include <string.h>

#include "core/decimal.h"
#include "core/ops.h"
#include "examples/shared/cli.h"
#include "nn/adapter.h"
#include "nn/embedding.h"
#include "nn/layer_norm.h"
#include "nn/linear.h"
#include "nn/sequential.h"
#include "nn/transformer.h"
#include "optim/optimizer.h"

enum { EMBED = 64, HEADS = 4, LAYERS = 2, CONTEXT = 64, BATCH = 16, CHARACTERS = 256 };

typedef struct Options {
    const char *text, *second;
    int64_t seed, threads, steps, length, top_k, rank;
    double lr, temperature;
} Options;

static const CliOption options[] = {
    CLI_TEXT("text", Options, text, "FILE", "the text to learn; without it, generated sentences"),
    CLI_TEXT("second", Options, second, "FILE", "the text that LoRA learns"),
    CLI_SEED(Options),
    CLI_THREADS(Options),
    CLI_INT("steps", Options, steps, "N", 1, 1e6, "steps of the training; LoRA takes as many"),
    CLI_INT("length", Options, length, "N", 1, 10000, "characters to write"),
    CLI_INT("top-k", Options, top_k, "N", 1, CHARACTERS, "choose among the N best characters"),
    CLI_INT("rank", Options, rank, "N", 1, EMBED, "of LoRA"),
    CLI_DOUBLE("lr", Options, lr, "X", 0, 1, "Adam's learning rate"),
    CLI_DOUBLE("temperature", Options, temperature, "X", 0.01, 10,
               "below 1: bolder, above: wilder"),
    CLI_END,
};

/* ---- the model ------------------------------------------------------------------------------ */

typedef struct CharGPT {
    Module base;
    Module *token, *position, *blocks, *norm, *head;
} CharGPT;

/* ids (B, S) → logits (B, S, characters) */
static Tensor *gpt_forward(Tape *t, Module *self, Tensor *ids)
{
    CharGPT *g = (CharGPT *)self;
    Tensor *places = lk_arange(t, 0, lk_size(ids, 1));
    Tensor *x = lk_add(t, lk_forward(t, g->token, ids), lk_forward(t, g->position, places));
    return lk_forward(t, g->head, lk_forward(t, g->norm, lk_forward(t, g->blocks, x)));
}

static const ModuleType gpt_type = {
    LK_CLASS(CharGPT),
    .forward = gpt_forward,
    .fields =
        LK_FIELDS(LK_CHILD(CharGPT, token), LK_CHILD(CharGPT, position), LK_CHILD(CharGPT, blocks),
                  LK_CHILD(CharGPT, norm), LK_CHILD(CharGPT, head)),
};

static Module *gpt_new(Rng *rng, Error *err)
{
    CharGPT *g = lk_module_new(&gpt_type, err);
    if (!g) return NULL;
    const EncoderOptions gpt2 = {
        .gelu = true, .norm_first = true, .batch_first = true, .causal = true
    };
    Module *blocks[LAYERS];
    g->token = lk_embedding_new(CHARACTERS, EMBED, -1, rng, err);
    g->position = lk_embedding_new(CONTEXT, EMBED, -1, rng, err);
    for (int i = 0; i < LAYERS; i++)
        blocks[i] = lk_transformer_encoder_layer_new(EMBED, HEADS, 4 * EMBED, gpt2, rng, err);
    g->blocks = lk_sequential_new(LAYERS, blocks, err);
    g->norm = lk_layer_norm_new(LK_SHAPE(EMBED), 1e-5, err);
    g->head = lk_linear_new(EMBED, CHARACTERS, true, rng, err);
    return lk_module_complete(&g->base,
                              g->token && g->position && g->blocks && g->norm && g->head);
}

/* ---- texts ---------------------------------------------------------------------------------- */

typedef struct Text {
    char *bytes;
    int64_t count;
} Text;

/* Sentences such as "the small cat sings by the river." or, the other way round, "by the river
 * sings the small cat!" */
static Text generated(bool reversed, Rng *rng)
{
    static const char *const words[4][4] = {
        { "small", "red", "old", "quick" },
        { "cat", "parrot", "fox", "robot" },
        { "sings", "sleeps", "runs", "thinks" },
        { "by the river", "in the tree", "on the roof", "under the moon" },
    };
    enum { SENTENCES = 1500, LONGEST = 64 };
    Text text = { malloc((size_t)SENTENCES * LONGEST), 0 };
    for (int i = 0; text.bytes && i < SENTENCES; i++) {
        const char *w[4];
        char *at = text.bytes + text.count;
        for (int k = 0; k < 4; k++) w[k] = words[k][lk_random_int(rng, 0, 4)];
        if (reversed) snprintf(at, LONGEST, "%s %s the %s %s!\n", w[3], w[2], w[0], w[1]);
        else snprintf(at, LONGEST, "the %s %s %s %s.\n", w[0], w[1], w[2], w[3]);
        text.count += (int64_t)strlen(at);
    }
    return text;
}

static bool read_text(const char *path, Text *text, Error *err)
{
    FILE *f = fopen(path, "rb");
    if (f) fseek(f, 0, SEEK_END);
    text->count = f ? ftell(f) : 0;
    text->bytes = text->count > CONTEXT ? malloc((size_t)text->count) : NULL;
    if (f) rewind(f);
    bool ok = text->bytes && fread(text->bytes, 1, (size_t)text->count, f) == (size_t)text->count;
    if (f) fclose(f);
    return ok ||
           lk_error_set(err, LK_EIO, "%s: no file of more than %d characters", path, CONTEXT);
}

/* ---- training ------------------------------------------------------------------------------- */

/* The loss of predicting each next character of a batch of random windows. */
static Tensor *loss_of(Tape *t, Module *net, const Text *text, Rng *rng)
{
    static int64_t now[BATCH * CONTEXT], next[BATCH * CONTEXT];
    for (int b = 0; b < BATCH; b++) {
        const unsigned char *at =
            (unsigned char *)text->bytes + lk_random_int(rng, 0, text->count - CONTEXT);
        for (int i = 0; i < CONTEXT; i++) {
            now[b * CONTEXT + i] = at[i];
            next[b * CONTEXT + i] = at[i + 1];
        }
    }
    Tensor *ids = lk_tensor(t, LK_I64, LK_SHAPE(BATCH, CONTEXT), now);
    Tensor *labels = lk_tensor(t, LK_I64, LK_SHAPE(BATCH * CONTEXT), next);
    Tensor *logits = lk_view(t, lk_forward(t, net, ids), LK_SHAPE(-1, CHARACTERS));
    return lk_cross_entropy(t, logits, labels);
}

static bool train(Tape *t, Module *net, const Text *text, const Options *o, Rng *rng, Error *err)
{
    Optimizer *opt = lk_adam_new(lk_trainable_parameters(net, err), o->lr, err);
    bool ok = opt;
    for (int64_t step = 1; ok && step <= o->steps; step++) {
        Tensor *loss = loss_of(t, net, text, rng);
        lk_optimizer_zero_grad(opt);
        ok = lk_backward(t, loss) && lk_step(opt, err);
        if (ok && (step == 1 || step % 100 == 0 || step == o->steps))
            lk_printf("step %4lld  loss %.3f\n", (long long)step, lk_item(loss));
        lk_tape_reset(t);
    }
    lk_optimizer_free(opt);
    return ok;
}

/* ---- writing -------------------------------------------------------------------------------- */

/* Writes text one character at a time: the next one is drawn among the top_k best, with
 * probabilities softmax(logits / temperature). */
static bool write_text(Tape *t, Module *net, const Options *o, Rng *rng)
{
    int64_t ids[CONTEXT] = { '\n' };
    int64_t n = 1;
    lk_tape_set_grad(t, false);
    for (int64_t i = 0; i < o->length; i++) {
        Tensor *logits = lk_forward(t, net, lk_tensor(t, LK_I64, LK_SHAPE(1, n), ids)), *best;
        Tensor *last = lk_select(t, lk_select(t, logits, 0, 0), 0, -1);
        Tensor *top = lk_topk(t, last, o->top_k, 0, true, &best);
        Tensor *chance = lk_softmax(t, lk_scale(t, top, 1 / o->temperature), 0);
        Tensor *drawn = lk_multinomial(t, rng, chance, 1, false);
        if (!drawn) break;
        int64_t id = (int64_t)lk_at(best, LK_INDEX((int64_t)lk_item(drawn)));
        putchar((int)id);
        if (n == CONTEXT) memmove(ids, ids + 1, sizeof ids - sizeof *ids);
        else n++;
        ids[n - 1] = id;
        lk_tape_reset(t);
    }
    lk_tape_set_grad(t, true);
    printf("\n");
    return lk_tape_error(t)->code == LK_OK;
}

/* ---- the whole program ---------------------------------------------------------------------- */

/* Trains on a text and writes. */
static bool learn(Tape *t, Module *net, const Text *text, const Options *o, Rng *rng, Error *err)
{
    char number[32];
    printf("---- %s parameters learn %s characters\n",
           cli_thousands(lk_count_trainable_parameters(net), number),
           cli_thousands(text->count, (char[32]){ 0 }));
    if (!train(t, net, text, o, rng, err)) return false;
    printf("---- and write\n");
    return write_text(t, net, o, rng);
}

static bool learn_both(Tape *t, Module *net, const Text *text, const Options *o, Rng *rng,
                       Error *err)
{
    LoRAConfig config = { .rank = o->rank,
                          .alpha = 2 * (double)o->rank,
                          .targets = "in_proj_weight,out_proj,linear1,linear2,head" };
    if (!learn(t, net, &text[0], o, rng, err)) return false;
    if (lk_add_lora(net, &config, rng, err) < 1 || lk_train_only_lora(net, NULL, err) < 1)
        return false;
    if (!learn(t, net, &text[1], o, rng, err)) return false;
    printf("---- without LoRA, the base writes as before\n");
    return lk_enable_lora(net, NULL, false, err) > 0 && write_text(t, net, o, rng);
}

static bool run(Tape *t, Rng *rng, const void *chosen, Error *err)
{
    const Options *o = chosen;
    const char *const paths[2] = { o->text, o->second };
    Text text[2] = { { NULL, 0 }, { NULL, 0 } };
    bool ok = true;
    for (int i = 0; i < 2; i++)
        if (!paths[i]) text[i] = generated(i == 1, rng);
        else ok = ok && read_text(paths[i], &text[i], err);
    Module *net = ok && text[0].bytes && text[1].bytes ? gpt_new(rng, err) : NULL;
    ok = net && learn_both(t, net, text, o, rng, err);
    lk_free(net);
    for (int i = 0; i < 2; i++) free(text[i].bytes);
    return ok;
}

int main(int argc, char **argv)
{
    const CliProgram program = { .name = "char_gpt",
                                 .about = "Trains a small GPT on the characters of a text, writes "
                                          "text, and learns a second text with LoRA.",
                                 .options = options };
    Options o = {
        .steps = 200, .length = 200, .top_k = 10, .rank = 8, .lr = 3e-3, .temperature = 0.5
    };
    return cli_main(&program, argc, argv, &o, run);
}
