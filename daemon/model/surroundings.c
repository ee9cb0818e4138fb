/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What the facts of one function do not say by themselves, because it takes others to know: who is
 * in its IOMMU group, what of a bridge's windows is used, whether its errors reach the root port,
 * whom a reset also hits, the port it hangs on, its virtual functions. Added to the topics of
 * pci/facts.h as JSON. Walks go up a bounded number of bridges, since parents follow from text.
 */

#include "model/model.h"

#include <assert.h>
#include <linux/pci_regs.h>

#include "base/strutil.h"

#define DEPTH_MAX 64U
#define INTERVALS_MAX 1024U

static const Device *parent_of(const Inventory *i, const Device *d) {
        return d->facts.has_parent ? inventory_device(i, d->facts.parent) : NULL;
}

static bool is_below(const Inventory *i, const Device *d, const Device *bridge) {
        for (unsigned depth = 0; d && depth < DEPTH_MAX; depth++) {
                d = parent_of(i, d);
                if (d == bridge)
                        return true;
        }
        return false;
}

static void set_unread(Json *j, const char *key) {
        (void) json_set_string(j, key, fact_state_to_string(FACT_UNREAD));
}

static void set_absent(Json *j, const char *key) {
        (void) json_set_string(j, key, fact_state_to_string(FACT_ABSENT));
}

/* ---- IOMMU group ---- */

static void add_members(const Device *d, Json *j) {
        Json *list;

        if (!d->group) {
                set_absent(j, "members");
                set_absent(j, "viable");
                return;
        }
        (void) json_set_bool(j, "viable", d->group->viable);
        (void) json_set(j, "members", json_new_array());
        list = json_get(j, "members");
        LIST_FOREACH(&d->group->devices, link) {
                const Device *member = LIST_ENTRY(link, Device, in_group);
                Json *one = json_new_object();

                (void) json_set_string(one, "address", PCI_ADDRESS_TEXT(member->facts.address));
                (void) json_set_string(
                        one, "kind",
                        pci_kind_to_string(pci_kind_from_class(member->facts.class_code)));
                (void) json_set_string(one, "driver", member->facts.driver);
                (void) json_set_string(one, "state",
                                       device_state_to_string(device_get_state(member)));
                (void) json_set_strv(one, "blockers", member->blockers);
                (void) json_append(list, one);
        }
}

/* ---- windows ---- */

typedef struct Interval {
        uint64_t start, size;
} Interval;

static int interval_compare(const void *a, const void *b) {
        const Interval *x = a, *y = b;

        return x->start < y->start ? -1 : x->start > y->start;
}

static bool is_placed(const PciResource *r) {
        return r->size > 0 && r->start != 0 &&
               !(r->flags & (PCI_RESOURCE_UNSET | PCI_RESOURCE_DISABLED));
}

/* What functions right below a bridge take of [start, start + size): BARs, and windows of
 * bridges. */
static size_t collect(const Inventory *i, const Device *bridge, const PciResource *window,
                      Interval *ret) {
        size_t n = 0;

        for (size_t k = 0; k < i->n_devices; k++) {
                const Device *d = i->sorted[k];

                if (parent_of(i, d) != bridge)
                        continue;
                for (unsigned m = 0; m < d->facts.n_resources && n < INTERVALS_MAX; m++) {
                        const PciResource *r = pci_facts_resource(&d->facts, m);

                        if (is_placed(r) && r->start >= window->start &&
                            r->start - window->start < window->size &&
                            r->size <= window->size - (r->start - window->start) &&
                            (r->flags & PCI_RESOURCE_IO) == (window->flags & PCI_RESOURCE_IO))
                                ret[n++] = (Interval) { r->start, r->size };
                }
        }
        qsort(ret, n, sizeof(*ret), interval_compare);
        return n;
}

static void add_use(const Inventory *i, const Device *bridge, const PciResource *window, Json *j) {
        _cleanup_free_ Interval *taken = calloc(INTERVALS_MAX, sizeof(Interval));
        uint64_t at = window->start, used = 0, largest = 0;
        size_t n;

        if (!taken)
                return;
        n = collect(i, bridge, window, taken);
        for (size_t k = 0; k < n; k++) {
                uint64_t end = taken[k].start + taken[k].size;

                if (taken[k].start > at)
                        largest = MAX(largest, taken[k].start - at);
                if (end > at) { /* counts overlaps once */
                        used += end - MAX(at, taken[k].start);
                        at = end;
                }
        }
        largest = MAX(largest, window->size - (at - window->start));
        (void) json_set_u64(j, "used", used);
        (void) json_set_u64(j, "free", window->size - used);
        (void) json_set_u64(j, "largest_free", largest);
}

/* BARs below that have a size and no place. */
static void add_unassigned(const Inventory *i, const Device *bridge, Json *j) {
        Json *list;

        (void) json_set(j, "unassigned_below", json_new_array());
        list = json_get(j, "unassigned_below");
        for (size_t k = 0; k < i->n_devices; k++) {
                const Device *d = i->sorted[k];

                for (unsigned m = 0; m < MIN(d->facts.n_resources, PCI_RESOURCE_WINDOW_FIRST);
                     m++) {
                        const PciResource *r = pci_facts_resource(&d->facts, m);
                        Json *one;

                        if (r->size == 0 || is_placed(r) || !is_below(i, d, bridge))
                                continue;
                        one = json_new_object();
                        (void) json_set_string(one, "address", PCI_ADDRESS_TEXT(d->facts.address));
                        (void) json_set_u64(one, "resource", m);
                        (void) json_set_u64(one, "size", r->size);
                        (void) json_append(list, one);
                }
        }
}

static void add_windows(const Inventory *i, const Device *d, Json *j) {
        Json *windows = json_get(j, "windows");

        if (json_type(windows) != JSON_ARRAY)
                return;
        for (size_t k = 0;
             k < json_length(windows) && PCI_RESOURCE_WINDOW_FIRST + k < d->facts.n_resources;
             k++) {
                const PciResource *r = pci_facts_resource(&d->facts, PCI_RESOURCE_WINDOW_FIRST + k);

                if (is_placed(r))
                        add_use(i, d, r, json_at(windows, k));
        }
        add_unassigned(i, d, j);
}

/* ---- errors ---- */

static bool reports_uncorrectable(const PciConfigFacts *c) {
        const uint16_t both = PCI_EXP_DEVCTL_NFERE | PCI_EXP_DEVCTL_FERE;

        return (c->device_control & both) == both;
}

static bool root_interrupts(const PciConfigFacts *c) {
        const uint32_t both = PCI_ERR_ROOT_CMD_NONFATAL_EN | PCI_ERR_ROOT_CMD_FATAL_EN;

        return c->has_aer_root && (c->aer_root_command & both) == both;
}

/* One bridge on the way up; false if nobody read its registers. */
static bool add_error_hop(const Device *bridge, Json *list, bool *reaches) {
        const PciConfigFacts *c = bridge->config;
        bool known = c && c->liveness == PCI_LIVENESS_ALIVE;
        Json *one = json_new_object();

        (void) json_set_string(one, "address", PCI_ADDRESS_TEXT(bridge->facts.address));
        if (known) {
                (void) json_set_bool(one, "aer", c->has_aer);
                (void) json_set_bool(one, "reporting", reports_uncorrectable(c));
                (void) json_set_bool(one, "serr_forwarding",
                                     c->bridge_control & PCI_BRIDGE_CTL_SERR);
                *reaches = *reaches && c->bridge_control & PCI_BRIDGE_CTL_SERR;
                if (!bridge->facts.has_parent) {
                        (void) json_set_bool(one, "root_interrupts", root_interrupts(c));
                        *reaches = *reaches && root_interrupts(c);
                }
        } else {
                set_unread(one, "aer");
                set_unread(one, "reporting");
                set_unread(one, "serr_forwarding");
        }
        (void) json_append(list, one);
        return known;
}

/* Does an uncorrectable error of this function end in an interrupt of the root port, hop by hop? */
static void add_error_path(const Inventory *i, const Device *d, Json *j) {
        const Device *bridge = parent_of(i, d);
        bool known = d->config && d->config->liveness == PCI_LIVENESS_ALIVE;
        bool reaches = known && reports_uncorrectable(d->config);
        Json *list;

        (void) json_set(j, "path", json_new_array());
        list = json_get(j, "path");
        for (unsigned depth = 0; bridge && depth < DEPTH_MAX;
             depth++, bridge = parent_of(i, bridge))
                known = add_error_hop(bridge, list, &reaches) && known;
        if (!d->facts.has_parent)
                set_absent(j, "reaches_root");
        else if (!known)
                set_unread(j, "reaches_root");
        else
                (void) json_set_bool(j, "reaches_root", reaches);
}

/* ---- reset ---- */

static bool has_method(const Device *d, const char *method) {
        size_t n = strlen(method);

        for (const char *p = d->facts.reset_method; *p;) {
                size_t length = strcspn(p, " ");

                if (length == n && strncmp(p, method, n) == 0)
                        return true;
                p += length + (p[length] == ' ');
        }
        return false;
}

/* Virtual functions are reset with their physical one, by whatever method. */
static void add_virtual_functions(const Inventory *i, const Device *d, Json *list) {
        for (size_t k = 0; k < i->n_devices; k++)
                if (i->sorted[k]->facts.is_vf &&
                    pci_address_equal(i->sorted[k]->facts.physfn, d->facts.address))
                        (void) json_append_string(list,
                                                  PCI_ADDRESS_TEXT(i->sorted[k]->facts.address));
}

static void add_below(const Inventory *i, const Device *bridge, const Device *except, Json *list) {
        for (size_t k = 0; k < i->n_devices; k++)
                if (i->sorted[k] != except && is_below(i, i->sorted[k], bridge))
                        (void) json_append_string(list,
                                                  PCI_ADDRESS_TEXT(i->sorted[k]->facts.address));
}

int inventory_reset_hits(const Inventory *i, const Device *d, char method[PCI_RESET_METHODS_MAX],
                         char ***ret) {
        size_t n = strcspn(d->facts.reset_method, " ");
        _cleanup_strv_ char **hits = NULL;
        const Device *bridge = parent_of(i, d);
        bool bus;

        assert(i);
        assert(d);
        assert(ret);
        (void) snprintf(method, PCI_RESET_METHODS_MAX, "%.*s", (int) n, d->facts.reset_method);
        bus = streq(method, "bus") || streq(method, "cxl_bus");
        for (size_t k = 0; n > 0 && k < i->n_devices; k++) {
                const Device *other = i->sorted[k];
                bool hit = other->facts.is_vf &&
                           pci_address_equal(other->facts.physfn, d->facts.address);

                hit = hit || (bus && bridge && other != d && is_below(i, other, bridge));
                if (hit && strv_extend(&hits, PCI_ADDRESS_TEXT(other->facts.address)) < 0)
                        return -ENOMEM;
        }
        *ret = TAKE_PTR(hits);
        return 0;
}

static void add_also_hits(const Inventory *i, const Device *d, Json *j) {
        static const char *const of_bus[] = { "bus", "cxl_bus" };
        static const char *const of_function[] = { "device_specific", "acpi", "flr", "af_flr",
                                                   "pm" };
        const Device *bridge = parent_of(i, d);
        Json *hits;

        (void) json_set(j, "also_hits", json_new_object());
        hits = json_get(j, "also_hits");
        for (size_t k = 0; k < ELEMENTSOF(of_function); k++)
                if (has_method(d, of_function[k])) {
                        (void) json_set(hits, of_function[k], json_new_array());
                        add_virtual_functions(i, d, json_get(hits, of_function[k]));
                }
        for (size_t k = 0; k < ELEMENTSOF(of_bus); k++)
                if (bridge && has_method(d, of_bus[k])) {
                        (void) json_set(hits, of_bus[k], json_new_array());
                        add_below(i, bridge, d, json_get(hits, of_bus[k]));
                }
        /* What writing the bridge's reset_subordinate would do. */
        if (bridge) {
                (void) json_set(hits, "bridge", json_new_array());
                add_below(i, bridge, d, json_get(hits, "bridge"));
        }
}

/* Request Retry Status becomes visible at the root port above. */
static void add_root_rrs(const Inventory *i, const Device *d, Json *j) {
        const Device *root = d;

        for (unsigned depth = 0; depth < DEPTH_MAX; depth++) {
                const Device *above = parent_of(i, root);

                if (!above)
                        break;
                root = above;
        }
        if (root == d)
                set_absent(j, "root_port_rrs_visibility");
        else if (!root->config)
                set_unread(j, "root_port_rrs_visibility");
        else
                (void) json_set_bool(j, "root_port_rrs_visibility",
                                     root->config->root_control & 0x10);
}

/* ---- the port above ---- */

static void add_port_above(const Inventory *i, const Device *d, Json *j) {
        const Device *port = parent_of(i, d);
        _cleanup_json_ Json *facts = NULL;
        PciView v;

        if (!port) {
                set_absent(j, "upstream_port");
                return;
        }
        inventory_view(i, port, &v);
        facts = pci_topic_to_json(&v, PCI_TOPIC_HOTPLUG);
        (void) json_set(j, "upstream_port", json_ref(json_get(facts, "port")));
        (void) json_set_string(json_get(j, "upstream_port"), "address",
                               PCI_ADDRESS_TEXT(port->facts.address));
}

void inventory_add_surroundings(const Inventory *i, const Device *d, PciTopic topic, Json *j) {
        assert(i);
        assert(d);

        switch (topic) {
        case PCI_TOPIC_IOMMU:
                add_members(d, j);
                return;
        case PCI_TOPIC_RESOURCES:
                add_windows(i, d, j);
                return;
        case PCI_TOPIC_ERRORS:
                add_error_path(i, d, j);
                return;
        case PCI_TOPIC_RESET:
                add_also_hits(i, d, j);
                add_root_rrs(i, d, j);
                return;
        case PCI_TOPIC_HOTPLUG:
                add_port_above(i, d, j);
                return;
        case PCI_TOPIC_SRIOV:
                (void) json_set(j, "virtual_functions", json_new_array());
                add_virtual_functions(i, d, json_get(j, "virtual_functions"));
                return;
        case PCI_TOPIC_USE: /* null: no rule took it from the host */
                (void) json_set_string(j, "held_from", d->held_from);
                return;
        case PCI_TOPIC_IDENTITY:
        case PCI_TOPIC_SVA:
        case PCI_TOPIC_TRAFFIC:
        case PCI_TOPIC_ACCELERATOR:
        case PCI_TOPIC_P2P:
        case PCI_TOPIC_CLEANING:
        case _PCI_TOPIC_MAX:
        case _PCI_TOPIC_INVALID:
                return;
        }
}
