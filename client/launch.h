/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A virtual machine monitor is executed with placeholders in its arguments replaced: {address} by a
 * device's address, {vfio} {group} {container} {iommufd} by the numbers of descriptors that it
 * inherits. {address.1} and the like name the second device.
 */

#include <grp.h>
#include <limits.h>

#include "arguments.h"
#include "pci/address.h"

typedef enum LaunchKind {
        LAUNCH_ADDRESS,
        LAUNCH_VFIO,      /* the device's descriptor, or its cdev */
        LAUNCH_GROUP,
        LAUNCH_CONTAINER,
        LAUNCH_IOMMUFD,
        _LAUNCH_KIND_MAX,
} LaunchKind;

#define LAUNCH_DEVICES_MAX 64U
#define LAUNCH_FDS_MAX 192U

typedef struct LaunchFd {
        LaunchKind kind;
        uint32_t device; /* index, for VFIO and GROUP */
        int fd;
} LaunchFd;

typedef struct Launch {
        char addresses[LAUNCH_DEVICES_MAX][PCI_ADDRESS_MAX]; /* in the order of the command line */
        uint32_t n_addresses, n_fds;
        LaunchFd fds[LAUNCH_FDS_MAX];
} Launch;

/* Which placeholders stand in the command: bits 1 << LaunchKind. 0, or the usage exit code: one
 * names a device that is not there. */
int launch_scan(char *const *command, size_t n_devices, unsigned *ret_kinds);
#define LAUNCH_WANTS_FDS(kinds) ((kinds) & ~(1U << LAUNCH_ADDRESS))
/* 0, or an exit code: the daemon opened no such descriptor. */
int launch_check(const Launch *l, unsigned kinds);
void launch_close(Launch *l);

typedef struct Identity {
        bool change;
        uid_t uid;
        gid_t gid;
        gid_t groups[NGROUPS_MAX < 256 ? NGROUPS_MAX : 256];
        int n_groups;
} Identity;
/* Of --uid and --gid; looks the user's groups up. 0 or an exit code. */
int identity_resolve(const Arguments *a, Identity *ret);

/* Becomes the command. Returns only on failure: negative errno. */
int launch_exec(const Launch *l, const Identity *identity, char *const *command);
