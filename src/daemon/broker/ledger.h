/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The ledger of taints: what weakens this host, since when, and by whom.
 *
 * Findings (a module parameter, the kernel's command line, its taint bits) stay as long as they are true. The
 * ledger remembers when they were first seen. Deeds (a device handed out without an IOMMU) stay until the
 * host boots again: the user of such a device could write anything anywhere, and nobody can prove later that
 * they did not. The same user with the same device by the same rule is one deed, with the first time.
 *
 * Nothing announces findings. So vfiod looks for them at the start and whenever they may have changed, at
 * most once a second. It looks at once when a claim requires a host without taints.
 *
 * Each new entry is logged, and each change of the list is announced. The list is on disk, so that a
 * restarted daemon knows the times. A damaged file is put aside with a line in the log. systemd keeps a copy,
 * in case the file is gone: deeds survive a kexec this way. */

#include <systemd/sd-event.h>

#include "core/claim.h"
#include "core/taint.h"
#include "host/taint-reader.h"

typedef struct Ledger Ledger;

#define LEDGER_STORE_NAME "taints"

typedef void (*ledger_changed_t)(void *userdata);

/* Reads the ledger of the previous daemon. Returns 0 or negative errno. */
int ledger_new(sd_event *event, const char *state_directory, ledger_changed_t changed,
        taint_is_granted_t is_granted, void *userdata, Ledger **ret);
Ledger *ledger_free(Ledger *l);
DEFINE_TRIVIAL_CLEANUP_FUNC(Ledger *, ledger_free);

/* Looks now, unless the last look was within the last second. */
void ledger_look(Ledger *l);
/* Looks now in any case. */
void ledger_look_now(Ledger *l);
/* Something has happened: looks within a second. */
void ledger_look_soon(Ledger *l);
/* A device is about to be handed out, or the previous daemon did it. Only for claims without an IOMMU. */
void ledger_note_claim(Ledger *l, const Claim *c);

const TaintList *ledger_taints(const Ledger *l); /* sorted by time, for display */
