/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Steps that change the device itself, or only look at it: reset, waiting until it answers, virtual
 * functions, and the last look. A reset through sysfs succeeds while a VFIO user has the device
 * open and pulls the hardware from under it, so it is refused unless nobody holds the device.
 */

#include <assert.h>
#include <fcntl.h>

#include "base/clock.h"
#include "base/fdio.h"
#include "base/strutil.h"
#include "worker/steps.h"

#define READY_POLL_MIN_MSEC 10U
#define READY_POLL_MAX_MSEC 500U

static bool method_is_valid(const char *method) {
        static const char *const methods[] = { "device_specific", "acpi", "flr",
                                               "af_flr",          "pm",   "bus",
                                               "cxl_bus" };

        for (size_t i = 0; i < ELEMENTSOF(methods); i++)
                if (streq(methods[i], method))
                        return true;
        return false;
}

/* One method alone: the kernel's list is narrowed to it for the time of the reset. */
static int reset_by(StepRun *s, const char *method) {
        char before[PCI_ATTRIBUTE_TEXT_MAX];
        ssize_t n;
        int r, back;

        if (!method_is_valid(method))
                return -EINVAL;
        n = read_attr_at(s->fd, "reset_method", before, sizeof(before));
        if (n < 0)
                return n == -ENOENT ? -ENOTTY : (int) n;
        r = step_write(s->fd, "reset_method", method);
        if (r < 0)
                return r;
        r = step_write(s->fd, "reset", "1");
        back = step_write(s->fd, "reset_method", before[0] ? before : "\n");
        return r < 0 ? r : back;
}

int step_do_reset(StepRun *s) {
        int r;

        r = step_do_prove_unheld(s, 0);
        if (r < 0)
                return r;
        r = isempty(s->step->value) ? step_write(s->fd, "reset", "1") : reset_by(s, s->step->value);
        return r == -ENOENT ? -ENOTTY : r;
}

PciLiveness step_look_alive(const StepRun *s) {
        uint32_t registers[2]; /* Vendor and Device ID, Command and Status */
        _cleanup_close_ int fd = openat(s->fd, "config", O_RDONLY | O_CLOEXEC);
        PciConfig c;

        if (fd < 0)
                return PCI_LIVENESS_UNKNOWN;
        pci_config_init(&c, PCI_CONFIG_SIZE);
        /* Each by itself: only a read of the Vendor ID alone is answered while the device asks for
         * a retry. */
        if (loop_pread(fd, registers, 4, 0) != 4)
                return PCI_LIVENESS_UNKNOWN;
        (void) pci_config_set(&c, 0, registers, 4);
        if (loop_pread(fd, registers + 1, 4, 4) == 4)
                (void) pci_config_set(&c, 4, registers + 1, 4);
        return pci_config_liveness(&c);
}

int step_do_await_ready(StepRun *s) {
        uint32_t timeout =
                s->step->timeout_msec > 0 ? s->step->timeout_msec : PLAN_STEP_TIMEOUT_DEFAULT_MSEC;
        usec_t until = now_boottime() + timeout * USEC_PER_MSEC;
        unsigned pause = READY_POLL_MIN_MSEC;

        for (;;) {
                PciLiveness l = step_look_alive(s);

                if (l == PCI_LIVENESS_ALIVE)
                        return 0;
                if (l == PCI_LIVENESS_UNKNOWN)
                        return faccessat(s->fd, "vendor", F_OK, 0) < 0 ? -ENODEV : -EIO;
                if (now_boottime() >= until) {
                        (void) snprintf(s->detail, sizeof(s->detail), "%s",
                                        l == PCI_LIVENESS_RRS ? "it still asks for a retry"
                                                              : "it reads as all-ones");
                        return -ETIMEDOUT;
                }
                if (!worker_pause(s->w, pause))
                        return -ECANCELED;
                pause = MIN(pause * 2, READY_POLL_MAX_MSEC);
        }
}

static bool numvfs_is(const StepRun *s, const char *value) {
        char now[32];

        return read_attr_at(s->fd, "sriov_numvfs", now, sizeof(now)) >= 0 && streq(now, value);
}

int step_do_numvfs(StepRun *s, const char *value) {
        uint32_t n;
        int r;

        if (parse_u32(value, 10, UINT16_MAX, &n) < 0)
                return -EINVAL;
        if (numvfs_is(s, value))
                return 0;
        r = step_write(s->fd, "sriov_numvfs", value);
        if (r < 0)
                return r;
        return step_await(s, numvfs_is, value) ? 0 : -STEP_ERROR_READ_BACK;
}

int step_do_verify(StepRun *s) {
        char group[32];
        uint32_t id;
        int r;

        if (s->step->expect && !step_await(s, step_driver_is, s->step->expect)) {
                r = step_read_driver(s, s->found);
                s->has_found = r >= 0;
                return r < 0 ? r : -STEP_ERROR_READ_BACK;
        }
        r = readlink_base_at(s->fd, "iommu_group", group, sizeof(group));
        if (r < 0 && r != -ENOENT)
                return r;
        if (r < 0 || parse_u32(group, 10, UINT32_MAX, &id) < 0 || id != s->step->group) {
                (void) snprintf(s->detail, sizeof(s->detail), "it is in %s%s",
                                r < 0 ? "no IOMMU group" : "IOMMU group ", r < 0 ? "" : group);
                return -STEP_ERROR_READ_BACK;
        }
        if (s->plan->kind == PLAN_RELEASE)
                worker_report_attribute(s->w, s->step->device, s->fd,
                                        PCI_ATTRIBUTE_DRIVER_OVERRIDE);
        return 0;
}
