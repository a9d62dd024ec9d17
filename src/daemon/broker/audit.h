/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The journal's record of who got what and who did not. A client must not be able to flood the log by asking:
 * per user a burst is written out, and of all users together a larger one; the rest of the minute is only
 * counted, and the count is written when the minute is over or the daemon ends. Grants and refusals are
 * counted apart, and a grant that is news in this minute is always written. */

#include <systemd/sd-event.h>

#include "core/claim.h"
#include "core/subject.h"
#include "daemon/kernel/holders.h"
#include "daemon/kernel/worker.h"

typedef struct Audit Audit;

#define AUDIT_WINDOW_USEC (60 * UINT64_C(1000000))

int audit_new(sd_event *event, uint64_t window_usec, Audit **ret);
/* Tells what was counted. */
Audit *audit_free(Audit *a);
DEFINE_TRIVIAL_CLEANUP_FUNC(Audit *, audit_free);

/* A ticket for it was given to by. */
void audit_reserved(Audit *a, const Claim *c, const Subject *by);
void audit_granted(Audit *a, const Claim *c);
void audit_refused(Audit *a, const Subject *subject, const Request *request, const Refusal *refusal);
/* It was allowed, but could not be made: bind, open or record failed. */
void audit_failed(Audit *a, const Claim *c);
/* It is about to move to another holder. */
void audit_transferred(Audit *a, const Claim *c, const Subject *by);
void audit_ended(Audit *a, const Claim *c);
/* Its holder asked for so much more time. */
void audit_eviction_answered(Audit *a, const Claim *c, uint64_t more_sec);
/* A connection to one of our sockets is closed for what it did. */
void audit_cut_off(Audit *a, uid_t uid, const char *why);
/* The shadow policy would have decided otherwise. */
void audit_shadow(Audit *a, const Subject *subject, const DeviceName *device, const Verdict *real,
        const Verdict *shadow);
/* Not limited: each needs a person. */
/* A worker did not come back from the kernel, or did after all. */
void audit_stuck(const WorkerStuck *stuck, bool returned);
void audit_quarantined(Audit *a, const Claim *c);
/* Before it happens. Silent when users give back what is theirs. */
void audit_released(const Claim *c, const Subject *by);
/* Its devices are cleared, for this reason; NULL: reset and restored once more. Before it happens. */
void audit_quarantine_ends(const Claim *c, const char *reason, const Subject *by);
/* It is being evicted, or not any more; the time is over. */
void audit_evicted(const Claim *c, const Subject *by);
void audit_eviction_overdue(const Claim *c);
/* A device came into a group that the claim has; a driver of the host has it, NULL: none gets it. */
void audit_sibling(const Claim *c, const DeviceName *device, int group, const char *driver);
/* It is ended because it was overdue; a process that keeps its devices open was sent a signal, or is spared.
 */
void audit_eviction_enforced(const Claim *c);
void audit_stopped(const Claim *c, const HolderEntry *holder);
void audit_spared(const Claim *c, const HolderEntry *holder);
/* A request of a higher priority waits for it, of the user waiter, or not any more. Counted with the grants
 * of that user, whose doing it is. */
void audit_preempted(Audit *a, const Claim *c, uid_t waiter);
/* The time that it can be held for is over. */
void audit_deadline(const Claim *c);
/* Before a device is opened, and so reset, to learn what it can do. */
void audit_looked(const DeviceName *device, const Subject *by);
void audit_reload(const Subject *by);
void audit_vf_count(const Subject *by, const DeviceName *device, uint32_t count);
