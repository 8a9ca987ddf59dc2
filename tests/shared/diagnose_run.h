/* diagnose_run.h - a small training for lk_print_training to look at; tests/nn uses it. */
#ifndef DIAGNOSE_RUN_H
#define DIAGNOSE_RUN_H

#include <math.h>

#include "core/ops.h"
#include "nn/diagnose.h"
#include "tests/shared/nets.h"

/* ---- a net and what is done to it ----------------------------------------------------------- */

typedef struct Run {
    Tape *t;
    Rng rng;
    Module *net, *other; /* other: what a mistake needs beside it */
    Optimizer *opt;
    Tensor *x, *y;
    Tensor *loose; /* a parameter that no table lists: it has no other owner */
} Run;

static inline Tensor *loss_of(Run *r, Module *net)
{
    return lk_mse_loss(r->t, lk_forward(r->t, net, r->x), r->y);
}

static inline Optimizer *adam_of(Module *net)
{
    return lk_adam_new(lk_parameters(net, NULL), 0.01, NULL);
}

static inline void step(Run *r)
{
    lk_optimizer_zero_grad(r->opt);
    check(lk_backward(r->t, loss_of(r, r->net)) && lk_step(r->opt, NULL), "%s",
          lk_tape_error(r->t)->message);
}

static inline void healthy(Run *r) { r->opt = adam_of(r->net), step(r); }

static inline const char *look(Run *r)
{
    static char text[8192];
    FILE *f = fmemopen(text, sizeof text, "w");
    lk_print_training(f, r->net, r->opt);
    fclose(f);
    return text;
}

static inline void check_lines(const char *name, const char *text, const char *expected)
{
    int lines = 0;
    for (const char *p = text; (p = strstr(p, "\n! ")); p++) lines++;
    check(lines == (expected != NULL), "%s: %d causes\n%s", name, lines, text);
    check(!expected || strstr(text, expected), "%s: not \"%s\" but\n%s", name, expected, text);
}

static inline void begin(Run *r)
{
    *r = (Run){ .t = quiet_tape() };
    lk_manual_seed(&r->rng, 7);
    r->net = net_new(6, 5, 4, 3, &r->rng, NULL);
    r->x = lk_tensor_new(LK_F32, LK_SHAPE(8, 6), NULL);
    r->y = lk_tensor_new(LK_F32, LK_SHAPE(8, 3), NULL);
    check(lk_normal_(r->x, 0, 1, &r->rng) && lk_normal_(r->y, 0, 1, &r->rng));
}

static inline void end(Run *r)
{
    lk_tensor_free(r->loose);
    lk_optimizer_free(r->opt);
    lk_free(r->net), lk_free(r->other), lk_free(r->x), lk_free(r->y);
    lk_tape_free(r->t);
}

#endif
