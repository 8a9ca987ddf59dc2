/* disk.c - lets every call about files fail, one after the other, with each error that it can
 * have. Afterwards the old content is there or the new one, whole, the folder has no other names
 * than before, and the result and the message say which. tests/trust/disk.sh runs it.
 *     disk SOURCES [full] */
#include "tests/trust/jobs.h"

/* clang-format off */
static const Fault faults_of_once[] = {
    { "an error", EVERY_CALL, EIO, false, false, 0 },
    { "no permission", OPENING | CREATING | ASKING | NAMING | REMOVING, EACCES, false, false, 0 },
    { "a full disk", CREATING | WRITING | FLUSHING | NAMING, ENOSPC, false, false, 0 },
    { "an interruption", OPENING | CREATING | READING | WRITING | FLUSHING | LOCKING | CLOSING,
      EINTR, false, false, 0 },
    { "a short count", READING | WRITING, 0, false, false, 0 },
    { "a count of 0", WRITING | READING, 0, true, false, 0 },
    { "no locks", LOCKING, ENOLCK, false, false, 0 },
    { "an error from then on", EVERY_CALL, EIO, false, true, 0 },
    { "short counts from then on", READING | WRITING, 0, false, true, 0 },
    { "a count of 0 from then on", WRITING, 0, true, true, 0 },
    /* --full */
    { "read-only from then on", CREATING | WRITING | NAMING | REMOVING, EROFS, false, true, 0 },
    { "a full disk from then on", CREATING | WRITING | FLUSHING | NAMING, ENOSPC, false, true, 0 },
    { "no more descriptors", OPENING | CREATING, EMFILE, false, false, 0 },
    { "no memory in the kernel", EVERY_CALL & ~CLOSING, ENOMEM, false, false, 0 },
    { "a quota", CREATING | WRITING | FLUSHING | NAMING, EDQUOT, false, false, 0 },
    { "a stale handle", EVERY_CALL, ESTALE, false, false, 0 },
    { "no permission from then on", OPENING | CREATING | ASKING | NAMING | REMOVING, EACCES, false,
      true, 0 },
    { "no such call", FLUSHING | LOCKING | NAMING, ENOSYS, false, false, 0 },
};
/* clang-format on */
enum { FAST = 10, ALL = sizeof faults_of_once / sizeof *faults_of_once };

static int open_files(void)
{
    int count = 0;
    DIR *d = opendir("/proc/self/fd");
    while (d && readdir(d)) count++;
    if (d) closedir(d);
    return count;
}

/* The states that a job begins with and ends with. */
typedef struct States {
    char old_tree[STATE_MAX], new_tree[STATE_MAX];
    uint64_t old_world, new_world;
} States;

static bool learn(const Job *job, States *s)
{
    Error err = { 0 };
    job->prepare();
    strcpy(s->old_tree, tree_state());
    s->old_world = world_state();
    if (!check(job->act(&err), "it fails without a fault: %s", err.message)) return false;
    strcpy(s->new_tree, tree_state());
    s->new_world = world_state();
    return check(!tree.left && !misread, "it leaves something or reads wrong without a fault");
}

/* Whether a message of that fault has one line and names the reason. */
static bool is_clear(const char *message, const Fault *fault)
{
    if (!*message || strchr(message, '\n')) return false;
    if (fault->error) return strstr(message, strerror(fault->error));
    return !(fault->calls & READING) || strstr(message, strerror(ENOSPC)) ||
           strstr(message, "shortened") || strstr(message, " 0") || strstr(message, "empty");
}

/* One case: the k-th call fails. False: it was not made any more. */
static bool try_case(const Job *job, const States *s, const Fault *fault, int k)
{
    Error err = { 0 };
    const int failures = failed, files = open_files();
    job->prepare();
    no_swap = job->no_swap;
    misread = false;
    inject(k, fault);
    const bool ok = job->act(&err);
    const int kind = faults.kind;
    const bool happened = end_faults();
    const bool harmless = fault->error == EINTR || (fault->error == 0 && !fault->nothing);
    const bool twice = fault->lasting || fault->gap > 0;
    const bool told = err.code != LK_OK && strstr(err.message, "next save brings");
    const char *now = tree_state();
    const bool is_old = !strcmp(now, s->old_tree) && world_state() == s->old_world,
               is_new = !strcmp(now, s->new_tree) && world_state() == s->new_world;
    check(ok ? is_new : is_old || (told && twice),
          "%s at call %d: the result is %d, and there is %s", fault->name, k, ok,
          is_new ? "the new one" : (is_old ? "the old one" : "neither"));
    check(ok || happened, "it fails without a fault at call %d: %s", k, err.message);
    check(!ok || err.code == LK_OK, "%s at call %d: true with an error: %s", fault->name, k,
          err.message);
    check(!harmless || ok, "%s at call %d: %s", fault->name, k, err.message);
    check(ok || err.code == LK_OK || is_clear(err.message, fault), "%s at call %d: %s",
          fault->name, k, err.message);
    check(ok || err.code != LK_OK, "%s at call %d: false without a message", fault->name, k);
    /* Where removing fails, or the look at what is to be removed, something may stay. */
    check(!tree.left || twice || kind & (REMOVING | OPENING | ASKING),
          "%s at call %d: something temporary is left", fault->name, k);
    check(!misread, "%s at call %d: true with a wrong content", fault->name, k);
    err = (Error){ 0 };
    check(job->act(&err) && !strcmp(tree_state(), s->new_tree),
          "after %s at call %d it does not work any more: %s", fault->name, k, err.message);
    check(!job->folder || !tree.left, "after %s at call %d something temporary stays", fault->name,
          k);
    no_swap = false;
    world_end();
    check(open_files() == files, "%s at call %d: a file stays open", fault->name, k);
    if (happened) passed += failed == failures;
    return happened;
}

int main(int argc, char **argv)
{
    if (argc < 2) return 2;
    const bool full = argc > 2;
    const int count = full ? ALL : FAST, gaps = full ? 12 : 2;
    static States states;
    begin_jobs(argv[1]);
    for (int j = 0; j < JOBS; j++) {
        doing = jobs[j].name;
        if (!learn(&jobs[j], &states)) continue;
        for (int f = 0; f < count; f++)
            for (int k = 1; try_case(&jobs[j], &states, &faults_of_once[f], k); k++) {}
        for (int gap = 1; gap <= gaps; gap++)
            for (int k = 1;
                 try_case(&jobs[j], &states,
                          &(Fault){ "a pair of errors", EVERY_CALL, EIO, false, false, gap }, k);
                 k++) {}
    }
    doing = "disk";
    end_jobs();
    return finish_cases();
}
