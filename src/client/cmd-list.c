/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Makes devices into rows of text, which are then filtered, sorted and shown. So a filter compares the text
 * of the table. */

#include <fnmatch.h>
#include <inttypes.h>

#include "base/str.h"
#include "client/calls.h"
#include "client/hardware-names.h"
#include "client/pager.h"
#include "client/show.h"

/* The columns of both forms; the first is the device's name, with or without a tree. */
enum {
    COLUMN_NAME,
    COLUMN_GROUP,
    COLUMN_CLASS,
    COLUMN_IDS,
    COLUMN_DRIVER,
    COLUMN_STATE,
    COLUMN_NODE,
    COLUMN_ACCESS,
    COLUMN_MODEL,
    COLUMN_CLAIM,
    COLUMN_NUMA,
    COLUMN_TAG,
    COLUMN_HOST_USE,
    N_COLUMNS,
};
#define COLUMNS_WITH(second)                                                                                 \
    {                                                                                                        \
        [COLUMN_NAME] = {"NAME"}, [COLUMN_GROUP] = {second, .drop = 3},                                      \
        [COLUMN_CLASS] = {"CLASS", .drop = 2}, [COLUMN_IDS] = {"IDS", .drop = 5},                            \
        [COLUMN_DRIVER] = {"DRIVER"}, [COLUMN_STATE] = {"STATE"}, [COLUMN_NODE] = {"NODE", .drop = 6},       \
        [COLUMN_ACCESS] = {"ACCESS", .drop = 1}, [COLUMN_MODEL] = {"MODEL", .cut = 20, .drop = 4},           \
        [COLUMN_CLAIM] = {"CLAIM", .wide = true}, [COLUMN_NUMA] = {"NUMA", .wide = true},                    \
        [COLUMN_TAG] = {"TAG", .wide = true}, [COLUMN_HOST_USE] = {"HOST USE", .wide = true},                \
    }
static const TableColumn list_columns[N_COLUMNS] = COLUMNS_WITH("GROUP");
static const TableColumn tree_columns[N_COLUMNS] = COLUMNS_WITH("TYPE");

typedef struct Row {
    const Object *device;
    char *cells[N_COLUMNS]; /* owned; NULL: empty */
} Row;

typedef struct List {
    const Options *options;
    VfiodConnection *connection;
    Objects objects;
    HardwareNames *names; /* owned; NULL: none */
    Row *rows;            /* owned; the devices to show, in order */
    size_t n_rows;
    unsigned wanted; /* mask of 1 << column: those that need a call */
} List;

static void list_done(List *l) {
    for (size_t i = 0; i < l->n_rows; i++)
        for (size_t c = 0; c < N_COLUMNS; c++)
            free(l->rows[i].cells[c]);
    free(l->rows);
    hardware_names_free(l->names);
    objects_done(&l->objects);
    vfiod_connection_free(l->connection);
}

/* ---- Cells ---- */

static bool has_group(struct json_object *device, int64_t *ret) {
    struct json_object *group;

    if (!json_object_object_get_ex(device, "group", &group) || !json_object_is_type(group, json_type_int))
        return false;
    *ret = json_object_get_int64(group);
    return true;
}

/* The last component: /dev/vfio/devices/vfio0 is long, and only vfio0 differs. */
static const char *node_name(const char *path) {
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

static char *class_cell(struct json_object *device) {
    char class[24];

    return strdup(class_word((uint32_t) json_number(device, "class"), class, sizeof(class)));
}

static char *ids_cell(struct json_object *device) {
    return format_string("%04x:%04x", (unsigned) json_number(device, "vendor") & 0xffff,
            (unsigned) json_number(device, "product") & 0xffff);
}

static char *model_cell(const List *l, struct json_object *device) {
    const char *vendor, *model;

    hardware_names_find(l->names, device, &vendor, &model);
    return hardware_short_name(vendor, model);
}

static int fill_row(const List *l, Row *row) {
    struct json_object *d = row->device->properties;
    bool pci = is_pci(d), grouped;
    int64_t group;

    grouped = has_group(d, &group);
    row->cells[COLUMN_NAME] = strdup(row->device->name);
    row->cells[COLUMN_GROUP] = grouped ? format_string("%" PRIi64, group) : NULL;
    row->cells[COLUMN_CLASS] = pci ? class_cell(d) : NULL;
    row->cells[COLUMN_IDS] = pci ? ids_cell(d) : NULL;
    row->cells[COLUMN_DRIVER] = strdup(json_text(d, "driver"));
    row->cells[COLUMN_STATE] = strdup(json_text(d, "state"));
    row->cells[COLUMN_NODE] = strdup(node_name(json_text(d, "vfioNode")));
    row->cells[COLUMN_ACCESS] = strdup(json_text(d, "access"));
    row->cells[COLUMN_MODEL] = model_cell(l, d);
    row->cells[COLUMN_CLAIM] = strdup(json_text(d, "claim"));
    if (json_number(d, "numaNode") >= 0)
        row->cells[COLUMN_NUMA] = format_string("%" PRIi64, json_number(d, "numaNode"));
    row->cells[COLUMN_HOST_USE] = strdup(json_text(d, "hostCritical"));
    row->cells[COLUMN_TAG] = json_list_text(d, "tags");
    return row->cells[COLUMN_NAME] && (!grouped || row->cells[COLUMN_GROUP]) &&
                    (!pci || (row->cells[COLUMN_CLASS] && row->cells[COLUMN_IDS])) &&
                    row->cells[COLUMN_DRIVER] && row->cells[COLUMN_STATE] && row->cells[COLUMN_NODE]
            ? 0
            : -ENOMEM;
}

/* ---- Filters: COLUMN=VALUE[,VALUE…], or !=, or a state alone ---- */

typedef struct Filter {
    int column;
    bool negative;
    const char *values; /* borrowed from the command line */
} Filter;

static const char *const states[] = {"free", "claimed", "quarantined", "waiting", "requested", "authorizing",
        "reserved", "binding", "opening", "draining", "resetting", "restoring", NULL};

/* "vfioctl list free" */
static int parse_state(const char *word, Filter *ret, VfiodErrorText *error) {
    const char *near = nearest(word, states);

    if (!near || !streq(near, word))
        return error_text_set(error, EINVAL, ERROR_NAME_USAGE,
                "%s: expected COLUMN=VALUE, such as class=display, or a state%s%s%s For one device, see "
                "vfioctl "
                "status.",
                word, near ? "; did you mean '" : "", near ? near : " such as free", near ? "'?" : ".");
    *ret = (Filter){.column = COLUMN_STATE, .values = word};
    return 0;
}

/* Reports a value that is close to a known word but is none: the filter would match nothing. */
static int check_value(const Filter *filter, const char *value, VfiodErrorText *error) {
    static const char *const accesses[] = {"allow", "ask", "deny", "unknown", NULL};
    const char *const *words = filter->column == COLUMN_STATE ? states
            : filter->column == COLUMN_ACCESS                 ? accesses
            : filter->column == COLUMN_CLASS                  ? class_words()
                                                              : NULL;
    const char *near = words && !strpbrk(value, "*?[") ? nearest(value, words) : NULL;

    if (!near || strcasecmp(near, value) == 0)
        return 0;
    return error_text_set(error, EINVAL, ERROR_NAME_USAGE, "%s: there is no such %s; did you mean '%s'?",
            value,
            filter->column == COLUMN_STATE            ? "state"
                    : filter->column == COLUMN_ACCESS ? "access"
                                                      : "class",
            near);
}

static int check_values(const Filter *filter, VfiodErrorText *error) {
    _cleanup_free_ char *values = strdup(filter->values);
    char *rest = values;
    int r = values ? 0 : error_text_errno(error, ENOMEM, "Cannot show the list");

    while (rest && r >= 0)
        r = check_value(filter, strsep(&rest, ","), error);
    return r;
}

static int parse_filter(const char *word, Filter *ret, VfiodErrorText *error) {
    const char *equals = strchr(word, '=');
    _cleanup_free_ char *name = NULL;
    size_t n;
    int r;

    if (!equals || equals == word)
        return parse_state(word, ret, error);
    *ret = (Filter){.negative = equals[-1] == '!', .values = equals + 1};
    n = (size_t) (equals - word) - ret->negative;
    name = strndup(word, n);
    if (!name)
        return error_text_errno(error, ENOMEM, "Cannot show the list");
    ret->column = table_find_column(list_columns, N_COLUMNS, name);
    r = check_column(list_columns, N_COLUMNS, name, "", error);
    return r < 0 ? r : check_values(ret, error);
}

static bool any_tag_matches(struct json_object *device, const char *value) {
    struct json_object *tags = json_list(device, "tags");

    for (size_t i = 0; tags && i < json_object_array_length(tags); i++)
        if (fnmatch(value, json_object_get_string(json_object_array_get_idx(tags, i)), FNM_CASEFOLD) == 0)
            return true;
    return false;
}

/* A device matches both its class, "display", and its kind, "vga". */
static bool value_matches(const Row *row, int column, const char *value) {
    const char *cell = row->cells[column] ? row->cells[column] : "";

    if (column == COLUMN_CLASS && is_pci(row->device->properties) &&
            class_is((uint32_t) json_number(row->device->properties, "class"), value))
        return true;
    if (column == COLUMN_TAG && *cell)
        return any_tag_matches(row->device->properties, value);
    return fnmatch(value, *cell ? cell : "-", FNM_CASEFOLD) == 0;
}

/* 1, 0 or -ENOMEM. */
static int filter_matches(const Row *row, const Filter *filter) {
    _cleanup_free_ char *values = strdup(filter->values);
    char *rest = values;
    bool any = false;

    if (!values)
        return -ENOMEM;
    while (rest && !any)
        any = value_matches(row, filter->column, strsep(&rest, ","));
    return any != filter->negative;
}

static int row_is_shown(const List *l, const Row *row, VfiodErrorText *error) {
    for (size_t i = 0; i < l->options->n_arguments; i++) {
        Filter filter;
        int r = parse_filter(l->options->arguments[i], &filter, error);

        if (r < 0)
            return r;
        r = filter_matches(row, &filter);
        if (r <= 0)
            return r < 0 ? error_text_errno(error, r, "Cannot show the list") : 0;
    }
    return 1;
}

/* ---- Rows ---- */

static int want_columns(List *l, VfiodErrorText *error) {
    const Options *o = l->options;
    int sort = o->sort ? table_find_column(list_columns, N_COLUMNS, o->sort) : COLUMN_NAME;

    if (sort < 0)
        return check_sort(o, list_columns, N_COLUMNS, error);
    if (o->sort && o->groups)
        return error_text_set(error, EINVAL, ERROR_NAME_USAGE,
                "--sort and --groups exclude each other: the tree is in the order of its groups.");
    l->wanted = 1U << sort;
    for (size_t i = 0; i < o->n_arguments; i++) {
        Filter filter;
        int r = parse_filter(o->arguments[i], &filter, error);

        if (r < 0)
            return r;
        l->wanted |= 1U << filter.column;
    }
    if (o->output == OUTPUT_WIDE)
        l->wanted |= 1U << COLUMN_NUMA | 1U << COLUMN_HOST_USE | 1U << COLUMN_TAG;
    return 0;
}

/* For costly properties: one call for each device. */
static int ask_each(List *l, const char *property, VfiodErrorText *error) {
    int r = 0;

    for (size_t i = 0; i < l->objects.n_items && r >= 0; i++)
        if (l->objects.items[i].kind == OBJECT_DEVICE)
            r = call_try_property(l->connection, &l->objects.items[i], property, error);
    return r;
}

static int ask(List *l, VfiodErrorText *error) {
    const Options *o = l->options;
    int r;

    r = call_get_objects(l->connection, &l->objects, error);
    if (r >= 0 && (o->json || o->groups))
        r = call_complete_objects(
                l->connection, &l->objects, o->groups ? OBJECT_GROUP : OBJECT_DEVICE, error);
    if (r >= 0)
        r = call_add_to_devices(l->connection, &l->objects, "access", error);
    if (r >= 0 && l->wanted & 1U << COLUMN_NUMA)
        r = call_complete_objects(l->connection, &l->objects, OBJECT_DEVICE, error);
    if (r >= 0 && l->wanted & 1U << COLUMN_HOST_USE)
        r = ask_each(l, "hostCritical", error);
    if (r >= 0 && l->wanted & 1U << COLUMN_TAG)
        r = ask_each(l, "tags", error);
    return r;
}

static int compare_rows(const void *a, const void *b, void *userdata) {
    const Row *x = a, *y = b;
    int column = *(const int *) userdata, r = compare_cells(x->cells[column], y->cells[column]);

    return r != 0 ? r : x->device < y->device ? -1 : 1;
}

static int make_rows(List *l, VfiodErrorText *error) {
    l->rows = calloc(l->objects.n_items + 1, sizeof(Row));
    if (!l->rows)
        return error_text_errno(error, ENOMEM, "Cannot show the list");
    for (size_t i = 0; i < l->objects.n_items; i++) {
        Row *row = &l->rows[l->n_rows];
        int r;

        row->device = &l->objects.items[i];
        if (row->device->kind != OBJECT_DEVICE)
            continue;
        l->n_rows++;
        r = fill_row(l, row);
        if (r < 0)
            return error_text_errno(error, r, "Cannot show the list");
        r = row_is_shown(l, row, error);
        if (r < 0)
            return r;
        if (r > 0)
            continue;
        for (size_t c = 0; c < N_COLUMNS; c++)
            free(row->cells[c]);
        *row = (Row){};
        l->n_rows--;
    }
    if (l->options->sort) {
        int column = table_find_column(list_columns, N_COLUMNS, l->options->sort);

        qsort_r(l->rows, l->n_rows, sizeof(Row), compare_rows, &column);
    }
    return 0;
}

/* Without filters all groups, otherwise those with a device that is shown. */
static bool group_is_shown(const List *l, int64_t group) {
    int64_t id;

    if (l->options->n_arguments == 0)
        return true;
    for (size_t i = 0; i < l->n_rows; i++)
        if (has_group(l->rows[i].device->properties, &id) && id == group)
            return true;
    return false;
}

/* ---- Forms ---- */

static Colour access_colour(const char *access) {
    return streq(access, "allow") ? COLOUR_GREEN : streq(access, "deny") ? COLOUR_GREY : COLOUR_YELLOW;
}

static Colour cell_colour(size_t column, const char *text) {
    if (!text)
        return COLOUR_NONE;
    if (column == COLUMN_STATE)
        return state_colour(text);
    if (column == COLUMN_ACCESS)
        return access_colour(text);
    return column == COLUMN_HOST_USE ? COLOUR_YELLOW : COLOUR_NONE;
}

static void set_cells(Table *t, const Row *row, size_t from) {
    for (size_t c = from; c < N_COLUMNS; c++)
        table_set(t, c, row->cells[c], cell_colour(c, row->cells[c]));
}

static int list_devices(const List *l) {
    _cleanup_(table_freep) Table *t = table_new(list_columns, N_COLUMNS);

    if (!t)
        return -ENOMEM;
    for (size_t i = 0; i < l->n_rows; i++) {
        table_add_row(t);
        set_cells(t, &l->rows[i], COLUMN_NAME);
    }
    return show_table(t, l->options);
}

static void add_branch(Table *t, const Row *row, bool last) {
    _cleanup_free_ char *text = NULL;
    const char *branch = screen_is_utf8() ? (last ? "└─" : "├─") : (last ? "`-" : "|-");

    text = format_string("%s%s", branch, row->device->name);
    table_add_row(t);
    table_set(t, COLUMN_NAME, text, COLOUR_NONE);
    set_cells(t, row, COLUMN_CLASS);
}

/* Adds rows for the devices of one group, or (group NULL) for those without one. */
static void add_members(Table *t, const List *l, const int64_t *group) {
    const Row *previous = NULL;

    for (size_t i = 0; i < l->n_rows; i++) {
        const Row *row = &l->rows[i];
        int64_t id;

        if (has_group(row->device->properties, &id) != (group != NULL) || (group && id != *group))
            continue;
        if (!previous && !group) {
            table_add_row(t);
            table_set(t, COLUMN_NAME, "no group", COLOUR_BOLD);
        }
        if (previous)
            add_branch(t, previous, false);
        previous = row;
    }
    if (previous)
        add_branch(t, previous, true);
}

static void add_group(Table *t, const List *l, struct json_object *group) {
    int64_t id = json_number(group, "id");
    _cleanup_free_ char *name = format_string("group %" PRIi64, id);
    const char *state = json_text(group, "state");

    table_add_row(t);
    table_set(t, COLUMN_NAME, name, COLOUR_BOLD);
    table_set(t, COLUMN_GROUP, json_text(group, "type"), COLOUR_NONE);
    table_set(t, COLUMN_DRIVER, json_flag(group, "viable") ? "viable" : "not viable", COLOUR_NONE);
    table_set(t, COLUMN_STATE, state, state_colour(state));
    table_set(t, COLUMN_NODE, node_name(json_text(group, "vfioNode")), COLOUR_NONE);
    add_members(t, l, &id);
}

static int list_groups(const List *l) {
    _cleanup_(table_freep) Table *t = table_new(tree_columns, N_COLUMNS);

    if (!t)
        return -ENOMEM;
    for (size_t i = 0; i < l->objects.n_items; i++) {
        struct json_object *group = l->objects.items[i].properties;

        if (l->objects.items[i].kind != OBJECT_GROUP || !group_is_shown(l, json_number(group, "id")))
            continue;
        if (l->options->output == OUTPUT_NAME)
            printf("group:%" PRIi64 "\n", json_number(group, "id"));
        else
            add_group(t, l, group);
    }
    if (l->options->output == OUTPUT_NAME)
        return 0;
    add_members(t, l, NULL);
    return show_table(t, l->options);
}

static int list_json(const List *l) {
    _cleanup_json_ struct json_object *array = json_object_new_array();
    int r = array ? 0 : -ENOMEM;

    for (size_t i = 0; i < l->n_rows && r >= 0 && !l->options->groups; i++) {
        struct json_object *device = l->rows[i].device->properties;

        r = hardware_names_add(l->names, device);
        if (r >= 0 && json_object_array_add(array, json_object_get(device)) < 0)
            r = -ENOMEM;
    }
    for (size_t i = 0; i < l->objects.n_items && r >= 0 && l->options->groups; i++) {
        struct json_object *group = l->objects.items[i].properties;

        if (l->objects.items[i].kind == OBJECT_GROUP && group_is_shown(l, json_number(group, "id")) &&
                json_object_array_add(array, json_object_get(group)) < 0)
            r = -ENOMEM;
    }
    return r < 0 ? r : show_json(stdout, array, /* pretty= */ !l->options->watch);
}

int verb_list(const Options *o, VfiodErrorText *error) {
    _cleanup_(list_done) List l = {.options = o};
    int r;

    r = want_columns(&l, error);
    if (r >= 0)
        r = vfiod_connection_new(&l.connection, error);
    if (r >= 0)
        r = ask(&l, error);
    l.names = hardware_names_new();
    if (r >= 0)
        r = make_rows(&l, error);
    if (r < 0)
        return r;
    if (l.n_rows == 0 && o->n_arguments > 0 && !o->json && !o->watch) {
        fputs("No device matches.\n", stderr);
        return 0;
    }
    if (!o->watch)
        pager_open(o);
    r = o->json ? list_json(&l) : o->groups ? list_groups(&l) : list_devices(&l);
    return r < 0 ? error_text_errno(error, r, "Cannot show the list") : 0;
}
