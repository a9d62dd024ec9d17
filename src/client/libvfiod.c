/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* One bus connection per call, nothing kept between calls: a claim hangs on its lifeline, not on the bus, so
 * there is nothing to dispatch and nothing to lose when the bus restarts.
 *
 * Every fd of the reply is owned by the bus message; we take copies, close-on-exec and above the standard
 * ones, and drop the message. The claim is handed over last: whatever fails before closes the copies, the
 * lifeline among them, and so gives the claim back. */

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "client/error-text.h"
#include "client/libvfiod-internal.h"

#define NAMED_FDS_MAX 16U /* what a bus message carries */

typedef struct NamedFd {
    char *name; /* owned */
    int fd;     /* owned; -EBADF once taken */
} NamedFd;

struct VfiodClaim {
    char *id, *backend, *rule; /* owned */
    char **spellings;          /* owned; as the caller wrote the devices */
    char **devices;            /* owned; as the daemon writes them, in the same order */
    size_t n_spellings, n_devices;
    NamedFd fds[NAMED_FDS_MAX];
    size_t n_fds;
};

static void free_strings(char **l, size_t n) {
    for (size_t i = 0; i < n; i++)
        free(l[i]);
    free(l);
}

VfiodClaim *vfiod_claim_free(VfiodClaim *claim) {
    if (!claim)
        return NULL;
    for (size_t i = 0; i < claim->n_fds; i++) {
        safe_close(claim->fds[i].fd);
        free(claim->fds[i].name);
    }
    free_strings(claim->spellings, claim->n_spellings);
    free_strings(claim->devices, claim->n_devices);
    free(claim->id);
    free(claim->backend);
    free(claim->rule);
    free(claim);
    return NULL;
}
DEFINE_TRIVIAL_CLEANUP_FUNC(VfiodClaim *, vfiod_claim_free);

int vfiod_open_bus(sd_bus **ret, VfiodErrorText *ret_error) {
    _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
    int r;

    r = sd_bus_open_system(&bus);
    if (r < 0)
        return error_text_set(ret_error, EHOSTUNREACH, ERROR_NAME_UNREACHABLE,
                "Cannot connect to the system bus: %s", strerrordesc_np(-r));
    *ret = TAKE_PTR(bus);
    return 0;
}

static int append_option(sd_bus_message *m, const char *name, const char *value) {
    return value ? sd_bus_message_append(m, "{sv}", name, "s", value) : 0;
}

static int append_options(sd_bus_message *m, const VfiodRequest *request) {
    int r;

    r = append_option(m, "backend", request->backend);
    if (r >= 0)
        r = append_option(m, "reason", request->reason);
    if (r >= 0)
        r = append_option(m, "grant", request->grant);
    if (r >= 0)
        r = append_option(m, "tether", request->tether);
    if (r >= 0)
        r = append_option(m, "cookie", request->cookie);
    if (r >= 0 && request->memlock > 0)
        r = sd_bus_message_append(m, "{sv}", "memlock", "t", request->memlock);
    if (r >= 0 && request->untainted)
        r = sd_bus_message_append(m, "{sv}", "untainted", "b", 1);
    return r;
}

static int append_request(sd_bus_message *m, const VfiodRequest *request) {
    int r;

    r = sd_bus_message_set_allow_interactive_authorization(m, request->interactive != 0);
    if (r >= 0)
        r = sd_bus_message_open_container(m, 'a', "s");
    for (size_t i = 0; r >= 0 && i < request->n_devices; i++)
        r = sd_bus_message_append_basic(m, 's', request->devices[i]);
    if (r >= 0)
        r = sd_bus_message_close_container(m);
    if (r >= 0)
        r = sd_bus_message_open_container(m, 'a', "{sv}");
    if (r >= 0)
        r = append_options(m, request);
    if (r >= 0)
        r = sd_bus_message_close_container(m);
    return r;
}

/* A string that is no UTF-8 cannot travel on the bus; say so in words, not by EINVAL from deep below. */
static int check_request(const VfiodRequest *request, VfiodErrorText *ret_error) {
    if (request->n_devices == 0)
        return error_text_set(ret_error, EINVAL, "InvalidArgument", "No device was named.");
    for (size_t i = 0; i < request->n_devices; i++)
        if (!utf8_is_valid(request->devices[i]))
            return error_text_set(
                    ret_error, EINVAL, "InvalidName", "%s: the name is not UTF-8.", request->devices[i]);
    const char *const texts[] = {
            request->backend, request->reason, request->grant, request->tether, request->cookie};

    for (size_t i = 0; i < ELEMENTSOF(texts); i++)
        if (texts[i] && !utf8_is_valid(texts[i]))
            return error_text_set(ret_error, EINVAL, "InvalidArgument", "An option is not UTF-8.");
    return 0;
}

int vfiod_call_with_request(sd_bus *bus, const char *member, const VfiodRequest *request,
        sd_bus_message **ret_reply, VfiodErrorText *ret_error) {
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
    _cleanup_(sd_bus_error_free) sd_bus_error bus_error = SD_BUS_ERROR_NULL;
    int r;

    r = check_request(request, ret_error);
    if (r < 0)
        return r;
    r = sd_bus_message_new_method_call(
            bus, &m, VFIOD_BUS_NAME, VFIOD_OBJECT_PATH, VFIOD_MANAGER_INTERFACE, member);
    if (r >= 0)
        r = append_request(m, request);
    if (r < 0)
        return error_text_errno(ret_error, r, "Cannot write the request");
    r = sd_bus_call(bus, m, VFIOD_CALL_TIMEOUT_USEC + (request->interactive ? VFIOD_ASK_TIMEOUT_USEC : 0),
            &bus_error, ret_reply);
    if (r < 0)
        return error_text_from_bus(ret_error, &bus_error, r);
    return 0;
}

static int take_string(char **p, sd_bus_message *m) {
    const char *s;
    int r;

    r = sd_bus_message_read(m, "v", "s", &s);
    return r < 0 ? r : free_and_strdup(p, s);
}

static int append_string(char ***l, size_t *n, const char *s) {
    char **bigger, *copy;

    bigger = reallocarray(*l, *n + 1, sizeof(char *));
    if (!bigger)
        return -ENOMEM;
    *l = bigger;
    copy = strdup(s);
    if (!copy)
        return -ENOMEM;
    bigger[(*n)++] = copy;
    return 0;
}

static int read_devices(VfiodClaim *claim, sd_bus_message *m) {
    const char *s;
    int r;

    r = sd_bus_message_enter_container(m, 'v', "as");
    if (r >= 0)
        r = sd_bus_message_enter_container(m, 'a', "s");
    while (r >= 0) {
        r = sd_bus_message_read_basic(m, 's', &s);
        if (r <= 0)
            break;
        r = append_string(&claim->devices, &claim->n_devices, s);
    }
    if (r >= 0)
        r = sd_bus_message_exit_container(m);
    if (r >= 0)
        r = sd_bus_message_exit_container(m);
    return r;
}

/* Keys that this version does not know are skipped: the result may grow. */
static int read_result(VfiodClaim *claim, sd_bus_message *m) {
    const char *key;
    int r;

    r = sd_bus_message_enter_container(m, 'a', "{sv}");
    if (r < 0)
        return r;
    while ((r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
        r = sd_bus_message_read_basic(m, 's', &key);
        if (r < 0)
            return r;
        if (streq(key, "backend"))
            r = take_string(&claim->backend, m);
        else if (streq(key, "rule"))
            r = take_string(&claim->rule, m);
        else if (streq(key, "devices"))
            r = read_devices(claim, m);
        else
            r = sd_bus_message_skip(m, "v");
        if (r >= 0)
            r = sd_bus_message_exit_container(m);
        if (r < 0)
            return r;
    }
    return r < 0 ? r : sd_bus_message_exit_container(m);
}

static int add_fd(VfiodClaim *claim, const char *name, int fd) {
    _cleanup_free_ char *copy = strdup(name);
    int duplicate;

    if (!copy)
        return -ENOMEM;
    if (claim->n_fds >= NAMED_FDS_MAX)
        return -E2BIG;
    duplicate = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    if (duplicate < 0)
        return -errno;
    claim->fds[claim->n_fds++] = (NamedFd){.name = TAKE_PTR(copy), .fd = duplicate};
    return 0;
}

static int read_fds(VfiodClaim *claim, sd_bus_message *m) {
    const char *name;
    int r, fd;

    r = sd_bus_message_enter_container(m, 'a', "(sh)");
    if (r < 0)
        return r;
    while ((r = sd_bus_message_read(m, "(sh)", &name, &fd)) > 0) {
        r = add_fd(claim, name, fd);
        if (r < 0)
            return r;
    }
    return r < 0 ? r : sd_bus_message_exit_container(m);
}

static size_t fd_rank(const VfiodClaim *claim, const char *name) {
    const char *device = startswith(name, "device:");

    if (streq(name, "iommufd") || streq(name, "container"))
        return 0;
    if (streq(name, "lifeline"))
        return SIZE_MAX;
    for (size_t i = 0; device && i < claim->n_devices; i++)
        if (streq(claim->devices[i], device))
            return 1 + i;
    return SIZE_MAX - 1;
}

/* A stable sort into the documented order, whatever order the message had: devices as they were asked for. */
static void sort_fds(VfiodClaim *claim) {
    for (size_t i = 1; i < claim->n_fds; i++)
        for (size_t j = i;
                j > 0 && fd_rank(claim, claim->fds[j - 1].name) > fd_rank(claim, claim->fds[j].name); j--) {
            NamedFd swap = claim->fds[j];

            claim->fds[j] = claim->fds[j - 1];
            claim->fds[j - 1] = swap;
        }
}

static int read_claim(VfiodClaim *claim, sd_bus_message *m) {
    _cleanup_free_ char *id = NULL;
    const char *path;
    int r;

    r = sd_bus_message_read_basic(m, 'o', &path);
    if (r < 0)
        return r;
    r = sd_bus_path_decode(path, VFIOD_OBJECT_PATH "/claim", &id);
    if (r < 0)
        return r;
    if (r == 0)
        return -EBADMSG;
    claim->id = TAKE_PTR(id);
    r = read_result(claim, m);
    if (r < 0)
        return r;
    r = read_fds(claim, m);
    if (r < 0)
        return r;
    sort_fds(claim);
    /* Without a lifeline the claim is over already. */
    return claim->backend && vfiod_claim_fd(claim, "lifeline") >= 0 ? 0 : -EBADMSG;
}

int vfiod_acquire_request(const VfiodRequest *request, VfiodClaim **ret_claim, VfiodErrorText *ret_error) {
    _cleanup_(vfiod_claim_freep) VfiodClaim *claim = calloc(1, sizeof(VfiodClaim));
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
    int r;

    if (!claim)
        return error_text_errno(ret_error, ENOMEM, "Cannot claim");
    /* A later version gives them a meaning, which this one would not honour. */
    for (size_t i = 0; i < ELEMENTSOF(request->reserved); i++)
        if (request->reserved[i])
            return error_text_errno(ret_error, EINVAL, "Cannot claim: a reserved member is not zero");
    for (size_t i = 0; i < request->n_devices; i++) {
        r = append_string(&claim->spellings, &claim->n_spellings, request->devices[i]);
        if (r < 0)
            return error_text_errno(ret_error, r, "Cannot claim");
    }
    r = vfiod_open_bus(&bus, ret_error);
    if (r < 0)
        return r;
    r = vfiod_call_with_request(bus, "Acquire", request, &reply, ret_error);
    if (r < 0)
        return r;
    r = read_claim(claim, reply);
    if (r < 0)
        return error_text_errno(ret_error, r, "Cannot read vfiod's answer");
    *ret_claim = TAKE_PTR(claim);
    return 0;
}

int vfiod_acquire(const char *const *devices, size_t n_devices, const char *backend, const char *reason,
        VfiodClaim **ret_claim, VfiodErrorText *ret_error) {
    const VfiodRequest request = {
            .devices = devices, .n_devices = n_devices, .backend = backend, .reason = reason};

    return vfiod_acquire_request(&request, ret_claim, ret_error);
}

const char *vfiod_claim_id(const VfiodClaim *claim) {
    return claim->id;
}

const char *vfiod_claim_backend(const VfiodClaim *claim) {
    return claim->backend;
}

const char *vfiod_claim_rule(const VfiodClaim *claim) {
    return claim->rule ? claim->rule : "";
}

const char *vfiod_claim_device(const VfiodClaim *claim, size_t index) {
    return index < claim->n_devices ? claim->devices[index] : NULL;
}

static ssize_t find_fd(const VfiodClaim *claim, const char *name) {
    for (size_t i = 0; i < claim->n_fds; i++)
        if (claim->fds[i].fd >= 0 && streq(claim->fds[i].name, name))
            return (ssize_t) i;
    return -ENOENT;
}

int vfiod_claim_fd(const VfiodClaim *claim, const char *name) {
    ssize_t i = find_fd(claim, name);

    return i < 0 ? (int) i : claim->fds[i].fd;
}

/* The full name behind what the caller calls a device. */
static const char *full_name(const VfiodClaim *claim, const char *device) {
    if (!device)
        return vfiod_claim_device(claim, 0);
    if (claim->n_spellings == claim->n_devices)
        for (size_t i = 0; i < claim->n_spellings; i++)
            if (streq(claim->spellings[i], device))
                return claim->devices[i];
    return device;
}

int vfiod_claim_device_fd(const VfiodClaim *claim, const char *device) {
    const char *name = full_name(claim, device);
    char fd_name[64];

    if (!name || strlen(name) >= sizeof(fd_name) - strlen("device:"))
        return -ENOENT;
    snprintf(fd_name, sizeof(fd_name), "device:%s", name);
    return vfiod_claim_fd(claim, fd_name);
}

int vfiod_claim_nth_fd(const VfiodClaim *claim, size_t index, const char **ret_name) {
    for (size_t i = 0; i < claim->n_fds; i++) {
        if (claim->fds[i].fd < 0 || index-- > 0)
            continue;
        if (ret_name)
            *ret_name = claim->fds[i].name;
        return claim->fds[i].fd;
    }
    return -ENOENT;
}

int vfiod_claim_take_fd(VfiodClaim *claim, const char *name) {
    ssize_t i = find_fd(claim, name);

    return i < 0 ? (int) i : TAKE_FD(claim->fds[i].fd);
}

int vfiod_release(const char *claim_id, VfiodErrorText *ret_error) {
    _cleanup_(sd_bus_error_free) sd_bus_error bus_error = SD_BUS_ERROR_NULL;
    _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
    int r;

    if (!utf8_is_valid(claim_id))
        return error_text_set(ret_error, EINVAL, "InvalidArgument", "The claim's id is not UTF-8.");
    r = vfiod_open_bus(&bus, ret_error);
    if (r < 0)
        return r;
    r = sd_bus_call_method(bus, VFIOD_BUS_NAME, VFIOD_OBJECT_PATH, VFIOD_MANAGER_INTERFACE, "Release",
            &bus_error, NULL, "sa{sv}", claim_id, 0);
    return r < 0 ? error_text_from_bus(ret_error, &bus_error, r) : 0;
}
