/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* prlimit(2) takes a pid; there is no form for a pidfd. A pid is not reused before its process was reaped,
 * which the pidfd shows: if the process is still alive after the call, the pid meant it all the time. If not,
 * another process may have got a higher limit. So the process is also checked before the call. That leaves
 * the time between two system calls for it to die, be reaped and its pid be reused. A process of another user
 * is noticed by the check of the user ids. */

#include "daemon/kernel/memlock.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "core/host-tables.h"
#include "daemon/privileges.h"

#define TRIES_MAX 3U

static int check_alive(const Subject *s) {
    struct pollfd p = {.fd = s->pidfd, .events = POLLIN};
    int r;

    if (s->pid <= 0 || s->pidfd < 0)
        return -ESRCH;
    r = poll(&p, 1, 0);
    if (r < 0)
        return -errno;
    return r == 0 ? 0 : -ESRCH;
}

static int read_status(const Subject *s, char **ret) {
    char path[40];
    int r;

    snprintf(path, sizeof(path), "/proc/%d/status", (int) s->pid);
    privileges_raise(CAP_SYS_PTRACE);
    r = read_file_at(AT_FDCWD, path, 65536, ret, NULL);
    privileges_lower();
    return r == -ENOENT ? -ESRCH : r;
}

/* Real, effective and saved: no limit is raised for a program that also runs for somebody else. */
static int check_user(const Subject *s) {
    _cleanup_free_ char *text = NULL;
    ProcessStatus p;
    int r;

    r = read_status(s, &text);
    if (r >= 0)
        r = process_status_parse(text, &p);
    if (r < 0)
        return r;
    return p.uids.real == s->uid && p.uids.effective == s->uid && p.uids.saved == s->uid ? 0 : -EACCES;
}

/* "VmLck:\t     1024 kB"; 0 without such a line, because the process is ending. */
static uint64_t read_kib(const char *status, const char *name) {
    const char *line = strstr(status, name);
    unsigned long long kib;

    return line && sscanf(line + strlen(name), "%llu", &kib) == 1 ? (uint64_t) kib << 10 : 0;
}

int memlock_read(const Subject *s, uint64_t *ret) {
    _cleanup_free_ char *status = NULL;
    int r;

    r = read_status(s, &status);
    if (r >= 0)
        r = check_alive(s);
    if (r >= 0)
        *ret = read_kib(status, "\nVmLck:") + read_kib(status, "\nVmPin:");
    return r;
}

static int set_limit(pid_t pid, const struct rlimit *wanted, struct rlimit *ret_old) {
    int r;

    privileges_raise(CAP_SYS_RESOURCE);
    r = prlimit(pid, RLIMIT_MEMLOCK, wanted, ret_old) < 0 ? -errno : 0;
    privileges_lower();
    return r;
}

static bool is_enough(const struct rlimit *limit, const struct rlimit *wanted) {
    return limit->rlim_cur >= wanted->rlim_cur && limit->rlim_max >= wanted->rlim_max;
}

static struct rlimit at_least(const struct rlimit *limit, const struct rlimit *other) {
    return (struct rlimit){.rlim_cur = MAX(limit->rlim_cur, other->rlim_cur),
            .rlim_max = MAX(limit->rlim_max, other->rlim_max)};
}

static bool is_same(const struct rlimit *limit, const struct rlimit *other) {
    return limit->rlim_cur == other->rlim_cur && limit->rlim_max == other->rlim_max;
}

static int get_limit(const Subject *subject, struct rlimit *ret) {
    int r;

    r = check_alive(subject);
    if (r >= 0)
        r = check_user(subject);
    return r < 0 ? r : set_limit(subject->pid, NULL, ret);
}

/* If the process has set a limit itself since, that limit counts as its own. */
static void note(MemlockChange *change, const struct rlimit *old, const struct rlimit *set) {
    if (!change->raised || !is_same(old, &change->set))
        change->was = *old;
    change->set = *set;
    change->raised = true;
}

int memlock_raise(const Subject *subject, uint64_t bytes, MemlockChange *change) {
    struct rlimit wanted = {.rlim_cur = bytes, .rlim_max = bytes}, old;
    int r;

    r = get_limit(subject, &old);
    if (r < 0)
        return r;
    if (is_enough(&old, &wanted))
        return check_alive(subject);
    /* The process may raise the limit at the same time; its value must not be lost. */
    for (unsigned i = 0; i < TRIES_MAX; i++) {
        wanted = at_least(&wanted, &old);
        r = check_alive(subject);
        if (r >= 0)
            r = set_limit(subject->pid, &wanted, &old);
        if (r < 0)
            return r;
        note(change, &old, &wanted);
        if (is_enough(&wanted, &old))
            return check_alive(subject);
    }
    return -EAGAIN;
}

/* The process may set the limit between our read and our call; then its value is set again, and stays. */
int memlock_put_back(const Subject *subject, uint64_t bytes, MemlockChange *change) {
    const struct rlimit needed = {.rlim_cur = bytes, .rlim_max = bytes};
    struct rlimit wanted, old;
    int r;

    if (!change->raised)
        return 0;
    r = get_limit(subject, &old);
    if (r < 0)
        return r;
    if (!is_same(&old, &change->set))
        return -ESTALE;
    wanted = at_least(&change->was, &needed);
    r = set_limit(subject->pid, &wanted, &old);
    if (r < 0)
        return r;
    if (!is_same(&old, &change->set)) {
        (void) set_limit(subject->pid, &old, NULL);
        return -ESTALE;
    }
    change->set = wanted;
    change->raised = !is_same(&wanted, &change->was);
    return check_alive(subject);
}

static const char *describe_limit(rlim_t limit, char buf[static FORMAT_SIZE_MAX]) {
    return limit == RLIM_INFINITY ? "unlimited" : format_size(limit, buf);
}

const char *memlock_describe(const Subject *subject, char *buf, size_t size) {
    char soft[FORMAT_SIZE_MAX], hard[FORMAT_SIZE_MAX];
    struct rlimit now;

    *buf = 0;
    if (get_limit(subject, &now) >= 0)
        snprintf(buf, size, " (it is %s now, %s at most)", describe_limit(now.rlim_cur, soft),
                describe_limit(now.rlim_max, hard));
    return buf;
}
