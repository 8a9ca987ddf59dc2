#!/bin/sh
# Mistakes that the compiler must see: each program compiles without its wrong line, and does not
# with it; the message holds the text given.
set -u
. "$LORIKEET_SOURCE_DIR/tests/check.sh"

# compiles FILE: Flags are words: CFLAGS stays unquoted.
compiles() {
    ${CC:-cc} ${CFLAGS:-} -std=gnu11 -Wall -Wextra -Werror -I"$LORIKEET_SOURCE_DIR" \
        -c -o /dev/null "$1" >"$work/log" 2>&1
}

# refused TEXT FILE: it does not compile, for this reason.
refused() {
    ! compiles "$2" && grep -q "$1" "$work/log"
}

# mistake NAME TEXT: standard input is the program; WRONG(x) is there for the wrong one only.
mistake() {
    { echo '#include "data/peft.h"'; echo '#include "data/safetensors.h"'
        echo '#include "nn/linear.h"'
      echo '#include "optim/optimizer.h"'; cat; } >"$work/body.c"
    { echo '#define WRONG(...)'; cat "$work/body.c"; } >"$work/right.c"
    { echo '#define WRONG(...) __VA_ARGS__'; cat "$work/body.c"; } >"$work/wrong.c"
    check "$1: right" compiles "$work/right.c"
    check "$1: wrong" refused "$2" "$work/wrong.c"
}

mistake "Module base is not first" "Module base must be the first member" <<'C'
typedef struct Net { WRONG(int64_t n;) Module base; Tensor *w; } Net;
const ModuleType type = { .name = "Net", .size = sizeof(Net),
                          .fields = LK_FIELDS(LK_PARAM(Net, w)) };
C
mistake "base is no Module" "Module\|_Generic" <<'C'
typedef struct Net { Module WRONG(*) base; Tensor *w; } Net;
const ModuleType type = { .name = "Net", .size = sizeof(Net),
                          .fields = LK_FIELDS(LK_PARAM(Net, w)) };
C
mistake "there is no base" "base" <<'C'
typedef struct Net { Module base WRONG(_of_mine); Tensor *w; } Net;
const ModuleType type = { .name = "Net", .size = sizeof(Net),
                          .fields = LK_FIELDS(LK_PARAM(Net, w)) };
C
mistake "a child listed as a parameter" "_Generic\|Tensor" <<'C'
typedef struct Net { Module base; Tensor *w; Module *child; } Net;
const ModuleType type = { .name = "Net", .size = sizeof(Net),
                          .fields = LK_FIELDS(LK_PARAM(Net, w) WRONG(, LK_PARAM(Net, child))) };
C
mistake "a table with LK_END" "Module base must be the first member" <<'C'
typedef struct Net { WRONG(double x;) Module base; ModuleArray a, b; Tensor *buffer, *cache; } Net;
static const Field fields[] = { LK_CHILDREN(Net, a), LK_ITEMS(Net, b), LK_BUFFER(Net, buffer),
                                LK_NON_PERSISTENT(Net, cache), LK_END };
const ModuleType type = { .name = "Net", .size = sizeof(Net), .fields = fields };
C
# ignored CALL: its result must be looked at. The functions in it need not exist.
ignored() {
    mistake "the result of $1 is not looked at" "warn_unused_result\|unused-result" <<C
void f(Tape *t, Tensor *x, Module *m, Module **slot, Optimizer *opt, StateDict *state, Error *err);
void f(Tape *t, Tensor *x, Module *m, Module **slot, Optimizer *opt, StateDict *state, Error *err)
{
    (void)t, (void)x, (void)m, (void)slot, (void)opt, (void)state, (void)err;
    WRONG($1;)
    if (!$1) return;
}
C
}
ignored 'lk_backward(t, x)'
ignored 'lk_backward_with(t, x, x, true)'
ignored 'lk_step(opt, err)'
ignored 'lk_copy_(x, x, err)'
ignored 'lk_module_set(slot, m, err)'
ignored 'lk_module_to(m, LK_F64, err)'
ignored 'lk_load_state_dict(m, state, true, err)'
ignored 'lk_save_module(m, "file", err)'
ignored 'lk_load_module(m, "file", true, err)'
ignored 'lk_save_peft(m, "folder", NULL, err)'
tally
