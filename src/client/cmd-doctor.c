/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <stdio.h>

#include "base/fd.h"
#include "base/str.h"
#include "client/calls.h"
#include "client/doctor.h"
#include "client/pager.h"
#include "client/show.h"

/* Of the device's runtime power management. */
static bool power_has_failed(const Object *device) {
    const char *address = startswith(device->name, "pci:");
    char path[128], status[24];

    if (!address || !streq(json_text(device->properties, "state"), "claimed") || strchr(address, '/'))
        return false;
    (void) snprintf(path, sizeof(path), "/sys/bus/pci/devices/%.64s/power/runtime_status", address);
    return read_attribute_at(AT_FDCWD, path, status, sizeof(status)) >= 0 && streq(status, "error");
}

static bool is_quarantined(const Object *device) {
    return streq(json_text(device->properties, "state"), "quarantined");
}

/* The names of devices of which this is so. */
static int list_devices(
        const Objects *objects, bool (*is_so)(const Object *device), char **ret, VfiodErrorText *error) {
    _cleanup_strbuf_ StrBuf names = {};

    for (size_t i = 0; i < objects->n_items; i++)
        if (objects->items[i].kind == OBJECT_DEVICE && is_so(&objects->items[i]))
            strbuf_addf(&names, "%s%s", names.length > 0 ? " " : "", objects->items[i].name);
    *ret = names.text ? strbuf_steal(&names) : strdup("");
    return *ret ? 0 : error_text_errno(error, ENOMEM, "Cannot list the devices");
}

static int look_at_devices(VfiodConnection *c, DoctorFacts *facts, VfiodErrorText *error) {
    _cleanup_objects_ Objects objects = {};
    int r;

    r = call_get_objects(c, &objects, error);
    if (r >= 0)
        r = list_devices(&objects, is_quarantined, &facts->quarantined, error);
    return r < 0 ? r : list_devices(&objects, power_has_failed, &facts->power_failed, error);
}

/* That it does not answer is a finding, too. */
static int ask_daemon(DoctorFacts *facts) {
    _cleanup_object_ Object manager = OBJECT_NULL;
    _cleanup_connection_ VfiodConnection *c = NULL;
    VfiodErrorText error = {};
    int r;

    r = vfiod_connection_new(&c, &error);
    if (r >= 0)
        r = call_get_manager(c, &manager, &error);
    if (r >= 0)
        r = call_add_costly(c, &manager, &error);
    if (r >= 0)
        r = look_at_devices(c, facts, &error);
    if (r < 0) {
        facts->unreachable = strdup(error.message);
        return facts->unreachable ? 0 : -ENOMEM;
    }
    facts->manager = TAKE_PTR(manager.properties);
    return 0;
}

static int show_as_json(const Findings *f) {
    _cleanup_json_ struct json_object *array = json_object_new_array();

    for (size_t i = 0; array && i < f->n; i++) {
        _cleanup_json_ struct json_object *finding = json_object_new_object();
        const Finding *item = f->items + i;

        if (!finding || json_add_string(finding, "level", finding_level_to_string(item->level)) < 0 ||
                json_add_string(finding, "subject", item->subject) < 0 ||
                json_add_string(finding, "fact", item->fact) < 0 ||
                (item->why && json_add_string(finding, "why", item->why) < 0) ||
                (item->fix && json_add_string(finding, "fix", item->fix) < 0) ||
                json_append(array, TAKE_PTR(finding)) < 0)
            return -ENOMEM;
    }
    return array ? show_json(stdout, array, /* pretty= */ true) : -ENOMEM;
}

static Colour level_colour(FindingLevel level) {
    static const Colour colours[_FINDING_LEVEL_MAX] = {
            [FINDING_OK] = COLOUR_GREEN,
            [FINDING_NOTE] = COLOUR_NONE,
            [FINDING_WARNING] = COLOUR_YELLOW,
            [FINDING_PROBLEM] = COLOUR_RED,
    };

    return colours[level];
}

static int show_finding(const Options *o, const Finding *f) {
    _cleanup_free_ char *fact = sanitize(f->fact, SIZE_MAX), *why = NULL, *fix = NULL;
    bool colours = screen_style(o).colours;
    const char *on = colours ? colour_on(level_colour(f->level)) : "", *off = colours ? COLOUR_OFF : "";

    if (f->why)
        why = sanitize(f->why, SIZE_MAX);
    if (f->fix)
        fix = sanitize(f->fix, SIZE_MAX);
    if (!fact || (f->why && !why) || (f->fix && !fix))
        return -ENOMEM;
    printf("%s%-8s%s %s: %s\n", on, finding_level_to_string(f->level), off, f->subject, fact);
    if (why)
        printf("         Why: %s\n", why);
    if (fix)
        printf("         Fix: %s\n", fix);
    return 0;
}

static int show(const Options *o, const Findings *f, FindingLevel least) {
    int r = 0;

    pager_open(o);
    if (o->json)
        return show_as_json(f);
    for (size_t i = 0; r >= 0 && i < f->n; i++)
        r = f->items[i].level >= least ? show_finding(o, f->items + i) : 0;
    return r;
}

/* Of the whole host, or of the daemon alone; then only what is wrong is shown. */
static int examine(const Options *o, bool host, VfiodErrorText *error) {
    DoctorFacts facts = {};
    Findings findings = {};
    FindingLevel worst;
    int r = host ? doctor_look(&facts) : 0;

    if (r >= 0)
        r = ask_daemon(&facts);
    if (r >= 0) {
        (host ? doctor_judge : doctor_judge_service)(&facts, &findings);
        r = findings.error;
    }
    if (r >= 0)
        r = show(o, &findings, host ? FINDING_OK : FINDING_WARNING);
    worst = findings_worst(&findings);
    findings_done(&findings);
    doctor_facts_done(&facts);
    if (r < 0)
        return error_text_errno(error, r, host ? "Cannot look at this host" : "Cannot check vfiod");
    return worst == FINDING_PROBLEM ? exit_status_of(ERROR_NAME_PROBLEMS) : 0;
}

int doctor_check_service(const Options *o, VfiodErrorText *error) {
    return examine(o, /* host= */ false, error);
}

int verb_doctor(const Options *o, VfiodErrorText *error) {
    return examine(o, /* host= */ true, error);
}
