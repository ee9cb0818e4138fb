/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The journal file: framed records, appended. Knows nothing of what stands in them. One record,
 * little-endian:
 *
 *   u32 magic  u16 version  u16 type  u32 length  u64 sequence  u32 crc  payload
 *
 * crc is CRC-32C over the header before it and the payload. The file is preallocated with zeros;
 * zeros end it.
 */

#include "base/cleanup.h"

#define JOURNAL_VERSION 2U     /* written */
#define JOURNAL_VERSION_OLD 1U /* still read */
#define JOURNAL_MAGIC UINT32_C(0x6a616370)
#define JOURNAL_HEADER_SIZE 24U
#define JOURNAL_PAYLOAD_MAX (16U << 20)
#define JOURNAL_SIZE_MAX (256U << 20)
#define JOURNAL_FILE "journal"

typedef struct JournalRecord {
        uint16_t version, type;
        uint64_t sequence;
        const uint8_t *payload; /* borrowed */
        size_t size;
} JournalRecord;

/* 0, -EBADMSG (the record is skipped as damage), or another error, which ends the scan. */
typedef int (*JournalHandler)(const JournalRecord *record, void *userdata);

typedef struct JournalScan {
        size_t end;      /* behind the last good record */
        size_t dropped;  /* bytes that were neither records nor the zeros behind them */
        uint64_t sequence; /* of the last good record */
} JournalScan;

/* Reads hostile bytes. What is damaged is skipped up to the next record that is whole and newer
 * than the last one. -EPROTONOSUPPORT for a whole record of a version that this program does not
 * know: nothing may be cut then. */
int journal_scan(const uint8_t *data, size_t n, JournalHandler handler, void *userdata,
                 JournalScan *ret);

typedef struct Journal {
        int dir_fd; /* borrowed */
        int fd;
        uint64_t sequence;      /* of the last record */
        size_t end, allocated;
        bool poisoned; /* the file may hold what nobody was told of: only a rewrite helps */
} Journal;
#define JOURNAL_INIT(dir) ((Journal) { .dir_fd = (dir), .fd = -EBADF })

/* Opens and scans; makes no file if there is none (fd stays -EBADF). -ELOOP, -EPERM, -EISDIR: the
 * file is not ours. */
int journal_open(Journal *j, JournalHandler handler, void *userdata, JournalScan *ret);
void journal_close(Journal *j);
/* True when a record of this size fits behind the end. */
bool journal_has_room(const Journal *j, size_t payload_size);
/* One pwrite and one fdatasync. On failure the file is as it was, or the journal is poisoned. */
int journal_append(Journal *j, uint16_t type, const void *payload, size_t n);
/* A fresh file with these records (versions and sequences are given anew) and room for `room` bytes
 * more, renamed over the old one. On failure the old file stays. */
int journal_rewrite(Journal *j, const JournalRecord *records, size_t n_records, size_t room);
/* Cuts what stands behind the end. */
int journal_cut(Journal *j);
