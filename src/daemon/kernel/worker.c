/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/kernel/worker.h"

#include <fcntl.h>
#include <signal.h>
#include <limits.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/fd.h"
#include "core/device-kind.h"
#include "base/log.h"
#include "base/str.h"
#include "daemon/kernel/device-power.h"
#include "daemon/kernel/holders.h"
#include "daemon/kernel/mdev.h"
#include "daemon/kernel/process.h"
#include "daemon/kernel/spawner.h"
#include "daemon/kernel/vfio-caps.h"
#include "daemon/kernel/vfio.h"
#include "daemon/privileges.h"
#include "host/mdev-reader.h"
#include "host/sysfs.h"

#define WORKER_FD 3
#define TOKEN_LOOKS 10U
#define TOKEN_LOOK_USEC 100000U

static const char *const worker_operation_table[_WORKER_OPERATION_MAX] = {
        [WORKER_BIND] = "bind",
        [WORKER_RESTORE] = "restore",
        [WORKER_RESET] = "reset",
        [WORKER_OPEN_GROUPS] = "open-groups",
        [WORKER_OPEN_NOIOMMU] = "open-noiommu",
        [WORKER_OPEN_NODES] = "open-nodes",
        [WORKER_OPEN_COMPAT] = "open-compat",
        [WORKER_WAKE] = "wake",
        [WORKER_POWER_KEEP] = "keep-power",
        [WORKER_POWER_RESTORE] = "restore-power",
        [WORKER_CHECK_RESUMED] = "check-resumed",
        [WORKER_SURVEY] = "survey",
        [WORKER_RECYCLE] = "recycle",
        [WORKER_PROBE_GROUPS] = "probe-groups",
        [WORKER_PROBE_NODES] = "probe-nodes",
        [WORKER_FIND_HOLDERS] = "find-holders",
        [WORKER_STOP_HOLDERS] = "stop-holders",
        [WORKER_SRIOV] = "set-virtual-functions",
        [WORKER_MDEV_TYPES] = "read-mediated-types",
        [WORKER_VF_LOOK] = "read-network",
        [WORKER_VF_SET] = "set-network",
        [WORKER_VF_RESTORE] = "restore-network",
        [WORKER_VF_TOKEN] = "set-vf-token",
        [WORKER_LOOK_STUCK] = "look-at-stuck",
};
DEFINE_STRING_TABLE(worker_operation, WorkerOperation);

/* ---- the worker's side ---- */

static int read_caps(const Device *device, DeviceFacts *ret) {
    _cleanup_free_ DeviceCaps *caps = malloc(sizeof(*caps));
    DeviceSnapshot now;
    int r;

    if (!caps)
        return -ENOMEM;
    r = sysfs_read_device(&device->name, &now);
    if (r >= 0)
        r = vfio_look_at_caps(&now, caps);
    if (r < 0)
        return r;
    ret->caps = TAKE_PTR(caps);
    ret->known |= DEVICE_FACT_CAPS;
    return 0;
}

/* Only config space beyond 64 bytes needs CAP_SYS_ADMIN. */
static int read_facts(const Device *device, unsigned what, DeviceFacts *ret) {
    unsigned config = what & (DEVICE_FACT_ACS | DEVICE_FACT_SERIAL);
    DeviceFacts rest = DEVICE_FACTS_NULL;
    int r = 0;

    *ret = DEVICE_FACTS_NULL;
    if (config != 0) {
        privileges_raise(CAP_SYS_ADMIN);
        r = sysfs_read_facts(NULL, device, config, ret);
        privileges_lower();
    }
    if (r < 0 || what == config)
        return r;
    if (what & DEVICE_FACT_CAPS) /* alone, because it disturbs the others */
        return read_caps(device, ret);
    r = sysfs_read_facts(NULL, device, what & ~config, &rest);
    ret->known |= rest.known;
    ret->host_critical = TAKE_PTR(rest.host_critical);
    ret->descendants = TAKE_PTR(rest.descendants);
    memcpy(ret->variant, rest.variant, sizeof(ret->variant));
    memcpy(ret->variant_driver, rest.variant_driver, sizeof(ret->variant_driver));
    ret->variant_blocked = rest.variant_blocked;
    device_facts_done(&rest);
    return r;
}

static void run_survey(const WorkerOrder *order, WorkerResult *result) {
    _cleanup_(device_facts_done) DeviceFacts facts = DEVICE_FACTS_NULL;
    const Device device = {.name = order->item.name, .vfio_index = -1};

    result->error = read_facts(&device, order->facts & SURVEY_FACTS_SLEEPING, &facts);
    result->facts = (WorkerFacts){
            .known = facts.known,
            .acs = facts.acs,
            .has_acs_blocker = facts.has_acs_blocker,
            .acs_blocker = facts.acs_blocker,
            .is_critical = facts.host_critical != NULL,
            .has_descendants = facts.descendants != NULL,
            .has_caps = facts.caps != NULL,
            .variant_blocked = facts.variant_blocked,
    };
    memcpy(result->facts.serial, facts.serial, sizeof(facts.serial));
    memcpy(result->facts.variant, facts.variant, sizeof(facts.variant));
    memcpy(result->facts.variant_driver, facts.variant_driver, sizeof(facts.variant_driver));
    if (facts.caps)
        result->facts.caps = *facts.caps;
    (void) snprintf(result->facts.host_critical, WORKER_TEXT_MAX, "%s", facts.host_critical ?: "");
    (void) snprintf(result->facts.descendants, WORKER_TEXT_MAX, "%s", facts.descendants ?: "");
}

/* A datagram with up to WORKER_FDS_MAX fds. */
typedef struct Packet {
    struct msghdr header;
    struct iovec data;
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * WORKER_FDS_MAX)];
    } control;
} Packet;

static void packet_init(Packet *p, void *data, size_t size) {
    *p = (Packet){.data = {.iov_base = data, .iov_len = size}};
    p->header = (struct msghdr){.msg_iov = &p->data, .msg_iovlen = 1};
}

static void packet_attach(Packet *p, const int *fds, size_t n) {
    struct cmsghdr *c;

    if (n == 0)
        return;
    p->header.msg_control = p->control.bytes;
    p->header.msg_controllen = CMSG_SPACE(sizeof(int) * n);
    c = CMSG_FIRSTHDR(&p->header);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int) * n);
    memcpy(CMSG_DATA(c), fds, sizeof(int) * n);
}

static void packet_expect(Packet *p) {
    p->header.msg_control = p->control.bytes;
    p->header.msg_controllen = sizeof(p->control.bytes);
}

/* Returns the number of fds in the packet, which the caller then owns. */
static size_t packet_take(Packet *p, int fds[static WORKER_FDS_MAX]) {
    size_t n = 0;

    for (struct cmsghdr *c = CMSG_FIRSTHDR(&p->header); c; c = CMSG_NXTHDR(&p->header, c))
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
            n = MIN((c->cmsg_len - CMSG_LEN(0)) / sizeof(int), (size_t) WORKER_FDS_MAX);
            memcpy(fds, CMSG_DATA(c), n * sizeof(int));
        }
    return n;
}

static int send_result(const WorkerResult *result, const int *fds) {
    WorkerResult copy = *result;
    Packet p;

    packet_init(&p, &copy, sizeof(copy));
    packet_attach(&p, fds, fds ? result->n_fds : 0);
    return sendmsg(WORKER_FD, &p.header, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static void note_step(const DriverTrace *trace) {
    const WorkerResult result = {.step = trace->step, .progress = trace->progress};

    (void) failpoint("step", driver_step_to_string(trace->step), "before");
    (void) send_result(&result, NULL);
    (void) failpoint("step", driver_step_to_string(trace->step), "after");
}

static void run_item(const WorkerOrder *order, WorkerResult *result) {
    static int (*const functions[])(const DriverItem *, DriverTrace *) = {
            [WORKER_BIND] = driver_bind,
            [WORKER_RESTORE] = driver_restore,
            [WORKER_RESET] = driver_reset,
            [WORKER_WAKE] = device_power_wake,
            [WORKER_POWER_KEEP] = device_power_keep,
            [WORKER_POWER_RESTORE] = device_power_restore,
            [WORKER_CHECK_RESUMED] = device_power_check_resumed,
            [WORKER_RECYCLE] = driver_recycle,
    };
    DriverTrace trace = {.progress = order->item.progress, .note = note_step};
    bool made = order->item.made.type[0];

    if (made && order->operation == WORKER_BIND)
        result->error = mdev_create(&order->item, &trace);
    else if (made && order->operation == WORKER_RESTORE)
        result->error = mdev_remove(&order->item, &trace);
    else
        result->error = functions[order->operation](&order->item, &trace);
    result->step = trace.step;
    result->progress = trace.progress;
    result->failure = trace.failure;
    memcpy(result->seen, trace.seen, sizeof(result->seen));
}

static void run_open_groups(const WorkerOrder *order, WorkerResult *result, int fds[static WORKER_FDS_MAX]) {
    result->step = DRIVER_STEP_OPEN;
    for (uint32_t i = 0; i < order->n_groups && result->error >= 0; i++) {
        result->index = i;
        (void) send_result(&(WorkerResult){.index = i, .step = DRIVER_STEP_OPEN}, NULL);
        result->error = vfio_open_group(order->groups[i], &fds[i]);
    }
    result->n_fds = result->error < 0 ? 0 : order->n_groups;
}

static void run_open_noiommu(const WorkerOrder *order, WorkerResult *result, int fds[static WORKER_FDS_MAX]) {
    result->step = DRIVER_STEP_OPEN;
    result->error = vfio_open_noiommu(order->groups[0], (dev_t) order->rdevs[0], &order->item.name, &fds[0]);
    result->n_fds = result->error < 0 ? 0 : 1;
}

static void run_open_nodes(const WorkerOrder *order, WorkerResult *result, int fds[static WORKER_FDS_MAX]) {
    char path[DEVICE_NODE_MAX];

    result->step = DRIVER_STEP_OPEN;
    for (uint32_t i = 0; i < order->n_groups && result->error >= 0; i++) {
        result->index = i;
        (void) send_result(&(WorkerResult){.index = i, .step = DRIVER_STEP_OPEN}, NULL);
        result->error = vfio_open_cdev(device_node_path(order->item.name.kind, order->groups[i], path),
                (dev_t) order->rdevs[i], &fds[i]);
    }
    result->n_fds = result->error < 0 || !order->keep ? 0 : order->n_groups;
}

static void run_probe_nodes(const WorkerOrder *order, WorkerResult *result) {
    char path[DEVICE_NODE_MAX];

    result->step = DRIVER_STEP_OPEN;
    for (uint32_t i = 0; i < order->n_groups && result->error >= 0; i++) {
        result->index = i;
        (void) send_result(&(WorkerResult){.index = i, .step = DRIVER_STEP_OPEN}, NULL);
        result->error = vfio_probe_node(device_node_path(order->item.name.kind, order->groups[i], path));
    }
}

static int open_compat(const WorkerOrder *order, uint32_t *ret_index, int fds[static WORKER_FDS_MAX]) {
    int *groups = fds + 1, *devices = groups + order->n_groups;
    int r = vfio_open_compat(&fds[0]);

    for (uint32_t i = 0; i < order->n_groups && r >= 0; i++) {
        *ret_index = i;
        (void) send_result(&(WorkerResult){.index = i, .step = DRIVER_STEP_OPEN}, NULL);
        r = vfio_open_compat_group(order->groups[i], fds[0], &groups[i]);
    }
    for (uint32_t i = 0; i < order->n_devices && r >= 0; i++) {
        *ret_index = order->device_groups[i];
        (void) send_result(&(WorkerResult){.index = *ret_index, .step = DRIVER_STEP_OPEN}, NULL);
        r = vfio_open_compat_device(groups[*ret_index], &order->devices[i], order->vf_tokens[i], &devices[i]);
    }
    return r;
}

static void run_open_compat(const WorkerOrder *order, WorkerResult *result, int fds[static WORKER_FDS_MAX]) {
    result->step = DRIVER_STEP_OPEN;
    result->error = open_compat(order, &result->index, fds);
    result->n_fds = result->error < 0 ? 0 : 1 + order->n_groups + order->n_devices;
}

static void run_probe_groups(const WorkerOrder *order, WorkerResult *result) {
    result->step = DRIVER_STEP_OPEN;
    for (uint32_t i = 0; i < order->n_groups && result->error >= 0; i++) {
        result->index = i;
        (void) send_result(&(WorkerResult){.index = i, .step = DRIVER_STEP_OPEN}, NULL);
        result->error = vfio_probe_group(order->groups[i]);
    }
}

static void run_find_holders(WorkerResult *result, int fds[static WORKER_FDS_MAX]) {
    result->error = holders_walk(&fds[0]);
    result->n_fds = result->error < 0 ? 0 : 1;
}

static void run_stop_holders(const WorkerOrder *order, WorkerResult *result, int fds[static WORKER_FDS_MAX]) {
    char cgroup[WORKER_CGROUP_MAX];
    const HolderStop stop = {.signal = order->stop_signal,
            .uid = order->stop_uid,
            .cgroup = cgroup,
            .groups = order->groups,
            .n_groups = MIN(order->n_groups, PLAN_GROUPS_MAX),
            .devices = order->devices,
            .n_devices = MIN(order->n_devices, REQUEST_DEVICES_MAX)};

    (void) snprintf(cgroup, sizeof(cgroup), "%.*s", (int) sizeof(cgroup) - 1, order->stop_cgroup);
    result->error = holders_stop(&stop, &fds[0]);
    result->n_fds = result->error < 0 ? 0 : 1;
}

static bool begin_parent(void *userdata, const char *parent) {
    WorkerResult step = {.step = DRIVER_STEP_OPEN};
    const WorkerOrder *order = userdata;

    for (uint32_t i = 0; i < MIN(order->n_silent, MDEV_SILENT_MAX); i++)
        if (streq(order->silent[i], parent))
            return false;
    put_text(step.parent, sizeof(step.parent), parent);
    (void) send_result(&step, NULL);
    return true;
}

static int write_mdev_types(WorkerOrder *order, int *ret_fd) {
    _cleanup_(mdev_types_done) MdevTypes types = {};
    _cleanup_close_ int fd = make_memfd("mdev-types", /* flags= */ 0);
    _cleanup_free_ char *text = NULL;
    int r;

    if (fd < 0)
        return fd;
    r = mdev_reader_read_some(begin_parent, order, &types);
    text = r >= 0 ? mdev_types_to_text(&types) : NULL;
    if (!text)
        return r < 0 ? r : -ENOMEM;
    if (pwrite(fd, text, strlen(text), 0) != (ssize_t) strlen(text))
        return -EIO;
    *ret_fd = TAKE_FD(fd);
    return 0;
}

static void run_mdev_types(WorkerOrder *order, WorkerResult *result, int fds[static WORKER_FDS_MAX]) {
    result->error = write_mdev_types(order, &fds[0]);
    result->n_fds = result->error < 0 ? 0 : 1;
}

static void run_vf_setup(const WorkerOrder *order, WorkerResult *result) {
    const VfNetwork *wanted = &order->network;

    result->progress = order->item.progress;
    if (order->operation == WORKER_VF_LOOK)
        result->error = vf_setup_look(&order->item, wanted, &result->vf);
    else if (order->operation == WORKER_VF_SET)
        result->error = vf_setup_set(&order->item, wanted, &result->vf);
    else
        result->error = vf_setup_restore(&order->item, wanted, &order->network_before, &result->vf);
}

/* For other functions of the physical function whose token is set, because it will be reset. The device of
 * the order itself belongs to the claim. */
static int check_unused(const DeviceName *name, void *userdata) {
    const WorkerOrder *order = userdata;
    DeviceSnapshot now;
    int r;

    if (device_name_compare(name, &order->devices[0]) == 0)
        return 0;
    r = sysfs_read_device(name, &now);
    if (r < 0)
        return r == -ENODEV ? 0 : r;
    return now.vfio_index >= 0 && sysfs_read_enable_count(name) != 0 ? -EACCES : 0;
}

/* Setting a token resets the physical function, which disables its virtual functions. The kernel enables them
 * again and waits 100 ms, as the specification requires. */
static int check_answers(const DeviceName *function) {
    int r = 0;

    for (unsigned i = 0; r == 0 && i < TOKEN_LOOKS; i++) {
        if (i > 0)
            (void) usleep(TOKEN_LOOK_USEC);
        r = sysfs_device_answers(function);
    }
    return r == 0 ? -EREMOTEIO : r < 0 ? r : 0;
}

static int set_token(WorkerOrder *order) {
    _cleanup_close_ int dir = -EBADF;
    DeviceSnapshot now;
    int r;

    r = driver_open_device(&order->item, &dir);
    if (r >= 0)
        r = faccessat(dir, "sriov_totalvfs", F_OK, 0) < 0 ? -EOPNOTSUPP : 0;
    if (r >= 0)
        r = sysfs_foreach_function(&order->item.name, check_unused, order);
    if (r >= 0)
        r = sysfs_read_device(&order->item.name, &now);
    if (r >= 0)
        r = vfio_set_token(&now, order->vf_tokens[0]);
    return r < 0 ? r : check_answers(&order->devices[0]);
}

static void close_all(int fds[static WORKER_FDS_MAX]) {
    for (size_t i = 0; i < WORKER_FDS_MAX; i++)
        fds[i] = safe_close(fds[i]);
}

static int receive_order(WorkerOrder *ret) {
    int fds[WORKER_FDS_MAX];
    size_t n_fds;
    ssize_t n;
    Packet p;

    packet_init(&p, ret, sizeof(*ret));
    packet_expect(&p);
    n = recvmsg(WORKER_FD, &p.header, MSG_CMSG_CLOEXEC);
    if (n <= 0)
        return n < 0 ? -errno : -EPIPE;
    n_fds = packet_take(&p, fds);
    while (n_fds > 0)
        (void) safe_close(fds[--n_fds]);
    /* Only the daemon writes here, so a wrong size or count is our own mistake. */
    assert((size_t) n == sizeof(*ret) && ret->operation < _WORKER_OPERATION_MAX);
    assert(ret->n_groups <= PLAN_GROUPS_MAX && ret->n_devices <= REQUEST_DEVICES_MAX);
    return 0;
}

static bool is_vf_setup(WorkerOperation operation) {
    return operation >= WORKER_VF_LOOK && operation <= WORKER_VF_RESTORE;
}

/* A worker of the spawner has three capabilities. With its first order it gives up those that such orders do
 * not need: all orders of a pool are of one kind. */
static int narrow(WorkerOperation operation) {
    static bool done;
    int r = 0;

    if (done)
        return 0;
    if (is_vf_setup(operation))
        r = privileges_give_up(CAP_SYS_PTRACE);
    if (r >= 0)
        r = privileges_give_up(is_vf_setup(operation) ? CAP_SYS_ADMIN : CAP_NET_ADMIN);
    done = r >= 0;
    return r;
}

static int serve_one(void) {
    int fds[WORKER_FDS_MAX];
    WorkerResult result = {.done = true};
    WorkerOrder order;
    int r;

    r = receive_order(&order);
    if (r >= 0)
        r = narrow(order.operation);
    if (r < 0)
        return r;
    for (size_t i = 0; i < WORKER_FDS_MAX; i++)
        fds[i] = -EBADF;
    (void) failpoint("order", worker_operation_to_string(order.operation), "before");
    if (order.operation == WORKER_OPEN_GROUPS)
        run_open_groups(&order, &result, fds);
    else if (order.operation == WORKER_OPEN_NOIOMMU)
        run_open_noiommu(&order, &result, fds);
    else if (order.operation == WORKER_OPEN_NODES)
        run_open_nodes(&order, &result, fds);
    else if (order.operation == WORKER_PROBE_NODES)
        run_probe_nodes(&order, &result);
    else if (order.operation == WORKER_OPEN_COMPAT)
        run_open_compat(&order, &result, fds);
    else if (order.operation == WORKER_SURVEY)
        run_survey(&order, &result);
    else if (order.operation == WORKER_PROBE_GROUPS)
        run_probe_groups(&order, &result);
    else if (order.operation == WORKER_FIND_HOLDERS)
        run_find_holders(&result, fds);
    else if (order.operation == WORKER_STOP_HOLDERS)
        run_stop_holders(&order, &result, fds);
    else if (order.operation == WORKER_MDEV_TYPES)
        run_mdev_types(&order, &result, fds);
    else if (order.operation == WORKER_SRIOV)
        result.error = sriov_set_count(&order.item, &order.sriov, &result.sriov);
    else if (is_vf_setup(order.operation))
        run_vf_setup(&order, &result);
    else if (order.operation == WORKER_VF_TOKEN)
        result.error = set_token(&order);
    else if (order.operation == WORKER_LOOK_STUCK)
        result.error = process_kernel_stack(order.pid, &result.stack);
    else
        run_item(&order, &result);
    (void) failpoint("order", worker_operation_to_string(order.operation), "after");
    /* copies are kept until this process ends, unless the order failed */
    if (order.keep && result.error >= 0)
        return send_result(&result, fds);
    if (result.n_fds > 0)
        (void) send_result(&(WorkerResult){.n_fds = result.n_fds, .step = result.step}, fds);
    /* Before the daemon continues: nobody else can open a group while there is a copy. */
    close_all(fds);
    return send_result(&result, NULL);
}

int worker_main(void) {
    sigset_t none;

    (void) sigemptyset(&none);
    (void) sigprocmask(SIG_SETMASK, &none, NULL);
    /* Ctrl-C on the daemon's terminal goes to its whole process group. A late exit is better than half a bind
     * plan. */
    (void) signal(SIGINT, SIG_IGN);
    (void) prctl(PR_SET_NAME, "vfiod-worker");
    while (serve_one() >= 0)
        ;
    return EXIT_SUCCESS;
}

/* ---- the daemon's side ---- */

typedef struct Worker Worker;

struct WorkerTask {
    Worker *worker;
    WorkerCaller caller; /* empty once it is abandoned */
};

struct Worker {
    WorkerPool *pool;
    Worker *next; /* pool.workers */
    int pidfd, socket;
    sd_event_source *io, *exit, *deadline;
    uint64_t timeout_usec;
    WorkerStuck order; /* its order, for when it gets stuck; pid is unknown until then */
    WorkerTask *task;  /* owned; NULL while idle or stuck; kept while the worker has a copy for it */
    bool stuck;
    bool outdated;           /* gets no more tasks */
    bool keeps;              /* has copies of what it opened, until it ends */
    int fds[WORKER_FDS_MAX]; /* owned; received for a task that is not done yet */
    size_t n_fds;
};

struct WorkerPool {
    sd_event *event;
    int spawner; /* borrowed; -EBADF: the daemon starts workers itself */
    Worker *workers;
    worker_stuck_t stuck_changed; /* NULL: not reported */
    void *stuck_userdata;
};

static void drop_fds(Worker *w) {
    while (w->n_fds > 0)
        (void) safe_close(w->fds[--w->n_fds]);
}

static Worker *worker_free(Worker *w) {
    if (!w)
        return NULL;
    for (Worker **i = &w->pool->workers; *i; i = &(*i)->next)
        if (*i == w) {
            *i = w->next;
            break;
        }
    sd_event_source_disable_unref(w->io);
    sd_event_source_disable_unref(w->exit);
    sd_event_source_disable_unref(w->deadline);
    drop_fds(w);
    (void) safe_close(w->socket);
    (void) safe_close(w->pidfd);
    free(w->task);
    free(w);
    return NULL;
}
DEFINE_TRIVIAL_CLEANUP_FUNC(Worker *, worker_free);

/* Call before the task's callback: that may submit another order, which must not get this worker. */
static void hang_up(Worker *w) {
    w->io = sd_event_source_disable_unref(w->io);
    w->socket = safe_close(w->socket);
}

/* Kills a worker that is not needed any more. Only its end is waited for. */
static void retire(Worker *w) {
    (void) pidfd_send_signal(w->pidfd, SIGKILL, NULL, 0);
    hang_up(w);
}

static void finish_task(Worker *w, const WorkerResult *result, int *fds) {
    _cleanup_free_ WorkerTask *task = TAKE_PTR(w->task);
    const WorkerCaller caller = task ? task->caller : (WorkerCaller){};

    w->deadline = sd_event_source_disable_unref(w->deadline);
    if (caller.task)
        *caller.task = NULL;
    if (caller.keeper && result->error >= 0) {
        *caller.keeper = w->task = TAKE_PTR(task);
        w->task->caller = (WorkerCaller){.task = caller.keeper};
    } else if (w->keeps && result->error >= 0)
        retire(w); /* there is no task to report */
    if (caller.done)
        caller.done(caller.userdata, result, fds);
}

static void fail_task(Worker *w, int error) {
    int fds[WORKER_FDS_MAX] = {};

    finish_task(w, &(WorkerResult){.done = true, .error = error}, fds);
}

/* Takes the fds of a received packet, which replace those of an earlier one. */
static void take_fds(Worker *w, Packet *p) {
    int fds[WORKER_FDS_MAX];
    size_t n = packet_take(p, fds);

    if (n == 0)
        return;
    drop_fds(w);
    memcpy(w->fds, fds, n * sizeof(int));
    w->n_fds = n;
}

static Worker *find_idle(WorkerPool *p, const Worker *except) {
    for (Worker *w = p->workers; w; w = w->next)
        if (w != except && !w->task && !w->stuck && !w->outdated && w->socket >= 0)
            return w;
    return NULL;
}

static void take_step(Worker *w, const WorkerResult *result) {
    const WorkerCaller *caller = w->task ? &w->task->caller : NULL;

    if (w->deadline)
        (void) sd_event_source_set_time_relative(w->deadline, w->timeout_usec);
    w->order.step = result->step;
    w->order.since_usec = clock_usec(CLOCK_REALTIME);
    if (caller && caller->step)
        caller->step(caller->userdata, result);
}

static int on_exit_worker(sd_event_source *s, int fd, uint32_t events, void *userdata);

/* The first message of a worker that the spawner started. */
static int take_pidfd(Worker *w, Packet *p) {
    int fds[WORKER_FDS_MAX];
    size_t n = packet_take(p, fds);

    while (n > 1)
        (void) safe_close(fds[--n]);
    if (n == 0)
        return -EPIPE;
    w->pidfd = fds[0];
    return sd_event_add_io(w->pool->event, &w->exit, w->pidfd, EPOLLIN, on_exit_worker, w) < 0 ? -EPIPE : 1;
}

/* Receives one message. 1; 0: there is none; or negative errno: the worker is dead or dying. */
static int receive(Worker *w) {
    WorkerResult result = {};
    int fds[WORKER_FDS_MAX];
    ssize_t n;
    Packet p;

    if (w->socket < 0)
        return -EPIPE;
    packet_init(&p, &result, sizeof(result));
    packet_expect(&p);
    n = recvmsg(w->socket, &p.header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (n == 1 && w->pidfd < 0)
        return take_pidfd(w, &p);
    if (n != (ssize_t) sizeof(result))
        return -EPIPE;
    take_fds(w, &p);
    if (!result.done) {
        take_step(w, &result);
        return 1;
    }
    for (size_t i = 0; i < WORKER_FDS_MAX; i++)
        fds[i] = i < w->n_fds ? w->fds[i] : -EBADF;
    if (w->n_fds != result.n_fds)
        result = (WorkerResult){.done = true, .error = -EBADMSG, .step = DRIVER_STEP_OPEN};
    w->n_fds = 0;
    finish_task(w, &result, fds); /* w may have been freed */
    close_all(fds);
    return 1;
}

/* The worker has ended, or was never started. */
static void give_up(Worker *w) {
    hang_up(w);
    if (w->task)
        fail_task(w, -ECONNRESET);
    (void) worker_free(w);
}

static int on_readable(sd_event_source *s, int fd, uint32_t events, void *userdata) {
    Worker *w = userdata;
    int r;

    r = receive(w);
    if (r < 0 && w->pidfd < 0)
        give_up(w);
    else if (r < 0)
        hang_up(w); /* on_exit_worker tells the caller */
    else if (!w->task && (w->outdated || find_idle(w->pool, w)))
        retire(w); /* one spare worker is enough */
    return 0;
}

static void tell_stuck(const WorkerPool *p, const WorkerStuck *stuck, bool returned) {
    if (p->stuck_changed)
        p->stuck_changed(p->stuck_userdata, stuck, returned);
}

/* The answer may have arrived while the daemon itself was late. */
static int on_deadline(sd_event_source *s, uint64_t usec, void *userdata) {
    Worker *w = userdata;
    bool heard = false;

    while (w->deadline == s && receive(w) > 0)
        heard = true;
    if (w->deadline != s)
        return 0;
    if (heard) /* the deadline was extended */
        return sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
    if (w->pidfd < 0) {
        give_up(w);
        return 0;
    }
    w->stuck = true;
    if (process_number(w->pidfd, &w->order.pid) < 0)
        w->order.pid = 0;
    (void) process_start_ticks(w->pidfd, &w->order.started);
    retire(w);
    fail_task(w, -ETIMEDOUT);
    tell_stuck(w->pool, &w->order, false);
    return 0;
}

static int on_exit_worker(sd_event_source *s, int fd, uint32_t events, void *userdata) {
    Worker *w = userdata;
    const WorkerStuck order = w->order;
    WorkerPool *pool = w->pool;
    bool stuck = w->stuck;
    siginfo_t info;

    (void) waitid(P_PIDFD, (id_t) w->pidfd, &info, WEXITED | WNOHANG);
    while (w->task && receive(w) > 0)
        ;
    give_up(w);
    if (stuck)
        tell_stuck(pool, &order, true);
    return 0;
}

static int watch_exit(Worker *w) {
    return sd_event_add_io(w->pool->event, &w->exit, w->pidfd, EPOLLIN, on_exit_worker, w);
}

/* *ret_pidfd is unchanged when the spawner starts the worker. Without a spawner the worker has fewer
 * privileges. */
static int start(WorkerPool *pool, int socket, int *ret_pidfd) {
    pid_t parent = getpid(), pid;
    int fd;

    if (pool->spawner >= 0) {
        if (spawner_request(pool->spawner, socket) >= 0)
            return 0;
        pool->spawner = -EBADF; /* the spawner has died */
    }
    pid = fork();
    if (pid == 0)
        spawner_execute("--worker", socket, parent);
    fd = pid < 0 ? -1 : pidfd_open(pid, 0);
    if (fd < 0)
        return -errno;
    *ret_pidfd = fd;
    return 0;
}

static int spawn(WorkerPool *pool, Worker **ret) {
    _cleanup_(worker_freep) Worker *w = NULL;
    int pair[2], r;

    w = malloc(sizeof(*w));
    if (!w)
        return -ENOMEM;
    *w = (Worker){.pool = pool, .pidfd = -EBADF, .socket = -EBADF};
    r = failpoint("file", "worker-start", "before");
    if (r < 0)
        return r;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return -errno;
    r = start(pool, pair[1], &w->pidfd);
    (void) close(pair[1]);
    w->socket = pair[0];
    if (r >= 0)
        r = sd_event_add_io(pool->event, &w->io, w->socket, EPOLLIN, on_readable, w);
    if (r >= 0 && w->pidfd >= 0)
        r = watch_exit(w); /* the closed socket ends the child */
    if (r < 0)
        return r;
    w->next = pool->workers;
    pool->workers = w;
    *ret = TAKE_PTR(w);
    return 0;
}

static int send_order(Worker *w, const WorkerOrder *order, uint64_t timeout_usec) {
    WorkerOrder copy = *order;
    Packet p;
    int r;

    r = sd_event_add_time_relative(
            w->pool->event, &w->deadline, CLOCK_MONOTONIC, timeout_usec, 0, on_deadline, w);
    if (r < 0)
        return r;
    packet_init(&p, &copy, sizeof(copy));
    packet_attach(&p, order->fds, order->n_fds);
    if (sendmsg(w->socket, &p.header, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
        return 0;
    r = -errno;
    w->deadline = sd_event_source_disable_unref(w->deadline);
    if (w->pidfd < 0)
        (void) worker_free(w);
    else
        retire(w);
    return r;
}

/* An idle worker may have been killed without our knowing yet. */
static int find_worker(WorkerPool *p, const WorkerOrder *order, uint64_t timeout_usec, Worker **ret) {
    Worker *w;
    int r;

    while ((w = find_idle(p, NULL))) {
        r = send_order(w, order, timeout_usec);
        if (r >= 0)
            *ret = w;
        if (r != -EPIPE && r != -ECONNRESET)
            return r;
    }
    r = spawn(p, &w);
    if (r >= 0)
        r = send_order(w, order, timeout_usec);
    if (r >= 0)
        *ret = w;
    return r;
}

/* How a stuck order is described. */
static WorkerStuck describe_order(const WorkerOrder *order) {
    return (WorkerStuck){.operation = order->operation,
            .step = _DRIVER_STEP_INVALID,
            .device = order->operation == WORKER_VF_TOKEN ? order->devices[0] : order->item.name,
            .has_device = order->operation != WORKER_FIND_HOLDERS &&
                    order->operation != WORKER_STOP_HOLDERS && order->operation != WORKER_MDEV_TYPES &&
                    order->operation != WORKER_LOOK_STUCK,
            .since_usec = clock_usec(CLOCK_REALTIME)};
}

int worker_submit(
        WorkerPool *p, const WorkerOrder *order, uint64_t timeout_usec, const WorkerCaller *caller) {
    _cleanup_free_ WorkerTask *task = malloc(sizeof(*task));
    Worker *w = NULL;
    int r;

    if (!task)
        return -ENOMEM;
    *task = (WorkerTask){.caller = *caller};
    r = find_worker(p, order, timeout_usec, &w);
    if (r < 0)
        return r;
    w->timeout_usec = timeout_usec;
    w->order = describe_order(order);
    w->keeps = order->keep;
    task->worker = w;
    *caller->task = w->task = TAKE_PTR(task);
    return 0;
}

void worker_task_abandon(WorkerTask *t) {
    *t->caller.task = NULL;
    t->caller = (WorkerCaller){};
}

void worker_task_drop(WorkerTask *t) {
    worker_task_abandon(t);
    retire(t->worker);
}

void worker_task_move(WorkerTask **from, WorkerTask **to) {
    *to = TAKE_PTR(*from);
    (*to)->caller.task = to;
}

void worker_pool_renew(WorkerPool *p) {
    for (Worker *w = p->workers; w; w = w->next) {
        w->outdated = true;
        if (!w->task && w->socket >= 0)
            retire(w);
    }
}

unsigned worker_pool_n_stuck(const WorkerPool *p) {
    unsigned n = 0;

    for (const Worker *w = p->workers; w; w = w->next)
        n += w->stuck;
    return n;
}

int worker_pool_foreach_stuck(
        const WorkerPool *p, int (*visit)(void *userdata, const WorkerStuck *stuck), void *userdata) {
    int r = 0;

    for (const Worker *w = p->workers; w && r == 0; w = w->next)
        if (w->stuck)
            r = visit(userdata, &w->order);
    return r;
}

void worker_pool_watch_stuck(WorkerPool *p, worker_stuck_t changed, void *userdata) {
    p->stuck_changed = changed;
    p->stuck_userdata = userdata;
}

/* If the number means another process now, the worker has ended. */
static int open_stuck(const WorkerStuck *stuck, int *ret) {
    _cleanup_close_ int fd = -EBADF;
    uint64_t started;
    int r;

    r = process_open(stuck->pid, /* id= */ 0, &fd);
    if (r < 0)
        return r;
    r = process_start_ticks(fd, &started);
    if (process_has_ended(fd))
        return -ESRCH;
    if (r < 0) /* /proc hides it, perhaps */
        return r == -ESRCH ? -EACCES : r;
    if (started != stuck->started)
        return -ESRCH;
    *ret = TAKE_FD(fd);
    return 0;
}

int worker_pool_adopt_stuck(WorkerPool *p, const WorkerStuck *stuck) {
    _cleanup_(worker_freep) Worker *w = NULL;
    int r;

    for (const Worker *other = p->workers; other; other = other->next)
        if (other->stuck && other->order.pid == stuck->pid && other->order.started == stuck->started)
            return 0; /* it was late with several devices */
    w = malloc(sizeof(*w));
    if (!w)
        return -ENOMEM;
    *w = (Worker){.pool = p, .pidfd = -EBADF, .socket = -EBADF, .order = *stuck, .stuck = true};
    r = open_stuck(stuck, &w->pidfd);
    if (r >= 0)
        r = watch_exit(w);
    if (r < 0)
        return r;
    w->next = p->workers;
    p->workers = w;
    tell_stuck(p, &TAKE_PTR(w)->order, /* returned= */ false);
    return 0;
}

bool worker_pool_note_stack(WorkerPool *p, pid_t pid, const KernelStack *stack) {
    for (Worker *w = p->workers; w; w = w->next)
        if (w->stuck && w->order.pid == pid && !process_has_ended(w->pidfd)) {
            w->order.stack = *stack;
            return true;
        }
    return false;
}

int worker_pool_new(sd_event *event, int spawner, WorkerPool **ret) {
    WorkerPool *p = malloc(sizeof(*p));

    if (!p)
        return -ENOMEM;
    *p = (WorkerPool){.event = sd_event_ref(event), .spawner = spawner};
    *ret = p;
    return 0;
}

WorkerPool *worker_pool_free(WorkerPool *p) {
    if (!p)
        return NULL;
    while (p->workers) {
        retire(p->workers);
        (void) worker_free(p->workers);
    }
    sd_event_unref(p->event);
    free(p);
    return NULL;
}
