/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Shared by the parts that search for uses of a device. host-critical.c walks; use-disk.c, use-interface.c
 * and use-display.c each know one kind of user. A check returns 1 if it found a use and stored the reason, 0
 * if there is none, and negative errno if this is unknown. */

#include <dirent.h>

#include "base/macro.h"

#define USE_DIRECTORIES_MAX 16384U /* for one device */
#define USE_DEPTH_MAX 24U          /* of directories, and of stacked disks and interfaces */
#define USE_TABLE_MAX (4U * 1024 * 1024)

typedef enum UseMask {
    USE_BY_HOST = 1 << 0,    /* disks, interfaces, displays and the like that the host uses */
    USE_DESCENDANT = 1 << 1, /* things that disappear with the driver, and that were made on purpose */
    USE_EXCLUSIVE = 1 << 2,  /* opens disks exclusively; may sleep */
} UseMask;

/* The tables are read when the first disk or interface is found: most devices have neither. */
typedef struct UseSearch {
    unsigned wanted;            /* UseMask */
    char *mounts, *swaps;       /* owned; NULL: not read yet */
    char *routes, *ipv6_routes; /* owned; "": the kernel has no such protocol */
    struct ifaddrs *addresses;  /* owned */
    struct udev *udev;          /* owned */
    char *links;                /* owned; the kernel's answer to RTM_GETLINK; NULL: not requested yet */
    size_t links_size;
    unsigned n_directories, depth; /* counts against the bounds */
    char *reason;                  /* owned; set: a use was found */
} UseSearch;

/* Stores the reason. Returns 1. */
int use_found(UseSearch *s, const char *format, ...) _printf_(2, 3);
/* Adds to the reason: "REASON, on NAME". Returns 1. */
int use_found_above(UseSearch *s, const char *name);

/* The next entry that is not "." or "..": 1, 0 at the end, negative errno. */
int use_next_entry(DIR *d, struct dirent **ret);
/* A missing table in /proc is empty, unless /proc shows only processes. */
int use_read_table(const char *path, char **table);

/* Calls check for every file below the directory that matches the pattern, whose components match one by one.
 * Returns the first answer that is not 0, or 0. */
int use_match(UseSearch *s, const char *directory, const char *pattern,
        int (*matches)(int at, const char *name, const void *arg), const void *arg);
/* Does likewise: is this a word of such a file? Blanks or commas separate words. */
int use_find_word(UseSearch *s, const char *directory, const char *pattern, const char *word);

/* fd is the directory in sysfs of the device, disk, interface, … */
int use_check_disk(UseSearch *s, int fd, const char *name);
int use_check_nvme(UseSearch *s, int fd, const char *name);
int use_check_interface(UseSearch *s, int fd, const char *name);
/* An interface that was moved to another network namespace leaves an empty net/. */
int use_check_hidden_interface(UseSearch *s, int fd);
int use_check_display(UseSearch *s, int fd);
int use_check_drm(UseSearch *s, int fd, const char *name);
int use_check_framebuffer(UseSearch *s, int fd, const char *name);
