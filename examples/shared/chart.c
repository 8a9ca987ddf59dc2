/* chart.c - SVG with a fixed inner size that the page scales; images as uncompressed BMP in
 * base64. */
#include "examples/shared/chart.h"

#include <math.h>

#include "core/decimal.h"
#include "examples/shared/cli.h"

/* The margins have room for the page's largest letters, those of a phone. */
enum {
    WIDTH = 640,
    HEIGHT = 310,
    LEFT = 104,
    RIGHT = 48,
    TOP = 16,
    BOTTOM = 84,
    X_TICKS = 4,
    Y_TICKS = 5
};

static double x_of(double part) { return LEFT + part * (WIDTH - LEFT - RIGHT); }

static double y_of(double part) { return HEIGHT - BOTTOM - part * (HEIGHT - TOP - BOTTOM); }

static void begin(FILE *out, const char *title)
{
    fprintf(out, "<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"%s\"><title>%s</title>\n",
            WIDTH, HEIGHT, title, title);
}

/* The distance of about `count` ticks that people read easily: 1, 2 or 5 times a power of ten. */
static double tick_step(double range, int count)
{
    double power = pow(10, floor(log10(range / count))), part = range / count / power;
    if (part <= 1) return power;
    if (part <= 2) return 2 * power;
    return part <= 5 ? 5 * power : 10 * power;
}

/* "1,500", "0.25": as many decimals as the step between two numbers has. */
static const char *tick_text(double value, double step, char text[32])
{
    int decimals = step < 1 ? (int)-floor(log10(step) + 1e-9) : 0;
    if (decimals == 0) return cli_thousands((int64_t)lround(value), text);
    lk_snprintf(text, 32, "%.*f", decimals, value);
    return text;
}

static void y_axis(FILE *out, double low, double high, double step, const char *unit)
{
    int ticks = (int)lround((high - low) / step);
    for (int i = 0; i <= ticks; i++) {
        char number[32];
        double y = y_of((double)i / ticks);
        lk_fprintf(out, "<line class=\"grid\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/>", LEFT,
                   WIDTH - RIGHT, y, y);
        lk_fprintf(out, "<text class=\"y\" x=\"%d\" y=\"%.1f\">%s%s</text>\n", LEFT - 8, y,
                   tick_text(low + i * step, step, number), unit);
    }
}

static void x_label(FILE *out, double part, const char *text)
{
    lk_fprintf(out, "<text class=\"x\" x=\"%.1f\" y=\"%d\">%s</text>\n", x_of(part),
               HEIGHT - BOTTOM + 22, text);
}

/* The labels of the left end and of the right end. */
typedef struct Range {
    double first, last;
    bool log;
} Range;

/* Returns the place of x, 0 … 1. A place outside is moved to the nearer end. */
static double part_of(const Range *r, double x)
{
    double part = r->log ? log2(x / r->first) / log2(r->last / r->first)
                         : (x - r->first) / (r->last - r->first);
    return fmin(fmax(part, 0), 1);
}

/* Writes numbers at round distances, or at powers of two: at each, every second, … so that there
 * are six at most. */
static void x_axis(FILE *out, const Range *r, const char *label)
{
    enum { POWERS = 6 };
    char number[32];
    if (r->log) {
        double first = ceil(log2(r->first) - 1e-9), last = floor(log2(r->last) + 1e-9);
        for (double k = first; k <= last; k += ceil((last - first + 1) / POWERS))
            x_label(out, part_of(r, exp2(k)), tick_text(exp2(k), exp2(k), number));
    } else {
        double step = tick_step(r->last, X_TICKS);
        for (int i = 0; i * step <= r->last + 1e-9 * step; i++)
            x_label(out, part_of(r, i * step), tick_text(i * step, step, number));
    }
    lk_fprintf(out, "<text class=\"name\" x=\"%.1f\" y=\"%d\">%s</text>\n", x_of(0.5), HEIGHT - 8,
               label);
}

static void legend(FILE *out, int count, const char *const *label, const int *color)
{
    fputs("<p class=\"legend\">", out);
    for (int i = 0; i < count; i++)
        fprintf(out, "<span><i style=\"background:var(--c%d)\"></i>%s</span> ", color[i],
                label[i]);
    fputs("</p>\n", out);
}

static void draw_lines(FILE *out, const char *title, const char *x_name, int lines,
                       const ChartLine *line, double low, double high, const char *unit, bool log)
{
    Range x = { log ? INFINITY : 0, 0, log };
    const char *labels[8];
    int colors[8];
    for (int l = 0; l < lines; l++) {
        labels[l] = line[l].label;
        colors[l] = line[l].color;
        for (int64_t i = 0; i < line[l].count; i++) {
            x.first = fmin(x.first, line[l].x[i]);
            x.last = fmax(x.last, line[l].x[i]);
        }
    }
    if (!(x.last > x.first)) x.first = log ? 1 : 0, x.last = x.first + 1;
    if (!(high > low)) high = low + 1;
    double step = tick_step(high - low, Y_TICKS);
    const Range y = { floor(low / step + 1e-9) * step, ceil(high / step - 1e-9) * step, false };
    if (lines > 1) legend(out, lines, labels, colors);
    begin(out, title);
    y_axis(out, y.first, y.last, step, unit);
    x_axis(out, &x, x_name);
    for (int l = 0; l < lines; l++) {
        const ChartLine *c = &line[l];
        fprintf(out, "<polyline fill=\"none\" stroke=\"var(--c%d)\" stroke-width=\"2\" points=\"",
                c->color);
        for (int64_t i = 0; i < c->count; i++)
            lk_fprintf(out, "%.1f,%.1f ", x_of(part_of(&x, c->x[i])), y_of(part_of(&y, c->y[i])));
        fputs("\"/>\n", out);
        for (int64_t i = 0; log && i < c->count; i++)
            lk_fprintf(out,
                       "<circle r=\"4\" cx=\"%.1f\" cy=\"%.1f\" fill=\"var(--c%d)\"><title>%s, %s "
                       "%.4g: %.4g%s"
                       "</title></circle>\n",
                       x_of(part_of(&x, c->x[i])), y_of(part_of(&y, c->y[i])), c->color, c->label,
                       x_name, c->x[i], c->y[i], unit);
    }
    fputs("</svg>\n", out);
}

void chart_lines(FILE *out, const char *title, const char *x_name, int lines,
                 const ChartLine *line, double low, double high, const char *unit)
{
    draw_lines(out, title, x_name, lines, line, low, high, unit, false);
}

void chart_log_lines(FILE *out, const char *title, const char *x_name, int lines,
                     const ChartLine *line, double low, double high, const char *unit)
{
    draw_lines(out, title, x_name, lines, line, low, high, unit, true);
}

void chart_bars(FILE *out, const char *title, const char *x_name, int groups, int series,
                const char *const *label, const double *value)
{
    double high = Y_TICKS;
    int colors[8];
    for (int i = 0; i < groups * series; i++) high = fmax(high, value[i]);
    for (int i = 0; i < series; i++) colors[i] = i;
    double step = tick_step(high, Y_TICKS);
    high = ceil(high / step - 1e-9) * step;
    legend(out, series, label, colors);
    begin(out, title);
    y_axis(out, 0, high, step, "");
    double group = 1.0 / groups, bar = group * 0.8 / series;
    for (int g = 0; g < groups; g++) {
        char number[32];
        snprintf(number, sizeof number, "%d", g);
        x_label(out, (g + 0.5) * group, number);
        for (int i = 0; i < series; i++) {
            double v = value[g * series + i], x = x_of(g * group + 0.1 * group + i * bar),
                   y = y_of(v / high);
            lk_fprintf(
                out,
                "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill=\"var(--c%d)\">"
                "<title>%d, %s: %.0f</title></rect>\n",
                x, y, bar * (WIDTH - LEFT - RIGHT) - 1, y_of(0) - y, i, g, label[i], v);
        }
    }
    lk_fprintf(out, "<text class=\"name\" x=\"%.1f\" y=\"%d\">%s</text>\n", x_of(0.5), HEIGHT - 8,
               x_name);
    fputs("</svg>\n", out);
}

/* ---- images --------------------------------------------------------------------------------- */

typedef struct Base64 {
    FILE *out;
    unsigned bits;
    int count; /* bytes waiting in bits */
} Base64;

static void put(Base64 *b, unsigned byte)
{
    static const char digit[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    b->bits = b->bits << 8 | (byte & 255);
    if (++b->count < 3) return;
    for (int shift = 18; shift >= 0; shift -= 6) fputc(digit[b->bits >> shift & 63], b->out);
    b->bits = 0;
    b->count = 0;
}

static void put_bytes(Base64 *b, unsigned value, int bytes)
{
    for (int i = 0; i < bytes; i++) put(b, value >> 8 * i);
}

/* BMP: a header of 54 bytes, then rows from the bottom up, blue green red, each filled up to a
 * multiple of 4. It ends with zeros until the length is a multiple of 3, which saves base64's
 * padding. */
void chart_image(FILE *out, int width, int height, const uint8_t *rgb, const char *text,
                 const char *css_class)
{
    Base64 b = { .out = out };
    unsigned row = (unsigned)(width * 3 + 3) / 4 * 4, size = 54 + row * (unsigned)height;
    fprintf(out,
            "<img class=\"%s\" alt=\"%s\" title=\"%s\" width=\"%d\" height=\"%d\" "
            "src=\"data:image/bmp;base64,",
            css_class, text, text, width, height);
    put(&b, 'B');
    put(&b, 'M');
    put_bytes(&b, size, 4);
    put_bytes(&b, 0, 4);
    put_bytes(&b, 54, 4); /* where the pixels start */
    put_bytes(&b, 40, 4); /* BITMAPINFOHEADER */
    put_bytes(&b, (unsigned)width, 4);
    put_bytes(&b, (unsigned)height, 4);
    put_bytes(&b, 1, 2);  /* planes */
    put_bytes(&b, 24, 2); /* bits of a pixel */
    for (int i = 0; i < 6; i++) put_bytes(&b, 0, 4);
    for (int y = height - 1; y >= 0; y--) {
        const uint8_t *p = rgb + (size_t)y * (size_t)width * 3;
        for (int x = 0; x < width; x++, p += 3) {
            put(&b, p[2]);
            put(&b, p[1]);
            put(&b, p[0]);
        }
        put_bytes(&b, 0, (int)row - width * 3);
    }
    while (b.count) put(&b, 0);
    fputs("\">", out);
}
