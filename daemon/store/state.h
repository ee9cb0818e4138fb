/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What outlives a reboot, below the state directory: who reserved which hardware, what is
 * quarantined and what is dirty. One small JSON document a file, "device-KEY.json" or
 * "reservation-ID.json", written by a worker (the plan step commit-state: new file, fsync, rename,
 * fsync of the directory) before it is relied on. Keyed by port path and identity, never by address
 * alone. A document begins with the checksum of what follows. Hostile bytes are refused one file at
 * a time and reported, never guessed at; such a file is left as it is. Pure: who reads and writes
 * the files is host/state-dir.h.
 */

#include "model/model.h"

#define STATE_VERSION 1U
#define STATE_FILE_MAX ((size_t) 65536 - 1) /* fits a plan's step */
#define STATE_NAME_MAX 64U

/* Which hardware, wherever it turns up. */
typedef struct DeviceIdentity {
        char *port_path; /* pci_facts_port_path(); "" not known */
        uint16_t vendor, device, subsystem_vendor, subsystem_device;
        bool has_dsn;
        uint64_t dsn;
        char *vpd_serial; /* NULL: not known */
} DeviceIdentity;
void device_identity_done(DeviceIdentity *i);
/* As far as it is known now. 0, -ENOMEM. */
int device_identity_of(const Device *d, DeviceIdentity *ret);
int device_identity_copy(const DeviceIdentity *i, DeviceIdentity *ret);
/* The same card: IDs and every serial that both sides know agree. Says nothing of the place. */
bool device_identity_same_card(const DeviceIdentity *a, const DeviceIdentity *b);
/* The same card in the same place; with a serial that agrees, in any place. */
bool device_identity_matches(const DeviceIdentity *kept, const DeviceIdentity *found);
/* The same place, whatever is in it. */
bool device_identity_same_place(const DeviceIdentity *a, const DeviceIdentity *b);

/* What is kept about one device. */
typedef struct KeptDevice {
        DeviceIdentity identity;
        char *quarantine;      /* reason; NULL: not */
        char *dirty_owner;     /* last owner it was given to and not cleaned since; NULL: clean */
        uid_t dirty_uid;
        uint64_t since;        /* CLOCK_REALTIME µs, for people */
} KeptDevice;

/* A persistent assignment without its run-time parts. */
typedef struct KeptReservation {
        char id[ASSIGNMENT_ID_MAX];
        char *owner;
        uid_t creator_uid, user_uid;
        gid_t user_gid;
        char **labels;
        char *request_id;
        uint64_t request_hash;
        bool by_node, force;
        char *force_reason;
        uint64_t memlock;
        DeviceIdentity *devices; size_t n_devices; /* requested first */
        size_t n_requested;
        char **drivers;        /* strv: VFIO driver of each */
} KeptReservation;

void kept_device_done(KeptDevice *d);
void kept_reservation_done(KeptReservation *r);
int kept_device_copy(const KeptDevice *d, KeptDevice *ret);

/* File name and text for commit-state; malloc'd. Text NULL: nothing is kept, the file is to be
 * removed. -E2BIG: more than fits a file. */
int kept_device_to_file(const KeptDevice *d, char **ret_name, char **ret_text);
int kept_reservation_to_file(const KeptReservation *r, char **ret_name, char **ret_text);
/* One file's bytes. -EBADMSG, -EPROTONOSUPPORT (newer), -ENOMEM. */
int kept_device_parse(const char *text, size_t n, KeptDevice *ret);
int kept_reservation_parse(const char *text, size_t n, KeptReservation *ret);

typedef struct KeptState {
        KeptDevice *devices; size_t n_devices, devices_allocated;
        KeptReservation *reservations; size_t n_reservations, reservations_allocated;
        char **problems; /* strv: files that could not be used, and why */
        char **damaged;  /* strv: their names, those of devices */
} KeptState;
void kept_state_done(KeptState *s);
/* Takes one file in. A file that cannot be used becomes a problem; so does a second one about the
 * same thing. 0, -ENOMEM. */
int kept_state_add(KeptState *s, const char *name, const char *text, size_t n);
/* The same for a file that could not even be read. */
int kept_state_add_error(KeptState *s, const char *name, int error);
/* "device-KEY.json" of this identity; false if cut. */
bool kept_device_name(const DeviceIdentity *i, char ret[STATE_NAME_MAX]);
void kept_reservation_name(const char *id, char ret[STATE_NAME_MAX]);
/* And back; false: the file of something else. */
bool kept_reservation_id(const char *name, char ret[ASSIGNMENT_ID_MAX]);
