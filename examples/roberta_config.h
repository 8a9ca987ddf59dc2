/* roberta_config.h - the sizes of a RoBERTa, as config.json of the Hugging Face hub gives them.
 *
 * What a size that is not there means is what transformers' RobertaConfig says; what Lorikeet's
 * model does not compute (another activation, a decoder, relative positions) is refused by name,
 * never ignored. Reading needs jansson (LORIKEET_JANSSON). */
#ifndef ROBERTA_CONFIG_H
#define ROBERTA_CONFIG_H

#include "core/error.h"

typedef struct RobertaConfig {
    int64_t vocab_size, hidden_size, num_hidden_layers, num_attention_heads, intermediate_size;
    /* the first of them is pad_token_id + 1: 514 serve 512 tokens */
    int64_t max_position_embeddings;
    int64_t type_vocab_size, num_labels;
    int64_t pad_token_id, bos_token_id, eos_token_id; /* null in the file: 1, 0, 2 */
    double hidden_dropout_prob, attention_probs_dropout_prob, layer_norm_eps, initializer_range;
    /* of the classifier's head; NaN, null in the file: hidden_dropout_prob */
    double classifier_dropout;
} RobertaConfig;

/* RoBERTa-base: 12 layers of 768 with 12 heads, 50,265 tokens. */
extern const RobertaConfig roberta_base;

/* Whether such a model can be: every size is positive and no product of them is absurd, the heads
 * divide hidden_size, the dropouts are probabilities, pad_token_id is a token and leaves room for
 * positions. Else LK_EVALUE with the sizes and the rule; `where` is what the message begins
 * with. */
bool roberta_config_check(const RobertaConfig *c, const char *where, Error *err);

/* The most tokens that one sentence may have, <s> and </s> included: 512. */
int64_t roberta_max_length(const RobertaConfig *c);

/* folder/config.json, checked. LK_EIO, LK_EFORMAT, LK_EVALUE. */
bool roberta_config_read(RobertaConfig *c, const char *folder, Error *err);
/* Writes folder/config.json, whole or not at all; `architecture` is the class name,
 * "RobertaForMaskedLM". */
bool roberta_config_write(const RobertaConfig *c, const char *architecture, const char *folder,
                          Error *err);

#endif
