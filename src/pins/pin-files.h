/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Files of pins: NAME.json in a directory, one for each device. A file with errors is left out, and the other
 * pins still apply. The content is treated as hostile, whoever wrote it. */

#include "core/pin.h"

#define PINS_DIRECTORY "/etc/vfiod/pins.d"
#define PINS_MAX 1024U

typedef struct PinFile {
    char *name; /* owned; the file's name in its directory */
    Pin pin;
} PinFile;

typedef struct PinFiles {
    PinFile *items; /* owned; sorted by file name */
    size_t n;
    Problems problems; /* "FILE:LINE:COLUMN: error: …" */
} PinFiles;

void pin_files_done(PinFiles *f);
/* Loads a directory; a missing one has no pins. Errors in files go to ->problems. 0 or -ENOMEM. */
int pin_files_load(const char *directory, PinFiles *ret);
/* The pin of this place, borrowed; NULL: none. */
const PinFile *pin_files_find(const PinFiles *f, const char *path);
/* Writing and removing are durable on return. 0 or negative errno. */
int pin_files_save(const char *directory, const Pin *pin);
int pin_files_remove(const char *directory, const char *name);
