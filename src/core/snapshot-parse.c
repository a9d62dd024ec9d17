/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Reads a snapshot into the forms that planner and evaluator need, and answers like a host. */

#include "core/snapshot-internal.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/json-text.h"
#include "base/str.h"
#include "core/mdev-types-fields.h"

typedef struct Account {
    const char *name; /* owned by the document */
    uint32_t id;
    gid_t *groups; /* owned; for a user, the primary group first */
    size_t n_groups;
} Account;

struct HostSnapshot {
    JsonDocument *document; /* the names of accounts are in it */
    Inventory *inventory;
    const Device **devices; /* owned list of borrowed devices; sorted by name */
    DeviceFacts *facts;     /* owned; facts of the device with the same index */
    size_t n_devices;
    RecordedGroup *groups; /* owned, sorted by id */
    size_t n_groups;
    Account *users, *user_groups; /* owned */
    size_t n_users, n_user_groups;
    KernelFacts kernel;
    bool kernel_known, taints_known, mdev_types_known;
    MdevTypes mdev_types;
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
    mdev_types_done(&s->mdev_types);
    inventory_free(s->inventory);
    json_document_free(s->document);
    free(s);
    return NULL;
}

/* ---- The reader ---- */

static HostSnapshot *snapshot_of(const FieldReader *r) {
    return r->userdata;
}

static size_t count_children(const JsonNode *n) {
    size_t count = 0;

    for (const JsonNode *c = n->children; c; c = c->next)
        count++;
    return count;
}

/* Allocates one element for each child of the list. */
static int allocate(FieldReader *r, const JsonNode *list, size_t max, size_t size, void *ret) {
    size_t n = count_children(list);

    if (n > max)
        return fields_fail(r, list, "%zu are more than the %zu that are taken", n, max);
    *(void **) ret = calloc(n + 1, size);
    return *(void **) ret ? 0 : -ENOMEM;
}

/* ---- Devices ---- */

static int take_device(FieldReader *r, const JsonNode *object) {
    RecordedDevice d = {.snapshot = {.group = -1, .vfio_index = -1}, .facts = DEVICE_FACTS_NULL};
    HostSnapshot *s = snapshot_of(r);
    Device *added;
    int e;

    e = fields_read(r, object, &host_snapshot_device_table, &d);
    if (e >= 0 && inventory_find_device(s->inventory, &d.snapshot.name))
        e = fields_fail(r, object, "there is another device of this name");
    if (e >= 0)
        e = inventory_update(s->inventory, &d.snapshot, &added, NULL);
    if (e >= 0 && d.has_caps)
        e = inventory_remember_caps(s->inventory, &d.snapshot.name, &d.caps);
    if (e < 0) {
        device_facts_done(&d.facts);
        return e;
    }
    s->devices[s->n_devices] = added;
    s->facts[s->n_devices++] = d.facts;
    return 0;
}

static int read_devices(FieldReader *r, const JsonNode *list, void *place) {
    size_t index = 0;
    int e;

    e = allocate(r, list, SNAPSHOT_DEVICES_MAX, sizeof(Device *), &snapshot_of(r)->devices);
    if (e >= 0)
        e = allocate(r, list, SNAPSHOT_DEVICES_MAX, sizeof(DeviceFacts), &snapshot_of(r)->facts);
    for (const JsonNode *n = list->children; e >= 0 && n; n = n->next) {
        size_t depth = fields_enter_element(r, index++);

        e = take_device(r, n);
        if (e >= 0)
            fields_leave(r, depth);
    }
    return e;
}

/* ---- Groups ---- */

static int compare_groups(const void *a, const void *b) {
    int x = ((const RecordedGroup *) a)->id, y = ((const RecordedGroup *) b)->id;

    return (x > y) - (x < y);
}

static int take_groups(FieldReader *r, const JsonNode *list) {
    HostSnapshot *s = snapshot_of(r);
    size_t depth;
    int e;

    /* Facts of a group are large, so there must not be more of them than groups. */
    e = allocate(r, list, inventory_n_groups(s->inventory), sizeof(RecordedGroup), &s->groups);
    if (e < 0)
        return e;
    for (const JsonNode *n = list->children; n; n = n->next) {
        depth = fields_enter_element(r, s->n_groups);
        e = fields_read(r, n, &host_snapshot_group_table, &s->groups[s->n_groups]);
        if (e >= 0 && !inventory_find_group(s->inventory, s->groups[s->n_groups].id))
            e = fields_fail(r, n, "no device is in this group");
        if (e < 0)
            return e;
        s->n_groups++;
        fields_leave(r, depth);
    }
    if (s->n_groups > 0)
        qsort(s->groups, s->n_groups, sizeof(*s->groups), compare_groups);
    for (size_t i = 1; i < s->n_groups; i++)
        if (s->groups[i].id == s->groups[i - 1].id)
            return fields_fail(r, list, "group %d is there twice", s->groups[i].id);
    return 0;
}

/* ---- Accounts ---- */

static const Field id_number = {.kind = FIELD_NUMBER, .size = sizeof(uint32_t), .max = UINT32_MAX - 1};

static const Field user_fields[] = {
        FIELD_NUMBER("uid", Account, id, 0, UINT32_MAX - 1, .flags = FIELD_REQUIRED),
        FIELD_VALUES("groups", Account, groups, n_groups, &id_number, 0, SNAPSHOT_ACCOUNTS_MAX,
                .flags = FIELD_ALLOCATED),
};
static const FieldTable user_table = FIELD_TABLE(user_fields);

static int take_accounts(FieldReader *r, const JsonNode *object, bool users, Account **ret, size_t *ret_n) {
    int e;

    e = allocate(r, object, SNAPSHOT_ACCOUNTS_MAX, sizeof(Account), ret);
    for (const JsonNode *m = object->children; e >= 0 && m; m = m->next) {
        size_t depth = fields_enter_member(r, m->key);
        Account *a = &(*ret)[(*ret_n)++];

        a->name = m->key;
        e = users ? fields_read(r, m, &user_table, a) : fields_read_value(r, m, &id_number, &a->id);
        if (e >= 0)
            fields_leave(r, depth);
    }
    return e;
}

static int read_users(FieldReader *r, const JsonNode *object, void *place) {
    HostSnapshot *s = snapshot_of(r);

    return take_accounts(r, object, true, &s->users, &s->n_users);
}

static int read_user_groups(FieldReader *r, const JsonNode *object, void *place) {
    HostSnapshot *s = snapshot_of(r);

    return take_accounts(r, object, false, &s->user_groups, &s->n_user_groups);
}

static const Field account_fields[] = {
        FIELD_CUSTOM("users", HostSnapshot, users, JSON_OBJECT, read_users, NULL),
        FIELD_CUSTOM("groups", HostSnapshot, user_groups, JSON_OBJECT, read_user_groups, NULL),
};
static const FieldTable account_table = FIELD_TABLE(account_fields);

static int read_accounts(FieldReader *r, const JsonNode *object, void *place) {
    return fields_read(r, object, &account_table, snapshot_of(r));
}

/* ---- The whole ---- */

static int read_version(FieldReader *r, const JsonNode *value, void *place) {
    if (value->integer != SNAPSHOT_VERSION)
        return fields_fail(r, value, "version %" PRId64 " is not supported, only version %d", value->integer,
                SNAPSHOT_VERSION);
    return 0;
}

static int read_taints(FieldReader *r, const JsonNode *list, void *place) {
    return taint_list_read(r, list, place);
}

static const Field snapshot_fields[] = {
        {.name = "version",
                .kind = FIELD_CUSTOM,
                .type = JSON_INTEGER,
                .read = read_version,
                .flags = FIELD_REQUIRED},
        {.name = "vfiod", .kind = FIELD_IGNORED, .type = JSON_STRING},
        FIELD_OBJECT("kernel", HostSnapshot, kernel, &host_snapshot_kernel_table, .flags = FIELD_IF_KNOWN,
                .known = offsetof(HostSnapshot, kernel_known)),
        FIELD_CUSTOM(
                "devices", HostSnapshot, devices, JSON_ARRAY, read_devices, NULL, .flags = FIELD_REQUIRED),
        {.name = "groups", .kind = FIELD_IGNORED, .type = JSON_ARRAY}, /* read after the devices, in
                                                                        * take_whole() */
        FIELD_CUSTOM("taints", HostSnapshot, taints, JSON_ARRAY, read_taints, NULL, .flags = FIELD_IF_KNOWN,
                .known = offsetof(HostSnapshot, taints_known)),
        FIELD_OBJECTS("mediatedTypes", HostSnapshot, mdev_types.types, mdev_types.n, &mdev_type_table, 0,
                MDEV_TYPES_MAX, .flags = FIELD_ALLOCATED | FIELD_IF_KNOWN,
                .known = offsetof(HostSnapshot, mdev_types_known)),
        {.name = "accounts", .kind = FIELD_CUSTOM, .type = JSON_OBJECT, .read = read_accounts},
};
static const FieldTable snapshot_table = FIELD_TABLE(snapshot_fields);

static int take_whole(FieldReader *r, const JsonNode *root) {
    HostSnapshot *s = snapshot_of(r);
    int e;

    e = fields_read(r, root, &snapshot_table, s);
    for (const JsonNode *m = root->children; e >= 0 && m; m = m->next)
        if (streq(m->key, "groups")) {
            (void) fields_enter_member(r, m->key);
            e = take_groups(r, m);
        }
    if (e >= 0 && !s->taints_known)
        (void) taint_list_add(&s->taints, TAINT_KERNEL, true, "taints that were not recorded");
    return e;
}

static int compare_devices(const void *a, const void *b) {
    const Device *const *x = a, *const *y = b;

    return device_name_compare(&(*x)->name, &(*y)->name);
}

/* Facts are found by their device's name, so both lists are sorted together. */
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
    FieldReader reader = {.userdata = s, .name = "the snapshot"};
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

/* ---- Answers ---- */

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
    return free_and_strdup(ret, "whether the host uses it is unknown: that is not recorded");
}

/* As on a real host: a fact that is not recorded could not be read. */
static int read_facts(void *userdata, const Device *device, unsigned what, DeviceFacts *ret) {
    const HostSnapshot *s = userdata;
    const DeviceFacts *recorded = find_facts(s, &device->name);
    _cleanup_(device_facts_done) DeviceFacts f = DEVICE_FACTS_NULL;
    int r = 0;

    if (!recorded)
        return -ENODEV;
    /* A claim must restore it, so there is no plan without it. */
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

static int read_mdev_types(void *userdata, MdevTypes *ret) {
    const HostSnapshot *s = userdata;

    return s->mdev_types_known ? mdev_types_copy(&s->mdev_types, ret) : -ENODATA;
}

FactSource host_snapshot_facts(HostSnapshot *s) {
    return (FactSource){
            .read_facts = read_facts,
            .read_kernel_facts = read_kernel_facts,
            .read_weakness = read_weakness,
            .read_mdev_types = read_mdev_types,
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
