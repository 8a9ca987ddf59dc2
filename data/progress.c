/* progress.c - the progress bar: first its text, then the moments at which it is written.
 * progress.h shows one. */
#include "data/progress.h"

#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/decimal.h"

enum { LINE_MAX_BYTES = 2048, PART_BYTES = 256, PLAIN_CELLS = 10 };

/* ---- the text ------------------------------------------------------------------------------- */

/* Counts the places on the screen: the bytes that begin a character of UTF-8. */
static int columns_of(const char *text)
{
    int n = 0;
    for (const char *c = text; *c; c++) n += ((unsigned char)*c & 0xC0) != 0x80;
    return n;
}

/* [H:]MM:SS */
static void put_interval(char text[32], double seconds)
{
    int64_t s = seconds < 1e15 ? (int64_t)seconds : 0; /* no time, or an absurd one */
    if (s < 3600) snprintf(text, 32, "%02lld:%02lld", (long long)(s / 60), (long long)(s % 60));
    else
        snprintf(text, 32, "%lld:%02lld:%02lld", (long long)(s / 3600), (long long)(s / 60 % 60),
                 (long long)(s % 60));
}

/* Steps a second, or seconds a step if a step takes more than one. */
static void put_rate(char text[32], double rate)
{
    if (!(rate > 0)) snprintf(text, 32, "?it/s");
    else if (rate < 1) lk_snprintf(text, 32, "%5.2fs/it", 1 / rate);
    else lk_snprintf(text, 32, "%5.2fit/s", rate);
}

/* ", loss=0.239": three digits, and exponents as short as they can be, 1e-5 for 1e-05. */
static void put_value(char text[PART_BYTES], const Progress *p)
{
    text[0] = '\0';
    if (!p->label) return;
    char number[32];
    lk_snprintf(number, sizeof number, "%.3g", p->value);
    char *exponent = strchr(number, 'e');
    if (exponent && exponent[2] == '0')
        memmove(exponent + 2, exponent + 3, strlen(exponent + 3) + 1);
    snprintf(text, PART_BYTES, ", %s=%s", p->label, number);
}

/* A bar of so many cells, filled in eighths of a cell: U+2588 is a full one, U+258F one eighth. */
static void put_bar(char *text, double fraction, int cells)
{
    int eighths = (int)(fraction * cells * 8), full = eighths / 8, rest = eighths % 8;
    for (int i = 0; i < cells; i++) {
        if (i < full) text = (char *)memcpy(text, "█", 3) + 3;
        else if (i == full && rest > 0) {
            text = (char *)memcpy(text, "▏", 3) + 3;
            /* 0xE2 0x96 0x8F down to 0x89, seven eighths */
            text[-1] = (char)(text[-1] - (rest - 1));
        } else *text++ = ' ';
    }
    *text = '\0';
}

/* Copies as many whole characters as fit into the columns (0: any number) and the bytes. */
static size_t cut(char *text, size_t size, const char *line, int columns)
{
    size_t length = 0, next = 0;
    for (int n = 0; line[length] && (columns == 0 || n < columns); n++) {
        for (next = length + 1; ((unsigned char)line[next] & 0xC0) == 0x80;) next++;
        if (next >= size) break;
        length = next;
    }
    if (size == 0) return 0;
    memcpy(text, line, length);
    text[length] = '\0';
    return length;
}

size_t lk_progress_text(const Progress *p, double elapsed, int columns, char *text, size_t size)
{
    if (!p || !text) return 0;
    char left[PART_BYTES + 64], right[PART_BYTES + 160], bar[LINE_MAX_BYTES / 2],
        line[LINE_MAX_BYTES];
    char time_spent[32], time_left[32] = "?", rate_text[32], value[PART_BYTES];
    const char *description = p->description ? p->description : "",
               *colon = description[0] ? ": " : "";
    /* a loop that is longer than announced loses its bar */
    bool has_bar = p->total > 0 && p->count <= p->total;
    double rate = elapsed > 0 ? (double)p->count / elapsed : 0;
    put_interval(time_spent, elapsed);
    put_rate(rate_text, rate);
    put_value(value, p);
    if (!has_bar) {
        snprintf(line, sizeof line, "%.*s%s%lldit [%s, %s%s]", PART_BYTES - 1, description, colon,
                 (long long)p->count, time_spent, rate_text, value);
        return cut(text, size, line, columns);
    }
    double fraction = (double)p->count / (double)p->total;
    if (rate > 0) put_interval(time_left, (double)(p->total - p->count) / rate);
    lk_snprintf(left, sizeof left, "%.*s%s%3.0f%%|", PART_BYTES - 1, description, colon,
                100 * fraction);
    snprintf(right, sizeof right, "| %lld/%lld [%s<%s, %s%s]", (long long)p->count,
             (long long)p->total, time_spent, time_left, rate_text, value);
    int cells = columns > 0 ? columns - columns_of(left) - columns_of(right) : PLAIN_CELLS;
    int most = (int)sizeof bar / 3 - 1;
    if (cells < 1) cells = 1;
    put_bar(bar, fraction, cells < most ? cells : most);
    snprintf(line, sizeof line, "%s%s%s", left, bar, right);
    return cut(text, size, line, columns);
}

/* ---- when it is written --------------------------------------------------------------------- */

Progress lk_progress(FILE *out, const char *description, int64_t total)
{
    Progress p = {
        .description = description, .total = total, .out = out, .clock = lk_seconds, .look = 1
    };
    p.terminal = out && fileno(out) >= 0 && isatty(fileno(out));
    p.interval = p.terminal ? 0.1 : 10;
    p.started = p.written = p.clock();
    return p;
}

/* The width of the terminal, which may change at any time; 0: unknown. */
static int terminal_columns(const Progress *p)
{
    struct winsize size = { 0 };
    return p->terminal && ioctl(fileno(p->out), TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

static void write_line(Progress *p, double now, bool last)
{
    char text[LINE_MAX_BYTES];
    lk_progress_text(p, now - p->started, terminal_columns(p), text, sizeof text);
    /* ESC [ K clears the old line, which may have been longer. It comes first, since after a line
     * that ends in the last column a terminal would clear that column. */
    fprintf(p->out, "%s%s%s", p->terminal ? "\r\033[K" : "", text,
            last || !p->terminal ? "\n" : "");
    fflush(p->out);
    p->written = now;
}

void lk_progress_step(Progress *p)
{
    if (!p) return;
    p->count++;
    if (!p->out || p->count < p->look) return;
    double now = p->clock(), elapsed = now - p->started;
    if (now - p->written >= p->interval) write_line(p, now, false);
    /* The clock is read next after 10 ms if the rate stays, and at twice the present steps at the
     * latest. */
    double steps = elapsed > 0 ? 0.01 * (double)p->count / elapsed : 0, most = (double)p->count;
    if (steps > most) steps = most;
    p->look = p->count + (steps > 1 ? (int64_t)steps : 1);
}

void lk_progress_clear(Progress *p)
{
    if (p && p->out && p->terminal) fputs("\r\033[K", p->out);
}

void lk_progress_end(Progress *p)
{
    if (p && p->out) write_line(p, p->clock(), true);
}
