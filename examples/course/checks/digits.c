/* digits.c - see digits.h. */
#include "examples/course/checks/digits.h"

#include "nn/activation.h"
#include "nn/linear.h"
#include "optim/optimizer.h"

/* ---- RichBoyNet ----------------------------------------------------------------------------- */

typedef struct RichBoyNet {
    Module base;
    Module *linear1, *linear2, *linear3, *relu;
} RichBoyNet;

static Tensor *rich_boy_net_forward(Tape *t, Module *self, Tensor *img)
{
    RichBoyNet *net = (RichBoyNet *)self;
    int64_t inputs = lk_as_linear(net->linear1)->in_features;
    Tensor *x = lk_view(t, img, LK_SHAPE(-1, inputs));
    x = lk_forward(t, net->relu, lk_forward(t, net->linear1, x));
    x = lk_forward(t, net->relu, lk_forward(t, net->linear2, x));
    return lk_forward(t, net->linear3, x);
}

static const ModuleType rich_boy_net_type = {
    LK_CLASS(RichBoyNet),
    .forward = rich_boy_net_forward,
    .fields = LK_FIELDS(LK_CHILD(RichBoyNet, linear1), LK_CHILD(RichBoyNet, linear2),
                        LK_CHILD(RichBoyNet, linear3), LK_CHILD(RichBoyNet, relu)),
};

Module *digits_net(Exam *e, int64_t inputs, int64_t hidden_1, int64_t hidden_2, int64_t outputs)
{
    if (e->failed) return NULL;
    RichBoyNet *net = lk_module_new(&rich_boy_net_type, &e->err);
    if (!net) return NULL;
    net->linear1 = lk_linear_new(inputs, hidden_1, true, &e->own_rng, &e->err);
    net->linear2 = lk_linear_new(hidden_1, hidden_2, true, &e->own_rng, &e->err);
    net->linear3 = lk_linear_new(hidden_2, outputs, true, &e->own_rng, &e->err);
    net->relu = lk_relu_new(&e->err);
    bool complete = net->linear1 && net->linear2 && net->linear3 && net->relu;
    return exam_own(e, lk_module_complete(&net->base, complete));
}

/* ---- training and testing ------------------------------------------------------------------- */

bool digits_train(Exam *e, Module *net, const Dataset *data, int batches)
{
    if (e->failed || !net || !data) return false;
    Error err = { 0 };
    Optimizer *opt = lk_adam_new(lk_trainable_parameters(net, &err), 0.01, &err);
    DataLoader *loader = lk_loader_new(data, 10, true, &e->own_rng, &err);
    bool ok = opt && loader;
    lk_train(net, true);
    for (int done = 0; ok && done < batches;) {
        lk_loader_begin(loader);
        for (Batch b; ok && done < batches && lk_loader_next(loader, &b); done++) {
            Tensor *loss = lk_cross_entropy(e->t, lk_forward(e->t, net, b.x), b.y);
            lk_optimizer_zero_grad(opt);
            ok = lk_backward(e->t, loss) && lk_step(opt, &err);
            if (ok) lk_tape_reset(e->t);
        }
    }
    lk_optimizer_free(opt);
    lk_loader_free(loader);
    if (ok || !lk_tape_ok(e->t, &err))
        return exam_expect(e, ok, VERDICT_FAILED, "the training by the checks failed:\n%s",
                           err.message);
    return exam_fail(e, VERDICT_FAILED, "the training by the checks failed:\n%s", err.message);
}

bool digits_wrong(Exam *e, Module *net, const Dataset *data, int64_t wrong[DIGITS])
{
    for (int d = 0; d < DIGITS; d++) wrong[d] = 0;
    if (e->failed || !net || !data) return false;
    Error err = { 0 };
    DataLoader *loader = lk_loader_new(data, 50, false, &e->own_rng, &err);
    bool grad = lk_tape_set_grad(e->t, false), training = net->training;
    lk_eval(net);
    if (loader) lk_loader_begin(loader);
    for (Batch b; loader && lk_loader_next(loader, &b);) {
        Matrix logits = matrix_of(e, lk_forward(e->t, net, b.x));
        for (int64_t i = 0; i < logits.rows; i++) {
            const double *row = logits.v + i * logits.columns;
            int best = 0;
            for (int k = 1; k < DIGITS; k++) best = row[k] > row[best] ? k : best;
            int label = (int)lk_at(b.y, LK_INDEX(i));
            wrong[label] += best != label;
        }
        lk_tape_reset(e->t);
    }
    lk_loader_free(loader);
    lk_train(net, training);
    lk_tape_set_grad(e->t, grad);
    return exam_expect(e, loader && lk_tape_ok(e->t, &err), VERDICT_FAILED,
                       "the test by the checks failed:\n%s", err.message);
}

/* ---- the spy -------------------------------------------------------------------------------- */

enum { LABEL_PIXEL = DIGITS }; /* behind the logits */

static Tensor *spy_forward(Tape *t, Module *self, Tensor *x)
{
    Spy *spy = (Spy *)self;
    char text[LK_SHAPE_TEXT];
    if (spy->flat_only && (x->ndim != 2 || x->shape[1] != PIXELS))
        return lk_fail(t, LK_ESHAPE, "the net gets x %s, not (n, 784)", lk_shape_text(x, text));
    if (self->training) spy->training++;
    else spy->evaluation++;
    spy->recorded |= lk_tape_grad(t);
    Tensor *flat = lk_view(t, x, LK_SHAPE(-1, PIXELS));
    for (int64_t i = 0; flat && i < flat->shape[0]; i++) {
        int label = (int)lk_at(flat, LK_INDEX(i, LABEL_PIXEL));
        if (label >= 0 && label < DIGITS) spy->seen[label]++;
    }
    return spy->net ? lk_forward(t, spy->net, spy->gives_rows ? flat : x)
                    : lk_slice(t, flat, 1, 0, DIGITS, 1);
}

static const ModuleType spy_type = { LK_CLASS(Spy), .forward = spy_forward,
                                     .fields = LK_FIELDS(LK_CHILD(Spy, net)) };

Spy *digits_spy(Exam *e, Module *net, bool flat_only)
{
    Spy *spy = e->failed ? NULL : lk_module_new(&spy_type, &e->err);
    if (!spy) {
        lk_free(net);
        return NULL;
    }
    spy->net = net;
    spy->flat_only = flat_only;
    exam_own(e, &spy->base);
    return spy;
}

Dataset *digits_spy_data_new(Exam *e, int64_t count, const int *labels, const int *answers)
{
    if (e->failed) return NULL;
    Error err = { 0 };
    Tensor *x = lk_tensor_new(LK_F32, LK_SHAPE(count, 1, 28, 28), &err);
    Tensor *y = lk_tensor_new(LK_I64, LK_SHAPE(count), &err);
    if (x && y) {
        lk_random_normals_f32(&e->own_rng, x->data, count * PIXELS, 0.0, 1.0);
        for (int64_t i = 0; i < count; i++) {
            float *image = (float *)x->data + i * PIXELS;
            for (int k = 0; k < DIGITS; k++)
                if (image[k] > 3.0f) image[k] = 3.0f;
            image[answers[i]] = 4.0f;
            image[LABEL_PIXEL] = (float)labels[i];
            ((int64_t *)y->data)[i] = labels[i];
        }
    }
    Dataset *data = lk_dataset_new(x, y, LK_TO_TENSOR, &err);
    exam_expect(e, data, VERDICT_FAILED, "the checks have no data: %s", err.message);
    return data;
}

void digits_test_leaves_no_trace(Exam *e, const char *call, const Spy *spy)
{
    if (e->failed || !spy) return;
    if (spy->training) {
        exam_fail(e, VERDICT_VALUE, "%s calls the net in training mode", call);
        exam_looks_like(e, "training mode while testing", "Begin with lk_eval(model).");
    } else if (spy->recorded) {
        exam_fail(e, VERDICT_VALUE, "%s records all that it computes", call);
        exam_looks_like(e, "gradients recorded while testing",
                        "bool before = lk_tape_set_grad(t, false); it saves memory and time.");
    } else if (!lk_tape_grad(e->t)) {
        exam_fail(e, VERDICT_VALUE, "after %s the tape records nothing any more", call);
        exam_looks_like(e, "gradients left off", "At the end: lk_tape_set_grad(t, before).");
    }
}
