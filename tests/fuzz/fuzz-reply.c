/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fuzz.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/str.h"
#include "client/calls.h"
#include "client/varlink.h"

/* What a daemon that is none could answer. The input: a byte with the method that was called, one with the
 * number of fds that have come, and the reply. It is read as the answer, as a report of Monitor and as an
 * object of a list. Whatever is in it, no fd is lost, and an error has words. */

#define FDS_MAX 16U
#define FD_PROBE_MAX 64

static size_t count_fds(void) {
    size_t n = 0;

    for (int fd = 0; fd < FD_PROBE_MAX; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

static void expect_error(int r, const VfiodErrorText *e) {
    EXPECT(r < 0 && e->error == -r);
    EXPECT(*e->name && *e->message && utf8_is_valid(e->message));
    EXPECT(strlen(e->name) < sizeof(e->name) && strlen(e->message) < sizeof(e->message));
    for (const char *c = e->message; *c; c++)
        EXPECT(*c == '\n' || (unsigned char) *c >= 0x20);
}

static void expect_answer(const Answer *a, Method m) {
    EXPECT(answer_check(a, m) >= 0);
    EXPECT(!a->continues || method_gives_more(m));
    EXPECT(a->n_fds <= ANSWER_FDS_MAX);
    EXPECT(a->n_fds == 0 || method_gives_claim(m));
    for (size_t i = 0; i < a->n_fds; i++)
        EXPECT(a->fds[i].name && a->fds[i].fd > STDERR_FILENO && fcntl(a->fds[i].fd, F_GETFD) == FD_CLOEXEC);
}

static void read_as_reply(Method m, const char *text, size_t size, const int *fds, size_t n_fds) {
    _cleanup_(answer_done) Answer a = {};
    VfiodErrorText error = {};
    int r = varlink_read_reply(m, text, size, fds, n_fds, &a, &error);

    if (r < 0) {
        expect_error(r, &error);
        EXPECT(!a.text && !a.claim && a.n_fds == 0);
        return;
    }
    expect_answer(&a, m);
    if (a.text) {
        _cleanup_json_ struct json_object *reply = json_tokener_parse(a.text);
        _cleanup_object_ Object object = OBJECT_NULL;

        EXPECT(json_object_is_type(reply, json_type_object));
        EXPECT(object_from_reply(json_object_object_get(reply, "parameters"), &object) >= 0);
        EXPECT((object.kind >= 0) == (object.properties != NULL) &&
                (object.kind >= 0) == (object.name != NULL));
    }
}

static void read_as_event(const char *text, size_t size) {
    _cleanup_(json_document_freep) JsonDocument *document = NULL;
    VfiodErrorText error = {};
    VarlinkEvent e = {};
    JsonError ignored;
    int r;

    if (json_document_parse_bounded(text, size, &varlink_bounds, &document, &ignored) < 0)
        return;
    r = varlink_read_event(json_document_root(document), &e, &error);
    if (r < 0)
        expect_error(r, &error);
    else
        EXPECT(e.event);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    size_t n_open = count_fds(), n_fds;
    int fds[FDS_MAX];

    if (size < 2)
        return 0;
    n_fds = data[1] % (FDS_MAX + 1);
    for (size_t i = 0; i < n_fds; i++) {
        fds[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
        EXPECT(fds[i] >= 0);
    }
    read_as_reply((Method) (data[0] % _METHOD_MAX), (const char *) data + 2, size - 2, fds, n_fds);
    read_as_event((const char *) data + 2, size - 2);
    for (size_t i = 0; i < n_fds; i++)
        EXPECT(close(fds[i]) == 0);
    EXPECT(count_fds() == n_open);
    return 0;
}
