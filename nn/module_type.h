/* module_type.h - the struct, the type and the table of fields of a module. Writing and using
 * modules: nn/module.h. */
#ifndef LK_MODULE_TYPE_H
#define LK_MODULE_TYPE_H

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
    /* The library's own. checked: the table of fields was found right. traced: a recorded call was
     * searched for a parameter that it reads but no table lists. unlisted: that parameter, NULL
     * for none; it may be gone, so its address is only compared. */
    bool checked, traced;
    const Tensor *unlisted;
    Module *parametrizations; /* compute some of its parameters (nn/parametrize.h), or NULL */
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

/* One row of the table: LK_PARAM, LK_CHILD, … make it. */
typedef struct Field {
    FieldKind kind;
    const char *name;
    size_t offset;
} Field;

/* A counted array of children, as LK_CHILDREN and LK_ITEMS have it. */
typedef struct ModuleArray {
    Module **items;
    int count;
} ModuleArray;

/* A tuple of sizes as a constant: normalized_shape. */
typedef struct ModuleSizes {
    int ndim;
    int64_t size[LK_MAX_DIMS];
} ModuleSizes;

/* A field of struct T. It does not compile if the field does not have the C type of its kind, or
 * if T does not begin with `Module base`. */
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
 * array that several types share ends with LK_END:
 *     static const Field fields[] = { LK_CHILD(Pair, left), LK_END };
 *
 * A wrong table is LK_EVALUE, and the message names the fields. lk_module_new refuses a name that
 * is NULL, empty or dotted, a field outside of the struct, and a table without end. Two fields of
 * one name or at one place are refused when a module is first used (forward, a walk, the state
 * dict), in strict mode (core/strict.h) by lk_module_new too. */
#define LK_FIELDS(...) \
    (const Field[]) { __VA_ARGS__, LK_END }
#define LK_END \
    { \
        LK_FIELD_END, NULL, 0 \
    }

typedef enum LoRASites {
    LK_LORA_NONE,
    LK_LORA_WEIGHT, /* the parameter "weight", which targets call by the module's name: "conv1" */
    /* each parameter "weight_…" or "…_weight", by its own name: "lstm.weight_ih_l0" */
    LK_LORA_WEIGHTS,
} LoRASites;

struct ModuleType {
    const char *name; /* the class name that is printed; LK_CLASS(T) sets this and the next one */
    size_t size;      /* sizeof the struct */
    Tensor *(*forward)(Tape *t, Module *self, Tensor *x);
    const Field *fields; /* LK_FIELDS(…); NULL for a module without fields */
    /* extra_repr as a template, NULL for none: "in_features={in_features}, bias={bias}". {field}
     * is the constant, or True / False for a parameter that is there or not. A part in [brackets]
     * is left out when its {field} is a negative integer, which means none:
     * "{n}[, padding_idx={padding_idx}]"; or when its {field:text} is that text:
     * "[, groups={groups:1}]". */
    const char *repr;
    /* Optional, for a parametrization: the tensor that forward turns into `value`, so that values
     * can be assigned. */
    Tensor *(*right_inverse)(Tape *t, Module *self, Tensor *value);
    /* Optional, for a parametrization whose forward is x + scale · B A: returns A, B and scale, so
     * that a Linear need not form the sum. A is NULL while nothing is added. */
    LowRank (*low_rank)(Tape *t, Module *self);
    LoRASites lora; /* optional: the matrices that lk_add_lora can adapt (nn/adapter.h) */
    /* The library's own: the offset from which on the members keep values that are computed from
     * the others (nn/no_grad.h); 0: none do. */
    size_t kept;
};

/* The first two members of a type's initialiser: name and size of struct T. */
#define LK_CLASS(T) .name = #T, .size = sizeof(T)

/* For a module that other files use. In its header, LK_MODULE_TYPE(Linear, lk_linear_type,
 * lk_as_linear) declares the type and isinstance(m, nn.Linear): m as a Linear, or NULL. In its .c
 * file, LK_DOWNCAST with the same three defines the function. */
#define LK_MODULE_TYPE(T, class_type, as) \
    LK_API_DATA const ModuleType class_type; \
    LK_API T *as(Module *m)
#define LK_DOWNCAST(T, class_type, as) \
    T *as(Module *m) { return m && m->type == &class_type ? (T *)m : NULL; }

#endif
