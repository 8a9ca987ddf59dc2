/* jobs.h - what the classes `disk` and `crash` try: each job writes or reads files in the folder
 * "work", from a state that is always the same to a state that is always the same. */
#ifndef JOBS_H
#define JOBS_H

#include "tests/trust/world.h"

#include "data/folder.h"
#include "data/csv.h"
#include "data/idx.h"
#include "data/image.h"
#include "data/image_folder.h"
#include "data/mnist.h"
#include "data/npy.h"
#include "data/optimizer_file.h"
#include "data/peft.h"
#include "data/tokenizer.h"
#include "data/tsv.h"

/* ---- jobs ----------------------------------------------------------------------------------- */

typedef struct Job {
    const char *name;
    void (*prepare)(void);   /* makes "work" and the world, the same each time */
    bool (*act)(Error *err); /* reads or writes */
    bool writes;
    bool no_swap; /* where folders cannot be exchanged */
    bool folder;  /* it replaces a folder, so that nothing temporary may stay */
} Job;

static inline void begin_work(void)
{
    remove_tree("work");
    check(mkdir("work", 0700) == 0, "no folder");
    world_begin("work/out");
    world_fill(1);
}

/* A file was read with another content than it was written: never to be seen. */
static bool misread;
static inline bool is_read(bool same)
{
    misread = misread || !same;
    return true;
}

static inline StateDict *values_new(double value)
{
    StateDict *state = lk_state_dict_empty_new(NULL);
    for (int i = 0; i < 3; i++) {
        char name[8] = { (char)('a' + i), 0 };
        Tensor *x = lk_tensor_new(i ? LK_F32 : LK_I64, LK_SHAPE(5, 40 * i + 1), NULL);
        lk_fill_(x, value);
        check(lk_state_dict_add(state, name, x, NULL), "no memory");
    }
    return state;
}

static inline bool are_values(const StateDict *state, double value)
{
    StateDict *expected = values_new(value);
    bool same = state->count == expected->count;
    for (int i = 0; same && i < expected->count; i++) {
        const Tensor *x = lk_state_dict_get(state, expected->entries[i].name);
        same = x && lk_equal(x, expected->entries[i].tensor);
    }
    lk_state_dict_free(expected);
    return same;
}

static inline bool save_values(const char *path, double value, Error *err)
{
    StateDict *state = values_new(value);
    bool ok = lk_save_safetensors(state, LK_METADATA({ "format", "pt" }), path, err);
    lk_state_dict_free(state);
    return ok;
}

/* -- files that are written -- */

static inline void old_file(void)
{
    begin_work();
    check(save_values("work/file", 1, NULL), "no file");
    check(chmod("work/file", 0640) == 0, "no permission");
    put_text("work/notes", "mine");
}
static inline void old_link(void)
{
    old_file();
    check(rename("work/file", "work/real") == 0 && symlink("real", "work/file") == 0, "no link");
}
static inline bool write_safetensors(Error *err) { return save_values("work/file", 2, err); }
static inline bool write_module(Error *err)
{
    return lk_save_module(world.tr.model, "work/file", err);
}
static inline bool write_optimizer(Error *err)
{
    return lk_save_optimizer(world.opt, world.tr.model, "work/file", err);
}
static inline bool write_npz(Error *err)
{
    StateDict *state = values_new(2);
    bool ok = lk_save_npz(state, "work/file", false, err);
    lk_state_dict_free(state);
    return ok;
}
static inline bool write_picture(Error *err)
{
    Tensor *x = lk_tensor_new(LK_U8, LK_SHAPE(1, 8, 8), NULL);
    bool ok = lk_write_pnm(x, "work/file", err);
    lk_free(x);
    return ok;
}
static inline void old_copy(void)
{
    old_file();
    check(mkdir("work/to", 0700) == 0, "no folder");
    check(save_values("work/to/file", 2, NULL), "no file");
}
static inline bool write_copy(Error *err)
{
    return lk_folder_copy("work", "work/to", "file", err);
}

/* -- folders that are written -- */

static inline void first_adapter(void)
{
    begin_work();
    put_text("work/notes", "mine");
}
static inline void old_adapter(void)
{
    first_adapter();
    check(lk_save_peft(world.tr.model, "work/adapter", NULL, NULL), "no adapter");
    put_text("work/adapter/notes", "mine");
    check(mkdir("work/adapter/inner", 0700) == 0, "no folder");
    put_text("work/adapter/inner/notes", "mine, too");
    world_fill(2);
}
static inline bool write_adapter(Error *err)
{
    return lk_save_peft(world.tr.model, "work/adapter", NULL, err);
}
/* A folder that cannot be renamed. */
static inline bool write_adapter_here(Error *err)
{
    check(chdir("work/adapter") == 0, "no folder");
    bool ok = lk_save_peft(world.tr.model, ".", NULL, err);
    check(chdir("../..") == 0, "no folder");
    return ok;
}
static inline void first_checkpoint(void)
{
    begin_work();
    check(mkdir("work/out", 0700) == 0, "no folder");
    put_text("work/out/notes", "mine");
    world.tr.state.step = 5;
    world.tr.state.batches = 2;
}
static inline bool write_checkpoint(Error *err)
{
    return lk_checkpoints.save(&world.tr, world.opt, err);
}
static inline void old_checkpoint(void)
{
    first_checkpoint();
    check(write_checkpoint(NULL), "no checkpoint");
    world_fill(2);
}

/* -- what is read -- */

static inline bool read_safetensors(Error *err)
{
    StateDict *state = lk_load_safetensors("work/file", err);
    bool ok = state && is_read(are_values(state, 1));
    lk_state_dict_free(state);
    return ok;
}
static inline void saved_module(void)
{
    begin_work();
    check(lk_save_module(world.tr.model, "work/file", NULL), "no file");
    world_fill(2);
}
static inline bool read_module(Error *err)
{
    return lk_load_module(world.tr.model, "work/file", true, err);
}
static inline bool read_mapped(Error *err)
{
    return lk_load_module_mapped(world.tr.model, "work/file", NULL, NULL, err);
}
static inline void saved_adapter(void)
{
    begin_work();
    check(lk_save_peft(world.tr.model, "work/adapter", NULL, NULL), "no adapter");
    lk_free(world.tr.model);
    Rng rng;
    lk_manual_seed(&rng, 1);
    Module *first = lk_linear_new(FEATURES, 4, true, &rng, NULL);
    world.tr.model =
        lk_sequential_new(LK_MODULES(first, lk_linear_new(4, CLASSES, true, &rng, NULL)), NULL);
}
static inline bool read_adapter(Error *err)
{
    return lk_load_peft(world.tr.model, "work/adapter", LK_PEFT_PARAMETRIZATION, NULL, NULL, err);
}
static inline bool read_checkpoint(Error *err)
{
    world.tr.args.resume_from = "work/out/checkpoint-5";
    return lk_checkpoints.resume(&world.tr, world.opt, err);
}
static inline void saved_optimizer(void)
{
    begin_work();
    check(lk_save_optimizer(world.opt, world.tr.model, "work/file", NULL), "no file");
    world_fill(2);
}
static inline bool read_optimizer(Error *err)
{
    return lk_load_optimizer(world.opt, world.tr.model, "work/file", err);
}
static inline void tables(void)
{
    begin_work();
    put_text("work/table", "sentence\tlabel\ngood\t1\nbad\t0\n");
    put_text("work/table.csv", "a,b\n1,2\n3,4\n");
}
static inline bool read_tables(Error *err)
{
    Tsv *tsv = lk_tsv_new("work/table", 2, err);
    Csv *csv = tsv ? lk_csv_new("work/table.csv", &(CsvOptions){ .header = true }, err) : NULL;
    bool ok = csv && is_read(tsv->count == 2 && lk_size(csv->values, 0) == 2);
    lk_csv_free(csv);
    lk_tsv_free(tsv);
    return ok;
}
static inline void digits(void)
{
    static const char images[] = "\0\0\10\3\0\0\0\2\0\0\0\34\0\0\0\34",
                      labels[] = "\0\0\10\1\0\0\0\2\7\1";
    static char bytes[16 + 2 * 28 * 28];
    begin_work();
    memcpy(bytes, images, 16);
    put_file("work/train-images.idx3-ubyte", bytes, sizeof bytes);
    put_file("work/train-labels.idx1-ubyte", labels, 10);
}
static inline bool read_digits(Error *err)
{
    Dataset *d = lk_mnist_new("work", true, LK_TO_TENSOR, err);
    bool ok = d && is_read(d->count == 2);
    lk_dataset_free(d);
    return ok;
}
static inline void pictures(void)
{
    begin_work();
    for (int i = 0; i < 4; i++) {
        char path[64];
        snprintf(path, sizeof path, "work/%d", i / 2);
        if (i % 2 == 0) check(mkdir(path, 0700) == 0, "no folder");
        snprintf(path, sizeof path, "work/%d/%d.pgm", i / 2, i);
        put_file(path, "P5 2 2 255\n\1\2\3\4", 15);
    }
}
static inline bool read_pictures(Error *err)
{
    Dataset *d = lk_image_folder_new("work", 1, LK_TO_TENSOR, NULL, err);
    bool ok = d && is_read(d->count == 4);
    lk_dataset_free(d);
    return ok;
}
static char tokenizer[LK_PATH_MAX]; /* tests/fixtures/tokenizer */
static inline bool read_tokenizer(Error *err)
{
    Tokenizer *tok = lk_tokenizer_new(tokenizer, err);
    lk_tokenizer_free(tok);
    return tok;
}

/* clang-format off */
static const Job jobs[] = {
    { "save a safetensors file", old_file, write_safetensors, 1, 0, 0 },
    { "save a first safetensors file", begin_work, write_safetensors, 1, 0, 0 },
    { "save over the target of a link", old_link, write_safetensors, 1, 0, 0 },
    { "save a module", old_file, write_module, 1, 0, 0 },
    { "save an optimizer", old_file, write_optimizer, 1, 0, 0 },
    { "save arrays", old_file, write_npz, 1, 0, 0 },
    { "save a picture", old_file, write_picture, 1, 0, 0 },
    { "copy a file", old_copy, write_copy, 1, 0, 0 },
    { "save a first adapter", first_adapter, write_adapter, 1, 0, 1 },
    { "save an adapter", old_adapter, write_adapter, 1, 0, 1 },
    { "save an adapter without exchange", old_adapter, write_adapter, 1, 1, 1 },
    { "save an adapter file by file", old_adapter, write_adapter_here, 1, 0, 1 },
    { "save a first checkpoint", first_checkpoint, write_checkpoint, 1, 0, 1 },
    { "save a checkpoint", old_checkpoint, write_checkpoint, 1, 0, 1 },
    { "save a checkpoint without exchange", old_checkpoint, write_checkpoint, 1, 1, 1 },
    { "load a safetensors file", old_file, read_safetensors, 0, 0, 0 },
    { "load a module", saved_module, read_module, 0, 0, 0 },
    { "map a module", saved_module, read_mapped, 0, 0, 0 },
    { "load an adapter", saved_adapter, read_adapter, 0, 0, 0 },
    { "load an optimizer", saved_optimizer, read_optimizer, 0, 0, 0 },
    { "resume", old_checkpoint, read_checkpoint, 0, 0, 0 },
    { "read tables", tables, read_tables, 0, 0, 0 },
    { "read MNIST", digits, read_digits, 0, 0, 0 },
    { "read a folder of pictures", pictures, read_pictures, 0, 0, 0 },
    { "read a tokenizer", begin_work, read_tokenizer, 0, 0, 0 },
};
/* clang-format on */
enum { JOBS = sizeof jobs / sizeof *jobs };

/* A folder of the program's own becomes the current one; argv[1] is the root of the sources. */
static inline void begin_jobs(const char *root)
{
    char scratch[LK_PATH_MAX];
    const char *folder = getenv("TMPDIR");
    snprintf(scratch, sizeof scratch, "%s/lorikeet-trust-XXXXXX", folder ? folder : "/tmp");
    snprintf(tokenizer, sizeof tokenizer, "%s/tests/fixtures/tokenizer", root);
    if (!mkdtemp(scratch) || chdir(scratch) != 0) {
        perror(scratch);
        exit(2);
    }
}
static inline void end_jobs(void)
{
    char *here = get_current_dir_name();
    world_end();
    if (here) remove_tree(here);
    free(here);
}

#endif
