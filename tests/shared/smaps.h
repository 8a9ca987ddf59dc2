/* smaps.h - whether a process has written to the pages of a file that it maps; for the tests of
 * mapped weights. */
#ifndef SMAPS_H
#define SMAPS_H

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "data/path.h"

/* kB that this process has written to in its mappings of a file; -1: unknown. */
static inline long dirty(const char *name)
{
    FILE *maps = fopen("/proc/self/smaps", "r");
    char line[LK_PATH_MAX + 100];
    bool inside = false;
    long sum = -1;
    while (maps && fgets(line, sizeof line, maps)) {
        long kilobytes;
        /* "7f00…-7f01… rw-p … PATH", then "Size: …" and the like */
        bool is_range = line[0] < 'A' || line[0] > 'Z';
        if (is_range) inside = strstr(line, name);
        if (is_range && inside && sum < 0) sum = 0;
        if (inside && sscanf(line, "Private_Dirty: %ld kB", &kilobytes) == 1) sum += kilobytes;
    }
    if (maps) fclose(maps);
    return sum;
}

#endif
