/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Pins are files, which vfioctl writes as root. The daemon knows what must not be pinned: devices that the
 * host uses or that are claimed. Without its answer nothing is pinned. */

#include <unistd.h>

#include "base/str.h"
#include "client/calls.h"
#include "client/command.h"
#include "client/kernel-module.h"
#include "client/pager.h"
#include "client/pin-ask.h"
#include "client/policy-door.h"
#include "client/show.h"
#include "pins/pins.h"

int pin_failed(int r, char *problem, VfiodErrorText *error) {
    _cleanup_free_ char *text = problem;

    if (!text)
        return error_text_errno(error, r, "Cannot handle pins");
    return error_text_set(error, -r,
            r == -ENODEV               ? "NoSuchDevice"
                    : r == -EOPNOTSUPP ? "NotSupported"
                    : r == -EINVAL     ? ERROR_NAME_USAGE
                                       : ERROR_NAME_FAILED,
            "%s", text);
}

/* ---- pin ---- */

static int refuse_claimed(const Object *device, VfiodErrorText *error) {
    _cleanup_free_ char *message = NULL;
    const char *claim = json_text(device->properties, "claim");

    if (streq(json_text(device->properties, "state"), "quarantined"))
        return error_text_of_daemon(error, "DeviceQuarantined",
                "The device is quarantined, since it could not be restored after a claim. 'vfioctl "
                "quarantine retry DEVICE' tries again.");
    if (!*claim)
        return 0;
    message = format_string("%s is claimed (%s). Pin it when the claim has ended.", device->name, claim);
    return error_text_of_daemon(error, "DeviceClaimed", message ?: "The device is claimed.");
}

static int refuse_used(const Object *device, VfiodErrorText *error) {
    const char *use = json_text(device->properties, "hostCritical");
    _cleanup_free_ char *message = NULL;

    if (!*use)
        return 0;
    message = format_string("The host needs %s: %s. After the next boot it would be missing. Stop that use "
                            "first, or choose another "
                            "device.",
            device->name, use);
    return error_text_of_daemon(error, "HostCritical", message ?: use);
}

/* Checks that a device is neither claimed nor quarantined, and calls refuse_use for its use by the host;
 * NULL: not checked. */
static int ask_whether_free(const char *name, int (*refuse_use)(const Object *device, VfiodErrorText *error),
        VfiodErrorText *error) {
    _cleanup_object_ Object device = OBJECT_NULL;
    _cleanup_connection_ VfiodConnection *c = NULL;
    int r;

    r = vfiod_connection_new(&c, error);
    if (r >= 0)
        r = call_find_object(c, name, &device, error);
    if (r >= 0)
        r = refuse_claimed(&device, error);
    if (r < 0 || !refuse_use)
        return r;
    r = call_add_property(c, &device, "hostCritical", error);
    return r < 0 ? r : refuse_use(&device, error);
}

int pin_ask_daemon(const char *name, VfiodErrorText *error) {
    return ask_whether_free(name, refuse_used, error);
}

/* The initramfs contains a copy of the pins if it has the hook or the module. */
void show_initramfs(void) {
    static const struct {
        const char *hook, *command;
    } makers[] = {
            {"/usr/share/initramfs-tools/hooks/vfiod-pins", "update-initramfs"},
            {"/usr/lib/dracut/modules.d/90vfiod-pins", "dracut"},
    };

    for (size_t i = 0; i < ELEMENTSOF(makers); i++) {
        _cleanup_free_ char *program = NULL, *path = format_string("/usr/sbin/%s", makers[i].command);

        if (!path || access(makers[i].hook, F_OK) < 0 ||
                (command_find(makers[i].command, &program, NULL) < 0 && access(path, X_OK) < 0))
            continue;
        policy_print("The initramfs has a copy of the pins. For the next boot run '%s' as root.",
                i == 0 ? "update-initramfs -u" : "dracut -f");
        return;
    }
}

/* The driver may be loaded already, or not be a module: the result is checked afterwards. */
static void load_driver(const char *driver) {
    _cleanup_free_ char *program = NULL, *output = NULL;

    if (command_find("modprobe", &program, NULL) >= 0 || command_find("/sbin/modprobe", &program, NULL) >= 0)
        (void) command_ask(program, driver, &output);
}

/* A device without a driver can be bound at once. */
static int take_effect(const char *name, struct json_object **pin, VfiodErrorText *error) {
    struct json_object *bound = NULL;
    char *problem = NULL;
    int r;

    if (!streq(json_text(*pin, "state"), "pending"))
        return 0;
    load_driver(json_text(*pin, "driver"));
    r = pins_bind(NULL, name, &bound, &problem);
    if (r == -ENODEV) { /* the pin's state shows it */
        free(problem);
        return 0;
    }
    if (r < 0)
        return pin_failed(r, problem, error);
    json_object_put(*pin);
    *pin = bound;
    return 0;
}

static void show_effect(struct json_object *pin) {
    const char *bound = json_text(pin, "boundTo"), *why = json_text(pin, "why");

    if (*why)
        policy_print("%s", why);
    else if (*bound)
        policy_print("The device is with %s now.", bound);
    else
        puts("The device has no driver now.");
}

static int show_pinned(const Options *o, struct json_object *pin) {
    if (o->json)
        return show_json(stdout, pin, /* pretty= */ true);
    policy_print("%s is pinned: driver %s, place %s, card %s%s%s.", json_text(pin, "device"),
            json_text(pin, "driver"), json_text(pin, "path"), json_text(pin, "id"),
            *json_text(pin, "serial") ? ", serial number " : "", json_text(pin, "serial"));
    show_effect(pin);
    show_initramfs();
    return 0;
}

/* A pin of a misspelt driver would leave the device without one. It is only a warning, because the module may
 * come with the next kernel. */
static void warn_of_driver(const char *driver) {
    _cleanup_free_ char *near = NULL;

    if (!driver || streq(driver, "none") || kernel_driver_find(driver, &near) != MODULE_MISSING)
        return;
    fprintf(stderr, "vfioctl: Warning: this kernel has no driver %s%s%s%s\n", driver,
            near ? "; did you mean '" : ". With the pin, the device gets no driver.", near ? near : "",
            near ? "'? With the pin, the device gets no driver." : "");
}

int verb_pin(const Options *o, VfiodErrorText *error) {
    _cleanup_json_ struct json_object *pin = NULL;
    _cleanup_free_ char *name = NULL;
    char *problem = NULL;
    int r;

    r = pins_check(o->arguments[0], &name, &problem);
    if (r < 0)
        return pin_failed(r, problem, error);
    r = pin_ask_daemon(name, error);
    if (r < 0)
        return r;
    r = pins_add(NULL, name, o->driver, &pin, &problem);
    if (r < 0)
        return pin_failed(r, problem, error);
    r = take_effect(name, &pin, error);
    if (r < 0)
        return r;
    warn_of_driver(o->driver);
    r = show_pinned(o, pin);
    return r < 0 ? error_text_errno(error, r, "Cannot show the pin") : 0;
}

/* ---- unpin ---- */

/* Removes the override that the pin has set, unless a claim has the device: that restores what it found.
 * Without an answer of the daemon this is unknown. *ret_kept: the override stays. */
static int clear_override(struct json_object *pin, bool *ret_kept, VfiodErrorText *error) {
    const char *device = json_text(pin, "device"), *state = json_text(pin, "state");
    VfiodErrorText why = {};
    char *problem = NULL;
    int r;

    if (!*device || (!streq(state, "in-force") && !streq(state, "pending")))
        return 0;
    r = ask_whether_free(device, NULL, &why);
    if (r < 0) {
        *ret_kept = true;
        return 0;
    }
    r = pins_clear_override(device, json_text(pin, "driver"), &problem);
    return r < 0 ? pin_failed(r, problem, error) : 0;
}

static int show_unpinned(const Options *o, struct json_object *pin, bool kept) {
    const char *device = json_text(pin, "device"), *bound = json_text(pin, "boundTo");

    if (o->json)
        return show_json(stdout, pin, /* pretty= */ true);
    policy_print("%s is no longer pinned.", *device ? device : json_text(pin, "file"));
    show_initramfs();
    if (!*device)
        return 0;
    if (*bound)
        policy_print("It stays with %s until the next boot, or until it is plugged in again.", bound);
    else
        puts("It stays without a driver until the next boot, or until it is plugged in again.");
    if (kept)
        policy_print("Its driver_override stays %s: it is claimed, or vfiod does not answer.",
                json_text(pin, "driver"));
    return 0;
}

int verb_unpin(const Options *o, VfiodErrorText *error) {
    for (size_t i = 0; i < o->n_arguments; i++) {
        _cleanup_json_ struct json_object *pin = NULL;
        char *problem = NULL;
        bool kept = false;
        int r;

        r = pins_remove(NULL, o->arguments[i], &pin, &problem);
        if (r < 0)
            return pin_failed(r, problem, error);
        r = clear_override(pin, &kept, error);
        if (r < 0)
            return r;
        r = show_unpinned(o, pin, kept);
        if (r < 0)
            return error_text_errno(error, r, "Cannot show the pin");
    }
    return 0;
}

/* ---- pins ---- */

static Colour pin_colour(const char *state) {
    return streq(state, "in-force")                             ? COLOUR_GREEN
            : streq(state, "absent") || streq(state, "pending") ? COLOUR_YELLOW
                                                                : COLOUR_RED;
}

static void add_row(Table *t, struct json_object *pin) {
    const char *state = json_text(pin, "state");

    table_add_row(t);
    table_set(t, 0, json_text(pin, "path"), COLOUR_NONE);
    table_set(t, 1, json_text(pin, "device"), COLOUR_NONE);
    table_set(t, 2, json_text(pin, "id"), COLOUR_NONE);
    table_set(t, 3, json_text(pin, "serial"), COLOUR_NONE);
    table_set(t, 4, json_text(pin, "driver"), COLOUR_NONE);
    table_set(t, 5, state, pin_colour(state));
}

static int show_pins(const Options *o, struct json_object *result) {
    static const TableColumn columns[] = {
            {"PATH"}, {"DEVICE"}, {"ID", .drop = 1}, {"SERIAL", .drop = 2}, {"DRIVER"}, {"STATE"}};
    _cleanup_(table_freep) Table *t = table_new(columns, ELEMENTSOF(columns));
    struct json_object *pins = json_list(result, "pins");
    size_t n = json_object_array_length(pins);
    int r = 0;

    if (!t)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++)
        add_row(t, json_object_array_get_idx(pins, i));
    if (n > 0)
        r = show_table(t, o);
    else if (json_object_array_length(json_list(result, "errors")) == 0)
        puts("No device is pinned.");
    for (size_t i = 0; r >= 0 && i < n; i++) {
        struct json_object *pin = json_object_array_get_idx(pins, i);

        if (*json_text(pin, "why"))
            policy_print("%s: %s", json_text(pin, "path"), json_text(pin, "why"));
    }
    policy_print_lines(result, "errors");
    return r;
}

int verb_pins(const Options *o, VfiodErrorText *error) {
    _cleanup_json_ struct json_object *result = NULL;
    char *problem = NULL;
    int r;

    r = pins_list(NULL, &result, &problem);
    return r < 0 ? pin_failed(r, problem, error) : policy_show(o, result, show_pins, error);
}
