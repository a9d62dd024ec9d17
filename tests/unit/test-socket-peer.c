/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/capability.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "base/str.h"
#include "daemon/kernel/socket-peer.h"

#define NOBODY 65534U

/* One reader uses the kernel's own interface, the other uses /proc. On a kernel before 6.13 both use
 * /proc. */
static ProcessReader reader, old_reader = {.without_info = true};

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
    int connection; /* the accepted one */
} Client;

/* A child that changes its identity, connects, changes it again, and then waits to be killed. */
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

        /* A change of identity clears the signal for the parent's death. */
        if ((before && !before()) || connect(fd, (struct sockaddr *) &address, size) < 0 ||
                (after && !after()) || prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || write(fd, "x", 1) != 1)
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

static void assert_same(const Subject *a, const Subject *b) {
    assert_int_equal(a->uid, b->uid);
    assert_int_equal(a->n_gids, b->n_gids);
    assert_memory_equal(a->gids, b->gids, a->n_gids * sizeof(*a->gids));
    assert_int_equal(a->pid, b->pid);
    assert_int_equal(a->pidfd >= 0, b->pidfd >= 0);
    assert_true(streq_ptr(a->command, b->command));
    assert_true(streq_ptr(a->unit, b->unit));
    assert_true(streq_ptr(a->cgroup, b->cgroup));
    assert_true(streq_ptr(a->label, b->label));
    assert_int_equal(a->capabilities, b->capabilities);
    assert_int_equal(a->capabilities_unsure, b->capabilities_unsure);
    assert_int_equal(a->capabilities_known, b->capabilities_known);
    assert_int_equal(a->user_namespace, b->user_namespace);
    assert_int_equal(a->pid_namespace, b->pid_namespace);
}

static int capture(ProcessReader *from, int fd, uint64_t accepted_usec, const char *scope, Subject *ret) {
    struct ucred peer;
    int r = socket_peer_credentials(fd, &peer);

    return r < 0 ? r : peer_subject_from_socket(from, fd, &peer, accepted_usec, scope, ret);
}

/* Captures in both ways. The results must not differ. */
static void identify(const Client *c, Subject *ret) {
    _cleanup_(subject_done) Subject old = SUBJECT_NULL;
    uint64_t now_usec = process_reader_now();

    assert_int_equal(capture(&reader, c->connection, now_usec, NULL, ret), 0);
    assert_int_equal(capture(&old_reader, c->connection, now_usec, NULL, &old), 0);
    assert_same(ret, &old);
}

static void test_a_process_of_the_host(void **state) {
    _cleanup_(subject_done) Subject s = SUBJECT_NULL;
    _cleanup_(client_done) Client c = client_start(NULL, NULL);

    identify(&c, &s);
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

/* No two captures have the same number, even after the first is gone. */
static void test_serial(void **state) {
    _cleanup_(client_done) Client c = client_start(NULL, NULL);
    _cleanup_(subject_done) Subject s = SUBJECT_NULL;
    uint64_t first;

    assert_int_equal(capture(&reader, c.connection, process_reader_now(), "ci", &s), 0);
    assert_string_equal(s.scope, "ci");
    first = s.serial;
    subject_done(&s);
    assert_int_equal(capture(&reader, c.connection, process_reader_now(), NULL, &s), 0);
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
    identify(&c, &s);
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
    identify(&c, &s);
    assert_int_equal(s.uid, NOBODY);
    assert_false(subject_is_operator(&s));
    assert_int_equal(s.user_namespace, NAMESPACE_OTHER);
    assert_int_equal(subject_has_capability(&s, 0), 0);
    client_end(&c);
}

/* A later change of the process's identity does not count. */
static void test_another_user_later(void **state) {
    _cleanup_(subject_done) Subject s = SUBJECT_NULL;
    _cleanup_(client_done) Client c = {.connection = -EBADF};

    if (getuid() != 0)
        skip();
    c = client_start(NULL, become_nobody_in_many_groups);
    identify(&c, &s);
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
    identify(&c, &s);
    assert_int_equal(s.uid, getuid());
    assert_int_equal(s.pid, 0);
    assert_int_equal(s.pidfd, -EBADF);
    assert_null(s.command);
    assert_null(s.cgroup);
    assert_int_equal(s.user_namespace, NAMESPACE_UNKNOWN);
}

/* Its number now belongs to another process of the same user. */
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
    identify(&c, &s);
    assert_int_equal(s.pid, 0);
    assert_null(s.command);
    kill(other, SIGKILL);
    waitpid(other, NULL, 0);
}

/* ---- Both ways, with processes of every kind ---- */

#define MASK(capability) (UINT64_C(1) << (capability))

static bool set_capabilities(uint64_t mask) {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct sets[2];

    for (unsigned i = 0; i < 2; i++)
        sets[i].effective = sets[i].permitted = sets[i].inheritable = (uint32_t) (mask >> (32 * i));
    return capset(&header, sets) == 0;
}

static bool become_nobody_with_capabilities(void) {
    return prctl(PR_SET_KEEPCAPS, 1) == 0 && setresgid(NOBODY, NOBODY, NOBODY) == 0 &&
            setresuid(NOBODY, NOBODY, NOBODY) == 0 &&
            set_capabilities(MASK(CAP_SYS_RAWIO) | MASK(CAP_CHOWN) | MASK(CAP_BPF)) &&
            prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_SYS_RAWIO, 0, 0) == 0;
}

static void test_capabilities(void **state) {
    _cleanup_(subject_done) Subject s = SUBJECT_NULL;
    _cleanup_(client_done) Client c = {.connection = -EBADF};

    if (getuid() != 0)
        skip();
    c = client_start(become_nobody_with_capabilities, NULL);
    identify(&c, &s);
    assert_true(s.capabilities_known);
    assert_int_equal(s.capabilities, MASK(CAP_SYS_RAWIO));
    assert_int_equal(s.capabilities_unsure, MASK(CAP_CHOWN) | MASK(CAP_BPF));
    client_end(&c);
}

static bool keep_some_capabilities(void) {
    return set_capabilities(MASK(CAP_SYS_RAWIO) | MASK(CAP_BPF));
}

static void test_root_with_some_capabilities(void **state) {
    _cleanup_(subject_done) Subject s = SUBJECT_NULL;
    _cleanup_(client_done) Client c = {.connection = -EBADF};

    if (getuid() != 0)
        skip();
    c = client_start(keep_some_capabilities, NULL);
    identify(&c, &s);
    assert_true(s.capabilities_known);
    assert_int_equal(s.capabilities, MASK(CAP_SYS_RAWIO) | MASK(CAP_BPF));
    assert_int_equal(s.capabilities_unsure, 0);
    client_end(&c);
}

static bool become_nobody(void) {
    return setresgid(NOBODY, NOBODY, NOBODY) == 0 && setresuid(NOBODY, NOBODY, NOBODY) == 0;
}

/* As before the exec() of a setuid program, and within one. */
static bool change_effective_uid(void) {
    return setresuid((uid_t) -1, NOBODY, (uid_t) -1) == 0;
}

static bool change_saved_uid(void) {
    return setresuid((uid_t) -1, (uid_t) -1, NOBODY) == 0;
}

static bool change_real_uid(void) {
    return setresuid(NOBODY, (uid_t) -1, (uid_t) -1) == 0;
}

static void test_a_process_of_two_users(void **state) {
    bool (*const changes[])(void) = {change_effective_uid, change_saved_uid, change_real_uid};

    if (getuid() != 0)
        skip();
    for (size_t i = 0; i < ELEMENTSOF(changes); i++) {
        _cleanup_(client_done) Client c = client_start(NULL, changes[i]);
        _cleanup_(subject_done) Subject s = SUBJECT_NULL;

        identify(&c, &s);
        assert_int_equal(s.uid, 0);
        assert_int_equal(s.pid, c.pid);
        assert_false(s.capabilities_known);
        assert_int_equal(s.capabilities, 0);
        client_end(&c);
    }
}

static void test_nobody(void **state) {
    _cleanup_(subject_done) Subject s = SUBJECT_NULL;
    _cleanup_(client_done) Client c = {.connection = -EBADF};

    if (getuid() != 0)
        skip();
    c = client_start(become_nobody, NULL);
    identify(&c, &s);
    assert_int_equal(s.pid, c.pid);
    assert_true(s.capabilities_known);
    assert_int_equal(s.capabilities | s.capabilities_unsure, 0);
    client_end(&c);
}

static bool take_hostile_name(void) {
    return prctl(PR_SET_NAME, "a\nUid:\t0\\\x01\n") == 0;
}

static bool take_no_name(void) {
    return prctl(PR_SET_NAME, "") == 0;
}

static void test_names(void **state) {
    bool (*const name_takers[])(void) = {take_hostile_name, take_no_name};
    static const char *const names[] = {"a\nUid:\t0\\\x01\n", ""};

    for (size_t i = 0; i < ELEMENTSOF(names); i++) {
        _cleanup_(client_done) Client c = client_start(name_takers[i], NULL);
        _cleanup_(subject_done) Subject s = SUBJECT_NULL;

        identify(&c, &s);
        assert_int_equal(s.pid, c.pid);
        assert_string_equal(s.command, names[i]);
        client_end(&c);
    }
}

static void *wait_for_end(void *unused) {
    for (;;)
        (void) pause();
    return NULL;
}

/* This is the system call. The library's function changes all threads. */
static void *become_nobody_alone(void *pipe_end) {
    bool done = syscall(SYS_setresuid, NOBODY, NOBODY, NOBODY) == 0 && prctl(PR_SET_NAME, "alone") == 0;

    if (write(*(int *) pipe_end, done ? "y" : "n", 1) != 1)
        _exit(1);
    return wait_for_end(NULL);
}

static bool start_thread_of_nobody(void) {
    pthread_t thread;
    int ends[2];
    char byte;

    return pipe(ends) == 0 && pthread_create(&thread, NULL, become_nobody_alone, &ends[1]) == 0 &&
            read(ends[0], &byte, 1) == 1 && byte == 'y';
}

/* The identity of a process is that of its first thread. */
static void test_a_thread_of_another_user(void **state) {
    _cleanup_(subject_done) Subject s = SUBJECT_NULL;
    _cleanup_(client_done) Client c = {.connection = -EBADF};

    if (getuid() != 0)
        skip();
    c = client_start(start_thread_of_nobody, NULL);
    identify(&c, &s);
    assert_int_equal(s.uid, 0);
    assert_int_equal(s.pid, c.pid);
    assert_true(s.capabilities_known);
    assert_string_equal(s.command, "test-socket-pee");
    client_end(&c);
}

/* A thread other than the first connects, under another uid than the first. */
static const struct sockaddr_un *thread_address;
static socklen_t thread_address_size;

static void *connect_as_nobody(void *unused) {
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    if (syscall(SYS_setresuid, NOBODY, NOBODY, NOBODY) < 0 ||
            connect(fd, (const struct sockaddr *) thread_address, thread_address_size) < 0)
        _exit(1);
    return wait_for_end(NULL);
}

static void test_a_thread_that_connects(void **state) {
    _cleanup_close_ int listening = -EBADF;
    _cleanup_(subject_done) Subject s = SUBJECT_NULL;
    _cleanup_(client_done) Client c = {.connection = -EBADF};
    struct sockaddr_un address;
    pthread_t thread;

    if (getuid() != 0)
        skip();
    listening = listen_anywhere(&address, &thread_address_size);
    thread_address = &address;
    c.pid = fork();
    assert_true(c.pid >= 0);
    if (c.pid == 0) {
        (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (pthread_create(&thread, NULL, connect_as_nobody, NULL) != 0)
            _exit(1);
        wait_for_end(NULL);
    }
    c.connection = accept4(listening, NULL, NULL, SOCK_CLOEXEC);
    assert_true(c.connection >= 0);
    identify(&c, &s);
    assert_int_equal(s.uid, NOBODY);
    assert_int_equal(s.pid, 0);
    assert_null(s.command);
    client_end(&c);
}

/* The other end of such a connection cannot be identified. */
static void test_not_a_local_socket(void **state) {
    _cleanup_close_ int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0),
                        file = open("/dev/null", O_RDONLY);
    Subject s = SUBJECT_NULL;

    assert_true(fd >= 0 && file >= 0);
    assert_int_equal(capture(&reader, fd, 0, NULL, &s), -ENODATA);
    assert_int_equal(capture(&reader, file, 0, "ci", &s), -ENOTSOCK);
    assert_true(s.uid == (uid_t) -1);
}

static int forget_readers(void **state) {
    process_reader_done(&reader);
    process_reader_done(&old_reader);
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
            cmocka_unit_test(test_capabilities),
            cmocka_unit_test(test_root_with_some_capabilities),
            cmocka_unit_test(test_a_process_of_two_users),
            cmocka_unit_test(test_nobody),
            cmocka_unit_test(test_names),
            cmocka_unit_test(test_a_thread_of_another_user),
            cmocka_unit_test(test_a_thread_that_connects),
            cmocka_unit_test(test_not_a_local_socket),
    };

    return cmocka_run_group_tests(tests, NULL, forget_readers);
}
