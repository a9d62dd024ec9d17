/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The D-Bus face, org.vfiod1. It translates: bytes to Request, Grant and Refusal to replies, changes to
 * signals. It has no rules, secrets or budgets, and no state but the queue of announcements.
 * dbus/org.vfiod1.xml is the contract; tests/contract compares it with the running daemon.
 *
 * Objects are found when they are called, so 16384 devices cost no memory here. Announcements are collected
 * for a few milliseconds: for an object that was added and removed meanwhile, only the removal is announced.
 *
 * When the bus goes away, the face reconnects with increasing delays. Claims continue, because their
 * lifelines do not depend on the bus. */

#include <systemd/sd-event.h>

#include "daemon/broker/door.h"
#include "daemon/broker/views.h"

typedef struct BusFace BusFace;

#define BUS_FACE_NAME "org.vfiod1"
#define BUS_FACE_PATH "/org/vfiod1"

typedef struct BusContext {
    sd_event *event;
    ViewHost host; /* what is shown */
    Door *door;    /* through which everything goes */
    /* bus_face_policy_loaded() must follow. */
    void (*reload_policy)(void *userdata, const Subject *by);
    void (*ready)(void *userdata);   /* once: we have the name, or there is no bus now */
    void (*idle)(void *userdata);    /* the last listener left */
    void (*stopped)(void *userdata); /* bus_face_stop() is complete */
    void *userdata;
} BusContext;

/* Connects (to the system bus, or $DBUS_SYSTEM_BUS_ADDRESS), exports the objects and requests the name. A
 * missing bus is not an error: the face tries again. If another process has the name, the event loop ends
 * with failure. 0 or negative errno; *ret is owned by the caller. */
int bus_face_new(const BusContext *context, BusFace **ret);
/* Waiting callers are told that the daemon stops. */
BusFace *bus_face_free(BusFace *b);
DEFINE_TRIVIAL_CLEANUP_FUNC(BusFace *, bus_face_free);

void bus_face_device_changed(BusFace *b, const Device *device, int changes, int old_group);
void bus_face_claim_changed(BusFace *b, const Claim *claim, ClaimChange change);
void bus_face_policy_changed(BusFace *b);
/* Answers all callers that have requested a reload. r: negative errno when nothing could be read. */
void bus_face_policy_loaded(BusFace *b, int r);
void bus_face_taints_changed(BusFace *b);
/* The number of live connections that have called us. */
unsigned bus_face_n_listeners(const BusFace *b);
/* Releases the name. Calls that were sent to it before are still answered, but Acquire is refused: the
 * caller's next try starts a new daemon. Then calls stopped, possibly before this returns. */
void bus_face_stop(BusFace *b);
/* Writes the introspection XML of one interface set ("/org/vfiod1", device, group, claim) to stdout without a
 * bus, for vfiod --bus-introspect. 0 or negative errno. */
int bus_face_introspect(const char *path);
