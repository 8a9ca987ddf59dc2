/* memory.c - see memory.h. */
#include "examples/course/memory.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "examples/course/process.h"
#include "examples/course/scratch.h"

/* Whether cc links a program with sanitizers. */
static bool has_sanitizers(void)
{
    char folder[LK_PATH_MAX], source[LK_PATH_MAX], program[LK_PATH_MAX];
    if (!scratch_make(folder, NULL)) return false;
    bool ok = lk_path_join(source, folder, "a.c", NULL) &&
              lk_path_join(program, folder, "a", NULL) &&
              text_write(source, "int main(void) { return 0; }\n", NULL);
    const char *argv[] = { "cc", "-fsanitize=address,undefined", source, "-o", program, NULL };
    Process p = { .argv = argv, .seconds = 60 };
    ok = ok && process_run(&p, NULL) && p.end == PROCESS_EXITED && p.status == 0;
    process_free(&p);
    scratch_remove(folder);
    return ok;
}

const char *memory_build_lacks(const Home *h)
{
    if (!h->sources) return "the library's sources are not there";
    if (!process_exists("make")) return "make is not installed";
    if (!has_sanitizers()) return "the compiler has no sanitizers (on Debian they come with gcc)";
    return NULL;
}

/* A folder for the objects: make cannot handle names with blanks. */
static bool make_folder(char path[LK_PATH_MAX], Error *err)
{
    if (!scratch_make(path, err)) return false;
    if (!strpbrk(path, " \t#$%:\\")) return true;
    scratch_remove(path);
    snprintf(path, LK_PATH_MAX, "/tmp/course-XXXXXX");
    return mkdtemp(path) || lk_error_set(err, LK_EIO,
                                         "course: set TMPDIR to a folder without "
                                         "blanks in its name");
}

/* Runs make in the course's root. The program appears in folder/bin when it is complete. */
static bool run_make(const Home *h, const char *folder, const char *log, bool background, int *pid,
                     Error *err)
{
    char objects[LK_PATH_MAX], out[LK_PATH_MAX + 8], jobs[32];
    char memory[LK_PATH_MAX + 8], log_file[LK_PATH_MAX + 8];
    if (!make_folder(objects, err)) return false;
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    snprintf(out, sizeof out, "OUT=%s", objects);
    snprintf(jobs, sizeof jobs, "-j%ld", processors > 1 ? processors : 1);
    snprintf(memory, sizeof memory, "MEMORY=%s", folder);
    snprintf(log_file, sizeof log_file, "LOG=%s", log);
    const char *argv[] = { "nice",
                           "make",
                           "-s",
                           "-f",
                           "examples/course/Makefile",
                           jobs,
                           out,
                           "SANITIZE=address,undefined",
                           "memory",
                           NULL };
    const char *env[] = { memory, log_file, "MAKEFLAGS=", NULL };
    Process p = { .argv = argv, .env = env, .folder = h->root, .background = background };
    if (!process_run(&p, err)) {
        scratch_remove(objects);
        return false;
    }
    *pid = p.pid;
    bool ok = background || (p.end == PROCESS_EXITED && p.status == 0);
    if (!ok)
        lk_error_set(err, LK_EIO, "course: the library with sanitizers could not be built; see %s",
                     log);
    process_free(&p);
    return ok;
}

/* ---- .course/memory.state: "building PID", or why nothing is built -------------------------- */

static bool state_path(const Work *w, char path[LK_PATH_MAX], Error *err)
{
    return lk_path_join(path, w->hidden, "memory.state", err);
}

bool memory_build_skip(const Work *w, const char *why, Error *err)
{
    char path[LK_PATH_MAX];
    return state_path(w, path, err) && text_write(path, why, err);
}

/* The number of the process that builds, or built; 0 and the state's text if none did. */
static int builder(const Work *w, char text[200])
{
    char path[LK_PATH_MAX], *state = state_path(w, path, NULL) ? text_read_new(path, NULL) : NULL;
    int pid = 0;
    if (state) sscanf(state, "building %d", &pid);
    snprintf(text, 200, "%.190s", state ? state : "course check --memory builds what it needs");
    free(state);
    return pid;
}

bool memory_build_runs(const Work *w)
{
    char text[200];
    int pid = builder(w, text);
    return pid > 0 && !kill(pid, 0) && !path_exists(w->memory);
}

void memory_build_state(const Work *w, char text[200])
{
    if (!builder(w, text)) return;
    snprintf(text, 200, "%s",
             memory_build_runs(w)
                 ? "the library with sanitizers is still being built (about 2 minutes)"
                 : "the library with sanitizers was not completed; see .course/memory.log. "
                   "course check --memory builds it anew");
}

bool memory_build_begin(const Home *h, const Work *w, Error *err)
{
    char out[LK_PATH_MAX], log[LK_PATH_MAX], state[40];
    const char *lacks = memory_build_lacks(h);
    if (lacks) return memory_build_skip(w, lacks, err);
    int pid = 0;
    bool ok = lk_path_join(out, w->hidden, "memory", err) &&
              lk_path_join(log, w->hidden, "memory.log", err) &&
              run_make(h, out, log, true, &pid, err);
    snprintf(state, sizeof state, "building %d\n", pid);
    return ok && memory_build_skip(w, state, err);
}

bool memory_build_wait(const Home *h, const char *folder, Error *err)
{
    char log[LK_PATH_MAX];
    int pid;
    return lk_path_join(log, folder, "memory.log", err) &&
           run_make(h, folder, log, false, &pid, err);
}
