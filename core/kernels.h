/* kernels.h - the instruction set that all arithmetic uses: products, exponentials, plain loops.
 *
 *     LORIKEET_KERNELS=avx2 build/release/examples/my_program      or avx512, neon, portable
 *
 * Without the variable it is the best set of the processor. A set that the processor lacks, or
 * another word, is refused: lk_tape_new fails. AVX-512 and AVX2 give the same bits in most
 * operations, but not in products (core/kernels/gemm.h); each set gives the same bits in every
 * run. */
#ifndef LK_KERNELS_H
#define LK_KERNELS_H

#include "core/error.h"

typedef enum KernelSet {
    LK_PORTABLE, /* every processor: on x86-64 SSE2, elsewhere what the compiler has */
#ifdef __x86_64__
    LK_AVX2,   /* with FMA */
    LK_AVX512, /* AVX-512F */
#elif defined __aarch64__
    LK_NEON, /* every 64-bit Arm has it */
#endif
    LK_KERNEL_SETS
} KernelSet;

/* The set in use, chosen by the first call. */
LK_API KernelSet lk_kernel_set(void);
/* Its name: "avx512", "avx2", "neon" or "portable". NULL when LORIKEET_KERNELS is refused
 * (LK_EVALUE). */
LK_API const char *lk_kernels(Error *err);

#endif
