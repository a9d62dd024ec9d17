/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Where one Varlink message ends and the next begins: bytes and fds go in as a socket delivers them, whole
 * messages come out. A message ends with a NUL byte. Its fds come with its first byte; those that come in the
 * middle of one are a violation of the protocol, and whoever receives them hangs up. Nothing is allocated
 * while no message is under way.
 *
 * Receive only when there is no whole message any more: fds belong to the message that a chunk begins. */

#include "base/macro.h"

typedef struct VarlinkFrame {
    char *data; /* owned; NULL while empty */
    size_t begin, end, allocated;
    size_t searched; /* no NUL before this */
    size_t limit;    /* bytes of a message, with its NUL */
    int *fds;        /* owned, and what they stand for; of the first message */
    size_t n_fds;
} VarlinkFrame;

void varlink_frame_done(VarlinkFrame *f);
/* Room for what is received next. 0; -EMSGSIZE: the message that has begun is longer than the limit; -ENOMEM.
 */
int varlink_frame_reserve(VarlinkFrame *f, char **ret, size_t *ret_size);
/* n bytes were received there, and these fds, which are taken over in any case. 0; -EPROTO: they are in the
 * middle of a message; -ENOMEM. */
int varlink_frame_add(VarlinkFrame *f, size_t n, const int *fds, size_t n_fds);
/* The first message, without its NUL; it stays until it is dropped. NULL: none is whole. */
const char *varlink_frame_peek(VarlinkFrame *f, size_t *ret_size);
/* Drops the first message, and closes its fds that nobody has taken. */
void varlink_frame_drop(VarlinkFrame *f);
static inline bool varlink_frame_is_empty(const VarlinkFrame *f) {
    return f->begin == f->end;
}
