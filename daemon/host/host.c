/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The seam itself: each call goes to the implementation that made the Host. Contracts stand in
 * host.h; nothing is decided here.
 */

#include "host/host.h"

#include <assert.h>

static const char *const outcomes[_HOST_OUTCOME_MAX] = {
        [HOST_OUTCOME_DONE] = "done",
        [HOST_OUTCOME_ROLLED_BACK] = "rolled-back",
        [HOST_OUTCOME_FAILED] = "failed",
        [HOST_OUTCOME_UNKNOWN] = "unknown",
};

const char *host_outcome_to_string(HostOutcome o) {
        return (int) o >= 0 && o < _HOST_OUTCOME_MAX ? outcomes[o] : NULL;
}

void host_platform_done(HostPlatform *p) {
        assert(p);
        free(p->cmdline);
        p->cmdline = NULL;
}

/* Scans, jobs and timers of every implementation begin with a pointer to their Host. */
static Host *owner_of(const void *object) {
        assert(object);
        return *(Host *const *) object;
}

Host *host_free(Host *h) {
        if (h)
                h->ops->free(h);
        return NULL;
}

int host_start(Host *h, HostEventHandler handler, void *userdata) {
        assert(h);
        assert(handler);
        return h->ops->start(h, handler, userdata);
}

int host_scan_begin(Host *h, HostScan **ret) {
        assert(h);
        assert(ret);
        return h->ops->scan_begin(h, ret);
}

int host_scan_next(HostScan *s, PciFacts *ret_facts, PciUse *ret_use) {
        assert(ret_facts);
        assert(ret_use);
        return owner_of(s)->ops->scan_next(s, ret_facts, ret_use);
}

HostScan *host_scan_end(HostScan *s) {
        if (s)
                owner_of(s)->ops->scan_end(s);
        return NULL;
}

int host_refresh(Host *h, PciFacts *facts, HostRefresh what) {
        assert(h);
        assert(facts);
        return h->ops->refresh(h, facts, what);
}

int host_read_children(Host *h, PciAddress a, PciUse *ret_use) {
        assert(h);
        assert(ret_use);
        return h->ops->read_children(h, a, ret_use);
}

int host_iommus(Host *h, IommuFacts **ret, size_t *ret_n) {
        assert(h);
        assert(ret);
        assert(ret_n);
        return h->ops->iommus(h, ret, ret_n);
}

int host_slots(Host *h, PciSlotFacts **ret, size_t *ret_n) {
        assert(h);
        assert(ret);
        assert(ret_n);
        return h->ops->slots(h, ret, ret_n);
}

int host_nodes(Host *h, NumaNodes *ret) {
        assert(h);
        assert(ret);
        return h->ops->nodes(h, ret);
}

int host_choose_driver(Host *h, const PciFacts *f, char *buffer, size_t size) {
        assert(h);
        assert(f);
        assert(buffer);
        return h->ops->choose_driver(h, f, buffer, size);
}

int host_submit(Host *h, const HostRequest *r, const HostJobCallbacks *callbacks, void *userdata,
                HostJob **ret) {
        assert(h);
        assert(r);
        assert(callbacks);
        assert(callbacks->finished);
        assert(ret);
        return h->ops->submit(h, r, callbacks, userdata, ret);
}

void host_cancel(HostJob *job) {
        owner_of(job)->ops->cancel(job);
}

void host_detach(HostJob *job) {
        owner_of(job)->ops->detach(job);
}

bool host_group_locked(Host *h, uint32_t group) {
        assert(h);
        return h->ops->group_locked(h, group);
}

int host_state_files(Host *h, HostStateFile **ret, size_t *ret_n) {
        assert(h);
        assert(ret);
        assert(ret_n);
        return h->ops->state_files(h, ret, ret_n);
}

const char *host_state_directory(Host *h) {
        assert(h);
        return h->ops->state_directory(h);
}

int host_boot_id(Host *h, char ret[HOST_BOOT_ID_MAX]) {
        assert(h);
        return h->ops->boot_id(h, ret);
}

usec_t host_now(Host *h) {
        assert(h);
        return h->ops->now(h);
}

int host_timer_new(Host *h, void (*fire)(void *userdata), void *userdata, HostTimer **ret) {
        assert(h);
        assert(fire);
        assert(ret);
        return h->ops->timer_new(h, fire, userdata, ret);
}

int host_timer_set(HostTimer *t, usec_t at) {
        return owner_of(t)->ops->timer_set(t, at);
}

HostTimer *host_timer_free(HostTimer *t) {
        if (t)
                owner_of(t)->ops->timer_free(t);
        return NULL;
}
