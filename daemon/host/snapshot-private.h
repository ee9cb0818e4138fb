/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the files that read and write HOST.json share: where in the document the reader stands, and
 * its typed getters. */

#include "host/snapshot.h"

#define SNAPSHOT_NAME_MAX 255U /* a file name, a driver, a link's target */
#define SNAPSHOT_PATH_MAX 4095U
#define SNAPSHOT_TEXT_MAX 65536U /* command line, reserved regions, proofs */

/* Zero-initialised but for err. pointer is the JSON pointer of what is being read. */
typedef struct SnapshotReader {
        Error *err;
        char pointer[256];
        size_t length;
} SnapshotReader;

/* Steps into a member or an element; what they return goes to snapshot_leave(). */
size_t snapshot_enter(SnapshotReader *r, const char *key);
size_t snapshot_enter_index(SnapshotReader *r, size_t i);
void snapshot_leave(SnapshotReader *r, size_t length);

/* All return a negative errno and fill err: "/devices/3/path: …". */
int snapshot_invalid(SnapshotReader *r, const char *format, ...) _printf_(2, 3);
int snapshot_expected(SnapshotReader *r, const char *expected, const Json *found);
int snapshot_out_of_memory(SnapshotReader *r);

/* An object with no other members than these (NULL-terminated); 0 or negative. */
int snapshot_check_object(SnapshotReader *r, const Json *j, const char *const *keys);
/* Members: 1 found, 0 absent, negative with err filled. Texts are copied; a NUL inside is
 * refused. */
int snapshot_get_text(SnapshotReader *r, const Json *j, const char *key, size_t max, char **ret);
int snapshot_get_number(SnapshotReader *r, const Json *j, const char *key, uint64_t max,
                        uint64_t *ret);
/* 1 array, 0 absent. */
int snapshot_get_array(SnapshotReader *r, const Json *j, const char *key, size_t max, Json **ret);
/* The value itself, at the reader's place. */
int snapshot_text(SnapshotReader *r, const Json *value, size_t max, char **ret);
/* As snapshot_text(), fit to be shown: no control characters, not empty. */
int snapshot_name(SnapshotReader *r, const Json *value, size_t max, char **ret);
int snapshot_get_name(SnapshotReader *r, const Json *j, const char *key, size_t max, char **ret);
/* "EIO" → 5; -EINVAL. */
int snapshot_errno_from_string(const char *s);

/* snapshot-device.c */
int snapshot_read_device(SnapshotReader *r, const Json *j, SnapshotDevice *ret);
/* snapshot-host.c: everything but the devices */
int snapshot_read_host(SnapshotReader *r, const Json *j, Snapshot *s);
typedef struct SnapshotFlag {
        const char *key;
        size_t offset; /* of an int8_t in HostPlatform: 1, 0, -1 unknown */
} SnapshotFlag;
const SnapshotFlag *snapshot_platform_flags(size_t *ret_n);
