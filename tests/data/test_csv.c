/* test_csv.c - tables of numbers: what is read, and one refusal for every way in which a file can
 * be wrong. */
#include "tests/check.h"

#include <locale.h>
#include <math.h>
#include <string.h>

#include "data/csv.h"

static Csv *read_text(const char *text, CsvOptions options, Error *err)
{
    return lk_csv_new(check_write("table.csv", text, strlen(text)), &options, err);
}

static Csv *read_good(const char *text, CsvOptions options)
{
    Error err = { 0 };
    Csv *csv = read_text(text, options, &err);
    check_no_error(&err);
    return csv;
}

/* ---- what is read --------------------------------------------------------------------------- */

Test(csv, numbers_with_and_without_names)
{
    Csv *csv = read_good("1,2.5,-3e2\n4, +5 ,\t.5\n", (CsvOptions){ 0 });
    check(csv->values->dtype == LK_F32 && csv->columns.count == 0);
    check_shape(csv->values, LK_SHAPE(2, 3));
    check_values(csv->values, 0, 1, 2.5, -300, 4, 5, 0.5);
    check(lk_csv_find(csv, "x") == -1);
    lk_csv_free(csv);

    csv = read_good("x;\"a \"\"b\"\";\nc\"; z \r\n1;2;3\r\n\r\n4;5;6",
                    (CsvOptions){ .header = true, .separator = ';', .dtype = LK_F64 });
    check(csv->values->dtype == LK_F64 && csv->columns.count == 3);
    check_values(csv->values, 0, 1, 2, 3, 4, 5, 6);
    check(lk_csv_find(csv, "x") == 0 && lk_csv_find(csv, "z") == 2);
    check(lk_csv_find(csv, "a \"b\";\nc") == 1);
    check(lk_csv_find(csv, NULL) == -1 && lk_csv_find(NULL, "x") == -1);
    lk_csv_free(csv);
}

Test(csv, whole_numbers_and_quotes_and_marks)
{
    Csv *csv = read_good("\xef\xbb\xbf\"9223372036854775807\",-9223372036854775808\n+0,\"12\"\n",
                         (CsvOptions){ .dtype = LK_I64 });
    const int64_t expected[] = { INT64_MAX, INT64_MIN, 0, 12 };
    check_bits(csv->values, expected, 4);
    lk_csv_free(csv);
}

Test(csv, gaps_and_other_values)
{
    Csv *csv = read_good("1,,3\n,nan,\n-inf,Infinity,1e308\n",
                         (CsvOptions){ .gaps = true, .dtype = LK_F64 });
    check_values(csv->values, 0, 1, NAN, 3, NAN, NAN, NAN, -INFINITY, INFINITY, 1e308);
    lk_csv_free(csv);
}

Test(csv, separators_that_are_blanks)
{
    Csv *csv = read_good("1\t2\n 3 \t 4\n", (CsvOptions){ .separator = '\t' });
    check_values(csv->values, 0, 1, 2, 3, 4);
    lk_csv_free(csv);
    csv = read_good("1 2\n3 4", (CsvOptions){ .separator = ' ' });
    check_values(csv->values, 0, 1, 2, 3, 4);
    lk_csv_free(csv);
}

/* C's own functions would expect a comma in this locale. */
Test(csv, points_in_every_locale)
{
    if (!setlocale(LC_ALL, "de_DE.UTF-8")) setlocale(LC_ALL, "C");
    Csv *csv = read_good("1.5,2.25\n", (CsvOptions){ 0 });
    check_values(csv->values, 0, 1.5, 2.25);
    lk_csv_free(csv);
    setlocale(LC_ALL, "C");
}

Test(csv, many_rows_and_some_of_the_columns)
{
    enum { ROWS = 3000 };
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    for (int i = 0; i < ROWS; i++) fprintf(out, "%d,%d,%d\n", i, 2 * i, 3 * i);
    fclose(out);
    Csv *csv = read_good(text, (CsvOptions){ .dtype = LK_I64 });
    free(text);
    check_shape(csv->values, LK_SHAPE(ROWS, 3));
    Tensor *x = lk_csv_columns_new(csv, 1, 2, NULL), *y = lk_csv_columns_new(csv, 0, 1, NULL);
    check_shape(x, LK_SHAPE(ROWS, 2));
    check_shape(y, LK_SHAPE(ROWS, 1));
    for (int64_t i = 0; i < ROWS; i++)
        check(lk_at(y, LK_INDEX(i, 0)) == (double)i &&
              lk_at(x, LK_INDEX(i, 1)) == (double)(3 * i));
    const int64_t bad[][2] = { { -1, 1 }, { 0, 0 }, { 3, 1 }, { 2, 2 }, { 0, INT64_MAX } };
    for (int k = 0; k < 5; k++) {
        Error err = { 0 };
        check(!lk_csv_columns_new(csv, bad[k][0], bad[k][1], &err));
        check_error(&err, LK_EVALUE, "; there are 3");
    }
    lk_free(x);
    lk_free(y);
    lk_csv_free(csv);
}

/* ---- what is refused ------------------------------------------------------------------------ */

static void check_refused(const char *text, CsvOptions options, ErrorCode code, const char *part)
{
    Error err = { 0 };
    check(!read_text(text, options, &err), "read, but expected \"%s\"", part);
    check_error(&err, code, part);
    check_error(&err, code, "lk_csv_new: ");
}

Test(csv, errors_have_line_and_column)
{
    const CsvOptions plain = { 0 }, names = { .header = true }, whole = { .dtype = LK_I64 };
    check_alloc_begin();
    check_refused("1,2\n3,abc\n", plain, LK_EFORMAT,
                  "table.csv: line 2: column 2: \"abc\" is no number");
    check_refused(
        "a,b\n1,2\n", plain, LK_EFORMAT,
        "line 1: column 1: \"a\" is no number; with names in the first line, set .header");
    check_refused("a,price\n1,2\n\n3,1.2.3", names, LK_EFORMAT,
                  "line 4: column 2 (price): \"1.2.3\" is no number");
    check_refused("\"a\nb\"\n\"1\"\nx", names, LK_EFORMAT, "line 4: column 1 (a\\nb): \"x\"");
    check_refused("1,2\n3,\n", plain, LK_EFORMAT, "line 2: column 2: \"\" is no number");
    check_refused("1,2\n3\n", plain, LK_EFORMAT,
                  "line 2: has only 1 fields; the first line has 2");
    check_refused("1,2\n3,4,5\n", plain, LK_EFORMAT,
                  "line 2: has more than 2 fields; the first line has 2");
    check_refused("a,b\n1\n", names, LK_EFORMAT, "line 2: has only 1 fields");
    check_refused("a,b,a\n", names, LK_EFORMAT, "line 1: two columns are called \"a\"");
    check_refused("1\n\"2\n3\n", plain, LK_EFORMAT, "line 2: column 1: its quote has no end");
    check_refused("\"1\"2,3\n", plain, LK_EFORMAT,
                  "line 1: column 1: there is text behind its quote");
    check_refused("", plain, LK_EFORMAT, "is empty");
    check_refused("\n\n", plain, LK_EFORMAT, "has no numbers");
    check_refused("\n", names, LK_EFORMAT, "is empty");
    check_refused("a,b\n", names, LK_EFORMAT, "has no numbers");
    static const char *const no_numbers[] = {
        "0x10", "nan(1)", "1e400", "1e39", "--1", "1 2", "-"
    };
    for (size_t i = 0; i < sizeof no_numbers / sizeof *no_numbers; i++)
        check_refused(no_numbers[i], plain, LK_EFORMAT, "is no number");
    static const char *const no_integers[] = { "1.0", "9223372036854775808", "1e3", "", "nan" };
    for (size_t i = 0; i < 5; i++) {
        char text[64];
        snprintf(text, sizeof text, "1,%s\n", no_integers[i]);
        check_refused(text, whole, LK_EFORMAT, "is no number that int64 can be");
    }
    check_refused("1", (CsvOptions){ .dtype = LK_U8 }, LK_EDTYPE, "not uint8");
    check_refused("1", (CsvOptions){ .separator = '.' }, LK_EVALUE, "the separator '.' may be");

    Error err = { 0 };
    check(!lk_csv_new(check_write("nul.csv", "1,\0", 3), NULL, &err));
    check_error(&err, LK_EFORMAT, "byte 3 is 0: no text");
    err = (Error){ 0 };
    check(!lk_csv_new(check_scratch("none.csv"), NULL, &err));
    check_error(&err, LK_EIO, "none.csv: cannot be opened: No such file");
    err = (Error){ 0 };
    check(!lk_csv_new(NULL, NULL, &err));
    check_error(&err, LK_EVALUE, "the path is NULL");
    err = (Error){ 0 };
    check(!lk_csv_columns_new(NULL, 0, 1, &err));
    check_error(&err, LK_EVALUE, "the table is NULL");
    lk_csv_free(NULL);
    check(check_alloc_live() == 0);
}

Test(csv, without_memory_nothing_leaks)
{
    check_alloc_begin();
    for (int64_t n = 0, failed = 1; failed; n++) {
        Error err = { 0 };
        check_fail_after(n);
        Csv *csv = read_text("a,b\n1,2\n3,4\n", (CsvOptions){ .header = true }, &err);
        failed = check_alloc_failed();
        check(!csv == (failed > 0));
        if (failed) check_error(&err, LK_EMEMORY, "memory");
        lk_csv_free(csv);
        check(check_alloc_live() == 0);
    }
}
