/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/local-time.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

void local_time_read_zone(void) {
    tzset();
}

const char *local_time_format(uint64_t usec, char buf[static LOCAL_TIME_MAX]) {
    time_t seconds = (time_t) (usec / 1000000);
    struct tm tm;

    if (!localtime_r(&seconds, &tm) || strftime(buf, LOCAL_TIME_MAX, "%Y-%m-%d %H:%M:%S %Z", &tm) == 0)
        (void) snprintf(buf, LOCAL_TIME_MAX, "%" PRIu64, usec);
    return buf;
}
