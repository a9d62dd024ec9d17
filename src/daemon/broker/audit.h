/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The journal's record of grants and refusals. A client must not be able to flood the log: a burst for each
 * user is written, and a larger one for all users together. Further lines are only counted, and the counts
 * are written when the minute is over or the daemon ends. Grants and refusals are counted apart. A grant that
 * is new in this minute is always written. */

#include <systemd/sd-event.h>

#include "core/claim.h"
#include "core/subject.h"
#include "daemon/kernel/holders.h"
#include "daemon/kernel/worker.h"

typedef struct Audit Audit;

#define AUDIT_WINDOW_USEC (60 * UINT64_C(1000000))

int audit_new(sd_event *event, uint64_t window_usec, Audit **ret);
/* Reports what was counted. */
Audit *audit_free(Audit *a);
DEFINE_TRIVIAL_CLEANUP_FUNC(Audit *, audit_free);

/* The caller `by` got a ticket for it. */
void audit_reserved(Audit *a, const Claim *c, const Subject *by);
void audit_granted(Audit *a, const Claim *c);
void audit_refused(Audit *a, const Subject *subject, const Request *request, const Refusal *refusal);
/* It was allowed, but binding, opening or recording failed. */
void audit_failed(Audit *a, const Claim *c);
/* Call before it moves to another holder. */
void audit_transferred(Audit *a, const Claim *c, const Subject *by);
void audit_ended(Audit *a, const Claim *c);
/* Its holder asked for more_sec seconds more. */
void audit_eviction_answered(Audit *a, const Claim *c, uint64_t more_sec);
/* A connection to one of our sockets is closed; why: what it did. */
void audit_cut_off(Audit *a, uid_t uid, const char *why);
/* The shadow policy would have decided differently. */
void audit_shadow(Audit *a, const Subject *subject, const DeviceName *device, const Verdict *real,
        const Verdict *shadow);
/* The following are not limited: each needs a person. */

/* A worker did not return from the kernel, or has returned after all. */
void audit_stuck(const WorkerStuck *stuck, bool returned);
void audit_quarantined(Audit *a, const Claim *c);
/* Call before the release. Not logged when users release their own claims. */
void audit_released(const Claim *c, const Subject *by);
/* Call before its devices are cleared for this reason; NULL: reset and restored once more. */
void audit_quarantine_ends(const Claim *c, const char *reason, const Subject *by);
/* It is being evicted, or not any more; its time is over. */
void audit_evicted(const Claim *c, const Subject *by);
void audit_eviction_overdue(const Claim *c);
/* A device appeared in one of its groups and has this driver; NULL: vfiod keeps drivers away. */
void audit_sibling(const Claim *c, const DeviceName *device, int group, const char *driver);
/* It is ended because it is overdue; a process that has its devices open was sent a signal, or is spared. */
void audit_eviction_enforced(const Claim *c);
void audit_stopped(const Claim *c, const HolderEntry *holder);
void audit_spared(const Claim *c, const HolderEntry *holder);
/* A request of a higher priority by the user waiter waits for it, or not any more. Counted with the grants of
 * that user. */
void audit_preempted(Audit *a, const Claim *c, uid_t waiter);
/* Its maximum duration is over. */
void audit_deadline(const Claim *c);
/* Call before a device is opened, and so reset, to find out its capabilities. */
void audit_looked(const DeviceName *device, const Subject *by);
void audit_reload(const Subject *by);
void audit_vf_count(const Subject *by, const DeviceName *device, uint32_t count);
