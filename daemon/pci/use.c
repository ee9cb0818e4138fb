/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Who uses a function: kernel devices below it, processes that hold it, and why the host cannot do
 * without it. The lists are filled by a worker from a live system and therefore bounded: the last
 * entry of a full list says that there are more. Doubles are dropped.
 */

#include <assert.h>

#include "base/strutil.h"
#include "pci/facts.h"

#define MORE "and more"
#define PROOF_MAX 1024U

static const char *const critical_names[_PCI_CRITICAL_MAX] = {
        [PCI_CRITICAL_MOUNT] = "mount",
        [PCI_CRITICAL_SWAP] = "swap",
        [PCI_CRITICAL_STORAGE] = "storage",
        [PCI_CRITICAL_REMOTE_STORAGE] = "remote-storage",
        [PCI_CRITICAL_ROUTE] = "route",
        [PCI_CRITICAL_CONSOLE] = "console",
        [PCI_CRITICAL_CHIPSET] = "chipset",
        [PCI_CRITICAL_MEMORY] = "memory",
};

const char *pci_critical_to_string(PciCriticalCode c) {
        return (unsigned) c < _PCI_CRITICAL_MAX ? critical_names[c] : "unknown";
}

PciCriticalCode pci_critical_from_string(const char *s) {
        if (s)
                for (unsigned c = 0; c < _PCI_CRITICAL_MAX; c++)
                        if (streq(critical_names[c], s))
                                return (PciCriticalCode) c;
        return (PciCriticalCode) -EINVAL;
}

void pci_use_done(PciUse *u) {
        if (!u)
                return;
        for (size_t i = 0; i < u->n_criticals; i++)
                free(u->criticals[i].proof);
        free(u->children);
        free(u->holders);
        free(u->criticals);
        *u = (PciUse) {};
}

/* Room for one more of n; capacity is always the next power of two, so that it needs no field. */
static int reserve(void **array, size_t n, size_t element_size) {
        void *grown;

        if (n > 0 && (n & (n - 1)) != 0)
                return 0;
        grown = reallocarray(*array, n == 0 ? 1 : 2 * n, element_size);
        if (!grown)
                return -ENOMEM;
        *array = grown;
        return 0;
}

int pci_use_add_child(PciUse *u, const char *subsystem, const char *name) {
        PciChild child = {};
        int r;

        assert(u);
        if (!string_is_safe(strempty(subsystem), sizeof(child.subsystem) - 1) ||
            !string_is_safe(strempty(name), sizeof(child.name) - 1))
                return -EINVAL;
        (void) string_copy(child.subsystem, sizeof(child.subsystem), subsystem);
        (void) string_copy(child.name, sizeof(child.name), name);
        for (size_t i = 0; i < u->n_children; i++)
                if (streq(u->children[i].subsystem, child.subsystem) &&
                    streq(u->children[i].name, child.name))
                        return 0;
        if (u->n_children >= PCI_USE_MAX) {
                u->children[PCI_USE_MAX - 1] = (PciChild) { .name = MORE };
                return 0;
        }
        r = reserve((void **) &u->children, u->n_children, sizeof(PciChild));
        if (r < 0)
                return r;
        u->children[u->n_children++] = child;
        return 0;
}

/* Process names are the processes' own choice: nothing of them may reach a terminal or JSON
 * unchecked. */
static void make_safe(char *s, size_t size) {
        size_t n;

        s[size - 1] = 0;
        n = strlen(s);
        for (size_t i = 0; i < n; i++)
                if ((unsigned char) s[i] < ' ' || s[i] == 0x7f)
                        s[i] = '?';
        if (!utf8_is_valid(s, n))
                for (size_t i = 0; i < n; i++)
                        if ((unsigned char) s[i] >= 0x80)
                                s[i] = '?';
}

int pci_use_add_holder(PciUse *u, const PciHolder *h) {
        PciHolder holder;
        int r;

        assert(u);
        assert(h);
        holder = *h;
        make_safe(holder.comm, sizeof(holder.comm));
        make_safe(holder.unit, sizeof(holder.unit));
        make_safe(holder.what, sizeof(holder.what));
        for (size_t i = 0; i < u->n_holders; i++)
                if (u->holders[i].pid == holder.pid && streq(u->holders[i].what, holder.what))
                        return 0;
        if (u->n_holders >= PCI_USE_MAX) {
                u->holders[PCI_USE_MAX - 1] = (PciHolder) { .what = MORE };
                return 0;
        }
        r = reserve((void **) &u->holders, u->n_holders, sizeof(PciHolder));
        if (r < 0)
                return r;
        u->holders[u->n_holders++] = holder;
        return 0;
}

int pci_use_add_critical(PciUse *u, PciCriticalCode code, const char *proof) {
        bool full;
        char *copy;
        int r;

        assert(u);
        if ((unsigned) code >= _PCI_CRITICAL_MAX)
                return -EINVAL;
        for (size_t i = 0; i < u->n_criticals; i++)
                if (u->criticals[i].code == code && streq(u->criticals[i].proof, strempty(proof)))
                        return 0;
        full = u->n_criticals >= PCI_USE_MAX;
        copy = full ? strdup(MORE) : strndup(strempty(proof), PROOF_MAX);
        if (!copy)
                return -ENOMEM;
        make_safe(copy, strlen(copy) + 1);
        if (full) {
                free(u->criticals[PCI_USE_MAX - 1].proof);
                u->criticals[PCI_USE_MAX - 1].proof = copy;
                return 0;
        }
        r = reserve((void **) &u->criticals, u->n_criticals, sizeof(PciCritical));
        if (r < 0) {
                free(copy);
                return r;
        }
        u->criticals[u->n_criticals++] = (PciCritical) { .code = code, .proof = copy };
        return 0;
}

static int add_builtin(PciUse *u, const PciFacts *f, PciCriticalCode code, const char *what) {
        char proof[PCI_ADDRESS_MAX + 64];

        (void) snprintf(proof, sizeof(proof), "%s → %s", PCI_ADDRESS_TEXT(f->address), what);
        return pci_use_add_critical(u, code, proof);
}

/* "Other" bridges and system peripherals are chipset functions on one machine and NVSwitches or
 * DMA accelerators on the next. The latter can be reset, chipset functions cannot. */
static bool is_plain_device(const PciFacts *f) {
        uint32_t class = f->class_code >> 8;

        return (class == 0x0680 || class == 0x0880) && !isempty(f->reset_method);
}

int pci_use_add_builtin_criticals(PciUse *u, const PciFacts *f) {
        const char *what = NULL;
        int r = 0;

        assert(u);
        assert(f);
        switch (pci_kind_from_class(f->class_code)) {
        case PCI_KIND_HOST_BRIDGE:
                what = "host bridge";
                break;
        case PCI_KIND_BRIDGE:
                what = f->class_code >> 8 == 0x0604 ? "PCI bridge" : "bridge";
                break;
        case PCI_KIND_ISA:
                what = "ISA bridge";
                break;
        case PCI_KIND_SMBUS:
                what = "SMBus controller";
                break;
        case PCI_KIND_SYSTEM:
                what = f->class_code >> 16 == 0x05 ? "memory controller" : "system peripheral";
                break;
        case PCI_KIND_OTHER:
        case PCI_KIND_STORAGE:
        case PCI_KIND_NVME:
        case PCI_KIND_NIC:
        case PCI_KIND_GPU:
        case PCI_KIND_AUDIO:
        case PCI_KIND_USB:
        case PCI_KIND_ACCELERATOR:
        case PCI_KIND_CXL_MEMORY:
        case _PCI_KIND_MAX:
                break;
        }
        if (what && !is_plain_device(f))
                r = add_builtin(u, f, PCI_CRITICAL_CHIPSET, what);
        if (r >= 0 && f->boot_vga)
                r = add_builtin(u, f, PCI_CRITICAL_CONSOLE, "boot VGA");
        return r;
}
