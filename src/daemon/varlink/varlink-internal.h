/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Shared by the files of the Varlink face only. */

#include <sys/socket.h>

#include "base/json-write.h"
#include "base/varlink-frame.h"
#include "daemon/kernel/caller-process.h"
#include "daemon/varlink/varlink-message.h"
#include "daemon/varlink/varlink.h"

/* Since Linux 6.16 a socket can refuse fds, so that nobody has to close them. */
#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83
#endif

/* The longest message of a client: a request has at most 14 device names and a reason. */
#define VARLINK_MESSAGE_MAX ((size_t) 64 * 1024)

#define VARLINK_SERVICE "org.varlink.service"

typedef struct VarlinkPeer VarlinkPeer;
typedef struct VarlinkCall VarlinkCall;
typedef struct VarlinkListener VarlinkListener;
typedef struct VarlinkJournal VarlinkJournal; /* the journal of changes, see varlink-monitor.c */

/* Runs a method on behalf of subject. VARLINK_ANSWERED: the reply was sent. VARLINK_PENDING: the broker has
 * the call, which may already be freed. -EAGAIN: it is pending, see BrokerInquiry. VARLINK_MORE: run it again
 * at the next slice. VARLINK_WRITTEN: run it again when the peer has read what was written. Another negative
 * errno: refused; *refusal has the reason if it is set. */
typedef int (*varlink_run_t)(VarlinkCall *call, const Subject *subject, Refusal *refusal);
#define VARLINK_ANSWERED 0
#define VARLINK_PENDING 1
#define VARLINK_MORE 2
#define VARLINK_WRITTEN 3
#define VARLINK_WAITING 4

typedef enum VarlinkMethodFlags {
    VARLINK_ACTS = 1 << 0,       /* changes something, so it is not allowed on read-only sockets */
    VARLINK_EFFECT = 1 << 1,     /* is useful without a reply */
    VARLINK_REQUEST = 1 << 2,    /* also takes the options of a request */
    VARLINK_LONG = 1 << 3,       /* the answer may have any length */
    VARLINK_NEEDS_MORE = 1 << 4, /* and is sent only in parts */
} VarlinkMethodFlags;

typedef struct VarlinkMethod {
    const char *name;
    varlink_run_t run;
    unsigned flags;
    const VarlinkParameter *parameters; /* an entry without a name ends the list */
} VarlinkMethod;

typedef struct VarlinkInterface {
    const char *name, *description;
    const VarlinkMethod *methods; /* an entry without a name ends the list */
} VarlinkInterface;

/* Sorted by name. */
extern const VarlinkInterface varlink_interfaces[];
extern const VarlinkMethod varlink_broker_methods[], varlink_service_methods[], varlink_systemd_methods[];

struct VarlinkCall {
    DoorTask task;
    VarlinkPeer *peer;
    VarlinkMessage message;
    const VarlinkMethod *method;
    bool with_broker;      /* the broker will call back */
    bool waits_for_policy; /* varlink_face_policy_loaded() answers it */
    bool parked;           /* until the socket has taken what was written */
    bool waits_for_change; /* until there is a new change */
    BrokerInquiry inquiry; /* collects the facts for the answer; run is called again when they are there */
    HolderQuery *holders;  /* while a search for the holders of devices runs */
    const HolderAnswer *found; /* borrowed, while the answer is made */
    void *state;               /* owned; the state of a long answer */
    void (*free_state)(void *state);
};

struct VarlinkListener {
    VarlinkFace *face;
    sd_event_source *source;
    char *scope; /* owned; NULL: none */
    bool read_only;
    unsigned n_users; /* its peers, and the face itself */
    VarlinkListener *next;
};

struct VarlinkPeer {
    VarlinkFace *face;
    VarlinkListener *listener; /* counted in its n_users */
    int fd;                    /* owned */
    bool takes_no_fds;         /* since its beginning, so it contains none */
    struct ucred credentials;
    uint64_t accepted_usec; /* process_reader_now() */
    sd_event_source *io;
    uint32_t events;        /* the events that io waits for */
    BudgetAccount *account; /* counted in its n_users */
    BudgetReader reader;    /* the reader of our answers */
    Subject *subject;       /* owned; NULL until the first call */
    VarlinkFrame input;
    StrBuf output; /* what the socket has not taken yet; begins at written */
    size_t written;
    int *output_fds; /* owned, with their files; they are sent with the first byte */
    size_t n_output_fds;
    VarlinkCall *call;            /* owned; the call under way */
    uint64_t deadline_usec;       /* CLOCK_MONOTONIC; 0: none */
    bool handling, listed;        /* it has its turn now; it waits for its turn */
    bool eof, broken;             /* it sends nothing more; it is to be closed */
    VarlinkPeer *previous, *next; /* in face.peers */
    VarlinkPeer *next_ready;      /* in face.ready */
};

#define VARLINK_GRAVES_MAX 256U

struct VarlinkFace {
    VarlinkContext context;
    ProcessReader processes;
    VarlinkListener *listeners;
    VarlinkJournal *journal; /* owned */
    VarlinkPeer *peers;
    unsigned n_peers;
    VarlinkPeer *ready, **last_ready; /* peers that wait for their turn */
    sd_event_source *turn, *deadline, *accept_again;
    int graves[VARLINK_GRAVES_MAX]; /* owned; sockets that another process is to close */
    size_t n_graves;
    sd_event_source *burial;
    bool stopping;
};

/* ---- Closing connections ---- */

/* Closes fd, here or in another process. */
void varlink_face_close(VarlinkFace *v, int fd);
int varlink_face_init_closing(VarlinkFace *v);
void varlink_face_done_closing(VarlinkFace *v);

/* ---- Peers ---- */

/* Takes over the fd on success. */
int varlink_peer_new(VarlinkListener *listener, int fd);
VarlinkPeer *varlink_peer_free(VarlinkPeer *p);
/* Something has happened outside of the peer: it gets one turn, later. */
void varlink_peer_wake(VarlinkPeer *p);
/* Does what it can do now. May free the peer. */
void varlink_peer_go_on(VarlinkPeer *p);
/* Writes text, which is emptied, with these fds (copied if they cannot be sent at once). Returns 0, or a
 * negative errno if nothing was written. */
int varlink_peer_write(VarlinkPeer *p, StrBuf *text, const int *fds, size_t n_fds);
static inline bool varlink_peer_is_behind(const VarlinkPeer *p) {
    return p->output.length > 0;
}
/* A message is longer than VARLINK_MESSAGE_MAX. The peer gets an error, if its socket takes that. */
void varlink_peer_refuse_message(VarlinkPeer *p);
/* The connection is to be closed for the peer's behaviour. The reason is logged. */
void varlink_peer_blame(VarlinkPeer *p, const char *why);
/* Finds out how many of the written bytes are unread. */
void varlink_peer_note_unread(VarlinkPeer *p);
void varlink_face_arm_deadline(VarlinkFace *v, uint64_t when_usec);
VarlinkListener *varlink_listener_unref(VarlinkListener *l);

/* ---- Calls ---- */

/* Handles a message of the peer. Returns 0, or a negative errno: the connection is to be closed. */
int varlink_call_begin(VarlinkPeer *p, const char *text, size_t size);
VarlinkCall *varlink_call_free(VarlinkCall *call);
/* The socket has taken what was written, or something has changed. */
void varlink_call_go_on(VarlinkCall *call);
/* Something that the call waited for is there now. */
void varlink_call_run(VarlinkCall *call);
const JsonNode *varlink_call_parameter(const VarlinkCall *call, const char *name);
const char *varlink_call_text(const VarlinkCall *call, const char *name);
/* list may be NULL. */
#define FOREACH_ITEM(n, list) for (const JsonNode *n = (list) ? (list)->children : NULL; n; n = n->next)

/* Begins a reply, to be filled with members and sent. Sending is the last step of a method. Returns 0 or
 * negative errno; the writer is empty afterwards. */
void varlink_reply_begin(JsonWriter *w);
int varlink_reply_send(VarlinkCall *call, JsonWriter *w, const int *fds, size_t n_fds);
int varlink_reply_empty(VarlinkCall *call);
/* Sends an error with one parameter, or none (NULL). */
int varlink_reply_error(VarlinkCall *call, const char *error, const char *parameter, const char *value);
void varlink_call_refuse(VarlinkCall *call, int r, const Refusal *refusal);
/* The call is over. */
void varlink_call_done(VarlinkCall *call);

/* Reloads the policy. The call is answered when that is finished. */
int varlink_reload(VarlinkCall *call, const Subject *subject);
extern const VarlinkParameter varlink_no_parameters[];

/* Reads the devices and options of a request. Returns 0 or refuses. */
int varlink_read_request(const VarlinkCall *call, Request *request, Refusal *refusal);

/* ---- Views ---- */

#define VARLINK_FIELD_MAX 32U

const char *varlink_kind_name(ViewKind kind);
ViewKind varlink_kind_from_name(const char *name);
/* "numaNode" for NumaNode. Returns name. */
char *varlink_field_name(const ViewField *field, char name[static VARLINK_FIELD_MAX]);
const ViewField *varlink_find_field(ViewKind kind, const char *name);
typedef bool (*varlink_wants_field_t)(const ViewField *field, void *userdata);
/* Writes the object as a member. Returns 0, or negative errno, with a refusal in the query if it is refused.
 */
int varlink_write_object(
        JsonWriter *w, ViewKind kind, const ViewQuery *q, varlink_wants_field_t wants, void *userdata);
bool varlink_is_listed(const ViewField *field, void *userdata);
/* Reads the parameter "kinds" as a mask; 0 if the call was answered with an error. */
int varlink_read_kinds(VarlinkCall *call, unsigned *ret);

int varlink_run_list(VarlinkCall *call, const Subject *subject, Refusal *refusal);
int varlink_run_monitor(VarlinkCall *call, const Subject *subject, Refusal *refusal);
int varlink_journal_new(VarlinkFace *v, VarlinkJournal **ret);
/* There must be no monitor any more. */
VarlinkJournal *varlink_journal_free(VarlinkJournal *j);
