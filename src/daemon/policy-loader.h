/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Loads the policy in force and the shadow policy, each replaced as a whole, and looks up their accounts
 * without blocking. While names are looked up, the former policies stay in force. Unknown names are looked up
 * again after a while, and when the host's account files change. */

#include <systemd/sd-event.h>

#include "host/policy-files.h"

typedef struct PolicyLoader PolicyLoader;

typedef struct PolicyLoaderConfig {
    const char *const *directories, *const *shadow_directories; /* borrowed, as are the strings; ended by
                                                                 * NULL */
    const char *credentials; /* the directory with credentials of systemd; NULL: none */
    const char *passwd;      /* file with names of users for texts; NULL: none */
    resolve_name_t resolve;  /* NULL: the accounts of this host */
    void *resolve_userdata;
} PolicyLoaderConfig;

/* The policies were replaced, or could not be loaded for lack of memory (r < 0). resolved: only accounts of
 * the policies in force became known. The former policies live until it returns. */
typedef void (*policy_loaded_t)(void *userdata, int r, bool resolved);

int policy_loader_new(sd_event *event, const PolicyLoaderConfig *config, policy_loaded_t loaded,
        void *userdata, PolicyLoader **ret);
PolicyLoader *policy_loader_free(PolicyLoader *l);
DEFINE_TRIVIAL_CLEANUP_FUNC(PolicyLoader *, policy_loader_free);

/* Reads the files. loaded is called once, possibly before this returns. A load that is in progress is
 * reported with it. */
void policy_loader_load(PolicyLoader *l);
bool policy_loader_is_busy(const PolicyLoader *l);
/* Borrowed, always the same objects: the policy in force, and the messages of the last load. */
const PolicyLoad *policy_loader_policy(const PolicyLoader *l);
const PolicyLoad *policy_loader_shadow(const PolicyLoader *l);
