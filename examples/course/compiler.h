/* compiler.h - compiles a learner's file with cc, and explains the first error. */
#ifndef COURSE_COMPILER_H
#define COURSE_COMPILER_H

#include "examples/course/verdict.h"

typedef struct Compiled {
    bool ok;
    Verdict verdict;     /* when not ok: the first error, its line, and what it usually means */
    char warnings[1024]; /* the first ones, a line each */
    double seconds;
} Compiled;

/* Compiles `source` to a shared library that the exam loads. `home` holds core/, nn/, …;
 * `sanitized`: for the exam that is built with sanitizers; `strict_includes`: headers may come
 * from the file's own folder and from the library only, never from another learner; `sandbox`: the
 * words in front of cc that keep it inside of a sandbox, NULL for none. A file that includes a
 * solution of the course is refused. False, with the reason in err, when there is no compiler. */
bool compile(const char *source, const char *library, const char *home, bool sanitized,
             bool strict_includes, const char *const *sandbox, Compiled *c, Error *err);

/* Fills verdict with the first error of a compiler's output. */
void explain_output(const char *output, const char *source, Verdict *v);

/* The place of an offset in a library, "ex1.c:23"; false where addr2line is missing or knows
 * nothing. */
bool place_of(const char *library, long at, const char *source, const char *const *sandbox,
              char place[160]);

#endif
