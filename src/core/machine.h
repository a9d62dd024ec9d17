/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The one table that decides what happens to a claim.
 *
 *   REQUESTED -> AUTHORIZING -> BINDING -> OPENING -> HELD -> DRAINING -> RESETTING -> RESTORING -> GONE
 *          `-> WAITING     `-> RESERVED                                     `-> QUARANTINED
 *
 * A pure table of (state, event) -> (state, effects). The engine feeds events and runs effects; nothing else
 * changes a claim's state. Every pair is in the table; the impossible ones are marked so, leave the state
 * alone and are reported by the engine. */

#include "base/macro.h"

typedef enum ClaimState {
    CLAIM_REQUESTED,   /* facts are collected for the plan; holds nothing, and is not visible */
    CLAIM_AUTHORIZING, /* a person is being asked (polkit) */
    CLAIM_WAITING,     /* others have its devices: it is in the queue and holds nothing */
    CLAIM_RESERVED,    /* its devices are untouched and kept for whoever has the ticket */
    CLAIM_BINDING,     /* a worker moves devices to the vfio driver */
    CLAIM_OPENING,     /* nodes are being opened */
    CLAIM_HELD,        /* the client has its fds */
    CLAIM_DRAINING,    /* ended, but a process still has a device open */
    CLAIM_RESETTING,   /* a worker resets the devices */
    CLAIM_RESTORING,   /* a worker restores drivers and driver_override */
    CLAIM_GONE,
    CLAIM_QUARANTINED, /* something could not be restored; an operator must look at it */
    _CLAIM_STATE_MAX,
    _CLAIM_STATE_INVALID = -EINVAL,
} ClaimState;
DECLARE_STRING_TABLE(claim_state, ClaimState);

typedef enum ClaimEvent {
    CLAIM_EVENT_ALLOWED,  /* the policy allows; the intent can be recorded */
    CLAIM_EVENT_ASK,      /* the policy requires that a person is asked */
    CLAIM_EVENT_RESERVED, /* the policy allows; it is a reservation */
    CLAIM_EVENT_QUEUED,   /* the policy allows, others have the devices, and the caller waits */
    CLAIM_EVENT_DENIED,   /* denied by policy or person, or refused because of the host's state */
    CLAIM_EVENT_BOUND,    /* bind plan done and verified */
    CLAIM_EVENT_BIND_FAILED,
    CLAIM_EVENT_OPENED, /* all fds are there */
    CLAIM_EVENT_OPEN_FAILED,
    CLAIM_EVENT_JOINED,      /* its devices now belong to another claim */
    CLAIM_EVENT_REDEEMED,    /* likewise, and so does its record */
    CLAIM_EVENT_RELEASE,     /* the owner or an operator ends it, or its tether ended */
    CLAIM_EVENT_DEVICE_GONE, /* unplugged */
    CLAIM_EVENT_CLOSED,      /* nobody has any of its devices open */
    CLAIM_EVENT_RESET_DONE,
    CLAIM_EVENT_RESET_FAILED, /* some of its devices could not be reset, and are bad now */
    CLAIM_EVENT_RESTORED,
    CLAIM_EVENT_RESTORE_FAILED,  /* some of its devices are bad, now or since the reset */
    CLAIM_EVENT_WORKER_STUCK,    /* an open does not return, and all of its devices are bad */
    CLAIM_EVENT_RECOVERED_HELD,  /* at start: record and holder found */
    CLAIM_EVENT_RECOVERED_ENDED, /* at start: record found, but no holder: the client has ended or never got
                                  * its fds */
    CLAIM_EVENT_RECOVERED_QUARANTINED,
    CLAIM_EVENT_RECOVERED_RESERVED,
    CLAIM_EVENT_RETURNED, /* what timed out has finished after all, and nothing else was wrong */
    CLAIM_EVENT_FORGET,   /* an operator clears a quarantine, after checking the device */
    _CLAIM_EVENT_MAX,
    _CLAIM_EVENT_INVALID = -EINVAL,
} ClaimEvent;
DECLARE_STRING_TABLE(claim_event, ClaimEvent);

/* What the broker does after a transition, in the order of the bits. */
typedef enum ClaimEffect {
    CLAIM_EFFECT_SAVE = 1 << 0,        /* write the record, before anything below changes hardware */
    CLAIM_EFFECT_BIND = 1 << 1,        /* run the bind plan in a worker */
    CLAIM_EFFECT_OPEN = 1 << 2,        /* open nodes */
    CLAIM_EFFECT_REPLY = 1 << 3,       /* hand the fds over */
    CLAIM_EFFECT_REFUSE = 1 << 4,      /* answer the caller with claim->refusal, if it still waits */
    CLAIM_EFFECT_WATCH_CLOSE = 1 << 5, /* find out whether everything is closed, now and at every event */
    CLAIM_EFFECT_RESET = 1 << 6,
    CLAIM_EFFECT_RESTORE = 1 << 7,     /* run the plan's reverse steps in a worker */
    CLAIM_EFFECT_FORGET = 1 << 8,      /* remove record, quota and objects */
    CLAIM_EFFECT_DEFER = 1 << 9,       /* a worker is busy: feed the event again after its next result */
    CLAIM_EFFECT_AUTHORIZE = 1 << 10,  /* ask a person */
    CLAIM_EFFECT_IMPOSSIBLE = 1 << 11, /* the pair cannot happen: report it, change nothing */
    CLAIM_EFFECT_TICKET = 1 << 12,     /* hand the ticket out, and wait for it until it expires */
} ClaimEffect;
#define CLAIM_EFFECTS 13 /* number of bits */
const char *claim_effect_to_string(unsigned bit);

typedef struct Transition {
    ClaimState next;
    unsigned effects; /* mask of ClaimEffect */
} Transition;

Transition machine_step(ClaimState state, ClaimEvent event);

/* The event that continues a claim whose record was found at the start, from CLAIM_REQUESTED. holder_lives:
 * its tether still exists. */
ClaimEvent machine_recovery(ClaimState recorded, bool holder_lives);
