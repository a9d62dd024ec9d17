/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/kernel/node-watch.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"

#define DOUBT_MASK ((uint32_t) (IN_CLOSE_WRITE | IN_DELETE_SELF))
#define CLOSED_MASK ((uint32_t) (IN_OPEN | IN_DELETE_SELF))
#define OPEN_MASK (DOUBT_MASK | CLOSED_MASK)

/* A line of a watch in fdinfo has about 150 bytes. */
#define FDINFO_MAX (1024U * 1024)

#define N_LISTS 256U

struct NodeEntry {
    NodeWatch *watch;
    NodeEntry **place, *next; /* the list in watch.entries that it is in */
    int wd;                   /* -1: the inode is gone */
    char path[48];
    bool ours_seen, open, doubt, gone;
    bool touched; /* an event came, and changed() is to be called: in watch.touched */
    NodeEntry *next_touched;
    node_changed_t changed;
    void *userdata;
};

typedef struct KeptWatch {
    int wd;
    uint32_t mask;
} KeptWatch;

struct NodeWatch {
    sd_event *event;
    int fd;
    sd_event_source *source, *rest; /* rest: armed when a settle has read what concerns others */
    NodeEntry *entries[N_LISTS];    /* by the number of the watch */
    NodeEntry *touched;             /* entries may go while it is emptied */
    KeptWatch *kept;                /* what an earlier process has watched */
    size_t n_kept;
    NodeEntry *settling; /* reads on behalf of this one */
    bool untold;         /* another was touched */
    bool leaving;
};

static NodeEntry **list_of(NodeWatch *w, int wd) {
    return &w->entries[(unsigned) wd % N_LISTS];
}

static bool is_empty(const NodeWatch *w) {
    for (size_t i = 0; i < N_LISTS; i++)
        if (w->entries[i])
            return false;
    return true;
}

NodeEntry *node_entry_free(NodeEntry *e) {
    if (!e)
        return NULL;
    for (NodeEntry **i = e->place; *i; i = &(*i)->next)
        if (*i == e) {
            *i = e->next;
            break;
        }
    for (NodeEntry **i = &e->watch->touched; e->touched; i = &(*i)->next_touched)
        if (*i == e) {
            *i = e->next_touched;
            break;
        }
    if (e->wd >= 0 && !e->watch->leaving)
        (void) inotify_rm_watch(e->watch->fd, e->wd);
    free(e);
    return NULL;
}

void node_watch_leave(NodeWatch *w) {
    w->leaving = true;
}

NodeWatch *node_watch_free(NodeWatch *w) {
    if (!w)
        return NULL;
    assert(is_empty(w));
    sd_event_source_disable_unref(w->source);
    sd_event_source_disable_unref(w->rest);
    (void) safe_close(w->fd);
    free(w->kept);
    sd_event_unref(w->event);
    free(w);
    return NULL;
}

static void set_mask(NodeEntry *e, uint32_t mask) {
    int wd = e->wd < 0 ? -1 : inotify_add_watch(e->watch->fd, e->path, mask);

    if (wd >= 0 && wd != e->wd) /* the path has a new inode already */
        (void) inotify_rm_watch(e->watch->fd, wd);
}

/* Whoever opens the node again and again does not wake us any more. */
static void begin_doubt(NodeEntry *e) {
    if (!e->doubt)
        set_mask(e, DOUBT_MASK);
    e->doubt = true;
}

static void apply(NodeEntry *e, uint32_t mask) {
    if (!e->touched) {
        e->next_touched = e->watch->touched;
        e->watch->touched = e;
    }
    e->touched = true;
    e->watch->untold = e->watch->untold || e != e->watch->settling;
    if (mask & IN_OPEN) {
        if (e->ours_seen)
            begin_doubt(e);
        e->ours_seen = e->open = true;
    }
    if (mask & IN_CLOSE_WRITE) {
        /* At once: the event is read, and nobody else will be told. */
        if (e->open && !e->doubt)
            set_mask(e, CLOSED_MASK);
        e->open = false;
    }
    if (mask & (IN_DELETE_SELF | IN_IGNORED | IN_UNMOUNT)) {
        /* The inode lives as long as an open file does: it is closed everywhere. */
        e->gone = true;
        e->wd = -1;
    }
    if (mask & IN_Q_OVERFLOW)
        begin_doubt(e);
}

static void apply_to_all(NodeWatch *w, uint32_t mask) {
    for (size_t i = 0; i < N_LISTS; i++)
        for (NodeEntry *e = w->entries[i]; e; e = e->next)
            apply(e, mask);
}

/* Two claims may watch one node, while the first is not over yet. */
static void apply_to_watch(NodeWatch *w, int wd, uint32_t mask) {
    for (NodeEntry *e = *list_of(w, wd); e; e = e->next)
        if (e->wd == wd)
            apply(e, mask);
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
        if (event.mask & IN_Q_OVERFLOW)
            apply_to_all(w, event.mask);
        else
            apply_to_watch(w, event.wd, event.mask);
    }
    return n > 0;
}

static void tell(NodeWatch *w) {
    NodeEntry *e;

    w->untold = false;
    while ((e = w->touched)) {
        w->touched = e->next_touched;
        e->touched = false;
        if (node_entry_state(e) != NODE_OPEN)
            e->changed(e->userdata);
    }
}

static int on_events(sd_event_source *s, int fd, uint32_t events, void *userdata) {
    NodeWatch *w = userdata;
    int r;

    r = read_events(w);
    if (r < 0)
        return r;
    tell(w);
    return 0;
}

static int on_rest(sd_event_source *s, void *userdata) {
    tell(userdata);
    return 0;
}

/* Takes fd over on success. */
static int listen_to(NodeWatch *w, int fd) {
    sd_event_source *source;
    int r;

    r = sd_event_add_io(w->event, &source, fd, EPOLLIN, on_events, w);
    if (r < 0)
        return r;
    /* With the lifelines, before any request. */
    r = sd_event_source_set_priority(source, SD_EVENT_PRIORITY_IMPORTANT);
    if (r < 0) {
        sd_event_source_disable_unref(source);
        return r;
    }
    sd_event_source_disable_unref(w->source);
    (void) safe_close(w->fd);
    w->source = source;
    w->fd = fd;
    return 0;
}

int node_watch_new(sd_event *event, NodeWatch **ret) {
    _cleanup_(node_watch_freep) NodeWatch *w = NULL;
    _cleanup_close_ int fd = -EBADF;
    int r;

    fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (fd < 0)
        return -errno;
    w = malloc(sizeof(*w));
    if (!w)
        return -ENOMEM;
    *w = (NodeWatch){.event = sd_event_ref(event), .fd = -EBADF};
    r = sd_event_add_defer(event, &w->rest, on_rest, w);
    if (r >= 0)
        r = sd_event_source_set_priority(w->rest, SD_EVENT_PRIORITY_IMPORTANT);
    if (r >= 0)
        r = sd_event_source_set_enabled(w->rest, SD_EVENT_OFF);
    if (r >= 0)
        r = listen_to(w, fd);
    if (r < 0)
        return r;
    (void) TAKE_FD(fd);
    *ret = TAKE_PTR(w);
    return 0;
}

/* ---- Over a restart ---- */

static int add_kept(NodeWatch *w, const KeptWatch *k) {
    KeptWatch *more = reallocarray(w->kept, w->n_kept + 1, sizeof(*more));

    if (!more)
        return -ENOMEM;
    w->kept = more;
    w->kept[w->n_kept++] = *k;
    return 0;
}

/* A line of each watch: "inotify wd:1 ino:1b sdev:5 mask:238 ignored_mask:0 fhandle-…", all in hex. */
static int read_kept(NodeWatch *w, int fd) {
    _cleanup_free_ char *text = NULL;
    char path[48];
    int r;

    (void) snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
    r = read_file_at(AT_FDCWD, path, FDINFO_MAX, &text, NULL);
    for (const char *line = text; r >= 0 && line; line = strchr(line, '\n')) {
        unsigned wd, mask;

        line += *line == '\n';
        if (sscanf(line, "inotify wd:%x ino:%*x sdev:%*x mask:%x", &wd, &mask) == 2)
            r = add_kept(w, &(KeptWatch){.wd = (int) wd, .mask = mask});
    }
    return r;
}

static bool is_inotify(int fd) {
    char path[48], target[64];
    ssize_t n;

    (void) snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    n = readlink(path, target, sizeof(target) - 1);
    if (n < 0)
        return false;
    target[n] = '\0';
    return streq(target, "anon_inode:inotify") || streq(target, "anon_inode:[inotify]");
}

static int go_on_with(NodeWatch *w, int fd) {
    int r;

    if (!is_inotify(fd))
        return -EBADMSG;
    r = read_kept(w, fd);
    if (r >= 0)
        r = listen_to(w, fd);
    if (r < 0)
        w->n_kept = 0;
    return r;
}

int node_watch_keep(NodeWatch *w, int fd) {
    int r;

    assert(is_empty(w));
    if (fd >= 0)
        return go_on_with(w, fd);
    (void) sd_notify(/* unset_environment= */ 0, "FDSTOREREMOVE=1\nFDNAME=" NODE_WATCH_STORE_NAME);
    r = sd_pid_notify_with_fds(
            0, /* unset_environment= */ 0, "FDSTORE=1\nFDNAME=" NODE_WATCH_STORE_NAME, &w->fd, 1);
    return r < 0 ? r : 0;
}

static bool has_entry(NodeWatch *w, int wd) {
    for (const NodeEntry *e = *list_of(w, wd); e; e = e->next)
        if (e->wd == wd)
            return true;
    return false;
}

void node_watch_forget_rest(NodeWatch *w) {
    for (size_t i = 0; i < w->n_kept; i++)
        if (!has_entry(w, w->kept[i].wd))
            (void) inotify_rm_watch(w->fd, w->kept[i].wd);
    w->n_kept = 0;
}

/* ---- Entries ---- */

static int add(NodeWatch *w, const char *path, uint32_t mask, node_changed_t changed, void *userdata,
        NodeEntry **ret) {
    NodeEntry *e;

    e = malloc(sizeof(*e));
    if (!e)
        return -ENOMEM;
    *e = (NodeEntry){.watch = w, .changed = changed, .userdata = userdata};
    assert(strlen(path) < sizeof(e->path));
    strcpy(e->path, path);
    e->wd = inotify_add_watch(w->fd, path, mask);
    if (e->wd < 0) {
        int r = -errno;

        free(e);
        return r;
    }
    e->place = list_of(w, e->wd);
    e->next = *e->place;
    *e->place = e;
    *ret = e;
    return 0;
}

int node_watch_add(NodeWatch *w, const char *path, node_changed_t changed, void *userdata, NodeEntry **ret) {
    return add(w, path, OPEN_MASK, changed, userdata, ret);
}

static const KeptWatch *find_kept(const NodeWatch *w, int wd) {
    for (size_t i = 0; i < w->n_kept; i++)
        if (w->kept[i].wd == wd)
            return &w->kept[i];
    return NULL;
}

int node_watch_resume(
        NodeWatch *w, const char *path, node_changed_t changed, void *userdata, NodeEntry **ret) {
    const KeptWatch *k;
    NodeEntry *e;
    int r;

    /* Leaves the mask of a watch that is there as it is. */
    r = add(w, path, IN_DELETE_SELF | IN_MASK_ADD, changed, userdata, &e);
    if (r < 0)
        return r;
    k = find_kept(w, e->wd);
    e->ours_seen = true;
    e->open = !k || k->mask & IN_CLOSE_WRITE;
    if (!k || !(k->mask & IN_OPEN))
        begin_doubt(e);
    *ret = e;
    return 0;
}

/* A close that was seen while our file is open was somebody else's, who had the node open before. */
void node_watch_settle(NodeWatch *w, NodeEntry *e) {
    w->settling = e;
    (void) read_events(w);
    if (e->ours_seen && !e->open)
        begin_doubt(e);
    e->ours_seen = e->open = true;
    w->settling = NULL;
    if (w->untold)
        (void) sd_event_source_set_enabled(w->rest, SD_EVENT_ONESHOT);
}

NodeState node_entry_state(const NodeEntry *e) {
    if (e->gone)
        return NODE_CLOSED;
    if (e->doubt)
        return NODE_DOUBT;
    return e->open ? NODE_OPEN : NODE_CLOSED;
}

const char *node_entry_path(const NodeEntry *e) {
    return e->path;
}

void node_entry_give(NodeEntry *e, void *userdata) {
    e->userdata = userdata;
}
