/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Every allocation fails once: each scenario runs with its first allocation refused, then its
 * second, until one run meets no refusal. A run either says -ENOMEM, or gets by without what it
 * could not have; it never crashes, and the sanitizers see that it leaks nothing. The linker sends
 * the libraries' allocations to the functions below (--wrap), so that only our own code meets the
 * failures.
 */

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>

#include "base/fdio.h"
#include "base/hashmap.h"
#include "base/jsonx.h"
#include "base/strutil.h"
#include "host/sim.h"
#include "host/snapshot.h"
#include "model/model.h"
#include "plan/codec.h"
#include "policy/policy.h"
#include "store/store.h"
#include "unit.h"

/* The allocation that is refused; 0 none. Counts down. */
static uint64_t refuse_in;
static bool refused;

static bool refuse(void) {
        if (refuse_in == 0 || --refuse_in > 0)
                return false;
        refused = true;
        return true;
}

/* One wrapper: its prototypes, and the real function unless refused. */
#define WRAP(type, name, parameters, arguments)                         \
        type __real_##name parameters;                                  \
        type __wrap_##name parameters;                                  \
        type __wrap_##name parameters {                                 \
                if (refuse()) {                                         \
                        errno = ENOMEM;                                 \
                        return NULL;                                    \
                }                                                       \
                return __real_##name arguments;                         \
        }                                                               \
        struct wrap_needs_a_semicolon_##name

WRAP(void *, malloc, (size_t n), (n));
WRAP(void *, calloc, (size_t n, size_t size), (n, size));
WRAP(void *, realloc, (void *p, size_t n), (p, n));
WRAP(void *, reallocarray, (void *p, size_t n, size_t size), (p, n, size));
WRAP(char *, strdup, (const char *s), (s));
WRAP(char *, strndup, (const char *s, size_t n), (s, n));
WRAP(Json *, json_object_new_object, (void), ());
WRAP(Json *, json_object_new_array, (void), ());
WRAP(Json *, json_object_new_string, (const char *s), (s));
WRAP(Json *, json_object_new_string_len, (const char *s, int n), (s, n));
WRAP(Json *, json_object_new_int64, (int64_t v), (v));
WRAP(Json *, json_object_new_uint64, (uint64_t v), (v));
WRAP(Json *, json_object_new_boolean, (int v), (v));
WRAP(Json *, json_object_new_double, (double v), (v));

int __real_vasprintf(char **ret, const char *format, va_list ap) _printf_(2, 0);
int __wrap_vasprintf(char **ret, const char *format, va_list ap) _printf_(2, 0);
int __wrap_vasprintf(char **ret, const char *format, va_list ap) {
        return refuse() ? -1 : __real_vasprintf(ret, format, ap);
}

/* ---- scenarios: 0, or what the first function that failed said. No ck_assert in them: Check
 * allocates. ---- */

static char *host_text; /* tests/data's host, read once */
static size_t host_size;
static char *dir;
static int dir_fd = -EBADF;

static int run_json(void) {
        static const char text[] =
                "{\"a\":[1,-2,3.5,true,null,\"x\\n\"],\"b\":{\"c\":18446744073709551615}}";
        _cleanup_json_ Json *j = NULL;
        _cleanup_free_ char *out = NULL;
        int r;

        r = json_parse(text, strlen(text), JSON_LIMITS_DEFAULT, &j, NULL, NULL);
        if (r < 0)
                return r;
        out = json_to_text(j, true);
        return out ? 0 : -ENOMEM;
}

static int run_builders(void) {
        char *words[] = { (char *) "one", (char *) "t\xffwo", NULL };
        _cleanup_json_ Json *j = json_new_object();
        _cleanup_free_ char *out = NULL;

        (void) json_set_strv(j, "v", words);
        (void) json_set_stringf(j, "f", "%d", 1);
        (void) json_set_null(j, "n");
        (void) json_set(j, "r", json_new_real(1.5));
        out = json_to_text(j, false);
        if (!out)
                return -ENOMEM;
        /* What is written is whole: a text that lacks something would be a lie. */
        return streq(out, "{\"v\":[\"one\",\"t\\\\xffwo\"],\"f\":\"1\",\"n\":null,\"r\":1.5}")
                       ? 0
                       : -EILSEQ;
}

static int run_strings(void) {
        _cleanup_strv_ char **v = NULL, **copy = NULL;
        _cleanup_free_ char *joined = NULL, *escaped = NULL, *formatted = NULL;
        int r;

        r = strv_split("a bb ccc", " ", &v);
        if (r < 0)
                return r;
        r = strv_copy(v, &copy);
        if (r < 0)
                return r;
        r = strv_extend(&copy, "d");
        if (r < 0)
                return r;
        joined = strv_join(copy, ",");
        escaped = string_escape("\x01");
        formatted = strjoinf("%s", "x");
        return joined && escaped && formatted ? free_and_strdup(&joined, "y") : -ENOMEM;
}

static int run_map(void) {
        _cleanup_(hashmap_freep) Hashmap *m = hashmap_new_u64();
        char value;

        if (!m)
                return -ENOMEM;
        for (uint64_t i = 0; i < 50; i++) {
                int r = hashmap_put_u64(m, i, &value);
                if (hashmap_size(m) != (r < 0 ? i : i + 1))
                        return -EILSEQ;
                if (r < 0)
                        return r;
        }
        return 0;
}

static int run_files(void) {
        _cleanup_strv_ char **names = NULL;
        _cleanup_free_ char *data = NULL;
        int r;

        r = write_file_atomic_at(dir_fd, "file", "text", 4, 0600, false);
        if (r < 0)
                return r;
        r = read_dir_names_at(dir_fd, ".", 100, true, &names);
        if (r < 0)
                return r;
        return read_file_at(dir_fd, "file", 100, &data, NULL);
}

static int make_plan(Plan **ret) {
        _cleanup_(plan_freep) Plan *p = plan_new(PLAN_ASSIGN);
        PlanDevice *d = p ? plan_add_device(p, (PciAddress) { 0, 0x41, 0, 0 }) : NULL;
        Step *s = d ? plan_add_device_step(p, STEP_UNBIND, d) : NULL;
        int r;

        if (!s)
                return -ENOMEM;
        (void) string_copy(p->id, sizeof(p->id), "00000000000000000000000000000aaa");
        r = step_set(s, "nvidia", "nvidia", "");
        if (r < 0)
                return r;
        r = free_and_strdup(&d->driver, "vfio-pci");
        if (r < 0)
                return r;
        *ret = TAKE_PTR(p);
        return 0;
}

static int run_plan(void) {
        _cleanup_(plan_freep) Plan *p = NULL, *copy = NULL, *decoded = NULL;
        _cleanup_free_ char *text = NULL, *line = NULL;
        _cleanup_free_ uint32_t *groups = NULL;
        _cleanup_encoder_ Encoder e = {};
        _cleanup_json_ Json *j = NULL;
        Decoder d;
        size_t n;
        int r;

        r = make_plan(&p);
        if (r < 0)
                return r;
        r = plan_copy(p, &copy);
        if (r < 0)
                return r;
        r = plan_groups(p, &groups, &n);
        if (r < 0)
                return r;
        encode_plan(&e, copy);
        if (e.error < 0)
                return e.error;
        d = DECODER(e.data, e.size);
        r = decode_plan(&d, &decoded);
        if (r < 0)
                return r;
        j = plan_to_json(decoded);
        text = json_to_text(j, false);
        line = step_describe(&decoded->steps[0]);
        return text && line ? 0 : -ENOMEM;
}

static int run_assignment(void) {
        _cleanup_(inventory_freep) Inventory *i = NULL;
        _cleanup_(assignment_freep) Assignment *a = NULL;
        _cleanup_(job_freep) Job *job = NULL;
        _cleanup_strv_ char **devices = NULL;
        int r;

        r = inventory_new(&i);
        if (r < 0)
                return r;
        r = assignment_new(&a);
        if (r < 0)
                return r;
        (void) string_copy(a->id, sizeof(a->id), "0123456789abcdef0123456789abcde0");
        r = make_plan(&a->plan);
        if (r < 0)
                return r;
        r = assignment_add_notice(a, 1, "Lost", "0000:41:00.0", "{}", NULL);
        if (r < 0)
                return r;
        r = assignment_devices(a, true, &devices);
        if (r < 0)
                return r;
        r = job_new(PLAN_ASSIGN, 0, &job);
        if (r < 0)
                return r;
        r = job_set_plan(job, a->plan);
        if (r < 0)
                return r;
        r = inventory_add_job(i, job);
        if (r < 0)
                return r;
        job = NULL;
        r = inventory_add_assignment(i, a);
        if (r < 0)
                return r;
        a = NULL;
        return 0;
}

static int run_store(void) {
        _cleanup_(store_closep) Store *s = NULL;
        _cleanup_(assignment_freep) Assignment *a = NULL;
        _cleanup_(plan_freep) Plan *p = NULL;
        StoredState state = {};
        char fresh[PATH_MAX];
        static unsigned n;
        int r;

        (void) snprintf(fresh, sizeof(fresh), "%s/%u", dir, n++);
        if (mkdir(fresh, 0700) < 0)
                return -errno;
        r = store_open(fresh, fresh, &s);
        if (r < 0)
                return r;
        r = store_load(s, &state);
        if (r < 0)
                return r;
        stored_state_done(&state);
        r = assignment_new(&a);
        if (r < 0)
                return r;
        (void) string_copy(a->id, sizeof(a->id), "0123456789abcdef0123456789abcde0");
        r = free_and_strdup(&a->owner, "vm-7");
        if (r < 0)
                return r;
        r = make_plan(&p);
        if (r < 0)
                return r;
        r = store_begin(s, p, a);
        if (r < 0)
                return r;
        r = store_quarantine(s, "0000:41:00.0", "identity reason");
        if (r < 0)
                return r;
        return store_end(s, p->id, HOST_OUTCOME_DONE, a);
}

static int run_snapshot(void) {
        _cleanup_(snapshot_freep) Snapshot *s = NULL;
        _cleanup_free_ char *text = NULL;
        _cleanup_json_ Json *j = NULL;
        _cleanup_error_ Error err = ERROR_INIT;
        int r;

        r = snapshot_parse(host_text, host_size, &err, &s);
        if (r < 0)
                return err.code == ERROR_INVALID ? -EBADMSG : -ENOMEM;
        r = snapshot_to_json(s, true, &j);
        if (r < 0)
                return r;
        text = json_to_text(j, false);
        return text ? 0 : -ENOMEM;
}

static void ignore_event(const HostEvent *event _unused_, void *userdata _unused_) {
}

static int run_inventory(void) {
        _cleanup_(inventory_freep) Inventory *i = NULL;
        _cleanup_(host_freep) Host *h = NULL;
        _cleanup_error_ Error err = ERROR_INIT;
        HostScan *scan = NULL;
        int r;

        r = host_sim_new(NULL, host_text, host_size, true, &err, &h);
        if (r < 0)
                return err.code == ERROR_INVALID ? -EBADMSG : -ENOMEM;
        r = host_start(h, ignore_event, NULL);
        if (r < 0)
                return r;
        r = inventory_new(&i);
        if (r < 0)
                return r;
        r = host_scan_begin(h, &scan);
        while (r >= 0) {
                PciFacts facts;
                PciUse use;

                r = host_scan_next(scan, &facts, &use);
                if (r <= 0)
                        break;
                r = inventory_put_device(i, &facts, &use, 1, NULL);
                pci_facts_done(&facts);
                pci_use_done(&use);
        }
        (void) host_scan_end(scan);
        return r;
}

static int show_policy(const Policy *p) {
        PciFacts facts = { .class_code = 0x030000, .vendor = 0x8086 };
        const PolicySubject subject = { .facts = &facts };
        _cleanup_json_ Json *all = policy_to_json(p), *one = policy_explain(p, &subject, NULL),
                            *schema = policy_schema(), *keys = policy_keys();
        _cleanup_free_ char *a = json_to_text(all, false), *b = json_to_text(one, false),
                            *c = json_to_text(schema, false), *d = json_to_text(keys, false);

        return a && b && c && d ? 0 : -ENOMEM;
}

static int run_policy(void) {
        static const char text[] =
                "{\"version\":1,\"rules\":[{\"name\":\"a\\u00e9\",\"match\":{\"vendor\":[\"8086\","
                "\"10de\"],"
                "\"slot\":\"G*\",\"address\":\"0000:0?:*\"},\"owners\":[\"x\",{\"owner\":\"y\","
                "\"users\":[1]}],"
                "\"driver\":\"vfio-pci\",\"clean\":{\"hooks\":[\"h\"],\"reset\":[\"flr\"]}}],"
                "\"defaults\":{\"limit\":3}}";
        PolicyProblems problems;
        Policy *p = NULL;
        int r = policy_compile(&(PolicyText){ "p.json", text, sizeof(text) - 1, 0 }, 1, NULL,
                               &problems, &p);

        if (r < 0)
                return r;
        r = show_policy(p);
        (void) policy_free(p);
        return r;
}

static int run_policy_problems(void) {
        static const char text[] =
                "{\"versoin\":1,\"rules\":[7,{\"name\":\"a\",\"match\":{\"vendro\":1,\"class\":3},"
                "\"owners\":[{\"users\":[\"x\"]}],\"limit\":-1,\"clean\":{\"hooks\":[1]}},"
                "{\"name\":\"a\",\"match\":{}}],\"defaults\":{\"ats\":1}}";
        _cleanup_json_ Json *j = NULL;
        PolicyProblems problems;
        Policy *p = NULL;
        int r = policy_compile(&(PolicyText){ "p.json", text, sizeof(text) - 1, 0 }, 1, NULL,
                               &problems, &p);

        if (r != -EBADMSG)
                return r;
        j = policy_problems_to_json(&problems);
        r = 0;
        for (size_t i = 0; i < problems.n; i++) {
                _cleanup_free_ char *one = policy_problem_to_string(problems.items + i);

                if (!one)
                        r = -ENOMEM;
        }
        policy_problems_done(&problems);
        return r;
}

/* ---- the runs ---- */

static const struct {
        const char *name;
        int (*run)(void);
        uint64_t fewest; /* allocations that it must at least make, or the test tests nothing */
} scenarios[] = {
        { "json", run_json, 10 },         { "builders", run_builders, 10 },
        { "strings", run_strings, 10 },   { "map", run_map, 5 },
        { "files", run_files, 3 },        { "plan", run_plan, 20 },
        { "assignment", run_assignment, 10 }, { "store", run_store, 10 },
        { "snapshot", run_snapshot, 200 }, { "inventory", run_inventory, 200 },
        { "policy", run_policy, 200 },     { "policy's problems", run_policy_problems, 50 },
};

static void set_up(void) {
        const char *source = getenv("top_srcdir");
        _cleanup_free_
        char *path = strjoinf("%s/tests/data/three-functions.json", isempty(source) ? "." : source);

        dir = unit_make_dir();
        dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        ck_assert_int_eq(read_file_at(AT_FDCWD, path, 1U << 24, &host_text, &host_size), 0);
}

static void tear_down(void) {
        free(TAKE_PTR(host_text));
        dir_fd = safe_close(dir_fd);
        unit_remove_dir(TAKE_PTR(dir));
}

START_TEST(each_refused_allocation_is_survived) {
        uint64_t n = 0;
        int r;

        ck_assert_int_eq(scenarios[_i].run(), 0);
        do {
                n++;
                refuse_in = n;
                refused = false;
                r = scenarios[_i].run();
                refuse_in = 0;
                if (r < 0 && (r != -ENOMEM || !refused))
                        ck_abort_msg("%s: allocation %" PRIu64 " refused: %s", scenarios[_i].name,
                                     n, strerror(-r));
        } while (refused);
        ck_assert_int_eq(r, 0);
        ck_assert_uint_gt(n, scenarios[_i].fewest);
}
END_TEST

static void add_tests(TCase *tc) {
        tcase_add_checked_fixture(tc, set_up, tear_down);
        ADD_TABLE(tc, each_refused_allocation_is_survived, scenarios);
}

UNIT_MAIN("allocations", add_tests);
