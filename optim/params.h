/* params.h - what a list of parameters must be; no part of the interface. */
#ifndef LK_PARAMS_H
#define LK_PARAMS_H

#include "core/tensor.h"

/* Whether the list has owned, contiguous, floating leaves, each once. Otherwise LK_EVALUE, in a
 * message that begins with name. */
bool lk__check_params(const char *name, const TensorList *list, Error *err);

#endif
