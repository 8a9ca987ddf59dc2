/* singular.c - one-sided Jacobi (Hestenes 1958), twice.
 *
 * With the rows x of Bᵀ and y of A, B A = Σ xₖ yₖᵀ. The sum stays the same when two x and the two
 * y are turned by the same angle. So first the x are turned until they are orthogonal, and their
 * lengths move to the y; then the y are turned until they are, which leaves the x orthogonal. */
#include "examples/playground/singular.h"

#include <math.h>

#include "core/memory.h"

enum { SWEEPS_MAX = 60 };

typedef struct Rows { /* `rank` vectors of n numbers */
    int64_t rank, n;
    double *x;
} Rows;

static double *row(Rows r, int64_t i) { return r.x + i * r.n; }

static double dot(const double *a, const double *b, int64_t n)
{
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

/* Turns rows i and j: (cos a - sin b, sin a + cos b). */
static void turn(Rows r, int64_t i, int64_t j, double cosine, double sine)
{
    double *a = row(r, i), *b = row(r, j);
    for (int64_t k = 0; k < r.n; k++) {
        const double x = a[k], y = b[k];
        a[k] = cosine * x - sine * y;
        b[k] = sine * x + cosine * y;
    }
}

/* Turns pairs of rows of x until all are orthogonal, and the rows of y by the same angles. */
static void orthogonalize(Rows x, Rows y)
{
    bool turned = true;
    for (int sweep = 0; turned && sweep < SWEEPS_MAX; sweep++) {
        turned = false;
        for (int64_t i = 0; i < x.rank; i++)
            for (int64_t j = i + 1; j < x.rank; j++) {
                const double a = dot(row(x, i), row(x, i), x.n);
                const double b = dot(row(x, j), row(x, j), x.n);
                const double c = dot(row(x, i), row(x, j), x.n);
                if (fabs(c) <= 1e-14 * sqrt(a * b)) continue;
                const double zeta = (b - a) / (2.0 * c);
                const double tangent =
                    copysign(1.0, zeta) / (fabs(zeta) + sqrt(1.0 + zeta * zeta));
                const double cosine = 1.0 / sqrt(1.0 + tangent * tangent);
                turn(x, i, j, cosine, cosine * tangent);
                turn(y, i, j, cosine, cosine * tangent);
                turned = true;
            }
    }
}

/* Moves the lengths of the rows of x to the rows of y. A row that is nothing beside the longest
 * one becomes zeros. */
static void move_lengths(Rows x, Rows y)
{
    double longest = 0.0;
    for (int64_t i = 0; i < x.rank; i++)
        longest = fmax(longest, sqrt(dot(row(x, i), row(x, i), x.n)));
    for (int64_t i = 0; i < x.rank; i++) {
        const double length = sqrt(dot(row(x, i), row(x, i), x.n));
        const bool nothing = length <= 1e-12 * longest;
        for (int64_t k = 0; k < x.n; k++) row(x, i)[k] = nothing ? 0.0 : row(x, i)[k] / length;
        for (int64_t k = 0; k < y.n; k++) row(y, i)[k] *= nothing ? 0.0 : length;
    }
}

/* Returns 1, or -1 if the largest number of the row is negative. */
static double sign_of_largest(const double *x, int64_t n)
{
    double largest = 0.0;
    for (int64_t i = 0; i < n; i++)
        if (fabs(x[i]) > fabs(largest)) largest = x[i];
    return largest < 0.0 ? -1.0 : 1.0;
}

/* Finds the longest row that has not been taken yet, and takes it. */
static int64_t take_longest(double *lengths, int64_t count, double *length)
{
    int64_t longest = 0;
    for (int64_t i = 1; i < count; i++)
        if (lengths[i] > lengths[longest]) longest = i;
    *length = lengths[longest];
    lengths[longest] = -1.0;
    return longest;
}

bool singular_of_product(int64_t out, int64_t in, int64_t rank, const float *B, const float *A,
                         double scale, float *values, float *left, float *right, Error *err)
{
    double *room = lk_mem_alloc((size_t)(rank * (out + in + 1)) * sizeof *room);
    if (!room) return lk_error_set(err, LK_EMEMORY, "singular_of_product: no memory");
    const Rows x = { rank, out, room }, y = { rank, in, room + rank * out };
    double *lengths = room + rank * (out + in);
    for (int64_t k = 0; k < rank; k++) {
        for (int64_t i = 0; i < out; i++) row(x, k)[i] = (double)B[i * rank + k];
        for (int64_t i = 0; i < in; i++) row(y, k)[i] = (double)A[k * in + i] * scale;
    }
    orthogonalize(x, y);
    move_lengths(x, y);
    orthogonalize(y, x);
    for (int64_t k = 0; k < rank; k++) lengths[k] = sqrt(dot(row(y, k), row(y, k), in));
    for (int64_t k = 0; k < rank; k++) {
        double length;
        const int64_t from = take_longest(lengths, rank, &length);
        const double sign = sign_of_largest(row(y, from), in);
        values[k] = (float)length;
        for (int64_t i = 0; i < out; i++) left[k * out + i] = (float)(row(x, from)[i] * sign);
        for (int64_t i = 0; i < in; i++)
            right[k * in + i] = length > 0.0 ? (float)(row(y, from)[i] / length * sign) : 0.0f;
    }
    lk_mem_free(room);
    return true;
}
