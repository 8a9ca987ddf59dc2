/* test_printable.c - names from files reach neither messages nor lists with codes for the terminal
 * in them. */
#include "tests/check.h"

#include <string.h>
#include <sys/stat.h>

#include "core/strict.h"
#include "core/tape.h"
#include "data/csv.h"
#include "data/names.h"
#include "data/peft.h"
#include "data/safetensors.h"
#include "data/tokenizer.h"
#include "nn/linear.h"
#include "nn/trainer_log.h"

/* A colour, a new title of the window, a line of its own, and a code of one character: CSI. */
#define BAD "\033[31mred\033]0;title\007\nline\r\302\2332J"
#define SHOWN "\\x1b[31mred\\x1b]0;title\\x07\\nline\\r\\xc2\\x9b2J"

static void check_shown(const char *text, const char *expected)
{
    char shown[200];
    check(lk_printable(text, shown, sizeof shown) == strlen(expected));
    check(strcmp(shown, expected) == 0, "%s instead of %s", shown, expected);
}

Test(printable, text)
{
    check_shown("", "");
    check_shown(NULL, "NULL");
    check_shown("layers.0.weight", "layers.0.weight");
    check_shown("Größe €  \xf0\x9f\x90\xa6 \302\240 \302\277",
                "Größe €  \xf0\x9f\x90\xa6 \302\240 \302\277");
    check_shown(BAD, SHOWN);
    check_shown("\x7f\001\t\302", "\\x7f\\x01\\t\302"); /* cut in the middle of a character */
    char shown[8];
    for (size_t size = 0; size < sizeof shown; size++) {
        memset(shown, '#', sizeof shown);
        check(lk_printable("ab\033c", shown, size) == 7 && shown[size] == '#');
        check(size == 0 ||
              (strlen(shown) == size - 1 && strncmp(shown, "ab\\x1bc", size - 1) == 0));
    }
    check(lk_printable("ab\033c", NULL, 0) == 7);
}

static void check_clean(const char *text)
{
    char shown[4096];
    lk_printable(text, shown, sizeof shown);
    check(strcmp(text, shown) == 0, "%s", shown);
}

static void check_told(Error *err, const char *part)
{
    check(err->code != LK_OK && strstr(err->message, part), "'%s' is not in: %s", part,
          err->message);
    check_clean(err->message);
    *err = (Error){ 0 };
}

static void hear(const Error *err, void *user) { *(Error *)user = *err; }

Test(printable, messages)
{
    Error err = { 0 }, heard = { 0 };
    lk_error_set(&err, LK_EVALUE, "name: %s", BAD);
    lk_error_pass(&heard, &err); /* a second time changes nothing */
    check_told(&heard, "name: " SHOWN);
    check_told(&err, SHOWN);
    Tape *t = lk_tape_new(NULL);
    lk_tape_on_error(t, hear, &heard);
    lk_fail(t, LK_EVALUE, "%s", BAD);
    check_told(&heard, SHOWN);
    lk_on_strict(hear, &heard);
    lk_strict_report(LK_EVALUE, "%s", BAD);
    check_told(&heard, SHOWN);
    lk_tape_free(t);
    char name[sizeof err.message] = ""; /* grows behind the end */
    memset(name, '\033', sizeof name - 1);
    lk_error_set(&err, LK_EVALUE, "%s", name);
    check(strlen(err.message) == sizeof err.message - 1);
    check_told(&err, "\\x1b\\x1b");
}

Test(printable, lists)
{
    Error err = { 0 };
    Names names = { 0 };
    char text[100];
    check(lk_names_add(&names, &err, "a") && lk_names_add(&names, &err, "%s", BAD));
    check(strcmp(lk_names_text(&names, text, sizeof text), "a, " SHOWN) == 0, "%s", text);
    for (size_t size = 1; size < 60; size++) check_clean(lk_names_text(&names, text, size));
    lk_names_free(&names);
    TrainerLog log = { 0 };
    lk_trainer_log_add(&log, "\033[31mx", 1);
    FILE *f = fopen(check_scratch("log"), "w+");
    lk_trainer_log_print(f, &log);
    rewind(f);
    check(fgets(text, sizeof text, f) && strcmp(text, "{'\\x1b[31mx': 1.0}\n") == 0, "%s", text);
    fclose(f);
}

/* ---- files ---------------------------------------------------------------------------------- */

/* A file with tensors of these names. */
static const char *tensors_file(const char *first, const char *second)
{
    const char *path = check_scratch("bad.safetensors");
    StateDict *state = lk_state_dict_empty_new(NULL);
    check(lk_state_dict_add(state, first, lk_tensor_new(LK_F32, LK_SHAPE(2, 3), NULL), NULL));
    check(lk_state_dict_add(state, second, lk_tensor_new(LK_F32, LK_SHAPE(5), NULL), NULL));
    check(lk_save_safetensors(state, NULL, path, NULL));
    lk_state_dict_free(state);
    return path;
}

Test(printable, tensors_of_a_file)
{
    Rng rng;
    Error err = { 0 };
    lk_manual_seed(&rng, 0);
    Module *m = lk_linear_new(3, 2, true, &rng, NULL);
    const char *path = tensors_file("weight", BAD);
    check(!lk_load_module(m, path, true, &err));
    check_told(&err, SHOWN);
    check(!lk_load_module_mapped(m, path, NULL, NULL, &err));
    check_told(&err, SHOWN);
    StateDict *state = lk_load_safetensors(path, &err);
    check(!lk_load_state_dict(m, state, true, &err));
    check_told(&err, SHOWN);
    lk_state_dict_free(state);
    lk_free(m);
}

static const char *text_file(const char *name, const char *text)
{
    const char *path = check_scratch(name);
    FILE *f = fopen(path, "wb");
    check(f && fputs(text, f) >= 0 && fclose(f) == 0);
    return path;
}

Test(printable, names_in_other_files)
{
    Error err = { 0 };
    Csv *csv = lk_csv_new(text_file("bad.csv", "1,2\n3,x\033[0m\n"), NULL, &err);
    check(!csv);
    check_told(&err, "\\x1b[");
    const char *folder = check_scratch("model");
    check(mkdir(folder, 0777) == 0);
    text_file("model/merges.txt", "#version: 0.2\n");
    text_file("model/vocab.json", "{\"a\\u001b[31m\": 0, \"a\\u001b[31m\": 1}");
    check(!lk_tokenizer_new(folder, &err));
    check_clean(err.message);
}
