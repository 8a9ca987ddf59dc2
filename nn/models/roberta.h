/* roberta.h - RoBERTa (Liu et al. 2019, arXiv:1907.11692), the encoder of BERT: transformers'
 * RobertaForSequenceClassification and RobertaForMaskedLM, with their names.
 *
 *     Module *model = lk_roberta_classifier_new(&config, &err);  -- shapes only, no memory yet
 *     lk_roberta_load_base(model, path, NULL, &err);             -- data/roberta_files.h
 *     lk_roberta_fill(model, &rng, &err);                        -- draws the missing matrices
 *     Tensor *logits = lk_roberta_logits(t, model, ids, mask);
 *
 * Names and order of the parameters are those of the hub:
 * roberta.embeddings.word_embeddings.weight, …,
 * roberta.encoder.layer.0.attention.self.query.weight, …, classifier.out_proj.bias. LoRA:
 * nn/lora_wrap.h. */
#ifndef LK_ROBERTA_H
#define LK_ROBERTA_H

#include "nn/models/roberta_config.h"
#include "nn/module.h"

/* RobertaForSequenceClassification: 201 tensors for the base's 12 layers. The weight matrices are
 * hollow: they have a shape, so that they are named, counted and loaded, but no elements before
 * lk_roberta_fill or a loader gives them some. NULL: LK_EVALUE for a config that
 * lk_roberta_config_check refuses, LK_EMEMORY. */
LK_API Module *lk_roberta_classifier_new(const RobertaConfig *c, Error *err);
/* RobertaForMaskedLM: the decoder of its head is the word embedding itself, not a parameter of its
 * own. */
LK_API Module *lk_roberta_masked_lm_new(const RobertaConfig *c, Error *err);

/* The config that a model was made of, borrowed; NULL for any other module. */
LK_API const RobertaConfig *lk_roberta_config(const Module *model);

/* Fills every matrix that is still hollow with N(0, initializer_range), drawn in the order of the
 * names, and the padding row of an embedding with zeros. transformers does this with weights that
 * a checkpoint lacks. (Biases are 0 and LayerNorms 1 and 0 from the start.) After lk_store_frozen
 * (nn/frozen.h) each is drawn in float32 and rounded, so the whole model is never there in
 * float32. LK_EMEMORY. */
LK_API bool lk_roberta_fill(Module *model, Rng *rng, Error *err);
/* ids (B, S) int64, mask (B, S) bool → logits (B, num_labels). mask is true for real tokens; if it
 * is NULL, all ids but pad_token_id are real tokens. Dropout is active in training mode. The last
 * layer is computed for the first token only, since the classifier looks at nothing else. Without
 * gradients all layers share the memory of one. */
LK_API Tensor *lk_roberta_logits(Tape *t, Module *classifier, Tensor *ids, Tensor *mask);

/* rows (K) int64, places among the B·S tokens, counted row by row → (K, vocab_size): the language
 * model's scores at those places. If tokens (V) int64 is not NULL, computes only the scores of
 * these tokens, (K, V), which saves the other products. */
LK_API Tensor *lk_roberta_token_logits(Tape *t, Module *masked_lm, Tensor *ids, Tensor *mask,
                                       Tensor *rows, Tensor *tokens);

/* torch.utils.checkpoint around each layer: keeps only the input of a layer, and runs the layer
 * again in backward. Off at first. */
LK_API void lk_roberta_set_recompute(Module *model, bool on);

#endif
