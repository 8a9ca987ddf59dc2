/* test_gradient_table.c - no operation without a checked gradient: what core/ops.h declares is a
 * line of the table that examples/gradcheck prints, with at least six cases, or named there as not
 * differentiable; and nothing else is. */
#include <stdlib.h>
#include <string.h>

#include "tests/shared/programs.h"

enum { MAX_NAMES = 200, NAME = 64, CASES = 6 };

typedef struct Names {
    int count;
    char name[MAX_NAMES][NAME];
} Names;

static bool has(const Names *names, const char *name)
{
    for (int i = 0; i < names->count; i++)
        if (strcmp(names->name[i], name) == 0) return true;
    return false;
}

static void add(Names *names, const char *start, size_t length)
{
    check(names->count < MAX_NAMES && length > 0 && length < NAME, "a name of %zu characters",
          length);
    char *name = names->name[names->count];
    memcpy(name, start, length);
    name[length] = '\0';
    check(!has(names, name), "%s is there twice", name);
    names->count++;
}

/* "LK_API Tensor *lk_NAME(" */
static void read_header(Names *declared)
{
    static const char start[] = "LK_API Tensor *lk_";
    char *text = read_file(check_source("core/ops.h"));
    for (char *at = text; (at = strstr(at, start));) {
        at += sizeof start - 1;
        size_t length = strcspn(at, "(");
        add(declared, at, length);
    }
    check(declared->count == count_text(text, "LK_API"),
          "a line of core/ops.h is not `LK_API Tensor *lk_name(…`");
    free(text);
}

/* Lines "NAME CASES ERROR" after a heading, then "not differentiable: NAME NAME …". */
static void read_table(char *text, Names *checked, Names *others)
{
    static const char end[] = "not differentiable:";
    char *rest = NULL, *line = strtok_r(text, "\n", &rest);
    check(line && strncmp(line, "operation ", 10) == 0, "the heading is: %s", line);
    while ((line = strtok_r(NULL, "\n", &rest)) && strncmp(line, end, sizeof end - 1) != 0) {
        char name[NAME];
        int cases, used = 0;
        double worst;
        bool ok =
            sscanf(line, "%63s %d %lf%n", name, &cases, &worst, &used) == 3 && line[used] == '\0';
        check(ok, "a line is: %s", line);
        check(cases >= CASES, "%s has only %d cases", name, cases);
        check(worst >= 0 && worst <= 1, "the error of %s is %g of the tolerance", name, worst);
        add(checked, name, strlen(name));
    }
    check(line, "nothing is said about what is not differentiable");
    char *names = NULL;
    for (char *name = strtok_r(line + sizeof end - 1, " ", &names); name;
         name = strtok_r(NULL, " ", &names))
        add(others, name, strlen(name));
}

Test(gradient_table, has_every_operation)
{
    static Names declared, checked, others;
    read_header(&declared);
    Output o = run_program("./gradcheck");
    check(o.status == 0, "status %d: %s%s", o.status, o.out, o.err);
    check(o.err[0] == '\0', "%s", o.err);
    read_table(o.out, &checked, &others);
    output_free(&o);
    check(declared.count > 50 && checked.count > 30, "%d operations, %d checked", declared.count,
          checked.count);

    for (int i = 0; i < declared.count; i++) {
        const char *name = declared.name[i];
        check(has(&checked, name) || has(&others, name),
              "lk_%s of core/ops.h is not in examples/own/gradcheck.c", name);
        check(!has(&checked, name) || !has(&others, name), "%s is differentiable, or it is not",
              name);
    }
    for (int i = 0; i < checked.count; i++)
        check(has(&declared, checked.name[i]), "%s of the table is not in core/ops.h",
              checked.name[i]);
    for (int i = 0; i < others.count; i++)
        check(has(&declared, others.name[i]), "%s of the last line is not in core/ops.h",
              others.name[i]);
}

/* The same with another seed: the table does not hold by chance. */
Test(gradient_table, holds_for_other_numbers)
{
    for (int seed = 1; seed <= 3; seed++) {
        Output o = run_program("./gradcheck --seed %d", seed);
        check(o.status == 0 && o.err[0] == '\0' && !strstr(o.out, "WRONG"), "seed %d: %s%s", seed,
              o.out, o.err);
        output_free(&o);
    }
}
