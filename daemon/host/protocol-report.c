/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The codec of what a worker reports. Facts go through the same setters of the pci layer that the
 * daemon's own reading uses wherever there is one, so a report cannot make facts that no kernel
 * text could make.
 */

#include <assert.h>

#include "base/strutil.h"
#include "host/protocol.h"

#define ERRNO_MAX 4095

static void fail(Decoder *d, int error) {
        if (d->error == 0)
                d->error = error;
}

static bool decode_bool(Decoder *d) {
        uint8_t v = decode_u8(d);

        if (v > 1)
                fail(d, -EBADMSG);
        return v == 1;
}

/* Negative errno or 0. */
static int decode_error(Decoder *d) {
        uint32_t v = decode_u32(d);

        if (v > ERRNO_MAX)
                fail(d, -EBADMSG);
        return d->error < 0 ? 0 : -(int) v;
}

static void encode_error(Encoder *e, int error) {
        encode_u32(e, (uint32_t) (error < 0 ? -error : 0));
}

/* Into a fixed array; NULL is "". */
static void decode_text(Decoder *d, char *to, size_t size) {
        _cleanup_free_ char *s = NULL;

        to[0] = 0;
        if (decode_string(d, size - 1, &s) == 0)
                (void) string_copy(to, size, strempty(s));
}

/* ---- configuration space: the runs of dwords that were read ---- */

static size_t run_length(const PciConfig *c, size_t offset) {
        size_t n = 0;

        while (offset + n < c->size && pci_config_has(c, offset + n, 4))
                n += 4;
        return n;
}

static void encode_config(Encoder *e, const PciConfig *c) {
        encode_u16(e, c->size);
        for (size_t offset = 0; offset < c->size;) {
                size_t n = run_length(c, offset);

                if (n > 0) {
                        encode_u16(e, (uint16_t) n);
                        encode_u16(e, (uint16_t) offset);
                        encode_bytes(e, c->bytes + offset, n);
                }
                offset += n + 4;
        }
        encode_u16(e, 0);
}

static int decode_config(Decoder *d, PciConfigFacts **ret) {
        _cleanup_free_ PciConfigFacts *facts = NULL;
        _cleanup_free_ PciConfig *c = NULL;
        uint16_t size = decode_u16(d);

        if (size > PCI_CONFIG_SIZE_EXTENDED || size % 4 != 0)
                fail(d, -EBADMSG);
        c = calloc(1, sizeof(PciConfig));
        facts = calloc(1, sizeof(PciConfigFacts));
        if (!c || !facts)
                fail(d, -ENOMEM);
        if (d->error < 0)
                return d->error;
        pci_config_init(c, size);
        for (;;) {
                uint16_t n = decode_u16(d), offset;
                const void *bytes;
                size_t k;

                if (d->error < 0 || n == 0)
                        break;
                offset = decode_u16(d);
                bytes = decode_bytes(d, n, &k);
                if (d->error == 0 && (k != n || pci_config_set(c, offset, bytes, k) < 0))
                        fail(d, -EBADMSG);
        }
        if (d->error < 0)
                return d->error;
        pci_config_decode(c, facts);
        *ret = TAKE_PTR(facts);
        return 0;
}

/* ---- attributes ---- */

static void encode_fact_text(Encoder *e, const PciText *t) {
        encode_u8(e, t->state);
        encode_string(e, t->state == FACT_PRESENT ? strempty(t->text) : NULL);
}

/* FACT_UNREAD leaves text and error alone. */
static FactState decode_fact_text(Decoder *d, char **ret_text, int *ret_error) {
        uint8_t state = decode_u8(d);

        *ret_error = state == FACT_ABSENT ? ENOENT : state == FACT_UNREADABLE ? EIO : 0;
        if (state >= _FACT_STATE_MAX || decode_string(d, CODEC_STRING_MAX, ret_text) < 0)
                fail(d, -EBADMSG);
        else if (!*ret_text != (state != FACT_PRESENT))
                fail(d, -EBADMSG);
        return d->error < 0 ? FACT_UNREAD : (FactState) state;
}

static void encode_live(Encoder *e, const PciLive *l) {
        for (PciAttribute a = 0; a < _PCI_ATTRIBUTE_MAX; a++) {
                if (l->attributes[a].state == FACT_UNREAD)
                        continue;
                encode_u8(e, (uint8_t) a);
                encode_fact_text(e, l->attributes + a);
        }
        encode_u8(e, _PCI_ATTRIBUTE_MAX);
        encode_fact_text(e, &l->vpd_serial);
}

static int decode_live(Decoder *d, PciLive *l) {
        for (;;) {
                _cleanup_free_ char *text = NULL;
                uint8_t a = decode_u8(d);
                FactState state;
                int error;

                if (d->error < 0 || a == _PCI_ATTRIBUTE_MAX)
                        break;
                state = decode_fact_text(d, &text, &error);
                if (a > _PCI_ATTRIBUTE_MAX || state == FACT_UNREAD)
                        fail(d, -EBADMSG);
                else if (d->error == 0 && pci_live_set(l, (PciAttribute) a, text, error) == -ENOMEM)
                        fail(d, -ENOMEM);
        }
        {
                _cleanup_free_ char *text = NULL;
                FactState state;
                int error;

                state = decode_fact_text(d, &text, &error);
                if (state != FACT_UNREAD) {
                        free(l->vpd_serial.text);
                        l->vpd_serial = (PciText) { .state = state, .text = TAKE_PTR(text) };
                }
        }
        return d->error;
}

/* ---- use ---- */

static void encode_holder(Encoder *e, const PciHolder *h) {
        encode_u32(e, h->pid);
        encode_u32(e, h->uid);
        encode_string(e, h->comm);
        encode_string(e, h->unit);
        encode_string(e, h->what);
}

static void decode_holder(Decoder *d, PciHolder *ret) {
        *ret = (PciHolder) {};
        ret->pid = decode_u32(d);
        ret->uid = decode_u32(d);
        decode_text(d, ret->comm, sizeof(ret->comm));
        decode_text(d, ret->unit, sizeof(ret->unit));
        decode_text(d, ret->what, sizeof(ret->what));
}

static void encode_use(Encoder *e, const PciUse *u) {
        encode_u32(e, (uint32_t) u->n_children);
        for (size_t i = 0; i < u->n_children; i++) {
                encode_string(e, u->children[i].subsystem);
                encode_string(e, u->children[i].name);
        }
        encode_u32(e, (uint32_t) u->n_holders);
        for (size_t i = 0; i < u->n_holders; i++)
                encode_holder(e, u->holders + i);
        encode_u32(e, (uint32_t) u->n_criticals);
        for (size_t i = 0; i < u->n_criticals; i++) {
                encode_u8(e, (uint8_t) u->criticals[i].code);
                encode_string(e, strempty(u->criticals[i].proof));
        }
}

static uint32_t decode_count(Decoder *d, uint32_t max) {
        uint32_t n = decode_u32(d);

        if (n > max)
                fail(d, -EBADMSG);
        return d->error < 0 ? 0 : n;
}

static int decode_children(Decoder *d, PciUse *u) {
        uint32_t n = decode_count(d, PCI_USE_MAX);
        PciChild c;

        for (uint32_t i = 0; d->error == 0 && i < n; i++) {
                decode_text(d, c.subsystem, sizeof(c.subsystem));
                decode_text(d, c.name, sizeof(c.name));
                if (d->error == 0 && pci_use_add_child(u, c.subsystem, c.name) < 0)
                        fail(d, -ENOMEM);
        }
        return d->error;
}

static int decode_use(Decoder *d, PciUse *u) {
        uint32_t n;

        (void) decode_children(d, u);
        n = decode_count(d, PCI_USE_MAX);
        for (uint32_t i = 0; d->error == 0 && i < n; i++) {
                PciHolder h;

                decode_holder(d, &h);
                if (d->error == 0 && pci_use_add_holder(u, &h) < 0)
                        fail(d, -ENOMEM);
        }
        n = decode_count(d, PCI_USE_MAX);
        for (uint32_t i = 0; d->error == 0 && i < n; i++) {
                _cleanup_free_ char *proof = NULL;
                uint8_t code = decode_u8(d);

                if (decode_string(d, CODEC_STRING_MAX, &proof) < 0)
                        break;
                if (code >= _PCI_CRITICAL_MAX || !proof)
                        fail(d, -EBADMSG);
                else if (pci_use_add_critical(u, (PciCriticalCode) code, proof) < 0)
                        fail(d, -ENOMEM);
        }
        return d->error;
}

/* ---- a device ---- */

void encode_device(Encoder *e, const ProtocolDevice *v) {
        assert(e);
        assert(v);
        encode_address(e, v->address);
        encode_error(e, v->error);
        encode_u32(e, v->what);
        encode_u8(e, v->last);
        encode_u8(e, v->config != NULL);
        if (v->config)
                encode_config(e, v->config);
        encode_u8(e, v->live != NULL);
        if (v->live)
                encode_live(e, v->live);
        encode_u8(e, v->use != NULL);
        if (v->use)
                encode_use(e, v->use);
}

static void *need(Decoder *d, void **p, size_t size) {
        if (d->error == 0 && !*p) {
                *p = calloc(1, size);
                if (!*p)
                        fail(d, -ENOMEM);
        }
        return d->error < 0 ? NULL : *p;
}

int decode_device(Decoder *d, HostDeviceFacts *facts, bool *ret_last) {
        int error;

        assert(d);
        assert(facts);
        assert(ret_last);
        facts->address = decode_address(d);
        error = decode_error(d);
        facts->what |= decode_u32(d);
        *ret_last = decode_bool(d);
        if (decode_bool(d)) {
                PciConfigFacts *config = NULL;

                if (decode_config(d, &config) == 0) {
                        free(facts->config);
                        facts->config = config;
                }
        }
        if (decode_bool(d) && need(d, (void **) &facts->live, sizeof(PciLive)))
                (void) decode_live(d, facts->live);
        if (decode_bool(d) && need(d, (void **) &facts->use, sizeof(PciUse)))
                (void) decode_use(d, facts->use);
        if (error < 0)
                facts->error = error;
        return decoder_finish(d);
}

/* ---- groups and slots ---- */

void encode_group(Encoder *e, const IommuGroupFacts *g) {
        assert(g);
        encode_u32(e, g->id);
        encode_u8(e, g->type_state);
        encode_string(e, g->type);
        encode_u8(e, g->regions_state);
        encode_u32(e, (uint32_t) g->n_regions);
        for (size_t i = 0; i < g->n_regions; i++) {
                encode_u64(e, g->regions[i].start);
                encode_u64(e, g->regions[i].end);
                encode_u8(e, (uint8_t) g->regions[i].type);
        }
        encode_u8(e, g->noiommu);
}

int decode_group(Decoder *d, IommuGroupFacts *ret) {
        IommuGroupFacts g = {};
        uint32_t n;

        assert(d);
        assert(ret);
        g.id = decode_u32(d);
        g.type_state = decode_u8(d);
        decode_text(d, g.type, sizeof(g.type));
        g.regions_state = decode_u8(d);
        n = decode_count(d, IOMMU_REGIONS_MAX);
        if (g.type_state >= _FACT_STATE_MAX || g.regions_state >= _FACT_STATE_MAX)
                fail(d, -EBADMSG);
        if (n > 0) {
                g.regions = calloc(n, sizeof(IommuRegion));
                if (!g.regions)
                        return -ENOMEM;
        }
        for (g.n_regions = 0; d->error == 0 && g.n_regions < n; g.n_regions++) {
                uint64_t start = decode_u64(d), end = decode_u64(d);
                uint8_t type = decode_u8(d);

                if (type >= _IOMMU_REGION_MAX)
                        fail(d, -EBADMSG);
                g.regions[g.n_regions] = (IommuRegion) { start, end, (IommuRegionType) type };
        }
        g.noiommu = decode_bool(d);
        if (decoder_finish(d) < 0) {
                free(g.regions);
                return d->error;
        }
        *ret = g;
        return 0;
}

void encode_slot(Encoder *e, const PciSlotFacts *s) {
        assert(s);
        encode_string(e, s->name);
        encode_u32(e, s->domain);
        encode_u8(e, s->bus);
        encode_u8(e, s->device);
        encode_u8(e, s->has_device);
        encode_fact_text(e, &s->power);
        encode_fact_text(e, &s->attention);
        encode_fact_text(e, &s->latch);
        encode_fact_text(e, &s->adapter);
}

int decode_slot(Decoder *d, PciSlotFacts *ret) {
        static const char *const names[] = { "power", "attention", "latch", "adapter" };
        PciSlotFacts s = {};

        assert(d);
        assert(ret);
        decode_text(d, s.name, sizeof(s.name));
        s.domain = decode_u32(d);
        s.bus = decode_u8(d);
        s.device = decode_u8(d);
        s.has_device = decode_bool(d);
        if (s.device > 31)
                fail(d, -EBADMSG);
        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                _cleanup_free_ char *text = NULL;
                int error;

                if (decode_fact_text(d, &text, &error) != FACT_UNREAD &&
                    pci_slot_facts_set(&s, names[i], text, error) == -ENOMEM)
                        fail(d, -ENOMEM);
        }
        if (decoder_finish(d) < 0) {
                pci_slot_facts_done(&s);
                return d->error;
        }
        *ret = s;
        return 0;
}

/* ---- platform, descriptors, steps, results ---- */

#define PLATFORM_TRISTATES(X)                                                         \
        X(iommu_present)                                                              \
        X(vfio_group) X(vfio_container) X(vfio_cdev) X(iommufd) X(vfio_pci_available) \
                X(vfio_pci_loaded) X(vfio_iommu_type1_loaded) X(interrupt_remapping)  \
                        X(unsafe_interrupts) X(noiommu_enabled) X(virtio_iommu_late)  \
                                X(secure_boot) X(aer_native) X(tracefs)

void encode_platform(Encoder *e, const HostPlatform *p) {
        assert(p);
        encode_string(e, p->kernel);
        encode_string(e, p->cmdline);
        encode_string(e, p->lockdown);
#define X(field) encode_u8(e, (uint8_t) (p->field + 1));
        PLATFORM_TRISTATES(X)
#undef X
        encode_string(e, p->vendor);
        encode_u32(e, p->n_waiting);
        encode_u64(e, p->dma_entry_limit);
}

static int8_t decode_tristate(Decoder *d) {
        uint8_t v = decode_u8(d);

        if (v > 2)
                fail(d, -EBADMSG);
        return (int8_t) (v - 1);
}

int decode_platform(Decoder *d, HostPlatform *ret) {
        HostPlatform p = {};

        assert(d);
        assert(ret);
        decode_text(d, p.kernel, sizeof(p.kernel));
        (void) decode_string(d, 4096, &p.cmdline);
        decode_text(d, p.lockdown, sizeof(p.lockdown));
#define X(field) p.field = decode_tristate(d);
        PLATFORM_TRISTATES(X)
#undef X
        decode_text(d, p.vendor, sizeof(p.vendor));
        p.n_waiting = decode_u32(d);
        p.dma_entry_limit = decode_u64(d);
        if (decoder_finish(d) < 0) {
                host_platform_done(&p);
                return d->error;
        }
        *ret = p;
        return 0;
}

void encode_fd(Encoder *e, const HostFd *f) {
        assert(f);
        encode_u8(e, (uint8_t) f->kind);
        encode_address(e, f->address);
        encode_u32(e, f->group);
}

int decode_fd(Decoder *d, HostFd *ret) {
        uint8_t kind;
        HostFd f = { .fd = -EBADF };

        assert(d);
        assert(ret);
        kind = decode_u8(d);
        f.address = decode_address(d);
        f.group = decode_u32(d);
        if (kind >= _HOST_FD_KIND_MAX)
                fail(d, -EBADMSG);
        if (decoder_finish(d) < 0)
                return d->error;
        f.kind = (HostFdKind) kind;
        *ret = f;
        return 0;
}

void encode_steps(Encoder *e, const ProtocolStep *steps, size_t n) {
        assert(steps || n == 0);
        assert(n <= PROTOCOL_STEPS_MAX);
        encode_u8(e, (uint8_t) n);
        for (size_t i = 0; i < n; i++) {
                encode_u32(e, steps[i].step);
                encode_u8(e, steps[i].undo);
                encode_u8(e, steps[i].done);
                encode_error(e, steps[i].error);
        }
}

int decode_steps(Decoder *d, ProtocolStep ret[PROTOCOL_STEPS_MAX], size_t *ret_n) {
        size_t n;

        assert(d);
        assert(ret);
        assert(ret_n);
        n = decode_u8(d);
        if (n > PROTOCOL_STEPS_MAX)
                fail(d, -EBADMSG);
        for (size_t i = 0; d->error == 0 && i < n; i++) {
                ret[i].step = decode_u32(d);
                ret[i].undo = decode_bool(d);
                ret[i].done = decode_bool(d);
                ret[i].error = decode_error(d);
                if (ret[i].step >= PLAN_STEPS_MAX)
                        fail(d, -EBADMSG);
        }
        if (d->error < 0)
                return d->error;
        *ret_n = n;
        return 0;
}

void encode_evidence(Encoder *e, uint32_t step, const char *text) {
        size_t n = strlen(text);

        encode_u32(e, step);
        encode_bytes(e, text, MIN(n, (size_t) PROTOCOL_EVIDENCE_MAX));
}

int decode_evidence(Decoder *d, uint32_t *ret_step, char **ret_text) {
        const char *text;
        char *copy = NULL;
        uint32_t step;
        size_t n;

        assert(d);
        assert(ret_step);
        assert(ret_text);
        step = decode_u32(d);
        text = decode_bytes(d, PROTOCOL_EVIDENCE_MAX, &n);
        if (step >= PLAN_STEPS_MAX)
                fail(d, -EBADMSG);
        if (text && (memchr(text, 0, n) || !utf8_is_valid(text, n)))
                fail(d, -EBADMSG);
        if (decoder_finish(d) < 0 || !text)
                return d->error < 0 ? d->error : -EBADMSG;
        copy = strndup(text, n);
        if (!copy)
                return -ENOMEM;
        *ret_step = step;
        *ret_text = copy;
        return 0;
}

void encode_result(Encoder *e, const HostResult *r) {
        assert(r);
        encode_u8(e, (uint8_t) r->outcome);
        encode_error(e, r->error);
        encode_u8(e, (uint8_t) r->code);
        encode_string(e, r->message);
        encode_u64(e, r->failed_step == SIZE_MAX ? UINT64_MAX : r->failed_step);
        encode_u32(e, (uint32_t) r->n_holders);
        for (size_t i = 0; i < r->n_holders; i++)
                encode_holder(e, r->holders + i);
}

int decode_result(Decoder *d, HostResult *ret, PciHolder **ret_holders) {
        _cleanup_free_ PciHolder *holders = NULL;
        HostResult r = {};
        uint8_t outcome, code;
        uint64_t step;
        uint32_t n;

        assert(d);
        assert(ret);
        assert(ret_holders);
        outcome = decode_u8(d);
        r.error = decode_error(d);
        code = decode_u8(d);
        decode_text(d, r.message, sizeof(r.message));
        step = decode_u64(d);
        n = decode_count(d, PCI_USE_MAX);
        if (outcome >= _HOST_OUTCOME_MAX || code >= _ERROR_MAX ||
            (step >= PLAN_STEPS_MAX && step != UINT64_MAX))
                fail(d, -EBADMSG);
        holders = calloc((size_t) n + 1, sizeof(PciHolder));
        if (!holders)
                fail(d, -ENOMEM);
        for (uint32_t i = 0; d->error == 0 && i < n; i++)
                decode_holder(d, holders + i);
        if (decoder_finish(d) < 0)
                return d->error;
        r.outcome = (HostOutcome) outcome;
        r.code = (ErrorCode) code;
        r.failed_step = step == UINT64_MAX ? SIZE_MAX : (size_t) step;
        r.holders = holders;
        r.n_holders = n;
        *ret = r;
        *ret_holders = TAKE_PTR(holders);
        return 0;
}
