/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The step that commits what must outlive a reboot. It is a plan's own step because it syncs, which
 * the daemon's loop must not. Undoing writes only where the file is not yet as it was, so that a
 * step which failed for a full disk needs no room to be undone.
 */

#include "worker/steps.h"

#include "base/strutil.h"
#include "host/state-dir.h"

static int open_state(StepRun *s) {
        return state_dir_open(s->w->state_dir, s->w->daemon);
}

/* What the refusal names: where, and the kernel's word for it. */
static int explain(StepRun *s, int error) {
        if (error < 0)
                (void) snprintf(s->detail, sizeof(s->detail), "%.160s: %s", s->w->state_dir,
                                strempty(strerrorname_np(-error)));
        return error;
}

int step_do_commit(StepRun *s, const char *text) {
        _cleanup_close_ int fd = open_state(s);

        return explain(s,
                       fd < 0 ? fd
                              : state_dir_commit(fd, s->w->daemon, strempty(s->step->value), text));
}

int step_undo_commit(StepRun *s, const char *text) {
        _cleanup_close_ int fd = open_state(s);
        int r;

        /* Without a directory nothing was written; it is not made worse by being told so again. */
        if (fd < 0)
                return s->failed ? 0 : explain(s, fd);
        r = state_dir_holds(fd, s->w->daemon, strempty(s->step->value), text);
        if (r > 0)
                return 0;
        return explain(s, state_dir_commit(fd, s->w->daemon, strempty(s->step->value), text));
}
