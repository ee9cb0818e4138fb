/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Making, restarting and leaving a world, its clock and its generator. The daemon's death is engine_free(): jobs are
 * detached, as a worker finds its daemon gone, and the next engine has only the journal and the kernel to go by.
 */

#include "world.h"

#include <assert.h>
#include <stdarg.h>

#include "base/fdio.h"
#include "base/log.h"
#include "base/strutil.h"

static const struct {
        const char *address;
        bool critical;
} played_with[] = {
        { "0000:41:00.0", false }, { "0000:41:00.1", false }, { "0000:42:00.0", false }, { "0000:42:00.1", false },
        { "0000:45:00.0", false }, { "0000:65:00.0", false }, { "0000:03:00.0", false }, { "0000:03:00.1", false },
        { "0000:c3:00.2", false }, { "0000:d9:00.0", false }, { "0000:05:00.0", true },  { "0000:04:00.0", true },
        { "0000:06:00.0", true }, /* of a group with a direct mapping */
};

/* xorshift64*: enough for drawing lots, and the same everywhere. */
uint32_t world_draw(World *w, uint32_t n) {
        w->random ^= w->random >> 12;
        w->random ^= w->random << 25;
        w->random ^= w->random >> 27;
        return n > 0 ? (uint32_t) ((w->random * UINT64_C(0x2545f4914f6cdd1d)) >> 32) % n : 0;
}

bool world_chance(World *w, uint32_t percent) {
        return world_draw(w, 100) < percent;
}

static void note(World *w, const char *format, va_list ap) _printf_(2, 0);
static void note(World *w, const char *format, va_list ap) {
        size_t n = strlen(w->trace);

        if (n + 2 >= w->trace_size)
                return;
        (void) vsnprintf(w->trace + n, w->trace_size - n - 1, format, ap);
        n = strlen(w->trace);
        w->trace[n] = '\n';
        w->trace[n + 1] = 0;
}

void world_note(World *w, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        note(w, format, ap);
        va_end(ap);
}

void world_fail(World *w, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        note(w, format, ap);
        va_end(ap);
        fflush(NULL);
        _exit(EXIT_FAILURE);
}

/* ---- its clock ---- */

void world_settle(World *w) {
        (void) host_sim_run(w->host);
}

void world_advance(World *w, usec_t by) {
        usec_t end = host_sim_clock(w->host) + by;

        for (;;) {
                usec_t next, now = host_sim_clock(w->host);

                world_settle(w);
                next = host_sim_next(w->host);
                if (next > end)
                        break;
                if (next > now)
                        host_sim_advance(w->host, next - now);
                world_check(w);
        }
        if (host_sim_clock(w->host) < end)
                host_sim_advance(w->host, end - host_sim_clock(w->host));
        world_settle(w);
}

/* ---- its daemon ---- */

static void on_removed(const Assignment *a, void *userdata) {
        World *w = userdata;
        WorldKnown *k = world_known(w, a->id);

        w->n_released++;
        if (k && !k->ending)
                world_fail(w, "assignment %s went away and nobody had asked for it", a->id);
}

static void start_daemon(World *w) {
        static const EngineObserver observer = { .assignment_removed = on_removed };
        EngineOptions options = {
                .step_timeout_msec = 75000,
                .max_jobs = 32,
                .max_jobs_per_uid = 16,
                .max_assignments = 64,
                .max_assignments_per_uid = 32,
                .simulated = true,
        };
        int r;

        w->life++;
        r = store_open(w->directory, w->directory, &w->store);
        if (r < 0)
                world_fail(w, "the journal does not open: %s", strerrorname_np(-r));
        r = engine_new(NULL, w->host, w->store, &options, &w->engine);
        if (r < 0)
                world_fail(w, "no engine: %s", strerrorname_np(-r));
        engine_observe(w->engine, &observer, w);
        r = engine_start(w->engine);
        if (r < 0)
                world_fail(w, "the engine does not start: %s", strerrorname_np(-r));
        r = engine_settle(w->engine);
        if (r < 0)
                world_fail(w, "the engine does not settle: %s", strerrorname_np(-r));
}

static void stop_daemon(World *w) {
        w->engine = engine_free(w->engine);
        w->store = store_close(w->store);
}

/* Clients whose connection ended while no daemon was there are named to the next one, as the bus would. */
void world_restart(World *w) {
        stop_daemon(w);
        start_daemon(w);
        for (unsigned i = 0; i < WORLD_CLIENTS; i++) {
                char name[16];

                (void) snprintf(name, sizeof(name), ":1.%u", i);
                if (w->client_gone[i])
                        engine_client_gone(w->engine, name);
        }
}

/* ---- making one ---- */

static void remember_devices(World *w, const char *host_json, size_t n) {
        _cleanup_json_ Json *j = NULL;
        Json *devices;

        if (json_parse(host_json, n, JSON_LIMITS_DEFAULT, &j, NULL, NULL) < 0)
                world_fail(w, "the host's file is no JSON");
        devices = json_get(j, "devices");
        w->devices = calloc(ELEMENTSOF(played_with), sizeof(WorldDevice));
        for (size_t i = 0; w->devices && i < ELEMENTSOF(played_with); i++) {
                WorldDevice *d = w->devices + w->n_devices;

                for (size_t k = 0; k < json_length(devices); k++) {
                        const char *address = NULL, *driver = NULL;

                        (void) json_get_string(json_at(devices, k), "address", &address);
                        if (!address || !streq(address, played_with[i].address))
                                continue;
                        (void) json_get_string(json_get(json_at(devices, k), "links"), "driver", &driver);
                        (void) string_copy(d->driver, sizeof(d->driver), strempty(driver));
                        d->json = json_to_text(json_at(devices, k), false);
                        w->n_devices += pci_address_parse(address, &d->address) >= 0;
                        d->critical = played_with[i].critical;
                        break;
                }
        }
        if (w->n_devices != ELEMENTSOF(played_with))
                world_fail(w, "the host lacks a device that is played with");
}

void world_init(World *w, uint64_t seed, const char *host_json, size_t n, char *trace, size_t trace_size) {
        const char *base = getenv("TMPDIR");
        _cleanup_error_ Error err = ERROR_INIT;

        *w = (World) { .random = seed * UINT64_C(0x9e3779b97f4a7c15) | 1, .trace = trace, .trace_size = trace_size };
        log_set_level(LOG_ERR); /* of standard error, which the parent keeps */
        (void) world_draw(w, 2);
        w->directory = strjoinf("%s/simulation-XXXXXX", isempty(base) ? "/tmp" : base);
        if (!w->directory || !mkdtemp(w->directory))
                world_fail(w, "no directory for the journal: %s", strerrorname_np(errno));
        if (host_sim_new(NULL, host_json, n, true, &err, &w->host) < 0)
                world_fail(w, "no host: %s", err.message);
        remember_devices(w, host_json, n);
        start_daemon(w);
        world_advance(w, USEC_PER_SEC);
        if (!engine_is_settled(w->engine))
                world_fail(w, "the engine did not settle on a quiet host");
}

static void remove_directory(const char *path) {
        _cleanup_close_ int fd = open_dir_at(-1, path);
        _cleanup_strv_ char **names = NULL;

        if (fd < 0 || read_dir_names_at(fd, ".", 64, false, &names) < 0)
                return;
        for (char **name = names; name && *name; name++)
                (void) unlinkat(fd, *name, 0);
        (void) rmdir(path);
}

void world_done(World *w) {
        world_close_handles(w, NULL, -1);
        stop_daemon(w);
        w->host = host_free(w->host);
        for (size_t i = 0; i < w->n_devices; i++)
                free(w->devices[i].json);
        free(w->devices);
        remove_directory(w->directory);
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
