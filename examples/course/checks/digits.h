/* digits.h - for the checks of nb1 to nb3: nets and data that are small enough for milliseconds,
 * and a net whose answers the check chooses. */
#ifndef COURSE_DIGITS_H
#define COURSE_DIGITS_H

#include "data/loader.h"
#include "examples/course/checks/check.h"

enum { DIGITS = 10, PIXELS = 28 * 28 };

/* Notebook 2's RichBoyNet with other sizes: linear1, linear2, linear3 and relu; x (n, …) is
 * viewed as (n, inputs). The exam owns it. */
Module *digits_net(Exam *e, int64_t inputs, int64_t hidden_1, int64_t hidden_2, int64_t outputs);

/* Trains the trainable parameters of net with Adam on so many batches of 10. */
bool digits_train(Exam *e, Module *net, const Dataset *data, int batches);
/* Counts the wrong answers for the images of each digit. */
bool digits_wrong(Exam *e, Module *net, const Dataset *data, int64_t wrong[DIGITS]);

/* A module that notes how it is called. Without a net it returns the first ten pixels of each
 * image as logits, so that a data set decides what it answers. */
typedef struct Spy {
    Module base;
    Module *net;          /* its forward is called; NULL: the first ten pixels */
    bool flat_only;       /* refuse an x that is not (n, 784) */
    bool gives_rows;      /* the net gets x as (n, 784) */
    int64_t training;     /* calls in training mode */
    int64_t evaluation;   /* calls in evaluation mode */
    bool recorded;        /* there was a call in grad mode */
    int64_t seen[DIGITS]; /* images of each digit, from digits_spy_data_new */
} Spy;
/* Consumes the net, which may be NULL. The exam owns the spy. */
Spy *digits_spy(Exam *e, Module *net, bool flat_only);
/* A data set (count, 1, 28, 28) for it, of random pixels: image i has this label, and a spy
 * without a net answers answers[i]. Free it with lk_dataset_free. */
Dataset *digits_spy_data_new(Exam *e, int64_t count, const int *labels, const int *answers);
/* Fails when the learner's test called the spy in training mode or recorded it, or has left the
 * tape without gradients. */
void digits_test_leaves_no_trace(Exam *e, const char *call, const Spy *spy);

#endif
