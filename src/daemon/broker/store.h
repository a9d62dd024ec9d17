/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Claim records in STATE_DIRECTORY/claims, written before the act that they describe and removed last. /run
 * forgets them at a reboot, and the boot id inside says so for any other directory.
 *
 * A record is in a slot of one file that stays open, so that writing it is one call: no file is created, none
 * is renamed. A slot has two halves, which are written in turn, each with a generation, its length and a
 * checksum: when a write is cut short, the half before it is still there. Room for both is taken when a slot
 * is new, so a disk that fills up later keeps no claim from being recorded. A record that is too long for a
 * slot, or was written by an earlier version, is a file of its own, ID.json, which is replaced by rename. */

#include <systemd/sd-event.h>

#include "core/record.h"
#include "core/salvage.h"
#include "daemon/broker/keepsake.h"

typedef struct Store Store;

/* The record of a claim in quarantine is kept beside /run as well. */
#define QUARANTINE_STORE_PREFIX "quarantine-" /* an id follows */
#define QUARANTINE_NAME_MAX 32U

/* Makes STATE_DIRECTORY/claims when missing, mode 0700. event: for trying again to remove a record; NULL in
 * tests that need no such thing. */
int store_new(sd_event *event, const char *state_directory, Store **ret);
Store *store_free(Store *s);
DEFINE_TRIVIAL_CLEANUP_FUNC(Store *, store_free);

int store_save(Store *s, const Claim *c);
/* 0 or negative errno. A record that cannot be removed is tried again from time to time. Should that not
 * help, the next start finds a record that another claim contradicts, see StoredClaim.claim.since_usec. */
int store_remove(Store *s, const char *id);

/* One record of an earlier daemon. */
typedef struct StoredClaim {
    char id[CLAIM_ID_MAX]; /* under which it is kept; "": of a damaged one that cannot be told */
    ssize_t slot;          /* -1: a file of its own */
    bool damaged, kept;    /* kept: there is no record, but systemd had a keepsake of it, which may be the
                              damaged one */
    Claim claim;           /* not of a damaged one */
    SalvagedNames names;   /* of a damaged one */
    char *problem;         /* owned; what is wrong with it; NULL when that could not be found out */
} StoredClaim;

typedef struct StoredClaims {
    StoredClaim *entries; /* owned */
    size_t n, allocated;
} StoredClaims;

void stored_claims_done(StoredClaims *claims);
/* An empty one, a file of its own. NULL: no memory. */
StoredClaim *stored_claims_add(StoredClaims *claims);
/* The order of the others changes. */
void stored_claims_remove(StoredClaims *claims, StoredClaim *entry);

/* Reads all records and changes none but those of an earlier boot, of which nothing is left: they are
 * removed. A damaged one does not stop the others. Negative errno when a record could not be read for want of
 * memory or the like: then nothing is known of its claim, and the daemon must not serve. */
int store_load(Store *s, StoredClaims *ret);
/* Keeps what is left of a damaged record for the operator, in a file of the name that is returned (owned;
 * NULL: it could not be kept, or was a keepsake). */
char *store_keep_copy(Store *s, const StoredClaim *c);
/* Of a damaged record in a slot: its devices are accounted for by other records. */
void store_drop(Store *s, const StoredClaim *c);
/* The keepsakes of quarantines, for taking up those that systemd has, and of which boot records are. */
Keepsakes *store_keepsakes(Store *s);
bool store_has_keepsake(const Store *s, const char *id);
const char *store_boot_id(const Store *s);
