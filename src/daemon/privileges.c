/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* No capability is needed for root's own files in sysfs and /dev: driver_override, bind, unbind, reset,
 * /dev/iommu, VFIO nodes. A node that belongs to another user is not ours to open; without CAP_DAC_OVERRIDE
 * the kernel enforces that. CAP_IPC_LOCK must not be kept: with it, a mapping that the daemon made by mistake
 * would not be charged to anybody. */

#include <errno.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "daemon/privileges.h"

typedef enum Role {
    ROLE_DAEMON = 1 << 0,
    ROLE_WORKER = 1 << 1, /* gets at most what the daemon or spawner has that starts it */
    ROLE_SPAWNER = 1 << 2,
} Role;

static const struct {
    cap_value_t capability;
    unsigned roles;
} kept[] = {
        /* IOMMU_OPTION_RLIMIT_MODE; the locked-memory limit of the caller */
        {CAP_SYS_RESOURCE, ROLE_DAEMON},
        /* reads /proc/PID of callers of other users; in workers of the spawner, of stuck workers */
        {CAP_SYS_PTRACE, ROLE_DAEMON | ROLE_SPAWNER | ROLE_WORKER},
        /* workers only, with the one above: finds who has a device open */
        {CAP_DAC_READ_SEARCH, ROLE_DAEMON | ROLE_WORKER},
        /* likewise: stops who has a device open. Only if the operator's drop-in grants it */
        {CAP_KILL, ROLE_DAEMON | ROLE_WORKER},
        /* config space beyond 64 bytes: serial numbers, and ACS on the way to a device; kernel stacks */
        {CAP_SYS_ADMIN, ROLE_SPAWNER | ROLE_WORKER},
        /* the settings of virtual functions in network cards */
        {CAP_NET_ADMIN, ROLE_SPAWNER | ROLE_WORKER},
        /* devices without an IOMMU; given up at the start if the policy does not allow any */
        {CAP_SYS_RAWIO, ROLE_DAEMON | ROLE_WORKER},
};

static bool is_kept(cap_value_t capability, Role role) {
    for (size_t i = 0; i < ELEMENTSOF(kept); i++)
        if (kept[i].capability == capability)
            return kept[i].roles & role;
    return false;
}

/* Requires CAP_SETPCAP. Without it the bounding set stays as it is, and the other sets limit the process. */
static int drop_bounding_set(Role role) {
    for (cap_value_t c = 0; cap_get_bound(c) >= 0; c++) {
        if (is_kept(c, role) || cap_get_bound(c) == 0)
            continue;
        if (cap_drop_bound(c) < 0)
            return errno == EPERM ? 0 : -errno;
    }
    return 0;
}

/* Kept as permitted, but not effective: each is raised around the one call that needs it. */
static int add_kept(cap_t had, cap_t wanted, Role role) {
    for (size_t i = 0; i < ELEMENTSOF(kept); i++) {
        cap_flag_value_t permitted;

        if (!(kept[i].roles & role))
            continue;
        if (cap_get_flag(had, kept[i].capability, CAP_PERMITTED, &permitted) < 0)
            return -errno;
        if (permitted == CAP_SET && cap_set_flag(wanted, CAP_PERMITTED, 1, &kept[i].capability, CAP_SET) < 0)
            return -errno;
    }
    return 0;
}

static int drop(Role role) {
    cap_t had = NULL, wanted = NULL;
    int r;

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return -errno;
    r = drop_bounding_set(role);
    if (r < 0)
        return r;
    had = cap_get_proc();
    wanted = cap_init();
    if (!had || !wanted)
        r = -ENOMEM;
    if (r >= 0)
        r = add_kept(had, wanted, role);
    if (r >= 0 && cap_set_proc(wanted) < 0)
        r = -errno;
    cap_free(had);
    cap_free(wanted);
    return r;
}

int privileges_drop(void) {
    return drop(ROLE_DAEMON);
}

int privileges_drop_in_worker(void) {
    return drop(ROLE_WORKER);
}

int privileges_drop_in_spawner(void) {
    return drop(ROLE_SPAWNER);
}

int privileges_drop_all(void) {
    cap_t none = cap_init();
    int r = 0;

    if (!none)
        return -ENOMEM;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || cap_set_proc(none) < 0)
        r = -errno;
    cap_free(none);
    return r;
}

/* The capabilities while nothing is raised. They are read once: nobody else changes them, and reading them
 * again would cost two system calls in every Acquire. */
static cap_t resting;
static cap_t raised; /* a copy, for raising; NULL: not made yet */

static cap_t resting_set(void) {
    if (!resting)
        resting = cap_get_proc();
    return resting;
}

bool privileges_have(cap_value_t capability) {
    cap_flag_value_t permitted = CAP_CLEAR;
    cap_t caps = resting_set();

    if (geteuid() != 0)
        return true;
    return caps && cap_get_flag(caps, capability, CAP_PERMITTED, &permitted) == 0 && permitted == CAP_SET;
}

int privileges_give_up(cap_value_t capability) {
    cap_t caps = resting_set();

    if (!caps)
        return -ENOMEM;
    cap_free(TAKE_PTR(raised));
    if (cap_set_flag(caps, CAP_PERMITTED, 1, &capability, CAP_CLEAR) < 0 || cap_set_proc(caps) < 0)
        return -errno;
    return 0;
}

/* Resets these capabilities to the resting set. */
static void put_back(cap_t caps, const cap_value_t *capabilities, int n) {
    cap_flag_value_t value;

    for (int i = 0; i < n; i++)
        if (cap_get_flag(resting, capabilities[i], CAP_EFFECTIVE, &value) == 0)
            (void) cap_set_flag(caps, CAP_EFFECTIVE, 1, &capabilities[i], value);
}

/* The copy is kept, because libcap asks the kernel for its capability version for each new one. */
void privileges_raise_list(const cap_value_t *capabilities, int n) {
    int saved_errno = errno;

    if (!raised && resting_set())
        raised = cap_dup(resting);
    if (raised && cap_set_flag(raised, CAP_EFFECTIVE, n, capabilities, CAP_SET) == 0)
        (void) cap_set_proc(raised);
    if (raised)
        put_back(raised, capabilities, n);
    errno = saved_errno;
}

void privileges_lower(void) {
    int saved_errno = errno;

    /* Without a resting set nothing was raised. With capabilities still raised, the process must not
     * continue. */
    if (resting && cap_set_proc(resting) < 0)
        abort();
    errno = saved_errno;
}
