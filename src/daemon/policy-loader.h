/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The policy in force and the one in shadow: read, replaced as a whole, and their accounts looked up without
 * anybody waiting. While names are looked up the sets of before stay in force. A name that stays unknown is
 * looked up again, after a while and when the host's own account files change. */

#include <systemd/sd-event.h>

#include "host/policy-files.h"

typedef struct PolicyLoader PolicyLoader;

typedef struct PolicyLoaderConfig {
    const char *const *directories, *const *shadow_directories; /* borrowed */
    const char *credentials; /* which of the directories has credentials of systemd; NULL: none */
    const char *passwd;      /* names of users, for texts; NULL: none */
    resolve_name_t resolve;  /* NULL: the accounts of this host */
    void *resolve_userdata;
} PolicyLoaderConfig;

/* The sets are other ones, or failed to load for lack of memory (r < 0). resolved: only accounts of the sets
 * that are in force became known. Those of before live until it returns. */
typedef void (*policy_loaded_t)(void *userdata, int r, bool resolved);

int policy_loader_new(sd_event *event, const PolicyLoaderConfig *config, policy_loaded_t loaded,
        void *userdata, PolicyLoader **ret);
PolicyLoader *policy_loader_free(PolicyLoader *l);
DEFINE_TRIVIAL_CLEANUP_FUNC(PolicyLoader *, policy_loader_free);

/* Reads the files. loaded is called once, maybe before this returns; for a load that is under way meanwhile,
 * it is called together with this one. */
void policy_loader_load(PolicyLoader *l);
bool policy_loader_is_busy(const PolicyLoader *l);
/* Always the same objects: what is in force, and the messages of the last load. */
const PolicyLoad *policy_loader_policy(const PolicyLoader *l);
const PolicyLoad *policy_loader_shadow(const PolicyLoader *l);
