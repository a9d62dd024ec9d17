/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The evaluator against another one that was written from vfiod-policy(5) alone. That one knows nothing of
 * compiled rules, masks and filters: it walks over the JSON of each rule, key by key, each time it is asked,
 * and is as slow and as plain as possible. It uses nothing of the evaluator's own code, not even its glob.
 *
 * Policies, subjects, devices and facts are random, over a vocabulary so small that rules often match. Each
 * policy goes as text through the real parser. What must hold for every question:
 *
 *   - both evaluators name the same effect, the same rule, the same terms, and agree on `changed`;
 *   - to forget a fact never opens the door: who is denied stays denied;
 *   - facts that policy_needed_facts() does not name make no difference;
 *   - a rule of which the parser says that it can never match never decides;
 *   - the explanation tells the same story, predicate by predicate, and to the subject no word of rules that
 * do not concern it.
 *
 * The seed is printed. A failure prints that of its own case: VFIOD_TEST_SEED=N begins with it. */

#include <fnmatch.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/random.h>

#include <cmocka.h>

#include "base/str.h"
#include "policy/explain.h"
#include "policy/parse.h"

#define N_CASES 4000U
#define N_QUESTIONS 8U /* for one policy */
#define N_FILES_MAX 3U
#define N_TAGS_MAX 4U

/* --- chance --- */

typedef struct Random {
    uint64_t state;
} Random;

/* splitmix64 */
static uint64_t random_next(Random *r) {
    uint64_t z = r->state += 0x9e3779b97f4a7c15;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

static unsigned below(Random *r, size_t n) {
    return (unsigned) (random_next(r) % n);
}

static bool chance(Random *r, unsigned percent) {
    return below(r, 100) < percent;
}

#define PICK(r, list) ((list)[below(r, ELEMENTSOF(list))])

/* --- the vocabulary of policies and questions --- */

static const char *const users[] = {"alice", "bob", "ghost", "0", "1001", "1000"};
static const uid_t uids[] = {0, 1000, 1001, 1002};
static const char *const groups[] = {"vm-users", "video", "ghosts", "0", "2001"};
static const gid_t gids[] = {0, 44, 2000, 2001, 3000};
static const char *const unit_globs[] = {
        "vm-*.service", "vm-?.service", "libvirtd.service", "*", "*.scope", "[!v]*", "*vice"};
static const char *const units[] = {"vm-1.service", "vm-10.service", "libvirtd.service", "session-2.scope"};
static const char *const slice_globs[] = {
        "machine.slice", "system*", "user-*.slice", "*", "[!m]*", "m.slice"};
static const char *const cgroup_globs[] = {
        "/system.slice/*", "*/vm-1.service", "/user.slice/*/*", "/", "*", "/machine?slice*"};
static const char *const cgroups[] = {"/", "/system.slice/libvirtd.service", "/machine.slice/vm-1.service",
        "/user.slice/user-1000.slice/session-2.scope", "/machine.slice", "/kubepods/pod1",
        "/user.slice/user-1000.slice/user@1000.service/machine.slice/vm-1.service"};
static const char *const slices[] = {"machine.slice", "user-1000.slice", "system.slice", "user.slice"};
static const char *const label_globs[] = {"*:svirt_t:*", "*t:s0", "unconfined", "libvirt-*", "*"};
static const char *const labels[] = {
        "system_u:system_r:svirt_t:s0", "unconfined", "libvirt-1234 (enforce)", ""};
static const char *const capabilities[] = {"CAP_SYS_RAWIO", "CAP_SYS_ADMIN", "CAP_CHOWN"};
static const unsigned capability_numbers[] = {17, 21, 0};
static const char *const namespaces[] = {"host", "other"};
static const char *const scopes[] = {"ci", "pod-1", "lab_2"};

static const DeviceName names[] = {
        {.kind = DEVICE_KIND_PCI, .pci_bus = 0x06, .slot = 0x0d},
        {.kind = DEVICE_KIND_PCI, .pci_bus = 0x06, .slot = 0x0d, .function = 1},
        {.kind = DEVICE_KIND_PCI, .pci_bus = 0x3b, .slot = 0x1f, .function = 7},
        {.kind = DEVICE_KIND_PCI, .domain = 0x10000, .pci_bus = 0x06},
};
static const DeviceName other_kind = {.kind = DEVICE_KIND_VDPA, .text = "vdpa0"};
static const char *const exact_names[] = {"06:0d.0", "pci:0000:06:0d.1", "pci_0000_3b_1f_7",
        "00010000:06:00.0", "0000:3B:1F.7", "pci:0000:06:0D.0"};
static const char *const device_globs[] = {"0000:06:*", "pci:0000:06:0d.?", "*.0", "10000:*", "10000:06:*",
        "*:3B:*", "????:*", "0000:06:0[a-d].[!0]", "*"};
static const char *const kind_names[] = {
        "vdpa:*", "vdpa:vdpa[0-3]", "vdpa:VDPA*", "vdpa:vdpa0", "vdpa:vdpa1", "mdev:*", "platform:*0"};
static const char *const kinds[] = {"pci", "vdpa", "mdev", "fsl-mc"};
static const char *const ids[] = {"1234:11e8", "1234:*", "8086:10d3", "*:11e8:1AF4:*", "8086:10d3:8086:0001",
        "*:*", "*:10d3", "*:*:1af4:*", "*:*:*:0001", "8086:*:*:0001", "*:11e8:*:1100", "1234:*:1af4:1100",
        "8086:10d3:1af4:*"};
static const char *const exact_ids[] = {
        "1234:11e8", "8086:10d3", "8086:10D3:8086:0001", "1234:11e8:1af4:1100"};
static const uint16_t id_table[][4] = {
        {0x1234, 0x11e8, 0x1af4, 0x1100},
        {0x8086, 0x10d3, 0x8086, 0x0001},
        {0x8086, 0x10d3, 0x1af4, 0x0001},
};
static const char *const classes[] = {
        "00", "0200", "02", "010802", "01", "030001", "ethernet", "nvme", "wireless", "display", "vga", "0C"};
static const uint32_t class_codes[] = {
        0x00ff00, 0x020000, 0x028000, 0x010802, 0x010801, 0x010601, 0x030000, 0x030001, 0x0c0330};
/* From the table in the manual page. */
static const struct {
    const char *name, *digits;
} class_names[] = {
        {"ethernet", "0200"},
        {"wireless", "0d"},
        {"wireless", "0280"},
        {"nvme", "010802"},
        {"display", "03"},
        {"vga", "0300"},
};
static const char *const drivers[] = {"vfio-pci", "e1000e", "nvme"};
static const char *const property_keys[] = {"ID_PATH", "ID_MODEL", "POOL"};
static const char *const property_globs[] = {"*", "gpu", "pci-*", "[a-f]*", "x?"};
static const char *const property_values[] = {"gpu", "pci-0000:06:0d.0", "xy", ""};
static const char *const paths[] = {"0000:00:1c.0/00.0", "0000:00:1d.0/00.0/01.0", "0000:06:0d.0"};
static const char *const device_capabilities[] = {"pasid", "pasid=8", "migration", "migration=p2p", "dma-buf",
        "page-size=2M", "pasid=8,migration=stop-copy,dma-buf", "coherency,pasid,page-size=4K"};
static const char *const serials[] = {"00-1b-21-ff-ff-a1-b2-c3", "00-1b-21-ff-ff-a1-b2-c4"};
static const char *const noiommu_modes[] = {"off", "on", "managed"};
/* The first two are the same moment. */
static const char *const times[] = {
        "2026-12-31T18:00:00Z", "2026-12-31T20:00:00+02:00", "2027-01-01T00:00:00-05:30"};
static const int64_t times_sec[] = {1798740000, 1798740000, 1798781400};

static int resolve(_unused_ void *userdata, bool is_group, const char *name, uint32_t *ret) {
    static const struct {
        bool is_group;
        const char *name;
        uint32_t id;
    } accounts[] = {
            {false, "alice", 1000}, {false, "bob", 1001}, {true, "vm-users", 2000}, {true, "video", 44}};

    for (size_t i = 0; i < ELEMENTSOF(accounts); i++)
        if (accounts[i].is_group == is_group && streq(accounts[i].name, name)) {
            *ret = accounts[i].id;
            return 0;
        }
    return -ENOENT;
}

/* --- a question: who requests what --- */

typedef struct Case {
    Subject subject;
    gid_t subject_gids[80];
    Device device, sibling;
    const DeviceName *parent; /* NULL: none */
    Group group;
    DeviceFacts facts;
    char *properties[4];
    char property_texts[3][64];
    bool has_facts;
    uint64_t now_usec;
    char fingerprint[17];
    DeviceCaps caps;
} Case;

static void make_subject(Random *r, Case *c) {
    Subject *s = &c->subject;

    *s = SUBJECT_NULL;
    if (!chance(r, 5))
        s->uid = PICK(r, uids);
    s->n_gids = chance(r, 10) ? 0 : 1 + below(r, chance(r, 90) ? 2 : ELEMENTSOF(c->subject_gids));
    for (size_t i = 0; i < s->n_gids; i++)
        c->subject_gids[i] = s->n_gids > 2 && i > 0 ? 5000 + (gid_t) i : PICK(r, gids);
    s->gids = c->subject_gids;
    if (!chance(r, 10))
        s->cgroup = (char *) PICK(r, cgroups);
    if (!chance(r, 20))
        s->unit = (char *) PICK(r, units);
    if (!chance(r, 10))
        s->label = (char *) PICK(r, labels);
    s->capabilities_known = !chance(r, 10);
    for (size_t i = 0; i < ELEMENTSOF(capability_numbers); i++)
        s->capabilities |= (uint64_t) chance(r, 50) << capability_numbers[i];
    s->user_namespace = chance(r, 60) ? NAMESPACE_HOST : (NamespaceKind) below(r, _NAMESPACE_KIND_MAX);
    s->pid_namespace = chance(r, 60) ? NAMESPACE_HOST : (NamespaceKind) below(r, _NAMESPACE_KIND_MAX);
    if (chance(r, 20))
        s->scope = (char *) PICK(r, scopes);
}

/* A device knows its parent through its family, which only an inventory creates. This has a child of each of
 * the names. */
static Inventory *families;

static const Device *child_of(size_t parent) {
    DeviceSnapshot s = {.name = {.kind = DEVICE_KIND_PCI, .domain = 0x20000, .pci_bus = (uint8_t) parent},
            .group = -1,
            .vfio_index = -1,
            .has_parent = true,
            .parent = names[parent]};
    Device *d;

    families = families ?: inventory_new();
    assert_non_null(families);
    assert_true(inventory_update(families, &s, &d, NULL) >= 0);
    return d;
}

static void make_device(Random *r, Case *c) {
    const uint16_t *id = PICK(r, id_table);

    c->device = (Device){
            .name = chance(r, 7) ? other_kind : PICK(r, names),
            .vendor = id[0],
            .device = id[1],
            .subsystem_vendor = id[2],
            .subsystem_device = id[3],
            .class_code = PICK(r, class_codes),
            .driver = chance(r, 25) ? NULL : PICK(r, drivers),
            .vfio_index = chance(r, 50) ? 3 : -1,
    };
    c->parent = NULL;
    if (chance(r, 40)) {
        const Device *child = child_of(below(r, ELEMENTSOF(names)));

        c->device.family = child->family;
        c->parent = device_parent_name(child);
    }
    if (chance(r, 15))
        return;
    c->sibling =
            (Device){.name = {.kind = DEVICE_KIND_PCI, .domain = 0x10000, .pci_bus = 0xff}, .vfio_index = -1};
    c->group = (Group){.id = 1, .members = &c->device, .n_members = 1 + chance(r, 40)};
    c->device.group = c->sibling.group = &c->group;
    if (c->group.n_members == 2)
        c->device.next = &c->sibling;
    (void) snprintf(c->fingerprint, sizeof(c->fingerprint), "%016" PRIx64, group_fingerprint(&c->group));
}

/* One of the first two of the vocabulary, the third, or one of many: no key occurs twice for one device. */
static void make_property_key(Random *r, size_t kind, char ret[static 16]) {
    if (kind < 2)
        (void) snprintf(ret, 16, "%s", property_keys[kind == 0 ? below(r, 2) : 2]);
    else
        (void) snprintf(ret, 16, "KEY%02u", below(r, 30));
}

/* An unknown fact still has a value, right or wrong, and nothing may read it. */
static void make_caps(Random *r, DeviceCaps *c) {
    *c = (DeviceCaps){
            .known = chance(r, 60) ? UINT32_MAX : (uint32_t) random_next(r),
            .present = (uint32_t) random_next(r),
            .pasid_bits = below(r, 3) * 8,
            .migration = below(r, 4),
            .page_sizes = 4096 | (chance(r, 50) ? 2U << 20 : 0),
    };
    (void) snprintf(c->driver, sizeof(c->driver), "%s", chance(r, 70) ? drivers[0] : PICK(r, drivers));
}

static void make_facts(Random *r, Case *c) {
    DeviceFacts *f = &c->facts;

    *f = DEVICE_FACTS_NULL;
    c->has_facts = !chance(r, 5);
    f->known = DEVICE_FACT_ALL | DEVICE_FACT_SEEN_CAPS;
    if (chance(r, 50))
        f->known &= (unsigned) random_next(r) | (unsigned) random_next(r);
    f->reset_methods = chance(r, 50) ? 1U << RESET_METHOD_FLR : 0;
    f->numa_node = (int) below(r, 3) - 1;
    f->removable = (Removable) below(r, _REMOVABLE_MAX);
    f->acs = (AcsPath) below(r, _ACS_PATH_MAX);
    (void) snprintf(f->slot_path, sizeof(f->slot_path), "%s", PICK(r, paths));
    (void) snprintf(f->serial, sizeof(f->serial), "%s", chance(r, 20) ? "" : PICK(r, serials));
    make_caps(r, &c->caps);
    f->caps = &c->caps;
    f->properties = c->properties;
    for (size_t i = 0, n = 0; i < ELEMENTSOF(c->property_texts); i++) {
        char key[16];

        if (chance(r, 30))
            continue;
        make_property_key(r, i, key);
        (void) snprintf(
                c->property_texts[i], sizeof(*c->property_texts), "%s=%s", key, PICK(r, property_values));
        c->properties[n++] = c->property_texts[i];
    }
}

static void make_case(Random *r, Case *c) {
    *c = (Case){};
    make_subject(r, c);
    make_device(r, c);
    make_facts(r, c);
    if (!chance(r, 15))
        c->now_usec = (uint64_t) (PICK(r, times_sec) + (int) below(r, 3) - 1) * 1000000;
}

/* --- a policy --- */

typedef struct json_object Json;

/* One word, or a list of different ones. */
static Json *some_of(Random *r, const char *const *words, size_t n, bool numbers) {
    Json *list = chance(r, 60) ? NULL : json_object_new_array();
    size_t first = below(r, n);

    for (size_t i = 0; i < n; i++) {
        const char *word = words[(first + i) % n];
        Json *v;

        if (i > 0 && !chance(r, 30))
            continue;
        v = numbers && chance(r, 70) && word[strspn(word, "0123456789")] == '\0'
                ? json_object_new_int64(strtoll(word, NULL, 10))
                : json_object_new_string(word);
        if (!list)
            return v;
        (void) json_object_array_add(list, v);
    }
    return list;
}

#define SOME_OF(r, words) some_of(r, words, ELEMENTSOF(words), false)

static void set(Json *object, const char *key, Json *value) {
    assert_int_equal(json_object_object_add(object, key, value), 0);
}

/* A glob that contains much of the text, and usually matches it. The tail is not changed. */
static Json *make_glob(Random *r, const char *text, size_t tail) {
    char glob[256];
    size_t n = 0, length = strlen(text);

    for (size_t i = 0; i < length; i++) {
        if (i + tail >= length || chance(r, 75))
            glob[n++] = text[i];
        else if (chance(r, 35))
            glob[n++] = '?';
        else if (chance(r, 60)) {
            glob[n++] = '*';
            i += below(r, (unsigned) (length - tail - i));
        } else {
            n += (size_t) snprintf(
                    glob + n, 5, "[%s%c]", chance(r, 10) ? "!" : "", chance(r, 90) ? text[i] : 'x');
        }
    }
    if (n == 0)
        glob[n++] = '*';
    return json_object_new_string_len(glob, (int) n);
}

static Json *globs_over(Random *r, const char *const *globs, size_t n, const char *text, size_t tail) {
    Json *list;

    if (chance(r, 50))
        return some_of(r, globs, n, false);
    if (chance(r, 70))
        return make_glob(r, text, tail);
    list = json_object_new_array();
    (void) json_object_array_add(list, make_glob(r, text, tail));
    /* This cannot equal another element. */
    (void) json_object_array_add(list, json_object_new_string("[xyz]*"));
    return list;
}

#define GLOBS_OVER(r, globs, texts, tail) globs_over(r, globs, ELEMENTSOF(globs), PICK(r, texts), tail)

/* Longer than any list that an evaluator would expect. */
static Json *make_long_list(Random *r) {
    Json *list = json_object_new_array();

    for (unsigned i = 0, first = 1000 - below(r, 70); i < 70; i++)
        (void) json_object_array_add(list, json_object_new_int64(first + i));
    return list;
}

static Json *make_who(Random *r) {
    Json *who = json_object_new_object();

    if (chance(r, 25))
        set(who, "user", some_of(r, users, ELEMENTSOF(users), true));
    else if (chance(r, 4))
        set(who, chance(r, 50) ? "user" : "group", make_long_list(r));
    if (chance(r, 15))
        set(who, "group", some_of(r, groups, ELEMENTSOF(groups), true));
    if (chance(r, 8))
        set(who, "unit", GLOBS_OVER(r, unit_globs, units, 0));
    if (chance(r, 8))
        set(who, "slice", GLOBS_OVER(r, slice_globs, slices, strlen(".slice")));
    if (chance(r, 8))
        set(who, "cgroup", GLOBS_OVER(r, cgroup_globs, cgroups, 0));
    if (chance(r, 8))
        set(who, "label", GLOBS_OVER(r, label_globs, labels, 0));
    if (chance(r, 8))
        set(who, "capability", SOME_OF(r, capabilities));
    if (chance(r, 8))
        set(who, "namespace", SOME_OF(r, namespaces));
    if (chance(r, 12))
        set(who, "scope", SOME_OF(r, scopes));
    return who;
}

static Json *make_isolation(Random *r) {
    static const char *const keys[] = {"alone", "acs", "reset", "removable"};
    Json *isolation = json_object_new_object();

    set(isolation, PICK(r, keys), json_object_new_boolean(chance(r, 60)));
    for (size_t i = 0; i < ELEMENTSOF(keys); i++)
        if (chance(r, 20))
            set(isolation, keys[i], json_object_new_boolean(chance(r, 60)));
    return isolation;
}

static Json *make_property(Random *r) {
    Json *property = json_object_new_object();

    /* Or more keys than an index has room for. */
    for (unsigned n = chance(r, 12) ? 120 : 1 + chance(r, 20); n > 0; n--) {
        char key[16];

        make_property_key(r, below(r, 3), key);
        set(property, key,
                globs_over(r, property_globs, ELEMENTSOF(property_globs), PICK(r, property_values), 0));
    }
    return property;
}

static Json *make_what(Random *r, const char *const *tags, size_t n_tags, const char *fingerprint) {
    static const char *const nodes[] = {"0", "1", "2"};
    Json *what = json_object_new_object();

    if (chance(r, 15))
        set(what, "device",
                chance(r, 20)           ? SOME_OF(r, kind_names)
                        : chance(r, 50) ? SOME_OF(r, exact_names)
                                        : SOME_OF(r, device_globs));
    if (chance(r, 8))
        set(what, "physical-function", chance(r, 50) ? SOME_OF(r, exact_names) : SOME_OF(r, device_globs));
    if (chance(r, 15))
        set(what, "id", SOME_OF(r, ids));
    if (chance(r, 10))
        set(what, "class", SOME_OF(r, classes));
    if (chance(r, 8))
        set(what, "driver", SOME_OF(r, drivers));
    if (chance(r, 5))
        set(what, "bus", SOME_OF(r, kinds));
    if (chance(r, 4))
        set(what, "group", json_object_new_string(*fingerprint ? fingerprint : "0123456789abcdef"));
    if (n_tags > 0 && chance(r, 20))
        set(what, "tag", some_of(r, tags, n_tags, false));
    if (chance(r, 7))
        set(what, "property", make_property(r));
    if (chance(r, 7)) {
        Json *numa = some_of(r, nodes, chance(r, 50) ? 1 : ELEMENTSOF(nodes), true);

        /* Numbers only. */
        if (json_object_is_type(numa, json_type_int))
            set(what, "numa", numa);
        else
            json_object_put(numa);
    }
    if (chance(r, 10))
        set(what, "isolation", make_isolation(r));
    if (chance(r, 8))
        set(what, "capabilities", json_object_new_string(PICK(r, device_capabilities)));
    return what;
}

static Json *make_limits(Random *r) {
    static const char *const keys[] = {"claims", "devices", "claims-per-user", "devices-per-user"};
    Json *limits = json_object_new_object();

    set(limits, "pinned", chance(r, 50) ? json_object_new_string("3G") : json_object_new_int64(5000));
    for (size_t i = 0; i < ELEMENTSOF(keys); i++)
        if (chance(r, 50))
            set(limits, keys[i], json_object_new_int64(1 + below(r, INT32_MAX)));
    return limits;
}

static bool names_devices(const Json *rule) {
    Json *what = json_object_object_get(rule, "what"), *device = json_object_object_get(what, "device");

    if (json_object_object_get(what, "tag"))
        return true;
    return json_object_is_type(device, json_type_string) && !strpbrk(json_object_get_string(device), "*?[");
}

static void make_terms(Random *r, Json *rule) {
    static const char *const backends[] = {"iommufd", "group", "compat", "vhost-vdpa"};
    static const char *const tethers[] = {"lifeline", "process", "connection", "unit", "explicit"};
    static const char *const grants[] = {"fd", "node", "none"};
    static const char *const resets[] = {"required", "optional"};
    static const char *const demands[] = {"refuse", "park"};
    static const char *const critical[] = {"refuse", "allow"};
    static const char *const reasons[] = {"optional", "required"};
    static const char *const sizes[] = {"0", "4096", "7K", "512M", "16G", "1T"};

    if (chance(r, 30))
        set(rule, "backend", SOME_OF(r, backends));
    if (chance(r, 10))
        set(rule, "grant", SOME_OF(r, grants));
    if (chance(r, 30))
        set(rule, "tether", SOME_OF(r, tethers));
    if (chance(r, 20))
        set(rule, "reset", json_object_new_string(PICK(r, resets)));
    if (chance(r, 20))
        set(rule, "siblings", json_object_new_string(PICK(r, demands)));
    if (chance(r, 10))
        set(rule, "host-critical", json_object_new_string(PICK(r, critical)));
    if (chance(r, 20))
        set(rule, "memlock",
                chance(r, 30) ? json_object_new_int64(below(r, 1U << 31))
                              : json_object_new_string(PICK(r, sizes)));
    if (chance(r, 15))
        set(rule, "untainted", json_object_new_boolean(chance(r, 60)));
    if (chance(r, 15))
        set(rule, "reason", json_object_new_string(PICK(r, reasons)));
    if (chance(r, 15))
        set(rule, "limits", make_limits(r));
    if (chance(r, 15))
        set(rule, "eviction-delay", json_object_new_int64(below(r, 86401)));
    if (chance(r, 15))
        set(rule, "sleep-delay", json_object_new_int64(below(r, 3601)));
    if (chance(r, 15))
        set(rule, "stop-after", json_object_new_int64(1 + below(r, 86400)));
    if (chance(r, 15))
        set(rule, "drain-timeout", json_object_new_int64(1 + below(r, 86400)));
    if (chance(r, 15))
        set(rule, "preemptible", json_object_new_boolean(chance(r, 60)));
    if (chance(r, 15))
        set(rule, "d3cold", json_object_new_boolean(chance(r, 60)));
    if (chance(r, 15))
        set(rule, "max-duration", json_object_new_int64(1 + below(r, 31536000)));
    if (chance(r, 15))
        set(rule, "scrub",
                json_object_new_string(chance(r, 50) ? "vfiod-scrub@.service" : "wipe.2@.service"));
    if (chance(r, 15))
        set(rule, "driver", json_object_new_string(chance(r, 50) ? "vfio-pci" : "mlx5_vfio_pci"));
    if (chance(r, 15))
        set(rule, "priority", json_object_new_int64((int64_t) below(r, 201) - 100));
    if (names_devices(rule) && chance(r, 30)) {
        Json *noiommu = json_object_new_object();

        set(noiommu, "reason", json_object_new_string("lab card"));
        if (chance(r, 50))
            set(noiommu, "waive-cap-sys-rawio", json_object_new_boolean(true));
        set(rule, "noiommu", noiommu);
    }
}

static Json *make_rule(
        Random *r, unsigned number, const char *const *tags, size_t n_tags, const char *fingerprint) {
    Json *rule = json_object_new_object();
    unsigned what = below(r, 10);
    char name[16];

    /* Bare rules match everything and hide all later rules, so there are few of them. */
    (void) snprintf(name, sizeof(name), "r%u", number);
    set(rule, "name", json_object_new_string(name));
    set(rule, "effect", json_object_new_string(what < 5 ? "allow" : what < 8 ? "deny" : "ask"));
    set(rule, "who", make_who(r));
    set(rule, "what", make_what(r, tags, n_tags, fingerprint));
    if (chance(r, 10))
        set(rule, "until", json_object_new_string(PICK(r, times)));
    if (what < 5 || what >= 8)
        make_terms(r, rule);
    return rule;
}

static Json *copy_of(const Json *object, const char *key) {
    Json *copy = NULL;

    assert_int_equal(json_object_deep_copy(json_object_object_get(object, key), &copy, NULL), 0);
    return copy;
}

/* Removes one key of an object, so that it matches more. */
static void widen(Random *r, Json *object) {
    size_t n = (size_t) json_object_object_length(object), i = n > 0 ? below(r, n) : 0;

    json_object_object_foreach(object, key, value) {
        assert_non_null(value);
        if (i-- == 0) {
            json_object_object_del(object, key);
            return;
        }
    }
}

/* Copies what an earlier rule says, or slightly more or less: such rules often cover each other. */
static void imitate(Random *r, Json *rule, Json *rules) {
    Json *model, *who, *what;

    if (json_object_array_length(rules) == 0)
        return;
    model = json_object_array_get_idx(rules, below(r, json_object_array_length(rules)));
    who = copy_of(model, "who");
    what = copy_of(model, "what");
    if (chance(r, 20))
        widen(r, chance(r, 50) ? who : what);
    if (chance(r, 30))
        set(who, "user", json_object_new_string(PICK(r, users)));
    if (chance(r, 20))
        set(who, "cgroup", json_object_new_string(PICK(r, cgroup_globs)));
    if (chance(r, 30))
        set(what, "id", json_object_new_string(PICK(r, ids)));
    if (chance(r, 20))
        set(what, "device", json_object_new_string(PICK(r, exact_names)));
    if (chance(r, 20))
        set(what, "isolation", make_isolation(r));
    set(rule, "who", who);
    set(rule, "what", what);
    /* Without its devices it may not have this key. */
    json_object_object_del(rule, "noiommu");
}

static Json *make_tag_entry(Random *r) {
    Json *entry = json_object_new_object();
    unsigned place = below(r, 3);

    if (place != 0)
        set(entry, "slot", json_object_new_string(PICK(r, exact_names)));
    if (place != 1)
        set(entry, "path", json_object_new_string(PICK(r, paths)));
    set(entry, "id", json_object_new_string(PICK(r, exact_ids)));
    if (chance(r, 50))
        set(entry, "serial", json_object_new_string(PICK(r, serials)));
    return entry;
}

static Json *make_tag(Random *r) {
    Json *list;

    if (chance(r, 50))
        return make_tag_entry(r);
    list = json_object_new_array();
    for (unsigned n = 1 + below(r, 3); n > 0; n--)
        (void) json_object_array_add(list, make_tag_entry(r));
    return list;
}

typedef struct Files {
    Json *files[N_FILES_MAX]; /* in load order */
    size_t n;
    StrBuf warnings; /* of the parser, one per line */
} Files;

static void files_done(Files *f) {
    for (size_t i = 0; i < f->n; i++)
        json_object_put(f->files[i]);
    strbuf_done(&f->warnings);
}

static unsigned make_number_of_rules(Random *r) {
    return chance(r, 3) ? 100 + below(r, 100) : 1 + below(r, chance(r, 50) ? 5 : 25);
}

static const char *const tag_names[N_TAGS_MAX] = {"gpu", "nic-1", "a.b", "lab_card"};

static void make_files(Random *r, const Case *cases, Files *ret) {
    unsigned n_rules = make_number_of_rules(r), number = 1;
    size_t n_tags = below(r, N_TAGS_MAX + 1);

    ret->n = 1 + below(r, N_FILES_MAX);
    for (size_t i = 0; i < ret->n; i++) {
        Json *file = ret->files[i] = json_object_new_object(), *rules = json_object_new_array();
        unsigned n = i + 1 == ret->n ? n_rules : below(r, n_rules + 1);

        for (n_rules -= n; n > 0; n--, number++) {
            Json *rule = make_rule(r, number, tag_names, n_tags, cases[below(r, N_QUESTIONS)].fingerprint);

            if (chance(r, 15))
                imitate(r, rule, rules);
            (void) json_object_array_add(rules, rule);
        }
        set(file, "rules", rules);
    }
    if (n_tags > 0)
        set(ret->files[below(r, ret->n)], "tags", json_object_new_object());
    for (size_t i = 0; i < n_tags; i++)
        for (size_t k = 0; k < ret->n; k++) {
            Json *tags = json_object_object_get(ret->files[k], "tags");

            if (tags)
                set(tags, tag_names[i], make_tag(r));
        }
    if (chance(r, 30)) {
        Json *host = json_object_new_object();

        set(host, "noiommu", json_object_new_string(PICK(r, noiommu_modes)));
        set(ret->files[below(r, ret->n)], "host", host);
    }
}

/* Does what the manual page advises: a deny rule for the same devices comes after a rule that may be
 * undecided, and before a wide one. */
static void make_guarded_file(Random *r, const Case *c, Files *ret) {
    Json *file = ret->files[0] = json_object_new_object(), *rules = json_object_new_array();
    Json *rule = make_rule(r, 1, tag_names, N_TAGS_MAX, c->fingerprint), *guard = json_object_new_object(),
         *wide = json_object_new_object(), *tags = json_object_new_object();

    ret->n = 1;
    if (chance(r, 20)) /* so that enough tags have changed */
        set(json_object_object_get(rule, "what"), "tag", some_of(r, tag_names, N_TAGS_MAX, false));
    set(rule, "effect", json_object_new_string(chance(r, 50) ? "allow" : "ask"));
    set(guard, "name", json_object_new_string("guard"));
    set(guard, "effect", json_object_new_string("deny"));
    set(guard, "who", json_object_new_object());
    set(guard, "what", copy_of(rule, "what"));
    set(wide, "name", json_object_new_string("wide"));
    set(wide, "effect", json_object_new_string("allow"));
    set(wide, "who", json_object_new_object());
    set(wide, "what", json_object_new_object());
    (void) json_object_array_add(rules, rule);
    (void) json_object_array_add(rules, guard);
    (void) json_object_array_add(rules, wide);
    for (size_t i = 0; i < N_TAGS_MAX; i++)
        set(tags, tag_names[i], make_tag(r));
    set(file, "tags", tags);
    set(file, "rules", rules);
}

static Policy *parse(Files *f) {
    _cleanup_(policy_parser_freep) PolicyParser *p = policy_parser_new(resolve, NULL);
    Policy *policy = NULL;

    assert_non_null(p);
    for (size_t i = 0; i < f->n; i++) {
        const char *text = json_object_to_json_string_ext(f->files[i], JSON_C_TO_STRING_PRETTY);
        char file[] = "0.json";

        file[0] = (char) (file[0] + i);
        assert_int_equal(policy_parser_add(p, file, text, strlen(text)), 0);
    }
    if (policy_parser_finish(p, &policy) < 0)
        fail_msg("the parser does not take it: %s", policy_parser_error(p, 0));
    strbuf_add(&f->warnings, "\n");
    for (size_t i = 0; i < policy_parser_n_warnings(p); i++)
        strbuf_addf(&f->warnings, "%s\n", policy_parser_warning(p, i));
    return policy;
}

/* --- the reference --- */

typedef enum Answer {
    NO,
    YES,
    UNKNOWN,
    CHANGED,
} Answer;

static Answer yes_if(bool condition) {
    return condition ? YES : NO;
}

/* For alternatives, of which one must hold. */
static Answer any(Answer a, Answer b) {
    if (a == YES || b == YES)
        return YES;
    if (a == CHANGED || b == CHANGED)
        return CHANGED;
    return a == UNKNOWN || b == UNKNOWN ? UNKNOWN : NO;
}

/* For parts, which must all hold. */
static Answer all(Answer a, Answer b) {
    if (a == NO || b == NO)
        return NO;
    if (a == CHANGED || b == CHANGED)
        return CHANGED;
    return a == UNKNOWN || b == UNKNOWN ? UNKNOWN : YES;
}

static bool is_glob_match(const char *pattern, const char *text) {
    return fnmatch(pattern, text, FNM_NOESCAPE) == 0;
}

static bool is_known(const Case *c, unsigned fact) {
    return c->has_facts && c->facts.known & fact;
}

static uint32_t account_number(bool is_group, const char *text) {
    uint32_t id;

    if (resolve(NULL, is_group, text, &id) == 0)
        return id;
    return (uint32_t) strtoul(text, NULL, 10);
}

/* For the current rule: whether the subject matches an unresolved name. */
static Answer ghost;

static Answer one_user(const Case *c, const char *text) {
    if (c->subject.uid == (uid_t) -1)
        return UNKNOWN;
    if (streq(text, "ghost"))
        return ghost;
    return yes_if(account_number(false, text) == c->subject.uid);
}

static Answer one_group(const Case *c, const char *text) {
    if (c->subject.n_gids == 0)
        return UNKNOWN;
    if (streq(text, "ghosts"))
        return ghost;
    for (size_t i = 0; i < c->subject.n_gids; i++)
        if (c->subject.gids[i] == account_number(true, text))
            return YES;
    return NO;
}

static Answer one_unit(const Case *c, const char *text) {
    if (!c->subject.cgroup)
        return UNKNOWN;
    return yes_if(c->subject.unit && is_glob_match(text, c->subject.unit));
}

/* Below a unit that is not a slice, anybody may have created a slice. */
static Answer one_slice(const Case *c, const char *text) {
    char path[256], *rest = path, *component;
    Answer a = NO, match = YES;

    if (!c->subject.cgroup)
        return UNKNOWN;
    (void) snprintf(path, sizeof(path), "%s", c->subject.cgroup);
    while ((component = strsep(&rest, "/")))
        if (!is_glob_match("*.slice", component))
            match = component[0] ? UNKNOWN : match;
        else if (is_glob_match(text, component))
            a = any(a, match);
    return a;
}

static Answer one_cgroup(const Case *c, const char *text) {
    return c->subject.cgroup ? yes_if(is_glob_match(text, c->subject.cgroup)) : UNKNOWN;
}

static Answer one_label(const Case *c, const char *text) {
    return c->subject.label ? yes_if(is_glob_match(text, c->subject.label)) : UNKNOWN;
}

/* In another user namespace no capability counts. */
static Answer one_capability(const Case *c, const char *text) {
    if (c->subject.user_namespace == NAMESPACE_OTHER)
        return NO;
    if (c->subject.user_namespace == NAMESPACE_UNKNOWN || !c->subject.capabilities_known)
        return UNKNOWN;
    for (size_t i = 0; i < ELEMENTSOF(capabilities); i++)
        if (streq(capabilities[i], text))
            return yes_if((c->subject.capabilities & (uint64_t) 1 << capability_numbers[i]) != 0);
    fail_msg("unknown capability %s", text);
    return NO;
}

static Answer one_namespace(const Case *c, const char *text) {
    NamespaceKind user = c->subject.user_namespace, pid = c->subject.pid_namespace;

    if (user == NAMESPACE_OTHER || pid == NAMESPACE_OTHER)
        return yes_if(streq(text, "other"));
    if (user == NAMESPACE_HOST && pid == NAMESPACE_HOST)
        return yes_if(streq(text, "host"));
    return UNKNOWN;
}

static Answer one_scope(const Case *c, const char *text) {
    return yes_if(c->subject.scope && streq(c->subject.scope, text));
}

/* For a rule that names no scope. */
static Answer no_scope_holds(const Case *c, const Json *rule) {
    return yes_if(!c->subject.scope ||
            streq(json_object_get_string(json_object_object_get(rule, "effect")), "deny"));
}

/* For a rule that names neither device nor bus. */
static Answer no_bus_holds(const Case *c, const Json *rule) {
    return yes_if(c->device.name.kind == DEVICE_KIND_PCI ||
            streq(json_object_get_string(json_object_object_get(rule, "effect")), "deny"));
}

/* Converts an address to the kernel's form, in lower case. */
static void canonical_name(const char *text, char buf[static 64]) {
    unsigned domain = 0, bus = 0, slot = 0, function = 0;

    if (startswith(text, "pci:"))
        text += strlen("pci:");
    if (sscanf(text, "pci_%x_%x_%x_%x", &domain, &bus, &slot, &function) != 4 &&
            sscanf(text, "%x:%x:%x.%x", &domain, &bus, &slot, &function) != 4) {
        domain = 0;
        assert_int_equal(sscanf(text, "%x:%x.%x", &bus, &slot, &function), 3);
    }
    (void) snprintf(buf, 64, "%04x:%02x:%02x.%x", domain, bus, slot, function);
}

static bool is_pci(const Case *c) {
    return c->device.name.kind == DEVICE_KIND_PCI;
}

static void name_of(const DeviceName *n, char buf[static 64]) {
    if (n->kind != DEVICE_KIND_PCI) {
        (void) snprintf(buf, 64, "vdpa:%s", n->text);
        return;
    }
    (void) snprintf(buf, 64, "%04x:%02x:%02x.%x", (unsigned) n->domain, n->pci_bus, n->slot, n->function);
}

static void name_of_device(const Case *c, char buf[static 64]) {
    name_of(&c->device.name, buf);
}

static Answer one_name(const DeviceName *n, const char *text) {
    char name[64], wanted[64];

    name_of(n, name);
    if (n->kind != DEVICE_KIND_PCI) /* the kind is required, and case matters */
        return yes_if(fnmatch(text, name, FNM_NOESCAPE) == 0 && startswith(text, "vdpa:"));
    if (strpbrk(text, "*?[")) {
        const char *glob = startswith(text, "pci:") ? text + strlen("pci:") : text;

        return yes_if(fnmatch(glob, name, FNM_NOESCAPE | FNM_CASEFOLD) == 0);
    }
    if (startswith(text, "vdpa:"))
        return NO;
    canonical_name(text, wanted);
    return yes_if(streq(wanted, name));
}

static Answer one_device(const Case *c, const char *text) {
    return one_name(&c->device.name, text);
}

/* The domain distinguishes a virtual function from a device behind a controller (VMD). */
static Answer one_physical_function(const Case *c, const char *text) {
    if (!c->parent || !is_pci(c) || c->parent->domain != c->device.name.domain)
        return NO;
    return one_name(c->parent, text);
}

static Answer one_id(const Case *c, const char *text) {
    const Device *d = &c->device;
    char id[32];

    if (!is_pci(c))
        return NO;
    if (strchr(strchr(text, ':') + 1, ':'))
        (void) snprintf(id, sizeof(id), "%04x:%04x:%04x:%04x", d->vendor, d->device, d->subsystem_vendor,
                d->subsystem_device);
    else
        (void) snprintf(id, sizeof(id), "%04x:%04x", d->vendor, d->device);
    return yes_if(fnmatch(text, id, FNM_CASEFOLD) == 0);
}

static Answer one_class(const Case *c, const char *text) {
    char digits[7];
    Answer a;

    if (!is_pci(c))
        return NO;
    (void) snprintf(digits, sizeof(digits), "%06x", (unsigned) c->device.class_code & 0xffffff);
    a = yes_if(strncasecmp(digits, text, strlen(text)) == 0);
    for (size_t i = 0; i < ELEMENTSOF(class_names); i++)
        if (streq(class_names[i].name, text))
            a = any(a, yes_if(startswith(digits, class_names[i].digits) != NULL));
    return a;
}

static Answer one_driver(const Case *c, const char *text) {
    return yes_if(c->device.driver && streq(c->device.driver, text));
}

static Answer one_bus(const Case *c, const char *text) {
    return yes_if(streq(text, is_pci(c) ? "pci" : "vdpa"));
}

static Answer one_fingerprint(const Case *c, const char *text) {
    return yes_if(c->device.group && streq(c->fingerprint, text));
}

static Answer one_numa(const Case *c, const char *text) {
    if (!is_known(c, DEVICE_FACT_NUMA_NODE))
        return UNKNOWN;
    return yes_if(c->facts.numa_node == atoi(text));
}

static const char *member(const Json *object, const char *key) {
    Json *v = json_object_object_get(object, key);

    return v ? json_object_get_string(v) : NULL;
}

static Answer tag_place(const Case *c, const Json *entry) {
    const char *slot = member(entry, "slot"), *path = member(entry, "path");
    Answer a = YES;

    if (slot)
        a = all(a, one_device(c, slot));
    if (path)
        a = all(a, is_known(c, DEVICE_FACT_SLOT_PATH) ? yes_if(streq(path, c->facts.slot_path)) : UNKNOWN);
    return a;
}

static Answer tag_card(const Case *c, const Json *entry) {
    const char *serial = member(entry, "serial");
    Answer a = one_id(c, member(entry, "id"));

    if (serial)
        a = all(a, is_known(c, DEVICE_FACT_SERIAL) ? yes_if(streq(serial, c->facts.serial)) : UNKNOWN);
    return a;
}

static Answer tag_entry(const Case *c, const Json *entry) {
    Answer place = tag_place(c, entry), card = tag_card(c, entry);

    if (place == YES && card == YES)
        return YES;
    if (place == YES && card == NO) /* replaced */
        return CHANGED;
    if (place == NO && card == YES) /* moved, if a serial number distinguishes it from similar cards */
        return member(entry, "serial") ? CHANGED : NO;
    if (place == NO && !member(entry, "serial"))
        return NO;
    return place == NO && card == NO ? NO : UNKNOWN;
}

static Answer one_tag(const Case *c, const Files *f, const char *text) {
    Answer a = NO;

    for (size_t i = 0; i < f->n && is_pci(c); i++) {
        Json *tag = json_object_object_get(json_object_object_get(f->files[i], "tags"), text);

        if (json_object_is_type(tag, json_type_array))
            for (size_t k = 0; k < json_object_array_length(tag); k++)
                a = any(a, tag_entry(c, json_object_array_get_idx(tag, k)));
        else if (tag)
            a = any(a, tag_entry(c, tag));
    }
    return a;
}

static Answer one_property(const Case *c, const char *key, const char *glob) {
    if (!is_known(c, DEVICE_FACT_PROPERTIES))
        return UNKNOWN;
    for (char **p = c->facts.properties; *p; p++) {
        const char *equal = strchr(*p, '=');

        if ((size_t) (equal - *p) == strlen(key) && strncmp(*p, key, strlen(key)) == 0)
            return yes_if(is_glob_match(glob, equal + 1));
    }
    return NO;
}

/* For the driver that the device is on, or would be moved to. */
static bool is_seen_as_claimed(const Case *c) {
    const Device *d = &c->device;

    if (d->driver && d->vfio_index >= 0)
        return streq(c->caps.driver, d->driver);
    return d->name.kind == DEVICE_KIND_PCI && streq(c->caps.driver, "vfio-pci");
}

static Answer one_capability_of_device(const Case *c, const char *word, const char *value) {
    const DeviceCaps *caps = &c->caps;
    DeviceCap cap = streq(word, "page-size") ? DEVICE_CAP_PAGE_SIZES : device_cap_from_string(word);

    assert_true(cap >= 0);
    if (!is_known(c, DEVICE_FACT_SEEN_CAPS) || !is_seen_as_claimed(c) || !(caps->known & 1U << cap))
        return UNKNOWN;
    if (streq(word, "pasid"))
        return yes_if(caps->pasid_bits >= (value ? (unsigned) atoi(value) : 1));
    if (streq(word, "migration") && value)
        return yes_if(caps->migration & 1U << migration_mode_from_string(value));
    if (streq(word, "migration"))
        return yes_if(caps->migration != 0);
    if (streq(word, "page-size"))
        return yes_if(caps->page_sizes & (streq(value, "2M") ? 2U << 20 : 4096U));
    return yes_if(caps->present & 1U << cap);
}

/* All parts must hold. */
static Answer capabilities_of_device(const Case *c, const char *text) {
    _cleanup_free_ char *copy = strdup(text);
    char *state = NULL;
    Answer a = YES;

    for (char *part = strtok_r(copy, ",", &state); part; part = strtok_r(NULL, ",", &state)) {
        char *value = strchr(part, '=');

        if (value)
            *value++ = '\0';
        a = all(a, one_capability_of_device(c, part, value));
    }
    return a;
}

static Answer one_isolation(const Case *c, const char *key, bool wanted) {
    const DeviceFacts *f = &c->facts;

    if (streq(key, "alone"))
        return c->device.group ? yes_if((c->group.n_members == 1) == wanted) : UNKNOWN;
    if (streq(key, "acs")) {
        if (!is_known(c, DEVICE_FACT_ACS) || f->acs == ACS_UNKNOWN)
            return UNKNOWN;
        return yes_if((f->acs == ACS_COMPLETE || f->acs == ACS_NOT_NEEDED) == wanted);
    }
    if (streq(key, "reset"))
        return is_known(c, DEVICE_FACT_RESET_METHODS) ? yes_if((f->reset_methods != 0) == wanted) : UNKNOWN;
    assert_string_equal(key, "removable");
    if (!is_known(c, DEVICE_FACT_REMOVABLE) || f->removable == REMOVABLE_UNKNOWN)
        return UNKNOWN;
    return yes_if((f->removable == REMOVABLE_REMOVABLE) == wanted);
}

static const struct {
    const char *section, *key;
    Answer (*one)(const Case *c, const char *text);
} keys[] = {
        {"who", "user", one_user},
        {"who", "group", one_group},
        {"who", "unit", one_unit},
        {"who", "slice", one_slice},
        {"who", "cgroup", one_cgroup},
        {"who", "label", one_label},
        {"who", "capability", one_capability},
        {"who", "namespace", one_namespace},
        {"who", "scope", one_scope},
        {"what", "device", one_device},
        {"what", "physical-function", one_physical_function},
        {"what", "id", one_id},
        {"what", "class", one_class},
        {"what", "driver", one_driver},
        {"what", "bus", one_bus},
        {"what", "group", one_fingerprint},
        {"what", "numa", one_numa},
        {"what", "capabilities", capabilities_of_device},
};

/* An element of a list, or a single value. */
static Answer one_element(const Case *c, const Files *f, const char *section, const char *key, Json *value) {
    const char *text = json_object_get_string(value);

    if (streq(section, "property"))
        return one_property(c, key, text);
    if (streq(section, "isolation"))
        return one_isolation(c, key, json_object_get_boolean(value));
    if (streq(key, "tag"))
        return one_tag(c, f, text);
    for (size_t i = 0; i < ELEMENTSOF(keys); i++)
        if (streq(keys[i].section, section) && streq(keys[i].key, key))
            return keys[i].one(c, text);
    fail_msg("the reference does not know \"%s\"", key);
    return NO;
}

static Answer section_holds(const Case *c, const Files *f, const char *section, Json *object);

static Answer key_holds(const Case *c, const Files *f, const char *section, const char *key, Json *value) {
    Answer a = NO;

    if (json_object_is_type(value, json_type_object))
        return section_holds(c, f, key, value);
    if (!json_object_is_type(value, json_type_array))
        return one_element(c, f, section, key, value);
    for (size_t i = 0; i < json_object_array_length(value); i++)
        a = any(a, one_element(c, f, section, key, json_object_array_get_idx(value, i)));
    return a;
}

static Answer section_holds(const Case *c, const Files *f, const char *section, Json *object) {
    Answer a = YES;

    json_object_object_foreach(object, key, value) a = all(a, key_holds(c, f, section, key, value));
    return a;
}

static Answer time_holds(const Case *c, const Json *rule) {
    const char *until = member(rule, "until");

    if (!until)
        return YES;
    if (c->now_usec == 0)
        return UNKNOWN;
    for (size_t i = 0; i < ELEMENTSOF(times); i++)
        if (streq(times[i], until))
            return yes_if(c->now_usec < (uint64_t) times_sec[i] * 1000000);
    fail_msg("unknown time %s", until);
    return NO;
}

static Answer who_holds(const Case *c, const Files *f, const Json *rule) {
    Json *who = json_object_object_get(rule, "who");
    Answer a = section_holds(c, f, "who", who);

    if (!json_object_object_get(who, "scope"))
        a = all(a, no_scope_holds(c, rule));
    return c->subject.uid == (uid_t) -1 ? all(a, UNKNOWN) : a;
}

/* The result of the reference. It has what a Verdict has. */
typedef struct Expected {
    const char *effect;
    Json *rule; /* NULL: the default */
    bool changed;
    bool may_ask; /* an ask rule was undecided */
} Expected;

static bool rule_decides(const Case *c, const Files *f, Json *rule, Expected *ret) {
    Json *what = json_object_object_get(rule, "what");
    const char *effect = member(rule, "effect");
    Answer a;

    ghost = streq(effect, "deny") ? UNKNOWN : NO;
    a = who_holds(c, f, rule);
    a = all(a, section_holds(c, f, "what", what));
    if (!json_object_object_get(what, "device") && !json_object_object_get(what, "bus"))
        a = all(a, no_bus_holds(c, rule));
    a = all(a, time_holds(c, rule));
    ret->may_ask |= a == UNKNOWN && streq(effect, "ask");
    if (a == NO || (a == UNKNOWN && !streq(effect, "deny")))
        return false;
    if (ret->may_ask && streq(effect, "allow"))
        effect = "ask";
    *ret = (Expected){.effect = effect, .rule = rule};
    if (a == CHANGED && !streq(effect, "deny"))
        *ret = (Expected){.effect = "deny", .rule = rule, .changed = true};
    return true;
}

static Expected expect(const Case *c, const Files *f) {
    Expected e = {.effect = "deny"};

    for (size_t i = 0; i < f->n; i++) {
        Json *rules = json_object_object_get(f->files[i], "rules");

        for (size_t k = 0; k < json_object_array_length(rules); k++)
            if (rule_decides(c, f, json_object_array_get_idx(rules, k), &e))
                return e;
    }
    return e;
}

static uint64_t size_of(const Json *object, const char *key, uint64_t otherwise) {
    const char *text = member(object, key);
    char *end;
    uint64_t n;

    if (!text)
        return otherwise;
    n = strtoull(text, &end, 10);
    for (const char *unit = "KMGT"; *end && *unit; unit++) {
        n *= 1024;
        if (*end == *unit)
            break;
    }
    return n;
}

static bool is_word(const Json *object, const char *key, const char *word) {
    const char *text = member(object, key);

    return text && streq(text, word);
}

static void check_limits(const Json *limits, const RuleLimits *l) {
    assert_int_equal(l->claims, size_of(limits, "claims", LIMIT_NONE));
    assert_int_equal(l->devices, size_of(limits, "devices", LIMIT_NONE));
    assert_int_equal(l->claims_per_user, size_of(limits, "claims-per-user", LIMIT_NONE));
    assert_int_equal(l->devices_per_user, size_of(limits, "devices-per-user", LIMIT_NONE));
    assert_int_equal(l->pinned, size_of(limits, "pinned", LIMIT_NONE));
}

static void check_terms(const Json *rule, const RuleTerms *t) {
    const Json *noiommu = json_object_object_get(rule, "noiommu");
    static const char *const tether_words[] = {"lifeline", "process", "connection", "unit", "explicit"};
    static const char *const grant_words[] = {"fd", "node", "none"};
    const char *backend = member(rule, "backend"), *tether = member(rule, "tether");
    const char *grant = member(rule, "grant") ?: "fd";
    unsigned backends = 0, tethers = 0, grants = 0;

    if (!backend || strstr(backend, "iommufd"))
        backends |= 1U << BACKEND_IOMMUFD;
    if (!backend || strstr(backend, "group"))
        backends |= 1U << BACKEND_GROUP;
    if (!backend || strstr(backend, "vhost-vdpa"))
        backends |= 1U << BACKEND_VHOST_VDPA;
    if (!backend || strstr(backend, "compat"))
        backends |= 1U << BACKEND_COMPAT;
    if (noiommu)
        backends |= 1U << BACKEND_NOIOMMU;
    for (TetherKind k = 0; k < _TETHER_KIND_MAX; k++)
        if (tether ? strstr(tether, tether_words[k]) != NULL : k != TETHER_EXPLICIT)
            tethers |= 1U << k;
    assert_int_equal(t->tethers, tethers);
    assert_int_equal(t->backends, backends);
    for (size_t i = 0; i < sizeof(grant_words) / sizeof(grant_words[0]); i++)
        grants |= strstr(grant, grant_words[i]) ? 1U << i : 0;
    assert_int_equal(t->grants, grants);
    assert_int_equal(t->reset == RESET_OPTIONAL, is_word(rule, "reset", "optional"));
    assert_int_equal(t->siblings == SIBLINGS_PARK, is_word(rule, "siblings", "park"));
    assert_int_equal(t->host_critical == HOST_CRITICAL_ALLOW, is_word(rule, "host-critical", "allow"));
    assert_int_equal(t->untainted, is_word(rule, "untainted", "true"));
    assert_int_equal(t->reason_required, is_word(rule, "reason", "required"));
    assert_int_equal(t->memlock_max, size_of(rule, "memlock", 0));
    assert_int_equal(
            t->hold.eviction_delay_sec, json_object_get_int(json_object_object_get(rule, "eviction-delay")));
    assert_int_equal(t->hold.stop_after_sec, json_object_get_int(json_object_object_get(rule, "stop-after")));
    assert_int_equal(
            t->hold.drain_timeout_sec, json_object_get_int(json_object_object_get(rule, "drain-timeout")));
    assert_int_equal(t->hold.preemptible, is_word(rule, "preemptible", "true"));
    assert_int_equal(t->hold.d3cold, is_word(rule, "d3cold", "true"));
    assert_int_equal(
            t->hold.max_duration_sec, json_object_get_int(json_object_object_get(rule, "max-duration")));
    if (json_object_object_get(rule, "scrub"))
        assert_string_equal(t->scrub, member(rule, "scrub"));
    else
        assert_null(t->scrub);
    if (json_object_object_get(rule, "driver"))
        assert_string_equal(t->driver, member(rule, "driver"));
    else
        assert_null(t->driver);
    assert_int_equal(
            t->hold.sleep_delay_sec, json_object_get_int(json_object_object_get(rule, "sleep-delay")));
    assert_int_equal(t->priority, json_object_get_int(json_object_object_get(rule, "priority")));
    check_limits(json_object_object_get(rule, "limits"), &t->limits);
    if (noiommu)
        assert_string_equal(t->noiommu_reason, member(noiommu, "reason"));
    else
        assert_null(t->noiommu_reason);
    assert_int_equal(t->waive_sys_rawio, is_word(noiommu, "waive-cap-sys-rawio", "true"));
}

/* --- both --- */

static PolicyQuestion question_of(const Case *c) {
    return (PolicyQuestion){
            .subject = &c->subject,
            .device = &c->device,
            .facts = c->has_facts ? &c->facts : NULL,
            .now_usec = c->now_usec,
    };
}

/* Evaluates with and without the excerpt of the rules that can concern the caller. The results must be
 * equal. */
static Verdict evaluate(const Policy *policy, const Case *c) {
    PolicyQuestion question = question_of(c);
    PolicyExcerpt excerpt;
    Verdict v, again;

    v = policy_evaluate(policy, &question);
    assert_int_equal(policy_excerpt(policy, question.subject, &excerpt), 0);
    question.excerpt = &excerpt;
    again = policy_evaluate(policy, &question);
    policy_excerpt_done(&excerpt);
    assert_int_equal(again.effect, v.effect);
    assert_ptr_equal(again.rule, v.rule);
    assert_ptr_equal(again.terms, v.terms);
    assert_int_equal(again.changed, v.changed);
    return v;
}

static void show_case(const Files *f, const Case *c) {
    const Subject *s = &c->subject;
    char name[64];

    for (size_t i = 0; i < f->n; i++)
        print_error("%s\n", json_object_to_json_string_ext(f->files[i], JSON_C_TO_STRING_NOSLASHESCAPE));
    print_error("uid %d gids", (int) s->uid);
    for (size_t i = 0; i < s->n_gids; i++)
        print_error(" %u", (unsigned) s->gids[i]);
    print_error(" unit %s cgroup %s label %s scope %s capabilities %" PRIx64
                "%s namespaces %d %d now %" PRIu64 "\n",
            s->unit ?: "-", s->cgroup ?: "-", s->label ?: "-", s->scope ?: "-", s->capabilities,
            s->capabilities_known ? "" : "?", (int) s->user_namespace, (int) s->pid_namespace, c->now_usec);
    name_of_device(c, name);
    print_error("%s %04x:%04x:%04x:%04x class %06x driver %s group of %u %s\n", name, c->device.vendor,
            c->device.device, c->device.subsystem_vendor, c->device.subsystem_device,
            (unsigned) c->device.class_code, c->device.driver ?: "-", c->group.n_members, c->fingerprint);
    if (!c->has_facts)
        return;
    print_error("known %#x reset %#x numa %d removable %d acs %d path %s serial %s", c->facts.known,
            c->facts.reset_methods, c->facts.numa_node, (int) c->facts.removable, (int) c->facts.acs,
            c->facts.slot_path, c->facts.serial);
    for (char **p = c->facts.properties; *p; p++)
        print_error(" %s", *p);
    print_error("\n");
}

/* How often each way through a policy was taken: the test proves nothing if all policies decide the same. */
typedef struct Seen {
    unsigned effects[_EFFECT_MAX], changed, by_default, in_shadow;
} Seen;

static void check_verdict(const Policy *policy, const Files *f, const Case *c, Seen *seen) {
    Verdict v = evaluate(policy, c);
    Expected e = expect(c, f);
    const char *name = e.rule ? member(e.rule, "name") : "default";

    if (!streq(effect_to_string(v.effect), e.effect) || v.changed != e.changed ||
            !streq(v.rule ? rule_name(v.rule) : "default", name)) {
        show_case(f, c);
        fail_msg("expected %s by %s%s, the verdict is %s by %s%s", e.effect, name,
                e.changed ? " (changed)" : "", effect_to_string(v.effect),
                v.rule ? rule_name(v.rule) : "default", v.changed ? " (changed)" : "");
    }
    if (v.effect == EFFECT_DENY)
        assert_null(v.terms);
    else
        check_terms(e.rule, v.terms);
    seen->effects[v.effect]++;
    seen->changed += v.changed;
    seen->by_default += !v.rule;
}

/* Returns whether the parser reports the rule at this place as covered. */
static bool is_in_shadow(const Files *f, const Rule *rule) {
    _cleanup_free_ char *place = format_string("\n%s:%u:", rule_file(rule), rule_line(rule));
    const char *line = strstr(f->warnings.text, place), *end;

    if (!line)
        return false;
    end = strchr(line + 1, '\n');
    return memmem(line, (size_t) (end - line), "can never match", strlen("can never match")) != NULL;
}

static void check_shadow(const Policy *policy, const Files *f, const Case *c) {
    Verdict v = evaluate(policy, c);

    if (!v.rule || !is_in_shadow(f, v.rule))
        return;
    show_case(f, c);
    fail_msg("%s decides, but:%s", rule_name(v.rule), f->warnings.text);
}

/* Returns the reference's answer for one predicate: "who.user", "what.isolation.acs", "until". */
static Answer predicate_holds(const Case *c, const Files *f, Json *rule, const char *predicate) {
    char path[64], *rest = path, *section = NULL, *key;
    Json *value = rule;

    ghost = streq(member(rule, "effect"), "deny") ? UNKNOWN : NO;
    if (streq(predicate, "until"))
        return time_holds(c, rule);
    /* Also if the rule matches anybody. */
    if (streq(predicate, "who.user") && c->subject.uid == (uid_t) -1)
        return UNKNOWN;
    (void) snprintf(path, sizeof(path), "%s", predicate);
    while ((key = strsep(&rest, "."))) {
        value = json_object_object_get(value, key);
        if (!rest)
            break;
        section = key;
    }
    if (!value && streq(predicate, "who.user"))
        return YES;
    if (!value && streq(predicate, "who.scope"))
        return no_scope_holds(c, rule);
    if (!value && streq(predicate, "what.bus"))
        return no_bus_holds(c, rule);
    assert_non_null(value);
    return key_holds(c, f, section, key, value);
}

static Json *find_rule(const Files *f, const char *name) {
    for (size_t i = 0; i < f->n; i++) {
        Json *rules = json_object_object_get(f->files[i], "rules");

        for (size_t k = 0; k < json_object_array_length(rules); k++)
            if (is_word(json_object_array_get_idx(rules, k), "name", name))
                return json_object_array_get_idx(rules, k);
    }
    return NULL;
}

static void check_explained_rule(const Case *c, const Files *f, Json *explained, Json *rule) {
    static const char *const words[] = {
            [NO] = "no", [YES] = "yes", [UNKNOWN] = "unknown", [CHANGED] = "changed"};
    Json *predicates = json_object_object_get(explained, "predicates");
    Expected e = {};

    assert_int_equal(json_object_get_boolean(json_object_object_get(explained, "holds")),
            rule_decides(c, f, rule, &e) && !e.changed);
    for (size_t i = 0; i < json_object_array_length(predicates); i++) {
        Json *predicate = json_object_array_get_idx(predicates, i);
        Answer a = predicate_holds(c, f, rule, member(predicate, "key"));

        if (is_word(predicate, "holds", words[a]))
            continue;
        show_case(f, c);
        fail_msg("%s: %s is %s, and the explanation says %s", member(rule, "name"), member(predicate, "key"),
                words[a], member(predicate, "holds"));
    }
}

static bool mentions(const char *text, const char *name) {
    for (const char *s = text; (s = strstr(s, name)); s++)
        if (strchr(" \"(\\", s[-1]) && !strchr("0123456789", s[strlen(name)]))
            return true;
    return false;
}

static void check_secrets(const Case *c, const Files *f, Json *rule, const char *told, int64_t *hidden) {
    if (who_holds(c, f, rule) == YES)
        return;
    (*hidden)++;
    if (!mentions(told, member(rule, "name")))
        return;
    show_case(f, c);
    fail_msg("%s does not concern the subject, who is told: %s", member(rule, "name"), told);
}

static void check_explanation(const Policy *policy, const Files *f, const Case *c, Audience audience) {
    const PolicyQuestion q = question_of(c);
    Json *told = policy_explain(policy, &q, audience, NULL), *considered;
    const char *text = json_object_to_json_string(told);
    Expected e = expect(c, f);
    int64_t hidden = 0;

    if (audience == AUDIENCE_SUBJECT && e.rule && who_holds(c, f, e.rule) != YES)
        e.rule = NULL;
    assert_string_equal(member(told, "effect"), e.effect);
    assert_string_equal(member(told, "rule") ?: "default", e.rule ? member(e.rule, "name") : "default");
    considered = json_object_object_get(told, "considered");
    for (size_t i = 0; i < json_object_array_length(considered); i++) {
        Json *explained = json_object_array_get_idx(considered, i);

        check_explained_rule(c, f, explained, find_rule(f, member(explained, "rule")));
    }
    for (size_t i = 0; audience == AUDIENCE_SUBJECT && i < f->n; i++) {
        Json *rules = json_object_object_get(f->files[i], "rules");

        for (size_t k = 0; k < json_object_array_length(rules); k++)
            check_secrets(c, f, json_object_array_get_idx(rules, k), text, &hidden);
    }
    assert_int_equal(json_object_get_int64(json_object_object_get(told, "hidden")), hidden);
    json_object_put(told);
}

static void check_concerns(const Policy *policy, const Files *f, const Case *c) {
    size_t n = 0;

    for (size_t i = 0; i < f->n; i++) {
        Json *rules = json_object_object_get(f->files[i], "rules");

        for (size_t k = 0; k < json_object_array_length(rules); k++, n++) {
            Json *rule = json_object_array_get_idx(rules, k);
            bool expected = who_holds(c, f, rule) == YES;

            if (rule_concerns(policy_rule(policy, n), &c->subject) == expected)
                continue;
            show_case(f, c);
            fail_msg("%s: concerns the subject: expected %d", member(rule, "name"), expected);
        }
    }
    assert_int_equal(policy_n_rules(policy), n);
}

/* Makes a copy whose pointers refer to itself. */
static void copy_case(const Case *from, Case *to) {
    *to = *from;
    to->subject.gids = to->subject_gids;
    to->device.group = from->device.group ? &to->group : NULL;
    to->sibling.group = to->device.group;
    to->device.next = from->device.next ? &to->sibling : NULL;
    to->group.members = from->group.members ? &to->device : NULL;
    to->facts.properties = to->properties;
    to->facts.caps = &to->caps;
    for (size_t i = 0; to->properties[i]; i++)
        to->properties[i] = to->property_texts[(size_t) (from->properties[i] - *from->property_texts) /
                sizeof(*from->property_texts)];
}

static void forget_uid(Case *c) {
    c->subject.uid = (uid_t) -1;
}
static void forget_groups(Case *c) {
    c->subject.n_gids = 0;
}
static void forget_cgroup(Case *c) {
    c->subject.cgroup = c->subject.unit = NULL;
}
static void forget_label(Case *c) {
    c->subject.label = NULL;
}
static void forget_capabilities(Case *c) {
    c->subject.capabilities_known = false;
}
static void forget_user_namespace(Case *c) {
    c->subject.user_namespace = NAMESPACE_UNKNOWN;
}
static void forget_pid_namespace(Case *c) {
    c->subject.pid_namespace = NAMESPACE_UNKNOWN;
}
static void forget_time(Case *c) {
    c->now_usec = 0;
}
static void forget_facts(Case *c) {
    c->has_facts = false;
}
static void forget_acs(Case *c) {
    c->facts.acs = ACS_UNKNOWN;
}
static void forget_caps(Case *c) {
    c->caps.known = 0;
}
static void forget_one_cap(Case *c) {
    c->caps.known &= c->caps.known - 1;
}
static void forget_removable(Case *c) {
    c->facts.removable = REMOVABLE_UNKNOWN;
}

static void check_forgotten(
        const Policy *policy, const Files *f, const Case *c, Effect before, const char *what) {
    Verdict v = evaluate(policy, c);

    if (v.effect == EFFECT_DENY || v.effect == before)
        return;
    show_case(f, c);
    fail_msg("%s before, %s by %s when the %s is not known", effect_to_string(before),
            effect_to_string(v.effect), rule_name(v.rule), what);
}

/* Fewer known facts must not allow more: deny must not become ask or allow, nor ask become allow. */
static void check_forgetting(Random *r, const Policy *policy, const Files *f, const Case *c, Effect before) {
    static const struct {
        const char *what;
        void (*forget)(Case *c);
    } ways[] = {
            {"uid", forget_uid},
            {"list of groups", forget_groups},
            {"cgroup", forget_cgroup},
            {"label", forget_label},
            {"set of capabilities", forget_capabilities},
            {"user namespace", forget_user_namespace},
            {"pid namespace", forget_pid_namespace},
            {"time", forget_time},
            {"whole of the facts", forget_facts},
            {"ACS path", forget_acs},
            {"removability", forget_removable},
            {"set of capabilities of the device", forget_caps},
            {"first capability of the device", forget_one_cap},
    };
    Case less, least;

    copy_case(c, &least);
    for (size_t i = 0; i < ELEMENTSOF(ways); i++) {
        copy_case(c, &less);
        ways[i].forget(&less);
        check_forgotten(policy, f, &less, before, ways[i].what);
        if (!chance(r, 50))
            continue;
        ways[i].forget(&least);
        check_forgotten(policy, f, &least, before, "sum of several facts");
    }
    for (unsigned bit = 1; bit <= DEVICE_FACT_SEEN_CAPS; bit <<= 1) {
        copy_case(c, &less);
        less.facts.known &= ~bit;
        check_forgotten(policy, f, &less, before, "fact");
    }
}

static void check_needed_facts(const Policy *policy, const Files *f, const Case *c) {
    Verdict v = evaluate(policy, c), w;
    Case less;

    copy_case(c, &less);
    less.facts.known &= policy_needed_facts(policy);
    w = evaluate(policy, &less);
    if (v.effect == w.effect && v.rule == w.rule && v.changed == w.changed)
        return;
    show_case(f, c);
    fail_msg("policy_needed_facts() is %#x, but others make a difference", policy_needed_facts(policy));
}

static void check_host_settings(const Policy *policy, const Files *f) {
    const char *mode = "off";

    for (size_t i = 0; i < f->n; i++) {
        Json *host = json_object_object_get(f->files[i], "host");

        if (host)
            mode = member(host, "noiommu");
    }
    assert_string_equal(noiommu_mode_to_string(policy_host_settings(policy).noiommu), mode);
}

static uint64_t current_seed; /* of the current case, for the message if it fails */

static void run_case(uint64_t seed, Seen *seen) {
    _cleanup_(policy_freep) Policy *policy = NULL;
    _cleanup_(files_done) Files files = {};
    Case cases[N_QUESTIONS];
    Random r = {seed};

    for (size_t i = 0; i < N_QUESTIONS; i++)
        make_case(&r, cases + i);
    make_files(&r, cases, &files);
    policy = parse(&files);
    check_host_settings(policy, &files);
    for (size_t i = 0; i < policy_n_rules(policy); i++)
        seen->in_shadow += is_in_shadow(&files, policy_rule(policy, i));
    for (size_t i = 0; i < N_QUESTIONS; i++) {
        Verdict v;

        check_verdict(policy, &files, cases + i, seen);
        check_concerns(policy, &files, cases + i);
        v = evaluate(policy, cases + i);
        /* This excludes a denial because a tag CHANGED. If the facts that show it are unknown, that rule only
         * does not match, as the manual page says, and another may. */
        if (v.effect != EFFECT_ALLOW && !v.changed)
            check_forgetting(&r, policy, &files, cases + i, v.effect);
        check_shadow(policy, &files, cases + i);
        check_needed_facts(policy, &files, cases + i);
    }
    check_explanation(policy, &files, cases, AUDIENCE_OPERATOR);
    check_explanation(policy, &files, cases, AUDIENCE_SUBJECT);
}

static uint64_t first_seed(void) {
    const char *text = getenv("VFIOD_TEST_SEED");
    uint32_t seed;

    if (text)
        return strtoull(text, NULL, 10);
    assert_int_equal(getrandom(&seed, sizeof(seed), 0), sizeof(seed));
    return seed;
}

static void test_against_reference(void **state) {
    uint64_t seed = first_seed();
    Seen seen = {};

    print_message("# VFIOD_TEST_SEED=%" PRIu64 "\n", seed);
    for (unsigned i = 0; i < N_CASES; i++) {
        current_seed = seed + i;
        run_case(current_seed, &seen);
    }
    current_seed = 0;
    print_message("# %u allowed, %u asked, %u denied (%u by default, %u changed), %u rules in shadow\n",
            seen.effects[EFFECT_ALLOW], seen.effects[EFFECT_ASK], seen.effects[EFFECT_DENY], seen.by_default,
            seen.changed, seen.in_shadow);
    assert_true(seen.effects[EFFECT_ALLOW] > N_CASES && seen.effects[EFFECT_ASK] > N_CASES / 4 &&
            seen.effects[EFFECT_DENY] > N_CASES && seen.by_default > N_CASES / 4 &&
            seen.changed > N_CASES / 20 && seen.in_shadow > N_CASES / 10);
}

/* With the guard this holds for every denial, and "ask" never becomes "allow". */
static void test_guarded(void **state) {
    uint64_t seed = first_seed();
    unsigned n_denied = 0, n_changed = 0, n_asked = 0;

    print_message("# VFIOD_TEST_SEED=%" PRIu64 "\n", seed);
    for (unsigned i = 0; i < N_CASES; i++) {
        _cleanup_(policy_freep) Policy *policy = NULL;
        _cleanup_(files_done) Files files = {};
        Random r = {current_seed = seed + i};
        Verdict v;
        Case c;

        make_case(&r, &c);
        make_guarded_file(&r, &c, &files);
        policy = parse(&files);
        v = evaluate(policy, &c);
        n_denied += v.effect == EFFECT_DENY;
        n_changed += v.changed;
        n_asked += v.effect == EFFECT_ASK;
        if (v.effect != EFFECT_ALLOW)
            check_forgetting(&r, policy, &files, &c, v.effect);
    }
    current_seed = 0;
    print_message("# %u denied, %u changed, %u asked\n", n_denied, n_changed, n_asked);
    assert_true(n_denied > N_CASES / 10 && n_changed > N_CASES / 100 && n_asked > N_CASES / 100);
}

static int show_seed(void **state) {
    if (current_seed != 0)
        print_error("VFIOD_TEST_SEED=%" PRIu64 " begins with this case\n", current_seed);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test_teardown(test_against_reference, show_seed),
            cmocka_unit_test_teardown(test_guarded, show_seed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
