/* trainer_log.c - the numbers that a Trainer reports. Their source: trainer.c. */
#include "nn/trainer_log.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/decimal.h"
#include "core/memory.h"

void lk_trainer_log_add(TrainerLog *log, const char *key, double value)
{
    if (!log || !key || log->count == LK_TRAINER_VALUES_MAX) return;
    struct TrainerValue *v = &log->values[log->count++];
    size_t length = strlen(key), most = sizeof v->key - 1;
    *v = (struct TrainerValue){ .value = value };
    memcpy(v->key, key, length < most ? length : most);
}

const double *lk_trainer_log_find(const TrainerLog *log, const char *key)
{
    for (int i = 0; log && key && i < log->count; i++)
        if (strcmp(log->values[i].key, key) == 0) return &log->values[i].value;
    return NULL;
}

double lk_trainer_log_get(const TrainerLog *log, const char *key)
{
    const double *value = lk_trainer_log_find(log, key);
    return value ? *value : NAN;
}

/* repr(value) of Python: the fewest digits that are this double again; with an exponent below 1e-4
 * and from 1e16 on. */
static void print_number(FILE *out, double value)
{
    char text[64];
    int digits = 1;
    if (!isfinite(value)) {
        fputs(isnan(value) ? "nan" : "", out);
        if (isinf(value)) fputs(value < 0 ? "-inf" : "inf", out);
        return;
    }
    do lk_snprintf(text, sizeof text, "%.*e", digits - 1, value);
    while (lk_strtod(text, NULL) != value && digits++ < 17);
    int exponent = atoi(strchr(text, 'e') + 1), decimals = digits - 1 - exponent;
    if (exponent < -4 || exponent >= 16) fputs(text, out);
    else lk_fprintf(out, "%.*f", decimals > 1 ? decimals : 1, value);
}

static bool ends_with(const char *text, const char *end)
{
    size_t length = strlen(text), n = strlen(end);
    return length >= n && strcmp(text + length - n, end) == 0;
}

/* The decimals that a value is printed with; -1: all that it has. */
static int decimals_of(const char *key)
{
    if (strcmp(key, "loss") == 0 || ends_with(key, "_runtime")) return 4;
    if (ends_with(key, "_per_second")) return 3;
    return strcmp(key, "epoch") == 0 ? 2 : -1;
}

static double rounded(const struct TrainerValue *v)
{
    char text[400]; /* as Python does it: correctly rounded in decimal */
    int digits = decimals_of(v->key);
    if (digits < 0 || !isfinite(v->value)) return v->value;
    lk_snprintf(text, sizeof text, "%.*f", digits, v->value);
    return lk_strtod(text, NULL);
}

void lk_trainer_log_print(FILE *out, const TrainerLog *log)
{
    if (!out || !log) return;
    for (int i = 0; i < log->count; i++) {
        char key[4 * LK_TRAINER_KEY_MAX]; /* it may come from a checkpoint */
        lk_printable(log->values[i].key, key, sizeof key);
        fprintf(out, "%s'%s': ", i ? ", " : "{", key);
        print_number(out, rounded(&log->values[i]));
    }
    fputs(log->count ? "}\n" : "{}\n", out);
}

bool lk_trainer_history_add(TrainerHistory *history, const TrainerLog *log, Error *err)
{
    if (!history || !log)
        return lk_error_set(err, LK_EVALUE, "lk_trainer_history_add: the history or log is NULL");
    if (history->count == history->room) {
        int64_t room = history->room ? 2 * history->room : 64;
        TrainerLog *logs = lk_mem_calloc((size_t)room, sizeof *logs);
        if (!logs)
            return lk_error_set(err, LK_EMEMORY, "lk_trainer_train: no memory for %lld logs",
                                (long long)room);
        if (history->count) memcpy(logs, history->logs, (size_t)history->count * sizeof *logs);
        lk_mem_free(history->logs);
        history->logs = logs;
        history->room = room;
    }
    history->logs[history->count++] = *log;
    return true;
}

void lk_trainer_history_free(TrainerHistory *history)
{
    if (!history) return;
    lk_mem_free(history->logs);
    *history = (TrainerHistory){ 0 };
}
