/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Framed, checksummed, appended. What holds here:
 *
 * - A record counts only when its magic, version, length, checksum and a growing sequence number
 * say so; everything else is damage, counted and skipped, and a damaged record does not hide the
 * ones behind it.
 * - An append that fails is cut off again. When that fails too, or after a failed fdatasync (the
 *   kernel may have dropped the dirty page, and a second fdatasync would "succeed"), the file is
 *   poisoned: it is never appended to again, a rewrite makes a fresh one.
 * - A rewrite is a new file, synced, renamed over the old one, and the directory synced.
 * - The file is opened without following links and must be a plain file of our own that nobody else
 *   can write.
 *
 * What the records mean is not this file's business.
 */

#include "store/journal.h"

#include <assert.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "base/fdio.h"
#include "base/strutil.h"
#include "plan/codec.h"

#define JOURNAL_FILE_NEW JOURNAL_FILE ".new"
#define JOURNAL_SIZE_MIN ((size_t) 256 << 10)
#define CRC_OFFSET 20U

/* Bytes that may be summed up in vain: a file made of false starts must not take for ever. */
#define VAIN_MAX ((size_t) 64 << 20)

/* 1: a whole record stands at the start; 0: none does; -EPROTONOSUPPORT. */
static int record_parse(const uint8_t *data, size_t n, uint64_t after, size_t *vain,
                        JournalRecord *ret) {
        Decoder d = DECODER(data, MIN(n, (size_t) JOURNAL_HEADER_SIZE));
        uint32_t magic = decode_u32(&d);
        uint16_t version = decode_u16(&d), type = decode_u16(&d);
        uint32_t size = decode_u32(&d), crc;
        uint64_t sequence = decode_u64(&d);

        crc = decode_u32(&d);
        if (decoder_finish(&d) < 0 || magic != JOURNAL_MAGIC)
                return 0;
        if (size > JOURNAL_PAYLOAD_MAX || size > n - JOURNAL_HEADER_SIZE || sequence <= after ||
            sequence > INT64_MAX)
                return 0;
        if (crc32c(crc32c(0, data, CRC_OFFSET), data + JOURNAL_HEADER_SIZE, size) != crc) {
                *vain += size;
                return 0;
        }
        if (version > JOURNAL_VERSION || version < JOURNAL_VERSION_OLD)
                return -EPROTONOSUPPORT;
        *ret = (JournalRecord) { version, type, sequence, data + JOURNAL_HEADER_SIZE, size };
        return 1;
}

/* The next place at or behind `from` where a magic stands; n if none does. */
static size_t find_magic(const uint8_t *data, size_t n, size_t from) {
        static const uint8_t magic[] = { JOURNAL_MAGIC & 0xff, (JOURNAL_MAGIC >> 8) & 0xff,
                                         (JOURNAL_MAGIC >> 16) & 0xff, JOURNAL_MAGIC >> 24 };
        const uint8_t *p;

        if (from >= n)
                return n;
        p = memmem(data + from, n - from, magic, sizeof(magic));
        return p ? (size_t) (p - data) : n;
}

/* Length without the zeros at the end. */
static size_t trim_zeros(const uint8_t *data, size_t from, size_t to) {
        while (to > from && data[to - 1] == 0)
                to--;
        return to;
}

int journal_scan(const uint8_t *data, size_t n, JournalHandler handler, void *userdata,
                 JournalScan *ret) {
        JournalScan scan = {};
        size_t position = 0, vain = 0;
        int r;

        assert(data || n == 0);
        assert(handler);
        assert(ret);
        while (position < n) {
                JournalRecord record;
                size_t next;

                r = record_parse(data + position, n - position, scan.sequence, &vain, &record);
                if (r < 0)
                        return r;
                if (r > 0) {
                        next = position + JOURNAL_HEADER_SIZE + record.size;
                        r = handler(&record, userdata);
                        if (r < 0 && r != -EBADMSG)
                                return r;
                        if (r < 0)
                                scan.dropped += next - position;
                        scan.sequence = record.sequence;
                        scan.end = position = next;
                        continue;
                }
                next = vain < VAIN_MAX ? find_magic(data, n, position + 1) : n;
                scan.dropped += trim_zeros(data, position, next) - position;
                position = next;
        }
        *ret = scan;
        return 0;
}

/* ---- the file ---- */

static int check_ours(int fd) {
        struct stat st;

        if (fstat(fd, &st) < 0)
                return -errno;
        if (S_ISDIR(st.st_mode))
                return -EISDIR;
        if (!S_ISREG(st.st_mode) || st.st_uid != geteuid() || st.st_nlink != 1 ||
            (st.st_mode & 022))
                return -EPERM;
        return 0;
}

int journal_open(Journal *j, JournalHandler handler, void *userdata, JournalScan *ret) {
        _cleanup_close_ int fd = -EBADF;
        _cleanup_free_ uint8_t *data = NULL;
        JournalScan scan = {};
        struct stat st;
        ssize_t n;
        int r;

        assert(j);
        assert(ret);
        /* O_NONBLOCK: somebody's FIFO in the file's place must not stop us. */
        fd = openat(j->dir_fd, JOURNAL_FILE,
                    O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
        if (fd < 0 && errno != ENOENT)
                return -errno;
        if (fd >= 0) {
                r = check_ours(fd);
                if (r < 0)
                        return r;
                if (fstat(fd, &st) < 0)
                        return -errno;
                if ((uint64_t) st.st_size > JOURNAL_SIZE_MAX)
                        return -EFBIG;
                data = malloc((size_t) st.st_size + 1);
                if (!data)
                        return -ENOMEM;
                n = loop_pread(fd, data, (size_t) st.st_size, 0);
                if (n < 0)
                        return (int) n;
                r = journal_scan(data, (size_t) n, handler, userdata, &scan);
                if (r < 0)
                        return r;
                j->allocated = (size_t) n;
        }
        j->fd = TAKE_FD(fd);
        j->end = scan.end;
        j->sequence = scan.sequence;
        *ret = scan;
        return 0;
}

void journal_close(Journal *j) {
        assert(j);
        j->fd = safe_close(j->fd);
}

bool journal_has_room(const Journal *j, size_t payload_size) {
        assert(j);
        return j->fd >= 0 && !j->poisoned && j->end <= j->allocated &&
               payload_size <= JOURNAL_PAYLOAD_MAX &&
               j->allocated - j->end >= JOURNAL_HEADER_SIZE + payload_size;
}

/* Zeros from the end of the file up to `size`, so that an append needs no new block. */
static int preallocate(int fd, size_t from, size_t size) {
        static const uint8_t zeros[4096];
        int r;

        if (fallocate(fd, 0, 0, (off_t) size) == 0)
                return 0;
        if (errno != EOPNOTSUPP && errno != ENOSYS)
                return -errno;
        if (lseek(fd, (off_t) from, SEEK_SET) < 0)
                return -errno;
        for (; from < size; from += MIN(sizeof(zeros), size - from)) {
                r = loop_write(fd, zeros, MIN(sizeof(zeros), size - from));
                if (r < 0)
                        return r;
        }
        return 0;
}

static int pwrite_all(int fd, const uint8_t *data, size_t n, size_t offset) {
        while (n > 0) {
                ssize_t w = pwrite(fd, data, n, (off_t) offset);

                if (w < 0 && errno == EINTR)
                        continue;
                if (w <= 0)
                        return w < 0 ? -errno : -EIO;
                data += w;
                offset += (size_t) w;
                n -= (size_t) w;
        }
        return 0;
}

static int write_record(int fd, size_t offset, uint16_t type, uint64_t sequence,
                        const void *payload, size_t n) {
        _cleanup_encoder_ Encoder e = {};
        uint8_t *whole;

        if (n > JOURNAL_PAYLOAD_MAX)
                return -E2BIG;
        encode_u32(&e, JOURNAL_MAGIC);
        encode_u16(&e, JOURNAL_VERSION);
        encode_u16(&e, type);
        encode_u32(&e, (uint32_t) n);
        encode_u64(&e, sequence);
        if (e.error == 0)
                encode_u32(&e, crc32c(crc32c(0, e.data, CRC_OFFSET), payload, n));
        if (e.error < 0)
                return e.error;
        whole = realloc(e.data, e.size + n);
        if (!whole)
                return -ENOMEM;
        e.data = whole;
        if (n > 0)
                memcpy(whole + e.size, payload, n);
        return pwrite_all(fd, whole, e.size + n, offset);
}

int journal_cut(Journal *j) {
        assert(j);
        if (ftruncate(j->fd, (off_t) j->end) < 0)
                return -errno;
        /* Without the room the next append goes to a fresh file; nothing is lost by that. */
        if (preallocate(j->fd, j->end, j->allocated) < 0)
                j->allocated = j->end;
        return 0;
}

int journal_append(Journal *j, uint16_t type, const void *payload, size_t n) {
        int r;

        assert(j);
        assert(payload || n == 0);
        if (j->poisoned)
                return -EIO;
        if (!journal_has_room(j, n))
                return -ENOSPC;
        r = write_record(j->fd, j->end, type, j->sequence + 1, payload, n);
        if (r < 0) {
                if (journal_cut(j) < 0)
                        j->poisoned = true;
                return r;
        }
        if (fdatasync(j->fd) < 0) {
                r = -errno;
                j->poisoned = true;
                return r;
        }
        j->end += JOURNAL_HEADER_SIZE + n;
        j->sequence++;
        return 0;
}

static int fill(int fd, const JournalRecord *records, size_t n_records, uint64_t sequence,
                size_t *ret_end) {
        size_t end = 0;
        int r;

        for (size_t i = 0; i < n_records; i++) {
                r = write_record(fd, end, records[i].type, ++sequence, records[i].payload,
                                 records[i].size);
                if (r < 0)
                        return r;
                end += JOURNAL_HEADER_SIZE + records[i].size;
        }
        *ret_end = end;
        return 0;
}

int journal_rewrite(Journal *j, const JournalRecord *records, size_t n_records, size_t room) {
        _cleanup_close_ int fd = -EBADF;
        size_t size = room + JOURNAL_HEADER_SIZE, end = 0;
        int r;

        assert(j);
        assert(records || n_records == 0);
        for (size_t i = 0; i < n_records; i++)
                size += JOURNAL_HEADER_SIZE + records[i].size;
        /* Twice what lives, so that the cost of rewriting is spread over as many bytes of
         * appending. */
        size = MAX(size * 2, JOURNAL_SIZE_MIN);
        if (size > JOURNAL_SIZE_MAX)
                return -EFBIG;
        if (unlinkat(j->dir_fd, JOURNAL_FILE_NEW, 0) < 0 && errno != ENOENT)
                return -errno;
        fd = openat(j->dir_fd, JOURNAL_FILE_NEW, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                    0600);
        if (fd < 0)
                return -errno;
        r = preallocate(fd, 0, size);
        if (r >= 0)
                r = fill(fd, records, n_records, j->sequence, &end);
        if (r >= 0 && fsync(fd) < 0)
                r = -errno;
        if (r >= 0 && renameat(j->dir_fd, JOURNAL_FILE_NEW, j->dir_fd, JOURNAL_FILE) < 0)
                r = -errno;
        if (r < 0) {
                (void) unlinkat(j->dir_fd, JOURNAL_FILE_NEW,
                                0); /* the first error is the one to tell */
                return r;
        }
        (void) safe_close(j->fd);
        j->fd = TAKE_FD(fd);
        j->end = end;
        j->allocated = size;
        j->sequence += n_records;
        j->poisoned = fsync(j->dir_fd) < 0;
        return j->poisoned ? -EIO : 0;
}
