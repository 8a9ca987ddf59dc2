/* module.h - what has parameters: torch.nn.Module from one table.
 *
 * A module is a struct whose first member is `Module base`, a forward function, and one table of
 * its fields. From the table alone come parameters, dotted names, freezing, counting, printing,
 * deep copy, freeing and the state dict:
 *
 *     typedef struct { Module base; Module *linear; } SimpleNet;
 *     static Tensor *simple_net_forward(Tape *t, Module *self, Tensor *x)
 *     {
 *         SimpleNet *net = (SimpleNet *)self;
 *         return lk_forward(t, net->linear, x);
 *     }
 *     static const ModuleType simple_net_type = {
 *         LK_CLASS(SimpleNet),
 *         .forward = simple_net_forward,
 *         .fields = LK_FIELDS(LK_CHILD(SimpleNet, linear)),
 *     };
 *     static Module *simple_net_new(Rng *rng, Error *err)
 *     {
 *         SimpleNet *net = lk_module_new(&simple_net_type, err);
 *         if (!net) return NULL;
 *         net->linear = lk_linear_new(4, 3, true, rng, err);
 *         return lk_module_complete(&net->base, net->linear);
 *     }
 *
 * A constructor consumes the modules and tensors it is given, on failure too, so that nested calls
 * never leak. */
#ifndef LK_MODULE_H
#define LK_MODULE_H

#include "core/tape.h"

typedef struct ModuleType ModuleType;

/* A parameter as weight + scale · B A, for A (r, in) and B (out, r); A NULL: weight alone. */
typedef struct LowRank {
    Tensor *weight, *A, *B;
    double scale;
} LowRank;

typedef struct Module Module;
struct Module {
    const ModuleType *type;
    int refs;      /* owners: two wrappers may share one Linear */
    bool training; /* m.train() / m.eval() */
    /* The library's own: its table of fields has been found right; a call of it has been recorded,
     * which read a parameter that no table of its tree lists (an address to compare with, NULL:
     * none). */
    bool checked, traced;
    const Tensor *unlisted;
    /* what computes some of its parameters (nn/parametrize.h), or NULL */
    Module *parametrizations;
};

/* ---- the table ------------------------------------------------------------------------------ */

typedef enum FieldKind {
    LK_FIELD_END,
    /* Tensor *: a parameter, or NULL where there is none (a Linear without bias) */
    LK_FIELD_PARAM,
    LK_FIELD_CHILD,    /* Module *: a child, or NULL */
    LK_FIELD_CHILDREN, /* ModuleArray, a ModuleList: children "blocks.0", "blocks.1", … */
    /* ModuleArray: children "0", "1", …, as those of a Sequential; one such field at most */
    LK_FIELD_ITEMS,
    /* ModuleArray of modules that are named like the parameters they compute (nn/parametrize.h) */
    LK_FIELD_LISTS,
    /* Tensor *: register_buffer(name, x): in the state dict, converted and copied, not trained */
    LK_FIELD_BUFFER,
    /* Tensor *: register_buffer(name, x, persistent=False): not in the state dict */
    LK_FIELD_NON_PERSISTENT,
    LK_FIELD_INT, /* int64_t, double, bool: constants, for printing */
    LK_FIELD_DOUBLE,
    LK_FIELD_BOOL,
    LK_FIELD_SIZES, /* ModuleSizes */
} FieldKind;

typedef struct Field {
    FieldKind kind;
    const char *name;
    size_t offset;
} Field;

typedef struct ModuleArray {
    Module **items;
    int count;
} ModuleArray;

/* A tuple of sizes as a constant: normalized_shape. */
typedef struct ModuleSizes {
    int ndim;
    int64_t size[LK_MAX_DIMS];
} ModuleSizes;

/* A field of struct T. A field of another C type than its kind says does not compile, nor does a T
 * that does not begin with `Module base`. */
#define LK_FIELD_(kind, T, field, ctype) \
    { \
        kind, #field, \
            offsetof(T, field) + 0 * sizeof(_Generic(((T *)0)->field, ctype : 1)) + \
                LK_IS_MODULE_(T) \
    }
#define LK_IS_MODULE_(T) \
    0 * sizeof(_Generic(((T *)0)->base, Module : 1)) + \
        0 * sizeof(struct { \
            char first; \
            _Static_assert(offsetof(T, base) == 0, "Module base must be the first member"); \
        })
#define LK_PARAM(T, field) LK_FIELD_(LK_FIELD_PARAM, T, field, Tensor *)
#define LK_CHILD(T, field) LK_FIELD_(LK_FIELD_CHILD, T, field, Module *)
#define LK_CHILDREN(T, field) LK_FIELD_(LK_FIELD_CHILDREN, T, field, ModuleArray)
#define LK_ITEMS(T, field) LK_FIELD_(LK_FIELD_ITEMS, T, field, ModuleArray)
#define LK_BUFFER(T, field) LK_FIELD_(LK_FIELD_BUFFER, T, field, Tensor *)
#define LK_NON_PERSISTENT(T, field) LK_FIELD_(LK_FIELD_NON_PERSISTENT, T, field, Tensor *)
#define LK_INT(T, field) LK_FIELD_(LK_FIELD_INT, T, field, int64_t)
#define LK_DOUBLE(T, field) LK_FIELD_(LK_FIELD_DOUBLE, T, field, double)
#define LK_BOOL_FIELD(T, field) LK_FIELD_(LK_FIELD_BOOL, T, field, bool)
#define LK_SIZES(T, field) LK_FIELD_(LK_FIELD_SIZES, T, field, ModuleSizes)

/* The table: .fields = LK_FIELDS(LK_PARAM(Net, gain), LK_CHILD(Net, linear)), at file scope. An
 * array that several types share ends with LK_END: static const Field fields[] = { LK_CHILD(Pair,
 * left), LK_END };
 *
 * A table that cannot be right is LK_EVALUE, and the message names the fields. lk_module_new
 * refuses a name that is NULL, empty or dotted, a field outside of the struct, and what has no
 * end. Two fields of one name or at one place are refused when a module is first used (forward, a
 * walk, the state dict), in strict mode (core/strict.h) by lk_module_new too. */
#define LK_FIELDS(...) \
    (const Field[]) { __VA_ARGS__, LK_END }
#define LK_END \
    { \
        LK_FIELD_END, NULL, 0 \
    }

struct ModuleType {
    const char *name; /* the class name that is printed; LK_CLASS(T) sets this and the next one */
    size_t size;      /* sizeof the struct */
    Tensor *(*forward)(Tape *t, Module *self, Tensor *x);
    const Field *fields; /* LK_FIELDS(…); NULL for a module without fields */
    /* extra_repr as a template, NULL for none: "in_features={in_features}, bias={bias}". {field}
     * is the constant, or True / False for a parameter that is there or not. What stands in
     * [brackets] is left out, with them, when the {field} in it is a negative integer, which means
     * that there is none: "{n}[, padding_idx={padding_idx}]". */
    const char *repr;
    /* For a parametrization that values can be assigned through: the tensor that forward turns
     * into `value`. */
    Tensor *(*right_inverse)(Tape *t, Module *self, Tensor *value);
    /* For a parametrization whose forward is x + scale · B A: returns A, B and scale (A NULL when
     * it adds nothing just now), so that a Linear need not form the sum. A shortcut: forward
     * computes the same. */
    LowRank (*low_rank)(Tape *t, Module *self);
};

/* How the initialiser of a type begins: name and size of struct T. */
#define LK_CLASS(T) .name = #T, .size = sizeof(T)

/* For a module that other files use. In its header, LK_MODULE_TYPE(Linear, lk_linear_type,
 * lk_as_linear) declares the type and isinstance(m, nn.Linear): m as a Linear, or NULL. In its .c
 * file, LK_DOWNCAST with the same three defines the function. */
#define LK_MODULE_TYPE(T, class_type, as) \
    LK_API_DATA const ModuleType class_type; \
    LK_API T *as(Module *m)
#define LK_DOWNCAST(T, class_type, as) \
    T *as(Module *m) { return m && m->type == &class_type ? (T *)m : NULL; }

/* ---- life ----------------------------------------------------------------------------------- */

/* A cleared struct of the type, with one owner, in training mode. Returns void * so that it fits
 * the user's struct. In strict mode, and without an err to fill, a table that is refused goes to
 * the handler of lk_on_strict. */
LK_API void *lk_module_new(const ModuleType *type, Error *err);
/* The same with its first `count` LK_PARAMs: float32 zeros of the given shapes, in the order of the
 * table. A Linear's: lk_module_with_params_new(&lk_linear_type, LK_PARAM_SHAPES({ LK_SHAPE(3, 4) },
 * { LK_SHAPE(3) }), &err). NULL, and nothing is left, when one fails. */
typedef struct ParamShape {
    int ndim;
    const int64_t *shape;
} ParamShape;
#define LK_PARAM_SHAPES(...) LK_LIST(ParamShape, __VA_ARGS__)
LK_API void *lk_module_with_params_new(const ModuleType *type, int count, const ParamShape *shapes,
                                       Error *err);
/* The end of a constructor: m if all of it is there; else NULL, and m and its parts are freed. */
LK_API Module *lk_module_complete(Module *m, bool complete);

LK_API Module *lk_module_retain(Module *m);
/* one owner less; the last one frees parameters and children. NULL allowed */
LK_API void lk_module_free(Module *m);

/* lk_retain and lk_free work on a Tensor * and on a Module *. */
#ifdef __cplusplus
inline Tensor *lk_retain(Tensor *x) { return lk_tensor_retain(x); }
inline Module *lk_retain(Module *m) { return lk_module_retain(m); }
inline void lk_free(Tensor *x) { lk_tensor_free(x); }
inline void lk_free(Module *m) { lk_module_free(m); }
#else
#define lk_retain(x) _Generic((x), Tensor * : lk_tensor_retain, Module * : lk_module_retain)(x)
#define lk_free(x) _Generic((x), Tensor * : lk_tensor_free, Module * : lk_module_free)(x)
#endif

/* copy.deepcopy(m): shares nothing with m; what was shared inside m (tied weights, a Linear in two
 * wrappers) is shared inside the copy. Gradients are not copied. Constants and other plain members
 * of the struct are copied as they are. */
LK_API Module *lk_deepcopy(const Module *m, Error *err);

/* net->linear = m: frees what was in the slot and puts m there. To wrap what is in the slot:
 * lk_module_set(&net->linear, lk_linear_with_lora_new(lk_retain(net->linear), …), &err). On an
 * error the slot keeps what it has: m is NULL, or m holds what is in the slot and lk_retain was
 * forgotten. */
LK_API LK_MUST_CHECK bool lk_module_set(Module **slot, Module *m, Error *err);

/* Fills an empty LK_CHILDREN or LK_ITEMS field with copies of the pointers, which it consumes, on
 * failure too. Errors: a NULL among them (its reason is in err already), a module that is there
 * twice with one reference, an array that is filled already; never a shorter array. */
LK_API LK_MUST_CHECK bool lk_module_array_init(ModuleArray *array, int count,
                                               Module *const *modules, Error *err);
/* of one that no module holds; leaves it empty */
LK_API void lk_module_array_free(ModuleArray *array);

/* m.double() / m.float(): converts every parameter and every floating buffer in place; gradients
 * are dropped. Without memory it stops at the tensor that did not fit: the ones before it are
 * converted. */
LK_API LK_MUST_CHECK bool lk_module_to(Module *m, DType dtype, Error *err);

/* ---- use ------------------------------------------------------------------------------------ */

/* m(x). NULL for a NULL module or input, the reason on the tape. A failure inside says where, from
 * the outermost module that is called: "layers.2 (Linear): lk_linear: x (10, 8) and weight (4, 9):
 * …". */
LK_API Tensor *lk_forward(Tape *t, Module *m, Tensor *x);
/* m(x, …): the same with fn(t, state, x) in place of m's own forward, for one that takes more than
 * x: a mask, ids. */
LK_API Tensor *lk_forward_with(Tape *t, Module *m, RecomputeFn *fn, const void *state, Tensor *x);
/* How a forward reads a parameter of its module: the tensor in the slot, or, if it is
 * parametrized, the value that its chain computes: lk_linear(t, x, lk_param(t, self, &l->weight),
 * lk_param(t, self, &l->bias)). */
LK_API Tensor *lk_param(Tape *t, Module *self, Tensor *const *slot);
/* The same for a matrix that only multiplies: while a gradient is recorded, a low-rank term at the
 * end of the chain stays apart. lk_linear_lora (core/ops.h) takes the parts. */
LK_API LowRank lk_param_low_rank(Tape *t, Module *self, Tensor *const *slot);
LK_API void lk_train(Module *m, bool on); /* m.train(on), all children too */
LK_API void lk_eval(Module *m);           /* m.eval() */

/* print(m) of PyTorch, without the newline: the tree of children. */
LK_API void lk_print_module(FILE *out, const Module *m);

/* ---- walking in PyTorch's order ------------------------------------------------------------- */

/* m.named_children(): the modules that m holds itself, slots that are NULL left out.
 *     for (ChildIter it = lk_children(m); lk_children_next(&it);)
 *         … it.name, it.module, lk_module_set(it.slot, …) */
typedef struct ChildIter {
    /* "blocks" for an item of LK_CHILDREN(T, blocks), which is called "blocks.0"; else NULL */
    const char *list;
    const char *name; /* "linear"; "0", "1", … for an item of LK_CHILDREN or LK_ITEMS */
    Module *module;
    Module **slot;        /* where the parent holds it */
    const Module *parent; /* the rest is the iterator's own */
    const Field *field;
    int item;
    char number[12];
} ChildIter;
LK_API ChildIter lk_children(const Module *m);
LK_API bool lk_children_next(ChildIter *it);

/* Own parameters come before children, whatever the order of declaration; what is shared is seen
 * once, under its first name. Everything is on the stack:
 *     for (ParamIter it = lk_params(m); lk_params_next(&it);) printf("%s\n", it.name);
 * A name of LK_NAME_MAX or more bytes, a nesting deeper than LK_DEPTH_MAX or a table of fields
 * that is refused ends the walk with it.failed; lk_walkable says why. */
enum { LK_NAME_MAX = 256, LK_DEPTH_MAX = 32 };
typedef struct ModuleIter {
    char name[LK_NAME_MAX]; /* "layers.0.linear"; "" for the root */
    Module *module;
    Module **slot; /* where its parent holds it; NULL for the root */
    bool failed;
    /* remove_duplicate=False: what is shared appears under all of its names */
    bool with_duplicates;
    /* failed: a module whose table of fields is wrong; NULL: too deep, too long */
    Module *refused;
    Module *root; /* the rest is the iterator's own */
    int depth;
    struct {
        ChildIter children;
        size_t name_length;
    } stack[LK_DEPTH_MAX];
} ModuleIter;
LK_API ModuleIter lk_modules(Module *m);
LK_API bool lk_modules_next(ModuleIter *it);

typedef struct ParamIter {
    char name[LK_NAME_MAX]; /* "layers.0.linear.weight" */
    Tensor *tensor;
    Tensor **slot; /* where the module holds it */
    bool failed;
    bool with_duplicates; /* every name of a shared tensor */
    bool is_buffer;
    ModuleIter modules; /* the rest is the iterator's own */
    const Field *field;
    unsigned kinds; /* of fields, 1 << LK_FIELD_PARAM, … */
} ParamIter;
LK_API ParamIter lk_params(Module *m);
LK_API bool lk_params_next(ParamIter *it);
/* m.named_buffers(), those that are not persistent too; and m.state_dict().items(): each module's
 * parameters, then its persistent buffers, under every name that they have. Both go on with
 * lk_params_next. */
LK_API ParamIter lk_buffers(Module *m);
LK_API ParamIter lk_state_tensors(Module *m);

/* Whether every walk over m comes to its end. If not, false, and in err the reason, after the name
 * of the function that asks. */
LK_API bool lk_walkable(Module *m, const char *function, Error *err);

/* m.get_submodule(path), "layers.0.linear"; "" is m. A wrong path is LK_EVALUE and names the
 * nearest existing ones. */
LK_API Module *lk_module_at(Module *m, const char *path, Error *err);
/* The slot that holds the child at path, for lk_module_set: lk_module_set(lk_slot_at(m,
 * "layers.0", &err), …, &err). */
LK_API Module **lk_slot_at(Module *m, const char *path, Error *err);
/* m.get_parameter(path), "layers.0.linear.weight". */
LK_API Tensor *lk_param_at(Module *m, const char *path, Error *err);

/* ---- all parameters ------------------------------------------------------------------------- */

/* Those that return a number return -1, with nothing changed, for a tree that cannot be walked
 * (see above). */
LK_API int64_t lk_count_parameters(Module *m);           /* Σ p.numel(), shared ones once */
LK_API int64_t lk_count_trainable_parameters(Module *m); /* those with requires_grad */

/* Whether a dotted name fits a pattern: `*` is any text, dots too, `?` one character. */
LK_API bool lk_name_matches(const char *pattern, const char *name);
/* The same; stars (NULL: none) becomes the texts that the first LK_NAME_STARS `*` stand for, each
 * for as little as it can, the last `*` of all for the rest. */
enum { LK_NAME_STARS = 8 };
typedef struct NameStar {
    const char *begin; /* in name */
    int length;
} NameStar;
LK_API bool lk_name_stars(const char *pattern, const char *name, NameStar stars[LK_NAME_STARS]);

/* p.requires_grad = on for every parameter whose dotted name matches the pattern; returns how many
 * tensors matched. A shared one goes by its first name. Buffers are never trained. */
LK_API int lk_require_grad(Module *m, const char *pattern, bool on);

/* list(m.parameters()), and only those with requires_grad: for an optimizer, which consumes the
 * list; else lk_tensor_list_free. Empty, with the reason in err, when memory is short. */
LK_API TensorList lk_parameters(Module *m, Error *err);
LK_API TensorList lk_trainable_parameters(Module *m, Error *err);
/* [p for n, p in m.named_parameters() if wanted(n, p)]: for parameter groups. The filter sees name
 * and tensor, and in it->modules.module who holds it. One list may be empty because nothing is
 * wanted: err says whether memory was short. */
typedef bool ParamFilter(const ParamIter *it, void *user);
LK_API TensorList lk_parameters_where(Module *m, ParamFilter *wanted, void *user, Error *err);

/* for p in m.parameters(): p.grad = None */
LK_API void lk_module_zero_grad(Module *m);

#endif
