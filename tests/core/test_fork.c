/* test_fork.c - a child of fork() computes with threads of its own (core/tape.c): the results have
 * the bits of the parent's, and nothing waits for threads that the child has not. */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/ops.h"
#include "nn/linear.h"
#include "optim/clip.h"
#include "optim/optimizer.h"
#include "tests/check.h"

/* large enough for threads; a child that waits in vain is ended then */
enum { SIZE = 400, SECONDS = 300 };

/* A product, a step of training with everything that has threads, and their loss: the same bits
 * each time. */
static Tensor *compute(void)
{
    Rng rng;
    Error err = { 0 };
    lk_manual_seed(&rng, 1);
    Tape *t = lk_tape_new(&err);
    Module *net = lk_linear_new(SIZE, SIZE, true, &rng, &err);
    Optimizer *opt = lk_adam_new(lk_parameters(net, &err), 1e-3, &err);
    Tensor *x = lk_randn(t, &rng, LK_F32, LK_SHAPE(SIZE, SIZE)),
           *w = lk_param_at(net, "weight", &err);
    Tensor *y =
        lk_softmax(t, lk_layer_norm(t, lk_gelu(t, lk_forward(t, net, x)), 1, NULL, NULL, 1e-5), 1);
    bool ok = lk_backward(t, lk_mse_loss(t, y, lk_dropout(t, x, 0.5)));
    TensorList list = lk_parameters(net, &err);
    lk_clip_grad_norm_(&list, 0.1);
    lk_tensor_list_free(&list);
    ok = ok && lk_step(opt, &err);
    Tensor *result = ok ? lk_clone(lk_matmul(t, w, x), &err) : NULL;
    lk_optimizer_free(opt);
    lk_free(net);
    lk_tape_free(t);
    return result;
}

static bool computes_the_same(const Tensor *expected)
{
    Tensor *now = compute();
    bool same = lk_equal(now, expected);
    lk_free(now);
    return same;
}

/* Forks, and says whether the child did what it should: with the threads it finds, with others, in
 * a child of its own. */
static bool child_computes(const Tensor *expected, int generation)
{
    pid_t child = fork();
    if (child == 0) {
        alarm(SECONDS);
        bool ok = computes_the_same(expected);
        lk_set_num_threads(3);
        ok = ok && lk_get_num_threads() >= 1 && computes_the_same(expected);
        ok = ok && (generation == 0 || child_computes(expected, generation - 1));
        _exit(ok ? 0 : 1);
    }
    int status = -1;
    check(child > 0 && waitpid(child, &status, 0) == child);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

Test(fork, child_and_grandchild_compute)
{
    lk_set_num_threads(2);
    Tensor *expected = compute();
    check(expected);
    check(child_computes(expected, 1));
    check(computes_the_same(expected)); /* and the parent goes on */
    check(child_computes(expected, 0));
    lk_free(expected);
}
