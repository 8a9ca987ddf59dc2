/* test_exercises.c - the programs ex1_… to ex6_…: what they print is, up to the line of dashes,
 * PyTorch's output byte for byte (tests/fixtures/make_exercises.py), and what they check of
 * themselves below it holds. */
#include "tests/shared/programs.h"

static const char LINE[] = "----------------------------------------------------------------\n";

static void check_exercise(int number, const char *name, int checks)
{
    char file[16], verdict[64];
    print_to(file, sizeof file, "ex%d.txt", number);
    print_to(verdict, sizeof verdict, "%s: all checks passed\n", name);
    char *expected = read_file(check_fixture(file));
    Output o = run_program("./%s", name);
    check(o.status == 0, "status %d: %s%s", o.status, o.out, o.err);
    check(o.err[0] == '\0', "stderr: %s", o.err);

    char *line = strstr(o.out, LINE);
    check(line, "no line of dashes in\n%s", o.out);
    const char *below = line + strlen(LINE);
    check(count_text(below, "PASS  ") == checks && !strstr(below, "FAIL"),
          "expected %d checks in\n%s", checks, below);
    check(strlen(below) > strlen(verdict) &&
              strcmp(below + strlen(below) - strlen(verdict), verdict) == 0,
          "the last line is not %s in\n%s", verdict, below);
    *line = '\0';
    check(strcmp(o.out, expected) == 0, "printed\n%snot\n%s", o.out, expected);
    output_free(&o);
    free(expected);

    /* Another seed, another input; the same checks. */
    o = run_program("./%s --seed 1 && ./%s --seed=2", name, name);
    check(o.status == 0 && count_text(o.out, verdict) == 2, "%s%s", o.out, o.err);
    output_free(&o);
}

Test(exercises, ex1) { check_exercise(1, "ex1_lora_layer", 2); }

Test(exercises, ex2) { check_exercise(2, "ex2_linear_with_lora", 3); }

Test(exercises, ex3) { check_exercise(3, "ex3_replace_linear", 4); }

Test(exercises, ex4) { check_exercise(4, "ex4_merged", 8); }

Test(exercises, ex5) { check_exercise(5, "ex5_mlp", 7); }

Test(exercises, ex6) { check_exercise(6, "ex6_freeze_and_train", 5); }

Test(exercises, custom_module)
{
    Output o = run_program("./custom_module");
    check(o.status == 0 && count_text(o.out, "PASS  ") == 2 && !strstr(o.out, "FAIL"), "%s%s",
          o.out, o.err);
    check(strstr(o.out, "(0): Residual(\n    width=16\n    (down): Linear(in_features=4, "
                        "out_features=16, bias=True)"));
    check(strstr(o.out, "0.scale torch.Size([1])\n0.down.weight torch.Size([16, 4])\n"));
    check(strstr(o.out, "1.bias torch.Size([1]) frozen\n154 parameters, 153 trainable\n"));
    output_free(&o);
}

Test(exercises, symmetric)
{
    Output o = run_program("./symmetric");
    check(o.status == 0 && count_text(o.out, "PASS  ") == 2 && !strstr(o.out, "FAIL"), "%s%s",
          o.out, o.err);
    check(strstr(o.out, "(weight): ParametrizationList(\n      (0): Symmetric()"));
    output_free(&o);
}

/* ---- the command line that all programs share ----------------------------------------------- */

Test(command_line, bad_options)
{
    static const char *const bad[][2] = {
        { "--sed 1", "unknown option --sed" },
        { "--see=1", "unknown option --see" },
        { "7", "unexpected argument '7'" },
        { "-x", "unexpected argument '-x'" },
        { "''", "unexpected argument ''" },
        { "--seed", "--seed needs a value, N" },
        { "--seed --help", "--seed needs a value, N" },
        { "--seed=", "--seed: the value is empty" },
        { "--seed ''", "--seed: the value is empty" },
        { "--seed abc", "--seed: 'abc' is not a whole number" },
        { "--seed 1.5", "--seed: '1.5' is not a whole number" },
        { "--seed 1e3", "--seed: '1e3' is not a whole number" },
        { "--seed ' 1'", "--seed: ' 1' is not a whole number" },
        { "--seed +1", "--seed: '+1' is not a whole number" },
        { "--seed 0x10", "--seed: '0x10' is not a whole number" },
        { "--seed 1x", "--seed: '1x' is not a whole number" },
        { "--seed -", "--seed: '-' is not a whole number" },
        { "--seed -1", "--seed: -1 is outside 0 to 4294967295" },
        { "--seed 4294967296", "--seed: 4294967296 is outside 0 to 4294967295" },
        { "--seed 99999999999999999999",
          "--seed: 99999999999999999999 is outside 0 to 4294967295" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        check_refused(run_program("./ex1_lora_layer %s", bad[i][0]), 2, bad[i][1]);

    static const char *const bad_numbers[][2] = {
        { "--alpha 1x", "--alpha: '1x' is not a number" },
        { "--alpha nan", "--alpha: 'nan' is not a number" },
        { "--alpha inf", "--alpha: 'inf' is not a number" },
        { "--alpha 0x8", "--alpha: '0x8' is not a number" },
        { "--alpha -", "--alpha: '-' is not a number" },
        { "--alpha 1e999", "--alpha: 1e999 is outside 0 to 1000" },
        { "--lr -0.1", "--lr: -0.1 is outside 0 to 1" },
        { "--epochs 0", "--epochs: 0 is outside 1 to 1000" },
        { "--threads -1", "--threads: -1 is outside 0 to" },
        { "--limit -1", "--limit: -1 is outside 0 to 1000000000" },
        { "--json --seed 3", "--json needs a value, FILE" },
    };
    for (size_t i = 0; i < sizeof bad_numbers / sizeof *bad_numbers; i++)
        check_refused(run_program("./mnist_lora %s", bad_numbers[i][0]), 2, bad_numbers[i][1]);
}

Test(command_line, help)
{
    static const char *const options[] = { "--data DIR",  "--seed N", "--threads N", "--epochs N",
                                           "--limit N",   "--rank N", "--alpha X",   "--lr X",
                                           "--json FILE", "--help" };
    Output o = run_program("./mnist_lora --epochs 7 --help");
    check(o.status == 0 && o.err[0] == '\0', "status %d: %s", o.status, o.err);
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        check(strstr(o.out, options[i]), "%s is not in\n%s", options[i], o.out);
    check(strstr(o.out, "(default 8)") && strstr(o.out, "(default 0.001)"), "no defaults in\n%s",
          o.out);
    output_free(&o);
}

Test(command_line, help_in_two_letters)
{
    Output long_form = run_program("./mnist_lora --help"),
           o = run_program("./mnist_lora --seed 3 -h --no-option");
    check(o.status == 0 && o.err[0] == '\0', "status %d: %s", o.status, o.err);
    check(strstr(o.out, "--seed N") && strstr(o.out, "(default 3)"), "%s", o.out);
    check(count_text(o.out, "\n") == count_text(long_form.out, "\n"), "%s", o.out);
    output_free(&o);
    output_free(&long_form);
}

/* Output that cannot be written is an error, too: /dev/full is a disk without room. */
Test(command_line, full_disk)
{
    check_refused(run_program("./ex1_lora_layer >/dev/full"), 1,
                  "ex1_lora_layer: the output could not be written");
    check_refused(run_program("./ex1_lora_layer --help >/dev/full"), 1,
                  "the output could not be written");
}
