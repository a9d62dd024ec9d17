/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Reads facts about a caller's process. A pid is only a number and may belong to another process by now. So
 * the process is pinned by a pidfd, everything is read after that, and at the end the process must still
 * exist and run under the uid that it connected with. A new enough bus or kernel provides a pidfd from the
 * moment of connecting. Otherwise the number may have been reused before it was pinned; such a process has
 * started after the client connected.
 *
 * Capabilities are those at the first look, and only in the host's user namespace. Only root's and ambient
 * capabilities count: anybody can connect, leave the socket to a child, and execute a setuid program or one
 * with file capabilities. */

#include "daemon/kernel/caller-process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "core/cgroup.h"
#include "core/host-tables.h"
#include "daemon/privileges.h"
#include "host/cgroup-layout.h"
#include "host/uapi.h"

/* Linux 6.11, include/uapi/linux/pidfd.h: opens the process's namespace. */
#ifndef PIDFD_GET_PID_NAMESPACE
#define PIDFD_GET_PID_NAMESPACE _IO(0xFF, 5)
#define PIDFD_GET_USER_NAMESPACE _IO(0xFF, 9)
#endif

#define TEXT_MAX 65536U
#define PROCESS_PATH_MAX 40U

/* What is read with a privilege, at one moment. */
typedef struct ProcessLook {
    ProcessStatus status;
    char *command;                             /* owned; NULL: unknown */
    int cgroup, stat;                          /* owned; files of /proc/PID */
    struct stat user_namespace, pid_namespace; /* st_ino 0: unknown */
} ProcessLook;

void process_reader_done(ProcessReader *r) {
    free(r->cgroup_root);
    *r = (ProcessReader){};
}

/* The kernel returns these texts in one read if the buffer is large enough. */
static int read_once(int fd, char buf[static TEXT_MAX]) {
    ssize_t n = fd < 0 ? -1 : read(fd, buf, TEXT_MAX);

    if (n < 0)
        return fd < 0 ? -EBADF : -errno;
    if ((size_t) n == TEXT_MAX)
        return -E2BIG;
    buf[n] = '\0';
    return 0;
}

static void process_look_done(ProcessLook *l) {
    free(TAKE_PTR(l->command));
    l->cgroup = safe_close(l->cgroup);
    l->stat = safe_close(l->stat);
}

static void stat_namespace(int dir, const char *name, struct stat *ret) {
    if (fstatat(dir, name, ret, 0) < 0)
        ret->st_ino = 0;
}

static const char *path_of(pid_t pid, const char *name, char buf[static PROCESS_PATH_MAX]) {
    snprintf(buf, PROCESS_PATH_MAX, "/proc/%d/%s", (int) pid, name);
    return buf;
}

static int open_file(pid_t pid, const char *name) {
    char path[PROCESS_PATH_MAX];

    return open(path_of(pid, name, path), O_RDONLY | O_CLOEXEC);
}

/* Through the pidfd it takes an eighth of the time. */
static void find_namespace(pid_t pid, int pidfd, unsigned long request, const char *name, struct stat *ret) {
    _cleanup_close_ int fd = ioctl(pidfd, request, 0);
    char path[PROCESS_PATH_MAX];

    if (fd < 0 || fstat(fd, ret) < 0)
        stat_namespace(AT_FDCWD, path_of(pid, name, path), ret);
}

/* The slow way: the kernel writes the text of /proc/PID/status, most of which is not needed. */
static int read_status(pid_t pid, ProcessLook *l) {
    _cleanup_close_ int fd = open_file(pid, "status");
    char text[TEXT_MAX];
    int k;

    k = read_once(fd, text);
    if (k >= 0)
        k = process_status_parse(text, &l->status);
    if (k < 0)
        return k;
    l->command = status_command(text);
    return 0;
}

/* The fast way, without a text. It does not report ambient capabilities: -ENODATA where they matter. */
static int ask_kernel(ProcessReader *r, const Subject *s, ProcessStatus *ret) {
    struct vfiod_pidfd_info info = {.mask = VFIOD_PIDFD_INFO_PID | VFIOD_PIDFD_INFO_CREDS};
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3, .pid = s->pid};
    struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3];

    if (r->without_info)
        return -ENOTTY;
    if (ioctl(s->pidfd, VFIOD_PIDFD_GET_INFO, &info) < 0) {
        r->without_info = errno == ENOTTY;
        return -errno;
    }
    if (!(info.mask & VFIOD_PIDFD_INFO_PID) || !(info.mask & VFIOD_PIDFD_INFO_CREDS) ||
            info.tgid != (uint32_t) s->pid)
        return -ESRCH;
    if (capget(&header, sets) < 0)
        return -errno;
    *ret = (ProcessStatus){
            .uids = {info.ruid, info.euid, info.suid, info.fsuid},
            .effective = (uint64_t) sets[1].effective << 32 | sets[0].effective,
    };
    return process_needs_ambient(ret, s->uid) ? -ENODATA : 0;
}

static int read_command(pid_t pid, char **ret) {
    _cleanup_close_ int fd = open_file(pid, "comm");
    char text[TEXT_MAX];
    int k;

    k = read_once(fd, text);
    if (k < 0)
        return k;
    if (*text) /* ends with a newline, and may contain others */
        text[strlen(text) - 1] = '\0';
    *ret = strdup(text);
    return 0;
}

static int look_at_status(ProcessReader *r, const Subject *s, ProcessLook *l) {
    if (ask_kernel(r, s, &l->status) >= 0 && read_command(s->pid, &l->command) >= 0)
        return 0;
    return read_status(s->pid, l);
}

/* The namespaces are read after the status: a process can leave the host's user namespace, and has every
 * capability in its new one, but it cannot come back. */
static int look_at_process(ProcessReader *r, const Subject *s, bool with_stat, ProcessLook *l) {
    int k = look_at_status(r, s, l);

    if (k < 0)
        return k;
    l->cgroup = open_file(s->pid, "cgroup");
    l->stat = with_stat ? open_file(s->pid, "stat") : -EBADF;
    find_namespace(s->pid, s->pidfd, PIDFD_GET_USER_NAMESPACE, "ns/user", &l->user_namespace);
    find_namespace(s->pid, s->pidfd, PIDFD_GET_PID_NAMESPACE, "ns/pid", &l->pid_namespace);
    return 0;
}

/* ---- Namespaces and capabilities ---- */

static void read_own_namespaces(ProcessReader *r) {
    if (r->user_namespace.st_ino == 0)
        stat_namespace(AT_FDCWD, "/proc/self/ns/user", &r->user_namespace);
    if (r->pid_namespace.st_ino == 0)
        stat_namespace(AT_FDCWD, "/proc/self/ns/pid", &r->pid_namespace);
}

static NamespaceKind compare_namespace(const struct stat *ours, const struct stat *theirs) {
    if (ours->st_ino == 0 || theirs->st_ino == 0)
        return NAMESPACE_UNKNOWN;
    return ours->st_dev == theirs->st_dev && ours->st_ino == theirs->st_ino ? NAMESPACE_HOST
                                                                            : NAMESPACE_OTHER;
}

/* Is the daemon itself in the initial user namespace, whose capabilities the kernel requires for devices? In
 * a container nobody has such a capability. The inode of that namespace is fixed (include/linux/proc_ns.h,
 * PROC_USER_INIT_INO). */
static bool in_initial_user_namespace(const ProcessReader *r) {
    return r->user_namespace.st_ino == 0xEFFFFFFDU;
}

static void take_capabilities(ProcessReader *r, const ProcessLook *l, Subject *s) {
    read_own_namespaces(r);
    s->capabilities_known =
            process_capabilities(&l->status, s->uid, &s->capabilities, &s->capabilities_unsure) >= 0 &&
            in_initial_user_namespace(r);
    s->user_namespace = compare_namespace(&r->user_namespace, &l->user_namespace);
    s->pid_namespace = compare_namespace(&r->pid_namespace, &l->pid_namespace);
}

/* ---- Control group ---- */

static int read_cgroup_layout(ProcessReader *r) {
    char text[TEXT_MAX];
    int fd, k;

    if (r->cgroup_root)
        return 0;
    k = cgroup_layout_is_unified(&r->cgroup_unified);
    if (k < 0)
        return k;
    privileges_raise(CAP_SYS_PTRACE);
    fd = open("/proc/1/cgroup", O_RDONLY | O_CLOEXEC);
    privileges_lower();
    k = read_once(fd, text);
    (void) safe_close(fd);
    if (k >= 0)
        k = cgroup_of_process(text, r->cgroup_unified, &r->cgroup_root);
    if (k < 0)
        return k;
    cgroup_cut_to_root(r->cgroup_root);
    return 0;
}

static int take_cgroup(ProcessReader *r, const ProcessLook *l, Subject *s) {
    _cleanup_free_ char *cgroup = NULL, *unit = NULL;
    char name[UNIT_NAME_SIZE], text[TEXT_MAX];
    int k;

    k = read_cgroup_layout(r);
    if (k >= 0)
        k = read_once(l->cgroup, text);
    if (k >= 0)
        k = cgroup_of_process(text, r->cgroup_unified, &cgroup);
    if (k < 0)
        return k;
    if (cgroup_find_unit(cgroup, r->cgroup_root, name) >= 0) {
        unit = strdup(name);
        if (!unit)
            return -ENOMEM;
    }
    s->cgroup = TAKE_PTR(cgroup);
    s->unit = TAKE_PTR(unit);
    return 0;
}

/* ---- The same process? ---- */

static bool started_before(const ProcessLook *l, uint64_t latest_usec) {
    char text[TEXT_MAX];
    uint64_t ticks;
    long per_second = sysconf(_SC_CLK_TCK);

    return per_second > 0 && read_once(l->stat, text) >= 0 && stat_start_ticks(text, &ticks) >= 0 &&
            ticks <= latest_usec / (1000000 / (uint64_t) per_second);
}

/* Any result but "no such process" means that the process exists. */
static bool is_alive(int pidfd) {
    return syscall(SYS_pidfd_send_signal, pidfd, 0, NULL, 0) >= 0 || errno != ESRCH;
}

static void forget_process(Subject *s) {
    s->pidfd = safe_close(s->pidfd);
    s->pid = 0;
    free(TAKE_PTR(s->unit));
    free(TAKE_PTR(s->cgroup));
    free(TAKE_PTR(s->command));
    s->capabilities = s->capabilities_unsure = 0;
    s->capabilities_known = false;
    s->user_namespace = s->pid_namespace = NAMESPACE_UNKNOWN;
}

static int take_process(ProcessReader *r, Subject *s, uint64_t latest_start_usec) {
    _cleanup_(process_look_done) ProcessLook l = {.cgroup = -EBADF, .stat = -EBADF};
    bool pinned = s->pidfd >= 0;
    int k;

    if (!pinned)
        s->pidfd = (int) syscall(SYS_pidfd_open, s->pid, 0);
    if (s->pidfd < 0)
        return -errno;
    /* The unit hides other users' processes (ProtectProc=) from processes that may not trace them. */
    privileges_raise(CAP_SYS_PTRACE);
    k = look_at_process(r, s, !pinned, &l);
    privileges_lower();
    if (k < 0)
        return k;
    if (!process_has_uid(&l.status, s->uid) || (!pinned && !started_before(&l, latest_start_usec)))
        return -ESRCH;
    take_capabilities(r, &l, s);
    (void) take_cgroup(r, &l, s); /* unknown */
    s->command = TAKE_PTR(l.command);
    return is_alive(s->pidfd) ? 0 : -ESRCH;
}

void process_reader_read(ProcessReader *r, Subject *s, uint64_t latest_start_usec) {
    if (take_process(r, s, latest_start_usec) < 0)
        forget_process(s);
}

uint64_t process_reader_now(void) {
    return clock_usec(CLOCK_BOOTTIME);
}

uint64_t process_reader_next_serial(void) {
    static uint64_t n_captures; /* of all faces */

    return ++n_captures;
}
