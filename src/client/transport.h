/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* How libvfiod reaches the daemon: by its Varlink socket or over D-Bus. A transport carries calls and answers
 * and decides nothing. The owner drives each link: wait for get_fd(), then call process(). */

#include "base/macro.h"
#include "client/vfiod.h"

/* A bind may sleep a minute in the kernel and an open another; the daemon has its own time limits. */
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
    METHOD_READY_TO_SLEEP,
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

const char *method_name(Method m); /* "Acquire"; the same for both transports */
bool method_has_claim(Method m);   /* a claim is an argument */
bool method_has_devices(Method m);
bool method_has_request(Method m); /* all of the request; otherwise its devices only */
bool method_gives_claim(Method m); /* the answer has a claim, or parts of one */
bool method_gives_text(Method m);
bool method_gives_more(Method m); /* an answer can have several parts */

/* Everything is borrowed, until the call returns. */
typedef struct Call {
    Method method;
    const char *claim;           /* or "cookie:COOKIE"; for Explain, NULL: a request */
    const VfiodRequest *request; /* if the method has devices */
    int pidfd;                   /* of the process that becomes the tether; negative: the caller's */
    uint64_t pid, pidfd_id;      /* of pidfd, see call_describe_process(); 0: none or unknown */
    const char *tether;          /* for Transfer; NULL: the claim's tether, or "process" with a pidfd */
    bool last_refusal;           /* for Explain: the last refusal */
    /* For List: kind and name of the object ("host" has no name), and the field; NULL: all but the costly
     * ones. In a list of all devices: that field, which must not be costly. */
    const char *kind, *name, *field;
    /* For Reserve, with kind "device" and the selector as name. */
    uint64_t ttl;        /* seconds; 0: the daemon's default */
    bool for_other;      /* for the user below, not the caller */
    uint32_t uid, *gids; /* of that user, with all groups */
    size_t n_gids;
    /* For Evict: the delay, negative: the daemon's default. reason, also for ClearQuarantine: NULL: none. */
    int64_t in_sec;
    const char *reason;
    bool cancel;   /* for Evict: end the eviction */
    uint64_t more; /* for AnswerEviction: seconds */
    /* For SetVirtualFunctions, with kind and name of the device, as for ProbeCapabilities. */
    uint64_t count;
    int autoprobe; /* negative: unchanged */
} Call;

uint64_t call_timeout_usec(const Call *call);
const char *call_tether(const Call *call); /* for Transfer; NULL: the claim's tether */
/* Sets pid and pidfd_id, because the daemon takes no fds. 0; -ESRCH when the process has ended; or another
 * negative errno. */
int call_describe_process(Call *call);
/* What each device must support, or NULL. The program's structure may be older than this member, also
 * below. */
const char *request_requirement(const VfiodRequest *request);
/* The network settings for each device. */
const char *request_network(const VfiodRequest *request);
/* The ticket. */
const char *request_ticket(const VfiodRequest *request);
/* How many seconds it may wait for devices of others. */
uint64_t request_wait(const VfiodRequest *request);
/* For how many seconds the claim is needed. */
uint64_t request_duration(const VfiodRequest *request);
/* Checks for text that neither a bus message nor JSON can carry, for a clear error. */
int request_check(const VfiodRequest *request, VfiodErrorText *error);

typedef struct NamedFd {
    char *name; /* owned */
    int fd;     /* owned; -EBADF once taken */
} NamedFd;

/* An answer. The receiver may take parts of it. */
typedef struct Answer {
    /* Owned; NULL if not in the answer. text: plan, explanation, the reply of Reserve, or a part of List or
     * Monitor. */
    char *claim, *backend, *tether, *rule, *text;
    char **devices, **nodes; /* owned; nodes only with the grant "node" */
    char **vf_tokens;        /* owned; none, or for each device, "" if it needs none */
    size_t n_devices, n_nodes, n_vf_tokens;
    NamedFd fds[ANSWER_FDS_MAX];
    size_t n_fds;
    bool continues; /* another part follows */
} Answer;

/* Appends a copy to a list of strings. Returns 0 or -ENOMEM. */
int strings_add(char ***l, size_t *n, const char *s);
void strings_free(char **l, size_t n);

void answer_done(Answer *a);
int answer_add_device(Answer *a, const char *name);
int answer_add_node(Answer *a, const char *path);
int answer_add_vf_token(Answer *a, const char *token);
/* Copies the fd, close-on-exec and above the standard ones. 0; -E2BIG: too many; or another negative
 * errno. */
int answer_add_fd(Answer *a, const char *name, int fd);
/* 0; -EBADMSG when a required part is missing. */
int answer_check(const Answer *a, Method m);

/* Exactly one of answer and error is set. Called once, and again after an answer that continues. */
typedef void (*answered_t)(void *userdata, Answer *answer, const VfiodErrorText *error);
/* A followed claim, as it is now. */
typedef struct ClaimReport {
    const char *state;             /* NULL: it is gone */
    const char *failure;           /* may be ""; NULL: the same */
    const char *eviction, *resume; /* may be "none"; NULL: the same */
    uint64_t evict_at, sleep_at;   /* 0: never */
} ClaimReport;
/* A claim changed. Exactly one of report and error is set. error: it cannot be followed any more. */
typedef void (*changed_t)(void *userdata, const ClaimReport *report, const VfiodErrorText *error);

typedef struct Transport {
    const char *name;
    int (*open)(void **ret, VfiodErrorText *error);
    void (*close)(void *link);
    int (*call)(void *link, const Call *call, answered_t answered, void *userdata, VfiodErrorText *error);
    int (*watch)(void *link, const char *claim, changed_t changed, void *userdata, VfiodErrorText *error);
    int (*get_fd)(void *link);
    short (*get_events)(void *link);
    int (*get_timeout)(void *link, uint64_t *ret_usec); /* CLOCK_MONOTONIC; UINT64_MAX: none */
    /* Never blocks. 0, or a negative errno when the link is broken and all callers were told. */
    int (*process)(void *link);
} Transport;

extern const Transport transport_varlink;
/* NULL with *error set: there is no D-Bus transport. It is a separate object, so that libvfiod itself does
 * not need libsystemd. */
const Transport *transport_dbus(VfiodErrorText *error);

/* Calls and waits. take (may be NULL) is called with the text of each part of the answer, or NULL. When it
 * returns a negative errno, so does this at once, and the connection must be freed. */
typedef int (*take_text_t)(void *userdata, const char *text);
int connection_call(
        VfiodConnection *c, const Call *call, take_text_t take, void *userdata, VfiodErrorText *error);
/* Borrowed, for the connection's transport. */
void *connection_link(const VfiodConnection *c);
/* Waits for an event of the connection, which must then be dispatched. */
int connection_wait(const VfiodConnection *c);
DEFINE_TRIVIAL_CLEANUP_FUNC(VfiodConnection *, vfiod_connection_free);

/* Opens a link by the available transport: see ENVIRONMENT of libvfiod(3). */
int transport_open(const Transport **ret_transport, void **ret_link, VfiodErrorText *error);

uint64_t monotonic_usec(void);
