/* process.c - see process.h. The child starts a process group of its own, so that everything it
 * starts can be ended with it. */
#include "examples/course/process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/clock.h"

enum { WAITING = 10, POLL_MILLISECONDS = 50 };

/* ---- the child ------------------------------------------------------------------------------ */

static void limit(int resource, int64_t value)
{
    if (value <= 0) return;
    struct rlimit old, new = { (rlim_t)value, (rlim_t)value };
    /* A limit above the one in force would be refused as a whole. */
    if (!getrlimit(resource, &old) && old.rlim_max != RLIM_INFINITY && old.rlim_max < new.rlim_max)
        new.rlim_cur = new.rlim_max = old.rlim_max;
    setrlimit(resource, &new);
}

/* The program gets SIGXCPU at its limit, and is killed two seconds later. */
static void limit_seconds(int seconds)
{
    struct rlimit new = { (rlim_t)seconds, (rlim_t)seconds + 2 };
    if (seconds > 0 && setrlimit(RLIMIT_CPU, &new)) limit(RLIMIT_CPU, seconds);
}

static void set_environment(const char *const *env)
{
    for (; env && *env; env++) {
        char name[64];
        size_t length = strcspn(*env, "=");
        if (length >= sizeof name || !(*env)[length]) continue;
        memcpy(name, *env, length);
        name[length] = '\0';
        setenv(name, *env + length + 1, 1);
    }
}

/* Becomes the program. The descriptor `failed` closes when that worked, else it gets errno. */
static _Noreturn void become(const Process *p, int in, int out, int records, int failed)
{
    setpgid(0, 0);
#ifdef __linux__
    if (!p->background) prctl(PR_SET_PDEATHSIG, SIGKILL); /* should this program be killed */
#endif
    /* The ends may be numbers that are about to be used, so all move out of the way first. */
    in = fcntl(in, F_DUPFD_CLOEXEC, 10);
    out = fcntl(out, F_DUPFD_CLOEXEC, 10);
    if (records >= 0) records = fcntl(records, F_DUPFD_CLOEXEC, 10);
    failed = fcntl(failed, F_DUPFD_CLOEXEC, 10);
    bool ok = dup2(in, 0) >= 0 && dup2(out, 1) >= 0 && dup2(out, 2) >= 0;
    if (records >= 0) ok = ok && dup2(records, 3) >= 0;
    if (p->folder && chdir(p->folder)) ok = false;
    if (ok) {
        set_environment(p->env);
        signal(SIGPIPE, SIG_DFL);
        signal(SIGINT, SIG_DFL);
        signal(SIGTERM, SIG_DFL);
        signal(SIGHUP, SIG_DFL);
        limit_seconds(p->seconds);
        limit(RLIMIT_AS, (int64_t)p->megabytes << 20);
        limit(RLIMIT_FSIZE, (int64_t)p->file_megabytes << 20);
        setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
        execvp(p->argv[0], (char *const *)p->argv);
    }
    int reason = errno;
    ssize_t written = write(failed, &reason, sizeof reason);
    _exit(written == sizeof reason ? 127 : 126);
}

/* ---- interrupts ----------------------------------------------------------------------------- */

static volatile sig_atomic_t interrupt, running; /* a signal; the process group to end with it */

static void on_interrupt(int number)
{
    interrupt = number;
    if (running > 0) kill(-running, SIGKILL);
}

void process_catch_interrupts(void)
{
    /* without SA_RESTART: waiting for a key ends too */
    struct sigaction action = { .sa_handler = on_interrupt };
    const int signals[] = { SIGINT, SIGTERM, SIGHUP };
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        sigaction(signals[i], &action, NULL);
}

int process_interrupted(void) { return interrupt; }

/* ---- the parent ----------------------------------------------------------------------------- */

typedef struct Stream {
    int fd; /* -1: at its end */
    char *text;
    size_t length, total;
} Stream;

/* Appends bytes to the text, whose first half makes room when it is full. */
static void keep(Stream *s, char *bytes, size_t n, bool *cut)
{
    enum { HALF = PROCESS_OUTPUT / 2 };
    for (size_t i = 0; i < n; i++)
        if (!bytes[i]) bytes[i] = '?';
    if (s->length + n > PROCESS_OUTPUT) {
        memmove(s->text, s->text + HALF, s->length - HALF);
        s->length -= HALF;
        *cut = true;
    }
    memcpy(s->text + s->length, bytes, n);
    s->length += n;
    s->total += n;
    s->text[s->length] = '\0';
}

/* Reads from the stream, but not for ever: a program may write faster than this one reads. */
static void drain(Stream *s, bool *cut)
{
    char buffer[4096];
    for (int i = 0; i < 64 && s->fd >= 0; i++) {
        ssize_t n = read(s->fd, buffer, sizeof buffer);
        if (n < 0) return; /* nothing more at the moment */
        if (n > 0) {
            keep(s, buffer, (size_t)n, cut);
            continue;
        }
        close(s->fd);
        s->fd = -1;
    }
}

static bool make_pipe(int ends[2])
{
    if (pipe(ends)) {
        ends[0] = ends[1] = -1;
        return false;
    }
    fcntl(ends[0], F_SETFD, FD_CLOEXEC);
    fcntl(ends[1], F_SETFD, FD_CLOEXEC);
    return true;
}

static void close_end(int *fd)
{
    if (*fd >= 0) close(*fd);
    *fd = -1;
}

/* Whether the child has ended. It is not yet reaped, so that its number is still its own. */
static bool has_ended(int pid)
{
    siginfo_t info = { 0 };
    return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) || info.si_pid == pid;
}

/* Waits until the child has ended, is late or floods, and reads its output meanwhile. */
static void follow(Process *p, Stream streams[2])
{
    double begin = lk_seconds();
    bool late = false, flood = false;
    running = p->pid;
    while (!has_ended(p->pid)) {
        struct pollfd watched[2];
        for (int i = 0; i < 2; i++)
            watched[i] = (struct pollfd){ .fd = streams[i].fd, .events = POLLIN };
        poll(watched, 2, streams[0].fd < 0 && streams[1].fd < 0 ? 1 : POLL_MILLISECONDS);
        for (int i = 0; i < 2; i++) drain(&streams[i], &p->cut);
        late = p->seconds && lk_seconds() - begin > WAITING * p->seconds;
        flood = streams[0].total + streams[1].total > PROCESS_FLOOD_BYTES;
        if (late || flood || interrupt) kill(-p->pid, SIGKILL);
    }
    kill(-p->pid, SIGKILL); /* whatever it left behind */
    running = 0;
    int status = 0;
    waitpid(p->pid, &status, 0);
    for (int i = 0; i < 2; i++) {
        drain(&streams[i], &p->cut);
        close_end(&streams[i].fd);
    }
    p->elapsed = lk_seconds() - begin;
    p->end = WIFEXITED(status) ? PROCESS_EXITED : PROCESS_KILLED;
    p->status = WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status);
    /* At the limit of processor time comes SIGXCPU, or SIGKILL without a word. */
    bool spent =
        p->end == PROCESS_KILLED && p->seconds && (p->status == SIGXCPU || p->status == SIGKILL);
    if (flood) p->end = PROCESS_FLOOD;
    else if (late || spent) p->end = PROCESS_LATE;
}

static void feed(int fd, const char *text)
{
    for (size_t left = text ? strlen(text) : 0; left;) {
        ssize_t n = write(fd, text, left);
        if (n <= 0) return;
        text += n;
        left -= (size_t)n;
    }
}

bool process_run(Process *p, Error *err)
{
    int in[2], out[2], records[2] = { -1, -1 }, failed[2];
    p->output = p->records = NULL;
    if (interrupt) return lk_error_set(err, LK_ESTATE, "course: interrupted");
    bool ok = make_pipe(in);
    ok = make_pipe(out) && ok;
    ok = make_pipe(failed) && ok;
    if (p->report) ok = make_pipe(records) && ok;
    p->output = calloc(1, PROCESS_OUTPUT + 1);
    p->records = calloc(1, PROCESS_OUTPUT + 1);
    ok = ok && p->output && p->records;
    p->pid = ok ? fork() : -1;
    if (p->pid == 0) {
        int null = p->background ? open("/dev/null", O_RDWR) : -1;
        become(p, in[0], p->background ? null : out[1], records[1], failed[1]);
    }
    int reason = errno;
    close_end(&in[0]);
    close_end(&out[1]);
    close_end(&records[1]);
    close_end(&failed[1]);
    if (p->pid > 0) {
        void (*before)(int) = signal(SIGPIPE, SIG_IGN);
        feed(in[1], p->input);
        signal(SIGPIPE, before);
        close_end(&in[1]);
        bool started = read(failed[0], &reason, sizeof reason) != sizeof reason;
        if (!started) {
            waitpid(p->pid, NULL, 0);
            p->pid = -1;
        } else if (!p->background) {
            Stream streams[2] = { { out[0], p->output, 0, 0 }, { records[0], p->records, 0, 0 } };
            for (int i = 0; i < 2; i++)
                if (streams[i].fd >= 0) fcntl(streams[i].fd, F_SETFL, O_NONBLOCK);
            follow(p, streams);
            out[0] = records[0] = -1;
        }
    }
    close_end(&in[1]);
    close_end(&out[0]);
    close_end(&records[0]);
    close_end(&failed[0]);
    if (p->pid > 0 && !interrupt) return true;
    process_free(p);
    if (interrupt) return lk_error_set(err, LK_ESTATE, "course: interrupted");
    return lk_error_set(err, LK_EIO, "%s cannot be started: %s", p->argv[0], strerror(reason));
}

void process_free(Process *p)
{
    free(p->output);
    free(p->records);
    p->output = p->records = NULL;
}

bool process_exists(const char *program)
{
    if (strchr(program, '/')) return !access(program, X_OK);
    const char *path = getenv("PATH");
    for (const char *at = path ? path : "/usr/bin:/bin"; *at;) {
        size_t length = strcspn(at, ":");
        char file[4096];
        int n = snprintf(file, sizeof file, "%.*s/%s", (int)length, at, program);
        if (n > 0 && (size_t)n < sizeof file && !access(file, X_OK)) return true;
        at += length + (at[length] == ':');
    }
    return false;
}
