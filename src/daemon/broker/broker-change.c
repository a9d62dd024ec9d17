/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Adding devices to a held claim, and releasing some of them. A claim is changed by one call at a time, so
 * that the next caller sees a definite list of devices. */

#include <stdio.h>

#include "base/str.h"
#include "base/user-name.h"
#include "daemon/broker/claim-part.h"

/* Finds the claim to change. */
static int find_held(Broker *e, const char *name, const Subject *subject, ClaimRun **ret, Refusal *refusal) {
    ClaimRun *j;
    int r;

    r = broker_find_own(e, name, subject, &j, refusal);
    if (r < 0)
        return r;
    if (j->claim.state < CLAIM_HELD || claim_is_growing(j))
        return refuse(refusal, VFIOD_ERROR_CLAIM_BUSY, NULL, "devices are just being added to claim %s",
                j->claim.id);
    if (j->claim.state != CLAIM_HELD)
        return refuse(refusal, VFIOD_ERROR_NO_SUCH_CLAIM, NULL, "claim %s has ended (%s)", j->claim.id,
                claim_state_to_string(j->claim.state));
    *ret = j;
    return 0;
}

/* ---- Adding ---- */

static int refuse_option(const Claim *c, const char *option, const char *value, Refusal *refusal) {
    return refuse(refusal, VFIOD_ERROR_INVALID_ARGUMENT, NULL,
            "the option \"%s\" of claim %s is \"%s\", and does not change", option, c->id, value);
}

/* The options of the claim apply to everything that joins it. */
static int take_terms(const Claim *c, Request *request, const Subject *subject, Refusal *refusal) {
    if (subject->uid != c->uid) /* root neither: the files would belong to another user than the claim */
        return refuse(refusal, VFIOD_ERROR_NOT_OWNER, NULL, "only %s can add devices to claim %s",
                USER_TEXT(c->uid), c->id);
    if (c->plan.backend == BACKEND_NOIOMMU)
        return refuse(refusal, VFIOD_ERROR_INVALID_ARGUMENT, NULL,
                "claim %s has a device without an IOMMU, which must be claimed alone", c->id);
    if (c->plan.backend == BACKEND_COMPAT) {
        int r = refuse(refusal, VFIOD_ERROR_INVALID_ARGUMENT, NULL,
                "claim %s has the backend compat, and takes no more devices: its container is set up once, "
                "with all of its groups",
                c->id);

        refusal->remedy = strdup("Make another claim for them, or one claim for all.");
        return r;
    }
    if (request->backend != _BACKEND_INVALID && request->backend != c->plan.backend)
        return refuse_option(c, "backend", backend_to_string(c->plan.backend), refusal);
    if (request->grant != REQUEST_NULL.grant && request->grant != c->plan.grant)
        return refuse_option(c, "grant", grant_kind_to_string(c->plan.grant), refusal);
    if (request->tether != REQUEST_NULL.tether && request->tether != c->plan.tether)
        return refuse_option(c, "tether", tether_kind_to_string(c->plan.tether), refusal);
    if (request->ticket[0])
        return refuse(refusal, VFIOD_ERROR_INVALID_ARGUMENT, NULL,
                "a ticket makes a claim of its own, and adds no device to claim %s", c->id);
    if (request->cookie[0])
        return refuse_option(c, "cookie", c->cookie, refusal);
    if (request->duration_sec > 0)
        return refuse(refusal, VFIOD_ERROR_INVALID_ARGUMENT, NULL,
                "devices that are added to claim %s have its time: the option \"duration\" is not for them",
                c->id);
    if (request->wait_sec > 0) /* two claims could wait for each other */
        return refuse(refusal, VFIOD_ERROR_INVALID_ARGUMENT, NULL,
                "devices that are added to claim %s cannot be waited for", c->id);
    request->backend = c->plan.backend;
    request->grant = c->plan.grant;
    request->tether = c->plan.tether;
    memcpy(request->claim, c->id, sizeof(request->claim));
    if (!request->reason[0])
        (void) snprintf(request->reason, sizeof(request->reason), "%s", c->reason ?: "");
    return 0;
}

void broker_add_devices(Broker *e, const char *name, Request *request, const Subject *subject,
        const Asker *asker, acquire_done_t done, void *userdata) {
    _cleanup_(refusal_done) Refusal refusal = REFUSAL_NULL;
    ClaimRun *j;
    int r;

    r = find_held(e, name, subject, &j, &refusal);
    if (r >= 0)
        r = take_terms(&j->claim, request, subject, &refusal);
    if (r >= 0) {
        broker_begin(e, request, NULL, subject, asker, done, userdata);
        return;
    }
    broker_note_refusal(e, request, subject, &refusal);
    (void) done(userdata, NULL, &refusal);
}

/* ---- Releasing ---- */

/* The worker that opened the devices has a copy of each file until the claim ends. */
static int refuse_part(const Claim *c, Refusal *refusal) {
    int r = refuse(refusal, VFIOD_ERROR_INVALID_ARGUMENT, NULL,
            "claim %s has the backend compat, and gives back all of its devices or none: vfiod has each open "
            "until the claim ends",
            c->id);

    refusal->remedy = strdup("Release the claim, and claim the devices that are still needed.");
    return r;
}

static int check_members(const Claim *c, const Request *request, Refusal *refusal) {
    for (size_t i = 0; i < request->n_devices; i++) {
        const PlanMember *m = plan_find_member(&c->plan, &request->devices[i]);

        if (!m || m->disposition != DISPOSITION_CLAIM || m->leaving)
            return refuse(refusal, VFIOD_ERROR_INVALID_ARGUMENT, &request->devices[i],
                    "claim %s does not have it", c->id);
    }
    return 0;
}

static size_t count_held(const Plan *plan) {
    size_t n = 0;

    for (size_t i = 0; i < plan->n_claimed; i++)
        n += !plan->members[i].leaving;
    return n;
}

int broker_release_devices(
        Broker *e, const char *name, const Request *request, const Subject *subject, Refusal *refusal) {
    ClaimRun *j, *part;
    int r;

    r = request_validate(request, refusal);
    if (r >= 0)
        r = find_held(e, name, subject, &j, refusal);
    if (r >= 0)
        r = check_members(&j->claim, request, refusal);
    if (r < 0)
        return r;
    if (request->n_devices == count_held(&j->claim.plan))
        return broker_release(e, j->claim.id, subject, refusal);
    if (j->claim.plan.backend == BACKEND_COMPAT)
        return refuse_part(&j->claim, refusal);
    r = claim_part_leave(j, request->devices, request->n_devices, &part);
    if (r < 0)
        return refuse(refusal, VFIOD_ERROR_INTERNAL, &request->devices[0], "cannot record the claim: %s",
                strerror(-r));
    if (!part)
        return 0;
    if (subject_is_operator(subject))
        audit_released(&part->claim, subject);
    claim_run_feed(part, CLAIM_EVENT_RELEASE);
    return 0;
}
