/* ops_loss_table.h - the losses that compare x and y element by element, a line each. ops_loss.c
 * reads it and makes their operations of it; ops_loss_real.h reads it and makes their arithmetic.
 *
 * x and y are elements of the operands, w is that of a weight (1: none), c the constant. An
 * element's loss is a double, because a mean adds them in double. The gradients are those of one
 * element; a mean divides them. PyTorch's names are those of the reductions none, mean, sum. */
/* clang-format off */
/*   name       PyTorch's names  dx needs, dy needs
     loss = , dx = , dy = */
LOSS(mse, "MseLossBackward0", "MseLossBackward0", "MseLossBackward0",
     LK_IN0 | LK_IN1, LK_IN0 | LK_IN1,
     (double)(x - y) * (double)(x - y), 2 * (x - y), 2 * (y - x))
LOSS(l1, "AbsBackward0", "MeanBackward0", "SumBackward0", LK_IN0 | LK_IN1, LK_IN0 | LK_IN1,
     fabs(x - y), LK_F(sign)(x - y), LK_F(sign)(y - x))
LOSS(smooth_l1, "SmoothL1LossBackward0", "SmoothL1LossBackward0", "SmoothL1LossBackward0",
     LK_IN0 | LK_IN1, LK_IN0 | LK_IN1,
     LK_F(smooth_l1)(x - y, c), LK_F(smooth_l1_slope)(x - y, c), LK_F(smooth_l1_slope)(y - x, c))
LOSS(huber, "HuberLossBackward0", "HuberLossBackward0", "HuberLossBackward0",
     LK_IN0 | LK_IN1, LK_IN0 | LK_IN1,
     LK_F(huber)(x - y, c), LK_F(huber_slope)(x - y, c), LK_F(huber_slope)(y - x, c))
LOSS(kl_div, "SubBackward0", "MeanBackward0", "SumBackward0", LK_IN1, LK_IN0 | LK_IN1,
     LK_F(y_log_y)(y) - y * x, -y, log(y) + 1 - x)
LOSS(kl_div_log, "MulBackward0", "MeanBackward0", "SumBackward0", LK_IN1, LK_IN0 | LK_IN1,
     LK_F(exp)(y) * (y - x), -LK_F(exp)(y), LK_F(exp)(y) * (y - x + 1))
LOSS(bce, "BinaryCrossEntropyWithLogitsBackward0", "BinaryCrossEntropyWithLogitsBackward0",
     "BinaryCrossEntropyWithLogitsBackward0", LK_IN0 | LK_IN1 | LK_IN2, LK_IN0 | LK_IN2,
     (1 - y) * x + (1 + (w - 1) * y) * LK_F(softplus)(-x),
     (w * y + (1 - y)) * LK_F(sigmoid)(x) - w * y, (w - 1) * LK_F(softplus)(-x) - x)
/* clang-format on */
