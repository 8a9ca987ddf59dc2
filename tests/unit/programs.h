/* programs.h - runs a program of examples/ and keeps what it writes; for the tests of these programs. */
#ifndef PROGRAMS_H
#define PROGRAMS_H

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
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

/* The whole file in a buffer of its own, which the caller frees; what is read ends with '\0'. */
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

/* Runs a line of the shell in the folder of the example programs: run_program("./ex1_lora_layer --seed %d", 1). It sees
 * neither $LORIKEET_DATA nor a home folder, unless the line sets them. */
static inline Output run_program(const char *format, ...) LK_PRINTF(1, 2);
static inline Output run_program(const char *format, ...)
{
    static char out[1024], err[1024]; /* a test may run many programs: check_scratch's buffers are few */
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
    print_to(command, sizeof command, "cd '%s/examples' && { unset LORIKEET_DATA; export HOME=; %s; } >'%s' 2>'%s'",
             build, line, out, err);
    int status = system(command);
    return (Output){ WIFEXITED(status) ? WEXITSTATUS(status) : -1, read_file(out), read_file(err) };
}

static inline void output_free(Output *o)
{
    free(o->out);
    free(o->err);
}

/* A run that must fail: this status, nothing on stdout, one line on stderr that contains the text. */
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

#endif
