/* exercise.c - the main of the six exercises and their helpers; the exercises themselves are ex1_…
 * to ex6_…. */
#include "examples/exercises/exercise.h"

#include <math.h>

#include "nn/gradcheck.h"

typedef struct Options {
    int64_t seed;
    const Exercise *exercise;
} Options;
static const CliOption options[] = { CLI_SEED(Options), CLI_END };

static bool run(Tape *t, Rng *rng, const void *chosen, Error *err)
{
    const Exercise *exercise = ((const Options *)chosen)->exercise;
    if (!exercise->notebook(t, rng, err)) return false;
    cli_line();
    bool ok = exercise->check(t, rng, err);
    if (err->code == LK_OK)
        printf("%s: %s\n", exercise->name, ok ? "all checks passed" : "A CHECK FAILED");
    return ok;
}

int exercise_main(const Exercise *exercise, int argc, char **argv)
{
    const CliProgram program = { .name = exercise->name,
                                 .about = exercise->about,
                                 .options = options };
    return cli_main(&program, argc, argv, &(Options){ .exercise = exercise }, run);
}

void show(const char *label, const Tensor *x)
{
    if (!x) return;
    printf("%s ", label);
    lk_print(stdout, x);
    putchar('\n');
}

void verify_gradients(bool *ok, Module *m, Tensor *x)
{
    GradcheckOptions strict = { .atol = 1e-7, .rtol = 1e-5 };
    GradcheckReport r;
    if (lk_gradcheck_module(m, x, &strict, &r) && r.checked > 0)
        cli_verify(
            ok, true,
            "%lld gradients equal central differences (worst error: %.1g of the tolerance, at %s)",
            (long long)r.checked, r.worst, r.name);
    else cli_verify(ok, false, "gradients: %s", r.message);
}

double largest_difference(Tape *t, Tensor *a, Tensor *b)
{
    if (!a || !b || !lk_same_shape(a, b)) return NAN;
    Tensor *difference = lk_max(t, lk_abs(t, lk_sub(t, a, b)), LK_ALL, false);
    return difference ? lk_item(difference) : NAN;
}

Tensor *random_input_new(int64_t rows, int64_t columns, Rng *rng, Error *err)
{
    Tensor *x = lk_tensor_new(LK_F64, LK_SHAPE(rows, columns), err);
    if (!x) return NULL;
    lk_normal_(x, 0.0, 1.0, rng);
    lk_set_requires_grad(x, true);
    return x;
}
