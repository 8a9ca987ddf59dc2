/* verdict.c - see verdict.h. */
#include "examples/course/verdict.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* clang-format off */
static const struct { const char *name, *next; } table[VERDICT_KINDS] = {
    [VERDICT_PASSED]      = { "passed", "" },
    [VERDICT_NOT_REACHED] = { "not reached", "" },
    [VERDICT_NO_FILE]     = { "no file", "course reset UNIT writes the starter." },
    [VERDICT_COMPILE]     = { "does not compile", "Mend this line." },
    [VERDICT_LINK]        = { "unknown function", "Check its spelling; the headers in core/ and "
                              "nn/ list all functions." },
    [VERDICT_TODO]        = { "TODO left", "Write this part, or remove the word TODO if it is "
                              "written." },
    [VERDICT_TEXT]        = { "answer missing", "Write your answer below the question." },
    [VERDICT_CRASH]       = { "crash", "Look at the line. A pointer there is NULL, or points to "
                              "memory that is gone." },
    [VERDICT_TIMEOUT]     = { "time-out", "Look for a loop whose condition never becomes false." },
    [VERDICT_EXIT]        = { "ended early", "Return from the function instead; only the checks "
                              "end the run." },
    [VERDICT_MISSING]     = { "function missing", "Define it, not static, as examples/course/"
                              "course.h declares it." },
    [VERDICT_FAILED]      = { "call failed", "The text names the function; its comment in the "
                              "header has the rule." },
    [VERDICT_LIBRARY]     = { "the library's own class", "Write the class yourself; only "
                              "single operations come from the library." },
    [VERDICT_LIBRARY_CALL] = { "the library's own function", "Write the lines yourself." },
    [VERDICT_STRUCTURE]   = { "wrong structure", "lk_print_module(stdout, m) prints the tree; "
                              "compare it with the page's." },
    [VERDICT_FIELDS]      = { "not in the field table", "Add a line to .fields: LK_PARAM(Class, "
                              "member) or LK_CHILD(Class, member)." },
    [VERDICT_TAPE]        = { "parameter on a tape", "Make parameters with lk_param_new or "
                              "lk_module_with_params_new. A tape's tensors vanish at its reset." },
    [VERDICT_SHAPE]       = { "wrong shape", "Write the shapes beside each line of your code." },
    [VERDICT_VALUE]       = { "wrong value", "" },
    [VERDICT_GRADIENT]    = { "wrong gradient", "Each factor of the formula must be an operation "
                              "on the tape; see the page's formula." },
    [VERDICT_NOT_FROZEN]  = { "not frozen", "Set requires_grad to false for this parameter before "
                              "the optimizer is made." },
    [VERDICT_FROZEN]      = { "frozen weight moved", "Give the optimizer only parameters with "
                              "requires_grad, and write to no other." },
    [VERDICT_LEAK]        = { "leak", "Free it, or hand it to an owner. A constructor owns the "
                              "modules that it is given." },
    [VERDICT_MEMORY]      = { "memory", "Look at the line: the object there is freed already, or "
                              "the tape was reset." },
};
/* clang-format on */

const char *verdict_name(VerdictKind kind) { return table[kind].name; }
const char *verdict_next(VerdictKind kind) { return table[kind].next; }

/* ---- events: token kind check verdict signal at text looks next, between tabs --------------- */

static void escape(FILE *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '\n') fputs("\\n", out);
        else if (*text == '\t') fputs("\\t", out);
        else if (*text == '\\') fputs("\\\\", out);
        else fputc(*text, out);
    }
}

bool event_write(int fd, const char *token, const Event *e)
{
    char *line = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&line, &size);
    if (!out) return false;
    fprintf(out, "%s\t%d\t%d\t%d\t%d\t%ld\t", token, (int)e->kind, e->check, (int)e->verdict.kind,
            e->signal, e->kind == EVENT_CRASH ? e->at : e->verdict.at);
    escape(out, e->verdict.text);
    fputc('\t', out);
    escape(out, e->verdict.looks_like);
    fputc('\t', out);
    escape(out, e->verdict.next);
    fputc('\n', out);
    bool ok = !fclose(out);
    for (size_t done = 0; ok && done < size;) {
        ssize_t n = write(fd, line + done, size - done);
        ok = n > 0;
        if (ok) done += (size_t)n;
    }
    free(line);
    return ok;
}

/* Copies a field up to a tab or the end of the line, without its escapes; returns the place behind
 * it. */
static const char *unescape(const char *from, char *to, size_t size)
{
    size_t length = 0;
    for (; *from && *from != '\t' && *from != '\n'; from++) {
        char c = *from;
        if (c == '\\' && from[1]) {
            from++;
            if (*from == 'n') c = '\n';
            else if (*from == 't') c = '\t';
            else c = *from;
        }
        if (length + 1 < size) to[length++] = c;
    }
    to[length] = '\0';
    return from + (*from == '\t');
}

bool event_read(const char **text, const char *token, Event *e)
{
    size_t width = strlen(token);
    while (**text) {
        const char *line = *text, *end = strchr(line, '\n');
        *text = end ? end + 1 : line + strlen(line);
        int kind, check, verdict, signal, length = 0;
        long at;
        if (!end || strncmp(line, token, width) != 0 || line[width] != '\t') continue;
        if (sscanf(line + width, "%d%d%d%d%ld%n", &kind, &check, &verdict, &signal, &at,
                   &length) != 5 ||
            kind < 0 || kind > EVENT_DONE || verdict < 0 || verdict >= VERDICT_KINDS)
            continue;
        *e = (Event){ .kind = (EventKind)kind, .check = check, .signal = signal, .at = at };
        e->verdict.kind = (VerdictKind)verdict;
        e->verdict.at = at;
        const char *field = line + width + length + 1;
        field = unescape(field, e->verdict.text, sizeof e->verdict.text);
        field = unescape(field, e->verdict.looks_like, sizeof e->verdict.looks_like);
        unescape(field, e->verdict.next, sizeof e->verdict.next);
        return true;
    }
    return false;
}
