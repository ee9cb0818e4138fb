/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The codec of journal and worker protocol: what is encoded decodes to the same; what is cut at any
 * byte, or has bytes left over, does not decode.
 */

#include <sys/socket.h>

#include "base/strutil.h"
#include "host/protocol.h"
#include "plan/codec.h"
#include "unit.h"

static Plan *make_plan(void) {
        Plan *p = plan_new(PLAN_RELEASE);
        PlanDevice *d = plan_add_device(p, (PciAddress) { 0x10000, 0xe1, 31, 7 });

        (void) string_copy(p->id, sizeof(p->id), "00112233445566778899aabbccddeeff");
        d->group = UINT32_MAX;
        d->vendor = 0xffff;
        d->requested = true;
        ck_assert_int_eq(free_and_strdup(&d->driver_before, ""), 0);
        ck_assert_int_eq(free_and_strdup(&d->used_by, "net ens3 — é"), 0);
        ck_assert_int_eq(step_set(plan_add_device_step(p, STEP_PROBE, d), NULL, "", "virtio-pci"),
                         0);
        ck_assert_int_eq(step_set(plan_add_step(p, STEP_TRIAL_ATTACH, 3), NULL, NULL, NULL), 0);
        p->steps[1].timeout_msec = 1;
        return p;
}

START_TEST(test_numbers) {
        _cleanup_encoder_ Encoder e = {};
        Decoder d;
        size_t n;
        char *s;

        encode_u8(&e, 0xfe);
        encode_u16(&e, 0x1234);
        encode_u32(&e, 0x89abcdef);
        encode_u64(&e, UINT64_C(0x0123456789abcdef));
        encode_bytes(&e, "\0x", 2);
        encode_string(&e, NULL);
        encode_string(&e, "");
        encode_string(&e, "text");
        ck_assert_int_eq(e.error, 0);
        ck_assert_uint_eq(e.data[1], 0x34); /* little-endian */
        d = DECODER(e.data, e.size);
        ck_assert_uint_eq(decode_u8(&d), 0xfe);
        ck_assert_uint_eq(decode_u16(&d), 0x1234);
        ck_assert_uint_eq(decode_u32(&d), 0x89abcdef);
        ck_assert(decode_u64(&d) == UINT64_C(0x0123456789abcdef));
        ck_assert_mem_eq(decode_bytes(&d, 2, &n), "\0x", 2);
        ck_assert_uint_eq(n, 2);
        ck_assert_int_eq(decode_string(&d, 10, &s), 0);
        ck_assert_ptr_null(s);
        ck_assert_int_eq(decode_string(&d, 10, &s), 0);
        ck_assert_str_eq(s, "");
        free(s);
        ck_assert_int_eq(decode_string(&d, 4, &s), 0);
        ck_assert_str_eq(s, "text");
        free(s);
        ck_assert_int_eq(decoder_finish(&d), 0);
}
END_TEST

static const struct {
        const char *bytes;
        size_t size, max;
} bad_strings[] = {
        { "\5\0\0\0text", 8, 100 },            /* longer than what is left */
        { "\4\0\0\0te\0t", 8, 100 },           /* a NUL inside */
        { "\4\0\0\0text", 8, 3 },              /* above the limit */
        { "\xfe\xff\xff\xff", 4, SIZE_MAX },   /* almost NULL */
        { "\1\0\0", 3, 100 },                  /* half a length */
};

START_TEST(test_bad_strings) {
        Decoder d = DECODER((const uint8_t *) bad_strings[_i].bytes, bad_strings[_i].size);
        char *s = (char *) "untouched";

        ck_assert_int_eq(decode_string(&d, bad_strings[_i].max, &s), -EBADMSG);
        ck_assert_str_eq(s, "untouched");
        ck_assert_uint_eq(decode_u32(&d), 0); /* the error sticks */
        ck_assert_int_eq(decoder_finish(&d), -EBADMSG);
}
END_TEST

START_TEST(test_encoder_limits) {
        _cleanup_encoder_ Encoder e = {};
        _cleanup_free_ char *s = calloc(1, CODEC_STRING_MAX + 2);

        memset(s, 'x', CODEC_STRING_MAX + 1);
        encode_string(&e, s);
        ck_assert_int_eq(e.error, -E2BIG);
        encode_u8(&e, 1);
        ck_assert_uint_eq(e.size, 0);
        encoder_reset(&e);
        s[CODEC_STRING_MAX] = 0;
        encode_string(&e, s);
        ck_assert_int_eq(e.error, 0);
        ck_assert_uint_eq(e.size, CODEC_STRING_MAX + 4);
}
END_TEST

START_TEST(test_plan) {
        _cleanup_(plan_freep) Plan *p = make_plan(), *back = NULL;
        _cleanup_encoder_ Encoder e = {}, again = {};
        Decoder d;

        encode_plan(&e, p);
        d = DECODER(e.data, e.size);
        ck_assert_int_eq(decode_plan(&d, &back), 0);
        ck_assert_int_eq(decoder_finish(&d), 0);
        ck_assert_str_eq(back->id, p->id);
        ck_assert_ptr_null(back->devices[0].driver);
        ck_assert_str_eq(back->devices[0].driver_before, "");
        ck_assert_uint_eq(back->steps[1].timeout_msec, 1);
        encode_plan(&again, back);
        ck_assert_uint_eq(again.size, e.size);
        ck_assert_mem_eq(again.data, e.data, e.size);
}
END_TEST

START_TEST(test_plan_truncated) {
        _cleanup_(plan_freep) Plan *p = make_plan();
        _cleanup_encoder_ Encoder e = {};

        encode_plan(&e, p);
        for (size_t n = 0; n < e.size; n++) {
                _cleanup_free_ uint8_t *cut = malloc(n + 1);
                Plan *back = NULL;
                Decoder d;

                memcpy(cut, e.data, n);
                d = DECODER(cut, n);
                ck_assert_int_eq(decode_plan(&d, &back), -EBADMSG);
                ck_assert_ptr_null(back);
        }
        encode_u8(&e, 0);
        {
                _cleanup_(plan_freep) Plan *back = NULL;
                Decoder d = DECODER(e.data, e.size);

                ck_assert_int_eq(decode_plan(&d, &back), 0);
                ck_assert_int_eq(decoder_finish(&d), -EBADMSG);
        }
}
END_TEST

/* ---- the worker protocol ---- */

START_TEST(test_device) {
        _cleanup_free_ PciConfig *config = calloc(1, sizeof(PciConfig));
        _cleanup_encoder_ Encoder e = {};
        HostDeviceFacts facts = {};
        PciLive live = {};
        PciUse use = {};
        ProtocolDevice v = { .address = { 0, 1, 2, 3 },
                             .error = -EIO,
                             .what = HOST_READ_CONFIG,
                             .last = true,
                             .config = config,
                             .live = &live,
                             .use = &use };
        uint8_t header[64] = { 0x86, 0x80, 0xd3, 0x10, 7, 4 };
        Decoder d;
        bool last;

        pci_config_init(config, 4096);
        ck_assert_int_eq(pci_config_set(config, 0, header, sizeof(header)), 0);
        ck_assert_int_eq(pci_config_set(config, 4092, header, 4), 0);
        ck_assert_int_eq(pci_live_set(&live, PCI_ATTRIBUTE_POWER_STATE, "D0", 0), 0);
        (void) pci_live_set(&live, PCI_ATTRIBUTE_DRIVER_OVERRIDE, NULL, ENOENT);
        (void) pci_live_set(&live, PCI_ATTRIBUTE_ENABLE, NULL, EIO);
        ck_assert_int_eq(pci_use_add_child(&use, "net", "ens3"), 0);
        ck_assert_int_eq(
                pci_use_add_critical(&use, PCI_CRITICAL_ROUTE, "0000:01:02.3 → ens3 → default"), 0);
        encode_device(&e, &v);
        for (size_t n = 0; n <= e.size; n++) {
                facts = (HostDeviceFacts) {};
                d = DECODER(e.data, n);
                ck_assert_int_eq(decode_device(&d, &facts, &last), n < e.size ? -EBADMSG : 0);
                if (n < e.size) {
                        free(facts.config);
                        if (facts.live)
                                pci_live_done(facts.live);
                        free(facts.live);
                        if (facts.use)
                                pci_use_done(facts.use);
                        free(facts.use);
                }
        }
        ck_assert(last && facts.error == -EIO && facts.what == HOST_READ_CONFIG);
        ck_assert_uint_eq(facts.config->command, 0x0407);
        ck_assert_str_eq(facts.live->attributes[PCI_ATTRIBUTE_POWER_STATE].text, "D0");
        ck_assert_uint_eq(facts.live->attributes[PCI_ATTRIBUTE_DRIVER_OVERRIDE].state, FACT_ABSENT);
        ck_assert_uint_eq(facts.live->attributes[PCI_ATTRIBUTE_ENABLE].state, FACT_UNREADABLE);
        ck_assert_uint_eq(facts.live->attributes[PCI_ATTRIBUTE_RESIZE_0].state, FACT_UNREAD);
        ck_assert_str_eq(facts.use->children[0].name, "ens3");
        ck_assert_str_eq(facts.use->criticals[0].proof, "0000:01:02.3 → ens3 → default");
        free(facts.config);
        pci_live_done(facts.live);
        free(facts.live);
        pci_use_done(facts.use);
        free(facts.use);
        pci_live_done(&live);
        pci_use_done(&use);
}
END_TEST

START_TEST(test_result) {
        const PciHolder holder = { .pid = 812, .uid = 107, .comm = "qemu", .unit = "machine.slice",
                                   .what = "/dev/vfio/7" };
        const HostResult r = { .outcome = HOST_OUTCOME_ROLLED_BACK,
                               .error = -EBUSY,
                               .code = ERROR_BUSY,
                               .message = "why",
                               .failed_step = 3,
                               .holders = &holder,
                               .n_holders = 1 };
        _cleanup_encoder_ Encoder e = {};
        PciHolder *holders = NULL;
        HostResult back;
        Decoder d;

        encode_result(&e, &r);
        for (size_t n = 0; n < e.size; n++) {
                d = DECODER(e.data, n);
                ck_assert_int_eq(decode_result(&d, &back, &holders), -EBADMSG);
        }
        d = DECODER(e.data, e.size);
        ck_assert_int_eq(decode_result(&d, &back, &holders), 0);
        ck_assert_int_eq(back.outcome, r.outcome);
        ck_assert_int_eq(back.error, -EBUSY);
        ck_assert_uint_eq(back.failed_step, 3);
        ck_assert_str_eq(back.message, "why");
        ck_assert_uint_eq(back.n_holders, 1);
        ck_assert_uint_eq(back.holders[0].pid, 812);
        ck_assert_str_eq(back.holders[0].what, "/dev/vfio/7");
        free(holders);
}
END_TEST

START_TEST(test_steps) {
        const ProtocolStep steps[] = { { .step = 2, .done = true, .error = -EIO },
                                       { .step = 1, .undo = true } };
        ProtocolStep back[PROTOCOL_STEPS_MAX];
        _cleanup_encoder_ Encoder e = {};
        size_t n = 0;
        Decoder d;

        encode_steps(&e, steps, ELEMENTSOF(steps));
        for (size_t k = 0; k < e.size; k++) {
                d = DECODER(e.data, k);
                ck_assert_int_eq(decode_steps(&d, back, &n), -EBADMSG);
        }
        encode_u8(&e, 7); /* what follows */
        d = DECODER(e.data, e.size);
        ck_assert_int_eq(decode_steps(&d, back, &n), 0);
        ck_assert_uint_eq(n, 2);
        ck_assert(back[0].step == 2 && back[0].done && !back[0].undo && back[0].error == -EIO);
        ck_assert(back[1].step == 1 && !back[1].done && back[1].undo);
        ck_assert_uint_eq(decode_u8(&d), 7);
        e.data[0] = PROTOCOL_STEPS_MAX + 1;
        d = DECODER(e.data, e.size);
        ck_assert_int_eq(decode_steps(&d, back, &n), -EBADMSG);
}
END_TEST

static const HostRequest requests[] = {
        { .type = HOST_REQUEST_READ, .what = 5, .container_fd = -1, .iommufd = -1, .pidfd = -1 },
        { .type = HOST_REQUEST_OPEN,
          .api = HOST_API_GROUP,
          .want_groups = true,
          .container_fd = -1,
          .iommufd = -1,
          .pidfd = -1 },
        { .type = HOST_REQUEST_SNAPSHOT,
          .redact = true,
          .container_fd = -1,
          .iommufd = -1,
          .pidfd = -1 },
        { .type = HOST_REQUEST_PLATFORM, .container_fd = -1, .iommufd = -1, .pidfd = -1 },
        { .type = HOST_REQUEST_PREPARE, .container_fd = -1, .iommufd = -1, .pidfd = -1 },
        { .type = HOST_REQUEST_PROCESS,
          .memlock = 1 << 30,
          .signal = 15,
          .container_fd = -1,
          .iommufd = -1,
          .pidfd = 0 },
};

START_TEST(test_request) {
        _cleanup_(protocol_request_done) ProtocolRequest back = {};
        _cleanup_encoder_ Encoder e = {}, again = {};
        int fds[PROTOCOL_FDS_MAX];
        size_t n_fds = protocol_request_fds(requests + _i, fds);
        Decoder d;

        encode_request(&e, requests + _i);
        ck_assert_int_eq(e.error, 0);
        for (size_t n = 0; n < e.size; n++) {
                d = DECODER(e.data, n);
                ck_assert_int_eq(decode_request(&d, fds, n_fds, &back), -EBADMSG);
        }
        d = DECODER(e.data, e.size);
        ck_assert_int_eq(decode_request(&d, fds, n_fds, &back), 0);
        ck_assert_int_eq(back.request.type, requests[_i].type);
        encode_request(&again, &back.request);
        ck_assert_uint_eq(again.size, e.size);
        ck_assert_mem_eq(again.data, e.data, e.size);
        if (n_fds > 0) { /* a descriptor is promised and none came */
                ProtocolRequest none = {};

                d = DECODER(e.data, e.size);
                ck_assert_int_eq(decode_request(&d, NULL, 0, &none), -EBADMSG);
        }
}
END_TEST

/* Over a real socket, small and large. */
START_TEST(test_messages) {
        static const size_t sizes[] = { 0, 1, PROTOCOL_INLINE_MAX, PROTOCOL_INLINE_MAX + 1,
                                        1 << 20 };
        _cleanup_(protocol_message_done) ProtocolMessage m = {};
        _cleanup_encoder_ Encoder e = {};
        size_t n = sizes[_i];
        int pair[2], null[1] = { 0 };

        ck_assert_int_eq(
                socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
        ck_assert_int_eq(protocol_receive(pair[1], &m), -EAGAIN);
        for (size_t i = 0; i < n; i++)
                encode_u8(&e, (uint8_t) i);
        ck_assert_int_eq(protocol_send(pair[0], PROTOCOL_GROUP, &e, null, 1), 0);
        ck_assert_int_eq(protocol_receive(pair[1], &m), 1);
        ck_assert_int_eq(m.type, PROTOCOL_GROUP);
        ck_assert_uint_eq(m.size, n);
        ck_assert_uint_eq(m.n_fds, 1);
        ck_assert(n == 0 || memcmp(m.payload, e.data, n) == 0);
        (void) close(pair[0]);
        protocol_message_done(&m);
        ck_assert_int_eq(protocol_receive(pair[1], &m), 0);
        (void) close(pair[1]);
}
END_TEST

START_TEST(test_bad_messages) {
        static const struct {
                const char *bytes;
                size_t size;
        } bad[] = { { "x", 1 },
                    { "\xff\0", 2 },
                    { "\1\2", 2 },
                    { "\1\1", 2 } /* a memory file that is not there */ };
        ProtocolMessage m = {};
        int pair[2];

        ck_assert_int_eq(
                socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                ck_assert_int_eq(send(pair[0], bad[i].bytes, bad[i].size, 0),
                                 (ssize_t) bad[i].size);
                ck_assert_int_eq(protocol_receive(pair[1], &m), -EBADMSG);
        }
        (void) close(pair[0]);
        (void) close(pair[1]);
}
END_TEST

static void add(TCase *tcase) {
        tcase_add_test(tcase, test_numbers);
        ADD_TABLE(tcase, test_bad_strings, bad_strings);
        tcase_add_test(tcase, test_encoder_limits);
        tcase_add_test(tcase, test_plan);
        tcase_add_test(tcase, test_plan_truncated);
        tcase_add_test(tcase, test_device);
        tcase_add_test(tcase, test_result);
        tcase_add_test(tcase, test_steps);
        ADD_TABLE(tcase, test_request, requests);
        tcase_add_loop_test(tcase, test_messages, 0, 5);
        tcase_add_test(tcase, test_bad_messages);
}

UNIT_MAIN("codec", add);
