/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * VFIO modules carry aliases "vfio_pci:v…", which no uevent ever asks for. They stand in
 * modules.alias, or in modules.builtin.modinfo for a driver that is built in. The files are large
 * and few lines are ours, so only those strings are kept.
 */

#include <assert.h>
#include <sys/utsname.h>

#include "base/fdio.h"
#include "base/strutil.h"
#include "host/sysfs.h"

#define ALIAS_FILE_MAX ((size_t) 64 << 20)
#define ALIASES_MAX 4096U
#define ALIAS_PREFIX "vfio_pci:"

static int add_alias(SysAliases *k, const char *pattern, const char *module) {
        if (k->n >= ALIASES_MAX)
                return 0;
        if (ARRAY_RESERVE_ONE(k->list, k->n, k->allocated) < 0)
                return -ENOMEM;
        k->list[k->n++] = (PciModuleAlias) { pattern, module };
        return 0;
}

/* "alias PATTERN MODULE" lines, cut in place; keeps only what is ours, at the front of the text. */
static int parse_alias_lines(SysAliases *k, char *text) {
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
static int parse_builtin(SysAliases *k, char *text, size_t size) {
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

static int modules_directory(const SysTree *t) {
        _cleanup_strv_ char **names = NULL;
        struct utsname u;
        char path[256];
        int fd;

        if (uname(&u) < 0)
                return -errno;
        /* The service's unit hides the modules (ProtectKernelModules=) and shows them here. */
        (void) snprintf(path, sizeof(path), "run/pciassignd/modules/%s", u.release);
        fd = open_dir_at(t->root, path);
        if (fd >= 0)
                return fd;
        (void) snprintf(path, sizeof(path), "lib/modules/%s", u.release);
        fd = open_dir_at(t->root, path);
        if (fd != -ENOENT || !t->made)
                return fd;
        /* A made tree may be of another kernel; it then has one only. */
        if (read_dir_names_at(t->root, "lib/modules", 16, true, &names) < 0 ||
            strv_length(names) != 1)
                return -ENOENT;
        (void) snprintf(path, sizeof(path), "lib/modules/%.200s", names[0]);
        return open_dir_at(t->root, path);
}

static const char *keep_string(char **p, const char *s) {
        size_t n = strlen(s) + 1;
        char *copy = memcpy(*p, s, n);

        *p += n;
        return copy;
}

/* The strings, not the files that they stand in. */
static int keep_strings(SysAliases *k) {
        size_t need = 0;
        char *p;

        for (size_t i = 0; i < k->n; i++)
                need += strlen(k->list[i].pattern) + strlen(k->list[i].module) + 2;
        k->text = p = malloc(need);
        if (!p)
                return -ENOMEM;
        for (size_t i = 0; i < k->n; i++) {
                PciModuleAlias a = k->list[i];

                k->list[i].pattern = keep_string(&p, a.pattern);
                k->list[i].module = keep_string(&p, a.module);
        }
        return 0;
}

static int load_aliases(const SysTree *t, SysAliases *k) {
        _cleanup_free_ char *aliases = NULL, *builtin = NULL;
        _cleanup_close_ int fd = modules_directory(t);
        size_t n_aliases = 0, n_builtin = 0;
        int r;

        if (fd < 0) /* a kernel with all built in has no directory; then only the hidden place above
                       it is met */
                return fd == -ENOENT || fd == -EACCES ? 0 : fd;
        r = read_file_at(fd, "modules.alias", ALIAS_FILE_MAX, &aliases, &n_aliases);
        if (r < 0 && r != -ENOENT)
                return r;
        r = read_file_at(fd, "modules.builtin.modinfo", ALIAS_FILE_MAX, &builtin, &n_builtin);
        if (r < 0 && r != -ENOENT)
                return r;
        r = aliases ? parse_alias_lines(k, aliases) : 0;
        if (r >= 0 && builtin)
                r = parse_builtin(k, builtin, n_builtin);
        if (r < 0 || k->n == 0)
                return r;
        return keep_strings(k);
}

void sys_aliases_done(SysAliases *a) {
        assert(a);
        free(a->list);
        free(a->text);
        *a = (SysAliases) {};
}

int sys_aliases_load(const SysTree *t, SysAliases *ret) {
        SysAliases a = {};
        int r;

        assert(t);
        assert(ret);
        r = load_aliases(t, &a);
        if (r < 0) {
                sys_aliases_done(&a);
                return r;
        }
        *ret = a;
        return 0;
}

bool sys_has_vfio_driver(const SysTree *t) {
        assert(t);
        return faccessat(t->sys, "bus/pci/drivers/vfio-pci", F_OK, 0) >= 0;
}
