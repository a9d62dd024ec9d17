/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Units that systemd starts for vfiod over D-Bus: an operator's scrub unit, and modprobe@.service for the
 * module of a driver. vfiod waits for the result of the job: a unit of Type=oneshot counts as started when it
 * has ended successfully. Only the result "done" is a success, and only from the sender that answered the
 * call. */

#include <systemd/sd-event.h>

#include "base/macro.h"

#define UNIT_JOB_NAME_MAX 160U

typedef struct sd_bus sd_bus;
typedef struct UnitJobs UnitJobs;
typedef struct UnitJob UnitJob;

int unit_jobs_new(sd_event *event, UnitJobs **ret);
UnitJobs *unit_jobs_free(UnitJobs *s); /* callbacks are not called */
DEFINE_TRIVIAL_CLEANUP_FUNC(UnitJobs *, unit_jobs_free);
/* Borrowed; NULL: there is none. Running jobs begin again on the next bus, within their time. */
void unit_jobs_set_bus(UnitJobs *s, sd_bus *bus);
bool unit_jobs_have_bus(const UnitJobs *s);

/* Called once, later. failure: NULL on success, otherwise the reason. */
typedef void (*unit_job_done_t)(void *userdata, const char *failure);
/* The caller owns *ret until done is called. Returns 0 or negative errno. */
int unit_job_start(UnitJobs *s, const char *unit, uint64_t timeout_usec, unit_job_done_t done, void *userdata,
        UnitJob **ret);
/* Cancels done. The unit goes on. */
UnitJob *unit_job_free(UnitJob *job);
