/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What is kept over a reboot: documents there and back, every truncation and every flipped bit of
 * them, other versions, identities, and the files of the directory with the hands that get at them.
 */

#include <fcntl.h>
#include <sys/stat.h>

#include "base/fdio.h"
#include "base/strutil.h"
#include "host/state-dir.h"
#include "store/state.h"
#include "unit.h"

#define ID "0123456789abcdef0123456789abcdef"
#define DEVICE_FILE "device-00112233445566aa.json"

static KeptDevice a_device(void) {
        KeptDevice d = {
                .identity = { .vendor = 0x10de,
                              .device = 0x2330,
                              .subsystem_vendor = 0x10de,
                              .subsystem_device = 0x16c1,
                              .has_dsn = true,
                              .dsn = UINT64_C(0x48b02d3f1a2b3c4d) },
                .dirty_uid = 1001,
                .since = 1700000000000000,
        };

        d.identity.port_path = strdup("0000:40/01.0/00.0");
        d.identity.vpd_serial = strdup("1654922006012");
        d.quarantine = strdup("it did not come back from its reset");
        d.dirty_owner = strdup("vm-1");
        return d;
}

static KeptReservation a_reservation(void) {
        KeptReservation r = {
                .id = ID,
                .creator_uid = 1001,
                .user_uid = 64055,
                .user_gid = 108,
                .request_hash = 77,
                .by_node = true,
                .force = true,
                .memlock = UINT64_MAX,
                .n_devices = 2,
                .n_requested = 1,
        };
        KeptDevice d = a_device();

        r.owner = strdup("vm-1");
        r.request_id = strdup("request 1");
        r.force_reason = strdup("because");
        ck_assert_int_eq(strv_extend(&r.labels, "cluster=a"), 0);
        ck_assert_int_eq(strv_extend(&r.drivers, "vfio-pci"), 0);
        ck_assert_int_eq(strv_extend(&r.drivers, "mlx5_vfio_pci"), 0);
        r.devices = calloc(2, sizeof(DeviceIdentity));
        ck_assert_ptr_nonnull(r.devices);
        ck_assert_int_eq(device_identity_copy(&d.identity, r.devices), 0);
        r.devices[1] = (DeviceIdentity){ .vendor = 0x8086,
                                         .device = 1,
                                         .port_path = strdup("0000:40/01.0/00.1") };
        kept_device_done(&d);
        return r;
}

START_TEST(test_device_there_and_back) {
        _cleanup_free_ char *name = NULL, *text = NULL, *again = NULL, *same = NULL;
        KeptDevice d = a_device(), back;

        ck_assert_int_eq(kept_device_to_file(&d, &name, &text), 0);
        ck_assert(state_dir_name_is_valid(name));
        ck_assert_int_eq(kept_device_parse(text, strlen(text), &back), 0);
        ck_assert_str_eq(back.quarantine, d.quarantine);
        ck_assert_str_eq(back.dirty_owner, "vm-1");
        ck_assert_uint_eq(back.dirty_uid, 1001);
        ck_assert_uint_eq(back.since, d.since);
        ck_assert_str_eq(back.identity.vpd_serial, "1654922006012");
        ck_assert(back.identity.has_dsn && back.identity.dsn == d.identity.dsn);
        ck_assert_int_eq(kept_device_to_file(&back, &same, &again), 0);
        ck_assert_str_eq(same, name);
        ck_assert_str_eq(again, text);
        kept_device_done(&back);
        kept_device_done(&d);
}
END_TEST

/* Nothing to keep is no file. */
START_TEST(test_clean_device_is_no_file) {
        _cleanup_free_ char *name = NULL, *text = NULL;
        KeptDevice d = a_device();

        d.quarantine = (free(d.quarantine), NULL);
        d.dirty_owner = (free(d.dirty_owner), NULL);
        ck_assert_int_eq(kept_device_to_file(&d, &name, &text), 0);
        ck_assert_ptr_null(text);
        ck_assert_ptr_nonnull(name);
        kept_device_done(&d);
}
END_TEST

START_TEST(test_reservation_there_and_back) {
        _cleanup_free_ char *name = NULL, *text = NULL, *again = NULL, *same = NULL;
        KeptReservation r = a_reservation(), back;

        ck_assert_int_eq(kept_reservation_to_file(&r, &name, &text), 0);
        ck_assert(state_dir_name_is_valid(name));
        ck_assert_int_eq(kept_reservation_parse(text, strlen(text), &back), 0);
        ck_assert_str_eq(back.id, ID);
        ck_assert_uint_eq(back.user_uid, 64055);
        ck_assert_uint_eq(back.memlock, UINT64_MAX);
        ck_assert(back.force && back.by_node);
        ck_assert_uint_eq(back.n_devices, 2);
        ck_assert_uint_eq(back.n_requested, 1);
        ck_assert_str_eq(back.drivers[1], "mlx5_vfio_pci");
        ck_assert_int_eq(kept_reservation_to_file(&back, &same, &again), 0);
        ck_assert_str_eq(again, text);
        kept_reservation_done(&back);
        kept_reservation_done(&r);
}
END_TEST

/* Uids that are not set stay unset. */
START_TEST(test_reservation_without_options) {
        _cleanup_free_ char *name = NULL, *text = NULL;
        KeptReservation r = a_reservation(), back;

        r.user_uid = UID_UNSET;
        r.user_gid = GID_UNSET;
        r.force = r.by_node = false;
        r.request_id = (free(r.request_id), NULL);
        r.labels = (strv_free(r.labels), NULL);
        ck_assert_int_eq(kept_reservation_to_file(&r, &name, &text), 0);
        ck_assert_int_eq(kept_reservation_parse(text, strlen(text), &back), 0);
        ck_assert_uint_eq(back.user_uid, UID_UNSET);
        ck_assert_uint_eq(back.user_gid, GID_UNSET);
        ck_assert(!back.force && !back.by_node && !back.request_id && !back.labels);
        kept_reservation_done(&back);
        kept_reservation_done(&r);
}
END_TEST

/* ---- damage ---- */

static int parse_either(bool reservation, const char *text, size_t n) {
        KeptReservation r;
        KeptDevice d;
        int k;

        if (reservation) {
                k = kept_reservation_parse(text, n, &r);
                if (k >= 0)
                        kept_reservation_done(&r);
                return k;
        }
        k = kept_device_parse(text, n, &d);
        if (k >= 0)
                kept_device_done(&d);
        return k;
}

static char *text_of(bool reservation) {
        _cleanup_free_ char *name = NULL;
        char *text = NULL;

        if (reservation) {
                KeptReservation r = a_reservation();

                ck_assert_int_eq(kept_reservation_to_file(&r, &name, &text), 0);
                kept_reservation_done(&r);
        } else {
                KeptDevice d = a_device();

                ck_assert_int_eq(kept_device_to_file(&d, &name, &text), 0);
                kept_device_done(&d);
        }
        return text;
}

START_TEST(test_every_truncation) {
        _cleanup_free_ char *text = text_of(_i);

        for (size_t n = 0; n < strlen(text); n++)
                ck_assert_int_eq(parse_either(_i, text, n), -EBADMSG);
        ck_assert_int_eq(parse_either(_i, text, strlen(text)), 0);
}
END_TEST

START_TEST(test_every_bit) {
        _cleanup_free_ char *text = text_of(_i);
        size_t n = strlen(text);

        for (size_t bit = 0; bit < n * 8; bit++) {
                text[bit / 8] = (char) (text[bit / 8] ^ (1 << bit % 8));
                ck_assert_int_eq(parse_either(_i, text, n), -EBADMSG);
                text[bit / 8] = (char) (text[bit / 8] ^ (1 << bit % 8));
        }
}
END_TEST

/* A document of our own making, with a checksum that holds. */
static char *sealed(const char *body) {
        return strjoinf("{\"crc32c\":\"%08x\",%s", crc32c(0, body, strlen(body)), body);
}

#define DEVICE_BODY                \
        "\"port-path\":\"0000:40/" \
        "01.0\",\"vendor\":1,\"device\":2,\"subsystem-vendor\":3,\"subsystem-device\":4"

static const struct {
        bool reservation;
        const char *body;
        int result;
} documents[] = {
        { false, "\"version\":1," DEVICE_BODY ",\"quarantine\":\"q\",\"since\":1}", 0 },
        { false,
          "\"version\":1," DEVICE_BODY
          ",\"dsn\":\"00000000000000ff\",\"quarantine\":\"q\",\"since\":1}",
          0 },
        { false, "\"version\":2," DEVICE_BODY ",\"quarantine\":\"q\",\"since\":1}",
          -EPROTONOSUPPORT },
        { false, "\"version\":0," DEVICE_BODY ",\"quarantine\":\"q\",\"since\":1}", -EBADMSG },
        { false, DEVICE_BODY ",\"quarantine\":\"q\",\"since\":1}", -EBADMSG },
        { false, "\"version\":1," DEVICE_BODY ",\"since\":1}", -EBADMSG },
        { false, "\"version\":1," DEVICE_BODY ",\"quarantine\":\"q\"}", -EBADMSG },
        { false, "\"version\":1," DEVICE_BODY ",\"quarantine\":\"q\",\"since\":1,\"more\":1}",
          -EBADMSG },
        { false, "\"version\":1," DEVICE_BODY ",\"quarantine\":\"\",\"since\":1}", -EBADMSG },
        { false, "\"version\":1," DEVICE_BODY ",\"quarantine\":\"a\\u0007\",\"since\":1}",
          -EBADMSG },
        { false, "\"version\":1," DEVICE_BODY ",\"quarantine\":7,\"since\":1}", -EBADMSG },
        { false, "\"version\":1," DEVICE_BODY ",\"dirty-owner\":\"vm\",\"since\":1}", -EBADMSG },
        { false, "\"version\":1," DEVICE_BODY ",\"dirty-uid\":1,\"quarantine\":\"q\",\"since\":1}",
          -EBADMSG },
        { false,
          "\"version\":1," DEVICE_BODY
          ",\"dirty-owner\":\"vm\",\"dirty-uid\":4294967295,\"since\":1}",
          -EBADMSG },
        { false, "\"version\":1," DEVICE_BODY ",\"dsn\":\"ff\",\"quarantine\":\"q\",\"since\":1}",
          -EBADMSG },
        { false, "\"version\":1," DEVICE_BODY ",\"dsn\":7,\"quarantine\":\"q\",\"since\":1}",
          -EBADMSG },
        { false,
          "\"version\":1,\"port-path\":\"\\u0001\",\"vendor\":1,\"device\":2,\"subsystem-vendor\":"
          "3,"
          "\"subsystem-device\":4,\"quarantine\":\"q\",\"since\":1}",
          -EBADMSG },
        { false,
          "\"version\":1,\"port-path\":\"\",\"vendor\":65536,\"device\":2,\"subsystem-vendor\":3,"
          "\"subsystem-device\":4,\"quarantine\":\"q\",\"since\":1}",
          -EBADMSG },
        { false, "\"version\":1", -EBADMSG },
#define OWNER_BODY "\"version\":1,\"id\":\"" ID "\",\"owner\":\"vm\",\"creator-uid\":1,"
#define REST_BODY                                                                                  \
        "\"by-node\":false,\"memlock\":0,\"requested\":1,\"drivers\":[\"vfio-pci\"],\"devices\":[" \
        "{" DEVICE_BODY "}]}"
        { true, OWNER_BODY REST_BODY, 0 },
        { true, OWNER_BODY "\"surprise\":1," REST_BODY, -EBADMSG },
        { true, "\"version\":1,\"id\":\"xyz\",\"owner\":\"vm\",\"creator-uid\":1," REST_BODY,
          -EBADMSG },
        { true, "\"version\":1,\"owner\":\"vm\",\"creator-uid\":1," REST_BODY, -EBADMSG },
        { true, "\"version\":1,\"id\":\"" ID "\",\"creator-uid\":1," REST_BODY, -EBADMSG },
        { true, "\"version\":1,\"id\":\"" ID "\",\"owner\":\"vm\"," REST_BODY, -EBADMSG },
        { true, "\"version\":1,\"id\":\"" ID "\",\"owner\":\"vm\",\"creator-uid\":-1," REST_BODY,
          -EBADMSG },
        { true, OWNER_BODY "\"labels\":[\"no equals\"]," REST_BODY, -EBADMSG },
        { true, OWNER_BODY "\"labels\":7," REST_BODY, -EBADMSG },
        { true, OWNER_BODY "\"labels\":[7]," REST_BODY, -EBADMSG },
        { true, OWNER_BODY "\"request-id\":\"r\"," REST_BODY, -EBADMSG },
        { true, OWNER_BODY "\"request-hash\":\"0000000000000001\"," REST_BODY, -EBADMSG },
        { true,
          OWNER_BODY
          "\"by-node\":1,\"memlock\":0,\"requested\":1,\"drivers\":[\"vfio-pci\"],\"devices\":[]}",
          -EBADMSG },
        { true,
          OWNER_BODY
          "\"by-node\":false,\"memlock\":0,\"requested\":1,\"drivers\":[],\"devices\":[]}",
          -EBADMSG },
        { true,
          OWNER_BODY "\"by-node\":false,\"memlock\":0,\"requested\":2,\"drivers\":[\"vfio-pci\"],"
                     "\"devices\":[{" DEVICE_BODY "}]}",
          -EBADMSG },
        { true,
          OWNER_BODY "\"by-node\":false,\"memlock\":0,\"requested\":0,\"drivers\":[\"vfio-pci\"],"
                     "\"devices\":[{" DEVICE_BODY "}]}",
          -EBADMSG },
        { true,
          OWNER_BODY "\"by-node\":false,\"memlock\":0,\"requested\":1,\"drivers\":[\"nvidia\"],"
                     "\"devices\":[{" DEVICE_BODY "}]}",
          -EBADMSG },
        { true,
          OWNER_BODY "\"by-node\":false,\"memlock\":0,\"requested\":1,\"drivers\":[],\"devices\":["
                     "{" DEVICE_BODY "}]}",
          -EBADMSG },
        { true,
          OWNER_BODY "\"by-node\":false,\"memlock\":0,\"requested\":1,\"drivers\":[\"vfio-pci\"],"
                     "\"devices\":[{" DEVICE_BODY ",\"x\":1}]}",
          -EBADMSG },
        { true,
          OWNER_BODY "\"by-node\":false,\"memlock\":0,\"requested\":1,\"drivers\":[\"vfio-pci\"],"
                     "\"devices\":[7]}",
          -EBADMSG },
};

START_TEST(test_documents) {
        _cleanup_free_ char *text = sealed(documents[_i].body);

        ck_assert_ptr_nonnull(text);
        ck_assert_msg(parse_either(documents[_i].reservation, text, strlen(text)) ==
                              documents[_i].result,
                      "%s", text);
}
END_TEST

START_TEST(test_too_big_is_refused) {
        _cleanup_free_ char *name = NULL, *text = NULL, *huge = malloc(STATE_FILE_MAX + 2);
        KeptDevice d = a_device();

        ck_assert_ptr_nonnull(huge);
        memset(huge, 'x', STATE_FILE_MAX + 1);
        huge[STATE_FILE_MAX + 1] = 0;
        ck_assert_int_eq(parse_either(false, huge, STATE_FILE_MAX + 1), -EBADMSG);
        free(d.quarantine);
        d.quarantine = TAKE_PTR(huge);
        ck_assert_int_eq(kept_device_to_file(&d, &name, &text), -E2BIG);
        kept_device_done(&d);
}
END_TEST

/* ---- gathered ---- */

START_TEST(test_gathering) {
        _cleanup_free_
        char *name = NULL, *text = NULL, *device_name = NULL;
        KeptDevice d = a_device();
        KeptReservation r = a_reservation();
        KeptState s = {};

        ck_assert_int_eq(kept_reservation_to_file(&r, &name, &text), 0);
        ck_assert_int_eq(kept_state_add(&s, name, text, strlen(text)), 0);
        free(TAKE_PTR(text));
        ck_assert_int_eq(kept_device_to_file(&d, &device_name, &text), 0);
        ck_assert_int_eq(kept_state_add(&s, device_name, text, strlen(text)), 0);
        ck_assert_ptr_null(s.problems);
        /* Copies under other names, damage, and what could not be read. */
        ck_assert_int_eq(kept_state_add(&s, "device-0000000000000000.json", text, strlen(text)), 0);
        ck_assert_int_eq(
                kept_state_add(&s, "reservation-00000000000000000000000000000000.json", "{", 1), 0);
        ck_assert_int_eq(kept_state_add_error(&s, DEVICE_FILE, -EPERM), 0);
        ck_assert_int_eq(kept_state_add_error(&s, "device-1.json", -EPROTONOSUPPORT), 0);
        ck_assert_uint_eq(s.n_devices, 1);
        ck_assert_uint_eq(s.n_reservations, 1);
        ck_assert_uint_eq(strv_length(s.problems), 4);
        ck_assert(strv_contains(s.damaged, DEVICE_FILE));
        kept_state_done(&s);
        kept_reservation_done(&r);
        kept_device_done(&d);
}
END_TEST

/* A reservation under another one's name is none. */
START_TEST(test_renamed_reservation) {
        _cleanup_free_ char *text = text_of(true);
        KeptState s = {};

        ck_assert_int_eq(kept_state_add(&s, "reservation-00000000000000000000000000000000.json",
                                        text, strlen(text)),
                         0);
        ck_assert_uint_eq(s.n_reservations, 0);
        ck_assert_uint_eq(strv_length(s.problems), 1);
        kept_state_done(&s);
}
END_TEST

/* ---- identities ---- */

static const struct {
        const char *path;
        uint16_t device;
        uint64_t dsn;
        const char *serial;
        bool matches, same_card;
} others[] = {
        { "0000:40/01.0/00.0", 0x2330, UINT64_C(0x48b02d3f1a2b3c4d), "1654922006012", true, true },
        { "0000:40/01.0/00.0", 0x2330, 0, NULL, true, true }, /* serials not read yet */
        { "0000:40/03.0/00.0", 0x2330, UINT64_C(0x48b02d3f1a2b3c4d), NULL, true,
          true }, /* it moved */
        { "0000:40/03.0/00.0", 0x2330, 0, "1654922006012", true, true },
        { "0000:40/03.0/00.1", 0x2330, UINT64_C(0x48b02d3f1a2b3c4d), NULL, false,
          true },                                              /* its sister */
        { "0000:40/03.0/00.0", 0x2330, 0, NULL, false, true }, /* one of that kind elsewhere */
        { "", 0x2330, 0, NULL, false, true },
        { "0000:40/01.0/00.0", 0x2330, 7, NULL, false, false }, /* another card in the slot */
        { "0000:40/01.0/00.0", 0x2330, 0, "x", false, false },
        { "0000:40/01.0/00.0", 0x2331, UINT64_C(0x48b02d3f1a2b3c4d), NULL, false, false },
};

START_TEST(test_identities) {
        DeviceIdentity other = {
                .vendor = 0x10de,
                .device = others[_i].device,
                .subsystem_vendor = 0x10de,
                .subsystem_device = 0x16c1,
                .has_dsn = others[_i].dsn != 0,
                .dsn = others[_i].dsn,
                .port_path = (char *) others[_i].path,
                .vpd_serial = (char *) others[_i].serial,
        };
        KeptDevice d = a_device();

        ck_assert_int_eq(device_identity_same_card(&d.identity, &other), others[_i].same_card);
        ck_assert_int_eq(device_identity_matches(&d.identity, &other), others[_i].matches);
        ck_assert_int_eq(device_identity_matches(&other, &d.identity), others[_i].matches);
        kept_device_done(&d);
}
END_TEST

/* ---- the directory ---- */

static const struct {
        const char *name;
        bool valid;
} names[] = {
        { DEVICE_FILE, true },
        { "reservation-" ID ".json", true },
        { "device-00112233445566AA.json", false },
        { "device-00112233445566a.json", false },
        { "device-00112233445566aa0.json", false },
        { "device-00112233445566aa", false },
        { "device-00112233445566aa.json/", false },
        { "reservation-00112233445566aa.json", false },
        { "../device-00112233445566aa.json", false },
        { ".device-00112233445566aa.json.new", false },
        { "", false },
};

START_TEST(test_names) {
        ck_assert_int_eq(state_dir_name_is_valid(names[_i].name), names[_i].valid);
}
END_TEST

static int made_dir(char **ret_path) {
        int fd;

        *ret_path = unit_make_dir();
        fd = state_dir_open(*ret_path, geteuid());
        ck_assert_int_ge(fd, 0);
        return fd;
}

START_TEST(test_commit) {
        char *path;
        _cleanup_close_ int fd = made_dir(&path);
        _cleanup_free_ char *text = NULL;
        size_t n;

        ck_assert_int_eq(state_dir_commit(fd, geteuid(), DEVICE_FILE, "one"), 0);
        ck_assert_int_eq(state_dir_commit(fd, geteuid(), DEVICE_FILE, "two"), 0);
        ck_assert_int_eq(state_dir_read(fd, geteuid(), DEVICE_FILE, &text, &n), 0);
        ck_assert_str_eq(text, "two");
        ck_assert_int_eq(state_dir_holds(fd, geteuid(), DEVICE_FILE, "two"), 1);
        ck_assert_int_eq(state_dir_holds(fd, geteuid(), DEVICE_FILE, "one"), 0);
        ck_assert_int_eq(state_dir_holds(fd, geteuid(), DEVICE_FILE, ""), 0);
        ck_assert_int_eq(state_dir_commit(fd, geteuid(), DEVICE_FILE, ""), 0);
        ck_assert_int_eq(state_dir_commit(fd, geteuid(), DEVICE_FILE, ""),
                         0); /* not there is as good */
        ck_assert_int_eq(state_dir_holds(fd, geteuid(), DEVICE_FILE, ""), 1);
        ck_assert_int_eq(state_dir_commit(fd, geteuid(), "../x", "two"), -EINVAL);
        unit_remove_dir(path);
}
END_TEST

/* Links and other things in a file's place are not followed, read or written through. */
START_TEST(test_foreign_files) {
        char *path;
        _cleanup_close_ int fd = made_dir(&path);
        _cleanup_free_ char *text = NULL;
        struct stat st;
        size_t n;

        ck_assert_int_eq(symlinkat("/etc/hostname", fd, DEVICE_FILE), 0);
        ck_assert_int_eq(state_dir_read(fd, geteuid(), DEVICE_FILE, &text, &n), -EPERM);
        ck_assert_int_eq(state_dir_commit(fd, geteuid(), DEVICE_FILE, "x"),
                         0); /* replaced, not followed */
        ck_assert_int_eq(fstatat(fd, DEVICE_FILE, &st, AT_SYMLINK_NOFOLLOW), 0);
        ck_assert(S_ISREG(st.st_mode));
        ck_assert_uint_eq(st.st_mode & 0777, 0600);
        ck_assert_int_eq(linkat(fd, DEVICE_FILE, fd, "second", 0), 0);
        ck_assert_int_eq(state_dir_read(fd, geteuid(), DEVICE_FILE, &text, &n), -EPERM);
        ck_assert_int_eq(unlinkat(fd, "second", 0), 0);
        ck_assert_int_eq(fchmodat(fd, DEVICE_FILE, 0666, 0), 0);
        ck_assert_int_eq(state_dir_read(fd, geteuid(), DEVICE_FILE, &text, &n), -EPERM);
        ck_assert_int_eq(unlinkat(fd, DEVICE_FILE, 0), 0);
        ck_assert_int_eq(mkfifoat(fd, DEVICE_FILE, 0600), 0);
        ck_assert_int_eq(state_dir_read(fd, geteuid(), DEVICE_FILE, &text, &n), -EPERM);
        /* What a killed worker left is in nobody's way. */
        ck_assert_int_eq(symlinkat("/dev/null", fd, "." DEVICE_FILE ".new"), 0);
        ck_assert_int_eq(state_dir_commit(fd, geteuid(), DEVICE_FILE, "x"), 0);
        ck_assert_int_eq(fchmodat(fd, ".", 0777, 0), 0);
        ck_assert_int_eq(state_dir_open(path, geteuid()), -EPERM);
        ck_assert_int_eq(fchmodat(fd, ".", 0700, 0), 0);
        unit_remove_dir(path);
}
END_TEST

START_TEST(test_list) {
        char *path;
        _cleanup_close_ int fd = made_dir(&path);
        _cleanup_free_ char *big = calloc(1, STATE_DIR_FILE_MAX + 2);
        HostStateFile *files;
        size_t n;

        ck_assert_int_eq(state_dir_commit(fd, geteuid(), DEVICE_FILE, "one"), 0);
        ck_assert_int_eq(mkdirat(fd, "evidence", 0700), 0);
        ck_assert_int_eq(mkdirat(fd, "device-0000000000000000.json", 0700), 0);
        ck_assert_int_eq(write_file_atomic_at(fd, "reservation-x", "x", 1, 0600, false), 0);
        memset(big, 'x', STATE_DIR_FILE_MAX + 1);
        ck_assert_int_eq(state_dir_commit(fd, geteuid(), "device-ffffffffffffffff.json", big),
                         -E2BIG);
        ck_assert_int_eq(write_file_atomic_at(fd, "device-ffffffffffffffff.json", big,
                                              STATE_DIR_FILE_MAX + 1, 0600, false),
                         0);
        ck_assert_int_eq(state_dir_list(fd, geteuid(), &files, &n), 0);
        ck_assert_uint_eq(n, 4);
        ck_assert_int_lt(files[0].error, 0); /* a directory */
        ck_assert_str_eq(files[1].text, "one");
        ck_assert_int_eq(files[2].error, -EFBIG);
        ck_assert_int_eq(files[3].error, -EBADMSG);
        host_state_files_free(files, n);
        unit_remove_dir(path);
}
END_TEST

static void add(TCase *tcase) {
        tcase_add_test(tcase, test_device_there_and_back);
        tcase_add_test(tcase, test_clean_device_is_no_file);
        tcase_add_test(tcase, test_reservation_there_and_back);
        tcase_add_test(tcase, test_reservation_without_options);
        tcase_add_loop_test(tcase, test_every_truncation, 0, 2);
        tcase_add_loop_test(tcase, test_every_bit, 0, 2);
        ADD_TABLE(tcase, test_documents, documents);
        tcase_add_test(tcase, test_too_big_is_refused);
        tcase_add_test(tcase, test_gathering);
        tcase_add_test(tcase, test_renamed_reservation);
        ADD_TABLE(tcase, test_identities, others);
        ADD_TABLE(tcase, test_names, names);
        tcase_add_test(tcase, test_commit);
        tcase_add_test(tcase, test_foreign_files);
        tcase_add_test(tcase, test_list);
}

UNIT_MAIN("state", add);
