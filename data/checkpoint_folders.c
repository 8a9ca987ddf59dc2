/* checkpoint_folders.c - the names of checkpoints, and the removal of old ones. */
#include "data/checkpoint_folders.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/buffer.h"
#include "data/folder.h"
#include "data/io.h"

static const char PREFIX[] = "checkpoint-", REMOVED[] = ".tmp";

bool lk__checkpoint_path(const char *dir, int64_t step, char path[LK_PATH_MAX], Error *err)
{
    char name[64];
    snprintf(name, sizeof name, "%s%lld", PREFIX, (long long)step);
    return lk_path_join(path, dir, name, err);
}

/* Returns the N of "checkpoint-N" and of "checkpoint-N.tmp", and what is behind N; -1: it is
 * another name. */
static int64_t step_of(const char *name, const char **rest)
{
    const size_t n = sizeof PREFIX - 1;
    if (strncmp(name, PREFIX, n) != 0 || name[n] < '1' || name[n] > '9') return -1;
    char *end;
    const int64_t step = strtoll(name + n, &end, 10);
    *rest = end;
    return *end == '\0' || strcmp(end, REMOVED) == 0 ? step : -1;
}

/* The one that would be loaded at the end, and the one beside which the run looks for it. */
static bool is_needed(const Trainer *tr, int64_t step)
{
    return step == tr->state.best_step || step == tr->resumed;
}

/* Removes a folder under another name, so that a kill leaves no half of a checkpoint. */
static bool remove_checkpoint(const char *dir, int64_t step, Error *err)
{
    char path[LK_PATH_MAX], removed[LK_PATH_MAX + sizeof REMOVED];
    if (!lk__checkpoint_path(dir, step, path, err)) return false;
    snprintf(removed, sizeof removed, "%s%s", path, REMOVED);
    lk_folder_remove(removed);
    if (lk__io->rename(path, removed) != 0 && !lk__io_is_missing())
        return lk_path_failed(
            path, "the new checkpoint is there, but this old one cannot be removed", err);
    lk_folder_remove(removed);
    return true;
}

/* Lists the steps before the present one, and removes what a killed removal left of them. */
static bool list_steps(const Trainer *tr, Buffer *steps, Error *err)
{
    const char *dir = tr->args.output_dir, *name, *rest;
    DIR *d = lk__io_opendir(dir);
    if (!d) return lk_path_failed(dir, "cannot be read", err);
    while ((name = lk__io_next(d))) {
        char path[LK_PATH_MAX];
        struct stat info;
        const int64_t step = step_of(name, &rest);
        if (step < 0 || step >= tr->state.step || !lk_path_join(path, dir, name, NULL)) continue;
        if (lk__io->lstat(path, &info) != 0 || !S_ISDIR(info.st_mode)) continue;
        if (*rest == '\0') lk_buffer_put(steps, &step, sizeof step);
        else lk_folder_remove(path);
    }
    const int reason = errno; /* 0: the end */
    lk__io->closedir(d);
    errno = reason;
    return reason == 0 || lk_path_failed(dir, "cannot be read", err);
}

static int newest_first(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (y > x) - (y < x);
}

bool lk__checkpoints_limit(const Trainer *tr, Error *err)
{
    if (tr->args.save_total_limit <= 0) return true;
    Buffer steps = { 0 };
    bool ok = list_steps(tr, &steps, err);
    if (ok && steps.failed)
        ok = lk_error_set(err, LK_EMEMORY, "no memory for the names of old checkpoints");
    int64_t *items = (int64_t *)(void *)steps.bytes,
            count = (int64_t)(steps.length / sizeof *items);
    if (count > 0) qsort(items, (size_t)count, sizeof *items, newest_first);
    /* the present step is the newest one */
    for (int64_t i = tr->args.save_total_limit - 1; ok && i < count; i++)
        if (!is_needed(tr, items[i])) ok = remove_checkpoint(tr->args.output_dir, items[i], err);
    lk_buffer_free(&steps);
    return ok;
}
