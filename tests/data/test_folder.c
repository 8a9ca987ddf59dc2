/* test_folder.c - folders that are replaced as a whole (data/folder.c), also where two cannot
 * change places, where something fails, and where the process is killed. */
#include "tests/shared/faults.h"

#include <string.h>

#include "data/atomic_file.h"
#include "data/folder.h"

static void put(const char *folder, const char *name, const char *text)
{
    char path[LK_PATH_MAX];
    check(lk_path_join(path, folder, name, NULL));
    FILE *f = fopen(path, "w");
    check(f && fputs(text, f) >= 0 && fclose(f) == 0);
}

static const char *get(const char *folder, const char *name)
{
    static char text[64];
    char path[LK_PATH_MAX];
    check(lk_path_join(path, folder, name, NULL));
    FILE *f = fopen(path, "r");
    if (!f) return "";
    text[fread(text, 1, sizeof text - 1, f)] = '\0';
    fclose(f);
    return text;
}

/* Replaces the folder by one with that text in it. */
static bool replace(const char *path, const char *text, Error *err)
{
    Folder f;
    check(lk_folder_begin(&f, NULL, path, err), "%s", err->message);
    put(f.temporary, "text", text);
    return lk_folder_end(&f, true, err);
}

static void path_of(char path[LK_PATH_MAX], const char *name)
{
    snprintf(path, LK_PATH_MAX, "%s", check_scratch(name));
}

static bool exists(const char *name) { return access(check_scratch(name), F_OK) == 0; }

Test(folder, is_replaced_and_keeps_what_else_is_in_it)
{
    char path[LK_PATH_MAX];
    Error err = { 0 };
    path_of(path, "folder");
    check(replace(path, "one", &err), "%s", err.message);
    put(path, "notes", "mine");
    check(mkdir(check_scratch("folder/inner"), 0700) == 0);
    check(replace(path, "two", &err), "%s", err.message);
    check(strcmp(get(path, "text"), "two") == 0 && strcmp(get(path, "notes"), "mine") == 0);
    check(exists("folder/inner") && !exists("folder.tmp") && !exists("folder.old.tmp"));
}

Test(folder, is_replaced_where_folders_cannot_change_places)
{
    char path[LK_PATH_MAX];
    Error err = { 0 };
    no_swap = true;
    path_of(path, "folder");
    check(replace(path, "one", &err) && replace(path, "two", &err), "%s", err.message);
    check(strcmp(get(path, "text"), "two") == 0 && !exists("folder.tmp") &&
          !exists("folder.old.tmp"));
}

/* ---- failures and kills --------------------------------------------------------------------- */

/* Replaces the folder by one whose text is "new". */
static bool replace_by_new(const char *path, Error *err)
{
    Folder f;
    AtomicFile file;
    char text[LK_PATH_MAX];
    if (!lk_folder_begin(&f, NULL, path, err)) return false;
    bool ok = lk_path_join(text, f.temporary, "text", err) &&
              lk_atomic_begin(&file, NULL, text, err) &&
              lk_atomic_end(&file, lk_atomic_write(&file, "new", 3));
    return lk_folder_end(&f, ok, err);
}

static bool replacing(void *path) { return replace_by_new(path, NULL); }

static bool is_alone(void) { return !exists("folder.tmp") && !exists("folder.old.tmp"); }

static bool is_text(const char *path, const char *text)
{
    return strcmp(get(path, "text"), text) == 0;
}

/* Whichever change fails: the old one is there, whole, or the new one if replacing worked. */
Test(folder, a_failure_leaves_the_old_one)
{
    char path[LK_PATH_MAX];
    path_of(path, "folder");
    for (int way = 0; way < 2; way++) {
        no_swap = way;
        int k = 1;
        for (bool failed = true; failed; k++) {
            Error err = { 0 };
            check(replace(path, "old", &err), "%s", err.message);
            err = (Error){ 0 };
            fail_at(k);
            bool ok = replace_by_new(path, &err);
            failed = end_faults();
            check(ok || failed, "%s", err.message);
            if (!ok) check_error(&err, LK_EIO, "Input/output error");
            bool last = strstr(err.message, "/..:"); /* the fsync of the folder around it */
            check(is_text(path, ok || last ? "new" : "old"), "change %d", k);
            check(is_alone() || faults.kind == REMOVING, "change %d", k);
        }
        check(k > 15, "%d changes", k);
    }
}

/* Wherever it is killed: the old one is there, whole, or the new one. Where two cannot change
 * places the old one is aside for a moment, and comes back when the next one begins. */
Test(folder, a_kill_leaves_the_old_one)
{
    char path[LK_PATH_MAX];
    path_of(path, "folder");
    for (int way = 0; way < 2; way++) {
        no_swap = way;
        int k = 1, aside = 0;
        for (bool killed = true, new = false; killed; k++) {
            Error err = { 0 };
            Folder f;
            check(replace(path, "old", &err), "%s", err.message);
            killed = killed_at(k, replacing, path);
            aside += !exists("folder");
            check(lk_folder_begin(&f, NULL, path, &err), "%s", err.message);
            new = new || is_text(path, "new");
            check(is_text(path, new ? "new" : "old") && (new || killed), "change %d", k);
            check(!lk_folder_end(&f, false, &err) && is_alone(), "change %d", k);
        }
        check(k > 15 && aside == no_swap, "%d changes, %d times aside", k, aside);
    }
}
