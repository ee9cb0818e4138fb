/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The deterministic simulation test. Each sequence is a world of its own, drawn from its seed, in a process of its own
 * so that a crash is caught as well. The first one in which an invariant does not hold ends the test: its seed and
 * what happened in it are printed, and --seed plays it again.
 *
 * Usage: test-simulation [--seed=N | --first=N] [--sequences=N] [--seconds=N] [--acts=N]
 */

#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/fdio.h"
#include "base/strutil.h"
#include "world.h"

#define TRACE_SIZE (1U << 20)
#define LOG_MAX (1U << 20)

typedef struct Totals { /* shared, so that the report can say what was reached */
        uint64_t assigned, refused, released, faults, lives;
} Totals;

typedef struct Options {
        uint64_t seed, sequences, seconds, acts;
        bool one; /* only this seed, and tell its story */
} Options;

static int play(uint64_t seed, const char *json, size_t n, const Options *o, char *trace, Totals *totals) {
        World *w = calloc(1, sizeof(*w));

        if (!w)
                return EXIT_FAILURE;
        world_init(w, seed, json, n, trace, TRACE_SIZE);
        for (uint64_t i = 0; i < o->acts; i++) {
                world_act(w);
                world_settle(w);
                world_check(w);
        }
        world_finish(w);
        totals->assigned += w->n_assigned;
        totals->refused += w->n_refused;
        totals->released += w->n_released;
        totals->faults += w->n_faults;
        totals->lives += w->life;
        world_done(w);
        free(w);
        return EXIT_SUCCESS;
}

/* What the engine logged; it calls its own mistakes bugs. */
static bool says_bug(int log_fd) {
        _cleanup_free_ char *text = calloc(1, LOG_MAX + 1);
        ssize_t n = text ? loop_pread(log_fd, text, LOG_MAX, 0) : 0;

        return n > 0 && strstr(text, "Bug:");
}

static void print_log(int log_fd) {
        _cleanup_free_ char *text = calloc(1, LOG_MAX + 1);

        if (text && loop_pread(log_fd, text, LOG_MAX, 0) > 0)
                printf("The engine's log:\n%s\n", text);
}

static bool play_in_child(uint64_t seed, const char *json, size_t n, const Options *o, char *trace, Totals *totals) {
        _cleanup_close_ int log_fd = memfd_create("log", MFD_CLOEXEC);
        int status = 0;
        pid_t pid;

        if (log_fd < 0) {
                perror("memfd_create");
                return false;
        }
        trace[0] = 0;
        fflush(NULL);
        pid = fork();
        if (pid < 0) {
                perror("fork");
                return false;
        }
        if (pid == 0) {
                (void) alarm(120); /* a loop that never ends is a failure too */
                (void) dup2(log_fd, STDERR_FILENO);
                _exit(play(seed, json, n, o, trace, totals));
        }
        while (waitpid(pid, &status, 0) < 0)
                if (errno != EINTR)
                        return false;
        if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SUCCESS && !says_bug(log_fd))
                return true;
        printf("%s\n", trace);
        print_log(log_fd);
        if (WIFSIGNALED(status))
                printf("ended by signal %d\n", WTERMSIG(status));
        printf("seed %llu fails; play it again with --seed=%llu --acts=%llu\n", (unsigned long long) seed,
               (unsigned long long) seed, (unsigned long long) o->acts);
        return false;
}

static int parse_options(int argc, char *argv[], Options *o) {
        static const struct option options[] = {
                { "seed", required_argument, NULL, 's' },
                { "first", required_argument, NULL, 'f' },
                { "sequences", required_argument, NULL, 'n' },
                { "seconds", required_argument, NULL, 't' },
                { "acts", required_argument, NULL, 'a' },
                {},
        };
        int c;

        while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
                uint64_t *to = &o->acts;

                if (c == 's' || c == 'f')
                        to = &o->seed;
                else if (c == 'n')
                        to = &o->sequences;
                else if (c == 't')
                        to = &o->seconds;
                if (c == '?' || parse_u64(optarg, 10, UINT32_MAX, to) < 0) {
                        fprintf(stderr,
                                "usage: %s [--seed=N | --first=N] [--sequences=N] [--seconds=N] [--acts=N]\n", argv[0]);
                        return -EINVAL;
                }
                o->one |= c == 's';
        }
        return 0;
}

int main(int argc, char *argv[]) {
        Options o = { .seed = 1, .sequences = 150, .seconds = 40, .acts = 60 };
        const char *top = getenv("top_srcdir");
        _cleanup_free_ char *path = strjoinf("%s/tests/data/two-socket-gpu-server.json", top ? top : ".");
        _cleanup_free_ char *json = NULL;
        usec_t start = now_boottime();
        uint64_t played = 0;
        Totals *totals;
        char *trace;
        size_t n;

        if (parse_options(argc, argv, &o) < 0)
                return 2;
        if (!path || read_file_at(AT_FDCWD, path, 16U << 20, &json, &n) < 0) {
                fprintf(stderr, "cannot read %s\n", strempty(path));
                return EXIT_FAILURE;
        }
        trace = mmap(NULL, TRACE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        totals = mmap(NULL, sizeof(*totals), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (trace == MAP_FAILED || totals == MAP_FAILED) {
                perror("mmap");
                return EXIT_FAILURE;
        }
        if (o.one)
                o.sequences = 1;
        for (; played < o.sequences && now_boottime() - start < o.seconds * USEC_PER_SEC; played++)
                if (!play_in_child(o.seed + played, json, n, &o, trace, totals))
                        return EXIT_FAILURE;
        if (o.one)
                printf("%s\n", trace);
        printf("%llu sequences: %llu assigned, %llu released, %llu refused, %llu faults, %llu daemons\n",
               (unsigned long long) played, (unsigned long long) totals->assigned,
               (unsigned long long) totals->released, (unsigned long long) totals->refused,
               (unsigned long long) totals->faults, (unsigned long long) totals->lives);
        /* Worlds in which nothing is ever assigned would prove nothing. */
        if (!o.one && played > 20 && totals->assigned < played) {
                printf("too little was assigned for this to be a test\n");
                return EXIT_FAILURE;
        }
        return EXIT_SUCCESS;
}
