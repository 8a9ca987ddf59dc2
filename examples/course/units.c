/* units.c - see units.h. A new unit is a line here, checks/NAME.c, units/NAME.c and
 * units/NAME.md. */
#include "examples/course/units.h"

#include <string.h>

extern const Unit unit_ex0, unit_ex0b, unit_ex1, unit_ex2, unit_ex3, unit_ex4, unit_ex5, unit_ex6,
    unit_nb1, unit_nb2, unit_nb3, unit_hw1, unit_hw2, unit_hw3;

const Unit *const course_units[] = { &unit_ex0, &unit_ex0b, &unit_ex1, &unit_ex2, &unit_ex3,
                                     &unit_ex4, &unit_ex5,  &unit_ex6, &unit_nb1, &unit_nb2,
                                     &unit_nb3, &unit_hw1,  &unit_hw2, &unit_hw3, NULL };

const Unit *unit_find(const char *name)
{
    for (const Unit *const *u = course_units; *u; u++)
        if (!strcmp((*u)->name, name)) return *u;
    return NULL;
}

int unit_count(void)
{
    int n = 0;
    while (course_units[n]) n++;
    return n;
}

int unit_checks(const Unit *u)
{
    int n = 0;
    while (u->checks[n].title) n++;
    return n;
}
