/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <inttypes.h>

#include "base/str.h"
#include "client/calls.h"
#include "client/doctor.h"
#include "client/hardware-names.h"
#include "client/pager.h"
#include "client/show.h"

static void show_list(const Options *o, struct json_object *object, const char *label, const char *key) {
    _cleanup_free_ char *text = json_list_text(object, key);

    show_field(o, label, COLOUR_NONE, text);
}

static void show_holders(const Options *o, struct json_object *claim) {
    struct json_object *holders = json_list(claim, "holders");

    if (!holders)
        show_field(o, "Open in", COLOUR_NONE, "unknown");
    for (size_t i = 0; holders && i < json_object_array_length(holders); i++) {
        struct json_object *holder = json_object_array_get_idx(holders, i);
        _cleanup_free_ char *files = json_list_text(holder, "files");

        show_fieldf(o, i == 0 ? "Open in" : "", "%" PRIi64 " %s (%s)", json_number(holder, "pid"),
                json_text(holder, "command"), files ?: "");
    }
}

/* Texts that are sentences: each in a line of its own. */
static void show_each(const Options *o, const char *label, Colour colour, struct json_object *texts) {
    for (size_t i = 0; texts && i < json_object_array_length(texts); i++)
        show_field(
                o, i == 0 ? label : "", colour, json_object_get_string(json_object_array_get_idx(texts, i)));
}

static void show_claim(const Options *o, struct json_object *claim) {
    _cleanup_free_ char *owner = show_owner(json_number(claim, "uid"));
    _cleanup_free_ char *since = show_time(json_number(claim, "since"));
    int64_t reserved = json_number(claim, "reservedUntil"), position = json_number(claim, "queuePosition");
    int64_t deadline = json_number(claim, "deadline"), stop_at = json_number(claim, "stopAt");
    _cleanup_free_ char *stops = stop_at > 0 ? show_time(stop_at) : NULL;
    _cleanup_free_ char *eviction = show_eviction(claim);
    int64_t sleep_at = json_number(claim, "sleepAt");
    _cleanup_free_ char *sleeps = sleep_at > 0 ? show_time(sleep_at) : NULL;
    _cleanup_free_ char *ends = deadline > 0 ? show_time(deadline) : NULL;
    _cleanup_free_ char *until = reserved > 0 ? show_time(reserved) : NULL;
    _cleanup_free_ char *heading = format_string("claim %s", json_text(claim, "id"));
    const char *state = json_text(claim, "state"), *resume = json_text(claim, "resume");

    show_heading(o, heading ? heading : "claim");
    show_field(o, "State", state_colour(state), state);
    show_field(o, "Failure", COLOUR_RED, json_text(claim, "failure"));
    show_each(o, "Warning", COLOUR_YELLOW, json_list(claim, "warnings"));
    show_each(o, "Warning", COLOUR_YELLOW, json_list(claim, "resumeFailures"));
    show_list(o, claim, "Devices", "devices");
    show_list(o, claim, "Groups", "groups");
    show_field(o, "Backend", COLOUR_NONE, json_text(claim, "backend"));
    show_field(o, "Grant", COLOUR_NONE, json_text(claim, "grant"));
    show_list(o, claim, "Nodes", "nodes");
    show_field(o, "Tether", COLOUR_NONE, json_text(claim, "tether"));
    show_field(o, "Cookie", COLOUR_NONE, json_text(claim, "cookie"));
    show_list(o, claim, "VF tokens", "vfTokens");
    show_field(o, "Owner", COLOUR_NONE, owner);
    show_fieldf(o, "Caller", "%" PRIi64 " %s", json_number(claim, "pid"), json_text(claim, "command"));
    show_field(o, "Unit", COLOUR_NONE, json_text(claim, "unit"));
    show_field(o, "Rule", COLOUR_NONE, json_text(claim, "rule"));
    show_field(o, "Reason", COLOUR_NONE, json_text(claim, "reason"));
    show_field(o, "Since", COLOUR_NONE, since);
    show_field(o, "Reserved", COLOUR_NONE, until);
    show_field(o, "Deadline", COLOUR_NONE, ends);
    show_field(o, "Give back", COLOUR_YELLOW, eviction);
    if (*resume && !streq(resume, "none"))
        show_field(o, "Resume", streq(resume, "ok") ? COLOUR_NONE : COLOUR_YELLOW, resume);
    if (sleep_at > 0)
        show_fieldf(o, "Host sleeps", "by %s", sleeps ?: "?");
    if (stop_at > 0 && streq(state, "held"))
        show_fieldf(o, "Ended", "at %s, if it is not given back; who keeps its devices open is stopped",
                stops ?: "?");
    else if (stop_at > 0)
        show_fieldf(o, "Stopping", "%s; next step at %s", json_text(claim, "stopping"), stops ?: "?");
    if (position > 0)
        show_fieldf(o, "Position", "%" PRIi64 " in the queue", position);
    show_each(o, "Waits for", COLOUR_NONE, json_list(claim, "waitsFor"));
    show_holders(o, claim);
}

static void show_group(const Options *o, struct json_object *group) {
    _cleanup_free_ char *heading = format_string("group %" PRIi64, json_number(group, "id"));
    struct json_object *regions = json_list(group, "reservedRegions");
    const char *state = json_text(group, "state");
    bool viable = json_flag(group, "viable");

    show_heading(o, heading ? heading : "group");
    show_field(o, "State", state_colour(state), state);
    show_field(o, "Viable", viable ? COLOUR_NONE : COLOUR_YELLOW,
            viable ? "yes" : "no, a member is bound to a host driver");
    show_list(o, group, "Members", "devices");
    show_field(o, "Type", COLOUR_NONE, json_text(group, "type"));
    show_field(o, "Fingerprint", COLOUR_NONE, json_text(group, "fingerprint"));
    show_field(o, "Node", COLOUR_NONE, json_text(group, "vfioNode"));
    for (size_t i = 0; regions && i < json_object_array_length(regions); i++) {
        struct json_object *region = json_object_array_get_idx(regions, i);

        show_fieldf(o, i == 0 ? "Reserved" : "", "0x%" PRIx64 "-0x%" PRIx64 " %s",
                (uint64_t) json_number(region, "start"), (uint64_t) json_number(region, "end"),
                json_text(region, "type"));
    }
    if (capabilities_are_known(json_member(group, "capabilities")))
        show_capabilities(o, json_member(group, "capabilities"));
}

static void show_isolation(const Options *o, struct json_object *device) {
    struct json_object *acs;
    const char *blocker;

    if (!json_object_object_get_ex(device, "acsPath", &acs))
        return;
    blocker = json_text(acs, "blocker");
    if (*blocker)
        show_fieldf(o, "Isolation", "%s, at %s", json_text(acs, "path"), blocker);
    else
        show_field(o, "Isolation", COLOUR_NONE, json_text(acs, "path"));
}

/* Devices of other kinds have no ids. */
static void show_ids(const Options *o, struct json_object *device) {
    char class[24];

    show_fieldf(o, "Class", "%s (0x%06" PRIx64 "), revision %" PRIi64,
            class_word((uint32_t) json_number(device, "class"), class, sizeof(class)),
            (uint64_t) json_number(device, "class"), json_number(device, "revision"));
    show_fieldf(o, "Ids", "%04" PRIx64 ":%04" PRIx64 ", subsystem %04" PRIx64 ":%04" PRIx64,
            (uint64_t) json_number(device, "vendor"), (uint64_t) json_number(device, "product"),
            (uint64_t) json_number(device, "subsystemVendor"),
            (uint64_t) json_number(device, "subsystemProduct"));
}

static const char *access_text(const char *access) {
    static const char *const texts[][2] = {
            {"allow", "allowed to you by the policy"},
            {"ask", "allowed to you by the policy after authentication"},
            {"deny", "denied to you by the policy"},
            {"unknown", "depends on more than can be shown here, see 'vfioctl plan'"},
    };

    for (size_t i = 0; i < ELEMENTSOF(texts); i++)
        if (streq(texts[i][0], access))
            return texts[i][1];
    return access;
}

static void show_quarantine(const Options *o, const char *cause) {
    _cleanup_free_ char *text = *cause ? format_string("%s, see 'vfioctl quarantine list'", cause) : NULL;

    show_field(o, "Quarantine", COLOUR_RED, text ?: cause);
}

static void show_device(const Options *o, struct json_object *device) {
    const char *state = json_text(device, "state"), *driver = json_text(device, "driver");
    _cleanup_free_ char *resets = json_list_text(device, "resetMethods");

    show_heading(o, json_text(device, "name"));
    show_field(o, "Vendor", COLOUR_NONE, json_text(device, "vendorName"));
    show_field(o, "Model", COLOUR_NONE, json_text(device, "modelName"));
    if (is_pci(device))
        show_ids(o, device);
    show_field(o, "State", state_colour(state), state);
    show_field(o, "Access", COLOUR_NONE, access_text(json_text(device, "access")));
    show_quarantine(o, json_text(device, "quarantineCause"));
    show_field(o, "Driver", COLOUR_NONE, *driver ? driver : "none");
    show_field(o, "Override", COLOUR_NONE, json_text(device, "driverOverride"));
    show_field(o, "Node", COLOUR_NONE, json_text(device, "vfioNode"));
    show_field(o, "Resets", COLOUR_NONE, resets && *resets ? resets : "none");
    show_isolation(o, device);
    show_field(o, "Companions", COLOUR_NONE, json_text(device, "companions"));
    show_field(o, "Removable", COLOUR_NONE, json_text(device, "removable"));
    if (json_number(device, "numaNode") >= 0)
        show_fieldf(o, "NUMA node", "%" PRIi64, json_number(device, "numaNode"));
    if (*json_text(device, "network"))
        show_field(o, "Network", COLOUR_NONE, json_text(device, "network"));
    show_field(o, "Host uses it", COLOUR_YELLOW, json_text(device, "hostCritical"));
    show_list(o, device, "Tags", "tags");
    if (capabilities_are_known(json_member(device, "capabilities")))
        show_capabilities(o, json_member(device, "capabilities"));
}

/* The types that its driver can make, as a member of the device; none where they are unknown, as from an
 * older daemon. */
static int add_mediated_types(VfiodConnection *c, Object *device, VfiodErrorText *error) {
    _cleanup_object_ Object manager = {
            .kind = OBJECT_MANAGER, .name = strdup(""), .properties = json_object_new_object()};
    _cleanup_json_ struct json_object *made = json_object_new_array();
    const char *name = startswith(device->name, "pci:");
    struct json_object *all;
    VfiodErrorText ignored = {};

    if (!manager.name || !manager.properties || !made)
        return error_text_errno(error, ENOMEM, "Cannot show the status");
    if (!name || !*json_text(device->properties, "driver") ||
            call_add_property(c, &manager, "mediatedTypes", &ignored) < 0)
        return 0;
    all = json_list(manager.properties, "mediatedTypes");
    for (size_t i = 0; all && i < json_object_array_length(all); i++) {
        struct json_object *type = json_object_array_get_idx(all, i);

        if (streq(json_text(type, "parent"), name) && json_append(made, json_object_get(type)) < 0)
            return error_text_errno(error, ENOMEM, "Cannot show the status");
    }
    if (json_object_array_length(made) > 0 &&
            json_add(device->properties, "mediatedTypes", TAKE_PTR(made)) < 0)
        return error_text_errno(error, ENOMEM, "Cannot show the status");
    return 0;
}

static void show_mediated_types(const Options *o, struct json_object *device) {
    struct json_object *types = json_list(device, "mediatedTypes");

    for (size_t i = 0; types && i < json_object_array_length(types); i++) {
        struct json_object *type = json_object_array_get_idx(types, i);
        const char *name = json_text(type, "name");
        int64_t available = json_number(type, "available");

        if (available < 0)
            show_fieldf(
                    o, i == 0 ? "Can make" : "", "%s (%s), unknown how many", json_text(type, "type"), name);
        else
            show_fieldf(o, i == 0 ? "Can make" : "", "%s (%s), %" PRIi64 " left", json_text(type, "type"),
                    name, available);
    }
}

/* A device with its group and its claim, which a user would ask for next. */
static int show_device_and_kin(
        VfiodConnection *c, const Object *device, const Options *o, VfiodErrorText *error) {
    _cleanup_object_ Object group = OBJECT_NULL, claim = OBJECT_NULL;
    int r;

    r = call_get_related(c, device, "group", OBJECT_GROUP, &group, error);
    if (r < 0)
        return r;
    r = call_get_related(c, device, "claim", OBJECT_CLAIM, &claim, error);
    if (r >= 0 && claim.kind >= 0)
        r = call_add_costly(c, &claim, error);
    if (r < 0)
        return r;
    show_device(o, device->properties);
    show_mediated_types(o, device->properties);
    if (group.kind >= 0)
        show_group(o, group.properties);
    else
        show_field(o, "Group", COLOUR_YELLOW, "none: the device has no IOMMU");
    if (claim.kind >= 0)
        show_claim(o, claim.properties);
    return 0;
}

static int show_object(VfiodConnection *c, const Object *object, const Options *o, VfiodErrorText *error) {
    if (object->kind == OBJECT_DEVICE)
        return show_device_and_kin(c, object, o, error);
    if (object->kind == OBJECT_GROUP)
        show_group(o, object->properties);
    else
        show_claim(o, object->properties);
    return 0;
}

static int status_objects(VfiodConnection *c, const Options *o, VfiodErrorText *error) {
    _cleanup_json_ struct json_object *array = json_object_new_array();
    _cleanup_names_ HardwareNames *names = hardware_names_new();
    int r;

    if (!array)
        return error_text_errno(error, ENOMEM, "Cannot show the status");
    for (size_t i = 0; i < o->n_arguments; i++) {
        _cleanup_object_ Object object = OBJECT_NULL;

        r = call_find_object(c, o->arguments[i], &object, error);
        if (r >= 0 && o->output != OUTPUT_NAME)
            r = call_add_costly(c, &object, error);
        if (r >= 0 && object.kind == OBJECT_DEVICE && o->output != OUTPUT_NAME)
            r = add_mediated_types(c, &object, error);
        if (r < 0)
            return r;
        if (object.kind == OBJECT_DEVICE && hardware_names_add(names, object.properties) < 0)
            return error_text_errno(error, ENOMEM, "Cannot show the status");
        if (!o->json && o->output == OUTPUT_NAME) {
            puts(object.name);
            continue;
        }
        if (!o->json) {
            if (i > 0)
                puts("");
            r = show_object(c, &object, o, error);
            if (r < 0)
                return r;
            continue;
        }
        if (json_add(object.properties, "kind", json_object_new_string(object_kind_to_string(object.kind))) <
                        0 ||
                json_object_array_add(array, json_object_get(object.properties)) < 0)
            return error_text_errno(error, ENOMEM, "Cannot show the status");
    }
    r = o->json ? show_json(stdout, array, /* pretty= */ true) : 0;
    return r < 0 ? error_text_errno(error, r, "Cannot show the status") : 0;
}

static void show_lines(const Options *o, Colour colour, struct json_object *list) {
    for (size_t i = 0; list && i < json_object_array_length(list); i++)
        show_field(o, "", colour, json_object_get_string(json_object_array_get_idx(list, i)));
}

static void show_denied(const Options *o, struct json_object *manager) {
    _cleanup_free_ char *claims = json_list_text(manager, "claimsDeniedByPolicy"), *text = NULL;

    if (claims && *claims)
        text = format_string("The policy no longer allows these claims, which are kept: %s", claims);
    show_field(o, "", COLOUR_YELLOW, text);
}

static void show_shadow(const Options *o, struct json_object *manager) {
    const char *state = json_text(manager, "shadowState");
    int64_t rules = json_number(manager, "shadowRules"), n = json_number(manager, "shadowDifferences");

    if (streq(state, "loaded"))
        show_fieldf(o, "Shadow", "loaded, %" PRIi64 " rule%s, %" PRIi64 " difference%s", rules,
                rules == 1 ? "" : "s", n, n == 1 ? "" : "s");
    else if (streq(state, "stale"))
        show_fieldf(o, "Shadow",
                "STALE: its files have errors, the set loaded before is compared; %" PRIi64 " difference%s",
                n, n == 1 ? "" : "s");
    else if (streq(state, "broken"))
        show_field(o, "Shadow", COLOUR_YELLOW, "BROKEN: its files have errors, nothing is compared");
    show_lines(o, COLOUR_NONE, json_list(manager, "shadowErrors"));
}

static void show_policy(const Options *o, struct json_object *manager) {
    const char *state = json_text(manager, "policyState");
    int64_t rules = json_number(manager, "policyRules");

    if (streq(state, "loaded"))
        show_fieldf(o, "Policy", "loaded, %" PRIi64 " rule%s", rules, rules == 1 ? "" : "s");
    else if (streq(state, "stale"))
        show_field(o, "Policy", COLOUR_RED,
                "STALE: the policy files have errors, the set loaded before is in force");
    else
        show_field(o, "Policy", COLOUR_RED, "BROKEN: the policy files have errors, every request is denied");
    show_lines(o, COLOUR_NONE, json_list(manager, "policyErrors"));
    show_lines(o, COLOUR_YELLOW, json_list(manager, "policyWarnings"));
    show_lines(o, COLOUR_YELLOW, json_list(manager, "virtualFunctionsWarnings"));
    show_denied(o, manager);
    show_shadow(o, manager);
}

static void show_stuck(const Options *o, struct json_object *manager) {
    struct json_object *stuck = json_list(manager, "stuckWorkers");

    for (size_t i = 0; stuck && i < json_object_array_length(stuck); i++) {
        struct json_object *worker = json_object_array_get_idx(stuck, i);
        _cleanup_free_ char *since = show_time(json_number(worker, "since"));
        _cleanup_free_ char *stack = json_list_text(worker, "stack");
        const char *step = json_text(worker, "step"), *device = json_text(worker, "device");
        bool known = stack && *stack;

        show_fieldf(o, "Stuck worker", "process %" PRIi64 " since %s (%s%s%s%s%s)%s%s",
                json_number(worker, "pid"), since ?: "?", json_text(worker, "operation"), *step ? ": " : "",
                step, *device ? ", " : "", device, known ? ", waits in " : "", known ? stack : "");
    }
}

static void show_noiommu(const Options *o, struct json_object *manager) {
    const char *state = json_text(manager, "noiommu");

    if (streq(state, "unavailable"))
        show_field(o, "No IOMMU", COLOUR_RED,
                "UNAVAILABLE: the policy allows devices without an IOMMU, but vfiod has no CAP_SYS_RAWIO; "
                "see vfiod(8) and restart vfiod");
    else if (*state && !streq(state, "off"))
        show_field(o, "No IOMMU", COLOUR_YELLOW, state);
}

static void show_taint(const Options *o, struct json_object *manager) {
    struct json_object *taints = json_list(manager, "taints");
    _cleanup_free_ char *text = NULL;
    size_t n = 0;

    for (size_t i = 0; taints && i < json_object_array_length(taints); i++)
        n += json_flag(json_object_array_get_idx(taints, i), "weakens");
    if (n == 0)
        return;
    text = format_string("TAINTED: %zu thing%s weaken%s this host, see 'vfioctl taint'", n, n == 1 ? "" : "s",
            n == 1 ? "s" : "");
    show_field(o, "Isolation", COLOUR_RED, text);
}

static void show_kernel(const Options *o, struct json_object *manager) {
    _cleanup_strbuf_ StrBuf facts = {};
    struct json_object *kernel;

    if (!json_object_object_get_ex(manager, "kernel", &kernel) ||
            !json_object_is_type(kernel, json_type_object))
        return;
    json_object_object_foreach(kernel, key, value) {
        strbuf_addf(&facts, "%s%c%s", facts.length > 0 ? " " : "", json_object_get_boolean(value) ? '+' : '-',
                key);
    }
    show_field(o, "Kernel", COLOUR_NONE, facts.text);
    if (!json_flag(kernel, "iommu"))
        show_field(o, "", COLOUR_RED, "There are no IOMMU groups: no device is isolated from the host.");
}

static const TableColumn claim_columns[] = {{"CLAIM"}, {"STATE"}, {"OWNER", .drop = 1},
        {"BACKEND", .drop = 3}, {"COMMAND", .drop = 2}, {"DEVICES"}, {"SINCE", .wide = true},
        {"GRANT", .wide = true}, {"TETHER", .wide = true}, {"UNIT", .wide = true}, {"REASON", .wide = true}};

static void show_evictions(const Options *o, const Objects *objects) {
    bool any = false;

    for (size_t i = 0; i < objects->n_items; i++) {
        const Object *claim = objects->items + i;
        _cleanup_free_ char *text = claim->kind == OBJECT_CLAIM ? show_eviction(claim->properties) : NULL;
        _cleanup_free_ char *line = text ? format_string("%s %s", claim->name, text) : NULL;

        if (!line)
            continue;
        if (!any)
            puts("");
        show_field(o, any ? "" : "Give back", COLOUR_YELLOW, line);
        any = true;
    }
}

static int show_claims(const Options *o, const Objects *objects, VfiodErrorText *error) {
    _cleanup_(table_freep) Table *t = table_new(claim_columns, ELEMENTSOF(claim_columns));
    bool any = false;

    if (!t)
        return error_text_errno(error, ENOMEM, "Cannot show the claims");
    for (size_t i = 0; i < objects->n_items; i++) {
        const Object *claim = objects->items + i;
        _cleanup_free_ char *devices = NULL, *owner = NULL, *since = NULL;
        const char *state;

        if (claim->kind != OBJECT_CLAIM)
            continue;
        any = true;
        devices = json_list_text(claim->properties, "devices");
        owner = show_owner(json_number(claim->properties, "uid"));
        state = json_text(claim->properties, "state");
        table_add_row(t);
        table_set(t, 0, claim->name, COLOUR_NONE);
        table_set(t, 1, state, state_colour(state));
        table_set(t, 2, owner, COLOUR_NONE);
        table_set(t, 3, json_text(claim->properties, "backend"), COLOUR_NONE);
        table_set(t, 4, json_text(claim->properties, "command"), COLOUR_NONE);
        table_set(t, 5, devices, COLOUR_NONE);
        since = show_time(json_number(claim->properties, "since"));
        table_set(t, 6, since, COLOUR_NONE);
        table_set(t, 7, json_text(claim->properties, "grant"), COLOUR_NONE);
        table_set(t, 8, json_text(claim->properties, "tether"), COLOUR_NONE);
        table_set(t, 9, json_text(claim->properties, "unit"), COLOUR_NONE);
        table_set(t, 10, json_text(claim->properties, "reason"), COLOUR_NONE);
    }
    if (!any)
        return 0;
    if (o->output != OUTPUT_NAME)
        puts("");
    return show_sorted_table(t, o, error);
}

static int manager_json(const Object *manager, const Objects *objects) {
    _cleanup_json_ struct json_object *document = json_object_new_object(), *claims = json_object_new_array();

    if (!document || !claims || json_add(document, "manager", json_object_get(manager->properties)) < 0)
        return -ENOMEM;
    for (size_t i = 0; i < objects->n_items; i++)
        if (objects->items[i].kind == OBJECT_CLAIM &&
                json_object_array_add(claims, json_object_get(objects->items[i].properties)) < 0)
            return -ENOMEM;
    if (json_add(document, "claims", TAKE_PTR(claims)) < 0)
        return -ENOMEM;
    return show_json(stdout, document, /* pretty= */ true);
}

static int status_manager(VfiodConnection *c, const Options *o, VfiodErrorText *error) {
    _cleanup_object_ Object manager = OBJECT_NULL;
    _cleanup_objects_ Objects objects = {};
    _cleanup_free_ char *heading = NULL;
    int r;

    r = call_get_manager(c, &manager, error);
    if (r >= 0)
        r = call_add_costly(c, &manager, error);
    if (r < 0)
        return r;
    r = call_get_objects(c, &objects, error);
    if (r < 0)
        return r;
    if (o->json) {
        r = manager_json(&manager, &objects);
        return r < 0 ? error_text_errno(error, r, "Cannot show the status") : 0;
    }
    if (o->output == OUTPUT_NAME)
        return show_claims(o, &objects, error);
    heading = format_string("vfiod %s", json_text(manager.properties, "version"));
    show_heading(o, heading ? heading : "vfiod");
    if (json_flag(manager.properties, "simulated"))
        show_field(o, "Host", COLOUR_YELLOW, "SIMULATED from a record: no device is handed out");
    show_policy(o, manager.properties);
    show_stuck(o, manager.properties);
    show_kernel(o, manager.properties);
    show_noiommu(o, manager.properties);
    show_taint(o, manager.properties);
    show_fieldf(o, "Devices", "%" PRIi64 " in %" PRIi64 " groups", json_number(manager.properties, "devices"),
            json_number(manager.properties, "groups"));
    show_fieldf(o, "Claims", "%" PRIi64, json_number(manager.properties, "claims"));
    r = show_claims(o, &objects, error);
    if (r >= 0)
        show_evictions(o, &objects);
    return r;
}

int verb_status(const Options *o, VfiodErrorText *error) {
    _cleanup_connection_ VfiodConnection *c = NULL;
    int r;

    if (o->check && o->n_arguments > 0)
        return error_text_set(error, EINVAL, ERROR_NAME_USAGE, "--check takes no arguments.");
    if (o->check)
        return doctor_check_service(o, error);
    r = check_sort(o, claim_columns, ELEMENTSOF(claim_columns), error);
    if (r >= 0)
        r = vfiod_connection_new(&c, error);
    if (r < 0)
        return r;
    pager_open(o);
    return o->n_arguments > 0 ? status_objects(c, o, error) : status_manager(c, o, error);
}
