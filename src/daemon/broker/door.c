/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/broker/door.h"

#include <stdlib.h>

/* Others wait one slice at most while the daemon works on something long. */
#define SLICE_USEC 200U
/* A held-back user gets this many answers per turn. The next turn comes after this time, or after that many
 * times what the answers took. This gives 5,000 answers per second, more than anybody needs and a tenth of
 * what dbus-daemon carries, and a quarter of the loop's time. */
#define HELD_BACK_PER_TURN 2U
#define TURN_USEC 400U
#define REST_FACTOR 3U
/* A user with at most this many calls in progress does not fill queues, and is not held back. */
#define CALLS_IN_A_ROW 8U
/* How often to check whether a full user has read something. */
#define UNREAD_USEC (100 * 1000U)
/* A loop that is never idle still serves the queues this often. */
#define FAIRNESS_USEC 5000U

#define FACES_MAX 2U

typedef struct Queue {
    DoorTask *first, *last;
} Queue;

typedef struct Guest Guest;
/* A user with queued tasks. */
struct Guest {
    BudgetAccount *account; /* counted in its n_users */
    Queue queues[_DOOR_KIND_MAX];
    uint64_t full_usec; /* when the face last heard that this user is full */
    bool had_short;     /* the last task was short */
    Guest *next;        /* door.guests */
};

struct Door {
    Budget *budget; /* borrowed */
    sd_event_source *turn;
    Guest *guests;
    /* The long answers in progress: one of root, one of all others. */
    DoorTask *answering[2];
    uint64_t slice_end_usec, last_turn_usec;
    uint64_t due_usec; /* of the next turn, UINT64_MAX: none */
    void (*answered)(void *userdata);
    void *answered_userdata;
    struct {
        void (*full)(void *userdata, uid_t uid);
        void *userdata;
    } faces[FACES_MAX];
};

static int on_turn(sd_event_source *source, uint64_t usec, void *userdata);

int door_new(sd_event *event, Budget *budget, Door **ret) {
    _cleanup_(door_freep) Door *d = calloc(1, sizeof(*d));
    int r;

    if (!d)
        return -ENOMEM;
    d->budget = budget;
    d->due_usec = UINT64_MAX;
    r = sd_event_add_time_relative(event, &d->turn, CLOCK_MONOTONIC, 0, 1, on_turn, d);
    if (r >= 0)
        r = sd_event_source_set_enabled(d->turn, SD_EVENT_OFF);
    if (r >= 0) /* after everything that somebody waits for */
        r = sd_event_source_set_priority(d->turn, SD_EVENT_PRIORITY_IDLE);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(d);
    return 0;
}

static void drop_guest(Door *d, Guest *g) {
    Guest **i = &d->guests;

    while (*i != g)
        i = &(*i)->next;
    *i = g->next;
    g->account->n_users--;
    free(g);
}

Door *door_free(Door *d) {
    if (!d)
        return NULL;
    assert(!d->guests);
    sd_event_source_disable_unref(d->turn);
    free(d);
    return NULL;
}

/* ---- Queues ---- */

static Guest *find_guest(Door *d, const BudgetAccount *a) {
    for (Guest *g = d->guests; g; g = g->next)
        if (g->account == a)
            return g;
    return NULL;
}

static Guest *get_guest(Door *d, BudgetAccount *a) {
    Guest *g = find_guest(d, a);

    if (g)
        return g;
    g = calloc(1, sizeof(*g));
    if (!g)
        return NULL;
    g->account = a;
    a->n_users++;
    g->next = d->guests;
    d->guests = g;
    return g;
}

static int enqueue(Door *d, DoorTask *t) {
    Guest *g = get_guest(d, t->account);
    Queue *q;

    if (!g)
        return -ENOMEM;
    q = &g->queues[t->kind];
    t->previous = q->last;
    t->next = NULL;
    *(q->last ? &q->last->next : &q->first) = t;
    q->last = t;
    t->queued = true;
    return 0;
}

/* The guest may be freed. */
static void dequeue(Door *d, DoorTask *t) {
    Guest *g = find_guest(d, t->account);
    Queue *q = &g->queues[t->kind];

    *(t->previous ? &t->previous->next : &q->first) = t->next;
    *(t->next ? &t->next->previous : &q->last) = t->previous;
    t->previous = t->next = NULL;
    t->queued = false;
    if (!g->queues[DOOR_SHORT].first && !g->queues[DOOR_LONG].first)
        drop_guest(d, g);
}

static DoorTask **answering_of(Door *d, const BudgetAccount *a) {
    return &d->answering[!account_is_operator(a)];
}

static void end_answer(Door *d, const DoorTask *t) {
    DoorTask **answering = answering_of(d, t->account);

    if (*answering != t)
        return;
    *answering = NULL;
    if (!door_is_answering(d) && d->answered)
        d->answered(d->answered_userdata);
}

/* ---- Turns ---- */

static bool is_behind(const BudgetAccount *a, uint64_t now_usec) {
    return !budget_has_credit(a, PURSE_LOOP, now_usec);
}

static bool is_held_back(const BudgetAccount *a, uint64_t now_usec) {
    return a->n_calls > CALLS_IN_A_ROW && is_behind(a, now_usec);
}

/* The next task of this user; NULL: none may run now. *ret_when: when to check again. */
static DoorTask *choose_task(Door *d, Guest *g, uint64_t now_usec, uint64_t *ret_when) {
    DoorTask *t = g->queues[DOOR_LONG].first;
    DoorTask *answering = *answering_of(d, g->account);
    uint64_t credit_usec = budget_credit_at(g->account, PURSE_ANSWERS);

    if (budget_is_full(d->budget, g->account)) { /* an answer that has begun continues */
        *ret_when = MIN(*ret_when, g->full_usec + UNREAD_USEC);
        return t && t->begun ? t : NULL;
    }
    /* Others, and announcements, wait for a long answer that has begun, so it alternates with the user's
     * further calls. */
    if (g->queues[DOOR_SHORT].first && !(t && t->begun && g->had_short))
        return g->queues[DOOR_SHORT].first;
    if (t->begun || (!answering && credit_usec <= now_usec))
        return t;
    *ret_when = MIN(*ret_when, answering ? now_usec + TURN_USEC : credit_usec);
    return NULL;
}

/* Among all users, the one with the smallest debt. */
static DoorTask *choose(Door *d, uint64_t now_usec, uint64_t *ret_when) {
    DoorTask *best = NULL;

    for (Guest *g = d->guests; g; g = g->next) {
        DoorTask *t = choose_task(d, g, now_usec, ret_when);

        if (t && (!best || t->account->paid_usec[PURSE_LOOP] < best->account->paid_usec[PURSE_LOOP]))
            best = t;
    }
    return best;
}

/* The task may be freed. */
static DoorStep run(Door *d, DoorTask *t, uint64_t now_usec) {
    BudgetAccount *a = t->account;
    DoorStep step;

    d->slice_end_usec = now_usec + SLICE_USEC;
    a->n_users++;
    step = t->step(t);
    a->n_users--;
    budget_spend(a, PURSE_LOOP, now_usec, budget_now() - now_usec);
    return step;
}

static DoorStep run_queued(Door *d, DoorTask *t, uint64_t now_usec) {
    DoorStep step;

    find_guest(d, t->account)->had_short = t->kind == DOOR_SHORT;
    if (t->kind == DOOR_LONG) { /* stays in its queue until it is finished and leaves */
        *answering_of(d, t->account) = t;
        t->begun = true;
        return run(d, t, now_usec);
    }
    dequeue(d, t);
    step = run(d, t, now_usec);
    if (step != DOOR_DONE && enqueue(d, t) < 0)
        return step; /* out of memory: it does not continue, and leaves with its caller */
    return step;
}

/* Sets the timer to this time, unless it is earlier already. */
static void arm(Door *d, uint64_t when_usec) {
    if (when_usec >= d->due_usec)
        return;
    d->due_usec = when_usec;
    if (sd_event_source_set_time(d->turn, when_usec) < 0 ||
            sd_event_source_set_enabled(d->turn, SD_EVENT_ONESHOT) < 0)
        sd_event_exit(sd_event_source_get_event(d->turn), -ENOMEM);
}

/* The face finds out what full users have read. Its callback must not change a queue. */
static void look_at_full(Door *d, uint64_t now_usec) {
    for (Guest *g = d->guests; g; g = g->next) {
        if (!budget_is_full(d->budget, g->account) || now_usec < g->full_usec + UNREAD_USEC)
            continue;
        g->full_usec = now_usec;
        for (size_t i = 0; i < FACES_MAX; i++)
            if (d->faces[i].full)
                d->faces[i].full(d->faces[i].userdata, g->account->uid);
    }
}

static void serve(Door *d) {
    uint64_t begin_usec = budget_now(), now_usec = begin_usec, end_usec = begin_usec + SLICE_USEC;
    uint64_t when_usec = UINT64_MAX, rest_usec;
    unsigned n_held_back = 0;
    bool wait = false;
    DoorTask *t;

    look_at_full(d, now_usec);
    while (!wait && now_usec < end_usec && n_held_back < HELD_BACK_PER_TURN) {
        t = choose(d, now_usec, &when_usec);
        if (!t)
            break;
        n_held_back += is_held_back(t->account, now_usec);
        wait = run_queued(d, t, now_usec) == DOOR_WAIT;
        now_usec = budget_now();
    }
    d->last_turn_usec = now_usec;
    when_usec = d->due_usec = UINT64_MAX;
    t = choose(d, now_usec, &when_usec);
    rest_usec = MAX(TURN_USEC, REST_FACTOR * (now_usec - begin_usec));
    if (t)
        when_usec = wait || is_held_back(t->account, now_usec) ? now_usec + rest_usec : 0;
    if (when_usec != UINT64_MAX)
        arm(d, when_usec);
}

static int on_turn(sd_event_source *source, uint64_t usec, void *userdata) {
    serve(userdata);
    return 0;
}

void door_be_fair(Door *d) {
    if (d->guests && budget_now() > d->last_turn_usec + FAIRNESS_USEC)
        serve(d);
}

/* ---- In and out ---- */

static bool is_served_at_once(Door *d, const DoorTask *t, uint64_t now_usec) {
    const Guest *g = find_guest(d, t->account);

    return t->kind == DOOR_SHORT && !is_behind(t->account, now_usec) &&
            !budget_is_full(d->budget, t->account) && !(g && g->queues[DOOR_SHORT].first);
}

/* 0 or -ENOMEM. */
static int wait_for_turn(Door *d, DoorTask *t, uint64_t now_usec) {
    bool first = !d->guests;
    int r;

    r = enqueue(d, t);
    if (r < 0)
        return r;
    if (first)
        d->last_turn_usec = now_usec;
    arm(d, is_held_back(t->account, now_usec) ? d->last_turn_usec + TURN_USEC : 0);
    return 0;
}

/* The task may be freed. 0 or -ENOMEM. */
static int take_up(Door *d, DoorTask *t) {
    uint64_t now_usec = budget_now();

    if (is_served_at_once(d, t, now_usec) && run(d, t, now_usec) == DOOR_DONE)
        return 0;
    return wait_for_turn(d, t, now_usec);
}

int door_enter(Door *d, DoorTask *t, const Subject *subject, Refusal *refusal) {
    BudgetAccount *a = budget_account(d->budget, subject->uid);
    int r;

    if (!a)
        return -ENOMEM;
    r = budget_begin_call(d->budget, a, refusal);
    if (r < 0)
        return r;
    t->account = a;
    r = take_up(d, t);
    if (r < 0)
        door_leave(d, t);
    return r;
}

void door_continue(Door *d, DoorTask *t) {
    (void) take_up(d, t); /* out of memory: it does not continue, and leaves with its caller */
}

void door_resume(Door *d, DoorTask *t) {
    budget_spend_look(t->account, budget_now());
    door_continue(d, t);
}

void door_pause(Door *d, DoorTask *t) {
    end_answer(d, t);
    if (t->queued)
        dequeue(d, t);
    t->begun = false;
}

void door_leave(Door *d, DoorTask *t) {
    if (!t->account)
        return;
    end_answer(d, t);
    if (t->queued)
        dequeue(d, t);
    budget_end_call(d->budget, t->account);
    t->account = NULL;
}

bool door_is_over(const Door *d) {
    return budget_now() >= d->slice_end_usec;
}

/* ---- Answers that may be unread ---- */

void door_charge_bytes(Door *d, BudgetReader *reader, uid_t uid, uint64_t bytes) {
    BudgetAccount *a = reader->account || uid == (uid_t) -1 ? NULL : budget_account(d->budget, uid);

    if (a)
        budget_attach_reader(d->budget, reader, a);
    budget_charge_bytes(d->budget, reader, bytes);
    if (reader->account)
        budget_spend_bytes(reader->account, budget_now(), bytes);
}

void door_charge_fds(Door *d, BudgetReader *reader, size_t n) {
    budget_charge_bytes(d->budget, reader, n * DOOR_FD_BYTES);
}

/* A user who was full may be served now. */
static void go_on(Door *d) {
    if (d->guests)
        arm(d, 0);
}

void door_note_unread(Door *d, BudgetReader *reader, uint64_t unread) {
    budget_note_unread(d->budget, reader, unread);
    go_on(d);
}

void door_note_orphans(Door *d, uid_t uid, uint64_t unread) {
    BudgetAccount *a = budget_account(d->budget, uid);

    if (a)
        budget_note_orphans(d->budget, a, unread);
    go_on(d);
}

void door_reader_done(Door *d, BudgetReader *reader) {
    budget_reader_done(d->budget, reader);
}

bool door_is_full(const Door *d, const BudgetReader *reader) {
    return reader->account && budget_is_full(d->budget, reader->account);
}

bool door_is_nearly_full(const Door *d, const BudgetReader *reader) {
    return reader->account && budget_is_nearly_full(d->budget, reader->account);
}

int door_add_full(Door *d, void (*full)(void *userdata, uid_t uid), void *userdata) {
    for (size_t i = 0; i < FACES_MAX; i++)
        if (!d->faces[i].full) {
            d->faces[i].full = full;
            d->faces[i].userdata = userdata;
            return 0;
        }
    return -ENOBUFS;
}

void door_drop_full(Door *d, void *userdata) {
    for (size_t i = 0; i < FACES_MAX; i++)
        if (d->faces[i].userdata == userdata)
            d->faces[i].full = NULL;
}

bool door_is_answering(const Door *d) {
    return d->answering[0] || d->answering[1];
}

void door_set_answered(Door *d, void (*answered)(void *userdata), void *userdata) {
    d->answered = answered;
    d->answered_userdata = userdata;
}
