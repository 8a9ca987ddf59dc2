/* course.c - the course on the command line: learn LoRA in C, unit by unit. */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "examples/course/commands.h"
#include "examples/course/exam.h"
#include "examples/course/process.h"

typedef struct Command {
    const char *name, *arguments, *help;
    int (*run)(const Home *h, int argc, char **argv);
} Command;

/* clang-format off */
static const Command commands[] = {
    { "init", "DIR [--no-memory]", "write the units into a folder; keeps files that are there",
      command_init },
    { "list", "", "the units, and how far you are", command_list },
    { "check", "UNIT|--all [--json] [--seed N] [--memory]", "compile and check your file",
      command_check },
    { "watch", "[UNIT]", "check whenever you save; keys n h l x q", command_watch },
    { "hint", "UNIT [1-3]", "the next hint: idea, formula, line", command_hint },
    { "solution", "UNIT [--diff] [--now]", "a solution, when yours is done", command_solution },
    { "reset", "UNIT", "the starter again; your file stays as a backup", command_reset },
    { "grade", "DIR… [--seed N] [--csv FILE] [--answers FILE]",
      "points for a class; see teacher.md", command_grade },
    { "pack", "FILE.tar.gz", "the course for people who have only cc and make", command_pack },
    { "dev-check", "[UNIT…] [--no-memory]", "check the course itself", command_dev_check },
};
/* clang-format on */

static void print_help(FILE *out)
{
    fprintf(out, "course - learn LoRA in C, step by step\n\n");
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        const Command *c = &commands[i];
        char left[80];
        snprintf(left, sizeof left, "%s %s", c->name, c->arguments);
        int width = (int)strlen(left);
        for (const char *p = left; *p; p++) width -= ((unsigned char)*p & 0xc0) == 0x80;
        if (width < 30) fprintf(out, "  course %s%*s%s\n", left, 30 - width, "", c->help);
        else fprintf(out, "  course %s\n  %37s%s\n", left, "", c->help);
    }
    fprintf(out, "\nBegin: course init lora-course && cd lora-course && course watch\n");
}

static const Command *find_command(const char *name)
{
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (!strcmp(name, commands[i].name)) return &commands[i];
    return NULL;
}

int main(int argc, char **argv)
{
    if (argc > 1 && !strcmp(argv[1], "--exam")) return exam_main(argc - 2, argv + 2);
    if (argc < 2 || !strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") ||
        !strcmp(argv[1], "help")) {
        print_help(argc < 2 ? stderr : stdout);
        return argc < 2 ? 2 : 0;
    }
    Error err = { 0 };
    Home home;
    process_catch_interrupts();
    int status = 2;
    const Command *command = find_command(argv[1]);
    if (!command)
        fprintf(stderr, "course: there is no command %s; course --help lists them\n", argv[1]);
    else if (!home_find(&home, argv[0], &err)) status = command_fail(&err);
    else status = command->run(&home, argc - 2, argv + 2);
    if (process_interrupted()) {
        signal(process_interrupted(), SIG_DFL);
        raise(process_interrupted());
    }
    return status;
}
