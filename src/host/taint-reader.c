/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "host/taint-reader.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "core/acl.h"

#define COMMAND_LINE_MAX (64U * 1024)

/* "Y" or "N" in the kernel. A parameter is missing while its module is not loaded. */
static const struct {
    const char *module, *parameter;
    TaintKind kind;
} parameters[] = {
        {"vfio", "enable_unsafe_noiommu_mode", TAINT_NOIOMMU_ENABLED},
        {"vfio_iommu_type1", "allow_unsafe_interrupts", TAINT_UNSAFE_INTERRUPTS},
        {"iommufd", "allow_unsafe_interrupts", TAINT_UNSAFE_INTERRUPTS},
};

static void read_parameter(TaintList *l, size_t i) {
    char path[128], text[16], what[128];
    ssize_t n;

    snprintf(path, sizeof(path), "/sys/module/%s/parameters/%s", parameters[i].module,
            parameters[i].parameter);
    n = read_attribute_at(AT_FDCWD, path, text, sizeof(text));
    if (n == -ENOENT || (n >= 0 && streq(text, "N")))
        return;
    snprintf(what, sizeof(what), "%s.%s%s", parameters[i].module, parameters[i].parameter,
            n < 0 ? " (unreadable)" : "");
    (void) taint_list_add(l, parameters[i].kind, true, what);
}

static void read_command_line(TaintList *l) {
    _cleanup_free_ char *text = NULL;

    if (read_file_at(AT_FDCWD, "/proc/cmdline", COMMAND_LINE_MAX, &text, NULL) >= 0)
        taint_list_add_command_line(l, text);
    else
        (void) taint_list_add(l, TAINT_COMMAND_LINE, true, "/proc/cmdline (unreadable)");
}

static void read_kernel(TaintList *l) {
    char text[32];
    uint64_t v;

    if (read_attribute_at(AT_FDCWD, "/proc/sys/kernel/tainted", text, sizeof(text)) >= 0 &&
            parse_unsigned(text, 10, UINT64_MAX, &v) >= 0)
        taint_list_add_kernel(l, v);
    else
        (void) taint_list_add(l, TAINT_KERNEL, true, "/proc/sys/kernel/tainted (unreadable)");
}

/* A rule of udev gives all nodes the same owner and mode, so the first ones show it. */
#define NODES_MAX 1024U

typedef struct NodeReader {
    TaintList *list;
    taint_is_granted_t is_granted;
    void *userdata;
} NodeReader;

static bool is_root(uid_t uid) {
    return uid == 0 || uid == geteuid(); /* our own nodes in tests */
}

/* More than the mode shows: with an ACL, the mode's bits for the group are those of the mask. */
static bool is_entry_for_others(const NodeReader *r, const char *path, const AclEntry *e, gid_t group) {
    if (!(e->permissions & ACL_READ_WRITE))
        return false;
    switch (e->tag) {
    case ACL_TAG_USER:
        return !is_root(e->id) && !(r->is_granted && r->is_granted(r->userdata, path, e->id));
    case ACL_TAG_GROUP:
        return e->id != 0;
    case ACL_TAG_GROUP_OBJ:
        return group != 0;
    default:
        return false;
    }
}

static bool list_lets_others_in(const NodeReader *r, const char *path, gid_t group) {
    uint8_t data[ACL_SIZE_MAX];
    ssize_t n = lgetxattr(path, "system.posix_acl_access", data, sizeof(data));
    Acl acl;

    if (n < 0 && (errno == ENODATA || errno == EOPNOTSUPP))
        return group != 0;
    if (n < 0 || acl_decode(data, (size_t) n, &acl) < 0)
        return true; /* unknown */
    for (size_t i = 0; i < acl.n; i++)
        if (is_entry_for_others(r, path, &acl.entries[i], group))
            return true;
    return false;
}

/* Without counting root. */
static bool others_may_open(const NodeReader *r, const char *path, const struct stat *st) {
    if (!is_root(st->st_uid) && st->st_mode & 0600)
        return true;
    if (st->st_mode & 006)
        return true;
    return st->st_mode & 060 && list_lets_others_in(r, path, st->st_gid);
}

static void add_node(const NodeReader *r, const char *directory, const char *name) {
    char path[320], what[128];
    struct stat st;

    (void) snprintf(path, sizeof(path), "%s/%s", directory, name);
    if (stat(path, &st) < 0 || !S_ISCHR(st.st_mode) || !others_may_open(r, path, &st))
        return;
    (void) snprintf(what, sizeof(what), "%s/*: mode %04o, owner %u, group %u", directory,
            (unsigned) st.st_mode & 07777, (unsigned) st.st_uid, (unsigned) st.st_gid);
    (void) taint_list_add(r->list, TAINT_OPEN_NODE, true, what);
}

/* /dev/vfio/vfio and /dev/iommu are left out: everybody may open them, and they give no device. */
static void read_nodes(const NodeReader *r, const char *directory) {
    _cleanup_closedir_ DIR *d = NULL;
    struct dirent *e;

    if (open_directory_at(AT_FDCWD, directory, &d) < 0) /* there is no VFIO here */
        return;
    for (unsigned n = 0; n < NODES_MAX && (e = readdir(d)); n++)
        if (e->d_name[0] != '.' && !streq(e->d_name, "vfio"))
            add_node(r, directory, e->d_name);
}

void taint_reader_read(TaintList *l, taint_is_granted_t is_granted, void *userdata) {
    const NodeReader nodes = {.list = l, .is_granted = is_granted, .userdata = userdata};

    for (size_t i = 0; i < ELEMENTSOF(parameters); i++)
        read_parameter(l, i);
    read_command_line(l);
    read_kernel(l);
    read_nodes(&nodes, "/dev/vfio");
    read_nodes(&nodes, "/dev/vfio/devices");
}
