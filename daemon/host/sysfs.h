/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Reading a kernel's PCI facts below a root directory, without ever touching hardware or a driver's
 * lock. Used by the daemon's kernel host and by the worker. Every path is relative to a descriptor
 * that was opened once.
 */

#include "pci/driver.h"
#include "pci/facts.h"
#include "pci/numa.h"

#define SYS_FUNCTIONS_MAX 65536U
#define SYS_NAMES_MAX 65536U

typedef struct SysTree {
        int root, sys, dev, proc; /* dev and proc: -EBADF where the tree has none */
        bool made; /* the root is not "/": files are made by somebody, no kernel stands behind
                    * them */
} SysTree;
#define SYS_TREE_INIT ((SysTree) { -EBADF, -EBADF, -EBADF, -EBADF, false })

int sys_tree_open(const char *root, SysTree *ret);
void sys_tree_done(SysTree *t);
#define _cleanup_sys_tree_ _cleanup_(sys_tree_done)

/* The functions that are there now, sorted by address; malloc'd. */
int sys_list_functions(const SysTree *t, PciAddress **ret, size_t *ret_n);
/* Directory of one function (O_PATH); -ENODEV when it is not there. */
int sys_open_function(const SysTree *t, PciAddress a);
/* Path below /sys/devices of one function, from the target of its link in /sys/bus/pci/devices.
 * -ENODEV. */
int sys_function_path(const SysTree *t, PciAddress a, char *buffer, size_t size);
/* Everything of the cold scan. devices_fd: /sys/bus/pci/devices. -ENODEV when the function is
 * gone. */
int sys_read_cold(int devices_fd, PciAddress a, PciFacts *ret);
/* The cold links of an open function directory, into facts that exist. */
void sys_read_links(int function_fd, PciFacts *f);
/* One attribute of an open function directory into facts. */
void sys_read_attribute(int function_fd, PciAttribute a, PciFacts *f);

/* NUMA nodes that are online, in order; malloc'd. A kernel without them has none. */
int sys_list_nodes(const SysTree *t, uint32_t **ret, size_t *ret_n);
/* A node's `distance`. */
ssize_t sys_read_distance(const SysTree *t, uint32_t node, char *text, size_t size);

/* The last PCI address among the components of a path; false: there is none. */
bool sys_path_deepest_address(const char *path, PciAddress *ret);

/* ---- children: kernel devices below functions ---- */

/* Made by inverting the class directories once, so that a scan pays for the children that exist and
 * not for each function. */
typedef struct SysChildren SysChildren;
int sys_children_load(const SysTree *t, SysChildren **ret);
SysChildren *sys_children_free(SysChildren *c);
DEFINE_CLEANUP(SysChildren *, sys_children_free);
int sys_children_add_to_use(const SysChildren *c, PciAddress a, PciUse *use);
/* The same for one function alone, by walking its directory: for events. */
int sys_children_walk(const SysTree *t, PciAddress a, PciUse *use);

/* ---- VFIO modules' aliases ---- */

typedef struct SysAliases {
        PciModuleAlias *list;
        size_t n, allocated;
        char *text; /* the strings of the list */
} SysAliases;
/* None is no failure. */
int sys_aliases_load(const SysTree *t, SysAliases *ret);
void sys_aliases_done(SysAliases *a);
/* The vfio-pci driver is there now: built in, or loaded by hand, whatever the alias files say. */
bool sys_has_vfio_driver(const SysTree *t);
