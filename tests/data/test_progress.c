/* test_progress.c - the progress bar: its text against tqdm's, and how often it is written.
 *
 * The expected lines are tqdm's own: those that the notebooks show, and those of tqdm's test of
 * format_meter. */
#define _GNU_SOURCE /* pseudo-terminals */
#include "data/progress.h"

#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "tests/check.h"

/* ---- the text ------------------------------------------------------------------------------- */

static int width_of(const char *text)
{
    int n = 0;
    for (; *text; text++) n += (*text & 0xC0) != 0x80;
    return n;
}

/* The line of a loop at this point, in a terminal of these columns (0: none). */
static const char *line_at(const char *description, int64_t count, int64_t total, double elapsed,
                           double loss, int columns)
{
    static char text[1024];
    Progress p = lk_progress(NULL, description, total);
    p.count = count;
    p.label = loss >= 0 ? "loss" : NULL;
    p.value = loss;
    size_t length = lk_progress_text(&p, elapsed, columns, text, sizeof text);
    check(length == strlen(text));
    return text;
}

static void check_line(const char *got, const char *expected)
{
    check(strcmp(got, expected) == 0, "\n%s\nis not\n%s", got, expected);
}

Test(progress, lines_of_the_notebooks)
{
    static const struct {
        const char *description;
        int64_t count, total;
        double rate, loss;
        const char *line;
    } lines[] = {
        { "Epoch 1", 6000, 6000, 329.46, 0.2391,
          "Epoch 1: 100%|████████████████████████████████████████████████████████| 6000/6000 "
          "[00:18<00:00, 329.46it/s, "
          "loss=0.239]" },
        { "Testing", 1000, 1000, 563.06, -1,
          "Testing: 100%|████████████████████████████████████████████████████████████████████| "
          "1000/1000 [00:01<00:00, "
          "563.06it/s]" },
        { "Epoch 1", 99, 100, 251.54, 0.12511,
          "Epoch 1:  99%|██████████████████████████████████████████████████████████▍| 99/100 "
          "[00:00<00:00, 251.54it/s, "
          "loss=0.125]" },
        { "Epoch 1", 6000, 6000, 13.77, 0.2774,
          "Epoch 1: 100%|█████████████████████████████████████████████████████████| 6000/6000 "
          "[07:15<00:00, 13.77it/s, "
          "loss=0.277]" },
        { "Testing", 1000, 1000, 93.01, -1,
          "Testing: 100%|█████████████████████████████████████████████████████████████████████| "
          "1000/1000 [00:10<00:00"
          ", 93.01it/s]" },
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        double elapsed = (double)lines[i].count / lines[i].rate;
        const char *got = line_at(lines[i].description, lines[i].count, lines[i].total, elapsed,
                                  lines[i].loss, width_of(lines[i].line));
        check_line(got, lines[i].line);
    }
}

Test(progress, lines_of_tqdm_itself)
{
    check_line(line_at("", 0, 1000, 13, -1, 0), "  0%|          | 0/1000 [00:13<?, ?it/s]");
    check_line(line_at("desc", 0, 1000, 13, -1, 68),
               "desc:   0%|                                | 0/1000 [00:13<?, ?it/s]");
    check_line(line_at("", 231, 1000, 392, -1, 0),
               " 23%|██▎       | 231/1000 [06:32<21:44,  1.70s/it]");
    check_line(line_at(NULL, 10000, 1000, 13, -1, 0), "10000it [00:13, 769.23it/s]");
    check_line(line_at("", 0, 10, 0, -1, 0), "  0%|          | 0/10 [00:00<?, ?it/s]");
}

Test(progress, times_and_values)
{
    check_line(line_at("", 1, 2, 6160, -1, 0),
               " 50%|█████     | 1/2 [1:42:40<1:42:40, 6160.00s/it]");
    check_line(line_at("", 1, 1, 238113, -1, 0),
               "100%|██████████| 1/1 [66:08:33<00:00, 238113.00s/it]");
    check_line(line_at("", 0, 0, 3, -1, 0), "0it [00:03, ?it/s]");
    check_line(line_at("x", 1, 1, 1, 0.00001234, 0),
               "x: 100%|██████████| 1/1 [00:01<00:00,  1.00it/s, loss=1.23e-5]");
    check_line(line_at("x", 1, 1, 1, 1e30, 0),
               "x: 100%|██████████| 1/1 [00:01<00:00,  1.00it/s, loss=1e+30]");
    check_line(line_at("x", 1, 1, 1, 1234567, 0),
               "x: 100%|██████████| 1/1 [00:01<00:00,  1.00it/s, loss=1.23e+6]");
}

/* All eight fillings of a cell: U+258F, one eighth, down to U+2588. */
Test(progress, eighths)
{
    static const char *const cells[] = { " ", "▏", "▎", "▍", "▌", "▋", "▊", "▉", "█" };
    for (int i = 0; i <= 8; i++) {
        const char *got = line_at("", 8 + i, 80, 0, -1, 0), *bar = strchr(got, '|') + 1;
        check(strncmp(bar, "█", 3) == 0 && strncmp(bar + 3, cells[i], strlen(cells[i])) == 0,
              "%d: %s", i, got);
        check(width_of(got) == width_of("  0%|          | 16/80 [00:00<?, ?it/s]") - (8 + i < 10),
              "%s", got);
    }
}

/* Narrow terminals and small buffers: cut, but never inside a character, and never too long. */
Test(progress, whatever_is_too_long)
{
    Progress p = lk_progress(NULL, "Überprüfung", 8);
    p.count = 4;
    char whole[256], text[256];
    for (int columns = 1; columns < 60; columns++) {
        lk_progress_text(&p, 1, columns, text, sizeof text);
        check(width_of(text) == columns, "%d columns: '%s'", columns, text);
    }
    size_t length = lk_progress_text(&p, 1, 0, whole, sizeof whole);
    for (size_t size = 1; size < 80; size++) {
        memset(text, '#', sizeof text);
        size_t n = lk_progress_text(&p, 1, 0, text, size);
        check(n < size && n + 3 >= (size <= length ? size - 1 : length), "%zu bytes: %zu", size,
              n);
        check(text[n] == '\0' && text[size] == '#' && memcmp(text, whole, n) == 0);
        check((whole[n] & 0xC0) != 0x80, "%zu bytes: '%s' is cut inside a character", size, text);
    }
    check(lk_progress_text(&p, 1, 0, NULL, 0) == 0);

    char endless[5000];
    memset(endless, 'x', sizeof endless);
    endless[sizeof endless - 1] = '\0';
    char line[3000];
    check(strlen(line_at(endless, 1, 2, 1, -1, 0)) < 1024);
    p.description = p.label = endless;
    check(lk_progress_text(&p, 1, 100000, line, sizeof line) < sizeof line);
}

/* ---- when it is written --------------------------------------------------------------------- */

static double fake_now;
static int64_t fake_reads;

static double fake_clock(void)
{
    fake_reads++;
    return fake_now;
}

static Progress fake_progress(FILE *out, int64_t total, bool terminal)
{
    Progress p = lk_progress(out, "Epoch 1", total);
    p.terminal = terminal;
    p.interval = terminal ? 0.1 : 10;
    p.clock = fake_clock;
    fake_now = p.started = p.written = 1000;
    fake_reads = 0;
    return p;
}

static void run_steps(Progress *p, int64_t steps, double seconds_each)
{
    for (int64_t i = 0; i < steps; i++) {
        fake_now += seconds_each;
        lk_progress_step(p);
    }
}

static int count_char(const char *text, char c)
{
    int n = 0;
    for (; *text; text++) n += *text == c;
    return n;
}

Test(progress, on_a_terminal)
{
    static char text[1 << 20];
    FILE *out = fmemopen(text, sizeof text, "w");
    Progress p = fake_progress(out, 10240, true);
    run_steps(&p, 10240, 1.0 / 1024);
    int drawn = count_char(text, '\r');
    check(drawn >= 80 && drawn <= 100, "%d lines in 10 seconds", drawn);
    check(!strchr(text, '\n'));
    lk_progress_end(&p);
    fclose(out);
    check(count_char(text, '\r') == drawn + 1 && count_char(text, '\n') == 1);
    check_line(strrchr(text, '\r'),
               "\r\033[KEpoch 1: 100%|██████████| 10240/10240 [00:10<00:00, 1024.00it/s]\n");
}

Test(progress, in_a_file)
{
    char text[4096];
    FILE *out = fmemopen(text, sizeof text, "w");
    Progress p = fake_progress(out, 100, false);
    p.label = "loss";
    p.value = 0.5;
    run_steps(&p, 100, 0.25);
    lk_progress_end(&p);
    fclose(out);
    check_line(text, "Epoch 1:  40%|████      | 40/100 [00:10<00:15,  4.00it/s, loss=0.5]\n"
                     "Epoch 1:  80%|████████  | 80/100 [00:20<00:05,  4.00it/s, loss=0.5]\n"
                     "Epoch 1: 100%|██████████| 100/100 [00:25<00:00,  4.00it/s, loss=0.5]\n");
}

/* A loop that ends early shows how far it came; one of slow steps shows every step. */
Test(progress, short_and_slow_loops)
{
    char text[4096];
    FILE *out = fmemopen(text, sizeof text, "w");
    Progress p = fake_progress(out, 4, false);
    run_steps(&p, 2, 60);
    lk_progress_end(&p);
    fclose(out);
    check_line(text, "Epoch 1:  25%|██▌       | 1/4 [01:00<03:00, 60.00s/it]\n"
                     "Epoch 1:  50%|█████     | 2/4 [02:00<02:00, 60.00s/it]\n"
                     "Epoch 1:  50%|█████     | 2/4 [02:00<02:00, 60.00s/it]\n");
}

Test(progress, the_clock_is_read_rarely)
{
    Progress p = fake_progress(stdout, 0, false);
    p.interval = 1e9;
    run_steps(&p, 2000000, 1e-6);
    check(fake_reads > 100 && fake_reads < 300, "%lld times in 2 seconds", (long long)fake_reads);
    /* the loop has become slow: the mean follows, and so do the looks */
    run_steps(&p, 100000, 0.01);
    check(fake_reads > 2000, "%lld", (long long)fake_reads);
}

Test(progress, silent)
{
    Progress p = lk_progress(NULL, "Epoch 1", 3);
    check(!p.terminal);
    p.clock = fake_clock;
    run_steps(&p, 3, 100);
    lk_progress_end(&p);
    check(p.count == 3 && fake_reads == 0);
}

/* A real terminal, if the system gives one: it is noticed, and its width is used. */
Test(progress, pseudo_terminal)
{
    int master = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK);
    /* the fake one above is always tested */
    if (master < 0 || grantpt(master) != 0 || unlockpt(master) != 0) return;
    FILE *out = fopen(ptsname(master), "w");
    check(out &&
          ioctl(fileno(out), TIOCSWINSZ, &(struct winsize){ .ws_row = 24, .ws_col = 60 }) == 0);
    Progress p = lk_progress(out, "Epoch 1", 2);
    check(p.terminal && p.interval == 0.1);
    lk_progress_step(&p);
    lk_progress_step(&p);
    lk_progress_end(&p);
    char text[1024] = "";
    ssize_t n = read(master, text, sizeof text - 1);
    check(n > 0);
    text[n] = '\0';
    char *line = strstr(text, "\033[K");
    check(line && strncmp(line + 3, "Epoch 1: 100%|███", 20) == 0, "%s", text);
    line[strcspn(line, "\r\n")] = '\0';
    check(width_of(line + 3) == 60, "%d columns: %s", width_of(line + 3), line);
    fclose(out);
    close(master);
}
