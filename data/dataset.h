/* dataset.h - samples and targets, ways to choose among them, and how a byte becomes a number.
 *
 *     Dataset *images = lk_dataset_new(pixels, labels, LK_MNIST_NORMALIZE, &err);
 *     Dataset *prices = lk_dataset_new(features, values, LK_TO_TENSOR, &err);   -- all floats
 *     Dataset *tokens = lk_dataset_new(ids, next_ids, LK_TO_TENSOR, &err);      -- all int64
 *
 * Images stay bytes; they become floats when a batch is made (data/loader.h). */
#ifndef LK_DATASET_H
#define LK_DATASET_H

#include "core/tensor.h"

/* transforms.Compose([ToTensor(), Normalize(mean, std)]) of a byte: ((u / 255) - mean) / std in
 * float32, with true divisions. ToTensor alone is { 0, 1 }. */
typedef struct Transform {
    float mean, std;
} Transform;
#define LK_TO_TENSOR ((Transform){ 0.0f, 1.0f })
#define LK_MNIST_NORMALIZE ((Transform){ 0.1307f, 0.3081f })

/* torch.utils.data.TensorDataset(x, y), or a subset of one. */
typedef struct Dataset {
    Tensor *x; /* (n, …) uint8, transformed in each batch; floating or int64, as they are */
    Tensor *y; /* (n, …) targets of any dtype; (n) int64 or uint8: labels of classes */
    Transform transform; /* for uint8 x */
    int64_t *index;      /* rows of x that belong to it, in order; NULL: all */
    int64_t count;       /* len(dataset) */
} Dataset;

/* Consumes x and y, on failure too (lk_retain them to share them). Errors: LK_ESHAPE when their
 * first sizes differ, LK_EDTYPE, LK_EVALUE for a transform that divides by 0, LK_ESTATE for
 * tensors of a tape (lk_clone them), LK_EMEMORY. */
LK_API Dataset *lk_dataset_new(Tensor *x, Tensor *y, Transform transform, Error *err);
LK_API void lk_dataset_free(Dataset *d);

/* torch.utils.data.Subset(d, index): shares the tensors, copies index. Error: LK_EVALUE for an
 * index outside 0 … len-1. */
LK_API Dataset *lk_subset_new(const Dataset *d, int64_t count, const int64_t *index, Error *err);
/* dataset[targets == 9]: the samples whose label is one of the classes, in their order. Error:
 * LK_EVALUE when there is none, LK_EDTYPE when the targets are no labels. */
LK_API Dataset *lk_filter_classes_new(const Dataset *d, int count, const int64_t *classes,
                                      Error *err);

/* torch.utils.data.random_split(d, lengths, generator=rng): parts[0 … count-1] are random subsets
 * of these lengths, which together are all of d; the caller owns them. The same permutation as
 * PyTorch's. Errors, with every part NULL: LK_EVALUE for lengths that do not add up to the length
 * of d or are negative, LK_EMEMORY. */
LK_API LK_MUST_CHECK bool lk_random_split(const Dataset *d, int count, const int64_t *lengths,
                                          Rng *rng, Dataset **parts, Error *err);

/* The row of x and the label of sample i, found through the index; -1 for a bad i, and the label
 * for targets that are no labels. */
LK_API int64_t lk_dataset_row(const Dataset *d, int64_t i);
LK_API int64_t lk_dataset_label(const Dataset *d, int64_t i);

#endif
