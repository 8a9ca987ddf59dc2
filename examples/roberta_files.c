/* roberta_files.c - which tensor of a file is which parameter. The format: data/safetensors.h. */
#include "examples/roberta_files.h"

#include <string.h>
#include <sys/stat.h>

static bool begins(const char *text, const char *start)
{
    return strncmp(text, start, strlen(start)) == 0;
}

static bool ends(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

/* ---- names --------------------------------------------------------------------------------------------------------- */

/* What a parameter is called in files: its name, an older one, either without the prefix of the whole model. */
static const SafeTensor *find(const SafeTensors *file, const char *name)
{
    char old[LK_NAME_MAX];
    const SafeTensor *e = lk_safetensors_find(file, name);
    snprintf(old, sizeof old, "%s", name);
    if (ends(name, "LayerNorm.weight")) strcpy(old + strlen(name) - strlen("weight"), "gamma");
    if (ends(name, "LayerNorm.bias")) strcpy(old + strlen(name) - strlen("bias"), "beta");
    if (!e) e = lk_safetensors_find(file, old);
    size_t prefix = strlen("roberta.");
    if (!e && begins(name, "roberta.")) e = lk_safetensors_find(file, name + prefix);
    if (!e && begins(old, "roberta.")) e = lk_safetensors_find(file, old + prefix);
    return e;
}

/* What a base model may have that this one has no use for: heads for other tasks. */
static bool is_spare(const char *name)
{
    return begins(name, "lm_head.") || begins(name, "classifier.") || begins(name, "roberta.pooler.") ||
           begins(name, "pooler.") || ends(name, "embeddings.position_ids");
}

static bool is_head(const char *name)
{
    return begins(name, "lm_head.") || begins(name, "classifier.");
}

/* Names for a message: the first few, and how many there are. */
typedef struct NameList {
    char text[256];
    int count, shown;
} NameList;

static void list_name(NameList *list, const char *name)
{
    size_t used = strlen(list->text);
    if (list->shown == list->count++ && used + strlen(name) + 3 < sizeof list->text) {
        snprintf(list->text + used, sizeof list->text - used, "%s%s", used ? ", " : "", name);
        list->shown++;
    }
}

static const char *list_end(NameList *list)
{
    size_t used = strlen(list->text);
    if (list->shown < list->count) snprintf(list->text + used, sizeof list->text - used, ", …");
    return list->text;
}

/* ---- checks -------------------------------------------------------------------------------------------------------- */

static bool fits(const SafeTensor *e, const Tensor *x, const char *name, const char *path, Error *err)
{
    char want[LK_SHAPE_TEXT], got[LK_SHAPE_TEXT];
    Tensor shape = { .ndim = e->ndim < LK_MAX_DIMS ? e->ndim : LK_MAX_DIMS };
    memcpy(shape.shape, e->shape, sizeof shape.shape);
    if (strcmp(e->dtype, "F32") != 0)
        return lk_error_set(err, LK_EDTYPE, "%.200s: %.100s is %.20s; the model is float32", path, name, e->dtype);
    return (e->ndim == x->ndim && lk_same_shape(&shape, x)) ||
           lk_error_set(err, LK_ESHAPE, "%.200s: %.100s is %s, in the model %s", path, name, lk_shape_text(&shape, got),
                        lk_shape_text(x, want));
}

/* The tensors of the file that no parameter takes. */
static void list_spare(Module *model, const SafeTensors *file, bool strict, NameList *spare, NameList *unexpected)
{
    for (int i = 0; i < file->count; i++) {
        bool taken = false;
        for (ParamIter it = lk_params(model); !taken && lk_params_next(&it);)
            taken = find(file, it.name) == &file->entries[i];
        if (taken) continue;
        list_name(!strict && is_spare(file->entries[i].name) ? spare : unexpected, file->entries[i].name);
    }
}

static bool check_names(Module *model, const SafeTensors *file, const char *path, bool strict, Error *err)
{
    NameList missing = { "" }, head = { "" }, spare = { "" }, unexpected = { "" };
    for (ParamIter it = lk_params(model); lk_params_next(&it);) {
        const SafeTensor *e = find(file, it.name);
        if (!e) list_name(!strict && is_head(it.name) ? &head : &missing, it.name);
        else if (!fits(e, it.tensor, it.name, path, err)) return false;
    }
    list_spare(model, file, strict, &spare, &unexpected);
    if (missing.count || unexpected.count)
        return lk_error_set(err, LK_EVALUE, "%.160s: does not fit the model; missing: %d%s%.130s; unexpected: %d%s%.130s", path,
                            missing.count, missing.count ? ", " : "", list_end(&missing), unexpected.count,
                            unexpected.count ? ", " : "", list_end(&unexpected));
    if (spare.count) printf("%s: not used: %s\n", path, list_end(&spare));
    if (head.count) printf("%s: not there, so newly initialised: %s\n", path, list_end(&head));
    return true;
}

/* ---- loading ------------------------------------------------------------------------------------------------------- */

/* One more pass than the checks, so that a failure leaves the model whole: all views are made before any is used. */
static bool replace(Module *model, SafeTensors *file, Error *err)
{
    TensorList views = lk_parameters(model, err); /* for its room: each place gets the new tensor of that parameter */
    int n = 0;
    bool ok = views.count;
    for (ParamIter it = lk_params(model); ok && lk_params_next(&it); n++) {
        const SafeTensor *e = find(file, it.name);
        Tensor *x = e ? lk_safetensors_view_new(file, e, err) : lk_retain(it.tensor);
        if (!(ok = x)) break;
        lk_free(views.items[n]);
        views.items[n] = x;
    }
    n = 0;
    for (ParamIter it = lk_params(model); ok && lk_params_next(&it); n++) {
        Tensor *x = views.items[n], *old = it.tensor;
        if (x == old) continue;
        x->is_parameter = true;
        lk_set_requires_grad(x, old->requires_grad);
        *it.slot = lk_retain(x);
        lk_free(old);
    }
    lk_tensor_list_free(&views);
    return ok;
}

SafeTensors *roberta_load(Module *model, const char *path, bool strict, Error *err)
{
    SafeTensors *file = lk_safetensors_open(path, err);
    if (!file) return NULL;
    if (check_names(model, file, path, strict, err) && replace(model, file, err)) return file;
    lk_safetensors_close(file);
    return NULL;
}

bool roberta_file_exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}
