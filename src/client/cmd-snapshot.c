/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client/policy-door.h"

/* Always JSON, because it is for a file. */
int verb_snapshot(const Options *o, VfiodErrorText *error) {
    _cleanup_json_ struct json_object *host = NULL;
    char *problem = NULL;
    int r;

    r = rehearsal_snapshot(o->policies.n > 0 ? o->policies.items : NULL, o->serials, &host, &problem);
    if (r < 0)
        return policy_failed(r, problem, error);
    r = show_document(stdout, host, /* pretty= */ true);
    return r < 0 ? error_text_errno(error, r, "Cannot show the host") : 0;
}
