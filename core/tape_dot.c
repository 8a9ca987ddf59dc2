/* tape_dot.c - a tape as a drawing in Graphviz's language, from left to right: a box for each
 * tensor with its values and gradient, an ellipse for each operation. core/tape_listing.c finds
 * them. */
#include "core/tape_print.h"

#include "core/tape_listing.h"

/* Puts text into a label. Characters with a meaning in the label of a record are escaped; lines
 * end on the left. */
static void put_text(FILE *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '\n') {
            fputs("\\l", out);
            continue;
        }
        if (strchr("\\\"{}|<> ", *text)) fputc('\\', out);
        fputc(*text, out);
    }
}

/* Puts a field of a box with the elements of a small tensor. */
static void put_values(FILE *out, const char *key, const Tensor *x)
{
    char text[LK_VALUES_TEXT];
    if (!lk__values_text(x, (int)strlen(key), text)) return;
    fputc('|', out);
    put_text(out, key);
    put_text(out, text);
    fputs("\\l", out);
}

/* Puts the box of a tensor. */
static void put_tensor(FILE *out, const TapeListing *l, const Tensor *x, const char *kind,
                       const char *look)
{
    char label[LK_LABEL_TEXT], shape[LK_SHAPE_TEXT];
    lk__label(l, x, NULL, label);
    fputs(" [label=\"", out);
    put_text(out, label);
    if (!lk__is_gone(x)) {
        fputc('|', out);
        put_text(out, lk_shape_text(x, shape));
        fprintf(out, "\\ %s%s%s\\l", lk_dtype_name(x->dtype), *kind ? "\\ " : "", kind);
        put_values(out, "data ", x);
        put_values(out, "grad ", x->grad);
    }
    fprintf(out, "\"%s];\n", look);
}

static void put_leaf(FILE *out, const TapeListing *l, int i)
{
    const Tensor *x = l->leaf[i];
    const char *look = ", fillcolor=\"#d8f0d8\"";
    if (!lk__is_gone(x) && !x->requires_grad)
        look = x->is_parameter ? ", fillcolor=\"#d8e6f8\", style=\"filled,dashed\""
                               : ", fillcolor=\"#eeeeee\"";
    fprintf(out, "    leaf%d", i + 1);
    put_tensor(out, l, x, lk__leaf_kind(x), look);
}

static void put_operation(FILE *out, const TapeListing *l, int i)
{
    const Node *n = l->record[i];
    char place[LK_LABEL_TEXT];
    lk__place_text(lk__place_of(l->t, n->out), place);
    fprintf(out, "    op%d [shape=ellipse, fillcolor=\"#fff2c8\", label=\"", i + 1);
    put_text(out, lk__node_name(n));
    if (*place) fputs("\\n", out);
    put_text(out, place);
    fprintf(out, "\"];\n    result%d", i + 1);
    put_tensor(out, l, n->out, "", "");
    for (int k = 0; k < n->inputs; k++) {
        const Tensor *x = n->in[k];
        if (!x) continue; /* an optional input that was not given */
        int number = lk__record_number(l, x);
        fprintf(out, "    %s%d -> op%d;\n", number ? "result" : "leaf",
                number ? number : lk__leaf_number(l, x), i + 1);
    }
    fprintf(out, "    op%d -> result%d;\n", i + 1, i + 1);
}

void lk_tape_dot(FILE *out, Tape *t)
{
    TapeListing l;
    if (!out || !t || !lk__listing_begin(&l, t)) return;
    fputs("digraph tape {\n"
          "    rankdir=LR;\n"
          "    node [shape=record, style=filled, fillcolor=white, fontname=monospace, "
          "fontsize=11];\n",
          out);
    for (int i = 0; i < l.leaves; i++) put_leaf(out, &l, i);
    for (int i = 0; i < l.records; i++) put_operation(out, &l, i);
    fputs("}\n", out);
    lk__listing_end(&l);
}
