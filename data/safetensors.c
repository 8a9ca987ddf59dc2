/* safetensors.c - opens safetensors files, and says what is wrong with bad ones. Their tensors:
 * data/safetensors_read.c. Writing: data/safetensors_write.c. Modules: data/safetensors_module.c.
 *
 *     8 bytes     N, the length of the header, little-endian
 *     N bytes     JSON: {"__metadata__":{"format":"pt"},
 *                        "name":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},…}
 *     the rest    the elements; the tensors, sorted by offset, cover it without hole or overlap
 *
 * A header is never trusted: every number is compared with the file's size before it is used for
 * reading. */
#include "data/safetensors_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "core/decimal.h"
#include "core/memory.h"
#include "data/half.h"
#include "data/io.h"
#include "data/json.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "elements are copied as they lie in the file: little-endian");

const FileType *lk__safetensors_type(const char *name)
{
    enum { NONE = -1 };
    static const FileType types[] = {
        /* clang-format off */
        { "F32", 32, LK_F32, NULL },       { "F64", 64, LK_F64, NULL },
        { "F16", 16, LK_F32, lk__widen_f16 }, { "BF16", 16, LK_F32, lk__widen_bf16 },
        { "I64", 64, LK_I64, NULL },       { "U8", 8, LK_U8, NULL },
        { "BOOL", 8, LK_BOOL, NULL },      { "I8", 8, NONE, NULL },
        { "I16", 16, NONE, NULL },         { "U16", 16, NONE, NULL },
        { "I32", 32, NONE, NULL },         { "U32", 32, NONE, NULL },
        { "U64", 64, NONE, NULL },         { "C64", 64, NONE, NULL },
        { "F8_E4M3", 8, NONE, NULL },      { "F8_E5M2", 8, NONE, NULL },
        { "F8_E8M0", 8, NONE, NULL },      { "F8_E4M3FNUZ", 8, NONE, NULL },
        { "F8_E5M2FNUZ", 8, NONE, NULL },  { "F6_E2M3", 6, NONE, NULL },
        { "F6_E3M2", 6, NONE, NULL },      { "F4", 4, NONE, NULL },
        /* clang-format on */
    };
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strcmp(types[i].name, name) == 0) return &types[i];
    return NULL;
}

/* ---- the file ------------------------------------------------------------------------------- */

_Static_assert(sizeof(off_t) >= 8, "files may be larger than memory: -D_FILE_OFFSET_BITS=64");

static bool open_file(SafeTensors *f, const FileReport *r)
{
    /* Opening a pipe would wait for a writer; O_NONBLOCK changes nothing for files. */
    f->file = lk__io_open(f->path, O_RDONLY | O_NONBLOCK);
    struct stat info;
    if (f->file < 0 || lk__io->fstat(f->file, &info) != 0)
        return lk__file_fail(r, LK_EIO, "cannot be opened: %s", strerror(errno));
    if (S_ISDIR(info.st_mode)) return lk__file_fail(r, LK_EIO, "is a folder, not a file");
    if (!S_ISREG(info.st_mode)) return lk__file_fail(r, LK_EIO, "is not a regular file");
    f->size = info.st_size;
    return true;
}

bool lk__safetensors_read_at(const SafeTensors *f, void *out, int64_t size, int64_t offset,
                             const FileReport *r)
{
    int64_t got = lk__io_read(f->file, out, (size_t)size, offset);
    if (got < 0) return lk__file_fail(r, LK_EIO, "cannot be read: %s", strerror(errno));
    return got == size || lk__file_fail(r, LK_EIO, "was shortened while it was read");
}

/* ---- the header ----------------------------------------------------------------------------- */

enum { LENGTH = 8 }; /* bytes of N */

/* Reads N, and guesses what the file is when N is impossible. */
static bool read_length(const SafeTensors *f, int64_t *length, const FileReport *r)
{
    unsigned char bytes[LENGTH];
    if (f->size < LENGTH)
        return lk__file_fail(
            r, LK_EFORMAT,
            "has only %lld bytes; a safetensors file begins with 8, the length of its header",
            (long long)f->size);
    if (!lk__safetensors_read_at(f, bytes, LENGTH, 0, r)) return false;
    if (memcmp(bytes, "version ", LENGTH) == 0)
        return lk__file_fail(
            r, LK_EFORMAT,
            "is a pointer of Git LFS, not the file itself: fetch it with git lfs pull");
    uint64_t n = 0;
    for (int i = LENGTH; i-- > 0;) n = n << 8 | bytes[i];
    if (n > LK_SAFETENSORS_HEADER_MAX)
        return lk__file_fail(
            r, LK_EFORMAT,
            "announces a header of %llu bytes, above the limit of %d: no safetensors file",
            (unsigned long long)n, LK_SAFETENSORS_HEADER_MAX);
    if (n == 0)
        return lk__file_fail(r, LK_EFORMAT, "announces a header of 0 bytes: no safetensors file");
    *length = (int64_t)n;
    if (*length > f->size - LENGTH)
        return lk__file_fail(
            r, LK_EFORMAT, "announces a header of %lld bytes, but has only %lld after its length",
            (long long)*length, (long long)(f->size - LENGTH));
    return true;
}

static bool parse_header(SafeTensors *f, int64_t length, const FileReport *r)
{
    char *text = lk_mem_alloc((size_t)length + 1);
    if (!text)
        return lk__file_fail(r, LK_EMEMORY, "no memory for a header of %lld bytes",
                             (long long)length);
    text[length] = '\0';
    bool ok = lk__safetensors_read_at(f, text, length, LENGTH, r);
    if (ok && text[0] != '{')
        ok =
            lk__file_fail(r, LK_EFORMAT, "its header is no JSON object: it does not begin with {");
    if (ok) f->header = lk__json_new(text, (size_t)length, "its header ", r);
    lk_mem_free(text);
    return f->header != NULL;
}

static bool check_metadata(const Json *metadata, const FileReport *r)
{
    if (metadata->kind != JSON_OBJECT)
        return lk__file_fail(r, LK_EFORMAT, "__metadata__ is no object");
    for (const Json *value = NULL; (value = lk__json_next(metadata, value));)
        if (value->kind != JSON_TEXT)
            return lk__file_fail(r, LK_EFORMAT, "__metadata__: \"%.100s\" is no text", value->key);
    return true;
}

/* Checks that a tensor's shape or data_offsets hold whole numbers from 0 on. */
static bool check_numbers(const char *name, const Json *list, const FileReport *r)
{
    int i = 0;
    for (const Json *number = NULL; (number = lk__json_next(list, number)); i++)
        if (number->kind != JSON_INTEGER)
            return lk__file_fail(r, LK_EFORMAT,
                                 "tensor \"%.100s\": number %d of its %s is no whole number", name,
                                 i, list->key);
        else if (number->integer < 0)
            return lk__file_fail(r, LK_EFORMAT,
                                 "tensor \"%.100s\": number %d of its %s is negative: %lld", name,
                                 i, list->key, (long long)number->integer);
    return true;
}

/* Checks that there are exactly the three fields, each of the right kind. */
static bool check_fields(const Json *info, const FileReport *r)
{
    static const struct {
        const char *name, *kind;
        JsonKind type;
    } fields[] = { { "dtype", "text", JSON_TEXT },
                   { "shape", "list", JSON_LIST },
                   { "data_offsets", "list", JSON_LIST } };
    enum { FIELDS = sizeof fields / sizeof *fields };
    const char *name = info->key;
    if (info->kind != JSON_OBJECT)
        return lk__file_fail(r, LK_EFORMAT, "tensor \"%.100s\" is described by no object", name);
    for (int i = 0; i < FIELDS; i++) {
        const Json *field = lk__json_get(info, fields[i].name);
        if (!field)
            return lk__file_fail(r, LK_EFORMAT, "tensor \"%.100s\" has no %s", name,
                                 fields[i].name);
        if (field->kind != fields[i].type)
            return lk__file_fail(r, LK_EFORMAT, "tensor \"%.100s\": its %s is no %s", name,
                                 fields[i].name, fields[i].kind);
    }
    for (const Json *field = NULL; (field = lk__json_next(info, field));) {
        int i = 0;
        while (i < FIELDS && strcmp(field->key, fields[i].name) != 0) i++;
        if (i == FIELDS)
            return lk__file_fail(r, LK_EFORMAT,
                                 "tensor \"%.100s\" has an unknown field \"%.100s\"", name,
                                 field->key);
    }
    return true;
}

/* bytes = product of the sizes · bits of an element / 8, every step checked. */
static bool check_size(const SafeTensorsEntry *e, const FileType *type, const Json *shape,
                       const FileReport *r)
{
    int64_t count = 1, bits;
    for (const Json *size = NULL; (size = lk__json_next(shape, size));)
        if (__builtin_mul_overflow(count, size->integer, &count))
            return lk__file_fail(r, LK_EFORMAT,
                                 "tensor \"%.100s\": the product of its sizes overflows", e->name);
    if (__builtin_mul_overflow(count, type->bits, &bits))
        return lk__file_fail(r, LK_EFORMAT, "tensor \"%.100s\": its size in bits overflows",
                             e->name);
    if (bits % 8 != 0)
        return lk__file_fail(r, LK_EFORMAT,
                             "tensor \"%.100s\": %lld elements of %s do not fill whole bytes",
                             e->name, (long long)count, type->name);
    return bits / 8 == e->bytes ||
           lk__file_fail(
               r, LK_EFORMAT,
               "tensor \"%.100s\": %lld elements of %s are %lld bytes, its data_offsets hold %lld",
               e->name, (long long)count, type->name, (long long)(bits / 8), (long long)e->bytes);
}

/* Reads the description of a tensor. data: the place in the file where the elements begin. */
static bool read_entry(SafeTensors *f, const Json *info, int64_t data, const FileReport *r)
{
    if (!check_fields(info, r)) return false;
    const char *name = info->key;
    const Json *shape = lk__json_get(info, "shape"), *offsets = lk__json_get(info, "data_offsets");
    SafeTensorsEntry *e = &f->entries[f->count];
    *e = (SafeTensorsEntry){ .name = name, .dtype = lk__json_text(lk__json_get(info, "dtype")) };
    const FileType *type = lk__safetensors_type(e->dtype);
    if (!type)
        return lk__file_fail(r, LK_EFORMAT, "tensor \"%.100s\": unknown dtype \"%.40s\"", name,
                             e->dtype);
    e->half = type->widen;

    if (lk__json_count(offsets) != 2)
        return lk__file_fail(r, LK_EFORMAT,
                             "tensor \"%.100s\": its data_offsets are %zu numbers, not 2", name,
                             lk__json_count(offsets));
    if (!check_numbers(name, offsets, r) || !check_numbers(name, shape, r)) return false;
    const Json *first = lk__json_next(offsets, NULL);
    const int64_t begin = first->integer, end = lk__json_next(offsets, first)->integer;
    const int64_t room = f->size - data;
    if (begin > end)
        return lk__file_fail(r, LK_EFORMAT,
                             "tensor \"%.100s\": its data_offsets [%lld, %lld] are reversed", name,
                             (long long)begin, (long long)end);
    if (end > room)
        return lk__file_fail(
            r, LK_EFORMAT,
            "tensor \"%.100s\": its data_offsets [%lld, %lld] go beyond the %lld bytes of data",
            name, (long long)begin, (long long)end, (long long)room);
    e->offset = data + begin;
    e->bytes = end - begin;
    if (!check_size(e, type, shape, r)) return false;

    for (const Json *size = NULL; (size = lk__json_next(shape, size)); e->ndim++)
        if (e->ndim < LK_MAX_DIMS) e->shape[e->ndim] = size->integer;
    f->count++;
    return true;
}

/* Orders by offset; at the same offset tensors without elements come first. */
static int by_offset(const void *a, const void *b)
{
    const SafeTensorsEntry *x = a, *y = b;
    if (x->offset != y->offset) return x->offset < y->offset ? -1 : 1;
    if (x->bytes != y->bytes) return x->bytes < y->bytes ? -1 : 1;
    return strcmp(x->name, y->name);
}

static bool check_cover(const SafeTensors *f, int64_t data, const FileReport *r)
{
    int64_t covered = data;
    for (int i = 0; i < f->count; i++) {
        const SafeTensorsEntry *e = &f->entries[i];
        if (e->offset > covered)
            return lk__file_fail(r, LK_EFORMAT,
                                 "a hole: no tensor has the %lld bytes before tensor \"%.100s\"",
                                 (long long)(e->offset - covered), e->name);
        if (e->offset < covered)
            return lk__file_fail(r, LK_EFORMAT, "tensors \"%.100s\" and \"%.100s\" overlap",
                                 f->entries[i - 1].name, e->name);
        covered = e->offset + e->bytes;
    }
    return covered == f->size ||
           lk__file_fail(r, LK_EFORMAT, "has %lld bytes after its last tensor",
                         (long long)(f->size - covered));
}

static bool read_header(SafeTensors *f, const FileReport *r)
{
    int64_t length = 0;
    if (!read_length(f, &length, r) || !parse_header(f, length, r)) return false;
    size_t count = lk__json_count(f->header);
    f->entries = lk_mem_calloc(count ? count : 1, sizeof *f->entries);
    if (!f->entries) return lk__file_fail(r, LK_EMEMORY, "no memory for %zu tensors", count);
    for (const Json *item = NULL; (item = lk__json_next(f->header, item));) {
        bool metadata = strcmp(item->key, "__metadata__") == 0;
        if (!(metadata ? check_metadata(item, r) : read_entry(f, item, LENGTH + length, r)))
            return false;
    }
    qsort(f->entries, (size_t)f->count, sizeof *f->entries, by_offset);
    return check_cover(f, LENGTH + length, r);
}

const char *lk_safetensors_metadata(const SafeTensors *file, const char *key)
{
    if (!file || !key) return NULL;
    return lk__json_text(lk__json_get(lk__json_get(file->header, "__metadata__"), key));
}

/* ---- opening -------------------------------------------------------------------------------- */

SafeTensors *lk__safetensors_open_for(const char *caller, const char *path, Error *err)
{
    if (!path) {
        lk_error_set(err, LK_EVALUE, "%s: the path is NULL", caller);
        return NULL;
    }
    const FileReport r = { caller, path, err, 0 };
    size_t bytes = strlen(path) + 1;
    SafeTensors *f = lk_mem_calloc(1, sizeof *f + bytes);
    if (!f) {
        lk__file_fail(&r, LK_EMEMORY, "no memory to open it");
        return NULL;
    }
    f->path = memcpy(f + 1, path, bytes); /* behind the struct: one block */
    f->file = -1;
    f->refs = 1;
    if (open_file(f, &r) && read_header(f, &r)) return f;
    lk_safetensors_close(f);
    return NULL;
}

SafeTensors *lk_safetensors_open(const char *path, Error *err)
{
    return lk__safetensors_open_for("lk_safetensors_open", path, err);
}

void lk__safetensors_release_map(void *holder)
{
    SafeTensors *f = holder;
    if (--f->refs > 0) return;
    if (f->map) munmap(f->map, (size_t)f->size);
    lk_mem_free(f);
}

void lk_safetensors_close(SafeTensors *file)
{
    if (!file) return;
    if (file->file >= 0) lk__io_close(file->file); /* a map stays valid after that */
    lk_mem_free(file->header);
    lk_mem_free(file->entries);
    lk__safetensors_release_map(file);
}

const SafeTensorsEntry *lk_safetensors_find(const SafeTensors *file, const char *name)
{
    for (int i = 0; file && name && i < file->count; i++)
        if (strcmp(file->entries[i].name, name) == 0) return &file->entries[i];
    return NULL;
}
