/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client/calls.h"
#include "client/policy-door.h"

/* The claims, if a daemon is running that can list them. Everything else works without it. */
static int get_claims(struct json_object **ret) {
    _cleanup_json_ struct json_object *claims = json_object_new_array();
    _cleanup_objects_ Objects objects = {};
    _cleanup_connection_ VfiodConnection *c = NULL;
    VfiodErrorText ignored;

    if (!claims)
        return -ENOMEM;
    if (vfiod_connection_new(&c, &ignored) < 0 || call_get_objects(c, &objects, &ignored) < 0)
        return 0;
    for (size_t i = 0; i < objects.n_items; i++)
        if (objects.items[i].kind == OBJECT_CLAIM &&
                json_object_array_add(claims, json_object_get(objects.items[i].properties)) < 0)
            return -ENOMEM;
    *ret = TAKE_PTR(claims);
    return 0;
}

static int show_text(const Options *o, const char *text) {
    _cleanup_json_ struct json_object *result = NULL;

    if (!o->json)
        return fputs(text, stdout) < 0 ? -EIO : 0;
    result = json_object_new_object();
    if (!result || json_add(result, "policy", json_object_new_string(text)) < 0)
        return -ENOMEM;
    return show_json(stdout, result, /* pretty= */ true);
}

int verb_policy_generate(const Options *o, VfiodErrorText *error) {
    _cleanup_json_ struct json_object *claims = NULL;
    _cleanup_rehearsal_ Rehearsal *rehearsal = NULL;
    _cleanup_free_ char *text = NULL;
    char *problem = NULL;
    int r;

    r = policy_open(o, NULL, &rehearsal, error);
    if (r >= 0 && !o->host && get_claims(&claims) < 0)
        r = error_text_errno(error, -ENOMEM, "Cannot generate a policy");
    if (r < 0)
        return r;
    r = rehearsal_generate(rehearsal, claims, &text, &problem);
    if (r < 0)
        return policy_failed(r, problem, error);
    r = show_text(o, text);
    return r < 0 ? error_text_errno(error, r, "Cannot show the policy") : 0;
}
