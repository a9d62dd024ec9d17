/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* POSIX access control lists, as the kernel stores them in "system.posix_acl_access"
 * (linux/posix_acl_xattr.h). An entry of its own gives a user access to a device node that they do not own,
 * and gives it to nobody else.
 *
 * The mask of a list limits its entries for groups and other users. Our entry needs a mask that allows it. So
 * whatever the old mask denied to another entry is first removed from that entry itself.
 *
 * Not libacl: a list is restored to the byte, is written to a record, and is evaluated without a system
 * call. */

#include <sys/types.h>

#include "base/macro.h"

#define ACL_ENTRIES_MAX 32U /* more than a device node needs */
#define ACL_SIZE_MAX (4U + 8U * ACL_ENTRIES_MAX)

typedef enum AclTag {
    ACL_TAG_USER_OBJ = 0x01, /* the owner */
    ACL_TAG_USER = 0x02,
    ACL_TAG_GROUP_OBJ = 0x04,
    ACL_TAG_GROUP = 0x08,
    ACL_TAG_MASK = 0x10,
    ACL_TAG_OTHER = 0x20,
} AclTag;

#define ACL_READ_WRITE 06U

typedef struct AclEntry {
    uint16_t tag, permissions; /* as in a mode: rwx */
    uint32_t id;               /* of a user or group; else ACL_ID_NONE */
} AclEntry;
#define ACL_ID_NONE UINT32_MAX

/* Sorted by tag and id. */
typedef struct Acl {
    AclEntry entries[ACL_ENTRIES_MAX];
    size_t n;
} Acl;

/* The list of a file without one: three entries. */
Acl acl_from_mode(mode_t mode);
/* data is the value of the attribute. 0; -EBADMSG: not a valid list; -E2BIG: more than ACL_ENTRIES_MAX. */
int acl_decode(const uint8_t *data, size_t size, Acl *ret);
/* Returns the size. When the kernel gets a list with only the three basic entries, it sets the mode and drops
 * it. */
size_t acl_encode(const Acl *a, uint8_t ret[static ACL_SIZE_MAX]);
/* "user::rw-,user:1000:rw-,group::---,mask::rw-,other::---". 0, -EBADMSG or -E2BIG. */
int acl_parse(const char *text, Acl *ret);
#define ACL_TEXT_MAX (32U * ACL_ENTRIES_MAX)
const char *acl_format(const Acl *a, char buf[static ACL_TEXT_MAX]);
bool acl_is_equal(const Acl *a, const Acl *b);

/* Does the list let this user read and write, whatever its groups? */
bool acl_allows_user(const Acl *a, uid_t owner, uid_t uid);
/* Adds an entry for the user unless there is one. 0 or -E2BIG. */
int acl_add_user(Acl *a, uid_t uid);
/* Removes what acl_add_user() added. before is the list from before that call, which may have had an entry
 * for this user. Entries that were changed since stay as they are. */
void acl_remove_user(Acl *a, uid_t uid, const Acl *before);
/* Removes the entries of all named users. Were there any? */
bool acl_remove_users(Acl *a);
