/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * PREPARE: loads the modules that plans will need, once at start, so that no plan waits for a
 * module: vfio-pci, the type 1 IOMMU backend, the variant drivers whose aliases match a function of
 * this host, and what the request names. A module that this kernel does not have is no failure:
 * what is missing is doctor's to say. Over a made tree nothing is loaded.
 */

#include <assert.h>
#include <libkmod.h>

#include "base/fdio.h"
#include "base/strutil.h"
#include "pci/driver.h"
#include "worker/worker.h"

static bool module_name_is_valid(const char *s) {
        size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-");

        return n > 0 && n <= 56 && !s[n];
}

/* alias: a module's name or a "vfio_pci:…" alias. Every module behind it. */
static int load(struct kmod_ctx *ctx, const char *alias) {
        struct kmod_list *list = NULL, *l;
        int r;

        r = kmod_module_new_from_lookup(ctx, alias, &list);
        if (r < 0)
                return r;
        kmod_list_foreach(l, list) {
                struct kmod_module *m = kmod_module_get_module(l);
                int k;

                k = kmod_module_probe_insert_module(m, KMOD_PROBE_APPLY_BLACKLIST, NULL, NULL, NULL,
                                                    NULL);
                if (k < 0 && k != -EEXIST && r >= 0)
                        r = k;
                kmod_module_unref(m);
        }
        kmod_module_unref_list(list);
        return r;
}

/* One lookup for each distinct kind of function, not for each function. */
static int load_variants(Worker *w, struct kmod_ctx *ctx) {
        _cleanup_strv_ char **seen = NULL;
        _cleanup_free_ PciAddress *functions = NULL;
        _cleanup_close_ int devices = -EBADF;
        size_t n;
        int r;

        devices = open_dir_at(w->tree.sys, "bus/pci/devices");
        if (devices < 0)
                return devices;
        r = sys_list_functions(&w->tree, &functions, &n);
        for (size_t i = 0; r >= 0 && i < n && worker_may_go_on(w); i++) {
                char alias[PCI_MODALIAS_MAX];
                PciFacts f;

                if (sys_read_cold(devices, functions[i], &f) < 0)
                        continue;
                if (!pci_facts_is_bridge(&f) &&
                    !strv_contains(seen, pci_vfio_modalias(&f, alias))) {
                        r = strv_extend(&seen, alias);
                        (void) load(ctx, alias); /* one that does not load is not chosen: it is not
                                                    bound to */
                }
                pci_facts_done(&f);
        }
        return r;
}

void worker_prepare(Worker *w, char *const *modules) {
        static const char *const always[] = { "vfio_pci", "vfio_iommu_type1" };
        struct kmod_ctx *ctx;
        int r = 0;

        assert(w);
        if (w->tree.made) {
                worker_finish_simple(w, 0, "load modules");
                return;
        }
        ctx = kmod_new(NULL, NULL);
        if (!ctx) {
                worker_finish_simple(w, -ENOMEM, "load modules");
                return;
        }
        (void) kmod_load_resources(ctx); /* the indexes; without them a lookup reads files */
        for (size_t i = 0; i < ELEMENTSOF(always); i++) {
                int k = load(ctx, always[i]);
                if (k < 0 && r >= 0)
                        r = k;
        }
        for (char *const *m = modules; m && *m && r >= 0; m++)
                r = module_name_is_valid(*m) ? load(ctx, *m) : -EINVAL;
        if (r >= 0)
                r = load_variants(w, ctx);
        kmod_unref(ctx);
        worker_finish_simple(w, r, "load VFIO modules");
}
