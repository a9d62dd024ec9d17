/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Changes of the number of virtual functions, each run by a worker. While one is under way nobody gets the
 * device or one of its functions (Device.reshaping). The worker has no deadline: what it sleeps in is a write
 * that nothing can stop, and until it is over the functions may go away any time. Only the caller is told
 * after a while that it takes long.
 *
 * What is under way is written down before it begins. A daemon that is killed meanwhile leaves the device
 * with any number of functions; the next one waits until that write is over, and reports what it found. */

#include "daemon/broker/broker-internal.h"

/* Whatever may stand in the way was looked at. 0: done will be called; or negative errno. */
int vf_change_begin(Broker *e, const Device *d, const VfWish *wish, vf_done_t done, void *userdata);
/* Takes up what the daemon before was at. */
void vf_changes_recover(Broker *e);
void vf_changes_done(Broker *e);
/* See broker_forget_caller(). */
void vf_changes_forget_caller(Broker *e, void *userdata);
/* The device is (again) in the inventory. */
void vf_changes_note_device(Broker *e, Device *d);
