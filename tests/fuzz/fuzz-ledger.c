/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The ledger of taints as a crash, a full disk or a hand in /run may leave it: what is taken must print and
 * parse to the same again, and of what is not taken nothing is left. */

#include "core/taint.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static TaintList list, again;
    struct json_tokener *tokener = json_tokener_new();
    struct json_object *o, *copy;
    int r;

    EXPECT(tokener);
    json_tokener_set_flags(tokener, JSON_TOKENER_STRICT);
    o = json_tokener_parse_ex(tokener, (const char *) data, (int) size);
    json_tokener_free(tokener);

    list = again = (TaintList){};
    r = taint_list_from_json(o, &list);
    json_object_put(o);
    EXPECT(r >= 0 || (list.n == 0 && list.more == 0));
    copy = taint_list_to_json(&list);
    EXPECT(copy && taint_list_from_json(copy, &again) == 0);
    json_object_put(copy);
    EXPECT(again.n == list.n && again.more == list.more);
    for (size_t i = 0; i < list.n; i++)
        EXPECT(streq(again.entries[i].what, list.entries[i].what) &&
                again.entries[i].kind == list.entries[i].kind &&
                again.entries[i].uid == list.entries[i].uid &&
                again.entries[i].since_usec == list.entries[i].since_usec);
    return 0;
}
