/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What is known of the host at one moment, collected before anything is decided on it. The planner reads
 * nothing itself: it looks into the survey, and a fact that nobody has looked for yet is written down as
 * wanted, and the plan is tried again when it is there. So a decision never waits for the kernel in its
 * middle, each fact is read once, and the same survey answers the policy, its shadow and the planner.
 *
 * Pure: the values, and what is wanted. A FactSource reads them. */

#include "core/facts.h"
#include "core/inventory.h"
#include "core/mdev-types.h"

/* These may sleep: the kernel holds config space back while the device, or a port above it, is being reset,
 * and wakes it from D3cold; what the host uses is asked of file systems and disks; below an adapter with many
 * disks there is much to walk through; what a device can do is learned by opening it; for the number of
 * mediated devices that it can still make, a driver may take its locks; and the index of the kernel's modules
 * is on a disk. */
#define SURVEY_FACTS_SLEEPING                                                                                \
    (DEVICE_FACT_ACS | DEVICE_FACT_SERIAL | DEVICE_FACT_HOST_CRITICAL | DEVICE_FACT_EXCLUSIVE_USE |          \
            DEVICE_FACT_DESCENDANTS | DEVICE_FACT_CAPS | DEVICE_FACT_MDEV_TYPES | DEVICE_FACT_VARIANT)

typedef struct SurveyDevice {
    DeviceName name;
    unsigned wanted; /* masks of DeviceFactMask */
    unsigned taken;  /* somebody has looked, whether or not it could be told */
    unsigned failed; /* of these: the look failed, with .error */
    int error;
    DeviceFacts facts;
    DeviceIds ids; /* of the device that was looked at, and since when it is there */
    uint64_t since_seqnum;
} SurveyDevice;

typedef struct Survey {
    SurveyDevice *devices; /* owned */
    size_t n_devices;
    bool kernel_wanted, kernel_taken, weakness_wanted, weakness_taken, mdev_types_wanted, mdev_types_taken;
    int kernel_error, weakness_error, mdev_types_error;
    KernelFacts kernel;
    char *weakness;              /* owned */
    SharedMdevTypes *mdev_types; /* a reference */
} Survey;

void survey_done(Survey *s);

/* The facts of one device. *ret is borrowed until the survey is changed, and left alone on failure. 0;
 * -EAGAIN: they are wanted now; -ENOMEM; a negative errno with which the look failed. */
int survey_get(Survey *s, const DeviceName *name, unsigned what, const DeviceFacts **ret);
int survey_get_kernel(Survey *s, const KernelFacts **ret);
/* What weakens the isolation of this host; *ret is NULL when nothing does. */
int survey_get_weakness(Survey *s, const char **ret);
/* Which mediated devices its drivers can make. */
int survey_get_mdev_types(Survey *s, const MdevTypes **ret);
/* Writes down what will be wanted. 0 or -ENOMEM. */
int survey_want(Survey *s, const DeviceName *name, unsigned what);
/* Is anything wanted that nobody has looked for? */
bool survey_is_open(const Survey *s);

/* Puts in what a look for what has found; facts is taken over. error: the look failed. */
void survey_put(SurveyDevice *d, unsigned what, DeviceFacts *facts, int error);

/* Are those of mediated devices wanted, and nobody has looked? */
bool survey_wants_mdev_types(const Survey *s);
/* Likewise for them; types: a reference that is taken over, NULL when the look failed. */
void survey_put_mdev_types(Survey *s, SharedMdevTypes *types, int error);

/* Some time has passed, while facts that may sleep were waited for: all others are looked for anew. All of a
 * device are when it is another one by now. */
void survey_age(Survey *s, Inventory *inventory);

/* A reader of facts, a port: fills what the mask of DeviceFactMask asks for in *ret, which was
 * DEVICE_FACTS_NULL. 0 or negative errno. */
typedef int (*read_facts_t)(void *userdata, const Device *device, unsigned what, DeviceFacts *ret);
/* Likewise what the kernel offers. */
typedef int (*read_kernel_facts_t)(void *userdata, KernelFacts *ret);
/* Likewise what weakens the isolation of this host (taint_list_describe_weakness()): *ret is owned by the
 * caller, NULL when nothing does. */
typedef int (*read_weakness_t)(void *userdata, char **ret);
typedef int (*read_mdev_types_t)(void *userdata, MdevTypes *ret);

/* A reader that is NULL is one that fails. */
typedef struct FactSource {
    read_facts_t read_facts;
    read_kernel_facts_t read_kernel_facts;
    read_weakness_t read_weakness;
    read_mdev_types_t read_mdev_types;
    void *userdata; /* of all of them */
} FactSource;

/* Has the source look for everything that is wanted, except for the facts in later. */
void survey_take(Survey *s, const FactSource *source, Inventory *inventory, unsigned later);
