/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/broker/audit.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/local-time.h"
#include "base/log.h"
#include "base/rate-limit.h"
#include "base/str.h"
#include "base/user-name.h"

/* Grants are counted apart from refusals: a caller that was refused often enough must not get a device
 * unlogged. */
#define GRANTS_PER_USER 20U
#define GRANTS_MAX 600U
#define REFUSALS_PER_USER 5U
#define REFUSALS_MAX 60U
#define USERS_TOLD_MAX 8U /* named at the end of a window; the others are summed up */

/* Hashes of the grants that have a line of their own in this window: "this user got this device by this
 * rule". A table with open addressing; 0 is free. */
typedef struct Named {
    uint64_t *slots; /* owned */
    size_t n, size;  /* size: a power of two, or 0 */
} Named;

struct Audit {
    sd_event *event;
    Named named;
    uint64_t window_usec;
    sd_event_source *window; /* enabled while lines of the current window are counted */
    RateLimit grants, refusals, cuts, differences;
};

static void tell_suppressed(RateLimit *l, const char *what) {
    RateLimitEntry *worst;
    unsigned users;
    uint64_t rest;

    for (unsigned i = 0; i < USERS_TOLD_MAX && (worst = rate_limit_worst(l)); i++) {
        log_notice("%" PRIu64 " more %s of %s in the last minute were not logged", worst->suppressed, what,
                USER_TEXT(worst->key));
        worst->suppressed = 0;
    }
    rest = rate_limit_rest(l, &users);
    if (rest > 0)
        log_notice("%" PRIu64 " more %s of %u or more other users in the last minute were not logged", rest,
                what, users);
    rate_limit_restart(l);
}

static uint64_t hash_bytes(uint64_t hash, const void *data, size_t size) {
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ ((const uint8_t *) data)[i]) * UINT64_C(1099511628211); /* FNV-1a */
    return hash;
}

static uint64_t *named_slot(const Named *s, uint64_t key) {
    size_t i = key & (s->size - 1);

    while (s->slots[i] != 0 && s->slots[i] != key)
        i = (i + 1) & (s->size - 1);
    return &s->slots[i];
}

static int named_grow(Named *s) {
    Named larger = {.n = s->n, .size = MAX(s->size * 2, (size_t) 64)};

    if (s->n * 2 < s->size)
        return 0;
    larger.slots = calloc(larger.size, sizeof(*larger.slots));
    if (!larger.slots)
        return -ENOMEM;
    for (size_t i = 0; i < s->size; i++)
        if (s->slots[i] != 0)
            *named_slot(&larger, s->slots[i]) = s->slots[i];
    free(s->slots);
    *s = larger;
    return 0;
}

static void named_done(Named *s) {
    free(s->slots);
    *s = (Named){};
}

/* Is it new in this window? Without memory everything is. */
static bool named_add(Named *s, uint64_t key) {
    uint64_t *slot;

    if (named_grow(s) < 0)
        return true;
    slot = named_slot(s, key);
    if (*slot == key)
        return false;
    *slot = key;
    s->n++;
    return true;
}

static void end_window(Audit *a) {
    named_done(&a->named);
    tell_suppressed(&a->grants, "grants and ends of claims");
    tell_suppressed(&a->refusals, "refusals");
    tell_suppressed(&a->cuts, "closed connections");
    tell_suppressed(&a->differences, "differences of the shadow policy");
    a->window = sd_event_source_disable_unref(a->window);
}

static int on_window_over(sd_event_source *s, uint64_t usec, void *userdata) {
    end_window(userdata);
    return 0;
}

Audit *audit_free(Audit *a) {
    if (!a)
        return NULL;
    end_window(a);
    sd_event_unref(a->event);
    free(a);
    return NULL;
}

int audit_new(sd_event *event, uint64_t window_usec, Audit **ret) {
    Audit *a = malloc(sizeof(*a));

    if (!a)
        return -ENOMEM;
    *a = (Audit){
            .event = sd_event_ref(event),
            .window_usec = window_usec,
            .grants = {.per_key = GRANTS_PER_USER, .in_all = GRANTS_MAX},
            .refusals = {.per_key = REFUSALS_PER_USER, .in_all = REFUSALS_MAX},
            .cuts = {.per_key = REFUSALS_PER_USER, .in_all = REFUSALS_MAX},
            .differences = {.per_key = REFUSALS_PER_USER, .in_all = REFUSALS_MAX},
    };
    *ret = a;
    return 0;
}

/* Is a window open, in which lines are counted? Without a timer to end it, nothing would ever be written
 * again, or too much would. */
static bool open_window(Audit *a) {
    return a->window ||
            sd_event_add_time_relative(
                    a->event, &a->window, CLOCK_MONOTONIC, a->window_usec, 0, on_window_over, a) >= 0;
}

static bool admit(Audit *a, RateLimit *l, uid_t uid) {
    return open_window(a) && rate_limit_admit(l, uid);
}

/* Only repetitions are limited. Otherwise a user could claim one device until the lines of this minute are
 * used up, and then get another one unlogged. */
static bool admit_grant(Audit *a, const Claim *c) {
    bool news = false;

    if (!open_window(a))
        return true;
    for (size_t i = 0; i < c->plan.n_claimed; i++) {
        char device[DEVICE_NAME_MAX];
        uint64_t key = UINT64_C(14695981039346656037);

        key = hash_bytes(key, &c->uid, sizeof(c->uid));
        device_name_format(&c->plan.members[i].name, device);
        key = hash_bytes(key, device, strlen(device) + 1);
        key = hash_bytes(key, c->plan.rule, strlen(c->plan.rule));
        if (named_add(&a->named, key ?: 1))
            news = true;
    }
    return news || rate_limit_admit(&a->grants, c->uid);
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
    const PlanMember *members = c->plan.members;

    return join_devices(members ? &members->name : NULL, c->plan.n_claimed, sizeof(*members));
}

/* "mac=52:54:00:12:34:56,vlan=12 (pci:0000:06:10.0)"; NULL: the claim sets none, or ENOMEM. */
static char *claim_network(const Claim *c) {
    _cleanup_strbuf_ StrBuf b = {};
    char network[VF_NETWORK_TEXT_MAX], name[DEVICE_NAME_MAX];

    for (size_t i = 0; i < c->plan.n_claimed; i++) {
        const PlanMember *m = &c->plan.members[i];

        if (m->network.has != 0)
            strbuf_addf(&b, "%s%s (%s)", b.length > 0 ? ", " : "", vf_network_format(&m->network, network),
                    device_name_format(&m->name, name));
    }
    return b.length > 0 ? strbuf_steal(&b) : NULL;
}

/* For devices that are joining or leaving a claim: that claim. */
static const char *shown_id(const Claim *c) {
    return c->of[0] ? c->of : c->id;
}

/* "user=host pid=other" */
#define NAMESPACES_MAX 32U

static const char *describe_namespaces(const Subject *s, char buf[static NAMESPACES_MAX]) {
    (void) snprintf(buf, NAMESPACES_MAX, "user=%s pid=%s", namespace_kind_to_string(s->user_namespace),
            namespace_kind_to_string(s->pid_namespace));
    return buf;
}

/* For a claim from before a restart, little more than the uid may be known. */
static const char *describe_owner(const Claim *c, char buf[static SUBJECT_DESCRIPTION_MAX]) {
    Subject s = c->subject;

    s.uid = c->uid;
    return subject_describe(&s, buf);
}

static void record_claim(int level, const char *message_id, const Claim *c, const char *message) {
    _cleanup_free_ char *devices = claim_devices(c), *network = claim_network(c);
    char uid[16], pid[16], namespaces[NAMESPACES_MAX];

    (void) snprintf(uid, sizeof(uid), "%u", (unsigned) c->uid);
    (void) snprintf(pid, sizeof(pid), "%d", (int) c->pid);
    log_record(level, message_id, message, "VFIOD_CLAIM", shown_id(c), "VFIOD_DEVICES", devices, "VFIOD_UID",
            uid, "VFIOD_PID", pid, "VFIOD_UNIT", c->unit, "VFIOD_CGROUP", c->subject.cgroup, "VFIOD_COMMAND",
            c->command, "VFIOD_FACE", subject_face_to_string(c->subject.face), "VFIOD_SCOPE",
            c->subject.scope, "VFIOD_NAMESPACES", describe_namespaces(&c->subject, namespaces),
            "VFIOD_BACKEND", backend_to_string(c->plan.backend), "VFIOD_TETHER",
            tether_kind_to_string(c->plan.tether), "VFIOD_COOKIE", c->cookie[0] ? c->cookie : NULL,
            "VFIOD_RULE", c->plan.rule, "VFIOD_REASON", c->reason, "VFIOD_NETWORK", network, NULL);
}

void audit_reserved(Audit *a, const Claim *c, const Subject *by) {
    _cleanup_free_ char *devices = NULL, *message = NULL;
    char who[SUBJECT_DESCRIPTION_MAX];

    if (!admit_grant(a, c))
        return;
    devices = claim_devices(c);
    message = format_string("Claim %s: %s reserved %s for %s until %s by rule %s%s", c->id,
            subject_describe(by, who), devices ?: "?", USER_TEXT(c->uid), LOCAL_TIME(c->until_usec),
            c->plan.rule, c->plan.ask ? ", authenticated through polkit" : "");
    record_claim(LOG_INFO, VFIOD_MESSAGE_RESERVED, c, message ?: "A device is reserved");
}

static char *describe_end(const Claim *c) {
    if (c->of[0])
        return format_string("Claim %s of %s gave devices back, they are restored", c->of, USER_TEXT(c->uid));
    if (c->ticket[0])
        return format_string("Claim %s: the reservation for %s ended and was not redeemed (%s)", c->id,
                USER_TEXT(c->uid),
                c->refusal.code == VFIOD_ERROR_TIMED_OUT             ? "expired"
                        : c->refusal.code == VFIOD_ERROR_DEVICE_GONE ? "the device has gone"
                                                                     : "cancelled");
    return format_string("Claim %s of %s ended, its devices are restored", c->id, USER_TEXT(c->uid));
}

void audit_granted(Audit *a, const Claim *c) {
    _cleanup_free_ char *devices = NULL, *network = NULL, *message = NULL;
    char who[SUBJECT_DESCRIPTION_MAX];

    if (!admit_grant(a, c))
        return;
    devices = claim_devices(c);
    network = claim_network(c);
    message = format_string("Claim %s: %s got %s (%s) by rule %s%s%s%s", shown_id(c), describe_owner(c, who),
            devices ?: "?", backend_to_string(c->plan.backend), c->plan.rule,
            c->plan.ask ? ", authenticated through polkit" : "", network ? ", network " : "", network ?: "");
    record_claim(LOG_INFO, VFIOD_MESSAGE_CLAIM_GRANTED, c, message ?: "Claim granted");
}

void audit_refused(Audit *a, const Subject *subject, const Request *request, const Refusal *refusal) {
    _cleanup_free_ char *devices = NULL, *text = NULL, *message = NULL;
    char uid[16], pid[16], namespaces[NAMESPACES_MAX], who[SUBJECT_DESCRIPTION_MAX];
    char network[VF_NETWORK_TEXT_MAX];

    if (!admit(a, &a->refusals, subject->uid))
        return;
    (void) vf_network_format(&request->network, network);
    devices = join_devices(request->devices, request->n_devices, sizeof(request->devices[0]));
    text = refusal_format(refusal);
    message = format_string("Refused %s (%s): %s", subject_describe(subject, who),
            error_info(refusal->code)->name, text ?: "");
    (void) snprintf(uid, sizeof(uid), "%u", (unsigned) subject->uid);
    (void) snprintf(pid, sizeof(pid), "%d", (int) subject->pid);
    log_record(LOG_NOTICE, VFIOD_MESSAGE_CLAIM_REFUSED, message ?: "Refused", "VFIOD_ERROR",
            error_info(refusal->code)->name, "VFIOD_DEVICES", devices, "VFIOD_UID", uid, "VFIOD_PID", pid,
            "VFIOD_UNIT", subject->unit, "VFIOD_CGROUP", subject->cgroup, "VFIOD_COMMAND", subject->command,
            "VFIOD_FACE", subject_face_to_string(subject->face), "VFIOD_SCOPE", subject->scope,
            "VFIOD_NAMESPACES", describe_namespaces(subject, namespaces), "VFIOD_RULE", refusal->rule,
            "VFIOD_REASON", request->reason, "VFIOD_NETWORK", request->network.has ? network : NULL, NULL);
}

void audit_cut_off(Audit *a, uid_t uid, const char *why) {
    if (admit(a, &a->cuts, uid))
        log_notice("Closed a connection of %s: %s", USER_TEXT(uid), why);
}

void audit_failed(Audit *a, const Claim *c) {
    _cleanup_free_ char *text = NULL, *message = NULL;

    if (!admit(a, &a->refusals, c->uid))
        return;
    text = refusal_format(&c->refusal);
    message = format_string("Claim %s of %s failed (%s): %s", c->id, USER_TEXT(c->uid),
            error_info(c->refusal.code)->name, text ?: "");
    record_claim(LOG_WARNING, VFIOD_MESSAGE_CLAIM_REFUSED, c, message ?: "Claim failed");
}

void audit_transferred(Audit *a, const Claim *c, const Subject *by) {
    _cleanup_free_ char *message = NULL;
    char who[SUBJECT_DESCRIPTION_MAX];

    if (!admit(a, &a->grants, c->uid))
        return;
    message = format_string(
            "Claim %s of %s moves to another holder: tether %s (before: %s), for process %d of %s", c->id,
            USER_TEXT(c->uid), tether_kind_to_string(c->plan.tether),
            tether_kind_to_string(c->previous_tether), (int) by->pid, subject_describe(by, who));
    record_claim(LOG_INFO, VFIOD_MESSAGE_CLAIM_MOVED, c, message ?: "Claim moves");
}

void audit_ended(Audit *a, const Claim *c) {
    _cleanup_free_ char *message = NULL;

    if (!admit(a, &a->grants, c->uid))
        return;
    message = describe_end(c);
    record_claim(LOG_INFO, VFIOD_MESSAGE_CLAIM_ENDED, c, message ?: "Claim ended");
}

void audit_shadow(Audit *a, const Subject *subject, const DeviceName *device, const Verdict *real,
        const Verdict *shadow) {
    const char *rule = real->rule ? rule_origin(real->rule) : "no rule";
    const char *shadow_rule = shadow->rule ? rule_origin(shadow->rule) : "no rule";
    char name[DEVICE_NAME_MAX], uid[16], who[SUBJECT_DESCRIPTION_MAX];
    _cleanup_free_ char *message = NULL;

    if (!admit(a, &a->differences, subject->uid))
        return;
    device_name_format(device, name);
    message = format_string("%s for %s: the policy decides %s (%s), the shadow policy %s (%s)", name,
            subject_describe(subject, who), effect_to_string(real->effect), rule,
            effect_to_string(shadow->effect), shadow_rule);
    (void) snprintf(uid, sizeof(uid), "%u", (unsigned) subject->uid);
    log_record(LOG_NOTICE, VFIOD_MESSAGE_SHADOW_DIFFERS, message ?: "The shadow policy differs",
            "VFIOD_DEVICES", name, "VFIOD_UID", uid, "VFIOD_UNIT", subject->unit, "VFIOD_RULE", rule,
            "VFIOD_SHADOW_RULE", shadow_rule, "VFIOD_EFFECT", effect_to_string(real->effect),
            "VFIOD_SHADOW_EFFECT", effect_to_string(shadow->effect), NULL);
}

static void record_operator(
        const Subject *by, const char *action, const Claim *c, const char *devices, const char *message) {
    char uid[16], pid[16], owner[16] = "";

    (void) snprintf(uid, sizeof(uid), "%u", (unsigned) by->uid);
    (void) snprintf(pid, sizeof(pid), "%d", (int) by->pid);
    if (c)
        (void) snprintf(owner, sizeof(owner), "%u", (unsigned) c->uid);
    log_record(LOG_NOTICE, VFIOD_MESSAGE_OPERATOR, message, "VFIOD_ACTION", action, "VFIOD_UID", uid,
            "VFIOD_PID", pid, "VFIOD_UNIT", by->unit, "VFIOD_CGROUP", by->cgroup, "VFIOD_COMMAND",
            by->command, "VFIOD_FACE", subject_face_to_string(by->face), "VFIOD_SCOPE", by->scope,
            "VFIOD_CLAIM", c ? c->id : NULL, "VFIOD_DEVICES", devices, "VFIOD_CLAIM_UID", c ? owner : NULL,
            NULL);
}

void audit_released(const Claim *c, const Subject *by) {
    _cleanup_free_ char *devices = claim_devices(c), *message = NULL;
    bool quarantined = c->state == CLAIM_QUARANTINED;
    char who[SUBJECT_DESCRIPTION_MAX];

    if (!quarantined && by->uid == c->uid)
        return;
    message = format_string("%s %s claim %s of %s: %s", subject_describe(by, who),
            quarantined ? "lifted the quarantine of" : "released", c->id, USER_TEXT(c->uid), devices ?: "?");
    record_operator(by, quarantined ? "lift-quarantine" : "release", c, devices, message ?: "Claim released");
}

void audit_quarantine_ends(const Claim *c, const char *reason, const Subject *by) {
    _cleanup_free_ char *devices = claim_devices(c), *message = NULL;
    char who[SUBJECT_DESCRIPTION_MAX];

    message = reason ? format_string("%s cleared the quarantine of claim %s of %s, because %s: %s",
                               subject_describe(by, who), c->id, USER_TEXT(c->uid), reason, devices ?: "?")
                     : format_string("%s has claim %s of %s reset and restored again: %s",
                               subject_describe(by, who), c->id, USER_TEXT(c->uid), devices ?: "?");
    record_operator(
            by, reason ? "clear-quarantine" : "retry-quarantine", c, devices, message ?: "A quarantine ends");
}

void audit_evicted(const Claim *c, const Subject *by) {
    _cleanup_free_ char *devices = claim_devices(c), *message = NULL;
    bool ends = c->eviction.state == EVICTION_NONE;
    char who[SUBJECT_DESCRIPTION_MAX];
    const char *reason = c->eviction.reason;

    message = ends
            ? format_string("%s cancelled the eviction of claim %s of %s: %s", subject_describe(by, who),
                      c->id, USER_TEXT(c->uid), devices ?: "?")
            : format_string("%s asked for claim %s of %s to be given back by %s%s%s: %s",
                      subject_describe(by, who), c->id, USER_TEXT(c->uid), LOCAL_TIME(c->eviction.at_usec),
                      *reason ? ", because " : "", reason, devices ?: "?");
    record_operator(by, ends ? "cancel-eviction" : "evict", c, devices, message ?: "A claim is evicted");
}

void audit_eviction_answered(Audit *a, const Claim *c, uint64_t more_sec) {
    _cleanup_free_ char *message = NULL;

    if (!admit(a, &a->grants, c->uid))
        return;
    message = format_string("Claim %s of %s will be given back until %s (%" PRIu64 " s more)", c->id,
            USER_TEXT(c->uid), LOCAL_TIME(c->eviction.at_usec), more_sec);
    record_claim(LOG_INFO, VFIOD_MESSAGE_EVICTION, c, message ?: "An eviction is answered");
}

void audit_eviction_enforced(const Claim *c) {
    _cleanup_free_ char *devices = claim_devices(c), *message = NULL;

    message = format_string("Claim %s of %s is ended, for it was not given back in time: %s", c->id,
            USER_TEXT(c->uid), devices ?: "?");
    record_claim(LOG_WARNING, VFIOD_MESSAGE_EVICTED, c, message ?: "An overdue claim is ended");
}

void audit_stopped(const Claim *c, const HolderEntry *holder) {
    _cleanup_free_ char *devices = claim_devices(c), *message = NULL;

    message = format_string("Process %d (%s), which keeps devices of claim %s of %s open (%s), was %s: %s",
            (int) holder->pid, holder->command, c->id, USER_TEXT(c->uid), holder->file,
            holder->signal == SIGTERM ? "asked to end (SIGTERM)" : "killed (SIGKILL)", devices ?: "?");
    record_claim(LOG_WARNING, VFIOD_MESSAGE_STOPPED, c, message ?: "A process was stopped");
}

void audit_spared(const Claim *c, const HolderEntry *holder) {
    _cleanup_free_ char *devices = claim_devices(c), *message = NULL;
    const char *why = holder->error == 0 ? "it is not the claim's"
            : holder->error == -EPERM    ? "vfiod lacks CAP_KILL, see PRIVILEGES in vfiod(8)"
                                         : strerror(-holder->error);

    message = format_string(
            "Process %d (%s) keeps devices of claim %s of %s open (%s), and is not stopped: %s: %s",
            (int) holder->pid, holder->command, c->id, USER_TEXT(c->uid), holder->file, why, devices ?: "?");
    record_claim(LOG_WARNING, VFIOD_MESSAGE_STOPPED, c, message ?: "A process is not stopped");
}

void audit_preempted(Audit *a, const Claim *c, uid_t waiter) {
    _cleanup_free_ char *devices = NULL, *message = NULL;

    if (!admit(a, &a->grants, waiter))
        return;
    devices = claim_devices(c);
    message = c->eviction.state == EVICTION_NONE
            ? format_string("Claim %s of %s can stay: no request of a higher priority waits for it: %s",
                      c->id, USER_TEXT(c->uid), devices ?: "?")
            : format_string("Claim %s of %s gives way to a request of a higher priority, process %d (%s) has "
                            "until %s: %s",
                      c->id, USER_TEXT(c->uid), (int) c->pid, c->command ?: "?",
                      LOCAL_TIME(c->eviction.at_usec), devices ?: "?");
    record_claim(LOG_NOTICE, VFIOD_MESSAGE_PREEMPTED, c, message ?: "A claim gives way");
}

void audit_deadline(const Claim *c) {
    _cleanup_free_ char *devices = claim_devices(c), *message = NULL;

    message = format_string("The time of claim %s of %s is over, process %d (%s) has until %s: %s", c->id,
            USER_TEXT(c->uid), (int) c->pid, c->command ?: "?", LOCAL_TIME(c->eviction.at_usec),
            devices ?: "?");
    record_claim(LOG_NOTICE, VFIOD_MESSAGE_DEADLINE, c, message ?: "The time of a claim is over");
}

void audit_eviction_overdue(const Claim *c) {
    _cleanup_free_ char *devices = claim_devices(c), *message = NULL;

    message = format_string("Claim %s of %s is overdue: process %d (%s) has not given it back: %s", c->id,
            USER_TEXT(c->uid), (int) c->pid, c->command ?: "?", devices ?: "?");
    record_claim(LOG_WARNING, VFIOD_MESSAGE_EVICTION, c, message ?: "A claim is overdue");
}

void audit_sibling(const Claim *c, const DeviceName *device, int group, const char *driver) {
    _cleanup_free_ char *message = NULL;
    char name[DEVICE_NAME_MAX];

    (void) device_name_format(device, name);
    message = driver
            ? format_string("Claim %s of %s: the driver %s took %s, a sibling in IOMMU group %d. While it "
                            "has the device, the kernel refuses each program that attaches devices of the "
                            "group. Unbind the driver, or release the claim.",
                      c->id, USER_TEXT(c->uid), driver, name, group)
            : format_string("Claim %s of %s: %s appeared in IOMMU group %d. It stays without a driver "
                            "until the claim ends.",
                      c->id, USER_TEXT(c->uid), name, group);
    log_record(driver ? LOG_WARNING : LOG_NOTICE,
            driver ? VFIOD_MESSAGE_SIBLING_TAKEN : VFIOD_MESSAGE_SIBLING_CAME,
            message ?: "A sibling appeared", "VFIOD_CLAIM", c->id, "VFIOD_DEVICES", name, "VFIOD_DRIVER",
            driver, NULL);
}

void audit_looked(const DeviceName *device, const Subject *by) {
    char who[SUBJECT_DESCRIPTION_MAX], name[DEVICE_NAME_MAX];
    _cleanup_free_ char *message = NULL;

    message = format_string("%s has %s opened to learn what it can do", subject_describe(by, who),
            device_name_format(device, name));
    record_operator(by, "probe", NULL, name, message ?: "A device is opened to learn what it can do");
}

void audit_reload(const Subject *by) {
    _cleanup_free_ char *message = NULL;
    char who[SUBJECT_DESCRIPTION_MAX];

    message = format_string("%s reloads the policy", subject_describe(by, who));
    record_operator(by, "reload", NULL, NULL, message ?: "The policy is reloaded");
}

void audit_vf_count(const Subject *by, const DeviceName *device, uint32_t count) {
    char name[DEVICE_NAME_MAX], who[SUBJECT_DESCRIPTION_MAX];
    _cleanup_free_ char *message = NULL;

    message = format_string("%s changes the number of virtual functions of %s to %" PRIu32,
            subject_describe(by, who), device_name_format(device, name), count);
    record_operator(
            by, "set-virtual-functions", NULL, name, message ?: "The number of virtual functions is changed");
}

void audit_stuck(const WorkerStuck *stuck, bool returned) {
    const char *step = stuck->step < 0 ? NULL : driver_step_to_string(stuck->step);
    char device[DEVICE_NAME_MAX] = "", pid[16], seconds[24];
    _cleanup_free_ char *what = NULL, *message = NULL, *stack = kernel_stack_format(&stuck->stack);
    uint64_t now = clock_usec(CLOCK_REALTIME);
    bool known = stack && *stack && !returned;

    if (stuck->has_device)
        device_name_format(&stuck->device, device);
    (void) snprintf(pid, sizeof(pid), "%d", (int) stuck->pid);
    (void) snprintf(seconds, sizeof(seconds), "%" PRIu64,
            now > stuck->since_usec ? (now - stuck->since_usec) / 1000000 : 0);
    what = format_string("%s%s%s%s%s", worker_operation_to_string(stuck->operation), step ? ": " : "",
            step ?: "", *device ? ", " : "", device);
    message = returned ? format_string("Worker %s has returned from the kernel after %s s (%s)", pid, seconds,
                                 what ?: "?")
                       : format_string("Worker %s has been stuck in the kernel for %s s (%s)%s%s", pid,
                                 seconds, what ?: "?", known ? ": " : "", known ? stack : "");
    log_record(returned ? LOG_NOTICE : LOG_WARNING,
            returned ? VFIOD_MESSAGE_WORKER_RETURNED : VFIOD_MESSAGE_WORKER_HANGS,
            message ?: "A worker is stuck", "VFIOD_WORKER", pid, "VFIOD_OPERATION",
            worker_operation_to_string(stuck->operation), "VFIOD_STEP", step, "VFIOD_DEVICES",
            *device ? device : NULL, "VFIOD_STACK", known ? stack : NULL, NULL);
}

void audit_quarantined(Audit *a, const Claim *c) {
    _cleanup_free_ char *text = refusal_format(&c->refusal), *message = NULL;

    message = format_string(
            "Claim %s of %s: its devices are in quarantine: %s", c->id, USER_TEXT(c->uid), text ?: "?");
    record_claim(LOG_ERR,
            c->refusal.code == VFIOD_ERROR_TIMED_OUT ? VFIOD_MESSAGE_WORKER_STUCK : VFIOD_MESSAGE_QUARANTINED,
            c, message ?: "Quarantined");
}
