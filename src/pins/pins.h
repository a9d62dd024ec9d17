/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Pins, for vfioctl. The interface is JSON and text, so that the caller need not know the types inside. It
 * prints nothing. It does not check what the host needs or who has claimed a device: the caller asks the
 * daemon first.
 *
 * Functions return 0, or a negative errno with *ret_problem: one sentence for a person, owned by the caller
 * (NULL means out of memory). Returned JSON belongs to the caller. directory: NULL for that of this host. */

#include <json-c/json.h>

#include "base/macro.h"

/* {"pins": [{"file", "device": name or null, "path", "id", "serial", "driver", "state", "boundTo": driver, ""
 * or null, "why": sentence or ""}], "errors": ["FILE:LINE:COLUMN: error: …"]} */
int pins_list(const char *directory, struct json_object **ret, char **ret_problem);
/* Parses any spelling of a device that can be pinned. *ret_name is owned by the caller. -EOPNOTSUPP: devices
 * of this kind cannot be pinned. */
int pins_check(const char *device, char **ret_name, char **ret_problem);
/* Writes the file, which replaces an older pin of the same place. Sets driver_override if the device has
 * neither driver nor override. driver: NULL for vfio-pci. *ret: like an element of "pins". */
int pins_add(const char *directory, const char *device, const char *driver, struct json_object **ret,
        char **ret_problem);
/* The pin that pins_add() would write: {"file", "device", "path", "id", "serial", "driver"}. Writes
 * nothing. */
int pins_propose(const char *directory, const char *device, const char *driver, struct json_object **ret,
        char **ret_problem);
/* What other tools bind: {"found": [{"source": "FILE:LINE" or FILE, "device": name, "driver"}], "skipped":
 * [{"source", "what", "why"}]}, each device once. files, ended by NULL: of driverctl, of modprobe.d (….conf),
 * or a kernel command line (…/cmdline). If the list is empty, the files of this host are read. */
int pins_find_others(const char *const *files, struct json_object **ret, char **ret_problem);
/* After pins_remove(): removes the override that the pin has set, unless another driver has the device. 1:
 * removed; 0: there was none. */
int pins_clear_override(const char *device, const char *driver, char **ret_problem);
/* After pins_add(), once the driver is loaded: binds the device of the pin. *ret: like an element of
 * "pins". */
int pins_bind(const char *directory, const char *device, struct json_object **ret, char **ret_problem);
/* word: any spelling of a device, its path, or the name of the file, which may have errors. *ret: the removed
 * pin; for a file with errors its "file" only. -ENOENT: there is no such pin. */
int pins_remove(const char *directory, const char *word, struct json_object **ret, char **ret_problem);
