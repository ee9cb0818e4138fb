/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * From a NIC upwards: bond, bridge, VLAN, team, macvlan (/sys/class/net/X/upper_*), until an
 * interface is met that a route of the host uses, or over which remote storage (iSCSI, NVMe over
 * TCP or RDMA) is reached. Routes that every interface has (link-local, multicast, loopback) say
 * nothing about use and are passed over. Interfaces under an Open vSwitch datapath count: which of
 * its ports the host's own traffic leaves by cannot be seen from here.
 */

#include <arpa/inet.h>
#include <assert.h>
#include <fcntl.h>

#include "base/errors.h"
#include "base/fdio.h"
#include "worker/critical-private.h"

#define ROUTES_MAX 65536U
#define RTF_UP 0x0001U
#define RTF_REJECT 0x0200U
#define RTF_LOCAL 0x80000000U

typedef struct Route { /* while loading */
        int family;
        uint8_t prefix[16];
        unsigned length;
        char interface[32];
} Route;

typedef struct RouteTable {
        Route *routes;
        size_t n, allocated;
} RouteTable;

static int add_use(Critical *c, const char *interface, const char *what, bool remote_storage) {
        CriticalRoute *r;

        /* One reason of a kind for an interface is enough; default comes first. */
        for (size_t i = 0; i < c->n_routes; i++)
                if (streq(c->routes[i].interface, interface) &&
                    c->routes[i].remote_storage == remote_storage && !streq(what, "default route"))
                        return 0;
        if (ARRAY_RESERVE_ONE(c->routes, c->n_routes, c->routes_allocated) < 0)
                return -ENOMEM;
        r = &c->routes[c->n_routes++];
        *r = (CriticalRoute) { .remote_storage = remote_storage };
        (void) string_copy(r->interface, sizeof r->interface, interface);
        (void) string_copy(r->what, sizeof r->what, what);
        return 0;
}

static bool route_is_ordinary(const Route *r) {
        const uint8_t *p = r->prefix;

        if (streq(r->interface, "lo"))
                return true;
        if (r->family == AF_INET)
                return (p[0] == 169 && p[1] == 254) || p[0] == 127 || (p[0] & 0xf0) == 0xe0;
        return (p[0] == 0xfe && (p[1] & 0xc0) == 0x80) || p[0] == 0xff;
}

static int add_route(Critical *c, RouteTable *t, const Route *route) {
        char address[INET6_ADDRSTRLEN], what[96];

        if (t->n >= ROUTES_MAX)
                return -E2BIG;
        if (ARRAY_RESERVE_ONE(t->routes, t->n, t->allocated) < 0)
                return -ENOMEM;
        t->routes[t->n++] = *route;
        if (route_is_ordinary(route))
                return 0;
        if (route->length == 0)
                return add_use(c, route->interface, "default route", false);
        (void) inet_ntop(route->family, route->prefix, address, sizeof address);
        (void) snprintf(what, sizeof what, "route %s/%u", address, route->length);
        return add_use(c, route->interface, what, false);
}

/* The n-th word of a line of blanks and tabs, or NULL. Cuts the line. */
static size_t split_words(char *line, char **words, size_t max) {
        size_t n = 0;

        for (char *word; n < max && (word = strsep(&line, " \t"));)
                if (*word)
                        words[n++] = word;
        return n;
}

/* net/ipv4/fib_trie.c fib_route_seq_show(): Iface Destination Gateway Flags … Mask …; addresses as
 * they lie in memory. */
static int add_ipv4_line(Critical *c, RouteTable *t, char *line) {
        Route route = { .family = AF_INET };
        char *words[8];
        uint32_t destination, flags, mask;

        if (split_words(line, words, ELEMENTSOF(words)) < 8)
                return 0;
        if (parse_u32(words[1], 16, UINT32_MAX, &destination) < 0 ||
            parse_u32(words[3], 16, UINT32_MAX, &flags) < 0 ||
            parse_u32(words[7], 16, UINT32_MAX, &mask) < 0)
                return -EBADMSG;
        if (!(flags & RTF_UP) || flags & RTF_REJECT)
                return 0;
        memcpy(route.prefix, &destination, sizeof destination);
        route.length = (unsigned) __builtin_popcount(mask);
        (void) string_copy(route.interface, sizeof route.interface, words[0]);
        return add_route(c, t, &route);
}

/* net/ipv6/route.c rt6_info_route(): destination, length, source, length, gateway, metric,
 * reference, use, flags, name. */
static int add_ipv6_line(Critical *c, RouteTable *t, char *line) {
        Route route = { .family = AF_INET6 };
        char *words[10];
        uint32_t flags;

        if (split_words(line, words, ELEMENTSOF(words)) < 10)
                return 0;
        if (strlen(words[0]) != 32 || parse_u32(words[1], 16, 128, &route.length) < 0 ||
            parse_u32(words[8], 16, UINT32_MAX, &flags) < 0)
                return -EBADMSG;
        if (!(flags & RTF_UP) || flags & (RTF_REJECT | RTF_LOCAL))
                return 0;
        for (size_t i = 0; i < 16; i++) {
                uint64_t byte;
                if (parse_u64_n(words[0] + 2 * i, 2, 16, 255, &byte) < 0)
                        return -EBADMSG;
                route.prefix[i] = (uint8_t) byte;
        }
        (void) string_copy(route.interface, sizeof route.interface, words[9]);
        return add_route(c, t, &route);
}

static int load_routes(Critical *c, RouteTable *t, const char *file,
                       int (*add_line)(Critical *c, RouteTable *t, char *line)) {
        _cleanup_free_ char *text = NULL;
        char path[64];
        size_t n;

        /* Process 1 is in the host's network namespace whatever sandbox this one has. */
        (void) snprintf(path, sizeof path, "1/net/%s", file);
        int r = read_file_at(c->tree->proc, path, CRITICAL_FILE_MAX, &text, &n);
        if (r == -ENOENT || r == -EACCES) {
                (void) snprintf(path, sizeof path, "net/%s", file);
                r = read_file_at(c->tree->proc, path, CRITICAL_FILE_MAX, &text, &n);
        }
        if (r < 0)
                return r == -ENOENT ? 0 : r; /* a kernel without that protocol */
        for (char *line, *rest = text; r >= 0 && (line = strsep(&rest, "\n"));)
                if (*line && strncmp(line, "Iface", 5) != 0)
                        r = add_line(c, t, line);
        return r;
}

static bool prefix_matches(const Route *r, const uint8_t *address) {
        unsigned whole = r->length / 8, rest = r->length % 8;

        return memcmp(r->prefix, address, whole) == 0 &&
                (rest == 0 || (r->prefix[whole] ^ address[whole]) >> (8 - rest) == 0);
}

/* The interface by which a remote address is reached: the longest prefix. */
static int add_remote(Critical *c, const RouteTable *t, const char *address, const char *what) {
        const Route *best = NULL;
        uint8_t bytes[16];
        int family = strchr(address, ':') ? AF_INET6 : AF_INET;

        if (inet_pton(family, address, bytes) != 1)
                return 0;
        for (size_t i = 0; i < t->n; i++) {
                const Route *r = &t->routes[i];
                if (r->family == family && prefix_matches(r, bytes) &&
                    (!best || r->length > best->length))
                        best = r;
        }
        return best ? add_use(c, best->interface, what, true) : 0;
}

/* drivers/scsi/scsi_transport_iscsi.c: connection attribute `address`. */
static int load_iscsi(Critical *c, const RouteTable *t) {
        _cleanup_strv_ char **names = NULL;

        if (read_dir_names_at(c->tree->sys, "class/iscsi_connection", SYS_NAMES_MAX, true, &names) <
            0)
                return 0;
        for (size_t i = 0; names && names[i]; i++) {
                char path[160], address[64], what[96];
                (void) snprintf(path, sizeof path, "class/iscsi_connection/%.64s/address",
                                names[i]);
                if (read_attr_at(c->tree->sys, path, address, sizeof address) <= 0)
                        continue;
                (void) snprintf(what, sizeof what, "iSCSI session with %s", address);
                if (add_remote(c, t, address, what) < 0)
                        return -ENOMEM;
        }
        return 0;
}

/* drivers/nvme/host/sysfs.c: `transport`, and `address`
 * "traddr=10.0.0.1,trsvcid=4420,host_iface=…". */
static int add_nvme_controller(Critical *c, const RouteTable *t, const char *name) {
        char path[128], transport[16], text[512], what[96];

        (void) snprintf(path, sizeof path, "class/nvme/%.64s/transport", name);
        if (read_attr_at(c->tree->sys, path, transport, sizeof transport) < 0 ||
            (!streq(transport, "tcp") && !streq(transport, "rdma")))
                return 0;
        (void) snprintf(path, sizeof path, "class/nvme/%.64s/address", name);
        if (read_attr_at(c->tree->sys, path, text, sizeof text) < 0)
                return 0;
        for (char *field, *rest = text; (field = strsep(&rest, ","));) {
                int r = 0;
                (void) snprintf(what, sizeof what, "NVMe over %s, %s", transport, name);
                if (strncmp(field, "traddr=", 7) == 0)
                        r = add_remote(c, t, field + 7, what);
                else if (strncmp(field, "host_iface=", 11) == 0)
                        r = add_use(c, field + 11, what, true);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int load_nvme_fabrics(Critical *c, const RouteTable *t) {
        _cleanup_strv_ char **names = NULL;
        int r = 0;

        if (read_dir_names_at(c->tree->sys, "class/nvme", SYS_NAMES_MAX, true, &names) < 0)
                return 0;
        for (size_t i = 0; r >= 0 && names && names[i]; i++)
                r = add_nvme_controller(c, t, names[i]);
        return r;
}

void critical_load_network(Critical *c) {
        RouteTable t = {};

        assert(c);
        if (c->network_loaded)
                return;
        c->network_loaded = true;
        int r = c->tree->proc < 0 ? -ENOENT : load_routes(c, &t, "route", add_ipv4_line);
        if (r >= 0)
                r = load_routes(c, &t, "ipv6_route", add_ipv6_line);
        if (r >= 0)
                r = load_iscsi(c, &t);
        if (r >= 0)
                r = load_nvme_fabrics(c, &t);
        free(t.routes);
        c->network_error = r < 0 ? r : 0;
}

typedef struct NetStep {
        char name[32];
        char proof[CRITICAL_PROOF_MAX];
} NetStep;

typedef struct NetWalk {
        NetStep *steps;
        size_t n, allocated;
} NetWalk;

static int walk_add(NetWalk *w, const char *proof, const char *name) {
        NetStep *s;

        for (size_t i = 0; i < w->n; i++)
                if (streq(w->steps[i].name, name))
                        return 0;
        if (w->n >= CRITICAL_STEPS_MAX)
                return 0;
        if (ARRAY_RESERVE_ONE(w->steps, w->n, w->allocated) < 0)
                return -ENOMEM;
        s = &w->steps[w->n++];
        *s = (NetStep) {};
        (void) string_copy(s->name, sizeof s->name, name);
        (void) snprintf(s->proof, sizeof s->proof, "%.400s → %s", proof, s->name);
        return 0;
}

static int report(const Critical *c, const NetStep *s, PciUse *use) {
        char proof[CRITICAL_PROOF_MAX + 128];

        for (size_t i = 0; i < c->n_routes; i++) {
                if (!streq(c->routes[i].interface, s->name))
                        continue;
                (void) snprintf(proof, sizeof proof, "%s → %s", s->proof, c->routes[i].what);
                int r = pci_use_add_critical(use,
                                             c->routes[i].remote_storage
                                                     ? PCI_CRITICAL_REMOTE_STORAGE
                                                     : PCI_CRITICAL_ROUTE,
                                             proof);
                if (r < 0)
                        return r;
        }
        if (!streq(s->name, "ovs-system"))
                return 0;
        (void) snprintf(proof, sizeof proof, "%s → Open vSwitch datapath", s->proof);
        return pci_use_add_critical(use, PCI_CRITICAL_ROUTE, proof);
}

static int add_uppers(const Critical *c, NetWalk *w, size_t i) {
        _cleanup_strv_ char **names = NULL;
        char path[96], proof[CRITICAL_PROOF_MAX];

        (void) string_copy(proof, sizeof proof,
                           w->steps[i].proof); /* the steps move as they grow */
        (void) snprintf(path, sizeof path, "class/net/%s", w->steps[i].name);
        int r = read_dir_names_at(c->tree->sys, path, SYS_NAMES_MAX, true, &names);
        if (r < 0)
                return r == -ENOMEM ? r : 0;
        for (size_t n = 0; names && names[n]; n++)
                if (strncmp(names[n], "upper_", 6) == 0 && walk_add(w, proof, names[n] + 6) < 0)
                        return -ENOMEM;
        return 0;
}

int critical_follow_net(Critical *c, const char *proof, const char *name, PciUse *use) {
        NetWalk w = {};
        char what[CRITICAL_PROOF_MAX];

        assert(c);
        assert(use);
        critical_load_network(c);
        if (c->network_error < 0) {
                (void) snprintf(what, sizeof what, "%.300s → %s → routes cannot be read: %s", proof,
                                name, errno_text(-c->network_error));
                return pci_use_add_critical(use, PCI_CRITICAL_ROUTE, what);
        }
        int r = walk_add(&w, proof, name);
        for (size_t i = 0; r >= 0 && i < w.n; i++) {
                r = report(c, &w.steps[i], use);
                if (r >= 0)
                        r = add_uppers(c, &w, i);
        }
        free(w.steps);
        return r;
}
