/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Names of vendors, devices and classes by pci.ids. */

#include "base/cleanup.h"

typedef struct Names Names;

/* Never fails but for -ENOMEM: without the file every name is its number. */
int names_open(Names **ret);
Names *names_close(Names *n);
DEFINE_CLEANUP(Names *, names_close);

#define NAME_MAX_SIZE 160U
/* "NVIDIA Corporation", "GH100 [H100 SXM5 80GB]", "3D controller"; "10de", "2330", "0302" where
 * unknown. Into buffer. */
const char *names_vendor(Names *n, uint16_t vendor, char buffer[NAME_MAX_SIZE]);
const char *names_device(Names *n, uint16_t vendor, uint16_t device, char buffer[NAME_MAX_SIZE]);
/* class_code: 24 bits; the interface does not matter. */
const char *names_class(Names *n, uint32_t class_code, char buffer[NAME_MAX_SIZE]);
