/* tiny_roberta.h - a RoBERTa of three small layers with random weights, and sentences for it: the
 * homework's checks need no download. */
#ifndef COURSE_TINY_ROBERTA_H
#define COURSE_TINY_ROBERTA_H

#include "examples/course/checks/check.h"

enum { TINY_LAYERS = 3, TINY_HIDDEN = 12, TINY_WIDE = 20, TINY_TOKENS = 7, TINY_LINEARS = 20 };

/* RobertaForSequenceClassification with two labels; every matrix is drawn from the seed. The exam
 * owns it. */
Module *tiny_roberta(Exam *e, uint64_t seed, double dropout);

/* `count` sentences of TINY_TOKENS ids, padded at their end, drawn from the seed. The label says
 * which of two kinds of words is more frequent. The exam owns the tensors. */
TrainerBatch tiny_sentences(Exam *e, uint64_t seed, int64_t count);

/* The logits without gradients, in eval mode; the training mode stays. */
Matrix tiny_logits(Exam *e, Module *model, const TrainerBatch *b);
/* Mean cross-entropy and accuracy of logits by plain loops; labels below 0 do not count. */
double plain_loss(Matrix logits, const TrainerBatch *b);
double plain_accuracy(Matrix logits, const TrainerBatch *b);

/* A fact about every parameter or Linear, as a row of 0 and 1, by its dotted name. */
typedef bool NameFact(const char *name, const Tensor *x);
Matrix params_that(Exam *e, Module *m, NameFact *fact);
bool name_ends(const char *name, const char *end);

/* The facts that checks compare: x is trainable; the name is one of LoRA on query and value or of
 * the classifier; and those facts that go with a known mistake. */
bool is_trainable(const char *name, const Tensor *x);
bool is_adapter(const char *name, const Tensor *x);
bool is_lora_only(const char *name, const Tensor *x);
bool is_classifier_only(const char *name, const Tensor *x);
bool is_any(const char *name, const Tensor *x);

#endif
