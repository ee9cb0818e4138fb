/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The kernel host over a made tree, with the real worker program: facts, events, plans with their
 * read-back and undo, deadlines, locks, recovery and snapshots. Where a worker must hang, the file
 * that it opens is a FIFO without a peer.
 */

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <systemd/sd-event.h>

#include "base/fdio.h"
#include "base/strutil.h"
#include "host/snapshot.h"
#include "tree.h"
#include "unit.h"

#define BRIDGE "0000:00:03.0"
#define NIC "0000:01:00.0"
#define DISK "0000:00:05.0"
#define SPARE "0000:00:06.0"
#define GPU "10000:e1:00.0"

static const TreeDevice devices[] = {
        { BRIDGE, NULL, "0x060400", "pcieport", NULL, 2 },
        { NIC, BRIDGE, "0x020000", "virtio-pci", "virtio-pci", 7 },
        { DISK, NULL, "0x010000", "virtio-pci", "virtio-pci", 8 },
        { SPARE, NULL, "0x020000", NULL, "virtio-pci", 9 },
        { GPU, NULL, "0x030000", "nouveau", "nouveau", 10 },
};

typedef struct Heard {
        bool finished, ended;
        HostOutcome outcome;
        int error;
        ErrorCode code;
        char message[512];
        size_t failed_step;
        unsigned started, done, undone;
        HostDeviceFacts facts[8];
        size_t n_facts;
        IommuGroupFacts group;
        unsigned n_groups;
        HostPlatform platform;
        int fd;
        HostEvent events[16];
        size_t n_events;
} Heard;

static Tree *tree;
static sd_event *event;
static Host *host;
static Heard heard;

static void on_event(const HostEvent *e, void *userdata) {
        ck_assert_uint_lt(heard.n_events, ELEMENTSOF(heard.events));
        heard.events[heard.n_events++] = *e;
}

static void open_host(uint32_t timeout_msec) {
        _cleanup_free_ char *worker = strjoinf("%s/pciassign-worker", getenv("top_builddir"));
        const HostKernelOptions options = {
                .root = tree_root(tree),
                .runtime_dir = tree_runtime(tree),
                .worker_path = worker,
                .max_workers = 4,
                .step_timeout_msec = timeout_msec,
        };

        ck_assert_int_eq(host_kernel_new(event, &options, &host), 0);
        ck_assert_int_eq(host_start(host, on_event, NULL), 0);
}

static void setup_with(uint32_t timeout_msec) {
        heard = (Heard) { .fd = -EBADF };
        tree = tree_new(devices, ELEMENTSOF(devices));
        ck_assert_int_ge(sd_event_new(&event), 0);
        open_host(timeout_msec);
}

static void setup(void) {
        setup_with(20000);
        tree_start_kernel(tree);
}

static void teardown(void) {
        for (size_t i = 0; i < heard.n_facts; i++) {
                free(heard.facts[i].config);
                if (heard.facts[i].live)
                        pci_live_done(heard.facts[i].live);
                free(heard.facts[i].live);
                if (heard.facts[i].use)
                        pci_use_done(heard.facts[i].use);
                free(heard.facts[i].use);
        }
        iommu_group_facts_done(&heard.group);
        host_platform_done(&heard.platform);
        (void) safe_close(heard.fd);
        host = host_free(host);
        event = sd_event_unref(event);
        tree_free(tree);
}

static PciAddress address(const char *s) {
        PciAddress a;

        ck_assert_int_eq(pci_address_parse(s, &a), 0);
        return a;
}

/* ---- callbacks ---- */

static void on_step_started(HostJob *job, size_t step, void *userdata) {
        heard.started++;
}

static void on_step_done(HostJob *job, size_t step, bool undo, int error, void *userdata) {
        if (undo)
                heard.undone++;
        else
                heard.done++;
}

static void on_device(HostJob *job, HostDeviceFacts *f, void *userdata) {
        ck_assert_uint_lt(heard.n_facts, ELEMENTSOF(heard.facts));
        heard.facts[heard.n_facts++] = *f;
        f->config = NULL;
        f->live = NULL;
        f->use = NULL;
}

static void on_group(HostJob *job, IommuGroupFacts *g, void *userdata) {
        iommu_group_facts_done(&heard.group);
        heard.group = *g;
        *g = (IommuGroupFacts) {};
        heard.n_groups++;
}

static void on_platform(HostJob *job, HostPlatform *p, void *userdata) {
        heard.platform = *p;
        *p = (HostPlatform) {};
}

static void on_fd(HostJob *job, HostFd *f, void *userdata) {
        ck_assert_int_eq(f->kind, HOST_FD_SNAPSHOT);
        heard.fd = TAKE_FD(f->fd);
}

static void on_finished(HostJob *job, const HostResult *r, void *userdata) {
        ck_assert(!heard.finished);
        heard.finished = true;
        heard.outcome = r->outcome;
        heard.error = r->error;
        heard.code = r->code;
        heard.failed_step = r->failed_step;
        (void) string_copy(heard.message, sizeof(heard.message), r->message);
}

static void on_ended(HostJob *job, void *userdata) {
        ck_assert(heard.finished && !heard.ended);
        heard.ended = true;
}

static const HostJobCallbacks callbacks = {
        .step_started = on_step_started,
        .step_done = on_step_done,
        .device = on_device,
        .group = on_group,
        .platform = on_platform,
        .fd = on_fd,
        .finished = on_finished,
        .ended = on_ended,
};

static void run_until(const bool *flag) {
        while (!*flag)
                ck_assert_int_ge(sd_event_run(event, UINT64_MAX), 0);
}

static HostRequest request_of(HostRequestType type) {
        return (HostRequest){
                .type = type, .container_fd = -EBADF, .iommufd = -EBADF, .pidfd = -EBADF
        };
}

static HostJob *submit(const HostRequest *r) {
        HostJob *job = NULL;

        heard.finished = heard.ended = false;
        heard.started = heard.done = heard.undone = 0;
        ck_assert_int_eq(host_submit(host, r, &callbacks, NULL, &job), 0);
        ck_assert_ptr_nonnull(job);
        return job;
}

static HostJob *submit_plan(const Plan *p, bool recovery) {
        HostRequest r = request_of(HOST_REQUEST_PLAN);

        r.plan = p;
        r.plan_recovery = recovery;
        return submit(&r);
}

static void run_plan(const Plan *p, bool recovery) {
        (void) submit_plan(p, recovery);
        run_until(&heard.finished);
}

/* ---- plans ---- */

static PlanDevice *add_device(Plan *p, const char *a, uint32_t group) {
        PlanDevice *d = plan_add_device(p, address(a));

        ck_assert_ptr_nonnull(d);
        d->group = group;
        d->vendor = d->subsystem_vendor = 0x1af4;
        d->device = 0x1041;
        d->subsystem_device = 0x1100;
        return d;
}

static void add_step(Plan *p, StepType t, const char *value, const char *undo, const char *expect) {
        Step *s = plan_add_device_step(p, t, p->devices);

        ck_assert_ptr_nonnull(s);
        s->timeout_msec = t == STEP_PROVE_UNHELD ? 200 : 20000;
        ck_assert_int_eq(step_set(s, value, undo, expect), 0);
}

static Plan *assign_plan(void) {
        Plan *p = plan_new(PLAN_ASSIGN);

        (void) add_device(p, NIC, 7);
        add_step(p, STEP_PROVE_UNHELD, NULL, NULL, NULL);
        add_step(p, STEP_UNBIND, "virtio-pci", "virtio-pci", NULL);
        add_step(p, STEP_SET_OVERRIDE, "vfio-pci", "", NULL);
        add_step(p, STEP_PROBE, NULL, "vfio-pci", "vfio-pci");
        add_step(p, STEP_TRIAL_ATTACH, NULL, NULL, NULL);
        add_step(p, STEP_VERIFY, NULL, NULL, "vfio-pci");
        return p;
}

static Plan *release_plan(void) {
        Plan *p = plan_new(PLAN_RELEASE);

        (void) add_device(p, NIC, 7);
        add_step(p, STEP_PROVE_UNHELD, NULL, NULL, NULL);
        add_step(p, STEP_UNBIND, "vfio-pci", NULL, NULL);
        add_step(p, STEP_SET_OVERRIDE, "", "vfio-pci", NULL);
        add_step(p, STEP_PROBE, NULL, NULL, "virtio-pci");
        add_step(p, STEP_VERIFY, NULL, NULL, "virtio-pci");
        return p;
}

static void assert_driver(const char *a, const char *driver) {
        _cleanup_free_ char *now = tree_driver(tree, a);

        ck_assert_str_eq(now, driver);
}

static void assert_override(const char *expected) {
        _cleanup_free_
        char *path = tree_path_of(tree, NIC),
             *full = strjoinf("sys/devices/%s/driver_override", path);
        _cleanup_free_ char *text = tree_read(tree, full);

        text[strcspn(text, "\n")] = 0;
        ck_assert_str_eq(streq(text, "(null)") ? "" : text, expected);
}

/* ---- facts ---- */

START_TEST(test_scan) {
        static const char *const order[] = { BRIDGE, DISK, SPARE, NIC, GPU };
        PciFacts f;
        PciUse use;
        HostScan *s;

        tree_write(tree, "sys/devices/pci0000:00/" DISK "/virtio2/block/vda/dev", "254:0\n");
        tree_link(tree, "sys/devices/pci0000:00/" DISK "/virtio2/block/vda/subsystem",
                  "../../../../../../class/block");
        tree_link(tree, "sys/class/block/vda",
                  "../../devices/pci0000:00/" DISK "/virtio2/block/vda");
        tree_link(tree, "sys/class/block/vda1",
                  "../../devices/pci0000:00/" DISK "/virtio2/block/vda/vda1");
        ck_assert_int_eq(host_scan_begin(host, &s), 0);
        for (size_t i = 0; i < ELEMENTSOF(order); i++) {
                ck_assert_int_eq(host_scan_next(s, &f, &use), 1);
                ck_assert_str_eq(PCI_ADDRESS_TEXT(f.address), order[i]);
                ck_assert_uint_eq(f.vendor, 0x1af4);
                ck_assert_uint_eq(f.link_state[PCI_LINK_IOMMU_GROUP], FACT_PRESENT);
                ck_assert_uint_eq(f.state[PCI_ATTRIBUTE_BOOT_VGA], FACT_ABSENT);
                if (streq(order[i], NIC)) {
                        ck_assert(f.has_parent && pci_address_equal(f.parent, address(BRIDGE)));
                        ck_assert_str_eq(f.driver, "virtio-pci");
                        ck_assert_uint_eq(f.iommu_group, 7);
                }
                if (streq(order[i], DISK)) {
                        ck_assert_uint_eq(use.n_children, 1);
                        ck_assert_str_eq(use.children[0].subsystem, "block");
                        ck_assert_str_eq(use.children[0].name, "vda");
                }
                pci_facts_done(&f);
                pci_use_done(&use);
        }
        ck_assert_int_eq(host_scan_next(s, &f, &use), 0);
        host_scan_end(s);
        ck_assert_int_eq(host_read_children(host, address(DISK), &use), 0);
        ck_assert_uint_eq(use.n_children, 1);
        ck_assert_str_eq(use.children[0].name, "vda");
        pci_use_done(&use);
}
END_TEST

START_TEST(test_refresh) {
        PciFacts f;

        pci_facts_init(&f, address(NIC));
        ck_assert_int_eq(host_refresh(host, &f, HOST_REFRESH_COLD), 0);
        ck_assert_str_eq(f.driver, "virtio-pci");
        tree_remove(tree, "sys/devices/pci0000:00/" BRIDGE "/" NIC "/driver");
        ck_assert_int_eq(host_refresh(host, &f, HOST_REFRESH_LINKS), 0);
        ck_assert_str_eq(f.driver, "");
        tree_remove(tree, "sys/bus/pci/devices/" NIC);
        ck_assert_int_eq(host_refresh(host, &f, HOST_REFRESH_LINKS), -ENODEV);
        ck_assert_int_eq(host_refresh(host, &f, HOST_REFRESH_COLD), -ENODEV);
        ck_assert_uint_eq(f.vendor, 0x1af4);
        pci_facts_done(&f);
}
END_TEST

#define MESSAGE(action, path, rest) \
        BYTES(action "@" path "\0ACTION=" action "\0DEVPATH=" path "\0" rest)
#define BYTES(text) (text), sizeof(text)
static const struct {
        const char *message;
        size_t size;
        HostEventType type;
        const char *address; /* NULL: none; "-": no event at all */
        const char *error;
} events[] = {
        { MESSAGE("add", "/devices/pci0000:00/0000:00:09.0",
                  "SUBSYSTEM=pci\0PCI_SLOT_NAME=0000:00:09.0\0SEQNUM=12"),
          HOST_EVENT_ADD, "0000:00:09.0", NULL },
        { MESSAGE("unbind", "/devices/pci0000:00/" DISK, "SUBSYSTEM=pci"), HOST_EVENT_UNBIND, DISK,
          NULL },
        { MESSAGE("change", "/devices/pci0000:00/" DISK,
                  "SUBSYSTEM=pci\0ERROR_EVENT=BEGIN_RECOVERY\0DEVICE_ONLINE=0"),
          HOST_EVENT_CHANGE, DISK, "BEGIN_RECOVERY" },
        { MESSAGE("remove", "/devices/pci0000:00/" DISK "/vfio-dev/vfio0", "SUBSYSTEM=vfio-dev"),
          HOST_EVENT_VFIO_REMOVE, DISK, NULL },
        { MESSAGE("add", "/devices/pci0000:00/" DISK "/vfio-dev/vfio0", "SUBSYSTEM=vfio-dev"), 0,
          "-", NULL },
        { MESSAGE("add", "/devices/pci0000:00/" BRIDGE "/" NIC "/virtio1/net/ens3",
                  "SUBSYSTEM=net"),
          HOST_EVENT_CHILDREN, NIC, NULL },
        { MESSAGE("add", "/devices/virtual/net/br0", "SUBSYSTEM=net"), 0, "-", NULL },
        { MESSAGE("add", "/devices/virtual/iommu/dmar0", "SUBSYSTEM=iommu"), HOST_EVENT_IOMMU, NULL,
          NULL },
        { MESSAGE("add", "/devices/pci0000:00/" DISK, "SUBSYSTEM=usb"), 0, "-", NULL },
        { MESSAGE("explode", "/devices/pci0000:00/" DISK, "SUBSYSTEM=pci"), 0, "-", NULL },
        { "", 0, HOST_EVENT_OVERFLOW, NULL, NULL },
        { BYTES("add@"), 0, "-", NULL },
};

START_TEST(test_events) {
        /* A second event behind it shows that the first has been worked on. */
        static const char last[] =
                "add@/x\0ACTION=add\0DEVPATH=/devices/virtual/iommu/z\0SUBSYSTEM=iommu";
        size_t expected = streq_ptr(events[_i].address, "-") ? 1 : 2;

        tree_send_event(tree, events[_i].message, events[_i].size);
        tree_send_event(tree, last, sizeof(last));
        while (heard.n_events < expected)
                ck_assert_int_ge(sd_event_run(event, UINT64_MAX), 0);
        ck_assert_uint_eq(heard.n_events, expected);
        ck_assert_int_eq(heard.events[expected - 1].type, HOST_EVENT_IOMMU);
        if (expected == 1)
                return;
        ck_assert_int_eq(heard.events[0].type, events[_i].type);
        ck_assert(heard.events[0].has_address == (events[_i].address != NULL));
        if (events[_i].address)
                ck_assert_str_eq(PCI_ADDRESS_TEXT(heard.events[0].address), events[_i].address);
        ck_assert(!events[_i].error == !heard.events[0].error_event);
        ck_assert_int_eq(heard.events[0].device_online, events[_i].error ? 0 : -1);
}
END_TEST

static HostRequest read_request(const PciAddress *list, size_t n, unsigned what) {
        HostRequest r = request_of(HOST_REQUEST_READ);

        r.devices = list;
        r.n_devices = n;
        r.what = what;
        return r;
}

START_TEST(test_read) {
        const PciAddress list[] = { address(NIC), address("0000:00:1f.0"), address(GPU) };
        HostRequest r =
                read_request(list, 3,
                             HOST_READ_CONFIG | HOST_READ_LIVE | HOST_READ_USE | HOST_READ_GROUP |
                                     HOST_READ_SLOT | HOST_READ_VPD | HOST_READ_HOLDERS);

        (void) submit(&r);
        run_until(&heard.finished);
        ck_assert_int_eq(heard.outcome, HOST_OUTCOME_DONE);
        ck_assert_uint_eq(heard.n_facts, 3);
        ck_assert_int_eq(heard.facts[1].error, -ENODEV);
        ck_assert_int_eq(heard.facts[0].error, 0);
        ck_assert_uint_eq(heard.facts[0].what & r.what, HOST_READ_CONFIG | HOST_READ_LIVE |
                                                                HOST_READ_USE | HOST_READ_VPD |
                                                                HOST_READ_HOLDERS);
        ck_assert_int_eq(heard.facts[0].config->liveness, PCI_LIVENESS_ALIVE);
        ck_assert(heard.facts[0].config->has_power);
        ck_assert_ptr_null(pci_live_override(heard.facts[0].live));
        ck_assert_uint_eq(heard.facts[0].live->attributes[PCI_ATTRIBUTE_DRIVER_OVERRIDE].state,
                          FACT_PRESENT);
        ck_assert_str_eq(heard.facts[0].live->attributes[PCI_ATTRIBUTE_RUNTIME_STATUS].text,
                         "active");
        ck_assert_uint_eq(heard.facts[0].live->vpd_serial.state, FACT_ABSENT);
        ck_assert_uint_eq(heard.n_groups, 2);
        ck_assert_uint_eq(heard.group.id, 10);
        ck_assert_str_eq(heard.group.type, "DMA-FQ");
        ck_assert_uint_eq(heard.group.n_regions, 1);
}
END_TEST

/* A device whose config space never answers costs its worker; the others' facts come. */
START_TEST(test_read_hangs) {
        const PciAddress list[] = { address(NIC), address(DISK), address(GPU) };
        HostRequest r = read_request(list, 3, HOST_READ_CONFIG);
        _cleanup_free_
        char *fifo = strjoinf("%s/sys/devices/pci0000:00/" DISK "/config", tree_root(tree));
        int fd;

        ck_assert_int_eq(unlink(fifo), 0);
        ck_assert_int_eq(mkfifo(fifo, 0600), 0);
        (void) submit(&r);
        run_until(&heard.finished);
        ck_assert_int_eq(heard.outcome, HOST_OUTCOME_DONE);
        ck_assert_uint_eq(heard.n_facts, 3);
        ck_assert_ptr_nonnull(heard.facts[0].config);
        ck_assert_int_eq(heard.facts[1].error, -ETIMEDOUT);
        ck_assert(pci_address_equal(heard.facts[1].address, address(DISK)));
        ck_assert_ptr_nonnull(heard.facts[2].config);
        /* As long as that worker hangs, no other follows it. */
        r = read_request(list + 1, 1, HOST_READ_CONFIG | HOST_READ_USE);
        (void) submit(&r);
        run_until(&heard.finished);
        ck_assert_uint_eq(heard.n_facts, 4);
        ck_assert_int_eq(heard.facts[3].error, -ETIMEDOUT);
        ck_assert_ptr_nonnull(heard.facts[3].use);
        fd = open(fifo, O_WRONLY | O_CLOEXEC); /* lets the worker go on to its end */
        ck_assert_int_ge(fd, 0);
        (void) close(fd);
}
END_TEST

/* ---- plans ---- */

START_TEST(test_assign_and_release) {
        _cleanup_(plan_freep) Plan *assign = assign_plan(), *release = release_plan();

        run_plan(assign, false);
        ck_assert_msg(heard.outcome == HOST_OUTCOME_DONE, "%s", heard.message);
        ck_assert_uint_eq(heard.started, assign->n_steps);
        ck_assert_uint_eq(heard.done, assign->n_steps);
        assert_driver(NIC, "vfio-pci");
        assert_override("vfio-pci");
        ck_assert(!host_group_locked(host, 7));
        run_plan(release, false);
        ck_assert_msg(heard.outcome == HOST_OUTCOME_DONE, "%s", heard.message);
        assert_driver(NIC, "virtio-pci");
        assert_override("");
        ck_assert_uint_eq(heard.n_facts, 1);
}
END_TEST

START_TEST(test_rollback) {
        _cleanup_(plan_freep) Plan *p = plan_new(PLAN_ASSIGN);

        (void) add_device(p, NIC, 7);
        add_step(p, STEP_UNBIND, "virtio-pci", "virtio-pci", NULL);
        add_step(p, STEP_SET_OVERRIDE, "vfio-pci", "", NULL);
        add_step(p, STEP_PROBE, NULL, "vfio-pci", "vfio-pci");
        add_step(p, STEP_VERIFY, NULL, NULL, "other"); /* does not hold */
        run_plan(p, false);
        ck_assert_int_eq(heard.outcome, HOST_OUTCOME_ROLLED_BACK);
        ck_assert_uint_eq(heard.failed_step, 3);
        ck_assert_uint_eq(heard.undone, 3);
        ck_assert_int_eq(heard.code, ERROR_FAILED);
        ck_assert_ptr_nonnull(strstr(heard.message, NIC));
        assert_driver(NIC, "virtio-pci");
        assert_override("");
}
END_TEST

/* The write is taken and nothing binds: seen by reading back, and undone. */
START_TEST(test_no_effect) {
        _cleanup_(plan_freep) Plan *p = plan_new(PLAN_ASSIGN);

        (void) add_device(p, SPARE, 9);
        tree_ignore_changes(tree, 1);
        add_step(p, STEP_SET_OVERRIDE, "vfio-pci", "", NULL);
        add_step(p, STEP_PROBE, NULL, "vfio-pci", "vfio-pci");
        run_plan(p, false);
        ck_assert_int_eq(heard.outcome, HOST_OUTCOME_ROLLED_BACK);
        ck_assert_uint_eq(heard.failed_step, 1);
        assert_driver(SPARE, "");
}
END_TEST

/* Another driver won the probe: it does not stay on a function that had none. */
START_TEST(test_wrong_driver) {
        _cleanup_(plan_freep) Plan *p = plan_new(PLAN_ASSIGN);

        (void) add_device(p, SPARE, 9);
        add_step(p, STEP_PROBE, NULL, "vfio-pci", "vfio-pci");
        run_plan(p, false);
        ck_assert_int_eq(heard.outcome, HOST_OUTCOME_ROLLED_BACK);
        ck_assert_uint_eq(heard.failed_step, 0);
        ck_assert_ptr_nonnull(strstr(heard.message, "virtio-pci"));
        assert_driver(SPARE, "");
}
END_TEST

static const struct {
        const char *name, *override, *driver;
} half_done[] = {
        { "nothing was done", "", "virtio-pci" },
        { "it was unbound", "", NULL },
        { "the override was set", "vfio-pci", NULL },
        { "it was bound to vfio-pci", "vfio-pci", "vfio-pci" },
};

static void make_half_done(size_t i) {
        static const char function[] = "sys/devices/pci0000:00/" BRIDGE "/" NIC;
        _cleanup_free_ char *override = strjoinf("%s/driver_override", function);
        _cleanup_free_ char *driver = strjoinf("%s/driver", function);
        _cleanup_free_
        char *target = strjoinf("../../../bus/pci/drivers/%s", strempty(half_done[i].driver));

        tree_write(tree, override, half_done[i].override[0] ? half_done[i].override : "(null)\n");
        tree_remove(tree, driver);
        if (half_done[i].driver)
                tree_link(tree, driver, target);
}

/* Whatever an assignment had done when it crashed, recovery puts the function back. */
START_TEST(test_recover_assign) {
        _cleanup_(plan_freep) Plan *p = assign_plan();

        make_half_done((size_t) _i);
        run_plan(p, true);
        ck_assert_msg(heard.outcome == HOST_OUTCOME_ROLLED_BACK && heard.error == 0, "%s: %s",
                      half_done[_i].name, heard.message);
        assert_driver(NIC, "virtio-pci");
        assert_override("");
}
END_TEST

/* A release that crashed is done to its end. */
START_TEST(test_recover_release) {
        _cleanup_(plan_freep) Plan *p = release_plan();

        make_half_done((size_t) _i);
        run_plan(p, true);
        ck_assert_msg(heard.outcome == HOST_OUTCOME_DONE, "%s: %s", half_done[_i].name,
                      heard.message);
        assert_driver(NIC, "virtio-pci");
        assert_override("");
}
END_TEST

/* Of the last device told: the override as the release left it. */
static void assert_told(const char *expected) {
        const HostDeviceFacts *f = heard.facts + heard.n_facts - 1;

        ck_assert_uint_gt(heard.n_facts, 0);
        ck_assert_uint_eq(f->what, 0);
        ck_assert(pci_address_equal(f->address, address(NIC)));
        ck_assert_ptr_nonnull(f->live);
        ck_assert_uint_eq(f->live->attributes[PCI_ATTRIBUTE_DRIVER_OVERRIDE].state, FACT_PRESENT);
        ck_assert_str_eq(strempty(pci_live_override(f->live)), expected);
}

#define OVERRIDE "sys/devices/pci0000:00/" BRIDGE "/" NIC "/driver_override"

/* Somebody else's override is never overwritten: the release leaves and tells it. */
START_TEST(test_foreign_override_stays) {
        _cleanup_(plan_freep) Plan *assign = assign_plan(), *release = plan_new(PLAN_RELEASE);

        run_plan(assign, false);
        ck_assert_int_eq(heard.outcome, HOST_OUTCOME_DONE);
        ck_assert_uint_eq(heard.n_facts, 0);
        tree_write(tree, OVERRIDE, "igb_uio\n");
        (void) add_device(release, NIC, 7);
        add_step(release, STEP_UNBIND, "vfio-pci", NULL, NULL);
        add_step(release, STEP_SET_OVERRIDE, "", "vfio-pci", NULL);
        add_step(release, STEP_VERIFY, NULL, NULL, "");
        run_plan(release, false);
        ck_assert_msg(heard.outcome == HOST_OUTCOME_DONE, "%s", heard.message);
        assert_override("igb_uio");
        assert_told("igb_uio");
        assert_driver(NIC, "");
}
END_TEST

/* Set between the reading of the facts and the write: the plan was made for another one. */
START_TEST(test_foreign_override_fails_an_assignment) {
        _cleanup_(plan_freep) Plan *p = assign_plan();

        tree_write(tree, OVERRIDE, "virtio-pci\n");
        run_plan(p, false);
        ck_assert_int_eq(heard.outcome, HOST_OUTCOME_ROLLED_BACK);
        ck_assert_int_eq(heard.code, ERROR_PLAN_STALE);
        ck_assert_ptr_nonnull(strstr(heard.message, "its driver_override is virtio-pci"));
        assert_driver(NIC, "virtio-pci");
        assert_override("virtio-pci");
}
END_TEST

/* And after it: the undo finds a third one, and leaves it. */
START_TEST(test_foreign_override_stays_in_an_undo) {
        _cleanup_(plan_freep) Plan *p = assign_plan();

        make_half_done(2);
        tree_write(tree, OVERRIDE, "virtio-pci\n");
        run_plan(p, true);
        ck_assert_msg(heard.outcome == HOST_OUTCOME_ROLLED_BACK && heard.error == 0, "%s",
                      heard.message);
        assert_driver(NIC, "virtio-pci");
        assert_override("virtio-pci");
}
END_TEST

START_TEST(test_identity) {
        _cleanup_(plan_freep) Plan *p = assign_plan();

        p->devices[0].device = 0x1042;
        run_plan(p, false);
        ck_assert_int_eq(heard.outcome, HOST_OUTCOME_ROLLED_BACK);
        ck_assert_int_eq(heard.code, ERROR_PLAN_STALE);
        assert_driver(NIC, "virtio-pci");
        assert_override("");
}
END_TEST

START_TEST(test_cancel) {
        _cleanup_(plan_freep) Plan *p = plan_new(PLAN_RESET);
        uint8_t ones[64];
        HostJob *job;

        memset(ones, 0xff, sizeof(ones));
        tree_write_bytes(tree, "sys/devices/pci0000:00/" BRIDGE "/" NIC "/config", ones,
                         sizeof(ones));
        (void) add_device(p, NIC, 7);
        add_step(p, STEP_AWAIT_READY, NULL, NULL, NULL);
        job = submit_plan(p, false);
        while (heard.started == 0)
                ck_assert_int_ge(sd_event_run(event, UINT64_MAX), 0);
        host_cancel(job);
        run_until(&heard.finished);
        ck_assert_int_eq(heard.outcome, HOST_OUTCOME_ROLLED_BACK);
        ck_assert_int_eq(heard.error, -ECANCELED);
}
END_TEST

/* ---- locks, deadlines, death ---- */

START_TEST(test_lock) {
        _cleanup_free_
        char *own = strjoinf("%s/worker", tree_runtime(tree)),
             *directory = strjoinf("%s/lock", own);
        _cleanup_free_ char *file = strjoinf("%s/7", directory);
        _cleanup_(plan_freep) Plan *p = assign_plan();
        HostRequest r = request_of(HOST_REQUEST_PLAN);
        HostJob *job;
        int fd;

        ck_assert_int_eq(mkdir(own, 0755), 0);
        ck_assert_int_eq(mkdir(directory, 0755), 0);
        fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
        ck_assert_int_ge(fd, 0);
        ck_assert(!host_group_locked(host, 7));
        ck_assert_int_eq(flock(fd, LOCK_EX | LOCK_NB), 0);
        ck_assert(host_group_locked(host, 7));
        ck_assert(!host_group_locked(host, 8));
        r.plan = p;
        ck_assert_int_eq(host_submit(host, &r, &callbacks, NULL, &job), -EAGAIN);
        (void) close(fd);
        run_plan(p, false);
        ck_assert_int_eq(heard.outcome, HOST_OUTCOME_DONE);
}
END_TEST

static void block_probe(void) {
        _cleanup_free_ char *fifo = strjoinf("%s/sys/bus/pci/drivers_probe", tree_root(tree));

        ck_assert_int_eq(unlink(fifo), 0);
        ck_assert_int_eq(mkfifo(fifo, 0600), 0);
}

static Plan *probe_plan(void) {
        Plan *p = plan_new(PLAN_ASSIGN);

        (void) add_device(p, SPARE, 9);
        add_step(p, STEP_PROBE, NULL, "vfio-pci", "vfio-pci");
        p->steps[0].timeout_msec = 100;
        return p;
}

/* A write that does not come back: the outcome is unknown, the group stays taken, until the worker
 * ends. */
START_TEST(test_unknown) {
        _cleanup_free_ char *fifo = strjoinf("%s/sys/bus/pci/drivers_probe", tree_root(tree));
        _cleanup_(plan_freep) Plan *p = probe_plan();
        HostRequest r = request_of(HOST_REQUEST_PLAN);
        HostJob *job;
        int fd;

        block_probe();
        run_plan(p, false);
        ck_assert_int_eq(heard.outcome, HOST_OUTCOME_UNKNOWN);
        ck_assert_int_eq(heard.code, ERROR_STUCK);
        ck_assert(!heard.ended);
        ck_assert(host_group_locked(host, 9));
        r.plan = p;
        ck_assert_int_eq(host_submit(host, &r, &callbacks, NULL, &job), -EAGAIN);
        fd = open(fifo, O_RDONLY | O_CLOEXEC);
        ck_assert_int_ge(fd, 0);
        run_until(&heard.ended);
        ck_assert(!host_group_locked(host, 9));
        (void) close(fd);
}
END_TEST

/* A detached job's worker stops; its group is free when it has ended, and nobody is called. */
START_TEST(test_detach) {
        _cleanup_free_ char *fifo = strjoinf("%s/sys/bus/pci/drivers_probe", tree_root(tree));
        _cleanup_(plan_freep) Plan *p = probe_plan();
        HostJob *job;
        int fd;

        block_probe();
        job = submit_plan(p, false);
        while (heard.started == 0)
                ck_assert_int_ge(sd_event_run(event, UINT64_MAX), 0);
        host_detach(job);
        ck_assert(host_group_locked(host, 9));
        fd = open(fifo, O_RDONLY | O_CLOEXEC);
        ck_assert_int_ge(fd, 0);
        while (host_group_locked(host, 9))
                ck_assert_int_ge(sd_event_run(event, UINT64_MAX), 0);
        ck_assert(!heard.finished && !heard.ended);
        (void) close(fd);
}
END_TEST

START_TEST(test_no_worker) {
        const HostKernelOptions options = {
                .root = tree_root(tree),
                .runtime_dir = tree_runtime(tree),
                .worker_path = "/bin/false", /* starts, and says nothing */
                .max_workers = 1,
                .step_timeout_msec = 1000,
        };
        HostRequest r = request_of(HOST_REQUEST_PLATFORM);

        host = host_free(host);
        ck_assert_int_eq(host_kernel_new(event, &options, &host), 0);
        (void) submit(&r);
        run_until(&heard.finished);
        ck_assert_int_eq(heard.outcome, HOST_OUTCOME_FAILED);
        ck_assert_int_lt(heard.error, 0);
        ck_assert_str_ne(heard.message, "");
}
END_TEST

START_TEST(test_busy) {
        HostRequest r = request_of(HOST_REQUEST_PLATFORM);
        HostJob *job;

        for (unsigned i = 0; i < 4; i++)
                ck_assert_int_eq(host_submit(host, &r, &callbacks, NULL, &job), 0);
        ck_assert_int_eq(host_submit(host, &r, &callbacks, NULL, &job), -EBUSY);
}
END_TEST

/* ---- the rest ---- */

START_TEST(test_platform) {
        HostRequest r = request_of(HOST_REQUEST_PLATFORM);

        tree_write(tree, "proc/cmdline", "quiet intel_iommu=on intremap=off\n");
        tree_write(tree, "sys/kernel/security/lockdown", "none [integrity] confidentiality\n");
        tree_write(tree, "sys/class/iommu/dmar0/intel-iommu/ecap", "f00048\n");
        (void) submit(&r);
        run_until(&heard.finished);
        ck_assert_int_eq(heard.outcome, HOST_OUTCOME_DONE);
        ck_assert_str_eq(heard.platform.lockdown, "integrity");
        ck_assert_str_eq(heard.platform.cmdline, "quiet intel_iommu=on intremap=off");
        ck_assert_int_eq(heard.platform.interrupt_remapping, 0);
        ck_assert_int_eq(heard.platform.iommu_present, 1);
        ck_assert_int_eq(heard.platform.vfio_pci_loaded, 1);
}
END_TEST

START_TEST(test_snapshot) {
        HostRequest r = request_of(HOST_REQUEST_SNAPSHOT);
        _cleanup_(snapshot_freep) Snapshot *s = NULL;
        _cleanup_error_ Error err = ERROR_INIT;
        _cleanup_free_ char *text = NULL;
        char path[32];
        size_t n;

        (void) submit(&r);
        run_until(&heard.finished);
        ck_assert_msg(heard.outcome == HOST_OUTCOME_DONE, "%s", heard.message);
        ck_assert_int_ge(heard.fd, 0);
        (void) snprintf(path, sizeof(path), "/proc/self/fd/%d", heard.fd);
        ck_assert_int_eq(read_file_at(AT_FDCWD, path, SNAPSHOT_SIZE_MAX, &text, &n), 0);
        ck_assert_msg(snapshot_parse(text, n, &err, &s) == 0, "%s", err.message);
        ck_assert_uint_eq(s->n_devices, ELEMENTSOF(devices));
        ck_assert_uint_eq(s->n_groups, 5);
        ck_assert_str_eq(s->devices[3].links[PCI_LINK_DRIVER].text, "virtio-pci");
        ck_assert_ptr_nonnull(s->devices[3].config);
}
END_TEST

/* One function whose driver holds the lock: it is whole but for what waits for that, and so are all
 * others. */
START_TEST(test_snapshot_hangs) {
        HostRequest r = request_of(HOST_REQUEST_SNAPSHOT);
        _cleanup_(snapshot_freep) Snapshot *s = NULL;
        _cleanup_error_ Error err = ERROR_INIT;
        _cleanup_free_ char *text = NULL, *fifo = NULL;
        const SnapshotDevice *disk = NULL;
        char path[32];
        size_t n;
        int fd;

        fifo = strjoinf("%s/sys/devices/pci0000:00/" DISK "/config", tree_root(tree));
        ck_assert_int_eq(unlink(fifo), 0);
        ck_assert_int_eq(mkfifo(fifo, 0600), 0);
        (void) submit(&r);
        run_until(&heard.finished);
        ck_assert_msg(heard.outcome == HOST_OUTCOME_DONE, "%s", heard.message);
        (void) snprintf(path, sizeof(path), "/proc/self/fd/%d", heard.fd);
        ck_assert_int_eq(read_file_at(AT_FDCWD, path, SNAPSHOT_SIZE_MAX, &text, &n), 0);
        ck_assert_msg(snapshot_parse(text, n, &err, &s) == 0, "%s", err.message);
        ck_assert_uint_eq(s->n_devices, ELEMENTSOF(devices));
        for (size_t i = 0; i < s->n_devices; i++) {
                const SnapshotDevice *d = s->devices + i;
                bool stuck = pci_address_equal(d->address, address(DISK));

                ck_assert_int_eq(d->config_error, stuck ? ETIMEDOUT : 0);
                ck_assert_int_eq(d->attributes[PCI_ATTRIBUTE_DRIVER_OVERRIDE].error == ETIMEDOUT,
                                 stuck);
                ck_assert_ptr_nonnull(d->attributes[PCI_ATTRIBUTE_VENDOR].text);
                disk = stuck ? d : disk;
        }
        ck_assert_ptr_nonnull(disk);
        ck_assert_int_eq(disk->attributes[PCI_ATTRIBUTE_SRIOV_NUMVFS].error, 0); /* it has none */
        fd = open(fifo, O_WRONLY | O_CLOEXEC); /* lets the worker go on to its end */
        ck_assert_int_ge(fd, 0);
        (void) close(fd);
}
END_TEST

START_TEST(test_choose_driver) {
        static const char aliases[] =
                "# a comment\n"
                "alias pci:v* other\n"
                "alias vfio_pci:v*d*sv*sd*bc*sc*i* vfio_pci\n"
                "alias vfio_pci:v00001AF4d00001041sv*sd*bc*sc*i* virtio_vfio_pci\n";
        char name[PCI_DRIVER_NAME_MAX];
        PciFacts f;

        tree_write(tree, "lib/modules/1.2.3/modules.alias", aliases);
        tree_write_bytes(tree, "lib/modules/1.2.3/modules.builtin.modinfo",
                         "x.alias=y\0x.license=GPL", 24);
        pci_facts_init(&f, address(NIC));
        ck_assert_int_eq(host_refresh(host, &f, HOST_REFRESH_COLD), 0);
        ck_assert_int_eq(host_choose_driver(host, &f, name, sizeof(name)), 0);
        ck_assert_str_eq(name, "virtio_vfio_pci");
        f.device = 1;
        ck_assert_int_eq(host_choose_driver(host, &f, name, sizeof(name)), 0);
        ck_assert_str_eq(name, "vfio-pci");
        pci_facts_done(&f);
}
END_TEST

/* An owner's process: its limit is raised and never lowered, and it can be ended. */
START_TEST(test_process) {
        HostRequest r = request_of(HOST_REQUEST_PROCESS);
        struct rlimit before = { 65536, 0 }, after;
        pid_t child = fork();
        siginfo_t si;

        if (child == 0) {
                (void) pause();
                _exit(0);
        }
        r.pidfd = pidfd_open(child, 0);
        ck_assert_int_ge(r.pidfd, 0);
        /* Only within the hard limit: to go above it takes a capability that a build machine may
         * lack. */
        ck_assert_int_eq(prlimit(child, RLIMIT_MEMLOCK, NULL, &after), 0);
        before.rlim_max = after.rlim_max;
        ck_assert_int_eq(prlimit(child, RLIMIT_MEMLOCK, &before, NULL), 0);
        r.memlock = 2 * before.rlim_cur;
        (void) submit(&r);
        run_until(&heard.finished);
        ck_assert_msg(heard.outcome == HOST_OUTCOME_DONE, "%s", heard.message);
        ck_assert_int_eq(prlimit(child, RLIMIT_MEMLOCK, NULL, &after), 0);
        ck_assert(after.rlim_cur == r.memlock && after.rlim_max == before.rlim_max);
        r.memlock = 0;
        r.signal = SIGKILL; /* SIGTERM would meet a handler of Check */
        (void) submit(&r);
        run_until(&heard.finished);
        ck_assert_int_eq(heard.outcome, HOST_OUTCOME_DONE);
        ck_assert_int_eq(waitid(P_PIDFD, (id_t) r.pidfd, &si, WEXITED), 0);
        ck_assert_int_eq(si.si_status, SIGKILL);
        (void) submit(&r); /* it has ended */
        run_until(&heard.finished);
        ck_assert_int_eq(heard.outcome, HOST_OUTCOME_FAILED);
        ck_assert_int_eq(heard.error, -ESRCH);
        (void) close(r.pidfd);
}
END_TEST

/* A made tree has nodes, but no VFIO behind them: a refusal that says so. */
START_TEST(test_open) {
        HostOpenDevice d = { .address = address(NIC), .group = 7, .want_device = true };
        HostRequest r = request_of(HOST_REQUEST_OPEN);

        r.open_devices = &d;
        r.n_open_devices = 1;
        r.want_container = r.want_groups = true;
        (void) submit(&r);
        run_until(&heard.finished);
        ck_assert_int_eq(heard.outcome, HOST_OUTCOME_FAILED);
        ck_assert_int_eq(heard.code, ERROR_NOT_SUPPORTED);
        ck_assert_str_ne(heard.message, "");
}
END_TEST

START_TEST(test_prepare) {
        HostRequest r = request_of(HOST_REQUEST_PREPARE);

        (void) submit(&r);
        run_until(&heard.finished);
        ck_assert_int_eq(heard.outcome, HOST_OUTCOME_DONE);
}
END_TEST

/* Workers that are done serve on: many jobs in a row start no more than a few processes. */
START_TEST(test_workers_stay) {
        HostRequest r = request_of(HOST_REQUEST_PREPARE);
        int fd = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        char **names;

        for (unsigned i = 0; i < 50; i++) {
                (void) submit(&r);
                run_until(&heard.finished);
        }
        /* Descriptors: standard ones, the loop's, the tree's, and two for each worker; nothing
         * grows with the jobs. */
        ck_assert_int_eq(read_dir_names_at(fd, ".", 40, false, &names), 0);
        (void) close(fd);
        strv_free(names);
}
END_TEST

static void on_timer(void *userdata) {
        *(bool *) userdata = true;
}

START_TEST(test_timer) {
        HostTimer *t;
        bool fired = false;

        ck_assert_int_eq(host_timer_new(host, on_timer, &fired, &t), 0);
        ck_assert_int_eq(host_timer_set(t, USEC_INFINITY), 0);
        ck_assert_int_ge(host_timer_set(t, host_now(host) + 5 * USEC_PER_MSEC), 0);
        run_until(&fired);
        host_timer_free(t);
}
END_TEST

static void setup_hasty(void) {
        setup_with(300);
}

static int run_all(void) {
        Suite *suite = suite_create("kernel-host");
        TCase *normal = tcase_create("made tree"), *hasty = tcase_create("short deadlines");
        SRunner *runner;
        int failed;

        tcase_set_timeout(normal, UNIT_TIMEOUT_SEC);
        tcase_add_checked_fixture(normal, setup, teardown);
        tcase_add_test(normal, test_scan);
        tcase_add_test(normal, test_refresh);
        ADD_TABLE(normal, test_events, events);
        tcase_add_test(normal, test_read);
        tcase_add_test(normal, test_assign_and_release);
        tcase_add_test(normal, test_rollback);
        tcase_add_test(normal, test_no_effect);
        tcase_add_test(normal, test_wrong_driver);
        ADD_TABLE(normal, test_recover_assign, half_done);
        ADD_TABLE(normal, test_recover_release, half_done);
        tcase_add_test(normal, test_foreign_override_stays);
        tcase_add_test(normal, test_foreign_override_fails_an_assignment);
        tcase_add_test(normal, test_foreign_override_stays_in_an_undo);
        tcase_add_test(normal, test_identity);
        tcase_add_test(normal, test_cancel);
        tcase_add_test(normal, test_lock);
        tcase_add_test(normal, test_no_worker);
        tcase_add_test(normal, test_busy);
        tcase_add_test(normal, test_platform);
        tcase_add_test(normal, test_snapshot);
        tcase_add_test(normal, test_choose_driver);
        tcase_add_test(normal, test_process);
        tcase_add_test(normal, test_open);
        tcase_add_test(normal, test_prepare);
        tcase_add_test(normal, test_workers_stay);
        tcase_add_test(normal, test_timer);
        suite_add_tcase(suite, normal);
        tcase_set_timeout(hasty, UNIT_TIMEOUT_SEC);
        tcase_add_checked_fixture(hasty, setup_hasty, teardown);
        tcase_add_test(hasty, test_read_hangs);
        tcase_add_test(hasty, test_snapshot_hangs);
        tcase_add_test(hasty, test_unknown);
        tcase_add_test(hasty, test_detach);
        suite_add_tcase(suite, hasty);
        runner = srunner_create(suite);
        srunner_run_all(runner, CK_ENV);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(void) {
        return run_all();
}
