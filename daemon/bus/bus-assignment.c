/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * org.pciassign1.Assignment: what an owner does with what it was given. Descriptors come with the
 * engine's answer and go out with the reply; no copy of any stays here.
 */

#include <assert.h>

#include "bus/bus-private.h"

#define GETTER(name) static void name(Sink *s, Bus *b _unused_, const void *object)
#define ASSIGNMENT ((const Assignment *) object)

GETTER(get_id) {
        sink_string(s, ASSIGNMENT->id);
}

GETTER(get_owner) {
        sink_string(s, ASSIGNMENT->owner);
}

GETTER(get_creator) {
        sink_u32(s, ASSIGNMENT->creator_uid);
}

GETTER(get_user) {
        sink_u32(s, ASSIGNMENT->user_uid);
}

GETTER(get_labels) {
        sink_open(s, 'a', "{ss}");
        for (char *const *l = ASSIGNMENT->labels; l && *l; l++) {
                const char *value = strchr(*l, '=');
                _cleanup_free_ char *key = value ? strndup(*l, (size_t) (value - *l)) : NULL;
                if (!key)
                        continue;
                sink_open(s, 'e', "ss");
                sink_string(s, key);
                sink_string(s, value + 1);
                sink_close(s);
        }
        sink_close(s);
}

GETTER(get_lifetime) {
        sink_string(s, lifetime_to_string(ASSIGNMENT->lifetime));
}

GETTER(get_state) {
        sink_string(s, assignment_state_to_string(ASSIGNMENT->state));
}

static void sink_devices(Sink *s, const Assignment *a, bool requested) {
        sink_open(s, 'a', "s");
        for (size_t n = 0; a->plan && n < a->plan->n_devices; n++)
                if (a->plan->devices[n].requested == requested)
                        sink_string(s, PCI_ADDRESS_TEXT(a->plan->devices[n].address));
        sink_close(s);
}

GETTER(get_devices) {
        sink_devices(s, ASSIGNMENT, true);
}

GETTER(get_parked) {
        sink_devices(s, ASSIGNMENT, false);
}

GETTER(get_request_id) {
        sink_string(s, ASSIGNMENT->request_id);
}

GETTER(get_pid) {
        sink_u32(s, ASSIGNMENT->pid);
}

GETTER(get_created) {
        sink_u64(s, ASSIGNMENT->created_at);
}

GETTER(get_attach_deadline) {
        sink_u64(s, ASSIGNMENT->attach_deadline);
}

GETTER(get_job) {
        sink_object(s, bus_path_running_job(ASSIGNMENT->job));
}

GETTER(get_pending) {
        sink_u32(s, (uint32_t) assignment_count_pending(ASSIGNMENT));
}

GETTER(get_missing) {
        sink_strv(s, ASSIGNMENT->missing);
}

GETTER(get_policy) {
        sink_string(s, ASSIGNMENT->policy);
}

GETTER(get_differs) {
        sink_strv(s, ASSIGNMENT->differs);
}

static const Property properties[] = {
        { "Id", "s", get_id },
        { "Owner", "s", get_owner },
        { "CreatorUid", "u", get_creator },
        { "RequestId", "s", get_request_id },
        { "CreatedAt", "t", get_created },
        { "UserUid", "u", get_user, true },
        { "Labels", "a{ss}", get_labels, true },
        { "Lifetime", "s", get_lifetime, true },
        { "State", "s", get_state, true },
        { "Devices", "as", get_devices, true },
        { "Parked", "as", get_parked, true },
        { "Pid", "u", get_pid, true },
        { "AttachDeadline", "t", get_attach_deadline, true },
        { "Job", "o", get_job, true },
        { "PendingEvents", "u", get_pending, true },
        { "Missing", "as", get_missing, true },
        { "Differs", "as", get_differs, true },
        { "Policy", "s", get_policy, true },
};

/* ---- Open ---- */

static int append_fds(Call *q _unused_, sd_bus_message *m, const EngineAnswer *answer,
                      const PciAddress *a) {
        static const struct { HostFdKind kind; const char *key;
        } keys[] = {
                { HOST_FD_CONTAINER, "container" }, { HOST_FD_IOMMUFD, "iommufd" },
                { HOST_FD_GROUP, "group" },         { HOST_FD_DEVICE, "device" },
                { HOST_FD_CDEV, "cdev" },
        };
        for (size_t n = 0; n < answer->n_fds; n++) {
                const HostFd *fd = &answer->fds[n];
                bool shared = fd->kind == HOST_FD_CONTAINER || fd->kind == HOST_FD_IOMMUFD;
                if (a ? shared || !pci_address_equal(fd->address, *a) : !shared)
                        continue;
                for (size_t k = 0; k < ELEMENTSOF(keys); k++) {
                        if (keys[k].kind != fd->kind)
                                continue;
                        int r = format_entry(m, keys[k].key, "h", &fd->fd);
                        if (r < 0)
                                return r;
                }
        }
        return 0;
}

static int append_device(Call *q, sd_bus_message *m, const EngineAnswer *answer, PciAddress a) {
        const Device *d = inventory_device(engine_inventory(q->bus->engine), a);
        const char *text = PCI_ADDRESS_TEXT(a);

        int r = sd_bus_message_open_container(m, 'r', "sa{sv}");
        if (r < 0)
                return r;
        r = sd_bus_message_append_basic(m, 's', text);
        if (r < 0)
                return r;
        r = sd_bus_message_open_container(m, 'a', "{sv}");
        if (r < 0)
                return r;
        r = format_entry(m, "bdf", "s", text);
        if (r < 0)
                return r;
        if (d && d->group) {
                r = format_entry(m, "iommu-group", "u", &d->group->id);
                if (r < 0)
                        return r;
        }
        for (size_t i = 0; i < answer->n_opened; i++) {
                if (!answer->opened[i].vf_token[0] ||
                    !pci_address_equal(answer->opened[i].address, a))
                        continue;
                r = format_entry(m, "vf-token", "s", answer->opened[i].vf_token);
                if (r < 0)
                        return r;
        }
        r = append_fds(q, m, answer, &a);
        if (r < 0)
                return r;
        r = sd_bus_message_close_container(m);
        if (r < 0)
                return r;
        return sd_bus_message_close_container(m);
}

static bool names_contain(char *const *names, PciAddress a) {
        if (!names || !names[0])
                return true;
        for (; *names; names++) {
                PciAddress named;
                if (pci_address_parse_short(*names, &named) >= 0 && pci_address_equal(named, a))
                        return true;
        }
        return false;
}

/* Is this device in the answer: asked for, or does a descriptor of it come along? */
static bool is_opened(const Call *q, const EngineAnswer *answer, const PlanDevice *d) {
        for (size_t n = 0; n < answer->n_fds; n++)
                if (answer->fds[n].kind != HOST_FD_CONTAINER &&
                    answer->fds[n].kind != HOST_FD_IOMMUFD &&
                    pci_address_equal(answer->fds[n].address, d->address))
                        return true;
        return d->requested && names_contain(q->data, d->address);
}

static int fill_opened(Call *q, sd_bus_message *m, const EngineAnswer *answer) {
        const Plan *plan = answer->assignment ? answer->assignment->plan : NULL;
        const char *api = answer->api == HOST_API_CDEV ? "cdev" : "group";

        int r = sd_bus_message_open_container(m, 'a', "{sv}");
        if (r < 0)
                return r;
        r = format_entry(m, "api", "s", api);
        if (r < 0)
                return r;
        r = append_fds(q, m, answer, NULL);
        if (r < 0)
                return r;
        r = sd_bus_message_close_container(m);
        if (r < 0)
                return r;
        r = sd_bus_message_open_container(m, 'a', "(sa{sv})");
        if (r < 0)
                return r;
        for (size_t n = 0; plan && n < plan->n_devices; n++) {
                if (!is_opened(q, answer, &plan->devices[n]))
                        continue;
                r = append_device(q, m, answer, plan->devices[n].address);
                if (r < 0)
                        return r;
        }
        return sd_bus_message_close_container(m);
}

static void open_answered(const EngineAnswer *answer, const Error *error, void *userdata) {
        Call *q = userdata;
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;

        if (error) {
                call_fail(q, error);
                return;
        }
        int r = call_new_reply(q, &reply);
        if (r >= 0)
                r = fill_opened(q, reply, answer);
        call_finish(q, TAKE_PTR(reply), r);
}

static const char *const apis[] = {
        [HOST_API_AUTO] = "auto",
        [HOST_API_GROUP] = "group",
        [HOST_API_CDEV] = "cdev",
};

typedef struct OpenArguments {
        int api;
        bool device_fd;
        int container, iommufd;
} OpenArguments;

/* clang-format off */
static const OptionRow open_rows[] = {
        { "api", OPTION_CHOICE, offsetof(OpenArguments, api), .choices = apis, .n_choices = ELEMENTSOF(apis),
          .expect = "\"auto\", \"group\" or \"cdev\" (s)" },
        { "device-fd", OPTION_BOOL, offsetof(OpenArguments, device_fd), .expect = "a boolean (b)" },
        { "container", OPTION_FD, offsetof(OpenArguments, container), .expect = "a VFIO container (h)" },
        { "iommufd", OPTION_FD, offsetof(OpenArguments, iommufd), .expect = "an iommufd (h)" },
};
/* clang-format on */

/* The devices that were named, as one block of memory that the request frees. */
static char **pack_names(char *const *names) {
        size_t n = strv_length(names), size = (n + 1) * sizeof(char *);

        for (size_t k = 0; k < n; k++)
                size += strlen(names[k]) + 1;
        char **v = malloc(size);
        if (!v)
                return NULL;
        char *text = (char *) (v + n + 1);
        for (size_t k = 0; k < n; k++) {
                v[k] = text;
                text = stpcpy(text, names[k]) + 1;
        }
        v[n] = NULL;
        return v;
}

int assignment_open(Call *q, Error *err) {
        OpenArguments a = { .api = HOST_API_AUTO, .container = -EBADF, .iommufd = -EBADF };
        _cleanup_strv_ char **names = NULL;
        Caller c;
        void *object;

        int r = options_read_names(q->message, "devices", PLAN_DEVICES_MAX, err, &names);
        if (r < 0)
                return r;
        r = options_read(q->message, open_rows, ELEMENTSOF(open_rows), &a, err);
        if (r < 0)
                return r;
        if (a.container >= 0 && a.iommufd >= 0)
                return error_set(err, ERROR_INVALID,
                                 "Options \"container\" and \"iommufd\" exclude each other; "
                                 "give the one that the VMM uses");
        r = call_find(q, OBJECT_ASSIGNMENT, err, &object);
        if (r < 0)
                return r;
        free(q->data);
        q->data = pack_names(names);
        if (!q->data)
                return -ENOMEM;
        call_caller(q, &c);
        OpenOptions o = {
                .api = a.api,
                .device_fd = a.device_fd,
                .container_fd = a.container,
                .iommufd = a.iommufd,
        };
        return engine_open(q->bus->engine, &c, ((Assignment *) object)->id, names[0] ? names : NULL,
                           &o, open_answered, q, err);
}

/* ---- the other methods ---- */

int assignment_attach(Call *q, Error *err) {
        struct { uint64_t memlock; } options = {};
        static const OptionRow rows[] = {
                { "memlock", OPTION_U64, 0, .expect = "a number of bytes (t)" },
        };
        const char *uid;
        Caller c;
        void *a;
        int fd;

        int r = sd_bus_message_read_basic(q->message, 'h', &fd);
        if (r < 0)
                return r;
        r = sd_bus_message_read_basic(q->message, 's', &uid);
        if (r < 0)
                return r;
        uint32_t user = q->uid;
        if (!isempty(uid) && parse_u32(uid, 10, UINT32_MAX - 1, &user) < 0)
                return error_set(err, ERROR_INVALID,
                                 "The user must be a number, or empty to leave it as it is");
        r = options_read(q->message, rows, ELEMENTSOF(rows), &options, err);
        if (r < 0)
                return r;
        if (user != q->uid) { /* to hand over to another user is more than to own */
                r = call_require(q, ACTION_MANAGE_OTHERS, err);
                if (r <= 0)
                        return r;
        }
        r = call_find(q, OBJECT_ASSIGNMENT, err, &a);
        if (r < 0)
                return r;
        call_caller(q, &c);
        return engine_attach(q->bus->engine, &c, ((Assignment *) a)->id, fd, uid, options.memlock,
                             call_engine_job, q, err);
}

int assignment_release(Call *q, Error *err) {
        struct { bool no_wait; } options = {};
        static const OptionRow rows[] = {
                { "no-wait", OPTION_BOOL, 0, .expect = "a boolean (b)" },
        };
        Caller c;
        void *a;

        int r = options_read(q->message, rows, ELEMENTSOF(rows), &options, err);
        if (r < 0)
                return r;
        r = call_find(q, OBJECT_ASSIGNMENT, err, &a);
        if (r < 0)
                return r;
        call_caller(q, &c);
        return engine_release(q->bus->engine, &c, ((Assignment *) a)->id, options.no_wait,
                              call_engine_job, q, err);
}

int assignment_acknowledge_method(Call *q, Error *err) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        uint64_t number;
        Caller c;
        void *a;

        int r = sd_bus_message_read_basic(q->message, 't', &number);
        if (r < 0)
                return r;
        r = call_find(q, OBJECT_ASSIGNMENT, err, &a);
        if (r < 0)
                return r;
        call_caller(q, &c);
        r = engine_acknowledge(q->bus->engine, &c, ((Assignment *) a)->id, number, err);
        if (r < 0)
                return r;
        r = call_new_reply(q, &reply);
        return call_reply(q, TAKE_PTR(reply), r, err);
}

static int append_notice(sd_bus_message *m, const AssignmentNotice *n) {
        int acknowledged = n->acknowledged;

        int r = sd_bus_message_open_container(m, 'a', "{sv}");
        if (r < 0)
                return r;
        r = format_entry(m, "number", "t", &n->number);
        if (r < 0)
                return r;
        r = format_entry(m, "at", "t", &n->at);
        if (r < 0)
                return r;
        r = format_entry(m, "kind", "s", n->kind);
        if (r < 0)
                return r;
        r = format_entry(m, "device", "s", strempty(n->device));
        if (r < 0)
                return r;
        r = format_entry(m, "details", "s", n->details ? n->details : "{}");
        if (r < 0)
                return r;
        r = format_entry(m, "acknowledged", "b", &acknowledged);
        if (r < 0)
                return r;
        return sd_bus_message_close_container(m);
}

static int fill_events(sd_bus_message *m, const Assignment *a, uint64_t after) {
        uint64_t first = a->next_notice > EVENTS_MAX ? a->next_notice - EVENTS_MAX : 1;

        int r = sd_bus_message_open_container(m, 'a', "a{sv}");
        if (r < 0)
                return r;
        for (uint64_t k = after >= first && after < a->next_notice ? after + 1 : first;
             k < a->next_notice; k++) {
                const AssignmentNotice *n = assignment_get_notice(a, k);
                r = n ? append_notice(m, n) : 0;
                if (r < 0)
                        return r;
        }
        r = sd_bus_message_close_container(m);
        if (r < 0)
                return r;
        uint64_t last = a->next_notice - 1;
        return sd_bus_message_append_basic(m, 't', &last);
}

int assignment_get_events(Call *q, Error *err) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        uint64_t after;
        void *a;

        int r = sd_bus_message_read_basic(q->message, 't', &after);
        if (r < 0)
                return r;
        r = call_find(q, OBJECT_ASSIGNMENT, err, &a);
        if (r < 0)
                return r;
        r = call_new_reply(q, &reply);
        if (r >= 0)
                r = fill_events(reply, a, after);
        return call_reply(q, TAKE_PTR(reply), r, err);
}

/* clang-format off */
#define CONST(name, signature) \
        SD_BUS_PROPERTY(name, signature, bus_property_get, 0, SD_BUS_VTABLE_PROPERTY_CONST)
#define CHANGES(name, signature) \
        SD_BUS_PROPERTY(name, signature, bus_property_get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE)

static const sd_bus_vtable vtable[] = {
        SD_BUS_VTABLE_START(0),
        CONST("Id", "s"),
        CONST("Owner", "s"),
        CONST("CreatorUid", "u"),
        CONST("RequestId", "s"),
        CONST("CreatedAt", "t"),
        CHANGES("UserUid", "u"),
        CHANGES("Labels", "a{ss}"),
        CHANGES("Lifetime", "s"),
        CHANGES("State", "s"),
        CHANGES("Devices", "as"),
        CHANGES("Parked", "as"),
        CHANGES("Pid", "u"),
        CHANGES("AttachDeadline", "t"),
        CHANGES("Job", "o"),
        CHANGES("PendingEvents", "u"),
        CHANGES("Missing", "as"),
        CHANGES("Differs", "as"),
        CHANGES("Policy", "s"),
        SD_BUS_METHOD_WITH_ARGS("Open",
                SD_BUS_ARGS("as", devices, "a{sv}", options),
                SD_BUS_RESULT("a{sv}", shared, "a(sa{sv})", opened),
                bus_gate_method, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Attach",
                SD_BUS_ARGS("h", pidfd, "s", uid, "a{sv}", options), SD_BUS_RESULT("o", job),
                bus_gate_method, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Release",
                SD_BUS_ARGS("a{sv}", options), SD_BUS_RESULT("o", job),
                bus_gate_method, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Acknowledge",
                SD_BUS_ARGS("t", event), SD_BUS_NO_RESULT,
                bus_gate_method, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("GetEvents",
                SD_BUS_ARGS("t", after), SD_BUS_RESULT("aa{sv}", events, "t", next),
                bus_gate_method, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_SIGNAL_WITH_ARGS("RemovalRequested",
                SD_BUS_ARGS("t", event, "s", device, "s", reason, "t", deadline), 0),
        SD_BUS_SIGNAL_WITH_ARGS("Lost", SD_BUS_ARGS("t", event, "s", device), 0),
        SD_BUS_SIGNAL_WITH_ARGS("Quarantined", SD_BUS_ARGS("t", event, "s", device, "s", reason), 0),
        SD_BUS_VTABLE_END
};
/* clang-format on */

const ObjectClass assignment_class = {
        .interface = BUS_INTERFACE_ASSIGNMENT,
        .prefix = BUS_PATH_ASSIGNMENT,
        .properties = properties,
        .n_properties = ELEMENTSOF(properties),
        .vtable = vtable,
};
