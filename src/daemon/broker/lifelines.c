/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/broker/lifelines.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "daemon/broker/claims.h"
#include "daemon/broker/fd-store.h"

#define STORE_RETRY_USEC (10 * UINT64_C(1000))

struct Lifeline {
    Lifelines *pool;
    Lifeline *next; /* pool.unused */
    int fd, theirs; /* owned; theirs: the client's end, until a claim takes it */
    int size;       /* size of the pipe when it was made */
    sd_event_source *source;
    char id[CLAIM_ID_MAX];
    bool stored, cut;
    bool adopted;                 /* made by an earlier version, so systemd may drop it by itself */
    sd_event_source *store_timer; /* enabled while systemd is too busy to take it */
    lifeline_cut_t on_cut;
    void *userdata;
};

struct Lifelines {
    sd_event *event;
    Lifeline *unused;
    unsigned n_unused;
    bool reused; /* within the last second, a claim took a lifeline of an earlier claim */
    int files;   /* /proc/self/fd; owned */
};

int lifelines_new(sd_event *event, Lifelines **ret) {
    Lifelines *p = malloc(sizeof(*p));

    if (!p)
        return -ENOMEM;
    /* If it cannot be opened, no lifeline is reused, and each claim gets a new one. */
    *p = (Lifelines){
            .event = sd_event_ref(event), .files = open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC)};
    *ret = p;
    return 0;
}

Lifelines *lifelines_free(Lifelines *p) {
    if (!p)
        return NULL;
    lifelines_drop_unused(p);
    (void) safe_close(p->files);
    sd_event_unref(p->event);
    free(p);
    return NULL;
}

/* ---- In the fd store ---- */

static void store_name(const Lifeline *l, char name[static LIFELINE_NAME_MAX]) {
    (void) snprintf(name, LIFELINE_NAME_MAX, LIFELINE_STORE_PREFIX "%s", l->id);
}

static int on_store_timer(sd_event_source *s, uint64_t usec, void *userdata) {
    (void) lifeline_keep(userdata);
    return 0;
}

int lifeline_keep(Lifeline *l) {
    char name[LIFELINE_NAME_MAX];

    if (l->stored && !l->store_timer)
        return 0;
    l->store_timer = sd_event_source_disable_unref(l->store_timer);
    l->stored = true;
    store_name(l, name);
    if (fd_store_add(name, l->fd) >= 0)
        return 0;
    if (sd_event_add_time_relative(
                l->pool->event, &l->store_timer, CLOCK_MONOTONIC, STORE_RETRY_USEC, 0, on_store_timer, l) < 0)
        log_warning("systemd does not keep the lifeline %s", name);
    return -EAGAIN;
}

void lifeline_forget(Lifeline *l) {
    char name[LIFELINE_NAME_MAX];

    l->store_timer = sd_event_source_disable_unref(l->store_timer);
    store_name(l, name);
    if (l->stored)
        fd_store_remove(name);
    l->stored = false;
}

/* ---- One of them ---- */

Lifeline *lifeline_free(Lifeline *l) {
    if (!l)
        return NULL;
    l->store_timer = sd_event_source_disable_unref(l->store_timer);
    sd_event_source_disable_unref(l->source);
    (void) safe_close(l->fd);
    (void) safe_close(l->theirs);
    free(l);
    return NULL;
}
DEFINE_TRIVIAL_CLEANUP_FUNC(Lifeline *, lifeline_free);

static int on_hang_up(sd_event_source *s, int fd, uint32_t events, void *userdata) {
    Lifeline *l = userdata;

    l->cut = true;
    if (l->on_cut)
        l->on_cut(l->userdata);
    return 0;
}

/* Takes ownership of the reading end on success. */
static int lifeline_new(Lifelines *p, const char *id, int fd, Lifeline **ret) {
    _cleanup_(lifeline_freep) Lifeline *l = NULL;
    int r;

    l = malloc(sizeof(*l));
    if (!l)
        return -ENOMEM;
    *l = (Lifeline){.pool = p, .fd = -EBADF, .theirs = -EBADF, .size = fcntl(fd, F_GETPIPE_SZ)};
    (void) snprintf(l->id, sizeof(l->id), "%s", id);
    /* No events are requested: EPOLLHUP always comes, and data in the pipe must not wake the daemon.
     * Edge-triggered: the source stays unchanged over many claims. */
    r = sd_event_add_io(p->event, &l->source, fd, EPOLLET, on_hang_up, l);
    if (r < 0)
        return r;
    /* Before any request: a client that releases a device and claims it again at once must find it free. */
    r = sd_event_source_set_priority(l->source, SD_EVENT_PRIORITY_IMPORTANT);
    if (r < 0)
        return r;
    l->fd = fd;
    *ret = TAKE_PTR(l);
    return 0;
}

const char *lifeline_id(const Lifeline *l) {
    return l->id;
}

bool lifeline_is_cut(const Lifeline *l) {
    return l->cut;
}

/* ---- Unused lifelines ---- */

static Lifeline *take_unused(Lifelines *p) {
    Lifeline *l = p->unused;

    if (!l)
        return NULL;
    p->unused = l->next;
    p->n_unused--;
    l->next = NULL;
    return l;
}

static void drop(Lifeline *l) {
    lifeline_forget(l);
    (void) lifeline_free(l);
}

void lifelines_drop_unused(Lifelines *p) {
    Lifeline *l;

    while ((l = take_unused(p)))
        drop(l);
}

/* A client could have written data for the next one to read, or changed the size of the pipe. */
static bool is_as_new(const Lifeline *l) {
    int n;

    return ioctl(l->fd, FIONREAD, &n) >= 0 && n == 0 && fcntl(l->fd, F_GETPIPE_SZ) == l->size;
}

/* Opens a new writing end. The pipe is ours and its file has mode 0600, so nobody else can do that. */
static int repair(Lifeline *l) {
    char number[16];

    if (l->theirs >= 0)
        return 0;
    if (!is_as_new(l))
        return -ENOTEMPTY;
    (void) snprintf(number, sizeof(number), "%d", l->fd);
    l->theirs = openat(l->pool->files, number, O_WRONLY | O_CLOEXEC | O_NONBLOCK);
    if (l->theirs < 0)
        return -errno;
    l->cut = false;
    return 0;
}

/* At the end of the list: those before it are ready earlier. */
static void append(Lifelines *p, Lifeline *l) {
    Lifeline **last = &p->unused;

    while (*last)
        last = &(*last)->next;
    *last = l;
    p->n_unused++;
}

Lifeline *lifeline_give_back(Lifeline *l) {
    Lifelines *p = l->pool;

    l->on_cut = NULL;
    l->userdata = NULL;
    if (!l->cut || !l->stored || l->store_timer || l->adopted || p->n_unused >= LIFELINES_UNUSED_MAX) {
        drop(l);
        return NULL;
    }
    append(p, l);
    return NULL;
}

/* ---- For a claim ---- */

static int make(Lifelines *p, const char *id, Lifeline **ret) {
    _cleanup_close_ int ours = -EBADF, theirs = -EBADF;
    int ends[2], r;

    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
        return -errno;
    ours = ends[0];
    theirs = ends[1];
    r = lifeline_new(p, id, ours, ret);
    if (r < 0)
        return r;
    (void) TAKE_FD(ours);
    (*ret)->theirs = TAKE_FD(theirs);
    return 0;
}

/* systemd gets it in advance, so the claim that takes it need not wake systemd. */
static void add_another(Lifelines *p) {
    char id[CLAIM_ID_MAX];
    Lifeline *l;

    if (claims_make_id(id) < 0 || make(p, id, &l) < 0)
        return;
    if (lifeline_keep(l) < 0)
        drop(l);
    else
        append(p, l);
}

void lifelines_prepare(Lifelines *p, unsigned n) {
    for (Lifeline **i = &p->unused; *i;) {
        Lifeline *l = *i;

        if (repair(l) >= 0) {
            i = &l->next;
            continue;
        }
        *i = l->next;
        p->n_unused--;
        drop(l);
    }
    if (p->reused && p->n_unused < n)
        add_another(p);
}

bool lifelines_is_ready(const Lifelines *p) {
    return p->unused && p->unused->theirs >= 0;
}

int lifelines_take(
        Lifelines *p, const char *id, lifeline_cut_t cut, void *userdata, Lifeline **ret, int *ret_theirs) {
    Lifeline *l;
    int r;

    p->reused = p->unused;
    while ((l = take_unused(p)) && repair(l) < 0)
        drop(l);
    r = l ? 0 : make(p, id, &l);
    if (r < 0)
        return r;
    l->on_cut = cut;
    l->userdata = userdata;
    *ret_theirs = TAKE_FD(l->theirs);
    *ret = l;
    return 0;
}

int lifelines_adopt(
        Lifelines *p, const char *id, int fd, lifeline_cut_t cut, void *userdata, Lifeline **ret) {
    Lifeline *l;
    int r;

    r = lifeline_new(p, id, fd, &l);
    if (r < 0)
        return r;
    l->stored = l->adopted = true;
    l->on_cut = cut;
    l->userdata = userdata;
    *ret = l;
    return 0;
}
