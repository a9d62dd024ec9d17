/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The files of pins: one for each device, NAME.json in a directory. A file with errors is left out, and the
 * other pins apply nevertheless. Bytes in files are hostile, whoever wrote them. */

#include "core/pin.h"

#define PINS_DIRECTORY "/etc/vfiod/pins.d"
#define PINS_MAX 1024U

typedef struct PinFile {
    char *name; /* owned: of the file in its directory */
    Pin pin;
} PinFile;

typedef struct PinFiles {
    PinFile *items; /* owned; by the name of the file */
    size_t n;
    Problems problems; /* "FILE:LINE:COLUMN: error: …" */
} PinFiles;

void pin_files_done(PinFiles *f);
/* No directory: no pins. What is wrong with files is in ->problems, and no failure. 0 or -ENOMEM. */
int pin_files_load(const char *directory, PinFiles *ret);
/* The pin of the place, or NULL. */
const PinFile *pin_files_find(const PinFiles *f, const char *path);
/* Both are on disk when they return. */
int pin_files_save(const char *directory, const Pin *pin);
int pin_files_remove(const char *directory, const char *name);
