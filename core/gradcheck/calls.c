/* calls.c - is f a function of its inputs? A call must leave the inputs as they were. It must give
 * the same as another call, also when new memory holds other values. */
#include "core/decimal.h"
#include "core/gradcheck/parts.h"

/* Returns the first difference between c->first and c->again, with its place as text. */
static Difference compare(const Check *c, char place[200])
{
    char name[96], index[LK_SHAPE_TEXT];
    Difference d = lk__check_compare(c, &c->first, &c->again, 0, 0);
    double a = lk__check_shown(d.a), b = lk__check_shown(d.b);
    int64_t k = d.at;
    int i = 0;
    if (d.of == RESULT) {
        while (k >= lk_numel(&c->shapes[i])) k -= lk_numel(&c->shapes[i++]);
        lk__check_index(&c->shapes[i], k, index);
        lk_snprintf(place, 200, "%.60s: %g, then %g", index, a, b);
    } else if (d.of == GRADIENT) {
        while (!lk__check_is_on(c, i) || k >= lk__check_offset(c, i) + lk_numel(c->in[i])) i++;
        lk__check_index(c->in[i], k - lk__check_offset(c, i), index);
        lk__check_name(c, i, name);
        lk_snprintf(place, 200, "%.60s at %.60s: %g, then %g", name, index, a, b);
    }
    return d;
}

void lk__check_writing(Check *c)
{
    char name[96];
    lk__check_begin(c, true, POISON);
    bool ok = lk__check_call(c, c->in, NULL);
    int written = lk__check_restore(c);
    if (written >= 0)
        lk__check_found(
            c, "input written",
            "the forward writes to %s; it must write to a result (lk_empty) or a copy (lk_clone)",
            lk__check_name(c, written, name));
    if (!ok || written >= 0) return;
    ok = lk__check_backward(c, c->in, c->v[0], c->first.gradient[0]);
    const Error *err = lk_tape_error(c->t);
    if (!ok && !c->stopped) lk__check_stop(c, "function", "%s", err->message);
    written = lk__check_restore(c);
    if (written < 0) return;
    lk__check_adding(c); /* says which operation's backward it was */
    if (!c->report->mistake)
        lk__check_found(c, "input written", "a backward writes to %s",
                        lk__check_name(c, written, name));
}

/* Makes one more call like the first one. A dropout mask of few elements can be the same twice by
 * chance, so it also compares the seed of the tape's stream, which shows that f sets a new one. */
static void call_again(Check *c)
{
    char place[200];
    uint64_t seed = lk_tape_random(c->t).seed;
    lk__check_begin(c, true, POISON);
    if (!lk__check_record(c, c->in, &c->again, NULL)) return;
    TapeRandom random = lk_tape_random(c->t);
    Difference d = compare(c, place);
    if (random.seed != seed && random.calls > 0)
        lk__check_found(c, "changes",
                        "the result changes from call to call: lk_tape_seed gets another seed in "
                        "each call; give it the same");
    else if (d.of == RESULT)
        lk__check_found(c, "changes",
                        "the result changes from call to call, at %s. The tape's stream begins "
                        "anew in each call; an Rng needs lk_manual_seed in f",
                        place);
    else if (d.of == GRADIENT)
        lk__check_found(
            c, "changes",
            "equal results have different gradients, of %s. A backward draws, or keeps state",
            place);
}

void lk__check_changes(Check *c)
{
    lk__check_begin(c, true, POISON);
    if (lk__check_record(c, c->in, &c->first, NULL)) call_again(c);
}

/* Compares with a call whose new memory holds other bytes. When there is a difference, it first
 * rules out chance: calls with the same bytes must not differ. */
void lk__check_unwritten(Check *c)
{
    enum { TRIALS = 4 };
    char place[200];
    lk__check_begin(c, true, OTHER_POISON);
    if (!lk__check_record(c, c->in, &c->again, NULL)) return;
    Difference d = compare(c, place);
    for (int i = 0; d.of != NOTHING && i < TRIALS; i++) {
        call_again(c);
        if (c->stopped || c->report->mistake) return;
    }
    if (d.of != NOTHING)
        lk__check_found(
            c, "unwritten",
            "the %s reads memory before it wrote it: with other bytes there, %s changes",
            d.of == RESULT ? "forward" : "backward", place);
}
