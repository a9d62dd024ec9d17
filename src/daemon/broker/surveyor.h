/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Has the facts of a survey looked for. What sysfs answers at once is read at once. What may sleep in the
 * kernel comes from worker processes, and whoever needs it waits for that, and nobody else does.
 *
 * One worker at a time surveys a device, and all callers that ask about it meanwhile get the same answer. A
 * device that did not answer in time is not surveyed again for a while: its facts are unknown. So requests
 * about a device that hangs cost one worker, however many there are.
 *
 * What a device can do (DEVICE_FACT_CAPS) is learned by opening it. While that is so, whoever needs facts of
 * the device, or of another one of its group, waits: a claim must not be given in the middle. */

#include <systemd/sd-event.h>

#include "daemon/broker/host-source.h"
#include "daemon/kernel/worker.h"

typedef struct Surveyor Surveyor;
typedef struct SurveyTask SurveyTask;

/* state_directory: borrowed, for caps-store.h; NULL: nothing is kept. */
int surveyor_new(sd_event *event, Inventory *inventory, WorkerPool *workers, const char *state_directory,
        uint64_t timeout_usec, Surveyor **ret);
Surveyor *surveyor_free(Surveyor *s); /* callbacks are not called */
DEFINE_TRIVIAL_CLEANUP_FUNC(Surveyor *, surveyor_free);

/* Looks for all that is wanted; sleeps: source may, and workers are asked in its place. 0: it is all there.
 * -EAGAIN: ready will be called, once and later, and the survey must stay until then; *ret is owned by the
 * caller. -ENOMEM. */
int surveyor_take(Surveyor *s, Survey *survey, const FactSource *source, bool sleeps,
        void (*ready)(void *userdata), void *userdata, SurveyTask **ret);
/* Likewise, for somebody who cannot wait: what may sleep is unknown. */
void surveyor_take_now(Surveyor *s, Survey *survey, const FactSource *source, bool sleeps);
/* To be called also after ready was; before that, ready will not be called any more. */
SurveyTask *survey_task_free(SurveyTask *t);
