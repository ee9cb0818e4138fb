/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The cold inventory against its floor, interleaved in one process: the floor opens, reads and
 * closes the same attributes and reads the same links of every function of a tree, by openat()
 * relative to the function's directory, and does nothing with them; ours is a whole host_scan().
 * Prints one JSON object a run: {"floor": µs, "ours": µs}.
 */

#include <dirent.h>
#include <fcntl.h>
#include <time.h>

#include <systemd/sd-event.h>

#include "base/fdio.h"
#include "base/strutil.h"
#include "host/host.h"

static double now_usec(void) {
        struct timespec t;

        (void) clock_gettime(CLOCK_MONOTONIC, &t);
        return (double) t.tv_sec * 1e6 + (double) t.tv_nsec / 1e3;
}

static bool is_read(const PciFacts *f, PciAttribute a) {
        return f->state[a] == FACT_PRESENT || f->state[a] == FACT_ABSENT ||
               f->state[a] == FACT_UNREADABLE;
}

/* Reads what the scan read of this function, no more. */
static void read_function(int devices_fd, const PciFacts *f) {
        char buffer[PCI_ATTRIBUTE_TEXT_MAX];
        _cleanup_close_
        int dir = openat(devices_fd, PCI_ADDRESS_TEXT(f->address),
                         O_DIRECTORY | O_RDONLY | O_CLOEXEC);

        (void) !readlinkat(devices_fd, PCI_ADDRESS_TEXT(f->address), buffer, sizeof buffer);
        for (int a = 0; a < _PCI_ATTRIBUTE_MAX; a++) {
                if (!is_read(f, a))
                        continue;
                int fd = openat(dir, pci_attribute_path(a), O_RDONLY | O_CLOEXEC);
                if (fd < 0)
                        continue;
                (void) !read(fd, buffer, sizeof buffer);
                (void) close(fd);
        }
        for (int l = 0; l < _PCI_LINK_MAX; l++)
                if (f->link_state[l] != FACT_UNREAD)
                        (void) !readlinkat(dir, pci_link_path(l), buffer, sizeof buffer);
}

static int scan(Host *host, PciFacts **ret, size_t *ret_n) {
        _cleanup_free_ PciFacts *facts = NULL;
        HostScan *s = NULL;
        size_t n = 0, allocated = 0;
        int r = host_scan_begin(host, &s);

        while (r >= 0) {
                PciFacts f;
                PciUse use;
                r = host_scan_next(s, &f, &use);
                if (r <= 0)
                        break;
                pci_use_done(&use);
                if (ARRAY_RESERVE_ONE(facts, n, allocated) < 0)
                        return -ENOMEM;
                facts[n++] = f;
        }
        host_scan_end(s);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(facts);
        *ret_n = n;
        return 0;
}

static void facts_free(PciFacts *facts, size_t n) {
        for (size_t i = 0; i < n; i++)
                pci_facts_done(&facts[i]);
        free(facts);
}

static int run_once(Host *host, int devices_fd, const PciFacts *known, size_t n_known) {
        PciFacts *facts;
        size_t n;

        double t0 = now_usec();
        _cleanup_strv_ char **names = NULL;
        if (read_dir_names_at(devices_fd, ".", SIZE_MAX, false, &names) < 0)
                return -EIO;
        for (size_t i = 0; i < n_known; i++)
                read_function(devices_fd, &known[i]);
        double t1 = now_usec();
        int r = scan(host, &facts, &n);
        double t2 = now_usec();
        if (r < 0)
                return r;
        facts_free(facts, n);
        printf("{\"functions\": %zu, \"floor\": %.1f, \"ours\": %.1f}\n", n, t1 - t0, t2 - t1);
        return n == n_known ? 0 : -EIO;
}

int main(int argc, char **argv) {
        uint32_t runs;
        if (argc != 3 || parse_u32(argv[2], 10, 1000, &runs) < 0) {
                fprintf(stderr, "usage: bench-scan ROOT RUNS\n");
                return 2;
        }
        _cleanup_free_ char *devices = strjoinf("%s/sys/bus/pci/devices", argv[1]);
        _cleanup_close_ int devices_fd = open(devices, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
        _cleanup_(sd_event_unrefp) sd_event *event = NULL;
        _cleanup_(host_freep) Host *host = NULL;
        const HostKernelOptions options = { .root = argv[1],
                                            .runtime_dir = argv[1],
                                            .max_workers = 1,
                                            .worker_path = "/bin/false",
                                            .step_timeout_msec = 1000 };
        PciFacts *known;
        size_t n_known;
        int r = devices_fd < 0 ? -errno : sd_event_new(&event);
        if (r >= 0)
                r = host_kernel_new(event, &options, &host);
        if (r >= 0)
                r = scan(host, &known, &n_known); /* warms the caches as well */
        if (r < 0) {
                fprintf(stderr, "bench-scan: %s: %s\n", argv[1], strerror(-r));
                return 1;
        }
        for (uint32_t i = 0; r >= 0 && i < runs; i++)
                r = run_once(host, devices_fd, known, n_known);
        facts_free(known, n_known);
        return r < 0;
}
