/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VFIOD_H
#define VFIOD_H

/* libvfiod: claims VFIO devices from vfiod, the daemon that owns this privilege on the host. libvfiod(3)
 * explains it with examples. The whole of it:
 *
 *   const char *devices[] = {"pci:0000:06:0d.0"};
 *   VfiodErrorText error;
 *   VfiodClaim *claim;
 *
 *   if (vfiod_acquire(devices, 1, "iommufd", "my driver", &claim, &error) < 0)
 *       errx(1, "%s", error.message);
 *   use(vfiod_claim_fd(claim, "iommufd"), vfiod_claim_device_fd(claim, devices[0]));
 *   vfiod_claim_free(claim);
 *
 * A claim lives as long as its LIFELINE is open in some process, and its devices are free for others when the
 * last file descriptor of them is closed too. A process that dies gives everything back.
 *
 * Conventions: functions that can fail return 0 or more on success and a negative errno on failure; outputs
 * are untouched on failure. Strings are UTF-8. File descriptors are close-on-exec. Nothing here keeps global
 * state: different claims and connections may be used from different threads, one of them from one thread at
 * a time. No threads, no signal handlers; callbacks only from vfiod_connection_dispatch().
 *
 * The daemon is reached by its Varlink socket where that is there, else over D-Bus: see ENVIRONMENT in
 * libvfiod(3). Only the latter loads libsystemd. */

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Reports why a call failed. The caller owns it, on the stack or anywhere; nothing in it needs to be freed.
 * Filled by every failing call that was given one (NULL is allowed everywhere), untouched by successful ones.
 */
typedef struct VfiodErrorText {
    int error;     /* positive errno: what the call returned, negated */
    char name[64]; /* the refusal's name in org.vfiod1(5), such as "NoSuchDevice"; "Unreachable" when bus or
                    * daemon is not there; else the full name of the bus error */
    char message[1024]; /* for people: the device, the reason and what to do; mostly one line, cut when
                         * longer; no control characters but newline */
} VfiodErrorText;

/* One claim of this process: its id and its file descriptors. */
typedef struct VfiodClaim VfiodClaim;

/* Claims devices, all or none, and blocks until they are there: binding a driver may take a minute. Gives up
 * after three minutes.
 *
 * devices    names in any spelling: "pci:0000:06:0d.0", "06:0d.0"; at most 14
 * backend    "iommufd", "group", "compat" or "vhost-vdpa"; NULL: what policy and kernel offer, in this order.
 *            See
 *            vfiod_claim_backend().
 * reason     what it is for, kept in the audit record; NULL: none
 * ret_claim  owned by the caller, to be freed with vfiod_claim_free()
 *
 * Connects to the daemon for this one call. */
int vfiod_acquire(const char *const *devices, size_t n_devices, const char *backend, const char *reason,
        VfiodClaim **ret_claim, VfiodErrorText *ret_error);

/* What later versions add to a request. Zero what you do not need. */
typedef struct VfiodRequestMore {
    size_t size;  /* sizeof(VfiodRequestMore) */
    int pidfd;    /* with the tether "process": of another process of this user (root: of any) that the claim
                   * is tied to instead; above 0, it stays yours; 0: the claim is tied to the calling process */
    int reserved; /* must be 0 */
    const char *require; /* what each device must be able to do, "pasid,migration=p2p", see libvfiod(3); NULL:
                          * nothing */
    const char *network; /* what the network card has for each device, a virtual function, during the claim,
                          * "mac=52:54:00:12:34:56,vlan=12", see libvfiod(3); NULL: what it has */
    const char *ticket;  /* redeems a reservation: no device is named; NULL: none */
    uint64_t wait; /* seconds, at most 604800: while claims of others have the devices, the call waits in the
                    * queue of the daemon, and that much longer; 0: such a claim is refused at once */
    uint64_t duration; /* seconds, at most 31536000: the claim is evicted after them, see libvfiod(3); 0: when
                        * the rule says so, if it does */
} VfiodRequestMore;

/* All that can be asked for, for vfiod_acquire_request(). Zero what you do not need: later versions may know
 * more members. */
typedef struct VfiodRequest {
    const char *const *devices; /* as above, like backend and reason */
    size_t n_devices;
    const char *backend, *reason; /* backend may also be "noiommu", see libvfiod(3) */
    uint64_t
            memlock;   /* bytes: the limit of locked memory (RLIMIT_MEMLOCK) of this process is raised so far
                        * when the operator's rule allows it, and put back when the claim ends; 0: left alone */
    int untainted;     /* not 0: refuse unless the isolation of the host is whole */
    int interactive;   /* not 0: where the rule requires authentication, polkit may ask a person, and the call
                        * waits two minutes longer; 0: such a claim is refused unless polkit allows it at once
                        */
    const char *grant; /* "fd" (NULL: the same), "node" or "none", see libvfiod(3) */
    const char *tether; /* "lifeline" (NULL: the same), "process", "connection", "unit" or "explicit" */
    const char *cookie; /* names the claim for this user: 1 to 64 of A-Z a-z 0-9 . _ : -; NULL: no name */
    const VfiodRequestMore *more; /* NULL: nothing */
} VfiodRequest;
int vfiod_acquire_request(const VfiodRequest *request, VfiodClaim **ret_claim, VfiodErrorText *ret_error);

/* Closes every file descriptor of the claim that was not taken, the lifeline among them, and frees it. That
 * ends the claim unless another process keeps a copy of the lifeline. A claim with the tether "process",
 * "unit" or "explicit" goes on: see vfiod_release(). The devices go back to the host once
 * nobody has them open. Takes NULL; always returns NULL. */
VfiodClaim *vfiod_claim_free(VfiodClaim *claim);

/* Borrowed strings, valid while the claim is. The id names the claim in vfioctl(1) and in the log; the
 * backend is "iommufd", "group", "compat", "vhost-vdpa" or "noiommu"; the rule is the operator's rule that
 * allowed the claim. */
const char *vfiod_claim_id(const VfiodClaim *claim);
const char *vfiod_claim_backend(const VfiodClaim *claim);
const char *vfiod_claim_rule(const VfiodClaim *claim);

/* The claimed devices' names in their one full spelling, in the order of the request; NULL beyond the last.
 */
const char *vfiod_claim_device(const VfiodClaim *claim, size_t index);

/* A file descriptor by name; borrowed, do not close it. -ENOENT when the claim has none of that name.
 *
 *   "iommufd"                  /dev/iommu                                  backend "iommufd"
 *   "device:pci:0000:06:0d.0"  /dev/vfio/devices/vfioN, not yet bound      backend "iommufd"
 *                              the opened device                           backend "noiommu"
 *                              the opened device, attached                 backend "compat"
 *   "device:vdpa:vdpa0"        /dev/vhost-vdpa-N, without an owner         backend "vhost-vdpa"
 *   "container"                /dev/vfio/vfio, nothing attached            backend "group"
 *                              likewise, with the devices attached         backend "compat"
 *   "group:8"                  /dev/vfio/8                                 backend "group"
 *   "lifeline"                 keeps the claim alive, has no other use */
int vfiod_claim_fd(const VfiodClaim *claim, const char *name);

/* The device's file descriptor, by full name or as it was spelled in vfiod_acquire(); NULL: the first device.
 * Borrowed. -ENOENT when there is none: the group backend hands out groups, not devices. */
int vfiod_claim_device_fd(const VfiodClaim *claim, const char *device);

/* The token that the kernel requires to open the device, by full name or as it was spelled; NULL: the first
 * device. A UUID, borrowed; NULL when the device needs none: only a virtual function whose physical function
 * is on a vfio driver does. */
const char *vfiod_claim_vf_token(const VfiodClaim *claim, const char *device);

/* All file descriptors by index: iommufd or container, devices in the order of the request or groups,
 * lifeline. Borrowed; *ret_name (may be NULL) too. -ENOENT beyond the last. */
int vfiod_claim_nth_fd(const VfiodClaim *claim, size_t index, const char **ret_name);

/* As vfiod_claim_fd(), but the caller owns the file descriptor from now on and the claim forgets it. Taking
 * the lifeline means: the claim ends when the caller closes it, whatever becomes of the VfiodClaim. */
int vfiod_claim_take_fd(VfiodClaim *claim, const char *name);

/* Asks the daemon to end a claim by its id: for its owner and for root. Does not wait: devices that some
 * process still has open are given back when it closes them. A claim of this process needs only
 * vfiod_claim_free(). */
int vfiod_release(const char *claim_id, VfiodErrorText *ret_error);

/* Adds devices to a claim, all or none, for the same iommufd (hotplug), and gives some of them back. Their
 * file descriptors join those of the claim, and leave it: close your own copies before you give a device
 * back. Devices that are given back are named as in the request, or by their full names; else -ENOENT. */
int vfiod_claim_add_devices(
        VfiodClaim *claim, const char *const *devices, size_t n_devices, VfiodErrorText *ret_error);
/* Adds devices with more to ask for: reason, memlock (in addition to that of the claim), untainted and
 * interactive. Backend, grant, tether (with its pidfd) and cookie are those of the claim, and must not be
 * given here. */
int vfiod_claim_add_request(VfiodClaim *claim, const VfiodRequest *request, VfiodErrorText *ret_error);
int vfiod_claim_release_devices(
        VfiodClaim *claim, const char *const *devices, size_t n_devices, VfiodErrorText *ret_error);

/* Acknowledges the eviction of the claim (see VfiodEvent), and asks for so many seconds more: over all
 * answers, at most what its rule allows. The claim must be given back nevertheless. */
int vfiod_claim_answer_eviction(const VfiodClaim *claim, uint64_t more, VfiodErrorText *ret_error);

/* The host is about to sleep (sleep_at of VfiodEventMore is not 0), and need not wait any longer for this
 * claim, whose devices are prepared. */
int vfiod_claim_ready_to_sleep(const VfiodClaim *claim, VfiodErrorText *ret_error);

/* Hands a claim of the same user (root: of any) to another holder, by its id or as "cookie:COOKIE". Nothing
 * is closed or reset by it.
 *
 * pidfd      of the process of the same user that the claim is tied to from now on; negative: the
 *            caller takes it over. The claim keeps its kind of tether and is tied to the caller's: to a
 *            fresh lifeline, to its process or unit, or to a connection that belongs to *ret_claim. The
 *            previous tether no longer counts.
 * ret_claim  what the caller gets; may be NULL when pidfd is given */
int vfiod_transfer(const char *claim_id, int pidfd, VfiodClaim **ret_claim, VfiodErrorText *ret_error);

/* What a claim would do, without doing it: the JSON of `vfioctl plan --json`, to be freed with free(). Fails
 * as the claim would. */
int vfiod_plan(const VfiodRequest *request, char **ret_json, VfiodErrorText *ret_error);

/* The policy's decision about a request with the reason, and all obstacles to the claim: the JSON of
 * `vfioctl policy explain --json`, to be freed with free(). */
int vfiod_explain(const VfiodRequest *request, char **ret_json, VfiodErrorText *ret_error);

typedef enum VfiodViommu {
    VFIOD_VIOMMU_NONE,     /* the guest has none */
    VFIOD_VIOMMU_EMULATED, /* QEMU's intel-iommu, virtio-iommu, … */
    VFIOD_VIOMMU_NESTED    /* the hardware walks the guest's tables as well: iommufd only */
} VfiodViommu;

typedef struct VfiodMemlock {
    uint64_t bytes;          /* what RLIMIT_MEMLOCK must be, for the member memlock of a request */
    uint64_t margin;         /* the part of it that is not memory of the guest */
    unsigned address_spaces; /* how often the memory of the guest is pinned */
    char derivation[300];    /* the sum, for people */
} VfiodMemlock;

/* How much memory a virtual machine with ram bytes and so many devices must be able to lock. Calls no daemon.
 * -EINVAL: no memory, or no device; -ERANGE: more than any limit can be. */
int vfiod_memlock_for(uint64_t ram, unsigned n_devices, VfiodViommu viommu, VfiodMemlock *ret);

/* A connection for programs with an event loop. Wait until the file descriptor is ready for these poll(2)
 * events, or the time has come; then dispatch, which never blocks and calls the functions below. All three
 * may change with every call. Functions may make further calls on the connection, but must not free it. */
typedef struct VfiodConnection VfiodConnection;
int vfiod_connection_new(VfiodConnection **ret, VfiodErrorText *ret_error);
/* Calls that are not answered yet are forgotten: what they would claim goes back. Takes NULL; returns NULL.
 */
VfiodConnection *vfiod_connection_free(VfiodConnection *connection);
/* "varlink" or "dbus". */
const char *vfiod_connection_transport(const VfiodConnection *connection);
int vfiod_connection_get_fd(const VfiodConnection *connection);
short vfiod_connection_get_events(const VfiodConnection *connection);
/* CLOCK_MONOTONIC in microseconds; UINT64_MAX: no timeout. */
int vfiod_connection_get_timeout(const VfiodConnection *connection, uint64_t *ret_usec);
/* A negative errno: the connection is of no use any more, and every function has been called with the error.
 * Make a new one: claims are not tied to it, but for those with the tether "connection". */
int vfiod_connection_dispatch(VfiodConnection *connection);

/* Called once for each call that was started. claim is the caller's to free; NULL: it failed, see error. */
typedef void (*VfiodClaimFunction)(
        VfiodConnection *connection, VfiodClaim *claim, const VfiodErrorText *error, void *userdata);
/* As vfiod_acquire_request(), vfiod_claim_add_devices() and vfiod_claim_add_request(), where claim is what
 * was given and must live until then. The request is not needed any more when the call returns. */
int vfiod_connection_acquire(VfiodConnection *connection, const VfiodRequest *request,
        VfiodClaimFunction function, void *userdata, VfiodErrorText *ret_error);
int vfiod_connection_add_devices(VfiodConnection *connection, VfiodClaim *claim, const char *const *devices,
        size_t n_devices, VfiodClaimFunction function, void *userdata, VfiodErrorText *ret_error);
int vfiod_connection_add_request(VfiodConnection *connection, VfiodClaim *claim, const VfiodRequest *request,
        VfiodClaimFunction function, void *userdata, VfiodErrorText *ret_error);

/* What later versions add to an event. Members beyond size are not there: the library is older than this
 * header. Times are CLOCK_REALTIME in microseconds. */
typedef struct VfiodEventMore {
    size_t size;
    uint64_t evict_at;  /* by when the claim must be given back; 0: the claim is not evicted */
    uint64_t sleep_at;  /* the host is about to sleep, and waits until then for vfiod_claim_ready_to_sleep(),
                         * if the rule says so; 0: it is not about to sleep */
    const char *resume; /* whether the devices are back since the host woke up: "none" (it did not sleep),
                         * "checking", "ok", "failed" or "unknown", as in org.vfiod1(5) */
} VfiodEventMore;

typedef struct VfiodEvent {
    const char *claim; /* its id */
    const char *state; /* as in org.vfiod1(5): anything but "held" means that it ends, because it was released
                        * or a device is gone; NULL: it is gone */
    const char *failure;  /* why it ends, or "" */
    const char *eviction; /* the claim must be given back: "announced", "acknowledged" or "overdue", as in
                           * org.vfiod1(5), which also has why; NULL: it need not be */
    const VfiodEventMore *more; /* never NULL; all 0 and "none" when the claim is gone */
    void *reserved[2];
} VfiodEvent;
/* Called at first with the state that the claim has, and then whenever that changes, or its eviction, or the
 * host sleeps or wakes up. event is NULL when the claim can not be followed any longer, see error. No call
 * follows the event that reports that the claim is gone. */
typedef void (*VfiodEventFunction)(
        VfiodConnection *connection, const VfiodEvent *event, const VfiodErrorText *error, void *userdata);
int vfiod_connection_watch(VfiodConnection *connection, const char *claim_id, VfiodEventFunction function,
        void *userdata, VfiodErrorText *ret_error);

#ifdef __cplusplus
}
#endif

#endif
