/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/explanation.h"

#include "base/json-build.h"
#include "core/record.h"

void explanation_done(Explanation *e) {
    json_object_put(e->devices);
    e->devices = NULL;
}

Effect effect_of_both(Effect a, Effect b) {
    if (a == EFFECT_DENY || b == EFFECT_DENY)
        return EFFECT_DENY;
    return a == EFFECT_ASK || b == EFFECT_ASK ? EFFECT_ASK : EFFECT_ALLOW;
}

int explanation_add_device(Explanation *e, const PolicyQuestion *question) {
    Effect effect = policy_evaluate(e->policy, question).effect;

    if (!e->devices) {
        e->devices = json_object_new_array();
        e->effect = EFFECT_ALLOW;
    }
    e->effect = effect_of_both(e->effect, effect);
    return e->devices ? json_append(e->devices, policy_explain(e->policy, question, e->audience, e->user))
                      : -ENOMEM;
}

static struct json_object *subject_to_json(const Explanation *e) {
    _cleanup_json_ struct json_object *o = json_object_new_object();

    if (!o || json_add_string(o, "user", e->user) < 0 ||
            json_add(o, "uid", json_object_new_int64(e->subject->uid)) < 0 ||
            (e->subject->scope && json_add_string(o, "scope", e->subject->scope) < 0))
        return NULL;
    return TAKE_PTR(o);
}

static struct json_object *blockers_to_json(const Refusal *r) {
    _cleanup_json_ struct json_object *list = json_object_new_array();

    for (size_t i = 0; list && i < r->n_blockers; i++) {
        const Blocker *b = r->blockers + i;
        struct json_object *o = json_object_new_object();

        if (json_append(list, o) < 0 || json_add_string(o, "kind", blocker_kind_to_string(b->kind)) < 0 ||
                json_add_string(o, "name", b->name) < 0 || json_add_string(o, "why", b->why) < 0)
            return NULL;
    }
    return TAKE_PTR(list);
}

static struct json_object *obstacle_to_json(const Refusal *r) {
    _cleanup_json_ struct json_object *o = json_object_new_object();
    _cleanup_free_ char *message = refusal_format(r);

    if (!o || !message || json_add_string(o, "error", error_info(r->code)->name) < 0 ||
            json_add_string(o, "device", r->device[0] ? r->device : NULL) < 0 ||
            json_add_string(o, "message", message) < 0 || json_add_string(o, "rule", r->rule) < 0 ||
            json_add(o, "blockers", blockers_to_json(r)) < 0)
        return NULL;
    return TAKE_PTR(o);
}

/* The first element is the refusal itself. */
static struct json_object *obstacles_to_json(const Refusal *r) {
    _cleanup_json_ struct json_object *list = json_object_new_array();

    if (!list || (r && json_append(list, obstacle_to_json(r)) < 0))
        return NULL;
    for (size_t i = 0; r && i < r->n_obstacles; i++)
        if (json_append(list, obstacle_to_json(&r->obstacles[i])) < 0)
            return NULL;
    return TAKE_PTR(list);
}

static int add_answer(struct json_object *o, const Explanation *e) {
    _cleanup_free_ char *message = e->refusal ? refusal_format(e->refusal) : NULL;

    if ((e->refusal && !message) ||
            json_add_string(o, "error", e->refusal ? error_info(e->refusal->code)->name : NULL) < 0 ||
            json_add_string(o, "message", message) < 0 ||
            json_add(o, "obstacles", obstacles_to_json(e->refusal)) < 0)
        return -ENOMEM;
    return e->plan ? json_add(o, "plan", plan_to_json(e->plan)) : json_add_string(o, "plan", NULL);
}

static struct json_object *claim_to_json(const Claim *c) {
    _cleanup_json_ struct json_object *o = json_object_new_object();

    if (!o || json_add_string(o, "id", c->id) < 0 ||
            json_add_string(o, "state", claim_state_to_string(c->state)) < 0 ||
            json_add(o, "since", json_object_new_int64((int64_t) c->since_usec)) < 0 ||
            json_add_string(o, "rule", c->plan.rule) < 0)
        return NULL;
    return TAKE_PTR(o);
}

static struct json_object *refused_to_json(const PastRefusal *p) {
    _cleanup_json_ struct json_object *o = json_object_new_object();

    if (!o || json_add(o, "since", json_object_new_int64((int64_t) p->when_usec)) < 0 ||
            json_add_string(o, "error", error_info(p->code)->name) < 0 ||
            json_add_string(o, "message", p->message) < 0 ||
            json_add(o, "policyReloaded", json_object_new_boolean(p->policy_reloaded)) < 0)
        return NULL;
    return TAKE_PTR(o);
}

static bool has_host_critical(const Refusal *r) {
    for (size_t i = 0; r && i < r->n_obstacles; i++)
        if (r->obstacles[i].code == VFIOD_ERROR_HOST_CRITICAL)
            return true;
    return r && r->code == VFIOD_ERROR_HOST_CRITICAL;
}

/* The policy's advice does not know the host, so it is removed. */
static int take_advice_back(struct json_object *devices) {
    for (size_t i = 0; i < json_object_array_length(devices); i++) {
        struct json_object *device = json_object_array_get_idx(devices, i), *change = NULL;

        if (json_object_object_get_ex(device, "change", &change) && change &&
                json_add_string(device, "change", NO_RULE_HELPS) < 0)
            return -ENOMEM;
    }
    return 0;
}

struct json_object *explanation_to_json(Explanation *e) {
    _cleanup_json_ struct json_object *o = json_object_new_object();

    /* devices that have disappeared are left out */
    if (!e->devices)
        e->devices = json_object_new_array();
    if (!o || !e->devices || (has_host_critical(e->refusal) && take_advice_back(e->devices) < 0) ||
            json_add_string(o, "effect", effect_to_string(e->effect)) < 0 ||
            json_add(o, "devices", TAKE_PTR(e->devices)) < 0 ||
            json_add(o, "subject", subject_to_json(e)) < 0 || add_answer(o, e) < 0)
        return NULL;
    if ((e->claim && json_add(o, "claim", claim_to_json(e->claim)) < 0) ||
            (e->refused && json_add(o, "refused", refused_to_json(e->refused)) < 0))
        return NULL;
    return TAKE_PTR(o);
}
