/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A pin: the card in this place belongs to this driver from the boot on, before a driver of the host takes
 * it.
 *
 * Names of devices change when buses are numbered anew, so a pin names the place by its slot path. A place
 * alone would give whatever is plugged in there to the pinned driver, so a pin also has the ids of the card,
 * and its serial number if it has one. All of it must agree. A pin is a file that people read, write and
 * compare:
 *
 *     {
 *         "path": "0000:00:1c.0/00.0",
 *         "id": "8086:10d3:8086:a01f",
 *         "serial": "00-1b-21-ff-ff-a1-b2-c3",
 *         "driver": "vfio-pci"
 *     }
 *
 * Pure: pins are read and applied in src/pins. */

#include "base/str.h"
#include "core/facts.h"
#include "core/schema.h"

/* As driver: nothing may bind to the device. No driver has that name. */
#define PIN_NO_DRIVER "none"
#define PIN_DRIVER_MAX 64U /* with its NUL */
#define PIN_ID_MAX 20U     /* "8086:10d3:8086:a01f" */
#define PIN_FILE_MAX (16U * 1024)

typedef struct Pin {
    char path[SLOT_PATH_MAX];
    char id[PIN_ID_MAX];         /* of the subsystem, too, or without that */
    char serial[PCI_SERIAL_MAX]; /* "": not looked at */
    char driver[PIN_DRIVER_MAX]; /* or PIN_NO_DRIVER */
} Pin;

/* file: what stands before LINE:COLUMN in problems. 0 and *ret; -EBADMSG with the problems added; -ENOMEM. */
int pin_parse(const char *file, const char *text, size_t size, Pin *ret, Problems *problems);
/* The text of a file. */
void pin_write(StrBuf *b, const Pin *pin);
/* The name of the file for a place: "0000:00:1c.0-00.0.json". Returns buf. */
#define PIN_FILE_NAME_MAX (SLOT_PATH_MAX + sizeof(".json"))
const char *pin_file_name(const char *path, char buf[static PIN_FILE_NAME_MAX]);
bool pin_driver_is_valid(const char *driver);
/* Writes "8086:10d3:8086:a01f"; returns buf. */
const char *pin_format_id(uint16_t vendor, uint16_t device, uint16_t subsystem_vendor,
        uint16_t subsystem_device, char buf[static PIN_ID_MAX]);

/* A device, as it is now. */
typedef struct PinDevice {
    DeviceName name;
    uint32_t class_code;
    char path[SLOT_PATH_MAX];
    char id[PIN_ID_MAX];
    char serial[PCI_SERIAL_MAX]; /* "": it has none */
    bool serial_known;
    bool has_override;             /* there is such an attribute */
    char override[PIN_DRIVER_MAX]; /* "": not set */
    char driver[PIN_DRIVER_MAX];   /* "": none */
} PinDevice;

typedef enum PinState {
    PIN_IN_FORCE,   /* the device is with the driver, or without one as the pin says */
    PIN_PENDING,    /* without a driver, and the override is not set yet or no driver has come */
    PIN_ABSENT,     /* nothing is in the place */
    PIN_MOVED,      /* the card is in another place, known by its serial number */
    PIN_SWAPPED,    /* another card is in the place */
    PIN_TOO_LATE,   /* another driver had the device first; it is never taken away */
    PIN_OVERRIDDEN, /* somebody else has set driver_override to another driver */
    PIN_UNKNOWN,    /* the serial number cannot be read: only root can */
    _PIN_STATE_MAX,
    _PIN_STATE_INVALID = -EINVAL,
} PinState;
DECLARE_STRING_TABLE(
        pin_state, PinState); /* "in-force", "pending", "absent", "moved", "swapped", "too-late"… */

/* Does the card at hand agree with the pin, but for the place? 1, 0, -EAGAIN when the serial number would
 * decide it and is unknown. */
int pin_matches_card(const Pin *pin, const PinDevice *device);
/* at_place, elsewhere: the device in the place, and one with the pin's serial number in another; NULL: none.
 */
PinState pin_judge(const Pin *pin, const PinDevice *at_place, const PinDevice *elsewhere);
/* Why the pin is not in force, as a sentence; "" when it is. The same devices as above. Owned; NULL on
 * ENOMEM. */
char *pin_explain(const Pin *pin, PinState state, const PinDevice *at_place, const PinDevice *elsewhere);
