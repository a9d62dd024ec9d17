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

static const char *const blocker_kind_table[_BLOCKER_KIND_MAX] = {
        [BLOCKER_CLAIM] = "claim",
        [BLOCKER_DEVICE] = "device",
        [BLOCKER_PROCESS] = "process",
        [BLOCKER_RULE] = "rule",
};
DEFINE_STRING_TABLE(blocker_kind, BlockerKind);

#define BLOCKER_TEXT_MAX 512U

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
    free(r->rule_key);
    free(r->file);
    free(r->nearest);
    free(r->predicate);
    free(r->wanted);
    free(r->seen);
    free(r->remedy);
    for (size_t i = 0; i < r->n_blockers; i++) {
        free(r->blockers[i].name);
        free(r->blockers[i].why);
    }
    free(r->blockers);
    for (size_t i = 0; i < r->n_obstacles; i++)
        refusal_done(&r->obstacles[i]);
    free(r->obstacles);
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

void refusal_add_blocker(Refusal *r, BlockerKind kind, const char *name, const char *format, ...) {
    _cleanup_free_ char *text = NULL;
    Blocker b = {.kind = kind}, *grown;
    va_list ap;
    int n;

    if (r->n_blockers >= BLOCKERS_MAX)
        return;
    va_start(ap, format);
    n = vasprintf(&text, format, ap);
    va_end(ap);
    if (n < 0) {
        text = NULL;
        return;
    }
    grown = reallocarray(r->blockers, r->n_blockers + 1, sizeof(*r->blockers));
    if (!grown)
        return;
    r->blockers = grown;
    b.name = sanitize(name, BLOCKER_TEXT_MAX);
    b.why = sanitize(text, BLOCKER_TEXT_MAX);
    if (b.name && b.why) {
        r->blockers[r->n_blockers++] = b;
        return;
    }
    free(b.name);
    free(b.why);
}

void refusal_add_device(Refusal *r, const DeviceName *device, const char *why) {
    char name[DEVICE_NAME_MAX];

    refusal_add_blocker(r, BLOCKER_DEVICE, device_name_format(device, name), "%s", why);
}

bool refusal_is_same(const Refusal *a, const Refusal *b) {
    return a->code == b->code && streq(a->device, b->device) && streq(a->reason ?: "", b->reason ?: "");
}

bool refusal_add_obstacle(Refusal *r, Refusal *from) {
    Refusal *grown;

    if (r->n_obstacles >= OBSTACLES_MAX)
        return false;
    grown = reallocarray(r->obstacles, r->n_obstacles + 1, sizeof(*r->obstacles));
    if (!grown)
        return false;
    r->obstacles = grown;
    r->obstacles[r->n_obstacles++] = TAKE_GENERIC(*from, REFUSAL_NULL);
    return true;
}

char *refusal_format(const Refusal *r) {
    _cleanup_strbuf_ StrBuf b = {};
    const ErrorInfo *info = error_info(r->code) ?: error_info(VFIOD_ERROR_INTERNAL);
    const char *reason = r->reason ?: info->name, *remedy = r->remedy ?: info->remedy;
    size_t n = strlen(reason);

    if (r->device[0])
        strbuf_addf(&b, "%s: ", r->device);
    strbuf_add(&b, reason);
    if (r->rule)
        strbuf_addf(&b, " [rule %s]", r->rule);
    if (r->rule || n == 0 || !strchr(".!?", reason[n - 1]))
        strbuf_add(&b, ".");
    strbuf_addf(&b, "%s%s", *remedy ? " " : "", remedy);
    return strbuf_steal(&b);
}
