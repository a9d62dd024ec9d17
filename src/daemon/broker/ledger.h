/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The ledger of taints: what weakens this host, since when, and by whom.
 *
 * Findings (a module parameter, the kernel's command line, its taint bits) are in it as long as they are
 * true; what is remembered of them is when they were first seen. Deeds (a device handed out without an IOMMU)
 * stay until the host boots again: whoever had such a device could write anything anywhere, and nobody can
 * tell afterwards that he did not. The same user with the same device by the same rule is one deed, at the
 * first time.
 *
 * Nothing announces findings, so they are looked for at the start and whenever something happens that could
 * have changed them, at most once a second, and at once when a claim demands a host without taints.
 *
 * Each new entry is a record in the journal, and a changed list is announced. The list is on disk, so that a
 * restarted daemon knows since when; a file that is not ours to believe is put aside with a line in the log.
 * A copy is with systemd, for where the file is gone: after a kexec deeds hold as before.
 */

#include <systemd/sd-event.h>

#include "core/claim.h"
#include "core/taint.h"
#include "host/taint-reader.h"

typedef struct Ledger Ledger;

#define LEDGER_STORE_NAME "taints"

typedef void (*ledger_changed_t)(void *userdata);

/* Reads what a daemon before us wrote. 0 or negative errno. */
int ledger_new(sd_event *event, const char *state_directory, ledger_changed_t changed,
        taint_is_granted_t is_granted, void *userdata, Ledger **ret);
Ledger *ledger_free(Ledger *l);
DEFINE_TRIVIAL_CLEANUP_FUNC(Ledger *, ledger_free);

/* Looks now, unless it has looked within the last second. */
void ledger_look(Ledger *l);
/* Looks whenever it was. */
void ledger_look_now(Ledger *l);
/* Something has happened: looks within a second. */
void ledger_look_soon(Ledger *l);
/* A device is about to be handed out, or was by the daemon before us. Only for claims without an IOMMU. */
void ledger_note_claim(Ledger *l, const Claim *c);

const TaintList *ledger_taints(const Ledger *l); /* by time, for display */
