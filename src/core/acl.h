/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* POSIX access control lists, as the kernel stores them in "system.posix_acl_access"
 * (linux/posix_acl_xattr.h): a user who is not the owner of a device node gets at it by an entry of its own,
 * and nobody else does.
 *
 * The mask of a list limits what its entries for groups and other users allow. An entry of ours needs a mask
 * that allows it, so whatever the old mask had taken from another entry is taken from the entry itself: ours
 * gives nothing to anybody else.
 *
 * Not libacl: a list is put back as it was to the byte, goes into a record, and is decided upon without a
 * system call. */

#include <sys/types.h>

#include "base/macro.h"

#define ACL_ENTRIES_MAX 32U /* more than anybody writes for a device node */
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

/* What a file without a list has. */
Acl acl_from_mode(mode_t mode);
/* 0; -EBADMSG: no list; -E2BIG: more than ACL_ENTRIES_MAX. */
int acl_decode(const uint8_t *data, size_t size, Acl *ret);
/* One of three entries makes the kernel set the mode and drop the list. */
size_t acl_encode(const Acl *a, uint8_t ret[static ACL_SIZE_MAX]);
/* "user::rw-,user:1000:rw-,group::---,mask::rw-,other::---". -EBADMSG, -E2BIG. */
int acl_parse(const char *text, Acl *ret);
#define ACL_TEXT_MAX (32U * ACL_ENTRIES_MAX)
const char *acl_format(const Acl *a, char buf[static ACL_TEXT_MAX]);
bool acl_is_equal(const Acl *a, const Acl *b);

/* Does the list let this user read and write, whatever its groups? */
bool acl_allows_user(const Acl *a, uid_t owner, uid_t uid);
/* 0 or -E2BIG. Twice is once. */
int acl_add_user(Acl *a, uid_t uid);
/* Leaves nothing of what acl_add_user() has added; before: the list that it was added to, which may have had
 * an entry for this user. Entries that somebody else has changed since stay as they are. */
void acl_remove_user(Acl *a, uid_t uid, const Acl *before);
/* Leaves no entry for any single user. Were there some? */
bool acl_remove_users(Acl *a);
