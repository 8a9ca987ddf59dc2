/* ops_einsum.c - sums of products that are written with letters: as one matrix product, or as one
 * elementwise product where nothing is summed.
 *
 * The letters of two operands fall into groups: those in both and in the result are batches, those
 * in both but not in the result are summed, and the others of the result are rows and columns. */
#include <ctype.h>
#include <limits.h>

#include "core/internal.h"
#include "core/ops.h"

/* ---- the equation --------------------------------------------------------------------------- */

typedef struct Letters {
    int count;
    char at[2 * LK_MAX_DIMS];
} Letters;

typedef struct Equation {
    int operands;
    Letters in[2], out;
} Equation;

static bool has(const Letters *l, char letter) { return memchr(l->at, letter, (size_t)l->count); }

/* Appends the letters of `from` that are (or are not) in a, and are (or are not) in b. */
static void add_letters(Letters *l, const Letters *from, const Letters *a, bool in_a,
                        const Letters *b, bool in_b)
{
    for (int i = 0; i < from->count; i++)
        if (has(a, from->at[i]) == in_a && has(b, from->at[i]) == in_b)
            l->at[l->count++] = from->at[i];
}

/* Appends one letter, and refuses what stands for a diagonal. */
static bool read_letter(Tape *t, const char *equation, Letters *l, char letter)
{
    if (!isalpha((unsigned char)letter))
        return lk_fail(t, LK_EVALUE,
                       "lk_einsum: \"%s\": '%c' is no letter; the form is \"ij,jk->ik\"", equation,
                       letter);
    if (has(l, letter))
        return lk_fail(t, LK_EVALUE,
                       "lk_einsum: \"%s\": '%c' stands twice in one place; diagonals are not "
                       "possible",
                       equation, letter);
    if (l->count == LK_MAX_DIMS)
        return lk_fail(t, LK_ESHAPE, "lk_einsum: \"%s\": more than %d letters in one place",
                       equation, LK_MAX_DIMS);
    l->at[l->count++] = letter;
    return true;
}

static bool read_equation(Tape *t, const char *equation, Equation *e)
{
    Letters *l = &e->in[0];
    bool has_result = false;
    *e = (Equation){ .operands = 1 };
    for (const char *at = equation; *at; at++) {
        if (*at == ' ') continue;
        if (*at == ',' && l == &e->in[0]) {
            l = &e->in[1];
            e->operands = 2;
        } else if (at[0] == '-' && at[1] == '>' && !has_result) {
            l = &e->out;
            has_result = true;
            at++;
        } else if (!read_letter(t, equation, l, *at)) {
            return false;
        }
    }
    /* Without "->" the result has the letters that stand once, in the order of the alphabet. */
    for (int letter = 'A'; !has_result && letter <= 'z'; letter++)
        if (has(&e->in[0], (char)letter) != has(&e->in[1], (char)letter) &&
            !read_letter(t, equation, &e->out, (char)letter))
            return false;
    for (int i = 0; i < e->out.count; i++)
        if (!has(&e->in[0], e->out.at[i]) && !has(&e->in[1], e->out.at[i]))
            return lk_fail(t, LK_EVALUE, "lk_einsum: \"%s\": '%c' of the result is in no operand",
                           equation, e->out.at[i]);
    return true;
}

/* Finds the size of each letter. Sizes of one letter are equal, or one of them is 1. */
static bool find_sizes(Tape *t, const char *equation, const Equation *e, Tensor *const *x,
                       int64_t *size)
{
    char text[LK_SHAPE_TEXT];
    for (int c = 0; c <= UCHAR_MAX; c++) size[c] = 1;
    for (int i = 0; i < e->operands; i++) {
        if (e->in[i].count != x[i]->ndim)
            return lk_fail(t, LK_ESHAPE,
                           "lk_einsum: \"%s\": operand %d is %s: a letter for each "
                           "dimension",
                           equation, i + 1, lk_shape_text(x[i], text));
        for (int d = 0; d < x[i]->ndim; d++) {
            int64_t *known = &size[(unsigned char)e->in[i].at[d]], own = x[i]->shape[d];
            if (*known != 1 && own != 1 && own != *known)
                return lk_fail(t, LK_ESHAPE,
                               "lk_einsum: \"%s\": '%c' is %lld in one operand and %lld in the "
                               "other",
                               equation, e->in[i].at[d], (long long)*known, (long long)own);
            if (*known == 1) *known = own;
        }
    }
    return true;
}

/* ---- operands ------------------------------------------------------------------------------- */

/* An operand and its letters. */
typedef struct Operand {
    Tensor *x;
    Letters letters;
} Operand;

/* Sums over the letters that are not in `other` and not in `out`. */
static void sum_own(Tape *t, Operand *a, const Letters *other, const Letters *out)
{
    int64_t dims[LK_MAX_DIMS];
    int count = 0;
    Letters kept = { 0 };
    for (int d = 0; d < a->letters.count; d++) {
        const char letter = a->letters.at[d];
        if (has(other, letter) || has(out, letter)) kept.at[kept.count++] = letter;
        else dims[count++] = d;
    }
    if (count > 0) a->x = lk_sum(t, a->x, count, dims, false);
    a->letters = kept;
}

/* Brings the dimensions into the order of the letters, which are those of the operand. */
static Tensor *in_order(Tape *t, const Operand *a, const Letters *letters)
{
    int64_t dims[LK_MAX_DIMS];
    bool is_ordered = true;
    for (int i = 0; i < letters->count; i++) {
        const char *at = memchr(a->letters.at, letters->at[i], (size_t)a->letters.count);
        dims[i] = at - a->letters.at;
        is_ordered = is_ordered && dims[i] == i;
    }
    return is_ordered ? a->x : lk_permute(t, a->x, letters->count, dims);
}

/* Returns the operand with the dimensions of the result; missing ones have size 1. */
static Tensor *as_result(Tape *t, const Operand *a, const Letters *out)
{
    Letters own = { 0 };
    add_letters(&own, out, &a->letters, true, out, true);
    Tensor *x = in_order(t, a, &own);
    for (int d = 0; d < out->count; d++)
        if (!has(&a->letters, out->at[d])) x = lk_unsqueeze(t, x, d);
    return x;
}

static int64_t sizes_of(const Letters *l, const int64_t *size, int64_t shape[LK_MAX_DIMS])
{
    int64_t product = 1;
    for (int d = 0; d < l->count; d++) {
        shape[d] = size[(unsigned char)l->at[d]];
        product *= shape[d];
    }
    return product;
}

/* Returns the operand as a matrix, or as a batch of matrices: (batch), rows, columns. A dimension
 * of size 1 is repeated where the other operand has more. */
static Tensor *as_matrix(Tape *t, const Operand *a, const Letters *batch, const Letters *rows,
                         const Letters *columns, const int64_t *size)
{
    Letters all = *batch;
    int64_t shape[LK_MAX_DIMS];
    memcpy(all.at + all.count, rows->at, (size_t)rows->count);
    all.count += rows->count;
    memcpy(all.at + all.count, columns->at, (size_t)columns->count);
    all.count += columns->count;
    Tensor *x = in_order(t, a, &all);
    sizes_of(&all, size, shape);
    bool is_repeated = false;
    for (int d = 0; x && d < all.count; d++) is_repeated = is_repeated || x->shape[d] != shape[d];
    if (is_repeated) x = lk_expand(t, x, all.count, shape);
    const int64_t matrix[] = { sizes_of(batch, size, shape), sizes_of(rows, size, shape),
                               sizes_of(columns, size, shape) };
    return batch->count ? lk_reshape(t, x, 3, matrix) : lk_reshape(t, x, 2, matrix + 1);
}

/* ---- products ------------------------------------------------------------------------------- */

/* Σ a b over the letters that are in both but not in the result, as (batch, rows, summed) times
 * (batch, summed, columns). */
static Tensor *contract(Tape *t, const Operand *a, const Operand *b, const Letters *out,
                        const int64_t *size)
{
    Letters batch = { 0 }, rows = { 0 }, columns = { 0 }, summed = { 0 };
    int64_t shape[LK_MAX_DIMS];
    add_letters(&batch, out, &a->letters, true, &b->letters, true);
    add_letters(&rows, out, &a->letters, true, &b->letters, false);
    add_letters(&columns, out, &a->letters, false, &b->letters, true);
    add_letters(&summed, &a->letters, &b->letters, true, out, false);
    Tensor *left = as_matrix(t, a, &batch, &rows, &summed, size);
    Tensor *right = as_matrix(t, b, &batch, &summed, &columns, size);
    Operand whole = { .letters = batch };
    memcpy(whole.letters.at + batch.count, rows.at, (size_t)rows.count);
    memcpy(whole.letters.at + batch.count + rows.count, columns.at, (size_t)columns.count);
    whole.letters.count += rows.count + columns.count;
    sizes_of(&whole.letters, size, shape);
    whole.x = lk_view(t, lk_matmul(t, left, right), whole.letters.count, shape);
    return in_order(t, &whole, out);
}

Tensor *lk_einsum(Tape *t, const char *equation, Tensor *a, Tensor *b)
{
    Equation e;
    int64_t size[UCHAR_MAX + 1];
    Tensor *x[] = { a, b };
    if (!lk_check_optional(t, "lk_einsum", "operand 2", b) ||
        !lk_check_floating(t, "lk_einsum", b ? 2 : 1, x))
        return NULL;
    if (!equation) return lk_fail(t, LK_EVALUE, "lk_einsum: the equation is NULL");
    if (!read_equation(t, equation, &e)) return NULL;
    if (e.operands != (b ? 2 : 1))
        return lk_fail(t, LK_EVALUE, "lk_einsum: \"%s\" is for %d operands, not for %d", equation,
                       e.operands, b ? 2 : 1);
    if (!find_sizes(t, equation, &e, x, size)) return NULL;
    Operand left = { a, e.in[0] }, right = { b, e.in[1] };
    sum_own(t, &left, &e.in[1], &e.out);
    if (!b) return in_order(t, &left, &e.out);
    sum_own(t, &right, &e.in[0], &e.out);
    Letters summed = { 0 };
    add_letters(&summed, &left.letters, &right.letters, true, &e.out, false);
    if (summed.count == 0) {
        Tensor *first = as_result(t, &left, &e.out), *second = as_result(t, &right, &e.out);
        return lk_mul(t, first, second);
    }
    /* The operand whose own letter comes first in the result has the rows: that saves a
     * permutation. */
    for (int i = 0; i < e.out.count; i++) {
        bool in_left = has(&left.letters, e.out.at[i]),
             in_right = has(&right.letters, e.out.at[i]);
        if (in_left && in_right) continue;
        return in_left ? contract(t, &left, &right, &e.out, size)
                       : contract(t, &right, &left, &e.out, size);
    }
    return contract(t, &left, &right, &e.out, size);
}

Tensor *lk_outer(Tape *t, Tensor *a, Tensor *b)
{
    char sa[LK_SHAPE_TEXT], sb[LK_SHAPE_TEXT];
    if (!lk_check_floating(t, "lk_outer", LK_INPUTS(a, b))) return NULL;
    if (a->ndim != 1 || b->ndim != 1)
        return lk_fail(t, LK_ESHAPE, "lk_outer: %s and %s must have 1 dimension each",
                       lk_shape_text(a, sa), lk_shape_text(b, sb));
    return lk_mul(t, lk_unsqueeze(t, a, 1), b);
}
