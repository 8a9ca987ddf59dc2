/* safetensors.h - named tensors in a file, in the format of the Hugging Face hub.
 *
 *     lk_save_module(net, "net.safetensors", &err);
 *     lk_load_module(net, "net.safetensors", true, &err);
 *
 * lk_load_module_mapped loads a large model without a copy, and under other names.
 *
 * The bytes written are those of the reference implementation: tensors by dtype, then by name.
 * Input is never trusted: a file in which anything is missing, superfluous, there twice or of the
 * wrong size is LK_EFORMAT, with a message that names the tensor and the rule. NaN and infinity
 * are values like others.
 *
 * Numbers in half precision (F16, BF16) become float32 when they are read. Each number stays
 * exactly the same, and a NaN keeps its sign and payload. Such tensors take memory of their own,
 * while others are the file's pages. A parameter that only stores (nn/frozen.h) is loaded from
 * F32, F16 and BF16, some rows at a time, and rounded; BF16 becomes bfloat16 as it is. bfloat16 is
 * saved as BF16, and qint8 as the F32 that it stands for. Nothing else is converted: a module in
 * float32 is not loaded from F64, nor one in float64 from F32. lk_module_to converts after
 * loading. */
#ifndef LK_SAFETENSORS_H
#define LK_SAFETENSORS_H

#include "data/names.h"
#include "nn/state.h"

/* ---- modules -------------------------------------------------------------------------------- */

/* safetensors.torch.save_file(m.state_dict(), path, { "format": "pt" }). Errors as for
 * lk_save_safetensors. */
LK_API LK_MUST_CHECK bool lk_save_module(Module *m, const char *path, Error *err);
/* m.load_state_dict(safetensors.torch.load_file(path), strict), see nn/state.h: nothing is changed
 * on an error. */
LK_API LK_MUST_CHECK bool lk_load_module(Module *m, const char *path, bool strict, Error *err);

/* Translates names of the file into names of the module. `from` is a pattern (lk_name_matches: `*`
 * and `?`). The first, second, … `*` of `to` is the text that the first, second, … `*` of `from`
 * stands for (each for as little text as it can, the last one for the rest). Without `to` the
 * tensor is ignored. All rules that fit are applied, in their order:
 *
 *     { "*pooler.*", NULL }, { "encoder.*", "roberta.encoder.*" }, { "*.gamma", "*.weight" }
 *
 * A rule of more than 8 stars, or with more of them in `to` than in `from`, is LK_EVALUE. */
typedef struct NameRule {
    const char *from, *to;
} NameRule;

typedef struct LoadOptions {
    int rule_count;
    const NameRule *rules;
    int optional_count;
    const char *const *optional; /* patterns of parameters that may be missing and keep values */
    bool lax;  /* strict=False: parameters may be missing, and unknown tensors are skipped */
    bool copy; /* values go into the module's own tensors; the file is not needed any more */
} LoadOptions;

/* Starts as { 0 }; filled on failure too. Free it with lk_load_report_free. */
typedef struct LoadReport {
    int loaded;       /* parameters that were loaded */
    int widened;      /* of them, those that were F16 or BF16 in the file: float32 copies */
    Names missing;    /* parameters that are not in the file, optional ones too */
    Names unexpected; /* tensors, by their new names, that the module lacks */
    Names mismatched; /* "layer.weight is (2, 3) F32, not (3, 2) F32" */
    Names ignored;    /* tensors that a rule ignores, by their old names */
} LoadReport;
LK_API void lk_load_report_free(LoadReport *report);

/* m.load_state_dict(safetensors.torch.load_file(path), strict, assign=True), without reading the
 * file: each parameter of m is replaced by a tensor over the file's pages. Pages come from the
 * disk when they are first used, are shared with every process that maps the file, and stay mapped
 * until the last such tensor is freed (see lk_safetensors_view_new). A parameter that is trained
 * later may be written to: its pages then become this process's own, and the file stays as it is.
 * Tensors in half precision are copied, and counted in the report.
 *
 * requires_grad stays, gradients do not. As with assign=True, an optimizer that was made before
 * holds the old tensors, which are no parameters any more: load first, or with `copy`. The file
 * needs only one of the names of a shared parameter. options, report: NULL for none. Errors, with
 * nothing changed, and the lists and the nearest existing names in the message: LK_EVALUE
 * (missing, unexpected, two tensors of one name), LK_ESHAPE (another shape or dtype; only equal
 * ones can be mapped), and those of lk_safetensors_open. */
LK_API LK_MUST_CHECK bool lk_load_module_mapped(Module *m, const char *path,
                                                const LoadOptions *options, LoadReport *report,
                                                Error *err);

/* ---- state dicts ---------------------------------------------------------------------------- */

enum { LK_SAFETENSORS_HEADER_MAX = 100000000 }; /* bytes of names and sizes: a million tensors */

/* The metadata of a file: texts by name, written in this order. LK_METADATA({ "format", "pt"
 * }). */
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
 * the whole old file or the whole new one; when saving fails it is the old one. Errors: LK_EIO,
 * LK_EMEMORY, LK_EVALUE for names that are not UTF-8, are there twice, or are "__metadata__". */
LK_API LK_MUST_CHECK bool lk_save_safetensors(const StateDict *state, const Metadata *metadata,
                                              const char *path, Error *err);

/* The size of such a file in bytes, without writing it; -1: LK_EMEMORY, LK_EVALUE as for
 * saving. */
LK_API int64_t lk_safetensors_size(const StateDict *state, const Metadata *metadata, Error *err);

/* safetensors.torch.load_file(path): all tensors, in the order of their data. Errors: LK_EIO,
 * LK_EFORMAT, LK_EMEMORY, LK_EDTYPE for a tensor of a type that Lorikeet lacks (I32, F8_E4M3, …),
 * LK_ESHAPE for more than 8 dimensions. */
LK_API StateDict *lk_load_safetensors(const char *path, Error *err);

/* ---- one tensor at a time, without a copy where wanted: safetensors.safe_open --------------- */

typedef struct SafeTensorsEntry {
    const char *name;  /* "layers.0.weight" */
    const char *dtype; /* as the file calls it: "F32", "BF16", … */
    bool half;         /* F16 or BF16: its Tensor is float32 */
    int ndim;          /* may be more than a Tensor can have; shape then holds the first sizes */
    int64_t shape[LK_MAX_DIMS];
    int64_t offset, bytes; /* of its elements in the file; they need not be aligned */
} SafeTensorsEntry;

typedef struct SafeTensors {
    SafeTensorsEntry *entries; /* in the order of their data */
    int count;
    char *path; /* from here on: private */
    int file;
    int64_t size;
    void *map; /* of the whole file; NULL: none yet */
    int refs;  /* of the map: one for the open file, one for each view */
    struct Json *header;
} SafeTensors;

/* Opens the file and checks all of it but the elements. Errors: LK_EIO, LK_EFORMAT, LK_EMEMORY. */
LK_API SafeTensors *lk_safetensors_open(const char *path, Error *err);
LK_API void lk_safetensors_close(SafeTensors *file); /* NULL allowed */

/* Find a tensor, and a text of the metadata; NULL: there is none of this name. */
LK_API const SafeTensorsEntry *lk_safetensors_find(const SafeTensors *file, const char *name);
LK_API const char *lk_safetensors_metadata(const SafeTensors *file, const char *key);

/* Reads a tensor into memory of its own. Errors as for lk_load_safetensors. */
LK_API Tensor *lk_safetensors_read_new(SafeTensors *file, const SafeTensorsEntry *entry,
                                       Error *err);

/* The same without reading it: the elements are the file's pages, mapped into memory until the
 * tensor is freed, even if the file is closed before. Writing to them changes this process's copy
 * of a page, never the file. Elements that are not aligned for their type, or in half precision,
 * are read into memory instead. A mapped file must not be shortened in place: reading the lost
 * pages ends the process (SIGBUS). Replacing it, as lk_save_safetensors does, is harmless. */
LK_API Tensor *lk_safetensors_view_new(SafeTensors *file, const SafeTensorsEntry *entry,
                                       Error *err);

#endif
