/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The table of keys and selectors in policy-keys.h. Nothing else in the tree spells a key, a word
 * or a built-in value. A key's force says what its value does on a host: enforced as long as the
 * assignment lasts, a refusal of what differs, a default that the owner can write back, or a
 * report.
 */

#include "policy/policy-keys.h"

#include <assert.h>

#include "policy/policy.h"

#define SECOND UINT64_C(1000000)
#define HOUR (3600 * SECOND)
#define DAY (24 * HOUR)
#define KERNEL(major, minor) ((unsigned) (major) << 16 | (minor))
#define FIELD(f) .offset = offsetof(PolicySettings, f), .size = sizeof(((PolicySettings *) 0)->f)
#define ENFORCED \
        .force = POLICY_ENFORCED, .force_old = POLICY_ENFORCED, .force_locked = POLICY_ENFORCED
#define REFUSES .force = POLICY_REFUSES, .force_old = POLICY_REFUSES, .force_locked = POLICY_REFUSES

#define WORDS(name) static const PolicyWord name[]

WORDS(assigns) = { { "allow", POLICY_ASSIGN_ALLOW, NULL },
                   { "deny", POLICY_ASSIGN_DENY, NULL },
                   {} };
WORDS(groups) = { { "ask", POLICY_GROUP_ASK, NULL },
                  { "take-all", POLICY_GROUP_TAKE_ALL, NULL },
                  { "refuse", POLICY_GROUP_REFUSE, NULL },
                  {} };
WORDS(lifetimes) = { { "connection", 1U << 0, NULL },
                     { "process", 1U << 1, NULL },
                     { "persistent", 1U << 2, NULL },
                     {} };
WORDS(allow_deny) = { { "allow", false, NULL }, { "deny", true, NULL }, {} };
WORDS(any_required) = { { "any", false, NULL }, { "required", true, NULL }, {} };
WORDS(domains) = { { "leave", 0, NULL },
                   { "dma", 0, "DMA" },
                   { "dma-fq", 0, "DMA-FQ" },
                   { "identity", 0, "identity" },
                   {} };
WORDS(reach) = { { "same-owner", false, NULL }, { "deny", true, NULL }, {} };
WORDS(switches) = { { "leave", POLICY_SWITCH_LEAVE, NULL },
                    { "off", POLICY_SWITCH_OFF, NULL },
                    { "on", POLICY_SWITCH_ON, NULL },
                    {} };
WORDS(methods) = { { "device_specific", 0, "device_specific" },
                   { "acpi", 0, "acpi" },
                   { "flr", 0, "flr" },
                   { "af_flr", 0, "af_flr" },
                   { "pm", 0, "pm" },
                   { "bus", 0, "bus" },
                   { "cxl_bus", 0, "cxl_bus" },
                   {} };
WORDS(actions) = { { "rate-limit", POLICY_ERROR_RATE_LIMIT, NULL },
                   { "notify", POLICY_ERROR_NOTIFY, NULL },
                   { "degrade", POLICY_ERROR_DEGRADE, NULL },
                   { "recover", POLICY_ERROR_RECOVER, NULL },
                   { "quarantine", POLICY_ERROR_QUARANTINE, NULL },
                   {} };
WORDS(unplug_ends) = { { "force", POLICY_THEN_FORCE, NULL },
                       { "refuse", POLICY_THEN_REFUSE, NULL },
                       {} };
WORDS(release_ends) = { { "wait", POLICY_THEN_WAIT, NULL },
                        { "end", POLICY_THEN_FORCE, NULL },
                        {} };
WORDS(returns) = { { "hold", POLICY_RETURN_HOLD, NULL },
                   { "reassign", POLICY_RETURN_REASSIGN, NULL },
                   {} };
WORDS(arrivals) = { { "leave", POLICY_LEAVE, NULL },
                    { "hold", POLICY_HOLD, NULL },
                    { "claim", POLICY_CLAIM, NULL },
                    {} };

#define BAR(n)                                                                                     \
        [POLICY_KEY_BAR_0 + (n)] = {                                                               \
                .path = "bars." #n ".size", .object = POLICY_OBJECT_BAR_0 + (n),                   \
                .type = POLICY_TYPE_SIZE, FIELD(bars[n]), .min = UINT64_C(1) << 20,                \
                .max = UINT64_C(1) << 51, .standard = "\"leave\"", .force = POLICY_ENFORCED,       \
                .force_old = POLICY_REFUSES, .force_locked = POLICY_ENFORCED,                      \
                .since = KERNEL(6, 1), .refuses = true,                                            \
                .note = "The BAR is resized before the owner gets the device; a size that it "     \
                        "cannot have is refused. Kernels before 6.1 cannot resize.",               \
                .text = "Size of BAR " #n ": a power of two as in \"256M\" or \"16G\", \"max\" "   \
                        "for the largest that the device can have, or \"leave\".",                 \
        }

#define ERRORS(id, field, kind, rate_text, then_text)                                             \
        [POLICY_KEY_##id##_RATE] = {                                                               \
                .path = "errors." kind ".rate", .alias = "count", .object = POLICY_OBJECT_##id,    \
                .type = POLICY_TYPE_RATE, FIELD(field.rate), .min = 1, .max = 1000000,             \
                .standard = "\"none\"", ENFORCED,                                                  \
                .note = "Counted from the kernel's events and from its counters.",                 \
                .text = rate_text,                                                                 \
        },                                                                                         \
        [POLICY_KEY_##id##_THEN] = {                                                               \
                .path = "errors." kind ".then", .object = POLICY_OBJECT_##id,                      \
                .type = POLICY_TYPE_SET, .words = actions, FIELD(field.then), ENFORCED,            \
                .standard = then_text,                                                             \
                .note = "Where tracing is locked down, errors are seen by counters alone.",        \
                .text = "What is done: tell the owner (\"notify\"), let the kernel log no more "   \
                        "than it can bear (\"rate-limit\"), mark the device degraded, start "      \
                        "the recovery ladder, quarantine the device if that fails.",               \
        }

/* clang-format off */
static const PolicyKeyInfo keys[_POLICY_KEY_MAX] = {
        [POLICY_KEY_ASSIGN] = {
                .path = "assign", .type = POLICY_TYPE_CHOICE, .words = assigns, FIELD(assign),
                .standard = "\"allow\"", ENFORCED, .refuses = true,
                .note = "Nobody is given a device that is denied, not even by force.",
                .text = "May the device be given to anybody?",
        },
        [POLICY_KEY_OWNERS] = {
                .path = "owners", .type = POLICY_TYPE_OWNERS, FIELD(owners),
                .standard = "null", ENFORCED, .refuses = true,
                .note = "Without this key root and the administrators' group may name any owner, "
                        "others none.",
                .text = "Which owner strings may have it, as patterns. A pattern alone may be named "
                        "by root and the administrators' group; { \"owner\": PATTERN, \"users\": "
                        "[…], \"groups\": […] } also by those users and members of those groups.",
        },
        [POLICY_KEY_LIMIT] = {
                .path = "limit", .type = POLICY_TYPE_LIMIT, FIELD(limit), .max = UINT32_MAX - 1,
                .standard = "\"none\"", ENFORCED, .refuses = true,
                .note = "Functions that were asked for count, parked members of their groups do not.",
                .text = "How many functions one owner may have under this rule, or \"none\".",
        },
        [POLICY_KEY_GROUP] = {
                .path = "group", .type = POLICY_TYPE_CHOICE, .words = groups, FIELD(group),
                .standard = "\"ask\"", ENFORCED, .refuses = true,
                .note = "Bridges are ignored, as the kernel ignores them.",
                .text = "Members of its IOMMU group that nobody asked for: parked for the same owner "
                        "if the caller agrees (\"ask\"), always (\"take-all\"), or never "
                        "(\"refuse\").",
        },
        [POLICY_KEY_DRIVER] = {
                .path = "driver", .type = POLICY_TYPE_DRIVER, FIELD(driver),
                .standard = "\"auto\"", ENFORCED, .refuses = true,
                .note = "Set by driver_override and read back.",
                .text = "VFIO driver to bind: its name, or \"auto\" for what the kernel's vfio_pci: "
                        "aliases say.",
        },
        [POLICY_KEY_LIFETIME] = {
                .path = "lifetime", .type = POLICY_TYPE_SET, .words = lifetimes, FIELD(lifetimes),
                .standard = "[\"connection\", \"process\", \"persistent\"]", ENFORCED,
                .refuses = true, .note = "Other lifetimes are refused.",
                .text = "Lifetimes that may be asked for.",
        },
        BAR(0), BAR(1), BAR(2), BAR(3), BAR(4), BAR(5),
        [POLICY_KEY_BARS_UNASSIGNED] = {
                .path = "bars.unassigned", .object = POLICY_OBJECT_BARS, .type = POLICY_TYPE_CHOICE,
                .words = allow_deny, FIELD(bars_unassigned_deny), .standard = "\"allow\"", REFUSES,
                .refuses = true, .note = "A device with such a BAR is refused.",
                .text = "BARs that the kernel found no address for.",
        },
        [POLICY_KEY_IOMMU_DOMAIN] = {
                .path = "iommu.domain", .object = POLICY_OBJECT_IOMMU, .type = POLICY_TYPE_WORD,
                .words = domains, FIELD(iommu_domain), .standard = "\"leave\"",
                .force = POLICY_ENFORCED, .force_old = POLICY_REFUSES,
                .force_locked = POLICY_ENFORCED, .since = KERNEL(5, 11), .refuses = true,
                .note = "Protects the time when VFIO does not own the group; while it does, the "
                        "domain is the owner's. Kernels before 6.5 change it for groups of one "
                        "device only, before 5.11 not at all.",
                .text = "Type of the group's default domain.",
        },
        [POLICY_KEY_IOMMU_COHERENT] = {
                .path = "iommu.coherent", .object = POLICY_OBJECT_IOMMU, .type = POLICY_TYPE_CHOICE,
                .words = any_required, FIELD(coherent_required), .standard = "\"any\"", REFUSES,
                .refuses = true,
                .note = "The only thing that holds a guest to coherent DMA: an IOMMU without snoop "
                        "control, or one of which it is not known, is refused.",
                .text = "Must the IOMMU force DMA to be coherent with the caches?",
        },
        [POLICY_KEY_IOMMU_REMAPPING] = {
                .path = "iommu.interrupt-remapping", .object = POLICY_OBJECT_IOMMU,
                .type = POLICY_TYPE_CHOICE, .words = any_required, FIELD(remapping_required),
                .standard = "\"any\"", REFUSES, .refuses = true,
                .note = "Refuses also where VFIO was told to do without (allow_unsafe_interrupts).",
                .text = "Must interrupts be remapped?",
        },
        [POLICY_KEY_P2P] = {
                .path = "p2p", .type = POLICY_TYPE_CHOICE, .words = reach, FIELD(p2p_deny),
                .standard = "\"same-owner\"", REFUSES, .refuses = true,
                .note = "Reach across groups is held by ACS for the whole boot; inside one owner it "
                        "is reported, not policed.",
                .text = "Direct transfers between functions: \"deny\" refuses a function whose group "
                        "holds another one that the owner would get.",
        },
        [POLICY_KEY_NO_SNOOP] = {
                .path = "no-snoop", .type = POLICY_TYPE_CHOICE, .words = switches, FIELD(no_snoop),
                .standard = "\"leave\"", .force = POLICY_PRE_OPEN, .force_old = POLICY_PRE_OPEN,
                .force_locked = POLICY_REFUSES,
                .note = "A bit of the device's control register, which the guest can write back; "
                        "only iommu.coherent holds. A kernel that is locked down lets nobody write "
                        "it.",
                .text = "May the device set the No Snoop attribute?",
        },
        [POLICY_KEY_ATS] = {
                .path = "ats", .type = POLICY_TYPE_CHOICE, .words = allow_deny, FIELD(ats_deny),
                .standard = "\"allow\"", REFUSES, .refuses = true,
                .note = "ATS is not switched off per device from user space: a device that has it "
                        "is refused.",
                .text = "Devices that can send translated requests past the IOMMU's checks.",
        },
        [POLICY_KEY_D3COLD] = {
                .path = "d3cold", .type = POLICY_TYPE_CHOICE, .words = switches, FIELD(d3cold),
                .standard = "\"leave\"", ENFORCED,
                .note = "Kept by the kernel (d3cold_allowed), on hosts with ACPI.",
                .text = "May power be taken off the device when it is idle?",
        },
        [POLICY_KEY_CLEAN_RESET] = {
                .path = "clean.reset", .object = POLICY_OBJECT_CLEAN, .type = POLICY_TYPE_RESET,
                .words = methods, FIELD(reset), .standard = "\"auto\"",
                .force = POLICY_ENFORCED, .force_old = POLICY_REFUSES,
                .force_locked = POLICY_ENFORCED, .since = KERNEL(5, 15), .refuses = true,
                .note = "A device that has none of them is refused. With [] it is not reset, which "
                        "its record says. Kernels before 5.15 have their own order alone.",
                .text = "Reset methods between owners, the first that the device has is used; "
                        "\"auto\" leaves the order to the kernel.",
        },
        [POLICY_KEY_CLEAN_READY] = {
                .path = "clean.ready-timeout", .object = POLICY_OBJECT_CLEAN,
                .type = POLICY_TYPE_DURATION, FIELD(ready_timeout), .min = SECOND / 10, .max = HOUR,
                .standard = "\"60s\"", ENFORCED, .note = "Past it the device is quarantined.",
                .text = "How long a device may take to answer after its reset.",
        },
        [POLICY_KEY_CLEAN_HOOKS] = {
                .path = "clean.hooks", .object = POLICY_OBJECT_CLEAN, .type = POLICY_TYPE_HOOKS,
                FIELD(hooks), .standard = "[]", ENFORCED,
                .note = "A hook that fails quarantines the device.",
                .text = "Programs below hooks.d that are run, in this order, before the next owner.",
        },
        ERRORS(CORRECTABLE, correctable, "correctable",
               "Correctable errors are acted on beyond this rate; \"none\": each of them.",
               "\"notify\""),
        ERRORS(NON_FATAL, non_fatal, "non-fatal",
               "Non-fatal errors are acted on beyond this rate; \"none\": each of them.",
               "[\"notify\", \"recover\"]"),
        ERRORS(FATAL, fatal, "fatal",
               "Fatal errors are acted on beyond this rate; \"none\": each of them.",
               "[\"notify\", \"recover\", \"quarantine\"]"),
        [POLICY_KEY_UNPLUG_GRACE] = {
                .path = "unplug.grace", .object = POLICY_OBJECT_UNPLUG,
                .type = POLICY_TYPE_DURATION, FIELD(unplug_grace), .max = DAY, .standard = "\"30s\"",
                ENFORCED, .note = "A removal that the kernel has begun waits 5 s at most.",
                .text = "How long the owner may take to let go of a device that is to be ejected.",
        },
        [POLICY_KEY_UNPLUG_SURPRISE] = {
                .path = "unplug.surprise-grace", .object = POLICY_OBJECT_UNPLUG,
                .type = POLICY_TYPE_DURATION, FIELD(surprise_grace), .max = 60 * SECOND,
                .standard = "\"5s\"", ENFORCED,
                .note = "The whole host's hot-plug waits for it.",
                .text = "How long the owner may hold on to a device that was pulled out.",
        },
        [POLICY_KEY_UNPLUG_THEN] = {
                .path = "unplug.then", .object = POLICY_OBJECT_UNPLUG, .type = POLICY_TYPE_CHOICE,
                .words = unplug_ends, FIELD(unplug_then), .standard = "\"refuse\"", ENFORCED,
                .note = "Only the process or unit that was declared is ever ended.",
                .text = "When the grace is over: end the owner (\"force\"), or give the ejection up.",
        },
        [POLICY_KEY_RELEASE_GRACE] = {
                .path = "release.grace", .object = POLICY_OBJECT_RELEASE,
                .type = POLICY_TYPE_DURATION, FIELD(release_grace), .max = DAY,
                .standard = "\"30s\"", ENFORCED,
                .note = "A release always waits for the proof that nobody holds the device.",
                .text = "How long a release waits for holders before release.then.",
        },
        [POLICY_KEY_RELEASE_THEN] = {
                .path = "release.then", .object = POLICY_OBJECT_RELEASE, .type = POLICY_TYPE_CHOICE,
                .words = release_ends, FIELD(release_then), .standard = "\"wait\"", ENFORCED,
                .note = "Only the process or unit that was declared is ever ended.",
                .text = "When that is over: wait on, or end the declared process or unit.",
        },
        [POLICY_KEY_RETURN] = {
                .path = "return", .type = POLICY_TYPE_CHOICE, .words = returns, FIELD(on_return),
                .standard = "\"hold\"", ENFORCED,
                .note = "Another device in the same place is held, never reassigned.",
                .text = "When a lost device is back: hold it, or give it to its owner again.",
        },
        [POLICY_KEY_PRESENT] = {
                .path = "present", .type = POLICY_TYPE_CHOICE, .words = arrivals, FIELD(present),
                .standard = "\"leave\"", ENFORCED,
                .note = "That a host driver touched it first is recorded.",
                .text = "Devices found at start: leave them to the host, hold them on their VFIO driver "
                        "without an owner, or claim them: off their host driver, with "
                        "driver_override set and nothing bound.",
        },
        [POLICY_KEY_INSERTED] = {
                .path = "inserted", .type = POLICY_TYPE_CHOICE, .words = arrivals, FIELD(inserted),
                .standard = "\"leave\"", ENFORCED,
                .note = "That a host driver touched it first is recorded.",
                .text = "Devices that are plugged in: as with `present`.",
        },
        [POLICY_KEY_VFS] = {
                .path = "vfs", .type = POLICY_TYPE_LIMIT, FIELD(vfs), .max = UINT16_MAX,
                .standard = "\"none\"", ENFORCED,
                .note = "Only a function that has none yet gets them, on its host driver; they are "
                        "kept from host drivers, and rules say of each as of a device that is "
                        "plugged in.",
                .text = "How many virtual functions an SR-IOV function is given when it is found at "
                        "start or plugged in.",
        },
};
/* clang-format on */

const PolicyKeyInfo *policy_key_info(PolicyKey k) {
        assert((unsigned) k < _POLICY_KEY_MAX);
        return keys + k;
}

const char *policy_key_name(PolicyKey k) {
        const char *dot = strrchr(policy_key_info(k)->path, '.');

        return dot ? dot + 1 : keys[k].path;
}

const char *policy_key_to_string(PolicyKey k) {
        return (unsigned) k < _POLICY_KEY_MAX ? keys[k].path : NULL;
}

PolicyKey policy_key_from_string(const char *path) {
        for (size_t i = 0; path && i < ELEMENTSOF(keys); i++)
                if (streq(keys[i].path, path))
                        return (PolicyKey) i;
        return _POLICY_KEY_INVALID;
}

const PolicyObjectInfo *policy_object_info(PolicyObject o) {
#define IN(id, object_name, object_parent, object_text)                                            \
        [POLICY_OBJECT_##id] = { object_name, POLICY_OBJECT_##object_parent, object_text }
        static const PolicyObjectInfo objects[_POLICY_OBJECT_MAX] = {
                IN(RULE, "", RULE, "What holds for a device."),
                IN(BARS, "bars", RULE, "Base address registers."),
                IN(BAR_0, "0", BARS, "BAR 0."),
                IN(BAR_1, "1", BARS, "BAR 1."),
                IN(BAR_2, "2", BARS, "BAR 2."),
                IN(BAR_3, "3", BARS, "BAR 3."),
                IN(BAR_4, "4", BARS, "BAR 4."),
                IN(BAR_5, "5", BARS, "BAR 5."),
                IN(IOMMU, "iommu", RULE, "What the IOMMU must do."),
                IN(CLEAN, "clean", RULE, "What is done to a device between two owners."),
                IN(ERRORS, "errors", RULE, "What is done about errors that the device reports."),
                IN(CORRECTABLE, "correctable", ERRORS, "Correctable errors."),
                IN(NON_FATAL, "non-fatal", ERRORS, "Uncorrectable errors that are not fatal."),
                IN(FATAL, "fatal", ERRORS, "Fatal errors."),
                IN(UNPLUG, "unplug", RULE, "Ejection and surprise removal."),
                IN(RELEASE, "release", RULE, "Holders of a device that is released."),
        };
#undef IN

        assert((unsigned) o < _POLICY_OBJECT_MAX);
        return objects + o;
}
