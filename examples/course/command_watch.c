/* command_watch.c - course watch: checks a file whenever it is saved, and obeys keys (commands.h).
 * It looks at the file ten times a second, which works on every file system. */
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "examples/course/commands.h"
#include "examples/course/memory.h"
#include "examples/course/process.h"

enum { TICK = 100, PATIENCE = 10 }; /* milliseconds; ticks that a file may be away while saved */

/* ---- keys ----------------------------------------------------------------------------------- */

static struct termios before;
static bool raw;

static void restore_terminal(void)
{
    if (raw) tcsetattr(STDIN_FILENO, TCSANOW, &before);
    raw = false;
}

static volatile sig_atomic_t woken; /* the program was stopped, and goes on */

static void on_continue(int number)
{
    (void)number;
    woken = 1;
}

/* Delivers each key at once, without Enter. Ctrl-C still ends the program. */
static void read_single_keys(void)
{
    if (!isatty(STDIN_FILENO) || (!raw && tcgetattr(STDIN_FILENO, &before))) return;
    struct termios now = before;
    now.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    now.c_cc[VMIN] = 1;
    now.c_cc[VTIME] = 0;
    raw = !tcsetattr(STDIN_FILENO, TCSANOW, &now);
    woken = 0;
    sigaction(SIGCONT, &(struct sigaction){ .sa_handler = on_continue }, NULL);
}

/* Waits one tick for a key; 0: none. */
static int next_key(bool *open)
{
    struct pollfd watched = { .fd = *open ? STDIN_FILENO : -1, .events = POLLIN };
    if (poll(&watched, 1, TICK) <= 0) return 0;
    char key;
    ssize_t n = read(STDIN_FILENO, &key, 1);
    if (n <= 0) *open = false; /* no more keys; the watching goes on */
    return n > 0 ? (unsigned char)key : 0;
}

/* ---- the file ------------------------------------------------------------------------------- */

typedef struct Stamp {
    bool there;
    long long seconds, nanoseconds, size, file;
} Stamp;

static Stamp stamp_of(const char *path)
{
    struct stat s;
    if (stat(path, &s)) return (Stamp){ 0 };
#ifdef __APPLE__
    long long nanoseconds = s.st_mtimespec.tv_nsec;
#else
    long long nanoseconds = s.st_mtim.tv_nsec;
#endif
    return (Stamp){ true, s.st_mtime, nanoseconds, s.st_size, (long long)s.st_ino };
}

static bool same(Stamp a, Stamp b)
{
    return a.there == b.there && a.seconds == b.seconds && a.nanoseconds == b.nanoseconds &&
           a.size == b.size && a.file == b.file;
}

/* ---- watching ------------------------------------------------------------------------------- */

typedef struct Watch {
    const Home *home;
    Work work;
    const Unit *unit;
    char file[LK_PATH_MAX];
    Stamp seen;    /* the file that was checked last */
    int away;      /* ticks since the file vanished */
    bool memory;   /* the library with sanitizers was there at the last check */
    int asked;     /* the key that waits for being pressed again; 0: none */
    bool terminal; /* clear the screen before each report */
} Watch;

static void print_keys(const Watch *w)
{
    printf("\n  watching %s.c, page %s.md   n next  h hint  l list  x reset  q quit\n",
           w->unit->name, w->unit->name);
    fflush(stdout);
}

static bool choose(Watch *w, const Unit *u, Error *err)
{
    w->unit = u;
    return work_file(&w->work, u->name, ".c", w->file, err);
}

static bool check(Watch *w, Error *err)
{
    w->seen = stamp_of(w->file);
    w->away = 0;
    w->memory = path_exists(w->work.memory);
    if (w->terminal) {
        printf("\033[2J\033[3J\033[Hchecking %s.c …\r", w->unit->name);
        fflush(stdout);
    }
    Report r;
    if (!check_and_print(w->home, &w->work, w->unit, 0, false, false, &r, err)) return false;
    if (report_done(&r)) {
        const Unit *next = next_unit(&w->work);
        if (r.unchecked[0] && memory_build_runs(&w->work))
            printf("\n  Its memory is checked as soon as the library is ready.\n");
        if (next) printf("\n  Done. n: %s, %s\n", next->name, next->title);
        else printf("\n  Done. All %d units are done.\n", unit_count());
    }
    report_free(&r);
    print_keys(w);
    return true;
}

/* The unit after this one that this build has; NULL: it is the last one. */
static const Unit *unit_behind(const Unit *u)
{
    int i = 0;
    while (course_units[i] != u) i++;
    i++;
    return course_units[i];
}

static bool go_on(Watch *w, Error *err)
{
    const Unit *next = next_unit(&w->work);
    bool done = work_get(&w->work, w->unit->name, "done");
    if (!done && w->asked != 'n') {
        printf("\n  %s is not done yet. n again leaves it for later.\n", w->unit->name);
        w->asked = 'n';
        return true;
    }
    w->asked = 0;
    if (!done || !next || next == w->unit) next = unit_behind(w->unit);
    if (!next) {
        printf("\n  There is no further unit. l lists them; course watch UNIT goes to one.\n");
        return true;
    }
    return choose(w, next, err) && check(w, err);
}

/* Obeys a key. False to end, with a reason in err or without. */
static bool obey(Watch *w, int key, Error *err)
{
    int asked = w->asked;
    if (key != 'n') w->asked = 0;
    switch (key) {
    case 'q': return false;
    case 'n': return go_on(w, err);
    case 'h': print_hint(stdout, w->home, &w->work, w->unit, 0); break;
    case 'l': print_list(stdout, &w->work, command_style(stdout)); break;
    case 'x':
        if (asked != 'x') {
            printf("\n  x again puts the starter in the place of %s.c; yours is kept beside it.\n",
                   w->unit->name);
            w->asked = 'x';
            return true;
        }
        if (!reset_unit(stdout, w->home, &w->work, w->unit)) return check(w, err);
        break;
    case '\n':
    case '\r': return check(w, err);
    default: return true;
    }
    print_keys(w);
    return true;
}

/* Checks when the file has changed and is at rest. An editor may take it away for a moment. */
static bool look(Watch *w, Error *err)
{
    Stamp now = stamp_of(w->file);
    if (!w->memory && path_exists(w->work.memory)) return check(w, err);
    if (same(now, w->seen)) {
        w->away = 0;
        return true;
    }
    if (!now.there && ++w->away < PATIENCE) return true;
    for (Stamp later;; now = later) {
        poll(NULL, 0, TICK / 2);
        later = stamp_of(w->file);
        if (same(now, later)) break;
    }
    return check(w, err);
}

int command_watch(const Home *h, int argc, char **argv)
{
    int count = command_options("watch", argc, argv, NULL, 0);
    if (count < 0) return 2;
    if (count > 1) return command_usage("watch takes one unit at most");
    Error err = { 0 };
    Watch w = { .home = h, .terminal = isatty(STDOUT_FILENO) };
    if (!work_find(&w.work, &err)) return command_fail(&err);
    const Unit *u = count ? command_unit(argv[0]) : next_unit(&w.work);
    if (count && !u) return 2;
    if (!u) u = course_units[0]; /* all are done: begin again */
    if (!choose(&w, u, &err)) return command_fail(&err);
    read_single_keys();
    bool open = true, going = check(&w, &err);
    while (going) {
        int key = next_key(&open);
        if (process_interrupted()) break;
        if (woken) read_single_keys();
        going = key ? obey(&w, key, &err) : look(&w, &err);
        fflush(stdout);
    }
    restore_terminal();
    if (process_interrupted()) return 1;
    return err.code == LK_OK ? 0 : command_fail(&err);
}
