/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/device-spelling.h"

#include <stdio.h>

#include "base/str.h"
#include "core/device-kind.h"

#define TEXT_MAX 256U /* longer texts are not typing mistakes */
#define WORD_CHARACTERS "0123456789abcdefABCDEF:."

static void add_name(DeviceGuess *g, const DeviceName *name) {
    for (size_t i = 0; i < g->n; i++)
        if (device_name_compare(&g->names[i], name) == 0)
            return;
    if (g->n < DEVICE_GUESS_MAX)
        g->names[g->n++] = *name;
}

static bool make_name(const uint64_t fields[static 4], DeviceName *ret) {
    char text[64];

    if (fields[0] > UINT32_MAX || fields[1] > 0xff || fields[2] > 0x1f || fields[3] > 7)
        return false;
    (void) snprintf(text, sizeof(text), "%04x:%02x:%02x.%x", (unsigned) fields[0], (unsigned) fields[1],
            (unsigned) fields[2], (unsigned) fields[3]);
    return device_name_parse(text, ret) >= 0;
}

/* Finds whole names anywhere in the text: "host=06:00.0,x-vga=1", "A;B", "pci@0000:01:00.0",
 * "/sys/…/driver". */
static void find_names(const char *text, DeviceGuess *g) {
    for (const char *p = text; *(p += strcspn(p, WORD_CHARACTERS)); p += strspn(p, WORD_CHARACTERS)) {
        size_t n = strspn(p, WORD_CHARACTERS);
        char word[DEVICE_NAME_MAX];
        DeviceName name;

        if (n >= sizeof(word))
            continue;
        memcpy(word, p, n);
        word[n] = '\0';
        if (device_name_parse(word, &name) >= 0)
            add_name(g, &name);
    }
}

/* Splits the text into numbers at any of the separators. Returns their count, 0 when the text has another
 * form. lengths: the digits of each. */
static size_t split_numbers(const char *text, const char *separators, unsigned base,
        uint64_t fields[static 4], size_t lengths[static 4]) {
    for (size_t n = 0;; text++) {
        size_t length = strcspn(text, separators);
        char digits[9];

        if (n == 4 || length == 0 || length >= sizeof(digits))
            return 0;
        memcpy(digits, text, length);
        digits[length] = '\0';
        if (parse_unsigned(digits, base, UINT32_MAX, &fields[n]) < 0)
            return 0;
        lengths[n++] = length;
        text += length;
        if (!*text)
            return n;
    }
}

/* The fields of an address with any separator, without domain, leading zeros or function: "01:00",
 * "0000:01:00", "1:0.0", "0000:01:00:0". A domain has four digits. */
static void guess_fields(const char *text, DeviceGuess *g) {
    uint64_t fields[4], address[4] = {};
    size_t lengths[4], n;
    DeviceName name;

    n = split_numbers(text, ":._", 16, fields, lengths);
    if (n < 2 || (n == 2 && (lengths[0] > 2 || strchr(text, '.'))))
        return;
    g->whole_slot = n == 2 || (n == 3 && lengths[0] >= 4);
    memcpy(&address[n == 4 || lengths[0] >= 4 ? 0 : 1], fields, n * sizeof(*fields));
    if (make_name(address, &name))
        add_name(g, &name);
}

/* In decimal: X.org's "PCI:1:0:0" and "PCI:1@0:0:0" (the domain after '@'), bhyve's "1/0/0". */
static void guess_decimal(const char *text, DeviceGuess *g) {
    const char *xorg = startswith(text, "PCI:");
    uint64_t fields[4], address[4] = {};
    size_t lengths[4], n;
    DeviceName name;

    n = split_numbers(xorg ?: text, xorg ? ":@" : "/", 10, fields, lengths);
    if (n == 4 && strchr(text, '@')) {
        const uint64_t swapped[4] = {fields[1], fields[0], fields[2], fields[3]};

        memcpy(address, swapped, sizeof(address));
    } else if (n == 3)
        memcpy(&address[1], fields, 3 * sizeof(*fields));
    else
        return;
    if (make_name(address, &name))
        add_name(g, &name);
}

/* Skips what other tools write before an address. */
static const char *skip_prefix(const char *text) {
    static const char *const prefixes[] = {
            "vfio-pci,", "host=", "hostdev=", "pci:", "pci_", "pci-", "pci@", "pci/", "PCI_", "PCI-", "BDF:"};

    for (bool again = true; again;) {
        again = false;
        for (size_t i = 0; i < ELEMENTSOF(prefixes); i++) {
            const char *rest = startswith(text, prefixes[i]);

            if (rest) {
                text = rest;
                again = true;
            }
        }
    }
    return text;
}

void device_spelling_guess(const char *text, DeviceGuess *ret) {
    *ret = (DeviceGuess){};
    if (strnlen(text, TEXT_MAX) == TEXT_MAX)
        return;
    find_names(text, ret);
    if (ret->n == 0)
        guess_decimal(text, ret);
    if (ret->n == 0) {
        char word[DEVICE_NAME_MAX];
        const char *rest = skip_prefix(text);
        size_t n = strcspn(rest, ",; ");

        if (n >= sizeof(word))
            return;
        memcpy(word, rest, n);
        word[n] = '\0';
        guess_fields(word, ret);
    }
}

static const char *write_name(const DeviceName *name, bool in_pattern, char buf[static DEVICE_NAME_MAX]) {
    return in_pattern ? device_name_format_kernel(name, buf) : device_name_format(name, buf);
}

/* "/dev/vfio/20": explains that a node is not a device name. */
static char *explain_node(const char *text) {
    const char *rest = startswith(text, "/dev/vfio/"), *digits = rest;

    if (!rest)
        return NULL;
    if (startswith(rest, "devices/vfio"))
        return format_string(": it is the node of a device, \"vfioctl list\" shows whose");
    digits = startswith(rest, "noiommu-") ?: rest;
    if (!*digits || digits[strspn(digits, "0123456789")])
        return NULL;
    return format_string(": it is the node of IOMMU group %s, \"vfioctl list\" shows its devices", digits);
}

/* The text has a kind, but what follows is not a name of that kind. */
static char *explain_kind(const char *text) {
    const char *rest;
    DeviceKind kind = device_kind_of(text, &rest);

    if ((int) kind < 0 || kind == DEVICE_KIND_PCI)
        return NULL;
    if (kind == DEVICE_KIND_MDEV)
        return format_string(
                ": a mediated device is named by its UUID, mdev:%s", device_kind_info(kind)->example);
    if (kind == DEVICE_KIND_TEMPLATE)
        return format_string(": a template is named as in the policy, %s:%s, with at most %u characters",
                device_kind_info(kind)->name, device_kind_info(kind)->example, DEVICE_TEXT_MAX - 1);
    return format_string(": devices of the kind %s are named as in %s/devices, like %s:%s, with at most %u "
                         "characters",
            device_kind_info(kind)->name, device_kind_info(kind)->directory, device_kind_info(kind)->name,
            device_kind_info(kind)->example, DEVICE_TEXT_MAX - 1);
}

char *device_spelling_explain(const char *text, bool in_pattern) {
    _cleanup_strbuf_ StrBuf b = {};
    char name[DEVICE_NAME_MAX];
    DeviceGuess g;
    char *told;

    told = explain_node(text) ?: explain_kind(text);
    if (told)
        return told;
    device_spelling_guess(text, &g);
    strbuf_add(&b, "");
    if (g.n == 1 && g.whole_slot && in_pattern) {
        (void) device_name_format_kernel(&g.names[0], name);
        strbuf_addf(&b, ", did you mean \"%.*s*\"?", (int) strlen(name) - 1, name);
    } else if (g.n == 1 && g.whole_slot)
        strbuf_addf(&b, ", did you mean \"%s\", or all functions of that card, one by one?",
                write_name(&g.names[0], in_pattern, name));
    else if (g.n > 0) {
        strbuf_add(&b, ", did you mean ");
        for (size_t i = 0; i < g.n; i++)
            strbuf_addf(&b, "%s\"%s\"", i == 0 ? "" : " and ", write_name(&g.names[i], in_pattern, name));
        strbuf_add(&b, g.n > 1 ? ", one by one?" : "?");
    }
    return strbuf_steal(&b);
}
