/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Sleep and wake-up of the host, as systemd-logind reports them (org.freedesktop.login1(5)). Only this file
 * knows logind. While vfiod runs it has a delay lock: logind announces sleep and waits for us, up to
 * InhibitDelayMaxSec= of logind.conf(5). Without a bus or logind nothing is announced. */

#include <systemd/sd-bus.h>

#include "base/macro.h"

#define LOGIND_DELAY_DEFAULT_USEC (5 * UINT64_C(1000000)) /* InhibitDelayMaxSec= */

typedef struct Logind Logind;

typedef struct LogindCallbacks {
    /* The host will sleep within max_usec. logind waits until logind_let_sleep(), which may be called at
     * once. */
    void (*sleep)(void *userdata, uint64_t max_usec);
    void (*woke)(void *userdata); /* also if it did not sleep after all */
    void *userdata;
} LogindCallbacks;

int logind_new(const LogindCallbacks *callbacks, Logind **ret);
Logind *logind_free(Logind *l);
DEFINE_TRIVIAL_CLEANUP_FUNC(Logind *, logind_free);

/* The connection of logind, borrowed; NULL when it is lost: the host then sleeps without waiting. */
void logind_set_bus(Logind *l, sd_bus *bus);
void logind_let_sleep(Logind *l);
