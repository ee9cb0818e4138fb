/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What can happen in the world of the simulation test: clients ask, open, close and leave; steps fail; other tools
 * touch devices; cards come and go; events are lost; the daemon dies. Each act is drawn and noted, so that a trace
 * reads as a story.
 */

#include <fcntl.h>

#include "base/strutil.h"
#include "world.h"

static WorldDevice *draw_device(World *w) {
        return w->devices + world_draw(w, (uint32_t) w->n_devices);
}

static Caller caller_of(unsigned client) {
        static const char *const names[WORLD_CLIENTS] = { ":1.0", ":1.1", ":1.2", ":1.3" };

        return (Caller) { .uid = 1000 + client, .bus_name = names[client], .manager = true };
}

/* ---- requests and their answers ---- */

static WorldRequest *request_new(World *w, unsigned client) {
        WorldRequest *q;

        if (w->n_requests >= WORLD_REQUESTS_MAX)
                return NULL;
        q = w->requests + w->n_requests++;
        *q = (WorldRequest) { .world = w, .client = client, .life = w->life };
        return q;
}

static void keep_handles(World *w, const WorldRequest *q, const EngineAnswer *answer) {
        for (size_t i = 0; i < answer->n_fds && w->n_handles < WORLD_HANDLES_MAX; i++) {
                WorldHandle *h = w->handles + w->n_handles;
                int fd = fcntl(answer->fds[i].fd, F_DUPFD_CLOEXEC, 3);

                if (fd < 0)
                        continue;
                *h = (WorldHandle) { .fd = fd, .client = q->client, .group = answer->fds[i].group };
                h->is_shared = answer->fds[i].kind == HOST_FD_CONTAINER || answer->fds[i].kind == HOST_FD_IOMMUFD;
                (void) string_copy(h->assignment, sizeof(h->assignment), q->assignment);
                w->n_handles++;
        }
}

static void keep_assignment(World *w, const WorldRequest *q, const Assignment *a) {
        WorldKnown *k = world_known(w, a->id);

        if (k || w->n_known >= WORLD_REQUESTS_MAX)
                return;
        k = w->known + w->n_known++;
        *k = (WorldKnown) { .lifetime = a->lifetime, .client = q->client };
        (void) string_copy(k->id, sizeof(k->id), a->id);
        /* Its end may have been asked for while it was prepared. */
        k->ending = w->ending || a->release_wanted ||
                    (k->lifetime == LIFETIME_CONNECTION && w->client_gone[q->client]);
        w->n_assigned++;
}

static void on_reply(const EngineAnswer *answer, const Error *error, void *userdata) {
        WorldRequest *q = userdata;
        World *w = q->world;

        if (q->answered)
                world_fail(w, "a request was answered twice");
        if (!answer == !error)
                world_fail(w, "an answer that is both, or neither");
        q->answered = true;
        w->n_answers++;
        if (error) {
                w->n_refused++;
                world_note(w, "  #%zu refused: %s: %s", (size_t) (q - w->requests),
                        error_code_to_string(error->code), error->message);
                if (!error->message[0] || error->code == ERROR_NONE)
                        world_fail(w, "a refusal without a reason");
                return;
        }
        if (q->is_open)
                keep_handles(w, q, answer);
        else if (answer->assignment && answer->assignment->state == ASSIGNMENT_ACTIVE)
                keep_assignment(w, q, answer->assignment);
        world_note(w, "  #%zu answered", (size_t) (q - w->requests));
}

/* A refusal at once is an answer as well. */
static void asked(World *w, WorldRequest *q, int r, const Error *err) {
        if (r < 0)
                on_reply(NULL, err, q);
}

static void act_assign(World *w) {
        static const char *const owners[] = { "vm-1", "vm-2", "vm-3" };
        unsigned client = world_draw(w, WORLD_CLIENTS);
        _cleanup_error_ Error err = ERROR_INIT;
        AssignOptions o = ASSIGN_OPTIONS_INIT;
        char names[3][PCI_ADDRESS_MAX], *devices[4] = {}, id[8];
        uint32_t n = 1 + (world_chance(w, 25) ? world_draw(w, 3) : 0);
        Caller c = caller_of(client);
        WorldRequest *q;
        const char *owner = owners[world_draw(w, ELEMENTSOF(owners))];

        if (w->client_gone[client])
                return;
        for (uint32_t i = 0; i < n; i++)
                devices[i] = (char *) pci_address_format(draw_device(w)->address, names[i]);
        o.lifetime = world_chance(w, 50) ? LIFETIME_CONNECTION : LIFETIME_PERSISTENT;
        o.group = world_chance(w, 70) ? GROUP_TAKE_ALL : GROUP_ONLY_REQUESTED;
        (void) snprintf(id, sizeof(id), "r%u", world_draw(w, 40));
        if (world_chance(w, 20))
                o.request_id = id;
        if (world_chance(w, 20)) {
                o.uid = 1000 + client;
                o.by_node = true;
        }
        q = request_new(w, client);
        if (!q)
                return;
        world_note(w, "#%zu client %u assigns %s%s%s to %s, %s", w->n_requests - 1, client, devices[0],
                n > 1 ? " and " : "",
                   n > 1 ? devices[1] : "", owner, lifetime_to_string(o.lifetime));
        asked(w, q, engine_assign(w->engine, &c, devices, owner, &o, on_reply, q, &err), &err);
}

static const Assignment *draw_assignment(World *w) {
        const Inventory *i = engine_inventory(w->engine);
        const Assignment *found = NULL;

        /* By device, since the order of the table of assignments is not the same in each run. */
        for (unsigned attempt = 0; attempt < 8 && !found; attempt++) {
                const Device *d = inventory_device(i, draw_device(w)->address);

                found = d ? d->assignment : NULL;
        }
        return found;
}

static void act_release(World *w) {
        const Assignment *a = draw_assignment(w);
        _cleanup_error_ Error err = ERROR_INIT;
        unsigned client;
        WorldKnown *k;
        WorldRequest *q;
        Caller c;

        if (!a || a->creator_uid < 1000)
                return;
        client = world_chance(w, 90) ? a->creator_uid - 1000 : world_draw(w, WORLD_CLIENTS);
        c = caller_of(client);
        q = request_new(w, client);
        if (!q)
                return;
        k = world_known(w, a->id);
        world_note(w, "#%zu client %u releases %.8s", w->n_requests - 1, client, a->id);
        if (k && client == a->creator_uid - 1000)
                k->ending = true;
        if (world_chance(w, 70))
                world_close_handles(w, a->id, -1);
        asked(w, q, engine_release(w->engine, &c, a->id, world_chance(w, 50), on_reply, q, &err), &err);
}

static void act_open(World *w) {
        OpenOptions o = {
                .api = HOST_API_AUTO,
                .device_fd = world_chance(w, 50),
                .container_fd = -EBADF,
                .iommufd = -EBADF,
        };
        const Assignment *a = draw_assignment(w);
        _cleanup_error_ Error err = ERROR_INIT;
        WorldRequest *q;
        Caller c;

        if (!a || a->creator_uid < 1000)
                return;
        c = caller_of(a->creator_uid - 1000);
        q = request_new(w, a->creator_uid - 1000);
        if (!q)
                return;
        q->is_open = true;
        (void) string_copy(q->assignment, sizeof(q->assignment), a->id);
        world_note(w, "#%zu client %u opens %.8s", w->n_requests - 1, a->creator_uid - 1000, a->id);
        asked(w, q, engine_open(w->engine, &c, a->id, NULL, &o, on_reply, q, &err), &err);
}

static void act_close(World *w) {
        if (w->n_handles == 0)
                return;
        world_note(w, "a VMM closes what it has of %.8s", w->handles[0].assignment);
        world_close_handles(w, w->handles[world_draw(w, (uint32_t) w->n_handles)].assignment, -1);
}

static void act_client_gone(World *w) {
        unsigned client = world_draw(w, WORLD_CLIENTS);
        Caller c = caller_of(client);

        if (w->client_gone[client]) { /* another process, the same user */
                w->client_gone[client] = false;
                return;
        }
        world_note(w, "client %u is gone", client);
        for (size_t i = 0; i < w->n_known; i++)
                if (w->known[i].client == client && w->known[i].lifetime == LIFETIME_CONNECTION)
                        w->known[i].ending = true;
        if (world_chance(w, 60))
                world_close_handles(w, NULL, (int) client);
        w->client_gone[client] = true;
        engine_client_gone(w->engine, c.bus_name);
}

/* ---- what goes wrong ---- */

static void taint(World *w, PciAddress a) {
        for (size_t i = 0; i < w->n_devices; i++) /* and what shares its slot */
                if (w->devices[i].address.bus == a.bus)
                        w->devices[i].tainted = true;
}

static void act_fault(World *w) {
        static const int errors[] = { EBUSY, EINVAL, EIO, EPERM, ENODEV };
        const WorldDevice *d = draw_device(w);
        SimFault f = {
                .device = d->address,
                .step = (StepType) world_draw(w, _STEP_TYPE_MAX),
                .kind = (SimFaultKind) world_draw(w, _SIM_FAULT_KIND_MAX),
                .error = errors[world_draw(w, ELEMENTSOF(errors))],
                .delay = world_draw(w, 20) * USEC_PER_SEC,
                .times = 1 + world_draw(w, 2),
        };

        if (host_sim_inject(w->host, &f) < 0)
                return;
        w->n_faults++;
        taint(w, d->address);
        world_note(w, "fault %d (%s) in %s of %s", f.kind, strerrorname_np(f.error), step_type_to_string(f.step),
                   PCI_ADDRESS_TEXT(d->address));
}

static void act_foreign(World *w) {
        const WorldDevice *d = draw_device(w);
        static const char *const drivers[] = { "", "vfio-pci", "pci-stub" };
        const char *driver = drivers[world_draw(w, ELEMENTSOF(drivers))];

        if (d->critical)
                return;
        taint(w, d->address);
        switch (world_draw(w, 5)) {
        case 0:
                world_note(w, "somebody holds %s", PCI_ADDRESS_TEXT(d->address));
                (void) host_sim_hold(w->host, d->address, 4711, "foreign");
                break;
        case 1:
                world_note(w, "somebody lets %s go", PCI_ADDRESS_TEXT(d->address));
                (void) host_sim_unhold(w->host, d->address);
                break;
        case 2:
                world_note(w, "%s is pulled out", PCI_ADDRESS_TEXT(d->address));
                (void) host_sim_surprise_remove(w->host, d->address);
                break;
        case 3:
                world_note(w, "%s is put in", PCI_ADDRESS_TEXT(d->address));
                (void) host_sim_add(w->host, d->json, strlen(d->json), NULL);
                break;
        default:
                world_note(w, "another tool binds %s to \"%s\"", PCI_ADDRESS_TEXT(d->address), driver);
                (void) host_sim_rebind(w->host, d->address, driver);
        }
}

static void act_lose_events(World *w) {
        uint32_t n = 1 + world_draw(w, 4);

        world_note(w, "the next %u events are lost", n);
        host_sim_lose_events(w->host, n);
}

static void act_restart(World *w) {
        world_note(w, "the daemon dies; life %u", w->life + 1);
        world_restart(w);
}

static void act_advance(World *w) {
        usec_t by = world_chance(w, 50) ? world_draw(w, 3000) * USEC_PER_MSEC : world_draw(w, 120) * USEC_PER_SEC;

        world_note(w, "%llu ms pass", (unsigned long long) (by / USEC_PER_MSEC));
        world_advance(w, by);
}

static void act_clear(World *w) {
        world_note(w, "all faults are lifted");
        host_sim_clear_faults(w->host);
}

static const struct {
        unsigned weight;
        void (*act)(World *w);
} acts[] = {
        { 28, act_assign }, { 12, act_release }, { 10, act_open },   { 8, act_close },    { 4, act_client_gone },
        { 6, act_fault },   { 4, act_foreign },  { 3, act_clear },   { 2, act_lose_events }, { 5, act_restart },
        { 30, act_advance },
};

void world_act(World *w) {
        unsigned total = 0, lot;

        for (size_t i = 0; i < ELEMENTSOF(acts); i++)
                total += acts[i].weight;
        lot = world_draw(w, total);
        for (size_t i = 0; i < ELEMENTSOF(acts); i++) {
                if (lot < acts[i].weight) {
                        acts[i].act(w);
                        return;
                }
                lot -= acts[i].weight;
        }
}
