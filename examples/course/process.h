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
    PROCESS_FLOOD,  /* it wrote more than PROCESS_FLOOD_BYTES and was killed */
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
    char *output;   /* descriptors 1 and 2, in their order: the end of it */
    char *records;  /* descriptor 3: the end of it */
    bool cut;       /* there was more before that: PROCESS_OUTPUT bytes are kept at most */
} Process;

enum { PROCESS_OUTPUT = 256 * 1024, PROCESS_FLOOD_BYTES = 16 << 20 };

/* From now on SIGINT, SIGTERM and SIGHUP end the program that is running, not this one: then
 * process_run fails, and its caller can tidy up. process_interrupted tells the signal, 0 for none;
 * main raises it again at its end. */
void process_catch_interrupts(void);
int process_interrupted(void);

/* Runs the program and waits for it; all that it left behind in its process group is killed then.
 * Bytes 0 in its output become `?`. False, with the reason, when it could not be started, and
 * after an interrupt. The caller frees p with process_free. */
bool process_run(Process *p, Error *err);
void process_free(Process *p); /* frees the texts */

/* Whether a program of this name is in PATH. */
bool process_exists(const char *program);

#endif
