/* nb3.h - for the two files of nb3's checks: nets with LoRA by the course's own nb2. */
#ifndef COURSE_NB3_H
#define COURSE_NB3_H

#include "examples/course/checks/digits.h"
#include "examples/course/given/lora_parametrization.h"

enum { LAYERS = 3, RANK = 3 };
extern const char *const nb3_layers[LAYERS]; /* "linear1", … */
extern const double nb3_alpha;               /* 8 */

/* net with LoRA, and all else frozen; of rank 3 and alpha 8. */
Module *nb3_with_lora(Exam *e, Module *net, int64_t rank, double alpha);
Module *nb3_net_with_lora(Exam *e, Module *net);
LoRAParametrization *nb3_lora_at(Module *net, int layer);

/* checks in nb3_dial.c */
void nb3_dial_scales(Exam *e);
void nb3_dial_0_is_the_base(Exam *e);
void nb3_curves_are_read(Exam *e);
void nb3_show(Exam *e);

#endif
