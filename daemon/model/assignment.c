/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Assignments and their state machine: a pure table of state × event → next state. A cell that is
 * not named is an impossible event, which the engine logs as a bug and which leaves the state
 * alone. While a plan runs (preparing, releasing, cleaning) the answer comes from the plan: a
 * release that is asked for meanwhile is remembered by the engine, and a device that goes away
 * shows as the plan's failure or is told to the owner afterwards. The picture of the table is
 * dbus/assignment-states.dot; a test compares them.
 */

#include <assert.h>

#include "base/strutil.h"
#include "model/model-private.h"

static const char *const assignment_state_table[_ASSIGNMENT_STATE_MAX] = {
        [ASSIGNMENT_PREPARING] = "preparing",
        [ASSIGNMENT_ACTIVE] = "active",
        [ASSIGNMENT_RELEASING] = "releasing",
        [ASSIGNMENT_CLEANING] = "cleaning",
        [ASSIGNMENT_RELEASED] = "released",
        [ASSIGNMENT_RESERVED] = "reserved",
        [ASSIGNMENT_RECOVERING] = "recovering",
        [ASSIGNMENT_REMOVING] = "removing",
        [ASSIGNMENT_LOST] = "lost",
        [ASSIGNMENT_FAILED] = "failed",
};
DEFINE_STRING_TABLE(AssignmentState, assignment_state, assignment_state_table);

static const char *const lifetime_table[_LIFETIME_MAX] = {
        [LIFETIME_CONNECTION] = "connection",
        [LIFETIME_PROCESS] = "process",
        [LIFETIME_PERSISTENT] = "persistent",
};
DEFINE_STRING_TABLE(Lifetime, lifetime, lifetime_table);

#define EVENT_FIRST ASSIGNMENT_EVENT_PREPARED
#define EVENT_COUNT ((size_t) _ASSIGNMENT_EVENT_MAX - EVENT_FIRST)
#define E(event) [ASSIGNMENT_EVENT_##event - EVENT_FIRST]

static const char *const assignment_event_table[EVENT_COUNT] = {
        E(PREPARED) = "prepared",
        E(PREPARE_FAILED) = "prepare-failed",
        E(RELEASE) = "release",
        E(UNHELD) = "unheld",
        E(CLEANED) = "cleaned",
        E(RESTORE_FAILED) = "restore-failed",
        E(REST) = "rest",
        E(ATTACH) = "attach",
        E(DEVICE_LOST) = "device-lost",
};

const char *assignment_event_to_string(AssignmentEvent e) {
        if ((int) e < (int) EVENT_FIRST || e >= _ASSIGNMENT_EVENT_MAX)
                return NULL;
        return assignment_event_table[e - EVENT_FIRST];
}

AssignmentEvent assignment_event_from_string(const char *s) {
        if (s)
                for (size_t n = 0; n < EVENT_COUNT; n++)
                        if (streq(assignment_event_table[n], s))
                                return (AssignmentEvent) (EVENT_FIRST + n);
        return _ASSIGNMENT_EVENT_INVALID;
}

/* 0 is "impossible", so next states are kept plus one. */
#define NEXT(state) (ASSIGNMENT_##state + 1)

static const uint8_t transitions[_ASSIGNMENT_STATE_MAX][EVENT_COUNT] = {
        [ASSIGNMENT_PREPARING] = {
                E(PREPARED) = NEXT(ACTIVE),
                E(PREPARE_FAILED) = NEXT(FAILED),
                E(DEVICE_LOST) = NEXT(LOST),
        },
        [ASSIGNMENT_ACTIVE] = {
                E(RELEASE) = NEXT(RELEASING),
                E(ATTACH) = NEXT(ACTIVE),
                E(DEVICE_LOST) = NEXT(LOST),
        },
        [ASSIGNMENT_RELEASING] = {
                E(UNHELD) = NEXT(CLEANING),
                E(RESTORE_FAILED) = NEXT(FAILED),
                E(DEVICE_LOST) = NEXT(RELEASING),
        },
        [ASSIGNMENT_CLEANING] = {
                E(CLEANED) = NEXT(RELEASED),
                E(REST) = NEXT(RESERVED),
                E(RESTORE_FAILED) = NEXT(FAILED),
                E(DEVICE_LOST) = NEXT(CLEANING),
        },
        [ASSIGNMENT_RELEASED] = {},
        [ASSIGNMENT_RESERVED] = {
                E(RELEASE) = NEXT(RELEASING),
                E(ATTACH) = NEXT(PREPARING),
                E(DEVICE_LOST) = NEXT(LOST),
        },
        [ASSIGNMENT_RECOVERING] = {
                E(RELEASE) = NEXT(RELEASING),
                E(DEVICE_LOST) = NEXT(LOST),
        },
        [ASSIGNMENT_REMOVING] = {
                E(RELEASE) = NEXT(RELEASING),
                E(DEVICE_LOST) = NEXT(LOST),
        },
        [ASSIGNMENT_LOST] = {
                E(PREPARED) = NEXT(LOST),
                E(PREPARE_FAILED) = NEXT(FAILED),
                E(RELEASE) = NEXT(RELEASING),
                E(DEVICE_LOST) = NEXT(LOST),
        },
        [ASSIGNMENT_FAILED] = {
                E(RELEASE) = NEXT(RELEASING),
                E(DEVICE_LOST) = NEXT(FAILED),
        },
};

AssignmentState assignment_next(AssignmentState s, AssignmentEvent e) {
        if ((int) s < 0 || s >= _ASSIGNMENT_STATE_MAX)
                return _ASSIGNMENT_STATE_INVALID;
        if ((int) e < (int) EVENT_FIRST || e >= _ASSIGNMENT_EVENT_MAX)
                return _ASSIGNMENT_STATE_INVALID;
        uint8_t cell = transitions[s][e - EVENT_FIRST];
        return cell == 0 ? _ASSIGNMENT_STATE_INVALID : (AssignmentState) (cell - 1);
}

/* 8-4-4-4-12 lower-case hexadecimal digits. */
bool vf_token_is_valid(const char *s) {
        assert(s);
        for (size_t i = 0; i < VF_TOKEN_MAX - 1; i++) {
                bool dash = i == 8 || i == 13 || i == 18 || i == 23;

                if (dash ? s[i] != '-'
                         : !((s[i] >= '0' && s[i] <= '9') || (s[i] >= 'a' && s[i] <= 'f')))
                        return false;
        }
        return s[VF_TOKEN_MAX - 1] == 0;
}

int assignment_new(Assignment **ret) {
        assert(ret);

        Assignment *a = calloc(1, sizeof(Assignment));
        if (!a)
                return -ENOMEM;
        a->creator_uid = a->user_uid = UID_UNSET;
        a->user_gid = GID_UNSET;
        a->pidfd = -EBADF;
        a->next_notice = 1;
        *ret = a;
        return 0;
}

static void notice_done(AssignmentNotice *n) {
        free(n->kind);
        free(n->device);
        free(n->details);
        *n = (AssignmentNotice) {};
}

Assignment *assignment_free(Assignment *a) {
        if (!a)
                return NULL;
        for (size_t n = 0; n < EVENTS_MAX; n++)
                notice_done(&a->notices[n]);
        free(a->owner);
        strv_free(a->labels);
        free(a->bus_name);
        (void) safe_close(a->pidfd);
        free(a->request_id);
        free(a->force_reason);
        free(a->policy);
        plan_free(a->plan);
        strv_free(a->differs);
        strv_free(a->missing);
        free(a);
        return NULL;
}

void assignment_set_state(Assignment *a, AssignmentState s) {
        assert(a);
        assert((int) s >= 0 && s < _ASSIGNMENT_STATE_MAX);

        a->state = s;
}

int assignment_devices(const Assignment *a, bool with_parked, char ***ret) {
        assert(a);
        assert(ret);

        _cleanup_strv_ char **v = NULL;
        for (size_t n = 0; a->plan && n < a->plan->n_devices; n++) {
                const PlanDevice *d = &a->plan->devices[n];
                if (!d->requested && !with_parked)
                        continue;
                int r = strv_extend(&v, PCI_ADDRESS_TEXT(d->address));
                if (r < 0)
                        return r;
        }
        if (!v) {
                v = calloc(1, sizeof(char *));
                if (!v)
                        return -ENOMEM;
        }
        *ret = TAKE_PTR(v);
        return 0;
}

int assignment_add_notice(Assignment *a, usec_t at, const char *kind, const char *device,
                          const char *details, const AssignmentNotice **ret) {
        assert(a);
        assert(kind);

        _cleanup_free_ char *k = strdup(kind), *d = NULL, *j = NULL;
        if (!k || free_and_strdup(&d, device) < 0 || free_and_strdup(&j, details) < 0)
                return -ENOMEM;

        AssignmentNotice *n = &a->notices[a->next_notice % EVENTS_MAX];
        notice_done(n);
        *n = (AssignmentNotice) {
                .number = a->next_notice++,
                .at = at,
                .kind = TAKE_PTR(k),
                .device = TAKE_PTR(d),
                .details = TAKE_PTR(j),
        };
        if (ret)
                *ret = n;
        return 0;
}

const AssignmentNotice *assignment_get_notice(const Assignment *a, uint64_t number) {
        assert(a);

        const AssignmentNotice *n = &a->notices[number % EVENTS_MAX];
        return number > 0 && n->number == number ? n : NULL;
}

size_t assignment_count_pending(const Assignment *a) {
        assert(a);

        size_t count = 0;
        for (size_t n = 0; n < EVENTS_MAX; n++)
                if (a->notices[n].number > 0 && !a->notices[n].acknowledged)
                        count++;
        return count;
}

int assignment_acknowledge(Assignment *a, uint64_t number) {
        assert(a);

        if (number == 0 || number >= a->next_notice)
                return -ENOENT;
        for (size_t n = 0; n < EVENTS_MAX; n++)
                if (a->notices[n].number > 0 && a->notices[n].number <= number)
                        a->notices[n].acknowledged = true;
        return 0;
}
