/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The policy in force: read from the drop-in directories, compiled aside, swapped in whole. A bad
 * file changes nothing: the old policy stays. At start there is no old one, and nothing is guessed:
 * existing assignments go on by what is built in, new ones are refused until the files are mended.
 * A swap touches no plan that runs; what is shown follows in slices, so that a reload on a large
 * host holds nobody up. Names of users are looked up in this host's own files only, since a
 * directory service would block the loop.
 */

#include "engine/engine-policy.h"

#include <assert.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>


#define VERDICTS_AT_ONCE 64U /* groups */

/* ---- names of users and groups ---- */

static int find_user(const char *name, uid_t *ret, void *userdata _unused_) {
        FILE *f = fopen("/etc/passwd", "re");
        struct passwd entry = {}, *p = NULL;
        char buffer[4096];

        if (!f)
                return -errno;
        while (fgetpwent_r(f, &entry, buffer, sizeof(buffer), &p) == 0)
                if (streq(p->pw_name, name)) {
                        *ret = p->pw_uid;
                        break;
                }
        (void) fclose(f); /* it was only read */
        return p && streq(p->pw_name, name) ? 0 : -ESRCH;
}

static int find_group(const char *name, gid_t *ret, void *userdata _unused_) {
        FILE *f = fopen("/etc/group", "re");
        struct group entry = {}, *g = NULL;
        _cleanup_free_ char *buffer = malloc(65536);
        bool found = false;

        if (!f || !buffer) {
                if (f)
                        (void) fclose(f);
                return f ? -ENOMEM : -errno;
        }
        while (!found && fgetgrent_r(f, &entry, buffer, 65536, &g) == 0)
                if (streq(g->gr_name, name)) {
                        *ret = g->gr_gid;
                        found = true;
                }
        (void) fclose(f);
        return found ? 0 : -ESRCH;
}

static const PolicyOptions policy_options = { .user = find_user, .group = find_group };

/* ---- loading ---- */

static int problems_to_error(const PolicyProblems *problems, Error *err) {
        _cleanup_free_ char *first =
                problems->n > 0 ? policy_problem_to_string(problems->items) : NULL;
        _cleanup_json_ Json *j = json_new_object();
        size_t more = problems->n + problems->n_dropped;

        (void) json_set(j, "problems", policy_problems_to_json(problems));
        if (more > 1)
                (void) error_set(err, ERROR_INVALID, "%.700s (and %zu more)", strempty(first),
                                 more - 1);
        else
                (void) error_set(err, ERROR_INVALID, "%.700s", strempty(first));
        if (err)
                error_take_details(err, json_to_text(j, false));
        return -error_code_to_errno(ERROR_INVALID);
}

static int compile(const PolicyText *texts, size_t n, Error *err, Policy **ret) {
        _cleanup_(policy_problems_done) PolicyProblems problems = {};
        int r = policy_compile(texts, n, &policy_options, &problems, ret);

        if (r == -EBADMSG)
                return problems_to_error(&problems, err);
        if (r < 0)
                return error_set(err, ERROR_FAILED, "The policy could not be compiled: %s",
                                 errno_text(r));
        return 0;
}

static int read_files(Engine *e, Error *err, DropIns *ret) {
        _cleanup_close_ int root_fd = -EBADF;
        const char *root = e->options.config_root;
        int r;

        if (!root)
                return 0;
        root_fd = open(isempty(root) ? "/" : root, O_DIRECTORY | O_PATH | O_CLOEXEC);
        if (root_fd < 0)
                return error_set(err, ERROR_FAILED, "%s cannot be opened: %s", root,
                                 errno_text(errno));
        r = dropins_load(root_fd, POLICY_FOLDER, POLICY_SUFFIX, POLICY_FILE_MAX, POLICY_FILES_MAX,
                         ret);
        return r < 0 ? error_set(err, ERROR_FAILED, "The policy's files cannot be read: %s",
                                 errno_text(r))
                     : 0;
}

PolicyText *engine_policy_texts(const DropIns *files) {
        PolicyText *texts;

        assert(files);
        texts = calloc(files->n + 1, sizeof(PolicyText));
        if (!texts)
                return NULL;
        for (size_t i = 0; i < files->n; i++)
                texts[i] = (PolicyText) {
                        .file = files->items[i].path,
                        .text = files->items[i].text,
                        .size = files->items[i].size,
                        .error = files->items[i].error,
                };
        return texts;
}

static int no_memory(Error *err) {
        return error_set(err, ERROR_FAILED, "Not enough memory for the policy");
}

static int compile_files(Engine *e, Error *err, Policy **ret) {
        _cleanup_dropins_ DropIns files = {};
        _cleanup_free_ PolicyText *texts = NULL;
        int r = read_files(e, err, &files);

        if (r < 0)
                return r;
        texts = engine_policy_texts(&files);
        return !texts ? no_memory(err) : compile(texts, files.n, err, ret);
}

/* ---- verdicts by a new policy ---- */

static size_t first_from(const Inventory *i, PciAddress a) {
        size_t low = 0, high = i->n_devices;

        while (low < high) {
                size_t middle = low + (high - low) / 2;

                if (pci_address_compare(i->sorted[middle]->facts.address, a) < 0)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low;
}

static void verdict_slice(void *userdata) {
        Engine *e = userdata;
        size_t i = first_from(e->inventory, e->verdict_next), n = 0;

        for (; i < e->inventory->n_devices && n < VERDICTS_AT_ONCE; i++) {
                Device *d = e->inventory->sorted[i];

                if (d->group && d->group->devices.next != &d->in_group)
                        continue; /* the first member stands for all */
                engine_update_verdicts(e, d, NULL);
                n++;
        }
        if (i >= e->inventory->n_devices)
                return;
        e->verdict_next = e->inventory->sorted[i]->facts.address;
        if (host_timer_set(e->verdict_timer, host_now(e->host)) < 0)
                log_warning("Failed to arm a timer: some verdicts shown are by the old policy");
}

static void begin_verdicts(Engine *e) {
        int r = 0;

        if (!e->started)
                return; /* start computes all of them */
        e->verdict_next = (PciAddress) {};
        if (!e->verdict_timer)
                r = host_timer_new(e->host, verdict_slice, e, &e->verdict_timer);
        if (r >= 0)
                r = host_timer_set(e->verdict_timer, host_now(e->host));
        if (r < 0)
                (void) log_warning_errno(
                        r, "Failed to arm a timer: verdicts shown are by the old policy: %m");
}

/* ---- swapping ---- */

static void swap_in(Engine *e, Policy *p) {
        bool changed = e->policy_generation == 0 || e->policy_refusal ||
                       policy_hash(p) != policy_hash(e->policy);

        /* Also an unchanged one: its file and line numbers may have moved. */
        (void) policy_free(e->policy);
        e->policy = p;
        e->policy_refusal = (free(e->policy_refusal), NULL);
        if (!changed)
                return;
        e->policy_generation++;
        e->policy_at = host_now(e->host);
        (void) log_context(&(LogContext) { .message_id = MESSAGE_POLICY_LOADED }, LOG_NOTICE, 0,
                           "Policy %llu is in force: %zu rules",
                           (unsigned long long) e->policy_generation, policy_n_rules(p));
        begin_verdicts(e);
        if (e->observer.policy_changed)
                e->observer.policy_changed(e->observer_userdata);
}

static void tell_rejected(const Error *err) {
        (void) log_context(&(LogContext) { .message_id = MESSAGE_POLICY_REJECTED }, LOG_ERR, 0,
                           "The policy is not used: %s", err->message);
}

int engine_set_policy(Engine *e, const PolicyText *texts, size_t n, Error *err) {
        Policy *p = NULL;
        int r;

        assert(e);
        assert(texts || n == 0);
        r = compile(texts, n, err, &p);
        if (r < 0)
                return r;
        swap_in(e, p);
        return 0;
}

int engine_reload_policy(Engine *e, Error *err) {
        _cleanup_error_ Error own = ERROR_INIT;
        Policy *p = NULL;
        int r;

        assert(e);
        r = compile_files(e, &own, &p);
        if (r >= 0) {
                swap_in(e, p);
                return 0;
        }
        tell_rejected(&own);
        if (!e->policy_refusal)
                (void) error_prefix(&own, "The policy in force stays");
        else if (own.code == ERROR_INVALID)
                (void) free_and_strdup(&e->policy_refusal, own.message);
        if (err)
                error_move(err, &own);
        return r;
}

int engine_policy_start(Engine *e) {
        _cleanup_error_ Error err = ERROR_INIT;
        Policy *p = NULL;

        assert(e);
        if (compile_files(e, &err, &p) >= 0) {
                swap_in(e, p);
                return 0;
        }
        tell_rejected(&err);
        log_error("There is no policy: nothing is assigned until it is mended and reloaded; "
                  "existing assignments go on");
        e->policy_generation = 1;
        return free_and_strdup(&e->policy_refusal, err.message);
}

/* ---- checking ---- */

int engine_policy_check(const PolicyText *texts, size_t n, const Policy *in_force, Json **ret) {
        _cleanup_(policy_problems_done) PolicyProblems problems = {};
        _cleanup_(policy_freep) Policy *p = NULL;
        _cleanup_json_ Json *j = json_new_object();
        int r;

        assert(texts || n == 0);
        assert(ret);
        r = policy_compile(texts, n, &policy_options, &problems, &p);

        if (r < 0 && r != -EBADMSG)
                return r;
        (void) json_set_bool(j, "valid", r >= 0);
        (void) json_set(j, "problems", policy_problems_to_json(&problems));
        (void) json_set_u64(j, "dropped", problems.n_dropped);
        if (p)
                (void) json_set_u64(j, "rules", policy_n_rules(p));
        if (p && in_force)
                (void) json_set_bool(j, "changed", policy_hash(p) != policy_hash(in_force));
        *ret = TAKE_PTR(j);
        return 0;
}

int engine_check_policy(Engine *e, const char *text, size_t n, Error *err, char **ret_json) {
        _cleanup_dropins_ DropIns files = {};
        _cleanup_free_ PolicyText *texts = NULL;
        _cleanup_json_ Json *j = NULL;
        PolicyText one = { .file = "text", .text = text, .size = n };
        int r = 0;

        assert(e);
        assert(ret_json);
        if (!text)
                r = read_files(e, err, &files);
        if (r < 0)
                return r;
        texts = engine_policy_texts(&files);
        if (!texts ||
            engine_policy_check(text ? &one : texts, text ? 1 : files.n, e->policy, &j) < 0 ||
            !(*ret_json = json_to_text(j, false)))
                return no_memory(err);
        return 0;
}
