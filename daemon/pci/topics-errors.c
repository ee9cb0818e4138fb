/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Topic "errors": Advanced Error Reporting (AER), the kernel's counters, Downstream Port
 * Containment (DPC) and the link. Counter lines are taken as they come, "NAME COUNT", because the
 * names differ between the kernel's documents and its code, and unnamed bits get names of their
 * own. Native AER does not read an endpoint's registers after a fatal error, so the counters of the
 * root port are shown as well.
 */

#include <linux/pci_regs.h>

#include "pci/scan.h"
#include "pci/topics.h"

#define COUNTERS_MAX 64U
#define COUNTER_NAME_MAX 48U

/* Names as in drivers/pci/pcie/aer.c; NULL: reserved. */
static const char *const correctable_names[32] = {
        [0] = "RxErr", [6] = "BadTLP", [7] = "BadDLLP", [8] = "Rollover",
        [12] = "Timeout", [13] = "NonFatalErr", [14] = "CorrIntErr", [15] = "HeaderOF",
};

static const char *const uncorrectable_names[32] = {
        [0] = "Undefined",
        [4] = "DLP",
        [5] = "SDES",
        [12] = "TLP",
        [13] = "FCP",
        [14] = "CmpltTO",
        [15] = "CmpltAbrt",
        [16] = "UnxCmplt",
        [17] = "RxOF",
        [18] = "MalfTLP",
        [19] = "ECRC",
        [20] = "UnsupReq",
        [21] = "ACSViol",
        [22] = "UncorrIntErr",
        [23] = "BlockedTLP",
        [24] = "AtomicOpBlocked",
        [25] = "TLPBlockedErr",
        [26] = "PoisonTLPBlocked",
        [27] = "DMWrReqBlocked",
        [28] = "IDECheck",
        [29] = "MisIDETLP",
        [30] = "PCRC_CHECK",
        [31] = "TLPXlatBlocked",
};

static void write_bits(Json *j, const char *key, FactState s, uint32_t bits,
                       const char *const names[32]) {
        Json *list;

        if (s != FACT_PRESENT) {
                topic_set_state(j, key, s);
                return;
        }
        list = topic_add_array(j, key);
        for (unsigned i = 0; i < 32; i++)
                if (bits >> i & 1 && names[i])
                        (void) json_append_string(list, names[i]);
}

/* One "NAME COUNT" line; the name may hold blanks, the count is the last word. */
static bool scan_counter(const char **text, char name[COUNTER_NAME_MAX], uint64_t *ret) {
        const char *line = *text, *end = line + strcspn(line, "\n"), *word = end;
        size_t n;

        while (word > line && word[-1] != ' ')
                word--;
        for (n = (size_t) (word - line); n > 0 && line[n - 1] == ' ';)
                n--;
        if (n == 0 || n >= COUNTER_NAME_MAX || !scan_decimal(&word, UINT64_MAX, ret) || word != end)
                return false;
        memcpy(name, line, n);
        name[n] = 0;
        *text = end + (*end == '\n');
        return true;
}

static void write_counters(Json *j, const char *key, const PciText *t) {
        _cleanup_json_ Json *counters = NULL;
        char name[COUNTER_NAME_MAX];
        unsigned lines = 0;
        uint64_t count;
        const char *p;

        if (t->state != FACT_PRESENT) {
                topic_set_state(j, key, (FactState) t->state);
                return;
        }
        counters = json_new_object();
        for (p = t->text; *p && lines < COUNTERS_MAX && scan_counter(&p, name, &count); lines++)
                (void) json_set_u64(counters, name, count);
        if (*p || lines == 0)
                topic_set_state(j, key, FACT_UNREADABLE);
        else
                (void) json_set(j, key, TAKE_PTR(counters));
}

static void write_aer(const PciConfigFacts *c, Json *j) {
        FactState s = topic_capability_state(c, c && c->has_aer);
        Json *aer = topic_add_object(j, "aer");

        topic_set_capable(aer, "capable", s);
        write_bits(aer, "correctable_masked", s, c ? c->aer_correctable_mask : 0,
                   correctable_names);
        write_bits(aer, "correctable_pending", s, c ? c->aer_correctable_status : 0,
                   correctable_names);
        write_bits(aer, "uncorrectable_masked", s, c ? c->aer_uncorrectable_mask : 0,
                   uncorrectable_names);
        write_bits(aer, "uncorrectable_pending", s, c ? c->aer_uncorrectable_status : 0,
                   uncorrectable_names);
        write_bits(aer, "uncorrectable_fatal", s, c ? c->aer_uncorrectable_severity : 0,
                   uncorrectable_names);
        topic_set_bool(aer, "ecrc_generation", s, c && c->aer_capabilities & PCI_ERR_CAP_ECRC_GENE);
        topic_set_bool(aer, "ecrc_check", s, c && c->aer_capabilities & PCI_ERR_CAP_ECRC_CHKE);
}

/* Device Control: may the function send error messages at all? */
static void write_reporting(const PciConfigFacts *c, Json *j) {
        FactState s = topic_capability_state(c, c && c->pcie_type != PCIE_NONE);
        uint16_t control = c ? c->device_control : 0, status = c ? c->device_status : 0;
        Json *reporting = topic_add_object(j, "reporting"),
             *detected = topic_add_object(j, "detected");

        topic_set_bool(reporting, "correctable", s, control & PCI_EXP_DEVCTL_CERE);
        topic_set_bool(reporting, "nonfatal", s, control & PCI_EXP_DEVCTL_NFERE);
        topic_set_bool(reporting, "fatal", s, control & PCI_EXP_DEVCTL_FERE);
        topic_set_bool(reporting, "unsupported_request", s, control & PCI_EXP_DEVCTL_URRE);
        topic_set_bool(detected, "correctable", s, status & PCI_EXP_DEVSTA_CED);
        topic_set_bool(detected, "nonfatal", s, status & PCI_EXP_DEVSTA_NFED);
        topic_set_bool(detected, "fatal", s, status & PCI_EXP_DEVSTA_FED);
        topic_set_bool(detected, "unsupported_request", s, status & PCI_EXP_DEVSTA_URD);
}

/* Without it a bridge keeps the errors of what is below to itself. */
static void write_forwarding(const PciConfigFacts *c, Json *j) {
        FactState s = topic_config_state(c);

        if (s == FACT_PRESENT && c->header_type != PCI_HEADER_TYPE_BRIDGE)
                s = FACT_ABSENT;
        topic_set_bool(j, "serr_forwarding", s, c && c->bridge_control & PCI_BRIDGE_CTL_SERR);
}

static void write_root(const PciView *v, Json *j) {
        const PciConfigFacts *c = v->config;
        FactState s = topic_capability_state(c, c && c->has_aer_root);
        Json *root = topic_add_object(j, "root_port");
        uint32_t command = c ? c->aer_root_command : 0;

        topic_set_bool(root, "correctable_interrupt", s, command & PCI_ERR_ROOT_CMD_COR_EN);
        topic_set_bool(root, "nonfatal_interrupt", s, command & PCI_ERR_ROOT_CMD_NONFATAL_EN);
        topic_set_bool(root, "fatal_interrupt", s, command & PCI_ERR_ROOT_CMD_FATAL_EN);
        topic_set_text_number(root, "correctable",
                              topic_live(v, PCI_ATTRIBUTE_AER_ROOT_CORRECTABLE));
        topic_set_text_number(root, "nonfatal", topic_live(v, PCI_ATTRIBUTE_AER_ROOT_NONFATAL));
        topic_set_text_number(root, "fatal", topic_live(v, PCI_ATTRIBUTE_AER_ROOT_FATAL));
}

/* The kernel's limits of its own log lines; counters are not limited. It prints the intervals in
 * jiffies although the attribute's name says milliseconds, so the number is given without a
 * unit. */
static void write_rate_limits(const PciView *v, Json *j) {
        Json *limits = topic_add_object(j, "log_rate_limits"), *one;

        one = topic_add_object(limits, "correctable");
        topic_set_text_number(one, "interval", topic_live(v, PCI_ATTRIBUTE_AER_COR_INTERVAL));
        topic_set_text_number(one, "burst", topic_live(v, PCI_ATTRIBUTE_AER_COR_BURST));
        one = topic_add_object(limits, "nonfatal");
        topic_set_text_number(one, "interval", topic_live(v, PCI_ATTRIBUTE_AER_NONFATAL_INTERVAL));
        topic_set_text_number(one, "burst", topic_live(v, PCI_ATTRIBUTE_AER_NONFATAL_BURST));
}

static void write_dpc(const PciConfigFacts *c, Json *j) {
        static const char *const reasons[] = { "uncorrectable-error", "err-nonfatal", "err-fatal",
                                               "extended" };
        static const char *const triggers[] = { "off", "fatal", "nonfatal-and-fatal", "reserved" };
        FactState s = topic_capability_state(c, c && c->has_dpc);
        uint16_t status = c ? c->dpc_status : 0;
        bool triggered = status & PCI_EXP_DPC_STATUS_TRIGGER;
        Json *dpc = topic_add_object(j, "dpc");

        topic_set_capable(dpc, "capable", s);
        topic_set_string(dpc, "trigger", s, triggers[c ? c->dpc_control & 3 : 0]);
        topic_set_bool(dpc, "software_trigger", s,
                       c && c->dpc_capabilities & PCI_EXP_DPC_CAP_SW_TRIGGER);
        topic_set_bool(dpc, "triggered", s, triggered);
        topic_set_string(dpc, "reason", s == FACT_PRESENT && !triggered ? FACT_ABSENT : s,
                         reasons[(status & PCI_EXP_DPC_STATUS_TRIGGER_RSN) >> 1]);
        topic_set_bool(dpc, "busy", s, status & PCI_EXP_DPC_RP_BUSY);
}

/* Link Capabilities and Link Status code speeds alike. */
static const char *speed_to_string(unsigned code) {
        static const char *const speeds[] = { NULL, "2.5 GT/s", "5 GT/s", "8 GT/s",
                                              "16 GT/s", "32 GT/s", "64 GT/s" };

        return code < ELEMENTSOF(speeds) && speeds[code] ? speeds[code] : "unknown";
}

static void write_link(const PciConfigFacts *c, Json *j) {
        FactState s = topic_link_state(c);
        uint32_t capabilities = c ? c->link_capabilities : 0;
        uint16_t status = c ? c->link_status : 0;
        unsigned speed = status & PCI_EXP_LNKSTA_CLS, max_speed = capabilities & PCI_EXP_LNKCAP_SLS;
        unsigned width = (status & PCI_EXP_LNKSTA_NLW) >> PCI_EXP_LNKSTA_NLW_SHIFT;
        unsigned max_width = (capabilities & PCI_EXP_LNKCAP_MLW) >> 4;
        bool tells = capabilities & PCI_EXP_LNKCAP_DLLLARC;
        Json *link = topic_add_object(j, "link");

        topic_set_string(link, "speed", s, speed_to_string(speed));
        topic_set_u64(link, "width", s, width);
        topic_set_string(link, "max_speed", s, speed_to_string(max_speed));
        topic_set_u64(link, "max_width", s, max_width);
        topic_set_bool(link, "below_capability", s, speed < max_speed || width < max_width);
        topic_set_bool(link, "active", s == FACT_PRESENT && !tells ? FACT_ABSENT : s,
                       status & PCI_EXP_LNKSTA_DLLLA);
        topic_set_bool(link, "training", s, status & PCI_EXP_LNKSTA_LT);
        topic_set_bool(link, "surprise_down_reporting", s, capabilities & PCI_EXP_LNKCAP_SDERC);
}

void topic_errors(const PciView *v, Json *j) {
        Json *counters;

        write_aer(v->config, j);
        write_reporting(v->config, j);
        write_forwarding(v->config, j);
        write_root(v, j);
        counters = topic_add_object(j, "counters");
        write_counters(counters, "correctable", topic_live(v, PCI_ATTRIBUTE_AER_CORRECTABLE));
        write_counters(counters, "nonfatal", topic_live(v, PCI_ATTRIBUTE_AER_NONFATAL));
        write_counters(counters, "fatal", topic_live(v, PCI_ATTRIBUTE_AER_FATAL));
        write_rate_limits(v, j);
        write_dpc(v->config, j);
        write_link(v->config, j);
}
