/* bench.c - measures workloads and writes JSON: the main program of bench and of blas_peer.
 *
 * The machine's limits are measured first, in the same run; what follows is held against them:
 * `fraction` is the time that the limits would allow (the larger of flops / peak and bytes /
 * bandwidth) divided by the time it took. The workloads are in limits.c, matmul.c, training.c and
 * programs.c; the tables of a program in lorikeet.c or blas_peer.c. run.sh runs both beside
 * PyTorch and writes a table, instructions.sh counts instructions. */
#include "tests/bench/bench.h"

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/tape.h"
#include "examples/shared/cli.h"
#include "examples/shared/results.h"

enum { RESULTS_MAX = 1024, REPS_MAX = 101 };

typedef struct Options {
    const char *data, *json;
    int64_t threads, reps;
    bool list, once;
} Options;

static const CliOption options[] = {
    CLI_FLAG("list", Options, list, "print the names of the workloads"),
    CLI_INT("threads", Options, threads, "N", 0, 1024,
            "threads; 0: measure with one, and with one for each processor"),
    CLI_INT("reps", Options, reps, "N", 1, REPS_MAX, "repetitions, of which the median counts"),
    CLI_FLAG("once", Options, once,
             "one thread, one call after six others: for counting instructions"),
    CLI_DATA(Options),
    CLI_JSON(Options),
    CLI_END,
};

/* ---- timing --------------------------------------------------------------------------------- */

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double time_calls(BenchCall *call, void *state, int64_t calls)
{
    double start = lk_seconds();
    for (int64_t i = 0; i < calls; i++) call(state);
    return lk_seconds() - start;
}

/* The function that instructions.sh counts: it finds it by its name. */
__attribute__((noinline)) void bench_counted_call(BenchCall *call, void *state);
void bench_counted_call(BenchCall *call, void *state) { call(state); }

void bench_time(const Bench *b, BenchCall *call, void *state, Result *r)
{
    /* a call as long as LONG is repeated less often */
    const double REP_SECONDS = 0.02, LONG = 0.5;
    double first = time_calls(call, state, 1);
    /* buffers get their size in the first call, and are joined in the second */
    if (first < LONG) first = time_calls(call, state, 1);
    if (b->once) { /* headers of tensors serve again after four resets of their tape */
        time_calls(call, state, 4);
        bench_counted_call(call, state);
        return;
    }
    /* Calls grow faster in the beginning, so their number is found by trying, which warms up as
     * well. */
    int64_t calls = 1;
    for (double taken = first; taken < REP_SECONDS; taken = time_calls(call, state, calls)) {
        double wanted = 1.1 * REP_SECONDS / (taken > 1e-6 ? taken : 1e-6) * (double)calls;
        calls = wanted > 10.0 * (double)calls ? 10 * calls : (int64_t)wanted + 1;
    }
    double seconds[REPS_MAX];
    r->reps = first < LONG || b->reps < 3 ? b->reps : 3;
    for (int i = 0; i < r->reps; i++) seconds[i] = time_calls(call, state, calls) / (double)calls;
    qsort(seconds, (size_t)r->reps, sizeof *seconds, ascending);
    r->median = seconds[r->reps / 2];
    r->min = seconds[0];
    r->max = seconds[r->reps - 1];
}

/* ---- a process for each workload ------------------------------------------------------------ */

typedef struct Answer { /* what comes back through the pipe */
    bool ok;
    Result result;
    Error err;
} Answer;

static Answer run_here(const Bench *b, const Workload *w)
{
    Answer a = { .ok = false };
    lk_set_num_threads(b->threads);
    a.ok = w->run(b, w, &a.result, &a.err);
    return a;
}

static bool read_all(int from, void *to, size_t bytes)
{
    size_t n = 0;
    for (ssize_t got = 1; n < bytes && got > 0; n += (size_t)(got > 0 ? got : 0))
        got = read(from, (char *)to + n, bytes - n);
    return n == bytes;
}

static Answer run_in_process(const Bench *b, const Workload *w)
{
    Answer a = { .ok = false };
    int ends[2];
    struct rusage used;
    int status;
    fflush(NULL); /* or the child would write it again */
    if (pipe(ends) != 0) {
        lk_error_set(&a.err, LK_EIO, "no pipe to a process for %s", w->name);
        return a;
    }
    pid_t child = fork();
    if (child == 0) {
        a = run_here(b, w);
        _exit(write(ends[1], &a, sizeof a) == (ssize_t)sizeof a ? 0 : 1);
    }
    close(ends[1]);
    bool answered = child > 0 && read_all(ends[0], &a, sizeof a);
    close(ends[0]);
    if (child > 0 && wait4(child, &status, 0, &used) == child)
        a.result.peak_mb = (double)used.ru_maxrss * 1024e-6;
    if (!answered) {
        a.ok = false;
        lk_error_set(&a.err, LK_ESTATE,
                     "%s: its process could not be started, or ended before it was done", w->name);
    }
    return a;
}

/* ---- limits and fractions ------------------------------------------------------------------- */

typedef struct Entry {
    const Workload *workload;
    int threads;
    Result r;
} Entry;

typedef struct Entries {
    Entry entry[RESULTS_MAX];
    int count;
} Entries;

/* The fastest reading, by so many threads, of the next smaller working set that was measured, or
 * of larger ones. (Some of a working set stays in a cache that is too small for all of it: the
 * next larger one would promise too little.) */
static double bandwidth_for(const Entries *all, double working_set, int threads)
{
    double nearest = 0.0, bandwidth = 0.0;
    for (int pass = 0; pass < 2; pass++)
        for (int i = 0; i < all->count; i++) {
            const Entry *e = &all->entry[i];
            if (e->workload->limit != LIMIT_READ || e->threads != threads) continue;
            double size = e->r.working_set, speed = e->r.bytes / e->r.min;
            if (pass == 0 && (nearest == 0.0 || (size <= working_set && size > nearest)))
                nearest = size;
            if (pass == 1 && size >= nearest && speed > bandwidth) bandwidth = speed;
        }
    return bandwidth;
}

/* Limits are the best that was seen: a disturbed repetition would make all that follows look
 * better than it is. */
static double peak_of(const Entries *all, int threads)
{
    double peak = 0.0;
    for (int i = 0; i < all->count; i++) {
        const Entry *e = &all->entry[i];
        double speed = e->r.flops / e->r.min;
        if (e->workload->limit == LIMIT_FMA && e->threads == threads && speed > peak) peak = speed;
    }
    return peak;
}

/* Seconds that the limits allow for r, and which of them it is; 0 and NULL without a limit. */
static double bound_of(const Entries *all, const Result *r, int threads, const char **which)
{
    double peak = peak_of(all, threads), bandwidth = bandwidth_for(all, r->working_set, threads);
    double compute = peak > 0.0 ? r->flops / peak : 0.0,
           memory = bandwidth > 0.0 ? r->bytes / bandwidth : 0.0;
    *which = compute > memory ? "fma" : "read";
    if (compute == 0.0 && memory == 0.0) *which = NULL;
    return compute > memory ? compute : memory;
}

/* ---- output --------------------------------------------------------------------------------- */

static void print_line(const Entry *e, double bound)
{
    const Result *r = &e->r;
    printf("%-32s %2d  %10.2f %10.2f %10.2f", e->workload->name, e->threads, r->median * 1e6,
           r->min * 1e6, r->max * 1e6);
    if (r->flops > 0.0) printf(" %8.2f", r->flops / r->median * 1e-9);
    else printf(" %8s", "");
    if (r->bytes > 0.0) printf(" %8.2f", r->bytes / r->median * 1e-9);
    else printf(" %8s", "");
    if (bound > 0.0) printf(" %5.2f", bound / r->median);
    else printf(" %5s", "");
    printf(" %7.1f\n", r->peak_mb);
}

static void write_entry(Results *f, const Entry *e, double bound, const char *which)
{
    char key[128];
    snprintf(key, sizeof key, "%s/%d", e->workload->name, e->threads);
    results_object(f, key);
    results_number(f, "median", e->r.median);
    results_number(f, "min", e->r.min);
    results_number(f, "max", e->r.max);
    if (e->r.flops > 0.0) results_number(f, "gflops", e->r.flops / e->r.median * 1e-9);
    if (e->r.bytes > 0.0) results_number(f, "gbs", e->r.bytes / e->r.median * 1e-9);
    if (which) {
        results_text(f, "bound", which);
        results_number(f, "fraction", bound / e->r.median);
    }
    if (e->r.bytes > 0.0) results_number(f, "working_set", e->r.working_set);
    results_number(f, "peak_mb", e->r.peak_mb);
    results_object_end(f);
}

/* "model name : …" of the first processor; "unknown" elsewhere than on Linux. */
static const char *processor(char text[256])
{
    char line[256];
    FILE *f = fopen("/proc/cpuinfo", "r");
    strcpy(text, "unknown");
    while (f && fgets(line, sizeof line, f)) {
        char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) != 0 || !colon) continue;
        line[strcspn(line, "\n")] = '\0';
        strcpy(text, colon + 1 + strspn(colon + 1, " "));
        break;
    }
    if (f) fclose(f);
    return text;
}

static bool write_json(const char *path, const Entries *all, Error *err)
{
    char cpu[256], day[32];
    const char *which;
    time_t now = time(NULL);
    Results f;
    results_open(&f, path);
    strftime(day, sizeof day, "%Y-%m-%d", localtime(&now));
    results_text(&f, "program", bench_name);
    results_text(&f, "date", day);
    results_text(&f, "processor", processor(cpu));
    results_text(&f, "kernels", bench_kernels(err));
    results_int(&f, "cores", sysconf(_SC_NPROCESSORS_ONLN));
    results_text(&f, "compiler",
                 (__VERSION__)[0] >= '0' && (__VERSION__)[0] <= '9' ? "gcc " __VERSION__
                                                                    : __VERSION__);
    for (int i = 0; i < all->count; i++) {
        const Entry *e = &all->entry[i];
        double bound = bound_of(all, &e->r, e->threads, &which);
        write_entry(&f, e, bound, which);
    }
    return results_close(&f, err);
}

/* ---- the program ---------------------------------------------------------------------------- */

static bool is_chosen(const Workload *w, int count, char **patterns)
{
    for (int i = 0; i < count; i++)
        if (fnmatch(patterns[i], w->name, 0) == 0) return true;
    return count == 0;
}

/* Every pattern must match something: a name that was misspelt is an error. */
static bool check_patterns(int count, char **patterns, Error *err)
{
    for (int i = 0; i < count; i++) {
        bool found = false;
        for (const Workload *const *table = bench_tables; *table; table++)
            for (const Workload *w = *table; w->name; w++)
                found = found || is_chosen(w, 1, &patterns[i]);
        if (!found)
            return lk_error_set(err, LK_EVALUE, "no workload is called %s; --list names them",
                                patterns[i]);
    }
    return true;
}

static void list_workloads(int count, char **patterns)
{
    for (const Workload *const *table = bench_tables; *table; table++)
        for (const Workload *w = *table; w->name; w++)
            if (is_chosen(w, count, patterns)) printf("%-32s %s\n", w->name, w->about);
}

static bool run_table(const Workload *table, const Bench *b, int count, char **patterns,
                      Entries *all, Error *err)
{
    for (const Workload *w = table; w->name; w++) {
        bool needed = w->limit != NO_LIMIT && !b->once; /* the others are held against it */
        if (!needed && !is_chosen(w, count, patterns)) continue;
        if (all->count == RESULTS_MAX)
            return lk_error_set(err, LK_ESTATE, "more than %d results", RESULTS_MAX);
        Answer a = b->once ? run_here(b, w) : run_in_process(b, w);
        if (!a.ok)
            return lk_error_set(err, a.err.code ? a.err.code : LK_ESTATE, "%s: %s", w->name,
                                a.err.message);
        /* nothing was measured: this machine cannot do it */
        if (b->once || a.result.reps == 0) continue;
        const char *which;
        Entry *e = &all->entry[all->count++];
        *e = (Entry){ w, b->threads, a.result };
        print_line(e, bound_of(all, &e->r, b->threads, &which));
    }
    return true;
}

static bool run(const Options *o, int count, char **patterns, Error *err)
{
    static Entries all;
    int processors = (int)sysconf(_SC_NPROCESSORS_ONLN);
    int first = o->threads > 0 ? (int)o->threads : 1,
        last = o->threads > 0 || o->once ? first : processors;
    const char *kernels = bench_kernels(err);
    if (!kernels) return false;
    if (!o->once)
        printf("kernels: %s\n%-32s %2s  %10s %10s %10s %8s %8s %5s %7s\n", kernels, "workload",
               "th", "median us", "min us", "max us", "GFLOP/s", "GB/s", "fract", "peak MB");
    for (int threads = first;; threads = last) {
        Bench b = { .threads = o->once ? 1 : threads,
                    .reps = (int)o->reps,
                    .once = o->once,
                    .data = o->data };
        for (const Workload *const *table = bench_tables; *table; table++)
            if (!run_table(*table, &b, count, patterns, &all, err)) return false;
        if (threads == last) break;
    }
    return !o->json || write_json(o->json, &all, err);
}

int main(int argc, char **argv)
{
    const CliProgram program = {
        .name = bench_name,
        .about = "Measures workloads. Those to run are named in front of the options, with * and "
                 "? if wanted; else all:\n"
                 "    bench 'W2_*' read_64M --threads 1",
        .options = options,
    };
    Options o = { .reps = 7 };
    int named = 0;
    while (named + 1 < argc && argv[named + 1][0] != '-') named++;
    char **patterns = argv + 1;
    cli_parse(&program, argc - named, argv + named, &o);
    setvbuf(stdout, NULL, _IOLBF, 0);
    Error err = { 0 };
    if (o.json && !results_writable(o.json, &err)) return cli_exit(&program, false, &err);
    if (!check_patterns(named, patterns, &err)) return cli_exit(&program, false, &err);
    if (o.list) list_workloads(named, patterns);
    return cli_exit(&program, o.list || run(&o, named, patterns, &err), &err);
}
