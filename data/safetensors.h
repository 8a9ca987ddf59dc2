/* safetensors.h - named tensors in a file, in the format of the Hugging Face hub.
 *
 *     lk_save_module(net, "net.safetensors", &err);
 *     lk_load_module(net, "net.safetensors", true, &err);
 *
 * or, of a large model, without a copy and under other names: lk_load_module_mapped.
 *
 * The bytes written are those of the reference implementation: tensors by dtype, then by name.
 * Input is never trusted: a file in which anything is missing, there twice, too much or does not
 * fit is LK_EFORMAT, with a message that names the tensor and the rule. NaN and infinity
 * are values like others. Reading needs jansson (LORIKEET_JANSSON); without it every function that
 * reads is LK_ESTATE.
 *
 * Numbers in half precision (F16, BF16) become float32 when they are read, each exactly the number
 * it was, a NaN one with the same sign and payload; they take memory of their own, where others
 * are the file's pages. Nothing else is converted: a module in float32 is not loaded from F64, nor
 * one in float64 from F32 or less. lk_module_to converts one that is loaded. */
#ifndef LK_SAFETENSORS_H
#define LK_SAFETENSORS_H

#include "data/names.h"
#include "nn/state.h"

/* ---- modules -------------------------------------------------------------------------------- */

/* safetensors.torch.save_file(m.state_dict(), path, { "format": "pt" }). */
LK_API LK_MUST_CHECK bool lk_save_module(Module *m, const char *path, Error *err);
/* m.load_state_dict(safetensors.torch.load_file(path), strict), see nn/state.h: nothing is changed
 * on an error. */
LK_API LK_MUST_CHECK bool lk_load_module(Module *m, const char *path, bool strict, Error *err);

/* How the file calls what the module calls otherwise. `from` is a pattern (lk_name_matches: `*`
 * and `?`); the first, second, … `*` of `to` is the text that the first, second, … `*` of `from`
 * stands for (each for as little as it can, the last one for the rest). Without `to` the tensor is
 * ignored. All rules that fit are applied, in their order:
 *     { "*pooler.*", NULL }, { "encoder.*", "roberta.encoder.*" }, { "*.gamma", "*.weight" }
 * A rule of more than 8 stars, or with more of them in `to` than in `from`, is LK_EVALUE. */
typedef struct NameRule {
    const char *from, *to;
} NameRule;

typedef struct LoadOptions {
    int rule_count;
    const NameRule *rules;
    /* patterns of parameters that may be missing: they keep their values */
    int optional_count;
    const char *const *optional;
    bool lax; /* strict=False: any may be missing, and what the module has not is skipped */
    /* the values go into the tensors that are there, and the file is not needed any more */
    bool copy;
} LoadOptions;

/* What a file and a module have not in common, filled on failure too. Starts as { 0 };
 * lk_load_report_free. */
typedef struct LoadReport {
    int loaded; /* parameters that were loaded */
    /* of what was loaded, the tensors that were F16 or BF16 in the file: copies, in float32 */
    int widened;
    Names missing;    /* parameters that are not in the file, optional ones too */
    Names unexpected; /* tensors, by their new names, that the module has not */
    Names mismatched; /* "layer.weight is (2, 3) F32, not (3, 2) F32" */
    Names ignored;    /* tensors that a rule ignores, by their old names */
} LoadReport;
LK_API void lk_load_report_free(LoadReport *report);

/* m.load_state_dict(safetensors.torch.load_file(path), strict, assign=True), without reading the
 * file: each parameter of m is replaced by a tensor over the file's pages, which come from the
 * disk when they are first used, are shared with all that map the file, and stay mapped until the
 * last such tensor is freed (lk_safetensors_view_new says more). Nothing here writes to a frozen
 * parameter, so its pages stay the file's. The mapping does allow it (private, not read-only),
 * since what is frozen may be trained later: the pages that are written to then become this
 * process's own, and never reach the file. What is in half precision is copied, and counted in the
 * report. requires_grad stays, gradients do not. As with assign=True whoever holds the old
 * tensors, an optimizer for instance, holds no parameters any more: load first, or with `copy`. Of
 * a shared parameter one name is enough. options, report: NULL for none. Errors, nothing changed,
 * the lists and the nearest existing names in the message: LK_EVALUE (missing, unexpected, two
 * tensors of one name), LK_ESHAPE (another shape or dtype; only equal ones can be mapped), and
 * those of lk_safetensors_open. */
LK_API LK_MUST_CHECK bool lk_load_module_mapped(Module *m, const char *path,
                                                const LoadOptions *options, LoadReport *report,
                                                Error *err);

/* ---- state dicts ---------------------------------------------------------------------------- */

/* bytes of names and sizes that a file may have: a million tensors */
enum { LK_SAFETENSORS_HEADER_MAX = 100000000 };

/* What a file says about itself, texts by name; written in this order: LK_METADATA({ "format",
 * "pt" }). */
typedef struct MetadataEntry {
    const char *key, *value;
} MetadataEntry;
typedef struct Metadata {
    const MetadataEntry *entries;
    int count;
} Metadata;
#define LK_METADATA(...) \
    LK_ARRAY(Metadata, \
             { LK_ARRAY(MetadataEntry, __VA_ARGS__), LK_LENGTH(MetadataEntry, __VA_ARGS__) })

/* safetensors.torch.save_file(state, path, metadata); metadata NULL: none. At every moment path is
 * the old file or the new one, whole; when saving fails it is the old one. Errors: LK_EIO,
 * LK_EMEMORY, LK_EVALUE for names that are not UTF-8, are there twice, or are "__metadata__". */
LK_API LK_MUST_CHECK bool lk_save_safetensors(const StateDict *state, const Metadata *metadata,
                                              const char *path, Error *err);

/* The bytes that such a file has, without writing it; -1: LK_EMEMORY, LK_EVALUE as for saving. */
LK_API int64_t lk_safetensors_size(const StateDict *state, const Metadata *metadata, Error *err);

/* safetensors.torch.load_file(path): all tensors, in the order of their data. Errors: LK_EIO,
 * LK_EFORMAT, LK_EMEMORY, LK_EDTYPE for a tensor of a type that Lorikeet has not (I32, F8_E4M3,
 * …), LK_ESHAPE for more than 8 dimensions. */
LK_API StateDict *lk_load_safetensors(const char *path, Error *err);

/* ---- one tensor at a time, without a copy where wanted: safetensors.safe_open --------------- */

typedef struct SafeTensorsEntry {
    const char *name;  /* "layers.0.weight" */
    const char *dtype; /* as the file calls it: "F32", "BF16", … */
    bool half;         /* F16 or BF16: its Tensor is float32 */
    /* may be more than a Tensor can have; shape then holds the first sizes */
    int ndim;
    int64_t shape[LK_MAX_DIMS];
    /* where its elements are in the file, which need not be aligned */
    int64_t offset, bytes;
} SafeTensorsEntry;

typedef struct SafeTensors {
    SafeTensorsEntry *entries; /* in the order of their data */
    int count;
    char *path; /* the rest is the reader's own */
    int file;
    int64_t size;
    /* all of the file; it stays as long as one of `refs` needs it: who opened the file, and each
     * view */
    void *map;
    int refs;
    struct json_t *header;
} SafeTensors;

/* Opens the file and checks all of it but the elements: what is wrong with a file is said here. */
LK_API SafeTensors *lk_safetensors_open(const char *path, Error *err);
LK_API void lk_safetensors_close(SafeTensors *file); /* NULL allowed */

/* NULL: no such tensor */
LK_API const SafeTensorsEntry *lk_safetensors_find(const SafeTensors *file, const char *name);
/* NULL: no such key */
LK_API const char *lk_safetensors_metadata(const SafeTensors *file, const char *key);

/* The tensor, read into memory of its own. Errors as for lk_load_safetensors. */
LK_API Tensor *lk_safetensors_read_new(SafeTensors *file, const SafeTensorsEntry *entry,
                                       Error *err);

/* The same without reading it: the elements are the file's pages, mapped into memory, until the
 * tensor is freed; the file may be closed before. Writing to them changes this process's copy of a
 * page, never the file. Elements that are not aligned for their type, or in half precision, are
 * read after all. While a file is mapped, whoever shortens it in place ends the process (SIGBUS);
 * replacing it, as lk_save_safetensors does, is harmless. */
LK_API Tensor *lk_safetensors_view_new(SafeTensors *file, const SafeTensorsEntry *entry,
                                       Error *err);

#endif
