/* exam.h - the process in which a learner's code runs: loads it, runs the checks of a unit in
 * their order, and writes an event for each to descriptor 3. */
#ifndef COURSE_EXAM_H
#define COURSE_EXAM_H

/* argv: UNIT LIBRARY SEED SEEDS. Reads the token of the events from descriptor 0. Every check runs
 * with SEED, SEED + 1, …, SEEDS numbers in all. */
int exam_main(int argc, char **argv);

#endif
