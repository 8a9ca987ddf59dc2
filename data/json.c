/* json.c - reads JSON strictly. A first pass counts, so that the second needs one block for all
 * values and their texts, and one for sorting keys: memory runs out in one place. */
#include "data/json.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/decimal.h"
#include "core/memory.h"
#include "data/utf8.h"
#include "data/whole_file.h"

typedef struct Reader {
    const char *begin, *at, *end; /* of the source; *end is '\0', which no rule accepts */
    Json *values;
    size_t count;
    char *texts;       /* where the next text goes */
    const char **keys; /* room for the keys of any object */
    const char *key;   /* the last one that was read, for messages */
    int depth;
    const char *subject;
    const FileReport *report;
} Reader;

/* Reports "SUBJECT… (line 3, byte 17, after "key")"; returns false. */
static bool refuse(const Reader *r, const char *why)
{
    const char *line = r->begin;
    size_t number = 1;
    for (const char *p = line; p < r->at; p++)
        if (*p == '\n') {
            number++;
            line = p + 1;
        }
    return lk__file_fail(r->report, LK_EFORMAT, "%s%s (line %zu, byte %zu%s%.60s%s)", r->subject,
                         why, number, (size_t)(r->at - line) + 1, r->key ? ", after \"" : "",
                         r->key ? r->key : "", r->key ? "\"" : "");
}

static bool expected(const Reader *r, const char *what)
{
    const unsigned char c = (unsigned char)*r->at;
    char why[160], found[20] = "the end";
    if (r->at < r->end)
        snprintf(found, sizeof found, c > ' ' && c < 0x7f ? "'%c'" : "the byte 0x%02x", c);
    snprintf(why, sizeof why, "is not JSON: %s is expected, not %s", what, found);
    return refuse(r, why);
}

/* ---- texts and numbers ---------------------------------------------------------------------- */

/* Reads \u1234. */
static bool read_unit(Reader *r, uint32_t *unit)
{
    char digits[5] = "";
    if (strspn(r->at + 2, "0123456789abcdefABCDEF") < 4)
        return refuse(r, "is not JSON: 4 hexadecimal digits are expected behind \\u");
    memcpy(digits, r->at + 2, 4);
    *unit = (uint32_t)strtoul(digits, NULL, 16);
    r->at += 6;
    return *unit > 0 || refuse(r, "has a text with \\u0000 in it");
}

/* Reads \u1234 or, above U+FFFF, two of them: a surrogate pair. */
static bool read_code(Reader *r, uint32_t *code)
{
    uint32_t low = 0;
    if (!read_unit(r, code)) return false;
    if (*code < 0xD800 || *code > 0xDFFF) return true;
    if (*code < 0xDC00 && strncmp(r->at, "\\u", 2) == 0 && !read_unit(r, &low)) return false;
    *code = 0x10000 + ((*code & 0x3FF) << 10 | (low & 0x3FF));
    return (low >= 0xDC00 && low <= 0xDFFF) ||
           refuse(r, "is not JSON: \\u gives half a surrogate pair");
}

static bool read_escape(Reader *r, char **out)
{
    static const char names[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
    const char *name = r->at[1] ? strchr(names, r->at[1]) : NULL;
    uint32_t code = name ? (uint32_t)meant[name - names] : 0;
    if (name) r->at += 2;
    else if (r->at[1] != 'u')
        return refuse(r, "is not JSON: \\ is followed by none of \"\\/bfnrtu");
    else if (!read_code(r, &code)) return false;
    *out += lk__put_utf8(*out, code);
    return true;
}

/* Reads a text, from its first quote to behind its last. */
static bool read_text(Reader *r, const char **text)
{
    char *out = r->texts;
    for (r->at++; *r->at != '"';) {
        uint32_t code;
        size_t size = lk__utf8((const unsigned char *)r->at, (size_t)(r->end - r->at) + 1, &code);
        if (code < ' ') return expected(r, "the rest of a text");
        if (code == LK_UTF8_BROKEN) return refuse(r, "is not UTF-8");
        if (code != '\\') {
            memcpy(out, r->at, size);
            out += size;
            r->at += size;
        } else if (!read_escape(r, &out)) return false;
    }
    r->at++;
    *out = '\0';
    *text = r->texts;
    r->texts = out + 1;
    return true;
}

/* Steps over `before` characters and the digits behind them, at least one. */
static bool skip_digits(Reader *r, int before)
{
    r->at += before;
    if (!isdigit((unsigned char)*r->at)) return expected(r, "a digit");
    while (isdigit((unsigned char)*r->at)) r->at++;
    return true;
}

static bool read_number(Reader *r, Json *x)
{
    const char *begin = r->at, *whole = begin + (*begin == '-');
    if (!skip_digits(r, *begin == '-')) return false;
    if (*whole == '0') r->at = whole + 1; /* "01" is a number and something else */
    whole = r->at;
    if (*r->at == '.' && !skip_digits(r, 1)) return false;
    const bool sign = *r->at && (r->at[1] == '+' || r->at[1] == '-');
    if ((*r->at == 'e' || *r->at == 'E') && !skip_digits(r, sign ? 2 : 1)) return false;
    x->kind = r->at == whole ? JSON_INTEGER : JSON_REAL;
    if (x->kind == JSON_REAL) {
        x->real = lk_strtod(begin, NULL);
        return isfinite(x->real) || refuse(r, "has a number beyond the largest double");
    }
    errno = 0;
    x->integer = strtoll(begin, NULL, 10);
    return errno == 0 || refuse(r, "has a whole number beyond 64 bits");
}

/* ---- values --------------------------------------------------------------------------------- */

static bool skip_blanks(Reader *r)
{
    while (*r->at == ' ' || *r->at == '\n' || *r->at == '\r' || *r->at == '\t') r->at++;
    return true;
}

/* Steps over a character and the blanks around it; false: there is another one. */
static bool take(Reader *r, char c)
{
    skip_blanks(r);
    if (*r->at != c) return false;
    r->at++;
    return skip_blanks(r);
}

static int by_alphabet(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Sorts the keys to find one that is there twice. No choice of keys makes this slow, as it could
 * make a hash table. */
static bool check_keys(Reader *r, const Json *object)
{
    size_t n = 0;
    for (const Json *x = NULL; (x = lk__json_next(object, x));) r->keys[n++] = x->key;
    qsort(r->keys, n, sizeof *r->keys, by_alphabet);
    for (size_t i = 1; i < n; i++)
        if (strcmp(r->keys[i - 1], r->keys[i]) == 0) {
            r->key = r->keys[i];
            return refuse(r, "has a key twice in the object that ends here");
        }
    return true;
}

static bool read_value(Reader *r, const char *key);

static bool read_member(Reader *r)
{
    if (*r->at != '"') return expected(r, "a key in quotes");
    if (!read_text(r, &r->key)) return false;
    return take(r, ':') ? read_value(r, r->key) : expected(r, "':'");
}

static bool read_items(Reader *r, Json *x)
{
    const bool object = *r->at == '{';
    const char last = object ? '}' : ']';
    if (++r->depth > LK_JSON_DEPTH)
        return refuse(r, "has too many lists and objects in each other");
    take(r, *r->at);
    for (bool more = *r->at != last; more; more = take(r, ','))
        if (!(object ? read_member(r) : read_value(r, NULL))) return false;
    if (*r->at != last) return expected(r, object ? "',' or '}'" : "',' or ']'");
    r->at++;
    r->depth--;
    x->kind = object ? JSON_OBJECT : JSON_LIST;
    x->span = (size_t)(r->values + r->count - x);
    return !object || check_keys(r, x);
}

static bool read_value(Reader *r, const char *key)
{
    static const char *const words[] = { "null", "false", "true" }; /* by JsonKind */
    Json *x = &r->values[r->count++];
    *x = (Json){ .key = key, .kind = JSON_NULL };
    if (*r->at == '{' || *r->at == '[') return read_items(r, x);
    if (*r->at == '-' || isdigit((unsigned char)*r->at)) return read_number(r, x);
    if (*r->at == '"') {
        x->kind = JSON_TEXT;
        return read_text(r, &x->text);
    }
    for (; x->kind <= JSON_TRUE; x->kind++) {
        size_t length = strlen(words[x->kind]);
        if (strncmp(r->at, words[x->kind], length) != 0) continue;
        r->at += length;
        return true;
    }
    return expected(r, "a value");
}

/* ---- the whole text ------------------------------------------------------------------------- */

/* Counts values and keys, more rather than less if it is no JSON: a value begins the text, or
 * comes behind a bracket, a comma or a colon. */
static void count(const char *text, size_t size, size_t *values, size_t *keys)
{
    bool quoted = false;
    *values = 1, *keys = 0;
    for (size_t i = 0; i < size; i++) {
        const char c = text[i];
        if (c == '"') quoted = !quoted;
        else if (quoted) i += c == '\\';
        else if (c == ':') ++*keys;
        else if (c == ',' || c == '[' || c == '{') ++*values;
    }
}

Json *lk__json_new(const char *text, size_t size, const char *subject, const FileReport *report)
{
    size_t values, keys;
    count(text, size, &values, &keys);
    Json *root = lk_mem_calloc(values + size / sizeof *root + 1, sizeof *root);
    Reader r = { .begin = text, .at = text, .end = text + size, .values = root };
    r.texts = root ? (char *)(root + values) : NULL;
    r.keys = lk_mem_calloc(keys + 1, sizeof *r.keys);
    r.subject = subject;
    r.report = report;
    bool ok = (root && r.keys) ||
              lk__file_fail(report, LK_EMEMORY, "no memory for %zu values of JSON", values);
    if (ok && strncmp(text, "\xEF\xBB\xBF", 3) == 0)
        ok = refuse(&r, "begins with a byte order mark; save it without one");
    ok = ok && skip_blanks(&r) && read_value(&r, NULL) && skip_blanks(&r) &&
         (r.at == r.end || expected(&r, "the end"));
    lk_mem_free(r.keys);
    if (!ok) lk_mem_free(root);
    return ok ? root : NULL;
}

Json *lk__json_file_new(const FileReport *report)
{
    WholeFile file = { 0 };
    Json *root = NULL;
    if (lk__read_whole_file(&file, report)) root = lk__json_new(file.bytes, file.size, "", report);
    lk__whole_file_free(&file);
    return root;
}

/* ---- values that were read ------------------------------------------------------------------ */

bool lk__json_is(const Json *x, JsonKind kind) { return x && x->kind == kind; }

const char *lk__json_text(const Json *x) { return lk__json_is(x, JSON_TEXT) ? x->text : NULL; }

double lk__json_number(const Json *x)
{
    if (lk__json_is(x, JSON_INTEGER)) return (double)x->integer;
    return lk__json_is(x, JSON_REAL) ? x->real : NAN;
}

const Json *lk__json_next(const Json *x, const Json *item)
{
    if (!x || x->kind < JSON_LIST) return NULL;
    const Json *next = x + 1;
    if (item) next = item + (item->kind < JSON_LIST ? 1 : item->span);
    return next < x + x->span ? next : NULL;
}

const Json *lk__json_get(const Json *object, const char *key)
{
    if (!lk__json_is(object, JSON_OBJECT)) return NULL;
    const Json *x = NULL;
    while ((x = lk__json_next(object, x)) && strcmp(x->key, key) != 0) continue;
    return x;
}

size_t lk__json_count(const Json *x)
{
    size_t n = 0;
    for (const Json *item = NULL; (item = lk__json_next(x, item));) n++;
    return n;
}
