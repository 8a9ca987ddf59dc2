/* gradcheck.c - a module as the function that core/gradcheck.c differentiates. */
#include "nn/gradcheck.h"

#include <string.h>

#include "core/memory.h"
#include "nn/fields.h"

/* The parameters are changed in place, so only x, the first input, has to be passed on. */
static Tensor *run_module(Tape *t, Tensor *const *in, void *user)
{
    return lk_forward(t, user, in[0]);
}

typedef struct Inputs {
    int count, constant_count;
    Tensor **in;
    const char **names;
    char (*text)[LK_NAME_MAX];
    GradcheckConstant *constants;
    char (*constant_text)[LK_NAME_MAX];
} Inputs;

/* Reads the numbers among the fields of m and of all modules in it, "0.lora.alpha", and returns
 * their count. If `to` is NULL, only counts them. */
static int read_constants(Module *m, Inputs *to)
{
    int count = 0;
    for (ModuleIter it = lk_modules(m); lk_modules_next(&it);)
        for (const Field *f = lk__first_field(it.module); f; f = lk__next_field(f)) {
            if (f->kind != LK_FIELD_INT && f->kind != LK_FIELD_DOUBLE) continue;
            if (to) {
                const void *field = lk__member(it.module, f);
                char *name = to->constant_text[count];
                snprintf(name, LK_NAME_MAX, "%.180s%s%.60s", it.name, it.name[0] ? "." : "",
                         f->name);
                to->constants[count].name = name;
                to->constants[count].value = f->kind == LK_FIELD_INT
                                                 ? (double)*(const int64_t *)field
                                                 : *(const double *)field;
            }
            count++;
        }
    return count;
}

static bool make_inputs(Inputs *to, Module *m, Tensor *x, Error *err)
{
    TensorList params = lk_trainable_parameters(m, err);
    to->count = 1 + params.count;
    lk_tensor_list_free(&params);
    if (err->code != LK_OK) return false;
    to->constant_count = read_constants(m, NULL);
    size_t count = (size_t)to->count, constants = (size_t)to->constant_count + 1;
    to->in = lk_mem_calloc(count, sizeof *to->in);
    to->names = lk_mem_calloc(count, sizeof *to->names);
    to->text = lk_mem_calloc(count, sizeof *to->text);
    to->constants = lk_mem_calloc(constants, sizeof *to->constants);
    to->constant_text = lk_mem_calloc(constants, sizeof *to->constant_text);
    if (!to->in || !to->names || !to->text || !to->constants || !to->constant_text) {
        lk_error_set(err, LK_EMEMORY, "lk_gradcheck_module: no memory for %zu inputs", count);
        return false;
    }
    to->in[0] = x;
    to->names[0] = "the input";
    int i = 1;
    for (ParamIter it = lk_params(m); lk_params_next(&it);) {
        if (!it.tensor->requires_grad) continue;
        to->names[i] = memcpy(to->text[i], it.name, sizeof it.name);
        to->in[i++] = it.tensor;
    }
    read_constants(m, to);
    return true;
}

bool lk_gradcheck_module(Module *m, Tensor *x, const GradcheckOptions *options,
                         GradcheckReport *report)
{
    if (!report) return false;
    *report = (GradcheckReport){ 0 };
    Error err = { 0 };
    Inputs inputs = { 0 };
    if (!m)
        lk_error_set(&err, LK_EVALUE,
                     "lk_gradcheck_module: the module is NULL; did making it fail?");
    if (m && make_inputs(&inputs, m, x, &err)) {
        GradcheckOptions with = options ? *options : (GradcheckOptions){ 0 };
        if (!with.constants) {
            with.constants = inputs.constants;
            with.constant_count = inputs.constant_count;
        }
        lk_gradcheck(run_module, m, inputs.count, inputs.in, inputs.names, &with, report);
    } else {
        report->mistake = "arguments";
        snprintf(report->message, sizeof report->message, "%s", err.message);
    }
    lk_mem_free(inputs.constant_text);
    lk_mem_free(inputs.constants);
    lk_mem_free(inputs.text);
    lk_mem_free(inputs.names);
    lk_mem_free(inputs.in);
    return report->ok;
}
