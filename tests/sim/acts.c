/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What clients of the simulated world do: ask for devices, open, attach, close, release, look, and
 * leave, as several users and owners at once, with processes that die. Each act is drawn and noted,
 * so that a trace reads as a story. What goes wrong is in acts-fault.c, what is nonsense in
 * acts-hostile.c.
 */

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/strutil.h"
#include "world.h"

Caller world_caller(unsigned client) {
        static const char *const names[WORLD_CLIENTS] = { ":1.0", ":1.1", ":1.2", ":1.3" };

        return (Caller) { .uid = 1000 + client, .bus_name = names[client], .manager = true };
}

/* ---- requests and their answers ---- */

WorldRequest *world_request(World *w, unsigned client, RequestKind kind) {
        WorldRequest *q;

        if (w->n_requests >= WORLD_REQUESTS_MAX)
                return NULL;
        q = w->requests + w->n_requests++;
        *q = (WorldRequest) { .world = w, .client = client, .kind = kind, .life = w->life };
        return q;
}

static void keep_handles(World *w, const WorldRequest *q, const EngineAnswer *answer) {
        for (size_t i = 0; i < answer->n_fds && w->n_handles < WORLD_HANDLES_MAX; i++) {
                WorldHandle *h = w->handles + w->n_handles;
                int fd = fcntl(answer->fds[i].fd, F_DUPFD_CLOEXEC, 3);

                if (fd < 0)
                        continue;
                *h = (WorldHandle) { .fd = fd, .client = q->client, .group = answer->fds[i].group };
                h->is_shared = answer->fds[i].kind == HOST_FD_CONTAINER ||
                               answer->fds[i].kind == HOST_FD_IOMMUFD;
                (void) string_copy(h->assignment, sizeof(h->assignment), q->assignment);
                w->n_handles++;
        }
}

static void keep_devices(WorldKnown *k, const Assignment *a) {
        for (size_t i = 0; i < a->plan->n_devices && k->n_devices < WORLD_KNOWN_DEVICES; i++)
                if (a->plan->devices[i].requested) /* who is parked beside it may change */
                        k->devices[k->n_devices++] = (WorldKnownDevice) {
                                .address = a->plan->devices[i].address,
                                .vendor = a->plan->devices[i].vendor,
                                .device = a->plan->devices[i].device,
                        };
}

static void keep_assignment(World *w, const WorldRequest *q, const Assignment *a) {
        WorldKnown *k = world_known(w, a->id);

        if (k || w->n_known >= WORLD_KNOWN_MAX)
                return;
        world_check_handed_over(w, a);
        k = w->known + w->n_known++;
        *k = (WorldKnown) { .lifetime = a->lifetime, .client = q->client };
        (void) string_copy(k->id, sizeof(k->id), a->id);
        keep_devices(k, a);
        /* Its end may have been asked for while it was prepared. */
        k->ending = w->ending || a->release_wanted || a->lifetime == LIFETIME_PROCESS ||
                    a->attach_deadline > 0 ||
                    (k->lifetime == LIFETIME_CONNECTION && w->client_gone[q->client]);
        w->report->assigned++;
}

static void on_reply(const EngineAnswer *answer, const Error *error, void *userdata) {
        WorldRequest *q = userdata;
        World *w = q->world;
        WorldKnown *k = world_known(w, q->assignment);

        if (q->answered)
                world_fail(w, INVARIANT_LOOP_NEVER_BLOCKS, "a request was answered twice");
        q->answered = true;
        w->report->answers++;
        if (error) {
                w->report->refused++;
                world_note(w, "  #%zu refused: %s: %s", (size_t) (q - w->requests),
                           error_code_to_string(error->code), error->message);
                world_check_refusal(w, q, error);
                return;
        }
        if (q->hostile)
                world_fail(w, INVARIANT_INPUT_IS_HOSTILE, "nonsense was accepted");
        if (q->kind == REQUEST_OPEN)
                keep_handles(w, q, answer);
        else if (q->kind == REQUEST_ASSIGN && answer->assignment &&
                 answer->assignment->state == ASSIGNMENT_ACTIVE)
                keep_assignment(w, q, answer->assignment);
        else if (q->kind == REQUEST_RELEASE && k && !q->no_wait)
                k->ended = true;
        world_note(w, "  #%zu answered", (size_t) (q - w->requests));
}

/* A refusal at once is an answer as well. */
void world_asked(World *w, WorldRequest *q, int r, const Error *err) {
        if (r < 0)
                on_reply(NULL, err, q);
}

EngineReply world_reply(void) {
        return on_reply;
}

/* ---- processes ---- */

/* A process that does nothing but live; -EBADF if there is none to be had. */
static int process_get(World *w, unsigned client) {
        WorldProcess *p = w->processes + client;
        pid_t world = getpid();
        int ends[2];
        char c;

        if (p->pidfd >= 0)
                return p->pidfd;
        if (pipe2(ends, O_CLOEXEC) < 0)
                return -EBADF;
        p->pid = fork();
        if (p->pid == 0) {
                (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
                if (getppid() != world)
                        _exit(EXIT_SUCCESS); /* it ended before */
                (void) close_range(0, UINT_MAX, 0);
                for (;;)
                        (void) pause();
        }
        (void) close(ends[1]);
        (void) !read(ends[0], &c, 1); /* it has closed all that it inherited */
        (void) close(ends[0]);
        if (p->pid > 0)
                p->pidfd = (int) syscall(SYS_pidfd_open, p->pid, 0);
        w->has_processes = true;
        return p->pidfd;
}

static void act_process_dies(World *w) {
        unsigned client = world_draw(w, WORLD_CLIENTS);
        WorldProcess *p = w->processes + client;

        if (p->pidfd < 0)
                return;
        world_note(w, "the process of client %u dies", client);
        (void) kill(p->pid, SIGKILL);
        (void) waitpid(p->pid, NULL, 0);
        p->pidfd = safe_close(p->pidfd);
        for (size_t i = 0; i < w->n_known; i++)
                if (w->known[i].client == client)
                        w->known[i].ending = true; /* process lifetime, or attached */
        world_close_handles(w, NULL, (int) client);
}

/* ---- asking for devices ---- */

typedef struct Wish { /* what an Assign or a Plan asks for */
        char names[3][PCI_ADDRESS_MAX], *devices[4], id[8];
        const char *owner;
        AssignOptions options;
        Caller caller;
} Wish;

/* Sometimes one that is not among those played with: a virtual function, a bridge, a sibling. */
static PciAddress draw_address(World *w) {
        const Inventory *i = engine_inventory(w->engine);

        if (world_chance(w, 90) || i->n_devices == 0)
                return world_draw_device(w)->address;
        return i->sorted[world_draw(w, (uint32_t) i->n_devices)]->facts.address;
}

static void make_wish(World *w, unsigned client, Wish *v) {
        static const char *const owners[] = { "vm-1", "vm-2", "vm-3" };
        uint32_t n = 1 + (world_chance(w, 25) ? world_draw(w, 3) : 0);
        AssignOptions *o = &v->options;

        *v = (Wish){ .owner = owners[world_draw(w, ELEMENTSOF(owners))],
                     .caller = world_caller(client) };
        *o = ASSIGN_OPTIONS_INIT;
        for (uint32_t i = 0; i < n; i++)
                v->devices[i] = (char *) pci_address_format(draw_address(w), v->names[i]);
        o->lifetime = world_chance(w, 50) ? LIFETIME_CONNECTION : LIFETIME_PERSISTENT;
        o->group = world_chance(w, 70) ? GROUP_TAKE_ALL : GROUP_ONLY_REQUESTED;
        (void) snprintf(v->id, sizeof(v->id), "r%u", world_draw(w, 40));
        if (world_chance(w, 20))
                o->request_id = v->id;
        if (world_chance(w, 20)) {
                o->uid = 1000 + client;
                o->by_node = true;
        }
        if (world_chance(w, 10))
                o->attach_within = (1 + world_draw(w, 60)) * USEC_PER_SEC;
        if (world_chance(w, 5)) {
                o->attach_within = 0;
                o->lifetime = LIFETIME_PROCESS;
                o->pidfd = process_get(w, client);
                v->caller.may_manage_others =
                        true; /* an orchestrator, whose VMM is another user's */
        }
}

static void act_assign(World *w) {
        unsigned client = world_draw(w, WORLD_CLIENTS);
        _cleanup_error_ Error err = ERROR_INIT;
        WorldRequest *q;
        Wish v;

        if (w->client_gone[client])
                return;
        make_wish(w, client, &v);
        v.options.no_wait = world_chance(w, 15);
        q = world_request(w, client, REQUEST_ASSIGN);
        if (!q)
                return;
        world_note(w, "#%zu client %u assigns %s%s%s%s to %s, %s%s", w->n_requests - 1, client,
                   v.devices[0], v.devices[1] ? " and " : "", strempty(v.devices[1]),
                   v.devices[2] ? " …" : "", v.owner, lifetime_to_string(v.options.lifetime),
                   v.options.no_wait ? ", not waiting" : "");
        world_asked(w, q,
                    engine_assign(w->engine, &v.caller, v.devices, v.owner, &v.options, on_reply, q,
                                  &err),
                    &err);
}

static void act_plan(World *w) {
        unsigned client = world_draw(w, WORLD_CLIENTS);
        _cleanup_error_ Error err = ERROR_INIT;
        WorldRequest *q;
        Wish v;

        make_wish(w, client, &v);
        q = world_request(w, client, REQUEST_OTHER);
        if (!q)
                return;
        world_note(w, "#%zu client %u plans %s for %s", w->n_requests - 1, client, v.devices[0],
                   v.owner);
        world_asked(w, q,
                    engine_plan(w->engine, &v.caller, v.devices, v.owner, &v.options, on_reply, q,
                                &err),
                    &err);
}

static const Assignment *draw_assignment(World *w) {
        const Inventory *i = engine_inventory(w->engine);
        const Assignment *found = NULL;

        for (unsigned attempt = 0; attempt < 8 && !found; attempt++) {
                const Device *d = inventory_device(i, world_draw_device(w)->address);

                found = d ? d->assignment : NULL;
        }
        return found && found->creator_uid >= 1000 && found->creator_uid < 1000 + WORLD_CLIENTS
                       ? found
                       : NULL;
}

static void act_release(World *w) {
        const Assignment *a = draw_assignment(w);
        _cleanup_error_ Error err = ERROR_INIT;
        unsigned client;
        WorldKnown *k;
        WorldRequest *q;
        Caller c;

        if (!a)
                return;
        client = world_chance(w, 90) ? a->creator_uid - 1000 : world_draw(w, WORLD_CLIENTS);
        c = world_caller(client);
        q = world_request(w, client, REQUEST_RELEASE);
        if (!q)
                return;
        k = world_known(w, a->id);
        world_note(w, "#%zu client %u releases %.8s", w->n_requests - 1, client, a->id);
        (void) string_copy(q->assignment, sizeof(q->assignment), a->id);
        if (k && client == a->creator_uid - 1000)
                k->ending = true;
        if (world_chance(w, 70))
                world_close_handles(w, a->id, -1);
        q->no_wait = world_chance(w, 50);
        world_asked(w, q, engine_release(w->engine, &c, a->id, q->no_wait, on_reply, q, &err),
                    &err);
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

        if (!a)
                return;
        c = world_caller(a->creator_uid - 1000);
        q = world_request(w, a->creator_uid - 1000, REQUEST_OPEN);
        if (!q)
                return;
        (void) string_copy(q->assignment, sizeof(q->assignment), a->id);
        world_note(w, "#%zu client %u opens %.8s", w->n_requests - 1, a->creator_uid - 1000, a->id);
        world_asked(w, q, engine_open(w->engine, &c, a->id, NULL, &o, on_reply, q, &err), &err);
}

static void act_attach(World *w) {
        const Assignment *a = draw_assignment(w);
        _cleanup_error_ Error err = ERROR_INIT;
        unsigned client;
        WorldKnown *k;
        WorldRequest *q;
        Caller c;

        if (!a)
                return;
        client = a->creator_uid - 1000;
        q = world_request(w, client, REQUEST_OTHER);
        if (!q)
                return;
        c = world_caller(client);
        c.may_manage_others = true;
        k = world_known(w, a->id);
        if (k)
                k->ending = true; /* with its process, from now on */
        world_note(w, "#%zu client %u attaches its process to %.8s", w->n_requests - 1, client,
                   a->id);
        world_asked(w, q,
                    engine_attach(w->engine, &c, a->id, process_get(w, client), "", 0, on_reply, q,
                                  &err),
                    &err);
}

static void act_close(World *w) {
        if (w->n_handles == 0)
                return;
        world_note(w, "a VMM closes what it has of %.8s", w->handles[0].assignment);
        world_close_handles(w, w->handles[world_draw(w, (uint32_t) w->n_handles)].assignment, -1);
}

static void act_client_gone(World *w) {
        unsigned client = world_draw(w, WORLD_CLIENTS);
        Caller c = world_caller(client);

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

/* ---- looking, and what administrators do ---- */

static void act_look(World *w) {
        char name[PCI_ADDRESS_MAX];
        const char *device = pci_address_format(world_draw_device(w)->address, name);
        unsigned client = world_draw(w, WORLD_CLIENTS), what = world_draw(w, 4);
        _cleanup_error_ Error err = ERROR_INIT;
        WorldRequest *q = world_request(w, client, REQUEST_OTHER);
        Caller c = world_caller(client);
        int r;

        if (!q)
                return;
        world_note(w, "#%zu client %u looks at %s (%u)", w->n_requests - 1, client, device, what);
        if (what == 0)
                r = engine_explain(w->engine, &c, device, "vm-1", on_reply, q, &err);
        else if (what == 1)
                r = engine_rescan(w->engine, &c, on_reply, q, &err);
        else
                r = engine_get_facts(w->engine, &c, device, NULL, what == 2 ? FACTS_REFRESH : 0,
                                     on_reply, q, &err);
        world_asked(w, q, r, &err);
}

static void act_reset(World *w) {
        const WorldDevice *d = world_draw_device(w);
        char name[PCI_ADDRESS_MAX];
        _cleanup_error_ Error err = ERROR_INIT;
        WorldRequest *q = world_request(w, 0, REQUEST_OTHER);
        const Caller root = { .may_manage_others = true, .may_force = true, .bus_name = ":1.99" };

        if (!q)
                return;
        world_note(w, "#%zu root resets %s", w->n_requests - 1, PCI_ADDRESS_TEXT(d->address));
        (void) pci_address_format(d->address, name);
        world_asked(w, q, engine_reset_device(w->engine, &root, name, on_reply, q, &err), &err);
}

static void act_vfs(World *w) {
        uint32_t n = world_draw(w, 4);
        VfsOptions o = { .driver = world_chance(w, 30) ? "host" : NULL,
                         .no_wait = world_chance(w, 50) };
        _cleanup_error_ Error err = ERROR_INIT;
        WorldRequest *q = world_request(w, 0, REQUEST_OTHER);
        const Caller root = { .may_manage_others = true, .may_force = true, .bus_name = ":1.99" };

        if (!q)
                return;
        world_note(w, "#%zu root wants %u virtual functions", w->n_requests - 1, n);
        world_asked(w, q, engine_set_numvfs(w->engine, &root, WORLD_PF, n, &o, on_reply, q, &err),
                    &err);
}

static void act_cancel(World *w) {
        _cleanup_error_ Error err = ERROR_INIT;
        const Caller root = { .may_manage_others = true, .bus_name = ":1.99" };
        const Device *d =
                inventory_device(engine_inventory(w->engine), world_draw_device(w)->address);

        if (!d || !d->job)
                return;
        world_note(w, "root cancels job %llu", (unsigned long long) d->job->id);
        (void) engine_cancel_job(w->engine, &root, d->job->id, &err);
}

static void act_advance(World *w) {
        usec_t by = world_chance(w, 50) ? world_draw(w, 3000) * USEC_PER_MSEC
                                        : world_draw(w, 120) * USEC_PER_SEC;

        world_note(w, "%llu ms pass", (unsigned long long) (by / USEC_PER_MSEC));
        world_advance(w, by);
}

static const struct {
        unsigned weight;
        void (*act)(World *w);
} acts[] = {
        { 56, act_assign },     { 24, act_release },    { 20, act_open },
        { 16, act_close },      { 8, act_client_gone }, { 4, act_process_dies },
        { 6, act_attach },      { 6, act_plan },        { 4, act_look },
        { 3, act_reset },       { 4, act_vfs },         { 4, act_cancel },
        { 12, act_fault },      { 6, act_clear },       { 3, act_hold },
        { 3, act_rebind },      { 2, act_pull },        { 3, act_put },
        { 4, act_lose_events }, { 2, act_synthetic },   { 4, act_crash_later },
        { 2, act_restart },     { 2, act_swap },        { 1, act_reboot },
        { 6, act_disk },        { 4, act_hostile },     { 1, act_attention },
        { 3, act_error },       { 60, act_advance },
};

void world_act(World *w) {
        unsigned total = 0, lot;

        for (size_t i = 0; i < ELEMENTSOF(acts); i++)
                total += acts[i].weight;
        lot = world_draw(w, total);
        for (size_t i = 0; i < ELEMENTSOF(acts); i++) {
                if (lot < acts[i].weight) {
                        acts[i].act(w);
                        break;
                }
                lot -= acts[i].weight;
        }
        world_settle(w);
        world_check(w);
}
