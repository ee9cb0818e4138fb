/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A plan from the journal or the daemon. Input: the bytes. Invariants: decoding stays inside, an
 * accepted plan encodes to the very same bytes, can be copied, printed and asked for its groups.
 */

#include "fuzz.h"
#include "plan/codec.h"

static void use_plan(const Plan *p) {
        _cleanup_(plan_freep) Plan *copy = NULL;
        _cleanup_free_ uint32_t *groups = NULL;
        _cleanup_json_ Json *j = NULL;
        size_t n;

        fuzz_require(plan_copy(p, &copy) == 0);
        fuzz_require(plan_groups(p, &groups, &n) == 0 && n <= p->n_devices + p->n_steps);
        for (size_t i = 0; i < p->n_steps; i++) {
                _cleanup_free_
                char *text = step_describe(p->steps + i), *undo = step_describe_undo(p->steps + i);

                fuzz_require(text && undo);
        }
        (void) plan_has_removal(p);
        j = plan_to_json(p);
        fuzz_require(j);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_(plan_freep) Plan *p = NULL;
        _cleanup_encoder_ Encoder e = {};
        Decoder d = DECODER(data, size);

        if (decode_plan(&d, &p) < 0)
                return 0;
        encode_plan(&e, p);
        fuzz_require(e.error == 0 && e.size == d.position);
        fuzz_require(memcmp(e.data, data, e.size) == 0);
        use_plan(p);
        return 0;
}
