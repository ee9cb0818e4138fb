/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A snapshot as HOST.json. With redact, what names a person, a place or a single piece of hardware
 * is replaced by numbered placeholders: serial numbers (in VPD and in the Device Serial Number
 * capability), labels, who holds a device, and the kernel command line's values that have nothing
 * to do with PCI. Equal values get equal placeholders, so that "the same card is back" can still be
 * seen. The original snapshot is never changed.
 */

#include <assert.h>
#include <linux/pci_regs.h>

#include "base/hashmap.h"
#include "base/strutil.h"
#include "host/snapshot-private.h"

typedef struct Writer {
        bool redact;
        Hashmap *seen; /* "kind:value" → Placeholder */
        struct Placeholder {
                char *key;
                size_t number;
        } **placeholders;
        size_t n_placeholders, placeholders_allocated;
        int error;
} Writer;

static void writer_done(Writer *w) {
        for (size_t i = 0; i < w->n_placeholders; i++) {
                free(w->placeholders[i]->key);
                free(w->placeholders[i]);
        }
        free(w->placeholders);
        hashmap_free(w->seen);
}
#define _cleanup_writer_ _cleanup_(writer_done)

/* The number that stands for this value; 0 on OOM, which sticks in the writer. */
static size_t placeholder(Writer *w, const char *kind, const char *value) {
        _cleanup_free_ char *key = strjoinf("%s:%s", kind, value);
        _cleanup_free_ struct Placeholder *p = NULL;
        struct Placeholder *known;

        if (!w->seen)
                w->seen = hashmap_new_string();
        if (!key || !w->seen ||
            ARRAY_RESERVE_ONE(w->placeholders, w->n_placeholders, w->placeholders_allocated) < 0) {
                w->error = -ENOMEM;
                return 0;
        }
        known = hashmap_get(w->seen, key);
        if (known)
                return known->number;
        p = calloc(1, sizeof(*p));
        if (!p || hashmap_put(w->seen, key, p) < 0) {
                w->error = -ENOMEM;
                return 0;
        }
        p->key = TAKE_PTR(key);
        p->number = w->n_placeholders + 1;
        w->placeholders[w->n_placeholders++] = p;
        return TAKE_PTR(p)->number;
}

/* The value, or what stands for it. */
static void set_private(Writer *w, Json *j, const char *key, const char *kind, const char *value) {
        if (!value)
                return;
        if (w->redact && value[0])
                (void) json_set_stringf(j, key, "%s-%zu", kind, placeholder(w, kind, value));
        else
                (void) json_set_string(j, key, value);
}

static void set_optional(Json *j, const char *key, const char *value) {
        if (value)
                (void) json_set_string(j, key, value);
}

/* Text that JSON cannot carry is recorded as what it is to the decoder: unreadable. */
static Json *text_to_json(const char *text, int error) {
        const char *name;
        Json *j;

        if (text && utf8_is_valid(text, strlen(text)))
                return json_new_string(text);
        name = strerrorname_np(text ? EILSEQ : error);
        j = json_new_object();
        (void) json_set_string(j, "error", name ? name : "EIO");
        return j;
}

/* ---- configuration space ---- */

static char *hex_text(const PciConfig *c, size_t offset, size_t n) {
        static const char digits[] = "0123456789abcdef";
        char *s = malloc(2 * n + 1);

        if (!s)
                return NULL;
        for (size_t i = 0; i < n; i++) {
                s[2 * i] = digits[c->bytes[offset + i] >> 4];
                s[2 * i + 1] = digits[c->bytes[offset + i] & 0xf];
        }
        s[2 * n] = 0;
        return s;
}

static size_t run_of_valid(const PciConfig *c, size_t offset) {
        size_t end = offset;

        while (end < c->size && pci_config_has(c, end, 4))
                end += 4;
        return end - offset;
}

static Json *config_to_json(const PciConfig *c) {
        Json *j, *ranges;

        if (c->size > 0 && run_of_valid(c, 0) == c->size) {
                _cleanup_free_ char *s = hex_text(c, 0, c->size);

                return s ? json_new_string(s) : NULL;
        }
        j = json_new_object();
        ranges = json_new_object();
        for (size_t offset = 0; offset < c->size;) {
                size_t n = run_of_valid(c, offset);
                _cleanup_free_ char *s = NULL;
                char key[24];

                if (n == 0) {
                        offset += 4;
                        continue;
                }
                (void) snprintf(key, sizeof(key), "%zu", offset);
                s = hex_text(c, offset, n);
                (void) json_set(ranges, key, s ? json_new_string(s) : NULL);
                offset += n;
        }
        (void) json_set_u64(j, "size", c->size);
        (void) json_set(j, "ranges", ranges);
        return j;
}

/* Device Serial Number Extended Capability, PCIe 7.9.3: two dwords behind the header. */
static Json *redacted_config_to_json(Writer *w, const PciConfig *c) {
        uint16_t at = pci_config_find_extended(c, PCI_EXT_CAP_ID_DSN, 0);
        PciConfig copy = *c;
        char value[24];
        uint8_t bytes[8] = {};
        size_t number;

        if (at == 0 || !pci_config_has(c, at + 4U, 8))
                return config_to_json(c);
        (void) snprintf(value, sizeof(value), "%08x%08x", pci_config_u32(c, at + 8U),
                        pci_config_u32(c, at + 4U));
        number = placeholder(w, "dsn", value);
        for (size_t i = 0; i < 4; i++)
                bytes[i] = (uint8_t) (number >> (8 * i));
        (void) pci_config_set(&copy, at + 4U, bytes, sizeof(bytes));
        return config_to_json(&copy);
}

/* ---- a device ---- */

static Json *attributes_to_json(Writer *w, const SnapshotDevice *d) {
        Json *j = json_new_object();

        for (unsigned a = 0; a < _PCI_ATTRIBUTE_MAX; a++) {
                const char *text = d->attributes[a].text;
                int error = d->attributes[a].error;

                if (!text && (error == 0 || error == ENOENT))
                        continue;
                if (a == PCI_ATTRIBUTE_LABEL && text && utf8_is_valid(text, strlen(text)))
                        set_private(w, j, pci_attribute_path(a), "label", text);
                else
                        (void) json_set(j, pci_attribute_path(a), text_to_json(text, error));
        }
        return j;
}

static Json *links_to_json(const SnapshotDevice *d) {
        Json *j = json_new_object();

        for (unsigned l = 0; l < _PCI_LINK_MAX; l++) {
                const char *text = d->links[l].text;
                int error = d->links[l].error;

                if (text || (error != 0 && error != ENOENT))
                        (void) json_set(j, pci_link_path(l), text_to_json(text, error));
        }
        return j;
}

static void set_use(Writer *w, Json *j, const PciUse *use) {
        Json *children, *criticals, *holders;

        if (use->n_children > 0) {
                children = json_new_array();
                for (size_t i = 0; i < use->n_children; i++) {
                        Json *child = json_new_object();

                        (void) json_set_string(child, "subsystem", use->children[i].subsystem);
                        (void) json_set_string(child, "name", use->children[i].name);
                        (void) json_append(children, child);
                }
                (void) json_set(j, "children", children);
        }
        if (use->n_criticals > 0) {
                criticals = json_new_array();
                for (size_t i = 0; i < use->n_criticals; i++) {
                        Json *critical = json_new_object();

                        (void) json_set_string(critical, "code",
                                               pci_critical_to_string(use->criticals[i].code));
                        (void) json_set_string(critical, "proof", use->criticals[i].proof);
                        (void) json_append(criticals, critical);
                }
                (void) json_set(j, "critical", criticals);
        }
        if (use->n_holders > 0) {
                holders = json_new_array();
                for (size_t i = 0; i < use->n_holders; i++) {
                        Json *holder = json_new_object();

                        (void) json_set_u64(holder, "pid", use->holders[i].pid);
                        (void) json_set_u64(holder, "uid", use->holders[i].uid);
                        set_private(w, holder, "comm", "process", use->holders[i].comm);
                        set_private(w, holder, "unit", "unit", use->holders[i].unit);
                        (void) json_set_string(holder, "what", use->holders[i].what);
                        (void) json_append(holders, holder);
                }
                (void) json_set(j, "holders", holders);
        }
}

static Json *device_to_json(Writer *w, const SnapshotDevice *d) {
        Json *j = json_new_object();

        (void) json_set_string(j, "address", PCI_ADDRESS_TEXT(d->address));
        set_optional(j, "path", d->path);
        (void) json_set(j, "attributes", attributes_to_json(w, d));
        (void) json_set(j, "links", links_to_json(d));
        if (d->config)
                (void) json_set(j, "config", w->redact ? redacted_config_to_json(w, d->config) :
                                                         config_to_json(d->config));
        else if (d->config_error != 0)
                (void) json_set(j, "config", text_to_json(NULL, d->config_error));
        set_use(w, j, &d->use);
        set_private(w, j, "vpd-serial", "serial", d->vpd_serial);
        return j;
}

/* ---- the host ---- */

static bool parameter_is_ours(const char *word) {
        static const char *const patterns[] = { "*iommu*", "*smmu*", "pci=*", "pcie*", "*vfio*",
                "lockdown=*", "*aer*" };

        for (size_t i = 0; i < ELEMENTSOF(patterns); i++)
                if (glob_matches(patterns[i], word))
                        return true;
        return false;
}

/* "name=value with blanks" is one word as well. */
static bool has_open_quote(const char *s) {
        bool open = false;

        for (; *s; s++)
                open ^= *s == '"';
        return open;
}

/* Words are separated by blanks outside of double quotes, as the kernel's next_arg() does. */
static char *redacted_cmdline(const char *s) {
        _cleanup_strbuf_ StrBuf b = {};

        while (*s) {
                _cleanup_free_ char *word = NULL;
                size_t n = 0;
                bool quoted = false;
                char *value;

                while (s[n] && (quoted || s[n] != ' ')) {
                        quoted ^= s[n] == '"';
                        n++;
                }
                word = strndup(s, n);
                if (!word)
                        return NULL;
                value = parameter_is_ours(word) ? NULL : strchr(word, '=');
                if (value)
                        *value = 0;
                strbuf_add(&b, word);
                if (value)
                        strbuf_addf(&b, "=redacted%s", has_open_quote(word) ? "\"" : "");
                s += n;
                if (*s) {
                        strbuf_add(&b, " ");
                        s++;
                }
        }
        return strbuf_steal(&b);
}

static Json *platform_to_json(Writer *w, const HostPlatform *p) {
        _cleanup_free_ char *cmdline = NULL;
        Json *j = json_new_object();
        const SnapshotFlag *flags;
        size_t n;

        if (p->kernel[0])
                (void) json_set_string(j, "kernel", p->kernel);
        if (p->cmdline && w->redact) {
                cmdline = redacted_cmdline(p->cmdline);
                if (!cmdline)
                        w->error = -ENOMEM;
        }
        set_optional(j, "cmdline", w->redact ? cmdline : p->cmdline);
        if (p->lockdown[0])
                (void) json_set_string(j, "lockdown", p->lockdown);
        if (p->vendor[0])
                (void) json_set_string(j, "vendor", p->vendor);
        flags = snapshot_platform_flags(&n);
        for (size_t i = 0; i < n; i++) {
                int8_t v = *((const int8_t *) p + flags[i].offset);

                if (v >= 0)
                        (void) json_set_bool(j, flags[i].key, v != 0);
        }
        (void) json_set_u64(j, "waiting-functions", p->n_waiting);
        (void) json_set_u64(j, "dma-entry-limit", p->dma_entry_limit);
        return j;
}

static Json *groups_to_json(const Snapshot *s) {
        Json *array = json_new_array();

        for (size_t i = 0; i < s->n_groups; i++) {
                Json *j = json_new_object();

                (void) json_set_u64(j, "id", s->groups[i].id);
                set_optional(j, "type", s->groups[i].type);
                set_optional(j, "reserved_regions", s->groups[i].reserved_regions);
                (void) json_append(array, j);
        }
        return array;
}

static Json *iommus_to_json(const Snapshot *s) {
        Json *array = json_new_array();

        for (size_t i = 0; i < s->n_iommus; i++) {
                Json *j = json_new_object(), *registers = json_new_object();

                (void) json_set_string(j, "name", s->iommus[i].name);
                set_optional(registers, "cap", s->iommus[i].cap);
                set_optional(registers, "ecap", s->iommus[i].ecap);
                set_optional(registers, "features", s->iommus[i].features);
                (void) json_set(j, "registers", registers);
                (void) json_append(array, j);
        }
        return array;
}

static Json *nodes_to_json(const Snapshot *s) {
        Json *array = json_new_array();

        for (size_t i = 0; i < s->n_nodes; i++) {
                Json *j = json_new_object();

                (void) json_set_u64(j, "id", s->nodes[i].id);
                set_optional(j, "distance", s->nodes[i].distance);
                (void) json_append(array, j);
        }
        return array;
}

static Json *slots_to_json(const Snapshot *s) {
        Json *array = json_new_array();

        for (size_t i = 0; i < s->n_slots; i++) {
                Json *j = json_new_object(), *attributes = json_new_object();

                (void) json_set_string(j, "name", s->slots[i].name);
                (void) json_set_string(j, "address", s->slots[i].address);
                set_optional(attributes, "power", s->slots[i].power);
                set_optional(attributes, "attention", s->slots[i].attention);
                set_optional(attributes, "latch", s->slots[i].latch);
                set_optional(attributes, "adapter", s->slots[i].adapter);
                (void) json_set(j, "attributes", attributes);
                (void) json_append(array, j);
        }
        return array;
}

static void set_drivers(Json *j, const Snapshot *s) {
        Json *aliases = json_new_array(), *drivers = json_new_object();

        for (size_t i = 0; i < s->n_aliases; i++) {
                Json *alias = json_new_object();

                (void) json_set_string(alias, "pattern", s->aliases[i].pattern);
                (void) json_set_string(alias, "module", s->aliases[i].module);
                (void) json_append(aliases, alias);
        }
        for (size_t i = 0; i < s->n_drivers; i++) {
                const SnapshotDriver *d = s->drivers + i;
                Json *driver = json_new_object();

                (void) json_set_u64(driver, "bind-msec", d->bind_msec);
                (void) json_set_u64(driver, "unbind-msec", d->unbind_msec);
                if (d->match)
                        (void) json_set_strv(driver, "match", d->match);
                (void) json_set(drivers, d->name, driver);
        }
        (void) json_set(j, "vfio-aliases", aliases);
        (void) json_set(j, "drivers", drivers);
}

int snapshot_to_json(const Snapshot *s, bool redact, Json **ret) {
        _cleanup_writer_ Writer w = { .redact = redact };
        _cleanup_json_ Json *j = json_new_object();
        Json *devices = json_new_array();

        assert(s);
        assert(ret);
        (void) json_set_u64(j, "version", SNAPSHOT_VERSION);
        (void) json_set(j, "platform", platform_to_json(&w, &s->platform));
        for (size_t i = 0; i < s->n_devices; i++)
                (void) json_append(devices, device_to_json(&w, s->devices + i));
        (void) json_set(j, "devices", devices);
        (void) json_set(j, "groups", groups_to_json(s));
        (void) json_set(j, "iommus", iommus_to_json(s));
        (void) json_set(j, "nodes", nodes_to_json(s));
        (void) json_set(j, "slots", slots_to_json(s));
        set_drivers(j, s);
        if (w.error < 0)
                return w.error;
        if (!j)
                return -ENOMEM;
        *ret = TAKE_PTR(j);
        return 0;
}
