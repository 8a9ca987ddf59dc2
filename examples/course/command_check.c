/* command_check.c - course check, course list (commands.h). */
#include <string.h>

#include "examples/course/commands.h"

/* The line under a report: the way on. */
static void print_way_on(const Work *w, const Report *r)
{
    if (!report_done(r)) {
        printf("\n  course hint %s helps; %s.md explains.\n", r->unit->name, r->unit->name);
        return;
    }
    const Unit *next = next_unit(w);
    if (next) printf("\n  Done. Next: %s, %s (read %s.md)\n", next->name, next->title, next->name);
    else printf("\n  Done. All %d units are done.\n", unit_count());
}

int command_check(const Home *h, int argc, char **argv)
{
    bool all = false, json = false, memory = false;
    long long seed = 0;
    const CommandOption options[] = { { "--all", .flag = &all },
                                      { "--json", .flag = &json },
                                      { "--memory", .flag = &memory },
                                      { "--seed", .number = &seed } };
    int count = command_options("check", argc, argv, options, 4);
    if (count < 0) return 2;
    Error err = { 0 };
    Work w;
    if (!work_find(&w, &err)) return command_fail(&err);
    if (all == (count > 0)) return command_usage("check needs the name of a unit, or --all");
    int status = 0, total = all ? unit_count() : count;
    if (json) printf("[");
    for (int i = 0; i < total; i++) {
        const Unit *u = all ? course_units[i] : command_unit(argv[i]);
        if (!u) return 2;
        if (json && i) printf(",\n");
        Report r;
        if (!check_and_print(h, &w, u, (uint64_t)seed, memory, json, &r, &err))
            return command_fail(&err);
        if (!report_done(&r)) status = 1;
        if (!json && !all) print_way_on(&w, &r);
        report_free(&r);
        fflush(stdout);
    }
    if (json) printf("]\n");
    return status;
}

void print_list(FILE *out, const Work *w, Style style)
{
    int done = 0;
    fputc('\n', out);
    for (int i = 0; course_units[i]; i++) {
        const Unit *u = course_units[i];
        bool passed = w && work_get(w, u->name, "done");
        const char *mark = passed ? "ok" : "  ";
        done += passed;
        if (style.colour && passed) mark = "\033[32mok\033[0m";
        fprintf(out, "  %s  %-4s  %3d min  %s\n", mark, u->name, u->minutes, u->title);
    }
    fprintf(out, "\n  %d of %d units done\n", done, unit_count());
}

int command_list(const Home *h, int argc, char **argv)
{
    (void)h;
    if (command_options("list", argc, argv, NULL, 0) != 0)
        return command_usage("list takes no arguments");
    Error err = { 0 };
    Work w;
    bool inside = work_find(&w, &err);
    print_list(stdout, inside ? &w : NULL, command_style(stdout));
    const Unit *next = inside ? next_unit(&w) : NULL;
    if (next) printf("  next: %s.md, then course check %s\n", next->name, next->name);
    if (!inside) printf("  course init DIR begins\n");
    return 0;
}
