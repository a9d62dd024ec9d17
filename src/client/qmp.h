/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* QEMU's monitor for programs (QMP): commands with file descriptors, and events of devices. */

#include <json-c/json.h>

#include "client/error-text.h"

typedef struct Qmp Qmp;

/* Called for each event, also while a command waits for its answer. */
typedef void (*qmp_event_t)(void *userdata, const char *event, struct json_object *data);

/* Connects and reads the greeting. Fails when QEMU is busy with another client. *ret is owned by the
 * caller. */
int qmp_open(const char *path, qmp_event_t on_event, void *userdata, Qmp **ret, VfiodErrorText *error);
Qmp *qmp_close(Qmp *q);
DEFINE_TRIVIAL_CLEANUP_FUNC(Qmp *, qmp_close);

/* "QEMU emulator version 9.0", as vmm_parse_abilities() reads it. */
const char *qmp_version(const Qmp *q);

/* Executes a command; arguments (ownership is taken) and ret may be NULL. fd (borrowed; negative: none) is
 * sent with it. For an error of QEMU -EPROTO with its text in *error. */
int qmp_execute(Qmp *q, const char *command, struct json_object *arguments, int fd, struct json_object **ret,
        VfiodErrorText *error);

int qmp_fd(const Qmp *q);
/* Reads what is available and calls on_event. 0; -ECONNRESET: QEMU has closed the connection. */
int qmp_process(Qmp *q);
