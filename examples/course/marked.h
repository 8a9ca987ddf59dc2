/* marked.h - a unit's source with marked regions: one file for the starter, the solution, the
 * wrong solutions and the hints. It compiles as it stands, as the solution.
 *
 *     //> starter
 *     //    return NULL; // TODO: alpha (x A B)
 *     //> solution
 *         return lk_scale(t, xAB, l->alpha);
 *     //> wrong no_alpha: looks like alpha forgotten
 *     //    return xAB;
 *     //> end
 *
 * Lines between two marks belong to one variant; lines outside of marks to all. Lines of a starter
 * and of a wrong solution begin with `//`, which is taken away. A wrong solution has the
 * solution's lines wherever it has none of its own; the same name may have lines in several
 * places.
 *
 *     //> hint
 *     // A hint: the idea first, then the formula, then the line.
 *     //> end
 * */
#ifndef COURSE_MARKED_H
#define COURSE_MARKED_H

#include "core/error.h"

enum { MARKED_WRONGS = 64, MARKED_HINTS = 3 };
typedef struct Marked {
    char *text; /* the whole file */
    int wrong_count, hint_count;
    struct {
        char name[48];
        char looks_like[96]; /* the verdict that it must get */
    } wrongs[MARKED_WRONGS];
    char *hints[MARKED_HINTS];
} Marked;

/* Reads and checks the marks. LK_EIO, LK_EFORMAT with the line. Free with marked_free. */
bool marked_read(Marked *m, const char *path, Error *err);
void marked_free(Marked *m);

/* The text of "starter", "solution" or a wrong solution; the caller frees it. */
char *marked_variant_new(const Marked *m, const char *variant);

#endif
