/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Everything that opens a VFIO node: descriptors for the owner, the trial attach, the proof that
 * nobody holds a group, and who owns the nodes. Nothing stays open when a call returns but what it
 * gives back. Never called while a sysfs write is under way: an open VFIO descriptor and a driver
 * change wait for each other for ever.
 */

#include "host/host.h"
#include "host/sysfs.h"

#define VFIO_DETAIL_MAX 256U

/* Says more than the errno; for StepFailure.detail and HostResult.message. Empty string: nothing to
 * add. */
typedef struct VfioDetail {
        char text[VFIO_DETAIL_MAX];
} VfioDetail;

/* A descriptor of every kind that `request` (HOST_REQUEST_OPEN) asks for, in a malloc'd array whose
 * descriptors the caller owns. API auto: group where the group's node is there, else cdev. ret_api
 * says which. -EBUSY: a group's node is open elsewhere. -EPERM: group not viable or interrupts not
 * isolated. -EACCES: VF token. -ENOENT: no node. */
int vfio_open_all(const SysTree *tree, const HostRequest *request, HostFd **ret, size_t *ret_n,
                  VfioDetail *detail);
void vfio_fds_free(HostFd *fds, size_t n);

/* Opens the groups, joins one type 1 v2 container, sets the IOMMU, closes; no device is opened.
 * Kernels without the container interface: 0 (binding to an iommufd opens the device, which a trial
 * must not). */
int vfio_trial_attach(const SysTree *tree, const uint32_t *groups, size_t n, VfioDetail *detail);

/* A trial open of the group's node: 0 nobody holds the group or a device of it, -EBUSY somebody
 * does, -ENOENT no node. */
int vfio_group_is_unheld(const SysTree *tree, uint32_t group);
/* Waits until it is unheld, by inotify on the node (closing the group) and by trial (device
 * descriptors are anonymous). wake_fd: gives up with -ECANCELED when it becomes readable or hangs
 * up; -EBADF none. */
int vfio_wait_unheld(const SysTree *tree, uint32_t group, uint32_t timeout_msec, int wake_fd);
/* Name "vfioX" of a function's cdev, -ENOENT when the kernel has none. */
int vfio_cdev_name(const SysTree *tree, PciAddress a, char *buffer, size_t size);

/* Owner of a group's node and of the cdevs of the functions given. Records it first below
 * records_fd so that the udev rule sets the same; uid 0 and gid 0 remove the record. */
typedef struct VfioOwner {
        uid_t uid;
        gid_t gid;
} VfioOwner;
int vfio_set_node_owner(const SysTree *tree, int records_fd, uint32_t group,
                        const PciAddress *devices, size_t n, VfioOwner owner);
