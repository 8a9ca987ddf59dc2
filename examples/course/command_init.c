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

/* ---- files ---------------------------------------------------------------------------------- */

static bool copy_page(const Home *h, const Work *w, const char *unit, const char *from,
                      const char *to, Error *err)
{
    char source[LK_PATH_MAX], target[LK_PATH_MAX];
    if (!home_unit(h, unit, from, source, err) || !work_file(w, unit, to, target, err))
        return false;
    char *text = text_read_new(source, err);
    bool ok = text && text_write(target, text, err);
    free(text);
    return ok;
}

static bool write_starter(const Home *h, const Work *w, const Unit *u, Error *err)
{
    char source[LK_PATH_MAX], target[LK_PATH_MAX];
    Marked m;
    if (!home_unit(h, u->name, ".c", source, err) || !work_file(w, u->name, ".c", target, err) ||
        !marked_read(&m, source, err))
        return false;
    char *text = marked_variant_new(&m, "starter");
    bool ok = text && text_write(target, text, err);
    free(text);
    marked_free(&m);
    return ok;
}

/* For editors: clangd reads an argument per line. */
static bool write_flags(const Home *h, const Work *w, Error *err)
{
    char path[LK_PATH_MAX], text[LK_PATH_MAX + 200];
    snprintf(text, sizeof text,
             "-std=gnu11\n-Wall\n-Wextra\n-Wno-unused-parameter\n"
             "-include\nexamples/course/course.h\n-I\n%s\n",
             h->root);
    return lk_path_join(path, w->folder, "compile_flags.txt", err) && text_write(path, text, err);
}

/* A path for a makefile's recipe: in quotes for the shell, and $ doubled for make. */
static void put_quoted(FILE *out, const char *path)
{
    fputc('\'', out);
    for (; *path; path++) {
        if (*path == '\'') fputs("'\\''", out);
        else if (*path == '$') fputs("$$", out);
        else fputc(*path, out);
    }
    fputc('\'', out);
}

static bool write_makefile(const Home *h, const Work *w, Error *err)
{
    char *text = NULL, path[LK_PATH_MAX];
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (!out) return lk_error_set(err, LK_EMEMORY, "course: no memory");
    fprintf(out,
            "# make ex1 checks ex1.c; make checks all units; make watch checks what you save\n"
            "COURSE = ");
    put_quoted(out, h->program);
    fprintf(out, "\n\nall:\n\t@$(COURSE) check --all\nlist watch:\n\t@$(COURSE) $@\n");
    for (int i = 0; course_units[i]; i++) fprintf(out, "%s ", course_units[i]->name);
    fprintf(out, ":\n\t@$(COURSE) check $@\n.PHONY: all list watch");
    for (int i = 0; course_units[i]; i++) fprintf(out, " %s", course_units[i]->name);
    fprintf(out, "\n");
    fclose(out);
    bool ok = lk_path_join(path, w->folder, "Makefile", err) && text_write(path, text, err);
    free(text);
    return ok;
}

static bool write_all(const Home *h, const Work *w, Error *err)
{
    bool ok = lk_folder_make(w->folder, err) && lk_folder_make(w->hidden, err) &&
              write_flags(h, w, err) && write_makefile(h, w, err);
    for (int i = 0; ok && course_units[i]; i++) {
        const Unit *u = course_units[i];
        ok = write_starter(h, w, u, err) && copy_page(h, w, u->name, ".md", ".md", err);
        if (ok && u->answers) ok = copy_page(h, w, u->name, ".answers.md", ".answers.md", err);
    }
    return ok;
}

/* ---- the command ---------------------------------------------------------------------------- */

int command_init(const Home *h, int argc, char **argv)
{
    bool no_build = false;
    const CommandOption options[] = { { "--no-memory", .flag = &no_build } };
    int count = command_options("init", argc, argv, options, 1);
    if (count < 0) return 2;
    if (count != 1) return command_usage("init needs the name of a new folder");
    Error err = { 0 };
    Work w;
    if (!work_at(&w, argv[0], &err)) return command_fail(&err);
    char probe[LK_PATH_MAX];
    const char *first = course_units[0]->name;
    if (path_exists(w.hidden) || (work_file(&w, first, ".c", probe, &err) && path_exists(probe)))
        return command_usage("%s has files of the course already; nothing was changed. course "
                             "reset UNIT gives a starter back",
                             argv[0]);
    if (!write_all(h, &w, &err)) return command_fail(&err);
    printf("%d units are in %s.\n", unit_count(), argv[0]);
    if (!process_exists("cc"))
        printf("There is no C compiler yet. On Debian: apt install gcc libc6-dev make\n");
    const char *why_not = no_build ? "--no-memory" : memory_build_lacks(h);
    if (why_not) printf("Memory is not checked: %s.\n", why_not);
    else if (!memory_build_begin(h, &w, &err)) return command_fail(&err);
    else
        printf("A library that finds memory mistakes is being built in the background (a minute "
               "or two).\n");
    printf("\n  cd %s\n  course watch        checks %s.c whenever you save it\n\n"
           "Read %s.md first. If your shell does not know course:\n  alias course='%s'\n",
           argv[0], first, first, h->program);
    return 0;
}
