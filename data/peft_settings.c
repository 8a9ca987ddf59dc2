/* peft_settings.c - which settings of PEFT's LoraConfig Lorikeet can read. Used by
 * data/peft_config.c. */
#include "data/peft_parts.h"

#include <string.h>

/* All settings of PEFT 0.10 to 0.17. A setting that is not here belongs to another version, and is
 * refused unless it sets nothing. */
static const struct {
    const char *key;
    const char *why; /* the reason to refuse a value that sets something; NULL: not refused */
} settings[] = {
    /* read by data/peft_config.c */
    { "alpha_pattern", NULL },
    { "exclude_modules", NULL },
    { "lora_alpha", NULL },
    { "modules_to_save", NULL },
    { "peft_type", NULL },
    { "r", NULL },
    { "rank_pattern", NULL },
    { "target_modules", NULL },
    { "use_rslora", NULL },
    /* the origin of the adapter, or for another program */
    { "auto_mapping", NULL },
    { "base_model_name_or_path", NULL },
    { "peft_version", NULL },
    { "revision", NULL },
    { "task_type", NULL },
    { "megatron_core", NULL },  /* the name of a package */
    { "runtime_config", NULL }, /* where PEFT computes */
    { "inference_mode", NULL },
    /* for training alone */
    { "lora_dropout", NULL },
    /* how A and B were drawn; a way that changes the model's weights is refused as
     * init_lora_weights */
    { "corda_config", NULL },
    { "eva_config", NULL },
    { "loftq_config", NULL },
    /* of no effect without another setting, which is refused */
    { "layers_pattern", NULL },    /* layers_to_transform */
    { "qalora_group_size", NULL }, /* use_qalora */

    { "alora_invocation_tokens", "the adapter works behind these tokens alone" },
    { "arrow_config", "adapters are chosen anew for each token" },
    { "bias", "the model's biases were trained too" }, /* unless it is "none" */
    { "fan_in_fan_out", "the weights are transposed" },
    /* unless it draws A and B alone */
    { "init_lora_weights", "the model's own weights were changed, or may have been" },
    { "layer_replication", "the model has copies of its layers" },
    { "layers_to_transform", "the targets are those of some layers; list them in target_modules" },
    { "lora_bias", "B has a bias" },
    { "megatron_config", "the model is Megatron's" },
    { "target_parameters", "parameters outside of Linears are adapted" },
    { "trainable_token_indices", "rows of the embedding were trained too" },
    { "use_dora", "the weight's length is trained apart from its direction" },
    { "use_qalora", "A is of grouped inputs" },
};

/* null, false, 0, "", [] and {}: a setting that sets nothing. */
static bool is_neutral(const Json *value)
{
    switch (value->kind) {
    case JSON_NULL:
    case JSON_FALSE: return true;
    case JSON_TRUE: return false;
    case JSON_INTEGER:
    case JSON_REAL: return lk__json_number(value) == 0;
    case JSON_TEXT: return !*value->text;
    case JSON_LIST:
    case JSON_OBJECT: return !lk__json_next(value, NULL);
    }
    return false;
}

static bool is_text(const Json *value, const char *text)
{
    return value->kind == JSON_TEXT && strcmp(value->text, text) == 0;
}

/* Values that set something and change nothing. */
static bool is_usual(const Json *value)
{
    if (strcmp(value->key, "bias") == 0) return is_text(value, "none");
    return strcmp(value->key, "init_lora_weights") == 0 &&
           (value->kind == JSON_TRUE || is_text(value, "gaussian") ||
            is_text(value, "orthogonal") || is_text(value, "eva"));
}

bool lk__peft_settings_known(const Json *root, const Json **setting, const char **why)
{
    for (const Json *value = NULL; (value = lk__json_next(root, value));) {
        size_t i = 0;
        const size_t count = sizeof settings / sizeof *settings;
        while (i < count && strcmp(settings[i].key, value->key) != 0) i++;
        *why = i < count ? settings[i].why : "a setting that Lorikeet does not know";
        *setting = value;
        if (*why && !is_neutral(value) && !is_usual(value)) return false;
    }
    return true;
}
