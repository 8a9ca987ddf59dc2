/* test_tokenize.c - examples/roberta/tokenize.c: each source of text, there and back, and what it
 * refuses. */
#include "tests/shared/programs.h"

#ifdef LK_HAVE_UTF8PROC

static const char *model(void) { return check_fixture("tokenizer"); }

static void check_output(Output o, const char *expected)
{
    check(o.status == 0 && o.err[0] == '\0', "status %d: %s", o.status, o.err);
    check(strcmp(o.out, expected) == 0, "'%s', expected '%s'", o.out, expected);
    output_free(&o);
}

/* The first ids of each: tests/fixtures/tokenizer. Another text gives other ids. */
Test(tokenize, sources)
{
    Output one = run_program("./tokenize --model '%s' --text 'it is the film'", model());
    check(one.status == 0 && strncmp(one.out, "0 ", 2) == 0 && strstr(one.out, " 2\n"), "%s",
          one.out);
    check_output(run_program("echo 'it is the film' | ./tokenize --model '%s'", model()), one.out);
    check_output(run_program("printf 'it is the film' | ./tokenize --model '%s'", model()),
                 one.out);

    const char *lines = check_write("lines", "it is the film\n\nit is the film", 30);
    char expected[512];
    print_to(expected, sizeof expected, "%s0 2\n%s", one.out, one.out);
    check_output(run_program("./tokenize --model '%s' --lines '%s'", model(), lines), expected);
    check_output(run_program("./tokenize --model '%s' </dev/null", model()), "");
    check_output(run_program("./tokenize --model '%s' --text ''", model()), "0 2\n");
    check_output(run_program("./tokenize --model '%s' --text=", model()), "0 2\n");
    Output dashes = run_program("./tokenize --model '%s' --text=--decode", model());
    check(dashes.status == 0 && strcmp(dashes.out, "0 2\n") != 0, "%s", dashes.err);
    check_output(run_program("./tokenize --model '%s' --text --decode", model()), dashes.out);
    output_free(&dashes);

    static const char tsv[] = "label\tsentence\n1\tit is the film\n0\tit is the film\n";
    print_to(expected, sizeof expected, "%s%s", one.out, one.out);
    check_output(run_program("./tokenize --model '%s' --tsv '%s'", model(),
                             check_write("tsv", tsv, sizeof tsv - 1)),
                 expected);
    output_free(&one);
}

Test(tokenize, there_and_back)
{
    static const char text[] =
        "it 's a charming journey . \n  a \xC3\xA9\xF0\x9F\x98\x80\n\n<s>bold</s> \xE2\x80\n";
    static const char back[] =
        "it 's a charming journey . \n  a \xC3\xA9\xF0\x9F\x98\x80\n\nbold \xEF\xBF\xBD\n";
    const char *lines = check_write("lines", text, sizeof text - 1);
    check_output(
        run_program("./tokenize --model '%s' --lines '%s' | ./tokenize --model '%s' --decode",
                    model(), lines, model()),
        back);
    check_output(run_program("./tokenize --model '%s' --decode --text '0 2'", model()), "\n");
}

Test(tokenize, refused)
{
    check_refused(run_program("./tokenize --model '%s' --text", model()), 2,
                  "--text needs a value");
    check_refused(run_program("./tokenize --model ''"), 2, "--model: the value is empty");
    check_refused(run_program("./tokenize --text a"), 1, "tokenize: --model is needed");
    check_refused(run_program("./tokenize --model nowhere --text a"), 1,
                  "nowhere/vocab.json: cannot be opened");
    check_refused(run_program("./tokenize --model '%s' --text a --lines b", model()), 1,
                  "only one of --tsv, --text");
    check_refused(run_program("./tokenize --model '%s' --tsv a --decode", model()), 1,
                  "--decode reads ids, not --tsv");
    check_refused(run_program("./tokenize --model '%s' --lines nowhere", model()), 1,
                  "--lines nowhere: No such file");
    check_refused(run_program("./tokenize --model '%s' --lines .", model()), 1,
                  "cannot be read: Is a directory");
    check_refused(run_program("./tokenize --model '%s' --tsv nowhere", model()), 1, "nowhere");
    check_refused(run_program("./tokenize --model '%s' --decode --text '0 x 2'", model()), 1,
                  "'x 2' is not ids");
    check_refused(run_program("./tokenize --model '%s' --decode --text '0  2'", model()), 1,
                  "1: ' 2' is not ids");
    check_refused(run_program("./tokenize --model '%s' --decode --text '0,2'", model()), 1,
                  "'0,2' is not ids");
    check_refused(run_program("./tokenize --model '%s' --decode --text '0 +2'", model()), 1,
                  "'+2' is not ids");
    check_refused(run_program("./tokenize --model '%s' --decode --text '684'", model()), 1,
                  "id 684 at 0 is no");
    check_refused(
        run_program("./tokenize --model '%s' --decode --text 99999999999999999999", model()), 1,
        "0 is no");
}

#else

Test(tokenize, without_utf8proc)
{
    check_refused(run_program("./tokenize --model . --text a"), 1, "built without utf8proc");
}

#endif
