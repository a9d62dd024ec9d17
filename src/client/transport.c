/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client/transport.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/str.h"
#include "client/error-text.h"

#define PIDFS_MAGIC 0x50494446 /* <linux/magic.h> since 6.9 */

static const struct {
    const char *name;
    bool claim, devices, request, gives_claim, gives_text, gives_more;
} methods[_METHOD_MAX] = {
        [METHOD_ACQUIRE] = {"Acquire", .devices = true, .request = true, .gives_claim = true},
        [METHOD_RESERVE] = {"Reserve", .request = true, .gives_text = true},
        [METHOD_ADD_DEVICES] = {"AddDevices", .claim = true, .devices = true, .request = true,
                .gives_claim = true},
        [METHOD_RELEASE_DEVICES] = {"ReleaseDevices", .claim = true, .devices = true},
        [METHOD_RELEASE] = {"Release", .claim = true},
        [METHOD_TRANSFER] = {"Transfer", .claim = true, .gives_claim = true},
        [METHOD_EVICT] = {"Evict", .claim = true},
        [METHOD_ANSWER_EVICTION] = {"AnswerEviction", .claim = true},
        [METHOD_READY_TO_SLEEP] = {"ReadyToSleep", .claim = true},
        [METHOD_RETRY_QUARANTINE] = {"RetryQuarantine", .devices = true},
        [METHOD_CLEAR_QUARANTINE] = {"ClearQuarantine", .devices = true},
        [METHOD_PLAN] = {"Plan", .devices = true, .request = true, .gives_text = true},
        [METHOD_RELOAD_POLICY] = {"ReloadPolicy"},
        [METHOD_SET_VIRTUAL_FUNCTIONS] = {"SetVirtualFunctions"},
        [METHOD_PROBE_CAPABILITIES] = {"ProbeCapabilities"},
        [METHOD_LIST_ONE] = {"List", .gives_text = true},
        [METHOD_LIST_ALL] = {"List", .gives_text = true, .gives_more = true},
        [METHOD_MONITOR] = {"Monitor", .gives_text = true, .gives_more = true},
        [METHOD_EXPLAIN] = {"Explain", .devices = true, .request = true, .gives_text = true},
};

const char *method_name(Method m) {
    return methods[m].name;
}

bool method_has_claim(Method m) {
    return methods[m].claim;
}

bool method_has_devices(Method m) {
    return methods[m].devices;
}

bool method_has_request(Method m) {
    return methods[m].request;
}

bool method_gives_claim(Method m) {
    return methods[m].gives_claim;
}

bool method_gives_text(Method m) {
    return methods[m].gives_text;
}

bool method_gives_more(Method m) {
    return methods[m].gives_more;
}

#define MORE_HAS(more, member)                                                                               \
    ((more) && (more)->size >= offsetof(VfiodRequestMore, member) + sizeof((more)->member))

const char *request_requirement(const VfiodRequest *request) {
    return MORE_HAS(request->more, require) ? request->more->require : NULL;
}

const char *request_ticket(const VfiodRequest *request) {
    return MORE_HAS(request->more, ticket) ? request->more->ticket : NULL;
}

const char *request_network(const VfiodRequest *request) {
    return MORE_HAS(request->more, network) ? request->more->network : NULL;
}

uint64_t request_wait(const VfiodRequest *request) {
    return MORE_HAS(request->more, wait) ? request->more->wait : 0;
}

uint64_t request_duration(const VfiodRequest *request) {
    return MORE_HAS(request->more, duration) ? request->more->duration : 0;
}

uint64_t call_timeout_usec(const Call *call) {
    uint64_t usec = VFIOD_CALL_TIMEOUT_USEC;

    if (call->request && call->request->interactive)
        usec += VFIOD_ASK_TIMEOUT_USEC;
    if (call->request && call->method == METHOD_ACQUIRE)
        usec += MIN(request_wait(call->request), (uint64_t) UINT32_MAX) * 1000000;
    return usec;
}

int request_check(const VfiodRequest *request, VfiodErrorText *error) {
    const char *const texts[] = {request->backend, request->reason, request->grant, request->tether,
            request->cookie, request_requirement(request), request_network(request), request_ticket(request)};

    if (request->n_devices == 0 && !request_ticket(request))
        return error_text_set(error, EINVAL, "InvalidArgument", "No device was named.");
    for (size_t i = 0; i < request->n_devices; i++)
        if (!utf8_is_valid(request->devices[i]))
            return error_text_set(
                    error, EINVAL, "InvalidName", "%s: the name is not UTF-8.", request->devices[i]);
    for (size_t i = 0; i < ELEMENTSOF(texts); i++)
        if (texts[i] && !utf8_is_valid(texts[i]))
            return error_text_set(error, EINVAL, "InvalidArgument", "An option is not UTF-8.");
    return 0;
}

uint64_t monotonic_usec(void) {
    return clock_usec(CLOCK_MONOTONIC);
}

const char *call_tether(const Call *call) {
    return call->method == METHOD_TRANSFER && !call->tether && call->pidfd >= 0 ? "process" : call->tether;
}

/* Since Linux 6.9 (pidfs) the inode number of a pidfd identifies the process. Before, all pidfds share
 * one. */
int call_describe_process(Call *call) {
    _cleanup_free_ char *path = NULL, *text = NULL;
    const char *line;
    struct statfs fs;
    struct stat st;
    int r;

    if (call->pidfd < 0)
        return 0;
    path = format_string("/proc/self/fdinfo/%d", call->pidfd);
    r = path ? read_file_at(AT_FDCWD, path, 4096, &text, NULL) : -ENOMEM;
    if (r < 0)
        return r;
    line = strstr(text, "Pid:\t");
    if (!line || sscanf(line, "Pid:\t%" SCNu64, &call->pid) != 1 || call->pid == 0)
        return -ESRCH;
    if (fstatfs(call->pidfd, &fs) < 0 || fstat(call->pidfd, &st) < 0)
        return -errno;
    if (fs.f_type == PIDFS_MAGIC)
        call->pidfd_id = st.st_ino;
    return 0;
}

/* ---- answers ---- */

void strings_free(char **l, size_t n) {
    for (size_t i = 0; i < n; i++)
        free(l[i]);
    free(l);
}

void answer_done(Answer *a) {
    for (size_t i = 0; i < a->n_fds; i++) {
        (void) safe_close(a->fds[i].fd);
        free(a->fds[i].name);
    }
    strings_free(a->devices, a->n_devices);
    strings_free(a->nodes, a->n_nodes);
    strings_free(a->vf_tokens, a->n_vf_tokens);
    free(a->claim);
    free(a->backend);
    free(a->tether);
    free(a->rule);
    free(a->text);
    *a = (Answer){};
}

int strings_add(char ***l, size_t *n, const char *s) {
    char **bigger = reallocarray(*l, *n + 1, sizeof(char *)), *copy;

    if (!bigger)
        return -ENOMEM;
    *l = bigger;
    copy = strdup(s);
    if (!copy)
        return -ENOMEM;
    bigger[(*n)++] = copy;
    return 0;
}

int answer_add_device(Answer *a, const char *name) {
    return strings_add(&a->devices, &a->n_devices, name);
}

int answer_add_node(Answer *a, const char *path) {
    return strings_add(&a->nodes, &a->n_nodes, path);
}

int answer_add_vf_token(Answer *a, const char *token) {
    return strings_add(&a->vf_tokens, &a->n_vf_tokens, token);
}

int answer_add_fd(Answer *a, const char *name, int fd) {
    _cleanup_free_ char *copy = strdup(name);
    int duplicate;

    if (!copy)
        return -ENOMEM;
    if (a->n_fds >= ANSWER_FDS_MAX)
        return -E2BIG;
    duplicate = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    if (duplicate < 0)
        return -errno;
    a->fds[a->n_fds++] = (NamedFd){.name = TAKE_PTR(copy), .fd = duplicate};
    return 0;
}

int answer_check(const Answer *a, Method m) {
    if (m == METHOD_ACQUIRE)
        return a->claim && *a->claim && a->backend ? 0 : -EBADMSG;
    return method_gives_text(m) && !a->text ? -EBADMSG : 0;
}
