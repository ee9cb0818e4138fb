/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A property's value is written once, into a sink: either a message, or a hash by which the daemon
 * knows what has changed since it was last signalled. So that a value and its change can never be
 * computed by two pieces of code.
 */

#include <assert.h>

#include "bus/bus-private.h"

static size_t basic_size(char type, const void *value) {
        switch (type) {
        case 's':
        case 'o':
                return strlen(value) + 1;
        case 'y':
                return 1;
        case 'q':
                return 2;
        case 'b':
        case 'u':
        case 'i':
                return 4;
        default:
                return 8;
        }
}

void sink_basic(Sink *s, char type, const void *value) {
        assert(s);
        assert(value);

        if (s->error < 0)
                return;
        if (!s->message) {
                s->hash = hash_bytes(s->hash, value, basic_size(type, value));
                return;
        }
        int r = sd_bus_message_append_basic(s->message, type, value);
        if (r < 0)
                s->error = r;
}

void sink_string(Sink *s, const char *v) {
        sink_basic(s, 's', strempty(v));
}

void sink_object(Sink *s, BusPath v) {
        sink_basic(s, 'o', v.text);
}

void sink_bool(Sink *s, bool v) {
        int i = v;
        sink_basic(s, 'b', &i);
}

void sink_u8(Sink *s, uint8_t v) {
        sink_basic(s, 'y', &v);
}

void sink_u16(Sink *s, uint16_t v) {
        sink_basic(s, 'q', &v);
}

void sink_u32(Sink *s, uint32_t v) {
        sink_basic(s, 'u', &v);
}

void sink_i32(Sink *s, int32_t v) {
        sink_basic(s, 'i', &v);
}

void sink_u64(Sink *s, uint64_t v) {
        sink_basic(s, 't', &v);
}

void sink_open(Sink *s, char type, const char *contents) {
        assert(s);

        if (s->error < 0)
                return;
        if (!s->message) {
                s->hash = hash_bytes(s->hash, &type, 1);
                return;
        }
        int r = sd_bus_message_open_container(s->message, type, contents);
        if (r < 0)
                s->error = r;
}

void sink_close(Sink *s) {
        assert(s);

        if (s->error < 0)
                return;
        if (!s->message) {
                s->hash = hash_bytes(s->hash, ")", 1);
                return;
        }
        int r = sd_bus_message_close_container(s->message);
        if (r < 0)
                s->error = r;
}

void sink_strv(Sink *s, char *const *v) {
        sink_open(s, 'a', "s");
        for (; v && *v; v++)
                sink_string(s, *v);
        sink_close(s);
}
