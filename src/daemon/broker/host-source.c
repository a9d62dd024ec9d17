/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/broker/host-source.h"

#include "core/survey.h"
#include "host/sysfs.h"

/* ---- This machine ---- */

/* Facts that may sleep or need a privilege are not read here: a Surveyor's workers read config space. */
static int read_facts(void *userdata, const Device *device, unsigned what, DeviceFacts *ret) {
    assert((what & SURVEY_FACTS_SLEEPING) == 0);
    return sysfs_read_facts(NULL, device, what, ret);
}

static int read_kernel_facts(void *userdata, KernelFacts *ret) {
    return sysfs_read_kernel_facts(ret);
}

static int read_group(void *userdata, int group, GroupFacts *ret) {
    return sysfs_read_group_facts(group, ret);
}

HostSource host_source_of_machine(void) {
    return (HostSource){
            .facts = {.read_facts = read_facts, .read_kernel_facts = read_kernel_facts},
            .read_group = read_group,
            .sleeps = true,
    };
}

/* ---- A recorded host ---- */

static int read_recorded_group(void *userdata, int group, GroupFacts *ret) {
    const GroupFacts *facts = host_snapshot_group_facts(userdata, group);

    if (!facts)
        return -ENODATA;
    *ret = *facts;
    return 0;
}

HostSource host_source_of_snapshot(HostSnapshot *snapshot) {
    return (HostSource){
            .facts = host_snapshot_facts(snapshot),
            .read_group = read_recorded_group,
    };
}
