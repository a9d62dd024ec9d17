/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/kernel/node-watch.h"

#include <limits.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "base/fd.h"

struct NodeEntry {
    NodeWatch *watch;
    NodeEntry *next; /* watch.entries */
    int wd;          /* -1: the inode is gone */
    int open_files;
    bool ours_seen, uncertain, gone;
    node_changed_t changed;
    void *userdata;
};

struct NodeWatch {
    int fd;
    sd_event_source *source;
    NodeEntry *entries;
    NodeEntry *cursor; /* the next one to look at while events are handed out; entries may go meanwhile */
};

NodeEntry *node_entry_free(NodeEntry *e) {
    if (!e)
        return NULL;
    for (NodeEntry **i = &e->watch->entries; *i; i = &(*i)->next)
        if (*i == e) {
            *i = e->next;
            break;
        }
    if (e->watch->cursor == e)
        e->watch->cursor = e->next;
    if (e->wd >= 0)
        (void) inotify_rm_watch(e->watch->fd, e->wd);
    free(e);
    return NULL;
}

NodeWatch *node_watch_free(NodeWatch *w) {
    if (!w)
        return NULL;
    assert(!w->entries);
    sd_event_source_disable_unref(w->source);
    (void) safe_close(w->fd);
    free(w);
    return NULL;
}

static void apply(NodeEntry *e, uint32_t mask) {
    if (mask & IN_OPEN) {
        if (e->ours_seen)
            e->uncertain = true;
        e->ours_seen = true;
        e->open_files++;
    }
    if (mask & (IN_CLOSE_WRITE | IN_CLOSE_NOWRITE))
        e->open_files--;
    if (mask & (IN_DELETE_SELF | IN_IGNORED | IN_UNMOUNT)) {
        /* The inode lives as long as an open file does: it is closed everywhere. */
        e->gone = true;
        e->wd = -1;
    }
}

/* Reads what is there and notes it; changed() is called by the caller, when no reading is under way. */
static int read_events(NodeWatch *w) {
    union {
        struct inotify_event align;
        char bytes[64 * (sizeof(struct inotify_event) + NAME_MAX + 1)];
    } buf;
    ssize_t n;

    n = read(w->fd, buf.bytes, sizeof(buf.bytes));
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    for (char *p = buf.bytes; p < buf.bytes + n;) {
        struct inotify_event event;

        memcpy(&event, p, sizeof(event));
        p += sizeof(event) + event.len;
        for (NodeEntry *e = w->entries; e; e = e->next) {
            if (event.mask & IN_Q_OVERFLOW)
                e->uncertain = true;
            else if (e->wd == event.wd)
                apply(e, event.mask);
        }
    }
    return n > 0;
}

static int on_events(sd_event_source *s, int fd, uint32_t events, void *userdata) {
    NodeWatch *w = userdata;
    int r;

    r = read_events(w);
    if (r < 0)
        return r;
    for (w->cursor = w->entries; w->cursor;) {
        NodeEntry *e = w->cursor;

        w->cursor = e->next;
        if (node_entry_state(e) != NODE_OPEN)
            e->changed(e->userdata);
    }
    return 0;
}

int node_watch_new(sd_event *event, NodeWatch **ret) {
    _cleanup_(node_watch_freep) NodeWatch *w = NULL;
    int r;

    w = malloc(sizeof(*w));
    if (!w)
        return -ENOMEM;
    *w = (NodeWatch){.fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK)};
    if (w->fd < 0)
        return -errno;
    r = sd_event_add_io(event, &w->source, w->fd, EPOLLIN, on_events, w);
    if (r < 0)
        return r;
    /* With the lifelines, before any request. */
    r = sd_event_source_set_priority(w->source, SD_EVENT_PRIORITY_IMPORTANT);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(w);
    return 0;
}

int node_watch_add(NodeWatch *w, const char *path, bool uncertain, node_changed_t changed, void *userdata,
        NodeEntry **ret) {
    NodeEntry *e;
    int wd;

    wd = inotify_add_watch(w->fd, path, IN_OPEN | IN_CLOSE_WRITE | IN_CLOSE_NOWRITE | IN_DELETE_SELF);
    if (wd < 0)
        return -errno;
    e = malloc(sizeof(*e));
    if (!e) {
        (void) inotify_rm_watch(w->fd, wd);
        return -ENOMEM;
    }
    *e = (NodeEntry){
            .watch = w,
            .next = w->entries,
            .wd = wd,
            .uncertain = uncertain,
            .changed = changed,
            .userdata = userdata,
    };
    w->entries = e;
    *ret = e;
    return 0;
}

void node_watch_settle(NodeWatch *w, NodeEntry *e) {
    (void) read_events(w);
    e->ours_seen = true;
    if (e->open_files <= 0)
        e->open_files = 1;
}

NodeState node_entry_state(const NodeEntry *e) {
    if (e->gone)
        return NODE_CLOSED;
    if (e->uncertain)
        return NODE_UNCERTAIN;
    return e->open_files > 0 ? NODE_OPEN : NODE_CLOSED;
}
