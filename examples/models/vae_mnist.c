/* vae_mnist - a variational autoencoder (Kingma & Welling 2013) that draws digits.
 *
 * The encoder turns a picture into a normal distribution of 20 numbers z, the decoder turns z back
 * into a picture. The loss of a picture is what the decoder gets wrong, plus how far the
 * distribution is from N(0, 1). So in the end the decoder makes digits from random z. The
 * program writes 100 of them to a file, before the training and after each epoch.
 *
 * Without MNIST it learns rendered digits. */
#include <string.h>

#include "core/clock.h"
#include "core/decimal.h"
#include "core/ops.h"
#include "data/image.h"
#include "data/loader.h"
#include "examples/shared/cli.h"
#include "nn/activation.h"
#include "nn/linear.h"
#include "nn/sequential.h"
#include "optim/optimizer.h"

enum { SIDE = 28, PIXELS = SIDE * SIDE, ROWS = 10 }; /* the file has ROWS × ROWS digits */

typedef struct Options {
    const char *data, *picture;
    int64_t seed, threads, epochs, batch, limit, hidden, latent;
    double lr;
} Options;

static const CliOption options[] = {
    CLI_DATA(Options),
    CLI_SEED(Options),
    CLI_THREADS(Options),
    CLI_EPOCHS(Options),
    CLI_INT("batch", Options, batch, "N", 1, 10000, "images of a batch"),
    CLI_INT("limit", Options, limit, "N", 0, 1e9, "batches of each epoch; 0: all"),
    CLI_INT("hidden", Options, hidden, "N", 1, 4096, "units of both hidden layers"),
    CLI_INT("latent", Options, latent, "N", 1, 1024, "numbers that stand for a picture"),
    CLI_DOUBLE("lr", Options, lr, "X", 0, 1, "Adam's learning rate"),
    CLI_TEXT("picture", Options, picture, "FILE", "for the samples: PNG, or PGM if it ends so"),
    CLI_END,
};

/* ---- the model ------------------------------------------------------------------------------ */

typedef struct VAE {
    Module base;
    Module *encoder, *mean, *log_variance, *decoder;
} VAE;

static const ModuleType vae_type = {
    LK_CLASS(VAE),
    .fields = LK_FIELDS(LK_CHILD(VAE, encoder), LK_CHILD(VAE, mean), LK_CHILD(VAE, log_variance),
                        LK_CHILD(VAE, decoder)),
};

static Module *vae_new(const Options *o, Rng *rng, Error *err)
{
    VAE *m = lk_module_new(&vae_type, err);
    if (!m) return NULL;
    Module *in = lk_linear_new(PIXELS, o->hidden, true, rng, err);
    m->encoder = lk_sequential_new(LK_MODULES(in, lk_relu_new(err)), err);
    m->mean = lk_linear_new(o->hidden, o->latent, true, rng, err);
    m->log_variance = lk_linear_new(o->hidden, o->latent, true, rng, err);
    Module *up = lk_linear_new(o->latent, o->hidden, true, rng, err);
    Module *out = lk_linear_new(o->hidden, PIXELS, true, rng, err);
    m->decoder = lk_sequential_new(LK_MODULES(up, lk_relu_new(err), out), err);
    return lk_module_complete(&m->base, m->encoder && m->mean && m->log_variance && m->decoder);
}

/* ∑ over all pictures of a batch; their sum is the negative evidence lower bound. */
typedef struct Losses {
    Tensor *picture;    /* binary cross entropy of the pixels */
    Tensor *divergence; /* KL(N(mean, variance) ‖ N(0, 1)) */
} Losses;

/* x: pixels from 0 to 1 */
static Losses losses_of(Tape *t, Module *net, Tensor *x, Rng *rng)
{
    VAE *m = (VAE *)net;
    x = lk_view(t, x, LK_SHAPE(-1, PIXELS));
    Tensor *inner = lk_forward(t, m->encoder, x);
    Tensor *mean = lk_forward(t, m->mean, inner);
    Tensor *log_variance = lk_forward(t, m->log_variance, inner);
    Tensor *variance = lk_exp(t, log_variance);

    /* z is drawn as mean + deviation · noise: gradients flow through mean and deviation. */
    Tensor *noise = mean ? lk_randn(t, rng, LK_F32, mean->ndim, mean->shape) : NULL;
    Tensor *z = lk_add(t, mean, lk_mul(t, lk_sqrt(t, variance), noise));
    Tensor *logits = lk_forward(t, m->decoder, z);

    /* ½ Σ (mean² + variance - ln variance - 1) */
    Tensor *terms = lk_add(t, lk_square(t, mean), lk_sub(t, variance, log_variance));
    Tensor *sum = lk_sum(t, lk_add_scalar(t, terms, -1), LK_ALL, false);
    return (Losses){ lk_bce_with_logits(t, logits, x, NULL, LK_SUM), lk_scale(t, sum, 0.5) };
}

/* ---- pictures ------------------------------------------------------------------------------- */

/* Decodes z (ROWS², latent) and writes the digits side by side. */
static bool write_samples(Tape *t, Module *net, Tensor *z, const char *path, Error *err)
{
    lk_tape_set_grad(t, false);
    Tensor *x = lk_sigmoid(t, lk_forward(t, ((VAE *)net)->decoder, z));
    Tensor *cells = lk_view(t, x, LK_SHAPE(ROWS, ROWS, SIDE, SIDE)); /* row, column, y, x */
    Tensor *lines = lk_permute(t, cells, LK_DIMS(0, 2, 1, 3));
    Tensor *sheet = lk_reshape(t, lines, LK_SHAPE(ROWS * SIDE, ROWS * SIDE));
    size_t length = strlen(path);
    bool pgm = length > 4 && strcmp(path + length - 4, ".pgm") == 0;
    bool ok = lk_tape_ok(t, err) &&
              (pgm ? lk_write_pnm(sheet, path, err) : lk_write_png(sheet, path, err));
    lk_tape_reset(t);
    lk_tape_set_grad(t, true);
    return ok;
}

/* ---- training ------------------------------------------------------------------------------- */

/* One pass over the images, training with opt, if that is not NULL. picture and divergence are
 * the means of an image. */
static bool pass(Tape *t, Module *net, DataLoader *loader, int64_t limit, Optimizer *opt, Rng *rng,
                 double *picture, double *divergence, Error *err)
{
    int64_t batches = 0, images = 0;
    *picture = *divergence = 0;
    lk_tape_set_grad(t, opt);
    lk_loader_begin(loader);
    for (Batch b; batches < limit && lk_loader_next(loader, &b); batches++) {
        int64_t n = lk_size(b.x, 0);
        Losses l = losses_of(t, net, b.x, rng);
        Tensor *loss = lk_scale(t, lk_add(t, l.picture, l.divergence), 1.0 / (double)n);
        if (opt) lk_optimizer_zero_grad(opt);
        if (!loss || (opt && (!lk_backward(t, loss) || !lk_step(opt, err)))) return false;
        *picture += lk_item(l.picture);
        *divergence += lk_item(l.divergence);
        images += n;
        lk_tape_reset(t);
    }
    *picture /= (double)images;
    *divergence /= (double)images;
    lk_tape_set_grad(t, true);
    return true;
}

static bool learn(Tape *t, Module *net, const CliDigits *digits, Tensor *z, const Options *o,
                  Rng *rng, Error *err)
{
    int64_t limit = o->limit ? o->limit : INT64_MAX;
    DataLoader *training = lk_loader_new(digits->train, o->batch, true, rng, err);
    DataLoader *testing = lk_loader_new(digits->test, 1000, false, rng, err);
    Optimizer *opt = lk_adam_new(lk_parameters(net, err), o->lr, err);
    bool ok = training && testing && opt && write_samples(t, net, z, o->picture, err);
    for (int64_t epoch = 1; ok && epoch <= o->epochs; epoch++) {
        double start = lk_seconds(), picture, divergence, test_picture, test_divergence;
        ok = pass(t, net, training, limit, opt, rng, &picture, &divergence, err) &&
             pass(t, net, testing, limit, NULL, rng, &test_picture, &test_divergence, err) &&
             write_samples(t, net, z, o->picture, err);
        if (ok)
            lk_printf("epoch %lld  loss %.2f = %.2f + %.2f  test loss %.2f  %.1f s\n",
                      (long long)epoch, picture + divergence, picture, divergence,
                      test_picture + test_divergence, lk_seconds() - start);
    }
    lk_optimizer_free(opt);
    lk_loader_free(training);
    lk_loader_free(testing);
    return ok;
}

static bool run(Tape *t, Rng *rng, const void *chosen, Error *err)
{
    const Options *o = chosen;
    CliDigits digits;
    if (!cli_digits(o->data, LK_TO_TENSOR, &digits, err)) return false;
    Module *net = vae_new(o, rng, err);
    Tensor *z = lk_tensor_new(LK_F32, LK_SHAPE(ROWS * ROWS, o->latent), err);
    bool ok = net && z && lk_normal_(z, 0, 1, rng);
    if (ok) lk_print_module(stdout, net);
    if (ok) printf("\nloss of an image = cross entropy of its pixels + divergence\n");
    ok = ok && learn(t, net, &digits, z, o, rng, err);
    if (ok) printf("%d digits from random numbers: %s\n", ROWS * ROWS, o->picture);
    lk_free(z);
    lk_free(net);
    cli_digits_free(&digits);
    return ok;
}

int main(int argc, char **argv)
{
    const CliProgram program = { .name = "vae_mnist",
                                 .about = "Trains a variational autoencoder on MNIST (or on "
                                          "rendered digits) and writes a picture of samples.",
                                 .options = options };
    Options o = { .picture = "vae_mnist.png",
                  .epochs = 5,
                  .batch = 128,
                  .hidden = 256,
                  .latent = 20,
                  .lr = 1e-3 };
    return cli_main(&program, argc, argv, &o, run);
}
