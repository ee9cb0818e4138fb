/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Messages between daemon and worker. Input: a byte that says which kind, then the payload.
 * Invariants: decoding stays inside and frees what it took; an accepted request encodes to a
 * request that is accepted again.
 */

#include "fuzz.h"
#include "host/protocol.h"

static void try_request(Decoder *d) {
        _cleanup_(protocol_request_done) ProtocolRequest r = {}, again = {};
        _cleanup_encoder_ Encoder e = {};
        const int fds[] = { 0, 1 };
        int out[PROTOCOL_FDS_MAX];
        Decoder back;

        if (decode_request(d, fds, ELEMENTSOF(fds), &r) < 0)
                return;
        encode_request(&e, &r.request);
        fuzz_require(e.error == 0);
        back = DECODER(e.data, e.size);
        fuzz_require(decode_request(&back, out, protocol_request_fds(&r.request, out), &again) ==
                     0);
}

static void try_device(Decoder *d) {
        HostDeviceFacts facts = {};
        bool last;

        (void) decode_device(d, &facts, &last);
        free(facts.config);
        if (facts.live)
                pci_live_done(facts.live);
        free(facts.live);
        if (facts.use)
                pci_use_done(facts.use);
        free(facts.use);
}

static void try_group(Decoder *d) {
        IommuGroupFacts g;

        if (decode_group(d, &g) == 0)
                iommu_group_facts_done(&g);
}

static void try_slot(Decoder *d) {
        PciSlotFacts s;

        if (decode_slot(d, &s) == 0)
                pci_slot_facts_done(&s);
}

static void try_platform(Decoder *d) {
        HostPlatform p;

        if (decode_platform(d, &p) == 0)
                host_platform_done(&p);
}

static void try_result(Decoder *d) {
        PciHolder *holders = NULL;
        HostResult r;

        if (decode_result(d, &r, &holders) == 0)
                fuzz_require(r.outcome < _HOST_OUTCOME_MAX && r.code < _ERROR_MAX);
        free(holders);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static void (*const targets[])(Decoder *d) = {
                try_request, try_device, try_group, try_slot, try_platform, try_result,
        };
        HostFd f;
        ProtocolStep steps[PROTOCOL_STEPS_MAX];
        size_t n;
        Decoder d;

        if (size < 1)
                return 0;
        d = DECODER(data + 1, size - 1);
        if (data[0] < ELEMENTSOF(targets))
                targets[data[0]](&d);
        else if (data[0] & 1)
                (void) decode_fd(&d, &f);
        else
                (void) decode_steps(&d, steps, &n);
        return 0;
}
