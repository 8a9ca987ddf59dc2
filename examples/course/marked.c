/* marked.c - see marked.h. */
#include "examples/course/marked.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "examples/course/scratch.h"

/* ---- lines ---------------------------------------------------------------------------------- */

typedef struct Line {
    const char *begin; /* without leading blanks for a mark */
    int length;        /* without the newline */
    int number;
    bool mark; /* "//> …"; begin is then behind the "//> " */
} Line;

/* Reads the next line of *text. False at the end. */
static bool next_line(const char **text, Line *line)
{
    if (!**text) return false;
    const char *end = strchr(*text, '\n');
    size_t length = end ? (size_t)(end - *text) : strlen(*text);
    line->begin = *text;
    line->length = (int)length;
    line->number++;
    *text += length + (end ? 1 : 0);
    const char *first = line->begin + strspn(line->begin, " ");
    line->mark = first < line->begin + length && !strncmp(first, "//> ", 4);
    if (line->mark) {
        line->length -= (int)(first + 4 - line->begin);
        line->begin = first + 4;
    }
    return true;
}

/* Whether a mark is the word, alone or followed by a blank; *rest gets the text behind it. */
static bool is_mark(const Line *line, const char *word, const char **rest)
{
    int width = (int)strlen(word);
    if (!line->mark || line->length < width || strncmp(line->begin, word, (size_t)width) != 0)
        return false;
    *rest = line->begin + width;
    if (line->length == width) return true;
    (*rest)++;
    return line->begin[width] == ' ';
}

/* "no_alpha: looks like alpha forgotten": the name, and the verdict if there is one. */
static void split_wrong(const Line *line, const char *rest, char name[48], char looks_like[96])
{
    static const char words[] = ": looks like ";
    int length = line->length - (int)(rest - line->begin), width = 0;
    while (width < length && rest[width] != ':') width++;
    snprintf(name, 48, "%.*s", width, rest);
    looks_like[0] = '\0';
    int behind = (int)sizeof words - 1;
    if (length > width + behind && !strncmp(rest + width, words, (size_t)behind))
        snprintf(looks_like, 96, "%.*s", length - width - behind, rest + width + behind);
}

/* Writes a line of code that stands in a comment. */
static void put_uncommented(FILE *out, const Line *line)
{
    const char *begin = line->begin;
    int length = line->length, blanks = (int)strspn(begin, " ");
    if (blanks + 2 <= length && begin[blanks] == '/' && begin[blanks + 1] == '/') {
        begin += blanks + 2;
        length -= blanks + 2;
    }
    fprintf(out, "%.*s\n", length, begin);
}

/* ---- variants ------------------------------------------------------------------------------- */

/* Whether the group that begins at text has a section of the wrong solution. */
static bool group_has(const char *text, const char *variant)
{
    Line line = { 0 };
    const char *rest;
    char name[48], looks_like[96];
    while (next_line(&text, &line) && !is_mark(&line, "end", &rest)) {
        if (!is_mark(&line, "wrong", &rest)) continue;
        split_wrong(&line, rest, name, looks_like);
        if (!strcmp(name, variant)) return true;
    }
    return false;
}

/* Whether the section under a mark belongs to the variant. */
static bool section_fits(const Line *mark, const char *variant, bool own)
{
    const char *rest;
    char name[48], looks_like[96];
    if (is_mark(mark, "starter", &rest)) return !strcmp(variant, "starter");
    if (is_mark(mark, "solution", &rest)) return strcmp(variant, "starter") != 0 && !own;
    if (!is_mark(mark, "wrong", &rest)) return false;
    split_wrong(mark, rest, name, looks_like);
    return !strcmp(name, variant);
}

char *marked_variant_new(const Marked *m, const char *variant)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (!out) return NULL;
    const char *at = m->text, *rest;
    bool inside = false, fits = true, code = true, own = false;
    for (Line line = { 0 }; next_line(&at, &line);) {
        if (line.mark) {
            if (!inside) own = group_has(line.begin - 4, variant);
            inside = !is_mark(&line, "end", &rest);
            fits = !inside || section_fits(&line, variant, own);
            code = !inside || is_mark(&line, "solution", &rest);
        } else if (fits && code) {
            fprintf(out, "%.*s\n", line.length, line.begin);
        } else if (fits) {
            put_uncommented(out, &line);
        }
    }
    fclose(out);
    return text;
}

/* ---- reading -------------------------------------------------------------------------------- */

static bool add_wrong(Marked *m, const Line *line, const char *rest)
{
    char name[48], looks_like[96];
    split_wrong(line, rest, name, looks_like);
    for (int i = 0; i < m->wrong_count; i++)
        if (!strcmp(m->wrongs[i].name, name)) return true;
    if (m->wrong_count == MARKED_WRONGS || !name[0] || !looks_like[0]) return false;
    memcpy(m->wrongs[m->wrong_count].name, name, sizeof name);
    memcpy(m->wrongs[m->wrong_count].looks_like, looks_like, sizeof looks_like);
    m->wrong_count++;
    return true;
}

/* Writes a line of a hint. Prose goes on in the same line; code, which is indented or ends like a
 * statement, keeps its lines. */
static void put_hint_line(FILE *out, char *last, const char *text, int length)
{
    bool joins = *last && !strchr(";{}", *last) && length && text[0] != ' ';
    if (*last) fputc(joins ? ' ' : '\n', out);
    fprintf(out, "%.*s", length, text);
    *last = ';';
    if (length) *last = text[length - 1];
}

/* Reads the lines of a hint up to its end. */
static char *hint_new(const char *at)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    char last = '\0'; /* the last character so far */
    if (!out) return NULL;
    for (Line line = { 0 }; next_line(&at, &line) && !line.mark;) {
        const char *begin = line.begin + strspn(line.begin, " ");
        int length = line.length - (int)(begin - line.begin), skip = 0;
        while (skip < length && skip < 2 && begin[skip] == '/') skip++;
        if (skip < length && begin[skip] == ' ') skip++;
        put_hint_line(out, &last, begin + skip, length - skip);
    }
    fputc('\n', out);
    fclose(out);
    return text;
}

bool marked_read(Marked *m, const char *path, Error *err)
{
    *m = (Marked){ .text = text_read_new(path, err) };
    if (!m->text) return false;
    const char *at = m->text, *rest;
    bool inside = false, ok = true;
    Line line = { 0 };
    while (ok && next_line(&at, &line)) {
        if (!line.mark) continue;
        bool end = is_mark(&line, "end", &rest);
        if (is_mark(&line, "wrong", &rest)) ok = add_wrong(m, &line, rest);
        else if (is_mark(&line, "hint", &rest)) {
            ok = m->hint_count < MARKED_HINTS && (m->hints[m->hint_count] = hint_new(at));
            if (ok) m->hint_count++;
        } else ok = end || is_mark(&line, "starter", &rest) || is_mark(&line, "solution", &rest);
        if (end) ok = ok && inside;
        inside = !end;
    }
    if (ok && !inside) return true;
    lk_error_set(err, LK_EFORMAT, "%s:%d: a mark is not understood, or an end is missing", path,
                 line.number);
    marked_free(m);
    return false;
}

void marked_free(Marked *m)
{
    free(m->text);
    for (int i = 0; i < m->hint_count; i++) free(m->hints[i]);
    *m = (Marked){ 0 };
}
