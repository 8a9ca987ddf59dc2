/* progress.h - a progress bar for a loop, in the look of Python's tqdm.
 *
 *     Progress p = lk_progress(stdout, "Epoch 1", 6000);
 *     for (int64_t i = 0; i < 6000; i++) {
 *         … p.label = "loss"; p.value = sum / (double)(i + 1); …
 *         lk_progress_step(&p);
 *     }
 *     lk_progress_end(&p);
 *
 *     Epoch 1: 100%|██████████| 6000/6000 [00:18<00:00, 329.46it/s, loss=0.24]
 *
 * On a terminal the line is drawn over and over, at most ten times a second. Anywhere else there
 * are whole lines: one every ten seconds, and the one at the end. The rate is the mean since the
 * beginning. Nothing is allocated, and a fast loop is not slowed down: the clock is read about a
 * hundred times a second, not in every step. */
#ifndef LK_PROGRESS_H
#define LK_PROGRESS_H

#include <stdio.h>

#include "core/api.h"

typedef double ProgressClock(void); /* seconds since any moment, never going back */

typedef struct Progress {
    const char *description; /* in front of the bar; borrowed */
    int64_t total;           /* steps expected; 0: unknown, then there is no bar */
    int64_t count;           /* steps done */
    const char *label;       /* of a value at the end of the line, "loss"; NULL: none. Borrowed */
    double value;
    FILE *out;       /* NULL: silent */
    bool terminal;   /* draw over the line; at first: whether out is a terminal */
    double interval; /* seconds between two lines; starts as 0.1 on a terminal, else as 10 */
    ProgressClock *clock;
    double started, written; /* from here on: the bar's own; times of its clock */
    int64_t look;            /* the count at which the clock is read next */
} Progress;

/* The clock starts now; nothing is written yet. */
LK_API Progress lk_progress(FILE *out, const char *description, int64_t total);
LK_API void lk_progress_step(Progress *p); /* one more step is done */
LK_API void lk_progress_end(Progress *p);  /* the last line, with a newline; also after a break */
/* Clears the line of a terminal, so that other text can be printed; the next step draws it
 * anew. */
LK_API void lk_progress_clear(Progress *p);

/* Writes the line that p shows after so many seconds, without a newline, and returns its length:
 * at most size bytes, the '\0' included. It is `columns` wide; if columns is 0, its bar has ten
 * cells. */
LK_API size_t lk_progress_text(const Progress *p, double elapsed, int columns, char *text,
                               size_t size);

#endif
