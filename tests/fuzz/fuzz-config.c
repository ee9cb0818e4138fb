/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Configuration space. Input: a byte that chooses the image's size, one that says how the device
 * behaves, one that says after how many reads it vanishes (00h: never), then the image, of which
 * the rest is zero. The image is read as a worker does, by what is wanted; then it is decoded and
 * shown. Invariants: the walk ends, wants whole dwords of the image and none twice; what it wanted
 * is all that the decoder looks at; what was found can be found again; all topics become text.
 */

#include "pci/facts.h"

#include "fuzz.h"

#define READS_MAX (1U + PCI_CONFIG_WALK_MAX * 7U + PCI_CONFIG_EXTENDED_MAX * 3U)
#define BEHAVE_VF 0x01          /* Vendor and Device ID read all-ones */
#define BEHAVE_ONE_DWORD 0x02   /* each read gives a dword only */
#define BEHAVE_ODD_READS 0x04   /* each read gives some bytes more than it should */

typedef struct Input {
        uint8_t image[PCI_CONFIG_SIZE_EXTENDED];
        size_t size;
        uint8_t behaviour, vanish_after;
} Input;

static void take_input(Input *in, const uint8_t *data, size_t size) {
        static const size_t sizes[] = { 256, 4096, 64, 128, 0, 100, 260, 4095 };

        *in = (Input) {
                .size = sizes[data[0] % ELEMENTSOF(sizes)],
                .behaviour = data[1],
                .vanish_after = data[2],
        };
        memcpy(in->image, data + 3, MIN(size - 3, sizeof(in->image)));
        if (in->behaviour & BEHAVE_VF)
                memset(in->image, 0xff, 4);
}

/* As a worker reads: true if it got all that was wanted from a device that stayed. */
static bool read_image(Input *in, PciConfig *c) {
        size_t offset, n;
        unsigned reads = 0;

        pci_config_init(c, in->size);
        while (pci_config_want(c, &offset, &n)) {
                fuzz_require(reads++ < READS_MAX);
                fuzz_require(n > 0 && offset % 4 == 0 && n % 4 == 0);
                fuzz_require(offset < c->size && n <= c->size - offset);
                for (size_t i = 0; i < n; i += 4)
                        fuzz_require(!pci_config_has(c, offset + i, 4));
                if (in->vanish_after > 0 && reads == in->vanish_after)
                        memset(in->image, 0xff, sizeof(in->image));
                if (in->behaviour & BEHAVE_ONE_DWORD)
                        n = 4;
                else if (in->behaviour & BEHAVE_ODD_READS && offset + n + 3 <= c->size)
                        n += 3;
                fuzz_require(pci_config_set(c, offset, in->image + offset, n) == 0);
        }
        return in->vanish_after == 0 || reads < in->vanish_after;
}

static void check_capabilities(const PciConfig *c, const PciConfigFacts *f) {
        fuzz_require(f->n_caps <= PCI_CAPS_MAX && f->n_extended_caps <= PCI_EXTENDED_CAPS_MAX);
        fuzz_require(f->n_rebar <= PCI_REBAR_MAX && f->n_dvsec <= PCI_DVSEC_MAX);
        for (unsigned i = 0; i < f->n_caps; i++) {
                unsigned before = 0;

                fuzz_require(f->caps[i].offset >= 0x40 && f->caps[i].offset <= 0xfc);
                for (unsigned k = 0; k < i; k++) {
                        before += f->caps[k].id == f->caps[i].id;
                        fuzz_require(f->caps[k].offset != f->caps[i].offset);
                }
                fuzz_require(pci_config_find(c, (uint8_t) f->caps[i].id, before) ==
                             f->caps[i].offset);
        }
        for (unsigned i = 0; i < f->n_extended_caps; i++) {
                unsigned before = 0;

                fuzz_require(f->extended_caps[i].offset >= 0x100 &&
                             f->extended_caps[i].offset <= 0xffc);
                for (unsigned k = 0; k < i; k++) {
                        before += f->extended_caps[k].id == f->extended_caps[i].id;
                        fuzz_require(f->extended_caps[k].offset != f->extended_caps[i].offset);
                }
                fuzz_require(pci_config_find_extended(c, f->extended_caps[i].id, before) ==
                             f->extended_caps[i].offset);
        }
        for (unsigned i = 0; i < f->n_rebar; i++)
                fuzz_require(f->rebar[i].bar < 6 && f->rebar[i].size_exponent < 64);
}

static void check_facts(const PciConfig *c, const PciConfigFacts *f) {
        bool any = f->has_aer || f->has_dsn || f->has_acs || f->has_ats || f->has_pri ||
                   f->has_pasid || f->has_sriov || f->has_dpc || f->n_rebar || f->n_dvsec;

        check_capabilities(c, f);
        fuzz_require(f->size == c->size && f->liveness == pci_config_liveness(c));
        if (f->liveness != PCI_LIVENESS_ALIVE)
                fuzz_require(!any && f->n_caps == 0 && f->pcie_type == PCIE_NONE);
        if (c->size <= PCI_CONFIG_SIZE)
                fuzz_require(!any && f->n_extended_caps == 0);
        if (f->has_acs)
                fuzz_require(pci_config_find_extended(c, 0x0d, 0) != 0);
        if (f->has_sriov)
                fuzz_require(pci_config_find_extended(c, 0x10, 0) != 0);
        if (f->pcie_type != PCIE_NONE)
                fuzz_require(pci_config_find(c, 0x10, 0) != 0);
        if (f->has_aer_root)
                fuzz_require(f->has_aer && f->pcie_type != PCIE_NONE);
        if (f->physical_slot_valid)
                fuzz_require(f->slot_implemented);
        fuzz_require(pci_liveness_to_string(f->liveness) &&
                     pcie_type_to_string((PcieType) f->pcie_type));
}

static char *topics_to_text(const PciConfigFacts *f) {
        Json *all = json_new_object();
        PciFacts facts;
        PciView v = { .facts = &facts, .config = f, .physfn_config = f };
        char *text;

        pci_facts_init(&facts, (PciAddress) {});
        for (unsigned t = 0; t < _PCI_TOPIC_MAX; t++)
                fuzz_require(json_set(all, pci_topic_to_string((PciTopic) t),
                                      pci_topic_to_json(&v, (PciTopic) t)) == 0);
        text = json_to_text(all, false);
        fuzz_require(text);
        (void) json_free(all);
        return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_free_ char *text = NULL, *whole_text = NULL;
        PciConfigFacts f, whole_facts;
        PciConfig c, whole;
        Input in;
        bool steady;

        if (size < 3)
                return 0;
        take_input(&in, data, size);
        steady = read_image(&in, &c);
        pci_config_decode(&c, &f);
        check_facts(&c, &f);
        text = topics_to_text(&f);
        if (!steady)
                return 0;
        pci_config_init(&whole, in.size);
        fuzz_require(pci_config_set(&whole, 0, in.image, whole.size) == 0);
        pci_config_decode(&whole, &whole_facts);
        check_facts(&whole, &whole_facts);
        whole_text = topics_to_text(&whole_facts);
        fuzz_require(streq(text, whole_text));
        return 0;
}
