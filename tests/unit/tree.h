/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A made tree: the files of a host's PCI functions below a directory, and a thread that plays the
 * kernel's part in driver changes: it sees a write to drivers_probe or to a driver's unbind file
 * close and changes the links as the kernel would. Tests run the real worker over it with --root.
 */

#include "pci/address.h"

typedef struct TreeDevice {
        const char *address;
        const char *parent;  /* address of the bridge above; NULL: on the root bus */
        const char *class;   /* "0x020000" */
        const char *driver;  /* bound now; NULL none */
        const char *native;  /* binds by itself; NULL none */
        unsigned group;
} TreeDevice;

typedef struct Tree Tree;
Tree *tree_new(const TreeDevice *devices, size_t n);
void tree_free(Tree *t); /* stops the thread, removes all */
const char *tree_root(const Tree *t);
const char *tree_runtime(const Tree *t);
/* Starts the thread. */
void tree_start_kernel(Tree *t);
/* The next n driver changes are written but nothing happens. */
void tree_ignore_changes(Tree *t, unsigned n);

/* Files below the root. */
void tree_write(const Tree *t, const char *path, const char *text);
void tree_write_bytes(const Tree *t, const char *path, const void *data, size_t n);
void tree_link(const Tree *t, const char *path, const char *target);
void tree_remove(const Tree *t, const char *path);
char *tree_read(const Tree *t, const char *path);            /* malloc'd */
char *tree_driver(const Tree *t, const char *address);       /* malloc'd; "" none */
char *tree_path_of(const Tree *t, const char *address);      /* below devices/; malloc'd */
/* A uevent, as the kernel would send it. */
void tree_send_event(const Tree *t, const void *message, size_t n);
