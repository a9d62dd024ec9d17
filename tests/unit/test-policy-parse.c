/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#include <cmocka.h>

#include "base/json-text.h"
#include "base/str.h"
#include "policy/parse.h"
#include "policy/rule.h"

static unsigned n_lookups;

static int resolve(void *userdata, bool is_group, const char *name, uint32_t *ret) {
    static const struct {
        bool is_group;
        const char *name;
        uint32_t id;
    } accounts[] = {
            {false, "root", 0},
            {false, "alice", 1000},
            {false, "bob", 1001},
            {false, "20231234", 50123},
            {true, "alice", 2000},
            {true, "edu", 2001},
    };

    assert_ptr_equal(userdata, &n_lookups);
    n_lookups++;
    if (streq(name, "ldap") || streq(name, "777"))
        return -EIO;
    for (size_t i = 0; i < ELEMENTSOF(accounts); i++) {
        if (accounts[i].is_group != is_group || !streq(accounts[i].name, name))
            continue;
        *ret = accounts[i].id;
        return 0;
    }
    return -ENOENT;
}

static PolicyParser *new_parser(void) {
    PolicyParser *p = policy_parser_new(resolve, &n_lookups);

    assert_non_null(p);
    return p;
}

static void add(PolicyParser *p, const char *file, const char *text) {
    /* A copy of the exact size, so that a sanitizer detects a read beyond the end. */
    size_t size = strlen(text);
    char *copy = malloc(size ?: 1);

    assert_non_null(copy);
    memcpy(copy, text, size);
    assert_int_equal(policy_parser_add(p, file, copy, size), 0);
    free(copy);
}

static void expect_errors(PolicyParser *p, const char *text, const char *const *errors) {
    Policy *none = NULL;
    size_t n = 0;
    int r;

    /* some errors are found only when all files are known */
    r = policy_parser_finish(p, &none);
    for (; errors[n]; n++) {
        if (n >= policy_parser_n_errors(p))
            fail_msg("%s\nnot reported: %s", text, errors[n]);
        if (!streq(policy_parser_error(p, n), errors[n]))
            fail_msg("%s\ngot      %s\nexpected %s", text, policy_parser_error(p, n), errors[n]);
    }
    if (policy_parser_n_errors(p) != n)
        fail_msg("%s\nalso got %s", text, policy_parser_error(p, n));
    assert_int_equal(r, n == 0 ? 0 : -EINVAL);
    if (n > 0)
        assert_null(none);
    policy_free(none);
}

/* A rule in which only the member under test is wrong. It is at 2:1, its rule at 1:11. */
#define ALLOW(member) "{\"rules\":[{\"effect\":\"allow\",\"who\":{},\"what\":{}\n" member "}]}"
#define WHO(member) "{\"rules\":[{\"effect\":\"allow\",\"what\":{},\"who\":{\n" member "}}]}"
#define WHAT(member) "{\"rules\":[{\"effect\":\"allow\",\"who\":{},\"what\":{\n" member "}}]}"

#define NAMED(member)                                                                                        \
    "{\"rules\":[{\"effect\":\"allow\",\"who\":{},\"what\":{\"device\":\"06:0d.0\"}\n" member "}]}"
#define TAG(members) "{\"tags\":{\n\"t\":{" members "}}}"
#define IDENT "\"id\":\"1234:11e8\""
#define SLOTTED "\"slot\":\"06:0d.0\","
#define DENIES(line, key)                                                                                    \
    "f:" line ":1: error: \"" key "\" describes what a rule allows; it has no meaning in a deny rule"

static const struct {
    const char *text;
    const char *errors[20];
} refused[] = {
        /* the file */
        {"{", {"f:1:2: error: expected a key in double quotes or '}', found the end of the file"}},
        {"[]", {"f:1:1: error: a policy file must be an object, found an array"}},
        {"{}", {"f:1:1: error: a policy file requires one of the keys \"host\", \"tags\", \"rules\""}},
        {"{\"rules\":{}}", {"f:1:10: error: \"rules\" must be an array of rules, found an object"}},
        {"{\"rules\":null}", {"f:1:10: error: \"rules\" must be an array of rules, found null"}},
        {"{\"rule\":[]}",
                {"f:1:2: error: unknown key \"rule\" in a policy file, did you mean \"rules\"?",
                        "f:1:1: error: a policy file requires one of the keys \"host\", \"tags\", "
                        "\"rules\""}},
        {"{\"rules\":[],\"rules\":[]}", {"f:1:13: error: duplicate key \"rules\", first at 1:2"}},
        {"{\"rules\":[],\"description\":1}",
                {"f:1:27: error: \"description\" must be a string, found an integer"}},
        {"{\"rules\":[],\"version\":1}",
                {"f:1:13: error: unknown key \"version\" in a policy file, known are \"$schema\", "
                 "\"description\", \"host\", \"tags\", \"rules\""}},
        {"{\"rules\":[[],1.5]}",
                {"f:1:11: error: a rule must be an object, found an array",
                        "f:1:14: error: a rule must be an object, found a number that is not a 64-bit "
                        "integer"}},
        /* the rule */
        {"{\"rules\":[\n {}]}",
                {"f:2:2: error: a rule requires the key \"effect\"",
                        "f:2:2: error: a rule requires the key \"who\"",
                        "f:2:2: error: a rule requires the key \"what\""}},
        {"{\"rules\":[{\"efect\":\"allow\",\"who\":{},\"what\":{}}]}",
                {"f:1:12: error: unknown key \"efect\" in a rule, did you mean \"effect\"?"}},
        {ALLOW(",\"x\\u001b[2J\":1"),
                {"f:2:2: error: unknown key \"x\\x1b[2J\" in a rule, known are \"name\", \"effect\", "
                 "\"who\", "
                 "\"what\", \"until\", \"backend\", \"grant\", \"tether\", \"reset\", \"siblings\", "
                 "\"host-critical\", "
                 "\"memlock\", \"untainted\", \"reason\", \"limits\", \"noiommu\", \"network\", "
                 "\"priority\", \"eviction-delay\", \"max-duration\", \"preemptible\", \"scrub\", "
                 "\"stop-after\", \"drain-timeout\", \"sleep-delay\", \"driver\", \"d3cold\""}},
        {"{\"rules\":[{\"effect\":true,\"who\":[],\"what\":\"*\"}]}",
                {"f:1:21: error: \"effect\" must be \"allow\", \"deny\" or \"ask\", found a boolean",
                        "f:1:32: error: \"who\" must be an object ({} is anybody), found an array",
                        "f:1:42: error: \"what\" must be an object ({} is any device), found a string"}},
        {"{\"rules\":[{\"effect\":\"alow\",\"who\":{},\"what\":{}}]}",
                {"f:1:21: error: unknown effect \"alow\", did you mean \"allow\"?"}},
        {"{\"rules\":[{\"effect\":\"\",\"who\":{},\"what\":{}}]}",
                {"f:1:21: error: unknown effect \"\", expected \"allow\", \"deny\" or \"ask\""}},
        {"{\"rules\":[{\"effect\":[\"allow\"],\"who\":{},\"what\":{}}]}",
                {"f:1:21: error: \"effect\" must be \"allow\", \"deny\" or \"ask\", found an array"}},
        {"{\"rules\":[{\"effect\":\"deny\",\"who\":{},\"what\":{},\n\"reset\":\"optional\",\n\"backend\":"
         "\"group\"}]}",
                {"f:2:1: error: \"reset\" describes what a rule allows; it has no meaning in a deny rule",
                        "f:3:1: error: \"backend\" describes what a rule allows; it has no meaning in a deny "
                        "rule"}},
        {ALLOW(",\"name\":\"\""),
                {"f:2:9: error: the name of a rule must have 1 to 64 bytes, all printable"}},
        {ALLOW(",\"name\":\"a\\nb\""),
                {"f:2:9: error: the name of a rule must have 1 to 64 bytes, all printable"}},
        {ALLOW(",\"name\":\"12345678901234567890123456789012345678901234567890123456789012345\""),
                {"f:2:9: error: the name of a rule must have 1 to 64 bytes, all printable"}},
        {ALLOW(",\"name\":7"), {"f:2:9: error: \"name\" must be a string, found an integer"}},
        {ALLOW(",\"backend\":\"iomufd\""),
                {"f:2:12: error: unknown backend \"iomufd\", did you mean \"iommufd\"?"}},
        {ALLOW(",\"tether\":\"lifline\""),
                {"f:2:11: error: unknown tether \"lifline\", did you mean \"lifeline\"?"}},
        {ALLOW(",\"tether\":[]"), {"f:2:11: error: \"tether\" is an empty list, which matches nothing"}},
        {ALLOW(",\"tether\":[\"unit\",1]"),
                {"f:2:19: error: an element of \"tether\" must be \"lifeline\", \"process\", \"connection\", "
                 "\"unit\" or \"explicit\", found an integer"}},
        {ALLOW(",\"backend\":[]"), {"f:2:12: error: \"backend\" is an empty list, which matches nothing"}},
        {ALLOW(",\"backend\":[\"group\",\"group\"]"), {"f:2:21: error: repeated in the list, first at 2:13"}},
        {ALLOW(",\"backend\":{}"),
                {"f:2:12: error: \"backend\" must be \"iommufd\", \"group\", \"compat\" or \"vhost-vdpa\", "
                 "or a list of "
                 "these, found an "
                 "object"}},
        {ALLOW(",\"reset\":\"yes\""),
                {"f:2:10: error: unknown value of \"reset\": \"yes\", expected \"required\" or "
                 "\"optional\""}},
        {ALLOW(",\"siblings\":\"prak\""),
                {"f:2:13: error: unknown value of \"siblings\": \"prak\", did you mean \"park\"?"}},
        /* who */
        {WHO("\"user\":\"\""), {"f:2:8: error: the name of a user must have 1 to 256 bytes"}},
        {WHO("\"group\":\"\""), {"f:2:9: error: the name of a group must have 1 to 256 bytes"}},
        {WHO("\"user\":-1"), {"f:2:8: error: a uid must be a number from 0 to 4294967294"}},
        {WHO("\"user\":4294967295"), {"f:2:8: error: a uid must be a number from 0 to 4294967294"}},
        {WHO("\"user\":\"4294967295\""), {"f:2:8: error: a uid must be a number from 0 to 4294967294"}},
        {WHO("\"user\":\"99999999999999999999999\""),
                {"f:2:8: error: a uid must be a number from 0 to 4294967294"}},
        {WHO("\"group\":9223372036854775807"), {"f:2:9: error: a gid must be a number from 0 to 4294967294"}},
        {WHO("\"group\":1e3"),
                {"f:2:9: error: \"group\" must be a group name or a gid, or a list of these, found a number "
                 "that "
                 "is not a 64-bit integer"}},
        {WHO("\"user\":null"),
                {"f:2:8: error: \"user\" must be a user name or a uid, or a list of these, found null"}},
        {WHO("\"user\":[]"), {"f:2:8: error: \"user\" is an empty list, which matches nothing"}},
        {WHO("\"user\":[\"alice\",[\"bob\"],7,7,\"alice\"]"),
                {"f:2:27: error: repeated in the list, first at 2:25",
                        "f:2:29: error: repeated in the list, first at 2:9",
                        "f:2:17: error: an element of \"user\" must be a user name or a uid, found an "
                        "array"}},
        {WHO("\"uid\":1000"),
                {"f:2:1: error: unknown key \"uid\" in \"who\", known are \"user\", \"group\", "
                 "\"unit\", "
                 "\"slice\", \"cgroup\", \"label\", \"capability\", \"namespace\", \"scope\""}},
        {WHO("\"scope\":\"ci*\""),
                {"f:2:9: error: \"ci*\" looks like a glob, but the name of a scope is compared as it is "
                 "written: list "
                 "the scopes"}},
        {WHO("\"scope\":[\"ci\",\"../x\"]"),
                {"f:2:15: error: \"../x\" is not the name of a scope: 1 to 64 letters, digits, '.', '_' and "
                 "'-', not "
                 "beginning with '.' or '-'"}},
        {WHO("\"scope\":7"),
                {"f:2:9: error: \"scope\" must be the name of a scope, or a list of these, found an "
                 "integer"}},
        {WHO("\"users\":\"alice\""),
                {"f:2:1: error: unknown key \"users\" in \"who\", did you mean \"user\"?"}},
        /* what */
        {WHAT("\"device\":\"06:*\""),
                {"f:2:10: error: \"06:*\" can never match a name like 0000:06:0d.0, did you mean "
                 "\"0000:06:*\"?"}},
        {WHAT("\"device\":\"00000000:3B:00.*\""),
                {"f:2:10: error: \"00000000:3B:00.*\" can never match a name like 0000:06:0d.0, did you mean "
                 "\"0000:3B:00.*\"?"}},
        {WHAT("\"device\":[\"0000:06:0d.0\",\n\"eth0\"]"),
                {"f:3:1: error: \"eth0\" is neither the name of a device, like pci:0000:06:0d.0, nor a glob "
                 "over "
                 "names"}},
        {WHAT("\"id\":\"1234\""), {"f:2:6: error: \"1234\" is not an id, did you mean \"1234:*\"?"}},
        {WHAT("\"id\":\"12345\""),
                {"f:2:6: error: \"12345\" is not an id, expected VENDOR:DEVICE or "
                 "VENDOR:DEVICE:VENDOR:DEVICE "
                 "of "
                 "the subsystem, each four hex digits or *, like \"1234:11e8\""}},
        {WHAT("\"id\":4660"),
                {"f:2:6: error: \"id\" must be a string like \"1234:11e8\", or a list of these, found an "
                 "integer"}},
        {WHAT("\"class\":\"020\""),
                {"f:2:9: error: \"020\" is not a class, expected 2, 4 or 6 hex digits like \"0200\", or a "
                 "name "
                 "like \"ethernet\""}},
        {WHAT("\"class\":\"0x02\""), {"f:2:9: error: \"0x02\" is not a class, did you mean \"02\"?"}},
        {WHAT("\"class\":\"03*\""), {"f:2:9: error: \"03*\" is not a class, did you mean \"03\"?"}},
        {WHAT("\"id\":\"0x10de:0x1C03\""),
                {"f:2:6: error: \"0x10de:0x1C03\" is not an id, did you mean \"10de:1C03\"?"}},
        {WHAT("\"driver\":\"nvidia*\""),
                {"f:2:10: error: \"nvidia*\" looks like a glob, but the name of a driver is compared as it "
                 "is "
                 "written: list the drivers"}},
        {WHAT("\"property\":{\"ID_*\":\"x\"}"),
                {"f:2:13: error: the name of a property must have 1 to 255 bytes, all printable, none of "
                 "them "
                 "\"=\", \"*\", \"?\" or \"[\""}},
        {WHAT("\"property\":{\"PCI_ID\":\"10de:*\"}"),
                {"f:2:22: error: \"10de:*\" can never match: the kernel writes this property in upper case, "
                 "did you mean \"10DE:*\"?"}},
        {WHAT("\"class\":\"\""),
                {"f:2:9: error: \"\" is not a class, expected 2, 4 or 6 hex digits like \"0200\", or a name "
                 "like \"ethernet\""}},
        {WHAT("\"class\":\"02000000\""),
                {"f:2:9: error: \"02000000\" is not a class, expected 2, 4 or 6 hex digits like \"0200\", or "
                 "a name "
                 "like \"ethernet\""}},
        {WHAT("\"driver\":\"\""), {"f:2:10: error: \"\" is not the name of a driver, like \"e1000e\""}},
        {WHAT("\"driver\":\"../x\""),
                {"f:2:10: error: \"../x\" is not the name of a driver, like \"e1000e\""}},
        {WHAT("\"driver\":\"a b\""), {"f:2:10: error: \"a b\" is not the name of a driver, like \"e1000e\""}},
        {WHAT("\"driver\":\"caf\xc3\xa9\""),
                {"f:2:10: error: \"caf\xc3\xa9\" is not the name of a driver, like \"e1000e\""}},
        {WHAT("\"vendor\":\"1234\""),
                {"f:2:1: error: unknown key \"vendor\" in \"what\", known are \"device\", "
                 "\"physical-function\", \"id\", "
                 "\"class\", "
                 "\"driver\", \"bus\", \"group\", \"tag\", \"property\", \"numa\", \"isolation\", "
                 "\"capabilities\""}},
        /* the host */
        {"{\"host\":{}}", {NULL}},
        {"{\"host\":{\"noiommu\":\"of\"}}",
                {"f:1:20: error: unknown value of \"noiommu\": \"of\", did you mean \"off\"?"}},
        {"{\"host\":{\"noiommu\":true}}",
                {"f:1:20: error: \"noiommu\" must be \"off\", \"on\" or \"managed\", found a boolean"}},
        {"{\"host\":{\"noiomu\":\"on\"}}",
                {"f:1:10: error: unknown key \"noiomu\" in \"host\", did you mean \"noiommu\"?"}},
        {"{\"host\":{\"reservation-ttl\":0}}", {NULL}},
        {"{\"host\":{\"reservation-ttl\":86400}}", {NULL}},
        {"{\"host\":{\"reservation-ttl\":86401}}", {"f:1:28: error: this must be a number from 0 to 86400"}},
        {"{\"host\":{\"reservation-ttl\":-1}}", {"f:1:28: error: this must be a number from 0 to 86400"}},
        {"{\"host\":{\"reservation-ttl\":\"1h\"}}",
                {"f:1:28: error: \"reservation-ttl\" must be a number of seconds, found a string"}},
        {"{\"host\":[]}",
                {"f:1:9: error: \"host\" must be an object like {\"noiommu\": \"off\"}, found an array"}},
#define VFS(text) "{\"host\":{\"virtual-functions\":[" text "]}}"
        {VFS("{\"device\":\"3b:00.0\",\"count\":8},{\"device\":\"0000:3b:*\",\"count\":65535,\"autoprobe\":"
             "false}"),
                {NULL}},
        {VFS(""), {NULL}},
        {"{\"host\":{\"virtual-functions\":{}}}",
                {"f:1:30: error: \"virtual-functions\" must be a list of objects like {\"device\": "
                 "\"0000:3b:00.0\", \"count\": 8}, found an object"}},
        {VFS("8"),
                {"f:1:31: error: expected an object like {\"device\": \"0000:3b:00.0\", \"count\": 8}, found "
                 "an "
                 "integer"}},
        {VFS("\n{\"device\":\"3b:00.0\"}"),
                {"f:2:1: error: an element of \"virtual-functions\" requires the key \"count\""}},
        {VFS("\n{\"device\":\"3b:00.0\",\"count\":0}"),
                {"f:2:29: error: this must be a number from 1 to 65535"}},
        {VFS("\n{\"device\":\"3b:00.0\",\"count\":65536}"),
                {"f:2:29: error: this must be a number from 1 to 65535"}},
        {VFS("\n{\"device\":\"3b:00.0\",\"count\":-1}"),
                {"f:2:29: error: this must be a number from 1 to 65535"}},
        {VFS("\n{\"device\":\"3b:00.0\",\"count\":8,\"autoprobe\":\"no\"}"),
                {"f:2:43: error: \"autoprobe\" must be true or false, found a string"}},
        {VFS("\n{\"device\":\"3b:00.0\",\"cuont\":8,\"count\":8}"),
                {"f:2:21: error: unknown key \"cuont\" in an element of \"virtual-functions\", did you mean "
                 "\"count\"?"}},
        {VFS("\n{\"device\":\"vdpa:*\",\"count\":8}"),
                {"f:2:11: error: \"vdpa:*\" is no PCI device, and only these have virtual functions"}},
#define TEMPLATES(text) "{\"host\":{\"templates\":[" text "]}}"
        {TEMPLATES("{\"name\":\"a\",\"parent\":\"0000:06:*\",\"type\":\"GRID P40-2Q\"}"), {NULL}},
        {TEMPLATES(""), {NULL}},
        {"{\"host\":{\"templates\":{}}}",
                {"f:1:22: error: \"templates\" must be a list of objects like {\"name\": \"vgpu\", "
                 "\"parent\": "
                 "\"0000:06:00.0\", \"type\": \"nvidia-474\"}, found an object"}},
        {TEMPLATES("\n{\"name\":\"a\",\"parent\":\"b\"}"),
                {"f:2:1: error: an element of \"templates\" requires the key \"type\""}},
        {TEMPLATES("\n{\"name\":\"a\",\"parent\":\"b/c\",\"type\":\"d\"}"),
                {"f:2:22: error: \"b/c\" is not the name of a parent as in /sys/class/mdev_bus, like "
                 "\"0000:06:00.0\", nor a glob over such names"}},
        {TEMPLATES("\n{\"name\":\"a\",\"parent\":\"b\",\"type\":\"mtty/c\"}"),
                {"f:2:33: error: \"mtty/c\" is not a type of mediated devices as 'vfioctl types' shows them, "
                 "like \"nvidia-474\""}},
        {TEMPLATES("\n{\"name\":\"a b\",\"parent\":\"b\",\"type\":\"c\"}"),
                {"f:2:9: error: \"a b\" is not the name of a template: at most 38 of the characters "
                 "A-Za-z0-9._:@,+-, and the first is a letter or a digit"}},
        {TEMPLATES("{\"name\":\"a\",\"parent\":\"b\",\"type\":\"c\"},"
                   "\n{\"name\":\"a\",\"parent\":\"d\",\"type\":\"e\"}"),
                {"f:2:1: error: there is a template of this name at f:1:23 already"}},
        {WHAT("\"physical-function\":[\"3b:00.0\",\"0000:3c:*\"]"), {NULL}},
        {WHAT("\"physical-function\":\"mdev:*\""),
                {"f:2:21: error: \"mdev:*\" is no PCI device, and only these have virtual functions"}},
        {WHAT("\"physical-function\":8"),
                {"f:2:21: error: \"physical-function\" must be the name of a device or a glob, or a list of "
                 "these, "
                 "found an integer"}},
        {VFS("{\"device\":\"3b:00.0\",\"count\":8},\n{\"device\":\"pci:0000:3b:00.0\",\"count\":8}"),
                {"f:2:1: error: the virtual functions of this device are already declared at f:1:31"}},
        {"{\"rules\":[],\"$schema\":{}}", {"f:1:23: error: \"$schema\" must be a string, found an object"}},
        /* tags */
        {"{\"tags\":[]}", {"f:1:9: error: \"tags\" must be an object of tags, found an array"}},
        {"{\"tags\":{\n\"Nic\":{}}}",
                {"f:2:1: error: the name of a tag must have 1 to 64 of the characters a-z, 0-9, \".\", "
                 "\"_\", \"-\""}},
        {"{\"tags\":{\n\"\":{}}}",
                {"f:2:1: error: the name of a tag must have 1 to 64 of the characters a-z, 0-9, \".\", "
                 "\"_\", \"-\""}},
        {"{\"tags\":{\n\"12345678901234567890123456789012345678901234567890123456789012345\":{}}}",
                {"f:2:1: error: the name of a tag must have 1 to 64 of the characters a-z, 0-9, \".\", "
                 "\"_\", \"-\""}},
        {TAG(""),
                {"f:2:5: error: a tag requires the key \"id\"",
                        "f:2:5: error: a tag requires \"slot\" or \"path\": where the card is plugged in"}},
        {TAG("\"slot\":\"06:0d.0\""), {"f:2:5: error: a tag requires the key \"id\""}},
        {TAG("\"id\":\"1234:11e8\",\"serial\":\"00-1b-21-ff-ff-a1-b2-c3\""),
                {"f:2:5: error: a tag requires \"slot\" or \"path\": where the card is plugged in"}},
        {"{\"tags\":{\n\"t\":7}}",
                {"f:2:5: error: \"a tag\" must be an object like {\"slot\": \"06:0d.0\", \"id\": "
                 "\"1234:11e8\"}, or a "
                 "list of these, found an integer"}},
        {"{\"tags\":{\n\"t\":[]}}", {"f:2:5: error: \"a tag\" is an empty list, which matches nothing"}},
        {TAG(IDENT ",\"slot\":\"0000:06:*\""),
                {"f:2:30: error: \"0000:06:*\" is not the name of a device, like pci:0000:06:0d.0"}},
        {TAG(IDENT ",\"path\":\"00:1c.0/00.0\""),
                {"f:2:30: error: \"00:1c.0/00.0\" is not a device path, expected one like "
                 "\"0000:00:1c.0/00.0\", in lower case"}},
        {TAG(IDENT ",\"path\":\"0000:00:1C.0\""),
                {"f:2:30: error: \"0000:00:1C.0\" is not a device path, expected one like "
                 "\"0000:00:1c.0/00.0\", in lower case"}},
        {TAG(IDENT ",\"path\":\"0000:00:1c.0/\""),
                {"f:2:30: error: \"0000:00:1c.0/\" is not a device path, expected one like "
                 "\"0000:00:1c.0/00.0\", in lower case"}},
        {TAG(IDENT ",\"path\":\"0000:00:1c.0/20.0\""),
                {"f:2:30: error: \"0000:00:1c.0/20.0\" is not a device path, expected one like "
                 "\"0000:00:1c.0/00.0\", in lower case"}},
        {TAG("\"slot\":\"06:0d.0\",\"id\":\"1234:*\""),
                {"f:2:28: error: \"1234:*\" is not the id of a card, expected VENDOR:DEVICE or "
                 "VENDOR:DEVICE:VENDOR:DEVICE of the subsystem, each four hex digits, like \"1234:11e8\""}},
        {TAG(SLOTTED IDENT ",\"serial\":\"00-1B-21-ff-ff-a1-b2-c3\""),
                {"f:2:49: error: \"00-1B-21-ff-ff-a1-b2-c3\" is not a serial number, expected one like "
                 "\"00-1b-21-ff-ff-a1-b2-c3\", in lower case"}},
        {TAG(SLOTTED IDENT ",\"serial\":\"00-1b-21-ff-ff-a1-b2\""),
                {"f:2:49: error: \"00-1b-21-ff-ff-a1-b2\" is not a serial number, expected one like "
                 "\"00-1b-21-ff-ff-a1-b2-c3\", in lower case"}},
        {TAG(SLOTTED IDENT ",\"sreial\":\"\""),
                {"f:2:40: error: unknown key \"sreial\" in a tag, did you mean \"serial\"?"}},
        /* more of who */
        {WHO("\"unit\":\"\""), {"f:2:8: error: a glob must have 1 to 255 bytes, all printable"}},
        {WHO("\"unit\":\"a\\u0007\""), {"f:2:8: error: a glob must have 1 to 255 bytes, all printable"}},
        {WHO("\"unit\":\"a[b\""), {"f:2:8: error: \"a[b\" has a '[' without ']'"}},
        {WHO("\"unit\":\"[]\""), {"f:2:8: error: \"[]\" has a '[' without ']'"}},
        {WHO("\"unit\":7"),
                {"f:2:8: error: \"unit\" must be a glob over names of units, or a list of these, found an "
                 "integer"}},
        {WHO("\"unit\":\"crio\""),
                {"f:2:8: error: \"crio\" can never match: the names of units end in \".service\" or "
                 "\".scope\", did you mean \"crio.service\"?"}},
        {WHO("\"unit\":\"backup-*.timer\""),
                {"f:2:8: error: \"backup-*.timer\" can never match: the names of units end in \".service\" "
                 "or \".scope\", did you mean \"backup-*.service\"?"}},
        {WHO("\"unit\":\"vm-*.slice\""),
                {"f:2:8: error: \"vm-*.slice\" can never match: this is the name of a slice, use the key "
                 "\"slice\""}},
        {WHO("\"unit\":\"/system.slice/crio.service\""),
                {"f:2:8: error: \"/system.slice/crio.service\" can never match: the name of a unit has no "
                 "\"/\"; paths are for \"cgroup\""}},
        {WHO("\"unit\":\"{a,b}.service\""),
                {"f:2:8: error: \"{a,b}.service\": a glob has no alternatives in braces, write a list of "
                 "globs"}},
        {WHO("\"unit\":\"vm-[[:digit:]].service\""),
                {"f:2:8: error: \"vm-[[:digit:]].service\": a glob has no classes of characters like "
                 "[:digit:], write a range like [0-9]"}},
        {WHO("\"unit\":\"^vm-.*$\""),
                {"f:2:8: error: \"^vm-.*$\": this is a glob and not a regular expression: \"*\" stands for "
                 "any text and \".\" for itself"}},
        {WHO("\"unit\":\"a (b).service\""),
                {"f:2:8: error: \"a (b).service\" can never match: names of units consist of letters, digits "
                 "and \":\", \"-\", \"_\", \".\", \"\\\", \"@\""}},
        {WHO("\"slice\":\"user-1000\""),
                {"f:2:9: error: \"user-1000\" can never match: the names of slices end in \".slice\", did "
                 "you mean \"user-1000.slice\"?"}},
        {WHO("\"slice\":\"*.scope\""),
                {"f:2:9: error: \"*.scope\" can never match: the names of slices end in \".slice\""}},
        {WHO("\"slice\":\"user.slice/user-1000.slice\""),
                {"f:2:9: error: \"user.slice/user-1000.slice\" can never match: a slice is named without the "
                 "slices that it is in, did you mean \"user-1000.slice\"?"}},
        {WHO("\"slice\":\"-.slice\""),
                {"f:2:9: error: \"-.slice\" can never match: everything is in the root slice and no path "
                 "names it; leave \"slice\" out"}},
        {WHO("\"slice\":\"a--b.slice\""),
                {"f:2:9: error: \"a--b.slice\" can never match: each \"-\" in the name of a slice stands "
                 "between two slices"}},
        {WHO("\"cgroup\":\"user.slice\""),
                {"f:2:10: error: \"user.slice\" can never match: the path of a cgroup begins with \"/\", did "
                 "you mean \"/user.slice\"?"}},
        {WHO("\"cgroup\":\"0::/user.slice\""),
                {"f:2:10: error: \"0::/user.slice\" can never match: the path of a cgroup begins with \"/\", "
                 "did you mean \"/user.slice\"?"}},
        {WHO("\"cgroup\":\"/sys/fs/cgroup/user.slice\""),
                {"f:2:10: error: \"/sys/fs/cgroup/user.slice\" can never match: the path of a cgroup begins "
                 "below /sys/fs/cgroup, did you mean \"/user.slice\"?"}},
        {WHO("\"cgroup\":\"/user.slice/\""),
                {"f:2:10: error: \"/user.slice/\" can never match: the path of a cgroup does not end with "
                 "\"/\", did you mean \"/user.slice\"?"}},
        {WHO("\"user\":\"ali*\""),
                {"f:2:8: error: \"ali*\" looks like a glob, but the name of a user is compared as it is "
                 "written: list the users, or leave \"user\" out"}},
        {WHO("\"group\":\"*\""),
                {"f:2:9: error: \"*\" looks like a glob, but the name of a group is compared as it is "
                 "written: list the groups, or leave \"group\" out"}},
        {WHO("\"user\":\"%edu\""),
                {"f:2:8: error: \"%edu\" is not the name of a user, did you mean \"group\": \"edu\"?"}},
        {WHO("\"group\":\"@edu\""),
                {"f:2:9: error: \"@edu\" is not the name of a group, did you mean \"group\": \"edu\"?"}},
        {WHO("\"label\":true"),
                {"f:2:9: error: \"label\" must be a glob over security labels, or a list of these, found a "
                 "boolean"}},
        {WHO("\"capability\":\"CAP_SYS_RAWOI\""),
                {"f:2:14: error: unknown capability \"CAP_SYS_RAWOI\", did you mean \"CAP_SYS_RAWIO\"?"}},
        {WHO("\"capability\":\"root\""),
                {"f:2:14: error: unknown capability \"root\", expected a name like \"CAP_SYS_RAWIO\""}},
        {WHO("\"namespace\":\"unknown\""),
                {"f:2:13: error: unknown namespace \"unknown\", expected \"host\" or \"other\""}},
        /* more of what */
        {WHAT("\"class\":\"ehternet\""),
                {"f:2:9: error: \"ehternet\" is not a class, did you mean \"ethernet\"?"}},
        {WHAT("\"bus\":\"pcie\""), {"f:2:7: error: unknown bus \"pcie\", did you mean \"pci\"?"}},
        {WHAT("\"bus\":[]"), {"f:2:7: error: \"bus\" is an empty list, which matches nothing"}},
        {WHAT("\"group\":\"7\""),
                {"f:2:9: error: \"7\" is not the fingerprint of a group, expected 16 hex digits as "
                 "'vfioctl status group:N' shows them; the number of a group changes from boot to boot"}},
        {WHAT("\"group\":7"),
                {"f:2:9: error: \"group\" must be the fingerprint of a group, 16 hex digits in a string, or "
                 "a list of "
                 "these, found an integer"}},
        {WHAT("\"tag\":\"nic\""), {"f:2:7: error: unknown tag \"nic\", no file defines it"}},
        {WHAT("\"property\":{}"), {"f:2:12: error: \"property\" is empty and has no effect"}},
        {WHAT("\"property\":{\"\":\"x\"}"),
                {"f:2:13: error: the name of a property must have 1 to 255 bytes, all printable, none of "
                 "them \"=\", \"*\", \"?\" or \"[\""}},
        {WHAT("\"property\":{\"A=B\":\"x\"}"),
                {"f:2:13: error: the name of a property must have 1 to 255 bytes, all printable, none of "
                 "them \"=\", \"*\", \"?\" or \"[\""}},
        {WHAT("\"property\":{\"A\":7,\"B\":[\"x\",\"x\"],\"C\":[]}"),
                {"f:2:17: error: \"A\" must be a glob over its values, or a list of these, found an integer",
                        "f:2:28: error: repeated in the list, first at 2:24",
                        "f:2:37: error: \"C\" is an empty list, which matches nothing"}},
        {WHAT("\"capabilities\":\"pasid,tele\\u0007port\""),
                {"f:2:16: error: \"tele\\x07port\" is not a capability, expected " DEVICE_NEEDS_WORDS
                 ", with a comma in between"}},
        {WHAT("\"capabilities\":[\"pasid\"]"),
                {"f:2:16: error: \"capabilities\" must be a string like \"pasid,migration\", found an "
                 "array"}},
        {WHAT("\"numa\":-1"), {"f:2:8: error: this must be a number from 0 to 65535"}},
        {WHAT("\"numa\":[0,65536]"), {"f:2:11: error: this must be a number from 0 to 65535"}},
        {WHAT("\"isolation\":{}"), {"f:2:13: error: \"isolation\" is empty and has no effect"}},
        {WHAT("\"isolation\":{\"acs\":\"yes\"}"),
                {"f:2:20: error: \"acs\" must be true or false, found a string"}},
        {WHAT("\"isolation\":{\"alnoe\":true}"),
                {"f:2:14: error: unknown key \"alnoe\" in \"isolation\", did you mean \"alone\"?"}},
        /* what it allows */
        {ALLOW(",\"until\":\"2026-12-31\""),
                {"f:2:10: error: \"2026-12-31\" is not a time, expected one with a zone, like "
                 "\"2026-12-31T18:00:00Z\""}},
        {ALLOW(",\"until\":7"),
                {"f:2:10: error: \"until\" must be a point in time like \"2026-12-31T18:00:00Z\", found an "
                 "integer"}},
        {ALLOW(",\"grant\":\"fds\""), {"f:2:10: error: unknown grant \"fds\", did you mean \"fd\"?"}},
        {ALLOW(",\"network\":{\"mac\":\"01:00:5e:00:00:01\"}"),
                {"f:2:19: error: \"01:00:5e:00:00:01\" is a multicast address"}},
        {ALLOW(",\"network\":{\"mac\":[\"52:54:00:*:*:*\",\"52:54\"]}"),
                {"f:2:37: error: \"52:54\" is not a MAC address like 52:54:00:12:34:56, with * for any "
                 "octet"}},
        {ALLOW(",\"network\":{\"vlan\":4095}"),
                {"f:2:20: error: this is not a VLAN, expected a number from 0 (none) to 4094, or two of them "
                 "like \"100-199\""}},
        {ALLOW(",\"network\":{\"trust\":\"of\"}"),
                {"f:2:21: error: unknown value of \"trust\": \"of\", did you mean \"off\"?"}},
        {ALLOW(",\"network\":{\"trusted\":\"on\"}"),
                {"f:2:13: error: unknown key \"trusted\" in \"network\", did you mean \"trust\"?"}},
        {ALLOW(",\"backend\":\"noiommu\""),
                {"f:2:12: error: \"noiommu\" is no backend to choose, it needs a key of its own: "
                 "\"noiommu\": "
                 "{\"reason\": \"…\"}"}},
        {ALLOW(",\"host-critical\":\"alow\""),
                {"f:2:18: error: unknown value of \"host-critical\": \"alow\", did you mean \"allow\"?"}},
        {ALLOW(",\"memlock\":-1"), {"f:2:12: error: a number of bytes cannot be less than 0"}},
        {ALLOW(",\"memlock\":\"16GB\""),
                {"f:2:12: error: \"16GB\" is not a size, expected a number and an optional suffix K, M, G or "
                 "T, like "
                 "\"16G\""}},
        {ALLOW(",\"memlock\":\"9999999999999999T\""),
                {"f:2:12: error: \"9999999999999999T\" is not a size, expected a number and an optional "
                 "suffix K, M, G or T, like \"16G\""}},
        {ALLOW(",\"memlock\":1.5"),
                {"f:2:12: error: \"memlock\" must be a number of bytes or a size like \"16G\", found a "
                 "number that is "
                 "not a 64-bit integer"}},
        {ALLOW(",\"untainted\":\"yes\""),
                {"f:2:14: error: \"untainted\" must be true or false, found a string"}},
        {ALLOW(",\"reason\":\"require\""),
                {"f:2:11: error: unknown value of \"reason\": \"require\", did you mean \"required\"?"}},
        {ALLOW(",\"limits\":{}"), {"f:2:11: error: \"limits\" is empty and has no effect"}},
        {ALLOW(",\"limits\":{\"claims\":0,\"devices\":2147483648,\"claims-per-user\":\"1\",\"device-per-"
               "user\":1}"),
                {"f:2:21: error: this must be a number from 1 to 2147483647",
                        "f:2:33: error: this must be a number from 1 to 2147483647",
                        "f:2:62: error: \"claims-per-user\" must be a number of claims, found a string",
                        "f:2:66: error: unknown key \"device-per-user\" in \"limits\", did you mean "
                        "\"devices-per-user\"?"}},
        {ALLOW(",\"limits\":{\"pinned\":\"much\"}"),
                {"f:2:21: error: \"much\" is not a size, expected a number and an optional suffix K, M, G or "
                 "T, like "
                 "\"16G\""}},
        {ALLOW(",\"noiommu\":{}"),
                {"f:2:12: error: \"noiommu\" requires the key \"reason\"",
                        "f:2:2: error: a rule with \"noiommu\" must name its devices: \"device\" without any "
                        "glob, or "
                        "\"tag\""}},
        {NAMED(",\"noiommu\":{\"reason\":\"\"}"),
                {"f:2:22: error: the reason must have 1 to 200 bytes, all printable"}},
        {NAMED(",\"noiommu\":{\"reason\":\"x\",\"waive-cap-sys-rawio\":false}"),
                {"f:2:48: error: \"waive-cap-sys-rawio\" can only be true; leave it out to require the "
                 "capability"}},
        {NAMED(",\"noiommu\":true"),
                {"f:2:12: error: \"noiommu\" must be an object with a \"reason\", found a boolean"}},
        {"{\"rules\":[{\"effect\":\"ask\",\"who\":{},\"what\":{\"device\":[\"06:0d.0\",\"0000:06:0e.*\"]},"
         "\n\"noiommu\":"
         "{\"reason\":\"x\"}}]}",
                {"f:2:1: error: a rule with \"noiommu\" must name its devices: \"device\" without any glob, "
                 "or \"tag\""}},
        {"{\"rules\":[{\"effect\":\"deny\",\"who\":{},\"what\":{},\n\"grant\":\"fd\",\n\"host-critical\":"
         "\"allow\",\n"
         "\"memlock\":1,\n\"untainted\":true,\n\"reason\":\"required\",\n\"limits\":{\"claims\":1},"
         "\n\"noiommu\":"
         "{\"reason\":\"x\"},\n\"priority\":1,\n\"eviction-delay\":1,\n\"max-duration\":1,\n\"preemptible\":"
         "true,\n\"scrub\":\"a@.service\",\n\"stop-after\":1,\n\"drain-timeout\":1,\n\"sleep-delay\":1,"
         "\n\"driver\":\"vfio-pci\",\n\"d3cold\":true}]}",
                {DENIES("2", "grant"), DENIES("3", "host-critical"), DENIES("4", "memlock"),
                        DENIES("5", "untainted"), DENIES("6", "reason"), DENIES("7", "limits"),
                        DENIES("8", "noiommu"), DENIES("9", "priority"), DENIES("10", "eviction-delay"),
                        DENIES("11", "max-duration"), DENIES("12", "preemptible"), DENIES("13", "scrub"),
                        DENIES("14", "stop-after"), DENIES("15", "drain-timeout"),
                        DENIES("16", "sleep-delay"), DENIES("17", "driver"), DENIES("18", "d3cold")}},
        {ALLOW(",\"driver\":\"../x\""),
                {"f:2:11: error: this must be the name of a vfio driver, at most 63 letters, digits, \"-\" "
                 "and "
                 "\"_\", like \"mlx5_vfio_pci\""}},
        {ALLOW(",\"d3cold\":1"), {"f:2:11: error: \"d3cold\" must be true or false, found an integer"}},
        {ALLOW(",\"scrub\":\"../a@.service\""),
                {"f:2:10: error: this must be the name of a template unit, at most 63 letters, digits and "
                 "\"-_.:\", like \"vfiod-scrub@.service\""}},
        {"{\"rules\":[{\"effect\":\"allow\",\"who\":{},\"what\":{},\n\"priority\":101},\n{\"effect\":\"ask\","
         "\"who\":"
         "{},\"what\":{},\"priority\":-101},\n{\"effect\":\"ask\",\"who\":{},\"what\":{},\"priority\":"
         "\"high\"}]}",
                {"f:2:12: error: this must be a number from -100 to 100",
                        "f:3:47: error: this must be a number from -100 to 100",
                        "f:4:47: error: \"priority\" must be a number, more for who goes first, found a "
                        "string"}},
};

static void test_refused(void **state) {
    for (size_t i = 0; i < ELEMENTSOF(refused); i++) {
        _cleanup_(policy_parser_freep) PolicyParser *p = new_parser();

        add(p, "f", refused[i].text);
        expect_errors(p, refused[i].text, refused[i].errors);
    }
}

static void test_bad_ids(void **state) {
    static const char *const bad[] = {"", ":", "1234:", ":1234", "1234:11e8:", "1234:11e8:1af4", "1234:11e",
            "1234:11e8:1af4:1100:0", "12345:11e8", "0x12:11e8", "1234:11g8", "**:11e8", "1234 :11e8",
            "1234:*:*"};

    for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
        _cleanup_(policy_parser_freep) PolicyParser *p = new_parser();
        _cleanup_free_ char *text = format_string(WHAT("\"id\":\"%s\""), bad[i]);

        assert_non_null(text);
        add(p, "f", text);
        assert_int_equal(policy_parser_n_errors(p), 1);
        assert_non_null(startswith(policy_parser_error(p, 0), "f:2:6: error: "));
        assert_non_null(strstr(policy_parser_error(p, 0), "is not an id"));
    }
}

/* All errors of all files are reported, in the order of the files. A file that is not JSON has only one. */
static void test_several_files(void **state) {
    static const char *const errors[] = {
            "/etc/vfiod/policy.d/50-edu.json:7:5: error: unknown key \"efect\" in a rule, did you mean "
            "\"effect\"?",
            "/etc/vfiod/policy.d/60-broken.json:2:1: error: expected a value after ':', found the end of the "
            "file",
            "/etc/vfiod/policy.d/70-\\x1b.json: error: cannot open: Permission denied",
            "80.json:1:1: error: a policy file requires one of the keys \"host\", \"tags\", \"rules\"",
            NULL,
    };
    _cleanup_(policy_parser_freep) PolicyParser *p = new_parser();

    add(p, "/etc/vfiod/policy.d/50-edu.json",
            "// who may use the boards\n"
            "{\n"
            "  \"rules\": [\n"
            "  {\n"
            "    \"who\": {},\n"
            "    \"what\": {},\n"
            "    \"efect\": \"allow\"\n"
            "  }]\n"
            "}\n");
    add(p, "/etc/vfiod/policy.d/60-broken.json", "{\"rules\":\n");
    assert_int_equal(
            policy_parser_add_error(p, "/etc/vfiod/policy.d/70-\x1b.json", "cannot open: Permission denied"),
            0);
    add(p, "80.json", "{}");
    expect_errors(p, "several files", errors);
}

static void test_duplicate_names(void **state) {
    static const char *const errors[] = {
            "b.json:2:9: error: rule \"edu\" already exists at a.json:2:9",
            "b.json:3:9: error: rule \"edu\" already exists at a.json:2:9",
            NULL,
    };
    _cleanup_(policy_parser_freep) PolicyParser *p = new_parser();
    const char *rest = "\"effect\":\"deny\",\"who\":{},\"what\":{}}";
    _cleanup_free_ char *a = format_string("{\"rules\":[\n{\"name\":\"edu\",%s]}", rest);
    _cleanup_free_ char *b = format_string(
            "{\"rules\":[\n{\"name\":\"edu\",%s,\n{\"name\":\"edu\",%s,\n{%s]}", rest, rest, rest);

    add(p, "a.json", a);
    add(p, "b.json", b);
    expect_errors(p, "duplicate names", errors);
}

/* Many errors are counted, but not all are kept. */
static void test_many_errors(void **state) {
    _cleanup_(policy_parser_freep) PolicyParser *p = new_parser();
    _cleanup_strbuf_ StrBuf b = {};
    Policy *none = NULL;

    strbuf_add(&b, "{\"rules\":[0");
    for (unsigned i = 1; i < POLICY_ERRORS_MAX; i++)
        strbuf_add(&b, ",0");
    strbuf_add(&b, "]}");
    add(p, "f", b.text);
    assert_int_equal(policy_parser_n_errors(p), POLICY_ERRORS_MAX);
    add(p, "g", "{\"rules\":[0,0,0]}");
    assert_int_equal(policy_parser_n_errors(p), POLICY_ERRORS_MAX + 1);
    assert_string_equal(policy_parser_error(p, POLICY_ERRORS_MAX - 1),
            "f:1:137: error: a rule must be an object, found an integer");
    assert_string_equal(policy_parser_error(p, POLICY_ERRORS_MAX), "and 3 more errors");
    assert_int_equal(policy_parser_finish(p, &none), -EINVAL);
}

static Policy *parse(const char *text) {
    _cleanup_(policy_parser_freep) PolicyParser *p = new_parser();
    Policy *policy = NULL;

    add(p, "f", text);
    if (policy_parser_n_errors(p) > 0)
        fail_msg("%s\n%s", text, policy_parser_error(p, 0));
    assert_int_equal(policy_parser_finish(p, &policy), 0);
    return policy;
}

static void test_no_rules(void **state) {
    _cleanup_(policy_parser_freep) PolicyParser *p = new_parser();
    _cleanup_(policy_freep) Policy *none = NULL, *empty = parse("{\"description\":\"x\",\"rules\":[]}");

    assert_int_equal(policy_n_rules(empty), 0);
    assert_int_equal(policy_parser_finish(p, &none), 0);
    assert_int_equal(policy_n_rules(none), 0);
    assert_int_equal(policy_n_rules(NULL), 0);
}

static void test_full_rule(void **state) {
    _cleanup_(policy_freep) Policy *policy =
            parse("{ // two rules\n"
                  "\"rules\": [\n"
                  "{ \"name\": \"all keys \xc3\xa9\", \"effect\": \"allow\",\n"
                  "  \"who\": { \"user\": [\"bob\", \"alice\", 7, \"8\"],\n"
                  "           \"group\": [\"edu\", 0] },\n"
                  "  \"what\": { \"device\": [\"06:0D.0\", \"pci:0000:0A:*\"],\n"
                  "            \"id\": [\"1234:11E8\", \"*:*:1af4:*\"],\n"
                  "            \"class\": [\"02\", \"0C03\", \"010802\"],\n"
                  "            \"driver\": [\"e1000e\", \"nvme\"] },\n"
                  "  \"backend\": \"group\", \"reset\": \"optional\",\n"
                  "  \"siblings\": \"park\" },\n"
                  "{ \"effect\": \"deny\", \"who\": {}, \"what\": {} } ] }");
    const Rule *r = policy->rules;

    assert_int_equal(policy_n_rules(policy), 2);
    assert_string_equal(rule_name(r), "all keys \xc3\xa9");
    assert_string_equal(rule_origin(r), "all keys \xc3\xa9 (f:3)");
    assert_int_equal(r->effect, EFFECT_ALLOW);
    assert_int_equal(r->n_uids, 4);
    assert_int_equal(r->uids[0], 7);
    assert_int_equal(r->uids[1], 8);
    assert_int_equal(r->uids[2], 1000);
    assert_int_equal(r->uids[3], 1001);
    assert_int_equal(r->n_gids, 2);
    assert_int_equal(r->gids[0], 0);
    assert_int_equal(r->gids[1], 2001);
    assert_int_equal(r->n_devices, 2);
    assert_true(r->devices[0].exact);
    assert_int_equal(r->devices[0].name.slot, 0x0d);
    assert_false(r->devices[1].exact);
    assert_string_equal(r->devices[1].glob, "0000:0a:*");
    assert_int_equal(r->n_ids, 2);
    assert_true(r->ids[0].value == 0x123411e800000000 && r->ids[0].mask == 0xffffffff00000000);
    assert_true(r->ids[1].value == 0x000000001af40000 && r->ids[1].mask == 0x00000000ffff0000);
    assert_int_equal(r->n_classes, 3);
    assert_true(r->classes[0].value == 0x020000 && r->classes[0].mask == 0xff0000);
    assert_true(r->classes[1].value == 0x0c0300 && r->classes[1].mask == 0xffff00);
    assert_true(r->classes[2].value == 0x010802 && r->classes[2].mask == 0xffffff);
    assert_int_equal(r->drivers.n, 2);
    assert_string_equal(r->drivers.items[0], "e1000e");
    assert_string_equal(r->drivers.items[1], "nvme");
    assert_int_equal(r->terms.backends, 1U << BACKEND_GROUP);
    assert_int_equal(r->terms.reset, RESET_OPTIONAL);
    assert_int_equal(r->terms.siblings, SIBLINGS_PARK);

    r++;
    assert_string_equal(rule_name(r), "#2");
    assert_string_equal(rule_origin(r), "#2 (f:12)");
    assert_int_equal(r->effect, EFFECT_DENY);
    assert_int_equal(r->n_uids + r->n_gids + r->n_devices + r->n_ids + r->n_classes + r->drivers.n, 0);
}

static void test_defaults(void **state) {
    _cleanup_(policy_freep) Policy *policy = parse(ALLOW(""));

    assert_int_equal(policy->rules->terms.backends, BACKENDS_DEFAULT);
    assert_int_equal(policy->rules->terms.reset, RESET_REQUIRED);
    assert_int_equal(policy->rules->terms.siblings, SIBLINGS_REFUSE);
    assert_string_equal(policy->rules->origin, "#1 (f:1)");
    assert_int_equal(policy->rules->terms.grants, 1U << GRANT_FD);
    assert_int_equal(policy->rules->terms.tethers, TETHERS_DEFAULT);
    assert_int_equal(policy->rules->terms.host_critical, HOST_CRITICAL_REFUSE);
    assert_false(policy->rules->terms.untainted || policy->rules->terms.reason_required ||
            policy->rules->terms.waive_sys_rawio);
    assert_true(policy->rules->terms.memlock_max == 0 && policy->rules->terms.priority == 0 &&
            policy->rules->terms.hold.eviction_delay_sec == 0 &&
            policy->rules->terms.hold.max_duration_sec == 0 && !policy->rules->terms.hold.preemptible &&
            !policy->rules->terms.scrub && !policy->rules->terms.driver &&
            policy->rules->terms.hold.stop_after_sec == 0 &&
            policy->rules->terms.hold.drain_timeout_sec == 0 &&
            policy->rules->terms.hold.sleep_delay_sec == 0 && !policy->rules->terms.hold.d3cold);
    assert_true(policy->rules->terms.limits.claims == LIMIT_NONE &&
            policy->rules->terms.limits.devices == LIMIT_NONE &&
            policy->rules->terms.limits.claims_per_user == LIMIT_NONE &&
            policy->rules->terms.limits.devices_per_user == LIMIT_NONE &&
            policy->rules->terms.limits.pinned == LIMIT_NONE);
    assert_null(policy->rules->terms.noiommu_reason);
    assert_int_equal(policy_needed_facts(policy), 0);
}

static void test_tags(void **state) {
    _cleanup_(policy_freep) Policy *policy =
            parse("{\"tags\":{\"nic-1._\":[{\"slot\":\"pci_0000_06_0d_0\",\"id\":\"1234:11E8\"},\n"
                  "{\"path\":\"0000:00:1c.0/00.0/1f.7\",\"id\":\"1234:11e8:1af4:1100\",\n"
                  "\"serial\":\"00-1b-21-ff-ff-a1-b2-c3\"}],\n"
                  "\"unused\":{\"slot\":\"07:00.0\",\"path\":\"10000:e0:06.0\",\"id\":\"1234:11e8\"}},\n"
                  "\"rules\":[{\"effect\":\"deny\",\"who\":{},\"what\":{\"tag\":\"nic-1._\"}}]}");
    const Tag *tag = policy->tags[0];

    assert_int_equal(policy->n_tags, 2);
    assert_string_equal(tag->name, "nic-1._");
    assert_int_equal(tag->n_entries, 2);
    assert_true(tag->entries[0].has_slot);
    assert_int_equal(tag->entries[0].slot.pci_bus, 6);
    assert_true(
            tag->entries[0].id.value == 0x123411e800000000 && tag->entries[0].id.mask == 0xffffffff00000000);
    assert_null(tag->entries[0].path);
    assert_null(tag->entries[0].serial);
    assert_false(tag->entries[1].has_slot);
    assert_string_equal(tag->entries[1].path, "0000:00:1c.0/00.0/1f.7");
    assert_true(tag->entries[1].id.value == 0x123411e81af41100 && tag->entries[1].id.mask == UINT64_MAX);
    assert_string_equal(tag->entries[1].serial, "00-1b-21-ff-ff-a1-b2-c3");
    assert_int_equal(policy->rules->n_tags, 1);
    assert_ptr_equal(policy->rules->tags[0].tag, tag);
    assert_false(policy->tags[1]->used);
    assert_string_equal(policy->tags[1]->entries[0].path, "10000:e0:06.0");
}

/* A rule may come before its tag, and may be in another file. */
static void test_cross_file_errors(void **state) {
    static const char *const errors[] = {
            "b:2:1: error: tag \"nic\" already exists at a:3:1",
            "b:3:10: error: \"noiommu\" of \"host\" is already set at a:4:10",
            "a:1:62: error: unknown tag \"nick\", did you mean \"nic\"?",
            "a:1:69: error: unknown tag \"x\\x1b\", no file defines it",
            NULL,
    };
    _cleanup_(policy_parser_freep) PolicyParser *p = new_parser();

    add(p, "a",
            "{\"rules\":[{\"effect\":\"allow\",\"who\":{},\"what\":{\"tag\":[\"gpu\",   "
            "\"nick\",\"x\\u001b\"]}}],"
            "\n\"tags\":{\n\"nic\":{" SLOTTED IDENT "}},\n\"host\":{ \"noiommu\":\"on\"}}");
    add(p, "b",
            "{\"tags\":{\n\"nic\":{" SLOTTED IDENT "},\"gpu\":{" SLOTTED IDENT "}},\n"
            "\"host\":{ \"noiommu\":\"off\"}}");
    expect_errors(p, "cross", errors);
}

static void test_host(void **state) {
    _cleanup_(policy_freep) Policy *managed = parse("{\"host\":{\"noiommu\":\"managed\"}}"),
                                   *off = parse("{\"tags\":{}}"),
                                   *on = parse("{\"host\":{\"noiommu\":\"on\"}}");

    assert_int_equal(policy_host_settings(managed).noiommu, NOIOMMU_MANAGED);
    assert_int_equal(policy_host_settings(on).noiommu, NOIOMMU_ON);
    assert_int_equal(policy_host_settings(off).noiommu, NOIOMMU_OFF);
    assert_int_equal(policy_host_settings(NULL).noiommu, NOIOMMU_OFF);
}

static void test_whole_language(void **state) {
    _cleanup_(policy_freep) Policy *policy = parse(
            "{\"$schema\":\"x\",\"rules\":[{\"name\":\"all\",\"effect\":\"ask\",\n"
            "\"who\":{\"unit\":[\"a*\",\"b.service\"],\"slice\":\"user-[0-9].slic?\",\"cgroup\":\"/x*\",\n"
            "  \"label\":\"l\",\"capability\":[\"CAP_CHOWN\",\"CAP_CHECKPOINT_RESTORE\"],\n"
            "  \"namespace\":[\"other\",\"host\"]},\n"
            "\"what\":{\"device\":\"06:0d.0\",\"class\":[\"3d\",\"audio\"],\"bus\":\"pci\",\n"
            "  \"group\":\"0123456789ABCDEF\",\"property\":{\"ID_BUS\":\"pci\",\"A\":[\"b\",\"c*\"]},\n"
            "  "
            "\"numa\":[7,0],\"isolation\":{\"alone\":true,\"acs\":false,\"reset\":true,\"removable\":false}},"
            "\n"
            "\"until\":\"2026-12-31T18:00:00Z\",\"grant\":[\"fd\"],\"host-critical\":\"allow\",\n"
            "\"memlock\":\"16G\",\"untainted\":true,\"reason\":\"required\",\n"
            "\"limits\":{\"claims\":1,\"devices\":2,\"claims-per-user\":3,\"devices-per-user\":2147483647,\n"
            "  \"pinned\":\"1T\"},\"noiommu\":{\"reason\":\"no other way\",\"waive-cap-sys-rawio\":true}}]}");
    const Rule *r = policy->rules;
    const RuleTerms *t = rule_terms(r);

    assert_int_equal(rule_effect(r), EFFECT_ASK);
    assert_int_equal(r->units.n, 2);
    assert_string_equal(r->units.items[1], "b.service");
    assert_int_equal(r->slices.n, 1);
    assert_string_equal(r->slices.items[0], "user-[0-9].slic?");
    assert_string_equal(r->cgroups.items[0], "/x*");
    assert_string_equal(r->labels.items[0], "l");
    assert_true(r->capabilities == (UINT64_C(1) << 40 | 1));
    assert_int_equal(r->namespaces, 1U << NAMESPACE_HOST | 1U << NAMESPACE_OTHER);
    assert_int_equal(r->n_classes, 3);
    assert_true(r->classes[0].value == 0x030200 && r->classes[0].mask == 0xffff00);
    assert_true(r->classes[1].value == 0x040100 && r->classes[2].value == 0x040300);
    assert_int_equal(r->buses, 1U << DEVICE_KIND_PCI);
    assert_int_equal(r->n_groups, 1);
    assert_true(r->groups[0] == UINT64_C(0x0123456789abcdef));
    assert_int_equal(r->n_properties, 2);
    assert_string_equal(r->properties[1].key, "A");
    assert_string_equal(r->properties[1].globs.items[1], "c*");
    assert_int_equal(r->n_numa_nodes, 2);
    assert_int_equal(r->numa_nodes[0], 0);
    assert_int_equal(r->numa_nodes[1], 7);
    assert_true(r->alone && !r->acs && r->reset && !r->removable);
    assert_true(r->until_usec == UINT64_C(1798740000000000));
    assert_int_equal(t->backends, BACKENDS_DEFAULT | 1U << BACKEND_NOIOMMU);
    assert_int_equal(t->grants, 1U << GRANT_FD);
    assert_int_equal(t->host_critical, HOST_CRITICAL_ALLOW);
    assert_true(t->memlock_max == UINT64_C(16) << 30);
    assert_true(t->untainted && t->reason_required && t->waive_sys_rawio);
    assert_true(t->limits.claims == 1 && t->limits.devices == 2 && t->limits.claims_per_user == 3 &&
            t->limits.devices_per_user == 2147483647 && t->limits.pinned == UINT64_C(1) << 40);
    assert_string_equal(t->noiommu_reason, "no other way");
    assert_int_equal(policy_needed_facts(policy),
            DEVICE_FACT_PROPERTIES | DEVICE_FACT_NUMA_NODE | DEVICE_FACT_ACS | DEVICE_FACT_RESET_METHODS |
                    DEVICE_FACT_REMOVABLE);
}

static void test_wanted(void **state) {
    _cleanup_(policy_freep) Policy *policy =
            parse("{\"rules\":[{\"effect\":\"allow\",\"until\":\"2026-12-31T18:00:00Z\",\n"
                  "\"who\":{\"user\":[\"alice\",7],\"group\":\"edu\"},\n"
                  "\"what\":{\"property\":{\"A\":[\"b\",\"c*\"],\"D\":\"\xc3\xa9\"},\"isolation\":{\"alone\":"
                  "true}}},\n"
                  "{\"effect\":\"allow\",\"who\":{},\"what\":{}}]}");
    const Rule *r = policy->rules;
    Subject subject = SUBJECT_NULL;
    const Question q = {.subject = &subject};

    assert_string_equal(rule_wanted(r, PREDICATE_WHO_USER), "alice, 7");
    assert_string_equal(rule_wanted(r, PREDICATE_WHO_GROUP), "edu");
    assert_string_equal(rule_wanted(r, PREDICATE_WHAT_PROPERTY), "A=b, c*, D=\xc3\xa9");
    assert_string_equal(rule_wanted(r, PREDICATE_WHAT_ALONE), "true");
    assert_string_equal(rule_wanted(r, PREDICATE_UNTIL), "2026-12-31T18:00:00Z");
    assert_int_equal(rule_predicates(r, &q),
            1U << PREDICATE_WHO_USER | 1U << PREDICATE_WHO_GROUP | 1U << PREDICATE_WHAT_PROPERTY |
                    1U << PREDICATE_WHAT_ALONE | 1U << PREDICATE_UNTIL);
    assert_string_equal(rule_wanted(r + 1, PREDICATE_WHO_USER), "anybody");
    assert_int_equal(rule_predicates(r + 1, &q), 1U << PREDICATE_WHO_USER);
    assert_string_equal(rule_wanted(r + 1, PREDICATE_WHO_SCOPE), "no scope");
    subject.scope = (char[]){"ci"};
    assert_int_equal(rule_predicates(r + 1, &q), 1U << PREDICATE_WHO_USER | 1U << PREDICATE_WHO_SCOPE);
}

/* If no predicate checked a key that the parser accepts, the rule would match more than it says. */
static void expect_predicates(const char *text, const char *prefix, size_t n_expected) {
    _cleanup_(policy_parser_freep) PolicyParser *p = new_parser();
    _cleanup_free_ char *message = NULL;
    char *rest, *key;
    size_t n = 0;

    add(p, "f", text);
    message = strdup(policy_parser_error(p, 0));
    assert_non_null(message);
    rest = strstr(message, "known are ");
    assert_non_null(rest);
    for (rest += strlen("known are "); (key = strsep(&rest, ", ")); n += *key != '\0') {
        _cleanup_free_ char *whole = NULL;
        bool found = *key == '\0';

        key[strcspn(key + (*key == '"'), "\"") + (*key == '"')] = '\0';
        whole = format_string("%s.%s", prefix, key + (*key == '"'));
        for (PredicateKind kind = 0; kind < _PREDICATE_MAX; kind++)
            found |= startswith(predicate_key(kind), whole) != NULL;
        if (!found)
            fail_msg("no predicate asks for %s", whole);
    }
    assert_int_equal(n, n_expected);
}

static void test_every_key_is_a_predicate(void **state) {
    expect_predicates(WHO("\"zzzzzzzzzz\":0"), "who", 9);
    expect_predicates(WHAT("\"zzzzzzzzzz\":0"), "what", 12);
    expect_predicates(WHAT("\"isolation\":{\"zzzzzzzzzz\":0}"), "what.isolation", 4);
}

/* The name under which claims are counted does not depend on the rule's line number. */
static void test_rule_keys(void **state) {
    _cleanup_(policy_freep) Policy *policy =
            parse("{\"rules\":[\n\n{\"name\":\"a\",\"effect\":\"deny\",\"who\":{},\"what\":{}},\n"
                  "{\"effect\":\"deny\",\"who\":{},\"what\":{}}]}");

    assert_string_equal(rule_key(policy->rules), "a");
    assert_string_equal(rule_key(policy->rules + 1), "rule 2 (f)");
    assert_string_equal(rule_file(policy->rules), "f");
    assert_int_equal(rule_line(policy->rules), 3);
}

/* A list of one value is equal to the value alone. */
static void test_list_or_value(void **state) {
    _cleanup_(policy_freep) Policy *list = parse(WHO("\"user\":[\"alice\"]")),
                                   *value = parse(WHO("\"user\":\"alice\""));

    assert_int_equal(list->rules->n_uids, 1);
    assert_int_equal(value->rules->n_uids, 1);
    assert_int_equal(list->rules->uids[0], value->rules->uids[0]);
}

/* Each name is looked up once, and a user is not a group. */
static void test_lookups(void **state) {
    _cleanup_(policy_parser_freep) PolicyParser *p = new_parser();
    _cleanup_(policy_freep) Policy *policy = NULL;

    n_lookups = 0;
    add(p, "a", WHO("\"user\":[\"alice\",\"bob\"],\"group\":\"alice\""));
    add(p, "b", WHO("\"user\":[\"bob\",\"1000\",1001],\"group\":[\"alice\",\"edu\"]"));
    /* No name is looked up while files are read. */
    assert_int_equal(n_lookups, 0);
    assert_int_equal(policy_parser_finish(p, &policy), 0);
    assert_int_equal(n_lookups, 5);
    assert_int_equal(policy_parser_n_warnings(p), 0);
    assert_int_equal(policy->rules[0].uids[0], 1000);
    assert_int_equal(policy->rules[0].gids[0], 2000);
    assert_int_equal(policy->rules[1].gids[0], 2000);
    assert_int_equal(policy->rules[1].gids[1], 2001);
}

static void expect_warnings(const char *text, const char *const *warnings, size_t n) {
    _cleanup_(policy_parser_freep) PolicyParser *p = new_parser();
    _cleanup_(policy_freep) Policy *policy = NULL;

    add(p, "f", text);
    assert_int_equal(policy_parser_finish(p, &policy), 0);
    if (policy_parser_n_warnings(p) != n)
        fail_msg("%zu: %s", policy_parser_n_warnings(p), policy_parser_warning(p, 0));
    for (size_t i = 0; i < n; i++)
        assert_string_equal(policy_parser_warning(p, i), warnings[i]);
}

/* One deleted account does not disable the policy. */
static void test_unknown_accounts(void **state) {
    expect_warnings(WHO("\"user\":[\"edu\",\"alice\"],\"group\":\"bob\""),
            (const char *const[]){"f:2:9: warning: unknown user \"edu\": it matches nobody until it is known",
                    "f:2:32: warning: unknown group \"bob\": it matches nobody until it is known"},
            2);
    expect_warnings(WHO("\"user\":\"ldap\""),
            (const char *const[]){"f:2:8: warning: cannot look up the user \"ldap\": Input/output error; it "
                                  "matches nobody until it is known"},
            1);
    expect_warnings("{\"rules\":[{\"effect\":\"deny\",\"what\":{},\"who\":{\n\"user\":\"edu\"}}]}",
            (const char *const[]){
                    "f:2:8: warning: unknown user \"edu\": until it is known, this rule denies everybody"},
            1);
}

/* A name takes precedence over the number that it looks like, with a warning. */
static void test_names_of_digits(void **state) {
    _cleanup_(policy_freep) Policy *policy = parse(WHO("\"user\":[\"20231234\",\"1000\",20231234]"));

    assert_int_equal(policy->rules[0].n_uids, 3);
    assert_int_equal(policy->rules[0].uids[0], 1000);
    assert_int_equal(policy->rules[0].uids[1], 50123);
    assert_int_equal(policy->rules[0].uids[2], 20231234);
    expect_warnings(WHO("\"user\":\"20231234\""),
            (const char *const[]){"f:2:8: warning: \"20231234\" is taken for the name of the user with uid "
                                  "50123; write a uid without quotes"},
            1);
    /* If the directory is down, a name does not become a number. */
    expect_warnings(WHO("\"group\":\"777\""),
            (const char *const[]){"f:2:9: warning: cannot look up the group \"777\": Input/output error; it "
                                  "matches nobody until it is known"},
            1);
}

static bool directory_is_up;

static int resolve_late(_unused_ void *userdata, _unused_ bool is_group, const char *name, uint32_t *ret) {
    if (!directory_is_up)
        return -ECONNREFUSED;
    *ret = streq(name, "ada") ? 70001 : 70002;
    return streq(name, "gone") ? -ENOENT : 0;
}

static Effect decide(const Policy *policy, uint32_t uid) {
    gid_t gid = 5;
    const Subject subject = {.uid = uid, .gids = &gid, .n_gids = 1};
    const Device device = {.vfio_index = -1};

    return policy_evaluate(policy, &(const PolicyQuestion){.subject = &subject, .device = &device}).effect;
}

static int count(void *userdata, _unused_ bool is_group, _unused_ const char *name) {
    (*(unsigned *) userdata)++;
    return 0;
}

static unsigned count_unknown(const Policy *policy) {
    unsigned n = 0;

    assert_int_equal(policy_foreach_unknown_account(policy, count, &n), 0);
    return n;
}

static void test_late_directory(void **state) {
    static const char *const effects[] = {"allow", "ask", "deny"};

    for (size_t i = 0; i < ELEMENTSOF(effects); i++) {
        _cleanup_(policy_parser_freep) PolicyParser *p = policy_parser_new(resolve_late, NULL);
        _cleanup_(policy_freep) Policy *policy = NULL;
        _cleanup_free_ char *text = format_string(
                "{\"rules\":[{\"effect\":\"%s\",\"who\":{\"user\":[\"ada\",\"gone\",7]},\"what\":{}},"
                "{\"effect\":\"allow\",\"who\":{},\"what\":{}}]}",
                effects[i]);
        Effect of_rule = effect_from_string(effects[i]);

        directory_is_up = false;
        add(p, "f", text);
        assert_int_equal(policy_parser_finish(p, &policy), 0);
        assert_int_equal(count_unknown(policy), 2);
        assert_int_equal(decide(policy, 7), of_rule);
        /* An unknown account matches anybody in a deny rule, and nobody in other rules. */
        assert_int_equal(decide(policy, 70001), of_rule == EFFECT_DENY ? EFFECT_DENY : EFFECT_ALLOW);
        assert_int_equal(policy_resolve_again(policy, resolve_late, NULL), 0);
        directory_is_up = true;
        assert_int_equal(policy_resolve_again(policy, resolve_late, NULL), 1);
        assert_int_equal(count_unknown(policy), 1);
        assert_int_equal(decide(policy, 70001), of_rule);
        assert_int_equal(decide(policy, 7), of_rule);
        assert_int_equal(decide(policy, 8), of_rule == EFFECT_DENY ? EFFECT_DENY : EFFECT_ALLOW);
    }
}

static char *many_rules(unsigned n) {
    StrBuf b = {};
    char *text;

    strbuf_add(&b, "{\"rules\":[\n");
    for (unsigned i = 0; i < n; i++)
        strbuf_addf(&b,
                "%s{\"name\":\"r%u\",\"effect\":\"allow\",\"who\":{\"user\":\"alice\"},\"what\":{\"id\":\"%"
                "04x:*\"}}\n",
                i == 0 ? "" : ",", i, i);
    strbuf_add(&b, "]}");
    text = strbuf_steal(&b);
    assert_non_null(text);
    return text;
}

/* This is far more than the normal time (tens of milliseconds), and far less than quadratic time. */
static void test_many_rules(void **state) {
    _cleanup_free_ char *text = many_rules(10000);
    clock_t begin = clock();
    _cleanup_(policy_freep) Policy *policy = parse(text);

    assert_int_equal(policy_n_rules(policy), 10000);
    assert_string_equal(rule_origin(policy->rules + 9999), "r9999 (f:10001)");
    assert_true(clock() - begin < 10 * CLOCKS_PER_SEC);
}

static void test_too_many_rules(void **state) {
    _cleanup_(policy_parser_freep) PolicyParser *p = new_parser();
    _cleanup_free_ char *text = many_rules(POLICY_RULES_MAX);
    static const char *const errors[] = {"g:1:11: error: the policy has more than 16384 rules", NULL};

    add(p, "f", text);
    assert_int_equal(policy_parser_n_errors(p), 0);
    add(p, "g", "{\"rules\":[{}]}");
    expect_errors(p, "too many rules", errors);
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_refused),
            cmocka_unit_test(test_bad_ids),
            cmocka_unit_test(test_several_files),
            cmocka_unit_test(test_duplicate_names),
            cmocka_unit_test(test_many_errors),
            cmocka_unit_test(test_no_rules),
            cmocka_unit_test(test_full_rule),
            cmocka_unit_test(test_defaults),
            cmocka_unit_test(test_tags),
            cmocka_unit_test(test_cross_file_errors),
            cmocka_unit_test(test_host),
            cmocka_unit_test(test_whole_language),
            cmocka_unit_test(test_wanted),
            cmocka_unit_test(test_every_key_is_a_predicate),
            cmocka_unit_test(test_rule_keys),
            cmocka_unit_test(test_list_or_value),
            cmocka_unit_test(test_lookups),
            cmocka_unit_test(test_unknown_accounts),
            cmocka_unit_test(test_names_of_digits),
            cmocka_unit_test(test_late_directory),
            cmocka_unit_test(test_many_rules),
            cmocka_unit_test(test_too_many_rules),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
