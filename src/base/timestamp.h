/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Points in time as people write them in files: RFC 3339. The zone is required, so that a file means the same
 * in every zone. */

#include "base/macro.h"

#define TIMESTAMP_MAX 24       /* "2026-12-31T18:00:00Z" and NUL, rounded up */
#define TIMESTAMP_EXACT_MAX 32 /* "2026-12-31T18:00:00.123456Z" and NUL, likewise */

/* "2026-12-31T18:00:00Z" or "2026-12-31T18:00:00.5+01:00" to microseconds since 1970. -EINVAL when the text
 * has another form, names a day that does not exist, or is before 1970. */
int timestamp_parse(const char *s, uint64_t *ret_usec);
/* In UTC, without fractions; returns buf. */
const char *timestamp_format(uint64_t usec, char buf[static TIMESTAMP_MAX]);
/* With microseconds, always six digits, so that sorting the texts sorts by time. */
const char *timestamp_format_exact(uint64_t usec, char buf[static TIMESTAMP_EXACT_MAX]);
