/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What ends a claim: when its tether ends, CLAIM_EVENT_RELEASE is fed. Each kind is a TetherType; a claim has
 * one.
 *
 * What must outlive this process is in the record, or in systemd's fd store as "claim-ID" with the id
 * claim_lifeline(). So the next process finds it, and sees whether it has ended meanwhile. */

#include "daemon/broker/claims.h"

/* Who will hold the claim. Borrowed. */
typedef struct TetherHolder {
    const Subject *subject;
    const char *bus_name; /* unique name of its bus connection; NULL: none */
    int socket;           /* of its connection, if that is not the bus; otherwise -EBADF */
    pid_t pid;            /* another process of the claim's user; 0: the subject's own */
    uint64_t pidfd_id;    /* of that process; 0: not given */
} TetherHolder;

typedef struct TetherType {
    /* Called before anything is changed: finds the tether and watches it. 0, or refused. NULL: it needs no
     * holder. */
    int (*find)(ClaimRun *j, const TetherHolder *holder, Refusal *refusal);
    /* Called before the grant is given: adds what the client must hold to the grant. 0, or a negative errno
     * with the claim's refusal set. */
    int (*tie)(ClaimRun *j);
    /* Called when the client is about to get the grant: makes the tether outlive this process. 0; -EAGAIN:
     * soon, because systemd is busy. */
    int (*keep)(ClaimRun *j);
    /* For recovery: uses the fd that an earlier process kept, of which it takes ownership on success; -EBADF:
     * none. */
    int (*adopt)(ClaimRun *j, int fd);
    /* The claim is over, and its record is removed next: nothing of the tether need be kept. */
    void (*forget)(ClaimRun *j);
    /* The record is removed, or could not be removed (record_left). */
    void (*end)(ClaimRun *j, bool record_left);
    void (*free)(ClaimRun *j);
} TetherType;

extern const TetherType tether_lifeline, tether_process, tether_connection, tether_unit, tether_explicit;
extern const TetherType tether_none; /* for parts */

/* The kind of this claim. */
const TetherType *claim_run_tether(const ClaimRun *j);

/* Is it tied to this connection? systemd does not keep a file twice. */
bool tether_is_on_socket(const ClaimRun *j, int fd);

/* The control group of the process that it is tied to, owned by the caller. 0; -ENODATA: it is tied to
 * something else; or an error of process_control_group(). */
int tether_control_group(const ClaimRun *j, char **ret);

/* For recovery: has the tether in this fd ended, whatever its kind? */
bool tether_fd_is_over(int fd);
/* Can the claim continue with that? fd: what was kept for it; -EBADF: nothing. */
bool tether_is_alive(TetherKind kind, const char *connection, int fd);

/* Its tether is what systemd keeps under this id. */
void tether_set_lifeline(Claim *c, const char *id);
/* The claim did not reach its new holder: it has its former tether again. */
void tether_move_back(Claim *c);

/* The name in the fd store. */
#define TETHER_STORE_NAME_MAX 32U
const char *tether_store_name(const char *id, char buf[static TETHER_STORE_NAME_MAX]);

/* A bus connection is gone. */
void tether_connection_gone(Broker *e, const char *connection);
