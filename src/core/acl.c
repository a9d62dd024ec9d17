/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/acl.h"

#include <endian.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/str.h"

#define VERSION 2U
#define HEADER_SIZE 4U
#define ENTRY_SIZE 8U

static const struct {
    AclTag tag;
    const char *word;
    bool named; /* has an id */
} kinds[] = {
        {ACL_TAG_USER_OBJ, "user", false},
        {ACL_TAG_USER, "user", true},
        {ACL_TAG_GROUP_OBJ, "group", false},
        {ACL_TAG_GROUP, "group", true},
        {ACL_TAG_MASK, "mask", false},
        {ACL_TAG_OTHER, "other", false},
};

static bool is_named(uint16_t tag) {
    return tag & (ACL_TAG_USER | ACL_TAG_GROUP);
}

/* ---- Entries ---- */

static AclEntry *find(Acl *a, AclTag tag, uint32_t id) {
    for (size_t i = 0; i < a->n; i++)
        if (a->entries[i].tag == tag && (!is_named(tag) || a->entries[i].id == id))
            return &a->entries[i];
    return NULL;
}

static unsigned permissions_of(const Acl *a, AclTag tag, uint32_t id, unsigned otherwise) {
    const AclEntry *e = find((Acl *) a, tag, id);

    return e ? e->permissions : otherwise;
}

static int compare_entries(const void *a, const void *b) {
    const AclEntry *x = a, *y = b;

    if (x->tag != y->tag)
        return x->tag < y->tag ? -1 : 1;
    return x->id == y->id ? 0 : x->id < y->id ? -1 : 1;
}

static void sort(Acl *a) {
    qsort(a->entries, a->n, sizeof(a->entries[0]), compare_entries);
}

static AclEntry *add(Acl *a, AclTag tag, uint32_t id, uint16_t permissions) {
    if (a->n == ACL_ENTRIES_MAX)
        return NULL;
    a->entries[a->n] = (AclEntry){.tag = tag, .permissions = permissions, .id = id};
    return &a->entries[a->n++];
}

/* As posix_acl_valid() in the kernel: one entry each for owner, group and others, and a mask if there are
 * more. */
static bool is_valid(const Acl *a) {
    unsigned seen = 0;
    bool named = false;

    for (size_t i = 0; i < a->n; i++) {
        const AclEntry *e = &a->entries[i];

        if (e->permissions > 07 || (i > 0 && compare_entries(e - 1, e) == 0))
            return false;
        if (is_named(e->tag) ? e->id == ACL_ID_NONE : (seen & e->tag) != 0)
            return false;
        named = named || is_named(e->tag);
        seen |= e->tag;
    }
    if ((seen & (ACL_TAG_USER_OBJ | ACL_TAG_GROUP_OBJ | ACL_TAG_OTHER)) !=
            (ACL_TAG_USER_OBJ | ACL_TAG_GROUP_OBJ | ACL_TAG_OTHER))
        return false;
    return !named || (seen & ACL_TAG_MASK);
}

Acl acl_from_mode(mode_t mode) {
    return (Acl){.n = 3,
            .entries = {
                    {ACL_TAG_USER_OBJ, mode >> 6 & 07, ACL_ID_NONE},
                    {ACL_TAG_GROUP_OBJ, mode >> 3 & 07, ACL_ID_NONE},
                    {ACL_TAG_OTHER, mode & 07, ACL_ID_NONE},
            }};
}

bool acl_is_equal(const Acl *a, const Acl *b) {
    if (a->n != b->n)
        return false;
    for (size_t i = 0; i < a->n; i++)
        if (compare_entries(&a->entries[i], &b->entries[i]) != 0 ||
                a->entries[i].permissions != b->entries[i].permissions)
            return false;
    return true;
}

/* ---- The kernel's form ---- */

static bool is_kind(uint16_t tag) {
    for (size_t i = 0; i < ELEMENTSOF(kinds); i++)
        if (kinds[i].tag == tag)
            return true;
    return false;
}

int acl_decode(const uint8_t *data, size_t size, Acl *ret) {
    uint32_t version;
    Acl a = {};

    if (size < HEADER_SIZE || (size - HEADER_SIZE) % ENTRY_SIZE != 0)
        return -EBADMSG;
    memcpy(&version, data, sizeof(version));
    if (le32toh(version) != VERSION)
        return -EBADMSG;
    for (const uint8_t *p = data + HEADER_SIZE; p < data + size; p += ENTRY_SIZE) {
        uint16_t tag, permissions;
        uint32_t id;

        memcpy(&tag, p, sizeof(tag));
        memcpy(&permissions, p + 2, sizeof(permissions));
        memcpy(&id, p + 4, sizeof(id));
        tag = le16toh(tag);
        if (!is_kind(tag))
            return -EBADMSG;
        if (!add(&a, tag, is_named(tag) ? le32toh(id) : ACL_ID_NONE, le16toh(permissions)))
            return -E2BIG;
    }
    sort(&a);
    if (!is_valid(&a))
        return -EBADMSG;
    *ret = a;
    return 0;
}

size_t acl_encode(const Acl *a, uint8_t ret[static ACL_SIZE_MAX]) {
    uint32_t version = htole32(VERSION);
    uint8_t *p = ret + HEADER_SIZE;

    memcpy(ret, &version, sizeof(version));
    for (size_t i = 0; i < a->n; i++, p += ENTRY_SIZE) {
        const AclEntry *e = &a->entries[i];
        uint16_t tag = htole16(e->tag), permissions = htole16(e->permissions);
        uint32_t id = htole32(e->id);

        memcpy(p, &tag, sizeof(tag));
        memcpy(p + 2, &permissions, sizeof(permissions));
        memcpy(p + 4, &id, sizeof(id));
    }
    return (size_t) (p - ret);
}

/* ---- Text ---- */

const char *acl_format(const Acl *a, char buf[static ACL_TEXT_MAX]) {
    size_t n = 0;

    buf[0] = '\0';
    for (size_t i = 0; i < a->n; i++) {
        const AclEntry *e = &a->entries[i];
        const char *word = "";
        char id[16] = "";

        for (size_t k = 0; k < ELEMENTSOF(kinds); k++)
            if (kinds[k].tag == e->tag)
                word = kinds[k].word;
        if (is_named(e->tag))
            (void) snprintf(id, sizeof(id), "%u", (unsigned) e->id);
        n += (size_t) snprintf(buf + n, ACL_TEXT_MAX - n, "%s%s:%s:%c%c%c", n > 0 ? "," : "", word, id,
                e->permissions & 04 ? 'r' : '-', e->permissions & 02 ? 'w' : '-',
                e->permissions & 01 ? 'x' : '-');
    }
    return buf;
}

static int parse_permissions(const char *text, uint16_t *ret) {
    static const char letters[] = "rwx";

    *ret = 0;
    if (strlen(text) != strlen(letters))
        return -EBADMSG;
    for (size_t i = 0; i < strlen(letters); i++) {
        if (text[i] != letters[i] && text[i] != '-')
            return -EBADMSG;
        *ret = (uint16_t) (*ret << 1 | (text[i] != '-'));
    }
    return 0;
}

static int parse_entry(char *text, Acl *a) {
    char *id = strchr(text, ':'), *permissions = id ? strchr(id + 1, ':') : NULL;
    uint64_t number = ACL_ID_NONE;
    uint16_t bits;

    if (!permissions)
        return -EBADMSG;
    *id++ = *permissions++ = '\0';
    if (id[0] && parse_unsigned(id, 10, ACL_ID_NONE - 1, &number) < 0)
        return -EBADMSG;
    if (parse_permissions(permissions, &bits) < 0)
        return -EBADMSG;
    for (size_t k = 0; k < ELEMENTSOF(kinds); k++)
        if (kinds[k].named == (id[0] != '\0') && streq(kinds[k].word, text))
            return add(a, kinds[k].tag, (uint32_t) number, bits) ? 0 : -E2BIG;
    return -EBADMSG;
}

int acl_parse(const char *text, Acl *ret) {
    char buf[ACL_TEXT_MAX], *rest = buf, *entry;
    Acl a = {};
    int r;

    if (strlen(text) >= sizeof(buf))
        return -E2BIG;
    strcpy(buf, text);
    while ((entry = strsep(&rest, ","))) {
        r = parse_entry(entry, &a);
        if (r < 0)
            return r;
    }
    sort(&a);
    if (!is_valid(&a))
        return -EBADMSG;
    *ret = a;
    return 0;
}

/* ---- Users ---- */

/* In the kernel's order: the owner, then the user's own entry. Other users may be in a group that has fewer
 * rights than "others". */
bool acl_allows_user(const Acl *a, uid_t owner, uid_t uid) {
    unsigned bits = permissions_of(a, ACL_TAG_MASK, ACL_ID_NONE, 07);

    if (uid == owner)
        bits = permissions_of(a, ACL_TAG_USER_OBJ, ACL_ID_NONE, 0);
    else if (find((Acl *) a, ACL_TAG_USER, uid))
        bits &= permissions_of(a, ACL_TAG_USER, uid, 0);
    else
        for (size_t i = 0; i < a->n; i++)
            if (a->entries[i].tag & (ACL_TAG_GROUP_OBJ | ACL_TAG_GROUP | ACL_TAG_OTHER))
                bits &= a->entries[i].permissions;
    return (bits & ACL_READ_WRITE) == ACL_READ_WRITE;
}

/* Removes from each entry what the mask does not allow it. */
static void apply_mask(Acl *a) {
    const AclEntry *mask = find(a, ACL_TAG_MASK, ACL_ID_NONE);

    for (size_t i = 0; mask && i < a->n; i++)
        if (a->entries[i].tag & (ACL_TAG_USER | ACL_TAG_GROUP_OBJ | ACL_TAG_GROUP))
            a->entries[i].permissions &= mask->permissions;
}

/* Sets a mask that restricts no entry; removes it when no user or group is named. Needs no room where there
 * is a mask already. */
static int set_mask(Acl *a) {
    AclEntry *mask = find(a, ACL_TAG_MASK, ACL_ID_NONE);
    uint16_t bits = 0;
    bool named = false;

    for (size_t i = 0; i < a->n; i++)
        if (a->entries[i].tag & (ACL_TAG_USER | ACL_TAG_GROUP_OBJ | ACL_TAG_GROUP)) {
            bits |= a->entries[i].permissions;
            named = named || is_named(a->entries[i].tag);
        }
    if (named && !mask)
        mask = add(a, ACL_TAG_MASK, ACL_ID_NONE, bits);
    if (named && !mask)
        return -E2BIG;
    if (named)
        mask->permissions = bits;
    else if (mask)
        *mask = a->entries[--a->n];
    sort(a);
    return 0;
}

int acl_add_user(Acl *a, uid_t uid) {
    Acl b = *a;
    AclEntry *e;
    int r;

    apply_mask(&b);
    e = find(&b, ACL_TAG_USER, uid) ?: add(&b, ACL_TAG_USER, uid, 0);
    if (!e)
        return -E2BIG;
    e->permissions |= ACL_READ_WRITE;
    r = set_mask(&b);
    if (r >= 0)
        *a = b;
    return r;
}

void acl_remove_user(Acl *a, uid_t uid, const Acl *before) {
    AclEntry *e = find(a, ACL_TAG_USER, uid);
    const AclEntry *old;
    Acl b = *before;

    if (!e)
        return;
    apply_mask(a);
    apply_mask(&b);
    old = find(&b, ACL_TAG_USER, uid);
    if (old)
        e->permissions &= old->permissions;
    else
        *e = a->entries[--a->n];
    (void) set_mask(a); /* there is room: it has a mask */
}

bool acl_remove_users(Acl *a) {
    const size_t had = a->n;
    size_t n = 0;

    apply_mask(a);
    for (size_t i = 0; i < had; i++)
        if (a->entries[i].tag != ACL_TAG_USER)
            a->entries[n++] = a->entries[i];
    a->n = n;
    if (n < had)
        (void) set_mask(a); /* there is room: it has a mask */
    return n < had;
}
