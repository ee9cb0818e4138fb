/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A release that waits too long, where the rule says what then: the process that was declared as
 * the owner is ended, first asked, then killed. Never a process that was merely found holding the
 * device, and never by its number: the descriptor that its owner gave cannot mean another one. The
 * proof that nobody holds on is waited for all the same.
 */

#include <assert.h>
#include <signal.h>

#include "engine/engine-policy.h"

#define KILL_AFTER_USEC (5 * USEC_PER_SEC)

/* The longest patience of the rules of its devices; USEC_INFINITY: for ever. */
static usec_t grace_of(Engine *e, const Assignment *a) {
        usec_t grace = 0;

        for (size_t i = 0; i < a->plan->n_devices; i++) {
                const Device *d = inventory_device(e->inventory, a->plan->devices[i].address);
                const PolicySettings *s = d ? &engine_rule(e, d)->settings : NULL;

                if (!s)
                        continue;
                if (s->release_then != POLICY_THEN_FORCE)
                        return USEC_INFINITY;
                grace = MAX(grace, s->release_grace);
        }
        return grace;
}

usec_t engine_force_at(Engine *e, const Assignment *a, usec_t held_since, unsigned n_signals) {
        usec_t grace;

        assert(e);
        assert(a);
        if (a->pidfd < 0 || n_signals >= 2)
                return USEC_INFINITY;
        grace = grace_of(e, a);
        return grace == USEC_INFINITY ? USEC_INFINITY
                                      : held_since + grace + n_signals * KILL_AFTER_USEC;
}

int engine_force_end(Task *t, const Assignment *a, unsigned n_signals, TaskFinished finished) {
        assert(t);
        assert(a);
        t->request = (HostRequest) {
                .type = HOST_REQUEST_PROCESS,
                .pidfd = a->pidfd,
                .signal = n_signals == 0 ? SIGTERM : SIGKILL,
                .container_fd = -EBADF,
                .iommufd = -EBADF,
        };
        engine_audit(a, MESSAGE_OWNER_DIED, LOG_WARNING,
                     "Process %u of %s still holds what was released; by its rule it is %s", a->pid,
                     a->owner, n_signals == 0 ? "asked to end" : "killed");
        return task_run(t, finished);
}
