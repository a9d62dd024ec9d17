/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/pin-import.h"

#include "base/str.h"

#define ID_FIELDS 6U
#define WORD_MAX 256U /* of an id, as it is shown */
#define BLANKS " \t\r\v"
#define JOINED '\v' /* stands for the newline of a continued line */

bool imported_id_matches(const ImportedId *id, const ImportedId *device) {
    return (id->vendor == UINT32_MAX || id->vendor == device->vendor) &&
            (id->device == UINT32_MAX || id->device == device->device) &&
            (id->subsystem_vendor == UINT32_MAX || id->subsystem_vendor == device->subsystem_vendor) &&
            (id->subsystem_device == UINT32_MAX || id->subsystem_device == device->subsystem_device) &&
            ((id->class_code ^ device->class_code) & id->class_mask) == 0;
}

/* "10de:1b80", optionally with subsystem, class and mask. */
static bool parse_id(char *text, ImportedId *ret) {
    uint64_t fields[ID_FIELDS] = {0, 0, UINT32_MAX, UINT32_MAX, 0, 0};
    char *rest = text;
    size_t n = 0;

    for (char *field; (field = strsep(&rest, ":")); n++)
        if (n == ID_FIELDS || parse_unsigned(field, 16, UINT32_MAX, &fields[n]) < 0)
            return false;
    *ret = (ImportedId){
            .vendor = (uint32_t) fields[0],
            .device = (uint32_t) fields[1],
            .subsystem_vendor = (uint32_t) fields[2],
            .subsystem_device = (uint32_t) fields[3],
            .class_code = (uint32_t) fields[4],
            .class_mask = (uint32_t) fields[5],
    };
    return n >= 2;
}

/* list: the text after ids=, which is cut into pieces in place. */
static int add_ids(char *list, unsigned line, ImportSink *sink) {
    for (char *word; (word = strsep(&list, ","));) {
        char text[WORD_MAX];
        ImportedId id;
        bool is_id;
        int r;

        if (!*word)
            continue;
        put_text(text, sizeof(text), word);
        is_id = parse_id(word, &id);
        r = sink->add(sink, line, text, is_id ? &id : NULL);
        if (r < 0)
            return r;
    }
    return 0;
}

/* The kernel and modprobe accept both spellings of the module. */
static char *after_module(char *word) {
    return (char *) (startswith(word, "vfio-pci") ?: startswith(word, "vfio_pci"));
}

static int add_line(char *text, unsigned line, ImportSink *sink) {
    char *rest = NULL, *word = strtok_r(text, BLANKS, &rest), *end;

    if (!word || !streq(word, "options"))
        return 0;
    word = strtok_r(NULL, BLANKS, &rest);
    end = word ? after_module(word) : NULL;
    if (!end || *end)
        return 0;
    while ((word = strtok_r(NULL, BLANKS, &rest))) {
        int r = startswith(word, "ids=") ? add_ids(word + strlen("ids="), line, sink) : 0;

        if (r < 0)
            return r;
    }
    return 0;
}

/* A backslash at the end of a line continues it. */
static void join_lines(char *text) {
    for (char *c = text; (c = strchr(c, '\\'));)
        if (c[1] == '\n')
            c[0] = ' ', c[1] = JOINED;
        else
            c++;
}

int import_modprobe(const char *text, ImportSink *sink) {
    _cleanup_free_ char *copy = strdup(text);
    unsigned line = 1;
    int r = 0;

    if (!copy)
        return -ENOMEM;
    join_lines(copy);
    for (char *rest = copy, *next; r >= 0 && (next = strsep(&rest, "\n")); line++) {
        unsigned joined = 0;

        for (const char *c = next; (c = strchr(c, JOINED)); c++)
            joined++;
        r = *next == '#' ? 0 : add_line(next, line, sink);
        line += joined;
    }
    return r;
}

int import_command_line(const char *text, ImportSink *sink) {
    _cleanup_free_ char *copy = strdup(text);
    char *rest = NULL;

    if (!copy)
        return -ENOMEM;
    for (char *word = strtok_r(copy, BLANKS "\n", &rest); word; word = strtok_r(NULL, BLANKS "\n", &rest)) {
        char *end = after_module(word);
        int r = end && startswith(end, ".ids=") ? add_ids(end + strlen(".ids="), 1, sink) : 0;

        if (r < 0)
            return r;
    }
    return 0;
}

int import_driverctl_name(const char *name, DeviceName *ret) {
    const char *dash = strchr(name, '-');

    if (!dash || dash == name || name[0] == '.')
        return -EINVAL;
    if (!startswith(name, "pci-"))
        return -EOPNOTSUPP;
    return device_name_parse_pci_address(dash + 1, ret);
}
