/* stop.c - two signals that ask a program to stop. */
#include "examples/shared/stop.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ---- the handler ---------------------------------------------------------------------------- */

static struct Caught {
    int signal;
    bool on; /* the handler is installed */
    char message[160];
} caught[] = { { .signal = SIGINT }, { .signal = SIGTERM } };
enum { SIGNALS = sizeof caught / sizeof *caught };

_Static_assert(sizeof(sig_atomic_t) == sizeof(int), "the Trainer's flag is an int");
static volatile sig_atomic_t received;

/* Calls only what a handler may call. */
static void handle(int number)
{
    const int reason = errno;
    received = number;
    stop_no_more();
    for (int i = 0; i < SIGNALS; i++) {
        if (caught[i].signal != number) continue;
        const ssize_t written = write(STDERR_FILENO, caught[i].message, strlen(caught[i].message));
        (void)written; /* the program stops without its message too */
    }
    errno = reason;
}

const volatile int *stop_on_signals(const char *program)
{
    struct sigaction ours = { .sa_handler = handle, .sa_flags = SA_RESTART };
    sigemptyset(&ours.sa_mask);
    for (int i = 0; i < SIGNALS; i++) sigaddset(&ours.sa_mask, caught[i].signal);
    for (int i = 0; i < SIGNALS; i++) {
        struct Caught *c = &caught[i];
        struct sigaction before;
        snprintf(c->message, sizeof c->message,
                 "%s: %s: stops after this step; a second signal ends it at once\n", program,
                 c->signal == SIGINT ? "SIGINT" : "SIGTERM");
        const bool ignored =
            sigaction(c->signal, NULL, &before) == 0 && before.sa_handler == SIG_IGN;
        c->on = !ignored && sigaction(c->signal, &ours, NULL) == 0;
    }
    return &received;
}

void stop_no_more(void)
{
    struct sigaction none = { .sa_handler = SIG_DFL };
    for (int i = 0; i < SIGNALS; i++)
        if (caught[i].on) sigaction(caught[i].signal, &none, NULL);
}

int stop_signal(void) { return received; }

int stop_status(int status) { return status == 0 && received ? 128 + received : status; }

/* ---- how to go on --------------------------------------------------------------------------- */

/* Prints a word as a shell reads it: 'it'\''s' for it's, plain where nothing is special. */
static void print_word(const char *word)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "%+,-./:=@_";
    if (*word && word[strspn(word, plain)] == '\0') {
        printf("%s", word);
        return;
    }
    putchar('\'');
    for (const char *c = word; *c; c++) {
        if (*c == '\'') printf("'\\''");
        else putchar(*c);
    }
    putchar('\'');
}

/* Returns how many arguments --NAME VALUE or --NAME=VALUE has; 0: it is another option. */
static int words_of(const char *argument, const char *name)
{
    const size_t n = strlen(name);
    if (strncmp(argument, name, n) != 0) return 0;
    if (argument[n] == '=') return 1;
    return argument[n] == '\0' ? 2 : 0;
}

void stop_print_command(int argc, char **argv, const char *checkpoint)
{
    for (int i = 0; i < argc;) {
        int skipped = words_of(argv[i], "--resume");
        if (!skipped) skipped = words_of(argv[i], "--stop-after");
        if (!skipped) {
            print_word(argv[i]);
            putchar(' ');
        }
        i += skipped ? skipped : 1;
    }
    printf("--resume ");
    print_word(checkpoint);
    putchar('\n');
}
