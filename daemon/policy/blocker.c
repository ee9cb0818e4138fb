/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The look-ups of the table of reasons in blocker.h. No reason is spelled anywhere else: a new one
 * is a new row there and a check in safety.c.
 */

#include "policy/blocker.h"

#include <assert.h>

static const struct {
        const char *text;
        ErrorCode error;
        bool force;
        const char *remedy;
} blockers[_BLOCKER_MAX] = {
#define X(code, spelling, err, may, way) [BLOCKER_##code] = { spelling, ERROR_##err, may, way },
        BLOCKER_TABLE(X)
#undef X
};

const char *blocker_to_string(BlockerCode c) {
        return (int) c >= 0 && c < _BLOCKER_MAX ? blockers[c].text : NULL;
}

BlockerCode blocker_from_string(const char *s) {
        if (!s)
                return _BLOCKER_INVALID;
        for (size_t i = 0; i < ELEMENTSOF(blockers); i++)
                if (streq(blockers[i].text, s))
                        return (BlockerCode) i;
        return _BLOCKER_INVALID;
}

ErrorCode blocker_to_error(BlockerCode c) {
        assert((int) c >= 0 && c < _BLOCKER_MAX);
        return blockers[c].error;
}

bool blocker_is_forcible(BlockerCode c) {
        assert((int) c >= 0 && c < _BLOCKER_MAX);
        return blockers[c].force;
}

const char *blocker_remedy(BlockerCode c) {
        assert((int) c >= 0 && c < _BLOCKER_MAX);
        return blockers[c].remedy;
}
