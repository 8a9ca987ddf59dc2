/* digits.c - draws digits by strokes, for use without MNIST. The files of MNIST itself:
 * data/mnist.c.
 *
 * A digit is one or two pen strokes, each a few control points of a quadratic B-spline. Every
 * image draws its own writer: its control points tremble; the digit is slanted, turned, stretched
 * and shifted; the pen is thick or thin, and presses unevenly. The result is fitted into MNIST's
 * frame: about 20 x 20 pixels, centred by its mass in 28 x 28.
 *
 * The same seed gives the same bits on every machine and for every number of threads: each image
 * has a generator of its own, and only + - * / and sqrt are used, which IEEE 754 rounds in one
 * way. sin, cos and exp differ between C libraries. */
#include "data/digits.h"

#include <math.h>

enum { SIDE = 28, PIXELS = SIDE * SIDE, CLASSES = 10 };

/* ---- the shapes ----------------------------------------------------------------------------- */

/* A spline begins at its first point and ends at its last. It only comes near the points between
 * them; a point given twice is a corner. x and y go from 0 to 100, y downwards. Points outside
 * pull the curve to the border. */
enum { MAX_POINTS = 13, MAX_STROKES = 2, MAX_SHAPES = 4 };
typedef struct Stroke {
    int points;
    signed char at[MAX_POINTS][2];
} Stroke;
typedef struct Shape {
    int strokes;
    Stroke stroke[MAX_STROKES];
} Shape;
typedef struct Glyph { /* the ways in which one digit is written, equally likely */
    int shapes;
    Shape shape[MAX_SHAPES];
} Glyph;

static const Glyph glyphs[CLASSES] = {
    /* clang-format off */
    [0] = { 2, { { 1, { { 10, { { 58, 4 }, { 30, -4 }, { 8, 22 }, { 6, 78 }, { 28, 104 },
                                { 66, 104 }, { 92, 78 }, { 92, 20 }, { 70, -2 }, { 48, 4 } } } } },
                 { 1, { { 9, { { 78, 10 }, { 40, -12 }, { 4, 30 }, { 12, 96 }, { 52, 108 },
                               { 90, 88 }, { 94, 24 }, { 70, -4 }, { 40, 10 } } } } } } },
    [1] = { 4, { { 1, { { 3, { { 50, 0 }, { 50, 50 }, { 50, 100 } } } } },
                 { 1, { { 4, { { 50, 0 }, { 52, 30 }, { 48, 70 }, { 50, 100 } } } } },
                 { 1, { { 5, { { 34, 20 }, { 52, 0 }, { 52, 0 }, { 50, 50 }, { 50, 100 } } } } },
                 { 2, { { 5, { { 32, 22 }, { 52, 0 }, { 52, 0 }, { 50, 50 }, { 50, 98 } } },
                        { 3, { { 24, 100 }, { 50, 99 }, { 78, 100 } } } } } } },
    [2] = { 3, { { 1, { { 9, { { 12, 22 }, { 26, -4 }, { 70, -8 }, { 92, 26 }, { 66, 62 },
                               { 10, 98 }, { 10, 98 }, { 50, 94 }, { 94, 98 } } } } },
                 { 1, { { 11, { { 14, 20 }, { 30, -6 }, { 78, -6 }, { 84, 34 }, { 56, 76 },
                                { 22, 104 }, { 2, 92 }, { 16, 74 }, { 46, 84 }, { 66, 104 },
                                { 98, 92 } } } } },
                 { 1, { { 8, { { 10, 8 }, { 60, -10 }, { 94, 18 }, { 70, 58 }, { 14, 98 },
                               { 14, 98 }, { 54, 100 }, { 98, 92 } } } } } } },
    [3] = { 3, { { 1, { { 11, { { 14, 14 }, { 30, -6 }, { 78, -8 }, { 92, 28 }, { 66, 46 },
                                { 38, 46 }, { 38, 46 }, { 86, 46 }, { 102, 86 }, { 56, 112 },
                                { 8, 90 } } } } },
                 { 1, { { 9, { { 12, 4 }, { 66, -4 }, { 90, 14 }, { 46, 46 }, { 46, 46 },
                               { 94, 50 }, { 96, 92 }, { 50, 112 }, { 6, 92 } } } } },
                 { 1, { { 9, { { 16, 2 }, { 82, 0 }, { 82, 0 }, { 40, 40 }, { 40, 40 },
                               { 92, 44 }, { 98, 88 }, { 52, 112 }, { 8, 94 } } } } } } },
    [4] = { 3, { { 2, { { 6, { { 22, 0 }, { 18, 24 }, { 8, 58 }, { 8, 58 }, { 50, 60 },
                               { 94, 54 } } },
                        { 3, { { 74, 4 }, { 70, 50 }, { 64, 100 } } } } },
                 { 1, { { 8, { { 96, 64 }, { 54, 66 }, { 6, 64 }, { 6, 64 }, { 66, 0 },
                               { 66, 0 }, { 64, 50 }, { 62, 100 } } } } },
                 { 1, { { 9, { { 20, 2 }, { 12, 30 }, { 12, 54 }, { 40, 60 }, { 66, 48 },
                               { 80, 2 }, { 80, 2 }, { 72, 50 }, { 66, 100 } } } } } } },
    [5] = { 3, { { 1, { { 11, { { 88, 2 }, { 54, 4 }, { 26, 4 }, { 26, 4 }, { 18, 46 },
                                { 18, 46 }, { 56, 26 }, { 96, 56 }, { 84, 102 }, { 42, 110 },
                                { 8, 90 } } } } },
                 { 2, { { 8, { { 28, 6 }, { 24, 26 }, { 20, 46 }, { 20, 46 }, { 70, 36 },
                               { 98, 70 }, { 66, 112 }, { 8, 94 } } },
                        { 3, { { 28, 6 }, { 60, 6 }, { 94, 0 } } } } },
                 { 1, { { 9, { { 92, 4 }, { 56, -4 }, { 22, 14 }, { 24, 42 }, { 60, 46 },
                               { 92, 66 }, { 74, 102 }, { 36, 108 }, { 6, 92 } } } } } } },
    [6] = { 3, { { 1, { { 10, { { 72, 0 }, { 34, 14 }, { 8, 56 }, { 12, 98 }, { 50, 108 },
                                { 88, 92 }, { 82, 54 }, { 48, 46 }, { 22, 62 }, { 16, 80 } } } } },
                 { 1, { { 9, { { 48, 0 }, { 22, 30 }, { 10, 74 }, { 26, 106 }, { 74, 106 },
                               { 90, 76 }, { 62, 52 }, { 30, 66 }, { 22, 90 } } } } },
                 { 1, { { 9, { { 84, 8 }, { 50, -6 }, { 10, 30 }, { 6, 92 }, { 46, 110 },
                               { 88, 98 }, { 84, 60 }, { 44, 46 }, { 14, 72 } } } } } } },
    [7] = { 4, { { 1, { { 6, { { 10, 6 }, { 50, 4 }, { 88, 2 }, { 88, 2 }, { 60, 46 },
                               { 42, 100 } } } } },
                 { 1, { { 7, { { 10, 22 }, { 14, 4 }, { 50, 6 }, { 90, 0 }, { 90, 0 },
                               { 60, 50 }, { 46, 100 } } } } },
                 { 2, { { 6, { { 12, 6 }, { 50, 4 }, { 86, 2 }, { 86, 2 }, { 62, 46 },
                               { 40, 100 } } },
                        { 3, { { 28, 52 }, { 54, 52 }, { 84, 48 } } } } },
                 { 1, { { 5, { { 10, 10 }, { 60, 0 }, { 94, 0 }, { 66, 44 },
                               { 50, 100 } } } } } } },
    [8] = { 3, { { 1, { { 13, { { 80, 14 }, { 50, -10 }, { 12, 6 }, { 18, 38 }, { 56, 54 },
                                { 92, 76 }, { 78, 106 }, { 26, 108 }, { 8, 78 }, { 44, 50 },
                                { 86, 30 }, { 82, 2 }, { 54, 2 } } } } },
                 { 2, { { 8, { { 50, 2 }, { 18, 0 }, { 10, 30 }, { 34, 50 }, { 70, 48 },
                               { 90, 24 }, { 76, -2 }, { 46, 2 } } },
                        { 8, { { 48, 47 }, { 10, 52 }, { 6, 88 }, { 30, 104 }, { 74, 104 },
                               { 96, 80 }, { 86, 52 }, { 50, 47 } } } } },
                 { 1, { { 10, { { 82, 6 }, { 40, -8 }, { 4, 18 }, { 40, 48 }, { 94, 80 },
                                { 60, 110 }, { 8, 100 }, { 22, 66 }, { 70, 36 },
                                { 90, 4 } } } } } } },
    [9] = { 4, { { 1, { { 10, { { 82, 16 }, { 54, -8 }, { 14, 6 }, { 8, 42 }, { 40, 56 },
                                { 78, 38 }, { 84, 10 }, { 84, 10 }, { 78, 54 },
                                { 66, 100 } } } } },
                 { 1, { { 11, { { 84, 14 }, { 48, -8 }, { 12, 12 }, { 12, 46 }, { 46, 56 },
                                { 80, 36 }, { 86, 10 }, { 86, 44 }, { 84, 92 }, { 52, 108 },
                                { 18, 96 } } } } },
                 { 2, { { 8, { { 66, 4 }, { 26, -2 }, { 10, 26 }, { 24, 50 }, { 58, 50 },
                               { 80, 26 }, { 70, 2 }, { 48, 4 } } },
                        { 3, { { 78, 8 }, { 76, 52 }, { 68, 100 } } } } },
                 { 1, { { 8, { { 80, 8 }, { 40, -10 }, { 2, 26 }, { 22, 60 }, { 64, 44 },
                               { 82, 4 }, { 66, 60 }, { 48, 100 } } } } } } },
    /* clang-format on */
};

/* ---- the writer ----------------------------------------------------------------------------- */

typedef struct Point {
    double x, y;
} Point;

enum { STEPS = 6, MAX_LINES = MAX_STROKES * MAX_POINTS * STEPS };
typedef struct Line { /* a short straight piece of a stroke */
    Point from, to;
    double radius; /* of the pen, in pixels */
} Line;
typedef struct Drawing {
    int lines;
    Line line[MAX_LINES];
} Drawing;

/* Returns number i of the ends of all lines. */
static Point *line_end(Drawing *d, int i)
{
    return i % 2 ? &d->line[i / 2].to : &d->line[i / 2].from;
}

/* Not fmin and fmax: those are calls into the C library. */
static double lesser(double a, double b) { return a < b ? a : b; }

static double greater(double a, double b) { return a > b ? a : b; }

static double uniform(Rng *rng, double low, double high)
{
    return low + (high - low) * (double)lk_random_f32(rng);
}

/* -spread … spread, small values more often (the sum of two uniforms is a triangle). Two draws are
 * never in one expression: C leaves open which of two calls comes first, and each machine must
 * draw in the same order. */
static double tremble(Rng *rng, double spread)
{
    double a = uniform(rng, -0.5, 0.5), b = uniform(rng, -0.5, 0.5);
    return spread * (a + b);
}

static Point tremble_point(Rng *rng, Point p, double spread)
{
    double x = tremble(rng, spread), y = tremble(rng, spread);
    return (Point){ p.x + x, p.y + y };
}

static Point between(Point a, Point b, double t)
{
    return (Point){ a.x + t * (b.x - a.x), a.y + t * (b.y - a.y) };
}

static double length(Point a, Point b)
{
    return sqrt((b.x - a.x) * (b.x - a.x) + (b.y - a.y) * (b.y - a.y));
}

/* Cuts the spline into straight lines. Piece i is the parabola that point i pulls towards itself;
 * it begins and ends half way to the neighbours, or at the ends of the stroke. */
static void add_stroke(Drawing *d, const Stroke *s, double jitter, Rng *rng)
{
    Point p[MAX_POINTS];
    for (int i = 0; i < s->points; i++)
        p[i] = tremble_point(rng, (Point){ s->at[i][0] / 100.0, s->at[i][1] / 100.0 }, jitter);
    for (int i = 1; i < s->points - 1; i++) {
        Point a = i == 1 ? p[0] : between(p[i - 1], p[i], 0.5);
        Point b = i == s->points - 2 ? p[i + 1] : between(p[i], p[i + 1], 0.5);
        Point last = a;
        for (int k = 1; k <= STEPS; k++) {
            double t = (double)k / STEPS;
            Point next = between(between(a, p[i], t), between(p[i], b, t), t); /* de Casteljau */
            d->line[d->lines++] = (Line){ last, next, 0 };
            last = next;
        }
    }
}

/* p = M p for all points: narrower, slanted, then turned. */
static void distort(Drawing *d, Rng *rng)
{
    /* t = tan(angle / 2) gives cosine and sine without calling them */
    double t = tremble(rng, 0.2);
    double c = (1 - t * t) / (1 + t * t), s = 2 * t / (1 + t * t);
    double slant = uniform(rng, -0.1, 0.45), width = uniform(rng, 0.55, 0.95);
    for (int i = 0; i < 2 * d->lines; i++) {
        Point *p = line_end(d, i);
        double x = width * p->x - slant * p->y, y = p->y;
        *p = (Point){ c * x - s * y, s * x + c * y };
    }
}

/* Fits the digit into MNIST's frame: the larger side of the box around it gets `size` pixels, and
 * its centre of mass moves to `middle`. */
static void fit(Drawing *d, double size, Point middle)
{
    Point low = d->line[0].from, high = low, mass = { 0, 0 };
    double total = 0;
    for (int i = 0; i < d->lines; i++) {
        const Line *l = &d->line[i];
        double weight = length(l->from, l->to);
        Point centre = between(l->from, l->to, 0.5);
        mass.x += weight * centre.x;
        mass.y += weight * centre.y;
        total += weight;
        low = (Point){ lesser(low.x, l->to.x), lesser(low.y, l->to.y) };
        high = (Point){ greater(high.x, l->to.x), greater(high.y, l->to.y) };
    }
    double scale = size / greater(high.x - low.x, high.y - low.y);
    for (int i = 0; i < 2 * d->lines; i++) {
        Point *p = line_end(d, i);
        p->x = middle.x + scale * (p->x - mass.x / total);
        p->y = middle.y + scale * (p->y - mass.y / total);
    }
}

/* ---- the ink -------------------------------------------------------------------------------- */

/* Darkens the pixels near a line. The edge of the pen falls from 1 to 0 over `soft` pixels. */
static void draw_line(double *canvas, const Line *l, double soft)
{
    double reach = l->radius + soft / 2;
    double dx = l->to.x - l->from.x, dy = l->to.y - l->from.y, square = dx * dx + dy * dy;
    int left = (int)greater(lesser(l->from.x, l->to.x) - reach, 0);
    int right = (int)lesser(greater(l->from.x, l->to.x) + reach, SIDE - 1);
    int top = (int)greater(lesser(l->from.y, l->to.y) - reach, 0);
    int bottom = (int)lesser(greater(l->from.y, l->to.y) + reach, SIDE - 1);
    for (int y = top; y <= bottom; y++) {
        for (int x = left; x <= right; x++) {
            Point p = { x, y };
            /* the nearest point's place on the line, times length² */
            double along = (p.x - l->from.x) * dx + (p.y - l->from.y) * dy;
            double t = 0;
            if (along > 0) t = along >= square ? 1 : along / square;
            double ink = (reach - length(p, between(l->from, l->to, t))) / soft;
            double *pixel = &canvas[y * SIDE + x];
            *pixel = greater(*pixel, lesser(ink, 1));
        }
    }
}

/* The ranges were chosen by eye, and so that the pixels' mean and standard deviation are near
 * MNIST's (0.1307 and 0.3081) and an MLP 784-128-64-10 reaches about 97.4 % after two epochs of
 * 60,000. */
static void render(Rng *rng, uint8_t *image, uint8_t *label)
{
    int64_t digit = lk_random_int(rng, 0, CLASSES);
    const Glyph *glyph = &glyphs[digit];
    const Shape *shape = &glyph->shape[lk_random_int(rng, 0, glyph->shapes)];
    *label = (uint8_t)digit;

    Drawing d = { .lines = 0 };
    double jitter = uniform(rng, 0.09, 0.23);
    for (int i = 0; i < shape->strokes; i++) add_stroke(&d, &shape->stroke[i], jitter, rng);
    distort(&d, rng);
    double size = uniform(rng, 14.5, 18.5); /* the pen adds two or three pixels */
    fit(&d, size, tremble_point(rng, (Point){ (SIDE - 1) / 2.0, (SIDE - 1) / 2.0 }, 2));

    double radius = uniform(rng, 0.8, 1.75), pressure = tremble(rng, 0.5),
           soft = uniform(rng, 0.9, 1.7);
    double canvas[PIXELS] = { 0 };
    for (int i = 0; i < d.lines; i++) { /* the pen presses more, or less, towards the end */
        d.line[i].radius = radius * (1 + pressure * ((double)i / d.lines - 0.5));
        draw_line(canvas, &d.line[i], soft);
    }
    if (lk_random_int(rng, 0, 12) == 0) { /* a speck or a scratch somewhere */
        Point from = tremble_point(rng, (Point){ SIDE / 2.0, SIDE / 2.0 }, SIDE / 2.0);
        Point to = tremble_point(rng, from, 4);
        draw_line(canvas, &(Line){ from, to, uniform(rng, 0.3, 0.8) }, soft);
    }
    /* above 1: the middle of a stroke is saturated, as in MNIST */
    double strength = uniform(rng, 1.0, 1.25);
    double grain = uniform(rng, 0.0, 0.3);
    for (int i = 0; i < PIXELS; i++) {
        if (canvas[i] > 0) canvas[i] *= strength * (1 - grain * (double)lk_random_f32(rng));
        image[i] = (uint8_t)(255 * lesser(canvas[i], 1) + 0.5);
    }
}

/* ---- the dataset ---------------------------------------------------------------------------- */

/* Scatters 32 bits, one to one (the finisher of MurmurHash3). Image i is seeded by scatter(base +
 * i), so that no two of a dataset have the same generator; the bases of different seeds lie far
 * apart. */
static uint32_t scatter(uint32_t h)
{
    h = (h ^ h >> 16) * 0x85ebca6bu;
    h = (h ^ h >> 13) * 0xc2b2ae35u;
    return h ^ h >> 16;
}

Dataset *lk_rendered_digits_new(int64_t count, uint64_t seed, Transform transform, Error *err)
{
    if (count < 0 || count > UINT32_MAX) {
        lk_error_set(err, LK_EVALUE,
                     "lk_rendered_digits_new: %lld digits; 0 to 4294967295 are possible",
                     (long long)count);
        return NULL;
    }
    Tensor *x = lk_tensor_new(LK_U8, LK_SHAPE(count, SIDE, SIDE), err);
    Tensor *y = lk_tensor_new(LK_U8, LK_SHAPE(count), err);
    if (x && y) {
        uint8_t *images = x->data, *labels = y->data;
        uint32_t base = scatter((uint32_t)seed ^ scatter((uint32_t)(seed >> 32)));
#pragma omp parallel for schedule(static)
        for (int64_t i = 0; i < count; i++) {
            Rng rng;
            lk_manual_seed(&rng, scatter(base + (uint32_t)i));
            render(&rng, images + i * PIXELS, labels + i);
        }
    }
    return lk_dataset_new(x, y, transform, err); /* takes both, NULL too */
}
