/* tape_print.h - the tape made visible: every record with its inputs, values and gradients, as
 * text or as a drawing.
 *
 *     lk_tape_annotate(t, true);
 *     Tensor *e = lk_tape_name(t, lk_mul(t, a, b), "e");
 *     Tensor *d = lk_tape_name(t, lk_add(t, e, c), "d");
 *     if (lk_backward_with(t, d, NULL, true)) lk_tape_print(stdout, t);
 *
 * prints, when a, b and c have names too,
 *
 *     tape: 2 records, 3 leaves, 0 bytes saved for backward
 *
 *     leaf  kind       shape  dtype
 *     a     parameter  ()     float32
 *         data 2.              grad -3.
 *     b     parameter  ()     float32
 *         data -3.             grad 2.
 *     c     parameter  ()     float32
 *         data 10.             grad 1.
 *
 *     #  result  operation     inputs  shape  dtype    saved
 *     1  e       MulBackward0  a, b    ()     float32      0
 *         data -6.             grad 1.
 *     2  d       AddBackward0  e, c    ()     float32      0
 *         data 4.              grad 1. */
#ifndef LK_TAPE_PRINT_H
#define LK_TAPE_PRINT_H

#include "core/tape.h"

/* Begins or ends to annotate a tape; returns the mode before. A new tape is not annotated. In this
 * mode
 *   lk_forward   notes in which module a record is made, and the dotted names of parameters;
 *   lk_backward  leaves the gradient of each result in lk_grad, as after lk_retain_grad.
 * A reset forgets what was noted, and keeps the mode. Operations cost the same in both modes. */
LK_API bool lk_tape_annotate(Tape *t, bool on);

/* Gives x, a leaf or a result, a name until the reset; returns x. The last name counts. Returns
 * NULL for a stale x, and without memory; the reason is on t. */
LK_API Tensor *lk_tape_name(Tape *t, Tensor *x, const char *name);

/* Writes all records, the oldest first, in lines of at most 99 columns, with values and gradients
 * of tensors that have at most 16 elements. Writes nothing when memory is short; the reason is on
 * t. The columns:
 *   leaf     an input that no record made: its name, or leaf1, leaf2, …
 *   kind     parameter; frozen: a parameter that requires no gradient; leaf: it requires one;
 *            constant: it requires none; stale: it was on another tape, which was reset
 *   inputs   names, or numbers of records; a parameter's name is relative to the module
 *   saved    bytes of the tape's tensors that backward reads. A tensor of your own is there anyway
 *            and counts nothing. The total counts each tensor once
 *   module   the innermost one that was running: layers.2 (Linear); (Net), the outermost one
 * The records are there until the reset, also after lk_backward has used them up. Operations in
 * no-grad mode, and those whose inputs require no gradient, are not recorded. A segment of
 * lk_recompute is one record. */
LK_API void lk_tape_print(FILE *out, Tape *t);

/* Writes the same as a graph for Graphviz, `dot -Tsvg tape.dot >tape.svg`: a box for each tensor,
 * an ellipse for each operation. Trained leaves are green, frozen ones blue and dashed, constants
 * grey, results white. */
LK_API void lk_tape_dot(FILE *out, Tape *t);

#endif
