/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/str.h"
#include "core/capability.h"
#include "core/pci-class.h"
#include "policy/parse.h"
#include "policy/rule.h"

static int resolve(
        _unused_ void *userdata, _unused_ bool is_group, _unused_ const char *name, _unused_ uint32_t *ret) {
    return -ENOENT;
}

static Policy *parse(const char *text) {
    _cleanup_(policy_parser_freep) PolicyParser *p = policy_parser_new(resolve, NULL);
    Policy *policy = NULL;

    assert_non_null(p);
    assert_int_equal(policy_parser_add(p, "f", text, strlen(text)), 0);
    if (policy_parser_n_errors(p) > 0)
        fail_msg("%s\n%s", text, policy_parser_error(p, 0));
    assert_int_equal(policy_parser_finish(p, &policy), 0);
    return policy;
}

static Verdict evaluate(const Policy *policy, const Subject *subject, const Device *device) {
    const PolicyQuestion question = {.subject = subject, .device = device};

    return policy_evaluate(policy, &question);
}

static gid_t alice_gids[] = {1000, 44, 2001};

static Subject alice(void) {
    Subject s = SUBJECT_NULL;

    s.uid = 1000;
    s.gids = alice_gids;
    s.n_gids = ELEMENTSOF(alice_gids);
    return s;
}

static Device edu(void) {
    return (Device){
            .name = {.kind = DEVICE_KIND_PCI, .pci_bus = 6, .slot = 0x0d},
            .vendor = 0x1234,
            .device = 0x11e8,
            .subsystem_vendor = 0x1af4,
            .subsystem_device = 0x1100,
            .class_code = 0x00ff00,
            .vfio_index = -1,
    };
}

/* One rule: does it decide about alice and the edu device at 06:0d.0, which has no driver? */
static void test_predicates(void **state) {
    static const struct {
        const char *who, *what;
        bool expected;
    } cases[] = {
            {"", "", true},
            {"\"user\":1000", "", true},
            {"\"user\":0", "", false},
            {"\"user\":[0,7,999,1000,1001]", "", true},
            {"\"user\":[0,7,999,1001]", "", false},
            {"\"group\":2001", "", true},
            {"\"group\":[5,44]", "", true},
            {"\"group\":[5,45]", "", false},
            {"\"user\":1000,\"group\":44", "", true},
            {"\"user\":1000,\"group\":45", "", false},
            {"\"user\":1001,\"group\":44", "", false},
            {"", "\"device\":\"06:0d.0\"", true},
            {"", "\"device\":\"06:0d.1\"", false},
            {"", "\"device\":[\"06:0d.1\",\"0000:06:*\"]", true},
            {"", "\"device\":\"0000:07:*\"", false},
            {"", "\"id\":\"1234:11e8\"", true},
            {"", "\"id\":\"1234:11e9\"", false},
            {"", "\"id\":\"1234:*\"", true},
            {"", "\"id\":\"*:11e8\"", true},
            {"", "\"id\":\"1234:11e8:1af4:1100\"", true},
            {"", "\"id\":\"1234:11e8:1af4:1101\"", false},
            {"", "\"id\":\"*:*:*:1100\"", true},
            {"", "\"id\":[\"8086:*\",\"*:*:1af4:*\"]", true},
            {"", "\"class\":\"00\"", true},
            {"", "\"class\":\"00ff\"", true},
            {"", "\"class\":\"00ff00\"", true},
            {"", "\"class\":\"00ff01\"", false},
            {"", "\"class\":[\"02\",\"03\"]", false},
            {"", "\"driver\":\"e1000e\"", false},
            {"\"user\":1000", "\"device\":\"06:0d.0\",\"id\":\"1234:11e8\",\"class\":\"00\"", true},
            {"\"user\":1000", "\"device\":\"06:0d.0\",\"id\":\"1234:11e8\",\"class\":\"02\"", false},
    };
    static const char *const effects[] = {"allow", "deny"};

    for (size_t i = 0; i < ELEMENTSOF(cases); i++)
        for (size_t k = 0; k < ELEMENTSOF(effects); k++) {
            _cleanup_free_ char *text =
                    format_string("{\"rules\":[{\"effect\":\"%s\",\"who\":{%s},\"what\":{%s}}]}", effects[k],
                            cases[i].who, cases[i].what);
            _cleanup_(policy_freep) Policy *policy = parse(text);
            Subject subject = alice();
            Device device = edu();
            Verdict v = evaluate(policy, &subject, &device);

            if ((v.rule != NULL) != cases[i].expected)
                fail_msg("%s", text);
            assert_int_equal(
                    v.effect, cases[i].expected && streq(effects[k], "allow") ? EFFECT_ALLOW : EFFECT_DENY);
        }
}

static void test_driver(void **state) {
    _cleanup_(policy_freep) Policy *policy = parse(
            "{\"rules\":[{\"effect\":\"allow\",\"who\":{},\"what\":{\"driver\":[\"e1000e\",\"igb\"]}}]}");
    Subject subject = alice();
    Device device = edu();

    assert_int_equal(evaluate(policy, &subject, &device).effect, EFFECT_DENY);
    device.driver = "igb";
    assert_int_equal(evaluate(policy, &subject, &device).effect, EFFECT_ALLOW);
    device.driver = "igbvf";
    assert_int_equal(evaluate(policy, &subject, &device).effect, EFFECT_DENY);
}

/* Without a rule everything is denied. */
static void test_default_denies(void **state) {
    _cleanup_(policy_freep) Policy *empty = parse("{\"rules\":[]}");
    const Policy *policies[] = {NULL, empty};
    Subject subject = alice();
    Device device = edu();

    for (size_t i = 0; i < ELEMENTSOF(policies); i++) {
        Verdict v = evaluate(policies[i], &subject, &device);

        assert_int_equal(v.effect, EFFECT_DENY);
        assert_null(v.rule);
        assert_null(v.terms);
    }
}

static void test_first_match_decides(void **state) {
    _cleanup_(policy_freep) Policy *policy =
            parse("{\"rules\":[\n"
                  "{\"name\":\"other\",\"effect\":\"deny\",\"who\":{\"user\":7},\"what\":{}},\n"
                  "{\"effect\":\"allow\",\"who\":{\"group\":44},\"what\":{},\"backend\":\"group\","
                  "\"reset\":\"optional\",\"siblings\":\"park\"},\n"
                  "{\"name\":\"late\",\"effect\":\"deny\",\"who\":{},\"what\":{}}]}");
    Subject subject = alice();
    Device device = edu();
    Verdict v;

    v = evaluate(policy, &subject, &device);
    assert_int_equal(v.effect, EFFECT_ALLOW);
    assert_string_equal(rule_name(v.rule), "#2");
    assert_string_equal(rule_origin(v.rule), "#2 (f:3)");
    assert_int_equal(v.terms->backends, 1U << BACKEND_GROUP);
    assert_int_equal(v.terms->reset, RESET_OPTIONAL);
    assert_int_equal(v.terms->siblings, SIBLINGS_PARK);

    subject.uid = 7;
    v = evaluate(policy, &subject, &device);
    assert_int_equal(v.effect, EFFECT_DENY);
    assert_string_equal(rule_origin(v.rule), "other (f:2)");
    assert_null(v.terms);

    subject.uid = 8;
    subject.n_gids = 1;
    v = evaluate(policy, &subject, &device);
    assert_int_equal(v.effect, EFFECT_DENY);
    assert_string_equal(rule_name(v.rule), "late");
}

/* Unknown facts never allow, and never let a request bypass a deny rule. */
static void test_unknown_facts(void **state) {
    static const struct {
        const char *who;
        bool unknown_uid, unknown_gids;
        bool allow_matches, deny_matches;
    } cases[] = {
            {"", true, false, false, true},
            {"\"user\":1000", true, false, false, true},
            {"\"user\":7", true, false, false, true},
            {"\"group\":44", true, false, false, true},
            {"\"group\":45", true, false, false, false},
            {"", false, true, true, true},
            {"\"user\":1000", false, true, true, true},
            {"\"user\":7", false, true, false, false},
            {"\"group\":44", false, true, false, true},
            {"\"user\":1000,\"group\":44", false, true, false, true},
            {"\"user\":7,\"group\":44", false, true, false, false},
            {"\"user\":7,\"group\":44", true, true, false, true},
    };

    for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
        _cleanup_free_ char *allow = format_string(
                                    "{\"rules\":[{\"effect\":\"allow\",\"who\":{%s},\"what\":{}}]}",
                                    cases[i].who),
                            *deny = format_string(
                                    "{\"rules\":[{\"effect\":\"deny\",\"who\":{%s},\"what\":{}}]}",
                                    cases[i].who);
        _cleanup_(policy_freep) Policy *allows = parse(allow), *denies = parse(deny);
        Subject subject = alice();
        Device device = edu();

        if (cases[i].unknown_uid)
            subject.uid = (uid_t) -1;
        if (cases[i].unknown_gids)
            subject.n_gids = 0;
        assert_int_equal(evaluate(allows, &subject, &device).rule != NULL, cases[i].allow_matches);
        assert_int_equal(evaluate(denies, &subject, &device).rule != NULL, cases[i].deny_matches);
    }
}

/* --- every predicate: holds, does not hold, unknown ---
 *
 * In one world all facts are known. Each case has what a rule requires of it. "forget" makes one fact
 * unknown. Each case is decided by a policy of that one rule, and by one that is long enough to have an
 * index. */

typedef struct World {
    Subject subject;
    Device device;
    Group group;
    DeviceFacts facts;
    uint64_t now_usec;
    bool no_facts;
} World;

static char *world_properties[] = {(char *) "ID_BUS=pci", (char *) "ID_PATH=pci-0000:06:0d.0",
        (char *) "EMPTY=", (char *) "SPLIT=a=b", NULL};

static void make_world(World *w) {
    *w = (World){.subject = alice(), .device = edu(), .facts = DEVICE_FACTS_NULL};
    w->subject.unit = (char *) "session-3.scope";
    w->subject.cgroup = (char *) "/user.slice/user-1000.slice/session-3.scope";
    w->subject.label = (char *) "unconfined_u:unconfined_r:unconfined_t:s0";
    w->subject.capabilities = UINT64_C(1) << 17; /* CAP_SYS_RAWIO */
    w->subject.capabilities_known = true;
    w->subject.user_namespace = w->subject.pid_namespace = NAMESPACE_HOST;
    w->device.driver = "e1000e";
    w->device.group = &w->group;
    w->group = (Group){.id = 7, .members = &w->device, .n_members = 1};
    w->facts.known = DEVICE_FACT_ALL;
    w->facts.numa_node = 1;
    w->facts.acs = ACS_COMPLETE;
    w->facts.reset_methods = 1U << RESET_METHOD_FLR;
    w->facts.removable = REMOVABLE_FIXED;
    w->facts.properties = world_properties;
    w->now_usec = UINT64_C(1798740000000000); /* 2026-12-31T18:00:00Z */
}

/* A device knows its parent through its family, which only an inventory creates. */
static Inventory *functions;

static void make_virtual(World *w) {
    const DeviceSnapshot s = {.name = {.kind = DEVICE_KIND_PCI, .pci_bus = 6, .slot = 0x10},
            .group = -1,
            .vfio_index = -1,
            .has_parent = true,
            .parent = {.kind = DEVICE_KIND_PCI, .pci_bus = 6}};
    Device *d;

    functions = functions ?: inventory_new();
    assert_non_null(functions);
    assert_true(inventory_update(functions, &s, &d, NULL) >= 0);
    w->device.family = d->family;
}

static void forget_uid(World *w) {
    w->subject.uid = (uid_t) -1;
}

static void forget_groups(World *w) {
    w->subject.n_gids = 0;
}

static void forget_cgroup(World *w) {
    w->subject.cgroup = NULL;
}

static void make_own_slice(World *w) {
    w->subject.cgroup = (char *) "/user.slice/user-1000.slice/user@1000.service/machine.slice/vm-1.service";
}

static void leave_unit(World *w) {
    w->subject.unit = NULL;
}

static void forget_label(World *w) {
    w->subject.label = NULL;
}

static void forget_capabilities(World *w) {
    w->subject.capabilities_known = false;
}

static void forget_user_namespace(World *w) {
    w->subject.user_namespace = NAMESPACE_UNKNOWN;
}

static void forget_pid_namespace(World *w) {
    w->subject.pid_namespace = NAMESPACE_UNKNOWN;
}

static void enter_container(World *w) {
    w->subject.user_namespace = NAMESPACE_OTHER;
}

static void come_through_scope(World *w) {
    w->subject.scope = (char *) "ci";
}

static void enter_sandbox(World *w) {
    w->subject.pid_namespace = NAMESPACE_OTHER;
    w->subject.user_namespace = NAMESPACE_UNKNOWN;
}

static void leave_group(World *w) {
    w->device.group = NULL;
}

static void join_group(World *w) {
    w->group.n_members = 2;
}

static void unbind(World *w) {
    w->device.driver = NULL;
}

static void forget_properties(World *w) {
    w->facts.known &= ~(unsigned) DEVICE_FACT_PROPERTIES;
}

static void lose_properties(World *w) {
    w->facts.properties = NULL;
}

static void forget_numa(World *w) {
    w->facts.known &= ~(unsigned) DEVICE_FACT_NUMA_NODE;
}

static void lose_numa(World *w) {
    w->facts.numa_node = -1;
}

static void forget_acs(World *w) {
    w->facts.acs = ACS_UNKNOWN;
}

static void not_read_acs(World *w) {
    w->facts.known &= ~(unsigned) DEVICE_FACT_ACS;
}

static void need_no_acs(World *w) {
    w->facts.acs = ACS_NOT_NEEDED;
}

static void break_acs(World *w) {
    w->facts.acs = ACS_INCOMPLETE;
}

static void forget_reset(World *w) {
    w->facts.known &= ~(unsigned) DEVICE_FACT_RESET_METHODS;
}

static void lose_reset(World *w) {
    w->facts.reset_methods = 0;
}

static void forget_removable(World *w) {
    w->facts.removable = REMOVABLE_UNKNOWN;
}

static void not_read_removable(World *w) {
    w->facts.known &= ~(unsigned) DEVICE_FACT_REMOVABLE;
}

static void become_vdpa(World *w) {
    assert_int_equal(device_name_parse("vdpa:vdpa0", &w->device.name), 0);
}

static void forget_time(World *w) {
    w->now_usec = 0;
}

static void forget_facts(World *w) {
    w->no_facts = true;
}

static const struct {
    const char *who, *what, *rest;
    void (*change)(World *w);
    Holds expected;
} world_cases[] = {
        {"", "", "", NULL, HOLDS_YES},
        {"", "", "", forget_uid, HOLDS_UNKNOWN},
        {"", "'driver':'nvme'", "", forget_uid, HOLDS_NO},
        {"'user':1000", "", "", forget_uid, HOLDS_UNKNOWN},
        {"'user':7", "", "", forget_uid, HOLDS_UNKNOWN},
        {"'group':44", "", "", forget_groups, HOLDS_UNKNOWN},
        {"'group':45", "", "", forget_groups, HOLDS_UNKNOWN},
        {"'unit':'session-*.scope'", "", "", NULL, HOLDS_YES},
        {"'unit':['x.service','session-3.scope']", "", "", NULL, HOLDS_YES},
        {"'unit':'session-?'", "", "", NULL, HOLDS_NO},
        {"'unit':'*'", "", "", leave_unit, HOLDS_NO},
        {"'unit':'*'", "", "", forget_cgroup, HOLDS_UNKNOWN},
        {"'unit':'x.service'", "", "", forget_cgroup, HOLDS_UNKNOWN},
        {"'slice':'user.slice'", "", "", NULL, HOLDS_YES},
        {"'slice':'user-[0-9]*.slice'", "", "", NULL, HOLDS_YES},
        {"'slice':'user-1001.slice'", "", "", NULL, HOLDS_NO},
        {"'slice':'user-1000.slice?*.slice'", "", "", NULL, HOLDS_NO},
        {"'slice':'session-3.sco[p]*'", "", "", NULL, HOLDS_NO}, /* not a slice */
        {"'slice':'user.slice'", "", "", forget_cgroup, HOLDS_UNKNOWN},
        /* Units that a user's own manager has created prove nothing. */
        {"'slice':'machine.slice'", "", "", make_own_slice, HOLDS_UNKNOWN},
        {"'slice':'user-1000.slice'", "", "", make_own_slice, HOLDS_YES},
        {"'slice':['machine.slice','user.slice']", "", "", make_own_slice, HOLDS_YES},
        {"'slice':'system.slice'", "", "", make_own_slice, HOLDS_NO},
        {"'cgroup':'/user.slice/*'", "", "", NULL, HOLDS_YES},
        {"'cgroup':'*/session-3.scope'", "", "", NULL, HOLDS_YES},
        {"'cgroup':'/user.slice'", "", "", NULL, HOLDS_NO},
        {"'cgroup':'*'", "", "", forget_cgroup, HOLDS_UNKNOWN},
        {"'label':'*:unconfined_t:*'", "", "", NULL, HOLDS_YES},
        {"'label':'svirt_t'", "", "", NULL, HOLDS_NO},
        {"'label':'*'", "", "", forget_label, HOLDS_UNKNOWN},
        {"'capability':'CAP_SYS_RAWIO'", "", "", NULL, HOLDS_YES},
        {"'capability':['CAP_SYS_ADMIN','CAP_SYS_RAWIO']", "", "", NULL, HOLDS_YES},
        {"'capability':'CAP_SYS_ADMIN'", "", "", NULL, HOLDS_NO},
        {"'capability':'CAP_SYS_ADMIN'", "", "", forget_capabilities, HOLDS_UNKNOWN},
        {"'capability':'CAP_SYS_RAWIO'", "", "", enter_container, HOLDS_NO},
        {"'capability':'CAP_SYS_RAWIO'", "", "", forget_user_namespace, HOLDS_UNKNOWN},
        {"'namespace':'host'", "", "", NULL, HOLDS_YES},
        {"'namespace':'other'", "", "", NULL, HOLDS_NO},
        {"'namespace':'host'", "", "", enter_container, HOLDS_NO},
        {"'namespace':'other'", "", "", enter_container, HOLDS_YES},
        {"'namespace':'other'", "", "", enter_sandbox, HOLDS_YES},
        {"'namespace':'host'", "", "", enter_sandbox, HOLDS_NO},
        {"'namespace':'host'", "", "", forget_user_namespace, HOLDS_UNKNOWN},
        {"'namespace':'other'", "", "", forget_pid_namespace, HOLDS_UNKNOWN},
        {"'namespace':['host','other']", "", "", forget_pid_namespace, HOLDS_UNKNOWN},
        {"'namespace':['host','other']", "", "", NULL, HOLDS_YES},
        {"'scope':'ci'", "", "", NULL, HOLDS_NO},
        {"'scope':'ci'", "", "", come_through_scope, HOLDS_YES},
        {"'scope':['lab','ci']", "", "", come_through_scope, HOLDS_YES},
        {"'scope':['lab','c','ci2']", "", "", come_through_scope, HOLDS_NO},
        {"'scope':'ci','user':7", "", "", come_through_scope, HOLDS_NO},
        {"", "'bus':'pci'", "", NULL, HOLDS_YES},
        {"", "'physical-function':'0000:06:00.0'", "", NULL, HOLDS_NO},
        {"", "'physical-function':'*'", "", NULL, HOLDS_NO},
        {"", "'physical-function':'06:00.0'", "", make_virtual, HOLDS_YES},
        {"", "'physical-function':['0000:07:*','0000:06:*']", "", make_virtual, HOLDS_YES},
        {"", "'physical-function':['0000:07:*','0000:06:0d.0']", "", make_virtual, HOLDS_NO},
        {"", "'physical-function':'0000:06:00.0','device':'0000:06:0d.0'", "", make_virtual, HOLDS_YES},
        {"", "'driver':'e1000e'", "", NULL, HOLDS_YES},
        {"", "'driver':'e1000e'", "", unbind, HOLDS_NO},
        {"", "'class':'00'", "", forget_facts, HOLDS_YES},
        {"", "'class':'ethernet'", "", NULL, HOLDS_NO},
        {"", "'group':'FINGERPRINT'", "", NULL, HOLDS_YES},
        {"", "'group':['0000000000000001','FINGERPRINT']", "", forget_facts, HOLDS_YES},
        {"", "'group':'0000000000000000'", "", NULL, HOLDS_NO},
        {"", "'group':'0000000000000000'", "", leave_group, HOLDS_NO},
        {"", "'bus':['mdev','vdpa']", "", become_vdpa, HOLDS_YES},
        {"", "'bus':['mdev','vdpa']", "", NULL, HOLDS_NO},
        {"", "'bus':'pci'", "", become_vdpa, HOLDS_NO},
        {"", "'device':'vdpa:*'", "", become_vdpa, HOLDS_YES},
        {"", "'device':'*'", "", become_vdpa, HOLDS_NO},
        {"", "'device':'vdpa:*','bus':'pci'", "", become_vdpa, HOLDS_NO},
        {"", "'bus':'vdpa','id':'*:*'", "", become_vdpa, HOLDS_NO},
        {"", "'bus':'vdpa','class':'00'", "", become_vdpa, HOLDS_NO},
        {"", "'bus':'vdpa','driver':'e1000e'", "", become_vdpa, HOLDS_YES},
        {"", "'property':{'ID_BUS':'pci'}", "", NULL, HOLDS_YES},
        {"", "'property':{'ID_BUS':['usb','p*'],'ID_PATH':'pci-0000:06:*'}", "", NULL, HOLDS_YES},
        {"", "'property':{'ID_BUS':'pci','ID_PATH':'pci-0000:07:*'}", "", NULL, HOLDS_NO},
        {"", "'property':{'ID_BU':'*'}", "", NULL, HOLDS_NO},
        {"", "'property':{'ID_BUS_':'*'}", "", NULL, HOLDS_NO},
        {"", "'property':{'id_bus':'*'}", "", NULL, HOLDS_NO},
        {"", "'property':{'EMPTY':'*'}", "", NULL, HOLDS_YES},
        {"", "'property':{'SPLIT':'a=b'}", "", NULL, HOLDS_YES},
        {"", "'property':{'ID_BUS':'usb'}", "", forget_properties, HOLDS_UNKNOWN},
        {"", "'property':{'ID_BUS':'pci'}", "", forget_facts, HOLDS_UNKNOWN},
        {"", "'property':{'ID_BUS':'pci'}", "", lose_properties, HOLDS_NO},
        {"", "'numa':1", "", NULL, HOLDS_YES},
        {"", "'numa':[0,2]", "", NULL, HOLDS_NO},
        {"", "'numa':[3,1,2]", "", NULL, HOLDS_YES},
        {"", "'numa':0", "", lose_numa, HOLDS_NO},
        {"", "'numa':0", "", forget_numa, HOLDS_UNKNOWN},
        {"", "'numa':1", "", forget_facts, HOLDS_UNKNOWN},
        {"", "'isolation':{'alone':true}", "", NULL, HOLDS_YES},
        {"", "'isolation':{'alone':false}", "", NULL, HOLDS_NO},
        {"", "'isolation':{'alone':false}", "", join_group, HOLDS_YES},
        {"", "'isolation':{'alone':true}", "", join_group, HOLDS_NO},
        {"", "'isolation':{'alone':true}", "", leave_group, HOLDS_UNKNOWN},
        {"", "'isolation':{'alone':false}", "", leave_group, HOLDS_UNKNOWN},
        {"", "'isolation':{'acs':true}", "", NULL, HOLDS_YES},
        {"", "'isolation':{'acs':true}", "", need_no_acs, HOLDS_YES},
        {"", "'isolation':{'acs':true}", "", break_acs, HOLDS_NO},
        {"", "'isolation':{'acs':false}", "", break_acs, HOLDS_YES},
        {"", "'isolation':{'acs':false}", "", forget_acs, HOLDS_UNKNOWN},
        {"", "'isolation':{'acs':true}", "", not_read_acs, HOLDS_UNKNOWN},
        {"", "'isolation':{'reset':true}", "", NULL, HOLDS_YES},
        {"", "'isolation':{'reset':false}", "", lose_reset, HOLDS_YES},
        {"", "'isolation':{'reset':true}", "", lose_reset, HOLDS_NO},
        {"", "'isolation':{'reset':false}", "", forget_reset, HOLDS_UNKNOWN},
        {"", "'isolation':{'removable':false}", "", NULL, HOLDS_YES},
        {"", "'isolation':{'removable':true}", "", NULL, HOLDS_NO},
        {"", "'isolation':{'removable':false}", "", forget_removable, HOLDS_UNKNOWN},
        {"", "'isolation':{'removable':false}", "", not_read_removable, HOLDS_UNKNOWN},
        {"", "'isolation':{'alone':true,'acs':true,'reset':true,'removable':false}", "", NULL, HOLDS_YES},
        {"", "'isolation':{'alone':true,'acs':false}", "", NULL, HOLDS_NO},
        {"", "'isolation':{'alone':false,'acs':true}", "", forget_acs, HOLDS_NO}, /* no outweighs unknown */
        {"", "", "'until':'2026-12-31T18:00:01Z'", NULL, HOLDS_YES},
        {"", "", "'until':'2026-12-31T18:00:00Z'", NULL, HOLDS_NO},
        {"", "", "'until':'2026-12-31T18:00:01Z'", forget_time, HOLDS_UNKNOWN},
};

/* The rule, followed by so many others that there is an index. Each has its own features. */
static char *write_world_rule(size_t i, const char *effect, bool long_policy, const char *fingerprint) {
    _cleanup_strbuf_ StrBuf b = {};
    char *text, *found;

    strbuf_addf(&b, "{'rules':[{'effect':'%s','who':{%s},'what':{%s}%s%s}", effect, world_cases[i].who,
            world_cases[i].what, world_cases[i].rest[0] ? "," : "", world_cases[i].rest);
    for (unsigned k = 0; long_policy && k < 20; k++)
        strbuf_addf(&b,
                ",{'name':'other "
                "%u','effect':'allow','who':{'user':%u,'group':1,'unit':'other-%u.service','label':'l'},"
                "'what':{'driver':'other-%u','property':{'P':'%u'},'numa':%u}}",
                k, k + 1, k, k, k, k + 10);
    strbuf_add(&b, "]}");
    text = strbuf_steal(&b);
    assert_non_null(text);
    for (char *c = text; *c; c++)
        if (*c == '\'')
            *c = '"';
    while ((found = strstr(text, "FINGERPRINT"))) {
        char *whole = format_string(
                "%.*s%s%s", (int) (found - text), text, fingerprint, found + strlen("FINGERPRINT"));

        free(text);
        text = whole;
    }
    return text;
}

static void check_world_case(size_t i, const char *effect, bool long_policy) {
    _cleanup_free_ char *text = NULL;
    _cleanup_(policy_freep) Policy *policy = NULL;
    Holds h = world_cases[i].expected;
    bool deny = streq(effect, "deny"), decides;
    char fingerprint[17];
    Verdict v;
    World w;

    make_world(&w);
    (void) snprintf(fingerprint, sizeof(fingerprint), "%016" PRIx64, group_fingerprint(&w.group));
    if (world_cases[i].change)
        world_cases[i].change(&w);
    text = write_world_rule(i, effect, long_policy, fingerprint);
    policy = parse(text);
    v = policy_evaluate(policy,
            &(const PolicyQuestion){.subject = &w.subject,
                    .device = &w.device,
                    .facts = w.no_facts ? NULL : &w.facts,
                    .now_usec = w.now_usec});

    decides = h == HOLDS_YES || (h == HOLDS_UNKNOWN && deny);
    if ((v.rule == policy_rule(policy, 0)) != decides)
        fail_msg("case %zu: the rule %s\n%s", i, decides ? "should decide" : "should not decide", text);
    assert_int_equal(v.effect, decides ? effect_from_string(effect) : EFFECT_DENY);
    assert_false(v.changed);
    if (!decides)
        assert_null(v.rule);
}

static void test_every_predicate(void **state) {
    for (size_t i = 0; i < ELEMENTSOF(world_cases); i++)
        for (Effect effect = 0; effect < _EFFECT_MAX; effect++) {
            check_world_case(i, effect_to_string(effect), false);
            check_world_case(i, effect_to_string(effect), true);
        }
}

/* A rule from when there were only PCI devices allows no other kinds, but still denies all kinds. */
static void test_kinds(void **state) {
    static const char *const rests[] = {"", "'driver':'e1000e'", "'numa':1"};

    for (size_t i = 0; i < ELEMENTSOF(rests); i++)
        for (Effect effect = 0; effect < _EFFECT_MAX; effect++) {
            _cleanup_free_ char *text = format_string(
                    "{'rules':[{'effect':'%s','who':{},'what':{%s}}]}", effect_to_string(effect), rests[i]);
            _cleanup_(policy_freep) Policy *policy = NULL;
            PolicyQuestion question;
            World w;

            for (char *c = text; *c; c++)
                if (*c == '\'')
                    *c = '"';
            policy = parse(text);
            make_world(&w);
            question = (PolicyQuestion){
                    .subject = &w.subject, .device = &w.device, .facts = &w.facts, .now_usec = w.now_usec};
            assert_non_null(policy_evaluate(policy, &question).rule);
            become_vdpa(&w);
            assert_int_equal(policy_evaluate(policy, &question).rule != NULL, effect == EFFECT_DENY);
        }
}

/* A scope removes what everybody may have, and adds what its rules name. */
static void test_scopes(void **state) {
    static const struct {
        const char *first, *second;
        Effect plain, scoped; /* for callers without a scope, and with the scope "ci" */
    } cases[] = {
            {"'allow','who':{", "'allow','who':{", EFFECT_ALLOW, EFFECT_DENY},
            {"'ask','who':{", "'allow','who':{", EFFECT_ASK, EFFECT_DENY},
            {"'allow','who':{'user':1000", "'allow','who':{'scope':'ci'", EFFECT_ALLOW, EFFECT_ALLOW},
            {"'ask','who':{'scope':['lab','ci']", "'allow','who':{", EFFECT_ALLOW, EFFECT_ASK},
            {"'allow','who':{'scope':'lab'", "'deny','who':{", EFFECT_DENY, EFFECT_DENY},
            {"'deny','who':{", "'allow','who':{'scope':'ci'", EFFECT_DENY, EFFECT_DENY},
            {"'deny','who':{'scope':'ci'", "'allow','who':{", EFFECT_ALLOW, EFFECT_DENY},
            {"'deny','who':{'user':7", "'allow','who':{'scope':'ci'", EFFECT_DENY, EFFECT_ALLOW},
    };

    for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
        _cleanup_free_ char *text =
                format_string("{'rules':[{'effect':%s},'what':{}},{'effect':%s},'what':{}}]}", cases[i].first,
                        cases[i].second);
        _cleanup_(policy_freep) Policy *policy = NULL;
        PolicyQuestion q = {};
        World w;

        assert_non_null(text);
        for (char *c = text; *c; c++)
            if (*c == '\'')
                *c = '"';
        policy = parse(text);
        make_world(&w);
        q = (PolicyQuestion){
                .subject = &w.subject, .device = &w.device, .facts = &w.facts, .now_usec = w.now_usec};
        assert_int_equal(policy_evaluate(policy, &q).effect, cases[i].plain);
        come_through_scope(&w);
        assert_int_equal(policy_evaluate(policy, &q).effect, cases[i].scoped);
        /* Callers do not learn of rules for other scopes either. */
        for (size_t k = 0; k < policy_n_rules(policy); k++) {
            const char *rule = k == 0 ? cases[i].first : cases[i].second;

            if (!strstr(rule, "'ci'") && !startswith(rule, "'deny'"))
                assert_false(rule_concerns(policy_rule(policy, k), &w.subject));
        }
    }
}

/* A rule is shown to subjects that it concerns: all its requirements for the subject must be known to
 * hold. */
static void test_concerns(void **state) {
    for (size_t i = 0; i < ELEMENTSOF(world_cases); i++) {
        _cleanup_free_ char *text = NULL;
        _cleanup_(policy_freep) Policy *policy = NULL;
        bool expected;
        World w;

        /* no fact of the device is needed */
        if (world_cases[i].what[0] != '\0' || world_cases[i].rest[0] != '\0')
            continue;
        make_world(&w);
        if (world_cases[i].change)
            world_cases[i].change(&w);
        text = write_world_rule(i, "deny", false, "");
        policy = parse(text);
        expected = world_cases[i].expected == HOLDS_YES;
        if (rule_concerns(policy_rule(policy, 0), &w.subject) != expected)
            fail_msg("case %zu\n%s", i, text);
    }
}

static void test_needed_facts(void **state) {
    static const struct {
        const char *what;
        unsigned facts;
    } cases[] = {
            {"", 0},
            {"'device':'06:0d.0','id':'1234:*','class':'02','driver':'a','bus':'pci'", 0},
            {"'group':'0123456789abcdef','isolation':{'alone':true}", 0},
            {"'property':{'A':'b'}", DEVICE_FACT_PROPERTIES},
            {"'numa':0", DEVICE_FACT_NUMA_NODE},
            {"'isolation':{'acs':true,'reset':false}", DEVICE_FACT_ACS | DEVICE_FACT_RESET_METHODS},
            {"'isolation':{'removable':false}", DEVICE_FACT_REMOVABLE},
    };

    assert_int_equal(policy_needed_facts(NULL), 0);
    for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
        _cleanup_free_ char *text = format_string(
                "{'rules':[{'effect':'deny','who':{},'what':{}},{'effect':'allow','who':{},'what':{%s}}]}",
                cases[i].what);
        _cleanup_(policy_freep) Policy *policy = NULL;

        for (char *c = text; *c; c++)
            if (*c == '\'')
                *c = '"';
        policy = parse(text);
        assert_int_equal(policy_needed_facts(policy), cases[i].facts);
    }
}

static void test_tables(void **state) {
    for (Effect e = 0; e < _EFFECT_MAX; e++)
        assert_int_equal(effect_from_string(effect_to_string(e)), e);
    for (ResetDemand r = 0; r < _RESET_DEMAND_MAX; r++)
        assert_int_equal(reset_demand_from_string(reset_demand_to_string(r)), r);
    for (SiblingDemand s = 0; s < _SIBLING_DEMAND_MAX; s++)
        assert_int_equal(sibling_demand_from_string(sibling_demand_to_string(s)), s);
    for (HostCriticalDemand h = 0; h < _HOST_CRITICAL_DEMAND_MAX; h++)
        assert_int_equal(host_critical_demand_from_string(host_critical_demand_to_string(h)), h);
    for (GrantKind g = 0; g < _GRANT_KIND_MAX; g++)
        assert_int_equal(grant_kind_from_string(grant_kind_to_string(g)), g);
    for (NoiommuMode m = 0; m < _NOIOMMU_MODE_MAX; m++)
        assert_int_equal(noiommu_mode_from_string(noiommu_mode_to_string(m)), m);
    for (Holds h = 0; h < _HOLDS_MAX; h++)
        assert_int_equal(holds_from_string(holds_to_string(h)), h);
    for (PredicateKind k = 0; k < _PREDICATE_MAX; k++)
        assert_non_null(predicate_key(k));
    for (unsigned i = 0; i < CAPABILITIES_MAX; i++)
        assert_int_equal(capability_from_name(capability_name(i)), (int) i);
    assert_null(capability_name(CAPABILITIES_MAX));
    assert_int_equal(capability_from_name("CAP_sys_rawio"), -EINVAL);
    for (const PciClass *c = pci_classes; c->name; c++) {
        bool found = false;

        for (const char *const *name = pci_class_names(); *name; name++)
            found |= streq(*name, c->name);
        assert_true(found);
        assert_int_equal(c->value & ~c->mask, 0);
    }
    /* the value of zeroed memory */
    assert_int_equal(HOST_CRITICAL_REFUSE, 0);
    assert_int_equal(NOIOMMU_OFF, 0);
    assert_int_equal(HOLDS_NO, 0);
    assert_int_equal(EFFECT_DENY, 0);
    assert_int_equal(RESET_REQUIRED, 0);
    assert_int_equal(SIBLINGS_REFUSE, 0);
}

/* There are more lists of rules than a question can have features: each of these groups has its rule, and
 * only the last one matches. */
static void test_many_groups(void **state) {
    gid_t gids[72];
    Subject subject = alice();
    Device device = edu();

    for (unsigned n = ELEMENTSOF(gids) - 8; n <= ELEMENTSOF(gids); n++) {
        _cleanup_(policy_freep) Policy *policy = NULL;
        _cleanup_strbuf_ StrBuf b = {};
        Verdict v;

        strbuf_add(&b, "{\"rules\":[");
        for (unsigned i = 0; i < n; i++) {
            gids[i] = 5000 + i;
            strbuf_addf(&b, "%s{\"effect\":\"allow\",\"who\":{\"group\":%u},\"what\":{\"driver\":\"x\"}}",
                    i == 0 ? "" : ",\n", gids[i]);
        }
        strbuf_addf(&b, ",{\"effect\":\"ask\",\"who\":{\"group\":%u},\"what\":{\"id\":\"1234:*\"}}]}",
                gids[n - 1]);
        assert_int_equal(b.error, 0);
        policy = parse(b.text);
        subject.gids = gids;
        subject.n_gids = n;
        v = evaluate(policy, &subject, &device);
        assert_int_equal(v.effect, EFFECT_ASK);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_predicates),
            cmocka_unit_test(test_driver),
            cmocka_unit_test(test_default_denies),
            cmocka_unit_test(test_first_match_decides),
            cmocka_unit_test(test_unknown_facts),
            cmocka_unit_test(test_every_predicate),
            cmocka_unit_test(test_kinds),
            cmocka_unit_test(test_scopes),
            cmocka_unit_test(test_concerns),
            cmocka_unit_test(test_needed_facts),
            cmocka_unit_test(test_tables),
            cmocka_unit_test(test_many_groups),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
