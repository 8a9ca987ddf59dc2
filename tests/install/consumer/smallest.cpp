// smallest.cpp - the smallest user in C++: a tensor of a tape, which lk_free leaves alone.
#include <lorikeet/lorikeet.h>

int main()
{
    Error err = {};
    Tape *t = lk_tape_new(&err);
    Tensor *x = lk_ones(t, LK_F32, LK_SHAPE(2, 3));
    bool ok = lk_numel(x) == 6;
    lk_free(x);
    lk_tape_free(t);
    return ok ? 0 : 1;
}
