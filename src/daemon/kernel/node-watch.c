/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/kernel/node-watch.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"

#define DOUBT_MASK ((uint32_t) (IN_CLOSE_WRITE | IN_DELETE_SELF))
#define CLOSED_MASK ((uint32_t) (IN_OPEN | IN_DELETE_SELF))
#define OPEN_MASK (DOUBT_MASK | CLOSED_MASK)

/* A watch takes a line of about 150 bytes in fdinfo. */
#define FDINFO_MAX (1024U * 1024)

#define N_LISTS 256U

/* As many nodes stay watched without an entry. */
#define IDLE_MAX 64U

typedef struct Node Node;

/* One watch, which is one inode. */
struct Node {
    int wd; /* -1: the inode is gone, and the node is in no list */
    uint32_t mask;
    char path[48];
    NodeEntry *entries;        /* of one claim; of two while the first is not over yet */
    Node *next_wd, *next_path; /* the watch's hash chains */
    uint64_t idle_since;       /* when it lost its last entry; the smallest is dropped first */
};

struct NodeEntry {
    NodeWatch *watch;
    Node *node;      /* freed with its last entry, unless it stays watched */
    NodeEntry *next; /* node.entries */
    bool ours_seen, open, doubt, gone;
    bool touched; /* an event arrived and changed() will be called: it is in watch.touched */
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
    sd_event_source *source;
    sd_event_source *rest; /* enabled when node_watch_settle() has read events of other entries */
    Node *by_wd[N_LISTS], *by_path[N_LISTS];
    unsigned n_idle;
    uint64_t n_idled;
    NodeEntry *touched; /* entries may be freed while it is worked off */
    KeptWatch *kept;    /* watches of an earlier process */
    size_t n_kept;
    NodeEntry *settling; /* events are read for this one */
    bool untold;         /* another entry was touched */
    bool leaving;
};

/* ---- Nodes ---- */

static Node **list_of_wd(NodeWatch *w, int wd) {
    return &w->by_wd[(unsigned) wd % N_LISTS];
}

static Node **list_of_path(NodeWatch *w, const char *path) {
    uint32_t hash = 2166136261U; /* FNV-1a */

    for (const char *p = path; *p; p++)
        hash = (hash ^ (uint8_t) *p) * 16777619U;
    return &w->by_path[hash % N_LISTS];
}

static Node *find_wd(NodeWatch *w, int wd) {
    Node *n = *list_of_wd(w, wd);

    while (n && n->wd != wd)
        n = n->next_wd;
    return n;
}

static Node *find_path(NodeWatch *w, const char *path) {
    Node *n = *list_of_path(w, path);

    while (n && !streq(n->path, path))
        n = n->next_path;
    return n;
}

static void list_node(NodeWatch *w, Node *n) {
    Node **wd = list_of_wd(w, n->wd), **path = list_of_path(w, n->path);

    n->next_wd = *wd;
    *wd = n;
    n->next_path = *path;
    *path = n;
}

/* Removes the node from the lists. Its entries keep it. */
static void unlist_node(NodeWatch *w, Node *n) {
    Node **i = list_of_wd(w, n->wd);

    while (*i != n)
        i = &(*i)->next_wd;
    *i = n->next_wd;
    i = list_of_path(w, n->path);
    while (*i != n)
        i = &(*i)->next_path;
    *i = n->next_path;
    w->n_idle -= !n->entries;
    n->wd = -1;
}

static void drop_node(NodeWatch *w, Node *n) {
    if (n->wd >= 0 && !w->leaving)
        (void) inotify_rm_watch(w->fd, n->wd);
    if (n->wd >= 0)
        unlist_node(w, n);
    free(n);
}

static void drop_longest_idle(NodeWatch *w) {
    Node *longest = NULL;

    for (size_t i = 0; i < N_LISTS; i++)
        for (Node *n = w->by_wd[i]; n; n = n->next_wd)
            if (!n->entries && (!longest || n->idle_since < longest->idle_since))
                longest = n;
    drop_node(w, longest);
}

void node_watch_drop_idle(NodeWatch *w) {
    while (w->n_idle > 0)
        drop_longest_idle(w);
}

static void set_mask(NodeWatch *w, Node *n, uint32_t mask) {
    int wd = n->wd < 0 ? -1 : inotify_add_watch(w->fd, n->path, mask);
    Node *another;

    if (wd == n->wd) {
        n->mask = mask;
        return;
    }
    /* a new inode is at the path already */
    another = find_wd(w, wd);
    if (another)
        (void) inotify_add_watch(w->fd, another->path, another->mask);
    else if (wd >= 0)
        (void) inotify_rm_watch(w->fd, wd);
}

/* The watch is kept because the device will be claimed again, and removing a watch wakes a kernel thread. */
static void leave_idle(NodeWatch *w, Node *n) {
    if (n->mask == CLOSED_MASK && !w->leaving)
        set_mask(w, n, OPEN_MASK);
    if (n->wd < 0 || n->mask != OPEN_MASK || w->leaving) {
        w->n_idle += n->wd >= 0;
        drop_node(w, n);
        return;
    }
    n->idle_since = ++w->n_idled;
    if (++w->n_idle > IDLE_MAX)
        drop_longest_idle(w);
}

/* Watches the present inode at that path, whichever was there before. */
static int watch_path(NodeWatch *w, const char *path, uint32_t mask, Node **ret) {
    Node *n;
    int wd;

    wd = inotify_add_watch(w->fd, path, mask);
    if (wd < 0)
        return -errno;
    n = find_wd(w, wd);
    if (!n) {
        n = malloc(sizeof(*n));
        if (!n) {
            (void) inotify_rm_watch(w->fd, wd);
            return -ENOMEM;
        }
        *n = (Node){.wd = wd};
        assert(strlen(path) < sizeof(n->path));
        strcpy(n->path, path);
        list_node(w, n);
        w->n_idle++;
    }
    n->mask = mask;
    *ret = n;
    return 0;
}

/* ---- Entries of nodes ---- */

static void enter(NodeEntry *e, Node *n) {
    e->watch->n_idle -= !n->entries;
    e->node = n;
    e->next = n->entries;
    n->entries = e;
}

static void leave(NodeEntry *e) {
    Node *n = e->node;

    for (NodeEntry **i = &n->entries; *i; i = &(*i)->next)
        if (*i == e) {
            *i = e->next;
            break;
        }
    if (!n->entries)
        leave_idle(e->watch, n);
}

NodeEntry *node_entry_free(NodeEntry *e) {
    if (!e)
        return NULL;
    for (NodeEntry **i = &e->watch->touched; e->touched; i = &(*i)->next_touched)
        if (*i == e) {
            *i = e->next_touched;
            break;
        }
    leave(e);
    free(e);
    return NULL;
}

void node_watch_leave(NodeWatch *w) {
    w->leaving = true;
}

NodeWatch *node_watch_free(NodeWatch *w) {
    if (!w)
        return NULL;
    w->leaving = true;
    node_watch_drop_idle(w);
    for (size_t i = 0; i < N_LISTS; i++)
        assert(!w->by_wd[i]);
    sd_event_source_disable_unref(w->source);
    sd_event_source_disable_unref(w->rest);
    (void) safe_close(w->fd);
    free(w->kept);
    sd_event_unref(w->event);
    free(w);
    return NULL;
}

/* ---- Events ---- */

/* Stop watching opens: a program that opens the node repeatedly should not wake the daemon. */
static void begin_doubt(NodeEntry *e) {
    if (!e->doubt)
        set_mask(e->watch, e->node, DOUBT_MASK);
    e->doubt = true;
}

static void apply(NodeEntry *e, uint32_t mask) {
    NodeWatch *w = e->watch;

    if (!e->touched) {
        e->next_touched = w->touched;
        w->touched = e;
    }
    e->touched = true;
    w->untold = w->untold || e != w->settling;
    if (mask & IN_OPEN) {
        if (e->ours_seen)
            begin_doubt(e);
        e->ours_seen = e->open = true;
    }
    if (mask & IN_CLOSE_WRITE) {
        /* Now, because the event is consumed and not delivered again. */
        if (e->open && !e->doubt)
            set_mask(w, e->node, CLOSED_MASK);
        e->open = false;
    }
    if (mask & (IN_DELETE_SELF | IN_IGNORED | IN_UNMOUNT))
        /* An inode lives as long as an open file, so every file is closed. */
        e->gone = true;
    if (mask & IN_Q_OVERFLOW)
        begin_doubt(e);
}

static void apply_to_node(NodeWatch *w, Node *n, uint32_t mask) {
    NodeEntry *e = n->entries;

    if (mask & (IN_DELETE_SELF | IN_IGNORED | IN_UNMOUNT))
        unlist_node(w, n);
    /* The node has no entry: its other users should not wake the daemon. */
    if (!e)
        drop_node(w, n);
    for (; e; e = e->next)
        apply(e, mask);
}

static void apply_to_all(NodeWatch *w, uint32_t mask) {
    for (size_t i = 0; i < N_LISTS; i++)
        for (Node *n = w->by_wd[i], *next; n; n = next) {
            next = n->next_wd;
            apply_to_node(w, n, mask);
        }
}

/* Reads pending events and notes them. The caller calls changed() later, when no reading is in progress.
 * Returns the number of bytes, or negative errno. */
static int read_events(NodeWatch *w) {
    union {
        struct inotify_event align;
        char bytes[64 * (sizeof(struct inotify_event) + NAME_MAX + 1)];
    } buf;
    ssize_t size;
    Node *n;

    size = read(w->fd, buf.bytes, sizeof(buf.bytes));
    if (size < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    for (char *p = buf.bytes; p < buf.bytes + size;) {
        struct inotify_event event;

        memcpy(&event, p, sizeof(event));
        p += sizeof(event) + event.len;
        n = find_wd(w, event.wd);
        if (event.mask & IN_Q_OVERFLOW)
            apply_to_all(w, event.mask);
        else if (n)
            apply_to_node(w, n, event.mask);
    }
    return (int) size;
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

/* Takes ownership of fd on success. */
static int listen_to(NodeWatch *w, int fd) {
    sd_event_source *source;
    int r;

    r = sd_event_add_io(w->event, &source, fd, EPOLLIN, on_events, w);
    if (r < 0)
        return r;
    /* The priority of lifelines: before any request. */
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

/* The line of one watch: "inotify wd:1 ino:1b sdev:5 mask:238 ignored_mask:0 fhandle-…", numbers in hex. */
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

    if (fd >= 0)
        return go_on_with(w, fd);
    (void) sd_notify(/* unset_environment= */ 0, "FDSTOREREMOVE=1\nFDNAME=" NODE_WATCH_STORE_NAME);
    r = sd_pid_notify_with_fds(
            0, /* unset_environment= */ 0, "FDSTORE=1\nFDNAME=" NODE_WATCH_STORE_NAME, &w->fd, 1);
    return r < 0 ? r : 0;
}

void node_watch_forget_rest(NodeWatch *w) {
    for (size_t i = 0; i < w->n_kept; i++)
        if (!find_wd(w, w->kept[i].wd))
            (void) inotify_rm_watch(w->fd, w->kept[i].wd);
    w->n_kept = 0;
}

/* ---- Entries ---- */

static NodeEntry *new_entry(NodeWatch *w, node_changed_t changed, void *userdata) {
    NodeEntry *e = malloc(sizeof(*e));

    if (e)
        *e = (NodeEntry){.watch = w, .changed = changed, .userdata = userdata};
    return e;
}

int node_watch_add(NodeWatch *w, const char *path, node_changed_t changed, void *userdata, NodeEntry **ret) {
    NodeEntry *e = new_entry(w, changed, userdata);
    Node *n = find_path(w, path);
    int r = 0;

    if (!e)
        return -ENOMEM;
    if (!n || n->mask != OPEN_MASK)
        r = watch_path(w, path, OPEN_MASK, &n);
    if (r < 0) {
        free(e);
        return r;
    }
    enter(e, n);
    *ret = e;
    return 0;
}

static const KeptWatch *find_kept(const NodeWatch *w, int wd) {
    for (size_t i = 0; i < w->n_kept; i++)
        if (w->kept[i].wd == wd)
            return &w->kept[i];
    return NULL;
}

int node_watch_resume(
        NodeWatch *w, const char *path, node_changed_t changed, void *userdata, NodeEntry **ret) {
    NodeEntry *e = new_entry(w, changed, userdata);
    const KeptWatch *k;
    Node *n;
    int r;

    if (!e)
        return -ENOMEM;
    /* IN_MASK_ADD keeps the mask of an existing watch. */
    r = watch_path(w, path, IN_DELETE_SELF | IN_MASK_ADD, &n);
    if (r < 0) {
        free(e);
        return r;
    }
    k = find_kept(w, n->wd);
    n->mask = k ? k->mask : 0;
    enter(e, n);
    e->ours_seen = true;
    e->open = !k || k->mask & IN_CLOSE_WRITE;
    if (!k || !(k->mask & IN_OPEN))
        begin_doubt(e);
    *ret = e;
    return 0;
}

/* Our open was not reported, or the watched node is gone, so we opened another node than the watched one. It
 * may have changed since an earlier claim; the old inode can disappear late, while a program has it open with
 * O_PATH. */
static void watch_another(NodeEntry *e) {
    char path[sizeof(e->node->path)];
    Node *n;

    strcpy(path, e->node->path);
    if (watch_path(e->watch, path, OPEN_MASK, &n) >= 0 && n != e->node) {
        leave(e);
        enter(e, n);
    }
    e->gone = false;
    begin_doubt(e);
}

static void tell_rest_later(NodeWatch *w) {
    if (w->untold)
        (void) sd_event_source_set_enabled(w->rest, SD_EVENT_ONESHOT);
}

/* A close that was seen while our file is open belongs to somebody who had the node open before. */
void node_watch_settle(NodeWatch *w, NodeEntry *e) {
    w->settling = e;
    (void) read_events(w);
    if (e->gone || !e->ours_seen)
        watch_another(e);
    else if (!e->open)
        begin_doubt(e);
    e->ours_seen = e->open = true;
    w->settling = NULL;
    tell_rest_later(w);
}

/* Reads only what is pending now: a process that opens and closes endlessly must not keep us here. */
void node_watch_catch_up(NodeWatch *w) {
    int left = 0, r = 1;

    if (ioctl(w->fd, FIONREAD, &left) < 0)
        return;
    for (; left > 0 && r > 0; left -= r)
        r = read_events(w);
    tell_rest_later(w);
}

NodeState node_entry_state(const NodeEntry *e) {
    if (e->gone)
        return NODE_CLOSED;
    if (e->doubt)
        return NODE_DOUBT;
    return e->open ? NODE_OPEN : NODE_CLOSED;
}

const char *node_entry_path(const NodeEntry *e) {
    return e->node->path;
}

void node_entry_give(NodeEntry *e, void *userdata) {
    e->userdata = userdata;
}
