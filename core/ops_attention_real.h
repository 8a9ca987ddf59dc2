/* ops_attention_real.h - rows of scores and probabilities, in `real` (core/real.h). */
#include "core/kernels/vmath_real.h"

/* The value of a masked score: the lowest number. */
#define LOWEST (LK_REAL_IS_FLOAT ? (real)-FLT_MAX : (real)-DBL_MAX)

/* Adds attn_mask to row i of the scores. Where it is false they become LOWEST, and nothing gets
 * lower: -inf masks like false. */
static void LK_F(bias_row)(const Block *b, int64_t i, real *s)
{
    const int64_t at = i * b->bias->stride[2], step = b->bias->stride[3];
    if (b->bias->dtype == LK_BOOL) {
        const bool *allowed = (const bool *)b->bias_at + at;
        for (int64_t j = 0; j < b->columns; j++) s[j] = allowed[j * step] ? s[j] : LOWEST;
        return;
    }
    const real *bias = (const real *)b->bias_at + at;
    for (int64_t j = 0; j < b->columns; j++) {
        const real x = s[j] + bias[j * step];
        s[j] = x < LOWEST ? LOWEST : x;
    }
}

/* Makes the scores of row i from its products. They are scaled, and LOWEST where masked. */
static void LK_F(mask_row)(const Block *b, int64_t i, real *s)
{
    const real scale = (real)b->a->scale;
    if (b->mask) /* a choice between two values, without a branch: vector code */
        for (int64_t j = 0; j < b->columns; j++) {
            const real x = s[j] * scale;
            s[j] = b->mask[j] ? x : LOWEST;
        }
    else
        for (int64_t j = 0; j < b->columns; j++) s[j] *= scale;
    if (b->bias) LK_F(bias_row)(b, i, s);
    const int64_t last = b->a->position + b->first + i; /* that a causal row may attend to */
    for (int64_t j = last + 1; b->a->causal && j < b->columns; j++) s[j] = LOWEST;
}

static void LK_F(drop_row)(const Block *b, int64_t i, real *s)
{
    const uint8_t *keep = b->keep + i * b->a->columns;
    for (int64_t j = 0; j < b->columns; j++) s[j] *= (real)keep[j];
}

/* Turns products q kᵀ into e^(score - maximum), 0 where dropped. factors[i] has 1 / Σ e^… and the
 * scale of dropout; row i of the result must be multiplied by it. */
static void LK_F(attend)(const Block *b, void *scores, void *factors)
{
    const real noise = (real)(b->keep ? lk__dropout_scale(&b->a->dropout, b->a->dtype) : 1);
    for (int64_t i = 0; i < b->rows; i++) {
        real *s = (real *)scores + i * b->step, parts[LK_LANES] = { 0 };
        LK_F(mask_row)(b, i, s);
        const real max = LK_F(max_row)(b->columns, s);
        LK_F(exp_sum_row)(b->columns, s, max, s, parts);
        const real inverse = 1 / LK_F(total)(parts);
        if (b->keep) LK_F(drop_row)(b, i, s);
        ((real *)factors)[i] = inverse * noise;
        if (!b->sums) continue;
        ((real *)b->sums)[2 * i] = max;
        ((real *)b->sums)[2 * i + 1] = inverse;
    }
}

static void LK_F(multiply_rows)(int64_t rows, int64_t n, void *y, int64_t step,
                                const void *factors)
{
    for (int64_t i = 0; i < rows; i++) {
        real *row = (real *)y + i * step;
        const real factor = ((const real *)factors)[i];
        for (int64_t j = 0; j < n; j++) row[j] *= factor;
    }
}

/* Turns products q kᵀ into P ∘ N, and products dy vᵀ (unless NULL) into scale · ds. */
static void LK_F(differentiate)(const Block *b, void *scores, void *grads)
{
    const real noise = (real)(b->keep ? lk__dropout_scale(&b->a->dropout, b->a->dtype) : 1),
               scale = (real)b->a->scale;
    for (int64_t i = 0; i < b->rows; i++) {
        real *p = (real *)scores + i * b->step, *g = (real *)grads + i * b->step,
             parts[LK_LANES] = { 0 };
        const real max = ((const real *)b->sums)[2 * i],
                   inverse = ((const real *)b->sums)[2 * i + 1];
        LK_F(mask_row)(b, i, p);
        LK_F(exp_sum_row)(b->columns, p, max, p, parts);
        if (grads) {
            if (b->keep) LK_F(drop_row)(b, i, g);
            real dots[LK_LANES] = { 0 };
            int64_t j = 0;
            for (; j + LK_LANES <= b->columns; j += LK_LANES)
                for (int l = 0; l < LK_LANES; l++) dots[l] = LK_MADD(p[j + l], g[j + l], dots[l]);
            for (int l = 0; j < b->columns; j++, l++) dots[l] = LK_MADD(p[j], g[j], dots[l]);
            const real dot = LK_F(total)(dots) * inverse;
            /* The scores of a completely masked row are constants. */
            const real factor = max == LOWEST ? 0 : inverse * scale * noise;
            for (j = 0; j < b->columns; j++) g[j] = p[j] * (g[j] - dot) * factor;
            real *bias = b->dbias ? (real *)b->dbias + i * b->dbias_row : NULL;
            for (j = 0; bias && j < b->columns; j++) bias[j * b->dbias_column] += g[j] / scale;
        }
        for (int64_t j = 0; j < b->columns; j++) p[j] *= inverse * noise;
        if (b->keep) LK_F(drop_row)(b, i, p);
    }
}
#undef LOWEST
