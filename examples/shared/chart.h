/* chart.h - small SVG charts and images for a page that needs no network: the
 * drawings of the reports.
 *
 * Colours are CSS variables of the page (--c0, --c1, --c2), so that one drawing serves light and
 * dark. The page also sets the size of text, at most 24 units, and its alignment: numbers left of
 * the y axis (class y: ends there, centred upright), below the x axis (class x: centred, hangs
 * from it), the x axis's name (class name). */
#ifndef CHART_H
#define CHART_H

#include <stdint.h>
#include <stdio.h>

typedef struct ChartLine {
    const char *label;
    int color; /* 0, 1, 2: var(--c0) … */
    int64_t count;
    const double *x, *y;
} ChartLine;

/* Lines over common axes: x from 0, y from low to high or a little more, its numbers followed by
 * `unit`. */
void chart_lines(FILE *out, const char *title, const char *x_name, int lines,
                 const ChartLine *line, double low, double high, const char *unit);

/* The same with a logarithmic x axis, from the lowest x, above 0, to the highest, and a dot at
 * each point. */
void chart_log_lines(FILE *out, const char *title, const char *x_name, int lines,
                     const ChartLine *line, double low, double high, const char *unit);

/* Groups of bars: value[group * series + i], whole numbers; the groups are labelled 0, 1, 2, … */
void chart_bars(FILE *out, const char *title, const char *x_name, int groups, int series,
                const char *const *label, const double *value);

/* An <img> of width × height pixels, three bytes each (red, green, blue), as a data URI. */
void chart_image(FILE *out, int width, int height, const uint8_t *rgb, const char *text,
                 const char *css_class);

#endif
