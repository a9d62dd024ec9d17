/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The D-Bus face, org.vfiod1. Translates: bytes to Request, Grant and Refusal to replies, changes to signals.
 * It holds no rule, no secret, no budget, and no state but the queue of announcements. dbus/org.vfiod1.xml is
 * the contract; the vtables in bus-*.c are compared with it by tests/contract against the running daemon.
 *
 * Objects are found when they are asked for: 16384 devices cost no memory here. Announcements
 * are coalesced for a few milliseconds: of an object that came and went meanwhile, the end alone is
 * announced.
 *
 * When the bus goes away the face reconnects, with backoff, while claims live on: their lifelines do not
 * depend on the bus. */

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
    /* bus_face_policy_loaded() follows */
    void (*reload_policy)(void *userdata, const Subject *by);
    void (*ready)(void *userdata);   /* once: the name is ours, or there is no bus just now */
    void (*idle)(void *userdata);    /* the last listener left */
    void (*stopped)(void *userdata); /* bus_face_stop() is complete */
    void *userdata;
} BusContext;

/* Connects (the system bus, or $DBUS_SYSTEM_BUS_ADDRESS), exports, asks for the name. That there is no bus is
 * no failure: the face tries again. When another process has the name the event loop is ended with failure.
 */
int bus_face_new(const BusContext *context, BusFace **ret);
/* Callers that still wait are told that the daemon stops. */
BusFace *bus_face_free(BusFace *b);
DEFINE_TRIVIAL_CLEANUP_FUNC(BusFace *, bus_face_free);

void bus_face_device_changed(BusFace *b, const Device *device, int changes, int old_group);
void bus_face_claim_changed(BusFace *b, const Claim *claim, ClaimChange change);
void bus_face_policy_changed(BusFace *b);
/* Answers everybody who has asked for a reload. r: negative errno when nothing could be read. */
void bus_face_policy_loaded(BusFace *b, int r);
void bus_face_taints_changed(BusFace *b);
/* Live connections that have called us: listeners. */
unsigned bus_face_n_listeners(const BusFace *b);
/* Gives the name back. What was sent to it before is still answered, but Acquire is refused: the caller's
 * next try starts a new daemon. Calls stopped afterwards, possibly before this returns. */
void bus_face_stop(BusFace *b);
/* Writes the introspection XML of one interface set ("/org/vfiod1", device, group, claim) to stdout, no bus
 * needed: vfiod --bus-introspect. 0 or negative errno. */
int bus_face_introspect(const char *path);
