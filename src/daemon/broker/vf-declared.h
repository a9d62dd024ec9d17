/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Virtual functions that the policy declares. They disappear with a reboot, and nothing else makes them
 * again. vfiod makes them once per boot if the device has none, as soon as vfiod runs and the device has a
 * driver. Later changes by the operator or others stay. So the devices that are settled are kept on disk,
 * with the id of the boot. */

#include "daemon/broker/broker-internal.h"

void vf_declared_load(Broker *e);
void vf_declared_done(Broker *e);
/* The device has appeared, has another driver, or a change of it is over. */
void vf_declared_try(Broker *e, const Device *d);
/* The operator decides about it from now on. */
void vf_declared_settle(Broker *e, const DeviceName *name);
