/* regex.c - regular expressions as small programs, run for all ways at once (Thompson, CACM 11:6,
 * 1968).
 *
 * A fragment of a program is a piece of the array in which all jumps are relative, so it can be
 * copied and moved. Only the existence of a match counts, not which match Python would try
 * first. */
#include "data/regex.h"

#include <stdint.h>
#include <string.h>

#include "core/memory.h"

typedef enum Kind {
    TAKE,  /* one character that is in the set */
    SPLIT, /* go on at +a and at +b */
    JUMP,  /* go on at +a */
    START,
    END,
    LAST,
    EDGE, /* ^ $ \Z \b: take nothing */
} Kind;

typedef struct Step {
    Kind kind;
    int a, b;
    uint32_t set[8]; /* by the first byte of a character in UTF-8 */
} Step;

struct Regex {
    Step *steps;
    int count, room;
    int *now, *next, *stack; /* places in the program; the one after the last step is a match */
    int *seen; /* the position of the text, from 1, at which a place was last reached */
};

/* ---- sets ----------------------------------------------------------------------------------- */

static void put(Step *s, int c) { s->set[c / 32] |= 1u << c % 32; }

static bool takes(const Step *s, char c)
{
    return s->set[(unsigned char)c / 32] >> (unsigned char)c % 32 & 1;
}

static bool is_in(int c, const char *list) { return c && strchr(list, c); }

static bool is_digit(int c) { return c >= '0' && c <= '9'; }

static bool is_word(int c)
{
    return c == '_' || is_digit(c) || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

static bool is_space(int c)
{
    return c == ' ' || (c >= '\t' && c <= '\r') || (c >= 0x1c && c <= 0x1f);
}

/* Adds the characters of \d, \D, \w, \W, \s or \S. */
static void put_class(Step *s, char letter)
{
    for (int c = 0; c < 256; c++) {
        bool in = is_space(c);
        if (is_in(letter, "dD")) in = is_digit(c);
        if (is_in(letter, "wW")) in = is_word(c);
        if (in != is_in(letter, "DWS")) put(s, c);
    }
}

static Step complement(const Step *s)
{
    Step rest = { .kind = TAKE };
    for (int i = 0; i < 8; i++) rest.set[i] = ~s->set[i];
    return rest;
}

/* ---- reading an expression ------------------------------------------------------------------ */

enum { DEPTH_MAX = 100 };

typedef struct Parser {
    Regex *r;
    const char *pattern, *at;
    Error *err;
    int depth;
} Parser;

static bool fail(const Parser *p, const char *why)
{
    return lk_error_set(p->err, LK_EFORMAT, "the regular expression \"%.120s\" at %d: %s",
                        p->pattern, (int)(p->at - p->pattern), why);
}

static bool no_memory(Error *err)
{
    return lk_error_set(err, LK_EMEMORY, "no memory for a regular expression");
}

static bool add(Parser *p, Step step)
{
    Regex *r = p->r;
    if (r->count == LK_REGEX_MAX) return fail(p, "is too large");
    if (r->count == r->room) {
        int room = 2 * r->room + 16;
        Step *steps = lk_mem_alloc((size_t)room * sizeof *steps);
        if (!steps) return no_memory(p->err);
        if (r->count) memcpy(steps, r->steps, (size_t)r->count * sizeof *steps);
        lk_mem_free(r->steps);
        r->steps = steps;
        r->room = room;
    }
    r->steps[r->count++] = step;
    return true;
}

/* Reads one character, or one of \d and its like, into a set; *c: the character, -1 for a
 * class. */
static bool parse_member(Parser *p, Step *set, int *c)
{
    bool escape = *p->at == '\\';
    p->at += escape;
    char at = *p->at;
    if ((unsigned char)at >= 0x80) return fail(p, "only ASCII is understood");
    if (!at || (escape && is_word(at) && !is_in(at, "dDwWsS")))
        return fail(p, "this escape is not understood");
    *c = escape && is_word(at) ? -1 : at;
    if (*c < 0) put_class(set, at);
    else put(set, at);
    p->at++;
    return true;
}

/* [...], after its first bracket */
static bool parse_class(Parser *p)
{
    Step set = { .kind = TAKE };
    bool complemented = *p->at == '^';
    p->at += complemented;
    const char *first = p->at;
    while (*p->at && (*p->at != ']' || p->at == first)) {
        int from, to;
        if (!parse_member(p, &set, &from)) return false;
        if (p->at[0] != '-' || !p->at[1] || p->at[1] == ']') continue;
        p->at++;
        if (!parse_member(p, &set, &to)) return false;
        if (from < 0 || to < from) return fail(p, "is no range");
        for (int c = from; c <= to; c++) put(&set, c);
    }
    if (!*p->at) return fail(p, "the class has no ]");
    p->at++;
    return add(p, complemented ? complement(&set) : set);
}

/* Reads *, +, ? or {…}: how often the atom before it may be repeated; most -1: any number of
 * times. False, with nothing read: there is no repeat. A { that begins no repeat means itself, as
 * in Python. */
static bool parse_repeat(Parser *p, int *least, int *most)
{
    char c = *p->at;
    *least = c == '+';
    *most = c == '?' ? 1 : -1;
    if (is_in(c, "*+?")) {
        p->at++;
        return true;
    }
    if (c != '{') return false;
    int number[2] = { 0, 0 }, i = 0;
    const char *begin[2] = { p->at + 1, NULL }, *at = p->at + 1;
    for (; is_digit(*at) || (*at == ',' && i == 0); at++) {
        if (*at == ',') begin[++i] = at + 1;
        else if (number[i] <= LK_REGEX_MAX) number[i] = 10 * number[i] + (*at - '0');
    }
    if (*at != '}' || at == p->at + 1) return false;
    *least = number[0];
    *most = number[i];
    if (i > 0 && at == begin[1]) *most = -1;
    p->at = at + 1;
    return true;
}

static bool parse_alternatives(Parser *p);

/* Reads a character, class, group or anchor. *anchor: whether it is an anchor, which takes nothing
 * and cannot be repeated. */
static bool parse_atom(Parser *p, bool *anchor)
{
    static const char anchors[] = "^$AZb"; /* the last three behind a \ */
    static const Kind kinds[] = { START, END, START, LAST, EDGE };
    int ignored[2];
    Step set = { .kind = TAKE };
    char c = *p->at;
    if (parse_repeat(p, &ignored[0], &ignored[1])) return fail(p, "there is nothing to repeat");
    *anchor = c == '^' || c == '$' || (c == '\\' && is_in(p->at[1], anchors + 2));
    if (*anchor) {
        p->at += c == '\\' ? 2 : 1;
        return add(p, (Step){ .kind = kinds[strchr(anchors, p->at[-1]) - anchors] });
    }
    if (c == '[') return p->at++, parse_class(p);
    if (c == '.') {
        p->at++;
        put(&set, '\n');
        return add(p, complement(&set));
    }
    if (c != '(') return parse_member(p, &set, &ignored[0]) && add(p, set);
    p->at++;
    if (p->at[0] == '?' && p->at[1] != ':')
        return fail(p, "of the groups that begin with (? only (?: is understood");
    if (*p->at == '?') p->at += 2;
    if (++p->depth > DEPTH_MAX) return fail(p, "the groups are nested too deep");
    if (!parse_alternatives(p)) return false;
    p->depth--;
    if (*p->at != ')') return fail(p, "the group has no )");
    p->at++;
    return true;
}

/* The fragment from `start` to the end becomes F…F (least times) and then F*, or F?…F?: SPLIT +1
 * +n, F, JUMP back. */
static bool repeat(Parser *p, int start, int least, int most)
{
    Regex *r = p->r;
    int length = r->count - start, times = most < 0 ? least + 1 : most;
    if (length == 0) return true;
    Step *body = lk_mem_alloc((size_t)length * sizeof *body);
    if (!body) return no_memory(p->err);
    memcpy(body, r->steps + start, (size_t)length * sizeof *body);
    r->count = start;
    bool ok = true;
    for (int i = 0; ok && i < times; i++) {
        bool loop = most < 0 && i == least;
        if (i >= least) ok = add(p, (Step){ .kind = SPLIT, .a = 1, .b = length + 1 + loop });
        for (int k = 0; ok && k < length; k++) ok = add(p, body[k]);
        if (loop) ok = ok && add(p, (Step){ .kind = JUMP, .a = -length - 1 });
    }
    lk_mem_free(body);
    return ok;
}

static bool parse_sequence(Parser *p)
{
    while (*p->at && *p->at != '|' && *p->at != ')') {
        int start = p->r->count, least, most, ignored[2];
        bool anchor = false;
        if (!parse_atom(p, &anchor)) return false;
        if (!parse_repeat(p, &least, &most)) continue;
        if (anchor) return fail(p, "there is nothing to repeat");
        if (most >= 0 && most < least) return fail(p, "the most is less than the least");
        if (*p->at == '?') p->at++; /* as few as possible: the same texts fit */
        if (parse_repeat(p, &ignored[0], &ignored[1]))
            return fail(p, "a repeat of a repeat is not understood");
        if (!repeat(p, start, least, most)) return false;
    }
    return true;
}

/* A|B|C: SPLIT A …, A, JUMP to the end, SPLIT B …, B, JUMP to the end, C. Until the end is known,
 * a JUMP holds the place of the JUMP before it. */
static bool parse_alternatives(Parser *p)
{
    Regex *r = p->r;
    int jump = -1;
    for (;;) {
        int start = r->count;
        if (!parse_sequence(p)) return false;
        if (*p->at != '|') break;
        p->at++;
        int length = r->count - start;
        if (!add(p, (Step){ .kind = SPLIT }) || !add(p, (Step){ .kind = JUMP, .a = jump }))
            return false;
        memmove(r->steps + start + 1, r->steps + start, (size_t)length * sizeof *r->steps);
        r->steps[start] = (Step){ .kind = SPLIT, .a = 1, .b = length + 2 };
        jump = r->count - 1;
    }
    while (jump >= 0) {
        int before = r->steps[jump].a;
        r->steps[jump].a = r->count - jump;
        jump = before;
    }
    return true;
}

Regex *lk__regex_new(const char *pattern, Error *err)
{
    Regex *r = lk_mem_calloc(1, sizeof *r);
    if (!r) {
        no_memory(err);
        return NULL;
    }
    Parser p = { .r = r, .pattern = pattern, .at = pattern, .err = err };
    bool ok = parse_alternatives(&p) && (!*p.at || fail(&p, "the ) has no ("));
    size_t places = (size_t)r->count + 1;
    r->now = ok ? lk_mem_calloc(4 * places, sizeof *r->now) : NULL;
    if (!r->now) {
        if (ok) no_memory(err);
        lk__regex_free(r);
        return NULL;
    }
    r->next = r->now + places;
    r->stack = r->next + places;
    r->seen = r->stack + places;
    return r;
}

void lk__regex_free(Regex *r)
{
    if (!r) return;
    lk_mem_free(r->steps);
    lk_mem_free(r->now);
    lk_mem_free(r);
}

void lk__regex_escape(const char *text, char *out)
{
    for (; *text; text++) {
        if (!is_word(*text) && (unsigned char)*text < 0x80) *out++ = '\\';
        *out++ = *text;
    }
    *out = '\0';
}

/* ---- matching ------------------------------------------------------------------------------- */

static bool holds(Kind kind, const char *text, const char *at)
{
    bool edge = (at > text && is_word(at[-1])) != is_word(*at);
    switch (kind) {
    case START: return at == text;
    case END: return !*at || (*at == '\n' && !at[1]);
    case LAST: return !*at;
    case EDGE: return edge;
    default: return true;
    }
}

/* Appends the places that are reached from `place` without taking a character to a list of `count`
 * places; returns the new count. */
static int reach(Regex *r, int *list, int count, int place, const char *text, const char *at)
{
    int depth = 0, position = (int)(at - text) + 1, ways[2] = { place, place };
    for (;;) {
        for (int i = 0; i < 2; i++) {
            if (r->seen[ways[i]] == position) continue;
            r->seen[ways[i]] = position;
            r->stack[depth++] = ways[i];
        }
        if (depth == 0) return count;
        ways[0] = ways[1] = place = r->stack[--depth];
        const Step *s = &r->steps[place];
        if (place == r->count || s->kind == TAKE) list[count++] = place;
        else if (holds(s->kind, text, at))
            ways[0] = ways[1] = place + (s->kind <= JUMP ? s->a : 1);
        if (place < r->count && s->kind == SPLIT) ways[1] = place + s->b;
    }
}

bool lk__regex_fits(Regex *r, const char *text)
{
    memset(r->seen, 0, ((size_t)r->count + 1) * sizeof *r->seen);
    int *now = r->now, *next = r->next, count = reach(r, now, 0, 0, text, text);
    for (const char *at = text, *after; *at && count > 0; at = after) {
        after = at + 1;
        while (((unsigned char)*after & 0xc0) == 0x80)
            after++; /* the rest of a character in UTF-8 */
        int reached = 0, *swap = now;
        for (int i = 0; i < count; i++)
            if (now[i] < r->count && takes(&r->steps[now[i]], *at))
                reached = reach(r, next, reached, now[i] + 1, text, after);
        now = next;
        next = swap;
        count = reached;
    }
    for (int i = 0; i < count; i++)
        if (now[i] == r->count) return true;
    return false;
}
