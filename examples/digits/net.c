/* net.c - two perceptrons with named layers: a struct, a forward and a table each. Used by
 * lora.c. */
#include "examples/digits/net.h"

#include "core/ops.h"
#include "nn/activation.h"
#include "nn/linear.h"

/* relu(linear(x)) */
static Tensor *hidden(Tape *t, Module *linear, Module *relu, Tensor *x)
{
    return lk_forward(t, relu, lk_forward(t, linear, x));
}

/* ---- RichBoyNet ----------------------------------------------------------------------------- */

static Tensor *rich_boy_net_forward(Tape *t, Module *self, Tensor *img)
{
    RichBoyNet *net = (RichBoyNet *)self;
    Tensor *x = lk_view(t, img, LK_SHAPE(-1, DIGITS_PIXELS));
    x = hidden(t, net->linear1, net->relu, x);
    x = hidden(t, net->linear2, net->relu, x);
    return lk_forward(t, net->linear3, x);
}

static const ModuleType rich_boy_net_type = {
    LK_CLASS(RichBoyNet),
    .forward = rich_boy_net_forward,
    .fields = LK_FIELDS(LK_CHILD(RichBoyNet, linear1), LK_CHILD(RichBoyNet, linear2),
                        LK_CHILD(RichBoyNet, linear3), LK_CHILD(RichBoyNet, relu)),
};

Module *rich_boy_net_new(Rng *rng, Error *err)
{
    RichBoyNet *net = lk_module_new(&rich_boy_net_type, err);
    if (!net) return NULL;
    /* The order matters: each layer draws its weights from the generator. */
    net->linear1 = lk_linear_new(DIGITS_PIXELS, 1000, true, rng, err);
    net->linear2 = lk_linear_new(1000, 2000, true, rng, err);
    net->linear3 = lk_linear_new(2000, DIGITS_CLASSES, true, rng, err);
    net->relu = lk_relu_new(err);
    return lk_module_complete(&net->base,
                              net->linear1 && net->linear2 && net->linear3 && net->relu);
}

/* ---- NeuralNetwork -------------------------------------------------------------------------- */

static Tensor *neural_network_forward(Tape *t, Module *self, Tensor *img)
{
    NeuralNetwork *net = (NeuralNetwork *)self;
    Tensor *x = lk_view(t, img, LK_SHAPE(-1, DIGITS_PIXELS));
    x = hidden(t, net->linear1, net->relu, x);
    x = hidden(t, net->linear2, net->relu, x);
    x = hidden(t, net->linear3, net->relu, x);
    return lk_forward(t, net->linear4, x);
}

static const ModuleType neural_network_type = {
    LK_CLASS(NeuralNetwork),
    .forward = neural_network_forward,
    .fields = LK_FIELDS(LK_CHILD(NeuralNetwork, linear1), LK_CHILD(NeuralNetwork, linear2),
                        LK_CHILD(NeuralNetwork, linear3), LK_CHILD(NeuralNetwork, linear4),
                        LK_CHILD(NeuralNetwork, relu)),
};

Module *neural_network_new(Rng *rng, Error *err)
{
    NeuralNetwork *net = lk_module_new(&neural_network_type, err);
    if (!net) return NULL;
    net->linear1 = lk_linear_new(DIGITS_PIXELS, 1000, true, rng, err);
    net->linear2 = lk_linear_new(1000, 1500, true, rng, err);
    net->linear3 = lk_linear_new(1500, 1300, true, rng, err);
    net->linear4 = lk_linear_new(1300, DIGITS_CLASSES, true, rng, err);
    net->relu = lk_relu_new(err);
    return lk_module_complete(&net->base, net->linear1 && net->linear2 && net->linear3 &&
                                              net->linear4 && net->relu);
}
