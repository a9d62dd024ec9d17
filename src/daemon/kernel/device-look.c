/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/kernel/device-look.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"

#define POWER_LOOKS 3U

int device_look_read_id(int dir, const char *attribute, uint64_t max, uint64_t *ret) {
    const char *digits;
    char text[16];
    ssize_t n;

    n = read_attribute_at(dir, attribute, text, sizeof(text));
    if (n < 0)
        return (int) n;
    digits = startswith(text, "0x");
    if (!digits)
        return -EBADMSG;
    return parse_unsigned(digits, 16, max, ret);
}

int device_look_read_header(int dir, uint8_t header[static CONFIG_HEADER_SIZE]) {
    _cleanup_close_ int fd = openat(dir, "config", O_RDONLY | O_CLOEXEC);
    ssize_t n;

    if (fd < 0)
        return -errno;
    n = pread(fd, header, CONFIG_HEADER_SIZE, 0);
    if (n < 0)
        return -errno;
    return n == CONFIG_HEADER_SIZE ? 0 : -EIO;
}

/* As the kernel found it: check_identity() has seen that this is the device that was planned for. */
static int read_config_ids(int dir, ConfigIds *ret) {
    static const struct {
        const char *attribute;
        uint64_t max;
    } ids[] = {{"vendor", UINT16_MAX}, {"device", UINT16_MAX}, {"subsystem_vendor", UINT16_MAX},
            {"subsystem_device", UINT16_MAX}, {"class", 0xffffff}};
    uint64_t v[ELEMENTSOF(ids)] = {};

    for (size_t i = 0; i < ELEMENTSOF(ids); i++) {
        int r = device_look_read_id(dir, ids[i].attribute, ids[i].max, &v[i]);

        if (r < 0)
            return r;
    }
    *ret = (ConfigIds){.vendor = (uint16_t) v[0],
            .device = (uint16_t) v[1],
            .subsystem_vendor = (uint16_t) v[2],
            .subsystem_device = (uint16_t) v[3],
            .class = (uint32_t) v[4],
            .is_virtual_function = faccessat(dir, "physfn", F_OK, 0) == 0};
    return 0;
}

static void read_text(int dir, const char *attribute, char buf[static 16]) {
    if (read_attribute_at(dir, attribute, buf, 16) < 0)
        buf[0] = '\0';
}

/* It may fall asleep or wake between the two reads, and is in between for a moment. */
static MemberFailure check_power(int dir, bool idle, char seen[static HEALTH_SEEN_MAX]) {
    MemberFailure failure = MEMBER_FAILURE_NONE;

    for (unsigned i = 0; i < POWER_LOOKS; i++) {
        char state[16], status[16];

        read_text(dir, "power_state", state);
        read_text(dir, "power/runtime_status", status);
        failure = idle ? power_state_check_idle(state, status, seen) : power_state_check(state, status, seen);
        if (failure == MEMBER_FAILURE_NONE)
            break;
    }
    return failure;
}

static int end(MemberFailure failure, MemberFailure *ret_failure, char seen[static HEALTH_SEEN_MAX]) {
    *ret_failure = failure;
    if (failure != MEMBER_FAILURE_NONE)
        return -EIO;
    seen[0] = '\0';
    return 0;
}

/* The class of one in use is not compared: what it was before is unknown, and need not be what the kernel
 * says (its quirks). */
static int look(int dir, const uint8_t *before, bool idle, MemberFailure *failure,
        char seen[static HEALTH_SEEN_MAX]) {
    uint8_t header[CONFIG_HEADER_SIZE];
    MemberFailure f;
    ConfigIds ids;
    int r;

    r = device_look_read_header(dir, header);
    if (r >= 0)
        r = read_config_ids(dir, &ids);
    if (r < 0)
        return r;
    f = config_header_check(header, idle ? header : before, &ids, seen);
    if (f == MEMBER_FAILURE_NONE)
        f = check_power(dir, idle, seen);
    return end(f, failure, seen);
}

int device_look_reset(
        int dir, const uint8_t *before, MemberFailure *failure, char seen[static HEALTH_SEEN_MAX]) {
    return look(dir, before, /* idle= */ false, failure, seen);
}

int device_look_idle(int dir, MemberFailure *failure, char seen[static HEALTH_SEEN_MAX]) {
    uint8_t header[CONFIG_HEADER_SIZE];
    MemberFailure f;
    int r;

    r = device_look_read_header(dir, header);
    if (r < 0)
        return r;
    f = config_header_check(header, NULL, NULL, seen);
    if (f == MEMBER_FAILURE_NONE)
        f = check_power(dir, /* idle= */ true, seen);
    return end(f, failure, seen);
}

int device_look_used(int dir, MemberFailure *failure, char seen[static HEALTH_SEEN_MAX]) {
    return look(dir, NULL, /* idle= */ true, failure, seen);
}
