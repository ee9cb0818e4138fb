/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A policy without a daemon. A replay is the real engine over the simulated host with a clock of
 * its own: the snapshot's facts are read as a worker would, then the policy is put into force and
 * every function's verdict is asked for, and again with the policy to compare with. What only a
 * running system does (holding devices at start) is not replayed: the rules come into force when
 * all is read. Its journal is a directory that is removed in the end.
 */

#include "offline.h"

#include <assert.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <unistd.h>

#include "base/dropins.h"
#include "base/fdio.h"
#include "base/log.h"
#include "base/strutil.h"
#include "engine/engine-policy.h"
#include "engine/engine.h"
#include "host/sim.h"
#include "host/snapshot.h"
#include "store/store.h"

#define SETTLE_MAX (3600 * USEC_PER_SEC) /* of the simulated clock */

static int print(Json *j) {
        _cleanup_free_ char *text = json_to_text(j, true);

        if (!text || puts(text) < 0 || fflush(stdout) != 0) {
                log_error("The answer could not be written");
                return OFFLINE_BAD;
        }
        return 0;
}

/* ---- files ---- */

static int load_places(const char *config_root, DropIns *ret) {
        _cleanup_close_ int root_fd = -EBADF;

        root_fd = open(isempty(config_root) ? "/" : config_root, O_DIRECTORY | O_PATH | O_CLOEXEC);
        if (root_fd < 0)
                return log_error_errno(errno, "Failed to open %s: %m", config_root);
        return dropins_load(root_fd, POLICY_FOLDER, POLICY_SUFFIX, POLICY_FILE_MAX,
                            POLICY_FILES_MAX, ret);
}

static int load(char *const *paths, size_t n, const char *config_root, DropIns *ret) {
        _cleanup_dropins_ DropIns files = {};
        int r = n == 0 ? load_places(config_root, &files) : 0;

        for (size_t i = 0; i < n && r >= 0; i++)
                r = dropins_add_path(paths[i], POLICY_SUFFIX, POLICY_FILE_MAX, POLICY_FILES_MAX,
                                     &files);
        if (r < 0)
                return r;
        *ret = files;
        files = (DropIns) {};
        return 0;
}

int offline_check_policy(char *const *paths, size_t n, const char *config_root) {
        _cleanup_dropins_ DropIns files = {};
        _cleanup_free_ PolicyText *texts = NULL;
        _cleanup_json_ Json *j = NULL;
        Json *names = json_new_array();
        bool valid = false;
        int r = load(paths, n, config_root, &files);

        texts = r >= 0 ? engine_policy_texts(&files) : NULL;
        if (!texts || engine_policy_check(texts, files.n, NULL, &j) < 0) {
                (void) json_free(names);
                log_error("The policy could not be checked");
                return OFFLINE_BAD;
        }
        for (size_t i = 0; i < files.n; i++)
                (void) json_append_string(names, files.items[i].path);
        (void) json_set(j, "files", names);
        (void) json_get_bool(j, "valid", &valid);
        r = print(j);
        return r != 0 ? r : valid ? 0 : OFFLINE_BAD;
}

int offline_print_schema(void) {
        _cleanup_json_ Json *j = policy_schema();

        return print(j);
}

int offline_print_keys(void) {
        _cleanup_json_ Json *j = policy_keys();

        return print(j);
}

/* ---- a host that is none ---- */

typedef struct Replay {
        char *dir;
        Host *host;
        Store *store;
        Engine *engine;
} Replay;

static int remove_one(const char *path, const struct stat *st _unused_, int flag _unused_,
                      struct FTW *ftw _unused_) {
        return remove(path);
}

static void replay_done(Replay *p) {
        engine_free(p->engine);
        store_close(p->store);
        host_free(p->host);
        if (p->dir && nftw(p->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS) < 0)
                log_warning("%s could not be removed", p->dir);
        free(p->dir);
}

static int make_host(Replay *p, const char *path) {
        _cleanup_error_ Error err = ERROR_INIT;
        _cleanup_free_ char *text = NULL;
        size_t n;
        int r;

        r = read_file_at(AT_FDCWD, path, SNAPSHOT_SIZE_MAX, &text, &n);
        if (r < 0)
                return log_error_errno(r, "Failed to read %s: %m", path);
        r = host_sim_new(NULL, text, n, true, &err, &p->host);
        if (r < 0)
                log_error("%s: %s", path, isempty(err.message) ? "cannot be used" : err.message);
        return r;
}

static void run_until_quiet(Host *h) {
        usec_t end = host_sim_clock(h) + SETTLE_MAX;

        for (;;) {
                usec_t next;

                (void) host_sim_run(h); /* how many is of no interest */
                next = host_sim_next(h);
                if (next == USEC_INFINITY || next > end)
                        return;
                if (next > host_sim_clock(h))
                        host_sim_advance(h, next - host_sim_clock(h));
        }
}

static int replay_start(Replay *p, const char *host) {
        const char *base = getenv("TMPDIR");
        EngineOptions options = { .simulated = true };
        int r = make_host(p, host);

        if (r < 0)
                return r;
        p->dir = strjoinf("%s/pciassign-replay-XXXXXX", isempty(base) ? "/tmp" : base);
        if (!p->dir)
                return -ENOMEM;
        if (!mkdtemp(p->dir)) {
                r = log_error_errno(errno, "Failed to make %s: %m", p->dir);
                p->dir = (free(p->dir), NULL);
                return r;
        }
        r = store_open(p->dir, p->dir, &p->store);
        if (r >= 0)
                r = engine_new(NULL, p->host, p->store, &options, &p->engine);
        if (r >= 0)
                r = engine_start(p->engine);
        if (r >= 0)
                r = engine_settle(p->engine);
        if (r < 0)
                return log_error_errno(r, "Failed to set up the replay: %m");
        run_until_quiet(p->host);
        return 0;
}

/* ---- verdicts ---- */

static Json *failure(const char *which, const Error *err) {
        Json *j = json_new_object();
        _cleanup_json_ Json *details = NULL;

        if (err->details)
                (void) json_parse(err->details, strlen(err->details), JSON_LIMITS_DEFAULT, &details,
                                  NULL, NULL); /* ours; without them there is the message */
        (void) json_set_bool(j, "valid", false);
        (void) json_set_string(j, "policy", which);
        (void) json_set_string(j, "message", err->message);
        if (json_get(details, "problems"))
                (void) json_set(j, "problems", json_ref(json_get(details, "problems")));
        return j;
}

static int verdicts(Replay *p, const OfflineReplay *o, const char *path, Json **ret) {
        Caller c = {
                .uid = o->uid == UID_UNSET ? 0 : o->uid,
                .gids = &o->gid,
                .n_gids = o->gid == GID_UNSET ? 0 : 1,
                .manager = o->uid == UID_UNSET,
        };
        char *paths[] = { (char *) path, NULL };
        _cleanup_dropins_ DropIns files = {};
        _cleanup_free_ PolicyText *texts = NULL;
        _cleanup_error_ Error err = ERROR_INIT;

        if (load(paths, path ? 1 : 0, o->config_root, &files) < 0 ||
            !(texts = engine_policy_texts(&files))) {
                log_error("The policy could not be read");
                return -ENOMEM;
        }
        if (engine_set_policy(p->engine, texts, files.n, &err) < 0) {
                _cleanup_json_ Json *j = failure(strempty(path), &err);

                (void) print(j); /* it is a failure whether it was printed or not */
                return -EBADMSG;
        }
        run_until_quiet(p->host);
        *ret = engine_verdicts_to_json(p->engine, &c, o->owner);
        return *ret ? 0 : -ENOMEM;
}

/* ---- comparison ---- */

static bool same_text(Json *a, Json *b) {
        _cleanup_free_ char *one = json_to_text(a, false), *two = json_to_text(b, false);

        return streq_ptr(one, two);
}

/* Settings whose value differs: [{ key, before, now }]. Where they stand does not count. */
static Json *settings_diff(Json *before, Json *now) {
        Json *list = json_new_array(), *value;
        void *iterator = NULL;
        const char *key;

        while (json_next(now, &iterator, &key, &value)) {
                Json *old = json_get(json_get(before, key), "value"), *j;

                value = json_get(value, "value");
                if (same_text(old, value))
                        continue;
                j = json_new_object();
                (void) json_set_string(j, "key", key);
                (void) json_set(j, "before", json_ref(old));
                (void) json_set(j, "now", json_ref(value));
                (void) json_append(list, j);
        }
        return list;
}

static bool compare(Json *now, Json *before) {
        Json *diff = settings_diff(json_get(before, "settings"), json_get(now, "settings"));
        bool changed = json_length(diff) > 0 ||
                       !same_text(json_get(now, "assignable"), json_get(before, "assignable")) ||
                       !same_text(json_get(now, "blockers"), json_get(before, "blockers"));
        static const char *const kept[] = { "rule", "assignable", "blockers", "error", "message" };
        Json *j = json_new_object();

        for (size_t i = 0; i < ELEMENTSOF(kept); i++)
                (void) json_set(j, kept[i], json_ref(json_get(before, kept[i])));
        (void) json_set(now, "before", j);
        (void) json_set(now, "settings-changed", diff);
        (void) json_set_bool(now, "changed", changed);
        return changed;
}

int offline_replay(const OfflineReplay *o) {
        _cleanup_(replay_done) Replay p = {};
        _cleanup_json_ Json *now = NULL, *before = NULL, *j = json_new_object();
        uint64_t n_changed = 0;
        int r;

        assert(o);
        r = replay_start(&p, o->host);
        if (r >= 0 && o->against)
                r = verdicts(&p, o, o->against, &before);
        if (r >= 0)
                r = verdicts(&p, o, o->policy, &now);
        if (r < 0)
                return OFFLINE_BAD;
        for (size_t i = 0; before && i < json_length(now); i++)
                n_changed += compare(json_at(now, i), json_at(before, i));
        (void) json_set_bool(j, "valid", true);
        (void) json_set_string(j, "snapshot", o->host);
        (void) json_set_string(j, "policy", o->policy);
        (void) json_set_string(j, "against", o->against);
        (void) json_set_string(j, "owner", o->owner);
        (void) json_set(j, "devices", json_ref(now));
        if (before)
                (void) json_set_u64(j, "changed", n_changed);
        r = print(j);
        return r != 0 ? r : n_changed > 0 ? OFFLINE_CHANGED : 0;
}
