/* test_gradient_table.c - no operation without a checked gradient: each one that core/ops.h
 * declares has at least six cases in examples/own/gradients/, or stands there as not
 * differentiable; and no other name does. */
#include <stdlib.h>
#include <string.h>

#include "examples/own/gradient_table.h"
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

/* "LK_API Tensor *lk_NAME(", or another type when there are several results */
static void read_header(Names *declared)
{
    char *text = read_file(check_source("core/ops.h"));
    for (char *at = text; (at = strstr(at, "LK_API"));) {
        at += strcspn(at, "(\n");
        check(*at == '(', "a line of core/ops.h is not `LK_API Tensor *lk_name(…`");
        char *name = at;
        while (name > text && name[-1] != ' ' && name[-1] != '*') name--;
        check(strncmp(name, "lk_", 3) == 0, "core/ops.h declares %.20s", name);
        add(declared, name + 3, (size_t)(at - name - 3));
    }
    free(text);
}

/* Checks every case with numbers from the seed. */
static void read_table(int seed, Names *checked)
{
    Rng rng;
    lk_manual_seed(&rng, (uint64_t)seed);
    int cases = CASES;
    for (GradientCase c = gradient_cases(&rng); gradient_next(&c);) {
        check(c.ok && c.worst <= 1, "seed %d: %s", seed, c.message);
        bool first = checked->count == 0 || strcmp(checked->name[checked->count - 1], c.op) != 0;
        if (first) {
            check(cases >= CASES, "the operation before %s has only %d cases", c.op, cases);
            add(checked, c.op, strlen(c.op));
            cases = 0;
        }
        cases++;
    }
    check(cases >= CASES, "the last operation has only %d cases", cases);
}

Test(gradient_table, has_every_operation)
{
    static Names declared, checked, others;
    read_header(&declared);
    read_table(0, &checked);
    for (const char *const *op = gradient_exempt; *op; op++) add(&others, *op, strlen(*op));
    check(declared.count > 50 && checked.count > 30, "%d operations, %d checked", declared.count,
          checked.count);

    for (int i = 0; i < declared.count; i++) {
        const char *name = declared.name[i];
        check(has(&checked, name) || has(&others, name),
              "lk_%s of core/ops.h is not in examples/own/gradient_table.c", name);
        check(!has(&checked, name) || !has(&others, name), "%s is differentiable, or it is not",
              name);
    }
    for (int i = 0; i < checked.count; i++)
        check(has(&declared, checked.name[i]), "%s of the table is not in core/ops.h",
              checked.name[i]);
    for (int i = 0; i < others.count; i++)
        check(has(&declared, others.name[i]), "%s, which has no gradient, is not in core/ops.h",
              others.name[i]);
}

/* The same with other numbers: the table does not hold by chance. */
Test(gradient_table, holds_for_other_numbers)
{
    for (int seed = 1; seed <= 3; seed++) {
        Names checked = { 0 };
        read_table(seed, &checked);
    }
}

Test(gradient_table, is_printed)
{
    Output o = run_program("./gradcheck");
    check(o.status == 0 && o.err[0] == '\0' && !strstr(o.out, "WRONG"), "%s%s", o.out, o.err);
    check(strncmp(o.out, "operation ", 10) == 0 && strstr(o.out, "\nadd  "), "%s", o.out);
    check(strstr(o.out, "\nnot differentiable: zeros ones "), "%s", o.out);
    output_free(&o);
}
