/* tape_print.c - a tape as text: one table of its leaves, one of its records. core/tape_listing.c
 * finds both; core/tape_dot.c draws them. */
#include "core/tape_print.h"

#include "core/tape_listing.h"

enum { TERMINAL = 99, GAP = 2 }; /* columns */

/* ---- columns -------------------------------------------------------------------------------- */

/* Writes the cell of row i. */
typedef void CellFn(const TapeListing *l, int i, char text[LK_LABEL_TEXT]);

/* LEFT and RIGHT are shown whole. The others become narrower when lines would be too long. */
typedef enum Fit {
    LEFT,
    RIGHT,
    CUT_BEGIN, /* "…query (Linear)" */
    CUT_END,   /* "NativeLayerNormBackw…" */
    WRAP,      /* a list, "1, 2, bias", of which the rest goes into the next line */
} Fit;

typedef struct Column {
    const char *title;
    CellFn *write;
    Fit fit;
    int width; /* 0: all cells are empty, and the column is left out */
} Column;

/* Counts characters, of which UTF-8 marks all bytes but the first. */
static int length_of(const char *text)
{
    int length = 0;
    for (; *text; text++) length += (*text & 0xc0) != 0x80;
    return length;
}

/* Skips n characters. */
static const char *skip(const char *text, int n)
{
    while (n-- > 0)
        for (text++; (*text & 0xc0) == 0x80;) text++;
    return text;
}

/* Puts a cell behind `gap` spaces, and returns how many the next cell needs: no line ends with
 * spaces. */
static int put_cell(FILE *out, const Column *c, const char *text, int gap)
{
    int left = c->width - length_of(text); /* below 0: it is cut */
    if (*text == '\0') return gap + c->width + GAP;
    fprintf(out, "%*s", gap + (c->fit == RIGHT ? left : 0), "");
    if (left >= 0) fputs(text, out);
    else if (c->fit == CUT_END)
        fprintf(out, "%.*s…", (int)(skip(text, c->width - 1) - text), text);
    else fprintf(out, "…%s", skip(text, 1 - left));
    return GAP + (left > 0 && c->fit != RIGHT ? left : 0);
}

/* Copies as many items of a list as fit into the width, one at least; returns the rest. */
static const char *take_items(const char *list, int width, char text[LK_LABEL_TEXT])
{
    size_t taken = 0;
    while (list[taken]) {
        size_t end = taken + strcspn(list + taken, ",");
        end += list[end] == ',';
        memcpy(text, list, end);
        text[end] = '\0';
        if (taken && length_of(text) > width) break;
        taken = end;
    }
    text[taken] = '\0';
    return list + taken + (list[taken] == ' ');
}

/* Returns the column that loses a character when lines are too long: lists first, for they lose
 * no text, then the widest one; NULL when no column can. */
static Column *narrowed(Column *columns, int count)
{
    enum { LIST_WIDTH = 18 };
    Column *widest = NULL;
    for (Column *c = columns; c < columns + count; c++) {
        if (c->fit == WRAP && c->width > LIST_WIDTH) return c;
        if (c->fit >= CUT_BEGIN && (!widest || c->width > widest->width)) widest = c;
    }
    return widest && widest->width > length_of(widest->title) ? widest : NULL;
}

/* Makes the columns as wide as their cells, as far as lines fit into a terminal. */
static void fit_columns(const TapeListing *l, Column *columns, int count, int rows)
{
    char text[LK_LABEL_TEXT];
    int total = -GAP;
    for (Column *c = columns; c < columns + count; c++) {
        for (int i = 0; i < rows; i++) {
            c->write(l, i, text);
            int length = length_of(text);
            if (length > c->width) c->width = length;
        }
        int title = length_of(c->title);
        if (c->width > 0 && c->width < title) c->width = title;
        if (c->width > 0) total += c->width + GAP;
    }
    for (Column *c; total > TERMINAL && (c = narrowed(columns, count)); total--) c->width--;
}

/* ---- tables --------------------------------------------------------------------------------- */

static void put_titles(FILE *out, const Column *columns, int count)
{
    int gap = 0;
    for (const Column *c = columns; c < columns + count; c++)
        if (c->width > 0) gap = put_cell(out, c, c->title, gap);
    fputc('\n', out);
}

static void put_row(FILE *out, const TapeListing *l, const Column *columns, int count, int i)
{
    char list[LK_LABEL_TEXT], text[LK_LABEL_TEXT];
    const char *rest = "";
    bool first = true;
    do {
        int gap = 0;
        for (const Column *c = columns; c < columns + count; c++) {
            *text = '\0';
            if (first) c->write(l, i, c->fit == WRAP ? list : text);
            if (c->fit == WRAP) rest = take_items(first ? list : rest, c->width, text);
            if (c->width > 0) gap = put_cell(out, c, text, gap);
        }
        fputc('\n', out);
        first = false;
    } while (*rest);
}

/* Puts the values and the gradient of a small tensor below its row, in one line if they fit. */
static void put_values(FILE *out, const Tensor *x)
{
    enum { INDENT = 4, KEY = 5, COLUMN = 14 }; /* KEY: "data ", "grad " */
    char data[LK_VALUES_TEXT], grad[LK_VALUES_TEXT];
    if (!lk__values_text(x, INDENT + KEY, data)) return;
    fprintf(out, "%*sdata %s", INDENT, "", data);
    if (lk__values_text(x->grad, INDENT + KEY, grad)) {
        int length = (int)strlen(data), column = length < COLUMN ? COLUMN : length;
        bool fits = !strchr(data, '\n') && !strchr(grad, '\n') &&
                    INDENT + KEY + column + GAP + KEY + (int)strlen(grad) <= TERMINAL;
        if (fits) fprintf(out, "%*s", column - length + GAP, "");
        else fprintf(out, "\n%*s", INDENT, "");
        fprintf(out, "grad %s", grad);
    }
    fputc('\n', out);
}

/* Returns the tensor of row i. */
typedef const Tensor *RowTensorFn(const TapeListing *l, int i);

static void put_table(FILE *out, const TapeListing *l, Column *columns, int count, int rows,
                      RowTensorFn *tensor)
{
    if (rows == 0) return;
    fit_columns(l, columns, count, rows);
    fputc('\n', out);
    put_titles(out, columns, count);
    for (int i = 0; i < rows; i++) {
        put_row(out, l, columns, count, i);
        put_values(out, tensor(l, i));
    }
}

/* ---- leaves --------------------------------------------------------------------------------- */

static const Tensor *leaf(const TapeListing *l, int i) { return l->leaf[i]; }

static void write_leaf(const TapeListing *l, int i, char text[LK_LABEL_TEXT])
{
    lk__label(l, l->leaf[i], NULL, text);
}

static void write_kind(const TapeListing *l, int i, char text[LK_LABEL_TEXT])
{
    snprintf(text, LK_LABEL_TEXT, "%s", lk__leaf_kind(l->leaf[i]));
}

static void write_leaf_shape(const TapeListing *l, int i, char text[LK_LABEL_TEXT])
{
    *text = '\0';
    if (!lk__is_gone(l->leaf[i])) lk_shape_text(l->leaf[i], text);
}

static void write_leaf_dtype(const TapeListing *l, int i, char text[LK_LABEL_TEXT])
{
    bool gone = lk__is_gone(l->leaf[i]);
    snprintf(text, LK_LABEL_TEXT, "%s", gone ? "" : lk_dtype_name(l->leaf[i]->dtype));
}

/* ---- records -------------------------------------------------------------------------------- */

static const Tensor *result(const TapeListing *l, int i) { return l->record[i]->out; }

static void write_number(const TapeListing *l, int i, char text[LK_LABEL_TEXT])
{
    (void)l;
    snprintf(text, LK_LABEL_TEXT, "%d", i + 1);
}

static void write_name(const TapeListing *l, int i, char text[LK_LABEL_TEXT])
{
    const char *name = lk__name_of(l->t, result(l, i));
    snprintf(text, LK_LABEL_TEXT, "%s", name ? name : "");
}

static void write_operation(const TapeListing *l, int i, char text[LK_LABEL_TEXT])
{
    snprintf(text, LK_LABEL_TEXT, "%s", lk__node_name(l->record[i]));
}

static void write_inputs(const TapeListing *l, int i, char text[LK_LABEL_TEXT])
{
    static const char more[] = ", …";
    const Node *n = l->record[i];
    const TapePlace *place = lk__place_of(l->t, n->out);
    size_t length = 0;
    *text = '\0';
    for (int k = 0; k < n->inputs; k++) {
        char label[LK_LABEL_TEXT];
        if (!n->in[k]) continue; /* an optional input that was not given */
        lk__label(l, n->in[k], place, label);
        const char *comma = length ? ", " : "";
        size_t next = length + strlen(comma) + strlen(label);
        if (next + sizeof more > LK_LABEL_TEXT) {
            memcpy(text + length, more, sizeof more);
            break;
        }
        snprintf(text + length, LK_LABEL_TEXT - length, "%s%s", comma, label);
        length = next;
    }
}

static void write_shape(const TapeListing *l, int i, char text[LK_LABEL_TEXT])
{
    lk_shape_text(result(l, i), text);
}

static void write_dtype(const TapeListing *l, int i, char text[LK_LABEL_TEXT])
{
    snprintf(text, LK_LABEL_TEXT, "%s", lk_dtype_name(result(l, i)->dtype));
}

static void write_saved(const TapeListing *l, int i, char text[LK_LABEL_TEXT])
{
    snprintf(text, LK_LABEL_TEXT, "%zu", lk__saved_bytes(l, l->record[i]));
}

static void write_place(const TapeListing *l, int i, char text[LK_LABEL_TEXT])
{
    lk__place_text(lk__place_of(l->t, result(l, i)), text);
}

/* ---- the whole ------------------------------------------------------------------------------ */

/* Puts what is there, and the reason for what one may miss. */
static void put_summary(FILE *out, const TapeListing *l)
{
    int used = 0;
    bool missing = false;
    for (int i = 0; i < l->records; i++) {
        const Node *n = l->record[i];
        used += n->used;
        missing = missing || (n->used && !n->out->grad);
    }
    fprintf(out, "tape: %d record%s, %d lea%s, %zu bytes saved for backward\n", l->records,
            l->records == 1 ? "" : "s", l->leaves, l->leaves == 1 ? "f" : "ves",
            lk__saved_bytes_of_all(l));
    if (used)
        fprintf(out,
                "Backward used up %d record%s; lk_backward_with(t, y, NULL, true) keeps them.\n",
                used, used == 1 ? "" : "s");
    if (missing)
        fputs("Gradients of results are gone; lk_tape_annotate(t, true) before backward keeps "
              "them.\n",
              out);
    if (l->records == 0)
        fprintf(out, "Nothing is recorded %s.\n",
                l->t->grad ? "while no input requires a gradient" : "in no-grad mode");
}

void lk_tape_print(FILE *out, Tape *t)
{
    TapeListing l;
    if (!out || !t || !lk__listing_begin(&l, t)) return;
    put_summary(out, &l);
    /* clang-format off */
    Column leaves[] = {
        { "leaf",      write_leaf,       CUT_BEGIN, 0 },
        { "kind",      write_kind,       LEFT,      0 },
        { "shape",     write_leaf_shape, LEFT,      0 },
        { "dtype",     write_leaf_dtype, LEFT,      0 },
    };
    Column records[] = {
        { "#",         write_number,     RIGHT,     0 },
        { "result",    write_name,       CUT_END,   0 },
        { "operation", write_operation,  CUT_END,   0 },
        { "inputs",    write_inputs,     WRAP,      0 },
        { "shape",     write_shape,      LEFT,      0 },
        { "dtype",     write_dtype,      LEFT,      0 },
        { "saved",     write_saved,      RIGHT,     0 },
        { "module",    write_place,      CUT_BEGIN, 0 },
    };
    /* clang-format on */
    put_table(out, &l, leaves, sizeof leaves / sizeof *leaves, l.leaves, leaf);
    put_table(out, &l, records, sizeof records / sizeof *records, l.records, result);
    lk__listing_end(&l);
}
