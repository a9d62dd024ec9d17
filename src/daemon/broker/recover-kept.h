/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Quarantines that systemd has kept, for when their records are gone or damaged. In the same boot the copy is
 * used as the record. After a kexec no claim is left: no process survived and the drivers were bound anew, so
 * there is nothing to restore. But a device that could not be reset stays in quarantine, with its reason.
 * Some devices appear late, such as virtual functions, so a missing device is remembered until it appears. */

#include "daemon/broker/broker-internal.h"
#include "daemon/broker/store.h"

void kept_claims_done(KeptClaims *k);

/* Loads what is kept under this name, unless there is a record. It joins the stored claims, or those of the
 * earlier kernel. It replaces a damaged record. A damaged copy counts as a damaged record. Returns 0 or
 * -ENOMEM. */
int kept_claims_load(Store *s, const char *name, int fd, StoredClaims *stored, KeptClaims *earlier);
/* Call it when all claims of this boot are there. Returns 0 or negative errno. */
int kept_claims_quarantine(Broker *e);
/* d has appeared. It may have been in quarantine before the kexec. */
void kept_claims_note_device(Broker *e, const Device *d);
