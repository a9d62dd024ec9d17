/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/broker/host-source.h"

#include "daemon/privileges.h"
#include "host/sysfs.h"

/* ---- This machine ---- */

/* The kernel holds a read of config space back for as long as a device is being reset, and who has one may
 * reset it as often as he likes: what is claimed is not read then, and what stands there is unknown. */
static bool may_be_in_reset(const Device *d) {
    return d->claim || (d->group && d->group->claim);
}

/* Config space beyond the first 64 bytes is shown to CAP_SYS_ADMIN only. */
static int read_facts(void *userdata, const Device *device, unsigned what, DeviceFacts *ret) {
    const unsigned in_config_space = DEVICE_FACT_ACS | DEVICE_FACT_SERIAL;
    int r;

    if (may_be_in_reset(device))
        what &= ~in_config_space;
    if (!(what & in_config_space))
        return sysfs_read_facts(NULL, device, what, ret);

    privileges_raise(CAP_SYS_ADMIN);
    r = sysfs_read_facts(NULL, device, what, ret);
    privileges_lower();
    return r;
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
