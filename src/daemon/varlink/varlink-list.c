/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* List: one object by name, or all of them in parts. A part is written when the peer has taken the one
 * before. In between the call is in no queue, so nobody else waits for a slow reader. */

#include "daemon/broker/view-walk.h"
#include "daemon/varlink/varlink-internal.h"

/* The size of messages that are collected before they are written. */
#define PART_BYTES ((size_t) 16 * 1024)

typedef struct Listing {
    ViewWalk walk;
    unsigned kinds;        /* mask of 1 << ViewKind */
    const JsonNode *names; /* borrowed from the call: the fields; NULL: those whose changes are announced */
    StrBuf ready;          /* complete messages */
    StrBuf last;           /* the newest message, whose end depends on whether others follow */
} Listing;

static const ViewHost *host_of(const VarlinkCall *call) {
    return &call->peer->face->context.host;
}

/* Returns 0, or VARLINK_ANSWERED after an error: *ret is 0 then. */
int varlink_read_kinds(VarlinkCall *call, unsigned *ret) {
    const JsonNode *names = varlink_call_parameter(call, "kinds");
    unsigned kinds = names ? 0 : (1U << _VIEW_KIND_MAX) - 1;

    *ret = 0;
    FOREACH_ITEM(n, names) {
        ViewKind kind = varlink_kind_from_name(n->string);

        if ((int) kind < 0)
            return varlink_reply_error(call, VARLINK_SERVICE ".InvalidParameter", "parameter", "kinds");
        kinds |= 1U << kind;
    }
    if (kinds == 0)
        return varlink_reply_error(call, VARLINK_SERVICE ".InvalidParameter", "parameter", "kinds");
    *ret = kinds;
    return 0;
}

/* ---- One object ---- */

static int find_device(const VarlinkCall *call, const char *spelling, const void **ret, Refusal *refusal) {
    Request request = REQUEST_NULL;
    int r;

    r = request_add_device(&request, spelling, refusal); /* all spellings are read in one place */
    if (r < 0)
        return r;
    *ret = inventory_find_device(host_of(call)->inventory, &request.devices[0]);
    return *ret ? 0
                : refuse(refusal, VFIOD_ERROR_NO_SUCH_DEVICE, &request.devices[0], "there is no such device");
}

static int find_group(const VarlinkCall *call, int64_t id, const void **ret, Refusal *refusal) {
    if (id >= 0 && id <= INT32_MAX)
        *ret = inventory_find_group(host_of(call)->inventory, (int) id);
    return *ret ? 0
                : refuse(refusal, VFIOD_ERROR_NO_SUCH_GROUP, NULL, "there is no IOMMU group %lld",
                          (long long) id);
}

static int find_claim(const VarlinkCall *call, const char *name, const void **ret, Refusal *refusal) {
    const Claim *claim;
    int r = broker_find_named_claim(host_of(call)->broker, name, call->peer->subject, &claim, refusal);

    if (r >= 0)
        *ret = claim;
    return r;
}

/* Finds the named object. Returns 1; 0 if no object is named; or refuses. */
static int find_named(const VarlinkCall *call, ViewKind *ret_kind, const void **ret, Refusal *refusal) {
    const JsonNode *device = varlink_call_parameter(call, "device"),
                   *group = varlink_call_parameter(call, "group"),
                   *claim = varlink_call_parameter(call, "claim"),
                   *host = varlink_call_parameter(call, "host");
    int r = 0;

    *ret = NULL;
    host = host && host->boolean ? host : NULL;
    if (!!device + !!group + !!claim + !!host > 1)
        return refuse(refusal, VFIOD_ERROR_INVALID_ARGUMENT, NULL, "only one object can be named at a time");
    if (!device && !group && !claim && !host)
        return 0;
    *ret_kind = device ? VIEW_DEVICE : group ? VIEW_GROUP : claim ? VIEW_CLAIM : VIEW_MANAGER;
    if (device)
        r = find_device(call, device->string, ret, refusal);
    else if (group)
        r = find_group(call, group->integer, ret, refusal);
    else if (claim)
        r = find_claim(call, claim->string, ret, refusal);
    else
        *ret = host_of(call);
    return r < 0 ? r : 1;
}

static bool wants(const ViewField *field, void *userdata) {
    const JsonNode *names = userdata;
    char name[VARLINK_FIELD_MAX];

    if (!names)
        return field->change != VIEW_COSTLY;
    varlink_field_name(field, name);
    for (const JsonNode *n = names->children; n; n = n->next)
        if (streq(n->string, name))
            return true;
    return false;
}

static void on_holders(void *userdata, const HolderAnswer *answer) {
    VarlinkCall *call = userdata;

    call->holders = NULL;
    call->found = answer;
    view_charge_holders(host_of(call), call->peer->subject, answer);
    varlink_call_run(call);
}

/* Starts what the wanted fields require. Returns 0 if all of it is there. */
static int prepare(VarlinkCall *call, ViewKind kind, const void *thing, const JsonNode *names,
        const Subject *subject, Refusal *refusal) {
    unsigned facts = 0;
    bool holders = false;
    int r;

    for (const ViewField *f = view_tables[kind].fields; f->name; f++) {
        facts |= wants(f, (void *) names) ? f->facts : 0;
        holders = holders || (wants(f, (void *) names) && view_needs_holders(f));
    }
    if (facts != 0) {
        r = broker_look_at(host_of(call)->broker, &call->inquiry,
                kind == VIEW_DEVICE ? &((const Device *) thing)->name : NULL, facts);
        if (r < 0)
            return r;
    }
    if (!holders || call->found)
        return 0;
    r = view_check_holders(host_of(call), subject, refusal);
    if (r >= 0)
        r = holder_search_ask(broker_holders(host_of(call)->broker), on_holders, call, &call->holders);
    return r < 0 ? r : VARLINK_PENDING;
}

static int show_one(
        VarlinkCall *call, ViewKind kind, const void *thing, const Subject *subject, Refusal *refusal) {
    const JsonNode *names = varlink_call_parameter(call, "fields");
    JsonWriter w;
    int r;

    FOREACH_ITEM(n, names)
        if (!varlink_find_field(kind, n->string))
            return varlink_reply_error(call, VARLINK_SERVICE ".InvalidParameter", "parameter", "fields");
    r = prepare(call, kind, thing, names, subject, refusal);
    if (r != 0)
        return r;
    const ViewQuery q = {
            .host = host_of(call),
            .thing = thing,
            .reader = subject,
            .survey = &call->inquiry.survey,
            .refusal = refusal,
            .found = call->found,
    };

    varlink_reply_begin(&w);
    r = varlink_write_object(&w, kind, &q, wants, (void *) names);
    if (r < 0) {
        strbuf_done(&w.text);
        return r;
    }
    return varlink_reply_send(call, &w, NULL, 0);
}

/* ---- All objects ---- */

static void free_listing(void *state) {
    Listing *l = state;

    view_walk_done(&l->walk);
    strbuf_done(&l->ready);
    strbuf_done(&l->last);
    free(l);
}

/* Another message follows, so the previous one is complete. */
static void add_message(Listing *l, StrBuf *text) {
    if (l->last.text) {
        strbuf_add(&l->ready, l->last.text);
        strbuf_add(&l->ready, ",\"continues\":true}");
        strbuf_add_byte(&l->ready, '\0');
    }
    strbuf_done(&l->last);
    l->last = TAKE_GENERIC(*text, (StrBuf){});
}

static int add_object(const VarlinkCall *call, Listing *l, const void *thing) {
    const ViewQuery q = {.host = host_of(call), .thing = thing, .reader = call->peer->subject};
    JsonWriter w;
    int r;

    varlink_reply_begin(&w);
    r = l->names ? varlink_write_object(&w, l->walk.kind, &q, wants, (void *) l->names)
                 : varlink_write_object(&w, l->walk.kind, &q, varlink_is_listed, NULL);
    json_write_close(&w, '}');
    if (r < 0 || w.text.error < 0) {
        strbuf_done(&w.text);
        return r < 0 ? r : -ENOMEM;
    }
    add_message(l, &w.text);
    return l->ready.error;
}

static int write_end(VarlinkCall *call, Listing *l) {
    strbuf_add(&l->ready, l->last.text ?: "{");
    strbuf_add(&l->ready, "}");
    strbuf_add_byte(&l->ready, '\0');
    return l->ready.error < 0 ? l->ready.error : varlink_peer_write(call->peer, &l->ready, NULL, 0);
}

/* Returns 1 if there is more. */
static int go_on(VarlinkCall *call, Listing *l) {
    ViewReference reference;
    const void *thing;
    int r;

    while (!(l->kinds & 1U << l->walk.kind) ||
            (r = view_walk_next(&l->walk, host_of(call), &thing, &reference)) == 0) {
        if (l->walk.kind + 1 == _VIEW_KIND_MAX)
            return 0;
        view_walk_begin(&l->walk, l->walk.kind + 1);
    }
    if (r >= 0)
        r = add_object(call, l, thing);
    return r < 0 ? r : 1;
}

static int list_all(VarlinkCall *call) {
    Listing *l = call->state;
    int r;

    while (l->ready.length < PART_BYTES) {
        r = go_on(call, l);
        if (r < 0)
            return r;
        if (r == 0)
            return write_end(call, l);
        if (door_is_over(call->peer->face->context.door))
            return VARLINK_MORE;
    }
    r = varlink_peer_write(call->peer, &l->ready, NULL, 0);
    return r < 0 ? r : VARLINK_WRITTEN;
}

/* A kind has all of these fields, and none of them is costly. */
static bool fields_can_be_listed(const JsonNode *names, unsigned kinds) {
    if (!names)
        return true;
    if ((kinds & (kinds - 1)) != 0)
        return false;
    FOREACH_ITEM(n, names) {
        const ViewField *field = varlink_find_field((ViewKind) __builtin_ctz(kinds), n->string);

        if (!field || field->change == VIEW_COSTLY)
            return false;
    }
    return true;
}

static int begin_listing(VarlinkCall *call) {
    const JsonNode *names = varlink_call_parameter(call, "fields");
    unsigned kinds;
    Listing *l;
    int r;

    if (!call->message.more)
        return varlink_reply_error(call, VARLINK_SERVICE ".ExpectedMore", NULL, NULL);
    r = varlink_read_kinds(call, &kinds);
    if (kinds == 0)
        return r;
    if (!fields_can_be_listed(names, kinds))
        return varlink_reply_error(call, VARLINK_SERVICE ".InvalidParameter", "parameter", "fields");
    l = calloc(1, sizeof(*l));
    if (!l)
        return -ENOMEM;
    l->kinds = kinds;
    l->names = names;
    call->state = l;
    call->free_state = free_listing;
    return list_all(call);
}

int varlink_run_list(VarlinkCall *call, const Subject *subject, Refusal *refusal) {
    ViewKind kind = VIEW_DEVICE;
    const void *thing;
    int r;

    if (call->state)
        return list_all(call);
    r = find_named(call, &kind, &thing, refusal);
    if (r < 0)
        return r;
    return r > 0 ? show_one(call, kind, thing, subject, refusal) : begin_listing(call);
}
