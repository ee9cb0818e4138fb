/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * VFIO users of the simulated kernel. A descriptor that OPEN gives out is the writing end of a
 * pipe; its reading end stays here and hangs up when the last copy is closed, wherever it was
 * passed. Whoever holds a descriptor of a group or of one of its devices holds the device: its
 * unbinding waits for ever, as in vfio_unregister_group_dev().
 */

#include <assert.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <systemd/sd-event.h>

#include "base/fdio.h"
#include "base/strutil.h"
#include "host/sim-private.h"

static void handle_free(SimHandle *a) {
        list_unlink(&a->link);
        (void) sd_event_source_disable_unref(a->io_source);
        (void) safe_close(a->fd);
        free(a);
}

/* Somebody let go: what waits for it may go on. */
static void handle_closed(SimHandle *a) {
        SimHost *h = a->host;

        handle_free(a);
        /* The last close of a device restores and resets it. */
        for (size_t i = 0; i < h->n_devices; i++)
                if (h->sorted[i]->bars_lost && !sim_device_is_held(h->sorted[i]))
                        sim_device_restore(h->sorted[i]);
        sim_jobs_wake(h);
        sim_operations_wake(h);
}

static bool handle_holds_device(const SimHandle *a, const SimDevice *d) {
        if (a->has_device)
                return pci_address_equal(a->device, d->source.address);
        return a->has_group && d->has_group && a->group == d->group;
}

bool sim_device_is_held(const SimDevice *d) {
        assert(d);
        LIST_FOREACH(&d->host->handles, link)
                if (handle_holds_device(LIST_ENTRY(link, SimHandle, link), d))
                        return true;
        return false;
}

bool sim_group_is_held(SimHost *h, uint32_t group) {
        assert(h);
        LIST_FOREACH(&h->handles, link) {
                const SimHandle *a = LIST_ENTRY(link, SimHandle, link);

                if (a->has_group && a->group == group)
                        return true;
        }
        return false;
}

int sim_device_holders(const SimDevice *d, PciUse *use) {
        int r;

        assert(d);
        assert(use);
        LIST_FOREACH(&d->host->handles, link) {
                const SimHandle *a = LIST_ENTRY(link, SimHandle, link);

                if (!handle_holds_device(a, d) &&
                    !(a->has_group && d->has_group && a->group == d->group))
                        continue;
                r = pci_use_add_holder(use, &a->holder);
                if (r < 0)
                        return r;
        }
        return 0;
}

static SimHandle *handle_new(SimHost *h, HostFdKind kind) {
        SimHandle *a = calloc(1, sizeof(*a));

        if (!a)
                return NULL;
        a->host = h;
        a->kind = kind;
        a->fd = -EBADF;
        list_append(&h->handles, &a->link);
        return a;
}

int sim_hold_foreign(SimDevice *d, const PciHolder *holder) {
        SimHandle *a;

        assert(d);
        assert(holder);
        a = handle_new(d->host, HOST_FD_DEVICE);
        if (!a)
                return -ENOMEM;
        a->foreign = true;
        a->has_device = true;
        a->device = d->source.address;
        /* A use of the host's own driver is no use of the group's VFIO node. */
        a->has_group = d->has_group && pci_driver_is_vfio(d->driver);
        a->group = d->group;
        a->holder = *holder;
        return 0;
}

int host_sim_hold(Host *host, PciAddress address, uint32_t pid, const char *comm) {
        PciHolder holder = { .pid = pid };
        SimDevice *d;

        assert(host_is_sim(host));
        d = sim_device(sim_of(host), address);
        if (!d)
                return -ENODEV;
        (void) string_copy(holder.comm, sizeof(holder.comm), strempty(comm));
        if (pci_driver_is_vfio(d->driver))
                (void) snprintf(holder.what, sizeof(holder.what), "/dev/vfio/%u", d->group);
        else if (d->source.use.n_children > 0)
                (void) snprintf(holder.what, sizeof(holder.what), "/dev/%.56s",
                                d->source.use.children[d->source.use.n_children - 1].name);
        return sim_hold_foreign(d, &holder);
}

int host_sim_unhold(Host *host, PciAddress address) {
        SimHost *h = sim_of(host);
        bool found = false;

        assert(host_is_sim(host));
        LIST_FOREACH(&h->handles, link) {
                SimHandle *a = LIST_ENTRY(link, SimHandle, link);

                if (!a->foreign || !pci_address_equal(a->device, address))
                        continue;
                handle_free(a);
                found = true;
        }
        if (!found)
                return -ENOENT;
        sim_jobs_wake(h);
        sim_operations_wake(h);
        return 0;
}

bool host_sim_is_held(Host *host, PciAddress address) {
        SimDevice *d;

        assert(host_is_sim(host));
        d = sim_device(sim_of(host), address);
        return d && sim_device_is_held(d);
}

/* ---- descriptors ---- */

static int on_io(struct sd_event_source *s _unused_, int fd _unused_, uint32_t revents _unused_,
                 void *userdata) {
        handle_closed(userdata);
        return 0;
}

unsigned sim_handles_poll(SimHost *h) {
        unsigned n = 0;

        assert(h);
        for (bool again = true; again;) {
                again = false;
                LIST_FOREACH(&h->handles, link) {
                        SimHandle *a = LIST_ENTRY(link, SimHandle, link);
                        struct pollfd p = { .fd = a->fd, .events = 0 };

                        if (a->fd < 0 || poll(&p, 1, 0) <= 0 || !(p.revents & POLLHUP))
                                continue;
                        handle_closed(a); /* may have changed the list */
                        n++;
                        again = true;
                        break;
                }
        }
        return n;
}

void sim_handles_free(SimHost *h) {
        assert(h);
        LIST_FOREACH(&h->handles, link)
                handle_free(LIST_ENTRY(link, SimHandle, link));
}

void sim_handles_drop_device(SimHost *h, PciAddress address) {
        assert(h);
        LIST_FOREACH(&h->handles, link) {
                SimHandle *a = LIST_ENTRY(link, SimHandle, link);

                if (a->has_device && pci_address_equal(a->device, address))
                        handle_free(a);
        }
}

/* A pipe: returns the end to give out, keeps the other one as a handle of the device or group. */
static int give_out(SimHost *h, HostFdKind kind, const SimDevice *d, bool whole_group) {
        _cleanup_close_ int write_end = -EBADF;
        int ends[2], r;
        SimHandle *a;

        if (pipe2(ends, O_CLOEXEC) < 0)
                return -errno;
        write_end = ends[1];
        a = handle_new(h, kind);
        if (!a) {
                (void) safe_close(ends[0]);
                return -ENOMEM;
        }
        a->fd = ends[0];
        if (d) {
                a->has_device = !whole_group;
                a->device = d->source.address;
                a->has_group = d->has_group;
                a->group = d->group;
        }
        if (a->has_group && whole_group)
                (void) snprintf(a->holder.what, sizeof(a->holder.what), "/dev/vfio/%u", a->group);
        else
                (void) string_copy(a->holder.what, sizeof(a->holder.what),
                                   "anon_inode:[vfio-device]");
        if (h->event) {
                r = sd_event_add_io(h->event, &a->io_source, a->fd, 0, on_io, a);
                if (r < 0) {
                        handle_free(a);
                        return r;
                }
        }
        return TAKE_FD(write_end);
}

/* ---- groups as VFIO sees them ---- */

bool sim_group_has_node(SimHost *h, uint32_t group) {
        assert(h);
        for (size_t i = 0; i < h->n_devices; i++)
                if (h->sorted[i]->has_group && h->sorted[i]->group == group &&
                    pci_driver_is_vfio(h->sorted[i]->driver))
                        return true;
        return false;
}

static const SimDevice *foreign_member(SimHost *h, uint32_t group) {
        for (size_t i = 0; i < h->n_devices; i++) {
                const SimDevice *d = h->sorted[i];

                if (d->has_group && d->group == group && d->driver[0] &&
                    !pci_driver_is_group_neutral(d->driver))
                        return d;
        }
        return NULL;
}

int sim_group_attach_error(SimHost *h, uint32_t group, char *finding, size_t size) {
        _cleanup_(iommu_group_facts_done) IommuGroupFacts facts = { .id = group };
        const HostPlatform *p = &h->snapshot->platform;
        const SimDevice *foreign;
        SimGroup *g;

        assert(h);
        finding[0] = 0;
        g = sim_group(h, group);
        if (!g || !sim_group_has_node(h, group))
                return -ENOENT;
        if (sim_group_is_held(h, group))
                return -EBUSY;
        foreign = foreign_member(h, group);
        if (foreign) {
                (void) snprintf(finding, size, "%s is on %s",
                                PCI_ADDRESS_TEXT(foreign->source.address), foreign->driver);
                return -EPERM;
        }
        if (p->interrupt_remapping == 0 && p->unsafe_interrupts != 1) {
                (void) snprintf(finding, size, "no interrupt remapping");
                return -EPERM;
        }
        if (g->reserved_regions &&
            iommu_group_facts_set_regions(&facts, g->reserved_regions, 0) >= 0 &&
            iommu_group_facts_has_direct(&facts)) {
                (void) snprintf(finding, size, "group %u has a direct region", group);
                return -EINVAL;
        }
        return 0;
}

/* ---- OPEN ---- */

typedef struct OpenSet { /* what was opened so far: given out together, or not at all */
        HostFd fds[2 * PLAN_DEVICES_MAX + 2];
        size_t n;
} OpenSet;

static void open_set_done(OpenSet *s) {
        for (size_t i = 0; i < s->n; i++)
                s->fds[i].fd = safe_close(s->fds[i].fd);
        free(s);
}

static void open_set_donep(OpenSet **s) {
        if (*s)
                open_set_done(*s);
}

static int open_one(SimJob *job, OpenSet *set, HostFdKind kind, const SimDevice *d) {
        int fd;

        if (set->n >= ELEMENTSOF(set->fds))
                return -E2BIG;
        fd = give_out(sim_of(job->host), kind, d, kind == HOST_FD_GROUP);
        errno = -fd;
        if (fd < 0) {
                sim_job_fail(job, fd, ERROR_FAILED, "no descriptor for %s: %m",
                             d ? PCI_ADDRESS_TEXT(d->source.address) : "the container");
                return fd;
        }
        set->fds[set->n++] = (HostFd) {
                .kind = kind,
                .address = d ? d->source.address : (PciAddress) {},
                .group = d ? d->group : 0,
                .fd = fd,
        };
        return 0;
}

static bool group_is_open(const OpenSet *set, uint32_t group) {
        for (size_t i = 0; i < set->n; i++)
                if (set->fds[i].kind == HOST_FD_GROUP && set->fds[i].group == group)
                        return true;
        return false;
}

static int open_group(SimJob *job, OpenSet *set, const SimDevice *d) {
        char finding[160];
        int r;

        if (group_is_open(set, d->group))
                return 0;
        r = sim_group_attach_error(sim_of(job->host), d->group, finding, sizeof(finding));
        if (r == -EBUSY) {
                sim_job_fail(job, r, ERROR_BUSY,
                             "group %u is open already; a group node opens once", d->group);
                return r;
        }
        if (r < 0) {
                sim_job_fail(job, r, ERROR_NOT_VIABLE, "group %u cannot join a container (%s)",
                             d->group, finding[0] ? finding : "it has no VFIO node");
                return r;
        }
        return open_one(job, set, HOST_FD_GROUP, d);
}

/* vfio_pci_validate_vf_token(): a virtual function opens with its physical one's token alone. */
static int check_token(SimJob *job, SimDevice *d, const char *token) {
        SimDevice *pf = d->is_vf ? sim_device(d->host, d->physfn) : d;

        if (!d->is_vf) {
                if (token[0])
                        (void) string_copy(d->vf_token, sizeof(d->vf_token), token);
                return 0;
        }
        if (!pf || !pci_driver_is_vfio(pf->driver))
                return 0;
        if (token[0] && streq(token, pf->vf_token))
                return 0;
        sim_job_fail(job, -EACCES, ERROR_NOT_SUPPORTED,
                     "%s cannot be opened without the VF token of %s",
                     PCI_ADDRESS_TEXT(d->source.address), PCI_ADDRESS_TEXT(pf->source.address));
        return -EACCES;
}

static int open_device(SimJob *job, OpenSet *set, const HostOpenDevice *o, bool cdev) {
        SimDevice *d = sim_device(sim_of(job->host), o->address);
        int r;

        if (!d || d->dead) {
                sim_job_fail(job, -ENODEV, ERROR_GONE, "%s is gone", PCI_ADDRESS_TEXT(o->address));
                return -ENODEV;
        }
        if (!d->has_group || !pci_driver_is_vfio(d->driver)) {
                sim_job_fail(job, -ENODEV, ERROR_NOT_VIABLE, "%s is not on a VFIO driver",
                             PCI_ADDRESS_TEXT(o->address));
                return -ENODEV;
        }
        if (cdev)
                return open_one(job, set, HOST_FD_CDEV, d);
        r = open_group(job, set, d);
        if (r < 0)
                return r;
        r = o->want_device ? check_token(job, d, o->vf_token) : 0;
        return r >= 0 && o->want_device ? open_one(job, set, HOST_FD_DEVICE, d) : r;
}

static int choose_api(SimJob *job, bool *ret_cdev) {
        const HostPlatform *p = &sim_of(job->host)->snapshot->platform;
        HostApi api = job->request.api;

        if (api == HOST_API_AUTO)
                api = p->vfio_group != 0 ? HOST_API_GROUP : HOST_API_CDEV;
        if ((api == HOST_API_GROUP && p->vfio_group == 0) ||
            (api == HOST_API_CDEV && p->vfio_cdev != 1)) {
                sim_job_fail(job, -EOPNOTSUPP, ERROR_NOT_SUPPORTED, "this kernel has no VFIO %s",
                             api == HOST_API_GROUP ? "groups" : "character devices");
                return -EOPNOTSUPP;
        }
        *ret_cdev = api == HOST_API_CDEV;
        return 0;
}

static int open_shared(SimJob *job, OpenSet *set, bool cdev) {
        const HostRequest *q = &job->request;
        int r = 0;

        if (!cdev && q->want_container && q->container_fd < 0)
                r = open_one(job, set, HOST_FD_CONTAINER, NULL);
        if (r >= 0 && q->want_iommufd && q->iommufd < 0) {
                if (sim_of(job->host)->snapshot->platform.iommufd != 1) {
                        sim_job_fail(job, -EOPNOTSUPP, ERROR_NOT_SUPPORTED,
                                     "this kernel has no iommufd");
                        return -EOPNOTSUPP;
                }
                r = open_one(job, set, HOST_FD_IOMMUFD, NULL);
        }
        return r;
}

/* What was only needed on the way is closed. */
static bool fd_is_wanted(const SimJob *job, HostFdKind kind) {
        if (!job->callbacks.fd || job->detached)
                return false;
        return (kind != HOST_FD_GROUP && kind != HOST_FD_CDEV) || job->request.want_groups;
}

static void send_fds(SimJob *job, OpenSet *set) {
        for (size_t i = 0; i < set->n; i++)
                if (fd_is_wanted(job, set->fds[i].kind))
                        job->callbacks.fd((HostJob *) job, set->fds + i, job->userdata);
}

int sim_open(SimJob *job) {
        _cleanup_(open_set_donep) OpenSet *set = NULL;
        bool cdev = false;
        int r;

        assert(job);
        set = calloc(1, sizeof(*set));
        if (!set)
                return -ENOMEM;
        r = choose_api(job, &cdev);
        if (r >= 0)
                r = open_shared(job, set, cdev);
        for (size_t i = 0; i < job->request.n_open_devices && r >= 0; i++)
                r = open_device(job, set, job->request.open_devices + i, cdev);
        if (r < 0)
                return r;
        send_fds(job, set);
        return 0;
}
