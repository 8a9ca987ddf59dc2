/* nb1.c - the checks of nb1: flattening, accuracy, training on images, the copy with LoRA, and the
 * notebook from its beginning to its end. */
#include <math.h>
#include <string.h>

#include "data/digits.h"
#include "examples/course/checks/digits.h"
#include "nn/linear.h"
#include "optim/optimizer.h"

enum { RANK = 3, EPOCHS = 2 };
static const double ALPHA = 8.0, RATE = 0.02;

/* ---- testing -------------------------------------------------------------------------------- */

static void images_become_rows(Exam *e)
{
    enum { N = 3 };
    Matrix x = matrix_random(e, N, PIXELS);
    Tensor *leaf = exam_leaf(e, x);
    Tensor *images = lk_view(e->t, leaf, LK_SHAPE(N, 1, 28, 28));
    Tensor *y = exam_result(e, "flatten_images, images (3, 1, 28, 28),",
                            CALL(e, flatten_images, e->t, images));
    const Mistake mistakes[] = {
        { "batch ignored", "One row an image: lk_view(t, images, LK_SHAPE(-1, 28 * 28)).",
          matrix_reshape(e, x, 1, N * PIXELS) },
        { "sizes exchanged", "The images come first: LK_SHAPE(-1, 28 * 28).",
          matrix_reshape(e, x, PIXELS, N) },
    };
    exam_equal(e, "flatten_images", y, x, MISTAKES(mistakes));
    Tensor *without = lk_view(e->t, leaf, LK_SHAPE(N, 28, 28));
    y = exam_result(e, "flatten_images, images (3, 28, 28),",
                    CALL(e, flatten_images, e->t, without));
    exam_equal(e, "flatten_images of (3, 28, 28)", y, x, NO_MISTAKES);
}

/* 23 images in batches of 10, 10 and 3. */
enum { IMAGES = 23, BATCH = 10 };
static const int labels[IMAGES] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 3, 3,
                                    3, 6, 6, 8, 8, 8, 8, 9, 9, 1, 2 };
static const int answers[IMAGES] = { 0, 1, 2, 5, 4, 5, 0, 7, 8, 4, 3, 8,
                                     2, 5, 6, 4, 9, 3, 5, 9, 9, 7, 7 };

static Matrix number(Exam *e, double value)
{
    Matrix m = matrix_zeros(e, 1, 1);
    if (m.v) m.v[0] = value;
    return m;
}

/* Compares a number with the expected one. */
static void compare_number(Exam *e, const char *call, double value, double right,
                           const Mistake *mistakes, int count)
{
    Tensor *got = exam_own_tensor(e, lk_tensor_from_new(LK_F64, 0, NULL, &value, &e->err));
    exam_equal(e, call, got, number(e, right), mistakes, count);
}

/* Names the usual reasons of a refusal. */
static void explain_refusal(Exam *e)
{
    if (e->failed && strstr(e->verdict.text, "lk_eq"))
        exam_looks_like(e, "argmax over the batch",
                        "logits are (n, 10); the classes are dimension 1: lk_argmax(t, logits, 1, "
                        "false).");
    if (e->failed && strstr(e->verdict.text, "the net gets x"))
        exam_looks_like(e, "images not flattened",
                        "Give the net flatten_images(t, b.x), not b.x.");
}

/* The learner's accuracy of a spy; NAN when it failed. */
static double accuracy_of(Exam *e, Spy *spy)
{
    Dataset *data = digits_spy_data_new(e, IMAGES, labels, answers);
    DataLoader *loader = data ? lk_loader_new(data, BATCH, true, &e->own_rng, &e->err) : NULL;
    if (loader) loader->shuffle = false;
    double a = spy && loader ? CALL(e, compute_accuracy, e->t, &spy->base, loader, &e->err) : NAN;
    if (!lk_tape_ok(e->t, &e->err))
        exam_fail(e, VERDICT_FAILED, "compute_accuracy failed:\n%s", e->err.message);
    explain_refusal(e);
    if (isnan(a) && !e->failed) {
        exam_fail(e, VERDICT_VALUE, "compute_accuracy gives no number: no image was counted");
        exam_looks_like(e, "the pass not begun",
                        "Every pass begins with lk_loader_begin(loader).");
    }
    lk_loader_free(loader);
    lk_dataset_free(data);
    return a;
}

static void all_images_count(Exam *e)
{
    double a = accuracy_of(e, digits_spy(e, NULL, true));
    double right[3] = { 0.0 }, size[3] = { 0.0 }, all = 0.0;
    for (int i = 0; i < IMAGES; i++) {
        right[i / BATCH] += labels[i] == answers[i];
        size[i / BATCH] += 1.0;
        all += labels[i] == answers[i];
    }
    const double mean = (right[0] / size[0] + right[1] / size[1] + right[2] / size[2]) / 3.0;
    const Mistake mistakes[] = {
        { "a fraction, not percent", "Percent, as the notebook prints it: times 100.",
          number(e, all / IMAGES) },
        { "integer division",
          "correct / count of two integers is 0. Write (double)correct / (double)count.",
          number(e, 0.0) },
        { "labels ignored", "Compare the answers with the labels b.y.", number(e, 100.0) },
        { "the last batch alone", "Add to the counts: correct += …, count += ….",
          number(e, 100.0 * right[2] / size[2]) },
        { "the last batch dropped", "The last batch counts too, although it is smaller.",
          number(e, 100.0 * (right[0] + right[1]) / (size[0] + size[1])) },
        { "mean over the batches",
          "The last batch is smaller. Divide once, at the end, by the number of images.",
          number(e, 100.0 * mean) },
        { "divided by the number of batches", "Divide by the number of images.",
          number(e, 100.0 * all / 3.0) },
        { "the last batch taken for full", "Add up the images: lk_numel(right).",
          number(e, 100.0 * all / (3.0 * BATCH)) },
    };
    compare_number(e, "compute_accuracy of 23 images in batches of 10, 10 and 3,", a,
                   100.0 * all / IMAGES, MISTAKES(mistakes));
}

static void testing_leaves_no_trace(Exam *e)
{
    Spy *spy = digits_spy(e, NULL, true);
    accuracy_of(e, spy);
    if (e->failed || !spy) return;
    digits_test_leaves_no_trace(e, "compute_accuracy", spy);
    exam_expect(e, spy->evaluation == 3, VERDICT_VALUE,
                "compute_accuracy calls the net %lld times, expected 3",
                (long long)spy->evaluation);
    /* A pass inside of code without gradients must not switch them on. */
    lk_tape_set_grad(e->t, false);
    accuracy_of(e, digits_spy(e, NULL, true));
    exam_expect(e, !lk_tape_grad(e->t), VERDICT_VALUE,
                "compute_accuracy switches gradients on that were off before");
}

/* ---- training ------------------------------------------------------------------------------- */

/* Rendered digits in batches of 10 (the last: 4), in their order. */
typedef struct Images {
    Dataset *data;
    DataLoader *loader;
} Images;

static Images images_new(Exam *e, uint64_t seed)
{
    Images i = { 0 };
    if (e->failed) return i;
    i.data = lk_rendered_digits_new(64, seed, LK_TO_TENSOR, &e->err);
    if (i.data) i.loader = lk_loader_new(i.data, 10, false, &e->own_rng, &e->err);
    exam_expect(e, i.loader, VERDICT_FAILED, "the checks have no data: %s", e->err.message);
    return i;
}

static void images_free(Images *i)
{
    lk_loader_free(i->loader);
    lk_dataset_free(i->data);
}

static Module *small_mlp(Exam *e)
{
    return e->failed ? NULL : exam_own(e, mlp_new(PIXELS, 9, 7, DIGITS, &e->own_rng, &e->err));
}

/* Right answers in percent. */
static double percent(Exam *e, Module *net, const Dataset *data)
{
    /* digits_wrong gives images (n, 28, 28) to the net; the mlp wants rows. */
    int64_t wrong[DIGITS], sum = 0;
    Spy *flat = digits_spy(e, lk_retain(net), false);
    if (!flat) return NAN;
    flat->gives_rows = true;
    if (!digits_wrong(e, &flat->base, data, wrong)) return NAN;
    for (int d = 0; d < DIGITS; d++) sum += wrong[d];
    return 100.0 * (double)(data->count - sum) / (double)data->count;
}

/* Mistakes of a training; RIGHT: none. */
typedef enum Fault { RIGHT, KEEP_GRADIENTS, NO_GRADIENTS, SOFTMAX, DROP_LAST, ONE_EPOCH } Fault;

/* Trains a copy of net with a fault; accuracy gets EPOCHS + 1 numbers: before, and after each
 * epoch. Returns the copy. */
static Module *reference(Exam *e, Module *net, const Images *i, Fault fault, double *accuracy)
{
    if (e->failed || !net) return NULL;
    Module *copy = exam_own(e, lk_deepcopy(net, &e->err));
    Optimizer *opt =
        copy ? lk_adam_new(lk_trainable_parameters(copy, &e->err), RATE, &e->err) : NULL;
    bool ok = opt;
    if (accuracy) accuracy[0] = percent(e, copy, i->data);
    int64_t length = lk_loader_len(i->loader) - (fault == DROP_LAST);
    for (int epoch = 0; ok && epoch < (fault == ONE_EPOCH ? 1 : EPOCHS); epoch++) {
        Batch b;
        lk_loader_begin(i->loader);
        for (int64_t k = 0; ok && k < length && lk_loader_next(i->loader, &b); k++) {
            Tensor *rows = lk_view(e->t, b.x, LK_SHAPE(-1, PIXELS));
            Tensor *logits = lk_forward(e->t, copy, rows);
            if (fault == SOFTMAX) logits = lk_softmax(e->t, logits, 1);
            Tensor *loss = lk_cross_entropy(e->t, logits, b.y);
            if (fault != KEEP_GRADIENTS) lk_optimizer_zero_grad(opt);
            ok = lk_backward(e->t, loss);
            if (fault == NO_GRADIENTS) lk_optimizer_zero_grad(opt);
            ok = ok && lk_step(opt, &e->err);
            lk_tape_reset(e->t);
        }
        if (accuracy) accuracy[epoch + 1] = percent(e, copy, i->data);
    }
    lk_optimizer_free(opt);
    exam_expect(e, ok, VERDICT_FAILED, "the checks cannot train: %s", e->err.message);
    return copy;
}

static void train(Exam *e, Module *net, const Images *i, double accuracy[EPOCHS])
{
    for (int k = 0; k < EPOCHS; k++) accuracy[k] = -1.0;
    if (!net || !i->loader) return;
    bool ok = CALL(e, train_on_images, e->t, net, i->loader, EPOCHS, RATE, accuracy, &e->err);
    exam_true(e, "train_on_images", ok);
}

static Matrix weight_of(Exam *e, Module *net)
{
    return net ? matrix_of(e, lk_param_at(net, "layers.4.weight", NULL)) : (Matrix){ 0, 0, NULL };
}

static void training_is_adam(Exam *e)
{
    Images i = images_new(e, e->seed);
    Module *net = small_mlp(e);
    Matrix right = weight_of(e, reference(e, net, &i, RIGHT, NULL));
    const char *adds = "Backward adds to the gradients: lk_optimizer_zero_grad(opt) before it.";
    const Mistake mistakes[] = {
        { "zero_grad forgotten", adds, weight_of(e, reference(e, net, &i, KEEP_GRADIENTS, NULL)) },
        { "zero_grad after backward", adds,
          weight_of(e, reference(e, net, &i, NO_GRADIENTS, NULL)) },
        { "softmax before cross-entropy", "lk_cross_entropy takes logits: softmax is in it.",
          weight_of(e, reference(e, net, &i, SOFTMAX, NULL)) },
        { "the last batch dropped", "Train with every batch, the smaller one too.",
          weight_of(e, reference(e, net, &i, DROP_LAST, NULL)) },
        { "one epoch alone", "Make a pass for each epoch.",
          weight_of(e, reference(e, net, &i, ONE_EPOCH, NULL)) },
    };
    double accuracy[EPOCHS];
    train(e, net, &i, accuracy);
    exam_equal(e, "after train_on_images, 2 epochs, layers.4.weight",
               exam_param(e, net, "layers.4.weight", 0, 0), right, MISTAKES(mistakes));
    images_free(&i);
}

static void epochs_are_whole(Exam *e)
{
    Images i = images_new(e, e->seed);
    Module *net = small_mlp(e);
    Spy *spy = digits_spy(e, lk_retain(net), true);
    double accuracy[EPOCHS], right[EPOCHS + 1] = { 0.0 };
    reference(e, net, &i, RIGHT, right);
    train(e, spy ? &spy->base : NULL, &i, accuracy);
    int64_t length = lk_loader_len(i.loader), expected = EPOCHS * length;
    if (!e->failed && spy->training != expected) {
        exam_fail(e, VERDICT_VALUE,
                  "in 2 epochs of 7 batches the net is called %lld times in training mode, and "
                  "%lld times in evaluation mode; expected 14 and 14",
                  (long long)spy->training, (long long)spy->evaluation);
        if (spy->training == length && spy->evaluation > length)
            exam_looks_like(e, "evaluation mode left on",
                            "compute_accuracy switches to evaluation mode: each epoch begins with "
                            "lk_train(model, true).");
        if (spy->training == expected - EPOCHS)
            exam_looks_like(e, "the last batch dropped", "Every batch is a step.");
    }
    for (int k = 0; k < EPOCHS && !e->failed; k++) {
        if (fabs(accuracy[k] - right[k + 1]) < 1e-9) continue;
        exam_fail(e, VERDICT_VALUE, "accuracy[%d] is %.4g, expected %.4g", k, accuracy[k],
                  right[k + 1]);
        if (fabs(accuracy[k] - right[k]) < 1e-9)
            exam_looks_like(e, "accuracy before the epoch", "Measure after the pass.");
    }
    images_free(&i);
}

/* ---- the copy ------------------------------------------------------------------------------- */

static Module *copy_of(Exam *e, Module *net)
{
    Module *copy = net ? CALL(e, lora_copy_new, net, RANK, ALPHA, e->rng, &e->err) : NULL;
    if (copy && copy == net) {
        exam_fail(e, VERDICT_VALUE, "lora_copy_new returns the mlp that it was given");
        exam_looks_like(e, "the original itself",
                        "Another reference is no copy: lk_deepcopy(mlp, err).");
        lk_free(copy);
        return NULL;
    }
    const char call[] = "lora_copy_new(mlp, 3, 8.0)";
    exam_own(e, copy);
    exam_expect(e, copy, VERDICT_FAILED, "%s returned NULL: %s", call,
                e->err.code ? e->err.message : "without a message");
    exam_sound(e, call, copy);
    return e->failed ? NULL : copy;
}

static void copy_has_lora(Exam *e)
{
    Module *net = small_mlp(e), *copy = copy_of(e, net);
    static const int64_t in[] = { PIXELS, 9, 7 }, out[] = { 9, 7, DIGITS };
    if (!e->failed && !lk_as_linear(lk_module_at(net, "layers.0", NULL))) {
        exam_fail(e, VERDICT_VALUE, "layers.0 of the original is no Linear any more");
        exam_looks_like(e, "LoRA on the original", "Give mlp_add_lora the copy.");
    }
    for (int i = 0; i < 3; i++) {
        exam_param(e, copy, exam_text(e, "layers.%d.lora.A", 2 * i), in[i], RANK);
        exam_param(e, copy, exam_text(e, "layers.%d.lora.B", 2 * i), RANK, out[i]);
        exam_param(e, copy, exam_text(e, "layers.%d.linear.weight", 2 * i), out[i], in[i]);
    }
    Tensor *x = exam_own_tensor(e, lk_tensor_new(LK_F32, LK_SHAPE(2, PIXELS), &e->err));
    if (x) lk_normal_(x, 0.0, 1.0, &e->own_rng);
    Matrix before = matrix_of(e, exam_forward(e, "the original", net, x));
    exam_equal(e, "the new copy", exam_forward(e, "the copy", copy, x), before, NO_MISTAKES);
}

static void only_the_copy_is_frozen(Exam *e)
{
    Module *net = small_mlp(e), *copy = copy_of(e, net);
    if (e->failed) return;
    int frozen = 0, trained = 0;
    for (ParamIter it = lk_params(copy); lk_params_next(&it);) {
        bool lora = strstr(it.name, "lora");
        if (lora && !it.tensor->requires_grad) {
            exam_fail(e, VERDICT_VALUE, "%s of the copy is frozen, so LoRA cannot learn", it.name);
            exam_looks_like(e, "A and B frozen too", "Freeze the Linears alone.");
        }
        frozen += !lora && !it.tensor->requires_grad;
        trained += !lora && it.tensor->requires_grad;
    }
    if (trained) {
        exam_fail(e, VERDICT_FROZEN, "%d of the copy's 6 weights and biases require a gradient",
                  trained);
        exam_looks_like(e, frozen ? "a part not frozen" : "nothing frozen",
                        "freeze_linear_layers(copy), of ex6.");
    }
    for (ParamIter it = lk_params(net); lk_params_next(&it);)
        if (!it.tensor->requires_grad) {
            exam_fail(e, VERDICT_VALUE, "%s of the original is frozen", it.name);
            exam_looks_like(e, "the original frozen", "Give freeze_linear_layers the copy.");
        }
}

static void original_keeps_its_bits(Exam *e)
{
    Images i = images_new(e, e->seed);
    Module *net = small_mlp(e), *copy = copy_of(e, net);
    double accuracy[EPOCHS];
    Matrix before[6];
    int count = 0;
    if (!e->failed)
        for (ParamIter it = lk_params(net); lk_params_next(&it) && count < 6; count++)
            before[count] = matrix_of(e, it.tensor);
    Matrix tuned = { 0, 0, NULL };
    Module *right = reference(e, copy, &i, RIGHT, NULL);
    if (right) tuned = matrix_of(e, lk_param_at(right, "layers.2.lora.B", NULL));
    train(e, copy, &i, accuracy);
    count = 0;
    if (!e->failed)
        for (ParamIter it = lk_params(net); lk_params_next(&it) && count < 6; count++) {
            char path[LK_NAME_MAX + 16];
            const char *dot = strrchr(it.name, '.');
            snprintf(path, sizeof path, "%.*s.linear%s", (int)(dot - it.name), it.name, dot);
            exam_unmoved(e, exam_text(e, "%s of the original", it.name), it.tensor, before[count]);
            exam_unmoved(e, exam_text(e, "%s of the copy", path), exam_param(e, copy, path, 0, 0),
                         before[count]);
        }
    exam_equal(e, "after the fine-tuning layers.2.lora.B",
               exam_param(e, copy, "layers.2.lora.B", 0, 0), tuned, NO_MISTAKES);
    images_free(&i);
}

/* ---- the notebook --------------------------------------------------------------------------- */

static Tensor *results_tensor(Exam *e, const MnistRun *r)
{
    const double four[] = { r->base, r->wrapped, r->tuned, r->after };
    return exam_own_tensor(e, lk_tensor_from_new(LK_F64, LK_SHAPE(4), four, &e->err));
}

static void pipeline_is_the_notebook(Exam *e)
{
    Images train_set = images_new(e, e->seed), test_set = images_new(e, e->seed + 100);
    Module *net = small_mlp(e);
    /* Each row: base, wrapped, tuned, after; right, and with the mistakes below. */
    enum { ROWS = 5 };
    double row[ROWS][4] = { { 0.0 } };
    if (!e->failed) {
        Rng rng;
        Module *base = reference(e, net, &train_set, RIGHT, NULL), *early = NULL, *copy = NULL;
        lk_manual_seed(&rng, e->seed);
        copy = exam_own(e, lora_copy_new(base, RANK, ALPHA, &rng, &e->err));
        lk_manual_seed(&rng, e->seed);
        early = exam_own(e, lora_copy_new(net, RANK, ALPHA, &rng, &e->err));
        Module *tuned = reference(e, copy, &train_set, RIGHT, NULL);
        Module *early_tuned = reference(e, early, &train_set, RIGHT, NULL);
        Module *again = reference(e, base, &train_set, RIGHT, NULL);
        for (int k = 0; k < ROWS && !e->failed; k++) {
            const Dataset *data = k == 1 ? train_set.data : test_set.data;
            row[k][0] = percent(e, base, data);
            row[k][1] = percent(e, k == 2 ? early : copy, data);
            row[k][2] = percent(e, k == 2 ? early_tuned : tuned, data);
            row[k][3] = percent(e, base, data);
        }
        row[3][2] = row[3][1];
        row[4][2] = row[4][1];
        row[3][3] = percent(e, again, test_set.data);
    }
    Matrix rows[ROWS];
    for (int k = 0; k < ROWS; k++) {
        rows[k] = matrix_zeros(e, 1, 4);
        if (rows[k].v) memcpy(rows[k].v, row[k], sizeof row[k]);
    }
    const Mistake mistakes[] = {
        { "tested on the training set", "The four accuracies are of r->test.", rows[1] },
        { "copied before the training", "Train the mlp first, then copy it.", rows[2] },
        { "the original fine-tuned", "Fine-tune the copy, not r->mlp.", rows[3] },
        { "tested before the fine-tuning", "r->tuned comes after the training of the copy.",
          rows[4] },
    };
    MnistRun r = { .mlp = net,
                   .train = train_set.loader,
                   .test = test_set.loader,
                   .epochs = EPOCHS,
                   .lr = RATE,
                   .alpha = ALPHA,
                   .rank = RANK };
    exam_true(e, "mnist_pipeline",
              !e->failed && CALL(e, mnist_pipeline, e->t, &r, e->rng, &e->err));
    exam_equal(e, "mnist_pipeline: base, wrapped, tuned, after", results_tensor(e, &r), rows[0],
               MISTAKES(mistakes));
    images_free(&train_set);
    images_free(&test_set);
}

static void show(Exam *e)
{
    Dataset *data[2] = { NULL };
    DataLoader *loader[2] = { NULL };
    for (int i = 0; i < 2; i++) {
        data[i] =
            lk_rendered_digits_new(i ? 200 : 400, e->seed + (uint64_t)i, LK_TO_TENSOR, &e->err);
        if (data[i]) loader[i] = lk_loader_new(data[i], 64, !i, e->rng, &e->err);
    }
    Module *mlp = exam_own(e, mlp_new(PIXELS, 24, 16, DIGITS, e->rng, &e->err));
    MnistRun r = { .mlp = mlp,
                   .train = loader[0],
                   .test = loader[1],
                   .epochs = 8,
                   .lr = 6e-3,
                   .rank = 4,
                   .alpha = 8.0 };
    if (mlp && loader[1] && CALL(e, mnist_pipeline, e->t, &r, e->rng, &e->err))
        printf("A small MLP, 400 rendered digits, seed %llu:\n"
               "Test Accuracy (Standard MLP): %.2f%%\n"
               "Test Accuracy (LoRA MLP before fine-tuning): %.2f%%\n"
               "Test Accuracy (LoRA Fine-tuned): %.2f%%\n"
               "Test Accuracy (Original MLP): %.2f%%\n",
               (unsigned long long)e->seed, r.base, r.wrapped, r.tuned, r.after);
    for (int i = 0; i < 2; i++) {
        lk_loader_free(loader[i]);
        lk_dataset_free(data[i]);
    }
}

const Unit unit_nb1 = {
    .name = "nb1",
    .title = "an MLP on images, and LoRA on its copy",
    .minutes = 30,
    .functions = { "flatten_images", "compute_accuracy", "train_on_images", "lora_copy_new",
                   "mnist_pipeline" },
    .checks = {
        { "images become rows of 784", images_become_rows },
        { "the accuracy counts all images, in percent", all_images_count },
        { "testing is in evaluation mode, without gradients", testing_leaves_no_trace },
        { "the training moves the weights as Adam does", training_is_adam },
        { "each epoch is a whole pass in training mode", epochs_are_whole },
        { "the copy has LoRA, the original has not", copy_has_lora },
        { "only the copy's Linears are frozen", only_the_copy_is_frozen },
        { "fine-tuning leaves the original its bits", original_keeps_its_bits },
        { "the pipeline gives the notebook's four accuracies", pipeline_is_the_notebook },
    },
    .show = show,
};
