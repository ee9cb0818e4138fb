/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Start: events first, then the journal, then one scan of the cached facts, then what the journal
 * says against what the kernel says. No worker is waited for; whatever has to be finished or undone
 * is set in motion and goes on as jobs.
 */

#include <assert.h>

#include "engine/engine-kept.h"
#include "engine/engine-policy.h"

static int scan(Engine *e) {
        HostScan *s = NULL;
        usec_t now = host_now(e->host);
        int r;

        r = host_scan_begin(e->host, &s);
        if (r < 0)
                return r;
        for (;;) {
                PciFacts facts;
                PciUse use;

                r = host_scan_next(s, &facts, &use);
                if (r <= 0)
                        break;
                r = inventory_put_device(e->inventory, &facts, &use, now, NULL);
                pci_facts_done(&facts);
                pci_use_done(&use);
                if (r < 0)
                        break;
        }
        host_scan_end(s);
        return r;
}

static int read_instances(Engine *e) {
        int r;

        r = host_iommus(e->host, &e->inventory->iommus, &e->inventory->n_iommus);
        if (r < 0)
                return r;
        r = host_slots(e->host, &e->inventory->slots, &e->inventory->n_slots);
        return r < 0 ? r : host_nodes(e->host, &e->inventory->nodes);
}

/* What another boot's kernel was told, this one's has forgotten; what shall outlive it stands
 * elsewhere. */
static int forget_other_boot(Engine *e, StoredState *state) {
        int r = 0;

        (void) log_context(&(LogContext){ .message_id = MESSAGE_RESYNC }, LOG_NOTICE, 0,
                           "The journal is of another boot, and its %zu assignments with it; "
                           "reservations are kept",
                           state->n_assignments);
        for (size_t i = 0; i < state->n_open_plans && r >= 0; i++)
                r = store_end(e->store, state->open_plans[i].plan->id, HOST_OUTCOME_ROLLED_BACK,
                              NULL);
        for (size_t i = 0; i < state->n_assignments && r >= 0; i++)
                r = store_forget(e->store, state->assignments[i]->id);
        for (size_t i = 0; i < state->n_quarantined && r >= 0; i++) {
                char address[PCI_ADDRESS_MAX];
                size_t n = strcspn(state->quarantined[i], " ");

                if (n < sizeof(address)) {
                        memcpy(address, state->quarantined[i], n);
                        address[n] = 0;
                        r = store_quarantine(e->store, address, NULL);
                }
        }
        stored_state_done(state);
        return r;
}

static int check_boot(Engine *e, StoredState *state) {
        char boot[HOST_BOOT_ID_MAX];
        uint64_t next_job = state->next_job;
        int r = host_boot_id(e->host, boot);

        if (r < 0 || streq(boot, state->boot_id))
                return r;
        if (state->boot_id[0]) {
                r = forget_other_boot(e, state);
                state->next_job = next_job;
        }
        return r < 0 ? r : store_boot(e->store, boot);
}

/* By what a scan knows; more is known when the workers have read. */
static void match_kept(Engine *e) {
        for (size_t i = 0; i < e->inventory->n_devices; i++)
                (void) engine_kept_match(e, e->inventory->sorted[i]);
}

int engine_start(Engine *e) {
        StoredState state = {};
        int r;

        assert(e);
        assert(!e->started);
        r = engine_policy_start(e);
        if (r < 0)
                return log_error_errno(r, "Failed to load the policy: %m");
        r = host_start(e->host, engine_handle_event, e);
        if (r < 0)
                return log_error_errno(r, "Failed to listen to the kernel's events: %m");
        e->listening = true;
        r = store_load(e->store, &state);
        if (r < 0)
                return log_error_errno(r, "Failed to load the journal: %m");
        if (state.dropped_bytes > 0)
                log_warning("The journal ended in %zu bytes that are no record; they were cut off",
                            state.dropped_bytes);
        r = check_boot(e, &state);
        if (r < 0)
                return log_error_errno(r, "Failed to begin the journal of this boot: %m");
        r = engine_kept_load(e);
        if (r < 0)
                return log_error_errno(r, "Failed to load what is kept: %m");
        e->inventory->next_job = MAX(e->inventory->next_job, state.next_job);
        r = scan(e);
        if (r < 0)
                (void) log_error_errno(r, "Failed to read the devices: %m");
        else {
                r = read_instances(e);
                if (r < 0)
                        (void) log_error_errno(r,
                                               "Failed to read IOMMUs, slots and NUMA nodes: %m");
        }
        if (r >= 0) {
                e->started = true;
                match_kept(e);
                r = engine_reconcile(e, &state);
                if (r < 0)
                        (void) log_error_errno(
                                r, "Failed to reconcile the journal with the kernel: %m");
        }
        stored_state_done(&state);
        if (r < 0)
                return r;
        r = engine_reservations_load(e);
        if (r < 0)
                return log_error_errno(r, "Failed to take up reservations: %m");
        engine_update_all_verdicts(e);
        owner_watch_clients(e);
        log_info("%zu functions in %zu IOMMU groups, %zu assignments", e->inventory->n_devices,
                 hashmap_size(e->inventory->groups), hashmap_size(e->inventory->assignments));
        return 0;
}
