/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The topology of this host or a recorded one. */

#include <inttypes.h>
#include <pwd.h>

#include "base/str.h"
#include "client/calls.h"
#include "client/hardware-names.h"
#include "client/pager.h"
#include "client/show.h"
#include "client/topology-picture.h"
#include "rehearsal/rehearsal.h"

typedef struct Source {
    struct json_object *devices, *claims; /* owned */
    char **selected;                      /* owned: names; as many as n_selected */
    size_t n_selected;
} Source;

static void source_done(Source *s) {
    for (size_t i = 0; i < s->n_selected; i++)
        free(s->selected[i]);
    free(s->selected);
    json_object_put(s->devices);
    json_object_put(s->claims);
}

static int select_name(Source *s, const char *name) {
    char **grown = reallocarray(s->selected, s->n_selected + 1, sizeof(char *));

    if (!grown)
        return -ENOMEM;
    s->selected = grown;
    grown[s->n_selected] = strdup(name);
    return grown[s->n_selected++] ? 0 : -ENOMEM;
}

static int select_names(Source *s, struct json_object *names) {
    int r = 0;

    for (size_t i = 0; names && i < json_object_array_length(names) && r >= 0; i++)
        r = select_name(s, json_object_get_string(json_object_array_get_idx(names, i)));
    return r;
}

static int select_group(Source *s, const char *number, VfiodErrorText *error) {
    bool any = false;
    uint64_t id;

    if (parse_unsigned(number, 10, UINT32_MAX, &id) < 0)
        return error_text_set(
                error, EINVAL, "InvalidName", "group:%s: a group is written group:NUMBER.", number);
    for (size_t i = 0; i < json_object_array_length(s->devices); i++) {
        struct json_object *device = json_object_array_get_idx(s->devices, i);
        struct json_object *group = json_member(device, "group");

        if (!json_object_is_type(group, json_type_int) || json_object_get_int64(group) != (int64_t) id)
            continue;
        any = true;
        if (select_name(s, json_text(device, "name")) < 0)
            return error_text_errno(error, ENOMEM, "Cannot show the topology");
    }
    if (!any)
        return error_text_set(error, ENOENT, "NoSuchGroup", "group:%s: there is no such group.", number);
    return 0;
}

/* ---- Of this host, from the daemon ---- */

/* A device on a vfio driver is not used by the host. One without a driver may be the display of the
 * firmware's console. */
static bool may_be_used_by_host(struct json_object *device) {
    uint32_t class = (uint32_t) json_number(device, "class");

    if (*json_text(device, "vfioNode") || (is_pci(device) && class_is(class, "pci-bridge")))
        return false;
    return *json_text(device, "driver") || class_is(class, "display");
}

/* -1: it has none. */
static int64_t group_of(struct json_object *device) {
    struct json_object *group = json_member(device, "group");

    return json_object_is_type(group, json_type_int) ? json_object_get_int64(group) : -1;
}

static int compare_numbers(const void *a, const void *b) {
    const int64_t x = *(const int64_t *) a, y = *(const int64_t *) b;

    return x < y ? -1 : x > y;
}

/* The groups of all devices, sorted, with repetitions. */
static int64_t *list_groups(const Objects *objects, size_t *ret_n) {
    int64_t *groups = calloc(objects->n_items + 1, sizeof(int64_t));
    size_t n = 0;

    for (size_t i = 0; groups && i < objects->n_items; i++)
        if (objects->items[i].kind == OBJECT_DEVICE)
            groups[n++] = group_of(objects->items[i].properties);
    if (n > 0)
        qsort(groups, n, sizeof(int64_t), compare_numbers);
    *ret_n = n;
    return groups;
}

static bool shares_group(struct json_object *device, const int64_t *groups, size_t n) {
    int64_t group = group_of(device);
    const int64_t *found = bsearch(&group, groups, n, sizeof(int64_t), compare_numbers);
    size_t i = found ? (size_t) (found - groups) : 0;

    return found && group >= 0 &&
            ((i > 0 && groups[i - 1] == group) || (i + 1 < n && groups[i + 1] == group));
}

/* Each of these needs a call of its own, so only unknown ones are read. */
static int add_costly(VfiodConnection *c, Objects *objects, VfiodErrorText *error) {
    _cleanup_free_ int64_t *groups = NULL;
    size_t n = 0;
    int r = 0;

    groups = list_groups(objects, &n);
    if (!groups)
        return error_text_errno(error, ENOMEM, "Cannot show the topology");
    for (size_t i = 0; i < objects->n_items && r >= 0; i++) {
        Object *o = &objects->items[i];

        if (o->kind != OBJECT_DEVICE)
            continue;
        if (may_be_used_by_host(o->properties))
            r = call_try_property(c, o, "hostCritical", error);
        if (r >= 0 && is_pci(o->properties) && shares_group(o->properties, groups, n))
            r = call_try_property(c, o, "acsPath", error);
    }
    return r;
}

/* One call for each property, instead of one for each device. */
static int add_places(VfiodConnection *c, Objects *objects, VfiodErrorText *error) {
    static const char *const properties[] = {"slotPath", "parent", "numaNode", "iommuUnit"};
    int r = 0;

    for (size_t i = 0; i < ELEMENTSOF(properties) && r >= 0; i++)
        r = call_add_to_devices(c, objects, properties[i], error);
    return r;
}

static int add_user(struct json_object *claim) {
    const struct passwd *user = getpwuid((uid_t) json_number(claim, "uid"));

    return json_add_string(claim, "user", user ? user->pw_name : NULL);
}

static int take_objects(Source *s, const Objects *objects) {
    s->devices = json_object_new_array();
    s->claims = json_object_new_array();
    if (!s->devices || !s->claims)
        return -ENOMEM;
    for (size_t i = 0; i < objects->n_items; i++) {
        const Object *o = &objects->items[i];
        int r = 0;

        if (o->kind == OBJECT_DEVICE)
            r = json_append(s->devices, json_object_get(o->properties));
        else if (o->kind == OBJECT_CLAIM) {
            r = add_user(o->properties);
            if (r >= 0)
                r = json_append(s->claims, json_object_get(o->properties));
        }
        if (r < 0)
            return r;
    }
    return 0;
}

static int select_word(VfiodConnection *c, Source *s, const char *word, VfiodErrorText *error) {
    _cleanup_object_ Object object = OBJECT_NULL;
    int r;

    r = call_find_object(c, word, &object, error);
    if (r < 0)
        return r;
    r = object.kind == OBJECT_DEVICE ? select_name(s, object.name)
                                     : select_names(s, json_list(object.properties, "devices"));
    return r < 0 ? error_text_errno(error, r, "Cannot show the topology") : 0;
}

static int ask_daemon(const Options *o, Source *s, VfiodErrorText *error) {
    _cleanup_connection_ VfiodConnection *c = NULL;
    _cleanup_objects_ Objects objects = {};
    int r;

    r = vfiod_connection_new(&c, error);
    if (r >= 0)
        r = call_get_objects(c, &objects, error);
    if (r >= 0)
        r = add_places(c, &objects, error);
    if (r >= 0)
        r = add_costly(c, &objects, error);
    if (r < 0)
        return r;
    r = take_objects(s, &objects);
    if (r < 0)
        return error_text_errno(error, r, "Cannot show the topology");
    for (size_t i = 0; i < o->n_arguments && r >= 0; i++) {
        const char *number = startswith(o->arguments[i], "group:");

        r = number ? select_group(s, number, error) : select_word(c, s, o->arguments[i], error);
    }
    return r;
}

/* ---- Of a recorded host ---- */

static int read_recorded_host(const Options *o, Source *s, VfiodErrorText *error) {
    _cleanup_free_ const char **words = calloc(o->n_arguments + 1, sizeof(char *));
    _cleanup_json_ struct json_object *list = NULL;
    _cleanup_free_ char *problem = NULL;
    size_t n = 0;
    int r;

    for (size_t i = 0; words && i < o->n_arguments; i++)
        if (!startswith(o->arguments[i], "group:"))
            words[n++] = o->arguments[i];
    r = words ? rehearsal_list(o->host, words, &list, &problem) : -ENOMEM;
    if (r < 0 && problem)
        return error_text_set(error, -r, ERROR_NAME_REHEARSAL, "%s", problem);
    if (r >= 0) {
        s->devices = json_object_get(json_list(list, "devices"));
        r = select_names(s, json_list(list, "selected"));
    }
    if (r < 0)
        return error_text_errno(error, r, "Cannot show the topology");
    for (size_t i = 0; i < o->n_arguments && r >= 0; i++) {
        const char *number = startswith(o->arguments[i], "group:");

        r = number ? select_group(s, number, error) : 0;
    }
    return r;
}

/* ---- Either ---- */

static int add_names(Source *s) {
    _cleanup_names_ HardwareNames *names = hardware_names_new();
    int r = 0;

    for (size_t i = 0; i < json_object_array_length(s->devices) && r >= 0; i++)
        r = hardware_names_add(names, json_object_array_get_idx(s->devices, i));
    return r;
}

static char *to_svg(const Topology *t) {
    _cleanup_(picture_done) Picture p = {};

    return picture_lay_out(t, &p) < 0 ? NULL : picture_to_svg(&p);
}

static int show_topology(const Options *o, const Topology *t) {
    _cleanup_json_ struct json_object *json = o->json ? topology_to_json(t) : NULL;
    TableStyle style = screen_style(o);
    _cleanup_free_ char *text = NULL;

    if (o->json)
        return json ? show_json(stdout, json, /* pretty= */ true) : -ENOMEM;
    text = o->svg    ? to_svg(t)
            : o->dot ? topology_format_dot(t)
                     : topology_format_tree(t, &style, screen_is_utf8());
    if (!text)
        return -ENOMEM;
    return fputs(text, stdout) >= 0 ? 0 : -errno;
}

int verb_topology(const Options *o, VfiodErrorText *error) {
    _cleanup_(topology_done) Topology t = {};
    _cleanup_(source_done) Source s = {};
    int r;

    if (o->svg + o->dot + o->json > 1)
        return error_text_set(error, EINVAL, ERROR_NAME_USAGE, "--svg, --dot and --json exclude each other.");
    r = o->host ? read_recorded_host(o, &s, error) : ask_daemon(o, &s, error);
    if (r < 0)
        return r;
    r = add_names(&s);
    if (r >= 0)
        r = topology_build(s.devices, s.claims, &t);
    if (r >= 0 && o->n_arguments > 0)
        r = topology_select(&t, (const char *const *) s.selected, s.n_selected);
    if (r >= 0) {
        if (!o->svg && !o->dot)
            pager_open(o);
        r = show_topology(o, &t);
    }
    return r < 0 ? error_text_errno(error, r, "Cannot show the topology") : 0;
}
