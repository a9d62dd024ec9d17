/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* How libvfiod reaches the daemon: by its Varlink socket or over D-Bus. A transport carries calls and answers
 * and decides nothing. Each link is driven by its owner: wait for get_fd(), then process(). */

#include "base/macro.h"
#include "client/vfiod.h"

/* The kernel may sleep a minute in a bind and another in an open; the daemon gives up on each by itself. */
#define VFIOD_CALL_TIMEOUT_USEC (180ULL * 1000 * 1000)
/* And a person has two minutes to answer. */
#define VFIOD_ASK_TIMEOUT_USEC (120ULL * 1000 * 1000)

#define ANSWER_FDS_MAX 16U /* what a bus message carries */

typedef enum Method {
    METHOD_ACQUIRE,
    METHOD_RESERVE,
    METHOD_ADD_DEVICES,
    METHOD_RELEASE_DEVICES,
    METHOD_RELEASE,
    METHOD_TRANSFER,
    METHOD_EVICT,
    METHOD_ANSWER_EVICTION,
    METHOD_RETRY_QUARANTINE,
    METHOD_CLEAR_QUARANTINE,
    METHOD_PLAN,
    METHOD_EXPLAIN,
    METHOD_RELOAD_POLICY,
    METHOD_SET_VIRTUAL_FUNCTIONS,
    METHOD_PROBE_CAPABILITIES,
    METHOD_LIST_ONE, /* this and the next two: Varlink only */
    METHOD_LIST_ALL,
    METHOD_MONITOR,
    _METHOD_MAX,
} Method;

const char *method_name(Method m); /* "Acquire"; the same on both */
bool method_has_claim(Method m);   /* the claim is an argument */
bool method_has_devices(Method m);
bool method_has_request(Method m); /* all of the request; else its devices only */
bool method_gives_claim(Method m); /* the answer has a claim, or parts of one */
bool method_gives_text(Method m);
bool method_gives_more(Method m); /* an answer has several parts */

/* Everything is borrowed, and only until the call has returned. */
typedef struct Call {
    Method method;
    const char *claim;           /* "cookie:COOKIE" too; of Explain, NULL: a request */
    const VfiodRequest *request; /* where the method has devices */
    int pidfd; /* of the process that the claim shall hang on; negative: the caller decides by itself */
    uint64_t pid, pidfd_id; /* of pidfd, see call_describe_process(); 0: none, or not known */
    const char *tether;     /* of Transfer; NULL: that of the claim, or "process" with a pidfd */
    bool last_refusal;      /* of Explain: what was refused last */
    /* Of List: which object, as "device" and its name; "host" needs none. And which field; NULL: all but the
     * costly ones. Of a list of all: that field of every device, which is not costly. */
    const char *kind, *name, *field;
    /* Of Reserve, with kind "device" and what is to be reserved as name. */
    uint64_t ttl;        /* seconds; 0: the daemon's default */
    bool for_other;      /* for the user below, instead of the caller */
    uint32_t uid, *gids; /* of them, all groups */
    size_t n_gids;
    /* Of Evict: until then, negative: the daemon's default; and why (also of ClearQuarantine), NULL: not
     * said. */
    int64_t in_sec;
    const char *reason;
    bool cancel;   /* of Evict: not any more */
    uint64_t more; /* of AnswerEviction: seconds */
    /* Of SetVirtualFunctions, with kind and name of the device, as with ProbeCapabilities. */
    uint64_t count;
    int autoprobe; /* negative: as it is */
} Call;

uint64_t call_timeout_usec(const Call *call);
const char *call_tether(const Call *call); /* of Transfer; NULL: that of the claim */
/* Fills pid and pidfd_id: the daemon takes no files. 0, -ESRCH when the process has ended, or another
 * negative errno. */
int call_describe_process(Call *call);
/* What each device must be able to do, or NULL; the structure of a program may be older than this member. */
const char *request_requirement(const VfiodRequest *request);
/* Likewise what the network card has for each device. */
const char *request_network(const VfiodRequest *request);
/* Likewise the ticket. */
const char *request_ticket(const VfiodRequest *request);
/* Likewise for how many seconds it may wait for devices of others. */
uint64_t request_wait(const VfiodRequest *request);
/* Likewise for how many seconds the claim is wanted. */
uint64_t request_duration(const VfiodRequest *request);
/* What neither a bus message nor JSON can carry gets words, and not EINVAL from deep below. */
int request_check(const VfiodRequest *request, VfiodErrorText *error);

typedef struct NamedFd {
    char *name; /* owned */
    int fd;     /* owned; -EBADF once taken */
} NamedFd;

/* What came back. The receiver may take parts of it. */
typedef struct Answer {
    /* Owned; those that there are. text: plan, explanation, the reply of Reserve, or one of List and Monitor.
     */
    char *claim, *backend, *tether, *rule, *text;
    char **devices, **nodes; /* owned; nodes only with the grant "node" */
    char **vf_tokens;        /* owned; none, or in the order of devices, "" for those that need none */
    size_t n_devices, n_nodes, n_vf_tokens;
    NamedFd fds[ANSWER_FDS_MAX];
    size_t n_fds;
    bool continues; /* another part follows */
} Answer;

void answer_done(Answer *a);
int answer_add_device(Answer *a, const char *name);
int answer_add_node(Answer *a, const char *path);
int answer_add_vf_token(Answer *a, const char *token);
/* Copies the fd, close-on-exec and above the standard ones. -E2BIG: too many. */
int answer_add_fd(Answer *a, const char *name, int fd);
/* 0; -EBADMSG when something is missing that an answer to the method must have. */
int answer_check(const Answer *a, Method m);

/* Exactly one of answer and error is given. Once, and again after an answer that continues. */
typedef void (*answered_t)(void *userdata, Answer *answer, const VfiodErrorText *error);
/* A claim changed; state is NULL when it is gone. failure may be "", eviction "none" or NULL. error: it
 * cannot be followed any longer. */
typedef void (*changed_t)(void *userdata, const char *state, const char *failure, const char *eviction,
        const VfiodErrorText *error);

typedef struct Transport {
    const char *name;
    int (*open)(void **ret, VfiodErrorText *error);
    void (*close)(void *link);
    int (*call)(void *link, const Call *call, answered_t answered, void *userdata, VfiodErrorText *error);
    int (*watch)(void *link, const char *claim, changed_t changed, void *userdata, VfiodErrorText *error);
    int (*get_fd)(void *link);
    short (*get_events)(void *link);
    int (*get_timeout)(void *link, uint64_t *ret_usec); /* CLOCK_MONOTONIC; UINT64_MAX: none */
    /* Never blocks. 0, or a negative errno when the link is of no use any more; all who wait have been told.
     */
    int (*process)(void *link);
} Transport;

extern const Transport transport_varlink;
/* NULL with *error filled: this program has no D-Bus transport. In another object, so that libvfiod itself
 * does not need libsystemd. */
const Transport *transport_dbus(VfiodErrorText *error);

/* Calls and waits. Each part of the answer is given to take (which may be NULL), with its text or NULL. When
 * that returns a negative errno, so does this at once, and the connection must be freed. */
typedef int (*take_text_t)(void *userdata, const char *text);
int connection_call(
        VfiodConnection *c, const Call *call, take_text_t take, void *userdata, VfiodErrorText *error);
/* Of the connection's transport. */
void *connection_link(const VfiodConnection *c);
/* Waits until something happens on the connection; then it is to be dispatched. */
int connection_wait(const VfiodConnection *c);
DEFINE_TRIVIAL_CLEANUP_FUNC(VfiodConnection *, vfiod_connection_free);

/* A link by the transport that there is: see ENVIRONMENT of libvfiod(3). */
int transport_open(const Transport **ret_transport, void **ret_link, VfiodErrorText *error);

uint64_t monotonic_usec(void);
