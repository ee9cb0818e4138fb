/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Does the simulation test find bugs? Each bug of daemon/engine/planted.h is switched on in turn,
 * in an engine that was compiled for this program alone, and must be found within a bounded number
 * of sequences; with none switched on the same sequences must hold.
 */

#define PLANTED_BUGS /* this program has the switch */

#include <fcntl.h>

#include "base/fdio.h"
#include "base/strutil.h"
#include "engine/planted.h"
#include "runner.h"

#define SEQUENCES_MAX 400U   /* within which a bug must be found */
#define SEQUENCES_CLEAN 25U
#define LENGTH 200U

PlantedBug planted_bug = PLANTED_NONE;

static const char *const names[_PLANTED_BUG_MAX] = {
        [PLANTED_NONE] = "none",
        [PLANTED_CLAIM_WITHOUT_GROUP] = "claim-without-group",
        [PLANTED_JOURNAL_AFTER_KERNEL] = "journal-after-kernel",
        [PLANTED_ACK_BEFORE_APPEND] = "ack-before-append",
        [PLANTED_RESTORE_WRONG_DRIVER] = "restore-wrong-driver",
        [PLANTED_FORGET_OVERRIDE] = "forget-override",
        [PLANTED_DROP_RELEASE] = "drop-release",
        [PLANTED_UNLOCK_EARLY] = "unlock-early",
        [PLANTED_IGNORE_FOREIGN_REBIND] = "ignore-foreign-rebind",
        [PLANTED_IGNORE_OVERFLOW] = "ignore-overflow",
        [PLANTED_SKIP_UNDO] = "skip-undo",
        [PLANTED_LOSE_NOTICE] = "lose-notice",
        [PLANTED_RESERVE_BY_ADDRESS] = "reserve-by-address",
        [PLANTED_REQUEST_TWICE] = "request-twice",
        [PLANTED_QUOTA_OFF_BY_ONE] = "quota-off-by-one",
        [PLANTED_FORGET_RESET] = "forget-reset",
        [PLANTED_REFUSE_WITHOUT_REASON] = "refuse-without-reason",
};

/* How many sequences it took; 0: it was not found in n. */
static unsigned hunt(Runner *r, unsigned n) {
        static Sequence s;

        for (unsigned i = 1; i <= n; i++) {
                s = (Sequence) { .seed = i, .length = LENGTH };
                if (!runner_play(r, &s))
                        return i;
        }
        return 0;
}

int main(int argc, char *argv[]) {
        const char *top = getenv("top_srcdir");
        _cleanup_free_
        char *path = strjoinf("%s/tests/data/two-socket-gpu-server.json", top ? top : ".");
        _cleanup_free_ char *json = NULL;
        unsigned passed = 0, failed = 0;
        static Runner r;
        size_t n;

        if (!path || read_file_at(AT_FDCWD, path, 16U << 20, &json, &n) < 0 ||
            runner_init(&r, json, n) < 0) {
                fprintf(stderr, "cannot use %s\n", strempty(path));
                return EXIT_FAILURE;
        }
        for (unsigned bug = PLANTED_NONE; bug < _PLANTED_BUG_MAX; bug++) {
                unsigned found;

                if (argc > 1 && !streq(argv[1], names[bug]))
                        continue;
                planted_bug = (PlantedBug) bug;
                found = hunt(&r, bug == PLANTED_NONE ? SEQUENCES_CLEAN : SEQUENCES_MAX);
                if (found > 0)
                        printf("%s: sequence %u violates %s\n", names[bug], found,
                               invariant_to_string(r.report->invariant));
                else
                        printf("%s: nothing found\n", names[bug]);
                if ((found > 0) == (bug != PLANTED_NONE))
                        passed++;
                else {
                        failed++;
                        printf("%s\n",
                               bug == PLANTED_NONE ? r.report->trace : "the bug was missed");
                }
                fflush(stdout);
        }
        printf("%u passed, %u failed\n", passed, failed);
        return failed > 0 || passed == 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
