/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/kernel-stack.h"

#include <string.h>

#include "base/str.h"

#define NAME_LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_."

/* "[<0>] vfio_unregister_group_dev+0x9a/0x130 [vfio]", or only a name. Numbers stand for unknown functions.
 */
static void parse_line(const char *line, const char *end, KernelStack *s) {
    const char *name = line;
    size_t n;

    if (*name == '[') {
        const char *close = memchr(name, ']', (size_t) (end - name));

        if (!close)
            return;
        name = close + 1;
    }
    while (name < end && *name == ' ')
        name++;
    n = MIN(strspn(name, NAME_LETTERS), (size_t) (end - name));
    if (n == 0 || n >= KERNEL_FUNCTION_MAX || strchr("0123456789.", *name))
        return;
    memcpy(s->frames[s->n], name, n);
    s->frames[s->n++][n] = '\0';
}

void kernel_stack_parse(const char *text, KernelStack *ret) {
    *ret = (KernelStack){};
    while (*text && ret->n < KERNEL_STACK_FRAMES_MAX) {
        const char *end = strchrnul(text, '\n');

        parse_line(text, end, ret);
        text = *end ? end + 1 : end;
    }
}

char *kernel_stack_format(const KernelStack *s) {
    _cleanup_strbuf_ StrBuf b = {};

    for (size_t i = 0; i < s->n; i++)
        strbuf_addf(&b, "%s%s", i > 0 ? " " : "", s->frames[i]);
    return strbuf_steal(&b);
}
