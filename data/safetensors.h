/* safetensors.h - named tensors in a file, in the format of the Hugging Face hub.
 *
 *     lk_save_module(net, "net.safetensors", &err);
 *     lk_load_module(net, "net.safetensors", true, &err);
 *
 * The bytes written are those of the reference implementation: tensors by dtype, then by name. What is read is believed
 * in nothing: a file in which anything is missing, twice, too much or does not fit is LK_EFORMAT with a message that
 * names the tensor and the rule. NaN and infinity are values like others. Reading needs jansson (LORIKEET_JANSSON);
 * without it every function that reads is LK_ESTATE. */
#ifndef LK_SAFETENSORS_H
#define LK_SAFETENSORS_H

#include "nn/state.h"

/* ---- modules --------------------------------------------------------------------------------------------------- */

/* safetensors.torch.save_file(m.state_dict(), path, { "format": "pt" }). */
LK_API bool lk_save_module(Module *m, const char *path, Error *err);
/* m.load_state_dict(safetensors.torch.load_file(path), strict), see nn/state.h: nothing is changed on an error. */
LK_API bool lk_load_module(Module *m, const char *path, bool strict, Error *err);

/* ---- state dicts ----------------------------------------------------------------------------------------------- */

enum { LK_SAFETENSORS_HEADER_MAX = 100000000 }; /* bytes of names and sizes that a file may have: a million tensors */

/* What a file says about itself, texts by name; written in this order: LK_METADATA({ "format", "pt" }). */
typedef struct MetadataEntry {
    const char *key, *value;
} MetadataEntry;
typedef struct Metadata {
    const MetadataEntry *entries;
    int count;
} Metadata;
#define LK_METADATA(...) \
    (&(const Metadata){ (const MetadataEntry[]){ __VA_ARGS__ }, \
                        (int)(sizeof((const MetadataEntry[]){ __VA_ARGS__ }) / sizeof(MetadataEntry)) })

/* safetensors.torch.save_file(state, path, metadata); metadata NULL: none. At every moment path is the old file or the
 * new one, whole; when saving fails it is the old one. Errors: LK_EIO, LK_EMEMORY, LK_EVALUE for names that are not
 * UTF-8, are there twice, or are "__metadata__". */
LK_API bool lk_save_safetensors(const StateDict *state, const Metadata *metadata, const char *path, Error *err);

/* safetensors.torch.load_file(path): all tensors, in the order of their data. Errors: LK_EIO, LK_EFORMAT, LK_EMEMORY,
 * LK_EDTYPE for a tensor of a type that Lorikeet has not (BF16, I32, …), LK_ESHAPE for more than 8 dimensions. */
LK_API StateDict *lk_load_safetensors(const char *path, Error *err);

/* ---- one tensor at a time, without a copy where wanted: safetensors.safe_open ---------------------------------- */

typedef struct SafeTensor {
    const char *name;            /* "layers.0.weight" */
    const char *dtype;           /* as the file calls it: "F32", "BF16", … */
    int ndim;                    /* may be more than a Tensor can have; shape then holds the first sizes */
    int64_t shape[LK_MAX_DIMS];
    int64_t offset, bytes;       /* where its elements are in the file, which need not be aligned */
} SafeTensor;

typedef struct SafeTensors {
    SafeTensor *entries; /* in the order of their data */
    int count;
    char *path; /* the rest is the reader's own */
    int file;
    int64_t size;
    void *map;
    struct json_t *header;
} SafeTensors;

/* Opens the file and checks all of it but the elements: what is wrong with a file is said here. */
LK_API SafeTensors *lk_safetensors_open(const char *path, Error *err);
LK_API void lk_safetensors_close(SafeTensors *file); /* NULL allowed */

LK_API const SafeTensor *lk_safetensors_find(const SafeTensors *file, const char *name); /* NULL: no such tensor */
LK_API const char *lk_safetensors_metadata(const SafeTensors *file, const char *key);    /* NULL: no such key */

/* The tensor, read into memory of its own. Errors as for lk_load_safetensors. */
LK_API Tensor *lk_safetensors_read_new(SafeTensors *file, const SafeTensor *entry, Error *err);

/* The same without reading it: the elements are the file's pages, mapped into memory, and must not be used after
 * lk_safetensors_close. Writing to them changes this process's copy of a page, never the file. Elements that are not
 * aligned for their type are read after all. While a file is mapped, whoever shortens it in place ends the process
 * (SIGBUS); replacing it, as lk_save_safetensors does, is harmless. */
LK_API Tensor *lk_safetensors_view_new(SafeTensors *file, const SafeTensor *entry, Error *err);

#endif
