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
#include <sys/stat.h>
#include <unistd.h>

#include "core/decimal.h"
#include "core/memory.h"
#include "data/half.h"

#ifdef LK_HAVE_JANSSON
#include <jansson.h>
#endif

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

static bool open_file(SafeTensors *f, const FileReport *r)
{
    /* Opening a pipe would wait for a writer; O_NONBLOCK changes nothing for files. */
    f->file = open(f->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    struct stat info;
    if (f->file < 0 || fstat(f->file, &info) != 0)
        return lk__file_fail(r, LK_EIO, "cannot be opened: %s", strerror(errno));
    if (S_ISDIR(info.st_mode)) return lk__file_fail(r, LK_EIO, "is a folder, not a file");
    if (!S_ISREG(info.st_mode)) return lk__file_fail(r, LK_EIO, "is not a regular file");
    f->size = info.st_size;
    return true;
}

bool lk__safetensors_read_at(const SafeTensors *f, void *out, int64_t size, int64_t offset,
                             const FileReport *r)
{
    for (char *p = out; size > 0;) {
        ssize_t got = pread(f->file, p, (size_t)size, offset);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return lk__file_fail(r, LK_EIO, "cannot be read: %s", strerror(errno));
        if (got == 0) return lk__file_fail(r, LK_EIO, "was shortened while it was read");
        p += got;
        offset += got;
        size -= got;
    }
    return true;
}

/* ---- the header ----------------------------------------------------------------------------- */

#ifdef LK_HAVE_JANSSON

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

static bool bad_json(const json_error_t *e, const FileReport *r)
{
    switch (json_error_code(e)) {
    case json_error_unknown: /* jansson leaves the code at 0 where it has no memory for a text */
    case json_error_out_of_memory: return lk__file_fail(r, LK_EMEMORY, "no memory for its header");
    case json_error_invalid_utf8:
        return lk__file_fail(r, LK_EFORMAT, "its header is not UTF-8: %.100s", e->text);
    case json_error_duplicate_key:
        return lk__file_fail(r, LK_EFORMAT, "its header says something twice: %.160s", e->text);
    case json_error_numeric_overflow:
        return lk__file_fail(r, LK_EFORMAT, "a number in its header is huge: %.160s", e->text);
    case json_error_null_character:
    case json_error_null_byte_in_key:
        return lk__file_fail(r, LK_EFORMAT, "a text in its header contains \\u0000");
    default:
        return lk__file_fail(r, LK_EFORMAT, "its header is not JSON: %.160s (byte %d)", e->text,
                             e->position);
    }
}

static bool parse_header(SafeTensors *f, int64_t length, const FileReport *r)
{
    char *text = lk_mem_alloc((size_t)length);
    if (!text)
        return lk__file_fail(r, LK_EMEMORY, "no memory for a header of %lld bytes",
                             (long long)length);
    bool ok = lk__safetensors_read_at(f, text, length, LENGTH, r);
    if (ok && text[0] != '{')
        ok =
            lk__file_fail(r, LK_EFORMAT, "its header is no JSON object: it does not begin with {");
    if (ok) {
        json_error_t error = { 0 };
        f->header = json_loadb(text, (size_t)length, JSON_REJECT_DUPLICATES, &error);
        ok = f->header || bad_json(&error, r);
    }
    lk_mem_free(text);
    return ok;
}

static bool check_metadata(json_t *metadata, const FileReport *r)
{
    if (!json_is_object(metadata))
        return lk__file_fail(r, LK_EFORMAT, "__metadata__ is no object");
    const char *key;
    json_t *value;
    json_object_foreach(metadata, key, value) if (!json_is_string(value)) return lk__file_fail(
        r, LK_EFORMAT, "__metadata__: \"%.100s\" is no text", key);
    return true;
}

/* Reads number i of a tensor's shape or data_offsets; -1, with the reason in err, when it is
 * negative or not whole. */
static int64_t read_size(const char *name, const char *field, json_t *list, size_t i,
                         const FileReport *r)
{
    json_t *number = json_array_get(list, i);
    int64_t value = json_is_integer(number) ? json_integer_value(number) : -1;
    if (!json_is_integer(number))
        lk__file_fail(r, LK_EFORMAT, "tensor \"%.100s\": number %zu of its %s is no whole number",
                      name, i, field);
    else if (value < 0)
        lk__file_fail(r, LK_EFORMAT, "tensor \"%.100s\": number %zu of its %s is negative: %lld",
                      name, i, field, (long long)value);
    return value < 0 ? -1 : value;
}

/* Checks that there are exactly the three fields, each of the right kind. */
static bool check_fields(const char *name, json_t *info, const FileReport *r)
{
    static const struct {
        const char *name, *kind;
        json_type type;
    } fields[] = { { "dtype", "text", JSON_STRING },
                   { "shape", "list", JSON_ARRAY },
                   { "data_offsets", "list", JSON_ARRAY } };
    enum { FIELDS = sizeof fields / sizeof *fields };
    if (!json_is_object(info))
        return lk__file_fail(r, LK_EFORMAT, "tensor \"%.100s\" is described by no object", name);
    for (int i = 0; i < FIELDS; i++) {
        json_t *field = json_object_get(info, fields[i].name);
        if (!field)
            return lk__file_fail(r, LK_EFORMAT, "tensor \"%.100s\" has no %s", name,
                                 fields[i].name);
        if (json_typeof(field) != fields[i].type)
            return lk__file_fail(r, LK_EFORMAT, "tensor \"%.100s\": its %s is no %s", name,
                                 fields[i].name, fields[i].kind);
    }
    const char *key;
    json_t *value;
    json_object_foreach(info, key, value)
    {
        int i = 0;
        while (i < FIELDS && strcmp(key, fields[i].name) != 0) i++;
        if (i == FIELDS)
            return lk__file_fail(r, LK_EFORMAT,
                                 "tensor \"%.100s\" has an unknown field \"%.100s\"", name, key);
    }
    return true;
}

/* bytes = product of the sizes · bits of an element / 8, every step checked. */
static bool check_size(const SafeTensorsEntry *e, const FileType *type, json_t *shape,
                       const FileReport *r)
{
    int64_t count = 1, bits;
    for (size_t i = 0; i < json_array_size(shape); i++) {
        int64_t size = read_size(e->name, "shape", shape, i, r);
        if (size < 0) return false;
        if (__builtin_mul_overflow(count, size, &count))
            return lk__file_fail(r, LK_EFORMAT,
                                 "tensor \"%.100s\": the product of its sizes overflows", e->name);
    }
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
static bool read_entry(SafeTensors *f, const char *name, json_t *info, int64_t data,
                       const FileReport *r)
{
    if (!check_fields(name, info, r)) return false;
    json_t *shape = json_object_get(info, "shape"),
           *offsets = json_object_get(info, "data_offsets");
    SafeTensorsEntry *e = &f->entries[f->count];
    *e = (SafeTensorsEntry){ .name = name,
                             .dtype = json_string_value(json_object_get(info, "dtype")) };
    const FileType *type = lk__safetensors_type(e->dtype);
    if (!type)
        return lk__file_fail(r, LK_EFORMAT, "tensor \"%.100s\": unknown dtype \"%.40s\"", name,
                             e->dtype);
    e->half = type->widen;

    if (json_array_size(offsets) != 2)
        return lk__file_fail(r, LK_EFORMAT,
                             "tensor \"%.100s\": its data_offsets are %zu numbers, not 2", name,
                             json_array_size(offsets));
    int64_t begin = read_size(name, "data_offsets", offsets, 0, r), room = f->size - data;
    int64_t end = begin < 0 ? -1 : read_size(name, "data_offsets", offsets, 1, r);
    if (end < 0) return false;
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

    e->ndim = (int)json_array_size(shape); /* the header's limit keeps it far below INT_MAX */
    for (int d = 0; d < e->ndim && d < LK_MAX_DIMS; d++)
        e->shape[d] = json_integer_value(json_array_get(shape, (size_t)d));
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
    size_t count = json_object_size(f->header);
    f->entries = lk_mem_calloc(count ? count : 1, sizeof *f->entries);
    if (!f->entries) return lk__file_fail(r, LK_EMEMORY, "no memory for %zu tensors", count);
    const char *key;
    json_t *value;
    json_object_foreach(f->header, key, value)
    {
        bool metadata = strcmp(key, "__metadata__") == 0;
        if (!(metadata ? check_metadata(value, r) : read_entry(f, key, value, LENGTH + length, r)))
            return false;
    }
    qsort(f->entries, (size_t)f->count, sizeof *f->entries, by_offset);
    return check_cover(f, LENGTH + length, r);
}

const char *lk_safetensors_metadata(const SafeTensors *file, const char *key)
{
    return file ? json_string_value(
                      json_object_get(json_object_get(file->header, "__metadata__"), key))
                : NULL;
}

static void free_header(SafeTensors *f) { json_decref(f->header); }

#else

static bool read_header(SafeTensors *f, const FileReport *r)
{
    (void)f;
    return lk__file_fail(
        r, LK_ESTATE, "cannot be read: Lorikeet was built without jansson (LORIKEET_JANSSON=ON)");
}

const char *lk_safetensors_metadata(const SafeTensors *file, const char *key)
{
    (void)file, (void)key;
    return NULL;
}

static void free_header(SafeTensors *f) { (void)f; }

#endif

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
    if (file->file >= 0) close(file->file); /* a map stays valid after that */
    free_header(file);
    lk_mem_free(file->entries);
    lk__safetensors_release_map(file);
}

const SafeTensorsEntry *lk_safetensors_find(const SafeTensors *file, const char *name)
{
    for (int i = 0; file && name && i < file->count; i++)
        if (strcmp(file->entries[i].name, name) == 0) return &file->entries[i];
    return NULL;
}
