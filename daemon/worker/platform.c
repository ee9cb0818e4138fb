/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * PLATFORM: what doctor wants to know of the kernel and the machine as a whole. Each answer is yes,
 * no or unknown; a file that is not there is a "no" only where its absence means that.
 */

#include <assert.h>
#include <fcntl.h>
#include <sys/utsname.h>

#include "base/fdio.h"
#include "base/strutil.h"
#include "worker/worker.h"

#define SECURE_BOOT "firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"

static bool exists(int dir_fd, const char *path) {
        return dir_fd >= 0 && faccessat(dir_fd, path, F_OK, 0) >= 0;
}

/* Module parameters print Y and N, or 1 and 0. */
static int8_t read_flag(const SysTree *t, const char *path) {
        char text[16];

        if (read_attr_at(t->sys, path, text, sizeof(text)) < 0)
                return -1;
        return text[0] == 'Y' || text[0] == '1' ? 1 : text[0] == 'N' || text[0] == '0' ? 0 : -1;
}

static void read_kernel(const SysTree *t, HostPlatform *p) {
        char text[PCI_ATTRIBUTE_TEXT_MAX];
        struct utsname u;
        ssize_t n;

        n = t->proc >= 0 ? read_attr_at(t->proc, "sys/kernel/osrelease", text, sizeof(text))
                         : -ENOENT;
        if (n > 0)
                (void) string_copy(p->kernel, sizeof(p->kernel), text);
        else if (!t->made && uname(&u) >= 0)
                (void) string_copy(p->kernel, sizeof(p->kernel), u.release);
        if (t->proc >= 0 && read_attr_at(t->proc, "cmdline", text, sizeof(text)) >= 0)
                p->cmdline = strdup(text);
}

/* "none [integrity] confidentiality": the one in brackets. */
static void read_lockdown(const SysTree *t, HostPlatform *p) {
        char text[128], *begin, *end;

        (void) string_copy(p->lockdown, sizeof(p->lockdown), "unknown");
        if (read_attr_at(t->sys, "kernel/security/lockdown", text, sizeof(text)) < 0)
                return;
        begin = strchr(text, '[');
        end = begin ? strchr(begin, ']') : NULL;
        if (end) {
                *end = 0;
                (void) string_copy(p->lockdown, sizeof(p->lockdown), begin + 1);
        }
}

static void read_vendor(const SysTree *t, HostPlatform *p) {
        _cleanup_free_ char *text = NULL;
        char *line, *value;

        if (t->proc < 0 || read_file_at(t->proc, "cpuinfo", 16U << 20, &text, NULL) < 0)
                return;
        line = strstr(text, "vendor_id");
        if (!line) {
                if (strstr(text, "CPU implementer"))
                        (void) string_copy(p->vendor, sizeof(p->vendor), "ARM");
                return;
        }
        value = strchr(line, ':');
        if (!value)
                return;
        value[strcspn(value, "\n")] = 0;
        (void) string_copy(p->vendor, sizeof(p->vendor), string_strip(value + 1));
}

static void read_secure_boot(const SysTree *t, HostPlatform *p) {
        _cleanup_free_ char *data = NULL;
        size_t n;
        int r;

        r = read_file_at(t->sys, SECURE_BOOT, 64, &data, &n);
        /* Four bytes of attributes, then the value. Without EFI there is none. */
        p->secure_boot = r >= 0 && n == 5 ? data[4] == 1 : r == -ENOENT ? 0 : -1;
}

/* Capability of the hardware; a switch on the command line overrules it. */
static void read_interrupt_remapping(const SysTree *t, HostPlatform *p) {
        _cleanup_strv_ char **names = NULL;
        char text[64], path[512];

        p->interrupt_remapping = -1;
        if (p->cmdline && strstr(p->cmdline, "intremap=off")) {
                p->interrupt_remapping = 0;
                return;
        }
        if (read_dir_names_at(t->sys, "class/iommu", 4096, true, &names) < 0)
                return;
        for (char **name = names; *name; name++) {
                IommuFacts i;
                int r;

                iommu_facts_init(&i, *name);
                (void) snprintf(path, sizeof(path), "class/iommu/%.200s/intel-iommu/ecap", *name);
                if (read_attr_at(t->sys, path, text, sizeof(text)) >= 0)
                        (void) iommu_facts_set_register(&i, "ecap", text, 0);
                r = iommu_facts_interrupt_remapping(&i);
                if (r >= 0)
                        p->interrupt_remapping = p->interrupt_remapping == 0 ? 0 : (int8_t) r;
        }
}

static bool has_entry_with(int dir_fd, const char *path, const char *part) {
        _cleanup_strv_ char **names = NULL;

        if (dir_fd < 0 || read_dir_names_at(dir_fd, path, SYS_NAMES_MAX, false, &names) < 0)
                return false;
        for (char **name = names; *name; name++)
                if (strstr(*name, part))
                        return true;
        return false;
}

static void read_vfio(const SysTree *t, HostPlatform *p) {
        char text[32];
        uint64_t limit;

        p->vfio_pci_loaded = exists(t->sys, "bus/pci/drivers/vfio-pci");
        p->vfio_iommu_type1_loaded = exists(t->sys, "module/vfio_iommu_type1");
        p->vfio_container = exists(t->dev, "vfio/vfio");
        p->iommufd = exists(t->dev, "iommu");
        /* Group nodes and cdevs come with the first device; until then the kernel's parts tell. */
        p->vfio_group = p->vfio_container ? 1 : p->vfio_pci_loaded ? 0 : -1;
        p->vfio_cdev = exists(t->dev, "vfio/devices") ? 1 : p->iommufd ? -1 : 0;
        p->unsafe_interrupts =
                read_flag(t, "module/vfio_iommu_type1/parameters/allow_unsafe_interrupts");
        p->noiommu_enabled = read_flag(t, "module/vfio/parameters/enable_unsafe_noiommu_mode");
        if (p->noiommu_enabled < 0 && exists(t->sys, "module/vfio"))
                p->noiommu_enabled = 0; /* a kernel without that option */
        if (read_attr_at(t->sys, "module/vfio_iommu_type1/parameters/dma_entry_limit", text,
                         sizeof(text)) >= 0 &&
            parse_u64(text, 10, UINT64_MAX, &limit) >= 0)
                p->dma_entry_limit = limit;
}

static void read_available(const SysTree *t, HostPlatform *p) {
        char path[256];

        p->vfio_pci_available = p->vfio_pci_loaded;
        if (p->vfio_pci_loaded || !p->kernel[0])
                return;
        (void) snprintf(path, sizeof(path), "lib/modules/%s/kernel/drivers/vfio/pci", p->kernel);
        p->vfio_pci_available = has_entry_with(t->root, path, "vfio-pci") ||
                                has_entry_with(t->root, path, "vfio_pci");
}

static void count_waiting(const SysTree *t, HostPlatform *p) {
        _cleanup_free_ PciAddress *functions = NULL;
        size_t n = 0;

        if (sys_list_functions(t, &functions, &n) < 0)
                return;
        for (size_t i = 0; i < n; i++) {
                _cleanup_close_ int fd = sys_open_function(t, functions[i]);
                char text[16];

                if (fd >= 0 && read_attr_at(fd, "waiting_for_supplier", text, sizeof(text)) > 0 &&
                    text[0] == '1')
                        p->n_waiting++;
        }
        p->virtio_iommu_late = p->n_waiting > 0;
}

int worker_read_platform(const SysTree *t, HostPlatform *ret) {
        HostPlatform p = {};

        assert(t);
        assert(ret);
        read_kernel(t, &p);
        read_lockdown(t, &p);
        read_vendor(t, &p);
        read_secure_boot(t, &p);
        p.iommu_present = has_entry_with(t->sys, "class/iommu", "");
        read_interrupt_remapping(t, &p);
        read_vfio(t, &p);
        read_available(t, &p);
        count_waiting(t, &p);
        p.aer_native = has_entry_with(t->sys, "bus/pci_express/drivers/aer", ":pcie");
        p.tracefs = exists(t->sys, "kernel/tracing/events/ras/aer_event");
        *ret = p;
        return 0;
}

void worker_platform(Worker *w) {
        HostPlatform p;
        int r;

        assert(w);
        r = worker_read_platform(&w->tree, &p);
        if (r >= 0) {
                encode_platform(&w->encoder, &p);
                worker_send(w, PROTOCOL_PLATFORM, NULL, 0);
                host_platform_done(&p);
        }
        worker_finish_simple(w, r, "read the platform's facts");
}
