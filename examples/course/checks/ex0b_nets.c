/* ex0b_nets.c - the checks of ex0b about two_nets_new: two nets with one Linear. */
#include <stdio.h>
#include <string.h>

#include "core/strict.h"
#include "examples/course/checks/ex0b.h"
#include "nn/linear.h"
#include "nn/sequential.h"

enum { IN = 8, OUT = 4 };
static const char nets_call[] = "two_nets_new(linear, &plain, &bent, err)";

/* Two nets around one Linear, and where the second was made. */
typedef struct Nets {
    Module *linear, *plain, *bent;
    long at;
} Nets;

static Nets make_nets(Exam *e)
{
    Nets n = { .linear = lk_linear_new(IN, OUT, true, &e->own_rng, &e->err), .at = -1 };
    if (!n.linear) exam_fail(e, VERDICT_FAILED, "%s", e->err.message);
    bool ok = CALL(e, two_nets_new, n.linear, &n.plain, &n.bent, &e->err);
    n.at = blocks_place(n.bent);
    if (!e->failed && !(ok && n.plain && n.bent))
        exam_fail(e, VERDICT_FAILED, "%s returned %s%s%s", nets_call, ok ? "true" : "false",
                  e->err.code ? ": " : ", without a message", e->err.message);
    return n;
}

static void name_too_few(Exam *e, long at)
{
    if (e->verdict.at < 0) e->verdict.at = at;
    exam_looks_like(e, "an owner too few",
                    "Two nets give back linear, and it came with one reference: lk_retain it "
                    "once. Do not lk_free what a constructor consumed.");
}

/* "Linear, ReLU": the classes of a Sequential's modules. Makes no block. */
enum { CLASSES = 200 };
static const char *classes(const Module *net, char text[CLASSES])
{
    size_t length = 0;
    text[0] = '\0';
    for (ChildIter it = lk_children(net); lk_children_next(&it) && length < CLASSES / 2;)
        length += (size_t)snprintf(text + length, CLASSES - length, "%s%.60s", length ? ", " : "",
                                   it.module->type->name);
    return text;
}

static void expect_shared(Exam *e, const Nets *n)
{
    if (e->failed) return;
    char texts[2][CLASSES];
    const char *plain = classes(n->plain, texts[0]), *bent = classes(n->bent, texts[1]);
    if (strcmp(plain, "Linear") != 0 || strcmp(bent, "Linear, ReLU") != 0) {
        exam_fail(e, VERDICT_STRUCTURE,
                  "plain is Sequential(%s) and bent Sequential(%s), expected Sequential(Linear) "
                  "and Sequential(Linear, ReLU)",
                  plain, bent);
        if (!strcmp(bent, "Linear") && !strcmp(plain, "Linear, ReLU"))
            exam_looks_like(e, "plain and bent exchanged", "bent is the one with the ReLU.");
        if (!strcmp(bent, "ReLU, Linear"))
            exam_looks_like(e, "the ReLU before the Linear",
                            "LK_MODULES(linear, relu): the modules in the order of their calls.");
        return;
    }
    Module *first = lk_sequential_at(n->plain, 0, NULL);
    if (first == lk_sequential_at(n->bent, 0, NULL) && first == n->linear) return;
    exam_fail(e, VERDICT_VALUE, "plain[0] and bent[0] are not both the Linear that was given");
    exam_looks_like(e, "a copy instead of the same Linear",
                    "A copy has weights of its own. lk_retain shares the module itself.");
}

static void nets_share(Exam *e)
{
    blocks_begin();
    Nets n = make_nets(e);
    blocks_end();
    expect_shared(e, &n);
    bool whole = !e->failed;
    lk_free(n.plain);
    lk_free(n.bent);
    if (e->failed && whole) name_too_few(e, n.at);
}

void ex0b_both_nets_may_be_freed(Exam *e) { ex0b_run_with(e, true, nets_share); }

static void count_nets(Exam *e)
{
    blocks_begin();
    Nets n = make_nets(e);
    expect_shared(e, &n);
    if (!e->failed && n.linear->refs < 2) { /* freeing both would do damage here */
        exam_fail(e, VERDICT_MEMORY, "linear has %d owner, and two nets hold it", n.linear->refs);
        name_too_few(e, n.at);
        lk_free(lk_sequential_at(n.plain, 1, NULL));
    } else {
        lk_free(n.plain);
        lk_free(n.bent);
    }
    Blocks b = blocks_end();
    ex0b_expect_no_blocks(e, nets_call, b);
    if (e->verdict.kind == VERDICT_LEAK) {
        e->verdict.at = n.at;
        exam_looks_like(e, "an owner too many",
                        "linear comes with one reference, which one of the nets takes over: "
                        "retain it for the other only.");
    }
}

void ex0b_linear_goes_with_the_last(Exam *e) { ex0b_run_with(e, false, count_nets); }

static const char no_memory[] = "two_nets_new, when memory for an object is missing,";

/* Makes the nets while one block, after `after` others, cannot be made; returns whether it was
 * asked for. In strict mode the Linear has no other owner, so that a use after a constructor has
 * failed is reported; without it one more, which counts. */
static bool try_nets(Exam *e, int after)
{
    bool counts = !lk_strict();
    Nets n = { .linear = lk_linear_new(IN, OUT, true, &e->own_rng, NULL) };
    if (!n.linear) return exam_fail(e, VERDICT_FAILED, "the checks have no memory");
    if (counts) lk_retain(n.linear);
    Error err = { 0 };
    blocks_begin_failing(after);
    bool ok = CALL(e, two_nets_new, n.linear, &n.plain, &n.bent, &err);
    bool missing = blocks_end_failing();
    exam_expect(e, ok || err.code != LK_OK, VERDICT_FAILED, "%s gives no message", no_memory);
    exam_expect(e, ok || (!n.plain && !n.bent), VERDICT_VALUE, "%s leaves a net in plain or bent",
                no_memory);
    lk_free(n.plain);
    lk_free(n.bent);
    Blocks b = blocks_end();
    if (!counts) return missing;
    exam_expect(e, n.linear->refs == 1 && b.left == 0, VERDICT_LEAK,
                "%s does not free the Linear or a net", no_memory);
    exam_looks_like(e, "leak when a net cannot be made",
                    "Call both constructors in any case: each of them frees what it was given.");
    lk_free(n.linear);
    return missing;
}

static void miss_each_block(Exam *e)
{
    enum { BLOCKS = 100 }; /* more than two nets need */
    for (int i = 0; i < BLOCKS && !e->failed; i++)
        if (!try_nets(e, i)) break;
    if (ex0b_begins(e->verdict.text, "lk_retain"))
        exam_looks_like(e, "retained too late",
                        "A constructor that fails frees what it was given. So call lk_retain "
                        "before the first of them.");
    if (ex0b_begins(e->verdict.text, "lk_free"))
        exam_looks_like(e, "freed by hand after a failure",
                        "A constructor that fails has freed what it was given.");
}

void ex0b_failing_nets_leave_nothing(Exam *e)
{
    ex0b_run_with(e, true, miss_each_block);
    if (!e->failed) ex0b_run_with(e, false, miss_each_block);
}
