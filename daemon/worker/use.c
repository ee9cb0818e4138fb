/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Which nodes stand for a function, and who has them open: the group's node and the cdev of a
 * function on VFIO, the nodes of its children otherwise. Network interfaces have no node; their use
 * shows in routes (critical.h).
 */

#include <assert.h>

#include "base/fdio.h"
#include "base/strutil.h"
#include "worker/holders.h"
#include "worker/vfio.h"
#include "worker/worker.h"

static const struct {
        const char *subsystem, *directory;
} nodes[] = {
        { "block", "/dev" },
        { "nvme", "/dev" },
        { "drm", "/dev/dri" },
        { "accel", "/dev/accel" },
        { "misc", "/dev" },
        { "cxl", "/dev/cxl" },
};

bool worker_use_has_nodes(const PciUse *use) {
        assert(use);
        for (size_t i = 0; i < use->n_children; i++)
                for (size_t j = 0; j < ELEMENTSOF(nodes); j++)
                        if (streq(use->children[i].subsystem, nodes[j].subsystem))
                                return true;
        return false;
}

static int add_node(char ***paths, const char *directory, const char *name) {
        _cleanup_free_ char *path = strjoinf("%s/%s", directory, name);

        return path ? strv_extend(paths, path) : -ENOMEM;
}

static int collect_nodes(Worker *w, PciAddress a, const PciUse *use, char ***paths) {
        _cleanup_close_ int fd = sys_open_function(&w->tree, a);
        char name[64];
        int r = 0;

        if (fd < 0)
                return fd;
        if (readlink_base_at(fd, "iommu_group", name, sizeof(name)) >= 0)
                r = add_node(paths, "/dev/vfio", name);
        if (r >= 0 && vfio_cdev_name(&w->tree, a, name, sizeof(name)) >= 0)
                r = add_node(paths, "/dev/vfio/devices", name);
        for (size_t i = 0; r >= 0 && i < use->n_children; i++)
                for (size_t j = 0; r >= 0 && j < ELEMENTSOF(nodes); j++)
                        if (streq(use->children[i].subsystem, nodes[j].subsystem))
                                r = add_node(paths, nodes[j].directory, use->children[i].name);
        return r;
}

int worker_find_holders(Worker *w, PciAddress a, PciUse *use) {
        _cleanup_free_ HolderQuestion *questions = NULL;
        _cleanup_strv_ char **paths = NULL;
        size_t n;
        int r;

        assert(w);
        assert(use);
        r = collect_nodes(w, a, use, &paths);
        if (r < 0)
                return r;
        n = strv_length(paths);
        questions = calloc(n + 1, sizeof(HolderQuestion));
        if (!questions)
                return -ENOMEM;
        for (size_t i = 0; paths && i < n; i++)
                questions[i] = (HolderQuestion) { .node = paths[i], .use = use };
        questions[n] = (HolderQuestion) { .device = a, .has_device = true, .use = use };
        return holders_find(&w->tree, questions, n + 1);
}
