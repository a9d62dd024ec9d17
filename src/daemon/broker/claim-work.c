/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/broker/claim-work.h"

#include <stdio.h>

#include "base/log.h"
#include "base/str.h"
#include "core/device-kind.h"
#include "daemon/broker/backend.h"
#include "daemon/broker/claim-module.h"
#include "daemon/broker/claim-power.h"
#include "daemon/broker/claim-run.h"
#include "daemon/broker/sibling.h"
#include "daemon/broker/stuck.h"

/* Attempts last a minute in all. A host that has no processes or no memory recovers; a device in quarantine
 * stays there. */
#define RETRY_FIRST_USEC (10 * UINT64_C(1000))
#define RETRY_LAST_USEC (5 * UINT64_C(1000000))
#define ATTEMPTS_MAX 20U
#define NETWORK_ATTEMPTS_MAX 10U /* ten seconds */
#define SCRUB_TIMEOUTS 10U       /* a scrub unit may take as long as this many workers */

/* ---- orders ---- */

void claim_work_fill_item(DriverItem *item, const PlanMember *m) {
    bool counts = m->disposition == DISPOSITION_CLAIM && device_kind_info(m->name.kind)->counts_opens;

    *item = (DriverItem){.name = m->name,
            .vendor = m->vendor,
            .device = m->device,
            .identity = m->identity,
            .came = m->came,
            .made = m->made,
            .keep_power = m->keep_power,
            .enable_baseline = counts ? m->enable_baseline : -1,
            .progress = m->progress};
    (void) snprintf(item->target_driver, sizeof(item->target_driver), "%s", m->target_driver);
    (void) snprintf(item->original_driver, sizeof(item->original_driver), "%s", m->original_driver);
    (void) snprintf(item->original_override, sizeof(item->original_override), "%s", m->original_override);
}

/* Of all workers only these require CAP_NET_ADMIN. */
static WorkerPool *pool_of(const Broker *b, WorkerOperation operation) {
    switch (operation) {
    case WORKER_VF_LOOK:
    case WORKER_VF_SET:
    case WORKER_VF_RESTORE:
        return b->setters;
    default:
        return b->workers;
    }
}

int claim_work_submit(ClaimRun *j, const WorkerOrder *order, worker_done_t done, worker_step_t step) {
    return worker_submit(pool_of(j->broker, order->operation), order, j->broker->config.worker_timeout_usec,
            &(WorkerCaller){.done = done,
                    .step = step,
                    .userdata = j,
                    .task = &j->task,
                    .keeper = order->keep ? &j->keeper : NULL});
}

static void refuse_late(ClaimRun *j, const DeviceName *name, const char *step) {
    (void) refuse(&j->claim.refusal, VFIOD_ERROR_TIMED_OUT, name,
            "the kernel did not answer within %u s (%s%s%s)",
            (unsigned) (j->broker->config.worker_timeout_usec / 1000000),
            claim_state_to_string(j->claim.state), step ? ": " : "", step ?: "");
}

/* ---- the members ---- */

/* Undoing goes from the last member to the first. */
static PlanMember *current(ClaimRun *j) {
    const ClaimWork *w = &j->work;
    Plan *plan = &j->claim.plan;

    return &plan->members[w->operation == WORKER_RESTORE ? plan->n_members - 1 - w->index : w->index];
}

static bool is_due(const PlanMember *m, WorkerOperation operation) {
    switch (operation) {
    case WORKER_VF_LOOK:
    case WORKER_VF_SET:
        return m->network.has != 0;
    case WORKER_VF_RESTORE:
        return m->network_before.has != 0 && m->progress != MEMBER_BAD;
    case WORKER_POWER_KEEP: /* for the others, the worker that binds them does it between the two drivers */
        return m->keep_power && !m->bind;
    case WORKER_POWER_RESTORE:
        return m->restore_d3cold && m->progress != MEMBER_BAD;
    case WORKER_BIND:
        return plan_member_is_changed(m);
    case WORKER_RESET:
        return (m->reset || *m->scrub || m->lost) && m->progress != MEMBER_BAD &&
                (!m->bind || member_is_begun(m->progress));
    default:
        return plan_member_is_changed(m) && member_is_begun(m->progress);
    }
}

static void set_progress(ClaimRun *j, PlanMember *m, MemberProgress progress) {
    j->dirty |= m->progress != progress;
    m->progress = progress;
}

static void set_bad(ClaimRun *j, PlanMember *m, MemberFailure failure) {
    j->late |= failure == MEMBER_FAILURE_TIMED_OUT;
    set_progress(j, m, MEMBER_BAD);
    m->failure = failure;
    if (failure == MEMBER_FAILURE_TIMED_OUT)
        stuck_note(j, m);
}

void claim_work_stuck(ClaimRun *j) {
    Plan *plan = &j->claim.plan;

    refuse_late(j, plan->n_claimed == 1 ? &plan->members[0].name : NULL, NULL);
    for (size_t i = 0; i < plan->n_members; i++)
        if (plan_member_is_moved(&plan->members[i]))
            set_bad(j, &plan->members[i], MEMBER_FAILURE_TIMED_OUT);
    claim_run_feed(j, CLAIM_EVENT_WORKER_STUCK);
}

static bool is_on_target(const ClaimRun *j, const PlanMember *m) {
    const Device *d = claim_run_find_device(j, m);

    return d && d->driver && streq(d->driver, m->target_driver);
}

/* A device that was not scrubbed must not look as if it was: see skip_scrub(). */
static MemberProgress lifted(const ClaimRun *j, const PlanMember *m) {
    bool changed = plan_member_is_changed(m);

    if (m->progress == MEMBER_BAD && m->failure == MEMBER_FAILURE_SCRUB && is_on_target(j, m))
        return changed ? MEMBER_BOUND : MEMBER_NOT_BEGUN;
    return member_lifted(m->progress, changed);
}

void claim_work_lift(ClaimRun *j) {
    Plan *plan = &j->claim.plan;

    for (size_t i = 0; i < plan->n_members; i++) {
        PlanMember *m = &plan->members[i];

        set_progress(j, m, lifted(j, m));
        m->failure = m->lost = MEMBER_FAILURE_NONE;
        m->late = (LateWorker){};
        m->lost_seen[0] = '\0';
    }
}

/* ---- what went wrong ---- */

/* The first reason stays. A failure while undoing decides only when nothing else failed. But it must be
 * reported then, too: the remedy of the first may say that everything was restored. */
static void note_failure(
        ClaimRun *j, VfiodError code, const DeviceName *name, const WorkerResult *result, const char *what) {
    const char *why = *result->seen ? result->seen : strerror(-result->error);
    char text[DEVICE_NAME_MAX];

    device_name_format(name, text);
    if (j->claim.refusal.code != _VFIOD_ERROR_INVALID) {
        log_warning("Claim %s: %s: %s (%s): %s", j->claim.id, text, what, driver_step_to_string(result->step),
                why);
        free(j->claim.refusal.remedy);
        j->claim.refusal.remedy =
                format_string("Then %s: %s (%s: %s), so it is quarantined until root releases it.", text,
                        what, driver_step_to_string(result->step), why);
        return;
    }
    (void) refuse(
            &j->claim.refusal, code, name, "%s (%s: %s)", what, driver_step_to_string(result->step), why);
}

/* Another program was faster, or the driver refused although the plan saw a free instance. */
static void note_creation_failure(ClaimRun *j, const PlanMember *m, const WorkerResult *result) {
    bool full = result->step == DRIVER_STEP_CREATE && (result->error == -ENOSPC || result->error == -EUSERS);

    if (full) {
        (void) refuse(&j->claim.refusal, VFIOD_ERROR_NO_INSTANCE, &m->name,
                "the driver of %s reports that no instance of the type %s is available", m->made.parent,
                m->made.type);
        return;
    }
    (void) refuse(&j->claim.refusal,
            result->error == -ENODEV ? VFIOD_ERROR_DEVICE_GONE : VFIOD_ERROR_BIND_FAILED, &m->name,
            "the driver of %s did not make a device of the type %s (%s: %s)", m->made.parent, m->made.type,
            driver_step_to_string(result->step), strerror(-result->error));
}

static void note_bind_failure(ClaimRun *j, const PlanMember *m, const WorkerResult *result) {
    _cleanup_free_ char *what = NULL;
    bool missing = result->step == DRIVER_STEP_BIND && result->error == -ENOENT;

    if (result->error == -ESTALE && j->claim.refusal.code == _VFIOD_ERROR_INVALID) {
        (void) refuse(&j->claim.refusal, VFIOD_ERROR_BIND_FAILED, &m->name,
                "another program changed its driver after the request was planned, or another device took "
                "its place");
        j->claim.refusal.remedy = strdup("The device was left as it is. Try again.");
        return;
    }
    what = format_string("it could not be moved to the driver %s%s", m->target_driver,
            missing ? ", which is not loaded" : "");
    note_failure(j, result->error == -ENODEV ? VFIOD_ERROR_DEVICE_GONE : VFIOD_ERROR_BIND_FAILED, &m->name,
            result, what ?: "it could not be moved to its vfio driver");
}

static const char *explain_vf_failure(const WorkerResult *result) {
    switch (result->error) {
    case -ENXIO:
        return "it is no virtual function of a card that shows them";
    case -ENODATA:
        return result->vf.step == VF_SETUP_FIND ? "its physical function has no network interface"
                                                : "the card's driver does not list it";
    case -ENOTUNIQ:
        return "its physical function has several network interfaces, and which one is unknown";
    case -EOPNOTSUPP:
        return "the card's driver does not support it";
    case -EADDRINUSE:
        return "another function of the card has this address";
    case -EREMOTEIO:
        return "the card's driver took it, and shows another value";
    case -EPERM:
        return "vfiod lacks CAP_NET_ADMIN";
    default:
        return strerror(-result->error);
    }
}

/* "cannot set mac=… (interface eth0): the card's driver does not support it" */
static char *describe_vf_failure(const VfNetwork *n, const char *what, const WorkerResult *result) {
    char value[VF_NETWORK_TEXT_MAX];
    const VfSetupReport *report = &result->vf;

    if ((int) report->attribute < 0 || !vf_network_has(n, report->attribute))
        (void) vf_network_format(n, value);
    else
        (void) vf_network_describe(n, report->attribute, value);
    return format_string("cannot %s %s of its network%s%s (%s): %s", what, value,
            *report->interface ? " through " : "", report->interface, vf_setup_step_to_string(report->step),
            explain_vf_failure(result));
}

static void note_vf_failure(ClaimRun *j, const PlanMember *m, const WorkerResult *result) {
    bool gone = result->error == -ENODEV || result->error == -ESTALE;
    _cleanup_free_ char *what = describe_vf_failure(&m->network, "set", result);

    if (j->claim.refusal.code != _VFIOD_ERROR_INVALID)
        return;
    (void) refuse(&j->claim.refusal, gone ? VFIOD_ERROR_DEVICE_GONE : VFIOD_ERROR_NETWORK_FAILED, &m->name,
            "%s", what ?: "cannot set its network");
    if (result->error == -EADDRINUSE)
        j->claim.refusal.remedy = strdup("Request another address.");
    else if (result->error == -EOPNOTSUPP)
        j->claim.refusal.remedy = strdup("Request it without this.");
}

static void note_vf_restore_failure(ClaimRun *j, PlanMember *m, const WorkerResult *result) {
    _cleanup_free_ char *what = describe_vf_failure(&m->network_before, "restore", result);
    char text[DEVICE_NAME_MAX];

    if (j->claim.refusal.code == _VFIOD_ERROR_INVALID)
        (void) refuse(&j->claim.refusal, VFIOD_ERROR_DEVICE_QUARANTINED, &m->name, "%s",
                what ?: "cannot restore its network");
    else
        log_warning("Claim %s: %s: %s", j->claim.id, device_name_format(&m->name, text), what ?: "?");
    set_bad(j, m, MEMBER_FAILURE_RESTORE);
}

void claim_work_note_dead(ClaimRun *j, PlanMember *m, const WorkerResult *result) {
    note_failure(j, VFIOD_ERROR_DEVICE_QUARANTINED, &m->name, result,
            result->failure == MEMBER_FAILURE_POWER ? "it did not come back to full power for the claim"
                                                    : "it does not answer on its vfio driver");
    set_bad(j, m, result->failure);
}

static MemberFailure reset_failure(const WorkerResult *result) {
    if (result->failure != MEMBER_FAILURE_NONE)
        return result->failure;
    return result->step == DRIVER_STEP_VERIFY ? MEMBER_FAILURE_NO_ANSWER : MEMBER_FAILURE_RESET;
}

static const char *explain_reset_failure(MemberFailure failure) {
    switch (failure) {
    case MEMBER_FAILURE_NO_ANSWER:
        return "it does not answer after its reset";
    case MEMBER_FAILURE_IDENTITY:
        return "it came back from its reset as another device";
    case MEMBER_FAILURE_OPEN:
        return "it was opened again before it was reset";
    case MEMBER_FAILURE_POWER:
        return "it did not come back to full power after its reset";
    default:
        return "it could not be reset after the claim";
    }
}

static void note_power_failure(ClaimRun *j, const PlanMember *m, const WorkerResult *result) {
    if (j->claim.refusal.code == _VFIOD_ERROR_INVALID)
        (void) refuse(&j->claim.refusal,
                result->error == -ENODEV ? VFIOD_ERROR_DEVICE_GONE : VFIOD_ERROR_BIND_FAILED, &m->name,
                "it cannot be kept from losing its power (%s: %s)", driver_step_to_string(result->step),
                strerror(-result->error));
}

/* The device then keeps its power, which harms nobody, so its driver still gets it. */
static void leave_powered(PlanMember *m, const ClaimRun *j, const WorkerResult *result) {
    char name[DEVICE_NAME_MAX];

    log_warning_errno(result->error, "Claim %s: cannot set d3cold_allowed of %s back to 1", j->claim.id,
            device_name_format(&m->name, name));
    m->restore_d3cold = false;
}

static void note_member_failure(ClaimRun *j, PlanMember *m, const WorkerResult *result) {
    bool reset = j->work.operation == WORKER_RESET;
    MemberFailure failure;

    if (result->error == -ETIMEDOUT) {
        if (j->claim.refusal.code == _VFIOD_ERROR_INVALID)
            refuse_late(j, &m->name, driver_step_to_string(j->work.step));
        set_bad(j, m, MEMBER_FAILURE_TIMED_OUT);
        return;
    }
    if (j->work.operation == WORKER_POWER_KEEP ||
            (j->work.operation == WORKER_BIND && result->step == DRIVER_STEP_POWER)) {
        note_power_failure(j, m, result);
        return;
    }
    if (j->work.operation == WORKER_POWER_RESTORE) {
        leave_powered(m, j, result);
        return;
    }
    if (j->work.operation == WORKER_BIND && result->failure != MEMBER_FAILURE_NONE) {
        claim_work_note_dead(j, m, result);
        return;
    }
    if (j->work.operation == WORKER_BIND && plan_member_is_made(m)) {
        note_creation_failure(j, m, result);
        return;
    }
    if (j->work.operation == WORKER_BIND) {
        note_bind_failure(j, m, result);
        return;
    }
    if (j->work.operation == WORKER_VF_LOOK || j->work.operation == WORKER_VF_SET) {
        note_vf_failure(j, m, result);
        return;
    }
    if (j->work.operation == WORKER_VF_RESTORE) {
        note_vf_restore_failure(j, m, result);
        return;
    }
    failure = reset ? reset_failure(result) : MEMBER_FAILURE_RESTORE;
    note_failure(j, VFIOD_ERROR_DEVICE_QUARANTINED, &m->name, result,
            reset                            ? explain_reset_failure(failure)
                    : plan_member_is_made(m) ? "it was made for the claim, and could not be removed"
                                             : "its original driver could not be restored");
    set_bad(j, m, failure);
}

/* ---- what was made ---- */

static int add_group(Plan *plan, int group) {
    if (plan_has_group(plan, group))
        return 0;
    if (plan->n_groups == PLAN_GROUPS_MAX)
        return -E2BIG;
    plan->groups[plan->n_groups++] = group;
    return 0;
}

/* Takes what could not be planned, since the kernel gives these numbers only now. */
static int take_made(ClaimRun *j, PlanMember *m) {
    Device *d = claim_run_find_device(j, m);

    if (!d)
        return refuse(&j->claim.refusal, VFIOD_ERROR_DEVICE_GONE, &m->name,
                "it was removed as soon as it was made");
    if (!d->driver || d->vfio_index < 0 || !d->group || d->group->claim ||
            add_group(&j->claim.plan, d->group->id) < 0)
        return refuse(&j->claim.refusal, VFIOD_ERROR_NODE_MISSING, &m->name,
                "the driver of %s has made it, but has not registered it with VFIO in a group of its own",
                m->made.parent);
    m->group = d->group->id;
    m->identity = device_identity(d);
    put_text(m->target_driver, sizeof(m->target_driver), d->driver);
    j->dirty = true;
    claim_run_attach(j);
    claim_run_announce(j, CLAIM_RESHAPED);
    return 0;
}

/* ---- one after the other ---- */

static void go_on(ClaimRun *j);
static void start(ClaimRun *j, WorkerOperation operation);

/* Is the operation part of giving the device to the client, not of undoing that? */
static bool is_forward(WorkerOperation operation) {
    return operation == WORKER_BIND || operation == WORKER_VF_LOOK || operation == WORKER_VF_SET ||
            operation == WORKER_POWER_KEEP;
}

/* The network settings of virtual functions are read and set before the functions leave the host's driver.
 * They are restored when nobody has the functions any more, before that driver has them again. */
static void end(ClaimRun *j) {
    bool bad = plan_has_bad(&j->claim.plan);

    switch (j->work.operation) {
    case WORKER_VF_LOOK:
        start(j, WORKER_VF_SET);
        return;
    case WORKER_VF_SET:
        start(j, WORKER_POWER_KEEP);
        return;
    case WORKER_POWER_KEEP:
        start(j, WORKER_BIND);
        return;
    case WORKER_VF_RESTORE:
        start(j, WORKER_POWER_RESTORE);
        return;
    case WORKER_POWER_RESTORE:
        start(j, WORKER_RESTORE);
        return;
    case WORKER_BIND:
        claim_run_feed(j, CLAIM_EVENT_BOUND);
        return;
    case WORKER_RESET:
        claim_run_feed(j, bad ? CLAIM_EVENT_RESET_FAILED : CLAIM_EVENT_RESET_DONE);
        return;
    default:
        claim_run_feed(j, bad ? CLAIM_EVENT_RESTORE_FAILED : CLAIM_EVENT_RESTORED);
    }
}

static void next_member(ClaimRun *j) {
    j->work.index++;
    j->work.attempts = 0;
    j->work.scrubbed = false;
    go_on(j);
}

static int on_retry(sd_event_source *s, uint64_t usec, void *userdata) {
    go_on(userdata);
    return 0;
}

/* Is another attempt harmless? Undoing may be repeated; anything else only if it was not begun. */
static bool may_retry(const ClaimRun *j) {
    return j->work.attempts < ATTEMPTS_MAX && (j->work.operation != WORKER_BIND || !j->work.begun);
}

static int retry_later(ClaimRun *j) {
    const uint64_t usec = MIN(RETRY_FIRST_USEC << MIN(j->work.attempts, 10U), RETRY_LAST_USEC);

    if (!may_retry(j))
        return -ETIME;
    j->work.attempts++;
    j->work.retry = sd_event_source_disable_unref(j->work.retry);
    return sd_event_add_time_relative(
            j->broker->event, &j->work.retry, CLOCK_MONOTONIC, usec, 0, on_retry, j);
}

static void on_step(void *userdata, const WorkerResult *result) {
    ClaimRun *j = userdata;

    j->work.begun = true;
    j->work.step = result->step;
    set_progress(j, current(j), result->progress);
    (void) claim_run_flush(j); /* if it cannot be written, the older record leads to the same result */
}

/* These errors may be temporary. A driver may list or set a function only after it has come back from a
 * reset. An interface may be away for a moment. Without its spawner vfiod is about to restart. */
static bool may_pass(const ClaimRun *j, const WorkerResult *result) {
    if (j->work.operation != WORKER_VF_RESTORE || j->work.attempts >= NETWORK_ATTEMPTS_MAX)
        return false;
    return result->error == -ENODATA || result->error == -EAGAIN || result->error == -ENODEV ||
            result->error == -EPERM;
}

/* After the look the settings may have changed, until they are restored. */
static void note_undo(ClaimRun *j, PlanMember *m, const WorkerResult *result) {
    if (j->work.operation == WORKER_POWER_RESTORE)
        m->restore_d3cold = false;
    else if (j->work.operation == WORKER_VF_LOOK)
        m->network_before = result->vf.before;
    else if (j->work.operation == WORKER_VF_RESTORE)
        m->network_before = (VfNetwork){};
    else
        return;
    j->dirty = true;
}

static void note_work(ClaimRun *j, bool done) {
    static const FigureWork works[] = {
            [WORKER_BIND] = FIGURE_BIND, [WORKER_RESET] = FIGURE_RESET, [WORKER_RESTORE] = FIGURE_RESTORE};
    WorkerOperation operation = j->work.operation;

    if (operation == WORKER_BIND || operation == WORKER_RESET || operation == WORKER_RESTORE)
        figures_note_work(&j->broker->figures, works[operation], done);
}

static void refresh(ClaimRun *j, const DeviceName *name) {
    if (j->broker->refresh)
        (void) j->broker->refresh(j->broker->refresh_userdata, name);
    claim_run_attach(j); /* the refresh may have replaced the inventory's entries */
}

static void on_member_done(void *userdata, const WorkerResult *result, int *fds) {
    ClaimRun *j = userdata;
    PlanMember *m = current(j);
    const DeviceName name = m->name;
    int r = result->error;

    /* A worker that did not come back has reported its progress before. */
    if (result->error != -ETIMEDOUT && result->error != -ECONNRESET)
        set_progress(j, m, result->progress);
    else if (!j->work.begun && j->work.operation == WORKER_BIND)
        set_progress(j, m, MEMBER_NOT_BEGUN);
    if ((result->error == -ECONNRESET || may_pass(j, result)) && retry_later(j) >= 0)
        return;
    refresh(j, &name);
    if (r < 0)
        note_member_failure(j, m, result);
    else if (j->work.operation == WORKER_BIND && plan_member_is_made(m))
        r = take_made(j, m);
    else
        note_undo(j, m, result);
    note_work(j, r >= 0);
    if (r < 0 && is_forward(j->work.operation))
        claim_run_feed(j, CLAIM_EVENT_BIND_FAILED);
    else
        next_member(j);
}

/* The intent must be on disk before a device is touched. Undoing does not wait for that: the older record
 * leads to the same result, and a full disk must not keep devices from their owners. */
static int record_before(ClaimRun *j) {
    int r = claim_run_flush(j);

    if (r >= 0 || is_forward(j->work.operation))
        return r;
    log_warning_errno(r, "Claim %s: cannot write its record, going on with an older one", j->claim.id);
    return 0;
}

/* Notes what may have been begun if vfiod dies now, or that nothing was, since no worker could be started. */
static void note_begun(ClaimRun *j, PlanMember *m, bool begun) {
    if (j->work.operation == WORKER_BIND)
        set_progress(j, m, begun ? MEMBER_OVERRIDE : MEMBER_NOT_BEGUN);
    if (!m->keep_power || (j->work.operation != WORKER_BIND && j->work.operation != WORKER_POWER_KEEP))
        return;
    j->dirty |= m->restore_d3cold != begun;
    m->restore_d3cold = begun;
}

static int send_worker(ClaimRun *j, PlanMember *m) {
    WorkerOrder order = {
            .operation = j->work.operation, .network = m->network, .network_before = m->network_before};
    int r;

    claim_work_fill_item(&order.item, m);
    j->work.begun = false;
    j->work.step = DRIVER_STEP_IDENTIFY;
    note_begun(j, m, true);
    r = record_before(j);
    if (r >= 0)
        r = claim_work_submit(j, &order, on_member_done, on_step);
    if (r < 0)
        note_begun(j, m, false);
    return r;
}

/* ---- scrubbing ---- */

static void fail_scrub(ClaimRun *j, const char *failure) {
    PlanMember *m = current(j);
    char name[DEVICE_NAME_MAX];

    log_warning("Claim %s: %s is not scrubbed: %s", j->claim.id, device_name_format(&m->name, name), failure);
    if (j->claim.refusal.code == _VFIOD_ERROR_INVALID)
        (void) refuse(&j->claim.refusal, VFIOD_ERROR_DEVICE_QUARANTINED, &m->name,
                "it could not be scrubbed after the claim: %s", failure);
    set_bad(j, m, MEMBER_FAILURE_SCRUB);
    next_member(j);
}

static void on_scrubbed(void *userdata, const char *failure) {
    ClaimRun *j = userdata;

    j->work.unit = NULL;
    if (failure && claim_run_find_device(j, current(j))) {
        fail_scrub(j, failure);
        return;
    }
    j->work.scrubbed = true;
    go_on(j);
}

/* The scrub comes before the reset, which then clears what the unit has left. A device that is gone requires
 * neither. After a restart of the daemon the scrub begins again, since nobody knows how far the unit had got.
 */
static bool must_scrub(ClaimRun *j, const PlanMember *m) {
    const DeviceName name = m->name;

    if (j->work.operation != WORKER_RESET || !*m->scrub || j->work.scrubbed)
        return false;
    refresh(j, &name);
    return claim_run_find_device(j, m);
}

static int start_scrub(ClaimRun *j, const PlanMember *m) {
    Broker *b = j->broker;
    char name[DEVICE_NAME_MAX], unit[SCRUB_UNIT_MAX];
    int r = scrub_unit_name(m->scrub, device_name_format_kernel(&m->name, name), unit);

    return r < 0 ? r
                 : unit_job_start(b->unit_jobs, unit, SCRUB_TIMEOUTS * b->config.worker_timeout_usec,
                           on_scrubbed, j, &j->work.unit);
}

static void scrub(ClaimRun *j, const PlanMember *m) {
    int r;

    (void) claim_run_flush(j);
    r = start_scrub(j, m);
    if (r < 0)
        fail_scrub(j, strerror(-r));
}

/* The device is on a driver of the host or on none, and no unit may run over that. If its progress is past
 * the reset, the device was scrubbed and reset, or nobody had got it. Otherwise somebody else has moved it,
 * who may not know what its last user left in it. */
static void skip_scrub(ClaimRun *j, const PlanMember *m) {
    const Device *d = claim_run_find_device(j, m);
    _cleanup_free_ char *why = NULL;
    char name[DEVICE_NAME_MAX];

    if (m->progress < MEMBER_RESET) {
        why = format_string(
                "it is on the driver %s and no longer on %s", d->driver ?: "(none)", m->target_driver);
        fail_scrub(j, why ?: "it is no longer on its vfio driver");
        return;
    }
    log_warning("Claim %s: %s is on the driver %s again, and is not scrubbed a second time", j->claim.id,
            device_name_format(&m->name, name), d->driver ?: "(none)");
    j->work.scrubbed = true;
    go_on(j);
}

/* Its holder was informed when the host woke up. A reset may seem to succeed, but that proves nothing about
 * the device. */
static void keep_lost(ClaimRun *j, PlanMember *m) {
    const DeviceName name = m->name;

    refresh(j, &name);
    if (claim_run_find_device(j, m)) {
        if (j->claim.refusal.code == _VFIOD_ERROR_INVALID)
            (void) refuse(&j->claim.refusal, VFIOD_ERROR_DEVICE_QUARANTINED, &name,
                    "it did not come back when the host woke up: %s", m->lost_seen);
        set_bad(j, m, m->lost);
    }
    next_member(j);
}

static void go_on(ClaimRun *j) {
    PlanMember *m;
    int r;

    while (j->work.index < j->claim.plan.n_members && !is_due(current(j), j->work.operation))
        j->work.index++;
    if (j->work.index == j->claim.plan.n_members) {
        end(j);
        return;
    }
    m = current(j);
    if (j->work.operation == WORKER_RESET && m->lost != MEMBER_FAILURE_NONE) {
        keep_lost(j, m);
        return;
    }
    if (must_scrub(j, m)) {
        if (is_on_target(j, m))
            scrub(j, m);
        else
            skip_scrub(j, m);
        return;
    }
    if (j->work.operation == WORKER_RESET && !m->reset) {
        next_member(j);
        return;
    }
    j->work.waits = is_forward(j->work.operation) && sibling_is_busy(j->broker, &m->name);
    if (j->work.waits)
        return;
    r = send_worker(j, m);
    if (r >= 0 || (!is_forward(j->work.operation) && retry_later(j) >= 0))
        return;
    if (j->claim.refusal.code == _VFIOD_ERROR_INVALID)
        (void) refuse(&j->claim.refusal, VFIOD_ERROR_INTERNAL, &m->name,
                "cannot record the claim or start a worker: %s", strerror(-r));
    if (is_forward(j->work.operation)) {
        claim_run_feed(j, CLAIM_EVENT_BIND_FAILED);
        return;
    }
    set_bad(j, m, MEMBER_FAILURE_WORKER);
    next_member(j);
}

void claim_work_wake(ClaimRun *j) {
    if (j->work.waits)
        go_on(j);
}

static void start(ClaimRun *j, WorkerOperation operation) {
    sd_event_source_disable_unref(j->work.retry);
    (void) unit_job_free(j->work.unit);
    j->work = (ClaimWork){.operation = operation};
    go_on(j);
}

/* Check this before the claim is given. At its end it would be too late. */
static int check_scrub(ClaimRun *j) {
    const Plan *plan = &j->claim.plan;
    int r;

    for (size_t i = 0; i < plan->n_members && !unit_jobs_have_bus(j->broker->unit_jobs); i++) {
        if (!*plan->members[i].scrub)
            continue;
        r = refuse(&j->claim.refusal, VFIOD_ERROR_RESET_UNSUPPORTED, &plan->members[i].name,
                "its rule requires a scrub by %s, and vfiod has no connection to D-Bus to start it",
                plan->members[i].scrub);
        j->claim.refusal.remedy = strdup("Start D-Bus, and try again.");
        return r;
    }
    return 0;
}

static void go_on_binding(ClaimRun *j) {
    claim_power_plan(j);
    start(j, WORKER_VF_LOOK);
}

void claim_work_bind(ClaimRun *j) {
    if (check_scrub(j) < 0 || backend_prepare(j) < 0) {
        claim_run_feed(j, CLAIM_EVENT_BIND_FAILED);
        return;
    }
    claim_module_load(j, go_on_binding);
}

void claim_work_reset(ClaimRun *j) {
    start(j, WORKER_RESET);
}

void claim_work_restore(ClaimRun *j) {
    start(j, WORKER_VF_RESTORE);
}
