/* net.c - a struct, a forward and a table. */
#include "examples/playground/net.h"

#include "core/ops.h"
#include "nn/activation.h"
#include "nn/linear.h"

static Tensor *net_forward(Tape *t, Module *self, Tensor *images)
{
    Net *net = (Net *)self;
    Tensor *x = lk_view(t, images, LK_SHAPE(-1, NET_PIXELS));
    x = lk_forward(t, net->relu, lk_forward(t, net->linear1, x));
    x = lk_forward(t, net->relu, lk_forward(t, net->linear2, x));
    return lk_forward(t, net->linear3, x);
}

static const ModuleType net_type = {
    LK_CLASS(Net),
    .forward = net_forward,
    .fields = LK_FIELDS(LK_CHILD(Net, linear1), LK_CHILD(Net, linear2), LK_CHILD(Net, linear3),
                        LK_CHILD(Net, relu)),
};

Module *net_new(Rng *rng, Error *err)
{
    Net *net = lk_module_new(&net_type, err);
    if (!net) return NULL;
    /* The order matters: each layer draws its weights from the generator. */
    net->linear1 = lk_linear_new(NET_PIXELS, NET_HIDDEN_1, true, rng, err);
    net->linear2 = lk_linear_new(NET_HIDDEN_1, NET_HIDDEN_2, true, rng, err);
    net->linear3 = lk_linear_new(NET_HIDDEN_2, NET_CLASSES, true, rng, err);
    net->relu = lk_relu_new(err);
    return lk_module_complete(&net->base,
                              net->linear1 && net->linear2 && net->linear3 && net->relu);
}
