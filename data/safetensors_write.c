/* safetensors_write.c - writes safetensors files, byte for byte as the reference implementation
 * does. The format, and reading it: data/safetensors.c. data/atomic_file.c replaces
 * the file. */
#include "data/safetensors.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "core/decimal.h"
#include "core/memory.h"
#include "data/atomic_file.h"
#include "data/file_report.h"
#include "data/utf8.h"

/* One call of a function that saves. */
typedef struct Job {
    FileReport report;
    const Metadata *metadata;
    const StateEntry *const *order; /* the tensors as they are written */
    int count;
} Job;

/* Larger elements first, so that every tensor is aligned; among equal sizes in the reference's
 * order. */
static const struct {
    const char *name;
    int rank;
} file_types[] = {
    [LK_I64] = { "I64", 0 }, [LK_F64] = { "F64", 1 },   [LK_F32] = { "F32", 2 },
    [LK_U8] = { "U8", 3 },   [LK_BOOL] = { "BOOL", 4 },
};

/* ---- checks --------------------------------------------------------------------------------- */

static bool check_metadata(const Job *job)
{
    const Metadata *metadata = job->metadata;
    for (int i = 0; metadata && i < metadata->count; i++) {
        const MetadataEntry *e = &metadata->entries[i];
        if (!e->key || !e->value)
            return lk__file_fail(&job->report, LK_EVALUE, "metadata entry %d has a NULL in it", i);
        if (!lk__is_utf8(e->key) || !lk__is_utf8(e->value))
            return lk__file_fail(&job->report, LK_EVALUE,
                                 "metadata entry %d, \"%.100s\", is not UTF-8", i, e->key);
        for (int j = 0; j < i; j++)
            if (strcmp(metadata->entries[j].key, e->key) == 0)
                return lk__file_fail(&job->report, LK_EVALUE, "metadata \"%.100s\" is there twice",
                                     e->key);
    }
    return true;
}

static int by_name(const void *a, const void *b)
{
    const StateEntry *x = *(const StateEntry *const *)a, *y = *(const StateEntry *const *)b;
    return strcmp(x->name, y->name);
}

static int by_type_and_name(const void *a, const void *b)
{
    const StateEntry *x = *(const StateEntry *const *)a, *y = *(const StateEntry *const *)b;
    int difference = file_types[x->tensor->dtype].rank - file_types[y->tensor->dtype].rank;
    return difference ? difference : strcmp(x->name, y->name);
}

static bool order_entries(Job *job, const StateDict *state, const StateEntry **order)
{
    for (int i = 0; i < state->count; i++) {
        const StateEntry *e = order[i] = &state->entries[i];
        if (!e->name || !e->tensor)
            return lk__file_fail(&job->report, LK_EVALUE, "entry %d has no %s", i,
                                 e->name ? "tensor" : "name");
        if (!lk__is_utf8(e->name))
            return lk__file_fail(&job->report, LK_EVALUE,
                                 "the name of entry %d is not UTF-8: \"%.100s\"", i, e->name);
        if (strcmp(e->name, "__metadata__") == 0)
            return lk__file_fail(&job->report, LK_EVALUE,
                                 "a tensor cannot be called \"__metadata__\"");
    }
    size_t count = (size_t)state->count;
    qsort(order, count, sizeof *order, by_name);
    for (int i = 1; i < state->count; i++)
        if (strcmp(order[i - 1]->name, order[i]->name) == 0)
            return lk__file_fail(&job->report, LK_EVALUE, "tensor \"%.100s\" is there twice",
                                 order[i]->name);
    qsort(order, count, sizeof *order, by_type_and_name);
    job->order = order;
    job->count = state->count;
    return true;
}

/* ---- the header ----------------------------------------------------------------------------- */

/* A text in the making. Without bytes it is only measured: the same code first finds its length,
 * then writes it. */
typedef struct Text {
    char *bytes;
    size_t length;
} Text;

static void put(Text *t, const char *bytes, size_t size)
{
    if (t->bytes) memcpy(t->bytes + t->length, bytes, size);
    t->length += size;
}

static void LK_PRINTF(2, 3) print(Text *t, const char *format, ...)
{
    char text[128]; /* for numbers and names of types */
    va_list args;
    va_start(args, format);
    int size = lk_vsnprintf(text, sizeof text, format, args);
    va_end(args);
    put(t, text, (size_t)size);
}

/* Puts a JSON string, which escapes only the characters that need it. */
static void put_string(Text *t, const char *s)
{
    static const char escapes[] = { ['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f',
                                    ['\r'] = 'r', ['"'] = '"',  ['\\'] = '\\' };
    put(t, "\"", 1);
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        if (c < sizeof escapes && escapes[c]) print(t, "\\%c", escapes[c]);
        else if (c < 0x20) print(t, "\\u%04x", c);
        else put(t, s, 1);
    }
    put(t, "\"", 1);
}

enum { LENGTH = 8 }; /* bytes of the header's own length, in front of it */

/* Puts the whole header. *end: bytes of all elements. False: the sizes of the tensors overflow. */
static bool put_header(Text *t, const Job *job, int64_t *end)
{
    const char *comma = "";
    print(t, "{");
    if (job->metadata) {
        print(t, "\"__metadata__\":{");
        for (int i = 0; i < job->metadata->count; i++) {
            if (i > 0) print(t, ",");
            put_string(t, job->metadata->entries[i].key);
            print(t, ":");
            put_string(t, job->metadata->entries[i].value);
        }
        print(t, "}");
        comma = ",";
    }
    *end = 0;
    for (int i = 0; i < job->count; i++, comma = ",") {
        const Tensor *x = job->order[i]->tensor;
        int64_t begin = *end, bytes;
        if (__builtin_mul_overflow(lk_numel(x), (int64_t)lk_dtype_size(x->dtype), &bytes) ||
            __builtin_add_overflow(begin, bytes, end))
            return false;
        print(t, "%s", comma);
        put_string(t, job->order[i]->name);
        print(t, ":{\"dtype\":\"%s\",\"shape\":[", file_types[x->dtype].name);
        for (int d = 0; d < x->ndim; d++) print(t, d ? ",%lld" : "%lld", (long long)x->shape[d]);
        print(t, "],\"data_offsets\":[%lld,%lld]}", (long long)begin, (long long)*end);
    }
    print(t, "}");
    while (t->length % 8 != 0) print(t, " "); /* so that the data are aligned */
    return true;
}

/* ---- the file ------------------------------------------------------------------------------- */

/* Measures the length of the header and of all elements. */
static bool measure(const Job *job, size_t *header, int64_t *elements)
{
    Text text = { 0 };
    if (!put_header(&text, job, elements))
        return lk__file_fail(&job->report, LK_EVALUE, "the tensors are larger than any file");
    *header = text.length;
    return text.length <= LK_SAFETENSORS_HEADER_MAX ||
           lk__file_fail(&job->report, LK_EVALUE,
                         "the names and sizes take %zu bytes; the format allows %d", text.length,
                         LK_SAFETENSORS_HEADER_MAX);
}

static bool write_header(AtomicFile *f, const Job *job)
{
    Text text = { 0 };
    int64_t elements;
    if (!measure(job, &text.length, &elements)) return false;
    unsigned char *bytes = lk_mem_alloc(LENGTH + text.length);
    if (!bytes)
        return lk__file_fail(&job->report, LK_EMEMORY, "no memory for a header of %zu bytes",
                             text.length);
    for (int i = 0; i < LENGTH; i++) bytes[i] = (unsigned char)(text.length >> 8 * i);
    text = (Text){ .bytes = (char *)bytes + LENGTH };
    put_header(&text, job, &elements);
    bool ok = lk_atomic_write(f, bytes, LENGTH + text.length);
    lk_mem_free(bytes);
    return ok;
}

/* Writes the elements in logical order: a view with other strides is copied first. */
static bool write_elements(AtomicFile *f, const Tensor *x, Error *err)
{
    Tensor *copy = lk_is_contiguous(x) ? NULL : lk_clone(x, err);
    if (copy) x = copy;
    bool ok = lk_is_contiguous(x) &&
              lk_atomic_write(f, x->data, (size_t)lk_numel(x) * lk_dtype_size(x->dtype));
    lk_tensor_free(copy);
    return ok;
}

/* Puts the tensors in their order, and checks everything about them. The caller frees *order. */
static bool begin(Job *job, const StateDict *state, const StateEntry ***order)
{
    *order = lk_mem_calloc(state->count ? (size_t)state->count : 1, sizeof **order);
    if (!*order)
        return lk__file_fail(&job->report, LK_EMEMORY, "no memory for %d tensors", state->count);
    return order_entries(job, state, *order) && check_metadata(job);
}

bool lk_save_safetensors(const StateDict *state, const Metadata *metadata, const char *path,
                         Error *err)
{
    const char *caller = "lk_save_safetensors";
    if (!state || !path)
        return lk_error_set(err, LK_EVALUE, "%s: the %s is NULL", caller,
                            state ? "path" : "state");
    Job job = { .report = { caller, path, err, 0 }, .metadata = metadata };
    const StateEntry **order;
    AtomicFile f;
    bool ok = begin(&job, state, &order);
    if (ok) {
        ok = lk_atomic_begin(&f, caller, path, err) && write_header(&f, &job);
        for (int i = 0; ok && i < job.count; i++)
            ok = write_elements(&f, job.order[i]->tensor, err);
        ok = lk_atomic_end(&f, ok);
    }
    lk_mem_free(order);
    return ok;
}

int64_t lk_safetensors_size(const StateDict *state, const Metadata *metadata, Error *err)
{
    const char *caller = "lk_safetensors_size";
    if (!state) {
        lk_error_set(err, LK_EVALUE, "%s: the state is NULL", caller);
        return -1;
    }
    Job job = { .report = { caller, "the state", err, 0 }, .metadata = metadata };
    const StateEntry **order;
    size_t header = 0;
    int64_t size = 0;
    bool ok = begin(&job, state, &order) && measure(&job, &header, &size);
    if (ok && __builtin_add_overflow(size, (int64_t)(LENGTH + header), &size))
        ok = lk__file_fail(&job.report, LK_EVALUE, "the tensors are larger than any file");
    lk_mem_free(order);
    return ok ? size : -1;
}
