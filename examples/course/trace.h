/* trace.h - finds the learner's line behind a crash, a refused operation or a strict-mode report:
 * the innermost call that lies in the learner's code. */
#ifndef COURSE_TRACE_H
#define COURSE_TRACE_H

/* The learner's code is the shared library that contains this address; NULL: none. */
void trace_begin(const void *inside);

/* The innermost place in the learner's code on the stack now: bytes from the library's beginning;
 * -1: none, or stacks cannot be read here. trace_in_handler is for a signal handler: `at` is the
 * place of the crash, or NULL. */
long trace_now(void);
long trace_in_handler(const void *at);

/* Remembers trace_now for the failure that is being reported; trace_last_failure returns it once,
 * then -1. */
void trace_failure(void);
long trace_last_failure(void);

#endif
