/* optimizer_file.h - the state of an optimizer in a file, beside the weights of its module.
 *
 *     lk_save_module(net, "net.safetensors", &err);
 *     lk_save_optimizer(opt, net, "opt.safetensors", &err);
 *     … another day, with the same net and a new optimizer of the same kind …
 *     lk_load_module(net, "net.safetensors", true, &err);
 *     lk_load_optimizer(opt, net, "opt.safetensors", &err);
 *
 * The next step then has the bits that it would have had. The file is a safetensors file
 * (data/safetensors.h): for each parameter NAME of the module NAME.step, the number of its
 * updates, and its moments by PyTorch's names, NAME.exp_avg, NAME.exp_avg_sq,
 * NAME.momentum_buffer, …. The metadata has the kind of the optimizer. Settings (lr, betas, …) are
 * the program's, and not in the file. */
#ifndef LK_OPTIMIZER_FILE_H
#define LK_OPTIMIZER_FILE_H

#include "nn/module.h"
#include "optim/optimizer.h"

/* torch.save(opt.state_dict(), path). At every moment path is the whole old file or the whole new
 * one. Errors: LK_EIO, LK_EMEMORY, LK_EVALUE for a parameter of opt that is none of m. */
LK_API LK_MUST_CHECK bool lk_save_optimizer(Optimizer *opt, Module *m, const char *path,
                                            Error *err);

/* opt.load_state_dict(torch.load(path)): the parameters are found by their names, whatever their
 * order and groups. Errors, with nothing changed: LK_EVALUE for the file of another kind of
 * optimizer, for a parameter that the file lacks or has too much, and as above; LK_ESHAPE for a
 * moment of another shape or dtype; those of lk_load_safetensors. */
LK_API LK_MUST_CHECK bool lk_load_optimizer(Optimizer *opt, Module *m, const char *path,
                                            Error *err);

#endif
