/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Why the host needs a function: asks each of its children, and the consoles and CXL memory that
 * are found from their own side. The storage and network parts stand in files of their own. Only
 * reads; an unknown counts as a yes.
 */

#include <assert.h>
#include <fcntl.h>
#include <limits.h>

#include "base/fdio.h"
#include "worker/critical-private.h"

int critical_new(const SysTree *tree, Critical **ret) {
        assert(tree);
        assert(ret);
        Critical *c = calloc(1, sizeof *c);

        if (!c)
                return -ENOMEM;
        c->tree = tree;
        *ret = c;
        return 0;
}

Critical *critical_free(Critical *c) {
        if (!c)
                return NULL;
        free(c->mounts);
        strv_free(c->swaps);
        free(c->members);
        free(c->routes);
        free(c);
        return NULL;
}

/* The function below which a class device stands, by the target of its link. */
static bool class_device_is_of(const Critical *c, const char *path, PciAddress a) {
        char target[PATH_MAX];
        PciAddress found;

        return readlink_at(c->tree->sys, path, target, sizeof target) >= 0 &&
                sys_path_deepest_address(target, &found) && pci_address_equal(found, a);
}

static int add_serial_consoles(const Critical *c, const char *address, PciAddress a, PciUse *use) {
        _cleanup_strv_ char **names = NULL;
        char active[256];

        if (read_attr_at(c->tree->sys, "class/tty/console/active", active, sizeof active) < 0)
                return 0;
        if (strv_split(active, " \n", &names) < 0)
                return -ENOMEM;
        for (size_t i = 0; i < strv_length(names); i++) {
                char path[128], proof[CRITICAL_PROOF_MAX];
                if ((size_t) snprintf(path, sizeof path, "class/tty/%s", names[i]) >= sizeof path ||
                    !class_device_is_of(c, path, a))
                        continue;
                (void) snprintf(proof, sizeof proof, "%s → %s → console", address, names[i]);
                if (pci_use_add_critical(use, PCI_CRITICAL_CONSOLE, proof) < 0)
                        return -ENOMEM;
        }
        return 0;
}

/* A virtual terminal that a frame buffer of this function shows. */
static bool framebuffer_console_is_bound(const Critical *c) {
        for (unsigned i = 0; i < 4; i++) {
                char path[64], text[64];
                (void) snprintf(path, sizeof path, "class/vtconsole/vtcon%u/bind", i);
                if (read_attr_at(c->tree->sys, path, text, sizeof text) < 0 || !streq(text, "1"))
                        continue;
                (void) snprintf(path, sizeof path, "class/vtconsole/vtcon%u/name", i);
                if (read_attr_at(c->tree->sys, path, text, sizeof text) > 0 &&
                    strstr(text, "frame buffer"))
                        return true;
        }
        return false;
}

static int add_framebuffer_console(const Critical *c, const char *address, PciAddress a,
                                   PciUse *use) {
        char proof[CRITICAL_PROOF_MAX];

        if (!class_device_is_of(c, "class/graphics/fb0", a) || !framebuffer_console_is_bound(c))
                return 0;
        (void) snprintf(proof, sizeof proof, "%s → fb0 → console", address);
        return pci_use_add_critical(use, PCI_CRITICAL_CONSOLE, proof);
}

/* Documentation/ABI/testing/sysfs-bus-cxl: endpointX/uport is the memory device, decoders_committed
 * counts decoders in use: its memory is the host's. */
static int add_cxl_memory(const Critical *c, const char *address, const char *memory, PciUse *use) {
        _cleanup_strv_ char **names = NULL;

        if (read_dir_names_at(c->tree->sys, "bus/cxl/devices", SYS_NAMES_MAX, true, &names) < 0)
                return 0;
        for (size_t i = 0; i < strv_length(names); i++) {
                char path[256], text[128], proof[CRITICAL_PROOF_MAX];
                uint64_t committed;
                if (strncmp(names[i], "endpoint", strlen("endpoint")) != 0)
                        continue;
                (void) snprintf(path, sizeof path, "bus/cxl/devices/%.64s/uport", names[i]);
                if (readlink_base_at(c->tree->sys, path, text, sizeof text) < 0 ||
                    !streq(text, memory))
                        continue;
                (void) snprintf(path, sizeof path, "bus/cxl/devices/%.64s/decoders_committed",
                                names[i]);
                if (read_attr_at(c->tree->sys, path, text, sizeof text) < 0 ||
                    parse_u64(text, 10, UINT32_MAX, &committed) < 0 || committed == 0)
                        continue;
                (void) snprintf(proof, sizeof proof, "%s → %s → %s: %s committed decoders", address,
                                memory, names[i], text);
                if (pci_use_add_critical(use, PCI_CRITICAL_MEMORY, proof) < 0)
                        return -ENOMEM;
        }
        return 0;
}

static int follow_child(Critical *c, const char *address, const PciChild *child, PciUse *use) {
        if (streq(child->subsystem, "block"))
                return critical_follow_block(c, address, child->name, use);
        if (streq(child->subsystem, "net"))
                return critical_follow_net(c, address, child->name, use);
        if (streq(child->subsystem, "cxl"))
                return add_cxl_memory(c, address, child->name, use);
        return 0;
}

int critical_add_to_use(Critical *c, PciAddress a, PciUse *use) {
        char address[PCI_ADDRESS_MAX];

        assert(c);
        assert(use);
        pci_address_format(a, address);
        for (size_t i = 0; i < use->n_children; i++) {
                PciChild child = use->children[i];
                if (follow_child(c, address, &child, use) < 0)
                        return -ENOMEM;
        }
        if (add_serial_consoles(c, address, a, use) < 0 ||
            add_framebuffer_console(c, address, a, use) < 0)
                return -ENOMEM;
        return 0;
}
