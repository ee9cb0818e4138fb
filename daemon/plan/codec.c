/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The binary codec of journal records and worker messages. Numbers are little-endian; a string or
 * blob is a 32-bit length and its bytes, and the length 2^32-1 stands for NULL. Errors stick: a
 * caller writes or reads a whole record and asks once at the end. A decoder trusts nothing: lengths
 * are compared with what is left before they are used, counts with what a plan may hold,
 * enumerations with their range.
 */

#include "plan/codec.h"

#include <assert.h>

#include "base/strutil.h"

#define ENCODER_SIZE_MAX ((size_t) 64 << 20)
#define LENGTH_NULL UINT32_MAX
#define PLAN_FORMAT 1U
#define STEP_HAS_DEVICE 1U
#define DEVICE_REQUESTED 1U

/* ---- encoding ---- */

static uint8_t *encoder_room(Encoder *e, size_t n) {
        uint8_t *p;

        assert(e);
        if (e->error < 0)
                return NULL;
        if (n > ENCODER_SIZE_MAX - e->size) {
                e->error = -E2BIG;
                return NULL;
        }
        if (e->size + n > e->allocated) {
                size_t want = MAX(MAX(e->allocated * 2, e->size + n), (size_t) 256);

                p = realloc(e->data, want);
                if (!p) {
                        e->error = -ENOMEM;
                        return NULL;
                }
                e->data = p;
                e->allocated = want;
        }
        p = e->data + e->size;
        e->size += n;
        return p;
}

static void encode_number(Encoder *e, uint64_t v, size_t n) {
        uint8_t *p = encoder_room(e, n);

        for (size_t i = 0; p && i < n; i++)
                p[i] = (uint8_t) (v >> (8 * i));
}

void encode_u8(Encoder *e, uint8_t v) {
        encode_number(e, v, 1);
}

void encode_u16(Encoder *e, uint16_t v) {
        encode_number(e, v, 2);
}

void encode_u32(Encoder *e, uint32_t v) {
        encode_number(e, v, 4);
}

void encode_u64(Encoder *e, uint64_t v) {
        encode_number(e, v, 8);
}

void encode_bytes(Encoder *e, const void *data, size_t n) {
        uint8_t *p;

        assert(data || n == 0);
        if (n >= LENGTH_NULL) {
                e->error = e->error < 0 ? e->error : -E2BIG;
                return;
        }
        encode_u32(e, (uint32_t) n);
        p = encoder_room(e, n);
        if (p && n > 0)
                memcpy(p, data, n);
}

void encode_string(Encoder *e, const char *s) {
        size_t n;

        if (!s) {
                encode_u32(e, LENGTH_NULL);
                return;
        }
        n = strlen(s);
        if (n > CODEC_STRING_MAX) {
                e->error = e->error < 0 ? e->error : -E2BIG;
                return;
        }
        encode_bytes(e, s, n);
}

void encode_address(Encoder *e, PciAddress a) {
        encode_u32(e, a.domain);
        encode_u8(e, a.bus);
        encode_u8(e, a.slot);
        encode_u8(e, a.function);
}

static void encode_plan_device(Encoder *e, const PlanDevice *d) {
        encode_address(e, d->address);
        encode_u32(e, d->group);
        encode_u16(e, d->vendor);
        encode_u16(e, d->device);
        encode_u16(e, d->subsystem_vendor);
        encode_u16(e, d->subsystem_device);
        encode_u8(e, d->requested ? DEVICE_REQUESTED : 0);
        encode_string(e, d->driver);
        encode_string(e, d->driver_before);
        encode_string(e, d->override_before);
        encode_string(e, d->used_by);
}

static void encode_step(Encoder *e, const Step *s) {
        encode_u8(e, (uint8_t) s->type);
        encode_u8(e, s->has_device ? STEP_HAS_DEVICE : 0);
        encode_address(e, s->device);
        encode_u32(e, s->group);
        encode_string(e, s->value);
        encode_string(e, s->undo);
        encode_string(e, s->expect);
        encode_u32(e, s->timeout_msec);
}

void encode_plan(Encoder *e, const Plan *p) {
        assert(p);
        encode_u8(e, PLAN_FORMAT);
        encode_u8(e, (uint8_t) p->kind);
        encode_string(e, p->id);
        encode_u16(e, (uint16_t) p->n_devices);
        for (size_t i = 0; i < p->n_devices; i++)
                encode_plan_device(e, p->devices + i);
        encode_u16(e, (uint16_t) p->n_steps);
        for (size_t i = 0; i < p->n_steps; i++)
                encode_step(e, p->steps + i);
}

void encoder_reset(Encoder *e) {
        assert(e);
        e->size = 0;
        e->error = 0;
}

void encoder_done(Encoder *e) {
        assert(e);
        free(e->data);
        *e = (Encoder) {};
}

/* ---- decoding ---- */

static const uint8_t *decoder_take(Decoder *d, size_t n) {
        const uint8_t *p;

        assert(d);
        if (d->error < 0)
                return NULL;
        if (n > d->size - d->position) {
                d->error = -EBADMSG;
                return NULL;
        }
        p = d->data + d->position;
        d->position += n;
        return p;
}

static uint64_t decode_number(Decoder *d, size_t n) {
        const uint8_t *p = decoder_take(d, n);
        uint64_t v = 0;

        for (size_t i = 0; p && i < n; i++)
                v |= (uint64_t) p[i] << (8 * i);
        return v;
}

uint8_t decode_u8(Decoder *d) {
        return (uint8_t) decode_number(d, 1);
}

uint16_t decode_u16(Decoder *d) {
        return (uint16_t) decode_number(d, 2);
}

uint32_t decode_u32(Decoder *d) {
        return (uint32_t) decode_number(d, 4);
}

uint64_t decode_u64(Decoder *d) {
        return decode_number(d, 8);
}

static void decoder_fail(Decoder *d, int error) {
        if (d->error == 0)
                d->error = error;
}

/* NULL for a NULL blob without an error, or after an error. */
static const void *decode_blob(Decoder *d, size_t max, size_t *ret_n) {
        uint32_t n = decode_u32(d);

        *ret_n = 0;
        if (d->error < 0 || n == LENGTH_NULL)
                return NULL;
        if (n > max) {
                decoder_fail(d, -EBADMSG);
                return NULL;
        }
        *ret_n = n;
        return decoder_take(d, n);
}

const void *decode_bytes(Decoder *d, size_t max, size_t *ret_n) {
        const void *p;

        assert(ret_n);
        p = decode_blob(d, max, ret_n);
        if (!p)
                decoder_fail(d, -EBADMSG);
        if (d->error < 0) {
                *ret_n = 0;
                return NULL;
        }
        return p;
}

int decode_string(Decoder *d, size_t max, char **ret) {
        const char *p;
        size_t n;
        char *s = NULL;

        assert(ret);
        p = decode_blob(d, MIN(max, (size_t) CODEC_STRING_MAX), &n);
        if (d->error < 0)
                return d->error;
        if (p) {
                if (memchr(p, 0, n)) {
                        decoder_fail(d, -EBADMSG);
                        return d->error;
                }
                s = malloc(n + 1);
                if (!s) {
                        decoder_fail(d, -ENOMEM);
                        return d->error;
                }
                memcpy(s, p, n);
                s[n] = 0;
        }
        *ret = s;
        return 0;
}

PciAddress decode_address(Decoder *d) {
        PciAddress a = {
                .domain = decode_u32(d),
        };

        a.bus = decode_u8(d);
        a.slot = decode_u8(d);
        a.function = decode_u8(d);
        if (a.slot > 31 || a.function > 7)
                decoder_fail(d, -EBADMSG);
        return d->error < 0 ? (PciAddress) {} : a;
}

static bool decode_flag(Decoder *d, uint8_t flag) {
        uint8_t v = decode_u8(d);

        if (v & ~flag)
                decoder_fail(d, -EBADMSG);
        return v == flag;
}

static int decode_plan_device(Decoder *d, Plan *p) {
        PlanDevice *v = plan_add_device(p, decode_address(d));

        if (!v) {
                decoder_fail(d, -ENOMEM);
                return d->error;
        }
        v->group = decode_u32(d);
        v->vendor = decode_u16(d);
        v->device = decode_u16(d);
        v->subsystem_vendor = decode_u16(d);
        v->subsystem_device = decode_u16(d);
        v->requested = decode_flag(d, DEVICE_REQUESTED);
        (void) decode_string(d, CODEC_STRING_MAX, &v->driver);
        (void) decode_string(d, CODEC_STRING_MAX, &v->driver_before);
        (void) decode_string(d, CODEC_STRING_MAX, &v->override_before);
        (void) decode_string(d, CODEC_STRING_MAX, &v->used_by);
        return d->error;
}

static int decode_step(Decoder *d, Plan *p) {
        uint8_t type = decode_u8(d);
        bool has_device = decode_flag(d, STEP_HAS_DEVICE);
        PciAddress address = decode_address(d);
        Step *s;

        if (type >= _STEP_TYPE_MAX)
                decoder_fail(d, -EBADMSG);
        s = plan_add_step(p, (StepType) type, decode_u32(d));
        if (!s) {
                decoder_fail(d, -ENOMEM);
                return d->error;
        }
        s->has_device = has_device;
        s->device = address;
        (void) decode_string(d, CODEC_STRING_MAX, &s->value);
        (void) decode_string(d, CODEC_STRING_MAX, &s->undo);
        (void) decode_string(d, CODEC_STRING_MAX, &s->expect);
        s->timeout_msec = decode_u32(d);
        return d->error;
}

static int decode_plan_elements(Decoder *d, Plan *p, unsigned max,
                                int (*element)(Decoder *, Plan *)) {
        uint16_t n = decode_u16(d);

        if (n > max)
                decoder_fail(d, -EBADMSG);
        for (unsigned i = 0; d->error == 0 && i < n; i++)
                (void) element(d, p);
        return d->error;
}

int decode_plan(Decoder *d, Plan **ret) {
        _cleanup_(plan_freep) Plan *p = NULL;
        _cleanup_free_ char *id = NULL;
        uint8_t format, kind;

        assert(d);
        assert(ret);
        format = decode_u8(d);
        kind = decode_u8(d);
        if (format != PLAN_FORMAT || kind >= _PLAN_KIND_MAX)
                decoder_fail(d, -EBADMSG);
        if (decode_string(d, sizeof(p->id) - 1, &id) == 0 && !id)
                decoder_fail(d, -EBADMSG);
        if (d->error < 0)
                return d->error;
        p = plan_new((PlanKind) kind);
        if (!p) {
                decoder_fail(d, -ENOMEM);
                return d->error;
        }
        (void) string_copy(p->id, sizeof(p->id), id);
        (void) decode_plan_elements(d, p, PLAN_DEVICES_MAX, decode_plan_device);
        (void) decode_plan_elements(d, p, PLAN_STEPS_MAX, decode_step);
        if (d->error < 0)
                return d->error;
        *ret = TAKE_PTR(p);
        return 0;
}

int decoder_finish(Decoder *d) {
        assert(d);
        if (d->error == 0 && d->position != d->size)
                d->error = -EBADMSG;
        return d->error;
}
