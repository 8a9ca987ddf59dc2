/* name_pattern.c - matches dotted names with patterns like "layers.*.lora.?". */
#include "nn/module.h"

/* A shell pattern with `*` and `?`. On a mismatch after a star, that star takes one character
 * more. */
bool lk_name_stars(const char *pattern, const char *text, NameStar stars[LK_NAME_STARS])
{
    if (!pattern || !text) return false;
    const char *after_star = NULL;
    NameStar none, *star = &none;
    for (int count = 0; *text || *pattern == '*';) {
        if (*pattern == '*') {
            after_star = ++pattern;
            star = stars && count < LK_NAME_STARS ? &stars[count++] : &none;
            *star = (NameStar){ text, 0 };
        } else if (*pattern && (*pattern == '?' || *pattern == *text)) {
            pattern++;
            text++;
        } else if (after_star) {
            pattern = after_star;
            text = star->begin + ++star->length;
        } else {
            return false;
        }
    }
    return *pattern == '\0';
}

bool lk_name_matches(const char *pattern, const char *text)
{
    return lk_name_stars(pattern, text, NULL);
}
