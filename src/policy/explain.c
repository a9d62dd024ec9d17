/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Explains a verdict. Each rule is evaluated again, predicate by predicate, with the functions that decided.
 *
 * What happened and who may learn it are separate. A rule that does not concern the subject is only counted.
 * It appears neither in the list, nor as the deciding rule, nor in the proposed change. When such a rule
 * decided, its subject gets the answer of a stranger: no rule allows it. The number of hidden rules covers
 * the whole policy, so that it does not reveal which of them decided.
 *
 * The proposed change: of the rules that could allow, the one with the fewest failing predicates is the
 * nearest. The change is proposed only when it is small. Otherwise a new rule is the smaller change. */

#include <inttypes.h>

#include "base/str.h"
#include "core/device-kind.h"
#include "base/json-build.h"
#include "policy/explain-internal.h"

/* If more predicates fail, a new rule is proposed instead of a change. */
#define NEAR_MAX 2U

/* Clients can cause refusals without limit, so these do not search thousands of rules. */
#define NEAR_RULES_MAX 1024U

/* A policy can have thousands of rules that concern everybody. The daemon pays for an explanation, so a
 * subject gets fewer of them than the operator. */
#define SHOWN_TO_OPERATOR_MAX 4096U
#define SHOWN_TO_SUBJECT_MAX 64U

typedef struct Story {
    const Policy *policy;
    const char *user;
    Audience audience;
    Question question;
    Verdict verdict;
} Story;

/* The rule that would allow if only these predicates held. */
typedef struct Near {
    const Rule *rule; /* NULL: none is near */
    uint32_t failing;
    unsigned n_failing;
} Near;

static void story_init(
        Story *s, const Policy *policy, const PolicyQuestion *question, Audience audience, const char *user) {
    *s = (Story){
            .policy = policy,
            .user = user,
            .audience = audience,
            .verdict = policy_evaluate(policy, question),
    };
    question_init(&s->question, question, UINT32_MAX);
}

static bool may_see(const Story *s, const Rule *rule) {
    return s->audience == AUDIENCE_OPERATOR || rule_concerns(rule, s->question.subject);
}

/* The rule that decided, unless the audience may not know it. */
static const Rule *deciding_rule(const Story *s) {
    return s->verdict.rule && may_see(s, s->verdict.rule) ? s->verdict.rule : NULL;
}

/* ---- the nearest rule ---- */

static unsigned count_bits(uint32_t mask) {
    return (unsigned) __builtin_popcount(mask);
}

/* The predicates that do not hold. Stops after max of them, which keeps this as cheap as the decision
 * itself. */
static uint32_t find_failing(const Rule *rule, const Question *q, unsigned max) {
    uint32_t failing = 0;

    for (uint32_t rest = rule_predicates(rule, q); rest != 0 && count_bits(failing) <= max;
            rest &= rest - 1) {
        PredicateKind kind = (PredicateKind) __builtin_ctz(rest);

        if (rule_ask(rule, kind, q) != HOLDS_YES)
            failing |= 1U << kind;
    }
    return failing;
}

/* At least one predicate of the rule must hold. Otherwise the rule has nothing to do with the question. */
static bool has_common_ground(const Rule *rule, uint32_t failing) {
    return (rule->predicates & ~failing & ~(1U << PREDICATE_UNTIL)) != 0;
}

static Near find_near(const Story *s, size_t max_rules) {
    Near best = {.n_failing = NEAR_MAX + 1};

    for (size_t i = 0; i < MIN(policy_n_rules(s->policy), max_rules); i++) {
        const Rule *rule = policy_rule(s->policy, i);
        uint32_t failing;

        if (rule->effect == EFFECT_DENY)
            continue;
        failing = find_failing(rule, &s->question, best.n_failing - 1);
        if (count_bits(failing) >= best.n_failing || !has_common_ground(rule, failing) || !may_see(s, rule))
            continue;
        best = (Near){.rule = rule, .failing = failing, .n_failing = count_bits(failing)};
        if (best.n_failing == 0)
            break;
    }
    return best;
}

/* ---- the change ---- */

static void add_json_string(StrBuf *b, const char *text) {
    struct json_object *o = json_object_new_string(text);

    if (o)
        strbuf_add(b, json_object_to_json_string_ext(o, JSON_C_TO_STRING_NOSLASHESCAPE));
    else
        b->error = -ENOMEM;
    json_object_put(o);
}

/* The subject as a policy would name it: by name or by number. */
static void add_who(StrBuf *b, const Story *s) {
    if (s->user)
        add_json_string(b, s->user);
    else
        strbuf_addf(b, "%" PRIu32, (uint32_t) s->question.subject->uid);
}

static void add_rule_for(StrBuf *b, const Story *s) {
    char name[DEVICE_NAME_MAX];

    strbuf_add(b, "{ \"effect\": \"allow\", \"who\": { \"user\": ");
    add_who(b, s);
    if (s->question.subject->scope)
        strbuf_addf(b, ", \"scope\": \"%s\"", s->question.subject->scope);
    strbuf_addf(
            b, " }, \"what\": { \"device\": \"%s\" } }", device_name_format(&s->question.device->name, name));
}

static bool is_known_user(const Story *s) {
    return s->question.subject->uid != (uid_t) -1;
}

/* Such a rule always loosens the policy, so the advice says that. */
static void add_new_rule(StrBuf *b, const Story *s) {
    if (!is_known_user(s)) {
        strbuf_add(b, "No rule allows it to a caller with an unknown uid.");
        return;
    }
    strbuf_addf(b, "To loosen the policy for this device alone, %s: ",
            s->audience == AUDIENCE_OPERATOR ? "add the rule" : "ask the operator for the rule");
    add_rule_for(b, s);
}

/* No change of a glob or number matches a value that does not exist. */
static bool is_absent(const Rule *rule, PredicateKind kind, const Question *q) {
    switch (kind) {
    case PREDICATE_WHO_SCOPE:
        /* Nor is a rule for everybody changed into one for a scope. */
        return !q->subject->scope || rule->scopes.n == 0;
    case PREDICATE_WHO_UNIT:
        return !q->subject->unit;
    case PREDICATE_WHAT_PHYSICAL_FUNCTION:
        return !device_is_virtual_function(q->device);
    case PREDICATE_WHAT_DRIVER:
        return !q->device->driver;
    case PREDICATE_WHAT_GROUP:
        return !q->device->group;
    default:
        return false;
    }
}

/* What keeps the rule from matching: "what.driver requires iavf, found e1000e". */
static void add_obstacle(StrBuf *b, const Story *s, const Rule *rule, PredicateKind kind) {
    _cleanup_free_ char *seen = explain_seen(rule, kind, &s->question, s->audience, s->user);
    const char *key = predicate_key(kind), *wanted = rule_wanted(rule, kind);

    if (!seen) {
        b->error = -ENOMEM;
        return;
    }
    if (rule_ask(rule, kind, &s->question) == HOLDS_UNKNOWN)
        strbuf_addf(b, "%s requires %s, and the fact is unknown", key, wanted);
    else if (kind == PREDICATE_WHAT_ACS && rule->acs)
        strbuf_addf(b, "it needs complete ACS isolation; this device has %s isolation", seen);
    else if (kind == PREDICATE_WHAT_RESET && rule->reset)
        strbuf_add(b, "it needs a device with a reset method; this device has none");
    else if (kind == PREDICATE_WHAT_ALONE && rule->alone)
        strbuf_addf(b, "it needs a device that is alone in its IOMMU group; %s", seen);
    else if (kind == PREDICATE_UNTIL)
        strbuf_addf(b, "it expired at %s", wanted);
    else
        strbuf_addf(b, "%s requires %s, found %s", key, wanted, seen);
}

/* The change of the rule that would let it match, as part of a sentence. Empty for properties of the machine:
 * the advice is never to require less isolation. */
static void add_step(StrBuf *b, const Story *s, const Rule *rule, PredicateKind kind) {
    _cleanup_free_ char *seen = explain_seen(rule, kind, &s->question, s->audience, s->user);
    const char *key = predicate_key(kind);

    if (!seen) {
        b->error = -ENOMEM;
        return;
    }
    if (rule_ask(rule, kind, &s->question) == HOLDS_UNKNOWN || is_absent(rule, kind, &s->question))
        return;
    switch (kind) {
    case PREDICATE_WHO_USER:
        strbuf_add(b, "add ");
        add_who(b, s);
        strbuf_add(b, " to who.user");
        break;
    case PREDICATE_WHO_GROUP:
        strbuf_addf(b, "make the user a member of a group in who.group (%s)", rule_wanted(rule, kind));
        break;
    case PREDICATE_WHO_UNIT:
    case PREDICATE_WHO_CGROUP:
    case PREDICATE_WHO_LABEL:
    case PREDICATE_WHO_NAMESPACE:
    case PREDICATE_WHO_SCOPE:
    case PREDICATE_WHAT_DEVICE:
    case PREDICATE_WHAT_PHYSICAL_FUNCTION:
    case PREDICATE_WHAT_ID:
    case PREDICATE_WHAT_GROUP:
        strbuf_addf(b, "add %s to %s", seen, key);
        break;
    case PREDICATE_UNTIL:
        strbuf_add(b, "set a later \"until\"");
        break;
    default:
        break;
    }
}

/* Would the change allow every device of a class, a driver or a NUMA node? */
static bool is_about_many(const Story *s, const Near *near) {
    if (s->question.device->driver == NULL && near->failing & 1U << PREDICATE_WHAT_DRIVER)
        return false; /* the device can still be bound to that driver */
    return (near->failing &
                   (1U << PREDICATE_WHAT_CLASS | 1U << PREDICATE_WHAT_DRIVER | 1U << PREDICATE_WHAT_NUMA)) !=
            0;
}

/* Without a step for each obstacle there is no sentence, because incomplete advice does not help. */
static void add_steps(StrBuf *b, const Story *s, const Near *near) {
    _cleanup_strbuf_ StrBuf steps = {};

    for (uint32_t rest = near->failing; rest != 0; rest &= rest - 1) {
        _cleanup_strbuf_ StrBuf step = {};

        add_step(&step, s, near->rule, (PredicateKind) __builtin_ctz(rest));
        b->error = step.error ?: b->error;
        if (step.length == 0)
            return;
        strbuf_addf(&steps, "%s%s", steps.length > 0 ? ", and " : "", step.text);
    }
    b->error = steps.error ?: b->error;
    strbuf_addf(b, " To loosen the policy, %s.", steps.text ?: "");
}

/* The rule names this user already, but the name could not be resolved. */
static bool is_named_but_unknown(const Story *s, const Near *near) {
    return near->failing & 1U << PREDICATE_WHO_USER && s->user &&
            rule_names_unknown_user(near->rule, s->user);
}

static void add_near(StrBuf *b, const Story *s, const Near *near) {
    const char *separator = "";

    strbuf_addf(b, "Rule %s does not match: ", rule_origin(near->rule));
    for (uint32_t rest = near->failing; rest != 0; rest &= rest - 1) {
        strbuf_add(b, separator);
        add_obstacle(b, s, near->rule, (PredicateKind) __builtin_ctz(rest));
        separator = "; ";
    }
    strbuf_add(b, ".");
    if (near->failing == 1U << PREDICATE_WHO_SCOPE && near->rule->scopes.n == 0) {
        strbuf_addf(b, " To loosen the policy, add a rule with \"scope\": \"%s\" in its \"who\".",
                s->question.subject->scope);
        return;
    }
    if (is_about_many(s, near)) { /* a rule of its own allows the least */
        strbuf_add(b, " ");
        add_new_rule(b, s);
        strbuf_add(b, ".");
        return;
    }
    if (!is_named_but_unknown(s, near)) {
        add_steps(b, s, near);
        return;
    }
    strbuf_add(b, " ");
    add_who(b, s);
    strbuf_add(b, " in who.user was unknown when it was last looked up: reload the policy.");
}

/* What the tag records about this place or card. NULL when another predicate has changed. */
static const TagEntry *find_changed_entry(const Rule *rule, const Question *q, const Tag **ret_tag) {
    for (size_t i = 0; i < rule->n_tags; i++) {
        const TagEntry *entry = tag_changed_entry(rule->tags[i].tag, q);

        if (entry) {
            *ret_tag = rule->tags[i].tag;
            return entry;
        }
    }
    return NULL;
}

static void add_changed(StrBuf *b, const Story *s, const Rule *rule) {
    _cleanup_free_ char *seen = explain_seen(rule, PREDICATE_WHAT_TAG, &s->question, s->audience, s->user);
    const Tag *tag = NULL;
    const TagEntry *entry = find_changed_entry(rule, &s->question, &tag);

    if (!entry || !seen) {
        b->error = seen ? b->error : -ENOMEM;
        return;
    }
    strbuf_addf(b, "Tag %s (%s:%u) describes ", tag->name, tag->file, tag->line);
    explain_add_entry(b, entry);
    strbuf_addf(b, "; found %s. Check the card: put the right one back, or update the tag.", seen);
}

/* Names the unknown facts that count against the subject. */
static void add_unknown(StrBuf *b, const Story *s, const Rule *rule) {
    const char *separator = " (unknown facts count against the caller: ";
    bool any = false;

    for (uint32_t rest = rule_predicates(rule, &s->question); rest != 0; rest &= rest - 1) {
        PredicateKind kind = (PredicateKind) __builtin_ctz(rest);

        if (rule_ask(rule, kind, &s->question) != HOLDS_UNKNOWN)
            continue;
        strbuf_addf(b, "%s%s", separator, predicate_key(kind));
        separator = ", ";
        any = true;
    }
    strbuf_add(b, any ? ")" : "");
}

static void add_denied(StrBuf *b, const Story *s, const Rule *rule, const Near *near) {
    if (near->rule && near->n_failing == 0) {
        strbuf_addf(b, "Rule %s would allow it, but rule %s denies it first", rule_origin(near->rule),
                rule_origin(rule));
        add_unknown(b, s, rule);
        strbuf_addf(b, ". To loosen the policy, put rule %s before rule %s.", rule_name(near->rule),
                rule_name(rule));
        return;
    }
    /* Both are in the one array of the policy. A rule before the denial need not be moved. */
    if (near->rule && near->rule < rule) {
        add_near(b, s, near);
        return;
    }
    strbuf_addf(b, "To loosen the policy, narrow rule %s", rule_origin(rule));
    add_unknown(b, s, rule);
    strbuf_addf(b, ", and let another rule allow it%s", near->rule || !is_known_user(s) ? ". " : ": ");
    if (near->rule)
        add_near(b, s, near);
    else if (is_known_user(s))
        add_rule_for(b, s);
    else
        add_new_rule(b, s);
}

/* Is this a device that no rule can allow? */
static bool cannot_be_claimed(const Story *s) {
    return !device_kind_info(s->question.device->name.kind)->claimable ||
            device_is_bridge(s->question.device);
}

/* Only the operator learns which templates exist. */
static bool is_template_missing(const Story *s) {
    const DeviceName *name = &s->question.device->name;

    return s->audience == AUDIENCE_OPERATOR && s->policy && name->kind == DEVICE_KIND_TEMPLATE &&
            !policy_find_template(s->policy, name);
}

/* Owned by the caller; NULL on ENOMEM. Only for a verdict that does not allow. */
static char *describe_change(const Story *s, const Near *near) {
    const Rule *rule = deciding_rule(s);
    _cleanup_strbuf_ StrBuf b = {};

    if (device_is_bridge(s->question.device))
        return strdup(
                "No rule changes that: it is a bridge, and bridges cannot be claimed. Claim the devices "
                "below it instead.");
    if (cannot_be_claimed(s))
        return format_string("No rule changes that: devices of the kind %s cannot be claimed.",
                device_kind_to_string(s->question.device->name.kind));
    if (is_template_missing(s))
        return strdup("The policy has no template of this name. Add it to \"templates\" of \"host\", see "
                      "vfiod-policy(5).");
    if (s->audience == AUDIENCE_SUBJECT && (rule || (near->rule && near->n_failing > 0)))
        strbuf_add(&b, "Only the operator can change that. ");
    if (!s->policy)
        strbuf_add(&b, "No valid policy is loaded: fix its files and reload.");
    else if (rule && s->verdict.changed)
        add_changed(&b, s, rule);
    else if (rule)
        add_denied(&b, s, rule, near);
    else if (near->rule && near->n_failing > 0)
        add_near(&b, s, near);
    else /* A near rule without an obstacle comes after a rule that the audience may not see. */
        add_new_rule(&b, s);
    return strbuf_steal(&b);
}

/* ---- JSON ---- */

static struct json_object *predicate_to_json(const Story *s, const Rule *rule, PredicateKind kind) {
    _cleanup_json_ struct json_object *o = json_object_new_object();
    _cleanup_free_ char *seen = explain_seen(rule, kind, &s->question, s->audience, s->user);

    if (!o || !seen || json_add_string(o, "key", predicate_key(kind)) < 0 ||
            json_add_string(o, "holds", holds_to_string(rule_ask(rule, kind, &s->question))) < 0 ||
            json_add_string(o, "wanted", rule_wanted(rule, kind)) < 0 || json_add_string(o, "seen", seen) < 0)
        return NULL;
    return TAKE_PTR(o);
}

static struct json_object *predicates_to_json(const Story *s, const Rule *rule) {
    _cleanup_json_ struct json_object *array = json_object_new_array();

    if (!array)
        return NULL;
    for (uint32_t rest = rule_predicates(rule, &s->question); rest != 0; rest &= rest - 1)
        if (json_append(array, predicate_to_json(s, rule, (PredicateKind) __builtin_ctz(rest))) < 0)
            return NULL;
    return TAKE_PTR(array);
}

static struct json_object *rule_to_json(const Story *s, const Rule *rule) {
    _cleanup_json_ struct json_object *o = json_object_new_object();
    bool holds = rule_holds(rule, &s->question) == RULE_DECIDES;

    if (!o || json_add_string(o, "rule", rule_name(rule)) < 0 ||
            json_add_string(o, "file", rule_file(rule)) < 0 ||
            json_add(o, "line", json_object_new_int64(rule_line(rule))) < 0 ||
            json_add_string(o, "effect", effect_to_string(rule_effect(rule))) < 0 ||
            json_add_string(o, "origin", rule_origin(rule)) < 0 ||
            json_add(o, "matches", json_object_new_boolean(holds)) < 0 ||
            /* older name of "matches"; the "holds" of a predicate is a string */
            json_add(o, "holds", json_object_new_boolean(holds)) < 0 ||
            json_add(o, "predicates", predicates_to_json(s, rule)) < 0)
        return NULL;
    return TAKE_PTR(o);
}

/* The rules up to the deciding one, which is always among those shown. */
static struct json_object *considered_to_json(const Story *s, int64_t *ret_left_out) {
    size_t max = s->audience == AUDIENCE_OPERATOR ? SHOWN_TO_OPERATOR_MAX : SHOWN_TO_SUBJECT_MAX;
    _cleanup_json_ struct json_object *array = json_object_new_array();
    int64_t left_out = 0;

    if (!array)
        return NULL;
    for (size_t i = 0; i < policy_n_rules(s->policy); i++) {
        const Rule *rule = policy_rule(s->policy, i);
        bool decides = rule == s->verdict.rule;

        if (!may_see(s, rule))
            ;
        else if (!decides && json_object_array_length(array) >= max)
            left_out++;
        else if (json_append(array, rule_to_json(s, rule)) < 0)
            return NULL;
        if (decides)
            break;
    }
    *ret_left_out = left_out;
    return TAKE_PTR(array);
}

static int64_t count_hidden(const Story *s) {
    int64_t n = 0;

    for (size_t i = 0; i < policy_n_rules(s->policy); i++)
        n += !may_see(s, policy_rule(s->policy, i));
    return n;
}

static int add_change(struct json_object *o, const Story *s) {
    _cleanup_free_ char *change = NULL;
    Near near;

    if (s->verdict.effect != EFFECT_DENY)
        return json_add_string(o, "change", NULL);
    near = find_near(s, SIZE_MAX);
    change = describe_change(s, &near);
    return change ? json_add_string(o, "change", change) : -ENOMEM;
}

static int add_decision(struct json_object *o, const Story *s) {
    const Rule *rule = deciding_rule(s);
    char name[DEVICE_NAME_MAX];
    int r;

    r = json_add_string(o, "device", device_name_format(&s->question.device->name, name));
    if (r >= 0)
        r = json_add_string(o, "effect", effect_to_string(s->verdict.effect));
    if (r >= 0)
        r = json_add_string(o, "rule", rule ? rule_name(rule) : NULL);
    if (r >= 0)
        r = json_add_string(o, "file", rule ? rule_file(rule) : NULL);
    if (r >= 0)
        r = json_add(o, "line", json_object_new_int64(rule ? rule_line(rule) : 0));
    if (r >= 0)
        r = json_add_string(o, "origin", rule ? rule_origin(rule) : NULL);
    return r;
}

struct json_object *policy_explain(
        const Policy *policy, const PolicyQuestion *question, Audience audience, const char *user) {
    _cleanup_json_ struct json_object *o = json_object_new_object();
    struct json_object *considered;
    int64_t left_out = 0;
    Story s;

    story_init(&s, policy, question, audience, user);
    if (!o || add_decision(o, &s) < 0)
        return NULL;
    considered = considered_to_json(&s, &left_out);
    if (json_add(o, "considered", considered) < 0 ||
            json_add(o, "leftOut", json_object_new_int64(left_out)) < 0 ||
            json_add(o, "hidden", json_object_new_int64(count_hidden(&s))) < 0 || add_change(o, &s) < 0)
        return NULL;
    return TAKE_PTR(o);
}

/* ---- refusals ---- */

/* The caller gets the answer of a stranger. The code that made the refusal should not have named the rule;
 * this makes sure. */
static void hide_rule(Refusal *refusal, const Story *s) {
    char who[SUBJECT_DESCRIPTION_MAX];

    if (!refusal->rule && refusal->code == VFIOD_ERROR_ACCESS_DENIED)
        return;
    free(refusal->rule);
    free(refusal->reason);
    refusal->rule = NULL;
    refusal->reason = format_string(
            "no rule of the policy allows it to %s", subject_describe(s->question.subject, who));
    refusal->code = VFIOD_ERROR_ACCESS_DENIED;
}

static void tell_place(Refusal *refusal, const Rule *rule) {
    (void) free_and_strdup(&refusal->rule, rule_origin(rule));
    (void) free_and_strdup(&refusal->file, rule_file(rule));
    refusal->line = rule_line(rule);
}

static void tell_predicate(Refusal *refusal, const Story *s, const Rule *rule, PredicateKind kind) {
    free(refusal->seen);
    refusal->seen = explain_seen(rule, kind, &s->question, s->audience, s->user);
    (void) free_and_strdup(&refusal->predicate, predicate_key(kind));
    (void) free_and_strdup(&refusal->wanted, rule_wanted(rule, kind));
}

void policy_explain_refusal(
        const Policy *policy, const PolicyQuestion *question, Audience audience, Refusal *refusal) {
    const Rule *rule;
    bool is_near;
    Near near;
    Story s;

    story_init(&s, policy, question, audience, /* user= */ NULL);
    if (!policy || s.verdict.effect != EFFECT_DENY)
        return;
    rule = deciding_rule(&s);
    near = find_near(&s, NEAR_RULES_MAX);
    is_near = !rule && near.rule && near.n_failing > 0;
    if (rule)
        tell_place(refusal, rule);
    else if (s.verdict.rule)
        hide_rule(refusal, &s);
    if (rule && s.verdict.changed)
        tell_predicate(refusal, &s, rule, PREDICATE_WHAT_TAG);
    if (is_near) {
        (void) free_and_strdup(&refusal->nearest, rule_origin(near.rule));
        tell_predicate(refusal, &s, near.rule, (PredicateKind) __builtin_ctz(near.failing));
    }
    /* For a subject whom no rule concerns, the sentence of the error table is clearer. */
    if (rule || is_near || audience == AUDIENCE_OPERATOR || cannot_be_claimed(&s)) {
        free(refusal->remedy);
        refusal->remedy = describe_change(&s, &near);
    }
}
