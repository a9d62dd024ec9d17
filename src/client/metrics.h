/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* vfiod's figures under the names by which monitoring knows them: one table, and two ways to write it. The
 * names are an interface, see vfiod-metrics(8). */

#include <json-c/json.h>

#include "base/json-build.h"
#include "base/str.h"
#include "client/error-text.h"

typedef enum MetricType {
    METRIC_GAUGE,
    METRIC_COUNTER, /* from the start of vfiod on */
    METRIC_INFO,
    _METRIC_TYPE_MAX,
} MetricType;

typedef struct Metric {
    const char *name; /* "vfiod_grants": a counter's samples have "_total" behind it */
    MetricType type;
    const char *figure; /* the figure of vfiod that it shows */
    const char *help;
    bool usec;        /* vfiod has microseconds, the metric has seconds */
    const char *unit; /* NULL: none */
} Metric;

/* Ends with one that has no name. */
extern const Metric metrics_table[];

/* Asks vfiod. NULL: it did not answer, and *error says why. */
struct json_object *metrics_ask(VfiodErrorText *error);

/* figures: NULL: vfiod did not answer, which is a figure, too. Owned by the caller; NULL on ENOMEM. */
char *metrics_format_text(struct json_object *figures);

/* The values of a metric, one after the other: 1 with *ret, from *index on, which goes on behind it; 0: no
 * more. */
int metrics_next(const Metric *metric, struct json_object *figures, size_t *index, struct json_object **ret);
uint64_t metrics_value(const Metric *metric, struct json_object *figure);

/* metrics-report.c: answers calls of io.systemd.Metrics on this connection until its other end hangs up. An
 * exit status. */
int metrics_serve_report(int fd);
