/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Which VFIO driver a function gets: of the VFIO modules whose alias matches it, the one with the
 * fewest wildcards (pci/driver.h). The aliases are read once: the running kernel's modules do not
 * change.
 */

#include <assert.h>
#include <fcntl.h>

#include "base/strutil.h"
#include "host/kernel-private.h"

int kernel_choose_driver(Host *h, const PciFacts *f, char *buffer, size_t size) {
        KernelHost *k = kernel_host(h);
        int r;

        if (!k->aliases_loaded) {
                r = sys_aliases_load(&k->tree, &k->aliases);
                if (r < 0)
                        return r;
                k->aliases_loaded = true;
        }
        r = pci_vfio_choose(f, k->aliases.list, k->aliases.n);
        if (r >= 0)
                return pci_module_to_driver(k->aliases.list[r].module, buffer, size);
        if (!sys_has_vfio_driver(&k->tree))
                return -ENOENT;
        return string_copy(buffer, size, "vfio-pci") ? 0 : -ENOBUFS;
}
