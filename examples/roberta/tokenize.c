/* tokenize.c - text to token ids, and back.
 *
 *     tokenize --model roberta-base --tsv sst2/dev.tsv >ids
 *     tokenize --model roberta-base --lines ids --decode
 *
 * Writes a line of ids for each sentence of a GLUE file, for each line of a text file or of stdin,
 * or for one text. The tokenizer is data/tokenizer.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "data/tokenizer.h"
#include "data/tsv.h"
#include "examples/shared/cli.h"

typedef struct Options {
    const char *model, *tsv, *text, *lines;
    bool decode;
} Options;

static const CliOption options[] = {
    CLI_TEXT("model", Options, model, "DIR", "folder with vocab.json and merges.txt; needed"),
    CLI_TEXT("tsv", Options, tsv, "FILE", "tokenize the column sentence of a GLUE file"),
    CLI_ANY_TEXT("text", Options, text, "TEXT", "tokenize one text, which may be empty"),
    CLI_TEXT("lines", Options, lines, "FILE",
             "tokenize each line of a file; without --tsv, --text and --lines: of stdin"),
    CLI_FLAG("decode", Options, decode,
             "the other way: --text or lines are ids with a space between, and become text"),
    CLI_END
};
static const CliProgram program = {
    .name = "tokenize",
    .about = "RoBERTa's tokenizer, byte-level BPE: writes a line of ids for each text.",
    .options = options,
};

typedef struct Job {
    const Tokenizer *tok;
    TokenIds ids;
    bool decode;
    int64_t line; /* for messages */
} Job;

/* ---- one line ------------------------------------------------------------------------------- */

static bool encode(Job *job, const char *text, size_t bytes, Error *err)
{
    if (!lk_tokenizer_encode(job->tok, text, bytes, true, 0, &job->ids, err)) return false;
    for (int64_t i = 0; i < job->ids.count; i++)
        printf("%s%lld", i ? " " : "", (long long)job->ids.items[i]);
    putchar('\n');
    return true;
}

/* Reads "0 31414 232 2" into job->ids. The byte behind the line must be no digit. */
static bool parse_ids(Job *job, const char *text, size_t bytes, Error *err)
{
    const char *end = text + bytes;
    while (text < end && end[-1] == '\r') end--;
    while (text < end) {
        char *stop;
        long long id = strtoll(text, &stop, 10); /* LLONG_MAX for larger ones: no id either */
        if (*text < '0' || *text > '9' || (stop < end && *stop != ' '))
            return lk_error_set(
                err, LK_EFORMAT, "line %lld: '%.*s' is not ids with one space between",
                (long long)job->line, end - text < 40 ? (int)(end - text) : 40, text);
        if (!lk_token_ids_add(&job->ids, id, err)) return false;
        text = stop + (stop < end);
    }
    return true;
}

static bool decode(Job *job, const char *line, size_t bytes, Error *err)
{
    if (!parse_ids(job, line, bytes, err)) return false;
    size_t size;
    char *text =
        lk_tokenizer_decode_new(job->tok, job->ids.items, job->ids.count, true, &size, err);
    if (!text) return false;
    fwrite(text, 1, size, stdout);
    putchar('\n');
    lk_mem_free(text);
    return true;
}

static bool put_line(Job *job, const char *text, size_t bytes, Error *err)
{
    job->line++;
    job->ids.count = 0;
    return (job->decode ? decode : encode)(job, text, bytes, err);
}

/* ---- sources -------------------------------------------------------------------------------- */

static bool put_tsv(Job *job, const char *path, Error *err)
{
    Tsv *tsv = lk_tsv_new(path, 0, err);
    bool ok = tsv;
    for (int64_t i = 0; ok && i < tsv->count; i++)
        ok = put_line(job, tsv->rows[i].sentence, (size_t)tsv->rows[i].length, err);
    lk_tsv_free(tsv);
    return ok;
}

/* Lines end with LF, except perhaps the last one. Everything else in them is text. */
static bool put_lines(Job *job, const char *path, Error *err)
{
    FILE *file = path ? fopen(path, "r") : stdin;
    if (!file) return lk_error_set(err, LK_EIO, "--lines %s: %s", path, strerror(errno));
    char *line = NULL;
    size_t room = 0;
    bool ok = true;
    for (ssize_t n; ok && (n = getline(&line, &room, file)) >= 0;) {
        if (n > 0 && line[n - 1] == '\n') line[--n] = '\0';
        ok = put_line(job, line, (size_t)n, err);
    }
    if (ok && !feof(file))
        ok = lk_error_set(err, LK_EIO, "%s cannot be read: %s", path ? path : "stdin",
                          strerror(errno));
    free(line);
    if (path) fclose(file);
    return ok;
}

static bool run(const Options *o, Error *err)
{
    if (!o->model)
        return lk_error_set(err, LK_EVALUE,
                            "--model is needed: the folder of vocab.json and merges.txt");
    if (!!o->tsv + !!o->text + !!o->lines > 1)
        return lk_error_set(err, LK_EVALUE, "only one of --tsv, --text and --lines is possible");
    if (o->tsv && o->decode) return lk_error_set(err, LK_EVALUE, "--decode reads ids, not --tsv");
    Tokenizer *tok = lk_tokenizer_new(o->model, err);
    if (!tok) return false;
    Job job = { .tok = tok, .decode = o->decode };
    bool ok;
    if (o->tsv) ok = put_tsv(&job, o->tsv, err);
    else if (o->text) ok = put_line(&job, o->text, strlen(o->text), err);
    else ok = put_lines(&job, o->lines, err);
    lk_token_ids_free(&job.ids);
    lk_tokenizer_free(tok);
    return ok;
}

int main(int argc, char **argv)
{
    Options o = { 0 };
    cli_parse(&program, argc, argv, &o);
    Error err = { 0 };
    return cli_exit(&program, run(&o, &err), &err);
}
