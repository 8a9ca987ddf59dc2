/* command_grade.c - course grade: points for the folders of a class (commands.h). It runs other
 * people's code, so each compiler and each run has limits, and a sandbox where bubblewrap
 * works. */
#include <stdlib.h>
#include <string.h>

#include "examples/course/commands.h"
#include "examples/course/marked.h"
#include "examples/course/process.h"
#include "examples/course/scratch.h"

enum { SANDBOX_WORDS = 24, SECONDS = 10, MEGABYTES = 1024, REASONS = 400, UNITS = 32 };

typedef struct Learner {
    char name[128];           /* of the folder */
    char needs_look[REASONS]; /* why; "" */
    int points, most;
    bool passed[UNITS][UNIT_CHECKS];
    char *files[UNITS]; /* what was handed in; NULL: nothing */
} Learner;

typedef struct Grading {
    const Home *home;
    uint64_t seed;
    bool sandboxed;
    FILE *answers; /* NULL: not collected */
    Learner *learners;
    int count;
} Grading;

/* ---- the sandbox ---------------------------------------------------------------------------- */

/* The words in front of a command: no network, a system that cannot be written, one folder that
 * can. */
static void sandbox_words(const char *scratch, const char *words[SANDBOX_WORDS])
{
    const char *const list[] = { "bwrap",
                                 "--ro-bind",
                                 "/",
                                 "/",
                                 "--dev",
                                 "/dev",
                                 "--proc",
                                 "/proc",
                                 "--bind",
                                 scratch,
                                 scratch,
                                 "--unshare-all",
                                 "--die-with-parent",
                                 "--new-session",
                                 NULL };
    memcpy(words, list, sizeof list);
}

/* Whether bubblewrap is installed and allowed here. */
static bool sandbox_works(void)
{
    const char *words[SANDBOX_WORDS];
    sandbox_words("/tmp", words);
    int n = 0;
    while (words[n]) n++;
    words[n] = "true";
    words[n + 1] = NULL;
    Process p = { .argv = words, .seconds = 10 };
    bool works = process_run(&p, NULL) && p.end == PROCESS_EXITED && p.status == 0;
    process_free(&p);
    return works;
}

/* ---- one learner ---------------------------------------------------------------------------- */

static void add_reason(Learner *l, const char *unit, const char *reason)
{
    size_t used = strlen(l->needs_look);
    snprintf(l->needs_look + used, REASONS - used, "%s%s: %s", used ? "; " : "", unit, reason);
}

/* Outcomes that a number of points does not explain. */
static void note_reasons(Learner *l, const Report *r)
{
    int first = report_first(r);
    if (first < 0) return;
    switch (r->verdicts[first].kind) {
    case VERDICT_COMPILE:
    case VERDICT_LINK:
    case VERDICT_CRASH:
    case VERDICT_TIMEOUT:
    case VERDICT_EXIT:
    case VERDICT_LIBRARY:
    case VERDICT_LIBRARY_CALL:
    case VERDICT_MEMORY:
        add_reason(l, r->unit->name, verdict_name(r->verdicts[first].kind));
        break;
    default: break;
    }
}

/* Runs the checks of one unit in a folder of its own. */
static bool run_in_scratch(const Grading *g, const Unit *u, const char *source, uint64_t seed,
                           Report *r, Error *err)
{
    char scratch[LK_PATH_MAX];
    const char *words[SANDBOX_WORDS];
    if (!scratch_make(scratch, err)) return false;
    sandbox_words(scratch, words);
    RunOptions o = { .home = g->home,
                     .scratch = scratch,
                     .seed = seed,
                     .sandbox = g->sandboxed ? words : NULL,
                     .seconds = SECONDS,
                     .megabytes = MEGABYTES,
                     .strict_includes = true };
    bool ok = run_unit(&o, u, source, r, err);
    scratch_remove(scratch);
    return ok;
}

/* Writes the learner's answers beside the table that the code measures with seed 0, as the learner
 * has seen it. */
static bool collect_answers(const Grading *g, const Work *w, const Learner *l, const Unit *u,
                            const char *source, Error *err)
{
    char path[LK_PATH_MAX];
    Report r;
    if (!g->answers || !u->answers) return true;
    if (!work_file(w, u->name, ".answers.md", path, err) ||
        !run_in_scratch(g, u, source, 0, &r, err))
        return false;
    char *text = text_read_new(path, NULL);
    fprintf(g->answers, "# %s, %s\n\n## Measured by the code\n\n```text\n%s```\n\n%s\n\n", l->name,
            u->name, r.printed ? r.printed : "", text ? text : "(no answers)");
    free(text);
    report_free(&r);
    return true;
}

static bool grade_unit(Grading *g, const Work *w, Learner *l, int unit, Error *err)
{
    const Unit *u = course_units[unit];
    char source[LK_PATH_MAX];
    Report r;
    if (!work_file(w, u->name, ".c", source, err) ||
        !run_in_scratch(g, u, source, g->seed, &r, err))
        return false;
    l->files[unit] = text_read_new(source, NULL);
    for (int i = 0; i < r.count; i++) l->passed[unit][i] = r.verdicts[i].kind == VERDICT_PASSED;
    l->points += r.passed;
    l->most += r.count;
    note_reasons(l, &r);
    report_free(&r);
    return collect_answers(g, w, l, u, source, err);
}

static bool grade_learner(Grading *g, const char *folder, Learner *l, Error *err)
{
    Work w;
    if (!work_at(&w, folder, err)) return false;
    int length = (int)strlen(folder);
    while (length > 1 && folder[length - 1] == '/') length--;
    char name[sizeof l->name];
    snprintf(name, sizeof name, "%.*s", length, folder);
    lk_printable(name, l->name, sizeof l->name);
    if (!path_exists(w.folder))
        return lk_error_set(err, LK_EIO, "course: there is no folder %s", folder);
    for (int i = 0; course_units[i]; i++)
        if (!grade_unit(g, &w, l, i, err)) return false;
    return true;
}

/* ---- files that are alike ------------------------------------------------------------------- */

/* Notes files that equal the solution, or those of another learner. */
static void compare_files(const Grading *g, int unit)
{
    char path[LK_PATH_MAX];
    Marked m;
    if (!home_unit(g->home, course_units[unit]->name, ".c", path, NULL) ||
        !marked_read(&m, path, NULL))
        return;
    char *solution = marked_variant_new(&m, "solution"),
         *starter = marked_variant_new(&m, "starter");
    marked_free(&m);
    for (int i = 0; solution && starter && i < g->count; i++) {
        Learner *l = &g->learners[i];
        if (!l->files[unit] || !strcmp(l->files[unit], starter)) continue;
        if (!strcmp(l->files[unit], solution))
            add_reason(l, course_units[unit]->name, "the course's solution");
        else
            for (int k = 0; k < g->count; k++)
                if (k != i && g->learners[k].files[unit] &&
                    !strcmp(l->files[unit], g->learners[k].files[unit])) {
                    char reason[160];
                    snprintf(reason, sizeof reason, "the same file as %s", g->learners[k].name);
                    add_reason(l, course_units[unit]->name, reason);
                    break;
                }
    }
    free(solution);
    free(starter);
}

/* ---- telling -------------------------------------------------------------------------------- */

static void csv_text(FILE *out, const char *text)
{
    /* A spreadsheet takes a leading = + - @ for a formula. */
    bool formula = strchr("=+-@", text[0]) && text[0];
    fputc('"', out);
    if (formula) fputc('\'', out);
    for (; *text; text++) fputs(*text == '"' ? "\"\"" : (char[]){ *text, '\0' }, out);
    fputc('"', out);
}

static void write_csv(FILE *out, const Grading *g)
{
    fprintf(out, "learner");
    for (int u = 0; course_units[u]; u++)
        for (int i = 0; i < unit_checks(course_units[u]); i++)
            fprintf(out, ",%s.%d", course_units[u]->name, i + 1);
    fprintf(out, ",points,of,needs a look\n");
    for (int k = 0; k < g->count; k++) {
        const Learner *l = &g->learners[k];
        csv_text(out, l->name);
        for (int u = 0; course_units[u]; u++)
            for (int i = 0; i < unit_checks(course_units[u]); i++)
                fprintf(out, ",%d", l->passed[u][i]);
        fprintf(out, ",%d,%d,", l->points, l->most);
        csv_text(out, l->needs_look);
        fputc('\n', out);
    }
}

static void print_table(const Grading *g)
{
    int looks = 0;
    printf("\n");
    for (int k = 0; k < g->count; k++) {
        const Learner *l = &g->learners[k];
        printf("  %-24s %4d of %d\n", l->name, l->points, l->most);
        looks += l->needs_look[0] != '\0';
    }
    if (looks) printf("\nNeed a look:\n");
    for (int k = 0; k < g->count; k++)
        if (g->learners[k].needs_look[0])
            printf("  %-24s %s\n", g->learners[k].name, g->learners[k].needs_look);
}

static bool open_output(const char *path, FILE **out, Error *err)
{
    *out = path ? fopen(path, "wb") : NULL;
    return !path || *out || lk_error_set(err, LK_EIO, "course: %s cannot be written", path);
}

static bool close_output(FILE *out, const char *path, Error *err)
{
    bool ok = !out || (!ferror(out) && !fclose(out));
    return ok || lk_error_set(err, LK_EIO, "course: %s cannot be written", path);
}

static bool grade_all(Grading *g, char **folders, const char *csv, const char *answers, Error *err)
{
    FILE *table = NULL;
    if (!open_output(csv, &table, err) || !open_output(answers, &g->answers, err)) return false;
    bool ok = true;
    for (int k = 0; ok && k < g->count; k++) {
        ok = grade_learner(g, folders[k], &g->learners[k], err);
        fprintf(stderr, "\r%d of %d graded", k + 1, g->count);
    }
    fputc('\n', stderr);
    for (int u = 0; ok && course_units[u]; u++) compare_files(g, u);
    if (ok) print_table(g);
    if (ok && table) write_csv(table, g);
    ok = close_output(table, csv, err) && ok;
    return close_output(g->answers, answers, err) && ok;
}

static uint64_t hidden_seed(void)
{
    uint32_t seed = 0;
    FILE *random = fopen("/dev/urandom", "rb");
    if (random && fread(&seed, sizeof seed, 1, random) != 1) seed = 12345;
    if (random) fclose(random);
    return seed % 1000000 + 1;
}

int command_grade(const Home *h, int argc, char **argv)
{
    long long seed = -1;
    const char *csv = NULL, *answers = NULL;
    const CommandOption options[] = { { "--seed", .number = &seed },
                                      { "--csv", .text = &csv },
                                      { "--answers", .text = &answers } };
    int count = command_options("grade", argc, argv, options, 3);
    if (count < 0) return 2;
    if (!count) return command_usage("grade needs the folders of the learners");
    Error err = { 0 };
    Grading g = { .home = h, .count = count, .seed = seed < 0 ? hidden_seed() : (uint64_t)seed };
    g.learners = calloc((size_t)count, sizeof *g.learners);
    bool ok = g.learners;
    if (ok) {
        g.sandboxed = sandbox_works();
        printf("seed %llu; %s\n", (unsigned long long)g.seed,
               g.sandboxed ? "sandbox: no network, a system that cannot be written (bubblewrap)"
                           : "no sandbox (bubblewrap is missing or not allowed here): limits of "
                             "time and memory alone");
        ok = grade_all(&g, argv, csv, answers, &err);
    }
    for (int k = 0; g.learners && k < count; k++)
        for (int u = 0; u < UNITS; u++) free(g.learners[k].files[u]);
    free(g.learners);
    return ok ? 0 : command_fail(&err);
}
