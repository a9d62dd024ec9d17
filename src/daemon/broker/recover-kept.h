/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Quarantines that systemd has kept, where their records are gone or damaged. In the same boot the record is
 * taken as it is. After a kexec no claim is left, for no process has survived, and drivers were bound anew:
 * so nothing is there to be put back. But a device that could not be reset is the same device, and stays in
 * quarantine, with its reason. Some devices appear late, such as virtual functions, so a missing device is
 * remembered until it appears. */

#include "daemon/broker/broker-internal.h"
#include "daemon/broker/store.h"

void kept_claims_done(KeptClaims *k);

/* What is kept under this name: joins the stored claims, or those of the kernel before, unless there is a
 * record. It takes the place of a damaged record. A damaged copy is a damaged record. 0 or -ENOMEM. */
int kept_claims_load(Store *s, const char *name, int fd, StoredClaims *stored, KeptClaims *earlier);
/* When all claims of this boot are there. 0 or negative errno. */
int kept_claims_quarantine(Broker *e);
/* d has appeared: it may be one that was in quarantine. */
void kept_claims_note_device(Broker *e, const Device *d);
