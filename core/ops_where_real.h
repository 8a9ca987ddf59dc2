/* ops_where_real.h - the gradients of lk_where by rows, in `real` (core/real.h). */

/* d += dy, or d = dy and 0 elsewhere, where the condition is `chosen`. */
#define WHERE_ROWS(chosen, add_row, keep_row) \
    static void LK_F(add_row)(int64_t n, void *const *p, const int64_t *step, const void *arg) \
    { \
        (void)arg; \
        real *d = p[0]; \
        const real *dy = p[1]; \
        const bool *cond = p[2]; \
        for (int64_t i = 0; i < n; i++) \
            d[i * step[0]] += cond[i * step[2]] == chosen ? dy[i * step[1]] : 0; \
    } \
    static void LK_F(keep_row)(int64_t n, void *const *p, const int64_t *step, const void *arg) \
    { \
        (void)arg; \
        real *d = p[0]; \
        const real *dy = p[1]; \
        const bool *cond = p[2]; \
        for (int64_t i = 0; i < n; i++) \
            d[i * step[0]] = cond[i * step[2]] == chosen ? dy[i * step[1]] : 0; \
    }
WHERE_ROWS(true, add_true_row, keep_true_row)
WHERE_ROWS(false, add_false_row, keep_false_row)
#undef WHERE_ROWS
