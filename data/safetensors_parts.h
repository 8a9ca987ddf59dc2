/* safetensors_parts.h - what the files that read safetensors share; no part of the interface. */
#ifndef LK_SAFETENSORS_PARTS_H
#define LK_SAFETENSORS_PARTS_H

#include "data/file_report.h"
#include "data/safetensors.h"

/* ---- safetensors.c: the file and its header ------------------------------------------------- */

/* An element type of the format. Lorikeet has some of these types, and reads two more as
 * float32. */
typedef struct FileType {
    const char *name; /* "BF16" */
    int bits;         /* of an element */
    int dtype;        /* the DType of the loaded tensor; -1: it cannot be loaded */
    void (*widen)(float *to, const void *from,
                  int64_t n); /* NULL: elements of dtype as they are */
} FileType;

const FileType *lk__safetensors_type(const char *name); /* NULL: no type of the format */

/* The same as lk_safetensors_open; messages name the function `caller`. */
SafeTensors *lk__safetensors_open_for(const char *caller, const char *path, Error *err);
/* Reads all `size` bytes at `offset`. */
bool lk__safetensors_read_at(const SafeTensors *f, void *out, int64_t size, int64_t offset,
                             const FileReport *r);
/* Gives back one reference to the map of a SafeTensors; the last one unmaps it. */
void lk__safetensors_release_map(void *holder);

/* ---- safetensors_read.c: its tensors -------------------------------------------------------- */

/* All tensors of a file, as lk_load_safetensors gives them; *widened counts those that were in
 * half precision. */
StateDict *lk__safetensors_all_new(SafeTensors *file, int *widened, Error *err);

/* The DType of an entry where a tensor of dtype `wanted` is its destination: bfloat16 or qint8
 * for numbers that go into such a parameter, else that of lk_safetensors_read_new; -1: it cannot
 * be loaded. */
int lk__safetensors_dtype_for(const SafeTensorsEntry *entry, DType wanted);
/* lk_safetensors_read_new (messages name the function `caller`) and lk_safetensors_view_new for
 * such a destination. */
Tensor *lk__safetensors_read_for_new(const char *caller, SafeTensors *file,
                                     const SafeTensorsEntry *entry, DType wanted, Error *err);
Tensor *lk__safetensors_view_for_new(SafeTensors *file, const SafeTensorsEntry *entry,
                                     DType wanted, Error *err);

#endif
