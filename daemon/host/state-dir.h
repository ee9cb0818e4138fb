/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The files of the state directory: small, named by a strict grammar, below one directory
 * descriptor, never followed through links. Read by the daemon when it starts, written by workers.
 * What stands in them is not known here.
 */

#include <sys/types.h>

#include "base/cleanup.h"

#define STATE_DIR_FILE_MAX ((size_t) 65535)
#define STATE_DIR_FILES_MAX 8192U

typedef struct HostStateFile {
        char *name;
        char *text; /* NULL where error says why it could not be read */
        size_t size;
        int error;
} HostStateFile;
void host_state_files_free(HostStateFile *files, size_t n);

/* "device-" and 16, or "reservation-" and 32 lower-case hexadecimal digits, and ".json". */
bool state_dir_name_is_valid(const char *name);
/* A descriptor of the directory, which must be root's, ours or the daemon's, and nobody else's to
 * write: -EPERM. */
int state_dir_open(const char *path, uid_t daemon);
/* One file, malloc'd; -ENOENT, -EPERM (not a plain file of root, ours or the daemon's), -EFBIG. */
int state_dir_read(int dir_fd, uid_t daemon, const char *name, char **ret, size_t *ret_size);
/* New file, fsync, rename, fsync of the directory, read back; it belongs to who owns the directory.
 * text "" removes. On failure the file is as it was, or (-EIO) nobody knows. */
int state_dir_commit(int dir_fd, uid_t daemon, const char *name, const char *text);
/* Does the file hold this text ("": is there no file)? 1, 0, -errno. */
int state_dir_holds(int dir_fd, uid_t daemon, const char *name, const char *text);
/* All files of ours, sorted by name; what cannot be read is told by its error. Other names are
 * passed over but for those that begin like ours (-EBADMSG). */
int state_dir_list(int dir_fd, uid_t daemon, HostStateFile **ret, size_t *ret_n);
