/* home.h - where the course lies, and the folder in which a learner works. */
#ifndef COURSE_HOME_H
#define COURSE_HOME_H

#include "core/error.h"
#include "data/path.h"

/* The course is the same three times: in a clone, installed, and unpacked from `course pack`. Its
 * root holds core/, nn/, optim/, data/ and examples/course/. */
typedef struct Home {
    char root[LK_PATH_MAX];
    char program[LK_PATH_MAX]; /* this program */
    bool sources;              /* the library's .c files are there too */
} Home;
/* Finds both from the program's own place. LK_EIO when the root is not there. */
bool home_find(Home *h, const char *argv0, Error *err);
/* root/examples/course/units/<unit><suffix> */
bool home_unit(const Home *h, const char *unit, const char *suffix, char path[LK_PATH_MAX],
               Error *err);

/* A learner's folder: files of the units, and .course/ for the program. */
typedef struct Work {
    char folder[LK_PATH_MAX]; /* absolute */
    char hidden[LK_PATH_MAX]; /* folder/.course */
    char memory[LK_PATH_MAX]; /* hidden/memory/bin/course: the program with sanitizers */
} Work;
/* The current folder or the nearest one above it that `course init` made; LK_ESTATE for none. */
bool work_find(Work *w, Error *err);
/* The folder at path, whether it exists or not. */
bool work_at(Work *w, const char *path, Error *err);
/* folder/<unit><suffix> */
bool work_file(const Work *w, const char *unit, const char *suffix, char path[LK_PATH_MAX],
               Error *err);

/* ---- progress: .course/progress, a line "unit key value" each ------------------------------- */

/* The value, 0 when there is none. Keys: "done" (1), "memory" (the
 * version of the file whose memory was checked), "hints" (number of hints seen). */
int work_get(const Work *w, const char *unit, const char *key);
bool work_set(const Work *w, const char *unit, const char *key, int value, Error *err);

#endif
