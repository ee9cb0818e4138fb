/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Making and leaving a world, its clock, its generators, and the deaths of its daemon. A daemon
 * that is told to end is freed; one that crashes is left where it stands by longjmp(): its memory
 * leaks, its descriptors are closed as the kernel would, the host is told that nobody listens any
 * more, and the next daemon has only the store and the kernel to go by.
 */

#include "world.h"

#include <assert.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/fdio.h"
#include "base/log.h"
#include "base/strutil.h"
#include "engine/engine-private.h"

#define CALLBACKS_MAX 100000U /* at one instant: a loop that does not end */

const char *invariant_to_string(Invariant i) {
        static const char *const names[_INVARIANT_MAX] = {
                [INVARIANT_ONE_OWNER_PER_GROUP] = "one-owner-per-group",
                [INVARIANT_JOURNAL_BEFORE_KERNEL] = "journal-before-kernel",
                [INVARIANT_LOOP_NEVER_BLOCKS] = "loop-never-blocks",
                [INVARIANT_REFUSAL_IS_DATA] = "refusal-is-data",
                [INVARIANT_NO_DIRTY_HAND_OVER] = "no-dirty-hand-over",
                [INVARIANT_HOST_SURVIVES] = "host-survives",
                [INVARIANT_RELEASE_RESTORES] = "release-restores",
                [INVARIANT_KERNEL_FACTS_WIN] = "kernel-facts-win",
                [INVARIANT_INPUT_IS_HOSTILE] = "input-is-hostile",
                [INVARIANT_OWNER_HEARS] = "owner-hears",
                [INVARIANT_NONE] = "program",
        };

        return names[i];
}

/* ---- lots ---- */

/* splitmix64: a good start for xorshift from any number. */
static uint64_t mix(uint64_t x) {
        x += UINT64_C(0x9e3779b97f4a7c15);
        x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
        x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
        return (x ^ (x >> 31)) | 1;
}

/* xorshift64*: enough for drawing lots, and the same everywhere. */
static uint64_t next_random(uint64_t *state) {
        *state ^= *state >> 12;
        *state ^= *state << 25;
        *state ^= *state >> 27;
        return *state * UINT64_C(0x2545f4914f6cdd1d);
}

uint32_t world_draw(World *w, uint32_t n) {
        return n > 0 ? (uint32_t) (next_random(&w->random) >> 32) % n : 0;
}

bool world_chance(World *w, uint32_t percent) {
        return world_draw(w, 100) < percent;
}

void world_random_bytes(World *w, void *buffer, size_t n) {
        uint8_t *p = buffer;

        for (size_t i = 0; i < n; i++)
                p[i] = (uint8_t) (next_random(&w->random_ids) >> 56);
}

void world_begin_step(World *w, size_t step) {
        w->step = step;
        w->random = mix(w->seed ^ mix(step));
        w->random_ids = mix(w->random);
}

/* ---- its story ---- */

static void note(World *w, const char *format, va_list ap) _printf_(2, 0);
static void note(World *w, const char *format, va_list ap) {
        WorldReport *r = w->report;
        int n;

        if (r->trace_length + 2 >= sizeof(r->trace))
                return;
        n = vsnprintf(r->trace + r->trace_length, sizeof(r->trace) - r->trace_length - 1, format,
                      ap);
        r->trace_length += MIN((size_t) MAX(n, 0), sizeof(r->trace) - r->trace_length - 2);
        r->trace[r->trace_length++] = '\n';
        r->trace[r->trace_length] = 0;
}

void world_note(World *w, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        note(w, format, ap);
        va_end(ap);
}

void world_fail(World *w, Invariant i, const char *format, ...) {
        va_list ap;

        world_note(w, "step %zu violates %s:", w->step, invariant_to_string(i));
        va_start(ap, format);
        note(w, format, ap);
        va_end(ap);
        w->report->invariant = i;
        fflush(NULL);
        _exit(EXIT_FAILURE);
}

/* ---- its clock ---- */

static void after_callback(World *w) {
        if (w->crash_in > 0 && --w->crash_in == 0) {
                world_note(w, "  the daemon dies between two callbacks");
                world_crash(w);
        }
}

/* Checks whenever the clock is about to move: then everything that was due has been done. */
static void run_until(World *w, usec_t until) {
        unsigned n = 0;

        for (;;) {
                if (n > 0 && host_sim_next(w->host) > host_sim_clock(w->host)) {
                        world_check(w);
                        n = 0;
                }
                if (!host_sim_run_one(w->host, until))
                        return;
                after_callback(w);
                if (++n > CALLBACKS_MAX)
                        world_fail(w, INVARIANT_LOOP_NEVER_BLOCKS, "the loop turns without end");
        }
}

void world_settle(World *w) {
        run_until(w, host_sim_clock(w->host));
        for (unsigned i = 0; i < WORLD_CLIENTS && w->has_processes; i++) {
                engine_poll_owners(w->engine); /* one at a time */
                run_until(w, host_sim_clock(w->host));
        }
}

void world_advance(World *w, usec_t by) {
        usec_t end = host_sim_clock(w->host) + by;

        run_until(w, end);
        if (host_sim_clock(w->host) < end)
                host_sim_advance(w->host, end - host_sim_clock(w->host));
        world_settle(w);
}

/* ---- its daemon ---- */

static void on_removed(const Assignment *a, void *userdata) {
        World *w = userdata;
        WorldKnown *k = world_known(w, a->id);

        w->report->released++;
        if (k && !k->ending)
                world_fail(w, INVARIANT_ONE_OWNER_PER_GROUP,
                           "assignment %.8s went away and nobody had asked for it", a->id);
        world_check_removed(w, a);
}

static void on_notice(const Assignment *a, const AssignmentNotice *notice, void *userdata) {
        World *w = userdata;
        WorldNotice *n;

        w->report->notices++;
        world_note(w, "  %.8s hears: %s %s", a->id, notice->kind, strempty(notice->device));
        /* Of one that is still on its way, or on its way out, the end itself is the news. */
        if (w->n_notices >= WORLD_NOTICES_MAX || !world_known(w, a->id) || a->job)
                return;
        n = w->notices + w->n_notices++;
        *n = (WorldNotice) { .number = notice->number };
        (void) string_copy(n->assignment, sizeof(n->assignment), a->id);
        (void) string_copy(n->kind, sizeof(n->kind), notice->kind);
}

static const EngineObserver observer = { .assignment_removed = on_removed,
                                         .assignment_notice = on_notice };

static int try_start(World *w) {
        EngineOptions options = {
                .step_timeout_msec = 75000,
                .max_jobs = 32,
                .max_jobs_per_uid = 16,
                .max_assignments = 64,
                .max_assignments_per_uid = WORLD_MAX_ASSIGNMENTS_PER_UID,
                .simulated = true,
        };
        int r;

        r = store_open(w->runtime, w->state, &w->store);
        if (r < 0)
                return r;
        disk_trust();
        r = engine_new(NULL, w->host, w->store, &options, &w->engine);
        if (r < 0)
                return r;
        engine_observe(w->engine, &observer, w);
        r = engine_start(w->engine);
        if (r >= 0)
                r = engine_settle(w->engine);
        return r;
}

static void stop_daemon(World *w) {
        w->engine = engine_free(w->engine);
        w->store = store_close(w->store);
}

/* Clients whose connection ended while no daemon was there are named to the next one, as the bus
 * would. */
static void start_daemon(World *w) {
        int r;

        w->life++;
        w->report->lives++;
        w->just_started = true;
        r = try_start(w);
        if (r == -EIO || r == -ENOSPC) { /* a service manager tries again, an operator makes room */
                world_note(w, "  the daemon does not start (%s); the disk is mended",
                           strerrorname_np(-r));
                disk_clear();
                stop_daemon(w);
                r = try_start(w);
        }
        if (r < 0)
                world_fail(w, INVARIANT_JOURNAL_BEFORE_KERNEL, "the daemon does not start: %s",
                           strerrorname_np(-r));
        for (unsigned i = 0; i < WORLD_CLIENTS; i++) {
                char name[16];

                (void) snprintf(name, sizeof(name), ":1.%u", i);
                if (w->client_gone[i])
                        engine_client_gone(w->engine, name);
        }
}

void world_restart(World *w) {
        stop_daemon(w);
        start_daemon(w);
}

void world_restart_with_other_card(World *w, WorldDevice *d) {
        stop_daemon(w);
        (void) host_sim_run(w->host); /* what the dead daemon's workers were at */
        (void) host_sim_surprise_remove(w->host, d->address);
        (void) host_sim_run(w->host);
        (void) host_sim_add(w->host, d->other_json, strlen(d->other_json), NULL);
        (void) host_sim_run(w->host);
        d->quarantined = false; /* which follows the hardware */
        d->owner[0] = 0;
        start_daemon(w);
}

void world_crash(World *w) {
        assert(w->can_crash);
        w->can_crash = false;
        w->crash_in = 0;
        longjmp(w->crash, 1);
}

static void bury_daemon(World *w) {
        w->report->crashes++;
        w->engine = NULL;
        w->store = NULL;
        host_sim_orphan(w->host);
        disk_close_below(w->directory);
        /* What a client heard in this very moment it may have heard too early. */
        for (size_t i = w->n_notices; i > 0; i--)
                if (!w->notices[i - 1].settled)
                        w->notices[i - 1] = w->notices[--w->n_notices];
}

void world_play(World *w, void (*what)(World *w)) {
        if (setjmp(w->crash) != 0) { /* maybe again: the next daemon may die while it starts */
                bury_daemon(w);
                world_note(w, "life %u begins", w->life + 1);
                w->can_crash = true;
                start_daemon(w);
        } else {
                w->can_crash = true;
                what(w);
        }
        w->can_crash = false;
        for (size_t i = 0; i < w->n_notices; i++)
                w->notices[i].settled = true;
}

static void empty_directory(const char *path) {
        _cleanup_close_ int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        _cleanup_strv_ char **names = NULL;

        if (fd < 0 || read_dir_names_at(fd, ".", 4096, false, &names) < 0)
                return;
        for (char **name = names; name && *name; name++)
                (void) unlinkat(fd, *name, 0);
}

/* Cards that are not there stay away; other hands' work is forgotten. */
static void carry_cards_over(World *w, Host *next) {
        for (size_t i = 0; i < w->n_devices; i++) {
                WorldDevice *d = w->devices + i;
                SimLook f, g;
                bool there = host_sim_look(w->host, d->address, &f);

                d->tainted = !there || !host_sim_look(next, d->address, &g) || f.device != g.device;
                if (d->tainted) {
                        (void) host_sim_surprise_remove(next, d->address);
                        (void) host_sim_run(next);
                }
                if (there && d->tainted) {
                        (void) host_sim_add(next, d->other_json, strlen(d->other_json), NULL);
                        (void) host_sim_run(next);
                }
        }
}

void world_reboot(World *w) {
        Host *next;

        if (w->boots >= WORLD_BOOTS_MAX)
                return;
        next = w->template->hosts[++w->boots];
        w->report->boots++;
        stop_daemon(w);
        world_close_handles(w, NULL, -1);
        carry_cards_over(w, next);
        host_sim_take_state(next, w->host);
        w->host = host_free(w->host);
        w->host = next;
        world_watch_kernel(w);
        empty_directory(w->runtime);
        disk_forget();
        for (unsigned i = 0; i < WORLD_CLIENTS; i++)
                w->client_gone[i] = false; /* of that boot nobody is left, and names begin anew */
        for (size_t i = 0; i < w->n_known; i++) /* connections and processes ended */
                w->known[i].ending |= w->known[i].lifetime != LIFETIME_PERSISTENT;
        for (size_t i = 0; i < w->n_known && w->state_was_faulty; i++)
                w->known[i].ended = false; /* as its job said */
        w->n_notices = 0;
        start_daemon(w);
}

/* ---- making one ---- */

void world_init(World *w, uint64_t seed, WorldTemplate *t, WorldReport *report) {
        const char *base = getenv("TMPDIR");

        *w = (World) { .seed = mix(seed), .report = report, .template = t, .host = t->hosts[0] };
        for (unsigned i = 0; i < WORLD_CLIENTS; i++)
                w->processes[i].pidfd = -EBADF;
        w->verbose = getenv("SIMULATION_VERBOSE") != NULL;
        log_set_level(w->verbose ? LOG_INFO
                                 : LOG_ERR); /* of standard error, which the parent keeps */
        world_begin_step(w, SIZE_MAX);
        disk_attach(w);
        if (isempty(base))
                base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
        w->directory = strjoinf("%s/simulation-XXXXXX", base);
        if (!w->directory || !mkdtemp(w->directory))
                world_fail(w, INVARIANT_NONE, "no directory for the journal: %s",
                           strerrorname_np(errno));
        (void) string_copy(report->directory, sizeof(report->directory), w->directory);
        w->runtime = strjoinf("%s/run", w->directory);
        w->state = strjoinf("%s/state", w->directory);
        if (!w->runtime || !w->state || mkdir(w->runtime, 0700) < 0 || mkdir(w->state, 0700) < 0)
                world_fail(w, INVARIANT_NONE, "no directory for the journal: %s",
                           strerrorname_np(errno));
        memcpy(w->devices, t->devices, sizeof(w->devices));
        w->n_devices = t->n_devices;
        world_watch_kernel(w);
        start_daemon(w);
        world_advance(w, USEC_PER_SEC);
        if (!engine_is_settled(w->engine))
                world_fail(w, INVARIANT_LOOP_NEVER_BLOCKS,
                           "the engine did not settle on a quiet host");
}

void world_done(World *w) {
        world_close_handles(w, NULL, -1);
        stop_daemon(w);
        for (unsigned i = 0; i < WORLD_CLIENTS; i++)
                if (w->processes[i].pidfd >= 0) {
                        (void) kill(w->processes[i].pid, SIGKILL);
                        (void) waitpid(w->processes[i].pid, NULL, 0);
                }
        disk_attach(NULL);
        empty_directory(w->runtime);
        empty_directory(w->state);
        (void) rmdir(w->runtime);
        (void) rmdir(w->state);
        (void) rmdir(w->directory);
        w->report->directory[0] = 0;
        free(w->runtime);
        free(w->state);
        free(w->directory);
}

/* ---- what it knows ---- */

WorldDevice *world_device(World *w, PciAddress a) {
        for (size_t i = 0; i < w->n_devices; i++)
                if (pci_address_equal(w->devices[i].address, a))
                        return w->devices + i;
        return NULL;
}

WorldKnown *world_known(World *w, const char *id) {
        for (size_t i = 0; i < w->n_known; i++)
                if (streq(w->known[i].id, id))
                        return w->known + i;
        return NULL;
}

void world_close_handles(World *w, const char *assignment, int client) {
        for (size_t i = w->n_handles; i > 0; i--) {
                WorldHandle *h = w->handles + i - 1;

                if ((assignment && !streq(assignment, h->assignment)) ||
                    (client >= 0 && h->client != (unsigned) client))
                        continue;
                (void) safe_close(h->fd);
                *h = w->handles[--w->n_handles];
        }
}
