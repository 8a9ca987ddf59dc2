/* weak_digits - notebook 3: four digits at which a network is weak, improved together.
 *
 * NeuralNetwork (examples/digits/net.c) is trained on MNIST. Then LoRA of rank 1 in its four
 * layers, 0.197 % more parameters, learns from 100 batches of 3, 6, 8 and 9 (--digits auto: of
 * those with more than 50 errors). In the notebook overall accuracy rose too. Not every seed gives
 * that; the dial at the end shows the accuracy at other scales. The course of the run:
 * examples/digits/lora.c. */
#include "examples/digits/lora.h"

int main(int argc, char **argv)
{
    static const DigitsNotebook notebook = {
        .name = "weak_digits",
        .about = "Trains a large MLP on MNIST (or on rendered digits, if there is none), then "
                 "LoRA on its weak digits.",
        .net_new = neural_network_new,
        .digits = "3,6,8,9",
    };
    return digits_main(&notebook, argc, argv);
}
