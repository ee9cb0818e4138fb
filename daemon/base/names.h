/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Names that more than one place must spell alike: bus names, paths, interfaces, message ids. */

#define BUS_NAME "org.pciassign1"
#define BUS_PATH "/org/pciassign1"
#define BUS_PATH_DEVICE BUS_PATH "/device"
#define BUS_PATH_GROUP BUS_PATH "/group"
#define BUS_PATH_ASSIGNMENT BUS_PATH "/assignment"
#define BUS_PATH_JOB BUS_PATH "/job"

#define BUS_INTERFACE_MANAGER "org.pciassign1.Manager"
#define BUS_INTERFACE_DEVICE "org.pciassign1.Device"
#define BUS_INTERFACE_GROUP "org.pciassign1.Group"
#define BUS_INTERFACE_ASSIGNMENT "org.pciassign1.Assignment"
#define BUS_INTERFACE_JOB "org.pciassign1.Job"
#define BUS_INTERFACE_SIMULATOR "org.pciassign1.Simulator"

#define POLKIT_ACTION_PREFIX "org.pciassign1."
#define SERVICE_USER "pciassignd"
#define SERVICE_GROUP "pciassignd"

#define RUNTIME_DIR "/run/pciassignd"
#define STATE_DIR "/var/lib/pciassignd"
/* Root's alone: what workers believe of each other, and udev of them, is not the daemon's to
 * write. */
#define WORKER_DIR "/run/pciassign-worker"
#define WORKER_SOCKET RUNTIME_DIR "/worker.sock"

/* MESSAGE_ID= of the events that an auditor looks for. */
#define MESSAGE_ASSIGNED "5f0a1f7a3f0c4b0f9d1b7a4c2e6d8b01"
#define MESSAGE_RELEASED "5f0a1f7a3f0c4b0f9d1b7a4c2e6d8b02"
#define MESSAGE_DENIED "5f0a1f7a3f0c4b0f9d1b7a4c2e6d8b03"
#define MESSAGE_RESET "5f0a1f7a3f0c4b0f9d1b7a4c2e6d8b04"
#define MESSAGE_DEVICE_ERROR "5f0a1f7a3f0c4b0f9d1b7a4c2e6d8b05"
#define MESSAGE_QUARANTINED "5f0a1f7a3f0c4b0f9d1b7a4c2e6d8b06"
#define MESSAGE_STUCK "5f0a1f7a3f0c4b0f9d1b7a4c2e6d8b07"
#define MESSAGE_DRIFT "5f0a1f7a3f0c4b0f9d1b7a4c2e6d8b08"
#define MESSAGE_OWNER_DIED "5f0a1f7a3f0c4b0f9d1b7a4c2e6d8b09"
#define MESSAGE_ROLLED_BACK "5f0a1f7a3f0c4b0f9d1b7a4c2e6d8b0a"
#define MESSAGE_RECOVERED "5f0a1f7a3f0c4b0f9d1b7a4c2e6d8b0b"
#define MESSAGE_RESYNC "5f0a1f7a3f0c4b0f9d1b7a4c2e6d8b0c"
#define MESSAGE_POLICY_LOADED "5f0a1f7a3f0c4b0f9d1b7a4c2e6d8b10"
#define MESSAGE_POLICY_REJECTED "5f0a1f7a3f0c4b0f9d1b7a4c2e6d8b11"
#define MESSAGE_HELD "5f0a1f7a3f0c4b0f9d1b7a4c2e6d8b12"
