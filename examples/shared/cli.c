/* cli.c - options from a table, errors in one line, the search for data. How to use it:
 * examples/shared/cli.h. */
#include "examples/shared/cli.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "core/decimal.h"
#include "data/digits.h"

/* ---- options -------------------------------------------------------------------------------- */

enum { STATUS_FAILED = 1, STATUS_USAGE = 2 };

static void *member(void *options, const CliOption *o) { return (char *)options + o->offset; }

LK_PRINTF(2, 3)
static _Noreturn void usage_error(const CliProgram *program, const char *format, ...)
{
    char text[1024], shown[4 * sizeof text]; /* one line, whatever the arguments hold */
    va_list args;
    va_start(args, format);
    lk_vsnprintf(text, sizeof text, format, args);
    va_end(args);
    lk_printable(text, shown, sizeof shown);
    fprintf(stderr, "%s: %s (--help lists the options)\n", program->name, shown);
    exit(STATUS_USAGE);
}

static void print_help(const CliProgram *program, void *options)
{
    int column = 18; /* where the explanations begin: behind the longest option */
    for (const CliOption *o = program->options; o->kind != CLI_KIND_END; o++) {
        int end = (int)(strlen(o->name) + strlen(o->value)) + 7;
        if (end > column) column = end;
    }
    printf("usage: %s [options]\n%s\n\n", program->name, program->about);
    for (const CliOption *o = program->options; o->kind != CLI_KIND_END; o++) {
        int width = printf("  --%s %s", o->name, o->value);
        printf("%*s%s", column - width, "", o->help);
        const void *at = member(options, o);
        if (o->kind == CLI_KIND_INT) printf(" (default %lld)", (long long)*(const int64_t *)at);
        if (o->kind == CLI_KIND_DOUBLE) lk_printf(" (default %g)", *(const double *)at);
        if (o->kind == CLI_KIND_TEXT && *(const char *const *)at)
            printf(" (default %s)", *(const char *const *)at);
        putchar('\n');
    }
    printf("  %-*s%s\n", column - 2, "-h, --help", "this text");
}

/* Reads digits only. strtoll alone would allow white space in front, and anything behind. */
static int64_t parse_int(const CliProgram *program, const CliOption *o, const char *text)
{
    char *end;
    errno = 0;
    long long n = strtoll(text, &end, 10);
    if (!isdigit((unsigned char)text[*text == '-']) || *end != '\0')
        usage_error(program, "--%s: '%s' is not a whole number", o->name, text);
    if (errno == ERANGE || (double)n < o->min || (double)n > o->max)
        usage_error(program, "--%s: %s is outside %.0f to %.0f", o->name, text, o->min, o->max);
    return n;
}

static double parse_double(const CliProgram *program, const CliOption *o, const char *text)
{
    const char *end;
    double x = lk_strtod(text, &end);
    /* strtod also takes "nan", "inf", hexadecimal numbers and white space in front */
    bool plain = text[strspn(text, "+-.0123456789eE")] == '\0';
    if (!plain || end == text || *end != '\0')
        usage_error(program, "--%s: '%s' is not a number", o->name, text);
    if (!isfinite(x) || x < o->min || x > o->max)
        usage_error(program, "--%s: %s is outside %g to %g", o->name, text, o->min, o->max);
    return x;
}

static void store(const CliProgram *program, const CliOption *o, const char *text, void *options)
{
    void *at = member(options, o);
    bool any = o->kind == CLI_KIND_ANY_TEXT;
    if (*text == '\0' && !any) usage_error(program, "--%s: the value is empty", o->name);
    if (o->kind == CLI_KIND_INT) *(int64_t *)at = parse_int(program, o, text);
    if (o->kind == CLI_KIND_DOUBLE) *(double *)at = parse_double(program, o, text);
    if (o->kind == CLI_KIND_TEXT || any) *(const char **)at = text;
}

/* The option whose name is the first n characters of text. */
static const CliOption *find_option(const CliProgram *program, const char *text, size_t n)
{
    for (const CliOption *o = program->options; o->kind != CLI_KIND_END; o++)
        if (strlen(o->name) == n && strncmp(o->name, text, n) == 0) return o;
    return NULL;
}

/* Whether --NAME or --NAME=VALUE is among the arguments. A value begins with "--" for CLI_ANY_TEXT
 * only, so others are not taken for options. */
static bool is_given(int argc, char **argv, const char *name)
{
    size_t n = strlen(name);
    for (int i = 1; i < argc; i++)
        if (strncmp(argv[i], "--", 2) == 0 && strcspn(argv[i] + 2, "=") == n &&
            strncmp(argv[i] + 2, name, n) == 0)
            return true;
    return false;
}

static void check_exclusions(const CliProgram *program, int argc, char **argv)
{
    for (const CliExclusion *e = program->exclusions; e && e->option; e++)
        for (int i = 0; is_given(argc, argv, e->option) && i < CLI_OTHERS && e->others[i]; i++)
            if (is_given(argc, argv, e->others[i]))
                usage_error(program, "--%s %s: --%s does not go with it", e->option, e->why,
                            e->others[i]);
}

void cli_parse(const CliProgram *program, int argc, char **argv, void *options)
{
#ifdef SIGXFSZ
    /* a file at its size limit is an error of writing, and must not end the program */
    signal(SIGXFSZ, SIG_IGN);
#endif
    for (int i = 1; i < argc; i++) {
        const char *argument = argv[i];
        if (strcmp(argument, "--help") == 0 || strcmp(argument, "-h") == 0) {
            print_help(program, options);
            exit(cli_exit(program, true, &(Error){ 0 }));
        }
        if (strncmp(argument, "--", 2) != 0)
            usage_error(program, "unexpected argument '%s'", argument);
        size_t length = strcspn(argument + 2, "=");
        const CliOption *o = find_option(program, argument + 2, length);
        if (!o) usage_error(program, "unknown option --%.*s", (int)length, argument + 2);
        if (o->kind == CLI_KIND_FLAG) {
            if (argument[2 + length] == '=') usage_error(program, "--%s takes no value", o->name);
            *(bool *)member(options, o) = true;
        } else if (argument[2 + length] == '=') {
            store(program, o, argument + 2 + length + 1, options);
        } else {
            /* `--json --seed 3`: a forgotten file name, not a file called --seed */
            bool any = o->kind == CLI_KIND_ANY_TEXT && i + 1 < argc;
            const char *value = i + 1 < argc ? argv[++i] : "--";
            if (strncmp(value, "--", 2) == 0 && !any)
                usage_error(program, "--%s needs a value, %s", o->name, o->value);
            store(program, o, value, options);
        }
    }
    check_exclusions(program, argc, argv);
}

void cli_set_threads(int64_t threads)
{
    if (threads > 0) lk_set_num_threads((int)threads);
}

/* ---- errors --------------------------------------------------------------------------------- */

int cli_exit(const CliProgram *program, bool ok, const Error *err)
{
    bool written = fflush(stdout) == 0 && !ferror(stdout); /* a full disk shows only here */
    if (err->code != LK_OK) fprintf(stderr, "%s: %s\n", program->name, err->message);
    else if (!written) fprintf(stderr, "%s: the output could not be written\n", program->name);
    else if (!ok) fprintf(stderr, "%s: a check failed, see FAIL above\n", program->name);
    return ok && written && err->code == LK_OK ? EXIT_SUCCESS : STATUS_FAILED;
}

/* ---- the whole program ---------------------------------------------------------------------- */

/* The value of a whole-number option; 0 if the program has no such option. */
static int64_t int_option(const CliProgram *program, const char *name, void *options)
{
    const CliOption *o = find_option(program, name, strlen(name));
    return o ? *(const int64_t *)member(options, o) : 0;
}

int cli_main(const CliProgram *program, int argc, char **argv, void *options, CliRun *run)
{
    typedef struct OnlySeed {
        int64_t seed;
    } OnlySeed;
    static const CliOption only_seed[] = { CLI_SEED(OnlySeed), CLI_END };
    OnlySeed seed = { 0 };
    CliProgram whole = *program;
    if (!whole.options) {
        whole.options = only_seed;
        options = &seed;
    }
    cli_parse(&whole, argc, argv, options);
    cli_set_threads(int_option(&whole, "threads", options));
    Rng rng;
    lk_manual_seed(&rng, (uint64_t)int_option(&whole, "seed", options));
    Error err = { 0 };
    Tape *t = lk_tape_quiet_new(&err); /* cli_exit prints the message, once */
    bool ok = t && run(t, &rng, options, &err);
    ok = lk_tape_ok(t, &err) && ok;
    lk_tape_free(t);
    return cli_exit(&whole, ok, &err);
}

/* ---- checks --------------------------------------------------------------------------------- */

void cli_line(void)
{
    printf("----------------------------------------------------------------\n");
}

void cli_verify(bool *ok, bool holds, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    printf("%s  ", holds ? "PASS" : "FAIL");
    lk_vfprintf(stdout, format, args);
    putchar('\n');
    va_end(args);
    *ok = *ok && holds;
}

/* ---- numbers -------------------------------------------------------------------------------- */

const char *cli_thousands(int64_t n, char text[32])
{
    char digits[32];
    int count = snprintf(digits, sizeof digits, "%lld", (long long)n);
    char *at = text;
    for (int i = 0; i < count; i++) {
        if (i > 0 && (count - i) % 3 == 0) *at++ = ',';
        *at++ = digits[i];
    }
    *at = '\0';
    return text;
}

/* ---- data ----------------------------------------------------------------------------------- */

/* Writes root/middle/name into path, and returns whether `holds` accepts that folder. */
static bool holds_at(const char *root, const char *middle, const char *name, CliHolds *holds,
                     char path[LK_PATH_MAX])
{
    if (!root || *root == '\0') return false;
    int length = snprintf(path, LK_PATH_MAX, "%s/%s%s", root, middle, name);
    return length > 0 && length < LK_PATH_MAX && holds(path);
}

bool cli_find(const char *data, const char *name, CliHolds *holds, char path[LK_PATH_MAX],
              Error *err)
{
    if (data)
        return holds_at(data, "", name, holds, path) || holds_at(data, "", "", holds, path) ||
               lk_error_set(
                   err, LK_EIO,
                   "--data %s: no data in %s/%s; leave --data away to look in the usual places",
                   data, data, name);
    return holds_at(getenv("LORIKEET_DATA"), "", name, holds, path) ||
           holds_at(getenv("HOME"), ".cache/lorikeet/", name, holds, path);
}

bool cli_digits(const char *data, Transform transform, CliDigits *digits, Error *err)
{
    /* as many as MNIST has */
    enum { TRAIN_COUNT = 60000, TEST_COUNT = 10000, TRAIN_SEED = 1, TEST_SEED = 2 };
    *digits = (CliDigits){ 0 };
    if (cli_find(data, "mnist", lk_mnist_exists, digits->folder, err)) {
        digits->train = lk_mnist_new(digits->folder, true, transform, err);
        digits->test = digits->train ? lk_mnist_new(digits->folder, false, transform, err) : NULL;
    } else if (err->code == LK_OK) {
        digits->rendered = true;
        digits->folder[0] = '\0';
        digits->train = lk_rendered_digits_new(TRAIN_COUNT, TRAIN_SEED, transform, err);
        digits->test =
            digits->train ? lk_rendered_digits_new(TEST_COUNT, TEST_SEED, transform, err) : NULL;
    }
    if (!digits->test) {
        cli_digits_free(digits);
        return false;
    }
    if (digits->rendered)
        printf(
            "Data: rendered digits; no MNIST was found (sh examples/get_mnist.sh downloads it)\n");
    else printf("Data: MNIST from %s\n", digits->folder);
    printf("Images: %lld for training, %lld for testing\n", (long long)digits->train->count,
           (long long)digits->test->count);
    return true;
}

void cli_digits_free(CliDigits *digits)
{
    lk_dataset_free(digits->train);
    lk_dataset_free(digits->test);
    digits->train = digits->test = NULL;
}
