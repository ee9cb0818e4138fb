/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Looks names up in pci.ids where it lies. The file is mapped and its vendors, which stand in
 * order, are found by halving, so that one look-up costs microseconds; libpci's pci_lookup_name()
 * reads the whole megabyte first, which is twice what all of `pciassignctl show` may take, and its
 * error callback ends the process. The file is the distribution's and still checked: nothing is
 * read beyond the mapping, and what a name holds is escaped where it is printed.
 *
 * Format (pci.ids(5)): "VVVV  name", "<tab>DDDD  name", and behind the vendors "C CC  name",
 * "<tab>SS  name".
 */

#include "names.h"

#include <assert.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/strutil.h"

struct Names {
        const char *text; /* mapped; NULL: no file */
        size_t size;
        size_t vendors_end;
        bool has_last;
        uint16_t last;
        size_t last_line;
};

static const char *const paths[] = {
        "/usr/share/misc/pci.ids",
        "/usr/share/hwdata/pci.ids",
        "/usr/share/pci.ids",
};

static size_t find(const Names *n, size_t from, size_t to, const char *what) {
        const char *p = from < to ? memmem(n->text + from, to - from, what, strlen(what)) : NULL;

        return p ? (size_t) (p - n->text) : to;
}

static void map_file(Names *n, const char *path) {
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        struct stat st;
        void *p;

        if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size <= 0 ||
            st.st_size > 64 << 20)
                return;
        p = mmap(NULL, (size_t) st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED)
                return;
        n->text = p;
        n->size = (size_t) st.st_size;
}

int names_open(Names **ret) {
        Names *n = calloc(1, sizeof(*n));

        assert(ret);
        if (!n)
                return -ENOMEM;
        for (size_t i = 0; i < ELEMENTSOF(paths) && !n->text; i++)
                map_file(n, paths[i]);
        if (n->text) {
                /* The classes stand last: look from the end, so that not all of the file is
                 * touched. */
                size_t from = n->size > 65536 ? n->size - 65536 : 0;

                n->vendors_end = find(n, from, n->size, "\nC 00");
        }
        *ret = n;
        return 0;
}

Names *names_close(Names *n) {
        if (!n)
                return NULL;
        if (n->text)
                (void) munmap((void *) (uintptr_t) n->text, n->size);
        free(n);
        return NULL;
}

/* Four lower-case hex digits at p, or -1. */
static int hex4(const Names *n, size_t p) {
        uint64_t v;

        return p + 4 <= n->size && parse_u64_n(n->text + p, 4, 16, UINT16_MAX, &v) >= 0 ? (int) v
                                                                                        : -1;
}

static size_t next_line(const Names *n, size_t p) {
        const char *end = p < n->vendors_end ? memchr(n->text + p, '\n', n->vendors_end - p) : NULL;

        return end ? (size_t) (end - n->text) + 1 : n->vendors_end;
}

/* The start of the next vendor's line at or behind p; to or more if there is none before it. */
static size_t next_vendor(const Names *n, size_t p, size_t to) {
        if (p > 0)
                p = next_line(n, p - 1);
        while (p < to && (n->text[p] == '\t' || hex4(n, p) < 0))
                p = next_line(n, p);
        return p;
}

static size_t search_vendor(const Names *n, uint16_t vendor) {
        size_t low = 0, high = n->vendors_end;

        while (low < high) {
                /* Some vendors have thousands of devices: those lines are not passed again and
                 * again. */
                size_t middle = low + (high - low) / 2, line = next_vendor(n, middle, high);
                int found = line < high ? hex4(n, line) : -1;

                if (found == vendor)
                        return line;
                if (line >= high || found > vendor)
                        high = middle;
                else
                        low = next_line(n, line);
        }
        return n->size;
}

/* A vendor is looked up twice, for itself and for its device, and has neighbours. */
static size_t find_vendor(Names *n, uint16_t vendor) {
        if (!n->has_last || n->last != vendor)
                n->last_line = search_vendor(n, vendor);
        n->last = vendor;
        n->has_last = true;
        return n->last_line;
}

/* What stands behind the id in the line at p. */
static bool take_name(const Names *n, size_t p, size_t skip, char buffer[NAME_MAX_SIZE]) {
        size_t end, length;

        if (p >= n->size)
                return false;
        end = find(n, p, n->size, "\n");
        p += skip;
        while (p < end && n->text[p] == ' ')
                p++;
        if (p >= end)
                return false;
        length = MIN(end - p, (size_t) NAME_MAX_SIZE - 1);
        memcpy(buffer, n->text + p, length);
        buffer[length] = 0;
        return true;
}

const char *names_vendor(Names *n, uint16_t vendor, char buffer[NAME_MAX_SIZE]) {
        assert(n);
        assert(buffer);
        if (!take_name(n, find_vendor(n, vendor), 4, buffer))
                (void) snprintf(buffer, NAME_MAX_SIZE, "%04x", vendor);
        return buffer;
}

/* The indented line with this id below the line at `from`. */
static size_t find_below(const Names *n, size_t from, const char *id) {
        char wanted[16];
        size_t line = find(n, from, n->size, "\n");

        (void) snprintf(wanted, sizeof(wanted), "\t%s  ", id);
        for (;;) {
                size_t start = line + 1;

                if (start >= n->size || (n->text[start] != '\t' && n->text[start] != '#'))
                        return n->size;
                if (n->size - start > strlen(wanted) &&
                    memcmp(n->text + start, wanted, strlen(wanted)) == 0)
                        return start;
                line = find(n, start, n->size, "\n");
        }
}

const char *names_device(Names *n, uint16_t vendor, uint16_t device, char buffer[NAME_MAX_SIZE]) {
        size_t line;
        char id[8];

        assert(n);
        assert(buffer);
        (void) snprintf(id, sizeof(id), "%04x", device);
        line = find_vendor(n, vendor);
        if (line >= n->size || !take_name(n, find_below(n, line, id), 5, buffer))
                (void) snprintf(buffer, NAME_MAX_SIZE, "%04x", device);
        return buffer;
}

const char *names_class(Names *n, uint32_t class_code, char buffer[NAME_MAX_SIZE]) {
        unsigned base = class_code >> 16 & 0xff, sub = class_code >> 8 & 0xff;
        char id[16];
        size_t line;

        assert(n);
        assert(buffer);
        (void) snprintf(id, sizeof(id), "\nC %02x  ", base);
        line = find(n, n->vendors_end, n->size, id);
        if (line < n->size) {
                char below[4];

                (void) snprintf(below, sizeof(below), "%02x", sub);
                if (take_name(n, find_below(n, line + 1, below), 3, buffer) ||
                    take_name(n, line + 1, 4, buffer))
                        return buffer;
        }
        (void) snprintf(buffer, NAME_MAX_SIZE, "%02x%02x", base, sub);
        return buffer;
}
