/* commands.h - the commands of the course: one function each, which returns the status of main: 0,
 * 1 for "not passed" or a failure, 2 for a wrong command line. */
#ifndef COURSE_COMMANDS_H
#define COURSE_COMMANDS_H

#include "examples/course/run.h"
#include "examples/course/scratch.h"

int command_init(const Home *h, int argc, char **argv);
int command_list(const Home *h, int argc, char **argv);
int command_check(const Home *h, int argc, char **argv);
int command_watch(const Home *h, int argc, char **argv);
int command_hint(const Home *h, int argc, char **argv);
int command_solution(const Home *h, int argc, char **argv);
int command_reset(const Home *h, int argc, char **argv);
int command_grade(const Home *h, int argc, char **argv);
int command_pack(const Home *h, int argc, char **argv);
int command_dev_check(const Home *h, int argc, char **argv);

/* ---- shared by the commands (command.c) ----------------------------------------------------- */

/* An option of a command: a flag, a number or a text. */
typedef struct CommandOption {
    const char *name; /* "--seed" */
    bool *flag;       /* one of the three is set */
    long long *number;
    const char **text;
} CommandOption;
/* Takes the options out of argv and returns the number of other arguments, which move to its
 * beginning; -1 with a line on stderr for a wrong one. */
int command_options(const char *command, int argc, char **argv, const CommandOption *options,
                    int count);

/* Prints the message of err to stderr; returns 1. */
int command_fail(const Error *err);
/* Prints one line to stderr; returns 2. */
int command_usage(const char *format, ...) LK_PRINTF(1, 2);

/* The unit of this name; NULL with a line on stderr that lists the units. */
const Unit *command_unit(const char *name);

/* Colours on a terminal, unless NO_COLOR is set. */
Style command_style(FILE *out);

/* Checks one unit of a learner's folder, prints the report, keeps the progress. */
bool check_and_print(const Home *h, const Work *w, const Unit *u, uint64_t seed, bool memory,
                     bool json, Report *r, Error *err);
/* The first unit that is not done; NULL: all are. */
const Unit *next_unit(const Work *w);
void print_list(FILE *out, const Work *w, Style style);
/* Prints the next hint, or hint number `number`, from 1. */
int print_hint(FILE *out, const Home *h, const Work *w, const Unit *u, int number);
int reset_unit(FILE *out, const Home *h, const Work *w, const Unit *u);

#endif
