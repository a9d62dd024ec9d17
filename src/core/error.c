/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/error.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/str.h"

static const ErrorInfo error_table[] = {
#define X(code_, name_, error_, exit_status_, remedy_)                                                       \
    [VFIOD_ERROR_##code_] = {                                                                                \
            .name = (name_), .error = (error_), .exit_status = (exit_status_), .remedy = (remedy_)},
        VFIOD_ERROR_TABLE(X)
#undef X
};

const ErrorInfo *error_info(VfiodError e) {
    if ((int) e < 0 || e >= _VFIOD_ERROR_MAX)
        return NULL;
    return &error_table[e];
}

VfiodError error_from_bus_name(const char *name) {
    const char *rest = name ? startswith(name, VFIOD_ERROR_PREFIX) : NULL;

    for (size_t i = 0; rest && i < ELEMENTSOF(error_table); i++)
        if (streq(error_table[i].name, rest))
            return (VfiodError) i;
    return _VFIOD_ERROR_INVALID;
}

void refusal_done(Refusal *r) {
    free(r->reason);
    free(r->rule);
    free(r->file);
    free(r->nearest);
    free(r->predicate);
    free(r->wanted);
    free(r->seen);
    free(r->remedy);
    *r = REFUSAL_NULL;
}

int refuse(Refusal *r, VfiodError code, const DeviceName *device, const char *format, ...) {
    va_list ap;

    assert(error_info(code));

    refusal_done(r);
    r->code = code;
    if (device)
        device_name_format(device, r->device);
    va_start(ap, format);
    if (vasprintf(&r->reason, format, ap) < 0)
        r->reason = NULL;
    va_end(ap);
    return -error_info(code)->error;
}

char *refusal_format(const Refusal *r) {
    _cleanup_strbuf_ StrBuf b = {};
    const ErrorInfo *info = error_info(r->code) ?: error_info(VFIOD_ERROR_INTERNAL);
    const char *reason = r->reason ?: info->name;
    size_t n = strlen(reason);

    if (r->device[0])
        strbuf_addf(&b, "%s: ", r->device);
    strbuf_add(&b, reason);
    if (r->rule)
        strbuf_addf(&b, " [rule %s]", r->rule);
    if (r->rule || n == 0 || !strchr(".!?", reason[n - 1]))
        strbuf_add(&b, ".");
    if (!r->remedy || r->remedy[0])
        strbuf_addf(&b, " %s", r->remedy ?: info->remedy);
    return strbuf_steal(&b);
}
