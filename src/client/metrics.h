/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* vfiod's figures under the names for monitoring: one table, and two formats. The names are an interface, see
 * vfiod-metrics(8). */

#include <json-c/json.h>

#include "base/json-build.h"
#include "base/str.h"
#include "client/error-text.h"

typedef enum MetricType {
    METRIC_GAUGE,
    METRIC_COUNTER, /* since the start of vfiod */
    METRIC_INFO,
    _METRIC_TYPE_MAX,
} MetricType;

typedef struct Metric {
    const char *name; /* "vfiod_grants"; samples of a counter have the suffix "_total" */
    MetricType type;
    const char *figure; /* vfiod's name of the figure */
    const char *help;
    bool usec;        /* vfiod has microseconds, the metric seconds */
    const char *unit; /* NULL: none */
} Metric;

/* Ends with a row without a name. */
extern const Metric metrics_table[];

/* Asks vfiod. Owned by the caller. NULL: it did not answer, with *error set. */
struct json_object *metrics_ask(VfiodErrorText *error);

/* figures NULL: vfiod did not answer, which is a figure too. Owned by the caller; NULL on ENOMEM. */
char *metrics_format_text(struct json_object *figures);

/* Visits the values of a metric: 1 with *ret, from *index on, which is advanced; 0: there are no more. */
int metrics_next(const Metric *metric, struct json_object *figures, size_t *index, struct json_object **ret);
uint64_t metrics_value(const Metric *metric, struct json_object *figure);

/* In metrics-report.c: answers calls of io.systemd.Metrics on this connection until its other end closes.
 * Returns an exit status. */
int metrics_serve_report(int fd);
