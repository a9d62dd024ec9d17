/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/str.h"
#include "core/vf-network.h"

static VfNetwork parse(const char *text) {
    VfProblem problem;
    VfNetwork n;

    assert_int_equal(vf_network_parse(text, &n, &problem), 0);
    return n;
}

static void assert_reads(const char *text, const char *expected) {
    char buf[VF_NETWORK_TEXT_MAX];
    VfNetwork n = parse(text);

    assert_string_equal(vf_network_format(&n, buf), expected);
}

static void test_requests_are_read(void **state) {
    assert_reads("mac=52:54:00:AB:cd:0f", "mac=52:54:00:ab:cd:0f");
    assert_reads("vlan=0", "vlan=0");
    assert_reads("vlan=4094", "vlan=4094");
    assert_reads("trust=on", "trust=on");
    assert_reads("trust=off,spoofchk=off,vlan=12,mac=02:00:00:00:00:01",
            "mac=02:00:00:00:00:01,vlan=12,spoofchk=off,trust=off");
}

static void assert_bad(const char *text, const char *part, const char *why) {
    VfNetwork n = {.has = 77};
    VfProblem problem = {};

    assert_int_equal(vf_network_parse(text, &n, &problem), -EINVAL);
    assert_int_equal(problem.size, strlen(part));
    assert_memory_equal(problem.at, part, problem.size);
    assert_non_null(strstr(problem.why, why));
    assert_int_equal(n.has, 77);
}

static void test_bad_requests(void **state) {
    assert_bad("", "", "no attribute");
    assert_bad("mac", "mac", "no attribute");
    assert_bad("vlan=1,", "", "no attribute");
    assert_bad("vlan=1,,trust=on", "", "no attribute");
    assert_bad("Vlan=1", "Vlan=1", "no attribute");
    assert_bad("vla=1", "vla=1", "no attribute");
    assert_bad("vlan=1,rate=5", "rate=5", "no attribute");
    assert_bad("vlan=1,vlan=1", "vlan=1", "given twice");
    assert_bad("vlan=", "vlan=", "not a VLAN");
    assert_bad("vlan=4095", "vlan=4095", "not a VLAN");
    assert_bad("vlan=4096", "vlan=4096", "not a VLAN");
    assert_bad("vlan=-1", "vlan=-1", "not a VLAN");
    assert_bad("vlan=0x1", "vlan=0x1", "not a VLAN");
    assert_bad("vlan=99999999999999999999999999999", "vlan=99999999999999999999999999999", "not a VLAN");
    assert_bad("spoofchk=yes", "spoofchk=yes", "neither on nor off");
    assert_bad("trust=", "trust=", "neither on nor off");
    assert_bad("mac=01:00:00:00:00:01", "mac=01:00:00:00:00:01", "multicast");
    assert_bad("mac=ff:ff:ff:ff:ff:ff", "mac=ff:ff:ff:ff:ff:ff", "multicast");
    assert_bad("mac=00:00:00:00:00:00", "mac=00:00:00:00:00:00", "zero");
    assert_bad("mac=02:00:00:00:00", "mac=02:00:00:00:00", "not a MAC");
    assert_bad("mac=02:00:00:00:00:01:02", "mac=02:00:00:00:00:01:02", "not a MAC");
    assert_bad("mac=02:00:00:00:00:0", "mac=02:00:00:00:00:0", "not a MAC");
    assert_bad("mac=02-00-00-00-00-01", "mac=02-00-00-00-00-01", "not a MAC");
    assert_bad("mac=02:00:00:00:00:*", "mac=02:00:00:00:00:*", "not a MAC");
    assert_bad("mac=2:0:0:0:0:1", "mac=2:0:0:0:0:1", "not a MAC");
}

static void test_patterns(void **state) {
    static const char *const bad[] = {"", "*", "02:00:00:*", "02:00:00:*:*:*:*", "02:00:00:**:*:*",
            "02:00:00:*0:*:*", "02:00:00:0*:*:*", "g2:00:00:*:*:*", "01:*:*:*:*:*", "33:33:*:*:*:*",
            "00:00:00:00:00:00"};
    const char *why;
    MacPattern p;

    for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
        assert_int_equal(mac_pattern_parse(bad[i], &p, &why), -EINVAL);
        assert_non_null(why);
    }
    assert_int_equal(mac_pattern_parse("52:54:00:*:*:01", &p, &why), 0);
    assert_int_equal(p.value, 0x525400000001);
    assert_int_equal(p.mask, 0xffffff0000ff);
    assert_int_equal(mac_pattern_parse("*:*:*:*:*:*", &p, &why), 0);
    assert_int_equal(p.mask, 0);
    assert_int_equal(mac_pattern_parse("00:00:00:00:00:*", &p, &why), 0); /* not only zero matches */
}

static void test_ranges(void **state) {
    static const char *const bad[] = {
            "", "-", "1-", "-1", "2-1", "1-4095", "4095", "1-2-3", "1 - 2", "00000001", "0x1", "a"};
    VlanRange range;

    for (size_t i = 0; i < ELEMENTSOF(bad); i++)
        assert_int_equal(vlan_range_parse(bad[i], &range), -EINVAL);
    assert_int_equal(vlan_range_parse("100-199", &range), 0);
    assert_true(range.low == 100 && range.high == 199);
    assert_int_equal(vlan_range_parse("0", &range), 0);
    assert_true(range.low == 0 && range.high == 0);
}

static VfAttribute check(const VfBounds *b, const char *request) {
    VfNetwork n = parse(request);

    return vf_bounds_check(b, &n);
}

static void test_bounds(void **state) {
    MacPattern macs[2];
    VlanRange vlans[] = {{10, 10}, {100, 199}};
    VfBounds b = {.macs = macs, .n_macs = 2, .vlans = vlans, .n_vlans = 2};
    _cleanup_free_ char *mac = NULL, *vlan = NULL, *spoofchk = NULL, *trust = NULL;
    const char *why;

    assert_int_equal(mac_pattern_parse("52:54:00:*:*:*", &macs[0], &why), 0);
    assert_int_equal(mac_pattern_parse("02:00:00:00:00:01", &macs[1], &why), 0);
    assert_int_equal(check(&b, "trust=off"), VF_TRUST); /* trust is not listed */
    b.trust = 1U << false;
    b.spoofchk = 1U << true;
    assert_int_equal(check(&b, "mac=52:54:00:ff:ff:ff,vlan=10,trust=off,spoofchk=on"), -EINVAL);
    assert_int_equal(check(&b, "mac=02:00:00:00:00:01,vlan=199"), -EINVAL);
    assert_int_equal(check(&b, "mac=02:00:00:00:00:02"), VF_MAC);
    assert_int_equal(check(&b, "mac=50:54:00:00:00:02"), VF_MAC);
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(check(&b, (const char *[]){"vlan=0", "vlan=9", "vlan=11", "vlan=99", "vlan=200"}[i]),
                VF_VLAN);
    assert_int_equal(check(&b, "spoofchk=off"), VF_SPOOFCHK);
    assert_int_equal(check(&b, "trust=on"), VF_TRUST);
    trust = vf_bounds_describe(&b, VF_TRUST);
    assert_string_equal(trust, "off");
    b.spoofchk = b.trust = 3;
    assert_int_equal(check(&b, "spoofchk=off,trust=on"), -EINVAL);
    mac = vf_bounds_describe(&b, VF_MAC);
    vlan = vf_bounds_describe(&b, VF_VLAN);
    spoofchk = vf_bounds_describe(&b, VF_SPOOFCHK);
    assert_string_equal(mac, "52:54:00:*:*:*, 02:00:00:00:00:01");
    assert_string_equal(vlan, "10, 100-199");
    assert_string_equal(spoofchk, "on, off");
}

static void test_same(void **state) {
    VfNetwork a = parse("mac=02:00:00:00:00:01,vlan=5,spoofchk=off,trust=on"), b = a, none = {};

    for (VfAttribute i = 0; i < _VF_ATTRIBUTE_MAX; i++) {
        assert_true(vf_network_same(&a, &b, i));
        assert_false(vf_network_same(&a, &none, i));
        assert_false(vf_network_same(&none, &none, i));
        vf_network_copy(&none, &a, i);
        assert_true(vf_network_same(&a, &none, i));
    }
    assert_true(vf_network_equal(&a, &b));
    assert_true(vf_network_equal(&(VfNetwork){}, &(VfNetwork){.vlan = 3}));
    assert_false(vf_network_equal(&a, &(VfNetwork){}));
    b.qos = 3;
    assert_false(vf_network_equal(&a, &b));
    assert_false(vf_network_same(&a, &b, VF_VLAN));
    vf_network_copy(&b, &(VfNetwork){}, VF_TRUST);
    assert_false(vf_network_has(&b, VF_TRUST));
    assert_true(vf_network_has(&b, VF_MAC));
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_requests_are_read),
            cmocka_unit_test(test_bad_requests),
            cmocka_unit_test(test_patterns),
            cmocka_unit_test(test_ranges),
            cmocka_unit_test(test_bounds),
            cmocka_unit_test(test_same),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
