/* tokenizer_words.c - the pre-tokenizer of GPT-2, a regular expression written out:
 *
 *     's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
 *
 * A word is a run of characters of one class, with the space before it. In a longer white space
 * only the last character can be that space or a word of its own: \s+(?!\S) takes the rest. The
 * words are merged by data/tokenizer_bpe.c. */
#include "data/tokenizer_words.h"

#include <string.h>

#include "data/utf8.h"

#ifdef LK_HAVE_UTF8PROC
#include <utf8proc.h>
#endif

/* ---- classes -------------------------------------------------------------------------------- */

/* Classes of the characters that Unicode 15.1 and 16 added, for a utf8proc that does not know
 * them: the reference has the classes of Unicode 16. */
static CharClass new_class(uint32_t code)
{
    enum Kind { L, N };
    static const struct {
        uint32_t first, last;
        enum Kind kind;
    } added[] = {
        /* clang-format off */
        { 0x1C89, 0x1C8A, L },     { 0xA7CB, 0xA7CD, L },     { 0xA7DA, 0xA7DC, L },
        { 0x105C0, 0x105F3, L },   { 0x10D40, 0x10D49, N },   { 0x10D4A, 0x10D65, L },
        { 0x10D6F, 0x10D85, L },   { 0x10EC2, 0x10EC4, L },   { 0x11380, 0x11389, L },
        { 0x1138B, 0x1138B, L },   { 0x1138E, 0x1138E, L },   { 0x11390, 0x113B5, L },
        { 0x113B7, 0x113B7, L },   { 0x113D1, 0x113D1, L },   { 0x113D3, 0x113D3, L },
        { 0x116D0, 0x116E3, N },   { 0x11BC0, 0x11BE0, L },   { 0x11BF0, 0x11BF9, N },
        { 0x13460, 0x143FA, L },   { 0x16100, 0x1611D, L },   { 0x16130, 0x16139, N },
        { 0x16D40, 0x16D6C, L },   { 0x16D70, 0x16D79, N },   { 0x18CFF, 0x18CFF, L },
        { 0x1CCF0, 0x1CCF9, N },   { 0x1E5D0, 0x1E5ED, L },   { 0x1E5F0, 0x1E5F0, L },
        { 0x1E5F1, 0x1E5FA, N },   { 0x2EBF0, 0x2EE5D, L },
        /* clang-format on */
    };
    for (size_t i = 0; i < sizeof added / sizeof *added && added[i].first <= code; i++)
        if (code <= added[i].last) return added[i].kind == L ? LK_CHAR_LETTER : LK_CHAR_NUMBER;
    return LK_CHAR_OTHER;
}

/* Unicode's White_Space, which is not a category. */
static bool is_space(uint32_t c)
{
    return c == ' ' || (c >= 0x09 && c <= 0x0D) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F ||
           c == 0x205F || c == 0x3000;
}

/* Categories L* and N*. Without utf8proc no tokenizer is made, and this is never called. */
static CharClass category_class(uint32_t code)
{
#ifdef LK_HAVE_UTF8PROC
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)code);
    if (category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO)
        return LK_CHAR_LETTER;
    if (category >= UTF8PROC_CATEGORY_ND && category <= UTF8PROC_CATEGORY_NO)
        return LK_CHAR_NUMBER;
    if (category == UTF8PROC_CATEGORY_CN) return new_class(code);
#else
    (void)code, (void)new_class;
#endif
    return LK_CHAR_OTHER;
}

CharClass lk__char_class(uint32_t code)
{
    if (code < 0x80) {
        if ((code | 0x20) >= 'a' && (code | 0x20) <= 'z') return LK_CHAR_LETTER;
        if (code >= '0' && code <= '9') return LK_CHAR_NUMBER;
    }
    if (is_space(code)) return LK_CHAR_SPACE;
    return code < 0x80 || code == LK_UTF8_BROKEN ? LK_CHAR_OTHER : category_class(code);
}

/* ---- words ---------------------------------------------------------------------------------- */

typedef struct Char {
    size_t size; /* bytes */
    CharClass class;
    bool broken;
} Char;

static Char char_at(const unsigned char *text, size_t size)
{
    uint32_t code;
    size_t n = lk__utf8(text, size, &code);
    return (Char){ n, lk__char_class(code), code == LK_UTF8_BROKEN };
}

/* The bytes of 's, 't, … at an apostrophe; 0: none of them. */
static size_t contraction(const unsigned char *text, size_t size)
{
    if (size > 1 && (text[1] == 's' || text[1] == 't' || text[1] == 'm' || text[1] == 'd'))
        return 2;
    if (size < 3) return 0;
    bool three = memcmp(text + 1, "re", 2) == 0 || memcmp(text + 1, "ve", 2) == 0 ||
                 memcmp(text + 1, "ll", 2) == 0;
    return three ? 3 : 0;
}

size_t lk__word(const unsigned char *text, size_t size, bool *broken)
{
    *broken = false;
    size_t at = text[0] == '\'' ? contraction(text, size) : 0;
    if (at > 0) return at;

    /* the space belongs to the run behind it, even to one of white space */
    if (text[0] == ' ' && size > 1) at = 1;
    Char c = char_at(text + at, size - at);
    CharClass class = c.class;
    size_t last = at; /* where the last character of the run begins */
    for (; c.class == class; c = char_at(text + at, size - at)) {
        *broken |= c.broken;
        last = at;
        at += c.size;
        if (at == size) return at;
    }
    return class == LK_CHAR_SPACE && last > 0 ? last : at;
}

size_t lk__space_at_end(const unsigned char *text, size_t size)
{
    size_t end = size;
    while (end > 0) {
        size_t start = end - 1;
        /* no white space has 4 bytes */
        while (start > 0 && end - start < 3 && (text[start] & 0xC0) == 0x80) start--;
        Char c = char_at(text + start, end - start);
        if (c.class != LK_CHAR_SPACE || c.size != end - start) break;
        end = start;
    }
    return size - end;
}
