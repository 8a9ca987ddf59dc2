/* answers.c - see answers.h. */
#include "examples/course/answers.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "examples/course/scratch.h"

int answers_missing(const char *path, char *list, size_t size)
{
    char *text = text_read_new(path, NULL);
    if (size) list[0] = '\0';
    if (!text) return -1;
    const char *question = NULL; /* that has no answer so far */
    int missing = 0;
    size_t used = 0;
    for (const char *line = text;; line += strcspn(line, "\n"), line += *line == '\n') {
        bool next = !strncmp(line, "## ", 3);
        if (question && (next || !*line)) {
            int length = (int)strcspn(question, "\r\n");
            if (used < size)
                used += (size_t)snprintf(list + used, size - used, "%s%.*s", used ? "\n" : "",
                                         length, question);
            missing++;
            question = NULL;
        }
        if (!*line) break;
        const char *first = line + strspn(line, " \t\r");
        if (next) question = line + 3;
        else if (*first && *first != '\n' && *first != '>') question = NULL;
    }
    free(text);
    return missing;
}
