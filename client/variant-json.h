/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* D-Bus values to JSON. */

#include <systemd/sd-bus.h>

#include "base/jsonx.h"

/* Reads the next complete value of the message. Variants vanish, a{s…} becomes an object, other
 * arrays and structures become arrays, a descriptor or a number that is not finite becomes null.
 * -ENXIO at the end, -EBADMSG, -ENOMEM. */
int message_read_json(sd_bus_message *m, Json **ret);
