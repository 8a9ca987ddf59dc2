/* test_roberta_runs.c - roberta_sst2: runs that are stopped and resumed, go on from an adapter,
 * differ in an option, or only evaluate; and folders that cannot be written. Its output and bad
 * input: test_roberta_programs.c. */
#include "tests/shared/small_roberta.h"

#include "nn/state.h"

/* ---- stopped and resumed -------------------------------------------------------------------- */

#define RUN "--lr 1e-3 --warmup 2 --epochs 2 --accumulate 2 "

/* The files of a run are the same to the byte: weights, moments, generators, the best weights, the
 * adapter. */
static void check_same_files(const char *a, const char *b)
{
    static const char *const files[] = { "checkpoint-10/model.safetensors",
                                         "checkpoint-10/state.safetensors",
                                         "best_checkpoint/model.safetensors",
                                         "adapter/adapter_model.safetensors" };
    char line[4096];
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        print_to(line, sizeof line, "cmp '%s/%s/%s' '%s/%s/%s'", root, a, files[i], root, b,
                 files[i]);
        check(system(line) == 0, "%s of %s and %s differ", files[i], a, b);
    }
}

/* 10 steps with dropout, 5 in an epoch. */
Test(roberta_sst2, stopped_and_resumed_or_recomputed_the_files_are_the_same)
{
    prepare();
    char more[2500];
    print_to(more, sizeof more,
             "cd '%s' && sed -i 's/prob\": 0.0/prob\": 0.1/g' config.json && grep -q 0.1 *.json",
             model);
    check(system(more) == 0);
    Output o = sst2_ok(RUN);
    output_free(&o);
    print_to(more, sizeof more, RUN "--recompute --output '%s/recomputed'", root);
    o = sst2_ok(more);
    output_free(&o);
    check_same_files("out", "recomputed");
    for (int stop = 1; stop < 10; stop += stop == 5 ? 2 : 1) { /* 5: an epoch's end */
        print_to(more, sizeof more, RUN "--stop-after %d --output '%s/parts%d'", stop, root, stop);
        o = sst2_ok(more);
        print_to(more, sizeof more,
                 "Stopped after step %d; with the same options, --resume %s/parts%d/checkpoint-%d "
                 "goes on",
                 stop, root, stop, stop);
        check(strstr(o.out, more), "%s", o.out);
        output_free(&o);
        print_to(more, sizeof more,
                 RUN "--output '%s/parts%d' --resume '%s/parts%d/checkpoint-%d'", root, stop, root,
                 stop, stop);
        o = sst2_ok(more);
        output_free(&o);
        print_to(more, sizeof more, "parts%d", stop);
        check_same_files("out", more);
    }
}

/* Where the output has checkpoints of another run, the best weights so far are still those of the
 * run that goes on. */
Test(roberta_sst2, resumed_into_the_output_of_another_run)
{
    prepare();
    /* its best weights are those of step 10 */
    static const char run[] = "--seed 3 --lr 0.5 --warmup 2 --epochs 3";
    char more[4096];
    Output o = sst2_ok("--lr 1e-3 --warmup 2 --epochs 2");
    output_free(&o);
    print_to(more, sizeof more, "%s --output '%s/whole'", run, root);
    o = sst2_ok(more);
    output_free(&o);
    print_to(more, sizeof more, "%s --output '%s/other' --stop-after 14", run, root);
    o = sst2_ok(more);
    output_free(&o);
    print_to(more, sizeof more, "%s --resume '%s/other/checkpoint-14'", run, root);
    o = sst2_ok(more);
    output_free(&o);
    print_to(more, sizeof more,
             "cd '%s' && grep -q '\"best_step\": 10,' whole/checkpoint-30/trainer_state.json && "
             "cmp whole/best_checkpoint/model.safetensors out/best_checkpoint/model.safetensors",
             root);
    check(system(more) == 0);
}

/* The best of three is the last one, or it is there beside it. */
Test(roberta_sst2, keeps_as_many_checkpoints_as_it_is_told)
{
    prepare();
    Output o = sst2_ok("--lr 1e-3 --warmup 2 --epochs 3 --keep 1");
    check(strstr(o.out, "PASS") && !strstr(o.out, "FAIL"), "%s", o.out);
    check(exists("out/checkpoint-30") &&
          !(exists("out/checkpoint-10") && exists("out/checkpoint-20")));
    output_free(&o);
}

Test(roberta_sst2, names_in_its_files_hold_no_codes_for_the_terminal)
{
    prepare();
    char path[1300];
    StateDict *state = lk_state_dict_empty_new(NULL);
    check(lk_state_dict_add(state, "\033[31mred", lk_tensor_new(LK_F32, LK_SHAPE(1), NULL), NULL));
    print_to(path, sizeof path, "%s/model.safetensors", model);
    check(lk_save_safetensors(state, NULL, path, NULL));
    lk_state_dict_free(state);
    Output o = sst2("--eval-only");
    check(!strchr(o.out, '\033') && !strchr(o.err, '\033'), "%s\n%s", o.out, o.err);
    check(strstr(o.out, "\\x1b[31mred") || strstr(o.err, "\\x1b[31mred"), "%s\n%s", o.out, o.err);
    output_free(&o);
    o = run_program("./roberta_sst2 \"--$(printf '\\033[31m')\"");
    check_refused(o, 2, "unknown option --\\x1b[31m");
}

/* LoRA in the head alone has no PEFT adapter; other files in best_checkpoint stay
 * there. */
Test(roberta_sst2, lora_in_the_head_alone)
{
    prepare();
    for (int i = 0; i < 2; i++) {
        Output o = sst2_ok("--epochs 1 --targets 'classifier.*'");
        check(strstr(o.out, "LoRA is in the classifier alone") && strstr(o.out, "PASS"), "%s",
              o.out);
        check(exists("out/best_checkpoint/model.safetensors") && !exists("out/adapter"));
        check(i == 0 ||
              (exists("out/best_checkpoint/notes.txt") && exists("out/best_checkpoint/inner/x")));
        output_free(&o);
        char path[1300];
        print_to(path, sizeof path, "%s/best_checkpoint/inner", output);
        if (i == 0) make_folder(path);
        print_to(path, sizeof path, "%s/best_checkpoint/inner/x", output);
        write_text(path, "x");
        print_to(path, sizeof path, "%s/best_checkpoint/notes.txt", output);
        write_text(path, "mine");
    }
}

/* Resumed with what would make another run of it. */
Test(roberta_sst2, resumes_only_with_the_options_it_had)
{
    prepare();
    static const char *const cases[][3] = {
        { "--alpha 8", "alpha 16", "alpha 8" },
        { "--train-head", "3984 trained parameters", "4290 trained parameters" },
        { "--targets '!out_proj'", "…classifier.dense,classifier.out_proj", "…classifier.dense" },
        { "--full", "LoRA", "full fine-tuning" },
        { "--rank 4", "rank 8", "rank 4" },
        { "--lr 2e-3", "learning_rate 0.001", "learning_rate 0.002" },
        { "--epochs 3", "epochs 2", "epochs 3" },
        { "--seed 1", "seed 42", "seed 1" },
        { "--padding max", "padding grouped", "padding max" },
        { "--accumulate 1", "accumulation 2", "accumulation 1" },
        { "--batch-size 8", "batch-size 16", "batch-size 8" },
        { "--max-length 37", "max-length 38", "max-length 37" },
        { "--targets query", "LoRA of roberta",
          "LoRA of roberta.encoder.layer.*.attention.self.query" },
    };
    char more[2500], message[600];
    Output o = sst2_ok(RUN "--stop-after 2");
    output_free(&o);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        print_to(more, sizeof more, RUN "--resume '%s/checkpoint-2' %s", output, cases[i][0]);
        o = sst2(more);
        print_to(message, sizeof message, ", and now it is '%s': ", cases[i][2]);
        check(o.status == 1 && strstr(o.err, message), "%s: %s", cases[i][0], o.err);
        print_to(message, sizeof message, "checkpoint-2 was made with '%s", cases[i][1]);
        check(strstr(o.err, message) && count_text(o.err, "\n") == 1, "%s: %s", cases[i][0],
              o.err);
        output_free(&o);
    }
    write_sentences("dev.tsv", 39);
    print_to(more, sizeof more, RUN "--resume '%s/checkpoint-2'", output);
    o = sst2(more);
    check(o.status == 1 && strstr(o.err, "was made with 'sentences of checksum "), "%s", o.err);
    output_free(&o);
}

/* ---- what an option changes ----------------------------------------------------------------- */

/* The adapter's rank, alpha and Linears count, and are what is told. */
Test(roberta_sst2, trains_an_adapter_further)
{
    prepare();
    char more[3000];
    Output o =
        sst2_ok("--lr 1e-3 --warmup 2 --epochs 1 --rank 2 --alpha 3 --targets query,output.dense");
    double before = number_of(strstr(o.out, "Eval Results: "), "'eval_loss': ");
    output_free(&o);
    print_to(more, sizeof more,
             "--lr 1e-3 --warmup 0 --epochs 2 --adapter '%s/adapter' --output '%s/further' "
             "--json '%s/r.json' --report '%s/r.html'",
             output, root, root, root);
    o = sst2_ok(more);
    check(strstr(o.out, "/adapter: LoRA for 6 Linears, 448 parameters\n"), "%s", o.out);
    check(strstr(o.out, "PASS  loss after") && exists("further/adapter/adapter_config.json"), "%s",
          o.out);
    char *json = text_of("r.json"), *page = text_of("r.html");
    check(number_of(json, "\"eval_loss\": ") < before, "%s", json);
    check(number_of(json, "\"rank\": ") == 2 && number_of(json, "\"alpha\": ") == 3, "%s", json);
    check(number_of(json, "\"linears\": ") == 6 &&
              strstr(json, "\"targets\": \"roberta.encoder.layer.*."),
          "%s", json);
    check(strstr(page, ", rank 2, alpha 3, with "), "%s", page);
    free(page);
    free(json);
    output_free(&o);
}

/* Σ x² of what is trained, behind step 10. */
static double squares(const char *more)
{
    char path[1300];
    double sum = 0;
    Output o = sst2_ok(more);
    output_free(&o);
    print_to(path, sizeof path, "%s/checkpoint-10/model.safetensors", output);
    StateDict *state = lk_load_safetensors(path, NULL);
    check(state && state->count == 28);
    for (int i = 0; i < state->count; i++) {
        const float *x = state->entries[i].tensor->data;
        for (int64_t k = 0; k < lk_numel(state->entries[i].tensor); k++)
            sum += (double)x[k] * (double)x[k];
    }
    lk_state_dict_free(state);
    return sum;
}

Test(roberta_sst2, weight_decay_makes_weights_small)
{
    prepare();
    double kept = squares("--epochs 1 --warmup 0 --lr 1e-2 --weight-decay 0");
    double decayed = squares("--epochs 1 --warmup 0 --lr 1e-2 --weight-decay 1");
    check(decayed < 0.97 * kept && decayed > 0.5 * kept, "%g, %g", decayed, kept);
}

/* The padding's columns change no gradient: the same order, the same weights but for rounding. */
Test(roberta_sst2, trains_the_same_with_padding_to_the_longest_and_to_the_most)
{
    prepare();
    double longest = squares("--epochs 1 --warmup 0 --lr 1e-3 --padding longest");
    double most = squares("--epochs 1 --warmup 0 --lr 1e-3 --padding max");
    check(fabs(longest - most) < 1e-4 * longest, "%.9g, %.9g", longest, most);
}

Test(roberta_sst2, progress_is_on_stderr)
{
    prepare();
    Output o = sst2("--epochs 1 --progress");
    check(o.status == 0 && strstr(o.err, "10/10") && strstr(o.err, "loss="), "%s", o.err);
    check(!strstr(o.out, "10/10"));
    output_free(&o);
}

/* Without a training nothing is asked for that only a training needs. */
Test(roberta_sst2, evaluates_without_training_data)
{
    prepare();
    char path[1300];
    Output o = sst2_ok("--eval-only");
    char with[128], without[128];
    results_of(&o, with);
    output_free(&o);
    print_to(path, sizeof path, "%s/sst2/train.tsv", root);
    check(unlink(path) == 0);
    o = sst2_ok("--eval-only");
    results_of(&o, without);
    check(strcmp(without, with) == 0, "%s\n%s", without, with);
    output_free(&o);
    o = sst2("");
    check(o.status == 1 && strstr(o.err, "train.tsv"), "%s", o.err);
    output_free(&o);
}

/* best_checkpoint is a model for --model, unless it has LoRA in it: then a message says what
 * is. */
Test(roberta_sst2, best_checkpoint_is_a_model)
{
    prepare();
    char more[1400], first[128], second[128];
    Output o = sst2_ok("--full --lr 1e-3 --warmup 2 --epochs 1");
    results_of(&o, first);
    output_free(&o);
    print_to(more, sizeof more, "--eval-only --full --model '%s/best_checkpoint'", output);
    o = sst2_ok(more);
    check(!strstr(o.out, "newly initialised"), "%s", o.out);
    results_of(&o, second);
    double a = number_of(first, "'eval_loss': "), b = number_of(second, "'eval_loss': ");
    check(fabs(a - b) < 1e-6 &&
              strcmp(strstr(first, "'eval_acc"), strstr(second, "'eval_acc")) == 0,
          "%s\n%s", first, second);
    output_free(&o);
    print_to(more, sizeof more, "--epochs 1 --model '%s/best_checkpoint'", output);
    check_refused(sst2(more), 1, "/best_checkpoint is the base model itself");
    print_to(more, sizeof more, "--eval-only --full --model '%s/best_checkpoint'", output);
    o = sst2_ok("--epochs 1"); /* replaces the folder */
    output_free(&o);
    o = sst2(more);
    check(o.status == 1 && strstr(o.err, "best_checkpoint/model.safetensors: has LoRA beside its"),
          "%s", o.err);
    output_free(&o);
}

/* ---- refused -------------------------------------------------------------------------------- */

/* Known before the work begins: there is nothing on stdout yet. */
Test(roberta_sst2, output_that_cannot_be_written)
{
    prepare();
    char more[1400];
    static const char *const bad[] = { "sst2/dev.tsv", "sst2/dev.tsv/results" };
    for (int i = 0; i < 2; i++) {
        print_to(more, sizeof more, "--output '%s/%s'", root, bad[i]);
        check_refused(sst2(more), 1, "Not a directory");
        check_refused(
            run_program("./roberta_pretrain --model '%s' --data '%s' %s", model, root, more), 1,
            "Not a directory");
    }
    print_to(more, sizeof more, "--epochs 1 --output '%s/a/b/c'", root);
    Output o = sst2_ok(more);
    check(exists("a/b/c/best_checkpoint/model.safetensors"));
    output_free(&o);
}
