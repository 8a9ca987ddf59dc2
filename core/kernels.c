/* kernels.c - which instruction sets the processor has, and which one is used. core/real.h
 * tells how arithmetic is compiled for each of them. */
#include "core/kernels.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "core/kernels/for_tests.h"

static const char *const names[LK_KERNEL_SETS] = {
    [LK_PORTABLE] = "portable",
#ifdef __x86_64__
    [LK_AVX2] = "avx2",
    [LK_AVX512] = "avx512",
#elif defined __aarch64__
    [LK_NEON] = "neon",
#endif
};

#ifdef __x86_64__
#define LK_SET_NAMES "avx512, avx2 or portable"
#elif defined __aarch64__
#define LK_SET_NAMES "neon or portable"
#else
#define LK_SET_NAMES "portable"
#endif

/* The process has one set, like the environment that it comes from. Every operation reads it. */
static _Atomic int used = -1; /* -1: not chosen yet */

static KernelSet best_set(void)
{
#ifdef __x86_64__
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return LK_PORTABLE;
    return __builtin_cpu_supports("avx512f") ? LK_AVX512 : LK_AVX2;
#elif defined __aarch64__
    return LK_NEON;
#else
    return LK_PORTABLE;
#endif
}

/* Returns the word in LORIKEET_KERNELS; NULL when the choice is left to the library. */
static const char *wanted(void)
{
    const char *word = getenv("LORIKEET_KERNELS");
    return word && *word ? word : NULL;
}

/* Returns the set of that name, or -1. */
static int named(const char *word)
{
    int set = LK_KERNEL_SETS - 1;
    while (set >= 0 && strcmp(word, names[set]) != 0) set--;
    return set;
}

/* Chooses the set. When LORIKEET_KERNELS names an unknown set or one that the processor lacks, it
 * takes the best set, and lk_tape_new reports the error. Not inlined: in lk_kernel_set, which
 * every operation calls, it would cost registers. */
__attribute__((noinline, cold)) static KernelSet choose(void)
{
    KernelSet best = best_set();
    const char *word = wanted();
    int set = word ? named(word) : -1;
    KernelSet choice = set >= 0 && (KernelSet)set <= best ? (KernelSet)set : best;
    atomic_store_explicit(&used, (int)choice, memory_order_relaxed);
    return choice;
}

KernelSet lk_kernel_set(void)
{
    int set = atomic_load_explicit(&used, memory_order_relaxed);
    return set < 0 ? choose() : (KernelSet)set;
}

const char *lk_kernels(Error *err)
{
    const KernelSet best = best_set(), set = lk_kernel_set();
    const char *word = wanted();
    if (!word) return names[set];
    const int asked = named(word);
    if (asked >= 0 && asked <= (int)best) return names[set];
    if (asked < 0)
        lk_error_set(err, LK_EVALUE, "LORIKEET_KERNELS=%s: it must be " LK_SET_NAMES, word);
    else
        lk_error_set(err, LK_EVALUE,
                     "LORIKEET_KERNELS=%s: this processor has %s at best; without the variable "
                     "the best set is used",
                     word, names[best]);
    return NULL;
}

bool lk__kernels_use(KernelSet set)
{
    if (set > best_set()) return false;
    atomic_store(&used, (int)set);
    return true;
}
