/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The simulated host from inside. Four parts: a clock with a queue of tasks (sim-clock.c), the
 * kernel's objects (devices, groups, drivers; sim-device.c, sim-driver.c, sim-sriov.c), VFIO users
 * (sim-vfio.c), and the jobs that play a worker (sim-job.c, sim-step.c, sim-read.c). What hurts
 * stands in sim-hurt.c. All effects of time are tasks in one queue, so a run is the same each time.
 */

#include "base/hashmap.h"
#include "base/list.h"
#include "host/sim.h"
#include "host/snapshot.h"
#include "host/state-dir.h"

#define SIM_JOBS_MAX 64U
#define SIM_FAULTS_MAX 1024U
#define SIM_BARS_SIZE 24U /* of the six BARs */
#define SIM_BLOCKED 1 /* the kernel operation cannot go on: somebody holds the device */

typedef struct SimHost SimHost;
typedef struct SimJob SimJob;

/* ---- sim-clock.c ---- */

/* Embedded in what is to happen; zero-initialise, then set run and userdata. */
typedef struct SimTask {
        ListLink link; /* in SimHost.tasks, sorted by time, then by order of arming */
        usec_t at;
        uint64_t sequence;
        void (*run)(void *userdata);
        void *userdata;
} SimTask;
void sim_task_arm(SimHost *h, SimTask *t, usec_t at); /* again: moves it */
void sim_task_disarm(SimHost *h, SimTask *t);
/* From the next round of the loop. */
void sim_task_arm_now(SimHost *h, SimTask *t);
usec_t sim_now(SimHost *h);
int sim_clock_init(SimHost *h);
void sim_clock_done(SimHost *h);
int sim_timer_new(Host *host, void (*fire)(void *userdata), void *userdata, HostTimer **ret);
int sim_timer_set(HostTimer *t, usec_t at);
void sim_timer_free(HostTimer *t);
/* Frees those that are armed: whoever set them is no more. */
void sim_timers_drop(SimHost *h);

/* ---- the kernel's objects ---- */

typedef struct SimDevice {
        SimHost *host;
        SnapshotDevice source; /* texts as the kernel shows them now; use.holders is empty, see
                                  SimHandle */
        char *native;          /* the driver that takes it by itself; NULL: none known */
        char *native_module;
        char *children_driver; /* the driver under which source.use.children exist */
        char driver[PCI_DRIVER_NAME_MAX]; /* "" none */
        char override[PCI_DRIVER_NAME_MAX];
        bool has_group;
        uint32_t group;
        bool is_vf;
        PciAddress physfn;
        uint8_t bars[SIM_BARS_SIZE]; /* as they were before a fatal error */
        bool bars_lost;
        bool dead;           /* pulled out: configuration space reads all-ones */
        bool told_removal;   /* the vfio-dev remove event was sent for the unbind that waits */
        unsigned busy;       /* kernel operations that wait inside with the device's lock */
        char *reset_methods; /* all that it has, once their order was changed; NULL: as the
                                attribute says */
        char vf_token[37];   /* of a physical function on a VFIO driver, once it was opened with
                              * one */
        PciConfig *reference; /* what the worker keeps of it; NULL: none */
        usec_t silent_until;  /* after a reset: configuration space does not answer */
        bool silent_rrs;      /* … with Request Retry Status instead of all-ones */
        SimTask silence;
} SimDevice;

typedef struct SimGroup {
        uint32_t id;
        char *type, *reserved_regions;
        size_t n_devices;
        uint32_t node_uid, node_gid;
} SimGroup;

struct SimHost {
        Host host;
        struct sd_event *event;
        struct sd_event_source *time_source, *defer_source;
        bool frozen;            /* the clock is virtual */
        usec_t virtual_now;
        ListLink tasks;
        uint64_t next_sequence;

        Snapshot *snapshot; /* platform, iommus, slots, aliases, drivers; its devices and groups
                               have been taken */
        Hashmap *devices;   /* pci_address_key → SimDevice */
        SimDevice **sorted;
        size_t n_devices, devices_allocated;
        Hashmap *groups;        /* id → SimGroup */
        bool modules_loaded;    /* the VFIO modules */
        bool vfio_sriov;        /* vfio_pci.enable_sriov */

        HostEventHandler handler;
        void *handler_userdata;
        const SimObserver *observer;
        void *observer_userdata;
        uint64_t seqnum;
        unsigned lose;
        bool lost;
        ListLink events;        /* SimEvent, on their way */

        ListLink jobs;
        size_t n_jobs;
        ListLink operations;    /* of other tools */
        ListLink recoveries;    /* from errors */
        SimFault *faults;
        size_t n_faults, faults_allocated;
        ListLink handles;

        Hashmap *files;         /* of the state directory: name → its text */
        char *state_dir;        /* they stand there instead */
        int state_error;        /* positive errno that every write to it gives; 0 none */
        unsigned boots;
};

static inline SimHost *sim_of(Host *h) {
        return (SimHost *) h;
}

/* sim-device.c */
int sim_devices_take(SimHost *h); /* from the snapshot */
int sim_device_add(SimHost *h, SnapshotDevice *source, SimDevice **ret); /* moves source */
void sim_device_remove(SimHost *h, SimDevice *d); /* from the tables, freed */
SimDevice *sim_device(SimHost *h, PciAddress a);
SimDevice *sim_device_free(SimDevice *d);
DEFINE_CLEANUP(SimDevice *, sim_device_free);
SimGroup *sim_group(SimHost *h, uint32_t id);
void sim_groups_free(SimHost *h);
int sim_group_new(SimHost *h, const SimGroup *like,
                  uint32_t *ret_id); /* lowest free number, as the kernel */
const char *sim_attribute(const SimDevice *d, PciAttribute a); /* text or NULL */
int sim_attribute_set(SimDevice *d, PciAttribute a, const char *text);
int sim_link_set(SimDevice *d, PciLink l, const char *text);
void sim_device_cold_facts(const SimDevice *d, PciFacts *f); /* f initialised */
int sim_device_children(const SimDevice *d, PciUse *use);
/* The driver that takes this function by itself; NULL none. Borrowed. */
const char *sim_match_driver(const SimHost *h, const SimDevice *d);
const SnapshotDriver *sim_driver_behaviour(const SimHost *h, const char *name);

/* sim-facts.c: the reading half of the table */
int sim_scan_begin(Host *host, HostScan **ret);
int sim_scan_next(HostScan *s, PciFacts *ret, PciUse *ret_use);
void sim_scan_end(HostScan *s);
int sim_refresh(Host *host, PciFacts *facts, HostRefresh what);
int sim_read_children(Host *host, PciAddress a, PciUse *ret_use);
int sim_iommus(Host *host, IommuFacts **ret, size_t *ret_n);
int sim_slots(Host *host, PciSlotFacts **ret, size_t *ret_n);
int sim_nodes(Host *host, NumaNodes *ret);
int sim_choose_driver(Host *host, const PciFacts *f, char *buffer, size_t size);

/* sim-event.c */
void sim_emit(SimHost *h, HostEventType type, const SimDevice *d);
void sim_emit_at(SimHost *h, HostEventType type, PciAddress a, bool synthetic);
void sim_emit_error(SimHost *h, const SimDevice *d, const char *what, bool online);
void sim_events_free(SimHost *h);

/* sim-error.c */
/* What a reset, or the last close, brings back after a fatal error. */
void sim_device_restore(SimDevice *d);
void sim_recoveries_free(SimHost *h);

/* sim-driver.c: what a write to sysfs does, at the moment it is done. 0, negative errno, or
 * SIM_BLOCKED. */
int sim_unbind(SimDevice *d, const char *driver);
int sim_bind(SimDevice *d, const char *driver);
int sim_drivers_probe(SimDevice *d);
int sim_set_override(SimDevice *d, const char *driver);
int sim_reset(SimDevice *d, const char *method);
usec_t sim_bind_time(const SimHost *h, const char *driver);
usec_t sim_unbind_time(const SimHost *h, const char *driver);
usec_t sim_reset_time(const SimDevice *d, const char *method);
/* The driver that drivers_probe would try now; "" none. */
const char *sim_probe_candidate(const SimDevice *d);
/* Takes the function away; SIM_BLOCKED while somebody holds it. After 0 d is gone. */
int sim_unplug(SimDevice *d);

/* sim-sriov.c */
int sim_set_numvfs(SimDevice *pf, uint32_t n);
uint32_t sim_numvfs(const SimDevice *pf);

/* ---- sim-vfio.c ---- */

/* Somebody who has a node open. Handles of `Open` have a pipe whose other end was given out. */
typedef struct SimHandle {
        ListLink link;
        SimHost *host;
        HostFdKind kind;
        bool has_device;
        PciAddress device;
        bool has_group;
        uint32_t group;
        bool foreign;      /* made by host_sim_hold() or recorded */
        PciHolder holder;
        int fd;
        struct sd_event_source *io_source;
} SimHandle;
bool sim_device_is_held(const SimDevice *d);
bool sim_group_is_held(SimHost *h, uint32_t group);
int sim_device_holders(const SimDevice *d, PciUse *use);
int sim_hold_foreign(SimDevice *d, const PciHolder *holder);
unsigned sim_handles_poll(SimHost *h); /* without a loop: closes what was hung up; how many */
void sim_handles_free(SimHost *h);
void sim_handles_drop_device(SimHost *h, PciAddress a);
/* What joining a container would say: 0, -ENOENT, -EBUSY, -EPERM, -EINVAL. Finding is set where it
 * explains. */
int sim_group_attach_error(SimHost *h, uint32_t group, char *finding, size_t size);
bool sim_group_has_node(SimHost *h, uint32_t group);
int sim_open(SimJob *job);

/* ---- jobs ---- */

typedef struct SimCopy { /* owned copies of what the request points to */
        PciAddress *devices;
        uint32_t *groups;
        HostOpenDevice *open_devices;
        Plan *plan;
        int pidfd;
} SimCopy;

struct SimJob {
        Host *host; /* first: see host.c */
        ListLink link;
        HostJobCallbacks callbacks;
        void *userdata;
        HostRequest request; /* pointers into copy */
        SimCopy copy;
        uint32_t *groups; /* locked */
        size_t n_groups;
        bool removal;     /* has the host's removal lock */
        bool cancelled, detached, unknown, finishing;

        SimTask task, deadline;
        size_t step;      /* at hand */
        bool undoing, undo_failed, blocked, hung;
        bool in_step;
        size_t failed_probe; /* SIZE_MAX: none; else what came of it is undone, whatever it is */
        HostResult result, why; /* why: of the step that failed, while undoing */
        PciUse holders;   /* of a refusal */
        char evidence[512]; /* of the step at hand */
        char finding[160], found[PCI_DRIVER_NAME_MAX];
        bool has_found;
};

int sim_submit(Host *host, const HostRequest *r, const HostJobCallbacks *callbacks, void *userdata,
               HostJob **ret);
void sim_cancel(HostJob *job);
void sim_detach(HostJob *job);
bool sim_group_locked(Host *host, uint32_t group);
void sim_jobs_free(SimHost *h);
/* Somebody let go, or a fault was lifted: whatever waits tries again. */
void sim_jobs_wake(SimHost *h);
void sim_job_fail(SimJob *job, int error, ErrorCode code, const char *format, ...) _printf_(4, 5);

/* sim-step.c */
/* Does the step (or its undoing) at hand: 0, negative errno, SIM_BLOCKED. */
int sim_step_run(SimJob *job);
usec_t sim_step_time(SimJob *job);
/* While one blocks: does it wait in the worker (ends by itself) or in the kernel? */
bool sim_step_waits_in_worker(const Step *s, bool undo);
/* Whether what runs now is touched by a fault of this kind; uses it up. */
bool sim_step_fault(SimJob *job, SimFaultKind kind, SimFault *ret);
void sim_step_explain(SimJob *job, int error);

/* sim-clean.c */
bool sim_device_answers(const SimDevice *d);
/* time 0: for ever */
void sim_device_silence(SimDevice *d, bool rrs, usec_t time);
/* Configuration space as a read of that range is answered now. */
void sim_device_read(const SimDevice *d, size_t offset, size_t n, uint8_t *ret);
int sim_reset_step(SimJob *job, SimDevice *d, const char *method);
int sim_hold_power(SimDevice *d, const char *value);
int sim_set_reset_method(SimDevice *d, const char *value);
int sim_take_reference(SimJob *job, SimDevice *d);
int sim_compare_config(SimJob *job, SimDevice *d);
int sim_hook(SimJob *job, const Step *s);

/* sim-settings.c */
int sim_await_vfs(SimJob *job, SimDevice *pf, const char *value);
int sim_setting(SimJob *job, SimDevice *d, const Step *s, const char *value);
/* What becomes of an error of a setting: in a release it is told, and the release goes on. */
int sim_setting_outcome(SimJob *job, const Step *s, int error);

/* sim-read.c */
void sim_read(SimJob *job);
void sim_platform(SimJob *job);
int sim_snapshot(SimJob *job);

/* sim-state.c */
void sim_state_free(SimHost *h);
int sim_state_commit(SimHost *h, const char *name, const char *text);
/* failed: of the step that failed itself. */
int sim_state_undo(SimHost *h, const char *name, const char *text, bool failed);
int sim_state_files(Host *host, HostStateFile **ret, size_t *ret_n);
const char *sim_state_directory(Host *host);
int sim_boot_id(Host *host, char ret[HOST_BOOT_ID_MAX]);

/* sim-hurt.c */
/* Removal by the slot's button; of one that is to come already, its taking back. */
int sim_remove_later(SimDevice *d, usec_t at, bool *cancelled);
void sim_operations_wake(SimHost *h);
void sim_operations_free(SimHost *h);
