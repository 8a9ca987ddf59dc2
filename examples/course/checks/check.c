/* check.c - see check.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* for dladdr */
#endif
#include "examples/course/checks/check.h"

#include <dlfcn.h>
#include <link.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/decimal.h"
#include "examples/course/trace.h"
#include "examples/course/units.h"
#include "nn/adapter.h"
#include "nn/lora.h"

/* ---- verdicts ------------------------------------------------------------------------------- */

bool exam_fail(Exam *e, VerdictKind kind, const char *format, ...)
{
    if (e->failed) return false;
    e->failed = true;
    e->verdict = (Verdict){ .kind = kind, .at = -1 };
    va_list list;
    va_start(list, format);
    lk_vsnprintf(e->verdict.text, sizeof e->verdict.text, format, list);
    va_end(list);
    return false;
}

void exam_looks_like(Exam *e, const char *mistake, const char *next)
{
    Verdict *v = &e->verdict;
    if (!e->failed || v->looks_like[0]) return;
    snprintf(v->looks_like, sizeof v->looks_like, "%s", mistake);
    if (next) snprintf(v->next, sizeof v->next, "%s", next);
}

void exam_crash_means(Exam *e, const char *mistake, const char *next)
{
    snprintf(e->crash.looks_like, sizeof e->crash.looks_like, "%s", mistake ? mistake : "");
    snprintf(e->crash.next, sizeof e->crash.next, "%s", next ? next : "");
}

bool exam_expect(Exam *e, bool holds, VerdictKind kind, const char *format, ...)
{
    if (e->failed) return false;
    if (holds) return true;
    char text[sizeof e->verdict.text];
    va_list list;
    va_start(list, format);
    lk_vsnprintf(text, sizeof text, format, list);
    va_end(list);
    return exam_fail(e, kind, "%s", text);
}

const char *exam_text(Exam *e, const char *format, ...)
{
    enum { SIZE = 400 };
    Matrix room = matrix_zeros(e, 1, SIZE / (int)sizeof(double));
    if (!room.v) return "";
    va_list list;
    va_start(list, format);
    lk_vsnprintf((char *)room.v, SIZE, format, list);
    va_end(list);
    return (const char *)room.v;
}

const char *exam_shape(Exam *e, const Tensor *x)
{
    char text[LK_SHAPE_TEXT];
    return exam_text(e, "%s", lk_shape_text(x, text));
}

/* ---- the learner's objects ------------------------------------------------------------------ */

void *exam_function(Exam *e, const char *name)
{
    if (e->failed) return NULL;
    void *function = dlsym(e->library, name);
    if (!function) exam_fail(e, VERDICT_MISSING, "%s is not defined", name);
    return function;
}

bool exam_calls(Exam *e, const char *function)
{
    struct link_map *learners = NULL;
    bool known = e->library && !dlinfo(e->library, RTLD_DI_LINKMAP, &learners);
    FILE *in = known ? fopen(learners->l_name, "rb") : NULL;
    size_t at = 0, length = strlen(function) + 1; /* with the 0 that ends the name */
    bool found = false;
    for (int c; in && !found && (c = fgetc(in)) != EOF; found = at == length)
        at = c == function[at] ? at + 1 : (size_t)(c == function[0]);
    if (in) fclose(in);
    return found;
}

Module *exam_own(Exam *e, Module *m)
{
    if (m && e->module_count < EXAM_MODULES) e->modules[e->module_count++] = m;
    return m;
}

Tensor *exam_own_tensor(Exam *e, Tensor *x)
{
    if (x && e->tensor_count < EXAM_TENSORS) e->tensors[e->tensor_count++] = x;
    return x;
}

/* Fails because a call gave NULL or false: with the reason of the tape or of the constructor. */
static void fail_call(Exam *e, const char *call, const char *gave)
{
    const Error *reason = lk_tape_error(e->t);
    if (reason->code == LK_OK) reason = &e->err;
    if (reason->code == LK_OK)
        exam_fail(e, VERDICT_FAILED, "%s returned %s, without a message", call, gave);
    else exam_fail(e, VERDICT_FAILED, "%s failed:\n%s", call, reason->message);
    if (e->verdict.at < 0) e->verdict.at = trace_last_failure();
}

/* Refuses the classes that the learner writes. */
static void refuse_library(Exam *e, Module *m)
{
    static const ModuleType *const own[] = { &lk_lora_layer_type, &lk_linear_with_lora_type,
                                             &lk_linear_with_lora_merged_type,
                                             &lk_lora_parametrization_type };
    for (ModuleIter it = lk_modules(m); lk_modules_next(&it);)
        for (size_t i = 0; i < sizeof own / sizeof *own; i++)
            if (it.module->type == own[i]) {
                exam_fail(e, VERDICT_LIBRARY, "%s%sis a %s of the library", it.name,
                          it.name[0] ? " " : "the result ", own[i]->name);
                return;
            }
}

/* Refuses a class that lies in this program, in the solution of an earlier unit, and not in the
 * learner's file. Classes of the library lie here too, and have a name of their own. */
static void refuse_solution(Exam *e, const Module *m)
{
    Dl_info class, ours;
    if (e->failed || !dladdr(m->type, &class) || !dladdr(&course_units, &ours)) return;
    if (class.dli_fbase == ours.dli_fbase && class.dli_saddr != (const void *)m->type)
        exam_fail(e, VERDICT_LIBRARY, "the result is a %s of the course's own solution",
                  m->type->name);
}

bool exam_sound(Exam *e, const char *call, Module *m)
{
    if (!m || e->failed) return false;
    Error err = { 0 };
    if (!lk_walkable(m, call, &err)) return exam_fail(e, VERDICT_FIELDS, "%s", err.message);
    refuse_library(e, m);
    for (ParamIter it = lk_params(m); lk_params_next(&it);)
        if (lk_is_stale(it.tensor))
            exam_fail(e, VERDICT_MEMORY, "%s: %s was freed, and the module still holds it", call,
                      it.name);
        else if (it.tensor->tape)
            exam_fail(e, VERDICT_TAPE, "%s: %s %s lives on a tape", call, it.name,
                      exam_shape(e, it.tensor));
    return !e->failed;
}

Module *exam_module(Exam *e, const char *call, Module *m)
{
    if (e->failed) return NULL;
    if (!m) fail_call(e, call, "NULL");
    if (exam_sound(e, call, exam_own(e, m))) refuse_solution(e, m);
    return e->failed ? NULL : m;
}

bool exam_true(Exam *e, const char *call, bool ok)
{
    if (e->failed) return false;
    if (!ok) fail_call(e, call, "false");
    return ok;
}

/* Lists the names of m's children or parameters. */
static const char *names_of(Exam *e, Module *m, bool parameters)
{
    char text[320] = "";
    size_t length = 0;
    if (parameters)
        for (ParamIter it = lk_params(m); lk_params_next(&it) && length < 240;)
            length += (size_t)snprintf(text + length, sizeof text - length, "%s%.60s",
                                       length ? ", " : "", it.name);
    else
        for (ModuleIter it = lk_modules(m); lk_modules_next(&it) && length < 240;)
            if (it.name[0])
                length += (size_t)snprintf(text + length, sizeof text - length, "%s%.60s",
                                           length ? ", " : "", it.name);
    return exam_text(e, "%s", length ? text : "none");
}

/* Fails when m's own table lists the name, and m has NULL there. */
static void refuse_null(Exam *e, const Module *m, const char *name)
{
    for (const Field *f = m->type->fields; f && f->kind != LK_FIELD_END; f++) {
        bool pointer = f->kind == LK_FIELD_PARAM || f->kind == LK_FIELD_CHILD;
        if (!pointer || strcmp(f->name, name) != 0) continue;
        exam_fail(e, VERDICT_STRUCTURE, "%s lists %s in its table, but %s is NULL", m->type->name,
                  name, name);
        exam_looks_like(e, "listed, but never set",
                        "The line in .fields is there. The constructor has to set the member.");
    }
}

Module *exam_child(Exam *e, Module *m, const char *path)
{
    if (!m || e->failed) return NULL;
    Module *child = lk_module_at(m, path, NULL);
    if (!child) refuse_null(e, m, path);
    if (!child)
        exam_fail(e, VERDICT_FIELDS, "%s has no child %s; its children: %s", m->type->name, path,
                  names_of(e, m, false));
    return child;
}

Tensor *exam_param(Exam *e, Module *m, const char *path, int64_t rows, int64_t columns)
{
    if (!m || e->failed) return NULL;
    Tensor *x = lk_param_at(m, path, NULL);
    if (!x) {
        refuse_null(e, m, path);
        exam_fail(e, VERDICT_FIELDS, "%s has no parameter %s; its parameters: %s", m->type->name,
                  path, names_of(e, m, true));
        return NULL;
    }
    int64_t shape[2] = { rows ? rows : columns, columns };
    int ndim = rows ? 2 : 1;
    bool fits = !columns || (x->ndim == ndim && x->shape[0] == shape[0] &&
                             x->shape[ndim - 1] == shape[ndim - 1]);
    if (fits) return x;
    if (rows)
        exam_fail(e, VERDICT_SHAPE, "%s has shape %s, expected (%lld, %lld)", path,
                  exam_shape(e, x), (long long)rows, (long long)columns);
    else
        exam_fail(e, VERDICT_SHAPE, "%s has shape %s, expected (%lld)", path, exam_shape(e, x),
                  (long long)columns);
    return NULL;
}

Module *exam_to_double(Exam *e, Module *m)
{
    if (!m || e->failed) return NULL;
    Error err = { 0 };
    if (lk_module_to(m, LK_F64, &err)) return m;
    exam_fail(e, VERDICT_FAILED, "%s", err.message);
    return NULL;
}

Matrix exam_fill(Exam *e, Module *m, const char *path)
{
    Tensor *x = exam_param(e, m, path, 0, 0);
    if (x) lk_normal_(x, 0.0, 1.0, &e->own_rng);
    return matrix_of(e, x);
}

Tensor *exam_leaf(Exam *e, Matrix values)
{
    if (!values.v || e->failed) return NULL;
    Tensor *x =
        lk_tensor_from_new(LK_F64, LK_SHAPE(values.rows, values.columns), values.v, &e->err);
    if (x) lk_set_requires_grad(x, true);
    return exam_own_tensor(e, x);
}

Tensor *exam_input(Exam *e, int64_t rows, int64_t columns)
{
    return exam_leaf(e, matrix_random(e, rows, columns));
}

Tensor *exam_result(Exam *e, const char *call, Tensor *y)
{
    if (e->failed) return NULL;
    if (!y || lk_tape_error(e->t)->code != LK_OK) {
        fail_call(e, call, "NULL");
        return NULL;
    }
    return y;
}

Tensor *exam_forward(Exam *e, const char *call, Module *m, Tensor *x)
{
    if (!m || !x || e->failed) return NULL;
    return exam_result(e, exam_text(e, "%s, x %s,", call, exam_shape(e, x)),
                       lk_forward(e->t, m, x));
}

bool exam_backward(Exam *e, Tensor *y, Matrix v)
{
    if (!y || !v.v || e->failed) return false;
    Tensor *cotangent = lk_zeros(e->t, y->dtype, y->ndim, y->shape);
    if (!cotangent || lk_numel(y) != v.rows * v.columns)
        return exam_fail(e, VERDICT_SHAPE, "the result has shape %s, expected (%lld, %lld)",
                         exam_shape(e, y), (long long)v.rows, (long long)v.columns);
    for (int64_t i = 0; i < v.rows * v.columns; i++) {
        if (y->dtype == LK_F64) ((double *)cotangent->data)[i] = v.v[i];
        else ((float *)cotangent->data)[i] = (float)v.v[i];
    }
    if (lk_backward_with(e->t, y, cotangent, false)) return true;
    exam_fail(e, VERDICT_GRADIENT, "backward failed:\n%s", lk_tape_error(e->t)->message);
    e->verdict.at = trace_last_failure();
    return false;
}

/* ---- values --------------------------------------------------------------------------------- */

const Mistake *exam_recognise(Matrix got, Matrix expected, const Mistake *mistakes, int count,
                              double tolerance)
{
    const Mistake *found = NULL;
    for (int i = 0; i < count; i++) {
        const Mistake *m = &mistakes[i];
        if (!matrix_near(got, m->values, tolerance) || matrix_near(m->values, expected, tolerance))
            continue;
        if (found && strcmp(found->name, m->name) != 0) return NULL;
        found = m;
    }
    return found;
}

/* "[1, 2]": the index of element i in x. */
static const char *index_text(Exam *e, const Tensor *x, int64_t i)
{
    int64_t index[LK_MAX_DIMS];
    for (int d = x->ndim - 1; d >= 0; d--) {
        index[d] = i % x->shape[d];
        i /= x->shape[d];
    }
    char text[128] = "[";
    size_t length = 1;
    for (int d = 0; d < x->ndim; d++)
        length += (size_t)snprintf(text + length, sizeof text - length, "%s%lld", d ? ", " : "",
                                   (long long)index[d]);
    return exam_text(e, "%s]", text);
}

static bool same_shape(const Tensor *y, Matrix m)
{
    int64_t columns = y->ndim ? y->shape[y->ndim - 1] : 1, n = lk_numel(y);
    return n == m.rows * m.columns && columns == m.columns;
}

/* Fails with the worst element of got. */
static void fail_values(Exam *e, VerdictKind kind, const char *call, const Tensor *y, Matrix got,
                        Matrix expected, double tolerance)
{
    int64_t n = got.rows * got.columns, worst = 0, wrong = 0;
    double largest = -1.0;
    for (int64_t i = 0; i < n; i++) {
        double size = fabs(expected.v[i]) > 1.0 ? fabs(expected.v[i]) : 1.0;
        double difference = fabs(got.v[i] - expected.v[i]) / size;
        if (isnan(difference)) difference = INFINITY;
        if (difference > tolerance) wrong++;
        if (difference > largest) {
            largest = difference;
            worst = i;
        }
    }
    /* Numbers that look the same get more digits. */
    const char *is = exam_text(e, "%.6g", got.v[worst]);
    const char *should = exam_text(e, "%.6g", expected.v[worst]);
    if (!strcmp(is, should)) {
        is = exam_text(e, "%.12g", got.v[worst]);
        should = exam_text(e, "%.12g", expected.v[worst]);
    }
    exam_fail(e, kind, "%s %s: element %s is %s, expected %s\n%lld of %lld differ%s", call,
              exam_shape(e, y), index_text(e, y, worst), is, should, (long long)wrong,
              (long long)n, wrong > 1 ? ", this one most" : "");
    if (kind == VERDICT_VALUE)
        snprintf(e->verdict.next, sizeof e->verdict.next,
                 "Compute this element by hand and compare.");
}

static bool compare(Exam *e, VerdictKind kind, const char *call, const Tensor *y, Matrix expected,
                    const Mistake *mistakes, int count)
{
    if (e->failed || !y || !expected.v) return false;
    double tolerance = y->dtype == LK_F64 ? 1e-9 : 1e-5;
    Matrix got = matrix_of(e, y);
    if (e->failed) return false;
    bool shapes = same_shape(y, expected);
    if (shapes && matrix_near(got, expected, tolerance)) return true;
    if (shapes) fail_values(e, kind, call, y, got, expected, tolerance);
    else
        exam_fail(e, VERDICT_SHAPE, "%s has shape %s, expected (%lld, %lld)", call,
                  exam_shape(e, y), (long long)expected.rows, (long long)expected.columns);
    const Mistake *mistake = exam_recognise(got, expected, mistakes, count, tolerance);
    if (mistake) exam_looks_like(e, mistake->name, mistake->next);
    return false;
}

bool exam_equal(Exam *e, const char *call, const Tensor *y, Matrix expected,
                const Mistake *mistakes, int count)
{
    return compare(e, VERDICT_VALUE, call, y, expected, mistakes, count);
}

bool exam_gradient(Exam *e, const char *name, const Tensor *x, Matrix expected,
                   const Mistake *mistakes, int count)
{
    if (e->failed || !x) return false;
    const Tensor *g = lk_grad(x);
    if (!g) return exam_fail(e, VERDICT_GRADIENT, "%s %s has no gradient", name, exam_shape(e, x));
    return compare(e, VERDICT_GRADIENT, exam_text(e, "the gradient of %s", name), g, expected,
                   mistakes, count);
}

bool exam_has_gradient(Exam *e, Module *m, const char *path)
{
    Tensor *x = exam_param(e, m, path, 0, 0);
    if (!x || lk_grad(x)) return x;
    if (!x->requires_grad) {
        exam_fail(e, VERDICT_GRADIENT, "%s %s does not require a gradient", path,
                  exam_shape(e, x));
        exam_looks_like(
            e, exam_text(e, "%s frozen", path),
            "Freeze nothing here: this unit asks for the gradient of every parameter.");
        return false;
    }
    exam_fail(e, VERDICT_GRADIENT, "%s %s has no gradient after backward", path, exam_shape(e, x));
    exam_looks_like(e, exam_text(e, "%s treated as a constant", path),
                    "Use the parameter itself, on a tape that records: lk_detach, lk_clone and "
                    "lk_tape_set_grad(t, false) cut it from the graph.");
    return false;
}

bool exam_unmoved(Exam *e, const char *name, const Tensor *x, Matrix before)
{
    if (e->failed || !x) return false;
    Matrix now = matrix_of(e, x);
    if (!now.v || !before.v) return false;
    int64_t n = now.rows * now.columns, moved = 0;
    for (int64_t i = 0; i < n; i++) moved += now.v[i] != before.v[i];
    return exam_expect(e, !moved, VERDICT_FROZEN, "%s: %lld of %lld elements moved", name,
                       (long long)moved, (long long)n);
}
