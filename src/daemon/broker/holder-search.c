/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/broker/holder-search.h"

#include "base/log.h"

#define WALK_TIMEOUT_USEC (10 * UINT64_C(1000000))
#define REST_FACTOR 1U /* times the duration of the last walk */

struct HolderQuery {
    HolderSearch *search;
    HolderQuery *next; /* search.queries */
    bool walking;      /* its walk is in progress */
    holders_found_t found;
    void *userdata;
};

struct HolderSearch {
    sd_event *event;
    WorkerPool *workers;
    WorkerTask *task; /* borrowed from the pool, during a walk */
    HolderQuery *queries;
    sd_event_source *start; /* enabled while somebody waits for a walk that has not begun */
    uint64_t begun_usec, next_usec;
};

static uint64_t now_usec(const HolderSearch *s) {
    uint64_t now = 0;

    (void) sd_event_now(s->event, CLOCK_MONOTONIC, &now);
    return now;
}

static void unlink_query(HolderQuery *q) {
    for (HolderQuery **i = &q->search->queries; *i; i = &(*i)->next)
        if (*i == q) {
            *i = q->next;
            return;
        }
}

HolderQuery *holder_query_cancel(HolderQuery *q) {
    if (!q)
        return NULL;
    unlink_query(q);
    free(q);
    return NULL;
}

static HolderQuery *find_walking(const HolderSearch *s) {
    for (HolderQuery *q = s->queries; q; q = q->next)
        if (q->walking)
            return q;
    return NULL;
}

/* A callback may start or cancel queries. */
static void answer_all(HolderSearch *s, const HolderAnswer *answer) {
    HolderQuery *q;

    while ((q = find_walking(s))) {
        holders_found_t found = q->found;
        void *userdata = q->userdata;

        (void) holder_query_cancel(q);
        found(userdata, answer);
    }
}

static int begin_later(HolderSearch *s);

static void finish(HolderSearch *s, const HolderAnswer *answer) {
    s->next_usec = s->begun_usec + (1 + REST_FACTOR) * answer->cost_usec;
    answer_all(s, answer);
    if (s->queries)
        (void) begin_later(s);
}

static void on_walked(void *userdata, const WorkerResult *result, int *fds) {
    HolderSearch *s = userdata;
    _cleanup_free_ HolderEntry *entries = NULL;
    HolderAnswer answer = {.error = result->error, .cost_usec = now_usec(s) - s->begun_usec};

    if (answer.error >= 0)
        answer.error = holders_read(fds[0], &entries, &answer.n);
    answer.entries = entries;
    if (answer.error < 0)
        log_warning_errno(answer.error, "Cannot find out which processes have VFIO devices open");
    finish(s, &answer);
}

static int on_start(sd_event_source *source, uint64_t usec, void *userdata) {
    static const WorkerOrder order = {.operation = WORKER_FIND_HOLDERS};
    HolderSearch *s = userdata;
    int r;

    s->start = sd_event_source_disable_unref(s->start);
    for (HolderQuery *q = s->queries; q; q = q->next)
        q->walking = true;
    s->begun_usec = now_usec(s);
    r = worker_submit(s->workers, &order, WALK_TIMEOUT_USEC,
            &(WorkerCaller){.done = on_walked, .userdata = s, .task = &s->task});
    if (r < 0)
        finish(s, &(HolderAnswer){.error = r});
    return 0;
}

/* If this fails, waiting queries are served with the next one. */
static int begin_later(HolderSearch *s) {
    if (s->task || s->start)
        return 0;
    return sd_event_add_time(s->event, &s->start, CLOCK_MONOTONIC, s->next_usec, 0, on_start, s);
}

int holder_search_ask(HolderSearch *s, holders_found_t found, void *userdata, HolderQuery **ret) {
    HolderQuery *q = malloc(sizeof(*q));
    int r;

    if (!q)
        return -ENOMEM;
    r = begin_later(s);
    if (r < 0) {
        free(q);
        return r;
    }
    *q = (HolderQuery){.search = s, .next = s->queries, .found = found, .userdata = userdata};
    s->queries = q;
    *ret = q;
    return 0;
}

int holder_search_new(sd_event *event, WorkerPool *workers, HolderSearch **ret) {
    HolderSearch *s = malloc(sizeof(*s));

    if (!s)
        return -ENOMEM;
    *s = (HolderSearch){.event = sd_event_ref(event), .workers = workers};
    *ret = s;
    return 0;
}

HolderSearch *holder_search_free(HolderSearch *s) {
    if (!s)
        return NULL;
    assert(!s->queries);
    if (s->task)
        worker_task_abandon(s->task);
    sd_event_source_disable_unref(s->start);
    sd_event_unref(s->event);
    free(s);
    return NULL;
}
