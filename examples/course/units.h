/* units.h - all units of the course, in their order. */
#ifndef COURSE_UNITS_H
#define COURSE_UNITS_H

#include "examples/course/checks/check.h"

extern const Unit *const course_units[]; /* NULL ends them */

const Unit *unit_find(const char *name); /* NULL: there is none */
int unit_count(void);
int unit_checks(const Unit *u); /* number of its checks */

#endif
