/* test_fields.c - tables of fields: the names that they give, and those that are refused. Those
 * that the compiler refuses: test_compile_errors.sh. */
#include "core/strict.h"
#include "nn/state.h"
#include "tests/fixtures/modules.h"
#include "tests/shared/nets.h"

/* ---- lists of modules ----------------------------------------------------------------------- */

typedef struct Two {
    Module base;
    ModuleArray encoder, decoder, none;
    Module *head;
} Two;
static const ModuleType two_type = {
    LK_CLASS(Two),
    .fields = LK_FIELDS(LK_CHILDREN(Two, encoder), LK_CHILDREN(Two, decoder), LK_CHILD(Two, head),
                        LK_CHILDREN(Two, none)),
};

static Module *linear_of(int64_t in, int64_t out)
{
    Rng rng;
    lk_manual_seed(&rng, (uint64_t)(in + out));
    return lk_linear_new(in, out, false, &rng, NULL);
}

static Module *two_new(const ModuleType *type)
{
    Two *m = lk_module_new(type, NULL);
    check(m);
    check(lk_module_array_init(&m->encoder, LK_MODULES(linear_of(2, 2), lk_relu_new(NULL)), NULL));
    check(lk_module_array_init(&m->decoder, LK_MODULES(linear_of(2, 2)), NULL));
    m->head = linear_of(2, 1);
    return &m->base;
}

Test(fields, two_lists_have_names_of_their_own)
{
    Module *m = two_new(&two_type);
    check_text(param_names(m, false), two_params);
    check_text(module_names(m), "\nencoder.0\nencoder.1\ndecoder.0\nhead");
    check_text(tree_of(m), two_tree);
    static const char *const lists[] = { "encoder", "encoder", "decoder", NULL },
                             *const names[] = { "0", "1", "0", "head" };
    int n = 0;
    for (ChildIter it = lk_children(m); lk_children_next(&it); n++) {
        check_text(it.name, names[n]);
        check(lists[n] ? it.list && strcmp(it.list, lists[n]) == 0 : !it.list);
    }
    check(n == 4);
    Two *two = (Two *)m;
    check(lk_module_at(m, "encoder.1", NULL) == two->encoder.items[1]);
    check(lk_slot_at(m, "decoder.0", NULL) == &two->decoder.items[0]);
    check(lk_require_grad(m, "decoder.*", false) == 1);

    /* Its own state dict, changed, goes where it came from. */
    StateDict *state = lk_state_dict_new(m, NULL);
    Tensor *encoder = lk_param_at(m, "encoder.0.weight", NULL),
           *decoder = lk_param_at(m, "decoder.0.weight", NULL);
    check(lk_fill_(lk_state_dict_get(state, "encoder.0.weight"), 1) &&
          lk_fill_(lk_state_dict_get(state, "decoder.0.weight"), 2));
    check(lk_load_state_dict(m, state, true, NULL));
    check_values(encoder, 0, 1, 1, 1, 1);
    check_values(decoder, 0, 2, 2, 2, 2);
    lk_state_dict_free(state);

    Module *copy = lk_deepcopy(m, NULL);
    check_text(tree_of(copy), two_tree);
    check_text(param_names(copy, true), two_params);
    lk_free(copy);
    lk_free(m);
}

Test(fields, a_name_too_long_in_a_list_ends_the_walk)
{
    static char name[LK_NAME_MAX];
    const Field fields[] = { { LK_FIELD_CHILDREN, name, offsetof(Two, encoder) }, LK_END };
    const ModuleType type = { .name = "Long", .size = sizeof(Two), .fields = fields };
    static const struct {
        size_t length;
        int64_t count;
    } cases[] = { { 246, 4 }, { 247, -1 }, { 255, -1 } }; /* n….0.weight has 255 bytes at most */
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        memset(name, 'n', cases[i].length);
        name[cases[i].length] = '\0';
        Two *m = lk_module_new(&type, NULL);
        check(lk_module_array_init(&m->encoder, LK_MODULES(linear_of(2, 2)), NULL));
        check(lk_count_parameters(&m->base) == cases[i].count, "%zu bytes", cases[i].length);
        lk_module_free(&m->base);
    }
}

/* ---- tables that are refused ---------------------------------------------------------------- */

typedef struct Net2 {
    Module base;
    Tensor *w, *v;
    Module *child;
    ModuleArray a, b;
    int64_t n;
} Net2;

static Tensor *same(Tape *t, Module *self, Tensor *x)
{
    (void)t, (void)self;
    return x;
}

#define AT(kind, text, field) \
    { \
        LK_FIELD_##kind, text, offsetof(Net2, field) \
    }
/* Each field is possible, but not beside the other one; or, from number ALONE on, it is not even
 * that. */
static const struct {
    const Field *fields;
    const char *message;
} wrong[] = {
    { LK_FIELDS(LK_PARAM(Net2, w), LK_PARAM(Net2, w)),
      "fields 0 and 1 of Wrong are both called \"w\"" },
    { LK_FIELDS(LK_PARAM(Net2, w), LK_INT(Net2, n), AT(CHILD, "w", child)),
      "fields 0 and 2 of Wrong are both called \"w\"" },
    { LK_FIELDS(AT(BUFFER, "x", v), AT(PARAM, "x", w)), "both called \"x\"" },
    { LK_FIELDS(AT(CHILDREN, "x", a), AT(CHILD, "x", child)), "both called \"x\"" },
    { LK_FIELDS(LK_ITEMS(Net2, a), LK_ITEMS(Net2, b)),
      "fields \"a\" and \"b\" of Wrong both have the names \"0\", \"1\", …; LK_CHILDREN calls its "
      "modules \"a.0\"" },
    { LK_FIELDS(AT(PARAM, "12", w), LK_ITEMS(Net2, b)),
      "fields \"12\" and \"b\" of Wrong both have the names" },
    { LK_FIELDS(AT(PARAM, "w", w), AT(PARAM, "v", w)),
      "fields \"w\" and \"v\" of Wrong lie at the same place" },
    { LK_FIELDS({ LK_FIELD_CHILDREN, "a", offsetof(Net2, a) + 8 }, LK_CHILDREN(Net2, b)),
      "lie at the same place" },
    { LK_FIELDS({ LK_FIELD_PARAM, NULL, offsetof(Net2, w) }), "field 0 of Wrong is none" },
    { LK_FIELDS(AT(PARAM, "", w)), "field 0 of Wrong is called \"\"; a name is not empty" },
    { LK_FIELDS(LK_INT(Net2, n), AT(CHILD, "a.b", child)),
      "field 1 of Wrong is called \"a.b\"; a name is not empty, has no dot" },
    { LK_FIELDS(AT(CHILD, "parametrizations", child)),
      "\"parametrizations\" is every module's own" },
    { LK_FIELDS({ LK_FIELD_PARAM, "w", sizeof(Net2) }), "field \"w\" of Wrong lies at byte " },
    { LK_FIELDS({ LK_FIELD_SIZES, "n", offsetof(Net2, n) }),
      "field \"n\" of Wrong lies at byte " },
    { LK_FIELDS({ LK_FIELD_CHILD, "w", 0 }), "field \"w\" of Wrong lies at byte 0" },
    { (const Field[]){ LK_PARAM(Net2, w), { (FieldKind)77, "?", 8 } },
      "field 1 of Wrong is none; a table is written as LK_FIELDS(…), or ends with LK_END" },
};
enum { WRONGS = sizeof wrong / sizeof *wrong, ALONE = 8 };

Test(fields, a_wrong_table_is_refused_at_first_use)
{
    for (int i = 0; i < ALONE; i++) {
        const ModuleType type = {
            .name = "Wrong", .size = sizeof(Net2), .forward = same, .fields = wrong[i].fields
        };
        Tape *t = quiet_tape();
        Tensor *x = make_tensor(LK_F32, LK_SHAPE(1), 1);
        Module *m = lk_module_new(&type, NULL);
        check(m);
        Error err = { 0 };
        check(!lk_state_dict_new(m, &err));
        check_error(&err, LK_EVALUE, wrong[i].message);
        check_error(&err, LK_EVALUE, "lk_state_dict_new: field");
        err = (Error){ 0 };
        check(!lk_load_state_dict(m, &(StateDict){ 0 }, false, &err));
        check_error(&err, LK_EVALUE, wrong[i].message);
        err = (Error){ 0 };
        check(!lk_module_to(m, LK_F64, &err));
        check_error(&err, LK_EVALUE, wrong[i].message);
        check(lk_count_parameters(m) == -1 && lk_require_grad(m, "*", true) == -1);
        ParamIter it = lk_params(m);
        check(!lk_params_next(&it) && it.failed && it.modules.refused == m);
        check(!lk_forward(t, m, x));
        check_error(lk_tape_error(t), LK_EVALUE, wrong[i].message);

        /* Inside of another module too. */
        Module *outer = lk_sequential_new(LK_MODULES(m), NULL);
        err = (Error){ 0 };
        check(!lk_walkable(outer, "test", &err));
        check_error(&err, LK_EVALUE, wrong[i].message);
        check(!m->checked && outer->checked);
        lk_free(outer);
        lk_free(x);
        lk_tape_free(t);
    }
}

static Error reported;

static void keep_report(const Error *err, void *user)
{
    (void)user;
    reported = *err;
}

static void check_refused_by_new(int first)
{
    lk_on_strict(keep_report, NULL);
    for (int i = first; i < WRONGS; i++) {
        const ModuleType type = { .name = "Wrong",
                                  .size = sizeof(Net2),
                                  .fields = wrong[i].fields };
        Error err = { 0 };
        check(!lk_module_new(&type, &err));
        check_error(&err, LK_EVALUE, wrong[i].message);
        check_error(&err, LK_EVALUE, "lk_module_new: field");
        check(!reported.code);
        check(!lk_module_new(&type, NULL)); /* in strict mode it goes to the handler instead */
        check(lk_strict() == (reported.code != LK_OK));
        if (lk_strict()) check_error(&reported, LK_EVALUE, wrong[i].message);
        reported = (Error){ 0 };
    }
}

Test(fields, a_wrong_field_is_refused_by_lk_module_new) { check_refused_by_new(ALONE); }

Test(fields, a_wrong_table_is_refused_by_lk_module_new_in_strict_mode)
{
    lk_set_strict(true);
    check_refused_by_new(0);
    Module *m = two_new(&two_type), *net = net_new(4, 3, 2, 1, &(Rng){ 0 }, NULL);
    check(m && net && !reported.code);
    lk_set_strict(false); /* which would keep the headers of what is freed */
    lk_free(m);
    lk_free(net);
}

static const ModuleType doubled_type = {
    .name = "Wrong",
    .size = sizeof(Net2),
    .fields =
        LK_FIELDS(LK_PARAM(Net2, w), AT(BUFFER, "v", w), LK_ITEMS(Net2, a), AT(CHILDREN, "b", a)),
};
Test(fields, a_slot_that_is_listed_twice_is_freed_once)
{
    check_alloc_begin();
    Net2 *m = lk_module_new(&doubled_type, NULL);
    m->w = lk_param_new(LK_F32, LK_SHAPE(2), NULL);
    check(lk_module_array_init(&m->a, LK_MODULES(lk_relu_new(NULL)), NULL));
    lk_module_free(&m->base);
    check(check_alloc_live() == 0);
}
