/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Which VFIO driver a function gets. VFIO modules carry aliases "vfio_pci:v…", which no uevent ever asks for; the one
 * with the fewest wildcards wins (pci/driver.h). They stand in modules.alias, or in modules.builtin.modinfo for a
 * driver that is built in, and are read once: the running kernel's modules do not change.
 */

#include <assert.h>
#include <fcntl.h>
#include <sys/utsname.h>

#include "base/fdio.h"
#include "base/strutil.h"
#include "host/kernel-private.h"
#include "pci/driver.h"

#define ALIAS_FILE_MAX ((size_t) 64 << 20)
#define ALIASES_MAX 4096U
#define ALIAS_PREFIX "vfio_pci:"

static int add_alias(KernelHost *k, const char *pattern, const char *module) {
        if (k->n_aliases >= ALIASES_MAX)
                return 0;
        if (ARRAY_RESERVE_ONE(k->aliases, k->n_aliases, k->aliases_allocated) < 0)
                return -ENOMEM;
        k->aliases[k->n_aliases++] = (PciModuleAlias) { pattern, module };
        return 0;
}

/* "alias PATTERN MODULE" lines, cut in place; keeps only what is ours, at the front of the text. */
static int parse_alias_lines(KernelHost *k, char *text) {
        char *line = text;

        while (line && *line) {
                char *next = strchr(line, '\n'), *module;

                if (next)
                        *next++ = 0;
                if (strncmp(line, "alias " ALIAS_PREFIX, strlen("alias " ALIAS_PREFIX)) == 0) {
                        char *pattern = line + strlen("alias ");

                        module = strchr(pattern, ' ');
                        if (module) {
                                int r;

                                *module++ = 0;
                                r = add_alias(k, pattern, string_strip(module));
                                if (r < 0)
                                        return r;
                        }
                }
                line = next;
        }
        return 0;
}

/* "MODULE.alias=PATTERN" strings, each with a NUL behind it. */
static int parse_builtin(KernelHost *k, char *text, size_t size) {
        for (char *p = text, *end = text + size; p < end; p += strlen(p) + 1) {
                char *dot = strstr(p, ".alias=" ALIAS_PREFIX);
                int r;

                if (!dot)
                        continue;
                *dot = 0;
                r = add_alias(k, dot + strlen(".alias="), p);
                if (r < 0)
                        return r;
                p = dot + 1; /* the string goes on behind the NUL just set */
        }
        return 0;
}

static int modules_directory(KernelHost *k) {
        _cleanup_strv_ char **names = NULL;
        struct utsname u;
        char path[256];
        int fd;

        if (uname(&u) < 0)
                return -errno;
        (void) snprintf(path, sizeof(path), "lib/modules/%s", u.release);
        fd = open_dir_at(k->tree.root, path);
        if (fd != -ENOENT || !k->tree.made)
                return fd;
        /* A made tree may be of another kernel; it then has one only. */
        if (read_dir_names_at(k->tree.root, "lib/modules", 16, true, &names) < 0 || strv_length(names) != 1)
                return -ENOENT;
        (void) snprintf(path, sizeof(path), "lib/modules/%.200s", names[0]);
        return open_dir_at(k->tree.root, path);
}

static int load_aliases(KernelHost *k) {
        _cleanup_free_ char *aliases = NULL, *builtin = NULL;
        _cleanup_close_ int fd = modules_directory(k);
        size_t n_aliases = 0, n_builtin = 0;
        char *p;
        int r;

        if (fd < 0)
                return fd == -ENOENT ? 0 : fd;
        r = read_file_at(fd, "modules.alias", ALIAS_FILE_MAX, &aliases, &n_aliases);
        if (r < 0 && r != -ENOENT)
                return r;
        r = read_file_at(fd, "modules.builtin.modinfo", ALIAS_FILE_MAX, &builtin, &n_builtin);
        if (r < 0 && r != -ENOENT)
                return r;
        r = aliases ? parse_alias_lines(k, aliases) : 0;
        if (r >= 0 && builtin)
                r = parse_builtin(k, builtin, n_builtin);
        if (r < 0 || k->n_aliases == 0)
                return r;
        /* Keep the few strings, not the files. */
        {
                size_t need = 0;

                for (size_t i = 0; i < k->n_aliases; i++)
                        need += strlen(k->aliases[i].pattern) + strlen(k->aliases[i].module) + 2;
                k->alias_text = p = malloc(need);
                if (!p)
                        return -ENOMEM;
        }
        for (size_t i = 0; i < k->n_aliases; i++) {
                PciModuleAlias a = k->aliases[i];
                size_t n = strlen(a.pattern) + 1;

                k->aliases[i].pattern = memcpy(p, a.pattern, n);
                p += n;
                n = strlen(a.module) + 1;
                k->aliases[i].module = memcpy(p, a.module, n);
                p += n;
        }
        return 0;
}

int kernel_choose_driver(Host *h, const PciFacts *f, char *buffer, size_t size) {
        KernelHost *k = kernel_host(h);
        int r;

        if (!k->aliases_loaded) {
                r = load_aliases(k);
                if (r < 0) {
                        k->n_aliases = 0;
                        return r;
                }
                k->aliases_loaded = true;
        }
        r = pci_vfio_choose(f, k->aliases, k->n_aliases);
        if (r >= 0)
                return pci_module_to_driver(k->aliases[r].module, buffer, size);
        /* No alias files, but the driver is there: built in, or loaded by hand. */
        if (faccessat(k->tree.sys, "bus/pci/drivers/vfio-pci", F_OK, 0) < 0)
                return -ENOENT;
        return string_copy(buffer, size, "vfio-pci") ? 0 : -ENOBUFS;
}
