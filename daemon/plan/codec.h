/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The one binary codec of journal records and worker messages: little-endian, length-prefixed,
 * bounded. A decoder takes hostile bytes: it fails with -EBADMSG, never reads past the end, and
 * demands that all bytes are used.
 */

#include "plan/plan.h"

#define CODEC_STRING_MAX 65536U

typedef struct Encoder { /* zero-initialise; error sticks */
        uint8_t *data;
        size_t size, allocated;
        int error;
} Encoder;
void encode_u8(Encoder *e, uint8_t v);
void encode_u16(Encoder *e, uint16_t v);
void encode_u32(Encoder *e, uint32_t v);
void encode_u64(Encoder *e, uint64_t v);
void encode_bytes(Encoder *e, const void *data, size_t n); /* u32 length, bytes */
void encode_string(Encoder *e, const char *s);             /* NULL is told apart from "" */
void encode_address(Encoder *e, PciAddress a);
void encode_plan(Encoder *e, const Plan *p);
void encoder_reset(Encoder *e); /* keeps the memory */
void encoder_done(Encoder *e);
#define _cleanup_encoder_ _cleanup_(encoder_done)

typedef struct Decoder { /* error sticks; after an error everything reads as 0 or NULL */
        const uint8_t *data;
        size_t size, position;
        int error;
} Decoder;
#define DECODER(bytes, n) ((Decoder) { .data = (bytes), .size = (n) })
uint8_t decode_u8(Decoder *d);
uint16_t decode_u16(Decoder *d);
uint32_t decode_u32(Decoder *d);
uint64_t decode_u64(Decoder *d);
const void *decode_bytes(Decoder *d, size_t max, size_t *ret_n); /* borrowed */
/* Copies; NULL stays NULL. A string with a NUL inside or above max is -EBADMSG. 0 or the sticky
 * error. */
int decode_string(Decoder *d, size_t max, char **ret);
PciAddress decode_address(Decoder *d);
int decode_plan(Decoder *d, Plan **ret);
/* 0 if no error and nothing is left; -EBADMSG otherwise. */
int decoder_finish(Decoder *d);
