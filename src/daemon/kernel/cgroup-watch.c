/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/kernel/cgroup-watch.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"

#define EVENTS_MAX 4096U

struct CgroupEntry {
    CgroupWatch *watch;
    CgroupEntry *next; /* watch.entries */
    int directory;     /* borrowed */
    int wd;
    bool told;
    void (*emptied)(void *userdata);
    void *userdata;
};

struct CgroupWatch {
    sd_event *event;
    int fd;                         /* -EBADF until first use */
    sd_event_source *source, *look; /* look: checks all entries */
    CgroupEntry *entries;
};

int cgroup_watch_new(sd_event *event, CgroupWatch **ret) {
    CgroupWatch *w = malloc(sizeof(*w));

    if (!w)
        return -ENOMEM;
    *w = (CgroupWatch){.event = sd_event_ref(event), .fd = -EBADF};
    *ret = w;
    return 0;
}

CgroupWatch *cgroup_watch_free(CgroupWatch *w) {
    if (!w)
        return NULL;
    assert(!w->entries);
    sd_event_source_disable_unref(w->source);
    sd_event_source_disable_unref(w->look);
    (void) safe_close(w->fd);
    sd_event_unref(w->event);
    free(w);
    return NULL;
}

/* ---- Groups ---- */

/* Systemd uses the unified hierarchy alone, or beside older ones in its hybrid mode. */
static const char *find_hierarchy(void) {
    static const char *const paths[] = {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"};
    struct statfs fs;

    for (size_t i = 0; i < ELEMENTSOF(paths); i++)
        if (statfs(paths[i], &fs) >= 0 && fs.f_type == CGROUP2_SUPER_MAGIC)
            return paths[i];
    return NULL;
}

/* A path from /proc begins with "/.." when the group is outside of the visible hierarchy. */
int cgroup_open(const char *path, int *ret) {
    const char *hierarchy = find_hierarchy();
    _cleanup_free_ char *full = NULL;
    _cleanup_close_ int fd = -EBADF;

    if (!hierarchy || path[0] != '/' || streq(path, "/"))
        return -EOPNOTSUPP;
    if (strstr(path, "/../") || strlen(path) > PATH_MAX / 2)
        return -ENOENT;
    full = format_string("%s%s", hierarchy, path);
    if (!full)
        return -ENOMEM;
    fd = open(full, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return -errno;
    if (faccessat(fd, "cgroup.events", R_OK, 0) < 0)
        return errno == ENOENT ? -EOPNOTSUPP : -errno;
    *ret = TAKE_FD(fd);
    return 0;
}

int cgroup_is_populated(int directory) {
    char text[EVENTS_MAX];
    ssize_t n = read_attribute_at(directory, "cgroup.events", text, sizeof(text));

    if (n == -ENOENT || n == -ENODEV)
        return 0;
    if (n < 0)
        return (int) n;
    if (startswith(text, "populated 0") || strstr(text, "\npopulated 0"))
        return 0;
    return startswith(text, "populated 1") || strstr(text, "\npopulated 1") ? 1 : -EBADMSG;
}

/* ---- Events ---- */

/* An error ends nothing. The callbacks may free entries. */
static void look_at(CgroupWatch *w, int wd) {
    CgroupEntry *e = w->entries;

    while (e) {
        if (e->told || (wd >= 0 && e->wd != wd) || cgroup_is_populated(e->directory) != 0) {
            e = e->next;
            continue;
        }
        e->told = true;
        e->emptied(e->userdata);
        e = w->entries; /* those that were reported are skipped */
    }
}

static int on_events(sd_event_source *s, int fd, uint32_t revents, void *userdata) {
    union {
        struct inotify_event event;
        char bytes[4096];
    } buffer;
    CgroupWatch *w = userdata;
    ssize_t n = read(fd, &buffer, sizeof(buffer));

    for (ssize_t i = 0; i < n;) {
        const struct inotify_event *event = (const struct inotify_event *) (const void *) (buffer.bytes + i);

        look_at(w, event->mask & IN_Q_OVERFLOW ? -1 : event->wd);
        i += (ssize_t) (sizeof(*event) + event->len);
    }
    return 0;
}

static int on_look(sd_event_source *s, void *userdata) {
    look_at(userdata, -1);
    return 0;
}

static int begin(CgroupWatch *w) {
    _cleanup_close_ int fd = -EBADF;
    int r;

    if (w->source)
        return 0;
    fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (fd < 0)
        return -errno;
    if (!w->look) {
        r = sd_event_add_defer(w->event, &w->look, on_look, w);
        if (r < 0)
            return r;
    }
    r = sd_event_add_io(w->event, &w->source, fd, EPOLLIN, on_events, w);
    if (r >= 0) /* with the lifelines, before any request */
        r = sd_event_source_set_priority(w->source, SD_EVENT_PRIORITY_IMPORTANT);
    if (r < 0) {
        w->source = sd_event_source_disable_unref(w->source);
        return r;
    }
    w->fd = TAKE_FD(fd);
    return 0;
}

int cgroup_watch_add(
        CgroupWatch *w, int directory, void (*emptied)(void *userdata), void *userdata, CgroupEntry **ret) {
    CgroupEntry *e;
    char path[64];
    int r;

    r = begin(w);
    if (r < 0)
        return r;
    e = malloc(sizeof(*e));
    if (!e)
        return -ENOMEM;
    *e = (CgroupEntry){.watch = w, .directory = directory, .emptied = emptied, .userdata = userdata};
    (void) snprintf(path, sizeof(path), "/proc/self/fd/%d/cgroup.events", directory);
    e->wd = inotify_add_watch(w->fd, path, IN_MODIFY | IN_DELETE_SELF);
    r = e->wd < 0 ? -errno : 0;
    if (r == -ENOENT || r == -ENODEV) /* it has ended already */
        r = 0;
    if (r >= 0) /* covers what happened before the watch */
        r = sd_event_source_set_enabled(w->look, SD_EVENT_ONESHOT);
    if (r < 0) {
        free(e);
        return r;
    }
    e->next = w->entries;
    w->entries = e;
    *ret = e;
    return 0;
}

static bool is_watched(const CgroupWatch *w, int wd) {
    for (const CgroupEntry *e = w->entries; e; e = e->next)
        if (e->wd == wd)
            return true;
    return false;
}

CgroupEntry *cgroup_entry_free(CgroupEntry *e) {
    if (!e)
        return NULL;
    for (CgroupEntry **i = &e->watch->entries; *i; i = &(*i)->next)
        if (*i == e) {
            *i = e->next;
            break;
        }
    if (e->wd >= 0 && !is_watched(e->watch, e->wd))
        (void) inotify_rm_watch(e->watch->fd, e->wd);
    free(e);
    return NULL;
}
