/* test_regex.c - regular expressions against Python's, hostile ones, and memory that is short. */
#include "tests/check.h"

#include <string.h>

#include "data/regex.h"
#include "tests/fixtures/regex.h"

enum {
    TEXTS = sizeof regex_texts / sizeof *regex_texts,
    CASES = sizeof regex_cases / sizeof *regex_cases
};

Test(regex, as_python_says)
{
    for (int i = 0; i < CASES; i++) {
        Error err = { 0 };
        Regex *r = lk__regex_new(regex_cases[i].pattern, &err);
        check(!r == !*regex_cases[i].fits, "%s: %s", regex_cases[i].pattern, err.message);
        for (int k = 0; r && k < TEXTS; k++)
            check(lk__regex_fits(r, regex_texts[k]) == (regex_cases[i].fits[k] == '1'),
                  "\"%s\" and \"%s\"", regex_cases[i].pattern, regex_texts[k]);
        if (!r) check_error(&err, LK_EFORMAT, "the regular expression \"");
        lk__regex_free(r);
    }
}

Test(regex, refused_with_its_place)
{
    static const struct {
        const char *pattern, *message;
    } cases[] = {
        { "a(?!b)", "\"a(?!b)\" at 2: of the groups that begin with (? only (?: is understood" },
        { "(?i)a", "at 1: of the groups" },
        { "(?P<n>a)", "at 1: of the groups" },
        { "(a)\\1", "at 4: this escape is not understood" },
        { "\\n", "at 1: this escape" },
        { "[\\b]", "at 2: this escape" },
        { "a*+", "at 3: a repeat of a repeat is not understood" },
        { "\303\251", "at 0: only ASCII is understood" },
        { "a{100001}", "at 9: is too large" },
        { "((a{1000}){1000}){1000}", "is too large" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Error err = { 0 };
        check(!lk__regex_new(cases[i].pattern, &err), "%s", cases[i].pattern);
        check_error(&err, LK_EFORMAT, cases[i].message);
    }
    char nested[10001];
    memset(nested, '(', 10000);
    nested[10000] = '\0';
    Error err = { 0 };
    check(!lk__regex_new(nested, &err));
    check_error(&err, LK_EFORMAT, "the groups are nested too deep");
}

/* Trying one way after the other would take 2^200 steps for each of them. */
Test(regex, no_expression_is_slow, .timeout = 60)
{
    static const char *const patterns[] = { "(a*)*b", "(a|a)*b", "(a+)+b", "(.*.*.*.*.*)*b",
                                            "((a?){100}){100}b" };
    char text[201];
    memset(text, 'a', 200);
    text[200] = '\0';
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) {
        Regex *r = lk__regex_new(patterns[i], NULL);
        check(r && !lk__regex_fits(r, text));
        text[199] = 'b';
        check(lk__regex_fits(r, text));
        text[199] = 'a';
        lk__regex_free(r);
    }
}

Test(regex, escape)
{
    char out[64];
    lk__regex_escape("layer.0_a-b(c)", out);
    check(strcmp(out, "layer\\.0_a\\-b\\(c\\)") == 0, "%s", out);
    for (int i = 0; i < TEXTS; i++) {
        if (strchr(regex_texts[i], '\303')) continue; /* outside of ASCII */
        lk__regex_escape(regex_texts[i], out);
        Regex *r = lk__regex_new(out, NULL);
        for (int k = 0; k < TEXTS; k++)
            check(lk__regex_fits(r, regex_texts[k]) ==
                      (strcmp(regex_texts[k], regex_texts[i]) == 0),
                  "%s", out);
        lk__regex_free(r);
    }
}

Test(regex, every_allocation_may_fail)
{
    check_alloc_begin();
    for (int64_t n = 0, failed = 1; failed; n++) {
        Error err = { 0 };
        check_fail_after(n);
        Regex *r = lk__regex_new("(model\\.layers\\.[0-9]{1,3}\\.(q|v)_proj)*|lm_head", &err);
        failed = check_alloc_failed();
        check_fail_after(-1);
        check(!r == (failed > 0));
        if (failed) check_error(&err, LK_EMEMORY, "no memory for a regular expression");
        lk__regex_free(r);
        check(check_alloc_live() == 0);
    }
}
