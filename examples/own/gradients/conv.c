/* conv.c - gradient cases of convolutions and pooling (core/ops_conv.c, core/ops_pool.c). */
#include "examples/own/gradients/rows.h"

static Cases CONVS = { "1,2,4,5 3,2,2,3 3",  "2,2,4,4 3,2,3,3 3",  "2,4,4 3,2,3,2 3",
                       "2,2,4,4t 3,2,3,3 3", "1,2,4,3s 3,2,2,2 3", "2,2,4,4 3,2,3,3t 3",
                       "1,2,3,3 2,2,1,1s 2", "0,2,3,3 3,2,2,2 3",  "1,1,1,1 1,1,1,1 1s" };
/* one channel of the weight for two groups */
static Cases GROUPED = { "1,2,4,5 4,1,2,3 4", "2,2,4,4 2,1,3,3 2", "2,4,4 6,1,3,2 6",
                         "1,2,4,4t 4,1,3,3 4", "1,2,4,3s 4,1,2,2 4s" };
static Cases POINTS = { "2,3,2,2 4,3,1,1 4",   "1,1,1,1 1,1,1,1 1", "2,3,2,2t 2,3,1,1t 2",
                        "2,2,3,2s 3,2,1,1s 3", "3,2,3 2,3,1,1 2",   "0,2,2,2 3,2,1,1 3" };
static Cases ROWS_1D = { "2,3,7 4,3,3 4",   "3,6 2,3,2 2",   "2,3,7t 4,3,3 4",
                         "1,2,6s 3,2,3 3s", "1,1,5 1,1,1 1", "0,2,5 3,2,2 3" };
static Cases ROWS_GROUPED = { "2,2,9 4,1,3 4", "2,8 2,1,2 2", "1,2,7s 2,1,3s 2" };
static Cases UPS = { "1,2,3,4 2,3,2,3 3",  "2,2,3,3 2,2,3,3 2",   "2,3,3 2,2,3,2 2",
                     "2,2,3,3t 2,3,2,2 3", "1,2,3,2s 2,3,2,2 3s", "0,2,3,3 2,3,2,2 3",
                     "1,1,1,1 1,1,1,1 1" };
static Cases UPS_GROUPED = { "1,2,3,4 2,2,2,3 4", "2,2,3,3t 2,1,3,3 2", "2,3,3 2,2,3,2s 4" };
static Cases UPS_POINTS = { "2,3,2,2 3,4,1,1 4", "2,2,3,2s 2,3,1,1t 3" };
static Cases WEIGHTS = { "1,2,4,5 3,2,2,3", "2,2,4,4t 3,2,3,3s" };
static Cases PLANES = { "2,2,4,6",  "1,2,5,5", "2,5,4",   "3,4,2,2t", "1,2,4,3s",
                        "1,1,9,16", "3,3,3,3", "0,2,4,4", "1,1,3,3" };
static Cases LINES = { "2,3,8", "3,7", "4,3,2t", "2,3,5s", "1,1,4", "0,2,5", "1,40" };

CALL(conv2d, lk_conv2d(t, x[0], x[1], x[2], (ConvOptions){ .padding = { 1, 0 } }))
CALL(conv2d_no_bias, lk_conv2d(t, x[0], x[1], NULL, (ConvOptions){ 0 }))
CALL(conv2d_grouped,
     lk_conv2d(t, x[0], x[1], x[2], (ConvOptions){ { 2, 3 }, { 3, 2 }, { 2, 1 }, 2, { 0 } }))
CALL(conv2d_point, lk_conv2d(t, x[0], x[1], x[2], (ConvOptions){ 0 }))
CALL(conv1d, lk_conv1d(t, x[0], x[1], x[2], (ConvOptions){ .padding = { 1 } }))
CALL(conv1d_grouped,
     lk_conv1d(t, x[0], x[1], x[2], (ConvOptions){ { 2 }, { 2 }, { 3 }, 2, { 0 } }))
CALL(conv_transpose2d,
     lk_conv_transpose2d(t, x[0], x[1], x[2],
                         (ConvOptions){ .stride = { 3, 2 }, .output_padding = { 2, 1 } }))
CALL(conv_transpose2d_grouped,
     lk_conv_transpose2d(t, x[0], x[1], x[2], (ConvOptions){ .padding = { 1, 0 }, .groups = 2 }))
CALL(conv_transpose2d_point, lk_conv_transpose2d(t, x[0], x[1], x[2], (ConvOptions){ 0 }))
CALL(max_pool2d, lk_max_pool2d(t, x[0], (PoolOptions){ .kernel = { 2 } }))
CALL(max_pool2d_overlap,
     lk_max_pool2d(t, x[0],
                   (PoolOptions){ .kernel = { 3, 2 }, .stride = { 1, 2 }, .padding = { 1, 1 } }))
CALL(max_pool1d,
     lk_max_pool1d(t, x[0], (PoolOptions){ .kernel = { 3 }, .stride = { 2 }, .padding = { 1 } }))
CALL(avg_pool2d, lk_avg_pool2d(t, x[0], (PoolOptions){ .kernel = { 2 } }))
CALL(avg_pool2d_overlap,
     lk_avg_pool2d(t, x[0],
                   (PoolOptions){ .kernel = { 3, 2 }, .stride = { 1, 3 }, .padding = { 1, 1 } }))
CALL(avg_pool1d,
     lk_avg_pool1d(t, x[0], (PoolOptions){ .kernel = { 3 }, .stride = { 2 }, .padding = { 1 } }))
CALL(max_pool2d_dilated, lk_max_pool2d(t, x[0],
                                       (PoolOptions){ .kernel = { 2 },
                                                      .stride = { 2, 1 },
                                                      .dilation = { 2, 1 },
                                                      .ceil_mode = true }))
CALL(avg_pool2d_counted, lk_avg_pool2d(t, x[0],
                                       (PoolOptions){ .kernel = { 3, 2 },
                                                      .padding = { 1, 1 },
                                                      .ceil_mode = true,
                                                      .exclude_padding = true }))
CALL(avg_pool2d_ceil, lk_avg_pool2d(t, x[0], (PoolOptions){ .kernel = { 3 }, .ceil_mode = true }))
CALL(adaptive_avg_pool2d, lk_adaptive_avg_pool2d(t, x[0], 3, 2))
CALL(adaptive_avg_pool2d_one, lk_adaptive_avg_pool2d(t, x[0], 1, 1))
CALL(upsample_nearest2d, lk_upsample_nearest2d(t, x[0], 3))

static const GradientRow rows[] = {
    { "conv2d", conv2d, CONVS, ANY },
    { "conv2d", conv2d_grouped, GROUPED, ANY },
    { "conv2d", conv2d_point, POINTS, ANY },
    { "conv2d", conv2d_no_bias, WEIGHTS, ANY },
    { "conv1d", conv1d, ROWS_1D, ANY },
    { "conv1d", conv1d_grouped, ROWS_GROUPED, ANY },
    { "conv_transpose2d", conv_transpose2d, UPS, ANY },
    { "conv_transpose2d", conv_transpose2d_grouped, UPS_GROUPED, ANY },
    { "conv_transpose2d", conv_transpose2d_point, UPS_POINTS, ANY },
    { "max_pool2d", max_pool2d, PLANES, APART },
    { "max_pool2d", max_pool2d_overlap, PLANES, APART },
    { "max_pool2d", max_pool2d_dilated, PLANES, APART },
    { "max_pool1d", max_pool1d, LINES, APART },
    { "avg_pool2d", avg_pool2d, PLANES, ANY },
    { "avg_pool2d", avg_pool2d_overlap, PLANES, ANY },
    { "avg_pool2d", avg_pool2d_counted, PLANES, ANY },
    { "avg_pool2d", avg_pool2d_ceil, PLANES, ANY },
    { "avg_pool1d", avg_pool1d, LINES, ANY },
    { "adaptive_avg_pool2d", adaptive_avg_pool2d, PLANES, ANY },
    { "adaptive_avg_pool2d", adaptive_avg_pool2d_one, PLANES, ANY },
    { "upsample_nearest2d", upsample_nearest2d, PLANES, ANY },
};

const GradientFamily gradient_conv = { GRADIENT_ROWS(rows) };
