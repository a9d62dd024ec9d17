/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Splits a Varlink stream into messages: bytes and fds go in as the socket delivers them, whole messages come
 * out. A message ends with a NUL byte, and its fds arrive with its first byte. fds in the middle of a message
 * violate the protocol, and the receiver disconnects. No memory is kept while no message is incomplete.
 *
 * Receive only after all whole messages were taken: the fds of a chunk belong to the message that begins with
 * it. */

#include "base/macro.h"

typedef struct VarlinkFrame {
    char *data; /* owned; NULL while empty */
    size_t begin, end, allocated;
    size_t searched; /* there is no NUL before this offset */
    size_t limit;    /* of one message in bytes, with its NUL */
    int *fds;        /* owned, and closed unless taken; of the first message */
    size_t n_fds;
} VarlinkFrame;

void varlink_frame_done(VarlinkFrame *f);
/* Room for what is received next. 0; -EMSGSIZE when the incomplete message exceeds the limit; or -ENOMEM. */
int varlink_frame_reserve(VarlinkFrame *f, char **ret, size_t *ret_size);
/* Adds n bytes that were received there, and their fds, of which it always takes ownership. 0; -EPROTO when
 * the fds are in the middle of a message; or -ENOMEM. */
int varlink_frame_add(VarlinkFrame *f, size_t n, const int *fds, size_t n_fds);
/* The first message without its NUL, valid until it is dropped. NULL: none is complete. */
const char *varlink_frame_peek(VarlinkFrame *f, size_t *ret_size);
/* Drops the first message and closes those of its fds that were not taken. */
void varlink_frame_drop(VarlinkFrame *f);
static inline bool varlink_frame_is_empty(const VarlinkFrame *f) {
    return f->begin == f->end;
}
