/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Points in time as people read them: in the zone of this host, which is printed. Documents for programs have
 * RFC 3339 (base/timestamp.h) instead. */

#include "base/macro.h"

#define LOCAL_TIME_MAX 64

/* Reads the zone from TZ or /etc/localtime, and again if that has changed. The functions below read no file
 * after it has been called once. */
void local_time_read_zone(void);

/* Writes "2026-11-30 20:16:46 CET" to buf; the number of microseconds if no calendar has that moment. Returns
 * buf. */
const char *local_time_format(uint64_t usec, char buf[static LOCAL_TIME_MAX]);
/* The same for the arguments of one call: the buffer is a temporary. */
#define LOCAL_TIME(usec) local_time_format((usec), (char[LOCAL_TIME_MAX]){})
