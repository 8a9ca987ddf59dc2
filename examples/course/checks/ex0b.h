/* ex0b.h - what the two files of ex0b's checks share. */
#ifndef COURSE_CHECKS_EX0B_H
#define COURSE_CHECKS_EX0B_H

#include "examples/course/checks/blocks.h"
#include "examples/course/checks/check.h"

/* Runs body on a new tape, in strict mode or not. */
void ex0b_run_with(Exam *e, bool strict, void (*body)(Exam *e));
bool ex0b_begins(const char *text, const char *with);
/* Fails with the place where the first block was made that is left. */
void ex0b_expect_no_blocks(Exam *e, const char *call, Blocks b);

/* ---- the checks of ex0b_nets.c -------------------------------------------------------------- */

void ex0b_both_nets_may_be_freed(Exam *e);
void ex0b_linear_goes_with_the_last(Exam *e);
void ex0b_failing_nets_leave_nothing(Exam *e);

#endif
