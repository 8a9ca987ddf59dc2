/* roberta_config.h - the sizes of a RoBERTa, as config.json of the Hugging Face hub gives them
 * (reading and writing it: data/roberta_files.h). */
#ifndef LK_ROBERTA_CONFIG_H
#define LK_ROBERTA_CONFIG_H

#include "core/error.h"

typedef struct RobertaConfig {
    int64_t vocab_size, hidden_size, num_hidden_layers, num_attention_heads, intermediate_size;
    /* the first position is pad_token_id + 1: 514 positions serve 512 tokens */
    int64_t max_position_embeddings;
    int64_t type_vocab_size, num_labels;
    int64_t pad_token_id, bos_token_id, eos_token_id; /* null in the file: 1, 0, 2 */
    double hidden_dropout_prob, attention_probs_dropout_prob, layer_norm_eps, initializer_range;
    /* of the classifier's head; NaN (null in the file) stands for hidden_dropout_prob */
    double classifier_dropout;
} RobertaConfig;

/* RoBERTa-base: 12 layers of 768 with 12 heads, 50,265 tokens. */
LK_API_DATA const RobertaConfig lk_roberta_base;

/* Whether a model of these sizes is possible: every size is positive and no product of them is
 * absurd, the heads divide hidden_size, the dropouts are probabilities, pad_token_id is a token
 * and leaves room for positions. If not, sets LK_EVALUE with the sizes and the rule; the message
 * begins with `where`. */
LK_API bool lk_roberta_config_check(const RobertaConfig *c, const char *where, Error *err);

/* The most tokens that one sentence may have, <s> and </s> included: 512. */
LK_API int64_t lk_roberta_max_length(const RobertaConfig *c);

/* The members by their names in config.json, one row each; the last row has no name. */
typedef struct RobertaSetting {
    const char *name;
    size_t offset;   /* of the member */
    bool whole;      /* an int64_t, else a double */
    double min, max; /* both included */
} RobertaSetting;
LK_API_DATA const RobertaSetting lk_roberta_settings[];
LK_API double lk_roberta_setting(const RobertaConfig *c, const RobertaSetting *setting);

#endif
