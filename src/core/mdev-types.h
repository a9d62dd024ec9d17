/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Which mediated devices the drivers of this host can make: of each parent the types, with how many more
 * there can be, and those that there are. The kernel announces no change of these, so they are read when
 * somebody asks. Pure: the values, and the one form in which workers and snapshots hand them over. */

#include "core/device-name.h"

#define MDEV_TYPE_NAME_MAX 64U /* with its NUL; a longer name of the kernel is no type for us */
#define MDEV_API_MAX 32U
#define MDEV_TYPES_MAX 4096U   /* of all parents together; what is more is left out */
#define MDEV_DEVICES_MAX 1024U /* of one type */
/* Everybody may ask for the list, and drivers may make up long names: the texts of all types together are no
 * longer than this, and neither are the names of all devices. What is more is left out. */
#define MDEV_TYPES_STRINGS_MAX (64U * 1024)
#define MDEV_TYPES_TEXT_MAX (2U * 1024 * 1024)

typedef struct MdevType {
    char parent[DEVICE_TEXT_MAX]; /* the kernel's name, as in /sys/class/mdev_bus */
    char id[MDEV_TYPE_NAME_MAX];  /* that of its directory: "nvidia-474" */
    char *name;                   /* owned; what the driver calls it, "GRID P40-2Q", or NULL */
    char api[MDEV_API_MAX];       /* "vfio-pci" */
    int64_t available;            /* -1: unknown */
    DeviceName *devices;          /* owned; those that there are */
    size_t n_devices;
} MdevType;

typedef struct MdevTypes {
    MdevType *types; /* owned; by parent, then by id */
    size_t n;
    bool incomplete; /* some were left out */
    bool silent;     /* the driver of some parent does not answer: its types are left out */
} MdevTypes;

/* One list for all that wait for it. */
typedef struct SharedMdevTypes {
    unsigned n_refs;
    MdevTypes list;
} SharedMdevTypes;

/* Takes the list over; NULL on ENOMEM, and the list is gone. */
SharedMdevTypes *mdev_types_share(MdevTypes *t);
SharedMdevTypes *mdev_types_ref(SharedMdevTypes *s);
SharedMdevTypes *mdev_types_unref(SharedMdevTypes *s); /* NULL; takes NULL */

void mdev_types_done(MdevTypes *t);
/* One more, which is empty. NULL: out of memory, or there are MDEV_TYPES_MAX already. */
MdevType *mdev_types_add(MdevTypes *t);
int mdev_type_add_device(MdevType *t, const DeviceName *name); /* 0, -ENOMEM, -E2BIG */
int mdev_types_copy(const MdevTypes *t, MdevTypes *ret);       /* 0 or -ENOMEM */
void mdev_types_sort(MdevTypes *t);

/* Of a parent or a type: may it become part of a path? */
bool mdev_name_is_safe(const char *s);

/* {"mediatedTypes": […]}; owned by the caller, NULL on ENOMEM. */
char *mdev_types_to_text(const MdevTypes *t);
/* 0; -EBADMSG; -ENOMEM. */
int mdev_types_from_text(const char *text, size_t size, MdevTypes *ret);
