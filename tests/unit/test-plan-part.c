/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "core/claim.h"
#include "core/record.h"

/* Plans in short: "8.0 8.1! 9.0~" are function 0 of group 8, function 1 of it, which is leaving, and a parked
 * sibling in group 9. Devices of an even group are charged to the rule "even", others to "odd". */

static DeviceName name_of(int group, int function) {
    return (DeviceName){.pci_bus = (uint8_t) group, .function = (uint8_t) function};
}

static unsigned charge(Plan *p, const char *rule) {
    PlanCharge *c;

    for (size_t i = 0; i < p->n_charges; i++)
        if (strcmp(p->charges[i].rule, rule) == 0) {
            p->charges[i].devices++;
            return (unsigned) i + 1;
        }
    c = plan_add_charge(p);
    assert_non_null(c);
    (void) snprintf(c->rule, sizeof(c->rule), "%s", rule);
    c->devices = 1;
    return (unsigned) p->n_charges;
}

static Plan make(const char *text) {
    Plan p = PLAN_NULL;
    int group, function, n;

    p.backend = BACKEND_IOMMUFD;
    (void) snprintf(p.rule, sizeof(p.rule), "r");
    for (; sscanf(text, " %d.%d%n", &group, &function, &n) == 2;
            text += n + (text[n] == '!' || text[n] == '~')) {
        PlanMember *m = plan_add_member(&p);

        assert_non_null(m);
        m->name = name_of(group, function);
        m->group = group;
        m->bind = true;
        m->progress = MEMBER_BOUND;
        (void) snprintf(m->target_driver, sizeof(m->target_driver), "vfio-pci");
        (void) snprintf(m->original_driver, sizeof(m->original_driver), "host%d", function);
        m->leaving = text[n] == '!';
        m->disposition = text[n] == '~' ? DISPOSITION_PARK : DISPOSITION_CLAIM;
        if (!plan_has_group(&p, group))
            p.groups[p.n_groups++] = group;
        if (m->disposition != DISPOSITION_CLAIM)
            continue;
        p.n_claimed++;
        m->charge = charge(&p, group % 2 == 0 ? "even" : "odd");
    }
    return p;
}

static void expect(const Plan *p, const char *text) {
    _cleanup_(plan_done) Plan wanted = make(text);

    assert_int_equal(p->n_members, wanted.n_members);
    assert_int_equal(p->n_claimed, wanted.n_claimed);
    assert_int_equal(p->n_groups, wanted.n_groups);
    assert_int_equal(p->n_charges, wanted.n_charges);
    for (size_t i = 0; i < p->n_groups; i++)
        assert_true(plan_has_group(p, wanted.groups[i]));
    for (size_t i = 0; i < p->n_members; i++) {
        const PlanMember *m = &p->members[i], *w = &wanted.members[i];

        assert_int_equal(device_name_compare(&m->name, &w->name), 0);
        assert_int_equal(m->disposition, w->disposition);
        assert_int_equal(m->leaving, w->leaving);
        if (w->charge > 0)
            assert_string_equal(p->charges[m->charge - 1].rule, wanted.charges[w->charge - 1].rule);
        else
            assert_int_equal(m->charge, 0);
    }
    for (size_t i = 0; i < wanted.n_charges; i++)
        for (size_t k = 0; k < p->n_charges; k++)
            if (strcmp(p->charges[k].rule, wanted.charges[i].rule) == 0)
                assert_int_equal(p->charges[k].devices, wanted.charges[i].devices);
}

static void test_join(void **state) {
    static const char *const rows[][3] = {
            {"8.0", "9.0", "8.0 9.0"},
            {"8.0 8.1~", "9.0 9.1~", "8.0 9.0 8.1~ 9.1~"},
            {"8.0 8.1~", "8.1 9.0", "8.0 8.1 9.0"}, /* a parked sibling is claimed */
            {"8.0 8.1!", "6.0", "8.0 8.1! 6.0"},
    };

    for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
        _cleanup_(plan_done) Plan a = make(rows[i][0]), b = make(rows[i][1]), joined = PLAN_NULL;

        if (plan_has_group(&b, 8)) /* the claim has it, so the planner leaves it out */
            b.groups[0] = b.groups[--b.n_groups];
        a.memlock = 10;
        b.memlock = 5;
        assert_int_equal(plan_join(&a, &b, &joined), 0);
        expect(&joined, rows[i][2]);
        assert_int_equal(joined.memlock, 15);
        assert_string_equal(joined.rule, "r");
    }
}

/* Its original driver is recorded since it was parked. Now it is on its vfio driver. */
static void test_a_parked_one_keeps_its_past(void **state) {
    _cleanup_(plan_done) Plan a = make("8.0 8.1~"), b = make("8.1"), joined = PLAN_NULL;
    const PlanMember *m;

    b.n_groups = 0;
    b.members[0].bind = false;
    b.members[0].reset = true;
    b.members[0].progress = MEMBER_NOT_BEGUN;
    (void) snprintf(b.members[0].original_driver, sizeof(b.members[0].original_driver), "vfio-pci");
    assert_int_equal(plan_join(&a, &b, &joined), 0);
    m = plan_find_member(&joined, &b.members[0].name);
    assert_true(m->bind && m->reset);
    assert_int_equal(m->progress, MEMBER_BOUND);
    assert_string_equal(m->original_driver, "host1");
}

static void test_a_claim_has_an_end(void **state) {
    _cleanup_(plan_done) Plan a = make("1.0 2.0 3.0 4.0 5.0 6.0 7.0 8.0"),
                              b = make("9.0 10.0 11.0 12.0 13.0 14.0"), one = make("15.0"),
                              joined = PLAN_NULL, more = PLAN_NULL;

    assert_int_equal(plan_join(&a, &b, &joined), 0);
    assert_int_equal(joined.n_claimed, REQUEST_DEVICES_MAX);
    assert_int_equal(plan_join(&joined, &one, &more), -E2BIG);
    assert_int_equal(more.n_members, 0);
}

static void test_part(void **state) {
    static const struct {
        const char *plan;
        DeviceName names[2];
        const char *kept, *gone;
    } rows[] = {
            {"8.0 9.0", {{.pci_bus = 9}, {.pci_bus = 9}}, "8.0", "9.0"},
            {"8.0 9.0", {{.pci_bus = 8}, {.pci_bus = 9}}, "", "8.0 9.0"},
            {"8.0 9.0 8.1~ 9.1~", {{.pci_bus = 8}, {.pci_bus = 8}}, "9.0 9.1~", "8.0 8.1~"},
            {"8.0 8.1 9.0", {{.pci_bus = 8}, {.pci_bus = 8}}, "8.0! 8.1 9.0", ""},
            {"8.0! 8.1 9.0", {{.pci_bus = 8, .function = 1}, {.pci_bus = 9}}, "", "8.0 8.1 9.0"},
            {"8.0! 8.1 9.0", {{.pci_bus = 8, .function = 1}, {.pci_bus = 8}}, "9.0", "8.0 8.1"},
            {"8.0 6.0 9.0", {{.pci_bus = 6}, {.pci_bus = 9}}, "8.0", "6.0 9.0"},
    };

    for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
        _cleanup_(plan_done) Plan p = make(rows[i].plan), kept = PLAN_NULL, gone = PLAN_NULL;

        p.memlock = 7;
        assert_int_equal(plan_part(&p, rows[i].names, 2, &kept, &gone), 0);
        expect(&kept, rows[i].kept);
        expect(&gone, rows[i].gone);
        expect(&p, rows[i].plan);
        assert_int_equal(kept.memlock, 7); /* locked memory is locked for all devices together */
        assert_int_equal(gone.memlock, 0);
    }
}

/* Devices without a group do not share one. */
static void test_part_without_groups(void **state) {
    _cleanup_(plan_done) Plan p = make("8.0 9.0"), kept = PLAN_NULL, gone = PLAN_NULL;
    const DeviceName name = name_of(9, 0);

    p.backend = BACKEND_VHOST_VDPA;
    p.n_groups = 0;
    p.members[0].group = p.members[1].group = -1;
    assert_int_equal(plan_part(&p, &name, 1, &kept, &gone), 0);
    assert_int_equal(kept.n_members, 1);
    assert_int_equal(gone.n_members, 1);
    assert_int_equal(gone.members[0].name.pci_bus, 9);
    assert_int_equal(gone.charges[0].devices, 1);
}

/* A record of an older daemon does not name the rule that a device was charged to. If there is one rule, it
 * is known. */
static void test_charges_of_older_records(void **state) {
    _cleanup_(plan_done) Plan p = make("8.0 6.0"), two = make("8.0 9.0"), kept = PLAN_NULL, gone = PLAN_NULL;

    p.members[0].charge = p.members[1].charge = 0;
    assert_int_equal(plan_part(&p, &p.members[0].name, 1, &kept, &gone), 0);
    expect(&kept, "6.0");
    expect(&gone, "8.0");
    plan_done(&kept);
    plan_done(&gone);
    two.members[0].charge = two.members[1].charge = 0;
    assert_int_equal(plan_part(&two, &two.members[0].name, 1, &kept, &gone), 0);
    assert_int_equal(kept.n_charges, 2); /* too many charges rather than too few */
    assert_int_equal(gone.n_charges, 0);
}

static void test_leave_to(void **state) {
    static const char *const rows[][3] = {
            {"9.0", "8.0 9.0", ""},           /* it has joined, or not left yet */
            {"9.0", "8.0", "9.0"},            /* not joined yet, or left */
            {"9.0 9.1~", "8.0 9.0 9.1~", ""}, /* with its sibling */
            {"9.0 9.1~", "8.0", "9.0 9.1~"},  /* */
            {"8.1 9.0", "8.0 8.1~", "9.0"},   /* the parked device was parked for the claim */
    };

    for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
        _cleanup_(plan_done) Plan part = make(rows[i][0]), whole = make(rows[i][1]);

        part.n_charges = 0;
        for (size_t k = 0; k < part.n_members; k++)
            part.members[k].charge = 0;
        plan_leave_to(&part, &whole);
        assert_int_equal(part.n_claimed, rows[i][2][0] ? 1 : 0);
        for (size_t k = 0; k < part.n_members; k++)
            assert_int_equal(part.members[k].group, 9);
    }
}

static void test_record_of_a_part(void **state) {
    _cleanup_(claim_done) Claim c = CLAIM_NULL, again = CLAIM_NULL;
    _cleanup_free_ char *text = NULL, *second = NULL;

    (void) snprintf(c.id, sizeof(c.id), "0123456789abcdef");
    (void) snprintf(c.of, sizeof(c.of), "fedcba9876543210");
    c.uid = 1000;
    c.state = CLAIM_HELD;
    c.plan = make("8.0! 8.1 9.0");
    text = claim_to_record(&c, "boot");
    assert_non_null(text);
    assert_int_equal(claim_from_record(text, strlen(text), "boot", &again, NULL), 0);
    assert_string_equal(again.of, c.of);
    expect(&again.plan, "8.0! 8.1 9.0");
    second = claim_to_record(&again, "boot");
    assert_string_equal(text, second);
}

int main(void) {
    static const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_join),
            cmocka_unit_test(test_a_parked_one_keeps_its_past),
            cmocka_unit_test(test_a_claim_has_an_end),
            cmocka_unit_test(test_part),
            cmocka_unit_test(test_part_without_groups),
            cmocka_unit_test(test_charges_of_older_records),
            cmocka_unit_test(test_leave_to),
            cmocka_unit_test(test_record_of_a_part),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
