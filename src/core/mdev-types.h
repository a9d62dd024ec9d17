/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The mediated devices that the drivers of this host can make: for each parent the types, with the number
 * available and the existing devices. The kernel does not announce changes, so the list is read when needed.
 * Pure: the values, and the document in which workers and snapshots pass them. */

#include "core/device-name.h"

#define MDEV_TYPE_NAME_MAX 64U /* with the NUL; types with longer names are ignored */
#define MDEV_API_MAX 32U
#define MDEV_TYPES_MAX 4096U   /* of all parents together; more are left out */
#define MDEV_DEVICES_MAX 1024U /* of one type */
/* Everybody can request the list, and drivers can choose long names. So the texts of all types together are
 * limited to this, and so are the names of all devices. More are left out. */
#define MDEV_TYPES_STRINGS_MAX (64U * 1024)
#define MDEV_TYPES_TEXT_MAX (2U * 1024 * 1024)

typedef struct MdevType {
    char parent[DEVICE_TEXT_MAX]; /* the kernel's name, as in /sys/class/mdev_bus */
    char id[MDEV_TYPE_NAME_MAX];  /* that of its directory: "nvidia-474" */
    char *name;                   /* owned; the driver's name for it, "GRID P40-2Q", or NULL */
    char api[MDEV_API_MAX];       /* "vfio-pci" */
    int64_t available;            /* -1: unknown */
    DeviceName *devices;          /* owned; the existing ones */
    size_t n_devices;
} MdevType;

typedef struct MdevTypes {
    MdevType *types; /* owned; by parent, then by id */
    size_t n;
    bool incomplete; /* some were left out */
    bool silent;     /* a parent's driver did not answer: its types are left out */
} MdevTypes;

/* One list for all readers that wait for it. */
typedef struct SharedMdevTypes {
    unsigned n_refs;
    MdevTypes list;
} SharedMdevTypes;

/* Takes ownership of the list in any case. NULL on ENOMEM. */
SharedMdevTypes *mdev_types_share(MdevTypes *t);
SharedMdevTypes *mdev_types_ref(SharedMdevTypes *s);
SharedMdevTypes *mdev_types_unref(SharedMdevTypes *s); /* Returns NULL; accepts NULL. */

void mdev_types_done(MdevTypes *t);
/* Adds an empty type. NULL on ENOMEM or beyond MDEV_TYPES_MAX. */
MdevType *mdev_types_add(MdevTypes *t);
int mdev_type_add_device(MdevType *t, const DeviceName *name); /* 0, -ENOMEM, -E2BIG */
int mdev_types_copy(const MdevTypes *t, MdevTypes *ret);       /* 0 or -ENOMEM */
void mdev_types_sort(MdevTypes *t);

/* Can the name of a parent or a type safely become part of a path? */
bool mdev_name_is_safe(const char *s);

/* {"mediatedTypes": […]}; owned by the caller; NULL on ENOMEM. */
char *mdev_types_to_text(const MdevTypes *t);
/* 0, -EBADMSG or -ENOMEM. */
int mdev_types_from_text(const char *text, size_t size, MdevTypes *ret);
