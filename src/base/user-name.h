/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Users by name, in texts that people read. Nobody is looked up for that: the name service may ask a server
 * on the network. Whoever starts the program hands over what is known without (see /etc/passwd), once for all
 * of it, as with the log. Nothing is decided by these names, and where none is known, the number stands
 * alone. */

#include <sys/types.h>

#include "base/macro.h"

#define USER_NAME_MAX 33 /* of useradd(8), and NUL */
#define USER_TEXT_MAX (USER_NAME_MAX + 14)

/* Writes "alice (1000)" into buf, or "uid 1000" where no name is known. Returns buf. */
const char *user_format(uid_t uid, char buf[static USER_TEXT_MAX]);
/* The same for the arguments of one call. */
#define USER_TEXT(uid) user_format((uid), (char[USER_TEXT_MAX]){})

/* Replaces all names by those of a text as in passwd(5). Of several for one uid the first counts; names with
 * other characters than [A-Za-z0-9._-] are left out. 0 or -ENOMEM, which leaves none. */
int user_names_read(const char *passwd);
/* Likewise by one name. */
int user_names_set(uid_t uid, const char *name);
void user_names_done(void);
