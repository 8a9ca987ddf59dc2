/* trainer_log.h - the numbers that a Trainer reports, by name, and their line as Transformers
 * prints it.
 *
 *     {'loss': 0.6931, 'grad_norm': 1.25, 'learning_rate': 1e-06, 'epoch': 0.03} */
#ifndef LK_TRAINER_LOG_H
#define LK_TRAINER_LOG_H

#include <stdio.h>

#include "core/error.h"

/* Values of a log; bytes of a key, with the 0 at its end. */
enum { LK_TRAINER_VALUES_MAX = 16, LK_TRAINER_KEY_MAX = 40 };

typedef struct TrainerLog {
    int64_t step; /* optimizer steps made so far */
    int count;
    struct TrainerValue {
        char key[LK_TRAINER_KEY_MAX];
        double value;
    } values[LK_TRAINER_VALUES_MAX]; /* as they were computed; only printing rounds */
} TrainerLog;

/* Adds a value. A full log stays as it is; a key that is too long is cut. */
LK_API void lk_trainer_log_add(TrainerLog *log, const char *key, double value);
LK_API const double *lk_trainer_log_find(const TrainerLog *log,
                                         const char *key);                /* NULL: no such key */
LK_API double lk_trainer_log_get(const TrainerLog *log, const char *key); /* NaN: no such key */

/* print(log) of Python, with a newline: losses and times to 4 digits, rates to 3, the epoch to 2,
 * the rest in full. */
LK_API void lk_trainer_log_print(FILE *out, const TrainerLog *log);

/* All logs of a run, in their order. */
typedef struct TrainerHistory {
    TrainerLog *logs;
    int64_t count, room;
} TrainerHistory;
/* Appends a copy. Errors, with nothing changed: LK_EVALUE for NULL, LK_EMEMORY. */
LK_API bool lk_trainer_history_add(TrainerHistory *history, const TrainerLog *log, Error *err);
LK_API void lk_trainer_history_free(TrainerHistory *history); /* leaves it empty */

#endif
