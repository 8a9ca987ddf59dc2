/* json_write.c - writes JSON value by value. Characters above ASCII stay as they are. */
#include "data/json_write.h"

#include <math.h>
#include <string.h>

#include "core/decimal.h"

void lk__json_quote(Buffer *out, const char *text)
{
    static const char names[] = "\"\\bfnrt", meant[] = "\"\\\b\f\n\r\t";
    lk_buffer_put(out, "\"", 1);
    while (*text) {
        size_t plain = 0;
        while ((unsigned char)text[plain] >= ' ' && text[plain] != '"' && text[plain] != '\\')
            plain++;
        lk_buffer_put(out, text, plain);
        text += plain;
        if (!*text) break;
        const char *name = strchr(meant, *text);
        if (name) lk_buffer_print(out, "\\%c", names[name - meant]);
        else lk_buffer_print(out, "\\u%04x", *text);
        text++;
    }
    lk_buffer_put(out, "\"", 1);
}

static void new_line(JsonWriter *w)
{
    if (w->indent > 0) lk_buffer_print(w->out, "\n%*s", w->indent * w->depth, "");
}

/* Puts what is in front of a value. */
static void begin(JsonWriter *w, const char *key)
{
    if (w->any) lk_buffer_put(w->out, ",", 1);
    if (w->depth > 0) new_line(w);
    w->any = true;
    if (!key) return;
    lk__json_quote(w->out, key);
    lk_buffer_print(w->out, w->indent > 0 ? ": " : ":");
}

void lk__json_open(JsonWriter *w, const char *key, char bracket)
{
    begin(w, key);
    lk_buffer_put(w->out, &bracket, 1);
    w->depth++;
    w->any = false;
}

void lk__json_close(JsonWriter *w, char bracket)
{
    w->depth--;
    if (w->any) new_line(w);
    lk_buffer_put(w->out, &bracket, 1);
    w->any = true;
}

void lk__json_put_word(JsonWriter *w, const char *key, const char *word)
{
    begin(w, key);
    lk_buffer_print(w->out, "%s", word);
}

void lk__json_put_text(JsonWriter *w, const char *key, const char *text)
{
    begin(w, key);
    if (text) lk__json_quote(w->out, text);
    else lk_buffer_print(w->out, "null");
}

void lk__json_put_integer(JsonWriter *w, const char *key, int64_t integer)
{
    begin(w, key);
    lk_buffer_print(w->out, "%lld", (long long)integer);
}

void lk__json_put_real(JsonWriter *w, const char *key, double real)
{
    char text[40], *exponent;
    lk_snprintf(text, sizeof text, "%.17g", real);
    exponent = strchr(text, 'e');
    if (!isfinite(real)) strcpy(text, "null");
    else if (!exponent && !strchr(text, '.')) strcat(text, ".0");
    else if (exponent) { /* 1e+05 becomes 1e5 */
        const char *digits = exponent + 1 + (exponent[1] == '+');
        char *to = exponent + 1;
        if (*digits == '-') *to++ = *digits++;
        digits += strspn(digits, "0");
        memmove(to, digits, strlen(digits) + 1);
    }
    lk__json_put_word(w, key, text);
}

void lk__json_put(JsonWriter *w, const char *key, const Json *x)
{
    static const char *const words[] = { "null", "false", "true" }; /* by JsonKind */
    const bool object = x->kind == JSON_OBJECT;
    if (x->kind <= JSON_TRUE) lk__json_put_word(w, key, words[x->kind]);
    else if (x->kind == JSON_INTEGER) lk__json_put_integer(w, key, x->integer);
    else if (x->kind == JSON_REAL) lk__json_put_real(w, key, x->real);
    else if (x->kind == JSON_TEXT) lk__json_put_text(w, key, x->text);
    else {
        lk__json_open(w, key, object ? '{' : '[');
        for (const Json *item = NULL; (item = lk__json_next(x, item));)
            lk__json_put(w, item->key, item);
        lk__json_close(w, object ? '}' : ']');
    }
}
