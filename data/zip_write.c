/* zip_write.c - writes the archives that data/zip.c describes. Time and date are those of 1980, so
 * that the same content has the same bytes. */
#include <string.h>

#include "core/memory.h"
#include "data/crc32.h"
#include "data/zip.h"
#include "data/zlib_memory.h"

enum { STORED = 0, DEFLATED = 8, UTF8_NAME = 1 << 11, VERSION = 20, FIRST_OF_1980 = 1 << 5 | 1 };

static void put16(char **to, uint32_t x)
{
    *(*to)++ = (char)(x & 255);
    *(*to)++ = (char)(x >> 8 & 255);
}

static void put32(char **to, uint32_t x)
{
    put16(to, x & 65535);
    put16(to, x >> 16);
}

static bool is_ascii(const char *text)
{
    while (*text && !(*text & 0x80)) text++;
    return !*text;
}

bool lk__zip_open(ZipWriter *z, const char *caller, const char *path, Error *err)
{
    *z = (ZipWriter){ .caller = caller, .err = err };
    return lk_atomic_begin(&z->out, caller, path, err);
}

static bool write_bytes(ZipWriter *z, const void *bytes, size_t size)
{
    z->at += size;
    return size == 0 || lk_atomic_write(&z->out, bytes, size);
}

/* An entry that is being added. */
typedef struct Entry {
    const char *name;
    ZipPart content[2]; /* what is written */
    uint32_t crc, size, packed, method, at;
} Entry;

/* Writes what the directory and the entry itself have in common. */
static void put_numbers(char **to, const Entry *e)
{
    put16(to, VERSION);
    put16(to, is_ascii(e->name) ? 0 : UTF8_NAME);
    put16(to, e->method);
    put16(to, 0);
    put16(to, FIRST_OF_1980);
    put32(to, e->crc);
    put32(to, e->packed);
    put32(to, e->size);
    put16(to, (uint32_t)strlen(e->name));
    put16(to, 0); /* no extra field */
}

static bool add_to_directory(ZipWriter *z, const Entry *e)
{
    enum { FIXED = 46 };
    const size_t length = strlen(e->name);
    if (z->used + FIXED + length > z->room) {
        const size_t room = 2 * (z->used + FIXED + length);
        char *directory = lk_mem_alloc(room);
        if (!directory)
            return lk_error_set(z->err, LK_EMEMORY, "%s: no memory for the directory", z->caller);
        if (z->used > 0) memcpy(directory, z->directory, z->used);
        lk_mem_free(z->directory);
        z->directory = directory;
        z->room = room;
    }
    char *to = z->directory + z->used;
    memcpy(to, "PK\1\2", 4);
    to += 4;
    put16(&to, VERSION);
    put_numbers(&to, e);
    put16(&to, 0); /* no comment, on the first disk, no attributes */
    put16(&to, 0);
    put16(&to, 0);
    put32(&to, 0);
    put32(&to, e->at);
    memcpy(to, e->name, length);
    z->used += FIXED + length;
    z->count++;
    return true;
}

static bool write_entry(ZipWriter *z, const Entry *e)
{
    char head[30], *to = head + 4;
    memcpy(head, "PK\3\4", 4);
    put_numbers(&to, e);
    return write_bytes(z, head, sizeof head) && write_bytes(z, e->name, strlen(e->name)) &&
           write_bytes(z, e->content[0].bytes, e->content[0].size) &&
           write_bytes(z, e->content[1].bytes, e->content[1].size);
}

/* Compresses both parts into a block of its own, which the caller frees. */
static char *pack(const ZipWriter *z, const ZipPart part[2], uint32_t *packed)
{
#ifdef LK_HAVE_ZLIB
    const uLong most = compressBound((uLong)(part[0].size + part[1].size));
    char *room = most <= UINT32_MAX ? lk_mem_alloc(most) : NULL;
    z_stream s = { .zalloc = zlib_alloc, .zfree = zlib_free };
    if (!room || deflateInit2(&s, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -MAX_WBITS, 8,
                              Z_DEFAULT_STRATEGY) != Z_OK) {
        lk_error_set(z->err, LK_EMEMORY, "%s: no memory to compress", z->caller);
        lk_mem_free(room);
        return NULL;
    }
    s.next_out = (Bytef *)room;
    s.avail_out = (uInt)most;
    for (int k = 0; k < 2; k++) {
        s.next_in = (Bytef *)part[k].bytes;
        s.avail_in = (uInt)part[k].size;
        deflate(&s, k == 0 ? Z_NO_FLUSH : Z_FINISH); /* it has room for everything */
    }
    *packed = (uint32_t)s.total_out;
    deflateEnd(&s);
    return room;
#else
    (void)part, (void)packed;
    lk_error_set(z->err, LK_ESTATE,
                 "%s: compressing needs zlib, which this build is without (LORIKEET_ZLIB=ON)",
                 z->caller);
    return NULL;
#endif
}

bool lk__zip_add(ZipWriter *z, const char *name, const ZipPart part[2], bool compressed)
{
    enum { NAME_MAX_BYTES = 65535, ENTRIES_MAX = 65534, SPARE = 1 << 20 };
    const uint64_t size = (uint64_t)part[0].size + part[1].size;
    if (strlen(name) > NAME_MAX_BYTES)
        return lk_error_set(z->err, LK_EVALUE, "%s: the name %.60s… has more than %d bytes",
                            z->caller, name, NAME_MAX_BYTES);
    if (z->at + size + z->used + SPARE > UINT32_MAX || z->count == ENTRIES_MAX)
        return lk_error_set(z->err, LK_EVALUE,
                            "%s: with %.60s the archive has more than 4 GB or %d arrays; write "
                            ".npy or safetensors files",
                            z->caller, name, ENTRIES_MAX);
    Entry e = { .name = name, .content = { part[0], part[1] }, .at = (uint32_t)z->at };
    e.size = e.packed = (uint32_t)size;
    e.crc = lk__crc32(lk__crc32(0, part[0].bytes, part[0].size), part[1].bytes, part[1].size);
    char *room = NULL;
    if (compressed) {
        room = pack(z, part, &e.packed);
        if (!room) return false;
        e.method = DEFLATED;
        e.content[0] = (ZipPart){ room, e.packed };
        e.content[1] = (ZipPart){ 0 };
    }
    bool ok = write_entry(z, &e) && add_to_directory(z, &e);
    lk_mem_free(room);
    return ok;
}

bool lk__zip_close(ZipWriter *z, bool ok)
{
    char end[22], *to = end + 4;
    const uint32_t start = (uint32_t)z->at;
    memcpy(end, "PK\5\6", 4);
    put32(&to, 0); /* numbers of disks */
    put16(&to, (uint32_t)z->count);
    put16(&to, (uint32_t)z->count);
    put32(&to, (uint32_t)z->used);
    put32(&to, start);
    put16(&to, 0); /* no comment */
    ok = ok && write_bytes(z, z->directory, z->used) && write_bytes(z, end, sizeof end);
    lk_mem_free(z->directory);
    return lk_atomic_end(&z->out, ok);
}
