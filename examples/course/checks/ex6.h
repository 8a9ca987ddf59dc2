/* ex6.h - for the two files of ex6's checks: freezing and the optimizer, the training loop. */
#ifndef COURSE_EX6_H
#define COURSE_EX6_H

#include "examples/course/checks/training.h"

enum { EX6_LINEARS = 3, EX6_CLASSES = 4 };

/* The name of something in Linear number i: "layers.4.linear.weight". */
const char *ex6_in_layer(Exam *e, int i, const char *name);

/* checks in ex6_loop.c */
void ex6_loss_moves(Exam *e);
void ex6_frozen_weights_stay(Exam *e);
void ex6_losses_are_right(Exam *e);
void ex6_parameters_are_right(Exam *e);
void ex6_tape_is_reset(Exam *e);
void ex6_loop_reports_failure(Exam *e);
void ex6_show(Exam *e);

#endif
