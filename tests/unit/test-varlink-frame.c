/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/json-write.h"
#include "base/varlink-frame.h"
#include "daemon/varlink/varlink-message.h"

static int receive(VarlinkFrame *f, const char *data, size_t size, const int *fds, size_t n_fds) {
    size_t room;
    char *p;
    int r;

    r = varlink_frame_reserve(f, &p, &room);
    if (r < 0)
        return r;
    assert_true(room >= size);
    memcpy(p, data, size);
    return varlink_frame_add(f, size, fds, n_fds);
}

static void expect(VarlinkFrame *f, const char *text) {
    const char *message;
    size_t size;

    message = varlink_frame_peek(f, &size);
    assert_non_null(message);
    assert_string_equal(message, text);
    assert_int_equal(size, strlen(text));
    assert_ptr_equal(varlink_frame_peek(f, &size), message); /* it can be repeated */
}

static int open_null(void) {
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

    assert_true(fd >= 0);
    return fd;
}

static void expect_closed(int fd) {
    assert_true(fcntl(fd, F_GETFD) < 0);
}

/* ---- Frames ---- */

static void test_one_message_in_pieces(void **state) {
    VarlinkFrame f = {.limit = 100};
    size_t size;

    assert_null(varlink_frame_peek(&f, &size));
    assert_int_equal(receive(&f, "ab", 2, NULL, 0), 0);
    assert_null(varlink_frame_peek(&f, &size));
    assert_int_equal(receive(&f, "c", 2, NULL, 0), 0);
    expect(&f, "abc");
    varlink_frame_drop(&f);
    assert_true(varlink_frame_is_empty(&f));
    assert_null(f.data); /* an idle peer needs no buffer */
}

static void test_several_messages_at_once(void **state) {
    VarlinkFrame f = {.limit = 100};
    size_t size;

    assert_int_equal(receive(&f, "a\0\0bc\0d", 7, NULL, 0), 0);
    expect(&f, "a");
    varlink_frame_drop(&f);
    expect(&f, "");
    varlink_frame_drop(&f);
    expect(&f, "bc");
    varlink_frame_drop(&f);
    assert_null(varlink_frame_peek(&f, &size));
    assert_int_equal(receive(&f, "e", 2, NULL, 0), 0);
    expect(&f, "de");
    varlink_frame_done(&f);
    assert_null(f.data);
}

static void test_a_message_is_bounded(void **state) {
    VarlinkFrame f = {.limit = 8};
    size_t room;
    char *p;

    assert_int_equal(receive(&f, "1234567", 8, NULL, 0), 0); /* including its NUL */
    expect(&f, "1234567");
    varlink_frame_drop(&f);
    assert_int_equal(receive(&f, "12345678", 8, NULL, 0), 0);
    assert_int_equal(varlink_frame_reserve(&f, &p, &room), -EMSGSIZE);
    varlink_frame_done(&f);
}

static void test_fds_come_with_the_first_byte(void **state) {
    VarlinkFrame f = {.limit = 100};
    int fds[] = {open_null(), open_null()}, more = open_null();

    assert_int_equal(receive(&f, "a\0b", 4, fds, 2), 0);
    assert_int_equal(f.n_fds, 2);
    expect(&f, "a");
    assert_int_equal(f.fds[0], fds[0]);
    f.fds[0] = -EBADF; /* taken */
    varlink_frame_drop(&f);
    assert_int_equal(f.n_fds, 0);
    assert_true(fcntl(fds[0], F_GETFD) >= 0);
    expect_closed(fds[1]);
    (void) close(fds[0]);
    expect(&f, "b");
    varlink_frame_drop(&f);
    assert_int_equal(receive(&f, "c", 2, &more, 1), 0);
    varlink_frame_done(&f);
    expect_closed(more);
}

static void test_fds_in_the_middle_are_refused_and_closed(void **state) {
    VarlinkFrame f = {.limit = 100};
    int fds[] = {open_null(), open_null()};

    assert_int_equal(receive(&f, "a", 1, NULL, 0), 0);
    assert_int_equal(receive(&f, "b", 2, fds, 2), -EPROTO);
    expect_closed(fds[0]);
    expect_closed(fds[1]);
    varlink_frame_done(&f);
}

/* ---- Calls ---- */

static int parse(const char *text, VarlinkMessage *ret) {
    return varlink_message_parse(text, strlen(text), ret);
}

static void test_header(void **state) {
    VarlinkMessage m;

    assert_int_equal(parse(" {\"method\": \"a.b\", \"parameters\": {\"x\": 1}, \"more\": true} ", &m), 0);
    assert_string_equal(m.method, "a.b");
    assert_true(m.more && !m.oneway && !m.upgrade);
    assert_int_equal(varlink_member(m.parameters, "x")->integer, 1);
    varlink_message_done(&m);
    assert_int_equal(
            parse("{\"method\":\"a.b\",\"oneway\":true,\"more\":false,\"org.example\":{\"y\":1}}", &m), 0);
    assert_true(m.oneway && !m.parameters);
    varlink_message_done(&m);
}

static void test_no_parameters(void **state) {
    static const VarlinkParameter none[] = {{}};
    static const char *const texts[] = {"{\"method\":\"a.b\"}", "{\"method\":\"a.b\",\"parameters\":null}",
            "{\"method\":\"a.b\",\"parameters\":{}}"};

    for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
        VarlinkMessage m;

        assert_int_equal(parse(texts[i], &m), 0);
        assert_null(varlink_member(m.parameters, "x"));
        assert_null(varlink_find_invalid(m.parameters, none, NULL));
        varlink_message_done(&m);
    }
}

static void test_bad_header(void **state) {
    static const char *const texts[] = {
            "",
            "1",
            "[]",
            "{}",
            "{\"method\":\"a.b\"",
            "{\"method\":\"a.b\"} {}",
            "{\"method\":1}",
            "{\"method\":null}",
            "{\"parameters\":{}}",
            "{\"method\":\"a.b\",\"parameters\":[]}",
            "{\"method\":\"a.b\",\"parameters\":\"\"}",
            "{\"method\":\"a.b\",\"more\":1}",
            "{\"method\":\"a.b\",\"oneway\":\"true\"}",
            "{\"method\":\"a.b\",\"upgrade\":[]}",
            "{\"method\":\"a.b\",\"more\":true,\"oneway\":true}",
            "{\"method\":\"a.b\",\"more\":true,\"upgrade\":true}",
            "{\"method\":\"a.b\",\"oneway\":true,\"upgrade\":true}",
            "{\"method\":\"a.b\",\"x\":null}",
            "{\"method\":\"a.b\",\"X-x\":{}}",
            "{\"method\":\"a.b\",\"method\":\"a.b\"}",
            "{\"method\":\"a.\\u0000b\"}",
            "{\"method\":\"a.\xff\"}",
            "{\"method\":\"a.b\"} // x",
    };

    for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
        VarlinkMessage m = {};

        assert_int_equal(parse(texts[i], &m), -EBADMSG);
        assert_null(m.document);
    }
}

static const char *other_type(const char *name) {
    return streq(name, "reason") ? "s" : NULL;
}

static void test_parameters(void **state) {
    static const VarlinkParameter table[] = {
            {"devices", "as", true}, {"level", "i"}, {"force", "b"}, {"gids", "ai"}, {}};
    static const struct {
        const char *parameters, *invalid;
    } cases[] = {
            {"{\"devices\":[]}", NULL},
            {"{\"devices\":[\"a\",\"b\"],\"level\":-1,\"force\":false,\"gids\":[1],\"reason\":\"r\"}", NULL},
            {"{\"devices\":[\"a\"],\"level\":null}", NULL},
            {"{}", "devices"},
            {"{\"devices\":null}", "devices"},
            {"{\"devices\":\"a\"}", "devices"},
            {"{\"devices\":[\"a\",1]}", "devices"},
            {"{\"devices\":[[\"a\"]]}", "devices"},
            {"{\"devices\":{\"a\":\"b\"}}", "devices"},
            {"{\"devices\":[],\"level\":1.5}", "level"},
            {"{\"devices\":[],\"level\":\"1\"}", "level"},
            {"{\"devices\":[],\"level\":99999999999999999999}", "level"},
            {"{\"devices\":[],\"force\":1}", "force"},
            {"{\"devices\":[],\"gids\":[\"1\"]}", "gids"},
            {"{\"devices\":[],\"reason\":1}", "reason"},
            {"{\"devices\":[],\"unknown\":null}", "unknown"},
    };

    for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
        _cleanup_(json_document_freep) JsonDocument *d = NULL;
        const char *invalid;
        JsonError e;

        assert_int_equal(json_document_parse(cases[i].parameters, strlen(cases[i].parameters), &d, &e), 0);
        invalid = varlink_find_invalid(json_document_root(d), table, other_type);
        assert_true(streq_ptr(invalid, cases[i].invalid));
    }
}

/* ---- Writing ---- */

static void test_writer(void **state) {
    JsonWriter w = {};

    json_write_open(&w, NULL, '{');
    json_write_key(&w, "a\"");
    json_write_text(&w, "b\n");
    json_write_open(&w, "list", '[');
    json_write_number(&w, -1);
    json_write_unsigned(&w, UINT64_MAX);
    json_write_boolean(&w, true);
    json_write_text(&w, NULL);
    json_write_open(&w, NULL, '[');
    json_write_close(&w, ']');
    json_write_close(&w, ']');
    json_write_key(&w, "raw");
    json_write_raw(&w, "{}");
    json_write_close(&w, '}');
    assert_int_equal(w.text.error, 0);
    assert_string_equal(
            w.text.text, "{\"a\\\"\":\"b\\n\",\"list\":[-1,18446744073709551615,true,null,[]],\"raw\":{}}");
    strbuf_done(&w.text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_one_message_in_pieces),
            cmocka_unit_test(test_several_messages_at_once),
            cmocka_unit_test(test_a_message_is_bounded),
            cmocka_unit_test(test_fds_come_with_the_first_byte),
            cmocka_unit_test(test_fds_in_the_middle_are_refused_and_closed),
            cmocka_unit_test(test_header),
            cmocka_unit_test(test_no_parameters),
            cmocka_unit_test(test_bad_header),
            cmocka_unit_test(test_parameters),
            cmocka_unit_test(test_writer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
