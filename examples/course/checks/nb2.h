/* nb2.h - for the two files of nb2's checks: nets with the learner's LoRA. */
#ifndef COURSE_NB2_H
#define COURSE_NB2_H

#include "examples/course/checks/digits.h"

enum { LAYERS = 3 };
extern const char *const nb2_layers[LAYERS]; /* "linear1", … */

/* net after the learner's parametrize_linears, rank 3, alpha 8; NULL when that failed. */
Module *nb2_with_lora(Exam *e, Module *net);
/* The parametrization of a layer; fails when there is not one, and no more. */
Module *nb2_lora_at(Exam *e, Module *net, int layer);
/* Fills A and B of every layer with N(0, 1). */
void nb2_fill_lora(Exam *e, Module *net);
/* enable_disable_lora and freeze_all_but_lora of the learner. */
void nb2_enable(Exam *e, Module *net, bool on);
void nb2_freeze(Exam *e, Module *net);

/* checks in nb2_five.c */
void nb2_count_and_originals(Exam *e);
void nb2_weights_in_use(Exam *e);
void nb2_nines_are_learned(Exam *e);
void nb2_show(Exam *e);

#endif
