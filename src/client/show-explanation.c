/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client/show-explanation.h"

#include <inttypes.h>

#include "base/str.h"
#include "client/policy-door.h"

/* For a rule that does not match, the predicates that failed; for others, all of them. */
static void show_predicates(struct json_object *rule) {
    struct json_object *predicates = json_list(rule, "predicates");
    bool holds = json_flag(rule, "matches") || json_flag(rule, "holds"); /* the second is of an older
                                                                          * daemon */

    for (size_t i = 0; predicates && i < json_object_array_length(predicates); i++) {
        struct json_object *p = json_object_array_get_idx(predicates, i);
        const char *answer = json_text(p, "holds");

        if (holds || !streq(answer, "yes"))
            policy_print("          %s: %s; requires %s, found %s", json_text(p, "key"), answer,
                    json_text(p, "wanted"), json_text(p, "seen"));
    }
}

void show_made(const Options *o, struct json_object *plan) {
    struct json_object *members = json_list(plan, "members");

    for (size_t i = 0; members && i < json_object_array_length(members); i++) {
        struct json_object *member = json_object_array_get_idx(members, i);

        if (*json_text(member, "mediatedType"))
            show_fieldf(o, "Creates", "%s of %s (removed at the end of the claim)",
                    json_text(member, "mediatedType"), json_text(member, "parent"));
    }
}

static void show_considered(const Options *o, struct json_object *explanation) {
    struct json_object *considered = json_list(explanation, "considered");
    TableStyle style = screen_style(o);

    for (size_t i = 0; considered && i < json_object_array_length(considered); i++) {
        struct json_object *rule = json_object_array_get_idx(considered, i);
        bool decides = i + 1 == json_object_array_length(considered) && *json_text(explanation, "rule");

        if (style.colours)
            fputs(colour_on(decides ? COLOUR_BOLD : COLOUR_GREY), stdout);
        policy_print("  %s %s: %s (%s:%" PRIi64 ")", decides ? "decides " : "no match",
                json_text(rule, "rule"), json_text(rule, "effect"), json_text(rule, "file"),
                json_number(rule, "line"));
        if (style.colours)
            fputs(COLOUR_OFF, stdout);
        show_predicates(rule);
    }
    if (json_number(explanation, "leftOut") > 0)
        printf("  … and %" PRIi64 " more rules that do not match\n", json_number(explanation, "leftOut"));
    if (json_number(explanation, "hidden") > 0)
        printf("  %" PRIi64 " rules are not shown to you\n", json_number(explanation, "hidden"));
}

/* error: of the whole request. If the planner refuses what the policy allows, the result is not called
 * "allowed". */
static char *describe_decision(struct json_object *explanation, const char *error) {
    const char *device = json_text(explanation, "device"), *effect = json_text(explanation, "effect");
    const char *rule = json_text(explanation, "rule");

    if (!*rule)
        return format_string("%s: denied: no rule matches", device);
    if (!streq(effect, "deny") && *error)
        return format_string("%s: refused (%s), although rule %s would %s it", device, error, rule, effect);
    return format_string("%s: %s by rule %s", device, effect, rule);
}

static void show_explanation(const Options *o, struct json_object *explanation, const char *error) {
    _cleanup_free_ char *heading = describe_decision(explanation, error);

    show_heading(o, heading ? heading : "(out of memory)");
    show_considered(o, explanation);
    show_field(o, "Change", COLOUR_YELLOW, json_text(explanation, "change"));
    puts("");
}

static void show_since(const Options *o, struct json_object *object) {
    _cleanup_free_ char *since = show_time(json_number(object, "since"));

    show_field(o, "Since", COLOUR_NONE, since);
}

static void show_claim(const Options *o, struct json_object *claim) {
    show_heading(o, "The claim as it was recorded");
    show_field(o, "Claim", COLOUR_NONE, json_text(claim, "id"));
    show_field(o, "State", COLOUR_NONE, json_text(claim, "state"));
    show_since(o, claim);
    show_field(o, "Allowed by", COLOUR_NONE, json_text(claim, "rule"));
    puts("\nWhat the policy decides now");
}

static void show_refused(const Options *o, struct json_object *refused) {
    show_heading(o, "The refusal as it was reported");
    show_since(o, refused);
    show_field(o, "Error", COLOUR_RED, json_text(refused, "error"));
    show_field(o, "Message", COLOUR_NONE, json_text(refused, "message"));
    if (json_flag(refused, "policyReloaded"))
        show_field(o, "Since then", COLOUR_YELLOW, "the policy was reloaded");
    puts("\nWhat the policy decides now");
}

void show_obstacles(const Options *o, struct json_object *obstacles) {
    if (!obstacles || json_object_array_length(obstacles) < 2)
        return;
    show_heading(o, "All obstacles");
    for (size_t i = 0; i < json_object_array_length(obstacles); i++) {
        struct json_object *obstacle = json_object_array_get_idx(obstacles, i);

        policy_print("  %zu. %s: %s", i + 1, json_text(obstacle, "error"), json_text(obstacle, "message"));
    }
}

int show_answer(const Options *o, struct json_object *result) {
    struct json_object *devices = json_list(result, "devices"), *plan = json_member(result, "plan");
    struct json_object *claim = json_member(result, "claim"), *refused = json_member(result, "refused");
    const char *name = json_text(result, "error"), *effect = json_text(result, "effect");

    if (claim)
        show_claim(o, claim);
    if (refused)
        show_refused(o, refused);
    for (size_t i = 0; devices && i < json_object_array_length(devices); i++)
        show_explanation(o, json_object_array_get_idx(devices, i), name);
    if (*name) {
        show_field(o, "Request", COLOUR_RED, name);
        show_field(o, "Message", COLOUR_NONE, json_text(result, "message"));
        show_obstacles(o, json_list(result, "obstacles"));
        return 0;
    }
    show_field(o, "Request", COLOUR_GREEN, streq(effect, "ask") ? "granted after authentication" : "granted");
    show_field(o, "Backend", COLOUR_NONE, json_text(plan, "backend"));
    show_made(o, plan);
    return 0;
}
