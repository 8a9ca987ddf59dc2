/* png.h - PNG files in memory, by libpng; hidden. Without libpng both functions are LK_ESTATE. */
#ifndef LK_PNG_H
#define LK_PNG_H

#include "data/pixels.h"
#include "data/whole_file.h"

bool lk__png_is(const WholeFile *file); /* begins like one */
bool lk__png_read(const WholeFile *file, Pixels *p, const FileReport *report);
/* Makes the bytes of a file, 8 bits a channel. Free them with lk__whole_file_free. */
bool lk__png_make(const Pixels *p, WholeFile *file, const FileReport *report);

#endif
