/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "client/template.h"

static const TemplateDevice devices[] = {
        {.name = "pci:0000:06:0d.0", .spelling = "06:0D.0", .group = 8},
        {.name = "pci:10000:00:04.1", .spelling = "pci:10000:00:04.1", .group = 12},
        {.name = "pci:0000:00:02.0", .spelling = "00:02.0", .group = -1},
};

/* Returns three digits that show which name was requested. There is no lifeline. */
static int number_of(void *userdata, const char *fd_name) {
    static const char *const names[] = {"iommufd", "container", "device:pci:0000:06:0d.0",
            "device:pci:10000:00:04.1", "device:pci:0000:00:02.0", "group:8"};

    for (size_t i = 0; i < ELEMENTSOF(names); i++)
        if (streq(names[i], fd_name))
            return 100 + (int) i;
    return -ENOENT;
}

static void expands(const char *argument, const char *expected) {
    _cleanup_free_ char *text = NULL, *problem = NULL;

    assert_int_equal(
            template_expand(argument, devices, ELEMENTSOF(devices), number_of, NULL, &text, &problem), 0);
    assert_string_equal(text, expected);
    assert_null(problem);
}

static void refused(const char *argument, const TemplateDevice *list, size_t n, const char *word) {
    _cleanup_free_ char *text = NULL, *problem = NULL;

    assert_int_equal(template_expand(argument, list, n, number_of, NULL, &text, &problem), -EINVAL);
    assert_null(text);
    assert_non_null(problem);
    assert_non_null(strstr(problem, word));
}

static void test_plain_text(void **state) {
    expands("", "");
    expands("-device vfio-pci", "-device vfio-pci");
    expands("}", "}");
    expands("a}}b", "a}}b");
    expands("{{", "{");
    expands("{{}", "{}");
    expands("{{{{", "{{");
    expands("{{iommufd}", "{iommufd}");
    expands("Grüße", "Grüße");
}

static void test_templates(void **state) {
    expands("{iommufd}", "100");
    expands("iommufd,id=i0,fd={iommufd}", "iommufd,id=i0,fd=100");
    expands("{iommufd}{container},{device}", "100101,102");
    expands("{device:0} {device:1} {device:2}", "102 103 104");
    expands("{device:pci:0000:06:0d.0}", "102");
    expands("{device:0000:06:0d.0}", "102");
    expands("{device:06:0D.0}", "102");
    expands("{device:10000:00:04.1}", "103");
    expands("{group} {group:8}", "105 105");
    expands("{{{{{iommufd}}", "{{100}");
}

static void test_problems(void **state) {
    static const char *const bad[] = {"{}", "{ iommufd}", "{iommufd }", "{IOMMUFD}", "{lifeline}",
            "{devices}", "{groups}", "{device.0}", "x{y}z"};

    for (size_t i = 0; i < ELEMENTSOF(bad); i++)
        refused(bad[i], devices, ELEMENTSOF(devices), "unknown template");
    static const char *const strange[] = {"{device:3}", "{device:}", "{device:-1}",
            "{device:00}x{device:99999999999}", "{device:pci:0000:06:0d.1}", "{device:0d.0}"};
    for (size_t i = 0; i < ELEMENTSOF(strange); i++)
        refused(strange[i], devices, ELEMENTSOF(devices), "no --device names such a device");
    static const char *const groups[] = {"{group:9}", "{group:}", "{group:-1}", "{group:8x}"};
    for (size_t i = 0; i < ELEMENTSOF(groups); i++)
        refused(groups[i], devices, ELEMENTSOF(devices), "group");
    refused("{", devices, 1, "without");
    refused("{iommufd", devices, 1, "without");
    refused("{{{", devices, 1, "without");
    /* There is such a group, but its fd is not in the claim. */
    refused("{group:12}", devices, ELEMENTSOF(devices), "the claim has no such file descriptor");
}

static void test_no_devices(void **state) {
    refused("{device}", NULL, 0, "no --device names such a device");
    refused("{device:0}", NULL, 0, "no --device names such a device");
    refused("{group}", NULL, 0, "no device of --device is in that group");
    refused("{group}", devices + 2, 1, "no device of --device is in that group");
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_plain_text),
            cmocka_unit_test(test_templates),
            cmocka_unit_test(test_problems),
            cmocka_unit_test(test_no_devices),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
