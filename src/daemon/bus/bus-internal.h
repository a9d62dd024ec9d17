/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the files of the D-Bus face share, and nobody else sees: the face itself, the door through which every
 * acting method goes, and the names of objects. */

#include <systemd/sd-bus.h>

#include "core/facts.h"
#include "daemon/bus/bus-announce.h"
#include "daemon/bus/bus-pacer.h"
#include "daemon/bus/bus.h"
#include "daemon/bus/credentials.h"

#define BUS_MANAGER_INTERFACE BUS_FACE_NAME ".Manager"
#define BUS_DEVICE_INTERFACE BUS_FACE_NAME ".Device"
#define BUS_GROUP_INTERFACE BUS_FACE_NAME ".Group"
#define BUS_CLAIM_INTERFACE BUS_FACE_NAME ".Claim"

/* The longest is a device with eight digits of domain, four of whose characters are escaped to three each. */
#define BUS_OBJECT_PATH_MAX 96

/* Calls that wait for credentials or for the broker, of all connections together; credentials.h bounds those
 * of one. Each keeps its message. */
#define BUS_CALLS_MAX 512U

typedef struct BusCall BusCall;

/* Runs a method on behalf of subject. BUS_CALL_ANSWERED: the reply was sent. BUS_CALL_PENDING: the broker has
 * the call, which may even be freed by now. -EAGAIN: likewise, see BrokerInquiry. Another negative errno:
 * refused, *refusal says why when it is set. */
typedef int (*bus_call_run_t)(BusCall *call, const Subject *subject, Refusal *refusal);
#define BUS_CALL_ANSWERED 0
#define BUS_CALL_PENDING 1

struct BusCall {
    BusFace *face;           /* borrowed */
    sd_bus_message *message; /* owned reference */
    bus_call_run_t run;
    char claim[CLAIM_ID_MAX]; /* the object on which the method was called, "" for the manager */
    const Subject *subject;   /* borrowed from credentials, put back with the call; NULL before it is known */
    bool with_engine;         /* the broker will call back */
    BrokerInquiry inquiry;    /* facts that the answer takes; run is called again when they are there */
    bool waits_for_policy;    /* bus_face_policy_loaded() answers it */
    BusCall *previous, *next; /* face.calls */
};

struct BusFace {
    BusContext context;
    sd_bus *bus;              /* owned; NULL while there is no connection */
    Credentials *credentials; /* owned; lives and dies with the connection */
    BusAnnouncer *announcer;  /* owned; lives and dies with the connection */
    BusPacer *pacer;          /* owned; lives and dies with the connection */
    sd_event_source *reconnect;
    sd_event_source *name_deadline; /* while another process has the name */
    uint64_t backoff_usec;
    BusCall *calls;
    unsigned n_calls;
    char *reader_name; /* owned; who last read what is not for everybody, NULL: nobody; see bus_reader() */
    Subject reader;
    uint64_t holders_paid_usec; /* CLOCK_MONOTONIC; see bus-claim.c */
    uint64_t explain_paid_usec; /* likewise; see bus-explain.c */
    bool was_ready, stopping, stopped;
};

/* The door. Call from a method handler and return what it returns. claim: see BusCall, or NULL. */
int bus_call_begin(BusFace *b, sd_bus_message *m, const char *claim, bus_call_run_t run, sd_bus_error *error);
void bus_call_refuse(BusCall *call, int r, const Refusal *refusal);
BusCall *bus_call_free(BusCall *call);
/* Fills error from a refusal (or, when it is empty, from the errno r) for handlers that answer at once.
 * Returns negative errno. */
int bus_error_from_refusal(sd_bus_error *error, int r, const Refusal *refusal);
/* The whole answer to call, with the parts of the refusal if it asked for them. */
int bus_error_reply(sd_bus_message *call, int r, const Refusal *refusal, sd_bus_message **ret);
/* "details", the one option that every method takes. */
bool bus_is_details_option(const char *name);

/* The face, from inside a property getter or a method handler; found objects do not lead back to it. */
BusFace *bus_face_current(sd_bus *bus);

/* Who reads a property; only the uid is sure to be known. NULL: unknown, or everybody (a signal). Valid until
 * the getter returns. */
const Subject *bus_reader(sd_bus *bus);

/* In one message. More than any method has. */
#define BUS_OPTIONS_MAX 32U

/* Reads the options of a method: into request, or, when that is NULL, refuses every one. */
int bus_read_options(sd_bus_message *m, Request *request, Refusal *refusal);
/* The same for a method with options of its own. read_other is asked first, at the value: 1 when it has read
 * it, 0 when it knows no such option, negative errno. */
typedef int (*bus_read_option_t)(sd_bus_message *m, const char *name, void *userdata, Refusal *refusal);
int bus_read_options_with(
        sd_bus_message *m, Request *request, bus_read_option_t read_other, void *userdata, Refusal *refusal);
/* "as" into request. */
int bus_read_devices(sd_bus_message *m, Request *request, Refusal *refusal);

const char *bus_device_path(const DeviceName *name, char buf[static BUS_OBJECT_PATH_MAX]);
const char *bus_group_path(int id, char buf[static BUS_OBJECT_PATH_MAX]);
const char *bus_claim_path(const char *id, char buf[static BUS_OBJECT_PATH_MAX]);

/* What a node enumerator answers: a list that ends with NULL, or NULL while it is empty. */
typedef struct BusPaths {
    char **list;
    size_t n, allocated;
} BusPaths;

int bus_paths_add(BusPaths *p, const char *path);
void bus_paths_done(BusPaths *p);

/* The name of what claims this (NULL: nobody) and its path, for devices and groups alike. */
const char *bus_state_of(const Claim *claim, bool quarantined);
int bus_append_claim_path(sd_bus_message *reply, const Claim *claim);
const Claim *bus_claim_of_device(const Device *d);
/* A string that may hold hostile bytes; NULL is "". */
int bus_append_text(sd_bus_message *reply, const char *text);

/* One for each kind of object: adds vtable and enumerator. */
int bus_manager_export(BusFace *b);
int bus_device_export(BusFace *b);
int bus_group_export(BusFace *b);
int bus_claim_export(BusFace *b);
extern const sd_bus_vtable bus_manager_vtable[], bus_device_vtable[], bus_group_vtable[], bus_claim_vtable[];

int bus_call_run_explain(BusCall *call, const Subject *subject, Refusal *refusal);
/* For Manager.Release and Claim.Release. */
int bus_call_run_release(BusCall *call, const Subject *subject, Refusal *refusal);
