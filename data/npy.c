/* npy.c - one array in a file. The format: data/npy_format.c. */
#include "data/npy.h"

#include "data/atomic_file.h"
#include "data/npy_parts.h"
#include "data/whole_file.h"

Tensor *lk_load_npy(const char *path, Error *err)
{
    const char *caller = "lk_load_npy";
    if (!path) {
        lk_error_set(err, LK_EVALUE, "%s: the path is NULL", caller);
        return NULL;
    }
    const FileReport report = { caller, path, err, 0 };
    WholeFile file = { 0 };
    bool ok = lk__read_whole_file(&file, &report);
    Tensor *x = ok ? lk__npy_tensor_new(file.bytes, file.size, NULL, &report) : NULL;
    lk__whole_file_free(&file);
    return x;
}

bool lk_save_npy(const Tensor *x, const char *path, Error *err)
{
    const char *caller = "lk_save_npy";
    if (!x || !path)
        return lk_error_set(err, LK_EVALUE, "%s: the %s is NULL", caller, x ? "path" : "tensor");
    char header[LK_NPY_HEADER];
    AtomicFile f;
    Tensor *whole = lk__npy_contiguous(x, err);
    if (!whole) return false;
    const size_t bytes = (size_t)lk_numel(whole) * lk_dtype_size(whole->dtype);
    bool ok = lk_atomic_begin(&f, caller, path, err) &&
              lk_atomic_write(&f, header, (size_t)lk__npy_header(whole, header)) &&
              (bytes == 0 || lk_atomic_write(&f, whole->data, bytes));
    ok = lk_atomic_end(&f, ok);
    lk_tensor_free(whole);
    return ok;
}
