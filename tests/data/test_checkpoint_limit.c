/* test_checkpoint_limit.c - save_total_limit: the newest checkpoints stay, and the best one; what
 * else is in the folder stays too. */
#include "tests/shared/faults.h"

#include "tests/shared/checkpoints.h"

/* The fixture's run of 18 steps; of its evaluations at 6, 12 and 18 the second is the best. */
static void limited(ToyTrainer *toy, const char *folder, int64_t limit)
{
    toy_trainer(toy, &toy_runs[0], TOY_HIDDEN, 0);
    toy->tr.args.output_dir = folder;
    toy->tr.args.load_best_at_end = true;
    toy->tr.args.save_steps = 1;
    toy->tr.args.save_total_limit = limit;
}

/* The same run, as far as a step. */
static void run_to(ToyTrainer *toy, const char *folder, int64_t limit, int64_t step)
{
    limited(toy, folder, limit);
    toy->tr.args.stop_after = step;
    toy_train(toy);
}

/* The folder has the checkpoints of these steps, up to a 0, and no others. */
static void check_steps(const char *folder, const int64_t *steps)
{
    int count = 0;
    for (; steps[count]; count++)
        check(access(checkpoint_of(folder, steps[count]), F_OK) == 0, "no checkpoint-%d in %s",
              (int)steps[count], folder);
    check(count_entries(folder, "checkpoint-") == count, "%d checkpoints in %s",
          count_entries(folder, "checkpoint-"), folder);
}
#define STEPS(...) ((const int64_t[]){ __VA_ARGS__, 0 })

Test(checkpoint_limit, the_newest_and_the_best_stay)
{
    const char *all = toy_path("all"), *few = toy_path("few"), *one = toy_path("one");
    ToyTrainer whole, toy;
    limited(&whole, all, 0);
    toy_train(&whole);
    check(count_entries(all, "checkpoint-") == 18 && whole.tr.state.best_step == 12);
    limited(&toy, few, 3);
    toy_train(&toy);
    check_steps(few, STEPS(18, 17, 16, 12));
    check_same_checkpoint(all, few, 18);
    ParamIter p = lk_params(whole.tr.model), q = lk_params(toy.tr.model);
    while (lk_params_next(&p) && lk_params_next(&q)) check_equal(p.tensor, q.tensor);
    toy_free(&toy);
    limited(&toy, one, 1);
    toy.tr.args.load_best_at_end = false;
    toy_train(&toy);
    check_steps(one, STEPS(18, 12));
    toy_free(&toy), toy_free(&whole);
}

/* The best weights are looked for beside the checkpoint that the run went on from. */
Test(checkpoint_limit, a_resumed_run_finds_its_best_weights)
{
    const char *folder = toy_path("resumed");
    ToyTrainer toy;
    run_to(&toy, folder, 0, 15);
    toy_free(&toy);
    limited(&toy, folder, 1);
    toy.tr.args.resume_from = checkpoint_of(folder, 14); /* then 15 is a later one */
    toy.tr.args.stop_after = 0;
    toy_train(&toy);
    check(toy.tr.state.best_step == 12 && toy.tr.resumed == 14);
    check_steps(folder, STEPS(18, 14, 12));
    toy_free(&toy);
}

Test(checkpoint_limit, other_names_stay)
{
    static const char *const folders[] = { "checkpoint-20", "checkpoint-03", "checkpoint-3x",
                                           "checkpoint-", "best_checkpoint" };
    const char *folder = toy_path("others");
    char path[LK_PATH_MAX], target[LK_PATH_MAX];
    make_folder(folder);
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        check(lk_path_join(path, folder, folders[i], NULL));
        make_folder(path);
    }
    check(lk_path_join(path, folder, "checkpoint-2.tmp", NULL)); /* of a killed removal */
    make_folder(path);
    check(lk_path_join(target, folder, "checkpoint-20", NULL));
    ToyTrainer toy;
    run_to(&toy, folder, 1, 4);
    check(access(checkpoint_of(folder, 4), F_OK) == 0);
    check(access(path, F_OK) != 0, "%s is still there", path);
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        check(lk_path_join(path, folder, folders[i], NULL) && access(path, F_OK) == 0, "%s", path);
    }
    check(count_entries(folder, "") == 6, "%d entries", count_entries(folder, ""));
    /* a user may move a checkpoint elsewhere, and leave a link */
    toy.tr.args.stop_after = 6;
    check(symlink(target, checkpoint_of(folder, 5)) == 0);
    toy.tr.args.resume_from = checkpoint_of(folder, 4);
    toy_train(&toy);
    toy_free(&toy);
    Error err = { 0 };
    limited(&toy, folder, -1);
    check(!lk_trainer_train(&toy.tr, &err));
    check_error(&err, LK_EVALUE, "save_total_limit must not be negative");
    toy_free(&toy);
}

/* ---- killed, or failing --------------------------------------------------------------------- */

typedef struct Saving {
    ToyTrainer *toy;
    Optimizer *opt;
    Error *err; /* NULL in a child that is killed */
} Saving;

static bool save_step(const Saving *s, int64_t step, int64_t limit)
{
    s->toy->tr.state.step = step;
    s->toy->tr.args.save_total_limit = limit;
    return lk_checkpoints.save(&s->toy->tr, s->opt, s->err);
}

static bool save_third(void *user) { return save_step(user, 3, 1); }

/* A checkpoint of that name has all its files. */
static bool is_whole(const char *folder, int64_t step)
{
    static const char *const files[] = { "model.safetensors", "state.safetensors",
                                         LK_TRAINER_STATE_FILE };
    const char *checkpoint = checkpoint_of(folder, step);
    if (access(checkpoint, F_OK) != 0) return false;
    char path[LK_PATH_MAX];
    for (int i = 0; i < 3; i++)
        check(lk_path_join(path, checkpoint, files[i], NULL) && access(path, R_OK) == 0,
              "%s is missing", path);
    return true;
}

Test(checkpoint_limit, killed_while_removing)
{
    const char *folder = toy_path("killed");
    ToyTrainer toy;
    run_to(&toy, folder, 0, 1);
    Saving s = { &toy, lk_trainer_optimizer_new(&toy.tr, NULL), NULL };
    int k = 1, removing = 0;
    for (bool killed = true; killed; k++) {
        check(save_step(&s, 2, 1));
        killed = killed_at(k, save_third, &s);
        const bool old = is_whole(folder, 2), new = is_whole(folder, 3);
        check(old || new, "none after change %d", k);
        removing += new;
        check(save_step(&s, 4, 1)); /* it tidies up */
        check_steps(folder, STEPS(4));
        lk_folder_remove(checkpoint_of(folder, 4));
    }
    check(removing > 3, "%d of %d kills came after the new checkpoint", removing, k);
    lk_optimizer_free(s.opt);
    toy_free(&toy);
}

/* A failure is told, and the new checkpoint or the old one is there. */
Test(checkpoint_limit, failing_calls)
{
    const char *folder = toy_path("failing");
    ToyTrainer toy;
    run_to(&toy, folder, 0, 1);
    Error err;
    Saving s = { &toy, lk_trainer_optimizer_new(&toy.tr, NULL), &err };
    int told = 0;
    for (int k = 1, failed = 1; failed; k++) {
        err = (Error){ 0 };
        check(save_step(&s, 2, 1), "%s", err.message);
        fail_at(k);
        const bool ok = save_step(&s, 3, 1);
        failed = end_faults();
        check(is_whole(folder, ok ? 3 : 2));
        check(ok || err.code == LK_EIO);
        told += strstr(err.message, "the new checkpoint is there, but this old one cannot be "
                                    "removed: ") != NULL;
        err = (Error){ 0 };
        check(save_step(&s, 4, 1), "%s", err.message);
        check_steps(folder, STEPS(4));
        lk_folder_remove(checkpoint_of(folder, 4));
    }
    check(told == 1);
    lk_optimizer_free(s.opt);
    toy_free(&toy);
}
