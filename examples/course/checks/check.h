/* check.h - for the authors of checks: a unit, its list of checks, and the words to write them in.
 *
 *     static void output_is_right(Exam *e)
 *     {
 *         Module *m = exam_module(e, "lora_layer_new(5, 4, 3, 8)",
 *                                 CALL(e, lora_layer_new, 5, 4, 3, 8.0, e->rng, &e->err));
 *         exam_to_double(e, m);
 *         Matrix A = exam_fill(e, m, "A"), B = exam_fill(e, m, "B");
 *         Tensor *x = exam_input(e, 2, 5);
 *         Tensor *y = exam_forward(e, "lora_layer_forward", m, x);
 *         Matrix xAB = matrix_product(e, matrix_product(e, matrix_of(e, x), A), B);
 *         const Mistake mistakes[] = {
 *             { "alpha forgotten", "Multiply by alpha at the end.", xAB },
 *         };
 *         exam_equal(e, "alpha (x A B)", y, matrix_scale(e, xAB, 8.0), MISTAKES(mistakes));
 *     }
 *
 * The first thing that is wrong ends up as the verdict of the check; everything after it does
 * nothing. So a check is a straight line of calls: functions that are given the NULL of a failed
 * call return at once, and CALL calls the learner's function only while nothing has failed. */
#ifndef COURSE_CHECK_H
#define COURSE_CHECK_H

#include "core/ops.h"
#include "examples/course/checks/matrix.h"
#include "examples/course/course.h"
#include "examples/course/verdict.h"
#include "nn/module.h"

/* ---- a unit --------------------------------------------------------------------------------- */

typedef struct Check {
    const char *title; /* the fact that it checks: "y = alpha (x A B)" */
    void (*run)(Exam *e);
} Check;

enum { UNIT_CHECKS = 10, UNIT_FUNCTIONS = 8 };
typedef struct Unit {
    const char *name;  /* "ex1": units/ex1.c, units/ex1.md */
    const char *title; /* "LoRALayer: alpha (x A B)" */
    int minutes;       /* that a learner needs */
    bool answers;      /* there is a file of questions too: units/ex1.answers.md */
    const char *functions[UNIT_FUNCTIONS]; /* that the learner's file defines; NULL ends them */
    Check checks[UNIT_CHECKS + 1];         /* in the order of learning; a NULL title ends them */
    /* Prints something to look at when all checks pass, such as the tape; NULL: nothing. */
    void (*show)(Exam *e);
} Unit;

/* ---- one run of the checks ------------------------------------------------------------------ */

enum { EXAM_MODULES = 32, EXAM_BLOCKS = 512, EXAM_TENSORS = 64 };
struct Exam {
    Tape *t;       /* a new one for every check; its failures become verdicts */
    Rng *rng;      /* for the learner's constructors: seed 0 + the run's seed at each check */
    Error err;     /* for the learner's constructors */
    uint64_t seed; /* of this run */
    bool failed;   /* this check has its verdict */
    Verdict verdict;
    Verdict crash; /* exam_crash_means: only looks_like and next */

    /* ---- the exam's own ---- */
    void *library; /* the learner's code, from dlopen */
    Rng own_rng, learner_rng;
    Module *modules[EXAM_MODULES];
    Tensor *tensors[EXAM_TENSORS];
    double *blocks[EXAM_BLOCKS];
    int module_count, tensor_count, block_count;
};

/* Calls the learner's function of this name with the type that course.h gives it. 0 (NULL, false)
 * when the check has failed already, or fails because there is no such function. */
#define CALL(e, function, ...) \
    (exam_function(e, #function) ? LEARNERS(e, function)(__VA_ARGS__) : 0)
/* The function itself, NULL as above: for one that returns nothing. */
#define LEARNERS(e, function) ((__typeof__(&function))exam_function(e, #function))
void *exam_function(Exam *e, const char *name);

/* ---- verdicts ------------------------------------------------------------------------------- */

/* Fails the check, unless it has failed already; returns false. */
bool exam_fail(Exam *e, VerdictKind kind, const char *format, ...) LK_PRINTF(3, 4);
/* Adds to the verdict that was just given: the known mistake ("": none), and the next step. */
void exam_looks_like(Exam *e, const char *mistake, const char *next);
/* Should the code crash from now on in this check, then it is this mistake. */
void exam_crash_means(Exam *e, const char *mistake, const char *next);
/* Fails the check when the fact does not hold. */
bool exam_expect(Exam *e, bool holds, VerdictKind kind, const char *format, ...) LK_PRINTF(4, 5);

/* ---- the learner's objects ------------------------------------------------------------------ */

/* A module of a class that the learner wrote; `call` stands in messages. The exam owns it from now
 * on. Fails when it is NULL, is or holds a class of the library's own LoRA, is of a class of the
 * course's solutions, has a parameter on a tape, or a wrong field table. Returns m, or NULL. */
Module *exam_module(Exam *e, const char *call, Module *m);
/* The same tests again, after a learner's function has changed a module that the exam owns; it may
 * be of a class of the course's solutions. */
bool exam_sound(Exam *e, const char *call, Module *m);
/* The success that a learner's function returned. Fails when it is false, with the message
 * of the tape or of e->err. */
bool exam_true(Exam *e, const char *call, bool ok);
/* Keeps a module or tensor until the end of the check, then frees it; returns it. */
Module *exam_own(Exam *e, Module *m);
Tensor *exam_own_tensor(Exam *e, Tensor *x);

/* A child or parameter by name. Fails with VERDICT_FIELDS when there is none, and lists the names
 * that exist; with VERDICT_STRUCTURE when the table lists it, but it is NULL; with VERDICT_SHAPE
 * when the shape is another (rows or columns 0: not looked at; a vector has rows 0). */
Module *exam_child(Exam *e, Module *m, const char *path);
Tensor *exam_param(Exam *e, Module *m, const char *path, int64_t rows, int64_t columns);
/* Converts m to float64: the plain loops compute in it. Do this before exam_fill. */
Module *exam_to_double(Exam *e, Module *m);
/* Fills a parameter with N(0, 1) and returns its values. */
Matrix exam_fill(Exam *e, Module *m, const char *path);

/* A float64 leaf with these values that requires a gradient; the exam owns it. */
Tensor *exam_leaf(Exam *e, Matrix values);
/* The same, (rows, columns) of N(0, 1). */
Tensor *exam_input(Exam *e, int64_t rows, int64_t columns);

/* m(x). Fails when it gives NULL, with the tape's message. */
Tensor *exam_forward(Exam *e, const char *call, Module *m, Tensor *x);
/* A result that a learner's function returned. Fails when it is NULL, with the tape's message. */
Tensor *exam_result(Exam *e, const char *call, Tensor *y);
/* Runs backward from y with the cotangent v (shape of y). */
bool exam_backward(Exam *e, Tensor *y, Matrix v);

/* Whether the learner's code calls a function of the library: its name is in the code's table. */
bool exam_calls(Exam *e, const char *function);

/* ---- values --------------------------------------------------------------------------------- */

/* A mistake that learners make, and the values that it gives. */
typedef struct Mistake {
    const char *name; /* "alpha forgotten" */
    const char *next; /* the next step */
    Matrix values;
} Mistake;
#define MISTAKES(array) (array), (int)(sizeof(array) / sizeof *(array))
#define NO_MISTAKES NULL, 0

/* Compares a tensor (any shape; see matrix_of) with the expected values, to 1e-9 in float64 and
 * 1e-5 in float32. On a difference the verdict names call, shapes, the worst element with its
 * index, both values, and how many differ; and the mistake, if exactly one fits. Mistakes whose
 * values are the expected ones are left out. */
bool exam_equal(Exam *e, const char *call, const Tensor *y, Matrix expected,
                const Mistake *mistakes, int count);
/* The same for the gradient of x: VERDICT_GRADIENT, also when there is none. */
bool exam_gradient(Exam *e, const char *name, const Tensor *x, Matrix expected,
                   const Mistake *mistakes, int count);
/* Whether a parameter of m has a gradient; if not, it looks like "lora.A frozen" or "lora.A
 * treated as a constant". */
bool exam_has_gradient(Exam *e, Module *m, const char *path);
/* The first mistake whose values fit, if it is the only one; NULL else. */
const Mistake *exam_recognise(Matrix got, Matrix expected, const Mistake *mistakes, int count,
                              double tolerance);

/* Whether x still has these values, bit by bit; if not, VERDICT_FROZEN. */
bool exam_unmoved(Exam *e, const char *name, const Tensor *x, Matrix before);

/* "(2, 5)" of a tensor, in a text of the exam's that lives to the end of the check. */
const char *exam_shape(Exam *e, const Tensor *x);
/* A text as by sprintf that lives to the end of the check. */
const char *exam_text(Exam *e, const char *format, ...) LK_PRINTF(2, 3);

#endif
