/* plain.c - runs the tests of a program, each in a process of its own, and writes the lines that
 * tests/criterion.sh reads. See criterion/criterion.h.
 *     PROGRAM [--tap=FILE] [NAME]      all tests, or those whose name contains NAME */
#define _GNU_SOURCE
#include "tests/plain/criterion/criterion.h"

#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/plain/criterion/hooks.h"

static PlainTest *first;

/* Adds the test behind the others, so that they run in the order of their lines. */
void plain_add(PlainTest *test)
{
    PlainTest **last = &first;
    while (*last) last = &(*last)->next;
    *last = test;
}

void plain_fail(const char *file, int line, const char *condition, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    printf("%s:%d: Assertion failed: %s", file, line, *format ? "" : condition);
    vprintf(format, args);
    printf("\n");
    va_end(args);
    exit(1);
}

static bool passes(const PlainTest *test)
{
    fflush(NULL);
    const pid_t child = fork();
    if (child == 0) {
        alarm(test->timeout);
        if (test->init) test->init();
        test->run();
        exit(0);
    }
    int status = 1;
    return child > 0 && waitpid(child, &status, 0) == child && status == 0;
}

int main(int argc, char **argv)
{
    const char *tap = NULL, *part = "";
    int passed = 0, failed = 0;
    for (int i = 1; i < argc; i++) {
        if (strncmp(argv[i], "--tap=", 6) == 0) tap = argv[i] + 6;
        else if (argv[i][0] != '-') part = argv[i];
    }
    FILE *report = tap ? fopen(tap, "w") : NULL;
    plain_PRE_ALL(NULL);
    for (const PlainTest *test = first; test; test = test->next) {
        if (!strstr(test->name, part)) continue;
        printf("[RUN ] %s\n", test->name);
        const bool ok = passes(test);
        printf("[%s] %s: \n", ok ? "PASS" : "FAIL", test->name);
        if (report) fprintf(report, "%s - %s\n", ok ? "ok" : "not ok", test->name);
        passed += ok;
        failed += !ok;
    }
    if (report) fclose(report);
    printf("[====] %d passed, %d failed\n", passed, failed);
    return failed > 0;
}
