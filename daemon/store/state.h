/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What outlives a reboot, below the state directory: who reserved which hardware, what is
 * quarantined and what is dirty. One small JSON document a file, "device-KEY.json" or
 * "reservation-ID.json", written by a worker (the plan step commit-state: new file, fsync, rename,
 * fsync of the directory) before it is relied on. Keyed by port path and identity, never by address
 * alone. Hostile bytes are refused one file at a time and reported, never guessed at; such a file is
 * kept aside.
 */

#include "model/model.h"

#define STATE_VERSION 1U
#define STATE_FILE_MAX (256U << 10)
#define STATE_FILES_MAX 8192U

/* Which hardware, wherever it turns up. */
typedef struct DeviceIdentity {
        char *port_path; /* pci_facts_port_path() */
        uint16_t vendor, device, subsystem_vendor, subsystem_device;
        bool has_dsn;
        uint64_t dsn;
        char *vpd_serial; /* NULL: not known */
} DeviceIdentity;
void device_identity_done(DeviceIdentity *i);
int device_identity_of(const Device *d, DeviceIdentity *ret);
/* The same card: IDs and every serial that both sides know agree. Says nothing of the place. */
bool device_identity_same_card(const DeviceIdentity *a, const DeviceIdentity *b);
/* The same card in the same place; with a serial that agrees, in any place. */
bool device_identity_matches(const DeviceIdentity *kept, const DeviceIdentity *found);

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

typedef struct KeptState {
        KeptDevice *devices; size_t n_devices;
        KeptReservation *reservations; size_t n_reservations;
        char **problems; /* strv: files that could not be used, and why */
} KeptState;
void kept_state_done(KeptState *s);
/* Reads the whole directory (dir_fd borrowed). 0 with problems told in *ret, -errno where the
 * directory itself cannot be read. */
int kept_state_load(int dir_fd, KeptState *ret);

/* File name and text for commit-state; malloc'd. NULL text: the file is to be removed. */
int kept_device_to_file(const KeptDevice *d, char **ret_name, char **ret_text);
int kept_reservation_to_file(const KeptReservation *r, char **ret_name, char **ret_text);
/* One file's bytes. -EBADMSG, -EPROTONOSUPPORT (newer). */
int kept_device_parse(const char *text, size_t n, KeptDevice *ret);
int kept_reservation_parse(const char *text, size_t n, KeptReservation *ret);
void kept_device_done(KeptDevice *d);
void kept_reservation_done(KeptReservation *r);
