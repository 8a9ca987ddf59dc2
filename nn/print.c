/* print.c - print(module): the tree of children as torch.nn.Module.__repr__ writes it. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/decimal.h"
#include "nn/fields.h"
#include "nn/parametrize.h"

static void new_line(FILE *out, int indent) { fprintf(out, "\n%*s", indent, ""); }

enum { FIELD_TEXT = LK_SHAPE_TEXT }; /* the longest value of a field; a double has 26 characters */

/* repr(x) of Python: the fewest digits that give x back, "1e-05", "0.1", "2.0". */
static const char *double_text(double x, char text[FIELD_TEXT])
{
    int precision = 0;
    if (isnan(x)) return "nan";
    if (isinf(x)) return x > 0 ? "inf" : "-inf";
    do lk_snprintf(text, FIELD_TEXT, "%.*e", precision, x);
    while (lk_strtod(text, NULL) != x && precision++ < 17);
    int exponent = atoi(strchr(text, 'e') + 1);
    if (exponent >= -4 && exponent < 16)
        lk_snprintf(text, FIELD_TEXT, "%.*f", precision > exponent ? precision - exponent : 1, x);
    return text;
}

/* (8,), (2, 3) */
static const char *sizes_text(const ModuleSizes *sizes, char text[FIELD_TEXT])
{
    Tensor x = { .ndim = sizes->ndim };
    memcpy(x.shape, sizes->size, sizeof x.shape);
    return lk_shape_text(&x, text);
}

/* The value of a field as Python prints it; of a parameter, whether it is there. */
static const char *field_text(const Module *m, const Field *f, char text[FIELD_TEXT])
{
    const void *member = lk__member(m, f);
    bool on = false;
    switch (f->kind) {
    case LK_FIELD_INT:
        snprintf(text, FIELD_TEXT, "%lld", (long long)*(const int64_t *)member);
        return text;
    case LK_FIELD_DOUBLE: return double_text(*(const double *)member, text);
    case LK_FIELD_SIZES: return sizes_text(member, text);
    case LK_FIELD_BOOL: on = *(const bool *)member; break;
    default: on = *(Tensor *const *)member || lk_is_parametrized(m, f->name); break;
    }
    return on ? "True" : "False";
}

/* The field that "{name}" or "{name:text}" at p names; NULL for none. */
static const Field *named_field(const Module *m, const char *p)
{
    const size_t length = strcspn(p + 1, ":}");
    for (const Field *f = lk__first_field(m); f; f = lk__next_field(f))
        if (strlen(f->name) == length && memcmp(f->name, p + 1, length) == 0) return f;
    return NULL;
}

/* A "{name}" of no field stays as it is. */
static void print_field(FILE *out, const Module *m, const char *p, size_t length)
{
    char text[FIELD_TEXT];
    const Field *f = named_field(m, p);
    if (f) fputs(field_text(m, f, text), out);
    else fprintf(out, "%.*s", (int)length, p);
}

/* Whether the part in the brackets that open at p is left out: its field is a negative integer, or
 * prints as the text behind the colon. */
static bool is_left_out(const Module *m, const char *p)
{
    char room[FIELD_TEXT];
    const char *open = strchr(p, '{');
    const Field *f = open ? named_field(m, open) : NULL;
    if (!f) return false;
    if (f->kind == LK_FIELD_INT && *(const int64_t *)lk__member(m, f) < 0) return true;
    const char *text = field_text(m, f, room), *end = open + 1 + strlen(f->name);
    const size_t length = strlen(text);
    return *end == ':' && strncmp(end + 1, text, length) == 0 && end[1 + length] == '}';
}

static void print_repr(FILE *out, const Module *m, int indent)
{
    for (const char *p = m->type->repr; *p; p++) {
        const char *end = NULL;
        if (*p == '{') end = strchr(p, '}');
        if (*p == '[') end = strchr(p, ']');
        if (end && *p == '{') {
            print_field(out, m, p, (size_t)(end + 1 - p));
            p = end;
        } else if (end && is_left_out(m, p)) {
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
