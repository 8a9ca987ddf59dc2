/* zip.c - reads archives: the directory at the end of the file tells where the entries are.
 *
 *     entry       50 4b 03 04, version, flags, method, time, date, checksum, packed size, size,
 *                 lengths of name and extra field; name, extra field, data
 *     directory   for each entry 50 4b 01 02, the same numbers and more, and where the entry is
 *     end         50 4b 05 06, numbers of disks, entries, size and place of the directory, comment
 *
 * All numbers are little-endian. data/zip_write.c writes such files. */
#include "data/zip.h"

#include <string.h>

#include "core/memory.h"
#include "data/crc32.h"
#include "data/zlib_memory.h"

enum { LOCAL = 30, CENTRAL = 46, END = 22, COMMENT_MAX = 65535 }; /* bytes of the fixed parts */
enum { STORED = 0, DEFLATED = 8, ENCRYPTED = 1 };

static uint32_t number16(const char *bytes)
{
    const unsigned char *b = (const unsigned char *)bytes;
    return b[0] | (uint32_t)b[1] << 8;
}

static uint32_t number32(const char *bytes) { return number16(bytes) | number16(bytes + 2) << 16; }

static bool fail(ZipReader *z, const char *what)
{
    z->failed = true;
    return lk__file_fail(z->report, LK_EFORMAT, "%s", what);
}

bool lk__zip_begin(ZipReader *z, const WholeFile *file, const FileReport *report)
{
    *z = (ZipReader){ .file = file, .report = report };
    if (file->size < END) return fail(z, "is no zip archive: it is too short");
    const size_t first = file->size - END > COMMENT_MAX ? file->size - END - COMMENT_MAX : 0;
    size_t at = file->size - END;
    while (at > first && memcmp(file->bytes + at, "PK\5\6", 4) != 0) at--;
    const char *end = file->bytes + at;
    if (memcmp(end, "PK\5\6", 4) != 0)
        return fail(z, "is no zip archive, or is cut: its end is missing");
    const size_t size = number32(end + 12), start = number32(end + 16);
    z->left = (int)number16(end + 10);
    if (start == UINT32_MAX || z->left == UINT16_MAX)
        return fail(z, "is an archive of 4 GB or more, which is not read; .npy files are");
    if (number16(end + 4) != 0 || number16(end + 6) != 0 || start > at || size > at - start)
        return fail(z, "is a damaged archive: its directory lies outside of it");
    z->next = start;
    z->end = start + size;
    return true;
}

bool lk__zip_next(ZipReader *z, ZipEntry *e)
{
    if (z->failed || z->left == 0) return false;
    const char *bytes = z->file->bytes, *c = bytes + z->next;
    const size_t present = z->end - z->next;
    if (present < CENTRAL || memcmp(c, "PK\1\2", 4) != 0)
        return fail(z, "is a damaged archive: an entry of its directory is missing");
    const size_t name = number16(c + 28), more = name + number16(c + 30) + number16(c + 32);
    if (more > present - CENTRAL) return fail(z, "is a damaged archive: its directory is cut");
    const size_t local = number32(c + 42);
    *e = (ZipEntry){ .name = c + CENTRAL,
                     .length = (int)name,
                     .packed = number32(c + 20),
                     .size = number32(c + 24),
                     .crc = number32(c + 16),
                     .deflated = number16(c + 10) == DEFLATED };
    z->next += CENTRAL + more;
    z->left--;
    if (e->packed == UINT32_MAX || e->size == UINT32_MAX || local == UINT32_MAX)
        return fail(z, "has an array of 4 GB or more, which is not read; .npy files are");
    if (number16(c + 8) & ENCRYPTED || (!e->deflated && number16(c + 10) != STORED))
        return fail(z, "has an entry that is encrypted or packed by another method than deflate");
    if (z->file->size < LOCAL || local > z->file->size - LOCAL ||
        memcmp(bytes + local, "PK\3\4", 4) != 0)
        return fail(z, "is a damaged archive: an entry is not where its directory says");
    const size_t data =
        local + LOCAL + number16(bytes + local + 26) + number16(bytes + local + 28);
    if (data > z->file->size || e->packed > z->file->size - data)
        return fail(z, "is a damaged archive: an entry is cut");
    e->data = bytes + data;
    return true;
}

/* ---- content -------------------------------------------------------------------------------- */

static bool fail_entry(const ZipReader *z, const ZipEntry *e, ErrorCode code, const char *what)
{
    return lk__file_fail(z->report, code, "%.*s: %s", e->length < 100 ? e->length : 100, e->name,
                         what);
}

#ifdef LK_HAVE_ZLIB

static bool unpack(const ZipReader *z, const ZipEntry *e, char *room)
{
    z_stream s = { .zalloc = zlib_alloc, .zfree = zlib_free };
    if (inflateInit2(&s, -MAX_WBITS) != Z_OK)
        return fail_entry(z, e, LK_EMEMORY, "no memory to decompress it");
    s.next_in = (Bytef *)e->data;
    s.avail_in = (uInt)e->packed;
    s.next_out = (Bytef *)room;
    s.avail_out = (uInt)e->size;
    const int status = inflate(&s, Z_FINISH);
    const bool whole = status == Z_STREAM_END && s.avail_out == 0;
    inflateEnd(&s);
    if (status == Z_MEM_ERROR) return fail_entry(z, e, LK_EMEMORY, "no memory to decompress it");
    return whole || fail_entry(z, e, LK_EFORMAT, "its compressed data are damaged");
}

#else

static bool unpack(const ZipReader *z, const ZipEntry *e, char *room)
{
    (void)room;
    return fail_entry(z, e, LK_ESTATE,
                      "is compressed, but Lorikeet was built without zlib: LORIKEET_ZLIB=ON, or "
                      "numpy.savez");
}

#endif

bool lk__zip_content(const ZipReader *z, const ZipEntry *e, const char **bytes, char **room)
{
    enum { DEFLATE_LIMIT = 1032 }; /* deflate cannot expand a byte to more */
    *bytes = e->data;
    if (e->deflated) {
        if (e->size / DEFLATE_LIMIT > e->packed)
            return fail_entry(z, e, LK_EFORMAT, "announces more bytes than it can hold");
        *room = lk_mem_alloc(e->size ? e->size : 1);
        if (!*room) return fail_entry(z, e, LK_EMEMORY, "no memory to decompress it");
        *bytes = *room;
        if (!unpack(z, e, *room)) return false;
    } else if (e->packed != e->size) {
        return fail_entry(z, e, LK_EFORMAT, "is not compressed, and its two sizes differ");
    }
    return lk__crc32(0, *bytes, e->size) == e->crc ||
           fail_entry(z, e, LK_EFORMAT, "its checksum is wrong");
}
