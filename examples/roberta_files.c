/* roberta_files.c - which tensor of a hub's file is which parameter. The format: data/safetensors.h. */
#include "examples/roberta_files.h"

#include "data/safetensors.h"

static const NameRule rules[] = {
    { "lm_head.*", NULL },            /* of RobertaForMaskedLM, as roberta-base is */
    { "*pooler.*", NULL },            /* the classifier has a dense layer of its own */
    { "*embeddings.position_ids", NULL }, /* 0, 1, 2, … as a buffer */
    { "embeddings.*", "roberta.embeddings.*" }, /* saved from a bare RobertaModel */
    { "encoder.*", "roberta.encoder.*" },
    { "*.LayerNorm.gamma", "*.LayerNorm.weight" },
    { "*.LayerNorm.beta", "*.LayerNorm.bias" },
};
static const char *const optional[] = { "classifier.*" };

bool roberta_load_base(Module *classifier, const char *path, Error *err)
{
    const LoadOptions options = { .rule_count = sizeof rules / sizeof rules[0],
                                  .rules = rules,
                                  .optional_count = sizeof optional / sizeof optional[0],
                                  .optional = optional };
    LoadReport report = { 0 };
    bool ok = lk_load_module_mapped(classifier, path, &options, &report, err);
    char list[400];
    if (ok) printf("%s: %d tensors\n", path, report.loaded);
    if (ok && report.widened) printf("In half precision, so copied and converted to float32: %d\n", report.widened);
    if (ok && report.ignored.count) printf("Not used of it: %s\n", lk_names_text(&report.ignored, list, sizeof list));
    if (ok && report.missing.count)
        printf("Not in it, so newly initialised: %s\n", lk_names_text(&report.missing, list, sizeof list));
    lk_load_report_free(&report);
    return ok;
}
