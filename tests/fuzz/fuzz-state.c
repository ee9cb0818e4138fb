/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What is kept over a reboot. Input: a byte that says which kind and whether the checksum is made
 * to fit, then the text of the file. Invariants: parsing stays inside; what is taken is written
 * again, is taken again and is then the very same text; a checksum that does not fit is never
 * taken; the identity matches itself.
 */

#include "base/strutil.h"
#include "fuzz.h"
#include "host/state-dir.h"
#include "store/state.h"

#define PREFIX_FORMAT "{\"crc32c\":\"%08x\","

static void use_device(const KeptDevice *d) {
        _cleanup_free_ char *name = NULL, *text = NULL, *same = NULL, *again = NULL;
        KeptDevice back;

        fuzz_require(kept_device_to_file(d, &name, &text) == 0);
        fuzz_require(text && state_dir_name_is_valid(name));
        fuzz_require(kept_device_parse(text, strlen(text), &back) == 0);
        fuzz_require(kept_device_to_file(&back, &same, &again) == 0);
        fuzz_require(streq(text, again) && streq(name, same));
        fuzz_require(device_identity_same_card(&d->identity, &back.identity));
        kept_device_done(&back);
}

static void use_reservation(const KeptReservation *r) {
        _cleanup_free_ char *name = NULL, *text = NULL, *same = NULL, *again = NULL;
        KeptReservation back;

        fuzz_require(r->n_requested > 0 && r->n_requested <= r->n_devices);
        if (kept_reservation_to_file(r, &name, &text) == -E2BIG) /* escapes may grow */
                return;
        fuzz_require(state_dir_name_is_valid(name));
        fuzz_require(kept_reservation_parse(text, strlen(text), &back) == 0);
        fuzz_require(kept_reservation_to_file(&back, &same, &again) == 0);
        fuzz_require(streq(text, again) && streq(name, same));
        kept_reservation_done(&back);
}

static void gather(const char *text, size_t n) {
        KeptState s = {};

        fuzz_require(kept_state_add(&s, "device-0123456789abcdef.json", text, n) == 0);
        fuzz_require(kept_state_add(&s, "reservation-0123456789abcdef0123456789abcdef.json", text,
                                    n) == 0);
        fuzz_require(s.n_devices + s.n_reservations + strv_length(s.problems) == 2);
        kept_state_done(&s);
}

static void parse(bool reservation, const char *text, size_t n) {
        KeptReservation r;
        KeptDevice d;

        if (reservation && kept_reservation_parse(text, n, &r) == 0) {
                use_reservation(&r);
                kept_reservation_done(&r);
        } else if (!reservation && kept_device_parse(text, n, &d) == 0) {
                use_device(&d);
                kept_device_done(&d);
        }
        gather(text, n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_free_ char *text = NULL, *sealed = NULL;

        if (size < 1)
                return 0;
        text = fuzz_text(data + 1, size - 1);
        if (!(data[0] & 2)) {
                parse(data[0] & 1, text, size - 1);
                return 0;
        }
        if (strlen(text) != size - 1)
                return 0;
        sealed = strjoinf(PREFIX_FORMAT "%s", crc32c(0, text, size - 1), text);
        fuzz_require(sealed);
        parse(data[0] & 1, sealed, strlen(sealed));
        return 0;
}
