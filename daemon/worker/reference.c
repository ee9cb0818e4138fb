/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The reference: what configuration space showed before an owner got the device, in the file
 * reference/ADDRESS below the workers' directory, so that it lives exactly as long as the kernel's
 * state. Written by a worker before the hand-over, read by the one that compares. The file holds
 * the identity that it was taken of; bytes are read as a stranger's, and a file that is not whole
 * is no reference. Never written while an owner may have the device.
 */

#include <assert.h>
#include <fcntl.h>

#include "base/fdio.h"
#include "base/strutil.h"
#include "worker/steps.h"

#define REFERENCE_MAGIC UINT32_C(0x66657270) /* "pref" */
#define REFERENCE_VERSION 1U
#define REFERENCE_FILE_MAX 16384U

static int open_directory(const Worker *w) {
        return worker_directory(w, "reference", false);
}

static void encode_reference(Encoder *e, const PlanDevice *d, const PciConfig *c) {
        uint32_t n = 0;

        for (uint16_t offset = 0; offset < c->size; offset = (uint16_t) (offset + 4))
                n += pci_config_has(c, offset, 4);
        encode_u32(e, REFERENCE_MAGIC);
        encode_u8(e, REFERENCE_VERSION);
        encode_u16(e, d->vendor);
        encode_u16(e, d->device);
        encode_u16(e, d->subsystem_vendor);
        encode_u16(e, d->subsystem_device);
        encode_u16(e, c->size);
        encode_u32(e, n);
        for (uint16_t offset = 0; offset < c->size; offset = (uint16_t) (offset + 4))
                if (pci_config_has(c, offset, 4)) {
                        encode_u16(e, offset);
                        encode_u32(e, pci_config_u32(c, offset));
                }
        if (e->error == 0)
                encode_u32(e, crc32c(0, e->data, e->size));
}

static bool identity_matches(Decoder *d, const PlanDevice *p) {
        bool same = decode_u16(d) == p->vendor;

        same &= decode_u16(d) == p->device;
        same &= decode_u16(d) == p->subsystem_vendor;
        same &= decode_u16(d) == p->subsystem_device;
        return same;
}

static int decode_reference(Decoder *d, const PlanDevice *p, PciConfig *ret) {
        uint32_t n;

        if (decode_u32(d) != REFERENCE_MAGIC || decode_u8(d) != REFERENCE_VERSION)
                return -EBADMSG;
        if (!identity_matches(d, p))
                return d->error < 0 ? d->error : -ENOENT; /* of another card that was here */
        pci_config_init(ret, decode_u16(d));
        n = decode_u32(d);
        if (n > PCI_CONFIG_SIZE_EXTENDED / 4)
                return -EBADMSG;
        for (uint32_t i = 0; d->error == 0 && i < n; i++) {
                uint16_t offset = decode_u16(d);
                uint32_t v = decode_u32(d);
                uint8_t bytes[] = { (uint8_t) v, (uint8_t) (v >> 8), (uint8_t) (v >> 16),
                                    (uint8_t) (v >> 24) };

                if (offset % 4 != 0 || pci_config_set(ret, offset, bytes, sizeof(bytes)) < 0)
                        return -EBADMSG;
        }
        return decoder_finish(d);
}

int reference_parse(const void *data, size_t n, const PlanDevice *p, PciConfig *ret) {
        uint32_t crc;
        Decoder d, tail;

        assert(data || n == 0);
        assert(p);
        assert(ret);
        if (n < 8)
                return -EBADMSG;
        tail = DECODER((const uint8_t *) data + n - 4, 4);
        crc = decode_u32(&tail);
        if (crc != crc32c(0, data, n - 4))
                return -EBADMSG;
        d = DECODER(data, n - 4);
        return decode_reference(&d, p, ret);
}

int reference_write(const Worker *w, const PlanDevice *p, const PciConfig *c) {
        _cleanup_close_ int directory = open_directory(w);
        _cleanup_encoder_ Encoder e = {};

        assert(p);
        assert(c);
        if (directory < 0)
                return directory;
        encode_reference(&e, p, c);
        if (e.error < 0)
                return e.error;
        return write_file_atomic_at(directory, PCI_ADDRESS_TEXT(p->address), e.data, e.size, 0600,
                                    false);
}

int reference_read(const Worker *w, const PlanDevice *p, PciConfig *ret) {
        _cleanup_close_ int directory = open_directory(w), fd = -EBADF;
        uint8_t data[REFERENCE_FILE_MAX];
        ssize_t n;

        assert(p);
        if (directory < 0)
                return directory;
        fd = openat(directory, PCI_ADDRESS_TEXT(p->address),
                    O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        if (fd < 0)
                return -errno;
        n = loop_pread(fd, data, sizeof(data), 0);
        if (n < 0)
                return (int) n;
        return reference_parse(data, (size_t) n, p, ret);
}
