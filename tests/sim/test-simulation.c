/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The deterministic simulation test. Each sequence is a world of its own, drawn from its seed. The
 * first one in which an invariant does not hold is made as short as it gets and ends the test; what
 * is printed plays it again.
 *
 * Usage: test-simulation [--first=SEED] [--sequences=N] [--seconds=N] [--length=STEPS]
 *        test-simulation --seed=SEED [--length=STEPS] [--steps=LIST] [--replay]
 *
 * --replay tells the story of one sequence, whether it fails or not; with --seed and without it a
 * failing sequence is shrunk. In the environment, SIMULATION_SEQUENCES says how many `make check`
 * plays, and SIMULATION_VERBOSE has all that the daemon logs printed with a failure.
 */

#include <fcntl.h>
#include <getopt.h>

#include "base/clock.h"
#include "base/fdio.h"
#include "base/strutil.h"
#include "runner.h"

typedef struct Options {
        uint64_t seed, sequences, seconds, length;
        const char *steps;
        bool one, replay;
} Options;

static const struct option long_options[] = {
        { "seed", required_argument, NULL, 's' },      { "first", required_argument, NULL, 'f' },
        { "sequences", required_argument, NULL, 'n' }, { "seconds", required_argument, NULL, 't' },
        { "length", required_argument, NULL, 'l' },    { "steps", required_argument, NULL, 'S' },
        { "replay", no_argument, NULL, 'r' },          {},
};

static int parse_options(int argc, char *argv[], Options *o) {
        int c;

        while ((c = getopt_long(argc, argv, "", long_options, NULL)) >= 0) {
                uint64_t *to = c == 's' || c == 'f' ? &o->seed :
                               c == 'n'             ? &o->sequences :
                               c == 't'             ? &o->seconds :
                                                      &o->length;
                uint64_t max = to == &o->length ? SEQUENCE_LENGTH_MAX : UINT64_MAX;

                o->one |= c == 's';
                if (c == 'r')
                        o->replay = true;
                else if (c == 'S')
                        o->steps = optarg;
                else if (c == '?' || parse_u64(optarg, 10, max, to) < 0) {
                        fprintf(stderr,
                                "usage: %s [--first=SEED] [--sequences=N] [--seconds=N] "
                                "[--length=STEPS]\n"
                                "       %s --seed=SEED [--length=STEPS] [--steps=LIST] "
                                "[--replay]\n",
                                argv[0], argv[0]);
                        return -EINVAL;
                }
        }
        return 0;
}

static int play_one(Runner *r, const Options *o, const char *program) {
        static Sequence s;
        bool held;

        s.seed = o->seed;
        s.length = o->length;
        if (o->steps && sequence_parse_steps(&s, o->steps) < 0) {
                fprintf(stderr, "'%s' is no list of steps, such as 3,17-20\n", o->steps);
                return 2;
        }
        held = runner_play(r, &s);
        if (!held && !o->replay)
                (void) runner_shrink(r, &s);
        if (!held)
                runner_print(r, &s, program);
        else
                printf("%s\nseed %llu: every invariant held\n", r->report->trace,
                       (unsigned long long) s.seed);
        return held ? EXIT_SUCCESS : EXIT_FAILURE;
}

static void print_totals(const WorldReport *t, uint64_t played, usec_t took) {
        printf("%llu sequences: %llu assigned, %llu released, %llu refused, %llu answers, %llu "
               "notices, %llu faults, "
               "%llu daemons, %llu of them crashed, %llu boots, %llu checks; %llu sequences a "
               "minute\n",
               (unsigned long long) played, (unsigned long long) t->assigned,
               (unsigned long long) t->released, (unsigned long long) t->refused,
               (unsigned long long) t->answers, (unsigned long long) t->notices,
               (unsigned long long) t->faults, (unsigned long long) t->lives,
               (unsigned long long) t->crashes, (unsigned long long) t->boots,
               (unsigned long long) t->checks,
               (unsigned long long) (played * 60 * USEC_PER_SEC / MAX(took, (usec_t) 1)));
}

static int play_many(Runner *r, const Options *o, const char *program) {
        static Sequence s;
        usec_t start = now_boottime();
        uint64_t played = 0;

        for (; played < o->sequences && now_boottime() - start < o->seconds * USEC_PER_SEC;
             played++) {
                s = (Sequence) { .seed = o->seed + played, .length = o->length };
                if (runner_play(r, &s))
                        continue;
                (void) runner_shrink(r, &s);
                runner_print(r, &s, program);
                print_totals(r->report, played, now_boottime() - start);
                return EXIT_FAILURE;
        }
        print_totals(r->report, played, now_boottime() - start);
        /* Worlds in which nothing is ever assigned would prove nothing. */
        if (played > 20 &&
            (r->report->assigned < played || r->report->crashes == 0 || r->report->boots == 0)) {
                printf("too little happened for this to be a test\n");
                return EXIT_FAILURE;
        }
        return EXIT_SUCCESS;
}

int main(int argc, char *argv[]) {
        Options o = { .seed = 1, .sequences = 1000, .seconds = UINT32_MAX, .length = 200 };
        const char *top = getenv("top_srcdir"), *sequences = getenv("SIMULATION_SEQUENCES");
        _cleanup_free_
        char *path = strjoinf("%s/tests/data/two-socket-gpu-server.json", top ? top : ".");
        _cleanup_free_ char *json = NULL;
        static Runner r;
        size_t n;

        if ((sequences && parse_u64(sequences, 10, UINT32_MAX, &o.sequences) < 0) ||
            parse_options(argc, argv, &o) < 0)
                return 2;
        if (!path || read_file_at(AT_FDCWD, path, 16U << 20, &json, &n) < 0) {
                fprintf(stderr, "cannot read %s\n", strempty(path));
                return EXIT_FAILURE;
        }
        if (runner_init(&r, json, n) < 0)
                return EXIT_FAILURE;
        return o.one ? play_one(&r, &o, argv[0]) : play_many(&r, &o, argv[0]);
}
