/* test_ema.c - averages of parameters: PyTorch's numbers, swapping, what is refused, memory. */
#include <math.h>

#include "optim/ema.h"
#include "tests/fixtures/optim.h"
#include "tests/shared/nets.h"

Test(ema, averages_are_those_of_pytorch)
{
    for (DType dtype = LK_F32; dtype <= LK_F64; dtype++)
        for (size_t i = 0; i < sizeof optim_averages / sizeof *optim_averages; i++) {
            const struct OptimAverage *run = &optim_averages[i];
            Tensor *p = lk_param_new(dtype, LK_SHAPE(6), NULL);
            Ema *ema = lk_ema_new(list_of(1, &p), run->decay, NULL);
            for (int s = 0; s < run->updates; s++) {
                for (int64_t k = 0; k < 6; k++) {
                    double value = optim_start[k] * (1 + s * s / 10.0);
                    if (dtype == LK_F64) ((double *)p->data)[k] = value;
                    else ((float *)p->data)[k] = (float)value;
                }
                check(lk_ema_update(ema, NULL));
            }
            check(ema->updates == run->updates);
            check_close(ema->averages.items[0], run->average, 6, dtype == LK_F64 ? 1e-14 : 1e-6);
            lk_ema_free(ema);
            lk_free(p);
        }
}

Test(ema, swapping_twice_changes_nothing)
{
    Tensor *p[] = { make_param(LK_F32, LK_SHAPE(2), 1, 2),
                    lk_param_new(LK_F64, LK_SHAPE(0), NULL) };
    Ema *ema = lk_ema_new(list_of(2, p), 0.5, NULL);
    check(lk_ema_update(ema, NULL));
    check(lk_fill_(p[0], 8));
    check(lk_ema_update(ema, NULL)); /* 4.5 and 5 */
    uint32_t version = p[0]->storage->version;
    check(lk_ema_swap(ema, NULL));
    check(ema->swapped && p[0]->storage->version != version);
    check_values(p[0], 0, 4.5, 5);
    check_values(ema->averages.items[0], 0, 8, 8);
    Error err = { 0 };
    check(!lk_ema_update(ema, &err));
    check_error(&err, LK_ESTATE, "lk_ema_update: the parameters hold the averages");
    check(lk_ema_swap(ema, NULL));
    check_values(p[0], 0, 8, 8);
    check_values(ema->averages.items[0], 0, 4.5, 5);
    check(ema->updates == 2 && !ema->swapped);
    lk_ema_free(ema);
    lk_free(p[0]);
    lk_free(p[1]);
}

static void check_refused(TensorList list, double decay, const char *text)
{
    Error err = { 0 };
    check(!lk_ema_new(list, decay, &err));
    check_error(&err, LK_EVALUE, text);
}

Test(ema, what_is_refused)
{
    check_alloc_begin();
    Tensor *p = make_param(LK_F32, LK_SHAPE(2), 1, 2),
           *labels = make_tensor(LK_I64, LK_SHAPE(1), 1);
    check_refused((TensorList){ 0 }, 0.9, "lk_ema_new: the list is empty");
    check_refused(list_of(1, &p), 1.5, "lk_ema_new: the decay is 1.5; it must be from 0 to 1");
    check_refused(list_of(1, &p), NAN, "the decay is nan");
    check_refused(list_of(1, &labels), 0.9, "parameter 0 is int64");
    check_refused(list_of(2, (Tensor *[]){ p, p }), 0.9, "parameters 0 and 1 are the same tensor");

    Ema *ema = lk_ema_new(list_of(1, &p), 0.9, NULL);
    Error err = { 0 };
    ema->decay = -1;
    check(!lk_ema_update(ema, &err));
    check_error(&err, LK_EVALUE, "lk_ema_update: the decay is -1");
    ema->decay = 0.9;
    check(lk_convert_(p, LK_F64, NULL));
    err = (Error){ 0 };
    check(!lk_ema_update(ema, &err));
    check_error(&err, LK_ESTATE, "parameter 0 was float32 and is float64 now; make a new Ema");
    err = (Error){ 0 };
    check(!lk_ema_swap(ema, &err));
    check_error(&err, LK_ESTATE, "lk_ema_swap: parameter 0 was float32");
    lk_ema_free(ema);
    lk_ema_free(NULL);
    lk_free(p);
    lk_free(labels);
    check(check_alloc_live() == 0);
}

Test(ema, without_memory_nothing_leaks)
{
    check_alloc_begin();
    Tensor *p[] = { make_param(LK_F32, LK_SHAPE(2), 1, 2), make_param(LK_F32, LK_SHAPE(1), 3) };
    int64_t live = check_alloc_live();
    for (int64_t n = 0, failed = 1; failed; n++) {
        TensorList list = list_of(2, p);
        Error err = { 0 };
        check_fail_after(n);
        Ema *ema = lk_ema_new(list, 0.9, &err);
        failed = check_alloc_failed();
        check(!ema == (failed > 0));
        if (failed) check_error(&err, LK_EMEMORY, "memory");
        lk_ema_free(ema);
        check_fail_after(-1);
        check(check_alloc_live() == live);
    }
    lk_free(p[0]);
    lk_free(p[1]);
}

Test(ema, neither_threads_nor_memory)
{
    enum { N = 300001 };
    check_alloc_begin();
    Tensor *averages[2];
    for (int run = 0; run < 2; run++) {
        Rng rng;
        lk_manual_seed(&rng, 0);
        Tensor *p = lk_param_new(LK_F32, LK_SHAPE(N), NULL);
        lk_normal_(p, 0, 1, &rng);
        Ema *ema = lk_ema_new(list_of(1, &p), 0.9, NULL);
        lk_set_num_threads(run ? 4 : 1);
        int64_t before = check_alloc_count();
        for (int i = 0; i < 3; i++) {
            check(lk_ema_update(ema, NULL));
            lk_normal_(p, 0, 1, &rng);
        }
        check(lk_ema_swap(ema, NULL));
        check(check_alloc_count() == before);
        averages[run] = lk_clone(p, NULL);
        lk_ema_free(ema);
        lk_free(p);
    }
    check_equal(averages[0], averages[1]);
    lk_free(averages[0]);
    lk_free(averages[1]);
    check(check_alloc_live() == 0);
}
