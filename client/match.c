/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Wants of the command line ("2:kind=gpu,vendor=10de") to messages, and the daemon's ranking to
 * text. What selectors mean is the daemon's business: it is sent what was written.
 */

#include "match.h"

#include "base/strutil.h"
#include "devices.h"

static int append_selector(sd_bus_message *m, const char *want, const char *selector) {
        size_t n = strcspn(selector, "=");
        _cleanup_free_ char *key = strndup(selector, n);
        uint32_t node;

        if (!key)
                output_out_of_memory();
        if (selector[n] == 0 || n == 0 || selector[n + 1] == 0)
                return complain(2, "--match: '%s' in '%s' is not SELECTOR=VALUE", escaped(selector),
                                escaped(want));
        selector += n + 1;
        if (!streq(key, "numa-node"))
                return sd_bus_message_append(m, "{sv}", key, "s", selector);
        if (streq(selector, "-1"))
                return sd_bus_message_append(m, "{sv}", key, "i", (int32_t) -1);
        if (parse_u32(selector, 10, INT16_MAX, &node) < 0)
                return complain(2, "--match: '%s' in '%s' is no NUMA node", escaped(selector),
                                escaped(want));
        return sd_bus_message_append(m, "{sv}", key, "i", (int32_t) node);
}

/* "[NUMBER:]SELECTOR=VALUE[,…]": a selector does not begin with a digit. */
static int append_want(sd_bus_message *m, const char *want) {
        size_t digits = strspn(want, "0123456789");
        const char *rest = want[digits] == ':' ? want + digits + 1 : want;
        _cleanup_strv_ char **selectors = NULL;
        uint64_t n = 1;
        int r;

        if (rest != want && parse_u64_n(want, digits, 10, UINT32_MAX, &n) < 0)
                return complain(2, "--match: '%s' does not begin with a number that can be",
                                escaped(want));
        if (strv_split(rest, ",", &selectors) < 0)
                output_out_of_memory();
        if (strv_length(selectors) == 0)
                return complain(2,
                                "--match: '%s' has no selector; write [NUMBER:]SELECTOR=VALUE[,…]",
                                escaped(want));
        r = sd_bus_message_open_container(m, 'r', "a{sv}u");
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'a', "{sv}");
        for (size_t i = 0; r >= 0 && selectors[i]; i++) {
                r = append_selector(m, want, selectors[i]);
                if (r == 2)
                        return r;
        }
        if (r >= 0)
                r = sd_bus_message_close_container(m);
        if (r >= 0)
                r = sd_bus_message_append_basic(m, 'u', &(uint32_t) { (uint32_t) n });
        return r < 0 ? r : sd_bus_message_close_container(m);
}

int match_append_wants(sd_bus_message *m, const Arguments *a) {
        int r = sd_bus_message_open_container(m, 'a', "(a{sv}u)");

        for (size_t i = 0; r >= 0 && a->matches[i]; i++) {
                r = append_want(m, a->matches[i]);
                if (r == 2)
                        return r;
        }
        if (r >= 0)
                r = sd_bus_message_close_container(m);
        return r < 0 ? r : 0;
}

int match_append_options(sd_bus_message *m, const Arguments *a) {
        int r = 0;

        if (a->same_numa)
                r = sd_bus_message_append(m, "{sv}", "same-numa-node", "b", 1);
        if (r >= 0 && a->same_switch)
                r = sd_bus_message_append(m, "{sv}", "same-switch", "b", 1);
        if (r >= 0 && a->clean_groups)
                r = sd_bus_message_append(m, "{sv}", "clean-groups", "b", 1);
        return r < 0 ? r : 0;
}

static void print_set(size_t rank, const Json *set) {
        const Json *devices = json_get(set, "devices"), *reasons = json_get(set, "reasons");
        const char *refused = member_string(set, "refused");

        printf("  %2zu.%s", rank, member_bool(set, "chosen") ? output_begin(PAINT_BOLD) : "");
        for (size_t i = 0; i < json_length(devices); i++)
                printf(" %s", escaped(member_string(json_at(devices, i), "device")));
        printf("%s%s\n", member_bool(set, "chosen") ? output_end() : "",
               member_bool(set, "chosen") ? "  (this one)" : "");
        for (size_t i = 0; i < json_length(reasons); i++)
                printf("      %s\n", escaped(strempty(json_string(json_at(reasons, i)))));
        if (refused[0])
                printf("      %srefused%s: %s\n", output_begin(PAINT_BAD), output_end(),
                       escaped(refused));
}

void match_print(const Json *match) {
        const Json *wants = json_get(match, "wants"), *sets = json_get(match, "sets"),
                   *left_out = json_get(match, "left_out");
        uint64_t n = member_u64(match, "n_left_out");

        for (size_t i = 0; i < json_length(wants); i++) {
                const Json *w = json_at(wants, i);

                printf("Want %zu, %s: %zu such functions, %zu can be had\n", i + 1,
                       escaped(member_string(w, "want")), (size_t) member_u64(w, "matching"),
                       (size_t) member_u64(w, "free"));
        }
        if (json_length(sets) > 0)
                printf("Sets, best first:\n");
        for (size_t i = 0; i < json_length(sets); i++)
                print_set(i + 1, json_at(sets, i));
        if (n > 0)
                printf("Left out:\n");
        for (size_t i = 0; i < json_length(left_out); i++) {
                const Json *one = json_at(left_out, i);

                printf("  %s  %s%s%s: %s\n", escaped(member_string(one, "device")),
                       output_begin(PAINT_WARN), escaped(member_string(one, "code")), output_end(),
                       escaped(member_string(one, "message")));
        }
        if (n > json_length(left_out))
                printf("  and %zu more\n", (size_t) n - json_length(left_out));
}
