/* api.h - macros that every header needs: linkage, checks by the compiler, counted arrays.
 *
 * The headers work from C++17 too, with two differences. Tables of fields (nn/module.h) are C
 * only: a module's type is written in a .c file. And C++ has no pointer to a struct written in
 * place, such as &(LoRAConfig){ .rank = 8 }: use a variable. */
#ifndef LK_API_H
#define LK_API_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
#include <initializer_list>
#define LK_C extern "C"
#else
#define LK_C
#endif

/* The shared library exports the functions with LK_API; everything else is hidden. */
#if defined(__GNUC__) || defined(__clang__)
#define LK_API LK_C __attribute__((visibility("default")))
#define LK_PRINTF(at, first) __attribute__((format(printf, at, first)))
/* For a function that reports a failure only by its result. */
#define LK_MUST_CHECK __attribute__((warn_unused_result))
#else
#define LK_API LK_C
#define LK_PRINTF(at, first)
#define LK_MUST_CHECK
#endif
/* For a variable. In C++, LK_C already contains extern. */
#ifdef __cplusplus
#define LK_API_DATA LK_API
#else
#define LK_API_DATA LK_API extern
#endif

/* An array written in place, and its length. It lives to the end of the block in C, and to the end
 * of the statement in C++. */
#ifdef __cplusplus
#define LK_ARRAY(T, ...) (std::initializer_list<T>{ __VA_ARGS__ }.begin())
#define LK_LENGTH(T, ...) ((int)std::initializer_list<T>{ __VA_ARGS__ }.size())
#else
/* clang-format off */
#define LK_ARRAY(T, ...) (T const[]){ __VA_ARGS__ }
/* clang-format on */
#define LK_LENGTH(T, ...) ((int)(sizeof(LK_ARRAY(T, __VA_ARGS__)) / sizeof(T)))
#endif
#define LK_LIST(T, ...) LK_LENGTH(T, __VA_ARGS__), LK_ARRAY(T, __VA_ARGS__)

/* Counted arrays written in place: LK_SHAPE(2, 3) stands for two arguments, the count 2 and the
 * array { 2, 3 }. LK_SCALAR is the shape of a scalar, LK_ALL every dimension of a reduction. */
#define LK_I64S(...) LK_ARRAY(int64_t, __VA_ARGS__)
#define LK_SHAPE(...) LK_LIST(int64_t, __VA_ARGS__)
#define LK_DIMS(...) LK_SHAPE(__VA_ARGS__)
#define LK_SCALAR 0, NULL
#define LK_ALL 0, NULL

#endif
