/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Control groups as systemd reads them (its src/basic/cgroup-util.c): the daemon and the rehearsal must find
 * the same unit and the same slices in one path. */

#include "base/macro.h"

#define UNIT_NAME_SIZE 256U

/* text of /proc/PID/cgroup. unified: systemd manages the unified hierarchy, alone or beside others; otherwise
 * that with the name "systemd". *ret is the path, "/" for the root. -ENODATA when it is not there, -EBADMSG
 * when the path is no printable text. The kernel refuses no byte but the newline in a name, so that a reader
 * to which a carriage return ends a line, too, takes the name of a group for further lines. */
int cgroup_of_process(const char *text, bool unified, char **ret);

/* The path below which systemd makes its groups, from the path of PID 1; cuts it in place. */
void cgroup_cut_to_root(char *path_of_init);

/* The unit: the first component of path below root that is no slice. -ENXIO when that is no unit either, as
 * in a container that another manager has made: what is below is not systemd's. */
int cgroup_find_unit(const char *path, const char *root, char ret[static UNIT_NAME_SIZE]);

/* The name of the slice that this component of a path (n bytes) is. False when it is none. */
bool cgroup_is_slice(const char *component, size_t n, char ret[static UNIT_NAME_SIZE]);
