/* stop.h - SIGINT (Ctrl-C) and SIGTERM end a training with a checkpoint. The library has no
 * handlers: programs install these ones, for as long as they train.
 *
 *     trainer.should_training_stop = stop_on_signals("name");
 *     ok = lk_trainer_train(&trainer, &err);
 *     stop_no_more();
 *     if (stop_signal()) stop_print_command(argc, argv, "results/checkpoint-7");
 *     …
 *     return stop_status(cli_exit(…)); */
#ifndef STOP_H
#define STOP_H

/* From now on the first of these signals sets the number that is returned, and says on stderr that
 * the program will stop. A second one ends the program at once. A signal that the program was told
 * to ignore (nohup) is ignored still. */
const volatile int *stop_on_signals(const char *program);
/* From now on both end the program again, as if there had been no handler. */
void stop_no_more(void);

/* The signal that came between the two; 0: none. */
int stop_signal(void);
/* The status of main: 128 + the signal, as of a program that it ended; `status` when there was
 * none, or when the program failed. */
int stop_status(int status);

/* Prints the program's own command, ready for a shell, with --resume CHECKPOINT in place of its
 * --resume and --stop-after. */
void stop_print_command(int argc, char **argv, const char *checkpoint);

#endif
