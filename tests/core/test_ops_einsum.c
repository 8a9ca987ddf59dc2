/* test_ops_einsum.c - lk_einsum and lk_outer (core/ops_einsum.c) against PyTorch
 * (fixtures/ops_einsum.h) and against matrix products, and called wrongly. */
#include "tests/core/ops_cases.h"

#include "tests/fixtures/ops_einsum.h"
#include "tests/fixtures/ops_equations.h"

CALLER(einsum, lk_einsum(t, equations[c->arg[0]], x[0], x[1]))
CALLER(einsum_single, lk_einsum(t, single_equations[c->arg[0]], x[0], NULL))
CALLER(outer, lk_outer(t, x[0], x[1]))

static const Caller callers[] = { { "einsum", einsum },
                                  { "einsum_single", einsum_single },
                                  { "outer", outer } };

TEST_CASES(ops_einsum, einsum_cases, callers)

/* A product costs a product: the result has its bits, and one more node or two. */
Test(ops_einsum, is_the_matrix_product)
{
    Tape *t = lk_tape_new(NULL);
    Rng rng;
    lk_manual_seed(&rng, 0);
    Tensor *a = lk_randn(t, &rng, LK_F32, LK_SHAPE(3, 20, 30));
    Tensor *b = lk_randn(t, &rng, LK_F32, LK_SHAPE(3, 30, 10));
    check_equal(lk_einsum(t, "bij,bjk->bik", a, b), lk_matmul(t, a, b));
    Tensor *w = lk_randn(t, &rng, LK_F32, LK_SHAPE(7, 30));
    check_equal(lk_einsum(t, "bsd,od->bso", a, w), lk_linear(t, a, w, NULL));
    check(lk_einsum(t, "bij->bij", a, NULL) == a);
    Tensor *y = lk_einsum(t, "bij,bkj->", a, lk_transpose(t, b, 1, 2));
    check_close_to(y, lk_sum(t, lk_matmul(t, a, b), LK_ALL, false), 1e-4);
    lk_tape_free(t);
}

Test(ops_einsum, refuses_bad_equations)
{
    int reports;
    Tape *t = counting_tape(&reports);
    Tensor *x = lk_ones(t, LK_F32, LK_SHAPE(2, 3)), *wide = lk_ones(t, LK_F64, LK_SHAPE(2, 3));
    PASSES_NULL(lk_einsum(t, "ij,jk", NULL, x));
    REFUSES(lk_einsum(t, NULL, x, x), LK_EVALUE, "lk_einsum: the equation is NULL");
    REFUSES(lk_einsum(t, "ij,ij", x, wide), LK_EDTYPE,
            "lk_einsum: operands are float32 and float64; lk_to makes them the same");
    REFUSES(lk_einsum(t, "ij,ij,ij->i", x, x), LK_EVALUE,
            "lk_einsum: \"ij,ij,ij->i\": ',' is no letter; the form is \"ij,jk->ik\"");
    REFUSES(lk_einsum(t, "...j,j->...", x, x), LK_EVALUE,
            "lk_einsum: \"...j,j->...\": '.' is no letter; the form is \"ij,jk->ik\"");
    REFUSES(lk_einsum(t, "ii->i", x, NULL), LK_EVALUE,
            "lk_einsum: \"ii->i\": 'i' stands twice in one place; diagonals are not possible");
    REFUSES(lk_einsum(t, "ij->ii", x, NULL), LK_EVALUE,
            "lk_einsum: \"ij->ii\": 'i' stands twice in one place; diagonals are not possible");
    REFUSES(lk_einsum(t, "abcdefghi->a", x, NULL), LK_ESHAPE,
            "lk_einsum: \"abcdefghi->a\": more than 8 letters in one place");
    REFUSES(lk_einsum(t, "ij->k", x, NULL), LK_EVALUE,
            "lk_einsum: \"ij->k\": 'k' of the result is in no operand");
    REFUSES(lk_einsum(t, "ij->i", x, x), LK_EVALUE,
            "lk_einsum: \"ij->i\" is for 1 operands, not for 2");
    REFUSES(lk_einsum(t, "ij,jk->ik", x, NULL), LK_EVALUE,
            "lk_einsum: \"ij,jk->ik\" is for 2 operands, not for 1");
    REFUSES(lk_einsum(t, "ij,k->ik", x, x), LK_ESHAPE,
            "lk_einsum: \"ij,k->ik\": operand 2 is (2, 3): a letter for each dimension");
    REFUSES(lk_einsum(t, "ij,jk->ik", x, x), LK_ESHAPE,
            "lk_einsum: \"ij,jk->ik\": 'j' is 3 in one operand and 2 in the other");
    PASSES_NULL(lk_outer(t, NULL, x));
    PASSES_NULL(lk_outer(t, x, NULL));
    REFUSES(lk_outer(t, x, x), LK_ESHAPE,
            "lk_outer: (2, 3) and (2, 3) must have 1 dimension each");
    lk_tape_free(t);
}
