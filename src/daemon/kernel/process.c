/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/kernel/process.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "core/cgroup.h"
#include "core/host-tables.h"
#include "daemon/privileges.h"

#define TEXT_MAX 65536U
#define PIDFS_MAGIC 0x50494446 /* PID_FS_MAGIC, since 6.9 */

bool process_has_ended(int pidfd) {
    struct pollfd p = {.fd = pidfd, .events = POLLIN};

    return poll(&p, 1, 0) != 0; /* an error is not a sign of life */
}

/* -1: the process was reaped; 0: it is in no pid namespace that we can see. */
int process_number(int pidfd, pid_t *ret) {
    _cleanup_free_ char *text = NULL;
    const char *line;
    char path[40];
    int number, r;

    (void) snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", pidfd);
    r = read_file_at(AT_FDCWD, path, TEXT_MAX, &text, NULL);
    if (r < 0)
        return r;
    line = strstr(text, "\nPid:\t");
    if (!line || sscanf(line, "\nPid:\t%d", &number) != 1 || number <= 0)
        return -ESRCH;
    *ret = number;
    return 0;
}

static int open_number(pid_t pid, int *ret) {
    *ret = (int) syscall(SYS_pidfd_open, pid, 0);
    return *ret < 0 ? -errno : 0;
}

int process_open_again(int pidfd, int *ret) {
    _cleanup_close_ int fd = -EBADF;
    pid_t pid;
    int r;

    r = process_number(pidfd, &pid);
    if (r >= 0)
        r = open_number(pid, &fd);
    if (r < 0)
        return r;
    if (process_has_ended(pidfd)) /* otherwise the pid meant this process all the time */
        return -ESRCH;
    *ret = TAKE_FD(fd);
    return 0;
}

static int check_id(int pidfd, uint64_t id) {
    struct statfs fs;
    struct stat st;

    if (fstatfs(pidfd, &fs) < 0 || fstat(pidfd, &st) < 0)
        return -errno;
    if (fs.f_type != PIDFS_MAGIC)
        return -EOPNOTSUPP;
    return st.st_ino == id ? 0 : -ESRCH;
}

int process_open(pid_t pid, uint64_t id, int *ret) {
    _cleanup_close_ int fd = -EBADF;
    int r;

    r = open_number(pid, &fd);
    if (r >= 0 && id != 0)
        r = check_id(fd, id);
    if (r < 0)
        return r == -EINVAL ? -ESRCH : r; /* a thread */
    *ret = TAKE_FD(fd);
    return 0;
}

/* Reads a file of /proc/PID whose process exists before and afterwards. The unit hides other users' processes
 * (ProtectProc=) from processes that may not trace them. */
static int read_of(int pidfd, const char *name, char **ret) {
    _cleanup_free_ char *text = NULL;
    char path[64];
    pid_t pid;
    int r;

    r = process_number(pidfd, &pid);
    if (r < 0)
        return r;
    (void) snprintf(path, sizeof(path), "/proc/%d/%s", (int) pid, name);
    privileges_raise(CAP_SYS_PTRACE);
    r = read_file_at(AT_FDCWD, path, TEXT_MAX, &text, NULL);
    privileges_lower();
    if (r < 0)
        return r == -ENOENT ? -ESRCH : r;
    if (process_has_ended(pidfd))
        return -ESRCH;
    *ret = TAKE_PTR(text);
    return 0;
}

int process_check_user(int pidfd, uid_t uid) {
    _cleanup_free_ char *status = NULL;
    unsigned real, effective, saved;
    const char *line;
    int r;

    r = read_of(pidfd, "status", &status);
    if (r < 0)
        return r;
    /* The kernel escapes newlines in the name of the program, which comes first. */
    line = strstr(status, "\nUid:\t");
    if (!line || sscanf(line, "\nUid:\t%u\t%u\t%u", &real, &effective, &saved) != 3)
        return -EBADMSG;
    return real == uid && effective == uid && saved == uid ? 0 : -EACCES;
}

int process_control_group(int pidfd, char **ret) {
    _cleanup_free_ char *text = NULL;
    int r;

    r = read_of(pidfd, "cgroup", &text);
    return r < 0 ? r : cgroup_of_process(text, /* unified= */ true, ret);
}

int process_start_ticks(int pidfd, uint64_t *ret) {
    _cleanup_free_ char *text = NULL;
    int r = read_of(pidfd, "stat", &text);

    return r < 0 ? r : stat_start_ticks(text, ret);
}

/* The kernel checks CAP_SYS_ADMIN for the open, and whether we may trace the process for the read. */
static int read_stack(pid_t pid, const char *name, KernelStack *ret) {
    _cleanup_free_ char *text = NULL;
    char path[64];
    int r;

    (void) snprintf(path, sizeof(path), "/proc/%d/%s", (int) pid, name);
    privileges_raise(CAP_SYS_ADMIN, CAP_SYS_PTRACE);
    r = read_file_at(AT_FDCWD, path, TEXT_MAX, &text, NULL);
    privileges_lower();
    if (r < 0)
        return r;
    kernel_stack_parse(text, ret);
    return ret->n > 0 ? 0 : -ENODATA;
}

int process_kernel_stack(pid_t pid, KernelStack *ret) {
    int r = read_stack(pid, "stack", ret);

    return r < 0 ? read_stack(pid, "wchan", ret) : r;
}
