/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* QEMU gets copies of the iommufd and of the devices through its monitor, and this process closes its own,
 * except for the lifeline. So the claim ends with this process, but devices are not restored before QEMU has
 * closed them.
 *
 * If the virtual machine has an iommufd already, the new device uses it too: its memory is then pinned once,
 * and not again for each iommufd. */

#include "client/hotplug.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/json-build.h"
#include "base/str.h"
#include "client/ask.h"
#include "client/qmp.h"
#include "client/show.h"
#include "client/vmm-request.h"
#include "client/wait.h"

DEFINE_TRIVIAL_CLEANUP_FUNC(VfiodConnection *, vfiod_connection_free);

#define DEVICES_MAX 14U
#define IOMMUFD_ID "vfiod"
#define BUS_OPTION ",bus="

typedef struct Plug {
    const Options *o;
    char *socket;             /* owned; the argument of --hotplug without buses */
    char *buses[DEVICES_MAX]; /* these point into socket; NULL: QEMU chooses */
    Qmp *qmp;
    VfiodClaim *claim;
    char *iommufd; /* owned; the id of QEMU's iommufd object; NULL: groups are used */
    bool made_iommufd;
    char *ids[DEVICES_MAX]; /* owned; NULL: not added yet, or removed */
    size_t n_ids;
    bool ended;  /* the claim has ended from outside */
    char *state; /* owned; the claim's state then */
} Plug;

static void plug_done(Plug *p) {
    for (size_t i = 0; i < p->n_ids; i++)
        free(p->ids[i]);
    free(p->iommufd);
    free(p->state);
    (void) vfiod_claim_free(p->claim);
    (void) qmp_close(p->qmp);
    free(p->socket);
}

/* SOCKET[,bus=BUS…], with a bus for each device. */
static int parse_argument(Plug *p, VfiodErrorText *error) {
    char *next;

    p->socket = strdup(p->o->hotplug);
    if (!p->socket)
        return error_text_errno(error, ENOMEM, "Cannot connect to QEMU");
    next = strstr(p->socket, BUS_OPTION);
    for (size_t i = 0; next; i++) {
        if (i >= MIN(p->o->n_devices, (size_t) DEVICES_MAX))
            return error_text_set(
                    error, EINVAL, ERROR_NAME_USAGE, "--hotplug=%s: more buses than devices.", p->o->hotplug);
        *next = '\0';
        p->buses[i] = next + strlen(BUS_OPTION);
        next = strstr(p->buses[i], BUS_OPTION);
    }
    return 0;
}

static size_t n_plugged(const Plug *p) {
    size_t n = 0;

    for (size_t i = 0; i < p->n_ids; i++)
        n += p->ids[i] != NULL;
    return n;
}

static void on_qmp_event(void *userdata, const char *event, struct json_object *data) {
    const char *device = json_text(data, "device");
    Plug *p = userdata;

    for (size_t i = 0; i < p->n_ids; i++) {
        if (!p->ids[i] || !streq(p->ids[i], device))
            continue;
        if (streq(event, "DEVICE_UNPLUG_GUEST_ERROR"))
            fprintf(stderr, "vfioctl: %s: the guest does not give the device back.\n", device);
        if (!streq(event, "DEVICE_DELETED"))
            continue;
        free(TAKE_PTR(p->ids[i]));
    }
}

/* ---- adding ---- */

static struct json_object *arguments(const char *key, const char *value) {
    struct json_object *o = json_object_new_object();

    if (o && json_add(o, key, json_object_new_string(value)) >= 0)
        return o;
    json_object_put(o);
    return NULL;
}

/* Sends QEMU a copy of the claim's fd, under this name. */
static int give_fd(Plug *p, const char *fd_name, const char *name, VfiodErrorText *error) {
    return qmp_execute(
            p->qmp, "getfd", arguments("fdname", name), vfiod_claim_fd(p->claim, fd_name), NULL, error);
}

static void take_fd_back(Plug *p, const char *name) {
    (void) qmp_execute(p->qmp, "closefd", arguments("fdname", name), -EBADF, NULL, NULL);
}

static int find_iommufd(Plug *p, VfiodErrorText *error) {
    _cleanup_json_ struct json_object *list = NULL;
    int r;

    r = qmp_execute(p->qmp, "qom-list", arguments("path", "/objects"), -EBADF, &list, error);
    if (r < 0)
        return r;
    for (size_t i = 0; json_object_is_type(list, json_type_array) && i < json_object_array_length(list);
            i++) {
        struct json_object *entry = json_object_array_get_idx(list, i);

        if (streq(json_text(entry, "type"), "child<iommufd>"))
            return free_and_strdup(&p->iommufd, json_text(entry, "name"));
    }
    return 0;
}

static int make_iommufd(Plug *p, VfiodErrorText *error) {
    struct json_object *object = arguments("qom-type", "iommufd");
    int r;

    if (!object || json_add(object, "id", json_object_new_string(IOMMUFD_ID)) < 0 ||
            json_add(object, "fd", json_object_new_string(IOMMUFD_ID "-iommufd")) < 0) {
        json_object_put(object);
        return error_text_errno(error, ENOMEM, "Cannot add the device");
    }
    r = give_fd(p, "iommufd", IOMMUFD_ID "-iommufd", error);
    if (r < 0) {
        json_object_put(object);
        return r;
    }
    r = qmp_execute(p->qmp, "object-add", object, -EBADF, NULL, error);
    if (r < 0) {
        take_fd_back(p, IOMMUFD_ID "-iommufd");
        return r;
    }
    p->made_iommufd = true;
    return free_and_strdup(&p->iommufd, IOMMUFD_ID);
}

static struct json_object *device_arguments(const Plug *p, size_t i, const char *id, const char *fd_name) {
    const char *device = vfiod_claim_device(p->claim, i), *address = vmm_pci_address(device);
    const char *token = vfiod_claim_vf_token(p->claim, device);
    struct json_object *o = arguments("driver", "vfio-pci");
    int r = o ? json_add(o, "id", json_object_new_string(id)) : -ENOMEM;

    if (r >= 0 && p->buses[i])
        r = json_add(o, "bus", json_object_new_string(p->buses[i]));
    if (r >= 0 && p->iommufd)
        r = json_add(o, "iommufd", json_object_new_string(p->iommufd));
    if (r >= 0)
        r = p->iommufd ? json_add(o, "fd", json_object_new_string(fd_name))
                       : json_add(o, "host", json_object_new_string(address));
    if (r >= 0 && token)
        r = json_add(o, "vf-token", json_object_new_string(token));
    if (r >= 0)
        return o;
    json_object_put(o);
    return NULL;
}

/* The id belongs to this device only after QEMU's answer. Before, it is that of an earlier device that may be
 * leaving. */
static int add_device(Plug *p, size_t i, VfiodErrorText *error) {
    const char *device = vfiod_claim_device(p->claim, i);
    _cleanup_free_ char *fd_name = format_string("device:%s", device), *id = NULL, *name = NULL;
    int r = 0;

    if (!vmm_pci_address(device))
        return error_text_set(error, EINVAL, ERROR_NAME_USAGE, "%s: only PCI devices can be added.", device);
    id = vmm_device_id(device);
    name = id ? format_string(IOMMUFD_ID "-%s", id) : NULL;
    if (!fd_name || !name)
        return error_text_errno(error, ENOMEM, "Cannot add the device");
    if (p->iommufd)
        r = give_fd(p, fd_name, name, error);
    if (r >= 0)
        r = qmp_execute(p->qmp, "device_add", device_arguments(p, i, id, name), -EBADF, NULL, error);
    if (r >= 0)
        p->ids[i] = TAKE_PTR(id);
    else if (p->iommufd)
        take_fd_back(p, name);
    return r;
}

static void ask_for_devices(Plug *p) {
    for (size_t i = 0; i < p->n_ids; i++)
        if (p->ids[i])
            (void) qmp_execute(p->qmp, "device_del", arguments("id", p->ids[i]), -EBADF, NULL, NULL);
}

static void remove_iommufd(Plug *p) {
    if (p->made_iommufd)
        (void) qmp_execute(p->qmp, "object-del", arguments("id", p->iommufd), -EBADF, NULL, NULL);
}

/* All or none: when one fails, the others are removed again. */
static int add_all(Plug *p, bool fds, VfiodErrorText *error) {
    int r = 0;

    if (fds) {
        r = find_iommufd(p, error);
        if (r >= 0 && !p->iommufd)
            r = make_iommufd(p, error);
    }
    for (size_t i = 0; r >= 0 && i < DEVICES_MAX && vfiod_claim_device(p->claim, i); i++) {
        p->n_ids = i + 1;
        r = add_device(p, i, error);
    }
    if (r >= 0)
        return 0;
    ask_for_devices(p);
    remove_iommufd(p);
    return r;
}

/* All except the lifeline: QEMU has its own copies. */
static void close_fds(VfiodClaim *claim) {
    const char *name;

    for (size_t i = 0; vfiod_claim_nth_fd(claim, i, &name) >= 0;)
        if (streq(name, "lifeline"))
            i++;
        else
            (void) safe_close(vfiod_claim_take_fd(claim, name));
}

/* ---- until they are removed ---- */

static void on_claim_event(
        VfiodConnection *c, const VfiodEvent *event, const VfiodErrorText *error, void *userdata) {
    Plug *p = userdata;

    if (!event || (event->state && (streq(event->state, "held") || streq(event->state, "opening"))))
        return;
    p->ended = true;
    (void) free_and_strdup(&p->state, event->state ?: "gone");
}

static int block_signals(void) {
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
        return -errno;
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static int wait_for_any(const Plug *p, int signals, const VfiodConnection *c) {
    struct pollfd fds[] = {{.fd = qmp_fd(p->qmp), .events = POLLIN}, {.fd = signals, .events = POLLIN},
            {.fd = c ? vfiod_connection_get_fd(c) : -1, .events = c ? vfiod_connection_get_events(c) : 0}};

    return poll(fds, ELEMENTSOF(fds), -1) < 0 && errno != EINTR ? -errno : 0;
}

/* Without a connection, only the end of a claim from outside is not noticed. */
static int stay(Plug *p, int signals, VfiodErrorText *error) {
    _cleanup_(vfiod_connection_freep) VfiodConnection *c = NULL;
    bool asked = false;
    int r;

    if (vfiod_connection_new(&c, NULL) >= 0 &&
            vfiod_connection_watch(c, vfiod_claim_id(p->claim), on_claim_event, p, NULL) < 0)
        c = vfiod_connection_free(c);
    for (;;) {
        struct signalfd_siginfo info;

        /* Before poll(2), because events may have been read together with the answer to a command. */
        if (qmp_process(p->qmp) < 0)
            return 0; /* QEMU has ended, or closed its monitor */
        if (c && vfiod_connection_dispatch(c) < 0)
            c = vfiod_connection_free(c);
        if (n_plugged(p) == 0)
            break;
        if (read(signals, &info, sizeof(info)) == sizeof(info)) {
            if (asked)
                return 0;
            asked = true;
            fputs("vfioctl: Asking the guest to release the device. Interrupt again to stop waiting.\n",
                    stderr);
            ask_for_devices(p);
        } else if (p->ended && !asked) {
            asked = true;
            ask_for_devices(p);
        } else {
            r = wait_for_any(p, signals, c);
            if (r < 0)
                return error_text_errno(error, r, "Cannot wait for QEMU");
        }
    }
    remove_iommufd(p);
    return 0;
}

static int show(const Plug *p) {
    for (size_t i = 0; i < p->n_ids; i++) {
        if (!p->ids[i])
            continue; /* removed already */
        printf("%s: %s is in the virtual machine as %s\n", vfiod_claim_id(p->claim),
                vfiod_claim_device(p->claim, i), p->ids[i]);
    }
    return fflush(stdout) == 0 ? 0 : -errno;
}

static int claim_for(Plug *p, const VmmAbilities *abilities, VfiodRequest *request, VfiodErrorText *error) {
    Waiter waiter = waiter_new(p->o);
    int r;

    do {
        *request = options_request(p->o, p->o->devices, p->o->n_devices);
        r = vmm_choose(VMM_QEMU, abilities, request, error);
        waiter_prepare(&waiter, request);
        if (r >= 0)
            r = ask_and_acquire(p->o, request, &p->claim, error);
    } while (r < 0 && waiter_try_again(&waiter, request, error));
    return r;
}

static int check_options(const Options *o, VfiodErrorText *error) {
    if (o->n_arguments > 0)
        return error_text_set(error, EINVAL, ERROR_NAME_USAGE,
                "--hotplug: %s: no command is run, the running QEMU gets the device.", o->arguments[0]);
    if (o->memlock > 0)
        return error_text_set(error, EINVAL, ERROR_NAME_USAGE,
                "--memlock would raise the limit of vfioctl. Start QEMU with enough: 'vfioctl memlock-for'.");
    if (o->vmm == VMM_CLOUD_HYPERVISOR || o->print)
        return error_text_set(
                error, EINVAL, ERROR_NAME_USAGE, "--hotplug is for QEMU, and has nothing to print.");
    return 0;
}

int exec_hotplug(const Options *o, VfiodErrorText *error) {
    _cleanup_(plug_done) Plug p = {.o = o};
    _cleanup_close_ int signals = -EBADF;
    VmmAbilities abilities;
    VfiodRequest request;
    int r;

    r = check_options(o, error);
    if (r >= 0)
        r = parse_argument(&p, error);
    if (r >= 0)
        r = qmp_open(p.socket, on_qmp_event, &p, &p.qmp, error);
    if (r < 0)
        return r;
    r = vmm_parse_abilities(VMM_QEMU, qmp_version(p.qmp), &abilities);
    if (r < 0)
        return error_text_errno(error, r, "Cannot read QEMU's version");
    r = claim_for(&p, &abilities, &request, error);
    if (r < 0)
        return r;
    signals = block_signals();
    if (signals < 0)
        return error_text_errno(error, signals, "Cannot wait for QEMU");
    r = add_all(&p, streq(request.grant, "fd"), error);
    close_fds(p.claim);
    if (r < 0)
        return r;
    r = show(&p);
    if (r >= 0)
        r = stay(&p, signals, error);
    if (r >= 0 && p.ended)
        return error_text_set(error, ECANCELED, ERROR_NAME_FAILED,
                "%s: the claim was released, or its device is gone (%s).", vfiod_claim_id(p.claim),
                p.state ?: "");
    return r;
}
