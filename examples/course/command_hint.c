/* command_hint.c - course hint, course solution, course reset (commands.h). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "examples/course/commands.h"
#include "examples/course/marked.h"
#include "examples/course/process.h"
#include "examples/course/scratch.h"

static bool read_unit(const Home *h, const Unit *u, Marked *m, Error *err)
{
    char path[LK_PATH_MAX];
    return home_unit(h, u->name, ".c", path, err) && marked_read(m, path, err);
}

/* ---- hints ---------------------------------------------------------------------------------- */

int print_hint(FILE *out, const Home *h, const Work *w, const Unit *u, int number)
{
    static const char *const kinds[] = { "the idea", "the formula", "the line" };
    Error err = { 0 };
    Marked m;
    if (!read_unit(h, u, &m, &err)) return command_fail(&err);
    int seen = work_get(w, u->name, "hints");
    int n = number ? number : seen + 1;
    if (n > m.hint_count) n = m.hint_count;
    fprintf(out, "\n%s, hint %d of %d: %s\n\n", u->name, n, m.hint_count, kinds[n - 1]);
    put_wrapped(out, command_style(out), m.hints[n - 1], 2);
    if (n == m.hint_count)
        fprintf(out, "\nThis is the last hint. course solution %s --now shows all of it.\n",
                u->name);
    bool ok = n <= seen || work_set(w, u->name, "hints", n, &err);
    marked_free(&m);
    return ok ? 0 : command_fail(&err);
}

/* Reads the arguments of a command that takes one unit. Returns 0, or the status to end with. */
static int begin(const char *command, int count, char **argv, Work *w, const Unit **u)
{
    Error err = { 0 };
    if (count < 0) return 2;
    if (count < 1) return command_usage("%s needs the name of a unit", command);
    if (!work_find(w, &err)) return command_fail(&err);
    *u = command_unit(argv[0]);
    return *u ? 0 : 2;
}

int command_hint(const Home *h, int argc, char **argv)
{
    Work w;
    const Unit *u = NULL;
    int count = command_options("hint", argc, argv, NULL, 0);
    int status = begin("hint", count, argv, &w, &u);
    if (status) return status;
    int number = count > 1 && !argv[1][1] ? argv[1][0] - '0' : 0;
    if (count > 2 || (count > 1 && (number < 1 || number > MARKED_HINTS)))
        return command_usage("hint takes a unit and a number from 1 to %d", MARKED_HINTS);
    return print_hint(stdout, h, &w, u, number);
}

/* ---- the solution --------------------------------------------------------------------------- */

/* Prints the difference from the learner's file to the solution. */
static int print_difference(const Work *w, const Unit *u, const char *solution, Error *err)
{
    char scratch[LK_PATH_MAX], file[LK_PATH_MAX], own[LK_PATH_MAX];
    if (!process_exists("diff")) return command_usage("--diff needs the program diff");
    if (!scratch_make(scratch, err)) return command_fail(err);
    bool ok = lk_path_join(file, scratch, "solution.c", err) && text_write(file, solution, err) &&
              work_file(w, u->name, ".c", own, err);
    const char *argv[] = {
        "diff", "-u", "--label", "yours", "--label", "solution", own, file, NULL
    };
    Process p = { .argv = argv, .seconds = 60 };
    ok = ok && process_run(&p, err);
    if (ok) fputs(p.output[0] ? p.output : "Your file is the solution.\n", stdout);
    process_free(&p);
    scratch_remove(scratch);
    return ok ? 0 : command_fail(err);
}

int command_solution(const Home *h, int argc, char **argv)
{
    bool diff = false, now = false;
    const CommandOption options[] = { { "--diff", .flag = &diff }, { "--now", .flag = &now } };
    Work w;
    const Unit *u = NULL;
    int count = command_options("solution", argc, argv, options, 2);
    int status = begin("solution", count, argv, &w, &u);
    if (status) return status;
    if (!work_get(&w, u->name, "done") && !now) {
        printf("%s is not done yet. course hint %s helps; --now shows the solution anyway.\n",
               u->name, u->name);
        return 1;
    }
    Error err = { 0 };
    Marked m;
    if (!read_unit(h, u, &m, &err)) return command_fail(&err);
    char *text = marked_variant_new(&m, "solution");
    marked_free(&m);
    if (!text) return command_fail(&err);
    if (diff) status = print_difference(&w, u, text, &err);
    else fputs(text, stdout);
    free(text);
    return status;
}

/* ---- reset ---------------------------------------------------------------------------------- */

/* The first free name of ex1.c.1, ex1.c.2, … */
static bool backup_name(const char *file, char backup[LK_PATH_MAX])
{
    for (int i = 1; i < 10000; i++) {
        int n = snprintf(backup, LK_PATH_MAX, "%s.%d", file, i);
        if (n < 0 || n >= LK_PATH_MAX) return false;
        if (!path_exists(backup)) return true;
    }
    return false;
}

int reset_unit(FILE *out, const Home *h, const Work *w, const Unit *u)
{
    Error err = { 0 };
    char file[LK_PATH_MAX], backup[LK_PATH_MAX] = "";
    Marked m;
    if (!work_file(w, u->name, ".c", file, &err) || !read_unit(h, u, &m, &err))
        return command_fail(&err);
    char *text = marked_variant_new(&m, "starter");
    marked_free(&m);
    bool ok = text;
    char *old = text_read_new(file, NULL);
    bool untouched = old && text && !strcmp(old, text);
    free(old);
    if (ok && path_exists(file) && !untouched) {
        ok = backup_name(file, backup) && !rename(file, backup);
        if (!ok) lk_error_set(&err, LK_EIO, "%s cannot be renamed: %s", file, strerror(errno));
    }
    ok = ok && text_write(file, text, &err) && work_set(w, u->name, "done", 0, &err) &&
         work_set(w, u->name, "memory", 0, &err) && work_set(w, u->name, "hints", 0, &err);
    free(text);
    if (!ok) return command_fail(&err);
    fprintf(out, "%s.c is the starter again.", u->name);
    if (backup[0]) fprintf(out, " Your file is now %s.", path_base(backup));
    fputc('\n', out);
    return 0;
}

int command_reset(const Home *h, int argc, char **argv)
{
    Work w;
    const Unit *u = NULL;
    int status = begin("reset", command_options("reset", argc, argv, NULL, 0), argv, &w, &u);
    return status ? status : reset_unit(stdout, h, &w, u);
}
