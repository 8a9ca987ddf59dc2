/* test_tokenizer_load.c - vocab.json and merges.txt that are wrong, each in one way; what right
 * ones may look like. */
#include "tests/shared/tokenizer_files.h"

#ifdef LK_HAVE_UTF8PROC

enum { VOCAB, MERGES };
static const char *const file_names[] = { "vocab.json", "merges.txt" };

static void put_file(const char *folder, int file, const char *bytes, size_t size)
{
    char path[1200];
    print_to(path, sizeof path, "%s/%s", folder, file_names[file]);
    FILE *f = fopen(path, "wb");
    check(f && fwrite(bytes, 1, size, f) == size && fclose(f) == 0);
}

/* A copy of the fixture's files, with `from` in one of them replaced by `to` (all of it: from =
 * NULL). */
static const char *changed_folder(int file, const char *from, const char *to)
{
    static char folder[1024];
    print_to(folder, sizeof folder, "%s", check_scratch("model"));
    make_folder(folder);
    for (int i = 0; i < 2; i++) {
        char name[64];
        print_to(name, sizeof name, "tokenizer/%s", file_names[i]);
        char *text = read_file(check_fixture(name)),
             *at = i == file && from ? strstr(text, from) : NULL;
        if (i != file) put_file(folder, i, text, strlen(text));
        else if (!from) put_file(folder, i, to, strlen(to));
        else {
            check(at, "'%s' is not in %s", from, file_names[i]);
            size_t room = strlen(text) + strlen(to) + 1;
            char *other = malloc(room);
            print_to(other, room, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
            put_file(folder, i, other, strlen(other));
            free(other);
        }
        free(text);
    }
    return folder;
}

static void check_load_refused(const char *folder, ErrorCode code, const char *text)
{
    Error err = { 0 };
    Tokenizer *tok = lk_tokenizer_new(folder, &err);
    check(!tok, "read, but expected \"%s\"", text);
    check(err.code == code && strstr(err.message, text),
          "expected code %d, \"%s\"; got %d, \"%s\"", (int)code, text, (int)err.code, err.message);
    check(strncmp(err.message, "lk_tokenizer_new: ", 18) == 0, "%s", err.message);
    check(check_alloc_live() == 0);
}

/* ---- content -------------------------------------------------------------------------------- */

Test(tokenizer_load, wrong_content)
{
    static const struct {
        int file;
        const char *from, *to, *message;
    } cases[] = {
        { VOCAB, NULL, "", "vocab.json: is empty" },
        { VOCAB, NULL, "[]", "vocab.json: is no JSON object" },
        { VOCAB, NULL, "{}", "vocab.json: has no tokens" },
        { VOCAB, NULL, "7", "vocab.json: is no JSON object" },
        { VOCAB, NULL, "{\"a\": 0", "vocab.json: is not JSON" },
        { VOCAB, NULL, "{\"a\": 0} {}", "vocab.json: is not JSON" },
        { VOCAB, NULL, "{\"a\xFF\": 0}", "vocab.json: is not UTF-8 (line 1, byte 4)" },
        { VOCAB, NULL, "{\"a\\u0000\": 0}", "vocab.json: has a text with \\u0000" },
        { VOCAB, NULL, "{\"a\": 99999999999999999999}",
          "vocab.json: has a whole number beyond 64 bits" },
        { VOCAB, "{", "\xEF\xBB\xBF{", "vocab.json: begins with a byte order mark" },
        { VOCAB, "\"<pad>\"", "\"<s>\"", "has a key twice" },
        { VOCAB, "\"<s>\": 0", "\"<s>\": \"0\"", "the id of token \"<s>\" is no whole number" },
        { VOCAB, "\"<s>\": 0", "\"<s>\": 0.0", "the id of token \"<s>\" is no whole number" },
        { VOCAB, "\"<s>\": 0", "\"<s>\": null", "the id of token \"<s>\" is no whole number" },
        { VOCAB, "\"<s>\": 0", "\"<s>\": -1", "token \"<s>\" has id -1; ids are 0 to 683" },
        { VOCAB, "\"<s>\": 0", "\"<s>\": 4294967296",
          "token \"<s>\" has id 4294967296; ids are 0 to 683" },
        { VOCAB, "\"<s>\": 0", "\"<s>\": 1", "tokens \"<s>\" and \"<pad>\" have the same id 1" },
        { VOCAB, "\"<s>\": 0", "\"<s>\": 684",
          "no token has id 0; 684 tokens have the ids 0 to 683, without a hole" },
        { VOCAB, "\"<unk>\": 3,", "",
          "no token has id 3; 683 tokens have the ids 0 to 682, without a hole" },
        { VOCAB, "\"never\"", "\"ne ver\"", "token \"ne ver\" (id " },
        /* 256 + 68 */
        { VOCAB, "\"never\"", "\"nev\u0144r\"", ") has a character that stands for no byte" },
        { VOCAB, "\"never\"", "\"日本\"", "token \"日本\" (id " },
        { VOCAB, "\"never\"", "\"\"", "is empty" },
        { VOCAB, "\"Ā\"", "\"ĀĀĀ\"", "no token stands for the byte 0x00" },
        { VOCAB, "\"ÿ\"", "\"ÿÿÿ\"", "no token stands for the byte 0xFF" },
        { VOCAB, "\"<s>\"", "\"<S>\"", "has no token \"<s>\"" },
        { VOCAB, "\"<mask>\"", "\"<mosk>\"", "has no token \"<mask>\"" },
        { MERGES, NULL, "", "merges.txt: is empty" },
        { MERGES, NULL, "#version: 0.2\n", "merges.txt: has no merges" },
        { MERGES, NULL, "#version: 0.2", "merges.txt: has no merges" },
        { MERGES, NULL, "\n", "line 1, \"\", is not two tokens with one space between" },
        { MERGES, NULL, "#version: 0.2\nt h\n\n", "line 3, \"\", is not two tokens" },
        { MERGES, NULL, "#version: 0.2\nth\n", "line 2, \"th\", is not two tokens" },
        { MERGES, NULL, "#version: 0.2\nt  h\n", "line 2, \"t  h\", is not two tokens" },
        { MERGES, NULL, "#version: 0.2\n t h\n", "line 2, \" t h\", is not two tokens" },
        { MERGES, NULL, "#version: 0.2\nt h \n", "line 2, \"t h \", is not two tokens" },
        { MERGES, NULL, "#version: 0.2\nt h e", "line 2, \"t h e\", is not two tokens" },
        { MERGES, NULL, " ", "line 1, \" \", is not two tokens" },
        { MERGES, NULL, "t h\n#version: 0.2\n",
          "line 2 names \"#version:\", which is not in the vocabulary" },
        { MERGES, NULL, "#version: 0.2\nt h\nt qqq\n",
          "line 3 names \"qqq\", which is not in the vocabulary" },
        { MERGES, NULL, "t \xFF\n", "line 1 names \"\xFF\", which is not" },
        { MERGES, NULL, "t h\nq q\n",
          "line 2: the token that \"q q\" make is not in the vocabulary" },
        { MERGES, NULL, "t h\nh e\nt h\n", "line 3: \"t h\" is there a second time" },
        { MERGES, NULL, "#version: 0.2\r\nt h\r\n", "line 2 ends with CR LF" },
        { MERGES, NULL, "\xEF\xBB\xBF#version: 0.2\nt h\n",
          "merges.txt: begins with a byte order mark" },
    };
    check_alloc_begin();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_load_refused(changed_folder(cases[i].file, cases[i].from, cases[i].to), LK_EFORMAT,
                           cases[i].message);
}

Test(tokenizer_load, tokens_have_a_limit)
{
    static char text[5000] = "\"never";
    memset(text + 6, 'a', sizeof text - 8);
    text[sizeof text - 2] = '"';
    check_alloc_begin();
    check_load_refused(changed_folder(VOCAB, "\"never\"", text), LK_EFORMAT,
                       "has 4997 bytes; at most 4096");
    memset(text, 'a', sizeof text - 1);
    text[sizeof text / 2] = ' ';
    check_load_refused(changed_folder(MERGES, NULL, text), LK_EFORMAT, "line 1 names \"aaaaaa");
}

/* No comment, no LF at the end, white space in JSON, CR LF too. */
Test(tokenizer_load, what_is_allowed)
{
    static const struct {
        int file;
        const char *from, *to;
    } cases[] = { { MERGES, NULL, "t h" },
                  { MERGES, NULL, "#version: 0.2\nt h" },
                  { MERGES, "#version: 0.2\n", "" },
                  { VOCAB, "{", "\r\n\t {" } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Tokenizer *tok = load_tokenizer(changed_folder(cases[i].file, cases[i].from, cases[i].to));
        TokenIds ids = { 0 };
        encode_text(tok, "th", 2, &ids);
        check_ids(&ids, (int64_t[]){ 0, lk_tokenizer_id(tok, "th"), 2 }, 3, "th");
        lk_token_ids_free(&ids);
        lk_tokenizer_free(tok);
    }
}

/* Only line 1 can be a comment, and only with "#version": RoBERTa has merges that begin with #. */
Test(tokenizer_load, merges_with_a_number_sign)
{
    const char *folder = changed_folder(VOCAB, "\"never\"", "\"#h\"");
    put_file(folder, MERGES, "# h\n", 4);
    Tokenizer *tok = load_tokenizer(folder);
    TokenIds ids = { 0 };
    encode_text(tok, "#", 1, &ids);
    check_ids(&ids, (int64_t[]){ 0, lk_tokenizer_id(tok, "#"), 2 }, 3, "#");
    check(lk_tokenizer_id(tok, "#h") >= 0);
    lk_token_ids_free(&ids);
    lk_tokenizer_free(tok);
}

/* ---- files ---------------------------------------------------------------------------------- */

Test(tokenizer_load, files_that_are_not_there)
{
    char path[1200], other[1200];
    check_alloc_begin();
    check_load_refused(NULL, LK_EVALUE, "folder is NULL");
    check_load_refused(check_scratch("nowhere"), LK_EIO,
                       "nowhere/vocab.json: cannot be opened: No such file");
    check_load_refused(check_source("README.md"), LK_EIO,
                       "vocab.json: cannot be opened: Not a directory");
    const char *folder = changed_folder(MERGES, NULL, "t h\n");
    print_to(path, sizeof path, "%s/merges.txt", folder);
    check(remove(path) == 0);
    check_load_refused(folder, LK_EIO, "merges.txt: cannot be opened: No such file");
    check(mkdir(path, 0755) == 0);
    check_load_refused(folder, LK_EIO, "merges.txt: is not a regular file");
    check(rmdir(path) == 0 && symlink("/dev/null", path) == 0);
    check_load_refused(folder, LK_EIO, "merges.txt: is not a regular file");
    check(remove(path) == 0);
    print_to(other, sizeof other, "%s/vocab.json", folder);
    check(symlink(other, path) == 0); /* a file, but of another kind */
    check_load_refused(folder, LK_EFORMAT, "merges.txt: line 1, \"{\", is not two tokens");
    check(remove(path) == 0);
    static char long_name[6000];
    memset(long_name, 'a', sizeof long_name - 1);
    check_load_refused(long_name, LK_EIO, "the path is too long");
}

Test(tokenizer_load, out_of_memory)
{
    const char *folder = check_fixture("tokenizer");
    check_alloc_begin();
    int64_t tried = 0;
    for (int64_t n = 0, failed = 1; failed; n++, tried++) {
        Error err = { 0 };
        check_fail_after(n);
        Tokenizer *tok = lk_tokenizer_new(folder, &err);
        failed = check_alloc_failed();
        check(!tok == (failed > 0) && err.code == (failed ? LK_EMEMORY : LK_OK), "%s",
              err.message);
        lk_tokenizer_free(tok);
        check(check_alloc_live() == 0);
    }
    check(tried > 6);
}

/* With any byte changed the files are refused, or they are others that are right; then text still
 * comes back. */
Test(tokenizer_load, bytes_changed)
{
    static const char tries[] = { '\0', '"', ' ', '\n', '0', ',', 'a', '\x7f', '\xc4', '\xff' };
    char folder[1200];
    print_to(folder, sizeof folder, "%s", changed_folder(MERGES, "#version: 0.2\n", ""));
    char *text[2] = { read_file(check_fixture("tokenizer/vocab.json")),
                      read_file(check_fixture("tokenizer/merges.txt")) };
    const char *sentence = "it 's a charming and often affecting journey 😀";
    int accepted = 0, refused = 0;
    Rng rng;
    lk_manual_seed(&rng, 8);
    check_alloc_begin();
    for (int i = 0; i < 1500; i++) {
        int file = i % 2;
        int64_t size = (int64_t)strlen(text[file]), at = lk_random_int(&rng, 0, size);
        char before = text[file][at];
        text[file][at] = tries[lk_random_int(&rng, 0, sizeof tries)];
        put_file(folder, file, text[file], (size_t)size);
        Error err = { 0 };
        Tokenizer *tok = lk_tokenizer_new(folder, &err);
        check(!tok == (err.code == LK_EFORMAT), "%s", err.message);
        if (tok) {
            TokenIds ids = { 0 };
            encode_text(tok, sentence, strlen(sentence), &ids);
            char *back = lk_tokenizer_decode_new(tok, ids.items, ids.count, true, NULL, &err);
            check(back && strcmp(back, sentence) == 0, "'%s'", back);
            lk_mem_free(back);
            lk_token_ids_free(&ids);
        }
        (tok ? accepted++ : refused++);
        lk_tokenizer_free(tok);
        check(check_alloc_live() == 0);
        text[file][at] = before;
        put_file(folder, file, text[file], (size_t)size);
    }
    check(accepted > 20 && refused > 500, "%d accepted, %d refused", accepted, refused);
    free(text[0]);
    free(text[1]);
}

#else

Test(tokenizer_load, without_utf8proc)
{
    Error err = { 0 };
    check(!lk_tokenizer_new(check_fixture("tokenizer"), &err));
    check_error(&err, LK_ESTATE, "Lorikeet was built without utf8proc");
}

#endif
