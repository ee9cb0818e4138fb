/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Object paths: …/device/<escaped address>, …/group/<number>, …/assignment/<id>, …/job/<number>. A
 * path is decoded strictly: what does not come out as the same text again names nothing, so that no
 * object answers on two paths. The escaping is that of sd_bus_path_encode(), done without
 * allocation because every reply with many objects needs it.
 */

#include <assert.h>

#include "bus/bus-private.h"

static const char *const prefixes[_OBJECT_KIND_MAX] = {
        [OBJECT_MANAGER] = BUS_PATH,
        [OBJECT_DEVICE] = BUS_PATH_DEVICE,
        [OBJECT_GROUP] = BUS_PATH_GROUP,
        [OBJECT_ASSIGNMENT] = BUS_PATH_ASSIGNMENT,
        [OBJECT_JOB] = BUS_PATH_JOB,
};

static bool is_digit(char c) {
        return c >= '0' && c <= '9';
}

BusPath bus_path_device(PciAddress a) {
        static const char hex[] = "0123456789abcdef";
        BusPath p;
        char text[PCI_ADDRESS_MAX];
        size_t n = strlen(BUS_PATH_DEVICE "/");

        memcpy(p.text, BUS_PATH_DEVICE "/", n);
        pci_address_format(a, text);
        for (const char *c = text; *c; c++) {
                /* As in labels of sd-bus: letters and digits stay, but for a digit in front. */
                bool plain = (*c >= 'a' && *c <= 'z') || (is_digit(*c) && c != text);
                if (plain) {
                        p.text[n++] = *c;
                        continue;
                }
                p.text[n++] = '_';
                p.text[n++] = hex[(uint8_t) *c >> 4];
                p.text[n++] = hex[(uint8_t) *c & 15];
        }
        p.text[n] = 0;
        return p;
}

/* By hand: every group of a reply with all objects comes through here. */
static BusPath path_number(const char *prefix, size_t length, uint64_t n) {
        char digits[20];
        size_t k = 0;
        BusPath p;

        memcpy(p.text, prefix, length);
        p.text[length++] = '/';
        do
                digits[k++] = (char) ('0' + n % 10);
        while ((n /= 10) > 0);
        while (k > 0)
                p.text[length++] = digits[--k];
        p.text[length] = 0;
        return p;
}

BusPath bus_path_group(uint32_t id) {
        return path_number(BUS_PATH_GROUP, strlen(BUS_PATH_GROUP), id);
}

BusPath bus_path_assignment(const char *id) {
        BusPath p;
        (void) snprintf(p.text, sizeof(p.text), "%s/%.32s", BUS_PATH_ASSIGNMENT, id);
        return p;
}

BusPath bus_path_job(uint64_t id) {
        return path_number(BUS_PATH_JOB, strlen(BUS_PATH_JOB), id);
}

static BusPath path_root(void) {
        return (BusPath) { .text = "/" };
}

BusPath bus_path_running_job(const Job *j) {
        return !j || j->finished ? path_root() : bus_path_job(j->id);
}

BusPath bus_path_object(ObjectKind kind, const void *object) {
        switch (kind) {
        case OBJECT_DEVICE:
                return bus_path_device(((const Device *) object)->facts.address);
        case OBJECT_GROUP:
                return bus_path_group(((const Group *) object)->id);
        case OBJECT_ASSIGNMENT:
                return bus_path_assignment(((const Assignment *) object)->id);
        case OBJECT_JOB:
                return bus_path_job(((const Job *) object)->id);
        case OBJECT_MANAGER:
        case _OBJECT_KIND_MAX:
                break;
        }
        return (BusPath) { .text = BUS_PATH };
}

static void *find_device(const Inventory *i, const char *path) {
        _cleanup_free_ char *text = NULL;
        PciAddress a;

        if (sd_bus_path_decode(path, BUS_PATH_DEVICE, &text) <= 0 ||
            pci_address_parse(text, &a) < 0)
                return NULL;
        return inventory_device(i, a);
}

static void *find_numbered(const Inventory *i, ObjectKind kind, const char *id) {
        uint64_t n;

        if (kind == OBJECT_GROUP)
                return parse_u64(id, 10, UINT32_MAX, &n) < 0 ? NULL
                                                             : inventory_group(i, (uint32_t) n);
        return parse_u64(id, 10, UINT64_MAX, &n) < 0 ? NULL : inventory_job(i, n);
}

void *bus_find(Bus *b, ObjectKind kind, const char *path) {
        assert(b);
        assert(path);

        if (kind == OBJECT_MANAGER || !b->engine) /* without an engine only to be introspected */
                return b;
        size_t n = strlen(prefixes[kind]);
        if (strncmp(path, prefixes[kind], n) != 0 || path[n] != '/')
                return NULL;

        const Inventory *i = engine_inventory(b->engine);
        const char *id = path + n + 1;
        void *object = kind == OBJECT_DEVICE ? find_device(i, path) :
                       kind == OBJECT_ASSIGNMENT ? (void *) inventory_assignment(i, id) :
                       find_numbered(i, kind, id);
        if (!object || !streq(bus_path_object(kind, object).text, path))
                return NULL;
        return object;
}
