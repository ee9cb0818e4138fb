/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * One sequence is one child process, forked from a template that has parsed the host already, so
 * that a crash, an abort and a loop that never ends are failures like any other and leave nothing
 * behind. A failing sequence is shrunk by leaving out steps, half of them, then quarters, down to
 * single ones, as long as the same invariant still fails: a step draws the same lots whichever
 * others are played.
 */

#include "runner.h"

#include <assert.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "base/fdio.h"
#include "base/strutil.h"

#define LOG_MAX (1U << 20)
#define SECONDS_MAX 60U /* of one sequence: more is a loop */

int runner_init(Runner *r, const char *host_json, size_t n) {
        *r = (Runner) { .log_fd = memfd_create("log", MFD_CLOEXEC) };
        if (r->log_fd < 0)
                return -errno;
        r->report = mmap(NULL, sizeof(*r->report), PROT_READ | PROT_WRITE,
                         MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (r->report == MAP_FAILED)
                return -errno;
        return world_template_init(&r->template, host_json, n);
}

/* ---- one sequence ---- */

static void play(Runner *r, const Sequence *s) {
        static World w;

        world_init(&w, s->seed, &r->template, r->report);
        for (size_t i = 0; i < s->length; i++) {
                if (s->left_out[i])
                        continue;
                world_begin_step(&w, i);
                world_play(&w, world_act);
        }
        world_begin_step(&w, s->length);
        world_play(&w, world_finish);
        world_done(&w);
}

static char *read_log(const Runner *r) {
        off_t size = lseek(r->log_fd, 0, SEEK_END);
        char *text = size > 0 ? calloc(1, LOG_MAX + 1) : NULL;

        if (text && loop_pread(r->log_fd, text, LOG_MAX, 0) <= 0) {
                free(text);
                return NULL;
        }
        return text;
}

/* The engine calls its own mistakes bugs. */
static bool says_bug(const Runner *r) {
        _cleanup_free_ char *text = read_log(r);

        return text && strstr(text, "Bug:");
}

static void remove_directory(const char *path, unsigned depth) {
        _cleanup_close_ int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        _cleanup_strv_ char **names = NULL;

        if (fd >= 0 && read_dir_names_at(fd, ".", 4096, false, &names) >= 0)
                for (char **name = names; name && *name; name++) {
                        _cleanup_free_ char *below = strjoinf("%s/%s", path, *name);

                        if (unlinkat(fd, *name, 0) < 0 && depth > 0 && below)
                                remove_directory(below, depth - 1);
                }
        (void) rmdir(path);
}

bool runner_play(Runner *r, const Sequence *s) {
        int status = 0;
        pid_t pid;

        r->report->trace_length = 0;
        r->report->trace[0] = r->report->directory[0] = 0;
        r->report->invariant = INVARIANT_NONE;
        if (ftruncate(r->log_fd, 0) < 0)
                return false;
        fflush(NULL);
        pid = fork();
        if (pid < 0) {
                perror("fork");
                return false;
        }
        if (pid == 0) {
                (void) alarm(SECONDS_MAX);
                (void) dup2(r->log_fd, STDERR_FILENO);
                play(r, s);
                _exit(EXIT_SUCCESS);
        }
        while (waitpid(pid, &status, 0) < 0)
                if (errno != EINTR)
                        return false;
        if (r->report->directory[0])
                remove_directory(r->report->directory, 1);
        if (WIFSIGNALED(status) || (WIFEXITED(status) && WEXITSTATUS(status) != EXIT_SUCCESS))
                return false;
        return !says_bug(r);
}

/* ---- shorter ---- */

static bool fails_likewise(Runner *r, const Sequence *s, Invariant wanted) {
        return !runner_play(r, s) && r->report->invariant == wanted;
}

/* Leaves out `size` of the steps that are left, from the from-th of these on. False: none was left
 * to leave out. */
static bool leave_out(Sequence *s, size_t from, size_t size) {
        size_t seen = 0, n = 0;

        for (size_t i = 0; i < s->length; i++) {
                if (s->left_out[i] || seen++ < from || n >= size)
                        continue;
                s->left_out[i] = true;
                n++;
        }
        return n > 0;
}

static size_t count_left(const Sequence *s) {
        size_t n = 0;

        for (size_t i = 0; i < s->length; i++)
                n += !s->left_out[i];
        return n;
}

size_t runner_shrink(Runner *r, Sequence *s) {
        Invariant wanted = r->report->invariant;

        for (size_t size = MAX(count_left(s) / 2, (size_t) 1);; size = MAX(size / 2, (size_t) 1)) {
                bool shorter = false;

                for (size_t from = 0; from < count_left(s);) {
                        Sequence attempt = *s;

                        if (leave_out(&attempt, from, size) &&
                            fails_likewise(r, &attempt, wanted)) {
                                *s = attempt;
                                shorter = true;
                        } else
                                from += size;
                }
                if (size == 1 && !shorter)
                        break;
        }
        (void) runner_play(r, s); /* its story */
        return count_left(s);
}

static void print_steps(const Sequence *s) {
        const char *comma = "";

        for (size_t i = 0; i < s->length; i++) {
                size_t last = i;

                if (s->left_out[i])
                        continue;
                while (last + 1 < s->length && !s->left_out[last + 1])
                        last++;
                printf(last > i ? "%s%zu-%zu" : "%s%zu", comma, i, last);
                comma = ",";
                i = last;
        }
}

void runner_print(Runner *r, const Sequence *s, const char *program) {
        _cleanup_free_ char *log = read_log(r);

        printf("%s\n", r->report->trace);
        if (log)
                printf("The engine's log:\n%s\n", log);
        printf("seed %llu fails (%s); play it again with\n  %s --seed=%llu --length=%zu --steps=",
               (unsigned long long) s->seed, invariant_to_string(r->report->invariant), program,
               (unsigned long long) s->seed, s->length);
        print_steps(s);
        printf(" --replay\n");
}

int sequence_parse_steps(Sequence *s, const char *text) {
        _cleanup_strv_ char **words = NULL;
        int r = strv_split(text, ",", &words);

        if (r < 0)
                return r;
        memset(s->left_out, true, sizeof(s->left_out));
        for (char **word = words; word && *word; word++) {
                char *dash = strchr(*word, '-');
                uint64_t first, last;

                if (dash)
                        *dash++ = 0;
                if (parse_u64(*word, 10, SEQUENCE_LENGTH_MAX - 1, &first) < 0)
                        return -EINVAL;
                last = first;
                if (dash &&
                    (parse_u64(dash, 10, SEQUENCE_LENGTH_MAX - 1, &last) < 0 || last < first))
                        return -EINVAL;
                for (; first <= last; first++)
                        s->left_out[first] = false;
        }
        return 0;
}
