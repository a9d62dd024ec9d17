/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Monitor: all objects, and then their changes. One journal of bounded length has the changes for all
 * monitors. Each monitor has a place in it, and reports an object as it is at its turn. So a slow reader
 * costs no memory. A monitor that falls out of the journal gets a reply that says so, and then all objects
 * again: nothing is lost silently. */

#include <stdio.h>

#include "daemon/broker/view-walk.h"
#include "daemon/varlink/varlink-internal.h"

#define PART_BYTES ((size_t) 16 * 1024)
#define JOURNAL_MAX 1024U
/* How many entries are searched for a recent change of the same object. */
#define LOOK_BACK 64U
/* Changes of one object within this time are reported once. Replies are sent before them. */
#define TELL_USEC (5 * UINT64_C(1000))

typedef struct Change {
    ViewKind kind;
    ObjectChange change;
    uint64_t superseded_by; /* the number of the next entry for this object; 0: none */
    uint64_t added;         /* the number of the entry that added the object; 0: it is older */
    union {
        DeviceName device;
        int group;
        char claim[CLAIM_ID_MAX];
    };
} Change;

struct VarlinkJournal {
    VarlinkFace *face;
    sd_event_source *tell;
    unsigned n_monitors;
    uint64_t next;   /* the number of the next entry; the first is 1 */
    Change *changes; /* a ring of JOURNAL_MAX; owned; NULL while there is no monitor */
};

typedef struct Monitor {
    VarlinkJournal *journal;
    unsigned kinds; /* mask of 1 << ViewKind */
    bool listing;
    ViewWalk walk;
    uint64_t place; /* the number of its next entry */
    /* It reads the journal in batches. Of several entries for one object in a batch only the last is
     * reported. */
    uint64_t batch_begin, batch_end;
    StrBuf ready; /* complete messages */
} Monitor;

/* ---- The journal ---- */

static Change *entry(VarlinkJournal *j, uint64_t number) {
    return &j->changes[number % JOURNAL_MAX];
}

static bool is_about(const Change *c, const ViewReference *what) {
    if (c->kind != what->kind)
        return false;
    switch (what->kind) {
    case VIEW_DEVICE:
        return device_name_compare(&c->device, what->device) == 0;
    case VIEW_GROUP:
        return c->group == what->group;
    case VIEW_CLAIM:
        return streq(c->claim, what->claim);
    default:
        return true;
    }
}

static Change *find_recent(VarlinkJournal *j, const ViewReference *what) {
    for (uint64_t n = j->next; n > 1 && n + LOOK_BACK > j->next; n--)
        if (entry(j, n - 1)->superseded_by == 0 && is_about(entry(j, n - 1), what))
            return entry(j, n - 1);
    return NULL;
}

static void tell_soon(VarlinkJournal *j) {
    int enabled;

    if (sd_event_source_get_enabled(j->tell, &enabled) > 0)
        return;
    if (sd_event_source_set_time_relative(j->tell, TELL_USEC) < 0 ||
            sd_event_source_set_enabled(j->tell, SD_EVENT_ONESHOT) < 0)
        (void) sd_event_exit(j->face->context.event, -ENOMEM);
}

static void note(void *userdata, const ViewReference *what, ObjectChange change, unsigned properties) {
    VarlinkJournal *j = ((VarlinkFace *) userdata)->journal;
    Change c = {.kind = what->kind, .change = change}, *before;

    if (!j->changes)
        return;
    before = find_recent(j, what);
    if (before && before->change != OBJECT_REMOVED)
        c.added = before->added;
    if (change == OBJECT_ADDED)
        c.added = j->next;
    if (before)
        before->superseded_by = j->next;
    if (what->kind == VIEW_DEVICE)
        c.device = *what->device;
    else if (what->kind == VIEW_GROUP)
        c.group = what->group;
    else if (what->kind == VIEW_CLAIM)
        memcpy(c.claim, what->claim, sizeof(c.claim));
    *entry(j, j->next++) = c;
    tell_soon(j);
}

static ViewListener listener(VarlinkFace *v) {
    return (ViewListener){.inventory = v->context.host.inventory, .changed = note, .userdata = v};
}

void varlink_face_device_changed(VarlinkFace *v, const Device *device, int changes, int old_group) {
    const ViewListener l = listener(v);

    view_device_changed(&l, device, changes, old_group);
}

void varlink_face_host_changed(VarlinkFace *v) {
    note(v, &(ViewReference){.kind = VIEW_MANAGER}, OBJECT_CHANGED, 0);
}

void varlink_face_claim_changed(VarlinkFace *v, const Claim *claim, ClaimChange change) {
    const ViewListener l = listener(v);

    if (claim->denied)
        varlink_face_host_changed(v);
    view_claim_changed(&l, claim, change);
}

static int on_tell(sd_event_source *source, uint64_t usec, void *userdata) {
    VarlinkJournal *j = userdata;

    for (VarlinkPeer *p = j->face->peers, *next; p; p = next) {
        next = p->next;
        if (p->call && p->call->waits_for_change)
            varlink_call_go_on(p->call);
    }
    return 0;
}

int varlink_journal_new(VarlinkFace *v, VarlinkJournal **ret) {
    VarlinkJournal *j = calloc(1, sizeof(*j));
    int r;

    if (!j)
        return -ENOMEM;
    j->face = v;
    j->next = 1;
    r = sd_event_add_time(v->context.event, &j->tell, CLOCK_MONOTONIC, 0, 1, on_tell, j);
    if (r >= 0)
        r = sd_event_source_set_enabled(j->tell, SD_EVENT_OFF);
    if (r < 0) {
        varlink_journal_free(j);
        return r;
    }
    *ret = j;
    return 0;
}

VarlinkJournal *varlink_journal_free(VarlinkJournal *j) {
    if (!j)
        return NULL;
    assert(j->n_monitors == 0);
    sd_event_source_disable_unref(j->tell);
    free(j);
    return NULL;
}

/* ---- Messages ---- */

static void begin_message(JsonWriter *w, Monitor *m, const char *event) {
    *w = (JsonWriter){.text = TAKE_GENERIC(m->ready, (StrBuf){})};
    json_write_open(w, NULL, '{');
    json_write_open(w, "parameters", '{');
    json_write_key(w, "event");
    json_write_text(w, event);
}

static int end_message(JsonWriter *w, Monitor *m) {
    json_write_close(w, '}');
    json_write_key(w, "continues");
    json_write_boolean(w, true);
    json_write_close(w, '}');
    strbuf_add_byte(&w->text, '\0');
    m->ready = w->text;
    return m->ready.error;
}

static int tell(Monitor *m, const char *event) {
    JsonWriter w;

    begin_message(&w, m, event);
    return end_message(&w, m);
}

static void write_kind(JsonWriter *w, ViewKind kind) {
    json_write_key(w, "kind");
    json_write_text(w, varlink_kind_name(kind));
}

static int tell_object(
        const VarlinkCall *call, Monitor *m, const char *event, ViewKind kind, const void *thing) {
    const ViewQuery q = {
            .host = &call->peer->face->context.host, .thing = thing, .reader = call->peer->subject};
    JsonWriter w;
    int r, k;

    begin_message(&w, m, event);
    write_kind(&w, kind);
    r = varlink_write_object(&w, kind, &q, varlink_is_listed, NULL);
    k = end_message(&w, m);
    return r < 0 ? r : k;
}

static int tell_removed(Monitor *m, const Change *c) {
    char name[DEVICE_NAME_MAX > CLAIM_ID_MAX ? DEVICE_NAME_MAX : CLAIM_ID_MAX];
    JsonWriter w;

    if (c->kind == VIEW_DEVICE)
        device_name_format(&c->device, name);
    else if (c->kind == VIEW_GROUP)
        (void) snprintf(name, sizeof(name), "%d", c->group);
    else
        strcpy(name, c->claim);
    begin_message(&w, m, "removed");
    write_kind(&w, c->kind);
    json_write_key(&w, "name");
    json_write_text(&w, name);
    return end_message(&w, m);
}

/* ---- What comes next ---- */

static const void *find_thing(const ViewHost *host, const Change *c) {
    switch (c->kind) {
    case VIEW_DEVICE:
        return inventory_find_device(host->inventory, &c->device);
    case VIEW_GROUP:
        return inventory_find_group(host->inventory, c->group);
    case VIEW_CLAIM:
        return broker_find_claim(host->broker, c->claim);
    default:
        return host; /* the host always exists */
    }
}

/* A removed object that exists has come back, and a later entry reports it. The same holds for an added
 * object that is gone. The end of an object is reported even if its beginning was not: the client may know
 * the object from a call, and wait for its end. */
static int tell_change(const VarlinkCall *call, Monitor *m, const Change *c) {
    const void *thing = find_thing(&call->peer->face->context.host, c);
    bool is_new = c->added >= m->batch_begin;

    if (!(m->kinds & 1U << c->kind))
        return 0;
    if (!thing)
        return c->change == OBJECT_REMOVED ? tell_removed(m, c) : 0;
    if (c->change == OBJECT_REMOVED)
        return 0;
    return tell_object(call, m, is_new ? "added" : "changed", c->kind, thing);
}

static void begin_listing(Monitor *m) {
    m->listing = true;
    m->place = m->batch_begin = m->batch_end = m->journal->next;
    view_walk_begin(&m->walk, 0);
}

/* Returns 1 if there may be more, 0 if there is nothing now. */
static int list_on(const VarlinkCall *call, Monitor *m) {
    ViewReference reference;
    const void *thing;
    int r;

    while (!(m->kinds & 1U << m->walk.kind) ||
            (r = view_walk_next(&m->walk, &call->peer->face->context.host, &thing, &reference)) == 0) {
        if (m->walk.kind + 1 == _VIEW_KIND_MAX) {
            m->listing = false;
            r = tell(m, "complete");
            return r < 0 ? r : 1;
        }
        view_walk_begin(&m->walk, m->walk.kind + 1);
    }
    if (r >= 0)
        r = tell_object(call, m, "present", m->walk.kind, thing);
    return r < 0 ? r : 1;
}

static int go_on(const VarlinkCall *call, Monitor *m) {
    VarlinkJournal *j = m->journal;
    const Change *c;
    int r;

    if (m->listing)
        return list_on(call, m);
    if (j->next - m->place > JOURNAL_MAX) {
        begin_listing(m);
        r = tell(m, "resync");
        return r < 0 ? r : 1;
    }
    if (m->place == m->batch_end) {
        m->batch_begin = m->batch_end;
        m->batch_end = j->next;
    }
    if (m->place == m->batch_end)
        return 0;
    c = entry(j, m->place++);
    if (c->superseded_by > 0 && c->superseded_by < m->batch_end)
        return 1;
    r = tell_change(call, m, c);
    return r < 0 ? r : 1;
}

static int follow(VarlinkCall *call) {
    Monitor *m = call->state;
    int r = 1;

    while (r > 0 && m->ready.length < PART_BYTES) {
        r = go_on(call, m);
        if (r > 0 && door_is_over(call->peer->face->context.door))
            return VARLINK_MORE;
    }
    if (r < 0)
        return r;
    if (m->ready.length == 0)
        return VARLINK_WAITING;
    r = varlink_peer_write(call->peer, &m->ready, NULL, 0);
    return r < 0 ? r : VARLINK_WRITTEN;
}

/* ---- Beginning and end ---- */

static void free_monitor(void *state) {
    Monitor *m = state;

    if (--m->journal->n_monitors == 0)
        free(TAKE_PTR(m->journal->changes));
    view_walk_done(&m->walk);
    strbuf_done(&m->ready);
    free(m);
}

static Monitor *monitor_new(VarlinkJournal *j, unsigned kinds) {
    Monitor *m = calloc(1, sizeof(*m));

    if (m && !j->changes)
        j->changes = calloc(JOURNAL_MAX, sizeof(*j->changes));
    if (!m || !j->changes) {
        free(m);
        return NULL;
    }
    j->n_monitors++;
    m->journal = j;
    m->kinds = kinds;
    begin_listing(m);
    return m;
}

int varlink_run_monitor(VarlinkCall *call, const Subject *subject, Refusal *refusal) {
    unsigned kinds;
    int r;

    if (call->state)
        return follow(call);
    r = varlink_read_kinds(call, &kinds);
    if (kinds == 0)
        return r;
    call->state = monitor_new(call->peer->face->journal, kinds);
    if (!call->state)
        return -ENOMEM;
    call->free_state = free_monitor;
    return follow(call);
}
