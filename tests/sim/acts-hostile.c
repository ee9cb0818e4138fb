/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Nonsense from outside: what no client should ask and many will. Each must be refused with an
 * error that says so, and none may change anything.
 */

#include "base/strutil.h"
#include "world.h"

static const char long_name[OWNER_MAX + 8] = { [0 ... OWNER_MAX + 6] = 'x' };

typedef struct Nonsense {
        const char *device, *second, *owner, *request_id, *label, *driver;
        bool other_uid, force, process;
} Nonsense;

static const Nonsense nonsense[] = {
        { .device = "0000:41:00.9", .owner = "vm-1" },
        { .device = "0000:ff:1f.7", .owner = "vm-1" },
        { .device = "", .owner = "vm-1" },
        { .device = long_name, .owner = "vm-1" },
        { .device = "../../etc/passwd", .owner = "vm-1" },
        { .device = "0000:45:00.0", .second = "0000:45:00.0", .owner = "vm-1" },
        { .device = "0000:45:00.0", .owner = "" },
        { .device = "0000:45:00.0", .owner = long_name },
        { .device = "0000:45:00.0", .owner = "vm\n1" },
        { .device = "0000:45:00.0", .owner = "vm-\xff" },
        { .device = "0000:45:00.0", .owner = "vm-1", .request_id = "\x01" },
        { .device = "0000:45:00.0", .owner = "vm-1", .label = "no equals sign" },
        { .device = "0000:45:00.0", .owner = "vm-1", .driver = "nvme" },
        { .device = "0000:45:00.0", .owner = "vm-1", .driver = "../vfio-pci" },
        { .device = "0000:45:00.0", .owner = "vm-1", .other_uid = true },
        { .device = "0000:45:00.0", .owner = "vm-1", .force = true },
        { .device = "0000:45:00.0", .owner = "vm-1", .process = true },
};

static int assign_nonsense(World *w, const Nonsense *n, const Caller *c, WorldRequest *q,
                           Error *err) {
        char *devices[] = { (char *) n->device, (char *) n->second, NULL },
             *labels[] = { (char *) n->label, NULL };
        AssignOptions o = ASSIGN_OPTIONS_INIT;

        o.request_id = n->request_id;
        o.labels = n->label ? labels : NULL;
        o.driver = n->driver;
        o.force = n->force;
        if (n->other_uid)
                o.uid = 1;
        if (n->process)
                o.lifetime = LIFETIME_PROCESS;
        return engine_assign(w->engine, c, devices, n->owner, &o, world_reply(), q, err);
}

void act_hostile(World *w) {
        const Nonsense *n = nonsense + world_draw(w, ELEMENTSOF(nonsense));
        unsigned what = world_draw(w, 4), client = world_draw(w, WORLD_CLIENTS);
        uint64_t before = engine_inventory(w->engine)->generation;
        _cleanup_error_ Error err = ERROR_INIT;
        WorldRequest *q = world_request(w, client, REQUEST_OTHER);
        Caller c = world_caller(client);
        int r;

        if (!q)
                return;
        q->hostile = true;
        world_note(w, "#%zu client %u talks nonsense (%zu)", w->n_requests - 1, client,
                   (size_t) (n - nonsense));
        if (what == 0)
                r = engine_release(w->engine, &c, "no such assignment", false, world_reply(), q,
                                   &err);
        else if (what == 1)
                r = engine_attach(w->engine, &c, "00000000000000000000000000000000", -EBADF, "0", 0,
                                  world_reply(), q, &err);
        else
                r = assign_nonsense(w, n, &c, q, &err);
        world_asked(w, q, r, &err);
        if (r >= 0)
                world_fail(w, INVARIANT_INPUT_IS_HOSTILE, "nonsense was not refused at once");
        /* Whoever has all that he may have hears that first. */
        if (err.code != ERROR_POLICY_DENIED && err.code != ERROR_BUSY &&
            err.code != ERROR_INVALID && err.code != ERROR_NOT_FOUND &&
            err.code != ERROR_NOT_AUTHORIZED)
                world_fail(w, INVARIANT_INPUT_IS_HOSTILE, "nonsense was refused as %s",
                           error_code_to_string(err.code));
        if (engine_inventory(w->engine)->generation != before)
                world_fail(w, INVARIANT_INPUT_IS_HOSTILE, "nonsense changed something");
}
