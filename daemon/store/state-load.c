/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * All that is kept, gathered from files: each is taken, or told as a problem with its name and the
 * reason, and passed over. A file must be the one that its content would be written to: a copy
 * under another name is no second owner. Lives of the gathered things are here too. No I/O.
 */

#include <assert.h>

#include "base/strutil.h"
#include "store/state.h"

void kept_device_done(KeptDevice *d) {
        assert(d);
        device_identity_done(&d->identity);
        free(d->quarantine);
        free(d->dirty_owner);
        *d = (KeptDevice) {};
}

int kept_device_copy(const KeptDevice *d, KeptDevice *ret) {
        KeptDevice copy;
        int r;

        assert(d);
        assert(ret);
        copy = (KeptDevice) { .dirty_uid = d->dirty_uid, .since = d->since };
        r = device_identity_copy(&d->identity, &copy.identity);
        if (r >= 0)
                r = free_and_strdup(&copy.quarantine, d->quarantine);
        if (r >= 0)
                r = free_and_strdup(&copy.dirty_owner, d->dirty_owner);
        if (r < 0) {
                kept_device_done(&copy);
                return r;
        }
        *ret = copy;
        return 0;
}

void kept_reservation_done(KeptReservation *r) {
        assert(r);
        free(r->owner);
        strv_free(r->labels);
        free(r->request_id);
        free(r->force_reason);
        for (size_t i = 0; i < r->n_devices; i++)
                device_identity_done(r->devices + i);
        free(r->devices);
        strv_free(r->drivers);
        *r = (KeptReservation) {};
}

void kept_state_done(KeptState *s) {
        assert(s);
        for (size_t i = 0; i < s->n_devices; i++)
                kept_device_done(s->devices + i);
        for (size_t i = 0; i < s->n_reservations; i++)
                kept_reservation_done(s->reservations + i);
        free(s->devices);
        free(s->reservations);
        strv_free(s->problems);
        strv_free(s->damaged);
        *s = (KeptState) {};
}

static const char *reason_text(int error) {
        switch (error) {
        case -EPROTONOSUPPORT:
                return "a newer version wrote it; start that version, or move the file away";
        case -EBADMSG:
                return "its content is damaged; restore it, or move it away once its device was "
                       "looked at";
        case -EEXIST:
                return "its content belongs to another file name; move it away";
        default:
                return strempty(strerrordesc_np(-error));
        }
}

int kept_state_add_error(KeptState *s, const char *name, int error) {
        _cleanup_free_ char *text = strjoinf("%s: %s", name, reason_text(error));
        int r;

        assert(s);
        assert(name);
        if (!text)
                return -ENOMEM;
        r = strv_extend(&s->problems, text);
        return r < 0 ? r : strv_extend(&s->damaged, name);
}

static int add_device(KeptState *s, const char *name, const char *text, size_t n) {
        char expected[STATE_NAME_MAX];
        KeptDevice d;
        int r = kept_device_parse(text, n, &d);

        if (r < 0)
                return r;
        if (!kept_device_name(&d.identity, expected) || !streq(expected, name))
                r = -EEXIST;
        else
                r = ARRAY_RESERVE_ONE(s->devices, s->n_devices, s->devices_allocated);
        if (r < 0) {
                kept_device_done(&d);
                return r;
        }
        s->devices[s->n_devices++] = d;
        return 0;
}

static int add_reservation(KeptState *s, const char *name, const char *text, size_t n) {
        char expected[STATE_NAME_MAX];
        KeptReservation kept;
        int r = kept_reservation_parse(text, n, &kept);

        if (r < 0)
                return r;
        kept_reservation_name(kept.id, expected);
        r = streq(expected, name) ? ARRAY_RESERVE_ONE(s->reservations, s->n_reservations,
                                                      s->reservations_allocated)
                                  : -EEXIST;
        if (r < 0) {
                kept_reservation_done(&kept);
                return r;
        }
        s->reservations[s->n_reservations++] = kept;
        return 0;
}

int kept_state_add(KeptState *s, const char *name, const char *text, size_t n) {
        int r;

        assert(s);
        assert(name);
        if (strncmp(name, "device-", strlen("device-")) == 0)
                r = add_device(s, name, text, n);
        else
                r = add_reservation(s, name, text, n);
        return r < 0 && r != -ENOMEM ? kept_state_add_error(s, name, r) : r;
}
