/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Shared by explain.c, which builds the explanation, and explain-seen.c, which describes facts. */

#include "policy/explain.h"
#include "policy/rule.h"

/* Describes the fact that the predicate used: "mallory (1001)", "driver e1000e", "not known". Owned by the
 * caller; NULL on ENOMEM. audience and user: as for policy_explain(). The kernel shows serial numbers to root
 * only, and so does this. */
char *explain_seen(
        const Rule *rule, PredicateKind kind, const Question *q, Audience audience, const char *user);
/* Appends "slot pci:0000:06:0d.0, id 1234:11e8, serial 00-1b-…". */
void explain_add_entry(StrBuf *b, const TagEntry *e);
