/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the files of the store share. */

#include "store/fold.h"
#include "store/store.h"

struct Store {
        int dir_fd, lock_fd;
        Journal journal;
        Fold fold;
        size_t dropped;
        bool behind; /* the fold knows what could not be written: nothing is begun before a
                      * rewrite */
};
