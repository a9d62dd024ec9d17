/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The failpoints of vfiod-failpoints (base/failpoint.h). Linked into it; the test
 * (tests/integration/test-crash.py) names a directory in VFIOD_FAILPOINTS. There each failpoint that is
 * passed leaves a line in `trace`, in whatever process of the daemon that is. `point` says what is to happen:
 * "NAME N 0" kills the daemon when NAME is passed the Nth time, "NAME N ERRNO" lets the operation fail then,
 * and "NAME N ERRNO stays" from then on. "NAME N -PID" kills another process, the bus, and the daemon goes
 * on.
 *
 * With VFIOD_FAILPOINTS_LIST the program prints the names of all failpoints, from the tables of the enums
 * that they come from, and ends. */

#include "base/failpoint.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/machine.h"
#include "daemon/kernel/worker.h"

#define NAME_LENGTH 64
#define TRACE_MAX (256 * 1024)

/* One word. */
static void format(char full[static NAME_LENGTH], const char *kind, const char *name, const char *when) {
    (void) snprintf(full, NAME_LENGTH, "%s:%s:%s", kind, name ?: "without-a-name", when);
    for (char *p = full; *p; p++)
        if (*p == ' ')
            *p = '-';
}

static void print_both(const char *kind, const char *name) {
    char before[NAME_LENGTH], after[NAME_LENGTH];

    format(before, kind, name, "before");
    format(after, kind, name, "after");
    printf("%s\n%s\n", before, after);
}

/* Failpoints of files are not in an enum; the test fails when it passes one that is not listed. */
static void print_all(void) {
    static const char *const files[] = {"record-write", "fd-store-add", "fd-store-remove", "record-file"};

    for (unsigned bit = 0; bit < CLAIM_EFFECTS; bit++)
        print_both("effect", claim_effect_to_string(bit));
    for (DriverStep s = 0; s < _DRIVER_STEP_MAX; s++)
        print_both("step", driver_step_to_string(s));
    for (WorkerOperation o = 0; o < _WORKER_OPERATION_MAX; o++)
        print_both("order", worker_operation_to_string(o));
    for (size_t i = 0; i < ELEMENTSOF(files); i++)
        print_both("file", files[i]);
    printf("file:worker-start:before\nfile:slots-open:before\nfile:record-remove:before\n");
    printf("file:plan-text:before\n");
}

/* Workers inherit the daemon's number. */
__attribute__((constructor)) static void begin(void) {
    char pid[16];

    if (getenv("VFIOD_FAILPOINTS_LIST")) {
        print_all();
        (void) fflush(stdout);
        _exit(EXIT_SUCCESS);
    }
    (void) snprintf(pid, sizeof(pid), "%d", (int) getpid());
    (void) setenv("VFIOD_FAILPOINT_DAEMON", pid, /* overwrite= */ 0);
}

static int open_in(const char *file, int flags) {
    const char *directory = getenv("VFIOD_FAILPOINTS");
    char path[512];

    if (!directory)
        return -1;
    (void) snprintf(path, sizeof(path), "%s/%s", directory, file);
    return open(path, flags | O_CLOEXEC, 0600);
}

static ssize_t read_all(int fd, char *buf, size_t size) {
    ssize_t n = pread(fd, buf, size - 1, 0);

    buf[n > 0 ? n : 0] = '\0';
    return n;
}

/* How often it was passed so far; 0: not counted. */
static unsigned note(const char *name) {
    static char text[TRACE_MAX];
    char line[NAME_LENGTH + 2];
    unsigned n = 0;
    int fd = open_in("trace", O_RDWR | O_APPEND);

    if (fd < 0)
        return 0;
    (void) snprintf(line, sizeof(line), "%s\n", name);
    if (write(fd, line, strlen(line)) > 0 && read_all(fd, text, sizeof(text)) > 0)
        for (const char *p = text; (p = strstr(p, line)); p += strlen(line))
            n += p == text || p[-1] == '\n';
    (void) close(fd);
    return n;
}

/* By then its sockets are closed. */
static void kill_other(pid_t pid) {
    struct pollfd p = {.fd = (int) syscall(SYS_pidfd_open, pid, 0), .events = POLLIN};

    if (p.fd < 0)
        return;
    (void) kill(pid, SIGKILL);
    (void) poll(&p, 1, 10000);
    (void) close(p.fd);
}

static int obey(const char *name, unsigned n) {
    char text[128], wanted[NAME_LENGTH], stays[8] = "";
    const char *daemon = getenv("VFIOD_FAILPOINT_DAEMON");
    unsigned when;
    int error, fd = open_in("point", O_RDONLY);

    if (fd < 0)
        return 0;
    (void) read_all(fd, text, sizeof(text));
    (void) close(fd);
    if (sscanf(text, "%63s %u %d %7s", wanted, &when, &error, stays) < 3 || strcmp(wanted, name) != 0)
        return 0;
    if (n < when || (n > when && !*stays))
        return 0;
    if (error < 0) {
        kill_other((pid_t) -error);
        return 0;
    }
    if (error != 0)
        return -error;
    (void) kill((pid_t) atoi(daemon), SIGKILL);
    for (;;) /* a worker does nothing more */
        (void) pause();
}

int failpoint(const char *kind, const char *name, const char *when) {
    char full[NAME_LENGTH];
    int saved_errno = errno, r;
    unsigned n;

    format(full, kind, name, when);
    n = note(full);
    r = n == 0 ? 0 : obey(full, n);
    errno = saved_errno;
    return r;
}
