/* safetensors.c - reads safetensors files, and says what is wrong with the others. Writing:
 * data/safetensors_write.c. Modules: data/safetensors_module.c.
 *
 *     8 bytes     N, the length of the header, little-endian
 *     N bytes     JSON: {"__metadata__":{"format":"pt"},"name":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},…}
 *     the rest    the elements; sorted by their offsets the tensors cover all of it, without a hole or an overlap
 *
 * Nothing in a header is believed: every number is compared with what the file holds before
 * anything is read by it. */
#include "data/safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
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

/* For messages: "lk_load_safetensors: PATH: …". */
typedef struct Report {
    const char *caller, *path;
    Error *err;
} Report;

static bool LK_PRINTF(3, 4) fail(const Report *r, ErrorCode code, const char *format, ...)
{
    char text[384];
    va_list args;
    va_start(args, format);
    lk_vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return lk_error_set(r->err, code, "%s: %.200s: %s", r->caller, r->path, text);
}

/* The types of the format, with the bits of an element; those that Lorikeet has, or can have as
 * float32, among them. */
typedef struct FileType {
    const char *name;
    int bits;
    int dtype; /* a DType, or NONE */
    /* NULL: the elements are those of dtype */
    void (*widen)(float *to, const void *from, int64_t n);
} FileType;

static const FileType *find_type(const char *name)
{
    enum { NONE = -1 };
    static const FileType types[] = {
        /* clang-format off */
        { "F32", 32, LK_F32, NULL },       { "F64", 64, LK_F64, NULL },
        { "F16", 16, LK_F32, lk_widen_f16 }, { "BF16", 16, LK_F32, lk_widen_bf16 },
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

static bool open_file(SafeTensors *f, const Report *r)
{
    /* Opening a pipe would wait for a writer; O_NONBLOCK changes nothing for files. */
    f->file = open(f->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    struct stat info;
    if (f->file < 0 || fstat(f->file, &info) != 0)
        return fail(r, LK_EIO, "cannot be opened: %s", strerror(errno));
    if (S_ISDIR(info.st_mode)) return fail(r, LK_EIO, "is a folder, not a file");
    if (!S_ISREG(info.st_mode)) return fail(r, LK_EIO, "is not a regular file");
    f->size = info.st_size;
    return true;
}

static bool read_at(const SafeTensors *f, void *out, int64_t size, int64_t offset, const Report *r)
{
    for (char *p = out; size > 0;) {
        ssize_t got = pread(f->file, p, (size_t)size, offset);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return fail(r, LK_EIO, "cannot be read: %s", strerror(errno));
        if (got == 0) return fail(r, LK_EIO, "was shortened while it was read");
        p += got, offset += got, size -= got;
    }
    return true;
}

/* ---- the header ----------------------------------------------------------------------------- */

#ifdef LK_HAVE_JANSSON

enum { LENGTH = 8 }; /* bytes of N */

/* N, with a guess at what the file is when it cannot be one. */
static bool read_length(const SafeTensors *f, int64_t *length, const Report *r)
{
    unsigned char bytes[LENGTH];
    if (f->size < LENGTH)
        return fail(
            r, LK_EFORMAT,
            "has only %lld bytes; a safetensors file begins with 8, the length of its header",
            (long long)f->size);
    if (!read_at(f, bytes, LENGTH, 0, r)) return false;
    if (memcmp(bytes, "version ", LENGTH) == 0)
        return fail(r, LK_EFORMAT,
                    "is a pointer of Git LFS, not the file itself: fetch it with git lfs pull");
    uint64_t n = 0;
    for (int i = LENGTH; i-- > 0;) n = n << 8 | bytes[i];
    if (n > LK_SAFETENSORS_HEADER_MAX)
        return fail(r, LK_EFORMAT,
                    "announces a header of %llu bytes, above the limit of %d: no safetensors file",
                    (unsigned long long)n, LK_SAFETENSORS_HEADER_MAX);
    if (n == 0) return fail(r, LK_EFORMAT, "announces a header of 0 bytes: no safetensors file");
    *length = (int64_t)n;
    if (*length > f->size - LENGTH)
        return fail(r, LK_EFORMAT,
                    "announces a header of %lld bytes, but has only %lld after its length",
                    (long long)*length, (long long)(f->size - LENGTH));
    return true;
}

static bool bad_json(const json_error_t *e, const Report *r)
{
    switch (json_error_code(e)) {
    case json_error_unknown: /* jansson has no message of its own for this */
    case json_error_out_of_memory: return fail(r, LK_EMEMORY, "no memory for its header");
    case json_error_invalid_utf8:
        return fail(r, LK_EFORMAT, "its header is not UTF-8: %.100s", e->text);
    case json_error_duplicate_key:
        return fail(r, LK_EFORMAT, "its header says something twice: %.160s", e->text);
    case json_error_numeric_overflow:
        return fail(r, LK_EFORMAT, "a number in its header is huge: %.160s", e->text);
    case json_error_null_character:
    case json_error_null_byte_in_key:
        return fail(r, LK_EFORMAT, "a text in its header contains \\u0000");
    default:
        return fail(r, LK_EFORMAT, "its header is not JSON: %.160s (byte %d)", e->text,
                    e->position);
    }
}

static bool parse_header(SafeTensors *f, int64_t length, const Report *r)
{
    char *text = lk_mem_alloc((size_t)length);
    if (!text)
        return fail(r, LK_EMEMORY, "no memory for a header of %lld bytes", (long long)length);
    bool ok = read_at(f, text, length, LENGTH, r);
    if (ok && text[0] != '{')
        ok = fail(r, LK_EFORMAT, "its header is no JSON object: it does not begin with {");
    if (ok) {
        json_error_t error;
        f->header = json_loadb(text, (size_t)length, JSON_REJECT_DUPLICATES, &error);
        ok = f->header || bad_json(&error, r);
    }
    lk_mem_free(text);
    return ok;
}

static bool check_metadata(json_t *metadata, const Report *r)
{
    if (!json_is_object(metadata)) return fail(r, LK_EFORMAT, "__metadata__ is no object");
    const char *key;
    json_t *value;
    json_object_foreach(metadata, key, value) if (!json_is_string(value)) return fail(
        r, LK_EFORMAT, "__metadata__: \"%.100s\" is no text", key);
    return true;
}

/* Number i of a tensor's shape or data_offsets; -1, and the reason in err, when it is not whole or
 * negative. */
static int64_t read_size(const char *name, const char *field, json_t *list, size_t i,
                         const Report *r)
{
    json_t *number = json_array_get(list, i);
    int64_t value = json_is_integer(number) ? json_integer_value(number) : -1;
    if (!json_is_integer(number))
        fail(r, LK_EFORMAT, "tensor \"%.100s\": number %zu of its %s is no whole number", name, i,
             field);
    else if (value < 0)
        fail(r, LK_EFORMAT, "tensor \"%.100s\": number %zu of its %s is negative: %lld", name, i,
             field, (long long)value);
    return value < 0 ? -1 : value;
}

/* Exactly the three fields, of the right kind. */
static bool check_fields(const char *name, json_t *info, const Report *r)
{
    static const struct {
        const char *name, *kind;
        json_type type;
    } fields[] = { { "dtype", "text", JSON_STRING },
                   { "shape", "list", JSON_ARRAY },
                   { "data_offsets", "list", JSON_ARRAY } };
    enum { FIELDS = sizeof fields / sizeof *fields };
    if (!json_is_object(info))
        return fail(r, LK_EFORMAT, "tensor \"%.100s\" is described by no object", name);
    for (int i = 0; i < FIELDS; i++) {
        json_t *field = json_object_get(info, fields[i].name);
        if (!field)
            return fail(r, LK_EFORMAT, "tensor \"%.100s\" has no %s", name, fields[i].name);
        if (json_typeof(field) != fields[i].type)
            return fail(r, LK_EFORMAT, "tensor \"%.100s\": its %s is no %s", name, fields[i].name,
                        fields[i].kind);
    }
    const char *key;
    json_t *value;
    json_object_foreach(info, key, value)
    {
        int i = 0;
        while (i < FIELDS && strcmp(key, fields[i].name) != 0) i++;
        if (i == FIELDS)
            return fail(r, LK_EFORMAT, "tensor \"%.100s\" has an unknown field \"%.100s\"", name,
                        key);
    }
    return true;
}

/* bytes = product of the sizes · bits of an element / 8, every step checked. */
static bool check_size(const SafeTensor *e, const FileType *type, json_t *shape, const Report *r)
{
    int64_t count = 1, bits;
    for (size_t i = 0; i < json_array_size(shape); i++) {
        int64_t size = read_size(e->name, "shape", shape, i, r);
        if (size < 0) return false;
        if (__builtin_mul_overflow(count, size, &count))
            return fail(r, LK_EFORMAT, "tensor \"%.100s\": the product of its sizes overflows",
                        e->name);
    }
    if (__builtin_mul_overflow(count, type->bits, &bits))
        return fail(r, LK_EFORMAT, "tensor \"%.100s\": its size in bits overflows", e->name);
    if (bits % 8 != 0)
        return fail(r, LK_EFORMAT,
                    "tensor \"%.100s\": %lld elements of %s do not fill whole bytes", e->name,
                    (long long)count, type->name);
    return bits / 8 == e->bytes ||
           fail(
               r, LK_EFORMAT,
               "tensor \"%.100s\": %lld elements of %s are %lld bytes, its data_offsets hold %lld",
               e->name, (long long)count, type->name, (long long)(bits / 8), (long long)e->bytes);
}

/* data: where the elements begin in the file. */
static bool read_entry(SafeTensors *f, const char *name, json_t *info, int64_t data,
                       const Report *r)
{
    if (!check_fields(name, info, r)) return false;
    json_t *shape = json_object_get(info, "shape"),
           *offsets = json_object_get(info, "data_offsets");
    SafeTensor *e = &f->entries[f->count];
    *e = (SafeTensor){ .name = name, .dtype = json_string_value(json_object_get(info, "dtype")) };
    const FileType *type = find_type(e->dtype);
    if (!type)
        return fail(r, LK_EFORMAT, "tensor \"%.100s\": unknown dtype \"%.40s\"", name, e->dtype);
    e->half = type->widen;

    if (json_array_size(offsets) != 2)
        return fail(r, LK_EFORMAT, "tensor \"%.100s\": its data_offsets are %zu numbers, not 2",
                    name, json_array_size(offsets));
    int64_t begin = read_size(name, "data_offsets", offsets, 0, r), room = f->size - data;
    int64_t end = begin < 0 ? -1 : read_size(name, "data_offsets", offsets, 1, r);
    if (end < 0) return false;
    if (begin > end)
        return fail(r, LK_EFORMAT, "tensor \"%.100s\": its data_offsets [%lld, %lld] are reversed",
                    name, (long long)begin, (long long)end);
    if (end > room)
        return fail(
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

/* By offset; at the same place those without elements first. */
static int by_offset(const void *a, const void *b)
{
    const SafeTensor *x = a, *y = b;
    if (x->offset != y->offset) return x->offset < y->offset ? -1 : 1;
    if (x->bytes != y->bytes) return x->bytes < y->bytes ? -1 : 1;
    return strcmp(x->name, y->name);
}

static bool check_cover(const SafeTensors *f, int64_t data, const Report *r)
{
    int64_t covered = data;
    for (int i = 0; i < f->count; i++) {
        const SafeTensor *e = &f->entries[i];
        if (e->offset > covered)
            return fail(r, LK_EFORMAT,
                        "a hole: no tensor has the %lld bytes before tensor \"%.100s\"",
                        (long long)(e->offset - covered), e->name);
        if (e->offset < covered)
            return fail(r, LK_EFORMAT, "tensors \"%.100s\" and \"%.100s\" overlap",
                        f->entries[i - 1].name, e->name);
        covered = e->offset + e->bytes;
    }
    return covered == f->size || fail(r, LK_EFORMAT, "has %lld bytes after its last tensor",
                                      (long long)(f->size - covered));
}

static bool read_header(SafeTensors *f, const Report *r)
{
    int64_t length = 0;
    if (!read_length(f, &length, r) || !parse_header(f, length, r)) return false;
    size_t count = json_object_size(f->header);
    f->entries = lk_mem_calloc(count ? count : 1, sizeof *f->entries);
    if (!f->entries) return fail(r, LK_EMEMORY, "no memory for %zu tensors", count);
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

static bool read_header(SafeTensors *f, const Report *r)
{
    (void)f;
    return fail(r, LK_ESTATE,
                "cannot be read: Lorikeet was built without jansson (LORIKEET_JANSSON=ON)");
}

const char *lk_safetensors_metadata(const SafeTensors *file, const char *key)
{
    (void)file, (void)key;
    return NULL;
}

static void free_header(SafeTensors *f) { (void)f; }

#endif

/* ---- opening -------------------------------------------------------------------------------- */

static SafeTensors *open_for(const char *caller, const char *path, Error *err)
{
    if (!path) {
        lk_error_set(err, LK_EVALUE, "%s: the path is NULL", caller);
        return NULL;
    }
    const Report r = { caller, path, err };
    size_t bytes = strlen(path) + 1;
    SafeTensors *f = lk_mem_calloc(1, sizeof *f + bytes);
    if (!f) {
        fail(&r, LK_EMEMORY, "no memory to open it");
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
    return open_for("lk_safetensors_open", path, err);
}

/* One less needs the map. */
static void release_map(void *holder)
{
    SafeTensors *f = holder;
    if (--f->refs > 0) return;
    if (f->map) munmap(f->map, (size_t)f->size);
    lk_mem_free(f);
}

void lk_safetensors_close(SafeTensors *file)
{
    if (!file) return;
    if (file->file >= 0) close(file->file); /* a map stays without it */
    free_header(file);
    lk_mem_free(file->entries);
    release_map(file);
}

const SafeTensor *lk_safetensors_find(const SafeTensors *file, const char *name)
{
    for (int i = 0; file && name && i < file->count; i++)
        if (strcmp(file->entries[i].name, name) == 0) return &file->entries[i];
    return NULL;
}

/* ---- tensors -------------------------------------------------------------------------------- */

/* Whether a Tensor can be it. */
static bool loadable(const SafeTensor *e, const Report *r)
{
    if (find_type(e->dtype)->dtype < 0)
        return fail(
            r, LK_EDTYPE,
            "tensor \"%.100s\" is %.40s; only F64, F32, F16, BF16, I64, U8 and BOOL can be loaded",
            e->name, e->dtype);
    if (e->ndim > LK_MAX_DIMS)
        return fail(r, LK_ESHAPE, "tensor \"%.100s\" has %d dimensions; 0 to %d are possible",
                    e->name, e->ndim, LK_MAX_DIMS);
    return true;
}

/* C's bool has two values; any other byte would not be one of them. */
static bool check_bools(const SafeTensor *e, DType dtype, const unsigned char *bytes,
                        const Report *r)
{
    for (int64_t i = 0; dtype == LK_BOOL && i < e->bytes; i++)
        if (bytes[i] > 1)
            return fail(r, LK_EFORMAT, "tensor \"%.100s\": element %lld is %d; a BOOL is 0 or 1",
                        e->name, (long long)i, bytes[i]);
    return true;
}

/* The elements of e into x, which is empty. In half precision they are read into the second half
 * of x. */
static bool read_elements(SafeTensors *f, const SafeTensor *e, Tensor *x, const Report *r)
{
    const FileType *type = find_type(e->dtype);
    if (e->bytes == 0) return true;
    char *to = (char *)x->data + (type->widen ? e->bytes : 0);
    if (!read_at(f, to, e->bytes, e->offset, r)) return false;
    if (type->widen) type->widen(x->data, to, lk_numel(x));
    return check_bools(e, x->dtype, x->data, r);
}

static Tensor *read_tensor(SafeTensors *f, const SafeTensor *e, const Report *r)
{
    if (!loadable(e, r)) return NULL;
    Error cause = { 0 };
    Tensor *x = lk_tensor_new((DType)find_type(e->dtype)->dtype, e->ndim, e->shape, &cause);
    if (!x) fail(r, cause.code, "tensor \"%.100s\": %s", e->name, cause.message);
    if (x && read_elements(f, e, x, r)) return x;
    lk_tensor_free(x);
    return NULL;
}

static bool has(const SafeTensors *file, const SafeTensor *entry, const char *function, Error *err)
{
    return (file && entry) ||
           lk_error_set(err, LK_EVALUE, "%s: the %s is NULL", function, file ? "entry" : "file");
}

Tensor *lk_safetensors_read_new(SafeTensors *file, const SafeTensor *entry, Error *err)
{
    const char *function = "lk_safetensors_read_new";
    if (!has(file, entry, function, err)) return NULL;
    return read_tensor(file, entry, &(const Report){ function, file->path, err });
}

/* All of the file, once. Private: writing to a page copies it. */
static bool map_file(SafeTensors *f, const Report *r)
{
    if (f->map) return true;
    void *map = mmap(NULL, (size_t)f->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE,
                     f->file, 0);
    if (map == MAP_FAILED)
        return fail(r, LK_EIO, "cannot be mapped into memory: %s", strerror(errno));
    f->map = map;
    return true;
}

Tensor *lk_safetensors_view_new(SafeTensors *file, const SafeTensor *entry, Error *err)
{
    const char *function = "lk_safetensors_view_new";
    if (!has(file, entry, function, err)) return NULL;
    const Report r = { function, file->path, err };
    if (!loadable(entry, &r)) return NULL;
    DType dtype = (DType)find_type(entry->dtype)->dtype;
    bool aligned = entry->offset % (int64_t)lk_dtype_size(dtype) == 0;
    if (entry->bytes == 0 || entry->half || !aligned) return read_tensor(file, entry, &r);
    if (!map_file(file, &r)) return NULL;
    char *data = (char *)file->map + entry->offset;
    if (!check_bools(entry, dtype, (unsigned char *)data, &r)) return NULL;
    file->refs++;
    return lk_from_blob_new(dtype, entry->ndim, entry->shape, data, release_map, file, err);
}

StateDict *lk_safetensors_all_new(SafeTensors *f, int *widened, Error *err)
{
    const Report r = { "lk_load_safetensors", f->path, err };
    *widened = 0;
    StateDict *state = lk_state_dict_empty_new(err);
    bool ok = state;
    for (int i = 0; ok && i < f->count; i++) {
        const SafeTensor *e = &f->entries[i];
        Tensor *x = read_tensor(f, e, &r);
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
    SafeTensors *f = open_for("lk_load_safetensors", path, err);
    StateDict *state = f ? lk_safetensors_all_new(f, &widened, err) : NULL;
    lk_safetensors_close(f);
    return state;
}
