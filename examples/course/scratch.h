/* scratch.h - files and folders of the course: texts, and a folder for what is made on the way. */
#ifndef COURSE_SCRATCH_H
#define COURSE_SCRATCH_H

#include "core/error.h"
#include "data/path.h"

/* Whether a file or folder exists; whether it is a plain file (not a folder, pipe or device). */
bool path_exists(const char *path);
bool path_is_file(const char *path);

/* The last part of a path, in the path itself. */
const char *path_base(const char *path);

/* The whole text of a plain file of at most 4 MB; the caller frees it. NULL, with the reason. */
char *text_read_new(const char *path, Error *err);
bool text_write(const char *path, const char *text, Error *err);

/* A new folder, with its true path, in $TMPDIR or /tmp; scratch_remove deletes it with all that is
 * in it. */
bool scratch_make(char path[LK_PATH_MAX], Error *err);
void scratch_remove(const char *path); /* "": nothing */

#endif
