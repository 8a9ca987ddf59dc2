/* exam.c - see exam.h. The learner's code may do anything here: write elsewhere, crash, call exit.
 * So the events carry a token, which the code of the learner has not seen, and the other process
 * believes only in events. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* for the registers in a signal handler */
#endif
#include "examples/course/exam.h"

#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>

#include "core/strict.h"
#include "examples/course/checks/check.h"
#include "examples/course/trace.h"
#include "examples/course/units.h"

enum { RECORDS = 3, TOKEN = 40 };
static char token[TOKEN];
static Exam exam;

static void send(const Event *e)
{
    if (!event_write(RECORDS, token, e)) _exit(1);
}

/* ---- what goes wrong outside of a result ---------------------------------------------------- */

/* The program counter and the stack pointer of a signal's context; NULL where not known. */
typedef struct Registers {
    const void *counter, *stack;
} Registers;

static Registers registers_of(const void *context)
{
#if defined(__linux__) && defined(__x86_64__)
    const greg_t *r = ((const ucontext_t *)context)->uc_mcontext.gregs;
    return (Registers){ (const void *)r[REG_RIP], (const void *)r[REG_RSP] };
#elif defined(__linux__) && defined(__aarch64__)
    const mcontext_t *m = &((const ucontext_t *)context)->uc_mcontext;
    return (Registers){ (const void *)m->pc, (const void *)m->sp };
#else
    (void)context;
    return (Registers){ NULL, NULL };
#endif
}

/* Whether an access failed right at the stack pointer: the stack is full. */
static bool is_overflow(int signal, const void *address, const void *stack)
{
    intptr_t distance = (intptr_t)address - (intptr_t)stack;
    return signal == SIGSEGV && stack && distance > -65536 && distance < 65536;
}

/* Not all of this is allowed in a signal handler. The process is about to end, and at worst ends
 * without its line. */
static void on_crash(int signal, siginfo_t *info, void *context)
{
    alarm(3); /* should a lock be held that is needed here */
    Registers r = registers_of(context);
    send(&(Event){ .kind = EVENT_CRASH,
                   .signal = is_overflow(signal, info->si_addr, r.stack) ? EVENT_STACK : signal,
                   .at = trace_in_handler(r.counter),
                   .verdict = exam.crash });
    _exit(1);
}

static void on_tape_error(const Error *err, void *user)
{
    (void)err;
    (void)user;
    trace_failure();
}

static void on_strict(const Error *err, void *user)
{
    Exam *e = user;
    long at = trace_now();
    if (e->failed) return;
    exam_fail(e, VERDICT_MEMORY, "%s", err->message);
    e->verdict.at = at;
}

static void watch_crashes(void)
{
#if defined(__SANITIZE_ADDRESS__)
    return; /* the sanitizer's own report says more */
#endif
    static char stack[64 * 1024]; /* a stack overflow leaves no room on the old one */
    sigaltstack(&(stack_t){ .ss_sp = stack, .ss_size = sizeof stack }, NULL);
    struct sigaction action = { .sa_sigaction = on_crash, .sa_flags = SA_SIGINFO | SA_ONSTACK };
    const int signals[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGXCPU };
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        sigaction(signals[i], &action, NULL);
}

/* ---- one check ------------------------------------------------------------------------------ */

static void begin(Exam *e, int number)
{
    e->failed = false;
    e->err = (Error){ 0 };
    e->verdict = (Verdict){ .kind = VERDICT_PASSED, .at = -1 };
    e->crash = (Verdict){ .kind = VERDICT_CRASH };
    e->module_count = e->tensor_count = e->block_count = 0;
    e->t = lk_tape_quiet_new(NULL);
    lk_tape_on_error(e->t, on_tape_error, NULL);
    lk_manual_seed(&e->learner_rng, e->seed);
    lk_manual_seed(&e->own_rng, 1000 * (e->seed + 1) + (uint64_t)number);
    trace_last_failure(); /* forgets the one of the check before */
}

static void end(Exam *e)
{
    for (int i = e->module_count - 1; i >= 0; i--) lk_free(e->modules[i]);
    lk_tape_free(e->t);
    for (int i = 0; i < e->tensor_count; i++) lk_free(e->tensors[i]);
    for (int i = 0; i < e->block_count; i++) lk_mem_free(e->blocks[i]);
}

/* Runs one check with each of the seeds, up to the first that fails. */
static bool run(Exam *e, const Unit *u, int number, uint64_t seed, int seeds)
{
    send(&(Event){ .kind = EVENT_BEGIN, .check = number });
    for (int i = 0; i < seeds; i++) {
        e->seed = seed + (uint64_t)i;
        begin(e, number);
        if (!e->t) exam_fail(e, VERDICT_FAILED, "the checks have no memory");
        else u->checks[number].run(e);
        end(e);
        if (e->failed) break;
    }
    send(&(Event){ .kind = EVENT_END, .check = number, .verdict = e->verdict });
    return !e->failed;
}

static bool load(Exam *e, const Unit *u, const char *library)
{
    e->library = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    if (!e->library) {
        Event event = { .kind = EVENT_LOAD, .verdict = { .kind = VERDICT_LINK, .at = -1 } };
        const char *message = dlerror(), *name = message ? strstr(message, "symbol") : NULL;
        const char *colon = name ? strchr(name, ':') : NULL;
        if (!colon) {
            event.verdict.kind = VERDICT_FAILED;
            snprintf(event.verdict.next, sizeof event.verdict.next,
                     "Set TMPDIR to a folder from which programs may run.");
        }
        snprintf(event.verdict.text, sizeof event.verdict.text, "%s", colon ? colon + 2 : message);
        send(&event);
        return false;
    }
    for (int i = 0; u->functions[i]; i++) {
        const void *inside = dlsym(e->library, u->functions[i]);
        if (!inside) continue;
        trace_begin(inside);
        break;
    }
    return true;
}

int exam_main(int argc, char **argv)
{
    ssize_t n = read(0, token, sizeof token - 1);
    const Unit *u = argc == 4 ? unit_find(argv[0]) : NULL;
    if (!u || n <= 0) return 2;
    Exam *e = &exam;
    uint64_t seed = strtoull(argv[2], NULL, 10);
    int seeds = atoi(argv[3]);
    e->rng = &e->learner_rng;
    setvbuf(stdout, NULL, _IOLBF, 0);
    lk_set_num_threads(1);
    lk_on_strict(on_strict, e);
    watch_crashes();
    if (!load(e, u, argv[1])) return 0;
    bool passed = true;
    for (int i = 0; i < unit_checks(u); i++) passed = run(e, u, i, seed, seeds) && passed;
    if (u->show && passed && seeds == 1) {
        begin(e, unit_checks(u));
        u->show(e);
        end(e);
        fflush(stdout);
    }
    send(&(Event){ .kind = EVENT_DONE });
    return 0;
}
