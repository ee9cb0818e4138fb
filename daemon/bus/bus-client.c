/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Who is behind a connection, and whether it is still there. The bus is asked once per unique name
 * for the uid, the pid and the groups that the connection had when it was made; unique names are
 * never used again, so the answer holds. One match on NameOwnerChanged, never one per client, and
 * only while somebody's leaving matters: most of the time nothing on the bus wakes the daemon.
 */

#include <assert.h>

#include "base/log.h"
#include "bus/bus-private.h"

#define CLIENTS_KEPT_MAX 512U
#define GROUPS_LOOKED_AT_MAX 65536U
#define BUS_DRIVER "org.freedesktop.DBus"
#define BUS_DRIVER_PATH "/org/freedesktop/DBus"

Gids *gids_unref(Gids *g) {
        if (g && --g->n_refs == 0)
                free(g);
        return NULL;
}

static Client *client_free(Client *c) {
        if (!c)
                return NULL;
        free(c->name);
        free(c->identity);
        c->gids = gids_unref(c->gids);
        free(c);
        return NULL;
}
DEFINE_CLEANUP(Client *, client_free);

Client *bus_client(Bus *b, const char *name) {
        return name ? hashmap_get(b->clients, name) : NULL;
}

static void client_remove(Bus *b, Client *c) {
        (void) hashmap_remove(b->clients, c->name);
        list_unlink(&c->link);
        client_free(c);
}

void client_forget(Bus *b, const char *name) {
        Client *c = bus_client(b, name);
        if (c)
                client_remove(b, c);
}

void clients_free(Bus *b) {
        LIST_FOREACH(&b->clients_order, link)
                client_remove(b, LIST_ENTRY(link, Client, link));
}

static int client_keep(Bus *b, const char *name, Client *c) {
        c->name = strdup(name);
        c->identity = strjoinf("%s@%s", name, b->id);
        if (!c->name || !c->identity)
                return -ENOMEM;
        client_forget(b, name);
        if (hashmap_size(b->clients) >= CLIENTS_KEPT_MAX)
                client_remove(b, LIST_ENTRY(b->clients_order.next, Client, link));
        int r = hashmap_put(b->clients, c->name, c);
        if (r < 0)
                return r;
        list_append(&b->clients_order, &c->link);
        return 0;
}

/* ---- credentials ---- */

static int read_groups(sd_bus_message *m, gid_t wanted, Client *c) {
        const void *data;
        size_t size;

        int r = sd_bus_message_enter_container(m, 'v', "au");
        if (r < 0)
                return r;
        r = sd_bus_message_read_array(m, 'u', &data, &size);
        if (r < 0)
                return r;
        size_t n = MIN(size / sizeof(uint32_t), (size_t) GROUPS_LOOKED_AT_MAX);
        Gids *g = malloc(sizeof(Gids) + n * sizeof(gid_t));
        if (!g)
                return -ENOMEM;
        g->n_refs = 1;
        g->n = n;
        for (size_t k = 0; k < n; k++) {
                g->ids[k] = ((const uint32_t *) data)[k];
                if (g->ids[k] == wanted && wanted != GID_UNSET)
                        c->privileged = true;
        }
        (void) gids_unref(c->gids); /* a bus that says it twice */
        c->gids = g;
        return sd_bus_message_exit_container(m);
}

static int read_credentials(sd_bus_message *m, gid_t admin, Client *c) {
        bool has_uid = false;
        const char *key;

        c->uid = UID_UNSET;
        int r = sd_bus_message_enter_container(m, 'a', "{sv}");
        if (r < 0)
                return r;
        while ((r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
                r = sd_bus_message_read_basic(m, 's', &key);
                if (r < 0)
                        return r;
                if (streq(key, "UnixUserID")) {
                        r = sd_bus_message_read(m, "v", "u", &c->uid);
                        has_uid = true;
                } else if (streq(key, "ProcessID"))
                        r = sd_bus_message_read(m, "v", "u", &c->pid);
                else if (streq(key, "UnixGroupIDs"))
                        r = read_groups(m, admin, c);
                else
                        r = sd_bus_message_skip(m, "v");
                if (r < 0)
                        return r;
                r = sd_bus_message_exit_container(m);
                if (r < 0)
                        return r;
        }
        if (r < 0)
                return r;
        if (!has_uid || c->uid == UID_UNSET)
                return -ENODATA;
        if (c->uid == 0)
                c->privileged = true;
        return 0;
}

static int call_take_client(Call *q, const Client *c) {
        int r = free_and_strdup(&q->identity, c->identity);
        if (r < 0)
                return r;
        q->have_credentials = true;
        q->uid = c->uid;
        q->pid = c->pid;
        q->privileged = c->privileged;
        (void) gids_unref(q->gids);
        q->gids = c->gids;
        if (q->gids)
                q->gids->n_refs++;
        return 0;
}

/* Kept for the next call of the same client. */
static int client_learn(Bus *b, sd_bus_message *m, const char *name, const Client **ret) {
        _cleanup_(client_freep) Client *c = calloc(1, sizeof(Client));

        if (!c)
                return -ENOMEM;
        int r = read_credentials(m, b->options.admin_gid, c);
        if (r < 0)
                return r;
        r = client_keep(b, name, c);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(c);
        return 0;
}

static int on_credentials(sd_bus_message *m, void *userdata, sd_bus_error *error _unused_) {
        Call *q = userdata;
        const Client *c;

        q->slot = sd_bus_slot_unref(q->slot);
        if (sd_bus_message_is_method_error(m, NULL) > 0) { /* it has left already */
                call_free(q);
                return 0;
        }
        int r = client_learn(q->bus, m, sd_bus_message_get_sender(q->message), &c);
        if (r >= 0)
                r = call_take_client(q, c);
        if (r == -ENOMEM) { /* nothing was found out about the caller, so he is not refused */
                call_finish(q, NULL, r);
                return 0;
        }
        if (r < 0) {
                _cleanup_error_ Error err = ERROR_INIT;
                (void) error_set(&err, ERROR_NOT_AUTHORIZED,
                                 "The bus does not say which user calls");
                call_fail(q, &err);
                return 0;
        }
        call_advance(q);
        return 0;
}

int client_ask(Call *q) {
        assert(q);
        assert(!q->slot);

        const char *name = sd_bus_message_get_sender(q->message);
        if (!name)
                return -ENODATA;
        const Client *c = bus_client(q->bus, name);
        if (c) {
                int r = call_take_client(q, c);
                if (r >= 0)
                        call_advance(q);
                return r;
        }
        bus_learn_id(q->bus);
        q->stage = CALL_CREDENTIALS;
        return sd_bus_call_method_async(q->bus->bus, &q->slot, BUS_DRIVER, BUS_DRIVER_PATH,
                                        BUS_DRIVER, "GetConnectionCredentials", on_credentials, q,
                                        "s", name);
}

/* ---- presence ---- */

void client_gone(Bus *b, const char *name) {
        _cleanup_free_ char *identity = strjoinf("%s@%s", name, b->id);

        bus_drop_calls(b, name);
        client_forget(b, name);
        if (identity)
                engine_client_gone(b->engine, identity);
        else
                log_error("Failed to give back what %s had: out of memory", name);
}

static int on_presence(sd_bus_message *m, void *userdata, sd_bus_error *error _unused_) {
        Call *q = userdata;
        Bus *b = q->bus;
        int present = 0;

        q->slot = sd_bus_slot_unref(q->slot);
        if (sd_bus_message_is_method_error(m, NULL) > 0 ||
            sd_bus_message_read_basic(m, 'b', &present) < 0)
                present = 1; /* the bus does not say: a NameOwnerChanged still will */
        if (present) {
                call_finish(q, TAKE_PTR(q->reply), 0);
                return 0;
        }
        _cleanup_free_ char *name = strdup(sd_bus_message_get_sender(q->message));
        call_free(q);
        if (!name)
                return -ENOMEM;
        client_gone(b, name);
        return 0;
}

int client_ask_presence(Call *q) {
        assert(q);
        assert(!q->slot);

        return sd_bus_call_method_async(q->bus->bus, &q->slot, BUS_DRIVER, BUS_DRIVER_PATH,
                                        BUS_DRIVER, "NameHasOwner", on_presence, q, "s",
                                        sd_bus_message_get_sender(q->message));
}

static bool is_connected(const Bus *b, const char *identity, char *const *names) {
        const char *at = strchr(identity, '@');
        if (!at || !streq(at + 1, b->id)) /* of a bus that is no more */
                return false;
        for (; *names; names++)
                if (strlen(*names) == (size_t) (at - identity) &&
                    strncmp(*names, identity, strlen(*names)) == 0)
                        return true;
        return false;
}

static int on_names(sd_bus_message *m, void *userdata, sd_bus_error *error _unused_) {
        _cleanup_strv_ char **names = NULL, **gone = NULL;
        Bus *b = userdata;
        const Assignment *a;

        /* Where the bus does not say, nothing is taken from anybody. */
        if (sd_bus_message_is_method_error(m, NULL) > 0 ||
            sd_bus_message_read_strv(m, &names) < 0 || !names)
                return 0;
        HASHMAP_FOREACH(a, engine_inventory(b->engine)->assignments) {
                if (a->lifetime != LIFETIME_CONNECTION || !a->bus_name ||
                    is_connected(b, a->bus_name, names))
                        continue;
                if (strv_extend(&gone, a->bus_name) < 0) {
                        log_error("Failed to look after the client %s: out of memory", a->bus_name);
                        return 0;
                }
        }
        for (char **g = gone; g && *g; g++)
                engine_client_gone(b->engine, *g);
        return 0;
}

int clients_check(Bus *b) {
        assert(b);

        return sd_bus_call_method_async(b->bus, NULL, BUS_DRIVER, BUS_DRIVER_PATH, BUS_DRIVER,
                                        "ListNames", on_names, b, NULL);
}

/* ---- the one match ---- */

static int on_name_owner_changed(sd_bus_message *m, void *userdata, sd_bus_error *error _unused_) {
        Bus *b = userdata;
        const char *name, *old_owner, *new_owner;

        int r = sd_bus_message_read(m, "sss", &name, &old_owner, &new_owner);
        if (r < 0)
                return 0;
        if (name[0] != ':' || !isempty(new_owner))
                return 0;
        client_gone(b, name);
        return 0;
}

static int on_watch_installed(sd_bus_message *m, void *userdata, sd_bus_error *error _unused_) {
        Bus *b = userdata;

        if (sd_bus_message_is_method_error(m, NULL) > 0) {
                (void) log_warning("The bus refused to tell when clients leave: %s",
                                   strempty(sd_bus_message_get_error(m)->message));
                return 0;
        }
        b->watch_active = true;
        b->watch_epoch++;
        return 0;
}

int client_watch_update(Bus *b) {
        assert(b);

        bool needed = b->watch_wanted || b->n_asking > 0;
        if (needed == !!b->watch)
                return 0;
        if (!needed) {
                b->watch = sd_bus_slot_unref(b->watch);
                b->watch_active = false;
                return 0;
        }
        return sd_bus_add_match_async(
                b->bus, &b->watch,
                "type='signal',sender='" BUS_DRIVER "',path='" BUS_DRIVER_PATH "',"
                "interface='" BUS_DRIVER "',member='NameOwnerChanged',arg2=''",
                on_name_owner_changed, on_watch_installed, b);
}
