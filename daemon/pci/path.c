/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The place of a function in the tree of /sys/devices: its path there, the bridge above it, and the
 * port path, a name of the place that does not change with bus numbers. A path is made of
 * components; those that are host bridges ("pci0000:00") or addresses count, and others
 * ("platform", "LNXSYSTM:00") are passed over. A host bridge may itself stand below a function
 * (VMD), and then the chain goes on.
 */

#include <assert.h>

#include "base/strutil.h"
#include "pci/facts.h"
#include "pci/scan.h"

#define PATH_LENGTH_MAX 1024U
#define COMPONENT_MAX 64U

/* The next component of a path, copied; its length, 0 at the end, -EBADMSG if it is empty, "."
 * or "..". A component that is too long to be of interest gives an empty string. */
static int next_component(const char **path, char buffer[COMPONENT_MAX]) {
        const char *start = *path;
        size_t n = strcspn(start, "/");

        if (n == 0)
                return start[0] == 0 ? 0 : -EBADMSG;
        if ((n == 1 && start[0] == '.') || (n == 2 && start[0] == '.' && start[1] == '.'))
                return -EBADMSG;
        if (start[n] == '/' && start[n + 1] == 0)
                return -EBADMSG;
        buffer[0] = 0;
        if (n < COMPONENT_MAX) {
                memcpy(buffer, start, n);
                buffer[n] = 0;
        }
        *path = start + n + (start[n] == '/');
        return (int) n;
}

/* "pciDDDD:BB" */
static bool parse_host_bridge(const char *component, uint32_t *ret_domain, uint8_t *ret_bus) {
        uint64_t domain, bus;
        const char *p;

        if (strncmp(component, "pci", 3) != 0)
                return false;
        p = component + 3;
        if (!scan_hex(&p, 8, &domain) || *p++ != ':' || !scan_hex(&p, 2, &bus) || *p != 0)
                return false;
        *ret_domain = (uint32_t) domain;
        *ret_bus = (uint8_t) bus;
        return true;
}

int pci_facts_set_path(PciFacts *f, const char *path) {
        bool has_parent = false, has_self = false;
        PciAddress parent = {}, self = {};
        char component[COMPONENT_MAX];
        const char *p = path;
        char *copy;
        int r;

        assert(f);
        assert(path);
        if (f->path && streq(f->path, path))
                return 0;
        if (strlen(path) > PATH_LENGTH_MAX || !string_is_safe(path, PATH_LENGTH_MAX))
                return -EBADMSG;
        while ((r = next_component(&p, component)) > 0) {
                PciAddress a;

                has_parent = false;
                if (pci_address_parse(component, &a) >= 0) {
                        has_parent = has_self;
                        parent = self;
                        self = a;
                        has_self = true;
                } else /* a host bridge, or what stands above one: here a tree begins */
                        has_self = false;
        }
        /* The last component is the function itself. */
        if (r < 0 || !has_self || !pci_address_equal(self, f->address))
                return -EBADMSG;
        copy = strdup(path);
        if (!copy)
                return -ENOMEM;
        free(f->path);
        f->path = copy;
        f->has_parent = has_parent;
        f->parent = has_parent ? parent : (PciAddress) {};
        return 0;
}

char *pci_facts_port_path(const PciFacts *f) {
        _cleanup_strbuf_ StrBuf b = {};
        char component[COMPONENT_MAX] = "";
        const char *p;

        assert(f);
        p = strempty(f->path);
        while (next_component(&p, component) > 0) {
                const char *separator = b.size > 0 ? "/" : "";
                PciAddress a;
                uint32_t domain;
                uint8_t bus;

                if (pci_address_parse(component, &a) >= 0)
                        strbuf_addf(&b, "%s%02x.%x", separator, a.slot, a.function);
                else if (parse_host_bridge(component, &domain, &bus))
                        strbuf_addf(&b, "%s%04x:%02x", separator, domain, bus);
        }
        return strbuf_steal(&b);
}
