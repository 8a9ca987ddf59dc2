/* crash.c - kills the process at every call about files, and at random; and lets several writers
 * work at once. Afterwards the old content is there or the new one, whole; the next save works and
 * tidies up; a training that goes on ends with the bits of one that was not killed.
 * tests/trust/crash.sh runs it.
 *     crash SOURCES KILLS      KILLS: at random */
#include "tests/trust/jobs.h"

#include <time.h>

#include "core/clock.h"

static uint64_t drawn = 2026; /* the seed of the random kills */
static double draw(void)
{
    drawn = drawn * 6364136223846793005u + 1442695040888963407u;
    return (double)(drawn >> 11) / 9007199254740992.0;
}

/* ---- every call of every job ---------------------------------------------------------------- */

static bool act_of(void *job) { return ((const Job *)job)->act(NULL); }

/* Kills the job at its k-th call. False: it was not made any more. */
static bool kill_job(const Job *job, int k, const char *old_tree, const char *new_tree)
{
    const int failures = failed;
    job->prepare();
    no_swap = job->no_swap;
    const bool killed = killed_at_call(k, EVERY_CALL, act_of, (void *)job);
    const char *now = tree_state();
    /* Where a folder cannot be exchanged, the old one is aside for a moment; and the folders in an
     * old one come last. */
    const bool in_steps = job->act == write_adapter || job->act == write_adapter_here ||
                          (job->no_swap && job->folder);
    check(!strcmp(now, old_tree) || !strcmp(now, new_tree) || in_steps,
          "killed at call %d: neither the old one nor the new one is there", k);
    Error err = { 0 };
    check(job->act(&err) && !strcmp(tree_state(), new_tree),
          "killed at call %d: the next one has a wrong result: %s", k, err.message);
    check(!job->folder || !tree.left, "killed at call %d: something temporary stays", k);
    no_swap = false;
    passed += killed && failed == failures;
    return killed;
}

static void kill_jobs(void)
{
    static char old_tree[STATE_MAX], new_tree[STATE_MAX];
    for (int j = 0; j < JOBS; j++) {
        const Job *job = &jobs[j];
        if (!job->writes) continue;
        doing = job->name;
        job->prepare();
        strcpy(old_tree, tree_state());
        check(job->act(NULL), "it fails");
        strcpy(new_tree, tree_state());
        for (int k = 1; kill_job(job, k, old_tree, new_tree); k++) {}
    }
}

/* ---- training ------------------------------------------------------------------------------- */

static char whole_tree[STATE_MAX]; /* of a training that was not killed */
static uint64_t whole_world;

/* Makes the world of a run that goes on from the last checkpoint, or begins. */
static void go_on(void)
{
    static char from[64];
    int last = 0;
    struct stat info;
    for (int step = 1; step < 100; step++) {
        char path[64];
        snprintf(path, sizeof path, "work/out/checkpoint-%d", step);
        if (stat(path, &info) == 0) last = step;
    }
    world_begin("work/out");
    snprintf(from, sizeof from, "work/out/checkpoint-%d", last);
    if (last > 0) world.tr.args.resume_from = from;
}

static bool train(void *unused)
{
    (void)unused;
    return lk_trainer_train(&world.tr, NULL);
}

static void begin_training(void)
{
    remove_tree("work");
    check(mkdir("work", 0700) == 0, "no folder");
    go_on();
}

/* Ends the training, and compares what it leaves with that of a whole one. */
static void check_training(const char *how, int k)
{
    Error err = { 0 };
    const int failures = failed;
    go_on();
    check(lk_trainer_train(&world.tr, &err), "%s %d: it cannot go on: %s", how, k, err.message);
    check(!strcmp(tree_state(), whole_tree), "%s %d: other checkpoints:\n%s", how, k, tree.text);
    check(!tree.left, "%s %d: something temporary stays", how, k);
    check(world_state() == whole_world, "%s %d: other weights", how, k);
    passed += failed == failures;
}

static void kill_trainings(void)
{
    doing = "training";
    begin_training();
    check(train(NULL), "it fails");
    strcpy(whole_tree, tree_state());
    whole_world = world_state();
    for (int k = 1, killed = 1; killed; k++) {
        begin_training();
        killed = killed_at_call(k, EVERY_CALL, train, NULL);
        if (k % 5 == 0 && killed) { /* and a second time, after it has gone on */
            go_on();
            killed_at_call(k % 97 + 1, EVERY_CALL, train, NULL);
        }
        check_training("killed at call", k);
    }
}

/* Kills a training after a time that is drawn, as often as it takes to end; counts the kills. */
static void kill_at_random(int kills)
{
    doing = "random kills";
    double start = lk_seconds();
    for (int i = 0; i < 5; i++) {
        begin_training();
        train(NULL);
    }
    const double most = (lk_seconds() - start) / 5;
    for (int k = 0; k < kills;) {
        bool ended = false;
        begin_training();
        while (!ended && k < kills) {
            int status;
            const double wait = draw() * most;
            pid_t child = fork();
            if (child == 0) _exit(!train(NULL));
            nanosleep(
                &(struct timespec){ (time_t)wait, (long)((wait - (double)(time_t)wait) * 1e9) },
                NULL);
            kill(child, SIGKILL);
            waitpid(child, &status, 0);
            ended = WIFEXITED(status);
            check(!ended || WEXITSTATUS(status) == 0, "kill %d: the training failed", k);
            k += !ended;
            go_on();
        }
        check_training("kill", k);
    }
    passed += kills;
}

/* ---- several writers ------------------------------------------------------------------------ */

enum { WRITERS = 3, SAVES = 6 };

/* Saves again and again, and may be refused; no other error is allowed. */
static int write_often(const Job *job, int writer)
{
    world_fill(writer + 2);
    for (int i = 0; i < SAVES; i++) {
        Error err = { 0 };
        if (job->act(&err) || (err.code == LK_ESTATE && strstr(err.message, "another run writes")))
            continue;
        printf("FAILED - %s: writer %d: %s\n", job->name, writer, err.message);
        fflush(stdout);
        return 1;
    }
    return 0;
}

static void write_at_once(const Job *job, int rounds)
{
    static char result[WRITERS][STATE_MAX];
    doing = job->name;
    for (int w = 0; w < WRITERS; w++) {
        job->prepare();
        world_fill(w + 2);
        check(job->act(NULL), "it fails");
        strcpy(result[w], tree_state());
    }
    for (int round = 0; round < rounds; round++) {
        const int failures = failed;
        bool known = false;
        job->prepare();
        fflush(stdout);
        for (int w = 0; w < WRITERS; w++)
            if (fork() == 0) _exit(write_often(job, w));
        for (int w = 0, status; w < WRITERS; w++)
            check(wait(&status) > 0 && status == 0, "round %d: a writer failed", round);
        const char *now = tree_state();
        for (int w = 0; w < WRITERS; w++) known = known || !strcmp(now, result[w]);
        check(known, "round %d: what is there is of no writer alone:\n%s", round, now);
        check(!tree.left, "round %d: something temporary stays", round);
        passed += failed == failures;
    }
}

static void train_at_once(int rounds)
{
    static char result[2][STATE_MAX];
    doing = "two trainings";
    for (int w = 0; w < 2; w++) {
        begin_training();
        world.tr.args.learning_rate = 0.1 * (w + 1);
        check(train(NULL), "it fails");
        strcpy(result[w], tree_state());
    }
    for (int round = 0; round < rounds; round++) {
        const int failures = failed;
        int done = 0;
        begin_training();
        fflush(stdout);
        for (int w = 0; w < 2; w++)
            if (fork() == 0) {
                Error err = { 0 };
                world.tr.args.learning_rate = 0.1 * (w + 1);
                if (lk_trainer_train(&world.tr, &err)) _exit(0);
                _exit(err.code == LK_ESTATE ? 1 : 2);
            }
        for (int w = 0, status; w < 2; w++) {
            check(wait(&status) > 0 && WIFEXITED(status) && WEXITSTATUS(status) < 2,
                  "round %d: a run failed", round);
            done += status == 0;
        }
        const char *now = tree_state();
        check(done > 0, "round %d: no run was let in", round);
        check(!strcmp(now, result[0]) || !strcmp(now, result[1]), "round %d: two runs mix", round);
        passed += failed == failures;
    }
}

int main(int argc, char **argv)
{
    if (argc < 3) return 2;
    const int kills = atoi(argv[2]), rounds = kills / 10;
    begin_jobs(argv[1]);
    kill_jobs();
    kill_trainings();
    kill_at_random(kills);
    for (int j = 0; j < JOBS; j++)
        if (jobs[j].writes && !jobs[j].no_swap && jobs[j].act != write_copy)
            write_at_once(&jobs[j], rounds);
    train_at_once(rounds);
    doing = "crash";
    end_jobs();
    return finish_cases();
}
