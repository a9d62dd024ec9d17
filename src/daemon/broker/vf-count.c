/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/broker/vf-count.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"
#include "core/family.h"
#include "daemon/broker/vf-declared.h"
#include "host/sysfs.h"

#define NOTE "virtual-functions"
#define NOTE_SIZE_MAX (1024U * 1024)
#define WORKER_PATIENCE_USEC (UINT64_C(86400) * 1000 * 1000000) /* forever; sd-event needs a number */

struct VfChange {
    Broker *broker;
    VfChange *next; /* broker.vf_changes */
    DeviceName name;
    uint32_t count;
    bool is_recovered; /* begun by the former daemon; its end is only awaited */
    WorkerTask *task;  /* borrowed */
    sd_event_source *patience;
    vf_done_t done; /* NULL: the caller is gone or was answered */
    void *userdata;
};

static VfChange *find_change(const Broker *e, const DeviceName *name) {
    for (VfChange *c = e->vf_changes; c; c = c->next)
        if (device_name_compare(&c->name, name) == 0)
            return c;
    return NULL;
}

static void set_reshaping(Broker *e, const DeviceName *name, bool value) {
    Device *d = inventory_find_device(e->inventory, name);

    if (d)
        d->reshaping = value;
}

static VfChange *change_free(VfChange *c) {
    if (!c)
        return NULL;
    for (VfChange **i = &c->broker->vf_changes; *i; i = &(*i)->next)
        if (*i == c) {
            *i = c->next;
            set_reshaping(c->broker, &c->name, false);
            break;
        }
    if (c->task)
        worker_task_abandon(c->task);
    sd_event_source_disable_unref(c->patience);
    free(c);
    return NULL;
}

void vf_changes_done(Broker *e) {
    while (e->vf_changes)
        (void) change_free(e->vf_changes);
}

void vf_changes_forget_caller(Broker *e, void *userdata) {
    for (VfChange *c = e->vf_changes; c; c = c->next)
        if (c->done && c->userdata == userdata)
            c->done = NULL;
}

void vf_changes_note_device(Broker *e, Device *d) {
    d->reshaping = find_change(e, &d->name);
}

/* ---- The note ---- */

/* A line for each: "pci:0000:0a:00.0 4". If the state directory outlives a boot, a change from before it is
 * reported too, which does no harm. */
static int write_note(const Broker *e) {
    _cleanup_close_ int directory = open(e->config.state_directory, O_DIRECTORY | O_CLOEXEC | O_RDONLY);
    _cleanup_strbuf_ StrBuf lines = {};
    _cleanup_free_ char *text = NULL;
    char name[DEVICE_NAME_MAX];

    if (directory < 0)
        return -errno;
    for (const VfChange *c = e->vf_changes; c; c = c->next)
        strbuf_addf(&lines, "%s %u\n", device_name_format(&c->name, name), (unsigned) c->count);
    if (!e->vf_changes)
        return unlinkat(directory, NOTE, 0) < 0 && errno != ENOENT ? -errno : 0;
    text = strbuf_steal(&lines);
    return text ? write_file_atomic_at(directory, NOTE, text, strlen(text), 0600) : -ENOMEM;
}

static void update_note(const Broker *e) {
    int r = write_note(e);

    if (r < 0)
        log_warning_errno(r, "Cannot update the note on changed virtual functions");
}

/* ---- The end of a change ---- */

typedef struct Names {
    DeviceName *names; /* owned */
    size_t n, size;
} Names;

static int add_name(const DeviceName *name, void *userdata) {
    Names *list = userdata;
    size_t size = list->size > 0 ? 2 * list->size : 16;
    DeviceName *grown;

    if (list->n == list->size) {
        grown = reallocarray(list->names, size, sizeof(*grown));
        if (!grown)
            return -ENOMEM;
        list->names = grown;
        list->size = size;
    }
    list->names[list->n++] = *name;
    return 0;
}

static int add_device(Device *d, void *userdata) {
    return device_is_virtual_function(d) ? add_name(&d->name, userdata) : 0;
}

/* The caller will use the functions at once, and udev may be slow. */
static void refresh_functions(VfChange *c) {
    Broker *e = c->broker;
    const Device *d = inventory_find_device(e->inventory, &c->name);
    Names list = {};
    int r = 0;

    if (d)
        r = inventory_foreach_descendant(e->inventory, d, add_device, &list);
    if (r >= 0)
        r = sysfs_foreach_function(&c->name, add_name, &list);
    for (size_t i = 0; i < list.n; i++)
        (void) e->refresh(e->refresh_userdata, &list.names[i]);
    if (r < 0 && r != -ENODEV)
        log_warning_errno(r, "Cannot look for the virtual functions, waiting for udev instead");
    free(list.names);
}

static int refuse_driver(const VfChange *c, Refusal *refusal) {
    const Device *d = inventory_find_device(c->broker->inventory, &c->name);
    bool vfio = d && d->vfio_index >= 0;
    int r;

    if (d && d->driver)
        r = refuse(refusal, VFIOD_ERROR_NO_VIRTUAL_FUNCTIONS, &c->name,
                "its driver %s cannot make virtual functions", d->driver);
    else
        r = refuse(refusal, VFIOD_ERROR_NO_VIRTUAL_FUNCTIONS, &c->name,
                "it has no driver, and only a driver can make virtual functions");
    refusal->remedy = strdup(vfio
                    ? "Bind it to its own driver, or set the parameter enable_sriov of the module vfio_pci."
                    : "Bind it to a driver that supports SR-IOV.");
    return r;
}

static int refuse_use(const VfChange *c, const SriovReport *report, Refusal *refusal) {
    _cleanup_free_ char *use = sanitize(report->use, SRIOV_TEXT_MAX);
    char name[DEVICE_NAME_MAX];
    int r;

    r = refuse(refusal, VFIOD_ERROR_HOST_CRITICAL, &c->name, "its virtual function %s is in use: %s",
            device_name_format(&report->function, name), use ?: "?");
    refusal->remedy =
            strdup("Stop that use first: all virtual functions are removed when their number changes.");
    refusal_add_device(refusal, &report->function, "in use, and would be removed");
    return r;
}

static int refuse_failed(const VfChange *c, const WorkerResult *result, Refusal *refusal) {
    static const char *const words[] = {
            [SRIOV_STEP_LOOK] = "read how many virtual functions it has",
            [SRIOV_STEP_USES] = "find out who uses its virtual functions",
            [SRIOV_STEP_AUTOPROBE] = "change sriov_drivers_autoprobe",
            [SRIOV_STEP_REMOVE] = "remove its virtual functions",
            [SRIOV_STEP_CREATE] = "make virtual functions",
            [SRIOV_STEP_VERIFY] = "make as many virtual functions",
    };
    const SriovReport *report = &result->sriov;

    return refuse(refusal, VFIOD_ERROR_VIRTUAL_FUNCTIONS_FAILED, &c->name,
            "cannot %s: %s; it had %u, and has %u now", words[report->step], strerror(-result->error),
            (unsigned) report->before, (unsigned) report->now);
}

static int refuse_result(const VfChange *c, const WorkerResult *result, Refusal *refusal) {
    const SriovReport *report = &result->sriov;

    if (result->error == -ENODEV || result->error == -ESTALE)
        return refuse(refusal, VFIOD_ERROR_DEVICE_GONE, &c->name, "it was unplugged meanwhile");
    if (report->step == SRIOV_STEP_LOOK && result->error == -EOPNOTSUPP)
        return refuse(refusal, VFIOD_ERROR_NO_VIRTUAL_FUNCTIONS, &c->name, "it has no SR-IOV");
    if (report->step == SRIOV_STEP_LOOK && result->error == -ERANGE)
        return refuse(refusal, VFIOD_ERROR_INVALID_ARGUMENT, &c->name,
                "it can have %u virtual functions at most, and %u were requested", (unsigned) report->total,
                (unsigned) c->count);
    if (report->step == SRIOV_STEP_LOOK && result->error == -EEXIST)
        return refuse(refusal, VFIOD_ERROR_VIRTUAL_FUNCTIONS_FAILED, &c->name, "it has %u already",
                (unsigned) report->before);
    if (report->step == SRIOV_STEP_USES && result->error == -EBUSY)
        return refuse_use(c, report, refusal);
    if (report->step == SRIOV_STEP_CREATE && result->error == -ENOENT)
        return refuse_driver(c, refusal);
    return refuse_failed(c, result, refusal);
}

static void report_recovered(const VfChange *c, const WorkerResult *result) {
    char name[DEVICE_NAME_MAX];

    device_name_format(&c->name, name);
    if (result->error < 0)
        log_warning_errno(result->error,
                "%s: vfiod was ended while it changed the number of virtual functions to %u, and how many "
                "there are is unknown",
                name, (unsigned) c->count);
    else if (result->sriov.now != c->count)
        log_warning("%s: vfiod was ended while it changed the number of virtual functions to %u. There are "
                    "%u now: 'vfioctl vf %s --count %u' makes the change",
                name, (unsigned) c->count, (unsigned) result->sriov.now, name, (unsigned) c->count);
    else
        log_info("%s: the %u virtual functions are there that vfiod was making when it was ended", name,
                (unsigned) c->count);
}

static void report_end(const VfChange *c, const WorkerResult *result, const Refusal *refusal) {
    _cleanup_free_ char *text = result->error < 0 ? refusal_format(refusal) : NULL;
    char name[DEVICE_NAME_MAX];

    device_name_format(&c->name, name);
    if (result->error < 0)
        log_warning("The number of virtual functions was not changed to %u (%s): %s", (unsigned) c->count,
                error_info(refusal->code)->name, text ?: "out of memory");
    else
        log_notice("%s has %u virtual function%s now (before: %u)", name, (unsigned) result->sriov.now,
                result->sriov.now == 1 ? "" : "s", (unsigned) result->sriov.before);
}

static void on_worker_done(void *userdata, const WorkerResult *result, int *fds) {
    _cleanup_(refusal_done) Refusal refusal = REFUSAL_NULL;
    VfChange *c = userdata;
    const vf_done_t done = c->done;
    Broker *e = c->broker;
    void *caller = c->userdata;
    const Device *again;

    refresh_functions(c);
    if (c->is_recovered)
        report_recovered(c, result);
    else {
        if (result->error < 0)
            (void) refuse_result(c, result, &refusal);
        report_end(c, result, &refusal);
    }
    again = c->is_recovered ? inventory_find_device(e->inventory, &c->name) : NULL;
    (void) change_free(c);
    update_note(e);
    if (again)
        vf_declared_try(e, again);
    if (done)
        done(caller, result->error < 0 ? &refusal : NULL);
}

/* The caller is told that it takes long. The change continues. */
static int on_patience(sd_event_source *s, uint64_t usec, void *userdata) {
    _cleanup_(refusal_done) Refusal refusal = REFUSAL_NULL;
    VfChange *c = userdata;
    char name[DEVICE_NAME_MAX];
    vf_done_t done = c->done;

    c->patience = sd_event_source_disable_unref(c->patience);
    log_warning("%s: the kernel takes long to change the number of virtual functions to %u. The device and "
                "its functions cannot be claimed meanwhile",
            device_name_format(&c->name, name), (unsigned) c->count);
    if (!done)
        return 0;
    (void) refuse(&refusal, VFIOD_ERROR_TIMED_OUT, &c->name,
            "the kernel is still changing the number of virtual functions");
    refusal.remedy =
            strdup("'vfioctl vf DEVICE' shows how many there are. The device and its functions cannot "
                   "be claimed until the kernel is done; its log (journalctl -k) may have the reason.");
    c->done = NULL;
    done(c->userdata, &refusal);
    return 0;
}

/* ---- The beginning ---- */

static int submit(VfChange *c, const Device *d, const VfWish *wish) {
    const WorkerCaller caller = {.done = on_worker_done, .userdata = c, .task = &c->task};
    const WorkerOrder order = {
            .operation = WORKER_SRIOV,
            .item = {.name = d->name,
                    .identity = device_identity(d),
                    .vendor = d->vendor,
                    .device = d->device},
            .sriov = {.read_only = c->is_recovered,
                    .only_create = wish->only_create,
                    .count = wish->count,
                    .autoprobe = wish->autoprobe},
    };
    Broker *e = c->broker;
    int r;

    r = sd_event_add_time_relative(
            e->event, &c->patience, CLOCK_MONOTONIC, e->config.worker_timeout_usec, 0, on_patience, c);
    return r < 0 ? r : worker_submit(e->workers, &order, WORKER_PATIENCE_USEC, &caller);
}

static VfChange *change_new(Broker *e, const DeviceName *name, uint32_t count) {
    VfChange *c = malloc(sizeof(*c));

    if (!c)
        return NULL;
    *c = (VfChange){.broker = e, .next = e->vf_changes, .name = *name, .count = count};
    e->vf_changes = c;
    set_reshaping(e, name, true);
    return c;
}

int vf_change_begin(Broker *e, const Device *d, const VfWish *wish, vf_done_t done, void *userdata) {
    VfChange *c = change_new(e, &d->name, wish->count);
    int r;

    if (!c)
        return -ENOMEM;
    c->done = done;
    c->userdata = userdata;
    r = write_note(e);
    if (r >= 0)
        r = submit(c, d, wish);
    if (r >= 0)
        return 0;
    (void) change_free(c);
    update_note(e);
    return r;
}

static int check(Broker *e, const VfWish *wish, const Subject *by, Refusal *refusal) {
    const Device *d = inventory_find_device(e->inventory, &wish->device);
    int r;

    if (!subject_is_operator(by)) {
        r = refuse(refusal, VFIOD_ERROR_ACCESS_DENIED, NULL,
                "only root can change the number of virtual functions");
        refusal->remedy = strdup("Do it as root. No rule can allow it.");
        return r;
    }
    if (!d)
        return refuse(refusal, VFIOD_ERROR_NO_SUCH_DEVICE, &wish->device, "there is no such device");
    if (e->config.simulated)
        return refuse(refusal, VFIOD_ERROR_SIMULATION, &wish->device, "this is a recorded host");
    return 0;
}

int broker_set_vf_count(
        Broker *e, const VfWish *wish, const Subject *by, vf_done_t done, void *userdata, Refusal *refusal) {
    const Device *d;
    int r;

    r = check(e, wish, by, refusal);
    if (r < 0)
        return r;
    d = inventory_find_device(e->inventory, &wish->device);
    /* Nothing changes, so nothing needs to be checked. */
    if (wish->count > 0 && wish->autoprobe == SRIOV_AUTOPROBE_KEEP && !d->reshaping &&
            family_count_functions(e->inventory, d) == wish->count)
        return 1;
    r = family_check_reshaping(e->inventory, d, refusal);
    if (r < 0)
        return r;
    vf_declared_settle(e, &d->name);
    audit_vf_count(by, &d->name, wish->count);
    r = vf_change_begin(e, d, wish, done, userdata);
    if (r < 0)
        return refuse(refusal, VFIOD_ERROR_INTERNAL, &d->name,
                "cannot begin to change the number of virtual functions: %s", strerror(-r));
    return 0;
}

/* ---- After a crash ---- */

static void recover_line(Broker *e, char *line) {
    char *number = strchr(line, ' ');
    DeviceName name;
    uint64_t count;
    VfChange *c;
    Device *d;

    if (number)
        *number++ = '\0';
    if (!number || device_name_parse(line, &name) < 0 || parse_unsigned(number, 10, UINT16_MAX, &count) < 0) {
        log_warning("The note on changed virtual functions has a line that cannot be read");
        return;
    }
    d = inventory_find_device(e->inventory, &name);
    if (!d || find_change(e, &name))
        return; /* unplugged: nothing is left to wait for */
    c = change_new(e, &name, (uint32_t) count);
    if (!c)
        return;
    c->is_recovered = true;
    if (submit(c, d, &(const VfWish){.count = c->count}) < 0)
        (void) change_free(c);
}

/* An unreadable note means that a change may be incomplete; no other information is lost. */
void vf_changes_recover(Broker *e) {
    _cleanup_close_ int directory = open(e->config.state_directory, O_DIRECTORY | O_CLOEXEC | O_RDONLY);
    _cleanup_free_ char *text = NULL;
    int r;

    r = directory < 0 ? -errno : read_file_at(directory, NOTE, NOTE_SIZE_MAX, &text, NULL);
    if (r == -ENOENT)
        return;
    if (r < 0) {
        log_warning_errno(r, "Cannot read the note on changed virtual functions");
        return;
    }
    for (char *line = text, *end; *line; line = end) {
        end = line + strcspn(line, "\n");
        if (*end)
            *end++ = '\0';
        recover_line(e, line);
    }
    update_note(e);
}
