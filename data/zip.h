/* zip.h - archives as numpy.savez writes them: files stored or compressed by deflate, below 4 GB;
 * hidden.
 *
 * Reading:                                    Writing:
 *     ZipReader z;                                ZipWriter z;
 *     ok = lk__zip_begin(&z, &file, &report);     ok = lk__zip_open(&z, caller, path, err);
 *     for (ZipEntry e; lk__zip_next(&z, &e);) …   … ok = ok && lk__zip_add(&z, …) …
 *     ok = !z.failed;                             ok = lk__zip_close(&z, ok); */
#ifndef LK_ZIP_H
#define LK_ZIP_H

#include "data/atomic_file.h"
#include "data/whole_file.h"

/* ---- reading -------------------------------------------------------------------------------- */

typedef struct ZipReader {
    const WholeFile *file;
    const FileReport *report;
    size_t next, end; /* in the directory of the archive */
    int left;         /* entries */
    bool failed;      /* the reason is reported */
} ZipReader;

typedef struct ZipEntry {
    const char *name; /* not ended by a '\0' */
    int length;       /* of the name */
    const char *data; /* as it lies in the archive */
    size_t packed, size;
    uint32_t crc;
    bool deflated;
} ZipEntry;

bool lk__zip_begin(ZipReader *z, const WholeFile *file, const FileReport *report);
bool lk__zip_next(ZipReader *z, ZipEntry *e); /* false: there is none, or z->failed */

/* The content of an entry, with its checksum compared. *bytes points into the archive, or into
 * *room, which the caller frees with lk_mem_free, on failure too; it is NULL before. */
bool lk__zip_content(const ZipReader *z, const ZipEntry *e, const char **bytes, char **room);

/* ---- writing -------------------------------------------------------------------------------- */

typedef struct ZipWriter {
    AtomicFile out;
    const char *caller;
    Error *err;
    uint64_t at;     /* bytes written */
    char *directory; /* written at the end */
    size_t used, room;
    int count;
} ZipWriter;

/* A part of a file that is added. */
typedef struct ZipPart {
    const void *bytes;
    size_t size;
} ZipPart;

bool lk__zip_open(ZipWriter *z, const char *caller, const char *path, Error *err);
/* Adds a file of two parts, one behind the other. Errors: LK_EVALUE for a name or an archive that
 * is too large, LK_ESTATE for compressed without zlib, LK_EIO, LK_EMEMORY. */
bool lk__zip_add(ZipWriter *z, const char *name, const ZipPart part[2], bool compressed);
bool lk__zip_close(ZipWriter *z, bool ok); /* after a failed lk__zip_open too */

#endif
