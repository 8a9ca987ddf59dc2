/* answers.h - a learner's file of answers in words: whether there is a text below each question.
 * Nothing here judges a text. */
#ifndef COURSE_ANSWERS_H
#define COURSE_ANSWERS_H

#include <stddef.h>

/* A question is a line that begins with "## ". Below it, a line that is not blank and does not
 * begin with ">" is an answer. Returns the number of questions without an answer, -1 if the file
 * cannot be read. `list` gets these questions, a line each. */
int answers_missing(const char *path, char *list, size_t size);

#endif
