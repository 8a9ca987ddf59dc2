/* test_kernels.c - which instruction set is used: LORIKEET_KERNELS, and its refusal. */
#include <stdlib.h>
#include <string.h>

#include "core/kernels/for_tests.h"
#include "core/strict.h"
#include "tests/check.h"

#if defined __x86_64__
static const char *const names[] = { "portable", "avx2", "avx512" };
#define CHOICE "it must be avx512, avx2 or portable"
#elif defined __aarch64__
static const char *const names[] = { "portable", "neon" };
#define CHOICE "it must be neon or portable"
#else
static const char *const names[] = { "portable" };
#define CHOICE "it must be portable"
#endif

/* The process of a test inherits the choice, so the sets are tried as tests of all of them do. */
Test(kernels, each_set_of_the_processor_has_its_name)
{
    Error err = { 0 };
    check(!getenv("LORIKEET_KERNELS") ||
          strcmp(getenv("LORIKEET_KERNELS"), lk_kernels(&err)) == 0);
    unsetenv("LORIKEET_KERNELS");
    check(lk__kernels_use(LK_PORTABLE), "every processor has it");
    for (KernelSet set = LK_PORTABLE; set < LK_KERNEL_SETS; set++) {
        KernelSet before = lk_kernel_set();
        bool has = lk__kernels_use(set);
        check(lk_kernel_set() == (has ? set : before));
        check(strcmp(lk_kernels(&err), names[lk_kernel_set()]) == 0);
        check_no_error(&err);
    }
    check(!lk__kernels_use(LK_KERNEL_SETS));
}

Test(kernels, an_unknown_word_is_refused)
{
    static const char *const words[] = { "fast", "AVX2", "avx", "avx512 ", "0" };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        Error err = { 0 };
        setenv("LORIKEET_KERNELS", words[i], true);
        check(!lk_tape_new(&err));
        check_error(&err, LK_EVALUE, words[i]);
        check_error(&err, LK_EVALUE, CHOICE);
    }
    setenv("LORIKEET_KERNELS", "", true);
    Tape *t = lk_tape_new(NULL);
    check(t, "an empty word leaves the choice to the library");
    lk_tape_free(t);
}

/* Words of sets that the processor lacks; a test for machines without AVX-512. */
Test(kernels, a_set_that_the_processor_lacks_is_refused)
{
    for (KernelSet set = LK_PORTABLE; set < LK_KERNEL_SETS; set++) {
        Error err = { 0 };
        bool has = lk__kernels_use(set);
        setenv("LORIKEET_KERNELS", names[set], true);
        Tape *t = lk_tape_new(&err);
        check(!t == !has, "%s", names[set]);
        if (!has) check_error(&err, LK_EVALUE, "this processor has ");
        lk_tape_free(t);
    }
}

static void count(const Error *err, void *user)
{
    check_error(err, LK_EVALUE, "LORIKEET_KERNELS=fast");
    ++*(int *)user;
}

Test(kernels, a_refusal_is_never_silent)
{
    int reports = 0;
    setenv("LORIKEET_KERNELS", "fast", true);
    lk_on_strict(count, &reports);
    check(!lk_tape_new(NULL));
    check(reports == 1);
}
