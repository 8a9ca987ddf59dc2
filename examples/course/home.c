/* home.c - see home.h. */
#include "examples/course/home.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "data/atomic_file.h"
#include "examples/course/scratch.h"

/* Cuts the last part of a path off; false when there is none. */
static bool cut(char *path)
{
    char *slash = strrchr(path, '/');
    if (!slash || slash == path) return false;
    *slash = '\0';
    return true;
}

/* ---- the course ----------------------------------------------------------------------------- */

/* The absolute path of this program. */
static bool own_path(const char *argv0, char path[LK_PATH_MAX], Error *err)
{
#ifdef __linux__
    ssize_t n = readlink("/proc/self/exe", path, LK_PATH_MAX - 1);
    if (n > 0 && n < LK_PATH_MAX - 1) {
        path[n] = '\0';
        return true;
    }
#endif
    char *resolved = realpath(argv0, NULL);
    bool ok = resolved && strlen(resolved) < LK_PATH_MAX;
    if (ok) snprintf(path, LK_PATH_MAX, "%s", resolved);
    free(resolved);
    return ok || lk_error_set(err, LK_EIO,
                              "course: cannot find its own program %s; call it with "
                              "its path",
                              argv0);
}

static bool is_root(const char *folder)
{
    char path[LK_PATH_MAX];
    return lk_path_join(path, folder, "examples/course/course.h", NULL) && path_exists(path);
}

bool home_find(Home *h, const char *argv0, Error *err)
{
    if (!own_path(argv0, h->program, err)) return false;
    char folder[LK_PATH_MAX], shared[LK_PATH_MAX];
    snprintf(folder, sizeof folder, "%s", h->program);
    bool found = false;
    /* unpacked: ROOT/bin/course; in a clone: ROOT/build/PRESET/examples/course; installed:
     * PREFIX/bin/course with PREFIX/share/lorikeet/course */
    for (int up = 0; up < 4 && !found && cut(folder); up++) {
        found = is_root(folder);
        if (found) snprintf(h->root, sizeof h->root, "%s", folder);
        else if (lk_path_join(shared, folder, "share/lorikeet/course", NULL) && is_root(shared)) {
            found = true;
            snprintf(h->root, sizeof h->root, "%s", shared);
        }
    }
#ifdef COURSE_ROOT
    if (!found && is_root(COURSE_ROOT)) { /* a build folder outside of the clone */
        found = true;
        snprintf(h->root, sizeof h->root, "%s", COURSE_ROOT);
    }
#endif
    if (!found)
        return lk_error_set(err, LK_EIO,
                            "course: its units are not beside %s; install it with "
                            "cmake --install, or run it where it was built",
                            h->program);
    h->sources = lk_path_join(shared, h->root, "core/tape.c", NULL) && path_exists(shared);
    return true;
}

bool home_unit(const Home *h, const char *unit, const char *suffix, char path[LK_PATH_MAX],
               Error *err)
{
    char name[200];
    snprintf(name, sizeof name, "examples/course/units/%.60s%.60s", unit, suffix);
    return lk_path_join(path, h->root, name, err);
}

/* ---- the learner's folder ------------------------------------------------------------------- */

bool work_at(Work *w, const char *path, Error *err)
{
    char *resolved = realpath(path, NULL), here[LK_PATH_MAX];
    bool ok = true;
    if (resolved) ok = strlen(resolved) < LK_PATH_MAX;
    if (resolved && ok) snprintf(w->folder, sizeof w->folder, "%s", resolved);
    else if (path[0] == '/')
        ok = (size_t)snprintf(w->folder, LK_PATH_MAX, "%s", path) < LK_PATH_MAX;
    else ok = getcwd(here, sizeof here) && lk_path_join(w->folder, here, path, err);
    free(resolved);
    if (!ok) return lk_error_set(err, LK_EIO, "course: %s is not a possible folder", path);
    return lk_path_join(w->hidden, w->folder, ".course", err) &&
           lk_path_join(w->memory, w->hidden, "memory/bin/course", err);
}

bool work_find(Work *w, Error *err)
{
    char folder[LK_PATH_MAX];
    if (!getcwd(folder, sizeof folder))
        return lk_error_set(err, LK_EIO, "course: the current folder is gone");
    do {
        if (!work_at(w, folder, err)) return false;
        if (path_exists(w->hidden)) return true;
    } while (cut(folder));
    return lk_error_set(err, LK_ESTATE,
                        "course: this is no folder of the course. course init DIR "
                        "makes one; then cd DIR");
}

bool work_file(const Work *w, const char *unit, const char *suffix, char path[LK_PATH_MAX],
               Error *err)
{
    char name[200];
    snprintf(name, sizeof name, "%.60s%.60s", unit, suffix);
    return lk_path_join(path, w->folder, name, err);
}

/* ---- progress ------------------------------------------------------------------------------- */

enum { WORD = 32 };

/* Reads the next entry of the file's text. */
static bool next_entry(const char **text, char unit[WORD], char key[WORD], int *value)
{
    while (**text) {
        int length = (int)strcspn(*text, "\n");
        bool ok = sscanf(*text, "%31s %31s %d", unit, key, value) == 3;
        *text += length + ((*text)[length] == '\n');
        if (ok) return true;
    }
    return false;
}

static char *progress_new(const Work *w, char path[LK_PATH_MAX])
{
    return lk_path_join(path, w->hidden, "progress", NULL) ? text_read_new(path, NULL) : NULL;
}

int work_get(const Work *w, const char *unit, const char *key)
{
    char path[LK_PATH_MAX], *text = progress_new(w, path), u[WORD], k[WORD];
    const char *at = text ? text : "";
    int value, found = 0;
    while (next_entry(&at, u, k, &value))
        if (!strcmp(u, unit) && !strcmp(k, key)) found = value;
    free(text);
    return found;
}

/* Waits for other programs that write the progress; -1 if there can be no lock. The lock ends when
 * the descriptor is closed. */
static int lock_progress(const Work *w)
{
    char path[LK_PATH_MAX];
    int fd = lk_path_join(path, w->hidden, "lock", NULL)
                 ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644)
                 : -1;
    if (fd >= 0) flock(fd, LOCK_EX);
    return fd;
}

bool work_set(const Work *w, const char *unit, const char *key, int value, Error *err)
{
    int lock = lock_progress(w);
    char path[LK_PATH_MAX], *old = progress_new(w, path), *text = NULL, u[WORD], k[WORD];
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (!out) {
        free(old);
        if (lock >= 0) close(lock);
        return lk_error_set(err, LK_EMEMORY, "course: no memory");
    }
    const char *at = old ? old : "";
    for (int v; next_entry(&at, u, k, &v);)
        if (strcmp(u, unit) != 0 || strcmp(k, key) != 0) fprintf(out, "%s %s %d\n", u, k, v);
    fprintf(out, "%s %s %d\n", unit, key, value);
    fclose(out);
    bool ok = lk_atomic_save("course", path, text, size, err);
    if (lock >= 0) close(lock);
    free(text);
    free(old);
    return ok;
}
