/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Facts about the host, collected before a decision. The planner reads nothing itself. When it needs a fact
 * that is missing in the survey, the fact is noted as wanted, and the plan is made again once it is there. So
 * a decision never waits for the kernel, each fact is read once, and policy, shadow policy and planner use
 * the same survey.
 *
 * Pure: the values, and what is wanted. A FactSource reads them. */

#include "core/facts.h"
#include "core/inventory.h"
#include "core/mdev-types.h"

/* Reading these can sleep. The kernel delays access to config space while the device, or a port above it, is
 * reset or woken from D3cold. Uses by the host are read from file systems and disks, which can be many.
 * Capabilities need the device to be opened. For the number of mediated devices that can still be made, a
 * driver may take its locks. The index of the kernel's modules is on a disk. */
#define SURVEY_FACTS_SLEEPING                                                                                \
    (DEVICE_FACT_ACS | DEVICE_FACT_SERIAL | DEVICE_FACT_HOST_CRITICAL | DEVICE_FACT_EXCLUSIVE_USE |          \
            DEVICE_FACT_DESCENDANTS | DEVICE_FACT_CAPS | DEVICE_FACT_MDEV_TYPES | DEVICE_FACT_VARIANT)

typedef struct SurveyDevice {
    DeviceName name;
    unsigned wanted; /* masks of DeviceFactMask */
    unsigned taken;  /* read, successfully or not */
    unsigned failed; /* of these: reading failed with .error */
    int error;
    DeviceFacts facts;
    DeviceIds ids; /* identifies the device whose facts were read */
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

/* The facts of one device. *ret is borrowed until the survey changes, and unchanged on failure. 0; -EAGAIN:
 * they are wanted now; -ENOMEM; or the negative errno with which reading failed. */
int survey_get(Survey *s, const DeviceName *name, unsigned what, const DeviceFacts **ret);
int survey_get_kernel(Survey *s, const KernelFacts **ret);
/* What weakens the isolation of this host; *ret is NULL when nothing does. Returns like survey_get(). */
int survey_get_weakness(Survey *s, const char **ret);
/* The mediated devices that the host's drivers can make. Returns like survey_get(). */
int survey_get_mdev_types(Survey *s, const MdevTypes **ret);
/* Notes facts as wanted. 0 or -ENOMEM. */
int survey_want(Survey *s, const DeviceName *name, unsigned what);
/* Is any fact wanted and not read? */
bool survey_is_open(const Survey *s);

/* Stores facts that were read, and takes ownership of them. error: reading failed. */
void survey_put(SurveyDevice *d, unsigned what, DeviceFacts *facts, int error);

/* Are the types of mediated devices wanted and not read? */
bool survey_wants_mdev_types(const Survey *s);
/* Stores them. types: a reference, of which it takes ownership; NULL when reading failed. */
void survey_put_mdev_types(Survey *s, SharedMdevTypes *types, int error);

/* After a wait for facts that can sleep: all other facts are wanted again. When a device was replaced
 * meanwhile, all of its facts are. */
void survey_age(Survey *s, Inventory *inventory);

/* Reads facts, as a port: fills *ret, which was DEVICE_FACTS_NULL, with what the mask requests. 0 or negative
 * errno. */
typedef int (*read_facts_t)(void *userdata, const Device *device, unsigned what, DeviceFacts *ret);
/* Reads what the kernel supports. */
typedef int (*read_kernel_facts_t)(void *userdata, KernelFacts *ret);
/* Reads what weakens the isolation of this host (taint_list_describe_weakness()). *ret is owned by the
 * caller; NULL when nothing does. */
typedef int (*read_weakness_t)(void *userdata, char **ret);
typedef int (*read_mdev_types_t)(void *userdata, MdevTypes *ret);

/* A function that is NULL always fails. */
typedef struct FactSource {
    read_facts_t read_facts;
    read_kernel_facts_t read_kernel_facts;
    read_weakness_t read_weakness;
    read_mdev_types_t read_mdev_types;
    void *userdata; /* for all of them */
} FactSource;

/* Reads everything that is wanted from the source, except the facts in later. */
void survey_take(Survey *s, const FactSource *source, Inventory *inventory, unsigned later);
