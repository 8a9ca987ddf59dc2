/* matmul.c - gradient cases of matrix products (core/ops_matmul.c,
 * core/ops_einsum.c). */
#include "examples/own/gradients/rows.h"

static Cases PRODUCTS = { "2,3 3,4",   "1,3 3,1", "2,3t 3,4",   "2,3 3,4t",  "2,3s 3,4s",
                          "2,5,3 3,4", "3 3,4",   "2,2,3t 3,2", "33,20 20,5" };
static Cases NO_PRODUCTS = { "0,3 3,2", "2,0 0,3", "2,3 3,0", "1 1", "0 0" };
static Cases BATCHES = { "3 3s",         "2,3t 3",        "2,2,3 3",
                         "3 2,3,2",      "2,3s 2,3,2t",   "2,2,3t 2,3,2",
                         "1,2,3 2,3,2s", "2,1,2,3 2,3,1", "3,2,3,4 3,1,4,2t" };
static Cases LINEARS = { "2,3 4,3 4",   "1,3 1,3 1", "2,3t 4,3 4", "2,3 4,3t 4", "2,3s 4,3s 4s",
                         "2,5,3 4,3 4", "3 4,3 4",   "33,7 5,7 5", "0,3 4,3 4" };
static Cases LORAS = { "2,3 4,3 4 2,3 4,2",    "1,3 1,3 1 1,3 1,1",   "2,3t 4,3 4 2,3t 4,2t",
                       "2,3 4,3t 4 2,3s 4,2s", "2,5,3 4,3 4 1,3 4,1", "3 4,3 4 2,3 4,2",
                       "9,7 5,7 5 3,7 5,3",    "0,3 4,3 4 2,3 4,2" };
static Cases WEIGHTS = { "2,3 4,3",   "1,3 1,3",   "2,3t 4,3", "2,3 4,3t",
                         "2,3s 4,3s", "2,5,3 4,3", "3 4,3",    "0,3 4,3" };

CALL(matmul, lk_matmul(t, x[0], x[1]))
CALL(linear, lk_linear(t, x[0], x[1], x[2]))
CALL(linear_no_bias, lk_linear(t, x[0], x[1], NULL))
CALL(linear_lora, lk_linear_lora(t, x[0], x[1], x[2], x[3], x[4], -1.5, LK_LORA_MERGED))
CALL(einsum, lk_einsum(t, "bij,bjk->bik", x[0], x[1]))
CALL(einsum_no_sum, lk_einsum(t, "ij,jk->kji", x[0], x[1]))
CALL(einsum_permuted, lk_einsum(t, "bij,jkl->lb", x[0], x[1]))
CALL(einsum_one, lk_einsum(t, "ijk->ki", x[0], NULL))
CALL(outer, lk_outer(t, x[0], x[1]))

static const GradientRow rows[] = {
    { "matmul", matmul, PRODUCTS, ANY },
    { "matmul", matmul, BATCHES, ANY },
    { "matmul", matmul, NO_PRODUCTS, ANY },
    { "linear", linear, LINEARS, ANY },
    { "linear", linear_no_bias, WEIGHTS, ANY },
    { "linear_lora", linear_lora, LORAS, ANY },
    { "einsum", einsum,
      (Cases){ "2,3,2 2,2,3", "2,3,2t 2,2,3s", "1,3,2 2,2,3", "2,3,1 2,2,3t", "2,1,1 2,1,1",
               "0,2,3 0,3,2", "2,3,0 2,0,2" },
      ANY },
    { "einsum", einsum_no_sum, (Cases){ "2,3 3,4", "2,3t 3,4s", "2,1 3,4", "2,0 0,3" }, ANY },
    { "einsum", einsum_permuted, (Cases){ "2,3,2 2,2,3", "2,3,2t 2,2,3s", "1,1,2 2,2,3t" }, ANY },
    { "einsum", einsum_one, CUBES, ANY },
    { "outer", outer, (Cases){ "3 2", "3s 4s", "1 3", "3 1", "0 3", "3 0", "5 5s" }, ANY },
};

const GradientFamily gradient_matmul = { GRADIENT_ROWS(rows) };
