/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pins/claimed-group.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/json-text.h"
#include "base/str.h"
#include "core/plan.h"
#include "core/slot.h"
#include "pins/pin-devices.h"

#define RECORD_FILE_MAX (256 * 1024)

static const JsonNode *find_member(const JsonNode *object, const char *key, JsonType type) {
    for (const JsonNode *m = object->type == JSON_OBJECT ? object->children : NULL; m; m = m->next)
        if (streq(m->key, key))
            return m->type == type ? m : NULL;
    return NULL;
}

/* In these states the claim takes the override over, see broker/sibling.h. */
static bool is_current(const JsonNode *record) {
    static const char *const states[] = {"binding", "opening", "held", "draining"};
    const JsonNode *state = find_member(record, "state", JSON_STRING);

    for (size_t i = 0; state && i < ELEMENTSOF(states); i++)
        if (streq(state->string, states[i]))
            return true;
    return false;
}

/* A record that cannot be read matches no group here: vfiod itself deals with it. */
static bool record_has_group(const char *text, size_t length, int group) {
    static const JsonBounds bounds = {.size = RECORD_FILE_MAX, .nodes = RECORD_FILE_MAX};
    _cleanup_(json_document_freep) JsonDocument *document = NULL;
    const JsonNode *groups;
    JsonError error;

    if (json_document_parse_bounded(text, length, &bounds, &document, &error) < 0)
        return false;
    groups = find_member(json_document_root(document), "groups", JSON_ARRAY);
    for (const JsonNode *n = groups ? groups->children : NULL; n; n = n->next)
        if (n->type == JSON_INTEGER && n->integer == group)
            return is_current(json_document_root(document));
    return false;
}

static bool slots_have_group(int fd, int group) {
    char slot[SLOT_SIZE];

    for (off_t at = 0; pread(fd, slot, sizeof(slot), at) == (ssize_t) sizeof(slot); at += sizeof(slot)) {
        SlotView view;

        slot_view(slot, &view);
        if (view.state == SLOT_TAKEN && record_has_group(view.text, view.length, group))
            return true;
    }
    return false;
}

static bool file_has_group(int fd, int group) {
    _cleanup_free_ char *text = NULL;
    size_t size;

    return read_file(fd, RECORD_FILE_MAX, &text, &size) >= 0 && record_has_group(text, size, group);
}

static bool is_record(const char *name) {
    const char *dot = strrchr(name, '.');

    return dot && streq(dot, ".json");
}

static bool is_claimed(const char *claims, int group) {
    _cleanup_closedir_ DIR *dir = NULL;
    struct dirent *e;

    if (open_directory_at(AT_FDCWD, claims, &dir) < 0)
        return false;
    while ((e = readdir(dir))) {
        bool slots = streq(e->d_name, "slots");
        _cleanup_close_ int fd = -EBADF;

        if (!slots && !is_record(e->d_name))
            continue;
        fd = openat(dirfd(dir), e->d_name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        if (fd >= 0 && (slots ? slots_have_group : file_has_group)(fd, group))
            return true;
    }
    return false;
}

/* The number of the device's group if other devices are in it, otherwise -1. */
static int read_shared_group(int device) {
    _cleanup_closedir_ DIR *members = NULL;
    char number[16];
    uint64_t group;
    unsigned n = 0;
    struct dirent *e;

    if (read_link_basename_at(device, "iommu_group", number, sizeof(number)) < 0 ||
            parse_unsigned(number, 10, INT32_MAX, &group) < 0 ||
            open_directory_at(device, "iommu_group/devices", &members) < 0)
        return -1;
    while ((e = readdir(members)))
        n += e->d_name[0] != '.';
    return n > 1 ? (int) group : -1;
}

int claimed_group_park(const char *claims, const DeviceName *name) {
    PinDevice d = {.name = *name};
    _cleanup_close_ int dir = pin_device_open(&d);
    int group, r;

    if (dir < 0)
        return dir == -ENODEV ? 0 : dir;
    group = read_shared_group(dir);
    if (group < 0)
        return 0;
    r = pin_device_read(dir, &d, /* with_serial= */ false);
    if (r < 0)
        return r == -ENODEV ? 0 : r;
    if (*d.driver || *d.override || !d.has_override || pin_device_is_bridge(&d) || !is_claimed(claims, group))
        return 0;
    return write_attribute_at(dir, "driver_override", OVERRIDE_PARKED);
}
