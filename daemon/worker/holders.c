/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Looks for holders of device nodes in /proc/PID/fd. A link that ends in the node's path is a
 * holder whatever root the process has. VFIO device descriptors are anonymous; since 6.18 their
 * fdinfo names the function
 * ("vfio-device-syspath"). What is found is evidence for people, never permission to end a process.
 */

#include <assert.h>
#include <fcntl.h>

#include "base/fdio.h"
#include "base/strutil.h"
#include "worker/holders.h"

#define PROCESSES_MAX 131072U
#define DESCRIPTORS_MAX 1048576U
#define STATUS_MAX 16384U
#define VFIO_DEVICE_LINK "anon_inode:[vfio-device]"

static bool ends_with_node(const char *target, const char *node) {
        size_t n = strlen(target), m = strlen(node);

        return n >= m && streq(target + n - m, node);
}

/* "vfio-device-syspath:\t/sys/devices/…/0000:01:00.0" */
static bool fdinfo_names_device(int process_fd, const char *fd_name, PciAddress *ret) {
        char path[64], text[2048];

        (void) snprintf(path, sizeof path, "fdinfo/%.20s", fd_name);
        if (read_attr_at(process_fd, path, text, sizeof text) < 0)
                return false;
        char *line = strstr(text, "vfio-device-syspath:");
        if (!line)
                return false;
        line[strcspn(line, "\n")] = '\0';
        return sys_path_deepest_address(line, ret);
}

static void read_unit(int process_fd, char *ret, size_t size) {
        char text[4096];

        ret[0] = '\0';
        if (read_attr_at(process_fd, "cgroup", text, sizeof text) < 0)
                return;
        text[strcspn(text, "\n")] = '\0';
        for (char *word, *rest = text; (word = strsep(&rest, "/"));) {
                size_t n = strlen(word);
                if ((n > 8 && streq(word + n - 8, ".service")) ||
                    (n > 6 && streq(word + n - 6, ".scope")))
                        (void) string_copy(ret, size, word);
        }
}

static uint32_t read_uid(int process_fd) {
        char text[STATUS_MAX];
        uint64_t uid;

        if (read_attr_at(process_fd, "status", text, sizeof text) < 0)
                return UINT32_MAX;
        const char *line = strstr(text, "\nUid:\t");
        if (!line)
                return UINT32_MAX;
        line += strlen("\nUid:\t");
        return parse_u64_n(line, strcspn(line, "\t\n"), 10, UINT32_MAX, &uid) < 0 ? UINT32_MAX
                                                                                  : (uint32_t) uid;
}

static int add_holder(int process_fd, uint32_t pid, const char *what, PciUse *use) {
        PciHolder h = { .pid = pid, .uid = read_uid(process_fd) };

        if (use->n_holders > 0 && use->holders[use->n_holders - 1].pid == pid &&
            streq(use->holders[use->n_holders - 1].what, what))
                return 0; /* a second descriptor of the same */
        (void) read_attr_at(process_fd, "comm", h.comm, sizeof h.comm);
        read_unit(process_fd, h.unit, sizeof h.unit);
        (void) string_copy(h.what, sizeof h.what, what);
        return pci_use_add_holder(use, &h);
}

static int ask(int process_fd, uint32_t pid, const char *fd_name, const char *target,
               const HolderQuestion *q) {
        PciAddress found;

        if (q->node && ends_with_node(target, q->node))
                return add_holder(process_fd, pid, q->node, q->use);
        if (q->has_device && streq(target, VFIO_DEVICE_LINK) &&
            fdinfo_names_device(process_fd, fd_name, &found) && pci_address_equal(found, q->device))
                return add_holder(process_fd, pid, "VFIO device descriptor", q->use);
        return 0;
}

static int look_at_process(int process_fd, uint32_t pid, const HolderQuestion *questions,
                           size_t n) {
        _cleanup_strv_ char **fds = NULL;

        if (read_dir_names_at(process_fd, "fd", DESCRIPTORS_MAX, false, &fds) < 0)
                return 0;
        for (size_t i = 0; fds && fds[i]; i++) {
                char path[64], target[512];
                (void) snprintf(path, sizeof path, "fd/%.20s", fds[i]);
                if (readlink_at(process_fd, path, target, sizeof target) < 0)
                        continue;
                for (size_t q = 0; q < n; q++) {
                        int r = ask(process_fd, pid, fds[i], target, &questions[q]);
                        if (r < 0)
                                return r;
                }
        }
        return 0;
}

int holders_find(const SysTree *tree, const HolderQuestion *questions, size_t n) {
        _cleanup_strv_ char **names = NULL;

        assert(tree);
        assert(questions || n == 0);
        int r = read_dir_names_at(tree->proc, ".", PROCESSES_MAX, false, &names);
        if (r < 0)
                return r;
        for (size_t i = 0; names && names[i]; i++) {
                uint32_t pid;
                if (parse_u32(names[i], 10, UINT32_MAX, &pid) < 0 ||
                    (!tree->made && pid == (uint32_t) getpid()))
                        continue;
                _cleanup_close_
                int process_fd = openat(tree->proc, names[i], O_DIRECTORY | O_RDONLY | O_CLOEXEC);
                if (process_fd < 0)
                        continue;
                r = look_at_process(process_fd, pid, questions, n);
                if (r < 0)
                        return r;
        }
        return 0;
}
