/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Looks for the facts of a survey. Facts in sysfs are read at once. Facts that may sleep in the kernel come
 * from worker processes, and only the callers that need them wait.
 *
 * One worker at a time looks at a device, and all callers that ask about it meanwhile get the same answer. A
 * device that did not answer in time is left alone for a while: its facts are unknown. So requests about a
 * device that hangs cost one worker, however many there are.
 *
 * The capabilities of a device (DEVICE_FACT_CAPS) are learned by opening it. Callers that need facts of this
 * device or of its group wait meanwhile, since no claim may be given then. */

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

/* Looks for all wanted facts. sleeps: reads of source may sleep, so workers do them. Returns 0 if all facts
 * are there. Returns -EAGAIN if ready will be called, once and later: the survey must stay until then, and
 * the caller owns *ret. Returns -ENOMEM. */
int surveyor_take(Surveyor *s, Survey *survey, const FactSource *source, bool sleeps,
        void (*ready)(void *userdata), void *userdata, SurveyTask **ret);
/* Does the same for a caller that cannot wait: facts that may sleep are unknown. */
void surveyor_take_now(Surveyor *s, Survey *survey, const FactSource *source, bool sleeps);
/* Call it after ready, too. Called before, it cancels ready. */
SurveyTask *survey_task_free(SurveyTask *t);
