/* command.c - the parts that the commands share (commands.h). */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "core/decimal.h"
#include "core/hash.h"
#include "examples/course/commands.h"
#include "examples/course/memory.h"

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

/* ---- checking ------------------------------------------------------------------------------- */

Style command_style(FILE *out)
{
    const char *term = getenv("TERM");
    bool terminal = isatty(fileno(out));
    struct winsize size = { 0 };
    bool known = terminal && !ioctl(fileno(out), TIOCGWINSZ, &size) && size.ws_col > 0;
    return (Style){
        .colour = terminal && !getenv("NO_COLOR") && term && strcmp(term, "dumb") != 0,
        .width = known && size.ws_col < 80 ? size.ws_col : 80,
    };
}

const Unit *next_unit(const Work *w)
{
    for (int i = 0; course_units[i]; i++)
        if (!work_get(w, course_units[i]->name, "done")) return course_units[i];
    return NULL;
}

/* A number that changes with the text of a file; never 0. */
static int version_of(const char *source)
{
    char *text = text_read_new(source, NULL);
    uint64_t hash = lk_hash(LK_HASH_START, text ? text : "", text ? strlen(text) : 0);
    free(text);
    return (int)(hash & 0x3fffffff) + 1;
}

bool check_and_print(const Home *h, const Work *w, const Unit *u, uint64_t seed, bool memory,
                     bool json, Report *r, Error *err)
{
    char scratch[LK_PATH_MAX] = "", source[LK_PATH_MAX];
    if (!work_file(w, u->name, ".c", source, err) || !scratch_make(scratch, err)) return false;
    int version = version_of(source); /* memory is checked once for each of them */
    RunOptions o = { .home = h,
                     .scratch = scratch,
                     .memory = w->memory,
                     .work = w,
                     .seed = seed,
                     .memory_always = memory,
                     .memory_when_passed = work_get(w, u->name, "memory") != version };
    bool ok = run_unit(&o, u, source, r, err);
    scratch_remove(scratch);
    if (!ok) return false;
    if (memory && !path_exists(w->memory) && !memory_build_runs(w) &&
        !memory_build_begin(h, w, err))
        return false;
    if (isatty(STDOUT_FILENO)) fputs("\r\033[K", stdout); /* over "checking …" */
    if (json) report_json(stdout, r);
    else report_print(stdout, r, command_style(stdout));
    if (report_done(r)) {
        ok = work_set(w, u->name, "done", 1, err);
        if (ok && r->memory_run) ok = work_set(w, u->name, "memory", version, err);
    }
    return ok;
}
