/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Pins, for vfioctl. This header is the door: it speaks JSON and text, so that whoever shows the results need
 * not know the types inside. It prints nothing. What the host needs and who has a device claimed is the
 * daemon's to know, and asked by the caller before.
 *
 * Functions return 0, or a negative errno with *ret_problem: one sentence for a person, owned by the caller
 * (NULL stands for out of memory). JSON that is returned belongs to the caller. directory: NULL for that of
 * this host. */

#include <json-c/json.h>

#include "base/macro.h"

/* {"pins": [{"file", "device": name or null, "path", "id", "serial", "driver", "state", "boundTo": driver, ""
 * or null, "why": sentence or ""}], "errors": ["FILE:LINE:COLUMN: error: …"]} */
int pins_list(const char *directory, struct json_object **ret, char **ret_problem);
/* The name of a device that can be pinned, from any spelling; owned. -EOPNOTSUPP: of this kind none can. */
int pins_check(const char *device, char **ret_name, char **ret_problem);
/* Writes the file, in place of an older pin of the same place, and sets driver_override if the device has
 * neither driver nor override. driver: NULL for vfio-pci. *ret: as an element of "pins". */
int pins_add(const char *directory, const char *device, const char *driver, struct json_object **ret,
        char **ret_problem);
/* The pin that pins_add() would write: {"file", "device", "path", "id", "serial", "driver"}. */
int pins_propose(const char *directory, const char *device, const char *driver, struct json_object **ret,
        char **ret_problem);
/* What other tools bind: {"found": [{"source": "FILE:LINE" or FILE, "device": name, "driver"}], "skipped":
 * [{"source", "what", "why"}]}, each device once. files: of driverctl, of modprobe.d (….conf), or the
 * kernel's command line (…/cmdline), ended by NULL; none: those of this host. */
int pins_find_others(const char *const *files, struct json_object **ret, char **ret_problem);
/* After pins_remove(): takes back the override that the pin has set, unless another driver has the device. 1:
 * it was taken back; 0: there was none. */
int pins_clear_override(const char *device, const char *driver, char **ret_problem);
/* Binds the device of the pin that was added, when its driver has been loaded. *ret likewise. */
int pins_bind(const char *directory, const char *device, struct json_object **ret, char **ret_problem);
/* word: a device in any spelling, its path, or the name of the file, which may have errors. *ret: the pin as
 * it was; of a file with errors its "file" alone. -ENOENT: there is no such pin. */
int pins_remove(const char *directory, const char *word, struct json_object **ret, char **ret_problem);
