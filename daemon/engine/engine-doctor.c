/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Doctor: can this host assign devices at all, and if not, what has to be changed. Checks are a
 * table over what a worker found of the platform and over the inventory; the worst result is the
 * exit code.
 */

#include <assert.h>

#include "engine/engine-kept.h"

typedef enum CheckResult { CHECK_OK, CHECK_WARN, CHECK_FAIL } CheckResult;

typedef struct Finding {
        CheckResult result;
        char detail[256];
        const char *remedy; /* static */
} Finding;

typedef struct Check {
        const char *id, *title;
        void (*run)(const Engine *e, const HostPlatform *p, Finding *ret);
} Check;

static _printf_(4, 5) void find(Finding *f, CheckResult result, const char *remedy,
                                const char *format, ...) {
        va_list ap;

        f->result = result;
        f->remedy = remedy;
        va_start(ap, format);
        (void) vsnprintf(f->detail, sizeof(f->detail), format, ap);
        va_end(ap);
}

static void check_iommu(const Engine *e, const HostPlatform *p, Finding *ret) {
        bool intel = strstr(p->vendor, "Intel"), amd = strstr(p->vendor, "AMD");

        if (hashmap_size(e->inventory->groups) > 0)
                find(ret, CHECK_OK, NULL, "%zu IOMMU groups, %zu instances",
                     hashmap_size(e->inventory->groups), e->inventory->n_iommus);
        else if (p->iommu_present == 1)
                find(ret, CHECK_FAIL,
                     "see whether the IOMMU's driver is loaded and in the initramfs",
                     "An IOMMU is there but no function is in a group");
        else
                find(ret, CHECK_FAIL,
                     intel ? "turn VT-d on in firmware and boot with intel_iommu=on"
                     : amd ? "turn AMD-Vi (IOMMU) on in firmware"
                           : "turn the IOMMU (SMMU) on in firmware, and load its driver",
                     "No function is in an IOMMU group");
}

static void check_remapping(const Engine *e, const HostPlatform *p, Finding *ret) {
        const char *remedy = "turn interrupt remapping (and x2APIC) on in firmware; do not boot "
                             "with intremap=off";

        if (p->interrupt_remapping == 1)
                find(ret, CHECK_OK, NULL, "Interrupts are remapped");
        else if (p->unsafe_interrupts == 1)
                find(ret, CHECK_WARN, remedy,
                     "vfio_iommu_type1.allow_unsafe_interrupts is on: a guest can inject any "
                     "interrupt into the host");
        else if (p->interrupt_remapping == 0)
                find(ret, CHECK_FAIL, remedy,
                     "Interrupts are not remapped, so VFIO refuses every group");
        else
                find(ret, CHECK_OK, NULL, "Not known; VFIO says it when a group is attached");
}

static void check_vfio(const Engine *e, const HostPlatform *p, Finding *ret) {
        if (p->vfio_pci_available == 0 && p->vfio_pci_loaded != 1)
                find(ret, CHECK_FAIL,
                     "install the modules of the running kernel, or one with CONFIG_VFIO_PCI",
                     "There is no vfio-pci for kernel %s", p->kernel);
        else if (p->vfio_pci_loaded == 0)
                find(ret, CHECK_WARN, "see the journal for why it could not be loaded",
                     "vfio-pci is installed but not loaded");
        else
                find(ret, CHECK_OK, NULL, "vfio-pci of kernel %s is there", p->kernel);
}

static void check_backend(const Engine *e, const HostPlatform *p, Finding *ret) {
        if (p->vfio_container == 0 && p->iommufd == 0)
                find(ret, CHECK_FAIL, "load vfio_iommu_type1, or a kernel with iommufd",
                     "Neither /dev/vfio/vfio nor /dev/iommu is there");
        else
                find(ret, CHECK_OK, NULL, "Group path: %s; cdev and iommufd: %s",
                     p->vfio_group == 0 || p->vfio_container == 0 ? "no" : "yes",
                     p->vfio_cdev == 1 && p->iommufd == 1 ? "yes" : "no");
}

static void check_noiommu(const Engine *e, const HostPlatform *p, Finding *ret) {
        if (p->noiommu_enabled == 1)
                find(ret, CHECK_WARN, "set vfio.enable_unsafe_noiommu_mode=0",
                     "vfio.enable_unsafe_noiommu_mode is on: devices without isolation can be "
                     "opened");
        else
                find(ret, CHECK_OK, NULL, "Devices without an IOMMU cannot be opened");
}

static void check_waiting(const Engine *e, const HostPlatform *p, Finding *ret) {
        size_t waiting = 0;

        for (size_t i = 0; i < e->inventory->n_devices; i++)
                waiting += e->inventory->sorted[i]->facts.waiting_for_supplier;
        if (waiting > 0 || p->virtio_iommu_late == 1)
                find(ret, CHECK_WARN, "put virtio_iommu into the initramfs",
                     "%zu functions wait for their IOMMU's driver", waiting);
        else
                find(ret, CHECK_OK, NULL, "No function waits for its IOMMU");
}

static void check_lockdown(const Engine *e, const HostPlatform *p, Finding *ret) {
        if (streq(p->lockdown, "integrity") || streq(p->lockdown, "confidentiality"))
                find(ret, CHECK_WARN, "boot without lockdown where the missing facts are needed",
                     "The kernel is locked down (%s): config space cannot be written, BARs not "
                     "mapped by resource files",
                     p->lockdown);
        else
                find(ret, CHECK_OK, NULL, "Lockdown: %s", p->lockdown[0] ? p->lockdown : "unknown");
}

static void check_groups(const Engine *e, const HostPlatform *p, Finding *ret) {
        size_t viable = 0, all = 0;
        Group *g;

        HASHMAP_FOREACH(g, e->inventory->groups) {
                all++;
                viable += g->viable;
        }
        if (all == 0 || viable > 0)
                find(ret, CHECK_OK, NULL, "%zu of %zu groups could be assigned", viable, all);
        else
                find(ret, CHECK_WARN, "pciassignctl explain DEVICE says why, for each",
                     "None of %zu groups could be assigned", all);
}

static void check_stuck(const Engine *e, const HostPlatform *p, Finding *ret) {
        size_t stuck = 0, quarantined = 0;

        for (size_t i = 0; i < e->inventory->n_devices; i++) {
                stuck += e->inventory->sorted[i]->stuck;
                quarantined += e->inventory->sorted[i]->quarantine != NULL;
        }
        if (stuck + quarantined > 0)
                find(ret, CHECK_WARN, "pciassignctl list shows them; end what holds a stuck one",
                     "%zu functions are stuck, %zu quarantined", stuck, quarantined);
        else
                find(ret, CHECK_OK, NULL, "No function is stuck or quarantined");
}

static void check_memlock(const Engine *e, const HostPlatform *p, Finding *ret) {
        size_t shared = 0;
        Assignment *a, *b;

        HASHMAP_FOREACH(a, e->inventory->assignments)
                HASHMAP_FOREACH(b, e->inventory->assignments)
                        shared += a != b && a->user_uid != UID_UNSET && a->user_uid == b->user_uid;
        if (shared > 0)
                find(ret, CHECK_WARN,
                     "run each VM under a uid of its own, or hand over by descriptor",
                     "Several assignments give their nodes to the same uid: its processes can open "
                     "each other's");
        else
                find(ret, CHECK_OK, NULL, "No two assignments share a user by node");
}

static void check_kept(const Engine *e, const HostPlatform *p, Finding *ret) {
        size_t problems = strv_length(e->kept.problems);
        const char *directory = host_state_directory(e->host);

        if (e->kept_unread < 0)
                find(ret, CHECK_FAIL, "set its owner and mode right, and restart the service",
                     "%s cannot be read (%s): nothing new is assigned", directory,
                     strerrorname_np(-e->kept_unread));
        else if (engine_kept_trouble(e))
                find(ret, CHECK_FAIL,
                     "see the message; new work is refused until it can be written, releases go on",
                     "%s", engine_kept_trouble(e));
        else if (problems > 0)
                find(ret, CHECK_WARN,
                     "look at the devices, then move the files away and restart the service",
                     "%zu files of %s cannot be used, the first: %s", problems, directory,
                     e->kept.problems[0]);
        else
                find(ret, CHECK_OK, NULL, "%zu devices and %zu reservations are kept in %s",
                     e->kept.n_devices, e->kept.n_reservations, directory);
}

static void check_policy(const Engine *e, const HostPlatform *p, Finding *ret) {
        if (e->policy_refusal)
                find(ret, CHECK_FAIL, "mend the file, then pciassignctl policy reload",
                     "It cannot be read, so nothing is assigned: %s", e->policy_refusal);
        else
                find(ret, CHECK_OK, NULL, "Policy %llu is in force: %zu rules",
                     (unsigned long long) e->policy_generation, policy_n_rules(e->policy));
}

static const Check checks[] = {
        { "iommu", "IOMMU", check_iommu },
        { "interrupt-remapping", "Interrupt remapping", check_remapping },
        { "vfio-pci", "VFIO driver", check_vfio },
        { "vfio-api", "VFIO interfaces", check_backend },
        { "noiommu", "No-IOMMU mode", check_noiommu },
        { "iommu-supplier", "Late IOMMU", check_waiting },
        { "lockdown", "Kernel lockdown", check_lockdown },
        { "groups", "Groups", check_groups },
        { "devices", "Devices", check_stuck },
        { "node-users", "Users of nodes", check_memlock },
        { "state", "Kept state", check_kept },
        { "policy", "Policy", check_policy },
};

static char *doctor_to_text(const Engine *e) {
        static const char *const names[] = {
                [CHECK_OK] = "ok", [CHECK_WARN] = "warn", [CHECK_FAIL] = "fail"
        };
        _cleanup_json_ Json *j = json_new_object();
        Json *list = json_new_array();
        CheckResult worst = CHECK_OK;

        for (size_t i = 0; i < ELEMENTSOF(checks); i++) {
                Json *one = json_new_object();
                Finding f = {};

                checks[i].run(e, &e->platform, &f);
                worst = MAX(worst, f.result);
                (void) json_set_string(one, "id", checks[i].id);
                (void) json_set_string(one, "title", checks[i].title);
                (void) json_set_string(one, "result", names[f.result]);
                (void) json_set_string(one, "detail", f.detail);
                if (f.remedy)
                        (void) json_set_string(one, "remedy", f.remedy);
                (void) json_append(list, one);
        }
        (void) json_set_string(j, "result", names[worst]);
        (void) json_set_u64(j, "exit-code", worst == CHECK_FAIL ? 1 : 0);
        (void) json_set_string(j, "kernel", e->platform.kernel);
        (void) json_set(j, "checks", list);
        return json_to_text(j, false);
}

static void platform_finished(Task *t, const HostResult *result) {
        _cleanup_error_ Error err = ERROR_INIT;
        _cleanup_free_ char *text = NULL;

        if (result->outcome != HOST_OUTCOME_DONE)
                (void) error_from_result(&err, result, "Looking at the platform");
        else {
                text = doctor_to_text(t->engine);
                if (!text)
                        (void) error_set(&err, ERROR_FAILED, "Not enough memory");
        }
        if (err.code != ERROR_NONE)
                task_refuse(t, &err);
        else
                task_answer(t, &(EngineAnswer) { .json = text });
        if (result->outcome != HOST_OUTCOME_UNKNOWN)
                task_free(t);
}

int engine_doctor(Engine *e, const Caller *c, EngineReply reply, void *userdata, Error *err) {
        Task *t;

        assert(e);
        assert(c);
        if (task_new(e, c, reply, userdata, &t) < 0)
                return error_set(err, ERROR_FAILED, "Not enough memory");
        t->request.type = HOST_REQUEST_PLATFORM;
        if (task_run(t, platform_finished) < 0) {
                task_free(t);
                return error_set(err, ERROR_BUSY, "Too much is waiting for a worker; try again");
        }
        return 0;
}
