/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Policy text -> compiled rules. A file is one JSON object (comments allowed) with "host", "tags" and
 * "rules"; vfiod-policy(5) tells every key:
 *
 *   {
 *     "tags": { "nic": { "slot": "06:0d.0", "id": "1234:11e8" } },
 *     "rules": [
 *       {
 *         "name": "alice-edu",
 *         "effect": "allow",              // or "deny", "ask"
 *         "who":  { "user": "alice" },    // {} is anybody
 *         "what": { "tag": "nic" },       // {} is any device
 *         "reset": "optional"
 *       }
 *     ]
 *   }
 *
 * All predicates of a rule must hold; of a list, one element. "who" and "what" are required, so that nobody
 * allows everything to everybody by leaving a line out. Unknown keys, wrong types, duplicate keys and names
 * of tags that do not exist are errors with file:line:column, what was expected, and the nearest known key. A
 * set with any error is not loaded. User and group names are resolved through a port, so this stays pure; one
 * that is unknown is a warning. */

#include "policy/policy.h"

#define POLICY_RULES_MAX (16U * 1024)
#define POLICY_ERRORS_MAX 64U
#define RULE_NAME_MAX 64U

typedef struct PolicyParser PolicyParser;

/* resolve is asked in policy_parser_finish() and never before. */
PolicyParser *policy_parser_new(resolve_name_t resolve, void *userdata);
PolicyParser *policy_parser_free(PolicyParser *p);
DEFINE_TRIVIAL_CLEANUP_FUNC(PolicyParser *, policy_parser_free);

/* CLOCK_REALTIME, so that rules whose time is over are told as warnings. Without it they are not. */
void policy_parser_set_now(PolicyParser *p, uint64_t now_usec);

/* Adds one file's text; call in the order in which the files apply. Errors are collected, not returned;
 * -ENOMEM only. text need not be NUL-terminated. */
int policy_parser_add(PolicyParser *p, const char *file, const char *text, size_t size);
/* Adds an error that the reader met ("cannot read: Permission denied"): a set with an unreadable file must
 * not load either. */
int policy_parser_add_error(PolicyParser *p, const char *file, const char *message);

/* The accounts that the files name so far, each once: what resolve will be asked for. */
int policy_parser_foreach_account(const PolicyParser *p, visit_account_name_t visit, void *userdata);

/* "FILE:LINE:COL: error: …", in order, at most 64 and then a count. Borrowed. */
size_t policy_parser_n_errors(const PolicyParser *p);
const char *policy_parser_error(const PolicyParser *p, size_t i);

/* What is allowed but hardly meant, once the set is finished: a rule that can never match, or whose
 * time is over, an unknown account, a tag that no rule uses. "FILE:LINE:COL: warning: …", bounded like the
 * errors. Borrowed. */
size_t policy_parser_n_warnings(const PolicyParser *p);
const char *policy_parser_warning(const PolicyParser *p, size_t i);

/* Looks at the set as a whole, which may add errors: call it before they are asked for. The compiled set,
 * owned by the caller; -EINVAL when there was any error. */
int policy_parser_finish(PolicyParser *p, Policy **ret);
