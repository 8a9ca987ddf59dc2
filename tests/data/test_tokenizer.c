/* test_tokenizer.c - text to ids and back: the reference's ids for hard texts, its classes of all
 * characters, and what must hold for any bytes. Files that are wrong: test_tokenizer_load.c. */
#include "tests/shared/tokenizer_files.h"

#include "data/tokenizer_words.h"

#ifdef LK_HAVE_UTF8PROC
#include <utf8proc.h>
#endif

/* ---- words ---------------------------------------------------------------------------------- */

/* A text, and the same with a bar where each of its words ends. */
Test(tokenizer, words)
{
    static const char *const cases[] = {
        /* clang-format off */
        "it's 'tis", "it|'s| '|tis|",
        "we'll've'd", "we|'ll|'ve|'d|",
        "WE'LL 'r", "WE|'|LL| '|r|",
        "a1 b2, !?'s", "a|1| b|2|,| !?'|s|",
        "a   b", "a|  | b|",
        "a \n\n b\n", "a| \n\n| b|\n|",
        "\nb\t\tc", "\n|b|\t|\t|c|",
        "   ", "   |",
        "", "",
        /* clang-format on */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i += 2) {
        const char *text = cases[i];
        char bars[64] = "";
        for (size_t size = strlen(text), n; size > 0; text += n, size -= n) {
            bool broken;
            n = lk__word((const unsigned char *)text, size, &broken);
            check(n > 0 && n <= size && !broken);
            strcat(strncat(bars, text, n), "|");
        }
        check(strcmp(bars, cases[i + 1]) == 0, "'%s', expected '%s'", bars, cases[i + 1]);
    }
}

#ifdef LK_HAVE_UTF8PROC

/* ---- the reference's cases: tests/fixtures/make_tokenizer.mjs ------------------------------- */

typedef struct Bytes {
    unsigned char *data;
    size_t size;
} Bytes;

/* Each of these takes a field and the space behind it. */
static Bytes next_hex(const char **at)
{
    size_t digits = strcspn(*at, " \n");
    Bytes b = { calloc(digits / 2 + 1, 1), 0 };
    for (; (*at)[0] != '-' && b.size < digits / 2; b.size++) {
        unsigned byte;
        check(sscanf(*at + 2 * b.size, "%2x", &byte) == 1);
        b.data[b.size] = (unsigned char)byte;
    }
    *at += digits + ((*at)[digits] == ' ');
    return b;
}

static int64_t next_number(const char **at)
{
    char *end;
    long long n = strtoll(*at, &end, 10);
    check(end > *at, "no number: %.40s", *at);
    *at = end + (*end == ' ');
    return n;
}

static void next_bar(const char **at)
{
    check(strncmp(*at, "| ", 2) == 0, "no bar: %.40s", *at);
    *at += 2;
}

/* Numbers up to the bar or the end of the line; "-": none. */
static void next_ids(const char **at, TokenIds *ids)
{
    ids->count = 0;
    if (**at == '-') *at += 1 + ((*at)[1] == ' ');
    else
        while (**at >= '0' && **at <= '9') check(lk_token_ids_add(ids, next_number(at), NULL));
}

static uint32_t fnv(const TokenIds *ids)
{
    uint32_t h = 0x811C9DC5;
    for (int64_t i = 0; i < ids->count; i++)
        for (int k = 0; k < 4; k++)
            h = (h ^ (uint32_t)(ids->items[i] >> 8 * k & 255)) * 0x01000193;
    return h;
}

/* One kind of case (e, p or d) after the other. `each` gets the line behind its kind; returns how
 * many there were. */
typedef void EachCase(const Tokenizer *tok, const char *line, TokenIds *ids, TokenIds *expected);
static int for_cases(const char *folder, char kind, EachCase *each)
{
    Tokenizer *tok = load_tokenizer(folder);
    char *text = read_file(check_fixture("tokenizer/cases.txt"));
    TokenIds ids = { 0 }, expected = { 0 };
    int n = 0;
    for (char *line = text, *end; *line; line = end + 1) {
        end = strchr(line, '\n');
        if (*line != kind) continue;
        ids.count = expected.count = 0;
        each(tok, line + 2, &ids, &expected);
        n++;
    }
    lk_token_ids_free(&ids);
    lk_token_ids_free(&expected);
    free(text);
    lk_tokenizer_free(tok);
    return n;
}

/* The first bytes of a line, to find it again. */
static const char *label(const char *line)
{
    static char text[64];
    snprintf(text, sizeof text, "%.60s", line);
    return text;
}

static void encode_case(const Tokenizer *tok, const char *line, TokenIds *ids, TokenIds *expected)
{
    const char *at = line;
    Bytes text = next_hex(&at);
    next_bar(&at);
    next_ids(&at, expected);
    encode_text(tok, text.data, text.size, ids);
    check_ids(ids, expected->items, expected->count, label(line));
    free(text.data);
}

Test(tokenizer, hard_texts)
{
    check(for_cases(check_fixture("tokenizer"), 'e', encode_case) > 1300);
}

static void pair_case(const Tokenizer *tok, const char *line, TokenIds *ids, TokenIds *expected)
{
    const char *at = line;
    Error err = { 0 };
    Bytes a = next_hex(&at), b = next_hex(&at);
    int64_t max = next_number(&at), specials = next_number(&at);
    next_bar(&at);
    next_ids(&at, expected);
    check(lk_token_ids_add(ids, 7, NULL)); /* earlier ids stay */
    check(lk_tokenizer_encode_pair(tok, (char *)a.data, a.size, (char *)b.data, b.size, specials,
                                   max, ids, &err));
    check(ids->items[0] == 7);
    memmove(ids->items, ids->items + 1, (size_t)--ids->count * sizeof *ids->items);
    check_ids(ids, expected->items, expected->count, label(line));
    free(a.data);
    free(b.data);
}

Test(tokenizer, pairs_and_truncation)
{
    check(for_cases(check_fixture("tokenizer"), 'p', pair_case) == 140);
}

static void decode_case(const Tokenizer *tok, const char *line, TokenIds *ids, TokenIds *expected)
{
    const char *at = line;
    Error err = { 0 };
    (void)expected;
    bool skip = next_number(&at);
    next_ids(&at, ids);
    next_bar(&at);
    Bytes text = next_hex(&at);
    size_t bytes;
    char *decoded = lk_tokenizer_decode_new(tok, ids->items, ids->count, skip, &bytes, &err);
    check(decoded && bytes == text.size, "%s: got '%s'", label(line), decoded);
    /* '\0' behind both */
    check(memcmp(decoded, text.data, bytes + 1) == 0, "%s: got '%s'", label(line), decoded);
    lk_mem_free(decoded);
    free(text.data);
}

Test(tokenizer, decoding)
{
    check(for_cases(check_fixture("tokenizer"), 'd', decode_case) == 120);
}

static void real_case(const Tokenizer *tok, const char *line, TokenIds *ids, TokenIds *expected)
{
    const char *at = line;
    Bytes text = next_hex(&at);
    next_bar(&at);
    next_ids(&at, expected);
    next_bar(&at);
    encode_text(tok, text.data, text.size, ids);
    check(fnv(ids) == strtoul(at, NULL, 16), "%s: other ids than the reference's", label(line));
    free(text.data);
}

Test(tokenizer, hard_texts_with_the_real_vocabulary)
{
    const char *folder = roberta_folder();
    if (!folder) return;
    check(for_cases(folder, 'e', real_case) > 1300);
    Tokenizer *tok = load_tokenizer(folder);
    check(tok->size == 50265 && tok->bos == 0 && tok->pad == 1 && tok->eos == 2 && tok->unk == 3 &&
          tok->mask == 50264);
    lk_tokenizer_free(tok);
}

/* A newer utf8proc may give a class to what the reference takes for no character yet; nothing else
 * may differ. */
Test(tokenizer, classes_of_all_characters)
{
    static const char names[] = "OLNS"; /* in the order of CharClass */
    int newer = atoi(utf8proc_unicode_version()) > 16;
    char *text = read_file(check_fixture("tokenizer/classes.txt")), *at = text, expected = 0;
    unsigned long next = strtoul(at, &at, 16);
    for (uint32_t code = 0; code < 0x110000; code++) {
        if (code == next) {
            expected = at[1];
            at += 3;
            next = *at ? strtoul(at, &at, 16) : 0x110000;
        }
        if (code >= 0xD800 && code < 0xE000) continue;
        char got = names[lk__char_class(code)];
        check(got == expected || (newer && expected == 'O'), "U+%04X is %c, expected %c", code,
              got, expected);
    }
    check(next == 0x110000 && *at == '\0');
    free(text);
}

/* ---- one rule each -------------------------------------------------------------------------- */

static void check_encoding(const Tokenizer *tok, const char *text, bool specials,
                           int64_t max_length, int64_t count, const int64_t *expected)
{
    Error err = { 0 };
    TokenIds ids = { 0 };
    check(lk_tokenizer_encode(tok, text, strlen(text), specials, max_length, &ids, &err), "%s",
          err.message);
    check_ids(&ids, expected, count, text);
    lk_token_ids_free(&ids);
}

Test(tokenizer, tokens_and_ids)
{
    Tokenizer *tok = small_tokenizer();
    check(tok->size == 684 && tok->bos == 0 && tok->pad == 1 && tok->eos == 2 && tok->unk == 3 &&
          tok->mask == 683);
    for (int64_t id = 0; id < tok->size; id++)
        check(lk_tokenizer_id(tok, lk_tokenizer_token(tok, id)) == id);
    check(lk_tokenizer_token(tok, -1) == NULL && lk_tokenizer_token(tok, tok->size) == NULL);
    check(lk_tokenizer_id(tok, "Ġ") >= 0 && lk_tokenizer_id(tok, " ") == -1 &&
          lk_tokenizer_id(tok, "") == -1);
    check(lk_tokenizer_id(tok, NULL) == -1 && lk_tokenizer_id(tok, "Ġaffections") >= 0);
    char long_name[10000];
    memset(long_name, 'a', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = '\0';
    check(lk_tokenizer_id(tok, long_name) == -1);
    check(strcmp(lk_tokenizer_token(tok, tok->mask), "<mask>") == 0);

    int64_t the = lk_tokenizer_id(tok, "the"), space_the = lk_tokenizer_id(tok, "Ġthe");
    check_encoding(tok, "the the", true, 0, LK_SHAPE(0, the, space_the, 2));
    check_encoding(tok, "the the", false, 0, LK_SHAPE(the, space_the));
    check_encoding(tok, "the the", true, 3, LK_SHAPE(0, the, 2));
    check_encoding(tok, "the the", true, 2, LK_SHAPE(0, 2));
    check_encoding(tok, "the the", false, 1, LK_SHAPE(the));
    check_encoding(tok, "the the", true, 4, LK_SHAPE(0, the, space_the, 2));
    check_encoding(tok, "the \t\n<mask>the", false, 0, LK_SHAPE(the, 683, the));
    check_encoding(tok, "", true, 0, LK_SHAPE(0, 2));
    check_encoding(tok, "", false, 0, 0, NULL);
    lk_tokenizer_free(tok);
    lk_tokenizer_free(NULL);
}

Test(tokenizer, refused)
{
    Tokenizer *tok = small_tokenizer();
    TokenIds ids = { 0 };
    Error err = { 0 };
    check(lk_token_ids_add(&ids, 5, &err));
    check(!lk_tokenizer_encode(tok, "a", 1, true, 1, &ids, &err));
    check_error(&err, LK_EVALUE,
                "lk_tokenizer_encode: max_length is 1; with 2 special tokens it is at least 2");
    err = (Error){ 0 };
    check(!lk_tokenizer_encode_pair(tok, "a", 1, "b", 1, true, 3, &ids, &err));
    check_error(
        &err, LK_EVALUE,
        "lk_tokenizer_encode_pair: max_length is 3; with 4 special tokens it is at least 4");
    err = (Error){ 0 };
    check(!lk_tokenizer_encode(tok, "a", 1, false, -1, &ids, &err));
    check_error(&err, LK_EVALUE, "max_length is -1; with 0 special tokens it is at least 1");
    err = (Error){ 0 };
    check(!lk_tokenizer_encode(tok, "a", (size_t)LK_TEXT_MAX + 1, true, 0, &ids, &err));
    check_error(&err, LK_EVALUE, "a text of 536870913 bytes; at most 536870912");
    check(ids.count == 1 && ids.items[0] == 5);
    for (int i = 0; i < 2; i++) {
        err = (Error){ 0 };
        check(!lk_tokenizer_decode_new(tok, (int64_t[]){ 3, i ? 684 : -1 }, 2, false, NULL, &err));
        check_error(&err, LK_EVALUE,
                    i ? "id 684 at 1 is no token's; ids are 0 to 683"
                      : "id -1 at 1 is no token's");
    }
    lk_token_ids_free(&ids);
    lk_tokenizer_free(tok);
}

/* ---- what holds for any bytes --------------------------------------------------------------- */

/* decode(encode(text)), in memory of its own. */
static Bytes there_and_back(const Tokenizer *tok, Bytes text, TokenIds *ids)
{
    Error err = { 0 };
    Bytes back;
    encode_text(tok, text.data, text.size, ids);
    back.data = (unsigned char *)lk_tokenizer_decode_new(tok, ids->items + 1, ids->count - 2,
                                                         false, &back.size, &err);
    check_no_error(&err);
    return back;
}

static bool same(Bytes a, Bytes b)
{
    return a.size == b.size && memcmp(a.data, b.data, a.size) == 0;
}

/* A random character, from a range that is not the whole one: words get longer, and merges are
 * found. */
static void put_character(Bytes *to, Rng *rng)
{
    static const uint32_t range[] = { 0x80, 0x80, 0x80, 0x250, 0x3100, 0x10000, 0x110000 };
    uint32_t c = (uint32_t)lk_random_int(rng, 0, range[lk_random_int(rng, 0, 7)]);
    if (lk_random_int(rng, 0, 2)) c = (uint32_t) " aeinrst'0123\n"[lk_random_int(rng, 0, 14)];
    if (c >= 0xD800 && c < 0xE000) c = '!';
    unsigned char *p = to->data + to->size;
    int more = (c >= 0x80) + (c >= 0x800) + (c >= 0x10000);
    p[0] = (unsigned char)(more ? 0xFF00u >> (more + 1) | c >> 6 * more : c);
    for (int i = 1; i <= more; i++) p[i] = (unsigned char)(0x80 | (c >> 6 * (more - i) & 0x3F));
    to->size += (size_t)more + 1;
}

Test(tokenizer, utf8_comes_back)
{
    Tokenizer *tok = small_tokenizer();
    unsigned char bytes[400];
    TokenIds ids = { 0 };
    Rng rng;
    lk_manual_seed(&rng, 5);
    for (int i = 0; i < 20000; i++) {
        Bytes text = { bytes, 0 };
        for (int64_t n = lk_random_int(&rng, 0, 100); n > 0; n--) put_character(&text, &rng);
        Bytes back = there_and_back(tok, text, &ids);
        check(same(text, back), "text %d: %.*s", i, (int)text.size, text.data);
        lk_mem_free(back.data);
    }
    lk_token_ids_free(&ids);
    lk_tokenizer_free(tok);
}

/* Random bytes become text with U+FFFD, which has the same ids as the bytes, and comes back. */
Test(tokenizer, any_bytes)
{
    static const unsigned char likely[] = { ' ', 'a', 0xC3, 0xE2, 0x80, 0x83, 0xF0, 0x9F };
    Tokenizer *tok = small_tokenizer();
    TokenIds ids = { 0 }, again = { 0 };
    Rng rng;
    lk_manual_seed(&rng, 6);
    for (int i = 0; i < 20000; i++) {
        size_t size = (size_t)lk_random_int(&rng, 0, 60);
        /* of its own, so that AddressSanitizer sees its ends */
        Bytes text = { malloc(size + 1), size };
        for (size_t k = 0; k < size; k++)
            text.data[k] = lk_random_int(&rng, 0, 2) ? likely[lk_random_int(&rng, 0, 8)]
                                                     : (unsigned char)lk_random_int(&rng, 0, 256);
        text.data = realloc(text.data, size + (size == 0));
        Bytes back = there_and_back(tok, text, &ids), second = there_and_back(tok, back, &again);
        check(same(back, second), "text %d", i);
        check_ids(&again, ids.items, ids.count, "repaired text");
        for (int64_t k = 0; k < ids.count; k++)
            check(ids.items[k] >= 0 && ids.items[k] < tok->size);
        free(text.data);
        lk_mem_free(back.data);
        lk_mem_free(second.data);
    }
    lk_token_ids_free(&ids);
    lk_token_ids_free(&again);
    lk_tokenizer_free(tok);
}

/* A megabyte without a border, all merges alike or all kinds of them: n² steps would take
 * hours. */
Test(tokenizer, very_long_words)
{
    enum { SIZE = 1 << 20 };
    Tokenizer *tok = small_tokenizer();
    TokenIds ids = { 0 };
    Rng rng;
    lk_manual_seed(&rng, 7);
    Bytes text = { malloc(SIZE), SIZE };
    for (int kind = 0; kind < 4; kind++) {
        for (size_t i = 0; i < SIZE; i++)
            text.data[i] = kind == 1 ? (unsigned char)"abeinorst"[lk_random_int(&rng, 0, 9)]
                                     : (unsigned char)"a? \xF0"[kind];
        Bytes back = there_and_back(tok, text, &ids);
        check(back.size == (kind == 3 ? 3 : 1) * (size_t)SIZE && (kind == 3 || same(text, back)));
        /* 16 a are a token */
        if (kind == 0) check(ids.count == SIZE / 16 + 2, "%lld", (long long)ids.count);
        lk_mem_free(back.data);
    }
    free(text.data);
    lk_token_ids_free(&ids);
    lk_tokenizer_free(tok);
}

Test(tokenizer, threads_share_it)
{
    Tokenizer *tok = small_tokenizer();
    const char *text =
        "it 's a charming and often affecting journey that doesn't know where it's going 😀";
    TokenIds expected = { 0 };
    encode_text(tok, text, strlen(text), &expected);
    int wrong = 0;
#pragma omp parallel num_threads(4) reduction(+ : wrong)
    {
        TokenIds ids = { 0 };
        for (int i = 0; i < 500; i++) {
            ids.count = 0;
            bool ok = lk_tokenizer_encode(tok, text, strlen(text), true, 0, &ids, NULL);
            wrong += !ok || ids.count != expected.count ||
                     memcmp(ids.items, expected.items, (size_t)ids.count * sizeof *ids.items) != 0;
        }
        lk_token_ids_free(&ids);
    }
    check(wrong == 0);
    lk_token_ids_free(&expected);
    lk_tokenizer_free(tok);
}

/* ---- memory --------------------------------------------------------------------------------- */

/* Words of all kinds: tokens, short ones that are merged, a long one, one with U+FFFD in it. */
static Bytes all_kinds(void)
{
    enum { LONG = 300 };
    static unsigned char text[LONG + 100];
    for (int i = 0; i < LONG; i++) text[i] = (unsigned char)"abein"[i * i % 5];
    int n = snprintf((char *)text + LONG, 100, " the journey <mask> xyz\xF0\x9F 12");
    return (Bytes){ text, LONG + (size_t)n };
}

Test(tokenizer, allocates_nothing_once_warm)
{
    check_alloc_begin();
    Tokenizer *tok = small_tokenizer();
    TokenIds ids = { 0 };
    Bytes text = all_kinds();
    encode_text(tok, text.data, text.size, &ids);
    int64_t before = check_alloc_count(), count = ids.count;
    for (int i = 0; i < 3; i++) encode_text(tok, text.data, text.size, &ids);
    check(check_alloc_count() == before && ids.count == count);
    lk_token_ids_free(&ids);
    check(!ids.items && ids.room == 0 && !ids.scratch);
    lk_tokenizer_free(tok);
    check(check_alloc_live() == 0);
}

Test(tokenizer, out_of_memory)
{
    check_alloc_begin();
    Tokenizer *tok = small_tokenizer();
    Bytes text = all_kinds();
    int64_t live = check_alloc_live(), tried = 0;
    for (int64_t n = 0, failed = 1; failed; n++, tried++) {
        Error err = { 0 };
        TokenIds ids = { 0 };
        check_fail_after(n);
        bool first = lk_token_ids_add(&ids, 9, &err);
        bool ok =
            first && lk_tokenizer_encode(tok, (char *)text.data, text.size, true, 0, &ids, &err);
        char *back =
            ok ? lk_tokenizer_decode_new(tok, ids.items, ids.count, false, NULL, &err) : NULL;
        failed = check_alloc_failed();
        check(!back == (failed > 0) && err.code == (failed ? LK_EMEMORY : LK_OK), "%s",
              err.message);
        if (first) check(ids.items[0] == 9 && (ok || ids.count == 1));
        lk_mem_free(back);
        lk_token_ids_free(&ids);
        check(check_alloc_live() == live);
    }
    check(tried > 4);
    check_fail_after(-1);
    lk_tokenizer_free(tok);
}

#endif
