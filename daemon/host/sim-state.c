/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The simulated host's state directory: files in memory that outlive a simulated reboot, or a real
 * directory, so that they outlive the daemon. It can be made to fail as a full or read-only one
 * does; then nothing is written, and what was there can still be read and compared.
 */

#include <assert.h>

#include "base/strutil.h"
#include "host/sim-private.h"
#include "host/state-dir.h"

typedef struct SimFile {
        char *name, *text;
} SimFile;

static void file_free(SimFile *f) {
        free(f->name);
        free(f->text);
        free(f);
}

void sim_state_free(SimHost *h) {
        SimFile *f;

        if (h->files)
                HASHMAP_FOREACH(f, h->files)
                        file_free(f);
        h->files = hashmap_free(h->files);
        free(h->state_dir);
}

static int memory_put(SimHost *h, const char *name, const char *text) {
        SimFile *f = hashmap_get(h->files, name);
        int r;

        if (!text[0]) {
                if (f) {
                        (void) hashmap_remove(h->files, name);
                        file_free(f);
                }
                return 0;
        }
        if (f)
                return free_and_strdup(&f->text, text);
        f = calloc(1, sizeof(SimFile));
        if (!f)
                return -ENOMEM;
        r = free_and_strdup(&f->name, name);
        if (r >= 0)
                r = free_and_strdup(&f->text, text);
        if (r >= 0)
                r = hashmap_put(h->files, f->name, f);
        if (r < 0)
                file_free(f);
        return r;
}

static bool memory_holds(const SimHost *h, const char *name, const char *text) {
        const SimFile *f = hashmap_get(h->files, name);

        return streq(f ? f->text : "", text);
}

int sim_state_commit(SimHost *h, const char *name, const char *text) {
        _cleanup_close_ int fd = -EBADF;

        if (!state_dir_name_is_valid(name))
                return -EINVAL;
        if (h->state_error != 0)
                return -h->state_error;
        if (!h->state_dir)
                return memory_put(h, name, text);
        fd = state_dir_open(h->state_dir, geteuid());
        return fd < 0 ? fd : state_dir_commit(fd, geteuid(), name, text);
}

int sim_state_undo(SimHost *h, const char *name, const char *text, bool failed) {
        _cleanup_close_ int fd = -EBADF;

        if (!h->state_dir)
                return memory_holds(h, name, text) ? 0 : sim_state_commit(h, name, text);
        fd = state_dir_open(h->state_dir, geteuid());
        if (fd < 0 && failed)
                return 0; /* nothing was written where nothing is */
        if (fd >= 0 && state_dir_holds(fd, geteuid(), name, text) > 0)
                return 0;
        return sim_state_commit(h, name, text);
}

static int memory_list(SimHost *h, HostStateFile **ret, size_t *ret_n) {
        HostStateFile *files = calloc(hashmap_size(h->files) + 1, sizeof(HostStateFile));
        size_t n = 0;
        SimFile *f;

        if (!files)
                return -ENOMEM;
        HASHMAP_FOREACH(f, h->files) {
                files[n].name = strdup(f->name);
                files[n].text = strdup(f->text);
                files[n].size = strlen(f->text);
                n++;
        }
        for (size_t i = 0; i < n; i++)
                if (!files[i].name || !files[i].text) {
                        host_state_files_free(files, n);
                        return -ENOMEM;
                }
        *ret = files;
        *ret_n = n;
        return 0;
}

int sim_state_files(Host *host, HostStateFile **ret, size_t *ret_n) {
        SimHost *h = sim_of(host);
        _cleanup_close_ int fd = -EBADF;

        if (!h->state_dir)
                return memory_list(h, ret, ret_n);
        fd = state_dir_open(h->state_dir, geteuid());
        return fd < 0 ? fd : state_dir_list(fd, geteuid(), ret, ret_n);
}

const char *sim_state_directory(Host *host) {
        return sim_of(host)->state_dir ? sim_of(host)->state_dir : "the simulated state directory";
}

/* ---- for tests and the daemon over a simulated host ---- */

int host_sim_set_state_dir(Host *host, const char *path) {
        assert(host_is_sim(host));
        return free_and_strdup(&sim_of(host)->state_dir, path);
}

void host_sim_set_state_error(Host *host, int error) {
        assert(host_is_sim(host));
        sim_of(host)->state_error = error;
}

int host_sim_put_state(Host *host, const char *name, const char *text) {
        assert(host_is_sim(host));
        return memory_put(sim_of(host), name, text);
}

void host_sim_take_state(Host *to, Host *from) {
        Hashmap *files;

        assert(host_is_sim(to));
        assert(host_is_sim(from));
        files = sim_of(to)->files;
        sim_of(to)->files = sim_of(from)->files;
        sim_of(from)->files = files;
        sim_of(to)->boots = sim_of(from)->boots + 1;
}

int sim_boot_id(Host *host, char ret[HOST_BOOT_ID_MAX]) {
        const SimHost *h = sim_of(host);

        (void) snprintf(ret, HOST_BOOT_ID_MAX, "%032u", h->boots + 1);
        return 0;
}
