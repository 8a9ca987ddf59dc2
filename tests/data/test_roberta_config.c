/* test_roberta_config.c - config.json of a RoBERTa: written, read, and what is refused. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "data/roberta_files.h"
#include "tests/check.h"

static const RobertaConfig small = {
    .vocab_size = 50,
    .hidden_size = 16,
    .num_hidden_layers = 3,
    .num_attention_heads = 4,
    .intermediate_size = 24,
    .max_position_embeddings = 14,
    .type_vocab_size = 1,
    .num_labels = 2,
    .pad_token_id = 1,
    .bos_token_id = 0,
    .eos_token_id = 2,
    .hidden_dropout_prob = 0.1,
    .attention_probs_dropout_prob = 0.1,
    .layer_norm_eps = 1e-5,
    .initializer_range = 0.02,
    .classifier_dropout = 0.25,
};

Test(roberta_config, written_and_read)
{
    Error err = { 0 };
    RobertaConfig c;
    char folder[1024];
    snprintf(folder, sizeof folder, "%s", check_scratch("config.json"));
    *strrchr(folder, '/') = '\0';
    check(lk_roberta_config_write(&small, "RobertaForMaskedLM", folder, &err), "%s", err.message);
    check(lk_roberta_config_read(&c, folder, &err), "%s", err.message);
    check(memcmp(&c, &small, sizeof c) == 0);
}

static bool read_text(RobertaConfig *c, const char *text, Error *err)
{
    char folder[1024];
    snprintf(folder, sizeof folder, "%s", check_write("config.json", text, strlen(text)));
    *strrchr(folder, '/') = '\0';
    return lk_roberta_config_read(c, folder, err);
}

Test(roberta_config, defaults_and_nulls)
{
    RobertaConfig c;
    Error err = { 0 };
    check(read_text(&c, "{}", &err) && memcmp(&c, &lk_roberta_base, sizeof c) == 0, "%s",
          err.message);
    check(read_text(&c,
                    "{\"pad_token_id\": null, \"bos_token_id\": null, \"id2label\": "
                    "{\"0\":\"a\",\"1\":\"b\",\"2\":\"c\"},"
                    "\"unknown\": [1]}",
                    &err),
          "%s", err.message);
    check(c.pad_token_id == 1 && c.bos_token_id == 0 && c.eos_token_id == 2 && c.num_labels == 3);
}

/* Null, as transformers writes it, comes back as null. */
Test(roberta_config, classifier_dropout)
{
    RobertaConfig c;
    Error err = { 0 };
    check(read_text(&c, "{\"classifier_dropout\": 0.5}", &err) && c.classifier_dropout == 0.5,
          "%s", err.message);
    check(read_text(&c, "{\"classifier_dropout\": null}", &err) && isnan(c.classifier_dropout),
          "%s", err.message);
    char folder[1024], *text = NULL;
    snprintf(folder, sizeof folder, "%s", check_scratch("config.json"));
    FILE *file = NULL;
    size_t room = 0;
    *strrchr(folder, '/') = '\0';
    check(lk_roberta_config_write(&c, "RobertaForMaskedLM", folder, &err), "%s", err.message);
    file = fopen(check_scratch("config.json"), "r");
    check(file && getdelim(&text, &room, '\0', file) > 0 &&
              strstr(text, "\"classifier_dropout\": null"),
          "%s", text);
    fclose(file);
    free(text);
    c.classifier_dropout = 0.1;
    check(lk_roberta_config_read(&c, folder, &err) && isnan(c.classifier_dropout), "%s",
          err.message);
}

Test(roberta_config, bad_files)
{
    static const struct {
        const char *text;
        ErrorCode code;
        const char *message;
    } cases[] = {
        { "", LK_EFORMAT, "is empty" },
        { "{\n\"hidden_size\": 16,\n}", LK_EFORMAT, "(line 3, byte 1, after \"hidden_size\")" },
        { "[]", LK_EFORMAT, "is no JSON object" },
        { "{\"hidden_size\": 16, \"hidden_size\": 16}", LK_EFORMAT,
          "has a key twice in the object that ends here (line 1, byte 39, after "
          "\"hidden_size\")" },
        { "{\"hidden_size\": \"16\"}", LK_EVALUE, "hidden_size is no whole number" },
        { "{\"hidden_size\": 16.5}", LK_EVALUE, "hidden_size is no whole number" },
        { "{\"hidden_size\": 0}", LK_EVALUE, "hidden_size is 0; it must be between 2 and" },
        { "{\"hidden_size\": -768}", LK_EVALUE, "hidden_size is -768" },
        { "{\"hidden_size\": 770}", LK_EVALUE,
          "hidden_size 770 cannot be shared by 12 num_attention_heads" },
        { "{\"num_hidden_layers\": 9000000000000000000}", LK_EVALUE,
          "num_hidden_layers is 9e+18" },
        { "{\"num_hidden_layers\": 99999999999999999999}", LK_EFORMAT,
          "has a whole number beyond 64 bits (line 1, byte 43, after \"num_hidden_layers\")" },
        { "{\"vocab_size\": 16000000, \"hidden_size\": 12000000}", LK_EVALUE,
          "at most 1e11 are allowed" },
        { "{\"pad_token_id\": 50265}", LK_EVALUE, "must be less than vocab_size" },
        { "{\"max_position_embeddings\": 3}", LK_EVALUE, "at least two more must be left" },
        { "{\"hidden_dropout_prob\": 1}", LK_EVALUE,
          "hidden_dropout_prob is 1; it must be between 0 and" },
        { "{\"classifier_dropout\": -0.1}", LK_EVALUE,
          "classifier_dropout is -0.1; it must be between 0 and" },
        { "{\"layer_norm_eps\": 0}", LK_EVALUE, "layer_norm_eps is 0" },
        { "{\"hidden_act\": \"relu\"}", LK_EVALUE,
          "hidden_act is \"relu\"; only \"gelu\" is implemented" },
        { "{\"hidden_act\": 3}", LK_EVALUE, "hidden_act is \"(no text)\"" },
        { "{\"model_type\": \"bert\"}", LK_EVALUE, "model_type is \"bert\"" },
        { "{\"position_embedding_type\": \"relative_key\"}", LK_EVALUE, "only \"absolute\"" },
        { "{\"is_decoder\": true}", LK_EVALUE, "the model is a decoder" },
        { "{\"pruned_heads\": {\"0\": [1]}}", LK_EVALUE, "pruned_heads" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        RobertaConfig c;
        Error err = { 0 };
        check(!read_text(&c, cases[i].text, &err), "accepted: %s", cases[i].text);
        check(err.code == cases[i].code && strstr(err.message, cases[i].message), "%s: %s",
              cases[i].text, err.message);
        check(strstr(err.message, "config.json"), "%s", err.message);
    }
    RobertaConfig c;
    Error err = { 0 };
    check(!lk_roberta_config_read(&c, check_scratch("nowhere"), &err));
    check_error(&err, LK_EIO, "nowhere/config.json: cannot be opened");
}
