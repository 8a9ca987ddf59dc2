/* adapted.c - see adapted.h. */
#include "examples/course/checks/adapted.h"

#include "nn/linear.h"

static const char *name_of(Exam *e, const char *path, const char *parameter)
{
    return exam_text(e, "%s%s", path, parameter);
}

Adapted adapted_fill(Exam *e, Module *m, const char *path, double alpha)
{
    Adapted a = { .alpha = alpha };
    a.W = exam_fill(e, m, name_of(e, path, "linear.weight"));
    if (m && !e->failed && lk_param_at(m, name_of(e, path, "linear.bias"), NULL))
        a.b = exam_fill(e, m, name_of(e, path, "linear.bias"));
    a.A = exam_fill(e, m, name_of(e, path, "lora.A"));
    a.B = exam_fill(e, m, name_of(e, path, "lora.B"));
    return a;
}

Matrix adapted_xWT(Exam *e, const Adapted *a, Matrix x)
{
    return matrix_product(e, x, matrix_T(e, a->W));
}

Matrix adapted_linear(Exam *e, const Adapted *a, Matrix x)
{
    Matrix y = adapted_xWT(e, a, x);
    return a->b.v ? matrix_sum(e, y, a->b) : y;
}

Matrix adapted_xAB(Exam *e, const Adapted *a, Matrix x)
{
    return matrix_product(e, matrix_product(e, x, a->A), a->B);
}

Matrix adapted_output(Exam *e, const Adapted *a, Matrix x)
{
    return matrix_sum(e, adapted_linear(e, a, x), matrix_scale(e, adapted_xAB(e, a, x), a->alpha));
}

bool adapted_gradients(Exam *e, Module *m, const char *path, const Adapted *a, Tensor *x, Matrix v)
{
    Matrix in = matrix_of(e, x), xT = matrix_T(e, in);
    Matrix vB = matrix_scale(e, matrix_product(e, v, matrix_T(e, a->B)), a->alpha);
    Matrix xA = matrix_scale(e, matrix_product(e, in, a->A), a->alpha);
    Matrix dx =
        matrix_sum(e, matrix_product(e, v, a->W), matrix_product(e, vB, matrix_T(e, a->A)));
    const struct {
        const char *name;
        Matrix gradient;
    } parameters[] = {
        { "lora.A", matrix_product(e, xT, vB) },
        { "lora.B", matrix_product(e, matrix_T(e, xA), v) },
        { "linear.weight", matrix_product(e, matrix_T(e, v), in) },
        { "linear.bias", a->b.v ? matrix_column_sums(e, v) : (Matrix){ 0, 0, NULL } },
    };
    for (int i = 0; i < 4; i++) {
        const char *name = name_of(e, path, parameters[i].name);
        if (!parameters[i].gradient.v || !exam_has_gradient(e, m, name)) continue;
        exam_gradient(e, name, exam_param(e, m, name, 0, 0), parameters[i].gradient, NO_MISTAKES);
    }
    return exam_gradient(e, "x", x, dx, NO_MISTAKES);
}

/* ---- the owners of a Linear ----------------------------------------------------------------- */

void adapted_keep(Exam *e, Module *m)
{
    if (!m) return;
    exam_own(e, lk_retain(m));
    exam_own(e, lk_retain(m));
}

Module *adapted_linear_new(Exam *e, int64_t in, int64_t out, bool bias)
{
    if (e->failed) return NULL;
    Module *linear = exam_own(e, lk_linear_new(in, out, bias, &e->own_rng, &e->err));
    return exam_own(e, lk_retain(linear));
}

int adapted_owners(Module *m, int expected)
{
    if (!m) return expected;
    int owners = m->refs - 2;
    while (m->refs < 2 + expected) lk_retain(m);
    return owners;
}
