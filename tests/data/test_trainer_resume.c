/* test_trainer_resume.c - checkpoints of the Trainer: a run that was stopped anywhere and resumed
 * has the bits of one that was not; another run's checkpoints are refused. Killed runs:
 * test_trainer_kills.c. */
#include "tests/shared/checkpoints.h"

#include <unistd.h>

#include "data/safetensors.h"

/* ---- stopped -------------------------------------------------------------------------------- */

Test(trainer_resume, stopped_behind_any_step_and_resumed)
{
    for (int i = 0; i < RUNS; i++) {
        char name[32];
        print_to(name, sizeof name, "whole-%d", i);
        const char *folder = toy_path(name);
        ToyTrainer whole;
        trainer_for(&whole, &runs[i], folder);
        whole.tr.args.save_steps = LK_EVERY_EPOCH;
        toy_train(&whole);
        int64_t total = whole.tr.state.step;
        int64_t expected = runs[i].accumulation == 4 ? 6 : 18;
        check(total == (runs[i].max_steps ? 13 : expected) && !whole.tr.stopped);
        for (int64_t stop = 1; stop <= total; stop++) {
            print_to(name, sizeof name, "stopped-%d-%d", i, (int)stop);
            const char *parts = toy_path(name);
            ToyTrainer first, second;
            trainer_for(&first, &runs[i], parts);
            first.tr.args.save_steps = LK_EVERY_EPOCH;
            first.tr.args.stop_after = stop;
            toy_train(&first);
            check(first.tr.stopped == (stop < total) && first.tr.state.step == stop);
            trainer_for(&second, &runs[i], parts);
            second.tr.args.save_steps = LK_EVERY_EPOCH;
            second.tr.args.resume_from = checkpoint_of(parts, stop);
            second.rng.next = 7; /* whatever its generators were, and its weights */
            lk_tape_seed(second.tr.t, 99);
            lk_fill_(lk_param_at(second.tr.model, "first.weight", NULL), 5);
            toy_train(&second);
            check(!second.tr.stopped && second.tr.state.best_step == whole.tr.state.best_step);
            if (stop < total)
                check_same_history(&second.tr.state.history, &whole.tr.state.history);
            check_same_checkpoint(folder, parts, total);
            check(count_entries(parts, ".tmp") == 0);
            /* the best weights */
            ParamIter p = lk_params(whole.tr.model), q = lk_params(second.tr.model);
            while (lk_params_next(&p) && lk_params_next(&q)) check_equal(p.tensor, q.tensor);
            toy_free(&first), toy_free(&second);
        }
        toy_free(&whole);
    }
}

static volatile int asked;
static int forwards; /* until the run is asked to stop */

static Tensor *asking_loss(Tape *t, void *user, const TrainerBatch *b, Tensor **logits)
{
    if (--forwards == 0) asked = 1;
    return toy_loss(t, user, b, logits);
}

static void second_run(ToyTrainer *toy, const char *folder)
{
    trainer_for(toy, &runs[1], folder);
    toy->tr.args.save_steps = LK_EVERY_EPOCH;
}

/* In the middle of an accumulation, of an evaluation, in the last step: a checkpoint is there, and
 * the run that goes on from it has the bits and the logs of the whole one. */
Test(trainer_resume, asked_to_stop_in_any_forward_and_resumed)
{
    const char *folder = toy_path("whole");
    ToyTrainer whole;
    second_run(&whole, folder);
    toy_train(&whole);
    int k = 1, in_last_step = 0;
    for (bool stopped = true; stopped; k++) {
        char name[32], parts[LK_PATH_MAX];
        print_to(name, sizeof name, "asked-%d", k);
        print_to(parts, sizeof parts, "%s", check_scratch(name));
        ToyTrainer first, second;
        asked = 0, forwards = k;
        second_run(&first, parts);
        first.tr.loss = asking_loss;
        first.tr.should_training_stop = &asked;
        toy_train(&first);
        stopped = first.tr.stopped;
        check(stopped == asked);
        if (stopped) {
            second_run(&second, parts);
            second.tr.args.resume_from = checkpoint_of(parts, first.tr.state.step);
            toy_train(&second);
            check_same_history(&second.tr.state.history, &whole.tr.state.history);
            check_same_checkpoint(folder, parts, whole.tr.state.step);
            toy_free(&second);
        }
        in_last_step += stopped && first.tr.state.step == whole.tr.state.step;
        toy_free(&first);
    }
    check(k > 3 * 6 + 6 * 3 && in_last_step > 0, "%d forwards, %d in the last step", k,
          in_last_step);
    toy_free(&whole);
}

/* Saved every step, resumed into another folder: the earlier checkpoints are found beside the
 * checkpoint. */
Test(trainer_resume, best_weights_are_found_beside_the_checkpoint_resumed_from)
{
    const char *folder = toy_path("first"), *other = toy_path("other");
    ToyTrainer whole, second;
    trainer_for(&whole, &runs[0], folder);
    whole.tr.args.save_steps = 1;
    /* an order that the test may choose: the first is the best */
    whole.tr.args.best_metric = "eval_runtime";
    whole.tr.args.greater_is_better = true;
    toy_train(&whole);
    check(count_entries(folder, "checkpoint-") == 18);
    trainer_for(&second, &runs[0], other);
    second.tr.args.resume_from = checkpoint_of(folder, 15);
    second.tr.args.best_metric = "eval_accuracy";
    second.tr.args.greater_is_better = true;
    toy_train(&second);
    check(second.tr.state.best_step > 0 && second.tr.state.step == 18);
    toy_free(&whole), toy_free(&second);
}

Test(trainer_resume, the_best_weights_are_loaded_at_the_end)
{
    const char *folder = toy_path("best");
    ToyTrainer toy;
    /* the fixture's: the second of three is the best */
    toy_trainer(&toy, &toy_runs[0], TOY_HIDDEN, 0);
    toy.tr.args.output_dir = folder;
    toy.tr.args.load_best_at_end = true;
    toy_train(&toy);
    check(toy.tr.state.best_step == toy_runs[0].best_step && toy.tr.state.step == 18);
    /* save_steps is LK_NEVER; two were the best so far */
    check(count_entries(folder, "checkpoint-") == 2);
    TrainerLog log;
    check(lk_trainer_evaluate(&toy.tr, &log, NULL));
    check(lk_trainer_log_get(&log, "eval_loss") == toy.tr.state.best_metric);
    char path[LK_PATH_MAX];
    check(lk_path_join(path, checkpoint_of(folder, 12), MODEL, NULL));
    StateDict *best = lk_load_safetensors(path, NULL);
    check(best->count == 6);
    for (int i = 0; i < 6; i++)
        check_equal(best->entries[i].tensor,
                    lk_param_at(toy.tr.model, best->entries[i].name, NULL));
    lk_state_dict_free(best);
    toy.tr.args.best_metric = "eval_f1";
    Error err = { 0 };
    check(!lk_trainer_train(&toy.tr, &err));
    check_error(&err, LK_EVALUE, "no evaluation gives \"eval_f1\"");
    toy_free(&toy);
}

/* Only what is trained is saved. */
Test(trainer_resume, a_frozen_base_is_not_in_the_checkpoint)
{
    const char *folder = toy_path("lora");
    ToyTrainer toy;
    toy_trainer(&toy, &toy_runs[0], TOY_HIDDEN, 0);
    lk_require_grad(toy.tr.model, "first.*", false);
    toy.tr.args.output_dir = folder;
    toy.tr.args.stop_after = 4;
    toy_train(&toy);
    char path[LK_PATH_MAX];
    check(lk_path_join(path, checkpoint_of(folder, 4), MODEL, NULL));
    StateDict *saved = lk_load_safetensors(path, NULL);
    check(saved->count == 4 && !lk_state_dict_get(saved, "first.weight") &&
          lk_state_dict_get(saved, "norm.bias"));
    lk_state_dict_free(saved);
    check(lk_path_join(path, checkpoint_of(folder, 4), STATE, NULL));
    saved = lk_load_safetensors(path, NULL);
    check(saved->count == 3 * 4 + 2 && lk_state_dict_get(saved, "norm.bias.exp_avg_sq"));
    check(lk_item(lk_state_dict_get(saved, "second.weight.step")) == 4);
    lk_state_dict_free(saved);

    toy.tr.args.resume_from = checkpoint_of(folder, 4);
    toy.tr.args.stop_after = 0;
    toy_train(&toy);
    /* another base */
    ((double *)lk_param_at(toy.tr.model, "first.weight", NULL)->data)[0] += 1e-12;
    Error err = { 0 };
    check(!lk_trainer_train(&toy.tr, &err));
    check_error(&err, LK_EVALUE, "was trained on another base: the frozen parameters differ");
    toy_free(&toy);
}

/* The same Trainer, resumed once and then trained from the beginning: its best weights are those
 * of the second time. */
typedef struct Statistics {
    Module base;
    Tensor *weight, *frozen, *mean, *scratch;
} Statistics;
static const ModuleType statistics_type = {
    .name = "Statistics",
    .size = sizeof(Statistics),
    .fields = LK_FIELDS(LK_PARAM(Statistics, weight), LK_PARAM(Statistics, frozen),
                        LK_BUFFER(Statistics, mean), LK_NON_PERSISTENT(Statistics, scratch)),
};

Test(trainer_resume, buffers_are_in_the_checkpoint)
{
    Statistics *m = lk_module_new(&statistics_type, NULL);
    m->weight = make_param(LK_F32, LK_SHAPE(1), 1);
    m->frozen = make_tensor(LK_F32, LK_SHAPE(1), 2);
    m->mean = make_tensor(LK_F32, LK_SHAPE(1), 3);
    m->scratch = make_tensor(LK_F32, LK_SHAPE(1), 4);
    const char *folder = toy_path("buffers");
    Trainer tr = { .args = lk_trainer_defaults(), .model = &m->base, .t = quiet_tape() };
    tr.args.output_dir = folder;
    Error err = { 0 };
    Optimizer *opt = lk_trainer_optimizer_new(&tr, &err);
    check(opt && lk_checkpoints.open(&tr, &err) && lk_checkpoints.save(&tr, opt, &err), "%s",
          err.message);
    char path[LK_PATH_MAX];
    check(lk_path_join(path, checkpoint_of(folder, 0), MODEL, NULL));
    StateDict *weights = lk_load_safetensors(path, &err);
    check(weights && weights->count == 2, "%s", err.message);
    check(lk_equal(lk_state_dict_get(weights, "weight"), m->weight));
    check(lk_equal(lk_state_dict_get(weights, "mean"), m->mean));
    tr.args.resume_from = checkpoint_of(folder, 0);
    check(lk_checkpoints.resume(&tr, opt, &err), "%s", err.message);
    lk_checkpoints.close(&tr);

    StateDict *less = lk_state_dict_empty_new(NULL);
    check(lk_state_dict_add(less, "weight", lk_retain(m->weight), NULL));
    check(lk_save_safetensors(less, NULL, path, NULL));
    check(!lk_checkpoints.resume(&tr, opt, &err));
    check_error(&err, LK_EVALUE, "it has no trained mean");
    lk_state_dict_free(less);
    lk_state_dict_free(weights);
    lk_trainer_free(&tr);
    lk_optimizer_free(opt);
    lk_tape_free(tr.t);
    lk_module_free(&m->base);
}

Test(trainer_resume, trained_anew_after_a_resumed_run)
{
    const char *folder = toy_path("first");
    ToyTrainer toy;
    resume(&toy, &runs[0], TOY_HIDDEN, folder);
    toy_train(&toy);
    toy_free(&toy);
    resume(&toy, &runs[0], TOY_HIDDEN, folder); /* from its last step: nothing is left to do */
    toy_train(&toy);
    toy.tr.args.resume_from = NULL;
    toy.tr.args.output_dir = toy_path("second");
    toy_train(&toy);
    check(toy.tr.state.best_step > 0 &&
          last_checkpoint(toy.tr.args.output_dir) == toy.tr.state.step);
    toy_free(&toy);
}

/* ---- what is no checkpoint of this run ------------------------------------------------------ */

static void check_refused_checkpoint(const char *folder, ErrorCode code, const char *message)
{
    ToyTrainer toy;
    trainer_for(&toy, &runs[0], toy_path("refused"));
    toy.tr.args.resume_from = folder;
    StateDict *before = lk_state_dict_new(toy.tr.model, NULL);
    Error err = { 0 };
    check(!lk_trainer_train(&toy.tr, &err));
    check(err.code == code && strstr(err.message, message), "%s\nnot %s", err.message, message);
    check(strstr(err.message, folder), "%s", err.message);
    for (int i = 0; i < before->count; i++)
        check_equal(before->entries[i].tensor,
                    lk_param_at(toy.tr.model, before->entries[i].name, NULL));
    lk_state_dict_free(before);
    toy_free(&toy);
}

/* A copy of the checkpoint in which one file has only its first bytes, or (-1) is missing, or has
 * another text. */
static const char *damaged(const char *from, const char *file, int keep, const char *text)
{
    static const char *const files[] = { MODEL, STATE, LK_TRAINER_STATE_FILE };
    const char *to = toy_path("damaged");
    char source[LK_PATH_MAX], target[LK_PATH_MAX];
    lk_folder_remove(to);
    make_folder(to);
    for (int i = 0; i < 3; i++) {
        check(lk_path_join(source, from, files[i], NULL) &&
              lk_path_join(target, to, files[i], NULL));
        FILE *in = fopen(source, "rb"), *out;
        char bytes[100000];
        size_t size = fread(bytes, 1, sizeof bytes, in);
        check(fclose(in) == 0 && size < sizeof bytes);
        bool chosen = strcmp(files[i], file) == 0;
        if (chosen && keep < 0) continue;
        if (chosen && text) size = strlen(strcpy(bytes, text));
        else if (chosen) size = (size_t)keep;
        out = fopen(target, "wb");
        check(out && fwrite(bytes, 1, size, out) == size && fclose(out) == 0);
    }
    return to;
}

/* trainer_state.json with one text in it exchanged. */
static const char *with_json(const char *from, const char *old, const char *new)
{
    char path[LK_PATH_MAX], changed[100000];
    check(lk_path_join(path, from, LK_TRAINER_STATE_FILE, NULL));
    char *text = read_file(path), *at = strstr(text, old);
    check(at, "no %s in %s", old, text);
    print_to(changed, sizeof changed, "%.*s%s%s", (int)(at - text), text, new, at + strlen(old));
    free(text);
    return damaged(from, LK_TRAINER_STATE_FILE, 0, changed);
}

Test(trainer_resume, what_is_no_checkpoint_is_refused)
{
    const char *folder = toy_path("good");
    ToyTrainer toy;
    trainer_for(&toy, &runs[0], folder);
    toy.tr.args.stop_after = 8;
    toy_train(&toy);
    const char *good = checkpoint_of(folder, 8);

    check_refused_checkpoint(toy_path("nothing"), LK_EIO,
                             "no checkpoint: No such file or directory");
    check_refused_checkpoint(damaged(good, MODEL, -1, NULL), LK_EIO,
                             "is no complete checkpoint: model.safetensors is");
    check_refused_checkpoint(damaged(good, STATE, -1, NULL), LK_EIO,
                             "is no complete checkpoint: state.safetensors is");
    check_refused_checkpoint(damaged(good, LK_TRAINER_STATE_FILE, -1, NULL), LK_EIO,
                             "is no complete checkpoint: trainer_state.json is");
    check_refused_checkpoint(damaged(good, MODEL, 600, NULL), LK_EFORMAT, "model.safetensors");
    check_refused_checkpoint(damaged(good, STATE, 5000, NULL), LK_EFORMAT, "state.safetensors");
    check_refused_checkpoint(damaged(good, LK_TRAINER_STATE_FILE, 40, NULL), LK_EFORMAT,
                             "trainer_state.json: is not JSON: ");
    check_refused_checkpoint(with_json(good, "\"arguments\"", "\"unknown\""), LK_EFORMAT,
                             "json: is not what a Trainer writes:");
    check_refused_checkpoint(damaged(good, LK_TRAINER_STATE_FILE, 0, "{}"), LK_EFORMAT,
                             "json: is not what a Trainer writes:");
    check_refused_checkpoint(with_json(good, "\"global_step\": 8", "\"global_step\": -8"),
                             LK_EFORMAT, "trainer_state.json: is damaged: its numbers");
    check_refused_checkpoint(with_json(good, "\"train_batches\": 6", "\"train_batches\": 7"),
                             LK_EVALUE,
                             "was trained with 7 batches in a pass, and there are 6 now");

    /* The tensors of one file in the other. */
    char from[LK_PATH_MAX], to[LK_PATH_MAX];
    const char *mixed = damaged(good, STATE, -1, NULL);
    check(lk_path_join(from, mixed, MODEL, NULL) && lk_path_join(to, mixed, STATE, NULL) &&
          link(from, to) == 0);
    check_refused_checkpoint(mixed, LK_EFORMAT,
                             "state.safetensors: has no or a damaged tensor trainer.dropout");

    /* Another model: other parameters are trained, or they have another shape. */
    lk_require_grad(toy.tr.model, "norm.*", false);
    toy.tr.args.resume_from = good;
    Error err = { 0 };
    check(!lk_trainer_train(&toy.tr, &err));
    check_error(&err, LK_EVALUE, "was trained on another base");
    toy_free(&toy);
    toy_trainer(&toy, &runs[0], TOY_HIDDEN + 1, 0);
    toy.tr.args.resume_from = good;
    err = (Error){ 0 };
    check(!lk_trainer_train(&toy.tr, &err));
    check_error(
        &err, LK_EFORMAT,
        "checkpoint-8/state.safetensors: is not of this run: first.weight.exp_avg is float64 "
        "(8, 5), and its parameter is float64 (9, 5)");
    toy_free(&toy);
    toy_trainer(&toy, &runs[0], TOY_HIDDEN, 0);
    Linear *first = lk_as_linear(lk_module_at(toy.tr.model, "first", NULL));
    lk_free(first->bias);
    first->bias = NULL;
    toy.tr.args.resume_from = good;
    err = (Error){ 0 };
    check(!lk_trainer_train(&toy.tr, &err));
    check_error(&err, LK_EVALUE,
                "was made of another model: it has 6 trained parameters, this one 5");
    toy.tr.args.resume_from = NULL;
    toy.tr.args.output_dir = toy_path("smaller");
    toy.tr.args.stop_after = 1;
    toy_train(&toy);
    check_refused_checkpoint(checkpoint_of(toy.tr.args.output_dir, 1), LK_EVALUE,
                             "was made of another model: it has no trained first.bias");
    toy_free(&toy);
    check(count_entries(folder, "") == 2); /* 6 was the best so far */
}

/* Every allocation of the library fails once: an error, and the checkpoint before is still
 * there. */
Test(trainer_resume, without_memory)
{
    check_alloc_begin();
    const char *folder = toy_path("memory");
    ToyTrainer toy;
    trainer_for(&toy, &runs[0], folder);
    toy.tr.args.stop_after = 2;
    toy_train(&toy);
    toy.tr.args.resume_from = checkpoint_of(folder, 2);
    toy.tr.args.stop_after = 3;
    toy_train(&toy);
    int64_t live = check_alloc_live();
    for (int64_t n = 0, was = 1; was; n++) {
        Error err = { 0 };
        check_fail_once(n);
        bool ok = lk_trainer_train(&toy.tr, &err);
        was = check_alloc_failed();
        check_fail_after(-1);
        check(ok == !was, "allocation %d", (int)n);
        if (!ok) check_error(&err, LK_EMEMORY, "no memory");
        check(check_alloc_live() == live, "allocation %d: %d blocks leak", (int)n,
              (int)(check_alloc_live() - live));
        check(count_entries(folder, "checkpoint-") == 2 && count_entries(folder, ".tmp") == 0);
        lk_tape_clear_error(toy.tr.t);
    }
    toy_free(&toy);
    check(check_alloc_live() == 0);
}
