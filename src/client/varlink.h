/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Varlink calls and replies of org.vfiod.Broker as text. Pure: no socket. */

#include "base/json-text.h"
#include "base/str.h"
#include "client/transport.h"

#define VFIOD_SOCKET_PATH "/run/vfiod/org.vfiod.Broker"
#define VARLINK_INTERFACE "org.vfiod.Broker"

/* The call as JSON without the final NUL. 0 or -ENOMEM. */
int varlink_write_call(const Call *call, char **ret);
/* Monitor of claims, with "more". */
#define VARLINK_MONITOR_CALL                                                                                 \
    "{\"method\":\"" VARLINK_INTERFACE ".Monitor\",\"parameters\":{\"kinds\":[\"claim\"]},\"more\":true}"

/* Reads the reply to a call. fds came with it and stay the caller's. 0 with *ret set; or a negative errno
 * with *error: the daemon refused, or the reply is malformed. */
int varlink_read_reply(Method m, const char *text, size_t size, const int *fds, size_t n_fds, Answer *ret,
        VfiodErrorText *error);

/* One report of Monitor. Strings belong to the document. */
typedef struct VarlinkEvent {
    const char *event; /* "present", "complete", "added", "changed", "removed", "resync" */
    const char *claim; /* its id; NULL if the event has none */
    ClaimReport report;
} VarlinkEvent;
int varlink_read_event(const JsonNode *root, VarlinkEvent *ret, VfiodErrorText *error);

/* For replies larger than any reply should be. */
extern const JsonBounds varlink_bounds;
