/* loss.c - gradient cases of losses that compare element by element (core/ops_loss.c). */
#include "examples/own/gradients/rows.h"

CALL(mse_loss, lk_mse_loss(t, x[0], x[1]))
CALL(mse_sum, lk_mse_loss_with(t, x[0], x[1], LK_SUM))
CALL(mse_each, lk_mse_loss_with(t, x[0], x[1], LK_NONE))
CALL(l1_loss, lk_l1_loss(t, x[0], x[1], LK_MEAN))
CALL(l1_each, lk_l1_loss(t, x[0], x[1], LK_NONE))
CALL(smooth_l1_loss, lk_smooth_l1_loss(t, x[0], x[1], 0.7, LK_MEAN))
CALL(smooth_l1_sharp, lk_smooth_l1_loss(t, x[0], x[1], 0, LK_SUM))
CALL(huber_loss, lk_huber_loss(t, x[0], x[1], 0.7, LK_MEAN))
CALL(huber_each, lk_huber_loss(t, x[0], x[1], 0.7, LK_NONE))
CALL(kl_div, lk_kl_div(t, x[0], x[1], false, LK_MEAN))
CALL(kl_div_each, lk_kl_div(t, x[0], x[1], false, LK_NONE))
CALL(kl_div_log, lk_kl_div(t, x[0], x[1], true, LK_BATCH_MEAN))
CALL(bce, lk_bce_with_logits(t, x[0], x[1], NULL, LK_MEAN))
CALL(bce_weighted, lk_bce_with_logits(t, x[0], x[1], lk_scalar(t, x[0]->dtype, 2.5), LK_SUM))
CALL(bce_each, lk_bce_with_logits(t, x[0], x[1], lk_scalar(t, x[0]->dtype, 0.5), LK_NONE))

static Cases PAIRS = { "3 3",         "2,3 2,3",  "2,3t 2,3", "2,3 2,3s",
                       "2,3,2 2,3,2", "1,5 1,5t", "0,3 0,3" };

static const GradientRow rows[] = {
    { "mse_loss", mse_loss, SAME, ANY },
    { "mse_loss_with", mse_sum, PAIRS, ANY },
    { "mse_loss_with", mse_each, PAIRS, ANY },
    { "l1_loss", l1_loss, SAME, ANY },
    { "l1_loss", l1_each, PAIRS, ANY },
    { "smooth_l1_loss", smooth_l1_loss, SAME, ANY },
    { "smooth_l1_loss", smooth_l1_sharp, PAIRS, ANY },
    { "huber_loss", huber_loss, SAME, ANY },
    { "huber_loss", huber_each, PAIRS, ANY },
    { "kl_div", kl_div, SAME, POSITIVE },
    { "kl_div", kl_div_each, PAIRS, POSITIVE },
    { "kl_div", kl_div_log, SAME, ANY },
    { "bce_with_logits", bce, SAME, ANY },
    { "bce_with_logits", bce_weighted, PAIRS, ANY },
    { "bce_with_logits", bce_each, PAIRS, ANY },
};

const GradientFamily gradient_loss = { GRADIENT_ROWS(rows) };
