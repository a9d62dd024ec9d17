/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Shared by the parts that look for uses of a device: host-critical.c walks, use-disk.c, use-interface.c and
 * use-display.c know one kind of user each. A check returns 1 when it found a use and has kept the reason, 0
 * when there is none, or a negative errno when that cannot be told. */

#include <dirent.h>

#include "base/macro.h"

#define USE_DIRECTORIES_MAX 16384U /* looked at for one device */
#define USE_DEPTH_MAX 24U          /* of directories, and of disks and interfaces stacked upon each other */
#define USE_TABLE_MAX (4U * 1024 * 1024)

typedef enum UseMask {
    USE_BY_HOST = 1 << 0,    /* disks, interfaces, displays and the like that the host uses */
    USE_DESCENDANT = 1 << 1, /* what exists only as long as the driver does, and was made on purpose */
    USE_EXCLUSIVE = 1 << 2,  /* disks that cannot be opened exclusively; may sleep */
} UseMask;

/* The tables are read when the first disk or interface is found: most devices have neither. */
typedef struct UseSearch {
    unsigned wanted;            /* UseMask */
    char *mounts, *swaps;       /* owned; NULL: not read yet */
    char *routes, *ipv6_routes; /* owned; "" where the kernel has no such protocol */
    struct ifaddrs *addresses;  /* owned */
    struct udev *udev;          /* owned */
    char *links;                /* owned; answer of the kernel to RTM_GETLINK; NULL: not asked yet */
    size_t links_size;
    unsigned n_directories, depth; /* used up of the bounds */
    char *reason;                  /* owned; set: found */
} UseSearch;

/* Keeps the reason. Returns 1. */
int use_found(UseSearch *s, const char *format, ...) _printf_(2, 3);
/* Puts what the last reason is about above another thing: "REASON, and lies on NAME". Returns 1. */
int use_found_above(UseSearch *s, const char *name);

/* The next entry that is not "." or "..": 1, 0 at the end, negative errno. */
int use_next_entry(DIR *d, struct dirent **ret);
/* A table in /proc that is missing is empty, unless our /proc shows processes alone. */
int use_read_table(const char *path, char **table);

/* Tries every file below the directory that the pattern fits; each of its components is matched by itself.
 * The first answer that is not 0, which no file and no directory is. */
int use_match(UseSearch *s, const char *directory, const char *pattern,
        int (*matches)(int at, const char *name, const void *arg), const void *arg);
/* Likewise: is this one of the words of such a file, which blanks or commas divide? */
int use_find_word(UseSearch *s, const char *directory, const char *pattern, const char *word);

/* fd is the directory in sysfs of the device, disk, interface, … */
int use_check_disk(UseSearch *s, int fd, const char *name);
int use_check_nvme(UseSearch *s, int fd, const char *name);
int use_check_interface(UseSearch *s, int fd, const char *name);
/* An empty net/ is what an interface leaves that was moved to another network namespace. */
int use_check_hidden_interface(UseSearch *s, int fd);
int use_check_display(UseSearch *s, int fd);
int use_check_drm(UseSearch *s, int fd, const char *name);
int use_check_framebuffer(UseSearch *s, int fd, const char *name);
