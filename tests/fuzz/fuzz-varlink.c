/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fuzz.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/str.h"
#include "base/varlink-frame.h"
#include "daemon/varlink/varlink-message.h"

/* The input is what a socket delivers, chunk by chunk: a byte with the length of the chunk, and one with the
 * number of fds that come with it (its lowest two bits) and how small the limit of a message is (the rest).
 * However it is cut, the same messages come out, and no fd stays open. */

#define LIMIT_MAX 4096U
#define FDS_MAX 3U
#define ALL_FDS_MAX 512U

typedef struct Sent {
    int fds[ALL_FDS_MAX];
    size_t n;
} Sent;

static size_t make_fds(Sent *sent, size_t n) {
    size_t first = sent->n;

    for (; n > 0 && sent->n < ALL_FDS_MAX; n--) {
        int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

        EXPECT(fd >= 0);
        sent->fds[sent->n++] = fd;
    }
    return sent->n - first;
}

static void expect_message(const char *text, size_t size) {
    static const VarlinkParameter table[] = {
            {"devices", "as", true}, {"memlock", "i"}, {"untainted", "b"}, {}};
    VarlinkMessage m = {};
    const char *invalid;
    int r;

    r = varlink_message_parse(text, size, &m);
    if (r < 0) {
        EXPECT(r == -EBADMSG && !m.document);
        return;
    }
    EXPECT(m.method && utf8_is_valid(m.method) && strlen(m.method) <= size);
    EXPECT(m.oneway + m.more + m.upgrade <= 1);
    EXPECT(!m.parameters || m.parameters->type == JSON_OBJECT);
    invalid = varlink_find_invalid(m.parameters, table, NULL);
    if (!invalid) {
        EXPECT(varlink_value_has_type(varlink_member(m.parameters, "devices"), "as"));
        EXPECT(!varlink_member(m.parameters, "memlock") ||
                varlink_member(m.parameters, "memlock")->type == JSON_INTEGER);
    }
    varlink_message_done(&m);
}

/* Takes all whole messages out, which must be those that the stream has from *place on. */
static void take_messages(VarlinkFrame *f, const char *stream, size_t size, size_t *place) {
    const char *text;
    size_t n;

    while ((text = varlink_frame_peek(f, &n))) {
        EXPECT(*place + n < size);
        EXPECT(memcmp(text, stream + *place, n) == 0 && !stream[*place + n]);
        EXPECT(!memchr(text, 0, n) && n < f->limit);
        expect_message(text, n);
        for (size_t i = 0; i < f->n_fds; i++)
            EXPECT(fcntl(f->fds[i], F_GETFD) >= 0);
        varlink_frame_drop(f);
        EXPECT(f->n_fds == 0);
        *place += n + 1;
    }
    EXPECT(!memchr(stream + *place, 0, size - *place));
    EXPECT(!varlink_frame_is_empty(f) || !f->data);
}

static bool receive(VarlinkFrame *f, const uint8_t *data, size_t size, const int *fds, size_t n_fds) {
    bool begins = varlink_frame_is_empty(f);
    size_t room;
    char *p;
    int r;

    while (size > 0) {
        r = varlink_frame_reserve(f, &p, &room);
        if (r < 0) {
            EXPECT(r == -EMSGSIZE);
            for (size_t i = 0; i < n_fds; i++)
                (void) close(fds[i]);
            return false;
        }
        EXPECT(room > 0);
        room = MIN(room, size);
        memcpy(p, data, room);
        r = varlink_frame_add(f, room, fds, n_fds);
        EXPECT((r < 0) == (n_fds > 0 && !begins));
        if (r < 0)
            return false;
        data += room;
        size -= room;
        n_fds = 0;
    }
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    VarlinkFrame f = {.limit = LIMIT_MAX};
    _cleanup_free_ char *stream = malloc(size + 1);
    size_t length = 0, place = 0;
    Sent sent = {.n = 0};

    EXPECT(stream);
    if (size > 0)
        f.limit = MAX((size_t) (data[0] >> 2) * 64, (size_t) 16);
    while (size >= 2) {
        size_t n = MIN((size_t) data[0], size - 2), first = sent.n;
        size_t n_fds = n > 0 ? make_fds(&sent, data[1] & FDS_MAX) : 0;

        memcpy(stream + length, data + 2, n);
        length += n;
        if (!receive(&f, data + 2, n, sent.fds + first, n_fds))
            break;
        take_messages(&f, stream, length, &place);
        data += 2 + n;
        size -= 2 + n;
    }
    varlink_frame_done(&f);
    for (size_t i = 0; i < sent.n; i++)
        EXPECT(fcntl(sent.fds[i], F_GETFD) < 0);
    return 0;
}
