/* criterion.h - the part of Criterion that the tests of the core use, for processors that Debian
 * has no Criterion for: a program of theirs runs under an emulator. tests/plain/plain.c runs each
 * test in a process of its own and writes the same report. */
#ifndef PLAIN_CRITERION_H
#define PLAIN_CRITERION_H

#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct PlainTest {
    const char *name;
    void (*run)(void);
    void (*init)(void);
    unsigned timeout;       /* seconds; 0: none */
    struct PlainTest *next; /* of the program's tests */
} PlainTest;
void plain_add(PlainTest *test);

/* Test(suite, name, .timeout = 60) { … } */
#define Test(suite, title, ...) \
    static void suite##_##title(void); \
    static PlainTest suite##_##title##_test = { .name = #suite "::" #title, \
                                                .run = suite##_##title, \
                                                __VA_ARGS__ }; \
    __attribute__((constructor)) static void suite##_##title##_add(void) \
    { \
        plain_add(&suite##_##title##_test); \
    } \
    static void suite##_##title(void)

/* cr_assert(condition), cr_assert(condition, format, …): a failed one ends its test. */
#define cr_assert(...) PLAIN_ASSERT(__VA_ARGS__, "", 0)
#define PLAIN_ASSERT(condition, ...) \
    ((condition) ? (void)0 : plain_fail(__FILE__, __LINE__, #condition, __VA_ARGS__))
_Noreturn void plain_fail(const char *file, int line, const char *condition, const char *format,
                          ...);

#endif
