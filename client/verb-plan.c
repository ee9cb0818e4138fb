/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * plan and explain: what would happen, and why or why not, without doing it. Both print what the
 * daemon decided; nothing is decided here. A plan that would be refused ends with the refusal's
 * exit code, so that scripts can ask.
 */

#include "verbs.h"

#include "assign-call.h"
#include "base/strutil.h"
#include "devices.h"
#include "rules.h"
#include "match.h"

#define EXIT_REFUSED 4

static void print_blockers(const Json *blockers, const char *indent) {
        for (size_t i = 0; i < json_length(blockers); i++) {
                const Json *b = json_at(blockers, i);
                const char *message = member_string(b, "message"),
                           *proof = member_string(b, "proof");
                bool forced = member_bool(b, "forced");

                printf("%s%s%s%s: %s%s\n", indent, output_begin(forced ? PAINT_WARN : PAINT_BAD),
                       escaped(member_string(b, "code")), output_end(), escaped(message),
                       forced ? " (forced)" : "");
                if (proof[0] && !strstr(message, proof))
                        printf("%s  proof: %s\n", indent, escaped(proof));
                printf("%s  remedy: %s\n", indent, escaped(member_string(b, "remedy")));
        }
}

static void print_member(const Json *m) {
        const char *driver = member_string(m, "driver"), *vfio = member_string(m, "vfio-driver");
        bool assignable = member_bool(m, "assignable");

        printf("  %s%s%s  %s, %s%s%s%s\n", output_begin(PAINT_BOLD),
               escaped(member_string(m, "device")), output_end(), escaped(member_string(m, "role")),
               driver[0] ? "driver " : "no driver", escaped(driver),
               vfio[0] && !streq(vfio, driver) ? ", VFIO driver " : "",
               vfio[0] && !streq(vfio, driver) ? escaped(vfio) : "");
        if (json_length(json_get(m, "blockers")) == 0)
                printf("    %s%s%s\n", output_begin(assignable ? PAINT_GOOD : PAINT_NONE),
                       streq(member_string(m, "role"), "ignored") ? "the kernel ignores it"
                                                                  : "nothing in the way",
                       output_end());
        print_blockers(json_get(m, "blockers"), "    ");
}

static void print_groups(const Json *groups) {
        for (size_t i = 0; i < json_length(groups); i++) {
                const Json *g = json_at(groups, i), *members = json_get(g, "members");
                _cleanup_free_ char *number = member_text(g, "group");

                printf("%s%s%s\n", number[0] ? "IOMMU group " : "no IOMMU group", escaped(number),
                       ":");
                for (size_t k = 0; k < json_length(members); k++)
                        print_member(json_at(members, k));
        }
}

/* The daemon names the error that a refusal would be. */
static int exit_code_of_blockers(const Json *j, const Json *blockers) {
        const char *error = member_string(j, "error");
        ErrorCode code = error_code_from_string(error);

        if (code != ERROR_NONE)
                return error_code_to_exit(code);
        return json_length(blockers) > 0 || !member_bool(j, "assignable") ? EXIT_REFUSED : 0;
}

/* ---- explain ---- */

int verb_explain(const Arguments *a) {
        _cleanup_bus_ sd_bus *bus = NULL;
        _cleanup_message_ sd_bus_message *reply = NULL;
        _cleanup_json_ Json *j = NULL;
        _cleanup_free_
        char *owner = assign_owner(a), *what = describe_words("explain", a->words, 1);
        char *const strings[] = { a->words[0], owner, NULL };
        bool assignable;
        int r = client_connect(a, &bus);

        if (r == 0)
                r = client_call_strings(bus, METHOD(NULL, BUS_INTERFACE_MANAGER, "Explain"), what,
                                        strings, &reply);
        if (r == 0)
                r = client_read_json_text(reply, what, &j);
        if (r > 0)
                return r;
        if (a->json) {
                (void) print_json(j);
                return exit_code_of_blockers(j, json_get(j, "blockers"));
        }
        assignable = member_bool(j, "assignable");
        printf("%s for %s: %s%s%s\n", escaped(a->words[0]), escaped(owner),
               output_begin(assignable ? PAINT_GOOD : PAINT_BAD),
               assignable ? "can be assigned" : "cannot be assigned", output_end());
        print_groups(json_get(j, "groups"));
        printf("Rules:\n");
        print_walk(json_get(j, "policy"));
        return exit_code_of_blockers(j, json_get(j, "blockers"));
}

/* ---- plan ---- */

static void print_plan_device(const Json *d) {
        const char *before = member_string(d, "driver_before"), *used = member_string(d, "used_by");
        _cleanup_free_
        char *group = member_text(d, "iommu_group"), *hits = member_text(d, "reset_also_hits");

        printf("  %s%s%s  group %s, %s, %s%s -> %s%s%s\n", output_begin(PAINT_BOLD),
               escaped(member_string(d, "address")), output_end(), escaped(group),
               member_bool(d, "requested") ? "requested" : "parked with its group",
               before[0] ? "driver " : "no driver", escaped(before),
               escaped(member_string(d, "driver")), used[0] ? "; used by " : "; not in use",
               escaped(used));
        if (hits[0])
                printf("    %sa reset (%s) also hits %s%s\n", output_begin(PAINT_WARN),
                       escaped(member_string(d, "reset_method")), escaped(hits), output_end());
}

static void print_plan(const Json *j, const char *token) {
        const Json *plan = json_get(j, "plan"), *devices = json_get(plan, "devices"),
                   *steps = json_get(plan, "steps");

        if (json_length(devices) > 0)
                printf("Devices:\n");
        for (size_t i = 0; i < json_length(devices); i++)
                print_plan_device(json_at(devices, i));
        if (json_length(steps) > 0)
                printf("Steps:\n");
        for (size_t i = 0; i < json_length(steps); i++) {
                const Json *s = json_at(steps, i);
                const char *undo = member_string(s, "undo");

                printf("  %2zu. %s\n", i + 1, escaped(member_string(s, "description")));
                if (undo[0])
                        printf("      %sundo: %s%s\n", output_begin(PAINT_DIM), escaped(undo),
                               output_end());
        }
        if (token[0])
                printf("Token: %s\n", escaped(token));
}

int verb_plan(const Arguments *a) {
        _cleanup_bus_ sd_bus *bus = NULL;
        _cleanup_message_ sd_bus_message *call = NULL, *reply = NULL;
        _cleanup_json_ Json *j = NULL;
        _cleanup_free_ char *what = describe_words("plan", a->words, a->n_words);
        AssignExtra x = { .pidfd = -EBADF };
        const char *token;
        int r = client_connect(a, &bus), code;

        if (r == 0)
                r = assign_new_call(bus, "Plan", a, a->words, &x, &call);
        if (r == 0)
                r = client_call(bus, call, what, &reply);
        if (r == 0)
                r = client_read_json_text(reply, what, &j);
        if (r > 0)
                return r;
        r = sd_bus_message_read(reply, "s", &token);
        if (r < 0)
                return client_broken(r, what);
        (void) json_set_string(j, "token", token[0] ? token : NULL); /* shows when it is printed */
        code = exit_code_of_blockers(j, json_get(j, "blockers"));
        if (a->json) {
                (void) print_json(j);
                return code;
        }
        if (json_get(j, "match"))
                match_print(json_get(j, "match"));
        print_plan(j, token);
        if (code > 0) {
                printf("%sWould be refused:%s %s\n", output_begin(PAINT_BAD), output_end(),
                       escaped(member_string(j, "message")));
                print_groups(json_get(j, "groups"));
        }
        return code;
}
