/* pnm.h - PGM and PPM files in memory; hidden. */
#ifndef LK_PNM_H
#define LK_PNM_H

#include "data/pixels.h"
#include "data/whole_file.h"

bool lk__pnm_is(const WholeFile *file); /* begins like one */
bool lk__pnm_read(const WholeFile *file, Pixels *p, const FileReport *report);
/* Writes "P5 width height 255" or P6; returns the number of bytes. */
enum { LK_PNM_HEADER = 64 };
int lk__pnm_header(const Pixels *p, char header[LK_PNM_HEADER]);

#endif
