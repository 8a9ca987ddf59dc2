/* test_peft_files.c - adapters whose files are not there, whose writer is killed, which do not fit
 * on the disk; and memory that is short. The content of the files: test_peft.c. */
#include "data/path.h"
#include "tests/shared/faults.h"

#include "tests/shared/peft_nets.h"

#include <dirent.h>
#include <sys/resource.h>

#include "core/memory.h"

Test(peft_files, not_there)
{
    check_refused(check_scratch("missing"), LK_EIO,
                  "missing/adapter_config.json: cannot be opened: No such file");
    check_refused(check_fixture("rng.h"), LK_EIO, "cannot be opened: Not a directory");
    const char *folder = with_config(CONFIG_WITH(RIGHT, ""));
    unlink(check_scratch("refused/adapter_model.safetensors"));
    check_refused(folder, LK_EIO, "adapter_model.safetensors: cannot be opened: No such file");
    check_write("refused/adapter_model.safetensors", "\2\0\0\0\0\0\0\0[]", 10);
    check_refused(folder, LK_EFORMAT, "it does not begin with {");
    unlink(check_scratch("refused/adapter_config.json"));
    check(mkfifo(check_scratch("refused/adapter_config.json"), 0600) == 0);
    check_refused(folder, LK_EIO, "is not a regular file"); /* and does not wait for a writer */

    Error err = { 0 };
    check(!lk_load_peft(NULL, folder, LK_PEFT_WRAPPER, NULL, NULL, &err));
    check_error(&err, LK_EVALUE, "the module is NULL");
    Module *net = seeded_net(0);
    err = (Error){ 0 };
    check(!lk_load_peft(net, NULL, LK_PEFT_WRAPPER, NULL, NULL, &err));
    check_error(&err, LK_EVALUE, "the folder is NULL");
    char name[LK_ADAPTER_NAME_MAX + 1];
    memset(name, 'n', LK_ADAPTER_NAME_MAX);
    name[LK_ADAPTER_NAME_MAX] = '\0';
    err = (Error){ 0 };
    check(!lk_load_peft(net, check_fixture("peft"), LK_PEFT_PARAMETRIZATION, name, NULL, &err));
    check_error(&err, LK_EVALUE, "the adapter's name has more than 63 bytes");
    lk_free(net);
}

/* ---- whole or not at all -------------------------------------------------------------------- */

static int entries_of(const char *path)
{
    int count = -2; /* . and .. */
    DIR *folder = opendir(path);
    while (readdir(folder)) count++;
    closedir(folder);
    return count;
}

static LoRALayer *lora_of(Module *net, int i)
{
    Module *layer = lk_sequential_at(((Net *)net)->layers, i, NULL);
    return lk_as_lora_layer(lk_as_linear_with_lora(layer)->lora);
}

/* All of A and B, and alpha, are `value`. */
static void set_values(Module *net, double value)
{
    for (ParamIter it = lk_params(net); lk_params_next(&it);)
        if (strstr(it.name, "lora")) lk_fill_(it.tensor, value);
    for (int i = 0; i < 5; i += 2) lora_of(net, i)->alpha = value;
}

/* The value of a folder that set_values and lk_save_peft made, all of it; -1: there is no adapter
 * in it. */
static double value_of(const char *folder)
{
    Module *net = seeded_net(0);
    Error err = { 0 };
    double value = -1;
    if (lk_load_peft(net, folder, LK_PEFT_WRAPPER, NULL, NULL, &err)) {
        LoRALayer *first = lora_of(net, 0);
        value = lk_at(first->A, LK_INDEX(0, 0));
        for (ParamIter it = lk_params(net); lk_params_next(&it);)
            for (int64_t i = 0; strstr(it.name, "lora") && i < lk_numel(it.tensor); i++)
                check(((float *)it.tensor->data)[i] == (float)value, "%g and %g",
                      ((float *)it.tensor->data)[i], value);
        check(first->alpha == value, "alpha %g, values %g", first->alpha, value);
    } else {
        check_error(&err, LK_EIO, "adapter_config.json: cannot be opened: No such file");
    }
    lk_free(net);
    return value;
}

typedef struct Saving {
    Module *net;
    char parent[LK_PATH_MAX], folder[LK_PATH_MAX]; /* an adapter, alone in a folder of its own */
} Saving;

static bool saving(void *user)
{
    Saving *s = user;
    return lk_save_peft(s->net, s->folder, NULL, NULL);
}

/* The adapter 1 is in another folder than that of the last call, and 2 is to be saved over it. */
static void begin_saving(Saving *s)
{
    static int calls;
    char name[32];
    snprintf(name, sizeof name, "parent-%d", calls++);
    strcpy(s->parent, check_scratch(name));
    strcat(strcpy(s->folder, s->parent), "/saved");
    check(mkdir(s->parent, 0700) == 0);
    set_values(s->net, 1);
    check_save(s->net, s->folder, NULL);
    set_values(s->net, 2);
}

/* Wherever saving over an adapter is killed, the old one is there or the new one. Where folders
 * cannot be swapped there may be none, but never one with another one's settings; and saving again
 * works. */
static void check_killed(void)
{
    Saving s = { .net = adapted_net(LK_PEFT_WRAPPER, 2, 1) };
    int k = 1, none = 0;
    for (bool killed = true, new = false; killed; k++) {
        begin_saving(&s);
        killed = killed_at(k, saving, &s);
        double value = value_of(s.folder);
        none += value == -1;
        new = new || value == 2;
        check(value == (new ? 2 : 1) || (value == -1 && !new), "change %d: %g", k, value);
        check(new || killed);
        check(saving(&s) && value_of(s.folder) == 2, "change %d", k);
    }
    check(k > 25 && none == no_swap, "%d changes, no adapter after %d", k, none);
    lk_free(s.net);
}

Test(peft_files, killed_while_saving) { check_killed(); }

Test(peft_files, killed_where_folders_cannot_be_swapped)
{
    no_swap = true;
    check_killed();
}

/* Whichever change fails, the old adapter is back. A folder beside it stays, even if it cannot be
 * moved: then the files are replaced one by one. */
Test(peft_files, a_failure_leaves_the_old_one)
{
    Saving s = { .net = adapted_net(LK_PEFT_WRAPPER, 2, 1) };
    for (int way = 0; way < 2; way++) {
        no_swap = way;
        int k = 1;
        for (bool failed = true; failed; k++) {
            Error err = { 0 };
            begin_saving(&s);
            char inner[LK_PATH_MAX + 8];
            snprintf(inner, sizeof inner, "%s/inner", s.folder);
            check(mkdir(inner, 0700) == 0);
            fail_at(k);
            bool ok = lk_save_peft(s.net, s.folder, NULL, &err);
            failed = end_faults();
            if (!ok) check_error(&err, LK_EIO, "cannot be written: Input/output error");
            check(value_of(s.folder) == (ok ? 2 : 1) && (ok || failed), "change %d", k);
            check((entries_of(s.folder) == 3 && entries_of(s.parent) == 1) ||
                      faults.kind == REMOVING,
                  "change %d: something is left", k);
        }
        check(k > 25, "%d changes", k);
    }
    lk_free(s.net);
}

Test(peft_files, a_full_disk_leaves_the_old_one)
{
    Module *net = adapted_net(LK_PEFT_WRAPPER, 2, 1);
    char folder[LK_PATH_MAX];
    strcpy(folder, check_scratch("saved"));
    set_values(net, 3);
    check_save(net, folder, NULL);
    check(entries_of(folder) == 2);
    struct rlimit before, limit;
    check(getrlimit(RLIMIT_FSIZE, &before) == 0);
    signal(SIGXFSZ, SIG_IGN);
    char long_name[2000] = "";
    memset(long_name, 'n', sizeof long_name - 1);
    const PeftOptions options = { .base_model = long_name };
    /* the weights do not fit; they do, but the settings do not */
    for (int bytes = 0; bytes < 2000; bytes += 500) {
        limit = before;
        limit.rlim_cur = (rlim_t)bytes;
        set_values(net, 4);
        check(setrlimit(RLIMIT_FSIZE, &limit) == 0);
        Error err = { 0 };
        bool saved = lk_save_peft(net, folder, &options, &err);
        bool beside = lk_save_peft(net, check_scratch("new"), &options, NULL);
        check(setrlimit(RLIMIT_FSIZE, &before) == 0);
        check(!saved && !beside);
        check_error(&err, LK_EIO, "cannot be written: File too large");
        check(value_of(folder) == 3);
        check(entries_of(folder) == 2 && entries_of(check_scratch(".")) == 1);
    }
    check_save(net, folder, NULL);
    check(value_of(folder) == 4 && entries_of(folder) == 2 && entries_of(check_scratch(".")) == 1);
    lk_free(net);
}

/* Other files beside an adapter stay, and a slash at the end of its name is no other name. */
Test(peft_files, among_other_files)
{
    Module *net = adapted_net(LK_PEFT_WRAPPER, 2, 1);
    set_values(net, 5);
    mkdir(check_scratch("checkpoint"), 0700);
    check_write("checkpoint/model.safetensors", "model", 5);
    check_save(net, check_scratch("checkpoint//"), NULL);
    check_save(net, check_scratch("fresh//"), NULL);
    check(value_of(check_scratch("checkpoint")) == 5 && value_of(check_scratch("fresh")) == 5);
    check(entries_of(check_scratch("checkpoint")) == 3 && entries_of(check_scratch("fresh")) == 2);

    /* With a folder in it; through a symbolic link; as the folder one is in, which nobody can
     * swap. */
    static const char *const names[] = { "checkpoint", "link", "." };
    check(mkdir(check_scratch("checkpoint/inner"), 0700) == 0 &&
          symlink("checkpoint", check_scratch("link")) == 0);
    check_write("checkpoint/inner/file", "text", 4);
    check(chdir(check_scratch("checkpoint")) == 0);
    for (int i = 0; i < 3; i++) {
        set_values(net, 6 + i);
        check(chdir(check_scratch("checkpoint")) == 0);
        check_save(net, i == 2 ? names[i] : check_scratch(names[i]), NULL);
        check(value_of(check_scratch("checkpoint")) == 6 + i, "saved as %s", names[i]);
        check(entries_of(check_scratch("checkpoint")) == 4 && entries_of(check_scratch(".")) == 3);
        check(access(check_scratch("checkpoint/inner/file"), R_OK) == 0);
        struct stat info;
        check(stat(check_scratch("checkpoint"), &info) == 0 && (info.st_mode & 0777) == 0700);
        check(lstat(check_scratch("link"), &info) == 0 && S_ISLNK(info.st_mode));
    }
    lk_free(net);
}

/* ---- memory --------------------------------------------------------------------------------- */

Test(peft_files, out_of_memory)
{
    check_alloc_begin();
    char folder[LK_PATH_MAX], reference[LK_PATH_MAX];
    strcpy(folder, check_scratch("saved"));
    strcpy(reference, check_fixture("peft"));
    for (int form = 0; form < 3; form++) {
        Module *net = seeded_net(0), *untouched = seeded_net(0);
        int64_t live = check_alloc_live(), n = 0;
        for (bool failed = true; failed; n++) {
            Error err = { 0 };
            LoadReport report = { 0 };
            check_fail_after(n);
            bool ok = lk_load_peft(net, reference, (PeftForm)form, NULL, &report, &err);
            failed = check_alloc_failed() > 0;
            check_fail_after(-1);
            lk_load_report_free(&report);
            check(ok == !failed && err.code == (failed ? LK_EMEMORY : LK_OK), "%s", err.message);
            if (!failed) continue;
            check(check_alloc_live() == live, "%lld blocks more",
                  (long long)(check_alloc_live() - live));
            check_text(param_names(net, false),
                       "layers.0.weight\nlayers.0.bias\nlayers.2.weight\nlayers.2.bias\n"
                       "layers.4.weight\nlayers.4.bias");
            check_same_output(net, untouched, 0);
        }
        check(n > 20, "%d", (int)n);
        check_output(net, peft_output, 3);

        live = check_alloc_live(), n = 0;
        for (bool failed = true; failed; n++) {
            Error err = { 0 };
            check_fail_after(n);
            bool ok = lk_save_peft(net, folder, &reference_options, &err);
            failed = check_alloc_failed() > 0;
            check_fail_after(-1);
            check(ok == !failed && err.code == (failed ? LK_EMEMORY : LK_OK), "%s", err.message);
            check(check_alloc_live() == live, "%lld blocks more after %lld",
                  (long long)(check_alloc_live() - live), (long long)n);
            check(entries_of(check_scratch(".")) == (form > 0 || ok), "a folder is left");
        }
        check(n > 20, "%d", (int)n);
        lk_free(net);
        lk_free(untouched);
    }
    check(check_alloc_live() == 0);
}
