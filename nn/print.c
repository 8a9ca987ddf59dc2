/* print.c - print(module): the tree of children as torch.nn.Module.__repr__ writes it. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "nn/fields.h"

static void new_line(FILE *out, int indent)
{
    fprintf(out, "\n%*s", indent, "");
}

/* repr(x) of Python: the fewest digits that give x back, "1e-05", "0.1", "2.0". */
static void print_double(FILE *out, double x)
{
    char digits[40];
    int precision = 0;
    if (!isfinite(x)) {
        fputs(isnan(x) ? "nan" : x > 0 ? "inf" : "-inf", out);
        return;
    }
    do snprintf(digits, sizeof digits, "%.*e", precision, x);
    while (strtod(digits, NULL) != x && precision++ < 17);
    int exponent = atoi(strchr(digits, 'e') + 1);
    if (exponent < -4 || exponent >= 16) fputs(digits, out);
    else fprintf(out, "%.*f", precision > exponent ? precision - exponent : 1, x);
}

static void print_field(FILE *out, const Module *m, const char *name, size_t length)
{
    for (const Field *f = first_field(m); f; f = next_field(f)) {
        if (strlen(f->name) != length || memcmp(f->name, name, length) != 0) continue;
        const void *member = field_of(m, f);
        switch (f->kind) {
        case LK_FIELD_INT: fprintf(out, "%lld", (long long)*(const int64_t *)member); return;
        case LK_FIELD_DOUBLE: print_double(out, *(const double *)member); return;
        case LK_FIELD_BOOL: fputs(*(const bool *)member ? "True" : "False", out); return;
        default: fputs(*(Tensor *const *)member || lk_list_of_slot(m, member) ? "True" : "False", out); return;
        }
    }
    fprintf(out, "{%.*s}", (int)length, name); /* a template that names no field shows it */
}

static void print_repr(FILE *out, const Module *m, int indent)
{
    for (const char *p = m->type->repr; *p; p++) {
        const char *end = *p == '{' ? strchr(p, '}') : NULL;
        if (end) {
            print_field(out, m, p + 1, (size_t)(end - p - 1));
            p = end;
        } else if (*p == '\n') {
            new_line(out, indent);
        } else {
            fputc(*p, out);
        }
    }
}

/* Name(), Name(repr), or Name( and one indented line for each line of the repr and each child, and ). */
static void print_tree(FILE *out, const Module *m, int indent)
{
    const char *repr = m->type->repr ? m->type->repr : "";
    ChildIter children = lk_children(m);
    bool block = lk_children_next(&children) || strchr(repr, '\n');

    fprintf(out, "%s%s(", m->parametrizations ? "Parametrized" : "", m->type->name);
    if (*repr) {
        if (block) new_line(out, indent + 2);
        print_repr(out, m, indent + 2);
    }
    for (ChildIter it = lk_children(m); lk_children_next(&it);) {
        new_line(out, indent + 2);
        fprintf(out, "(%s): ", it.name);
        print_tree(out, it.module, indent + 2);
    }
    if (block) new_line(out, indent);
    fputc(')', out);
}

void lk_print_module(FILE *out, const Module *m)
{
    if (m) print_tree(out, m, 0);
    else fputs("None", out);
}
