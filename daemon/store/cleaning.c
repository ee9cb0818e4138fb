/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Records of what was done to a device between its owners: the file cleaning/ADDRESS below the
 * runtime directory, one JSON document a line, oldest first, a bounded number of them. They are
 * evidence for people: nothing is decided by them, they are not synced, and one that cannot be
 * written is told and forgotten.
 */

#include <assert.h>
#include <fcntl.h>

#include "base/fdio.h"
#include "base/strutil.h"
#include "store/store-private.h"

#define DIRECTORY "cleaning"
#define RECORDS_MAX 8U
#define RECORD_SIZE_MAX (64U << 10)
#define FILE_SIZE_MAX ((size_t) RECORDS_MAX * (RECORD_SIZE_MAX + 1U))

static int open_directory(Store *s, bool make) {
        int r = make ? mkdir_p_at(s->dir_fd, DIRECTORY, 0700) : 0, fd;

        if (r < 0)
                return r;
        fd = openat(s->dir_fd, DIRECTORY, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        return fd < 0 ? -errno : fd;
}

static int read_records(int directory, const char *device, char **ret) {
        size_t n;
        int r = read_file_at(directory, device, FILE_SIZE_MAX, ret, &n);

        if (r < 0)
                return r;
        return strlen(*ret) == n && utf8_is_valid(*ret, n) ? 0 : -EBADMSG;
}

/* Behind the lines that make way for one more. */
static const char *skip_oldest(const char *text) {
        unsigned lines = 0;

        for (const char *p = text; *p; p++)
                lines += *p == '\n';
        for (; lines >= RECORDS_MAX; lines--)
                text = strchr(text, '\n') + 1;
        return text;
}

int store_add_cleaning(Store *s, const char *device, const char *record) {
        _cleanup_close_ int directory = -EBADF;
        _cleanup_free_ char *before = NULL, *text = NULL;
        int r;

        assert(s);
        assert(device);
        assert(record);
        if (strlen(record) > RECORD_SIZE_MAX || strchr(record, '\n') || strchr(device, '/'))
                return -EINVAL;
        directory = open_directory(s, true);
        if (directory < 0)
                return directory;
        r = read_records(directory, device, &before);
        if (r < 0 && r != -ENOENT && r != -EBADMSG && r != -E2BIG)
                return r;
        text = strjoinf("%s%s\n", r >= 0 ? skip_oldest(before) : "", record);
        return text ? write_file_atomic_at(directory, device, text, strlen(text), 0600, false)
                    : -ENOMEM;
}

int store_read_cleaning(Store *s, const char *device, char **ret) {
        _cleanup_close_ int directory = -EBADF;
        _cleanup_free_ char *text = NULL;
        int r;

        assert(s);
        assert(device);
        assert(ret);
        if (strchr(device, '/'))
                return -EINVAL;
        directory = open_directory(s, false);
        if (directory < 0)
                return directory;
        r = read_records(directory, device, &text);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(text);
        return 0;
}
