/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Parsers of sysfs text and config space. They take what is well-formed and leave out the rest. No length or
 * offset is used before it was compared with the number of bytes read. */

#include <stdio.h>

#include "base/str.h"
#include "core/facts.h"

static const char *const reset_method_table[_RESET_METHOD_MAX] = {
        [RESET_METHOD_DEVICE_SPECIFIC] = "device_specific",
        [RESET_METHOD_ACPI] = "acpi",
        [RESET_METHOD_FLR] = "flr",
        [RESET_METHOD_AF_FLR] = "af_flr",
        [RESET_METHOD_PM] = "pm",
        [RESET_METHOD_BUS] = "bus",
        [RESET_METHOD_CXL_BUS] = "cxl_bus",
        [RESET_METHOD_UNKNOWN] = "unknown",
};
DEFINE_STRING_TABLE(reset_method, ResetMethod);

static const char *const acs_path_table[_ACS_PATH_MAX] = {
        [ACS_UNKNOWN] = "unknown",
        [ACS_COMPLETE] = "complete",
        [ACS_INCOMPLETE] = "incomplete",
        [ACS_NOT_NEEDED] = "not-needed",
};
DEFINE_STRING_TABLE(acs_path, AcsPath);

static const char *const removable_table[_REMOVABLE_MAX] = {
        [REMOVABLE_UNKNOWN] = "unknown",
        [REMOVABLE_FIXED] = "fixed",
        [REMOVABLE_REMOVABLE] = "removable",
};
DEFINE_STRING_TABLE(removable, Removable);

unsigned reset_methods_parse(const char *text) {
    unsigned mask = 0;

    for (const char *p = text; *(p += strspn(p, " \t\n")); p += strcspn(p, " \t\n")) {
        size_t n = strcspn(p, " \t\n");
        ResetMethod method = RESET_METHOD_UNKNOWN;

        for (size_t i = 0; i < ELEMENTSOF(reset_method_table); i++)
            if (strlen(reset_method_table[i]) == n && memcmp(reset_method_table[i], p, n) == 0)
                method = (ResetMethod) i;
        mask |= 1U << method;
    }
    return mask;
}

void device_facts_done(DeviceFacts *f) {
    free(f->host_critical);
    free(f->descendants);
    free(f->links);
    free(f->caps);
    for (char **p = f->properties; p && *p; p++)
        free(*p);
    free(f->properties);
    *f = DEVICE_FACTS_NULL;
}

/* Takes the next word of the line. NULL when there is none or it does not fit. */
static const char *take_word(const char **p, const char *end, char *buf, size_t size) {
    const char *start = *p, *s;
    size_t n;

    while (start < end && *start == ' ')
        start++;
    for (s = start; s < end && *s != ' '; s++)
        ;
    n = (size_t) (s - start);
    if (n == 0 || n >= size)
        return NULL;

    memcpy(buf, start, n);
    buf[n] = '\0';
    *p = s;
    return buf;
}

static bool take_address(const char **p, const char *end, uint64_t *ret) {
    char word[2 + 16 + 1];
    const char *digits;

    if (!take_word(p, end, word, sizeof(word)))
        return false;
    digits = startswith(word, "0x");
    return digits && parse_unsigned(digits, 16, UINT64_MAX, ret) >= 0;
}

/* "0x00000000fee00000 0x00000000feefffff msi" */
static bool parse_reserved_region(const char *line, const char *end, ReservedRegion *ret) {
    ReservedRegion region;

    if (!take_address(&line, end, &region.start) || !take_address(&line, end, &region.end) ||
            !take_word(&line, end, region.type, sizeof(region.type)))
        return false;
    if (region.end < region.start || line != end)
        return false;
    /* The type goes to D-Bus and to terminals. */
    if (strspn(region.type, "abcdefghijklmnopqrstuvwxyz-") != strlen(region.type))
        return false;

    *ret = region;
    return true;
}

size_t reserved_regions_parse(const char *text, ReservedRegion regions[static RESERVED_REGIONS_MAX]) {
    size_t n = 0;

    for (const char *line = text; *line && n < RESERVED_REGIONS_MAX;) {
        const char *end = line + strcspn(line, "\n");

        n += parse_reserved_region(line, end, &regions[n]);
        line = *end ? end + 1 : end;
    }
    return n;
}

/* Config space is little-endian whatever the host is. */
static unsigned config_word(const uint8_t *config, size_t at) {
    return (unsigned) config[at] | (unsigned) config[at + 1] << 8;
}

static uint32_t config_dword(const uint8_t *config, size_t at) {
    return (uint32_t) config_word(config, at) | (uint32_t) config_word(config, at + 2) << 16;
}

#define CONFIG_SPACE 4096U
#define HEADER_STATUS 0x06U
#define HEADER_STATUS_CAPABILITIES 0x10U
#define HEADER_CAPABILITIES 0x34U
#define HEADER_SIZE 0x40U
#define CAPABILITY_PCIE 0x10U
#define EXTENDED_SPACE 0x100U
#define EXTENDED_CAPABILITY_SERIAL 0x0003U
#define EXTENDED_CAPABILITY_ACS 0x000dU
#define ACS_CAPABILITIES 4U
#define ACS_CONTROL 6U
#define ACS_REQUIRED 0x1dU /* source validation, request and completion redirect, upstream forwarding */
#define SERIAL_LOW 4U
#define SERIAL_HIGH 8U

/* *ret is the offset of the capability, of which `length` bytes were read; -ENOENT when there is none;
 * -EINVAL. */
static int find_extended_capability(const uint8_t *config, size_t size, unsigned id, size_t length) {
    size_t at = EXTENDED_SPACE;

    size = MIN(size, CONFIG_SPACE);
    /* A capability takes at least 8 bytes, so a longer list is a loop. */
    for (unsigned i = 0; i < (CONFIG_SPACE - EXTENDED_SPACE) / 8; i++) {
        uint32_t header;

        if (at + 4 > size)
            return -EINVAL;
        header = config_dword(config, at);
        if (header == UINT32_MAX) /* no answer: disconnected or in reset */
            return -EINVAL;
        if (header == 0) /* no capabilities; in the middle of a list the kernel stops here too */
            return -ENOENT;
        if ((header & 0xffff) == id)
            return at + length <= size ? (int) at : -EINVAL;

        at = (header >> 20) & 0xffc; /* the low two bits are reserved */
        if (at == 0)
            return -ENOENT;
        if (at < EXTENDED_SPACE)
            return -EINVAL;
    }
    return -EINVAL;
}

int pci_config_acs_enabled(const uint8_t *config, size_t size) {
    unsigned required;
    int at;

    at = find_extended_capability(config, size, EXTENDED_CAPABILITY_ACS, 8);
    if (at < 0)
        return at == -ENOENT ? 0 : at;
    /* The kernel's rule (pci_acs_flags_enabled): a control that the port does not support need not be
     * enabled. */
    required = ACS_REQUIRED & config_word(config, (size_t) at + ACS_CAPABILITIES);
    return (config_word(config, (size_t) at + ACS_CONTROL) & required) == required;
}

int pci_config_serial(const uint8_t *config, size_t size, char ret[static PCI_SERIAL_MAX]) {
    uint32_t high, low;
    int r;

    r = pci_config_port_type(config, size);
    if (r == -ENOENT) /* conventional PCI has no extended config space */
        return 0;
    if (r < 0)
        return r;
    r = find_extended_capability(config, size, EXTENDED_CAPABILITY_SERIAL, 12);
    if (r < 0)
        return r == -ENOENT ? 0 : r;

    low = config_dword(config, (size_t) r + SERIAL_LOW);
    high = config_dword(config, (size_t) r + SERIAL_HIGH);
    (void) snprintf(ret, PCI_SERIAL_MAX, "%02x-%02x-%02x-%02x-%02x-%02x-%02x-%02x", high >> 24,
            high >> 16 & 0xff, high >> 8 & 0xff, high & 0xff, low >> 24, low >> 16 & 0xff, low >> 8 & 0xff,
            low & 0xff);
    return 1;
}

int pci_config_port_type(const uint8_t *config, size_t size) {
    size_t at;

    size = MIN(size, (size_t) EXTENDED_SPACE);
    if (size < HEADER_SIZE || config_dword(config, 0) == UINT32_MAX)
        return -EINVAL;
    if (!(config_word(config, HEADER_STATUS) & HEADER_STATUS_CAPABILITIES))
        return -ENOENT;

    at = config[HEADER_CAPABILITIES] & 0xfcU;
    for (unsigned i = 0; i < (EXTENDED_SPACE - HEADER_SIZE) / 4; i++) {
        if (at == 0)
            return -ENOENT;
        if (at < HEADER_SIZE || at + 4 > size)
            return -EINVAL;
        if (config[at] == CAPABILITY_PCIE)
            return (int) (config_word(config, at + 2) >> 4 & 0xfU);
        at = config[at + 1] & 0xfcU;
    }
    return -EINVAL;
}

int pci_config_isolates(const uint8_t *config, size_t size, bool several_functions) {
    int type;

    type = pci_config_port_type(config, size);
    if (type == -ENOENT)
        return 0; /* conventional PCI has no ACS */
    if (type < 0)
        return type;

    switch (type) {
    case PCI_PORT_ROOT:
    case PCI_PORT_DOWNSTREAM:
        return pci_config_acs_enabled(config, size);

    case PCI_PORT_ENDPOINT:
    case PCI_PORT_LEGACY_ENDPOINT:
    case PCI_PORT_ROOT_COMPLEX_ENDPOINT:
    case PCI_PORT_UPSTREAM:
        return several_functions ? pci_config_acs_enabled(config, size) : 1;

    default: /* bridges to and from conventional PCI, event collectors, reserved values */
        return 0;
    }
}

int slot_path_format(const DeviceName *path, size_t n, char ret[static SLOT_PATH_MAX]) {
    size_t start = 0, length;

    /* Behind a bridge to another domain (VMD) the kernel's path begins again. */
    for (size_t i = 1; i < n; i++)
        if (path[i].domain != path[i - 1].domain)
            start = i;
    if (start == n)
        return -EINVAL;

    length = (size_t) snprintf(ret, SLOT_PATH_MAX, "%04x:%02x:%02x.%x", path[start].domain,
            path[start].pci_bus, path[start].slot, path[start].function);
    for (size_t i = start + 1; i < n && length < SLOT_PATH_MAX; i++)
        length += (size_t) snprintf(
                ret + length, SLOT_PATH_MAX - length, "/%02x.%x", path[i].slot, path[i].function);
    return length < SLOT_PATH_MAX ? 0 : -E2BIG;
}

/* A step after the first is a slot and a function: "1c.0". */
static bool is_path_step(const char *s, size_t n) {
    return n == 4 && (s[0] == '0' || s[0] == '1') && strchr("0123456789abcdef", s[1]) && s[2] == '.' &&
            s[3] >= '0' && s[3] <= '7';
}

bool slot_path_is_valid(const char *s) {
    char root[DEVICE_NAME_MAX];
    size_t n = strcspn(s, "/");
    DeviceName name;

    if (strlen(s) >= SLOT_PATH_MAX || n >= sizeof(root))
        return false;
    memcpy(root, s, n);
    root[n] = '\0';
    if (device_name_parse_pci_address(root, &name) < 0)
        return false;
    for (s += n; *s; s += n) {
        s++;
        n = strcspn(s, "/");
        if (!is_path_step(s, n))
            return false;
    }
    return true;
}

bool pci_serial_is_valid(const char *s) {
    if (strlen(s) != PCI_SERIAL_MAX - 1)
        return false;
    for (size_t i = 0; s[i]; i++)
        if (i % 3 == 2 ? s[i] != '-' : !strchr("0123456789abcdef", s[i]))
            return false;
    return true;
}
