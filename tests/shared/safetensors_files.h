/* safetensors_files.h - what the tests of reading and of writing safetensors files share. */
#ifndef SAFETENSORS_FILES_H
#define SAFETENSORS_FILES_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/safetensors.h"
#include "nn/state.h"
#include "tests/check.h"

/* All bytes of a file; give them back with free. */
static inline char *read_whole(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    check(file != NULL, "%s cannot be opened", path);
    check(fseek(file, 0, SEEK_END) == 0);
    *size = (size_t)ftell(file);
    rewind(file);
    char *bytes = malloc(*size + 1);
    check(fread(bytes, 1, *size, file) == *size);
    fclose(file);
    return bytes;
}

static inline void check_same_file(const char *a, const char *b)
{
    size_t m, n;
    char *x = read_whole(a, &m), *y = read_whole(b, &n);
    check(m == n && memcmp(x, y, n) == 0, "%s and %s differ:\n%.*s", a, b, (int)m, x);
    free(x);
    free(y);
}

static inline void add(StateDict *state, const char *name, DType dtype, int ndim,
                       const int64_t *shape, const void *values)
{
    Tensor *x = lk_tensor_from_new(dtype, ndim, shape, values, NULL);
    check(lk_state_dict_add(state, name, x, NULL));
}

/* The tensors of tests/fixtures/reference.safetensors, as tests/fixtures/make_safetensors.py lists
 * them. */
static inline StateDict *reference_state(void)
{
    StateDict *state = lk_state_dict_empty_new(NULL);
    float weights[6] = { 0.5f, -0.0f, INFINITY, -INFINITY, 0, 0 };
    /* a NaN with a payload, the smallest number */
    memcpy(weights + 4, (uint32_t[]){ 0x7fc12345, 1 }, 8);
    double doubles[2] = { 1.0 / 3, 0 };
    memcpy(doubles + 1, &(uint64_t){ 0xfff0000000000001 }, 8); /* a signalling NaN */
    add(state, "layers.10.weight", LK_F32, LK_SHAPE(2, 3), weights);
    add(state, "layers.2.weight", LK_F32, LK_SHAPE(1, 2, 1), (float[]){ 1e-30f, 16777216.0f });
    add(state, "", LK_F32, LK_SCALAR, (float[]){ 3.0f });
    add(state, "none", LK_F32, LK_SHAPE(0, 4), NULL);
    add(state, "no double", LK_F64, LK_SHAPE(3, 0), NULL);
    add(state, "double", LK_F64, LK_SHAPE(2), doubles);
    add(state, "long", LK_I64, LK_SHAPE(3), (int64_t[]){ INT64_MIN, INT64_MAX, -1 });
    add(state, "bytes", LK_U8, LK_SHAPE(5), (uint8_t[]){ 0, 1, 127, 128, 255 });
    add(state, "mask", LK_BOOL, LK_SHAPE(3), (bool[]){ true, false, true });
    add(state, "quote \" backslash \\ slash / del \x7f", LK_BOOL, LK_SHAPE(1), (bool[]){ true });
    add(state, "\b\t\n\f\r\x01\x1f", LK_U8, LK_SHAPE(1), (uint8_t[]){ 7 });
    add(state, "\u00e9 \u65e5\u672c \U0001f426", LK_BOOL, LK_SCALAR, (bool[]){ false });
    return state;
}

/* A file with this header, and data bytes 0, 1, 2, … behind it. */
static inline const char *write_bytes(const char *name, const char *header, size_t length,
                                      size_t data)
{
    unsigned char bytes[4096] = { 0 };
    check(8 + length + data <= sizeof bytes);
    for (int i = 0; i < 8; i++) bytes[i] = (unsigned char)((uint64_t)length >> 8 * i);
    memcpy(bytes + 8, header, length);
    for (size_t i = 0; i < data; i++) bytes[8 + length + i] = (unsigned char)i;
    return check_write(name, bytes, 8 + length + data);
}

static inline void check_file_refused(const char *path, ErrorCode code, const char *text)
{
    Error err = { 0 };
    check(!lk_load_safetensors(path, &err), "read, but expected \"%s\"", text);
    cr_assert(err.code == code && strstr(err.message, text),
              "expected code %d, \"%s\"; got %d, \"%s\"", (int)code, text, (int)err.code,
              err.message);
    check_error(&err, code, "lk_load_safetensors: ");
    check_error(&err, code, "/refused: ");
}

static inline void check_header_refused(const char *header, size_t data, const char *text)
{
    check_file_refused(write_bytes("refused", header, strlen(header), data), LK_EFORMAT, text);
}

/* The header of one tensor x. */
#define ONE(dtype, shape, offsets) \
    "{\"x\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}}"

#endif
