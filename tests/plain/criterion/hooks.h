/* hooks.h - what Criterion calls before all tests of a program. */
#ifndef PLAIN_HOOKS_H
#define PLAIN_HOOKS_H

struct criterion_test_set;
#define ReportHook(moment) void plain_##moment
void plain_PRE_ALL(struct criterion_test_set *tests);

#endif
