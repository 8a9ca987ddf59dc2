/* test_trainer_resume.c - checkpoints of the Trainer: stopped or killed anywhere and resumed, a run has the bits of one
 * that was not; a folder is whole or not there; what is no checkpoint of this run is refused. */
#include "tests/unit/faults.h"

#include "tests/unit/toy.h"

#include <dirent.h>
#include <sys/resource.h>

#ifdef LK_HAVE_JANSSON

static bool is_measured(const char *key)
{
    return strstr(key, "_runtime") || strstr(key, "_per_second");
}

/* Bit for bit, but for what a clock has measured. */
static void check_same_history(const TrainerHistory *a, const TrainerHistory *b)
{
    check(a->count == b->count, "%d logs, not %d", (int)a->count, (int)b->count);
    for (int64_t i = 0; i < a->count; i++) {
        const TrainerLog *x = &a->logs[i], *y = &b->logs[i];
        check(x->step == y->step && x->count == y->count);
        for (int k = 0; k < x->count; k++) {
            double u = x->values[k].value, v = y->values[k].value;
            check(strcmp(x->values[k].key, y->values[k].key) == 0);
            check(is_measured(x->values[k].key) || memcmp(&u, &v, sizeof u) == 0, "step %d, %s: %.17g, not %.17g",
                  (int)x->step, x->values[k].key, u, v);
        }
    }
}

static void check_same_file(const char *folder, const char *other, const char *name)
{
    char path[2][FOLDER_PATH_MAX];
    print_to(path[0], FOLDER_PATH_MAX, "%s/%s", folder, name);
    print_to(path[1], FOLDER_PATH_MAX, "%s/%s", other, name);
    char *a = read_file(path[0]), *b = read_file(path[1]);
    struct stat info[2];
    check(stat(path[0], &info[0]) == 0 && stat(path[1], &info[1]) == 0 && info[0].st_size == info[1].st_size);
    check(memcmp(a, b, (size_t)info[0].st_size) == 0, "%s and %s differ", path[0], path[1]);
    free(a), free(b);
}

/* The folders "a" and "b" of the test have the same checkpoint: weights, moments, steps, generators. */
static void check_same_checkpoint(const char *a, const char *b, int64_t step)
{
    char name[64];
    print_to(name, sizeof name, "checkpoint-%lld", (long long)step);
    char left[FOLDER_PATH_MAX], right[FOLDER_PATH_MAX];
    check(folder_join(left, a, name, NULL) && folder_join(right, b, name, NULL));
    check_same_file(left, right, MODEL);
    check_same_file(left, right, STATE);
}

/* In a buffer that is valid for the next 7 calls. */
static const char *checkpoint_of(const char *folder, int64_t step)
{
    static char paths[8][FOLDER_PATH_MAX];
    static int next;
    char *path = paths[next++ % 8];
    print_to(path, FOLDER_PATH_MAX, "%s/checkpoint-%lld", folder, (long long)step);
    return path;
}

/* Entries of a folder whose name contains the text. */
static int count_entries(const char *folder, const char *text)
{
    int n = 0;
    DIR *d = opendir(folder);
    check(d, "%s", folder);
    for (struct dirent *e; (e = readdir(d));) n += e->d_name[0] != '.' && strstr(e->d_name, text) != NULL;
    closedir(d);
    return n;
}

/* With dropout, evaluations in the middle of passes, logs that do not fall on steps where it stops, an accumulation
 * that does not divide a pass. */
static const struct ToyRun runs[] = {
    { 3, 0, 1, LK_SCHEDULE_LINEAR, 4, 0.1, 0.1, 4, 0, 0, NULL, { 0 } },
    { 3, 0, 4, LK_SCHEDULE_COSINE, 1, 0.05, 0.5, 3, 1, 0, NULL, { 0 } },
    { 9, 13, 1, LK_SCHEDULE_LINEAR, 0, 0.2, 0.0, 5, 4, 0, NULL, { 0 } },
};
enum { RUNS = sizeof runs / sizeof *runs };

static void trainer_for(ToyTrainer *toy, const struct ToyRun *run, const char *folder)
{
    toy_trainer(toy, run, TOY_HIDDEN, 0.3);
    toy->tr.args.output_dir = folder;
    toy->tr.args.load_best_at_end = true;
}

/* ---- stopped ----------------------------------------------------------------------------------------------------- */

Test(trainer_resume, stopped_behind_any_step_and_resumed)
{
    for (int i = 0; i < RUNS; i++) {
        char name[32];
        print_to(name, sizeof name, "whole-%d", i);
        const char *folder = toy_path(name);
        ToyTrainer whole;
        trainer_for(&whole, &runs[i], folder);
        whole.tr.args.save_steps = TRAINER_EPOCH;
        toy_train(&whole);
        int64_t total = whole.tr.state.step;
        check(total == (runs[i].max_steps ? 13 : runs[i].accumulation == 4 ? 6 : 18) && !whole.tr.stopped);
        for (int64_t stop = 1; stop <= total; stop++) {
            print_to(name, sizeof name, "stopped-%d-%d", i, (int)stop);
            const char *parts = toy_path(name);
            ToyTrainer first, second;
            trainer_for(&first, &runs[i], parts);
            first.tr.args.save_steps = TRAINER_EPOCH;
            first.tr.args.stop_after = stop;
            toy_train(&first);
            check(first.tr.stopped == (stop < total) && first.tr.state.step == stop);
            trainer_for(&second, &runs[i], parts);
            second.tr.args.save_steps = TRAINER_EPOCH;
            second.tr.args.resume_from = checkpoint_of(parts, stop);
            second.rng.next = 7; /* whatever its generators were, and its weights */
            lk_tape_seed(second.tr.t, 99);
            lk_fill_(lk_param_at(second.tr.model, "first.weight", NULL), 5);
            toy_train(&second);
            check(!second.tr.stopped && second.tr.state.best_step == whole.tr.state.best_step);
            if (stop < total) check_same_history(&second.tr.state.history, &whole.tr.state.history);
            check_same_checkpoint(folder, parts, total);
            check(count_entries(parts, ".tmp") == 0);
            ParamIter p = lk_params(whole.tr.model), q = lk_params(second.tr.model); /* the best weights */
            while (lk_params_next(&p) && lk_params_next(&q)) check_equal(p.tensor, q.tensor);
            toy_free(&first), toy_free(&second);
        }
        toy_free(&whole);
    }
}

/* Saved every step, resumed into another folder: what has been trained before is found beside the checkpoint. */
Test(trainer_resume, best_weights_are_found_beside_the_checkpoint_resumed_from)
{
    const char *folder = toy_path("first"), *other = toy_path("other");
    ToyTrainer whole, second;
    trainer_for(&whole, &runs[0], folder);
    whole.tr.args.save_steps = 1;
    whole.tr.args.best_metric = "eval_runtime"; /* an order that the test may choose: the first is the best */
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
    toy_trainer(&toy, &toy_runs[0], TOY_HIDDEN, 0); /* the fixture's: the second of three is the best */
    toy.tr.args.output_dir = folder;
    toy.tr.args.load_best_at_end = true;
    toy_train(&toy);
    check(toy.tr.state.best_step == toy_runs[0].best_step && toy.tr.state.step == 18);
    check(count_entries(folder, "checkpoint-") == 2); /* save_steps is TRAINER_NEVER; two were the best so far */
    TrainerLog log;
    check(trainer_evaluate(&toy.tr, &log, NULL));
    check(trainer_log_get(&log, "eval_loss") == toy.tr.state.best_metric);
    char path[FOLDER_PATH_MAX];
    check(folder_join(path, checkpoint_of(folder, 12), MODEL, NULL));
    StateDict *best = lk_load_safetensors(path, NULL);
    check(best->count == 6);
    for (int i = 0; i < 6; i++)
        check_equal(best->entries[i].tensor, lk_param_at(toy.tr.model, best->entries[i].name, NULL));
    lk_state_dict_free(best);
    toy.tr.args.best_metric = "eval_f1";
    Error err = { 0 };
    check(!trainer_train(&toy.tr, &err));
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
    char path[FOLDER_PATH_MAX];
    check(folder_join(path, checkpoint_of(folder, 4), MODEL, NULL));
    StateDict *saved = lk_load_safetensors(path, NULL);
    check(saved->count == 4 && !lk_state_dict_get(saved, "first.weight") && lk_state_dict_get(saved, "norm.bias"));
    lk_state_dict_free(saved);
    check(folder_join(path, checkpoint_of(folder, 4), STATE, NULL));
    saved = lk_load_safetensors(path, NULL);
    check(saved->count == 3 * 4 + 2 && lk_state_dict_get(saved, "norm.bias.exp_avg_sq"));
    check(lk_item(lk_state_dict_get(saved, "second.weight.step")) == 4);
    lk_state_dict_free(saved);

    toy.tr.args.resume_from = checkpoint_of(folder, 4);
    toy.tr.args.stop_after = 0;
    toy_train(&toy);
    ((double *)lk_param_at(toy.tr.model, "first.weight", NULL)->data)[0] += 1e-12; /* another base */
    Error err = { 0 };
    check(!trainer_train(&toy.tr, &err));
    check_error(&err, LK_EVALUE, "was trained on another base: the frozen parameters differ");
    toy_free(&toy);
}

/* ---- killed ------------------------------------------------------------------------------------------------------ */

/* The highest N of whole checkpoints; 0: none. */
static int64_t last_checkpoint(const char *folder)
{
    int64_t last = 0;
    DIR *d = opendir(folder);
    for (struct dirent *e; d && (e = readdir(d));) {
        char *end;
        if (strncmp(e->d_name, "checkpoint-", 11) != 0) continue;
        int64_t n = strtoll(e->d_name + 11, &end, 10);
        if (*end == '\0' && n > last) last = n;
    }
    if (d) closedir(d);
    return last;
}

/* Goes on in the folder from the last checkpoint, or from the beginning. */
static void resume(ToyTrainer *toy, const struct ToyRun *run, int64_t hidden, const char *folder)
{
    toy_trainer(toy, run, hidden, 0.3);
    toy->tr.args.output_dir = folder;
    toy->tr.args.load_best_at_end = true;
    toy->tr.args.save_steps = 1;
    int64_t last = last_checkpoint(folder);
    if (last > 0) toy->tr.args.resume_from = checkpoint_of(folder, last);
}

/* The same Trainer, resumed once and then trained from the beginning: its best weights are those of the second time. */
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
    check(toy.tr.state.best_step > 0 && last_checkpoint(toy.tr.args.output_dir) == toy.tr.state.step);
    toy_free(&toy);
}

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
    return trainer_train(&dying.tr, NULL);
}

/* Killed in the forward of every batch (in the middle of an accumulation, of a pass, of an
 * evaluation), and at every change of a file. */
Test(trainer_resume, killed_anywhere)
{
    enum { FORWARDS = 3 * 6 + 6 * 3 }; /* batches of training; 3 of each evaluation */
    const char *folder = toy_path("whole");
    ToyTrainer whole;
    resume_second_run(&whole, folder);
    toy_train(&whole);
    int k = 1;
    for (bool killed = true; killed; k++) {
        char name[32], parts[FOLDER_PATH_MAX];
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
        lk_optimizer_set_state(&it, s->value, lk_clone(it.param, NULL), lk_clone(it.param, NULL),
                               NULL);
    return checkpoint_save(tr, s->opt, NULL);
}

/* The value of a checkpoint that `saving` made, all of it; -1: it is not there. */
static int64_t value_of(const char *folder, int64_t step)
{
    if (access(checkpoint_of(folder, step), F_OK) != 0) return -1;
    Error err = { 0 };
    ToyTrainer reader;
    resume(&reader, &runs[0], TOY_HIDDEN, folder);
    Optimizer *opt = optimizer_new(&reader.tr, NULL);
    check(checkpoint_load(&reader.tr, opt, checkpoint_of(folder, step), &err), "%s", err.message);
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
Test(trainer_resume, killed_while_saving)
{
    const char *folder = toy_path("saved");
    ToyTrainer toy;
    resume(&toy, &runs[0], TOY_HIDDEN, folder);
    toy.tr.args.stop_after = 2;
    toy_train(&toy);
    Saving s = { .toy = &toy, .opt = optimizer_new(&toy.tr, NULL) };
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

/* ---- no space ---------------------------------------------------------------------------------------------------- */

Test(trainer_resume, a_full_disk_leaves_the_old_checkpoints)
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
    bool ok = trainer_train(&toy.tr, &err);
    check(setrlimit(RLIMIT_FSIZE, &before) == 0);
    check(!ok);
    check_error(&err, LK_EIO, "cannot be written: File too large");
    check(last_checkpoint(folder) == 3 && count_entries(folder, "") == 3);
    check(toy.tr.state.step == 4); /* the weights are those of the step that could not be saved */
    toy_train(&toy);
    check(last_checkpoint(folder) == 18);

    toy_free(&toy);
}

/* ---- what is no checkpoint of this run --------------------------------------------------------------------------- */

static void check_refused_checkpoint(const char *folder, ErrorCode code, const char *message)
{
    ToyTrainer toy;
    trainer_for(&toy, &runs[0], toy_path("refused"));
    toy.tr.args.resume_from = folder;
    StateDict *before = lk_state_dict_new(toy.tr.model, NULL);
    Error err = { 0 };
    check(!trainer_train(&toy.tr, &err));
    check(err.code == code && strstr(err.message, message), "%s\nnot %s", err.message, message);
    check(strstr(err.message, folder), "%s", err.message);
    for (int i = 0; i < before->count; i++)
        check_equal(before->entries[i].tensor, lk_param_at(toy.tr.model, before->entries[i].name, NULL));
    lk_state_dict_free(before);
    toy_free(&toy);
}

/* A copy of the checkpoint in which one file has only its first bytes, or (-1) is missing, or has another text. */
static const char *damaged(const char *from, const char *file, int keep, const char *text)
{
    static const char *const files[] = { MODEL, STATE, TRAINER_STATE_FILE };
    const char *to = toy_path("damaged");
    char source[FOLDER_PATH_MAX], target[FOLDER_PATH_MAX];
    lk_folder_remove(to);
    make_folder(to);
    for (int i = 0; i < 3; i++) {
        check(folder_join(source, from, files[i], NULL) && folder_join(target, to, files[i], NULL));
        FILE *in = fopen(source, "rb"), *out;
        char bytes[100000];
        size_t size = fread(bytes, 1, sizeof bytes, in);
        check(fclose(in) == 0 && size < sizeof bytes);
        bool chosen = strcmp(files[i], file) == 0;
        if (chosen && keep < 0) continue;
        if (chosen && text) size = strlen(strcpy(bytes, text));
        else if (chosen) size = (size_t)keep;
        check((out = fopen(target, "wb")) && fwrite(bytes, 1, size, out) == size && fclose(out) == 0);
    }
    return to;
}

/* trainer_state.json with one text in it exchanged. */
static const char *with_json(const char *from, const char *old, const char *new)
{
    char path[FOLDER_PATH_MAX], changed[100000];
    check(folder_join(path, from, TRAINER_STATE_FILE, NULL));
    char *text = read_file(path), *at = strstr(text, old);
    check(at, "no %s in %s", old, text);
    print_to(changed, sizeof changed, "%.*s%s%s", (int)(at - text), text, new, at + strlen(old));
    free(text);
    return damaged(from, TRAINER_STATE_FILE, 0, changed);
}

Test(trainer_resume, what_is_no_checkpoint_is_refused)
{
    const char *folder = toy_path("good");
    ToyTrainer toy;
    trainer_for(&toy, &runs[0], folder);
    toy.tr.args.stop_after = 8;
    toy_train(&toy);
    const char *good = checkpoint_of(folder, 8);

    check_refused_checkpoint(toy_path("nothing"), LK_EIO, "no checkpoint: No such file or directory");
    check_refused_checkpoint(damaged(good, MODEL, -1, NULL), LK_EIO, "is no complete checkpoint: model.safetensors is");
    check_refused_checkpoint(damaged(good, STATE, -1, NULL), LK_EIO, "is no complete checkpoint: state.safetensors is");
    check_refused_checkpoint(damaged(good, TRAINER_STATE_FILE, -1, NULL), LK_EIO, "is no complete checkpoint: trainer_state.json is");
    check_refused_checkpoint(damaged(good, MODEL, 600, NULL), LK_EFORMAT, "model.safetensors");
    check_refused_checkpoint(damaged(good, STATE, 5000, NULL), LK_EFORMAT, "state.safetensors");
    check_refused_checkpoint(damaged(good, TRAINER_STATE_FILE, 40, NULL), LK_EFORMAT, "trainer_state.json: cannot be read:");
    check_refused_checkpoint(with_json(good, "\"arguments\"", "\"unknown\""), LK_EFORMAT,
                             "json: is not what a Trainer writes:");
    check_refused_checkpoint(damaged(good, TRAINER_STATE_FILE, 0, "{}"), LK_EFORMAT, "json: is not what a Trainer writes:");
    check_refused_checkpoint(with_json(good, "\"global_step\": 8", "\"global_step\": -8"), LK_EFORMAT,
                             "trainer_state.json: is damaged: its numbers");
    check_refused_checkpoint(with_json(good, "\"train_batches\": 6", "\"train_batches\": 7"), LK_EVALUE,
                             "was trained with 7 batches in a pass, and there are 6 now");

    /* The tensors of one file in the other. */
    char from[FOLDER_PATH_MAX], to[FOLDER_PATH_MAX];
    const char *mixed = damaged(good, STATE, -1, NULL);
    check(folder_join(from, mixed, MODEL, NULL) && folder_join(to, mixed, STATE, NULL) && link(from, to) == 0);
    check_refused_checkpoint(mixed, LK_EFORMAT, "state.safetensors: has no or a damaged tensor trainer.dropout");

    /* Another model: other parameters are trained, or they have another shape. */
    lk_require_grad(toy.tr.model, "norm.*", false);
    toy.tr.args.resume_from = good;
    Error err = { 0 };
    check(!trainer_train(&toy.tr, &err));
    check_error(&err, LK_EVALUE, "was trained on another base");
    toy_free(&toy);
    toy_trainer(&toy, &runs[0], TOY_HIDDEN + 1, 0);
    toy.tr.args.resume_from = good;
    err = (Error){ 0 };
    check(!trainer_train(&toy.tr, &err));
    check_error(&err, LK_EFORMAT, "checkpoint-8/state.safetensors: lk_optimizer_set_state: a moment of parameter 0 is "
                                  "float64 (8, 5)");
    toy_free(&toy);
    toy_trainer(&toy, &runs[0], TOY_HIDDEN, 0);
    Linear *first = lk_as_linear(lk_module_at(toy.tr.model, "first", NULL));
    lk_free(first->bias);
    first->bias = NULL;
    toy.tr.args.resume_from = good;
    err = (Error){ 0 };
    check(!trainer_train(&toy.tr, &err));
    check_error(&err, LK_EVALUE, "was made of another model: it has 6 trained parameters, this one 5");
    toy.tr.args.resume_from = NULL;
    toy.tr.args.output_dir = toy_path("smaller");
    toy.tr.args.stop_after = 1;
    toy_train(&toy);
    check_refused_checkpoint(checkpoint_of(toy.tr.args.output_dir, 1), LK_EVALUE,
                             "was made of another model: it has no trained first.bias");
    toy_free(&toy);
    check(count_entries(folder, "") == 2); /* 6 was the best so far */
}

/* Every allocation of the library fails once: an error, and the checkpoint before is still there. */
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
        bool ok = trainer_train(&toy.tr, &err);
        was = check_alloc_failed();
        check_fail_after(-1);
        check(ok == !was, "allocation %d", (int)n);
        if (!ok) check_error(&err, LK_EMEMORY, "no memory");
        check(check_alloc_live() == live, "allocation %d: %d blocks leak", (int)n, (int)(check_alloc_live() - live));
        check(count_entries(folder, "checkpoint-") == 2 && count_entries(folder, ".tmp") == 0);
        lk_tape_clear_error(toy.tr.t);
    }
    toy_free(&toy);
    check(check_alloc_live() == 0);
}

#else

Test(trainer_resume, without_jansson_checkpoints_are_refused)
{
    ToyTrainer toy;
    toy_trainer(&toy, &toy_runs[0], TOY_HIDDEN, 0);
    toy.tr.args.output_dir = toy_path("x");
    toy.tr.args.save_steps = 1;
    Error err = { 0 };
    check(!trainer_train(&toy.tr, &err));
    check_error(&err, LK_ESTATE, "checkpoints need jansson");
    toy_free(&toy);
}

#endif
