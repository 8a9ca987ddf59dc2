/* test_json.c - JSON that is read strictly, and written: what is accepted and what is refused,
 * where, and with how much memory. */
#include "data/json_write.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "data/utf8.h"
#include "tests/check.h"

static Json *read_bytes(const char *bytes, size_t size, Error *err)
{
    char *text = malloc(size + 1); /* so that a sanitizer sees a step too far */
    memcpy(text, bytes, size);
    text[size] = '\0';
    Json *root = lk__json_new(text, size, "", &(FileReport){ "test", "x.json", err, 0 });
    free(text);
    return root;
}

static void check_bytes_refused(const char *bytes, size_t size, const char *message)
{
    Error err = { 0 };
    check(!read_bytes(bytes, size, &err), "accepted: %s", bytes);
    check_error(&err, LK_EFORMAT, message);
}

static void check_refused(const char *text, const char *message)
{
    check_bytes_refused(text, strlen(text), message);
}

static void check_same(const char *got, const char *expected)
{
    check(strcmp(got, expected) == 0, "%s\ninstead of\n%s", got, expected);
}

/* Reads a text, and writes it again without blanks. */
static void check_read(const char *text, const char *expected)
{
    Error err = { 0 };
    Json *root = read_bytes(text, strlen(text), &err);
    check_no_error(&err);
    Buffer again = { 0 };
    lk__json_put(&(JsonWriter){ .out = &again }, NULL, root);
    check_same(again.bytes, expected);
    lk_buffer_free(&again);
    lk_mem_free(root);
}

/* ---- reading -------------------------------------------------------------------------------- */

Test(json, values)
{
    static const struct {
        const char *text, *expected;
    } cases[] = {
        /* clang-format off */
        { "null", "null" }, { "true", "true" }, { " false\r\n\t", "false" }, { "[]", "[]" },
        { "{}", "{}" }, { " [ ] ", "[]" }, { "\n{\n}\n", "{}" },
        { "[[],{},[[]]]", "[[],{},[[]]]" },
        { "[1 , 2,3 ]", "[1,2,3]" }, { "{ \"a\" : 1 , \"b\" : [ 2 ] }", "{\"a\":1,\"b\":[2]}" },
        { "{\"\":0}", "{\"\":0}" }, { "{\"a\":{\"a\":{\"a\":1}}}", "{\"a\":{\"a\":{\"a\":1}}}" },
        { "[{\"a\":1},{\"a\":1}]", "[{\"a\":1},{\"a\":1}]" },
        { "[null,1,\"1\",{},true]", "[null,1,\"1\",{},true]" },
        /* texts */
        { "\"\"", "\"\"" }, { "\"a b\"", "\"a b\"" }, { "\"\x7f\"", "\"\x7f\"" },
        { "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\\"\\\\/\\b\\f\\n\\r\\t\"" },
        { "\"\\u0041\\u00e9\\u20AC\"", "\"Aé€\"" }, { "\"\\u0001\\u001f\"", "\"\\u0001\\u001f\"" },
        { "\"\\u007f\\u0080\\u07ff\\u0800\\uffff\"",
          "\"\x7f\xc2\x80\xdf\xbf\xe0\xa0\x80\xef\xbf\xbf\"" },
        { "\"\\ud83d\\ude00\"", "\"😀\"" },
        { "\"\\uD800\\uDC00\\uDBFF\\uDFFF\"", "\"\xf0\x90\x80\x80\xf4\x8f\xbf\xbf\"" },
        { "\"é€😀\"", "\"é€😀\"" }, { "\"\\\\u0000\"", "\"\\\\u0000\"" },
        { "\"\xef\xbb\xbf\"", "\"\xef\xbb\xbf\"" },
        { "\"// /* no comment */\"", "\"// /* no comment */\"" },
        { "{\"a\\u0062\":1,\"a\":2}", "{\"ab\":1,\"a\":2}" }, { "\"[{,:]}\"", "\"[{,:]}\"" },
        /* numbers */
        { "0", "0" }, { "-0", "0" }, { "-1", "-1" }, { "10", "10" }, { "[0]", "[0]" },
        { "9223372036854775807", "9223372036854775807" },
        { "-9223372036854775808", "-9223372036854775808" },
        { "0.0", "0.0" }, { "-0.0", "-0.0" }, { "1e2", "100.0" }, { "1E+2", "100.0" },
        { "0e5", "0.0" }, { "0.1", "0.10000000000000001" }, { "12.25e-1", "1.2250000000000001" },
        { "9223372036854775808.0", "9.2233720368547758e18" }, { "1e-7", "9.9999999999999995e-8" },
        { "1.7976931348623157e308", "1.7976931348623157e308" },
        { "5e-324", "4.9406564584124654e-324" },
        { "1e-400", "0.0" }, { "123456789012345678901234567890e0", "1.2345678901234568e29" },
        /* clang-format on */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_read(cases[i].text, cases[i].expected);
}

Test(json, refused)
{
    static const struct {
        const char *text, *message;
    } cases[] = {
        { "", "x.json: is not JSON: a value is expected, not the end (line 1, byte 1)" },
        { " \n", "a value is expected, not the end (line 2, byte 1)" },
        { "1 2", "the end is expected, not '2' (line 1, byte 3)" },
        { "{}}", "the end is expected, not '}' (line 1, byte 3)" },
        { "[]]", "the end is expected, not ']'" },
        { "nul", "a value is expected, not 'n'" },
        { "True", "a value is expected, not 'T'" },
        { "nullx", "the end is expected, not 'x'" },
        { "[truefalse]", "',' or ']' is expected, not 'f'" },
        { "NaN", "a value is expected, not 'N'" },
        { "-Infinity", "a digit is expected, not 'I'" },
        { "Infinity", "a value is expected, not 'I'" },
        { "// x\n1", "a value is expected, not '/'" },
        { "[1/**/]", "',' or ']' is expected, not '/'" },
        { "\xef\xbb\xbf{}",
          "begins with a byte order mark; save it without one (line 1, byte 1)" },
        { "\xef\xbb{}", "a value is expected, not the byte 0xef" },
        { "\xff\xfe{", "a value is expected, not the byte 0xff" },
        { "\xc2\xa0[]", "a value is expected, not the byte 0xc2" }, /* no JSON blank */
        { "\v1", "a value is expected, not the byte 0x0b" },
        /* lists and objects */
        { "[", "a value is expected, not the end (line 1, byte 2)" },
        { "[1", "',' or ']' is expected, not the end" },
        { "[1,", "a value is expected, not the end" },
        { "[1,]", "a value is expected, not ']' (line 1, byte 4)" },
        { "[,1]", "a value is expected, not ','" },
        { "[1,,2]", "a value is expected, not ','" },
        { "[1 2]", "',' or ']' is expected, not '2'" },
        { "[1}", "',' or ']' is expected, not '}'" },
        { "[\"a\":1]", "',' or ']' is expected, not ':'" },
        { "{", "a key in quotes is expected, not the end" },
        { "{]", "a key in quotes is expected, not ']'" },
        { "{1:1}", "a key in quotes is expected, not '1'" },
        { "{a:1}", "a key in quotes is expected, not 'a'" },
        { "{'a':1}", "a key in quotes is expected, not '''" },
        { "{\"a\"}", "':' is expected, not '}' (line 1, byte 5, after \"a\")" },
        { "{\"a\" 1}", "':' is expected, not '1'" },
        { "{\"a\":}", "a value is expected, not '}'" },
        { "{\"a\":1", "',' or '}' is expected, not the end" },
        { "{\"a\":1,}", "a key in quotes is expected, not '}'" },
        { "{\"a\":1 \"b\":2}", "',' or '}' is expected, not '\"'" },
        { "{,}", "a key in quotes is expected, not ','" },
        { "{\n \"a\": 1,\n \"b\": x\n}",
          "a value is expected, not 'x' (line 3, byte 7, after \"b\")" },
        { "{\"a\":1,\"b\":2,\"a\":3}",
          "has a key twice in the object that ends here (line 1, byte 20, after \"a\")" },
        { "{\"b\":{},\"a\":1,\"\\u0061\":1}", "has a key twice" },
        { "[{\"b\":1,\"a\":1}",
          "',' or ']' is expected, not the end (line 1, byte 15, after \"a\")" },
        { "[{\"\":1,\"\":1}]",
          "has a key twice in the object that ends here (line 1, byte 13, after \"\")" },
        /* texts */
        { "\"", "the rest of a text is expected, not the end (line 1, byte 2)" },
        { "\"a", "the rest of a text is expected, not the end" },
        { "\"a\nb\"", "the rest of a text is expected, not the byte 0x0a" },
        { "\"\t\"", "the rest of a text is expected, not the byte 0x09" },
        { "'a'", "a value is expected, not '''" },
        { "\"\\", "\\ is followed by none of \"\\/bfnrtu (line 1, byte 2)" },
        { "\"\\a\"", "\\ is followed by none of" },
        { "\"\\U0041\"", "\\ is followed by none of" },
        { "\"\\u", "4 hexadecimal digits are expected" },
        { "\"\\u12", "4 hexadecimal digits are expected" },
        { "\"\\u004\"", "4 hexadecimal digits are expected" },
        { "\"\\u00g0\"", "4 hexadecimal digits are expected" },
        { "\"\\u+041\"", "4 hexadecimal digits are expected" },
        { "\"\\u0000\"", "has a text with \\u0000 in it (line 1, byte 8)" },
        { "\"\\ud800\"", "\\u gives half a surrogate pair" },
        { "\"\\ud800x\"", "\\u gives half a surrogate pair" },
        { "\"\\ud800\\n\"", "\\u gives half a surrogate pair" },
        { "\"\\ud800\\u0041\"", "\\u gives half a surrogate pair" },
        { "\"\\ud800\\ud800\"", "\\u gives half a surrogate pair" },
        { "\"\\udc00\"", "\\u gives half a surrogate pair" },
        { "\"\\udc00\\ud800\"", "\\u gives half a surrogate pair" },
        { "\"\\ud800\\u", "4 hexadecimal digits are expected" },
        { "\"\\ud800\\u0000\"", "has a text with \\u0000" },
        { "\"\xff\"", "is not UTF-8 (line 1, byte 2)" },
        { "\"\x80\"", "is not UTF-8" },
        { "\"\xc3\"", "is not UTF-8" },
        { "\"\xc3", "is not UTF-8" },
        { "\"\xc0\x80\"", "is not UTF-8" },
        { "\"\xc1\xbf\"", "is not UTF-8" },
        { "\"\xe0\x80\x80\"", "is not UTF-8" },
        { "\"\xf0\x80\x80\x80\"", "is not UTF-8" },
        { "\"\xed\xa0\x80\xed\xb0\x80\"", "is not UTF-8" },
        { "\"\xf4\x90\x80\x80\"", "is not UTF-8" },
        { "\"\xf8\x88\x80\x80\x80\"", "is not UTF-8" },
        { "{\"\xff\":1}", "is not UTF-8" },
        /* numbers */
        { "-", "a digit is expected, not the end" },
        { "+1", "a value is expected, not '+'" },
        { "--1", "a digit is expected, not '-'" },
        { "01", "the end is expected, not '1'" },
        { "-01", "the end is expected, not '1'" },
        { "[00]", "',' or ']' is expected, not '0'" },
        { "0x10", "the end is expected, not 'x'" },
        { "1.", "a digit is expected, not the end" },
        { ".5", "a value is expected, not '.'" },
        { "-.5", "a digit is expected, not '.'" },
        { "1.e1", "a digit is expected, not 'e'" },
        { "1.2.3", "the end is expected, not '.'" },
        { "1e", "a digit is expected, not the end" },
        { "1e+", "a digit is expected, not the end" },
        { "1e1.5", "the end is expected, not '.'" },
        { "1e--1", "a digit is expected, not '-'" },
        { "1,5", "the end is expected, not ','" },
        { "1_000", "the end is expected, not '_'" },
        { "9223372036854775808", "has a whole number beyond 64 bits (line 1, byte 20)" },
        { "-9223372036854775809", "has a whole number beyond 64 bits" },
        { "123456789012345678901234567890", "has a whole number beyond 64 bits" },
        { "1e309", "has a number beyond the largest double" },
        { "-1e99999", "has a number beyond the largest double" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_refused(cases[i].text, cases[i].message);
    check_bytes_refused("1\0", 2, "the end is expected, not the byte 0x00 (line 1, byte 2)");
    check_bytes_refused("\0", 1, "a value is expected, not the byte 0x00");
    check_bytes_refused("\"\0\"", 3, "the rest of a text is expected, not the byte 0x00");
    check_bytes_refused("{\"a\0\":1}", 8, "the rest of a text is expected, not the byte 0x00");
}

/* Cut anywhere, a text is refused. */
Test(json, cut)
{
    const char *text = "{\"a\": [1, -2.5e-3, \"\\ud83d\\ude00é\\n\"], \"b\": {\"c\": null}}";
    for (size_t size = 0; size < strlen(text); size++)
        check_bytes_refused(text, size, "x.json: is not ");
    check_read(text, "{\"a\":[1,-0.0025000000000000001,\"😀é\\n\"],\"b\":{\"c\":null}}");
}

Test(json, depth)
{
    char text[300000];
    for (int object = 0; object < 2; object++)
        for (int depth = LK_JSON_DEPTH; depth <= 50000; depth += depth < 200 ? 1 : 49000) {
            char *end = text;
            for (int i = 0; i < depth; i++) end = stpcpy(end, object ? "{\"\":" : "[");
            end = stpcpy(end, "0");
            memset(end, object ? '}' : ']', (size_t)depth);
            end[depth] = '\0';
            if (depth == LK_JSON_DEPTH) check_read(text, text);
            else check_refused(text, "has too many lists and objects in each other");
        }
}

Test(json, finding)
{
    Error err = { 0 };
    const char *text = "{\"list\":[1,[2,[3]],{\"x\":4}],\"real\":0.5,\"text\":\"\",\"yes\":true}";
    Json *root = read_bytes(text, strlen(text), &err);
    const Json *list = lk__json_get(root, "list");
    check(lk__json_count(root) == 4 && lk__json_count(list) == 3 && !root->key);
    const Json *x = lk__json_next(list, NULL);
    check(x->kind == JSON_INTEGER && x->integer == 1 && lk__json_number(x) == 1 && !x->key);
    x = lk__json_next(list, x);
    check(lk__json_is(x, JSON_LIST) && lk__json_count(x) == 2);
    x = lk__json_next(list, x);
    check(lk__json_number(lk__json_get(x, "x")) == 4 && !lk__json_next(list, x));
    check(lk__json_number(lk__json_get(root, "real")) == 0.5);
    check(!*lk__json_text(lk__json_get(root, "text")));
    check(lk__json_is(lk__json_get(root, "yes"), JSON_TRUE));

    /* Nothing is in a value that is not there, or of another kind. */
    check(!lk__json_get(root, "x") && !lk__json_get(list, "x") && !lk__json_get(NULL, "x"));
    check(!lk__json_next(NULL, NULL) && !lk__json_next(lk__json_get(root, "real"), NULL));
    check(!lk__json_text(root) && !lk__json_text(NULL) && isnan(lk__json_number(NULL)));
    check(isnan(lk__json_number(lk__json_get(root, "yes"))) && lk__json_count(NULL) == 0);
    check(!lk__json_is(NULL, JSON_NULL));
    lk_mem_free(root);
}

Test(json, files)
{
    Error err = { 0 };
    const char *path = check_write("file.json", "{\"a\":1", 6);
    check(!lk__json_file_new(&(FileReport){ "test", path, &err, 0 }));
    check_error(&err, LK_EFORMAT, "file.json: is not JSON: ',' or '}' is expected, not the end");
    err = (Error){ 0 };
    path = check_write("file.json", "", 0);
    check(!lk__json_file_new(&(FileReport){ "test", path, &err, 0 }));
    check_error(&err, LK_EFORMAT, "file.json: is empty");
    err = (Error){ 0 };
    check(!lk__json_file_new(&(FileReport){ "test", check_scratch("none"), &err, 0 }));
    check_error(&err, LK_EIO, "none: cannot be opened: No such file");
    path = check_write("file.json", "{\"a\":1}", 7);
    Json *root = lk__json_file_new(&(FileReport){ "test", path, NULL, 0 });
    check(lk__json_number(lk__json_get(root, "a")) == 1);
    lk_mem_free(root);
}

/* ---- memory --------------------------------------------------------------------------------- */

Test(json, out_of_memory)
{
    check_alloc_begin();
    const char *text = "{\"a\": [1, 2, \"b\"], \"c\": {\"d\": \"e\"}}";
    int64_t n = 0;
    for (int64_t failed = 1; failed; n++) {
        Error err = { 0 };
        check_fail_after(n);
        Json *root = read_bytes(text, strlen(text), &err);
        failed = check_alloc_failed();
        check(!root == (failed > 0) && err.code == (failed ? LK_EMEMORY : LK_OK));
        lk_mem_free(root);
        check(check_alloc_live() == 0);
    }
    check(n == 3, "%d allocations", (int)n);
}

static size_t asked;

static void *count_bytes(size_t bytes)
{
    asked += bytes;
    return aligned_alloc(64, bytes);
}

/* The text `begin item,item,… end`, of about `size` bytes; %d in an item counts them. */
static char *repeated(const char *begin, const char *item, const char *end, size_t size)
{
    char *text = malloc(size + 100), *to = stpcpy(text, begin);
    for (int i = 0; to < text + size; i++) {
        if (i > 0) *to++ = ',';
        to += snprintf(to, 50, item, i, i);
    }
    strcpy(to, end);
    return text;
}

/* With sanitizers each number that is read looks through the rest of the text. */
enum { LARGE = 1000000 / CHECK_EVERY };

/* Reading takes at most 64 bytes for each byte of the text, and half as much if it is JSON. */
Test(json, memory_bound)
{
    static const struct {
        const char *begin, *item, *end;
        bool right;
    } cases[] = {
        { "[", "1", "]", true },
        { "[", "[]", "]", true },
        { "[", "{}", "]", true },
        { "[", "{\"\":[]}", "]", true },
        { "{", "\"%d\":1", "}", true },
        { "{", "\"%d\":{\"a\":\"b\"}", "}", true },
        { "\"", "\\u0041\\n", "\"", true },
        { "[", ",", "]", false },
        { "[", ":", "]", false },
        { "[", "\"\"", "", false },
        { "{", "\":,", "}", false },
    };
    lk_set_allocator(count_bytes, free);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *text = repeated(cases[i].begin, cases[i].item, cases[i].end, LARGE);
        const size_t size = strlen(text);
        Error err = { 0 };
        asked = 0;
        Json *root = lk__json_new(text, size, "", &(FileReport){ "test", "x.json", &err, 0 });
        check(!root == !cases[i].right && (root || err.code == LK_EFORMAT), "%s", err.message);
        check(asked < size * (cases[i].right ? 32 : 64), "%zu: %zu bytes", i, asked);
        lk_mem_free(root);
        free(text);
    }
    lk_set_allocator(NULL, NULL);
}

/* Some 35,000 keys, and one of them again. */
Test(json, many_keys)
{
    enum { SOUGHT = 30000 / CHECK_EVERY };
    char key[40], again[60];
    snprintf(key, sizeof key, "layers.%d.weight", SOUGHT);
    char *text = repeated("{", "\"layers.%d.weight\":%d", "}", LARGE);
    Json *root = read_bytes(text, strlen(text), NULL);
    check(lk__json_count(root) > SOUGHT && lk__json_number(lk__json_get(root, key)) == SOUGHT);
    lk_mem_free(root);
    snprintf(again, sizeof again, ",\"%s\":0}", key);
    strcpy(text + strlen(text) - 1, again);
    snprintf(again, sizeof again, "after \"%s\")", key);
    check_refused(text, again);
    free(text);
}

/* ---- writing -------------------------------------------------------------------------------- */

static void put_all(Buffer *out, int indent)
{
    JsonWriter w = { .out = out, .indent = indent };
    lk__json_open(&w, NULL, '{');
    lk__json_put_text(&w, "text", "a\"\\/\b\f\n\r\t\x01\x1f\x7f é");
    lk__json_put_text(&w, "none", NULL);
    lk__json_open(&w, "list", '[');
    lk__json_put_integer(&w, NULL, INT64_MIN);
    lk__json_put_real(&w, NULL, 1e5);
    lk__json_put_real(&w, NULL, -1e300);
    lk__json_put_real(&w, NULL, 1e-300);
    lk__json_put_real(&w, NULL, NAN);
    lk__json_put_real(&w, NULL, INFINITY);
    lk__json_open(&w, NULL, '[');
    lk__json_close(&w, ']');
    lk__json_close(&w, ']');
    lk__json_open(&w, "\n", '{');
    lk__json_close(&w, '}');
    lk__json_put_word(&w, "no", "false");
    lk__json_close(&w, '}');
}

Test(json, writing)
{
    check_alloc_begin();
    Buffer out = { 0 };
    put_all(&out, 0);
    check_same(out.bytes,
               "{\"text\":\"a\\\"\\\\/\\b\\f\\n\\r\\t\\u0001\\u001f\x7f é\",\"none\":null,"
               "\"list\":[-9223372036854775808,100000.0,-1.0000000000000001e300,1e-300,null,null,"
               "[]],\"\\n\":{},\"no\":false}");
    check(out.length == strlen(out.bytes));
    lk_buffer_free(&out);
    put_all(&out, 2);
    check_same(out.bytes,
               "{\n  \"text\": \"a\\\"\\\\/\\b\\f\\n\\r\\t\\u0001\\u001f\x7f é\",\n"
               "  \"none\": null,\n  \"list\": [\n    -9223372036854775808,\n    100000.0,\n"
               "    -1.0000000000000001e300,\n    1e-300,\n    null,\n    null,\n    []\n  ],\n"
               "  \"\\n\": {},\n  \"no\": false\n}");
    lk_buffer_free(&out);
    check(check_alloc_live() == 0);
}

/* Without memory a buffer says so, whichever of its blocks is missing. */
Test(json, writing_without_memory)
{
    check_alloc_begin();
    int64_t n = 0;
    for (bool failed = true; failed; n++) {
        Buffer out = { 0 };
        check_fail_after(n);
        for (int i = 0; i < 20; i++) put_all(&out, 2);
        failed = check_alloc_failed() > 0;
        check(out.failed == failed);
        lk_buffer_free(&out);
        check(check_alloc_live() == 0);
    }
    check(n > 4);
}
