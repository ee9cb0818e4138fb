/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What rules cost:
 *
 *   bench-policy load FILE ROUNDS      µs of json-c's parse of the bytes, and of loading the policy
 *   bench-policy verdicts FILE ROUNDS DEVICES
 *                                      verdicts a second for that many devices
 *
 * One JSON object a line and round. A verdict is the rule that holds for a device and what it says
 * of a request for it.
 */

#include <fcntl.h>
#include <malloc.h>
#include <time.h>

#include "base/fdio.h"
#include "base/strutil.h"
#include "bench-policy.h"
#include "policy/policy.h"

#define ROUNDS_MAX 10000U
#define DEVICES_MAX 65536U

typedef struct Device {
        PciFacts facts;
        PciConfigFacts config;
} Device;

static double now_usec(void) {
        struct timespec t;

        (void) clock_gettime(CLOCK_MONOTONIC, &t);
        return (double) t.tv_sec * 1e6 + (double) t.tv_nsec / 1e3;
}

static Policy *load(const char *file, const char *text, size_t n) {
        PolicyProblems problems;
        Policy *p = NULL;
        int r = policy_compile(&(PolicyText) { file, text, n, 0 }, 1, NULL, &problems, &p);

        if (r >= 0)
                return p;
        if (problems.n > 0)
                fprintf(stderr, "bench-policy: %s\n", policy_problem_to_string(problems.items));
        exit(1);
}

static int bench_load(const char *file, const char *text, size_t n, uint32_t rounds) {
        for (uint32_t i = 0; i < rounds; i++) {
                double begin, floor, ours;

                /* Neither pays for the holes that the other left in the heap. */
                (void) malloc_trim(0);
                begin = now_usec();
                if (!floor_parse(text, n))
                        return 1;
                floor = now_usec() - begin;
                (void) malloc_trim(0);
                begin = now_usec();
                (void) policy_free(load(file, text, n));
                ours = now_usec() - begin;
                printf("{\"floor\": %.1f, \"ours\": %.1f}\n", floor, ours);
        }
        return 0;
}

/* Devices as the file's rules look for them, and as many that only the defaults hold for. */
static void make_device(Device *d, uint32_t i) {
        static const uint16_t vendors[] = { 0x8086, 0x10de, 0x1000, 0x1002 };
        static const uint32_t classes[] = { 0x020000, 0x030200, 0x010802, 0x120000, 0x0c0330 };

        pci_facts_init(&d->facts, (PciAddress){ .bus = (uint8_t) (i >> 5),
                                                .slot = (uint8_t) (i & 31),
                                                .domain = i >> 13 });
        d->facts.vendor = vendors[i % ELEMENTSOF(vendors)];
        d->facts.device = (uint16_t) (0x1500 + i % 1024);
        d->facts.class_code = classes[i % ELEMENTSOF(classes)];
        d->facts.subsystem_vendor = (uint16_t) (i % 1024);
        d->facts.numa_node = (int16_t) (i % 4);
        d->facts.is_vf = i % 3 == 0;
        d->config = (PciConfigFacts){ .has_ats = i % 2 == 0, .has_pasid = i % 4 == 0, .flr = true };
}

/* Its name is where the instruction counter starts and stops. */
static __attribute__((noinline)) size_t judge(const Policy *p, const Device *devices, uint32_t n) {
        size_t refused = 0;

        for (uint32_t i = 0; i < n; i++) {
                const PolicySubject s = { .facts = &devices[i].facts, .config = &devices[i].config,
                                          .slot = i % 5 == 1 ? "GPU7" : NULL, .driver = "nvidia" };
                const VerdictMember m = { .facts = s.facts, .config = s.config, .requested = true };
                const VerdictQuestion q = { .members = &m, .n_members = 1 };
                const PolicyAsk ask = {
                        .manager = true, .owner = "vm-7", .lifetime = 1U << 1, .n_asked = 1
                };
                Verdict v = {};

                policy_evaluate(policy_match(p, &s), &ask, &q, 0, &v);
                refused += v.n_blockers > 0;
        }
        return refused;
}

static int bench_verdicts(const Policy *p, uint32_t rounds, uint32_t n) {
        Device *devices = calloc(n, sizeof(*devices));
        size_t refused = 0;

        if (!devices)
                return 1;
        for (uint32_t i = 0; i < n; i++)
                make_device(devices + i, i);
        for (uint32_t i = 0; i < rounds; i++) {
                double begin = now_usec();

                refused = judge(p, devices, n);
                printf("{\"usec\": %.4f, \"refused\": %zu}\n", (now_usec() - begin) / n, refused);
        }
        for (uint32_t i = 0; i < n; i++)
                pci_facts_done(&devices[i].facts);
        free(devices);
        return 0;
}

int main(int argc, char **argv) {
        bool verdicts = argc == 5 && streq(argv[1], "verdicts");
        uint32_t rounds, n = 0;
        char *text = NULL;
        size_t size;
        Policy *p;
        int r;

        if ((!verdicts && (argc != 4 || !streq(argv[1], "load"))) ||
            parse_u32(argv[3], 10, ROUNDS_MAX, &rounds) < 0 ||
            (verdicts && parse_u32(argv[4], 10, DEVICES_MAX, &n) < 0)) {
                fprintf(stderr,
                        "usage: bench-policy load FILE ROUNDS | verdicts FILE ROUNDS DEVICES\n");
                return 2;
        }
        r = read_file_at(AT_FDCWD, argv[2], POLICY_FILE_MAX, &text, &size);
        if (r < 0) {
                fprintf(stderr, "bench-policy: %s: %s\n", argv[2], strerrordesc_np(-r));
                return 1;
        }
        if (verdicts) {
                p = load(argv[2], text, size);
                r = bench_verdicts(p, rounds, n);
                (void) policy_free(p);
        } else
                r = bench_load(argv[2], text, size, rounds);
        free(text);
        return r;
}
