/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/kernel/group-watch.h"

#include <limits.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "base/fd.h"

/* Groups with higher numbers are probed each time. */
#define GROUPS_MAX 65536

typedef struct Entry {
    int wd;          /* 0: none */
    unsigned probes; /* opens by our workers whose events are still to come */
    bool probing;
    bool clear;
    bool opened; /* by somebody else, since the probe began */
} Entry;

struct GroupWatch {
    int fd;
    sd_event_source *source;
    Entry *entries; /* indexed by the group's number */
    size_t n_entries;
};

GroupWatch *group_watch_free(GroupWatch *w) {
    if (!w)
        return NULL;
    sd_event_source_disable_unref(w->source);
    (void) safe_close(w->fd);
    free(w->entries);
    free(w);
    return NULL;
}

static void apply(Entry *e, uint32_t mask) {
    if (mask & (IN_IGNORED | IN_UNMOUNT)) {
        *e = (Entry){};
        return;
    }
    if (!(mask & IN_OPEN))
        return;
    if (e->probes > 0) {
        e->probes--;
        return;
    }
    e->clear = false;
    e->opened = true;
}

static void take(GroupWatch *w, const struct inotify_event *event) {
    for (size_t i = 0; i < w->n_entries; i++)
        if (event->mask & IN_Q_OVERFLOW || w->entries[i].wd == event->wd)
            apply(&w->entries[i], event->mask & IN_Q_OVERFLOW ? IN_OPEN : event->mask);
}

static int on_events(sd_event_source *s, int fd, uint32_t revents, void *userdata) {
    union {
        struct inotify_event align;
        char bytes[64 * (sizeof(struct inotify_event) + NAME_MAX + 1)];
    } buf;
    GroupWatch *w = userdata;
    const struct inotify_event *event;
    ssize_t n;

    n = read(w->fd, buf.bytes, sizeof(buf.bytes));
    for (ssize_t i = 0; i < n; i += (ssize_t) (sizeof(*event) + event->len)) {
        event = (const struct inotify_event *) (const void *) (buf.bytes + i);
        take(w, event);
    }
    return 0;
}

int group_watch_new(sd_event *event, GroupWatch **ret) {
    _cleanup_(group_watch_freep) GroupWatch *w = malloc(sizeof(*w));
    int r;

    if (!w)
        return -ENOMEM;
    *w = (GroupWatch){.fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK)};
    if (w->fd < 0)
        return -errno;
    r = sd_event_add_io(event, &w->source, w->fd, EPOLLIN, on_events, w);
    if (r >= 0) /* before any request */
        r = sd_event_source_set_priority(w->source, SD_EVENT_PRIORITY_IMPORTANT);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(w);
    return 0;
}

static Entry *find(GroupWatch *w, int group) {
    const size_t n = (size_t) group + 64;
    Entry *entries;

    if (group < 0 || group >= GROUPS_MAX)
        return NULL;
    if ((size_t) group < w->n_entries)
        return &w->entries[group];
    entries = reallocarray(w->entries, n, sizeof(*entries));
    if (!entries)
        return NULL;
    memset(entries + w->n_entries, 0, (n - w->n_entries) * sizeof(*entries));
    w->entries = entries;
    w->n_entries = n;
    return &entries[group];
}

/* Closes are watched too. Otherwise inotify would merge two opens into one event. */
bool group_watch_is_clear(GroupWatch *w, int group, const char *path) {
    Entry *e = find(w, group);
    int wd;

    if (!e)
        return false;
    if (e->wd > 0)
        return e->clear;
    wd = inotify_add_watch(w->fd, path, IN_OPEN | IN_CLOSE);
    if (wd < 0)
        return errno == ENOENT;
    e->wd = wd;
    return false;
}

void group_watch_begin_probe(GroupWatch *w, int group) {
    Entry *e = find(w, group);

    if (!e || e->wd == 0)
        return;
    e->probes++;
    e->probing = true;
    e->opened = false;
}

void group_watch_end_probe(GroupWatch *w, int group, bool clear) {
    Entry *e = find(w, group);

    if (!e || !e->probing)
        return;
    e->probing = false;
    e->clear = clear && !e->opened;
    if (!clear && e->probes > 0)
        e->probes--;
}
