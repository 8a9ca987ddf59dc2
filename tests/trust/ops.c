/* ops.c - the class "ops" of tests/trust.sh: every row of the gradient table
 * (examples/own/gradients/), and of ops_exact.h for operations without a gradient, with inputs
 * that the table does not have.
 *
 *     trust_ops EVERY FIRST      each EVERY-th sample from FIRST on
 *
 * A sample is a case of the table, changed in one way (ops_samples.h), in one dtype and
 * instruction set. The same numbers, which float32 holds exactly, go through the portable set in
 * float64 first: the reference. Then
 *   - results and gradients differ from the reference no more than rounding explains. To know how
 *     much that is, the reference is computed again with inputs and dy moved by half a unit in the
 *     last place of float32. The largest change, and the rounding of the largest number itself,
 *     times ROUNDINGS, is the bound; for float64 it is 2^29 times smaller;
 *   - in float64, the gradient in a random direction is the central difference, up to 1e-7 of the
 *     largest;
 *   - a dy with strides, and other frozen inputs, change nothing;
 *   - an input given twice gets both gradients;
 *   - any number of threads gives the same bits, and the third run allocates nothing.
 * A changed case may be refused (its sizes do not fit any more), by all sets alike. */
#include <float.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/kernels/for_tests.h"
#include "examples/own/gradient_table.h"
#include "tests/trust/ops_exact.h"
#include "tests/trust/ops_samples.h"

#define FAMILY(name) &gradient_##name,
static const GradientFamily *const families[] = { GRADIENT_FAMILIES(FAMILY) & exact_family };
enum { FAMILIES = sizeof families / sizeof *families };

enum { ROUNDINGS = 32 };

/* ---- comparing ------------------------------------------------------------------------------ */

static bool all_finite(const Tensor *x)
{
    for (int64_t i = 0; x && i < lk_numel(x); i++)
        if (!(fabs(value_at(x, i)) < 1e36)) return false;
    return true;
}

static double difference(const Tensor *x, const Tensor *y)
{
    double most = 0;
    if (!x || !y) return x == y ? 0 : INFINITY;
    if (!lk_same_shape(x, y)) return INFINITY;
    for (int64_t i = 0; i < lk_numel(x); i++) {
        const double d = fabs(value_at(x, i) - value_at(y, i));
        if (!(d <= most)) most = isnan(d) ? INFINITY : d;
    }
    return most;
}

static bool same_bits(const Tensor *x, const Tensor *y)
{
    if (!x || !y) return x == y;
    return lk_same_shape(x, y) && x->dtype == y->dtype &&
           (lk_numel(x) == 0 ||
            memcmp(x->data, y->data, (size_t)lk_numel(x) * lk_dtype_size(x->dtype)) == 0);
}

/* ---- the checks of a sample ----------------------------------------------------------------- */

static int passed, failed, refused, unbounded;
static const char *set_name, *dtype_name;

static void fail(const Sample *s, const char *format, ...) LK_PRINTF(2, 3);
static void fail(const Sample *s, const char *format, ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    printf("FAILED - %s(%s), %s, %s, %s: %s\n", s->row->op, s->text, s->how, dtype_name, set_name,
           text);
    failed++;
}

/* The bounds of the result and of each gradient, for float32. */
typedef struct Bounds {
    Outcome reference;
    double y, grad[MAX_INPUTS];
    bool finite;
} Bounds;

static void widen(double *bound, const Tensor *moved, const Tensor *reference)
{
    *bound = fmax(*bound, difference(moved, reference));
}

/* Computes the reference. False: the sample is refused. */
static bool make_bounds(Tape *t, const Sample *s, const Inputs *in, Bounds *b)
{
    const unsigned all = (1u << s->leaves) - 1;
    *b = (Bounds){ .y = 0 };
    if (!run(t, s, in, all, 0, &b->reference)) return false;
    b->finite = all_finite(b->reference.y);
    for (int i = 0; i < s->leaves; i++) b->finite = b->finite && all_finite(b->reference.grad[i]);
    if (!b->finite) return true;
    for (int times = 0; times < 3; times++) {
        Inputs moved = make_inputs(s, LK_F64);
        for (int i = 0; i < s->leaves && s->row->domain != EXACT; i++)
            move(moved.leaf[i], s->seed + 99 + (uint64_t)(times * MAX_INPUTS + i));
        Outcome o = { .y = NULL };
        lk_tape_reset(t);
        run(t, s, &moved, all, (char)('1' + times), &o);
        widen(&b->y, o.y, b->reference.y);
        for (int i = 0; i < s->leaves; i++) widen(&b->grad[i], o.grad[i], b->reference.grad[i]);
        free_outcome(&o);
        free_inputs(&moved);
    }
    lk_tape_reset(t);
    b->y = ROUNDINGS * (b->y + FLT_EPSILON * largest(b->reference.y)) + 1e-36;
    for (int i = 0; i < s->leaves; i++)
        b->grad[i] = ROUNDINGS * (b->grad[i] + FLT_EPSILON * (largest(b->reference.grad[i]) +
                                                              b->reference.inner[i])) +
                     1e-36;
    return true;
}

/* Compares an outcome with the reference, or with another one. */
static bool compare(const Sample *s, const Bounds *b, const Outcome *o, const Outcome *with,
                    DType dtype, const char *what)
{
    const double unit = dtype == LK_F64 ? 0x1p-29 : 1;
    double d = difference(o->y, with->y);
    if (b->finite && !(d <= unit * b->y)) {
        fail(s, "%s: the result is off by %.3g, more than %.3g", what, d, unit * b->y);
        return false;
    }
    for (int i = 0; i < s->leaves; i++) {
        if (!o->grad[i]) continue;
        d = difference(o->grad[i], with->grad[i]);
        if (b->finite && !(d <= unit * b->grad[i])) {
            fail(s, "%s: the gradient of input %d is off by %.3g, more than %.3g", what, i, d,
                 unit * b->grad[i]);
            return false;
        }
    }
    return true;
}

static bool same_outcome(const Sample *s, const Outcome *a, const Outcome *b, const char *what)
{
    bool same = same_bits(a->y, b->y);
    for (int i = 0; i < s->leaves; i++) same = same && same_bits(a->grad[i], b->grad[i]);
    if (!same) fail(s, "%s: other bits", what);
    return same;
}

/* Σ v·y(x + h u), as differences from y(x - h u) per element. */
static double slope(Tape *t, const Sample *s, const Inputs *in, Tensor *const *u, double h)
{
    Tensor *y[2] = { NULL };
    for (int side = 0; side < 2; side++) {
        for (int i = 0; i < s->leaves; i++) {
            double *v = in->leaf[i]->data;
            const double *direction = u[i]->data;
            for (int64_t k = 0; k < lk_numel(in->leaf[i]); k++)
                v[k] += (side ? -2 : 1) * h * direction[k];
            lk_touch(in->leaf[i]);
        }
        lk_tape_reset(t);
        Tensor *x[MAX_INPUTS], *now = call(t, s, in, x);
        y[side] = now ? lk_clone(now, NULL) : NULL;
    }
    double sum = 0;
    Tensor *dy = y[0] ? cotangent(t, y[0], 0) : NULL;
    for (int64_t k = 0; dy && y[1] && k < lk_numel(dy); k++)
        sum += value_at(dy, k) * (value_at(y[0], k) - value_at(y[1], k));
    lk_free(y[0]);
    lk_free(y[1]);
    return sum / (2 * h);
}

/* The gradient in a random direction against the central difference of order 4. `said` tells
 * whether a difference is a failure, since x ± h may lie on both sides of a kink. */
static bool check_direction(Tape *t, const Sample *s, const Outcome *o, double h, bool said)
{
    Inputs in = make_inputs(s, LK_F64);
    Tensor *u[MAX_INPUTS] = { NULL };
    const bool exact = s->row->domain == EXACT;
    double expected = 0, most = 0, count = 0;
    Rng rng;
    lk_manual_seed(&rng, s->seed + 55);
    for (int i = 0; i < s->leaves; i++) {
        u[i] = lk_tensor_new(LK_F64, in.leaf[i]->ndim, in.leaf[i]->shape, NULL);
        lk_uniform_(u[i], -1, 1, &rng);
        double *direction = u[i]->data;
        for (int64_t k = 0; k < lk_numel(u[i]); k++) {
            if (exact) direction[k] = direction[k] < 0 ? -1 : 1;
            if (o->grad[i]) expected += direction[k] * value_at(o->grad[i], k);
        }
        most = fmax(most, largest(o->grad[i]));
        count += (double)lk_numel(u[i]);
    }
    if (exact) h = 0.125;
    lk_tape_set_grad(t, false);
    const double one = slope(t, s, &in, u, h);
    free_inputs(&in);
    in = make_inputs(s, LK_F64);
    const double two = exact ? one : slope(t, s, &in, u, 2 * h), got = (4 * one - two) / 3;
    lk_tape_set_grad(t, true);
    lk_tape_reset(t);
    free_inputs(&in);
    for (int i = 0; i < s->leaves; i++) lk_free(u[i]);
    /* a sum of many elements is itself rounded */
    const double rounding = DBL_EPSILON * largest(o->y) / h;
    if (fabs(got - expected) <= (1e-7 * most + rounding) * sqrt(count) + 1e-10) return true;
    if (said)
        fail(s, "in a random direction the gradient is %.9g, the difference %.9g", expected, got);
    return false;
}

/* The first two inputs of one shape as one tensor: it gets both gradients. */
static bool check_twice(Tape *t, const Sample *s, const Inputs *in, const Bounds *b)
{
    int i = 0, j = 1;
    for (; i < s->leaves; i++) {
        for (j = i + 1; j < s->leaves && !lk_same_shape(in->leaf[i], in->leaf[j]);) j++;
        if (j < s->leaves) break;
    }
    if (i >= s->leaves || !b->finite || s->leaf[i].form != s->leaf[j].form) return true;
    Inputs two = *in, one = *in;
    Outcome apart = { .y = NULL }, joined = { .y = NULL };
    const unsigned all = (1u << s->leaves) - 1;
    two.leaf[j] = lk_clone(in->leaf[i], NULL);
    one.leaf[j] = in->leaf[i];
    bool ok = run(t, s, &two, all, 0, &apart) && run(t, s, &one, all, 0, &joined);
    if (ok) {
        double d = difference(apart.y, joined.y), most = largest(apart.y), sum = 0;
        const double unit = in->dtype == LK_F64 ? DBL_EPSILON : (double)FLT_EPSILON;
        if (!(d <= ROUNDINGS * unit * most))
            fail(s, "one tensor twice: another result"), ok = false;
        d = most = 0;
        for (int64_t k = 0; ok && joined.grad[i] && k < lk_numel(joined.grad[i]); k++) {
            sum = value_at(apart.grad[i], k) + value_at(apart.grad[j], k);
            d = fmax(d, fabs(sum - value_at(joined.grad[i], k)));
            most = fmax(most,
                        fmax(fabs(value_at(apart.grad[i], k)), fabs(value_at(apart.grad[j], k))));
        }
        const double scale = in->dtype == LK_F64 ? 0x1p-29 : 1;
        if (ok && isfinite(most) &&
            !(d <= fmax(ROUNDINGS * unit * most, scale * (b->grad[i] + b->grad[j]))))
            fail(s, "one tensor twice: the gradient is off by %.3g of %.3g", d, most), ok = false;
    } else if (lk_tape_error(t)->code) {
        fail(s, "one tensor twice: %s", lk_tape_error(t)->message);
    }
    free_outcome(&apart);
    free_outcome(&joined);
    lk_free(two.leaf[j]);
    return ok;
}

static bool check_threads(Tape *t, const Sample *s, const Inputs *in, const Outcome *first,
                          bool all_counts)
{
    static const int counts[] = { 3, 2, 4, 8, 16 };
    bool ok = true;
    for (int k = 0; ok && k < (all_counts ? 5 : 1); k++) {
        Outcome o = { .y = NULL };
        char what[32];
        snprintf(what, sizeof what, "%d threads", counts[k]);
        lk_set_num_threads(counts[k]);
        lk_tape_reset(t);
        run(t, s, in, (1u << s->leaves) - 1, 0, &o);
        ok = same_outcome(s, first, &o, what);
        free_outcome(&o);
    }
    lk_set_num_threads(1);
    return ok;
}

static bool has_gradient(const Outcome *o)
{
    for (int i = 0; i < MAX_INPUTS; i++)
        if (o->grad[i]) return true;
    return false;
}

/* A sample in one dtype and set. */
static bool check_one(Tape *t, const Sample *s, const Bounds *b, DType dtype)
{
    const unsigned all = (1u << s->leaves) - 1;
    Inputs in = make_inputs(s, dtype);
    Outcome first = { .y = NULL }, o = { .y = NULL }, plain = { .y = NULL };
    bool ok = run(t, s, &in, all, 0, &first);
    if (!ok) fail(s, "refused: %s", lk_tape_error(t)->message);
    ok = ok && compare(s, b, &first, &b->reference, dtype, "reference");
    /* the second run finds all memory there */
    lk_tape_reset(t);
    if (ok) run(t, s, &in, all, 0, NULL);
    lk_tape_reset(t);
    const int64_t before = allocations;
    if (ok) run(t, s, &in, all, 0, NULL);
    if (ok && allocations != before && !refusals) {
        fail(s, "%lld allocations in the third run", (long long)(allocations - before));
        ok = false;
    }
    for (const char *form = "tse"; ok && *form; form++) {
        lk_tape_reset(t);
        ok = run(t, s, &in, all, *form, &o) &&
             run(t, s, &in, all, *form == 'e' ? 'r' : 0, &plain) &&
             compare(s, b, &o, &plain, dtype, "dy with strides");
        free_outcome(&o);
        free_outcome(&plain);
    }
    for (int i = 0; ok && s->leaves > 1 && i < s->leaves; i++) {
        lk_tape_reset(t);
        ok = run(t, s, &in, i % 2 ? 1u << i : all & ~(1u << i), 0, &o) &&
             compare(s, b, &o, &first, dtype, "others frozen");
        free_outcome(&o);
    }
    lk_tape_reset(t);
    ok = ok && check_twice(t, s, &in, b);
    lk_tape_reset(t);
    if (ok) ok = check_threads(t, s, &in, &first, largest_input(s) > 1000);
    lk_tape_reset(t);
    if (ok && has_gradient(&first) && dtype == LK_F64 && b->finite && s->magnitude == 1 &&
        largest_input(s) < 20000)
        ok = check_direction(t, s, &first, 1e-5, false) ||
             check_direction(t, s, &first, 2e-6, false) ||
             check_direction(t, s, &first, 4e-7, true);
    free_outcome(&first);
    free_inputs(&in);
    lk_tape_reset(t);
    lk_tape_clear_error(t);
    return ok;
}

static void run_sample(const Sample *s)
{
    Tape *t = lk_tape_quiet_new(NULL);
    Bounds b;
    refusals = 0;
    lk__kernels_use(LK_PORTABLE);
    set_name = lk_kernels(NULL);
    dtype_name = "float64";
    Inputs in = make_inputs(s, LK_F64);
    if (make_bounds(t, s, &in, &b)) {
        unbounded += !b.finite;
        for (int set = LK_PORTABLE; set < LK_KERNEL_SETS; set++) {
            if (!lk__kernels_use((KernelSet)set)) continue;
            set_name = lk_kernels(NULL);
            for (DType d = LK_F32; d <= LK_F64; d++) {
                dtype_name = lk_dtype_name(d);
                passed += check_one(t, s, &b, d);
            }
        }
    } else if (strcmp(s->how, change_names[UNCHANGED]) == 0 || !lk_tape_error(t)->code) {
        fail(s, "refused: %s", lk_tape_error(t)->message);
    } else {
        refused++;
    }
    free_outcome(&b.reference);
    free_inputs(&in);
    lk_tape_free(t);
}

/* All changes of a case, and each of its sizes once where a size changes. */
static void run_case(const GradientRow *row, const char *text, int number, int every, int first)
{
    static int drawn;
    const Sample plain = read_case(row, text);
    int64_t sizes[MAX_INPUTS * LK_MAX_DIMS + 1] = { 0 };
    int count = 0;
    for (int i = 0; i < plain.leaves; i++)
        for (int d = 0; d < plain.leaf[i].ndim; d++) {
            int k = 0;
            while (k < count && sizes[k] != plain.leaf[i].shape[d]) k++;
            if (k == count) sizes[count++] = plain.leaf[i].shape[d];
        }
    for (int c = UNCHANGED; c < CHANGES; c++) {
        const bool sized = c >= LONG && c <= NONE;
        for (int k = 0; k < (sized ? count : 1); k++) {
            Sample s = plain;
            s.seed = (uint64_t)(number * 1000 + c * 50 + k);
            if (!change(&s, (Change)c, sizes[k]) || takes_too_long(&s)) continue;
            if (drawn++ % every == first) run_sample(&s);
        }
    }
}

/* Every operation without a gradient has a row here, or makes tensors. */
static void check_exempt(void)
{
    for (const char *const *op = gradient_exempt; *op; op++) {
        bool has = false;
        for (int r = 0; r < exact_family.count; r++)
            has = has || strcmp(exact_rows[r].op, *op) == 0;
        for (size_t k = 0; k < sizeof makers / sizeof *makers; k++)
            has = has || strcmp(makers[k], *op) == 0;
        if (has) continue;
        printf("FAILED - %s has no row in tests/trust/ops_exact.h\n", *op);
        failed++;
    }
}

int main(int argc, char **argv)
{
    const int every = argc > 1 ? atoi(argv[1]) : 1, first = argc > 2 ? atoi(argv[2]) : 0;
    int number = 0;
    if (every < 1) return 2;
    setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
    lk_set_allocator(counting_alloc, counting_free);
    lk_set_num_threads(1);
    check_exempt();
    for (int f = 0; f < FAMILIES; f++)
        for (int r = 0; r < families[f]->count; r++) {
            const GradientRow *row = &families[f]->rows[r];
            for (int c = 0; c < MAX_CASES && row->cases[c]; c++)
                run_case(row, row->cases[c], number++, every, first);
        }
    if (live != 0) {
        printf("FAILED - %lld blocks are left at the end\n", (long long)live);
        failed++;
    }
    printf("%d changed cases were refused, %d have no finite reference\n", refused, unbounded);
    printf("tally: %d passed, %d failed\n", passed, failed);
    return failed > 0;
}
