/* test_npy.c - arrays in files of NumPy: what it wrote is read, what is written has its bytes, and
 * one refusal for every way in which a file can be wrong. tests/parity/test_numpy.sh lets NumPy
 * read what is written here. */
#include "tests/check.h"

#include <stdlib.h>
#include <string.h>

#include "core/ops.h"
#include "data/crc32.h"
#include "data/npy.h"

/* ---- what NumPy wrote ----------------------------------------------------------------------- */

/* Element i of the arrays of make_npy.py. */
static double element(DType dtype, int64_t i)
{
    if (lk_is_floating(dtype)) return (double)i / 2 - 1;
    return (double)(dtype == LK_I64 ? i - 2 : i % 2);
}

static void check_array(const char *name, const Tensor *x, DType dtype, int ndim,
                        const int64_t *shape)
{
    check(x && x->dtype == dtype, "%s", name);
    check_shape(x, ndim, shape);
    check(lk_is_contiguous(x));
    for (int64_t i = 0; i < lk_numel(x); i++) {
        double got = 0;
        if (dtype == LK_F32) got = ((const float *)x->data)[i];
        if (dtype == LK_F64) got = ((const double *)x->data)[i];
        if (dtype == LK_I64) got = (double)((const int64_t *)x->data)[i];
        if (dtype == LK_U8 || dtype == LK_BOOL) got = ((const uint8_t *)x->data)[i];
        check(got == element(dtype, i), "%s: element %d is %g", name, (int)i, got);
    }
}

#define LONG_SHAPE LK_SHAPE(1, 1, 1, 1, 2, 1, 1, 1)

static void check_file(const char *name, DType dtype, int ndim, const int64_t *shape)
{
    char path[64];
    Error err = { 0 };
    snprintf(path, sizeof path, "npy/%s.npy", name);
    Tensor *x = lk_load_npy(check_fixture(path), &err);
    check_no_error(&err);
    check_array(name, x, dtype, ndim, shape);
    lk_free(x);
}

Test(npy, arrays_of_numpy_are_read)
{
    check_file("f32", LK_F32, LK_SHAPE(2, 3));
    check_file("f64", LK_F64, LK_SHAPE(2, 2, 2));
    check_file("i64", LK_I64, LK_SHAPE(5));
    check_file("u8", LK_U8, LK_SHAPE(3, 1));
    check_file("bool", LK_BOOL, LK_SHAPE(1, 4));
    check_file("scalar", LK_F64, LK_SCALAR);
    check_file("empty", LK_F32, LK_SHAPE(0, 3));
    check_file("wide", LK_F32, LONG_SHAPE);
    check_file("fortran", LK_F64, LK_SHAPE(2, 3, 4));
    check_file("fortran_row", LK_I64, LK_SHAPE(1, 4));
    check_file("big_endian", LK_F64, LK_SHAPE(2, 2));
    check_file("version2", LK_F32, LK_SHAPE(2, 3));
    check_file("version3", LK_I64, LK_SHAPE(2));
}

static void check_archive(const StateDict *state)
{
    check_array("f32", lk_state_dict_get(state, "f32"), LK_F32, LK_SHAPE(2, 3));
    check_array("f64", lk_state_dict_get(state, "f64"), LK_F64, LK_SHAPE(2, 2, 2));
    check_array("i64", lk_state_dict_get(state, "i64"), LK_I64, LK_SHAPE(5));
    check_array("u8", lk_state_dict_get(state, "u8"), LK_U8, LK_SHAPE(3, 1));
    check_array("bool", lk_state_dict_get(state, "bool"), LK_BOOL, LK_SHAPE(1, 4));
    check_array("scalar", lk_state_dict_get(state, "scalar"), LK_F64, LK_SCALAR);
    check_array("empty", lk_state_dict_get(state, "empty"), LK_F32, LK_SHAPE(0, 3));
    check_array("wide", lk_state_dict_get(state, "wide"), LK_F32, LONG_SHAPE);
}

Test(npy, archives_of_numpy_are_read)
{
    Error err = { 0 };
    StateDict *state = lk_load_npz(check_fixture("npy/stored.npz"), &err);
    check_no_error(&err);
    check(state->count == 8 && strcmp(state->entries[0].name, "f32") == 0);
    check_archive(state);
    lk_state_dict_free(state);
    state = lk_load_npz(check_fixture("npy/none.npz"), &err);
    check_no_error(&err);
    check(state->count == 0);
    lk_state_dict_free(state);

    state = lk_load_npz(check_fixture("npy/compressed.npz"), &err);
#ifdef LK_HAVE_ZLIB
    check_no_error(&err);
    check(state->count == 9);
    check_archive(state);
    check_array("long", lk_state_dict_get(state, "long"), LK_F32, LK_SHAPE(1000, 3));
#else
    check_error(&err, LK_ESTATE, "is compressed, but Lorikeet was built without zlib");
#endif
    lk_state_dict_free(state);
}

/* ---- writing -------------------------------------------------------------------------------- */

static char *bytes_of(const char *path, size_t *size)
{
    FILE *in = fopen(path, "rb");
    check(in != NULL, "%s", path);
    char *bytes = malloc(1 << 20);
    *size = fread(bytes, 1, 1 << 20, in);
    fclose(in);
    return bytes;
}

Test(npy, the_bytes_are_those_of_numpy)
{
    static const char *const names[] = { "f32",  "f64",    "i64",   "u8",
                                         "bool", "scalar", "empty", "wide" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char name[64];
        size_t size, expected_size;
        snprintf(name, sizeof name, "npy/%s.npy", names[i]);
        Error err = { 0 };
        Tensor *x = lk_load_npy(check_fixture(name), &err);
        const char *path = check_scratch("x.npy");
        check(lk_save_npy(x, path, &err), "%s", err.message);
        char *bytes = bytes_of(path, &size),
             *expected = bytes_of(check_fixture(name), &expected_size);
        check(size == expected_size && memcmp(bytes, expected, size) == 0, "%s", names[i]);
        free(bytes);
        free(expected);
        lk_free(x);
    }
}

Test(npy, strided_tensors_of_a_tape_are_written)
{
    Error err = { 0 };
    Tape *t = lk_tape_new(&err);
    Tensor *x = make_tensor(LK_F32, LK_SHAPE(2, 3), 1, 2, 3, 4, 5, 6);
    Tensor *turned = lk_transpose(t, x, 0, 1);
    check(lk_save_npy(turned, check_scratch("turned.npy"), &err));
    Tensor *again = lk_load_npy(check_scratch("turned.npy"), &err);
    check_shape(again, LK_SHAPE(3, 2));
    check_values(again, 0, 1, 4, 2, 5, 3, 6);
    lk_tape_reset(t);
    check(!lk_save_npy(turned, check_scratch("turned.npy"), &err));
    check_error(&err, LK_ESTATE, "lk_clone");
    lk_free(again);
    lk_free(x);
    lk_tape_free(t);
}

static StateDict *some_arrays(void)
{
    StateDict *state = lk_state_dict_empty_new(NULL);
    Tensor *large = lk_tensor_new(LK_F64, LK_SHAPE(300, 70), NULL);
    for (int i = 0; i < 300 * 70; i++) ((double *)large->data)[i] = i % 97 / 7.0;
    check(lk_state_dict_add(state, "layers.0.weight", large, NULL));
    check(lk_state_dict_add(state, "größe", make_tensor(LK_I64, LK_SCALAR, 7), NULL));
    check(lk_state_dict_add(state, "none", lk_tensor_new(LK_F32, LK_SHAPE(0), NULL), NULL));
    return state;
}

Test(npy, archives_are_read_again)
{
#ifdef LK_HAVE_ZLIB
    enum { WAYS = 2 };
#else
    enum { WAYS = 1 };
#endif
    StateDict *state = some_arrays();
    for (int compressed = 0; compressed < WAYS; compressed++) {
        Error err = { 0 };
        const char *path = check_scratch("some.npz");
        check(lk_save_npz(state, path, compressed, &err), "%s", err.message);
        StateDict *again = lk_load_npz(path, &err);
        check_no_error(&err);
        check(again->count == state->count);
        for (int i = 0; i < state->count; i++) {
            check(strcmp(again->entries[i].name, state->entries[i].name) == 0);
            check_equal(again->entries[i].tensor, state->entries[i].tensor);
        }
        lk_state_dict_free(again);
    }
    if (WAYS == 1) {
        Error err = { 0 };
        check(!lk_save_npz(state, check_scratch("some.npz"), true, &err));
        check_error(&err, LK_ESTATE, "lk_save_npz: compressing needs zlib");
    }
    lk_state_dict_free(state);
}

Test(npy, checksum)
{
    check(lk__crc32(0, "", 0) == 0);
    check(lk__crc32(0, "123456789", 9) == 0xcbf43926);
    for (size_t cut = 0; cut <= 43; cut++) {
        const char *text = "The quick brown fox jumps over the lazy dog";
        check(lk__crc32(lk__crc32(0, text, cut), text + cut, 43 - cut) == 0x414fa339);
    }
}

/* ---- what is refused: arrays ---------------------------------------------------------------- */

static void check_bytes_refused(const char *bytes, size_t size, ErrorCode code, const char *text)
{
    Error err = { 0 };
    check(!lk_load_npy(check_write("refused.npy", bytes, size), &err), "read, but expected \"%s\"",
          text);
    check_error(&err, code, text);
    check_error(&err, code, "lk_load_npy: ");
    check_error(&err, code, "/refused.npy: ");
}

/* A file of version 1.0 with this dictionary and n zeros behind it. */
static void check_header_refused(const char *dictionary, size_t n, ErrorCode code,
                                 const char *text)
{
    char bytes[512] = "\x93NUMPY\x01";
    const size_t length = strlen(dictionary);
    bytes[8] = (char)length;
    memcpy(bytes + 10, dictionary, length);
    check_bytes_refused(bytes, 10 + length + n, code, text);
}

#define DICTIONARY(descr, shape) "{'descr': " descr ", 'fortran_order': False, 'shape': " shape "}"
#define NO_DICTIONARY "its header is no dictionary of descr, fortran_order and shape"

Test(npy, bad_arrays_are_refused)
{
    check_alloc_begin();
    static const char start[] = "\x93NUMPY\x01\x00\xff\x00{";
    check_bytes_refused("", 0, LK_EFORMAT, "is empty");
    check_bytes_refused("PK\3\4 0123456789", 15, LK_EFORMAT, "is no .npy file: it does not begin");
    check_bytes_refused("\x93NUMPY\x01", 8, LK_EFORMAT, "is no .npy file");
    check_bytes_refused("\x93NUMPY\x04\x00\x00\x00{}", 12, LK_EFORMAT, "its version is none of");
    check_bytes_refused("\x93NUMPY\x01\x01\x00\x00{}", 12, LK_EFORMAT, "its version is none of");
    check_bytes_refused(start, sizeof start - 1, LK_EFORMAT, "ends inside its header");
    check_bytes_refused("\x93NUMPY\x02\x00\x00\x00\x00", 11, LK_EFORMAT, "ends inside its header");

    static const char *const bad[] = {
        "",
        "{",
        "{}",
        "()",
        "{'descr': '<f4'}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1,)",
        "{'descr': '<f4', 'fortran_order': 0, 'shape': (1,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': 1}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1 1)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'more': 1}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1,)} x",
        "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (1,)}",
        "{'descr' '<f4', 'fortran_order': False, 'shape': (1,)}",
        "{'descr': '<f4' 'fortran_order': False, 'shape': (1,)}",
        "{descr: '<f4', 'fortran_order': False, 'shape': (1,)}",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        check_header_refused(bad[i], 4, LK_EFORMAT, NO_DICTIONARY);
    check_header_refused(DICTIONARY("'<f4'", "(2, 3)"), 23, LK_EFORMAT,
                         "announces 24 bytes after its header, and has 23");
    check_header_refused(DICTIONARY("'<f4'", "(2, 3)"), 25, LK_EFORMAT,
                         "announces 24 bytes after its header, and has 25");
    check_header_refused(DICTIONARY("'<f4'", "(0, 3)"), 1, LK_EFORMAT, "announces 0 bytes");
    check_header_refused(DICTIONARY("'<f4'", "(4611686018427387904, 2)"), 4, LK_EFORMAT,
                         "its shape is larger than any file");
    check_header_refused(DICTIONARY("'<f4'", "(99999999999999999999,)"), 4, LK_EFORMAT,
                         "its shape is larger than any file");
    check_header_refused(DICTIONARY("'<f4'", "(1,1,1,1,1,1,1,1,1)"), 4, LK_ESHAPE,
                         "it has more than 8 dimensions");
    check_header_refused(DICTIONARY("'<i4'", "(1,)"), 4, LK_EDTYPE,
                         "convert it with astype: it is <i4");
    check_header_refused(DICTIONARY("''", "(1,)"), 4, LK_EDTYPE, "convert it with astype: it is ");
    check_header_refused(DICTIONARY("[('x', '<f4')]", "(1,)"), 4, LK_EDTYPE,
                         "its dtype is no simple one");
    check_bytes_refused("\x93NUMPY\x01\x00\x3e\x00"
                        "{'descr': '|b1', 'fortran_order': False, 'shape': (2, ), }    \0\2",
                        74, LK_EFORMAT, "an element is neither False nor True");
    static const char *const types[] = { "i32", "f16", "text", "record" };
    for (int i = 0; i < 4; i++) {
        char name[64];
        Error err = { 0 };
        snprintf(name, sizeof name, "npy/%s.npy", types[i]);
        check(!lk_load_npy(check_fixture(name), &err));
        check_error(&err, LK_EDTYPE, i < 3 ? "float32, float64, int64" : "no simple one");
    }
    Error err = { 0 };
    check(!lk_load_npy(NULL, &err));
    check_error(&err, LK_EVALUE, "lk_load_npy: the path is NULL");
    check(check_alloc_live() == 0);
}

/* Cut anywhere, or with any byte changed, a file is refused or read, and nothing leaks. */
static void damage(const char *name, bool archive)
{
    size_t size;
    char *bytes = bytes_of(check_fixture(name), &size), *changed = malloc(size);
    check_alloc_begin();
    for (size_t i = 0; i < 2 * size; i += archive ? 7 : 1) {
        Error err = { 0 };
        const bool cut = i < size;
        memcpy(changed, bytes, size);
        if (!cut) changed[i - size] = (char)(bytes[i - size] ^ (1 << i % 8));
        const char *path = check_write("damaged", changed, cut ? i : size);
        StateDict *state = archive ? lk_load_npz(path, &err) : NULL;
        Tensor *x = archive ? NULL : lk_load_npy(path, &err);
        check(!cut || (!state && !x), "cut to %zu bytes", i);
        check((state || x) == (err.code == LK_OK));
        lk_state_dict_free(state);
        lk_free(x);
        check(check_alloc_live() == 0);
    }
    free(bytes);
    free(changed);
}

Test(npy, damaged_files)
{
    damage("npy/f64.npy", false);
    damage("npy/fortran.npy", false);
    damage("npy/stored.npz", true);
#ifdef LK_HAVE_ZLIB
    damage("npy/compressed.npz", true);
#endif
}

/* ---- what is refused: archives -------------------------------------------------------------- */

/* stored.npz with one byte changed, which is found by the text before it. */
static void check_change_refused(const char *text, size_t length, size_t offset, char byte,
                                 const char *message)
{
    size_t size;
    char *bytes = bytes_of(check_fixture("npy/stored.npz"), &size);
    size_t at = 0;
    while (at + length < size && memcmp(bytes + at, text, length) != 0) at++;
    check(at + length < size);
    bytes[at + offset] = byte;
    Error err = { 0 };
    check(!lk_load_npz(check_write("refused.npz", bytes, size), &err));
    check_error(&err, LK_EFORMAT, message);
    check_error(&err, LK_EFORMAT, "lk_load_npz: ");
    free(bytes);
}

Test(npy, bad_archives_are_refused)
{
    check_alloc_begin();
    Error err = { 0 };
    check(!lk_load_npz(check_fixture("npy/f32.npy"), &err));
    check_error(&err, LK_EFORMAT, "is no zip archive, or is cut: its end is missing");
    err = (Error){ 0 };
    check(!lk_load_npz(check_write("short.npz", "PK\5\6", 4), &err));
    check_error(&err, LK_EFORMAT, "is no zip archive: it is too short");
    err = (Error){ 0 };
    check(!lk_load_npz(check_scratch("nothing.npz"), &err));
    check_error(&err, LK_EIO, "nothing.npz: cannot be opened");

    check_change_refused("PK\5\6", 4, 11, 1, "an entry of its directory is missing");
    check_change_refused("PK\5\6", 4, 19, 1, "its directory lies outside of it");
    check_change_refused("PK\5\6", 4, 18, -1, "its directory lies outside of it");
    check_change_refused("PK\1\2", 4, 8, 1, "has an entry that is encrypted");
    check_change_refused("PK\1\2", 4, 10, 12, "packed by another method than deflate");
    check_change_refused("PK\1\2", 4, 17, 0, "f32.npy: its checksum is wrong");
    check_change_refused("PK\1\2", 4, 20, 1, "its two sizes differ");
    check_change_refused("PK\1\2", 4, 23, 1, "an entry is cut");
    check_change_refused("PK\1\2", 4, 43, 1, "an entry is not where its directory says");
    check_change_refused("PK\1\2", 4, 29, 1, "has a name with a byte 0");
    check_change_refused("PK\1\2", 4, 46, '\0', "has a name with a byte 0");
    check_change_refused("PK\1\2", 4, 52, 'x',
                         "f32.npx is no array: its name does not end in .npy");

    StateDict *state = some_arrays();
    check(lk_state_dict_add(state, "none", make_tensor(LK_F32, LK_SCALAR, 1), NULL));
    err = (Error){ 0 };
    check(!lk_save_npz(state, check_scratch("twice.npz"), false, &err));
    check_error(&err, LK_EVALUE, "lk_save_npz: none is there twice");
    check(lk_state_dict_add(state, "", make_tensor(LK_F32, LK_SCALAR, 1), NULL));
    lk_state_dict_free(state);
    state = lk_state_dict_empty_new(NULL);
    check(lk_state_dict_add(state, "", make_tensor(LK_F32, LK_SCALAR, 1), NULL));
    err = (Error){ 0 };
    check(!lk_save_npz(state, check_scratch("unnamed.npz"), false, &err));
    check_error(&err, LK_EVALUE, "lk_save_npz: name 0 has 0 bytes");
    lk_state_dict_free(state);
    err = (Error){ 0 };
    check(!lk_save_npz(NULL, "x", false, &err));
    check_error(&err, LK_EVALUE, "lk_save_npz: the state dict is NULL");
    err = (Error){ 0 };
    check(!lk_save_npy(NULL, "x", &err));
    check_error(&err, LK_EVALUE, "lk_save_npy: the tensor is NULL");
    check(check_alloc_live() == 0);
}

Test(npy, without_memory_nothing_leaks)
{
#ifdef LK_HAVE_ZLIB
    const bool compressed = true;
#else
    const bool compressed = false;
#endif
    check_alloc_begin();
    StateDict *state = some_arrays();
    const char *path = check_scratch("few.npz"), *single = check_scratch("few.npy");
    int64_t live = check_alloc_live();
    for (int64_t n = 0, failed = 1; failed; n++) {
        Error err = { 0 };
        check_fail_after(n);
        bool ok = lk_save_npz(state, path, compressed, &err);
        StateDict *again = ok ? lk_load_npz(path, &err) : NULL;
        ok = again && lk_save_npy(again->entries[0].tensor, single, &err);
        Tensor *x = ok ? lk_load_npy(single, &err) : NULL;
        failed = check_alloc_failed();
        check(!x == (failed > 0));
        if (failed) check_error(&err, LK_EMEMORY, "memory");
        lk_state_dict_free(again);
        lk_free(x);
        check(check_alloc_live() == live);
    }
    lk_state_dict_free(state);
}
