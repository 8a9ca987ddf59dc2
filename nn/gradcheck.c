/* gradcheck.c - a module as the function that core/gradcheck.c differentiates. */
#include "nn/gradcheck.h"

#include <string.h>

#include "core/memory.h"

/* The parameters are changed where they are, so only x has to be handed on; it is the first input. */
static Tensor *run_module(Tape *t, Tensor *const *in, void *user)
{
    return lk_forward(t, user, in[0]);
}

bool lk_gradcheck_module(Module *m, Tensor *x, const GradcheckOptions *options, GradcheckReport *report)
{
    *report = (GradcheckReport){ 0 };
    Error err = { 0 };
    TensorList params = lk_trainable_parameters(m, &err);
    size_t count = 1 + (size_t)params.count;
    Tensor **in = lk_mem_calloc(count, sizeof *in);
    const char **names = lk_mem_calloc(count, sizeof *names);
    char(*text)[LK_NAME_MAX] = lk_mem_calloc(count, sizeof *text);
    if (err.code == LK_OK && (!in || !names || !text))
        lk_error_set(&err, LK_EMEMORY, "lk_gradcheck_module: no memory for %zu inputs", count);

    if (err.code == LK_OK) {
        in[0] = x;
        names[0] = "the input";
        int i = 1;
        for (ParamIter it = lk_params(m); lk_params_next(&it);) {
            if (!it.tensor->requires_grad) continue;
            names[i] = memcpy(text[i], it.name, sizeof it.name);
            in[i++] = it.tensor;
        }
        lk_gradcheck(run_module, m, (int)count, in, names, options, report);
    } else {
        memcpy(report->message, err.message, sizeof report->message);
    }
    lk_mem_free(text);
    lk_mem_free(names);
    lk_mem_free(in);
    lk_tensor_list_free(&params);
    return report->ok;
}
