/* test_tape_print.c - the tape as text and as a drawing, byte for byte, and the life of names and
 * gradients that are kept for it. Places of modules: tests/nn/test_tape_places.c. */
#include "core/tape_print.h"

#include <stdlib.h>
#include <string.h>

#include "core/ops.h"
#include "core/op.h"
#include "tests/shared/tape_text.h"

/* a b + c, whose tensors have names, in the order of e, d. */
typedef struct Expression {
    Tape *t;
    Tensor *a, *b, *c, *e, *d;
} Expression;

static Tensor *named_param(Tape *t, const char *name, double value)
{
    Tensor *x = lk_param_new(LK_F32, LK_SCALAR, NULL);
    check(x && lk_fill_(x, value));
    return lk_tape_name(t, x, name);
}

static Expression expression(bool annotated)
{
    Tape *t = quiet_tape();
    check(!lk_tape_annotate(t, annotated));
    Expression x = {
        t, named_param(t, "a", 2), named_param(t, "b", -3), named_param(t, "c", 10), NULL, NULL
    };
    x.e = lk_tape_name(t, lk_mul(t, x.a, x.b), "e");
    x.d = lk_tape_name(t, lk_add(t, x.e, x.c), "d");
    check(x.d);
    return x;
}

static void expression_free(Expression x)
{
    lk_free(x.a);
    lk_free(x.b);
    lk_free(x.c);
    lk_tape_free(x.t);
}

/* ---- text ----------------------------------------------------------------------------------- */

/* The example of core/tape_print.h. */
Test(tape_print, the_example_of_the_header)
{
    Expression x = expression(true);
    check(lk_backward_with(x.t, x.d, NULL, true));
    check_tape(x.t, "tape: 2 records, 3 leaves, 0 bytes saved for backward\n"
                    "\n"
                    "leaf  kind       shape  dtype\n"
                    "a     parameter  ()     float32\n"
                    "    data 2.              grad -3.\n"
                    "b     parameter  ()     float32\n"
                    "    data -3.             grad 2.\n"
                    "c     parameter  ()     float32\n"
                    "    data 10.             grad 1.\n"
                    "\n"
                    "#  result  operation     inputs  shape  dtype    saved\n"
                    "1  e       MulBackward0  a, b    ()     float32      0\n"
                    "    data -6.             grad 1.\n"
                    "2  d       AddBackward0  e, c    ()     float32      0\n"
                    "    data 4.              grad 1.\n");
    expression_free(x);
}

Test(tape_print, before_backward_there_is_no_gradient)
{
    Expression x = expression(false);
    check_tape(x.t, "tape: 2 records, 3 leaves, 0 bytes saved for backward\n"
                    "\n"
                    "leaf  kind       shape  dtype\n"
                    "a     parameter  ()     float32\n"
                    "    data 2.\n"
                    "b     parameter  ()     float32\n"
                    "    data -3.\n"
                    "c     parameter  ()     float32\n"
                    "    data 10.\n"
                    "\n"
                    "#  result  operation     inputs  shape  dtype    saved\n"
                    "1  e       MulBackward0  a, b    ()     float32      0\n"
                    "    data -6.\n"
                    "2  d       AddBackward0  e, c    ()     float32      0\n"
                    "    data 4.\n");
    expression_free(x);
}

/* The records are there after a backward. The text tells how one sees more. */
Test(tape_print, after_backward_records_are_used_up)
{
    Expression x = expression(false);
    check(lk_backward(x.t, x.d));
    check_tape_begins(
        x.t, "tape: 2 records, 3 leaves, 0 bytes saved for backward\n"
             "Backward used up 2 records; lk_backward_with(t, y, NULL, true) keeps them.\n"
             "Gradients of results are gone; lk_tape_annotate(t, true) before backward "
             "keeps them.\n"
             "\n"
             "leaf  kind       shape  dtype\n"
             "a     parameter  ()     float32\n"
             "    data 2.              grad -3.\n");
    check(!lk_backward(x.t, x.d));
    expression_free(x);
    x = expression(true);
    check(lk_backward(x.t, x.d));
    check_tape_begins(
        x.t, "tape: 2 records, 3 leaves, 0 bytes saved for backward\n"
             "Backward used up 2 records; lk_backward_with(t, y, NULL, true) keeps them.\n"
             "\n"
             "leaf  kind");
    expression_free(x);
}

/* An operation of one's own; leaves of all kinds; a matrix; a tensor too large for its values. */
static void twice_backward(Tape *t, Node *n)
{
    Tensor *dx = lk_grad_in(t, n, 0);
    for (int i = 0; dx && i < 2; i++) lk_accumulate(t, dx, n->grad);
}
static const Op TWICE = { "TwiceBackward", twice_backward, { LK_OUT } };

static Tensor *twice(Tape *t, Tensor *x)
{
    if (!lk_check_floating(t, "twice", 1, &x)) return NULL;
    Tensor *y = lk_empty(t, x->dtype, x->ndim, x->shape);
    if (!y) return NULL;
    for (int64_t i = 0; i < lk_numel(x); i++) ((double *)y->data)[i] = 2 * ((double *)x->data)[i];
    return lk_record(t, &TWICE, y, LK_INPUTS(x, NULL), NULL, 0);
}

Test(tape_print, kinds_values_and_own_operations)
{
    Tape *t = quiet_tape();
    lk_tape_annotate(t, true);
    Tensor *x = make_param(LK_F64, LK_SHAPE(2, 2), 1, 2.5, -3, 4);
    Tensor *W = lk_param_new(LK_F64, LK_SHAPE(2, 20), NULL);
    check(lk_set_requires_grad(W, false));
    lk_tape_name(t, W, "W");
    Tensor *mask = lk_zeros(t, LK_BOOL, LK_SHAPE(20));
    Tensor *y = lk_masked_fill(t, lk_matmul(t, twice(t, x), W), mask, 0);
    check(lk_backward_with(t, lk_sum(t, y, LK_ALL, false), NULL, true));
    check_tape(t, "tape: 4 records, 3 leaves, 52 bytes saved for backward\n"
                  "\n"
                  "leaf   kind      shape    dtype\n"
                  "leaf1  leaf      (2, 2)   float64\n"
                  "    data [[ 1.0000,  2.5000],\n"
                  "          [-3.0000,  4.0000]]\n"
                  "    grad [[0., 0.],\n"
                  "          [0., 0.]]\n"
                  "W      frozen    (2, 20)  float64\n"
                  "leaf2  constant  (20,)    bool\n"
                  "\n"
                  "#  operation            inputs    shape    dtype    saved\n"
                  "1  TwiceBackward        leaf1     (2, 2)   float64     32\n"
                  "    data [[ 2.,  5.],\n"
                  "          [-6.,  8.]]\n"
                  "    grad [[0., 0.],\n"
                  "          [0., 0.]]\n"
                  "2  MmBackward0          1, W      (2, 20)  float64      0\n"
                  "3  MaskedFillBackward0  2, leaf2  (2, 20)  float64     20\n"
                  "4  SumBackward0         3         ()       float64      0\n"
                  "    data 0.              grad 1.\n");
    lk_free(x);
    lk_free(W);
    lk_tape_free(t);
}

Test(tape_print, an_empty_tape_says_why)
{
    Tape *t = quiet_tape();
    Tensor *x = make_param(LK_F32, LK_SHAPE(1), 1);
    static const char none[] = "tape: 0 records, 0 leaves, 0 bytes saved for backward\n"
                               "Nothing is recorded while no input requires a gradient.\n";
    check_tape(t, none);
    lk_tape_set_grad(t, false);
    check(lk_neg(t, x));
    check_tape(t, "tape: 0 records, 0 leaves, 0 bytes saved for backward\n"
                  "Nothing is recorded in no-grad mode.\n");
    lk_tape_set_grad(t, true);
    check(lk_neg(t, x));
    check_tape_begins(t, "tape: 1 record, 1 leaf, 0 bytes saved for backward\n\n");
    lk_tape_reset(t);
    check_tape(t, none);
    lk_free(x);
    lk_tape_free(t);
}

/* Nothing is longer than 99 columns: names and lists of inputs go on in the next line or are
 * cut. */
Test(tape_print, lines_fit_into_a_terminal)
{
    enum { COUNT = 120 };
    Tape *t = quiet_tape();
    Tensor *x = make_param(LK_F32, LK_SHAPE(1), 1), *parts[COUNT];
    char name[200];
    memset(name, 'n', sizeof name);
    strcpy(name + sizeof name - 8, ".weight");
    lk_tape_name(t, x, name);
    for (int i = 0; i < COUNT; i++) parts[i] = lk_scale(t, x, i);
    check(lk_tape_name(t, lk_cat(t, COUNT, parts, 0), "Wörter mit Ümläuten"));
    char *text = tape_text(lk_tape_print, t);
    for (const char *line = text, *end; (end = strchr(line, '\n')); line = end + 1) {
        int columns = 0;
        for (const char *c = line; c < end; c++) columns += (*c & 0xc0) != 0x80;
        check(columns <= 99, "%d columns: %.*s", columns, (int)(end - line), line);
        check(end == line || end[-1] != ' ', "a line ends with a space: %.*s", (int)(end - line),
              line);
    }
    check(strstr(text, "…nnn") && strstr(text, "n.weight  leaf  "), "%s", text);
    check(strstr(text, "  1, 2, 3, ") && strstr(text, ", …\n"), "%s", text);
    check(strstr(text, "121  Wörter mit Ümläuten  CatBackward0"), "%s", text);
    free(text);
    lk_free(x);
    lk_tape_free(t);
}

/* ---- what is noted -------------------------------------------------------------------------- */

Test(tape_print, a_name_lasts_until_the_reset)
{
    Tape *t = quiet_tape();
    Tensor *x = make_param(LK_F32, LK_SHAPE(17), 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15,
                           16, 17);
    check(lk_tape_name(t, x, "first") == x && lk_tape_name(t, x, "second") == x);
    check(lk_neg(t, x));
    check_tape_contains(t, "\nsecond  leaf  (17,)  float32\n");
    Tensor *old = lk_neg(t, x);
    lk_tape_reset(t);
    check(!lk_tape_name(t, old, "old"));
    check_error(lk_tape_error(t), LK_ESTATE, "lk_tape_name: (17,) was made before the last");
    lk_tape_clear_error(t);
    check(lk_neg(t, x));
    check_tape_contains(t, "\nleaf1  leaf  (17,)  float32\n");
    lk_free(x);
    lk_tape_free(t);
}

/* Two leaves with one name can be told apart. */
Test(tape_print, a_name_that_is_there_twice)
{
    Tape *t = quiet_tape();
    Tensor *a = named_param(t, "w", 1), *b = named_param(t, "w", 2);
    check(lk_mul(t, a, b) && lk_mul(t, b, a));
    check_tape_contains(t, "MulBackward0  w, w#2  ");
    check_tape_contains(t, "MulBackward0  w#2, w  ");
    lk_free(a);
    lk_free(b);
    lk_tape_free(t);
}

/* A name holds the memory that lk_tape_release would give back. */
Test(tape_print, a_name_outlives_a_release)
{
    Tape *t = quiet_tape();
    Tensor *x = make_param(LK_F32, LK_SCALAR, 1);
    lk_tape_set_grad(t, false);
    TapeMark mark = lk_tape_mark(t);
    lk_tape_name(t, x, "x");
    check(lk_tape_release(t, mark, lk_neg(t, x)));
    for (int i = 0; i < 100; i++) check(lk_neg(t, x));
    lk_tape_set_grad(t, true);
    check(lk_neg(t, x));
    check_tape_contains(t, "\nx     leaf  ()     float32\n");
    lk_free(x);
    lk_tape_free(t);
}

/* A leaf of another tape may be gone. */
Test(tape_print, a_stale_leaf)
{
    Tape *t = quiet_tape(), *other = quiet_tape();
    Tensor *x = make_param(LK_F32, LK_SCALAR, 1);
    check(lk_mul(t, x, lk_ones(other, LK_F32, LK_SCALAR)));
    lk_tape_reset(other);
    check_tape_contains(t, "\nleaf2  stale\n");
    char *dot = tape_text(lk_tape_dot, t);
    check(strstr(dot, "leaf2 [label=\"leaf2\""), "%s", dot);
    free(dot);
    check_no_error(lk_tape_error(t));
    lk_free(x);
    lk_tape_free(t);
    lk_tape_free(other);
}

/* A segment is one record. Nothing is noted about the inside, whose memory is given back. */
static Tensor *segment(Tape *t, const void *state, Tensor *x)
{
    (void)state;
    Tensor *y = lk_tape_name(t, lk_exp(t, x), "inside");
    return lk_mul(t, y, y);
}

Test(tape_print, a_recomputed_segment)
{
    Tape *t = quiet_tape();
    lk_tape_annotate(t, true);
    Tensor *x = make_param(LK_F32, LK_SHAPE(2), 0, 0);
    Tensor *y = lk_recompute(t, segment, NULL, 0, lk_tape_name(t, x, "x"));
    check(lk_backward_with(t, lk_sum(t, y, LK_ALL, false), NULL, true));
    check_tape(t, "tape: 2 records, 1 leaf, 0 bytes saved for backward\n"
                  "\n"
                  "leaf  kind  shape  dtype\n"
                  "x     leaf  (2,)   float32\n"
                  "    data [0., 0.]        grad [2., 2.]\n"
                  "\n"
                  "#  operation                   inputs  shape  dtype    saved\n"
                  "1  CheckpointFunctionBackward  x       (2,)   float32      0\n"
                  "    data [1., 1.]        grad [1., 1.]\n"
                  "2  SumBackward0                1       ()     float32      0\n"
                  "    data 2.              grad 1.\n");
    lk_free(x);
    lk_tape_free(t);
}

/* Annotation leaves gradients of results, which a tape otherwise keeps only after lk_retain_grad,
 * and changes no gradient of a leaf. */
Test(tape_print, annotation_keeps_gradients)
{
    for (int on = 0; on < 2; on++) {
        Expression x = expression(on);
        check(lk_backward(x.t, x.d));
        check_values(lk_grad(x.a), 0, -3);
        check(!lk_grad(x.e) == !on && !lk_grad(x.d) == !on);
        check(lk_tape_annotate(x.t, false) == on && !lk_tape_annotate(x.t, true));
        lk_tape_reset(x.t);
        check(lk_tape_annotate(x.t, true)); /* the mode survives the reset */
        expression_free(x);
    }
}

/* Without memory nothing is printed, and the tape has the reason. */
Test(tape_print, without_memory)
{
    check_alloc_begin();
    Tape *t = quiet_tape();
    Tensor *x = lk_param_new(LK_F32, LK_SCALAR, NULL), *y = x;
    static char name[1 << 16];
    memset(name, 'n', sizeof name - 1);
    for (int i = 0; i < 20000; i++) y = lk_neg(t, y);
    check_fail_after(0);
    while (lk_tape_alloc(t, 64)) continue; /* the last piece of the arena */
    lk_tape_clear_error(t);
    char *text = tape_text(lk_tape_print, t);
    check(*text == '\0');
    check_error(lk_tape_error(t), LK_EMEMORY, "");
    lk_tape_clear_error(t);
    check(!lk_tape_name(t, y, name));
    check_error(lk_tape_error(t), LK_EMEMORY, "");
    check_fail_after(-1);
    free(text);
    lk_free(x);
    lk_tape_free(t);
}

/* ---- drawing -------------------------------------------------------------------------------- */

Test(tape_print, a_drawing)
{
    Tape *t = quiet_tape();
    Tensor *x = make_param(LK_F32, LK_SHAPE(2, 2), 1, 2, 3, 4), *k = lk_ones(t, LK_F32, LK_SCALAR);
    lk_tape_name(t, x, "{x|\"y\"}<\\>");
    check(lk_mul(t, x, k));
    char *text = tape_text(lk_tape_dot, t);
    static const char expected[] =
        "digraph tape {\n"
        "    rankdir=LR;\n"
        "    node [shape=record, style=filled, fillcolor=white, fontname=monospace, "
        "fontsize=11];\n"
        "    leaf1 [label=\"\\{x\\|\\\"y\\\"\\}\\<\\\\\\>|(2,\\ 2)\\ float32\\ leaf\\l|"
        "data\\ [[1.,\\ 2.],\\l\\ \\ \\ \\ \\ \\ [3.,\\ 4.]]\\l\", "
        "fillcolor=\"#d8f0d8\"];\n"
        "    leaf2 [label=\"leaf1|()\\ float32\\ constant\\l|data\\ 1.\\l\", "
        "fillcolor=\"#eeeeee\"];\n"
        "    op1 [shape=ellipse, fillcolor=\"#fff2c8\", label=\"MulBackward0\"];\n"
        "    result1 [label=\"1|(2,\\ 2)\\ float32\\l|"
        "data\\ [[1.,\\ 2.],\\l\\ \\ \\ \\ \\ \\ [3.,\\ 4.]]\\l\"];\n"
        "    leaf1 -> op1;\n"
        "    leaf2 -> op1;\n"
        "    op1 -> result1;\n"
        "}\n";
    check(strcmp(text, expected) == 0, "expected\n%s\ngot\n%s", expected, text);
    free(text);
    lk_free(x);
    lk_tape_free(t);
}
