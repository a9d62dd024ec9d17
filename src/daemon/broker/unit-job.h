/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Units that systemd starts for us, over D-Bus: an operator's scrub unit, and modprobe@.service for the
 * module of a driver. The result of the job is waited for: a unit of Type=oneshot is started when it has
 * ended well. Nothing is believed but "done", and only from whoever answered the call. */

#include <systemd/sd-event.h>

#include "base/macro.h"

#define UNIT_JOB_NAME_MAX 160U

typedef struct sd_bus sd_bus;
typedef struct UnitJobs UnitJobs;
typedef struct UnitJob UnitJob;

int unit_jobs_new(sd_event *event, UnitJobs **ret);
UnitJobs *unit_jobs_free(UnitJobs *s); /* callbacks are not called */
DEFINE_TRIVIAL_CLEANUP_FUNC(UnitJobs *, unit_jobs_free);
/* Borrowed; NULL: there is none. What is under way is begun anew on the next one, within its time. */
void unit_jobs_set_bus(UnitJobs *s, sd_bus *bus);
bool unit_jobs_have_bus(const UnitJobs *s);

/* Called once, later. failure: NULL when the job is done; else why not, in words. */
typedef void (*unit_job_done_t)(void *userdata, const char *failure);
/* *ret is owned by the caller, and gone when done is called. 0 or negative errno. */
int unit_job_start(UnitJobs *s, const char *unit, uint64_t timeout_usec, unit_job_done_t done, void *userdata,
        UnitJob **ret);
/* done will not be called; the unit goes on. */
UnitJob *unit_job_free(UnitJob *job);
