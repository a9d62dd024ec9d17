/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "daemon/broker/fd-store.h"

/* The socket is kept once it is made, so the failure comes first. */
static void test_too_many_open_files(void **state) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int listener = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0),
        fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    int next = dup(fd);
    struct rlimit before, none;
    char text[96] = {};

    assert_true(listener >= 0 && fd >= 0 && next >= 0);
    snprintf(address.sun_path, sizeof(address.sun_path), "@test-fd-store-%d", (int) getpid());
    setenv("NOTIFY_SOCKET", address.sun_path, 1);
    address.sun_path[0] = '\0';
    assert_int_equal(
            bind(listener, (struct sockaddr *) &address,
                    (socklen_t) (offsetof(struct sockaddr_un, sun_path) + 1 + strlen(address.sun_path + 1))),
            0);
    close(next);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = (struct rlimit){.rlim_cur = (rlim_t) next, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    assert_int_equal(fd_store_add("lifeline", fd), -EAGAIN);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(fd_store_add("lifeline", fd), 0);
    assert_true(recv(listener, text, sizeof(text) - 1, MSG_DONTWAIT) > 0);
    assert_string_equal(text, "FDSTORE=1\nFDPOLL=0\nFDNAME=lifeline");
    close(listener);
    assert_int_equal(fd_store_add("lifeline", fd), 0); /* nobody listens there */
    close(fd);
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_too_many_open_files),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
