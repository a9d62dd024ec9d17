/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Parses each named file as a policy of its own, and prints "NAME: ok" or its errors. It knows the accounts
 * of the examples without asking the host. test-policy-schema.py uses it to compare parser and schema. */

#include <fcntl.h>
#include <stdio.h>

#include "base/fd.h"
#include "base/str.h"
#include "policy/parse.h"

/* Every name exists except "nobody-here". */
static int resolve(_unused_ void *userdata, _unused_ bool is_group, const char *name, uint32_t *ret) {
    if (strspn(name, "0123456789") == strlen(name) || streq(name, "nobody-here"))
        return -ENOENT;
    *ret = 1000;
    for (; *name; name++)
        *ret = 31 * *ret + (unsigned char) *name;
    *ret &= INT32_MAX;
    return 0;
}

static int check(const char *file) {
    _cleanup_(policy_parser_freep) PolicyParser *p = policy_parser_new(resolve, NULL);
    _cleanup_(policy_freep) Policy *policy = NULL;
    _cleanup_free_ char *text = NULL;
    size_t size;
    int r;

    r = read_file_at(AT_FDCWD, file, 16 * 1024 * 1024, &text, &size);
    if (r < 0)
        return r;
    r = p ? policy_parser_add(p, file, text, size) : -ENOMEM;
    if (r < 0)
        return r;
    r = policy_parser_finish(p, &policy);
    if (r >= 0)
        printf("%s: ok\n", file);
    else if (r != -EINVAL)
        return r;
    for (size_t i = 0; i < policy_parser_n_errors(p); i++)
        printf("%s\n", policy_parser_error(p, i));
    return 0;
}

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        int r = check(argv[i]);

        if (r < 0) {
            fprintf(stderr, "%s: %s\n", argv[i], strerror(-r));
            return EXIT_FAILURE;
        }
    }
    return EXIT_SUCCESS;
}
