/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* vfioctl: one table of verbs (vfioctl.c), one file for each (cmd-*.c). A verb gets parsed options and
 * returns an exit status, or a negative errno with *error filled; only main() prints errors. */

#include "client/error-text.h"

typedef enum ColourMode {
    COLOUR_MODE_AUTO,
    COLOUR_MODE_ALWAYS,
    COLOUR_MODE_NEVER,
    _COLOUR_MODE_MAX,
    _COLOUR_MODE_INVALID = -EINVAL,
} ColourMode;
DECLARE_STRING_TABLE(colour_mode, ColourMode); /* "auto", "always", "never" */

/* Everything is borrowed from argv. */
typedef struct Options {
    bool json, legend, groups, wait, untainted, ask;
    ColourMode colour;
    const char **devices; /* --device, in order; the array is owned */
    size_t n_devices;
    const char *backend, *reason;
    uint64_t memlock;
    char **arguments; /* what follows the verb and its options */
    size_t n_arguments;
} Options;

/* What the options ask the daemon for, with these devices. */
VfiodRequest options_request(const Options *o, const char *const *devices, size_t n_devices);

int verb_list(const Options *o, VfiodErrorText *error);
int verb_status(const Options *o, VfiodErrorText *error);
int verb_plan(const Options *o, VfiodErrorText *error);
int verb_exec(const Options *o, VfiodErrorText *error);
int verb_hold(const Options *o, VfiodErrorText *error);
int verb_release(const Options *o, VfiodErrorText *error);
int verb_monitor(const Options *o, VfiodErrorText *error);
int verb_taint(const Options *o, VfiodErrorText *error);
int verb_reload(const Options *o, VfiodErrorText *error);
