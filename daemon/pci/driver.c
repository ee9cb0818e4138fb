/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Driver names, and the choice of a VFIO driver by module aliases. VFIO drivers carry "vfio_pci:"
 * aliases in place of "pci:" ones, so that nothing loads them by itself; the one whose alias has
 * the fewest wildcards is meant for the device (Documentation/driver-api/vfio.rst, modinfo of the
 * variant drivers). Looking the aliases up is the caller's work.
 */

#include <assert.h>

#include "base/strutil.h"
#include "pci/driver.h"

#define DRIVER_NAME_WRITABLE_MAX 32U

bool pci_driver_name_is_valid(const char *s) {
        size_t n = 0;

        if (!s)
                return false;
        for (; s[n]; n++) {
                bool letter = (s[n] >= 'a' && s[n] <= 'z') || (s[n] >= 'A' && s[n] <= 'Z');

                if (n >= DRIVER_NAME_WRITABLE_MAX ||
                    (!letter && (s[n] < '0' || s[n] > '9') && s[n] != '_' && s[n] != '-'))
                        return false;
        }
        return n > 0;
}

static bool has_suffix(const char *s, const char *suffix) {
        size_t n = strlen(s), m = strlen(suffix);

        return n > m && streq(s + n - m, suffix);
}

bool pci_driver_is_vfio(const char *driver) {
        if (!driver)
                return false;
        return streq(driver, "vfio-pci") || has_suffix(driver, "-vfio-pci") ||
               has_suffix(driver, "_vfio_pci");
}

bool pci_driver_is_group_neutral(const char *driver) {
        if (!driver)
                return false;
        return pci_driver_is_vfio(driver) || streq(driver, "pcieport") || streq(driver, "pci-stub");
}

const char *pci_vfio_modalias(const PciFacts *f, char buffer[PCI_MODALIAS_MAX]) {
        assert(f);
        assert(buffer);
        (void) snprintf(buffer, PCI_MODALIAS_MAX,
                        "vfio_pci:v%08Xd%08Xsv%08Xsd%08Xbc%02Xsc%02Xi%02X", f->vendor, f->device,
                        f->subsystem_vendor, f->subsystem_device, f->class_code >> 16 & 0xff,
                        f->class_code >> 8 & 0xff, f->class_code & 0xff);
        return buffer;
}

static unsigned count_wildcards(const char *pattern) {
        unsigned n = 0;

        for (; *pattern; pattern++)
                n += *pattern == '*' || *pattern == '?';
        return n;
}

int pci_vfio_choose(const PciFacts *f, const PciModuleAlias *aliases, size_t n) {
        char modalias[PCI_MODALIAS_MAX];
        unsigned fewest = 0;
        int best = -ENOENT;

        assert(f);
        assert(aliases || n == 0);
        (void) pci_vfio_modalias(f, modalias);
        for (size_t i = 0; i < n && i <= INT32_MAX; i++) {
                unsigned wildcards;

                if (!aliases[i].pattern || !glob_matches(aliases[i].pattern, modalias))
                        continue;
                wildcards = count_wildcards(aliases[i].pattern);
                if (best >= 0 && wildcards >= fewest)
                        continue;
                best = (int) i;
                fewest = wildcards;
        }
        return best;
}

/* Variant drivers are named KBUILD_MODNAME, the module's name with underscores; vfio-pci alone
 * is not. */
int pci_module_to_driver(const char *module, char *buffer, size_t size) {
        assert(buffer);
        if (!pci_driver_name_is_valid(module))
                return -EINVAL;
        if (strlen(module) >= size)
                return -ENAMETOOLONG;
        for (size_t i = 0; i <= strlen(module); i++)
                buffer[i] = module[i] == '-' ? '_' : module[i];
        if (streq(buffer, "vfio_pci"))
                buffer[4] = '-';
        return 0;
}
