/* safetensors_read.c - tensors of a safetensors file: read, or mapped into memory without a copy.
 * The file and its header: data/safetensors.c. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "data/io.h"
#include "data/safetensors_parts.h"

/* Whether it can be a Tensor. */
static bool loadable(const SafeTensorsEntry *e, const FileReport *r)
{
    if (lk__safetensors_type(e->dtype)->dtype < 0)
        return lk__file_fail(
            r, LK_EDTYPE,
            "tensor \"%.100s\" is %.40s; only F64, F32, F16, BF16, I64, U8 and BOOL can be loaded",
            e->name, e->dtype);
    if (e->ndim > LK_MAX_DIMS)
        return lk__file_fail(r, LK_ESHAPE,
                             "tensor \"%.100s\" has %d dimensions; 0 to %d are possible", e->name,
                             e->ndim, LK_MAX_DIMS);
    return true;
}

/* C's bool has two values; any other byte would not be one of them. */
static bool check_bools(const SafeTensorsEntry *e, DType dtype, const unsigned char *bytes,
                        const FileReport *r)
{
    for (int64_t i = 0; dtype == LK_BOOL && i < e->bytes; i++)
        if (bytes[i] > 1)
            return lk__file_fail(r, LK_EFORMAT,
                                 "tensor \"%.100s\": element %lld is %d; a BOOL is 0 or 1",
                                 e->name, (long long)i, bytes[i]);
    return true;
}

int lk__safetensors_dtype_for(const SafeTensorsEntry *e, DType wanted)
{
    const int dtype = lk__safetensors_type(e->dtype)->dtype;
    const bool fits = wanted != LK_QI8 || e->ndim == 2;
    return dtype == LK_F32 && lk_only_stores(wanted) && fits ? (int)wanted : dtype;
}

/* Whether the elements of e are those of a tensor in dtype, byte by byte. */
static bool is_as_it_lies(const SafeTensorsEntry *e, DType dtype)
{
    const FileType *type = lk__safetensors_type(e->dtype);
    if (dtype == LK_BF16) return strcmp(e->dtype, "BF16") == 0;
    return type->dtype == (int)dtype && !type->widen;
}

/* Reads the elements of e into x, which only stores: some whole rows at a time as float32, so that
 * all of e is never there in float32. x has a first dimension, or a single element. */
static bool read_rounded(SafeTensors *f, const SafeTensorsEntry *e, Tensor *x, const FileReport *r)
{
    enum { MOST = 1 << 18 }; /* elements of a piece that has more than one row */
    const FileType *type = lk__safetensors_type(e->dtype);
    const int64_t rows = x->ndim > 0 ? x->shape[0] : 1, row = lk_numel(x) / rows,
                  size = type->bits / 8, most = row < MOST ? MOST / row : 1;
    Tensor *piece = lk_tensor_new(LK_F32, LK_SHAPE(most < rows ? most : rows, row), r->err);
    bool ok = piece;
    for (int64_t i = 0; ok && i < rows; i += most) {
        const int64_t count = rows - i < most ? rows - i : most, n = count * row;
        char *to = (char *)piece->data + n * (4 - size);
        Tensor from = *piece, part = *x;
        from.shape[0] = part.shape[0] = count;
        part.ndim = 2;
        part.shape[1] = part.stride[0] = row;
        part.stride[1] = 1;
        part.data = (char *)x->data + i * row * (int64_t)lk_dtype_size(x->dtype);
        ok = lk__safetensors_read_at(f, to, n * size, e->offset + i * row * size, r);
        if (ok && type->widen) type->widen(piece->data, to, n);
        Error cause = { 0 };
        if (ok && !lk_copy_(&part, &from, &cause))
            ok = lk__file_fail(r, cause.code, "tensor \"%.100s\", from row %lld: %s", e->name,
                               (long long)i, cause.message);
    }
    lk_tensor_free(piece);
    return ok;
}

/* Reads the elements of e into x, a new tensor. Elements that are widened are first read into the
 * second half of the memory of x. */
static bool read_elements(SafeTensors *f, const SafeTensorsEntry *e, Tensor *x,
                          const FileReport *r)
{
    const FileType *type = lk__safetensors_type(e->dtype);
    const bool as_it_lies = is_as_it_lies(e, x->dtype), widens = !as_it_lies && type->widen;
    if (e->bytes == 0) return true;
    if (!as_it_lies && lk_only_stores(x->dtype)) return read_rounded(f, e, x, r);
    char *to = (char *)x->data + (widens ? e->bytes : 0);
    if (!lk__safetensors_read_at(f, to, e->bytes, e->offset, r)) return false;
    if (widens) type->widen(x->data, to, lk_numel(x));
    return check_bools(e, x->dtype, x->data, r);
}

static Tensor *read_tensor(SafeTensors *f, const SafeTensorsEntry *e, DType wanted,
                           const FileReport *r)
{
    if (!loadable(e, r)) return NULL;
    Error cause = { 0 };
    Tensor *x =
        lk_tensor_new((DType)lk__safetensors_dtype_for(e, wanted), e->ndim, e->shape, &cause);
    if (!x) lk__file_fail(r, cause.code, "tensor \"%.100s\": %s", e->name, cause.message);
    if (x && read_elements(f, e, x, r)) return x;
    lk_tensor_free(x);
    return NULL;
}

static bool has(const SafeTensors *file, const SafeTensorsEntry *entry, const char *function,
                Error *err)
{
    return (file && entry) ||
           lk_error_set(err, LK_EVALUE, "%s: the %s is NULL", function, file ? "entry" : "file");
}

Tensor *lk__safetensors_read_for_new(const char *caller, SafeTensors *file,
                                     const SafeTensorsEntry *entry, DType wanted, Error *err)
{
    if (!has(file, entry, caller, err)) return NULL;
    return read_tensor(file, entry, wanted, &(const FileReport){ caller, file->path, err, 0 });
}

Tensor *lk_safetensors_read_new(SafeTensors *file, const SafeTensorsEntry *entry, Error *err)
{
    return lk__safetensors_read_for_new("lk_safetensors_read_new", file, entry, LK_F32, err);
}

/* Maps the whole file, once. Private: writing to a page copies it. */
static bool map_file(SafeTensors *f, const FileReport *r)
{
    if (f->map) return true;
    if ((uint64_t)f->size > SIZE_MAX)
        return lk__file_fail(r, LK_EMEMORY,
                             "has %lld bytes, more than 32 bits can address; load it without "
                             "mapping",
                             (long long)f->size);
    void *map = lk__io->mmap((size_t)f->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE,
                             f->file);
    if (map == MAP_FAILED)
        return lk__file_fail(r, LK_EIO, "cannot be mapped into memory: %s", strerror(errno));
    f->map = map;
    return true;
}

Tensor *lk__safetensors_view_for_new(SafeTensors *file, const SafeTensorsEntry *entry,
                                     DType wanted, Error *err)
{
    const char *function = "lk_safetensors_view_new";
    if (!has(file, entry, function, err)) return NULL;
    const FileReport r = { function, file->path, err, 0 };
    if (!loadable(entry, &r)) return NULL;
    DType dtype = (DType)lk__safetensors_dtype_for(entry, wanted);
    bool aligned = entry->offset % (int64_t)lk_dtype_size(dtype) == 0;
    if (entry->bytes == 0 || !aligned || !is_as_it_lies(entry, dtype))
        return read_tensor(file, entry, wanted, &r);
    if (!map_file(file, &r)) return NULL;
    char *data = (char *)file->map + entry->offset;
    if (!check_bools(entry, dtype, (unsigned char *)data, &r)) return NULL;
    file->refs++;
    return lk_from_blob_new(dtype, entry->ndim, entry->shape, data, lk__safetensors_release_map,
                            file, err);
}

Tensor *lk_safetensors_view_new(SafeTensors *file, const SafeTensorsEntry *entry, Error *err)
{
    return lk__safetensors_view_for_new(file, entry, LK_F32, err);
}

StateDict *lk__safetensors_all_new(SafeTensors *f, int *widened, Error *err)
{
    const FileReport r = { "lk_load_safetensors", f->path, err, 0 };
    *widened = 0;
    StateDict *state = lk_state_dict_empty_new(err);
    bool ok = state;
    for (int i = 0; ok && i < f->count; i++) {
        const SafeTensorsEntry *e = &f->entries[i];
        Tensor *x = read_tensor(f, e, LK_F32, &r);
        ok = x && lk_state_dict_add(state, e->name, x, err);
        *widened += e->half;
    }
    if (ok) return state;
    lk_state_dict_free(state);
    return NULL;
}

StateDict *lk_load_safetensors(const char *path, Error *err)
{
    int widened;
    SafeTensors *f = lk__safetensors_open_for("lk_load_safetensors", path, err);
    StateDict *state = f ? lk__safetensors_all_new(f, &widened, err) : NULL;
    lk_safetensors_close(f);
    return state;
}
