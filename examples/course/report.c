/* report.c - tells a report: to people, and as JSON (run.h). */
#include <string.h>

#include "core/decimal.h"
#include "examples/course/run.h"

/* ---- colours -------------------------------------------------------------------------------- */

typedef enum Ink { PLAIN, BOLD, RED, GREEN, YELLOW, DIM } Ink;

static void put(FILE *out, Style style, Ink ink, const char *text)
{
    static const char *const codes[] = { "0", "1", "31", "32", "33", "2" };
    if (style.colour && ink != PLAIN) fprintf(out, "\033[%sm%s\033[0m", codes[ink], text);
    else fputs(text, out);
}

void put_wrapped(FILE *out, Style style, const char *text, int indent)
{
    int room = style.width - 1 - indent;
    if (room < 20) room = 20;
    while (*text) {
        int length = (int)strcspn(text, "\n"), used = length;
        bool source = memchr(text, '|', (size_t)length); /* a line of C, or the mark under it */
        if (length > room) used = room;
        if (length > room && !source) {
            while (used > 0 && text[used] != ' ') used--;
            if (used == 0) used = length;
        }
        while (used < length && ((unsigned char)text[used] & 0xc0) == 0x80) used++;
        fprintf(out, "%*s%.*s\n", indent, "", used, text);
        text += source ? length : used;
        while (*text == ' ' && used < length) text++;
        if (*text == '\n') text++;
    }
}

static const char *next_of(const Verdict *v)
{
    return v->next[0] ? v->next : verdict_next(v->kind);
}

/* ---- people --------------------------------------------------------------------------------- */

static void print_verdict(FILE *out, const Verdict *v, Style style)
{
    enum { INDENT = 6 };
    fprintf(out, "%*s", INDENT, "");
    put(out, style, RED, verdict_name(v->kind));
    if (v->place[0]) fprintf(out, ", %s", v->place);
    fputc('\n', out);
    if (v->text[0]) put_wrapped(out, style, v->text, INDENT);
    if (v->looks_like[0]) {
        fprintf(out, "%*s", INDENT, "");
        put(out, style, YELLOW, "looks like: ");
        fprintf(out, "%s\n", v->looks_like);
    }
    const char *next = next_of(v);
    if (next[0]) {
        char text[500];
        snprintf(text, sizeof text, "next: %s", next);
        put_wrapped(out, style, text, INDENT);
    }
}

static void print_printed(FILE *out, const char *text, Style style, int most)
{
    if (!text || !text[0]) return;
    int lines = 0;
    for (const char *c = text; *c; c++) lines += *c == '\n';
    fputc('\n', out);
    put(out, style, DIM, "  printed by the code:\n");
    int skip = lines > most ? lines - most : 0;
    if (skip) fprintf(out, "    … %d lines before\n", skip);
    for (; *text; text += strcspn(text, "\n"), text += *text == '\n') {
        if (skip-- > 0) continue;
        fprintf(out, "    %.*s\n", (int)strcspn(text, "\n"), text);
    }
}

void report_print(FILE *out, const Report *r, Style style)
{
    int first = report_first(r);
    fprintf(out, "\n");
    put(out, style, BOLD, r->unit->name);
    fprintf(out, "  %s: %d of %d checks pass\n\n", r->unit->title, r->passed, r->count);
    if (first >= 0 && r->verdicts[0].kind != VERDICT_COMPILE && r->warnings[0]) {
        put(out, style, YELLOW, "  the compiler warns:\n");
        put_wrapped(out, style, r->warnings, 4);
        fputc('\n', out);
    }
    for (int i = 0; i < r->count; i++) {
        const Verdict *v = &r->verdicts[i];
        bool passed = v->kind == VERDICT_PASSED, reached = v->kind != VERDICT_NOT_REACHED;
        put(out, style,
            passed    ? GREEN
            : reached ? RED
                      : DIM,
            passed    ? "  ok  "
            : reached ? "  --  "
                      : "   .  ");
        fprintf(out, "%s\n", r->unit->checks[i].title);
        if (i == first) print_verdict(out, v, style);
    }
    if (r->memory_run && first < 0) {
        bool passed = r->memory.kind == VERDICT_PASSED;
        put(out, style, passed ? GREEN : RED, passed ? "  ok  " : "  --  ");
        fprintf(out, "memory: no leak, no use after free (sanitizers and strict mode)\n");
        if (!passed) print_verdict(out, &r->memory, style);
    } else if (r->unchecked[0]) {
        char text[240];
        snprintf(text, sizeof text, ".  memory was not checked: %s", r->unchecked);
        put_wrapped(out, style, text, 3);
    }
    if (first < 0 && r->answers.kind != VERDICT_PASSED) {
        put(out, style, YELLOW, "   .  ");
        fprintf(out, "the answers in words are not complete\n");
        print_verdict(out, &r->answers, style);
    }
    if (first >= 0 && r->passed + 1 < r->count)
        put(out, style, DIM, "\n  --  does not pass    .  was not reached\n");
    print_printed(out, r->printed, style, first < 0 ? 60 : 10);
}

/* ---- JSON ----------------------------------------------------------------------------------- */

/* The length of the UTF-8 character at text; 0: it is none. */
static int utf8_length(const char *text)
{
    unsigned char c = (unsigned char)*text;
    int length = c < 0x80 ? 1 : 0;
    if (c >= 0xc2) length = 2;
    if (c >= 0xe0) length = 3;
    if (c >= 0xf0) length = 4;
    if (c > 0xf4) length = 0;
    for (int i = 1; i < length; i++)
        if (((unsigned char)text[i] & 0xc0) != 0x80) return 0;
    return length;
}

void json_text(FILE *out, const char *text)
{
    fputc('"', out);
    while (*text) {
        unsigned char c = (unsigned char)*text;
        int length = utf8_length(text);
        if (!length) fputs("\\ufffd", out);
        else if (c == '"' || c == '\\') fprintf(out, "\\%c", c);
        else if (c == '\n') fputs("\\n", out);
        else if (c < 32) fprintf(out, "\\u%04x", c);
        else fprintf(out, "%.*s", length, text);
        text += length ? length : 1;
    }
    fputc('"', out);
}

static void json_verdict(FILE *out, const char *title, const Verdict *v)
{
    fprintf(out, "{\"check\": ");
    json_text(out, title);
    fprintf(out, ", \"passed\": %s, \"verdict\": ", v->kind == VERDICT_PASSED ? "true" : "false");
    json_text(out, verdict_name(v->kind));
    fprintf(out, ", \"text\": ");
    json_text(out, v->text);
    fprintf(out, ", \"place\": ");
    json_text(out, v->place);
    fprintf(out, ", \"looks_like\": ");
    json_text(out, v->looks_like);
    fprintf(out, ", \"next\": ");
    json_text(out, v->kind == VERDICT_PASSED ? "" : next_of(v));
    fprintf(out, "}");
}

void report_json(FILE *out, const Report *r)
{
    fprintf(out, "{\"unit\": ");
    json_text(out, r->unit->name);
    lk_fprintf(out, ", \"passed\": %d, \"of\": %d, \"done\": %s, \"seconds\": %.3f, \"checks\": [",
               r->passed, r->count, report_done(r) ? "true" : "false", r->seconds);
    for (int i = 0; i < r->count; i++) {
        fputs(i ? ",\n  " : "\n  ", out);
        json_verdict(out, r->unit->checks[i].title, &r->verdicts[i]);
    }
    fprintf(out, "],\n \"memory\": ");
    Verdict unchecked = { .kind = VERDICT_NOT_REACHED };
    snprintf(unchecked.text, sizeof unchecked.text, "%s", r->unchecked);
    json_verdict(out, "memory", r->memory_run ? &r->memory : &unchecked);
    fprintf(out, ", \"answers\": ");
    if (r->unit->answers) json_verdict(out, "answers", &r->answers);
    else fputs("null", out);
    fprintf(out, ", \"printed\": ");
    json_text(out, r->printed ? r->printed : "");
    fprintf(out, "}");
}
