/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The reading half. Tables say which members an object has, of which type and range, and where they go; what
 * is not in the table is an error, with the path of the member and its line: a snapshot is also written by
 * hand, for tests, and a misspelled fact that is silently unknown would test something else. */

#include "core/snapshot.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>

#include "base/json-text.h"
#include "base/str.h"

typedef struct RecordedGroup {
    int id;
    GroupFacts facts;
} RecordedGroup;

typedef struct Account {
    const char *name; /* of the document */
    uint32_t id;
    gid_t *groups; /* owned; of a user, his own first */
    size_t n_groups;
} Account;

struct HostSnapshot {
    JsonDocument *document; /* accounts borrow their names */
    Inventory *inventory;
    const Device **devices; /* owned list, inventory.devices; sorted by name */
    DeviceFacts *facts;     /* owned; of the device with the same index */
    size_t n_devices;
    RecordedGroup *groups; /* owned, sorted by id */
    size_t n_groups;
    Account *users, *user_groups; /* owned */
    size_t n_users, n_user_groups;
    KernelFacts kernel;
    bool kernel_known, taints_known;
    TaintList taints;
};

static Account *accounts_free(Account *accounts, size_t n) {
    for (size_t i = 0; i < n; i++)
        free(accounts[i].groups);
    free(accounts);
    return NULL;
}

HostSnapshot *host_snapshot_free(HostSnapshot *s) {
    if (!s)
        return NULL;
    for (size_t i = 0; i < s->n_devices; i++)
        device_facts_done(&s->facts[i]);
    free(s->facts);
    free(s->devices);
    free(s->groups);
    accounts_free(s->users, s->n_users);
    accounts_free(s->user_groups, s->n_user_groups);
    inventory_free(s->inventory);
    json_document_free(s->document);
    free(s);
    return NULL;
}

/* ---- The reader ---- */

#define PATH_SIZE 256U

typedef struct Reader {
    HostSnapshot *snapshot;
    char path[PATH_SIZE]; /* "devices[3].driver" */
    char *problem;
} Reader;

typedef enum FieldKind {
    FIELD_BOOLEAN,
    FIELD_NUMBER, /* of size bytes, from min to max */
    FIELD_TEXT,   /* into size bytes */
    FIELD_CALL,   /* take() looks at the value, which is of this type */
    FIELD_IGNORED,
} FieldKind;

typedef struct Field {
    const char *name;
    JsonType type;
    FieldKind kind;
    size_t offset, size;
    int64_t min, max;
    int (*take)(Reader *r, const JsonNode *value, void *target);
    bool required;
    unsigned fact; /* of DeviceFactMask: known when it is there */
} Field;

#define BOOLEAN(key, type_, member)                                                                          \
    { .name = key, .type = JSON_BOOLEAN, .kind = FIELD_BOOLEAN, .offset = offsetof(type_, member) }
#define NUMBER(key, type_, member, min_, max_, ...)                                                          \
    {                                                                                                        \
        .name = key, .type = JSON_INTEGER, .kind = FIELD_NUMBER, .offset = offsetof(type_, member),          \
        .size = sizeof(((type_ *) NULL)->member), .min = min_, .max = max_, __VA_ARGS__                      \
    }
#define TEXT(key, type_, member, ...)                                                                        \
    {                                                                                                        \
        .name = key, .type = JSON_STRING, .kind = FIELD_TEXT, .offset = offsetof(type_, member),             \
        .size = sizeof(((type_ *) NULL)->member), __VA_ARGS__                                                \
    }
#define CALL(key, type_, function, ...)                                                                      \
    { .name = key, .type = type_, .kind = FIELD_CALL, .take = function, __VA_ARGS__ }

static int fail(Reader *r, const JsonNode *value, const char *format, ...) _printf_(3, 4);
static int fail(Reader *r, const JsonNode *value, const char *format, ...) {
    char message[512];
    va_list ap;

    va_start(ap, format);
    (void) vsnprintf(message, sizeof(message), format, ap);
    va_end(ap);
    r->problem =
            format_string("%s (line %u): %s", r->path[0] ? r->path : "the snapshot", value->line, message);
    return r->problem ? -EBADMSG : -ENOMEM;
}

/* Goes down into a member or element; the old length of the path is what brings it back. */
static size_t enter_member(Reader *r, const char *key) {
    size_t n = strlen(r->path);
    char *printable = sanitize(key, 40);

    (void) snprintf(r->path + n, PATH_SIZE - n, "%s%s", n > 0 ? "." : "", printable ?: "?");
    free(printable);
    return n;
}

static size_t enter_element(Reader *r, size_t index) {
    size_t n = strlen(r->path);

    (void) snprintf(r->path + n, PATH_SIZE - n, "[%zu]", index);
    return n;
}

static int expect_type(Reader *r, const JsonNode *value, JsonType type) {
    if (value->type == type)
        return 0;
    return fail(
            r, value, "expected %s, found %s", json_type_to_string(type), json_type_to_string(value->type));
}

static int take_number(Reader *r, const JsonNode *value, const Field *f, void *target) {
    if (value->integer < f->min || value->integer > f->max)
        return fail(
                r, value, "%" PRId64 " is not from %" PRId64 " to %" PRId64, value->integer, f->min, f->max);
    switch (f->size) {
    case 1:
        *(uint8_t *) target = (uint8_t) value->integer;
        break;
    case 2:
        *(uint16_t *) target = (uint16_t) value->integer;
        break;
    case 4:
        *(uint32_t *) target = (uint32_t) value->integer;
        break;
    default:
        assert(f->size == 8);
        *(uint64_t *) target = (uint64_t) value->integer;
    }
    return 0;
}

static int take_field(Reader *r, const JsonNode *value, const Field *f, void *target) {
    /* No target: every field of the table has a function of its own. Nothing may be added to NULL. */
    char *place = target ? (char *) target + f->offset : NULL;
    int e;

    e = expect_type(r, value, f->type);
    if (e < 0)
        return e;
    switch (f->kind) {
    case FIELD_BOOLEAN:
        *(bool *) place = value->boolean;
        return 0;
    case FIELD_NUMBER:
        return take_number(r, value, f, place);
    case FIELD_TEXT:
        if (strlen(value->string) >= f->size)
            return fail(r, value, "longer than %zu bytes", f->size - 1);
        strcpy(place, value->string);
        return 0;
    case FIELD_CALL:
        return f->take(r, value, target);
    case FIELD_IGNORED:
        return 0;
    }
    return -EINVAL;
}

#define FIELDS_MAX 32U

static int fail_unknown(Reader *r, const JsonNode *value, const Field *fields, size_t n) {
    const char *names[FIELDS_MAX + 1] = {}, *meant;

    assert(n <= FIELDS_MAX);
    for (size_t i = 0; i < n; i++)
        names[i] = fields[i].name;
    meant = nearest(value->key, names);
    return fail(r, value, "unknown member%s%s%s", meant ? "; did you mean '" : "", meant ?: "",
            meant ? "'?" : "");
}

/* *known collects the facts of the fields that were there; NULL: there are none. */
static int take_object(
        Reader *r, const JsonNode *object, const Field *fields, size_t n, void *target, unsigned *known) {
    bool seen[FIELDS_MAX] = {};
    int e;

    e = expect_type(r, object, JSON_OBJECT);
    for (const JsonNode *m = object->children; e >= 0 && m; m = m->next) {
        size_t depth = enter_member(r, m->key), i = 0;

        while (i < n && !streq(fields[i].name, m->key))
            i++;
        e = i < n ? take_field(r, m, &fields[i], target) : fail_unknown(r, m, fields, n);
        if (e < 0)
            break;
        seen[i] = true;
        if (known)
            *known |= fields[i].fact;
        r->path[depth] = '\0';
    }
    for (size_t i = 0; e >= 0 && i < n; i++)
        if (fields[i].required && !seen[i])
            e = fail(r, object, "\"%s\" is missing", fields[i].name);
    return e;
}

static size_t count_children(const JsonNode *n) {
    size_t count = 0;

    for (const JsonNode *c = n->children; c; c = c->next)
        count++;
    return count;
}

/* Room for one of each of the children. */
static int allocate(Reader *r, const JsonNode *list, size_t max, size_t size, void *ret) {
    size_t n = count_children(list);

    if (n > max)
        return fail(r, list, "%zu are more than the %zu that are taken", n, max);
    *(void **) ret = calloc(n + 1, size);
    return *(void **) ret ? 0 : -ENOMEM;
}

/* ---- Devices ---- */

/* What one object says, before it is in the inventory. */
typedef struct RecordedDevice {
    DeviceSnapshot snapshot;
    DeviceFacts facts;
    char node[64];
} RecordedDevice;

static int take_name(Reader *r, const JsonNode *value, void *target) {
    RecordedDevice *d = target;

    if (device_name_parse(value->string, &d->snapshot.name) < 0)
        return fail(r, value, "not the name of a device: write it like pci:0000:06:0d.0");
    return 0;
}

static int take_parent(Reader *r, const JsonNode *value, void *target) {
    RecordedDevice *d = target;

    if (device_name_parse(value->string, &d->snapshot.parent) < 0)
        return fail(r, value, "not the name of a device: write it like pci:0000:06:0d.0");
    d->snapshot.has_parent = true;
    return 0;
}

static int take_removable(Reader *r, const JsonNode *value, void *target) {
    RecordedDevice *d = target;
    Removable removable = removable_from_string(value->string);

    if (removable < 0 || removable == REMOVABLE_UNKNOWN)
        return fail(r, value, "expected \"fixed\" or \"removable\"; leave it out when it is not known");
    d->facts.removable = removable;
    return 0;
}

static int take_acs_path(Reader *r, const JsonNode *value, void *target) {
    RecordedDevice *d = target;
    AcsPath acs = acs_path_from_string(value->string);

    if (acs < 0 || acs == ACS_UNKNOWN)
        return fail(r, value,
                "expected \"complete\", \"incomplete\" or \"not-needed\"; leave it out when it is not known");
    d->facts.acs = acs;
    return 0;
}

static int take_host_critical(Reader *r, const JsonNode *value, void *target) {
    RecordedDevice *d = target;

    if (!value->string[0])
        return 0;
    return free_and_strdup(&d->facts.host_critical, value->string);
}

static int take_descendants(Reader *r, const JsonNode *value, void *target) {
    RecordedDevice *d = target;

    return value->string[0] ? free_and_strdup(&d->facts.descendants, value->string) : 0;
}

static int take_reset_methods(Reader *r, const JsonNode *list, void *target) {
    RecordedDevice *d = target;
    size_t index = 0;

    for (const JsonNode *n = list->children; n; n = n->next) {
        size_t depth = enter_element(r, index++);
        ResetMethod method;
        int e;

        e = expect_type(r, n, JSON_STRING);
        if (e < 0)
            return e;
        method = reset_method_from_string(n->string);
        d->facts.reset_methods |= 1U << (method < 0 ? RESET_METHOD_UNKNOWN : method);
        r->path[depth] = '\0';
    }
    return 0;
}

/* "00-1b-21-ff-ff-a1-b2-c3", or "" for none. */
static int take_serial(Reader *r, const JsonNode *value, void *target) {
    RecordedDevice *d = target;
    const char *s = value->string;

    for (size_t i = 0; s[i]; i++)
        if (i >= PCI_SERIAL_MAX - 1 || (i % 3 == 2 ? s[i] != '-' : !strchr("0123456789abcdef", s[i])))
            return fail(r, value, "not a serial number as lspci writes it");
    if (s[0] && strlen(s) != PCI_SERIAL_MAX - 1)
        return fail(r, value, "not a serial number as lspci writes it");
    strcpy(d->facts.serial, s);
    return 0;
}

static int take_properties(Reader *r, const JsonNode *object, void *target) {
    RecordedDevice *d = target;
    size_t n = 0, size = 0;
    int e;

    e = allocate(r, object, PROPERTIES_MAX, sizeof(char *), &d->facts.properties);
    if (e < 0)
        return e;
    for (const JsonNode *m = object->children; m; m = m->next) {
        size_t depth = enter_member(r, m->key);

        e = expect_type(r, m, JSON_STRING);
        if (e < 0)
            return e;
        if (!m->key[0] || strchr(m->key, '='))
            return fail(r, m, "not the name of a property");
        size += strlen(m->key) + strlen(m->string) + 1;
        if (size > PROPERTIES_SIZE_MAX)
            return fail(r, m, "the properties have more than %u bytes together", PROPERTIES_SIZE_MAX);
        d->facts.properties[n] = format_string("%s=%s", m->key, m->string);
        if (!d->facts.properties[n++])
            return -ENOMEM;
        r->path[depth] = '\0';
    }
    return 0;
}

static const Field device_fields[] = {
        CALL("name", JSON_STRING, take_name, .required = true),
        NUMBER("vendor", RecordedDevice, snapshot.vendor, 0, UINT16_MAX, .required = true),
        NUMBER("product", RecordedDevice, snapshot.device, 0, UINT16_MAX, .required = true),
        NUMBER("subsystemVendor", RecordedDevice, snapshot.subsystem_vendor, 0, UINT16_MAX),
        NUMBER("subsystemProduct", RecordedDevice, snapshot.subsystem_device, 0, UINT16_MAX),
        NUMBER("class", RecordedDevice, snapshot.class_code, 0, 0xffffff, .required = true),
        NUMBER("revision", RecordedDevice, snapshot.revision, 0, UINT8_MAX),
        NUMBER("group", RecordedDevice, snapshot.group, 0, INT_MAX),
        CALL("parent", JSON_STRING, take_parent),
        TEXT("driver", RecordedDevice, snapshot.driver),
        NUMBER("vfioIndex", RecordedDevice, snapshot.vfio_index, 0, INT_MAX),
        TEXT("vfioNode", RecordedDevice, node),
        NUMBER("numaNode", RecordedDevice, facts.numa_node, -1, INT_MAX, .fact = DEVICE_FACT_NUMA_NODE),
        CALL("resetMethods", JSON_ARRAY, take_reset_methods, .fact = DEVICE_FACT_RESET_METHODS),
        TEXT("driverOverride", RecordedDevice, facts.driver_override, .fact = DEVICE_FACT_DRIVER_OVERRIDE),
        CALL("removable", JSON_STRING, take_removable, .fact = DEVICE_FACT_REMOVABLE),
        CALL("hostCritical", JSON_STRING, take_host_critical, .fact = DEVICE_FACT_HOST_CRITICAL),
        CALL("descendants", JSON_STRING, take_descendants, .fact = DEVICE_FACT_DESCENDANTS),
        NUMBER("enable", RecordedDevice, facts.enable_count, 0, INT_MAX, .fact = DEVICE_FACT_ENABLE_COUNT),
        CALL("acsPath", JSON_STRING, take_acs_path, .fact = DEVICE_FACT_ACS),
        TEXT("slotPath", RecordedDevice, facts.slot_path, .fact = DEVICE_FACT_SLOT_PATH),
        CALL("serial", JSON_STRING, take_serial, .fact = DEVICE_FACT_SERIAL),
        CALL("properties", JSON_OBJECT, take_properties, .fact = DEVICE_FACT_PROPERTIES),
};

/* The node's number is not recorded; all that matters is that there is one. */
static int check_node(Reader *r, const JsonNode *object, RecordedDevice *d) {
    char expected[64];

    if (!d->node[0])
        return 0;
    (void) snprintf(expected, sizeof(expected), SNAPSHOT_NODE_FORMAT, d->snapshot.vfio_index);
    if (d->snapshot.vfio_index < 0 || !streq(d->node, expected))
        return fail(r, object, "\"vfioNode\" does not belong to its \"vfioIndex\"");
    d->snapshot.vfio_rdev = (dev_t) d->snapshot.vfio_index + 1;
    return 0;
}

static int take_device(Reader *r, const JsonNode *object) {
    RecordedDevice d = {.snapshot = {.group = -1, .vfio_index = -1}, .facts = DEVICE_FACTS_NULL};
    HostSnapshot *s = r->snapshot;
    Device *added;
    int e;

    e = take_object(r, object, device_fields, ELEMENTSOF(device_fields), &d, &d.facts.known);
    if (e >= 0)
        e = check_node(r, object, &d);
    if (e >= 0 && inventory_find_device(s->inventory, &d.snapshot.name))
        e = fail(r, object, "there is another device of this name");
    if (e >= 0)
        e = inventory_update(s->inventory, &d.snapshot, &added, NULL);
    if (e < 0) {
        device_facts_done(&d.facts);
        return e;
    }
    s->devices[s->n_devices] = added;
    s->facts[s->n_devices++] = d.facts;
    return 0;
}

static int take_devices(Reader *r, const JsonNode *list, void *target) {
    size_t index = 0;
    int e;

    e = allocate(r, list, SNAPSHOT_DEVICES_MAX, sizeof(Device *), &r->snapshot->devices);
    if (e >= 0)
        e = allocate(r, list, SNAPSHOT_DEVICES_MAX, sizeof(DeviceFacts), &r->snapshot->facts);
    for (const JsonNode *n = list->children; e >= 0 && n; n = n->next) {
        size_t depth = enter_element(r, index++);

        e = take_device(r, n);
        if (e >= 0)
            r->path[depth] = '\0';
    }
    return e;
}

/* ---- Groups ---- */

static int take_address(Reader *r, const JsonNode *value, uint64_t *ret) {
    const char *digits = startswith(value->string, "0x");

    if (!digits || parse_unsigned(digits, 16, UINT64_MAX, ret) < 0)
        return fail(r, value, "expected an address like \"0xfee00000\"");
    return 0;
}

static int take_start(Reader *r, const JsonNode *value, void *target) {
    return take_address(r, value, &((ReservedRegion *) target)->start);
}

static int take_end(Reader *r, const JsonNode *value, void *target) {
    return take_address(r, value, &((ReservedRegion *) target)->end);
}

static const Field region_fields[] = {
        CALL("start", JSON_STRING, take_start, .required = true),
        CALL("end", JSON_STRING, take_end, .required = true),
        TEXT("type", ReservedRegion, type, .required = true),
};

static int take_regions(Reader *r, const JsonNode *list, void *target) {
    RecordedGroup *g = target;

    for (const JsonNode *n = list->children; n; n = n->next) {
        size_t depth = enter_element(r, g->facts.n_regions);
        int e;

        if (g->facts.n_regions >= RESERVED_REGIONS_MAX)
            return fail(r, n, "more than %u regions", RESERVED_REGIONS_MAX);
        e = take_object(
                r, n, region_fields, ELEMENTSOF(region_fields), &g->facts.regions[g->facts.n_regions], NULL);
        if (e < 0)
            return e;
        g->facts.n_regions++;
        r->path[depth] = '\0';
    }
    return 0;
}

static int take_group_node(Reader *r, const JsonNode *value, void *target) {
    ((RecordedGroup *) target)->facts.node_present = value->string[0];
    return 0;
}

static const Field group_fields[] = {
        NUMBER("id", RecordedGroup, id, 0, INT_MAX, .required = true),
        TEXT("type", RecordedGroup, facts.type),
        CALL("vfioNode", JSON_STRING, take_group_node),
        CALL("reservedRegions", JSON_ARRAY, take_regions),
};

static int compare_groups(const void *a, const void *b) {
    int x = ((const RecordedGroup *) a)->id, y = ((const RecordedGroup *) b)->id;

    return (x > y) - (x < y);
}

static int take_groups(Reader *r, const JsonNode *list, void *target) {
    HostSnapshot *s = r->snapshot;
    size_t depth;
    int e;

    /* Facts of a group are large: no more of them than there can be groups. */
    e = allocate(r, list, inventory_n_groups(s->inventory), sizeof(RecordedGroup), &s->groups);
    if (e < 0)
        return e;
    for (const JsonNode *n = list->children; n; n = n->next) {
        depth = enter_element(r, s->n_groups);
        e = take_object(r, n, group_fields, ELEMENTSOF(group_fields), &s->groups[s->n_groups], NULL);
        if (e >= 0 && !inventory_find_group(s->inventory, s->groups[s->n_groups].id))
            e = fail(r, n, "no device is in this group");
        if (e < 0)
            return e;
        s->n_groups++;
        r->path[depth] = '\0';
    }
    if (s->n_groups > 0)
        qsort(s->groups, s->n_groups, sizeof(*s->groups), compare_groups);
    for (size_t i = 1; i < s->n_groups; i++)
        if (s->groups[i].id == s->groups[i - 1].id)
            return fail(r, list, "group %d is there twice", s->groups[i].id);
    return 0;
}

/* ---- Kernel and taints ---- */

static const Field kernel_fields[] = {
        BOOLEAN("iommufd", KernelFacts, iommufd),
        BOOLEAN("deviceCdev", KernelFacts, device_cdev),
        BOOLEAN("container", KernelFacts, container),
        BOOLEAN("noiommuSupport", KernelFacts, noiommu_support),
        BOOLEAN("noiommuEnabled", KernelFacts, noiommu_enabled),
        BOOLEAN("iommu", KernelFacts, iommu),
        BOOLEAN("lockdown", KernelFacts, lockdown),
};

static int take_kernel(Reader *r, const JsonNode *object, void *target) {
    HostSnapshot *s = r->snapshot;

    s->kernel_known = true;
    return take_object(r, object, kernel_fields, ELEMENTSOF(kernel_fields), &s->kernel, NULL);
}

static int take_kind(Reader *r, const JsonNode *value, void *target) {
    TaintKind kind = taint_kind_from_string(value->string);

    if (kind < 0)
        return fail(r, value, "not a kind of taint");
    ((Taint *) target)->kind = kind;
    return 0;
}

static const Field taint_fields[] = {
        CALL("kind", JSON_STRING, take_kind, .required = true),
        {.name = "weakens",
                .type = JSON_BOOLEAN,
                .kind = FIELD_BOOLEAN,
                .offset = offsetof(Taint, weakens),
                .required = true},
        TEXT("what", Taint, what, .required = true),
        NUMBER("since", Taint, since_usec, 0, INT64_MAX),
        NUMBER("uid", Taint, uid, 0, UINT32_MAX),
        TEXT("device", Taint, device),
        TEXT("rule", Taint, rule),
        TEXT("reason", Taint, reason),
};

static int take_taints(Reader *r, const JsonNode *list, void *target) {
    TaintList *l = &r->snapshot->taints;

    r->snapshot->taints_known = true;
    for (const JsonNode *n = list->children; n; n = n->next) {
        size_t depth = enter_element(r, l->n);
        Taint t = {.uid = (uid_t) -1};
        int e;

        e = take_object(r, n, taint_fields, ELEMENTSOF(taint_fields), &t, NULL);
        if (e < 0)
            return e;
        if (l->n < TAINTS_MAX)
            l->entries[l->n++] = t;
        else
            l->more++;
        r->path[depth] = '\0';
    }
    return 0;
}

/* ---- Accounts ---- */

static int take_id(Reader *r, const JsonNode *value, uint32_t *ret) {
    const Field f = {.size = sizeof(*ret), .max = UINT32_MAX - 1};
    int e;

    e = expect_type(r, value, JSON_INTEGER);
    return e < 0 ? e : take_number(r, value, &f, ret);
}

static int take_groups_of_user(Reader *r, const JsonNode *list, void *target) {
    Account *a = target;
    int e;

    e = allocate(r, list, SNAPSHOT_ACCOUNTS_MAX, sizeof(gid_t), &a->groups);
    for (const JsonNode *n = list->children; e >= 0 && n; n = n->next) {
        size_t depth = enter_element(r, a->n_groups);

        e = take_id(r, n, &a->groups[a->n_groups]);
        if (e < 0)
            return e;
        a->n_groups++;
        r->path[depth] = '\0';
    }
    return e;
}

static const Field user_fields[] = {
        NUMBER("uid", Account, id, 0, UINT32_MAX - 1, .required = true),
        CALL("groups", JSON_ARRAY, take_groups_of_user),
};

static int take_accounts_of_kind(
        Reader *r, const JsonNode *object, bool users, Account **ret, size_t *ret_n) {
    int e;

    e = allocate(r, object, SNAPSHOT_ACCOUNTS_MAX, sizeof(Account), ret);
    for (const JsonNode *m = object->children; e >= 0 && m; m = m->next) {
        size_t depth = enter_member(r, m->key);
        Account *a = &(*ret)[(*ret_n)++];

        a->name = m->key;
        e = users ? take_object(r, m, user_fields, ELEMENTSOF(user_fields), a, NULL) : take_id(r, m, &a->id);
        if (e >= 0)
            r->path[depth] = '\0';
    }
    return e;
}

static int take_users(Reader *r, const JsonNode *object, void *target) {
    HostSnapshot *s = r->snapshot;

    return take_accounts_of_kind(r, object, true, &s->users, &s->n_users);
}

static int take_user_groups(Reader *r, const JsonNode *object, void *target) {
    HostSnapshot *s = r->snapshot;

    return take_accounts_of_kind(r, object, false, &s->user_groups, &s->n_user_groups);
}

static const Field account_fields[] = {
        CALL("users", JSON_OBJECT, take_users),
        CALL("groups", JSON_OBJECT, take_user_groups),
};

static int take_accounts(Reader *r, const JsonNode *object, void *target) {
    return take_object(r, object, account_fields, ELEMENTSOF(account_fields), NULL, NULL);
}

/* ---- The whole ---- */

static int take_version(Reader *r, const JsonNode *value, void *target) {
    if (value->integer != SNAPSHOT_VERSION)
        return fail(
                r, value, "version %" PRId64 " is not known here, only %d", value->integer, SNAPSHOT_VERSION);
    return 0;
}

static const Field snapshot_fields[] = {
        CALL("version", JSON_INTEGER, take_version, .required = true),
        {.name = "vfiod", .type = JSON_STRING, .kind = FIELD_IGNORED},
        CALL("kernel", JSON_OBJECT, take_kernel),
        CALL("devices", JSON_ARRAY, take_devices, .required = true),
        {.name = "groups", .type = JSON_ARRAY, .kind = FIELD_IGNORED}, /* after the devices: take_whole() */
        CALL("taints", JSON_ARRAY, take_taints),
        CALL("accounts", JSON_OBJECT, take_accounts),
};

static int take_whole(Reader *r, const JsonNode *root) {
    int e;

    e = take_object(r, root, snapshot_fields, ELEMENTSOF(snapshot_fields), NULL, NULL);
    for (const JsonNode *m = root->children; e >= 0 && m; m = m->next)
        if (streq(m->key, "groups")) {
            (void) enter_member(r, m->key);
            e = take_groups(r, m, NULL);
        }
    if (e >= 0 && !r->snapshot->taints_known)
        (void) taint_list_add(&r->snapshot->taints, TAINT_KERNEL, true, "taints that were not recorded");
    return e;
}

static int compare_devices(const void *a, const void *b) {
    const Device *const *x = a, *const *y = b;

    return device_name_compare(&(*x)->name, &(*y)->name);
}

/* Facts are found by the name of their device: both lists are sorted together. */
static int sort_devices(HostSnapshot *s) {
    _cleanup_free_ DeviceFacts *facts = calloc(s->n_devices + 1, sizeof(*facts));
    _cleanup_free_ const Device **unsorted = calloc(s->n_devices + 1, sizeof(*unsorted));

    if (!facts || !unsorted)
        return -ENOMEM;
    for (size_t i = 0; i < s->n_devices; i++)
        unsorted[i] = s->devices[i];
    if (s->n_devices > 0)
        qsort(s->devices, s->n_devices, sizeof(*s->devices), compare_devices);
    for (size_t i = 0; i < s->n_devices; i++) {
        const Device **found =
                bsearch(&unsorted[i], s->devices, s->n_devices, sizeof(*s->devices), compare_devices);

        facts[found - s->devices] = s->facts[i];
    }
    free(s->facts);
    s->facts = TAKE_PTR(facts);
    return 0;
}

static int parse_document(const char *text, size_t size, HostSnapshot *s, char **ret_problem) {
    static const JsonBounds bounds = {.size = SNAPSHOT_SIZE_MAX, .nodes = SNAPSHOT_VALUES_MAX};
    JsonError error;
    int r;

    r = json_document_parse_bounded(text, size, &bounds, &s->document, &error);
    if (r == -EBADMSG) {
        *ret_problem = format_string("line %u, column %u: %s", error.line, error.column, error.message);
        return *ret_problem ? r : -ENOMEM;
    }
    return r;
}

int host_snapshot_parse(const char *text, size_t size, HostSnapshot **ret, char **ret_problem) {
    _cleanup_(host_snapshot_freep) HostSnapshot *s = calloc(1, sizeof(*s));
    Reader reader = {.snapshot = s};
    int r;

    if (!s)
        return -ENOMEM;
    s->inventory = inventory_new();
    if (!s->inventory)
        return -ENOMEM;
    r = parse_document(text, size, s, ret_problem);
    if (r < 0)
        return r;
    r = take_whole(&reader, json_document_root(s->document));
    if (r >= 0)
        r = sort_devices(s);
    if (r < 0) {
        if (reader.problem)
            *ret_problem = reader.problem;
        return r;
    }
    *ret = TAKE_PTR(s);
    return 0;
}

/* ---- What it says ---- */

Inventory *host_snapshot_inventory(HostSnapshot *s) {
    return s->inventory;
}

static const DeviceFacts *find_facts(const HostSnapshot *s, const DeviceName *name) {
    const Device key = {.name = *name}, *wanted = &key;
    const Device **found;

    if (s->n_devices == 0)
        return NULL;
    found = bsearch(&wanted, s->devices, s->n_devices, sizeof(*s->devices), compare_devices);
    return found ? &s->facts[found - s->devices] : NULL;
}

static int copy_properties(char **properties, char ***ret) {
    size_t n = 0;
    char **copy;

    while (properties[n])
        n++;
    copy = calloc(n + 1, sizeof(*copy));
    if (!copy)
        return -ENOMEM;
    *ret = copy;
    for (size_t i = 0; i < n; i++) {
        copy[i] = strdup(properties[i]);
        if (!copy[i])
            return -ENOMEM;
    }
    return 0;
}

static int copy_host_critical(const DeviceFacts *facts, char **ret) {
    if (facts->known & DEVICE_FACT_HOST_CRITICAL)
        return free_and_strdup(ret, facts->host_critical);
    return free_and_strdup(ret, "it cannot be told whether the host uses it: that is not recorded");
}

/* As the reader of a real host: what is not recorded could not be read. */
static int read_facts(void *userdata, const Device *device, unsigned what, DeviceFacts *ret) {
    const HostSnapshot *s = userdata;
    const DeviceFacts *recorded = find_facts(s, &device->name);
    _cleanup_(device_facts_done) DeviceFacts f = DEVICE_FACTS_NULL;
    int r = 0;

    if (!recorded)
        return -ENODEV;
    /* It is what a claim puts back when it ends: without it there is no plan. */
    if (what & DEVICE_FACT_DRIVER_OVERRIDE && !(recorded->known & DEVICE_FACT_DRIVER_OVERRIDE))
        return -ENODATA;

    f = *recorded;
    f.known &= what;
    f.host_critical = NULL;
    f.descendants = NULL;
    f.properties = NULL;
    if (what & DEVICE_FACT_HOST_CRITICAL)
        r = copy_host_critical(recorded, &f.host_critical);
    if (r >= 0 && f.known & DEVICE_FACT_DESCENDANTS)
        r = free_and_strdup(&f.descendants, recorded->descendants);
    if (r >= 0 && f.known & DEVICE_FACT_PROPERTIES)
        r = copy_properties(recorded->properties, &f.properties);
    if (r < 0)
        return r;
    *ret = TAKE_GENERIC(f, DEVICE_FACTS_NULL);
    return 0;
}

static int read_kernel_facts(void *userdata, KernelFacts *ret) {
    const HostSnapshot *s = userdata;

    if (!s->kernel_known)
        return -ENODATA;
    *ret = s->kernel;
    return 0;
}

static int read_weakness(void *userdata, char **ret) {
    const HostSnapshot *s = userdata;
    int r;

    *ret = taint_list_describe_weakness(&s->taints, &r);
    return r;
}

FactSource host_snapshot_facts(HostSnapshot *s) {
    return (FactSource){
            .read_facts = read_facts,
            .read_kernel_facts = read_kernel_facts,
            .read_weakness = read_weakness,
            .userdata = s,
    };
}

const GroupFacts *host_snapshot_group_facts(const HostSnapshot *s, int id) {
    size_t low = 0, high = s->n_groups;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (s->groups[middle].id == id)
            return &s->groups[middle].facts;
        if (s->groups[middle].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

const TaintList *host_snapshot_taints(const HostSnapshot *s) {
    return &s->taints;
}

int host_snapshot_resolve(void *userdata, bool is_group, const char *name, uint32_t *ret) {
    const HostSnapshot *s = userdata;
    const Account *accounts = is_group ? s->user_groups : s->users;
    size_t n = is_group ? s->n_user_groups : s->n_users;

    for (size_t i = 0; i < n; i++)
        if (streq(accounts[i].name, name)) {
            *ret = accounts[i].id;
            return 0;
        }
    return -ENOENT;
}

const char *host_snapshot_user_name(const HostSnapshot *s, uid_t uid) {
    for (size_t i = 0; i < s->n_users; i++)
        if (s->users[i].id == uid)
            return s->users[i].name;
    return NULL;
}

int host_snapshot_user_groups(const HostSnapshot *s, uid_t uid, const gid_t **ret, size_t *ret_n) {
    for (size_t i = 0; i < s->n_users; i++)
        if (s->users[i].id == uid) {
            *ret = s->users[i].groups;
            *ret_n = s->users[i].n_groups;
            return 0;
        }
    return -ENOENT;
}

int host_snapshot_foreach_account(const HostSnapshot *s,
        int (*visit)(void *userdata, bool is_group, const char *name, uint32_t id), void *userdata) {
    int r = 0;

    for (size_t i = 0; r == 0 && i < s->n_users; i++)
        r = visit(userdata, false, s->users[i].name, s->users[i].id);
    for (size_t i = 0; r == 0 && i < s->n_user_groups; i++)
        r = visit(userdata, true, s->user_groups[i].name, s->user_groups[i].id);
    return r;
}
