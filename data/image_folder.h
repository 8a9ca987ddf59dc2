/* image_folder.h - torchvision.datasets.ImageFolder: a folder with a folder of pictures for each
 * class.
 *
 *     pets/cat/1.png  pets/cat/2.png  pets/dog/nice.png  …
 *
 *     Names classes = { 0 };                                              -- "cat", "dog"
 *     Dataset *pets = lk_image_folder_new("pets", 3, LK_TO_TENSOR, &classes, &err); */
#ifndef LK_IMAGE_FOLDER_H
#define LK_IMAGE_FOLDER_H

#include "data/dataset.h"
#include "data/names.h"

/* Reads all pictures into memory: x (n, channels, H, W) uint8, y (n) int64, the number of the
 * class. channels is 1, 3 or 0, as for lk_image_new (data/image.h); 0: those of the first picture.
 * Classes are sorted by their names; within a class come the files of its folder, then those of
 * the folders in it, sorted (PyTorch's order). Files are pictures if they end in .png, .pgm, .ppm
 * or .pnm, in any case; others are skipped. classes (NULL allowed) is empty before, and receives
 * the names on success. Errors: LK_EIO, LK_EMEMORY, LK_EVALUE (channels), LK_ESHAPE when two
 * pictures differ in size, LK_EFORMAT for a folder without classes, a class without pictures, a
 * picture of another format (.jpg, .bmp, …: PyTorch would read it), and those of lk_image_new. */
LK_API Dataset *lk_image_folder_new(const char *path, int channels, Transform transform,
                                    Names *classes, Error *err);

#endif
