/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The host is about to sleep, and has woken up: as systemd-logind tells it (org.freedesktop.login1(5)). The
 * only file that knows logind. While vfiod runs it has a delay lock: logind tells first, and waits for us, as
 * long as InhibitDelayMaxSec= in logind.conf(5) says. Without a bus or a logind nobody tells. */

#include <systemd/sd-bus.h>

#include "base/macro.h"

#define LOGIND_DELAY_DEFAULT_USEC (5 * UINT64_C(1000000)) /* InhibitDelayMaxSec= */

typedef struct Logind Logind;

typedef struct LogindCallbacks {
    /* Sleep is near: at most so long until it comes. logind waits until logind_let_sleep(), which may be
     * called at once. */
    void (*sleep)(void *userdata, uint64_t max_usec);
    void (*woke)(void *userdata); /* or it did not sleep after all */
    void *userdata;
} LogindCallbacks;

int logind_new(const LogindCallbacks *callbacks, Logind **ret);
Logind *logind_free(Logind *l);
DEFINE_TRIVIAL_CLEANUP_FUNC(Logind *, logind_free);

/* The connection on which logind is, borrowed; NULL when it is lost: then the host sleeps when it wants to.
 */
void logind_set_bus(Logind *l, sd_bus *bus);
void logind_let_sleep(Logind *l);
