/* verdict.h - the outcome of one check, and how it travels from the process that runs the checks
 * to the one that reports them: a line of text for each event, through a pipe. */
#ifndef COURSE_VERDICT_H
#define COURSE_VERDICT_H

#include <stdio.h>

#include "core/error.h"

/* Why a check failed. Each kind has a name, which the tests of the course use too, and a next step
 * for the learner (verdict.c). */
typedef enum VerdictKind {
    VERDICT_PASSED,
    VERDICT_NOT_REACHED, /* the run ended before this check */
    /* before the checks run */
    VERDICT_NO_FILE,
    VERDICT_COMPILE, /* does not compile */
    VERDICT_LINK,    /* calls a function that does not exist */
    VERDICT_TODO,    /* a TODO is left */
    VERDICT_TEXT,    /* an answer in words is missing */
    /* the process ended */
    VERDICT_CRASH,
    VERDICT_TIMEOUT,
    VERDICT_EXIT, /* exit, abort or a forged report */
    /* a result was looked at */
    VERDICT_MISSING,      /* a function that the unit asks for is not defined */
    VERDICT_FAILED,       /* a call returned NULL or false, with a message or without */
    VERDICT_LIBRARY,      /* the library's own class, handed in */
    VERDICT_LIBRARY_CALL, /* the library's own function, called */
    VERDICT_STRUCTURE,    /* other modules, or modules in other places, than asked for */
    VERDICT_FIELDS,       /* a parameter or child is not in the field table */
    VERDICT_TAPE,         /* a parameter lives on a tape */
    VERDICT_SHAPE,
    VERDICT_VALUE,
    VERDICT_GRADIENT,
    VERDICT_NOT_FROZEN, /* it should not require a gradient */
    VERDICT_FROZEN,     /* a frozen weight moved */
    VERDICT_LEAK,
    VERDICT_MEMORY, /* a sanitizer's or strict mode's report */
    VERDICT_KINDS
} VerdictKind;

const char *verdict_name(VerdictKind kind); /* "wrong value" */
const char *verdict_next(VerdictKind kind); /* a general next step */

typedef struct Verdict {
    VerdictKind kind;
    char text[1200];     /* the observation: call, shapes, worst element, expected, got */
    char looks_like[96]; /* the one known mistake that fits; "": none, or more than one */
    char next[400];      /* to do now; "": verdict_next(kind) */
    char place[160];     /* "ex1.c:23"; "": not known */
    long at;             /* where in the learner's code, bytes from its beginning; -1: not known */
} Verdict;

/* ---- events --------------------------------------------------------------------------------- */

typedef enum EventKind { EVENT_BEGIN, EVENT_END, EVENT_CRASH, EVENT_LOAD, EVENT_DONE } EventKind;

enum { EVENT_STACK = 1000 }; /* a stack overflow, in the place of a signal */

typedef struct Event {
    EventKind kind;
    int check;       /* BEGIN, END: number of the check, from 0 */
    Verdict verdict; /* END, LOAD: without place */
    int signal;      /* CRASH: a signal, or EVENT_STACK */
    long at;         /* CRASH: as in Verdict */
} Event;

/* Writes one event with the token that shows that it comes from the checks. */
bool event_write(int fd, const char *token, const Event *e);
/* Reads the next event of a text and moves *text on; skips lines without the token. False at the
 * end. */
bool event_read(const char **text, const char *token, Event *e);

#endif
