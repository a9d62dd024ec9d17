/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "rehearsal/host-view.h"

#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdio.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "base/user-name.h"
#include "host/mdev-reader.h"
#include "host/seen-caps.h"
#include "host/sysfs.h"
#include "host/taint-reader.h"

#define GROUPS_NAMED_MAX 16U /* an explanation shows no more */
#define STATE_DIRECTORY "/run/vfiod"
#define STATE_VARIABLE "VFIOD_STATE_DIRECTORY"

int problem(char **ret_problem, int error, const char *format, ...) {
    va_list ap;

    *ret_problem = NULL;
    if (error == -ENOMEM)
        return error;
    va_start(ap, format);
    if (vasprintf(ret_problem, format, ap) < 0)
        *ret_problem = NULL;
    va_end(ap);
    return error;
}

/* Also reads from a pipe: `vfioctl snapshot | vfioctl policy explain --host -`. */
static int read_stream(int fd, size_t max, char **ret, size_t *ret_size) {
    _cleanup_free_ char *text = NULL;
    size_t size = 0, allocated = 0;

    for (;;) {
        ssize_t n;

        if (size == allocated) {
            char *grown;

            if (size > max)
                return -E2BIG;
            allocated = MIN(MAX(2 * allocated, (size_t) 64 * 1024), max + 1);
            grown = realloc(text, allocated);
            if (!grown)
                return -ENOMEM;
            text = grown;
        }
        n = read(fd, text + size, allocated - size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        size += (size_t) n;
    }
    *ret = TAKE_PTR(text);
    *ret_size = size;
    return 0;
}

static int read_snapshot(const char *host, char **ret, size_t *ret_size) {
    _cleanup_close_ int fd = -EBADF;

    if (streq(host, "-"))
        return read_stream(STDIN_FILENO, SNAPSHOT_SIZE_MAX, ret, ret_size);
    fd = open(host, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    return fd < 0 ? -errno : read_stream(fd, SNAPSHOT_SIZE_MAX, ret, ret_size);
}

static int read_kernel_facts(_unused_ void *userdata, KernelFacts *ret) {
    return sysfs_read_kernel_facts(ret);
}

static int read_weakness(_unused_ void *userdata, char **ret) {
    _cleanup_free_ TaintList *taints = calloc(1, sizeof(*taints));
    int r = 0;

    if (!taints)
        return -ENOMEM;
    taint_reader_read(taints, NULL, NULL);
    *ret = taint_list_describe_weakness(taints, &r);
    return r;
}

static int read_mdev_types(_unused_ void *userdata, MdevTypes *ret) {
    return mdev_reader_read(ret);
}

static const FactSource facts_of_this_host = {
        .read_facts = sysfs_read_facts,
        .read_kernel_facts = read_kernel_facts,
        .read_weakness = read_weakness,
        .read_mdev_types = read_mdev_types,
};

int host_view_open(const char *host, HostView *ret, char **ret_problem) {
    _cleanup_free_ char *text = NULL, *wrong = NULL;
    HostSnapshot *snapshot;
    size_t size = 0;
    int r;

    if (!host) {
        *ret = (HostView){.facts = facts_of_this_host};
        return 0;
    }
    r = read_snapshot(host, &text, &size);
    if (r < 0)
        return problem(ret_problem, r, "%s: cannot read the recorded host: %s", host, strerror(-r));
    r = host_snapshot_parse(text, size, &snapshot, &wrong);
    if (r < 0)
        return problem(ret_problem, r, "%s: not a recorded host: %s", host, wrong ?: strerror(-r));
    *ret = (HostView){.snapshot = snapshot, .facts = host_snapshot_facts(snapshot)};
    return 0;
}

void host_view_done(HostView *v) {
    v->scanned = inventory_free(v->scanned);
    v->snapshot = host_snapshot_free(v->snapshot);
}

int host_view_get_inventory(HostView *v, Inventory **ret, char **ret_problem) {
    _cleanup_(inventory_freep) Inventory *scanned = NULL;
    int r;

    if (!v->snapshot && !v->scanned) {
        scanned = inventory_new();
        r = scanned ? sysfs_scan(scanned) : -ENOMEM;
        if (r >= 0) /* what cannot be read is unknown, as in the daemon */
            r = seen_caps_load(secure_getenv(STATE_VARIABLE) ?: STATE_DIRECTORY, scanned, NULL, NULL) ==
                            -ENOMEM
                    ? -ENOMEM
                    : 0;
        if (r < 0)
            return problem(ret_problem, r, "cannot read the devices of this host: %s", strerror(-r));
        v->scanned = TAKE_PTR(scanned);
    }
    *ret = v->snapshot ? host_snapshot_inventory(v->snapshot) : v->scanned;
    return 0;
}

/* --- accounts --- */

/* getpwnam(3) and similar functions return static memory; there is one thread here. They leave errno 0 when
 * the name does not exist. */
int host_view_resolve(void *userdata, bool is_group, const char *name, uint32_t *ret) {
    HostView *v = userdata;
    struct passwd *user = NULL;
    struct group *group = NULL;

    if (v->snapshot)
        return host_snapshot_resolve(v->snapshot, is_group, name, ret);
    errno = 0;
    if (is_group)
        group = getgrnam(name);
    else
        user = getpwnam(name);
    if (!user && !group)
        return errno == ENOMEM ? -ENOMEM : -ENOENT;
    *ret = group ? group->gr_gid : user->pw_uid;
    return 0;
}

int host_view_user_name(const HostView *v, uid_t uid, char **ret) {
    const struct passwd *user = v->snapshot ? NULL : getpwuid(uid);
    const char *name = v->snapshot ? host_snapshot_user_name(v->snapshot, uid) : user ? user->pw_name : NULL;

    char *copy = name ? strdup(name) : NULL;

    if (name && !copy)
        return -ENOMEM;
    *ret = copy;
    return 0;
}

/* A line as in group(5). */
static int add_group_line(void *lines, bool is_group, const char *name, uint32_t id) {
    if (is_group && !strpbrk(name, ":\n"))
        strbuf_addf(lines, "%s:x:%" PRIu32 ":\n", name, id);
    return 0;
}

void host_view_add_group_lines(const HostView *v, const gid_t *gids, size_t n, StrBuf *lines) {
    if (v->snapshot)
        (void) host_snapshot_foreach_account(v->snapshot, add_group_line, lines);
    for (size_t i = 0; !v->snapshot && i < MIN(n, GROUPS_NAMED_MAX); i++) {
        const struct group *g = getgrgid(gids[i]);

        if (g)
            (void) add_group_line(lines, true, g->gr_name, gids[i]);
    }
}

static int live_groups(const struct passwd *user, gid_t **ret, size_t *ret_n) {
    int n = 64;

    for (;;) {
        _cleanup_free_ gid_t *gids = calloc((size_t) n, sizeof(*gids));
        int allocated = n;

        if (!gids)
            return -ENOMEM;
        if (getgrouplist(user->pw_name, user->pw_gid, gids, &n) >= 0) {
            *ret = TAKE_PTR(gids);
            *ret_n = (size_t) n;
            return 0;
        }
        if (n <= allocated || n > 65536) /* NGROUPS_MAX of the kernel */
            return -E2BIG;
    }
}

int host_view_user_groups(const HostView *v, uid_t uid, gid_t **ret, size_t *ret_n) {
    const struct passwd *user;
    const gid_t *gids;
    gid_t *copy;
    size_t n;
    int r;

    if (!v->snapshot) {
        user = getpwuid(uid);
        return user ? live_groups(user, ret, ret_n) : -ENOENT;
    }
    r = host_snapshot_user_groups(v->snapshot, uid, &gids, &n);
    if (r < 0)
        return r;
    copy = malloc(MAX(n, (size_t) 1) * sizeof(*gids));
    if (!copy)
        return -ENOMEM;
    if (n > 0)
        memcpy(copy, gids, n * sizeof(*gids));
    *ret = copy;
    *ret_n = n;
    return 0;
}

static int foreach_live_user(visit_account_t visit, void *userdata) {
    const struct passwd *user;
    int r = 0;

    setpwent();
    for (size_t n = 0; r == 0 && n < ACCOUNTS_MAX && (user = getpwent()); n++)
        r = visit(userdata, false, user->pw_name, user->pw_uid);
    endpwent();
    return r;
}

static int foreach_live_group(visit_account_t visit, void *userdata) {
    const struct group *group;
    int r = 0;

    setgrent();
    for (size_t n = 0; r == 0 && n < ACCOUNTS_MAX && (group = getgrent()); n++)
        r = visit(userdata, true, group->gr_name, group->gr_gid);
    endgrent();
    return r;
}

int host_view_foreach_account(const HostView *v, visit_account_t visit, void *userdata) {
    int r;

    if (v->snapshot)
        return host_snapshot_foreach_account(v->snapshot, visit, userdata);
    r = foreach_live_user(visit, userdata);
    return r == 0 ? foreach_live_group(visit, userdata) : r;
}
