/* test_folder.c - folders that are replaced as a whole (examples/folder.c), also where two cannot change places. */
#include "tests/unit/renames.h"

#include "examples/folder.c"
#include "tests/check.h"

static void put(const char *folder, const char *name, const char *text)
{
    char path[FOLDER_PATH_MAX];
    check(folder_join(path, folder, name, NULL));
    FILE *f = fopen(path, "w");
    check(f && fputs(text, f) >= 0 && fclose(f) == 0);
}

static const char *get(const char *folder, const char *name)
{
    static char text[64];
    char path[FOLDER_PATH_MAX];
    check(folder_join(path, folder, name, NULL));
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
    check(folder_begin(&f, path, err), "%s", err->message);
    put(f.temporary, "text", text);
    return folder_end(&f, true, err);
}

static void path_of(char path[FOLDER_PATH_MAX], const char *name)
{
    snprintf(path, FOLDER_PATH_MAX, "%s", check_scratch(name));
}

static bool exists(const char *name)
{
    return access(check_scratch(name), F_OK) == 0;
}

Test(folder, is_replaced_and_keeps_what_else_is_in_it)
{
    char path[FOLDER_PATH_MAX];
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
    char path[FOLDER_PATH_MAX];
    Error err = { 0 };
    no_swap = true;
    path_of(path, "folder");
    check(replace(path, "one", &err) && replace(path, "two", &err), "%s", err.message);
    check(strcmp(get(path, "text"), "two") == 0 && !exists("folder.tmp") && !exists("folder.old.tmp"));
}

/* Whichever rename fails, the old one is there. */
Test(folder, a_failed_rename_leaves_the_old_one)
{
    char path[FOLDER_PATH_MAX];
    Error err = { 0 };
    path_of(path, "folder");
    check(replace(path, "old", &err));
    no_swap = true;
    bool replaced = false;
    int n = 0;
    for (; !replaced; n++) {
        Error reason = { 0 };
        Folder f;
        check(folder_begin(&f, path, &reason));
        put(f.temporary, "text", "new");
        failing = n;
        replaced = folder_end(&f, true, &reason);
        failing = -1;
        check(replaced || reason.code == LK_EIO, "%s", reason.message);
        check(strcmp(get(path, "text"), replaced ? "new" : "old") == 0, "rename %d", n);
        check(!exists("folder.tmp") && !exists("folder.old.tmp"), "rename %d", n);
    }
    check(n == 4, "%d renames", n); /* into the old one's place, which is taken; it aside; the new one in */
}

/* Killed when the old one was aside and the new one not yet there. */
Test(folder, what_a_kill_left_aside_comes_back)
{
    char path[FOLDER_PATH_MAX];
    Error err = { 0 };
    Folder f;
    path_of(path, "folder");
    check(replace(path, "old", &err));
    check(rename(path, check_scratch("folder.old.tmp")) == 0 && mkdir(check_scratch("folder.tmp"), 0700) == 0);
    check(folder_begin(&f, path, &err), "%s", err.message);
    check(strcmp(get(path, "text"), "old") == 0);
    check(!folder_end(&f, false, &err) && strcmp(get(path, "text"), "old") == 0 && !exists("folder.tmp"));
}
