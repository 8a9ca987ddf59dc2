/* test_lock.c - one folder has one writer (data/lock.c): runs of the Trainer, and folders that are
 * replaced. */
#include "tests/shared/faults.h"

#include "data/lock.h"
#include "tests/shared/checkpoints.h"

/* ---- another process ------------------------------------------------------------------------ */

typedef struct Other {
    pid_t process;
    int news, wish; /* it tells that it has begun; it ends when `wish` is closed */
} Other;
static Other self; /* in the other process: its own ends */

static bool tell_and_wait(void)
{
    char byte = 1;
    return write(self.news, &byte, 1) == 1 && read(self.wish, &byte, 1) == 0;
}

/* Runs begin(user) in another process, which then waits, or has waited in it. */
static Other other_begin(bool (*begin)(void *user), void *user)
{
    int news[2], wish[2];
    char byte = 0;
    check(pipe(news) == 0 && pipe(wish) == 0);
    pid_t process = fork();
    check(process >= 0);
    if (process == 0) {
        close(wish[1]);
        self = (Other){ 0, news[1], wish[0] };
        _exit(!begin(user) || !tell_and_wait());
    }
    close(news[1]);
    close(wish[0]);
    check(read(news[0], &byte, 1) == 1, "the other process could not begin");
    return (Other){ process, news[0], wish[1] };
}

static void other_end(Other *o, bool by_kill)
{
    int status;
    if (by_kill) kill(o->process, SIGKILL);
    close(o->wish);
    check(waitpid(o->process, &status, 0) == o->process);
    check(by_kill ? WIFSIGNALED(status) : status == 0);
    close(o->news);
}

static bool locks(void *path) { return lk_folder_lock_new(path, NULL); }

static void check_held(const Error *err, const Other *o, const char *path)
{
    char text[LK_PATH_MAX + 100];
    snprintf(text, sizeof text,
             "%s: another run writes here (process %ld): wait until it ends, or end it, or choose "
             "another folder",
             path, (long)o->process);
    check_error(err, LK_ESTATE, text);
}

/* ---- folders -------------------------------------------------------------------------------- */

static const char *folder(const char *name)
{
    const char *path = toy_path(name);
    check(mkdir(path, 0700) == 0);
    return path;
}

Test(lock, another_process_is_kept_out_and_named)
{
    const char *path = folder("one");
    for (int by_kill = 0; by_kill < 2; by_kill++) {
        Error err = { 0 };
        Other o = other_begin(locks, (void *)path);
        check(!lk_folder_lock_new(path, &err));
        check_held(&err, &o, path);
        check(count_entries(path, "") == 0);
        other_end(&o, by_kill);
        err = (Error){ 0 };
        FolderLock *lock = lk_folder_lock_new(path, &err);
        check(lock, "%s", err.message);
        lk_folder_lock_free(lock);
    }
}

Test(lock, a_process_locks_a_folder_as_often_as_it_likes)
{
    const char *path = folder("twice");
    Error err = { 0 };
    char same[LK_PATH_MAX];
    snprintf(same, sizeof same, "%s/../twice/", path);
    FolderLock *first = lk_folder_lock_new(path, &err), *second = lk_folder_lock_new(same, &err);
    check(first && second, "%s", err.message);
    lk_folder_lock_free(first);
    pid_t child = fork(); /* it has the lock of its parent, too */
    if (child == 0) _exit(0);
    check(waitpid(child, NULL, 0) == child);
    int file = open(path, O_RDONLY);
    check(real_io->flock(file, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK);
    lk_folder_lock_free(second);
    check(real_io->flock(file, LOCK_EX | LOCK_NB) == 0);
    close(file);
}

Test(lock, what_cannot_be_locked)
{
    Error err = { 0 };
    check(!lk_folder_lock_new(check_scratch("none"), &err));
    check_error(&err, LK_EIO, "none: cannot be locked: No such file");
    /* A file system without locks. */
    const char *path = folder("plain");
    inject(1, &(Fault){ "ENOLCK", LOCKING, ENOLCK, false, true, 0 });
    FolderLock *lock = lk_folder_lock_new(path, &err);
    check(end_faults() && lock);
    lk_folder_lock_free(lock);
}

Test(lock, no_process_is_named_where_the_system_lists_no_locks)
{
    const char *path = folder("unnamed");
    Error err = { 0 };
    Other o = other_begin(locks, (void *)path);
    inject(2, &(Fault){ "ENOENT", OPENING, ENOENT, false, false, 0 }); /* /proc/locks */
    check(!lk_folder_lock_new(path, &err) && end_faults());
    check_error(&err, LK_ESTATE, "unnamed: another run writes here: wait until it ends");
    other_end(&o, false);
}

/* ---- a folder that is replaced -------------------------------------------------------------- */

static bool begins(void *path)
{
    static Folder f;
    return lk_folder_begin(&f, NULL, path, NULL);
}

/* Two writers of one adapter or checkpoint have one temporary folder: the second one is refused,
 * and takes nothing away from the first. */
Test(lock, a_folder_is_replaced_by_one_process_at_a_time)
{
    for (int there = 0; there < 2; there++) {
        const char *path = there ? folder("there") : toy_path("not there");
        char temporary[LK_PATH_MAX];
        snprintf(temporary, sizeof temporary, "%s.tmp", path);
        Folder f;
        Error err = { 0 };
        Other o = other_begin(begins, (void *)path);
        check(!lk_folder_begin(&f, "lk_save_peft", path, &err));
        check_error(&err, LK_ESTATE, "another run writes here (process ");
        check(strncmp(err.message, "lk_save_peft: ", 14) == 0);
        check(access(temporary, F_OK) == 0);
        other_end(&o, true);
        err = (Error){ 0 };
        check(lk_folder_begin(&f, NULL, path, &err), "%s", err.message);
        check(lk_folder_end(&f, true, &err), "%s", err.message);
        check(access(temporary, F_OK) != 0);
    }
}

/* ---- the Trainer ---------------------------------------------------------------------------- */

static bool waits(void *user, const TrainerState *state)
{
    (void)user;
    return state->step > 1 || tell_and_wait();
}

static bool trains(void *path)
{
    ToyTrainer toy;
    resume(&toy, &runs[0], TOY_HIDDEN, path);
    toy.tr.on_step = waits;
    return lk_trainer_train(&toy.tr, NULL);
}

Test(lock, one_run_trains_into_a_folder)
{
    const char *path = toy_path("run");
    ToyTrainer toy;
    Error err = { 0 };
    Other o = other_begin(trains, (void *)path);
    check(last_checkpoint(path) == 1);
    resume(&toy, &runs[0], TOY_HIDDEN, path);
    check(!lk_trainer_train(&toy.tr, &err));
    check_held(&err, &o, path);
    check(count_entries(path, "") == 1 && count_entries(path, "checkpoint-1") == 1);

    other_end(&o, true); /* and a run goes on from there at once */
    toy_train(&toy);
    check(toy.tr.resumed == 1);
    check(last_checkpoint(path) == toy.tr.state.step);

    /* Its end has given the folder back. */
    o = other_begin(locks, (void *)path);
    other_end(&o, false);
    toy_free(&toy);
}
