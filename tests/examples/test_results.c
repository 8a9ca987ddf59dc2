/* test_results.c - examples/shared/results.c: valid JSON, and a file that is complete or not
 * there. */
#include "examples/shared/results.h"

#include <dirent.h>
#include <math.h>
#include <unistd.h>

#include "data/path.h"
#include "tests/shared/programs.h"

/* Files in a folder, without "." and "..". */
static int count_files(const char *folder)
{
    DIR *d = opendir(folder);
    check(d, "%s", folder);
    int n = 0;
    for (struct dirent *e; (e = readdir(d));)
        n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    closedir(d);
    return n;
}

static const char *fresh_folder(void)
{
    const char *folder = check_scratch("results");
    check(mkdir(folder, 0755) == 0);
    return folder;
}

Test(results, every_kind_of_member)
{
    Error err = { 0 };
    Results r;
    const char *path = check_scratch("kinds.json");
    check(results_writable(path, &err) && access(path, F_OK) != 0, "it must not make the file: %s",
          err.message);
    results_open(&r, path);
    results_text(&r, "text", "a \"quoted\" \\ and\n\x01 Zürich");
    results_int(&r, "int", INT64_MIN);
    results_number(&r, "number", 0.1);
    results_number(&r, "nan", NAN);
    results_numbers(&r, "numbers", 3, (double[]){ 1, -INFINITY, 2.5e-300 });
    results_numbers(&r, "none", 0, NULL);
    check(results_close(&r, &err), "%s", err.message);
    char *text = read_file(path);
    check(strcmp(text, "{\n"
                       "  \"text\": \"a \\\"quoted\\\" \\\\ and\\u000a\\u0001 Zürich\",\n"
                       "  \"int\": -9223372036854775808,\n"
                       "  \"number\": 0.10000000000000001,\n"
                       "  \"nan\": null,\n"
                       "  \"numbers\": [1, null, 2.5e-300],\n"
                       "  \"none\": []\n"
                       "}\n") == 0,
          "%s", text);
    free(text);
}

Test(results, the_old_file_stays_until_the_new_one_is_complete)
{
    Error err = { 0 };
    Results r;
    const char *folder = fresh_folder();
    char path[1200];
    print_to(path, sizeof path, "%s/r.json", folder);
    for (int64_t i = 1; i <= 2; i++) {
        results_open(&r, path);
        results_int(&r, "run", i);
        check(count_files(folder) == (int)i - 1);
        if (i == 2) {
            char *old = read_file(path);
            check(strcmp(old, "{\n  \"run\": 1\n}\n") == 0, "%s", old);
            free(old);
        }
        check(results_close(&r, &err), "%s", err.message);
        check(count_files(folder) == 1, "a temporary file is left");
    }
    char *text = read_file(path);
    check(strcmp(text, "{\n  \"run\": 2\n}\n") == 0, "%s", text);
    free(text);
}

/* A folder that results_writable saw can be gone later: closing says so, and nothing is left. */
Test(results, the_folder_disappears)
{
    Error err = { 0 };
    Results r;
    const char *folder = fresh_folder();
    char path[1200];
    print_to(path, sizeof path, "%s/r.json", folder);
    check(results_writable(path, &err) && rmdir(folder) == 0, "%s", err.message);
    results_open(&r, path);
    check(!results_close(&r, &err) && !r.text.bytes);
    check_error(&err, LK_EIO, "r.json: cannot be written: No such file");
    err = (Error){ 0 };
    check(!results_put(NULL, &r.text, path, &err));
    check_error(&err, LK_EMEMORY, "no memory for the content of ");
}

static void check_path_refused(const char *path, const char *reason)
{
    Error err = { 0 };
    Results r;
    check(!results_writable(path, &err), "%s is accepted", path);
    check_error(&err, LK_EIO, reason);
    err = (Error){ 0 };
    results_open(&r, path);
    check(!results_close(&r, &err));
    check_error(&err, LK_EIO, reason);
}

Test(results, paths_that_cannot_be_written)
{
    char link[1200], file[1200], too_long[LK_PATH_MAX + 1] = "";
    const char *folder = fresh_folder();
    print_to(link, sizeof link, "%s/link", folder);
    check(symlink("/dev/null", link) == 0);
    memset(too_long, 'x', LK_PATH_MAX);
    check_path_refused("", "its name is empty");
    check_path_refused(folder, "cannot be written: it is a folder");
    check_path_refused(link, "not a regular file");
    check_path_refused("/dev/null", "not a regular file");
    check_path_refused(check_scratch("no/such/folder/r.json"),
                       "cannot be written: No such file or directory");
    check_path_refused(too_long, "name too long");
    check(count_files(folder) == 1, "a temporary file is left");

    /* a link to a plain file stays one: the file is replaced */
    Error err = { 0 };
    print_to(file, sizeof file, "%s/file", folder);
    fclose(fopen(file, "w"));
    check(unlink(link) == 0 && symlink("file", link) == 0 && results_writable(link, &err), "%s",
          err.message);
    check(count_files(folder) == 2, "a temporary file is left");
}

/* Whichever block is missing, the file is whole or not there, and the error says why. */
Test(results, without_memory)
{
    check_alloc_begin();
    const char *path = check_scratch("short.json");
    for (int stream = 0; stream < 2; stream++) {
        int64_t n = 0;
        for (bool failed = true; failed; n++) {
            Error err = { 0 };
            Results r;
            check_fail_after(n);
            FILE *out = stream ? results_stream(&r.text) : NULL;
            if (!stream) results_open(&r, path);
            for (int i = 0; i < 9000; i++)
                if (stream) fprintf(out, "line %d\n", i);
                else results_int(&r, "line", i);
            bool ok = stream ? results_put(out, &r.text, path, &err) : results_close(&r, &err);
            failed = check_alloc_failed() > 0;
            check(ok == !failed && err.code == (failed ? LK_EMEMORY : LK_OK), "%s", err.message);
            check((access(path, F_OK) == 0) == ok && check_alloc_live() == 0);
        }
        check(n > 3, "%d allocations", (int)n);
        unlink(path);
    }
}
