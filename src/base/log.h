/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Log lines for people and fields for programs. Under systemd a line is sent to the journal with its fields.
 * Elsewhere it is written to stderr with a <N> priority prefix. errno is preserved. Only the code that
 * decides what happens next logs (broker, faces, main); core and base do not. */

#include <syslog.h>

#include "base/macro.h"

/* Lines above this priority (default LOG_INFO) are dropped. */
void log_set_max_level(int level);
int log_get_max_level(void);

void log_line(int level, const char *format, ...) _printf_(2, 3);
#define log_debug(...) log_line(LOG_DEBUG, __VA_ARGS__)
#define log_info(...) log_line(LOG_INFO, __VA_ARGS__)
#define log_notice(...) log_line(LOG_NOTICE, __VA_ARGS__)
#define log_warning(...) log_line(LOG_WARNING, __VA_ARGS__)
#define log_error(...) log_line(LOG_ERR, __VA_ARGS__)

/* Logs "message: strerror(-r)" and returns r, so that `return log_error_errno(r, "…")` is one line. */
int log_error_errno(int r, const char *format, ...) _printf_(2, 3);
int log_warning_errno(int r, const char *format, ...) _printf_(2, 3);

/* Logs a structured record. message is for people; message_id is a VFIOD_MESSAGE_ constant (32 hex digits) or
 * NULL. Pairs of name and value follow, ended by NULL. A pair whose value is NULL is left out. Values may be
 * hostile text: they are sanitized. */
void log_record(int level, const char *message_id, const char *message, ...) _sentinel_;

/* MESSAGE_IDs. units/vfiod.catalog explains them to administrators. */
#define VFIOD_MESSAGE_CLAIM_GRANTED "bf4552d29f00f3cd36ad1f6f391ad0b1"
#define VFIOD_MESSAGE_CLAIM_REFUSED "bf4552d29f00f3cd36ad1f6f391ad0b2"
#define VFIOD_MESSAGE_CLAIM_ENDED "bf4552d29f00f3cd36ad1f6f391ad0b3"
#define VFIOD_MESSAGE_QUARANTINED "bf4552d29f00f3cd36ad1f6f391ad0b4"
#define VFIOD_MESSAGE_POLICY_BROKEN "bf4552d29f00f3cd36ad1f6f391ad0b5"
#define VFIOD_MESSAGE_WORKER_STUCK "bf4552d29f00f3cd36ad1f6f391ad0b6"
#define VFIOD_MESSAGE_TAINTED "bf4552d29f00f3cd36ad1f6f391ad0b7"
#define VFIOD_MESSAGE_SHADOW_DIFFERS "bf4552d29f00f3cd36ad1f6f391ad0b8"
#define VFIOD_MESSAGE_OPERATOR "bf4552d29f00f3cd36ad1f6f391ad0b9"
#define VFIOD_MESSAGE_CLAIM_MOVED "bf4552d29f00f3cd36ad1f6f391ad0ba"
#define VFIOD_MESSAGE_RESERVED "bf4552d29f00f3cd36ad1f6f391ad0bb"
#define VFIOD_MESSAGE_WORKER_HANGS "bf4552d29f00f3cd36ad1f6f391ad0bc"
#define VFIOD_MESSAGE_WORKER_RETURNED "bf4552d29f00f3cd36ad1f6f391ad0bd"
#define VFIOD_MESSAGE_EVICTION "bf4552d29f00f3cd36ad1f6f391ad0be"
#define VFIOD_MESSAGE_SIBLING_CAME "bf4552d29f00f3cd36ad1f6f391ad0c3"
#define VFIOD_MESSAGE_SIBLING_TAKEN "bf4552d29f00f3cd36ad1f6f391ad0c4"
#define VFIOD_MESSAGE_DEADLINE "bf4552d29f00f3cd36ad1f6f391ad0bf"
#define VFIOD_MESSAGE_PREEMPTED "bf4552d29f00f3cd36ad1f6f391ad0c0"
#define VFIOD_MESSAGE_EVICTED "bf4552d29f00f3cd36ad1f6f391ad0c1"
#define VFIOD_MESSAGE_STOPPED "bf4552d29f00f3cd36ad1f6f391ad0c2"
