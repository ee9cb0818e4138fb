/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Distances of NUMA nodes: what the kernel prints, and what is no such table.
 */

#include "pci/numa.h"
#include "unit.h"

static const struct {
        const char *text;
        int error, r;
        FactState state;
        size_t n;
        uint16_t last;
} lines[] = {
        { "10\n", 0, 0, FACT_PRESENT, 1, 10 },
        { "10 21", 0, 0, FACT_PRESENT, 2, 21 },
        { "21 10 255\n", 0, 0, FACT_PRESENT, 3, 255 },
        { "10 21 \n", 0, 0, FACT_PRESENT, 2, 21 },
        { "", 0, -EBADMSG, FACT_UNREADABLE, 0, 0 },
        { "\n", 0, -EBADMSG, FACT_UNREADABLE, 0, 0 },
        { "10 256", 0, -EBADMSG, FACT_UNREADABLE, 0, 0 },
        { "10 -1", 0, -EBADMSG, FACT_UNREADABLE, 0, 0 },
        { "10,21", 0, -EBADMSG, FACT_UNREADABLE, 0, 0 },
        { "10 x", 0, -EBADMSG, FACT_UNREADABLE, 0, 0 },
        { "10  21", 0, -EBADMSG, FACT_UNREADABLE, 0, 0 },
        { NULL, ENOENT, 0, FACT_ABSENT, 0, 0 },
        { NULL, EIO, 0, FACT_UNREADABLE, 0, 0 },
};

START_TEST(lines_are_read) {
        NumaNode n = {};

        /* A value that was there before leaves nothing behind. */
        ck_assert_int_eq(numa_node_set_distances(&n, "10 20 30 40", 0), 0);
        ck_assert_int_eq(numa_node_set_distances(&n, lines[_i].text, lines[_i].error), lines[_i].r);
        ck_assert_uint_eq(n.state, lines[_i].state);
        ck_assert_uint_eq(n.n, lines[_i].n);
        if (n.n > 0)
                ck_assert_uint_eq(n.distances[n.n - 1], lines[_i].last);
        numa_node_done(&n);
}
END_TEST

START_TEST(no_more_than_the_kernel_has) {
        char text[3 * (NUMA_NODES_MAX + 1) + 1] = "";
        NumaNode n = {};

        for (unsigned i = 0; i <= NUMA_NODES_MAX; i++)
                memcpy(text + 3 * i, "10 ", 4);
        ck_assert_int_eq(numa_node_set_distances(&n, text, 0), -EBADMSG);
        text[3 * NUMA_NODES_MAX] = 0;
        ck_assert_int_eq(numa_node_set_distances(&n, text, 0), 0);
        ck_assert_uint_eq(n.n, NUMA_NODES_MAX);
        numa_node_done(&n);
}
END_TEST

START_TEST(nodes_are_found_by_number) {
        NumaNodes nodes = { .list = calloc(3, sizeof(NumaNode)), .n = 3 };

        ck_assert_ptr_nonnull(nodes.list);
        nodes.list[0].id = 8;
        nodes.list[1].id = 0;
        nodes.list[2].id = 1;
        numa_nodes_sort(&nodes);
        ck_assert_uint_eq(nodes.list[2].id, 8);
        ck_assert_ptr_eq(numa_nodes_find(&nodes, 8), nodes.list + 2);
        ck_assert_ptr_null(numa_nodes_find(&nodes, 2));
        ck_assert_ptr_null(numa_nodes_find(&nodes, -1));
        numa_nodes_done(&nodes);
        ck_assert_uint_eq(nodes.n, 0);
}
END_TEST

static void add_tests(TCase *tcase) {
        ADD_TABLE(tcase, lines_are_read, lines);
        tcase_add_test(tcase, no_more_than_the_kernel_has);
        tcase_add_test(tcase, nodes_are_found_by_number);
}

UNIT_MAIN("pci-numa", add_tests);
