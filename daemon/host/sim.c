/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The simulated host: a kernel's PCI, driver, VFIO and IOMMU behaviour in this process, made from
 * HOST.json. This file puts the parts together and gives them the table of host.h. No global state,
 * no randomness, and no real time once the clock is virtual: the same calls give the same run.
 */

#include <assert.h>
#include <systemd/sd-event.h>

#include "host/sim-private.h"

#define VIRTUAL_START (100 * USEC_PER_SEC) /* not 0, which means "never" to many */

static void sim_free(Host *host) {
        SimHost *h = sim_of(host);

        sim_operations_free(h);
        sim_recoveries_free(h);
        sim_jobs_free(h);
        sim_events_free(h);
        sim_handles_free(h);
        for (size_t i = 0; i < h->n_devices; i++)
                sim_device_free(h->sorted[i]);
        free(h->sorted);
        hashmap_free(h->devices);
        sim_groups_free(h);
        free(h->faults);
        sim_state_free(h);
        snapshot_free(h->snapshot);
        sim_clock_done(h);
        free(h);
}

static int sim_start(Host *host, HostEventHandler handler, void *userdata) {
        sim_of(host)->handler = handler;
        sim_of(host)->handler_userdata = userdata;
        return 0;
}

static usec_t sim_host_now(Host *host) {
        return sim_now(sim_of(host));
}

static const HostOps sim_ops = {
        .name = "sim",
        .free = sim_free,
        .start = sim_start,
        .scan_begin = sim_scan_begin,
        .scan_next = sim_scan_next,
        .scan_end = sim_scan_end,
        .refresh = sim_refresh,
        .read_children = sim_read_children,
        .iommus = sim_iommus,
        .slots = sim_slots,
        .nodes = sim_nodes,
        .choose_driver = sim_choose_driver,
        .submit = sim_submit,
        .cancel = sim_cancel,
        .detach = sim_detach,
        .group_locked = sim_group_locked,
        .state_files = sim_state_files,
        .state_directory = sim_state_directory,
        .boot_id = sim_boot_id,
        .now = sim_host_now,
        .timer_new = sim_timer_new,
        .timer_set = sim_timer_set,
        .timer_free = sim_timer_free,
};

bool host_is_sim(const Host *h) {
        return h && h->ops == &sim_ops;
}

static void sim_freep(SimHost **h) {
        if (*h)
                sim_free(&(*h)->host);
}

int host_sim_new(struct sd_event *event, const char *snapshot, size_t n, bool virtual_clock,
                 Error *err, Host **ret) {
        _cleanup_(sim_freep) SimHost *h = NULL;
        int r;

        assert(snapshot || n == 0);
        assert(ret);
        h = calloc(1, sizeof(*h));
        if (!h) {
                (void) error_set(err, ERROR_FAILED, "out of memory");
                return -ENOMEM;
        }
        h->host.ops = &sim_ops;
        h->event = sd_event_ref(event);
        h->frozen = virtual_clock;
        h->virtual_now = VIRTUAL_START;
        list_init(&h->events);
        list_init(&h->jobs);
        list_init(&h->operations);
        list_init(&h->recoveries);
        list_init(&h->handles);
        r = sim_clock_init(h);
        if (r < 0)
                return r;
        r = snapshot_parse(snapshot, n, err, &h->snapshot);
        if (r < 0)
                return r;
        h->modules_loaded = h->snapshot->platform.vfio_pci_loaded != 0;
        h->devices = hashmap_new_u64();
        h->groups = hashmap_new_u64();
        h->files = hashmap_new_string();
        r = h->devices && h->groups && h->files ? sim_devices_take(h) : -ENOMEM;
        if (r < 0) {
                (void) error_set(err, ERROR_FAILED,
                                 "out of memory while making the simulated host");
                return r;
        }
        *ret = &TAKE_PTR(h)->host;
        return 0;
}
