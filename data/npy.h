/* npy.h - arrays in the files of NumPy, which Python reads and writes without a package of Hugging
 * Face.
 *
 *     lk_save_npy(x, "x.npy", &err);            # x = numpy.load("x.npy"); torch.from_numpy(x)
 *     Tensor *y = lk_load_npy("y.npy", &err);   # numpy.save("y.npy", y.numpy())
 *     StateDict *s = lk_load_npz("net.npz", &err);
 *             # numpy.savez("net.npz", **{k: v.numpy() for k, v in net.state_dict().items()})
 *     lk_load_state_dict(net, s, true, &err);   -- nn/state.h
 *
 * dtypes are float32, float64, int64, uint8 and bool, in either byte order. */
#ifndef LK_NPY_H
#define LK_NPY_H

#include "nn/state.h"

/* numpy.load: versions 1.0 to 3.0 of the format; rows or columns first, the tensor is contiguous.
 * Input is never trusted: a file with more or fewer bytes than its header announces is refused
 * before memory is allocated. Errors: LK_EIO, LK_EMEMORY, LK_EFORMAT, LK_EDTYPE for a dtype that
 * Lorikeet lacks (the message names it), LK_ESHAPE for more than 8 dimensions. */
LK_API Tensor *lk_load_npy(const char *path, Error *err);
/* numpy.save: the bytes are those of NumPy 1.24. At every moment path is the whole old file or the
 * whole new one. x may be strided, and of a tape. Errors: LK_EIO, LK_EMEMORY, LK_EDTYPE for
 * bfloat16 and qint8. */
LK_API LK_MUST_CHECK bool lk_save_npy(const Tensor *x, const char *path, Error *err);

/* dict(numpy.load(path)): all arrays of a file that numpy.savez or, with zlib (LORIKEET_ZLIB),
 * numpy.savez_compressed wrote. Checksums are compared. Errors: as for lk_load_npy; LK_EFORMAT for
 * a damaged archive, for an entry that is no array, and for one of 4 GB or more; LK_ESTATE for
 * compressed arrays without zlib. */
LK_API StateDict *lk_load_npz(const char *path, Error *err);
/* numpy.savez(path, **state), or numpy.savez_compressed. Errors: LK_EIO, LK_EMEMORY, LK_EVALUE for
 * a name that is empty, too long or there twice, and for arrays of 4 GB or more in all; LK_ESTATE
 * for compressed without zlib. */
LK_API LK_MUST_CHECK bool lk_save_npz(const StateDict *state, const char *path, bool compressed,
                                      Error *err);

#endif
