/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Describes the fact that a predicate used. Everything from a process or from sysfs is sanitized here,
 * because it is shown on terminals. */

#include <inttypes.h>

#include "base/str.h"
#include "base/user-name.h"
#include "policy/explain-internal.h"

#define SHOWN_MAX 256U
#define GROUPS_SHOWN_MAX 16U

static const char not_known[] = "unknown";

static bool is_known(const Question *q, unsigned fact) {
    return q->facts && (q->facts->known & fact) != 0;
}

static void add_text(StrBuf *b, const char *text, const char *otherwise) {
    _cleanup_free_ char *clean = text ? sanitize(text, SHOWN_MAX) : NULL;

    if (text && !clean)
        b->error = -ENOMEM;
    strbuf_add(b, clean ?: otherwise);
}

static void add_user(StrBuf *b, const Question *q, const char *user) {
    if (q->subject->uid == (uid_t) -1) {
        strbuf_add(b, not_known);
        return;
    }
    if (!user) {
        strbuf_add(b, USER_TEXT(q->subject->uid));
        return;
    }
    add_text(b, user, "");
    strbuf_addf(b, " (%" PRIu32 ")", (uint32_t) q->subject->uid);
}

static void add_groups(StrBuf *b, const Subject *s) {
    if (s->n_gids == 0)
        strbuf_add(b, not_known);
    for (size_t i = 0; i < MIN(s->n_gids, GROUPS_SHOWN_MAX); i++)
        strbuf_addf(b, "%s%s", i > 0 ? ", " : "", GROUP_TEXT(s->gids[i]));
    if (s->n_gids > GROUPS_SHOWN_MAX)
        strbuf_addf(b, " and %zu more", s->n_gids - GROUPS_SHOWN_MAX);
}

/* Only the capabilities that the rule names: the full list is long and explains nothing. */
static void add_capabilities(StrBuf *b, const Rule *rule, const Question *q) {
    Holds holds = rule_ask(rule, PREDICATE_WHO_CAPABILITY, q);

    if (q->subject->user_namespace == NAMESPACE_OTHER)
        strbuf_add(b, "none on this host: it is in another user namespace");
    else if (holds == HOLDS_UNKNOWN)
        strbuf_add(b, not_known);
    else
        strbuf_add(b, holds == HOLDS_YES ? "has it" : "has none of these");
}

static void add_namespace(StrBuf *b, const Subject *s) {
    bool user = s->user_namespace == NAMESPACE_OTHER, pid = s->pid_namespace == NAMESPACE_OTHER;

    if (user || pid)
        strbuf_addf(b, "other (%s)", user && pid ? "of users and of pids" : user ? "of users" : "of pids");
    else if (s->user_namespace == NAMESPACE_HOST && s->pid_namespace == NAMESPACE_HOST)
        strbuf_add(b, "host");
    else
        strbuf_add(b, not_known);
}

/* The serial of a card that the tag matches is part of the rule's text. */
static bool may_see_serial(const Rule *rule, const Question *q, Audience audience) {
    Holds holds = rule_ask(rule, PREDICATE_WHAT_TAG, q);

    return audience == AUDIENCE_OPERATOR || holds == HOLDS_YES || holds == HOLDS_CHANGED;
}

static void add_serial(StrBuf *b, const Rule *rule, const Question *q, Audience audience) {
    if (!is_known(q, DEVICE_FACT_SERIAL))
        return;
    if (q->facts->serial[0] && !may_see_serial(rule, q, audience))
        strbuf_add(b, ", a serial that root can see");
    else
        strbuf_addf(b, ", %s%s", q->facts->serial[0] ? "serial " : "no serial", q->facts->serial);
}

static void add_card(StrBuf *b, const Question *q) {
    const Device *d = q->device;

    strbuf_addf(b, "%04x:%04x:%04x:%04x", d->vendor, d->device, d->subsystem_vendor, d->subsystem_device);
}

static void add_tagged(StrBuf *b, const Rule *rule, const Question *q, Audience audience) {
    char name[DEVICE_NAME_MAX];

    strbuf_addf(b, "slot %s", device_name_format(&q->device->name, name));
    if (is_known(q, DEVICE_FACT_SLOT_PATH))
        strbuf_addf(b, ", path %s", q->facts->slot_path);
    strbuf_add(b, ", id ");
    add_card(b, q);
    add_serial(b, rule, q, audience);
}

static void add_properties(StrBuf *b, const Rule *rule, const Question *q) {
    if (!is_known(q, DEVICE_FACT_PROPERTIES)) {
        strbuf_add(b, not_known);
        return;
    }
    for (size_t i = 0; i < rule->n_properties; i++) {
        const char *key = rule->properties[i].key, *value = NULL;

        for (char *const *p = q->facts->properties; p && *p; p++) {
            const char *rest = startswith(*p, key);

            if (rest && *rest == '=')
                value = rest + 1;
        }
        strbuf_addf(b, "%s%s", i > 0 ? ", " : "", value ? "" : "no ");
        add_text(b, key, "");
        if (value) {
            strbuf_add(b, "=");
            add_text(b, value, "");
        }
    }
}

static void add_numa(StrBuf *b, const Question *q) {
    if (!is_known(q, DEVICE_FACT_NUMA_NODE))
        strbuf_add(b, not_known);
    else if (q->facts->numa_node < 0)
        strbuf_add(b, "none");
    else
        strbuf_addf(b, "%d", q->facts->numa_node);
}

static void add_alone(StrBuf *b, const Device *d) {
    if (!d->group)
        strbuf_add(b, "no IOMMU group");
    else if (d->group->n_members == 1)
        strbuf_addf(b, "alone in group %d", d->group->id);
    else
        strbuf_addf(b, "group %d has %u members", d->group->id, d->group->n_members);
}

static void add_acs(StrBuf *b, const Question *q) {
    char name[DEVICE_NAME_MAX];

    strbuf_add(b, is_known(q, DEVICE_FACT_ACS) ? acs_path_to_string(q->facts->acs) : not_known);
    if (is_known(q, DEVICE_FACT_ACS) && q->facts->has_acs_blocker)
        strbuf_addf(b, " (blocked at %s)", device_name_format_kernel(&q->facts->acs_blocker, name));
}

static void add_resets(StrBuf *b, const Question *q) {
    unsigned mask = is_known(q, DEVICE_FACT_RESET_METHODS) ? q->facts->reset_methods : 0;

    if (mask == 0)
        strbuf_add(b, is_known(q, DEVICE_FACT_RESET_METHODS) ? "no method" : not_known);
    for (ResetMethod m = 0; m < _RESET_METHOD_MAX; m++)
        if (mask & 1U << m)
            strbuf_addf(b, "%s%s", b->length > 0 ? ", " : "", reset_method_to_string(m));
}

/* Days since 1970-01-01 in the Gregorian calendar. The year begins in March here, so that a leap day is its
 * last day. 400 years always have the same number of days. */
static void add_date(StrBuf *b, uint64_t days) {
    uint64_t era_days = days + 719468, era = era_days / 146097, day = era_days % 146097;
    uint64_t year = (day - day / 1460 + day / 36524 - day / 146096) / 365;
    uint64_t month;

    day -= year * 365 + year / 4 - year / 100;
    month = (5 * day + 2) / 153;
    day -= (153 * month + 2) / 5;
    strbuf_addf(b, "%04" PRIu64 "-%02" PRIu64 "-%02" PRIu64, era * 400 + year + (month >= 10),
            month >= 10 ? month - 9 : month + 3, day + 1);
}

static void add_time(StrBuf *b, uint64_t usec) {
    uint64_t seconds = usec / 1000000, rest = seconds % 86400;

    if (usec == 0) {
        strbuf_add(b, not_known);
        return;
    }
    add_date(b, seconds / 86400);
    strbuf_addf(b, "T%02" PRIu64 ":%02" PRIu64 ":%02" PRIu64 "Z", rest / 3600, rest / 60 % 60, rest % 60);
}

static void add_fact_of_subject(
        StrBuf *b, const Rule *rule, PredicateKind kind, const Question *q, const char *user) {
    const Subject *s = q->subject;

    switch (kind) {
    case PREDICATE_WHO_USER:
        add_user(b, q, user);
        break;
    case PREDICATE_WHO_GROUP:
        add_groups(b, s);
        break;
    case PREDICATE_WHO_UNIT:
        add_text(b, s->unit, s->cgroup ? "no unit" : not_known);
        break;
    case PREDICATE_WHO_SLICE:
    case PREDICATE_WHO_CGROUP:
        add_text(b, s->cgroup, not_known);
        break;
    case PREDICATE_WHO_LABEL:
        add_text(b, s->label, not_known);
        break;
    case PREDICATE_WHO_CAPABILITY:
        add_capabilities(b, rule, q);
        break;
    case PREDICATE_WHO_SCOPE:
        add_text(b, s->scope, "no scope");
        break;
    default:
        add_namespace(b, s);
    }
}

/* Appends each capability that the rule requires. */
static void add_needs(StrBuf *b, const Rule *rule, const Question *q) {
    const DeviceCaps *caps = is_known(q, DEVICE_FACT_SEEN_CAPS) ? q->facts->caps : NULL;
    char text[DEVICE_CAPS_TEXT_MAX];
    bool first = true;

    for (DeviceCap c = 0; c < _DEVICE_CAP_MAX; c++) {
        if (!(rule->needs.caps & (1U << c)))
            continue;
        strbuf_addf(b, "%s%s: %s", first ? "" : ", ", device_cap_to_string(c),
                device_caps_describe(caps, c, text));
        first = false;
    }
}

static void add_fact_of_place(
        StrBuf *b, const Rule *rule, PredicateKind kind, const Question *q, Audience audience) {
    switch (kind) {
    case PREDICATE_WHAT_TAG:
        add_tagged(b, rule, q, audience);
        break;
    case PREDICATE_WHAT_PROPERTY:
        add_properties(b, rule, q);
        break;
    case PREDICATE_WHAT_NUMA:
        add_numa(b, q);
        break;
    case PREDICATE_WHAT_ALONE:
        add_alone(b, q->device);
        break;
    case PREDICATE_WHAT_ACS:
        add_acs(b, q);
        break;
    case PREDICATE_WHAT_RESET:
        add_resets(b, q);
        break;
    case PREDICATE_WHAT_REMOVABLE:
        strbuf_add(
                b, is_known(q, DEVICE_FACT_REMOVABLE) ? removable_to_string(q->facts->removable) : not_known);
        break;
    case PREDICATE_WHAT_CAPABILITIES:
        add_needs(b, rule, q);
        break;
    default:
        add_time(b, q->now_usec);
    }
}

static void add_fact_of_device(
        StrBuf *b, const Rule *rule, PredicateKind kind, const Question *q, Audience audience) {
    const Device *d = q->device;
    char name[DEVICE_NAME_MAX];

    switch (kind) {
    case PREDICATE_WHAT_DEVICE:
        strbuf_add(b, device_name_format(&d->name, name));
        break;
    case PREDICATE_WHAT_PHYSICAL_FUNCTION:
        strbuf_add(b,
                device_is_virtual_function(d) ? device_name_format(device_parent_name(d), name)
                                              : "none, it is no virtual function");
        break;
    case PREDICATE_WHAT_ID:
        add_card(b, q);
        break;
    case PREDICATE_WHAT_CLASS:
        strbuf_addf(b, "%06" PRIx32, d->class_code);
        break;
    case PREDICATE_WHAT_DRIVER:
        add_text(b, d->driver, "none");
        break;
    case PREDICATE_WHAT_BUS:
        strbuf_add(b, device_kind_to_string(d->name.kind));
        break;
    case PREDICATE_WHAT_GROUP:
        if (d->group)
            strbuf_addf(b, "%016" PRIx64, group_fingerprint(d->group));
        else
            strbuf_add(b, "no IOMMU group");
        break;
    default:
        add_fact_of_place(b, rule, kind, q, audience);
    }
}

char *explain_seen(
        const Rule *rule, PredicateKind kind, const Question *q, Audience audience, const char *user) {
    _cleanup_strbuf_ StrBuf b = {};

    if (PREDICATES_WHO & 1U << kind)
        add_fact_of_subject(&b, rule, kind, q, user);
    else
        add_fact_of_device(&b, rule, kind, q, audience);
    return strbuf_steal(&b);
}

void explain_add_entry(StrBuf *b, const TagEntry *e) {
    char name[DEVICE_NAME_MAX];

    if (e->has_slot)
        strbuf_addf(b, "slot %s, ", device_name_format(&e->slot, name));
    if (e->path) {
        strbuf_add(b, "path ");
        add_text(b, e->path, "");
        strbuf_add(b, ", ");
    }
    strbuf_addf(b, "id %04x:%04x", (unsigned) (e->id.value >> 48), (unsigned) (e->id.value >> 32 & 0xffff));
    if ((e->id.mask & UINT32_MAX) != 0)
        strbuf_addf(
                b, ":%04x:%04x", (unsigned) (e->id.value >> 16 & 0xffff), (unsigned) (e->id.value & 0xffff));
    if (e->serial)
        strbuf_addf(b, ", serial %s", e->serial);
}
