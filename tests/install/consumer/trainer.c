/* trainer.c - a user's program: a small RoBERTa, written to a folder and loaded from it, gets LoRA
 * and is trained by the Trainer, in one run and in two.
 *
 *     trainer FOLDER      an empty folder, for the model and the checkpoints */
#include <lorikeet/lorikeet.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int failed(const char *step, const Error *err)
{
    fprintf(stderr, "%s: %s\n", step, err->message);
    return EXIT_FAILURE;
}

static Tensor *loss_of(Tape *t, void *model, const TrainerBatch *b, Tensor **logits)
{
    Tensor *y = lk_roberta_logits(t, model, b->x, b->mask);
    if (logits) *logits = y;
    return lk_cross_entropy(t, y, b->labels);
}

/* Trains a model from the folder on the sentences, and returns its accuracy; -1 with the reason in
 * err. */
static double train(const char *folder, TextDataset *data, const char *output, const char *resume,
                    int64_t stop_after, Error *err)
{
    Rng rng;
    RobertaConfig config;
    char weights[LK_PATH_MAX];
    lk_manual_seed(&rng, 1);
    bool ok = lk_roberta_config_read(&config, folder, err) &&
              lk_path_join(weights, folder, "model.safetensors", err);
    Module *model = ok ? lk_roberta_classifier_new(&config, err) : NULL;
    ok = model && lk_roberta_load_base(model, weights, NULL, err);
    lk_require_grad(model, "*", false);
    ok = ok && lk_wrap_lora(model, "query,value", 2, 4, &rng, err) > 0 &&
         lk_require_grad(model, "classifier.*", true) > 0;

    Tape *t = lk_tape_quiet_new(err);
    TextLoader *loader = lk_text_loader_new(
        data, &(TextOptions){ .batch_size = 4, .order = LK_SHUFFLED, .pad = 1 }, &rng, err);
    TrainerAccuracy accuracy = lk_trainer_accuracy();
    Trainer tr = { .args = lk_trainer_defaults(),
                   .model = model,
                   .t = t,
                   .rng = &rng,
                   .loss = loss_of,
                   .user = model,
                   .train = lk_text_batches(loader),
                   .eval = lk_text_batches(loader),
                   .metrics = &accuracy.base,
                   .store = &lk_checkpoints };
    tr.args.epochs = 4, tr.args.learning_rate = 5e-3, tr.args.stop_after = stop_after;
    tr.args.output_dir = output, tr.args.resume_from = resume;
    TrainerLog log;
    ok = ok && t && loader && lk_trainer_train(&tr, err) && lk_trainer_evaluate(&tr, &log, err);
    double result = ok ? lk_trainer_log_get(&log, "eval_loss") : -1;
    lk_trainer_free(&tr);
    lk_text_loader_free(loader);
    lk_tape_free(t);
    lk_free(model);
    return result;
}

int main(int argc, char **argv)
{
    Error err = { 0 };
    Rng rng;
    char model_path[LK_PATH_MAX], whole[LK_PATH_MAX], parts[LK_PATH_MAX], checkpoint[LK_PATH_MAX];
    if (argc != 2) return EXIT_FAILURE;
    const char *folder = argv[1];
    RobertaConfig config = lk_roberta_base;
    config.vocab_size = 20, config.hidden_size = 8, config.num_hidden_layers = 2;
    config.num_attention_heads = 2, config.intermediate_size = 16;
    config.max_position_embeddings = 12;
    lk_manual_seed(&rng, 0);
    Module *base = lk_roberta_classifier_new(&config, &err);
    bool ok = base && lk_roberta_fill(base, &rng, &err) &&
              lk_path_join(model_path, folder, "model.safetensors", &err) &&
              lk_roberta_config_write(&config, "RobertaForSequenceClassification", folder, &err) &&
              lk_save_module(base, model_path, &err);
    lk_free(base);
    if (!ok) return failed("model", &err);

    TextDataset *data = lk_text_dataset_new(&err);
    for (int64_t i = 0; data && i < 12; i++) {
        const int64_t ids[] = { 0, 4 + i, 4 + i % 2, 2 };
        if (!lk_text_add(data, ids, 4, i % 2, &err)) return failed("data", &err);
    }
    ok = lk_path_join(whole, folder, "whole", &err) &&
         lk_path_join(parts, folder, "parts", &err) &&
         lk_path_join(checkpoint, parts, "checkpoint-5", &err);
    double once = ok ? train(folder, data, whole, NULL, 0, &err) : -1;
    double stopped = once >= 0 ? train(folder, data, parts, NULL, 5, &err) : -1;
    double resumed = stopped >= 0 ? train(folder, data, parts, checkpoint, 0, &err) : -1;
    lk_text_dataset_free(data);
    if (resumed < 0) return failed("training", &err);
    printf("loss %.9g in one run, %.9g in two\n", once, resumed);
    return once == resumed && stopped != once ? EXIT_SUCCESS : EXIT_FAILURE;
}
