/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Between explain.c, which tells the story, and explain-seen.c, which puts facts into words. */

#include "policy/explain.h"
#include "policy/rule.h"

/* The fact that the predicate looked at: "mallory (1001)", "driver e1000e", "not known". Owned; NULL on
 * ENOMEM. audience and user: as for policy_explain(). The kernel shows serial numbers to root alone, and so
 * does this. */
char *explain_seen(
        const Rule *rule, PredicateKind kind, const Question *q, Audience audience, const char *user);
/* "slot pci:0000:06:0d.0, id 1234:11e8, serial 00-1b-…" */
void explain_add_entry(StrBuf *b, const TagEntry *e);
