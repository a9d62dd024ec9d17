/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Runs an operator's unit of systemd over a device that nobody uses any more, before its reset: a template
 * like vfiod-scrub@.service, whose instance is what the kernel calls the device. systemd is asked over D-Bus,
 * and the result of the job is waited for: a unit of Type=oneshot is started when it has ended well. Nothing
 * is believed but "done", from whoever answered the call. modprobe@.service, which loads the module of a
 * driver, is started in the same way. */

#include <systemd/sd-event.h>

#include "core/device-name.h"

typedef struct sd_bus sd_bus;
typedef struct Scrubber Scrubber;
typedef struct ScrubJob ScrubJob;

int scrubber_new(sd_event *event, uint64_t timeout_usec, Scrubber **ret);
Scrubber *scrubber_free(Scrubber *s); /* callbacks are not called */
DEFINE_TRIVIAL_CLEANUP_FUNC(Scrubber *, scrubber_free);
/* Borrowed; NULL: there is none. What is under way is begun anew on the next one, within its time. */
void scrubber_set_bus(Scrubber *s, sd_bus *bus);
bool scrubber_has_bus(const Scrubber *s);

/* Called once, later. failure: NULL when the device is scrubbed; else why not, in words. */
typedef void (*scrub_done_t)(void *userdata, const char *failure);
/* *ret is owned by the caller, and gone when done is called. 0 or negative errno. */
int scrub_start(Scrubber *s, const char *template, const DeviceName *device, scrub_done_t done,
        void *userdata, ScrubJob **ret);
/* Likewise any unit, whose name is shorter than SCRUB_UNIT_MAX, within a time of its own. */
int scrub_start_unit(Scrubber *s, const char *unit, uint64_t timeout_usec, scrub_done_t done, void *userdata,
        ScrubJob **ret);
/* done will not be called; the unit goes on. */
ScrubJob *scrub_job_free(ScrubJob *job);
