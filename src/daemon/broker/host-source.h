/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The source of facts about the host: this machine or a recorded host (vfiod --simulate). Callers do not see
 * which. */

#include "core/plan.h"
#include "core/snapshot.h"

typedef struct HostSource {
    FactSource facts; /* without read_weakness: that of the ledger or the snapshot is used */
    int (*read_group)(void *userdata, int group, GroupFacts *ret);
    bool sleeps; /* some facts can sleep (SURVEY_FACTS_SLEEPING), and are read by a Surveyor's workers */
} HostSource;    /* their userdata is that of the facts */

HostSource host_source_of_machine(void);
/* The snapshot is borrowed. */
HostSource host_source_of_snapshot(HostSnapshot *snapshot);
