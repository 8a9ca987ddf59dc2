/* test_safetensors_write.c - the bytes that are written, what is refused, and that a file is never
 * half there. Those that read: test_safetensors.c. */
#include "data/path.h"
#include "tests/shared/faults.h"

#include "data/safetensors.h"

#include <dirent.h>
#include <sys/resource.h>

#include "tests/shared/nets.h"
#include "tests/shared/safetensors_files.h"

/* The length, the header, spaces up to a multiple of 8 bytes, the data. */
static void check_saved(const char *path, const char *header, const void *data, size_t size)
{
    char expected[1024] = "";
    int length = snprintf(expected + 8, sizeof expected - 8, "%s", header);
    while (length % 8 != 0) expected[8 + length++] = ' ';
    expected[0] = (char)length;
    memcpy(expected + 8 + length, data, size);
    size_t got;
    char *bytes = read_whole(path, &got);
    check(got == 8 + (size_t)length + size && length < 256, "%zu bytes, not 8 + %d + %zu", got,
          length, size);
    check(memcmp(bytes, expected, got) == 0, "%.*s", (int)got - 8, bytes + 8);
    free(bytes);
}

static int entries_of_scratch(void)
{
    int count = 0;
    DIR *folder = opendir(check_scratch("."));
    while (readdir(folder)) count++;
    closedir(folder);
    return count - 2; /* . and .. */
}

/* One float tensor "x" of n elements, all of this value. */
static StateDict *filled(int64_t n, double value)
{
    StateDict *state = lk_state_dict_empty_new(NULL);
    Tensor *x = lk_tensor_new(LK_F32, LK_SHAPE(n), NULL);
    lk_fill_(x, value);
    check(lk_state_dict_add(state, "x", x, NULL));
    return state;
}

static bool save_filled(const char *path, int64_t n, double value, Error *err)
{
    StateDict *state = filled(n, value);
    bool ok = lk_save_safetensors(state, NULL, path, err);
    lk_state_dict_free(state);
    return ok;
}

/* ---- bytes ---------------------------------------------------------------------------------- */

Test(safetensors_write, bytes_are_those_of_the_reference)
{
    check_alloc_begin();
    Error err = { 0 };
    StateDict *state = reference_state();
    const char *path = check_scratch("saved");
    check(lk_save_safetensors(state, LK_METADATA({ "n\u00f6te", "a \"word\"\n\x02" }), path, &err),
          "%s", err.message);
    size_t size, expected_size;
    char *bytes = read_whole(path, &size);
    char *expected = read_whole(check_fixture("reference.safetensors"), &expected_size);
    check(size == expected_size, "%zu bytes, not %zu", size, expected_size);
    check(lk_safetensors_size(state, LK_METADATA({ "n\u00f6te", "a \"word\"\n\x02" }), &err) ==
          (int64_t)size);
    check(lk_safetensors_size(state, NULL, &err) < (int64_t)size);
    for (size_t i = 0; i < size; i++)
        check(bytes[i] == expected[i], "byte %zu: %d, not %d", i, bytes[i], expected[i]);
    free(bytes);
    free(expected);
    lk_state_dict_free(state);
    check(check_alloc_live() == 0);
}

Test(safetensors_write, header)
{
    const char *path = check_scratch("saved");
    StateDict *state = lk_state_dict_empty_new(NULL);
    check(lk_save_safetensors(state, NULL, path, NULL));
    check_saved(path, "{}", "", 0);
    check(lk_save_safetensors(state, &(const Metadata){ NULL, 0 }, path, NULL));
    check_saved(path, "{\"__metadata__\":{}}", "", 0);
    /* in the order given */
    check(lk_save_safetensors(state, LK_METADATA({ "b", "1" }, { "a", "" }), path, NULL));
    check_saved(path, "{\"__metadata__\":{\"b\":\"1\",\"a\":\"\"}}", "", 0);

    check(lk_state_dict_add(state, "b", make_tensor(LK_U8, LK_SHAPE(2), 1, 2), NULL));
    check(lk_state_dict_add(state, "a", make_tensor(LK_BOOL, LK_SCALAR, 1), NULL));
    check(lk_save_safetensors(state, NULL, path, NULL));
    check_saved(path,
                "{\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
                "\"a\":{\"dtype\":\"BOOL\",\"shape\":[],\"data_offsets\":[2,3]}}",
                "\1\2\1", 3);
    lk_state_dict_free(state);
}

Test(safetensors_write, a_view_is_saved_in_logical_order)
{
    Tensor *x = make_tensor(LK_U8, LK_SHAPE(2, 3), 1, 2, 3, 4, 5, 6), transposed = *x;
    transposed.shape[0] = 3, transposed.shape[1] = 2;
    transposed.stride[0] = 1, transposed.stride[1] = 3;
    StateEntry entry = { (char[]){ "x" }, &transposed };
    const StateDict state = { &entry, 1 };
    const char *path = check_scratch("saved");
    check(lk_save_safetensors(&state, NULL, path, NULL));
    check_saved(path, "{\"x\":{\"dtype\":\"U8\",\"shape\":[3,2],\"data_offsets\":[0,6]}}",
                "\1\4\2\5\3\6", 6);

    check_alloc_begin();
    Error err = { 0 };
    for (int64_t n = 0, failed = 1; failed; n++) {
        check_fail_after(n);
        failed = !lk_save_safetensors(&state, NULL, path, &err);
        check(failed == check_alloc_failed() && check_alloc_live() == 0);
        if (failed) check_error(&err, LK_EMEMORY, "no memory");
    }
    check(entries_of_scratch() == 1);
    check_fail_after(-1);
    lk_free(x);
}

/* ---- what is refused, before anything is written -------------------------------------------- */

static void check_refused(const StateEntry *entries, int count, const Metadata *metadata,
                          const char *text)
{
    Error err = { 0 };
    const StateDict state = { (StateEntry *)(uintptr_t)entries, count };
    check(!lk_save_safetensors(&state, metadata, check_scratch("refused"), &err),
          "saved, but expected \"%s\"", text);
    check_error(&err, LK_EVALUE, text);
    check_error(&err, LK_EVALUE, "lk_save_safetensors: ");
    check(entries_of_scratch() == 0);
    err = (Error){ 0 };
    check(lk_safetensors_size(&state, metadata, &err) == -1); /* no such file can be */
    check_error(&err, LK_EVALUE, text);
    check_error(&err, LK_EVALUE, "lk_safetensors_size: ");
}

Test(safetensors_write, names)
{
    Tensor *x = make_tensor(LK_F32, LK_SHAPE(1), 1), *y = make_tensor(LK_U8, LK_SHAPE(1), 1);
    char a[] = "a", b[] = "b", same[] = "a", metadata[] = "__metadata__";
    check_refused((StateEntry[]){ { a, x }, { b, x }, { same, y } }, 3, NULL,
                  "tensor \"a\" is there twice");
    check_refused((StateEntry[]){ { metadata, x } }, 1, NULL,
                  "a tensor cannot be called \"__metadata__\"");
    check_refused((StateEntry[]){ { a, x }, { NULL, x } }, 2, NULL, "entry 1 has no name");
    check_refused((StateEntry[]){ { a, NULL } }, 1, NULL, "entry 0 has no tensor");
    check_refused(NULL, 0, LK_METADATA({ "a", "1" }, { "b", "1" }, { "a", "2" }),
                  "metadata \"a\" is there twice");
    check_refused(NULL, 0, LK_METADATA({ "a", NULL }), "metadata entry 0 has a NULL in it");
    check_refused(NULL, 0, LK_METADATA({ "a", "b" }, { "\xff", "b" }),
                  "metadata entry 1, \"\xff\", is not UTF-8");
    check_refused(NULL, 0, LK_METADATA({ "a", "\xff" }), "metadata entry 0, \"a\", is not UTF-8");
    lk_free(x);
    lk_free(y);
}

/* Each is what Unicode calls ill-formed; what is beside it in the second list is not, and can be
 * read again. */
Test(safetensors_write, utf8)
{
    static const char *const bad[] = {
        "\x80",
        "\xbf",
        "\xc0\x80",
        "\xc1\xbf",
        "\xc3",
        "\xc3(",
        "\xe0\x9f\xbf",
        "\xed\xa0\x80",
        "\xed\xbf\xbf",
        "\xe2\x82",
        "\xe2\x82(",
        "\xf0\x8f\xbf\xbf",
        "\xf4\x90\x80\x80",
        "\xf0\x9f\x90",
        "\xf5\x80\x80\x80",
        "\xfe",
        "ok\xff",
    };
    static const char *const good[] = {
        "\x7f",
        "\xc2\x80",
        "\xdf\xbf",
        "\xe0\xa0\x80",
        "\xed\x9f\xbf",
        "\xee\x80\x80",
        "\xef\xbf\xbf",
        "\xf0\x90\x80\x80",
        "\xf4\x8f\xbf\xbf",
        "a\xc3\xa4\xe2\x82\xac\xf0\x9f\x90\xa6z",
    };
    enum { BAD = sizeof bad / sizeof *bad, GOOD = sizeof good / sizeof *good };
    Tensor *x = make_tensor(LK_F32, LK_SHAPE(1), 1);
    StateEntry entries[GOOD];
    for (int i = 0; i < BAD; i++) {
        entries[0] = (StateEntry){ (char *)(uintptr_t)bad[i], x };
        check_refused(entries, 1, NULL, "the name of entry 0 is not UTF-8");
    }
    for (int i = 0; i < GOOD; i++) entries[i] = (StateEntry){ (char *)(uintptr_t)good[i], x };
    const char *path = check_scratch("saved");
    check(lk_save_safetensors(&(const StateDict){ entries, GOOD }, NULL, path, NULL));
    SafeTensors *f = lk_safetensors_open(path, NULL);
    for (int i = 0; i < GOOD; i++) check(lk_safetensors_find(f, good[i]), "%s", good[i]);
    lk_safetensors_close(f);
    lk_free(x);
}

Test(safetensors_write, a_header_above_the_limit)
{
    size_t size = LK_SAFETENSORS_HEADER_MAX;
    char *name = malloc(size + 1);
    memset(name, 'n', size);
    name[size] = '\0';
    Tensor *x = make_tensor(LK_F32, LK_SHAPE(1), 1);
    check_refused((StateEntry[]){ { name, x } }, 1, NULL,
                  "the names and sizes take 100000056 bytes; ");
    free(name);
    lk_free(x);
}

Test(safetensors_write, null)
{
    Error err = { 0 };
    check(!lk_save_safetensors(NULL, NULL, "x", &err));
    check_error(&err, LK_EVALUE, "lk_save_safetensors: the state is NULL");
    err = (Error){ 0 };
    check(!lk_save_safetensors(&(const StateDict){ 0 }, NULL, NULL, &err));
    check_error(&err, LK_EVALUE, "lk_save_safetensors: the path is NULL");
    err = (Error){ 0 };
    check(lk_safetensors_size(NULL, NULL, &err) == -1);
    check_error(&err, LK_EVALUE, "lk_safetensors_size: the state is NULL");
    /* "{}", six spaces, the length of both */
    check(lk_safetensors_size(&(const StateDict){ 0 }, NULL, NULL) == 16);
    err = (Error){ 0 };
    check(!lk_save_module(NULL, "x", &err));
    check_error(&err, LK_EVALUE, "the module is NULL");
}

/* ---- whole or not at all -------------------------------------------------------------------- */

Test(safetensors_write, where_nothing_can_be_saved)
{
    Error err = { 0 };
    check(!save_filled(check_scratch("missing/x"), 1, 1, &err));
    check_error(&err, LK_EIO, "missing/x: cannot be written: No such file or directory");
    err = (Error){ 0 };
    check_write("file", "old", 3);
    check(!save_filled(check_scratch("file/x"), 1, 1, &err));
    check_error(&err, LK_EIO, "file/x: cannot be written: Not a directory");
    err = (Error){ 0 };
    check(!save_filled(check_scratch("."), 1, 1, &err));
    check_error(&err, LK_EIO, "cannot be written: it is a folder");

    err = (Error){ 0 };
    const char *pipe = check_scratch("pipe");
    check(mkfifo(pipe, 0600) == 0);
    check(!save_filled(pipe, 1, 1, &err));
    check_error(&err, LK_EIO, "it is not a regular file");
    struct stat info;
    /* still there: /dev/null would be, too */
    check(stat(pipe, &info) == 0 && S_ISFIFO(info.st_mode));

    err = (Error){ 0 };
    char path[2 * LK_PATH_MAX];
    memset(path, 'p', sizeof path - 1);
    path[sizeof path - 1] = '\0';
    check(!save_filled(path, 1, 1, &err));
    check_error(&err, LK_EIO, "File name too long");
    check(entries_of_scratch() == 2);
}

/* The value of a file that save_filled wrote; the test fails unless all elements have it. */
static double value_of(const char *path, int64_t n)
{
    Error err = { 0 };
    StateDict *state = lk_load_safetensors(path, &err);
    check_no_error(&err);
    const Tensor *x = lk_state_dict_get(state, "x");
    check_shape(x, LK_SHAPE(n));
    const float *values = x->data;
    double value = values[0];
    for (int64_t i = 1; i < n; i++)
        check(values[i] == value, "%g at 0, %g at %lld", value, values[i], (long long)i);
    lk_state_dict_free(state);
    return value;
}

Test(safetensors_write, a_full_disk_leaves_the_old_file)
{
    enum { SMALL = 100, LARGE = 100000, LIMIT = 65536 };
    const char *path = check_scratch("saved");
    check(save_filled(path, SMALL, 1, NULL));
    struct rlimit before, limit = { 0 };
    check(getrlimit(RLIMIT_FSIZE, &before) == 0);
    limit = before;
    limit.rlim_cur = LIMIT;
    signal(SIGXFSZ, SIG_IGN);
    check(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    Error err = { 0 };
    bool ok = save_filled(path, LARGE, 2, &err);
    check(setrlimit(RLIMIT_FSIZE, &before) == 0);
    check(!ok);
    check_error(&err, LK_EIO, "saved: cannot be written: File too large");
    check(value_of(path, SMALL) == 1);
    check(entries_of_scratch() == 1);

    check(save_filled(path, LARGE, 2, NULL));
    check(value_of(path, LARGE) == 2);
    check(entries_of_scratch() == 1);
}

Test(safetensors_write, what_the_old_file_was_the_new_one_is)
{
    /* Not readable for others, reached through a link. */
    const char *path = check_write("target", "old", 3), *link = check_scratch("link");
    check(chmod(path, 0600) == 0 && symlink(path, link) == 0);
    check(save_filled(link, 5, 3, NULL));
    struct stat info;
    check(lstat(link, &info) == 0 && S_ISLNK(info.st_mode));
    check(stat(path, &info) == 0 && (info.st_mode & 0777) == 0600);
    check(value_of(path, 5) == 3);

    /* A new one follows the mask of the process. */
    mode_t mask = umask(027);
    check(save_filled(check_scratch("new"), 5, 4, NULL));
    umask(mask);
    check(stat(check_scratch("new"), &info) == 0 && (info.st_mode & 0777) == 0640, "%o",
          info.st_mode);
}

Test(safetensors_write, what_others_left_behind_is_no_obstacle)
{
    char name[64];
    for (int i = 0; i < 3; i++) {
        snprintf(name, sizeof name, "saved.%ld-%d.tmp", (long)getpid(), i);
        check_write(name, "half", 4);
    }
    check(save_filled(check_scratch("saved"), 5, 6, NULL));
    check(value_of(check_scratch("saved"), 5) == 6);
    check(entries_of_scratch() == 4);
}

static bool save_two(void *path) { return save_filled(path, 100, 2, NULL); }

/* Wherever saving is killed or fails, all elements are of one save, and the next save works. */
Test(safetensors_write, killed_while_saving)
{
    char path[LK_PATH_MAX];
    strcpy(path, check_scratch("saved"));
    int k = 1;
    for (bool killed = true, new = false; killed; k++) {
        check(save_filled(path, 100, 1, NULL));
        killed = killed_at(k, save_two, path);
        new = new || value_of(path, 100) == 2;
        check(value_of(path, 100) == (new ? 2 : 1) && (new || killed), "change %d", k);
    }
    check(k > 8, "%d changes", k); /* open, fchmod, two halves twice, fsync, rename, end */
}

Test(safetensors_write, a_failure_leaves_the_old_file)
{
    char path[LK_PATH_MAX];
    strcpy(path, check_scratch("saved"));
    int k = 1;
    for (bool failed = true; failed; k++) {
        Error err = { 0 };
        check(save_filled(path, 100, 1, NULL));
        fail_at(k);
        bool ok = save_filled(path, 100, 2, &err);
        failed = end_faults();
        check(ok || failed);
        if (!ok) check_error(&err, LK_EIO, "saved: cannot be written: Input/output error");
        check(value_of(path, 100) == (ok ? 2 : 1), "change %d", k);
        check(entries_of_scratch() == 1, "change %d: something is left", k);
    }
    check(k > 8, "%d changes", k);
}

/* ---- modules -------------------------------------------------------------------------------- */

static bool same_values(Module *a, Module *b)
{
    ParamIter p = lk_params(a), q = lk_params(b);
    bool same = true;
    while (lk_params_next(&p) && lk_params_next(&q)) same = same && lk_equal(p.tensor, q.tensor);
    return same;
}

Test(safetensors_write, a_module_there_and_back)
{
    check_alloc_begin();
    Rng rng;
    lk_manual_seed(&rng, 0);
    Module *net = tied_new(&rng, NULL), *other = tied_new(&rng, NULL);
    Error err = { 0 };
    const char *path = check_scratch("net.safetensors");
    check(!same_values(net, other));
    int64_t before = check_alloc_count();
    check(lk_save_module(net, path, &err), "%s", err.message);
    check(check_alloc_count() - before < 30); /* names, but no copy of a tensor */
    check(lk_load_module(other, path, true, &err), "%s", err.message);
    check(same_values(net, other));

    SafeTensors *f = lk_safetensors_open(path, NULL);
    check_text(lk_safetensors_metadata(f, "format"), "pt"); /* which transformers asks for */
    check(lk_safetensors_find(f, "second.linear.weight") &&
          lk_safetensors_find(f, "decoder.weight"));
    lk_safetensors_close(f);

    check(lk_module_to(net, LK_F64, NULL));
    check(lk_save_module(net, path, &err));
    check(!lk_load_module(other, path, true, &err));
    check_error(&err, LK_ESHAPE, "encoder.weight is (3, 4) float64, not (3, 4) float32");
    lk_free(net);
    lk_free(other);
    check(check_alloc_live() == 0);
}

Test(safetensors_write, a_module_of_another_kind_is_not_touched)
{
    Rng rng;
    lk_manual_seed(&rng, 0);
    Module *net = net_new(6, 5, 4, 3, &rng, NULL), *untouched = lk_deepcopy(net, NULL);
    Module *other = net_new(6, 5, 4, 2, &rng, NULL);
    check(lk_sequential_set(((Net *)other)->layers, 0, lk_relu_new(NULL), NULL));
    const char *path = check_scratch("net.safetensors");
    check(lk_save_module(other, path, NULL));
    Error err = { 0 };
    check(!lk_load_module(net, path, true, &err));
    check_error(&err, LK_ESHAPE,
                "Net: 2 missing (layers.0.weight, layers.0.bias), 0 unexpected (), 2 mismatched "
                "(layers.4.weight is (2, 4) float32, not (3, 4) float32, layers.4.bias is ");
    check(same_values(net, untouched));

    err = (Error){ 0 };
    check(!lk_load_module(net, check_scratch("missing"), true, &err));
    check_error(&err, LK_EIO, "lk_load_safetensors: ");
    err = (Error){ 0 };
    check(!lk_load_module(NULL, path, true, &err));
    check_error(&err, LK_EVALUE, "the module is NULL");

    /* Without strict what fits is taken. */
    lk_free(other);
    other = net_new(6, 5, 4, 3, &rng, NULL);
    check(lk_sequential_set(((Net *)other)->layers, 0, lk_relu_new(NULL), NULL));
    check(lk_save_module(other, path, NULL));
    check(lk_load_module(net, path, false, NULL));
    check(lk_equal(lk_param_at(net, "layers.4.weight", NULL),
                   lk_param_at(other, "layers.4.weight", NULL)));
    check(lk_equal(lk_param_at(net, "layers.0.weight", NULL),
                   lk_param_at(untouched, "layers.0.weight", NULL)));
    lk_free(net);
    lk_free(untouched);
    lk_free(other);
}

Test(safetensors_write, without_memory_nothing_changes)
{
    check_alloc_begin();
    Rng rng;
    lk_manual_seed(&rng, 0);
    Module *net = tied_new(&rng, NULL);
    char path[LK_PATH_MAX];
    strcpy(path, check_write("net", "old", 3));
    int64_t live = check_alloc_live(), n = 0;
    for (bool failed = true; failed; n++) {
        Error err = { 0 };
        check_fail_after(n);
        bool ok = lk_save_module(net, path, &err);
        failed = check_alloc_failed() > 0;
        check(ok == !failed);
        check(check_alloc_live() == live);
        if (!failed) break;
        check_error(&err, LK_EMEMORY, "no memory");
        size_t size;
        char *bytes = read_whole(path, &size);
        check(size == 3 && memcmp(bytes, "old", 3) == 0);
        check(entries_of_scratch() == 1);
        free(bytes);
    }
    check(n > 10);
    lk_free(net);
}
