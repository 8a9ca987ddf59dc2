/* roberta_files.c - which tensor of a hub's file is which parameter. The format:
 * data/safetensors.h. */
#include "examples/roberta_files.h"

#include "data/safetensors.h"

static const NameRule rules[] = {
    { "lm_head.*", NULL },                      /* of RobertaForMaskedLM, as roberta-base is */
    { "*pooler.*", NULL },                      /* the classifier has a dense layer of its own */
    { "*embeddings.position_ids", NULL },       /* 0, 1, 2, … as a buffer */
    { "embeddings.*", "roberta.embeddings.*" }, /* saved from a bare RobertaModel */
    { "encoder.*", "roberta.encoder.*" },
    { "*.LayerNorm.gamma", "*.LayerNorm.weight" },
    { "*.LayerNorm.beta", "*.LayerNorm.bias" },
};
static const char *const optional[] = { "classifier.*" };

static bool has_lora(const Names *names)
{
    for (int i = 0; i < names->count; i++)
        if (lk_name_matches("*.lora.A", names->items[i])) return true;
    return false;
}

bool roberta_load_base(Module *classifier, const char *path, Error *err)
{
    const LoadOptions options = { .rule_count = sizeof rules / sizeof rules[0],
                                  .rules = rules,
                                  .optional_count = sizeof optional / sizeof optional[0],
                                  .optional = optional };
    LoadReport report = { 0 };
    Error reason = { 0 };
    bool ok = lk_load_module_mapped(classifier, path, &options, &report, &reason);
    char list[400];
    if (!ok && has_lora(&report.unexpected))
        lk_error_set(err, LK_EVALUE,
                     "%.300s: has LoRA beside its Linears and is no base model; use its base for "
                     "--model and the folder adapter beside it for --adapter",
                     path);
    else if (!ok) lk_error_set(err, reason.code, "%s", reason.message);
    if (ok) printf("%s: %d tensors\n", path, report.loaded);
    if (ok && report.widened)
        printf("In half precision, so copied and converted to float32: %d\n", report.widened);
    if (ok && report.ignored.count)
        printf("Not used of it: %s\n", lk_names_text(&report.ignored, list, sizeof list));
    if (ok && report.missing.count)
        printf("Not in it, so newly initialised: %s\n",
               lk_names_text(&report.missing, list, sizeof list));
    lk_load_report_free(&report);
    return ok;
}
