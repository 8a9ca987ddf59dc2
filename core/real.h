/* real.h - one source for float32 and float64. Included by a file that wants to be read twice
 * more:
 *
 *     #ifndef real                                   -- first reading: the operations
 *     #define LK_REAL_SOURCE "core/ops_softmax.c"
 *     #include "core/real.h"                         -- reads the file again with real = float, then real = double
 *     … LK_REAL(x->dtype, softmax_rows, rows, n, x->data, y->data) calls the one that fits
 *     #else                                          -- second and third reading: the arithmetic
 *     static void F(softmax_rows)(int64_t rows, int64_t n, const real *x, real *y) { … }
 *     #endif
 *
 * <tgmath.h> picks expf or exp by the type of the argument. No include guard: every family
 * includes it once. */
#include <math.h>
#include <tgmath.h>

#define LK_ROW(dtype, f) ((dtype) == LK_F64 ? f##_f64 : f##_f32) /* a RowFn for lk_loop */
#define LK_REAL(dtype, f, ...) ((dtype) == LK_F64 ? f##_f64(__VA_ARGS__) : f##_f32(__VA_ARGS__))

#define real float
#define REAL_DTYPE LK_F32
#define F(name) name##_f32
#include LK_REAL_SOURCE
#undef real
#undef REAL_DTYPE
#undef F

#define real double
#define REAL_DTYPE LK_F64
#define F(name) name##_f64
#include LK_REAL_SOURCE
#undef real
#undef REAL_DTYPE
#undef F
