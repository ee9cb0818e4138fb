/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Inside of the kernel host; nobody else includes this. */

#include <sys/types.h>
#include <systemd/sd-event.h>

#include "base/list.h"
#include "host/host.h"
#include "host/protocol.h"
#include "host/sysfs.h"

struct udev_monitor;

typedef struct Session Session;

typedef struct KernelHost {
        Host host; /* first */
        sd_event *event;
        SysTree tree;
        char *root, *runtime_dir, *worker_dir, *state_dir, *worker_socket, *worker_path;
        unsigned max_workers;
        uint32_t step_timeout_msec;

        HostEventHandler handler;
        void *handler_userdata;
        struct udev_monitor *monitor;
        int event_socket; /* made trees: where events are sent to */
        char *event_path;
        sd_event_source *monitor_source;

        ListLink sessions;
        unsigned n_sessions;
        ListLink jobs;
        unsigned n_jobs; /* that are not detached and not unknown */
        sd_event_source *spare_source;

        SysAliases aliases;
        bool aliases_loaded;
} KernelHost;

static inline KernelHost *kernel_host(Host *h) {
        return (KernelHost *) h;
}

/* kernel-scan.c */
int kernel_scan_begin(Host *h, HostScan **ret);
int kernel_scan_next(HostScan *s, PciFacts *ret_facts, PciUse *ret_use);
void kernel_scan_end(HostScan *s);
int kernel_refresh(Host *h, PciFacts *facts, HostRefresh what);
int kernel_read_children(Host *h, PciAddress a, PciUse *ret_use);
int kernel_iommus(Host *h, IommuFacts **ret, size_t *ret_n);
int kernel_slots(Host *h, PciSlotFacts **ret, size_t *ret_n);
int kernel_nodes(Host *h, NumaNodes *ret);

/* kernel-driver.c */
int kernel_choose_driver(Host *h, const PciFacts *f, char *buffer, size_t size);

/* kernel-monitor.c */
int kernel_monitor_start(KernelHost *k);
void kernel_monitor_stop(KernelHost *k);

/* kernel-timer.c */
usec_t kernel_now(Host *h);
int kernel_timer_new(Host *h, void (*fire)(void *userdata), void *userdata, HostTimer **ret);
int kernel_timer_set(HostTimer *t, usec_t at);
void kernel_timer_free(HostTimer *t);

/* kernel-job.c */
struct HostJob {
        Host *host; /* first */
        ListLink link;
        HostJobCallbacks callbacks;
        void *userdata;
        Session *session;
        HostRequestType type;
        Encoder request;          /* encoded, until a worker has taken it */
        int request_fds[PROTOCOL_FDS_MAX]; /* duplicates */
        size_t n_request_fds;
        Plan *plan;
        bool removal;
        uint32_t *groups;
        size_t n_groups;
        PciAddress *devices;      /* READ: what is still to come, from next_device on */
        size_t n_devices, next_device;
        uint32_t *read_groups;
        size_t n_read_groups;
        unsigned what;
        HostDeviceFacts pending;  /* parts of the device at hand */
        bool has_pending;
        PciAddress at;            /* SNAPSHOT: the function at hand */
        bool has_at, redact;
        unsigned n_restarts;
        bool detached, unknown, cancelled;
};
int kernel_submit(Host *h, const HostRequest *r, const HostJobCallbacks *callbacks, void *userdata,
                  HostJob **ret);
void kernel_cancel(HostJob *job);
void kernel_detach(HostJob *job);
bool kernel_group_locked(Host *h, uint32_t group);
HostJob *kernel_job_free(HostJob *job);
/* From the session: a message came; the worker came up; the deadline passed; the worker is gone. */
void kernel_job_message(HostJob *job, ProtocolMessage *m);
void kernel_job_timeout(HostJob *job);
/* error: why the connection ended. The session is lost; the job has it no more unless it waits for
 * the end. */
void kernel_job_lost(HostJob *job, int error);
void kernel_job_ended(HostJob *job);

/* kernel-worker.c */
typedef enum SessionState {
        SESSION_STARTING, /* HELLO not answered yet */
        SESSION_IDLE,
        SESSION_BUSY,
        SESSION_LOST,     /* connection closed; waiting for the process to end */
} SessionState;

struct Session {
        KernelHost *host;
        ListLink link;
        SessionState state;
        int socket, pidfd;
        pid_t child;      /* 0: not ours to reap */
        sd_event_source *socket_source, *pid_source, *timer;
        HostJob *job;
        bool request_sent;
        bool has_stuck;   /* lost while it read this device, and still there */
        PciAddress stuck;
};
/* Devices that lost workers still hang in, at most max. */
size_t kernel_sessions_stuck(const KernelHost *k, PciAddress *ret, size_t max);
/* A session for the job: idle, or a new one. -EBUSY: too many. */
int kernel_session_take(KernelHost *k, HostJob *job);
/* The job is done: keep the worker as the spare, or let it go. */
void kernel_session_put(Session *s);
/* Closes the connection; the worker stops before its next step. */
void kernel_session_close(Session *s);
/* The same, and the session ends here if no worker had answered yet. */
void kernel_session_abandon(Session *s);
int kernel_session_send(Session *s, ProtocolType type, const Encoder *payload);
void kernel_session_deadline(Session *s, uint64_t msec);
void kernel_sessions_free(KernelHost *k);
/* Makes sure that a spare worker stands ready, from the loop. */
/* A worker that stands ready, unless one does by then. */
void kernel_spare_want(KernelHost *k, usec_t delay);
