/* process.h - runs another program with limits, and keeps its output: a compiler, or the checks on
 * code that somebody else wrote.
 *
 *     Process p = { .argv = (const char *[]){ "cc", "-c", "ex1.c", NULL }, .seconds = 60 };
 *     if (!process_run(&p, &err)) …      -- it could not be started
 *     if (p.status == 0) …               -- it ended by itself, with this status
 *     process_free(&p);
 *
 * No shell is involved, so that every path and every file name is taken as it is. */
#ifndef COURSE_PROCESS_H
#define COURSE_PROCESS_H

#include "core/error.h"

typedef enum ProcessEnd {
    PROCESS_EXITED, /* status: of exit */
    PROCESS_KILLED, /* status: the signal */
    PROCESS_LATE,   /* it used up its time and was killed */
} ProcessEnd;

typedef struct Process {
    /* ---- asked for ---- */
    const char *const *argv; /* argv[0] is looked for in PATH; NULL ends the list */
    const char *const *env;  /* "NAME=value", beside those of this process; NULL: none */
    const char *folder;      /* to run in; NULL: this one */
    int seconds;        /* of processor time; 0: no limit. Waiting may take ten times as long */
    int megabytes;      /* of address space; 0: no limit */
    int file_megabytes; /* of each file that it writes; 0: no limit */
    const char *input;  /* what it reads from descriptor 0; NULL: nothing */
    bool report;        /* it may write to descriptor 3: see `records` */
    bool background;    /* do not wait: `pid` is all that is filled in */

    /* ---- found ---- */
    ProcessEnd end;
    int status;
    int pid;
    double elapsed; /* seconds */
    char *output;   /* descriptors 1 and 2, in their order, at most PROCESS_OUTPUT bytes */
    char *records;  /* descriptor 3, at most PROCESS_OUTPUT bytes */
    bool cut;       /* there was more output */
} Process;

enum { PROCESS_OUTPUT = 256 * 1024 };

/* Runs the program and waits for it; all that it left behind in its process group is killed then.
 * False, with the reason, when it could not be started. The caller frees p with process_free. */
bool process_run(Process *p, Error *err);
void process_free(Process *p); /* frees the texts */

/* Whether a program of this name is in PATH. */
bool process_exists(const char *program);

#endif
