/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Files by directory descriptor. Every path is relative to a descriptor; O_CLOEXEC always. */

#include <sys/types.h>

#include "base/cleanup.h"

/* One read(2) of a small file, at most size-1 bytes; terminates, strips one trailing newline.
 * Returns the length
 * (>= 0), -E2BIG when the file is larger, -errno otherwise. A NUL inside gives -EBADMSG. */
ssize_t read_attr_at(int dir_fd, const char *path, char *buffer, size_t size);
/* Whole file into a malloc'd buffer with a NUL behind it; -E2BIG above max. */
int read_file_at(int dir_fd, const char *path, size_t max, char **ret, size_t *ret_size);
/* One write(2) of all bytes; a short write is -EIO. Used for sysfs: one write, one store call. */
int write_attr_at(int dir_fd, const char *path, const char *value);
/* Target of a symlink, or only its last component. -EINVAL if not a link, -ENAMETOOLONG. */
int readlink_at(int dir_fd, const char *path, char *buffer, size_t size);
int readlink_base_at(int dir_fd, const char *path, char *buffer, size_t size);
int loop_write(int fd, const void *data, size_t n);
/* pread until n bytes or end of file; returns the count. */
ssize_t loop_pread(int fd, void *data, size_t n, off_t offset);
/* New file, fsync, rename over path, fsync of the directory (sync false: no fsyncs, for tmpfs). On
 * failure the old file stays. */
int write_file_atomic_at(int dir_fd, const char *path, const void *data, size_t n, mode_t mode,
                         bool sync);
int mkdir_p_at(int dir_fd, const char *path, mode_t mode);
/* A directory below root_fd: openat(O_DIRECTORY|O_CLOEXEC|O_PATH cleared). path has no leading
 * slash. */
int open_dir_at(int root_fd, const char *path);
/* Closes every descriptor above 2 that is not in keep[]. */
int close_all_except(const int *keep, size_t n_keep);
int fd_set_cloexec(int fd, bool on);
/* Names in a directory without . and .., sorted if asked; -E2BIG above max names. */
int read_dir_names_at(int dir_fd, const char *path, size_t max, bool sort, char ***ret);

/* One SEQPACKET message with up to n_fds descriptors. Returns bytes, 0 on end of stream, -EAGAIN,
 * -EMSGSIZE when cut. Received descriptors are O_CLOEXEC; *n_fds is in: room, out: number. ucred
 * may be NULL. */
struct ucred;
ssize_t message_send(int socket_fd, const void *data, size_t n, const int *fds, size_t n_fds);
ssize_t message_receive(int socket_fd, void *data, size_t size, int *fds, size_t *n_fds,
                        struct ucred *ret_ucred);
