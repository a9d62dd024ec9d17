/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Finding out capabilities of devices on request. A device that is on its vfio driver and that nobody has is
 * opened by a worker of the surveyor, which delays claims of its group meanwhile. No device is taken from its
 * driver for this. */

#include "base/str.h"
#include "daemon/broker/broker-internal.h"

static int refuse_stranger(const DeviceName *name, Refusal *refusal) {
    int r = refuse(refusal, VFIOD_ERROR_ACCESS_DENIED, name,
            "only root can have a device opened to learn what it can do");

    refusal->remedy = strdup("Do it as root. No rule can allow it.");
    return r;
}

static int refuse_claimed(const Device *d, Refusal *refusal) {
    if (d->quarantined)
        return refuse(refusal, VFIOD_ERROR_DEVICE_QUARANTINED, &d->name, "it is quarantined");
    return refuse(refusal, VFIOD_ERROR_DEVICE_CLAIMED, &d->name,
            "a claim holds it or its IOMMU group, and vfiod opens only devices that nobody uses");
}

/* The reset of a device ends the devices that its driver has made. */
static int refuse_used(Device *d, void *userdata) {
    Refusal *refusal = userdata;
    char name[DEVICE_NAME_MAX];

    if (!d->claim)
        return 0;
    return refuse(refusal, VFIOD_ERROR_DEVICE_CLAIMED, device_parent_name(d),
            "a claim holds %s, which its reset would disturb", device_name_format(&d->name, name));
}

static int refuse_driver(const Device *d, Refusal *refusal) {
    _cleanup_free_ char *driver = sanitize(d->driver ?: "", 64);
    int r;

    r = refuse(refusal, VFIOD_ERROR_NODE_MISSING, &d->name,
            "it is not on a vfio driver%s%s%s, and vfiod takes no device from its driver to learn what it "
            "can "
            "do",
            d->driver ? " but on " : "", d->driver ? driver ?: "?" : "", d->driver ? "" : " but on none");
    refusal->remedy = strdup("A claim that requires something of the device (--require) looks at it.");
    return r;
}

static int check_idle(const Broker *e, const Device *d, Refusal *refusal) {
    int r;

    if (e->config.simulated)
        return refuse(refusal, VFIOD_ERROR_SIMULATION, &d->name, "this is a recorded host");
    if (d->name.kind != DEVICE_KIND_PCI)
        return refuse(refusal, VFIOD_ERROR_NOT_SUPPORTED, &d->name,
                "what devices of this kind can do is not looked at, only that of PCI functions");
    if (d->reshaping)
        return refuse(refusal, VFIOD_ERROR_DEVICE_BUSY, &d->name,
                "the number of its virtual functions is being changed");
    if (d->quarantined || d->claim || (d->group && d->group->claim))
        return refuse_claimed(d, refusal);
    if (d->vfio_index < 0 || !d->driver)
        return refuse_driver(d, refusal);
    if (!d->group)
        return refuse(refusal, VFIOD_ERROR_NO_IOMMU_GROUP, &d->name, "it is not behind an IOMMU");
    r = inventory_foreach_descendant(e->inventory, d, refuse_used, refusal);
    if (r < 0)
        return r;
    FOREACH_MEMBER(other, d->group)
        if (!device_leaves_group_viable(other)) {
            (void) refuse(refusal, VFIOD_ERROR_GROUP_NOT_VIABLE, &d->name,
                    "another device of IOMMU group %d is on a driver of the host", d->group->id);
            refusal_add_device(refusal, &other->name, "it is on a driver of the host");
            return -EBUSY;
        }
    return 0;
}

static int refuse_look(const DeviceName *name, int error, Refusal *refusal) {
    switch (error) {
    case -ENOMEM:
        return error;
    case -ENODEV:
        return refuse(refusal, VFIOD_ERROR_DEVICE_GONE, name, "it disappeared meanwhile");
    case -EBUSY:
        return refuse(refusal, VFIOD_ERROR_GROUP_IN_USE, name,
                "a program has it or its group open, with a claim or without");
    case -EPERM:
        return refuse(refusal, VFIOD_ERROR_GROUP_NOT_VIABLE, name,
                "the kernel refuses its group: another driver or program uses it, or its interrupts are not "
                "remapped");
    case -ETIMEDOUT:
        return refuse(refusal, VFIOD_ERROR_TIMED_OUT, name, "the kernel did not answer in time");
    default:
        return refuse(refusal, VFIOD_ERROR_OPEN_FAILED, name, "cannot open it: %s", strerror(-error));
    }
}

int broker_learn_caps(
        Broker *e, BrokerInquiry *q, const DeviceName *name, const Subject *subject, Refusal *refusal) {
    const Device *d = inventory_find_device(e->inventory, name);
    const DeviceFacts *facts;
    int r;

    if (!subject_is_operator(subject))
        return refuse_stranger(name, refusal);
    if (!d)
        return refuse(refusal, VFIOD_ERROR_NO_SUCH_DEVICE, name, "there is no such device");
    if (!q->begun) {
        r = check_idle(e, d, refusal);
        if (r < 0)
            return r;
        audit_looked(name, subject);
    }
    q->begun = true;
    r = broker_look_at(e, q, name, DEVICE_FACT_CAPS);
    if (r < 0)
        return r;
    r = survey_get(&q->survey, name, DEVICE_FACT_CAPS, &facts);
    return r < 0 ? refuse_look(name, r, refusal) : 0;
}
