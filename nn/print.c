/* print.c - print(module): the tree of children as torch.nn.Module.__repr__ writes it. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/decimal.h"
#include "nn/fields.h"
#include "nn/parametrize.h"

static void new_line(FILE *out, int indent) { fprintf(out, "\n%*s", indent, ""); }

/* repr(x) of Python: the fewest digits that give x back, "1e-05", "0.1", "2.0". */
static void print_double(FILE *out, double x)
{
    char digits[40];
    int precision = 0;
    if (!isfinite(x)) {
        if (isnan(x)) fputs("nan", out);
        else fputs(x > 0 ? "inf" : "-inf", out);
        return;
    }
    do lk_snprintf(digits, sizeof digits, "%.*e", precision, x);
    while (lk_strtod(digits, NULL) != x && precision++ < 17);
    int exponent = atoi(strchr(digits, 'e') + 1);
    if (exponent < -4 || exponent >= 16) fputs(digits, out);
    else lk_fprintf(out, "%.*f", precision > exponent ? precision - exponent : 1, x);
}

/* (8,), (2, 3) */
static void print_sizes(FILE *out, const ModuleSizes *sizes)
{
    char text[LK_SHAPE_TEXT];
    Tensor x = { .ndim = sizes->ndim };
    memcpy(x.shape, sizes->size, sizeof x.shape);
    fputs(lk_shape_text(&x, text), out);
}

/* The field that "{name}" at p names; NULL for none. */
static const Field *named_field(const Module *m, const char *p, size_t length)
{
    for (const Field *f = lk__first_field(m); f; f = lk__next_field(f))
        if (strlen(f->name) + 2 == length && memcmp(f->name, p + 1, length - 2) == 0) return f;
    return NULL;
}

static void print_field(FILE *out, const Module *m, const char *p, size_t length)
{
    const Field *f = named_field(m, p, length);
    if (!f) {
        fprintf(out, "%.*s", (int)length, p); /* a "{name}" of no field stays as it is */
        return;
    }
    const void *member = lk__member(m, f);
    switch (f->kind) {
    case LK_FIELD_INT: fprintf(out, "%lld", (long long)*(const int64_t *)member); break;
    case LK_FIELD_DOUBLE: print_double(out, *(const double *)member); break;
    case LK_FIELD_BOOL: fputs(*(const bool *)member ? "True" : "False", out); break;
    case LK_FIELD_SIZES: print_sizes(out, member); break;
    default:
        fputs(*(Tensor *const *)member || lk_is_parametrized(m, f->name) ? "True" : "False", out);
        break;
    }
}

/* The constant of a field as a number, where True is 1; a parameter that is there is 1 too. */
static double number_of(const Module *m, const Field *f)
{
    const void *member = lk__member(m, f);
    if (f->kind == LK_FIELD_INT) return (double)*(const int64_t *)member;
    if (f->kind == LK_FIELD_DOUBLE) return *(const double *)member;
    if (f->kind == LK_FIELD_BOOL) return *(const bool *)member;
    return f->kind == LK_FIELD_PARAM &&
           (*(Tensor *const *)member || lk_is_parametrized(m, f->name));
}

/* Whether the part in the brackets from p to end is left out: its field is a negative integer, or
 * the number behind the bar. */
static bool is_left_out(const Module *m, const char *p, const char *end)
{
    const char *open = strchr(p, '{'), *close = open ? strchr(open, '}') : NULL;
    const char *bar = memchr(p, '|', (size_t)(end - p));
    const Field *f = close ? named_field(m, open, (size_t)(close + 1 - open)) : NULL;
    if (f && bar) return number_of(m, f) == lk_strtod(bar + 1, NULL);
    return f && f->kind == LK_FIELD_INT && *(const int64_t *)lk__member(m, f) < 0;
}

static void print_repr(FILE *out, const Module *m, int indent)
{
    for (const char *p = m->type->repr; *p; p++) {
        const char *end = NULL;
        if (*p == '{') end = strchr(p, '}');
        if (*p == '[' || *p == '|') end = strchr(p, ']');
        if (end && *p == '{') {
            print_field(out, m, p, (size_t)(end + 1 - p));
            p = end;
        } else if (end && (*p == '|' || is_left_out(m, p, end))) {
            p = end;
        } else if (*p == '[' || *p == ']') {
            continue;
        } else if (*p == '\n') {
            new_line(out, indent);
        } else {
            fputc(*p, out);
        }
    }
}

static void print_tree(FILE *out, const Module *m, int indent);

static void print_child(FILE *out, const ChildIter *it, int indent)
{
    new_line(out, indent);
    fprintf(out, "(%s): ", it->name);
    print_tree(out, it->module, indent);
}

/* Prints the children. Those of one LK_CHILDREN stand in a ModuleList, which is printed even if it
 * is empty. */
static void print_children(FILE *out, const Module *m, int indent)
{
    ChildIter it = lk_children(m);
    bool more = lk_children_next(&it);
    for (const Field *f = lk__first_field(m); f; f = lk__next_field(f)) {
        bool list = f->kind == LK_FIELD_CHILDREN, empty = !more || it.field != f;
        if (list) new_line(out, indent), fprintf(out, "(%s): ModuleList(", f->name);
        for (; more && it.field == f; more = lk_children_next(&it))
            print_child(out, &it, list ? indent + 2 : indent);
        if (list && !empty) new_line(out, indent);
        if (list) fputc(')', out);
    }
}

static bool has_children(const Module *m)
{
    for (const Field *f = lk__first_field(m); f; f = lk__next_field(f))
        if (f->kind == LK_FIELD_CHILDREN) return true;
    ChildIter it = lk_children(m);
    return lk_children_next(&it);
}

/* Prints Name(), Name(repr), or a block: Name(, one indented line for each line of the repr and
 * each child, and ). */
static void print_tree(FILE *out, const Module *m, int indent)
{
    if (lk__is_freed("lk_print_module", m, NULL)) return;
    const char *repr = m->type->repr ? m->type->repr : "";
    bool block = has_children(m) || strchr(repr, '\n');

    fprintf(out, "%s%s(", m->parametrizations ? "Parametrized" : "", m->type->name);
    if (*repr) {
        if (block) new_line(out, indent + 2);
        print_repr(out, m, indent + 2);
    }
    print_children(out, m, indent + 2);
    if (block) new_line(out, indent);
    fputc(')', out);
}

void lk_print_module(FILE *out, const Module *m)
{
    if (!out) return;
    if (m) print_tree(out, m, 0);
    else fputs("None", out);
}
