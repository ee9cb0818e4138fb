/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Distances of NUMA nodes. A node's line has one number for each node that is online, and says not
 * for which: the k-th is that of the node with the k-th smallest number. A table that does not fit
 * the nodes there are (one came or went between two reads) is unreadable, never guessed at.
 */

#include "pci/numa.h"

#include <assert.h>

#include "pci/scan.h"

void numa_node_done(NumaNode *n) {
        if (!n)
                return;
        free(n->distances);
        *n = (NumaNode) { .id = n->id };
}

int numa_node_set_distances(NumaNode *n, const char *text, int error) {
        _cleanup_free_ uint16_t *list = NULL;
        size_t count = 0, allocated = 0;

        assert(n);
        numa_node_done(n);
        if (!text) {
                n->state = abs(error) == ENOENT ? FACT_ABSENT : FACT_UNREADABLE;
                return 0;
        }
        n->state = FACT_UNREADABLE;
        while (!scan_end(text)) {
                uint64_t v;

                if (count >= NUMA_NODES_MAX || !scan_decimal(&text, UINT8_MAX, &v))
                        return -EBADMSG;
                if (*text == ' ')
                        text++;
                else if (!scan_end(text))
                        return -EBADMSG;
                if (ARRAY_RESERVE_ONE(list, count, allocated) < 0)
                        return -ENOMEM;
                list[count++] = (uint16_t) v;
        }
        if (count == 0)
                return -EBADMSG;
        n->state = FACT_PRESENT;
        n->distances = TAKE_PTR(list);
        n->n = count;
        return 0;
}

static int compare_nodes(const void *a, const void *b) {
        uint32_t x = ((const NumaNode *) a)->id, y = ((const NumaNode *) b)->id;

        return (x > y) - (x < y);
}

void numa_nodes_sort(NumaNodes *nodes) {
        assert(nodes);
        if (nodes->n > 1)
                qsort(nodes->list, nodes->n, sizeof(NumaNode), compare_nodes);
}

void numa_nodes_done(NumaNodes *nodes) {
        if (!nodes)
                return;
        for (size_t i = 0; i < nodes->n; i++)
                numa_node_done(nodes->list + i);
        free(nodes->list);
        *nodes = (NumaNodes) {};
}

const NumaNode *numa_nodes_find(const NumaNodes *nodes, int id) {
        assert(nodes);
        for (size_t i = 0; id >= 0 && i < nodes->n; i++)
                if (nodes->list[i].id == (uint32_t) id)
                        return nodes->list + i;
        return NULL;
}
