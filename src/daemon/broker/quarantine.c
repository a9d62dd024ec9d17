/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* How an operator ends a quarantine. A retry does what vfiod does by itself when a late worker comes back:
 * reset and restore. A clear is the operator's word that the devices are fine. They are restored without a
 * reset, but the operator must name each of them. If the record of the claim was lost, nothing is known that
 * could be tried again. */

#include "base/str.h"
#include "daemon/broker/audit.h"
#include "daemon/broker/claim-run.h"
#include "daemon/broker/stuck.h"

/* The claims of the devices in a request. */
typedef struct Ends {
    char claims[REQUEST_DEVICES_MAX][CLAIM_ID_MAX];
    size_t n;
} Ends;

static int check_caller(const Subject *subject, Refusal *refusal) {
    int r;

    if (subject_is_operator(subject))
        return 0;
    r = refuse(refusal, VFIOD_ERROR_ACCESS_DENIED, NULL, "only root can end a quarantine");
    refusal->remedy = strdup("Do it as root. No rule can allow it.");
    return r;
}

static int find_quarantined(Broker *e, const DeviceName *name, ClaimRun **ret, Refusal *refusal) {
    const Device *d = inventory_find_device(e->inventory, name);
    int r;

    if (!d)
        return refuse(refusal, VFIOD_ERROR_NO_SUCH_DEVICE, name, "there is no such device");
    if (d->quarantined) {
        *ret = container_of(d->claim, ClaimRun, claim);
        return 0;
    }
    r = refuse(refusal, VFIOD_ERROR_INVALID_ARGUMENT, name, "it is not quarantined");
    refusal->remedy = strdup("'vfioctl quarantine list' shows the devices in quarantine.");
    return r;
}

static int check_stuck(const ClaimRun *j, const DeviceName *name, Refusal *refusal) {
    int r;

    if (!stuck_has_claim(j))
        return 0;
    r = refuse(refusal, VFIOD_ERROR_DEVICE_QUARANTINED, name,
            "a worker is stuck in the kernel with a device of claim %s", j->claim.id);
    refusal->remedy =
            strdup("Wait for the kernel to let it go: 'vfioctl status' shows the worker. If it never "
                   "does, only a restart of the host helps.");
    return r;
}

/* For a quarantine from before a kexec, what to restore is unknown, too. */
static const PlanMember *find_unknown(const Plan *plan) {
    for (size_t i = 0; i < plan->n_claimed; i++)
        if (!plan_member_is_known(&plan->members[i]))
            return &plan->members[i];
    return NULL;
}

static int check_record(const ClaimRun *j, const DeviceName *name, Refusal *refusal) {
    const PlanMember *m = find_unknown(&j->claim.plan);
    int r;

    if (!m)
        return 0;
    r = refuse(refusal, VFIOD_ERROR_DEVICE_QUARANTINED, name,
            m->failure == MEMBER_FAILURE_RECORD
                    ? "the record of claim %s is damaged or missing, so what to restore is unknown"
                    : "quarantine %s is from before a kexec, so what to restore is unknown",
            j->claim.id);
    refusal->remedy =
            strdup("Make sure that no program uses the device, restore its driver, and run 'vfioctl "
                   "quarantine clear'.");
    return r;
}

/* The unit must not run over a device that the host uses. */
static int check_drivers(const ClaimRun *j, Refusal *refusal) {
    for (size_t i = 0; i < j->claim.plan.n_members; i++) {
        const PlanMember *m = &j->claim.plan.members[i];
        const Device *d = claim_run_find_device(j, m);
        int r;

        if (!*m->scrub || m->progress != MEMBER_BAD || !d ||
                (d->driver && streq(d->driver, m->target_driver)))
            continue;
        r = refuse(refusal, VFIOD_ERROR_DEVICE_QUARANTINED, &m->name,
                "it is to be scrubbed by %s on the driver %s, and is on the driver %s", m->scrub,
                m->target_driver, d->driver ?: "(none)");
        refusal->remedy =
                format_string("Bind it back to %s, or run 'vfioctl quarantine clear'.", m->target_driver);
        return r;
    }
    return 0;
}

static int check_retry(const ClaimRun *j, const DeviceName *name, Refusal *refusal) {
    int r = check_record(j, name, refusal);

    return r < 0 ? r : check_drivers(j, refusal);
}

static bool is_named(const Request *request, const DeviceName *name) {
    for (size_t i = 0; i < request->n_devices; i++)
        if (device_name_compare(&request->devices[i], name) == 0)
            return true;
    return false;
}

/* The operator has checked only the devices that they name. */
static int check_named(const ClaimRun *j, const Request *request, Refusal *refusal) {
    for (size_t i = 0; i < j->claim.plan.n_members; i++) {
        const Device *d = claim_run_find_device(j, &j->claim.plan.members[i]);
        int r;

        if (!d || !d->quarantined || d->claim != &j->claim || is_named(request, &d->name))
            continue;
        r = refuse(refusal, VFIOD_ERROR_INVALID_ARGUMENT, &d->name,
                "it is in the same quarantine (claim %s), and was not named", j->claim.id);
        refusal->remedy = strdup("Look at it too, and name all devices of the quarantine.");
        return r;
    }
    return 0;
}

static void add_claim(Ends *ends, const ClaimRun *j) {
    for (size_t i = 0; i < ends->n; i++)
        if (streq(ends->claims[i], j->claim.id))
            return;
    memcpy(ends->claims[ends->n++], j->claim.id, CLAIM_ID_MAX);
}

/* Fails without a change if one device cannot be taken. */
static int collect(Broker *e, const Request *request, bool clear, Ends *ends, Refusal *refusal) {
    if (request->n_devices == 0)
        return refuse(refusal, VFIOD_ERROR_INVALID_ARGUMENT, NULL, "no device is named");
    for (size_t i = 0; i < request->n_devices; i++) {
        const DeviceName *name = &request->devices[i];
        ClaimRun *j = NULL;
        int r;

        r = find_quarantined(e, name, &j, refusal);
        if (r >= 0)
            r = check_stuck(j, name, refusal);
        if (r >= 0)
            r = clear ? check_named(j, request, refusal) : check_retry(j, name, refusal);
        if (r < 0)
            return r;
        add_claim(ends, j);
    }
    return 0;
}

/* A claim may fail at most by a worker later, so it does not affect the others. */
static void end(Broker *e, const Ends *ends, ClaimEvent event, const char *reason, const Subject *subject) {
    for (size_t i = 0; i < ends->n; i++) {
        ClaimRun *j = claims_find(e, ends->claims[i]);

        audit_quarantine_ends(&j->claim, reason, subject);
        refusal_done(&j->claim.refusal);
        claim_run_feed(j, event);
    }
}

int broker_retry_quarantine(Broker *e, const Request *request, const Subject *subject, Refusal *refusal) {
    Ends ends = {};
    int r;

    r = check_caller(subject, refusal);
    if (r >= 0)
        r = collect(e, request, /* clear= */ false, &ends, refusal);
    if (r >= 0)
        end(e, &ends, CLAIM_EVENT_RETURNED, /* reason= */ NULL, subject);
    return r;
}

int broker_clear_quarantine(
        Broker *e, const Request *request, const char *reason, const Subject *subject, Refusal *refusal) {
    _cleanup_free_ char *shown = sanitize(reason ?: "", REQUEST_REASON_MAX);
    Ends ends = {};
    int r;

    r = check_caller(subject, refusal);
    if (r < 0)
        return r;
    if (!shown)
        return refuse(refusal, VFIOD_ERROR_INTERNAL, NULL, "out of memory");
    if (!*shown || strlen(shown) >= REQUEST_REASON_MAX)
        return refuse(refusal, VFIOD_ERROR_INVALID_ARGUMENT, NULL,
                "clearing a quarantine requires a reason of 1 to %u bytes (a control character counts as "
                "four)",
                REQUEST_REASON_MAX - 1U);
    r = collect(e, request, /* clear= */ true, &ends, refusal);
    if (r >= 0)
        end(e, &ends, CLAIM_EVENT_FORGET, shown, subject);
    return r;
}
