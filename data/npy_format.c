/* npy_format.c - the format of NumPy's arrays:
 *
 *     93 'NUMPY'      then the version, two bytes: 1 0, 2 0 or 3 0
 *     length          of the header, little-endian: 2 bytes in version 1, 4 bytes later
 *     header          {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), } and spaces
 *     elements        to the end of the file
 */
#include <stdio.h>
#include <string.h>

#include "data/npy_parts.h"

/* ---- the header ----------------------------------------------------------------------------- */

typedef struct Header {
    DType dtype;
    bool swapped; /* its bytes are in the other order */
    bool fortran; /* the first index runs fastest */
    int ndim;
    int64_t shape[LK_MAX_DIMS];
} Header;

typedef struct Source {
    const FileReport *report;
    const char *entry;
    const char *next, *end;
} Source;

static bool wrong(const Source *s, ErrorCode code, const char *what, const char *more)
{
    const char *entry = s->entry ? s->entry : "";
    return lk__file_fail(s->report, code, "%.100s%s%s%.100s", entry, s->entry ? ": " : "", what,
                         more);
}

static bool no_header(const Source *s)
{
    return wrong(s, LK_EFORMAT, "its header is no dictionary of descr, fortran_order and shape",
                 "");
}

static void skip_spaces(Source *s)
{
    while (s->next < s->end && strchr(" \t\n", *s->next) && *s->next) s->next++;
}

/* Skips spaces and this text; false: something else stands here. */
static bool skip(Source *s, const char *text)
{
    const size_t length = strlen(text);
    skip_spaces(s);
    if ((size_t)(s->end - s->next) < length || memcmp(s->next, text, length) != 0) return false;
    s->next += length;
    return true;
}

/* Reads a text between quotes, without escapes. */
static bool read_text(Source *s, char text[32])
{
    skip_spaces(s);
    if (s->next >= s->end || (*s->next != '\'' && *s->next != '"')) return false;
    const char quote = *s->next++;
    const char *stop = memchr(s->next, quote, (size_t)(s->end - s->next));
    if (!stop || stop - s->next >= 32) return false;
    memcpy(text, s->next, (size_t)(stop - s->next));
    text[stop - s->next] = '\0';
    s->next = stop + 1;
    return !strchr(text, '\\');
}

static const struct Descr {
    const char *name; /* without the byte order */
    DType dtype;
} descrs[] = {
    { "f4", LK_F32 }, { "f8", LK_F64 }, { "i8", LK_I64 }, { "u1", LK_U8 }, { "b1", LK_BOOL },
};

static bool read_descr(Source *s, Header *h)
{
    char text[32];
    if (!read_text(s, text)) return wrong(s, LK_EDTYPE, "its dtype is no simple one", "");
    for (size_t i = 0; *text && i < sizeof descrs / sizeof *descrs; i++)
        if (strchr("<>|=", text[0]) && strcmp(text + 1, descrs[i].name) == 0) {
            h->dtype = descrs[i].dtype;
            h->swapped = text[0] == '>';
            return true;
        }
    return wrong(
        s, LK_EDTYPE,
        "float32, float64, int64, uint8 and bool are read, convert it with astype: it is ", text);
}

static bool read_order(Source *s, Header *h)
{
    h->fortran = skip(s, "True");
    return h->fortran || skip(s, "False") || no_header(s);
}

/* Reads "(2, 3)", "(2,)", "()"; Python 2 wrote "(2L, 3L)". */
static bool read_shape(Source *s, Header *h)
{
    if (!skip(s, "(")) return no_header(s);
    for (h->ndim = 0; !skip(s, ")"); h->ndim++) {
        int64_t size = 0;
        int digits = 0;
        if (h->ndim == LK_MAX_DIMS)
            return wrong(s, LK_ESHAPE, "it has more than 8 dimensions", "");
        skip_spaces(s);
        for (; s->next < s->end && *s->next >= '0' && *s->next <= '9'; s->next++, digits++)
            if (__builtin_mul_overflow(size, 10, &size) ||
                __builtin_add_overflow(size, *s->next - '0', &size))
                return wrong(s, LK_EFORMAT, "its shape is larger than any file", "");
        if (digits == 0) return no_header(s);
        skip(s, "L");
        h->shape[h->ndim] = size;
        skip_spaces(s);
        if (!skip(s, ",") && (s->next >= s->end || *s->next != ')')) return no_header(s);
    }
    return true;
}

/* Reads the dictionary, whose keys may have any order. */
static bool read_dictionary(Source *s, Header *h)
{
    char key[32];
    int descr = 0, order = 0, shape = 0;
    if (!skip(s, "{")) return no_header(s);
    while (!skip(s, "}")) {
        if (!read_text(s, key) || !skip(s, ":")) return no_header(s);
        bool ok = false;
        if (strcmp(key, "descr") == 0) ok = ++descr && read_descr(s, h);
        else if (strcmp(key, "fortran_order") == 0) ok = ++order && read_order(s, h);
        else if (strcmp(key, "shape") == 0) ok = ++shape && read_shape(s, h);
        else return no_header(s);
        if (!ok) return false;
        skip_spaces(s);
        if (!skip(s, ",") && (s->next >= s->end || *s->next != '}')) return no_header(s);
    }
    skip_spaces(s);
    return (descr == 1 && order == 1 && shape == 1 && s->next == s->end) || no_header(s);
}

/* Reads all before the elements. s then has the elements. */
static bool read_header(Source *s, Header *h)
{
    static const char magic[] = "\x93NUMPY";
    const unsigned char *b = (const unsigned char *)s->next;
    const size_t size = (size_t)(s->end - s->next);
    if (size < 10 || memcmp(b, magic, 6) != 0)
        return wrong(s, LK_EFORMAT, "is no .npy file: it does not begin with \\x93NUMPY", "");
    if (b[6] < 1 || b[6] > 3 || b[7] != 0)
        return wrong(s, LK_EFORMAT, "its version is none of 1.0, 2.0 and 3.0", "");
    const size_t start = b[6] == 1 ? 10 : 12;
    size_t length = b[8] | (size_t)b[9] << 8;
    if (size >= 12 && b[6] > 1) length |= (size_t)b[10] << 16 | (size_t)b[11] << 24;
    if (size < start || length > size - start)
        return wrong(s, LK_EFORMAT, "ends inside its header", "");
    const char *end = s->end;
    s->next += start;
    s->end = s->next + length;
    if (!read_dictionary(s, h)) return false;
    s->end = end;
    return true;
}

/* ---- the elements --------------------------------------------------------------------------- */

/* Compares the sizes before memory is allocated. */
static bool check_size(const Source *s, const Header *h)
{
    int64_t bytes = (int64_t)lk_dtype_size(h->dtype);
    bool overflow = false, empty = false;
    for (int k = 0; k < h->ndim; k++) {
        empty |= h->shape[k] == 0;
        overflow |= __builtin_mul_overflow(bytes, h->shape[k], &bytes);
    }
    if (empty) bytes = 0;
    else if (overflow) return wrong(s, LK_EFORMAT, "its shape is larger than any file", "");
    if (bytes == s->end - s->next) return true;
    char text[80];
    snprintf(text, sizeof text, "%lld bytes after its header, and has %lld", (long long)bytes,
             (long long)(s->end - s->next));
    return wrong(s, LK_EFORMAT, "announces ", text);
}

/* Copies n elements of `size` bytes. When the first index runs fastest, the places of `from` are
 * counted as an odometer whose last wheel is the last index. */
static void copy_elements(const Header *h, char *to, const char *from, int64_t n, size_t size)
{
    if (!h->fortran || h->ndim < 2) {
        if (n > 0) memcpy(to, from, (size_t)n * size);
        return;
    }
    int64_t stride[LK_MAX_DIMS], index[LK_MAX_DIMS] = { 0 }, at = 0;
    for (int k = 0; k < h->ndim; k++) stride[k] = k ? stride[k - 1] * h->shape[k - 1] : 1;
    for (int64_t i = 0; i < n; i++) {
        memcpy(to + (size_t)i * size, from + (size_t)at * size, size);
        for (int k = h->ndim - 1; k >= 0; k--) {
            at += stride[k];
            if (++index[k] < h->shape[k]) break;
            at -= stride[k] * h->shape[k];
            index[k] = 0;
        }
    }
}

static void swap_bytes(char *x, int64_t n, size_t size)
{
    for (int64_t i = 0; i < n; i++, x += size)
        for (size_t a = 0, b = size - 1; a < b; a++, b--) {
            char byte = x[a];
            x[a] = x[b];
            x[b] = byte;
        }
}

static bool check_bools(const Source *s, const uint8_t *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (x[i] > 1) return wrong(s, LK_EFORMAT, "an element is neither False nor True", "");
    return true;
}

Tensor *lk__npy_tensor_new(const char *bytes, size_t size, const char *entry,
                           const FileReport *report)
{
    Source s = { report, entry, bytes, bytes + size };
    Header h = { 0 };
    if (!read_header(&s, &h) || !check_size(&s, &h)) return NULL;
    Tensor *x = lk_tensor_new(h.dtype, h.ndim, h.shape, report->err);
    if (!x) return NULL;
    const int64_t n = lk_numel(x);
    const size_t width = lk_dtype_size(h.dtype);
    copy_elements(&h, x->data, s.next, n, width);
    if (h.swapped) swap_bytes(x->data, n, width);
    if (h.dtype != LK_BOOL || check_bools(&s, x->data, n)) return x;
    lk_tensor_free(x);
    return NULL;
}

/* ---- writing -------------------------------------------------------------------------------- */

int lk__npy_header(const Tensor *x, char header[LK_NPY_HEADER])
{
    enum { START = 10, ALIGN = 64, GROWTH = 21 };
    char shape[LK_SHAPE_TEXT], first[32] = "";
    const char *descr = "";
    for (size_t i = 0; i < sizeof descrs / sizeof *descrs; i++)
        if (descrs[i].dtype == x->dtype) descr = descrs[i].name;
    int used = snprintf(header + START, LK_NPY_HEADER - START,
                        "{'descr': '%c%s', 'fortran_order': False, 'shape': %s, }",
                        lk_dtype_size(x->dtype) == 1 ? '|' : '<', descr, lk_shape_text(x, shape));
    /* NumPy leaves room for a first size of 21 digits, so that rows can be added in place. */
    if (x->ndim > 0)
        used += GROWTH - snprintf(first, sizeof first, "%lld", (long long)x->shape[0]);
    const int total = (START + used + 1) / ALIGN * ALIGN + ALIGN, length = total - START;
    const int text = START + (int)strlen(header + START);
    memset(header + text, ' ', (size_t)(total - text));
    header[total - 1] = '\n';
    memcpy(header, "\x93NUMPY\x01\x00", 8);
    header[8] = (char)(length & 0xff);
    header[9] = (char)(length >> 8);
    return total;
}

Tensor *lk__npy_contiguous(const Tensor *x, Error *err)
{
    if (x && lk_only_stores(x->dtype)) {
        lk_error_set(err, LK_EDTYPE,
                     "lk_save_npy: NumPy has no %s; convert a copy: lk_convert_(copy, LK_F32, "
                     "err)",
                     lk_dtype_name(x->dtype));
        return NULL;
    }
    /* an owned tensor is never stale */
    const bool as_it_is = x && x->refs > 0 && lk_is_contiguous(x);
    return as_it_is ? lk_tensor_retain((Tensor *)x) : lk_clone(x, err);
}
