/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* How much memory the programs of users and units may lock, according to systemd and the limits of logins.
 * Calls of programs are bounded in time, and unknown limits are left out. */

#include <json-c/json.h>

#include "base/macro.h"

#define LIMIT_INFINITE INT64_MAX

/* The limit of locked memory of a user, or of a group ("@NAME"), in bytes, from the text of a file like
 * /etc/security/limits.conf. Returns 1, or 0 if the file has none. *rank is that of the best line so far (0:
 * none): a line for the name counts more than one for everybody, over several files. Returns -EAGAIN for a
 * line for another group, since its members are unknown. */
int limits_find_memlock(const char *text, const char *name, int *rank, int64_t *ret);
/* Adds the output of `systemctl show --property=Id,LimitMEMLOCK` to an object: {"NAME": bytes}. Returns 0 or
 * -ENOMEM. */
int limits_take_units(const char *text, struct json_object *units);
/* The uid of a user in the output of getent, which has the form of passwd(5). False: the user is not there.
 */
bool limits_take_uid(const char *text, const char *name, char *ret, size_t size);
/* The value of DefaultLimitMEMLOCK=… or a similar line. False: there is no such line. */
bool limits_take_line(const char *text, const char *key, int64_t *ret);

/* The rules of this host's policy: an array like "rules" of rehearsal_show(). NULL: they cannot be read. */
struct json_object *memory_read_rules(void);
/* The limits for the names in rules: {"users": {NAME: bytes}, "groups": …, "units": …, "sessions": …}.
 * "users" has the limits of logins; "sessions" has the limits of programs that systemd starts for a user.
 * NULL on ENOMEM. */
struct json_object *memory_read_limits(struct json_object *rules);

/* Calls found for each plain name in who.user, who.group or who.unit of a rule. */
typedef int (*memory_name_t)(void *userdata, const char *name);
int memory_each_name(struct json_object *rule, const char *key, memory_name_t found, void *userdata);
