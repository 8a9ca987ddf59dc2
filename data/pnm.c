/* pnm.c - PGM (gray) and PPM (colours), the formats of Netpbm:
 *
 *     P5 or P6        binary gray, binary colours; P2, P3: the same as decimal text
 *     width height    decimal; blanks and comments (# to the end of the line) between
 *     maximum         1 … 65535; more than 255: two bytes a number, the high one first
 *     numbers         after one blank, row after row
 *
 * A number v becomes 255 v / maximum, rounded. */
#include "data/pnm.h"

#include <stdio.h>
#include <string.h>

typedef struct Source {
    const FileReport *report;
    const unsigned char *next, *end;
} Source;

bool lk__pnm_is(const WholeFile *file)
{
    return file->size > 2 && file->bytes[0] == 'P' && memchr("2356", file->bytes[1], 4);
}

static bool is_blank(int c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

/* Reads a decimal number after blanks and comments; at most 9 digits. */
static bool read_decimal(Source *s, const char *what, int64_t *value)
{
    bool comment = false;
    for (; s->next < s->end; s->next++) {
        if (*s->next == '#') comment = true;
        if (*s->next == '\n') comment = false;
        if (!comment && !is_blank(*s->next)) break;
    }
    int digits = 0;
    for (*value = 0; s->next < s->end && *s->next >= '0' && *s->next <= '9'; s->next++, digits++) {
        if (digits == 9) break;
        *value = 10 * *value + (*s->next - '0');
    }
    bool ends = s->next >= s->end || is_blank(*s->next) || *s->next == '#';
    return (digits > 0 && ends) ||
           lk__file_fail(s->report, LK_EFORMAT, "its %s is missing or no number", what);
}

/* Reads the header up to the blank behind the maximum. */
static bool read_header(Source *s, Pixels *p, int64_t *most)
{
    if (!read_decimal(s, "width", &p->width) || !read_decimal(s, "height", &p->height) ||
        !read_decimal(s, "maximum", most))
        return false;
    if (p->width == 0 || p->height == 0)
        return lk__file_fail(s->report, LK_EFORMAT, "has no pixel: %lld x %lld",
                             (long long)p->width, (long long)p->height);
    if (*most < 1 || *most > 65535)
        return lk__file_fail(s->report, LK_EFORMAT, "its maximum is %lld; it is from 1 to 65535",
                             (long long)*most);
    s->next += s->next < s->end;
    return true;
}

/* Whether the file can hold n numbers: of `size` bytes, or of a digit and a blank each. */
static bool check_size(const Source *s, bool text, int64_t n, int64_t size)
{
    const int64_t present = s->end - s->next, needed = text ? 2 * n - 1 : n * size;
    if (text ? present >= needed : present == needed) return true;
    return lk__file_fail(s->report, LK_EFORMAT,
                         "announces %lld numbers, %s%lld bytes, and has %lld bytes", (long long)n,
                         text ? "at least " : "", (long long)needed, (long long)present);
}

bool lk__pnm_read(const WholeFile *file, Pixels *p, const FileReport *report)
{
    const char kind = file->bytes[1];
    const bool text = kind < '5';
    Source s = { report, (const unsigned char *)file->bytes + 2,
                 (const unsigned char *)file->bytes + file->size };
    int64_t most = 0, value;
    p->channels = kind == '3' || kind == '6' ? 3 : 1;
    if (!read_header(&s, p, &most)) return false;
    /* below 2^62, since each size has 9 digits */
    const int64_t n = p->width * p->height * p->channels, size = most > 255 ? 2 : 1;
    if (!check_size(&s, text, n, size) || !lk__pixels_make(p, report->caller, report->err))
        return false;
    for (int64_t i = 0; i < n; i++) {
        if (text) {
            if (!read_decimal(&s, "next pixel", &value)) return false;
        } else {
            value = size == 2 ? s.next[0] << 8 | s.next[1] : s.next[0];
            s.next += size;
        }
        if (value > most)
            return lk__file_fail(report, LK_EFORMAT, "number %lld is %lld, above its maximum %lld",
                                 (long long)i, (long long)value, (long long)most);
        p->data[i] = (uint8_t)((255 * value + most / 2) / most);
    }
    return true;
}

int lk__pnm_header(const Pixels *p, char header[LK_PNM_HEADER])
{
    return snprintf(header, LK_PNM_HEADER, "P%d\n%lld %lld\n255\n", p->channels == 3 ? 6 : 5,
                    (long long)p->width, (long long)p->height);
}
