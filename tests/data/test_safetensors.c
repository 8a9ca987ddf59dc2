/* test_safetensors.c - safetensors files: what is read, with and without a copy, and one refusal
 * for every way in which a file can be wrong. Those that write: test_safetensors_write.c. Short
 * memory and changed files: test_safetensors_memory.c. */
#include "data/path.h"
#include "data/safetensors.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/memory.h"
#include "tests/shared/nets.h"
#include "tests/shared/safetensors_files.h"

static SafeTensors *open_header(const char *header, size_t data)
{
    Error err = { 0 };
    SafeTensors *f = lk_safetensors_open(write_bytes("file", header, strlen(header), data), &err);
    check_no_error(&err);
    return f;
}

/* Two of them: bytes (U8) with these offsets. */
#define TWO(n, a, m, b) \
    "{\"x\":{\"dtype\":\"U8\",\"shape\":[" n "],\"data_offsets\":" a \
    "},\"y\":{\"dtype\":\"U8\",\"shape\":[" m "],\"data_offsets\":" b "}}"

/* ---- what is read --------------------------------------------------------------------------- */

Test(safetensors, of_the_reference)
{
    check_alloc_begin();
    Error err = { 0 };
    StateDict *expected = reference_state(),
              *state = lk_load_safetensors(check_fixture("reference.safetensors"), &err);
    check_no_error(&err);
    check(state->count == 12 && expected->count == 12);
    for (int i = 0; i < expected->count; i++) {
        const StateEntry *e = &expected->entries[i];
        check(lk_state_dict_get(state, e->name), "\"%s\" is missing", e->name);
        check_equal(lk_state_dict_get(state, e->name), e->tensor);
        check(!lk_state_dict_get(state, e->name)->requires_grad);
    }
    check_text(state->entries[0].name, "long"); /* in the order of the data */
    check_text(state->entries[2].name, "no double");
    lk_state_dict_free(expected);
    lk_state_dict_free(state);

    SafeTensors *f = lk_safetensors_open(check_fixture("reference.safetensors"), &err);
    check_text(lk_safetensors_metadata(f, "n\u00f6te"), "a \"word\"\n\x02");
    check(!lk_safetensors_metadata(f, "format"));
    lk_safetensors_close(f);
    check(check_alloc_live() == 0);
}

/* White space, escapes, any order of fields and tensors, data that are not aligned, tensors of no
 * elements between. */
Test(safetensors, of_somebody_else)
{
    SafeTensors *f =
        open_header("{ \"b\":{\"shape\":[2],\"data_offsets\" : [8,16],\n\t\"dtype\":\"F32\"} ,"
                    "\"\\u0061\\\"\":{\"data_offsets\":[0,8],\"dtype\":\"I64\",\"shape\":[]},"
                    "\"end\":{\"dtype\":\"F64\",\"shape\":[0],\"data_offsets\":[16,16]},"
                    "\"__metadata__\":{\"k\":\"v\",\"\":\"\"},"
                    "\"none\":{\"dtype\":\"F64\",\"shape\":[0,3],\"data_offsets\":[8,8]}}\r\n ",
                    16);
    check(f->count == 4);
    check_text(f->entries[0].name, "a\"");
    check_text(f->entries[1].name, "none");
    check_text(f->entries[2].name, "b");
    check_text(f->entries[3].name, "end");
    check_text(lk_safetensors_metadata(f, "k"), "v");
    check_text(lk_safetensors_metadata(f, ""), "");
    const SafeTensorsEntry *b = lk_safetensors_find(f, "b");
    check(b == &f->entries[2] && b->ndim == 1 && b->shape[0] == 2 && b->bytes == 8);
    check_text(b->dtype, "F32");
    check(b->offset % 4 != 0 && b->offset == f->entries[0].offset + 8);
    Tensor *x = lk_safetensors_read_new(f, b, NULL),
           *none = lk_safetensors_read_new(f, &f->entries[1], NULL);
    check_shape(x, LK_SHAPE(2));
    check_bits(x, "\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f", 2);
    check_shape(none, LK_SHAPE(0, 3));
    lk_free(x);
    lk_free(none);
    lk_safetensors_close(f);

    lk_safetensors_close(open_header("{}", 0));
    lk_safetensors_close(open_header("{\"__metadata__\":{}}", 0));
    lk_safetensors_close(NULL);
}

/* Well-formed, but no Tensor can be it. Opening such a file is no error; other tensors in it can
 * be read. */
Test(safetensors, what_lorikeet_has_not)
{
    static const struct {
        const char *name;
        int bits;
    } types[] = { { "I8", 8 },      { "I16", 16 },        { "U16", 16 },       { "I32", 32 },
                  { "U32", 32 },    { "U64", 64 },        { "C64", 64 },       { "F8_E4M3", 8 },
                  { "F8_E5M2", 8 }, { "F8_E8M0", 8 },     { "F6_E2M3", 6 },    { "F6_E3M2", 6 },
                  { "F4", 4 },      { "F8_E4M3FNUZ", 8 }, { "F8_E5M2FNUZ", 8 } };
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        char header[256], text[128];
        size_t size = (size_t)types[i].bits / 2 + 1;
        snprintf(header, sizeof header,
                 "{\"x\":{\"dtype\":\"%s\",\"shape\":[4],\"data_offsets\":[0,%d]},"
                 "\"y\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[%d,%d]}}",
                 types[i].name, types[i].bits / 2, types[i].bits / 2, types[i].bits / 2 + 1);
        SafeTensors *f = open_header(header, size);
        Tensor *y = lk_safetensors_read_new(f, lk_safetensors_find(f, "y"), NULL);
        check(y && lk_item(y) == types[i].bits / 2);
        Error err = { 0 };
        check(!lk_safetensors_view_new(f, lk_safetensors_find(f, "x"), &err));
        snprintf(text, sizeof text,
                 "tensor \"x\" is %s; only F64, F32, F16, BF16, I64, U8 and BOOL can be loaded",
                 types[i].name);
        check_error(&err, LK_EDTYPE, text);
        check_error(&err, LK_EDTYPE, "lk_safetensors_view_new: ");
        lk_free(y);
        lk_safetensors_close(f);
        check_file_refused(write_bytes("refused", header, strlen(header), size), LK_EDTYPE, text);
    }
    const char *header = ONE("U8", "[1,1,1,1,2,1,1,1,1]", "[0,2]");
    check_file_refused(write_bytes("refused", header, strlen(header), 2), LK_ESHAPE,
                       "tensor \"x\" has 9 dimensions; 0 to 8 are possible");
    SafeTensors *f = open_header(header, 2);
    check(f->entries[0].ndim == 9 && f->entries[0].shape[4] == 2);
    check(!lk_safetensors_read_new(f, &f->entries[0], NULL) &&
          !lk_safetensors_view_new(f, &f->entries[0], NULL));
    lk_safetensors_close(f);

    /* No elements, but sizes whose product no machine has, were there any. */
    header = ONE("F32", "[0,4611686018427387904,2]", "[0,0]");
    check_file_refused(write_bytes("refused", header, strlen(header), 0), LK_EMEMORY,
                       "tensor \"x\": tensor: shape (0, 4611686018427387904, 2) of float32 is "
                       "larger than any memory");
}

/* ---- what is refused ------------------------------------------------------------------------ */

Test(safetensors, not_a_file)
{
    check_file_refused(check_scratch("refused"), LK_EIO, "cannot be opened: No such file");
    check(mkfifo(check_scratch("refused"), 0600) == 0);
    /* and does not wait for a writer */
    check_file_refused(check_scratch("refused"), LK_EIO, "is not a regular file");
    Error err = { 0 };
    check(!lk_safetensors_open(check_source("tests"), &err));
    check_error(&err, LK_EIO, "tests: is a folder, not a file");
    err = (Error){ 0 };
    check(!lk_load_safetensors(NULL, &err));
    check_error(&err, LK_EVALUE, "lk_load_safetensors: the path is NULL");
    check(!lk_load_safetensors(NULL, NULL)); /* without an Error */
}

Test(safetensors, length)
{
    char text[64];
    for (size_t n = 0; n < 8; n++) {
        snprintf(text, sizeof text, "has only %zu bytes; a safetensors file begins with 8", n);
        check_file_refused(check_write("refused", "\2\0\0\0\0\0\0", n), LK_EFORMAT, text);
    }
    check_file_refused(check_write("refused", "\2\0\0\0\0\0\0\0{", 9), LK_EFORMAT,
                       "announces a header of 2 bytes, but has only 1 after its length");
    check_file_refused(check_write("refused", "\2\0\0\0\0\0\0\0", 8), LK_EFORMAT,
                       "2 bytes, but has only 0 after");
    /* 100,000,000 is allowed, and not there; one more is not allowed. */
    check_file_refused(check_write("refused", "\x00\xe1\xf5\x05\0\0\0\0{}", 10), LK_EFORMAT,
                       "but has only 2 after");
    check_file_refused(check_write("refused", "\x01\xe1\xf5\x05\0\0\0\0{}", 10), LK_EFORMAT,
                       "announces a header of 100000001 bytes, above the limit of 100000000");
    check_file_refused(check_write("refused", "\2\0\0\0\0\0\0\x80{}", 10), LK_EFORMAT,
                       "of 9223372036854775810 bytes");
    check_file_refused(check_write("refused", "\xff\xff\xff\xff\xff\xff\xff\xff{}", 10),
                       LK_EFORMAT,
                       "announces a header of 18446744073709551615 bytes, above the limit");
    check_file_refused(check_write("refused", "version https://git-lfs.github.com/spec/v1\n", 43),
                       LK_EFORMAT, "is a pointer of Git LFS, not the file itself");
}

Test(safetensors, header_that_is_no_object)
{
    check_header_refused("", 0, "announces a header of 0 bytes");
    check_header_refused(" {}", 0, "its header is no JSON object: it does not begin with {");
    check_header_refused("[]", 0, "it does not begin with {");
    check_header_refused("null", 0, "it does not begin with {");
    check_header_refused("\xef\xbb\xbf{}", 0, "it does not begin with {");
    check_header_refused("{", 0, "its header is not JSON: ");
    check_header_refused("{}}", 0,
                         "its header is not JSON: the end is expected, not '}' (line 1, byte 3)");
    check_header_refused("{},", 0, "its header is not JSON: ");
    check_header_refused("{\"x\":}", 0, "its header is not JSON: ");
    check_header_refused("{'x':1}", 0, "its header is not JSON: ");
    check_header_refused("{\"x\":1,}", 0, "its header is not JSON: ");
    check_header_refused("{\"x\":NaN}", 0, "its header is not JSON: ");
    check_header_refused("{\"x\":01}", 0, "its header is not JSON: ");
    check_header_refused("{\"\\ud800\":1}", 0,
                         "its header is not JSON: \\u gives half a surrogate pair");
    /* padding */
    check_file_refused(write_bytes("refused", "{}\0\0\0", 5, 0), LK_EFORMAT,
                       "its header is not JSON: ");

    /* Nested as deep as it likes. */
    char deep[4000] = "{\"x\":";
    memset(deep + 5, '[', sizeof deep - 5);
    check_file_refused(write_bytes("refused", deep, sizeof deep, 0), LK_EFORMAT,
                       "its header has too many lists and objects in each other");
}

Test(safetensors, utf8)
{
    static const char *const bad[] = { "{\"\xff\":1}",
                                       "{\"x\xc3\":1}",
                                       "{\"\xc0\x80\":1}",
                                       "{\"\xed\xa0\x80\":1}",
                                       "{\"\xf4\x90\x80\x80\":1}",
                                       "{\"__metadata__\":{\"k\":\"\x80\"}}",
                                       "{\"x\":\"\xa0\"}" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        check_header_refused(bad[i], 0, "its header is not UTF-8 (line 1, byte ");
    check_header_refused("{\"a\\u0000\":1}", 0, "its header has a text with \\u0000 in it");
    check_header_refused("{\"__metadata__\":{\"k\":\"\\u0000\"}}", 0,
                         "its header has a text with \\u0000 in it");
}

Test(safetensors, twice)
{
    check_header_refused(
        "{\"x\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]},"
        "\"x\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}",
        0,
        "its header has a key twice in the object that ends here (line 1, byte 106, after \"x\")");
    check_header_refused("{\"\\u0078\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]},"
                         "\"x\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}",
                         0, "its header has a key twice");
    check_header_refused("{\"__metadata__\":{},\"__metadata__\":{}}", 0,
                         "ends here (line 1, byte 38, after \"__metadata__\")");
    check_header_refused("{\"__metadata__\":{\"a\":\"1\",\"a\":\"1\"}}", 0,
                         "ends here (line 1, byte 34, after \"a\")");
    check_header_refused(
        "{\"x\":{\"dtype\":\"U8\",\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}", 0,
        "ends here (line 1, byte 66, after \"dtype\")");
}

Test(safetensors, metadata)
{
    check_header_refused("{\"__metadata__\":null}", 0, "__metadata__ is no object");
    check_header_refused("{\"__metadata__\":[\"format\"]}", 0, "__metadata__ is no object");
    check_header_refused("{\"__metadata__\":{\"a\":\"1\",\"b\":2}}", 0,
                         "__metadata__: \"b\" is no text");
    check_header_refused("{\"__metadata__\":{\"a\":null}}", 0, "__metadata__: \"a\" is no text");
    check_header_refused(
        "{\"__metadata__\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}", 0,
        "\"shape\" is no");
}

Test(safetensors, fields)
{
    check_header_refused("{\"x\":[]}", 0, "tensor \"x\" is described by no object");
    check_header_refused("{\"x\":null}", 0, "tensor \"x\" is described by no object");
    check_header_refused("{\"x\":{}}", 0, "tensor \"x\" has no dtype");
    check_header_refused("{\"x\":{\"dtype\":\"U8\",\"data_offsets\":[0,0]}}", 0,
                         "tensor \"x\" has no shape");
    check_header_refused("{\"x\":{\"dtype\":\"U8\",\"shape\":[0]}}", 0,
                         "tensor \"x\" has no data_offsets");
    check_header_refused("{\"x\":{\"dtype\":\"U8\",\"shape\":[0],\"offsets\":[0,0]}}", 0,
                         "tensor \"x\" has no data_offsets");
    check_header_refused(
        "{\"x\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0],\"strides\":[1]}}", 0,
        "tensor \"x\" has an unknown field \"strides\"");
    check_header_refused("{\"x\":{\"dtype\":8,\"shape\":[0],\"data_offsets\":[0,0]}}", 0,
                         "\"x\": its dtype is no text");
    check_header_refused(ONE("U8", "0", "[0,0]"), 0, "tensor \"x\": its shape is no list");
    check_header_refused(ONE("U8", "{\"0\":0}", "[0,0]"), 0, "tensor \"x\": its shape is no list");
    check_header_refused(ONE("U8", "null", "[0,0]"), 0, "tensor \"x\": its shape is no list");
    check_header_refused(ONE("U8", "[0]", "\"0,0\""), 0,
                         "tensor \"x\": its data_offsets is no list");
    check_header_refused(ONE("U8", "[0]", "[]"), 0,
                         "tensor \"x\": its data_offsets are 0 numbers, not 2");
    check_header_refused(ONE("U8", "[0]", "[0]"), 0,
                         "tensor \"x\": its data_offsets are 1 numbers, not 2");
    check_header_refused(ONE("U8", "[0]", "[0,0,0]"), 0,
                         "tensor \"x\": its data_offsets are 3 numbers, not 2");
}

Test(safetensors, dtypes)
{
    static const char *const unknown[] = { "",      "f32",     "F32 ",    "F128",
                                           "FLOAT", "float32", "BOOLEAN", "U" };
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
        char header[128], text[64];
        snprintf(header, sizeof header, ONE("%s", "[0]", "[0,0]"), unknown[i]);
        snprintf(text, sizeof text, "tensor \"x\": unknown dtype \"%s\"", unknown[i]);
        check_header_refused(header, 0, text);
    }
}

Test(safetensors, sizes)
{
    check_header_refused(ONE("U8", "[-1]", "[0,1]"), 1,
                         "tensor \"x\": number 0 of its shape is negative: -1");
    check_header_refused(ONE("U8", "[-1,-1]", "[0,1]"), 1,
                         "tensor \"x\": number 0 of its shape is negative: -1");
    check_header_refused(ONE("U8", "[1.0]", "[0,1]"), 1,
                         "tensor \"x\": number 0 of its shape is no whole number");
    check_header_refused(ONE("U8", "[1,0.5]", "[0,1]"), 1,
                         "tensor \"x\": number 1 of its shape is no whole number");
    check_header_refused(ONE("U8", "[1e0]", "[0,1]"), 1,
                         "tensor \"x\": number 0 of its shape is no whole number");
    check_header_refused(ONE("U8", "[\"1\"]", "[0,1]"), 1,
                         "tensor \"x\": number 0 of its shape is no whole number");
    check_header_refused(ONE("U8", "[true]", "[0,1]"), 1,
                         "tensor \"x\": number 0 of its shape is no whole number");
    check_header_refused(ONE("U8", "[[1]]", "[0,1]"), 1,
                         "tensor \"x\": number 0 of its shape is no whole number");
    check_header_refused(ONE("U8", "[null]", "[0,1]"), 1,
                         "tensor \"x\": number 0 of its shape is no whole number");
    check_header_refused(ONE("U8", "[9223372036854775808]", "[0,1]"), 1,
                         "its header has a whole number beyond 64 bits");
    check_header_refused(ONE("U8", "[99999999999999999999]", "[0,1]"), 1,
                         "its header has a whole number beyond 64 bits");
    check_header_refused(ONE("U8", "[1e999]", "[0,1]"), 1,
                         "its header has a number beyond the largest double");
    check_header_refused(ONE("U8", "[9223372036854775807]", "[0,1]"), 1,
                         "tensor \"x\": its size in bits overflows");

    /* 2^32 squared is 0 in 64 bits, and so is 2^61 · 8; 2^63 + 2^63 too. */
    check_header_refused(ONE("U8", "[4294967296,4294967296]", "[0,0]"), 0,
                         "tensor \"x\": the product of its sizes overflows");
    check_header_refused(ONE("F64", "[2305843009213693952]", "[0,0]"), 0,
                         "tensor \"x\": its size in bits overflows");
    check_header_refused(ONE("U8", "[4611686018427387904,4]", "[0,0]"), 0,
                         "tensor \"x\": the product of its sizes overflows");
    check_header_refused(ONE("U8", "[3037000500,3037000500,0]", "[0,0]"), 0,
                         "\"x\": the product of its sizes overflows");

    check_header_refused(ONE("F32", "[2]", "[0,7]"), 7,
                         "\"x\": 2 elements of F32 are 8 bytes, its data_offsets hold 7");
    check_header_refused(ONE("F32", "[2]", "[0,9]"), 9,
                         "\"x\": 2 elements of F32 are 8 bytes, its data_offsets hold 9");
    check_header_refused(ONE("F32", "[]", "[0,0]"), 0,
                         "tensor \"x\": 1 elements of F32 are 4 bytes, its data_offsets hold 0");
    check_header_refused(ONE("F32", "[3,0]", "[0,4]"), 4,
                         "\"x\": 0 elements of F32 are 0 bytes, its data_offsets hold 4");
    check_header_refused(ONE("F4", "[3]", "[0,1]"), 1,
                         "tensor \"x\": 3 elements of F4 do not fill whole bytes");
    check_header_refused(ONE("F6_E2M3", "[2]", "[0,1]"), 1,
                         "tensor \"x\": 2 elements of F6_E2M3 do not fill whole bytes");
}

Test(safetensors, offsets)
{
    check_header_refused(ONE("U8", "[2]", "[-1,1]"), 2,
                         "tensor \"x\": number 0 of its data_offsets is negative: -1");
    check_header_refused(ONE("U8", "[2]", "[0,-2]"), 2,
                         "tensor \"x\": number 1 of its data_offsets is negative: -2");
    check_header_refused(ONE("U8", "[2]", "[0,2.0]"), 2,
                         "tensor \"x\": number 1 of its data_offsets is no whole number");
    check_header_refused(ONE("U8", "[2]", "[0,\"2\"]"), 2,
                         "tensor \"x\": number 1 of its data_offsets is no whole number");
    check_header_refused(ONE("U8", "[2]", "[2,0]"), 2,
                         "tensor \"x\": its data_offsets [2, 0] are reversed");
    check_header_refused(ONE("U8", "[2]", "[0,2]"), 1,
                         "tensor \"x\": its data_offsets [0, 2] go beyond the 1 bytes of data");
    check_header_refused(
        ONE("U8", "[2]", "[9223372036854775805,9223372036854775807]"), 2,
        "tensor \"x\": its data_offsets [9223372036854775805, 9223372036854775807] go "
        "beyond the 2 bytes");

    check_header_refused(ONE("U8", "[2]", "[1,3]"), 3,
                         "a hole: no tensor has the 1 bytes before tensor \"x\"");
    check_header_refused(TWO("2", "[0,2]", "2", "[3,5]"), 5,
                         "a hole: no tensor has the 1 bytes before tensor \"y\"");
    check_header_refused(TWO("2", "[3,5]", "2", "[0,2]"), 5,
                         "a hole: no tensor has the 1 bytes before tensor \"x\"");
    check_header_refused(TWO("2", "[0,2]", "0", "[3,3]"), 3,
                         "a hole: no tensor has the 1 bytes before tensor \"y\"");
    check_header_refused(TWO("2", "[0,2]", "2", "[1,3]"), 3, "tensors \"x\" and \"y\" overlap");
    check_header_refused(TWO("2", "[0,2]", "2", "[0,2]"), 2, "tensors \"x\" and \"y\" overlap");
    check_header_refused(TWO("4", "[0,4]", "1", "[1,2]"), 4, "tensors \"x\" and \"y\" overlap");
    check_header_refused(TWO("4", "[0,4]", "0", "[2,2]"), 4, "tensors \"x\" and \"y\" overlap");
    check_header_refused(ONE("U8", "[2]", "[0,2]"), 3, "has 1 bytes after its last tensor");
    check_header_refused("{}", 1, "has 1 bytes after its last tensor");
}

/* C's bool is 0 or 1; PyTorch takes any byte, but nothing writes such a file. */
Test(safetensors, bools)
{
    check_header_refused(ONE("BOOL", "[3]", "[0,3]"), 3,
                         "tensor \"x\": element 2 is 2; a BOOL is 0 or 1");
    SafeTensors *f = open_header(ONE("BOOL", "[3]", "[0,3]"), 3);
    Error err = { 0 };
    check(!lk_safetensors_view_new(f, &f->entries[0], &err));
    check_error(&err, LK_EFORMAT, "a BOOL is 0 or 1");
    lk_safetensors_close(f);
}

/* A name is foreign text: long ones are cut, not overrun, and leave the reason readable. */
Test(safetensors, long_names_in_messages)
{
    char header[2048], name[1500];
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    snprintf(header, sizeof header,
             "{\"%s\":{\"dtype\":\"%s\",\"shape\":[],\"data_offsets\":[0,0]}}", name, "Q99");
    check_header_refused(header, 0, "nnn\": unknown dtype \"Q99\"");
    snprintf(header, sizeof header,
             "{\"%s\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", name);
    check_header_refused(header, 2, "has 1 bytes after its last tensor");
}

/* ---- without a copy ------------------------------------------------------------------------- */

Test(safetensors, views)
{
    check_alloc_begin();
    const char *path = check_scratch("saved");
    StateDict *state = reference_state();
    check(lk_save_safetensors(state, NULL, path, NULL));
    Error err = { 0 };
    SafeTensors *f = lk_safetensors_open(path, &err);
    check(f->count == state->count && !f->map);
    for (int i = 0; i < f->count; i++) {
        const SafeTensorsEntry *e = &f->entries[i];
        Tensor *x = lk_safetensors_view_new(f, e, &err);
        check_no_error(&err);
        check_equal(x, lk_state_dict_get(state, e->name));
        check(lk_is_contiguous(x) && (uintptr_t)x->data % lk_dtype_size(x->dtype) == 0);
        /* what we write is aligned */
        if (e->bytes > 0) check(x->data == (char *)f->map + e->offset);
        lk_free(x);
    }

    /* Two views are the same memory; the file never changes. */
    const SafeTensorsEntry *weight = lk_safetensors_find(f, "layers.2.weight");
    Tensor *x = lk_safetensors_view_new(f, weight, NULL),
           *y = lk_safetensors_view_new(f, weight, NULL);
    check(lk_fill_(x, 5) && lk_at(y, LK_INDEX(0, 1, 0)) == 5);
    Tensor *read = lk_safetensors_read_new(f, weight, NULL);
    check_equal(read, lk_state_dict_get(state, "layers.2.weight"));
    check(lk_convert_(x, LK_F64, NULL)); /* now on memory of its own */
    check_values(x, 0, 5, 5);
    lk_free(read);
    lk_free(y);

    /* A file that is replaced while it is open stays what it was, and a view of it too when it is
     * closed. */
    check(lk_save_safetensors(&(const StateDict){ 0 }, NULL, path, NULL));
    y = lk_safetensors_view_new(f, lk_safetensors_find(f, "double"), NULL);
    lk_safetensors_close(f);
    check_equal(y, lk_state_dict_get(state, "double"));
    lk_free(y);
    check_values(x, 0, 5, 5);
    lk_free(x);
    lk_state_dict_free(state);
    check(check_alloc_live() == 0);
}

Test(safetensors, views_that_are_not_aligned_are_read)
{
    SafeTensors *f =
        open_header("{\"x\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8);
    check(f->entries[0].offset % 4 != 0);
    Tensor *x = lk_safetensors_view_new(f, &f->entries[0], NULL);
    check_bits(x, "\0\1\2\3\4\5\6\7", 2);
    check(!f->map);
    lk_safetensors_close(f);
    check(lk_fill_(x, 1)); /* outlives the file */
    lk_free(x);

    /* bytes always are */
    f = open_header("{\"x\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}}", 2);
    x = lk_safetensors_view_new(f, &f->entries[0], NULL);
    check(f->map && lk_at(x, LK_INDEX(1)) == 1);
    lk_free(x);
    lk_safetensors_close(f);
}

Test(safetensors, null)
{
    SafeTensors *f = open_header("{}", 0);
    check(!lk_safetensors_find(f, "x") && !lk_safetensors_find(NULL, "x"));
    check(!lk_safetensors_metadata(f, "x") && !lk_safetensors_metadata(NULL, "x"));
    Error err = { 0 };
    check(!lk_safetensors_read_new(f, lk_safetensors_find(f, "x"), &err));
    check_error(&err, LK_EVALUE, "lk_safetensors_read_new: the entry is NULL");
    err = (Error){ 0 };
    check(!lk_safetensors_view_new(NULL, NULL, &err));
    check_error(&err, LK_EVALUE, "lk_safetensors_view_new: the file is NULL");
    lk_safetensors_close(f);
}
