/* npz.c - named arrays in one file: a zip archive (data/zip.c) of arrays (data/npy_format.c), each
 * called NAME.npy. */
#include <string.h>

#include "core/memory.h"
#include "data/npy.h"
#include "data/npy_parts.h"
#include "data/zip.h"

enum { KEY_MAX = 1024 }; /* bytes of a name, its ".npy" and '\0' included */

/* ---- reading -------------------------------------------------------------------------------- */

/* Writes the name without its ".npy". */
static bool read_name(const ZipReader *z, const ZipEntry *e, char name[KEY_MAX])
{
    if (memchr(e->name, '\0', (size_t)e->length))
        return lk__file_fail(z->report, LK_EFORMAT, "has a name with a byte 0");
    if (e->length >= KEY_MAX)
        return lk__file_fail(z->report, LK_EFORMAT, "has a name of %d bytes; at most %d are read",
                             e->length, KEY_MAX - 1);
    const int length = e->length - 4;
    memcpy(name, e->name, (size_t)e->length);
    name[e->length] = '\0';
    if (length < 1 || strcmp(name + length, ".npy") != 0)
        return lk__file_fail(z->report, LK_EFORMAT,
                             "%.100s is no array: its name does not end in "
                             ".npy",
                             name);
    name[length] = '\0';
    return true;
}

static bool read_array(const ZipReader *z, const ZipEntry *e, StateDict *state)
{
    char name[KEY_MAX], *room = NULL;
    const char *bytes = NULL;
    if (!read_name(z, e, name)) return false;
    if (lk_state_dict_get(state, name))
        return lk__file_fail(z->report, LK_EFORMAT, "%.100s is there twice", name);
    Tensor *x = lk__zip_content(z, e, &bytes, &room)
                    ? lk__npy_tensor_new(bytes, e->size, name, z->report)
                    : NULL;
    lk_mem_free(room);
    return x && lk_state_dict_add(state, name, x, z->report->err);
}

StateDict *lk_load_npz(const char *path, Error *err)
{
    const char *caller = "lk_load_npz";
    if (!path) {
        lk_error_set(err, LK_EVALUE, "%s: the path is NULL", caller);
        return NULL;
    }
    const FileReport report = { caller, path, err, 0 };
    WholeFile file = { 0 };
    ZipReader z = { 0 };
    StateDict *state = lk_state_dict_empty_new(err);
    bool ok = state && lk__read_whole_file(&file, &report) && lk__zip_begin(&z, &file, &report);
    for (ZipEntry e; ok && lk__zip_next(&z, &e);) ok = read_array(&z, &e, state);
    ok = ok && !z.failed;
    lk__whole_file_free(&file);
    if (ok) return state;
    lk_state_dict_free(state);
    return NULL;
}

/* ---- writing -------------------------------------------------------------------------------- */

static bool check_names(const StateDict *state, Error *err)
{
    const char *caller = "lk_save_npz";
    for (int i = 0; i < state->count; i++) {
        const char *name = state->entries[i].name;
        if (!*name || strlen(name) + 5 > KEY_MAX)
            return lk_error_set(err, LK_EVALUE, "%s: name %d has %zu bytes; it has 1 to %d",
                                caller, i, strlen(name), KEY_MAX - 5);
        for (int j = 0; j < i; j++)
            if (strcmp(state->entries[j].name, name) == 0)
                return lk_error_set(err, LK_EVALUE, "%s: %.100s is there twice", caller, name);
    }
    return true;
}

static bool write_array(ZipWriter *z, const StateEntry *entry, bool compressed)
{
    char header[LK_NPY_HEADER], name[KEY_MAX];
    Tensor *x = lk__npy_contiguous(entry->tensor, z->err);
    if (!x) return false;
    snprintf(name, sizeof name, "%s.npy", entry->name);
    const ZipPart parts[2] = {
        { header, (size_t)lk__npy_header(x, header) },
        { x->data, (size_t)lk_numel(x) * lk_dtype_size(x->dtype) },
    };
    bool ok = lk__zip_add(z, name, parts, compressed);
    lk_tensor_free(x);
    return ok;
}

bool lk_save_npz(const StateDict *state, const char *path, bool compressed, Error *err)
{
    const char *caller = "lk_save_npz";
    if (!state || !path)
        return lk_error_set(err, LK_EVALUE, "%s: the %s is NULL", caller,
                            state ? "path" : "state dict");
    if (!check_names(state, err)) return false;
    ZipWriter z;
    bool ok = lk__zip_open(&z, caller, path, err);
    for (int i = 0; ok && i < state->count; i++)
        ok = write_array(&z, &state->entries[i], compressed);
    return lk__zip_close(&z, ok);
}
