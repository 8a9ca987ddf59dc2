/* run.h - a learner's file, compiled, run against the checks of its unit, and judged. */
#ifndef COURSE_RUN_H
#define COURSE_RUN_H

#include "examples/course/home.h"
#include "examples/course/units.h"

typedef struct RunOptions {
    const Home *home;
    const char *scratch; /* a folder for compiled files */
    const char *memory; /* the program with sanitizers; NULL or not there: memory is not checked */
    const Work
        *work; /* whose file it is: tells why there is no such program; NULL: no such folder */
    bool strict_includes; /* the file may include its own folder and the library only */
    uint64_t seed;
    int seeds;                  /* every check runs with so many seeds; 0: with one */
    const char *const *sandbox; /* words in front of every command (bwrap …); NULL: none */
    int seconds, megabytes;     /* limits of the checks; 0: the usual ones */
    bool memory_always;         /* --memory */
    bool memory_when_passed;    /* a unit is about to be done */
} RunOptions;

typedef struct Report {
    const Unit *unit;
    int count, passed;
    Verdict verdicts[UNIT_CHECKS];
    bool memory_run;     /* it was run again with sanitizers and in strict mode */
    Verdict memory;      /* … with this outcome */
    char unchecked[200]; /* why memory was not checked although it should be; "" */
    Verdict answers;     /* in words, beside the file: PASSED, also if there are no questions */
    char warnings[1024]; /* of the compiler */
    char *printed;       /* by the learner's code; freed by report_free */
    double seconds;
} Report;

/* Compiles and checks one file. A faulty file is no error: its verdicts say so. False only when
 * there is no compiler, or no room. */
bool run_unit(const RunOptions *o, const Unit *u, const char *source, Report *r, Error *err);
void report_free(Report *r);

/* All checks passed, memory too unless unchecked, and no answer is missing. */
bool report_done(const Report *r);
/* The first check that did not pass; -1: all passed. */
int report_first(const Report *r);

/* ---- telling -------------------------------------------------------------------------------- */

typedef struct Style {
    bool colour;
    int width; /* columns of the terminal */
} Style;
void report_print(FILE *out, const Report *r, Style style);
void report_json(FILE *out, const Report *r); /* one object */
/* Prints a text with every line indented and broken between words; lines with a bar, which show
 * code, are cut. */
void put_wrapped(FILE *out, Style style, const char *text, int indent);
/* Prints a text as a JSON string; bytes that are no UTF-8 become U+FFFD. */
void json_text(FILE *out, const char *text);

#endif
