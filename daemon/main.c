/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * pciassignd: puts host, store, engine and bus together and runs the event loop. Crash-only: state
 * is loaded and held against the kernel at every start, the name is taken only when all objects are
 * there, and stopping releases nothing. Nothing here decides about devices.
 */

#include <assert.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/capability.h>
#include <malloc.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-daemon.h>
#include <systemd/sd-event.h>

#include "base/fdio.h"
#include "base/log.h"
#include "base/names.h"
#include "base/strutil.h"
#include "bus/bus.h"
#include "engine/engine.h"
#include "host/sim.h"
#include "host/snapshot.h"
#include "offline.h"
#include "settings.h"
#include "store/store.h"

#define SYSTEM_BUS_SOCKET "/run/dbus/system_bus_socket"
#define MMAP_THRESHOLD (128 * 1024)

typedef struct Arguments {
        const char *simulate, *root, *bus, *runtime_dir, *state_dir, *worker_path, *introspect,
                *config_root;
        OfflineReplay replay; /* host NULL: none */
        int log_level; /* -1: as configured */
        bool show_settings, check_policy, show_schema, show_keys;
        char **words; /* behind the options */
} Arguments;

typedef struct Daemon {
        Arguments arguments;
        Settings settings;
        sd_event *event;
        Host *host;
        Store *store;
        Engine *engine;
        Bus *bus;
        EngineObserver observer;
        gid_t admin_gid; /* GID_UNSET: nobody's */
        bool watch_wanted;
} Daemon;

/* ---- arguments ---- */

static void print_help(void) {
        puts("pciassignd [OPTIONS]\n"
             "\n"
             "Owns the life cycle of PCI devices given to virtual machines, on the bus as " BUS_NAME
             ".\n"
             "\n"
             "  --simulate HOST.json      run over a simulated host; needs --bus and own "
             "directories\n"
             "  --root DIR                the kernel's files below DIR instead of /\n"
             "  --bus ADDRESS             instead of the system bus\n"
             "  --runtime-dir DIR         instead of " RUNTIME_DIR "\n"
             "  --state-dir DIR           instead of " STATE_DIR "\n"
             "  --worker-path PATH        execute this worker instead of asking the service "
             "manager\n"
             "  --log-level LEVEL         error, warning, notice, info or debug\n"
             "  --config                  print effective settings and their origins as JSON\n"
             "  --config-root DIR         look for pciassignd.conf and policy.d below DIR instead "
             "of /\n"
             "  --bus-introspect PATH     print the interfaces of an object and exit\n"
             "  --check-policy [PATH…]    check files and directories (none: policy.d) and exit\n"
             "  --policy-schema           print the JSON Schema of a policy's file and exit\n"
             "  --policy-keys             print what is known of its keys as JSON and exit\n"
             "  --replay HOST.json        print every function's verdict by a policy and exit\n"
             "  --policy PATH             the policy to replay (none: policy.d)\n"
             "  --against PATH            the policy to compare it with\n"
             "  --owner NAME, --uid UID, --gid GID   for whom, and who asks (none: root)\n"
             "  --help, --version");
}

enum {
        OPT_SIMULATE = 256,
        OPT_ROOT,
        OPT_BUS,
        OPT_RUNTIME,
        OPT_STATE,
        OPT_WORKER,
        OPT_LOG,
        OPT_CONFIG,
        OPT_CONFIG_ROOT,
        OPT_INTROSPECT,
        OPT_HELP,
        OPT_VERSION,
        OPT_CHECK_POLICY,
        OPT_SCHEMA,
        OPT_KEYS,
        OPT_REPLAY,
        OPT_POLICY,
        OPT_AGAINST,
        OPT_OWNER,
        OPT_UID,
        OPT_GID
};

static const struct option option_table[] = {
        { "simulate", required_argument, NULL, OPT_SIMULATE },
        { "root", required_argument, NULL, OPT_ROOT },
        { "bus", required_argument, NULL, OPT_BUS },
        { "runtime-dir", required_argument, NULL, OPT_RUNTIME },
        { "state-dir", required_argument, NULL, OPT_STATE },
        { "worker-path", required_argument, NULL, OPT_WORKER },
        { "log-level", required_argument, NULL, OPT_LOG },
        { "config", no_argument, NULL, OPT_CONFIG },
        { "config-root", required_argument, NULL, OPT_CONFIG_ROOT },
        { "bus-introspect", required_argument, NULL, OPT_INTROSPECT },
        { "check-policy", no_argument, NULL, OPT_CHECK_POLICY },
        { "policy-schema", no_argument, NULL, OPT_SCHEMA },
        { "policy-keys", no_argument, NULL, OPT_KEYS },
        { "replay", required_argument, NULL, OPT_REPLAY },
        { "policy", required_argument, NULL, OPT_POLICY },
        { "against", required_argument, NULL, OPT_AGAINST },
        { "owner", required_argument, NULL, OPT_OWNER },
        { "uid", required_argument, NULL, OPT_UID },
        { "gid", required_argument, NULL, OPT_GID },
        { "help", no_argument, NULL, OPT_HELP },
        { "version", no_argument, NULL, OPT_VERSION },
        {},
};

/* Options of what is done without being a daemon; false: it is none of these, or its value is
 * wrong. */
static bool parse_offline(int c, Arguments *a) {
        switch (c) {
        case OPT_CHECK_POLICY: a->check_policy = true; return true;
        case OPT_SCHEMA: a->show_schema = true; return true;
        case OPT_KEYS: a->show_keys = true; return true;
        case OPT_REPLAY: a->replay.host = optarg; return true;
        case OPT_POLICY: a->replay.policy = optarg; return true;
        case OPT_AGAINST: a->replay.against = optarg; return true;
        case OPT_OWNER: a->replay.owner = optarg; return string_is_safe(optarg, OWNER_MAX - 1);
        case OPT_UID: return parse_u32(optarg, 10, UINT32_MAX - 1, &a->replay.uid) >= 0;
        case OPT_GID: return parse_u32(optarg, 10, UINT32_MAX - 1, &a->replay.gid) >= 0;
        default: return false;
        }
}

/* 1: go on; 0: done; -EINVAL: told on standard error. */
static int parse_arguments(int argc, char **argv, Arguments *a) {
        a->log_level = -1;
        a->replay = (OfflineReplay) { .uid = UID_UNSET, .gid = GID_UNSET };
        for (int c; (c = getopt_long(argc, argv, "", option_table, NULL)) >= 0;)
                switch (c) {
                case OPT_SIMULATE: a->simulate = optarg; break;
                case OPT_ROOT: a->root = optarg; break;
                case OPT_BUS: a->bus = optarg; break;
                case OPT_RUNTIME: a->runtime_dir = optarg; break;
                case OPT_STATE: a->state_dir = optarg; break;
                case OPT_WORKER: a->worker_path = optarg; break;
                case OPT_CONFIG: a->show_settings = true; break;
                case OPT_CONFIG_ROOT: a->config_root = optarg; break;
                case OPT_INTROSPECT: a->introspect = optarg; break;
                case OPT_LOG:
                        a->log_level = log_level_from_string(optarg);
                        if (a->log_level < 0) {
                                log_error("--log-level must be error, warning, notice, info or "
                                          "debug");
                                return -EINVAL;
                        }
                        break;
                case OPT_HELP:
                        print_help();
                        return 0;
                case OPT_VERSION:
                        puts("pciassignd " PACKAGE_VERSION);
                        return 0;
                default:
                        if (parse_offline(c, a))
                                break;
                        if (c != '?') /* else getopt has said why */
                                log_error("\"%.64s\" cannot be the value of this option", optarg);
                        return -EINVAL;
                }
        a->words = argv + optind;
        if (optind < argc && !a->check_policy) {
                log_error("Unexpected argument \"%s\"; see pciassignd --help", argv[optind]);
                return -EINVAL;
        }
        return 1;
}

/* The directory that a service manager made for us, else the usual one. */
static const char *directory(const char *given, const char *variable, const char *usual) {
        const char *e = getenv(variable);
        return given ? given : !isempty(e) ? e : usual;
}

static bool same_file(const char *a, const char *b) {
        struct stat one, two;
        return streq(a, b) || (stat(a, &one) >= 0 && stat(b, &two) >= 0 &&
                               one.st_dev == two.st_dev && one.st_ino == two.st_ino);
}

/* Any part of an address list that leads to the machine's own bus. */
static bool is_system_bus(const char *address) {
        _cleanup_strv_ char **parts = NULL;

        if (strv_split(address, ";", &parts) < 0)
                return true;
        for (char **p = parts; p && *p; p++) {
                char *path = strstr(*p, "path=");
                if (!path || strncmp(*p, "unix:", 5) != 0)
                        continue;
                path += strlen("path=");
                path[strcspn(path, ",")] = 0;
                if (same_file(path, SYSTEM_BUS_SOCKET) || same_file(path, "/var" SYSTEM_BUS_SOCKET))
                        return true;
        }
        return false;
}

/* A host that is not this machine must not be taken for it, nor its journal for this machine's. */
static int check_separation(const Arguments *a) {
        const char *what = a->simulate ? "--simulate" : "--root";

        if (!a->simulate && (!a->root || streq(a->root, "/")))
                return 0;
        if (!a->bus || is_system_bus(a->bus)) {
                log_error("%s needs --bus=ADDRESS of a private bus, never the machine's own; "
                          "`pciassignctl sim run` "
                          "makes one",
                          what);
                return -EINVAL;
        }
        if (!a->runtime_dir || same_file(a->runtime_dir, RUNTIME_DIR) || !a->state_dir ||
            same_file(a->state_dir, STATE_DIR)) {
                log_error("%s needs --runtime-dir and --state-dir other than " RUNTIME_DIR
                          " and " STATE_DIR,
                          what);
                return -EINVAL;
        }
        return 0;
}

/* ---- the parts ---- */

static int make_simulated_host(Daemon *d, const char *state_dir) {
        _cleanup_free_ char *text = NULL;
        _cleanup_error_ Error err = ERROR_INIT;
        size_t n;

        int r = read_file_at(AT_FDCWD, d->arguments.simulate, SNAPSHOT_SIZE_MAX, &text, &n);
        if (r < 0)
                return log_error_errno(r, "Failed to read %s: %m", d->arguments.simulate);
        r = host_sim_new(d->event, text, n, false, &err, &d->host);
        if (r < 0) {
                log_error("%s: %s", d->arguments.simulate,
                          isempty(err.message) ? "cannot be used" : err.message);
                return r;
        }
        r = host_sim_set_state_dir(d->host, state_dir);
        return r < 0 ? log_error_errno(r, "Failed to make the simulated host: %m") : 0;
}

static int make_kernel_host(Daemon *d, const char *runtime_dir, const char *state_dir) {
        const char *worker = d->arguments.worker_path, *socket = NULL;
        bool plain = !d->arguments.root || streq(d->arguments.root, "/");

        if (!worker && plain && access(WORKER_SOCKET, F_OK) >= 0)
                socket = WORKER_SOCKET;
        else if (!worker)
                worker = PKGLIBEXECDIR "/pciassign-worker";
        HostKernelOptions o = {
                .root = d->arguments.root ? d->arguments.root : "/",
                .runtime_dir = runtime_dir,
                .state_dir = state_dir,
                .worker_socket = socket,
                .worker_path = worker,
                .max_workers = (unsigned) d->settings.max_workers,
                .step_timeout_msec = (uint32_t) d->settings.step_timeout * 1000U,
        };
        int r = host_kernel_new(d->event, &o, &d->host);
        return r < 0 ? log_error_errno(r, "Failed to open the kernel's files: %m") : 0;
}

/* CAP_NET_ADMIN was for the receive buffer of the kernel's events, which is set. */
static int drop_capabilities(void) {
        struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
        struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {};

        if (geteuid() == 0) /* run by hand or in a test: its workers need root */
                return 0;
        if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 && errno != EINVAL)
                return log_error_errno(errno, "Failed to drop ambient capabilities: %m");
        if (syscall(SYS_capset, &header, data) < 0)
                return log_error_errno(errno, "Failed to drop capabilities: %m");
        return 0;
}

/* ---- the descriptor store ---- */

static void on_store_fd(const char *name, int fd, void *userdata _unused_) {
        _cleanup_free_ char *text = strjoinf("FDSTORE=1\nFDNAME=%s", name);

        if (!text || sd_pid_notify_with_fds(0, false, text, &fd, 1) < 0)
                (void) log_warning(
                        "Failed to have a descriptor of assignment %s kept over a restart", name);
}

static void on_drop_fd(const char *name, void *userdata _unused_) {
        if (sd_notifyf(false, "FDSTOREREMOVE=1\nFDNAME=%s", name) < 0)
                (void) log_warning("Failed to drop the kept descriptor of assignment %s", name);
}

static int restore_fds(Daemon *d) {
        _cleanup_strv_ char **names = NULL;

        int n = sd_listen_fds_with_names(true, &names);
        if (n < 0)
                return log_error_errno(n, "Failed to receive kept descriptors: %m");
        for (int k = 0; k < n; k++) {
                int r = engine_restore_fd(d->engine, names[k], SD_LISTEN_FDS_START + k);
                if (r < 0)
                        (void) log_warning_errno(r, "Kept descriptor \"%.64s\" is of no use: %m",
                                                 names[k]);
        }
        return 0;
}

/* ---- running ---- */

static void on_settled(void *userdata) {
        if (bus_observer.settled)
                bus_observer.settled(userdata);
        (void) sd_notify(false, "STATUS=All facts are read"); /* nobody may be listening */
}

static void on_watch_before_bus(bool needed, void *userdata) {
        ((Daemon *) userdata)->watch_wanted = needed;
}

static void on_ready(void *userdata) {
        Daemon *d = userdata;

        (void) sd_notifyf(false, "READY=1\nSTATUS=%zu functions, reading what touches hardware",
                          engine_inventory(d->engine)->n_devices);
        log_info("Ready with %zu functions", engine_inventory(d->engine)->n_devices);
        int r = engine_settle(d->engine);
        if (r < 0)
                (void) log_error_errno(r, "Failed to start reading facts: %m");
}

static BusOptions bus_options(const Daemon *d) {
        return (BusOptions) {
                .address = d->arguments.bus,
                .version = PACKAGE_VERSION,
                .simulated = d->arguments.simulate != NULL,
                .admin_gid = d->admin_gid,
                .max_requests_per_uid = (unsigned) d->settings.max_requests_per_user,
                .polkit_timeout = d->settings.polkit_timeout * USEC_PER_SEC,
        };
}

static void report_settings(const Settings *s) {
        for (char **e = s->errors; e && *e; e++)
                log_warning("%s; the value before it stands", *e);
}

static void apply_log_level(const Daemon *d) {
        log_set_level(d->arguments.log_level >= 0 ? d->arguments.log_level :
                                                    log_level_from_string(d->settings.log_level));
}

static void reload_policy(Daemon *d) {
        _cleanup_error_ Error err = ERROR_INIT;

        if (engine_reload_policy(d->engine, &err) >= 0)
                log_info("The policy was loaded anew: generation %llu",
                         (unsigned long long) engine_policy_generation(d->engine));
}

/* What the name means by now. One that is not in the local file keeps its meaning if it is the same
 * name, and means nobody otherwise. */
static void renew_admin_group(Daemon *d, const char *old_name) {
        gid_t gid = settings_local_group(d->settings.admin_group);

        if (gid == GID_UNSET && streq(d->settings.admin_group, old_name))
                return;
        if (gid == GID_UNSET)
                log_warning(
                        "AdminGroup %s is not in /etc/group: nobody is in it until the next start",
                        d->settings.admin_group);
        d->admin_gid = gid;
}

static void reload_settings(Daemon *d) {
        _cleanup_settings_ Settings fresh = {};

        int r = settings_load(strempty(d->arguments.config_root), &fresh);
        if (r < 0) {
                (void) log_error_errno(r, "Failed to load settings: %m");
                return;
        }
        if (fresh.errors) {
                for (char **e = fresh.errors; *e; e++)
                        log_error("%s; all settings stay as they were", *e);
                return;
        }
        Settings old = d->settings;
        d->settings = fresh;
        fresh = old;
        apply_log_level(d);
        renew_admin_group(d, old.admin_group);
        BusOptions o = bus_options(d);
        bus_set_options(d->bus, &o);
        log_info(
                "Settings loaded anew; limits of jobs, workers and steps change at the next start");
}

static int on_reload(sd_event_source *source _unused_, const struct signalfd_siginfo *si _unused_,
                     void *userdata) {
        Daemon *d = userdata;

        (void) sd_notify(false, "RELOADING=1");
        reload_policy(d); /* each by itself: a mistake in one does not keep the other from coming
                             into force */
        reload_settings(d);
        (void) sd_notify(false, "READY=1");
        return 0;
}

static int add_signals(Daemon *d) {
        sigset_t set;

        if (sigemptyset(&set) < 0 || sigaddset(&set, SIGTERM) < 0 || sigaddset(&set, SIGINT) < 0 ||
            sigaddset(&set, SIGHUP) < 0 || sigaddset(&set, SIGCHLD) < 0 ||
            sigprocmask(SIG_BLOCK, &set, NULL) < 0)
                return -errno;
        /* Writes to a socket that was closed are errors, not the end. */
        if (sigaction(SIGPIPE, &(struct sigaction) { .sa_handler = SIG_IGN }, NULL) < 0)
                return -errno;
        int r = sd_event_add_signal(d->event, NULL, SIGTERM, NULL, NULL);
        if (r < 0)
                return r;
        r = sd_event_add_signal(d->event, NULL, SIGINT, NULL, NULL);
        if (r < 0)
                return r;
        return sd_event_add_signal(d->event, NULL, SIGHUP, on_reload, d);
}

static int start_engine(Daemon *d, const char *runtime_dir, const char *state_dir) {
        EngineOptions o = {
                .step_timeout_msec = (uint32_t) d->settings.step_timeout * 1000U,
                .max_jobs = (unsigned) d->settings.max_jobs,
                .max_jobs_per_uid = (unsigned) d->settings.max_jobs_per_user,
                .max_assignments = (unsigned) d->settings.max_assignments,
                .max_assignments_per_uid = (unsigned) d->settings.max_assignments_per_user,
                .simulated = d->arguments.simulate != NULL,
                .config_root = strempty(d->arguments.config_root),
        };

        int r = store_open(runtime_dir, state_dir, &d->store);
        if (r < 0)
                return log_error_errno(r, "Failed to open the journal in %s: %m", runtime_dir);
        r = engine_new(d->event, d->host, d->store, &o, &d->engine);
        if (r < 0)
                return log_error_errno(r, "Failed to make the engine: %m");
        r = restore_fds(d);
        if (r < 0)
                return r;
        d->observer = (EngineObserver) {
                .watch_clients = on_watch_before_bus,
                .store_fd = on_store_fd,
                .drop_fd = on_drop_fd,
        };
        engine_observe(d->engine, &d->observer, d);
        r = engine_start(d->engine);
        return r < 0 ? log_error_errno(r, "Failed to take stock of the host: %m") : 0;
}

static int start_bus(Daemon *d) {
        d->admin_gid = settings_group(d->settings.admin_group);
        BusOptions o = bus_options(d);

        int r = bus_new(d->event, d->engine, &o, &d->bus);
        if (r < 0)
                return log_error_errno(r, "Failed to register on the bus: %m");
        d->observer = bus_observer;
        d->observer.settled = on_settled;
        d->observer.store_fd = on_store_fd;
        d->observer.drop_fd = on_drop_fd;
        engine_observe(d->engine, &d->observer, d->bus);
        if (d->watch_wanted)
                bus_observer.watch_clients(true, d->bus);
        r = bus_request_name(d->bus, on_ready, d);
        return r < 0 ? log_error_errno(r, "Failed to ask for the name " BUS_NAME ": %m") : 0;
}

static int run(Daemon *d) {
        const char *runtime_dir =
                directory(d->arguments.runtime_dir, "RUNTIME_DIRECTORY", RUNTIME_DIR);
        const char *state_dir = directory(d->arguments.state_dir, "STATE_DIRECTORY", STATE_DIR);

        int r = sd_event_default(&d->event);
        if (r < 0)
                return log_error_errno(r, "Failed to make an event loop: %m");
        r = add_signals(d);
        if (r < 0)
                return log_error_errno(r, "Failed to listen to signals: %m");
        r = sd_event_set_watchdog(d->event, true);
        if (r < 0)
                return log_error_errno(r, "Failed to start the watchdog: %m");
        /* A service manager makes it; whoever starts the daemon otherwise need not. Where it cannot
         * be made, that is told when it is used. */
        (void) mkdir(state_dir, 0700);
        r = d->arguments.simulate ? make_simulated_host(d, state_dir)
                                  : make_kernel_host(d, runtime_dir, state_dir);
        if (r < 0)
                return r;
        r = start_engine(d, runtime_dir, state_dir);
        if (r < 0)
                return r;
        r = drop_capabilities();
        if (r < 0)
                return r;
        r = start_bus(d);
        if (r < 0)
                return r;
        r = sd_event_loop(d->event);
        (void) sd_notify(false, "STOPPING=1"); /* nobody may be listening */
        return r;
}

static void daemon_done(Daemon *d) {
        engine_free(d->engine);
        bus_free(d->bus);
        store_close(d->store);
        host_free(d->host);
        sd_event_unref(d->event);
        settings_done(&d->settings);
}

static int introspect(const char *path) {
        _cleanup_free_ char *xml = NULL;

        int r = bus_introspect(path, &xml);
        if (r < 0)
                return log_error_errno(r, "Failed to introspect %s: %m", path);
        fputs(xml, stdout);
        return 0;
}

static int show_settings(const Arguments *a) {
        _cleanup_settings_ Settings s = {};
        _cleanup_free_ char *text = NULL;
        _cleanup_json_ Json *j = NULL;

        int r = settings_load(strempty(a->config_root), &s);
        if (r < 0)
                return log_error_errno(r, "Failed to load settings: %m");
        j = settings_to_json(&s);
        text = json_to_text(j, true);
        if (!text)
                return -ENOMEM;
        puts(text);
        return s.errors ? -EINVAL : 0;
}

/* What is done without being a daemon. -1: it is to be one. */
static int run_offline(Arguments *a) {
        if (a->check_policy)
                return offline_check_policy(a->words, strv_length(a->words), a->config_root);
        if (a->show_schema)
                return offline_print_schema();
        if (a->show_keys)
                return offline_print_keys();
        if (!a->replay.host)
                return -1;
        a->replay.config_root = a->config_root;
        log_set_level(MAX(a->log_level, LOG_ERR));
        return offline_replay(&a->replay);
}

int main(int argc, char **argv) {
        Daemon d = {};

        log_set_program("pciassignd");
        /* Fixed, so that the megabytes of a large reply go back to the kernel when it is sent. */
        (void) mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD);
        int r = parse_arguments(argc, argv, &d.arguments);
        if (r <= 0)
                return r < 0 ? 2 : EXIT_SUCCESS;
        if (d.arguments.introspect)
                return introspect(d.arguments.introspect) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
        r = run_offline(&d.arguments);
        if (r >= 0)
                return r;
        if (d.arguments.show_settings)
                return show_settings(&d.arguments) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
        if (check_separation(&d.arguments) < 0)
                return 2;
        r = settings_load(strempty(d.arguments.config_root), &d.settings);
        if (r < 0) {
                (void) log_error_errno(r, "Failed to load settings: %m");
                return EXIT_FAILURE;
        }
        apply_log_level(&d);
        report_settings(&d.settings);
        r = run(&d);
        daemon_done(&d);
        return r < 0 ? EXIT_FAILURE : r;
}
