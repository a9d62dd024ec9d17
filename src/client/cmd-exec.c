/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Claims devices and becomes COMMAND, which finds the fds from 3 on, as sd_listen_fds(3) defines it, and
 * their numbers where its arguments had templates. vfioctl itself is gone then: COMMAND is the claim's owner
 * in every way, and the lifeline, left open across exec, ends with it.
 *
 * Everything about the command line is checked before anything is claimed. */

#include <fcntl.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "client/ask.h"
#include "client/bus-call.h"
#include "client/libvfiod-internal.h"
#include "client/show.h"
#include "client/template.h"

DEFINE_TRIVIAL_CLEANUP_FUNC(VfiodClaim *, vfiod_claim_free);

#define FIRST_FD 3

typedef struct DeviceList {
    TemplateDevice *items; /* owned, names too */
    size_t n_items;
} DeviceList;

static void device_list_done(DeviceList *l) {
    for (size_t i = 0; i < l->n_items; i++)
        free((char *) l->items[i].name);
    free(l->items);
}

static bool has_templates(const Options *o) {
    for (size_t i = 0; i < o->n_arguments; i++)
        if (strchr(o->arguments[i], '{'))
            return true;
    return false;
}

static int find_devices(const Options *o, DeviceList *ret, VfiodErrorText *error) {
    _cleanup_bus_ sd_bus *bus = NULL;
    int r;

    ret->items = calloc(o->n_devices, sizeof(TemplateDevice));
    if (!ret->items)
        return error_text_errno(error, ENOMEM, "Cannot claim");
    r = vfiod_open_bus(&bus, error);
    if (r < 0)
        return r;
    for (size_t i = 0; i < o->n_devices; i++) {
        _cleanup_object_ Object device = OBJECT_NULL;
        struct json_object *group;

        r = call_find_object(bus, o->devices[i], &device, error);
        if (r < 0)
            return r;
        if (device.kind != OBJECT_DEVICE)
            return error_text_set(error, EINVAL, "InvalidName", "%s: not a device.", o->devices[i]);
        ret->items[ret->n_items++] = (TemplateDevice){
                .name = TAKE_PTR(device.name),
                .spelling = o->devices[i],
                .group = json_object_object_get_ex(device.properties, "group", &group) && group
                        ? json_object_get_int64(group)
                        : -1,
        };
    }
    return 0;
}

/* What the templates ask for, noted instead of expanded. */
typedef struct Wishes {
    bool iommufd, device, group;
} Wishes;

static int note_wish(void *userdata, const char *fd_name) {
    Wishes *wishes = userdata;

    if (streq(fd_name, "iommufd"))
        wishes->iommufd = true;
    else if (startswith(fd_name, "device:"))
        wishes->device = true;
    else
        wishes->group = true;
    return 0;
}

/* The number that a file descriptor of the claim will have in COMMAND. */
static int number_of(void *userdata, const char *fd_name) {
    const VfiodClaim *claim = userdata;
    const char *name;

    for (size_t i = 0; vfiod_claim_nth_fd(claim, i, &name) >= 0; i++)
        if (streq(name, fd_name))
            return FIRST_FD + (int) i;
    return -ENOENT;
}

static void free_command(char ***command) {
    for (char **p = *command; p && *p; p++)
        free(*p);
    free(*command);
}

static int expand_command(const Options *o, const DeviceList *devices, template_number_t number,
        void *userdata, char ***ret, VfiodErrorText *error) {
    _cleanup_(free_command) char **command = calloc(o->n_arguments + 1, sizeof(char *));

    if (!command)
        return error_text_errno(error, ENOMEM, "Cannot run the command");
    for (size_t i = 0; i < o->n_arguments; i++) {
        _cleanup_free_ char *problem = NULL;
        int r = template_expand(
                o->arguments[i], devices->items, devices->n_items, number, userdata, command + i, &problem);

        if (r == -EINVAL)
            return error_text_set(error, EINVAL, ERROR_NAME_USAGE, "%s", problem);
        if (r < 0)
            return error_text_errno(error, r, "Cannot run the command");
    }
    *ret = TAKE_PTR(command);
    return 0;
}

/* Templates say which backend the command line is made for. Asking for just that one makes the claim fail
 * with a reason where it would otherwise succeed and be of no use. {device} is in noiommu too, which must be
 * asked for by name. */
static int choose_backend(const Options *o, const Wishes *wishes, const char **ret, VfiodErrorText *error) {
    bool noiommu = o->backend && streq(o->backend, "noiommu");
    const char *wanted = wishes->iommufd || (wishes->device && !noiommu) ? "iommufd"
            : wishes->group                                              ? "group"
                                                                         : NULL;

    if ((wishes->iommufd || wishes->device) && wishes->group)
        return error_text_set(error, EINVAL, ERROR_NAME_USAGE,
                "{iommufd} and {device} require the backend iommufd, {container} and {group} the backend "
                "group.");
    if (wanted && o->backend && !streq(wanted, o->backend))
        return error_text_set(error, EINVAL, ERROR_NAME_USAGE,
                "The command's templates require --backend=%s, not --backend=%s.", wanted, o->backend);
    *ret = o->backend ? o->backend : wanted;
    return 0;
}

static size_t count_fds(const VfiodClaim *claim) {
    size_t n = 0;

    while (vfiod_claim_nth_fd(claim, n, NULL) >= 0)
        n++;
    return n;
}

/* Two passes: a target number may be what another one has now. The copies wait above all targets; they and
 * what is left of the originals close on exec. */
static int place_fds(const VfiodClaim *claim) {
    size_t n = count_fds(claim);
    _cleanup_free_ int *copies = calloc(n, sizeof(int));

    if (!copies)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++) {
        copies[i] = fcntl(vfiod_claim_nth_fd(claim, i, NULL), F_DUPFD_CLOEXEC, FIRST_FD + (int) n);
        if (copies[i] < 0)
            return -errno;
    }
    for (size_t i = 0; i < n; i++)
        if (dup2(copies[i], FIRST_FD + (int) i) < 0)
            return -errno;
    return 0;
}

/* sd_listen_fds_with_names(3) separates names by ':', so none may be in one. */
static char *fd_names(const VfiodClaim *claim) {
    _cleanup_strbuf_ StrBuf b = {};
    const char *name;

    for (size_t i = 0; vfiod_claim_nth_fd(claim, i, &name) >= 0; i++) {
        strbuf_add(&b, i > 0 ? ":" : "");
        for (const char *p = name; *p; p++)
            strbuf_addf(&b, "%c", *p == ':' ? '_' : *p);
    }
    return strbuf_steal(&b);
}

static char *device_names(const VfiodClaim *claim) {
    _cleanup_strbuf_ StrBuf b = {};
    const char *name;

    for (size_t i = 0; (name = vfiod_claim_device(claim, i)); i++)
        strbuf_addf(&b, "%s%s", i > 0 ? "," : "", name);
    return strbuf_steal(&b);
}

static int set_environment(const VfiodClaim *claim) {
    _cleanup_free_ char *names = fd_names(claim), *devices = device_names(claim), *pid = NULL, *n_fds = NULL;

    pid = format_string("%i", getpid());
    n_fds = format_string("%zu", count_fds(claim));
    if (!names || !devices || !pid || !n_fds)
        return -ENOMEM;
    /* Newer systemd adds a second identity of the receiver, which would be another's. */
    unsetenv("LISTEN_PIDFDID");
    if (setenv("LISTEN_PID", pid, 1) < 0 || setenv("LISTEN_FDS", n_fds, 1) < 0 ||
            setenv("LISTEN_FDNAMES", names, 1) < 0 || setenv("VFIOD_CLAIM", vfiod_claim_id(claim), 1) < 0 ||
            setenv("VFIOD_BACKEND", vfiod_claim_backend(claim), 1) < 0 ||
            setenv("VFIOD_DEVICES", devices, 1) < 0)
        return -errno;
    return 0;
}

/* Returns only when the command cannot be run; the claim then ends with this process. */
static int become_command(const VfiodClaim *claim, char **command, VfiodErrorText *error) {
    int r;

    r = set_environment(claim);
    if (r >= 0)
        r = place_fds(claim);
    if (r < 0)
        return error_text_errno(error, r, "Cannot run the command");
    execvp(command[0], command);
    r = -errno;
    return error_text_set(error, -r, r == -ENOENT ? ERROR_NAME_NOT_FOUND : ERROR_NAME_NOT_EXECUTABLE,
            "%s: cannot run the command: %s", command[0], strerrordesc_np(-r));
}

/* The daemon notes the name of who asks, and a list full of "vfioctl" would tell nobody anything. It is for
 * display only, and this process becomes the command. */
static void take_name_of(const char *command) {
    const char *slash = strrchr(command, '/');

    (void) prctl(PR_SET_NAME, slash ? slash + 1 : command);
}

int verb_exec(const Options *o, VfiodErrorText *error) {
    _cleanup_(vfiod_claim_freep) VfiodClaim *claim = NULL;
    _cleanup_(device_list_done) DeviceList devices = {};
    _cleanup_(free_command) char **checked = NULL, **command = NULL;
    const char *backend = NULL;
    VfiodRequest request;
    Wishes wishes = {};
    int r;

    if (o->n_devices == 0)
        return error_text_set(error, EINVAL, ERROR_NAME_USAGE, "exec requires --device.");
    if (has_templates(o)) {
        r = find_devices(o, &devices, error);
        if (r < 0)
            return r;
    }
    r = expand_command(o, &devices, note_wish, &wishes, &checked, error);
    if (r < 0)
        return r;
    r = choose_backend(o, &wishes, &backend, error);
    if (r < 0)
        return r;
    take_name_of(o->arguments[0]);
    request = options_request(o, o->devices, o->n_devices);
    request.backend = backend;
    r = ask_and_acquire(o, &request, &claim, error);
    if (r < 0)
        return r;
    r = expand_command(o, &devices, number_of, claim, &command, error);
    if (r < 0)
        return r;
    return become_command(claim, command, error);
}
