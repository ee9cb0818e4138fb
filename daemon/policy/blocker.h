/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Why a function may not be given away: one table of reasons. Each has the spelling that D-Bus,
 * JSON and the log use, the error that a refusal by it becomes, whether an administrator with a
 * reason may pass over it (never where the kernel itself refuses), and the way out.
 */

#include "base/errors.h"

/*      code, spelling, error, force: remedy */
#define BLOCKER_TABLE(X)                                                                        \
        X(GONE, "gone", GONE, false, "put the device back, or choose another one")              \
        X(STUCK, "stuck", STUCK, false,                                                         \
          "a kernel operation on it has not come back: end the process that holds the device")  \
        X(QUARANTINED, "quarantined", QUARANTINED, false,                                       \
          "pciassignctl unquarantine, after a look at the reason")                              \
        X(POLICY_UNREADABLE, "policy-unreadable", POLICY_DENIED, false,                         \
          "mend the file and load it: pciassignctl policy reload")                              \
        X(POLICY_DENIED, "policy-denied", POLICY_DENIED, false,                                 \
          "choose another device, or have the rule changed: pciassignctl explain DEVICE")       \
        X(POLICY_OWNER, "policy-owner", POLICY_DENIED, false,                                   \
          "name an owner that the rule grants to you, or have the grant added to the rule")     \
        X(POLICY_LIMIT, "policy-limit", POLICY_DENIED, false,                                   \
          "release what this owner has under the rule, or have its limit raised")               \
        X(POLICY_LIFETIME, "policy-lifetime", POLICY_DENIED, false,                             \
          "ask for a lifetime that the rule allows")                                            \
        X(POLICY_DRIVER, "policy-driver", POLICY_DENIED, false, "leave the driver to the rule") \
        X(POLICY_GROUP, "policy-group", POLICY_DENIED, false,                                   \
          "ask for every function of the group, or choose a device that is alone in its group") \
        X(POLICY_IOMMU, "policy-iommu", POLICY_DENIED, false,                                   \
          "choose a group whose domain type can be set, or have iommu.domain changed")          \
        X(POLICY_COHERENCY, "policy-coherency", POLICY_DENIED, false,                           \
          "choose a device behind an IOMMU with snoop control: pciassignctl show --json")       \
        X(POLICY_REMAPPING, "policy-interrupt-remapping", POLICY_DENIED, false,                 \
          "turn interrupt remapping on in firmware and kernel: see pciassignctl doctor")        \
        X(POLICY_P2P, "policy-p2p", POLICY_DENIED, false,                                       \
          "choose a device that is alone in its group")                                         \
        X(POLICY_ATS, "policy-ats", POLICY_DENIED, false,                                       \
          "boot with pci=noats, or choose a device without ATS: it is not switched off per "    \
          "device")                                                                             \
        X(POLICY_BAR, "policy-bar", POLICY_DENIED, false,                                       \
          "ask for a size that the device can have, or make room below its bridge")             \
        X(POLICY_RESET, "policy-reset", POLICY_DENIED, false,                                   \
          "add a method that the device has to clean.reset: pciassignctl show DEVICE")          \
        X(OWNED, "owned", OWNED, false, "wait until its owner releases it")                     \
        X(DIRTY, "dirty", NOT_SUPPORTED, true,                                                  \
          "it cannot be cleaned: give it to its last owner again, or choose another one")       \
        X(MOUNT, "host-mount", HOST_CRITICAL, true,                                             \
          "unmount the file system, or choose another device")                                  \
        X(SWAP, "host-swap", HOST_CRITICAL, true, "swapoff, or choose another device")          \
        X(STORAGE, "host-storage", HOST_CRITICAL, true,                                         \
          "stop the storage stack that uses its disks, or choose another device")               \
        X(REMOTE_STORAGE, "host-remote-storage", HOST_CRITICAL, true,                           \
          "log out of the sessions over this interface, or choose another device")              \
        X(ROUTE, "host-route", HOST_CRITICAL, true,                                             \
          "move the routes to another interface, or choose another device")                     \
        X(CONSOLE, "host-console", HOST_CRITICAL, true,                                         \
          "move the console elsewhere, or choose another device")                               \
        X(CHIPSET, "host-chipset", HOST_CRITICAL, true,                                         \
          "choose another device: this one is part of the machine's chipset")                   \
        X(MEMORY, "host-memory", HOST_CRITICAL, true,                                           \
          "take its memory offline, or choose another device")                                  \
        X(BUSY, "busy", BUSY, false, "end the processes that hold it, or wait")                 \
        X(JOB, "job-running", BUSY, false, "wait for the job on this device or its group")      \
        X(VF_OWNED, "vf-assigned", OWNED, false,                                                \
          "wait until the owners of its virtual functions release them")                        \
        X(PF_OWNED, "pf-assigned", OWNED, false,                                                \
          "wait until the owner of its physical function releases it")                          \
        X(VFS_ENABLED, "vfs-enabled", NOT_VIABLE, false,                                        \
          "set the number of virtual functions to 0 first: pciassignctl vfs DEVICE 0")          \
        X(NO_GROUP, "no-iommu-group", NOT_VIABLE, false,                                        \
          "turn the IOMMU on in firmware and kernel (intel_iommu=on): see pciassignctl doctor") \
        X(WAITING_SUPPLIER, "waiting-for-iommu", NOT_VIABLE, false,                             \
          "load the driver of its IOMMU (virtio_iommu), and have it in the initramfs")          \
        X(NOIOMMU, "noiommu", NOT_VIABLE, false,                                                \
          "there is no isolation in this mode; use a host with an IOMMU")                       \
        X(DIRECT_REGION, "direct-mapped-region", NOT_VIABLE, false,                             \
          "firmware demands a 1:1 mapping (RMRR); look for a firmware option that removes it")  \
        X(NO_IR, "no-interrupt-remapping", NOT_VIABLE, false,                                   \
          "turn interrupt remapping on in firmware and kernel: see pciassignctl doctor")        \
        X(GROUP_MEMBER, "group-member", NOT_VIABLE, false,                                      \
          "add it to the request, or pass group=take-all to park it for the same owner")        \
        X(BRIDGE_DRIVER, "bridge-driver", NOT_VIABLE, false,                                    \
          "unbind that driver from the bridge, or keep its module from loading")                \
        X(NOT_ENDPOINT, "not-an-endpoint", NOT_VIABLE, false,                                   \
          "the kernel binds no bridge to a VFIO driver; choose a function behind it")           \
        X(NO_DRIVER, "no-vfio-driver", NOT_SUPPORTED, false,                                    \
          "install the vfio-pci module of this kernel")                                         \
        X(UNREADABLE, "unreadable", FAILED, false,                                              \
          "see the journal for why its facts could not be read; pciassignctl show --refresh")   \
        X(UNREAD, "not-read-yet", FAILED, false, "wait until the daemon has settled")

typedef enum BlockerCode {
#define X(code, text, error, force, remedy) BLOCKER_##code,
        BLOCKER_TABLE(X)
#undef X
        _BLOCKER_MAX,
        _BLOCKER_INVALID = -EINVAL,
} BlockerCode;

const char *blocker_to_string(BlockerCode c);
BlockerCode blocker_from_string(const char *s);
/* The table's order is the order of precedence: of several blockers the first in it names the
 * error. */
ErrorCode blocker_to_error(BlockerCode c);
bool blocker_is_forcible(BlockerCode c);
const char *blocker_remedy(BlockerCode c);
