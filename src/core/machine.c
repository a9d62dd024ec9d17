/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/machine.h"

static const char *const claim_state_table[_CLAIM_STATE_MAX] = {
        [CLAIM_REQUESTED] = "requested",
        [CLAIM_AUTHORIZING] = "authorizing",
        [CLAIM_WAITING] = "waiting",
        [CLAIM_RESERVED] = "reserved",
        [CLAIM_BINDING] = "binding",
        [CLAIM_OPENING] = "opening",
        [CLAIM_HELD] = "held",
        [CLAIM_DRAINING] = "draining",
        [CLAIM_RESETTING] = "resetting",
        [CLAIM_RESTORING] = "restoring",
        [CLAIM_GONE] = "gone",
        [CLAIM_QUARANTINED] = "quarantined",
};
DEFINE_STRING_TABLE(claim_state, ClaimState);

static const char *const claim_event_table[_CLAIM_EVENT_MAX] = {
        [CLAIM_EVENT_ALLOWED] = "allowed",
        [CLAIM_EVENT_ASK] = "ask",
        [CLAIM_EVENT_RESERVED] = "reserved",
        [CLAIM_EVENT_QUEUED] = "queued",
        [CLAIM_EVENT_DENIED] = "denied",
        [CLAIM_EVENT_BOUND] = "bound",
        [CLAIM_EVENT_BIND_FAILED] = "bind-failed",
        [CLAIM_EVENT_OPENED] = "opened",
        [CLAIM_EVENT_OPEN_FAILED] = "open-failed",
        [CLAIM_EVENT_JOINED] = "joined",
        [CLAIM_EVENT_REDEEMED] = "redeemed",
        [CLAIM_EVENT_RELEASE] = "release",
        [CLAIM_EVENT_DEVICE_GONE] = "device-gone",
        [CLAIM_EVENT_CLOSED] = "closed",
        [CLAIM_EVENT_RESET_DONE] = "reset-done",
        [CLAIM_EVENT_RESET_FAILED] = "reset-failed",
        [CLAIM_EVENT_RESTORED] = "restored",
        [CLAIM_EVENT_RESTORE_FAILED] = "restore-failed",
        [CLAIM_EVENT_WORKER_STUCK] = "worker-stuck",
        [CLAIM_EVENT_RECOVERED_HELD] = "recovered-held",
        [CLAIM_EVENT_RECOVERED_ENDED] = "recovered-ended",
        [CLAIM_EVENT_RECOVERED_QUARANTINED] = "recovered-quarantined",
        [CLAIM_EVENT_RECOVERED_RESERVED] = "recovered-reserved",
        [CLAIM_EVENT_RETURNED] = "returned",
        [CLAIM_EVENT_FORGET] = "forget",
};
DEFINE_STRING_TABLE(claim_event, ClaimEvent);

static const char *const claim_effect_table[CLAIM_EFFECTS] = {
        "save",
        "bind",
        "open",
        "reply",
        "refuse",
        "watch-close",
        "reset",
        "restore",
        "forget",
        "defer",
        "authorize",
        "impossible",
        "ticket",
};

const char *claim_effect_to_string(unsigned bit) {
    return bit < CLAIM_EFFECTS ? claim_effect_table[bit] : NULL;
}

typedef struct Cell {
    bool possible;
    ClaimState next;
    unsigned effects;
} Cell;

#define GO(state_, effects_)                                                                                 \
    { .possible = true, .next = CLAIM_##state_, .effects = (effects_) }

#define SAVE CLAIM_EFFECT_SAVE
#define BIND CLAIM_EFFECT_BIND
#define OPEN CLAIM_EFFECT_OPEN
#define REPLY CLAIM_EFFECT_REPLY
#define REFUSE CLAIM_EFFECT_REFUSE
#define WATCH_CLOSE CLAIM_EFFECT_WATCH_CLOSE
#define RESET CLAIM_EFFECT_RESET
#define RESTORE CLAIM_EFFECT_RESTORE
#define FORGET CLAIM_EFFECT_FORGET
#define DEFER CLAIM_EFFECT_DEFER
#define AUTHORIZE CLAIM_EFFECT_AUTHORIZE
#define TICKET CLAIM_EFFECT_TICKET

/* Pairs that are not listed are impossible. Notes:
 *
 * - A refused caller is answered after everything was restored (REFUSE with RESTORED), so that "nothing was
 * changed" is true. REFUSE does nothing when nobody waits.
 * - While a worker is in the kernel nothing can be undone: RELEASE and DEVICE_GONE wait for its result.
 * - One bad device does not stop the others: they are reset and restored, and RESTORE_FAILED reports that
 * some are not.
 * - A recovered claim that had ended, or whose client never got its fds, goes through DRAINING like any
 * other: recovery has no path of its own.
 * - A reservation ends without touching its devices. The claim that redeems it takes over its record, so the
 * same write makes the claim and uses up the ticket. */
static const Cell table[_CLAIM_STATE_MAX][_CLAIM_EVENT_MAX] =
        {
                [CLAIM_REQUESTED] =
                        {
                                [CLAIM_EVENT_ALLOWED] = GO(BINDING, SAVE | BIND),
                                [CLAIM_EVENT_ASK] = GO(AUTHORIZING, AUTHORIZE),
                                [CLAIM_EVENT_RESERVED] = GO(RESERVED, SAVE | TICKET),
                                [CLAIM_EVENT_DENIED] = GO(GONE, REFUSE | FORGET),
                                [CLAIM_EVENT_RELEASE] = GO(GONE, FORGET),
                                [CLAIM_EVENT_DEVICE_GONE] = GO(GONE, REFUSE | FORGET),
                                [CLAIM_EVENT_QUEUED] = GO(WAITING, 0),
                                [CLAIM_EVENT_RECOVERED_HELD] = GO(HELD, 0),
                                [CLAIM_EVENT_RECOVERED_ENDED] = GO(DRAINING, SAVE | WATCH_CLOSE),
                                [CLAIM_EVENT_RECOVERED_QUARANTINED] = GO(QUARANTINED, 0),
                                [CLAIM_EVENT_RECOVERED_RESERVED] = GO(RESERVED, 0),
                        },
                [CLAIM_AUTHORIZING] =
                        {
                                [CLAIM_EVENT_ALLOWED] = GO(BINDING, SAVE | BIND),
                                [CLAIM_EVENT_RESERVED] = GO(RESERVED, SAVE | TICKET),
                                [CLAIM_EVENT_QUEUED] = GO(WAITING, 0),
                                [CLAIM_EVENT_DENIED] = GO(GONE, REFUSE | FORGET),
                                [CLAIM_EVENT_RELEASE] = GO(GONE, REFUSE | FORGET),
                                [CLAIM_EVENT_DEVICE_GONE] = GO(GONE, REFUSE | FORGET),
                        },
                [CLAIM_WAITING] =
                        {
                                [CLAIM_EVENT_ALLOWED] = GO(BINDING, SAVE | BIND),
                                [CLAIM_EVENT_ASK] = GO(AUTHORIZING, AUTHORIZE),
                                [CLAIM_EVENT_DENIED] = GO(GONE, REFUSE | FORGET),
                                [CLAIM_EVENT_RELEASE] = GO(GONE, REFUSE | FORGET),
                        },
                [CLAIM_RESERVED] =
                        {
                                [CLAIM_EVENT_REDEEMED] = GO(GONE, 0),
                                [CLAIM_EVENT_RELEASE] = GO(GONE, REFUSE | FORGET),
                                [CLAIM_EVENT_DEVICE_GONE] = GO(GONE, REFUSE | FORGET),
                        },
                [CLAIM_BINDING] =
                        {
                                [CLAIM_EVENT_BOUND] = GO(OPENING, OPEN),
                                [CLAIM_EVENT_BIND_FAILED] = GO(RESTORING, SAVE | RESTORE),
                                [CLAIM_EVENT_RELEASE] = GO(BINDING, DEFER),
                                [CLAIM_EVENT_DEVICE_GONE] = GO(BINDING, DEFER),
                                [CLAIM_EVENT_WORKER_STUCK] = GO(QUARANTINED, SAVE | REFUSE),
                        },
                [CLAIM_OPENING] =
                        {
                                [CLAIM_EVENT_OPENED] = GO(HELD, SAVE | REPLY),
                                [CLAIM_EVENT_OPEN_FAILED] = GO(RESTORING, SAVE | RESTORE),
                                [CLAIM_EVENT_RELEASE] = GO(OPENING, DEFER),
                                [CLAIM_EVENT_DEVICE_GONE] = GO(OPENING, DEFER),
                                [CLAIM_EVENT_WORKER_STUCK] = GO(QUARANTINED, SAVE | REFUSE),
                        },
                [CLAIM_HELD] =
                        {
                                [CLAIM_EVENT_JOINED] = GO(GONE, FORGET),
                                [CLAIM_EVENT_RELEASE] = GO(DRAINING, SAVE | WATCH_CLOSE),
                                [CLAIM_EVENT_DEVICE_GONE] = GO(DRAINING, SAVE | WATCH_CLOSE),
                        },
                [CLAIM_DRAINING] =
                        {
                                [CLAIM_EVENT_CLOSED] = GO(RESETTING, SAVE | RESET),
                                [CLAIM_EVENT_RELEASE] = GO(DRAINING, 0),
                                [CLAIM_EVENT_DEVICE_GONE] = GO(DRAINING, WATCH_CLOSE),
                        },
                [CLAIM_RESETTING] =
                        {
                                [CLAIM_EVENT_RESET_DONE] = GO(RESTORING, SAVE | RESTORE),
                                [CLAIM_EVENT_RESET_FAILED] = GO(RESTORING, SAVE | RESTORE),
                                [CLAIM_EVENT_RELEASE] = GO(RESETTING, 0),
                                [CLAIM_EVENT_DEVICE_GONE] = GO(RESETTING, 0),
                                [CLAIM_EVENT_WORKER_STUCK] = GO(QUARANTINED, SAVE),
                        },
                [CLAIM_RESTORING] =
                        {
                                [CLAIM_EVENT_RESTORED] = GO(GONE, REFUSE | FORGET),
                                [CLAIM_EVENT_RESTORE_FAILED] = GO(QUARANTINED, SAVE | REFUSE),
                                [CLAIM_EVENT_RELEASE] = GO(RESTORING, 0),
                                [CLAIM_EVENT_DEVICE_GONE] = GO(RESTORING, 0),
                                [CLAIM_EVENT_WORKER_STUCK] = GO(QUARANTINED, SAVE | REFUSE),
                        },
                [CLAIM_QUARANTINED] =
                        {
                                [CLAIM_EVENT_RELEASE] = GO(QUARANTINED, 0),
                                [CLAIM_EVENT_DEVICE_GONE] = GO(RESTORING, SAVE | RESTORE),
                                [CLAIM_EVENT_RETURNED] = GO(RESETTING, SAVE | RESET),
                                [CLAIM_EVENT_FORGET] = GO(RESTORING, SAVE | RESTORE),
                        },
};

Transition machine_step(ClaimState state, ClaimEvent event) {
    const Cell *cell;

    assert(state >= 0 && state < _CLAIM_STATE_MAX);
    assert(event >= 0 && event < _CLAIM_EVENT_MAX);

    cell = &table[state][event];
    if (!cell->possible)
        return (Transition){.next = state, .effects = CLAIM_EFFECT_IMPOSSIBLE};
    return (Transition){.next = cell->next, .effects = cell->effects};
}

ClaimEvent machine_recovery(ClaimState recorded, bool holder_lives) {
    switch (recorded) {
    case CLAIM_RESERVED:
        return CLAIM_EVENT_RECOVERED_RESERVED;
    case CLAIM_QUARANTINED:
        return CLAIM_EVENT_RECOVERED_QUARANTINED;
    case CLAIM_HELD:
        return holder_lives ? CLAIM_EVENT_RECOVERED_HELD : CLAIM_EVENT_RECOVERED_ENDED;
    default:
        return CLAIM_EVENT_RECOVERED_ENDED;
    }
}
