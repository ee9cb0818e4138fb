/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * pciassignctl: the table of verbs. Everything goes over D-Bus to the daemon; this program knows no
 * more of the host than pci.ids. Help, the manual's list and the completions follow this table; a
 * test compares them.
 */

#include "base/strutil.h"
#include "verbs.h"

#define TAKES_FOR_ASSIGN                                                              \
        (TAKES_OWNER | TAKES_ASSIGN | TAKES_IDENTITY | TAKES_ATTACH | TAKES_MEMLOCK | \
         TAKES_LIFETIME)
#define TAKES_FOR_RUN \
        (TAKES_OWNER | TAKES_ASSIGN | TAKES_IDENTITY | TAKES_MEMLOCK | TAKES_OPEN | TAKES_COMMAND)

/* clang-format off */
const Verb verbs[] = {
        { "list", "[PATTERN…]", "every function: its driver, group, state, owner, what blocks it",
          "PATTERN matches address, slot, driver, owner, state, kind or a child's name (nvme0), with * and ?.",
          TAKES_JSON | TAKES_LIST | TAKES_OWNER, 0, WORDS_ANY, verb_list },
        { "show", "DEVICE|ASSIGNMENT…", "a device with its facts by topic, or an assignment",
          "With --json or --topic=all every topic.",
          TAKES_JSON | TAKES_FACTS, 1, WORDS_ANY, verb_show },
        { "tree", "", "the functions below their ports", NULL, TAKES_JSON, 0, 0, verb_tree },
        { "groups", "", "IOMMU groups: members, viable or not, owner", NULL, TAKES_JSON, 0, 0, verb_groups },
        { "explain", "DEVICE", "why an owner may or may not have it, for each member of its group",
          "Exit code 0: it can be assigned; otherwise that of the refusal.",
          TAKES_JSON | TAKES_OWNER, 1, 1, verb_explain },
        { "plan", "DEVICE…|--match=WANT", "what assign would do: devices, steps with their undo, a token",
          "Exit code 0: it would be done; otherwise that of the refusal.",
          TAKES_JSON | TAKES_FOR_ASSIGN | TAKES_MATCH, 1, WORDS_ANY, verb_plan },
        { "assign", "DEVICE…|--match=WANT", "assign devices to an owner", NULL,
          TAKES_JSON | TAKES_FOR_ASSIGN | TAKES_MATCH | TAKES_TOKEN | TAKES_PID | TAKES_NO_WAIT, 1, WORDS_ANY,
          verb_assign },
        { "run", "DEVICE… -- COMMAND…", "run a virtual machine monitor with devices while it lives",
          "In COMMAND {address} becomes a device's address, {vfio} {group} {container} {iommufd} the numbers of\n"
          "inherited descriptors; {address.1} is the second device's. Without one of the descriptors the monitor\n"
          "opens the group's node by path, which belongs to --uid (or to who runs it) meanwhile.",
          TAKES_FOR_RUN, 1, WORDS_ANY, verb_run },
        { "open", "ASSIGNMENT|DEVICE [DEVICE…] -- COMMAND…", "execute a command with an assignment's descriptors",
          "Placeholders as for run.", TAKES_OPEN | TAKES_IDENTITY | TAKES_COMMAND, 1, WORDS_ANY, verb_open },
        { "attach", "ASSIGNMENT|DEVICE", "hand an assignment over to a process: it ends with it", NULL,
          TAKES_PID | TAKES_IDENTITY | TAKES_MEMLOCK, 1, 1, verb_attach },
        { "release", "ASSIGNMENT|DEVICE…", "give the devices back to the host", NULL,
          TAKES_NO_WAIT, 1, WORDS_ANY, verb_release },
        { "events", "ASSIGNMENT|DEVICE", "what an owner was told", NULL, TAKES_JSON, 1, 1, verb_events },
        { "acknowledge", "ASSIGNMENT|DEVICE NUMBER", "events up to this number are known", NULL,
          0, 2, 2, verb_acknowledge },
        { "reset", "DEVICE", "reset a function that nobody holds", NULL, 0, 1, 1, verb_reset },
        { "adopt", "DEVICE", "take what a foreign hand changed as what is meant", NULL, 0, 1, 1, verb_adopt },
        { "restore", "DEVICE", "undo what a foreign hand changed", NULL, 0, 1, 1, verb_restore },
        { "quarantine", "DEVICE", "let nobody have a function", NULL, TAKES_REASON, 1, 1, verb_quarantine },
        { "unquarantine", "DEVICE", "verify that a function is clean, and let it be assigned again", NULL, 0, 1, 1,
          verb_unquarantine },
        { "vfs", "DEVICE NUMBER", "set the number of SR-IOV virtual functions",
          "Waits until all of them are there, each in its IOMMU group and with its driver; otherwise the former\n"
          "number is set again. Refused while one of them is assigned or held.",
          TAKES_NO_WAIT | TAKES_DRIVER, 2, 2, verb_vfs },
        { "jobs", "", "what is being done, and what was", NULL, TAKES_JSON, 0, 0, verb_jobs },
        { "cancel", "JOB", "stop a job and undo its steps", NULL, 0, 1, 1, verb_cancel },
        { "monitor", "", "follow what the daemon reports", NULL, TAKES_JSON, 0, 0, verb_monitor },
        { "rescan", "", "read everything again", NULL, 0, 0, 0, verb_rescan },
        { "settle", "", "wait until everything is read", NULL, 0, 0, 0, verb_settle },
        { "snapshot", "[FILE]", "write this host to a file that pciassignd --simulate loads",
          "Without FILE, or with -, to standard output.", TAKES_REDACT, 0, 1, verb_snapshot },
        { "policy", "check [PATH…] | show | explain DEVICE | reload | schema | keys | replay",
          "the rules: check, show, reload them, or replay them over a snapshot",
          "check, schema, keys and replay need no daemon that runs. replay takes --snapshot and, to compare two\n"
          "policies, --against. Exit code 0: valid, nothing changes; 1: the policy is wrong; 9: verdicts or\n"
          "settings of some function differ.",
          TAKES_JSON | TAKES_OWNER | TAKES_IDENTITY | TAKES_REPLAY | TAKES_DAEMON, 1, WORDS_ANY, verb_policy },
        { "doctor", "", "can this host assign devices, and if not, what to change",
          "Exit code 0: it can; 1: it can, with warnings; 4: it cannot.", TAKES_JSON, 0, 0, verb_doctor },
        { "sim", "run HOST.json [-- COMMAND…] | WHAT…", "a simulated host: run one, move its clock, hurt it",
          "advance TIME · inject STEP DEVICE [kind=KIND] [error=ERRNO] [delay=TIME] [times=N] · clear ·\n"
          "hold DEVICE [PID [COMMAND]] · unhold DEVICE · rebind DEVICE [DRIVER] ·\n"
          "override DEVICE [DRIVER] · remove DEVICE · surprise-remove DEVICE · add DEVICE.json ·\n"
          "error DEVICE correctable|non-fatal|fatal|dpc · attention DEVICE · fail-state ERRNO|0 · lose-events NUMBER",
          TAKES_COMMAND | TAKES_DAEMON, 1, WORDS_ANY, verb_sim },
};
/* clang-format on */
const size_t n_verbs = ELEMENTSOF(verbs);

int main(int argc, char **argv) {
        Arguments a = {};
        const Verb *v = NULL;
        int r = arguments_parse(argc, argv, &a, &v);

        r = output_finish(r > 0 ? r - 1 : v->run(&a));
        strv_free(a.labels);
        strv_free(a.topics);
        strv_free(a.matches);
        return r;
}
