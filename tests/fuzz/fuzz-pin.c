/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A file of a pin, read as root in early boot: what is taken goes into paths in sysfs, into udev's rules and
 * into a file of its own again; what is not taken has a printable problem with its place. */

#include "core/pin.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    _cleanup_(problems_done) Problems problems = {};
    _cleanup_strbuf_ StrBuf b = {};
    char name[PIN_FILE_NAME_MAX];
    Pin pin, again;
    int r;

    r = pin_parse("f", (const char *) data, size, &pin, &problems);
    EXPECT(r == 0 || r == -EBADMSG);
    EXPECT((r == 0) == (problems_count(&problems) == 0));
    for (size_t i = 0; i < problems_count(&problems); i++)
        EXPECT(is_printable(problems_get(&problems, i)));
    if (r < 0)
        return 0;
    EXPECT(slot_path_is_valid(pin.path) && pin_driver_is_valid(pin.driver));
    EXPECT(*pin.serial == '\0' || pci_serial_is_valid(pin.serial));
    EXPECT(!strchr(pin_file_name(pin.path, name), '/') && name[0] != '.' && strlen(name) < 255);
    pin_write(&b, &pin);
    EXPECT(b.text && pin_parse("f", b.text, b.length, &again, &problems) == 0);
    EXPECT(streq(pin.path, again.path) && streq(pin.id, again.id) && streq(pin.serial, again.serial) &&
            streq(pin.driver, again.driver));
    return 0;
}
