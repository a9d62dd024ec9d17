/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/broker/claim-token.h"

#include <stdio.h>
#include <sys/random.h>

#include "base/log.h"
#include "base/str.h"
#include "daemon/broker/claim-run.h"
#include "daemon/broker/claim-work.h"

static Device *find_parent(const ClaimRun *j, const PlanMember *m) {
    const Device *d = claim_run_find_device(j, m);

    return d ? inventory_find_parent(j->broker->inventory, d) : NULL;
}

/* A claim that has a function of it, or had one a moment ago. */
static const PlanMember *find_token(const Broker *b, const Device *parent) {
    const PlanMember *found = NULL;

    for (const ClaimRun *j = b->claims; j; j = j->next)
        for (size_t i = 0; i < j->claim.plan.n_claimed; i++) {
            const PlanMember *m = &j->claim.plan.members[i];

            if (m->vf_token[0] && find_parent(j, m) == parent && (!found || m->vf_token_set))
                found = m;
        }
    return found;
}

/* A claim without a token may be about to open its function. */
static bool is_without(const ClaimRun *j, const PlanMember *m, const Device *parent) {
    return j->claim.state >= CLAIM_OPENING && !m->needs_vf_token && !m->vf_token[0] &&
            find_parent(j, m) == parent;
}

static bool is_claimed_without(const ClaimRun *of, const Device *parent) {
    for (const ClaimRun *j = of->broker->claims; j; j = j->next)
        for (size_t i = 0; j != of && i < j->claim.plan.n_claimed; i++)
            if (is_without(j, &j->claim.plan.members[i], parent))
                return true;
    return false;
}

/* ---- a new token ---- */

static int find_host_use(Device *d, void *userdata) {
    const Device **found = userdata;

    if (!d->driver || d->vfio_index >= 0)
        return 0;
    *found = d;
    return 1;
}

/* Setting a token resets the physical function, and with it drivers of its other functions. */
static bool host_uses_functions(const ClaimRun *j, const Device *parent) {
    const Device *user = NULL;

    return inventory_foreach_descendant(j->broker->inventory, parent, find_host_use, &user) != 0;
}

static int make_token(char ret[static VF_TOKEN_MAX]) {
    uint8_t b[16];

    if (getrandom(b, sizeof(b), 0) != (ssize_t) sizeof(b))
        return -EIO;
    b[6] = (b[6] & 0x0f) | 0x40;
    b[8] = (b[8] & 0x3f) | 0x80;
    (void) snprintf(ret, VF_TOKEN_MAX, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
            b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14],
            b[15]);
    return 0;
}

/* A program that uses the physical function without vfiod has set a token, which the client may know.
 * Otherwise the kernel refuses the client. */
static void go_without(ClaimRun *j, PlanMember *m, const char *why) {
    char name[DEVICE_NAME_MAX];

    m->needs_vf_token = false;
    m->vf_token[0] = '\0';
    j->dirty = true;
    log_info("Claim %s: no token for %s, whose physical function is on a vfio driver: %s", j->claim.id,
            device_name_format(&m->name, name), why);
}

static const char *explain(int error) {
    switch (error) {
    case -EBUSY:
        return "another program has the physical function open";
    case -EACCES:
        return "one of its functions is in use without vfiod";
    case -EOPNOTSUPP:
        return "its driver has none";
    default:
        return strerror(-error);
    }
}

/* The kernel has the token, but the function does not work. */
static void refuse_silent(ClaimRun *j, const PlanMember *m) {
    const Device *parent = find_parent(j, m);
    char name[DEVICE_NAME_MAX] = "", *remedy = NULL;

    if (parent)
        device_name_format(&parent->name, name);
    (void) refuse(&j->claim.refusal, VFIOD_ERROR_OPEN_FAILED, &m->name,
            "it no longer answers: setting the token that the kernel requires has reset the physical "
            "function, and its virtual functions are lost (they read as ones)");
    remedy = format_string("Create the virtual functions again ('vfioctl vf %s --count 0', then the number), "
                           "with the physical function on the driver of the host.",
            name);
    if (remedy) {
        free(j->claim.refusal.remedy);
        j->claim.refusal.remedy = remedy;
    }
}

static PlanMember *find_pending(ClaimRun *j) {
    for (size_t i = 0; i < j->claim.plan.n_claimed; i++)
        if (j->claim.plan.members[i].vf_token[0] && !j->claim.plan.members[i].vf_token_set)
            return &j->claim.plan.members[i];
    return NULL;
}

static void on_set(void *userdata, const WorkerResult *result, int *fds) {
    ClaimRun *j = userdata;
    PlanMember *m = find_pending(j);

    /* Its group may be that of the physical function: the events of that open are not the client's. */
    node_watch_catch_up(j->broker->nodes);
    if (result->error == -ETIMEDOUT) {
        claim_work_stuck(j);
        return;
    }
    if (result->error == -EREMOTEIO) {
        m->vf_token_set = j->dirty = true;
        refuse_silent(j, m);
        claim_run_feed(j, CLAIM_EVENT_OPEN_FAILED);
        return;
    }
    if (result->error < 0)
        go_without(j, m, explain(result->error));
    else
        m->vf_token_set = true;
    j->dirty = true;
    j->go_on(j);
}

/* The token is recorded before the kernel gets it, so that every claim of a function finds it. Returns like
 * claim_token_check(). */
static int set_token(ClaimRun *j, PlanMember *m, const Device *parent) {
    WorkerOrder order = {.operation = WORKER_VF_TOKEN,
            .devices = {m->name},
            .item = {.name = parent->name,
                    .vendor = parent->vendor,
                    .device = parent->device,
                    .identity = device_identity(parent)}};
    int r;

    r = make_token(m->vf_token);
    if (r >= 0) {
        j->dirty = true;
        r = claim_run_flush(j);
    }
    if (r >= 0) {
        put_text(order.vf_tokens[0], sizeof(order.vf_tokens[0]), m->vf_token);
        r = claim_work_submit(j, &order, on_set, NULL);
    }
    if (r >= 0)
        return 0;
    go_without(j, m, strerror(-r));
    return 1;
}

/* ---- of each device ---- */

static int refuse_pending(ClaimRun *j, const PlanMember *m) {
    return refuse(&j->claim.refusal, VFIOD_ERROR_DEVICE_BUSY, &m->name,
            "the token of its physical function is being set for another claim");
}

/* 1: the device has its token now; otherwise like claim_token_check(). */
static int give_token(ClaimRun *j, PlanMember *m) {
    const Device *parent = find_parent(j, m);
    const PlanMember *known = parent ? find_token(j->broker, parent) : NULL;

    if (!parent || parent->vfio_index < 0) {
        go_without(j, m, "it has left that");
        return 1;
    }
    if (!known && parent->quarantined) {
        go_without(j, m, "that is quarantined");
        return 1;
    }
    if (!known && is_claimed_without(j, parent)) {
        go_without(j, m, "another claim has one of its functions without a token");
        return 1;
    }
    if (!known && host_uses_functions(j, parent)) {
        go_without(j, m, "the host uses another of its functions");
        return 1;
    }
    if (!known)
        return set_token(j, m, parent);
    if (!known->vf_token_set)
        return refuse_pending(j, m);
    put_text(m->vf_token, sizeof(m->vf_token), known->vf_token);
    m->vf_token_set = j->dirty = true;
    return 1;
}

int claim_token_check(ClaimRun *j, void (*go_on)(ClaimRun *j)) {
    j->go_on = go_on;
    for (size_t i = 0; i < j->claim.plan.n_claimed; i++) {
        PlanMember *m = &j->claim.plan.members[i];
        int r;

        if (!m->needs_vf_token || m->vf_token_set)
            continue;
        r = give_token(j, m);
        if (r <= 0)
            return r;
    }
    return 1;
}
