/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* NUMA nodes and how far they are apart, /sys/devices/system/node/nodeN/distance. Source:
 * Documentation/ABI/stable/sysfs-devices-node: the firmware's table (ACPI SLIT), 10 is local. */

#include "pci/facts.h"

#define NUMA_NODES_MAX 1024U /* the kernel's own limit */

typedef struct NumaNode {
        uint32_t id;
        uint8_t state;       /* FactState of the distances */
        uint16_t *distances; /* owned; to each node that is online, in the order of their numbers */
        size_t n;
} NumaNode;

typedef struct NumaNodes {
        NumaNode *list; /* owned; by id, each once */
        size_t n;
} NumaNodes;

void numa_node_done(NumaNode *n);
/* The attribute's text, or NULL with the errno of the read. 0, -EBADMSG (unreadable then),
 * -ENOMEM. */
int numa_node_set_distances(NumaNode *n, const char *text, int error);
/* Puts the nodes in order. */
void numa_nodes_sort(NumaNodes *nodes);
void numa_nodes_done(NumaNodes *nodes);
/* NULL: no such node. */
const NumaNode *numa_nodes_find(const NumaNodes *nodes, int id);
