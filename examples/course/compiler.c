/* compiler.c - see compiler.h. */
#include "examples/course/compiler.h"

#include <stdlib.h>
#include <string.h>

#include "data/path.h"
#include "examples/course/process.h"
#include "examples/course/scratch.h"

enum { SECONDS = 60, ARGUMENTS = 48 };

/* ---- explanations --------------------------------------------------------------------------- */

/* Words in a message of gcc or clang, and what a beginner usually did. The first that fits is
 * taken. */
/* clang-format off */
static const struct { const char *words, *means; } usual[] = {
    { "implicit declaration of function", "No header declares this function. Is its name right, "
      "and its header included? Operations: core/ops.h." },
    { "call to undeclared function", "No header declares this function. Is its name right, "
      "and its header included? Operations: core/ops.h." },
    { "conflicting types for", "The checks call this function as examples/course/course.h "
      "declares it. Copy the line from there." },
    { "static declaration of", "The checks look for this function by its name, so it must not be "
      "static." },
    { "too few arguments", "An argument is missing. Operations take the tape first; constructors "
      "end with rng and err." },
    { "too many arguments", "There is an argument too many. Compare with the line in the "
      "header." },
    { "expected ';'", "A semicolon is missing, here or at the end of the line before." },
    { "expected declaration or statement at end of input", "A closing brace } is missing "
      "somewhere above." },
    { "expected '}'", "A closing brace } is missing somewhere above." },
    { "expected ')'", "A closing parenthesis is missing." },
    { "expected identifier or '('", "There is a brace } too many above, or a ; behind the head of "
      "a function." },
    { "extraneous closing brace", "There is a brace } too many above." },
    { "has no member named", "The struct does not have this member. For a Module *m of your class "
      "write ((Class *)m)->member." },
    { "no member named", "The struct does not have this member. For a Module *m of your class "
      "write ((Class *)m)->member." },
    { "incompatible pointer type", "The pointer points to another type. &m->base makes a Module * "
      "of a struct; (Class *)m makes it a struct again." },
    { "incompatible types when", "The two sides have different types: a struct or number on one, "
      "a pointer on the other." },
    { "makes pointer from integer", "A number stands where a pointer is needed. A function "
      "without a declaration also counts as a number: is its header included?" },
    { "makes integer from pointer", "A pointer stands where a number is needed. lk_item(x) reads "
      "the number of a tensor with one element." },
    { "invalid operands to binary", "C has no operators for tensors: a + b is lk_add(t, a, b), "
      "a @ b is lk_matmul(t, a, b), 2 * a is lk_scale(t, a, 2). lk_item(x) is the number "
      "of a tensor with one element." },
    { "unknown type name", "No header declares this type. Is its name right, and its header "
      "included?" },
    { "undeclared", "This name is not known here. Is it spelled right, and declared above?" },
    { "undefined reference", "This function is declared but defined nowhere." },
    { "No such file or directory", "There is no such header. Headers are named from the root: "
      "core/ops.h, nn/module.h." },
    { "file not found", "There is no such header. Headers are named from the root: core/ops.h, "
      "nn/module.h." },
    { "redefinition of", "This name is defined twice." },
    { "control reaches end of non-void", "The function promises a result; a return is missing on "
      "one way through it." },
    { "non-void function does not return", "The function promises a result; a return is missing "
      "on one way through it." },
    { "missing terminating", "A quotation mark is missing." },
    { "discards", "A const object is handed to a function that may change it." },
    { "initializer element is not constant", "Outside of functions only constants are allowed." },
    { "array type has incomplete", "The size of this array is not known." },
    { "dereferencing pointer to incomplete type", "The struct is not declared here. Is its header "
      "included?" },
    { "invalid use of undefined type", "The struct is not declared here. Is its header "
      "included?" },
};
/* clang-format on */

static const char *meaning_of(const char *line)
{
    for (size_t i = 0; i < sizeof usual / sizeof *usual; i++)
        if (strstr(line, usual[i].words)) return usual[i].means;
    return NULL;
}

/* ---- the output of a compiler --------------------------------------------------------------- */

/* gcc writes ‘name’ in some languages; the checks ask for plain quotes, yet be sure. */
static void copy_line(const char *from, size_t length, char *to, size_t size)
{
    snprintf(to, size, "%.*s", (int)length, from);
}

/* Whether the words come in the next lines of the compiler's output. */
static bool is_soon(const char *text, const char *words)
{
    const char *at = strstr(text, words);
    return at && at - text < 1200;
}

/* The line number in "…/ex1.c:23:5: error: …", 0 for none. */
static int line_number(const char *line, const char *source)
{
    char name[LK_PATH_MAX + 1];
    snprintf(name, sizeof name, "%s:", source);
    const char *at = strstr(line, name);
    return at ? atoi(at + strlen(name)) : 0;
}

void explain_output(const char *output, const char *source, Verdict *v)
{
    *v = (Verdict){ .kind = VERDICT_COMPILE, .at = -1 };
    for (const char *line = output; *line;) {
        size_t length = strcspn(line, "\n");
        char text[600];
        copy_line(line, length, text, sizeof text);
        const char *error = strstr(text, "error: ");
        if (error) {
            int number = line_number(text, source);
            snprintf(v->text, sizeof v->text, "%s", error + strlen("error: "));
            /* The next two lines show the code and a mark under it. */
            const char *more = line + length;
            for (int i = 0; i < 2 && number && *more == '\n'; i++) {
                size_t width = strcspn(more + 1, "\n"), used = strlen(v->text);
                if (!memchr(more + 1, '|', width)) break;
                snprintf(v->text + used, sizeof v->text - used, "\n%.*s",
                         (int)(width < 120 ? width : 120), more + 1);
                more += width + 1;
            }
            if (number)
                snprintf(v->place, sizeof v->place, "%.100s:%d", path_base(source), number);
            const char *means = meaning_of(text);
            const char *behind = line + length;
            if (means && strstr(text, "incompatible pointer type") &&
                is_soon(behind, "expected 'Tape *'"))
                means = "Every operation takes the tape first: lk_matmul(t, a, b).";
            if (means && is_soon(behind, "include '<"))
                means = "The note of the compiler names the header that declares it.";
            if (means) snprintf(v->next, sizeof v->next, "%s", means);
            return;
        }
        line += length + (line[length] == '\n');
    }
    snprintf(v->text, sizeof v->text, "%.1000s", output[0] ? output : "the compiler failed");
}

static void first_warnings(const char *output, char *to, size_t size)
{
    size_t used = 0;
    int count = 0;
    to[0] = '\0';
    for (const char *line = output; *line && count < 3;) {
        size_t length = strcspn(line, "\n");
        const char *name = line;
        for (const char *c = line; c < line + length; c++)
            if (*c == '/' && strncmp(c, "//", 2) != 0) name = c + 1;
            else if (*c == ':') break;
        char text[300];
        copy_line(name, length - (size_t)(name - line), text, sizeof text);
        if (strstr(text, "warning: ") && used + strlen(text) + 2 < size) {
            used += (size_t)snprintf(to + used, size - used, "%s%s", used ? "\n" : "", text);
            count++;
        }
        line += length + (line[length] == '\n');
    }
}

/* ---- the headers of a file ------------------------------------------------------------------ */

/* Whether path lies in the folder `root`/`name`. */
static bool lies_in(const char *path, const char *root, const char *name)
{
    size_t a = strlen(root), b = strlen(name);
    return !strncmp(path, root, a) && path[a] == '/' && !strncmp(path + a + 1, name, b) &&
           (!b || path[a + 1 + b] == '/' || !path[a + 1 + b]);
}

static bool may_include(const char *path, const char *source, const char *home, bool strict)
{
    static const char *const library[] = {
        "core", "nn", "optim", "data", "examples/course/course.h", "examples/course/given"
    };
    char folder[LK_PATH_MAX], *own = NULL;
    for (size_t i = 0; i < sizeof library / sizeof *library; i++)
        if (lies_in(path, home, library[i])) return true;
    if (lies_in(path, home, "examples/course")) return false;
    if (!strict) return true;
    snprintf(folder, sizeof folder, "%.*s", (int)(strlen(source) - strlen(path_base(source))),
             source);
    own = realpath(folder, NULL);
    bool inside = own && lies_in(path, own, "");
    free(own);
    return inside;
}

/* Reads the next name of a list of make's: between blanks, with a backslash before its own. */
static bool next_name(const char **text, char name[LK_PATH_MAX])
{
    size_t length = 0;
    const char *c = *text;
    while (*c == ' ' || *c == '\n' || (*c == '\\' && c[1] == '\n')) c++;
    for (; *c && *c != ' ' && *c != '\n' && length + 1 < LK_PATH_MAX; c++) {
        bool escape = (*c == '\\' && (c[1] == ' ' || c[1] == '#')) || (*c == '$' && c[1] == '$');
        if (escape) c++;
        name[length++] = *c;
    }
    name[length] = '\0';
    *text = c;
    return length > 0;
}

/* Refuses files that the source may not include. Headers of the system are not in the list. */
static bool look_at_headers(const char *list, const char *source, const char *home, bool strict,
                            Verdict *v)
{
    char *text = text_read_new(list, NULL), name[LK_PATH_MAX];
    const char *at = text ? strchr(text, ':') : NULL;
    bool ok = true;
    if (at) at++;
    while (ok && at && next_name(&at, name)) {
        char *path = realpath(name, NULL), *own = realpath(source, NULL);
        bool itself = path && own && !strcmp(path, own);
        ok = itself || !path || may_include(path, source, home, strict);
        free(path);
        free(own);
    }
    free(text);
    if (ok) return true;
    *v = (Verdict){ .kind = VERDICT_LIBRARY_CALL, .at = -1 };
    snprintf(v->text, sizeof v->text, "it includes %.1000s", name);
    snprintf(v->next, sizeof v->next, "Write the lines yourself, in this file.");
    return false;
}

/* ---- running cc ----------------------------------------------------------------------------- */

bool compile(const char *source, const char *library, const char *home, bool sanitized,
             bool strict_includes, const char *const *sandbox, Compiled *c, Error *err)
{
    const char *argv[ARGUMENTS];
    int n = 0;
    static const char *const flags[] = {
        "cc",
        "-std=gnu11",
        "-g",
        "-fPIC",
        "-shared",
        "-fno-omit-frame-pointer",
        "-Wall",
        "-Wextra",
        "-Wno-unused-parameter",
        "-Werror=implicit-function-declaration",
        "-Werror=incompatible-pointer-types",
        "-Werror=int-conversion",
        "-Werror=return-type",
        "-fdiagnostics-color=never",
        "-MMD",
        "-include",
        "examples/course/course.h",
        "-I",
        NULL,
    };
    while (sandbox && *sandbox) argv[n++] = *sandbox++;
    for (int i = 0; flags[i]; i++) argv[n++] = flags[i];
    argv[n++] = home;
    if (sanitized) argv[n++] = "-fsanitize=address,undefined";
    char headers[LK_PATH_MAX + 8];
    snprintf(headers, sizeof headers, "%s.d", library);
    argv[n++] = "-MF";
    argv[n++] = headers;
    argv[n++] = source;
    argv[n++] = "-o";
    argv[n++] = library;
#ifdef __APPLE__
    argv[n++] = "-Wl,-undefined,dynamic_lookup";
#else
    argv[n++] = "-Wl,-Bsymbolic"; /* calls inside of the file stay inside */
#endif
    argv[n++] = "-lm";
    argv[n] = NULL;
    /* In a sandbox only the folder of the result can be written. */
    char temporary[LK_PATH_MAX + 8];
    const char *slash = strrchr(library, '/');
    snprintf(temporary, sizeof temporary, "TMPDIR=%.*s", slash ? (int)(slash - library) : 1,
             slash ? library : ".");
    const char *const env[] = { "LC_ALL=C", temporary, NULL };
    Process p = {
        .argv = argv, .env = env, .seconds = SECONDS, .megabytes = 4096, .file_megabytes = 64
    };
    *c = (Compiled){ 0 };
    if (!process_run(&p, err)) {
        if (!process_exists("cc"))
            return lk_error_set(err, LK_EIO,
                                "there is no C compiler cc; on Debian: apt install "
                                "gcc libc6-dev");
        return false;
    }
    c->seconds = p.elapsed;
    c->ok = p.end == PROCESS_EXITED && p.status == 0;
    if (!c->ok) explain_output(p.output, source, &c->verdict);
    else c->ok = look_at_headers(headers, source, home, strict_includes, &c->verdict);
    first_warnings(p.output, c->warnings, sizeof c->warnings);
    process_free(&p);
    return true;
}

bool place_of(const char *library, long at, const char *source, const char *const *sandbox,
              char place[160])
{
    place[0] = '\0';
    if (at < 0) return false;
    char address[32];
    snprintf(address, sizeof address, "0x%lx", at);
    const char *own[] = { "addr2line", "-e", library, address, NULL }, *argv[ARGUMENTS];
    int n = 0;
    while (sandbox && *sandbox) argv[n++] = *sandbox++;
    for (int i = 0; i < 5; i++) argv[n++] = own[i];
    Process p = { .argv = argv, .seconds = SECONDS };
    if (!process_run(&p, NULL)) return false;
    int number = line_number(p.output, source);
    if (number) snprintf(place, 160, "%.100s:%d", path_base(source), number);
    process_free(&p);
    return number > 0;
}
