/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The kernel behind the seam: what the daemon reads itself (kernel-scan.c), the kernel's events
 * (kernel-monitor.c) and worker processes for all that may sleep (kernel-worker.c, kernel-job.c).
 * This file makes and frees it. The whole tree can stand below another root; then events come from
 * a socket below it and workers are executed directly.
 */

#include <assert.h>
#include <fcntl.h>

#include "base/fdio.h"
#include "base/names.h"
#include "base/strutil.h"
#include "host/kernel-private.h"

static void kernel_free(Host *h) {
        KernelHost *k = kernel_host(h);

        kernel_monitor_stop(k);
        kernel_sessions_free(k);
        LIST_FOREACH(&k->jobs, link)
                kernel_job_free(LIST_ENTRY(link, HostJob, link));
        sd_event_source_disable_unref(k->spare_source);
        sd_event_unref(k->event);
        sys_tree_done(&k->tree);
        sys_aliases_done(&k->aliases);
        free(k->root);
        free(k->runtime_dir);
        free(k->worker_dir);
        free(k->state_dir);
        free(k->worker_socket);
        free(k->worker_path);
        free(k);
}

static int kernel_start(Host *h, HostEventHandler handler, void *userdata) {
        KernelHost *k = kernel_host(h);
        int r;

        k->handler = handler;
        k->handler_userdata = userdata;
        if (k->monitor_source)
                return 0;
        r = kernel_monitor_start(k);
        if (r < 0)
                return r;
        kernel_spare_want(k, 0);
        return 0;
}

static int kernel_state_files(Host *h, HostStateFile **ret, size_t *ret_n) {
        _cleanup_close_ int fd = state_dir_open(kernel_host(h)->state_dir, geteuid());

        return fd < 0 ? fd : state_dir_list(fd, geteuid(), ret, ret_n);
}

static const char *kernel_state_directory(Host *h) {
        return kernel_host(h)->state_dir;
}

/* Of the tree, else of this machine: a tree below another root may have none. 32 hexadecimal digits
 * of a UUID. */
static int kernel_boot_id(Host *h, char ret[HOST_BOOT_ID_MAX]) {
        static const char path[] = "/proc/sys/kernel/random/boot_id";
        char text[64], id[HOST_BOOT_ID_MAX] = "";
        ssize_t size = read_attr_at(kernel_host(h)->tree.root, path + 1, text, sizeof(text));
        size_t n = 0;

        if (size <= 0)
                size = read_attr_at(AT_FDCWD, path, text, sizeof(text));
        if (size <= 0)
                return size < 0 ? (int) size : -ENODATA;
        for (const char *p = text; *p; p++)
                if (*p == '-')
                        continue;
                else if (!strchr("0123456789abcdef", *p) || n >= sizeof(id) - 1)
                        return -EBADMSG;
                else
                        id[n++] = *p;
        if (n != sizeof(id) - 1)
                return -EBADMSG;
        memcpy(ret, id, sizeof(id));
        return 0;
}

static const HostOps kernel_ops = {
        .name = "kernel",
        .free = kernel_free,
        .start = kernel_start,
        .scan_begin = kernel_scan_begin,
        .scan_next = kernel_scan_next,
        .scan_end = kernel_scan_end,
        .refresh = kernel_refresh,
        .read_children = kernel_read_children,
        .iommus = kernel_iommus,
        .slots = kernel_slots,
        .nodes = kernel_nodes,
        .choose_driver = kernel_choose_driver,
        .submit = kernel_submit,
        .cancel = kernel_cancel,
        .detach = kernel_detach,
        .group_locked = kernel_group_locked,
        .state_files = kernel_state_files,
        .state_directory = kernel_state_directory,
        .boot_id = kernel_boot_id,
        .now = kernel_now,
        .timer_new = kernel_timer_new,
        .timer_set = kernel_timer_set,
        .timer_free = kernel_timer_free,
};

int host_kernel_new(struct sd_event *event, const HostKernelOptions *options, Host **ret) {
        KernelHost *k;
        int r;

        assert(event);
        assert(options);
        assert(options->root);
        assert(options->runtime_dir);
        assert(ret);
        if (!options->worker_socket && !options->worker_path)
                return -EINVAL;
        k = calloc(1, sizeof(KernelHost));
        if (!k)
                return -ENOMEM;
        k->host.ops = &kernel_ops;
        k->event = sd_event_ref(event);
        k->tree = SYS_TREE_INIT;
        k->event_socket = -EBADF;
        k->max_workers = MAX(options->max_workers, 1U);
        k->step_timeout_msec = options->step_timeout_msec > 0 ? options->step_timeout_msec :
                                                                PLAN_STEP_TIMEOUT_DEFAULT_MSEC;
        list_init(&k->sessions);
        list_init(&k->jobs);
        k->worker_dir = options->worker_socket ? strdup(WORKER_DIR)
                                               : strjoinf("%s/worker", options->runtime_dir);
        if (!k->worker_dir || free_and_strdup(&k->root, options->root) < 0 ||
            free_and_strdup(&k->runtime_dir, options->runtime_dir) < 0 ||
            free_and_strdup(&k->state_dir, options->state_dir ? options->state_dir : STATE_DIR) <
                    0 ||
            free_and_strdup(&k->worker_socket, options->worker_socket) < 0 ||
            free_and_strdup(&k->worker_path, options->worker_path) < 0)
                r = -ENOMEM;
        else
                r = sys_tree_open(k->root, &k->tree);
        if (r < 0) {
                kernel_free(&k->host);
                return r;
        }
        *ret = &k->host;
        return 0;
}
