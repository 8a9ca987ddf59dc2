/* command_dev_check.c - course dev-check: checks the course itself. Every starter must fail at its
 * first check, every solution pass, every wrong solution get its verdict, and every check be
 * failed by a wrong solution (commands.h). */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/decimal.h"
#include "examples/course/answers.h"
#include "examples/course/commands.h"
#include "examples/course/marked.h"
#include "examples/course/memory.h"

enum { SEEDS = 10, WRONGS = 8, HINTS = 3, FEWEST_CHECKS = 5, UNITS = 32 };

typedef struct DevCheck {
    const Home *home;
    const char *memory; /* the program with sanitizers; NULL: without */
    const Unit *unit;
    Marked marked;
    char scratch[LK_PATH_MAX], source[LK_PATH_MAX];
    FILE *out;
    int faults, wrongs, named;
    bool failed_by[UNIT_CHECKS]; /* checks that a wrong solution failed */
} DevCheck;

static void fault(DevCheck *d, const char *format, ...) LK_PRINTF(2, 3);
static void fault(DevCheck *d, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    fprintf(d->out, "FAILED - %s: ", d->unit->name);
    lk_vfprintf(d->out, format, list);
    fputc('\n', d->out);
    va_end(list);
    d->faults++;
}

/* Checks one variant. False when that could not be done, which is a fault. */
static bool run_variant(DevCheck *d, const char *variant, int seeds, bool memory, Report *r)
{
    Error err = { 0 };
    char *text = marked_variant_new(&d->marked, variant);
    RunOptions o = { .home = d->home,
                     .scratch = d->scratch,
                     .memory = d->memory,
                     .seeds = seeds,
                     .memory_always = memory,
                     .memory_when_passed = memory };
    bool ok =
        text && text_write(d->source, text, &err) && run_unit(&o, d->unit, d->source, r, &err);
    free(text);
    if (!ok) fault(d, "%s: %s", variant, err.message);
    return ok;
}

static void check_starter(DevCheck *d)
{
    Report r;
    if (!run_variant(d, "starter", 1, false, &r)) return;
    const Verdict *v = &r.verdicts[0];
    if (v->kind == VERDICT_PASSED) fault(d, "the starter passes the first check");
    else if (v->kind != VERDICT_TODO)
        fault(d, "the starter fails by \"%s\", not by \"%s\": %s", verdict_name(v->kind),
              verdict_name(VERDICT_TODO), v->text);
    if (r.warnings[0]) fault(d, "the starter has warnings: %s", r.warnings);
    report_free(&r);
}

static void check_solution(DevCheck *d)
{
    Report r;
    if (!run_variant(d, "solution", SEEDS, d->memory, &r)) return;
    int first = report_first(&r);
    if (first >= 0)
        fault(d, "the solution fails \"%s\": %s: %s", d->unit->checks[first].title,
              verdict_name(r.verdicts[first].kind), r.verdicts[first].text);
    if (d->memory && !r.memory_run) fault(d, "the solution's memory was not checked");
    if (r.memory_run && r.memory.kind != VERDICT_PASSED)
        fault(d, "the solution's memory: %s, %s: %s", verdict_name(r.memory.kind), r.memory.place,
              r.memory.text);
    if (r.warnings[0]) fault(d, "the solution has warnings: %s", r.warnings);
    report_free(&r);
}

/* The name that a report gives to a mistake. */
static const char *name_given(const Report *r)
{
    int first = report_first(r);
    const Verdict *v = first >= 0 ? &r->verdicts[first] : &r->memory;
    return v->looks_like[0] ? v->looks_like : verdict_name(v->kind);
}

static void check_wrong(DevCheck *d, int i)
{
    Report r;
    const char *name = d->marked.wrongs[i].name, *expected = d->marked.wrongs[i].looks_like;
    bool by_memory = d->memory && (!strcmp(expected, verdict_name(VERDICT_LEAK)) ||
                                   !strcmp(expected, verdict_name(VERDICT_MEMORY)));
    if (!run_variant(d, name, 1, by_memory, &r)) return;
    bool needs_memory = !d->memory && report_first(&r) < 0 &&
                        (!strcmp(expected, verdict_name(VERDICT_LEAK)) ||
                         !strcmp(expected, verdict_name(VERDICT_MEMORY)));
    if (needs_memory) {
        fprintf(d->out, "skipped - %s %s: only sanitizers find it\n", d->unit->name, name);
        report_free(&r);
        return;
    }
    d->wrongs++;
    bool memory_failed = r.memory_run && r.memory.kind != VERDICT_PASSED;
    if (report_first(&r) < 0 && !memory_failed) fault(d, "%s passes", name);
    else if (!strcmp(name_given(&r), expected)) d->named++;
    else {
        int first = report_first(&r);
        fprintf(d->out, "not named - %s %s: \"%s\" instead of \"%s\": %s\n", d->unit->name, name,
                name_given(&r), expected, r.verdicts[first < 0 ? 0 : first].text);
    }
    for (int k = 0; k < r.count; k++)
        if (r.verdicts[k].kind != VERDICT_PASSED && r.verdicts[k].kind != VERDICT_NOT_REACHED)
            d->failed_by[k] = true;
    report_free(&r);
}

static void check_page(DevCheck *d)
{
    char path[LK_PATH_MAX];
    const char *suffixes[] = { ".md", ".answers.md" };
    for (int i = 0; i < (d->unit->answers ? 2 : 1); i++)
        if (!home_unit(d->home, d->unit->name, suffixes[i], path, NULL) || !path_exists(path))
            fault(d, "%s%s is missing", d->unit->name, suffixes[i]);
        else if (i == 1 && answers_missing(path, NULL, 0) <= 0)
            fault(d, "%s%s has no open question", d->unit->name, suffixes[i]);
}

static void check_unit(DevCheck *d)
{
    Error err = { 0 };
    char path[LK_PATH_MAX], name[80];
    snprintf(name, sizeof name, "%s.c", d->unit->name);
    if (!home_unit(d->home, d->unit->name, ".c", path, &err) ||
        !marked_read(&d->marked, path, &err) || !scratch_make(d->scratch, &err) ||
        !lk_path_join(d->source, d->scratch, name, &err)) {
        fault(d, "%s", err.message);
        return;
    }
    int checks = unit_checks(d->unit);
    if (checks < FEWEST_CHECKS) fault(d, "it has only %d checks", checks);
    if (d->marked.wrong_count < WRONGS)
        fault(d, "it has only %d wrong solutions", d->marked.wrong_count);
    if (d->marked.hint_count != HINTS) fault(d, "it has %d hints", d->marked.hint_count);
    check_page(d);
    check_starter(d);
    check_solution(d);
    for (int i = 0; i < d->marked.wrong_count; i++) check_wrong(d, i);
    for (int k = 0; k < checks; k++)
        if (!d->failed_by[k]) fault(d, "no wrong solution fails \"%s\"", d->unit->checks[k].title);
    scratch_remove(d->scratch);
    marked_free(&d->marked);
}

/* ---- all units, a process each -------------------------------------------------------------- */

typedef struct Job {
    FILE *out;
    pid_t pid;
} Job;

/* Checks a unit in a process of its own, which writes its lines and then its tally to a file. */
static bool start(const DevCheck *shared, const Unit *u, Job *job)
{
    job->out = tmpfile();
    fflush(NULL);
    job->pid = job->out ? fork() : -1;
    if (job->pid) return job->pid > 0;
    DevCheck d = *shared;
    d.unit = u;
    d.out = job->out;
    d.faults = d.wrongs = d.named = 0; /* the tally of the units before is the parent's */
    check_unit(&d);
    fprintf(d.out, "tally %d %d %d\n", d.faults, d.wrongs, d.named);
    fflush(d.out);
    _exit(0);
}

static void copy_lines(Job *job, const Unit *u, DevCheck *total)
{
    char line[2048];
    int faults = -1, wrongs = 0, named = 0;
    rewind(job->out);
    while (fgets(line, sizeof line, job->out))
        if (sscanf(line, "tally %d %d %d", &faults, &wrongs, &named) != 3) fputs(line, stdout);
    fclose(job->out);
    if (faults < 0) {
        printf("FAILED - %s: the process ended early\n", u->name);
        faults = 1;
    }
    total->faults += faults;
    total->wrongs += wrongs;
    total->named += named;
    printf("%-5s %2d checks, %2d wrong solutions, %2d named: %s\n", u->name, unit_checks(u),
           wrongs, named, faults ? "FAILED" : "ok");
    fflush(stdout);
}

static void run_all(DevCheck *total, const Unit *const *units, int count)
{
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    int width = processors > 1 ? (int)processors : 1, started = 0;
    Job jobs[UNITS] = { 0 };
    for (int i = 0; i < count; i++) {
        for (; started < count && started < i + width; started++)
            if (!start(total, units[started], &jobs[started])) jobs[started].pid = -1;
        if (jobs[i].pid > 0) waitpid(jobs[i].pid, NULL, 0);
        if (jobs[i].out) copy_lines(&jobs[i], units[i], total);
    }
}

/* The program with sanitizers: this one if it has them, or one that is built now. */
static bool find_memory(const Home *h, const char *given, char folder[LK_PATH_MAX],
                        char program[LK_PATH_MAX], Error *err)
{
#if defined(__SANITIZE_ADDRESS__)
    if (!given) given = h->program;
#endif
    if (!given)
        return scratch_make(folder, err) && memory_build_wait(h, folder, err) &&
               lk_path_join(program, folder, "bin/course", err);
    /* absolute, since it is started in a folder of its own */
    return realpath(given, program) || lk_error_set(err, LK_EIO, "course: %s is not there", given);
}

int command_dev_check(const Home *h, int argc, char **argv)
{
    bool plain = false;
    const char *given = NULL;
    const CommandOption options[] = { { "--no-memory", .flag = &plain },
                                      { "--memory", .text = &given } };
    int count = command_options("dev-check", argc, argv, options, 2);
    if (count < 0) return 2;
    const Unit *units[UNITS];
    int unit_total = 0;
    for (int i = 0; i < (count ? count : unit_count()) && unit_total < UNITS; i++) {
        const Unit *u = count ? command_unit(argv[i]) : course_units[i];
        if (!u) return 2;
        units[unit_total++] = u;
    }
    Error err = { 0 };
    char folder[LK_PATH_MAX] = "", program[LK_PATH_MAX] = "";
    const char *lacks = plain ? "--no-memory" : given ? NULL : memory_build_lacks(h);
    if (lacks) printf("skipped - memory: %s\n", lacks);
    else if (!find_memory(h, given, folder, program, &err)) return command_fail(&err);
    DevCheck total = { .home = h, .memory = lacks ? NULL : program };
    run_all(&total, units, unit_total);
    scratch_remove(folder);
    double share = total.wrongs ? 100.0 * total.named / total.wrongs : 0.0;
    if (share < 95.0) lk_printf("FAILED - only %.1f %% of the wrong solutions are named\n", share);
    lk_printf("%d of %d wrong solutions named (%.1f %%)\n", total.named, total.wrongs, share);
    return total.faults || share < 95.0;
}
