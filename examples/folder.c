/* folder.c - a temporary folder beside the old one, flushed to the disk, then put in its place:
 * whoever looks, and whenever the machine stops, there is the old content or the new one. Who uses
 * it: the Trainer's checkpoints, roberta_sst2.c, roberta_pretrain.c. */
#include "examples/folder.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "data/atomic_file.h"
#include "data/atomic_folder.h"

bool folder_join(char path[FOLDER_PATH_MAX], const char *folder, const char *name, Error *err)
{
    return snprintf(path, FOLDER_PATH_MAX, "%s/%s", folder, name) < FOLDER_PATH_MAX ||
           lk_error_set(err, LK_EIO, "%.200s: %s", folder, strerror(ENAMETOOLONG));
}

bool folder_failed(const char *path, const char *what, Error *err)
{
    return lk_error_set(err, LK_EIO, "%.300s: %s: %s", path, what, strerror(errno));
}

bool folder_make(const char *path, Error *err)
{
    char part[FOLDER_PATH_MAX], probe[FOLDER_PATH_MAX];
    if (!folder_join(probe, path, ".XXXXXX", err)) return false;
    strcpy(part, path);
    for (char *c = part; *c; c++) {
        if (*c != '/' || c == part) continue;
        *c = '\0';
        mkdir(part, 0777); /* where this fails and has to work, the folder itself cannot be made */
        *c = '/';
    }
    if (mkdir(path, 0777) != 0 && errno != EEXIST)
        return folder_failed(path, "cannot be made", err);
    return (mkdtemp(probe) && rmdir(probe) == 0) || folder_failed(path, "cannot be written", err);
}

bool folder_same(const char *a, const char *b)
{
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

bool folder_copy(const char *from, const char *to, const char *name, Error *err)
{
    char source[FOLDER_PATH_MAX], target[FOLDER_PATH_MAX], buffer[1 << 14];
    AtomicFile f;
    if (!folder_join(source, from, name, err) || !folder_join(target, to, name, err)) return false;
    FILE *in = fopen(source, "rb");
    if (!in) return folder_failed(source, "cannot be read", err);
    bool ok = lk_atomic_begin(&f, NULL, target, err);
    for (size_t n; ok && (n = fread(buffer, 1, sizeof buffer, in)) > 0;)
        ok = lk_atomic_write(&f, buffer, n);
    if (ok && ferror(in)) ok = folder_failed(source, "cannot be read", err);
    fclose(in);
    return lk_atomic_end(&f, ok);
}

/* Another folder of that name is replaced, and what was replaced removed. */
static bool put_in_place(const Folder *f, Error *err)
{
    if (rename(f->temporary, f->path) == 0) return true;
    if (errno != ENOTEMPTY && errno != EEXIST)
        return folder_failed(f->path, "cannot be written", err);
    if (lk_folder_replace(f->path, f->temporary)) {
        lk_folder_remove(f->temporary);
        return true;
    }
    /* No swap here: the old one aside, and back if the new one cannot come. folder_begin ends what
     * a kill left. */
    if (rename(f->path, f->aside) != 0) return folder_failed(f->path, "cannot be replaced", err);
    if (rename(f->temporary, f->path) != 0) {
        folder_failed(f->path, "cannot be written", err);
        rename(f->aside, f->path);
        return false;
    }
    lk_folder_remove(f->aside);
    return true;
}

static bool flush(const char *path, Error *err)
{
    return lk_folder_sync(path) || folder_failed(path, "cannot be written", err);
}

bool folder_begin(Folder *f, const char *path, Error *err)
{
    if (snprintf(f->path, sizeof f->path, "%s", path) >= FOLDER_PATH_MAX ||
        snprintf(f->temporary, sizeof f->temporary, "%s.tmp", path) >= FOLDER_PATH_MAX ||
        snprintf(f->aside, sizeof f->aside, "%s.old.tmp", path) >= FOLDER_PATH_MAX)
        return lk_error_set(err, LK_EIO, "%.200s: %s", path, strerror(ENAMETOOLONG));
    /* what a kill has left aside comes back, unless the new one was already there */
    rename(f->aside, f->path);
    lk_folder_remove(f->aside);
    lk_folder_remove(f->temporary);
    return mkdir(f->temporary, 0777) == 0 || folder_failed(f->temporary, "cannot be made", err);
}

bool folder_end(Folder *f, bool ok, Error *err)
{
    char parent[FOLDER_PATH_MAX];
    if (ok && flush(f->temporary, err) && put_in_place(f, err))
        return folder_join(parent, f->path, "..", err) && flush(parent, err);
    lk_folder_remove(f->temporary);
    return false;
}
