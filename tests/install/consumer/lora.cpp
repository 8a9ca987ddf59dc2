// lora.cpp - a user in C++: a Sequential, LoRA in place of its last Linear, a training of A and
// B alone, and the macros for
// arrays, which are other ones than in C.
#include <cstdio>
#include <memory>

#include <lorikeet/lorikeet.h>

struct Free {
    void operator()(Tape *t) const { lk_tape_free(t); }
    void operator()(Module *m) const { lk_free(m); }
    void operator()(Tensor *x) const { lk_free(x); }
    void operator()(Optimizer *o) const { lk_optimizer_free(o); }
};
template <class T> using Owned = std::unique_ptr<T, Free>;

static int failed(const char *where, const Error &err)
{
    std::fprintf(stderr, "lora: %s: %s\n", where, err.message);
    return 1;
}

int main()
{
    Error err = {};
    Rng rng;
    lk_manual_seed(&rng, 0);
    Owned<Tape> t(lk_tape_new(&err));
    Module *first = lk_linear_new(4, 8, true, &rng, &err),
           *last = lk_linear_new(8, 1, true, &rng, &err);
    Owned<Module> net(lk_sequential_new(LK_MODULES(first, lk_relu_new(&err), last), &err));
    if (!t || !net) return failed("making the net", err);

    lk_require_grad(net.get(), "*", false);
    Module *wrapped = lk_linear_with_lora_new(lk_retain(last), 2, 1.0, &rng, &err);
    if (!lk_sequential_set(net.get(), -1, wrapped, &err)) return failed("wrapping", err);
    Owned<Tensor> x(lk_clone(lk_randn(t.get(), &rng, LK_F32, LK_SHAPE(32, 4)), &err));
    Owned<Tensor> y(lk_clone(lk_sum(t.get(), x.get(), LK_DIMS(-1), true), &err));
    Owned<Optimizer> opt(lk_adam_new(lk_trainable_parameters(net.get(), &err), 0.05, &err));
    if (!x || !y || !opt) return failed("preparing", err);

    double losses[2] = {};
    for (int step = 0; step < 50; step++) {
        Tensor *loss = lk_mse_loss(t.get(), lk_forward(t.get(), net.get(), x.get()), y.get());
        losses[step > 0] = lk_item(loss);
        lk_optimizer_zero_grad(opt.get());
        if (!lk_backward(t.get(), loss)) return failed("backward", *lk_tape_error(t.get()));
        if (!lk_step(opt.get(), &err)) return failed("step", err);
        lk_tape_reset(t.get());
    }
    Tensor *both = lk_cat(t.get(), LK_TENSORS(x.get(), y.get()), 1);
    bool ok = losses[1] < losses[0] && lk_size(both, 1) == 5 &&
              lk_at(y.get(), LK_INDEX(0, 0)) == lk_at(both, LK_INDEX(0, 4));
    const Metadata *metadata = nullptr; // LK_METADATA lives until the end of its statement
    ok = ok && (metadata = LK_METADATA({ "format", "pt" }),
                metadata->count == 1 && metadata->entries[0].key[0] == 'f');
    std::printf("loss %g, then %g\n", losses[0], losses[1]);
    return ok ? 0 : 1;
}
