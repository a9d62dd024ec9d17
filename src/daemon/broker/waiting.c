/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/broker/waiting.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/epoll.h>

#include "base/fd.h"
#include "base/str.h"
#include "base/user-name.h"
#include "daemon/broker/evict.h"

#define GENERATIONS_MAX 4U /* of parents; only guards against nonsense */
#define GROUP_BIT (UINT64_C(1) << 63)
/* Each device and each of its parents, with its group. */
#define THINGS_MAX (REQUEST_DEVICES_MAX * 2 * (1 + GENERATIONS_MAX))
#define BLOCKERS_SHOWN 4U
#define USEC_PER_SEC UINT64_C(1000000)

struct Waiting {
    ClaimRun *run;
    QueueEntry entry;
    QueueThing things[THINGS_MAX];
    uint64_t turn; /* broker.turns when it was planned for last */
    bool over;     /* its waiting time is over */
    bool asks;     /* a person has to be asked first */
    sd_event_source *timeout, *gone;
};

/* ---- What a request needs ---- */

/* Two devices with equal hashes wait for each other: one waits too long, but never too briefly. */
static uint64_t id_of_device(const DeviceName *name) {
    return device_name_hash(name) & ~GROUP_BIT;
}

static uint64_t id_of_group(const Group *g) {
    return GROUP_BIT | (uint64_t) (unsigned) g->id;
}

static void add_thing(QueueThing *things, size_t *n, uint64_t id, bool shared) {
    for (size_t i = 0; i < *n; i++)
        if (things[i].id == id) {
            things[i].shared = things[i].shared && shared;
            return;
        }
    things[(*n)++] = (QueueThing){.id = id, .shared = shared};
}

static void add_device(QueueThing *things, size_t *n, const Device *d, bool shared) {
    add_thing(things, n, id_of_device(&d->name), shared);
    if (d->group)
        add_thing(things, n, id_of_group(d->group), shared);
}

/* A parent is not free while a descendant is held, and the reverse; descendants do not affect each other. */
static void add_family(Broker *e, QueueThing *things, size_t *n, const Device *d) {
    add_device(things, n, d, /* shared= */ false);
    for (unsigned i = 0; i < GENERATIONS_MAX && d; i++) {
        d = inventory_find_parent(e->inventory, d);
        if (d)
            add_device(things, n, d, /* shared= */ true);
    }
}

/* What the claim that the devices will join has already cannot be taken by others meanwhile. */
static size_t find_things(
        Broker *e, const Request *request, const Claim *whole, QueueThing things[static THINGS_MAX]) {
    size_t n = 0;

    for (size_t i = 0; i < request->n_devices; i++) {
        const Device *d = inventory_find_device(e->inventory, &request->devices[i]);

        if (!d)
            add_thing(things, &n, id_of_device(&request->devices[i]), /* shared= */ false);
        else if (!whole || !d->group || !plan_has_group(&whole->plan, d->group->id))
            add_family(e, things, &n, d);
    }
    return n;
}

/* ---- Newcomers ---- */

static size_t count_before(Broker *e, const BrokerInquiry *q, const QueueEntry *newcomer) {
    return q->place && q->place->queued ? q->place->n_before : queue_count_before(&e->queue, newcomer);
}

static bool is_in_use(VfiodError code) {
    return code == VFIOD_ERROR_DEVICE_CLAIMED || code == VFIOD_ERROR_DEVICE_RESERVED;
}

static void name_rivals(const Broker *e, const QueueEntry *newcomer, Refusal *refusal) {
    unsigned n = 0;

    for (const QueueEntry *i = e->queue.first; i && n < BLOCKERS_SHOWN; i = i->next) {
        const Claim *c = &container_of(i, Waiting, entry)->run->claim;

        if (!queue_rivals(i, newcomer))
            continue;
        refusal_add_blocker(
                refusal, BLOCKER_CLAIM, c->id, "%s, %s", USER_TEXT(c->uid), claim_state_to_string(c->state));
        n++;
    }
}

static void add_to_reason(Refusal *refusal, const char *what) {
    char *reason = format_string("%s%s", refusal->reason ?: "", what);

    if (!reason)
        return;
    free(refusal->reason);
    refusal->reason = reason;
}

int waiting_check(Broker *e, const BrokerInquiry *q, const Request *request, const Claim *whole, int r,
        Refusal *refusal) {
    QueueThing things[THINGS_MAX];
    QueueEntry newcomer = {.priority = q->priority, .things = things};
    char text[64];
    size_t n;

    if (e->queue.n == 0 || request->ticket[0] || (r < 0 && !is_in_use(refusal->code)))
        return r;
    newcomer.n_things = find_things(e, request, whole, things);
    newcomer.arrival = q->place ? q->place->arrival : 0;
    n = count_before(e, q, &newcomer);
    if (n == 0)
        return r;
    if (r < 0) {
        (void) snprintf(
                text, sizeof(text), "; %zu %s waiting for it", n, n == 1 ? "request is" : "requests are");
        add_to_reason(refusal, text);
        return r;
    }
    r = refuse(refusal, VFIOD_ERROR_DEVICE_CLAIMED, &request->devices[0],
            "%zu %s waiting for it and came before", n, n == 1 ? "request is" : "requests are");
    name_rivals(e, &newcomer, refusal);
    refusal->remedy = strdup("Wait in the queue as well: the option \"wait\", 'vfioctl exec --wait'.");
    return r;
}

/* ---- The queue ---- */

static void set_position(ClaimRun *j, unsigned position) {
    if (j->claim.queue_position == position)
        return;
    j->claim.queue_position = position;
    if (j->told)
        claim_run_announce(j, CLAIM_QUEUED);
}

static void set_positions(Broker *e) {
    for (QueueEntry *i = e->queue.first; i; i = i->next)
        set_position(container_of(i, Waiting, entry)->run, (unsigned) i->n_before + 1);
}

static void review_soon(Broker *e);

static void leave(Waiting *w) {
    Broker *e = w->run->broker;

    if (!w->entry.queued)
        return;
    queue_remove(&e->queue, &w->entry);
    set_position(w->run, 0);
    set_positions(e);
    waiting_wake(e);
    review_soon(e);
}

/* Its needs may have changed: a device was plugged in again and has another group. */
static void enter(Waiting *w) {
    ClaimRun *j = w->run;

    queue_remove(&j->broker->queue, &w->entry);
    w->entry.n_things = find_things(j->broker, &j->question->request, NULL, w->things);
    queue_add(&j->broker->queue, &w->entry);
    set_positions(j->broker);
    review_soon(j->broker);
}

Waiting *waiting_free(Waiting *w) {
    if (!w)
        return NULL;
    leave(w);
    sd_event_source_disable_unref(w->timeout);
    sd_event_source_disable_unref(w->gone);
    free(w);
    return NULL;
}

void waiting_note_state(ClaimRun *j, ClaimState next) {
    if (!j->waiting || next == CLAIM_WAITING)
        return;
    leave(j->waiting);
    if (next != CLAIM_AUTHORIZING)
        j->waiting = waiting_free(j->waiting);
}

/* ---- Turns ---- */

/* Plans for it as for a new request; it may be freed. */
static void judge(Waiting *w) {
    ClaimQuestion *q = w->run->question;

    w->turn = w->run->broker->turns;
    broker_inquiry_done(&q->inquiry);
    q->inquiry = (BrokerInquiry){.ready = q->inquiry.ready, .userdata = w->run, .place = &w->entry};
    q->inquiry.ready(q->inquiry.userdata);
}

const Claim *waiting_find_holder(Inventory *inventory, const DeviceName *name) {
    const Device *d = inventory_find_device(inventory, name);

    return !d || d->quarantined ? NULL : d->claim ?: d->group ? d->group->claim : NULL;
}

static const Claim *find_holder(const Waiting *w, size_t i) {
    return waiting_find_holder(w->run->broker->inventory, &w->run->question->request.devices[i]);
}

/* No claim has anything that it needs. Descendants and siblings are checked by the planner. */
static bool is_free(const Waiting *w) {
    for (size_t i = 0; i < w->run->question->request.n_devices; i++)
        if (find_holder(w, i))
            return false;
    return true;
}

/* A request whose facts are being read is decided when they are known. */
static Waiting *find_next(const Broker *e, bool all) {
    for (QueueEntry *i = e->queue.first; i; i = i->next) {
        Waiting *w = container_of(i, Waiting, entry);

        if (w->turn != e->turns && !w->run->question->inquiry.task &&
                (all || (i->n_before == 0 && is_free(w))))
            return w;
    }
    return NULL;
}

static int on_turn(sd_event_source *s, void *userdata) {
    Broker *e = userdata;
    bool all = e->judge_all;
    Waiting *w;

    e->judge_all = false;
    e->turns++;
    while ((w = find_next(e, all)))
        judge(w);
    return 0;
}

void waiting_wake(Broker *e) {
    int r = 0;

    if (e->queue.n == 0)
        return;
    if (!e->turn)
        r = sd_event_add_defer(e->event, &e->turn, on_turn, e);
    if (r >= 0)
        (void) sd_event_source_set_enabled(e->turn, SD_EVENT_ONESHOT);
}

void waiting_judge_all(Broker *e) {
    e->judge_all = true;
    waiting_wake(e);
}

/* ---- Preemption ---- */

static bool is_ending(const Claim *c) {
    return c->state == CLAIM_DRAINING || c->state == CLAIM_RESETTING || c->state == CLAIM_RESTORING;
}

static bool gives_way(const Claim *c, const Waiting *w) {
    return c->state == CLAIM_HELD && c->plan.hold.preemptible && c->plan.priority < w->entry.priority;
}

/* No claim is evicted for a request that would still have to wait for another one, or that a person may still
 * deny. */
static bool can_preempt(const Waiting *w) {
    if (w->entry.n_before > 0 || w->asks)
        return false;
    for (size_t i = 0; i < w->run->question->request.n_devices; i++) {
        const Claim *c = find_holder(w, i);

        if (c && !is_ending(c) && !gives_way(c, w) &&
                (c->state != CLAIM_HELD || c->eviction.state == EVICTION_NONE))
            return false;
    }
    return true;
}

static void want_holders(const Waiting *w) {
    for (size_t i = 0; i < w->run->question->request.n_devices; i++) {
        const Claim *c = find_holder(w, i);
        ClaimRun *j = c ? claims_find(w->run->broker, c->id) : NULL;

        if (!j || !gives_way(c, w))
            continue;
        j->wanted = true;
        j->wanted_by = w->run->claim.uid;
    }
}

static int on_review(sd_event_source *s, void *userdata) {
    Broker *e = userdata;

    for (ClaimRun *j = e->claims; j; j = j->next)
        j->wanted = false;
    for (const QueueEntry *i = e->queue.first; i; i = i->next) {
        const Waiting *w = container_of(i, Waiting, entry);

        if (can_preempt(w))
            want_holders(w);
    }
    for (ClaimRun *j = e->claims; j; j = j->next)
        if (j->claim.state == CLAIM_HELD)
            evict_for_waiter(j, j->wanted);
    return 0;
}

static void review_soon(Broker *e) {
    int r = 0;

    if (!e->review)
        r = sd_event_add_defer(e->event, &e->review, on_review, e);
    if (r >= 0)
        (void) sd_event_source_set_enabled(e->review, SD_EVENT_ONESHOT);
}

void waiting_review(Broker *e) {
    if (e->queue.n > 0)
        review_soon(e);
}

/* ---- Beginning and end ---- */

static int on_timeout(sd_event_source *s, uint64_t usec, void *userdata) {
    Waiting *w = userdata;

    w->over = true;
    if (w->entry.queued && !w->run->question->inquiry.task)
        judge(w);
    return 0;
}

/* Another process may still have a copy of its connection. */
static int on_gone(sd_event_source *s, int fd, uint32_t revents, void *userdata) {
    Waiting *w = userdata;

    (void) sd_event_source_set_enabled(s, SD_EVENT_OFF);
    w->over = true; /* if a person is asked now, it does not wait again */
    if (w->entry.queued) {
        (void) refuse(&w->run->claim.refusal, VFIOD_ERROR_DEVICE_CLAIMED, NULL,
                "the process that waited for it has ended");
        claim_run_feed(w->run, CLAIM_EVENT_RELEASE);
    }
    return 0;
}

static int watch_caller(Waiting *w) {
    int fd, r;

    if (w->run->subject->pidfd < 0)
        return 0;
    fd = fcntl(w->run->subject->pidfd, F_DUPFD_CLOEXEC, 3);
    if (fd < 0)
        return -errno;
    r = sd_event_add_io(w->run->broker->event, &w->gone, fd, EPOLLIN, on_gone, w);
    if (r < 0) {
        (void) safe_close(fd);
        return r;
    }
    return sd_event_source_set_io_fd_own(w->gone, true);
}

static int check_limits(const ClaimRun *j, Refusal *refusal) {
    size_t n = 0, n_all = 0;

    if (j->claim.uid == 0)
        return 0;
    for (const QueueEntry *i = j->broker->queue.first; i; i = i->next) {
        uid_t uid = container_of(i, Waiting, entry)->run->claim.uid;

        n += uid == j->claim.uid;
        n_all += uid != 0;
    }
    if (n < WAITING_PER_USER && n_all < WAITING_MAX)
        return 0;
    refusal_done(refusal);
    if (n >= WAITING_PER_USER)
        return refuse(refusal, VFIOD_ERROR_LIMIT_EXCEEDED, NULL,
                "%s has %zu requests waiting for devices already", USER_TEXT(j->claim.uid), n);
    return refuse(
            refusal, VFIOD_ERROR_LIMIT_EXCEEDED, NULL, "%zu requests are waiting for devices already", n_all);
}

/* Shown until there is a plan: what it waits for. */
static int describe_devices(ClaimRun *j) {
    const Request *request = &j->question->request;
    Plan *plan = &j->claim.plan;

    for (size_t i = 0; plan->n_claimed < request->n_devices; i++) {
        PlanMember *m = plan_add_member(plan);

        if (!m)
            return -ENOMEM;
        m->name = request->devices[i];
        m->group = -1;
        m->disposition = DISPOSITION_CLAIM;
        plan->n_claimed++;
    }
    plan->grant = request->grant;
    plan->tether = request->tether;
    return 0;
}

static int start(ClaimRun *j) {
    const ClaimQuestion *q = j->question;
    Waiting *w;
    int r;

    r = check_limits(j, &j->claim.refusal);
    if (r < 0)
        return r;
    w = j->waiting = calloc(1, sizeof(*w));
    if (!w)
        r = -ENOMEM;
    else {
        w->run = j;
        w->entry.priority = q->inquiry.priority;
        w->asks = q->inquiry.asks;
        w->entry.things = w->things;
        r = sd_event_add_time_relative(j->broker->event, &w->timeout, CLOCK_BOOTTIME,
                q->request.wait_sec * USEC_PER_SEC, 1, on_timeout, w);
    }
    if (r >= 0)
        r = watch_caller(w);
    if (r >= 0)
        r = describe_devices(j);
    if (r >= 0)
        return 0;
    j->waiting = waiting_free(j->waiting);
    refusal_done(&j->claim.refusal);
    return refuse(
            &j->claim.refusal, VFIOD_ERROR_INTERNAL, NULL, "cannot wait for the device: %s", strerror(-r));
}

static void refuse_late(ClaimRun *j) {
    char text[96];

    (void) snprintf(text, sizeof(text), "; the wait of %u s is over, at position %zu of the queue",
            (unsigned) j->question->request.wait_sec, j->waiting->entry.n_before + 1);
    add_to_reason(&j->claim.refusal, text);
}

static int note_function(Device *d, void *userdata) {
    return device_is_virtual_function(d);
}

/* They outlive a claim of theirs, and a physical function with virtual functions is not handed out. */
static bool has_functions(const ClaimRun *j) {
    const Request *request = &j->question->request;

    for (size_t i = 0; i < request->n_devices; i++) {
        const Device *d = inventory_find_device(j->broker->inventory, &request->devices[i]);

        if (d && inventory_foreach_descendant(j->broker->inventory, d, note_function, NULL) != 0)
            return true;
    }
    return false;
}

static bool can_wait(const ClaimRun *j) {
    const Request *request = &j->question->request;

    return request->wait_sec > 0 && !request->ticket[0] && is_in_use(j->claim.refusal.code) &&
            !has_functions(j);
}

bool waiting_begin(ClaimRun *j) {
    ClaimQuestion *q = j->question;

    if (!can_wait(j))
        return false;
    if (j->waiting && j->waiting->over) {
        refuse_late(j);
        return false;
    }
    if (!j->waiting && start(j) < 0)
        return false;
    q->inquiry.place = &j->waiting->entry;
    refusal_done(&j->claim.refusal);
    enter(j->waiting);
    return true;
}
