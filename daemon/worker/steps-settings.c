/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Steps that set what a rule asks for and a release takes back: D3cold, No Snoop, the IOMMU domain
 * type, the size of a BAR, and who may take new virtual functions; and the wait for those. Each
 * writes only where something else shows and reads back. On its way home a device that does not
 * take its setting back goes home all the same: that is told as evidence, not as a failure.
 */

#include <assert.h>
#include <fcntl.h>
#include <linux/pci_regs.h>

#include "base/clock.h"
#include "base/fdio.h"
#include "base/strutil.h"
#include "pci/facts.h"
#include "worker/steps.h"

#define POLL_MSEC 10U

/* ---- virtual functions ---- */

/* Links virtfn0 … of the physical function; where it has an IOMMU group, each of them has one
 * too. */
static bool vf_is_there(const StepRun *s, uint32_t i, bool grouped) {
        char path[48], name[32];

        (void) snprintf(path, sizeof(path), "virtfn%u%s", i, grouped ? "/iommu_group" : "");
        return readlink_base_at(s->fd, path, name, sizeof(name)) >= 0;
}

int step_do_await_vfs(StepRun *s) {
        uint32_t timeout =
                s->step->timeout_msec > 0 ? s->step->timeout_msec : PLAN_STEP_TIMEOUT_DEFAULT_MSEC;
        usec_t until = now_boottime() + timeout * USEC_PER_MSEC;
        char name[32];
        bool grouped = readlink_base_at(s->fd, "iommu_group", name, sizeof(name)) >= 0;
        uint32_t n, i = 0;

        if (parse_u32(strempty(s->step->value), 10, UINT16_MAX, &n) < 0)
                return -EINVAL;
        /* The kernel has made them when the write of their number returns; an IOMMU driver may be
         * late. */
        for (;;) {
                while (i < n && vf_is_there(s, i, grouped))
                        i++;
                if (i == n)
                        return 0;
                if (now_boottime() >= until) {
                        (void) snprintf(s->detail, sizeof(s->detail),
                                        "virtual function %u of %u is not there", i + 1, n);
                        return -ETIMEDOUT;
                }
                if (!worker_pause(s->w, POLL_MSEC))
                        return -ECANCELED;
        }
}

/* ---- No Snoop ---- */

/* Device Control of the PCI Express capability (PCIe 7.5.3.4), Enable No Snoop. */
static int set_nosnoop(StepRun *s, const char *value) {
        _cleanup_close_ int fd = -EBADF;
        uint8_t bytes[2];
        uint16_t offset, control, wanted;
        PciConfig c;
        int r;

        if (!streq(value, "0") && !streq(value, "1"))
                return -EINVAL;
        r = worker_read_config(s->fd, &c);
        if (r < 0)
                return r == -ENOENT ? -ENODEV : r;
        offset = pci_config_find(&c, PCI_CAP_ID_EXP, 0);
        if (pci_config_liveness(&c) != PCI_LIVENESS_ALIVE)
                return -EIO;
        if (offset == 0)
                return -ENOENT;
        fd = openat(s->fd, "config", O_RDWR | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        for (unsigned attempt = 0;; attempt++) {
                if (loop_pread(fd, bytes, 2, offset + PCI_EXP_DEVCTL) != 2)
                        return -EIO;
                control = (uint16_t) (bytes[0] | bytes[1] << 8);
                wanted = (uint16_t) (value[0] == '1' ? control | PCI_EXP_DEVCTL_NOSNOOP_EN
                                                     : control & ~PCI_EXP_DEVCTL_NOSNOOP_EN);
                if (control == wanted)
                        return 0;
                if (attempt > 0)
                        return -STEP_ERROR_READ_BACK; /* hard-wired to 0 is allowed */
                bytes[0] = (uint8_t) wanted;
                bytes[1] = (uint8_t) (wanted >> 8);
                if (pwrite(fd, bytes, 2, offset + PCI_EXP_DEVCTL) != 2)
                        return errno > 0 ? -errno : -EIO;
        }
}

/* Config space of a device that sleeps is written for nothing: a resume restores what was saved. */
static int set_nosnoop_awake(StepRun *s, const char *value) {
        char power[PCI_ATTRIBUTE_TEXT_MAX];
        ssize_t n = read_attr_at(s->fd, "power/control", power, sizeof(power));
        int r, back = 0;

        if (n >= 0 && !streq(power, "on")) {
                r = step_set_attribute(s, "power/control", "on");
                if (r < 0)
                        return r;
        }
        r = set_nosnoop(s, value);
        if (n >= 0 && !streq(power, "on"))
                back = step_set_attribute(s, "power/control", power);
        return r < 0 ? r : back;
}

/* ---- BARs ---- */

/* The size of a BAR by its line of `resource`: "0xSTART 0xEND 0xFLAGS". */
static int read_bar_size(const StepRun *s, unsigned bar, uint64_t *ret) {
        char text[4096];
        ssize_t n = read_attr_at(s->fd, "resource", text, sizeof(text));
        PciFacts f;
        int r;

        if (n < 0)
                return (int) n;
        pci_facts_init(&f, s->step->device);
        r = pci_facts_set_attribute(&f, PCI_ATTRIBUTE_RESOURCE, text, 0);
        *ret = r >= 0 ? pci_facts_resource(&f, bar)->size : 0;
        pci_facts_done(&f);
        return r;
}

static int resize_bar(StepRun *s, const char *value) {
        char path[32], bit[16];
        unsigned bar, size;
        uint64_t now;
        int r;

        r = step_parse_resize(value, &bar, &size);
        if (r >= 0)
                r = read_bar_size(s, bar, &now);
        if (r < 0)
                return r;
        if (now == UINT64_C(1) << (20 + size))
                return 0;
        (void) snprintf(path, sizeof(path), "resource%u_resize", bar);
        (void) snprintf(bit, sizeof(bit), "%u", size);
        r = step_write(s->fd, path, bit);
        if (r >= 0)
                r = read_bar_size(s, bar, &now);
        if (r < 0)
                return r;
        if (now == UINT64_C(1) << (20 + size))
                return 0;
        (void) snprintf(s->detail, sizeof(s->detail), "its size is %llu bytes",
                        (unsigned long long) now);
        return -STEP_ERROR_READ_BACK;
}

/* ---- all of them ---- */

static bool is_domain_type(const char *value) {
        return streq(value, "DMA") || streq(value, "DMA-FQ") || streq(value, "identity");
}

static int set(StepRun *s, const char *value) {
        bool flag = streq(value, "0") || streq(value, "1");

        switch (s->step->type) {
        case STEP_SET_AUTOPROBE:
                return flag ? step_set_attribute(s, "sriov_drivers_autoprobe", value) : -EINVAL;
        case STEP_SET_D3COLD:
                return flag ? step_set_attribute(s, "d3cold_allowed", value) : -EINVAL;
        case STEP_SET_NOSNOOP:
                return set_nosnoop_awake(s, value);
        case STEP_SET_DOMAIN_TYPE:
                return is_domain_type(value) ? step_set_attribute(s, "iommu_group/type", value)
                                             : -EINVAL;
        case STEP_RESIZE_BAR:
                return resize_bar(s, value);
        default:
                break;
        }
        return -EBADMSG;
}

int step_do_setting(StepRun *s, const char *value) {
        int r;

        assert(s);
        assert(value);
        r = set(s, value);
        if (r >= 0 || r == -ENODEV || s->plan->kind != PLAN_RELEASE ||
            !step_type_is_setting(s->step->type))
                return r;
        free(s->evidence);
        s->evidence =
                strjoinf("not taken back: %s%s%s",
                         r == -STEP_ERROR_READ_BACK ? "the write changed nothing" : errno_text(r),
                         s->detail[0] ? ", " : "", s->detail);
        return 0;
}
