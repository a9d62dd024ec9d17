/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/request.h"
#include "core/device-spelling.h"

#include <stdio.h>

#include "base/str.h"

/* All of this comes from a client. Text that is shown later (in a refusal or an audit record) is sanitized
 * and limited: a client must not be able to write its own bytes to a terminal or fill a log. */

#define SHOWN_MAX 64U
#define COOKIE_CHARACTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:-"

static const char *const backend_table[_BACKEND_MAX] = {
        [BACKEND_IOMMUFD] = "iommufd",
        [BACKEND_GROUP] = "group",
        [BACKEND_NOIOMMU] = "noiommu",
        [BACKEND_VHOST_VDPA] = "vhost-vdpa",
        [BACKEND_COMPAT] = "compat",
};
DEFINE_STRING_TABLE(backend, Backend);

bool backend_has_groups(Backend backend) {
    return backend != BACKEND_NOIOMMU && backend != BACKEND_VHOST_VDPA;
}

static const char *const grant_kind_table[_GRANT_KIND_MAX] = {
        [GRANT_FD] = "fd",
        [GRANT_NODE] = "node",
        [GRANT_NONE] = "none",
};
DEFINE_STRING_TABLE(grant_kind, GrantKind);

static const char *const tether_kind_table[_TETHER_KIND_MAX] = {
        [TETHER_LIFELINE] = "lifeline",
        [TETHER_PROCESS] = "process",
        [TETHER_CONNECTION] = "connection",
        [TETHER_UNIT] = "unit",
        [TETHER_EXPLICIT] = "explicit",
};
DEFINE_STRING_TABLE(tether_kind, TetherKind);

char *tether_advice(unsigned tethers, bool is_operator, const char *more) {
    unsigned rest = is_operator ? tethers : tethers & ~(1U << TETHER_EXPLICIT);
    _cleanup_strbuf_ StrBuf b = {};

    for (; rest != 0; rest &= rest - 1) {
        const char *separator = (rest & (rest - 1)) == 0 ? " or " : ", ";

        strbuf_addf(&b, "%s%s", b.length == 0 ? "Request the tether " : separator,
                tether_kind_to_string((TetherKind) __builtin_ctz(rest)));
    }
    strbuf_addf(&b, "%s%s", b.length == 0 ? "" : *more ? ". " : ".", more);
    return strbuf_steal(&b);
}

int request_add_device(Request *r, const char *spelling, Refusal *refusal) {
    _cleanup_free_ char *shown = NULL;
    DeviceName name;
    int error;

    if (r->n_devices >= REQUEST_DEVICES_MAX)
        return refuse(refusal, VFIOD_ERROR_TOO_MANY_DEVICES, NULL,
                "the request names more than %u devices, the maximum for one claim", REQUEST_DEVICES_MAX);
    error = device_name_parse(spelling, &name);
    if (error < 0) {
        _cleanup_free_ char *meant = device_spelling_explain(spelling, /* in_pattern= */ false);

        shown = sanitize(spelling, SHOWN_MAX);
        return refuse(refusal, VFIOD_ERROR_INVALID_NAME, NULL,
                "\"%s\" is not the name of a device, like pci:0000:06:0d.0%s", shown ?: "", meant ?: "");
    }
    for (size_t i = 0; i < r->n_devices; i++)
        if (device_name_compare(&r->devices[i], &name) == 0)
            return refuse(
                    refusal, VFIOD_ERROR_INVALID_ARGUMENT, &name, "the request names this device twice");
    r->devices[r->n_devices++] = name;
    return 0;
}

static int set_backend(Request *r, const char *value, Refusal *refusal) {
    Backend backend = backend_from_string(value);
    _cleanup_free_ char *shown = NULL;

    if ((int) backend < 0) {
        shown = sanitize(value, SHOWN_MAX);
        return refuse(refusal, VFIOD_ERROR_INVALID_ARGUMENT, NULL,
                "\"%s\" is not a backend, expected \"iommufd\", \"group\", \"compat\", "
                "\"vhost-vdpa\" or \"noiommu\"",
                shown ?: "");
    }
    r->backend = backend;
    return 0;
}

static int set_grant(Request *r, const char *value, Refusal *refusal) {
    GrantKind grant = grant_kind_from_string(value);
    _cleanup_free_ char *shown = NULL;

    if ((int) grant < 0) {
        shown = sanitize(value, SHOWN_MAX);
        return refuse(refusal, VFIOD_ERROR_INVALID_ARGUMENT, NULL,
                "\"%s\" is not a grant, expected \"fd\", \"node\" or \"none\"", shown ?: "");
    }
    r->grant = grant;
    return 0;
}

static int set_tether(Request *r, const char *value, Refusal *refusal) {
    TetherKind tether = tether_kind_from_string(value);
    _cleanup_free_ char *shown = NULL;

    if ((int) tether < 0) {
        shown = sanitize(value, SHOWN_MAX);
        return refuse(refusal, VFIOD_ERROR_INVALID_ARGUMENT, NULL,
                "\"%s\" is not a tether, expected \"lifeline\", \"process\", \"connection\", \"unit\" or "
                "\"explicit\"",
                shown ?: "");
    }
    r->tether = tether;
    return 0;
}

bool cookie_is_valid(const char *cookie) {
    size_t n = strlen(cookie);

    return n > 0 && n < REQUEST_COOKIE_MAX && n == strspn(cookie, COOKIE_CHARACTERS);
}

static int set_number(const char *name, const char *value, uint64_t max, uint64_t *ret, Refusal *refusal) {
    _cleanup_free_ char *shown = NULL;

    if (parse_unsigned(value, 10, max, ret) >= 0 && *ret > 0)
        return 0;
    shown = sanitize(value, SHOWN_MAX);
    *ret = 0;
    return refuse(refusal, VFIOD_ERROR_INVALID_ARGUMENT, NULL, "\"%s\" is not a value for \"%s\"",
            shown ?: "", name);
}

static int set_pid(Request *r, const char *value, Refusal *refusal) {
    uint64_t number;
    int k = set_number("pid", value, INT32_MAX, &number, refusal);

    r->pid = (pid_t) number;
    return k;
}

static int set_pidfd_id(Request *r, const char *value, Refusal *refusal) {
    return set_number("pidfdId", value, UINT64_MAX, &r->pidfd_id, refusal);
}

static int set_cookie(Request *r, const char *value, Refusal *refusal) {
    _cleanup_free_ char *shown = NULL;

    if (!cookie_is_valid(value)) {
        shown = sanitize(value, SHOWN_MAX);
        return refuse(refusal, VFIOD_ERROR_INVALID_ARGUMENT, NULL,
                "\"%s\" is not a cookie, expected 1 to %u characters of A-Z, a-z, 0-9, \".\", \"_\", \":\" "
                "and \"-\"",
                shown ?: "", REQUEST_COOKIE_MAX - 1);
    }
    strcpy(r->cookie, value);
    return 0;
}

/* A reason that is too long is refused and not cut: the audit record must have what the client wrote. */
static int set_reason(Request *r, const char *value, Refusal *refusal) {
    _cleanup_free_ char *sane = NULL;

    /* No byte becomes shorter, so a text that is too long stays too long. */
    sane = sanitize(value, REQUEST_REASON_MAX);
    if (!sane)
        return refuse(refusal, VFIOD_ERROR_INTERNAL, NULL, "out of memory");
    if (strlen(sane) >= sizeof(r->reason))
        return refuse(refusal, VFIOD_ERROR_INVALID_ARGUMENT, NULL,
                "the reason is longer than %zu bytes (a control character counts as four)",
                sizeof(r->reason) - 1);
    strcpy(r->reason, sane);
    return 0;
}

static int set_memlock(Request *r, const char *value, Refusal *refusal) {
    _cleanup_free_ char *shown = NULL;
    uint64_t size;

    if (parse_size(value, &size) < 0 || size == 0 || size > REQUEST_MEMLOCK_MAX) {
        shown = sanitize(value, SHOWN_MAX);
        return refuse(refusal, VFIOD_ERROR_INVALID_ARGUMENT, NULL,
                "\"%s\" is not a size for \"memlock\", expected bytes or \"16G\" (K, M, G, T)", shown ?: "");
    }
    r->memlock = size;
    return 0;
}

static int set_untainted(Request *r, const char *value, Refusal *refusal) {
    _cleanup_free_ char *shown = NULL;

    if (streq(value, "yes") || streq(value, "no")) {
        r->untainted = streq(value, "yes");
        return 0;
    }
    shown = sanitize(value, SHOWN_MAX);
    return refuse(refusal, VFIOD_ERROR_INVALID_ARGUMENT, NULL,
            "\"untainted\" is \"%s\", expected \"yes\" or \"no\"", shown ?: "");
}

static int set_require(Request *r, const char *value, Refusal *refusal) {
    _cleanup_free_ char *part = NULL, *shown = NULL;
    const char *bad;
    size_t size;

    if (device_needs_parse(value, &r->needs, &bad, &size) >= 0)
        return 0;
    part = strndup(bad, size);
    shown = part ? sanitize(part, SHOWN_MAX) : NULL;
    return refuse(refusal, VFIOD_ERROR_INVALID_ARGUMENT, NULL,
            "\"%s\" is nothing that can be required, expected " DEVICE_NEEDS_WORDS
            ", with a comma in between",
            shown ?: "");
}

bool ticket_is_valid(const char *ticket) {
    const char *hex = "0123456789abcdef";

    return strlen(ticket) == REQUEST_TICKET_MAX - 1 && strspn(ticket, hex) == CLAIM_ID_MAX - 1 &&
            ticket[CLAIM_ID_MAX - 1] == '-' &&
            strspn(ticket + CLAIM_ID_MAX, hex) == REQUEST_TICKET_MAX - 1 - CLAIM_ID_MAX;
}

/* The refusal does not quote it: a mistyped ticket is nearly the secret. */
static int set_ticket(Request *r, const char *value, Refusal *refusal) {
    if (!ticket_is_valid(value))
        return refuse(refusal, VFIOD_ERROR_INVALID_ARGUMENT, NULL,
                "the option \"ticket\" has no ticket, expected 16 hex digits, \"-\" and 32 hex digits");
    strcpy(r->ticket, value);
    return 0;
}

static int set_seconds(
        const char *name, const char *value, uint32_t max_sec, uint32_t *ret, Refusal *refusal) {
    _cleanup_free_ char *shown = NULL;
    uint64_t seconds;

    if (parse_unsigned(value, 10, max_sec, &seconds) >= 0 && seconds > 0) {
        *ret = (uint32_t) seconds;
        return 0;
    }
    shown = sanitize(value, SHOWN_MAX);
    return refuse(refusal, VFIOD_ERROR_INVALID_ARGUMENT, NULL,
            "\"%s\" is not a time for \"%s\", expected 1 to %u seconds", shown ?: "", name, max_sec);
}

static int set_wait(Request *r, const char *value, Refusal *refusal) {
    return set_seconds("wait", value, REQUEST_WAIT_MAX_SEC, &r->wait_sec, refusal);
}

static int set_duration(Request *r, const char *value, Refusal *refusal) {
    return set_seconds("duration", value, DURATION_MAX_SEC, &r->duration_sec, refusal);
}

static int set_network(Request *r, const char *value, Refusal *refusal) {
    _cleanup_free_ char *part = NULL, *shown = NULL;
    VfProblem problem;

    if (vf_network_parse(value, &r->network, &problem) >= 0)
        return 0;
    part = strndup(problem.at, problem.size);
    shown = part ? sanitize(part, SHOWN_MAX) : NULL;
    return refuse(refusal, VFIOD_ERROR_INVALID_ARGUMENT, NULL, "the option \"network\": \"%s\" %s",
            shown ?: "", problem.why);
}

static const struct {
    const char *name, *type;
    int (*set)(Request *r, const char *value, Refusal *refusal);
} options[] = {
        {"backend", "s", set_backend},
        {"grant", "s", set_grant},
        {"tether", "s", set_tether},
        {"cookie", "s", set_cookie},
        {"pid", "t", set_pid},
        {"pidfdId", "t", set_pidfd_id},
        {"reason", "s", set_reason},
        {"memlock", "t", set_memlock},
        {"untainted", "b", set_untainted},
        {"require", "s", set_require},
        {"ticket", "s", set_ticket},
        {"network", "s", set_network},
        {"wait", "t", set_wait},
        {"duration", "t", set_duration},
};

const char *request_option_type(const char *name) {
    for (size_t i = 0; i < ELEMENTSOF(options); i++)
        if (streq(options[i].name, name))
            return options[i].type;
    return NULL;
}

static int refuse_unknown_option(const char *name, Refusal *refusal) {
    const char *known[ELEMENTSOF(options) + 1] = {};
    _cleanup_free_ char *shown = sanitize(name, SHOWN_MAX);
    const char *meant;

    for (size_t i = 0; i < ELEMENTSOF(options); i++)
        known[i] = options[i].name;
    meant = nearest(name, known);
    if (meant)
        return refuse(refusal, VFIOD_ERROR_UNKNOWN_OPTION, NULL,
                "there is no option \"%s\", did you mean \"%s\"?", shown ?: "", meant);
    return refuse(refusal, VFIOD_ERROR_UNKNOWN_OPTION, NULL,
            "there is no option \"%s\", known are \"backend\", \"grant\", \"tether\", \"cookie\", "
            "\"pid\", \"pidfdId\", \"reason\", \"memlock\", \"untainted\", \"require\", \"ticket\", "
            "\"network\", \"wait\" and \"duration\"",
            shown ?: "");
}

int request_set_option(Request *r, const char *name, const char *value, Refusal *refusal) {
    for (size_t i = 0; i < ELEMENTSOF(options); i++) {
        if (!streq(options[i].name, name))
            continue;
        if (r->options_given & 1U << i)
            return refuse(
                    refusal, VFIOD_ERROR_INVALID_ARGUMENT, NULL, "the option \"%s\" is given twice", name);
        r->options_given |= 1U << i;
        return options[i].set(r, value, refusal);
    }
    return refuse_unknown_option(name, refusal);
}

int request_check_reserve_option(const char *name, Refusal *refusal) {
    static const char *const others[] = {
            "cookie", "pid", "pidfdId", "memlock", "network", "ticket", "duration"};

    for (size_t i = 0; i < ELEMENTSOF(others); i++)
        if (streq(name, others[i]))
            return refuse(refusal, VFIOD_ERROR_UNKNOWN_OPTION, NULL,
                    "a reservation has no option \"%s\": give it when the ticket is redeemed", name);
    if (streq(name, "wait"))
        return refuse(refusal, VFIOD_ERROR_UNKNOWN_OPTION, NULL,
                "a reservation has no option \"wait\": it gets a free device or none");
    return 0;
}

int request_check_transfer_option(const char *name, Refusal *refusal) {
    _cleanup_free_ char *shown = NULL;

    if (streq(name, "tether") || streq(name, "pid") || streq(name, "pidfdId"))
        return 0;
    shown = sanitize(name, SHOWN_MAX);
    return refuse(refusal, VFIOD_ERROR_UNKNOWN_OPTION, NULL,
            "there is no option \"%s\", known are \"tether\", \"pid\" and \"pidfdId\"", shown ?: "");
}

int request_check_process(const Request *r, TetherKind tether, Refusal *refusal) {
    if ((r->pid != 0 || r->pidfd_id != 0) && tether != TETHER_PROCESS)
        return refuse(refusal, VFIOD_ERROR_INVALID_ARGUMENT, NULL,
                "the options \"pid\" and \"pidfdId\" are only for the tether \"process\"");
    if (r->pidfd_id != 0 && r->pid == 0)
        return refuse(refusal, VFIOD_ERROR_INVALID_ARGUMENT, NULL,
                "the option \"pidfdId\" is given without \"pid\"");
    return 0;
}

int request_validate(const Request *r, Refusal *refusal) {
    if (r->n_devices == 0 && !r->ticket[0])
        return refuse(refusal, VFIOD_ERROR_INVALID_ARGUMENT, NULL, "the request names no device");
    if (vf_network_has(&r->network, VF_MAC) && r->n_devices > 1)
        return refuse(refusal, VFIOD_ERROR_INVALID_ARGUMENT, NULL,
                "a request with a MAC address in \"network\" is for one device, and this one names %zu",
                r->n_devices);
    return request_check_process(r, r->tether, refusal);
}
