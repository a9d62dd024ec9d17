/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What sysfs and /proc say, given to every parser of it: names, paths of uevents, reset methods, reserved
 * regions, config space, and the tables of mounts, swap and routes. None may need another's kind of input to
 * be safe. */

#include "fuzz.h"

#include "core/device-kind.h"
#include "core/device-spelling.h"
#include "core/facts.h"
#include "core/host-tables.h"

/* A name that was understood is written in one way, which is understood as the same. */
static void check_name(const DeviceName *name) {
    char buf[DEVICE_NAME_MAX];
    DeviceName back;

    const DeviceKindInfo *info = device_kind_info(name->kind);

    EXPECT(name->kind != DEVICE_KIND_PCI || (name->slot < 32 && name->function < 8));
    EXPECT(device_name_parse(device_name_format(name, buf), &back) == 0);
    EXPECT(device_name_compare(name, &back) == 0);
    EXPECT(info->parse_kernel(name->kind, device_name_format_kernel(name, buf), &back) == 0);
    EXPECT(device_name_compare(name, &back) == 0 && device_name_hash(name) == device_name_hash(&back));
}

static void fuzz_names(const char *text) {
    char buf[DEVICE_NAME_MAX];
    DeviceName name;

    if (device_name_parse(text, &name) >= 0)
        check_name(&name);
    free(device_spelling_explain(text, false));
    free(device_spelling_explain(text, true));
    for (DeviceKind k = 0; k < _DEVICE_KIND_MAX; k++)
        if (device_name_parse_above(text, "vfio-dev", k, &name) >= 0) {
            EXPECT(name.kind == k);
            check_name(&name);
        }
    if (device_name_parse_pci_address(text, &name) >= 0) {
        check_name(&name);
        EXPECT(streq(device_name_format_kernel(&name, buf), text));
    }
}

static void fuzz_facts(const char *text) {
    ReservedRegion regions[RESERVED_REGIONS_MAX];
    unsigned methods;
    size_t n;

    methods = reset_methods_parse(text);
    EXPECT(methods < 1U << _RESET_METHOD_MAX);
    EXPECT((methods == 0) == (text[strspn(text, " \t\n")] == '\0'));

    n = reserved_regions_parse(text, regions);
    EXPECT(n <= RESERVED_REGIONS_MAX);
    for (size_t i = 0; i < n; i++) {
        EXPECT(regions[i].start <= regions[i].end);
        EXPECT(memchr(regions[i].type, 0, sizeof(regions[i].type)) && regions[i].type[0]);
        EXPECT(is_printable(regions[i].type));
    }
}

/* Every line is taken once: there are no more answers than lines. */
static void fuzz_tables(const char *text) {
    unsigned n_lines = 1, major_number, minor_number;
    static MountEntry mount;
    uint64_t unsure, capabilities;
    ProcessStatus status;
    char *command;
    char path[PATH_MAX];
    const char *cursor;
    int r;

    for (const char *p = text; (p = strchr(p, '\n')); p++)
        n_lines++;

    cursor = text;
    for (unsigned n = 0; (r = mountinfo_next(&cursor, &mount)) != 0; n++) {
        EXPECT(n < n_lines && (r == 1 || r == -EBADMSG));
        if (r > 0)
            EXPECT(mount.major < 4096 && mount.minor < 1048576 && mount.target[0] && mount.source[0]);
    }
    cursor = text;
    for (unsigned n = 0; (r = swaps_next(&cursor, path)) != 0; n++)
        EXPECT(n < n_lines && (r == 1 || r == -EBADMSG));

    r = route_table_has_default(text, "eth0");
    EXPECT(r == 0 || r == 1 || r == -EBADMSG);
    r = ipv6_route_table_has_default(text, "eth0");
    EXPECT(r == 0 || r == 1 || r == -EBADMSG);

    r = process_status_parse(text, &status);
    EXPECT(r == 0 || r == -EBADMSG);
    if (r == 0 && process_capabilities(&status, 1000, &capabilities, &unsure) >= 0)
        EXPECT(process_has_uid(&status, 1000) && (capabilities & unsure) == 0);

    command = status_command(text);
    EXPECT(!command || strlen(command) < strlen(text));
    free(command);
    r = stat_start_ticks(text, &capabilities);
    EXPECT(r == 0 || r == -EBADMSG);

    if (nvme_path_to_head(text, path, sizeof(path)) >= 0)
        EXPECT(strlen(path) < strlen(text) && startswith(path, "nvme"));
    if (parse_device_number(text, &major_number, &minor_number) >= 0)
        EXPECT(major_number < 4096 && minor_number < 1048576);
}

static void fuzz_config(const uint8_t *data, size_t size) {
    char serial[PCI_SERIAL_MAX] = "";
    int acs, type, isolates, alone, r;

    acs = pci_config_acs_enabled(data, size);
    EXPECT(acs == 0 || acs == 1 || acs == -EINVAL);
    type = pci_config_port_type(data, size);
    EXPECT((type >= 0 && type < 16) || type == -ENOENT || type == -EINVAL);
    isolates = pci_config_isolates(data, size, true);
    EXPECT(isolates == 0 || isolates == 1 || isolates == -EINVAL);
    alone = pci_config_isolates(data, size, false);
    EXPECT(isolates != 1 || alone == 1); /* neighbours make nothing better */
    r = pci_config_serial(data, size, serial);
    EXPECT(r == 0 || r == -EINVAL || (r == 1 && strlen(serial) == 23));
    EXPECT(r == 1 || !serial[0]);
    /* a port is never taken for safe that does not say so */
    if (isolates == 1 && (type == PCI_PORT_ROOT || type == PCI_PORT_DOWNSTREAM))
        EXPECT(acs == 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    _cleanup_free_ char *text = malloc(size + 1);

    EXPECT(text);
    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';

    fuzz_names(text);
    fuzz_facts(text);
    fuzz_tables(text);
    fuzz_config(data, size);
    return 0;
}
