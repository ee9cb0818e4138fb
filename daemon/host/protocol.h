/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What daemon and worker say to each other over one SOCK_SEQPACKET connection. A message is one
 * byte of type and a payload in the codec of plan/codec.h; a payload that is too large for the
 * socket travels in a sealed memory file. The daemon starts with HELLO and the worker answers it
 * (its credentials come with it); then a request is followed by any number of reports and one
 * FINISHED. Both ends decode as from a stranger. Configuration space travels as the dwords that
 * were read: decoding is the pci layer's, in the daemon.
 */

#include "host/host.h"
#include "plan/codec.h"

#define PROTOCOL_VERSION 2U
#define PROTOCOL_INLINE_MAX 32768U
#define PROTOCOL_PAYLOAD_MAX (16U << 20)
#define PROTOCOL_FDS_MAX 4U
#define PROTOCOL_DEVICES_MAX 65536U
#define PROTOCOL_STUCK_MAX 256U
#define PROTOCOL_EVIDENCE_MAX 32768U

typedef enum ProtocolType {
        PROTOCOL_HELLO,
        PROTOCOL_REQUEST,
        PROTOCOL_CANCEL,
        PROTOCOL_STEPS,    /* what became of steps since the last message, in order: each wakes the
                              daemon */
        PROTOCOL_EVIDENCE, /* what a step found; its steps message may still wait */
        PROTOCOL_DEVICE,   /* what is known of a device so far; the last one of a device says so */
        PROTOCOL_GROUP,
        PROTOCOL_SLOT,
        PROTOCOL_PLATFORM,
        PROTOCOL_FD,
        PROTOCOL_PROGRESS, /* of a snapshot: the function at hand, whose driver may hold the lock
                              that reading it takes */
        PROTOCOL_FINISHED, /* the last steps, then the result */
        _PROTOCOL_TYPE_MAX,
} ProtocolType;

typedef struct ProtocolMessage {
        ProtocolType type;
        const uint8_t *payload;
        size_t size;
        int fds[PROTOCOL_FDS_MAX + 1]; /* one more for the memory file of a large payload */
        size_t n_fds;
        uint32_t pid;           /* of the sender, if the socket passes credentials; 0 */
        uint8_t *buffer;        /* owned */
} ProtocolMessage;
void protocol_message_done(ProtocolMessage *m); /* closes descriptors that were not taken */

/* The encoder holds the payload. 0, -EPIPE when the peer is gone, -errno. */
int protocol_send(int socket_fd, ProtocolType type, const Encoder *payload, const int *fds,
                  size_t n_fds);
/* 1 and a message, 0 at the end of the stream, -EAGAIN, -EBADMSG. */
int protocol_receive(int socket_fd, ProtocolMessage *ret);

/* ---- requests ---- */

typedef struct ProtocolRequest {
        HostRequest
                request; /* points into the rest; descriptors are those of the message, borrowed */
        Plan *plan;
        PciAddress *devices;
        uint32_t *groups;
        PciAddress *stuck;
        HostOpenDevice *open_devices;
        char **modules;
} ProtocolRequest;
void protocol_request_done(ProtocolRequest *r);

/* Descriptors to send along, in the order that the decoder expects; at most PROTOCOL_FDS_MAX. */
size_t protocol_request_fds(const HostRequest *r, int fds[PROTOCOL_FDS_MAX]);
void encode_request(Encoder *e, const HostRequest *r);
int decode_request(Decoder *d, const int *fds, size_t n_fds, ProtocolRequest *ret);

/* ---- reports ---- */

typedef struct ProtocolDevice {
        PciAddress address;
        int error;
        unsigned what;
        bool last;
        const PciConfig *config;
        const PciLive *live;
        const PciUse *use;
} ProtocolDevice;
void encode_device(Encoder *e, const ProtocolDevice *v);
/* Adds to what earlier messages of the same device gave (facts zeroed before the first). */
int decode_device(Decoder *d, HostDeviceFacts *facts, bool *ret_last);

void encode_group(Encoder *e, const IommuGroupFacts *g);
int decode_group(Decoder *d, IommuGroupFacts *ret);
void encode_slot(Encoder *e, const PciSlotFacts *s);
int decode_slot(Decoder *d, PciSlotFacts *ret);
void encode_platform(Encoder *e, const HostPlatform *p);
int decode_platform(Decoder *d, HostPlatform *ret);
void encode_fd(Encoder *e, const HostFd *f);
int decode_fd(Decoder *d, HostFd *ret); /* fd left at -EBADF */

typedef struct ProtocolStep {
        uint32_t step;
        bool undo;
        bool done; /* else it begins */
        int error; /* of what is done */
} ProtocolStep;
#define PROTOCOL_STEPS_MAX 16U /* of one message */
void encode_steps(Encoder *e, const ProtocolStep *steps, size_t n);
/* What follows them is left to be decoded. 0 or the sticky error. */
int decode_steps(Decoder *d, ProtocolStep ret[PROTOCOL_STEPS_MAX], size_t *ret_n);
void encode_evidence(Encoder *e, uint32_t step, const char *text);
int decode_evidence(Decoder *d, uint32_t *ret_step, char **ret_text); /* malloc'd, never NULL */
void encode_result(Encoder *e, const HostResult *r);
/* Holders are malloc'd into *ret_holders, which the caller frees; ret->holders points there. */
int decode_result(Decoder *d, HostResult *ret, PciHolder **ret_holders);
