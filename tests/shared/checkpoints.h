/* checkpoints.h - runs of the toy Trainer that save checkpoints and go on from them; comparisons
 * of two such runs, bit for bit. */
#ifndef CHECKPOINTS_H
#define CHECKPOINTS_H

#include "tests/shared/toy.h"

#include <dirent.h>

static const char MODEL[] = "model.safetensors", STATE[] = "state.safetensors";

static inline bool is_measured(const char *key)
{
    return strstr(key, "_runtime") || strstr(key, "_per_second");
}

/* Bit for bit, but for what a clock has measured. */
static inline void check_same_history(const TrainerHistory *a, const TrainerHistory *b)
{
    check(a->count == b->count, "%d logs, not %d", (int)a->count, (int)b->count);
    for (int64_t i = 0; i < a->count; i++) {
        const TrainerLog *x = &a->logs[i], *y = &b->logs[i];
        check(x->step == y->step && x->count == y->count);
        for (int k = 0; k < x->count; k++) {
            double u = x->values[k].value, v = y->values[k].value;
            check(strcmp(x->values[k].key, y->values[k].key) == 0);
            check(is_measured(x->values[k].key) || memcmp(&u, &v, sizeof u) == 0,
                  "step %d, %s: %.17g, not %.17g", (int)x->step, x->values[k].key, u, v);
        }
    }
}

static inline void check_same_file(const char *folder, const char *other, const char *name)
{
    char path[2][LK_PATH_MAX];
    print_to(path[0], LK_PATH_MAX, "%s/%s", folder, name);
    print_to(path[1], LK_PATH_MAX, "%s/%s", other, name);
    char *a = read_file(path[0]), *b = read_file(path[1]);
    struct stat info[2];
    check(stat(path[0], &info[0]) == 0 && stat(path[1], &info[1]) == 0 &&
          info[0].st_size == info[1].st_size);
    check(memcmp(a, b, (size_t)info[0].st_size) == 0, "%s and %s differ", path[0], path[1]);
    free(a), free(b);
}

/* The folders "a" and "b" of the test have the same checkpoint: weights, moments, steps,
 * generators. */
static inline void check_same_checkpoint(const char *a, const char *b, int64_t step)
{
    char name[64];
    print_to(name, sizeof name, "checkpoint-%lld", (long long)step);
    char left[LK_PATH_MAX], right[LK_PATH_MAX];
    check(lk_path_join(left, a, name, NULL) && lk_path_join(right, b, name, NULL));
    check_same_file(left, right, MODEL);
    check_same_file(left, right, STATE);
}

/* In a buffer that is valid for the next 7 calls. */
static inline const char *checkpoint_of(const char *folder, int64_t step)
{
    static char paths[8][LK_PATH_MAX];
    static int next;
    char *path = paths[next++ % 8];
    print_to(path, LK_PATH_MAX, "%s/checkpoint-%lld", folder, (long long)step);
    return path;
}

/* Entries of a folder whose name contains the text. */
static inline int count_entries(const char *folder, const char *text)
{
    int n = 0;
    DIR *d = opendir(folder);
    check(d, "%s", folder);
    for (struct dirent *e; (e = readdir(d));)
        n += e->d_name[0] != '.' && strstr(e->d_name, text) != NULL;
    closedir(d);
    return n;
}

/* With dropout, evaluations in the middle of passes, logs that do not fall on steps where it
 * stops, an accumulation that does not divide a pass. */
static const struct ToyRun runs[] = {
    { 3, 0, 1, LK_SCHEDULE_LINEAR, 4, 0.1, 0.1, 4, 0, 0, NULL, { 0 } },
    { 3, 0, 4, LK_SCHEDULE_COSINE, 1, 0.05, 0.5, 3, 1, 0, NULL, { 0 } },
    { 9, 13, 1, LK_SCHEDULE_LINEAR, 0, 0.2, 0.0, 5, 4, 0, NULL, { 0 } },
};
enum { RUNS = sizeof runs / sizeof *runs };

static inline void trainer_for(ToyTrainer *toy, const struct ToyRun *run, const char *folder)
{
    toy_trainer(toy, run, TOY_HIDDEN, 0.3);
    toy->tr.args.output_dir = folder;
    toy->tr.args.load_best_at_end = true;
}

/* The highest N of whole checkpoints; 0: none. */
static inline int64_t last_checkpoint(const char *folder)
{
    int64_t last = 0;
    DIR *d = opendir(folder);
    for (struct dirent *e; d && (e = readdir(d));) {
        char *end;
        if (strncmp(e->d_name, "checkpoint-", 11) != 0) continue;
        int64_t n = strtoll(e->d_name + 11, &end, 10);
        if (*end == '\0' && n > last) last = n;
    }
    if (d) closedir(d);
    return last;
}

/* Goes on in the folder from the last checkpoint, or from the beginning. */
static inline void resume(ToyTrainer *toy, const struct ToyRun *run, int64_t hidden,
                          const char *folder)
{
    toy_trainer(toy, run, hidden, 0.3);
    toy->tr.args.output_dir = folder;
    toy->tr.args.load_best_at_end = true;
    toy->tr.args.save_steps = 1;
    int64_t last = last_checkpoint(folder);
    if (last > 0) toy->tr.args.resume_from = checkpoint_of(folder, last);
}

#endif
