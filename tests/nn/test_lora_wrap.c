/* test_lora_wrap.c - LoRA on the model of the homework: which Linears get it, and that training
 * it leaves the base's file alone. The model itself: test_roberta.c. */
#include "tests/shared/roberta_net.h"
#include "tests/shared/smaps.h"

Test(lora_wrap, targets)
{
    static const struct {
        const char *targets;
        int count;
    } cases[] = {
        { "query", 3 },
        { "query,value", 6 },
        { "attention.output.dense", 3 },
        { "output.dense", 6 },
        { "*", 20 },
        { "layer.2.*", 6 },
        { "classifier.*", 2 },
        { "roberta.encoder.layer.0.intermediate.dense,out_proj", 2 },
        { "query,query", 3 },
        { "!query", 17 },
        { "query,value,!layer.0.*", 4 },
        { "!layer.*", 2 },
    };
    Error err = { 0 };
    Rng rng;
    lk_manual_seed(&rng, 0);
    Module *m = small_model(false, 0);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int n = lk_wrap_lora(m, cases[i].targets, 2, 1, &rng, &err);
        check(n == cases[i].count, "%s: %d, expected %d %s", cases[i].targets, n, cases[i].count,
              err.message);
        check(lk_unwrap_lora(m) == n);
    }
    lk_free(m);
}

Test(lora_wrap, lora_facts_are_those_of_the_model)
{
    Error err = { 0 };
    Rng rng;
    lk_manual_seed(&rng, 0);
    Module *m = small_model(false, 0);
    check(lk_lora_facts(m).count == 0);
    check(lk_wrap_lora(m, "query,attention.output.dense,out_proj", 2, 0.5, &rng, &err) == 7);
    LoRAFacts f = lk_lora_facts(m), other;
    check(f.count == 7 && f.rank == 2 && f.alpha == 0.5);
    check(strcmp(f.targets,
                 "roberta.encoder.layer.*.attention.self.query,"
                 "roberta.encoder.layer.*.attention.output.dense,classifier.out_proj") == 0);
    for (ModuleIter it = lk_modules(m); lk_modules_next(&it);)
        if (lk_as_lora_layer(it.module)) {
            lk_as_lora_layer(it.module)->alpha = 3;
            break;
        }
    other = lk_lora_facts(m);
    check(isnan(other.alpha) && other.rank == 2 && other.alphas != f.alphas);

    /* A wrapper whose LoRALayer was replaced by something else has no LoRA. */
    for (ModuleIter it = lk_modules(m); lk_modules_next(&it);) {
        LinearWithLoRA *wrapper = lk_as_linear_with_lora(it.module);
        if (!wrapper) continue;
        check(lk_module_set(&wrapper->lora, lk_linear_new(2, 2, false, &rng, NULL), &err));
        break;
    }
    check(lk_lora_facts(m).count == 6);
    lk_free(m);
}

/* One Linear in two places gets one wrapper, in both, and comes back to both. */
Test(lora_wrap, a_linear_in_two_places)
{
    Error err = { 0 };
    Rng rng;
    lk_manual_seed(&rng, 0);
    Module *m = small_model(false, 0);
    Module *query = lk_module_at(m, "roberta.encoder.layer.0.attention.self.query", &err);
    check(lk_module_set(lk_slot_at(m, "roberta.encoder.layer.2.attention.self.query", &err),
                        lk_retain(query), &err));
    check(lk_wrap_lora(m, NULL, 2, 1, &rng, &err) == 19, "%s", err.message);
    Module *first = lk_module_at(m, "roberta.encoder.layer.0.attention.self.query", &err);
    check(lk_as_linear_with_lora(first) && lk_as_linear_with_lora(first)->linear == query);
    check(lk_module_at(m, "roberta.encoder.layer.2.attention.self.query", &err) == first);
    check(lk_unwrap_lora(m) == 19);
    check(lk_module_at(m, "roberta.encoder.layer.0.attention.self.query", &err) == query);
    check(lk_module_at(m, "roberta.encoder.layer.2.attention.self.query", &err) == query &&
          query->refs == 2);
    lk_free(m);
}

Test(lora_wrap, wrong_targets_change_nothing)
{
    static const struct {
        const char *targets, *message;
    } cases[] = {
        { "querry", "no Linear, Conv1d, Conv2d or Embedding of the model is called 'querry'; "
                    "nearest: query" },
        { "query,atention.output.dense",
          "called 'atention.output.dense'; nearest: attention.output.dense" },
        { "query,", NULL },
        { "", "the list of targets is empty" },
        { "layer.9.*",
          "no Linear, Conv1d, Conv2d or Embedding of the model is called 'layer.9.*'" },
        { "!*", "the targets '!*' leave no Linear" },
        { "query,!query", "the targets 'query,!query' leave no Linear" },
    };
    Rng rng;
    lk_manual_seed(&rng, 0);
    Module *m = small_model(false, 0);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        Error err = { 0 };
        int n = lk_wrap_lora(m, cases[i].targets, 2, 1, &rng, &err);
        if (!cases[i].message) {
            check(n > 0 && lk_unwrap_lora(m) == n);
            continue;
        }
        check(n == -1 && lk_unwrap_lora(m) == 0);
        check_error(&err, LK_EVALUE, cases[i].message);
    }
    Error err = { 0 };
    check(lk_wrap_lora(m, "query", 0, 1, &rng, &err) == -1 && lk_unwrap_lora(m) == 0);
    check(err.code == LK_EVALUE);
    err = (Error){ 0 };
    check(lk_wrap_lora(m, "query", 2, 1, &rng, &err) == 3 &&
          lk_wrap_lora(m, "value", 2, 1, &rng, &err) == -1);
    check_error(&err, LK_ESTATE, "has LoRA already");
    lk_free(m);
}

/* A table that is only called may get LoRA; one that is read is refused when the model runs. */
Test(lora_wrap, embeddings)
{
    Error err = { 0 };
    Rng rng;
    lk_manual_seed(&rng, 0);
    Module *m = small_model(false, 0);
    Tape *t = lk_tape_new(NULL);
    Tensor *ids = small_ids();
    check(lk_wrap_lora(m, "word_embeddings", 2, 1, &rng, &err) == 1, "%s", err.message);
    check(lk_roberta_logits(t, m, ids, NULL) && lk_unwrap_lora(m) == 1);
    check(lk_wrap_lora(m, "position_embeddings", 2, 1, &rng, &err) == 1, "%s", err.message);
    check(!lk_roberta_logits(t, m, ids, NULL));
    check_error(lk_tape_error(t), LK_EVALUE,
                "roberta: EmbeddingWithLoRA is in the place of an Embedding");
    lk_free(ids);
    lk_tape_free(t);
    lk_free(m);
}

/* The mapping of a base that LoRA trains on would take writes, and copy the page: none comes. */
Test(lora_wrap, training_writes_to_no_page_of_the_base)
{
    Error err = { 0 };
    Rng rng;
    lk_manual_seed(&rng, 0);
    Module *saved = small_model(false, 0), *m = lk_roberta_classifier_new(&small, &err);
    const char *path = check_scratch("base.safetensors");
    draw(saved, 8);
    check(lk_save_module(saved, path, &err) && lk_load_module_mapped(m, path, NULL, NULL, &err),
          "%s", err.message);
    lk_require_grad(m, "*", false);
    check(lk_wrap_lora(m, NULL, 2, 4, &rng, &err) == 20, "%s", err.message);
    Optimizer *opt = lk_adamw_new(lk_trainable_parameters(m, &err), 1e-2, &err);
    Tape *t = lk_tape_new(&err);
    Tensor *ids = small_ids();
    double first = 0, last = 0;
    for (int step = 0; step < 5; step++, lk_tape_reset(t)) {
        Tensor *labels = lk_tensor(t, LK_I64, LK_SHAPE(ROWS), roberta_labels);
        Tensor *loss = lk_cross_entropy(t, lk_roberta_logits(t, m, ids, NULL), labels);
        lk_optimizer_zero_grad(opt);
        check(lk_backward(t, loss) && lk_step(opt, &err), "%s", lk_tape_error(t)->message);
        last = lk_item(loss);
        if (step == 0) first = last;
    }
    check(last < first, "loss %g, then %g: nothing was learnt", first, last);
    Tensor *W = lk_param_at(m, "roberta.encoder.layer.0.attention.self.query.linear.weight", &err);
    check_equal(W,
                lk_param_at(saved, "roberta.encoder.layer.0.attention.self.query.weight", &err));
    if (access("/proc/self/smaps", R_OK) == 0) {
        check(dirty("base.safetensors") == 0, "%ld kB of the base were written",
              dirty("base.safetensors"));
        lk_fill_(W, 1); /* this would be seen */
        check(dirty("base.safetensors") > 0);
    }
    lk_free(ids);
    lk_tape_free(t);
    lk_optimizer_free(opt);
    lk_free(m);
    lk_free(saved);
}
