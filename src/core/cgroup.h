/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Control groups as systemd reads them (its src/basic/cgroup-util.c): the daemon and the rehearsal must find
 * the same unit and the same slices in one path. */

#include "base/macro.h"

#define UNIT_NAME_SIZE 256U

/* text is that of /proc/PID/cgroup. unified: systemd manages the unified hierarchy, alone or besides
 * others; otherwise the hierarchy "name=systemd". *ret is the path, "/" for the root; owned by the caller.
 * -ENODATA when the hierarchy is missing, -EBADMSG when the path is not printable text. The kernel allows
 * every byte but a newline in a name. A parser for which a carriage return ends a line could be misled by
 * such a name. */
int cgroup_of_process(const char *text, bool unified, char **ret);

/* Turns the path of PID 1 into the path below which systemd makes its groups, in place. */
void cgroup_cut_to_root(char *path_of_init);

/* The unit: the first component of path below root that is not a slice. -ENXIO when it is not a unit, as in a
 * container with its own manager: names below it are not systemd's. */
int cgroup_find_unit(const char *path, const char *root, char ret[static UNIT_NAME_SIZE]);

/* The slice that this component of a path (n bytes) names. False when it is not a slice. */
bool cgroup_is_slice(const char *component, size_t n, char ret[static UNIT_NAME_SIZE]);
