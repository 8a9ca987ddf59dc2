/* everything.c - a user of all of Lorikeet through the one header: rendered digits, a batch, a net
 * with LoRA, a step. */
#include <stdio.h>

#include <lorikeet/lorikeet.h>

static bool train(Tape *t, DataLoader *loader, Module *net, Optimizer *opt, Error *err)
{
    Batch b;
    lk_loader_begin(loader);
    if (!lk_loader_next(loader, &b)) return false;
    Tensor *y = lk_forward(t, net, lk_view(t, b.x, LK_SHAPE(-1, 784)));
    return lk_backward(t, lk_cross_entropy(t, y, b.y)) && lk_step(opt, err);
}

/* There are no such files. The point is that the readers are linked, with the libraries that
 * they need. */
static bool loading_is_refused(Module *net)
{
    Error err = { 0 }, other = { 0 };
    return !lk_load_module(net, "", true, &err) && err.code != LK_OK &&
           !lk_tokenizer_new("", &other) && other.code != LK_OK;
}

int main(void)
{
    Error err = { 0 };
    Rng rng;
    lk_manual_seed(&rng, 0);
    Tape *t = lk_tape_new(&err);
    Dataset *digits = lk_rendered_digits_new(20, 1, LK_TO_TENSOR, &err);
    DataLoader *loader = digits ? lk_loader_new(digits, 10, true, &rng, &err) : NULL;
    Module *net =
        lk_linear_with_lora_new(lk_linear_new(784, 10, true, &rng, &err), 2, 1.0, &rng, &err);
    Optimizer *opt = net ? lk_adam_new(lk_parameters(net, &err), 1e-3, &err) : NULL;

    bool ok = t && loader && opt && train(t, loader, net, opt, &err) && loading_is_refused(net);
    if (ok) printf("Lorikeet %s\n", LK_VERSION);
    else
        fprintf(stderr, "everything: %s\n",
                err.code || !t ? err.message : lk_tape_error(t)->message);

    lk_optimizer_free(opt);
    lk_free(net);
    lk_loader_free(loader);
    lk_dataset_free(digits);
    lk_tape_free(t);
    return ok ? 0 : 1;
}
