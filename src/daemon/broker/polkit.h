/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Asks a person through polkit, asynchronously. Only this file knows polkit. Everything but a clear
 * permission counts as a denial: no polkit on the host, an error, no answer in time, a lost bus. */

#include <sys/types.h>
#include <systemd/sd-bus.h>

#include "core/error.h"

/* One for each class of methods; policy/org.vfiod1.policy has them. */
#define AUTH_ACTION_ACQUIRE "org.vfiod1.acquire"

/* Open questions of one user, and of all: each can be a window on somebody's screen. */
#define AUTH_QUESTIONS_PER_UID_MAX 4U
#define AUTH_QUESTIONS_MAX 64U

typedef struct Auth Auth;
typedef struct AuthQuestion AuthQuestion;

/* Everything is copied. */
typedef struct AuthAbout {
    const char *action;
    const char *bus_name; /* of the caller: a unique name, which the bus never uses twice */
    pid_t pid;            /* without bus_name, the caller's process; 0: unknown */
    int pidfd;            /* borrowed; of that process */
    uid_t uid;            /* whose questions are counted */
    bool interactive;     /* otherwise polkit answers by itself, and nobody is asked */
    const char *caller, *devices, *parked, *rule, *reason, *network; /* what the person is shown */
} AuthAbout;

/* refusal NULL: allowed; otherwise its contents may be taken. The question is freed before. */
typedef void (*auth_done_t)(void *userdata, Refusal *refusal);

int auth_new(uint64_t timeout_usec, Auth **ret);
Auth *auth_free(Auth *a);
DEFINE_TRIVIAL_CLEANUP_FUNC(Auth *, auth_free);

/* The connection of polkit, borrowed; NULL when it is lost: open questions are then denied. */
void auth_set_bus(Auth *a, sd_bus *bus);

/* 0: done is called later, exactly once, unless the question is freed before. Or a negative errno with
 * *refusal set. */
int auth_ask(Auth *a, const AuthAbout *about, auth_done_t done, void *userdata, AuthQuestion **ret,
        Refusal *refusal);
/* Cancels the question, and closes an open window. Accepts and returns NULL. */
AuthQuestion *auth_question_free(AuthQuestion *q);
