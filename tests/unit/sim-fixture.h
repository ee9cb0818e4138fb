/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A simulated host without a loop, for unit programs: the bundled two-socket GPU server on a
 * virtual clock, what came back of one job, the events so far, and plans like the engine's.
 */

#include <fcntl.h>

#include "base/fdio.h"
#include "base/strutil.h"
#include "host/sim.h"
#include "unit.h"

#define GPU ((PciAddress) { .bus = 0x41 })
#define GPU_AUDIO ((PciAddress) { .bus = 0x41, .function = 1 })
#define NVME ((PciAddress) { .bus = 0x45 })
#define BOOT_DISK ((PciAddress) { .bus = 0x05 })
#define PF ((PciAddress) { .bus = 0x43 })
#define DUAL_NIC ((PciAddress) { .bus = 0x03 })
#define RAID ((PciAddress) { .bus = 0x06 })

typedef struct Fixture {
        Host *host;
        char events[4096]; /* "bind 0000:41:00.0 …" */
        unsigned n_events, n_overflows, n_synthetic;
        char steps[4096];  /* "+0 =0 … -2" started, done, undone; "!3" failed */
        unsigned n_finished, n_ended, n_devices, n_groups, n_slots, n_platforms;
        HostOutcome outcome;
        int error;
        ErrorCode code;
        char message[512];
        size_t failed_step, n_holders;
        uint32_t holder_pid;
        HostFd fds[32];
        size_t n_fds;
        HostDeviceFacts last; /* owned */
        IommuGroupFacts group;
} Fixture;

static inline const char *event_name(HostEventType t) {
        static const char *const names[_HOST_EVENT_TYPE_MAX] = {
                "add",         "remove",   "bind",  "unbind",   "change",
                "vfio-remove", "children", "iommu", "overflow",
        };

        return names[t];
}

static inline void fixture_on_event(const HostEvent *e, void *userdata) {
        Fixture *f = userdata;
        size_t n = strlen(f->events);

        f->n_events++;
        f->n_overflows += e->type == HOST_EVENT_OVERFLOW;
        f->n_synthetic += e->synthetic;
        (void) snprintf(f->events + n, sizeof(f->events) - n, "%s%s %s", n > 0 ? ", " : "",
                        event_name(e->type), e->has_address ? PCI_ADDRESS_TEXT(e->address) : "-");
}

static inline void fixture_note(Fixture *f, const char *mark, size_t step) {
        size_t n = strlen(f->steps);

        (void) snprintf(f->steps + n, sizeof(f->steps) - n, "%s%s%zu", n > 0 ? " " : "", mark,
                        step);
}

static inline void fixture_step_started(HostJob *job _unused_, size_t step, void *userdata) {
        fixture_note(userdata, "+", step);
}

static inline void fixture_step_done(HostJob *job _unused_, size_t step, bool undo, int error,
                                     void *userdata) {
        fixture_note(userdata, error < 0 ? "!" : undo ? "-" : "=", step);
}

static inline void fixture_facts_done(HostDeviceFacts *d) {
        free(d->config);
        if (d->live)
                pci_live_done(d->live);
        free(d->live);
        if (d->use)
                pci_use_done(d->use);
        free(d->use);
        *d = (HostDeviceFacts) {};
}

static inline void fixture_device(HostJob *job _unused_, HostDeviceFacts *facts, void *userdata) {
        Fixture *f = userdata;

        f->n_devices++;
        fixture_facts_done(&f->last);
        f->last = *facts;
        *facts = (HostDeviceFacts) {};
}

static inline void fixture_group(HostJob *job _unused_, IommuGroupFacts *group, void *userdata) {
        Fixture *f = userdata;

        f->n_groups++;
        iommu_group_facts_done(&f->group);
        f->group = *group;
        *group = (IommuGroupFacts) {};
}

static inline void fixture_slot(HostJob *job _unused_, PciSlotFacts *slot _unused_,
                                void *userdata) {
        ((Fixture *) userdata)->n_slots++;
}

static inline void fixture_platform(HostJob *job _unused_, HostPlatform *p _unused_,
                                    void *userdata) {
        ((Fixture *) userdata)->n_platforms++;
}

static inline void fixture_fd(HostJob *job _unused_, HostFd *fd, void *userdata) {
        Fixture *f = userdata;

        ck_assert_uint_lt(f->n_fds, ELEMENTSOF(f->fds));
        f->fds[f->n_fds] = *fd;
        f->fds[f->n_fds++].fd = TAKE_FD(fd->fd);
}

static inline void fixture_finished(HostJob *job _unused_, const HostResult *r, void *userdata) {
        Fixture *f = userdata;

        f->n_finished++;
        f->outcome = r->outcome;
        f->error = r->error;
        f->code = r->code;
        f->failed_step = r->failed_step;
        f->n_holders = r->n_holders;
        f->holder_pid = r->n_holders > 0 ? r->holders[0].pid : 0;
        (void) string_copy(f->message, sizeof(f->message), r->message);
}

static inline void fixture_ended(HostJob *job _unused_, void *userdata) {
        ((Fixture *) userdata)->n_ended++;
}

static const HostJobCallbacks fixture_callbacks = {
        .step_started = fixture_step_started,
        .step_done = fixture_step_done,
        .device = fixture_device,
        .group = fixture_group,
        .slot = fixture_slot,
        .platform = fixture_platform,
        .fd = fixture_fd,
        .finished = fixture_finished,
        .ended = fixture_ended,
};

static inline void fixture_close_fds(Fixture *f) {
        while (f->n_fds > 0)
                (void) safe_close(f->fds[--f->n_fds].fd);
}

/* Forgets what was seen so far. */
static inline void fixture_reset(Fixture *f) {
        fixture_close_fds(f);
        fixture_facts_done(&f->last);
        iommu_group_facts_done(&f->group);
        *f = (Fixture) { .host = f->host };
}

static inline void fixture_done(Fixture *f) {
        fixture_reset(f);
        f->host = host_free(f->host);
}
#define _cleanup_fixture_ _cleanup_(fixture_done)

static inline void fixture_init(Fixture *f) {
        _cleanup_free_
        char *path = strjoinf("%s/tests/data/two-socket-gpu-server.json", getenv("top_srcdir"));
        _cleanup_error_ Error err = ERROR_INIT;
        _cleanup_free_ char *text = NULL;
        size_t n;

        *f = (Fixture) {};
        ck_assert_int_eq(read_file_at(AT_FDCWD, path, 16U << 20, &text, &n), 0);
        ck_assert_msg(host_sim_new(NULL, text, n, true, &err, &f->host) == 0, "%s", err.message);
        ck_assert_int_eq(host_start(f->host, fixture_on_event, f), 0);
}

/* Lets the clock run until nothing is pending, or until `by` has passed. */
static inline void fixture_run(Fixture *f, usec_t by) {
        usec_t end = host_sim_clock(f->host) + by;

        for (;;) {
                usec_t next;

                (void) host_sim_run(f->host);
                next = host_sim_next(f->host);
                if (next == USEC_INFINITY || next > end)
                        break;
                if (next > host_sim_clock(f->host))
                        host_sim_advance(f->host, next - host_sim_clock(f->host));
        }
        if (host_sim_clock(f->host) < end && by < 3600 * USEC_PER_SEC)
                host_sim_advance(f->host, end - host_sim_clock(f->host));
}

static inline HostJob *fixture_submit(Fixture *f, const HostRequest *r) {
        HostJob *job = NULL;
        unsigned before = f->n_finished;

        ck_assert_int_eq(host_submit(f->host, r, &fixture_callbacks, f, &job), 0);
        ck_assert_ptr_nonnull(job);
        ck_assert_uint_eq(f->n_finished, before); /* never from inside the call */
        return job;
}

static inline HostJob *fixture_submit_plan(Fixture *f, const Plan *p) {
        return fixture_submit(f, &(HostRequest){ .type = HOST_REQUEST_PLAN,
                                                 .plan = p,
                                                 .container_fd = -EBADF,
                                                 .iommufd = -EBADF,
                                                 .pidfd = -EBADF });
}

/* The facts of one function as a scan gives them. */
static inline PciFacts fixture_facts(Fixture *f, PciAddress a) {
        HostScan *scan = NULL;
        PciFacts facts;
        PciUse use;
        int r;

        ck_assert_int_eq(host_scan_begin(f->host, &scan), 0);
        while ((r = host_scan_next(scan, &facts, &use)) > 0) {
                pci_use_done(&use);
                if (pci_address_equal(facts.address, a))
                        break;
                pci_facts_done(&facts);
        }
        host_scan_end(scan);
        ck_assert_int_eq(r, 1);
        return facts;
}

static inline bool fixture_has(Fixture *f, PciAddress a) {
        PciFacts facts;
        int r;

        pci_facts_init(&facts, a);
        r = host_refresh(f->host, &facts, HOST_REFRESH_LINKS);
        pci_facts_done(&facts);
        return r == 0;
}

static inline const char *fixture_driver(Fixture *f, PciAddress a,
                                         char buffer[PCI_DRIVER_NAME_MAX]) {
        PciFacts facts;

        pci_facts_init(&facts, a);
        ck_assert_int_eq(host_refresh(f->host, &facts, HOST_REFRESH_LINKS), 0);
        (void) string_copy(buffer, PCI_DRIVER_NAME_MAX, facts.driver);
        pci_facts_done(&facts);
        return buffer;
}
#define DRIVER_OF(f, a) fixture_driver((f), (a), (char[PCI_DRIVER_NAME_MAX]) {})

static inline PlanDevice *fixture_plan_device(Fixture *f, Plan *p, PciAddress a,
                                              const char *driver) {
        PciFacts facts = fixture_facts(f, a);
        PlanDevice *d = plan_add_device(p, a);

        ck_assert_ptr_nonnull(d);
        d->group = facts.iommu_group;
        d->vendor = facts.vendor;
        d->device = facts.device;
        d->subsystem_vendor = facts.subsystem_vendor;
        d->subsystem_device = facts.subsystem_device;
        d->requested = true;
        d->driver = strdup(driver);
        d->driver_before = strdup(facts.driver);
        d->override_before = strdup("");
        pci_facts_done(&facts);
        return d;
}

static inline void fixture_step(Step *s, const char *value, const char *undo, const char *expect,
                                uint32_t msec) {
        ck_assert_ptr_nonnull(s);
        s->timeout_msec = msec;
        ck_assert_int_eq(step_set(s, value, undo, expect), 0);
}

/* Unheld, unbind, override, probe, verify for each; then the trial and the owner of the node. */
static inline Plan *fixture_assign_plan(Fixture *f, const PciAddress *devices, size_t n) {
        Plan *p = plan_new(PLAN_ASSIGN);

        ck_assert_ptr_nonnull(p);
        for (size_t i = 0; i < n; i++) {
                PlanDevice *d = fixture_plan_device(f, p, devices[i], "vfio-pci");

                fixture_step(plan_add_device_step(p, STEP_PROVE_UNHELD, d), NULL, NULL, NULL, 1000);
                if (d->driver_before[0])
                        fixture_step(plan_add_device_step(p, STEP_UNBIND, d), d->driver_before,
                                     d->driver_before, NULL, 75000);
                fixture_step(plan_add_device_step(p, STEP_SET_OVERRIDE, d), "vfio-pci", "", NULL,
                             75000);
                fixture_step(plan_add_device_step(p, STEP_PROBE, d), NULL, "vfio-pci", "vfio-pci",
                             75000);
                fixture_step(plan_add_device_step(p, STEP_VERIFY, d), NULL, NULL, "vfio-pci",
                             75000);
        }
        fixture_step(plan_add_step(p, STEP_TRIAL_ATTACH, p->devices[0].group), NULL, NULL, NULL,
                     75000);
        fixture_step(plan_add_step(p, STEP_SET_NODE_OWNER, p->devices[0].group), "64055:64055",
                     "0:0", NULL, 75000);
        return p;
}

/* Back to `driver` ("" none). */
static inline Plan *fixture_release_plan(Fixture *f, PciAddress a, const char *driver,
                                         uint32_t unheld_msec) {
        Plan *p = plan_new(PLAN_RELEASE);
        PlanDevice *d;

        ck_assert_ptr_nonnull(p);
        d = fixture_plan_device(f, p, a, "vfio-pci");
        fixture_step(plan_add_device_step(p, STEP_PROVE_UNHELD, d), NULL, NULL, NULL, unheld_msec);
        fixture_step(plan_add_device_step(p, STEP_UNBIND, d), "vfio-pci", "vfio-pci", NULL, 75000);
        fixture_step(plan_add_device_step(p, STEP_SET_OVERRIDE, d), "", "vfio-pci", NULL, 75000);
        fixture_step(plan_add_device_step(p, STEP_PROBE, d), NULL, driver, driver, 75000);
        return p;
}

/* Puts devices on vfio-pci and forgets how. */
static inline void fixture_assign(Fixture *f, const PciAddress *devices, size_t n) {
        _cleanup_(plan_freep) Plan *p = fixture_assign_plan(f, devices, n);

        (void) fixture_submit_plan(f, p);
        fixture_run(f, 3600 * USEC_PER_SEC);
        ck_assert_msg(f->outcome == HOST_OUTCOME_DONE, "%s", f->message);
        fixture_reset(f);
}

static inline void fixture_open(Fixture *f, const PciAddress *devices, size_t n) {
        HostOpenDevice open[8] = {};

        for (size_t i = 0; i < n; i++) {
                PciFacts facts = fixture_facts(f, devices[i]);

                open[i] = (HostOpenDevice){ .address = devices[i],
                                            .group = facts.iommu_group,
                                            .want_device = true };
                pci_facts_done(&facts);
        }
        (void) fixture_submit(f, &(HostRequest){ .type = HOST_REQUEST_OPEN,
                                                 .open_devices = open,
                                                 .n_open_devices = n,
                                                 .want_container = true,
                                                 .want_groups = true,
                                                 .container_fd = -EBADF,
                                                 .iommufd = -EBADF,
                                                 .pidfd = -EBADF });
        fixture_run(f, USEC_PER_SEC);
}

static inline void fixture_inject(Fixture *f, PciAddress a, StepType step, SimFaultKind kind,
                                  int error, usec_t delay) {
        SimFault fault = {
                .device = a, .step = step, .kind = kind, .error = error, .delay = delay, .times = 1
        };

        ck_assert_int_eq(host_sim_inject(f->host, &fault), 0);
}
