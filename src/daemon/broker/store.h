/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Claim records, one file each: STATE_DIRECTORY/claims/ID.json. Written before the act that it describes,
 * replaced atomically, removed last. /run forgets them at a reboot, and the boot id inside says so for any
 * other directory. */

#include "core/record.h"

typedef struct Store Store;

/* Makes STATE_DIRECTORY/claims when missing, mode 0700. */
int store_new(const char *state_directory, Store **ret);
Store *store_free(Store *s);
DEFINE_TRIVIAL_CLEANUP_FUNC(Store *, store_free);

int store_save(Store *s, const Claim *c);
void store_remove(Store *s, const char *id);

/* Calls found for every valid record; *c is given to the callback, which takes it (or calls claim_done). When
 * it returns a negative errno the record is one that cannot be: it is treated like a damaged one. Damaged and
 * outdated files are moved to ID.json.bad or removed, with a log line, and never stop the others. */
int store_load(Store *s, int (*found)(void *userdata, Claim *c), void *userdata);
