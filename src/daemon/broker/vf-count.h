/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Changes of the number of virtual functions, each run by a worker. During a change nobody gets the device or
 * one of its functions (Device.reshaping). The worker has no deadline: it sleeps in a write that nothing can
 * stop, and until its end the functions can disappear at any time. Only the caller is told after a while that
 * it takes long.
 *
 * A change is recorded before it begins. If the daemon is killed meanwhile, the device has an unknown number
 * of functions. The next daemon waits until that write has ended, and reports the result. */

#include "daemon/broker/broker-internal.h"

/* Call after all checks. 0: done will be called; or negative errno. */
int vf_change_begin(Broker *e, const Device *d, const VfWish *wish, vf_done_t done, void *userdata);
/* Continues with the changes of the former daemon. */
void vf_changes_recover(Broker *e);
void vf_changes_done(Broker *e);
/* See broker_forget_caller(). */
void vf_changes_forget_caller(Broker *e, void *userdata);
/* The device is in the inventory (again). */
void vf_changes_note_device(Broker *e, Device *d);
