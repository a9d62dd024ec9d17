/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a claim's life hangs on: when it goes, the claim ends (CLAIM_EVENT_RELEASE is fed). Each kind is a
 * TetherType; a claim has one.
 *
 * What must outlive this process is in systemd's fd store as "claim-ID", where the id is claim_lifeline(), or
 * in the record. So the next process finds it again, and can tell whether it has ended meanwhile. */

#include "daemon/broker/claims.h"

/* Who holds the claim. Borrowed. */
typedef struct TetherHolder {
    const Subject *subject;
    const char *bus_name; /* unique name of its connection to the bus; NULL: it has none */
    int socket;           /* of its connection, where that is not the bus; -EBADF */
    pid_t pid;            /* another process of the claim's user; 0: the subject's own */
    uint64_t pidfd_id;    /* of that; 0: not given */
} TetherHolder;

typedef struct TetherType {
    /* Before anything is changed: finds what the claim is to hang on, and watches it. 0, or refused. NULL: it
     * needs no holder. */
    int (*find)(ClaimRun *j, const TetherHolder *holder, Refusal *refusal);
    /* Before the grant is given; what the client is to hold joins the grant. 0, or a negative errno with the
     * claim's refusal filled. */
    int (*tie)(ClaimRun *j);
    /* The client is about to get it: it shall outlive this process. 0; -EAGAIN: not yet, for systemd is busy,
     * but soon. */
    int (*keep)(ClaimRun *j);
    /* For recovery: from the fd that an earlier process kept, which it takes over on success; -EBADF: none.
     */
    int (*adopt)(ClaimRun *j, int fd);
    /* The claim is over, and its record goes next: nobody need keep what the client may still have. */
    void (*forget)(ClaimRun *j);
    /* The record is gone, or was left because it could not be removed. */
    void (*end)(ClaimRun *j, bool record_left);
    void (*free)(ClaimRun *j);
} TetherType;

extern const TetherType tether_lifeline, tether_process, tether_connection, tether_unit, tether_explicit;
extern const TetherType tether_none; /* of devices that are to join a claim, or have left it */

/* The kind of this claim. */
const TetherType *claim_run_tether(const ClaimRun *j);

/* Does it hang on this connection? systemd does not keep a file twice. */
bool tether_is_on_socket(const ClaimRun *j, int fd);

/* Where the process runs on which it hangs, owned by the caller. 0; -ENODATA: it hangs on something else; or
 * what process_control_group() says. */
int tether_control_group(const ClaimRun *j, char **ret);

/* For recovery: has what is in this fd ended, whatever kind it is of? */
bool tether_fd_is_over(int fd);
/* Can the claim go on with that? fd: what was kept for it, -EBADF: nothing. */
bool tether_is_alive(TetherKind kind, const char *connection, int fd);

/* It hangs on what systemd keeps under this id. */
void tether_set_lifeline(Claim *c, const char *id);
/* The claim did not reach its new holder: it hangs on what it hung on before. */
void tether_move_back(Claim *c);

/* The name in the fd store. */
#define TETHER_STORE_NAME_MAX 32U
const char *tether_store_name(const char *id, char buf[static TETHER_STORE_NAME_MAX]);

/* A connection of the bus is gone. */
void tether_connection_gone(Broker *e, const char *connection);
