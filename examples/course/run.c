/* run.c - see run.h. */
#include "examples/course/run.h"

#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "examples/course/answers.h"
#include "examples/course/compiler.h"
#include "examples/course/memory.h"
#include "examples/course/process.h"
#include "examples/course/scratch.h"

enum { SECONDS = 10, MEMORY_SECONDS = 120, MEGABYTES = 2048, TOKEN = 33 };

static void make_token(char token[TOKEN])
{
    unsigned char bytes[(TOKEN - 1) / 2] = { 0 };
    FILE *random = fopen("/dev/urandom", "rb");
    size_t n = random ? fread(bytes, 1, sizeof bytes, random) : 0;
    if (random) fclose(random);
    if (n < sizeof bytes) snprintf((char *)bytes, sizeof bytes, "%d", (int)getpid());
    for (size_t i = 0; i < sizeof bytes; i++) snprintf(token + 2 * i, 3, "%02x", bytes[i]);
}

/* ---- the sanitizer's report ----------------------------------------------------------------- */

/* The first "file:line" of the learner's file in a text, with the function in front of it. */
static bool first_frame(const char *text, const char *source, char place[160], char function[80])
{
    char needle[LK_PATH_MAX + 1];
    snprintf(needle, sizeof needle, "%s:", source);
    const char *at = strstr(text, needle);
    if (!at) return false;
    int number = atoi(at + strlen(needle));
    snprintf(place, 160, "%.100s:%d", path_base(source), number);
    const char *line = at;
    while (line > text && line[-1] != '\n') line--;
    const char *in = strstr(line, " in ");
    function[0] = '\0';
    if (in && in < at) snprintf(function, 80, "%.*s", (int)strcspn(in + 4, " "), in + 4);
    return true;
}

/* The words of AddressSanitizer for a fault, in the words of the course. */
static const char freed[] = "Free it later, or keep what you need with lk_retain or lk_clone.";
static const char beyond[] = "Compare the index with the number of elements.";
static const struct {
    const char *word, *means, *next;
} faults[] = {
    { "heap-use-after-free", "memory is used after it was freed", freed },
    { "heap-buffer-overflow", "an array on the heap is read or written beyond its end", beyond },
    { "stack-buffer-overflow", "a local array is read or written beyond its end", beyond },
    { "global-buffer-overflow", "a global array is read or written beyond its end", beyond },
    { "stack-overflow", "a function calls itself without end",
      "Look for the call that has no end." },
    { "attempting double-free", "the same memory is freed twice", "One owner frees; count them." },
    { "attempting free on address", "something is freed that was not allocated by itself",
      "Only free what a function ending in _new gave you." },
    { "SEGV", "a pointer is NULL or points nowhere", "Check the pointer before it is used." },
    { "FPE", "an integer is divided by 0", "Check the divisor." },
    { "ABRT", "abort was called, or an assertion failed", "Look at the condition." },
    { "", "memory is used in a wrong way", "" },
};

/* Reads the sanitizer's report in the output. False when there is none. */
static bool read_sanitizer(const char *output, const char *source, Verdict *v)
{
    char function[80] = "";
    const char *address = strstr(output, "ERROR: AddressSanitizer: ");
    const char *leak = strstr(output, "ERROR: LeakSanitizer: ");
    const char *undefined = strstr(output, "runtime error: ");
    if (!address && !leak && !undefined) return false;
    *v = (Verdict){ .kind = VERDICT_MEMORY, .at = -1 };
    if (address) {
        size_t i = 0;
        while (strncmp(address + 25, faults[i].word, strlen(faults[i].word)) != 0) i++;
        first_frame(address, source, v->place, function);
        snprintf(v->text, sizeof v->text, "%s%s%s", faults[i].means, function[0] ? ", in " : "",
                 function);
        snprintf(v->next, sizeof v->next, "%s", faults[i].next);
    } else if (undefined) {
        const char *begin = undefined + strlen("runtime error: ");
        const char *line = undefined;
        while (line > output && line[-1] != '\n') line--;
        first_frame(line, source, v->place, function);
        bool null = strstr(begin, "null pointer");
        snprintf(v->text, sizeof v->text, "%.*s", (int)strcspn(begin, "\n"), begin);
        snprintf(v->next, sizeof v->next, "%s",
                 null ? "A call before this line gave NULL: a constructor, or lk_as_… for another "
                        "class. Check the pointer before it is used."
                      : "Mend this line; C does not say what happens after it.");
    } else {
        v->kind = VERDICT_LEAK;
        const char *direct = strstr(leak, "Direct leak of ");
        long long bytes = 0, objects = 0;
        if (direct) sscanf(direct, "Direct leak of %lld byte(s) in %lld", &bytes, &objects);
        first_frame(direct ? direct : leak, source, v->place, function);
        snprintf(v->text, sizeof v->text, "%lld bytes in %lld object%s are never freed%s%s", bytes,
                 objects, objects == 1 ? "" : "s", function[0] ? "; they were made in " : "",
                 function);
    }
    return true;
}

/* ---- one run -------------------------------------------------------------------------------- */

/* How the process of the checks ended. */
typedef struct Ending {
    int running; /* the check that was running at the end; -1: none */
    bool done;   /* all checks came to their end */
    Event crash; /* kind CRASH when there was one */
    bool loaded;
} Ending;

static const char *signal_name(int number)
{
    switch (number) {
    case EVENT_STACK: return "the calls never end, and the stack is full";
    case SIGSEGV: return "a pointer is NULL or points nowhere (SIGSEGV)";
    case SIGBUS: return "a pointer points nowhere (SIGBUS)";
    case SIGFPE: return "an integer is divided by 0 (SIGFPE)";
    case SIGILL: return "an instruction is not allowed (SIGILL)";
    case SIGABRT:
        return "abort was called: the memory is damaged, or an assertion failed "
               "(SIGABRT)";
    default: return "it was ended by a signal";
    }
}

/* Reads the events into the report. */
static Ending read_events(const Process *p, const char *token, const char *library,
                          const char *source, const char *const *sandbox, Report *r)
{
    Ending end = { .running = -1, .loaded = true };
    const char *text = p->records;
    for (Event e; event_read(&text, token, &e);) {
        bool known = e.check >= 0 && e.check < r->count;
        place_of(library, e.kind == EVENT_CRASH ? e.at : e.verdict.at, source, sandbox,
                 e.verdict.place);
        if (e.kind == EVENT_BEGIN && known) end.running = e.check;
        else if (e.kind == EVENT_END && known) {
            r->verdicts[e.check] = e.verdict;
            end.running = -1;
        } else if (e.kind == EVENT_LOAD) {
            r->verdicts[0] = e.verdict;
            end.loaded = false;
        } else if (e.kind == EVENT_CRASH) end.crash = e;
        else if (e.kind == EVENT_DONE) end.done = true;
    }
    return end;
}

/* The verdict on a run that did not come to its end. */
static Verdict ended_early(const Process *p, const Ending *end, int seconds)
{
    Verdict v = { .kind = VERDICT_EXIT, .at = -1 };
    if (p->end == PROCESS_FLOOD) {
        v.kind = VERDICT_TIMEOUT;
        snprintf(v.text, sizeof v.text, "ended after printing %d MB", PROCESS_FLOOD_BYTES >> 20);
    } else if (p->end == PROCESS_LATE ||
               (end->crash.kind == EVENT_CRASH && end->crash.signal == SIGXCPU)) {
        v.kind = VERDICT_TIMEOUT;
        snprintf(v.text, sizeof v.text, "not finished after %d seconds of computing", seconds);
        memcpy(v.place, end->crash.verdict.place, sizeof v.place);
    } else if (end->crash.kind == EVENT_CRASH || p->end == PROCESS_KILLED) {
        int number = end->crash.kind == EVENT_CRASH ? end->crash.signal : p->status;
        v.kind = VERDICT_CRASH;
        snprintf(v.text, sizeof v.text, "%s", signal_name(number));
        memcpy(v.place, end->crash.verdict.place, sizeof v.place);
        memcpy(v.looks_like, end->crash.verdict.looks_like, sizeof v.looks_like);
        memcpy(v.next, end->crash.verdict.next, sizeof v.next);
        const char *next = NULL;
        if (number == EVENT_STACK)
            next = "Look for a function that calls itself: a forward that "
                   "runs its own module?";
        else if (!v.place[0])
            next = "The line is not known. Something may be freed once too often: "
                   "look at each lk_free, and at what a constructor consumes.";
        if (next && !v.next[0]) snprintf(v.next, sizeof v.next, "%s", next);
    } else if (end->done)
        snprintf(v.text, sizeof v.text, "the code wrote into the report of the checks");
    else
        snprintf(v.text, sizeof v.text,
                 "the code ended the program (status %d) before the checks "
                 "were through",
                 p->status);
    return v;
}

static bool exam(const RunOptions *o, const Unit *u, const char *program, const char *library,
                 bool memory, const char *token, Process *p, Error *err)
{
    char seed[32], seeds[32];
    snprintf(seeds, sizeof seeds, "%d", o->seeds ? o->seeds : 1);
    snprintf(seed, sizeof seed, "%llu", (unsigned long long)o->seed);
    const char *argv[32];
    int n = 0;
    for (const char *const *word = o->sandbox; word && *word && n < 24; word++) argv[n++] = *word;
    const char *const own[] = { program, "--exam", u->name, library, seed, seeds, NULL };
    for (int i = 0; own[i]; i++) argv[n++] = own[i];
    argv[n] = NULL;
    static const char *const plain[] = { "LC_ALL=C", "OMP_NUM_THREADS=1",
                                         "LORIKEET_STRICT=", NULL };
    static const char *const strict[] = {
        "LC_ALL=C",
        "OMP_NUM_THREADS=1",
        "LORIKEET_STRICT=1",
        "ASAN_OPTIONS=detect_leaks=1:hard_rss_limit_mb=4096:color=never:handle_abort=1",
        "UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1:color=never",
        "LSAN_OPTIONS=color=never:print_suppressions=0",
        NULL,
    };
    int megabytes = o->megabytes ? o->megabytes : MEGABYTES;
    int seconds = o->seconds ? o->seconds : SECONDS;
    *p = (Process){
        .argv = argv,
        .env = memory ? strict : plain,
        .folder = o->scratch,
        .seconds = memory ? MEMORY_SECONDS : seconds,
        .megabytes = memory ? 0 : megabytes, /* a sanitizer needs terabytes of addresses */
        .file_megabytes = 256,
        .input = token,
        .report = true,
    };
    if (!process_run(p, err)) return false;
    /* bubblewrap reports a signal of the program inside as a shell does. */
    if (o->sandbox && p->end == PROCESS_EXITED && p->status > 128) {
        p->status -= 128;
        p->end = p->status == SIGXCPU || p->status == SIGKILL ? PROCESS_LATE : PROCESS_KILLED;
    }
    return true;
}

static void run_plain(const RunOptions *o, const Unit *u, const char *source, const char *library,
                      Report *r, bool *ok, Error *err)
{
    char token[TOKEN];
    make_token(token);
    Process p;
    *ok = exam(o, u, o->home->program, library, false, token, &p, err);
    if (!*ok) return;
    Ending end = read_events(&p, token, library, source, o->sandbox, r);
    int at = end.running;
    for (int i = 0; at < 0 && i < r->count; i++)
        if (r->verdicts[i].kind == VERDICT_NOT_REACHED) at = i;
    if (end.loaded && at >= 0) r->verdicts[at] = ended_early(&p, &end, p.seconds);
    r->printed = p.output;
    p.output = NULL;
    process_free(&p);
}

/* ---- memory --------------------------------------------------------------------------------- */

/* Runs the file again with sanitizers and in strict mode, and takes over what this finds. */
static bool run_memory(const RunOptions *o, const Unit *u, const char *source, Report *r,
                       Error *err)
{
    if (!o->memory || !path_exists(o->memory)) {
        if (o->work) memory_build_state(o->work, r->unchecked);
        return true;
    }
    char library[LK_PATH_MAX], token[TOKEN];
    if (!lk_path_join(library, o->scratch, "memory.so", err)) return false;
    Compiled c;
    if (!compile(source, library, o->home->root, true, false, o->sandbox, &c, err)) return false;
    if (!c.ok) {
        snprintf(r->unchecked, sizeof r->unchecked, "the compiler has no sanitizers");
        return true;
    }
    make_token(token);
    Process p;
    if (!exam(o, u, o->memory, library, true, token, &p, err)) return false;
    Report second = { .unit = u, .count = r->count };
    for (int i = 0; i < r->count; i++) second.verdicts[i].kind = VERDICT_NOT_REACHED;
    Ending end = read_events(&p, token, library, source, o->sandbox, &second);
    r->memory_run = true;
    r->memory = (Verdict){ .kind = VERDICT_PASSED, .at = -1 };
    int at = end.running >= 0 ? end.running : report_first(r);
    bool sanitizer = read_sanitizer(p.output, source, &r->memory);
    if (!sanitizer) {
        for (int i = 0; i < r->count && r->memory.kind == VERDICT_PASSED; i++)
            if (second.verdicts[i].kind == VERDICT_MEMORY) {
                r->memory = second.verdicts[i];
                at = i;
            }
        if (!end.done && r->memory.kind == VERDICT_PASSED)
            r->memory = ended_early(&p, &end, p.seconds);
    }
    /* Strict mode refuses calls that crash without it. */
    if (r->memory.kind == VERDICT_PASSED && at >= 0 && r->verdicts[at].kind == VERDICT_CRASH &&
        second.verdicts[at].kind > VERDICT_NOT_REACHED)
        r->memory = second.verdicts[at];
    /* The report explains the check that crashed. */
    if (r->memory.kind != VERDICT_PASSED && at >= 0 && at < r->count &&
        (r->verdicts[at].kind == VERDICT_CRASH || r->verdicts[at].kind == VERDICT_EXIT ||
         r->verdicts[at].kind == VERDICT_FAILED)) {
        Verdict *v = &r->verdicts[at], before = *v;
        *v = r->memory;
        if (before.kind == VERDICT_CRASH && sanitizer) v->kind = VERDICT_CRASH;
        if (!v->place[0]) memcpy(v->place, before.place, sizeof v->place);
        if (before.looks_like[0]) {
            memcpy(v->looks_like, before.looks_like, sizeof v->looks_like);
            memcpy(v->next, before.next, sizeof v->next);
        }
    }
    process_free(&p);
    return true;
}

/* ---- TODO ----------------------------------------------------------------------------------- */

/* The TODO with the smallest number, "TODO 1", or the first one: its line, and the text of that
 * line without blanks around it. 0: none. */
static int find_todo(const char *source, char text[200])
{
    char *file = text_read_new(source, NULL);
    int line = 1, found = 0;
    long smallest = LONG_MAX;
    const char *begin = file ? file : ""; /* of the line */
    for (const char *c = begin; *c; c++) {
        if (*c == '\n') {
            line++;
            begin = c + 1;
        }
        if (strncmp(c, "TODO", 4) != 0) continue;
        long number = c[4] == ' ' ? strtol(c + 4, NULL, 10) : 0;
        if (number >= smallest) continue;
        smallest = number;
        found = line;
        begin += strspn(begin, " \t");
        snprintf(text, 200, "%.*s", (int)strcspn(begin, "\n"), begin);
    }
    free(file);
    return found;
}

/* While a part is not written, this is the reason of the first failure, unless it is a mistake
 * with a name, has a line of its own, or ended the run. */
static void blame_todo(const char *source, Report *r)
{
    char todo[200];
    int first = report_first(r), line = first < 0 ? 0 : find_todo(source, todo);
    if (!line) return;
    Verdict *v = &r->verdicts[first];
    bool own_line = v->place[0] && !strstr(v->text, "TODO");
    if (v->kind < VERDICT_MISSING || v->kind > VERDICT_FROZEN || v->looks_like[0] || own_line)
        return;
    char text[sizeof v->text];
    memcpy(text, v->text, sizeof text);
    bool same = strstr(text, "TODO"); /* the starter's own message */
    snprintf(v->text, sizeof v->text, "%s%s%.900s", todo,
             same ? "" : "\nSo far: ", same ? "" : text);
    v->kind = VERDICT_TODO;
    v->next[0] = '\0';
    snprintf(v->place, sizeof v->place, "%.100s:%d", path_base(source), line);
}

/* ---- answers in words ----------------------------------------------------------------------- */

/* Looks whether the file of answers beside the source has a text below each question. */
static void look_at_answers(const char *source, Report *r)
{
    char path[LK_PATH_MAX], list[800];
    r->answers = (Verdict){ .kind = VERDICT_PASSED, .at = -1 };
    int stem = (int)(strlen(source) - strlen(".c"));
    if (!r->unit->answers || stem < 0) return;
    snprintf(path, sizeof path, "%.*s.answers.md", stem, source);
    int missing = answers_missing(path, list, sizeof list);
    if (missing == 0) return;
    r->answers.kind = VERDICT_TEXT;
    if (missing < 0) {
        snprintf(r->answers.text, sizeof r->answers.text, "%.100s is not there", path_base(path));
        return;
    }
    snprintf(r->answers.text, sizeof r->answers.text,
             "%d heading%s of %.100s without a text below:\n%s", missing, missing == 1 ? "" : "s",
             path_base(path), list);
}

/* ---- all of it ------------------------------------------------------------------------------ */

bool run_unit(const RunOptions *o, const Unit *u, const char *source, Report *r, Error *err)
{
    *r = (Report){ .unit = u, .count = unit_checks(u) };
    for (int i = 0; i < r->count; i++)
        r->verdicts[i] = (Verdict){ .kind = VERDICT_NOT_REACHED, .at = -1 };
    look_at_answers(source, r);
    char *text = text_read_new(source, NULL);
    free(text);
    if (!text) {
        r->verdicts[0].kind = VERDICT_NO_FILE;
        snprintf(r->verdicts[0].next, sizeof r->verdicts[0].next,
                 "course reset %s writes the starter.", u->name);
        snprintf(r->verdicts[0].text, sizeof r->verdicts[0].text, "%.200s %s", path_base(source),
                 path_exists(source) ? "is no plain file, cannot be read, or is larger than 4 MB"
                                     : "is not there");
        return true;
    }
    char library[LK_PATH_MAX];
    if (!lk_path_join(library, o->scratch, "plain.so", err)) return false;
    Compiled c;
    if (!compile(source, library, o->home->root, false, o->strict_includes, o->sandbox, &c, err))
        return false;
    memcpy(r->warnings, c.warnings, sizeof r->warnings);
    r->seconds = c.seconds;
    bool ok = true;
    if (!c.ok) r->verdicts[0] = c.verdict;
    else {
        run_plain(o, u, source, library, r, &ok, err);
        int first = report_first(r);
        bool crashed = first >= 0 && (r->verdicts[first].kind == VERDICT_CRASH ||
                                      r->verdicts[first].kind == VERDICT_MEMORY);
        if (ok && (o->memory_always || crashed || (o->memory_when_passed && first < 0)))
            ok = run_memory(o, u, source, r, err);
        if (ok) blame_todo(source, r);
    }
    for (int i = 0; i < r->count; i++) r->passed += r->verdicts[i].kind == VERDICT_PASSED;
    return ok;
}

void report_free(Report *r)
{
    free(r->printed);
    r->printed = NULL;
}

int report_first(const Report *r)
{
    for (int i = 0; i < r->count; i++)
        if (r->verdicts[i].kind != VERDICT_PASSED) return i;
    return -1;
}

bool report_done(const Report *r)
{
    return report_first(r) < 0 && (!r->memory_run || r->memory.kind == VERDICT_PASSED) &&
           r->answers.kind == VERDICT_PASSED;
}
