/* gradcheck - checks the gradient of every operation and prints a table; exits 1 when one is
 * wrong.
 *
 * The cases: examples/own/gradient_table.c. To check an operation of one's own:
 * examples/own/custom_op.c. */
#include <math.h>
#include <string.h>

#include "core/decimal.h"
#include "examples/own/gradient_table.h"
#include "examples/shared/cli.h"

typedef struct Options {
    int64_t seed, threads;
} Options;
static const CliOption options[] = { CLI_SEED(Options), CLI_THREADS(Options), CLI_END };

/* Prints a line for each operation, and in front of it one for each of its wrong cases. */
static bool run(Tape *t, Rng *rng, const void *chosen, Error *err)
{
    (void)t, (void)chosen;
    int failures = 0;
    printf("%-20s %5s  %s\n", "operation", "cases",
           "largest error, as a part of the tolerance 1e-7 + 1e-5 |gradient|");
    GradientCase c = gradient_cases(rng);
    for (bool more = gradient_next(&c); more;) {
        const char *op = c.op;
        int cases = 0, wrong = 0;
        double worst = 0;
        for (; more && strcmp(c.op, op) == 0; more = gradient_next(&c)) {
            cases++;
            wrong += !c.ok;
            worst = fmax(worst, c.worst);
            if (!c.ok) printf("  %s\n", c.message);
        }
        lk_printf("%-20s %5d  %.1e%s\n", op, cases, worst, wrong ? "  WRONG" : "");
        failures += wrong;
    }
    printf("not differentiable:");
    for (const char *const *op = gradient_exempt; *op; op++) printf(" %s", *op);
    printf("\n");
    if (failures) lk_error_set(err, LK_EVALUE, "%d cases have a wrong gradient", failures);
    return failures == 0;
}

int main(int argc, char **argv)
{
    const CliProgram program = { .name = "gradcheck",
                                 .about =
                                     "Checks the gradient of every operation and prints a table.",
                                 .options = options };
    return cli_main(&program, argc, argv, &(Options){ .seed = 0 }, run);
}
