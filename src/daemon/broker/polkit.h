/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Asks a person whether somebody may have something: polkit, without stopping anything. The only file that
 * knows polkit. Whatever is not a clear yes is a no: no polkit on the host, an error, no answer in time, the
 * bus gone. */

#include <sys/types.h>
#include <systemd/sd-bus.h>

#include "core/error.h"

/* One for each class of verbs; policy/org.vfiod1.policy has them. */
#define AUTH_ACTION_ACQUIRE "org.vfiod1.acquire"

/* Open questions of one user, and of all: each may be a window on somebody's screen. */
#define AUTH_QUESTIONS_PER_UID_MAX 4U
#define AUTH_QUESTIONS_MAX 64U

typedef struct Auth Auth;
typedef struct AuthQuestion AuthQuestion;

/* Everything is copied. */
typedef struct AuthAbout {
    const char *action;
    const char *bus_name; /* the caller: a unique name, which the bus never gives to another connection */
    pid_t pid;            /* or, without one, their process; 0: unknown */
    int pidfd;            /* borrowed; of that process */
    uid_t uid;            /* whose questions are counted */
    bool interactive;     /* else polkit answers by itself, and no person is bothered */
    const char *caller, *devices, *parked, *rule, *reason, *network; /* what the person is told */
} AuthAbout;

/* refusal NULL: yes; else its contents may be taken. The question is freed by then. */
typedef void (*auth_done_t)(void *userdata, Refusal *refusal);

int auth_new(uint64_t timeout_usec, Auth **ret);
Auth *auth_free(Auth *a);
DEFINE_TRIVIAL_CLEANUP_FUNC(Auth *, auth_free);

/* The connection on which polkit is, borrowed; NULL when it is lost: open questions are answered with no. */
void auth_set_bus(Auth *a, sd_bus *bus);

/* 0: done is called later, exactly once, unless the question is freed before. Or a negative errno with
 * *refusal filled. */
int auth_ask(Auth *a, const AuthAbout *about, auth_done_t done, void *userdata, AuthQuestion **ret,
        Refusal *refusal);
/* Nobody is interested in the answer any more: a window that is open is closed. Takes and returns NULL. */
AuthQuestion *auth_question_free(AuthQuestion *q);
