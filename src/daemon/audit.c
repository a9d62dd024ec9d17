/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/audit.h"

#include <stdio.h>

#include "base/log.h"
#include "base/str.h"

#define BURST 10U
#define WINDOW_USEC (60 * UINT64_C(1000000))
#define USERS_MAX 64U /* those beyond share the last entry */

typedef struct User {
    uid_t uid;
    unsigned lines, suppressed;
} User;

struct Audit {
    sd_event *event;
    sd_event_source *window; /* armed while any line of the current minute is counted */
    User users[USERS_MAX];
    size_t n_users;
};

Audit *audit_free(Audit *a) {
    if (!a)
        return NULL;
    sd_event_source_disable_unref(a->window);
    sd_event_unref(a->event);
    free(a);
    return NULL;
}

int audit_new(sd_event *event, Audit **ret) {
    Audit *a = malloc(sizeof(*a));

    if (!a)
        return -ENOMEM;
    *a = (Audit){.event = sd_event_ref(event)};
    *ret = a;
    return 0;
}

static int on_window_over(sd_event_source *s, uint64_t usec, void *userdata) {
    Audit *a = userdata;

    for (size_t i = 0; i < a->n_users; i++)
        if (a->users[i].suppressed > 0)
            log_notice("%u more grants, refusals and ends of claims of uid %u in the last minute were not "
                       "logged",
                    a->users[i].suppressed, (unsigned) a->users[i].uid);
    a->n_users = 0;
    a->window = sd_event_source_disable_unref(a->window);
    return 0;
}

static User *find_user(Audit *a, uid_t uid) {
    for (size_t i = 0; i < a->n_users; i++)
        if (a->users[i].uid == uid)
            return &a->users[i];
    if (a->n_users == USERS_MAX)
        return &a->users[USERS_MAX - 1];
    a->users[a->n_users] = (User){.uid = uid};
    return &a->users[a->n_users++];
}

/* May one more line about this user be written now? */
static bool admit(Audit *a, uid_t uid) {
    User *u = find_user(a, uid);

    if (!a->window &&
            sd_event_add_time_relative(
                    a->event, &a->window, CLOCK_MONOTONIC, WINDOW_USEC, 0, on_window_over, a) < 0)
        return false;
    if (u->lines >= BURST) {
        u->suppressed++;
        return false;
    }
    u->lines++;
    return true;
}

static char *join_devices(const DeviceName *names, size_t n, size_t stride) {
    _cleanup_strbuf_ StrBuf b = {};
    char name[DEVICE_NAME_MAX];

    for (size_t i = 0; i < n; i++)
        strbuf_addf(&b, "%s%s", i > 0 ? " " : "",
                device_name_format((const DeviceName *) ((const char *) names + i * stride), name));
    return strbuf_steal(&b);
}

static char *claim_devices(const Claim *c) {
    return join_devices(&c->plan.members[0].name, c->plan.n_claimed, sizeof(c->plan.members[0]));
}

static void record_claim(int level, const char *message_id, const Claim *c, const char *message) {
    _cleanup_free_ char *devices = claim_devices(c);
    char uid[16], pid[16];

    (void) snprintf(uid, sizeof(uid), "%u", (unsigned) c->uid);
    (void) snprintf(pid, sizeof(pid), "%d", (int) c->pid);
    log_record(level, message_id, message, "VFIOD_CLAIM", c->id, "VFIOD_DEVICES", devices, "VFIOD_UID", uid,
            "VFIOD_PID", pid, "VFIOD_UNIT", c->unit, "VFIOD_COMMAND", c->command, "VFIOD_BACKEND",
            backend_to_string(c->plan.backend), "VFIOD_RULE", c->plan.rule, "VFIOD_REASON", c->reason, NULL);
}

void audit_granted(Audit *a, const Claim *c) {
    _cleanup_free_ char *devices = NULL, *message = NULL;

    if (!admit(a, c->uid))
        return;
    devices = claim_devices(c);
    message = format_string("Claim %s: uid %u got %s (%s) by rule %s", c->id, (unsigned) c->uid,
            devices ?: "?", backend_to_string(c->plan.backend), c->plan.rule);
    record_claim(LOG_INFO, VFIOD_MESSAGE_CLAIM_GRANTED, c, message ?: "Claim granted");
}

void audit_refused(Audit *a, const Subject *subject, const Request *request, const Refusal *refusal) {
    _cleanup_free_ char *devices = NULL, *text = NULL, *message = NULL;
    char uid[16], pid[16], who[SUBJECT_DESCRIPTION_MAX];

    if (!admit(a, subject->uid))
        return;
    devices = join_devices(request->devices, request->n_devices, sizeof(request->devices[0]));
    text = refusal_format(refusal);
    message = format_string("Refused %s (%s): %s", subject_describe(subject, who),
            error_info(refusal->code)->name, text ?: "");
    (void) snprintf(uid, sizeof(uid), "%u", (unsigned) subject->uid);
    (void) snprintf(pid, sizeof(pid), "%d", (int) subject->pid);
    log_record(LOG_NOTICE, VFIOD_MESSAGE_CLAIM_REFUSED, message ?: "Refused", "VFIOD_ERROR",
            error_info(refusal->code)->name, "VFIOD_DEVICES", devices, "VFIOD_UID", uid, "VFIOD_PID", pid,
            "VFIOD_UNIT", subject->unit, "VFIOD_COMMAND", subject->command, "VFIOD_RULE", refusal->rule,
            "VFIOD_REASON", request->reason, NULL);
}

void audit_failed(Audit *a, const Claim *c) {
    _cleanup_free_ char *text = NULL, *message = NULL;

    if (!admit(a, c->uid))
        return;
    text = refusal_format(&c->refusal);
    message = format_string("Claim %s of uid %u failed (%s): %s", c->id, (unsigned) c->uid,
            error_info(c->refusal.code)->name, text ?: "");
    record_claim(LOG_WARNING, VFIOD_MESSAGE_CLAIM_REFUSED, c, message ?: "Claim failed");
}

void audit_ended(Audit *a, const Claim *c) {
    _cleanup_free_ char *message = NULL;

    if (!admit(a, c->uid))
        return;
    message = format_string("Claim %s of uid %u ended, its devices are back", c->id, (unsigned) c->uid);
    record_claim(LOG_INFO, VFIOD_MESSAGE_CLAIM_ENDED, c, message ?: "Claim ended");
}

void audit_quarantined(Audit *a, const Claim *c) {
    _cleanup_free_ char *text = refusal_format(&c->refusal), *message = NULL;

    message = format_string(
            "Claim %s of uid %u: its devices are in quarantine: %s", c->id, (unsigned) c->uid, text ?: "?");
    record_claim(LOG_ERR,
            c->refusal.code == VFIOD_ERROR_TIMED_OUT ? VFIOD_MESSAGE_WORKER_STUCK : VFIOD_MESSAGE_QUARANTINED,
            c, message ?: "Quarantined");
}
