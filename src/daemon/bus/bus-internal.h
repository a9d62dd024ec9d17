/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Shared by the files of the D-Bus face: the face itself, the door through which every method goes, and the
 * names of objects. */

#include <systemd/sd-bus.h>

#include "core/facts.h"
#include "daemon/broker/door.h"
#include "daemon/bus/bus-announce.h"
#include "daemon/bus/bus-pacer.h"
#include "daemon/bus/bus.h"
#include "daemon/bus/credentials.h"

#define BUS_MANAGER_INTERFACE BUS_FACE_NAME ".Manager"
#define BUS_DEVICE_INTERFACE BUS_FACE_NAME ".Device"
#define BUS_GROUP_INTERFACE BUS_FACE_NAME ".Group"
#define BUS_CLAIM_INTERFACE BUS_FACE_NAME ".Claim"

/* The longest is a device with a domain of eight digits, four of whose characters are escaped to three
 * each. */
#define BUS_OBJECT_PATH_MAX 176

typedef struct BusCall BusCall;
typedef struct BusReading BusReading; /* progress of the answer to a read, see bus-read.c */

/* Runs a method for subject. BUS_CALL_ANSWERED: the reply was sent. BUS_CALL_PENDING: the broker has the
 * call, which may already be freed. -EAGAIN: likewise, see BrokerInquiry. BUS_CALL_MORE and BUS_CALL_WAIT:
 * run it again, in the next slice or when the bus can take more. Another negative errno: refused, with the
 * reason in *refusal if that is set. */
typedef int (*bus_call_run_t)(BusCall *call, const Subject *subject, Refusal *refusal);
#define BUS_CALL_ANSWERED 0
#define BUS_CALL_PENDING 1
#define BUS_CALL_MORE 2
#define BUS_CALL_WAIT 3

struct BusCall {
    DoorTask task;
    BusFace *face;           /* borrowed */
    sd_bus_message *message; /* owned reference */
    bus_call_run_t run;
    char claim[CLAIM_ID_MAX];  /* the object of the call; "": the manager */
    const Subject *subject;    /* borrowed from credentials until the call is freed; NULL: not known yet */
    bool with_engine;          /* the broker will call back */
    BrokerInquiry inquiry;     /* facts that the answer needs; run is called again when they are read */
    bool waits_for_policy;     /* bus_face_policy_loaded() answers it */
    BusReading *reading;       /* owned */
    HolderQuery *holders;      /* while holders of devices are searched */
    const HolderAnswer *found; /* borrowed, during the answer */
    BusCall *previous, *next;  /* face.calls */
};

struct BusFace {
    BusContext context;
    sd_bus *bus;              /* owned; NULL while there is no connection */
    Credentials *credentials; /* owned; lives and dies with the connection */
    BusAnnouncer *announcer;  /* owned; lives and dies with the connection */
    BusPacer *pacer;          /* owned; lives and dies with the connection */
    sd_event_source *reconnect;
    sd_event_source *name_deadline; /* while another process has the name */
    sd_bus_slot *probe;             /* a question to a bus that may be deaf */
    uint64_t probed_usec;           /* when that was checked last */
    uint64_t backoff_usec;
    BusCall *calls;
    char *introspection[_VIEW_KIND_MAX]; /* owned; see bus-read.c */
    uint64_t written;                    /* total bytes of values appended to messages */
    uint64_t asked_usec;                 /* when the bus was last asked what a nearly full user has read */
    unsigned n_pings;                    /* of unknown connections, in the second since pings_usec */
    uint64_t pings_usec;
    bool was_ready, stopping, stopped;
};

/* Runs a call through the door. Method handlers and the filter call this and return its result. claim: see
 * BusCall, or NULL. */
int bus_call_begin(BusFace *b, sd_bus_message *m, DoorKind kind, const char *claim, bus_call_run_t run,
        sd_bus_error *error);
/* The same for a call that only asks: if it wants no reply, nothing is done. */
int bus_call_ask(BusFace *b, sd_bus_message *m, DoorKind kind, bus_call_run_t run, sd_bus_error *error);
/* Charges an answer with this many bytes beyond those of every message, and sends it. BUS_CALL_ANSWERED or
 * negative errno. */
int bus_call_send(BusCall *call, sd_bus_message *reply, uint64_t bytes);
/* Replies with one text of this type ('s', 'o'), or with nothing (NULL). */
int bus_call_reply(BusCall *call, char type, const char *text);
void bus_call_charge_fds(BusCall *call, size_t n);
/* Charges and sends an error, which may be delayed a little. */
int bus_call_send_error(BusCall *call, sd_bus_message *error, uint64_t bytes);
void bus_call_refuse(BusCall *call, int r, const Refusal *refusal);
BusCall *bus_call_free(BusCall *call);
/* Sets error from a refusal (or from the errno r if the refusal is empty), for handlers that answer at once.
 * Returns negative errno. */
int bus_error_from_refusal(sd_bus_error *error, int r, const Refusal *refusal);
/* Makes the whole error reply to call, with the parts of the refusal if the call requests them. */
int bus_error_reply(sd_bus_message *call, int r, const Refusal *refusal, sd_bus_message **ret);
/* "details", an option of every method. */
bool bus_is_details_option(const char *name);

/* The face, inside a method handler: found objects have no pointer to it. */
BusFace *bus_face_current(sd_bus *bus);

/* In one message; more than any method has. */
#define BUS_OPTIONS_MAX 32U

/* Reads the options of a method into request. With request NULL every option is refused. */
int bus_read_options(sd_bus_message *m, Request *request, Refusal *refusal);
/* The same for a method with options of its own. read_other is called first, at the value: 1 when it has read
 * it, 0 when it does not know the option, or negative errno. */
typedef int (*bus_read_option_t)(sd_bus_message *m, const char *name, void *userdata, Refusal *refusal);
int bus_read_options_with(
        sd_bus_message *m, Request *request, bus_read_option_t read_other, void *userdata, Refusal *refusal);
/* Reads an "as" of devices into request. */
int bus_read_devices(sd_bus_message *m, Request *request, Refusal *refusal);

const char *bus_device_path(const DeviceName *name, char buf[static BUS_OBJECT_PATH_MAX]);
const char *bus_group_path(int id, char buf[static BUS_OBJECT_PATH_MAX]);
const char *bus_claim_path(const char *id, char buf[static BUS_OBJECT_PATH_MAX]);

/* "/" when it refers to nothing. */
const char *bus_object_path(const ViewReference *reference, char buf[static BUS_OBJECT_PATH_MAX]);
/* The kind of object that this path can name; it need not exist. *ret_name: what follows the prefix of the
 * kind, NULL: nothing. _VIEW_KIND_INVALID: not one of our paths. */
ViewKind bus_path_kind(const char *path, const char **ret_name);
const char *bus_kind_interface(ViewKind kind);
ViewKind bus_kind_from_interface(const char *interface);
const char *bus_kind_prefix(ViewKind kind);
const sd_bus_vtable *bus_kind_vtable(ViewKind kind);

typedef struct BusObject {
    ViewKind kind;
    const void *thing;         /* of the inventory or the broker, or the face itself; valid until the next
                                * event */
    const HolderAnswer *found; /* for a field that needs it, see view_needs_holders() */
} BusObject;

bool bus_find_object(BusFace *b, const char *path, BusObject *ret);
/* Append a variant with the value; {sv} with name and value; all interfaces with their announced
 * properties. */
int bus_append_value(BusFace *b, sd_bus_message *m, const BusObject *object, const ViewField *field,
        const Subject *reader, Survey *survey, Refusal *refusal);
int bus_append_property(BusFace *b, sd_bus_message *m, const BusObject *object, const ViewField *field,
        const Subject *reader, Refusal *refusal);
int bus_append_interfaces(BusFace *b, sd_bus_message *m, const BusObject *object, const Subject *reader);
/* Appends a string that may be hostile; NULL is "". */
int bus_append_text(sd_bus_message *reply, const char *text);

int bus_objects_export(BusFace *b);
/* Is this a well-formed call of one of our methods? */
bool bus_is_method(sd_bus_message *m);
extern const sd_bus_vtable bus_manager_methods[], bus_claim_methods[];

/* For ListDevices. */
int bus_list_devices(BusCall *call, const Subject *subject, Refusal *refusal);
/* Takes a call that reads, before sd-bus sees it. Returns like bus_call_ask(); 0: the call does not read. */
int bus_read_begin(BusFace *b, sd_bus_message *m, sd_bus_error *error);
BusReading *bus_reading_free(BusReading *reading);
/* The introspection XML of one interface set, as for bus_face_introspect(). *ret is owned by the caller. */
int bus_introspect(const char *path, char **ret);

int bus_call_run_explain(BusCall *call, const Subject *subject, Refusal *refusal);
/* For bus_read_options_with(), with an ExplainQuestion: options by which root describes another caller. */
int bus_read_caller_option(sd_bus_message *m, const char *name, void *userdata, Refusal *refusal);
/* For Manager.Release and Claim.Release. */
int bus_call_run_release(BusCall *call, const Subject *subject, Refusal *refusal);
