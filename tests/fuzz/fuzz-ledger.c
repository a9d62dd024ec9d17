/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The ledger of taints as a crash, a full disk or a hand in /run may leave it: what is taken must print and
 * parse to the same again, and of what is not taken nothing is left. */

#include "core/taint.h"
#include "fuzz.h"

static int read_list(const char *text, size_t size, TaintList *ret) {
    _cleanup_(json_document_freep) JsonDocument *document = NULL;
    FieldReader reader = {.name = "the list"};
    JsonError error;
    int r;

    r = json_document_parse(text, size, &document, &error);
    if (r >= 0)
        r = taint_list_read(&reader, json_document_root(document), ret);
    free(reader.problem);
    return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static TaintList list, again;
    _cleanup_strbuf_ StrBuf b = {};
    int r;

    list = again = (TaintList){};
    r = read_list((const char *) data, size, &list);
    EXPECT(r >= 0 || (list.n == 0 && list.more == 0));
    taint_list_write(&b, &list);
    EXPECT(b.text && read_list(b.text, b.length, &again) == 0);
    EXPECT(again.n == list.n && (again.more > 0) == (list.more > 0));
    for (size_t i = 0; i < list.n; i++)
        EXPECT(streq(again.entries[i].what, list.entries[i].what) &&
                again.entries[i].kind == list.entries[i].kind &&
                again.entries[i].uid == list.entries[i].uid &&
                again.entries[i].since_usec == list.entries[i].since_usec);
    return 0;
}
