/* digit9 - notebooks 2 and 4: a network that knows all digits becomes an expert on the nine, and
 * back.
 *
 * RichBoyNet (examples/digits/net.c) is trained on MNIST. Then LoRA of rank 1 in its three layers,
 * 0.242 % more parameters, learns from 100 batches of nines alone. The errors on nines nearly
 * vanish, at the cost of other digits. With LoRA off the network is the same as before, bit for
 * bit. The course of the run: examples/digits/lora.c. */
#include "examples/digits/lora.h"

int main(int argc, char **argv)
{
    static const DigitsNotebook notebook = {
        .name = "digit9",
        .about = "Trains a large MLP on MNIST (or on rendered digits, if there is none), then "
                 "LoRA on nines alone.",
        .net_new = rich_boy_net_new,
        .digits = "9",
    };
    return digits_main(&notebook, argc, argv);
}
