/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * list, tree and groups: what is there, who has it, what stands in the way. The tables show the
 * same objects that --json prints.
 */

#include "verbs.h"

#include "base/strutil.h"
#include "devices.h"

#define _cleanup_names_ _cleanup_(names_closep)

/* ---- list ---- */

static int fetch(const Arguments *a, Json **ret) {
        _cleanup_bus_ sd_bus *bus = NULL;
        _cleanup_names_ Names *names = NULL;
        int r = client_connect(a, &bus);

        if (r > 0)
                return r;
        if (names_open(&names) < 0)
                output_out_of_memory();
        return devices_list(bus, names, ret);
}

static bool word_matches(const Json *d, const char *word) {
        static const char *const keys[] = { "address", "slot", "driver", "owner", "state", "kind" };
        Json *children = json_get(d, "children");

        for (size_t i = 0; i < ELEMENTSOF(keys); i++)
                if (glob_matches(word, member_string(d, keys[i])))
                        return true;
        for (size_t i = 0; i < json_length(children); i++)
                if (glob_matches(word, strempty(json_string(json_at(children, i)))))
                        return true;
        /* "41:00.0" is in domain 0. */
        return strncmp(member_string(d, "address"), "0000:", 5) == 0 &&
               glob_matches(word, member_string(d, "address") + 5);
}

static bool is_wanted(const Json *d, const Arguments *a) {
        bool wanted = a->n_words == 0;

        if (a->assignable && !member_bool(d, "assignable"))
                return false;
        if (a->owner && !glob_matches(a->owner, member_string(d, "owner")))
                return false;
        for (size_t i = 0; i < a->n_words && !wanted; i++)
                wanted = word_matches(d, a->words[i]);
        return wanted;
}

static Json *select_devices(const Json *all, const Arguments *a) {
        Json *some = json_new_array();

        for (size_t i = 0; i < json_length(all); i++)
                if (is_wanted(json_at(all, i), a))
                        (void) json_append(
                                some, json_ref(json_at(all, i))); /* shows when it is printed */
        return some;
}

/* "GH100 [H100 SXM5 80GB]": the device by its name, or by class and numbers where pci.ids has
 * none. */
static char *describe(const Json *d) {
        const char *name = member_string(d, "device_name");

        if (streq(name, member_string(d, "device")))
                return strjoinf("%s %s:%s", member_string(d, "class_name"),
                                member_string(d, "vendor"), name);
        return strdup(name);
}

static void set_member(struct libscols_line *line, size_t column, const Json *d, const char *key) {
        _cleanup_free_ char *text = member_text(d, key);

        table_set(line, column, text, PAINT_NONE);
}

static void set_state(struct libscols_line *line, size_t column, const Json *d) {
        const char *state = member_string(d, "state"), *health = member_string(d, "health");
        _cleanup_free_ char *both = streq(health, "healthy") || health[0] == 0 ? strdup(state) :
                                    strjoinf("%s, %s", state, health);

        table_set(line, column, both, output_paint_of(streq(health, "healthy") ? state : health));
}

static int print_devices(const Json *devices) {
        static const Column columns[] = {
                { "ADDRESS", 0, 0 }, { "DEVICE", 0.3, SCOLS_FL_TRUNC }, { "DRIVER", 0, 0 },
                { "GROUP", 0, SCOLS_FL_RIGHT }, { "NUMA", 0, SCOLS_FL_RIGHT }, { "STATE", 0, 0 },
                { "OWNER", 0.1, SCOLS_FL_TRUNC }, { "BLOCKED BY", 0.2, SCOLS_FL_TRUNC },
        };
        struct libscols_table *t = table_new(columns, ELEMENTSOF(columns));

        for (size_t i = 0; i < json_length(devices); i++) {
                const Json *d = json_at(devices, i);
                struct libscols_line *line = table_add(t, NULL);
                _cleanup_free_ char *what = describe(d), *blockers = member_text(d, "blockers");

                table_set(line, 0, member_string(d, "address"), PAINT_NONE);
                table_set(line, 1, what, PAINT_NONE);
                set_member(line, 2, d, "driver");
                set_member(line, 3, d, "iommu_group");
                set_member(line, 4, d, "numa_node");
                set_state(line, 5, d);
                table_set(line, 6, member_string(d, "owner"), PAINT_BOLD);
                table_set(line, 7, blockers, PAINT_DIM);
        }
        return table_print(t);
}

static int print_assignments(const Json *assignments) {
        static const Column columns[] = {
                { "ASSIGNMENT", 0, 0 }, { "OWNER", 0, 0 }, { "STATE", 0, 0 }, { "LIFETIME", 0, 0 },
                { "USER", 0, SCOLS_FL_RIGHT }, { "PID", 0, SCOLS_FL_RIGHT }, { "DEVICES", 0, 0 },
        };
        struct libscols_table *t = table_new(columns, ELEMENTSOF(columns));

        for (size_t i = 0; i < json_length(assignments); i++) {
                const Json *a = json_at(assignments, i);
                struct libscols_line *line = table_add(t, NULL);

                set_member(line, 0, a, "assignment");
                table_set(line, 1, member_string(a, "owner"), PAINT_BOLD);
                table_set(line, 2, member_string(a, "state"),
                          output_paint_of(member_string(a, "state")));
                set_member(line, 3, a, "lifetime");
                set_member(line, 4, a, "user_uid");
                set_member(line, 5, a, "pid");
                set_member(line, 6, a, "devices");
        }
        return table_print(t);
}

static int list_assignments(const Arguments *a) {
        _cleanup_bus_ sd_bus *bus = NULL;
        _cleanup_json_ Json *all = NULL, *some = json_new_array();
        int r;

        if (a->n_words > 0 || a->assignable)
                return complain(2, "list --assignments takes no devices and no --assignable");
        r = client_connect(a, &bus);
        if (r == 0)
                r = assignments_list(bus, &all);
        if (r > 0)
                return r;
        for (size_t i = 0; i < json_length(all); i++)
                if (!a->owner || glob_matches(a->owner, member_string(json_at(all, i), "owner")))
                        (void) json_append(
                                some, json_ref(json_at(all, i))); /* shows when it is printed */
        return a->json ? print_json(some) : print_assignments(some);
}

int verb_list(const Arguments *a) {
        _cleanup_json_ Json *all = NULL, *some = NULL;
        int r;

        if (a->assignments)
                return list_assignments(a);
        r = fetch(a, &all);
        if (r > 0)
                return r;
        some = select_devices(all, a);
        return a->json ? print_json(some) : print_devices(some);
}

/* ---- tree ---- */

/* Is `parent` a proper prefix of `path` that ends at a component? */
static bool is_above(const char *parent, const char *path) {
        size_t n = strlen(parent);

        return n > 0 && strncmp(parent, path, n) == 0 && path[n] == '/';
}

/* The nearest function above number i, or SIZE_MAX. A path's parent sorts before it, so only what
 * comes before is looked at. */
static size_t find_parent(const Json *devices, size_t i) {
        const char *path = member_string(json_at(devices, i), "port_path");
        size_t best = SIZE_MAX, length = 0;

        for (size_t k = 0; k < json_length(devices); k++) {
                const char *other = member_string(json_at(devices, k), "port_path");

                if (k != i && is_above(other, path) && strlen(other) > length) {
                        best = k;
                        length = strlen(other);
                }
        }
        return best;
}

typedef struct Node {
        size_t parent, depth;
} Node;

static size_t depth_of(const char *path) {
        size_t n = 0;

        for (; *path; path++)
                n += *path == '/';
        return n;
}

static void fill_tree_line(struct libscols_line *line, const Json *d) {
        _cleanup_free_ char *what = describe(d);

        table_set(line, 0, member_string(d, "address"), PAINT_NONE);
        table_set(line, 1, what, PAINT_NONE);
        set_member(line, 2, d, "iommu_group");
        set_member(line, 3, d, "driver");
        set_state(line, 4, d);
        table_set(line, 5, member_string(d, "owner"), PAINT_BOLD);
}

/* Parents first: by depth, each depth in the order of addresses. */
static int print_tree(const Json *devices) {
        static const Column columns[] = {
                { "ADDRESS", 0, SCOLS_FL_TREE },
                { "DEVICE", 0.4, SCOLS_FL_TRUNC },
                { "GROUP", 0, SCOLS_FL_RIGHT },
                { "DRIVER", 0, 0 },
                { "STATE", 0, 0 },
                { "OWNER", 0.1, SCOLS_FL_TRUNC },
        };
        struct libscols_table *t = table_new(columns, ELEMENTSOF(columns));
        size_t n = json_length(devices), deepest = 0;
        struct libscols_line **lines = calloc(n + 1, sizeof(*lines));
        Node *nodes = calloc(n + 1, sizeof(*nodes));

        if (!lines || !nodes)
                output_out_of_memory();
        for (size_t i = 0; i < n; i++) {
                nodes[i] = (Node){ find_parent(devices, i),
                                   depth_of(member_string(json_at(devices, i), "port_path")) };
                deepest = MAX(deepest, nodes[i].depth);
        }
        for (size_t depth = 0; depth <= deepest; depth++)
                for (size_t i = 0; i < n; i++)
                        if (nodes[i].depth == depth) {
                                size_t parent = nodes[i].parent;

                                lines[i] = table_add(t, parent < n ? lines[parent] : NULL);
                                fill_tree_line(lines[i], json_at(devices, i));
                        }
        free(lines);
        free(nodes);
        return table_print(t);
}

static Json *tree_node(const Json *devices, const size_t *parents, size_t i, unsigned depth) {
        Json *j = json_new_object(), *below = json_new_array();
        const Json *d = json_at(devices, i);
        void *iterator = NULL;
        const char *key;
        Json *value;

        while (json_next(d, &iterator, &key, &value))
                (void) json_set(j, key, json_ref(value)); /* shows when it is printed, as below */
        for (size_t k = 0; k < json_length(devices) && depth > 0; k++)
                if (parents[k] == i)
                        (void) json_append(below, tree_node(devices, parents, k, depth - 1));
        (void) json_set(j, "below", below);
        return j;
}

/* A port path has at most 128 characters a bus and PCI 256 buses deep at most; 24 levels hold any
 * machine there is. */
#define TREE_DEPTH_MAX 24U

static int print_tree_json(const Json *devices) {
        _cleanup_json_ Json *roots = json_new_array();
        size_t n = json_length(devices);
        _cleanup_free_ size_t *parents = calloc(n + 1, sizeof(*parents));

        if (!parents)
                output_out_of_memory();
        for (size_t i = 0; i < n; i++)
                parents[i] = find_parent(devices, i);
        for (size_t i = 0; i < n; i++)
                if (parents[i] == SIZE_MAX)
                        (void) json_append(roots, tree_node(devices, parents, i, TREE_DEPTH_MAX));
        return print_json(roots);
}

int verb_tree(const Arguments *a) {
        _cleanup_json_ Json *all = NULL;
        int r = fetch(a, &all);

        if (r > 0)
                return r;
        return a->json ? print_tree_json(all) : print_tree(all);
}

/* ---- groups ---- */

static int print_groups(const Json *groups) {
        static const Column columns[] = {
                { "GROUP", 0, SCOLS_FL_RIGHT },
                { "VIABLE", 0, 0 },
                { "DOMAIN", 0, 0 },
                { "IOMMU", 0, 0 },
                { "OWNER", 0, 0 },
                { "DEVICES", 0, 0 },
        };
        struct libscols_table *t = table_new(columns, ELEMENTSOF(columns));

        for (size_t i = 0; i < json_length(groups); i++) {
                const Json *g = json_at(groups, i);
                struct libscols_line *line = table_add(t, NULL);
                bool viable = member_bool(g, "viable");

                set_member(line, 0, g, "iommu_group");
                table_set(line, 1, viable ? "yes" : "no", viable ? PAINT_GOOD : PAINT_NONE);
                set_member(line, 2, g, "domain_type");
                set_member(line, 3, g, "iommu");
                table_set(line, 4, member_string(g, "owner"), PAINT_BOLD);
                set_member(line, 5, g, "devices");
        }
        return table_print(t);
}

int verb_groups(const Arguments *a) {
        _cleanup_bus_ sd_bus *bus = NULL;
        _cleanup_json_ Json *all = NULL;
        int r = client_connect(a, &bus);

        if (r == 0)
                r = objects_list(bus, BUS_INTERFACE_GROUP, group_to_json, "iommu_group", &all);
        if (r > 0)
                return r;
        return a->json ? print_json(all) : print_groups(all);
}
