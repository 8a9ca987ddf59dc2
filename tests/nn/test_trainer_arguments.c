/* test_trainer_arguments.c - a run is resumed only with the arguments that it was begun with, and
 * begun only where its checkpoints can be written. The results of resuming:
 * test_trainer_resume.c. */
#include "tests/shared/toy.h"

#include <unistd.h>

static void trainer_for(ToyTrainer *toy, const char *folder)
{
    static const struct ToyRun run = { 3, 0,    1,    LK_SCHEDULE_LINEAR, 4, 0.1, 0.1, 4, 0,
                                       0, NULL, { 0 } };
    toy_trainer(toy, &run, TOY_HIDDEN, 0.3);
    toy->tr.args.output_dir = folder;
    toy->tr.args.load_best_at_end = true;
}

/* Arguments that decide the bits must be as they were; the intervals of logs, evaluations and
 * checkpoints need not. */
Test(trainer_arguments, other_arguments_are_refused)
{
    const char *folder = toy_path("arguments");
    ToyTrainer toy;
    trainer_for(&toy, folder);
    toy.tr.args.mark = "rank 8; alpha 16";
    toy.tr.args.stop_after = 8;
    toy_train(&toy);
    char checkpoint[LK_PATH_MAX];
    check(lk_path_join(checkpoint, folder, "checkpoint-8", NULL));
    toy.tr.args.resume_from = checkpoint;
    toy.tr.args.stop_after = 0;
    const TrainerArgs good = toy.tr.args;
#define DIFFERS(change, old, new) \
    do { \
        Error err = { 0 }; \
        TrainerArgs *a = &toy.tr.args; \
        *a = good; \
        a->change; \
        check(!lk_trainer_train(&toy.tr, &err)); \
        check_error(&err, LK_EVALUE, \
                    "/checkpoint-8 was made with '" old \
                    "', and now it is '" new "': a run goes on"); \
    } while (0)
    DIFFERS(epochs = 4, "epochs 3", "epochs 4");
    DIFFERS(max_steps = 9, "max_steps 0", "max_steps 9");
    DIFFERS(accumulation = 2, "accumulation 1", "accumulation 2");
    DIFFERS(learning_rate = nextafter(0.1, 1), "learning_rate 0.1",
            "learning_rate 0.10000000000000002");
    DIFFERS(warmup_steps = 5, "warmup_steps 4", "warmup_steps 5");
    DIFFERS(weight_decay = 0, "weight_decay 0.1", "weight_decay 0");
    DIFFERS(beta1 = 0.8, "beta1 0.9", "beta1 0.8");
    DIFFERS(beta2 = 0.99, "beta2 0.999", "beta2 0.99");
    DIFFERS(eps = 1e-6, "eps 1e-08", "eps 1e-06");
    DIFFERS(max_grad_norm = 0, "max_grad_norm 1", "max_grad_norm 0");
    DIFFERS(schedule = LK_SCHEDULE_COSINE, "schedule linear", "schedule cosine");
    DIFFERS(seed = 43, "seed 42", "seed 43");
    DIFFERS(mark = "rank 8; alpha 8", "alpha 16", "alpha 8");
    DIFFERS(mark = "rank 8", "alpha 16", "");
    DIFFERS(mark = NULL, "rank 8", "no mark");
    toy.tr.args = good;
    Error err = { 0 };
    toy.tr.args.stop_after = 8; /* it would never stop */
    check(!lk_trainer_train(&toy.tr, &err));
    check_error(&err, LK_EVALUE, "stop_after is 8, and");
    toy.tr.args.stop_after = 0;

    char best[LK_PATH_MAX];
    check(lk_path_join(best, folder, "checkpoint-6", NULL));
    lk_folder_remove(best);
    err = (Error){ 0 };
    check(!lk_trainer_train(&toy.tr, &err));
    check_error(&err, LK_EIO,
                "checkpoint-6: the best weights so far are gone: No such file or directory");

    toy.tr.args.load_best_at_end = false; /* then they are not needed */
    toy.tr.args.logging_steps = 1, toy.tr.args.eval_steps = 2, toy.tr.args.save_steps = LK_NEVER;
    toy_train(&toy);
    toy_free(&toy);
}

/* With all folders around it, before the first step; or not, and no step is made. */
Test(trainer_arguments, the_output_folder_is_made)
{
    char made[LK_PATH_MAX], file[LK_PATH_MAX], below[LK_PATH_MAX];
    const char *root = toy_path("outputs");
    check(lk_path_join(made, root, "a/b//c/", NULL));
    ToyTrainer toy;
    trainer_for(&toy, made);
    toy.tr.args.stop_after = 1;
    toy_train(&toy);
    check(lk_path_join(file, made, "checkpoint-1/model.safetensors", NULL) &&
          access(file, R_OK) == 0);
    check(lk_folder_make(made, NULL)); /* it is there already */

    check(lk_path_join(file, root, "file", NULL));
    FILE *f = fopen(file, "wb");
    check(f && fclose(f) == 0 && lk_path_join(below, file, "results", NULL));
    const char *const bad[] = { file, below }, *const messages[] = {
        "file: cannot be written: Not a directory", "file/results: cannot be made: Not a directory"
    };
    for (int i = 0; i < 2; i++) {
        Error err = { 0 };
        toy.tr.args.output_dir = bad[i];
        check(!lk_trainer_train(&toy.tr, &err) && toy.tr.state.step == 0);
        check_error(&err, LK_EIO, messages[i]);
    }
    toy_free(&toy);
}
