/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/broker/view-walk.h"

void view_walk_done(ViewWalk *w) {
    free(w->claims);
    *w = (ViewWalk){};
}

void view_walk_begin(ViewWalk *w, ViewKind kind) {
    view_walk_done(w);
    w->kind = kind;
}

static int note_claim(const Claim *c, void *userdata) {
    ViewWalk *w = userdata;

    memcpy(w->claims[w->n_claims++], c->id, sizeof(c->id));
    return 0;
}

static int note_claims(ViewWalk *w, const ViewHost *host) {
    w->claims = calloc(broker_n_claims(host->broker) + 1, sizeof(*w->claims));
    return w->claims ? broker_foreach_claim(host->broker, note_claim, w) : -ENOMEM;
}

static const Claim *next_claim(ViewWalk *w, const ViewHost *host) {
    const Claim *c = NULL;

    while (!c && w->n_claims_found < w->n_claims)
        c = broker_find_claim(host->broker, w->claims[w->n_claims_found++]);
    return c;
}

int view_walk_next(ViewWalk *w, const ViewHost *host, const void **ret_thing, ViewReference *ret) {
    const Device *d;
    const Group *g;
    const Claim *c;

    *ret = (ViewReference){.kind = w->kind};
    *ret_thing = NULL;
    if (w->kind == VIEW_MANAGER) {
        if (w->any)
            return 0;
    } else if (w->kind == VIEW_DEVICE) {
        d = inventory_next_device(host->inventory, w->any ? &w->device : NULL);
        if (!d)
            return 0;
        w->device = d->name;
        ret->device = &d->name;
        *ret_thing = d;
    } else if (w->kind == VIEW_GROUP) {
        g = inventory_next_group(host->inventory, w->any ? w->group : -1);
        if (!g)
            return 0;
        ret->group = w->group = g->id;
        *ret_thing = g;
    } else {
        if (!w->claims && note_claims(w, host) < 0)
            return -ENOMEM;
        c = next_claim(w, host);
        if (!c)
            return 0;
        ret->claim = c->id;
        *ret_thing = c;
    }
    w->any = true;
    return 1;
}
