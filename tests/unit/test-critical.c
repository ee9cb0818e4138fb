/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Why the host needs a function, over made trees: each case lays out files and links and names the
 * proofs that must come.
 */

#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>

#include "base/fdio.h"
#include "base/strutil.h"
#include "unit.h"
#include "worker/critical.h"
#include "worker/holders.h"

#define DEVICE "devices/pci0000:00/0000:00:05.0"
#define ROUTES_HEAD \
        "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
#define MOUNT_TMPFS "22 1 0:21 / /run rw - tmpfs tmpfs rw\n"

typedef struct Entry {
        const char *path,
                *text; /* text starting with "->" makes a link; "[lock]" a file that is held */
} Entry;

typedef struct Case {
        const char *name, *subsystem, *child;
        Entry entries[16];
        struct { PciCriticalCode code; const char *proof; } expect[4];
} Case;

static const Case cases[] = {
        { "a disk that nobody uses",
          "block",
          "vda",
          { { "sys/class/block/vda/dev", "254:0\n" },
            { "proc/1/mountinfo", MOUNT_TMPFS },
            { "dev/vda", "" } },
          {} },
        { "a mounted partition",
          "block",
          "vda",
          { { "sys/class/block/vda/dev", "254:0\n" },
            { "sys/class/block/vda/vda1/partition", "1\n" },
            { "sys/class/block/vda1/dev", "254:1\n" },
            { "proc/1/mountinfo",
              MOUNT_TMPFS "25 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw\n" } },
          { { PCI_CRITICAL_MOUNT, "0000:00:05.0 → vda → vda1 → /" } } },
        { "a mount point with a blank, by name where the number differs",
          "block",
          "vdb",
          { { "sys/class/block/vdb/dev", "254:16\n" },
            { "proc/1/mountinfo", "25 1 0:44 / /srv/a\\040b rw - btrfs /dev/vdb rw\n" } },
          { { PCI_CRITICAL_MOUNT, "0000:00:05.0 → vdb → /srv/a b" } } },
        { "dm over md over a partition, swap on it",
          "block",
          "nvme0n1",
          { { "sys/class/block/nvme0n1/nvme0n1p2/partition", "2\n" },
            { "sys/class/block/nvme0n1p2/holders/md0", "->../../md0" },
            { "sys/class/block/md0/holders/dm-3", "->../../dm-3" },
            { "sys/class/block/dm-3/dev", "253:3\n" },
            { "dev/mapper/vg-swap", "->../dm-3" },
            { "proc/1/mountinfo", MOUNT_TMPFS },
            { "proc/swaps",
              "Filename\tType\tSize\tUsed\tPriority\n/dev/mapper/vg-swap partition 1 0 -2\n" } },
          { { PCI_CRITICAL_SWAP, "0000:00:05.0 → nvme0n1 → nvme0n1p2 → md0 → dm-3 → swap" } } },
        { "holders that go in a circle",
          "block",
          "sda",
          { { "sys/class/block/sda/holders/dm-0", "->../../dm-0" },
            { "sys/class/block/dm-0/holders/sda", "->../../sda" },
            { "proc/1/mountinfo", MOUNT_TMPFS } },
          {} },
        { "a member of a btrfs of several devices",
          "block",
          "sdb",
          { { "sys/fs/btrfs/0ad6/devices/sdb", "->../../../../sdb" },
            { "sys/fs/btrfs/features/x", "" },
            { "proc/1/mountinfo", MOUNT_TMPFS } },
          { { PCI_CRITICAL_STORAGE, "0000:00:05.0 → sdb → btrfs 0ad6" } } },
        { "a mount that only another namespace sees",
          "block",
          "vda",
          { { "sys/class/block/vda/dev", "254:0\n" },
            { "proc/1/mountinfo", MOUNT_TMPFS },
            { "proc/77/ns/mnt", "" },
            { "proc/77/mountinfo", "9 1 254:0 / /inside rw - ext4 /dev/vda rw\n" } },
          { { PCI_CRITICAL_MOUNT, "0000:00:05.0 → vda → /inside" } } },
        { "a disk that the kernel holds though no table says so",
          "block",
          "vda",
          { { "sys/class/block/vda/dev", "254:0\n" },
            { "proc/1/mountinfo", MOUNT_TMPFS },
            { "dev/vda", "[lock]" } },
          { { PCI_CRITICAL_STORAGE,
              "0000:00:05.0 → vda → held by the kernel (exclusive open refused)" } } },
        { "mount tables that cannot be read: never taken for a no",
          "block",
          "vda",
          { { "sys/class/block/vda/dev", "254:0\n" }, { "proc/1/mountinfo", "25 1\n" } },
          { { PCI_CRITICAL_STORAGE,
              "0000:00:05.0 → vda → mounts and swap cannot be read: Bad message" } } },
        { "a NIC without routes but its link-local ones",
          "net",
          "eth0",
          { { "proc/1/net/route",
              ROUTES_HEAD "eth0\t0000FEA9\t00000000\t0001\t0\t0\t1000\t0000FFFF\t0\t0\t0\n" },
            { "proc/1/net/ipv6_route",
              "fe800000000000000000000000000000 40 00000000000000000000000000000000 00 "
              "00000000000000000000000000000000 00000100 00000001 00000000 00000001 "
              "eth0\n" } },
          {} },
        { "the NIC of the default route, through VLAN and bond",
          "net",
          "eth0",
          { { "sys/class/net/eth0/upper_bond0", "->../bond0" },
            { "sys/class/net/bond0/upper_bond0.7", "->../bond0.7" },
            { "proc/1/net/route",
              ROUTES_HEAD "bond0.7\t00000000\t0102A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n" } },
          { { PCI_CRITICAL_ROUTE, "0000:00:05.0 → eth0 → bond0 → bond0.7 → default route" } } },
        { "a bridge with an IPv6 network",
          "net",
          "eth1",
          { { "sys/class/net/eth1/upper_br0", "->../br0" },
            { "proc/1/net/ipv6_route",
              "20010db8000000000000000000000000 20 00000000000000000000000000000000 00 "
              "00000000000000000000000000000000 00000100 00000001 00000000 00000001 br0\n" } },
          { { PCI_CRITICAL_ROUTE, "0000:00:05.0 → eth1 → br0 → route 2001:db8::/32" } } },
        { "remote storage by the route that reaches it",
          "net",
          "eth2",
          { { "proc/1/net/route",
              ROUTES_HEAD "eth2\t0005A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n" },
            { "sys/class/iscsi_connection/connection1:0/address", "192.168.5.9\n" },
            { "sys/class/nvme/nvme3/transport", "tcp\n" },
            { "sys/class/nvme/nvme3/address", "traddr=10.9.9.9,trsvcid=4420\n" } },
          { { PCI_CRITICAL_ROUTE, "0000:00:05.0 → eth2 → route 192.168.5.0/24" },
            { PCI_CRITICAL_REMOTE_STORAGE,
              "0000:00:05.0 → eth2 → iSCSI session with 192.168.5.9" } } },
        { "a serial console",
          "tty",
          "ttyS4",
          { { "sys/class/tty/console/active", "tty0 ttyS4\n" },
            { "sys/class/tty/ttyS4", "->../../" DEVICE "/tty/ttyS4" } },
          { { PCI_CRITICAL_CONSOLE, "0000:00:05.0 → ttyS4 → console" } } },
        { "a frame buffer console",
          "drm",
          "card0",
          { { "sys/class/graphics/fb0", "->../../" DEVICE "/graphics/fb0" },
            { "sys/class/vtconsole/vtcon1/bind", "1\n" },
            { "sys/class/vtconsole/vtcon1/name", "(M) frame buffer device\n" } },
          { { PCI_CRITICAL_CONSOLE, "0000:00:05.0 → fb0 → console" } } },
        { "CXL memory that decoders give to the host",
          "cxl",
          "mem0",
          { { "sys/bus/cxl/devices/endpoint2/uport", "->../../mem0" },
            { "sys/bus/cxl/devices/endpoint2/decoders_committed", "1\n" },
            { "sys/bus/cxl/devices/endpoint3/uport", "->../../mem1" },
            { "sys/bus/cxl/devices/endpoint3/decoders_committed", "2\n" } },
          { { PCI_CRITICAL_MEMORY, "0000:00:05.0 → mem0 → endpoint2: 1 committed decoders" } } },
};

static char *root;
static int held_fd = -EBADF;

static void make_root(void) {
        root = unit_make_dir();
        _cleanup_close_ int fd = open(root, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
        ck_assert_int_ge(mkdir_p_at(fd, "sys", 0755), 0);
        ck_assert_int_ge(mkdir_p_at(fd, "dev", 0755), 0);
        ck_assert_int_ge(mkdir_p_at(fd, "proc/1", 0755), 0);
}

static void remove_root(void) {
        held_fd = safe_close(held_fd);
        unit_remove_dir(root);
}

static void make_entry(int fd, const Entry *e) {
        char parent[256];

        (void) string_copy(parent, sizeof parent, e->path);
        *strrchr(parent, '/') = '\0';
        ck_assert_int_ge(mkdir_p_at(fd, parent, 0755), 0);
        if (strncmp(e->text, "->", 2) == 0)
                ck_assert_int_eq(symlinkat(e->text + 2, fd, e->path), 0);
        else
                ck_assert_int_ge(
                        write_file_atomic_at(fd, e->path, e->text, strlen(e->text), 0644, false),
                        0);
        if (!streq(e->text, "[lock]"))
                return;
        held_fd = openat(fd, e->path, O_RDONLY | O_CLOEXEC);
        ck_assert_int_eq(flock(held_fd, LOCK_EX), 0);
}

START_TEST(each_case) {
        const Case *k = &cases[_i];
        _cleanup_sys_tree_ SysTree tree = SYS_TREE_INIT;
        _cleanup_(critical_freep) Critical *c = NULL;
        _cleanup_(pci_use_done) PciUse use = {};
        size_t n = 0;

        int fd = open(root, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
        for (size_t i = 0; i < ELEMENTSOF(k->entries) && k->entries[i].path; i++)
                make_entry(fd, &k->entries[i]);
        (void) close(fd);
        ck_assert_int_ge(sys_tree_open(root, &tree), 0);
        ck_assert_int_ge(critical_new(&tree, &c), 0);
        ck_assert_int_ge(pci_use_add_child(&use, k->subsystem, k->child), 0);
        ck_assert_int_ge(critical_add_to_use(c, (PciAddress) { .slot = 5 }, &use), 0);
        for (; n < ELEMENTSOF(k->expect) && k->expect[n].proof; n++) {
                ck_assert_msg(n < use.n_criticals, "%s: no reason %zu", k->name, n);
                ck_assert_str_eq(use.criticals[n].proof, k->expect[n].proof);
                ck_assert_int_eq(use.criticals[n].code, k->expect[n].code);
        }
        ck_assert_msg(use.n_criticals == n, "%s: %zu reasons, the last is %s", k->name,
                      use.n_criticals,
                      use.n_criticals ? use.criticals[use.n_criticals - 1].proof : "");
}
END_TEST

START_TEST(holders_by_node) {
        static const Entry entries[] = {
                { "proc/12/comm", "qemu\n" },
                { "proc/12/cgroup", "0::/machine.slice/vm-7.scope/libvirt\n" },
                { "proc/12/status", "Name:\tqemu\nUid:\t107\t107\t107\t107\n" },
                { "proc/12/fd/3", "->/dev/vfio/9" },
                { "proc/12/fd/4", "->/dev/vfio/9" },
                { "proc/13/fd/3", "->/dev/vfio/99" },
                { "proc/14/fd/5", "->anon_inode:[vfio-device]" },
                { "proc/14/fdinfo/5", "pos:\t0\nvfio-device-syspath: /sys/" DEVICE "\n" },
                { "proc/15/fd/5", "->anon_inode:[vfio-device]" },
                { "proc/notapid/fd/3", "->/dev/vfio/9" },
        };
        _cleanup_sys_tree_ SysTree tree = SYS_TREE_INIT;
        _cleanup_(pci_use_done) PciUse use = {};
        int fd = open(root, O_DIRECTORY | O_RDONLY | O_CLOEXEC);

        for (size_t i = 0; i < ELEMENTSOF(entries); i++)
                make_entry(fd, &entries[i]);
        (void) close(fd);
        ck_assert_int_ge(sys_tree_open(root, &tree), 0);
        ck_assert_int_ge(holders_find(&tree,
                                      &(HolderQuestion){ .node = "/dev/vfio/9",
                                                         .device = { .slot = 5 },
                                                         .has_device = true,
                                                         .use = &use },
                                      1),
                         0);
        ck_assert_uint_eq(use.n_holders, 2);
        for (size_t i = 0; i < 2; i++) {
                const PciHolder *h = &use.holders[i];
                if (h->pid == 14) {
                        ck_assert_str_eq(h->what, "VFIO device descriptor");
                        continue;
                }
                ck_assert_uint_eq(h->pid, 12);
                ck_assert_uint_eq(h->uid, 107);
                ck_assert_str_eq(h->comm, "qemu");
                ck_assert_str_eq(h->unit, "vm-7.scope");
                ck_assert_str_eq(h->what, "/dev/vfio/9");
        }
}
END_TEST

static void add_tests(TCase *t) {
        tcase_add_checked_fixture(t, make_root, remove_root);
        ADD_TABLE(t, each_case, cases);
        tcase_add_test(t, holders_by_node);
}

UNIT_MAIN("critical", add_tests);
