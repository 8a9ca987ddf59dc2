/* regex.h - matches names with regular expressions, as Python does it for PEFT's settings.
 *
 * It understands
 *     ASCII literals, `.`, classes ([a-z_], [^.]), \d \D \w \W \s \S (as with re.ASCII);
 *     \ before a character that is no letter and no digit;
 *     groups ( ) and (?: ), |, * + ? {m} {m,} {,n} {m,n}, each also with a `?` behind it;
 *     ^ $ \A \Z \b.
 * Everything else (groups that look ahead or have names, references, flags, possessive repeats) is
 * refused, and the error names its place. An expression of more than LK_REGEX_MAX steps is refused
 * too. Matching takes at most steps · length for any expression, since all ways are followed at
 * once. */
#ifndef LK_REGEX_H
#define LK_REGEX_H

#include "core/error.h"

enum { LK_REGEX_MAX = 100000 };

typedef struct Regex Regex;

/* Errors: LK_EFORMAT (no regular expression, or one that is not understood), LK_EMEMORY. */
Regex *lk__regex_new(const char *pattern, Error *err);
void lk__regex_free(Regex *r); /* NULL allowed */

/* re.fullmatch(pattern, text) is not None. It uses scratch memory of r: one thread at a time. */
bool lk__regex_fits(Regex *r, const char *text);

/* re.escape(text), into out: at most 2 · strlen(text) + 1 bytes. */
void lk__regex_escape(const char *text, char *out);

#endif
