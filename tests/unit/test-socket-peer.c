/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "base/str.h"
#include "daemon/kernel/socket-peer.h"

#define NOBODY 65534U

static ProcessReader reader;

/* An abstract socket with a name that the kernel chooses. */
static int listen_anywhere(struct sockaddr_un *ret_address, socklen_t *ret_size) {
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    *ret_address = (struct sockaddr_un){.sun_family = AF_UNIX};
    assert_int_equal(bind(fd, (struct sockaddr *) ret_address, sizeof(sa_family_t)), 0);
    *ret_size = sizeof(*ret_address);
    assert_int_equal(getsockname(fd, (struct sockaddr *) ret_address, ret_size), 0);
    assert_int_equal(listen(fd, 5), 0);
    return fd;
}

typedef struct Client {
    pid_t pid;
    int connection; /* accepted */
} Client;

/* A child that becomes somebody else, connects, becomes somebody else again, and then waits for its end. */
static Client client_start(bool (*before)(void), bool (*after)(void)) {
    _cleanup_close_ int listening = -EBADF;
    struct sockaddr_un address;
    socklen_t size;
    Client c;
    char byte;

    listening = listen_anywhere(&address, &size);
    c.pid = fork();
    assert_true(c.pid >= 0);
    if (c.pid == 0) {
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);

        (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
        if ((before && !before()) || connect(fd, (struct sockaddr *) &address, size) < 0 ||
                (after && !after()) || write(fd, "x", 1) != 1)
            _exit(1);
        for (;;)
            (void) pause();
    }
    c.connection = accept4(listening, NULL, NULL, SOCK_CLOEXEC);
    assert_true(c.connection >= 0);
    assert_int_equal(read(c.connection, &byte, 1), 1);
    return c;
}

static void client_end(Client *c) {
    assert_int_equal(kill(c->pid, SIGKILL), 0);
    assert_int_equal(waitpid(c->pid, NULL, 0), c->pid);
}

static void client_done(Client *c) {
    c->connection = safe_close(c->connection);
}

static bool kernel_keeps_processes(int connection) {
    int fd;
    socklen_t size = sizeof(fd);

    if (getsockopt(connection, SOL_SOCKET, 77 /* SO_PEERPIDFD */, &fd, &size) < 0)
        return false;
    close(fd);
    return true;
}

static void test_a_process_of_the_host(void **state) {
    _cleanup_(subject_done) Subject s = SUBJECT_NULL;
    _cleanup_(client_done) Client c = client_start(NULL, NULL);

    assert_int_equal(peer_subject_from_socket(&reader, c.connection, process_reader_now(), NULL, &s), 0);
    assert_int_equal(s.uid, getuid());
    assert_int_equal(s.pid, c.pid);
    assert_true(s.pidfd >= 0);
    assert_true(fcntl(s.pidfd, F_GETFD) & FD_CLOEXEC);
    assert_true(s.n_gids >= 1);
    assert_int_equal(s.gids[0], getgid());
    assert_string_equal(s.command, "test-socket-pee");
    assert_int_equal(s.user_namespace, NAMESPACE_HOST);
    assert_int_equal(s.pid_namespace, NAMESPACE_HOST);
    assert_true(s.serial > 0);
    assert_null(s.scope);
    client_end(&c);
}

/* No two captures have the same number, whatever becomes of the first. */
static void test_serial(void **state) {
    _cleanup_(client_done) Client c = client_start(NULL, NULL);
    _cleanup_(subject_done) Subject s = SUBJECT_NULL;
    uint64_t first;

    assert_int_equal(peer_subject_from_socket(&reader, c.connection, process_reader_now(), "ci", &s), 0);
    assert_string_equal(s.scope, "ci");
    first = s.serial;
    subject_done(&s);
    assert_int_equal(peer_subject_from_socket(&reader, c.connection, process_reader_now(), NULL, &s), 0);
    assert_true(s.serial > first && process_reader_next_serial() > s.serial);
    client_end(&c);
}

static bool become_nobody_in_many_groups(void) {
    static gid_t groups[500];

    for (unsigned i = 0; i < ELEMENTSOF(groups); i++)
        groups[i] = 100000 + i;
    return setgroups(ELEMENTSOF(groups), groups) == 0 && setresgid(NOBODY, NOBODY, NOBODY) == 0 &&
            setresuid(NOBODY, NOBODY, NOBODY) == 0;
}

static void test_groups(void **state) {
    _cleanup_(subject_done) Subject s = SUBJECT_NULL;
    _cleanup_(client_done) Client c = {.connection = -EBADF};

    if (getuid() != 0)
        skip();
    c = client_start(become_nobody_in_many_groups, NULL);
    assert_int_equal(peer_subject_from_socket(&reader, c.connection, process_reader_now(), NULL, &s), 0);
    assert_int_equal(s.uid, NOBODY);
    assert_int_equal(s.gids[0], NOBODY);
    for (gid_t gid = 100000; gid < 100500; gid++)
        assert_true(subject_in_group(&s, gid));
    assert_false(subject_in_group(&s, 0));
    client_end(&c);
}

static bool write_text(const char *path, const char *text) {
    _cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);

    return fd >= 0 && write(fd, text, strlen(text)) == (ssize_t) strlen(text);
}

/* As "unshare -Ur" does. */
static bool become_root_elsewhere(void) {
    char map[32];
    uid_t uid = getuid();

    snprintf(map, sizeof(map), "0 %u 1", (unsigned) uid);
    return unshare(CLONE_NEWUSER) == 0 && write_text("/proc/self/setgroups", "deny") &&
            write_text("/proc/self/uid_map", map) && getuid() == 0;
}

static bool become_nobody_and_root_elsewhere(void) {
    return setresgid(NOBODY, NOBODY, NOBODY) == 0 && setresuid(NOBODY, NOBODY, NOBODY) == 0 &&
            /* Otherwise the files below /proc/self are root's. */
            prctl(PR_SET_DUMPABLE, 1) == 0 && become_root_elsewhere();
}

static bool may_unshare(bool (*become)(void)) {
    pid_t pid = fork();
    int status;

    if (pid == 0)
        _exit(!become());
    return waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void test_faked_root(void **state) {
    _cleanup_(subject_done) Subject s = SUBJECT_NULL;
    _cleanup_(client_done) Client c = {.connection = -EBADF};

    if (getuid() != 0 || !may_unshare(become_nobody_and_root_elsewhere))
        skip();
    c = client_start(become_nobody_and_root_elsewhere, NULL);
    assert_int_equal(peer_subject_from_socket(&reader, c.connection, process_reader_now(), NULL, &s), 0);
    assert_int_equal(s.uid, NOBODY);
    assert_false(subject_is_operator(&s));
    assert_int_equal(s.user_namespace, NAMESPACE_OTHER);
    assert_int_equal(subject_has_capability(&s, 0), 0);
    client_end(&c);
}

/* What a process becomes later is another caller's business. */
static void test_another_user_later(void **state) {
    _cleanup_(subject_done) Subject s = SUBJECT_NULL;
    _cleanup_(client_done) Client c = {.connection = -EBADF};

    if (getuid() != 0)
        skip();
    c = client_start(NULL, become_nobody_in_many_groups);
    assert_int_equal(peer_subject_from_socket(&reader, c.connection, process_reader_now(), NULL, &s), 0);
    assert_int_equal(s.uid, 0);
    assert_false(subject_in_group(&s, 100000));
    assert_int_equal(s.pid, 0);
    assert_false(s.capabilities_known);
    assert_int_equal(s.user_namespace, NAMESPACE_UNKNOWN);
    client_end(&c);
}

static void test_a_process_that_has_ended(void **state) {
    _cleanup_(subject_done) Subject s = SUBJECT_NULL;
    _cleanup_(client_done) Client c = client_start(NULL, NULL);

    client_end(&c);
    assert_int_equal(peer_subject_from_socket(&reader, c.connection, process_reader_now(), NULL, &s), 0);
    assert_int_equal(s.uid, getuid());
    assert_int_equal(s.pid, 0);
    assert_int_equal(s.pidfd, -EBADF);
    assert_null(s.command);
    assert_null(s.cgroup);
    assert_int_equal(s.user_namespace, NAMESPACE_UNKNOWN);
}

/* Its number belongs to another process of the same user by now. */
static void test_a_number_that_is_used_again(void **state) {
    _cleanup_(subject_done) Subject s = SUBJECT_NULL;
    _cleanup_(client_done) Client c = client_start(NULL, NULL);
    pid_t other = -1;
    char text[32];

    client_end(&c);
    snprintf(text, sizeof(text), "%d", (int) c.pid - 1);
    for (unsigned n_tries = 0; n_tries < 200 && other != c.pid; n_tries++) {
        if (!write_text("/proc/sys/kernel/ns_last_pid", text))
            break;
        other = fork();
        if (other == 0)
            for (;;)
                (void) pause();
        if (other != c.pid) {
            kill(other, SIGKILL);
            waitpid(other, NULL, 0);
        }
    }
    if (other != c.pid || !kernel_keeps_processes(c.connection))
        skip();
    assert_int_equal(peer_subject_from_socket(&reader, c.connection, process_reader_now(), NULL, &s), 0);
    assert_int_equal(s.pid, 0);
    assert_null(s.command);
    kill(other, SIGKILL);
    waitpid(other, NULL, 0);
}

/* Nobody can be told who is at the other end. */
static void test_not_a_local_socket(void **state) {
    _cleanup_close_ int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0),
                        file = open("/dev/null", O_RDONLY);
    Subject s = SUBJECT_NULL;

    assert_true(fd >= 0 && file >= 0);
    assert_int_equal(peer_subject_from_socket(&reader, fd, 0, NULL, &s), -ENODATA);
    assert_int_equal(peer_subject_from_socket(&reader, file, 0, "ci", &s), -ENOTSOCK);
    assert_true(s.uid == (uid_t) -1);
}

static int forget_reader(void **state) {
    process_reader_done(&reader);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_a_process_of_the_host),
            cmocka_unit_test(test_serial),
            cmocka_unit_test(test_groups),
            cmocka_unit_test(test_faked_root),
            cmocka_unit_test(test_another_user_later),
            cmocka_unit_test(test_a_process_that_has_ended),
            cmocka_unit_test(test_a_number_that_is_used_again),
            cmocka_unit_test(test_not_a_local_socket),
    };

    return cmocka_run_group_tests(tests, NULL, forget_reader);
}
