/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A pin: the card in this place gets this driver at each boot, before a driver of the host takes it.
 *
 * Device names change when buses are renumbered, so a pin names the place by its slot path. Another card in
 * that place must not get the driver, so a pin also has the ids of the card, and its serial number if it has
 * one. All must match. A pin is a file that people read, write and compare:
 *
 *      {
 *          "path": "0000:00:1c.0/00.0",
 *          "id": "8086:10d3:8086:a01f",
 *          "serial": "00-1b-21-ff-ff-a1-b2-c3",
 *          "driver": "vfio-pci"
 *      }
 *
 * Pure: src/pins reads and applies pins. */

#include "base/str.h"
#include "core/facts.h"
#include "core/schema.h"

/* As driver: no driver may bind to the device. */
#define PIN_NO_DRIVER "none"
#define PIN_DRIVER_MAX 64U /* with its NUL */
#define PIN_ID_MAX 20U     /* "8086:10d3:8086:a01f" */
#define PIN_FILE_MAX (16U * 1024)

typedef struct Pin {
    char path[SLOT_PATH_MAX];
    char id[PIN_ID_MAX];         /* with or without the subsystem's ids */
    char serial[PCI_SERIAL_MAX]; /* "": not checked */
    char driver[PIN_DRIVER_MAX]; /* or PIN_NO_DRIVER */
} Pin;

/* Parses size bytes. file is its name in problems. 0; -EBADMSG with the problems added; or -ENOMEM. */
int pin_parse(const char *file, const char *text, size_t size, Pin *ret, Problems *problems);
/* Appends the text of the pin's file. */
void pin_write(StrBuf *b, const Pin *pin);
/* The name of the file for the pin's place: "0000:00:1c.0-00.0.json". Returns buf. */
#define PIN_FILE_NAME_MAX (SLOT_PATH_MAX + sizeof(".json"))
const char *pin_file_name(const char *path, char buf[static PIN_FILE_NAME_MAX]);
bool pin_driver_is_valid(const char *driver);
/* Writes "8086:10d3:8086:a01f"; returns buf. */
const char *pin_format_id(uint16_t vendor, uint16_t device, uint16_t subsystem_vendor,
        uint16_t subsystem_device, char buf[static PIN_ID_MAX]);

/* The current state of a device. */
typedef struct PinDevice {
    DeviceName name;
    uint32_t class_code;
    char path[SLOT_PATH_MAX];
    char id[PIN_ID_MAX];
    char serial[PCI_SERIAL_MAX]; /* "": it has none */
    bool serial_known;
    bool has_override;             /* it has the attribute driver_override */
    char override[PIN_DRIVER_MAX]; /* "": not set */
    char driver[PIN_DRIVER_MAX];   /* "": none */
} PinDevice;

typedef enum PinState {
    PIN_IN_FORCE,   /* the device has the driver, or none if the pin says so */
    PIN_PENDING,    /* the device has no driver: the override is not set yet, or the driver is not loaded */
    PIN_ABSENT,     /* no device is in the place */
    PIN_MOVED,      /* the card is in another place, recognised by its serial number */
    PIN_SWAPPED,    /* another card is in the place */
    PIN_TOO_LATE,   /* another driver took the device first; a pin never takes it away */
    PIN_OVERRIDDEN, /* something else has set driver_override to another driver */
    PIN_UNKNOWN,    /* the serial number could not be read: only root can */
    _PIN_STATE_MAX,
    _PIN_STATE_INVALID = -EINVAL,
} PinState;
DECLARE_STRING_TABLE(
        pin_state, PinState); /* "in-force", "pending", "absent", "moved", "swapped", "too-late"… */

/* Is the card, wherever it is, the one of the pin? 1, 0, or -EAGAIN when that depends on an unknown serial
 * number. */
int pin_matches_card(const Pin *pin, const PinDevice *device);
/* at_place is the device in the place, elsewhere one with the pin's serial number in another place; NULL:
 * none. */
PinState pin_judge(const Pin *pin, const PinDevice *at_place, const PinDevice *elsewhere);
/* One sentence on why the pin is not in force; "" when it is. The devices are those of pin_judge(). Owned by
 * the caller; NULL on ENOMEM. */
char *pin_explain(const Pin *pin, PinState state, const PinDevice *at_place, const PinDevice *elsewhere);
