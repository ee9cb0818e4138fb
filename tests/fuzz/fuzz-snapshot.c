/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * HOST.json: a file that is refused says why; one that is read is written and read again the same,
 * in full and redacted; and a simulated host made of it can be scanned, whatever its texts say.
 */

#include "base/strutil.h"
#include "host/sim.h"
#include "host/snapshot.h"

#include "fuzz.h"

static char *to_text(const Snapshot *s, bool redact) {
        _cleanup_json_ Json *j = NULL;
        char *text;

        fuzz_require(snapshot_to_json(s, redact, &j) == 0);
        text = json_to_text(j, false);
        fuzz_require(text);
        fuzz_require(utf8_is_valid(text, strlen(text)));
        return text;
}

static void check_written(const Snapshot *s, bool redact) {
        _cleanup_free_ char *once = to_text(s, redact), *twice = NULL;
        _cleanup_(snapshot_freep) Snapshot *again = NULL;
        _cleanup_error_ Error err = ERROR_INIT;

        fuzz_require(snapshot_parse(once, strlen(once), &err, &again) == 0);
        fuzz_require(again->n_devices == s->n_devices);
        twice = to_text(again, redact);
        /* Placeholders are replaced by others of the same shape; all else stays. */
        fuzz_require(redact ? strlen(once) == strlen(twice) : streq(once, twice));
}

static void check_host(const char *text, size_t size, size_t n_devices) {
        _cleanup_error_ Error err = ERROR_INIT;
        HostScan *scan = NULL;
        Host *host = NULL;
        PciFacts facts;
        size_t n = 0;
        PciUse use;

        fuzz_require(host_sim_new(NULL, text, size, true, &err, &host) == 0);
        fuzz_require(host_scan_begin(host, &scan) == 0);
        while (host_scan_next(scan, &facts, &use) > 0) {
                char driver[PCI_DRIVER_NAME_MAX];

                (void) host_choose_driver(host, &facts, driver, sizeof(driver));
                pci_facts_done(&facts);
                pci_use_done(&use);
                n++;
        }
        host_scan_end(scan);
        fuzz_require(n == n_devices);
        host_free(host);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_free_ char *text = fuzz_text(data, size);
        _cleanup_(snapshot_freep) Snapshot *s = NULL;
        _cleanup_error_ Error err = ERROR_INIT;
        int r;

        r = snapshot_parse(text, size, &err, &s);
        if (r < 0) {
                fuzz_require(!s && err.code == ERROR_INVALID);
                /* What a file says may be shown on a terminal. */
                fuzz_require(string_is_safe(err.message, sizeof(err.message)));
                return 0;
        }
        check_written(s, false);
        check_written(s, true);
        check_host(text, size, s->n_devices);
        return 0;
}
