/* test_safetensors_memory.c - safetensors files that are cut or changed anywhere, sizes that are
 * not there, and memory that runs out. Other refusals: test_safetensors.c. */
#include <fcntl.h>
#include <unistd.h>

#include "core/memory.h"
#include "data/path.h"
#include "data/safetensors.h"
#include "tests/shared/safetensors_files.h"

static size_t largest;

static void *watch_alloc(size_t bytes)
{
    if (bytes > largest) largest = bytes;
    return aligned_alloc(64, bytes);
}

/* A small file may announce any size: none is allocated. */
Test(safetensors_memory, nothing_is_allocated_that_is_not_there)
{
    lk_set_allocator(watch_alloc, free);
    check_file_refused(check_write("refused", "\x00\xe1\xf5\x05\0\0\0\0{}", 10), LK_EFORMAT,
                       "but has only 2 after");
    check_header_refused(ONE("F32", "[1000000,1000000]", "[0,4000000000000]"), 9,
                         "go beyond the 9 bytes of data");
    check_header_refused(ONE("F32", "[1000000,1000000]", "[0,8]"), 8,
                         "1000000000000 elements of F32 are 4000000000000 bytes");
    check(largest > 0 && largest < 4096, "%zu bytes at once", largest);
    lk_set_allocator(NULL, NULL);
}

Test(safetensors_memory, out_of_memory)
{
    check_alloc_begin();
    const char *path = check_fixture("reference.safetensors");
    int64_t n = 0;
    for (bool failed = true; failed; n++) {
        Error err = { 0 };
        check_fail_after(n);
        StateDict *state = lk_load_safetensors(path, &err);
        failed = check_alloc_failed() > 0;
        check(!state == failed && err.code == (failed ? LK_EMEMORY : LK_OK), "%s", err.message);
        lk_state_dict_free(state);
        check(check_alloc_live() == 0, "%lld blocks left, %lld allowed",
              (long long)check_alloc_live(), (long long)n);
    }
    check(n > 10, "%d", (int)n);
    check_fail_after(-1);
    SafeTensors *f = lk_safetensors_open(path, NULL);
    Error err = { 0 };
    check_fail_after(0);
    check(!lk_safetensors_view_new(f, lk_safetensors_find(f, "double"), &err));
    check_error(&err, LK_EMEMORY, "no memory");
    lk_safetensors_close(f);
    check(check_alloc_live() == 0);
}

/* Cut anywhere, the file is refused. With any byte changed it is refused, or it is another file
 * that is well-formed: a letter of a name, an element. Such a file can be saved again (one in a
 * hundred is: saving waits for the disk). */
Test(safetensors_memory, every_byte_changed)
{
    size_t size;
    char path[LK_PATH_MAX], *bytes = read_whole(check_fixture("reference.safetensors"), &size);
    size_t data = 8 + (unsigned char)bytes[0] + 256 * (size_t)(unsigned char)bytes[1];
    strcpy(path, check_write("refused", bytes, size));
    check_alloc_begin();

    static const char tries[] = { '\0', '"', '{', '0', '9', '-', '.', ' ', '\x7f', '\xff' };
    int accepted = 0, refused = 0, file = open(path, O_RDWR);
    for (size_t i = 0; i < size * sizeof tries; i++) {
        off_t at = (off_t)(i / sizeof tries);
        Error err = { 0 };
        check(pwrite(file, &tries[i % sizeof tries], 1, at) == 1);
        StateDict *state = lk_load_safetensors(path, &err), *again = NULL;
        check(pwrite(file, &bytes[at], 1, at) == 1);
        check(!state == (err.code != LK_OK));
        if (!state) {
            refused++;
            check(err.code == LK_EFORMAT || err.code == LK_EDTYPE, "%s", err.message);
            check((size_t)at < data || strstr(err.message, "a BOOL is 0 or 1"), "%s", err.message);
        } else if (accepted++ % 100 == 0) {
            check(lk_save_safetensors(state, NULL, check_scratch("again"), &err), "%s",
                  err.message);
            again = lk_load_safetensors(check_scratch("again"), &err);
            check(again && again->count == state->count && state->count == 12, "%s", err.message);
        }
        lk_state_dict_free(state);
        lk_state_dict_free(again);
    }
    check(accepted > 1000 && refused > 4000, "%d accepted, %d refused", accepted, refused);

    while (size-- > 0) {
        check(ftruncate(file, (off_t)size) == 0);
        check_file_refused(path, LK_EFORMAT, "");
    }
    check(check_alloc_live() == 0);
    close(file);
    free(bytes);
}
