/* cli.h - the command line of the example programs: options from a static table, one line for
 * every error, folders of data.
 *
 *     typedef struct Options { int64_t seed; double lr; } Options;
 *     static const CliOption options[] = {
 *         CLI_SEED(Options),
 *         CLI_DOUBLE("lr", Options, lr, "X", 0, 100, "learning rate"),
 *         CLI_END
 *     };
 *
 *     static bool run(Tape *t, Rng *rng, const void *options, Error *err) { … }
 *
 *     int main(int argc, char **argv)
 *     {
 *         const CliProgram program = { .name = "name", .about = "What it does.",
 *                                      .options = options };
 *         return cli_main(&program, argc, argv, &(Options){ .lr = 1e-3 }, run);
 *     }
 */
#ifndef CLI_H
#define CLI_H

#include "core/tape.h"
#include "data/mnist.h"
#include "data/path.h"

typedef struct CliProgram CliProgram;

/* ---- the whole program ---------------------------------------------------------------------- */

/* The program itself: true if all went well. cli_main reports what failed on the tape. */
typedef bool CliRun(Tape *t, Rng *rng, const void *options, Error *err);

/* main from beginning to end: reads the options, whose defaults are in the struct; obeys --seed
 * and --threads, if the program has them; calls run with a generator and a silent tape; and
 * returns the status of cli_exit. */
int cli_main(const CliProgram *program, int argc, char **argv, void *options, CliRun *run);

/* ---- options -------------------------------------------------------------------------------- */

typedef enum CliKind {
    CLI_KIND_END,
    CLI_KIND_INT,
    CLI_KIND_DOUBLE,
    CLI_KIND_TEXT,
    CLI_KIND_ANY_TEXT,
    CLI_KIND_FLAG
} CliKind;

typedef struct CliOption {
    CliKind kind;
    const char *name;  /* "seed": --seed N or --seed=N */
    const char *value; /* what stands for the value in --help: "N" */
    size_t offset;     /* of the member that takes it */
    double min, max;   /* both included */
    const char *help;
} CliOption;

/* It does not compile if the member does not have the C type of its kind. */
#define CLI_OPTION_(kind, name, T, field, ctype, value, min, max, help) \
    { \
        kind, name, value, offsetof(T, field) + 0 * sizeof(_Generic(((T *)0)->field, ctype : 1)), \
            min, max, help \
    }
#define CLI_INT(name, T, field, value, min, max, help) \
    CLI_OPTION_(CLI_KIND_INT, name, T, field, int64_t, value, min, max, help)
#define CLI_DOUBLE(name, T, field, value, min, max, help) \
    CLI_OPTION_(CLI_KIND_DOUBLE, name, T, field, double, value, min, max, help)
#define CLI_TEXT(name, T, field, value, help) \
    CLI_OPTION_(CLI_KIND_TEXT, name, T, field, const char *, value, 0, 0, help)
/* A value that may also be empty or begin with --, which other options take for a forgotten
 * value. */
#define CLI_ANY_TEXT(name, T, field, value, help) \
    CLI_OPTION_(CLI_KIND_ANY_TEXT, name, T, field, const char *, value, 0, 0, help)
/* Without a value: --name makes a bool true. */
#define CLI_FLAG(name, T, field, help) \
    CLI_OPTION_(CLI_KIND_FLAG, name, T, field, bool, "", 0, 0, help)
#define CLI_END \
    { \
        CLI_KIND_END, NULL, NULL, 0, 0, 0, NULL \
    }

/* The options that many programs have; the member carries the same name. */
#define CLI_SEED(T) \
    CLI_INT("seed", T, seed, "N", 0, UINT32_MAX, \
            "seed of the random numbers, as torch.manual_seed")
#define CLI_THREADS(T) \
    CLI_INT("threads", T, threads, "N", 0, 1024, "threads; 0: $OMP_NUM_THREADS, or all processors")
#define CLI_EPOCHS(T) CLI_INT("epochs", T, epochs, "N", 1, 1000, "passes over the training data")
#define CLI_DATA(T) \
    CLI_TEXT("data", T, data, "DIR", "folder of the data; else $LORIKEET_DATA, ~/.cache/lorikeet")
#define CLI_JSON(T) CLI_TEXT("json", T, json, "FILE", "write the results to FILE, as JSON")

/* An option that makes others meaningless. They are refused together with it, so that nobody takes
 * their values for what was done. */
enum { CLI_OTHERS = 12 };
typedef struct CliExclusion {
    const char *option, *why; /* "full", "trains all weights" */
    const char *others[CLI_OTHERS];
} CliExclusion;

struct CliProgram {
    const char *name;
    const char *about;              /* what it does, for --help */
    const CliOption *options;       /* NULL in cli_main: --seed alone */
    const CliExclusion *exclusions; /* up to the first without an option; NULL: none */
};

/* Stores the values of argv in the struct that the table describes. --help or -h prints the table
 * and ends the program with status 0. An argument that the table does not allow ends it with
 * status 2 and one line on stderr that names option and value. */
void cli_parse(const CliProgram *program, int argc, char **argv, void *options);

/* Uses as many threads as --threads says. 0 changes nothing: OpenMP has made its choice, and
 * OMP_NUM_THREADS works as for PyTorch. */
void cli_set_threads(int64_t threads);

/* ---- errors --------------------------------------------------------------------------------- */

/* The status of main: 0 for ok without an error and with all output written, else 1 and one line
 * on stderr that says why: "name: message". */
int cli_exit(const CliProgram *program, bool ok, const Error *err);

/* ---- checks --------------------------------------------------------------------------------- */

void cli_line(void); /* prints a line of dashes; the program's own checks come below it */
/* Prints "PASS  …" or, when the check does not hold, "FAIL  …" and makes *ok false. */
void cli_verify(bool *ok, bool holds, const char *format, ...) LK_PRINTF(3, 4);

/* Writes "2,807,010" into text, and returns text; n >= 0. */
const char *cli_thousands(int64_t n, char text[32]);

/* ---- data ----------------------------------------------------------------------------------- */

/* Looks for the folder `name` that `holds` accepts. With data (the value of --data, or NULL) only
 * DATA/name and DATA itself are tried, and their absence is an error. Without data it takes the
 * first of $LORIKEET_DATA/name and ~/.cache/lorikeet/name, or returns false. */
typedef bool CliHolds(const char *folder);
bool cli_find(const char *data, const char *name, CliHolds *holds, char path[LK_PATH_MAX],
              Error *err);

/* Loads MNIST from where cli_find finds it, else makes 60,000 + 10,000 rendered digits; prints
 * which of them. The caller owns both. */
typedef struct CliDigits {
    Dataset *train, *test;
    bool rendered;
    char folder[LK_PATH_MAX]; /* where MNIST is; "" for rendered digits */
} CliDigits;
bool cli_digits(const char *data, Transform transform, CliDigits *digits, Error *err);
void cli_digits_free(CliDigits *digits);

#endif
