/* command.c - the parts that the commands share (commands.h). */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/decimal.h"
#include "data/folder.h"
#include "examples/course/commands.h"

int command_fail(const Error *err)
{
    fprintf(stderr, "%s\n", err->message[0] ? err->message : "course: no memory");
    return 1;
}

int command_usage(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    fprintf(stderr, "course: ");
    lk_vfprintf(stderr, format, list);
    fputc('\n', stderr);
    va_end(list);
    return 2;
}

/* ---- options -------------------------------------------------------------------------------- */

static bool take_value(const CommandOption *o, const char *value)
{
    if (o->text) {
        *o->text = value;
        return true;
    }
    char *end = NULL;
    *o->number = strtoll(value, &end, 10);
    return *value && !*end && *o->number >= 0;
}

int command_options(const char *command, int argc, char **argv, const CommandOption *options,
                    int count)
{
    int kept = 0;
    bool only_names = false; /* behind "--" */
    for (int i = 0; i < argc; i++) {
        if (only_names || argv[i][0] != '-' || !argv[i][1]) {
            argv[kept++] = argv[i];
            continue;
        }
        if (!strcmp(argv[i], "--")) {
            only_names = true;
            continue;
        }
        const CommandOption *o = NULL;
        for (int k = 0; k < count; k++)
            if (!strcmp(argv[i], options[k].name)) o = &options[k];
        if (!o) {
            command_usage("%s does not know %s; see course --help", command, argv[i]);
            return -1;
        }
        if (o->flag) *o->flag = true;
        else if (++i == argc || !take_value(o, argv[i])) {
            command_usage("%s %s needs a %s", command, o->name,
                          o->number ? "number that is not negative" : "value");
            return -1;
        }
    }
    return kept;
}

const Unit *command_unit(const char *name)
{
    const Unit *u = unit_find(name);
    /* "ex1.c" is meant well */
    char stem[64];
    snprintf(stem, sizeof stem, "%.*s", (int)strcspn(name, "."), name);
    if (!u) u = unit_find(stem);
    if (u) return u;
    fprintf(stderr, "course: there is no unit %s; the units are", name);
    for (int i = 0; course_units[i]; i++) fprintf(stderr, " %s", course_units[i]->name);
    fputc('\n', stderr);
    return NULL;
}

/* ---- folders -------------------------------------------------------------------------------- */

bool scratch_make(char path[LK_PATH_MAX], Error *err)
{
    const char *base = getenv("TMPDIR");
    snprintf(path, LK_PATH_MAX, "%.3000s/course-XXXXXX", base && base[0] ? base : "/tmp");
    return mkdtemp(path) || lk_error_set(err, LK_EIO, "course: cannot make a folder %s", path);
}

void scratch_remove(const char *path)
{
    if (path[0]) lk_folder_remove(path);
}

Style command_style(FILE *out)
{
    return (Style){ .colour = isatty(fileno(out)) && !getenv("NO_COLOR") };
}

/* ---- checking ------------------------------------------------------------------------------- */

const Unit *next_unit(const Work *w)
{
    for (int i = 0; course_units[i]; i++)
        if (!work_get(w, course_units[i]->name, "done") && !unit_lacks(course_units[i]))
            return course_units[i];
    return NULL;
}

bool check_and_print(const Home *h, const Work *w, const Unit *u, uint64_t seed, bool memory,
                     bool json, Report *r, Error *err)
{
    char scratch[LK_PATH_MAX] = "", source[LK_PATH_MAX];
    if (!work_file(w, u->name, ".c", source, err) || !scratch_make(scratch, err)) return false;
    RunOptions o = { .home = h,
                     .scratch = scratch,
                     .memory = w->memory,
                     .memory_begun = work_builds_memory(w),
                     .seed = seed,
                     .memory_always = memory,
                     .memory_when_passed = !work_get(w, u->name, "memory") };
    bool ok = run_unit(&o, u, source, r, err);
    scratch_remove(scratch);
    if (!ok) return false;
    if (json) report_json(stdout, r);
    else report_print(stdout, r, command_style(stdout));
    if (report_done(r)) {
        ok = work_set(w, u->name, "done", 1, err);
        if (ok && r->memory_run) ok = work_set(w, u->name, "memory", 1, err);
    }
    return ok;
}
