/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A pretended /sys, /dev and /proc in a temporary directory. The test runs under umockdev-wrapper, whose
 * library looks up $UMOCKDEV_DIR at every call and moves absolute paths there (tests/integration/README.md
 * tells which). Regular files below /dev appear as character devices, with the sticky bit as block devices.
 */

#include <sys/types.h>

#include "base/macro.h"

/* cmocka setup and teardown: a new, empty tree for each test. */
int testbed_setup(void **state);
int testbed_teardown(void **state);
/* False when the library is not loaded: the test would look at the real host. */
bool testbed_works(void);

void testbed_put(const char *path, const char *text);
void testbed_put_bytes(const char *path, const void *data, size_t size);
void testbed_link(const char *path, const char *target);
void testbed_mkdir(const char *path);
void testbed_remove(const char *path); /* whole subtree */
/* A node with this number; block devices have the sticky bit. */
void testbed_node(const char *path, bool block, unsigned major, unsigned minor);

/* A PCI function below the root bus ("0000:06:0d.0") or below others ("0000:00:1c.0/0000:06:0d.0"), with the
 * link in /sys/bus/pci/devices. group and driver may be -1 and NULL. Returns its sysfs path, valid until the
 * next call. */
const char *testbed_add_pci(const char *chain, const char *ids, int group, const char *driver);

/* Announces a change to all udev monitors, as udev does once its rules have run. path is that in /sys;
 * nothing needs to be there. False when a monitor takes no more for now: unlike netlink, a Unix socket does
 * not drop. */
bool testbed_uevent(const char *action, const char *path, const char *subsystem);
