/* output.h - the tables, checks and result files of digit9 and weak_digits. */
#ifndef DIGITS_OUTPUT_H
#define DIGITS_OUTPUT_H

#include "examples/digits/lora.h"

double digits_accuracy(const DigitsScore *s);
/* Wrong answers on the digits that LoRA learns. */
int64_t digits_target_wrong(const DigitsOutcome *o, const DigitsScore *s);
/* Writes "3, 6, 8, 9" into text, and returns text. */
enum { DIGITS_LIST_TEXT = 3 * DIGITS_CLASSES };
const char *digits_list(const DigitsOutcome *o, char text[DIGITS_LIST_TEXT]);

void digits_print_score(const DigitsScore *s); /* accuracy and ten wrong counts */
/* shapes and counts, with LoRA if it is there already */
void digits_print_layers(Module *model, int64_t base);
void digits_print_summary(const DigitsOutcome *o); /* the three states in one table */
void digits_print_dial(const DigitsOutcome *o);
/* Whether all digits and the learned ones are recognised better at place i of the dial than
 * without LoRA. */
bool digits_both_better(const DigitsOutcome *o, int i);

/* Fills o->checks; originals is the network's state from before LoRA. */
bool digits_check(Tape *t, Module *model, const StateDict *originals, DigitsOutcome *o,
                  Error *err);
/* Prints the checks, and returns whether all hold. */
bool digits_print_checks(const DigitsOutcome *o);
/* Whether both have the same bits; if not, detail names the tensor, the first element that
 * differs, both values. */
bool digits_same(const char *name, const Tensor *expected, const Tensor *got,
                 char detail[DIGITS_DETAIL_MAX]);

/* The file of --json. */
bool digits_write_json(const DigitsOutcome *o, Error *err);

#endif
