/* test_stop.c - programs that are told to stop by a signal: roberta_sst2 leaves a checkpoint, from
 * which a run with the same bits goes on. */
#include "tests/shared/small_roberta.h"

#include <signal.h>

#include "examples/shared/stop.h"

/* ---- the handlers --------------------------------------------------------------------------- */

/* In a child: 0 if the flag is raised by the first signal alone; then the second one comes. */
static void two_signals(int first, int second)
{
    const volatile int *flag = stop_on_signals("child");
    if (*flag != 0 || stop_signal() != 0 || stop_status(0) != 0) _exit(1);
    raise(first);
    if (*flag != first || stop_signal() != first || stop_status(0) != 128 + first) _exit(2);
    if (stop_status(1) != 1) _exit(3); /* a failure is told */
    raise(second);
    _exit(4);
}

/* Returns the status of waitpid. */
static int child_status(int first, int second)
{
    int status = 0;
    const pid_t child = fork();
    check(child >= 0);
    if (child == 0) {
        signal(SIGINT, SIG_DFL); /* a shell ignores it for what it runs in the background */
        two_signals(first, second);
    }
    check(waitpid(child, &status, 0) == child);
    return status;
}

Test(stop, the_second_signal_ends_the_program)
{
    static const int both[] = { SIGINT, SIGTERM };
    for (int i = 0; i < 4; i++) {
        const int status = child_status(both[i / 2], both[i % 2]);
        check(WIFSIGNALED(status) && WTERMSIG(status) == both[i % 2], "case %d: status %x", i,
              (unsigned)status);
    }
}

/* As under nohup. */
Test(stop, ignored_signals_stay_ignored)
{
    signal(SIGINT, SIG_IGN);
    const volatile int *flag = stop_on_signals("child");
    raise(SIGINT);
    check(*flag == 0);
    raise(SIGTERM);
    check(*flag == SIGTERM);
    raise(SIGINT); /* the handlers are gone */
    stop_no_more();
    raise(SIGINT);
}

/* ---- the programs --------------------------------------------------------------------------- */

/* A program of the shell's in the background, and what it writes. */
typedef struct Running {
    pid_t pid;
    FILE *out, *err;
} Running;

static Running start(const char *program, const char *arguments)
{
    int out[2], err[2];
    char line[4096];
    const char *build = getenv("LORIKEET_BUILD_DIR");
    print_to(line, sizeof line, "cd '%s/examples' && exec ./%s %s", build, program, arguments);
    check(build && pipe(out) == 0 && pipe(err) == 0);
    const pid_t pid = fork();
    check(pid >= 0);
    if (pid == 0) {
        signal(SIGINT, SIG_DFL);
        dup2(out[1], STDOUT_FILENO), dup2(err[1], STDERR_FILENO);
        close(out[0]), close(err[0]);
        execl("/bin/sh", "sh", "-c", line, (char *)NULL);
        _exit(127);
    }
    close(out[1]), close(err[1]);
    return (Running){ pid, fdopen(out[0], "r"), fdopen(err[0], "r") };
}

/* Reads a line at a time until one contains the text. */
static void read_until(FILE *from, const char *text, char line[4096])
{
    while (fgets(line, 4096, from))
        if (strstr(line, text)) return;
    check(false, "no line with '%s'", text);
}

/* Reads the rest, and checks the status. */
static void check_ended(Running *r, int status)
{
    char rest[4096];
    int ended;
    while (fgets(rest, sizeof rest, r->out)) continue;
    while (fgets(rest, sizeof rest, r->err)) continue;
    fclose(r->out), fclose(r->err);
    check(waitpid(r->pid, &ended, 0) == r->pid);
    check(WIFEXITED(ended) && WEXITSTATUS(ended) == status, "status %x: %s", (unsigned)ended,
          rest);
}

#define RUN "--lr 1e-3 --warmup 2 --epochs 1000 --train-rows 0 "

/* The run has 10,000 steps, and is told to stop when its first log appears. A run that goes on
 * with the command that it printed, and another one that was never stopped, have the same bits two
 * steps later. */
static void stopped_by(int number, const char *name)
{
    char arguments[3000], line[4096], command[4096], message[200];
    long long step = 0;
    print_to(
        arguments, sizeof arguments,
        "--model '%s' --data '%s' --output '%s' --threads 1 --max-length 38 --batch-size 16 " RUN,
        model, root, output);
    Running r = start("roberta_sst2", arguments);
    read_until(r.out, "'loss'", line);
    check(kill(r.pid, number) == 0);
    print_to(message, sizeof message,
             "roberta_sst2: %s: stops after this step; a second signal ends it at once\n", name);
    read_until(r.err, name, line);
    check(strcmp(line, message) == 0, "%s", line);
    read_until(r.out, "Stopped after", line);
    check(sscanf(line, "Stopped after step %lld", &step) == 1 && step >= 10, "%s", line);
    check(strstr(line, "goes on:\n"), "%s", line);
    read_until(r.out, "--resume", command);
    command[strcspn(command, "\n")] = '\0';
    check_ended(&r, 128 + number);

    Output o = run_program("%s --stop-after %lld", command, step + 2);
    check(o.status == 0, "%s\n%s", command, o.err);
    output_free(&o);
    print_to(line, sizeof line, RUN "--output '%s/whole' --stop-after %lld", root, step + 2);
    o = sst2_ok(line);
    output_free(&o);
    static const char *const files[] = { "model.safetensors", "state.safetensors" };
    for (int i = 0; i < 2; i++) {
        print_to(line, sizeof line, "cmp '%s/checkpoint-%lld/%s' '%s/whole/checkpoint-%lld/%s'",
                 output, step + 2, files[i], root, step + 2, files[i]);
        check(system(line) == 0, "%s", line);
    }
}

Test(stop, roberta_sst2_goes_on_after_sigterm)
{
    prepare();
    stopped_by(SIGTERM, "SIGTERM");
}

Test(stop, roberta_sst2_goes_on_after_sigint)
{
    prepare();
    stopped_by(SIGINT, "SIGINT");
}

/* The model that it has learned so far is written. */
Test(stop, roberta_pretrain_writes_its_model)
{
    prepare();
    char arguments[3000], line[4096];
    print_to(arguments, sizeof arguments,
             "--model '%s' --data '%s' --output '%s/base' --threads 1 --batch-size 16 --layers 1 "
             "--hidden 8 --heads 1 --steps 1000000000",
             model, root, root);
    Running r = start("roberta_pretrain", arguments);
    read_until(r.out, "step", line);
    check(kill(r.pid, SIGTERM) == 0);
    read_until(r.out, "Written: ", line);
    check_ended(&r, 128 + SIGTERM);
    check(exists("base/model.safetensors"));
}
