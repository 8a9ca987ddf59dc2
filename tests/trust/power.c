/* power.c - takes the power away after every call of a save. The calls are recorded in a model of
 * the disk; two disks are what may be left at that moment:
 *
 *     synced      each folder has the names, and each file the bytes, of its last fsync
 *     journaled   each folder has its present names; files have the bytes of their last fsync
 *
 * In both the old content or the new one must be there, whole, and the next save must work. After
 * a folder was saved, the new one is there even on the first disk. tests/trust/disk.sh runs it.
 *     power SOURCES */
#include "tests/trust/jobs.h"

/* ---- the disk ------------------------------------------------------------------------------- */

enum { NODES = 512, NAMES = 48, OPEN_MAX_ = 1024, NO_NODE = -1 };

typedef struct Names_ {
    struct {
        char name[80];
        int node;
    } entry[NAMES];
    int count;
} Entries;

/* A file, a folder or a link. */
typedef struct Node {
    mode_t kind;
    Entries now, synced; /* of a folder */
    char *bytes;         /* of a file; the target of a link */
    size_t size, synced_size;
} Node;

static struct {
    Node *node[NODES];
    int count;
    int of_file[OPEN_MAX_]; /* descriptor: node */
    char root[LK_PATH_MAX]; /* the folder around "work", which is node 0 */
} disk;

static int node_new(mode_t kind)
{
    if (disk.count == NODES) exit(2);
    Node *n = disk.node[disk.count] = calloc(1, sizeof *n);
    n->kind = kind;
    return disk.count++;
}

static int find_entry(const Entries *e, const char *name)
{
    for (int i = 0; i < e->count; i++)
        if (!strcmp(e->entry[i].name, name)) return i;
    return -1;
}

static void set_entry(Entries *e, const char *name, int node)
{
    int i = find_entry(e, name);
    if (i < 0) {
        if (e->count == NAMES) exit(2);
        i = e->count++;
    }
    snprintf(e->entry[i].name, sizeof e->entry[i].name, "%s", name);
    e->entry[i].node = node;
}

static void drop_entry(Entries *e, const char *name)
{
    int i = find_entry(e, name);
    if (i >= 0) e->entry[i] = e->entry[--e->count];
}

/* Reads a file or folder with all in it from the real disk; all of it is synced. */
static int load(const char *path)
{
    struct stat s;
    if (real_io->lstat(path, &s) != 0) exit(2);
    int id = node_new(s.st_mode & S_IFMT);
    Node *n = disk.node[id];
    if (S_ISLNK(s.st_mode)) {
        n->bytes = calloc(1, 512);
        if (readlink(path, n->bytes, 511) < 0) exit(2);
    }
    if (S_ISREG(s.st_mode)) {
        n->size = n->synced_size = (size_t)s.st_size;
        n->bytes = malloc(n->size + 1);
        int file = real_io->open(path, O_RDONLY, 0);
        if (real_io->pread(file, n->bytes, n->size, 0) != (ssize_t)n->size) exit(2);
        real_io->close(file);
    }
    DIR *d = S_ISDIR(s.st_mode) ? opendir(path) : NULL;
    for (struct dirent *e; d && (e = readdir(d));) {
        char inner[LK_PATH_MAX];
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) continue;
        snprintf(inner, sizeof inner, "%s/%s", path, e->d_name);
        set_entry(&n->now, e->d_name, load(inner));
    }
    if (d) closedir(d);
    n->synced = n->now;
    return id;
}

/* The folder of a path and the last name in it; the path may be relative, and have . and .. */
static int find_parent(const char *path, char name[80])
{
    char whole[2 * LK_PATH_MAX], *rest = NULL, *here = get_current_dir_name();
    int stack[64], depth = 0;
    snprintf(whole, sizeof whole, *path == '/' ? "%.0s%s" : "%s/%s", here, path);
    free(here);
    if (strncmp(whole, disk.root, strlen(disk.root)) != 0) return NO_NODE;
    char *part = strtok_r(whole + strlen(disk.root), "/", &rest);
    if (!part) return NO_NODE; /* it begins with "work" */
    stack[0] = 0;
    strcpy(name, "");
    for (part = strtok_r(NULL, "/", &rest); part;) {
        char *next = strtok_r(NULL, "/", &rest);
        if (!strcmp(part, "..")) depth -= depth > 0;
        else if (strcmp(part, ".") != 0) {
            if (!next) {
                snprintf(name, 80, "%s", part);
                return stack[depth];
            }
            const Entries *e = &disk.node[stack[depth]]->now;
            int i = find_entry(e, part);
            if (i < 0) return NO_NODE;
            stack[++depth] = e->entry[i].node;
        }
        part = next;
    }
    return stack[depth];
}

static int find_node(const char *path)
{
    char name[80];
    int parent = find_parent(path, name);
    if (parent == NO_NODE || !*name) return parent;
    int i = find_entry(&disk.node[parent]->now, name);
    return i < 0 ? NO_NODE : disk.node[parent]->now.entry[i].node;
}

static void forget(void)
{
    while (disk.count > 0) {
        free(disk.node[--disk.count]->bytes);
        free(disk.node[disk.count]);
    }
}

/* ---- what the disk has after the power was gone --------------------------------------------- */

typedef struct State {
    char text[STATE_MAX];  /* names and contents, without temporary ones */
    char whole[STATE_MAX]; /* with them */
} State;

static const Entries *entries_of(const Node *n, bool synced)
{
    return synced ? &n->synced : &n->now;
}

static void describe(int id, const char *path, bool synced, char *lines[NODES], int *count)
{
    const Node *n = disk.node[id];
    char line[LK_PATH_MAX];
    uint64_t hash = LK_HASH_START;
    if (S_ISREG(n->kind)) hash = lk_hash(hash, n->bytes, n->synced_size);
    if (S_ISLNK(n->kind)) hash = lk_hash(hash, n->bytes, strlen(n->bytes));
    snprintf(line, sizeof line, "%s %o %llx\n", path, n->kind, (unsigned long long)hash);
    lines[(*count)++] = strdup(line);
    const Entries *e = entries_of(n, synced);
    for (int i = 0; i < e->count; i++) {
        snprintf(line, sizeof line, "%s/%s", path, e->entry[i].name);
        describe(e->entry[i].node, line, synced, lines, count);
    }
}

/* Whether that is the new folder, with the old one's folder still beside it: the next save brings
 * it back. */
static bool is_parted(const State *s, const State *new)
{
    static char text[STATE_MAX];
    text[0] = '\0';
    for (const char *line = new->text, *end; *line; line = end) {
        end = strchr(line, '\n') + 1;
        const char *inner = strstr(line, "/inner");
        if (!inner || inner > end) strncat(text, line, (size_t)(end - line));
    }
    return strstr(s->whole, ".tmp/inner/notes") && !strcmp(s->text, text);
}

static void state_of(State *s, bool synced)
{
    char *lines[NODES];
    int count = 0;
    s->text[0] = s->whole[0] = '\0';
    describe(0, "work", synced, lines, &count);
    qsort(lines, (size_t)count, sizeof *lines, by_text);
    for (int i = 0; i < count; i++) {
        strncat(s->whole, lines[i], STATE_MAX - strlen(s->whole) - 1);
        if (!strstr(lines[i], ".tmp")) strncat(s->text, lines[i], STATE_MAX - strlen(s->text) - 1);
        free(lines[i]);
    }
}

/* Makes the files that are left. */
static void restore(int id, const char *path, bool synced)
{
    const Node *n = disk.node[id];
    char inner[LK_PATH_MAX];
    if (S_ISREG(n->kind)) put_file(path, n->bytes, n->synced_size);
    if (S_ISLNK(n->kind)) check(symlink(n->bytes, path) == 0, "no link");
    if (!S_ISDIR(n->kind)) return;
    check(mkdir(path, 0700) == 0, "no folder %s", path);
    const Entries *e = entries_of(n, synced);
    for (int i = 0; i < e->count; i++) {
        snprintf(inner, sizeof inner, "%s/%s", path, e->entry[i].name);
        restore(e->entry[i].node, inner, synced);
    }
}

/* ---- the moments ---------------------------------------------------------------------------- */

enum { MOMENTS = 1000 };
static struct {
    State state[2][MOMENTS]; /* journaled, synced */
    int count;
    bool recording;
    int stop; /* the moment whose disk is wanted: later calls are not recorded */
} history;

static void moment(void)
{
    if (!history.recording) return;
    if (history.count == MOMENTS) exit(2);
    for (int synced = 0; synced < 2; synced++)
        state_of(&history.state[synced][history.count], synced);
    if (++history.count == history.stop) history.recording = false;
}

/* ---- calls that are recorded ---------------------------------------------------------------- */

static int power_open(const char *path, int flags, mode_t mode)
{
    char name[80];
    int file = real_io->open(path, flags, mode);
    if (file < 0 || file >= OPEN_MAX_ || !history.recording) return file;
    if (flags & O_CREAT) {
        int parent = find_parent(path, name);
        disk.of_file[file] = node_new(S_IFREG);
        set_entry(&disk.node[parent]->now, name, disk.of_file[file]);
        moment();
    } else {
        disk.of_file[file] = find_node(path);
    }
    return file;
}

static ssize_t power_write(int file, const void *bytes, size_t size)
{
    ssize_t done = real_io->write(file, bytes, size);
    if (done <= 0 || !history.recording) return done;
    Node *n = disk.node[disk.of_file[file]];
    n->bytes = realloc(n->bytes, n->size + (size_t)done);
    memcpy(n->bytes + n->size, bytes, (size_t)done);
    n->size += (size_t)done;
    moment();
    return done;
}

/* A folder that was moved is in one place: where the disk has one end of the move, it has both. */
static void settle_moves(void)
{
    for (int id = 0; id < disk.count; id++) {
        if (!S_ISDIR(disk.node[id]->kind)) continue;
        int to = NO_NODE, where = 0;
        for (int p = 0; p < disk.count; p++)
            for (int i = 0; i < disk.node[p]->now.count; i++)
                if (disk.node[p]->now.entry[i].node == id) to = p, where = i;
        for (int p = 0; p < disk.count && to != NO_NODE; p++) {
            Entries *e = &disk.node[p]->synced, *target = &disk.node[to]->synced;
            const char *name = disk.node[to]->now.entry[where].name;
            int i = find_entry(e, name);
            if (p == to || i < 0 || e->entry[i].node != id || find_entry(target, name) < 0)
                continue;
            drop_entry(e, name);
        }
    }
}

static int power_fsync(int file)
{
    if (!history.recording || disk.of_file[file] == NO_NODE) return 0;
    Node *n = disk.node[disk.of_file[file]];
    n->synced_size = n->size;
    n->synced = n->now;
    settle_moves();
    moment();
    return 0;
}

static int power_link(const char *from, const char *to)
{
    char name[80];
    int result = real_io->link(from, to);
    if (result != 0 || !history.recording) return result;
    int node = find_node(from), parent = find_parent(to, name);
    set_entry(&disk.node[parent]->now, name, node);
    moment();
    return 0;
}

static int power_rename(const char *from, const char *to)
{
    char name[80];
    int result = real_io->rename(from, to);
    if (result != 0 || !history.recording) return result;
    int node = find_node(from), parent = find_parent(from, name);
    drop_entry(&disk.node[parent]->now, name);
    parent = find_parent(to, name);
    set_entry(&disk.node[parent]->now, name, node);
    moment();
    return 0;
}

static int power_exchange(const char *a, const char *b)
{
    char first[80], second[80];
    errno = EINVAL;
    int result = no_swap ? -1 : real_io->exchange(a, b);
    if (result != 0 || !history.recording) return result;
    int x = find_node(a), y = find_node(b), px = find_parent(a, first),
        py = find_parent(b, second);
    set_entry(&disk.node[px]->now, first, y);
    set_entry(&disk.node[py]->now, second, x);
    moment();
    return 0;
}

static void drop(const char *path)
{
    char name[80];
    int parent = find_parent(path, name);
    drop_entry(&disk.node[parent]->now, name);
    moment();
}

static int power_unlink(const char *path)
{
    int result = real_io->unlink(path);
    if (result == 0 && history.recording) drop(path);
    return result;
}

static int power_rmdir(const char *path)
{
    int result = real_io->rmdir(path);
    if (result == 0 && history.recording) drop(path);
    return result;
}

static int power_mkdir(const char *path, mode_t mode)
{
    char name[80];
    int result = real_io->mkdir(path, mode);
    if (result != 0 || !history.recording) return result;
    int parent = find_parent(path, name);
    set_entry(&disk.node[parent]->now, name, node_new(S_IFDIR));
    moment();
    return 0;
}

/* ---- cases ---------------------------------------------------------------------------------- */

/* Runs the job up to a moment; 0: to its end. */
static void record(const Job *job, int stop)
{
    Error err = { 0 };
    forget();
    job->prepare();
    load("work");
    history.count = 0;
    history.stop = stop;
    history.recording = true;
    no_swap = job->no_swap;
    check(job->act(&err), "it fails: %s", err.message);
    history.recording = false;
}

/* After the power was gone at that moment, the next save works. */
static void save_again(const Job *job, int at, bool synced, const char *new_tree)
{
    Error err = { 0 };
    record(job, at + 1);
    remove_tree("work");
    restore(0, "work", synced);
    check(job->act(&err) && !strcmp(tree_state(), new_tree), "moment %d, %s: the next save: %s",
          at, synced ? "synced" : "journaled", err.code ? err.message : "its result is wrong");
    check(!job->folder || !tree.left, "moment %d: something temporary stays", at);
}

static void try_job(const Job *job)
{
    static State old, new, seen[2][MOMENTS];
    static char new_tree[STATE_MAX];
    record(job, 0);
    strcpy(new_tree, tree_state());
    const int count = history.count;
    memcpy(seen, history.state, sizeof seen);
    for (int id = 0; id < disk.count; id++) disk.node[id]->synced_size = disk.node[id]->size;
    state_of(&new, false);
    forget();
    job->prepare();
    load("work");
    state_of(&old, false);
    /* Where a folder cannot be exchanged, the old one is aside for a moment. */
    const bool in_steps = job->no_swap || job->act == write_adapter_here;
    for (int synced = 0; synced < 2; synced++)
        for (int i = 0; i < count; i++) {
            const int failures = failed;
            const State *s = &seen[synced][i];
            check(!strcmp(s->text, old.text) || !strcmp(s->text, new.text) || in_steps ||
                      is_parted(s, &new),
                  "moment %d of %d, %s: neither the old one nor the new one is there:\n%s", i,
                  count, synced ? "synced" : "journaled", s->whole);
            if (i == 0 || strcmp(s->whole, seen[synced][i - 1].whole) != 0)
                save_again(job, i, synced, new_tree);
            passed += failed == failures;
        }
    check(!job->folder || !strcmp(seen[1][count - 1].text, new.text),
          "it is saved, and the power takes it away");
    no_swap = false;
}

int main(int argc, char **argv)
{
    if (argc < 2) return 2;
    static Io power;
    power = *real_io;
    power.open = power_open;
    power.write = power_write;
    power.fsync = power_fsync;
    power.link = power_link;
    power.rename = power_rename;
    power.exchange = power_exchange;
    power.unlink = power_unlink;
    power.rmdir = power_rmdir;
    power.mkdir = power_mkdir;
    lk__io = &power;
    begin_jobs(argv[1]);
    tree.without_modes = true;
    char *here = get_current_dir_name();
    snprintf(disk.root, sizeof disk.root, "%s", here);
    free(here);
    for (int j = 0; j < JOBS; j++) {
        doing = jobs[j].name;
        if (jobs[j].writes) try_job(&jobs[j]);
    }
    doing = "power";
    forget();
    end_jobs();
    return finish_cases();
}
