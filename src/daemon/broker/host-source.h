/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Where facts about the host come from: this machine, or a recorded host (vfiod --simulate). Whoever asks
 * does not see which. */

#include "core/plan.h"
#include "core/snapshot.h"

typedef struct HostSource {
    FactSource facts; /* without read_weakness: that is the ledger's, or the snapshot's */
    int (*read_group)(void *userdata, int group, GroupFacts *ret);
    bool sleeps; /* reading some facts may: SURVEY_FACTS_SLEEPING. They are for a Surveyor's workers */
} HostSource;    /* userdata of all is that of the facts */

HostSource host_source_of_machine(void);
/* The snapshot stays the caller's. */
HostSource host_source_of_snapshot(HostSnapshot *snapshot);
