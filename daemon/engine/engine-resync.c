/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Reading everything again after lost events: a scan in slices of 64 functions, one slice a turn of
 * the loop, so that calls are served in between. What it finds is compared; what it does not find
 * is gone. Events that come meanwhile are handled as ever: the time at which a device was last seen
 * tells them apart from what the scan missed.
 */

#include <assert.h>

#include "engine/engine-private.h"

#define SLICE 64U

struct Resync {
        HostScan *scan;
        HostTimer *timer;
        Hashmap *seen;     /* keys of the devices that were there */
        bool again;        /* events were lost once more */
};

Resync *resync_free(Resync *r) {
        if (!r)
                return NULL;
        host_scan_end(r->scan);
        host_timer_free(r->timer);
        hashmap_free(r->seen);
        free(r);
        return NULL;
}

static int remove_unseen(Engine *e, const Resync *rs) {
        _cleanup_free_ PciAddress *gone = calloc(e->inventory->n_devices + 1, sizeof(PciAddress));
        size_t n = 0;

        if (!gone)
                return -ENOMEM;
        for (size_t i = 0; i < e->inventory->n_devices; i++) {
                const Device *d = e->inventory->sorted[i];
                PciFacts probe;
                int r;

                if (d->gone || hashmap_get_u64(rs->seen, pci_address_key(d->facts.address)))
                        continue;
                /* Not seen: it may have come while the scan was on its way. The kernel knows. */
                pci_facts_init(&probe, d->facts.address);
                r = host_refresh(e->host, &probe, HOST_REFRESH_LINKS);
                pci_facts_done(&probe);
                if (r == -ENODEV)
                        gone[n++] = d->facts.address;
        }
        for (size_t i = 0; i < n; i++) {
                Device *d = inventory_device(e->inventory, gone[i]);

                if (d)
                        engine_remove_device(e, d);
        }
        return 0;
}

static int resync_slice(Engine *e, Resync *rs) {
        for (unsigned i = 0; i < SLICE; i++) {
                PciFacts facts;
                PciUse use;
                uint64_t key;
                int r = host_scan_next(rs->scan, &facts, &use);

                if (r <= 0)
                        return r;
                key = pci_address_key(facts.address);
                r = hashmap_put_u64(rs->seen, key, rs);
                if (r >= 0 || r == -EEXIST)
                        r = engine_put_device(e, &facts, &use);
                pci_facts_done(&facts);
                pci_use_done(&use);
                if (r < 0)
                        return r;
        }
        return 1;
}

static void resync_turn(void *userdata) {
        Engine *e = userdata;
        Resync *rs = e->resync;
        bool again;
        int r;

        r = rs->again ? 0 : resync_slice(e, rs);
        if (r > 0)
                r = host_timer_set(rs->timer, host_now(e->host));
        else if (r == 0 && !rs->again) {
                r = remove_unseen(e, rs);
                log_info("All devices were read again: %zu functions", e->inventory->n_devices);
                e->resync = resync_free(rs);
                if (r < 0)
                        (void) log_error_errno(r, "Failed to find what is gone: %m");
                return;
        }
        again = rs->again;
        if (r < 0 || again) {
                if (r < 0)
                        (void) log_error_errno(r, "Failed to read all devices again: %m");
                e->resync = resync_free(rs);
        }
        if (again && engine_begin_resync(e) < 0)
                log_error("Not enough memory to read all devices again");
}

int engine_begin_resync(Engine *e) {
        Resync *rs;
        int r;

        assert(e);
        if (e->resync) {
                e->resync->again = true;
                return 0;
        }
        rs = calloc(1, sizeof(Resync));
        if (!rs)
                return -ENOMEM;
        rs->seen = hashmap_new_u64();
        r = rs->seen ? host_timer_new(e->host, resync_turn, e, &rs->timer) : -ENOMEM;
        if (r >= 0)
                r = host_scan_begin(e->host, &rs->scan);
        if (r >= 0)
                r = host_timer_set(rs->timer, host_now(e->host));
        if (r < 0) {
                resync_free(rs);
                return r;
        }
        e->resync = rs;
        return 0;
}

static void rescan_done(Task *t) {
        if (t->engine->resync) { /* another look when it is further on */
                if (task_fire_at(t, host_now(t->engine->host) + USEC_PER_MSEC, rescan_done) >= 0)
                        return;
        }
        task_answer(t, &(EngineAnswer) {});
        task_free(t);
}

int engine_rescan(Engine *e, const Caller *c, EngineReply reply, void *userdata, Error *err) {
        Task *t;

        assert(e);
        assert(c);
        if (engine_begin_resync(e) < 0 || task_new(e, c, reply, userdata, &t) < 0)
                return error_set(err, ERROR_FAILED, "Not enough memory");
        if (task_answer_later(t, rescan_done) < 0)
                return error_set(err, ERROR_FAILED, "No timer could be had");
        return 0;
}
