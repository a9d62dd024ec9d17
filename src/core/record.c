/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/record.h"

#include "base/str.h"
#include "core/device-kind.h"
#include "core/document.h"
#include "core/queue.h"

/* The tables are open. An unknown member comes from a newer version, which would have changed the version of
 * the record if it mattered. A value is checked as far as later code relies on it: drivers become parts of
 * paths, texts go to the bus, loops have bounds. */

DEFINE_FIELD_WORDS(backend, _BACKEND_MAX, "a backend");
DEFINE_FIELD_WORDS(claim_state, _CLAIM_STATE_MAX, "the state of a claim");
DEFINE_FIELD_WORDS(eviction_cause, _EVICTION_CAUSE_MAX, "the cause of an eviction");
DEFINE_FIELD_WORDS(stop_state, _STOP_STATE_MAX, "how far a stop is");
DEFINE_FIELD_WORDS(eviction_state, _EVICTION_STATE_MAX, "the state of an eviction");
DEFINE_FIELD_WORDS(disposition, _DISPOSITION_MAX, "a disposition");
DEFINE_FIELD_WORDS(grant_kind, _GRANT_KIND_MAX, "a grant");
DEFINE_FIELD_WORDS(member_failure, _MEMBER_FAILURE_MAX, "a reason for a quarantine");
DEFINE_FIELD_WORDS(member_progress, _MEMBER_PROGRESS_MAX, "the progress of a member");
DEFINE_FIELD_WORDS(namespace_kind, _NAMESPACE_KIND_MAX, "a kind of namespace");
DEFINE_FIELD_WORDS(reset_demand, _RESET_DEMAND_MAX, "a demand for resets");
DEFINE_FIELD_WORDS(subject_face, _SUBJECT_FACE_MAX, "a face");
DEFINE_FIELD_WORDS(reset_method, _RESET_METHOD_MAX, "a reset method");
DEFINE_FIELD_WORDS(tether_kind, _TETHER_KIND_MAX, "a tether");

/* ---- Members ---- */

static bool is_driver_name(const char *s) {
    return !strchr(s, '/') && !streq(s, ".") && !streq(s, "..");
}

static bool has_member(const JsonNode *object, const char *key) {
    for (const JsonNode *m = object->children; m; m = m->next)
        if (streq(m->key, key))
            return true;
    return false;
}

/* "0123abcd-…", in the form that the kernel reads. */
static bool uuid_is_valid(const char *s) {
    static const char form[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";

    for (size_t i = 0; i < sizeof(form); i++)
        if (form[i] == 'x' ? !s[i] || !strchr("0123456789abcdef", s[i]) : s[i] != form[i])
            return false;
    return true;
}

static int check_member(FieldReader *r, const JsonNode *object, void *target) {
    PlanMember *m = target;

    /* An older daemon did not record it, so anything may have been done. */
    if (!has_member(object, "progress"))
        m->progress = plan_member_is_changed(m) ? MEMBER_BOUND : MEMBER_NOT_BEGUN;
    if (m->disposition == DISPOSITION_REFUSE)
        return fields_fail(r, object, "no claim has a member that is refused");
    if (m->bind && !m->target_driver[0])
        return fields_fail(r, object, "bound to no driver");
    if (m->kept && (m->bind || !streq(m->target_driver, OVERRIDE_PARKED) || m->original_driver[0]))
        return fields_fail(r, object, "not a sibling without a driver");
    if (m->name.kind == DEVICE_KIND_TEMPLATE && !plan_member_is_made(m))
        return fields_fail(r, object, "a template of no type");
    if (plan_member_is_made(m) &&
            ((m->name.kind != DEVICE_KIND_MDEV && m->name.kind != DEVICE_KIND_TEMPLATE) ||
                    !mdev_name_is_safe(m->made.type) || !mdev_name_is_safe(m->made.parent)))
        return fields_fail(r, object, "not a mediated device of a parent and a type");
    if (m->vf_token[0] && !uuid_is_valid(m->vf_token))
        return fields_fail(r, object, "not a token");
    if (m->module[0] && !driver_name_is_valid(m->module))
        return fields_fail(r, object, "not the name of a module");
    if (!is_driver_name(m->target_driver) || !is_driver_name(m->original_driver))
        return fields_fail(r, object, "not the name of a driver");
    return 0;
}

static int read_mac(FieldReader *r, const JsonNode *value, void *place) {
    return mac_parse(value->string, place) < 0 ? fields_fail(r, value, "not a MAC address") : 0;
}

static void write_mac(StrBuf *b, const void *place) {
    char text[MAC_TEXT_MAX];

    strbuf_add_json(b, mac_format(place, text));
}

static const Field network_fields[] = {
        FIELD_CUSTOM("mac", VfNetwork, mac, JSON_STRING, read_mac, write_mac, .fact = 1U << VF_MAC),
        FIELD_NUMBER("vlan", VfNetwork, vlan, 0, UINT16_MAX, .fact = 1U << VF_VLAN),
        FIELD_NUMBER("vlanQos", VfNetwork, qos, 1, UINT8_MAX, .flags = FIELD_OMIT),
        FIELD_NUMBER("vlanProtocol", VfNetwork, protocol, 1, UINT16_MAX, .flags = FIELD_OMIT),
        FIELD_BOOLEAN("spoofchk", VfNetwork, spoofchk, .fact = 1U << VF_SPOOFCHK),
        FIELD_BOOLEAN("trust", VfNetwork, trust, .fact = 1U << VF_TRUST),
};
static const FieldTable network_table =
        FIELD_TABLE(network_fields, .open = true, .facts = offsetof(VfNetwork, has));

static const Field member_fields[] = {
        FIELD_CUSTOM("name", PlanMember, name, JSON_STRING, document_read_name, document_write_name,
                .flags = FIELD_REQUIRED),
        FIELD_NUMBER("group", PlanMember, group, -1, INT32_MAX, .flags = FIELD_REQUIRED),
        FIELD_WORD("disposition", PlanMember, disposition, &disposition_words, .flags = FIELD_REQUIRED),
        FIELD_NUMBER("vendor", PlanMember, vendor, 0, UINT16_MAX, .flags = FIELD_REQUIRED),
        FIELD_NUMBER("product", PlanMember, device, 0, UINT16_MAX, .flags = FIELD_REQUIRED),
        FIELD_NUMBER("identity", PlanMember, identity, 1, DEVICE_IDENTITY_MAX, .flags = FIELD_OMIT),
        FIELD_BOOLEAN("bind", PlanMember, bind, .flags = FIELD_REQUIRED),
        FIELD_BOOLEAN("native", PlanMember, native, .flags = FIELD_OMIT),
        FIELD_BOOLEAN("kept", PlanMember, kept, .flags = FIELD_OMIT),
        FIELD_BOOLEAN("came", PlanMember, came, .flags = FIELD_OMIT),
        FIELD_TEXT("targetDriver", PlanMember, target_driver, .flags = FIELD_REQUIRED),
        FIELD_TEXT("originalDriver", PlanMember, original_driver, .flags = FIELD_REQUIRED),
        FIELD_TEXT("originalOverride", PlanMember, original_override, .flags = FIELD_REQUIRED),
        FIELD_BOOLEAN("reset", PlanMember, reset, .flags = FIELD_REQUIRED),
        FIELD_WORDS("resetMethods", PlanMember, reset_methods, &reset_method_words, .flags = FIELD_REQUIRED),
        FIELD_NUMBER("enableBaseline", PlanMember, enable_baseline, 0, INT32_MAX, .flags = FIELD_REQUIRED),
        FIELD_WORD("progress", PlanMember, progress, &member_progress_words),
        FIELD_WORD("failure", PlanMember, failure, &member_failure_words, .flags = FIELD_OMIT),
        FIELD_NUMBER("latePid", PlanMember, late.pid, 1, INT32_MAX, .flags = FIELD_OMIT),
        FIELD_NUMBER("lateStarted", PlanMember, late.started, 1, INT64_MAX, .flags = FIELD_OMIT),
        FIELD_NUMBER("lateSince", PlanMember, late.since_usec, 1, INT64_MAX, .flags = FIELD_OMIT),
        FIELD_TEXT("lateOperation", PlanMember, late.operation, .flags = FIELD_OMIT),
        FIELD_TEXT("lateStep", PlanMember, late.step, .flags = FIELD_OMIT),
        FIELD_BOOLEAN("restoreD3cold", PlanMember, restore_d3cold, .flags = FIELD_OMIT),
        FIELD_WORD("lost", PlanMember, lost, &member_failure_words, .flags = FIELD_OMIT),
        FIELD_TEXT("lostSeen", PlanMember, lost_seen, .flags = FIELD_OMIT),
        FIELD_BOOLEAN("leaving", PlanMember, leaving, .flags = FIELD_OMIT),
        FIELD_OBJECT("network", PlanMember, network, &network_table, .flags = FIELD_OMIT),
        FIELD_BOOLEAN("needsVfToken", PlanMember, needs_vf_token, .flags = FIELD_OMIT),
        FIELD_TEXT("vfToken", PlanMember, vf_token, .flags = FIELD_OMIT),
        FIELD_BOOLEAN("vfTokenSet", PlanMember, vf_token_set, .flags = FIELD_OMIT),
        FIELD_OBJECT("networkBefore", PlanMember, network_before, &network_table, .flags = FIELD_OMIT),
        FIELD_TEXT("parent", PlanMember, made.parent, .flags = FIELD_OMIT),
        FIELD_TEXT("mediatedType", PlanMember, made.type, .flags = FIELD_OMIT),
        FIELD_TEXT("template", PlanMember, made.template, .flags = FIELD_OMIT),
        FIELD_TEXT("module", PlanMember, module, .flags = FIELD_OMIT),
        FIELD_TEXT("scrub", PlanMember, scrub, .flags = FIELD_OMIT),
        FIELD_NUMBER("charge", PlanMember, charge, 1, PLAN_RULES_MAX, .flags = FIELD_OMIT),
};
static const FieldTable member_table = FIELD_TABLE(member_fields, .open = true, .check = check_member);

/* ---- The plan ---- */

static const Field charge_fields[] = {
        FIELD_TEXT("rule", PlanCharge, rule, .flags = FIELD_REQUIRED),
        FIELD_NUMBER("devices", PlanCharge, devices, 1, PLAN_MEMBERS_MAX, .flags = FIELD_REQUIRED),
};
static const FieldTable charge_table = FIELD_TABLE(charge_fields, .open = true);

static const Field group_number = {.kind = FIELD_NUMBER, .size = sizeof(int), .max = INT32_MAX};

/* Only a reservation may have a device without a name. */
static bool has_template(const Plan *p) {
    for (size_t i = 0; i < p->n_members; i++)
        if (p->members[i].name.kind == DEVICE_KIND_TEMPLATE)
            return true;
    return false;
}

/* The group of such a device is made with it. */
static bool has_unmade(const Plan *p) {
    for (size_t i = 0; i < p->n_members; i++)
        if (plan_member_is_made(&p->members[i]) && p->members[i].group < 0)
            return true;
    return false;
}

/* Claimed devices come first. All other code relies on this. */
static int count_claimed(FieldReader *r, const JsonNode *object, Plan *p) {
    p->n_claimed = 0;
    for (size_t i = 0; i < p->n_members; i++)
        if (p->members[i].disposition == DISPOSITION_CLAIM && p->n_claimed++ != i)
            return fields_fail(r, object, "a claimed device comes after one that is not");
    if (p->n_claimed == 0 || p->n_claimed > REQUEST_DEVICES_MAX)
        return fields_fail(r, object, "%zu devices are claimed", p->n_claimed);
    return 0;
}

static int check_plan(FieldReader *r, const JsonNode *object, void *target) {
    Plan *p = target;

    if (!backend_has_groups(p->backend) && p->n_groups > 0)
        return fields_fail(r, object, "%zu groups do not fit its backend", p->n_groups);
    for (size_t i = 0; i < p->n_members; i++) {
        if (p->members[i].group < 0 && backend_has_groups(p->backend) && !plan_member_is_made(&p->members[i]))
            return fields_fail(r, object, "a member has no group");
        for (size_t k = 0; k < i; k++)
            if (device_name_compare(&p->members[k].name, &p->members[i].name) == 0)
                return fields_fail(r, object, "a device is named twice");
    }
    return count_claimed(r, object, p);
}

static const Field plan_fields[] = {
        FIELD_WORD("backend", Plan, backend, &backend_words, .flags = FIELD_REQUIRED),
        /* older records have none of these three */
        FIELD_WORD("grant", Plan, grant, &grant_kind_words),
        FIELD_WORD("tether", Plan, tether, &tether_kind_words),
        FIELD_WORDS("tethers", Plan, tethers, &tether_kind_words),
        FIELD_TEXT("rule", Plan, rule, .flags = FIELD_REQUIRED),
        FIELD_BOOLEAN("ask", Plan, ask, .flags = FIELD_REQUIRED),
        FIELD_WORD("resetDemand", Plan, reset, &reset_demand_words, .flags = FIELD_REQUIRED),
        FIELD_NUMBER("memlock", Plan, memlock, 0, INT64_MAX, .flags = FIELD_REQUIRED),
        FIELD_NUMBER("priority", Plan, priority, QUEUE_PRIORITY_MIN, QUEUE_PRIORITY_MAX,
                .flags = FIELD_IF_KNOWN, .known = offsetof(Plan, hold.preemptible)),
        FIELD_NUMBER("sleepDelay", Plan, hold.sleep_delay_sec, 1, SLEEP_DELAY_MAX_SEC, .flags = FIELD_OMIT),
        FIELD_BOOLEAN("d3cold", Plan, hold.d3cold, .flags = FIELD_OMIT),
        FIELD_NUMBER("stopAfter", Plan, hold.stop_after_sec, 1, EVICTION_SEC_MAX, .flags = FIELD_OMIT),
        FIELD_NUMBER("drainTimeout", Plan, hold.drain_timeout_sec, 1, EVICTION_SEC_MAX, .flags = FIELD_OMIT),
        FIELD_NUMBER("maxDuration", Plan, hold.max_duration_sec, 1, DURATION_MAX_SEC, .flags = FIELD_OMIT),
        FIELD_NUMBER("duration", Plan, duration_sec, 1, DURATION_MAX_SEC, .flags = FIELD_OMIT),
        FIELD_NUMBER(
                "evictionDelay", Plan, hold.eviction_delay_sec, 1, EVICTION_SEC_MAX, .flags = FIELD_OMIT),
        FIELD_TEXT("noiommuReason", Plan, noiommu_reason, .flags = FIELD_REQUIRED),
        FIELD_OBJECTS("charges", Plan, charges, n_charges, &charge_table, 0, PLAN_RULES_MAX,
                .flags = FIELD_REQUIRED | FIELD_ALLOCATED),
        FIELD_VALUES(
                "groups", Plan, groups, n_groups, &group_number, 0, PLAN_GROUPS_MAX, .flags = FIELD_REQUIRED),
        FIELD_OBJECTS("members", Plan, members, n_members, &member_table, 1, PLAN_MEMBERS_MAX,
                .flags = FIELD_REQUIRED | FIELD_ALLOCATED),
};
static const FieldTable plan_table = FIELD_TABLE(plan_fields, .open = true, .check = check_plan);

/* Members for readers of a plan, which are not in a record. */
static const Field answer_fields[] = {
        FIELD_STRING("exposes", Plan, exposes, .flags = FIELD_OMIT),
        FIELD_STRING("companions", Plan, companions, .flags = FIELD_OMIT),
        FIELD_STRING("drivers", Plan, drivers, .flags = FIELD_OMIT),
        FIELD_STRING("resets", Plan, resets, .flags = FIELD_OMIT),
};
static const FieldTable answer_table = FIELD_TABLE(answer_fields, .open = true);

char *plan_to_text(const Plan *p) {
    _cleanup_strbuf_ StrBuf b = {};

    strbuf_add(&b, "{");
    fields_write_members(&b, &plan_table, p);
    fields_write_members(&b, &answer_table, p);
    strbuf_add(&b, "}");
    return strbuf_steal(&b);
}

struct json_object *plan_to_json(const Plan *p) {
    _cleanup_free_ char *text = plan_to_text(p);

    return text ? json_tokener_parse(text) : NULL;
}

/* ---- The caller: only what the policy looks at; absent means unknown ---- */

static const Field gid_number = {.kind = FIELD_NUMBER, .size = sizeof(gid_t), .max = UINT32_MAX};

static const Field subject_fields[] = {
        FIELD_STRING("unit", Subject, unit, .flags = FIELD_OMIT),
        FIELD_STRING("cgroup", Subject, cgroup, .flags = FIELD_OMIT),
        FIELD_STRING("label", Subject, label, .flags = FIELD_OMIT),
        FIELD_STRING("scope", Subject, scope, .flags = FIELD_OMIT),
        FIELD_WORD("face", Subject, face, &subject_face_words, .flags = FIELD_OMIT),
        /* 64 bits, of which the highest would be the sign */
        FIELD_NUMBER("capabilities", Subject, capabilities, INT64_MIN, INT64_MAX, .flags = FIELD_IF_KNOWN,
                .known = offsetof(Subject, capabilities_known)),
        FIELD_NUMBER("capabilitiesUnsure", Subject, capabilities_unsure, INT64_MIN, INT64_MAX,
                .flags = FIELD_IF_KNOWN, .known = offsetof(Subject, capabilities_known)),
        FIELD_VALUES("gids", Subject, gids, n_gids, &gid_number, 0, SUBJECT_COPY_GROUPS_MAX,
                .flags = FIELD_REQUIRED | FIELD_ALLOCATED),
        FIELD_WORD("userNamespace", Subject, user_namespace, &namespace_kind_words, .flags = FIELD_REQUIRED),
        FIELD_WORD("pidNamespace", Subject, pid_namespace, &namespace_kind_words, .flags = FIELD_REQUIRED),
};
static const FieldTable subject_table = FIELD_TABLE(subject_fields, .open = true);

/* ---- Nodes that the client opens by itself ---- */

static int read_acl(FieldReader *r, const JsonNode *value, void *place) {
    return acl_parse(value->string, place) < 0 ? fields_fail(r, value, "not an access control list") : 0;
}

static void write_acl(StrBuf *b, const void *place) {
    char text[ACL_TEXT_MAX];

    strbuf_add_json(b, acl_format(place, text));
}

static int check_node(FieldReader *r, const JsonNode *object, void *target) {
    const ClaimNode *n = target;

    return claim_node_path_is_valid(n->path) ? 0 : fields_fail(r, object, "not the path of a node");
}

static const Field node_fields[] = {
        FIELD_TEXT("path", ClaimNode, path, .flags = FIELD_REQUIRED),
        FIELD_NUMBER("inode", ClaimNode, inode, INT64_MIN, INT64_MAX, .flags = FIELD_REQUIRED),
        FIELD_NUMBER("rdev", ClaimNode, rdev, INT64_MIN, INT64_MAX, .flags = FIELD_REQUIRED),
        FIELD_BOOLEAN("ours", ClaimNode, ours, .flags = FIELD_REQUIRED),
        FIELD_CUSTOM("before", ClaimNode, before, JSON_STRING, read_acl, write_acl, .flags = FIELD_REQUIRED),
};
static const FieldTable node_table = FIELD_TABLE(node_fields, .open = true, .check = check_node);

/* ---- The claim ---- */

static int check_claim(FieldReader *r, const JsonNode *object, void *target) {
    char ticket[REQUEST_TICKET_MAX];
    Claim *c = target;

    if (!claim_id_is_valid(c->id) || (c->of[0] && !claim_id_is_valid(c->of)))
        return fields_fail(r, object, "not the id of a claim");
    if ((c->lifeline[0] && !claim_id_is_valid(c->lifeline)) ||
            (c->moving && !claim_id_is_valid(c->previous_lifeline)))
        return fields_fail(r, object, "not the id of a lifeline");
    if (c->cookie[0] && !cookie_is_valid(c->cookie))
        return fields_fail(r, object, "not a cookie");
    if ((c->state == CLAIM_RESERVED) != (c->ticket[0] != '\0') ||
            (c->ticket[0] && !ticket_is_valid(claim_format_ticket(c, ticket))))
        return fields_fail(r, object, "not a reservation with its ticket");
    if (c->eviction.state != EVICTION_NONE && (c->eviction.at_usec == 0 || c->eviction.deadline_usec == 0))
        return fields_fail(r, object, "an eviction without a time");
    if (c->stop.state != STOP_NONE && (c->stop.at_usec == 0 || c->stop.deadline_usec == 0))
        return fields_fail(r, object, "a stop without a time");
    c->subject.uid = c->uid;
    c->subject.pid = c->pid;
    return 0;
}

static const Field claim_fields[] = {
        FIELD_TEXT("id", Claim, id, .flags = FIELD_REQUIRED),
        FIELD_TEXT("of", Claim, of, .flags = FIELD_OMIT),
        FIELD_TEXT("connection", Claim, connection, .flags = FIELD_OMIT),
        FIELD_BOOLEAN("moving", Claim, moving, .flags = FIELD_OMIT),
        FIELD_WORD("previousTether", Claim, previous_tether, &tether_kind_words, .flags = FIELD_OMIT),
        FIELD_TEXT("previousLifeline", Claim, previous_lifeline, .flags = FIELD_OMIT),
        FIELD_TEXT("previousConnection", Claim, previous_connection, .flags = FIELD_OMIT),
        FIELD_WORD("state", Claim, state, &claim_state_words, .flags = FIELD_REQUIRED),
        FIELD_TEXT("lifeline", Claim, lifeline, .flags = FIELD_OMIT),
        FIELD_NUMBER("uid", Claim, uid, 0, UINT32_MAX - 1, .flags = FIELD_REQUIRED),
        FIELD_NUMBER("pid", Claim, pid, 0, INT32_MAX, .flags = FIELD_REQUIRED),
        FIELD_STRING("command", Claim, command, .flags = FIELD_REQUIRED),
        FIELD_STRING("unit", Claim, unit, .flags = FIELD_REQUIRED),
        FIELD_STRING("reason", Claim, reason, .flags = FIELD_REQUIRED),
        FIELD_TEXT("cookie", Claim, cookie, .flags = FIELD_OMIT),
        FIELD_TEXT("ticket", Claim, ticket, .flags = FIELD_OMIT),
        FIELD_NUMBER("until", Claim, until_usec, 1, INT64_MAX, .flags = FIELD_OMIT),
        FIELD_NUMBER("deadline", Claim, deadline_usec, 1, INT64_MAX, .flags = FIELD_OMIT),
        FIELD_OBJECTS("nodes", Claim, nodes, n_nodes, &node_table, 0, CLAIM_NODES_MAX,
                .flags = FIELD_ALLOCATED | FIELD_OMIT),
        FIELD_WORD("eviction", Claim, eviction.state, &eviction_state_words, .flags = FIELD_OMIT),
        FIELD_WORD("evictionCause", Claim, eviction.cause, &eviction_cause_words, .flags = FIELD_OMIT),
        FIELD_NUMBER("evictAt", Claim, eviction.at_usec, 1, INT64_MAX, .flags = FIELD_OMIT),
        FIELD_NUMBER("evictionDeadline", Claim, eviction.deadline_usec, 1, INT64_MAX, .flags = FIELD_OMIT),
        FIELD_NUMBER("evictionMore", Claim, eviction.more_sec, 1, EVICTION_SEC_MAX, .flags = FIELD_OMIT),
        FIELD_TEXT("evictionReason", Claim, eviction.reason, .flags = FIELD_OMIT),
        FIELD_WORD("stop", Claim, stop.state, &stop_state_words, .flags = FIELD_OMIT),
        FIELD_NUMBER("stopAt", Claim, stop.at_usec, 1, INT64_MAX, .flags = FIELD_OMIT),
        FIELD_NUMBER("stopDeadline", Claim, stop.deadline_usec, 1, INT64_MAX, .flags = FIELD_OMIT),
        FIELD_NUMBER("since", Claim, since_usec, 0, INT64_MAX, .flags = FIELD_REQUIRED),
        /* older records have none: then all but the uid is unknown */
        FIELD_OBJECT("subject", Claim, subject, &subject_table),
};
static const FieldTable claim_table = FIELD_TABLE(claim_fields, .open = true, .check = check_claim);

/* Members of a record that a claim does not have. */
typedef struct Frame {
    int version;
    char boot_id[40];
    char *failure; /* owned */
} Frame;

static const Field frame_fields[] = {
        FIELD_NUMBER("version", Frame, version, RECORD_VERSION, RECORD_VERSION_KEPT, .flags = FIELD_REQUIRED),
        FIELD_TEXT("bootId", Frame, boot_id, .flags = FIELD_REQUIRED),
        FIELD_STRING("failure", Frame, failure, .flags = FIELD_REQUIRED),
};
static const FieldTable frame_table = FIELD_TABLE(frame_fields, .open = true);

/* The record of a claim of one device. */
#define RECORD_SIZE_USUAL 2047U

/* The oldest version that can undo all of it. Older ones do not restore `d3cold_allowed`, but that only keeps
 * the device powered, which is no reason to take the claim from its holder. */
static int record_version(const Plan *p) {
    int version = RECORD_VERSION;

    for (size_t i = 0; i < p->n_members; i++) {
        const PlanMember *m = &p->members[i];

        if (m->kept || m->native || m->scrub[0])
            return RECORD_VERSION_KEPT;
        if (m->network_before.has != 0 || plan_member_is_made(m))
            version = RECORD_VERSION_UNDO;
    }
    return version;
}

char *claim_to_record(const Claim *c, const char *boot_id) {
    _cleanup_strbuf_ StrBuf b = {};
    _cleanup_free_ char *failure = NULL;
    Frame frame = {.version = record_version(&c->plan)};

    if (c->refusal.code != _VFIOD_ERROR_INVALID) {
        failure = refusal_format(&c->refusal);
        if (!failure)
            return NULL;
    }
    frame.failure = failure;
    put_text(frame.boot_id, sizeof(frame.boot_id), boot_id);
    strbuf_expect(&b, RECORD_SIZE_USUAL);
    strbuf_add(&b, "{");
    fields_write_members(&b, &claim_table, c);
    fields_write_members(&b, &plan_table, &c->plan);
    fields_write_members(&b, &frame_table, &frame);
    strbuf_add(&b, "}");
    return strbuf_steal(&b);
}

/* A quarantine always has a reason: it is logged, and shown to every caller that requests the device. */
static void take_failure(Claim *c, const char *failure) {
    if (!failure && c->state != CLAIM_QUARANTINED)
        return;
    (void) refuse(&c->refusal, VFIOD_ERROR_INTERNAL, NULL, "%s", failure ?: "its record gives no reason");
    c->refusal.remedy = strdup(failure ? "" : error_info(VFIOD_ERROR_DEVICE_QUARANTINED)->remedy);
}

static int read_record(FieldReader *r, const JsonNode *root, const char *boot_id, Claim *c) {
    Frame frame = {};
    int e;

    e = fields_read(r, root, &frame_table, &frame);
    if (e >= 0 && boot_id && !streq(frame.boot_id, boot_id))
        e = -ESTALE;
    if (e >= 0)
        e = fields_read(r, root, &claim_table, c);
    if (e >= 0)
        e = fields_read(r, root, &plan_table, &c->plan);
    /* A part that is to join a claim may be in a group that the claim already has. */
    if (e >= 0 && c->plan.n_groups == 0 && backend_has_groups(c->plan.backend) && !c->of[0] &&
            !has_unmade(&c->plan))
        e = fields_fail(r, root, "0 groups do not fit its backend");
    if (e >= 0 && c->state != CLAIM_RESERVED && has_template(&c->plan))
        e = fields_fail(r, root, "a template that is not reserved");
    if (e >= 0)
        take_failure(c, frame.failure);
    free(frame.failure);
    return e;
}

int claim_from_record(const char *text, size_t size, const char *boot_id, Claim *ret, char **ret_problem) {
    static const JsonBounds bounds = {.size = RECORD_SIZE_MAX, .nodes = RECORD_SIZE_MAX};
    _cleanup_(json_document_freep) JsonDocument *document = NULL;
    _cleanup_(claim_done) Claim c = CLAIM_NULL;
    FieldReader reader = {.name = "the record"};
    JsonError error;
    int r;

    r = json_document_parse_bounded(text, size, &bounds, &document, &error);
    if (r == -EBADMSG)
        reader.problem = format_string("line %u, column %u: %s", error.line, error.column, error.message);
    else if (r >= 0)
        r = read_record(&reader, json_document_root(document), boot_id, &c);
    if (ret_problem)
        *ret_problem = TAKE_PTR(reader.problem);
    free(reader.problem);
    if (r < 0)
        return r;
    *ret = TAKE_GENERIC(c, CLAIM_NULL);
    return 0;
}
