/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Records this host. It needs no privilege: what the kernel shows only to root (most of config space) is left
 * out, and the policy then treats it as unknown.
 *
 * Of the accounts, only those that the policy of this host concerns are recorded: the users and groups that
 * it names, the members of these groups, and root. */

#include "base/str.h"
#include "host/mdev-reader.h"
#include "host/sysfs.h"
#include "host/taint-reader.h"
#include "rehearsal/rehearsal-internal.h"

/* ---- Devices, groups, kernel ---- */

#define RECORDED_FACTS ((unsigned) (DEVICE_FACT_ALL | DEVICE_FACT_IOMMU_UNIT | DEVICE_FACT_VARIANT))

typedef struct Recorder {
    struct json_object *devices, *groups; /* borrowed */
    Inventory *inventory;                 /* borrowed */
    bool with_serials;
} Recorder;

/* Two facts fail the whole read when they cannot be read. The others are then recorded without them. */
static int read_facts(const Device *d, DeviceFacts *ret) {
    const unsigned strict = DEVICE_FACT_DRIVER_OVERRIDE | DEVICE_FACT_RESET_METHODS;
    int r;

    r = sysfs_read_facts(NULL, d, RECORDED_FACTS, ret);
    if (r < 0 && r != -ENODEV && r != -ENOMEM)
        r = sysfs_read_facts(NULL, d, RECORDED_FACTS & ~strict, ret);
    return r;
}

static int add_caps(Inventory *inventory, const Device *d, DeviceFacts *facts) {
    const DeviceCaps *caps = inventory_find_caps(inventory, &d->name);

    if (!caps)
        return 0;
    facts->caps = malloc(sizeof(*facts->caps));
    if (!facts->caps)
        return -ENOMEM;
    *facts->caps = *caps;
    return 0;
}

static int add_device(Device *d, void *userdata) {
    _cleanup_(device_facts_done) DeviceFacts facts = DEVICE_FACTS_NULL;
    const Recorder *recorder = userdata;
    int r;

    r = read_facts(d, &facts);
    if (r >= 0)
        r = add_caps(recorder->inventory, d, &facts);
    if (r == -ENODEV) /* it has disappeared */
        return 0;
    if (r < 0)
        return r;
    return json_append(recorder->devices, host_snapshot_device_to_json(d, &facts, recorder->with_serials));
}

static int add_group(Group *g, void *userdata) {
    const Recorder *recorder = userdata;
    GroupFacts facts = {};
    int r;

    r = sysfs_read_group_facts(g->id, &facts);
    if (r == -ENODEV)
        return 0;
    return r < 0 ? r : json_append(recorder->groups, host_snapshot_group_to_json(g, &facts));
}

/* The IOMMU unit of a device is recorded only where there are several. Older versions refuse the member. */
static void forget_only_iommu(struct json_object *devices) {
    const char *first = NULL;

    for (size_t i = 0; i < json_object_array_length(devices); i++) {
        struct json_object *unit = NULL;
        const char *name;

        (void) json_object_object_get_ex(json_object_array_get_idx(devices, i), "iommuUnit", &unit);
        name = unit ? json_object_get_string(unit) : "";
        if (first && *name && !streq(first, name))
            return;
        first = first ?: *name ? name : NULL;
    }
    for (size_t i = 0; i < json_object_array_length(devices); i++)
        json_object_object_del(json_object_array_get_idx(devices, i), "iommuUnit");
}

static int add_devices(struct json_object *o, HostView *host, bool with_serials, char **ret_problem) {
    _cleanup_json_ struct json_object *devices = json_object_new_array(), *groups = json_object_new_array();
    Recorder recorder = {.devices = devices, .groups = groups, .with_serials = with_serials};
    Inventory *inventory = NULL;
    int r;

    if (!devices || !groups)
        return -ENOMEM;
    r = host_view_get_inventory(host, &inventory, ret_problem);
    recorder.inventory = inventory;
    if (r >= 0)
        r = inventory_foreach_device(inventory, add_device, &recorder);
    if (r >= 0)
        r = inventory_foreach_group(inventory, add_group, &recorder);
    if (r >= 0)
        forget_only_iommu(devices);
    if (r >= 0)
        r = json_add(o, "devices", TAKE_PTR(devices));
    if (r >= 0)
        r = json_add(o, "groups", TAKE_PTR(groups));
    return r;
}

static int add_kernel(struct json_object *o) {
    _cleanup_free_ TaintList *taints = calloc(1, sizeof(*taints));
    KernelFacts kernel;
    int r;

    if (!taints)
        return -ENOMEM;
    r = sysfs_read_kernel_facts(&kernel);
    if (r >= 0)
        r = json_add(o, "kernel", host_snapshot_kernel_to_json(&kernel));
    if (r < 0)
        return r;
    taint_reader_read(taints, NULL, NULL);
    return json_add(o, "taints", taint_list_to_json(taints));
}

/* Only if there are any: older versions refuse the member. */
static int add_mdev_types(struct json_object *o) {
    _cleanup_(mdev_types_done) MdevTypes types = {};

    if (mdev_reader_read(&types) < 0 || types.n == 0)
        return 0;
    return json_add(o, "mediatedTypes", host_snapshot_mdev_types_to_json(&types));
}

/* ---- Accounts ---- */

typedef struct AccountRecorder {
    HostView *host;
    struct json_object *users, *groups; /* borrowed */
} AccountRecorder;

static int add_user(AccountRecorder *recorder, const char *name, uid_t uid) {
    _cleanup_json_ struct json_object *user = json_object_new_object(), *list = json_object_new_array();
    _cleanup_free_ gid_t *gids = NULL;
    size_t n = 0;
    int r;

    if (json_object_object_get_ex(recorder->users, name, NULL))
        return 0;
    if (!user || !list)
        return -ENOMEM;
    r = host_view_user_groups(recorder->host, uid, &gids, &n);
    if (r == -ENOMEM)
        return r;
    for (size_t i = 0; i < n; i++)
        if (json_append(list, json_object_new_int64(gids[i])) < 0)
            return -ENOMEM;
    r = json_add(user, "uid", json_object_new_int64(uid));
    if (r >= 0)
        r = json_add(user, "groups", TAKE_PTR(list));
    return r < 0 ? r : json_add(recorder->users, name, TAKE_PTR(user));
}

/* The parser calls this for every name in the policy. */
static int record_name(void *userdata, bool is_group, const char *name, uint32_t *ret) {
    AccountRecorder *recorder = userdata;
    int r;

    r = host_view_resolve(recorder->host, is_group, name, ret);
    if (r < 0)
        return r;
    if (!is_group)
        return add_user(recorder, name, *ret);
    if (json_object_object_get_ex(recorder->groups, name, NULL))
        return 0;
    return json_add(recorder->groups, name, json_object_new_int64(*ret));
}

static bool is_recorded_group(const AccountRecorder *recorder, gid_t gid) {
    json_object_object_foreach(recorder->groups, name, value) {
        (void) name;
        if ((gid_t) json_object_get_int64(value) == gid)
            return true;
    }
    return false;
}

static int record_member(void *userdata, bool is_group, const char *name, uint32_t id) {
    AccountRecorder *recorder = userdata;
    _cleanup_free_ gid_t *gids = NULL;
    size_t n = 0;

    if (is_group)
        return 0;
    if (host_view_user_groups(recorder->host, id, &gids, &n) < 0)
        return 0; /* it has disappeared */
    for (size_t i = 0; i < n; i++)
        if (is_recorded_group(recorder, gids[i]))
            return add_user(recorder, name, id);
    return 0;
}

static int record_root(AccountRecorder *recorder) {
    uint32_t id;
    int r;

    r = record_name(recorder, /* is_group= */ false, "root", &id);
    return r == -ENOENT ? 0 : r;
}

static int add_accounts(
        struct json_object *o, HostView *host, const char *const *policy, char **ret_problem) {
    _cleanup_json_ struct json_object *accounts = json_object_new_object();
    _cleanup_(policy_load_done) PolicyLoad load = {};
    AccountRecorder recorder = {
            .host = host, .users = json_object_new_object(), .groups = json_object_new_object()};
    PolicySource source = rehearsal_source();
    int r = accounts ? 0 : -ENOMEM;

    source.names = policy;
    source.resolve = record_name;
    source.resolve_userdata = &recorder;
    if (r >= 0)
        r = json_add(accounts, "users", recorder.users);
    else
        json_object_put(recorder.users);
    if (r >= 0)
        r = json_add(accounts, "groups", recorder.groups);
    else
        json_object_put(recorder.groups);
    /* root is always recorded, for explanations to root. */
    if (r >= 0)
        r = record_root(&recorder);
    /* A policy with errors, or one that this user cannot read, still names accounts */
    if (r >= 0)
        r = policy_files_load_from(&source, &load);
    /* Errors in a policy that was given explicitly are a failure. */
    if (r >= 0 && policy && load.n_errors > 0)
        r = problem(ret_problem, -EINVAL, "its accounts cannot be recorded: %s", load.errors[0]);
    if (r >= 0)
        r = host_view_foreach_account(host, record_member, &recorder);
    return r < 0 ? r : json_add(o, "accounts", TAKE_PTR(accounts));
}

int rehearsal_snapshot(
        const char *const *policy, bool with_serials, struct json_object **ret, char **ret_problem) {
    _cleanup_json_ struct json_object *o = json_object_new_object();
    _cleanup_(host_view_done) HostView host = {};
    _cleanup_free_ char *why = NULL;
    int r;

    r = o ? host_view_open(NULL, &host, &why) : -ENOMEM;
    if (r >= 0)
        r = json_add(o, "version", json_object_new_int(SNAPSHOT_VERSION));
    if (r >= 0)
        r = json_add_string(o, "vfiod", VFIOD_VERSION);
    if (r >= 0)
        r = add_kernel(o);
    if (r >= 0)
        r = add_mdev_types(o);
    if (r >= 0)
        r = add_devices(o, &host, with_serials, &why);
    if (r >= 0)
        r = add_accounts(o, &host, policy, &why);
    if (r < 0) {
        *ret_problem = why ? TAKE_PTR(why) : format_string("cannot read this host: %s", strerror(-r));
        return r;
    }
    *ret = TAKE_PTR(o);
    return 0;
}
