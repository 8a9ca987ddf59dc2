/* test_roberta_programs.c - roberta_pretrain, roberta_sst2 and lora_lab as their users see them:
 * output, files, errors. More of roberta_sst2: test_roberta_runs.c. */
#include "tests/shared/small_roberta.h"

/* ---- roberta_sst2 --------------------------------------------------------------------------- */

Test(roberta_sst2, homework)
{
    prepare();
    char more[2048];
    print_to(more, sizeof more,
             "--lr 5e-3 --warmup 10 --epochs 20 --rank 4 --alpha 4 --logits '%s/logits.tsv' "
             "--json '%s/r.json' "
             "--report '%s/r.html'",
             root, root, root);
    Output o = sst2_ok(more);
    static const char *const lines[] = {
        "model.safetensors: not there, so all weights are newly initialised\n",
        "Original model loaded.\n",
        "Freezing original model parameters...\nOriginal parameters frozen.\n"
        "Prepared LoRA wrapper with r=4, alpha=4\nApplying LoRA wrappers to target layers...\n"
        "Target layers replaced.\n\nTrainable params (LoRA A/B matrices): 1,992\n"
        "Total params in model: 18,378\nTrainable parameter ratio: 10.8390%\nLoRA model "
        "created.\n",
        "Tokenizer loaded\nDatasets prepared.\n",
        "'learning_rate':",
        "Eval Results: {'eval_loss': ",
        "Evaluation results on loaded LoRA-trained model: {'eval_loss': ",
        "PASS  loss after training",
        "PASS  accuracy after training",
    };
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
        check(strstr(o.out, lines[i]), "no '%s' in\n%s", lines[i], o.out);
    check(exists("out/checkpoint-10/model.safetensors") &&
          exists("out/checkpoint-200/trainer_state.json"));
    check(exists("out/adapter/adapter_config.json") &&
          exists("out/adapter/adapter_model.safetensors"));

    char *json = text_of("r.json"), *page = text_of("r.html"), *logits = text_of("logits.tsv");
    check(number_of(json, "\"eval_accuracy\": ") > 0.9, "%s", json);
    check(number_of(json, "\"trainable_parameters\": ") == 1992 &&
          strstr(json, "\"reloaded_is_the_same\": true"));
    check(count_text(page, "<svg") == 3 && strstr(page, "</html>"));
    check(strncmp(logits, "row\tlabel\tlogit_0\tlogit_1\n0\t0\t", 30) == 0, "%s", logits);
    check(count_text(logits, "\n") == 41 && count_text(logits, "\t") == 41 * 3);
    int right = 0;
    char *line = logits;
    for (int i = 0; i < 40; i++) {
        int row, label;
        double a, b;
        line = strchr(line, '\n') + 1;
        check(sscanf(line, "%d\t%d\t%lf\t%lf", &row, &label, &a, &b) == 4 && row == i);
        right += (b > a) == label;
    }
    check(right == (int)(40 * number_of(json, "\"eval_accuracy\": ") + 0.5),
          "the logits give another accuracy");
    free(logits);
    free(page);
    free(json);
    output_free(&o);
}

/* 5 + 2 · 16 + 4 tensors of the base and two for each of the 14 Linears. */
Test(roberta_sst2, best_checkpoint_has_the_names_of_the_homework)
{
    prepare();
    Output o = sst2_ok("--epochs 1 --warmup 2");
    char path[1300];
    Error err = { 0 };
    print_to(path, sizeof path, "%s/best_checkpoint/model.safetensors", output);
    SafeTensors *f = lk_safetensors_open(path, &err);
    check(f, "%s", err.message);
    check(f->count == 41 + 28, "%d tensors", f->count);
    const SafeTensorsEntry *A =
        lk_safetensors_find(f, "roberta.encoder.layer.1.output.dense.lora.A");
    const SafeTensorsEntry *W = lk_safetensors_find(f, "classifier.out_proj.linear.weight");
    check(A && A->shape[0] == 32 && A->shape[1] == 8 && W && W->shape[0] == 2 &&
          W->shape[1] == 16);
    lk_safetensors_close(f);
    output_free(&o);
}

Test(roberta_sst2, evaluates_the_same_whatever_the_padding)
{
    prepare();
    Output o = sst2_ok("--eval-only --padding max");
    char at_max[128], other[128];
    results_of(&o, at_max);
    check(!exists("out/best_checkpoint/model.safetensors"), "--eval-only saved something");
    output_free(&o);
    static const char *const ways[] = { "--eval-only --padding longest",
                                        "--eval-only --padding grouped" };
    for (int i = 0; i < 2; i++) {
        o = sst2_ok(ways[i]);
        results_of(&o, other);
        double a = number_of(at_max, "'eval_loss': "), b = number_of(other, "'eval_loss': ");
        check(a > b - 1e-5 && a < b + 1e-5, "%s\n%s", at_max, other);
        output_free(&o);
    }
}

/* Not only their mean loss: every logit, also at the 512 columns of the homework. */
Test(roberta_sst2, logits_are_the_same_whatever_the_padding)
{
    static const char *const ways[] = { "max", "longest", "grouped" };
    double logits[3][80], largest = 0;
    char path[1300], more[2048];
    prepare();
    print_to(path, sizeof path, "%s/config.json", model);
    write_text(path, "{\"vocab_size\": 684, \"hidden_size\": 16, \"num_hidden_layers\": 2, "
                     "\"num_attention_heads\": 2,"
                     " \"intermediate_size\": 32, \"max_position_embeddings\": 514, "
                     "\"initializer_range\": 0.2}");
    for (int way = 0; way < 3; way++) {
        print_to(more, sizeof more,
                 "--eval-only --max-length 512 --padding %s --logits '%s/logits.tsv'", ways[way],
                 root);
        Output o = sst2_ok(more);
        check(!strstr(o.out, "are cut"), "%s", o.out);
        output_free(&o);
        char *text = text_of("logits.tsv"), *line = text;
        for (int i = 0; i < 40; i++) {
            line = strchr(line, '\n') + 1;
            check(sscanf(line, "%*d\t%*d\t%lf\t%lf", &logits[way][2 * i],
                         &logits[way][2 * i + 1]) == 2,
                  "%s", text);
        }
        free(text);
    }
    for (int i = 0; i < 80; i++) largest = fmax(largest, fabs(logits[0][i]));
    check(largest > 0.01);
    for (int i = 0; i < 160; i++)
        check(fabs(logits[1 + i / 80][i % 80] - logits[0][i % 80]) <= 1e-5 * largest,
              "%s, sentence %d: %.9g and %.9g", ways[1 + i / 80], i % 80 / 2,
              logits[1 + i / 80][i % 80], logits[0][i % 80]);
}

/* Two batches of 8 make the step of one of 16, on the same sentences: the order groups what a step
 * takes. (Of sums in another order the last digits differ.) */
Test(roberta_sst2, accumulated_batches_are_one_large_batch)
{
    prepare();
    double loss[2];
    for (int i = 0; i < 2; i++) {
        Output o = sst2_ok(i ? "--lr 3e-3 --warmup 2 --epochs 2 --batch-size 8 --accumulate 2"
                             : "--lr 3e-3 --warmup 2 --epochs 2 --batch-size 16");
        loss[i] = number_of(strstr(o.out, "Eval Results: "), "'eval_loss': ");
        check(exists("out/checkpoint-20/model.safetensors") && !exists("out/checkpoint-40"), "%s",
              o.out);
        output_free(&o);
    }
    check(fabs(loss[1] - loss[0]) < 1e-4 * loss[0], "%.9g, with --accumulate %.9g", loss[0],
          loss[1]);
}

Test(roberta_sst2, says_when_all_is_warm_up)
{
    prepare();
    Output o = sst2_ok("--epochs 1 --warmup 10");
    check(strstr(o.out, "All 10 steps belong to the warm-up of 10"), "%s", o.out);
    output_free(&o);
    o = sst2_ok("--epochs 1 --warmup 9");
    check(!strstr(o.out, "warm-up"), "%s", o.out);
    output_free(&o);
}

Test(roberta_sst2, says_how_many_sentences_are_cut)
{
    prepare();
    Output o = sst2_ok("--eval-only");
    check(!strstr(o.out, "are cut"), "%s", o.out);
    output_free(&o);
    o = sst2_ok("--epochs 1 --max-length 5 --train-rows 30");
    check(strstr(o.out, "train.tsv: 30 of 30 sentences are cut to 5 tokens\n"), "%s", o.out);
    check(strstr(o.out, "dev.tsv: 40 of 40 sentences are cut to 5 tokens\n"), "%s", o.out);
    output_free(&o);
}

Test(roberta_sst2, adapter_goes_through_peft)
{
    prepare();
    char more[1400];
    Output o = sst2_ok("--lr 1e-3 --warmup 2 --epochs 2");
    char first[128], second[128];
    results_of(&o, first);
    output_free(&o);
    print_to(more, sizeof more, "--eval-only --adapter '%s/adapter'", output);
    o = sst2_ok(more);
    results_of(&o, second);
    double a = number_of(first, "'eval_loss': "), b = number_of(second, "'eval_loss': ");
    check(a > b - 1e-5 && a < b + 1e-5, "%s\n%s", first, second);
    output_free(&o);
}

Test(roberta_sst2, full_fine_tuning_and_targets)
{
    prepare();
    Output o = sst2_ok("--full --lr 3e-3 --warmup 4 --epochs 3");
    check(strstr(o.out, "Full fine-tuning: all 16,386 parameters are trained\n"), "%s", o.out);
    check(strstr(o.out, "Evaluation results on loaded model: ") && !exists("out/adapter"));
    output_free(&o);
    o = sst2_ok("--targets query,value --rank 2 --epochs 1 --train-head");
    check(strstr(o.out, "Parameters of the head that are trained too: 4\n"), "%s", o.out);
    /* 4 · 2 · 32 + 16 · 16 + 16 + 2 · 16 + 2 */
    check(strstr(o.out, "(LoRA A/B matrices, head): 562\n"), "%s", o.out);
    output_free(&o);
}

/* A base that only stores: trained, saved, loaded into another such model with the same result,
 * and near the result of a float32 one. */
Test(roberta_sst2, stores_its_base)
{
    static const struct {
        const char *name;
        double near;
    } bases[] = { { "float32", 0 }, { "bf16", 1e-2 }, { "int8", 1e-2 } };
    double loss[3];
    prepare();
    for (int i = 0; i < 3; i++) {
        char more[300], results[128];
        print_to(more, sizeof more, "--lr 1e-3 --warmup 2 --epochs 2 --base %s --json base.json",
                 bases[i].name);
        Output o = sst2_ok(more);
        results_of(&o, results);
        loss[i] = number_of(results, "'eval_loss': ");
        check(fabs(loss[i] - loss[0]) <= bases[i].near, "%s: %g, %g", bases[i].name, loss[i],
              loss[0]);
        check((i == 0) == (loss[i] == loss[0]), "%s is not stored so", bases[i].name);
        output_free(&o);
    }
}

Test(roberta_sst2, bad_input)
{
    static const struct {
        const char *options, *message;
        int status;
    } cases[] = {
        { "--targets querry",
          "no Linear, Conv1d, Conv2d or Embedding of the model is called 'querry'; nearest: query",
          1 },
        { "--padding none", "--padding: 'none' is none of longest, max, grouped", 1 },
        { "--max-length 39", "--max-length 39: the model has positions for 38 tokens", 1 },
        { "--base f16", "--base: 'f16' is none of float32, bf16, int8", 1 },
        { "--full --base int8", "--full trains all weights: --base does not go with it", 2 },
        { "--rank 0", "--rank: 0 is outside 1 to", 2 },
        { "--resume /nowhere", "/nowhere", 1 },
        { "--adapter /nowhere", "/nowhere", 1 },
        { "--logits /nowhere/x.tsv", "/nowhere", 1 },
        { "--json /nowhere/x.json", "/nowhere", 1 },
        { "--full --adapter x", "--full trains all weights: --adapter does not go with it", 2 },
        { "--full --rank=8", "--full trains all weights: --rank does not go with it", 2 },
        { "--adapter x --alpha 16",
          "--adapter brings LoRA and a head of its own: --alpha does not go with it", 2 },
        { "--resume x --eval-only", "--eval-only trains nothing: --resume does not go with it",
          2 },
        { "--stop-after 3 --json x",
          "--stop-after ends before there are results: --json does not go with it", 2 },
        { "--targets '!*'", "the targets '!*' leave no Linear", 1 },
        { "--data /nowhere", "/nowhere/sst2", 1 },
        { "--model /nowhere", "/nowhere/config.json: cannot be opened", 1 },
    };
    prepare();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        Output o = sst2(cases[i].options);
        const char *end = strchr(o.err, '\n');
        check(o.status == cases[i].status && end && end[1] == '\0', "%s: status %d, %s",
              cases[i].options, o.status, o.err);
        check(strstr(o.err, cases[i].message), "%s: %s", cases[i].options, o.err);
        output_free(&o);
    }
}

/* Files of the model and of the data that are not what they should be. */
Test(roberta_sst2, bad_files)
{
    static const struct {
        const char *file, *text, *message;
    } cases[] = {
        { "model/model.safetensors", "too short", "model.safetensors" },
        { "model/pytorch_model.bin", "weights",
          "has its weights in pytorch_model.bin; only model.safetensors is read" },
        { "model/config.json", "{\"hidden_size\": 10}", "hidden_size 10 cannot be shared by 12" },
        { "model/config.json", "{\"vocab_size\": 600, \"max_position_embeddings\": 40}",
          "vocab.json has 684 tokens" },
        { "sst2/dev.tsv", "sentence\tlabel\n", "dev.tsv" },
        { "sst2/dev.tsv", "sentence\tlabel\ngood\t2\n", "dev.tsv" },
        { "model/merges.txt", "#version\nno such\n", "merges.txt" },
        { "model/vocab.json", "{\"a\": 7}", "vocab.json" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char path[1300];
        prepare();
        print_to(path, sizeof path, "%s/%s", root, cases[i].file);
        write_text(path, cases[i].text);
        Output o = sst2("--epochs 1");
        const char *end = strchr(o.err, '\n');
        check(o.status == 1 && end && end[1] == '\0', "case %zu: status %d, %s", i, o.status,
              o.err);
        check(strstr(o.err, cases[i].message), "case %zu: %s", i, o.err);
        output_free(&o);
        unlink(path);
    }
}

/* ---- roberta_pretrain, lora_lab ------------------------------------------------------------- */

/* A file of float32 becomes one of bfloat16: of each number the upper half, which is
 * little-endian's second. */
static void make_half(const char *path)
{
    char *text = NULL, *bytes = read_file(path), dims[64];
    size_t size = 0;
    SafeTensors *f = lk_safetensors_open(path, NULL);
    FILE *header = open_memstream(&text, &size), *out;
    check(f && header);
    int64_t start = f->entries[0].offset;
    for (int i = 0; i < f->count; i++) {
        const SafeTensorsEntry *e = &f->entries[i];
        snprintf(dims, sizeof dims, e->ndim == 2 ? "%lld,%lld" : "%lld", (long long)e->shape[0],
                 (long long)e->shape[1]);
        fprintf(header,
                "%c\"%s\":{\"dtype\":\"BF16\",\"shape\":[%s],\"data_offsets\":[%lld,%lld]}",
                i ? ',' : '{', e->name, dims, (long long)(e->offset - start) / 2,
                (long long)(e->offset + e->bytes - start) / 2);
    }
    check(fputc('}', header) == '}' && fclose(header) == 0);
    out = fopen(path, "wb");
    check(out && fwrite(&(uint64_t){ size }, 8, 1, out) == 1 &&
          fwrite(text, 1, size, out) == size);
    for (int64_t i = start + 2; i < f->size; i += 4) check(fwrite(bytes + i, 2, 1, out) == 1);
    check(fclose(out) == 0);
    lk_safetensors_close(f);
    free(text);
    free(bytes);
}

/* The folder that is written is a model for roberta_sst2. The same seed gives the same file. */
Test(roberta_pretrain, makes_a_base)
{
    prepare();
    char base[1200];
    for (int run = 0; run < 2; run++) {
        Output o =
            run_program("./roberta_pretrain --model '%s' --data '%s' --output '%s/base%d' "
                        "--threads %d --layers 2 "
                        "--hidden 16 --heads 2 --init 0.05 --lr 1e-3 --batch-size 16 --steps 100 "
                        "--json '%s/p.json'",
                        model, root, root, run, run + 1, root);
        check(o.status == 0 && o.err[0] == '\0', "%s", o.err);
        check(strstr(o.out, "Model: 2 layers of 16, "), "%s", o.out);
        output_free(&o);
    }
    char *json = text_of("p.json");
    check(number_of(json, "\"steps\": ") == 100 && number_of(json, "\"dev_loss\": ") < 3.5, "%s",
          json);
    free(json);
    print_to(base, sizeof base, "cmp '%s/base0/model.safetensors' '%s/base1/model.safetensors'",
             root, root);
    check(system(base) == 0, "two runs made different models");
    print_to(model, sizeof model, "%s/base0", root);
    Output o = sst2_ok("--eval-only");
    check(strstr(o.out, "Not used of it: lm_head.") &&
              strstr(o.out, "so newly initialised: classifier."),
          "%s", o.out);
    check(!strstr(o.out, "half precision"));
    double loss = number_of(o.out, "'eval_loss': ");
    output_free(&o);

    print_to(base, sizeof base, "%s/model.safetensors", model);
    make_half(base);
    o = sst2_ok("--eval-only");
    check(strstr(o.out, "In half precision, so copied and converted to float32: 37\n"), "%s",
          o.out);
    check(fabs(number_of(o.out, "'eval_loss': ") - loss) < 1e-2 * loss, "%s", o.out);
    output_free(&o);
}

Test(roberta_pretrain, bad_input)
{
    prepare();
    check_refused(run_program("./roberta_pretrain --model '%s' --data '%s'", model, root), 1,
                  "--output DIR is missing");
    check_refused(
        run_program("./roberta_pretrain --model '%s' --data '%s' --output '%s/.' --steps 1", model,
                    root, model),
        1, "is the folder of --model");
    char path[1300];
    print_to(path, sizeof path, "%s/sst2/dev.tsv", root);
    write_text(path, "sentence\tlabel\n~~~\t0\n"); /* no word of train.tsv */
    Output o = run_program(
        "./roberta_pretrain --model '%s' --data '%s' --output '%s' --layers 1 --hidden 16 "
        "--heads 2 --steps 1",
        model, root, output);
    check(o.status == 1 && strstr(o.err, "dev.tsv: none of its tokens was hidden"), "%s", o.err);
    check(!strstr(o.out, "step") && !exists("out/model.safetensors"), "%s", o.out);
    output_free(&o);
}

/* The files of a model are there before its weights, and old weights go before these change; fewer
 * steps than a line of the log stands for have a loss. */
Test(roberta_pretrain, writes_the_weights_last)
{
    prepare();
    static const char command[] =
        "./roberta_pretrain --model '%s' --data '%s' --output '%s' --threads 1 --layers 1 "
        "--hidden 16 --heads 2 --batch-size 16 --steps 3 --json '%s/p.json'";
    make_folder(output);
    char path[1300];
    print_to(path, sizeof path, "%s/model.safetensors", output);
    make_folder(path); /* nothing can be written there */
    Output o = run_program(command, model, root, output, root);
    check(o.status == 1 && strstr(o.err, "model.safetensors: cannot be written: it is a folder"),
          "%s", o.err);
    check(exists("out/config.json") && exists("out/vocab.json") && exists("out/merges.txt"));
    output_free(&o);
    check(rmdir(path) == 0);
    o = run_program(command, model, root, output, root);
    check(o.status == 0, "%s", o.err);
    output_free(&o);
    char *json = text_of("p.json");
    check(number_of(json, "\"train_loss\": ") > 1 && number_of(json, "\"steps\": ") == 3, "%s",
          json);
    free(json);

    print_to(path, sizeof path, "%s/config.json", output);
    check(exists("out/model.safetensors") && unlink(path) == 0);
    make_folder(path); /* the settings of the next one cannot be written */
    o = run_program(command, model, root, output, root);
    check(o.status == 1 && strstr(o.err, "config.json: cannot be written: it is a folder"), "%s",
          o.err);
    check(!exists("out/model.safetensors"), "weights without the settings that belong to them");
    output_free(&o);
}

/* Of a model in the usual place it reads the tokenizer only; roberta_sst2 says what else it
 * needs. */
Test(roberta_pretrain, needs_only_a_tokenizer)
{
    prepare();
    char path[1300];
    print_to(path, sizeof path, "%s/config.json", model);
    check(unlink(path) == 0);
    print_to(path, sizeof path, "%s/roberta-base", root);
    check(rename(model, path) == 0);
    Output o = run_program(
        "LORIKEET_DATA='%s' ./roberta_pretrain --output '%s' --threads 1 --layers 1 --hidden 16 "
        "--heads 2 --steps 1",
        root, output);
    check(o.status == 0 && exists("out/model.safetensors"), "%s", o.err);
    output_free(&o);
    check_refused(run_program("LORIKEET_DATA='%s' ./roberta_sst2 --output '%s'", root, output), 1,
                  "roberta-base/config.json: cannot be opened");
}

/* grep leaves after the first run's line, and the lab ends at its next one. */
Test(lora_lab, what_was_measured_stays)
{
    prepare();
    Output o = run_program(
        "./lora_lab --model '%s' --data '%s' --threads 1 --train-rows 32 --epochs 1 --seeds 1 "
        "--max-length 38 --json '%s/lab.json' --report '%s/lab.html' | grep -m 1 ', seed 42: '",
        model, root, root, root);
    check(strncmp(o.out, "full fine-tuning, seed 42: ", 27) == 0, "%s%s", o.out, o.err);
    char *json = text_of("lab.json"), *page = text_of("lab.html");
    check(number_of(json, "\"accuracy\": [") > 0.2 &&
              number_of(json, "\"base_parameters\": ") == 16386,
          "%s", json);
    double bytes = number_of(json, "\"file_bytes\": ");
    check(bytes > 4 * 16386 && bytes < 5 * 16386, "%s", json);
    check(strstr(page, "Not all has been run yet") && strstr(page, "</html>"));
    free(page);
    free(json);
    output_free(&o);
}

Test(lora_lab, tables_and_page)
{
    prepare();
    Output o = run_program(
        "./lora_lab --model '%s' --data '%s' --threads 1 --train-rows 64 --epochs 1 --seeds 2 "
        "--max-length 38 --json '%s/lab.json' --report '%s/lab.html'",
        model, root, root, root);
    check(o.status == 0 && o.err[0] == '\0', "%s\n%s", o.err, o.out);
    static const char *const names[] = {
        "full fine-tuning", "LoRA, rank 1", "LoRA, rank 32", "query, value",
        "all attention",    "feed-forward", "head"
    };
    char *json = text_of("lab.json"), *page = text_of("lab.html");
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        check(strstr(o.out, names[i]) && strstr(json, names[i]) && strstr(page, names[i]), "%s",
              names[i]);
    check(count_text(o.out, ", seed 42: ") == 11 && count_text(o.out, ", seed 43: ") == 11, "%s",
          o.out);
    check(count_text(json, "\"trainable\": ") == 11 && count_text(page, "<svg") == 2);
    check(!strstr(page, "Not all has been run yet"));
    free(page);
    free(json);
    output_free(&o);
    check_refused(run_program("./lora_lab --rank 3"), 1, "--rank 3 is none of 1, 2, 4, 8, 16, 32");
}
