/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/broker/sleep.h"

#include "base/log.h"
#include "daemon/broker/claim-run.h"
#include "daemon/broker/logind.h"
#include "daemon/broker/resume.h"

/* Gives clients time to read the announcement before the host sleeps. */
#define TELL_USEC (100 * UINT64_C(1000))

static bool is_waited_for(const ClaimRun *j) {
    return j->claim.sleep_at_usec > 0 && !j->sleep_ready && j->claim.plan.hold.sleep_delay_sec > 0;
}

static int on_time(sd_event_source *s, uint64_t usec, void *userdata) {
    Broker *e = userdata;

    for (const ClaimRun *j = e->claims; j; j = j->next)
        if (is_waited_for(j))
            log_notice("Claim %s: the host sleeps, and its holder was not ready in time", j->claim.id);
    logind_let_sleep(e->logind);
    return 0;
}

/* The host may sleep after this time at the latest. */
static void let_sleep_in(Broker *e, uint64_t usec) {
    int r;

    r = sd_event_source_set_time_relative(e->sleep_timer, usec);
    if (r >= 0)
        r = sd_event_source_set_enabled(e->sleep_timer, SD_EVENT_ONESHOT);
    if (r < 0)
        logind_let_sleep(e->logind);
}

static void look_who_is_left(Broker *e) {
    for (const ClaimRun *j = e->claims; j; j = j->next)
        if (is_waited_for(j))
            return;
    let_sleep_in(e, TELL_USEC);
}

static void on_sleep(void *userdata, uint64_t max_usec) {
    uint64_t now = broker_now_usec(), longest = TELL_USEC;
    unsigned n_held = 0, n_waited = 0;
    Broker *e = userdata;

    e->sleep_is_near = true;
    for (ClaimRun *j = e->claims; j; j = j->next) {
        uint64_t usec = MIN(j->claim.plan.hold.sleep_delay_sec * UINT64_C(1000000), max_usec);

        if (j->claim.state != CLAIM_HELD)
            continue;
        j->claim.sleep_at_usec = now + usec;
        j->sleep_ready = false;
        n_held++;
        n_waited += usec > 0;
        longest = MAX(longest, usec);
        claim_run_announce(j, CLAIM_SLEEPS);
    }
    let_sleep_in(e, longest);
    if (n_held > 0)
        log_info("The host is about to sleep: %u claims are held, and the holders of %u of them may delay it",
                n_held, n_waited);
}

static void on_woke(void *userdata) {
    Broker *e = userdata;

    e->sleep_is_near = false;
    (void) sd_event_source_set_enabled(e->sleep_timer, SD_EVENT_OFF);
    for (ClaimRun *j = e->claims; j; j = j->next) {
        if (j->claim.state != CLAIM_HELD)
            continue;
        j->claim.sleep_at_usec = 0;
        resume_begin(j);
        claim_run_announce(j, CLAIM_SLEEPS);
    }
    resume_go_on(e);
}

void sleep_end(ClaimRun *j) {
    bool was_waited_for = is_waited_for(j), frees_worker = j->resumer;

    resume_end(j);
    if (frees_worker)
        resume_go_on(j->broker);
    if (j->claim.sleep_at_usec == 0)
        return;
    j->claim.sleep_at_usec = 0;
    claim_run_announce(j, CLAIM_SLEEPS);
    if (was_waited_for && j->broker->sleep_is_near)
        look_who_is_left(j->broker);
}

int broker_ready_to_sleep(Broker *e, const char *name, const Subject *subject, Refusal *refusal) {
    bool was_waited_for;
    ClaimRun *j;
    int r;

    r = broker_find_own(e, name, subject, &j, refusal);
    if (r < 0)
        return r;
    if (j->claim.sleep_at_usec == 0)
        return refuse(refusal, VFIOD_ERROR_INVALID_ARGUMENT, NULL,
                "claim %s: the host is not about to sleep, or the claim was made since", j->claim.id);
    was_waited_for = is_waited_for(j);
    j->sleep_ready = true;
    if (was_waited_for && e->sleep_is_near)
        look_who_is_left(e);
    return 0;
}

int sleep_watch(Broker *e) {
    const LogindCallbacks callbacks = {.sleep = on_sleep, .woke = on_woke, .userdata = e};
    int r;

    r = sd_event_add_time(e->event, &e->sleep_timer, CLOCK_MONOTONIC, 0, 0, on_time, e);
    if (r >= 0)
        r = sd_event_source_set_enabled(e->sleep_timer, SD_EVENT_OFF);
    return r < 0 ? r : logind_new(&callbacks, &e->logind);
}
