/* test_roberta.c - the model of the homework against PyTorch (tests/fixtures/make_roberta.py), its
 * names and counts, and padding. LoRA on it: test_lora_wrap.c. config.json:
 * test_roberta_config.c. At full size: tests/parity/. */
#include "tests/shared/roberta_net.h"

/* ---- names and counts ----------------------------------------------------------------------- */

Test(roberta, names_are_the_hubs)
{
    Error err = { 0 };
    Module *m = lk_roberta_classifier_new(&small, &err);
    int n = 0;
    for (ParamIter it = lk_params(m); lk_params_next(&it); n++) {
        check(n < (int)(sizeof roberta_names / sizeof roberta_names[0]));
        check(strcmp(it.name, roberta_names[n]) == 0, "parameter %d is %s, in PyTorch %s", n,
              it.name, roberta_names[n]);
    }
    check(n == 5 + 3 * 16 + 4);
    lk_free(m);
}

static int count_tensors(Module *m)
{
    int n = 0;
    for (ParamIter it = lk_params(m); lk_params_next(&it);) n++;
    return n;
}

/* The homework's numbers, for every rank of its last part. Nothing of the 500 MB is allocated:
 * matrices are hollow. */
Test(roberta, counts_at_full_size)
{
    static const struct {
        int64_t rank, trainable;
    } cases[] = { { 1, 168194 },  { 2, 336388 },   { 4, 672776 },
                  { 8, 1345552 }, { 16, 2691104 }, { 32, 5382208 } };
    Error err = { 0 };
    Rng rng;
    lk_manual_seed(&rng, 0);
    Module *m = lk_roberta_classifier_new(&lk_roberta_base, &err);
    check(m, "%s", err.message);
    check(lk_count_parameters(m) == 124647170 && count_tensors(m) == 201);
    check(lk_count_parameters(lk_module_at(m, "roberta.embeddings", &err)) == 39000576);
    check(lk_count_parameters(lk_module_at(m, "roberta.encoder.layer.11", &err)) == 7087872);
    check(lk_count_parameters(lk_module_at(m, "classifier", &err)) == 592130);
    check(lk_require_grad(m, "*", false) == 201);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        check(lk_wrap_lora(m, NULL, cases[i].rank, 16, &rng, &err) == 74, "%s", err.message);
        check(lk_count_trainable_parameters(m) == cases[i].trainable);
        check(lk_count_parameters(m) == 124647170 + cases[i].trainable && count_tensors(m) == 349);
        check(lk_unwrap_lora(m) == 74);
    }
    check(lk_count_parameters(m) == 124647170);
    for (ModuleIter it = lk_modules(m); lk_modules_next(&it);)
        if (lk_as_linear(it.module)) check(lk__roberta_is_hollow(lk_as_linear(it.module)->weight));
    lk_free(m);
}

/* ---- PyTorch -------------------------------------------------------------------------------- */

/* |x - expected| within tol of the largest expected value: "relative", where single elements may
 * be nearly 0. */
static void check_near(const char *name, const Tensor *x, const double *expected, int64_t n,
                       double tol)
{
    double largest = 0;
    check(x && lk_numel(x) == n, "%s has not %lld elements", name, (long long)n);
    for (int64_t i = 0; i < n; i++) largest = fmax(largest, fabs(expected[i]));
    check(largest > 1e-6, "%s: numbers that are nearly 0 prove nothing", name);
    for (int64_t i = 0; i < n; i++) {
        double got = x->dtype == LK_F64 ? ((double *)x->data)[i] : (double)((float *)x->data)[i];
        check(fabs(got - expected[i]) <= tol * largest, "%s, element %lld: %.17g, PyTorch %.17g",
              name, (long long)i, got, expected[i]);
    }
}

static void check_summary(const char *name, const Tensor *grad, const double *expected, double tol)
{
    double squares = 0, sum = 0, largest = 0;
    int64_t n = lk_numel(grad);
    Tensor *g = lk_clone(grad, NULL);
    check(g && lk_convert_(g, LK_F64, NULL));
    const double *v = g->data;
    for (int64_t i = 0; i < n; i++) {
        squares += v[i] * v[i];
        sum += v[i] * (double)(i % 7 - 3);
        largest = fmax(largest, fabs(v[i]));
    }
    double got[] = { sqrt(squares), sum, v[0], v[n / 2], v[n - 1] };
    for (int i = 0; i < 5; i++)
        check(fabs(got[i] - expected[i]) <= tol * fmax(3 * sqrt((double)n) * largest, 1e-2),
              "gradient of %s, figure %d: %.17g, PyTorch %.17g", name, i, got[i], expected[i]);
    lk_free(g);
}

static void check_gradients(Module *m, double tol)
{
    int n = 0, adapters = 0;
    for (ParamIter it = lk_params(m); lk_params_next(&it); n++) {
        check(strcmp(it.name, roberta_gradients[n].name) == 0, "%s, in PyTorch %s", it.name,
              roberta_gradients[n].name);
        const Tensor *grad = lk_grad(it.tensor);
        check(grad, "%s has no gradient", it.name);
        bool full = strstr(it.name, ".lora.");
        adapters += full;
        /* A key's bias adds the same to the scores of a query for every key: its gradient
         * is 0 but for rounding. */
        if (strstr(it.name, "key.linear.bias")) continue;
        if (full)
            check_near(it.name, grad, roberta_gradients[n].values, roberta_gradients[n].count,
                       tol);
        else check_summary(it.name, grad, roberta_gradients[n].values, tol);
    }
    check(n == (int)(sizeof roberta_gradients / sizeof roberta_gradients[0]) && adapters == 40);
}

static void check_classifier(DType dtype, double tol, bool recompute)
{
    Error err = { 0 };
    Tape *t = lk_tape_new(&err);
    Module *m = small_model(false, 3);
    draw(m, 5);
    check(lk_module_to(m, dtype, &err));
    lk_roberta_set_recompute(m, recompute);
    Tensor *ids = small_ids(), *labels = lk_tensor(t, LK_I64, LK_SHAPE(ROWS), roberta_labels);
    Tensor *logits = lk_roberta_logits(t, m, ids, mask_of(t, ids)),
           *loss = lk_cross_entropy(t, logits, labels);
    check(lk_backward(t, loss), "%s", lk_tape_error(t)->message);
    check_near("logits", logits, roberta_logits_expected, ROWS * 2, tol);
    check_near("loss", loss, roberta_loss_expected, 1, tol);
    check_gradients(m, tol);
    lk_free(ids);
    lk_free(m);
    lk_tape_free(t);
}

Test(roberta, agrees_with_pytorch_in_float64)
{
    check_classifier(LK_F64, 1e-10, false);
    check_classifier(LK_F64, 1e-10, true);
}

Test(roberta, agrees_with_pytorch_in_float32)
{
    check_classifier(LK_F32, 1e-4, false);
    check_classifier(LK_F32, 1e-4, true);
}

static void check_masked_lm(DType dtype, double tol)
{
    enum { PLACES = sizeof roberta_masked_rows / sizeof roberta_masked_rows[0] };
    Error err = { 0 };
    Tape *t = lk_tape_new(&err);
    Module *m = small_model(true, 0);
    draw(m, 6);
    check(lk_module_to(m, dtype, &err));
    Tensor *ids = small_ids(), *rows = lk_tensor(t, LK_I64, LK_SHAPE(PLACES), roberta_masked_rows);
    Tensor *targets = lk_tensor(t, LK_I64, LK_SHAPE(PLACES), roberta_masked_targets);
    Tensor *loss =
        lk_cross_entropy(t, lk_roberta_token_logits(t, m, ids, NULL, rows, NULL), targets);
    check(lk_backward(t, loss), "%s", lk_tape_error(t)->message);
    check_near("loss", loss, roberta_masked_loss, 1, tol);
    check_near("gradient of the tied embedding",
               lk_grad(lk_param_at(m, "roberta.embeddings.word_embeddings.weight", &err)),
               roberta_masked_words_grad, small.vocab_size * small.hidden_size, tol);
    check_near("gradient of the decoder's bias", lk_grad(lk_param_at(m, "lm_head.bias", &err)),
               roberta_masked_bias_grad, small.vocab_size, tol);
    lk_free(ids);
    lk_free(m);
    lk_tape_free(t);
}

Test(roberta, masked_lm_agrees_with_pytorch)
{
    check_masked_lm(LK_F64, 1e-10);
    check_masked_lm(LK_F32, 1e-4);
}

/* The scores of some tokens are those among all. */
Test(roberta, scores_of_some_tokens)
{
    Tape *t = lk_tape_new(NULL);
    Module *m = small_model(true, 0);
    draw(m, 6);
    Tensor *ids = small_ids(), *rows = lk_tensor(t, LK_I64, LK_SHAPE(2), LK_I64S(3, 9));
    Tensor *tokens = lk_tensor(t, LK_I64, LK_SHAPE(3), LK_I64S(40, 2, 17));
    Tensor *all = lk_roberta_token_logits(t, m, ids, NULL, rows, NULL);
    Tensor *some = lk_roberta_token_logits(t, m, ids, NULL, rows, tokens);
    check(some, "%s", lk_tape_error(t)->message);
    check_shape(some, LK_SHAPE(2, 3));
    check_close_to(some, lk_T(t, lk_select_rows(t, lk_T(t, all), tokens)), 1e-5);
    lk_free(ids);
    lk_free(m);
    lk_tape_free(t);
}

/* ---- what is computed, and what is not ------------------------------------------------------ */

/* Pads at the end, as many as there are positions for, change nothing. */
Test(roberta, padding_does_not_matter)
{
    enum { LONG = 11 };
    Tape *t = lk_tape_new(NULL);
    Module *m = small_model(false, 2);
    draw(m, 7);
    Tensor *ids = small_ids();
    int64_t padded[ROWS * LONG];
    for (int i = 0; i < ROWS * LONG; i++)
        padded[i] = i % LONG < LENGTH ? roberta_ids[i / LONG * LENGTH + i % LONG] : 1;
    Tensor *longer = lk_tensor(t, LK_I64, LK_SHAPE(ROWS, LONG), padded);
    Tensor *a = lk_roberta_logits(t, m, ids, mask_of(t, ids)),
           *b = lk_roberta_logits(t, m, longer, NULL);
    check_close_to(a, b, 1e-5);
    for (int row = 0; row < ROWS; row++) { /* alone, without any pad */
        int64_t length = 0;
        while (length < LENGTH && roberta_ids[row * LENGTH + length] != 1) length++;
        Tensor *one = lk_tensor(t, LK_I64, LK_SHAPE(1, length), roberta_ids + row * LENGTH);
        Tensor *c = lk_roberta_logits(t, m, one, NULL);
        check(c, "%s", lk_tape_error(t)->message);
        for (int k = 0; k < 2; k++)
            check(fabs(lk_at(c, LK_INDEX(0, k)) - lk_at(a, LK_INDEX(row, k))) <= 1e-5);
    }
    lk_free(ids);
    lk_free(m);
    lk_tape_free(t);
}

/* The sentences `rows` as one batch of `length` columns; each one's logits go to its place. */
static void logits_of(Tape *t, Module *m, int count, const int *rows, int64_t length,
                      const int64_t *lengths, const int64_t (*words)[512], double (*logits)[2])
{
    Tensor *ids = lk_full(t, LK_I64, LK_SHAPE(count, length), 1);
    for (int i = 0; i < count; i++)
        memcpy((int64_t *)ids->data + i * length, words[rows[i]],
               (size_t)lengths[rows[i]] * sizeof(int64_t));
    Tensor *y = lk_roberta_logits(t, m, ids, mask_of(t, ids));
    check(y, "%s", lk_tape_error(t)->message);
    for (int i = 0; i < count; i++)
        for (int k = 0; k < 2; k++) logits[rows[i]][k] = lk_at(y, LK_INDEX(i, k));
    lk_tape_reset(t);
}

/* Alone, with the next one, with one of similar length, or all at 512: relative to their size the
 * same logits. */
Test(roberta, the_three_paddings_agree_at_512)
{
    enum { SENTENCES = 4, MAX = 512 };
    static const int64_t lengths[SENTENCES] = { 5, 200, 9, 31 };
    static int64_t words[SENTENCES][MAX];
    double alone[SENTENCES][2], longest[SENTENCES][2], grouped[SENTENCES][2], max[SENTENCES][2],
        largest = 0;
    RobertaConfig c = small;
    c.max_position_embeddings = MAX + 2;
    Rng rng;
    lk_manual_seed(&rng, 0);
    Module *m = lk_roberta_classifier_new(&c, NULL);
    check(m && lk_roberta_fill(m, &rng, NULL) && lk_roberta_max_length(&c) == MAX);
    draw(m, 10);
    lk_eval(m);
    for (int i = 0; i < SENTENCES; i++)
        for (int64_t k = 0; k < lengths[i]; k++) {
            bool last = k == lengths[i] - 1;
            if (k == 0 || last) words[i][k] = k == 0 ? 0 : 2;
            else words[i][k] = lk_random_int(&rng, 3, small.vocab_size);
        }
    Tape *t = lk_tape_new(NULL);
    lk_tape_set_grad(t, false);
#define BATCH(length, out, ...) \
    logits_of(t, m, sizeof((int[]){ __VA_ARGS__ }) / sizeof(int), (int[]){ __VA_ARGS__ }, length, \
              lengths, (const int64_t(*)[512])words, out)
    for (int i = 0; i < SENTENCES; i++) BATCH(lengths[i], alone, i);
    BATCH(200, longest, 0, 1), BATCH(31, longest, 2, 3);
    BATCH(9, grouped, 0, 2), BATCH(200, grouped, 3, 1);
    BATCH(MAX, max, 0, 1, 2, 3);
    for (int i = 0; i < SENTENCES * 2; i++) largest = fmax(largest, fabs(alone[i / 2][i % 2]));
    check(largest > 0.01, "logits that are nearly 0 prove nothing");
    for (int i = 0; i < SENTENCES * 2; i++) {
        int s = i / 2, k = i % 2;
        double expected = alone[s][k], got[] = { longest[s][k], grouped[s][k], max[s][k] };
        for (int way = 0; way < 3; way++)
            check(fabs(got[way] - expected) <= 1e-5 * largest,
                  "sentence %d, way %d: %.9g, alone %.9g", s, way, got[way], expected);
    }
    lk_free(m);
    lk_tape_free(t);
}

Test(roberta, frozen_parameters_get_no_gradient)
{
    Tape *t = lk_tape_new(NULL);
    Module *m = small_model(false, 2);
    lk_require_grad(m, "*", false);
    check(lk_require_grad(m, "*.lora.*", true) == 40);
    draw(m, 8);
    lk_train(m, true);
    Tensor *ids = small_ids(), *labels = lk_tensor(t, LK_I64, LK_SHAPE(ROWS), roberta_labels);
    check(lk_backward(t, lk_cross_entropy(t, lk_roberta_logits(t, m, ids, NULL), labels)));
    for (ParamIter it = lk_params(m); lk_params_next(&it);)
        check(!!lk_grad(it.tensor) == !!strstr(it.name, ".lora."), "%s", it.name);
    lk_free(ids);
    lk_free(m);
    lk_tape_free(t);
}

/* Dropout: active in training mode only, another mask for every call, the same after the same
 * seed; the same gradients when every layer is computed a second time in backward. */
Test(roberta, dropout_and_recomputation)
{
    Tape *t = lk_tape_new(NULL);
    Module *m = small_model(false, 2);
    draw(m, 9);
    lk_train(m, true);
    Tensor *ids = small_ids(), *first = NULL, *grad = NULL;
    for (int run = 0; run < 2; run++) {
        lk_tape_seed(t, 3);
        lk_roberta_set_recompute(m, run == 1);
        lk_module_zero_grad(m);
        Tensor *labels = lk_tensor(t, LK_I64, LK_SHAPE(ROWS), roberta_labels);
        Tensor *logits = lk_roberta_logits(t, m, ids, NULL);
        check(lk_backward(t, lk_cross_entropy(t, logits, labels)), "%s",
              lk_tape_error(t)->message);
        Tensor *A = lk_param_at(m, "roberta.encoder.layer.0.attention.self.query.lora.A", NULL);
        if (run == 0) {
            first = lk_clone(logits, NULL);
            grad = lk_clone(lk_grad(A), NULL);
            check(!lk_equal(lk_roberta_logits(t, m, ids, NULL), first),
                  "two calls have the same dropout");
        } else {
            check_equal(logits, first);
            check_equal(lk_grad(A), grad);
        }
        lk_tape_reset(t);
    }
    lk_free(grad);
    lk_free(first);
    lk_free(ids);
    lk_free(m);
    lk_tape_free(t);
}

/* The parts that drop out in training: with the probability of the config's own key in the head,
 * or of all layers. */
Test(roberta, the_head_has_its_own_dropout)
{
    static const struct {
        double hidden, head;
        bool drops;
    } cases[] = { { 0, NAN, false }, { 0, 0.5, true }, { 0.5, NAN, true } };
    Tape *t = lk_tape_new(NULL);
    Tensor *ids = small_ids();
    for (int i = 0; i < 3; i++) {
        RobertaConfig c = small;
        Rng rng;
        lk_manual_seed(&rng, 0);
        c.attention_probs_dropout_prob = 0;
        c.hidden_dropout_prob = cases[i].hidden;
        c.classifier_dropout = cases[i].head;
        Module *m = lk_roberta_classifier_new(&c, NULL);
        check(m && lk_roberta_fill(m, &rng, NULL));
        draw(m, 9);
        RobertaClassificationHead *head = (RobertaClassificationHead *)((Roberta *)m)->classifier;
        check(head->dropout == (isnan(cases[i].head) ? cases[i].hidden : cases[i].head));
        Tensor *first = lk_roberta_logits(t, m, ids, NULL),
               *second = lk_roberta_logits(t, m, ids, NULL);
        check(first && second && lk_equal(first, second) == !cases[i].drops, "case %d", i);
        lk_free(m);
        lk_tape_reset(t);
    }
    lk_free(ids);
    lk_tape_free(t);
}

static size_t held; /* bytes that are allocated now */
static void *counting_alloc(size_t bytes)
{
    size_t *block = aligned_alloc(64, (bytes + 127) / 64 * 64);
    if (!block) return NULL;
    *block = bytes;
    held += bytes;
    return (char *)block + 64;
}
static void counting_free(void *p)
{
    if (!p) return;
    size_t *block = (size_t *)((char *)p - 64);
    held -= *block;
    free(block);
}

/* Without gradients a deep model needs no more memory than a flat one. */
Test(roberta, inference_needs_the_memory_of_one_layer)
{
    size_t needed[2];
    lk_set_allocator(counting_alloc, counting_free);
    for (int deep = 0; deep < 2; deep++) {
        RobertaConfig c = small;
        c.num_hidden_layers = deep ? 24 : 2;
        Rng rng;
        lk_manual_seed(&rng, 0);
        Module *m = lk_roberta_classifier_new(&c, NULL);
        Tensor *ids = small_ids();
        check(m && lk_roberta_fill(m, &rng, NULL));
        lk_eval(m);
        size_t before = held;
        Tape *t = lk_tape_new(NULL);
        lk_tape_set_grad(t, false);
        check(lk_roberta_logits(t, m, ids, NULL));
        needed[deep] = held - before;
        lk_tape_free(t);
        lk_free(ids);
        lk_free(m);
    }
    check(needed[1] == needed[0], "%zu bytes for 2 layers, %zu for 24", needed[0], needed[1]);
}

/* Matrices that have no elements yet are drawn in the order of the names; the rest is what a new
 * module has. */
Test(roberta, fill_draws_what_is_missing)
{
    Error err = { 0 };
    Rng rng;
    lk_manual_seed(&rng, 4);
    Module *m = lk_roberta_classifier_new(&small, &err);
    check(lk_roberta_fill(m, &rng, &err));
    lk_manual_seed(&rng, 4);
    for (ParamIter it = lk_params(m); lk_params_next(&it);) {
        if (it.tensor->ndim != 2) {
            double expected = strstr(it.name, "LayerNorm.weight") ? 1 : 0;
            for (int64_t i = 0; i < it.tensor->shape[0]; i++)
                check(lk_at(it.tensor, LK_INDEX(i)) == expected);
            continue;
        }
        Tensor *x =
            lk_tensor_new(LK_F32, LK_SHAPE(it.tensor->shape[0], it.tensor->shape[1]), &err);
        lk_normal_(x, 0, 0.02, &rng);
        bool pads = strstr(it.name, "word_") || strstr(it.name, "position_");
        if (pads) memset((float *)x->data + x->shape[1], 0, (size_t)x->shape[1] * sizeof(float));
        check_equal(it.tensor, x);
        lk_free(x);
    }
    lk_free(m);
}

/* Wherever memory ends, the reason is told, and all that was made is freed; a model that gets no
 * LoRA is as it was. */
Test(roberta, no_memory)
{
    check_alloc_begin();
    for (int64_t n = 0, failed = 1; failed; n += n < 40 ? 1 : 7) {
        Error err = { 0 };
        Rng rng;
        lk_manual_seed(&rng, 0);
        check_fail_after(n);
        Module *m = lk_roberta_classifier_new(&small, &err);
        bool made = m && lk_roberta_fill(m, &rng, &err);
        bool wrapped = made && lk_wrap_lora(m, NULL, 2, 1, &rng, &err) == 20;
        failed = check_alloc_failed();
        check(wrapped == !failed && (err.code == LK_EMEMORY) == (failed > 0), "%lld: %s",
              (long long)n, err.message);
        check_fail_after(-1);
        if (made && !wrapped) check(lk_unwrap_lora(m) == 0 && count_tensors(m) == 5 + 3 * 16 + 4);
        lk_free(m);
        check(check_alloc_live() == 0);
    }
}

Test(roberta, bad_input)
{
    Tape *t = quiet_tape();
    Module *m = small_model(false, 0), *lm = small_model(true, 0);
    Tensor *ids = lk_full(t, LK_I64, LK_SHAPE(1, 13), 5),
           *flat = lk_full(t, LK_I64, LK_SHAPE(3), 5);
    check(!lk_roberta_logits(t, m, ids, NULL));
    check_error(lk_tape_error(t), LK_ESHAPE,
                "row 0 has 13 tokens, and there are positions for 12 only");
    lk_tape_clear_error(t);
    check(!lk_roberta_logits(t, m, flat, NULL));
    check_error(lk_tape_error(t), LK_ESHAPE, "ids are (3,) of int64");
    lk_tape_clear_error(t);
    check(!lk_roberta_logits(t, lm, ids, NULL));
    check_error(lk_tape_error(t), LK_EVALUE,
                "takes a RobertaForSequenceClassification, not RobertaForMaskedLM");
    lk_tape_clear_error(t);
    check(!lk_roberta_logits(t, m, lk_full(t, LK_I64, LK_SHAPE(1, 3), 50), NULL));
    check(lk_tape_error(t)->code == LK_EVALUE, "%s", lk_tape_error(t)->message);
    lk_free(lm);
    lk_free(m);
    lk_tape_free(t);
}
