/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Drop-in directories: FOLDER/NAME below several places, where a name in an earlier place masks the
 * same name in a later one, and all that remain are read in the order of their names.
 */

#include "base/cleanup.h"

/* Of every kind of configuration, the one that masks first. Relative to a root. */
#define DROPINS_PLACES 3U
extern const char *const dropins_places[DROPINS_PLACES];

#define DROPINS_NAMES_MAX 1024U
#define DROPINS_TOTAL_MAX (64U << 20) /* bytes of all files together */

typedef struct DropIn {
        char *path; /* with a leading slash, as below the root */
        char *text; /* terminated; NULL with an error */
        size_t size;
        int error;  /* why it could not be read: negative errno; 0 */
} DropIn;

typedef struct DropIns {
        DropIn *items;
        size_t n, allocated;
        size_t total; /* bytes */
} DropIns;
void dropins_done(DropIns *d);
#define _cleanup_dropins_ _cleanup_(dropins_done)

/* Every name with that suffix in FOLDER of the places below root_fd. An empty file and a link to
 * /dev/null mask and are left out. What cannot be read, is no regular file, is larger than max_size
 * or one of more than max_files is an item with its error, never passed over in silence; so is a
 * folder that cannot be listed. 0 or -ENOMEM. */
int dropins_load(int root_fd, const char *folder, const char *suffix, size_t max_size,
                 size_t max_files, DropIns *ret);
/* Adds one file by its own path, or all files with the suffix of a directory, in the order of their
 * names; by the same rules, whose errors become items. Paths as they are given. 0 or -ENOMEM. */
int dropins_add_path(const char *path, const char *suffix, size_t max_size, size_t max_files,
                     DropIns *all);
/* The first of the places that has this file: 1, or 0 if none has. The item may have an error. */
int dropins_load_one(int root_fd, const char *name, size_t max_size, DropIn *ret);
/* One file by its own path, by the same rules. */
int dropin_read(int dir_fd, const char *path, size_t max_size, DropIn *ret);
void dropin_done(DropIn *d);
#define _cleanup_dropin_ _cleanup_(dropin_done)
