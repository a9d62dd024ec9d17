/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The daemon's side of a worker. The test plays the spawner and the worker: their messages come in any order
 * that the kernel allows. */

#include "daemon/kernel/worker.h"

#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"

typedef struct World {
    sd_event *event;
    WorkerPool *pool;
    int spawner[2]; /* the daemon's end, and ours */
    int worker;     /* the worker's end of its socket; ours */
    pid_t process;  /* the pidfd of the worker refers to it */
    WorkerTask *task;
    unsigned n_done, n_steps, n_stuck, n_returned;
    WorkerStuck stuck; /* the last report */
    int32_t error;
    struct stat got; /* of the first fd that came */
} World;

static void send_packet(int socket, const void *data, size_t size, int fd) {
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {};
    struct iovec part = {.iov_base = (void *) data, .iov_len = size};
    struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
    struct cmsghdr *c;

    if (fd >= 0) {
        header.msg_control = control.bytes;
        header.msg_controllen = sizeof(control.bytes);
        c = CMSG_FIRSTHDR(&header);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(c), &fd, sizeof(int));
    }
    assert_int_equal(sendmsg(socket, &header, MSG_NOSIGNAL), size);
}

/* The socket that the daemon gives to the spawner. */
static int take_socket(int spawner) {
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    char byte;
    struct iovec part = {.iov_base = &byte, .iov_len = 1};
    struct msghdr header = {.msg_iov = &part,
            .msg_iovlen = 1,
            .msg_control = control.bytes,
            .msg_controllen = sizeof(control.bytes)};
    int fd;

    assert_int_equal(recvmsg(spawner, &header, MSG_CMSG_CLOEXEC), 1);
    assert_non_null(CMSG_FIRSTHDR(&header));
    memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&header)), sizeof(int));
    return fd;
}

static void on_done(void *userdata, const WorkerResult *result, int *fds) {
    World *w = userdata;

    w->n_done++;
    w->error = result->error;
    if (result->error >= 0 && result->n_fds > 0)
        assert_int_equal(fstat(fds[0], &w->got), 0);
}

static void on_step(void *userdata, const WorkerResult *result) {
    ((World *) userdata)->n_steps++;
}

static void on_stuck(void *userdata, const WorkerStuck *stuck, bool returned) {
    World *w = userdata;

    assert_int_equal(w->n_done, 1); /* its caller was notified before */
    w->n_stuck += !returned;
    w->n_returned += returned;
    w->stuck = *stuck;
}

/* A pool with one order on its way to the worker, whose end of the socket is ours. */
static int begin_within(void **state, uint64_t timeout_usec) {
    static const WorkerOrder order = {
            .operation = WORKER_RESET, .item.name = {.kind = DEVICE_KIND_PCI, .pci_bus = 6}};
    World *w = calloc(1, sizeof(*w));

    assert_non_null(w);
    assert_int_equal(sd_event_new(&w->event), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, w->spawner), 0);
    assert_int_equal(worker_pool_new(w->event, w->spawner[0], &w->pool), 0);
    worker_pool_watch_stuck(w->pool, on_stuck, w);
    assert_int_equal(worker_submit(w->pool, &order, timeout_usec,
                             &(WorkerCaller){on_done, on_step, w, &w->task, NULL}),
            0);
    w->worker = take_socket(w->spawner[1]);
    w->process = fork();
    if (w->process == 0) {
        (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void) close_range(STDERR_FILENO + 1, UINT_MAX, 0);
        (void) pause();
        _exit(EXIT_SUCCESS);
    }
    assert_true(w->process > 0);
    *state = w;
    return 0;
}

static int begin(void **state) {
    return begin_within(state, 3600 * UINT64_C(1000000));
}

static int begin_impatiently(void **state) {
    return begin_within(state, 200000);
}

static int end(void **state) {
    World *w = *state;

    (void) worker_pool_free(w->pool);
    (void) kill(w->process, SIGKILL);
    (void) waitpid(w->process, NULL, 0);
    (void) safe_close(w->worker);
    (void) safe_close(w->spawner[0]);
    (void) safe_close(w->spawner[1]);
    sd_event_unref(w->event);
    free(w);
    return 0;
}

static void send_pidfd(World *w) {
    int pidfd = pidfd_open(w->process, 0);

    assert_true(pidfd >= 0);
    send_packet(w->worker, "", 1, pidfd);
    (void) safe_close(pidfd);
}

static void send_done(World *w, uint32_t n_fds) {
    send_packet(w->worker, &(WorkerResult){.done = true, .n_fds = n_fds}, sizeof(WorkerResult), -EBADF);
}

/* Sends a file, whose status is returned. */
static struct stat send_file(World *w) {
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    struct stat status;

    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &status), 0);
    send_packet(w->worker, &(WorkerResult){.n_fds = 1, .step = DRIVER_STEP_OPEN}, sizeof(WorkerResult), fd);
    (void) safe_close(fd);
    return status;
}

static void until_done(World *w) {
    while (w->n_done == 0)
        assert_true(sd_event_run(w->event, 30 * UINT64_C(1000000)) > 0);
    assert_int_equal(w->n_done, 1);
    assert_null(w->task);
}

static void test_an_order(void **state) {
    World *w = *state;
    struct stat sent;

    send_pidfd(w);
    sent = send_file(w);
    send_done(w, 1);
    until_done(w);
    assert_int_equal(w->error, 0);
    assert_int_equal(w->got.st_rdev, sent.st_rdev);
    assert_true(w->n_steps > 0);
}

/* The spawner starts the worker, and sends the pidfd afterwards. */
static void test_a_worker_that_is_faster_than_its_spawner(void **state) {
    World *w = *state;
    struct stat sent = send_file(w);

    send_pidfd(w);
    send_done(w, 1);
    until_done(w);
    assert_int_equal(w->error, 0);
    assert_int_equal(w->got.st_rdev, sent.st_rdev);
}

static void test_fewer_files_than_announced(void **state) {
    World *w = *state;

    send_pidfd(w);
    send_done(w, 1);
    until_done(w);
    assert_int_equal(w->error, -EBADMSG);
}

static void test_a_pidfd_that_is_none(void **state) {
    World *w = *state;

    send_packet(w->worker, "", 1, -EBADF);
    until_done(w);
    assert_int_equal(w->error, -ECONNRESET);
}

static void test_a_message_of_another_size(void **state) {
    World *w = *state;

    send_packet(w->worker, "hello", 5, -EBADF);
    until_done(w);
    assert_int_equal(w->error, -ECONNRESET);
}

static void test_a_worker_that_was_never_started(void **state) {
    World *w = *state;

    w->worker = safe_close(w->worker);
    until_done(w);
    assert_int_equal(w->error, -ECONNRESET);
}

static void test_a_worker_that_dies(void **state) {
    World *w = *state;

    send_pidfd(w);
    (void) send_file(w);
    w->worker = safe_close(w->worker);
    assert_int_equal(kill(w->process, SIGKILL), 0);
    until_done(w);
    assert_int_equal(w->error, -ECONNRESET);
}

static int count(void *userdata, const WorkerStuck *stuck) {
    (*(unsigned *) userdata)++;
    return 0;
}

/* Unlike a process that sleeps in the kernel, the process of the pidfd can be killed, so it is stuck only for
 * a moment. */
static void test_a_worker_that_is_late(void **state) {
    World *w = *state;
    unsigned n = 0;

    send_pidfd(w);
    send_packet(w->worker, &(WorkerResult){.step = DRIVER_STEP_RESET}, sizeof(WorkerResult), -EBADF);
    while (w->n_stuck == 0)
        assert_true(sd_event_run(w->event, 30 * UINT64_C(1000000)) > 0);
    assert_int_equal(w->error, -ETIMEDOUT);
    assert_int_equal(w->stuck.pid, w->process);
    assert_int_equal(w->stuck.operation, WORKER_RESET);
    assert_int_equal(w->stuck.step, DRIVER_STEP_RESET);
    assert_true(w->stuck.has_device && w->stuck.device.pci_bus == 6);
    assert_true(w->stuck.since_usec > 0);
    if (w->n_returned == 0) {
        assert_int_equal(worker_pool_n_stuck(w->pool), 1);
        assert_int_equal(worker_pool_foreach_stuck(w->pool, count, &n), 0);
        assert_int_equal(n, 1);
    }
    while (w->n_returned == 0)
        assert_true(sd_event_run(w->event, 30 * UINT64_C(1000000)) > 0);
    assert_int_equal(worker_pool_n_stuck(w->pool), 0);
    assert_int_equal(w->n_stuck + w->n_returned, 2);
    assert_int_equal(w->stuck.pid, w->process);
    assert_int_equal(w->n_done, 1);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void) {
    const struct CMUnitTest tests[] = {
            TEST(test_an_order),
            TEST(test_a_worker_that_is_faster_than_its_spawner),
            TEST(test_fewer_files_than_announced),
            TEST(test_a_pidfd_that_is_none),
            TEST(test_a_message_of_another_size),
            TEST(test_a_worker_that_was_never_started),
            TEST(test_a_worker_that_dies),
            cmocka_unit_test_setup_teardown(test_a_worker_that_is_late, begin_impatiently, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
