/* api.h - what every header needs: linkage, what compilers check, counted-array macros. */
#ifndef LK_API_H
#define LK_API_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Only what carries LK_API leaves the shared library; everything else is hidden. */
#if defined(__GNUC__) || defined(__clang__)
#define LK_API __attribute__((visibility("default")))
#define LK_PRINTF(at, first) __attribute__((format(printf, at, first)))
#define LK_MUST_CHECK __attribute__((warn_unused_result)) /* false: nothing was done, and only the result says so */
#else
#define LK_API
#define LK_PRINTF(at, first)
#define LK_MUST_CHECK
#endif

/* Counted arrays written in place: LK_SHAPE(2, 3) stands for two arguments, the count 2 and {2, 3}.
 * A scalar's shape is LK_SCALAR; "every dimension" of a reduction is LK_ALL. */
#define LK_I64S(...) (const int64_t[]){ __VA_ARGS__ }
#define LK_COUNT(...) ((int)(sizeof(LK_I64S(__VA_ARGS__)) / sizeof(int64_t)))
#define LK_SHAPE(...) LK_COUNT(__VA_ARGS__), LK_I64S(__VA_ARGS__)
#define LK_DIMS(...) LK_SHAPE(__VA_ARGS__)
#define LK_SCALAR 0, NULL
#define LK_ALL 0, NULL

#endif
