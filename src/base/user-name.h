/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Names of users and groups for texts that people read. They are not looked up when needed, because the name
 * service may ask a server on the network. The program hands over the names that are known locally
 * (/etc/passwd, /etc/group) once at its start. Nothing is decided by these names. Where no name is known, the
 * number is shown. */

#include <sys/types.h>

#include "base/macro.h"

#define USER_NAME_MAX 33 /* of useradd(8), and NUL */
#define USER_TEXT_MAX (USER_NAME_MAX + 14)

/* Writes "alice (1000)" to buf, or "uid 1000" where no name is known. Returns buf. */
const char *user_format(uid_t uid, char buf[static USER_TEXT_MAX]);
/* The same for the arguments of one call: the buffer is a temporary. */
#define USER_TEXT(uid) user_format((uid), (char[USER_TEXT_MAX]){})

/* Likewise "video (44)", or "gid 44". */
const char *group_format(gid_t gid, char buf[static USER_TEXT_MAX]);
#define GROUP_TEXT(gid) group_format((gid), (char[USER_TEXT_MAX]){})

/* Replaces all names of users by those in a text in the format of passwd(5). The first entry of a uid counts.
 * Names with characters other than [A-Za-z0-9._-] are left out. 0, or -ENOMEM with no names left. */
int user_names_read(const char *passwd);
/* The same for groups and group(5). */
int group_names_read(const char *group);
/* Replaces all names of users by this one. 0 or -ENOMEM. */
int user_names_set(uid_t uid, const char *name);
void user_names_done(void); /* also those of groups */
