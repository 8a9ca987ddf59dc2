/* command_pack.c - course pack: the course as an archive for people who have cc and make only
 * (commands.h). */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "data/folder.h"
#include "examples/course/commands.h"
#include "examples/course/marked.h"
#include "examples/course/process.h"

static const char makefile[] =
    "# make builds bin/course; then: bin/course init lora-course\n"
    "# Nothing but cc and make is needed. zlib and utf8proc are used if they are there.\n"
    "OUT = .\n"
    "include examples/course/Makefile\n";

static const char readme[] =
    "# LoRA in C: the course\n\n"
    "    make -j4\n"
    "    bin/course init lora-course\n"
    "    cd lora-course\n"
    "    ../bin/course watch\n\n"
    "The units are in examples/course/units, the teacher's guide is examples/course/teacher.md.\n";

static bool ends_with(const char *name, const char *suffix)
{
    size_t a = strlen(name), b = strlen(suffix);
    return a >= b && !strcmp(name + a - b, suffix);
}

/* Sources, pages and the makefile; nothing that a build left behind. */
static bool belongs(const char *name)
{
    return ends_with(name, ".c") || ends_with(name, ".h") || ends_with(name, ".md") ||
           !strcmp(name, "Makefile");
}

/* Copies the files of a folder, and of the folders in it. */
static bool copy_tree(const char *from, const char *to, Error *err)
{
    DIR *folder = opendir(from);
    if (!folder) return lk_error_set(err, LK_EIO, "%s cannot be read: %s", from, strerror(errno));
    bool ok = lk_folder_make(to, err);
    while (ok) {
        errno = 0; /* the end sets none */
        const struct dirent *entry = readdir(folder);
        if (!entry && errno)
            ok = lk_error_set(err, LK_EIO, "%s cannot be read: %s", from, strerror(errno));
        if (!entry) break;
        char source[LK_PATH_MAX], target[LK_PATH_MAX];
        struct stat s;
        if (entry->d_name[0] == '.') continue;
        ok = lk_path_join(source, from, entry->d_name, err) &&
             lk_path_join(target, to, entry->d_name, err);
        if (!ok || stat(source, &s)) continue;
        if (S_ISDIR(s.st_mode)) ok = copy_tree(source, target, err);
        else if (belongs(entry->d_name)) ok = lk_folder_copy(from, to, entry->d_name, err);
    }
    closedir(folder);
    return ok;
}

static bool write_in(const char *folder, const char *name, const char *text, Error *err)
{
    char path[LK_PATH_MAX];
    return lk_path_join(path, folder, name, err) && text_write(path, text, err);
}

static bool gather(const Home *h, const char *target, Error *err)
{
    static const char *const folders[] = { "core", "nn", "optim", "data", "examples/course" };
    char from[LK_PATH_MAX], to[LK_PATH_MAX], examples[LK_PATH_MAX];
    bool ok = lk_folder_make(target, err) && lk_path_join(examples, target, "examples", err) &&
              lk_folder_make(examples, err) && write_in(target, "Makefile", makefile, err) &&
              write_in(target, "README.md", readme, err);
    for (size_t i = 0; ok && i < sizeof folders / sizeof *folders; i++)
        ok = lk_path_join(from, h->root, folders[i], err) &&
             lk_path_join(to, target, folders[i], err) && copy_tree(from, to, err);
    if (ok && lk_path_join(from, h->root, "LICENSE", err) && path_exists(from))
        ok = lk_folder_copy(h->root, target, "LICENSE", err);
    return ok;
}

int command_pack(const Home *h, int argc, char **argv)
{
    int count = command_options("pack", argc, argv, NULL, 0);
    if (count < 0) return 2;
    if (count != 1) return command_usage("pack needs the name of the archive, FILE.tar.gz");
    if (!h->sources) return command_usage("pack needs the library's sources beside the units");
    if (!process_exists("tar")) return command_usage("pack needs the program tar");
    Error err = { 0 };
    char scratch[LK_PATH_MAX], target[LK_PATH_MAX], file[LK_PATH_MAX];
    Work here;
    if (!work_at(&here, ".", &err) || !scratch_make(scratch, &err)) return command_fail(&err);
    bool ok = lk_path_join(target, scratch, "lorikeet-course", &err) && gather(h, target, &err);
    if (argv[0][0] == '/') snprintf(file, sizeof file, "%s", argv[0]);
    else ok = ok && lk_path_join(file, here.folder, argv[0], &err);
    const char *const tar[] = { "tar", "-czf", file, "-C", scratch, "lorikeet-course", NULL };
    Process p = { .argv = tar, .seconds = 600 };
    ok = ok && process_run(&p, &err);
    if (ok && (p.end != PROCESS_EXITED || p.status != 0))
        ok = lk_error_set(&err, LK_EIO, "tar: %.300s", p.output);
    process_free(&p);
    scratch_remove(scratch);
    if (!ok) return command_fail(&err);
    printf(
        "%s is ready. To begin: tar -xzf it, cd lorikeet-course, make, and bin/course init DIR. "
        "Only\nnb1 with real MNIST needs more: zlib.\n",
        argv[0]);
    return 0;
}
