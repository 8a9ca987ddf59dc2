/* german.h - a locale whose decimal point is a comma, made by localedef (package locales) in the
 * test's own folder. */
#ifndef GERMAN_H
#define GERMAN_H

#include <locale.h>
#include <stdlib.h>

#include "tests/check.h"

/* From here on printf writes "0,5", until the test ends. */
static inline void speak_german(void)
{
    char command[1024], text[8];
    const char *folder = check_scratch("locales");
    snprintf(command, sizeof command,
             "mkdir -p '%s' && localedef -i de_DE -f UTF-8 '%s/de_DE.UTF-8'", folder, folder);
    check(system(command) == 0, "localedef makes de_DE.UTF-8; it is in Debian's package locales");
    check(setenv("LOCPATH", folder, 1) == 0 && setlocale(LC_ALL, "de_DE.UTF-8"));
    snprintf(text, sizeof text, "%.1f", 0.5);
    check(strcmp(text, "0,5") == 0, "printf writes %s", text);
}

#endif
