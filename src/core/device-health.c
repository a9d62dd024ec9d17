/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/device-health.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/str.h"

#define VENDOR 0x00
#define DEVICE 0x02
#define CLASS 0x09 /* after the revision */
#define HEADER_TYPE 0x0e
#define SUBSYSTEM_VENDOR 0x2c /* of a function with an ordinary header */
#define SUBSYSTEM_DEVICE 0x2e

static uint16_t read_word(const uint8_t *header, unsigned at) {
    return (uint16_t) (header[at] | header[at + 1] << 8);
}

static uint32_t read_class(const uint8_t *header) {
    return header[CLASS] | (uint32_t) header[CLASS + 1] << 8 | (uint32_t) header[CLASS + 2] << 16;
}

static bool is_all_ones(const uint8_t *header) {
    for (unsigned i = 0; i < CONFIG_HEADER_SIZE; i++)
        if (header[i] != 0xff)
            return false;
    return true;
}

static MemberFailure check_pair(const char *what, uint16_t vendor, uint16_t device, uint16_t wanted_vendor,
        uint16_t wanted_device, char seen[static HEALTH_SEEN_MAX]) {
    if (vendor == wanted_vendor && device == wanted_device)
        return MEMBER_FAILURE_NONE;
    (void) snprintf(seen, HEALTH_SEEN_MAX, "its %s are %04x:%04x, and were %04x:%04x", what, vendor, device,
            wanted_vendor, wanted_device);
    return MEMBER_FAILURE_IDENTITY;
}

static MemberFailure check_class(
        const uint8_t *header, const uint8_t *before, uint32_t wanted, char seen[static HEALTH_SEEN_MAX]) {
    uint32_t class = read_class(header);

    if (class == wanted || (before && !is_all_ones(before) && class == read_class(before)))
        return MEMBER_FAILURE_NONE;
    (void) snprintf(
            seen, HEALTH_SEEN_MAX, "its class is 0x%06" PRIx32 ", and was 0x%06" PRIx32, class, wanted);
    return MEMBER_FAILURE_IDENTITY;
}

MemberFailure config_header_check(const uint8_t header[static CONFIG_HEADER_SIZE], const uint8_t *before,
        const ConfigIds *ids, char seen[static HEALTH_SEEN_MAX]) {
    MemberFailure failure = MEMBER_FAILURE_NONE;

    if (is_all_ones(header)) {
        (void) snprintf(seen, HEALTH_SEEN_MAX, "its config space reads all ones");
        return MEMBER_FAILURE_NO_ANSWER;
    }
    if (!ids)
        return MEMBER_FAILURE_NONE;
    if (!ids->is_virtual_function)
        failure = check_pair(
                "ids", read_word(header, VENDOR), read_word(header, DEVICE), ids->vendor, ids->device, seen);
    if (failure == MEMBER_FAILURE_NONE)
        failure = check_class(header, before, ids->class, seen);
    if (failure == MEMBER_FAILURE_NONE && !ids->is_virtual_function && (header[HEADER_TYPE] & 0x7f) == 0)
        failure = check_pair("subsystem ids", read_word(header, SUBSYSTEM_VENDOR),
                read_word(header, SUBSYSTEM_DEVICE), ids->subsystem_vendor, ids->subsystem_device, seen);
    return failure;
}

bool power_state_is_doubtful(const char *state) {
    return streq(state, "D3cold") || streq(state, "error");
}

MemberFailure power_state_check(
        const char *state, const char *runtime_status, char seen[static HEALTH_SEEN_MAX]) {
    bool low = streq(state, "D1") || streq(state, "D2") || streq(state, "D3hot") || streq(state, "D3cold");

    if (!streq(state, "error") && !(low && streq(runtime_status, "active")))
        return MEMBER_FAILURE_NONE;
    (void) snprintf(seen, HEALTH_SEEN_MAX, "its power state is %s", state);
    return MEMBER_FAILURE_POWER;
}

MemberFailure power_state_check_idle(
        const char *state, const char *runtime_status, char seen[static HEALTH_SEEN_MAX]) {
    return power_state_is_doubtful(state) ? power_state_check(state, runtime_status, seen)
                                          : MEMBER_FAILURE_NONE;
}
