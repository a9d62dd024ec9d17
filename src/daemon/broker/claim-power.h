/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A device on its vfio driver that nobody uses may be without power (D3cold). Whether it comes back shows
 * only when somebody wakes it, which a worker does before the device is handed out. One that does not come
 * back is quarantined. A device that was just bound has been looked at by the worker that bound it. */

#include "daemon/broker/claims.h"

/* Before anything is done to the devices: finds those that must not lose their power during the claim. To
 * write that wakes a device. So one that is on its vfio driver already is left alone where nothing can take
 * its power away. */
void claim_power_plan(ClaimRun *j);
/* 1: all devices have power, or sleep as usual. 0: a worker wakes one, and go_on is called afterwards, which
 * asks again; or CLAIM_EVENT_WORKER_STUCK or OPEN_FAILED is fed. Or refused, with the claim's refusal filled.
 */
int claim_power_check(ClaimRun *j, void (*go_on)(ClaimRun *j));
