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

/* resolve is called in policy_parser_finish() only. Owned by the caller; NULL on ENOMEM. */
PolicyParser *policy_parser_new(resolve_name_t resolve, void *userdata);
PolicyParser *policy_parser_free(PolicyParser *p);
DEFINE_TRIVIAL_CLEANUP_FUNC(PolicyParser *, policy_parser_free);

/* now_usec is CLOCK_REALTIME. With it, rules that have expired are warnings; without it they are not
 * reported. */
void policy_parser_set_now(PolicyParser *p, uint64_t now_usec);

/* Adds the text of one file; call it in the order in which the files apply. Errors in the text are collected.
 * Returns 0 or -ENOMEM. text need not end with NUL and is not kept. */
int policy_parser_add(PolicyParser *p, const char *file, const char *text, size_t size);
/* Adds an error of the reader ("cannot read: Permission denied"): a set with an unreadable file is not
 * loaded. */
int policy_parser_add_error(PolicyParser *p, const char *file, const char *message);

/* Visits each account that the files name so far once: these are what resolve will be called for. */
int policy_parser_foreach_account(const PolicyParser *p, visit_account_name_t visit, void *userdata);

/* "FILE:LINE:COL: error: …", in order, at most 64 and then a count. Borrowed. */
size_t policy_parser_n_errors(const PolicyParser *p);
const char *policy_parser_error(const PolicyParser *p, size_t i);

/* Valid policy that was hardly intended, after the set is finished: a rule that can never match or has
 * expired, an unknown account, a tag that no rule uses. "FILE:LINE:COL: warning: …", limited like the errors.
 * Borrowed. */
size_t policy_parser_n_warnings(const PolicyParser *p);
const char *policy_parser_warning(const PolicyParser *p, size_t i);

/* Checks the set as a whole and returns it, owned by the caller. The check can add errors, so call it before
 * asking for them. 0; -EINVAL when there was any error; or -ENOMEM. */
int policy_parser_finish(PolicyParser *p, Policy **ret);
