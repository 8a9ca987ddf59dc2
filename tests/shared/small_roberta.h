/* small_roberta.h - for the tests of the programs of RoBERTa: a model of two layers of 16 with the
 * tokenizer of tests/fixtures, and sentences in which what is good is good and what is bad is bad:
 * even such a model learns it. */
#ifndef SMALL_ROBERTA_H
#define SMALL_ROBERTA_H

#include <math.h>
#include <unistd.h>

#include "data/safetensors.h"
#include "tests/shared/programs.h"

static char root[1024], model[1100], output[1100];

static inline void write_text(const char *path, const char *text)
{
    FILE *f = fopen(path, "wb");
    check(f && fputs(text, f) >= 0 && fclose(f) == 0, "%s", path);
}

static inline void write_sentences(const char *name, int count)
{
    static const char *const words[2][5] = { { "bad", "awful", "dull", "worst", "boring" },
                                             { "good", "great", "fine", "best", "moving" } };
    static const char *const rest[] = { "the film is", "a plot so", "this is one of the",
                                        "it was" };
    char path[1200];
    print_to(path, sizeof path, "%s/sst2/%s", root, name);
    FILE *f = fopen(path, "wb");
    check(f);
    fputs("sentence\tlabel\n", f);
    for (int i = 0; i < count; i++) {
        int label = (i * 7 / 3) % 2;
        fprintf(f, "%s %s %s \t%d\n", rest[i % 4], words[label][i % 5],
                i % 3 ? "and well made" : "", label);
    }
    check(fclose(f) == 0);
}

static const char config[] =
    "{\"vocab_size\": 684, \"hidden_size\": 16, \"num_hidden_layers\": 2, "
    "\"num_attention_heads\": 2,"
    " \"intermediate_size\": 32, \"max_position_embeddings\": 40, \"pad_token_id\": null,"
    " \"hidden_dropout_prob\": 0.0, \"attention_probs_dropout_prob\": 0.0, \"initializer_range\": "
    "0.2}\n";

/* root/sst2/, and a model without weights. */
static inline void prepare(void)
{
    char line[4096], path[1200];
    print_to(root, sizeof root, "%s", check_scratch("data"));
    print_to(model, sizeof model, "%s/model", root);
    print_to(output, sizeof output, "%s/out", root);
    make_folder(root);
    make_folder(model);
    print_to(path, sizeof path, "%s/sst2", root);
    make_folder(path);
    write_sentences("train.tsv", 160);
    write_sentences("dev.tsv", 40);
    print_to(path, sizeof path, "%s/config.json", model);
    write_text(path, config);
    print_to(line, sizeof line, "cp '%s' '%s' '%s'", check_fixture("tokenizer/vocab.json"),
             check_fixture("tokenizer/merges.txt"), model);
    check(system(line) == 0);
}

/* roberta_sst2 on these, with more options. */
static inline Output sst2(const char *more)
{
    return run_program(
        "./roberta_sst2 --model '%s' --data '%s' --output '%s' --threads 1 --max-length 38 "
        "--batch-size 16 %s",
        model, root, output, more);
}

static inline Output sst2_ok(const char *more)
{
    Output o = sst2(more);
    check(o.status == 0, "%s: status %d: %s\n%s", more, o.status, o.err, o.out);
    check(o.err[0] == '\0', "%s", o.err);
    return o;
}

static inline bool exists(const char *name)
{
    char path[1300];
    print_to(path, sizeof path, "%s/%s", root, name);
    return access(path, R_OK) == 0;
}

static inline char *text_of(const char *name)
{
    char path[1300];
    print_to(path, sizeof path, "%s/%s", root, name);
    return read_file(path);
}

static inline double number_of(const char *text, const char *key)
{
    const char *at = strstr(text, key);
    check(at, "no %s in %s", key, text);
    return strtod(at + strlen(key), NULL);
}

/* The text behind "Eval Results", without the run time. */
static inline void results_of(const Output *o, char text[128])
{
    const char *at = strstr(o->out, "Eval Results: ");
    check(at, "%s", o->out);
    const char *end = strstr(at, ", 'eval_runtime'");
    check(end && end - at < 128);
    memcpy(text, at, (size_t)(end - at));
    text[end - at] = '\0';
}

#endif
