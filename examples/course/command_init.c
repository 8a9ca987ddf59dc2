/* command_init.c - course init: writes a learner's folder, and builds the library with sanitizers
 * in the background (commands.h). */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "data/folder.h"
#include "examples/course/commands.h"
#include "examples/course/marked.h"
#include "examples/course/memory.h"
#include "examples/course/process.h"
#include "examples/course/scratch.h"

/* ---- files ---------------------------------------------------------------------------------- */

/* Files that were there already stay as they are; so init also restores what is missing. */
typedef struct Written {
    int files;
    char kept[400]; /* names, between commas */
} Written;

static bool write_new(const char *path, const char *text, Written *done, Error *err)
{
    if (!path_exists(path)) {
        done->files++;
        return text_write(path, text, err);
    }
    size_t used = strlen(done->kept);
    if (used + 40 < sizeof done->kept)
        snprintf(done->kept + used, sizeof done->kept - used, "%s%.30s", used ? ", " : "",
                 path_base(path));
    return true;
}

static bool copy_page(const Home *h, const Work *w, const char *unit, const char *suffix,
                      Written *done, Error *err)
{
    char source[LK_PATH_MAX], target[LK_PATH_MAX];
    if (!home_unit(h, unit, suffix, source, err) || !work_file(w, unit, suffix, target, err))
        return false;
    char *text = text_read_new(source, err);
    bool ok = text && write_new(target, text, done, err);
    free(text);
    return ok;
}

static bool write_starter(const Home *h, const Work *w, const Unit *u, Written *done, Error *err)
{
    char source[LK_PATH_MAX], target[LK_PATH_MAX];
    Marked m;
    if (!home_unit(h, u->name, ".c", source, err) || !work_file(w, u->name, ".c", target, err) ||
        !marked_read(&m, source, err))
        return false;
    char *text = marked_variant_new(&m, "starter");
    bool ok = text && write_new(target, text, done, err);
    free(text);
    marked_free(&m);
    return ok;
}

/* For editors: clangd reads an argument per line. */
static bool write_flags(const Home *h, const Work *w, Written *done, Error *err)
{
    char path[LK_PATH_MAX], text[LK_PATH_MAX + 200];
    snprintf(text, sizeof text,
             "-std=gnu11\n-Wall\n-Wextra\n-Wno-unused-parameter\n"
             "-include\nexamples/course/course.h\n-I\n%s\n",
             h->root);
    return lk_path_join(path, w->folder, "compile_flags.txt", err) &&
           write_new(path, text, done, err);
}

/* A path in quotes for the shell; in a makefile $ is doubled, and # gets a backslash. */
static void put_quoted(FILE *out, const char *path, bool makefile)
{
    fputc('\'', out);
    for (; *path; path++) {
        if (*path == '\'') fputs("'\\''", out);
        else if (makefile && *path == '$') fputs("$$", out);
        else if (makefile && *path == '#') fputs("\\#", out);
        else fputc(*path, out);
    }
    fputc('\'', out);
}

static bool write_makefile(const Home *h, const Work *w, Written *done, Error *err)
{
    char *text = NULL, path[LK_PATH_MAX];
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (!out) return lk_error_set(err, LK_EMEMORY, "course: no memory");
    fprintf(out,
            "# make ex1 checks ex1.c; make checks all units; make watch checks what you save\n"
            "COURSE = ");
    put_quoted(out, h->program, true);
    fprintf(out, "\n\nall:\n\t@$(COURSE) check --all\nlist watch:\n\t@$(COURSE) $@\n");
    for (int i = 0; course_units[i]; i++) fprintf(out, "%s ", course_units[i]->name);
    fprintf(out, ":\n\t@$(COURSE) check $@\n.PHONY: all list watch");
    for (int i = 0; course_units[i]; i++) fprintf(out, " %s", course_units[i]->name);
    fprintf(out, "\n");
    fclose(out);
    bool ok = lk_path_join(path, w->folder, "Makefile", err) && write_new(path, text, done, err);
    free(text);
    return ok;
}

static bool write_all(const Home *h, const Work *w, Written *done, Error *err)
{
    bool ok = lk_folder_make(w->folder, err) && lk_folder_make(w->hidden, err) &&
              write_flags(h, w, done, err) && write_makefile(h, w, done, err);
    for (int i = 0; ok && course_units[i]; i++) {
        const Unit *u = course_units[i];
        ok = write_starter(h, w, u, done, err) && copy_page(h, w, u->name, ".md", done, err);
        if (ok && u->answers) ok = copy_page(h, w, u->name, ".answers.md", done, err);
    }
    return ok;
}

/* ---- the command ---------------------------------------------------------------------------- */

static bool begin_memory(const Home *h, const Work *w, bool no_build, Error *err)
{
    const char *why_not =
        no_build ? "it was switched off by course init --no-memory" : memory_build_lacks(h);
    if (path_exists(w->memory) || memory_build_runs(w)) return true;
    if (why_not) {
        printf("Memory is not checked: %s.\n", why_not);
        return memory_build_skip(w, why_not, err);
    }
    printf("A library that finds memory mistakes is being built in the background (about 2 "
           "minutes).\n");
    return memory_build_begin(h, w, err);
}

int command_init(const Home *h, int argc, char **argv)
{
    bool no_build = false;
    const CommandOption options[] = { { "--no-memory", .flag = &no_build } };
    int count = command_options("init", argc, argv, options, 1);
    if (count < 0) return 2;
    if (count != 1 || !argv[0][0]) return command_usage("init needs the name of a new folder");
    Error err = { 0 };
    Work w;
    Written done = { 0 };
    if (!work_at(&w, argv[0], &err) || !write_all(h, &w, &done, &err)) return command_fail(&err);
    printf("%d units are in %s.\n", unit_count(), argv[0]);
    if (done.kept[0])
        printf("Kept as they were: %s%s.\n", done.kept, strlen(done.kept) > 350 ? ", …" : "");
    if (!process_exists("cc"))
        printf("There is no C compiler yet. On Debian: apt install gcc libc6-dev make\n");
    if (!begin_memory(h, &w, no_build, &err)) return command_fail(&err);
    const char *first = course_units[0]->name;
    printf("\n  cd ");
    put_quoted(stdout, argv[0], false);
    printf("\n  course watch        checks %s.c whenever you save it\n\n"
           "Read %s.md first. If your shell does not know course:\n  export PATH=",
           first, first);
    char folder[LK_PATH_MAX];
    const char *slash = strrchr(h->program, '/');
    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - h->program) : 0, h->program);
    put_quoted(stdout, folder, false);
    printf(":\"$PATH\"\n");
    return 0;
}
