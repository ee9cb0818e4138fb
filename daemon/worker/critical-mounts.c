/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What storage the host uses, as its tables say it: mounts of every mount namespace that can be
 * seen (proc(5), mountinfo), swap, and the member devices of btrfs. What no table says, the
 * exclusive open of critical-block.c finds.
 */

#include <assert.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>

#include "base/fdio.h"
#include "worker/critical-private.h"

#define NAMESPACES_MAX 4096U
#define MOUNTS_MAX 65536U
#define PROCESSES_MAX 131072U

/* Undoes the octal escapes of blanks in place (\040 and the like). */
static void unescape_octal(char *s) {
        char *to = s;

        for (; *s; s++, to++) {
                uint64_t byte;
                if (s[0] == '\\' && s[1] && s[2] && s[3] &&
                    parse_u64_n(s + 1, 3, 10, 377, &byte) >= 0 && byte % 10 < 8 &&
                    byte / 10 % 10 < 8) {
                        *to = (char) (byte / 100 * 64 + byte / 10 % 10 * 8 + byte % 10);
                        s += 3;
                } else
                        *to = *s;
        }
        *to = '\0';
}

static const char *base_name(const char *path) {
        const char *slash = strrchr(path, '/');

        return slash ? slash + 1 : path;
}

/* "/dev/mapper/x" and "/dev/disk/by-…/x" are links to "../dm-0": the kernel's name is the
 * link's. */
static void device_name(const Critical *c, const char *source, char *ret, size_t size) {
        char target[PATH_MAX];

        if (strncmp(source, "/dev/", 5) == 0 && c->tree->dev >= 0 &&
            readlink_at(c->tree->dev, source + 5, target, sizeof target) >= 0)
                source = target;
        (void) string_copy(ret, size, base_name(source));
}

static bool mount_is_known(const Critical *c, const CriticalMount *m) {
        for (size_t i = 0; i < c->n_mounts; i++)
                if (c->mounts[i].major == m->major && c->mounts[i].minor == m->minor &&
                    streq(c->mounts[i].source, m->source))
                        return true;
        return false;
}

static int add_mount(Critical *c, const char *numbers, const char *target, const char *source) {
        CriticalMount m = {};
        const char *colon = strchr(numbers, ':');
        uint64_t major, minor;

        if (!colon ||
            parse_u64_n(numbers, (size_t) (colon - numbers), 10, UINT32_MAX, &major) < 0 ||
            parse_u64(colon + 1, 10, UINT32_MAX, &minor) < 0)
                return -EBADMSG;
        m.major = (uint32_t) major;
        m.minor = (uint32_t) minor;
        (void) string_copy(m.target, sizeof m.target, target);
        device_name(c, source, m.source, sizeof m.source);
        if (mount_is_known(c, &m))
                return 0;
        if (c->n_mounts >= MOUNTS_MAX ||
            ARRAY_RESERVE_ONE(c->mounts, c->n_mounts, c->mounts_allocated) < 0)
                return -ENOMEM;
        c->mounts[c->n_mounts++] = m;
        return 0;
}

/* "36 35 98:0 /root /mount options [tags…] - type source options" */
static int add_mountinfo_line(Critical *c, char *line) {
        char *fields[5], *rest = line, *source;

        for (size_t i = 0; i < ELEMENTSOF(fields); i++) {
                fields[i] = strsep(&rest, " ");
                if (!rest)
                        return -EBADMSG;
        }
        source = strstr(rest, " - ");
        if (!source)
                return -EBADMSG;
        source += 3;
        (void) strsep(&source, " ");
        if (!source)
                return -EBADMSG;
        char *end = strchr(source, ' ');
        if (end)
                *end = '\0';
        unescape_octal(fields[4]);
        unescape_octal(source);
        return add_mount(c, fields[2], fields[4], source);
}

static int load_mountinfo(Critical *c, const char *path) {
        _cleanup_free_ char *text = NULL;
        size_t n;
        int r = read_file_at(c->tree->proc, path, CRITICAL_FILE_MAX, &text, &n);

        if (r < 0)
                return r;
        for (char *line, *rest = text; (line = strsep(&rest, "\n"));) {
                if (!*line)
                        continue;
                r = add_mountinfo_line(c, line);
                if (r < 0)
                        return r;
        }
        return 0;
}

static bool is_number(const char *s) {
        uint64_t v;

        return parse_u64(s, 10, UINT32_MAX, &v) >= 0;
}

/* True the first time that a namespace is met. */
static bool namespace_is_new(uint64_t *seen, size_t *n_seen, uint64_t inode) {
        for (size_t i = 0; i < *n_seen; i++)
                if (seen[i] == inode)
                        return false;
        if (*n_seen >= NAMESPACES_MAX)
                return false;
        seen[(*n_seen)++] = inode;
        return true;
}

/* Processes come and go while this runs, and the namespaces of some may not be looked at: both are
 * passed over. */
static int load_other_namespaces(Critical *c) {
        _cleanup_strv_ char **names = NULL;
        _cleanup_free_ uint64_t *seen = calloc(NAMESPACES_MAX, sizeof *seen);
        size_t n_seen = 0;

        if (!seen)
                return -ENOMEM;
        int r = read_dir_names_at(c->tree->proc, ".", PROCESSES_MAX, false, &names);
        if (r < 0)
                return r;
        for (size_t i = 0; names && names[i]; i++) {
                char path[64];
                struct stat st;
                if (!is_number(names[i]))
                        continue;
                (void) snprintf(path, sizeof path, "%.20s/ns/mnt", names[i]);
                if (fstatat(c->tree->proc, path, &st, 0) < 0 ||
                    !namespace_is_new(seen, &n_seen, st.st_ino))
                        continue;
                (void) snprintf(path, sizeof path, "%.20s/mountinfo", names[i]);
                if (load_mountinfo(c, path) == -ENOMEM)
                        return -ENOMEM;
        }
        return 0;
}

static int load_swaps(Critical *c) {
        _cleanup_free_ char *text = NULL;
        size_t n;
        int r = read_file_at(c->tree->proc, "swaps", CRITICAL_FILE_MAX, &text, &n);

        if (r < 0)
                return r == -ENOENT ? 0 : r; /* a kernel without swap */
        char *rest = text;
        (void) strsep(&rest, "\n"); /* the heading */
        for (char *line; (line = strsep(&rest, "\n"));) {
                char name[64], *path = strsep(&line, " \t");
                if (!path || !*path)
                        continue;
                unescape_octal(path);
                device_name(c, path, name, sizeof name);
                if (strv_extend(&c->swaps, name) < 0)
                        return -ENOMEM;
        }
        return 0;
}

static int load_btrfs_members(Critical *c, const char *uuid) {
        _cleanup_strv_ char **devices = NULL;
        char path[128];

        (void) snprintf(path, sizeof path, "fs/btrfs/%.64s/devices", uuid);
        int r = read_dir_names_at(c->tree->sys, path, SYS_NAMES_MAX, false, &devices);
        if (r < 0)
                return r == -ENOMEM ? r : 0; /* "features" and what else is no file system */
        for (size_t i = 0; devices && devices[i]; i++) {
                if (ARRAY_RESERVE_ONE(c->members, c->n_members, c->members_allocated) < 0)
                        return -ENOMEM;
                CriticalMember *m = &c->members[c->n_members++];
                (void) string_copy(m->device, sizeof m->device, devices[i]);
                (void) string_copy(m->uuid, sizeof m->uuid, uuid);
        }
        return 0;
}

static int load_btrfs(Critical *c) {
        _cleanup_strv_ char **uuids = NULL;
        int r = read_dir_names_at(c->tree->sys, "fs/btrfs", SYS_NAMES_MAX, false, &uuids);

        if (r < 0)
                return r == -ENOMEM ? r : 0;
        for (size_t i = 0; uuids && uuids[i]; i++) {
                r = load_btrfs_members(c, uuids[i]);
                if (r < 0)
                        return r;
        }
        return 0;
}

void critical_load_storage(Critical *c) {
        int r;

        assert(c);
        if (c->storage_loaded)
                return;
        c->storage_loaded = true;
        if (c->tree->proc < 0) {
                c->storage_error = -ENOENT;
                return;
        }
        r = load_mountinfo(c, "1/mountinfo");
        if (r >= 0)
                r = load_other_namespaces(c);
        if (r >= 0)
                r = load_swaps(c);
        if (r >= 0)
                r = load_btrfs(c);
        c->storage_error = r < 0 ? r : 0;
}
