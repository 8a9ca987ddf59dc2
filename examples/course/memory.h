/* memory.h - builds this program a second time, with sanitizers, from the sources beside it. */
#ifndef COURSE_MEMORY_H
#define COURSE_MEMORY_H

#include "examples/course/home.h"

/* Why it cannot be built here: no sources, no make, no sanitizer. NULL when it can. */
const char *memory_build_lacks(const Home *h);

/* Starts the build for a learner's folder, in the background: w->memory is there when it is ready;
 * .course/memory.log has the compiler's words. Where it cannot be built the reason is kept. */
bool memory_build_begin(const Home *h, const Work *w, Error *err);
/* Writes down why there is no build: "it was switched off by --no-memory". */
bool memory_build_skip(const Work *w, const char *why, Error *err);
/* Why w->memory is not there: being built, failed, skipped, never begun. */
void memory_build_state(const Work *w, char text[200]);
/* Whether a build runs now. */
bool memory_build_runs(const Work *w);

/* Builds it in a folder and waits: folder/bin/course. */
bool memory_build_wait(const Home *h, const char *folder, Error *err);

#endif
