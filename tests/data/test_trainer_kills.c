/* test_trainer_kills.c - a Trainer that is killed anywhere, or whose disk is full: the checkpoints
 * before are whole, and a run that goes on from one has the bits of one that was not killed. */
#include "tests/shared/faults.h"

#include "tests/shared/checkpoints.h"

#include <sys/resource.h>

/* A forward is a place to be killed at, too. */
static Tensor *dying_loss(Tape *t, void *user, const TrainerBatch *b, Tensor **logits)
{
    Tensor *loss = toy_loss(t, user, b, logits);
    return faulty(false) ? NULL : loss;
}

static void resume_second_run(ToyTrainer *toy, const char *folder)
{
    resume(toy, &runs[1], TOY_HIDDEN, folder);
    toy->tr.args.save_steps = 2;
}

static bool training(void *folder)
{
    ToyTrainer dying;
    resume_second_run(&dying, folder);
    dying.tr.loss = dying_loss;
    return lk_trainer_train(&dying.tr, NULL);
}

/* Killed in the forward of every batch (in the middle of an accumulation, of a pass, of an
 * evaluation), and at every change of a file. */
Test(trainer_kills, killed_anywhere)
{
    enum { FORWARDS = 3 * 6 + 6 * 3 }; /* batches of training; 3 of each evaluation */
    const char *folder = toy_path("whole");
    ToyTrainer whole;
    resume_second_run(&whole, folder);
    toy_train(&whole);
    int k = 1;
    for (bool killed = true; killed; k++) {
        char name[32], parts[LK_PATH_MAX];
        print_to(name, sizeof name, "killed-%d", k);
        print_to(parts, sizeof parts, "%s", check_scratch(name));
        killed = killed_at(k, training, parts);
        ToyTrainer resumed;
        resume_second_run(&resumed, parts);
        toy_train(&resumed);
        check_same_history(&resumed.tr.state.history, &whole.tr.state.history);
        check_same_checkpoint(folder, parts, whole.tr.state.step);
        check(count_entries(parts, ".tmp") == 0, "change %d", k);
        toy_free(&resumed);
    }
    check(k > FORWARDS + 3 * 25, "%d forwards and changes", k); /* three checkpoints */
    toy_free(&whole);
}

/* All weights and moments of the checkpoint are `value`. */
typedef struct Saving {
    ToyTrainer *toy;
    Optimizer *opt;
    int64_t value;
} Saving;

static bool saving(void *user)
{
    Saving *s = user;
    Trainer *tr = &s->toy->tr;
    for (ParamIter it = lk_params(tr->model); lk_params_next(&it);)
        lk_fill_(it.tensor, (double)s->value);
    tr->state.pass = s->value; /* it is in trainer_state.json */
    for (OptimizerIter it = lk_optimizer_states(s->opt); lk_optimizer_states_next(&it);)
        check(lk_optimizer_set_state(&it, s->value, lk_clone(it.param, NULL),
                                     lk_clone(it.param, NULL), NULL));
    return lk_checkpoints.save(tr, s->opt, NULL);
}

/* The value of a checkpoint that `saving` made, all of it; -1: it is not there. */
static int64_t value_of(const char *folder, int64_t step)
{
    if (access(checkpoint_of(folder, step), F_OK) != 0) return -1;
    Error err = { 0 };
    ToyTrainer reader;
    resume(&reader, &runs[0], TOY_HIDDEN, folder);
    Optimizer *opt = lk_trainer_optimizer_new(&reader.tr, NULL);
    reader.tr.args.resume_from = checkpoint_of(folder, step);
    check(lk_checkpoints.resume(&reader.tr, opt, &err), "%s", err.message);
    int64_t value = reader.tr.state.pass;
    check(opt->state[0].step == value);
    for (ParamIter it = lk_params(reader.tr.model); lk_params_next(&it);)
        for (int64_t i = 0; i < lk_numel(it.tensor); i++)
            check(((double *)it.tensor->data)[i] == (double)value);
    lk_optimizer_free(opt);
    toy_free(&reader);
    return value;
}

/* Killed at every change of a file while a checkpoint is saved over an old one: one of both is
 * there, whole. Where folders cannot be swapped there is none for a moment; the next save always
 * works. */
Test(trainer_kills, killed_while_saving)
{
    const char *folder = toy_path("saved");
    ToyTrainer toy;
    resume(&toy, &runs[0], TOY_HIDDEN, folder);
    toy.tr.args.stop_after = 2;
    toy_train(&toy);
    Saving s = { .toy = &toy, .opt = lk_trainer_optimizer_new(&toy.tr, NULL) };
    for (int way = 0; way < 2; way++) {
        no_swap = way;
        int k = 1, none = 0;
        for (bool killed = true, new = false; killed; k++) {
            s.value = 1;
            check(saving(&s) && count_entries(folder, ".tmp") == 0);
            s.value = 2;
            killed = killed_at(k, saving, &s);
            int64_t value = value_of(folder, 2);
            none += value == -1;
            new = new || value == 2;
            check(value == (new ? 2 : 1) || (value == -1 && !new), "change %d: %d", k, (int)value);
            check(new || killed);
        }
        check(k > 25 && none == no_swap, "%d changes, no checkpoint after %d", k, none);
    }
    lk_optimizer_free(s.opt);
    toy_free(&toy);
}

/* ---- no space ------------------------------------------------------------------------------- */

Test(trainer_kills, a_full_disk_leaves_the_old_checkpoints)
{
    enum { HIDDEN = 3000, LIMIT = 65536 };
    const char *folder = toy_path("full");
    ToyTrainer toy;
    resume(&toy, &runs[0], HIDDEN, folder);
    toy.tr.args.stop_after = 3;
    toy_train(&toy);
    check(last_checkpoint(folder) == 3);
    toy.tr.args.stop_after = 0;
    toy.tr.args.resume_from = checkpoint_of(folder, 3);
    struct rlimit before, limit;
    check(getrlimit(RLIMIT_FSIZE, &before) == 0);
    limit = before;
    limit.rlim_cur = LIMIT;
    signal(SIGXFSZ, SIG_IGN);
    check(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    Error err = { 0 };
    bool ok = lk_trainer_train(&toy.tr, &err);
    check(setrlimit(RLIMIT_FSIZE, &before) == 0);
    check(!ok);
    check_error(&err, LK_EIO, "cannot be written: File too large");
    check(last_checkpoint(folder) == 3 && count_entries(folder, "") == 3);
    check(toy.tr.state.step == 4); /* the weights are those of the step that could not be saved */
    toy_train(&toy);
    check(last_checkpoint(folder) == 18);

    toy_free(&toy);
}
