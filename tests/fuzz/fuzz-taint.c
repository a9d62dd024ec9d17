/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The kernel's command line, which a boot loader or a person wrote. What is found is printable, and is found
 * again when it stands alone. */

#include "base/str.h"
#include "core/taint.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    _cleanup_free_ char *text = malloc(size + 1), *weakness = NULL;
    static TaintList list;
    int error;

    EXPECT(text);
    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';

    list = (TaintList){};
    taint_list_add_command_line(&list, text);
    EXPECT(list.n <= TAINTS_MAX && (list.more == 0 || list.n == TAINTS_MAX));
    weakness = taint_list_describe_weakness(&list, &error);
    EXPECT(error == 0);
    for (size_t i = 0; i < list.n; i++) {
        const Taint *t = &list.entries[i];

        EXPECT(t->kind == TAINT_COMMAND_LINE && t->what[0] && is_printable(t->what));
        EXPECT(!t->weakens || weakness);
        for (size_t k = 0; k < i; k++)
            EXPECT(!streq(list.entries[k].what, t->what));
    }
    return 0;
}
