/* from_torch - two nets come from PyTorch, are trained on here, and go back. examples/own/
 * from_torch.py is the other half:
 *
 *     python3 examples/own/from_torch.py write nets      trains and saves them
 *     build/release/examples/from_torch nets             this program
 *     python3 examples/own/from_torch.py check nets      compares what came back
 *
 * A field of a struct here has the name of the attribute there. So the names of the state dict are
 * PyTorch's, "4.shortcut.0.weight", and nothing is to be translated. */
#include <math.h>

#include "core/ops.h"
#include "data/optimizer_file.h"
#include "data/safetensors.h"
#include "examples/shared/cli.h"
#include "nn/activation.h"
#include "nn/batch_norm.h"
#include "nn/conv.h"
#include "nn/embedding.h"
#include "nn/flatten.h"
#include "nn/layer_norm.h"
#include "nn/linear.h"
#include "nn/pool.h"
#include "nn/recurrent.h"
#include "nn/sequential.h"
#include "nn/transformer.h"

/* ---- class Tagger(nn.Module): a class for each of the words, whose ids are (B, S) ----------- */

typedef struct Tagger {
    Module base;
    Module *embedding, *lstm, *encoder, *norm, *head;
} Tagger;

static Tensor *tagger_forward(Tape *t, Module *self, Tensor *ids)
{
    Tagger *net = (Tagger *)self;
    Tensor *x = lk_forward(t, net->lstm, lk_forward(t, net->embedding, ids));
    Tensor *scores = lk_forward(t, net->head,
                                lk_forward(t, net->norm, //
                                           lk_forward(t, net->encoder, x)));
    return lk_transpose(t, scores, 1, 2); /* (B, classes, S), as lk_cross_entropy wants it */
}

static const ModuleType tagger_type = {
    LK_CLASS(Tagger),
    .forward = tagger_forward,
    .fields = LK_FIELDS(LK_CHILD(Tagger, embedding), LK_CHILD(Tagger, lstm),
                        LK_CHILD(Tagger, encoder), LK_CHILD(Tagger, norm), LK_CHILD(Tagger, head)),
};

static Module *tagger_new(Rng *rng, Error *err)
{
    Tagger *net = lk_module_new(&tagger_type, err);
    if (!net) return NULL;
    net->embedding = lk_embedding_new(30, 16, -1, rng, err);
    net->lstm = lk_lstm_new(16, 16, (RNNOptions){ .batch_first = true }, rng, err);
    net->encoder = lk_transformer_encoder_layer_new(
        16, 4, 32, (EncoderOptions){ .batch_first = true }, rng, err);
    net->norm = lk_layer_norm_new(LK_SHAPE(16), 1e-5, err);
    net->head = lk_linear_new(16, 5, true, rng, err);
    return lk_module_complete(&net->base, net->embedding && net->lstm && net->encoder &&
                                              net->norm && net->head);
}

/* ---- class Block(nn.Module): relu(x + f(x)) ------------------------------------------------- */

typedef struct Block {
    Module base;
    Module *conv1, *bn1, *conv2, *bn2;
    Module *shortcut; /* for a stride of 2, which x must have too; else NULL */
} Block;

static Tensor *block_forward(Tape *t, Module *self, Tensor *x)
{
    Block *b = (Block *)self;
    Tensor *y = lk_relu(t, lk_forward(t, b->bn1, lk_forward(t, b->conv1, x)));
    y = lk_forward(t, b->bn2, lk_forward(t, b->conv2, y));
    return lk_relu(t, lk_add(t, y, b->shortcut ? lk_forward(t, b->shortcut, x) : x));
}

static const ModuleType block_type = {
    LK_CLASS(Block),
    .forward = block_forward,
    .fields = LK_FIELDS(LK_CHILD(Block, conv1), LK_CHILD(Block, bn1), LK_CHILD(Block, conv2),
                        LK_CHILD(Block, bn2), LK_CHILD(Block, shortcut)),
};

static Module *block_new(int64_t inputs, int64_t outputs, int64_t stride, Rng *rng, Error *err)
{
    Block *b = lk_module_new(&block_type, err);
    if (!b) return NULL;
    b->conv1 = lk_conv2d_square_new(inputs, outputs, 3, stride, 1, false, rng, err);
    b->bn1 = lk_batch_norm2d_new(outputs, 1e-5, 0.1, err);
    b->conv2 = lk_conv2d_square_new(outputs, outputs, 3, 1, 1, false, rng, err);
    b->bn2 = lk_batch_norm2d_new(outputs, 1e-5, 0.1, err);
    if (stride != 1) {
        Module *conv = lk_conv2d_square_new(inputs, outputs, 1, stride, 0, false, rng, err);
        b->shortcut =
            lk_sequential_new(LK_MODULES(conv, lk_batch_norm2d_new(outputs, 1e-5, 0.1, err)), err);
    }
    return lk_module_complete(&b->base, b->conv1 && b->bn1 && b->conv2 && b->bn2 &&
                                            (b->shortcut || stride == 1));
}

/* ---- an nn.Sequential: a class for each of the pictures (B, 3, H, W) ------------------------ */

static Module *resnet_new(Rng *rng, Error *err)
{
    Module *conv = lk_conv2d_square_new(3, 8, 3, 1, 1, false, rng, err);
    Module *bn = lk_batch_norm2d_new(8, 1e-5, 0.1, err);
    Module *first = block_new(8, 8, 1, rng, err);
    Module *second = block_new(8, 16, 2, rng, err);
    Module *pool = lk_adaptive_avg_pool2d_new(1, 1, err), *flatten = lk_flatten_new(1, -1, err);
    Module *fc = lk_linear_new(16, 5, true, rng, err);
    return lk_sequential_new(
        LK_MODULES(conv, bn, lk_relu_new(err), first, second, pool, flatten, fc), err);
}

/* ---- there and back ------------------------------------------------------------------------- */

typedef struct Task {
    const char *name; /* begins the names of its files */
    Module *(*net_new)(Rng *rng, Error *err);
    Optimizer *(*optimizer_new)(TensorList params, double lr, Error *err);
    double lr, momentum;
} Task;
static const Task tasks[] = {
    { "tagger", tagger_new, lk_adam_new, .lr = 1e-2 },
    { "resnet", resnet_new, lk_sgd_new, .lr = 0.05, .momentum = 0.9 },
};

typedef struct Run {
    Task task;
    const char *dir;
    Module *net;
    Optimizer *opt;
    StateDict *expected;    /* from PyTorch: x, labels, output, and losses of later steps */
    char path[LK_PATH_MAX]; /* of the last file */
} Run;

/* Sets the path: DIR/tagger_expected.safetensors. */
static bool find(Run *r, const char *suffix, Error *err)
{
    char name[64];
    snprintf(name, sizeof name, "%s%s.safetensors", r->task.name, suffix);
    return lk_path_join(r->path, r->dir, name, err);
}

static bool load(Run *r, Rng *rng, Error *err)
{
    r->net = r->task.net_new(rng, err);
    r->opt = r->task.optimizer_new(lk_parameters(r->net, err), r->task.lr, err);
    if (!r->opt) return false;
    r->opt->momentum = r->task.momentum;
    if (find(r, "_expected", err)) r->expected = lk_load_safetensors(r->path, err);
    return r->expected && find(r, "", err) && lk_load_module(r->net, r->path, true, err) &&
           find(r, "_optimizer", err) && lk_load_optimizer(r->opt, r->net, r->path, err);
}

/* The net's output in evaluation: batch norm uses its running statistics. */
static Tensor *output(Tape *t, Run *r)
{
    lk_eval(r->net);
    return lk_forward(t, r->net, lk_state_dict_get(r->expected, "x"));
}

static void compare(bool *ok, Tape *t, Run *r)
{
    Tensor *d = lk_sub(t, output(t, r), lk_state_dict_get(r->expected, "output"));
    double most = lk_item(lk_max(t, lk_abs(t, d), LK_ALL, false));
    cli_verify(ok, most < 1e-5, "%s: the outputs differ by at most %.1e", r->task.name, most);
}

/* Makes the steps that PyTorch made after saving. */
static bool train(bool *ok, Tape *t, Run *r, Error *err)
{
    Tensor *x = lk_state_dict_get(r->expected, "x");
    Tensor *labels = lk_state_dict_get(r->expected, "labels");
    Tensor *losses = lk_state_dict_get(r->expected, "losses");
    double most = 0;
    lk_train(r->net, true);
    for (int64_t i = 0; i < lk_size(losses, 0); i++) {
        lk_tape_reset(t);
        lk_optimizer_zero_grad(r->opt);
        Tensor *loss = lk_cross_entropy(t, lk_forward(t, r->net, x), labels);
        if (!lk_backward(t, loss) || !lk_step(r->opt, err)) return false;
        most = fmax(most, fabs(lk_item(loss) - lk_at(losses, LK_INDEX(i))));
    }
    cli_verify(ok, most < 1e-4, "%s: %lld more steps, the losses differ by at most %.1e",
               r->task.name, (long long)lk_size(losses, 0), most);
    return true;
}

static bool save(Tape *t, Run *r, Error *err)
{
    StateDict *back = lk_state_dict_empty_new(err);
    bool ok = back && lk_state_dict_add(back, "output", lk_clone(output(t, r), err), err) &&
              find(r, "_back_output", err) && lk_save_safetensors(back, NULL, r->path, err) &&
              find(r, "_back", err) && lk_save_module(r->net, r->path, err);
    lk_state_dict_free(back);
    return ok;
}

static bool there_and_back(Tape *t, Run *r, Rng *rng, Error *err)
{
    bool ok = load(r, rng, err);
    if (ok) compare(&ok, t, r);
    ok = ok && train(&ok, t, r, err) && save(t, r, err);
    lk_tape_reset(t);
    lk_state_dict_free(r->expected);
    lk_optimizer_free(r->opt);
    lk_free(r->net);
    return ok;
}

static bool run(Tape *t, Rng *rng, const void *dir, Error *err)
{
    if (!dir) printf("Make the nets first: python3 examples/own/from_torch.py write DIR\n");
    bool ok = true;
    for (int i = 0; dir && i < 2; i++)
        ok = there_and_back(t, &(Run){ .task = tasks[i], .dir = dir }, rng, err) && ok;
    return ok;
}

int main(int argc, char **argv)
{
    const CliProgram program = { .name = "from_torch",
                                 .about = "from_torch DIR loads the nets that from_torch.py wrote "
                                          "into DIR, trains them on and saves them.",
                                 .options = (const CliOption[]){ CLI_END } };
    char *dir = argc == 2 && argv[1][0] != '-' ? argv[1] : NULL; /* no option: the rest is */
    return cli_main(&program, dir ? 1 : argc, argv, dir, run);
}
