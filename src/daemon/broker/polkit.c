/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/broker/polkit.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"
#include "base/user-name.h"

#define POLKIT_NAME "org.freedesktop.PolicyKit1"
#define POLKIT_PATH "/org/freedesktop/PolicyKit1/Authority"
#define POLKIT_INTERFACE "org.freedesktop.PolicyKit1.Authority"
#define POLKIT_ALLOW_USER_INTERACTION 1U

#define _cleanup_message_ _cleanup_(sd_bus_message_unrefp)

struct AuthQuestion {
    Auth *auth;                    /* borrowed */
    AuthQuestion *previous, *next; /* auth.questions */
    sd_bus_slot *slot;             /* owned: of the call; NULL after the answer */
    auth_done_t done;
    void *userdata;
    uid_t uid;
    int pidfd; /* owned; of the process that polkit is asked about; -EBADF: it is asked about a connection */
    bool interactive;
    char id[32]; /* for cancelling the question at polkit */
};

struct Auth {
    sd_bus *bus; /* borrowed */
    uint64_t timeout_usec;
    uint64_t last_id;
    AuthQuestion *questions;
    unsigned n_questions;
};

int auth_new(uint64_t timeout_usec, Auth **ret) {
    Auth *a = malloc(sizeof(*a));

    if (!a)
        return -ENOMEM;
    *a = (Auth){.timeout_usec = timeout_usec};
    *ret = a;
    return 0;
}

Auth *auth_free(Auth *a) {
    if (!a)
        return NULL;
    while (a->questions)
        (void) auth_question_free(a->questions);
    free(a);
    return NULL;
}

/* Best effort: polkit also drops questions of a connection that ends. */
static void cancel(const AuthQuestion *q) {
    _cleanup_message_ sd_bus_message *m = NULL;
    int r;

    if (!q->auth->bus)
        return;
    r = sd_bus_message_new_method_call(
            q->auth->bus, &m, POLKIT_NAME, POLKIT_PATH, POLKIT_INTERFACE, "CancelCheckAuthorization");
    if (r >= 0)
        r = sd_bus_message_set_expect_reply(m, false);
    if (r >= 0)
        r = sd_bus_message_set_auto_start(m, false);
    if (r >= 0)
        r = sd_bus_message_append(m, "s", q->id);
    if (r >= 0)
        r = sd_bus_send(q->auth->bus, m, NULL);
    if (r < 0)
        log_debug("Cannot cancel a question to polkit: %s", strerror(-r));
}

AuthQuestion *auth_question_free(AuthQuestion *q) {
    if (!q)
        return NULL;
    if (q->slot)
        cancel(q);
    sd_bus_slot_unref(q->slot);
    if (q->previous)
        q->previous->next = q->next;
    else
        q->auth->questions = q->next;
    if (q->next)
        q->next->previous = q->previous;
    q->auth->n_questions--;
    (void) safe_close(q->pidfd);
    free(q);
    return NULL;
}

/* The question is freed first, because the callback may ask another. */
static void finish(AuthQuestion *q, Refusal *refusal) {
    auth_done_t done = q->done;
    void *userdata = q->userdata;

    (void) auth_question_free(q);
    done(userdata, refusal);
}

void auth_set_bus(Auth *a, sd_bus *bus) {
    a->bus = bus;
    while (!bus && a->questions) {
        _cleanup_(refusal_done) Refusal refusal = REFUSAL_NULL;

        (void) refuse(&refusal, VFIOD_ERROR_NOT_AUTHORIZED, NULL,
                "the connection to the bus was lost while polkit was asking");
        finish(a->questions, &refusal);
    }
}

/* ---- The answer ---- */

static bool says_no_polkit(const sd_bus_error *e) {
    return sd_bus_error_has_name(e, SD_BUS_ERROR_SERVICE_UNKNOWN) ||
            sd_bus_error_has_name(e, SD_BUS_ERROR_NAME_HAS_NO_OWNER) ||
            (e->name && startswith(e->name, "org.freedesktop.DBus.Error.Spawn."));
}

static int refuse_failure(AuthQuestion *q, const sd_bus_error *e, Refusal *refusal) {
    _cleanup_free_ char *why = NULL;

    if (says_no_polkit(e))
        return refuse(refusal, VFIOD_ERROR_NOT_AUTHORIZED, NULL,
                "the rule requires authentication, and polkit is not available on this host");
    if (sd_bus_error_has_name(e, SD_BUS_ERROR_NO_REPLY) || sd_bus_error_has_name(e, SD_BUS_ERROR_TIMEOUT)) {
        cancel(q);
        return refuse(refusal, VFIOD_ERROR_NOT_AUTHORIZED, NULL, "nobody authenticated within %llu s",
                (unsigned long long) (q->auth->timeout_usec / 1000000));
    }
    why = sanitize(e->message ?: e->name ?: "", 200);
    return refuse(refusal, VFIOD_ERROR_NOT_AUTHORIZED, NULL, "polkit could not ask for authentication: %s",
            why ?: "?");
}

/* Only "polkit.dismissed" matters here: the person closed the window. */
static int read_dismissed(sd_bus_message *m, bool *ret) {
    const char *key, *value;
    bool dismissed = false;
    int r;

    r = sd_bus_message_enter_container(m, 'a', "{ss}");
    if (r < 0)
        return r;
    while ((r = sd_bus_message_read(m, "{ss}", &key, &value)) > 0)
        dismissed |= streq(key, "polkit.dismissed");
    *ret = dismissed;
    return r;
}

/* A pid is only a number. If its process still exists, polkit has checked that process. */
static int check_process(const AuthQuestion *q, Refusal *refusal) {
    if (q->pidfd < 0 || syscall(SYS_pidfd_send_signal, q->pidfd, 0, NULL, 0) >= 0 || errno != ESRCH)
        return 0;
    return refuse(refusal, VFIOD_ERROR_NOT_AUTHORIZED, NULL,
            "the caller's process has ended while polkit was asking");
}

static int read_answer(AuthQuestion *q, sd_bus_message *m, Refusal *refusal) {
    int authorized, challenge, r;
    bool dismissed = false;

    if (sd_bus_message_is_method_error(m, NULL))
        return refuse_failure(q, sd_bus_message_get_error(m), refusal);
    r = sd_bus_message_enter_container(m, 'r', "bba{ss}");
    if (r >= 0)
        r = sd_bus_message_read(m, "bb", &authorized, &challenge);
    if (r >= 0)
        r = read_dismissed(m, &dismissed);
    if (r < 0)
        return refuse(refusal, VFIOD_ERROR_NOT_AUTHORIZED, NULL, "polkit's answer cannot be parsed");
    if (authorized)
        return check_process(q, refusal);
    if (dismissed)
        return refuse(refusal, VFIOD_ERROR_NOT_AUTHORIZED, NULL, "the authentication was dismissed");
    if (!challenge || q->interactive)
        return refuse(refusal, VFIOD_ERROR_NOT_AUTHORIZED, NULL, "polkit denied it");
    r = refuse(refusal, VFIOD_ERROR_NOT_AUTHORIZED, NULL,
            "the rule requires authentication, and the request does not allow polkit to ask for it");
    refusal->remedy = strdup("Request it again and allow that (vfioctl without --no-ask-password).");
    return r;
}

static int on_answer(sd_bus_message *m, void *userdata, sd_bus_error *error) {
    _cleanup_(refusal_done) Refusal refusal = REFUSAL_NULL;
    AuthQuestion *q = userdata;
    int r;

    r = read_answer(q, m, &refusal);
    q->slot = sd_bus_slot_unref(q->slot);
    finish(q, r < 0 ? &refusal : NULL);
    return 1;
}

/* ---- The question ---- */

/* Without a start time polkit looks it up itself; see check_process(). */
static int append_subject(sd_bus_message *m, const AuthAbout *about) {
    if (about->bus_name)
        return sd_bus_message_append(m, "(sa{sv})", "system-bus-name", 1, "name", "s", about->bus_name);
    return sd_bus_message_append(m, "(sa{sv})", "unix-process", 3, "pid", "u", (uint32_t) about->pid,
            "start-time", "t", UINT64_C(0), "uid", "i", (int32_t) about->uid);
}

static int append_question(sd_bus_message *m, const AuthAbout *about, const char *id) {
    int r;

    r = append_subject(m, about);
    if (r >= 0)
        r = sd_bus_message_append(m, "s", about->action);
    if (r < 0)
        return r;
    return sd_bus_message_append(m, "a{ss}us", 6, "caller", about->caller, "devices", about->devices,
            "parked", about->parked, "rule", about->rule, "reason", about->reason, "network", about->network,
            about->interactive ? POLKIT_ALLOW_USER_INTERACTION : 0, id);
}

static int send_question(AuthQuestion *q, const AuthAbout *about) {
    _cleanup_message_ sd_bus_message *m = NULL;
    Auth *a = q->auth;
    int r;

    r = sd_bus_message_new_method_call(
            a->bus, &m, POLKIT_NAME, POLKIT_PATH, POLKIT_INTERFACE, "CheckAuthorization");
    if (r >= 0)
        r = append_question(m, about, q->id);
    if (r >= 0)
        r = sd_bus_call_async(a->bus, &q->slot, m, on_answer, q, a->timeout_usec);
    return r;
}

static int check_room(const Auth *a, uid_t uid, Refusal *refusal) {
    unsigned n = 0;
    int r;

    for (const AuthQuestion *q = a->questions; q; q = q->next)
        n += q->uid == uid;
    if (n < AUTH_QUESTIONS_PER_UID_MAX && a->n_questions < AUTH_QUESTIONS_MAX)
        return 0;
    r = refuse(refusal, VFIOD_ERROR_LIMIT_EXCEEDED, NULL,
            "%u requests of %s are already waiting for authentication", n, USER_TEXT(uid));
    refusal->remedy = strdup("Wait until they are answered.");
    return r;
}

int auth_ask(Auth *a, const AuthAbout *about, auth_done_t done, void *userdata, AuthQuestion **ret,
        Refusal *refusal) {
    AuthQuestion *q;
    int r;

    if (!a->bus)
        return refuse(refusal, VFIOD_ERROR_NOT_AUTHORIZED, NULL,
                "the rule requires authentication, and there is no bus on which polkit could be asked");
    if (!about->bus_name && (about->pid <= 0 || about->pidfd < 0))
        return refuse(refusal, VFIOD_ERROR_NOT_AUTHORIZED, NULL,
                "the rule requires authentication, and the caller's process is unknown");
    r = check_room(a, about->uid, refusal);
    if (r < 0)
        return r;
    q = malloc(sizeof(*q));
    if (!q)
        return refuse(refusal, VFIOD_ERROR_INTERNAL, NULL, "out of memory");
    *q = (AuthQuestion){
            .auth = a,
            .next = a->questions,
            .done = done,
            .userdata = userdata,
            .uid = about->uid,
            .pidfd = about->bus_name ? -EBADF : fcntl(about->pidfd, F_DUPFD_CLOEXEC, 3),
            .interactive = about->interactive,
    };
    (void) snprintf(q->id, sizeof(q->id), "vfiod-%llu", (unsigned long long) ++a->last_id);
    if (a->questions)
        a->questions->previous = q;
    a->questions = q;
    a->n_questions++;

    r = about->bus_name || q->pidfd >= 0 ? send_question(q, about) : -errno;
    if (r < 0) {
        (void) auth_question_free(q);
        return refuse(refusal, VFIOD_ERROR_NOT_AUTHORIZED, NULL, "cannot call polkit: %s", strerror(-r));
    }
    *ret = q;
    return 0;
}
