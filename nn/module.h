/* module.h - torch.nn.Module from one table: nets and their parts.
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

#include "nn/module_type.h"

/* ---- life ----------------------------------------------------------------------------------- */

/* A cleared struct of the type, with one owner, in training mode. Returns void * so that it fits
 * the user's struct. If err is NULL in strict mode, the handler of lk_on_strict gets the message
 * about a refused table. */
LK_API void *lk_module_new(const ModuleType *type, Error *err);
/* The same with its first `count` LK_PARAMs: float32 zeros of the given shapes, in the order of
 * the table. LK_PARAM_SHAPES({ LK_SHAPE(3, 4) }, { LK_SHAPE(3) }) stands for count and shapes of
 * a Linear. NULL, with nothing left behind, when one of them cannot be made. */
typedef struct ParamShape {
    int ndim;
    const int64_t *shape;
} ParamShape;
#define LK_PARAM_SHAPES(...) LK_LIST(ParamShape, __VA_ARGS__)
LK_API void *lk_module_with_params_new(const ModuleType *type, int count, const ParamShape *shapes,
                                       Error *err);
/* The end of a constructor: m if all of it is there; else NULL, and m and its parts are freed. */
LK_API Module *lk_module_complete(Module *m, bool complete);

LK_API Module *lk_module_retain(Module *m); /* one more owner; returns m */
/* Removes an owner; without owners m, its parameters and its children are freed. NULL allowed. */
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

/* copy.deepcopy(m): shares nothing with m. Parts that are shared inside m (tied weights, a Linear
 * in two wrappers) are shared inside the copy. Gradients are not copied. Constants and other plain
 * members of the struct are copied as they are. NULL: m is NULL (LK_EVALUE) or memory is short. */
LK_API Module *lk_deepcopy(const Module *m, Error *err);

/* net->linear = m: frees the module in the slot and puts m there. To wrap the one in the slot:
 *     lk_module_set(&net->linear, lk_linear_with_lora_new(lk_retain(net->linear), …), &err)
 * Errors, and the slot stays as it is: m is NULL, or m holds the slot's module and lk_retain was
 * forgotten. */
LK_API LK_MUST_CHECK bool lk_module_set(Module **slot, Module *m, Error *err);

/* Fills an empty LK_CHILDREN or LK_ITEMS field with the modules, and consumes them, on failure
 * too. On failure the field stays as it was. Errors: a NULL among the modules (its reason is in
 * err already), a module that is there twice with one reference, an array that is filled
 * already. */
LK_API LK_MUST_CHECK bool lk_module_array_init(ModuleArray *array, int count,
                                               Module *const *modules, Error *err);
/* Frees the modules of an array that no module holds, and leaves it empty. */
LK_API void lk_module_array_free(ModuleArray *array);

/* m.double() / m.float(): converts every parameter and every floating buffer in place; gradients
 * are dropped. lk_store_frozen (nn/frozen.h) is the way to bfloat16 and qint8. Without memory it
 * stops at the tensor that did not fit: the ones before it are converted. */
LK_API LK_MUST_CHECK bool lk_module_to(Module *m, DType dtype, Error *err);

/* ---- use ------------------------------------------------------------------------------------ */

/* m(x). NULL for a NULL module or input, the reason on the tape. The message of a failure inside
 * begins with the place: "layers.2 (Linear): lk_linear: x (10, 8) and weight (4, 9): …". */
LK_API Tensor *lk_forward(Tape *t, Module *m, Tensor *x);
/* m(x, …): the same, but calls fn(t, state, x) instead of m's own forward. This is for a forward
 * that takes more than x: a mask, ids. */
LK_API Tensor *lk_forward_with(Tape *t, Module *m, RecomputeFn *fn, const void *state, Tensor *x);
/* A forward reads the parameters of its module with this function. It returns the tensor in the
 * slot or, if that is parametrized, the value that its chain computes:
 *     lk_linear(t, x, lk_param(t, self, &l->weight), lk_param(t, self, &l->bias)) */
LK_API Tensor *lk_param(Tape *t, Module *self, Tensor *const *slot);
/* The same for a matrix that is only used in a product. In grad mode a low-rank term at the end of
 * the chain is not added to the weight: lk_linear_lora (core/ops.h) takes both. */
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
    const Module *parent; /* from here on: the iterator's own */
    const Field *field;
    int item;
    char number[12];
} ChildIter;
LK_API ChildIter lk_children(const Module *m);
LK_API bool lk_children_next(ChildIter *it);

/* Own parameters come before children, whatever the order of declaration. Shared ones are seen
 * once, under their first name. Everything is on the stack:
 *     for (ParamIter it = lk_params(m); lk_params_next(&it);) printf("%s\n", it.name);
 * A name of LK_NAME_MAX or more bytes, a nesting deeper than LK_DEPTH_MAX or a table of fields
 * that is refused ends the walk with it.failed; lk_walkable says why. */
enum { LK_NAME_MAX = 256, LK_DEPTH_MAX = 32 };
typedef struct ModuleIter {
    char name[LK_NAME_MAX]; /* "layers.0.linear"; "" for the root */
    Module *module;
    Module **slot; /* where its parent holds it; NULL for the root */
    bool failed;
    bool with_duplicates; /* remove_duplicate=False: every name of a shared module */
    Module *refused;      /* when failed: has a wrong table; NULL: too deep, or a name too long */
    Module *root;         /* from here on: the iterator's own */
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
    ModuleIter modules; /* from here on: the iterator's own */
    const Field *field;
    unsigned kinds; /* of fields, 1 << LK_FIELD_PARAM, … */
} ParamIter;
/* m.named_parameters(). */
LK_API ParamIter lk_params(Module *m);
LK_API bool lk_params_next(ParamIter *it);
/* m.named_buffers(), with those that are not persistent. Goes on with lk_params_next. */
LK_API ParamIter lk_buffers(Module *m);
/* m.state_dict().items(): each module's parameters, then its persistent buffers, under every name
 * that they have. Goes on with lk_params_next. */
LK_API ParamIter lk_state_tensors(Module *m);

/* Whether every walk over m comes to its end. If not, err gets the reason, which begins with the
 * name of the function that asks. */
LK_API bool lk_walkable(Module *m, const char *function, Error *err);

/* m.get_submodule(path), "layers.0.linear"; "" is m. A wrong path is LK_EVALUE and names the
 * nearest existing ones. */
LK_API Module *lk_module_at(Module *m, const char *path, Error *err);
/* The slot that holds the child at path; NULL for a wrong path, and for "", which has no slot:
 *     lk_module_set(lk_slot_at(m, "layers.0", &err), …, &err) */
LK_API Module **lk_slot_at(Module *m, const char *path, Error *err);
/* m.get_parameter(path), "layers.0.linear.weight". NULL for a wrong path, as lk_module_at. */
LK_API Tensor *lk_param_at(Module *m, const char *path, Error *err);

/* ---- all parameters ------------------------------------------------------------------------- */

/* Functions that return a number return -1, with nothing changed, for a tree that cannot be
 * walked. */
LK_API int64_t lk_count_parameters(Module *m);           /* Σ p.numel(), shared ones once */
LK_API int64_t lk_count_trainable_parameters(Module *m); /* those with requires_grad */

/* Whether a dotted name fits a pattern: `*` is any text, dots too, `?` one character. */
LK_API bool lk_name_matches(const char *pattern, const char *name);
/* The same, and stars (NULL: none) gets the texts that the first LK_NAME_STARS `*` stand for. Each
 * `*` takes as little text as it can. The last `*` of the pattern takes the rest. */
enum { LK_NAME_STARS = 8 };
typedef struct NameStar {
    const char *begin; /* in name */
    int length;
} NameStar;
LK_API bool lk_name_stars(const char *pattern, const char *name, NameStar stars[LK_NAME_STARS]);

/* p.requires_grad = on for every parameter whose dotted name matches the pattern; returns how many
 * tensors matched. A shared one goes by its first name. Buffers are never trained, nor are
 * bfloat16 and qint8. */
LK_API int lk_require_grad(Module *m, const char *pattern, bool on);

/* list(m.parameters()); lk_trainable_parameters: only those with requires_grad. An optimizer
 * consumes the list; otherwise free it with lk_tensor_list_free. Empty, with the reason in err,
 * when memory is short. */
LK_API TensorList lk_parameters(Module *m, Error *err);
LK_API TensorList lk_trainable_parameters(Module *m, Error *err);
/* [p for n, p in m.named_parameters() if wanted(n, p)]: for parameter groups. The filter gets the
 * name and the tensor; it->modules.module is the module that holds the tensor. A list is also
 * empty when nothing is wanted: err says whether memory was short. */
typedef bool ParamFilter(const ParamIter *it, void *user);
LK_API TensorList lk_parameters_where(Module *m, ParamFilter *wanted, void *user, Error *err);

/* for p in m.parameters(): p.grad = None */
LK_API void lk_module_zero_grad(Module *m);

#endif
