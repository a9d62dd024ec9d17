/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* How much memory the programs of users and units may lock, as systemd and the limits of logins say it. What
 * is asked of programs is bounded in time, and what has no answer is left out. */

#include <json-c/json.h>

#include "base/macro.h"

#define LIMIT_INFINITE INT64_MAX

/* The limit of locked memory of a user, or of a group ("@NAME"), in the text of a file like
 * /etc/security/limits.conf, in bytes. 1, or 0: the file has none. rank: of the line that was found so far
 * (0: none), so that one for the name counts before one for everybody, over several files. A line for another
 * group makes it -EAGAIN, since who is in it is unknown. */
int limits_find_memlock(const char *text, const char *name, int *rank, int64_t *ret);
/* Adds what `systemctl show --property=Id,LimitMEMLOCK` prints to an object: {"NAME": bytes}. 0 or -ENOMEM.
 */
int limits_take_units(const char *text, struct json_object *units);
/* The number of a user in the output of getent, which is as passwd(5). False: it is not there. */
bool limits_take_uid(const char *text, const char *name, char *ret, size_t size);
/* Of DefaultLimitMEMLOCK=… or another line of that kind. False: it is not there. */
bool limits_take_line(const char *text, const char *key, int64_t *ret);

/* The rules of this host's policy: an array as "rules" of rehearsal_show(). NULL: they cannot be read. */
struct json_object *memory_read_rules(void);
/* The limits of those that the rules name: {"users": {NAME: bytes}, "groups": …, "units": …, "sessions": …}.
 * Of users the limit of their logins; in sessions, that of what systemd starts for them. NULL on ENOMEM. */
struct json_object *memory_read_limits(struct json_object *rules);

/* Calls found for each name of a rule's who.user, who.group or who.unit that stands for one of them. */
typedef int (*memory_name_t)(void *userdata, const char *name);
int memory_each_name(struct json_object *rule, const char *key, memory_name_t found, void *userdata);
