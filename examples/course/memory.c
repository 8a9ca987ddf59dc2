/* memory.c - see memory.h. */
#include "examples/course/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "examples/course/marked.h"
#include "examples/course/process.h"

/* Whether cc links a program with sanitizers. */
static bool has_sanitizers(void)
{
    char folder[] = "/tmp/course-XXXXXX", source[64], program[64];
    if (!mkdtemp(folder)) return false;
    snprintf(source, sizeof source, "%s/a.c", folder);
    snprintf(program, sizeof program, "%s/a", folder);
    const char *argv[] = { "cc", "-fsanitize=address,undefined", source, "-o", program, NULL };
    Process p = { .argv = argv, .seconds = 60 };
    bool ok = text_write(source, "int main(void) { return 0; }\n", NULL) &&
              process_run(&p, NULL) && p.end == PROCESS_EXITED && p.status == 0;
    process_free(&p);
    unlink(source);
    unlink(program);
    rmdir(folder);
    return ok;
}

const char *memory_build_lacks(const Home *h)
{
    if (!h->sources) return "the library's sources are not there";
    if (!process_exists("make")) return "make is not installed";
    if (!has_sanitizers()) return "the compiler has no sanitizers (on Debian they come with gcc)";
    return NULL;
}

/* Runs make in the course's root. The program appears in folder/bin when it is complete. */
static bool run_make(const Home *h, const char *folder, const char *log, bool background,
                     Error *err)
{
    char scratch[] = "/tmp/course-XXXXXX", out[64], jobs[32];
    char memory[LK_PATH_MAX + 8], log_file[LK_PATH_MAX + 8];
    if (!mkdtemp(scratch)) return lk_error_set(err, LK_EIO, "course: cannot make %s", scratch);
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    snprintf(out, sizeof out, "OUT=%s", scratch);
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
    if (!process_run(&p, err)) return false;
    bool ok = background || (p.end == PROCESS_EXITED && p.status == 0);
    if (!ok)
        lk_error_set(err, LK_EIO, "course: the library with sanitizers could not be built; see %s",
                     log);
    process_free(&p);
    return ok;
}

bool memory_build_begin(const Home *h, const Work *w, Error *err)
{
    char out[LK_PATH_MAX], log[LK_PATH_MAX];
    return lk_path_join(out, w->hidden, "memory", err) &&
           lk_path_join(log, w->hidden, "memory.log", err) && run_make(h, out, log, true, err);
}

bool memory_build_wait(const Home *h, const char *folder, Error *err)
{
    char log[LK_PATH_MAX];
    return lk_path_join(log, folder, "memory.log", err) && run_make(h, folder, log, false, err);
}
