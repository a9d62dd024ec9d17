/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Makes pins for what other tools bind. It changes nothing of those tools: the user removes their
 * configuration after checking the pins. */

#include <unistd.h>

#include "client/pager.h"
#include "client/pin-ask.h"
#include "client/policy-door.h"
#include "client/show.h"
#include "pins/pins.h"

/* All borrowed. */
typedef struct Import {
    struct json_object *present;         /* the existing pins */
    struct json_object *found, *skipped; /* see pins_find_others() */
    struct json_object *pins;            /* {"source", and the members of pins_propose()} */
} Import;

static int add_skipped(Import *m, struct json_object *found, const char *why) {
    _cleanup_json_ struct json_object *o = json_object_new_object();

    if (!o || json_add_string(o, "source", json_text(found, "source")) < 0 ||
            json_add_string(o, "what", json_text(found, "device")) < 0 || json_add_string(o, "why", why) < 0)
        return -ENOMEM;
    return json_append(m->skipped, TAKE_PTR(o));
}

static bool is_pinned(const Import *m, const char *path) {
    for (size_t i = 0; i < json_object_array_length(m->present); i++)
        if (streq(json_text(json_object_array_get_idx(m->present, i), "path"), path))
            return true;
    return false;
}

/* 0 with the pin; or a negative errno with *error: why it is not proposed. */
static int propose(
        const Import *m, struct json_object *found, struct json_object **ret, VfiodErrorText *error) {
    const char *device = json_text(found, "device");
    _cleanup_json_ struct json_object *pin = NULL;
    char *problem = NULL;
    int r;

    r = pins_propose(NULL, device, json_text(found, "driver"), &pin, &problem);
    if (r < 0)
        return pin_failed(r, problem, error);
    if (is_pinned(m, json_text(pin, "path")))
        return error_text_set(error, EEXIST, ERROR_NAME_FAILED, "It is pinned already.");
    r = pin_ask_daemon(device, error);
    if (r < 0)
        return r;
    if (json_add_string(pin, "source", json_text(found, "source")) < 0)
        return error_text_errno(error, ENOMEM, "Cannot show the pins");
    *ret = TAKE_PTR(pin);
    return 0;
}

static int write_pin(struct json_object *pin, VfiodErrorText *error) {
    _cleanup_json_ struct json_object *written = NULL;
    char *problem = NULL;
    int r;

    r = pins_add(NULL, json_text(pin, "device"), json_text(pin, "driver"), &written, &problem);
    return r < 0 ? pin_failed(r, problem, error) : 0;
}

/* Without the daemon, or on ENOMEM, none is found. */
static int find_pins(Import *m, VfiodErrorText *error) {
    for (size_t i = 0; i < json_object_array_length(m->found); i++) {
        struct json_object *found = json_object_array_get_idx(m->found, i), *pin = NULL;
        VfiodErrorText why = {};
        int r = propose(m, found, &pin, &why);

        if (r == -ENOMEM || streq(why.name, ERROR_NAME_UNREACHABLE)) {
            *error = why;
            return r;
        }
        r = r < 0 ? add_skipped(m, found, why.message) : json_append(m->pins, pin);
        if (r < 0)
            return error_text_errno(error, ENOMEM, "Cannot show the pins");
    }
    return 0;
}

static int write_pins(const Import *m, VfiodErrorText *error) {
    int r = 0;

    for (size_t i = 0; r >= 0 && i < json_object_array_length(m->pins); i++)
        r = write_pin(json_object_array_get_idx(m->pins, i), error);
    return r;
}

static int show_pins(const Options *o, struct json_object *pins) {
    static const TableColumn columns[] = {
            {"DEVICE"}, {"PATH"}, {"ID", .drop = 1}, {"SERIAL", .drop = 2}, {"DRIVER"}, {"SOURCE"}};
    static const char *const keys[] = {"device", "path", "id", "serial", "driver", "source"};
    _cleanup_(table_freep) Table *t = table_new(columns, ELEMENTSOF(columns));

    if (!t)
        return -ENOMEM;
    for (size_t i = 0; i < json_object_array_length(pins); i++) {
        table_add_row(t);
        for (size_t k = 0; k < ELEMENTSOF(keys); k++)
            table_set(t, k, json_text(json_object_array_get_idx(pins, i), keys[k]), COLOUR_NONE);
    }
    return show_table(t, o);
}

static int show(const Options *o, struct json_object *result) {
    struct json_object *pins = json_list(result, "pins"), *skipped = json_list(result, "skipped");
    int r = 0;

    if (json_object_array_length(pins) == 0)
        puts("Nothing to pin was found.");
    else
        r = show_pins(o, pins);
    for (size_t i = 0; i < json_object_array_length(skipped); i++) {
        struct json_object *item = json_object_array_get_idx(skipped, i);

        policy_print("Left out: %s (%s): %s", json_text(item, "what"), json_text(item, "source"),
                json_text(item, "why"));
    }
    if (json_object_array_length(pins) > 0 && o->write)
        show_initramfs();
    if (json_object_array_length(pins) > 0)
        puts(o->write ? "These pins are written. What the other tools have is unchanged; remove it there."
                      : "Nothing is written. Run the same as root with --write.");
    return r;
}

static int import(const Options *o, Import *m, struct json_object *result, VfiodErrorText *error) {
    int r;

    r = find_pins(m, error);
    if (r >= 0 && o->write)
        r = write_pins(m, error);
    if (r < 0)
        return r;
    json_object_object_del(result, "found");
    return policy_show(o, result, show, error);
}

/* A named file must exist: a missing one would look as if there were nothing to pin. */
static int check_files(const Options *o, VfiodErrorText *error) {
    for (size_t i = 0; i < o->n_arguments; i++)
        if (access(o->arguments[i], R_OK) < 0)
            return error_text_set(
                    error, errno, ERROR_NAME_FAILED, "%s: %s", o->arguments[i], strerrordesc_np(errno));
    return 0;
}

int verb_import(const Options *o, VfiodErrorText *error) {
    _cleanup_json_ struct json_object *others = NULL, *list = NULL;
    char *problem = NULL;
    Import m;
    int r;

    r = check_files(o, error);
    if (r < 0)
        return r;
    r = pins_list(NULL, &list, &problem);
    if (r >= 0)
        r = pins_find_others((const char *const *) o->arguments, &others, &problem);
    if (r < 0)
        return pin_failed(r, problem, error);
    if (json_add(others, "pins", json_object_new_array()) < 0)
        return error_text_errno(error, ENOMEM, "Cannot show the pins");
    m = (Import){.present = json_list(list, "pins"),
            .found = json_list(others, "found"),
            .skipped = json_list(others, "skipped"),
            .pins = json_list(others, "pins")};
    return import(o, &m, others, error);
}
