/* test_half.c - files in half precision: every number that there is, models, adapters.
 * PyTorch's results: tests/fixtures/half.h. */
#include "data/half.h"
#include "data/safetensors_parts.h"

#include "core/hash.h"
#include "data/dataset.h"
#include "data/npy.h"
#include "data/safetensors.h"
#include "tests/fixtures/half.h"
#include "tests/shared/peft_nets.h"

enum { PATTERNS = 1 << 16 };

/* The format's definition, in double, independent of the code: ± 2^(exponent - bias)
 * (1 + fraction). NaNs are written as the fixtures write them, so that only being one counts. */
static uint32_t defined(int word, int fraction_bits)
{
    int ones = (1 << (15 - fraction_bits)) - 1, exponent = word >> fraction_bits & ones,
        bias = ones / 2;
    double fraction = ldexp(word & ((1 << fraction_bits) - 1), -fraction_bits), value;
    if (exponent == ones) value = fraction > 0 ? NAN : INFINITY;
    else value = ldexp(exponent ? 1 + fraction : fraction, exponent ? exponent - bias : 1 - bias);
    float x = (float)(word & 0x8000 ? -value : value);
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return isnan(value) ? 0x7fc00000 : bits;
}

/* bits: what became of all patterns. A NaN must have its sign and its payload; then it is made as
 * good as any. */
static void check_all(uint32_t *bits, int fraction_bits, uint64_t expected_hash)
{
    for (int i = 0; i < PATTERNS; i++) {
        uint32_t expected = defined(i, fraction_bits);
        if (expected == 0x7fc00000) {
            uint32_t payload = (uint32_t)i << (23 - fraction_bits) & 0x7fffff;
            check(bits[i] == ((uint32_t)(i & 0x8000) << 16 | 0x7f800000 | payload),
                  "0x%04x is 0x%08x", i, bits[i]);
            bits[i] = expected;
        }
        check(bits[i] == expected, "0x%04x is 0x%08x, not 0x%08x", i, bits[i], expected);
    }
    check(lk_hash(LK_HASH_START, bits, PATTERNS * sizeof *bits) == expected_hash,
          "the hash is 0x%llx",
          (unsigned long long)lk_hash(LK_HASH_START, bits, PATTERNS * sizeof *bits));
}

static const struct {
    const char *name;
    int fraction_bits;
    void (*widen)(float *to, const void *from, int64_t n);
    const uint64_t *hash;
} kinds[] = { { "F16", 10, lk__widen_f16, &half_f16_hash },
              { "BF16", 7, lk__widen_bf16, &half_bf16_hash } };

static uint16_t patterns[PATTERNS];
static uint32_t wide[PATTERNS + 1];

/* From elsewhere, from an odd address, and in place. */
Test(half, every_pattern)
{
    for (int i = 0; i < PATTERNS; i++) patterns[i] = (uint16_t)i;
    for (int k = 0; k < 2; k++) {
        kinds[k].widen((float *)wide, patterns, PATTERNS);
        check_all(wide, kinds[k].fraction_bits, *kinds[k].hash);

        char *odd = malloc(sizeof patterns + 1);
        memcpy(odd + 1, patterns, sizeof patterns);
        kinds[k].widen((float *)wide, odd + 1, PATTERNS);
        check_all(wide, kinds[k].fraction_bits, *kinds[k].hash);
        free(odd);

        memcpy((char *)wide + sizeof patterns, patterns, sizeof patterns);
        wide[PATTERNS] = 0xabcdef01;
        kinds[k].widen((float *)wide, (char *)wide + sizeof patterns, PATTERNS);
        check_all(wide, kinds[k].fraction_bits, *kinds[k].hash);
        check(wide[PATTERNS] == 0xabcdef01, "wrote behind the end");
    }
}

/* x: all patterns, (256, 256); end: none of them, (0, 3); before: one byte, or none, so that x is
 * aligned or not. */
static const char *all_patterns_file(const char *dtype, int before)
{
    static char bytes[512 + sizeof patterns];
    char header[256];
    int length =
        snprintf(header, sizeof header,
                 "{\"x\":{\"dtype\":\"%s\",\"shape\":[256,256],\"data_offsets\":[%d,%d]},"
                 "\"end\":{\"dtype\":\"%s\",\"shape\":[0,3],\"data_offsets\":[%d,%d]},"
                 "\"before\":{\"dtype\":\"U8\",\"shape\":[%d],\"data_offsets\":[0,%d]}}",
                 dtype, before, before + (int)sizeof patterns, dtype,
                 before + (int)sizeof patterns, before + (int)sizeof patterns, before, before);
    memset(bytes, 0, sizeof bytes);
    bytes[0] = (char)(length & 255), bytes[1] = (char)(length >> 8);
    memcpy(bytes + 8, header, (size_t)length);
    for (int i = 0; i < PATTERNS; i++) patterns[i] = (uint16_t)i;
    memcpy(bytes + 8 + length + before, patterns, sizeof patterns);
    return check_write("half", bytes, 8 + (size_t)length + (size_t)before + sizeof patterns);
}

static void check_tensor(const Tensor *x, int k)
{
    check(x && x->dtype == LK_F32);
    check_shape(x, LK_SHAPE(256, 256));
    memcpy(wide, x->data, sizeof wide - sizeof *wide);
    check_all(wide, kinds[k].fraction_bits, *kinds[k].hash);
}

Test(half, every_pattern_of_a_file)
{
    check_alloc_begin();
    for (int k = 0; k < 2; k++) {
        for (int before = 0; before < 2; before++) {
            Error err = { 0 };
            SafeTensors *f = lk_safetensors_open(all_patterns_file(kinds[k].name, before), &err);
            check_no_error(&err);
            const SafeTensorsEntry *e = lk_safetensors_find(f, "x"),
                                   *none = lk_safetensors_find(f, "end");
            check(e->half && none->half && !lk_safetensors_find(f, "before")->half);
            check_text(e->dtype, kinds[k].name);
            Tensor *read = lk_safetensors_read_new(f, e, &err),
                   *view = lk_safetensors_view_new(f, e, &err);
            Tensor *end = lk_safetensors_view_new(f, none, &err);
            check(end && end->dtype == LK_F32);
            check_shape(end, LK_SHAPE(0, 3));
            lk_safetensors_close(f);
            check_tensor(read, k);
            check_tensor(view, k); /* its memory is its own */
            lk_free(read);
            lk_free(view);
            lk_free(end);

            int widened = -1;
            f = lk_safetensors_open(check_scratch("half"), &err);
            StateDict *state = lk__safetensors_all_new(f, &widened, &err);
            lk_safetensors_close(f);
            check(state && widened == 2, "%d widened: %s", widened, err.message);
            check_tensor(lk_state_dict_get(state, "x"), k);
            lk_state_dict_free(state);
        }
    }
    check(check_alloc_live() == 0);
}

/* ---- models --------------------------------------------------------------------------------- */

Test(half, model)
{
    const char *path = check_fixture("half/model.safetensors");
    Module *mapped = seeded_net(1), *copied = seeded_net(2), *loaded = seeded_net(3);
    LoadReport report = { 0 };
    Error err = { 0 };
    check(lk_load_module_mapped(mapped, path, NULL, &report, &err), "%s", err.message);
    check(report.loaded == 6 && report.widened == 4);
    lk_load_report_free(&report);
    check(lk_load_module_mapped(copied, path, &(LoadOptions){ .copy = true }, &report, &err), "%s",
          err.message);
    check(report.loaded == 6 && report.widened == 4);
    check(lk_load_module(loaded, path, true, &err), "%s", err.message);
    check_output(mapped, half_output, 3);
    check_output(copied, half_output, 3);
    check_output(loaded, half_output, 3);
    lk_free(mapped);
    lk_free(copied);
    lk_free(loaded);
}

/* Only half precision becomes float32: a module in float64 takes no less than its own, nor float32
 * more. */
Test(half, other_precisions_are_refused)
{
    Module *net = seeded_net(0), *single = seeded_net(0);
    const char *path = check_fixture("half/model.safetensors");
    check(lk_module_to(net, LK_F64, NULL));
    LoadReport report = { 0 };
    Error err = { 0 };
    check(!lk_load_module_mapped(net, path, NULL, &report, &err));
    check_error(&err, LK_ESHAPE, "6 mismatched (layers.0.weight is (5, 6) F16, not (5, 6) F64");
    check(report.widened == 0);
    lk_load_report_free(&report);
    err = (Error){ 0 };
    check(!lk_load_module(net, path, true, &err));
    check_error(&err, LK_ESHAPE, "layers.0.weight is (5, 6) float32, not (5, 6) float64");

    path = check_scratch("net.safetensors");
    check(lk_save_module(net, path, NULL));
    err = (Error){ 0 };
    check(!lk_load_module_mapped(single, path, NULL, NULL, &err));
    check_error(&err, LK_ESHAPE, "layers.0.weight is (5, 6) F64, not (5, 6) F32");
    err = (Error){ 0 };
    check(!lk_load_module(single, path, true, &err));
    check_error(&err, LK_ESHAPE, "layers.0.weight is (5, 6) float64, not (5, 6) float32");
    lk_free(net);
    lk_free(single);
}

Test(half, out_of_memory)
{
    check_alloc_begin();
    Module *net = seeded_net(0), *untouched = seeded_net(0);
    int64_t live = check_alloc_live(), n = 0;
    for (bool failed = true; failed; n++) {
        LoadReport report = { 0 };
        Error err = { 0 };
        check_fail_after(n);
        bool ok = lk_load_module_mapped(net, check_fixture("half/model.safetensors"), NULL,
                                        &report, &err);
        failed = check_alloc_failed() > 0;
        check_fail_after(-1);
        lk_load_report_free(&report);
        check(ok == !failed && err.code == (failed ? LK_EMEMORY : LK_OK), "%s", err.message);
        if (!failed) break;
        check_same_output(net, untouched, 0);
        check(check_alloc_live() == live);
    }
    check(n > 6);
    check_output(net, half_output, 3);
    lk_free(net);
    lk_free(untouched);
    check(check_alloc_live() == 0);
}

/* ---- adapters ------------------------------------------------------------------------------- */

Test(half, adapter)
{
    for (int form = 0; form < 3; form++) {
        Module *net = seeded_net(1);
        LoadReport report = { 0 };
        Error err = { 0 };
        check(lk_load_module(net, check_fixture("half/model.safetensors"), true, &err), "%s",
              err.message);
        check(lk_load_peft(net, check_fixture("half"), (PeftForm)form, NULL, &report, &err), "%s",
              err.message);
        check(report.loaded == 2 && report.widened == 6);
        check_output(net, half_peft_output, 3);
        lk_load_report_free(&report);
        lk_free(net);

        net = seeded_net(1); /* nothing is widened where nothing is in half precision */
        check(lk_load_peft(net, check_fixture("peft"), (PeftForm)form, NULL, &report, &err), "%s",
              err.message);
        check(report.loaded == 2 && report.widened == 0);
        lk_free(net);
    }
}

/* ---- tensors in bfloat16 -------------------------------------------------------------------- */

/* They are written as BF16, and read as float32 where nothing asks for bfloat16. */
Test(half, bfloat16_tensors)
{
    Error err = { 0 };
    const char *path = check_scratch("state.safetensors");
    StateDict *state = lk_state_dict_empty_new(&err);
    Tensor *x = make_tensor(LK_BF16, LK_SHAPE(2, 2), 1, -2, 0.5, 1.0078125);
    check(lk_state_dict_add(state, "x", lk_retain(x), &err));
    check(lk_state_dict_add(state, "a", make_tensor(LK_F32, LK_SHAPE(1), 3), &err));
    check(lk_state_dict_add(state, "b", make_tensor(LK_U8, LK_SHAPE(1), 4), &err));
    check(lk_save_safetensors(state, NULL, path, &err), "%s", err.message);
    StateDict *again = lk_load_safetensors(path, &err);
    check_no_error(&err);
    Tensor *y = lk_state_dict_get(again, "x");
    check(y && y->dtype == LK_F32);
    check_values(y, 0, 1, -2, 0.5, 1.0078125);
    SafeTensors *file = lk_safetensors_open(path, &err);
    check(file && strcmp(file->entries[1].dtype, "BF16") == 0 && file->entries[1].bytes == 8);
    lk_safetensors_close(file);
    check(!lk_save_npy(x, check_scratch("x.npy"), &err));
    check_error(&err, LK_EDTYPE, "NumPy has no bfloat16");
    err = (Error){ 0 };
    Tensor *samples = make_tensor(LK_F32, LK_SHAPE(2, 1), 1, 2);
    check(!lk_dataset_new(samples, lk_retain(x), LK_TO_TENSOR, &err));
    check_error(&err, LK_EDTYPE, "targets cannot be bfloat16");
    lk_free(x);
    lk_state_dict_free(state);
    lk_state_dict_free(again);
}
