/* print.c - print(tensor) as PyTorch 1.13 does it (torch/_tensor_str.py with its default options),
 * byte for byte.
 *
 * All elements of a tensor share one style and one width, so the elements are visited before
 * anything is written. Of more than 1000 elements only the first and last three along each
 * dimension are shown, and only these are visited. Text goes into a Sink, which is a file or a
 * buffer; nothing here needs the heap. */
#include <math.h>
#include <string.h>

#include "core/decimal.h"
#include "core/tape_parts.h"

/* torch.set_printoptions' defaults */
enum { PRECISION = 4, THRESHOLD = 1000, EDGE_ITEMS = 3, LINE_WIDTH = 80 };

/* ---- where text goes ------------------------------------------------------------------------ */

typedef struct Sink {
    FILE *file; /* NULL: into text */
    char *text;
    size_t size;   /* room in text, with the final '\0' */
    size_t length; /* of everything written, whether it had room or not */
    size_t column; /* characters in the last line */
} Sink;

static void put(Sink *s, const char *string)
{
    size_t n = strlen(string);
    if (s->file) {
        fwrite(string, 1, n, s->file);
    } else if (s->length < s->size) {
        size_t room = s->size - s->length;
        memcpy(s->text + s->length, string, n < room ? n : room);
    }
    s->length += n;
    const char *newline = strrchr(string, '\n');
    s->column = newline ? strlen(newline + 1) : s->column + n;
}

static void put_times(Sink *s, int64_t count, const char *string)
{
    while (count-- > 0) put(s, string);
}

/* ---- one element ---------------------------------------------------------------------------- */

typedef enum Style {
    /* "3."         every finite value is an integer; integers and bools keep it too */
    WHOLE,
    FIXED, /* "0.3072" */
    /* "1.0000e-05" the values span more than 1000, or FIXED would not show them well */
    SCIENTIFIC,
} Style;

/* FIXED and WHOLE stay below 1e8, so that nothing is longer than a 20-digit int64 */
enum { VALUE_TEXT = 48 };

static bool is_real(const Tensor *x)
{
    return lk_is_floating(x->dtype) || lk_only_stores(x->dtype);
}

static double real_value(const Tensor *x, const void *p)
{
    double value;
    lk__load_row(x, p, 1, 1, &value);
    return value;
}

static void real_text(double value, Style style, char text[VALUE_TEXT])
{
    if (isnan(value)) {
        strcpy(text, "nan"); /* printf would show its sign */
    } else if (isinf(value)) {
        strcpy(text, value < 0 ? "-inf" : "inf");
    } else if (style == WHOLE) {
        lk_snprintf(text, VALUE_TEXT, "%.0f.", value);
    } else {
        lk_snprintf(text, VALUE_TEXT, style == FIXED ? "%.*f" : "%.*e", PRECISION, value);
    }
}

static void value_text(const Tensor *x, const void *p, Style style, char text[VALUE_TEXT])
{
    switch (x->dtype) {
    case LK_F32:
    case LK_F64:
    case LK_BF16:
    case LK_QI8: real_text(real_value(x, p), style, text); break;
    case LK_I64: snprintf(text, VALUE_TEXT, "%lld", (long long)*(const int64_t *)p); break;
    case LK_U8: snprintf(text, VALUE_TEXT, "%d", *(const uint8_t *)p); break;
    case LK_BOOL: strcpy(text, *(const uint8_t *)p ? "True" : "False"); break;
    }
}

/* ---- the common style and width ------------------------------------------------------------- */

typedef struct Format {
    const Tensor *x;
    bool summarize;
    Style style;
    int64_t width;
    double min, max; /* of the magnitudes of finite values other than zero; max 0: there is none */
} Format;

/* Returns the index shown after i among n: the next, or the first of the last three. */
static int64_t next_shown(const Format *f, int64_t i, int64_t n)
{
    return f->summarize && n > 2 * EDGE_ITEMS && i == EDGE_ITEMS - 1 ? n - EDGE_ITEMS : i + 1;
}

static const void *element(const Tensor *x, const void *p, int d, int64_t i)
{
    return (const char *)p + i * x->stride[d] * (int64_t)lk_dtype_size(x->dtype);
}

typedef void VisitFn(Format *f, const void *p);

static void visit_shown(Format *f, int d, const void *p, VisitFn *visit)
{
    const Tensor *x = f->x;
    if (d == x->ndim) {
        visit(f, p);
        return;
    }
    for (int64_t i = 0; i < x->shape[d]; i = next_shown(f, i, x->shape[d]))
        visit_shown(f, d + 1, element(x, p, d, i), visit);
}

/* Zeros, infinities and NaN decide neither style nor width: they may stand out of the column, as
 * in PyTorch. */
static bool decides(double value) { return isfinite(value) && value != 0; }

static void measure_range(Format *f, const void *p)
{
    double value = real_value(f->x, p), magnitude = fabs(value);
    if (!decides(value)) return;
    if (f->max == 0 || magnitude < f->min) f->min = magnitude;
    if (magnitude > f->max) f->max = magnitude;
    if (value != ceil(value)) f->style = FIXED;
}

static void measure_width(Format *f, const void *p)
{
    char text[VALUE_TEXT];
    if (is_real(f->x) && !decides(real_value(f->x, p))) return;
    value_text(f->x, p, f->style, text);
    int64_t width = (int64_t)strlen(text);
    if (width > f->width) f->width = width;
}

static Format format_of(const Tensor *x)
{
    Format f = { .x = x, .summarize = lk_numel(x) > THRESHOLD, .style = WHOLE, .width = 1 };
    if (is_real(x)) {
        visit_shown(&f, 0, x->data, measure_range);
        if (f.max > 0 && (f.max / f.min > 1000 || f.max > 1e8 || f.min < 1e-4))
            f.style = SCIENTIFIC;
    }
    visit_shown(&f, 0, x->data, measure_width);
    return f;
}

/* ---- brackets, commas, lines ---------------------------------------------------------------- */

static void put_value(Sink *s, const Format *f, const void *p)
{
    char text[VALUE_TEXT];
    value_text(f->x, p, f->style, text);
    put_times(s, f->width - (int64_t)strlen(text), " ");
    put(s, text);
}

/* Puts a comma and `lines` line ends. The next element then begins below the one that follows the
 * bracket at column `indent`. */
static void put_break(Sink *s, int lines, int indent)
{
    put(s, ",");
    put_times(s, lines, "\n");
    put_times(s, indent + 1, " ");
}

/* Puts the separator before value number `count` of a row. */
static void put_comma(Sink *s, int64_t count, int64_t in_line, int indent)
{
    if (count == 0) return;
    if (count % in_line) put(s, ", ");
    else put_break(s, 1, indent);
}

/* Puts the last dimension, with as many values in a line as fit. " ..." counts as one of them. */
static void put_row(Sink *s, const Format *f, const void *p, int indent)
{
    int d = f->x->ndim - 1;
    int64_t n = f->x->shape[d], count = 0;
    /* at least three: 66 columns, 22 for each */
    int64_t in_line = (LINE_WIDTH - indent) / (f->width + 2);
    for (int64_t i = 0, next; i < n; i = next) {
        next = next_shown(f, i, n);
        put_comma(s, count++, in_line, indent);
        put_value(s, f, element(f->x, p, d, i));
        if (next == i + 1) continue;
        put_comma(s, count++, in_line, indent);
        put(s, " ...");
    }
}

static void put_nested(Sink *s, const Format *f, int d, const void *p, int indent)
{
    const Tensor *x = f->x;
    if (d == x->ndim) {
        put_value(s, f, p);
        return;
    }
    put(s, "[");
    if (d == x->ndim - 1) {
        put_row(s, f, p, indent);
    } else {
        /* matrices are set apart by one blank line, stacks of them by two, … */
        int lines = x->ndim - d - 1;
        for (int64_t i = 0, next; i < x->shape[d]; i = next) {
            next = next_shown(f, i, x->shape[d]);
            if (i) put_break(s, lines, indent);
            put_nested(s, f, d + 1, element(x, p, d, i), indent + 1);
            if (next == i + 1) continue;
            put_break(s, lines, indent);
            put(s, "...");
        }
    }
    put(s, "]");
}

/* ---- the whole ------------------------------------------------------------------------------ */

/* Puts ", suffix", on a new line when the last line would grow too long. *line is the length that
 * PyTorch assumes for the last line. It is two too many while that is the line in which the
 * elements ended. */
static void put_suffix(Sink *s, size_t *line, int indent, const char *key, const char *value,
                       const char *end)
{
    size_t length = strlen(key) + strlen(value) + strlen(end);
    if (*line + length + 2 > LINE_WIDTH) {
        put(s, ",\n");
        put_times(s, indent, " ");
        *line = (size_t)indent + length;
    } else {
        put(s, ", ");
        *line += length + 2;
    }
    put(s, key);
    put(s, value);
    put(s, end);
}

static void put_tensor(Sink *s, const Tensor *x)
{
    static const char prefix[] = "tensor(";
    const int indent = (int)sizeof prefix - 1;
    const bool empty = lk_numel(x) == 0;
    if (x->is_parameter) put(s, "Parameter containing:\n");
    put(s, prefix);
    if (empty) {
        put(s, "[]");
    } else {
        Format f = format_of(x);
        put_nested(s, &f, 0, x->data, indent);
    }
    size_t line = s->column + 2;
    if (empty && x->ndim != 1) {
        char shape[LK_SHAPE_TEXT];
        put_suffix(s, &line, indent, "size=", lk_shape_text(x, shape), "");
    }
    /* The dtype is named unless the elements show it: 1. is float32, 1 is int64, True is bool. */
    bool shown = x->dtype == LK_F32 || (!empty && (x->dtype == LK_I64 || x->dtype == LK_BOOL));
    if (!shown) put_suffix(s, &line, indent, "dtype=torch.", lk_dtype_name(x->dtype), "");
    const char *name = lk_grad_fn(x);
    if (name) put_suffix(s, &line, indent, "grad_fn=<", name, ">");
    else if (x->requires_grad) put_suffix(s, &line, indent, "requires_grad=", "True", "");
    put(s, ")");
}

/* Puts None for NULL, as Python does for a gradient that is not there. NULL may also be the result
 * of a failed operation. */
static void put_any(Sink *s, const char *function, const Tensor *x)
{
    if (lk__is_readable(function, x)) put_tensor(s, x);
    else put(s, x ? "<stale>" : "None");
}

void lk_print(FILE *out, const Tensor *x)
{
    if (out) put_any(&(Sink){ .file = out }, "lk_print", x);
}

size_t lk_tensor_str(const Tensor *x, char *text, size_t size)
{
    Sink s = { .text = text, .size = text ? size : 0 };
    put_any(&s, "lk_tensor_str", x);
    if (s.size) text[s.length < size ? s.length : size - 1] = '\0';
    return s.length;
}

size_t lk__elements_text(const Tensor *x, int indent, char *text, size_t size)
{
    Sink s = { .text = text, .size = size };
    Format f = format_of(x);
    if (lk_numel(x) == 0) put(&s, "[]");
    else put_nested(&s, &f, 0, x->data, indent);
    text[s.length < size ? s.length : size - 1] = '\0';
    return s.length;
}

void lk_print_size(FILE *out, const Tensor *x)
{
    if (!out) return;
    if (!lk__is_readable("lk_print_size", x)) {
        fputs(x ? "<stale>" : "None", out);
        return;
    }
    fputs("torch.Size([", out);
    for (int d = 0; d < x->ndim; d++) fprintf(out, d ? ", %lld" : "%lld", (long long)x->shape[d]);
    fputs("])", out);
}
