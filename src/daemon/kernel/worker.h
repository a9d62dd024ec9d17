/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Work that can sleep in the kernel runs in worker processes.
 *
 * Bind, unbind, reset and opening a group can take a minute or never return, in a state that no signal ends.
 * A thread in that state would keep the daemon's files open after its death: the bus name, the lifelines,
 * everything. So a worker is this program executed again (`vfiod --worker`) with only one socket open: orders
 * of fixed size go in, results (and fds) come out. One idle worker is kept; there are as many busy ones as
 * claims need. When an order's deadline passes, its caller gets -ETIMEDOUT, the worker is killed and
 * forgotten, and a later result is discarded. */

#include <systemd/sd-event.h>

#include "core/kernel-stack.h"
#include "core/plan.h"
#include "daemon/kernel/driver.h"
#include "daemon/kernel/sriov.h"
#include "daemon/kernel/vf-setup.h"

typedef enum WorkerOperation {
    WORKER_BIND,          /* driver_bind(), or mdev_create() */
    WORKER_RESTORE,       /* driver_restore(), or mdev_remove() */
    WORKER_RESET,         /* driver_reset() */
    WORKER_WAKE,          /* device_power_wake() */
    WORKER_POWER_KEEP,    /* device_power_keep() */
    WORKER_POWER_RESTORE, /* device_power_restore() */
    WORKER_CHECK_RESUMED, /* device_power_check_resumed() */
    WORKER_OPEN_GROUPS,   /* vfio_open_group() for each group; all or nothing */
    WORKER_OPEN_NOIOMMU,  /* vfio_open_noiommu() for the item, in the one group; the worker keeps a copy */
    WORKER_OPEN_NODES,  /* vfio_open_cdev() for each number, of the item's kind; all or nothing. Without .keep
                         * only as a test */
    WORKER_OPEN_COMPAT, /* vfio_open_compat…(): the iommufd, groups, devices */
    WORKER_SURVEY,      /* reads facts of the item */
    WORKER_RECYCLE,     /* driver_recycle() */
    WORKER_PROBE_GROUPS, /* vfio_probe_group() for each group; stops at the first failure */
    WORKER_PROBE_NODES,  /* likewise vfio_probe_node() for each number */
    WORKER_FIND_HOLDERS, /* holders_walk(); its file is the one fd */
    WORKER_STOP_HOLDERS, /* holders_stop(), of groups and devices; likewise */
    WORKER_SRIOV,        /* sriov_set_count() */
    WORKER_MDEV_TYPES,   /* mdev_reader_read(); a file with mdev_types_to_text() is the one fd */
    WORKER_VF_LOOK,      /* vf_setup_look() */
    WORKER_VF_SET,       /* vf_setup_set() */
    WORKER_VF_RESTORE,   /* vf_setup_restore() */
    WORKER_VF_TOKEN,     /* vfio_set_token() of the item */
    WORKER_LOOK_STUCK,   /* process_kernel_stack() of another worker, by pid */
    _WORKER_OPERATION_MAX,
} WorkerOperation;
DECLARE_STRING_TABLE(worker_operation, WorkerOperation); /* "bind", "restore", "open-groups", ... */

#define MDEV_SILENT_MAX 8U
#define WORKER_CGROUP_MAX 256U

typedef struct WorkerOrder {
    WorkerOperation operation;
    uint32_t n_groups;
    int32_t groups[PLAN_GROUPS_MAX]; /* or the numbers of nodes */
    uint64_t rdevs[PLAN_GROUPS_MAX]; /* of those nodes; WORKER_OPEN_NODES, and the first for
                                        WORKER_OPEN_NOIOMMU */
    bool keep;                       /* of what it opens, the worker keeps copies until it ends */
    uint32_t n_silent;               /* WORKER_MDEV_TYPES */
    char silent[MDEV_SILENT_MAX][DEVICE_TEXT_MAX]; /* parents that are skipped */
    uint32_t facts;                                /* mask of DeviceFactMask; WORKER_SURVEY */
    int32_t pid;                                   /* WORKER_LOOK_STUCK */
    int32_t stop_signal;                           /* WORKER_STOP_HOLDERS */
    uint32_t stop_uid;
    char stop_cgroup[WORKER_CGROUP_MAX];
    SriovOrder sriov;
    VfNetwork network, network_before;                 /* WORKER_VF_LOOK, _SET, _RESTORE */
    char vf_tokens[REQUEST_DEVICES_MAX][VF_TOKEN_MAX]; /* WORKER_OPEN_COMPAT: for each device, or "";
                                                        * WORKER_VF_TOKEN: the first, for devices[0] */
    uint32_t n_devices;                                /* WORKER_OPEN_COMPAT */
    DeviceName devices[REQUEST_DEVICES_MAX];
    uint32_t device_groups[REQUEST_DEVICES_MAX]; /* index of the group of each */
    /* Files that go with any order. The worker closes them first: in the daemon, the last close of a device's
     * or group's file could sleep. */
    uint32_t n_fds;
    int32_t fds[PLAN_GROUPS_MAX]; /* borrowed */
    DriverItem item;
} WorkerOrder;

#define WORKER_FDS_MAX (1 + PLAN_GROUPS_MAX + REQUEST_DEVICES_MAX) /* of one result */
#define WORKER_TEXT_MAX 256U

/* The result of WORKER_SURVEY, of SURVEY_FACTS_SLEEPING. */
typedef struct WorkerFacts {
    uint32_t known;
    AcsPath acs;
    bool has_acs_blocker, is_critical, has_descendants;
    DeviceName acs_blocker;
    char serial[PCI_SERIAL_MAX];
    char host_critical[WORKER_TEXT_MAX], descendants[WORKER_TEXT_MAX];
    char variant[VARIANT_NAME_MAX], variant_driver[VARIANT_NAME_MAX];
    bool variant_blocked;
    bool has_caps;
    DeviceCaps caps;
} WorkerFacts;

/* A worker reports every step before it begins, and the end of the order. */
typedef struct WorkerResult {
    bool done;       /* the last result of this order */
    int32_t error;   /* 0 or negative errno; -ETIMEDOUT: the deadline passed; -ECONNRESET: the worker died */
    uint32_t index;  /* of the group or node */
    DriverStep step; /* the step that failed, or that begins */
    MemberProgress progress; /* of the item */
    MemberFailure failure;   /* of the item, see DriverTrace */
    char seen[HEALTH_SEEN_MAX];
    uint32_t n_fds;
    char parent[DEVICE_TEXT_MAX]; /* WORKER_MDEV_TYPES: whose types are read now */
    WorkerFacts facts;
    SriovReport sriov;
    VfSetupReport vf;
    KernelStack stack; /* WORKER_LOOK_STUCK */
} WorkerResult;

/* fds are borrowed. To take one, set its element to -EBADF; those left in the array are closed after the
 * return. */
typedef void (*worker_done_t)(void *userdata, const WorkerResult *result, int *fds);
/* A step begins. */
typedef void (*worker_step_t)(void *userdata, const WorkerResult *result);

typedef struct WorkerPool WorkerPool;
typedef struct WorkerTask WorkerTask;

/* The caller of an order. */
typedef struct WorkerCaller {
    worker_done_t done; /* called once, from the event loop, never before worker_submit() returns */
    worker_step_t step; /* NULL: steps are not needed */
    void *userdata;
    WorkerTask **task; /* set until done is called */
    /* For an order with .keep: set when it succeeds, while the worker has its copies. */
    WorkerTask **keeper;
} WorkerCaller;

/* spawner: borrowed, see spawner.h; -EBADF: workers need no more privileges than the daemon has. *ret is
 * owned by the caller. */
int worker_pool_new(sd_event *event, int spawner, WorkerPool **ret);
WorkerPool *worker_pool_free(WorkerPool *p); /* kills what still runs; callbacks are not called */
DEFINE_TRIVIAL_CLEANUP_FUNC(WorkerPool *, worker_pool_free);

/* Runs an order. The deadline is for each step. 0 or negative errno. */
int worker_submit(WorkerPool *p, const WorkerOrder *order, uint64_t timeout_usec, const WorkerCaller *caller);
/* done will not be called. The work itself cannot be stopped and continues. */
void worker_task_abandon(WorkerTask *t);
/* Makes the worker give up its copies: it ends, and a last close happens there. */
void worker_task_drop(WorkerTask *t);
/* Moves a keeper to another owner, *to. */
void worker_task_move(WorkerTask **from, WorkerTask **to);
/* The daemon has given up a capability: workers that still have it end after their current order. */
void worker_pool_renew(WorkerPool *p);
/* Workers whose deadline passed and that have not returned from the kernel. */
unsigned worker_pool_n_stuck(const WorkerPool *p);

/* A stuck worker. */
typedef struct WorkerStuck {
    pid_t pid; /* 0: unknown */
    WorkerOperation operation;
    DriverStep step;   /* the last step that it began; negative: none or unknown */
    DeviceName device; /* of the order's item, when has_device */
    bool has_device;
    uint64_t since_usec; /* CLOCK_REALTIME: when that step began */
    uint64_t started;    /* process_start_ticks(); 0: unknown */
    KernelStack stack;   /* where it waits in the kernel, see worker_pool_note_stack(); empty: unknown */
} WorkerStuck;

/* A non-zero result of visit ends the walk. */
int worker_pool_foreach_stuck(
        const WorkerPool *p, int (*visit)(void *userdata, const WorkerStuck *stuck), void *userdata);
/* changed is called when a worker gets stuck (after its order's caller was told), and when it has
 * returned. */
typedef void (*worker_stuck_t)(void *userdata, const WorkerStuck *stuck, bool returned);
void worker_pool_watch_stuck(WorkerPool *p, worker_stuck_t changed, void *userdata);
/* Takes up a stuck worker of an earlier daemon, and reports it. Its pid is looked up. 0; -ESRCH: it has
 * ended; or negative errno: that is unknown. */
int worker_pool_adopt_stuck(WorkerPool *p, const WorkerStuck *stuck);
/* Another worker has read where the stuck worker with this pid waits. False if it has returned meanwhile, and
 * so the pid may have meant another process. */
bool worker_pool_note_stack(WorkerPool *p, pid_t pid, const KernelStack *stack);

/* The worker's main function: serves orders on fd 3 until that is closed. Returns an exit status. */
int worker_main(void);
