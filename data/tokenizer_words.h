/* tokenizer_words.h - the pre-tokenizer of GPT-2: cuts text into words. Tokens are merged only
 * inside of a word. */
#ifndef LK_TOKENIZER_WORDS_H
#define LK_TOKENIZER_WORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Letters and numbers in any script, white space, and all else, LK_UTF8_BROKEN (data/utf8.h)
 * included. */
typedef enum CharClass { LK_CHAR_OTHER, LK_CHAR_LETTER, LK_CHAR_NUMBER, LK_CHAR_SPACE } CharClass;
CharClass lk__char_class(uint32_t code);

/* The bytes of the word that the text begins with; size > 0. *broken: whether it contains bytes
 * that are not UTF-8. */
size_t lk__word(const unsigned char *text, size_t size, bool *broken);

/* The bytes of white space that the text ends with. */
size_t lk__space_at_end(const unsigned char *text, size_t size);

#endif
