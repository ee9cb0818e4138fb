/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What a caller wants by its nature: selectors are checked and parsed once, then asked of each
 * function. Texts come from strangers: each is bounded, and one that means nothing is refused with
 * what was expected. Nothing here looks at whether a function may be had.
 */

#include <assert.h>

#include "engine/engine-match.h"

#define TEXT_MAX 255U

static const char *const keys[_WANT_KEY_MAX] = {
        [WANT_ADDRESS] = "address",
        [WANT_PORT_PATH] = "port-path",
        [WANT_SLOT] = "slot",
        [WANT_LABEL] = "label",
        [WANT_DRIVER] = "driver",
        [WANT_VENDOR] = "vendor",
        [WANT_DEVICE] = "device",
        [WANT_SUBSYSTEM_VENDOR] = "subsystem-vendor",
        [WANT_SUBSYSTEM_DEVICE] = "subsystem-device",
        [WANT_CLASS] = "class",
        [WANT_KIND] = "kind",
        [WANT_SRIOV] = "sriov",
        [WANT_CAPABILITIES] = "capabilities",
        [WANT_DSN] = "dsn",
};

const char *want_key_to_string(WantKey k) {
        return (int) k >= 0 && k < _WANT_KEY_MAX ? keys[k] : NULL;
}

enum { SRIOV_NONE, SRIOV_PHYSICAL, SRIOV_VIRTUAL };
static const char *const roles[] = { "none", "physical", "virtual" };

enum {
        NEED_FLR,
        NEED_ATS,
        NEED_PRI,
        NEED_PASID,
        NEED_ACS,
        NEED_AER,
        NEED_SRIOV,
        NEED_MSIX,
        NEED_REBAR,
        NEED_CXL,
        NEED_RESET,
        _NEED_MAX
};
static const char *const needs[_NEED_MAX] = { "flr", "ats", "pri", "pasid", "acs", "aer", "sriov",
                                              "msi-x", "resizable-bar", "cxl", "reset" };

/* ---- parsing ---- */

static int bad(Error *err, size_t want, WantKey k, const char *expected) {
        return error_set(err, ERROR_INVALID, "Want %zu: \"%s\" must be %s", want + 1, keys[k],
                         expected);
}

static int index_of(const char *word, size_t n, const char *const *words, size_t n_words) {
        for (size_t i = 0; i < n_words; i++)
                if (strlen(words[i]) == n && strncmp(words[i], word, n) == 0)
                        return (int) i;
        return -1;
}

static int parse_ids(WantFilter *f, size_t want, Error *err) {
        for (WantKey k = WANT_VENDOR; k <= WANT_SUBSYSTEM_DEVICE; k++) {
                uint32_t id;

                f->ids[k - WANT_VENDOR] = -1;
                if (!f->text[k])
                        continue;
                if (parse_u32(f->text[k], 16, UINT16_MAX, &id) < 0)
                        return bad(err, want, k,
                                   "an ID of up to 4 hexadecimal digits, such as 10de");
                f->ids[k - WANT_VENDOR] = (int32_t) id;
        }
        return 0;
}

static int parse_class(WantFilter *f, size_t want, Error *err) {
        const char *s = f->text[WANT_CLASS];
        uint32_t v;
        size_t n;

        if (!s)
                return 0;
        n = strlen(s);
        if (n == 0 || n > 6 || strspn(s, "0123456789abcdefABCDEF") != n ||
            parse_u32(s, 16, 0xffffff, &v) < 0)
                return bad(err, want, WANT_CLASS,
                           "the first 1 to 6 hexadecimal digits of a class code, such as 03");
        f->class_value = v << (24 - 4 * n);
        f->class_mask = 0xffffffU << (24 - 4 * n) & 0xffffffU;
        return 0;
}

static int parse_kind(WantFilter *f, size_t want, Error *err) {
        const char *s = f->text[WANT_KIND];

        if (!s)
                return 0;
        f->has_kind = true;
        f->any_cxl = streq(s, "cxl");
        for (PciKind k = 0; k < _PCI_KIND_MAX; k++)
                if (streq(pci_kind_to_string(k), s)) {
                        f->kind = k;
                        return 0;
                }
        return f->any_cxl ? 0
                          : bad(err, want, WANT_KIND,
                                "gpu, nic, nvme, storage, accelerator, cxl, audio, usb or another "
                                "kind "
                                "of the manual");
}

static int parse_needs(WantFilter *f, size_t want, Error *err) {
        const char *s = f->text[WANT_CAPABILITIES];

        while (s && *s) {
                size_t n = strcspn(s, "+");
                int i = index_of(s, n, needs, _NEED_MAX);

                if (i < 0)
                        return bad(err, want, WANT_CAPABILITIES,
                                   "names joined by +, of flr, ats, pri, pasid, acs, aer, sriov, "
                                   "msi-x, "
                                   "resizable-bar, cxl, reset");
                f->capabilities |= UINT32_C(1) << i;
                s += n + (s[n] == '+');
        }
        return 0;
}

static int parse_dsn(WantFilter *f, size_t want, Error *err) {
        unsigned digits = 0;

        for (const char *s = f->text[WANT_DSN]; s && *s; s++) {
                const char *hex = "0123456789abcdef0123456789ABCDEF", *at = strchr(hex, *s);

                if (*s == '-' || *s == ':')
                        continue;
                if (!at || ++digits > 16)
                        return bad(err, want, WANT_DSN, "up to 16 hexadecimal digits");
                f->dsn = f->dsn << 4 | (uint64_t) ((at - hex) % 16);
                f->has_dsn = true;
        }
        return 0;
}

static int parse_want(WantFilter *f, size_t want, Error *err) {
        int r;

        if (f->count == 0 || f->count > REQUEST_DEVICES_MAX)
                return error_set(err, ERROR_INVALID, "Want %zu: the number must be 1 to %u",
                                 want + 1, REQUEST_DEVICES_MAX);
        f->sriov = -1;
        if (f->text[WANT_SRIOV]) {
                f->sriov = index_of(f->text[WANT_SRIOV], strlen(f->text[WANT_SRIOV]), roles,
                                    ELEMENTSOF(roles));
                if (f->sriov < 0)
                        return bad(err, want, WANT_SRIOV, "physical, virtual or none");
        }
        r = parse_ids(f, want, err);
        if (r >= 0)
                r = parse_class(f, want, err);
        if (r >= 0)
                r = parse_kind(f, want, err);
        if (r >= 0)
                r = parse_needs(f, want, err);
        return r < 0 ? r : parse_dsn(f, want, err);
}

void want_filters_free(WantFilter *f, size_t n) {
        for (size_t i = 0; f && i < n; i++)
                for (WantKey k = 0; k < _WANT_KEY_MAX; k++)
                        free(f[i].text[k]);
        free(f);
}

static int copy_want(const Want *w, size_t want, WantFilter *f, Error *err) {
        f->count = w->count;
        f->numa_node = w->numa_node;
        for (WantKey k = 0; k < _WANT_KEY_MAX; k++) {
                if (w->text[k] && !string_is_safe(w->text[k], TEXT_MAX))
                        return bad(err, want, k, "1 to 255 bytes of printable UTF-8");
                if (free_and_strdup(&f->text[k], w->text[k]) < 0)
                        return error_set(err, ERROR_FAILED, "Not enough memory");
        }
        return 0;
}

int want_filters_new(const MatchOptions *m, Error *err, WantFilter **ret) {
        WantFilter *f;
        uint32_t n = 0;
        int r = 0;

        assert(m);
        assert(ret);
        if (m->n_wants == 0)
                return error_set(err, ERROR_INVALID, "Nothing is wanted; name one want at least");
        if (m->n_wants > WANTS_MAX)
                return error_set(err, ERROR_INVALID, "%zu wants are more than %u", m->n_wants,
                                 WANTS_MAX);
        f = calloc(m->n_wants, sizeof(WantFilter));
        if (!f)
                return error_set(err, ERROR_FAILED, "Not enough memory");
        for (size_t i = 0; i < m->n_wants && r >= 0; i++) {
                r = copy_want(m->wants + i, i, f + i, err);
                if (r >= 0)
                        r = parse_want(f + i, i, err);
                if (r >= 0)
                        n += f[i].count;
        }
        if (r >= 0 && n > REQUEST_DEVICES_MAX)
                r = error_set(err, ERROR_INVALID, "%u devices are wanted, more than %u", n,
                              REQUEST_DEVICES_MAX);
        if (r < 0) {
                want_filters_free(f, m->n_wants);
                return r;
        }
        *ret = f;
        return 0;
}

/* ---- matching ---- */

static bool text_matches(const WantFilter *f, WantKey k, const char *s) {
        return !f->text[k] || glob_matches(f->text[k], strempty(s));
}

static bool has_need(const Inventory *i, const Device *d, unsigned need) {
        const PciConfigFacts *c = d->config, *pf = c;

        if (need == NEED_RESET)
                return d->facts.reset_method[0];
        if (!c)
                return false;
        /* PASID and PRI of a virtual function are its physical function's (PCIe 10.5.2.2,
         * 10.5.1). */
        if (d->facts.is_vf && (need == NEED_PRI || need == NEED_PASID)) {
                const Device *physical = inventory_device(i, d->facts.physfn);

                pf = physical ? physical->config : NULL;
        }
        switch (need) {
        case NEED_FLR:
                return c->flr || (c->has_af && (c->af_capabilities & 3) == 3);
        case NEED_ATS:
                return c->has_ats;
        case NEED_PRI:
                return pf && pf->has_pri;
        case NEED_PASID:
                return pf && pf->has_pasid;
        case NEED_ACS:
                return c->has_acs;
        case NEED_AER:
                return c->has_aer;
        case NEED_SRIOV:
                return c->has_sriov;
        case NEED_MSIX:
                return c->has_msix;
        case NEED_REBAR:
                return c->n_rebar > 0;
        case NEED_CXL:
                return c->is_cxl;
        }
        return false;
}

static bool place_matches(const WantFilter *f, const Inventory *i, const Device *d) {
        char address[PCI_ADDRESS_MAX];
        const PciSlotFacts *slot;

        (void) string_copy(address, sizeof(address), PCI_ADDRESS_TEXT(d->facts.address));
        if (!text_matches(f, WANT_ADDRESS, address) &&
            !(d->facts.address.domain == 0 &&
              text_matches(f, WANT_ADDRESS, address + strlen("0000:"))))
                return false;
        if (f->text[WANT_SLOT]) {
                slot = inventory_slot(i, d->facts.address);
                if (!slot || !text_matches(f, WANT_SLOT, slot->name))
                        return false;
        }
        if (f->text[WANT_LABEL] &&
            (!d->live || !d->live->attributes[PCI_ATTRIBUTE_LABEL].text ||
             !text_matches(f, WANT_LABEL, d->live->attributes[PCI_ATTRIBUTE_LABEL].text)))
                return false;
        if (f->text[WANT_PORT_PATH]) {
                _cleanup_free_ char *path = pci_facts_port_path(&d->facts);

                if (!path || !text_matches(f, WANT_PORT_PATH, path))
                        return false;
        }
        return f->numa_node == WANT_ANY_NODE || d->facts.numa_node == f->numa_node;
}

static bool kind_matches(const WantFilter *f, const Device *d) {
        PciKind k = pci_kind_from_class(d->facts.class_code);

        if (!f->has_kind)
                return true;
        if (f->any_cxl)
                return k == PCI_KIND_CXL_MEMORY || (d->config && d->config->is_cxl);
        return k == f->kind || (f->kind == PCI_KIND_STORAGE && k == PCI_KIND_NVME);
}

static bool id_matches(const WantFilter *f, const PciFacts *p) {
        const uint16_t ids[] = { p->vendor, p->device, p->subsystem_vendor, p->subsystem_device };

        for (size_t i = 0; i < ELEMENTSOF(ids); i++)
                if (f->ids[i] >= 0 && f->ids[i] != ids[i])
                        return false;
        return (p->class_code & f->class_mask) == f->class_value;
}

static bool nature_matches(const WantFilter *f, const Inventory *i, const Device *d) {
        const PciFacts *p = &d->facts;
        int role = p->is_vf ? SRIOV_VIRTUAL : p->sriov_totalvfs > 0 ? SRIOV_PHYSICAL : SRIOV_NONE;

        if (f->sriov >= 0 && f->sriov != role)
                return false;
        if (f->has_dsn && (!d->config || !d->config->has_dsn || d->config->dsn != f->dsn))
                return false;
        if (f->text[WANT_DRIVER] && streq(f->text[WANT_DRIVER], "none")) {
                if (p->driver[0])
                        return false;
        } else if (!text_matches(f, WANT_DRIVER, p->driver))
                return false;
        for (unsigned n = 0; n < _NEED_MAX; n++)
                if (f->capabilities & UINT32_C(1) << n && !has_need(i, d, n))
                        return false;
        return true;
}

bool want_matches(const WantFilter *f, const Inventory *i, const Device *d) {
        assert(f);
        assert(i);
        assert(d);
        return !d->gone && id_matches(f, &d->facts) && kind_matches(f, d) &&
               nature_matches(f, i, d) && place_matches(f, i, d);
}

char *want_describe(const WantFilter *f) {
        StrBuf b = {};
        const char *separator = "";

        assert(f);
        strbuf_addf(&b, "%u:", f->count);
        for (WantKey k = 0; k < _WANT_KEY_MAX; k++)
                if (f->text[k]) {
                        strbuf_addf(&b, "%s%s=%s", separator, keys[k], f->text[k]);
                        separator = ",";
                }
        if (f->numa_node != WANT_ANY_NODE)
                strbuf_addf(&b, "%snuma-node=%d", separator, (int) f->numa_node);
        else if (separator[0] == 0)
                strbuf_add(&b, "anything");
        return strbuf_steal(&b);
}
