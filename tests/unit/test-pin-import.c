/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/str.h"
#include "core/pin-import.h"

typedef struct Collector {
    ImportSink sink; /* first */
    StrBuf seen;     /* "LINE:TEXT=vendor:device:…", or "LINE:TEXT?" for an invalid id */
    int error;       /* its return value */
} Collector;

static int collect(ImportSink *sink, unsigned line, const char *text, const ImportedId *id) {
    Collector *c = (Collector *) sink;

    strbuf_addf(&c->seen, "%s%u:%s", c->seen.length > 0 ? " " : "", line, text);
    if (!id)
        strbuf_add(&c->seen, "?");
    else
        strbuf_addf(&c->seen, "=%x:%x:%x:%x:%x:%x", id->vendor, id->device, id->subsystem_vendor,
                id->subsystem_device, id->class_code, id->class_mask);
    return c->error;
}

static void imports(
        int (*import)(const char *text, ImportSink *sink), const char *text, const char *expected) {
    Collector c = {.sink.add = collect};

    assert_int_equal(import(text, &c.sink), 0);
    assert_string_equal(c.seen.text ?: "", expected);
    strbuf_done(&c.seen);
}

static void test_modprobe(void **state) {
    imports(import_modprobe, "", "");
    imports(import_modprobe, "options vfio-pci ids=10de:1b80,10de:10f0 disable_vga=1\n",
            "1:10de:1b80=10de:1b80:ffffffff:ffffffff:0:0 1:10de:10f0=10de:10f0:ffffffff:ffffffff:0:0");
    imports(import_modprobe,
            "# options vfio-pci ids=1:2\n\n\toptions  vfio_pci\tdisable_vga=1 "
            "ids=8086:10d3:1:2:020000:ffffff",
            "3:8086:10d3:1:2:020000:ffffff=8086:10d3:1:2:20000:ffffff");
    imports(import_modprobe, "options vfio-pci \\\n  ids=1:2\noptions vfio-pci ids=3:4\r\n",
            "1:1:2=1:2:ffffffff:ffffffff:0:0 3:3:4=3:4:ffffffff:ffffffff:0:0");
    /* Other modules, other options, and similar lines. */
    imports(import_modprobe,
            "options vfio-pci-core ids=1:2\noptions vfio ids=1:2\nsoftdep vfio-pci ids=1:2\n"
            "install vfio-pci ids=1:2\noptions\noptions vfio-pci\noptions vfio-pci xids=1:2\nids=1:2",
            "");
    imports(import_modprobe, "options vfio-pci ids=,1:2,,zz:1,1,1:2:3:4:5:6:7,1:100000000,-1:2",
            "1:1:2=1:2:ffffffff:ffffffff:0:0 1:zz:1? 1:1? 1:1:2:3:4:5:6:7? 1:1:100000000? 1:-1:2?");
}

static void test_command_line(void **state) {
    imports(import_command_line, "quiet vfio-pci.ids=1:2 root=/dev/sda vfio_pci.ids=3:4\n",
            "1:1:2=1:2:ffffffff:ffffffff:0:0 1:3:4=3:4:ffffffff:ffffffff:0:0");
    imports(import_command_line, "xvfio-pci.ids=1:2 vfio-pci.disable_vga=1 vfio-pci ids=1:2 vfio-pcixids=1:2",
            "");
}

static void test_errors_end_it(void **state) {
    Collector c = {.sink.add = collect, .error = -ENOMEM};

    assert_int_equal(
            import_modprobe("options vfio-pci ids=1:2,3:4\noptions vfio-pci ids=5:6", &c.sink), -ENOMEM);
    assert_string_equal(c.seen.text, "1:1:2=1:2:ffffffff:ffffffff:0:0");
    strbuf_done(&c.seen);
}

static void test_matches(void **state) {
    static const ImportedId card = {0x8086, 0x10d3, 0x1, 0x2, 0x020000, 0};
    static const struct {
        ImportedId id;
        bool matches;
    } cases[] = {
            {{0x8086, 0x10d3, UINT32_MAX, UINT32_MAX, 0, 0}, true},
            {{UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX, 0, 0}, true},
            {{0x8086, 0x10d4, UINT32_MAX, UINT32_MAX, 0, 0}, false},
            {{0x8087, 0x10d3, UINT32_MAX, UINT32_MAX, 0, 0}, false},
            {{0x8086, 0x10d3, 1, 2, 0, 0}, true},
            {{0x8086, 0x10d3, 2, UINT32_MAX, 0, 0}, false},
            {{0x8086, 0x10d3, UINT32_MAX, 1, 0, 0}, false},
            {{UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX, 0x020000, 0xff0000}, true},
            {{UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX, 0x030000, 0xff0000}, false},
    };

    for (size_t i = 0; i < ELEMENTSOF(cases); i++)
        assert_int_equal(imported_id_matches(&cases[i].id, &card), cases[i].matches);
}

static void test_driverctl(void **state) {
    DeviceName name;

    assert_int_equal(import_driverctl_name("pci-0000:06:00.0", &name), 0);
    assert_int_equal(name.pci_bus, 6);
    assert_int_equal(import_driverctl_name("vmbus-1234", &name), -EOPNOTSUPP);
    for (size_t i = 0; i < 7; i++) {
        static const char *const names[] = {
                "", "pci", "pci-", "pci-06:00.0", "-0000:06:00.0", ".pci-0000:06:00.0", "pci-x"};

        assert_int_equal(import_driverctl_name(names[i], &name), -EINVAL);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_modprobe),
            cmocka_unit_test(test_command_line),
            cmocka_unit_test(test_errors_end_it),
            cmocka_unit_test(test_matches),
            cmocka_unit_test(test_driverctl),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
