/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Looks up names of accounts in a separate process, because the name service may ask a directory on the
 * network and hang for minutes or forever. The process is this program executed again (`vfiod --look-up`)
 * without privileges. It is not waited for and ends itself. Names that it has not resolved in time are
 * unknown. */

#include <systemd/sd-event.h>

#include "base/macro.h"

typedef struct Account {
    bool is_group;
    char *name;     /* owned */
    int32_t result; /* 0, -ENOENT, another negative errno */
    uint32_t id;
} Account;

typedef struct AccountTable {
    Account *items; /* owned */
    size_t n, allocated;
} AccountTable;

void account_table_done(AccountTable *t);
/* A visit_account_name_t. The same name can be added again. */
int account_table_add(void *table, bool is_group, const char *name);
/* A resolve_name_t: the result of a lookup. */
int account_table_resolve(void *table, bool is_group, const char *name, uint32_t *ret);

typedef struct AccountLookup AccountLookup;

/* Fills the table, which is borrowed until then, and calls done once from the event loop. */
int account_lookup_new(sd_event *event, AccountTable *table, void (*done)(void *userdata), void *userdata,
        AccountLookup **ret);
AccountLookup *account_lookup_free(AccountLookup *l);
DEFINE_TRIVIAL_CLEANUP_FUNC(AccountLookup *, account_lookup_free);

/* The main function of that process. Returns an exit status. */
int account_lookup_main(void);
