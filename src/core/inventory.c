/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Devices (by name) and groups (by number) are kept sorted (base/sorted.h). Driver names, and children by
 * their parent's name, are few and are kept in tsearch(3) trees. The cost of a uevent hardly grows with the
 * host, and a walk visits devices in order. A device costs its struct and a pointer or two, about 140 bytes.
 * The name of a driver is stored once with a counter.
 *
 * All memory is allocated before the first link is changed: a failed update changes nothing. */

#include <search.h>

#include "core/inventory.h"

#include "base/sorted.h"
#include "core/device-kind.h"

typedef struct DriverName {
    unsigned n_users;
    char name[];
} DriverName;

/* The children of one parent, found by the parent's name, because the kernel can announce a child before its
 * parent. Few devices have a parent, so a device itself needs one pointer only. */
struct Family {
    DeviceName parent;
    Device *children; /* linked by next_child, sorted by name */
};

/* Kept apart, because few devices are ever probed. */
typedef struct RememberedCaps {
    DeviceName of;
    DeviceCaps caps;
} RememberedCaps;

struct Inventory {
    Sorted devices;      /* of Device */
    Sorted groups;       /* of Group */
    void *drivers;       /* tree of DriverName */
    void *families;      /* tree of Family */
    void *caps;          /* tree of RememberedCaps, only for existing devices */
    Device *last_device; /* found last, or NULL: lookups of the same device repeat */
    Group *last_group;
    unsigned n_devices;
    unsigned n_groups;
};

/* Keys and elements are compared by the same function. So a key is a Device, a Group or a DriverName in which
 * only the compared members are set. */
static_assert(sizeof(void *) != 8 || sizeof(struct Device) == 120, "no more than the header says");
static_assert(offsetof(struct Device, name) == 0, "a DeviceName must do as the key of a Device");
static_assert(offsetof(RememberedCaps, of) == 0, "a DeviceName must do as the key of RememberedCaps");
static_assert(offsetof(struct Family, parent) == 0, "a DeviceName must do as the key of a Family");
static_assert(offsetof(struct Group, id) == 0, "an int must do as the key of a Group");

static int compare_devices(const void *a, const void *b) {
    return device_name_compare(a, b);
}

static int compare_groups(const void *a, const void *b) {
    int x = *(const int *) a, y = *(const int *) b;

    return x < y ? -1 : x > y;
}

static int compare_drivers(const void *a, const void *b) {
    return strcmp(((const DriverName *) a)->name, ((const DriverName *) b)->name);
}

Inventory *inventory_new(void) {
    return calloc(1, sizeof(Inventory));
}

Inventory *inventory_free(Inventory *inventory) {
    if (!inventory)
        return NULL;

    sorted_done(&inventory->devices, free);
    tdestroy(inventory->caps, free);
    sorted_done(&inventory->groups, free);
    tdestroy(inventory->drivers, free);
    tdestroy(inventory->families, free);
    free(inventory);
    return NULL;
}

void inventory_forget_caps(Inventory *inventory, const DeviceName *name) {
    RememberedCaps **found = tfind(name, &inventory->caps, compare_devices);
    _cleanup_free_ RememberedCaps *entry = found ? *found : NULL;

    if (entry)
        tdelete(name, &inventory->caps, compare_devices);
}

int inventory_remember_caps(Inventory *inventory, const DeviceName *name, const DeviceCaps *caps) {
    _cleanup_free_ RememberedCaps *entry = malloc(sizeof(*entry));

    if (!entry)
        return -ENOMEM;
    *entry = (RememberedCaps){.of = *name, .caps = *caps};
    inventory_forget_caps(inventory, name);
    if (!tsearch(entry, &inventory->caps, compare_devices))
        return -ENOMEM;
    TAKE_PTR(entry);
    return 0;
}

const DeviceCaps *inventory_find_caps(Inventory *inventory, const DeviceName *name) {
    RememberedCaps **found = tfind(name, &inventory->caps, compare_devices);

    return found ? &(*found)->caps : NULL;
}

/* Takes a reference to the one copy of this driver's name. *ret is NULL for "" (unbound). 0 or -ENOMEM. */
static int driver_take(Inventory *inventory, const char *name, const char **ret) {
    size_t n = strlen(name);
    DriverName *fresh, **found;

    if (n == 0) {
        *ret = NULL;
        return 0;
    }

    fresh = malloc(sizeof(DriverName) + n + 1);
    if (!fresh)
        return -ENOMEM;
    fresh->n_users = 0;
    memcpy(fresh->name, name, n + 1);

    found = tsearch(fresh, &inventory->drivers, compare_drivers);
    if (!found) {
        free(fresh);
        return -ENOMEM;
    }
    if (*found != fresh)
        free(fresh);

    (*found)->n_users++;
    *ret = (*found)->name;
    return 0;
}

static void driver_drop(Inventory *inventory, const char *name) {
    DriverName *d;

    if (!name)
        return;

    d = container_of(name, DriverName, name);
    assert(d->n_users > 0);
    if (--d->n_users > 0)
        return;

    tdelete(d, &inventory->drivers, compare_drivers);
    free(d);
}

static int group_take(Inventory *inventory, int id, Group **ret) {
    Group *g;

    if (id < 0) {
        *ret = NULL;
        return 0;
    }

    g = inventory_find_group(inventory, id);
    if (!g) {
        g = calloc(1, sizeof(Group));
        if (!g)
            return -ENOMEM;
        g->id = id;
        if (sorted_insert(&inventory->groups, g, compare_groups) < 0) {
            free(g);
            return -ENOMEM;
        }
        inventory->n_groups++;
    }

    *ret = g;
    return 0;
}

/* Removes an empty group. Returns whether it was empty. */
static bool group_drop_if_empty(Inventory *inventory, Group *g) {
    if (!g || g->members)
        return false;

    assert(g->n_members == 0);
    sorted_remove(&inventory->groups, g, compare_groups);
    inventory->last_group = NULL;
    inventory->n_groups--;
    free(g);
    return true;
}

static void group_link(Group *g, Device *d) {
    Device **p;

    assert(!d->group && !d->next);
    if (!g)
        return;

    for (p = &g->members; *p && device_name_compare(&(*p)->name, &d->name) < 0; p = &(*p)->next)
        ;
    d->next = *p;
    *p = d;
    d->group = g;
    g->n_members++;
}

/* Returns the group that the device was in. */
static Group *group_unlink(Device *d) {
    Group *g = TAKE_PTR(d->group);
    Device **p;

    if (!g)
        return NULL;

    for (p = &g->members; *p != d; p = &(*p)->next)
        assert(*p);
    *p = d->next;
    d->next = NULL;
    g->n_members--;
    return g;
}

static Family *find_family(Inventory *inventory, const DeviceName *parent) {
    Family **found = tfind(parent, &inventory->families, compare_devices);

    return found ? *found : NULL;
}

static int family_take(Inventory *inventory, const DeviceSnapshot *snapshot, Family **ret) {
    Family *f = NULL;

    if (snapshot->has_parent) {
        f = find_family(inventory, &snapshot->parent);
        if (!f) {
            f = calloc(1, sizeof(Family));
            if (!f)
                return -ENOMEM;
            f->parent = snapshot->parent;
            if (!tsearch(f, &inventory->families, compare_devices)) {
                free(f);
                return -ENOMEM;
            }
        }
    }
    *ret = f;
    return 0;
}

static void family_drop_if_empty(Inventory *inventory, Family *f) {
    if (!f || f->children)
        return;

    tdelete(f, &inventory->families, compare_devices);
    free(f);
}

static void family_link(Family *f, Device *d) {
    Device **p;

    assert(!d->family && !d->next_child);
    if (!f)
        return;

    for (p = &f->children; *p && device_name_compare(&(*p)->name, &d->name) < 0; p = &(*p)->next_child)
        ;
    d->next_child = *p;
    *p = d;
    d->family = f;
}

static void family_unlink(Inventory *inventory, Device *d) {
    Family *f = TAKE_PTR(d->family);
    Device **p;

    if (!f)
        return;

    for (p = &f->children; *p != d; p = &(*p)->next_child)
        assert(*p);
    *p = d->next_child;
    d->next_child = NULL;
    family_drop_if_empty(inventory, f);
}

static int device_add(Inventory *inventory, const DeviceSnapshot *snapshot, Device **ret) {
    _cleanup_free_ Device *d = NULL;
    const char *driver;
    Family *f = NULL;
    Group *g = NULL;
    int r;

    d = malloc(sizeof(Device));
    if (!d)
        return -ENOMEM;

    r = driver_take(inventory, snapshot->driver, &driver);
    if (r < 0)
        return r;
    r = family_take(inventory, snapshot, &f);
    if (r >= 0)
        r = group_take(inventory, snapshot->group, &g);
    if (r < 0)
        goto fail;

    *d = (Device){
            .name = snapshot->name,
            .vendor = snapshot->vendor,
            .device = snapshot->device,
            .subsystem_vendor = snapshot->subsystem_vendor,
            .subsystem_device = snapshot->subsystem_device,
            .class_code = snapshot->class_code,
            .revision = snapshot->revision,
            .incarnation = snapshot->incarnation & ((1U << DEVICE_INCARNATION_BITS) - 1),
            .driver = driver,
            .vfio_index = snapshot->vfio_index,
            .vfio_rdev = (uint32_t) snapshot->vfio_rdev,
            .direct_region = snapshot->direct_region,
            .since_seqnum = snapshot->seqnum,
    };
    if (sorted_insert(&inventory->devices, d, compare_devices) < 0) {
        group_drop_if_empty(inventory, g);
        r = -ENOMEM;
        goto fail;
    }
    inventory->n_devices++;
    group_link(g, d);
    family_link(f, d);

    *ret = TAKE_PTR(d);
    return DEVICE_ADDED | ((*ret)->group && (*ret)->group->n_members == 1 ? GROUP_ADDED : 0);

fail:
    family_drop_if_empty(inventory, f);
    driver_drop(inventory, driver);
    return r;
}

DeviceIds device_ids(const Device *d) {
    return (DeviceIds){.vendor = d->vendor,
            .device = d->device,
            .subsystem_vendor = d->subsystem_vendor,
            .subsystem_device = d->subsystem_device,
            .class_code = d->class_code,
            .revision = (uint8_t) d->revision,
            .incarnation = d->incarnation};
}

bool device_ids_are_same(const DeviceIds *a, const DeviceIds *b) {
    return a->vendor == b->vendor && a->device == b->device && a->subsystem_vendor == b->subsystem_vendor &&
            a->subsystem_device == b->subsystem_device && a->class_code == b->class_code &&
            a->revision == b->revision && a->incarnation == b->incarnation;
}

bool device_is_same_hardware(const Device *d, const DeviceSnapshot *s) {
    return d->vendor == s->vendor && d->device == s->device && d->subsystem_vendor == s->subsystem_vendor &&
            d->subsystem_device == s->subsystem_device && d->class_code == s->class_code &&
            d->revision == s->revision &&
            (d->incarnation == s->incarnation || d->incarnation == 0 || s->incarnation == 0);
}

/* Moves the device to the group g of that number. Returns a mask of changes; cannot fail when g exists. */
static int device_move(Inventory *inventory, Device *d, Group *g, int *ret_old_group) {
    int changes = DEVICE_GROUP_CHANGED, old_id;
    Group *old;

    old = group_unlink(d);
    old_id = old ? old->id : -1;
    group_link(g, d);
    if (g && g->n_members == 1)
        changes |= GROUP_ADDED;
    if (group_drop_if_empty(inventory, old))
        changes |= GROUP_REMOVED;

    if (ret_old_group)
        *ret_old_group = old_id;
    return changes;
}

static int device_refresh(
        Inventory *inventory, Device *d, const DeviceSnapshot *snapshot, int *ret_old_group) {
    const char *driver, *old_driver;
    int changes = 0, r;
    Family *f = NULL;
    Group *g;

    if (!device_is_same_hardware(d, snapshot))
        return -ESTALE;

    r = driver_take(inventory, snapshot->driver, &driver);
    if (r < 0)
        return r;
    r = family_take(inventory, snapshot, &f);
    if (r >= 0)
        r = group_take(inventory, snapshot->group, &g);
    if (r < 0) {
        family_drop_if_empty(inventory, f);
        driver_drop(inventory, driver);
        return r;
    }

    d->direct_region = snapshot->direct_region;
    old_driver = d->driver;
    d->driver = driver;
    if (old_driver != driver) /* there is one copy of each name, so pointers can be compared */
        changes |= DEVICE_DRIVER_CHANGED;
    driver_drop(inventory, old_driver);

    if (d->vfio_index != snapshot->vfio_index || d->vfio_rdev != snapshot->vfio_rdev) {
        d->vfio_index = snapshot->vfio_index;
        d->vfio_rdev = (uint32_t) snapshot->vfio_rdev;
        d->since_seqnum = snapshot->seqnum;
        changes |= DEVICE_NODE_CHANGED;
    }

    if (d->family != f) { /* the kernel links a virtual function to its parent after announcing it */
        family_unlink(inventory, d);
        family_link(f, d);
    }
    if (d->group != g)
        changes |= device_move(inventory, d, g, ret_old_group);
    return changes;
}

int inventory_update(Inventory *inventory, const DeviceSnapshot *snapshot, Device **ret, int *ret_old_group) {
    Device *d;
    int r;

    d = inventory_find_device(inventory, &snapshot->name);
    if (d)
        r = device_refresh(inventory, d, snapshot, ret_old_group);
    else
        r = device_add(inventory, snapshot, &d);
    if (r < 0)
        return r;

    if (ret)
        *ret = d;
    return r;
}

int inventory_remove(Inventory *inventory, const DeviceName *name, int *ret_old_group) {
    _cleanup_free_ Device *d = inventory_find_device(inventory, name);
    int changes = DEVICE_REMOVED, old_id;
    Group *g;

    if (!d)
        return -ENOENT;

    inventory_forget_caps(inventory, name);
    sorted_remove(&inventory->devices, d, compare_devices);
    inventory->last_device = NULL;
    inventory->n_devices--;
    driver_drop(inventory, d->driver);
    family_unlink(inventory, d);

    g = group_unlink(d);
    old_id = g ? g->id : -1;
    if (group_drop_if_empty(inventory, g))
        changes |= GROUP_REMOVED;

    if (ret_old_group)
        *ret_old_group = old_id;
    return changes;
}

Device *inventory_find_device(Inventory *inventory, const DeviceName *name) {
    if (inventory->last_device && device_name_compare(&inventory->last_device->name, name) == 0)
        return inventory->last_device;
    return inventory->last_device = sorted_find(&inventory->devices, name, compare_devices);
}

Group *inventory_find_group(Inventory *inventory, int id) {
    if (inventory->last_group && inventory->last_group->id == id)
        return inventory->last_group;
    return inventory->last_group = sorted_find(&inventory->groups, &id, compare_groups);
}

const DeviceName *device_parent_name(const Device *d) {
    return d->family ? &d->family->parent : NULL;
}

Device *inventory_find_parent(Inventory *inventory, const Device *d) {
    return d->family ? inventory_find_device(inventory, &d->family->parent) : NULL;
}

/* A virtual function has none of its own, and PCI domains nest once. The limit only guards against
 * nonsense. */
#define GENERATIONS_MAX 4U

static int foreach_child(Inventory *inventory, const Device *d, unsigned generation,
        int (*visit)(Device *d, void *userdata), void *userdata) {
    const Family *f = find_family(inventory, &d->name);
    int r = 0;

    for (Device *child = f ? f->children : NULL; child && r == 0; child = child->next_child) {
        r = visit(child, userdata);
        if (r == 0 && generation < GENERATIONS_MAX)
            r = foreach_child(inventory, child, generation + 1, visit, userdata);
    }
    return r;
}

int inventory_foreach_descendant(
        Inventory *inventory, const Device *d, int (*visit)(Device *d, void *userdata), void *userdata) {
    return foreach_child(inventory, d, 1, visit, userdata);
}

bool device_is_virtual_function(const Device *d) {
    return d->family && d->name.kind == DEVICE_KIND_PCI && d->family->parent.kind == DEVICE_KIND_PCI &&
            d->family->parent.domain == d->name.domain;
}

unsigned inventory_n_devices(const Inventory *inventory) {
    return inventory->n_devices;
}

unsigned inventory_n_groups(const Inventory *inventory) {
    return inventory->n_groups;
}

typedef struct Walk {
    int (*visit_device)(Device *d, void *userdata);
    int (*visit_group)(Group *g, void *userdata);
    void *userdata;
} Walk;

static int walk_device(void *device, void *userdata) {
    const Walk *w = userdata;

    return w->visit_device(device, w->userdata);
}

static int walk_group(void *group, void *userdata) {
    const Walk *w = userdata;

    return w->visit_group(group, w->userdata);
}

int inventory_foreach_device(Inventory *inventory, int (*visit)(Device *d, void *userdata), void *userdata) {
    return sorted_foreach(
            &inventory->devices, walk_device, &(Walk){.visit_device = visit, .userdata = userdata});
}

int inventory_foreach_group(Inventory *inventory, int (*visit)(Group *g, void *userdata), void *userdata) {
    return sorted_foreach(
            &inventory->groups, walk_group, &(Walk){.visit_group = visit, .userdata = userdata});
}

Device *inventory_next_device(Inventory *inventory, const DeviceName *after) {
    return sorted_next(&inventory->devices, after, compare_devices);
}

Group *inventory_next_group(Inventory *inventory, int after) {
    return sorted_next(&inventory->groups, &after, compare_groups);
}

/* FNV-1a over the bytes from the lowest, so that the result does not depend on the byte order of the
 * machine. */
static uint64_t hash_add(uint64_t hash, uint64_t value, unsigned n_bytes) {
    for (unsigned i = 0; i < n_bytes; i++) {
        hash ^= (value >> (8 * i)) & 0xff;
        hash *= UINT64_C(0x100000001b3);
    }
    return hash;
}

static uint64_t hash_add_name(uint64_t hash, const DeviceName *name) {
    char kernel[DEVICE_NAME_MAX];

    hash = hash_add(hash, name->kind, 1);
    if (name->kind != DEVICE_KIND_PCI) {
        for (const char *p = device_name_format_kernel(name, kernel); *p; p++)
            hash = hash_add(hash, (unsigned char) *p, 1);
        return hash;
    }
    hash = hash_add(hash, name->domain, 4);
    hash = hash_add(hash, name->pci_bus, 1);
    return hash_add(hash, (uint64_t) (name->slot << 3 | name->function), 1);
}

uint64_t group_fingerprint(const Group *g) {
    uint64_t hash = UINT64_C(0xcbf29ce484222325);

    FOREACH_MEMBER(d, g) {
        hash = hash_add_name(hash, &d->name);
        hash = hash_add(hash, d->vendor, 2);
        hash = hash_add(hash, d->device, 2);
        hash = hash_add(hash, d->subsystem_vendor, 2);
        hash = hash_add(hash, d->subsystem_device, 2);
        hash = hash_add(hash, d->class_code, 3);
        hash = hash_add(hash, d->revision, 1);
    }
    return hash;
}

bool device_is_bridge(const Device *d) {
    /* PCI-to-PCI, CardBus and semi-transparent bridges. Host and ISA bridges (0x0600, 0x0601) are ordinary
     * functions to VFIO, and their drivers block a group. */
    if (!device_kind_info(d->name.kind)->has_ids)
        return false;
    switch (d->class_code >> 8) {
    case 0x0604:
    case 0x0607:
    case 0x0609:
        return true;
    default:
        return false;
    }
}

/* The value of an identity attribute, which is most likely the one at index n. */
static uint64_t identity_attribute(const Device *d, const char *attribute, size_t n) {
    const struct {
        const char *attribute;
        uint64_t value;
    } values[] = {
            {"vendor", d->vendor},
            {"device", d->device},
            {"subsystem_vendor", d->subsystem_vendor},
            {"subsystem_device", d->subsystem_device},
            {"class", d->class_code},
            {"revision", d->revision},
    };

    for (size_t i = n; i < n + ELEMENTSOF(values); i++)
        if (streq(values[i % ELEMENTSOF(values)].attribute, attribute))
            return values[i % ELEMENTSOF(values)].value;
    return 0;
}

uint64_t device_identity(const Device *d) {
    const char *const *attributes = device_kind_info(d->name.kind)->identity;
    uint64_t hash = 0;

    if (!attributes)
        return device_identity_of_incarnation(d->incarnation);
    for (size_t i = 0; attributes[i]; i++)
        hash = device_identity_add(hash, attributes[i], identity_attribute(d, attributes[i], i));
    return device_identity_end(hash);
}

bool device_leaves_group_viable(const Device *d) {
    const char *const *drivers = device_kind_info(d->name.kind)->unharmful;

    if (!d->driver || d->vfio_index >= 0)
        return true;
    for (size_t i = 0; drivers && drivers[i]; i++)
        if (streq(d->driver, drivers[i]))
            return true;
    return false;
}

bool device_is_native(const Device *d) {
    return d->name.kind == DEVICE_KIND_PCI && d->driver && d->vfio_index >= 0 && !strstr(d->driver, "vfio");
}

typedef struct Check {
    Inventory *inventory;
    const Device *last_device;
    const Group *last_group;
    unsigned n_devices, n_groups, n_in_groups, n_members, n_with_driver, n_driver_users, n_with_parent,
            n_children;
} Check;

/* Not assert(): a failed check must be fatal in every build. */
static void check(bool ok) {
    if (!ok)
        abort();
}

static int check_device(Device *d, void *userdata) {
    Check *c = userdata;

    check(!c->last_device || device_name_compare(&c->last_device->name, &d->name) < 0);
    check(d->group || !d->next);
    check(!d->group || inventory_find_group(c->inventory, d->group->id) == d->group);
    check(!d->driver || d->driver[0]);
    c->last_device = d;
    c->n_devices++;
    c->n_in_groups += !!d->group;
    c->n_with_driver += !!d->driver;
    c->n_with_parent += !!d->family;
    return 0;
}

static int check_group(Group *g, void *userdata) {
    const Device *last = NULL;
    Check *c = userdata;
    unsigned n = 0;

    check(g->id >= 0 && (!c->last_group || c->last_group->id < g->id));
    check(g->members);
    FOREACH_MEMBER(d, g) {
        check(d->group == g);
        check(!last || device_name_compare(&last->name, &d->name) < 0);
        check(inventory_find_device(c->inventory, &d->name) == d);
        last = d;
        n++;
    }
    check(n == g->n_members);
    c->last_group = g;
    c->n_groups++;
    c->n_members += n;
    return 0;
}

static void check_driver(const void *node, VISIT when, void *closure) {
    const DriverName *d = *(DriverName *const *) node;
    Check *c = closure;

    if (when != postorder && when != leaf)
        return;
    check(d->n_users > 0);
    c->n_driver_users += d->n_users;
}

static void check_family(const void *node, VISIT when, void *closure) {
    const Family *f = *(Family *const *) node;
    Check *c = closure;

    if (when != postorder && when != leaf)
        return;
    check(f->children);
    for (Device *d = f->children; d; d = d->next_child) {
        check(d->family == f && inventory_find_device(c->inventory, &d->name) == d);
        check(!d->next_child || device_name_compare(&d->name, &d->next_child->name) < 0);
        c->n_children++;
    }
}

void inventory_check(Inventory *inventory) {
    Check c = {.inventory = inventory};

    (void) inventory_foreach_device(inventory, check_device, &c);
    (void) inventory_foreach_group(inventory, check_group, &c);
    twalk_r(inventory->drivers, check_driver, &c);
    twalk_r(inventory->families, check_family, &c);
    check(c.n_with_parent == c.n_children);
    check(c.n_devices == inventory->n_devices);
    check(c.n_groups == inventory->n_groups);
    check(c.n_in_groups == c.n_members);
    check(c.n_with_driver == c.n_driver_users);
}
