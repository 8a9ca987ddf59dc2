/* test_tsv.c - GLUE's files: what is read, byte for byte, and a refusal for every way in which a
 * file can be wrong. */
#include "data/tsv.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/check.h"

static Tsv *read_text(const char *text, size_t size, int64_t classes)
{
    Error err = { 0 };
    Tsv *tsv = lk_tsv_new(check_write("file", text, size), classes, &err);
    check_no_error(&err);
    return tsv;
}

static void check_row(const Tsv *tsv, int64_t i, const char *sentence, int64_t label)
{
    const TsvRow *row = &tsv->rows[i];
    check(row->length == (int64_t)strlen(sentence) &&
              memcmp(row->sentence, sentence, strlen(sentence)) == 0,
          "row %lld is \"%.*s\", not \"%s\"", (long long)i, (int)row->length, row->sentence,
          sentence);
    check(row->label == label, "row %lld has label %lld", (long long)i, (long long)row->label);
}

/* ---- what is read --------------------------------------------------------------------------- */

Test(tsv, byte_for_byte)
{
    check_alloc_begin();
    const char *text = "sentence\tlabel\nit 's  \"quoted \t1\n \xc3\xa9\xff\r  \t0\n\t1\n";
    Tsv *tsv = read_text(text, strlen(text), 2);
    check(tsv->count == 3);
    /* a space at the end counts, a quote is a byte like others */
    check_row(tsv, 0, "it 's  \"quoted ", 1);
    check_row(tsv, 1, " \xc3\xa9\xff\r  ", 0); /* so is what is no UTF-8 */
    check_row(tsv, 2, "", 1);
    lk_tsv_free(tsv);
    lk_tsv_free(NULL);
    check(check_alloc_live() == 0);
}

/* CR LF, no end of the last line, a byte order mark, the columns in any order among others. */
Test(tsv, of_somebody_else)
{
    const char *text = "\xef\xbb\xbflabel\tindex\tsentence\r\n12\tx\ta \r\n007\t\tb\r";
    Tsv *tsv = read_text(text, strlen(text), 13);
    check(tsv->count == 2);
    check_row(tsv, 0, "a ", 12);
    check_row(tsv, 1, "b", 7);
    lk_tsv_free(tsv);

    text = "index\tsentence\n0\tuneasy \n"; /* test.tsv */
    tsv = read_text(text, strlen(text), 0);
    check(tsv->count == 1);
    check_row(tsv, 0, "uneasy ", -1);
    lk_tsv_free(tsv);

    text = "sentence\na\n\nb"; /* of one column any line is a row */
    tsv = read_text(text, strlen(text), 0);
    check(tsv->count == 3);
    check_row(tsv, 1, "", -1);
    lk_tsv_free(tsv);

    text = "sentence\tlabel\na\t9223372036854775806"; /* the largest there can be */
    tsv = read_text(text, strlen(text), INT64_MAX);
    check_row(tsv, 0, "a", INT64_MAX - 1);
    lk_tsv_free(tsv);
}

Test(tsv, longest_line)
{
    enum { HEADER = 9 };
    char *text = malloc(HEADER + LK_TSV_LINE_MAX + 1);
    memcpy(text, "sentence\n", HEADER);
    memset(text + HEADER, 'x', LK_TSV_LINE_MAX + 1);
    Tsv *tsv = read_text(text, HEADER + LK_TSV_LINE_MAX, 0);
    check(tsv->count == 1 && tsv->rows[0].length == LK_TSV_LINE_MAX);
    lk_tsv_free(tsv);
    Error err = { 0 };
    check(!lk_tsv_new(check_write("file", text, HEADER + LK_TSV_LINE_MAX + 1), 0, &err));
    check_error(&err, LK_EFORMAT, "line 2: has 1048577 bytes; at most 1048576 are possible");
    free(text);
}

/* ---- what is refused ------------------------------------------------------------------------ */

Test(tsv, refused)
{
    static const struct {
        const char *text;
        size_t size; /* 0: up to the end of the text */
        const char *message;
    } cases[] = {
        { "sentence\tlabel\n", 0, "file: has no rows after its first line" },
        { "sentence\tlabel", 0, "file: has no rows" },
        { "\xef\xbb\xbf", 0, "file: is empty" },
        { "sentences\tlabel\na\t1\n", 0,
          "line 1: no column is called \"sentence\": sentences\\tlabel" },
        { "sentence\tlabels\na\t1\n", 0,
          "line 1: no column is called \"label\": sentence\\tlabels" },
        { "sentence label\na 1\n", 0, "line 1: no column is called \"sentence\"" },
        { "\nsentence\tlabel\n", 0, "line 1: no column is called \"sentence\"" },
        { "sentence\tlabel\tlabel\na\t1\t1\n", 0, "line 1: two columns are called \"label\"" },
        { "label\tsentence\tsentence\n1\ta\ta\n", 0,
          "line 1: two columns are called \"sentence\"" },
        { "sentence\tlabel\na\t1\nb\n", 0, "line 3: has 1 columns; the first line has 2" },
        { "sentence\tlabel\na\tb\t1\n", 0, "line 2: has 3 columns; the first line has 2" },
        { "sentence\tlabel\na\t1\n\n", 0, "line 3: has 1 columns; the first line has 2" },
        { "sentence\tlabel\na\t2\n", 0, "line 2: label \"2\"; labels are 0 to 1" },
        { "sentence\tlabel\na\t1\nb\t-1\n", 0, "line 3: label \"-1\"; labels are 0 to 1" },
        { "sentence\tlabel\na\t\n", 0, "line 2: label \"\"; labels are 0 to 1" },
        { "sentence\tlabel\na\t1 \n", 0, "line 2: label \"1 \"; labels" },
        { "sentence\tlabel\na\t 1\n", 0, "line 2: label \" 1\"; labels" },
        { "sentence\tlabel\na\t0.5\n", 0, "line 2: label \"0.5\"; labels" },
        { "sentence\tlabel\na\t18446744073709551617\n", 0,
          "line 2: label \"18446744073709551617\"; labels" },
        { "sentence\tlabel\na\0b\t1\n", 21, "line 2: byte 2 is 0: no text" },
        { "sen\0ence\tlabel\n", 15, "line 1: byte 4 is 0: no text" },
    };
    check_alloc_begin();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t size = cases[i].size ? cases[i].size : strlen(cases[i].text);
        Error err = { 0 };
        check(!lk_tsv_new(check_write("file", cases[i].text, size), 2, &err), "case %zu was read",
              i);
        check_error(&err, LK_EFORMAT, cases[i].message);
        check_error(&err, LK_EFORMAT, "lk_tsv_new: ");
        check(check_alloc_live() == 0);
    }
}

Test(tsv, not_a_file)
{
    Error err = { 0 };
    check(!lk_tsv_new(check_scratch("missing.tsv"), 2, &err));
    check_error(&err, LK_EIO, "missing.tsv: cannot be opened: No such file");
    err = (Error){ 0 };
    check(!lk_tsv_new(check_scratch("."), 2, &err));
    check_error(&err, LK_EIO, "is not a regular file");
    err = (Error){ 0 };
    check(mkfifo(check_scratch("pipe"), 0600) == 0);
    check(!lk_tsv_new(check_scratch("pipe"), 2, &err)); /* and does not wait for a writer */
    check_error(&err, LK_EIO, "is not a regular file");
    err = (Error){ 0 };
    check(!lk_tsv_new(check_write("file", "", 0), 2, &err));
    check_error(&err, LK_EFORMAT, "file: is empty");
    err = (Error){ 0 };
    check(!lk_tsv_new(NULL, 2, &err));
    check_error(&err, LK_EVALUE, "the path is NULL");
    err = (Error){ 0 };
    check(!lk_tsv_new("file", -1, &err));
    check_error(&err, LK_EVALUE, "-1 classes");
}

Test(tsv, out_of_memory)
{
    check_alloc_begin();
    const char *text = "sentence\tlabel\na\t1\n", *path = check_write("file", text, strlen(text));
    int64_t tried = 0;
    for (bool failed = true; failed; tried++) {
        Error err = { 0 };
        check_fail_after(tried);
        Tsv *tsv = lk_tsv_new(path, 2, &err);
        failed = check_alloc_failed() > 0;
        check(!tsv == failed);
        check(err.code == (failed ? LK_EMEMORY : LK_OK), "%s", err.message);
        lk_tsv_free(tsv);
        check(check_alloc_live() == 0);
    }
    check(tried == 4);
    check_fail_after(-1);
}
