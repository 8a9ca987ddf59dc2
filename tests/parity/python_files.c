/* python_files.c - writes tensors of every dtype into a folder, for Python to read:
 *
 *     python_files FOLDER
 *
 * NAME.npy for each, stored.npz, compressed.npz (with zlib), all.safetensors. python_files.py has
 * the values. */
#include <stdio.h>

#include "data/npy.h"
#include "data/path.h"
#include "data/safetensors.h"

/* Element i: i / 2 - 1 in floats, i - 2 in integers, i % 2 in bytes and truth values. */
static Tensor *numbers_new(DType dtype, int ndim, const int64_t *shape)
{
    Tensor *x = lk_tensor_new(dtype, ndim, shape, NULL);
    for (int64_t i = 0; i < lk_numel(x); i++) {
        if (dtype == LK_F32) ((float *)x->data)[i] = (float)i / 2 - 1;
        if (dtype == LK_F64) ((double *)x->data)[i] = (double)i / 2 - 1;
        if (dtype == LK_I64) ((int64_t *)x->data)[i] = i - 2;
        if (dtype == LK_U8 || dtype == LK_BOOL) ((uint8_t *)x->data)[i] = (uint8_t)(i % 2);
    }
    return x;
}

static bool write_all(const StateDict *state, const char *folder, Error *err)
{
    char path[LK_PATH_MAX], name[64];
    for (int i = 0; i < state->count; i++) {
        snprintf(name, sizeof name, "%s.npy", state->entries[i].name);
        if (!lk_path_join(path, folder, name, err) ||
            !lk_save_npy(state->entries[i].tensor, path, err))
            return false;
    }
    if (!lk_path_join(path, folder, "all.safetensors", err) ||
        !lk_save_safetensors(state, LK_METADATA({ "format", "pt" }), path, err) ||
        !lk_path_join(path, folder, "stored.npz", err) || !lk_save_npz(state, path, false, err))
        return false;
    Error reason = { 0 }; /* LK_ESTATE: this build is without zlib */
    return lk_path_join(path, folder, "compressed.npz", err) &&
           (lk_save_npz(state, path, true, &reason) || reason.code == LK_ESTATE ||
            lk_error_pass(err, &reason));
}

int main(int argc, char **argv)
{
    Error err = { 0 };
    StateDict *state = lk_state_dict_empty_new(&err);
    bool ok = argc == 2 &&
              lk_state_dict_add(state, "f32", numbers_new(LK_F32, LK_SHAPE(2, 3)), &err) &&
              lk_state_dict_add(state, "f64", numbers_new(LK_F64, LK_SHAPE(2, 2, 2)), &err) &&
              lk_state_dict_add(state, "i64", numbers_new(LK_I64, LK_SHAPE(5)), &err) &&
              lk_state_dict_add(state, "u8", numbers_new(LK_U8, LK_SHAPE(3, 1)), &err) &&
              lk_state_dict_add(state, "bool", numbers_new(LK_BOOL, LK_SHAPE(1, 4)), &err) &&
              lk_state_dict_add(state, "scalar", numbers_new(LK_F64, LK_SCALAR), &err) &&
              lk_state_dict_add(state, "empty", numbers_new(LK_F32, LK_SHAPE(0, 3)), &err) &&
              lk_state_dict_add(state, "long", numbers_new(LK_F32, LK_SHAPE(1000, 3)), &err) &&
              write_all(state, argv[1], &err);
    if (!ok) fprintf(stderr, "python_files FOLDER: %s\n", err.message);
    lk_state_dict_free(state);
    return !ok;
}
