/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the files of the bus layer share. */

#include <systemd/sd-bus.h>

#include "base/list.h"
#include "base/names.h"
#include "base/strutil.h"
#include "bus/bus.h"

typedef struct Call Call;
typedef struct Client Client;
typedef struct Gids Gids;
struct sd_event_source;

struct Bus {
        sd_bus *bus;
        struct sd_event *event;
        Engine *engine;
        BusOptions options;

        BusReady ready;
        void *ready_userdata;

        ListLink calls;           /* Call.link: all that have not been answered */
        size_t n_counted;         /* of them, by known users */
        usec_t refusals_since;    /* when this window of logged refusals began */
        unsigned n_refusals;      /* in it */

        Hashmap *clients;         /* unique name → Client: who is behind a connection */
        ListLink clients_order;   /* oldest first */

        bool watch_wanted;        /* by the engine */
        unsigned n_asking;        /* requests that wait for polkit */
        sd_bus_slot *watch;       /* the one NameOwnerChanged match */
        bool watch_active;        /* the bus has confirmed it */
        uint64_t watch_epoch;     /* grows with each confirmation */
        char id[33];              /* of this bus; "" until it is connected */

        Hashmap *shadows;  /* object's address → Shadow: what was last shown of it */
        ListLink dirty;    /* Shadow.link */
        ListLink progress; /* Shadow.link: running jobs, of which nothing but progress is to be
                            * told */
        struct sd_event_source *flush, *progress_timer;

        size_t property_hint;     /* the row after the one that was read last */
};

/* Once a message has come the bus is connected, so this asks nobody. */
void bus_learn_id(Bus *b);

/* ---- bus-path.c: object paths ---- */

typedef enum ObjectKind {
        OBJECT_MANAGER,
        OBJECT_DEVICE,
        OBJECT_GROUP,
        OBJECT_ASSIGNMENT,
        OBJECT_JOB,
        _OBJECT_KIND_MAX,
} ObjectKind;

#define BUS_PATH_MAX 128U /* of ours */
typedef struct BusPath {
        char text[BUS_PATH_MAX];
} BusPath;
BusPath bus_path_device(PciAddress a);
BusPath bus_path_group(uint32_t id);
BusPath bus_path_assignment(const char *id);
BusPath bus_path_job(uint64_t id);
BusPath bus_path_object(ObjectKind kind, const void *object);
/* "/" for NULL or a finished job: what methods return. */
BusPath bus_path_running_job(const Job *j);
/* The object behind a path of that kind, or NULL. Only the canonical spelling is found. */
void *bus_find(Bus *b, ObjectKind kind, const char *path);

/* ---- bus-sink.c: where a property's value goes: into a message, or into a hash ---- */

typedef struct Sink {
        sd_bus_message *message; /* NULL: hash */
        uint64_t hash;
        int error;               /* sticks */
} Sink;
#define SINK_MESSAGE(m) ((Sink) { .message = (m) })
#define SINK_HASH ((Sink) { .hash = HASH_INIT })
void sink_basic(Sink *s, char type, const void *value);
void sink_string(Sink *s, const char *v); /* NULL: "" */
void sink_object(Sink *s, BusPath v);
void sink_bool(Sink *s, bool v);
void sink_u8(Sink *s, uint8_t v);
void sink_u16(Sink *s, uint16_t v);
void sink_u32(Sink *s, uint32_t v);
void sink_i32(Sink *s, int32_t v);
void sink_u64(Sink *s, uint64_t v);
void sink_open(Sink *s, char type, const char *contents);
void sink_close(Sink *s);
void sink_strv(Sink *s, char *const *v);

/* ---- bus-objects.c: interfaces and their properties ---- */

typedef void (*PropertyGet)(Sink *s, Bus *b, const void *object);
typedef struct Property {
        const char *name, *signature;
        PropertyGet get;
        bool changes; /* signalled with PropertiesChanged */
} Property;
#define PROPERTIES_MAX 32U

typedef struct ObjectClass {
        const char *interface, *prefix;
        const Property *properties;
        size_t n_properties;
        const sd_bus_vtable *vtable;
} ObjectClass;
extern const ObjectClass manager_class, device_class, group_class, assignment_class, job_class;
extern const sd_bus_vtable simulator_vtable[];
const ObjectClass *object_class(ObjectKind kind);

/* Getter of every property in every vtable. */
int bus_property_get(sd_bus *bus, const char *path, const char *interface, const char *property,
                     sd_bus_message *reply, void *userdata, sd_bus_error *error);
/* Name → variant, for GetManagedObjects and lists. */
int bus_append_properties(Bus *b, sd_bus_message *m, const ObjectClass *c, const void *object);
int bus_register_objects(sd_bus *bus, bool simulated, Bus *b);

/* ---- bus-gate.c: who may call what; every method goes through bus_gate_method() ---- */

typedef enum GateAction {
        ACTION_NONE,
        ACTION_INSPECT,
        ACTION_ASSIGN,
        ACTION_MANAGE_OTHERS,
        ACTION_RESET,
        ACTION_EJECT,
        ACTION_FORCE,
        ACTION_POLICY,
        _ACTION_MAX,
} GateAction;

/* Parses, calls the engine, formats. 1: replied; 0: parked, the engine's reply will come or
 * call_require() asks; negative with err filled: the error is sent. */
typedef int (*CallHandler)(Call *q, Error *err);
/* Fills in what polkit may show and match on. */
typedef int (*GateDetails)(Call *q, sd_bus_message *m);

typedef struct GateRow {
        const char *interface, *member;
        GateAction action;
        unsigned flags;
        GateDetails details;
        CallHandler handler;
} GateRow;
#define GATE_PUBLIC (1U << 0) /* reads what is shown to all; the caller is not even looked up */
#define GATE_OWNER (1U << 1)  /* the object's owner needs no authorisation */

extern const GateRow gate_table[];
extern const size_t gate_table_size;
const char *gate_action_to_string(GateAction a);
const GateRow *gate_find(const char *interface, const char *member);
/* Every method of the vtable has a row and goes through the gate; -EINVAL else. */
int gate_check_vtable(const char *interface, const sd_bus_vtable *vtable);
int bus_gate_method(sd_bus_message *m, void *userdata, sd_bus_error *error);

int gate_details_none(Call *q, sd_bus_message *m);
int gate_details_devices(Call *q, sd_bus_message *m); /* arguments "as devices, s owner" */
int gate_details_matching(Call *q, sd_bus_message *m); /* arguments "a(a{sv}u) wants, s owner" */
int gate_details_object(Call *q, sd_bus_message *m);  /* of the object that is called */

/* ---- bus-call.c: one method call on its way ---- */

typedef enum CallStage {
        CALL_CREDENTIALS, /* the bus is asked who calls */
        CALL_POLKIT,
        CALL_ENGINE,      /* the engine has it */
        CALL_PRESENCE,    /* answered by the engine; is the caller still there? */
} CallStage;

struct Call {
        Bus *bus;
        ListLink link;
        sd_bus_message *message;
        const GateRow *row;
        CallStage stage;
        bool counted;         /* against the quota */
        bool gone;            /* the caller has left: no reply */
        uint64_t watch_epoch; /* of the bus when it came; 0: nobody would have seen the caller
                               * leave */
        bool have_credentials;
        uid_t uid;
        uint32_t pid;
        char *identity;        /* as the engine knows the client */
        Gids *gids;            /* shared with the client */
        bool privileged;       /* root or the admin group */
        unsigned granted;      /* 1 << GateAction, by polkit */
        GateAction asking;
        sd_bus_slot *slot;     /* the call to the bus or to polkit */
        sd_bus_message *reply; /* CALL_PRESENCE: what will be sent */
        void *data;            /* of the handler; freed with free() */
};

int call_new(Bus *b, sd_bus_message *m, const GateRow *row, Call **ret);
Call *call_free(Call *q);
DEFINE_CLEANUP(Call *, call_free);
/* Takes the request over: goes as far as it can without waiting. */
void call_advance(Call *q);
/* From a handler. 1: granted; 0: polkit is asked, return 0; the handler runs again from its
 * start. */
int call_require(Call *q, GateAction action, Error *err);
bool call_is_granted(const Call *q, GateAction action);
void call_caller(const Call *q, Caller *ret);
/* The object that was called, looked up now. ERROR_NOT_FOUND. */
int call_find(Call *q, ObjectKind kind, Error *err, void **ret);
/* The reply that the handler fills. Sent and the request freed by call_send(). */
int call_new_reply(Call *q, sd_bus_message **ret);
/* From handlers: sends and returns 1, or -errno with err. Takes the message over. */
int call_reply(Call *q, sd_bus_message *reply, int r, Error *err);
/* From engine callbacks: ends the request with the reply (taken over), or with an error when r <
 * 0. */
void call_finish(Call *q, sd_bus_message *reply, int r);
void call_fail(Call *q, const Error *error);
/* As call_finish(), but says nothing and forgets the client where it has left meanwhile. */
void call_finish_if_present(Call *q, sd_bus_message *reply, int r);
/* For methods whose answer is (o job) or nothing. */
void call_engine_job(const EngineAnswer *answer, const Error *error, void *userdata);
void call_engine_json(const EngineAnswer *answer, const Error *error, void *userdata);
/* Counts the requests of one user that are pending. */
size_t bus_count_calls(const Bus *b, uid_t uid);
/* The client is gone: its requests wait for nobody any more. */
void bus_drop_calls(Bus *b, const char *name);

/* ---- bus-polkit.c ---- */

/* Asks for one more authorisation; the request goes on from the start when it is granted. */
int polkit_ask(Call *q, GateAction action);

/* ---- bus-client.c: who is behind a unique name ---- */

/* All groups of a connection; shared, since a request outlives the client. */
struct Gids {
        unsigned n_refs;
        size_t n;
        gid_t ids[];
};
Gids *gids_unref(Gids *g);

struct Client {
        char *name;
        char *identity; /* name@bus: unique names repeat on another bus, and assignments outlive a
                           bus */
        ListLink link;
        uid_t uid;
        uint32_t pid;
        bool privileged;
        Gids *gids; /* NULL: the bus did not say */
};
Client *bus_client(Bus *b, const char *name);
/* Asks the bus; the request goes on when the answer is there. */
int client_ask(Call *q);
/* Is the sender still connected? done is called from the loop. */
int client_ask_presence(Call *q);
void client_forget(Bus *b, const char *name);
void clients_free(Bus *b);
/* Whatever depends on this client is given back. */
void client_gone(Bus *b, const char *name);
/* After a start: clients of assignments that have left while nobody looked. */
int clients_check(Bus *b);
/* Installs or removes the one match, as bus->watch_wanted and the pending questions need it. */
int client_watch_update(Bus *b);

/* ---- bus-options.c: a{sv} of options, one table per method ---- */

typedef enum OptionType {
        OPTION_STRING, /* const char *, borrowed from the message; 1 to max bytes, no control
                          characters */
        OPTION_BOOL,
        OPTION_TRISTATE, /* int, from a boolean; the caller presets -1 for "not given" */
        OPTION_U32,      /* uint32_t */
        OPTION_I32,      /* int32_t */
        OPTION_U64,      /* uint64_t */
        OPTION_FD,       /* int, borrowed from the message */
        OPTION_LABELS,   /* char **: "key=value", owned by the target */
        OPTION_CHOICE,   /* int; a string of choices[] */
} OptionType;

typedef struct OptionRow {
        const char *key;
        OptionType type;
        size_t offset; /* of the target's member */
        uint64_t max;  /* bytes of a string, or the largest number; 0: no limit but the type's */
        const char *const *choices; /* n_choices of them; a NULL one cannot be chosen */
        size_t n_choices;
        const char *expect;         /* for the error */
} OptionRow;
#define OPTIONS_MAX 24U
#define LABELS_TEXT "a dictionary of at most 32 strings (a{ss})"
/* Reads an a{sv}; ERROR_INVALID names the key and what was expected. */
int options_read(sd_bus_message *m, const OptionRow *rows, size_t n_rows, void *target, Error *err);
int options_read_none(sd_bus_message *m, Error *err);
/* Reads an "as" of at most max names. */
int options_read_names(sd_bus_message *m, const char *what, size_t max, Error *err, char ***ret);
/* Reads an "s" of at most max bytes of printable UTF-8. Borrowed. */
int options_read_string(sd_bus_message *m, const char *what, size_t max, Error *err,
                        const char **ret);
/* a(a{sv}u): malloc'd, WANTS_MAX at most; texts stay the message's. (bus-match.c) */
int match_read_wants(sd_bus_message *m, Error *err, Want **ret, size_t *ret_n);
#define DEVICE_NAME_SIZE_MAX 255U

/* ---- bus-format.c ---- */

int format_error(sd_bus_message *call, const Error *error, sd_bus_message **ret);
/* A JSON object as a{sv}. */
int format_json_dict(sd_bus_message *m, const Json *object);
/* Name → variant. */
int format_entry(sd_bus_message *m, const char *name, const char *signature, const void *value);

/* ---- bus-changes.c: what has been shown, what has changed since ---- */

int bus_changes_start(Bus *b);
void bus_changes_stop(Bus *b);

/* ---- handlers ---- */

int manager_assign(Call *q, Error *err);
int manager_plan(Call *q, Error *err);
int manager_assign_matching(Call *q, Error *err);
int manager_plan_matching(Call *q, Error *err);
int manager_explain(Call *q, Error *err);
int manager_get_device(Call *q, Error *err);
int manager_get_assignment(Call *q, Error *err);
int manager_rescan(Call *q, Error *err);
int manager_snapshot(Call *q, Error *err);
int manager_doctor(Call *q, Error *err);
int manager_check_policy(Call *q, Error *err);
int manager_reload_policy(Call *q, Error *err);
int manager_get_policy(Call *q, Error *err);
int list_devices(Call *q, Error *err);
int list_assignments(Call *q, Error *err);
int device_get_facts(Call *q, Error *err);
int device_reset(Call *q, Error *err);
int device_adopt(Call *q, Error *err);
int device_restore(Call *q, Error *err);
int device_quarantine(Call *q, Error *err);
int device_unquarantine(Call *q, Error *err);
int device_set_virtual_functions(Call *q, Error *err);
int assignment_open(Call *q, Error *err);
int assignment_attach(Call *q, Error *err);
int assignment_release(Call *q, Error *err);
int assignment_acknowledge_method(Call *q, Error *err);
int assignment_get_events(Call *q, Error *err);
int job_cancel(Call *q, Error *err);
int simulator_advance(Call *q, Error *err);
int simulator_inject(Call *q, Error *err);
int simulator_clear_faults(Call *q, Error *err);
int simulator_hold(Call *q, Error *err);
int simulator_unhold(Call *q, Error *err);
int simulator_rebind(Call *q, Error *err);
int simulator_set_override(Call *q, Error *err);
int simulator_remove(Call *q, Error *err);
int simulator_surprise_remove(Call *q, Error *err);
int simulator_add(Call *q, Error *err);
int simulator_lose_events(Call *q, Error *err);
int simulator_report_error(Call *q, Error *err);
int simulator_press_attention(Call *q, Error *err);
int simulator_fail_state(Call *q, Error *err);
