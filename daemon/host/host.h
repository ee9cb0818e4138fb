/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The seam to the kernel. Two implementations: kernel (sysfs, libudev, worker processes; any root
 * with --root) and sim (an in-process model, driven by a virtual clock). Nothing above this header
 * knows which one it has. All callbacks come from the event loop, never from inside the call that
 * started the work.
 */

#include "base/clock.h"
#include "base/errors.h"
#include "base/jsonx.h"
#include "host/state-dir.h"
#include "pci/driver.h"
#include "pci/facts.h"
#include "pci/iommu.h"
#include "pci/numa.h"
#include "pci/slot.h"
#include "plan/plan.h"

typedef struct Host Host;
typedef struct HostJob HostJob;
typedef struct HostTimer HostTimer;
struct sd_event;

#define HOST_BOOT_ID_MAX 33U

/* ---- events ---- */

typedef enum HostEventType {
        HOST_EVENT_ADD,
        HOST_EVENT_REMOVE,
        HOST_EVENT_BIND,
        HOST_EVENT_UNBIND,
        HOST_EVENT_CHANGE,      /* VF count, or error recovery: see error_event */
        HOST_EVENT_VFIO_REMOVE, /* vfio-dev removed: somebody unbinds an open device (>= 6.6) */
        HOST_EVENT_CHILDREN,    /* a block, net, drm … device below the function came or went */
        HOST_EVENT_IOMMU,       /* an IOMMU instance came or went: no address; groups may appear */
        HOST_EVENT_OVERFLOW,    /* events were lost: no address; everything must be read again */
        _HOST_EVENT_TYPE_MAX,
} HostEventType;

typedef struct HostEvent {
        HostEventType type;
        bool has_address;
        PciAddress address;
        bool synthetic;          /* SYNTH_UUID: changes nothing by itself */
        const char *error_event; /* "BEGIN_RECOVERY" …, or NULL */
        int8_t device_online;    /* 0, 1, -1 not said */
        uint64_t seqnum;
} HostEvent;

typedef void (*HostEventHandler)(const HostEvent *event, void *userdata);

/* ---- what the daemon reads itself ---- */

typedef struct HostScan HostScan;

typedef enum HostRefresh {
        HOST_REFRESH_LINKS, /* driver, group: what bind, unbind and change alter */
        HOST_REFRESH_COLD,  /* all that the cold scan reads */
} HostRefresh;

/* ---- work by a worker ---- */

typedef enum HostRequestType {
        HOST_REQUEST_READ,     /* facts of devices and groups */
        HOST_REQUEST_PLAN,     /* run a plan */
        HOST_REQUEST_OPEN,     /* VFIO descriptors */
        HOST_REQUEST_SNAPSHOT, /* the whole host as JSON, in a memfd */
        HOST_REQUEST_PLATFORM, /* what doctor needs */
        HOST_REQUEST_PREPARE,  /* at start: load candidate VFIO modules */
        HOST_REQUEST_PROCESS,  /* on the process behind a pidfd: raise RLIMIT_MEMLOCK, or end it */
        _HOST_REQUEST_TYPE_MAX,
} HostRequestType;

#define HOST_READ_CONFIG (1U << 0)
#define HOST_READ_LIVE (1U << 1)
#define HOST_READ_USE (1U << 2)     /* children, holders of nodes, host-critical proof */
#define HOST_READ_GROUP (1U << 3)   /* type and reserved regions of the devices' groups */
#define HOST_READ_SLOT (1U << 4)
#define HOST_READ_VPD (1U << 5)
#define HOST_READ_HOLDERS \
        (1U << 6) /* scan /proc for who holds the devices' nodes: slow, on request */

typedef enum HostApi { HOST_API_AUTO, HOST_API_GROUP, HOST_API_CDEV } HostApi;

typedef struct HostOpenDevice {
        PciAddress address;
        uint32_t group;
        bool want_device;  /* device descriptor (group path), else only group/cdev */
        char vf_token[37]; /* "" or a UUID */
} HostOpenDevice;

typedef struct HostRequest {
        HostRequestType type;
        /* READ */
        const PciAddress *devices;
        size_t n_devices;
        const uint32_t *groups; /* further groups to read */
        size_t n_groups;
        unsigned what;           /* HOST_READ_… */
        const PciAddress *stuck; /* the host's own: another worker still hangs in these; little is
                                    read of them */
        size_t n_stuck;
        /* PLAN */
        const Plan *plan;
        bool plan_recovery; /* after a crash: find the state of each step by the facts, then undo
                               the plan */
        /* OPEN */
        HostApi api;
        const HostOpenDevice *open_devices;
        size_t n_open_devices;
        bool want_container, want_iommufd;
        int container_fd,
                iommufd;  /* the caller's own, joined instead of a new one; -EBADF none. Borrowed */
        bool want_groups; /* group or cdev descriptors */
        bool iommufd_rlimit_process; /* IOMMU_OPTION_RLIMIT_MODE = 1 */
        /* SNAPSHOT */
        bool redact;
        /* PREPARE */
        char *const *modules;
        /* PROCESS */
        int pidfd; /* borrowed during the call (duplicated) */
        uint64_t memlock; /* bytes; 0: leave */
        int signal;       /* 0: none */
} HostRequest;

/* One device's answer to READ. The callee takes what it wants by moving and zeroing; the rest is
 * freed by the host. */
typedef struct HostDeviceFacts {
        PciAddress address;
        int error;              /* 0, or why nothing could be read: -ENODEV gone, -ETIMEDOUT … */
        unsigned what;          /* HOST_READ_… that are filled */
        PciConfigFacts *config; /* malloc'd */
        PciLive *live;          /* malloc'd */
        PciUse *use;            /* malloc'd */
} HostDeviceFacts;

/* A descriptor that came back from OPEN. fd is moved to the callee if it takes it with TAKE_FD. */
typedef enum HostFdKind {
        HOST_FD_CONTAINER,
        HOST_FD_IOMMUFD,
        HOST_FD_GROUP, /* address: first device of the group that was asked for; group says which */
        HOST_FD_DEVICE,
        HOST_FD_CDEV,
        HOST_FD_SNAPSHOT,
        _HOST_FD_KIND_MAX,
} HostFdKind;

typedef struct HostFd {
        HostFdKind kind;
        PciAddress address;
        uint32_t group;
        int fd;
} HostFd;

/* What doctor asks. Each tri-state: 1 yes, 0 no, -1 unknown. */
typedef struct HostPlatform {
        char kernel[80];         /* release */
        char *cmdline;           /* owned */
        char lockdown[20];       /* "none" "integrity" "confidentiality" "unknown" */
        int8_t iommu_present, vfio_group, vfio_container, vfio_cdev, iommufd, vfio_pci_available,
                vfio_pci_loaded, vfio_iommu_type1_loaded, interrupt_remapping, unsafe_interrupts,
                noiommu_enabled, virtio_iommu_late, secure_boot, aer_native, tracefs;
        char vendor[16];         /* "GenuineIntel" "AuthenticAMD" "ARM" … */
        uint32_t n_waiting;      /* functions that wait for an IOMMU supplier */
        uint64_t dma_entry_limit;
} HostPlatform;
void host_platform_done(HostPlatform *p);

typedef enum HostOutcome {
        HOST_OUTCOME_DONE,        /* all steps done */
        HOST_OUTCOME_ROLLED_BACK, /* a step failed; the ones before it were undone */
        HOST_OUTCOME_FAILED,  /* a step failed and undoing failed too: facts must be read again */
        HOST_OUTCOME_UNKNOWN, /* deadline passed or the worker died: the truth is in the kernel;
                                 `ended` follows */
        _HOST_OUTCOME_MAX,
} HostOutcome;
const char *host_outcome_to_string(HostOutcome o);

typedef struct HostResult {
        HostOutcome outcome;
        int error;            /* negative errno of the step or request that failed; 0 */
        ErrorCode code;       /* what it means to the user */
        char message[512];    /* the thing, the reason, the remedy; "" if none */
        size_t failed_step;   /* index, or SIZE_MAX */
        /* for a refusal by prove-unheld: who */
        const PciHolder *holders;
        size_t n_holders;
} HostResult;

typedef struct HostJobCallbacks {
        void (*step_started)(HostJob *job, size_t step, void *userdata);
        void (*step_done)(HostJob *job, size_t step, bool undo, int error, void *userdata);
        /* What a step found, for the record: printable UTF-8, before its step_done. May be NULL. */
        void (*evidence)(HostJob *job, size_t step, const char *text, void *userdata);
        /* For PLAN, single attributes of its devices, `live` without HOST_READ_LIVE: see
         * STEP_VERIFY. */
        void (*device)(HostJob *job, HostDeviceFacts *facts, void *userdata);
        void (*group)(HostJob *job, IommuGroupFacts *group, void *userdata); /* callee may move */
        void (*slot)(HostJob *job, PciSlotFacts *slot, void *userdata);      /* callee may move */
        void (*platform)(HostJob *job, HostPlatform *platform,
                         void *userdata); /* callee may move */
        void (*fd)(HostJob *job, HostFd *fd, void *userdata);
        /* Exactly once. After DONE, ROLLED_BACK and FAILED the job is gone. */
        void (*finished)(HostJob *job, const HostResult *result, void *userdata);
        /* After UNKNOWN only: the worker is gone for good, facts can be read again, locks are
         * free. */
        void (*ended)(HostJob *job, void *userdata);
} HostJobCallbacks;

/* ---- the implementations' table ---- */

typedef struct HostOps {
        const char *name;
        void (*free)(Host *h);
        int (*start)(Host *h, HostEventHandler handler, void *userdata);
        int (*scan_begin)(Host *h, HostScan **ret);
        int (*scan_next)(HostScan *s, PciFacts *ret, PciUse *ret_use);
        void (*scan_end)(HostScan *s);
        int (*refresh)(Host *h, PciFacts *facts, HostRefresh what);
        int (*read_children)(Host *h, PciAddress a, PciUse *ret_use);
        int (*iommus)(Host *h, IommuFacts **ret, size_t *ret_n);
        int (*slots)(Host *h, PciSlotFacts **ret, size_t *ret_n);
        int (*nodes)(Host *h, NumaNodes *ret);
        int (*choose_driver)(Host *h, const PciFacts *f, char *buffer, size_t size);
        int (*submit)(Host *h, const HostRequest *r, const HostJobCallbacks *callbacks,
                      void *userdata, HostJob **ret);
        void (*cancel)(HostJob *job);
        void (*detach)(HostJob *job);
        bool (*group_locked)(Host *h, uint32_t group);
        int (*state_files)(Host *h, HostStateFile **ret, size_t *ret_n);
        const char *(*state_directory)(Host *h);
        int (*boot_id)(Host *h, char ret[HOST_BOOT_ID_MAX]);
        usec_t (*now)(Host *h);
        int (*timer_new)(Host *h, void (*fire)(void *userdata), void *userdata, HostTimer **ret);
        int (*timer_set)(HostTimer *t, usec_t at);
        void (*timer_free)(HostTimer *t);
} HostOps;

struct Host { /* first member of each implementation's own structure */
        const HostOps *ops;
};
/* A HostScan, HostJob and HostTimer of each implementation begins with a `Host *` that points to
 * its Host. */

/* Thin wrappers; contracts here. */

Host *host_free(Host *h);
DEFINE_CLEANUP(Host *, host_free);

/* Subscribes to events first, so that nothing between start and the first scan is missed. May be
 * called again by the next user of the same host: the new handler replaces the old one. */
int host_start(Host *h, HostEventHandler handler, void *userdata);

/* A scan of all functions, resumable: scan_next gives one (1), the end (0) or -errno; a function
 * that vanished meanwhile is left out. ret_facts and ret_use must be initialised by the callee: the
 * caller passes garbage and owns the result. ret_use has children and built-in criticals only. */
int host_scan_begin(Host *h, HostScan **ret);
int host_scan_next(HostScan *s, PciFacts *ret_facts, PciUse *ret_use);
HostScan *host_scan_end(HostScan *s);

/* Re-reads cached facts of one function in place; -ENODEV if it is gone (facts unchanged).
 * f->address is the key. */
int host_refresh(Host *h, PciFacts *facts, HostRefresh what);
/* Children of one function, fresh. */
int host_read_children(Host *h, PciAddress a, PciUse *ret_use);
int host_iommus(Host *h, IommuFacts **ret, size_t *ret_n); /* malloc'd array */
int host_slots(Host *h, PciSlotFacts **ret, size_t *ret_n);
int host_nodes(Host *h, NumaNodes *ret); /* sorted; none without CONFIG_NUMA */
/* Name of the VFIO driver for this function (variant or "vfio-pci"), by the kernel's vfio_pci:
 * aliases. -ENOENT: no VFIO module on this host. */
int host_choose_driver(Host *h, const PciFacts *f, char *buffer, size_t size);

/* Starts work. The request is copied or sent before return. -EBUSY: too many workers; -EAGAIN: a
 * group, or the host's removal lock, is taken. Callbacks follow from the loop. */
int host_submit(Host *h, const HostRequest *r, const HostJobCallbacks *callbacks, void *userdata,
                HostJob **ret);
/* Asks a job to stop before its next step and undo; `finished` still comes. */
void host_cancel(HostJob *job);
/* The caller goes away: no callback comes any more, and the job's memory is the host's alone. The
 * worker treats it as the death of the daemon: it ends the step at hand, begins no other and undoes
 * nothing; the journal says the rest. */
void host_detach(HostJob *job);
/* True while a worker (maybe of an earlier daemon) holds the lock of that group. */
bool host_group_locked(Host *h, uint32_t group);

/* What outlives a reboot, read at start; an error is of the directory. Written by the plan step
 * commit-state. */
int host_state_files(Host *h, HostStateFile **ret, size_t *ret_n);
const char *host_state_directory(Host *h); /* for people */
/* The kernel's boot, 32 hexadecimal digits. */
int host_boot_id(Host *h, char ret[HOST_BOOT_ID_MAX]);

usec_t host_now(Host *h); /* CLOCK_BOOTTIME, or the virtual clock */
int host_timer_new(Host *h, void (*fire)(void *userdata), void *userdata, HostTimer **ret);
int host_timer_set(HostTimer *t, usec_t at); /* absolute; USEC_INFINITY disarms */
HostTimer *host_timer_free(HostTimer *t);
DEFINE_CLEANUP(HostTimer *, host_timer_free);

/* ---- constructors ---- */

typedef struct HostKernelOptions {
        const char *root;          /* "/" or the prefix of --root */
        const char *runtime_dir;   /* workers that are executed have worker/ below it */
        const char *state_dir;     /* NULL: the usual one */
        const char *worker_socket; /* socket-activated worker, or NULL: execute worker_path */
        const char *worker_path;
        unsigned max_workers;
        uint32_t step_timeout_msec;
} HostKernelOptions;
int host_kernel_new(struct sd_event *event, const HostKernelOptions *options, Host **ret);

/* snapshot: HOST.json. With virtual_clock the clock moves only by host_sim_advance(); otherwise it
 * follows CLOCK_BOOTTIME until the first host_sim_advance(). event may be NULL in unit tests:
 * host_sim_run() dispatches. */
int host_sim_new(struct sd_event *event, const char *snapshot, size_t n, bool virtual_clock,
                 Error *err, Host **ret);
