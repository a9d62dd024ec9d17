/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A Refusal becomes a D-Bus error: a name, a sentence, and for callers that request it (option "details") a
 * second argument with the parts of the sentence.
 *
 * It must be requested, because some clients expect only the sentence: GDBus shows an error with two
 * arguments as "Error return with body of type (sa{sv})" without the sentence. The parts contain only what
 * this caller may know, as decided where the refusal was made. */

#include "base/str.h"
#include "daemon/bus/bus-internal.h"

#define OPTIONS_SIGNATURE "a{sv}"
#define DETAIL_MAX 2048U
#define SKIPPED_STRINGS_MAX 1024U

int bus_error_from_refusal(sd_bus_error *error, int r, const Refusal *refusal) {
    _cleanup_free_ char *text = NULL, *name = NULL;
    VfiodError code = VFIOD_ERROR_INTERNAL;

    if (refusal && (int) refusal->code >= 0) {
        code = refusal->code;
        text = refusal_format(refusal);
    } else
        text = format_string("%s. %s", strerror(r < 0 ? -r : EIO), error_info(code)->remedy);
    name = format_string(VFIOD_ERROR_PREFIX "%s", error_info(code)->name);
    if (!name)
        return -ENOMEM;
    return sd_bus_error_set(error, name, text ?: error_info(code)->remedy);
}

bool bus_is_details_option(const char *name) {
    return streq(name, "details");
}

/* Skips only types that options have, and only a few: sd-bus visits every element that it skips. */
static int skip_strings(sd_bus_message *m) {
    const char *s;
    int r;

    r = sd_bus_message_enter_container(m, 'a', "s");
    for (unsigned n = 0; r >= 0 && n <= SKIPPED_STRINGS_MAX; n++) {
        r = sd_bus_message_read_basic(m, 's', &s);
        if (r == 0)
            return sd_bus_message_exit_container(m);
    }
    return r < 0 ? r : -E2BIG;
}

static int skip_numbers(sd_bus_message *m) {
    const void *numbers;
    size_t size;

    return sd_bus_message_read_array(m, 'u', &numbers, &size);
}

static int skip_value(sd_bus_message *m, const char *type) {
    bool strings = streq(type, "as");
    int r;

    if (!strings && !streq(type, "au"))
        return strlen(type) == 1 && strchr("ybnqiuxtdsogh", *type) ? sd_bus_message_skip(m, "v") : -EINVAL;
    r = sd_bus_message_enter_container(m, 'v', type);
    if (r >= 0)
        r = strings ? skip_strings(m) : skip_numbers(m);
    return r < 0 ? r : sd_bus_message_exit_container(m);
}

/* 1 when this option is "details" and true. */
static int read_option(sd_bus_message *m) {
    const char *name, *type;
    int r, value;

    r = sd_bus_message_read(m, "s", &name);
    if (r < 0)
        return r;
    r = sd_bus_message_peek_type(m, NULL, &type);
    if (r < 0)
        return r;
    if (!bus_is_details_option(name) || !streq(type, "b"))
        return skip_value(m, type);
    r = sd_bus_message_read(m, "v", "b", &value);
    return r < 0 ? r : value != 0;
}

/* All methods have at most one argument before the options. */
static int skip_argument(sd_bus_message *m, const char *type) {
    if (streq(type, "as"))
        return skip_strings(m);
    return strlen(type) <= 1 ? sd_bus_message_skip(m, type) : -EINVAL;
}

/* The call may have been read to any position: when its first argument is wrong, it is refused before its
 * options are read. */
static bool wants_details(sd_bus_message *call) {
    const char *signature = sd_bus_message_get_signature(call, /* complete= */ true);
    size_t n = signature ? strlen(signature) : 0, rest = strlen(OPTIONS_SIGNATURE);
    char before[16];

    if (n < rest || n - rest >= sizeof(before) || !streq(signature + n - rest, OPTIONS_SIGNATURE))
        return false;
    memcpy(before, signature, n - rest);
    before[n - rest] = '\0';
    if (sd_bus_message_rewind(call, /* complete= */ true) < 0 ||
            (before[0] && skip_argument(call, before) < 0) ||
            sd_bus_message_enter_container(call, 'a', "{sv}") < 0)
        return false;
    for (unsigned i = 0; i < BUS_OPTIONS_MAX && sd_bus_message_enter_container(call, 'e', "sv") > 0; i++) {
        int r = read_option(call);

        if (r != 0)
            return r > 0;
        if (sd_bus_message_exit_container(call) < 0)
            return false;
    }
    return false;
}

static int append_detail(sd_bus_message *m, const char *key, const char *text) {
    _cleanup_free_ char *clean = text ? sanitize(text, DETAIL_MAX) : NULL;

    if (!text || !text[0])
        return 0;
    return clean ? sd_bus_message_append(m, "{sv}", key, "s", clean) : -ENOMEM;
}

static int append_details(sd_bus_message *m, const Refusal *refusal);

/* Opens {key: a list of dictionaries}. */
static int open_list(sd_bus_message *m, const char *key) {
    int r;

    r = sd_bus_message_open_container(m, 'e', "sv");
    if (r >= 0)
        r = sd_bus_message_append_basic(m, 's', key);
    if (r >= 0)
        r = sd_bus_message_open_container(m, 'v', "aa{sv}");
    return r < 0 ? r : sd_bus_message_open_container(m, 'a', "a{sv}");
}

static int close_list(sd_bus_message *m) {
    int r = 0;

    for (unsigned i = 0; i < 3 && r >= 0; i++)
        r = sd_bus_message_close_container(m);
    return r;
}

static int append_blockers(sd_bus_message *m, const Refusal *refusal) {
    int r;

    if (refusal->n_blockers == 0)
        return 0;
    r = open_list(m, "blockers");
    for (size_t i = 0; i < refusal->n_blockers && r >= 0; i++) {
        const Blocker *b = refusal->blockers + i;

        r = sd_bus_message_append(m, "a{sv}", 3, "kind", "s", blocker_kind_to_string(b->kind), "name", "s",
                b->name, "why", "s", b->why);
    }
    return r < 0 ? r : close_list(m);
}

static int append_obstacles(sd_bus_message *m, const Refusal *refusal) {
    int r;

    if (refusal->n_obstacles == 0)
        return 0;
    r = open_list(m, "obstacles");
    for (size_t i = 0; i < refusal->n_obstacles && r >= 0; i++)
        r = append_details(m, &refusal->obstacles[i]);
    return r < 0 ? r : close_list(m);
}

/* An obstacle also has the name of its error; for the refusal itself that is the name of the D-Bus error. */
static int append_details(sd_bus_message *m, const Refusal *refusal) {
    const struct {
        const char *key, *text;
    } details[] = {
            {"error", error_info(refusal->code)->name},
            {"device", refusal->device},
            {"reason", refusal->reason},
            {"rule", refusal->rule},
            {"file", refusal->file},
            {"nearest", refusal->nearest},
            {"predicate", refusal->predicate},
            {"wanted", refusal->wanted},
            {"seen", refusal->seen},
            {"remedy", refusal->remedy ?: error_info(refusal->code)->remedy},
    };
    int r;

    r = sd_bus_message_open_container(m, 'a', "{sv}");
    for (size_t i = 0; i < ELEMENTSOF(details) && r >= 0; i++)
        r = append_detail(m, details[i].key, details[i].text);
    if (r >= 0 && refusal->line > 0)
        r = sd_bus_message_append(m, "{sv}", "line", "u", (uint32_t) refusal->line);
    if (r >= 0)
        r = append_blockers(m, refusal);
    if (r >= 0)
        r = append_obstacles(m, refusal);
    return r < 0 ? r : sd_bus_message_close_container(m);
}

int bus_error_reply(sd_bus_message *call, int r, const Refusal *refusal, sd_bus_message **ret) {
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;

    (void) bus_error_from_refusal(&error, r, refusal);
    r = sd_bus_message_new_method_error(call, &reply, &error);
    if (r >= 0 && refusal && (int) refusal->code >= 0 && wants_details(call))
        r = append_details(reply, refusal);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(reply);
    return 0;
}
