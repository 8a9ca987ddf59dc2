/* trainer_checkpoint.c - keeps a run in a folder. It is written as a whole, and input is never
 * trusted. The header describes the content; data/folder.c puts the folder in its place. */
#include "data/trainer_checkpoint.h"

#include <string.h>

#include "data/checkpoint_folders.h"
#include "data/safetensors.h"
#include "data/folder.h"
#include "data/io.h"
#include "data/optimizer_tensors.h"
#include "data/trainer_state.h"

static const char MODEL[] = "model.safetensors", STATE[] = "state.safetensors";

/* ---- tensors -------------------------------------------------------------------------------- */

static Tensor *integers_new(int64_t rows, int64_t columns, const int64_t *values, Error *err)
{
    return lk_tensor_from_new(LK_I64, LK_SHAPE(rows, columns), values, err);
}

/* A generator as numbers: words, next, whether a drawn normal is waiting, its bits. */
enum { RNG_NUMBERS = 624 + 3 };

static void pack_rng(const Rng *rng, int64_t *x)
{
    for (int i = 0; i < 624; i++) x[i] = rng->word[i];
    x[624] = rng->next;
    x[625] = rng->has_normal;
    memcpy(&x[626], &rng->normal, sizeof *x);
}

static bool unpack_rng(const int64_t *x, Rng *rng)
{
    bool ok = x[624] >= 0 && x[624] <= 624 && (x[625] == 0 || x[625] == 1);
    for (int i = 0; i < 624; i++) {
        ok = ok && x[i] >= 0 && x[i] <= UINT32_MAX;
        rng->word[i] = (uint32_t)x[i];
    }
    rng->next = (int)x[624];
    rng->has_normal = x[625];
    memcpy(&rng->normal, &x[626], sizeof *x);
    return ok;
}

static bool add_generators(StateDict *state, const Trainer *tr, Error *err)
{
    TapeRandom dropout = lk_tape_random(tr->t);
    const int64_t at[] = { (int64_t)dropout.seed, (int64_t)dropout.calls };
    if (!lk_state_dict_add(state, "trainer.dropout", integers_new(1, 2, at, err), err))
        return false;
    if (!tr->rng) return true;
    int64_t numbers[2 * RNG_NUMBERS];
    pack_rng(tr->rng, numbers);
    pack_rng(&tr->state.pass_rng, numbers + RNG_NUMBERS);
    return lk_state_dict_add(state, "trainer.rng", integers_new(2, RNG_NUMBERS, numbers, err),
                             err);
}

/* Walks through all that training changes: trainable parameters, and buffers. */
static ParamIter changing(Module *m)
{
    ParamIter it = lk_state_tensors(m);
    it.with_duplicates = false;
    return it;
}

static bool next_changing(ParamIter *it)
{
    while (lk_params_next(it))
        if (it->is_buffer || it->tensor->requires_grad) return true;
    return false;
}

static StateDict *trained_weights_new(Module *m, Error *err)
{
    StateDict *state = lk_state_dict_empty_new(err);
    bool ok = state;
    for (ParamIter it = changing(m); ok && next_changing(&it);)
        ok = lk_state_dict_add(state, it.name, lk_retain(it.tensor), err);
    if (ok) return state;
    lk_state_dict_free(state);
    return NULL;
}

/* ---- saving --------------------------------------------------------------------------------- */

static bool write_files(const char *folder, const Trainer *tr, Optimizer *opt, Error *err)
{
    char path[LK_PATH_MAX];
    if (!lk__trainer_state_write(tr, folder, err)) return false;
    StateDict *weights = trained_weights_new(tr->model, err),
              *state = lk_state_dict_empty_new(err);
    bool ok = weights && state && lk__optimizer_tensors_add(state, opt, tr->model, err) &&
              add_generators(state, tr, err);
    ok = ok && lk_path_join(path, folder, MODEL, err) &&
         lk_save_safetensors(weights, LK_METADATA({ "format", "pt" }), path, err);
    ok = ok && lk_path_join(path, folder, STATE, err) &&
         lk_save_safetensors(state, NULL, path, err);
    lk_state_dict_free(weights);
    lk_state_dict_free(state);
    return ok;
}

static bool save(const Trainer *tr, Optimizer *opt, Error *err)
{
    Folder f;
    char path[LK_PATH_MAX];
    if (!lk__checkpoint_path(tr->args.output_dir, tr->state.step, path, err) ||
        !lk_folder_begin(&f, NULL, path, err))
        return false;
    return lk_folder_end(&f, write_files(f.temporary, tr, opt, err), err) &&
           lk__checkpoints_limit(tr, err);
}

/* ---- reading -------------------------------------------------------------------------------- */

static bool state_error(const char *folder, const char *what, const char *name, Error *err)
{
    return lk_error_set(err, LK_EFORMAT, "%.200s/%s: %s %.200s", folder, STATE, what, name);
}

static bool has_all_files(const char *folder, Error *err)
{
    static const char *const files[] = { MODEL, STATE, LK_TRAINER_STATE_FILE };
    char path[LK_PATH_MAX];
    struct stat info;
    if (lk__io->stat(folder, &info) != 0) return lk_path_failed(folder, "no checkpoint", err);
    for (int i = 0; i < 3; i++) {
        if (!lk_path_join(path, folder, files[i], err)) return false;
        if (lk__io->stat(path, &info) == 0) continue;
        if (!lk__io_is_missing()) return lk_path_failed(path, "cannot be read", err);
        return lk_error_set(err, LK_EIO, "%.300s is no complete checkpoint: %s is missing", folder,
                            files[i]);
    }
    return true;
}

/* The int64 tensor (rows, columns) of that name, as numbers; NULL with the reason. */
static const int64_t *read_integers(const StateDict *state, const char *name, int64_t rows,
                                    int64_t columns, const char *folder, Error *err)
{
    const Tensor *x = lk_state_dict_get(state, name);
    if (x && x->dtype == LK_I64 && x->ndim == 2 && x->shape[0] == rows && x->shape[1] == columns)
        return x->data;
    state_error(folder, "has no or a damaged tensor", name, err);
    return NULL;
}

static bool read_generators(const StateDict *state, const char *folder, const Trainer *tr,
                            TrainerState *s, Rng *rng, TapeRandom *dropout, Error *err)
{
    const int64_t *at = read_integers(state, "trainer.dropout", 1, 2, folder, err);
    if (!at) return false;
    *dropout = (TapeRandom){ (uint64_t)at[0], (uint64_t)at[1] };
    if (!tr->rng) return true;
    const int64_t *numbers = read_integers(state, "trainer.rng", 2, RNG_NUMBERS, folder, err);
    if (!numbers) return false;
    return (unpack_rng(numbers, rng) && unpack_rng(numbers + RNG_NUMBERS, &s->pass_rng)) ||
           state_error(folder, "has a damaged tensor", "trainer.rng", err);
}

static bool read_optimizer(const StateDict *state, const char *folder, const Trainer *tr,
                           Optimizer *opt, Error *err)
{
    Error reason = { 0 };
    return lk__optimizer_tensors_set(state, opt, tr->model, &reason) ||
           state_error(folder, "is not of this run:", reason.message, err);
}

/* Checks that the file has the names of the trained parameters; loading compares their shapes. */
static bool check_names(const StateDict *weights, const char *folder, Module *m, Error *err)
{
    int trained = 0;
    for (ParamIter it = changing(m); next_changing(&it);) {
        trained++;
        if (!lk_state_dict_get(weights, it.name))
            return lk_error_set(err, LK_EVALUE,
                                "%.200s was made of another model: it has no trained %.200s",
                                folder, it.name);
    }
    return trained == weights->count ||
           lk_error_set(
               err, LK_EVALUE,
               "%.200s was made of another model: it has %d trained parameters, this one %d",
               folder, weights->count, trained);
}

static StateDict *read_weights(const char *folder, Module *m, Error *err)
{
    char path[LK_PATH_MAX];
    StateDict *weights =
        lk_path_join(path, folder, MODEL, err) ? lk_load_safetensors(path, err) : NULL;
    if (weights && check_names(weights, folder, m, err)) return weights;
    lk_state_dict_free(weights);
    return NULL;
}

/* Finds the weights of a step. If the step was made before this run was resumed, they lie beside
 * the checkpoint that it was resumed from: in output_dir another run may have left some of that
 * name. */
static bool find_step(const Trainer *tr, int64_t step, int64_t resumed, char folder[LK_PATH_MAX],
                      Error *err)
{
    char parent[LK_PATH_MAX];
    struct stat info;
    const char *from = tr->args.output_dir;
    if (step <= resumed && !lk_path_join(parent, tr->args.resume_from, "..", err)) return false;
    if (!lk__checkpoint_path(step <= resumed ? parent : from, step, folder, err)) return false;
    return lk__io->stat(folder, &info) == 0 ||
           lk_path_failed(folder, "the best weights so far are gone", err);
}

static bool resume(Trainer *tr, Optimizer *opt, Error *err)
{
    const char *folder = tr->args.resume_from;
    char path[LK_PATH_MAX];
    TrainerState s = { 0 };
    Rng rng = { 0 };
    TapeRandom dropout = { 0 };
    bool ok = has_all_files(folder, err) && lk__trainer_state_read(tr, folder, &s, err);
    StateDict *weights = ok ? read_weights(folder, tr->model, err) : NULL, *state = NULL;
    ok = weights && lk_path_join(path, folder, STATE, err) &&
         (state = lk_load_safetensors(path, err));
    ok = ok && read_generators(state, folder, tr, &s, &rng, &dropout, err);
    ok = ok && read_optimizer(state, folder, tr, opt, err);
    if (ok && tr->args.load_best_at_end && s.best_step > 0)
        ok = find_step(tr, s.best_step, s.step, path, err);
    /* The first change of something that was there before, and the last thing that can fail. */
    ok = ok && lk_load_state_dict(tr->model, weights, false, err);
    lk_state_dict_free(weights);
    lk_state_dict_free(state);
    if (!ok) {
        lk_trainer_history_free(&s.history);
        return false;
    }
    tr->state = s;
    tr->resumed = s.step;
    if (tr->rng) *tr->rng = rng;
    lk_tape_set_random(tr->t, dropout);
    return true;
}

static bool load_weights(const Trainer *tr, int64_t step, Error *err)
{
    char folder[LK_PATH_MAX];
    StateDict *weights = find_step(tr, step, tr->resumed, folder, err)
                             ? read_weights(folder, tr->model, err)
                             : NULL;
    bool ok = weights && lk_load_state_dict(tr->model, weights, false, err);
    lk_state_dict_free(weights);
    return ok;
}

static bool open_folder(Trainer *tr, Error *err)
{
    if (!lk_folder_make(tr->args.output_dir, err)) return false;
    if (!tr->opened) tr->opened = lk_folder_lock_new(tr->args.output_dir, err);
    return tr->opened;
}

static void close_folder(Trainer *tr)
{
    lk_folder_lock_free(tr->opened);
    tr->opened = NULL;
}

const TrainerStore lk_checkpoints = { open_folder, save, resume, load_weights, close_folder };
