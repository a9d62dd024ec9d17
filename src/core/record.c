/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/record.h"

#include <stdio.h>

#include "base/json-build.h"
#include "base/str.h"

/* json-c's add functions take the value over only when they succeed; this one always does. Keys are literals
 * and new, which saves a copy and a search each: a record is written in every Acquire. */
static int add_reset_methods(struct json_object *o, unsigned mask) {
    _cleanup_json_ struct json_object *array = json_object_new_array();
    int r = array ? 0 : -ENOMEM;

    for (ResetMethod m = 0; r >= 0 && m < _RESET_METHOD_MAX; m++)
        if (mask & (1U << m))
            r = json_append(array, json_object_new_string(reset_method_to_string(m)));
    return r < 0 ? r : json_add_literal(o, "resetMethods", TAKE_PTR(array));
}

static struct json_object *member_to_json(const PlanMember *m) {
    _cleanup_json_ struct json_object *o = json_object_new_object();
    char name[DEVICE_NAME_MAX];

    if (!o || json_add_literal(o, "name", json_object_new_string(device_name_format(&m->name, name))) < 0 ||
            json_add_literal(o, "group", json_object_new_int(m->group)) < 0 ||
            json_add_literal(
                    o, "disposition", json_object_new_string(disposition_to_string(m->disposition))) < 0 ||
            json_add_literal(o, "vendor", json_object_new_int(m->vendor)) < 0 ||
            json_add_literal(o, "product", json_object_new_int(m->device)) < 0 ||
            json_add_literal(o, "bind", json_object_new_boolean(m->bind)) < 0 ||
            json_add_literal(o, "targetDriver", json_object_new_string(m->target_driver)) < 0 ||
            json_add_literal(o, "originalDriver", json_object_new_string(m->original_driver)) < 0 ||
            json_add_literal(o, "originalOverride", json_object_new_string(m->original_override)) < 0 ||
            json_add_literal(o, "reset", json_object_new_boolean(m->reset)) < 0 ||
            add_reset_methods(o, m->reset_methods) < 0 ||
            json_add_literal(o, "enableBaseline", json_object_new_int64(m->enable_baseline)) < 0)
        return NULL;
    return TAKE_PTR(o);
}

static struct json_object *charge_to_json(const PlanCharge *c) {
    _cleanup_json_ struct json_object *o = json_object_new_object();

    if (!o || json_add_literal(o, "rule", json_object_new_string(c->rule)) < 0 ||
            json_add_literal(o, "devices", json_object_new_int((int32_t) c->devices)) < 0)
        return NULL;
    return TAKE_PTR(o);
}

/* What the rules have to do with it. */
static int add_terms(struct json_object *o, const Plan *p) {
    _cleanup_json_ struct json_object *charges = json_object_new_array();
    int r = charges ? 0 : -ENOMEM;

    for (size_t i = 0; r >= 0 && i < p->n_charges; i++)
        r = json_append(charges, charge_to_json(&p->charges[i]));
    if (r >= 0)
        r = json_add_literal(o, "rule", json_object_new_string(p->rule));
    if (r >= 0)
        r = json_add_literal(o, "ask", json_object_new_boolean(p->ask));
    if (r >= 0)
        r = json_add_literal(o, "resetDemand", json_object_new_string(reset_demand_to_string(p->reset)));
    if (r >= 0)
        r = json_add_literal(o, "memlock", json_object_new_int64((int64_t) p->memlock));
    if (r >= 0)
        r = json_add_literal(o, "noiommuReason", json_object_new_string(p->noiommu_reason));
    if (r >= 0)
        r = json_add_literal(o, "charges", TAKE_PTR(charges));
    return r;
}

static int add_plan(struct json_object *o, const Plan *p) {
    _cleanup_json_ struct json_object *groups = json_object_new_array(), *members = json_object_new_array();
    int r = groups && members ? 0 : -ENOMEM;

    for (size_t i = 0; r >= 0 && i < p->n_groups; i++)
        r = json_append(groups, json_object_new_int(p->groups[i]));
    for (size_t i = 0; r >= 0 && i < p->n_members; i++)
        r = json_append(members, member_to_json(&p->members[i]));
    if (r >= 0)
        r = json_add_literal(o, "backend", json_object_new_string(backend_to_string(p->backend)));
    if (r >= 0)
        r = add_terms(o, p);
    if (r >= 0)
        r = json_add_literal(o, "groups", TAKE_PTR(groups));
    if (r >= 0)
        r = json_add_literal(o, "members", TAKE_PTR(members));
    return r;
}

struct json_object *plan_to_json(const Plan *p) {
    _cleanup_json_ struct json_object *o = json_object_new_object();

    if (!o || add_plan(o, p) < 0)
        return NULL;
    return TAKE_PTR(o);
}

struct json_object *claim_to_json(const Claim *c) {
    _cleanup_json_ struct json_object *o = json_object_new_object();
    _cleanup_free_ char *failure = NULL;

    if (c->refusal.code != _VFIOD_ERROR_INVALID) {
        failure = refusal_format(&c->refusal);
        if (!failure)
            return NULL;
    }
    if (!o || json_add_literal(o, "id", json_object_new_string(c->id)) < 0 ||
            json_add_literal(o, "state", json_object_new_string(claim_state_to_string(c->state))) < 0 ||
            json_add_literal(o, "uid", json_object_new_int64(c->uid)) < 0 ||
            json_add_literal(o, "pid", json_object_new_int64(c->pid)) < 0 ||
            json_add_literal(o, "command", json_object_new_string(c->command ?: "")) < 0 ||
            json_add_literal(o, "unit", json_object_new_string(c->unit ?: "")) < 0 ||
            json_add_literal(o, "reason", json_object_new_string(c->reason ?: "")) < 0 ||
            json_add_literal(o, "since", json_object_new_int64((int64_t) c->since_usec)) < 0 ||
            json_add_literal(o, "failure", json_object_new_string(failure ?: "")) < 0 ||
            add_plan(o, &c->plan) < 0)
        return NULL;
    return TAKE_PTR(o);
}

/* Only what policy looks at: NULL is a fact, too. */
static struct json_object *subject_to_json(const Subject *s) {
    _cleanup_json_ struct json_object *o = json_object_new_object(), *gids = json_object_new_array();
    const struct {
        const char *key, *value;
    } texts[] = {{"unit", s->unit}, {"cgroup", s->cgroup}, {"label", s->label}};
    int r = o && gids ? 0 : -ENOMEM;

    for (size_t i = 0; r >= 0 && i < s->n_gids; i++)
        r = json_append(gids, json_object_new_int64(s->gids[i]));
    for (size_t i = 0; r >= 0 && i < ELEMENTSOF(texts); i++)
        if (texts[i].value)
            r = json_add_literal(o, texts[i].key, json_object_new_string(texts[i].value));
    if (r >= 0 && s->capabilities_known)
        r = json_add_literal(o, "capabilities", json_object_new_uint64(s->capabilities));
    if (r >= 0 && s->capabilities_known && s->capabilities_unsure != 0)
        r = json_add_literal(o, "capabilitiesUnsure", json_object_new_uint64(s->capabilities_unsure));
    if (r < 0 || json_add_literal(o, "gids", TAKE_PTR(gids)) < 0 ||
            json_add_literal(o, "userNamespace",
                    json_object_new_string(namespace_kind_to_string(s->user_namespace))) < 0 ||
            json_add_literal(o, "pidNamespace",
                    json_object_new_string(namespace_kind_to_string(s->pid_namespace))) < 0)
        return NULL;
    return TAKE_PTR(o);
}

char *claim_to_record(const Claim *c, const char *boot_id) {
    _cleanup_json_ struct json_object *o = claim_to_json(c);
    const char *text;

    if (!o || json_add_literal(o, "version", json_object_new_int(RECORD_VERSION)) < 0 ||
            json_add_literal(o, "subject", subject_to_json(&c->subject)) < 0 ||
            json_add_literal(o, "bootId", json_object_new_string(boot_id)) < 0)
        return NULL;
    text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN);
    return text ? strdup(text) : NULL;
}

/* Readers: each is strict about type and range and returns -EBADMSG; r carries the first failure on, so that
 * a caller can read field after field and ask once. */

static struct json_object *get(struct json_object *o, const char *key, enum json_type type, int *r) {
    struct json_object *value = NULL;

    if (*r >= 0 && (!json_object_object_get_ex(o, key, &value) || !json_object_is_type(value, type)))
        *r = -EBADMSG;
    return *r < 0 ? NULL : value;
}

static int64_t get_integer(struct json_object *o, const char *key, int64_t min, int64_t max, int *r) {
    struct json_object *value = get(o, key, json_type_int, r);
    int64_t v = value ? json_object_get_int64(value) : min;

    if (v < min || v > max) {
        *r = -EBADMSG;
        return min;
    }
    return v;
}

static bool get_boolean(struct json_object *o, const char *key, int *r) {
    struct json_object *value = get(o, key, json_type_boolean, r);

    return value && json_object_get_boolean(value);
}

/* "" on failure, so that the result can always be compared. */
static const char *get_string(struct json_object *o, const char *key, int *r) {
    struct json_object *value = get(o, key, json_type_string, r);
    const char *s = value ? json_object_get_string(value) : "";

    if (value && strlen(s) != (size_t) json_object_get_string_len(value))
        *r = -EBADMSG;
    return s;
}

static void get_text(struct json_object *o, const char *key, char *buf, size_t size, int *r) {
    const char *s = get_string(o, key, r);

    if ((size_t) snprintf(buf, size, "%s", s) >= size)
        *r = -EBADMSG;
}

static char *get_copy(struct json_object *o, const char *key, int *r) {
    const char *s = get_string(o, key, r);
    char *copy;

    if (*r < 0 || !*s)
        return NULL;
    copy = strdup(s);
    if (!copy)
        *r = -ENOMEM;
    return copy;
}

static int get_enum(struct json_object *o, const char *key, int (*from_string)(const char *), int *r) {
    int v = from_string(get_string(o, key, r));

    if (v < 0)
        *r = -EBADMSG;
    return v;
}

/* The string tables return enums; a function pointer needs one type. */
#define ENUM_READER(name)                                                                                    \
    static int read_##name(const char *s) {                                                                  \
        return (int) name##_from_string(s);                                                                  \
    }
ENUM_READER(backend)
ENUM_READER(claim_state)
ENUM_READER(namespace_kind)
ENUM_READER(disposition)
ENUM_READER(reset_demand)

static unsigned get_reset_methods(struct json_object *o, int *r) {
    struct json_object *array = get(o, "resetMethods", json_type_array, r);
    unsigned mask = 0;

    for (size_t i = 0; array && i < json_object_array_length(array); i++) {
        struct json_object *value = json_object_array_get_idx(array, i);
        ResetMethod m = json_object_is_type(value, json_type_string)
                ? reset_method_from_string(json_object_get_string(value))
                : _RESET_METHOD_INVALID;

        if ((int) m < 0) {
            *r = -EBADMSG;
            return 0;
        }
        mask |= 1U << m;
    }
    return mask;
}

static void get_member(struct json_object *o, PlanMember *m, int *r) {
    if (!json_object_is_type(o, json_type_object)) {
        *r = -EBADMSG;
        return;
    }
    if (device_name_parse(get_string(o, "name", r), &m->name) < 0)
        *r = -EBADMSG;
    m->group = (int) get_integer(o, "group", -1, INT32_MAX, r);
    m->disposition = get_enum(o, "disposition", read_disposition, r);
    m->vendor = (uint16_t) get_integer(o, "vendor", 0, UINT16_MAX, r);
    m->device = (uint16_t) get_integer(o, "product", 0, UINT16_MAX, r);
    m->bind = get_boolean(o, "bind", r);
    get_text(o, "targetDriver", m->target_driver, sizeof(m->target_driver), r);
    get_text(o, "originalDriver", m->original_driver, sizeof(m->original_driver), r);
    get_text(o, "originalOverride", m->original_override, sizeof(m->original_override), r);
    m->reset = get_boolean(o, "reset", r);
    m->reset_methods = get_reset_methods(o, r);
    m->enable_baseline = (long) get_integer(o, "enableBaseline", 0, INT32_MAX, r);
}

static void get_terms(struct json_object *o, Plan *p, int *r) {
    struct json_object *charges = get(o, "charges", json_type_array, r);

    get_text(o, "rule", p->rule, sizeof(p->rule), r);
    p->ask = get_boolean(o, "ask", r);
    p->reset = get_enum(o, "resetDemand", read_reset_demand, r);
    p->memlock = (uint64_t) get_integer(o, "memlock", 0, INT64_MAX, r);
    get_text(o, "noiommuReason", p->noiommu_reason, sizeof(p->noiommu_reason), r);
    if (!charges || json_object_array_length(charges) > PLAN_RULES_MAX) {
        *r = -EBADMSG;
        return;
    }
    for (size_t i = 0; i < json_object_array_length(charges); i++) {
        struct json_object *value = json_object_array_get_idx(charges, i);
        PlanCharge *c = plan_add_charge(p);

        if (!c) {
            *r = -ENOMEM;
            return;
        }
        if (!json_object_is_type(value, json_type_object)) {
            *r = -EBADMSG;
            return;
        }
        get_text(value, "rule", c->rule, sizeof(c->rule), r);
        c->devices = (unsigned) get_integer(value, "devices", 1, PLAN_MEMBERS_MAX, r);
    }
}

static void get_plan(struct json_object *o, Plan *p, int *r) {
    struct json_object *groups = get(o, "groups", json_type_array, r);
    struct json_object *members = get(o, "members", json_type_array, r);

    p->backend = get_enum(o, "backend", read_backend, r);
    get_terms(o, p, r);
    if (!groups || !members || json_object_array_length(groups) > PLAN_GROUPS_MAX ||
            json_object_array_length(members) > PLAN_MEMBERS_MAX || json_object_array_length(members) == 0) {
        *r = -EBADMSG;
        return;
    }
    for (size_t i = 0; i < json_object_array_length(groups); i++) {
        struct json_object *value = json_object_array_get_idx(groups, i);

        if (!json_object_is_type(value, json_type_int) || json_object_get_int(value) < 0)
            *r = -EBADMSG;
        p->groups[p->n_groups++] = json_object_get_int(value);
    }
    for (size_t i = 0; *r >= 0 && i < json_object_array_length(members); i++) {
        PlanMember *m = plan_add_member(p);

        if (!m) {
            *r = -ENOMEM;
            return;
        }
        get_member(json_object_array_get_idx(members, i), m, r);
        if (m->group < 0 && p->backend != BACKEND_NOIOMMU)
            *r = -EBADMSG;
        /* Claimed devices come first: everything else relies on it. */
        if (m->disposition == DISPOSITION_CLAIM && p->n_claimed++ != i)
            *r = -EBADMSG;
    }
    if (p->n_claimed == 0 || p->n_claimed > REQUEST_DEVICES_MAX)
        *r = -EBADMSG;
}

static bool is_hex_id(const char *s) {
    return strlen(s) == CLAIM_ID_MAX - 1 && strspn(s, "0123456789abcdef") == CLAIM_ID_MAX - 1;
}

static char *get_optional_copy(struct json_object *o, const char *key, int *r) {
    return *r >= 0 && json_object_object_get_ex(o, key, NULL) ? get_copy(o, key, r) : NULL;
}

static void get_gids(struct json_object *o, Subject *s, int *r) {
    struct json_object *array = get(o, "gids", json_type_array, r);
    size_t n = array ? json_object_array_length(array) : 0;

    if (n > SUBJECT_COPY_GROUPS_MAX)
        *r = -EBADMSG;
    if (*r < 0 || n == 0)
        return;
    s->gids = malloc(n * sizeof(*s->gids));
    if (!s->gids) {
        *r = -ENOMEM;
        return;
    }
    for (; s->n_gids < n; s->n_gids++) {
        struct json_object *value = json_object_array_get_idx(array, s->n_gids);
        int64_t v = json_object_is_type(value, json_type_int) ? json_object_get_int64(value) : -1;

        if (v < 0 || v > UINT32_MAX)
            *r = -EBADMSG;
        s->gids[s->n_gids] = (gid_t) v;
    }
}

static uint64_t get_capabilities(struct json_object *o, const char *key, int *r) {
    struct json_object *value;

    if (*r < 0 || !json_object_object_get_ex(o, key, NULL))
        return 0;
    value = get(o, key, json_type_int, r);
    return value ? json_object_get_uint64(value) : 0;
}

/* A record of an older daemon has none: then all but the uid is not known. */
static void get_subject(struct json_object *o, Claim *c, int *r) {
    Subject *s = &c->subject;
    s->uid = c->uid;
    s->pid = c->pid;
    if (*r < 0 || !json_object_object_get_ex(o, "subject", NULL))
        return;
    o = get(o, "subject", json_type_object, r);
    s->unit = get_optional_copy(o, "unit", r);
    s->cgroup = get_optional_copy(o, "cgroup", r);
    s->label = get_optional_copy(o, "label", r);
    get_gids(o, s, r);
    s->user_namespace = get_enum(o, "userNamespace", read_namespace_kind, r);
    s->pid_namespace = get_enum(o, "pidNamespace", read_namespace_kind, r);
    s->capabilities = get_capabilities(o, "capabilities", r);
    s->capabilities_unsure = get_capabilities(o, "capabilitiesUnsure", r);
    s->capabilities_known = json_object_object_get_ex(o, "capabilities", NULL);
}

/* What later becomes part of a path below /sys/bus. */
static bool is_driver_name(const char *s) {
    return *s && !strchr(s, '/') && !streq(s, ".") && !streq(s, "..");
}

static int check_member(const Plan *p, size_t index) {
    const PlanMember *m = &p->members[index];

    if (m->disposition == DISPOSITION_REFUSE)
        return -EBADMSG;
    if (m->target_driver[0] ? !is_driver_name(m->target_driver) : m->bind)
        return -EBADMSG;
    if (m->original_driver[0] && !is_driver_name(m->original_driver))
        return -EBADMSG;
    for (size_t i = 0; i < index; i++)
        if (device_name_compare(&p->members[i].name, &m->name) == 0)
            return -EBADMSG;
    return 0;
}

static int check_plan(const Plan *p) {
    int r = 0;

    if (p->backend == BACKEND_NOIOMMU ? p->n_groups > 0 || p->n_claimed > 1 : p->n_groups == 0)
        return -EBADMSG;
    for (size_t i = 0; r >= 0 && i < p->n_members; i++)
        r = check_member(p, i);
    return r;
}

/* Every field that is used later: in paths, in loops with a bound, or as text on the bus. */
static int check_claim(const Claim *c) {
    const char *const texts[] = {c->command, c->unit, c->reason, c->subject.unit, c->subject.cgroup,
            c->subject.label, c->plan.rule, c->plan.noiommu_reason};

    for (size_t i = 0; i < ELEMENTSOF(texts); i++)
        if (texts[i] && !utf8_is_valid(texts[i]))
            return -EBADMSG;
    return check_plan(&c->plan);
}

static int read_claim(struct json_object *o, const char *boot_id, Claim *c) {
    const char *failure;
    int r = 0;

    if (!json_object_is_type(o, json_type_object))
        return -EBADMSG;
    (void) get_integer(o, "version", RECORD_VERSION, RECORD_VERSION, &r);
    if (r >= 0 && !streq(get_string(o, "bootId", &r), boot_id))
        return r < 0 ? r : -ESTALE;
    get_text(o, "id", c->id, sizeof(c->id), &r);
    if (!is_hex_id(c->id))
        r = r < 0 ? r : -EBADMSG;
    c->state = get_enum(o, "state", read_claim_state, &r);
    c->uid = (uid_t) get_integer(o, "uid", 0, UINT32_MAX - 1, &r);
    c->pid = (pid_t) get_integer(o, "pid", 0, INT32_MAX, &r);
    c->command = get_copy(o, "command", &r);
    c->unit = get_copy(o, "unit", &r);
    c->reason = get_copy(o, "reason", &r);
    c->since_usec = (uint64_t) get_integer(o, "since", 0, INT64_MAX, &r);
    get_subject(o, c, &r);
    get_plan(o, &c->plan, &r);
    failure = get_string(o, "failure", &r);
    if (r >= 0 && !utf8_is_valid(failure))
        r = -EBADMSG;
    /* A quarantine always has a reason: it is logged, and shown to everybody who asks for the device. */
    if (r >= 0 && (*failure || c->state == CLAIM_QUARANTINED)) {
        (void) refuse(&c->refusal, VFIOD_ERROR_INTERNAL, NULL, "%s",
                *failure ? failure : "its record gives no reason");
        c->refusal.remedy = strdup(*failure ? "" : error_info(VFIOD_ERROR_DEVICE_QUARANTINED)->remedy);
    }
    return r < 0 ? r : check_claim(c);
}

int claim_from_record(const char *text, size_t size, const char *boot_id, Claim *ret) {
    _cleanup_(claim_done) Claim c = CLAIM_NULL;
    _cleanup_json_ struct json_object *o = NULL;
    struct json_tokener *tokener;
    int r;

    if (size > RECORD_SIZE_MAX)
        return -EBADMSG;
    tokener = json_tokener_new();
    if (!tokener)
        return -ENOMEM;
    json_tokener_set_flags(tokener, JSON_TOKENER_STRICT);
    o = json_tokener_parse_ex(tokener, text, (int) size);
    json_tokener_free(tokener);
    if (!o)
        return -EBADMSG;
    r = read_claim(o, boot_id, &c);
    if (r < 0)
        return r;
    *ret = c;
    c = CLAIM_NULL;
    return 0;
}
