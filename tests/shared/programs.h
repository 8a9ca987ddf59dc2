/* programs.h - runs a program of examples/ and keeps what it writes; for the tests of these
 * programs. */
#ifndef PROGRAMS_H
#define PROGRAMS_H

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "tests/check.h"

/* snprintf that must find enough room. */
static inline void print_to(char *text, size_t room, const char *format, ...) LK_PRINTF(3, 4);
static inline void print_to(char *text, size_t room, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int length = vsnprintf(text, room, format, args);
    va_end(args);
    check(length >= 0 && (size_t)length < room, "no room for '%s'", format);
}

/* The whole file in a buffer of its own, which the caller frees; the text ends with '\0'. */
static inline char *read_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    check(f, "%s cannot be opened", path);
    size_t size = 0, room = 1 << 20;
    char *text = malloc(room);
    check(text);
    size = fread(text, 1, room - 1, f);
    check(size < room - 1, "%s is longer than expected", path);
    fclose(f);
    text[size] = '\0';
    return text;
}

typedef struct Output {
    int status;      /* exit code; -1: ended by a signal */
    char *out, *err; /* what it wrote to stdout and stderr */
} Output;

/* Runs a line of the shell in the folder of the example programs: run_program("./ex1_lora_layer
 * --seed %d", 1). It sees neither $LORIKEET_DATA nor a home folder, unless the line sets them. */
static inline Output run_program(const char *format, ...) LK_PRINTF(1, 2);
static inline Output run_program(const char *format, ...)
{
    /* a test may run many programs: check_scratch's buffers are few */
    static char out[1024], err[1024];
    if (!out[0]) print_to(out, sizeof out, "%s", check_scratch("stdout"));
    if (!err[0]) print_to(err, sizeof err, "%s", check_scratch("stderr"));
    const char *build = getenv("LORIKEET_BUILD_DIR");
    check(build, "LORIKEET_BUILD_DIR, the folder of the build, is not set; ctest sets it");
    char line[4096], command[8192];
    va_list args;
    va_start(args, format);
    int length = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    check(length > 0 && length < (int)sizeof line);
    print_to(command, sizeof command,
             "cd '%s/examples' && { unset LORIKEET_DATA; export HOME=; %s; } >'%s' 2>'%s'", build,
             line, out, err);
    int status = system(command);
    return (Output){ WIFEXITED(status) ? WEXITSTATUS(status) : -1, read_file(out),
                     read_file(err) };
}

static inline void output_free(Output *o)
{
    free(o->out);
    free(o->err);
}

/* A run that must fail: this status, nothing on stdout, one line on stderr that contains the
 * text. */
static inline void check_refused(Output o, int status, const char *text)
{
    const char *end = strchr(o.err, '\n');
    check(o.status == status, "status %d, expected %d: %s", o.status, status, o.err);
    check(o.out[0] == '\0', "stdout: %s", o.out);
    check(end && end[1] == '\0', "stderr is not one line: %s", o.err);
    check(strstr(o.err, text), "'%s' is not in: %s", text, o.err);
    output_free(&o);
}

static inline int count_text(const char *text, const char *part)
{
    int n = 0;
    for (const char *p = text; (p = strstr(p, part)); p += strlen(part)) n++;
    return n;
}

/* ---- a small MNIST -------------------------------------------------------------------------- */

enum { SMALL_TRAIN = 150, SMALL_TEST = 70 }; /* 15 and 7 images of each digit */

static inline void make_folder(const char *path)
{
    check(mkdir(path, 0755) == 0 || errno == EEXIST, "%s: %s", path, strerror(errno));
}

/* An IDX file: big-endian magic and sizes, then images of random bytes or the labels 0, 1, … 9, 0,
 * 1 … */
static inline void write_idx(const char *folder, const char *name, bool images, uint8_t count,
                             Rng *rng)
{
    const uint8_t header[16] = {
        0, 0, 8, images ? 3 : 1, 0, 0, 0, count, 0, 0, 0, 28, 0, 0, 0, 28
    };
    char path[1200];
    print_to(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "wb");
    check(f, "%s: %s", path, strerror(errno));
    fwrite(header, 1, images ? 16 : 8, f);
    for (int i = 0; i < count * (images ? 28 * 28 : 1); i++)
        fputc(images ? (int)lk_random_int(rng, 0, 256) : i % 10, f);
    check(fclose(f) == 0);
}

/* Makes root/mnist, four files in MNIST's format. */
static inline void write_small_mnist(const char *root)
{
    char folder[1200];
    Rng rng;
    lk_manual_seed(&rng, 1);
    make_folder(root);
    print_to(folder, sizeof folder, "%s/mnist", root);
    make_folder(folder);
    write_idx(folder, "train-images-idx3-ubyte", true, SMALL_TRAIN, &rng);
    write_idx(folder, "train-labels-idx1-ubyte", false, SMALL_TRAIN, &rng);
    write_idx(folder, "t10k-images-idx3-ubyte", true, SMALL_TEST, &rng);
    write_idx(folder, "t10k-labels-idx1-ubyte", false, SMALL_TEST, &rng);
}

/* The same in a folder of this test; returns what --data needs. */
static inline const char *small_mnist(void)
{
    static char root[1024];
    print_to(root, sizeof root, "%s", check_scratch("small"));
    write_small_mnist(root);
    return root;
}

#endif
